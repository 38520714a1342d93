"""Settings that come from environment variables: those of a machine, not of a study."""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from vptlib.errors import UserError


def seconds_set(name: str, default: float) -> float:
    """The seconds that an environment variable gives, or a default.

    Raises:
        UserError: it is no number of seconds.
    """
    given = os.environ.get(name, "").strip()
    try:
        seconds = float(given) if given else default
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(f"{name} is {given!r}, but must be a number of seconds, such as {default:g}.")
    return seconds


@contextmanager
def set_meanwhile(**settings: str) -> Iterator[None]:
    """Environment variables have these values within; afterwards each is what it was before."""
    with put_back(settings):
        os.environ.update(settings)
        yield


@contextmanager
def put_back(names: Iterable[str]) -> Iterator[None]:
    """Afterwards each of these environment variables is what it was before, whatever others have done to it."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
