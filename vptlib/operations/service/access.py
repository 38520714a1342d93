"""Who may ask the service for what, and how often.

A token is 256 random bits. `tokens.yaml` in the store folder has its SHA-256, and never the token. The file is read
again when it changes, so that a running service follows. A file that cannot be trusted closes the door: nobody is let
in before it is repaired. So does one that has gone. Only a service that has never seen a file is open, and `vpt serve`
lets such a one listen on this machine alone.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from filelock import FileLock, Timeout
from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from vptlib.errors import UserError
from vptlib.paths import store_folder, whole_file
from vptlib.wording import did_you_mean, listed

Role = Literal["ask", "check", "operate"]
ROLES: dict[Role, str] = {
    "ask": "send images, get answers",
    "check": "send the true class of an answer",
    "operate": "refresh the tasks, read the metrics",
}
ANYBODY = "anybody"  # the name of whoever asks a service without tokens
_PREFIX = "vpt_"  # by which programs that look for lost secrets can tell a token
TOKEN = re.compile(rf"{_PREFIX}[\w-]{{43}}")  # as it is written
_MOST_TEXT = 200  # characters of a header that may be a token
_MOST_FILE = 2**20  # bytes
_MOST_DAYS = 3650
_MOST_ASKERS = 10_000  # whose pace is remembered
_SECONDS_TO_WAIT = 10.0  # for another command that writes the file

# ---- tokens -------------------------------------------------------------------------------------------------------


@checked_dataclass(frozen=True, config={"extra": "forbid"})
class Token:
    """What is kept of a token.

    Attributes:
        name: of who has it; the log and the records of checks have it.
        sha256: of the token, in hexadecimal digits.
        roles: of `ROLES`.
        tasks: that it may see; None for all.
        expires: from then on it opens nothing.
        added: when it was made.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    tasks: tuple[str, ...] | None
    expires: AwareDatetime
    added: AwareDatetime

    @property
    def is_expired(self) -> bool:
        """Whether its time is over."""
        return datetime.now(UTC) >= self.expires


@checked_dataclass(frozen=True, config={"extra": "forbid"})
class _File:
    tokens: list[Token]


_FILE = TypeAdapter(_File)


def tokens_file() -> Path:
    """Where tokens are: `tokens.yaml` in the store folder."""
    return store_folder() / "tokens.yaml"


def read_tokens(path: Path) -> list[Token]:
    """The tokens of a file; none if there is no file.

    Raises:
        UserError: it is damaged, or others than its owner may write to it.
    """
    try:
        with path.open("rb") as file:
            about, text = os.fstat(file.fileno()), file.read(_MOST_FILE + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give yourself the right to read it.") from error
    if stat.S_IMODE(about.st_mode) & 0o022:
        raise UserError(f"{path} can be written by others, so its tokens prove nothing: chmod 600 {path}.")
    return _checked(path, text)


def _checked(path: Path, text: bytes) -> list[Token]:
    try:
        if len(text) > _MOST_FILE:
            raise ValueError("too long")
        found = _FILE.validate_python(yaml.safe_load(text.decode())).tokens
        names = [token.name for token in found]
        if len(set(names)) < len(names):
            raise ValueError("a name twice")
    except ValidationError as error:
        first, *_ = error.errors(include_url=False, include_input=False)
        where = ".".join(map(str, first["loc"])) or "file"
        raise _damaged(path, f"{where[:80]}: {first['msg'][:100]}") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:  # the text of YAML's error would quote the file
        raise _damaged(path, type(error).__name__) from error
    return found


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is damaged ({reason}): restore it, or remove it and add the tokens again.")


def add_token(path: Path, name: str, roles: Sequence[str], tasks: Sequence[str], days: int) -> str:
    """Make a token, keep its SHA-256, and give it: it cannot be had a second time.

    Args:
        name: of who gets it.
        tasks: that it may see; empty for all.
        days: until it expires.

    Raises:
        UserError: a name that is taken or cannot be printed, no such role, or days that are not 1 to 3650.
    """
    if not name.strip() or not name.isprintable() or len(name) > 100 or name == ANYBODY:
        raise UserError(f"the name {name[:40]!r} will not do: give 1 to 100 visible letters, such as camera-3.")
    if wrong := next((role for role in roles if role not in ROLES), None):
        raise UserError(f"--role is {wrong!r}: {did_you_mean(wrong, ROLES, f'take {listed(ROLES)}.')}")
    if not 1 <= days <= _MOST_DAYS:
        raise UserError(f"--days is {days}, but must be 1 to {_MOST_DAYS}.")
    token, now = _PREFIX + secrets.token_urlsafe(32), datetime.now(UTC).replace(microsecond=0)
    kept: tuple[Role, ...] = tuple(role for role in ROLES if role in roles)
    with _locked(path):
        tokens = read_tokens(path)
        if any(other.name == name for other in tokens):
            raise UserError(f"{name!r} has a token already: vpt tokens remove {name}, or take another name.")
        new = Token(name, _digest(token), kept, tuple(tasks) or None, now + timedelta(days), now)
        _write(path, [*tokens, new])
    return token


def remove_token(path: Path, name: str) -> list[Token]:
    """Take a token out of the file; the others are returned.

    Raises:
        UserError: there is none of this name.
    """
    with _locked(path):
        tokens = read_tokens(path)
        if all(token.name != name for token in tokens):
            known = [token.name for token in tokens]
            raise UserError(f"there is no token of {name!r}: {did_you_mean(name, known, 'vpt tokens list has all.')}")
        left = [token for token in tokens if token.name != name]
        _write(path, left)
    return left


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two commands at the same time write one after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=_SECONDS_TO_WAIT):
            yield
    except Timeout as error:
        raise UserError(f"{path} is being written by another command: try again.") from error


