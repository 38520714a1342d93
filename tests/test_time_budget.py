"""Time as a setting: the order of the runs, the forecast, and that a study stops in time and goes on later."""

import time

import pytest
import torch
from timm.layers.mlp import Mlp

from vptlib.errors import UserError
from vptlib.report.words.en import sentence
from vptlib.study import time_budget
from vptlib.study.input_size import InputSizes, SizeSeen, within
from vptlib.study.plan import Cell
from vptlib.study.run_costs import Pace
from vptlib.study.study import Study
from vptlib.study.time_budget import (
    affordable_size,
    by_importance,
    check_time,
    forecast,
    left_out,
    measured_at,
    needed_first,
    next_run,
    seconds_of,
    timetable,
)
from vptlib.study.timed_runs import results_in_time

pytestmark = pytest.mark.usefixtures("own_store")

TINY = {
    "task": "digits",
    "image_size": 14,
    "depth": 1,
    "num_prompts": 2,
    "steps": 40,
    "batch_size": 8,
    "test_images": 30,
    "rules": "until done",
    "precision": "fp32",
}


def study(**changes) -> Study:
    grid = {"methods": ("bias", "full", "linear", "vpt-deep"), "sizes": (40, 60), "seeds": (3, 1)}
    return Study(**(TINY | grid | changes))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172800), ("1H 5 m", 3900)]
)
def test_times_are_read(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "", "soon", "30m later", "-5m", "0m", "30 minutes"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UserError, match="must be"):
        seconds_of(text)


def test_an_answer_comes_before_further_sizes_and_seeds():
    cells = by_importance(study())
    assert sorted(map(str, cells)) == sorted(map(str, study().cells())), "all cells, and none twice"
    assert [(c.method, c.n, c.seed) for c in cells[:4]] == [
        ("linear", 60, 3),
        ("full", 60, 3),
        ("vpt-deep", 60, 3),
        ("bias", 60, 3),
    ]
    assert [(c.n, c.seed) for c in cells[::4]] == [(60, 3), (40, 3), (60, 1), (40, 1)]
    assert needed_first(study()) == [Cell("vpt-deep", 60, 3), Cell("full", 60, 3)]


def test_methods_trained_on_kept_tokens_come_right_after_the_solved_ones():
    """They are found by what lies frozen below their first trained part, not by their names."""
    ours = study(depth=3, methods=("bias", "partial-k", "full", "vpt-late", "linear", "vpt-deep"))
    order = [cell.method for cell in by_importance(ours)]
    assert order[:6] == ["linear", "partial-k", "vpt-late", "full", "vpt-deep", "bias"] and order == 4 * order[:6]
    assert [cell.method for cell in needed_first(ours)] == ["vpt-deep", "full"]
    all_trained = by_importance(study(depth=1, methods=("bias", "vpt-late", "full", "vpt-deep")))
    assert [cell.method for cell in all_trained[:4]] == ["full", "vpt-deep", "bias", "vpt-late"]


@pytest.fixture
def a_second_a_run(monkeypatch):
    monkeypatch.setattr(time_budget, "forecast", lambda plan, cell, jobs: 0.1 if cell.method == "linear" else 1.0)


@pytest.mark.usefixtures("a_second_a_run")
@pytest.mark.parametrize(("jobs", "correction", "fit"), [(1, 1.0, 3), (2, 1.0, 6), (1, 2.0, 1)])
def test_what_fits_is_told_before_the_start(jobs, correction, fit):
    ours = study(methods=("vpt-deep", "full"))
    table = timetable(ours, ours.missing(), 3.2, jobs, correction)
    assert table.within == by_importance(ours)[:fit] and table.beyond == by_importance(ours)[fit:]
    assert table.seconds == pytest.approx(fit * correction / jobs)


@pytest.mark.usefixtures("a_second_a_run")
def test_a_time_too_short_for_the_two_that_are_compared_is_refused():
    ours = study()
    assert check_time(ours, ours.missing(), 3.2, jobs=1).within[:3] == by_importance(ours)[:3]
    with pytest.raises(UserError, match="time is too short for 'digits': vpt-deep with 60 images of 14 px need about"):
        check_time(ours, ours.missing(), 1.5, jobs=1)
    assert check_time(ours, [Cell("bias", 60, 3)], 0.5, jobs=1).within == [], "those two are finished already"


