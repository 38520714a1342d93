"""What the models answered, and what people said was right: one SQLite file, for watching prompts in production.

The file is `answers.db` in the store. It holds no image, no name of a file and no token. Several processes and threads
may use it at once. A process that is killed leaves whole rows or none.

Who said what of an answer is kept. The last one counts, and answers of which people said different things are counted.
"""

import os
import random
import re
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from vptlib.errors import UserError
from vptlib.paths import store_folder
from vptlib.wording import printable

FILE = "answers.db"
SERVICE, TABLE = SOURCES = ("service", "table")
ASKED = ("yes", "no", "unknown")
# Of a table of answers, in this order; then `truth`, `checked_by`, `checked_at`, and how many `truths` were said.
COLUMNS = (
    "id", "at", "task", "version", "digest", "answer", "probability", "ask_a_person", "drawn", "coordinates", "source",
)  # fmt: skip
_OURS, _SCHEMA = 0x76707461, 1  # application_id ("vpta") and user_version of the file
SECONDS_TO_WAIT = 10  # for another process that writes
_MOST_TEXT = 1000
_AT_ONCE = 500  # ids in one query
_START = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_TABLES = """
CREATE TABLE models (
    number INTEGER PRIMARY KEY, task TEXT NOT NULL, version INTEGER, digest TEXT NOT NULL
);
CREATE UNIQUE INDEX one_model ON models (task, digest, ifnull(version, -1));
CREATE TABLE given (
    number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, model INTEGER NOT NULL REFERENCES models, at INTEGER NOT NULL,
    answer TEXT NOT NULL, probability REAL NOT NULL, ask_a_person INTEGER NOT NULL, drawn INTEGER NOT NULL,
    coordinates BLOB, source INTEGER NOT NULL
);
CREATE INDEX given_at ON given (model, at);
CREATE TABLE checked (
    number INTEGER PRIMARY KEY, given INTEGER NOT NULL REFERENCES given, truth TEXT NOT NULL, by TEXT NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX checked_given ON checked (given, number);
"""


@dataclass(frozen=True, eq=False)
class Given:
    """One answer that was given.

    Attributes:
        id: 32 hexadecimal digits, drawn at random.
        at: when, with its time zone.
        task: name of the prompt.
        version: number of the version; None for a file that no registry has.
        digest: SHA-256 of the model's file.
        answer: name of the class.
        probability: of that class.
        ask_a_person: "yes", "no", or "unknown" where the model has no threshold.
        drawn: whether it was drawn at random to be checked by a person.
        coordinates: of the image's features (`vptlib.operations.features`), float16 `k`; None if there are none.
        source: `SERVICE`; or `TABLE`, for answers of `vpt predict` that came with what people said of them.

    Raises:
        UserError: a value that cannot be.
    """

    id: str
    at: datetime
    task: str
    version: int | None
    digest: str
    answer: str
    probability: float
    ask_a_person: str
    drawn: bool = False
    coordinates: np.ndarray | None = field(default=None, repr=False)
    source: str = SERVICE

    def __post_init__(self):
        _check_id(self.id)
        _microseconds(self.at)
        for name in ("task", "digest", "answer"):
            _checked_text(name, getattr(self, name))
        if not 0 <= self.probability <= 1:
            raise UserError(f"probability is {self.probability}, but must be from 0 to 1.")
        if self.ask_a_person not in ASKED or self.source not in SOURCES:
            raise UserError(f"an answer has {self.ask_a_person!r} and {self.source!r}: see ASKED and SOURCES.")
        if self.coordinates is not None and np.ndim(self.coordinates) != 1:
            raise UserError(f"coordinates are {np.shape(self.coordinates)}, but must be one row of numbers.")


@dataclass(frozen=True)
class Checked:
    """What a person said is the class of an answered image.

    Attributes:
        id: of the answer.
        truth: name of the class.
        by: who said it.
        at: when, with its time zone.
    """

    id: str
    truth: str
    by: str
    at: datetime


# ---- failures -----------------------------------------------------------------------------------------------------

