"""Runs on a cluster: the same numbers, each run once, and nothing lost when workers, schedulers or studies end.

What is around the runs is tested on a cluster of one thread; faults, on a real scheduler whose processes are killed.
"""

import errno
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from clusters import OneThread, lost_once
from studies import TINY, study

from vptlib import signs_of_life
from vptlib.environment import seconds_set
from vptlib.errors import UserError
from vptlib.study import cluster_runs, on_worker, runner
from vptlib.study.claims import Claims, FolderBoard, machine
from vptlib.study.cluster import Lost, Place, cluster_address, reached, slurm_cluster
from vptlib.study.cluster_runs import results_on_cluster
from vptlib.study.connection import open_store
from vptlib.study.failures import NoAnswer
from vptlib.study.leftovers import claims_folder, leftovers_of
from vptlib.study.make_runs import AsListed, claims_of_store
from vptlib.study.material import pinned
from vptlib.study.on_worker import Outcome, Work, do, rules_here
from vptlib.study.plan import Cell
from vptlib.study.published_rules import VTAB
from vptlib.study.store import run_key
from vptlib.study.timed_runs import InTime
from vptlib.tuning.training import Diverged

NUMBERS = ["method", "n", "seed", "accuracy", "val_accuracy", "learning_rate", "best_step", "last_step"]


def made(plan, place, order=None, tell=lambda text: None) -> list[Cell]:
    return list(results_on_cluster(plan, plan.missing(), order or AsListed(), place, tell))


def numbers(plan) -> list[list]:
    return plan.runs()[NUMBERS].values.tolist()


def assert_nothing_is_left(plan) -> None:
    """Each run once, no claim, no checkpoint, and no temporary file."""
    store = open_store()
    keys = [run_key(plan, cell) for cell in plan.cells()]
    assert sorted(run.data.tags["key"] for run in store.finished(keys)) == sorted(keys)
    assert not len(leftovers_of(store))
    assert not list(claims_folder(store).glob("*.claim"))


def test_a_cluster_on_this_machine_leaves_the_threads_of_this_process_as_they_were(monkeypatch):
    """Dask sets them to one for its workers, in the process that starts these."""

    def start(**_):
        os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        raise OSError("no process left")

    monkeypatch.setattr("distributed.LocalCluster", start)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with pytest.raises(OSError, match="no process left"), reached("local:2", print):
        pass
    assert os.environ["OMP_NUM_THREADS"] == "2" and "MKL_NUM_THREADS" not in os.environ


# ---- the setting ----------------------------------------------------------------------------------------------


def test_a_setting_names_a_cluster():
    assert cluster_address("local:4").workers == 4
    assert cluster_address("tcp://node7:8786").where == "tcp://node7:8786"
    assert cluster_address("tls://10.0.0.7:8786/").where == "tls://10.0.0.7:8786"
    asked = cluster_address("slurm:8?queue=gpu&memory=32GB&gpus=1")
    assert (asked.workers, asked.settings) == (8, {"queue": "gpu", "memory": "32GB", "gpus": "1"})
    assert cluster_address("kubernetes:trainings?namespace=vision").settings == {"namespace": "vision"}


@pytest.mark.parametrize("page", ["README.md", "docs/from_laptop_to_cluster.md", "docs/settings.md"])
def test_every_form_that_a_page_names_is_one(page):
    text = (Path(__file__).resolve().parent.parent / page).read_text()
    named = re.findall(r"(?:`|\"|--cluster \"?)((?:local|tcp|tls|slurm|kubernetes):[^\s`\"…]+)", text)
    assert len(named) >= 3
    for form in named:
        cluster_address(form.replace("HOST", "host").replace("NAME", "name").rstrip("?"))


@pytest.mark.parametrize(
    "text", ["8", "local", "http://node7:8786", "ray://node7:1", "local4", "", "LOCAL:2", "TCP://node7:8786"]
)
def test_an_unknown_kind_is_refused_with_those_that_there_are(text):
    with pytest.raises(UserError, match=re.escape("tcp://HOST:PORT")):
        cluster_address(text)


