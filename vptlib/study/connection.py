"""The MLflow client of this process's store, opened once. Each of its failures is one sentence."""

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vptlib.environment import set_meanwhile
from vptlib.errors import UserError
from vptlib.redaction import log_no_secrets
from vptlib.study.address import Address, store_address
from vptlib.study.database import EXPERIMENT, address_of, finished_ids, is_ours, made_ready
from vptlib.study.failures import NoAnswer, deleted_experiment, explained

SECONDS_FOR_AN_ANSWER = 5  # of a server, before it is called dead

# Without these, MLflow sends usage data to its makers, and prints tables, files and addresses to the terminal.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # some 15 seconds; the 7 of MLflow are four minutes without a word
}
_IDS_AT_ONCE = 200
_REQUESTS_AT_ONCE = 8
_DATABASES = ("postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class Store:
    """An open store.

    Attributes:
        client: MLflow's, whose failures are `UserError`.
        experiment: identifier of the experiment that has the runs.
        address: of the store.
        folder: of the artefacts, where this library writes them itself; None on a server.
    """

    client: Any
    experiment: str
    address: Address
    folder: Path | None

    def of_each(self, function: Callable, items: Sequence) -> list:
        """What a function gives for each item; several are asked at the same time where each has to ask a server."""
        if self.address.file or len(items) < 2:
            return list(map(function, items))
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as threads:
            return list(threads.map(function, items))

    def finished(self, keys: Sequence[str]) -> list:
        """The finished MLflow runs that have one of these keys, the earliest of a key first."""
        if self.address.file is None:
            return [run for runs in self.of_each(self._finished_on_server, keys) for run in runs]
        ids = finished_ids(self.address.file, self.experiment, keys)
        found = []
        for start in range(0, len(ids), _IDS_AT_ONCE):
            wanted = ", ".join(f"'{run_id}'" for run_id in ids[start : start + _IDS_AT_ONCE])
            found += self._search(f"attributes.run_id IN ({wanted})")
        return found

    def fetch(self, address: str, folder: Path) -> Path:
        """Fetch a file of a run from a server into a folder.

        Raises:
            UserError: it is not there, or cannot be fetched.
        """
        from mlflow.artifacts import download_artifacts

        with _explained(self.address):
            return Path(download_artifacts(artifact_uri=address, dst_path=str(folder), tracking_uri=self.address.uri))

    def _finished_on_server(self, key: str) -> list:
        return self._search(f"attributes.status = 'FINISHED' AND tags.key = '{key}'")

    def _search(self, condition: str) -> list:
        return self.client.search_runs([self.experiment], condition, order_by=["attributes.start_time ASC"])


def open_store() -> Store:
    """The store of this process. It is opened at the first call, and again when its file is another one.

    Raises:
        UserError: it cannot be opened; the message names the way out.
    """
    connection = _connection()
    if connection.store is None:
        connection.store = _store_of(connection)
    return connection.store


def answers() -> bool:
    """Whether the store of this process answers just now; a dead server is found in seconds.

    Raises:
        UserError: it answers, but cannot be used.
    """
    try:
        with _impatient():
            store = open_store()
            store.client.get_experiment(store.experiment)
    except NoAnswer:
        return False
    return True


def mlflow_client():
    """The MLflow client: the server that `MLFLOW_TRACKING_URI` names, or an SQLite file in the store folder."""
    return _connection().client


@dataclass
class _Connection:
    """An address with its client; the store is made at its first use."""

    address: Address
    identity: tuple[int, int] | None
    client: Any
    store: Store | None = None


_OPEN: dict[Address, _Connection] = {}


def _connection() -> _Connection:
    address = store_address()
    _log_in(address)
    known = _OPEN.get(address)
    if known is None or known.identity != _identity(address):
        client = _client_at(address)
        known = _OPEN[address] = _Connection(address, _identity(address), client)
    return known


_LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_replaced: dict[str, str | None] = {}  # what these settings were before an address gave its own


def _log_in(address: Address) -> None:
    """Give MLflow the user and password of this address, in the settings where it looks; those of no other one.

    What is set already is not touched: another thread may be asking just now.
    """
    if address.login and _replaced and tuple(os.environ.get(name) for name in _LOGIN) == address.login:
        return
    for name, value in _replaced.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _replaced.clear()
    for name, value in zip(_LOGIN, address.login or (), strict=False):
        _replaced[name] = os.environ.get(name)
        os.environ[name] = value


def _identity(address: Address) -> tuple[int, int] | None:
    """Changes when another file takes the place of this one."""
    try:
        found = address.file and address.file.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def _client_at(address: Address) -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if address.file:
        os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")  # a connection outlives a moved file
        _make_folders(address.file)
    with _explained(address):
        from mlflow import MlflowClient

        _silence()
        if address.file:
            made_ready(address.file)
        if address.uri.split("://")[0].split("+")[0] in _DATABASES:
            _in_time(functools.partial(_probe_database, address.uri))
        client = MlflowClient(tracking_uri=address.uri)
        with _impatient():
            client.get_experiment_by_name(EXPERIMENT)
    return _Explaining(client, address)


def _store_of(connection: _Connection) -> Store:
    """The store with its experiment, which is made if there is none."""
    client, address = connection.client, connection.address
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        with contextlib.suppress(UserError):  # another process makes it just now
            client.create_experiment(EXPERIMENT, address.artefacts and address_of(address.artefacts))
        found = client.get_experiment_by_name(EXPERIMENT)
    if found is None or found.lifecycle_stage != "active":
        raise UserError(deleted_experiment(address.shown))
    ours = address.file is not None and is_ours(found.artifact_location)
    return Store(client, found.experiment_id, address, address.artefacts if ours else None)


def _make_folders(file: Path) -> None:
    try:
        (file.parent / "artifacts").mkdir(parents=True, exist_ok=True)
        if not os.access(file.parent, os.W_OK):
            raise PermissionError("no permission to write")
    except OSError as error:
        raise UserError(
            f"the store of runs {file.parent} cannot be written ({error.strerror or error}): set VPTLIB_STORE to a "
            "folder that can be written."
        ) from error


_settings = threading.RLock()


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Ask a server once: a dead one is to be named in seconds. One thread at a time may ask so."""
    asked = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with _settings:
        if "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ:
            asked["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(SECONDS_FOR_AN_ANSWER)
        with set_meanwhile(**asked):
            yield


def _probe_database(uri: str) -> None:
    """Connect to a database server once; MLflow itself would try for 100 seconds."""
    import sqlalchemy

    with sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool).connect():
        pass


def _in_time(ask: Callable[[], None]) -> None:
    """Call a function that may hang. A thread that hangs ends with the process."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            ask()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(2 * SECONDS_FOR_AN_ANSWER)
    if thread.is_alive():
        raise TimeoutError("timed out")
    if failures:
        raise failures[0]


# ---- failures and secrets -------------------------------------------------------------------------------------


class _Explaining:
    """A client whose methods fail with one sentence."""

    def __init__(self, client: Any, address: Address):
        self._client, self._address = client, address

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        return self._guarded(value) if callable(value) else value

    def _guarded(self, method: Callable) -> Callable:
        @functools.wraps(method)
        def call(*args, **kwargs):
            with _explained(self._address):
                return method(*args, **kwargs)

        return call


@contextlib.contextmanager
def _explained(address: Address) -> Iterator[None]:
    """Every failure of the store as a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except _failures() as error:
        raise explained(error, address) from error


@functools.cache
def _failures() -> tuple[type[Exception], ...]:
    """What MLflow and the libraries below it raise. `ValueError` is for addresses that cannot be taken apart."""
    import requests
    import sqlalchemy.exc
    import urllib3
    from mlflow.exceptions import MlflowException

    libraries = MlflowException, requests.RequestException, sqlalchemy.exc.SQLAlchemyError, urllib3.exceptions.HTTPError
    return (*libraries, OSError, ImportError, ValueError)


def _silence() -> None:
    """Let no library print what it tries and retries; what MLflow still logs has no password."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    log_no_secrets("mlflow")
