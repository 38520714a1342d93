"""What a study does while its store does not answer: it waits, and begins again with what was cut off.

So a training of days is not lost when the server or its database dies while the run is being stored.
"""

import random
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from vptlib import signs_of_life
from vptlib.environment import seconds_set
from vptlib.study.connection import answers
from vptlib.study.failures import NoAnswer

SECONDS = 600.0  # how long a silent store is waited for, where `SETTING` does not say
SETTING = "VPTLIB_WAIT_FOR_STORE"
# Pauses between two looks. They grow, and are random, so that thousands of workers do not come back at the same moment.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
_STEP = 1.0  # between signs of life while it waits

T = TypeVar("T")


def seconds_to_wait() -> float:
    """How long a silent store is waited for: `$VPTLIB_WAIT_FOR_STORE`, or ten minutes; 0 is not at all.

    Raises:
        UserError: the setting is no number of seconds.
    """
    return seconds_set(SETTING, SECONDS)


def outlasting(step: Callable[[], T]) -> T:
    """What a step gives; if the store stops answering in it, wait until it answers, and do the step again.

    Args:
        step: may be done again from its beginning at any time, also if the store has done all of it.

    Raises:
        UserError: the store is silent for longer than `seconds_to_wait`, or `step` fails in another way.
    """
    seconds, until, pause = seconds_to_wait(), 0.0, FIRST_PAUSE
    while True:
        try:
            return step()
        except NoAnswer as error:
            if not until:
                until = time.monotonic() + seconds
                _tell(error, seconds)
            pause = _wait(error, until, pause)


def _wait(error: NoAnswer, until: float, pause: float) -> float:
    """Wait until the store answers; gives the pause for the next time.

    Raises:
        NoAnswer: it has not until then.
    """
    while True:
        left = until - time.monotonic()
        if left <= 0:
            raise error
        _sleep(min(left, pause * random.uniform(0.75, 1.25)))
        pause = min(2 * pause, LONGEST_PAUSE)
        if answers():
            return pause


def _sleep(seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        signs_of_life.moved()
        time.sleep(min(_STEP, left))


def _tell(error: NoAnswer, seconds: float) -> None:
    if not seconds:
        return
    clock = time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))
    fact = error.fact[:1].upper() + error.fact[1:]
    print(f"{fact}: waiting for it until {clock} ({SETTING}); finished work is kept.", file=sys.stderr)
