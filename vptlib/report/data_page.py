"""The page that `vpt data check` writes: what was found, counts, sizes, duplicates, and a look at the images.

The look is double: a contact sheet of all classes, and three images as a model sees them.
"""

from pathlib import Path

import nbformat
import numpy as np
from IPython.display import HTML
from PIL import Image

from vptlib.data.check import DataCheck
from vptlib.data.files import LazyImages, fitted
from vptlib.data.preparing import Preprocessing, as_the_model_sees
from vptlib.data.sides import MODEL_SIZES
from vptlib.paths import write_whole
from vptlib.report.addresses import data_address
from vptlib.report.pages import page
from vptlib.report.sections.basic import facts, part
from vptlib.report.sections.images import level_of
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.wording import printable

CLASSES_SHOWN, IMAGES_SHOWN, SIDE = 24, 10, 72  # of the contact sheet: rows, columns, pixels
PAIRS_SHOWN = 10
SEEN = 3  # images shown as a model sees them
SEEN_AT = (MODEL_SIZES[0], MODEL_SIZES[-1])  # pixels: the smallest and the largest input size
QUALITY = 80  # of its JPEGs: a page may hold hundreds
SEEN_SIDE = 300  # pixels: long side of the image itself on the page


def write_page(check: DataCheck, title: str, target: Path) -> None:
    """Write the findings as one self-contained HTML page."""
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": block.data})
        for block in [*_findings(check, title), *_images(check), *_seen(check), *_duplicates(check)]
    ]
    cells = [nbformat.v4.new_code_cell("", outputs=[output]) for output in outputs]
    write_whole(target, page(nbformat.v4.new_notebook(cells=cells, metadata={"title": printable(title)})))


def _findings(check: DataCheck, title: str) -> list[HTML]:
    state = (
        _("A study can go on with these images.")
        if check.passed
        else _("A study cannot go on before the errors are fixed.")
    )
    lines = {f"{level_of(f.level)} {k}": words.sentence(f.what) for k, f in enumerate(check.findings, 1)}
    scope = [state, printable(check.listing.source)]
    return [part("opening", title=printable(title), scope=scope), facts(lines)]


def _images(check: DataCheck) -> list[HTML]:
    counts = check.counts().reset_index()
    caption = _("The first training images of up to {n} classes, a row each, in the order of the table.").format(
        n=CLASSES_SHOWN
    )
    alt = _("Images of each class")
    table = _table(counts, [_("Class"), _("Train"), _("Test")], alt)
    shown = _first_of_each_class(check)
    if not any(shown):
        return [table]
    return [
        table,
        part("figure", address=sheet(check, shown), caption=caption, alt=alt, wide=True),
        _table(_sizes(check), [_("Side"), _("Smallest"), _("Median"), _("Largest")], _("Sizes in pixels")),
    ]


def _seen(check: DataCheck) -> list[HTML]:
    """A few images as they are, and as the model sees the middle of them."""
    chosen = [members[0] for members in _first_of_each_class(check) if members][:SEEN]
    if not chosen:
        return []
    shown = LazyImages(check.listing.images, np.array(chosen), check.listing.labels[chosen])
    columns = [_originals(check, chosen), *(_squares(shown, size) for size in SEEN_AT)]
    at = [f"{size} × {size} px" for size in SEEN_AT]
    caption = _(
        "As the model sees them: the middle of each image, cropped to a square and scaled to the smallest and to the "
        "largest usual input size."
    )
    rows = zip(*columns, strict=True)
    return [part("seen", heads=[_("The image"), *at], rows=rows, caption=caption)]


def _originals(check: DataCheck, chosen: list[int]) -> list[tuple[str, str]]:
    """Addresses and descriptions of images as they are."""
    images = [check.listing.images.open(number) for number in chosen]
    small = [data_address(image.resize(fitted(*image.size, SEEN_SIDE)), "JPEG", QUALITY) for image in images]
    kinds = check.files["class"].iloc[chosen]
    one = _("Image of class {name}, {width} × {height} pixels")
    about = [one.format(name=k, width=i.width, height=i.height) for k, i in zip(kinds, images, strict=True)]
    return list(zip(small, about, strict=True))


def _squares(shown: LazyImages, size: int) -> list[tuple[str, str]]:
    """Addresses and descriptions of images as a model sees them at one size."""
    colours = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}  # they do not change what is shown
    seen = as_the_model_sees(shown, Preprocessing(size, interpolation="bicubic", aspect="crop", **colours))
    kind = "PNG" if size == SEEN_AT[0] else "JPEG"  # every single pixel counts in the small one
    alt = _("The same, {side} × {side} px").format(side=size)
    return [(data_address(Image.fromarray(square), kind, QUALITY), alt) for square in seen]


def _duplicates(check: DataCheck) -> list[HTML]:
    if not len(check.duplicates):
        return []
    pairs = check.duplicates.sort_values(["where", "kind"], kind="stable").head(PAIRS_SHOWN)
    rows = [[pair[k] for pair in pairs["rows"]] for k in range(2)]
    of_all = (
        _("{shown} of at least {pairs} pairs")  # a search stopped early
        if check.stopped
        else _("{shown} of {pairs} pairs")
    ).format(shown=len(pairs), pairs=words.whole(len(check.duplicates)))
    caption = _("{pairs}, one above the other: are they the same?").format(pairs=of_all)
    return [
        part("figure", address=sheet(check, rows), caption=caption, alt=_("Pairs of images"), wide=True),
        _table(
            pairs[["kind", "where", "classes", "first", "second"]],
            [_("Kind"), _("Where"), _("Classes"), _("First"), _("Second")],
            _("Duplicates ({pairs})").format(pairs=of_all),
        ),
    ]


def sheet(check: DataCheck, rows: list[list[int]]) -> str:
    """Images by their positions in `files`, small, as the address of a JPEG."""
    picture = Image.new("RGB", (max(map(len, rows)) * (SIDE + 4), len(rows) * (SIDE + 4)), "white")
    for down, members in enumerate(rows):
        for across, number in enumerate(members):
            image = check.listing.images.open(number)
            picture.paste(image.resize(fitted(*image.size, SIDE)), (across * (SIDE + 4), down * (SIDE + 4)))
    return data_address(picture, "JPEG", QUALITY)


def _first_of_each_class(check: DataCheck) -> list[list[int]]:
    """Training images that can be read."""
    good = (check.files["error"] == "").to_numpy() & (check.listing.splits == "train")
    members = [np.flatnonzero(good & (check.listing.labels == k)) for k in range(len(check.listing.class_names))]
    return [places[:IMAGES_SHOWN].tolist() for places in members[:CLASSES_SHOWN]]


def _sizes(check: DataCheck):
    whole = check.files[check.files["error"] == ""]
    return whole[["width", "height"]].quantile([0, 0.5, 1]).T.round().astype(int).reset_index()


def _table(frame, columns: list[str], caption: str):
    return part("table", columns=columns, rows=frame.astype(str).values.tolist(), caption=caption)
