"""A figure on a page: two drawings, alt text, data to download, light and dark in a browser, one tag in the PDF."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pikepdf
import pytest
from bs4 import BeautifulSoup
from drawn_figures import FIGURES
from matplotlib import pyplot as plt
from PIL import Image

from vptlib.report.figure_html import NARROW_SCREENS, figure, svg
from vptlib.report.style import NARROW, PAPER, WIDE, dark_colour, figure_width, styled_figure
from vptlib.report.words import speaking

CSS = (Path(__file__).parents[1] / "vptlib/report/templates/figures.css").read_text("utf-8")
DATA = pd.DataFrame({"class": ["ok", "=1+1", "傷"], "images": [1, 2, -3]})


def bar():
    with styled_figure(2.0) as (fig, ax):
        ax.barh([0], [figure_width()], color="#1b2430")
        ax.set_title("Ünï ✓")
    return fig


def page_of(html: str) -> str:
    head = f'<title>t</title><meta name="viewport" content="width=device-width"><style>{CSS}</style>'
    return f'<!doctype html><html lang="en">{head}<body style="margin:0">{html}'


def soup(**options):
    return BeautifulSoup(figure(bar, "A < B", 'says "x" & y', **options).data, "html.parser")


def test_a_figure_has_one_picture_for_each_kind_of_screen_and_all_its_texts_are_escaped():
    found = soup()
    (image,), (source,) = found.select("picture > img"), found.select("picture > source")
    assert source["media"] == NARROW_SCREENS == "screen and (max-width: 760px)"
    assert (image["alt"], found.figcaption.text) == ('says "x" & y', "A < B")
    assert image["width"] == f"{WIDE * 96:.0f}" and source["width"] == f"{NARROW * 96:.0f}"
    for address in (image["src"], source["srcset"]):
        text = base64.b64decode(address.removeprefix("data:image/svg+xml;base64,")).decode()
        assert text.startswith("<svg") and "<text" not in text  # outlines: no font is needed
        assert not re.search(r"https?://(?!www\.w3\.org/)", text)
    assert plt.get_fignums() == []
    assert not found.select("a")


@pytest.mark.parametrize(("name", "kind"), [("costs", []), ("reliability", ["half"]), ("gradcam", ["tall"])])
def test_its_class_tells_how_much_of_a_page_it_needs(name, kind):
    (found,) = BeautifulSoup(figure(FIGURES[name], "c", "a").data, "html.parser").select("figure")
    assert found["class"] == ["drawn", *kind] and found["role"] == "group"


def test_its_data_is_a_csv_file_that_a_spreadsheet_reads_and_does_not_run():
    (link,) = soup(data=DATA, name="classes").select("a")
    assert link["download"] == "classes.csv" and link["aria-label"].startswith(link.text)
    whole = base64.b64decode(link["href"].removeprefix("data:text/csv;base64,"))
    assert whole.startswith(b"\xef\xbb\xbf")
    assert whole.decode("utf-8-sig") == "class,images\nok,1\n'=1+1,2\n傷,-3\n"


def test_the_same_figure_gives_the_same_bytes_and_another_language_other_ones():
    draw = FIGURES["costs"]
    assert figure(draw, "c", "a").data == figure(draw, "c", "a").data
    with speaking("ja"):
        assert figure(draw, "c", "a").data != figure(draw, "c", "a")


def pixels(browser, html: str, scheme: str, width: int) -> Image.Image:
    page = browser.new_page(viewport={"width": width, "height": 400}, color_scheme=scheme)
    try:
        page.set_content(html)
        page.wait_for_timeout(100)
        return Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    finally:
        page.close()


def as_image(text: str) -> str:
    return page_of(f'<img src="data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}">')


@pytest.mark.parametrize("name", ["costs", "confusion of five", "prompts"])
def test_a_shortened_drawing_looks_as_matplotlib_drew_it(browser, name):
    whole = io.BytesIO()
    FIGURES[name]().savefig(whole, format="svg")
    long = pixels(browser, as_image(whole.getvalue().decode()), "light", 900)
    short = pixels(browser, as_image(svg(FIGURES[name]())), "light", 900)
    differences = np.abs(np.asarray(long, float) - np.asarray(short, float))
    assert np.asarray(long).std() > 5
    assert differences.mean() < 0.3 and (differences.max(axis=2) > 64).mean() < 0.001
    assert len(svg(FIGURES[name]())) < 0.75 * len(whole.getvalue())


@pytest.mark.parametrize("width", [320, 761, 1280])
def test_it_follows_the_scheme_of_the_page_and_never_is_wider_than_it(browser, width):
    html = page_of(figure(bar, "", "a").data)
    shades = {}
    for scheme in ("light", "dark"):
        colours = {colour for _n, colour in pixels(browser, html, scheme, width).getcolors(1 << 24)}
        shades[scheme] = colours
    ink, paper = (tuple(bytes.fromhex(colour[1:])) for colour in ("#1b2430", PAPER))
    assert {ink, paper} <= shades["light"]
    assert tuple(bytes.fromhex(dark_colour("#1b2430")[1:])) in shades["dark"] and ink not in shades["dark"]
    page = browser.new_page(viewport={"width": width, "height": 400})
    page.set_content(html)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = page.evaluate("document.querySelector('img').currentSrc === document.querySelector('img').src")
    assert drawn is (width > 760)
    page.close()


def test_a_pdf_has_one_figure_tag_with_its_alt_text_and_light_colours(browser, tmp_path):
    page = browser.new_page(color_scheme="dark")
    page.set_content(page_of(figure(bar, "A caption", "An alt text", DATA).data))
    page.pdf(path=str(tmp_path / "a.pdf"), tagged=True, print_background=True)
    page.close()
    with pikepdf.open(tmp_path / "a.pdf") as pdf:
        tags = list(tags_of(pdf.Root.StructTreeRoot.K))
        assert [str(tag.get("/Alt")) for tag in tags if tag.S == "/Figure"] == ["An alt text"]
        assert not pdf.pages[0].get("/Annots")  # on paper there is nothing to download


def tags_of(node):
    if isinstance(node, pikepdf.Array):
        for each in node:
            yield from tags_of(each)
    elif isinstance(node, pikepdf.Dictionary) and "/S" in node:
        yield node
        if "/K" in node:
            yield from tags_of(node.K)