@pytest.mark.parametrize(
    "text", ["local:0", "local:-1", "local:", "local:two", "slurm:", "slurm:1e3", "local:99999", "local:٤"]
)
def test_a_number_of_workers_is_needed(text):
    with pytest.raises(UserError, match="must come a number of workers"):
        cluster_address(text)


@pytest.mark.parametrize(
    "text", ["tcp://node7", "tcp://:8786", "tcp://node7:port", "tcp://me:secret@node7:8786", "tls://node7:8786/x"]
)
def test_a_scheduler_needs_a_host_and_a_port(text):
    with pytest.raises(UserError, match="has a host and a port") as refused:
        cluster_address(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["slurm:2?partition=gpu", "local:2?queue=x", "slurm:2?queue=", "slurm:2?queue"])
def test_an_unknown_or_empty_setting_of_a_job_is_refused(text):
    with pytest.raises(UserError, match=re.escape("after ?")):
        cluster_address(text)


def test_a_kubernetes_cluster_needs_a_name_and_its_package():
    with pytest.raises(UserError, match="name of a Dask cluster"):
        cluster_address("kubernetes:")
    with pytest.raises(UserError, match="pip install dask-kubernetes"), reached("kubernetes:trainings", print):
        pass


def test_a_slurm_job_asks_for_one_worker_of_one_thread_and_its_gpu(own_store):
    with slurm_cluster(
        cluster_address("slurm:8?queue=gpu&account=lab&memory=32GB&walltime=12:00:00&gpus=1")
    ) as started:
        script = started.job_script().splitlines()
    wanted = ["-J dask-worker", "-p gpu", "-A lab", "-n 1", "--cpus-per-task=1", "--mem=30G", "-t 12:00:00"]
    assert [line for line in script if line.startswith("#SBATCH")] == [
        f"#SBATCH {line}" for line in [*wanted, "--gres=gpu:1"]
    ]
    command = script[-1]
    assert (own_store / "slurm").stat().st_mode & 0o077 == 0, "the keys are in it"
    for part in ("-m distributed.cli.dask_worker tls://", "--tls-key", "--nthreads 1 ", "--nanny", "--resources GPU=1"):
        assert part in command


def test_a_slurm_job_without_a_gpu_asks_for_none(own_store):
    with slurm_cluster(cluster_address("slurm:2?memory=8GB")) as started:
        assert "gres" not in started.job_script()
        assert "resources" not in started.job_script()


def test_a_slurm_job_needs_memory_and_a_number_of_gpus():
    with pytest.raises(UserError, match=re.escape("slurm:8?memory=32GB")):
        slurm_cluster(cluster_address("slurm:8"))
    with pytest.raises(UserError, match="gpus=1"):
        slurm_cluster(cluster_address("slurm:8?memory=32GB&gpus=two"))


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr("vptlib.study.cluster.SECONDS_TO_CONNECT", 0.5)
    with pytest.raises(UserError, match=r"tcp://127\.0\.0\.1:1 does not answer.*start `dask scheduler`"):
        Place(cluster_address("tcp://127.0.0.1:1"), print).__enter__()


@pytest.mark.parametrize("given", ["soon", "-1", "inf", "nan"])
def test_a_time_of_the_environment_must_be_seconds(given, monkeypatch):
    monkeypatch.setenv("VPTLIB_WAIT_FOR_CLUSTER", given)
    with pytest.raises(UserError, match=f"VPTLIB_WAIT_FOR_CLUSTER is '{given}', but must be a number of seconds"):
        seconds_set("VPTLIB_WAIT_FOR_CLUSTER", 600)


# ---- what the study does with its workers ---------------------------------------------------------------------


def test_a_cluster_gives_the_numbers_of_this_machine(own_store):
    made(study(), OneThread())
    ours = numbers(study())
    os.environ["VPTLIB_STORE"] = str(own_store.parent / f"{own_store.name}-local")
    try:
        study().run(progress=False, jobs=1)
        assert ours == numbers(study())
    finally:
        os.environ["VPTLIB_STORE"] = str(own_store)


