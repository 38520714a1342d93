"""The page that `vpt data check` writes: what was found, counts, sizes, duplicates, and a look at the images."""

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
from IPython.display import HTML
from PIL import Image, ImageOps

from vptlib.data.check import DataCheck
from vptlib.report.pages import page
from vptlib.report.sections.basic import facts, part
from vptlib.report.words import in_language

CLASSES_SHOWN, IMAGES_SHOWN, SIDE = 24, 10, 72  # of the contact sheet: rows, columns, pixels
PAIRS_SHOWN = 10


def write_page(check: DataCheck, title: str, target: Path) -> None:
    """Write the findings as one self-contained HTML page."""
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": block.data})
        for block in [*_findings(check, title), *_images(check), *_duplicates(check)]
    ]
    cells = [nbformat.v4.new_code_cell("", outputs=[output]) for output in outputs]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(nbformat.v4.new_notebook(cells=cells, metadata={"title": title})), encoding="utf-8")


def _findings(check: DataCheck, title: str) -> list[HTML]:
    state = (
        "A study can go on with these images." if check.passed else "A study cannot go on before the errors are fixed."
    )
    lines = {f"{f.level.capitalize()} {k}": in_language().sentence(f.what) for k, f in enumerate(check.findings, 1)}
    return [part("opening", title=title, scope=[state, check.listing.source], quick_look=False), facts(lines)]


def _images(check: DataCheck) -> list[HTML]:
    counts = check.counts().reset_index()
    caption = f"The first training images of up to {CLASSES_SHOWN} classes, a row each, in the order of the table."
    picture = sheet(check, _first_of_each_class(check))
    return [
        _table(counts, ["Class", "Train", "Test"], "Images of each class"),
        part("figure", address=picture, caption=caption, alt="Images of each class", wide=True),
        _table(_sizes(check), ["", "Smallest", "Median", "Largest"], "Sizes in pixels"),
    ]


def _duplicates(check: DataCheck) -> list[HTML]:
    if not len(check.duplicates):
        return []
    pairs = check.duplicates.sort_values(["where", "kind"], kind="stable").head(PAIRS_SHOWN)
    rows = [[pair[k] for pair in pairs["rows"]] for k in range(2)]
    caption = f"{len(pairs)} of the {len(check.duplicates)} pairs, one above the other: are they the same?"
    return [
        part("figure", address=sheet(check, rows), caption=caption, alt="Pairs of images", wide=True),
        _table(
            pairs[["kind", "where", "classes", "first", "second"]],
            ["Kind", "Where", "Classes", "First", "Second"],
            f"Duplicates ({len(pairs)} of {len(check.duplicates)} pairs)",
        ),
    ]


def sheet(check: DataCheck, rows: list[list[int]]) -> str:
    """Images by their positions in `files`, small, as the address of a JPEG."""
    picture = Image.new("RGB", (max(map(len, rows)) * (SIDE + 4), len(rows) * (SIDE + 4)), "white")
    for down, members in enumerate(rows):
        for across, number in enumerate(members):
            image = ImageOps.contain(check.listing.images.open(number), (SIDE, SIDE))
            picture.paste(image, (across * (SIDE + 4), down * (SIDE + 4)))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _first_of_each_class(check: DataCheck) -> list[list[int]]:
    """Training images that can be read."""
    good = (check.files["error"] == "").to_numpy() & (check.listing.splits == "train")
    members = [np.flatnonzero(good & (check.listing.labels == k)) for k in range(len(check.listing.class_names))]
    return [places[:IMAGES_SHOWN].tolist() for places in members[:CLASSES_SHOWN]]


def _sizes(check: DataCheck):
    whole = check.files[check.files["error"] == ""]
    table = whole[["width", "height"]].quantile([0, 0.5, 1]).T.round().astype(int) if len(whole) else whole[[]]
    return table.reset_index()


def _table(frame, columns: list[str], caption: str):
    return part("table", columns=columns, rows=frame.astype(str).values.tolist(), caption=caption)
