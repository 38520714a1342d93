"""How cost grows: exponents, what is simulated, and that each line can be measured.

No time is tested. What is expected of a simulation is counted by hand.
"""

import math

import numpy as np
import pandas as pd
import pytest

from vptlib.bench import crowd, scale
from vptlib.bench.crowd import Costs, most_workers, simulated_seconds
from vptlib.bench.scale import Line, Point, exponent

# ---- exponents --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0, 3.7])
def test_the_exponent_of_a_power_is_that_power(power):
    values = [10, 100, 1000, 10_000]
    assert exponent(values, [3 * value**power for value in values]) == pytest.approx(power)


def test_only_the_larger_half_counts_because_a_constant_part_hides_the_rest():
    values = [1, 10, 100, 1000]
    assert exponent(values, [5, 5, 100, 1000]) == pytest.approx(1)
    assert exponent([1, 2, 4, 8, 16], [7, 7, 4, 8, 16]) == pytest.approx(1)


def test_two_values_give_an_exponent_and_what_is_not_positive_gives_none():
    assert exponent([1, 10], [2, 200]) == pytest.approx(2)
    assert math.isnan(exponent([1, 10], [0, 1])) and math.isnan(exponent([1, 10], [math.nan, math.nan]))


# ---- simulation -------------------------------------------------------------------------------------------------

NOTHING = Costs(scheduler=0.0)


@pytest.mark.parametrize(("workers", "seconds"), [(1, 120.0), (3, 40.0), (12, 10.0), (50, 10.0)])
def test_where_nothing_is_shared_workers_divide_the_time(workers, seconds):
    assert simulated_seconds(12, workers, 10.0, NOTHING, spread=0.0) == pytest.approx(seconds)


def test_runs_pass_the_scheduler_one_after_the_other_and_then_the_store():
    """Two workers, three runs of 10 s: starts at 1, 2; stored at 11 + 4, 15 + 4; the third from 16 + 10 to 30."""
    assert simulated_seconds(3, 2, 10.0, Costs(scheduler=1.0, store=4.0), spread=0.0) == pytest.approx(30.0)


def test_what_is_busy_all_the_time_sets_the_pace():
    by_scheduler = simulated_seconds(2000, 500, 1.0, Costs(scheduler=0.01))
    by_store = simulated_seconds(2000, 500, 1.0, Costs(scheduler=0.001, store=0.02))
    assert by_scheduler == pytest.approx(2000 * 0.01, rel=0.1) and by_store == pytest.approx(2000 * 0.02, rel=0.1)


def test_signs_of_life_take_their_share_of_the_server_and_may_take_all_of_it():
    costs = Costs(scheduler=1e-6, store=0.02, beat=0.01, pause=10.0)
    assert simulated_seconds(2000, 500, 1.0, costs) == pytest.approx(2 * 2000 * 0.02, rel=0.1)
    assert simulated_seconds(2000, 1000, 1.0, costs) == math.inf
    assert simulated_seconds(5, 1000, 1.0, costs) < math.inf  # five runs: five workers show life


@pytest.mark.parametrize(
    ("costs", "wanted"),
    [
        (Costs(scheduler=0.01), (10_001, "scheduler")),
        (Costs(scheduler=1.0, store=4.0), (26, "store")),
        (Costs(scheduler=1e-9, store=1e-9, beat=0.1, pause=10.0), (99, "store")),
    ],
)
def test_so_many_workers_can_be_busy(costs, wanted):
    most, busy = most_workers(100.0, costs)
    assert busy == wanted[1] and most == pytest.approx(wanted[0], abs=1)