def test_a_run_that_needs_the_choice_of_another_starts_after_it(own_store):
    plan, place = study(), OneThread(workers=8)
    made(plan, place)
    keys = {run_key(plan, cell): cell for cell in plan.cells()}
    order = [keys[key.partition("-")[0]] for key in place.given]
    assert [cell.seed for cell in order] == [0] * 4 + [1] * 4
    assert_nothing_is_left(plan)


def test_a_later_seed_is_not_forgotten_where_more_workers_than_runs_wait(own_store):
    plan = study(methods=("linear",), sizes=(40,), seeds=(0, 1))
    assert made(plan, OneThread(workers=2)) == plan.cells()


def test_the_key_on_the_scheduler_is_that_of_the_run_for_one_store(own_store):
    plan, place = study(methods=("linear",), sizes=(40,), seeds=(0,)), OneThread()
    made(plan, place)
    (given,) = place.given
    assert re.fullmatch(rf"{run_key(plan, plan.cells()[0])}-[0-9a-f]{{8}}", given)


def test_what_is_lost_is_given_again_under_another_key(own_store):
    plan, place = study(seeds=(0,)), OneThread(lost_once())
    assert sorted(made(plan, place), key=str) == sorted(plan.cells(), key=str)
    assert len(place.given) == len(set(place.given)) == 2 * len(plan.cells())
    assert_nothing_is_left(plan)


def test_work_that_is_lost_for_ever_is_given_up_by_name(own_store, monkeypatch):
    monkeypatch.setattr(cluster_runs, "MOST_LOSSES", 3)
    plan = study(methods=("linear",), sizes=(40,), seeds=(0,))
    with pytest.raises(UserError, match="linear with 40 images and seed 0 was lost 3 times"):
        made(plan, OneThread(lambda *_: Lost("gone")))


def test_a_run_that_fails_does_not_stop_the_others(own_store):
    def happens(key, function, work):
        if work.cell.n == 60 and work.cell.seed == 0:
            raise Diverged("training of 'x' diverged")
        return function(work)

    plan, said = study(), []
    with pytest.raises(Diverged) as failed:
        made(plan, OneThread(happens), tell=said.append)
    assert {(cell.n, cell.seed) for cell in plan.missing()} == {(60, 0), (60, 1)}, "a later seed has no rate to take"
    assert failed.value.__notes__ == ["1 other run failed too."]
    assert any("has failed" in text for text in said)


def test_a_run_that_another_study_makes_is_waited_for(own_store, monkeypatch):
    monkeypatch.setattr(cluster_runs, "SECONDS_BETWEEN_LOOKS", 0.05)
    plan, said = study(methods=("linear",), sizes=(40,), seeds=(0,)), []
    (cell,) = plan.cells()
    with claims_of_store() as other:
        assert other.take(run_key(plan, cell))
        threading.Timer(1.0, other.release, args=(run_key(plan, cell),)).start()
        assert made(plan, OneThread(), tell=said.append) == [cell]
    assert any(re.fullmatch(r"waiting for process \d+ on .* to make 1 run", text) for text in said)


