"""A real scheduler, real workers, and kills: the table of the study is the undisturbed one, and nothing is left."""

import logging
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from clusters import Cluster, kill_tree, signal_tree
from studies import study
from test_cluster import NUMBERS, assert_nothing_is_left

from vptlib.bench.crowd import crowd
from vptlib.errors import UserError
from vptlib.study import on_worker
from vptlib.study.cluster import Lost, Place, cluster_address
from vptlib.study.connection import open_store
from vptlib.study.leftovers import claims_folder

pytestmark = pytest.mark.slow

PLAN = {"steps": 60}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers; a test that kills some starts others."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The numbers of the study by processes of this machine."""
    before = os.environ["VPTLIB_STORE"]
    os.environ["VPTLIB_STORE"] = str(tmp_path_factory.mktemp("undisturbed"))
    try:
        return study(**PLAN).run(progress=False, jobs=1)[NUMBERS].values.tolist()
    finally:
        os.environ["VPTLIB_STORE"] = before


def wait_until(holds, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(0.05)


def test_a_worker_is_let_go_at_once_though_no_other_one_can_take_over_its_results(own_store):
    """Dask would wait for that without end."""
    with crowd(1) as place:
        (worker,) = place.workers()
        place.give("kept", math.sqrt, 4.0)
        time.sleep(1)
        place.retire(worker)
        wait_until(lambda: not place.workers(), seconds=10)


def test_a_result_on_a_machine_that_is_paused_does_not_stop_the_study(tmp_path, monkeypatch):
    """It is lost after a while, as one on a machine that has gone; the results beside it are not."""
    monkeypatch.setattr("vptlib.study.cluster.SECONDS_FOR_RESULTS", 5)
    with Cluster(tmp_path, workers=1) as cluster, Place(cluster_address(cluster.address), print) as place:
        place.reach()
        (paused,) = place.workers()
        place.give("there", math.sqrt, 4.0)
        wait_until(lambda: place._given["there"].done())
        signal_tree(cluster.workers[0].pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            ((key, error),) = place.finished(1)
            assert (key, type(error)) == ("there", Lost) and time.monotonic() - begun < 20
            cluster.start_worker()
            wait_until(lambda: place.workers().keys() - {paused})
            place.give("another time", math.sqrt, 9.0)
        finally:
            signal_tree(cluster.workers[0].pid, signal.SIGCONT)
        found: dict = {}
        wait_until(lambda: found.update(place.finished(1)) or found)
        assert found == {"another time": 3.0}


def claims() -> list:
    return list(claims_folder(open_store()).glob("*.claim"))


@contextmanager
def meanwhile(action):
    """Another thread does something; its failure is one of the test."""
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(action)
        yield
        done.result()


def test_a_killed_worker_and_a_killed_scheduler_change_nothing(cluster, own_store, undisturbed):
    def kill():
        wait_until(claims)
        assert cluster.kill_worker(0)
        time.sleep(1)
        wait_until(claims)
        cluster.kill_scheduler()
        time.sleep(0.5)
        cluster.start_scheduler()
        cluster.start_worker()

    with meanwhile(kill):
        found = study(**PLAN).run(progress=False, cluster=cluster.address)
    assert found[NUMBERS].values.tolist() == undisturbed
    assert_nothing_is_left(study(**PLAN))


def test_two_studies_on_one_scheduler_make_each_run_once(cluster, own_store, undisturbed):
    def run():
        return study(**PLAN).run(progress=False, cluster=cluster.address)

    with meanwhile(run):
        found = run()
    assert found[NUMBERS].values.tolist() == undisturbed
    assert_nothing_is_left(study(**PLAN))


def test_a_killed_study_leaves_its_workers_free_and_no_claim(cluster, own_store):
    code = (
        "from studies import study\n"
        "study(methods=('full',), sizes=(60,), seeds=(0,), steps=100_000)"
        f".run(progress=False, cluster={cluster.address!r})"
    )
    other = subprocess.Popen([sys.executable, "-c", code], cwd=os.path.dirname(__file__))
    wait_until(lambda: claims() or other.poll() is not None)
    kill_tree(other.pid)
    other.wait()
    wait_until(lambda: not claims(), 60)
    assert len(study(seeds=(0,)).run(progress=False, cluster=cluster.address)) == 4


def test_a_cluster_that_stays_away_is_named_and_dask_shows_no_traceback(cluster, own_store):
    with Place(cluster_address(cluster.address), print) as place:
        wait_until(lambda: place.slots)
        assert place.slots >= 1
        logs = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
        assert "distributed.client" in logs
        assert [name for name in logs if logging.getLogger(name).isEnabledFor(logging.ERROR)] == []
        cluster.kill_scheduler()
        with pytest.raises(UserError, match=f"{cluster.address} (does not answer|has no worker) for 1 s: start"):
            while True:
                place.reach(wait=1)


# ---- without processes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nanny", "renewed"), [("tcp://nanny", 1), (None, 0)])
def test_a_worker_is_renewed_after_some_work(monkeypatch, nanny, renewed):
    asked = []
    loop = SimpleNamespace(call_later=lambda seconds, what: asked.append(what), add_callback=lambda f, *a: f(*a))
    worker = SimpleNamespace(nanny=nanny, loop=loop, close_gracefully=lambda **how: how)
    monkeypatch.setattr(on_worker, "dask_worker", lambda: worker)
    monkeypatch.setattr(on_worker.SoFar, "work", 0)
    for _ in range(on_worker.WORK_BEFORE_RENEWAL + 1):
        on_worker.renew_if_due()
    assert [what()["restart"] for what in asked] == [True] * renewed


class KilledWorker(Exception):
    pass


@pytest.mark.parametrize(
    ("status", "error", "kind", "text"),
    [
        (
            "error",
            KilledWorker(),
            UserError,
            "this run was on 21 workers that ended, most often because memory ran out",
        ),
        ("error", UserError("no such folder"), UserError, "no such folder"),
        ("error", TimeoutError(), TimeoutError, ""),
        ("cancelled", None, Lost, "cancelled"),
        ("lost", None, Lost, "lost"),
    ],
)
def test_what_happened_to_work_is_told_by_kind(status, error, kind, text):
    future = SimpleNamespace(status=status, exception=lambda timeout: error)
    found = Place(cluster_address("tcp://127.0.0.1:1"), print)._what_happened(future)
    assert isinstance(found, kind)
    assert text in str(found)


def client(**has) -> SimpleNamespace:
    """In place of Dask's client: what it is asked is answered at once."""
    return SimpleNamespace(sync=lambda question, *args, callback_timeout, **named: question(*args, **named), **has)


def test_a_new_scheduler_is_set_for_long_runs_also_where_dask_has_reached_it_by_itself():
    place, prepared = Place(cluster_address("tcp://127.0.0.1:1"), print), []
    identities = iter(["first", "first", "second", "second"])
    asked: list[str] = []

    def run_on_scheduler(_, *failures, asynchronous):
        prepared.append(failures)
        return asked[-1]

    def identity(n_workers):
        asked.append(next(identities))
        return {"id": asked[-1], "workers": {}}

    place._client = client(scheduler=SimpleNamespace(identity=identity), run_on_scheduler=run_on_scheduler)
    for count in (1, 1, 2, 2):
        place._seen = -math.inf, {}
        place.workers()
        assert len(prepared) == count


@pytest.mark.parametrize(
    ("workers", "slots", "resources"),
    [
        ([{}, {"resources": {}}, {"resources": None}], 3, None),
        ([{"resources": {"GPU": 1}}, {"resources": {"GPU": 1}}], 2, {"GPU": 1}),
        ([{"resources": {"GPU": 2}}, {}], 2, {"GPU": 1}),  # the worker without a GPU is given nothing
    ],
)
def test_where_workers_have_gpus_a_run_asks_for_one(workers, slots, resources):
    place, asked = Place(cluster_address("tcp://127.0.0.1:1"), print), []
    place._prepared = "s"

    def submit(*_, key, pure, resources):
        asked.append(resources)
        return SimpleNamespace(add_done_callback=lambda call: None)

    about = {"id": "s", "workers": dict(enumerate(workers))}
    place._client = client(scheduler=SimpleNamespace(identity=lambda n_workers: about), submit=submit)
    assert place.slots == slots
    place.give("run", math.sqrt, 4.0)
    assert asked == [resources]


def test_lost_results_are_told_and_the_others_are_fetched_without_them():
    """`Client.gather` would wait until the lost ones are made anew."""
    place = Place(cluster_address("tcp://127.0.0.1:1"), print)
    place._given = {name: SimpleNamespace(status="finished") for name in ("a", "gone", "b")}
    asked = []

    def gather(keys):
        asked.append(keys)
        gone = [key for key in keys if key == "gone"]
        return {"status": "error", "keys": gone} if gone else {"status": "OK", "data": dict.fromkeys(keys, 1)}

    place._client = client(scheduler=SimpleNamespace(gather=gather))
    for key in place._given:
        place._results.put((key, None))
    found = dict(place.finished(0))
    assert (found["a"], found["b"], type(found["gone"])) == (1, 1, Lost)
    assert asked == [["a", "gone", "b"], ["a", "b"]]
    assert place._given == {}


def test_a_late_word_does_not_hide_that_work_was_lost():
    place = Place(cluster_address("tcp://127.0.0.1:1"), print)
    place._given["run"] = SimpleNamespace(status="cancelled")
    place._client = SimpleNamespace(cancel=lambda futures: place._results.put(("run", None)))
    place._lose_all()
    ((key, error),) = place.finished(0)
    assert key == "run"
    assert isinstance(error, Lost)


def test_what_the_scheduler_does_not_know_is_lost_at_the_second_look(monkeypatch):
    monkeypatch.setattr("vptlib.study.cluster.SECONDS_BETWEEN_AUDITS", 0)
    place = Place(cluster_address("tcp://127.0.0.1:1"), print)
    place._given = {name: SimpleNamespace(done=lambda: False) for name in ("known", "unknown")}
    scheduler = SimpleNamespace(tasks={"known": None})
    place._client = client(run_on_scheduler=lambda ask, keys, asynchronous: ask(keys, dask_scheduler=scheduler))
    assert place.finished(0) == []
    ((key, error),) = place.finished(0)
    assert key == "unknown"
    assert isinstance(error, Lost)
    assert list(place._given) == ["known"]
