"""Claims: before a run is made it is claimed, so that two studies on one store make each run once.

A claim is a file in the store folder, or a run on an MLflow server. A thread of the process that has claimed something
shows that it lives, every `BEAT` seconds. On the same machine the end of a process is seen at once. Elsewhere a claim
is void when it has shown no life for `EXPIRY` seconds, as the clock of the one who waits counts them: clocks of two
machines are never compared. Time in which the board does not answer is not counted: then nobody can show life there.

A process that was suspended for longer may find its claim taken. Then it may not store what it has made.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import secrets
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol, Self

from vptlib.paths import write_whole
from vptlib.study.failures import NoAnswer
from vptlib.study.outages import outlasting

BEAT = 10.0
# Network folders may show what others wrote up to a minute late.
EXPIRY = 120.0
# So many beats without an answer of the board are an outage.
_BEATS_MISSED = 3
# Claims on a server that have not changed for so long are removed, also if nobody wants their runs.
STALE = 3600.0
_OLDEST = 100  # claims that one process looks at for this


@dataclass(frozen=True)
class Notice:
    """A claim as others see it.

    Attributes:
        token: of this claim alone.
        who: the process that has it, in words.
        beat: changes as long as the process lives.
        ended: the process is known to have ended.
    """

    token: str
    who: str
    beat: str
    ended: bool = False


class Board(Protocol):
    """Where claims are put up for all to see. `seconds_between_looks` is how often a waiting study may ask it."""

    seconds_between_looks: float

    def put(self, key: str, who: str, instead_of: Sequence[Notice] = ()) -> bool:
        """Put up a claim of this process if there is none, or none but those of `instead_of`, which are removed."""
        ...

    def look(self, key: str) -> list[Notice]:
        """The claims of other processes: one at most, or those of some that were killed while they claimed."""
        ...

    def beat(self, key: str) -> bool:
        """Show that this process lives; False, and all is forgotten, if its claim is not there any more."""
        ...

    def remove(self, key: str) -> None:
        """Take down the claim of this process; again, if that was cut off."""
        ...

    def ask(self) -> None:
        """Ask for nothing; an error, if the board does not answer."""
        ...


class Claims:
    """The claims of one study. As a context it takes all of them down at its end, whatever ends it.

    While a server does not answer, its methods wait (`vptlib.study.outages`).
    """

    def __init__(self, board: Board, beat: float = BEAT, expiry: float = EXPIRY):
        self._board, self._beat, self._expiry = board, beat, expiry
        self._who = f"process {os.getpid()} on {platform.node()}"
        self._mine: set[str] = set()
        self._to_remove: set[str] = set()  # given back while the board did not answer
        self._seen: dict[str, tuple[Notice, float]] = {}  # token of another → last sign of life, and when it was new
        self._answered = self._answering_since = time.monotonic()  # the board: last, and since its last outage
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._show_life, daemon=True)

    @property
    def seconds_between_looks(self) -> float:
        """How often a study that waits may ask for `holder`."""
        return self._board.seconds_between_looks

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._over.set()
        for key in [*self._mine, *self._to_remove]:
            with contextlib.suppress(Exception):  # of what stopped the study the user hears; this claim will expire
                if kind is None:
                    outlasting(partial(self._remove, key))
                else:
                    self._remove(key)

    def take(self, key: str) -> bool:
        """Claim a run; False if another process has it. Who has claimed must then ask the store if it is made."""
        return outlasting(lambda: self._take(key))

    def holder(self, key: str) -> str:
        """The living process that has claimed a run, in words, or ""."""
        return outlasting(lambda: self._holder(key))

    def has(self, key: str) -> bool:
        """Whether a claim of this process still holds: only then may its run be stored."""
        return outlasting(lambda: self._has(key))

    def release(self, key: str) -> None:
        """Give a claim back; later, if the board does not answer."""
        with contextlib.suppress(NoAnswer):
            self._remove(key)

    def _take(self, key: str) -> bool:
        with self._lock:
            found = self._board.look(key)
            if self._living(found):
                return False
            if self._board.put(key, self._who, instead_of=found):
                self._to_remove.discard(key)
                self._mine.add(key)
                return True
            return False

    def _holder(self, key: str) -> str:
        return next((notice.who for notice in self._living(self._board.look(key))), "")

    def _has(self, key: str) -> bool:
        with self._lock:
            return self._shows_life(key)

    def _remove(self, key: str) -> None:
        with self._lock:
            if key in self._mine:
                self._mine.discard(key)
                self._to_remove.add(key)
            if key in self._to_remove:
                self._board.remove(key)
                self._to_remove.discard(key)

    def _living(self, found: list[Notice]) -> list[Notice]:
        """Those that are not void. All are looked at: the time of each begins when it is first seen."""
        return [notice for notice in found if not self._is_void(notice)]

    def _is_void(self, found: Notice) -> bool:
        """Whether the process of a claim has ended, or has shown no life for too long."""
        if found.ended:
            return True
        last, since = self._seen.get(found.token, (None, 0.0))
        now = time.monotonic()
        if last != found:
            self._seen[found.token] = found, now
            return False
        if now - self._answered > _BEATS_MISSED * self._beat:  # there may be an outage, or this process was suspended
            return False
        return now - max(since, self._answering_since) > self._expiry

    def _show_life(self) -> None:
        while not self._over.wait(self._beat):
            with contextlib.suppress(Exception):  # a network that fails for a moment
                self._show_life_once()
                self._note_answer()

    def _show_life_once(self) -> None:
        for key in list(self._to_remove):
            self._remove(key)
        for key in list(self._mine):
            with self._lock:
                self._shows_life(key)
        if not self._mine:
            self._board.ask()

    def _note_answer(self) -> None:
        now = time.monotonic()
        if now - self._answered > _BEATS_MISSED * self._beat:
            self._answering_since = now
        self._answered = now

    def _shows_life(self, key: str) -> bool:
        held = key in self._mine and self._board.beat(key)
        if not held:
            self._mine.discard(key)
        return held


# ---- in a folder ----------------------------------------------------------------------------------------------


class FolderBoard:
    """Claims as files in a folder that all processes share.

    A file is locked by the process that has put it up. So another process on the same machine sees at once when that
    one has ended. From other machines a lock proves nothing: some network folders keep locks to each machine.
    """

    seconds_between_looks = 0.3

    def __init__(self, folder: Path):
        self._folder = folder
        self._open: dict[str, int] = {}  # key → the file that this process has locked

    def put(self, key: str, who: str, instead_of: Sequence[Notice] = ()) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"{key}.{_machine_mark()}-{secrets.token_hex(8)}.part"
        with self._alone():
            opened = self._written(part, who)
            try:
                done = self._replaced(part, key, instead_of[0]) if instead_of else self._linked(part, key)
            except BaseException:
                os.close(opened)
                raise
            finally:
                part.unlink(missing_ok=True)
        if done:
            self._open[key] = opened
        else:
            os.close(opened)
        return done

    def look(self, key: str) -> list[Notice]:
        try:
            opened = os.open(self._path(key), os.O_RDONLY)  # in a network folder, opening asks for the latest state
        except FileNotFoundError:
            return []
        try:
            text, state = os.read(opened, 4096), os.fstat(opened)
            if not text:  # its process is about to write, see `_linked`
                return [Notice(str(state.st_ino), "another process", str(state.st_mtime_ns))]
            about = json.loads(text)
            here = about["machine"] == machine()
            return [Notice(about["token"], about["who"], str(state.st_mtime_ns), ended=here and _may_lock(opened))]
        finally:
            os.close(opened)

    def beat(self, key: str) -> bool:
        if not self._is_there(key):
            os.close(self._open.pop(key))
            return False
        os.utime(self._open[key])
        return True

    def remove(self, key: str) -> None:
        there = self._is_there(key)
        os.close(self._open.pop(key))
        if there:
            self._path(key).unlink(missing_ok=True)

    def ask(self) -> None:
        pass

    def tidy(self) -> None:
        """Take down the claims of processes on this machine that have ended, and what they have not finished."""
        if not self._folder.is_dir():
            return
        with self._alone() as alone:
            for path in self._folder.glob("*.claim"):
                if any(found.ended for found in self.look(path.stem)):
                    path.unlink(missing_ok=True)
            for path in self._folder.glob(f"*.{_machine_mark()}-*.part") if alone else ():
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.claim"

    def _written(self, part: Path, who: str) -> int:
        """A new file, whole and locked, under a name that no other process reads."""
        opened = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            where = machine()
        except OSError:  # a file system without locks: only expiry can tell
            where = ""
        os.write(opened, json.dumps({"token": part.name, "who": who, "machine": where}).encode())
        return opened

    def _linked(self, part: Path, key: str) -> bool:
        """A second name of the file, given only if nobody has it: one step, also in network folders."""
        try:
            os.link(part, self._path(key))
        except FileExistsError:
            return False
        except OSError:  # a file system without second names: an empty file keeps the place
            try:
                self._path(key).touch(exist_ok=False)
            except FileExistsError:
                return False
            part.replace(self._path(key))
        return True

    def _replaced(self, part: Path, key: str, void: Notice) -> bool:
        """The file takes the place of a void one, unless another process was faster."""
        if any(now.token != void.token for now in self.look(key)):
            return False
        part.replace(self._path(key))
        return True

    def _alone(self) -> contextlib.AbstractContextManager[bool]:
        """Alone among the processes of this machine that put up claims; False where there are no locks."""
        return _locked(self._folder / "taking-over.lock")

    def _is_there(self, key: str) -> bool:
        """Whether the file of that name is still the one that this process has put up."""
        try:
            there = self._path(key).stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._open[key]))


def _may_lock(opened: int) -> bool:
    """Whether no process has an open file locked."""
    try:
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Alone with this file; False where the file system has no locks."""
    opened = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(opened)


