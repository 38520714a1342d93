"""`vpt plan`: when runs end that workers share, what they cost under each of the rules, and that nothing is stored."""

import math
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from clusters import OneThread, free_port
from studies import TINY, study
from typer.testing import CliRunner

from vptlib import cli
from vptlib.errors import UserError
from vptlib.study import cluster, paces, planner
from vptlib.study.cluster import Lost
from vptlib.study.keeping import Keeping
from vptlib.study.material import material_of
from vptlib.study.paces import Here, Measured, OnWorkers, measure, seconds_of
from vptlib.study.plan import Cell
from vptlib.study.planner import (
    USUAL_STEPS,
    Course,
    Known,
    Outlook,
    Range,
    cost_with,
    course_of,
    limit_of,
    outlook_of,
    runs_without_a_change,
    site_of,
    steps_seen,
)
from vptlib.study.published_rules import DONE, VTAB
from vptlib.study.run_costs import Pace, RunCost, between, lengths_of, run_cost
from vptlib.study.store import run_key
from vptlib.tuning.training import Training

pytestmark = pytest.mark.usefixtures("own_store")


def done(**changes):
    """Until done: every seed chooses for itself."""
    return study(
        **{"rules": DONE, "methods": ("full", "vpt-deep"), "sizes": (40,), "steps": 40, "precision": "fp32"} | changes
    )


def published(**changes):
    grid = {"rules": VTAB, "methods": ("full",), "sizes": (50,), "steps": None, "epochs": 2, "candidates": 4}
    return study(**grid | changes)


def seconds(each: dict[tuple[str, int], float]):
    """Method and seed → what a run takes."""
    return lambda cell: RunCost(0.0, (), each[cell.method, cell.seed])


# ---- when runs end ------------------------------------------------------------------------------------------------

ALONE = {("full", 0): 10.0, ("vpt-deep", 0): 7.0, ("full", 1): 4.0, ("vpt-deep", 1): 3.0}


@pytest.mark.parametrize(("workers", "end"), [(1, 24.0), (2, 13.0), (3, 10.0), (4, 10.0), (100, 10.0)])
def test_runs_that_wait_for_none_are_shared_out_in_their_order(workers, end):
    """With two: 10 + 3 beside 7 + 4."""
    ours = done()
    found = course_of(ours, ours.cells(), seconds(ALONE), workers)
    assert (found.seconds, found.computing, found.runs) == (end, 24.0, 4)
    assert (found.chain, found.chain_seconds) == ((Cell("full", 40, 0),), 10.0)


@pytest.mark.parametrize(("workers", "end"), [(1, 24.0), (2, 14.0), (3, 14.0), (100, 14.0)])
def test_later_seeds_wait_for_the_run_that_chooses_for_them(workers, end):
    ours = study(methods=("full", "vpt-deep"), sizes=(40,))
    found = course_of(ours, ours.cells(), seconds(ALONE), workers)
    assert (found.seconds, found.chain_seconds) == (end, 14.0)
    assert found.chain == (Cell("full", 40, 0), Cell("full", 40, 1))


def test_a_later_seed_whose_choice_is_finished_waits_for_none():
    ours = study(methods=("full", "vpt-deep"), sizes=(40,))
    later = [cell for cell in ours.cells() if cell.seed == 1]
    assert course_of(ours, later, seconds(ALONE), 2) == Course(4.0, 7.0, (Cell("full", 40, 1),), 4.0, 2)


def test_no_run_takes_no_time():
    assert course_of(done(), [], seconds({}), 2) == Course()


PUBLISHED = {0: RunCost(1.0, (2.0, 2.0, 2.0, 2.0), 3.0), 1: RunCost(0.0, (), 4.0)}


@pytest.mark.parametrize(
    ("workers", "split", "end", "computing"),
    [
        (1, False, 16.0, 16.0),  # all settings in one run, then the later seed
        (8, False, 16.0, 16.0),  # which no second worker can share
        (1, True, 16.0, 16.0),
        (2, True, 1 + 2 + 2 + 3 + 4, 17.0),  # each worker prepares the images: 3 and 3, then 2 and 2
        (4, True, 1 + 2 + 3 + 4, 19.0),
        (8, True, 1 + 2 + 3 + 4, 19.0),
    ],
)
def test_on_a_cluster_each_published_setting_is_a_piece_of_its_own(workers, split, end, computing):
    ours = published()
    found = course_of(ours, ours.cells(), lambda cell: PUBLISHED[cell.seed], workers, split)
    assert (found.seconds, found.computing) == (end, computing)
    assert found.chain == tuple(ours.cells())


