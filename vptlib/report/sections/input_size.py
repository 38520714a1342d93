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
from vptlib.report.sections.basic import facts, figure, part, table
from vptlib.report.words import in_language
from vptlib.study.input_size import InputSizes, reasons_for, sizes_seen
from vptlib.study.material import material_of
from vptlib.study.published_rules import DONE
from vptlib.study.study import Study
from vptlib.tuning.backbones import preprocessing
from vptlib.wording import duration, in_points, per_cent, plain

words = in_language()
PICTURES = 3
# Pixels of a picture on the page: largest width of the original, least side of what the model sees.
ORIGINAL_WIDTH, SEEN_SIDE = 300, 168
ASPECTS = {
    "squash": "both sides are scaled to the square",
    "crop": "the largest square in the middle is scaled",
    "pad": "the long side is scaled, and grey bars fill the square",
}


def input_size_part(study: Study) -> list[HTML]:
    """Heading, the reason for the input size, accuracy against size with its cost, and images as the model sees them.

    One sentence only, if the images are so small that there was nothing to choose. Nothing under other rules than
    "until done", which take the backbone's own size.
    """
    if study.rules != DONE:
        return []
    seen, sentences = sizes_seen(study), [words.sentence(reason) for reason in reasons_for(study)]
    heading = part("heading", text="The input size", level=3)
    if seen is not None and not seen.rows and not seen.fixed:
        return [heading, facts({"Input size": sentences[0]})]
    labels = ["Input size", "How it was chosen", "Note", "Also"]
    compared = [_figure(seen), _table(seen)] if seen is not None and seen.rows else []
    return [heading, facts(dict(zip(labels, sentences, strict=False))), *compared, _pictures(study)]


def size_warning(study: Study) -> str:
    """For the first page: the time allowed a smaller input than the images call for, and what that costs; else ""."""
    seen = sizes_seen(study) if study.rules == DONE else None
    if seen is None or seen.without_limit is None:
        return ""
    return words.sentence(next(found for found in seen.findings() if found.code == "larger_input_needs_time"))


def input_size_summary(study: Study) -> dict[str, Any]:
    """The part of `summary.json` about the input: size, aspect, what each compared size gave, and the reasons."""
    prepared, seen = preprocessing(material_of(study).vit), sizes_seen(study)
    about = {"size": prepared.size, "aspect": prepared.aspect, "chosen_by_looking": bool(seen and seen.rows)}
    if seen is not None:
        about |= {"images": list(seen.images_px), "labelled_images": seen.n, "best": seen.best}
        about |= {"compared": seen.table().to_dict("records")}
    return about | {"reasons": [reason.plain() for reason in reasons_for(study)]}


def _figure(seen: InputSizes) -> HTML:
    caption = (
        "Below each size: the cost of a training step as a multiple of the smallest size's, and the time in which the "
        "backbone sees 100 images. A size whose line reaches the dashed one is within one standard error of the best."
    )
    each = ", ".join(f"{row.size} px {per_cent(row.accuracy)}" for row in seen.rows)
    return figure(input_size_figure(seen.table()), caption, f"Accuracy against input size: {each}")


def _table(seen: InputSizes) -> HTML:
    rows = [
        [
            f"{row.size} px{' (chosen)' if row.size == seen.chosen else ''}",
            f"{per_cent(row.accuracy)} ± {plain(100 * row.standard_error)}",
            "the best" if row.size == seen.best else f"{in_points(row.behind)} ± {plain(100 * row.behind_error)}",
            f"{row.tokens:,}",
            f"× {plain(row.relative_cost)}",
            duration(100 * row.seconds_per_image),
        ]
        for row in seen.rows
    ]
    columns = ["Input size", "Accuracy", "Behind the best", "Tokens", "Training step", "100 images"]
    caption = "Frozen features at each size, with standard errors; the error of a difference is that of pairs"
    return table(pd.DataFrame(rows, columns=columns), caption)


# ---- pictures ---------------------------------------------------------------------------------------------------


def _pictures(study: Study) -> HTML:
    """A few labelled images of different classes, as they are and as the model sees them."""
    task, wanted = material_of(study).task, preprocessing(material_of(study).vit)
    labelled = few_shot(task.train.labels, study.sizes[-1], study.seeds[0])
    firsts = np.sort(np.unique(task.train.labels[labelled], return_index=True)[1])
    images = task.train.select(labelled[[*firsts, *np.delete(np.arange(len(labelled)), firsts)][:PICTURES]])
    names = [task.class_names[label] for label in images.labels]
    rows = [
        [(_small(image), f"Image of class {name}"), (_enlarged(square), f"The same, {wanted.size} × {wanted.size} px")]
        for image, square, name in zip(_originals(images), as_the_model_sees(images, wanted), names, strict=True)
    ]
    heads = ["The image", f"What the model sees: {wanted.size} × {wanted.size} px"]
    return part("seen", heads=heads, rows=rows, caption=_caption(images, wanted))


def _caption(images: ImageSet | LazyImages, wanted: Preprocessing) -> str:
    are_square = aspect_in_effect(images, "crop") == "squash"
    how = "They are square" if are_square else ASPECTS[wanted.aspect].capitalize()
    return f"Labelled images as the model sees them, at {wanted.size} × {wanted.size} px. {how}."


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
