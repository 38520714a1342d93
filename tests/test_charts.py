"""Figures: nothing overlaps, nothing leaves the figure, colours can be distinguished, files stay small."""

import re
import warnings
from dataclasses import replace
from functools import cache
from itertools import combinations, pairwise

import numpy as np
import pytest
from drawn_figures import FIGURES, KINDS, LEVEL, curves, runs
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.colors import is_color_like, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.text import Text

from vptlib.evidence.curves import paired_difference
from vptlib.evidence.decision import costs
from vptlib.report.charts import cost_figure, difference_figure, learning_curve_figure, spread_apart
from vptlib.report.figure_html import svg
from vptlib.report.style import (
    CELL,
    COLOURS,
    DARK_PAPER,
    HALF,
    INK,
    LEAST_CONTRAST,
    LEAST_TYPE,
    MARGIN,
    MARKERS,
    NARROW,
    NARROW_MARGIN,
    NARROW_SCREEN,
    PAPER,
    TITLES,
    WIDE,
    contrast,
    dark_colour,
    drawn_at,
)
from vptlib.report.words import speaking
from vptlib.tuning.methods import METHODS, STANDARD


def texts(figure: Figure) -> list[tuple[str, object]]:
    """All visible texts with their boxes in pixels."""
    figure.draw_without_rendering()
    drawn = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    outside = {id(label) for axes in figure.axes for label in _undrawn(axes)}
    return [(text.get_text(), text.get_window_extent()) for text in drawn if id(text) not in outside]


def _undrawn(axes) -> list[Text]:
    """Labels of ticks beyond the ends of an axis: they exist and are not drawn."""
    undrawn = []
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        drawn = set(map(id, axis._update_ticks()))
        undrawn += [
            t
            for tick in axis.get_major_ticks() + axis.get_minor_ticks()
            if id(tick) not in drawn or not min(limits) <= tick.get_loc() <= max(limits)
            for t in (tick.label1, tick.label2)
        ]
    return undrawn


# An own size in inches, and the least scale at which a page shows it: at 761 px (wide) and at 320 px (narrow).
SCREENS = {
    "wide": (WIDE, min(1, (NARROW_SCREEN + 1 - 2 * MARGIN) / (96 * WIDE))),
    "narrow": (NARROW, min(1, (320 - 2 * NARROW_MARGIN) / (96 * NARROW))),
}


@cache
def drawn(name: str, screen: str, language: str = "en") -> Figure:
    """One of `FIGURES`; any warning, such as of a glyph or a font that is missing, is an error."""
    with speaking(language), drawn_at(SCREENS[screen][0]), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name]()
        figure.draw_without_rendering()
    return figure


every_figure = pytest.mark.parametrize("name", FIGURES)
both_screens = pytest.mark.parametrize("screen", SCREENS)


@both_screens
@every_figure
def test_text_has_eleven_pixels_on_every_screen(name, screen):
    _, scale = SCREENS[screen]
    for text in drawn(name, screen).findobj(Text):
        if text.get_text().strip() and text.get_visible():
            assert text.get_fontsize() * 96 / 72 * scale >= LEAST_TYPE, text.get_text()


@both_screens
@pytest.mark.parametrize(("name", "language"), [*((name, "en") for name in FIGURES), *((name, "ja") for name in KINDS)])
def test_no_text_is_clipped_and_none_overlaps_another(name, language, screen):
    figure = drawn(name, screen, language)
    boxes, slack = texts(figure), figure.dpi / 140
    assert len(boxes) > 4
    for text, box in boxes:
        assert box.x0 >= -slack and box.y0 >= -slack, text
        assert box.x1 <= figure.bbox.width + slack and box.y1 <= figure.bbox.height + slack, text
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = a.x1 <= b.x0 + slack or b.x1 <= a.x0 + slack or a.y1 <= b.y0 + slack or b.y1 <= a.y0 + slack
        assert apart, f"{one!r} overlaps {other!r}"


