"""Make the missing runs of a study on a cluster: who is free gets the next run, and what is lost is given again.

The workers claim and store the runs themselves (`vptlib.study.on_worker`), so a finished run is in the store even if
this process ends. Under the published rules each setting is tried as a piece of work of its own: hundreds of settings
of one run then train side by side.
"""

import hashlib
import json
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property

from vptlib.errors import UserError
from vptlib.paths import write_whole
from vptlib.study import on_worker
from vptlib.study.cluster import Lost, Place
from vptlib.study.make_runs import Order
from vptlib.study.material import pinned
from vptlib.study.on_worker import Outcome, Work
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import VTAB, Setting
from vptlib.study.store import run_key, tried_file
from vptlib.wording import many

# How often a waiting study asks for what others make, in seconds.
SECONDS_BETWEEN_LOOKS = 2.0
# In this time a worker that was killed begins anew, with its imports.
SECONDS_FOR_ANOTHER = 30.0
# So many workers that are not fit one after the other end a study.
MOST_UNFIT = 20
SECONDS_TO_REFUSE = 60.0  # in which a worker that is not fit gives its work back
# A piece of work whose result was lost so often is given up.
MOST_LOSSES = 100


def results_on_cluster(
    plan: Plan, missing: Sequence[Cell], order: Order, place: Place, tell: Callable[[str], None]
) -> Generator[Cell]:
    """Each run as soon as it is in the store; those that the time was up for are not given.

    A run that fails does not stop the others. Close the iterator in any case: what still runs on the cluster stops
    then, with its checkpoint.

    Args:
        tell: is given a sentence when the study waits, or goes on without a worker.

    Raises:
        UserError: no worker is fit for this study, the cluster does not answer any more, or runs have failed: the first
            failure, after all other runs are made.
    """
    yield from _OnCluster(plan, missing, order, place, tell).results()


class _SoFar(Mapping[Cell, float]):
    """How long each running cell has taken; counted only when it is asked for, because there may be thousands."""

    def __init__(self, running: Mapping[str, tuple[Work, float]]):
        self._running = running

    def __getitem__(self, cell: Cell) -> float:
        return self._seconds[cell]

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._seconds)

    def __len__(self) -> int:
        return len(self._seconds)

    @cached_property
    def _seconds(self) -> dict[Cell, float]:
        now = time.time()
        return {work.cell: now - begun for work, begun in self._running.values()}


