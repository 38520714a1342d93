"""A Dask scheduler and its workers as processes on the loopback, for tests that kill them; and a cluster of one thread.

Workers have a nanny, so that one that is killed comes back, as people start them.
"""

import asyncio
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from vptlib.study.cluster import Lost

SECONDS_TO_START = 60


def free_port() -> int:
    """A port of the loopback that nobody listens at now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Cluster:
    """A scheduler and its workers, which can be killed and started again. As a context it ends all of them."""

    def __init__(self, folder: Path, workers: int = 2, host: str = "127.0.0.1", **environment: str):
        self._folder, self._count, self._host = folder, workers, host
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self._environment.pop("VPTLIB_STORE", None)
        self.port = free_port()
        self.address = f"tcp://{host}:{self.port}"
        self.scheduler: subprocess.Popen | None = None
        self.workers: list[subprocess.Popen] = []

    def __enter__(self) -> "Cluster":
        self.start_scheduler()
        for _ in range(self._count):
            self.start_worker()
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.workers, *([self.scheduler] if self.scheduler else [])]:
            if process.poll() is None:
                kill_tree(process.pid)
                process.wait()

    def start_scheduler(self) -> None:
        """Start the scheduler, at the same port each time, and wait until it listens."""
        self.scheduler = self._start("scheduler", "--host", self._host, "--port", str(self.port), "--no-dashboard")
        end = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < end and self.scheduler.poll() is None:
            with socket.socket() as asking:
                if asking.connect_ex((self._host, self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError("the scheduler has not started")

    def start_worker(self, *options: str, before: Sequence[str] = (), **environment: str) -> subprocess.Popen:
        """Start one worker with one thread; `options` come later, so they count.

        Args:
            before: words of a command that starts another one.
        """
        usual = ["--nthreads", "1", "--nworkers", "1", "--memory-limit", "0", "--no-dashboard", "--death-timeout", "60"]
        at = ["--local-directory", str(self._folder / f"worker{len(self.workers)}")]
        words = [*usual, *at, *options, self.address]
        self.workers.append(self._start("worker", *words, before=before, environment=environment))
        return self.workers[-1]

    def kill_worker(self, number: int) -> bool:
        """Kill the process that works under a nanny; False if there is none just now."""
        return kill_under(self.workers[number].pid)

    def kill_scheduler(self) -> None:
        """Kill the scheduler. Its workers end after a while, as they do."""
        assert self.scheduler
        self.scheduler.send_signal(signal.SIGKILL)
        self.scheduler.wait()

    def _start(
        self, kind: str, *options: str, before: Sequence[str] = (), environment: dict[str, str] | None = None
    ) -> subprocess.Popen:
        command = [*before, sys.executable, "-m", f"distributed.cli.dask_{kind}", *options]
        own = self._environment | (environment or {})
        with open(self._folder / f"{kind}-{time.time_ns()}.log", "wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=own, cwd=self._folder)


def kill_under(nanny: int) -> bool:
    """Kill the process that works under this nanny; False if there is none just now."""
    for child in _children(nanny):
        if "spawn_main" in " ".join(_command(child)):
            child.kill()
            return True
    return False


def kill_tree(pid: int) -> None:
    """Kill a process and all that it has started."""
    signal_tree(pid, signal.SIGKILL)


def signal_tree(pid: int, number: int) -> None:
    """Send a signal to a process and all that it has started."""
    for process in [*_children(pid), *_process(pid)]:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _process(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return []


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


class OneThread:
    """A place like `vptlib.study.cluster.Place` whose work is done by one thread of this process.

    Args:
        what_happens: key and work → what becomes of it, or None to do it.
    """

    def __init__(self, what_happens=lambda key, function, *args: function(*args), workers: int = 1):
        self._what_happens, self._workers = what_happens, workers
        self._results: queue.SimpleQueue = queue.SimpleQueue()
        self.given: list[str] = []
        self.retired: list[str] = []
        self.taken_back = False
        self.tell = print
        self._thread = ThreadPoolExecutor(1)  # random numbers belong to a process: two runs would mix theirs

    link = ""

    @property
    def slots(self) -> int:
        return self._workers - len(self.retired)

    def workers(self) -> dict[str, dict]:
        return {f"worker {number}": {} for number in range(self.slots)}

    def ask_workers(self, question, *args):
        return {name: asyncio.run(question(*args)) for name in self.workers()}

    def retire(self, worker: str) -> None:
        self.retired.append(worker)

    def reach(self, wait=None) -> None:
        assert self.slots

    def give(self, key: str, function, *args) -> None:
        self.given.append(key)
        self._thread.submit(self._do, key, function, *args)

    def _do(self, key: str, function, *args) -> None:
        try:
            result = self._what_happens(key, function, *args)
        except Exception as error:
            result = error
        self._results.put((key, result))

    def finished(self, seconds: float) -> list:
        try:
            return [self._results.get(timeout=seconds)]
        except queue.Empty:
            return []

    def forget(self) -> None:
        self.taken_back = True


def lost_once():
    """What becomes of work that is lost at the first attempt, each piece of it."""
    seen: set = set()

    def happens(key, function, work):
        name = (work.key, work.setting)
        if name in seen:
            return function(work)
        seen.add(name)
        raise Lost("its worker is gone")

    return happens
