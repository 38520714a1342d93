"""The catalogues of fixed texts: finds the messages in code and templates, and keeps `words/catalogues/<language>.po`.

A message is the text in `_("…")` or `gettext("…")`, a literal. After a text in the code has changed,

    python -m vptlib.report.catalogue

rewrites the catalogues: translations stay, new messages have none yet, and those that are gone are dropped. The result
depends on the code and the translations alone, so it has no dates and no line numbers. The message catalogues are those
of GNU gettext, and Babel reads and writes them.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po

from vptlib.report.settings import TITLE
from vptlib.report.told import texts_told
from vptlib.report.words import CATALOGUES, ENGLISH, languages

# Reports, and the widgets and figures of the course.
FOLDERS = (Path(__file__).parent, Path(__file__).parent.parent / "course")
KEYWORDS = {"_": None, "gettext": None}
# Kind of file → how Babel finds the messages in it.
_EXTRACTORS = {".py": "python", ".j2": "jinja2.ext:babel_extract"}
_OPTIONS = {"silent": "false"}  # a template that cannot be read is an error
_SETTINGS, _TOLD = "settings.py", "told.py"  # whose texts are not written in a call
_HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n"Language: {code}\\n"\n\n'
_WIDTH = 120


def messages(*folders: Path) -> dict[str, list[str]]:
    """Every message of the code and the templates.

    Args:
        folders: with the code, also in their folders; those of reports and of the course where none is given.

    Returns:
        message → the files that have it, relative to their folder; in the order of the files, and of the text in each.
        The usual title and what embedded tasks and backbones say of themselves come first, unless folders are given.

    Raises:
        SyntaxError, jinja2.TemplateSyntaxError: a file cannot be read.
    """
    found: dict[str, list[str]] = {}
    if not folders:
        found |= {TITLE: [_SETTINGS]} | {text: [_TOLD] for text in texts_told()}
    for folder in folders or FOLDERS:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in _EXTRACTORS):
            place = path.relative_to(folder).as_posix()
            for message in _messages_in(path):
                if place not in found.setdefault(message, []):
                    found[message].append(place)
    return found


def _messages_in(path: Path) -> Iterator[str]:
    for _, message, _, _ in extract_from_file(_EXTRACTORS[path.suffix], path, KEYWORDS, options=_OPTIONS):
        assert isinstance(message, str)  # no keyword has a plural
        yield message


def catalogue(code: str) -> Catalog:
    """The catalogue of a language as it is now; an empty one where there is no file yet."""
    path = CATALOGUES / f"{code}.po"
    if not path.exists():
        return Catalog(locale=code)
    with path.open("rb") as file:
        return read_po(file, locale=code)


def catalogue_text(code: str) -> str:
    """The text that the file of a language must have: the messages that there are, with their translations so far."""
    before, after = catalogue(code), Catalog(locale=code)
    for message, places in messages().items():
        known = before.get(message)
        fuzzy = ["fuzzy"] if known and known.fuzzy else []
        added = after.add(message, known.string if known else "", [(place, 0) for place in places], fuzzy)
        added.flags &= {"fuzzy"}  # Babel takes "95% of" for a placeholder
    written = BytesIO()
    write_po(written, after, width=_WIDTH, omit_header=True)
    return _HEADER.format(code=code) + written.getvalue().decode().rstrip("\n") + "\n"


def update(code: str) -> Path:
    """Rewrite the catalogue of a language, and return its path."""
    path, text = CATALOGUES / f"{code}.po", catalogue_text(code)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


if __name__ == "__main__":
    for language in languages():
        if language != ENGLISH:
            print(update(language))
