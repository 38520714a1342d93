"""What a report says, in each language: the sentences of judgement, numbers, and the texts of sections and figures.

Sentences that judgement needs are functions, a folder for each language (`en`, `ja`), because their order and their
numbers differ from language to language. Fixed texts, such as heads, captions and labels, stand in English where they
are used, as `_("Accuracy")`; `catalogues/<language>.po` has them in another language (GNU gettext, read by Babel).

A report speaks one language at a time:

    with speaking("ja"):
        words.sentence(found), words.per_cent(0.823), _("Accuracy")
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from vptlib.errors import UserError

CATALOGUES = Path(__file__).parent / "catalogues"
ENGLISH = "en"


def languages() -> list[str]:
    """The languages there are, by their codes."""
    return sorted(module.name for module in iter_modules(__path__))


@cache
def in_language(code: str = ENGLISH) -> ModuleType:
    """The words of a language, such as `in_language().sentence(statement)`.

    Raises:
        UserError: the language is not there; the text names those that are.
    """
    if code not in languages():
        raise UserError(f"there are no words in {code!r}: take one of {', '.join(languages())}.")
    return import_module(f"{__name__}.{code}")


# ---- the language that is spoken now ----------------------------------------------------------------------------


class _Spoken:
    """Stands for the words of the language that is spoken now, such as `words.sentence(statement)`."""

    code = ENGLISH

    def __getattr__(self, name: str) -> Any:
        return getattr(in_language(self.code), name)


words = _Spoken()


def speak(code: str) -> None:
    """From now on `words` and `_` are of this language, in the whole process: for a notebook, which speaks one.

    Raises:
        UserError: the language is not there.
    """
    in_language(code)
    words.code = code


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Within it, `words` and `_` are of this language, in the whole process.

    Raises:
        UserError: the language is not there.
    """
    before = words.code
    speak(code)
    try:
        yield
    finally:
        words.code = before


def gettext(message: str) -> str:
    """A fixed text in the language that is spoken now; values are filled in after: `_("{n} images").format(n=3)`."""
    return from_catalogue(message)


def from_catalogue(message: str) -> str:
    """As `gettext`, of a text that is not written in the call: `catalogue.messages` names those there are."""
    return texts_of(words.code).get(message, message) if words.code != ENGLISH else message


@cache
def texts_of(code: str) -> dict[str, str]:
    """The texts of a language other than English, by the English ones."""
    from babel.messages.pofile import read_po

    with (CATALOGUES / f"{code}.po").open("rb") as file:
        catalogue = read_po(file, locale=code)
    return {str(one.id): str(one.string) for one in catalogue if one.id and one.string and not one.fuzzy}
