"""The page that `vpt data check` writes: what was found, counts, sizes, duplicates, and a look at the images."""

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

from vptlib.datacheck import DataCheck
from vptlib.pages import page
from vptlib.parts import part

CLASSES_SHOWN, IMAGES_SHOWN, SIDE = 24, 10, 72  # of the contact sheet: rows, columns, pixels
ROWS_SHOWN = 50
_MARKS = {"error": "✗", "warning": "!", "note": "·"}


def write_page(check: DataCheck, title: str, target: Path) -> None:
    """Write the findings as one self-contained HTML page."""
    state = (
        "A study can go on with these images." if check.passed else "A study cannot go on before the errors are mended."
    )
    blocks = [part("opening", title=title, scope=[state, check.listing.source], quick_look=False)]
    lines = {f"{_MARKS[f.level]} {f.level} {k}": f.text for k, f in enumerate(check.findings, 1)}
    blocks.append(part("facts", items=lines))
    counts = check.counts().reset_index()
    blocks.append(_table(counts, ["Class", "Train", "Test"], "Images of each class"))
    blocks.append(_table(_sizes(check), ["", "Smallest", "Median", "Largest"], "Sizes in pixels"))
    if len(check.duplicates):
        shown = check.duplicates.sort_values(["where", "kind"]).head(ROWS_SHOWN)
        caption = f"Duplicates ({len(shown)} of {len(check.duplicates)} pairs shown)"
        blocks.append(_table(shown, ["Kind", "Where", "First", "Second"], caption))
    picture = contact_sheet(check)
    caption = f"The first training images of up to {CLASSES_SHOWN} classes, a row each, in the order of the table."
    blocks.append(part("figure", address=picture, caption=caption, alt="Images of each class", wide=True))
    outputs = [nbformat.v4.new_output("display_data", {"text/html": block.data}) for block in blocks]
    cells = [nbformat.v4.new_code_cell("", outputs=[output]) for output in outputs]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(nbformat.v4.new_notebook(cells=cells, metadata={"title": title})), encoding="utf-8")


def contact_sheet(check: DataCheck) -> str:
    """Training images that can be read, a row for each class, as the address of a JPEG."""
    good = (check.files["error"] == "").to_numpy() & (check.listing.splits == "train")
    rows = [
        np.flatnonzero(good & (check.listing.labels == k))[:IMAGES_SHOWN] for k in range(len(check.listing.class_names))
    ]
    rows = rows[:CLASSES_SHOWN]
    sheet = Image.new("RGB", (IMAGES_SHOWN * (SIDE + 4), len(rows) * (SIDE + 4)), "white")
    for down, members in enumerate(rows):
        for across, number in enumerate(members):
            image = check.listing.images.open(int(number))
            image.thumbnail((SIDE, SIDE))
            sheet.paste(image, (across * (SIDE + 4), down * (SIDE + 4)))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _sizes(check: DataCheck):
    whole = check.files[check.files["error"] == ""]
    table = whole[["width", "height"]].quantile([0, 0.5, 1]).T.round().astype(int) if len(whole) else whole[[]]
    return table.reset_index()


def _table(frame, columns: list[str], caption: str):
    return part("table", columns=columns, rows=frame.astype(str).values.tolist(), caption=caption)
