"""Requests that wait for one pass: what is there when the last pass ends goes into the next one together.

Nobody waits for a batch to fill. While a pass is computed, further requests arrive, so batches are large when there is
much to do, and small when there is not.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class _Waiting(Generic[Item]):
    item: Item
    future: Future


class Batches(Generic[Item, Result]):
    """One thread that computes items in batches, in the order in which they came.

    A batch that fails is computed again item by item, so an item fails only by itself. An item whose future was
    cancelled before its batch began is not computed.

    Args:
        compute: gives a result for each item of a batch, or the exception that is this item's alone.
        most: items in a batch.
    """

    def __init__(self, compute: Callable[[Sequence[Item]], Sequence[Result | Exception]], most: int):
        self._compute, self._most = compute, most
        self._waiting: deque[_Waiting[Item]] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="vpt-batches", daemon=True)
        self._thread.start()

    def put(self, item: Item, future: Future) -> bool:
        """Let an item wait; its future will have the result. False if the thread has ended, or is to end."""
        with self._change:
            if self._closed:
                return False
            self._waiting.append(_Waiting(item, future))
            self._change.notify()
        return True

    def close(self) -> list[Future]:
        """End after the batch that is computed now. Gives the futures of those that still waited."""
        with self._change:
            self._closed = True
            left = [one.future for one in self._waiting]
            self._waiting.clear()
            self._change.notify()
        return left

    def join(self, seconds: float) -> bool:
        """Wait so long for the end after `close`. Gives whether the thread has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while self._computed():
            pass

    def _computed(self) -> bool:
        """One batch; False at the end. What was in it is let go when this returns, not only with the next batch."""
        batch = self._taken()
        self._settle(batch)
        return bool(batch)

    def _taken(self) -> list[_Waiting[Item]]:
        """The next batch; an empty one at the end."""
        batch: list[_Waiting[Item]] = []
        with self._change:
            while not batch and not self._closed:
                self._change.wait_for(lambda: self._waiting or self._closed)
                while self._waiting and len(batch) < self._most:
                    one = self._waiting.popleft()
                    if one.future.set_running_or_notify_cancel():
                        batch.append(one)
        return batch

    def _settle(self, batch: list[_Waiting[Item]]) -> None:
        if not batch:
            return
        try:
            results = self._compute([one.item for one in batch])
            pairs = list(zip(batch, results, strict=True))
        except Exception as error:  # whatever it is, it is not to end this thread
            if len(batch) > 1:
                for one in batch:
                    self._settle([one])
            else:
                settle(batch[0].future, error)
            return
        for one, result in pairs:
            settle(one.future, result)


def settle(future: Future, result: object) -> None:
    """Give a future its result or its exception, unless it has one already or was cancelled."""
    with suppress(InvalidStateError):
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
