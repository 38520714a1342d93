"""A site as people have it, in small: a database, an MLflow server on it, a Dask scheduler, and machines with a worker.

Each machine has a network, a disk and a clock of its own, where this user may make them. What has ended is started
again after a moment, as systemd, Slurm or Kubernetes would.
"""

import os
import random
import signal
import sqlite3
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import psutil
from clusters import Cluster, kill_tree, kill_under, signal_tree

from soak.on_machine import BUSY
from soak.processes import GRACE, Process, marked
from soak.scene import Scene
from soak.shortages import filled, mounted
from vptlib.bench.servers import Database, TrackingServer, postgres_programs

MACHINES = 2
HOME = "127.0.0.1"
HUB = "10.77.0.1"  # of the scheduler and the server, where each machine has a network of its own
_DISK = 256 << 20  # bytes of a machine's disk; copies of weights from the server stay on it
_TESTS = Path(__file__).resolve().parent.parent
# Seconds after which Dask gives up a silent worker and a silent connection; its own are 300 and 30.
_QUICK = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "6s", "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "15s"}
# A network of its own, where a process waits for its cable.
_ALONE = ("unshare", "--net", "sh", "-c", 'until ip route | grep -q default; do sleep 0.05; done; exec "$@"', "sh")
_cables = count(1)
_SITE = "SOAK_SITE"  # names the folder, in the environment of each process


class Clock:
    """The clock of some processes (soak/clock/sitecustomize.py), which can be set wrong while they run."""

    def __init__(self, file: Path):
        self.file = file
        file.write_bytes(bytes(8))

    def set_wrong(self, seconds: float) -> None:
        with self.file.open("r+b") as opened:  # never shorter: it is mapped into memory
            opened.write(struct.pack("d", seconds))

    def environment(self) -> dict[str, str]:
        return {"SOAK_CLOCK": str(self.file), "PYTHONPATH": f"{_TESTS / 'soak' / 'clock'}:{_TESTS}"}


class Part(Protocol):
    """What can end, and is started again."""

    @property
    def running(self) -> bool: ...

    def start(self) -> None: ...


class Scheduler:
    """The scheduler of a cluster."""

    def __init__(self, cluster: Cluster):
        self._cluster = cluster
        self.start = cluster.start_scheduler

    @property
    def running(self) -> bool:
        return self._cluster.scheduler is not None and self._cluster.scheduler.poll() is None

    def kill(self) -> None:
        self._cluster.kill_scheduler()


