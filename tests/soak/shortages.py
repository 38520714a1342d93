"""A full disk, a read-only folder, a locked database, a server that dies: while one of these lasts, actions are tried.

What cannot be done must be refused in one sentence. Nothing may be half visible, and the same command must go on as
soon as the shortage is over.
"""

import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soak.kills import Case
from soak.processes import FINISHED, REFUSED, SECONDS, Process, forked
from soak.prompts import Seen
from soak.shop import Shop, given_again, judge_entries, judge_file, whole_file

ACTIONS = ("register", "promote", "roll_back", "fetch", "export", "predict")
_DISK = 24 << 20  # bytes of the disk that becomes full
_START = 90  # seconds in which a server must answer
Short = Callable[[], AbstractContextManager[dict[str, Any]]]  # while it is entered, something is missing


def shortage(case: Case, shop: Shop, name: str | None = None, tries: int = 0) -> dict[str, Any]:
    """Several actions during one of `SHORTAGES`. The row says how many were done and refused."""
    kind = SHORTAGES[name or case.draw.choices(list(SHORTAGES), [kind.weight for kind in SHORTAGES.values()])[0]]
    shutil.copytree(shop.files.folder / "store", shop.scene.store)
    ends: Counter[str] = Counter()
    with kind.made(case, shop) as short:
        seen = Seen()
        for action in case.draw.choices(ACTIONS, k=tries or kind.tries):
            seen = shop.make_ready(action, seen)
            if not case.scene.said:
                seen, end = _try(case, shop, action, seen, short)
                ends[end] += 1
    return case.row() | {"shortage": kind.title, "done": ends["done"], "refused": ends["refused"]}


def _try(case: Case, shop: Shop, action: str, before: Seen, short: Short) -> tuple[Seen, str]:
    """An action while something is missing; then a look, and the same command."""
    given, whole = shop.given(action, before, case.draw, case.draw.randrange(9)), whole_file(shop, action)
    with short() as more:
        process = shop.start(action, **given, **more)
        process.wait(SECONDS)
    end = _end_of(process, action, shop)
    after = shop.look()
    judge_entries(shop, action, given, before, after, ended=end == "done")
    judge_file(shop, action, whole, ended=end == "done")
    return (after if end == "done" else given_again(shop, action, given, before, after)), end


def _end_of(process: Process, action: str, shop: Shop) -> str:
    """Whether an action was done or refused. A hang, and what is not one sentence, are faults."""
    if not process.ended():
        process.kill(group=True)
        shop.scene.said.append(f"{action} hung for {SECONDS} s: {process.said()}")
    elif process.code == FINISHED:
        return "done"
    elif process.code != REFUSED or not is_one_sentence(process.said()):
        shop.scene.said.append(f"{action} ended with {process.code}, and not with one sentence: {process.said()}")
    return "refused"


def is_one_sentence(printed: str) -> bool:
    """Whether a failure was reported in one sentence that was foreseen."""
    found = [line for line in printed.splitlines() if line.startswith("Error: ")]
    return len(found) == 1 and "Traceback" not in printed and "unexpected failure" not in printed


# ---- what may be missing ----------------------------------------------------------------------------------------


@contextmanager
def full_disk(case: Case, shop: Shop) -> Iterator[Short]:
    """A small disk of its own, on which few bytes or none are left; where none can be mounted, files may not grow."""
    disk = case.scene.folder / "disk"
    disk.mkdir()
    if not mounted("-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", disk):
        yield lambda: _small_files(case.draw)
        return
    try:
        case.scene.store, shop.out = Path(shutil.move(case.scene.store, disk / "store")), disk / "out"
        shop.out.mkdir()
        yield lambda: filled(disk, case.draw)
    finally:
        if not case.scene.said:
            subprocess.run(["umount", "-l", str(disk)], check=False)


@contextmanager
def filled(disk: Path, draw: random.Random) -> Iterator[dict[str, Any]]:
    """While this is entered, a disk has some bytes or none left."""
    filler, left = disk / "filler", draw.choice((0, 0, 8192, draw.randrange(200_000)))
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(disk).free - left))
    try:
        yield {}
    finally:
        filler.unlink()


@contextmanager
def _small_files(draw: random.Random) -> Iterator[dict[str, Any]]:
    yield {"largest": draw.choice((4096, 8192, draw.randrange(4096, 100_000)))}  # room for what it prints


@contextmanager
def read_only(case: Case, shop: Shop) -> Iterator[Short]:
    """The store and the folder of results are read-only."""
    folders = case.scene.store, shop.out
    bound = os.geteuid() == 0 and all(mounted("--bind", folder, folder) for folder in folders)
    switch = _bound_read_only if bound else _without_permission
    try:
        yield lambda: _switched(switch, folders)
    finally:
        for folder in folders if bound else ():
            subprocess.run(["umount", "-l", str(folder)], check=False)


