"""The part of a report on explanations: where models look, whether their maps mean anything, what changed inside.

All of it is about the models of the first seed at the largest size, on test images drawn by lot.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import HTML

from vptlib.computed import computed_once
from vptlib.data.preparing import pictures_of, prepare
from vptlib.data.tasks import Task, load_task
from vptlib.explanations.checklist import (
    NO,
    OPEN,
    YES,
    Examination,
    Row,
    cascade_table,
    checklist,
    faithfulness_table,
)
from vptlib.explanations.maps import cell_counts, explain, four_cells
from vptlib.report.explanation_charts import (
    attention_figure,
    cascade_figure,
    faithfulness_figure,
    map_table,
    prompt_figure,
)
from vptlib.report.figure_html import figure
from vptlib.report.gradcam_page import gradcam_page
from vptlib.report.sections.basic import folded, heading, paragraph, part
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.study.study import Study
from vptlib.tuning.backbones import preprocessing

PAIR = ("vpt-deep", "full")
_SIGNS = {YES: "✓", NO: "✗", OPEN: "?"}
_FEW = 2  # images with all kinds of map: what fits a page


def maps_part(study: Study, task: Task, runs: pd.DataFrame, images_per_cell: int, draw: int) -> list[HTML]:
    """Test images beside the maps of VPT-deep and of full fine-tuning, right and wrong answers alike.

    Args:
        study, task, runs: with the models of both, at the largest size and the first seed.
        images_per_cell: test images in each of the four cells.
        draw: seed of the choice of images.
    """
    prompted, tuned = (_last(study, runs).loc[method] for method in PAIR)
    cells = four_cells(prompted["correct"], tuned["correct"], images_per_cell, seed=draw)
    shown = np.concatenate(list(cells.values()))  # B positions among the test images
    images = task.test.select(study.test_items()[shown])
    maps = _maps(study, shown)
    counts = cell_counts(prompted["correct"], tuned["correct"])
    caption = _(
        "Models trained on {n} images; those shown were drawn by lot within each group. A map tells where a model "
        "found its evidence; that it looks sensible does not prove the model right."
    ).format(n=words.whole(study.sizes[-1]))
    alt = _("Test images beside GradCAM maps of VPT-deep and of full fine-tuning, right and wrong predictions alike.")
    predictions = {"vpt-deep": prompted["predictions"][shown], "full": tuned["predictions"][shown]}
    pictures = pictures_of(images, preprocessing(study.build("linear").vit))
    draw_it = lambda: gradcam_page(pictures, images.labels, task.class_names, maps, predictions, counts)  # noqa: E731
    return [figure(draw_it, caption, alt)]


@computed_once
def _maps(study: Study, positions: np.ndarray) -> dict[str, np.ndarray]:
    """Method → GradCAM maps `B H W` of test images at these positions."""
    images = load_task(study.task).test.select(study.test_items()[positions])
    pixels = prepare(images, preprocessing(study.build("linear").vit)).tensors[0]
    return {method: explain(study.model(method), pixels) for method in PAIR}


def _last(study: Study, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the first seed at the largest size, by method."""
    return runs[(runs["n"] == study.sizes[-1]) & (runs["seed"] == study.seeds[0])].set_index("method")


# ---- whether they mean anything ---------------------------------------------------------------------------------


def checks_part(examined: Examination) -> list[HTML]:
    """Heading, what is tested, the checklist, and the figure of the first of its questions."""
    return [
        heading(_("Do these pictures mean anything?")),
        paragraph(
            _(
                "A map looks convincing whether it is right or not. So four things are tested. Does the answer change "
                "when what the map marks is taken away? Does the map stay when the image hardly changes? Does it "
                "change when all that the model has learned is shuffled? Would another training run give the same "
                "map? Next to each number stands that of maps that have nothing to do with the answer. Where the "
                "images are too few, the row says how many would settle it."
            )
        ),
        explainability(checklist(examined), len(examined.items)),
        _faithfulness(examined),
    ]


def explainability(rows: Sequence[Row], images: int) -> HTML:
    """The explainability checklist (`vptlib.explanations.checklist`): a question, its verdict, and why."""
    items = [
        (
            words.QUESTIONS[row.question],
            row.verdict,
            f"{_SIGNS[row.verdict]} {words.VERDICTS[row.verdict]}",
            [(words.title(method), words.sentence(found)) for method, found in row.answers.items()],
        )
        for row in rows
    ]
    caption = _(
        "Explainability checklist, from {n} test images drawn at random. A row is settled if the 95\u202f% interval of "
        "its number does not include its limit; else it is open. Similarity is 0 for the maps of two different images "
        "and 1 for the same map; from 0.5 on, two maps tell the same story. {caveat}"
    ).format(n=images, caveat=words.FAITHFULNESS_CAVEAT)
    return part("verdicts", heads=[_("Question"), _("Verdict"), _("Because")], items=items, caption=caption)


