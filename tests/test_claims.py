"""Two studies on one store: each run is made once, whoever is killed, suspended or slow."""

import errno
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from studies import study

from vptlib.study import claims as claims_module
from vptlib.study import runner, time_budget
from vptlib.study.claims import Claims, FolderBoard, ServerBoard, claims_experiment
from vptlib.study.make_runs import AsListed, claims_of_store, results
from vptlib.study.store import log_run, run_key

NEVER = 1000.0  # seconds between signs of life


# ---- a claim ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "server"])
def board(request, tmp_path, empty_database):
    """Makes a board as another process would: all of them show the same claims."""
    if request.param == "folder":
        return lambda: FolderBoard(tmp_path / "claims")
    from mlflow import MlflowClient

    (tmp_path / "server.db").write_bytes(empty_database.read_bytes())
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/server.db")
    return lambda: ServerBoard(client, str(claims_experiment(client)))


def test_a_run_is_claimed_by_one_until_it_gives_the_claim_back(board):
    with Claims(board()) as first, Claims(board()) as second:
        assert first.take("run") and first.has("run") and not second.take("run") and not second.has("run")
        assert second.holder("run").startswith(f"process {os.getpid()} on ") and second.take("another run")
        first.release("run")
        assert second.holder("run") == "" and second.take("run") and not first.take("run")
    with Claims(board()) as third:
        assert third.take("run") and third.take("another run"), "the end of a study ends its claims"


def test_a_claim_without_a_sign_of_life_is_void_after_its_time_and_its_owner_learns_that(board):
    with Claims(board(), beat=NEVER) as silent, Claims(board(), expiry=1.0) as other:
        assert silent.take("run") and not other.take("run")
        time.sleep(0.1)
        assert not other.take("run") and other.holder("run"), "not before"
        time.sleep(1.0)
        assert other.holder("run") == "" and other.take("run")
        assert not silent.has("run") and not silent.take("run") and other.has("run")
        silent.release("run")
        assert other.has("run"), "who has lost a claim cannot end that of another"


def test_a_claim_with_signs_of_life_never_ends(board):
    with Claims(board(), beat=0.05) as living, Claims(board(), expiry=1.5) as other:
        assert living.take("run")
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert not other.take("run")
            time.sleep(0.1)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("board", ["server"], indirect=True)
@pytest.mark.parametrize("dead", [1, 2, 3])
def test_the_claims_of_several_killed_processes_do_not_keep_a_run_for_ever(board, dead, monkeypatch):
    """Each was killed when its claim was put up, and before it had looked for others."""

    def kill(*_):
        raise Killed

    for number in range(dead):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            gone = board()
            patched.setattr(gone, "_claims_of", kill)
            gone.put("run", f"process {number}")
    with Claims(board(), beat=0.05, expiry=0.3) as living:
        assert not living.take("run") and living.holder("run") == "process 0", "any of them may live"
        time.sleep(0.4)
        assert living.holder("run") == "" and living.take("run")
        with Claims(board()) as other:
            assert not other.take("run")
            assert other.holder("run") == f"process {os.getpid()} on {platform.node()}", "their claims are gone"


@pytest.mark.parametrize("board", ["server"], indirect=True)
def test_a_living_process_keeps_its_run_beside_the_claim_of_a_killed_one(board, monkeypatch):
    with Claims(board(), beat=0.05) as living, Claims(board(), beat=0.05, expiry=0.5) as other:
        assert living.take("run")
        gone = board()
        monkeypatch.setattr(gone, "_claims_of", lambda _: [])  # it was killed before it saw the other one
        assert gone.put("run", "process 7")
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert not other.take("run")
            time.sleep(0.05)
        living.release("run")
        assert other.take("run")


