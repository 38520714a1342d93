"""The store on an MLflow server with PostgreSQL: a study as in a file, and nothing lost when one of the two dies."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from database_server import CLAIMS, finished_keys, killed_and_back, on_server, quick_waits, servers, states
from stored import CELL, logged, plan, result
from studies import study

from vptlib.bench import crowd
from vptlib.bench import store as bench
from vptlib.bench.servers import INDEX
from vptlib.errors import UserError
from vptlib.study import runner
from vptlib.study import store as store_module
from vptlib.study.artefacts import fault_of
from vptlib.study.claims import Claims, ServerBoard, claims_experiment
from vptlib.study.connection import mlflow_client, open_store
from vptlib.study.failures import NoAnswer
from vptlib.study.leftovers import clean_once
from vptlib.study.make_runs import claims_of_store
from vptlib.study.store import finished_runs, log_run, run_key

__all__ = ["on_server", "servers"]  # fixtures
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_server")]

_TIMES = ["run_id", "train_seconds", "tuning_seconds"]
SMALL = {"methods": ("linear", "vpt-deep"), "sizes": (40,), "seeds": (0,)}


def in_a_file(monkeypatch, tmp_path, empty_database, **changes) -> pd.DataFrame:
    """The table of the same study in an SQLite file."""
    with monkeypatch.context() as patched:
        (tmp_path / "file").mkdir()
        (tmp_path / "file" / "mlflow.db").write_bytes(empty_database.read_bytes())
        patched.setenv("VPTLIB_STORE", str(tmp_path / "file"))
        patched.delenv("MLFLOW_TRACKING_URI")
        return study(**(SMALL | changes)).run(progress=False, jobs=1).drop(columns=_TIMES)


def refuse(*_):
    raise AssertionError("a finished run is made again")


# ---- a study ------------------------------------------------------------------------------------------------------


def test_a_study_on_a_server_is_that_in_a_file_and_repeats_nothing(on_server, monkeypatch, tmp_path, empty_database):
    database, _ = on_server
    ours = study(**SMALL)
    table = ours.run(progress=False, jobs=1)
    assert not any("postgresql" in value or database.password in value for value in os.environ.values())
    pd.testing.assert_frame_equal(table.drop(columns=_TIMES), in_a_file(monkeypatch, tmp_path, empty_database, **SMALL))
    with monkeypatch.context() as patched:
        patched.setattr(runner, "run_cell", refuse)
        pd.testing.assert_frame_equal(study(**SMALL).run(progress=False, jobs=1), table)
    assert states(database) == {"FINISHED": 2} and states(database, CLAIMS) == {}
    model = ours.model("vpt-deep")
    images = ours.data(40, 0)[2].tensors[0]
    with torch.inference_mode():
        predicted = model(images).argmax(dim=1)
    kept = table[table.method == "vpt-deep"].predictions.iloc[0]
    assert predicted.tolist() == kept.tolist(), "the weights came back"


def test_weights_on_a_server_are_fetched_when_a_model_is_wanted_and_damage_to_them_is_seen_without(
    on_server, tmp_path, monkeypatch
):
    """Small disks of workers, and opening a study, depend on it."""
    _, server = on_server
    study(**SMALL).run(progress=False, jobs=1)

    def fetched() -> list[Path]:
        return sorted((tmp_path / "newcomer").rglob("fetched/*/weights.safetensors"))

    monkeypatch.setenv("VPTLIB_STORE", str(tmp_path / "newcomer"))
    again = study(**SMALL)
    cells = again.cells()
    assert len(finished_runs(again)) == len(cells) == 2 and fetched() == []
    again.model("vpt-deep")
    assert len(fetched()) == 1

    run = finished_runs(again)[run_key(again, next(cell for cell in cells if cell.method == "linear"))]
    (stored,) = server.files.rglob(f"{run.info.run_id}/artifacts/weights.safetensors")
    whole = stored.read_bytes()
    for damaged in (whole[:-1], whole + b"0"):
        stored.write_bytes(damaged)
        assert fault_of(run) == "weights.safetensors is cut or damaged" and len(finished_runs(again)) == 1
    stored.unlink()
    assert fault_of(run) == "weights.safetensors is gone"
    stored.write_bytes(bytes(len(whole)))  # of the right size: it is seen when it is read, and from then on
    assert fault_of(run) == ""
    with pytest.raises(UserError, match=r"weights.safetensors is cut or damaged: run the study again"):
        again.model("linear")
    assert len(finished_runs(again)) == 1
    stored.write_bytes(b"")  # which the list of MLflow shows as a file of unknown size
    monkeypatch.setenv("VPTLIB_STORE", str(tmp_path / "another newcomer"))
    assert fault_of(run) == "weights.safetensors is cut or damaged"
    again.run(progress=False, jobs=1)
    assert again.model("linear") is not None


@pytest.mark.parametrize("victim", ["server", "database"])
def test_a_study_whose_server_or_database_is_killed_ends_with_the_same_table(
    on_server, victim, monkeypatch, tmp_path, empty_database, capfd
):
    """At a random moment while its first run is stored."""
    database, _ = on_server
    quick_waits(monkeypatch)
    run_cell, made, back = runner.run_cell, [], []
    kill = threading.Timer(
        random.uniform(0.0, 0.3), lambda: back.append(killed_and_back(on_server, victim, seconds=0.5))
    )

    def killing(plan, cell, rates):
        found = run_cell(plan, cell, rates)
        made.append(cell)
        if len(made) == 1:
            kill.start()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(runner, "run_cell", killing)
        table = study(**SMALL).run(progress=False, jobs=1).drop(columns=_TIMES)
    kill.join()
    back[0].join()
    pd.testing.assert_frame_equal(table, in_a_file(monkeypatch, tmp_path, empty_database))
    assert len(made) == 2 and states(database) == {"FINISHED": 2} and states(database, CLAIMS) == {}
    assert capfd.readouterr().err.count("waiting for it until") <= 1


def test_the_benchmark_of_a_server_claims_stores_and_shows_life_and_leaves_no_claim(on_server):
    database, server = on_server
    rates = crowd.server_rates(server.address, machines=1, runs=2, beats=3)
    assert rates.runs > 0 and rates.beats > 0
    assert states(database) == {"FINISHED": 2} and states(database, CLAIMS) == {}


# ---- a run that is being stored -------------------------------------------------------------------------------------


def test_who_waits_for_a_dead_database_can_be_killed_and_leaves_nothing(on_server, own_store, monkeypatch):
    """The half of a run that was on the server is removed at the next start."""
    database, _ = on_server
    with subprocess.Popen(
        [sys.executable, "-c", HALF_A_RUN], cwd=Path(__file__).parent, stderr=subprocess.PIPE, stdin=subprocess.PIPE
    ) as child:
        assert child.stdin and child.stderr
        while b"half" not in child.stderr.readline():
            assert child.poll() is None
        database.kill()
        child.stdin.write(b"go\n")
        child.stdin.flush()
        while b"waiting for it until" not in child.stderr.readline():
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    database.start()
    assert states(database) == {"RUNNING": 1}
    clean_once.cache_clear()
    assert finished_runs(plan()) == {} and states(database) == {}
    assert list((own_store / "temporary").iterdir()) == []


HALF_A_RUN = """
import sys
from stored import CELL, plan, result
from vptlib.study import store
write = store.write_json