def test_on_a_cluster_settings_of_the_next_run_fill_the_wait_for_the_last_ones():
    """Three workers: 5 + 5 + 5 settings; without the other run's, the first run would end alone."""
    ours = published(methods=("full", "linear"), seeds=(0,))
    cost = RunCost(0.0, (1.0,) * 4, 2.0)
    found = course_of(ours, ours.cells(), lambda _: cost, 3, split=True)
    assert found.computing == 12.0
    assert found.seconds == 5.0  # 0-1: f f f; 1-2: f l l; 2-3: l l F; then F goes on to 4, and L from 3 to 5


# ---- what a run costs ---------------------------------------------------------------------------------------------

PACE = Pace(stem=0.5, step=2.0, look=0.25, build=10.0, prepare=0.125, solve=0.0625)


def total(plan, cell, **more) -> float:
    return run_cost(plan, cell, lambda _: PACE, **more).total


def test_an_equal_budget_counts_each_candidate_with_its_steps_and_evaluations():
    """3 steps, 40 images of which 8 validate 5 times, 30 test images. Nothing is kept: the stem counts for the test."""
    ours = study(methods=("linear", "full"), sizes=(40,))
    look, test = 5 * 8 * 0.25, 30 * (0.25 + 0.5)
    once = 40 * 0.125
    every_time = 40 * 0.5
    assert total(ours, Cell("full", 40, 1)) == pytest.approx(once + every_time + 10 + 3 * 2 + look + test)
    assert total(ours, Cell("full", 40, 0)) == pytest.approx(once + 2 * (every_time + 10 + 3 * 2 + look) + test)


def test_a_head_on_kept_features_passes_the_images_once_and_shares_those_of_the_test():
    ours = study(methods=("linear", "full"), sizes=(40,))
    wanted = 40 * (0.125 + 0.5) + 2 * (10 + 3 * 2 + 5 * 8 * 0.25) + 30 * 0.25
    assert total(ours, Cell("linear", 40, 0)) == pytest.approx(wanted)


def test_until_done_the_worse_half_stops_after_each_round():
    """Three rates of at most 600 steps: one stops at 60, one at 120, the best goes on to 180 or what is seen."""
    ours = done(steps=600)
    fixed = 40 * (0.125 + 0.5) + 3 * 10 + 30 * (0.25 + 0.5)
    for steps, more in ((180, {}), (100, {"steps": 100.0})):
        taken = steps + 60 + 120
        wanted = fixed + 2 * taken + taken / 20 * 8 * 0.25
        assert total(ours, Cell("full", 40, 1), **more) == pytest.approx(wanted)
    alone = replace(ours, candidates=1)
    assert total(alone, Cell("full", 40, 1)) == pytest.approx(fixed - 2 * 10 + 2 * 180 + 9 * 8 * 0.25)
    assert total(ours, Cell("linear", 40, 1)) == pytest.approx(10 + 40 * (0.125 + 0.5 + 0.0625)), "it is solved"


def test_a_published_run_has_settings_on_four_fifths_and_a_final_training_on_all():
    """50 images, 2 epochs of batches of 8: 10 steps on 40 images, 13 on all 50."""
    ours = published()
    tuned, later = (run_cost(ours, Cell("full", 50, seed), lambda _: PACE) for seed in (0, 1))
    assert tuned.settings == pytest.approx([10 + 50 * 0.5 + 10 * 2 + 10 * 0.25] * 4)
    assert tuned.first == pytest.approx(50 * 0.125)
    last = 50 * 0.125 + 10 + 50 * 0.5 + 13 * 2 + 30 * (0.25 + 0.5)
    assert tuned.last == later.last == pytest.approx(last)
    assert later == RunCost(0.0, (), later.last)


