"""Jupyter kernels that get ready while other work goes on, and run one notebook after another.

    with usual_kernels() as kernels:
        …                                                       # other work, while the kernels import
        begun = kernels.begin(run_notebook, "report_task", {"task": "digits"}, target)
        …                                                       # other work, while the notebook runs
        begun.result()

A kernel needs several seconds for its imports, as long as a notebook takes. It does them once. A notebook finds no
name of the one that ran before it.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from vptlib.computed import FOLDER

if TYPE_CHECKING:
    from jupyter_client.manager import KernelManager

AT_ONCE = 2
P = ParamSpec("P")
R = TypeVar("R")

OPTIONS: dict[str, Any] = {
    "kernel_name": "python3",
    "start_timeout": 300,  # seconds
    "extra_arguments": ["--log-level=CRITICAL"],
}
_ASYNCHRONOUS = "jupyter_client.asynchronous.AsyncKernelClient"  # what papermill speaks to a kernel with


class Kernels:
    """So many kernels, each with a thread. They start with a `with` block and end with it, whatever runs in them.

    Args:
        count: how many.
        first: code that each of them runs once, at the start.
    """

    def __init__(self, count: int, first: str):
        self._count, self._first = count, first
        self._all: list[Future[KernelManager]] = []

    def __enter__(self) -> Self:
        if not self._all:  # else they are ready already
            self._free: SimpleQueue[Future[KernelManager]] = SimpleQueue()
            self._work = ThreadPoolExecutor(self._count, "vpt-kernels")
            self._starts = ThreadPoolExecutor(self._count)
            self._all = [self._starts.submit(_begun, self._first, self._count) for _ in range(self._count)]
            for kernel in self._all:
                self._free.put(kernel)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.rest()

    def rest(self) -> None:
        """End them at once, so that they take no memory. A further `with` block starts others."""
        for kernel in self._all:
            if not kernel.cancel() and kernel.exception() is None:
                kernel.result().shutdown_kernel(now=True)
        if self._all:
            self._starts.shutdown()
            self._work.shutdown(cancel_futures=True)
        self._all = []

    def begin(self, work: "Callable[Concatenate[KernelManager, P], R]", *given: P.args, **named: P.kwargs) -> Future[R]:
        """Let `work` run with the next kernel that is free, alone there and without any names.

        Its future raises what `work` raises, or RuntimeError: the kernel did not start, or has died since.
        """
        return self._work.submit(self._with_kernel, work, *given, **named)

    def _with_kernel(self, work: "Callable[Concatenate[KernelManager, P], R]", *given: P.args, **named: P.kwargs) -> R:
        kernel = self._free.get()
        try:
            return work(kernel.result(), *given, **named)
        finally:
            self._free.put(kernel)


def usual_kernels() -> Kernels:
    """Two kernels, for the notebooks of a report."""
    return Kernels(AT_ONCE, "from vptlib.report.sections import decision, explained, quality")


def _begun(first: str, count: int) -> "KernelManager":
    """One of `count` kernels. It has begun with the first code; what it is sent next waits for the end of that."""
    from jupyter_client.manager import KernelManager

    # Threads of one that wait for cores held by another cost more than they give.
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    manager = KernelManager(kernel_name=OPTIONS["kernel_name"], client_class=_ASYNCHRONOUS)
    manager.start_kernel(extra_arguments=OPTIONS["extra_arguments"], env=threads | os.environ)
    try:
        _send(manager, first)
    except BaseException:
        manager.shutdown_kernel(now=True)
        raise
    return manager


def make_ready(kernel: "KernelManager") -> None:
    """Let a kernel forget all names, and keep results where this process does; what it has imported stays in memory.

    Raises:
        RuntimeError: it has died.
    """
    folder = os.environ.get(FOLDER, "")
    _send(kernel, f"import os; os.environ[{FOLDER!r}] = {folder!r}; get_ipython().reset()")


def _send(kernel: "KernelManager", code: str) -> None:
    """Let a kernel run some code that shows nothing, without waiting for its end."""
    from jupyter_client.blocking.client import BlockingKernelClient

    # With its manager as parent it asks whether the process lives; without, it trusts a heartbeat, which a load stops.
    client = BlockingKernelClient(parent=kernel, connection_file=kernel.connection_file)
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=OPTIONS["start_timeout"])
        client.execute(code, silent=True, store_history=False)
    finally:
        client.stop_channels()