# What SQLite or the system say → what the user reads. Answers go on in each case: nothing waits for the record.
_FAILURES = {
    r"locked|busy": "the record of answers {file} is locked by another program: wait until that has ended, or stop it.",
    r"full|No space left|quota": (
        "the disk of the record of answers {file} is full: free some space there. Answers go on, but are not recorded."
    ),
    r"disk I/O error": (
        "the record of answers {file} cannot be read or written, because the disk fails ({reason}): see to the disk. "
        "Answers go on, but are not recorded."
    ),
    r"readonly|read-only|Permission denied|unable to open|Not a directory|Is a directory|not permitted|File exists": (
        "the record of answers {file} cannot be opened: allow reading and writing there, or set VPTLIB_STORE to "
        "another folder."
    ),
}
_DAMAGED = (
    "the record of answers {file} is damaged ({reason}): move it away with {name}-wal and {name}-shm. Answers go on, "
    "and a new record is begun."
)


@contextmanager
def _failures_said(file: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        found = (sentence for words, sentence in _FAILURES.items() if re.search(words, reason, re.IGNORECASE))
        raise UserError(next(found, _DAMAGED).format(file=file, name=file.name, reason=reason)) from error


# ---- the record ---------------------------------------------------------------------------------------------------


class AnswerRecords:
    """The answers that were given, and what people said of them.

    An object may be used by several threads, and survives a fork. The file is made by the first answer. If it is moved
    away, a new one is begun.

    Args:
        path: of the SQLite file; by default `answers.db` in the store.

    All methods raise `UserError`: the file is damaged, locked, of a newer version or of another program, or the disk is
    full. The message has the way out.
    """

    def __init__(self, path: Path | str | None = None):
        self.path = store_folder() / FILE if path is None else Path(path)
        self._lock = threading.Lock()
        self._kept: tuple[tuple[int, ...], sqlite3.Connection] | None = None
        self._of_parent: list[sqlite3.Connection] = []

    # ---- writing ------------------------------------------------------------------------------------------------

    def add(self, given: Sequence[Given]) -> None:
        """Record answers, all or none. One whose id is there already is left as it is.

        Only a table may say later that an answer was drawn.
        """
        self.take(given, ())

    def check(self, id: str, truth: str, by: str, at: datetime | None = None) -> bool:
        """Record what a person said is the class of an answered image. Whether `truth` is a class, the caller knows.

        Returns:
            Whether this is new: False if the same person said the same of it last.

        Raises:
            UserError: no answer has this id.
        """
        return bool(self.take((), [Checked(id, truth, by, at or datetime.now(UTC))]))

    def take(self, given: Sequence[Given], checked: Sequence[Checked]) -> int:
        """Record answers and what people said of them, all or none.

        Returns:
            How many of `checked` are new: not those where the same person said the same last.

        Raises:
            UserError: no answer has the id of one of `checked`.
        """
        for one in checked:
            _check_id(one.id)
            _checked_text("truth", one.truth)
            _checked_text("by", one.by)
        with self._writing() as database:
            _insert(database, given)
            return sum(_say(database, one) for one in checked)

    # ---- reading ------------------------------------------------------------------------------------------------

    def frame(self, task: str, digest: str | None = None) -> pd.DataFrame:
        """The answers of a prompt in the order of time, a row each.

        The columns are `COLUMNS`, then `truth`, `checked_by` and `checked_at` as they were said last ("", "" and NaT
        if nobody said anything), and `truths`: how many different classes were said.

        Args:
            task: name of the prompt.
            digest: of the model's file; by default of all.
        """
        rows = self._asked(
            "SELECT lower(hex(g.id)), g.at, m.task, m.version, m.digest, g.answer, g.probability, g.ask_a_person, "
            "g.drawn, g.coordinates, g.source, c.truth, c.by, c.at, coalesce(said.truths, 0) "
            "FROM given AS g JOIN models AS m ON m.number = g.model LEFT JOIN (SELECT given, max(number) AS last, "
            "count(DISTINCT truth) AS truths FROM checked GROUP BY given) AS said ON said.given = g.number "
            "LEFT JOIN checked AS c ON c.number = said.last WHERE m.task = ?"
            + ("" if digest is None else " AND m.digest = ?")
            + " ORDER BY g.at, g.number",
            (task, *([] if digest is None else [digest])),
        )
        return _as_frame(rows)

    def tasks(self) -> list[str]:
        """The names of the prompts that have answers."""
        found = self._asked("SELECT DISTINCT task FROM models JOIN given ON model = models.number ORDER BY task", ())
        return [task for (task,) in found]

    def tasks_of(self, ids: Iterable[str]) -> dict[str, str]:
        """Id → prompt, of those ids that answers have."""
        wanted, found = [bytes.fromhex(id) for id in ids], {}
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            query = (
                "SELECT lower(hex(id)), task FROM given JOIN models ON model = models.number "
                f"WHERE id IN ({', '.join('?' * len(some))})"
            )
            found |= dict(self._asked(query, some))
        return found

    def task_of(self, id: str) -> str | None:
        """The prompt that gave an answer; None if no answer has this id."""
        _check_id(id)
        return self.tasks_of([id]).get(id)

    # ---- connections --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        with self._lock:
            self._let_go()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is written, or nothing."""
        with self._lock, _failures_said(self.path):
            database = self._connection()
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite has rolled back by itself, if the disk is full
                    database.execute("ROLLBACK")
                raise

    def _connection(self) -> sqlite3.Connection:
        """The kept connection, or a new one if the file is another one by now, or this process was forked."""
        if self._kept and self._kept[0] == _mark(self.path):
            return self._kept[1]
        self._let_go()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = _opened(self.path)
        self._kept = (_mark(self.path), database)
        return database

    def _let_go(self) -> None:
        if self._kept and self._kept[0][0] == os.getpid():
            self._kept[1].close()
        elif self._kept:
            self._of_parent.append(self._kept[1])  # SQLite forbids a forked process to close or use it
        self._kept = None

    def _asked(self, query: str, values: Sequence[Any]) -> list[tuple]:
        """The rows of a query, by a connection of its own: a long one does not hold up the writers."""
        if not self.path.exists():
            return []
        with _failures_said(self.path), closing(_opened(self.path)) as database:
            return database.execute(query, values).fetchall()


def _mark(path: Path) -> tuple[int, ...]:
    """What another file or another process differs by."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return (os.getpid(),)
    return os.getpid(), found.st_dev, found.st_ino


def _opened(file: Path) -> sqlite3.Connection:
    """A connection to the file, which is made if there is none.

    Raises:
        UserError: it is of another program, or of a newer version.
    """
    name = f"file:{quote(str(file.absolute()))}?mode=rwc"
    database = sqlite3.connect(name, uri=True, timeout=SECONDS_TO_WAIT, isolation_level=None, check_same_thread=False)
    try:
        _make_ready(database, file)
    except BaseException:
        database.close()
        raise
    return database


def _make_ready(database: sqlite3.Connection, file: Path) -> None:
    if _schema(database, file) == 0:
        _keep_a_log(database)
        database.execute("BEGIN IMMEDIATE")
        if _schema(database, file) == 0:  # no other process was faster
            for command in _TABLES.split(";\n")[:-1]:
                database.execute(command)
            database.execute(f"PRAGMA application_id = {_OURS}")
            database.execute(f"PRAGMA user_version = {_SCHEMA}")
        database.execute("COMMIT")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA foreign_keys = ON")


def _keep_a_log(database: sqlite3.Connection) -> None:
    """Let readers and a writer not wait for each other; a network folder stays with what it can.

    SQLite does not wait here for another process that looks at the file, so this does.
    """
    until = time.monotonic() + SECONDS_TO_WAIT
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.001, 0.02))


