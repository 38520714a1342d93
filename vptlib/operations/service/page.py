"""The page of the service for people: drop an image, read the answer.

It is one file that asks nobody but its own service. Its one style and its one script are allowed by their hashes, so
the browser runs nothing else, whatever a class is called. A token stays in the memory of the page.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).parents[1] / "templates"


@cache
def drop_page() -> str:
    """The page as HTML, to be sent with `drop_page_policy`; it asks the endpoints below its own address."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, autoescape=True)
    template = environment.get_template("drop.html.j2")
    return template.render(css=Markup(_part("drop.css")), script=Markup(_part("drop.js")))


@cache
def drop_page_policy() -> str:
    """What its header `Content-Security-Policy` must be: Level 3, with Trusted Types against markup out of texts."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash_of('drop.js')}",
            f"style-src {_hash_of('drop.css')}",
            "connect-src 'self'",
            "img-src blob: data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _part(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _hash_of(name: str) -> str:
    """The source expression that allows exactly this part."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(_part(name).encode()).digest()).decode()}'"
