"""vptlib.operations.service.batches: what waits is computed together, and each item fails only by itself."""

import threading
from concurrent.futures import CancelledError, Future

import pytest

from vptlib.operations.service.batches import Batches, settle

SECONDS = 10  # after which a test is over


class Counted:
    """Doubles numbers, and notes its batches. Its first batch waits until it may go on."""

    def __init__(self):
        self.batches, self.has_begun, self.may_go_on = [], threading.Event(), threading.Event()

    def __call__(self, items):
        self.batches.append(list(items))
        self.has_begun.set()
        assert self.may_go_on.wait(SECONDS)
        if "stop" in items and len(items) > 1:
            raise KeyError("one of several")
        if "stop" in items:
            raise KeyError("stop")
        return [ValueError(item) if item == "no number" else 2 * item for item in items]


@pytest.fixture
def compute():
    return Counted()


@pytest.fixture
def batches(compute):
    made = Batches(compute, 4)
    yield made
    compute.may_go_on.set()
    made.close()


def put(batches, item):
    future = Future()
    assert batches.put(item, future)
    return future


def put_behind(compute, batches, items):
    """Futures of items that wait while a first one is computed, which is 0."""
    first = put(batches, 0)
    assert compute.has_begun.wait(SECONDS)
    return [first, *(put(batches, item) for item in items)]


def results(futures):
    return [future.result(SECONDS) for future in futures]


def test_what_waits_is_computed_together_in_order_and_no_more_at_once_than_may(compute, batches):
    futures = put_behind(compute, batches, [1, 2, 3, 4, 5, 6])
    compute.may_go_on.set()
    assert results(futures) == [0, 2, 4, 6, 8, 10, 12]
    assert compute.batches == [[0], [1, 2, 3, 4], [5, 6]]


def test_a_first_item_does_not_wait_for_others(compute, batches):
    compute.may_go_on.set()
    assert put(batches, 3).result(SECONDS) == 6


def test_an_item_that_was_cancelled_is_not_computed(compute, batches):
    first, one, two = put_behind(compute, batches, [1, 2])
    assert one.cancel()
    compute.may_go_on.set()
    assert results([first, two]) == [0, 4]
    assert compute.batches == [[0], [2]]
    with pytest.raises(CancelledError):
        one.result(SECONDS)


def test_the_thread_goes_on_where_all_that_wait_were_cancelled(compute, batches):
    first, one, two = put_behind(compute, batches, [1, 2])
    one.cancel(), two.cancel()
    compute.may_go_on.set()
    assert first.result(SECONDS) == 0
    assert put(batches, 7).result(SECONDS) == 14
    assert compute.batches == [[0], [7]]


def test_a_batch_that_fails_is_computed_one_by_one_and_only_the_guilty_one_fails(compute, batches):
    _, one, guilty, two = put_behind(compute, batches, [1, "stop", 2])
    compute.may_go_on.set()
    assert results([one, two]) == [2, 4]
    with pytest.raises(KeyError, match="stop"):
        guilty.result(SECONDS)
    assert compute.batches[1:] == [[1, "stop", 2], [1], ["stop"], [2]]


def test_an_exception_among_the_results_is_that_of_its_item_and_nothing_is_computed_again(compute, batches):
    _, one, guilty, two = put_behind(compute, batches, [1, "no number", 2])
    compute.may_go_on.set()
    assert results([one, two]) == [2, 4]
    with pytest.raises(ValueError, match="no number"):
        guilty.result(SECONDS)
    assert compute.batches == [[0], [1, "no number", 2]]


def test_too_few_results_are_a_failure_and_do_not_end_the_thread():
    batches = Batches(lambda items: items if items == ["good"] else [], 4)
    with pytest.raises(ValueError, match="zip"):
        put(batches, "bad").result(SECONDS)
    assert put(batches, "good").result(SECONDS) == "good"
    batches.close()


def test_at_the_end_the_present_batch_is_finished_and_the_rest_is_given_back(compute, batches):
    first, one, two = put_behind(compute, batches, [1, 2])
    assert batches.close() == [one, two]
    assert not batches.put(3, Future())
    assert not batches.join(0.01)
    compute.may_go_on.set()
    assert first.result(SECONDS) == 0 and batches.join(SECONDS)
    assert not one.done() and compute.batches == [[0]]


def test_a_future_that_is_settled_stays_as_it_is():
    future = Future()
    settle(future, 1)
    settle(future, ValueError("too late"))
    assert future.result(0) == 1
    gone = Future()
    gone.cancel()
    settle(gone, 1)
    assert gone.cancelled()