@pytest.mark.parametrize("void", [False, True], ids=["free", "void"])
def test_of_many_who_claim_at_the_same_time_one_gets_it(tmp_path, void):
    for number in range(20):
        key, folder = f"run {number}", tmp_path / "claims"
        silent = Claims(FolderBoard(folder))
        assert not void or silent.take(key)
        many = [Claims(FolderBoard(folder), expiry=0.0) for _ in range(8)]
        for each in many:
            each.holder(key)  # from now on a claim that is there is void
        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(lambda each, key=key: each.take(key), many)) == 1
        assert sum(each.has(key) for each in [*many, silent]) == 1


def test_on_a_server_never_two_get_it(tmp_path, board):
    many = [Claims(board()) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(lambda each: each.take("run"), many)) <= 1


CLAIMER = """
import sys, time
from pathlib import Path
from vptlib.study.claims import Claims, FolderBoard
claims = Claims(FolderBoard(Path(sys.argv[1])))
print(claims.take("run"), flush=True)
time.sleep(60)
"""


@pytest.fixture
def killed(tmp_path):
    """A folder with the claim of a process that was killed."""
    command = [sys.executable, "-c", CLAIMER, str(tmp_path / "claims")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as claimer:
        assert claimer.stdout and claimer.stdout.readline() == "True\n"
        assert not Claims(FolderBoard(tmp_path / "claims")).take("run")
        claimer.send_signal(signal.SIGKILL)
    return tmp_path / "claims"


def test_the_claim_of_a_killed_process_is_void_at_once_on_its_machine(killed):
    with Claims(FolderBoard(killed)) as claims:
        assert claims.holder("run") == "" and claims.take("run")


def test_the_claim_of_a_killed_process_is_void_elsewhere_after_its_time(killed, monkeypatch):
    monkeypatch.setattr(claims_module, "machine", lambda: "another machine")
    with Claims(FolderBoard(killed), expiry=0.2) as claims:
        assert not claims.take("run")
        time.sleep(0.25)
        assert claims.take("run")


def test_the_claims_of_killed_processes_are_tidied_away(killed):
    with Claims(FolderBoard(killed)) as living:
        assert living.take("another run")
        FolderBoard(killed).tidy()
        assert sorted(path.stem for path in killed.glob("*.claim")) == ["another run"]


def test_a_folder_without_second_names_has_claims_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refuse)
    test_a_run_is_claimed_by_one_until_it_gives_the_claim_back(lambda: FolderBoard(tmp_path))


