"""Runs in a store, as `log_run` writes them, and what tests do to their files."""

import hashlib
import sqlite3
from pathlib import Path

import numpy as np
import torch
from studies import TINY

from vptlib.study.plan import Cell, Plan
from vptlib.study.store import Result, finished_run, log_run
from vptlib.tuning.training import Evaluation, History

CELL = Cell("linear", 40, 0)


def plan(task: str = "digits", **changes) -> Plan:
    own = {"task": task, "candidates": 1, "methods": ("linear", "vpt-deep"), "sizes": (40,)}
    return Plan(**(TINY | own | changes))


def result(items: int = 30, weights: bool = True) -> Result:
    """What a run gives, with a third of the test images right."""
    correct = np.arange(items) % 3 == 0
    return Result(
        History([1.0, 0.5], [1, 2], [1.0, 0.9], [0.25, 0.5], best_step=2, seconds=1.0),
        Evaluation(float(correct.mean()), 1.0, np.arange(items) % 10, correct),
        0.01,
        {"0.01": 0.5},
        tuning_seconds=2.0,
        trainable_parameters=10,
        bytes_per_task=40,
        weights={"head": torch.arange(100.0)} if weights else None,
    )


def logged(ours: Plan | None = None, cell: Cell = CELL, **about) -> str:
    """Store a run; gives its number."""
    ours = ours or plan()
    log_run(ours, cell, result(**about))
    return finished_run(ours, cell).info.run_id


def file_of(store: Path, run_id: str, name: str) -> Path:
    return store / "artifacts" / run_id / "artifacts" / name


def prints(folder: Path) -> dict[str, str]:
    """Every file of a folder with its checksum; locks are empty and left out."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def change(database: Path, *statements: str) -> None:
    with sqlite3.connect(database) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
