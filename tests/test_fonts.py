"""Fonts of figures: every script, Japanese first in Japanese, what is missing, lines, and the glyphs of a page."""

import base64
import io
import re
import warnings

import pytest
from fontTools.ttLib import TTFont
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from vptlib.report import fonts
from vptlib.report.fonts import families, japanese_file, missing, packages_for, subset_face, width_of, wrapped
from vptlib.report.style import styled_figure
from vptlib.report.words import speaking
from vptlib.wording import apart

JAPANESE = "傷・打痕のある表面（左）"


def test_latin_comes_first_in_english_and_the_japanese_font_in_japanese():
    assert families()[:2] == ["DejaVu Sans", "IPAexGothic"]
    with speaking("ja"):
        assert families()[:2] == ["IPAexGothic", "DejaVu Sans"]


def test_the_japanese_font_is_found_without_its_package_changing_all_figures():
    assert japanese_file().name == "ipaexg.ttf"
    with styled_figure(2.0):
        pass
    assert "IPAexGothic" not in plt.rcParams["font.family"]


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize(
    "text", [JAPANESE, "Kratzer, größer", "خدش على السطح", "шероховатость", apart("خدش"), "✓ ✗ → − ×"]
)
def test_names_in_many_scripts_are_drawn_without_a_warning(text, language):
    with speaking(language), warnings.catch_warnings():
        warnings.simplefilter("error")
        with styled_figure(2.0) as (fig, ax):
            ax.set_title(text, fontweight="bold")
        fig.savefig(io.BytesIO(), format="svg")
        assert missing([text]) == ""


def test_arabic_letters_take_their_joined_forms_and_run_to_the_left():
    def shapes(text: str) -> list[tuple[str, float]]:
        """The outline and the place of each letter, in the order of the text's bytes or of their places."""
        font = text_to_path._get_font(FontProperties(family=families()))
        glyphs, _outlines, _rects = text_to_path.get_glyphs_with_font(font, text)
        return [(name, x) for name, x, _y, _size in glyphs]

    joined, alone = shapes("\u062e\u062f\u0634"), [shapes(letter)[0][0] for letter in "\u062e\u062f\u0634"]
    first_letter = max(joined, key=lambda glyph: glyph[1])[0]  # the rightmost
    assert first_letter != alone[0] and first_letter not in alone


def test_what_no_font_has_is_named_once_and_drawn_without_a_flood_of_warnings(monkeypatch):
    monkeypatch.setattr(fonts, "families", lambda: ["DejaVu Sans", "IPAexGothic"])
    devanagari = "\u0916\u0930\u094b\u0902\u091a"
    assert missing([devanagari, devanagari, "scratch", "a\u200db\ufe0f\n"]) == "".join(sorted(set(devanagari)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fonts.without_glyph_warnings(), styled_figure(2.0) as (fig, ax):
            ax.set_title(devanagari)
            fig.savefig(io.BytesIO(), format="svg")


def test_the_packages_to_install_follow_from_the_script():
    assert packages_for("") == []
    assert packages_for("표") == ["fonts-noto-cjk"]
    assert packages_for("\u0916") == ["fonts-noto-core"]
    assert packages_for("표\u0916") == ["fonts-noto-cjk", "fonts-noto-core"]


def test_without_the_japanese_package_figures_are_drawn_all_the_same(monkeypatch):
    monkeypatch.setattr(fonts, "find_spec", lambda _name: None)
    assert japanese_file() is None
    assert subset_face(JAPANESE) == ""


# ---- lines ------------------------------------------------------------------------------------------------------


@given(st.text("ab -/é傷表面、。（）", max_size=80), st.floats(0.4, 3))
@settings(max_examples=150, deadline=None)
def test_no_line_is_wider_than_it_may_be_and_no_letter_is_lost(text, inches):
    lines = wrapped(text, inches, 10)
    assert re.sub(r"\s", "", lines) == re.sub(r"\s", "", text)
    for line in lines.split("\n"):
        assert width_of(line, 10) <= inches + 0.02 * len(line) or len(line) == 1 or set("、。）（") & set(line)


def test_japanese_is_broken_anywhere_but_before_a_full_stop_or_after_an_opening_bracket():
    for inches in (0.6, 0.7, 0.8, 0.9):
        for line in wrapped("傷のある表面（左）、打痕のある表面（右）。", inches, 10).split("\n"):
            assert line[0] not in "、。）" and line[-1] != "（"


def test_no_line_ends_at_a_no_break_space():
    for inches in (0.9, 1.2, 1.6, 2.0):
        assert "84\u202f%" in wrapped("Full fine-tuning is ahead in 84\u202f% of them", inches, 10)


def test_a_name_too_long_for_its_lines_keeps_its_beginning_and_its_end():
    found = wrapped("a surface with scratches and dents, left half", 1.2, 9, lines=2)
    assert found.count("\n") == 1 and found.startswith("a surface") and found.endswith("half") and "…" in found
    assert wrapped("short", 1.2, 9, lines=2) == "short"
    assert len(wrapped("x" * 200, 1.0, 9, lines=1)) < 25


# ---- the page ---------------------------------------------------------------------------------------------------


def font_of(rule: str) -> TTFont:
    code = re.search(r"base64,([^\"]+)\"", rule)[1]
    return TTFont(io.BytesIO(base64.b64decode(code)))


def test_a_page_gets_the_japanese_glyphs_that_it_has_and_no_others():
    rule = subset_face(f"Accuracy 82.3% {JAPANESE}")
    assert rule.startswith('@font-face { font-family: "vptlib-ja"') and 'format("woff2")' in rule
    assert set(font_of(rule).getBestCmap()) == {ord(letter) for letter in JAPANESE if ord(letter) > 0x2E7F} | {
        ord(letter) for letter in JAPANESE if letter == "・"
    }
    assert len(rule) < 10_000


def test_the_same_text_gives_the_same_bytes(monkeypatch):
    first = subset_face(JAPANESE)
    fonts.face_of.cache_clear()
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert subset_face("".join(reversed(JAPANESE))) == first


def test_a_page_without_japanese_needs_no_font():
    assert subset_face("Accuracy 82.3 % – naïve ✓") == ""