def test_a_folder_without_locks_leaves_it_to_the_time(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    test_a_claim_without_a_sign_of_life_is_void_after_its_time_and_its_owner_learns_that(lambda: FolderBoard(tmp_path))


# ---- studies ------------------------------------------------------------------------------------------------------


def stored(folder: Path) -> int:
    """Runs in the store, all of them."""
    import sqlite3

    with sqlite3.connect(folder / "mlflow.db") as database:
        return database.execute("SELECT count(*) FROM tags WHERE key = 'key'").fetchone()[0]


OTHER_STUDY = """
import sys
from studies import study
ours = study()
ours.check()
print("ready", flush=True)
sys.stdin.readline()
ours.run(progress=False, jobs=1).to_pickle(sys.argv[1])
"""


@pytest.mark.slow
def test_two_processes_make_each_run_once_and_end_with_the_same_table(own_store, tmp_path):
    command = [sys.executable, "-c", OTHER_STUDY, str(tmp_path / "table")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=Path(__file__).parent) as other:
        assert other.stdout and other.stdin and other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        ours = study().run(progress=False, jobs=1)
    assert other.returncode == 0 and len(ours) == 8 and stored(own_store) == 8
    pd.testing.assert_frame_equal(ours, pd.read_pickle(tmp_path / "table"))


@pytest.fixture
def another(own_store):
    """The claims of another study on the same store."""
    with claims_of_store() as claims:
        yield claims


def test_what_another_study_has_begun_is_awaited_and_made_if_it_is_left(another, own_store):
    """The other has the first run, on which the second seed waits for its learning rate."""
    ours, told = study(methods=("vpt-deep",), sizes=(40,)), []
    first, second = ours.cells()
    assert another.take(run_key(ours, first))
    threading.Timer(1.0, lambda: another.release(run_key(ours, first))).start()
    made = []
    for cell, result in results(ours, ours.missing(), AsListed(), 1, told.append):
        log_run(ours, cell, result)
        made.append(cell)
    assert made == [first, second] and stored(own_store) == 2
    assert told == [f"waiting for process {os.getpid()} on {platform.node()} to make 1 run"]


def test_the_next_run_is_taken_first(another):
    ours = study(methods=("linear",), seeds=(0,))
    first, second = ours.cells()
    assert another.take(run_key(ours, first))
    made = results(ours, ours.missing(), AsListed(), 1, lambda _: another.release(run_key(ours, first)))
    order = []
    for cell, result in made:
        log_run(ours, cell, result)
        order.append(cell)
    assert order == [second, first]


def test_what_another_study_has_stored_meanwhile_is_not_made_again(another, own_store, monkeypatch):
    ours, run_cell = study(methods=("linear",), seeds=(0,)), runner.run_cell
    first, second = ours.cells()
    made = []

    def slow(plan, cell, rates):
        made.append(cell)
        if cell == first:  # meanwhile the other makes the second
            log_run(plan, second, run_cell(plan, second, rates))
        return run_cell(plan, cell, rates)

    monkeypatch.setattr(runner, "run_cell", slow)
    assert len(ours.run(progress=False, jobs=1)) == 2
    assert made == [first] and stored(own_store) == 2


def test_a_process_that_was_suspended_for_too_long_drops_its_result(own_store, monkeypatch):
    """Its claim is taken by another, which stores the run first."""
    ours, run_cell = study(methods=("linear",), sizes=(40,), seeds=(0,)), runner.run_cell
    key = run_key(ours, ours.cells()[0])

    def suspended(plan, cell, rates):
        with Claims(FolderBoard(own_store / "claims"), expiry=0.0) as other:
            other.holder(key)
            assert other.take(key)
            log_run(plan, cell, run_cell(plan, cell, rates))
        return run_cell(plan, cell, rates)

    monkeypatch.setattr(runner, "run_cell", suspended)
    assert len(ours.run(progress=False, jobs=1)) == 1 and stored(own_store) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_stops_a_study_its_claims_end(own_store, monkeypatch, error):
    def fail(*_):
        assert list((own_store / "claims").glob("*.claim"))
        raise error

    monkeypatch.setattr(runner, "run_cell", fail)
    with pytest.raises(error):
        study().run(progress=False, jobs=1)
    assert not list((own_store / "claims").glob("*.claim"))


def test_a_study_that_cannot_store_gives_its_claims_back(own_store, monkeypatch):
    def fail(*_):
        raise RuntimeError("cannot store")

    monkeypatch.setattr("vptlib.study.study.log_run", fail)
    with pytest.raises(RuntimeError) as stopped:  # as in a notebook, the traceback lives on
        study().run(progress=False, jobs=1)
    assert stopped.traceback and not list((own_store / "claims").glob("*.claim"))


def test_a_study_waits_for_another_within_its_time_only(another, monkeypatch):
    monkeypatch.setattr(time_budget, "forecast", lambda plan, cell, jobs: 0.01)
    ours = study(methods=("vpt-deep", "linear"), sizes=(40,))
    taken = ours.cells()[0]
    assert taken.method == "vpt-deep" and another.take(run_key(ours, taken))
    begun = time.monotonic()
    runs = ours.run(progress=False, jobs=1, seconds=3.0)
    assert time.monotonic() - begun < 10 and set(runs.method) == {"linear"} and len(runs) == 2
    assert ours.missing() == [cell for cell in ours.cells() if cell.method == "vpt-deep"]
