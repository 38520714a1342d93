"""The servers of `vptlib.bench.servers` as fixtures, and a look into the database behind them.

A test file imports `servers` and `on_server`; both are skipped where PostgreSQL is not installed. `soak` kills the
servers at random moments.
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from stored import plan, result

from vptlib import doctor
from vptlib.bench import servers as module
from vptlib.bench.servers import Database, TrackingServer, postgres_programs
from vptlib.study import outages
from vptlib.study.make_runs import claims_of_store
from vptlib.study.plan import Cell
from vptlib.study.store import finished_run, log_run, run_key, table_row

CLAIMS = "vptlib claims"


@pytest.fixture(scope="session")
def servers():
    """PostgreSQL and an MLflow server on it, for all tests that need them."""
    if postgres_programs() is None:
        pytest.skip(doctor.NO_POSTGRES)
    with module.servers(safe=False) as (database, server):
        yield database, server


@pytest.fixture
def on_server(own_store, servers, monkeypatch) -> tuple[Database, TrackingServer]:
    """A test whose store of runs is the server, empty; files that are its own are in `own_store`."""
    database, server = servers
    empty(database)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    (own_store / "mlflow.db").unlink()
    return servers


def empty(database: Database) -> None:
    """Take all runs out of a database."""
    tables = "runs, tags, params, metrics, latest_metrics, experiment_tags, inputs"
    with database.connect() as connection:
        connection.execute(f"TRUNCATE {tables} CASCADE")


def states(database: Database, experiment: str = "vptlib") -> Counter:
    """How many runs of an experiment that were not deleted are in each state, such as FINISHED or RUNNING."""
    question = (
        "SELECT status FROM runs JOIN experiments USING (experiment_id) "
        "WHERE experiments.name = %s AND runs.lifecycle_stage = 'active'"
    )
    with database.connect() as connection:
        return Counter(status for (status,) in connection.execute(question, (experiment,)))


def finished_keys(database: Database) -> Counter:
    """How many finished runs each key has."""
    question = (
        "SELECT value FROM tags JOIN runs USING (run_uuid) WHERE key = 'key' AND status = 'FINISHED' "
        "AND lifecycle_stage = 'active'"
    )
    with database.connect() as connection:
        return Counter(key for (key,) in connection.execute(question))


def quick_waits(patch: pytest.MonkeyPatch, seconds: str = "120") -> None:
    """Let a study look for a dead server several times a second, for so long."""
    patch.setenv(outages.SETTING, seconds)
    patch.setattr(outages, "FIRST_PAUSE", 0.1)
    patch.setattr(outages, "LONGEST_PAUSE", 0.4)


def killed_and_back(on: tuple[Database, TrackingServer], victim: str, seconds: float) -> threading.Thread:
    """Kill "database" or "server" now; the thread starts it again after some seconds, and ends when it answers."""
    database, server = on
    found = database if victim == "database" else server
    found.kill()

    def start() -> None:
        time.sleep(seconds)
        found.start()

    thread = threading.Thread(target=start)
    thread.start()
    return thread


# ---- at random moments --------------------------------------------------------------------------------------------


def soak(
    moments: int, seed: int = 0, on: tuple[Database, TrackingServer] | None = None, server_share: float = 0.25
) -> dict:
    """Kill the database or the MLflow server at random moments while a run is claimed and stored.

    Args:
        moments: number of runs, and of kills.
        on: servers that run already, in a process whose store they are; by default new ones are started and stopped.
        server_share: of the kills that hit the MLflow server, which takes seconds to start again.

    Returns:
        "kills", and "faults": a sentence for each thing that is not as if nothing had happened.
    """
    faults, draw = [], random.Random(seed)
    with _place(on) as (database, server), pytest.MonkeyPatch.context() as patch:
        quick_waits(patch)
        for number in range(moments):
            patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", draw.choice("02"))
            victim = "server" if draw.random() < server_share else "database"
            moment = draw.uniform(0.0, 0.6), draw.uniform(0.0, 1.0)
            said = _one_moment((database, server), victim, moment, Cell("linear", 40, 1000 + number))
            faults += [f"seed {seed}, moment {number}, {victim}: {each}" for each in said]
    return {"kills": moments, "faults": faults}


def _one_moment(
    on: tuple[Database, TrackingServer], victim: str, moment: tuple[float, float], cell: Cell
) -> Iterator[str]:
    """Store one run while something is killed after `moment[0]` seconds and comes back after `moment[1]` more."""
    ours, database = plan(), on[0]
    key, back = run_key(ours, cell), []
    with claims_of_store() as claims:
        killer = threading.Timer(moment[0], lambda: back.append(killed_and_back(on, victim, moment[1])))
        killer.start()
        if not claims.take(key):
            yield "the run was not given to the only one who wants it"
        log_run(ours, cell, result())
        if not claims.has(key):
            yield "the claim was lost"
        claims.release(key)
    killer.join()
    back[0].join()
    if (count := finished_keys(database)[key]) != 1:
        yield f"the run is there {count} times"
    elif table_row(ours, cell, finished_run(ours, cell))["correct"].sum() != 10:
        yield "the run is not the one that was stored"
    if left := states(database)["RUNNING"]:
        yield f"{left} unfinished runs are left"
    if left := states(database, CLAIMS).total():
        yield f"{left} claims are left"
    if left := list((Path(os.environ["VPTLIB_STORE"]) / "temporary").iterdir()):
        yield f"temporary folders are left: {left}"


@contextmanager
def _place(on: tuple[Database, TrackingServer] | None) -> Iterator[tuple[Database, TrackingServer]]:
    if on:
        yield on
        return
    with module.servers(safe=False) as started, TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VPTLIB_STORE", folder)
        patch.setenv("MLFLOW_TRACKING_URI", started[1].address)
        yield started