@cache
def machine() -> str:
    """This machine since it was last started; the same in all its containers."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{platform.node()} {uuid.getnode()}"


def _machine_mark() -> str:
    return hashlib.sha256(machine().encode()).hexdigest()[:8]


# ---- on a server ----------------------------------------------------------------------------------------------


class ServerBoard:
    """Claims as unfinished MLflow runs in an experiment of their own: for studies that share a server and no folder.

    A server has no step "put up if there is none". So a claim is put up first. If another one is there then, it is
    taken down again: of two processes at least one sees the other. So processes that were killed may have left several
    claims of one run. What the server has done although its answer was lost is known by the mark of the board.
    """

    seconds_between_looks = 2.0

    def __init__(self, client: Any, experiment: str):
        """
        Args:
            client: an `mlflow.MlflowClient`.
            experiment: its number, see `claims_experiment`.
        """
        self._client, self._experiment = client, experiment
        self._mark = secrets.token_hex(8)
        self._runs: dict[str, str] = {}  # key → number of the run that is this process's claim
        self._beats = 0

    def put(self, key: str, who: str, instead_of: Sequence[Notice] = ()) -> bool:
        tags = {"key": key, "who": who, "beat": "0", "board": self._mark}
        mine = self._client.create_run(self._experiment, tags=tags, run_name=f"claim of {who}").info.run_id
        there = self._claims_of(key)
        for run in there:
            if self._is_mine(run) and run.info.run_id != mine:  # of an attempt whose answer was lost
                self._client.delete_run(run.info.run_id)
        others = [_notice(run) for run in there if not self._is_mine(run)]
        if any(notice not in instead_of for notice in others):
            self._client.delete_run(mine)
            return False
        for void in others:
            self._client.delete_run(void.token)
        self._runs[key] = mine
        return True

    def look(self, key: str) -> list[Notice]:
        return [_notice(run) for run in self._claims_of(key) if not self._is_mine(run)]

    def beat(self, key: str) -> bool:
        self._beats += 1
        try:  # one request only: all workers of a study make it every few seconds
            self._client.set_tag(self._runs[key], "beat", str(self._beats))
        except NoAnswer:
            raise
        except Exception:  # the server refuses it where the claim was deleted
            if self._is_there(self._runs[key]):
                raise
            del self._runs[key]
            return False
        return True

    def remove(self, key: str) -> None:
        if key in self._runs:
            self._client.delete_run(self._runs[key])
            del self._runs[key]

    def ask(self) -> None:
        self._client.get_experiment(self._experiment)

    def tidy(self, seen: Path) -> None:
        """Remove claims of killed processes whose runs nobody wants: those that have not changed for an hour.

        Args:
            seen: a file in which this machine remembers the oldest claims, and when it has first seen them so.
        """
        now, known = time.monotonic(), _remembered(seen)
        found = self._client.search_runs([self._experiment], max_results=_OLDEST, order_by=["start_time ASC"])
        still = {}
        for notice in map(_notice, found):
            since = known.get(f"{notice.token} {notice.beat}", now)
            if now - since > STALE:
                self._client.delete_run(notice.token)
            else:
                still[f"{notice.token} {notice.beat}"] = since
        write_whole(seen, json.dumps({"machine": machine(), "seen": still}))

    def _claims_of(self, key: str) -> list:
        return list(self._client.search_runs([self._experiment], f"tags.key = '{key}'", order_by=["start_time ASC"]))

    def _is_there(self, run_id: str) -> bool:
        return bool(self._client.search_runs([self._experiment], f"attributes.run_id = '{run_id}'"))

    def _is_mine(self, run: Any) -> bool:
        return run.data.tags.get("board") == self._mark


def _notice(run: Any) -> Notice:
    return Notice(run.info.run_id, run.data.tags["who"], run.data.tags["beat"])


def _remembered(seen: Path) -> dict[str, float]:
    """What `ServerBoard.tidy` has written since this machine was started: its clock begins anew then."""
    try:
        found = json.loads(seen.read_text())
        return found["seen"] if found["machine"] == machine() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def claims_experiment(client: Any, make: bool = True) -> str | None:
    """The number of the experiment that holds the claims; None if there is none.

    Args:
        make: whether it is made if it is missing, and the server does not refuse that.
    """
    name = "vptlib claims"
    found = client.get_experiment_by_name(name)
    if found is None and make:
        with contextlib.suppress(Exception):  # another process has just made it, or this one may not
            return client.create_experiment(name)
        found = client.get_experiment_by_name(name)
    return found and found.experiment_id
