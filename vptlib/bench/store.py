"""What a store with many runs costs: opening a study, storing a run, and listing all keys.

Runs beside those of the study are copies of one of them, written by SQL: figures, parameters and tags, without files.
"""

import hashlib
import os
import secrets
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from vptlib.bench.servers import INDEX, Database, TrackingServer, servers
from vptlib.environment import set_meanwhile
from vptlib.study.leftovers import clean_once
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import EQUAL
from vptlib.study.store import Result, finished_run, finished_runs, log_run
from vptlib.tuning.training import Evaluation, History
from vptlib.wording import storage

RUNS = (100, 1_000, 10_000, 100_000)
FILE, SERVER, WITHOUT_INDEX = "SQLite file", "PostgreSQL, server", "PostgreSQL, server, without the index"
OPEN_SECONDS, LIST_SECONDS = 2.0, 3.0  # the targets, with the most runs
LIST = (
    "SELECT value FROM tags JOIN runs USING (run_uuid) "
    "WHERE key = 'key' AND status = 'FINISHED' AND lifecycle_stage = 'active'"
)
# The histories of runs are left out: no search reads them, and they would be most of the bytes.
_TABLES = ("runs", "tags", "params", "latest_metrics")
_TEST_IMAGES, _STEPS = 400, 60

Execute = Callable[[str], Any]


@dataclass(frozen=True)
class Figures:
    """Seconds, medians.

    Attributes:
        store: which.
        runs: in it.
        first: to open a study for the first time on a machine; the test results of its runs are fetched.
        again: to open it again.
        new: to open a study that has no run yet.
        stored: to store a run.
        listed: to read the keys of all runs from the database.
        bytes: of the database.
    """

    store: str
    runs: int
    first: float
    again: float
    new: float
    stored: float
    listed: float
    bytes: int

    def row(self) -> dict:
        """As a row of the table."""
        seconds = {
            "open, first": self.first,
            "open, again": self.again,
            "open, no run yet": self.new,
            "store a run": self.stored,
            "list keys": self.listed,
        }
        row = {"store": self.store, "runs": self.runs} | {name: f"{one:.2f}" for name, one in seconds.items()}
        return row | {"on disk": storage(self.bytes)}


def measure(runs: Sequence[int] = RUNS, seeds: int = 19, rounds: int = 5) -> pd.DataFrame:
    """A row for each store and number of runs.

    Args:
        runs: in the store, increasing; the first number is larger than that of the cells.
        seeds: a third of the cells of the study.
    """
    rows = []
    with tqdm(total=3 * len(runs), desc="stores with many runs") as bar:
        with servers() as (database, server):
            for each in on_server(database, server, runs, seeds, rounds):
                rows.append(each.row())
                bar.update()
        for each in in_file(runs, seeds, rounds):
            rows.append(each.row())
            bar.update()
    return pd.DataFrame(rows)


def bounds(table: pd.DataFrame) -> pd.DataFrame:
    """What is promised for the most runs in PostgreSQL, and whether it holds."""
    most = table[(table.store == SERVER) & (table.runs == table.runs.max())].iloc[0]
    cases = {
        "a study of 57 runs is opened": ("open, again", OPEN_SECONDS),
        "the same, for the first time on a machine": ("open, first", OPEN_SECONDS),
        "the keys of all runs are listed": ("list keys", LIST_SECONDS),
    }
    return pd.DataFrame(
        {
            "case": f"{case}, {most.runs:,} runs in the store",
            "seconds": most[column],
            "target": target,
            "met": "yes" if float(most[column]) <= target else "no",
        }
        for case, (column, target) in cases.items()
    )


# ---- the two stores -------------------------------------------------------------------------------------------


def on_server(
    database: Database, server: TrackingServer, runs: Sequence[int], seeds: int, rounds: int
) -> Iterator[Figures]:
    """The figures of a server with each number of runs, without the index and with it. Its runs stay."""
    with _store(MLFLOW_TRACKING_URI=server.address):
        first = _store_study(seeds)
        for before, count in zip((3 * seeds, *runs), runs, strict=False):
            with closing(database.connect()) as connection:
                _fill(connection.execute, first, before, count)
                connection.execute("DROP INDEX IF EXISTS vptlib_key")
            yield _figures(WITHOUT_INDEX, count, seeds, rounds, lambda: _listed_on(database), _bytes_on(database))
            with closing(database.connect()) as connection:
                connection.execute(INDEX)
            yield _figures(SERVER, count, seeds, rounds, lambda: _listed_on(database), _bytes_on(database))


def in_file(runs: Sequence[int], seeds: int, rounds: int) -> Iterator[Figures]:
    """The figures of a file with each number of runs."""
    with _store() as folder:
        first = _store_study(seeds)
        for before, count in zip((3 * seeds, *runs), runs, strict=False):
            with closing(_opened(folder)) as connection, connection:
                _fill(connection.execute, first, before, count)
            size = (folder / "mlflow.db").stat().st_size
            yield _figures(FILE, count, seeds, rounds, lambda: _listed_in(folder), size)


