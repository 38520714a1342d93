"""Processes that end with the one that started them, however that one ends.

A worker that outlives a killed parent keeps its memory and its core until its run is over. Linux can signal the
children of a process that ends. Elsewhere, and where a thread started the worker, a thread in the worker watches.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any

SECONDS_BETWEEN_LOOKS = 0.5
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def worker_options() -> dict[str, Any]:
    """For `joblib.Parallel` and loky's executors: their workers end with this process.

    The workers leave Ctrl-C to this process, which ends them.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    return {"initializer": begin_worker, "initargs": (os.getpid(), in_main_thread)}


def begin_worker(parent: int, by_signal: bool) -> None:
    """Called first in a new worker.

    Args:
        parent: the process that started it.
        by_signal: whether Linux may tell of the parent's end. It tells of the end of the *thread* that started the
            worker, so only the main thread will do.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent, by_signal)


def end_with(parent: int, by_signal: bool) -> None:
    """End this process as soon as its parent is gone; at once if it is gone already."""
    if by_signal and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)
