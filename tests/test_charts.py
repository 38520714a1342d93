"""Figures: nothing overlaps, nothing leaves the figure, colours can be distinguished, files stay small."""

import io
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import is_color_like, to_rgb
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.text import Text
from planted import planted_runs

from vptlib.evidence.curves import paired_difference
from vptlib.evidence.decision import costs
from vptlib.report.charts import cost_figure, difference_figure, input_size_figure, learning_curve_figure, spread_apart
from vptlib.report.style import COLOURS, MARKERS, TITLES
from vptlib.tuning.methods import METHODS, STANDARD

MANY = (50, 100, 200, 400, 800, 1000)


def curves(ends: dict[str, float], sizes=MANY, band=0.03, seeds=3) -> pd.DataFrame:
    """Straight lines that end at the given accuracies."""
    return pd.DataFrame(
        {
            "method": method,
            "n": n,
            "mean": end - 0.06 * step,
            "low": end - 0.06 * step - band,
            "high": end - 0.06 * step + band,
            "seeds": seeds,
        }
        for method, end in ends.items()
        for step, n in enumerate(reversed(sizes))
    )


LEVEL = dict.fromkeys(STANDARD, 0.9)
FIGURES = {
    "level": lambda: learning_curve_figure(curves(LEVEL), "Digits"),
    "close": lambda: learning_curve_figure(
        curves({"linear": 0.900, "vpt-shallow": 0.902, "vpt-deep": 0.905, "full": 0.999}, (50, 150, 400)), "Digits"
    ),
    "far": lambda: learning_curve_figure(
        curves({"linear": 0.35, "vpt-shallow": 0.5, "vpt-deep": 0.9, "full": 0.93}, seeds=1), "A long title " * 9
    ),
    "two sizes": lambda: learning_curve_figure(curves({"vpt-deep": 0.9, "full": 0.8}, (1000, 2000)), "Digits"),
    "one size": lambda: learning_curve_figure(curves(LEVEL, (200,)), "Digits"),
    "differences": lambda: difference_figure(paired_difference(runs()), 0.01),
    "one-sided differences": lambda: difference_figure(paired_difference(runs(full=0.95)), 0.001),
    "wide margin": lambda: difference_figure(paired_difference(runs(images=2000)), 0.2),
    "costs": lambda: cost_figure(costs(runs())),
    "input sizes": lambda: input_size_figure(input_sizes((0.778, 0.83, 0.815, 0.84), (0.018, 0.013, 0.013, 0))),
    "level input sizes": lambda: input_size_figure(input_sizes((0.9,) * 5, (0,) * 5)),
    "two input sizes": lambda: input_size_figure(input_sizes((0.2, 0.95), (0.08, 0))),
}


def runs(full: float = 0.7, **options) -> pd.DataFrame:
    truth = {"linear": 0.6, "vpt-shallow": 0.65, "vpt-deep": 0.7, "full": full}
    return planted_runs({method: dict.fromkeys(MANY, value) for method, value in truth.items()}, **options)


def texts(figure: Figure) -> list[tuple[str, object]]:
    """All visible texts with their boxes in pixels."""
    FigureCanvasAgg(figure).draw()
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


def input_sizes(accuracies, errors) -> pd.DataFrame:
    """As `vptlib.study.input_size.InputSizes.table`; the second size is chosen."""
    return pd.DataFrame(
        {
            "size": 56 * (k + 1),
            "accuracy": accuracy,
            "behind_error": error,
            "seconds_per_image": 0.03 * (k + 1) ** 2,
            "relative_cost": 1.04 * (k + 1) ** 2,
            "chosen": k == 1,
        }
        for k, (accuracy, error) in enumerate(zip(accuracies, errors, strict=True))
    )


@pytest.mark.parametrize("name", [name for name in FIGURES if "input" in name])
def test_accuracy_against_input_size_is_legible_on_a_phone(name):
    """On 390 px a report leaves 342 px to a figure; text must then have 9 px or more."""
    figure = FIGURES[name]()
    share = min(1, 342 / (96 * figure.get_figwidth()))
    assert min(t.get_fontsize() for t in figure.findobj(Text) if t.get_text().strip()) * 96 / 72 * share >= 9


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_clipped_and_none_overlaps_another(name):
    figure = FIGURES[name]()
    boxes = texts(figure)
    assert len(boxes) > 4
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height, text
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, f"{one!r} overlaps {other!r}"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_closed_and_its_png_is_small(name):
    figure = FIGURES[name]()
    assert plt.get_fignums() == []
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert len(file.getvalue()) < 150_000
    assert 1000 <= figure.bbox.width <= 1280


def test_lines_are_labelled_with_their_method_and_last_accuracy():
    ends = {"linear": 0.801, "vpt-deep": 0.842, "full": 0.913}
    shown = [text for text, _ in texts(learning_curve_figure(curves(ends), "Digits"))]
    for method, accuracy in ends.items():
        assert f"{TITLES[method]}  {100 * accuracy:.1f}\u202f%" in shown


def test_labels_are_in_the_order_of_their_lines():
    boxes = dict(texts(learning_curve_figure(curves({"linear": 0.904, "vpt-deep": 0.902, "full": 0.903}), "Digits")))
    order = sorted((name for name in boxes if "90." in name), key=lambda name: boxes[name].y0, reverse=True)
    assert [name.split("  ")[0] for name in order] == ["Linear probe", "Full fine-tuning", "VPT-deep"]


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


@pytest.mark.parametrize("eyes", [np.eye(3), PROTAN, DEUTAN], ids=["all cones", "no red", "no green"])
def test_all_eyes_distinguish_the_colours_and_read_them_on_white(eyes):
    linear = {method: np.array(to_rgb(colour)) ** 2.2 for method, colour in COLOURS.items()}
    for one, other in combinations(STANDARD, 2):  # the others have markers of their own
        seen = np.clip([eyes @ linear[one], eyes @ linear[other]], 0, 1) ** (1 / 2.2)
        difference = np.abs(seen[0] - seen[1])
        assert difference.max() > 0.2, (one, other)
    for method, light in linear.items():
        contrast = 1.05 / (light @ [0.2126, 0.7152, 0.0722] + 0.05)
        assert contrast >= 3, method  # WCAG 2.1, large or bold type


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
