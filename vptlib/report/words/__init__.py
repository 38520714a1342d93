"""The sentences of judgement, a file for each language: `vptlib.evidence` and others give codes, these give words.

A further language is a further file here with the same public names as `en.py`.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from vptlib.errors import UserError


def languages() -> list[str]:
    """The languages there are, by their codes."""
    return sorted(module.name for module in iter_modules(__path__))


def in_language(code: str = "en") -> ModuleType:
    """The words of a language, such as `in_language().sentence(statement)`.

    Raises:
        UserError: the language is not there; the text names those that are.
    """
    if code not in languages():
        raise UserError(f"there are no words in {code!r}: take one of {', '.join(languages())}.")
    return import_module(f"{__name__}.{code}")