@contextmanager
def _switched(switch: Callable[[Path, bool], None], folders: tuple[Path, ...]) -> Iterator[dict[str, Any]]:
    for folder in folders:
        switch(folder, True)
    try:
        yield {}
    finally:
        for folder in folders:
            switch(folder, False)


def _bound_read_only(folder: Path, off: bool) -> None:
    subprocess.run(["mount", "-o", f"remount,bind,{'ro' if off else 'rw'}", str(folder)], check=True)


def _without_permission(folder: Path, off: bool) -> None:
    """Root may write all the same, who then has nothing refused."""
    for each in [folder, *folder.rglob("*")]:
        mode = each.stat().st_mode
        each.chmod(mode & ~0o222 if off else mode | 0o200)


@contextmanager
def locked(case: Case, shop: Shop) -> Iterator[Short]:
    """Another program holds the database for a time, shorter or longer than anybody waits."""
    file = case.scene.store / "mlflow.db"
    yield lambda: _held(file, case.draw.choice((0.5, 2, SECONDS)), case.scene.folder)


@contextmanager
def _held(file: Path, seconds: float, folder: Path) -> Iterator[dict[str, Any]]:
    ready = folder / "held"
    ready.unlink(missing_ok=True)
    given = {"file": str(file), "seconds": seconds, "ready": str(ready)}
    holder = forked(_hold, given, {}, folder / "holder.txt")
    while not (ready.exists() or holder.ended()):
        time.sleep(0.005)
    try:
        yield {}
    finally:
        holder.kill(group=True)


def _hold(file: str, seconds: float, ready: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        Path(ready).touch()
        time.sleep(seconds)


# ---- a server ---------------------------------------------------------------------------------------------------


class Server:
    """An MLflow server on this machine, whose files outlive it."""

    def __init__(self, folder: Path):
        self.folder, self.process = folder, None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "kept")]
        with (self.folder / "server.txt").open("ab") as log:
            own = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # it starts sooner
            self.process = subprocess.Popen(command, env=own, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + _START
        while not self._answers():
            if time.monotonic() > until:
                raise RuntimeError(f"the server did not start: see {log.name}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        import urllib.request

        try:
            return urllib.request.urlopen(f"{self.address}/health", timeout=2).status == 200
        except OSError:
            return False

    def stop(self) -> None:
        """Kill it with all its workers."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def dead_server(case: Case, shop: Shop) -> Iterator[Short]:
    """The server of the runs is killed before or during an action, and is there again afterwards."""
    server = Server(case.scene.folder)
    shutil.copy(shop.files.folder / "store" / "mlflow.db", server.folder / "server.db")
    with closing(sqlite3.connect(server.folder / "server.db", isolation_level=None)) as database:
        database.execute("DELETE FROM experiments WHERE name = 'vptlib'")  # its artefacts are elsewhere
    server.start()
    shop.environment |= {"MLFLOW_TRACKING_URI": server.address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    try:
        yield lambda: _dying(server, case)
    finally:
        server.stop()


@contextmanager
def _dying(server: Server, case: Case) -> Iterator[dict[str, Any]]:
    assert server.process
    given = {"group": server.process.pid, "seconds": case.draw.choice((0, case.draw.uniform(0, 2)))}
    killer = forked(_kill_later, given, {}, case.scene.folder / "killer.txt")
    if not given["seconds"]:
        killer.wait(SECONDS)
    try:
        yield {}
    finally:
        killer.wait(SECONDS)
        server.stop()
        server.start()


def _kill_later(group: int, seconds: float) -> None:
    time.sleep(seconds)
    os.killpg(group, signal.SIGKILL)


@dataclass(frozen=True)
class Kind:
    """A kind of shortage: its title, how it is made, how often it is drawn, and how many actions a case tries."""

    title: str
    made: Callable[[Case, Shop], AbstractContextManager[Short]]
    weight: int
    tries: int


SHORTAGES = {
    "disk": Kind("the disk is full", full_disk, 4, 6),
    "permission": Kind("the folders are read-only", read_only, 3, 6),
    "lock": Kind("another program holds the database", locked, 2, 6),
    "server": Kind("the server of the runs dies, and comes back", dead_server, 1, 3),  # it takes long to start
}


def mounted(*words: object) -> bool:
    """Whether a mount succeeds; most users may not."""
    if os.geteuid():
        return False
    return subprocess.run(["mount", *map(str, words)], capture_output=True, check=False).returncode == 0
