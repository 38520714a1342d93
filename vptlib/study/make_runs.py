"""Make the missing runs of a study: each is claimed first, several run side by side, and each is made once.

Where another study on the same store has claimed a run, this one takes the next. When only such runs are left it
waits, and makes those that the other has left unfinished.
"""

import math
import random
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from functools import partial
from typing import Protocol

from joblib.externals.loky import get_reusable_executor

from vptlib.errors import UserError
from vptlib.processes import worker_options
from vptlib.shortages import MEMORY, WORKER, reason_of, sentence_of, shortage, takes_all_workers
from vptlib.study.claims import Claims, FolderBoard, ServerBoard, claims_experiment
from vptlib.study.connection import open_store
from vptlib.study.leftovers import claims_folder
from vptlib.study.plan import Cell, Plan
from vptlib.study.runner import candidates_of, run_alone, run_here
from vptlib.study.store import Result, finished_runs, run_key

# A process has one thread for its arithmetic; that of torch is set by `run_alone`.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Order(Protocol):
    """Which run starts next, and until when."""

    def next(self, free: Collection[Cell], running: Mapping[Cell, float], jobs: int) -> Cell | None:
        """A cell of `free` to start now, or None.

        Args:
            free: cells that nobody makes and whose learning rate is chosen.
            running: each running cell with the seconds that it has taken so far.
            jobs: runs made at the same time.
        """
        ...

    def deadline(self, cell: Cell) -> float | None:
        """When the run must end, as `time.time` counts."""
        ...

    def note(self, cell: Cell, seconds: float) -> None:
        """A run has taken so long."""
        ...

    def seconds_left(self) -> float:
        """How long the study may wait for others."""
        ...


def is_stored(plan: Plan, cell: Cell, done: Mapping) -> bool:
    """Whether a run is in the store, with its weights if the study keeps them.

    Args:
        done: what `vptlib.study.store.finished_runs` gives.
    """
    run = done.get(run_key(plan, cell))
    return run is not None and (not plan.keeps(cell) or "weights" in run.data.tags)


def claims_of_store() -> Claims:
    """Claims where all who write to the store see them: next to its file, or on its server.

    Where a server allows no experiment of claims, only those who share the store folder see them.
    """
    store = open_store()
    if store.address.file is None and (experiment := claims_experiment(store.client)):
        return Claims(ServerBoard(store.client, experiment))
    return Claims(FolderBoard(claims_folder(store)))


def results(
    plan: Plan,
    missing: Sequence[Cell],
    order: Order,
    jobs: int,
    tell: Callable[[str], None],
    claims: Claims | None = None,
    progress: bool = False,
) -> Generator[tuple[Cell, Result | None], None, None]:
    """Each run with its result, as soon as it is finished. None: its time was up, or another study has stored it.

    The caller stores a result before it asks for the next one: the claim ends then, and later seeds read what the
    first one chose. Close the iterator in any case, because others wait for its claims.

    Args:
        jobs: runs made at the same time, each in a process with one thread; with 1, runs are made in this process.
        tell: is given a sentence when the study waits for others, or goes on with fewer runs at the same time.
        progress: whether a run in this process may show a bar of its own.

    Raises:
        UserError: a worker process was ended, or memory ran out, although it ran alone.
    """
    if missing:
        with claims or claims_of_store() as held:
            yield from _Making(plan, missing, order, jobs, tell, held, progress).results()


class AsListed:
    """An order that takes what comes first and has no end."""

    def next(self, free: Collection[Cell], running: Mapping[Cell, float], jobs: int) -> Cell | None:
        return next(iter(free), None)

    def deadline(self, cell: Cell) -> float | None:
        return None

    def note(self, cell: Cell, seconds: float) -> None:
        pass

    def seconds_left(self) -> float:
        return math.inf