@pytest.mark.usefixtures("a_second_a_run")
@pytest.mark.parametrize(("seconds", "made"), [(2, ["full", "vpt-deep"]), (3, ["vpt-late", "full", "vpt-deep"])])
def test_an_early_method_never_takes_the_time_of_the_two_that_are_compared(seconds, made):
    ours = study(depth=3, methods=("full", "vpt-late", "vpt-deep"))
    table = check_time(ours, ours.missing(), seconds, jobs=1)
    assert [cell.method for cell in table.within] == made and table.seconds == seconds


# ---- which run starts next ----------------------------------------------------------------------------------------


def cell(method: str, n: int = 60, seed: int = 3) -> Cell:
    return Cell(method, n, seed)


def started(ours: Study, running: dict[Cell, float], seconds: float, jobs: int, correction: float = 1.0) -> list[str]:
    """The methods that start one after the other until no core is free or no run fits."""
    running, waiting, found = dict(running), [c for c in ours.missing() if c not in running], []
    while len(running) < jobs and (chosen := next_run(ours, waiting, running, seconds, jobs, correction)):
        found.append(chosen)
        waiting.remove(chosen)
        running[chosen] = 0.0
    return [f"{c.method} {c.n} {c.seed}" for c in found]


@pytest.mark.usefixtures("a_second_a_run")
def test_the_two_that_are_compared_start_side_by_side_before_other_sizes_and_seeds():
    ours = study(depth=3, methods=("bias", "full", "linear", "vpt-deep"))
    assert started(ours, {}, seconds=100, jobs=3) == ["linear 60 3", "full 60 3", "vpt-deep 60 3"]
    assert started(ours, {}, seconds=100, jobs=4)[3:] == ["bias 60 3"]


@pytest.mark.usefixtures("a_second_a_run")
@pytest.mark.parametrize(
    ("seconds", "jobs", "first"),
    [
        (3.9, 1, "full 60 3"),  # 1 for VPT-late and 1.5 for each of the two are more than there is
        (4.0, 1, "vpt-late 60 3"),
        (2.4, 2, "full 60 3"),
        (2.5, 2, "vpt-late 60 3"),  # one of the two starts beside it, the other after it
        (0.1, 1, "full 60 3"),  # they begin in any case: what is begun is kept for a later call
    ],
)
def test_an_early_method_starts_only_if_the_two_keep_their_time_with_a_margin(seconds, jobs, first):
    ours = study(depth=3, methods=("full", "vpt-late", "vpt-deep"))
    assert started(ours, {}, seconds, jobs)[0] == first


@pytest.mark.usefixtures("a_second_a_run")
def test_a_solved_method_answers_first_even_where_the_two_do_not_fit():
    assert started(study(), {}, seconds=0.3, jobs=1) == ["linear 60 3"]
    assert started(study(), {}, seconds=0.0, jobs=1) == [], "no run starts after the time"


@pytest.mark.usefixtures("a_second_a_run")
def test_what_runs_already_keeps_its_core_and_its_time_counts():
    """Full fine-tuning has 0.5 s of its 1.5 left, so one core is free for VPT-deep after that, or now."""
    ours = study(depth=3, methods=("full", "vpt-late", "vpt-deep"))
    assert started(ours, {cell("full"): 1.0}, seconds=2.1, jobs=2) == ["vpt-late 60 3"]
    assert started(ours, {cell("full"): 1.0}, seconds=1.9, jobs=2) == ["vpt-deep 60 3"]


@pytest.mark.usefixtures("a_second_a_run")
def test_runs_that_took_longer_than_forecast_make_later_ones_wait():
    ours = study(methods=("bias", "full", "vpt-deep"))
    both = {cell("full"): 0.0, cell("vpt-deep"): 0.0}
    assert started(ours, both, seconds=1.9, jobs=3) == ["bias 60 3"]
    assert started(ours, both, seconds=1.9, jobs=3, correction=2.0) == []