def _listed_on(database: Database) -> int:
    with closing(database.connect()) as connection:
        return len(connection.execute(LIST).fetchall())


def _bytes_on(database: Database) -> int:
    with closing(database.connect()) as connection:
        return connection.execute("SELECT pg_database_size(current_database())").fetchone()[0]


def _listed_in(folder: Path) -> int:
    with closing(_opened(folder)) as connection:
        return len(connection.execute(LIST).fetchall())


def _opened(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "mlflow.db")
    connection.create_function("md5", 1, lambda text: hashlib.md5(text.encode()).hexdigest(), deterministic=True)
    return connection


@contextmanager
def _store(**settings: str) -> Iterator[Path]:
    """A new store folder, which this process uses; its settings are put back at the end."""
    own = {"MLFLOW_TRACKING_URI": ""} | settings
    with tempfile.TemporaryDirectory(prefix="vptlib-bench-") as folder, set_meanwhile(VPTLIB_STORE=folder, **own):
        yield Path(folder)


def _fill(execute: Execute, first: str, before: int, count: int) -> None:
    """Copy a run, under new keys, until the database has so many runs."""
    for table in _TABLES:
        columns = [column[0] for column in execute(f"SELECT * FROM {table} LIMIT 0").description]
        values = ", ".join(_copied(table, column) for column in columns)
        names = ", ".join(f'"{column}"' for column in columns)
        execute(
            f"INSERT INTO {table} ({names}) WITH RECURSIVE numbers (i) AS (SELECT {before + 1} UNION ALL SELECT i + 1 "
            f"FROM numbers WHERE i < {count}) SELECT {values} FROM {table} CROSS JOIN numbers "
            f"WHERE run_uuid = '{first}'"
        )
    execute("ANALYZE")


def _copied(table: str, column: str) -> str:
    if column == "run_uuid":
        return "md5('run' || i)"
    if (table, column) == ("tags", "value"):
        return "CASE WHEN key = 'key' THEN md5('key' || i) ELSE value END"
    return f'"{column}"'


# ---- the study ------------------------------------------------------------------------------------------------


def _figures(store: str, runs: int, seeds: int, rounds: int, listed: Callable[[], int], size: int) -> Figures:
    """Measure the store of this process. The runs that are stored for it stay there."""
    ours = plan_of(range(seeds))
    return Figures(
        store,
        runs,
        first=median_seconds(rounds, lambda: _opened_first(ours)),
        again=median_seconds(rounds, lambda: finished_runs(ours)),
        new=median_seconds(rounds, lambda: finished_runs(plan_of(range(1_000, 1_000 + seeds)))),
        stored=median_seconds(rounds, lambda: _log(ours, Cell("linear", 40, secrets.randbelow(2**31)))),
        listed=median_seconds(rounds, listed),
        bytes=size,
    )


def median_seconds(rounds: int, call: Callable[[], object]) -> float:
    """Median seconds of so many calls."""
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def _opened_first(ours: Plan) -> None:
    """As a new process on a new machine opens a study."""
    shutil.rmtree(Path(os.environ["VPTLIB_STORE"]) / "fetched", ignore_errors=True)
    clean_once.cache_clear()
    found = finished_runs(ours)
    assert len(found) == len(ours.cells())


def plan_of(seeds: Sequence[int]) -> Plan:
    """A small study with three runs for each seed."""
    return Plan(
        task="digits",
        methods=("linear", "vpt-deep", "full"),
        sizes=(40,),
        seeds=tuple(seeds),
        image_size=14,
        depth=1,
        num_prompts=2,
        steps=_STEPS,
        test_images=_TEST_IMAGES,
        rules=EQUAL,
    )


def _store_study(seeds: int) -> str:
    """Store all runs of the study; gives the identifier of one."""
    ours = plan_of(range(seeds))
    for cell in ours.cells():
        _log(ours, cell)
    return finished_run(ours, ours.cells()[0]).info.run_id


def _log(ours: Plan, cell: Cell) -> None:
    log_run(ours, cell, drawn_result(cell.seed))


def drawn_result(seed: int) -> Result:
    """Figures of a run as a training gives them, drawn at random."""
    draw = np.random.default_rng(seed)
    correct = draw.random(_TEST_IMAGES) < 0.8
    marks = list(range(10, _STEPS + 1, 10))
    losses = draw.random(_STEPS).tolist()
    return Result(
        History(losses, marks, draw.random(len(marks)).tolist(), [0.5] * len(marks), best_step=_STEPS, seconds=1.0),
        Evaluation(float(correct.mean()), 1.0, draw.integers(0, 10, _TEST_IMAGES), correct),
        0.01,
        {"0.01": 0.5},
        tuning_seconds=2.0,
        trainable_parameters=10,
        bytes_per_task=40,
        weights={"head": torch.zeros(1000)} if seed == 0 else None,
    )
