"""Results kept while one report is made: its summary and its notebooks, in each language, ask for the same ones.

    @computed_once
    def known_of(study, runs, margin, asked): …

    with results_kept(folder):
        …        # here and in processes begun here, a call with arguments that were seen before reads its result

The folder ends with the block, so none is ever stale. Outside of a block nothing is kept.
"""

import fcntl
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from vptlib.environment import set_meanwhile
from vptlib.paths import whole_file

FOLDER = "VPTLIB_COMPUTED"  # the environment variable that tells processes where results are kept

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def results_kept(folder: Path) -> Iterator[None]:
    """Keep the results of functions that are marked `computed_once`.

    Args:
        folder: gets them; it is not there before, and not after.
    """
    folder.mkdir()
    try:
        with set_meanwhile(**{FOLDER: str(folder)}):
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def computed_once(work: Callable[P, R]) -> Callable[P, R]:
    """Mark a function whose result depends on its arguments alone; arguments and result can be pickled.

    Two processes that ask at the same time compute it once: the second waits for the first.
    """

    @wraps(work)
    def kept(*arguments: P.args, **named: P.kwargs) -> R:
        folder = os.environ.get(FOLDER)
        if not folder or not os.path.isdir(folder):
            return work(*arguments, **named)
        file = Path(folder) / _name(work, arguments, named)
        with _alone(file.with_suffix(".lock")):
            if not file.exists():
                result = work(*arguments, **named)
                with whole_file(file) as part:
                    part.write_bytes(pickle.dumps(result))
                return result
        return pickle.loads(file.read_bytes())

    return kept


def _name(work: Callable, arguments: tuple, named: dict) -> str:
    from joblib import hash as fingerprint

    return f"{work.__qualname__}-{fingerprint((work.__module__, arguments, sorted(named.items())))}.pickle"


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