def test_the_claim_of_a_process_that_has_gone_does_not_hold_a_cluster_up(own_store, monkeypatch):
    """Nothing tells of its end: it was on another machine. Each attempt is a piece of work of its own."""
    monkeypatch.setattr(cluster_runs, "SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr(on_worker, "claims_of_store", lambda: short_lived(open_store()))
    plan = study(methods=("linear",), sizes=(40,), seeds=(0,))
    (cell,) = plan.cells()
    gone = FolderBoard(claims_folder(open_store()))
    monkeypatch.setattr("vptlib.study.claims.machine", lambda: "another machine")
    assert gone.put(run_key(plan, cell), "process 7 on node9")
    monkeypatch.setattr("vptlib.study.claims.machine", machine)
    assert made(plan, OneThread()) == [cell]


def short_lived(store) -> Claims:
    return Claims(FolderBoard(claims_folder(store)), beat=0.05, expiry=0.5)


def test_a_run_that_is_in_the_store_is_not_made_again(own_store, monkeypatch):
    plan = study(methods=("linear",), sizes=(40,), seeds=(0,))
    plan.run(progress=False, jobs=1)
    monkeypatch.setattr(on_worker, "run_alone", lambda *_: pytest.fail("made again"))
    (cell,) = plan.cells()
    assert do(Work(rules_here(), plan, cell, run_key(plan, cell))).state == on_worker.FOUND


def test_an_unfit_worker_that_comes_later_is_left_out(own_store):
    first = iter([True])

    def happens(key, function, work):
        return Outcome(on_worker.UNFIT, "it has vptlib 0", "worker 1") if next(first, False) else function(work)

    plan, place, said = study(methods=("linear",), seeds=(0,)), OneThread(happens, workers=2), []
    assert len(made(plan, place, tell=said.append)) == 2
    assert place.retired == ["worker 1"]
    assert "going on without worker worker 1: it has vptlib 0" in said


def test_a_worker_that_begins_anew_just_now_counts_as_another_one(own_store):
    """One of two is killed, and the disk of the other one is full meanwhile."""

    class BeginningAnew(OneThread):
        asked = 0

        def workers(self) -> dict[str, dict]:
            self.asked += 1
            return super().workers() if self.asked > 5 else {"worker 1": {}}

    first = iter([True])

    def happens(key, function, work):
        return Outcome(on_worker.UNFIT, "its disk is full", "worker 1") if next(first, False) else function(work)

    plan, place = study(methods=("linear",), sizes=(40,), seeds=(0,)), BeginningAnew(happens, workers=2)
    assert made(plan, place) == plan.cells()
    assert place.retired == ["worker 1"]


def test_workers_that_come_one_after_the_other_and_are_not_fit_end_the_study(own_store, monkeypatch):
    """A system starts each of them again; else this would go on for ever."""
    monkeypatch.setattr(cluster_runs, "MOST_UNFIT", 3)
    plan, place = study(methods=("linear",), seeds=(0,)), OneThread(workers=10)
    monkeypatch.setattr(place, "retire", place.retired.append)
    monkeypatch.setattr(on_worker, "do", lambda work: Outcome(on_worker.UNFIT, "no space left on device", "worker 9"))
    with pytest.raises(UserError, match="worker 9 of the cluster cannot work for this study: no space left"):
        made(plan, place)
    assert place.retired == ["worker 9"] * 3


def test_a_worker_that_is_not_fit_again_and_again_does_not_end_a_study_on_which_others_work(own_store, monkeypatch):
    monkeypatch.setattr(cluster_runs, "MOST_UNFIT", 3)
    monkeypatch.setattr(cluster_runs, "SECONDS_TO_REFUSE", 0.0)  # what another one has is at work
    unfit = iter(range(6))

    def happens(key, function, work):
        again = next(unfit, None) is not None
        return Outcome(on_worker.UNFIT, "no space left on device", "worker 9") if again else function(work)

    plan, place = study(methods=("linear",)), OneThread(happens, workers=10)
    monkeypatch.setattr(place, "retire", place.retired.append)
    monkeypatch.setattr(OneThread, "slots", 10)
    assert len(plan.cells()) > 1 and len(made(plan, place)) == len(plan.cells())
    assert place.retired == ["worker 9"] * 6


def test_the_only_worker_must_be_fit(own_store, monkeypatch):
    monkeypatch.setattr(cluster_runs, "SECONDS_FOR_ANOTHER", 0.2)
    plan = study(methods=("linear",), seeds=(0,))
    with pytest.raises(UserError, match="worker worker 0 of the cluster cannot work for this study: it has no cat"):
        made(plan, OneThread(lambda *_: Outcome(on_worker.UNFIT, "it has no cat", "worker 0")))


def test_a_study_that_is_stopped_takes_its_work_back(own_store):
    plan, place = study(methods=("linear",)), OneThread()
    results = results_on_cluster(plan, plan.missing(), AsListed(), place, lambda _: None)
    next(results)
    results.close()
    assert place.taken_back


def test_time_goes_to_a_worker_as_seconds_that_are_left(own_store, monkeypatch):
    """A worker's clock may be wrong by hours."""
    plan, sent = study(methods=("linear", "vpt-deep", "full"), sizes=(40,), seeds=(0,)), []

    def happens(key, function, work):
        sent.append(work.seconds)
        return Outcome(on_worker.OUT_OF_TIME) if work.cell.method == "full" else function(work)

    found = made(plan, OneThread(happens), InTime(plan, 1, 500.0))
    assert {cell.method for cell in found} == {"linear", "vpt-deep"}
    assert all(400 < seconds <= 550 for seconds in sent)
    assert [cell.method for cell in plan.missing()] == ["full"]


def test_nothing_starts_when_the_time_is_up(own_store):
    plan, place = study(methods=("linear", "vpt-deep", "full"), sizes=(40,), seeds=(0,)), OneThread()
    assert made(plan, place, InTime(plan, 1, 0.0)) == []
    assert place.given == []


# ---- published rules ------------------------------------------------------------------------------------------

PUBLISHED = {"rules": VTAB, "epochs": 1, "candidates": 3, "sizes": (40,), "methods": ("linear", "vpt-deep")}


def test_each_published_setting_is_a_piece_of_work_and_the_choice_is_the_same(own_store):
    plan, place = study(**PUBLISHED), OneThread(workers=4)
    made(plan, place)
    ours = numbers(plan)
    print(*place.given, sep="\n")
    assert len(place.given) == 2 * 3 + 4, "three settings for each method, and a run for each seed"
    assert_nothing_is_left(plan)
    os.environ["VPTLIB_STORE"] = str(own_store.parent / f"{own_store.name}-local")
    try:
        plan.run(progress=False, jobs=1)
        assert repr(ours) == repr(numbers(plan))
    finally:
        os.environ["VPTLIB_STORE"] = str(own_store)


def test_settings_that_were_scored_before_a_stop_are_not_scored_again(own_store):
    plan, place = study(**PUBLISHED | {"methods": ("linear",), "seeds": (0,)}), OneThread()

    class Enough(Exception):
        pass

    def happens(key, function, work):
        if work.setting is None:
            raise Enough
        return function(work)

    with pytest.raises(Enough):
        made(plan, OneThread(happens))
    made(plan, place)
    assert len(place.given) == 1, "the run alone"


def test_settings_that_all_diverge_end_in_the_error_of_a_run_at_home(own_store, monkeypatch):
    def diverges(*_):
        raise Diverged("the loss is nan")

    monkeypatch.setattr(runner, "fit", diverges)
    with pytest.raises(Diverged, match="diverged with every setting"):
        made(study(**PUBLISHED | {"methods": ("linear",), "seeds": (0,)}), OneThread())


# ---- what a worker checks -------------------------------------------------------------------------------------


@pytest.fixture
def rules(own_store):
    study(methods=("linear",), seeds=(0,)).missing()
    return rules_here()


def test_a_worker_like_the_study_is_fit(rules):
    assert on_worker.fault_of_worker(rules) == ""


def test_a_worker_with_other_packages_is_not_fit(rules):
    other = replace(rules, versions=("0.0.1", *rules.versions[1:]))
    assert "and the study was started with vptlib 0.0.1: install the same" in on_worker.fault_of_worker(other)


def test_a_worker_on_another_machine_than_a_file_is_not_fit(rules):
    assert "start an MLflow server" in on_worker.fault_of_worker(replace(rules, machine="another boot"))


def test_a_worker_with_several_threads_is_not_fit(rules, monkeypatch):
    monkeypatch.setattr(on_worker, "threads_of_worker", lambda: 4)
    assert "start it with --nthreads 1" in on_worker.fault_of_worker(rules)


def test_a_worker_with_a_store_of_its_own_is_not_fit(rules, monkeypatch, tmp_path):
    monkeypatch.setitem(on_worker.GIVEN, "VPTLIB_STORE", str(tmp_path))
    monkeypatch.setenv("VPTLIB_STORE", str(tmp_path))
    assert f"and the study's is {rules.store}" in on_worker.fault_of_worker(rules)


def test_workers_are_given_no_database_and_no_password(monkeypatch):
    class Elsewhere:
        class address:
            file, uri, shown = None, "postgresql://me:secret@db/runs", "postgresql://me:***@db/runs"

    monkeypatch.setattr(on_worker, "open_store", lambda: Elsewhere)
    with pytest.raises(UserError, match="workers of a cluster speak to an MLflow server only") as refused:
        rules_here()
    assert "secret" not in str(refused.value)


def test_a_worker_with_other_images_makes_nothing(own_store, monkeypatch):
    plan = study(methods=("linear",), sizes=(40,), seeds=(0,))
    found = do(Work(rules_here(), plan, plan.cells()[0], "0" * 32))
    assert (found.state, found.about) == (
        on_worker.UNFIT,
        "it has other images, or other weights of the backbone, under these names",
    )
    assert plan.missing()


def test_workers_take_what_the_study_has_chosen():
    plan = study(precision="auto", image_size=None)
    chosen = pinned(plan)
    assert chosen.precision in ("fp32", "bf16")
    assert run_key(plan, plan.cells()[0]) == run_key(chosen, chosen.cells()[0])


def test_a_memory_that_is_too_small_is_a_sentence_with_the_worker(own_store, monkeypatch):
    def short(*_):
        raise MemoryError

    monkeypatch.setattr(on_worker, "run_alone", short)
    plan = study(methods=("linear",), sizes=(40,), seeds=(0,))
    with pytest.raises(UserError, match=r"worker this process: memory ran out.*smaller batch_size"):
        do(Work(rules_here(), plan, plan.cells()[0], run_key(plan, plan.cells()[0])))


def test_a_worker_whose_disk_is_full_is_left_out_and_its_run_made_elsewhere(own_store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/scratch")

    monkeypatch.setattr(on_worker, "run_alone", full)
    plan = study(methods=("linear",), sizes=(40,), seeds=(0,))
    found = do(Work(rules_here(), plan, plan.cells()[0], run_key(plan, plan.cells()[0])))
    assert (found.state, found.about) == (on_worker.UNFIT, "no space left on device at /scratch")


def test_a_worker_waits_for_a_store_that_is_silent_for_a_moment(rules, monkeypatch):
    answers = iter([NoAnswer("the server", "start it")])

    def opened():
        for failure in answers:
            raise failure
        return open_store()

    monkeypatch.setattr(on_worker, "open_store", opened)
    monkeypatch.setattr("vptlib.study.outages.FIRST_PAUSE", 0.01)
    assert on_worker.fault_of_worker(rules, patient=True) == ""


# ---- signs of life --------------------------------------------------------------------------------------------


def test_work_shows_life_until_it_is_asked_to_stop():
    signs_of_life.begin()
    signs_of_life.moved()
    assert signs_of_life.seconds_since_moved() < 1
    signs_of_life.ask_to_stop()
    with pytest.raises(signs_of_life.Interrupted):
        signs_of_life.moved()
    signs_of_life.moved()


def test_training_and_testing_show_life(own_store, monkeypatch):
    seen = []
    monkeypatch.setattr("vptlib.tuning.training.moved", lambda: seen.append(1))
    study(methods=("vpt-deep",), sizes=(40,), seeds=(0,)).run(progress=False, jobs=1)
    assert len(seen) >= 2 * TINY["steps"]


def test_a_stopped_run_gives_its_claim_back(own_store, monkeypatch):
    def stopped(*_):
        raise signs_of_life.Interrupted

    monkeypatch.setattr(on_worker, "run_alone", stopped)
    plan = study(methods=("linear",), sizes=(40,), seeds=(0,))
    assert do(Work(rules_here(), plan, plan.cells()[0], run_key(plan, plan.cells()[0]))).state == on_worker.STOPPED
    assert not list(claims_folder(open_store()).glob("*.claim"))


def test_a_worker_whose_work_stands_still_ends_itself(tmp_path):
    code = "import time\nfrom vptlib.study import on_worker\nwith on_worker.watched():\n    time.sleep(60)"
    stuck = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "VPTLIB_SECONDS_OF_STILLNESS": "0.5"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert stuck.returncode == on_worker.STUCK
    assert "No sign of life for 0.5 s: this worker ends" in stuck.stderr
