"""One run of a study, made by all processes that a launcher has started (`vptlib.tuning.devices`).

It is the run that the study itself would make: the same images, candidates and key, in the same store. Its numbers are
those of one device but for rounding and for the masks of dropout. How many devices made it is a parameter of the run.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch

from vptlib import __version__
from vptlib.errors import UserError
from vptlib.study.claims import Claims
from vptlib.study.make_runs import claims_of_store, is_stored
from vptlib.study.material import decode, is_solved, pinned
from vptlib.study.plan import Cell, Plan
from vptlib.study.runner import candidates_of, runner_of
from vptlib.study.store import Result, finished_runs, log_run, run_key
from vptlib.study.study import Study
from vptlib.tuning.devices import Devices


def make_run(study: Study, cell: Cell, devices: Devices, tell: Callable[[str], None], progress: bool = False) -> bool:
    """Make a run on all devices and store it; False if the store has it already.

    Every process calls this inside `vptlib.tuning.devices.many_devices`. The first alone reads and writes the store.

    Args:
        study: whose run it is, and `cell` which one.
        devices: that `many_devices` gives.
        tell: is given a sentence before the training begins.
        progress: whether this process may show a bar.

    Raises:
        UserError: the run is not of this study, is solved rather than trained, needs another run first, or is being
            made by another process; or the processes have not the same images, backbone and versions.
    """
    _check(study, cell)
    settled = devices.from_first(partial(_settled, study, cell))
    _check_alike(settled, cell, devices)
    if devices.count > 1 and is_solved(settled, cell.method):
        raise UserError(f"method {cell.method!r} is solved, not trained by steps: one device makes it as fast.")
    with claims_of_store() if devices.is_first else nullcontext() as claims:
        candidates = devices.from_first(partial(_begun, study, cell, claims))
        if candidates is None:
            return False
        tell(f"Training {cell.method} on {cell.n} images, seed {cell.seed}, on {_counted(devices.count)}.")
        result = runner_of(settled, progress and devices.is_first)(settled, cell, candidates)
        devices.from_first(partial(_stored, study, cell, result, devices.count))
    return True


def _counted(devices: int) -> str:
    return "1 device" if devices == 1 else f"{devices} devices"


def _check(plan: Plan, cell: Cell) -> None:
    for name, value, offered in (
        ("method", cell.method, plan.methods),
        ("size", cell.n, plan.sizes),
        ("seed", cell.seed, plan.seeds),
    ):
        if value not in offered:
            raise UserError(f"{name} is {value!r}, but this study has {', '.join(map(str, offered))}.")


def _settled(study: Study, cell: Cell) -> Plan:
    """The study with what else each machine would find out for itself; the images of the run are decoded."""
    study.check()
    settled = pinned(study)
    decode(replace(settled, sizes=(cell.n,), seeds=(cell.seed,)), lambda _: None)
    return settled


def _check_alike(plan: Plan, cell: Cell, devices: Devices) -> None:
    """Raise, in all processes, unless they would make the same run."""
    if not devices.have_alike((run_key(plan, cell), __version__, str(torch.__version__))):
        raise UserError(
            "the processes have not all the same images, backbone and versions of vptlib and torch: give all machines "
            "the same files and the same environment."
        )


def _begun(plan: Plan, cell: Cell, claims: Claims | None) -> list | None:
    """The candidates of a run that is now claimed, or None if it is in the store; for the first process."""
    key = run_key(plan, cell)
    if claims and not claims.take(key):
        raise UserError(f"{claims.holder(key) or 'another process'} is making this run: wait for it.")
    if is_stored(plan, cell, finished_runs(plan, [cell])):
        return None
    return candidates_of(plan, cell)


def _stored(plan: Plan, cell: Cell, result: Result, devices: int) -> None:
    log_run(plan, cell, replace(result, devices=devices))