@both_screens
@every_figure
def test_a_figure_is_closed_and_as_wide_as_its_screen(name, screen):
    figure = drawn(name, screen)
    assert plt.get_fignums() == []
    assert figure.get_figwidth() in ({WIDE, HALF} if screen == "wide" else {NARROW})


@both_screens
@every_figure
def test_text_is_legible_on_light_and_dark_paper(name, screen):
    for text in drawn(name, screen).findobj(Text):
        if text.get_text().strip() and text.get_visible():
            colour = to_hex(text.get_color())
            assert contrast(colour, PAPER) >= LEAST_CONTRAST, (text.get_text(), colour)
            assert contrast(dark_colour(colour), DARK_PAPER) >= LEAST_CONTRAST, (text.get_text(), colour)


@both_screens
@every_figure
def test_its_svg_is_small_and_all_its_colours_have_a_dark_version(name, screen):
    with speaking("en"):
        text = svg(drawn(name, screen))
    pictures = sum(len(found) for found in re.findall(r"data:image/[^\"]*", text))
    assert len(text) - pictures < 120_000 and pictures < 90_000
    head, body = text.split("</style>", 1)
    said = dict(re.findall(r"--c([0-9a-f]{6}):(#[0-9a-f]{6});", head.split("@media")[1]))
    for colour in set(re.findall(r"#([0-9a-f]{6})\b", re.sub(r"data:image[^\"]*", "", body))):
        assert dark_colour(f"#{colour}") == f"#{colour}"
    for colour in set(re.findall(r"var\(--c([0-9a-f]{6})\)", body)):
        assert said[colour] == dark_colour(f"#{colour}")


def test_on_a_narrow_screen_panels_stand_one_under_the_other():
    for name in ("costs", "attention"):
        wide = [axes.get_position() for axes in drawn(name, "wide").axes]
        narrow = [axes.get_position() for axes in drawn(name, "narrow").axes]
        assert all(one.x1 < other.x0 for one, other in pairwise(wide))
        assert all(one.y0 > other.y1 and one.width > 0.6 for one, other in pairwise(narrow))


def test_of_many_classes_the_commonest_mistakes_are_shown_and_named_in_full_where_there_is_room():
    shown = [text for text, _box in texts(drawn("confusion of thirty", "wide"))]
    assert len([text for text in shown if "→" in text]) == 9  # eight mistakes and what the arrow means
    assert any("→" in text for text, _box in texts(drawn("confusion of seven", "narrow")))
    assert not any("→" in text for text, _box in texts(drawn("confusion of seven", "wide")))


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_a_number_on_a_shaded_cell_is_legible_on_light_and_dark_paper(share):
    for ink, cell, paper in ((INK, CELL, PAPER), (dark_colour(INK), dark_colour(CELL), DARK_PAPER)):
        mixed = to_hex(share * np.array(to_rgb(cell)) + (1 - share) * np.array(to_rgb(paper)))
        assert contrast(ink, mixed) >= LEAST_CONTRAST


def test_lines_are_labelled_with_their_method_and_last_accuracy():
    ends = {"linear": 0.801, "vpt-deep": 0.842, "full": 0.913}
    shown = [text for text, _ in texts(learning_curve_figure(curves(ends), "Digits"))]
    for method, accuracy in ends.items():
        assert f"{TITLES[method]}  {100 * accuracy:.1f}\u202f%" in shown


def test_labels_are_in_the_order_of_their_lines():
    boxes = dict(texts(learning_curve_figure(curves({"linear": 0.904, "vpt-deep": 0.902, "full": 0.903}), "Digits")))
    order = sorted((name for name in boxes if "90." in name), key=lambda name: boxes[name].y0, reverse=True)
    assert [name.split("  ")[0] for name in order] == ["Linear probe", "Full fine-tuning", "VPT-deep"]


def test_points_of_one_seed_and_of_several_are_told_as_such():
    found = curves(LEVEL).assign(seeds=[1, *[3] * (len(curves(LEVEL)) - 1)])
    shown = " ".join(text for text, _ in texts(learning_curve_figure(found, "Digits")))
    assert "and 1 to 3 seeds" in shown