def _write(path: Path, tokens: Sequence[Token]) -> None:
    plain = [{name: list(v) if isinstance(v, tuple) else v for name, v in asdict(token).items()} for token in tokens]
    with whole_file(path) as part:
        part.chmod(0o600)  # before anything is in it
        part.write_text(yaml.safe_dump({"tokens": plain}, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


# ---- the door -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: of the token, or `ANYBODY`.
        roles: what the caller may do.
        tasks: that the caller may see; None for all.
    """

    name: str
    roles: tuple[Role, ...]
    tasks: tuple[str, ...] | None

    def sees(self, task: str) -> bool:
        """Whether a task is there for the caller."""
        return self.tasks is None or task in self.tasks


class Stranger(Exception):
    """No valid token. `reason` is for the log only: "missing", "unknown" or "expired"."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Access:
    """The door of the service; any number of threads may ask it.

    Args:
        path: of the tokens.

    Raises:
        UserError: the file is there, but damaged.
    """

    def __init__(self, path: Path):
        self._path = path
        self._state: tuple[int, ...] = ()
        self._tokens: list[Token] = []
        self._fault: UserError | None = None
        self._was_there = False
        self._follow()
        if self._fault:
            raise self._fault

    @property
    def is_open(self) -> bool:
        """Whether there have never been tokens, so that anybody who reaches the service may do everything."""
        self._follow()
        return not self._was_there

    @property
    def tokens(self) -> list[Token]:
        """As the file has them now.

        Raises:
            UserError: the door is closed, because the file is damaged or has gone.
        """
        self._follow()
        if self._fault:
            raise self._fault
        return self._tokens

    def caller(self, authorization: str | None) -> Caller:
        """Who sends this header.

        Args:
            authorization: "Bearer …", or None.

        Raises:
            Stranger: nobody who may enter.
            UserError: the door is closed, because the file is damaged or has gone.
        """
        if self.is_open:
            return Caller(ANYBODY, tuple(ROLES), None)
        tokens = self.tokens
        kind, _, given = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not given.strip():
            raise Stranger("missing")
        digest, found = _digest(given.strip()[:_MOST_TEXT]), None
        for token in tokens:  # all of them, so that the time does not depend on which it is
            found = token if hmac.compare_digest(token.sha256, digest) else found
        if found is None:
            raise Stranger("unknown")
        if found.is_expired:
            raise Stranger("expired")
        return Caller(found.name, found.roles, found.tasks)

    def _follow(self) -> None:
        """Read the file again if it is another one than before."""
        state = _state_of(self._path)
        if state and state == self._state:
            return
        if not state:
            gone = UserError(f"{self._path} has gone: restore it, or start the service again.")
            self._state, self._fault = (), gone if self._was_there else None
            return
        self._was_there = True
        try:
            tokens, fault = read_tokens(self._path), None
        except UserError as error:
            tokens, fault = [], error
        self._tokens, self._fault, self._state = tokens, fault, state


def _state_of(path: Path) -> tuple[int, ...]:
    """What changes when the file is written, replaced, or given to others; nothing if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    except OSError:
        return (-1,)  # there may be one, but it cannot be seen: reading it gives the reason
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


# ---- how often ----------------------------------------------------------------------------------------------------


class Pace:
    """How often each may ask: so many at once, and so many a second in the long run (a token bucket).

    Args:
        per_second: in the long run.
        at_once: after a pause.
        clock: seconds that only grow.
    """

    def __init__(self, per_second: float, at_once: int, clock: Callable[[], float] = time.monotonic):
        self._rate, self._most, self._clock = per_second, at_once, clock
        self._left: OrderedDict[Any, tuple[float, float]] = OrderedDict()  # who → asks left, when that was

    def wait(self, who: Any) -> float:
        """Count one ask; 0, or the seconds to wait because it was one too many."""
        now = self._clock()
        left, then = self._left.pop(who, (float(self._most), now))
        left = min(self._most, left + (now - then) * self._rate)
        allowed = left >= 1
        self._left[who] = (left - allowed, now)
        if len(self._left) > _MOST_ASKERS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate

    def __len__(self) -> int:
        """How many askers are remembered."""
        return len(self._left)