def _schema(database: sqlite3.Connection, file: Path) -> int:
    """The version of the file's schema; 0 if it is empty."""
    program, version = _marks(database)
    if program != _OURS and database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        program, version = _marks(database)  # another process may have made it ready between the two questions
        if program != _OURS:
            raise UserError(
                f"{file} is a database of another program: move it away, or set VPTLIB_STORE to another folder."
            )
    if program == _OURS and version > _SCHEMA:
        raise UserError(
            f"the record of answers {file} was written by a newer vptlib: install that one, or move the file away to "
            "begin a new record."
        )
    return version if program == _OURS else 0


def _marks(database: sqlite3.Connection) -> list[int]:
    """Which program made the file, and the version of its schema; both 0 in an empty one."""
    return [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]


# ---- rows ---------------------------------------------------------------------------------------------------------


def _insert(database: sqlite3.Connection, given: Iterable[Given]) -> None:
    numbers: dict[tuple, int] = {}
    for one in given:
        model = (one.task, one.version, one.digest)
        if model not in numbers:
            numbers[model] = _model_number(database, model)
        row = (
            bytes.fromhex(one.id), numbers[model], _microseconds(one.at), printable(one.answer), float(one.probability),
            ASKED.index(one.ask_a_person), bool(one.drawn), _as_bytes(one.coordinates), SOURCES.index(one.source),
        )  # fmt: skip
        database.execute(
            "INSERT INTO given (id, model, at, answer, probability, ask_a_person, drawn, coordinates, source) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET drawn = 1 "
            f"WHERE excluded.drawn AND NOT drawn AND excluded.source = {SOURCES.index(TABLE)}",
            row,
        )


