"""The page around the notebooks: its head, its links, what it brings with it, and what it must not take over."""

import base64
import re
from copy import deepcopy
from html import unescape
from urllib.parse import unquote

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from vptlib.report.pages import join, page


def notebook(*parts: str) -> nbformat.NotebookNode:
    """One that shows parts of HTML, its title and description with characters that HTML uses."""
    cells = [new_code_cell("secret", outputs=[new_output("display_data", {"text/html": part})]) for part in parts]
    whole = nbformat.v4.new_notebook(cells=[*cells, new_markdown_cell("### A head\n\ntext")])
    return join([whole, deepcopy(whole)], "<b> & title", 'about "it"')


def test_the_head_names_language_title_and_description_and_escapes_them():
    html = page(notebook("<p>seen</p>"), "ja")
    assert '<html lang="ja">' in html and "<title>&lt;b&gt; &amp; title</title>" in html
    assert re.search(r'<meta [^>]*name="description"', html) and "content='about \"it\"'" in html
    assert re.search(r'<meta [^>]*content="light dark"[^>]*name="color-scheme"', html)
    assert '<html lang="en-GB">' in page(notebook("<p>seen</p>"))


def test_a_reader_can_skip_to_the_content_and_go_to_another_language():
    html = page(notebook("<p>seen</p>"), "ja", {"en": "index.html"})
    assert html.index('href="#content"') < html.index("<nav") < html.index('<main id="content"')
    assert '<a href="index.html" hreflang="en" lang="en">English</a>' in html
    assert "<nav" not in page(notebook("<p>seen</p>"))


def test_the_code_is_hidden_and_markdown_of_two_notebooks_gives_no_id_twice():
    html = page(notebook("<p>seen</p>"))
    assert "secret" not in html and html.count("<h3>A head</h3>") == 2


def test_japanese_on_an_english_page_brings_its_glyphs_and_other_pages_do_not():
    assert "font/woff2" in page(notebook("<p>ナット</p>"))
    assert "font/woff2" not in page(notebook('<p>nut</p><img alt="nut" src="data:image/png;base64,AA==">'))


def test_the_same_notebook_gives_the_same_page():
    assert page(notebook("<p>ナット</p>"), "ja") == page(notebook("<p>ナット</p>"), "ja")


def test_a_drawing_keeps_its_meaning_in_its_shorter_address():
    svg = '<svg xmlns="urn:svg"><text>100 % &amp; #1</text><path d="M 0 1 \nL 2 3 z" fill="#fff"/></svg>'
    address = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    html = page(notebook(f'<picture><source srcset="{address}"><img alt="x" src="{address}"></picture>'))
    first, *others = re.findall(r'"data:image/svg\+xml,([^"]*)"', html)
    assert set(others) == {first} and not re.search(r"\s", first)
    expected = "<svg xmlns='urn:svg'><text>100 % &amp; #1</text><path d='M0,1L2,3z' fill='#fff'/></svg>"
    assert unquote(unescape(first)) == expected
