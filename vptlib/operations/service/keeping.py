"""Answers are recorded behind the service's back: no answer waits for the disk, and a full disk stops none."""

import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from logging import ERROR, INFO
from typing import TYPE_CHECKING, Protocol

from vptlib.errors import UserError
from vptlib.operations.service.logs import note
from vptlib.operations.service.metrics import Metrics

if TYPE_CHECKING:
    from vptlib.operations.records import Given

_MAY_PASS = (OSError, sqlite3.Error, UserError)  # a full or locked disk; any other failure would come back for ever


class Records(Protocol):
    """Where answers go, see `vptlib.operations.records`."""

    def add(self, given: "Sequence[Given]") -> None: ...

    def check(self, id: str, truth: str, by: str) -> bool: ...

    def task_of(self, id: str) -> str | None: ...


class Keeper:
    """Records answers in a thread of its own, many at once.

    While they cannot be written they are kept, up to a number; those beyond are lost, and counted.

    Args:
        records: where they go.
        metrics: where losses are counted.
        most: answers that may wait.
        pause: seconds between two attempts to write.
        at_once: answers of one attempt.
    """

    def __init__(self, records: Records, metrics: Metrics, most: int = 20_000, pause: float = 1.0, at_once: int = 500):
        self._records, self._metrics = records, metrics
        self._most, self._pause, self._at_once = most, pause, at_once
        self._waiting: deque[Given] = deque()
        self._changed = threading.Condition()
        self._stopping = self._failing = False
        self._thread: threading.Thread | None = None
        metrics.records_waiting.set_function(lambda: len(self._waiting))

    def start(self) -> None:
        """Begin to write; again after a stop."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="vpt-records", daemon=True)
        self._thread.start()

    def add(self, given: "Given") -> None:
        """Take an answer; this does not wait."""
        with self._changed:
            if len(self._waiting) < self._most:
                self._waiting.append(given)
                self._changed.notify_all()
                return
        self._metrics.records_lost.inc()

    def wait(self, seconds: float) -> bool:
        """Wait until all that was added is written; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting or self._failing, seconds) and not self._waiting

    def stop(self, seconds: float = 5.0) -> None:
        """Write what is left, or count it as lost."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)
        if lost := len(self._waiting):
            self._metrics.records_lost.inc(lost)
            note("answers not recorded", ERROR, answers=lost)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                batch = [self._waiting[number] for number in range(min(self._at_once, len(self._waiting)))]
            if not batch or (not self._written(batch) and self._stopping):
                return
            if self._failing:
                self._rest()

    def _written(self, batch: "list[Given]") -> bool:
        """Whether a batch is off the list."""
        try:
            self._records.add(batch)
        except _MAY_PASS as error:
            self._fail(error)
            return False
        except Exception as error:  # this batch can never be written: those after it may
            note("answers cannot be recorded", ERROR, error, answers=len(batch))
            self._metrics.records_lost.inc(len(batch))
        else:
            if self._failing:
                note("answers are recorded again", INFO)
        with self._changed:
            self._failing = False
            for _ in batch:
                self._waiting.popleft()
            self._changed.notify_all()
        return True

    def _fail(self, error: Exception) -> None:
        if not self._failing:
            note("answers cannot be recorded for now", ERROR, error)
        with self._changed:
            self._failing = True
            self._changed.notify_all()

    def _rest(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, self._pause)