def test_prompt_lengths_have_paces_of_their_own():
    ours = published(methods=("vpt-deep",), candidates="all")
    assert lengths_of(ours, "vpt-deep") == [1, 50, 200] and lengths_of(ours, "full") == [None]
    known = {1: Pace(0, 1, 0), 50: Pace(0, 2, 0), 200: Pace(0, 5, 0)}
    assert [between(known, length).step for length in (1, 50, 125, 200)] == pytest.approx([1, 2, 3.5, 5])
    found = run_cost(ours, Cell("vpt-deep", 50, 0), lambda prompts: between(known, prompts or 10))
    each = {1: 1.0, 5: 1 + 4 / 49, 10: 1 + 9 / 49, 50: 2.0, 100: 3.0, 200: 5.0}
    assert sum(found.settings) == pytest.approx(40 * 10 * sum(each.values())), "40 settings of each length, 10 steps"
    later = Cell("vpt-deep", 50, 1)
    cost = lambda prompts: run_cost(ours, later, lambda p: between(known, p or 10), prompts=prompts).total  # noqa: E731
    assert cost(200) == pytest.approx(13 * 5), "the length that the first seed has chosen"
    assert run_cost(ours, Cell("vpt-deep", 50, 0), lambda p: between(known, p or 10)).last == pytest.approx(
        13 * sum(each.values()) / 6
    ), "before the choice, their mean"


# ---- the outlook of a study ---------------------------------------------------------------------------------------

STORED = {(method, kept): Keeping(1.0, 1000 + 5000 * kept) for method in ("full", "vpt-deep") for kept in (False, True)}


def known(**changes) -> Known:
    measured = Measured(paces={None: Pace(0, 2.0, 0)}, fastest=0.5, slowest=2.0, bytes=10**9, machine_bytes=10**10)
    return Known(**{"measured": dict.fromkeys(("full", "vpt-deep"), measured), "keeping": STORED} | changes)


def test_finished_runs_are_not_counted():
    ours = study(methods=("full", "vpt-deep"), sizes=(40,), seeds=(0, 1, 2))
    missing = [cell for cell in ours.cells() if cell != Cell("full", 40, 0)]
    found = outlook_of(ours, missing, known(loading=7.0, decoding=5.0), workers=1)
    tuned, later = 2 * 3 * 2 + 1.0, 3 * 2 + 1.0  # 3 steps of 2 s, two candidates; a second in the store
    assert found.left.runs == 5 and found.whole.runs == 6
    assert found.left.computing == pytest.approx(tuned + 4 * later)
    assert found.whole.computing == pytest.approx(2 * tuned + 4 * later)
    assert found.seconds.likely == pytest.approx(tuned + 4 * later + 7 + 5)
    assert found.seconds.low == pytest.approx(5 + 0.5 * (tuned + 4 * later - 5) + 7 + 5), "steps at the fastest pace"
    assert found.seconds.high == pytest.approx(5 + 2 * (tuned + 4 * later - 5) + 7 + 5)
    split = outlook_of(ours, missing, known(turnaround=0.5), workers=1, split=True)
    assert split.left.computing == pytest.approx(found.left.computing + 5 * 0.5), "each piece goes to a worker and back"
    assert found.disk == (5 * 1000 + 3 * 5000, 6 * 1000 + 4 * 5000), "models of the first two seeds are kept"
    assert outlook_of(ours, [], known(loading=7.0), workers=2).seconds == Range(0, 0, 0)


def test_memory_is_what_was_measured_and_all_prepared_images():
    ours = study(methods=("full", "vpt-deep"), sizes=(40, 60))
    found = outlook_of(ours, ours.cells(), known(), workers=2)
    assert found.process_bytes == 10**9 + (60 + 30) * 3 * 14 * 14 * 4
    measured = {name: replace(each, kept_bytes=1000) for name, each in known().measured.items()}
    assert outlook_of(ours, ours.cells(), known(measured=measured), 2).process_bytes == found.process_bytes + 60_000
    on_gpu = {name: replace(each, on_gpu=True) for name, each in known().measured.items()}
    assert outlook_of(ours, ours.cells(), known(measured=on_gpu), 2).process_bytes == 10**9


def test_steps_until_done_are_a_range():
    ours = done(steps=600, candidates=1)
    cell = Cell("full", 40, 1)
    low, likely, high = (cost_with(ours, known(), end)(cell).total for end in range(3))
    keeping = 1.0 + 5000 * 0
    assert (low, likely, high) == pytest.approx((140 * 1 + keeping, 180 * 2 + keeping, 300 * 4 + keeping))
    seen = known(steps={"full": Range(100, 110, 120)})
    assert cost_with(ours, seen)(cell).total == pytest.approx(110 * 2 + keeping)
    grown = [cost_with(replace(ours, candidates=3), known(), end)(cell).total for end in range(3)]
    assert grown[2] == pytest.approx((300 + 180) * 4 + 2 * 120 * 4 + keeping), "rates beyond the edge may be tried"


