"""Make the runs of a study within a time: whenever a core is free, the next run that fits is chosen and started.

`vptlib.study.time_budget` chooses. Here runs are started and awaited, and what they took corrects the forecast.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

from joblib.externals.loky import get_reusable_executor

from vptlib.study.material import is_solved
from vptlib.study.plan import Cell, Plan
from vptlib.study.runner import candidates_of, run_alone, run_here
from vptlib.study.store import Result
from vptlib.study.time_budget import GRACE, forecast, needed_first, next_run

# A process has one thread for its arithmetic; that of torch is set by `run_alone`.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def results_in_time(
    plan: Plan, missing: Sequence[Cell], jobs: int, seconds: float
) -> Iterator[tuple[Cell, Result | None]]:
    """Each cell that fits with its result, as soon as it is finished; None if its time was up before.

    The caller stores a result before it asks for the next one, because later seeds read what the first one chose.

    Args:
        missing: cells that are not finished.
        jobs: runs made at the same time, each in a process with one thread; with 1, runs are made in this process.
        seconds: the time that all may take. Runs that an answer needs may take `GRACE` of it more.
    """
    pool = _Here() if jobs == 1 else get_reusable_executor(max_workers=jobs, env=_ONE_THREAD)
    run, needed = run_here if jobs == 1 else run_alone, needed_first(plan)
    end, waiting, watch = time.time() + seconds, list(missing), _Watch(plan, jobs)
    running: dict[Future, tuple[Cell, float]] = {}
    try:
        while True:
            while len(running) < jobs:
                spent = {cell: time.time() - begun for cell, begun in running.values()}
                cell = next_run(plan, waiting, spent, end - time.time(), jobs, watch.correction)
                if cell is None:
                    break
                waiting.remove(cell)
                begun, until = time.time(), end + GRACE * seconds * (cell in needed)
                running[pool.submit(run, plan, cell, candidates_of(plan, cell), until)] = cell, begun
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell, begun = running.pop(future)
                result = future.result()[1]
                if result is not None:
                    watch.note(cell, time.time() - begun)
                yield cell, result
    except BaseException:  # also when the caller stops: what still runs would be lost work
        pool.shutdown(wait=False, kill_workers=True)
        raise


class _Watch:
    """What finished runs took, relative to their forecast. Solved ones take too little to tell."""

    def __init__(self, plan: Plan, jobs: int):
        self._plan, self._jobs = plan, jobs
        self._taken = self._forecast = 0.0

    def note(self, cell: Cell, seconds: float) -> None:
        if not is_solved(self._plan, cell.method):
            self._taken += seconds
            self._forecast += forecast(self._plan, cell, self._jobs)

    @property
    def correction(self) -> float:
        return self._taken / self._forecast if self._forecast else 1.0


class _Here(Executor):
    """Runs in this process: a call is finished when it has been submitted."""

    def submit(self, fn, /, *args, **kwargs) -> Future:
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, kill_workers: bool = False) -> None:
        pass
