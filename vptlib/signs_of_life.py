"""Signs of life: what takes long calls `moved` at each small step, so that others see that it goes on.

A process can be asked to stop what it does: its next sign of life then raises `Interrupted`. Training writes a
checkpoint about once a minute, so little is lost.
"""

import time


class Interrupted(BaseException):
    """The work of this process was asked to stop. No handler of ordinary errors catches it."""


class _Work:
    last = time.monotonic()
    asked_to_stop = False


def moved() -> None:
    """Show that the work goes on.

    Raises:
        Interrupted: it was asked to stop.
    """
    _Work.last = time.monotonic()
    if _Work.asked_to_stop:
        _Work.asked_to_stop = False
        raise Interrupted


def seconds_since_moved() -> float:
    """How long there has been no sign of life."""
    return time.monotonic() - _Work.last


def begin() -> None:
    """New work begins: it is not asked to stop."""
    _Work.last, _Work.asked_to_stop = time.monotonic(), False


def ask_to_stop() -> None:
    """Let the next sign of life raise `Interrupted`."""
    _Work.asked_to_stop = True
