"""The SQLite file of a local store: made whole or not at all, and its addresses those of the folder it lies in.

MLflow makes a new file in hundreds of steps, and upgrades an old one in place. Both may be cut off. Here both happen
under another name, under a lock, and the file gets its own name when it is whole. MLflow stores where each run's
artefacts are as an absolute address; it is corrected when the folder has been moved or copied.
"""

import os
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from filelock import FileLock, Timeout

from vptlib.errors import UserError
from vptlib.study.address import Address
from vptlib.study.failures import explained, newer_schema

EXPERIMENT = "vptlib"
SECONDS_TO_WAIT = 5  # for another process that writes
SECONDS_TO_MAKE = 120  # for another process that makes or upgrades the file, or stores a run
_SIDE_FILES = ("-journal", "-wal", "-shm")
# What a file must have to be used, and what would be lost with it.
_NEEDED = {"alembic_version", "experiments", "runs", "tags", "params", "metrics", "latest_metrics"}
_VALUED = ("runs", "registered_models", "trace_info", "datasets", "evaluation_datasets")


@dataclass(frozen=True)
class State:
    """What an SQLite file is.

    Attributes:
        kind: "none", "whole", "half made" (and without any run), "older" or "newer" than this MLflow, "cut off" (in
            the middle of an upgrade), or "foreign" (of another program).
        revision: of its schema.
        at: where its artefacts are, as an address; None without an experiment.
    """

    kind: str
    revision: str | None = None
    at: str | None = None


@contextmanager
def alone(file: Path, seconds: float = SECONDS_TO_MAKE) -> Iterator[None]:
    """Alone among the processes that make this file, upgrade it, clean up after others or store a run.

    Raises:
        UserError: another process stays there for longer than `seconds`.
    """
    lock = FileLock(f"{file}.lock", timeout=seconds)
    try:
        lock.acquire()
    except (Timeout, OSError) as error:
        raise explained(error, Address("", file)) from error
    try:
        yield
    finally:
        lock.release()


def made_ready(file: Path) -> None:
    """Make the file if there is none, or none that was finished; upgrade an older one; correct its addresses.

    Raises:
        UserError: it cannot be used; the message names the way out.
    """
    if _is_ready(file):
        return
    with alone(file):
        state = examined(file)
        if state.kind == "half made":
            _tell(f"The store of runs {file} was only half made and held no runs: it is made again.")
        if state.kind in ("none", "half made"):
            _make(file)
        elif state.kind == "older":
            _upgrade(file, state)
        elif state.kind != "whole":
            raise UserError(refusal(file, state))
        _settle(file)


def examined(file: Path) -> State:
    """What the file is. Nothing is changed.

    Raises:
        UserError: it is damaged, locked, or cannot be read.
    """
    if not file.exists():
        return State("none")
    if file.stat().st_size == 0:
        return State("half made")
    with _opened(file) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            return State("half made")
        if not tables & {"alembic_version", "experiments", "runs"}:
            return State("foreign")
        found = database.execute("SELECT version_num FROM alembic_version") if "alembic_version" in tables else ()
        revisions = [revision for (revision,) in found]
        holds = [t for t in _VALUED if t in tables and database.execute(f"SELECT 1 FROM {t} LIMIT 1").fetchone()]
        at = None
        if tables >= _NEEDED:
            at = database.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
    older, newest = _revisions()
    revision = revisions[0] if len(revisions) == 1 else None
    if revision and revision not in older | {newest}:
        return State("newer", revision)
    if revision == newest and tables >= _NEEDED:
        return State("whole", revision, at and at[0])
    if not holds:
        return State("half made", revision)
    return State("older" if revision and tables >= _NEEDED else "cut off", revision)


def finished_ids(file: Path, experiment: str, keys: Iterable[str]) -> list[str]:
    """Identifiers of the finished runs that have one of these keys, the earliest first."""
    with _opened(file) as database:
        database.execute("CREATE TEMP TABLE wanted (key TEXT PRIMARY KEY)")
        database.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", [(key,) for key in keys])
        found = database.execute(
            "SELECT run_uuid FROM tags JOIN wanted ON tags.value = wanted.key JOIN runs USING (run_uuid) "
            "WHERE tags.key = 'key' AND experiment_id = ? AND status = 'FINISHED' AND lifecycle_stage = 'active' "
            "ORDER BY start_time",
            (int(experiment),),
        )
        return [run_id for (run_id,) in found]


def repeated_keys(file: Path, experiment: str) -> list[str]:
    """Keys that several finished runs have."""
    with _opened(file) as database:
        found = database.execute(
            "SELECT value FROM tags JOIN runs USING (run_uuid) WHERE tags.key = 'key' AND experiment_id = ? "
            "AND status = 'FINISHED' AND lifecycle_stage = 'active' GROUP BY value HAVING count(*) > 1",
            (int(experiment),),
        )
        return [key for (key,) in found]


def unfinished_ids(file: Path, experiment: str) -> dict[str, bool]:
    """Runs that have a key and were not finished, by identifier; and whether MLflow still lists them."""
    with _opened(file) as database:
        found = database.execute(
            "SELECT run_uuid, lifecycle_stage = 'active' FROM runs JOIN tags USING (run_uuid) "
            "WHERE tags.key = 'key' AND experiment_id = ? AND status != 'FINISHED'",
            (int(experiment),),
        )
        return {run_id: bool(listed) for run_id, listed in found}


def all_ids(file: Path) -> set[str]:
    """Identifiers of all runs in the file, also of those that were deleted."""
    with _opened(file) as database:
        return {run_id for (run_id,) in database.execute("SELECT run_uuid FROM runs")}


