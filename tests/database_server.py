"""The servers of `vptlib.bench.servers` as fixtures, and a look into the database behind them.

A test file imports `servers` and `on_server`; both are skipped where PostgreSQL is not installed.
"""

import threading
import time
from collections import Counter

import pytest

from vptlib import doctor
from vptlib.bench import servers as module
from vptlib.bench.servers import Database, TrackingServer, postgres_programs
from vptlib.study import outages

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
