"""What a worker of a cluster does: it claims a run, makes it, and stores it where the study asks for it.

Each piece of work stands for itself. A worker that gets it a second time, or beside another one, finds the run in the
store or claimed, and does not make it again. A worker that would give other numbers, or store them elsewhere, says so
and makes nothing.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Any

from filelock import FileLock

from vptlib import signs_of_life
from vptlib.environment import seconds_set, set_meanwhile
from vptlib.errors import UserError
from vptlib.paths import cache_folder, write_whole
from vptlib.redaction import log_no_secrets
from vptlib.shortages import DISK, reason_of, sentence_of, shortage
from vptlib.study.claims import Claims, machine
from vptlib.study.connection import open_store
from vptlib.study.make_runs import claims_of_store, is_stored
from vptlib.study.material import decode, forget_material
from vptlib.study.outages import outlasting
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import Setting
from vptlib.study.runner import candidates_of, run_alone, score_of_setting
from vptlib.study.store import finished_runs, log_run, run_key, tried_file

# A worker ends and begins anew after so many pieces of work, because libraries keep memory.
WORK_BEFORE_RENEWAL = 50
# A piece of work that shows no sign of life for so long is taken for stuck: its process ends, another one goes on.
SECONDS_OF_STILLNESS = 1800
STORED, FOUND, ELSEWHERE, OUT_OF_TIME, SCORED, UNFIT = "stored", "found", "elsewhere", "out of time", "scored", "unfit"
STOPPED = "stopped"
_SAME = ("vptlib", "torch", "timm")
STUCK = 70  # exit code of a process that has ended itself, because its work did not move


@dataclass(frozen=True)
class Rules:
    """What all workers of a study must have in common with the process that started it.

    Attributes:
        versions: of the packages that make the numbers.
        store: address of the store, without a password.
        folder: of the store, where it is a file.
        machine: that this file is on; "" for a server.
    """

    versions: tuple[str, ...]
    store: str
    folder: str
    machine: str


@dataclass(frozen=True)
class Work:
    """One piece of work, as it is sent to a worker.

    Attributes:
        key: of the run.
        seconds: that are left for it, from now on; clocks of two machines are never compared. None: no end.
        setting: of the published rules, to be scored; None for the run itself.
        scores: label of a setting → what it gave, where all have been scored.
    """

    rules: Rules
    plan: Plan
    cell: Cell
    key: str
    seconds: float | None = None
    setting: Setting | None = None
    scores: dict[str, tuple[float, float]] | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a piece of work.

    Attributes:
        state: one of the constants above.
        about: who has the run, or why this worker is not fit.
        worker: address of the worker.
        seconds: that it took.
        score: of a setting: validation accuracy (a fraction) and loss.
    """

    state: str
    about: str = ""
    worker: str = ""
    seconds: float = 0.0
    score: tuple[float, float] | None = None


def rules_here() -> Rules:
    """What the workers must have in common with this process.

    Raises:
        UserError: the store is a database server, whose password workers would need.
    """
    address = open_store().address
    if address.file is None and not address.uri.startswith(("http://", "https://")):
        raise UserError(
            f"the store of runs is {address.shown}, but workers of a cluster speak to an MLflow server only: start one "
            "on this database, and set MLFLOW_TRACKING_URI to its http address (docs/cluster/store.md)."
        )
    return Rules(
        versions=_versions(),
        store=address.shown,
        folder=str(address.file.parent) if address.file else "",
        machine=machine() if address.file else "",
    )


def fault_of_worker(rules: Rules, patient: bool = False) -> str:
    """Why this worker may not work for a study, or "".

    Args:
        patient: whether a store that does not answer is waited for (`vptlib.study.outages`).
    """
    if (threads := threads_of_worker()) != 1:
        return f"it has {threads} threads, which would mix their random numbers: start it with --nthreads 1"
    for name, here, there in zip(_SAME, _versions(), rules.versions, strict=True):
        if here != there:
            return f"it has {name} {here}, and the study was started with {name} {there}: install the same"
    if rules.machine and rules.machine != machine():
        return (
            "it is on another machine than the store of runs, which is a file: start an MLflow server, and set "
            "MLFLOW_TRACKING_URI to its address (docs/cluster/store.md)"
        )
    try:
        with _store_of(rules):
            where = (outlasting(open_store) if patient else open_store()).address.shown
    except UserError as error:
        return f"it cannot open the store of runs: {error}"
    return "" if where == rules.store else f"its MLFLOW_TRACKING_URI is {where}, and the study's is {rules.store}"


def question_of_fitness() -> Callable:
    """`fault_of_worker` as workers are asked it: aside, because what it imports would keep them from answering.

    A function within a function is sent by value, so a worker without vptlib answers too, with its error.
    """

    async def fault(rules: dict) -> str:
        import asyncio

        def look() -> str:
            from vptlib.study.on_worker import Rules, fault_of_worker

            return fault_of_worker(Rules(**rules))

        return await asyncio.get_running_loop().run_in_executor(None, look)

    return fault


def do(work: Work) -> Outcome:
    """Do one piece of work. What can be mended elsewhere comes as an outcome; a mistake in the study is raised.

    Raises:
        UserError: the task cannot be loaded here, training diverges, or memory is too small.
    """
    begun, where = time.monotonic(), _address_of_worker()
    log_no_secrets("distributed", "")  # Dask's log has the texts of errors
    if fault := fault_of_worker(work.rules, patient=True):
        return Outcome(UNFIT, fault, where)
    with watched(), _store_of(work.rules):
        try:
            found = _done(work)
        except signs_of_life.Interrupted:
            found = Outcome(STOPPED)
        except Exception as error:
            if shortage(error) == DISK:  # of this worker alone: it would let one run after the other fail
                return Outcome(UNFIT, reason_of(error), where)
            if shortage(error) and not isinstance(error, UserError):
                raise UserError(f"worker {where}: {sentence_of(error, jobs=1)}") from error
            raise
    renew_if_due()
    return Outcome(found.state, found.about, where, time.monotonic() - begun, found.score)