def _faithfulness(examined: Examination) -> HTML:
    found = faithfulness_table(examined)
    caption = _(
        "Parts of the image are taken away, what a map marks most first, then brought back in that order, and the "
        "probability of the predicted class is followed. Maps whose line lies clear of the grey ones mark what matters."
    )
    alt = _(
        "Insertion minus deletion area of each kind of map, for both models, next to a random map and one of the "
        "centre."
    )
    return figure(lambda: faithfulness_figure(found), caption, alt, found, "faithfulness")


def not_explained() -> HTML:
    """In place of the maps, where the two models are not both there."""
    return paragraph(explanations_lacking())


def explanations_lacking() -> str:
    """Why there are no maps."""
    return _(
        "Not made: the maps compare the models of VPT-deep and of full fine-tuning, and one of them is not finished."
    )


# ---- folded away ------------------------------------------------------------------------------------------------


def details_part(study: Study, task: Task, runs: pd.DataFrame, examined: Examination) -> list[HTML]:
    """Folded: the models made to forget, all kinds of map next to each other, and what changed inside the models.

    Args:
        study, task, runs: as for `maps_part`.
        examined: what was found about their maps.
    """
    kinds = [_cascade(examined), _all_kinds(study, task, runs, examined)]
    return [
        folded(_("Models that are made to forget, and other kinds of map"), [one for one in kinds if one is not None]),
        folded(_("Inside the models"), [_attention(examined), *_prompts(examined)]),
    ]


def _cascade(examined: Examination) -> HTML | None:
    falls = cascade_table(examined)
    if not len(falls):
        return None
    caption = _(
        "The numbers of a model are shuffled step by step, from the head down, until nothing that it learned is left "
        "(Adebayo et al. 2018, section 3). A map that shows what was learned falls to the line of another image's "
        "map. A map that stays near the top shows the image, not the model. Lines: 95\u202f% intervals."
    )
    alt = _("Similarity of GradCAM maps to those of the trained model, while it is shuffled from the head down.")
    return figure(lambda: cascade_figure(falls), caption, alt, falls, "forgetting")


def _all_kinds(study: Study, task: Task, runs: pd.DataFrame, examined: Examination) -> HTML:
    places, last = examined.items[:_FEW], _last(study, runs)
    images = task.test.select(study.test_items()[places])
    pictures = pictures_of(images, preprocessing(study.build("linear").vit))
    looks = examined.looks.items()
    predictions = {method: last.loc[method, "predictions"][places] for method in examined.looks}
    maps, gaps = ({method: getattr(look, what) for method, look in looks} for what in ("maps", "gaps"))
    caption = _("The first of the images drawn. Where maps disagree about one answer, not all of them can be right.")
    alt = _("Several kinds of map of the same images for both models, with a number of faithfulness under each map.")
    draw_it = lambda: map_table(pictures, task.class_names, images.labels, predictions, maps, gaps)  # noqa: E731
    return figure(draw_it, caption, alt)


def _attention(examined: Examination) -> HTML:
    kept = {method: look.kept[-1] for method, look in examined.looks.items()}
    finding = words.listed(f"{words.in_prose(method)} {words.decimals(value)}" for method, value in kept.items())
    caption = _(
        "In the last layer the features are as similar to the frozen backbone as this: {kept} (1 means kept as they "
        "were). How far each attention head looks (dots; lines are means); how much of the attention goes to prompts; "
        "how similar the features are to those of the frozen backbone."
    ).format(kept=finding)
    alt = _("Attention distance, share of attention on prompts and similarity to the frozen backbone, layer by layer.")
    return figure(lambda: attention_figure(examined), caption, alt)


def _prompts(examined: Examination) -> list[HTML]:
    look = examined.looks.get("vpt-deep")
    if look is None or look.prompts is None:
        return []
    values = look.prompts
    caption = _(
        "Layer {layer} matters most. What each prompt of VPT-deep added to the logit of the predicted class, against a "
        "prompt of zeros in its place; mean over the examined images (Integrated Gradients over prompts)."
    ).format(layer=int(np.abs(values.sum(axis=1)).argmax()) + 1)
    alt = _("A heat map of prompts by layer, for or against the predicted class, with the sum of each layer.")
    data = pd.DataFrame(values).rename_axis("layer").reset_index()
    return [figure(lambda: prompt_figure(values), caption, alt, data, "prompts")]
