"""What it takes to keep a run: seconds and bytes, measured in a store of its own, which is removed."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vptlib.environment import set_meanwhile
from vptlib.paths import bytes_in
from vptlib.study.done_rules import STEPS_BETWEEN_EVALUATIONS
from vptlib.study.make_runs import claims_of_store, is_stored
from vptlib.study.material import build_model, is_solved, material_of
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import VTAB, Setting
from vptlib.study.store import Result, finished_runs, log_run, run_key
from vptlib.tuning.training import Evaluation, History


@dataclass(frozen=True)
class Keeping:
    """What it takes to keep a run: seconds with its claim, and bytes."""

    seconds: float
    bytes: float


def keeping(plan: Plan, steps: int) -> dict[tuple[str, bool], Keeping]:
    """What it takes to keep a run of each method, without and with its weights, measured in a store of its own.

    Args:
        steps: of a run.
    """
    with _another_store() as folder:
        first = Cell(plan.methods[0], plan.sizes[-1], 0)
        _kept_seconds(plan, first, _result(plan, first.method, steps, False))  # makes the store
        base = bytes_in(folder)
        found: dict[tuple[str, bool], Keeping] = {}
        for number, method in enumerate(plan.methods):
            for with_weights in (False, True):
                cell = Cell(method, plan.sizes[-1], 2 * number + 1 + with_weights)
                seconds = _kept_seconds(plan, cell, _result(plan, method, steps, with_weights))
                grown, base = bytes_in(folder) - base, bytes_in(folder)
                found[method, with_weights] = Keeping(seconds, grown)
    return found


@contextmanager
def _another_store() -> Iterator[Path]:
    with (
        tempfile.TemporaryDirectory(prefix="vpt-plan-") as folder,
        set_meanwhile(VPTLIB_STORE=folder, MLFLOW_TRACKING_URI=""),
    ):
        yield Path(folder)


def _kept_seconds(plan: Plan, cell: Cell, result: Result) -> float:
    """The seconds that a run takes in the store: it is looked for, claimed and written."""
    start = time.perf_counter()
    with claims_of_store() as claims:
        claims.take(run_key(plan, cell))
        is_stored(plan, cell, finished_runs(plan, [cell]))
        log_run(plan, cell, result)
        claims.release(run_key(plan, cell))
    return time.perf_counter() - start


def _result(plan: Plan, method: str, steps: int, with_weights: bool) -> Result:
    """A result as long as a real one."""
    model, items = build_model(plan, method), len(material_of(plan).test_items)
    classes = material_of(plan).task.num_classes
    seen = [*range(STEPS_BETWEEN_EVALUATIONS, steps, STEPS_BETWEEN_EVALUATIONS), steps]
    if plan.rules == VTAB or is_solved(plan, method):
        seen = seen[-1:]
    losses = [1.0] * (1 if is_solved(plan, method) else steps)
    history = History(losses, seen, [1.0] * len(seen), [0.5] * len(seen), seen[-1])
    right, random = np.zeros(items, dtype=bool), np.random.default_rng(0)
    test = Evaluation(0.0, 1.0, np.zeros(items, dtype=np.int64), right, random.random((items, classes), np.float32))
    settings = [each for each in plan.to_try(method) if isinstance(each, Setting)] if plan.rules == VTAB else []
    return Result(
        history, test, 0.01, {setting.label: 0.5 for setting in settings}, 1.0, model.trainable_parameters,
        model.bytes_per_task, model.trained_state() if with_weights else None,
        setting=settings[0] if settings else None, val_accuracy=0.5,
    )  # fmt: skip