def _model_number(database: sqlite3.Connection, model: tuple[str, int | None, str]) -> int:
    database.execute("INSERT INTO models (task, version, digest) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", model)
    query = "SELECT number FROM models WHERE task = ? AND version IS ? AND digest = ?"
    return database.execute(query, model).fetchone()[0]


def _say(database: sqlite3.Connection, one: Checked) -> bool:
    """Whether it is new."""
    found = database.execute("SELECT number FROM given WHERE id = ?", (bytes.fromhex(one.id),)).fetchone()
    if found is None:
        raise UserError(f"there is no answer with the id {one.id}: give one that the service gave with an answer.")
    said = (printable(one.truth), printable(one.by))
    query = "SELECT truth, by FROM checked WHERE given = ? ORDER BY number DESC LIMIT 1"
    if database.execute(query, found).fetchone() == said:
        return False
    row = (found[0], *said, _microseconds(one.at))
    database.execute("INSERT INTO checked (given, truth, by, at) VALUES (?, ?, ?, ?)", row)
    return True


def _as_frame(rows: Sequence[tuple]) -> pd.DataFrame:
    names = (*COLUMNS, "truth", "checked_by", "checked_at", "truths")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {name: () for name in names}
    coordinates = [None if raw is None else np.frombuffer(raw, dtype="<f2") for raw in columns["coordinates"]]
    texts = {name: _texts(columns[name]) for name in ("id", "task", "digest", "answer", "truth", "checked_by")}
    return pd.DataFrame(
        columns
        | texts
        | {
            "at": _moments(columns["at"]),
            "version": pd.array(columns["version"], dtype="Int64"),
            "probability": np.array(columns["probability"], dtype=np.float64),
            "ask_a_person": _texts([ASKED[code] for code in columns["ask_a_person"]]),
            "drawn": np.array(columns["drawn"], dtype=bool),
            "coordinates": pd.Series(coordinates, dtype=object),
            "source": _texts([SOURCES[code] for code in columns["source"]]),
            "checked_at": _moments(columns["checked_at"]),
            "truths": np.array(columns["truths"], dtype=np.int64),
        }
    )


def _texts(given: Sequence[str | None]) -> pd.Series:
    return pd.Series([text or "" for text in given], dtype="str")


def _moments(given: Sequence[int | None]) -> pd.Series:
    raw = pd.Series(pd.array(given, dtype="Int64"))
    return pd.to_datetime(raw, unit="us", utc=True).astype("datetime64[us, UTC]")


def _microseconds(at: datetime) -> int:
    if at.tzinfo is None:
        raise UserError(f"the moment {at} has no time zone: give one.")
    return (at - _START) // _MICROSECOND


def _as_bytes(coordinates: np.ndarray | None) -> bytes | None:
    return None if coordinates is None else np.ascontiguousarray(coordinates, dtype="<f2").tobytes()


def _check_id(id: str) -> None:
    if not isinstance(id, str) or not re.fullmatch("[0-9a-f]{32}", id):
        raise UserError(f"{str(id)[:60]!r} is no id of an answer: it has 32 digits from 0 to f.")


def _checked_text(name: str, text: str) -> None:
    if not isinstance(text, str) or not text.strip() or len(text) > _MOST_TEXT:
        raise UserError(f"{name} is {str(text)[:60]!r}, but must be a text of 1 to {_MOST_TEXT:,} characters.")