def half(*given):
    print("half", file=sys.stderr, flush=True)
    sys.stdin.readline()
    write(*given)

store.write_json = half
store.log_run(plan(), CELL, result())
"""


def test_a_store_that_stays_dead_is_one_sentence_and_the_checkpoints_stay(on_server, own_store, monkeypatch, capfd):
    database, _ = on_server
    quick_waits(monkeypatch, seconds="0.5")
    finished_runs(plan())
    (own_store / "checkpoints").mkdir()
    checkpoint = own_store / "checkpoints" / f"{run_key(plan(), CELL)}-0.01.pt"
    checkpoint.touch()
    database.kill()
    with pytest.raises(UserError, match="fails or is overloaded"):
        log_run(plan(), CELL, result())
    database.start()
    assert checkpoint.exists() and capfd.readouterr().err.count("waiting for it until") == 1
    assert logged() and not checkpoint.exists()


def test_a_run_whose_second_half_was_refused_leaves_no_half_at_the_next_start(on_server, own_store, monkeypatch):
    database, _ = on_server
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "write_json", refuse)
        with pytest.raises(AssertionError):
            log_run(plan(), CELL, result())
    assert states(database) == {"RUNNING": 1}
    clean_once.cache_clear()
    assert finished_runs(plan()) == {} and states(database) == {}


def test_what_the_server_did_although_its_answer_was_lost_is_no_second_run(on_server, monkeypatch):
    """MLflow asks again by itself: the server then has begun two runs, and one of them stays unfinished."""
    database, _ = on_server
    create_run = mlflow_client().create_run
    client = open_store().client
    monkeypatch.setattr(
        client, "create_run", lambda *a, **b: (create_run(*a, **b), create_run(*a, **b))[1], raising=False
    )
    run_id = logged()
    assert states(database) == {"FINISHED": 1} and mlflow_client().get_run(run_id).info.lifecycle_stage == "active"


@pytest.mark.parametrize("may_delete", [True, False])
def test_of_a_run_that_two_machines_made_one_stays(on_server, monkeypatch, may_delete):
    """The second one has not seen the first in time. Some accounts may write runs, but not delete them."""
    database, client, asked = on_server[0], open_store().client, []
    first, search_runs = logged(), client.search_runs

    def late(*given, **named):
        asked.append(given)
        return [] if len(asked) == 1 else search_runs(*given, **named)

    def forbidden(_):
        raise UserError("the MLflow server does not let us in (code 403)")

    with monkeypatch.context() as patched:
        patched.setattr(client, "search_runs", late, raising=False)
        if not may_delete:
            patched.setattr(client, "delete_run", forbidden, raising=False)
        log_run(plan(), CELL, result())
    assert finished_keys(database) == {run_key(plan(), CELL): 1}
    assert finished_runs(plan())[run_key(plan(), CELL)].info.run_id == first
    assert states(database) == ({"FINISHED": 1} if may_delete else {"FINISHED": 1, "KILLED": 1})


# ---- claims -------------------------------------------------------------------------------------------------------


def boards(count: int) -> list[ServerBoard]:
    client = open_store().client
    return [ServerBoard(client, str(claims_experiment(client))) for _ in range(count)]


def test_a_claim_outlives_an_outage_that_is_longer_than_its_time(on_server, monkeypatch):
    database, _ = on_server
    quick_waits(monkeypatch)
    mine, theirs = boards(2)
    with Claims(mine, beat=0.2) as holder, Claims(theirs, beat=0.2, expiry=1.0) as other:
        assert holder.take("run") and not other.take("run")
        back = killed_and_back(on_server, "database", seconds=2.0)
        assert not other.take("run") and other.holder("run"), "both wait, and nobody takes it away"
        assert holder.has("run") and not other.take("run")
        holder.release("run")
        assert other.take("run")
        back.join()
    assert states(database, CLAIMS) == {}


def test_a_dead_holder_is_found_out_after_an_outage_too(on_server, monkeypatch):
    quick_waits(monkeypatch)
    mine, theirs = boards(2)
    silent = Claims(mine)
    with Claims(theirs, beat=0.1, expiry=0.5) as other:
        assert silent.take("run") and not other.take("run")
        back = killed_and_back(on_server, "database", seconds=1.0)
        assert not other.take("run")
        end = time.monotonic() + 20
        while not other.take("run"):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert not silent.has("run")
        back.join()


def test_a_claim_that_was_given_back_while_the_database_was_dead_is_taken_down_later(on_server, monkeypatch):
    database, _ = on_server
    quick_waits(monkeypatch)
    with claims_of_store() as claims:
        assert claims.take("run")
        back = killed_and_back(on_server, "database", seconds=0.5)
        claims.release("run")
    back.join()
    assert states(database, CLAIMS) == {}


def test_a_claim_whose_answer_was_lost_is_not_that_of_another(on_server, monkeypatch):
    database, _ = on_server
    quick_waits(monkeypatch)
    client = open_store().client
    create_run, lost = client.create_run, []

    def answer_lost(*given, **named):
        made = create_run(*given, **named)
        if not lost:
            lost.append(made)
            raise NoAnswer("the server does not answer: start it.")
        return made

    monkeypatch.setattr(client, "create_run", answer_lost, raising=False)
    with Claims(boards(1)[0]) as claims:
        assert claims.take("run") and states(database, CLAIMS) == {"RUNNING": 1}
    assert lost and states(database, CLAIMS) == {}


def test_claims_of_killed_processes_are_removed_after_an_hour(on_server, own_store, monkeypatch):
    database, _ = on_server
    mine, other, seen = *boards(2), own_store / "seen.json"
    assert Claims(mine).take("run")
    other.tidy(seen)
    make_older(seen, 3000)
    other.tidy(seen)
    assert states(database, CLAIMS) == {"RUNNING": 1}, "not before"
    mine.beat("run")
    make_older(seen, 700)
    other.tidy(seen)
    assert states(database, CLAIMS) == {"RUNNING": 1}, "it lives"
    make_older(seen, 3700)
    other.tidy(seen)
    assert states(database, CLAIMS) == {}


def make_older(seen: Path, seconds: float) -> None:
    """As if the claims in this file had been seen so much earlier."""
    found = json.loads(seen.read_text())
    found["seen"] = {claim: since - seconds for claim, since in found["seen"].items()}
    seen.write_text(json.dumps(found))


# ---- many runs ----------------------------------------------------------------------------------------------------


def test_the_benchmark_of_the_store_counts_what_it_has_written(on_server, monkeypatch):
    """No time is tested. It leaves the settings of this process as they were."""
    database, server = on_server
    before = dict(os.environ)
    found = list(bench.on_server(database, server, (20, 50), seeds=2, rounds=1))
    assert [(each.store, each.runs) for each in found] == [
        (where, count) for count in (20, 50) for where in (bench.WITHOUT_INDEX, bench.SERVER)
    ]
    keys = finished_keys(database)
    assert set(keys.values()) == {1} and len(keys) == 50 + len(found), "one run more was stored for each row"
    found += bench.in_file((20,), seeds=2, rounds=1)
    assert all(seconds > 0 for each in found for seconds in vars(each).values() if isinstance(seconds, float))
    assert dict(os.environ) == before
    table = pd.DataFrame([each.row() for each in found])
    assert list(bench.bounds(table).target) == [bench.OPEN_SECONDS] * 2 + [bench.LIST_SECONDS]
    for seconds, met in (("2.00", "yes"), ("2.01", "no")):
        table["open, again"] = seconds
        assert bench.bounds(table).met.iloc[0] == met


def test_the_index_of_the_page_is_used(on_server):
    """Where there are enough runs for it to pay."""
    database, _ = on_server
    logged()
    with database.connect() as connection:
        connection.execute(INDEX)
        connection.execute("SET enable_seqscan = off")
        question = "EXPLAIN SELECT run_uuid FROM tags WHERE tags.key = 'key' AND tags.value = 'x'"
        assert "vptlib_key" in str(connection.execute(question).fetchall())