@pytest.mark.usefixtures("a_second_a_run")
def test_a_later_seed_waits_for_the_run_that_tunes_it():
    equal = {"methods": ("full",), "sizes": (60,), "rules": "equal budget", "precision": "auto"}
    assert started(study(**equal), {}, seconds=100, jobs=2) == ["full 60 3"]
    assert started(study(**equal, seeds=(1,)), {}, seconds=100, jobs=2) == ["full 60 1"]


def test_until_done_each_seed_tunes_for_itself_and_waits_for_none():
    assert started(study(methods=("full",), sizes=(60,)), {}, seconds=1000, jobs=2) == ["full 60 3", "full 60 1"]


def test_a_step_is_measured_with_as_many_beside_it_as_there_will_be(monkeypatch):
    """But with no more than fit into memory; the forecast has their mean."""
    ours, steps = study(batch_size=7, methods=("full", "vpt-deep"), candidates=1), iter(range(1, 100))
    pace = lambda *_: time_budget.Pace(0.0, float(next(steps)), 0.0)  # noqa: E731
    monkeypatch.setattr("vptlib.study.time_budget.pace_of", pace)
    assert forecast(ours, cell("full", seed=1), jobs=1) == pytest.approx(40 * 1)
    assert forecast(ours, cell("full", seed=1), jobs=2) == pytest.approx(40 * (2 + 3) / 2)
    assert forecast(ours, cell("full", seed=1), jobs=64) == pytest.approx(40 * (4 + 5 + 6 + 7) / 4)


def test_paces_of_another_place_are_measured_there_and_count_only_there(monkeypatch):
    ours, asked = study(batch_size=6, methods=("full", "vpt-deep"), candidates=1), []
    monkeypatch.setattr("vptlib.study.time_budget.pace_of", lambda *_: Pace(0.0, 1.0, 0.0))

    def ask(function, *args):
        asked.append((function, *args))
        return [[Pace(0.0, 2.0, 0.0)], [Pace(0.0, 4.0, 0.0)]]

    assert forecast(ours, cell("full", seed=1)) == pytest.approx(40 * 1)
    with measured_at("tcp://10.0.0.7:8786", ask):
        assert forecast(ours, cell("full", seed=1)) == pytest.approx(40 * 3)
        assert forecast(ours, cell("full", seed=3)) == pytest.approx(40 * 3)
    assert forecast(ours, cell("full", seed=1)) == pytest.approx(40 * 1)
    ((function, plan, method, n),) = asked
    assert (method, n, plan.precision) == ("full", 60, "fp32") and function(plan, method, n) == [Pace(0.0, 1.0, 0.0)]


def test_runs_beside_each_other_are_stored_as_they_end(monkeypatch):
    """Real processes: each chooses its own rate."""
    monkeypatch.setattr(time_budget, "forecast", lambda plan, cell, jobs: 1.0)
    ours = study(methods=("full", "linear", "vpt-deep"), sizes=(40,), steps=2)
    made = ours.run(progress=False, jobs=2, seconds=600)
    assert len(made) == 6 and not ours.missing()
    full = made[made.method == "full"]
    assert (full.tried.map(len) == 3).all() and (full.tuned_by == full.seed).all()


@pytest.mark.parametrize(("method", "extra"), [("full", 10.0), ("bias", 0.0)])
def test_only_runs_that_an_answer_needs_have_a_little_more_time(monkeypatch, method, extra):
    ours, deadlines = study(methods=(method,), sizes=(40,), seeds=(0,)), []
    monkeypatch.setattr(time_budget, "forecast", lambda plan, cell, jobs: 1.0)
    monkeypatch.setattr("vptlib.study.make_runs.run_here", lambda *job: deadlines.append(job[-1]) or (job[1], None))
    now = time.time()
    assert list(results_in_time(ours, ours.missing(), 1, 100.0)) == [(Cell(method, 40, 0), None)]
    assert deadlines == [pytest.approx(now + 100 + extra, abs=5)]


def test_the_published_rules_have_no_time():
    with pytest.raises(UserError, match="know no time"):
        check_time(study(rules="vtab-1k", methods=("vpt-deep", "full"), candidates=1), [], 60, jobs=1)


def test_what_was_left_out_is_listed_by_size():
    ours = study(methods=("vpt-deep", "full"))
    assert sentence(left_out(by_importance(ours)[2:])) == (
        "6 runs not made: VPT-deep and Full fine-tuning with 60 images (seed 1); VPT-deep and Full "
        "fine-tuning with 40 images (seeds 1, 3). There was no time, or the training failed. The same command with "
        "more time goes on."
    )


