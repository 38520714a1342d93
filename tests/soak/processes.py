"""Processes to be killed: forked from this one, which has loaded the libraries, or started afresh; who outlives them.

A process is killed from outside at a moment, or kills itself just before or after its n-th change of a file (Python's
audit events: a file opened to be written, renamed, removed; a folder made or removed). Each has a session of its own
and a mark in its environment, by which its children are found after its death, whatever group they are in.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vptlib.errors import UserError

MARK = "VPTLIB_SOAK"
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
FINISHED, REFUSED, FOREIGN = 0, 1, 3  # how an action ends: well, with a sentence, with any other exception
GRACE = 10  # seconds in which the children of a killed process must have ended
SECONDS = 180  # longer than any action needs, so one that takes longer hangs


@dataclass
class Process:
    """A running action.

    Attributes:
        pid: also of its group and its session.
        mark: in its environment and in that of all its children.
        log: the file with all that it prints.
    """

    pid: int
    mark: str
    log: Path
    code: int | None = None  # its exit code, or minus the signal that ended it
    started: subprocess.Popen | None = None  # where it is no fork; if nobody keeps this, others take its exit code

    def ended(self) -> bool:
        """Whether it has ended; its `code` is then there."""
        if self.started:
            self.code = self.started.poll()
        elif self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def wait(self, seconds: float) -> bool:
        """Wait for its end, and say whether it came in time."""
        until = time.monotonic() + seconds
        while not self.ended() and time.monotonic() < until:
            time.sleep(0.005)
        return self.code is not None

    def kill(self, group: bool) -> None:
        """SIGKILL to it alone, or to its whole group."""
        if not self.ended():
            (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)
            self.wait(SECONDS)

    def said(self) -> str:
        """The end of what it printed, without the bars of progress."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text.replace("\r", "\n")[-1500:].strip()


def forked(action: Callable[..., None], arguments: dict, environment: dict[str, str], log: Path) -> Process:
    """Run an action in a fork of this process, which must have no other thread.

    `kill_at` among the arguments is the number of the change of a file at which it kills itself, just before or, with
    `kill_after`, just after (`kill_group`: with its group). `count_to` is a file to which it writes how many changes
    it made.
    """
    mark = _new_mark()
    pid = os.fork()
    if pid:
        return Process(pid, mark, log)
    code = FOREIGN
    try:
        _begin(environment | {MARK: mark}, log)
        code = ended_code(action, **arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def afresh(module: str, arguments: list[str], environment: dict[str, str], log: Path) -> Process:
    """Run `python -m module` in a process of its own."""
    mark = _new_mark()
    with log.open("ab") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=os.environ | environment | {MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return Process(started.pid, mark, log, started=started)


def ended_code(
    action: Callable[..., None],
    kill_at: int | None = None,
    kill_after: bool = False,
    kill_group: bool = False,
    count_to: Path | None = None,
    **arguments,
) -> int:
    """Run an action in this process and give its exit code; failures are printed."""
    changes = _watch_changes(kill_at, kill_after, kill_group) if kill_at is not None or count_to else []
    try:
        action(**arguments)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return REFUSED
    except SystemExit as error:
        return int(error.code or 0)
    except BaseException:
        traceback.print_exc()
        return FOREIGN
    if count_to:
        count_to.write_text(str(len(changes)))
    return FINISHED


def outlived(mark: str, session: int, seconds: float = GRACE) -> tuple[list[str], float]:
    """The processes that are still there `seconds` after a kill, and how long the last of the others took to end."""
    begun = time.monotonic()
    while (left := _alive(mark, session)) and time.monotonic() - begun < seconds:
        time.sleep(0.05)
    took = time.monotonic() - begun
    for pid in left:
        _end(pid)
    return [f"{pid}: {command}" for pid, command in left.items()], took


def _new_mark() -> str:
    return f"{os.getpid()}-{time.monotonic_ns()}"


def _begin(environment: dict[str, str], log: Path) -> None:
    os.setsid()
    os.environ.update(environment)
    tempfile.tempdir = None  # it may have been found before the fork, for another TMPDIR
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115


def _watch_changes(kill_at: int | None, after: bool, group: bool) -> list[str]:
    """A list that grows by each change of a file that this process makes; at `kill_at` it kills itself."""
    changes: list[str] = []

    def kill(*_: object) -> None:
        (os.killpg if group else os.kill)(os.getpid(), signal.SIGKILL)

    def watch(event: str, about: tuple) -> None:
        writes = event == "open" and isinstance(about[2], int) and about[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event not in CHANGES and not writes:
            return
        changes.append(event)
        if len(changes) - 1 == kill_at:
            # Python tells of a change before it is made. The next call of a function comes when it is made.
            sys.setprofile(kill) if after else kill()

    sys.addaudithook(watch)
    return changes


def _alive(mark: str, session: int) -> dict[int, str]:
    """The processes of a session, or with a mark in their environment, and their commands; zombies have ended."""
    return dict(marked(f"{MARK}={mark}".encode(), session))


def marked(mark: bytes, session: int = -1) -> Iterator[tuple[int, str]]:
    """The other processes of a session, or with this entry in their environment, and their commands."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state, _, _, sid = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            has_it = mark in (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if state not in "ZX" and (has_it or int(sid) == session):
            yield int(entry.name), command[:120]


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
