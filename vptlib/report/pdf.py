"""What Chromium's PDF of a page lacks: a title that readers show, a fixed date, an alt text on each figure, no paths.

Chromium tags the text and gives bookmarks and links. The file does not claim PDF/UA: nobody has tested that.
"""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pikepdf

PRODUCER = "vptlib"
_NAME = re.compile(r"node\d{8}")  # that Chromium gives a structure element


def finish(pdf: Path, page: Path, title: str, language: str, day: date) -> None:
    """Complete a printed page in its place; the same page and day give the same file.

    Args:
        pdf: as Chromium has printed it.
        page: the HTML page that was printed; links to files next to it become relative.
        title: of the report.
        language: its tag, such as "en-GB" or "ja".
        day: of the report.
    """
    with pikepdf.open(pdf, allow_overwriting_input=True) as document:
        document.Root.Lang = pikepdf.String(language)
        document.Root.ViewerPreferences = pikepdf.Dictionary(DisplayDocTitle=True)
        _describe(document, title, day)
        _without_paths(document, f"{page.resolve().parent.as_uri()}/")
        _only_described_figures(document)
        _numbered_from_1(document)
        document.save(pdf, deterministic_id=True, object_stream_mode=pikepdf.ObjectStreamMode.generate)


def _describe(document: pikepdf.Pdf, title: str, day: date) -> None:
    """Title and date, and nothing about a person or a machine."""
    for key in list(document.docinfo.keys()):
        del document.docinfo[key]
    facts = {"/Title": title, "/Producer": PRODUCER, "/CreationDate": f"D:{day:%Y%m%d}"}
    for key, value in facts.items():
        document.docinfo[key] = pikepdf.String(value)


def _without_paths(document: pikepdf.Pdf, folder: str) -> None:
    """Addresses of files in the folder of the page, made relative to it."""
    for page in document.pages:
        for annotation in page.obj.get("/Annots", []):
            action = annotation.get("/A")
            if action is not None and str(action.get("/URI", "")).startswith(folder):
                action.URI = pikepdf.String(str(action.URI).removeprefix(folder))


def _only_described_figures(document: pikepdf.Pdf) -> None:
    """A figure without an alt text is the box around a picture that has one, or holds text: a plain division."""
    for figure in list(figures_of(document)):
        if "/Alt" not in figure:
            figure.S = pikepdf.Name.Div


def _numbered_from_1(document: pikepdf.Pdf) -> None:
    """Chromium names structure elements by numbers that differ from print to print; only their order does not."""
    places = [place for one in document.objects for place in _names_in(one)]
    names = sorted({str(holder[key]) for holder, key in places})
    numbered = {name: f"node{number:08d}" for number, name in enumerate(names, 1)}
    for holder, key in places:
        holder[key] = pikepdf.String(numbered[str(holder[key])])


def _names_in(one: Any) -> Iterator[tuple[Any, Any]]:
    """Where an object, with what lies directly in it, holds the name of a structure element: holder and key."""
    if isinstance(one, pikepdf.Dictionary):
        held = [(key, one[key]) for key in one.keys()]  # noqa: SIM118, it is no dict
    elif isinstance(one, pikepdf.Array):
        held = list(enumerate(one))
    else:
        return
    for key, value in held:
        if isinstance(value, pikepdf.String):
            if _NAME.fullmatch(str(value)):
                yield one, key
        elif not getattr(value, "is_indirect", False):
            yield from _names_in(value)


def figures_of(document: pikepdf.Pdf) -> Iterator[Any]:
    """The structure elements of a PDF that are figures."""
    root = document.Root.get("/StructTreeRoot")
    if root is not None:
        yield from (element for element in _elements(root.get("/K")) if str(element.S) == "/Figure")


def _elements(kids: Any) -> Iterator[Any]:
    """All structure elements under some, those themselves included, in the order of reading."""
    waiting = [kids]
    while waiting:
        one = waiting.pop()
        if isinstance(one, pikepdf.Array):
            waiting.extend(reversed(list(one)))
        elif isinstance(one, pikepdf.Dictionary) and "/S" in one and str(one.get("/Type")) != "/MCR":
            yield one
            waiting.append(one.get("/K"))