@pytest.mark.usefixtures("a_second_a_run")
def test_a_seed_whose_tuning_does_not_fit_is_not_run():
    ours = study(sizes=(40,))
    table = timetable(ours, [Cell("full", 40, 3), Cell("full", 40, 1)], seconds=0.5, jobs=1)
    assert table.within == []


def test_the_forecast_counts_steps_and_candidates():
    ours = study(steps=200)
    tuned, later = (forecast(ours, Cell("vpt-deep", 60, seed)) for seed in (3, 1))
    alone = forecast(study(steps=200, candidates=1), Cell("vpt-deep", 60, 1))
    assert 1.1 * alone < tuned == later < 3 * alone, "each seed tunes for itself"
    assert forecast(ours, Cell("linear", 60, 3)) < later / 10
    assert forecast(study(steps=200), Cell("full", 60, 1)) > 1.5 * forecast(study(steps=100), Cell("full", 60, 1))
    long = [forecast(study(steps=steps, candidates=1), Cell("full", 60, 1)) for steps in (600, 900)]
    assert long[0] == long[1], "the expected number of steps"


@pytest.fixture
def blocks_as_seconds(monkeypatch):
    """A clock that ticks when the MLP of a block is run, so that what is measured does not depend on the machine.

    What is measured is kept, so the tests with this clock have batch sizes of their own.
    """
    runs, forward = [], Mlp.forward
    monkeypatch.setattr(Mlp, "forward", lambda self, tokens: runs.append(1) or forward(self, tokens))
    monkeypatch.setattr("vptlib.study.time_budget.time.perf_counter", lambda: float(len(runs)))


@pytest.mark.usefixtures("blocks_as_seconds")
@pytest.mark.parametrize(
    ("method", "below", "above"),
    [("knn", 3, 0), ("linear", 3, 0), ("attentive-probe", 3, 0), ("vpt-late", 2, 1), ("vpt-deep", 0, 3)],
)
def test_the_forecast_has_the_frozen_blocks_once_per_image_and_the_others_at_each_step(method, below, above):
    """60 images, of which 12 validate, and 30 test images."""
    batch = 5
    ours, cell = study(depth=3, methods=("full", "vpt-deep"), batch_size=batch, candidates=1), Cell(method, 60, 1)
    steps, evaluations = 40, 40 / 20
    wanted = below / batch * (60 + 30) + above * steps + above / batch * (evaluations * 12 + 30)
    assert forecast(ours, cell) == pytest.approx(wanted)


@pytest.mark.usefixtures("blocks_as_seconds")
def test_where_memory_cannot_keep_the_tokens_all_blocks_count_at_each_step(monkeypatch):
    ours = study(depth=3, methods=("vpt-late", "full", "vpt-deep"), batch_size=6, candidates=1)
    one = ours.build("vpt-late").stem(torch.zeros(1, 3, 14, 14)).nbytes
    monkeypatch.setattr("vptlib.tuning.training.MOST_KEPT_BYTES", 50 * one)
    of_40, of_60 = (forecast(ours, Cell("vpt-late", n, 1)) for n in (40, 60))
    assert of_40 == pytest.approx(2 / 6 * (40 + 30) + 40 + 1 / 6 * (2 * 8 + 30))
    assert of_60 == pytest.approx(3 * 40 + 3 / 6 * (2 * 12 + 30))
    assert [cell.method for cell in by_importance(ours)[:3]] == ["full", "vpt-deep", "vpt-late"]


def test_a_study_stops_in_time_and_a_later_one_goes_on(monkeypatch):
    ours = study()
    with monkeypatch.context() as patch:
        long = {"linear": 0.0, "bias": 1e15}
        patch.setattr(time_budget, "forecast", lambda plan, cell, jobs: long.get(cell.method, 1e6))
        few = ours.run(progress=False, jobs=1, seconds=60)
    made = {(run.method, run.n, run.seed) for run in few.itertuples()}
    solved = {("linear", n, seed) for n in (40, 60) for seed in (3, 1)}
    assert made == solved | {("vpt-deep", 60, 3), ("full", 60, 3)}, "what fits, and what an answer needs is tried"
    again = study(sizes=(60,), seeds=(3,)).run(progress=False, jobs=1, seconds=3600)
    assert set(again.method) == set(ours.methods), "with more time all of them are there"
    assert (
        again[again.method == "linear"].run_id.tolist()
        == few[(few.method == "linear") & (few.n == 60) & (few.seed == 3)].run_id.tolist()
    )