def _done(work: Work) -> Outcome:
    plan, cell = work.plan, work.cell
    _prepare(plan)
    if (key := _key_here(plan, cell, work.key)) != work.key:
        return Outcome(UNFIT, "it has other images, or other weights of the backbone, under these names")
    if work.setting is not None:
        return Outcome(SCORED, score=score_of_setting(plan, cell, work.setting))
    claims = _claims_in(work.rules)
    if not claims.take(key):
        return Outcome(ELSEWHERE, claims.holder(key) or "another process")
    try:
        return _made(work, claims)
    finally:
        claims.release(key)


def _made(work: Work, claims: Claims) -> Outcome:
    """What becomes of a run that this process has claimed."""
    plan, cell, key = work.plan, work.cell, work.key
    if is_stored(plan, cell, finished_runs(plan, [cell])):
        return Outcome(FOUND)
    if work.scores is not None:
        write_whole(tried_file(plan, cell), json.dumps(work.scores))
    until = None if work.seconds is None else time.time() + work.seconds
    result = run_alone(plan, cell, candidates_of(plan, cell), until)[1]
    if result is None:
        return Outcome(OUT_OF_TIME)
    if not claims.has(key) and not claims.take(key):
        return Outcome(ELSEWHERE, claims.holder(key) or "another process")
    log_run(plan, cell, result)
    return Outcome(STORED)


@lru_cache(maxsize=8)
def _claims_in(rules: Rules) -> Claims:
    """The claims of this process in a store, kept as long as it lives.

    Whether the claim of a process that has gone shows life is seen over minutes, so over many pieces of work.
    """
    return claims_of_store().__enter__()


def _key_here(plan: Plan, cell: Cell, wanted: str) -> str:
    """The key of a run by what is here; read anew where it is another one, because files may have changed."""
    if (key := run_key(plan, cell)) != wanted:
        forget_material()
        key = run_key(plan, cell)
    return key


@lru_cache(maxsize=8)
def _prepare(plan: Plan) -> None:
    """Decode the images of a study once: the first worker of a machine does it, the others wait for it."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with FileLock(cache_folder() / "decoding.lock"):
        decode(plan, lambda _: signs_of_life.moved())


# ---- the store ------------------------------------------------------------------------------------------------


GIVEN = {name: os.environ.get(name, "") for name in ("MLFLOW_TRACKING_URI", "VPTLIB_STORE")}


@contextmanager
def _store_of(rules: Rules) -> Iterator[None]:
    """The store of the study, unless this worker was started with an address of its own."""
    server = not rules.folder
    name, value = ("MLFLOW_TRACKING_URI", rules.store) if server else ("VPTLIB_STORE", rules.folder)
    has_its_own = GIVEN["MLFLOW_TRACKING_URI"] or (not server and GIVEN["VPTLIB_STORE"])
    with set_meanwhile(**({} if has_its_own else {name: value})):
        yield


def _versions() -> tuple[str, ...]:
    return tuple(version(name) for name in _SAME)


# ---- life and death of a worker -------------------------------------------------------------------------------


def dask_worker() -> Any:
    """The Dask worker that this process is, or None."""
    from distributed import get_worker

    with suppress(ValueError):
        return get_worker()
    return None


def _address_of_worker() -> str:
    worker = dask_worker()
    return worker.address if worker else "this process"


def threads_of_worker() -> int:
    worker = dask_worker()
    return worker.state.nthreads if worker else 1


@contextmanager
def watched() -> Iterator[None]:
    """While work is done, see that it moves and is still wanted."""
    over, worker = threading.Event(), dask_worker()
    key = worker.get_current_task() if worker else ""
    signs_of_life.begin()
    watch = threading.Thread(target=_watch, args=(over, worker, key), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
        signs_of_life.begin()


def _watch(over: threading.Event, worker: Any, key: str) -> None:
    limit = seconds_set("VPTLIB_SECONDS_OF_STILLNESS", SECONDS_OF_STILLNESS)
    while not over.wait(min(1.0, limit / 4)):
        if worker and not _is_wanted(worker, key):
            signs_of_life.ask_to_stop()
        if signs_of_life.seconds_since_moved() > limit:
            print(f"No sign of life for {limit:g} s: this worker ends, and another one takes its run.", file=sys.stderr)
            sys.stderr.flush()
            os._exit(STUCK)


def _is_wanted(worker: Any, key: str) -> bool:
    """Whether somebody still waits for a piece of work: not after an interrupt, or when the study's process is gone."""
    task = worker.state.tasks.get(key)
    return task is not None and task.state != "cancelled"


class SoFar:
    """What this process has done since it began: `work`, pieces."""

    work = 0


def renew_if_due() -> None:
    """After some work, let Dask end this process gently and begin another one. Only a nanny can begin one."""
    worker = dask_worker()
    SoFar.work += 1
    if worker and worker.nanny and SoFar.work == WORK_BEFORE_RENEWAL:
        renew = partial(worker.close_gracefully, restart=True, reason="renewed after some work")
        worker.loop.add_callback(worker.loop.call_later, 1.0, renew)  # after this result is on its way
