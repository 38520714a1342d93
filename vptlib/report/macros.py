"""The templates of pages, filled in: values are escaped; `_` and `words` speak the language that is spoken then."""

from functools import cache
from pathlib import Path
from typing import Any

from IPython.display import HTML
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from vptlib.report.words import gettext as _
from vptlib.report.words import words

TEMPLATES = Path(__file__).parent / "templates"


@cache
def template(name: str) -> Template:
    """A template by the name of its file."""
    folder = FileSystemLoader(TEMPLATES)
    environment = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.globals |= {"words": words, "_": _}
    return environment.get_template(name)


def filled(file: str, macro: str, **values: Any) -> HTML:
    """One macro of a template, filled in; a notebook cell shows it as it is."""
    return HTML(str(getattr(template(file).module, macro)(**values)))
