"""Make the runs of a study within a time: whenever a core is free, the next run that fits is chosen and started.

`vptlib.study.time_budget` chooses. What finished runs took corrects its forecast.
"""

import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence

from vptlib.study.make_runs import results
from vptlib.study.material import is_solved
from vptlib.study.plan import Cell, Plan
from vptlib.study.store import Result
from vptlib.study.time_budget import GRACE, forecast, needed_first, next_run


def results_in_time(
    plan: Plan, missing: Sequence[Cell], jobs: int, seconds: float, tell: Callable[[str], None] = lambda _: None
) -> Generator[tuple[Cell, Result | None], None, None]:
    """Each cell that fits with its result, as in `vptlib.study.make_runs.results`.

    Args:
        missing: cells that are not finished.
        jobs: runs made at the same time, each in a process with one thread; with 1, runs are made in this process.
        seconds: the time that all may take, waiting for other studies included. Runs that an answer needs may take
            `GRACE` of it more.
        tell: is given a sentence when the study waits for others, or goes on with fewer runs at the same time.
    """
    return results(plan, missing, InTime(plan, jobs, seconds), jobs, tell)


class InTime:
    """The order of the time budget: the most important run that fits."""

    def __init__(self, plan: Plan, jobs: int, seconds: float):
        self._plan, self._watch = plan, _Watch(plan, jobs)
        self._end, self._grace, self._needed = time.time() + seconds, GRACE * seconds, needed_first(plan)

    def next(self, free: Collection[Cell], running: Mapping[Cell, float], jobs: int) -> Cell | None:
        return next_run(self._plan, free, running, self.seconds_left(), jobs, self._watch.correction)

    def deadline(self, cell: Cell) -> float | None:
        return self._end + self._grace * (cell in self._needed)

    def note(self, cell: Cell, seconds: float) -> None:
        self._watch.note(cell, seconds)

    def seconds_left(self) -> float:
        return self._end - time.time()


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
