"""PostgreSQL and an MLflow server on 127.0.0.1, as docs/cluster/store.md starts them: for benchmarks and tests.

They can be killed and started again. Everything lies in one folder, and nothing is left when they are stopped.
"""

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_SECONDS_TO_START = 120
MOST_CONNECTIONS = 40
# Connections of one worker process of the server; MLflow opens a pool for runs and one for models.
POOL, OVERFLOW, WORKERS = 4, 2, 2
# With it a study finds its runs among many.
INDEX = "CREATE INDEX CONCURRENTLY IF NOT EXISTS vptlib_key ON tags (value) WHERE key = 'key'"
_USER = "postgres"  # of the Debian package: PostgreSQL does not start as root


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where it is not installed, or cannot be started by this user."""
    if os.getuid() == 0 and _USER not in {user.pw_name for user in pwd.getpwall()}:
        return None
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    found = str(debian[-1]) if debian else shutil.which("initdb")
    return Path(found).parent if found else None


class Database:
    """A new PostgreSQL in a folder, with an empty database.

    Attributes:
        uri: as MLflow and SQLAlchemy take it, with the password.
        password: of its user vptlib.
    """

    def __init__(self, folder: Path, safe: bool = True):
        """
        Args:
            folder: that exists; PostgreSQL's user gets a folder in it.
            safe: whether what is written outlasts a power failure. Without, it outlasts any kill and is faster.
        """
        programs = postgres_programs()
        assert programs, "PostgreSQL is not installed"
        self._programs, self._folder, self._safe = programs, folder / "postgres", safe
        self._port, self.password = free_port(), secrets.token_hex(8)
        self._process: subprocess.Popen | None = None
        self.uri = f"postgresql+psycopg://vptlib:{self.password}@127.0.0.1:{self._port}/vptlib"
        self._make()

    def start(self) -> None:
        """Start it, also after a kill, and wait until it answers."""
        end = time.monotonic() + _SECONDS_TO_START
        while True:
            if not self.running:  # what a killed one left may be in its way
                self._process = self._started()
            try:
                self.connect("postgres").close()
                return
            except OSError as error:
                if time.monotonic() > end:
                    raise TimeoutError(self._log.read_text()[-2000:]) from error
                time.sleep(0.05)

    def connect(self, name: str = "vptlib") -> Any:
        """A connection of psycopg, on which each statement is a transaction of its own.

        Raises:
            OSError: it does not answer.
        """
        import psycopg

        address = f"host=127.0.0.1 port={self._port} user=vptlib password={self.password} dbname={name}"
        try:
            return psycopg.connect(address, autocommit=True, connect_timeout=5)
        except psycopg.OperationalError as error:
            raise ConnectionError(str(error)) from error

    @property
    def running(self) -> bool:
        """Whether its first process is there."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9 of its first process; the others notice that and end."""
        if self._process:
            self._process.kill()
            self._process.wait(30)

    def stop(self) -> None:
        """Stop it, without care for its data."""
        if self._process and self.running:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _make(self) -> None:
        self._folder.mkdir()
        password = self._folder / "password"
        password.write_text(self.password)
        if os.getuid() == 0:
            for path in (self._folder, password):
                shutil.chown(path, _USER, _USER)
        words = ["-D", "data", "-U", "vptlib", "--pwfile=password", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]
        self._run("initdb", *words, "--no-sync", check=True)
        self.start()
        with self.connect("postgres") as connection:
            connection.execute("CREATE DATABASE vptlib")

    def _started(self) -> subprocess.Popen:
        settings = {"listen_addresses": "127.0.0.1", "max_connections": str(MOST_CONNECTIONS)}
        settings |= {} if self._safe else {"fsync": "off", "full_page_writes": "off"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [self._programs / "postgres", "-D", "data", "-p", str(self._port), "-k", "", *words]
        with self._log.open("a") as log:
            return subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, **_as_postgres())

    def _run(self, program: str, *words: str, check: bool) -> None:
        command = [self._programs / program, *words]
        with self._log.open("a") as log:
            subprocess.run(command, cwd=self._folder, stdout=log, stderr=log, check=check, **_as_postgres())


class TrackingServer:
    """An MLflow server on a database whose schema is made before it starts; it keeps its address after a kill.

    Attributes:
        address: to be given in MLFLOW_TRACKING_URI.
        files: folder of the files of all runs.
    """

    def __init__(self, folder: Path, uri: str, host: str = "127.0.0.1"):
        self._folder, self._uri, self._host, self._port = folder, uri, host, free_port()
        self._process: subprocess.Popen | None = None
        self.address, self.files = f"http://{host}:{self._port}", folder / "kept"
        self._run("db", "upgrade", uri)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = ["server", "--host", self._host, "--port", str(self._port), "--workers", str(WORKERS)]
        words += ["--backend-store-uri", self._uri, "--artifacts-destination", str(self.files)]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words], stdout=log, stderr=log, start_new_session=True, **self._own()
            )
        end = time.monotonic() + _SECONDS_TO_START
        while not _answers(self.address):
            if not self.running or time.monotonic() > end:
                raise TimeoutError(self._log.read_text()[-2000:])
            time.sleep(0.1)

    @property
    def running(self) -> bool:
        """Whether its first process is there."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9 of all its processes."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)

    @property
    def _log(self) -> Path:
        return self._folder / "mlflow.log"

    def _run(self, *words: str) -> None:
        with self._log.open("a") as log:
            subprocess.run([sys.executable, "-m", "mlflow", *words], stdout=log, stderr=log, check=True, **self._own())

    def _own(self) -> dict[str, Any]:
        """Folder and environment: of the caller's own settings for MLflow none counts."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        environment |= {
            "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": str(POOL),
            "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": str(OVERFLOW),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        return {"cwd": self._folder, "env": environment}


@contextmanager
def servers(safe: bool = True) -> Iterator[tuple[Database, TrackingServer]]:
    """A database and an MLflow server on it, both started; at the end they are gone, with their files."""
    folder = Path(tempfile.mkdtemp(prefix="vptlib-servers-"))
    folder.chmod(0o755)  # PostgreSQL's user has a folder in it
    running: list[Database | TrackingServer] = []
    try:
        database = Database(folder, safe)
        running.append(database)
        server = TrackingServer(folder, database.uri)
        running.append(server)
        server.start()
        yield database, server
    finally:
        for each in reversed(running):
            each.kill()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses just now."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2):
            return True
    except OSError:
        return False


def _as_postgres() -> dict[str, Any]:
    return {"user": _USER, "group": _USER, "extra_groups": []} if os.getuid() == 0 else {}


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path.parent.parent.name))]