def test_finished_runs_tell_how_many_steps_there_will_be():
    ours = done(methods=("full", "vpt-deep", "linear"), seeds=(0, 1, 2))
    runs = {
        run_key(ours, Cell("full", 40, seed)): SimpleNamespace(data=SimpleNamespace(metrics={"last_step": steps}))
        for seed, steps in ((0, 100), (1, 200), (2, 240))
    }
    steps, seen = steps_seen(ours, runs)
    assert seen == 3
    assert steps["full"] == steps["vpt-deep"] == pytest.approx(Range(150, 180, 220)), "quartiles around the mean"
    assert steps_seen(ours, {}) == (dict.fromkeys(ours.methods, USUAL_STEPS), 0)


# ---- what limits it -----------------------------------------------------------------------------------------------


def outlook(course: Course, **changes) -> Outlook:
    usual = {"disk": (0, 0), "process_bytes": 1, "machine_bytes": 10, "on_gpu": False, "aside": 0.0, "decoding": 0.0}
    usual |= {"keeping": 0.0, "with_twice": 1.0, "cost_of": lambda cell: 1.0, "missing": ()}
    usual |= {"seconds": Range(0, course.seconds, 0)}
    return Outlook(**{"study": done(), "left": course, "whole": course} | usual | changes)


LONG, SECOND = Cell("full", 40, 0), Cell("full", 40, 1)


@pytest.mark.parametrize(
    ("kind", "amount", "found"),
    [
        ("nothing", 0.0, outlook(Course())),
        ("memory", 12.0, outlook(Course(10, 20, (LONG,), 2, 9), process_bytes=6)),
        ("decoding", 8.0, outlook(Course(2, 4, (LONG,), 2, 2), seconds=Range(0, 10, 0), aside=8.0, decoding=8.0)),
        ("loading", 8.0, outlook(Course(2, 4, (LONG,), 2, 2), seconds=Range(0, 10, 0), aside=8.0)),
        ("keeping", 6.0, outlook(Course(10, 20, (LONG,), 2, 9), keeping=12.0)),
        ("run", 9.0, outlook(Course(10, 12, (LONG,), 9, 3))),
        ("tuning", 9.0, outlook(Course(10, 12, (LONG, SECOND), 9, 3))),
        ("workers", 1.0, outlook(Course(10, 19, (LONG,), 9, 3))),
    ],
)
def test_the_largest_part_is_what_limits(kind, amount, found):
    limit = limit_of([found], workers=2, on_machine=2)
    assert (limit.kind, limit.seconds) == (kind, amount)
    assert limit.cells == (found.left.chain if kind in ("run", "tuning") else ())


def test_one_worker_is_never_said_to_wait_for_a_long_run():
    assert limit_of([outlook(Course(10, 10, (LONG,), 10, 1))], workers=1, on_machine=1).kind == "workers"


# ---- measuring ----------------------------------------------------------------------------------------------------


def test_a_pace_is_measured_with_the_training_loop_itself(monkeypatch):
    monkeypatch.setattr(paces, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(paces, "LEAST_TIMES", 1)
    pace = measure(done(), "full").paces[None]
    assert pace.stem == pace.solve == 0.0
    assert min(pace.step, pace.look, pace.build, pace.prepare) > 0
    kept = measure(study(), "linear").paces[None]
    assert min(kept.stem, kept.step) > 0, "tokens are kept, and steps go on from them"
    solved = measure(done(methods=("linear", "full")), "linear").paces[None]
    assert solved.solve > 0 == solved.step
    assert set(measure(published(methods=("vpt-deep",)), "vpt-deep").paces) <= {1, 5, 10, 50, 100, 200}


def test_the_first_call_of_what_is_timed_does_not_count(monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 3.0, 3.0, 6.0])
    calls = []
    monkeypatch.setattr("vptlib.study.paces.time.perf_counter", lambda: next(clock))
    median, (fastest, slowest) = seconds_of(lambda: calls.append(1))
    assert median == 1.5 and len(calls) == 3, "once before, then until enough seconds have passed"
    assert fastest == pytest.approx(1.1 / 1.5) and slowest == pytest.approx(1.9 / 1.5)


def test_the_beginning_of_a_training_is_in_none_of_its_steps(monkeypatch):
    """In bfloat16 all frozen weights are converted there."""
    advance = Training.advance

    def slow(self, *args, **more):
        time.sleep(0.5)
        advance(self, *args, **more)

    monkeypatch.setattr(Training, "advance", slow)
    assert 0 < measure(done(), "vpt-deep").paces[None].step < 0.4