def test_a_run_whose_time_is_up_is_kept_half_done_and_ends_as_if_never_stopped(monkeypatch):
    ours = study(methods=("full", "linear"), sizes=(40,), seeds=(0,))
    now, clock = time.time, [0.0]

    def ticking():
        clock[0] += 1.0
        return now() + clock[0]

    with monkeypatch.context() as patch:
        patch.setattr(time_budget, "forecast", lambda plan, cell, jobs: 0.0)
        patch.setattr("vptlib.study.runner.time.time", ticking)
        assert "full" not in set(ours.run(progress=False, jobs=1, seconds=30).get("method", []))
    resumed = ours.run(progress=False, jobs=1)
    assert set(resumed.method) == {"full", "linear"}
    alone = study(methods=("full",), sizes=(40,), seeds=(0,), label_noise=0.0)
    stopped = resumed[resumed.method == "full"].iloc[0]
    from vptlib.study import runner

    whole = runner.run_until_done(alone, Cell("full", 40, 0), alone.to_try("full"))
    assert stopped.predictions.tolist() == whole.test.predictions.tolist() and stopped.tried == whole.tried


# ---- the input size that the time allows --------------------------------------------------------------------------


def seen(chosen: int = 42) -> InputSizes:
    accuracy = {14: 0.5, 28: 0.7, 42: 0.8}
    rows = tuple(SizeSeen(size, value, 0.02, 0.8 - value, 0.02, 0.01, 5, 1.0) for size, value in accuracy.items())
    return InputSizes(rows, chosen, 14, False, "squash", (64, 64), (64, 64, 64), 40, 5, "stratified", None)


def test_a_limit_takes_the_best_size_below_it():
    assert within(None, seen()).chosen == 42 and within(42, seen()).chosen == 42
    assert within(30, seen()).chosen == 28 and within(10, seen()).chosen == 14, "the smallest, if all are above"
    assert within(30, seen(chosen=14)).chosen == 14, "a smaller choice stays"
    limited = within(30, seen())
    assert sentence(limited.statement()) == (
        "28 px, with 70.0\u202f% accuracy, is the best that the time or image_size_limit allows. Without that limit "
        "42 px would be taken, with 80.0\u202f%."
    )
    (finding,) = limited.findings()
    assert sentence(finding).startswith(
        "These results are those of 28 px, where a probe of the frozen backbone is right on 70.0\u202f% of labelled "
        "images that it has not seen. At 42 px it is right on 80.0\u202f%."
    )
    assert within(30, seen(chosen=14)).statement().code == "input_size_chosen"


@pytest.mark.parametrize(("seconds", "size"), [(64, 42), (62, 28), (43, 28), (41, 14), (15, 14), (10, None)])
def test_a_time_too_short_for_the_chosen_size_takes_the_largest_that_fits(monkeypatch, seconds, size):
    """A run takes as many seconds as an image has pixels on a side; two runs at the same time.

    Half as much again must be there for it, but at the smallest size.
    """
    ours = study(image_size=None, methods=("vpt-deep", "full"))
    look = lambda plan: within(plan.image_size_limit, seen())  # noqa: E731
    monkeypatch.setattr(time_budget, "sizes_seen", look)
    monkeypatch.setattr("vptlib.study.material.chosen_size", lambda plan: look(plan).chosen)
    monkeypatch.setattr(time_budget, "forecast", lambda plan, cell, jobs: float(look(plan).chosen))
    assert affordable_size(ours, seconds, jobs=2) == size


def test_a_size_given_by_hand_is_never_replaced():
    assert affordable_size(study(methods=("vpt-deep", "full")), 1e6, jobs=2) == 14
    assert affordable_size(study(methods=("vpt-deep", "full")), 0.0, jobs=2) is None
