"""Memory, disk or a worker that is gone: recognised in whatever a library raises, and said in one sentence."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from vptlib.errors import UserError

MEMORY, DISK, WORKER = "memory", "disk", "worker"
_NUMBERS = {errno.ENOMEM: MEMORY, errno.ENOSPC: DISK, errno.EDQUOT: DISK}
_TEXTS = {
    MEMORY: r"(?:can't|cannot|unable to|failed to) allocate|out of memory|\bMemoryError\b|bad_alloc|bad allocation"
    r"|can't start new thread",
    DISK: r"no space left|disk is full|disk quota|PytorchStreamWriter failed|file write failed",
    WORKER: r"failed to un-serialize|terminated abruptly|unexpectedly terminated",
}


def shortage(error: BaseException) -> str:
    """What ran out, `MEMORY` or `DISK`; or `WORKER`, if a worker process ended; or "", if it is another error.

    What a library raises while it deals with the first error often hides it, so all errors behind this one count.
    """
    found = {_kind(each) for each in _behind(error)}
    return next((kind for kind in (MEMORY, DISK, WORKER) if kind in found), "")


def sentence_of(error: BaseException, jobs: int | None = None) -> str:
    """What ran out and what to do about it; "" for another error.

    Args:
        jobs: runs made at the same time, where runs were made.
    """
    kind = shortage(error)
    if not kind:
        return ""
    if kind == DISK:
        advice = "free some space there, or set VPTLIB_STORE and VPTLIB_CACHE to folders on another disk"
    else:
        fewer = "" if jobs == 1 else "set VPTLIB_JOBS=1, "
        advice = f"close other programs, {fewer}or take a smaller batch_size or image_size"
    beside = f" with {jobs} run{'s' * (jobs > 1)} at the same time" if jobs and kind != DISK else ""
    reason = reason_of(error)
    return f"{reason}{beside}: {advice}; finished runs are kept, and the same command goes on from there."


def reason_of(error: BaseException) -> str:
    """What ran out, in words."""
    kind = shortage(error)
    if kind == DISK:
        name = next((each.filename for each in _behind(error) if isinstance(each, OSError) and each.filename), None)
        return "no space left on device" + (f" at {name}" if name else "")
    if kind == MEMORY:
        return "memory ran out"
    signals = sorted({name for each in _behind(error) for name in re.findall(r"\bSIG[A-Z]+\b", str(each))})
    how = f" ({', '.join(signals)})" if signals else ""
    return f"a worker process was ended from outside{how}, most often because memory ran out"


@contextmanager
def shortages_said(jobs: int | None = None) -> Iterator[None]:
    """What runs out in this context is said in a sentence.

    Args:
        jobs: runs made at the same time.

    Raises:
        UserError: memory or disk ran out, or a worker process was ended.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if sentence := sentence_of(error, jobs):
            raise UserError(sentence) from error
        raise


def takes_all_workers(error: BaseException) -> bool:
    """Whether the error says that all workers are gone, and not one run only."""
    return type(error).__name__ in ("BrokenProcessPool", "TerminatedWorkerError")


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised from or in the handling of, each once."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__]
    yield from found


def _kind(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return MEMORY
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return _NUMBERS[error.errno]
    if isinstance(error, UserError):
        return ""
    text = f"{type(error).__name__}: {error}"
    return next((kind for kind, pattern in _TEXTS.items() if re.search(pattern, text, re.IGNORECASE)), "")
