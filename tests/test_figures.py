"""The figures of the course, drawn from small planted data: what their labels say, and where lines and dots are."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.text import Text
from planted import planted_runs

from vptlib.course import figures
from vptlib.evidence.curves import fit_power_law, learning_curves
from vptlib.evidence.published import comparisons, wins
from vptlib.report.style import COLOURS, TITLES
from vptlib.tuning.search import Between
from vptlib.tuning.training import History


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    """Otherwise a notebook would show it twice."""
    plt.close("all")
    yield
    assert plt.get_fignums() == []


def words(part) -> list[str]:
    """All that is written in a figure or an axis."""
    part.get_figure(root=True).draw_without_rendering()
    return [text.get_text() for text in part.findobj(Text) if text.get_text() and text.get_visible()]


def written_at(axis, word: str) -> np.ndarray:
    """Position x, y of a text, in the units that it was placed in."""
    (found,) = [text for text in axis.texts if text.get_text() == word]
    return np.array(found.get_position())


# ---- 01: tokens and prompts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("registers", [0, 2])
def test_an_image_its_patches_and_its_tokens_are_counted(registers):
    tokens = torch.randn(1 + registers + 4, 50)  # T D
    figure = figures.image_to_tokens(torch.rand(3, 28, 28), tokens, patch=14)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["image 3 × 28 × 28", "→ 4 patches 3 × 14 × 14", f"→ {5 + registers} tokens of width 50"]
    names = [label.get_text() for label in figure.axes[2].get_yticklabels()]
    assert names == ["class token", *(f"register {i + 1}" for i in range(registers)), "1", "2", "3", "4"]


def test_a_patch_is_cut_from_its_own_part_of_the_image():
    image = torch.zeros(3, 28, 28)
    image[:, 14:, :14] = 1  # the third patch, row by row
    patches = figures.image_to_tokens(image, torch.randn(5, 50), patch=14).axes[1].images
    assert [patch.get_array().mean() for patch in patches] == [0, 0, 1, 0]


def test_shallow_prompts_end_once_and_deep_prompts_end_in_every_layer():
    shallow, deep = figures.sequence_by_layer((1, 3, 4), depth=9).axes
    assert words(shallow).count("×") == 3
    assert words(deep).count("×") == 3 * 4  # of nine layers four are drawn
    rows = [label.get_text() for label in shallow.get_yticklabels()]
    assert rows == ["into layer 1", "into layer 2", "into layer 3", "into layer 9", "to the head"]
    assert {"class", "3 prompts", "4 patches"} <= set(words(shallow))


def test_no_prompt_reaches_the_head():
    for axis in figures.sequence_by_layer((1, 3, 4), depth=2).axes:
        at_the_head = [token for token in axis.patches if token.get_y() > 1.5]
        assert len(at_the_head) == 1 + 4


def test_a_sequence_without_prompts_is_drawn_too():
    for axis in figures.sequence_by_layer((1, 0, 4), depth=2).axes:
        assert "0 prompts" not in words(axis)


def test_the_attention_matrix_names_its_regions_and_the_curves_their_share():
    spent = {"untrained": np.array([[0.2, 0.3, 0.5]] * 3), "trained": np.array([[0.2, 0.1, 0.7]] * 3)}  # L 3 each
    weights = np.random.default_rng(0).dirichlet(np.ones(10), size=10)  # T T
    left, right, bar = figures.attention_on_prompts(weights, spent, (1, 5, 4), "Layer 2").axes
    assert {"class", "prompts", "patches", "Layer 2"} <= set(words(left))
    assert written_at(right, "untrained")[1] == pytest.approx(30)
    assert written_at(right, "trained")[1] == pytest.approx(10)
    assert written_at(right, "if all alike")[1] == pytest.approx(50)  # 5 of 10 tokens are prompts
    assert bar.get_ylabel() == "attention weight"


# ---- 02: training -----------------------------------------------------------------------------------------------


def a_history(last: float, held_out: float) -> History:
    """Ten steps: the loss falls from 2 and stays at `last` for five steps; two looks at held-out images."""
    return History([2, 1.8, 1.6, 1.4, 1.2] + [last] * 5, val_steps=[5, 10], val_loss=[1.5, held_out])


def test_loss_curves_name_each_method_where_its_curve_ends():
    histories = {"vpt-deep": a_history(0.1, 1.1), "full": a_history(1.0, 0.7)}
    left, right = figures.loss_curves(histories, classes=10, trained_on=100, held_out=150).axes
    assert [left.get_title(), right.get_title()] == ["100 training images (mean of 5 steps)", "150 held-out images"]
    assert written_at(left, "guessing")[1] == pytest.approx(np.log(10))
    assert written_at(left, TITLES["full"]) == pytest.approx([10.4, 1.0])
    assert written_at(right, TITLES["vpt-deep"]) == pytest.approx([10.4, 1.1])


def test_names_of_curves_that_end_together_do_not_overlap():
    histories = {method: a_history(0.5, 1.0) for method in ("linear", "vpt-deep", "full")}
    axis = figures.loss_curves(histories, classes=10, trained_on=100, held_out=150).axes[1]
    heights = sorted(written_at(axis, TITLES[method])[1] for method in histories)
    assert min(np.diff(heights)) >= 0.07 * axis.get_ylim()[1]


def test_a_sweep_shows_loss_and_accuracy_on_a_logarithmic_axis():
    rows = [("full", 1e-5, 2.0, 0.2), ("full", 1e-4, 1.0, 0.6), ("full", 1e-3, 3.0, 0.1)]
    left, right = figures.rate_sweep(pd.DataFrame(rows, columns=["method", "rate", "loss", "accuracy"])).axes
    assert left.get_xscale() == right.get_xscale() == "log"
    assert left.lines[0].get_ydata() == pytest.approx([2, 1, 3])
    assert right.lines[0].get_ydata() == pytest.approx([20, 60, 10])
    assert written_at(left, TITLES["full"]) == pytest.approx([1e-4, 0.85])


def test_a_gap_is_written_in_the_panel_of_its_method():
    left, right = figures.loss_gaps({"vpt-deep": a_history(0.4, 1.0), "full": a_history(0.1, 1.2)}).axes
    assert [left.get_title(), right.get_title()] == [TITLES["vpt-deep"], TITLES["full"]]
    assert {"gap 0.60", "held out", "training"} <= set(words(left))
    assert "gap 1.10" in words(right)


# ---- 03: data scaling -------------------------------------------------------------------------------------------


def test_power_laws_reach_to_twice_the_largest_size():
    truth = {method: {50: 0.5, 100: 0.6, 200: 0.7, 400: 0.8} for method in ("vpt-deep", "full")}
    runs = planted_runs(truth)
    accuracy = learning_curves(runs).set_index(["method", "n"])["mean"].unstack("n")
    (axis,) = figures.power_laws({"full": fit_power_law(runs, "full")}, accuracy).axes
    line, dots, _ = axis.lines
    assert line.get_xdata()[-1] == pytest.approx(800)
    assert dots.get_ydata() == pytest.approx(1 - accuracy.loc["full"])
    assert {TITLES["full"], "nobody has looked here", "800"} <= set(words(axis))
    assert TITLES["vpt-deep"] not in words(axis)


def test_leads_by_setting_count_the_tasks_on_which_vpt_is_ahead():
    printed = comparisons()
    (axis,) = figures.leads_by_setting(printed).axes
    counted = wins(printed)
    assert [label.get_text() for label in axis.get_yticklabels()] == list(counted.index)
    assert {f"{row.vpt} of {row.tasks}" for row in counted.itertuples()} <= set(words(axis))
    dots = np.concatenate([line.get_xdata() for line in axis.lines[:-1]])
    assert sorted(dots) == pytest.approx(sorted(printed.vpt - printed.full))


def test_leads_by_baseline_have_a_row_for_each_method_and_baseline():
    tasks = ["a", "b", "c"]
    weak, strong = pd.Series([5.0, 1.0, -3.0], tasks), pd.Series([2.0, -4.0, -7.0], tasks)
    leads = {"linear": {"two rates": weak, "four rates": strong}, "vpt-deep": {"two rates": weak, "four rates": strong}}
    (axis,) = figures.leads_by_baseline(leads).axes
    rows = [f"{TITLES[method]} against {name}" for method in leads for name in ("two rates", "four rates")]
    assert [label.get_text() for label in axis.get_yticklabels()] == rows
    assert [text for text in words(axis) if " of 3" in text] == ["2 of 3", "1 of 3"] * 2
    assert [text for text in words(axis) if text[0] in "+-" and "." in text] == ["+1.0", "-3.0"] * 2
    diamonds = [line for line in axis.lines if line.get_marker() == "D"]
    assert [line.get_xdata()[0] for line in diamonds] == pytest.approx([1, -3] * 2)
    assert [line.get_fillstyle() for line in diamonds] == ["full", "none"] * 2


# ---- 04: GradCAM ------------------------------------------------------------------------------------------------


def names_of_rows(axis) -> list[str]:
    return [label.get_text() for label in axis.get_yticklabels()]


def test_shares_are_rows_from_the_top_with_their_means_in_figures():
    intervals = {"even": (0.04, 0.03, 0.05), "VPT-deep": (0.12, 0.1, 0.15)}
    (axis,) = figures.shares_in_rows(intervals, {"VPT-deep": "#ff0000"}).axes
    assert names_of_rows(axis) == ["even", "VPT-deep"]
    assert axis.yaxis_inverted()
    assert {"4.0", "12.0"} <= set(words(axis))
    even, _, prompts, mean = axis.lines
    assert prompts.get_xdata() == pytest.approx([10, 15])
    assert mean.get_xdata() == pytest.approx([12])
    assert even.get_color() == "0.45"
    assert prompts.get_color() == mean.get_color() == "#ff0000"


def test_untrained_models_that_do_as_well_are_counted():
    untrained = {"vpt-deep": np.array([0.1, 0.2, 0.3]), "full": np.array([0.1, 0.1, 0.1])}  # U each
    (axis,) = figures.trained_among_untrained({"vpt-deep": 0.2, "full": 0.4}, untrained).axes
    assert names_of_rows(axis) == [TITLES["vpt-deep"], TITLES["full"]]
    assert "2 of 3 untrained models do as well or better" in words(axis)
    assert "0 of 3 untrained models do as well or better" in words(axis)
    dots, diamond = axis.lines[:2]
    assert dots.get_xdata() == pytest.approx([10, 20, 30])
    assert diamond.get_xdata() == pytest.approx([20])


# ---- 05: prompt design ------------------------------------------------------------------------------------------


def test_each_rate_is_named_where_its_curve_ends():
    by_rate = {rate: pd.Series([0.2, 0.3, end]) for rate, end in ((0.002, 0.4), (0.006, 0.41), (0.02, 0.1))}
    (axis,) = figures.accuracy_by_length(by_rate, (1, 10, 50), half=0.05, guess=0.0625).axes
    heights = [written_at(axis, f"rate {rate:g}")[1] for rate in by_rate]
    assert heights[1] - heights[0] >= 3.5  # two end together: their names do not hide each other
    assert heights[2] == pytest.approx(10)
    assert "guessing" in words(axis)
    assert axis.get_xscale() == "log"
    low, high = axis.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert [low, high] == pytest.approx([15, 25])


def test_designs_are_compared_with_the_reference_and_grey_where_they_do_not_differ():
    accuracy = pd.DataFrame({0: [0.5, 0.42, 0.1], 1: [0.4, 0.38, 0.1]}, index=["base", "near", "far"])
    (axis,) = figures.differences_in_rows(accuracy.loc[["near", "far"]], accuracy.loc["base"], half=0.08).axes
    assert names_of_rows(axis) == ["near  (40%)", "far  (10%)"]
    assert axis.get_xlabel() == "points of held-out accuracy against “base”"
    near, far = (container.lines[0] for container in axis.containers)
    assert [near.get_xdata()[0], far.get_xdata()[0]] == pytest.approx([-5, -35])
    assert near.get_color() != far.get_color() == COLOURS["vpt-deep"]
    assert axis.lines[0].get_xdata() == pytest.approx([-8, -2])  # a dot for each seed


def test_the_chosen_trial_is_the_largest_dot_of_its_panel():
    accuracies = {"vpt-deep": [0.2, 0.6, 0.4], "full": [0.7, 0.1, 0.1]}
    shared = {"trial": [0, 1, 2], "learning_rate": [0.001, 0.003, 0.009], "val_loss": 1.0, "diverged": False}
    shared |= {"seconds": 1.0, "best_step": 5}
    found = {method: pd.DataFrame(shared | {"val_accuracy": values}) for method, values in accuracies.items()}
    figure = figures.search_trials(found, dict.fromkeys(found, Between(0.001, 0.01)), classes=10)
    for axis, method, chosen in zip(figure.axes, found, (1, 0), strict=True):
        assert axis.get_title() == TITLES[method]
        assert {"1", "2", "3"} <= set(words(axis))
        sizes = [line.get_markersize() for line in axis.lines[:3]]
        assert np.argmax(sizes) == chosen
        assert axis.lines[3].get_ydata() == pytest.approx([10, 10])
    assert "guessing" in words(figure.axes[1])


# ---- 06: when prompts win ---------------------------------------------------------------------------------------


def test_published_leads_are_bars_with_the_mean_of_each_group():
    groups = ["structured", "natural", "specialised", "natural"]
    vtab = pd.DataFrame({"task": ["a", "b", "c", "d"], "group": groups, "lead": [-3.0, 10.0, 20.0, 40.0]})
    (axis,) = figures.leads_by_task(vtab).axes
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([-3, 10, 20, 40])
    assert names_of_rows(axis) == ["a", "b", "c", "d"]
    means = {"natural: +25.0 on average", "specialised: +20.0 on average", "structured: -3.0 on average"}
    assert means <= set(words(axis))


def test_the_line_leads_to_the_distance_at_endless_images():
    sizes = np.array([50, 100])
    (axis,) = figures.distance_by_sample_size(sizes, 5 + 200 / sizes, (200.0, 5.0)).axes
    dots, line, end = axis.lines
    assert dots.get_ydata() == pytest.approx([9, 7])
    assert line.get_ydata() == pytest.approx([5, 9])
    assert end.get_xydata().ravel() == pytest.approx([0, 5])
    assert {"50 images", "100 images"} <= set(words(axis))
    assert written_at(axis, "endless images")[1] == pytest.approx(5)


def test_tasks_are_drawn_at_their_distance_and_the_median_is_marked():
    tasks = pd.DataFrame(
        {"task": ["near", "far"], "objective": ["classification", "counting"], "distance": [100.0, 300.0]}
    )
    gaps = pd.DataFrame({"difference": [0.1, -0.2], "low": [0.05, -0.3], "high": [0.15, -0.1]}, index=["near", "far"])
    (axis,) = figures.leads_by_distance(tasks, gaps).axes
    interval, dot, _, diamond = axis.lines[:4]
    assert interval.get_ydata() == pytest.approx([5, 15])
    assert dot.get_xydata().ravel() == pytest.approx([100, 10])
    assert diamond.get_xydata().ravel() == pytest.approx([300, -20])
    assert (dot.get_marker(), diamond.get_marker()) == ("o", "D")
    assert written_at(axis, " median")[0] == pytest.approx(200)
    assert "tells classes apart" in axis.get_title()


def test_conditions_are_rows_with_an_interval_for_each_method():
    clean = pd.DataFrame(
        {"method": ["vpt-deep", "full"], "n": 100, "mean": [0.6, 0.5], "low": [0.5, 0.4], "high": [0.65, 0.6]}
    )
    noisy = clean.assign(mean=[0.4, 0.3], low=[0.3, 0.2], high=[0.5, 0.4])
    (axis,) = figures.accuracy_by_condition({"clean": clean, "noisy": noisy}, "accuracy, %").axes
    assert names_of_rows(axis) == ["clean", "noisy"]
    assert axis.get_xlabel() == "accuracy, %"
    assert written_at(axis, TITLES["vpt-deep"])[0] == pytest.approx(60)
    assert written_at(axis, TITLES["full"])[0] == pytest.approx(50)
    first = axis.containers[0].lines[2][0].get_segments()[0]  # of VPT-deep, clean: low and high end
    assert first[:, 0] == pytest.approx([50, 65])


# ---- 07: decide -------------------------------------------------------------------------------------------------


def test_the_histogram_is_split_at_zero():
    leads = np.linspace(-0.0599, 0.0199, 400)  # B
    (axis,) = figures.resampled_leads(leads).axes
    shown = {" ".join(text.split()) for text in words(axis)}
    assert {"Full fine-tuning ahead in 75 %", "VPT-deep ahead in 25 %"} <= shown
    behind, ahead = axis.containers
    assert all(bar.get_height() == 0 for bar in behind if bar.get_x() >= 0)
    assert all(bar.get_height() == 0 for bar in ahead if bar.get_x() < 0)


def test_chances_rise_towards_the_lines_from_which_the_plan_follows():
    chances = pd.DataFrame({"vpt-deep": [0.2, 0.9], "full": [0.3, 0.96]}, index=[50, 100])
    (axis,) = figures.chances_by_size(chances, 0.65).axes
    assert axis.get_ylabel() == "chance that it reaches 65\u202f%, %"
    assert axis.lines[0].get_ydata() == pytest.approx([20, 90])
    assert written_at(axis, TITLES["full"])[1] == pytest.approx(100)  # the higher one is named above its end
    assert written_at(axis, TITLES["vpt-deep"])[1] == pytest.approx(86)
    assert written_at(axis, "operate")[1] == pytest.approx(97)
    assert written_at(axis, "pilot")[1] == pytest.approx(52)


# ---- 08: operate ------------------------------------------------------------------------------------------------


def test_memory_grows_by_the_prompt_or_by_the_whole_model():
    (axis,) = figures.memory_by_tasks(65_000_000, 1_000_000, 100).axes
    models, prompts = axis.lines
    assert list(models.get_ydata()[[0, 99]]) == [66, 6600]
    assert list(prompts.get_ydata()[[0, 99]]) == [66, 165]
    said = words(axis)
    assert "a model for each task: 6,600 MB" in said
    assert "one backbone, a prompt for each task: 165 MB" in said


def test_pictures_of_each_kind_are_in_a_row_with_its_name():
    kinds = {"day": np.zeros((3, 4, 4, 3), np.uint8), "night": np.full((3, 4, 4, 3), 9, np.uint8)}
    axes = figures.pictures_in_rows(kinds).axes
    assert [axis.get_ylabel() for axis in axes] == ["day", "", "", "night", "", ""]
    assert [axis.images[0].get_array().max() for axis in axes] == [0, 0, 0, 9, 9, 9]


def test_each_case_of_alarms_has_a_panel_and_each_rule_a_line_named_once():
    shares = {"often": np.array([0.1, 0.3]), "once": np.array([0.0, 0.05])}
    first, second = figures.alarms_by_day({"as allowed": shares, "fallen": shares}).axes
    assert [axis.get_title(loc="left") for axis in (first, second)] == ["as allowed", "fallen"]
    assert [list(line.get_ydata()) for line in second.lines] == [[10, 30], [0, 5]]
    assert list(second.lines[0].get_xdata()) == [1, 2]
    named = {text.get_text(): text.get_color() for text in first.texts}
    assert named == {"often": first.lines[0].get_color(), "once": first.lines[1].get_color()}
    assert not second.texts