def faults(file: Path) -> list[str]:
    """What SQLite finds wrong with the file, each a line; none if it is sound. It takes seconds for a large file."""
    with _opened(file) as database:
        return [line for (line,) in database.execute("PRAGMA quick_check(5)") if line != "ok"]


def refusal(file: Path, state: State) -> str:
    """Why a file cannot be used, with the way out."""
    if state.kind == "newer":
        return newer_schema(str(file))
    if state.kind == "foreign":
        return f"{file} is a database of another program: set VPTLIB_STORE to another folder, or move the file away."
    return (
        f"the store of runs {file} was cut off in the middle of an upgrade: put back the copy that was made before "
        "it, or move the file away to begin a new store."
    )


def address_of(folder: Path) -> str:
    """A folder of artefacts as MLflow writes it."""
    return folder.resolve().as_uri()


# ---- helpers --------------------------------------------------------------------------------------------------


def _is_ready(file: Path) -> bool:
    """Whether the file can be used as it is; also that it may be written now."""
    state = examined(file)
    if state.kind != "whole" or not _is_at_home(file, state.at):
        return False
    with _opened(file) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")
    return True


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection without transactions of its own.

    Raises:
        UserError: for everything that SQLite cannot do with the file.
    """
    try:
        name = f"file:{quote(str(file))}?mode=rw"
        with closing(sqlite3.connect(name, uri=True, timeout=SECONDS_TO_WAIT, isolation_level=None)) as database:
            yield database
    except (sqlite3.Error, OSError) as error:
        raise explained(error, Address("", file)) from error


@cache
def _revisions() -> tuple[frozenset[str], str]:
    """The schemas that this MLflow can upgrade, and its own."""
    import mlflow
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    newest = scripts.get_current_head()
    assert newest  # MLflow has one line of schemas
    return frozenset(script.revision for script in scripts.walk_revisions()) - {newest}, newest


def _make(file: Path) -> None:
    """A new file with its tables and the experiment, under another name until it is whole."""
    from mlflow import MlflowClient

    with _part_of(file) as part:
        client = MlflowClient(tracking_uri=f"sqlite:///{part}")
        client.create_experiment(EXPERIMENT, artifact_location=address_of(file.parent / "artifacts"))
        _put_in_place(part, file)


def _upgrade(file: Path, state: State) -> None:
    """Give the file the schema of this MLflow, in one transaction; a copy of the old one stays next to it."""
    kept = file.with_name(f"{file.stem}-before-upgrade-from-{state.revision}{file.suffix}")
    _tell(f"The store of runs {file} is of an older MLflow: it is upgraded, and {kept.name} keeps it as it was.")
    with _opened(file) as database:
        before = database.execute("PRAGMA data_version").fetchone()
        with _part_of(file) as part:
            _copy(database, part)
            _put_in_place(part, kept)
        with _part_of(file) as part:
            _copy(database, part)
            _run_upgrade(part, file)
            if database.execute("PRAGMA data_version").fetchone() != before:
                raise UserError(f"the store of runs {file} is in use: stop what writes to it, then try again.")
            with closing(sqlite3.connect(part)) as upgraded:
                upgraded.backup(database)


def _copy(database: sqlite3.Connection, part: Path) -> None:
    with closing(sqlite3.connect(part)) as target:
        database.backup(target)


def _run_upgrade(part: Path, file: Path) -> None:
    """MLflow's own upgrade, in a process of its own: it prints much, and may fail in any way."""
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{part}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or examined(part).kind != "whole":
        raise UserError(
            f"the store of runs {file} is of an older MLflow and could not be upgraded: copy it, run "
            f"`mlflow db upgrade sqlite:///{file}` and read what that says, or set VPTLIB_STORE to another folder."
        )


@contextmanager
def _part_of(file: Path) -> Iterator[Path]:
    """A temporary name for a database. What earlier processes left under such names is removed: we are alone."""
    for left in left_parts(file):
        left.unlink(missing_ok=True)
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
    finally:
        for suffix in ("", *_SIDE_FILES):
            Path(f"{part}{suffix}").unlink(missing_ok=True)


def left_parts(file: Path) -> list[Path]:
    """Files of databases that were not finished, and of upgrades that were cut off."""
    return [path for path in file.parent.glob("*.part*") if path.name.startswith(f"{file.name}.")]


def _put_in_place(part: Path, file: Path) -> None:
    """Give a whole database its name. A journal of what was there before would be played into it: away with that."""
    with open(part, "rb") as written:
        os.fsync(written.fileno())
    for suffix in _SIDE_FILES:
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    part.replace(file)


def _settle(file: Path) -> None:
    """Let the addresses in the file be those of its folder, in one transaction."""
    at = examined(file).at
    if _is_at_home(file, at):
        return
    with _opened(file) as database:
        here = address_of(file.parent / "artifacts")
        database.execute("BEGIN IMMEDIATE")
        database.execute("UPDATE experiments SET artifact_location = ? WHERE name = ?", (here, EXPERIMENT))
        database.execute(
            "UPDATE runs SET artifact_uri = ? || '/' || run_uuid || '/artifacts' WHERE experiment_id IN "
            "(SELECT experiment_id FROM experiments WHERE name = ?)",
            (here, EXPERIMENT),
        )
        database.execute("COMMIT")


def _is_at_home(file: Path, at: str | None) -> bool:
    """Whether artefacts are next to the file, or at a place that this library has not chosen."""
    return at is None or at == address_of(file.parent / "artifacts") or not is_ours(at)


def is_ours(at: str) -> bool:
    """Whether an address of artefacts is one that this library gives: a local folder of that name."""
    parts = urlsplit(at)
    return parts.scheme in ("", "file") and Path(unquote(parts.path)).name == "artifacts"


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)
