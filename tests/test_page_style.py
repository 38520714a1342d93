"""The style of pages: colours that can be read in both schemes, light paper, and nothing that is not a variable."""

import re
from pathlib import Path

import pytest

from vptlib.report.pages import TEMPLATES
from vptlib.report.style import DARK_PAPER, PAPER, contrast, dark_colour, text_colour
from vptlib.tuning.methods import METHODS

CSS = (TEMPLATES / "page.css").read_text("utf-8")
SCHEMES = dict(zip(("light", "dark"), re.findall(r":root \{(.*?)\}", CSS, re.DOTALL), strict=True))
NAMES = {"ink", "soft", "line", "paper", "wash", "accent", "note", "note-wash", "good", "bad", "open"}
# Each colour of text, with the grounds that it stands on.
TEXTS = {
    "ink": ("paper", "wash", "note-wash"),
    "soft": ("paper", "wash"),
    "accent": ("paper", "wash", "note-wash"),
    "note": ("paper", "note-wash"),
    "good": ("paper", "wash"),
    "bad": ("paper", "wash"),
    "open": ("paper", "wash"),
    "paper": ("accent",),
}
AA = 4.5


def colours(scheme: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", SCHEMES[scheme]))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("text, ground", [(text, ground) for text, grounds in TEXTS.items() for ground in grounds])
def test_each_text_can_be_read_on_each_of_its_grounds(scheme, text, ground):
    found = colours(scheme)
    assert contrast(found[text], found[ground]) >= AA, f"{text} on {ground}, {scheme}"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_scheme_sets_all_colours_and_the_papers_are_those_of_the_figures(scheme):
    assert set(colours(scheme)) == NAMES
    assert colours(scheme)["paper"] == {"light": PAPER, "dark": DARK_PAPER}[scheme]


@pytest.mark.parametrize("method", METHODS)
def test_the_colour_of_each_method_can_be_read_as_text_in_both_schemes(method):
    colour = METHODS[method].colour
    assert contrast(text_colour(colour), PAPER) >= AA
    assert contrast(dark_colour(colour), DARK_PAPER) >= AA


def test_dark_colours_are_for_screens_only_so_that_paper_stays_light():
    assert "prefers-color-scheme: dark" in CSS
    for rule in re.findall(r"@media[^{]*prefers-color-scheme[^{]*", CSS):
        assert rule.startswith("@media screen and")


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.css")), ids=lambda path: path.name)
def test_colours_stand_only_where_the_variables_are_set(path: Path):
    rest = re.sub(r":root \{.*?\}", "", path.read_text("utf-8"), flags=re.DOTALL)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?=\s*[;,)])", rest) == []


def test_the_check_of_contrast_finds_a_colour_that_is_too_pale():
    assert contrast("#8a939e", "#ffffff") < AA < contrast("#556170", "#ffffff")