def test_all_workers_of_a_cluster_measure_and_what_is_lost_is_asked_again():
    lost = []

    def happens(key, function, *args):
        if not lost:
            lost.append(key)
            raise Lost("gone")
        return function(*args)

    place = OneThread(happens, workers=3)
    assert OnWorkers(place).all(math.sqrt, 16.0) == [4.0] * 3
    assert len(place.given) == len(set(place.given)) == 4
    assert OnWorkers(place).turnaround() > 0 == Here().turnaround()

    def fails(key, function, *args):
        raise UserError("no such task")

    with pytest.raises(UserError, match="no such task"):
        OnWorkers(OneThread(fails)).all(math.sqrt, 16.0)


@pytest.mark.parametrize(
    ("split", "starts", "starting", "turnaround"),
    [(True, True, 10.0, 0.5 + 10 / 50), (True, False, 0.0, 0.5 + 10 / 50), (False, True, 10.0, 0.5)],
    ids=["a cluster that starts", "a cluster that runs", "processes"],
)
def test_the_start_of_processes_is_in_the_forecast_and_on_a_cluster_they_begin_anew_after_some_work(
    monkeypatch, split, starts, starting, turnaround
):
    """The first question takes 11 seconds, of which a process loads for one. A worker begins anew after 50 pieces."""
    clock = iter([100.0, 111.0])
    monkeypatch.setattr("vptlib.study.planner.time.perf_counter", lambda: next(clock))
    measuring = SimpleNamespace(all=lambda *_: [Measured(loading=1.0)], turnaround=lambda: 0.5)
    ours = planner.Planner(planner.Site(measuring, 2, 2, split=split, starts=starts), print)
    ours._load(study())
    assert (ours.starting, ours._turnaround) == (starting, pytest.approx(turnaround))


# ---- where runs will be made --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["8", "tcp://node7", "local:0"])
def test_a_wrong_address_is_refused(text):
    with pytest.raises(UserError, match="cluster is "), site_of(text, None, print):
        pass


def test_a_cluster_that_does_not_answer_is_told_and_this_machine_measures(monkeypatch):
    monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 0.3)
    told = []
    with site_of(f"tcp://127.0.0.1:{free_port()}", None, told.append) as site:
        assert isinstance(site.measuring, Here)
        assert site.split and site.workers == 1
    assert "does not answer" in told[0] and told[0].endswith("So the paces are those of this machine.")


def test_this_machine_makes_as_many_runs_as_usual_unless_told():
    with site_of("", None, print) as site:
        assert (site.workers, site.split, site.starts) == (1, False, False)
    with site_of("", 7, print) as site:
        assert (site.workers, site.on_machine, site.starts) == (7, 7, True)


# ---- the command --------------------------------------------------------------------------------------------------

CONFIG = """\
tasks: [digits]
rules: equal budget
methods: [full, vpt-deep]
image_size: 14
depth: 1
num_prompts: 2
sizes: [40]
seeds: [0, 1]
steps: 3
batch_size: 8
test_images: 30
"""


def plan(tmp_path, more: str = "", *options: str, text: str = CONFIG):
    (tmp_path / "mine.yaml").write_text(text + more)
    return CliRunner().invoke(cli.app, ["plan", str(tmp_path / "mine.yaml"), *options])


def lines(result) -> dict[str, str]:
    """What follows each of the words on the left, on one line."""
    assert result.exit_code == 0, result.output
    found, word = {}, ""
    for line in result.stdout.replace("\u202f", " ").splitlines():
        word = line[:8].strip() or word
        found[word] = f"{found.get(word, '')} {line[8:].strip()}".strip()
    return found


class _Beside(Here):
    """Processes that are this one."""

    def __init__(self, jobs: int):
        assert jobs > 1

    def close(self) -> None:
        pass


@pytest.fixture
def planted(monkeypatch):
    """A step takes 10 minutes, and a process a gigabyte of 4.5; a run in the store takes 10 MB."""
    found = Measured(paces={None: Pace(0, 600.0, 0)}, bytes=10**9, machine_bytes=45 * 10**8)
    monkeypatch.setattr(planner, "measure", lambda *_: found)
    monkeypatch.setattr(planner, "load", lambda *_: Measured())
    kept = {(method, kept): Keeping(0.0, 10**7) for method in ("full", "vpt-deep") for kept in (False, True)}
    monkeypatch.setattr(planner, "keeping", lambda *_: kept)
    monkeypatch.setattr(planner, "Processes", _Beside)