class _Making:
    """The runs of one study that are not stored yet: they wait, run here, or run in another study."""

    def __init__(
        self,
        plan: Plan,
        missing: Sequence[Cell],
        order: Order,
        jobs: int,
        tell: Callable[[str], None],
        claims: Claims,
        progress: bool,
    ):
        self._plan, self._order, self._tell, self._claims = plan, order, tell, claims
        self._jobs = jobs
        self._keys = {cell: run_key(plan, cell) for cell in missing}
        self._waiting = list(missing)
        self._running: dict[Future, tuple[Cell, float]] = {}
        self._elsewhere: dict[Cell, str] = {}  # those of the waiting ones that another study has claimed, and which
        self._told = ""
        self._in_this_process = jobs == 1
        in_process = partial(run_here, progress=True) if progress else run_here
        self._run = in_process if jobs == 1 else run_alone
        self._pool: Executor | None = None

    def results(self) -> Iterator[tuple[Cell, Result | None]]:
        try:
            while True:
                self._look_at_others()
                yield from self._start()
                if self._running:
                    yield from self._collect()
                elif self._elsewhere and self._order.seconds_left() > 0:
                    self._wait_for_others()
                else:
                    return
        except BaseException:  # also when the caller stops: what still runs would be lost work
            if self._pool:
                self._pool.shutdown(wait=False, kill_workers=True)  # pyright: ignore[reportCallIssue]
            raise

    # ---- start ----

    def _start(self) -> Iterator[tuple[Cell, None]]:
        """Start runs until no core is free or none is left; those that another study has stored are given."""
        while len(self._running) < self._jobs:
            cell = self._order.next(self._free(), self._seconds_so_far(), self._jobs)
            if cell is None:
                return
            if not self._claims.take(self._keys[cell]):
                self._elsewhere[cell] = self._claims.holder(self._keys[cell]) or "another process"
            elif self._is_stored(cell):
                self._waiting.remove(cell)
                self._claims.release(self._keys[cell])
                yield cell, None
            else:
                self._submit(cell)

    def _free(self) -> list[Cell]:
        """The waiting runs that nobody makes, and that need no other run first."""
        unfinished = {*self._waiting, *(cell for cell, _ in self._running.values())}
        return [
            cell
            for cell in self._waiting
            if cell not in self._elsewhere
            and (self._plan.tunes(cell) or self._plan.tuning_cell(cell) not in unfinished)
        ]

    def _seconds_so_far(self) -> dict[Cell, float]:
        return {cell: time.time() - begun for cell, begun in self._running.values()}

    def _is_stored(self, cell: Cell) -> bool:
        return is_stored(self._plan, cell, finished_runs(self._plan, [cell]))

    def _submit(self, cell: Cell) -> None:
        self._waiting.remove(cell)
        begun, work = time.time(), (self._plan, cell, candidates_of(self._plan, cell), self._order.deadline(cell))
        try:
            self._pool = self._pool or self._new_pool()
            self._running[self._pool.submit(self._run, *work)] = cell, begun
        except Exception as error:
            self._with_fewer(cell, error)

    def _new_pool(self) -> Executor:
        if self._in_this_process:
            return _Here()
        return get_reusable_executor(max_workers=self._jobs, env=ONE_THREAD, **worker_options())

    # ---- collect ----

    def _collect(self) -> Iterator[tuple[Cell, Result | None]]:
        """Wait for a run to end, and give what has ended; where a core is free, not longer than until the next look."""
        idle = bool(self._elsewhere) and len(self._running) < self._jobs
        pause = self._claims.seconds_between_looks if idle else None
        for future in wait(self._running, pause, return_when=FIRST_COMPLETED).done:
            if future not in self._running:  # it went down with another one
                continue
            cell, begun = self._running.pop(future)
            try:
                result = future.result()[1]
            except Exception as error:
                self._with_fewer(cell, error)
                continue
            if result is None:
                yield cell, None
            elif self._may_store(cell):
                self._order.note(cell, time.time() - begun)
                yield cell, result
            else:
                self._waiting.append(cell)
            self._claims.release(self._keys[cell])

    def _may_store(self, cell: Cell) -> bool:
        """Whether the claim has held; if this process was suspended, another one may have made the run."""
        key = self._keys[cell]
        return self._claims.has(key) or (self._claims.take(key) and not self._is_stored(cell))

    def _with_fewer(self, cell: Cell, error: Exception) -> None:
        """Go on with half as many runs at the same time, if it was a lack of memory that has stopped this one.

        Raises:
            UserError: it ran alone.
        """
        kind = shortage(error)
        if kind not in (MEMORY, WORKER) or self._in_this_process:
            raise error
        if self._jobs == 1:
            raise UserError(sentence_of(error, jobs=1)) from error
        stopped = [cell]
        if takes_all_workers(error):
            stopped += [other for other, _ in self._running.values()]
            self._running.clear()
            self._pool = None
        self._waiting = stopped + self._waiting
        for each in stopped:
            self._claims.release(self._keys[each])
        self._jobs = self._jobs // 2
        self._tell(f"{reason_of(error)}: going on with {self._jobs} at the same time.")

    # ---- others ----

    def _look_at_others(self) -> None:
        """Which claims of others still hold."""
        now = {cell: self._claims.holder(self._keys[cell]) for cell in self._elsewhere}
        self._elsewhere = {cell: who for cell, who in now.items() if who}

    def _wait_for_others(self) -> None:
        """Wait until the next look; two processes that claim the same run at the same time must not do so for ever."""
        count = len(self._elsewhere)
        text = f"waiting for {', '.join(sorted(set(self._elsewhere.values())))} to make {count} run{'s' * (count > 1)}"
        if text != self._told:
            self._tell(text)
            self._told = text
        pause = self._claims.seconds_between_looks * random.uniform(0.5, 1.5)
        time.sleep(min(pause, max(0.0, self._order.seconds_left())))


class _Here(Executor):
    """Runs in this process: a call is finished when it has been submitted."""

    def submit(self, fn, /, *args, **kwargs) -> Future:
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, kill_workers: bool = False) -> None:
        pass