def test_no_tick_stands_beyond_all_or_none_of_the_answers():
    figure = learning_curve_figure(curves({"vpt-deep": 1.0, "full": 1.0}).assign(low=1.0, high=1.0), "Digits")
    low, high = figure.axes[0].get_ylim()
    shown = [tick for tick in figure.axes[0].get_yticks() if low <= tick <= high]
    assert max(shown) == pytest.approx(1) and high - low > 0.05


def test_one_seed_is_stated_in_the_figure():
    shown = " ".join(text for text, _ in texts(learning_curve_figure(curves(LEVEL, seeds=1), "Digits")))
    assert "one seed" in shown
    assert "3 seeds" in " ".join(text for text, _ in texts(learning_curve_figure(curves(LEVEL), "Digits")))


def test_every_method_has_a_colour_and_a_marker_of_its_own_that_matplotlib_draws():
    assert set(COLOURS) == set(MARKERS) == set(TITLES) == set(METHODS)
    assert len({(method.colour, method.marker) for method in METHODS.values()}) == len(METHODS)
    assert len(set(MARKERS.values())) == len(METHODS)  # distinguishable without colours too
    for name, method in METHODS.items():
        assert is_color_like(method.colour), name
        assert MarkerStyle(method.marker).is_filled(), name


def test_a_method_added_at_run_time_is_drawn_as_its_row_states(monkeypatch):
    monkeypatch.setitem(METHODS, "new", replace(METHODS["linear"], title="A new one", colour="#8b4513", marker="H"))
    table = runs().replace({"method": {"linear": "new"}})
    lines = learning_curve_figure(curves({"new": 0.7, "full": 0.9}), "Digits")
    assert ("#8b4513", "H") in {(line.get_color(), line.get_marker()) for line in lines.axes[0].lines}
    for figure in (lines, cost_figure(costs(table)), difference_figure(paired_difference(table, "new"), 0.01, a="new")):
        assert "A new one" in " ".join(text for text, _ in texts(figure))


# Linear-light RGB as seen without red or green cones (Viénot, Brettel & Mollon 1999).
PROTAN = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
DEUTAN = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])


@pytest.mark.parametrize("paper", [PAPER, DARK_PAPER])
@pytest.mark.parametrize("eyes", [np.eye(3), PROTAN, DEUTAN], ids=["all cones", "no red", "no green"])
def test_all_eyes_distinguish_the_colours_and_see_them_on_light_and_dark_paper(eyes, paper):
    shown = {method: colour if paper == PAPER else dark_colour(colour) for method, colour in COLOURS.items()}
    linear = {method: np.array(to_rgb(colour)) ** 2.2 for method, colour in shown.items()}
    for one, other in combinations(STANDARD, 2):  # the others have markers of their own
        seen = np.clip([eyes @ linear[one], eyes @ linear[other]], 0, 1) ** (1 / 2.2)
        difference = np.abs(seen[0] - seen[1])
        assert difference.max() > 0.2, (one, other)
    for method, colour in shown.items():
        assert contrast(colour, paper) >= 3, method  # WCAG 2.2, 1.4.11: lines and marks


@given(
    st.lists(st.tuples(st.floats(-5, 15), st.floats(0.1, 1.2)), min_size=1, max_size=7),
)
@settings(max_examples=200, deadline=None)
def test_spread_labels_do_not_overlap_or_leave_the_axis(labels):
    places, lengths = map(np.array, zip(*labels, strict=True))
    spread = spread_apart(places, lengths, (0, 10))
    order = np.argsort(places, kind="stable")
    tops, bottoms = spread[order] + lengths[order] / 2, spread[order] - lengths[order] / 2
    assert (bottoms[1:] >= tops[:-1] - 1e-9).all()
    assert bottoms[0] >= -1e-9 and tops[-1] <= 10 + 1e-9


def test_labels_with_room_stay_where_they_are():
    assert spread_apart([7.0, 1.0, 4.0], [1, 1, 1], (0, 10)).tolist() == [7.0, 1.0, 4.0]