@pytest.mark.usefixtures("planted")
def test_the_command_says_how_long_and_how_much(tmp_path):
    """A run of the first seed has 2 × 3 steps, one of the second 3: 18 steps in all, 9 of them in a chain."""
    found = lines(plan(tmp_path, "compute_hour_price: [1, 2, 4]\ncurrency: EUR\n"))
    assert found["runs"] == "4 of 4 to make"
    assert found["time"].startswith(
        "about 3.0 h (3.0 h to 3.0 h) with 1 run at the same time; 3.0 h of computing in all."
    )
    assert found["memory"] == "1 GB for a process; the machine has 4.5 GB"
    assert found["disk"].startswith("40 MB in the store, and about 2.5 MB for the report; ")
    assert found["money"] == "6.00 (3.00 to 12.00) EUR for 3 hours of computing"
    assert found["limit"] == "the number of workers: with twice as many it would take about 90 min"
    assert "30 test images" in found["power"]
    assert "steps" not in found and "fits" not in found


@pytest.mark.usefixtures("planted")
def test_it_plans_for_other_numbers_of_workers(tmp_path):
    found = lines(plan(tmp_path, "", "--workers", "4"))
    assert found["time"].startswith("about 90 min (90 min to 90 min) with 4 runs at the same time; 3.0 h of computing")
    assert found["memory"] == "1 GB for a process, 4 GB for 4; the machine has 4.5 GB"
    assert found["limit"].startswith("tuning before later seeds: full with 40 images, one after the other, 90 min. ")
    assert found["limit"].endswith("More than 2 workers would not help")
    of_five = lines(plan(tmp_path, "", "--workers", "5"))["limit"]
    assert of_five == "memory: 5 at the same time need 5 GB of 4.5 GB; set VPTLIB_JOBS=4"


@pytest.mark.usefixtures("planted")
def test_it_says_what_fits_into_the_time_of_the_file(tmp_path):
    found = lines(plan(tmp_path, "time: 150m\n"))
    assert found["fits"].startswith("2 of the 4 runs") or "2 of 4" in found["fits"], found["fits"]


@pytest.mark.usefixtures("planted")
def test_it_ends_with_the_command_that_makes_the_report(tmp_path):
    assert plan(tmp_path).stdout.endswith(f"\n    vpt report {tmp_path / 'mine.yaml'}\n")


@pytest.mark.parametrize(
    ("more", "options", "sentence"),
    [
        ("stepps: 3\n", (), "did you mean 'steps'"),
        ("", ("--cluster", "tcp://node7"), "a scheduler's address has a host and a port"),
        ("cluster: nowhere\n", (), "cluster is 'nowhere'"),
    ],
)
def test_mistakes_are_answered_as_by_the_report(tmp_path, more, options, sentence):
    for command in ("plan", "report"):
        (tmp_path / "mine.yaml").write_text(CONFIG + more)
        result = CliRunner().invoke(cli.app, [command, str(tmp_path / "mine.yaml"), *options])
        assert result.exit_code == 1 and sentence in result.stderr
    assert plan(tmp_path, "", "--workers", "0").exit_code == 2


# ---- the store stays as it is -------------------------------------------------------------------------------------


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_plan_leaves_the_store_as_it_is_and_counts_what_is_in_it(tmp_path, own_store):
    """Nothing is planted: steps are measured, and runs are kept elsewhere."""
    ours = study(methods=("full", "vpt-deep"), sizes=(40,), seeds=(0,), image_size=14)
    ours.run(progress=False, jobs=1)
    before = contents(own_store)
    found = lines(plan(tmp_path))
    assert contents(own_store) == before and len(before) > 3
    assert found["runs"] == "2 of 4 to make, the others are in the store"


def test_a_store_that_is_not_there_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setenv("VPTLIB_STORE", str(tmp_path / "none"))
    assert runs_without_a_change(study()) == {}
    assert not (tmp_path / "none").exists()


def test_a_damaged_run_counts_as_missing(own_store):
    ours = study(methods=("linear",), sizes=(40,), seeds=(0,))
    ours.run(progress=False, jobs=1)
    assert len(runs_without_a_change(ours)) == 1
    next(own_store.rglob("test.json")).write_text("{")
    assert runs_without_a_change(ours) == {}


def test_the_tiny_study_is_the_one_of_the_file():
    assert len(material_of(study()).test_items) == TINY["test_images"] == 30
