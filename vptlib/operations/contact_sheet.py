"""New images with their answers on one page: those for a person first, then the least sure.

The page opens with the network off: its pictures are small JPEGs within it. It has no script, and every name is
escaped.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from vptlib.paths import write_whole
from vptlib.wording import decimals, many, printable

MOST_TILES = 200
_MARK = b'<meta name="generator" content="vpt predict">'
_TEMPLATES = Path(__file__).parent / "templates"
_SIDE, _QUALITY = 112, 80  # of the pictures: pixels, and of the JPEGs
_MOST_PICTURES = 2_200_000  # bytes of all pictures as text, so that the page stays below 3 MB
_MOST_CLASSES, _MOST_UNREAD = 100, 100
_MOST_LETTERS = 300  # of a name or a sentence


@dataclass(frozen=True)
class Tile:
    """One image on the page.

    Attributes:
        file: its path, as the user wrote it.
        answer: the class.
        probability: of that class.
        for_person: whether a person should look.
        problem: what is doubtful about it, or "".
        seen: what the model sees, uint8 `S S 3`; None if the file has gone.
    """

    file: str
    answer: str
    probability: float
    for_person: bool
    problem: str = ""
    seen: np.ndarray | None = None


@dataclass(frozen=True)
class Sheet:
    """What a page shows.

    Attributes:
        title: of the model.
        images: how many there are, with and without an answer.
        for_person: how many of them a person should look at; None if that is not known.
        counts: images by answer.
        tiles: in their order; at most `MOST_TILES`.
        unread: files without an answer, with the reason.
        sentences: what has to be said of all.
    """

    title: str
    images: int
    for_person: int | None
    counts: Mapping[str, int]
    tiles: Sequence[Tile]
    unread: Sequence[tuple[str, str]] = ()
    sentences: Sequence[str] = ()


def write_sheet(sheet: Sheet, path: Path) -> None:
    """Write the page, of less than 3 MB, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, autoescape=True, trim_blocks=True
    )
    template = environment.get_template("contact_sheet.html.j2")
    answered = sum(sheet.counts.values())
    text = template.render(
        css=Markup((_TEMPLATES / "contact_sheet.css").read_text("utf-8")),
        title=_short(sheet.title),
        scope=_scope(sheet),
        sentences=[_short(sentence, 3 * _MOST_LETTERS) for sentence in sheet.sentences],
        counts=_counts(sheet.counts),
        order=_order(len(sheet.tiles), answered, sheet.for_person),
        tiles=_tiles(sheet.tiles),
        side=_SIDE,
        unread=[(_short(file), _short(problem)) for file, problem in sheet.unread[:_MOST_UNREAD]],
        unread_left=max(0, len(sheet.unread) - _MOST_UNREAD),
    )
    write_whole(path, text)


def is_sheet(path: Path) -> bool:
    """Whether a file is such a page."""
    with path.open("rb") as file:
        return _MARK in file.read(1000)


def _scope(sheet: Sheet) -> list[str]:
    lines = [many(sheet.images, "image")]
    if sheet.unread:
        lines.append(f"{len(sheet.unread):,} without an answer")
    lines.append(
        "not known which a person should see" if sheet.for_person is None else f"{sheet.for_person:,} for a person"
    )
    return lines


def _counts(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """The most frequent classes first; those of one number keep their order."""
    most = sorted(counts.items(), key=lambda item: -item[1])
    rows = [(_short(name), f"{images:,}") for name, images in most[:_MOST_CLASSES]]
    if rest := most[_MOST_CLASSES:]:
        rows.append((f"{len(rest):,} more", f"{sum(images for _, images in rest):,}"))
    return rows


def _order(shown: int, answered: int, for_person: int | None) -> str:
    which = "All images" if shown == answered else f"{shown:,} of {answered:,} images"
    first = "those for a person first, then the least sure" if for_person else "the least sure first"
    return f"{which} as the model sees them: {first}."


def _tiles(tiles: Sequence[Tile]) -> list[dict]:
    shown, room = [], _MOST_PICTURES
    for tile in tiles[:MOST_TILES]:
        address = "" if tile.seen is None else _address(tile.seen)
        address = address if len(address) <= room else ""
        room -= len(address)
        file, answer = _short(tile.file), _short(tile.answer)
        shown.append(
            {
                "address": address,
                "alt": f"{file}, answered {answer}",
                "answer": answer,
                "probability": decimals(tile.probability),
                "for_person": tile.for_person,
                "file": file,
                "problem": _short(tile.problem),
            }
        )
    return shown


def _address(seen: np.ndarray) -> str:
    """A picture as the address of a small JPEG."""
    image, file = Image.fromarray(seen), io.BytesIO()
    if image.width > _SIDE:
        image = image.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    image.save(file, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _short(text: str, most: int = _MOST_LETTERS) -> str:
    """A name or a sentence that can be stored and is not endless; the end of a long path is kept."""
    text = printable(text)
    return text if len(text) <= most else f"…{text[-most:]}"
