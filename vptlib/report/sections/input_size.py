"""Part of a report: how large the images enter the model, why, and what the model sees of them."""

from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from PIL import Image, ImageOps

from vptlib.data.files import LazyImages
from vptlib.data.preparing import ImageSet, Preprocessing, as_the_model_sees, aspect_in_effect
from vptlib.data.splits import few_shot
from vptlib.report.addresses import data_address
from vptlib.report.charts import input_size_figure
from vptlib.report.figure_html import figure
from vptlib.report.sections.basic import facts, heading, part, table
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.study.input_size import InputSizes, reasons_for, sizes_seen
from vptlib.study.material import material_of
from vptlib.study.published_rules import DONE
from vptlib.study.study import Study
from vptlib.tuning.backbones import preprocessing

PICTURES = 3
# Pixels of a picture on the page: largest width of the original, least side of what the model sees.
ORIGINAL_WIDTH, SEEN_SIDE = 300, 168


def input_size_part(study: Study) -> list[HTML]:
    """Heading, the reason for the input size, accuracy against size with its cost, and images as the model sees them.

    One sentence only, if the images are so small that there was nothing to choose. Nothing under other rules than
    "until done", which take the backbone's own size.
    """
    if study.rules != DONE:
        return []
    seen, sentences = sizes_seen(study), [words.sentence(reason) for reason in reasons_for(study)]
    head = heading(_("How large the model sees them"))
    if seen is not None and not seen.rows and not seen.fixed:
        return [head, facts({_("Input size"): sentences[0]})]
    labels = [_("Input size"), _("How it was chosen"), _("Note"), _("Also")]
    compared = [_figure(seen), _table(seen)] if seen is not None and seen.rows else []
    return [head, facts(dict(zip(labels, sentences, strict=False))), *compared, _pictures(study)]


def input_size_summary(study: Study) -> dict[str, Any]:
    """The part of `summary.json` about the input: size, aspect, what each compared size gave, and the reasons."""
    prepared, seen = preprocessing(material_of(study).vit), sizes_seen(study)
    about = {"size": prepared.size, "aspect": prepared.aspect, "chosen_by_looking": bool(seen and seen.rows)}
    if seen is not None:
        about |= {"images": list(seen.images_px), "labelled_images": seen.n, "best": seen.best}
        about |= {"compared": seen.table().to_dict("records")}
    return about | {"reasons": [reason.plain() for reason in reasons_for(study)]}


def _figure(seen: InputSizes) -> HTML:
    best = next(row for row in seen.rows if row.size == seen.best)
    caption = _(
        "The best is {best} px with {accuracy}; {chosen} px is chosen. Below each size: the cost of a training step "
        "as a multiple of the smallest size's, and the time in which the backbone sees 100 images. A size whose line "
        "reaches the dashed one is within one standard error of the best."
    ).format(best=best.size, accuracy=words.per_cent(best.accuracy), chosen=seen.chosen)
    each = words.listed(f"{row.size} px {words.per_cent(row.accuracy)}" for row in seen.rows)
    alt = _("Accuracy against input size: {each}").format(each=each)
    data = seen.table()
    return figure(lambda: input_size_figure(data), caption, alt, data, "input-size")


def _table(seen: InputSizes) -> HTML:
    rows = [
        [
            (_("{size} px (chosen)") if row.size == seen.chosen else "{size} px").format(size=row.size),
            f"{words.per_cent(row.accuracy)} ± {words.plain(100 * row.standard_error)}",
            _("the best")
            if row.size == seen.best
            else f"{words.in_points(row.behind)} ± {words.plain(100 * row.behind_error)}",
            words.whole(row.tokens),
            f"× {words.plain(row.relative_cost)}",
            words.duration(100 * row.seconds_per_image),
        ]
        for row in seen.rows
    ]
    columns = [
        _("Input size"),
        _("Accuracy"),
        _("Behind the best"),
        _("Parts of an image (tokens)"),
        _("Training step"),
        _("100 images"),
    ]
    caption = _("Frozen features at each size, with standard errors; the error of a difference is that of pairs")
    return table(pd.DataFrame(rows, columns=columns), caption)


# ---- pictures ---------------------------------------------------------------------------------------------------


def _pictures(study: Study) -> HTML:
    """A few labelled images of different classes, as they are and as the model sees them."""
    task, wanted = material_of(study).task, preprocessing(material_of(study).vit)
    labelled = few_shot(task.train.labels, study.sizes[-1], study.seeds[0])
    firsts = np.sort(np.unique(task.train.labels[labelled], return_index=True)[1])
    images = task.train.select(labelled[[*firsts, *np.delete(np.arange(len(labelled)), firsts)][:PICTURES]])
    names = [task.class_names[label] for label in images.labels]
    side = wanted.size
    again = _("The same, {side} × {side} px").format(side=side)
    rows = [
        [(_small(image), _("Image of class {name}").format(name=name)), (_enlarged(square), again)]
        for image, square, name in zip(_originals(images), as_the_model_sees(images, wanted), names, strict=True)
    ]
    heads = [_("The image"), _("What the model sees: {side} × {side} px").format(side=side)]
    return part("seen", heads=heads, rows=rows, caption=_caption(images, wanted))


def _caption(images: ImageSet | LazyImages, wanted: Preprocessing) -> str:
    are_square = aspect_in_effect(images, "crop") == "squash"
    shown = _("Labelled images as the model sees them, at {side} × {side} px.").format(side=wanted.size)
    how = {
        "squash": _("Both sides are scaled to the square."),
        "crop": _("The largest square in the middle is scaled."),
        "pad": _("The long side is scaled, and grey bars fill the square."),
    }
    return words.sentences(shown, _("They are square.") if are_square else how[wanted.aspect])


def _originals(images: ImageSet | LazyImages) -> list[Image.Image]:
    if isinstance(images, LazyImages):
        return [images.source.open(row, least=ORIGINAL_WIDTH) for row in images.rows.tolist()]
    return [Image.fromarray(image) for image in images.images]


def _small(image: Image.Image) -> str:
    return data_address(ImageOps.contain(image, (ORIGINAL_WIDTH, ORIGINAL_WIDTH)), "JPEG")


def _enlarged(square: np.ndarray) -> str:
    """A square `S S 3`, enlarged by a whole factor, so that its pixels stay pixels."""
    times = -(-SEEN_SIDE // len(square))
    return data_address(Image.fromarray(square.repeat(times, axis=0).repeat(times, axis=1)), "PNG")