class Machine:
    """A machine with one worker under a nanny.

    Attributes:
        scene: its store, cache and temporary files.
        disk: the small disk that they are on; None where none can be mounted.
        clock: of its processes.
    """

    def __init__(self, folder: Path, cluster: Cluster, network: bool):
        self._cluster, self._network = cluster, network
        self._process: subprocess.Popen | None = None
        self._cable = ""
        (folder / "disk").mkdir(parents=True)
        self.disk = folder / "disk" if mounted("-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", folder / "disk") else None
        self.scene, self.clock = Scene(folder / "disk"), Clock(folder / "clock")
        self._busy = folder / "busy"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start its nanny, which starts its worker; in a network of its own, which is a new one each time."""
        self._busy.unlink(missing_ok=True)
        process = self._process = self._cluster.start_worker(
            *("--local-directory", str(self.scene.folder / "dask"), "--preload", "soak.on_machine"),
            before=_ALONE if self._network else (),
            **self.scene.environment() | self.clock.environment() | {BUSY: str(self._busy)},
        )
        if self._network:
            self._cable = _connected(process.pid)

    def state(self) -> str:
        """ "storing" a run, "making" one, or "" if it has no work."""
        try:
            since = self._busy.stat().st_mtime
            folders = list((self.scene.store / "temporary").glob("*/"))
            return "storing" if any(folder.stat().st_mtime >= since for folder in folders) else "making"
        except FileNotFoundError:
            return ""

    def kill_worker(self) -> bool:
        """Kill the worker alone: its nanny starts another one."""
        return self._process is not None and kill_under(self._process.pid)

    def kill(self) -> None:
        """As if its power failed."""
        if self._process and self.running:
            kill_tree(self._process.pid)
            self._process.wait(30)

    def pause(self, on: bool) -> None:
        """Stop all its processes as they are, or let them go on."""
        if self._process and self.running:
            signal_tree(self._process.pid, signal.SIGSTOP if on else signal.SIGCONT)

    def cut(self) -> Callable[[], None]:
        """Cut it off from the network; gives what connects it again."""
        cable = self._cable
        _ip("link", "set", cable, "down")
        return lambda: _ip("link", "set", cable, "up", check=False)  # it has gone, if the machine was started again

    def fill(self, draw: random.Random) -> AbstractContextManager[Any]:
        """While this is entered, its disk has some bytes or none left."""
        assert self.disk
        return filled(self.disk, draw)

    def close(self) -> None:
        self.kill()
        if self.disk:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)


def _connected(pid: int) -> str:
    """Lay a cable from this network to that of a process; gives its name here."""
    while os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net"):
        time.sleep(0.01)
    number = next(_cables)
    cable, net = f"cable{number}", f"10.{78 + number // 250}.{number % 250}"
    inside = ["nsenter", "-t", str(pid), "-n", "ip"]
    _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    _ip("address", "add", f"{net}.1/24", "dev", cable)
    _ip("link", "set", cable, "up")
    for words in ("link set lo up", f"address add {net}.2/24 dev eth0", "link set eth0 up"):
        subprocess.run([*inside, *words.split()], check=True)
    subprocess.run([*inside, "route", "add", "default", "via", f"{net}.1"], check=True)
    return cable


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, stderr=None if check else subprocess.DEVNULL)


def strays(mark: str, seconds: float = GRACE) -> list[str]:
    """Processes that are not under this one, after some seconds in which they may end.

    Args:
        mark: an entry of their environment, NAME=value.
    """
    end = time.monotonic() + seconds
    while True:
        known = {child.pid for child in psutil.Process().children(recursive=True)}
        found = [command for pid, command in marked(mark.encode()) if pid not in known]
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.2)


class Site:
    """All of it, in one folder. As a context it ends all that it has started.

    Attributes:
        database: PostgreSQL; None where it is not installed, and the server's runs are in an SQLite file.
        desk: where studies are started.
        study: the process of the study, or None.
        clock: of all processes that are not on a machine.
        troubles: what failed while something was started again.
    """

    def __init__(self, folder: Path, network: bool):
        """
        Args:
            folder: that exists.
            network: whether this process is in a network of its own, with cables to each machine.
        """
        self._folder, self.network = folder, network
        self.clock = Clock(folder / "clock")
        os.environ.update(self.clock.environment() | _QUICK | {_SITE: str(folder)})
        if network:
            _ip("link", "set", "lo", "up")
            _ip("address", "add", f"{HUB}/32", "dev", "lo")
        host = HUB if network else HOME
        self.database = None if postgres_programs() is None else Database(folder, safe=False)
        self._file = folder / "server.db"
        (folder / "server").mkdir()
        uri = self.database.uri if self.database else f"sqlite:///{self._file}"
        self.server = TrackingServer(folder / "server", uri, host)
        self.cluster = Cluster(folder, workers=0, host=host)
        self.scheduler = Scheduler(self.cluster)
        self.machines = [Machine(folder / f"machine{k}", self.cluster, network) for k in range(MACHINES)]
        self.desk = Scene(folder / "desk")
        self.study: Process | None = None
        self.troubles: list[str] = []
        self._over, self._threads = threading.Event(), []
        self._healing: list[tuple[float, Callable[[], object]]] = []

    def __enter__(self) -> "Site":
        try:
            for part in (self.database, self.server, self.scheduler, *self.machines):
                if part:
                    part.start()
                    self._threads.append(threading.Thread(target=self._keep, args=(part,), daemon=True))
            for thread in self._threads:
                thread.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(150)
        self._close()

    # ---- what goes wrong, and for how long ----

    def later(self, seconds: float, heal: Callable[[], object]) -> None:
        """Let something be well again after so many seconds."""
        self._healing.append((time.monotonic() + seconds, heal))

    def heal(self, everything: bool = False) -> None:
        """Make well again what is due, or everything."""
        due = [each for each in self._healing if everything or each[0] <= time.monotonic()]
        for each in due:
            self._healing.remove(each)
            each[1]()

    def is_well(self) -> bool:
        """Whether all runs, and no worker has work."""
        parts = (self.database, self.server, self.scheduler, *self.machines)
        return all(part.running for part in parts if part) and not any(machine.state() for machine in self.machines)

    def strays(self) -> list[str]:
        """Processes of this site that nobody looks after any more."""
        return strays(f"{_SITE}={self._folder}")

    # ---- its runs ----

    def runs(self) -> list[tuple[str, str, str]]:
        """Experiment, key and status of each run that was not deleted, asked of the database itself."""
        return self._ask(
            "SELECT e.name, t.value, r.status FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id "
            "LEFT JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'key' WHERE r.lifecycle_stage = 'active'"
        )

    def empty(self) -> None:
        """Take all runs out of the server."""
        for table in ("latest_metrics", "metrics", "params", "tags", "runs"):
            self._ask(f"DELETE FROM {table}")

    def _ask(self, words: str) -> list[tuple]:
        if self.database:
            with self.database.connect() as connection:
                answer = connection.execute(words)
                return answer.fetchall() if answer.description else []
        with closing(sqlite3.connect(self._file, timeout=30)) as connection, connection:
            return connection.execute(words).fetchall()

    # ---- helpers ----

    def _keep(self, part: Part) -> None:
        """Start a part again whenever it has ended."""
        while not self._over.wait(0.1):
            if not part.running and not self._over.wait(random.uniform(0, 1)):
                try:
                    part.start()
                except Exception as error:  # it was killed again, or what it needs is away
                    self.troubles.append(f"{type(part).__name__}: {error!r}"[-500:])

    def _close(self) -> None:
        with ExitStack() as stack:
            if self.study:
                stack.callback(self.study.kill, True)
            for part in (self.database, self.server, *self.machines):
                if part:
                    stack.callback(part.close if isinstance(part, Machine) else part.kill)
            if self.scheduler.running:
                stack.callback(self.scheduler.kill)
            with suppress(Exception):
                self.heal(everything=True)
