"""`make docs`: pages of a package that open offline, and a broken link or a stale name stops it."""

import importlib.util
import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "make_reference.py"


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("make_reference", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOY = '''"""A package: see `toybox.inner.fold`."""

__version__ = "1"
__all__ = ["fold"]


def __getattr__(name):
    if name != "fold":
        raise AttributeError(name)
    from toybox.inner import fold

    return fold
'''
INNER = '''"""A module."""


def fold(size: int) -> int:
    """Folds, unlike `toybox.inner.unfold`.

    Args:
        size: of the sheet.
    """
    return size
'''


@pytest.fixture
def toybox(tmp_path, monkeypatch):
    (tmp_path / "toybox").mkdir()
    (tmp_path / "toybox" / "__init__.py").write_text(TOY)
    (tmp_path / "toybox" / "inner.py").write_text(INNER)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "pages"


def test_every_module_has_a_page_that_fetches_nothing(reference, toybox):
    reference.make("toybox", toybox)
    pages = {path.relative_to(toybox).as_posix(): path.read_text() for path in toybox.rglob("*.html")}
    assert set(pages) == {"index.html", "toybox.html", "toybox/inner.html"}
    for text in pages.values():
        assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=.(?:https?:)?//", text)
    assert "of the sheet" in pages["toybox.html"]  # a public name that is loaded at its first use
    assert list(reference.faults(toybox, "toybox")) == [
        f"{page}: the docstrings name toybox.inner.unfold, but there is no such thing"
        for page in ("inner.html", "toybox.html")
    ]


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("b.html", None),
        ("b.html#here", None),
        ("#top", None),
        ("https://example.org/gone", None),
        ("c.html", "a.html: the link to c.html leads to no page"),
        ("b.html#gone", "a.html: the link to b.html#gone leads to no place in b.html"),
        ("#gone", "a.html: the link to #gone leads to no place in a.html"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(reference, tmp_path, link, fault):
    (tmp_path / "a.html").write_text(f'<p id="top"><a href="{link}">somewhere</a></p>')
    (tmp_path / "b.html").write_text('<p id="here">here</p>')
    assert list(reference.faults(tmp_path, "vptlib")) == ([fault] if fault else [])