def test_with_more_workers_than_can_be_busy_a_study_is_not_made_sooner():
    costs = Costs(scheduler=0.05, store=0.02)
    most, _ = most_workers(10.0, costs)
    few, right, many = (simulated_seconds(4000, workers, 10.0, costs) for workers in (most // 2, most, 4 * most))
    assert few > 1.8 * right and right == pytest.approx(many, rel=0.1)


# ---- the engine, and workers ------------------------------------------------------------------------------------


def test_the_engine_makes_each_run_of_a_study_once_also_on_many_workers(own_store):
    assert crowd.engine_seconds(100) > 0 and crowd.engine_seconds(20_000) > 0


def test_a_crowd_of_real_workers_makes_runs_that_do_nothing(own_store):
    with crowd.crowd(3) as place:
        assert len(place.workers()) == 3
        assert crowd.made(crowd.Doing(place, crowd.nothing), 20) > 0
        assert crowd.made(crowd.Doing(place, crowd.asleep), 6, after=20) > 1.9  # three workers, six seconds


# ---- lines ------------------------------------------------------------------------------------------------------

SMALL = {
    scale.images: (4, 8),
    scale.classes: (2, 3),
    scale.prompts: (1, 2),
    scale.input_sizes: (14, 28),
    scale.tasks: (1, 2),
    scale.runs_in_store: (10, 20),
    scale.runs_of_study: (100, 200),
}


@pytest.mark.parametrize("line", [line for line in scale.LINES if line.measure in SMALL], ids=lambda line: line.name)
def test_a_line_can_be_measured(line, own_store):
    values = SMALL[line.measure]
    points = list(line.measure(values))
    assert tuple(point.value for point in points) == values
    assert all(point.seconds > 0 and point.bytes >= 0 for point in points)


def test_all_that_the_issue_names_has_a_line_with_growing_values():
    names = " ".join(line.name for line in scale.LINES)
    for word in ("images", "classes", "prompts", "pixels", "tasks", "runs in the store", "workers"):
        assert word in names
    for line in scale.LINES:
        assert list(line.values) == sorted(set(line.values)) and len(line.values) >= 4


# ---- tables and figure ------------------------------------------------------------------------------------------


def planted(name: str, values: list[int], seconds: list[float], memory: list[float]) -> tuple[Line, list[Point]]:
    line = Line(name, "this", "1", "0", "that", tuple(values), lambda _: ())
    return line, [Point(*each) for each in zip(values, seconds, memory, strict=True)]


MEASURED = [
    planted("images", [10, 100, 1000], [0.01, 0.1, 20.0], [1e6, 1e6, 1e6]),
    planted("workers", [1, 4, 16], [8.0, 8.0, 8.0], [math.nan] * 3),
]


def test_the_table_shows_from_where_to_where_and_both_exponents():
    first, second = scale.table(MEASURED).to_dict("records")
    assert first["what grows"] == "images, 10 to 1,000"
    assert first["time"] == "10\u202fms → 20\u202fs" and first["exponent"] == "2.30"
    assert first["memory"] == "1\u202fMB → 1\u202fMB" and first["exponent of memory"] == "0.00"
    assert second["exponent"] == "0.00" and second["memory"] == second["exponent of memory"] == "–"


def test_the_figure_has_a_panel_for_each_line():
    drawn = scale.figure(MEASURED)
    shown = [axes for axes in drawn.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["images", "workers"]
    grown = shown[0].lines[1].get_ydata()
    assert np.allclose(np.asarray(grown, float), [1, 10, 2000])


def test_what_is_simulated_stands_beside_what_was_measured():
    found = scale.beyond([Point(2, 9.0), Point(4, 8.0)], no_ops=100.0, rates=crowd.Rates(runs=10.0, beats=200.0))
    assert found.costs == Costs(scheduler=0.01, store=0.1, beat=0.005)
    assert found.checks["simulated ÷ measured"].tolist() == ["0.90", "1.01"]
    studies: pd.DataFrame = found.studies
    assert len(studies) == len(scale.LENGTHS) and set(studies["what is busy first"]) == {"store"}
    assert set(studies[f"hours with {scale.WORKERS:,}"]) == {"never"}  # 10,000 × 0.005 s in 10 s