class _OnCluster:
    """The runs of one study that are not stored yet: they wait, are on a worker, or are made in another study."""

    def __init__(self, plan: Plan, missing: Sequence[Cell], order: Order, place: Place, tell: Callable[[str], None]):
        self._plan, self._order, self._place, self._tell = plan, order, place, tell
        self._rules, self._pinned = on_worker.rules_here(), pinned(plan)
        self._keys = {cell: run_key(plan, cell) for cell in missing}
        unfinished = set(missing)
        self._waiting: OrderedDict[Cell, None] = OrderedDict()  # what may start; the first one is found at once
        self._later: dict[Cell, list[Cell]] = {}  # a run that chooses for others → those others
        for cell in missing:
            first = plan.tuning_cell(cell)
            if first == cell or first not in unfinished:
                self._waiting[cell] = None
            else:
                self._later.setdefault(first, []).append(cell)
        self._settings: deque[tuple[Cell, Setting]] = deque()  # to be scored
        self._scores: dict[Cell, dict[str, tuple[float, float]]] = {}
        self._running: dict[str, tuple[Work, float]] = {}
        self._elsewhere: dict[Cell, tuple[str, float]] = {}  # who makes it, and when to ask again
        self._losses: dict[str, int] = {}
        self._failures: dict[Cell, BaseException] = {}
        self._unfit = 0  # workers that were not fit, since one has done its work
        self._nothing_fits = False  # the order has nothing to start, as long as nothing else ends

    def results(self) -> Generator[Cell]:
        self._check_workers()
        try:
            while self._is_going_on():
                self._place.reach()
                self._ask_again()
                self._start()
                yield from self._collect()
        finally:
            self._place.forget()
        self._report_failures()

    # ---- start ----

    def _check_workers(self) -> None:
        """Let workers that are not fit for this study go.

        Raises:
            UserError: none is fit; the fault of the first is named.
        """
        faults = self._place.ask_workers(on_worker.question_of_fitness(), asdict(self._rules))
        unfit = {worker: str(fault) for worker, fault in faults.items() if fault}
        for worker, fault in unfit.items():
            if len(unfit) == len(faults):
                raise UserError(f"worker {worker} of the cluster cannot work for this study: {fault}.")
            self._without(worker, fault)

    def _without(self, worker: str, fault: str) -> None:
        self._tell(f"going on without worker {worker}: {fault}")
        self._place.retire(worker)

    def _is_going_on(self) -> bool:
        """Whether something is running, may start, or is made elsewhere and may be waited for."""
        if self._running or self._settings or (self._waiting and not self._nothing_fits):
            return True
        return bool(self._elsewhere) and self._order.seconds_left() > 0

    def _start(self) -> None:
        """Give work to the workers that have none."""
        for _ in range(self._place.slots - len(self._running)):
            work = self._next()
            self._nothing_fits = work is None
            if work is None:
                return
            key = self._key_of(work)
            self._running[key] = work, time.time()
            self._place.give(key, on_worker.do, work)

    def _next(self) -> Work | None:
        """The next piece of work: a setting to score, or a run."""
        while True:
            if self._settings:
                cell, setting = self._settings.popleft()
                return self._work(cell, setting=setting)
            cell = self._order.next(self._waiting.keys(), _SoFar(self._running), self._place.slots)
            if cell is None:
                return None
            del self._waiting[cell]
            if self._is_scored(cell):
                return self._work(cell, scores=self._scores.get(cell))
            # else its settings are in the line now

    def _is_scored(self, cell: Cell) -> bool:
        """Whether a run can start; if its settings are to be tried first, they are put into the line."""
        if self._plan.rules != VTAB or not self._plan.tunes(cell):
            return True
        if cell not in self._scores:
            file = tried_file(self._plan, cell)
            known = json.loads(file.read_text()) if file.is_file() else {}
            self._scores[cell] = {label: (score[0], score[1]) for label, score in known.items()}
        untried = [setting for setting in self._settings_of(cell) if setting.label not in self._scores[cell]]
        self._settings.extend((cell, setting) for setting in untried)
        return not untried

    def _settings_of(self, cell: Cell) -> list[Setting]:
        return [each for each in self._plan.to_try(cell.method) if isinstance(each, Setting)]

    def _work(self, cell: Cell, setting: Setting | None = None, scores: dict | None = None) -> Work:
        until = self._order.deadline(cell)
        seconds = None if until is None else max(0.0, until - time.time())
        return Work(self._rules, self._pinned, cell, self._keys[cell], seconds, setting, scores)

    def _key_of(self, work: Work) -> str:
        """The key of a piece of work on the scheduler. Two studies that want the same run get it from one worker.

        Work that was lost before, or that has an end, has a key of its own.
        """
        name = self._name_of(work)
        alone = self._losses.get(name, 0) or work.seconds is not None
        return f"{name}-{random.getrandbits(32):08x}" if alone else name

    def _name_of(self, work: Work) -> str:
        """The key of its run, for this store, and its setting."""
        store = hashlib.sha256(self._rules.store.encode()).hexdigest()[:8]
        return f"{work.key}-{store}" + (f"-{work.setting.label}" if work.setting else "")

    # ---- collect ----

    def _collect(self) -> Generator[Cell]:
        """Take what has ended, after at most a moment."""
        for key, found in self._place.finished(SECONDS_BETWEEN_LOOKS):
            if key in self._running:
                work, _ = self._running.pop(key)
                self._nothing_fits = False
                if isinstance(found, Outcome):
                    yield from self._take(work, found)
                else:
                    self._failed(work, found)

    def _take(self, work: Work, found: Outcome) -> Generator[Cell]:
        cell = work.cell
        if found.state != on_worker.UNFIT:
            self._unfit = 0
        if found.state in (on_worker.STORED, on_worker.FOUND):
            if found.state == on_worker.STORED:
                self._order.note(cell, found.seconds)
            self._waiting |= dict.fromkeys(self._later.pop(cell, ()))
            if cell in self._scores:
                tried_file(self._plan, cell).unlink(missing_ok=True)
            yield cell
        elif found.state == on_worker.SCORED and work.setting and found.score:
            self._note_score(cell, work.setting, found.score)
        elif found.state == on_worker.ELSEWHERE:
            self._wait_for(cell, found.about)
        elif found.state == on_worker.UNFIT:
            self._take_back(work, found)
        elif found.state == on_worker.STOPPED:
            self._again(work)
        # else its time was up

    def _note_score(self, cell: Cell, setting: Setting, score: tuple[float, float]) -> None:
        scores = self._scores[cell]
        scores[setting.label] = score
        write_whole(tried_file(self._plan, cell), json.dumps(scores))
        self._tell(f"{cell.method} with {cell.n} images: {many(len(scores), 'setting')} tried")
        if all(each.label in scores for each in self._settings_of(cell)):
            self._first(cell)

    def _take_back(self, work: Work, found: Outcome) -> None:
        """A worker is not fit: it came later, or its disk is full.

        Raises:
            UserError: it is the only one, also after a while in which another one may begin anew; or so many were not
                fit one after the other, while none was at work, that those which come will not be, either.
        """
        self._unfit += 1
        hopeless = self._unfit > MOST_UNFIT and not self._is_at_work()
        if hopeless or not self._has_another_than(found.worker):
            raise UserError(f"worker {found.worker} of the cluster cannot work for this study: {found.about}.")
        self._without(found.worker, found.about)
        self._again(work)

    def _is_at_work(self) -> bool:
        """Whether a fit worker makes something: one that is not fit says so sooner."""
        return any(time.time() - begun > SECONDS_TO_REFUSE for _, begun in self._running.values())

    def _has_another_than(self, worker: str) -> bool:
        end = time.monotonic() + SECONDS_FOR_ANOTHER
        while not self._place.workers().keys() - {worker}:
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def _failed(self, work: Work, error: BaseException) -> None:
        """Lost work is given again; a run that failed is left out, with those that wait for what it would choose."""
        if isinstance(error, ImportError):  # a worker that came later, and has not what it needs
            self._check_workers()
            self._again(work)
        elif isinstance(error, Lost):
            self._again(work)
        else:
            self._leave_out(work.cell, error)

    def _leave_out(self, cell: Cell, error: BaseException) -> None:
        if cell not in self._failures:
            self._failures[cell] = error
            self._tell(f"{cell.method} with {cell.n} images, seed {cell.seed}, has failed")
        self._later.pop(cell, None)
        self._settings = deque(each for each in self._settings if each[0] != cell)

    def _again(self, work: Work) -> None:
        name = self._name_of(work)
        self._losses[name] = self._losses.get(name, 0) + 1
        if self._losses[name] > MOST_LOSSES:
            what = f"{work.cell.method} with {work.cell.n} images and seed {work.cell.seed}"
            self._leave_out(work.cell, UserError(f"{what} was lost {MOST_LOSSES} times: read the workers' logs."))
        elif work.setting is not None:
            self._settings.appendleft((work.cell, work.setting))
        else:
            self._first(work.cell)

    def _first(self, cell: Cell) -> None:
        """Let a run be the next of those that wait."""
        self._waiting[cell] = None
        self._waiting.move_to_end(cell, last=False)

    def _report_failures(self) -> None:
        """
        Raises:
            UserError: or another error, of the first run that has failed.
        """
        if not self._failures:
            return
        error = next(iter(self._failures.values()))
        if others := len(self._failures) - 1:
            error.add_note(f"{many(others, 'other run')} failed too.")
        raise error

    # ---- others ----

    def _ask_again(self) -> None:
        """Let runs that others have claimed wait again after a moment: a worker then asks whether they are made."""
        for cell, (_, when) in list(self._elsewhere.items()):
            if time.monotonic() >= when:
                del self._elsewhere[cell]
                self._waiting[cell] = None
                self._nothing_fits = False

    def _wait_for(self, cell: Cell, who: str) -> None:
        """Ask again after a moment whether another study has made this run."""
        self._elsewhere[cell] = who, time.monotonic() + SECONDS_BETWEEN_LOOKS * random.uniform(0.5, 1.5)
        names = sorted({name for name, _ in self._elsewhere.values()})
        self._tell(f"waiting for {', '.join(names)} to make {many(len(self._elsewhere), 'run')}")
