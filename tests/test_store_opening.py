"""Opening a store: files half made, damaged, of other versions; servers dead or wrong; each in one sentence."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from stored import change, file_of, logged, plan, prints
from typer.testing import CliRunner

from vptlib.cli import app
from vptlib.errors import UserError
from vptlib.study.address import Address
from vptlib.study.connection import open_store
from vptlib.study.database import address_of, examined
from vptlib.study.failures import explained
from vptlib.study.store import finished_runs

pytestmark = pytest.mark.usefixtures("own_store")

# ---- made whole ---------------------------------------------------------------------------------------------------

A_RUN = (
    "INSERT INTO runs (run_uuid, name, status, lifecycle_stage, experiment_id, source_type) "
    "VALUES ('1', 'x', 'FINISHED', 'active', 0, 'LOCAL')"
)
OLDER = "UPDATE alembic_version SET version_num = '451aebb31d03'"
NEWER = "UPDATE alembic_version SET version_num = 'ffffffffffff'"
STATES = {
    "a whole one": ((), "whole"),
    "without a schema": (("DROP TABLE alembic_version",), "half made"),
    "without the name of its schema": (("DELETE FROM alembic_version",), "half made"),
    "with an earlier schema": ((OLDER,), "half made"),
    "without experiments": (("PRAGMA foreign_keys = OFF", "DROP TABLE experiments"), "half made"),
    "with an earlier schema and a run": ((OLDER, A_RUN), "older"),
    "without a schema, with a run": (("DELETE FROM alembic_version", A_RUN), "cut off"),
    "with an unknown schema": ((NEWER,), "newer"),
    "with an unknown schema and a run": ((NEWER, A_RUN), "newer"),
}


@pytest.mark.parametrize(("statements", "kind"), STATES.values(), ids=STATES.keys())
def test_what_a_database_is_can_be_told(own_store, statements, kind):
    change(own_store / "mlflow.db", *statements)
    assert examined(own_store / "mlflow.db").kind == kind


def test_a_missing_an_empty_and_a_foreign_file_are_told_apart(tmp_path):
    assert examined(tmp_path / "mlflow.db").kind == "none"
    (tmp_path / "mlflow.db").touch()
    assert examined(tmp_path / "mlflow.db").kind == "half made"
    change(tmp_path / "mlflow.db", "CREATE TABLE songs (title TEXT)")
    assert examined(tmp_path / "mlflow.db").kind == "foreign"


def test_a_half_made_store_is_made_again_with_one_sentence(own_store, capfd):
    change(own_store / "mlflow.db", "PRAGMA foreign_keys = OFF", "DROP TABLE experiments")
    (own_store / "mlflow.db-wal").write_bytes(b"of the half made one")
    (own_store / "mlflow.db.1a2b.part").write_bytes(b"of a process that was killed")
    assert finished_runs(plan()) == {}
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "was only half made and held no runs: it is made again" in said
    assert sorted(path.name for path in own_store.glob("mlflow*")) == ["mlflow.db", "mlflow.db.lock"]
    assert logged()


REFUSED = {
    "newer": ((NEWER,), "was written by a newer MLflow"),
    "cut off": (("DELETE FROM alembic_version", A_RUN), "was cut off in the middle of an upgrade"),
    "foreign": (
        ("PRAGMA foreign_keys = OFF", *(f"DROP TABLE {t}" for t in ("alembic_version", "experiments", "runs"))),
        "is a database of another program",
    ),
}


@pytest.mark.parametrize(("statements", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_store_that_cannot_be_used_is_refused_and_left_as_it_is(own_store, statements, sentence):
    change(own_store / "mlflow.db", *statements)
    before = prints(own_store)
    with pytest.raises(UserError, match=sentence):
        finished_runs(plan())
    assert prints(own_store) == before
    checked = CliRunner().invoke(app, ["store", "check"])
    assert checked.exit_code == 1 and sentence in " ".join(checked.output.split())


def test_a_file_that_is_no_database_is_named(own_store):
    (own_store / "mlflow.db").write_bytes(b"notes" * 1000)
    with pytest.raises(UserError, match=r"mlflow\.db is damaged, or no store of runs: `vpt store check`"):
        finished_runs(plan())


def test_a_page_of_zeros_is_named(own_store):
    logged()
    size = (own_store / "mlflow.db").stat().st_size
    with open(own_store / "mlflow.db", "r+b") as file:
        file.seek(4096)
        file.write(bytes(size - 4096))
    with pytest.raises(UserError, match="is damaged"):
        finished_runs(plan())
    assert CliRunner().invoke(app, ["store", "check"]).exit_code == 1


def test_a_locked_store_is_named_in_seconds(own_store, monkeypatch):
    monkeypatch.setattr("vptlib.study.database.SECONDS_TO_WAIT", 0.1)
    holder = sqlite3.connect(own_store / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match=r"mlflow\.db is locked by another program"):
        finished_runs(plan())
    holder.close()
    assert finished_runs(plan()) == {}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (sqlite3.OperationalError("database or disk is full"), "The disk"),
        (OSError(28, "No space left on device"), "The disk"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "cannot be written"),
        (PermissionError(13, "Permission denied"), "cannot be written"),
        (OSError(30, "Read-only file system"), "cannot be written"),
        (sqlite3.DatabaseError("database disk image is malformed"), "is damaged"),
        (sqlite3.OperationalError("no such table: runs"), "is damaged"),
        (RuntimeError("whatever else\nin two lines"), r"failed \(whatever else\)"),
    ],
)
def test_every_failure_of_a_file_has_one_sentence_with_its_place(error, sentence, tmp_path):
    said = str(explained(error, Address("", tmp_path / "mlflow.db")))
    assert str(tmp_path) in said and "\n" not in said
    with pytest.raises(UserError, match=f"(?i){sentence}"):
        raise UserError(said)


OLD_STORE = """
import sys
from pathlib import Path
import mlflow.store.db.utils as utils
import sqlalchemy
from alembic import command
from alembic.config import Config
from mlflow.store.tracking.dbmodels.initial_models import Base

engine = sqlalchemy.create_engine("sqlite:///" + sys.argv[1])
Base.metadata.create_all(engine)
config = Config()
config.set_main_option("script_location", str(Path(utils.__file__).parents[1] / "db_migrations"))
with engine.begin() as connection:
    config.attributes["connection"] = connection
    command.upgrade(config, "acf3f17fdcc7")
    for statement in (
        "INSERT INTO experiments (experiment_id, name, artifact_location) "
        f"VALUES (0, 'Default', 'x'), (1, 'vptlib', '{sys.argv[2]}')",
        "UPDATE experiments SET lifecycle_stage = 'active'",
        "INSERT INTO runs (run_uuid, name, status, lifecycle_stage, experiment_id, source_type, user_id, start_time, "
        "artifact_uri) VALUES ('1', 'x', 'FINISHED', 'active', 1, 'LOCAL', 'ann', 5, 'y')",
    ):
        connection.execute(sqlalchemy.text(statement))
"""


@pytest.mark.slow
def test_a_store_of_an_older_mlflow_is_upgraded_and_kept_as_it_was(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("VPTLIB_STORE", str(tmp_path))
    file = tmp_path / "mlflow.db"
    subprocess.run([sys.executable, "-c", OLD_STORE, file, address_of(tmp_path / "artifacts")], check=True, env=env())
    assert examined(file).kind == "older"
    assert finished_runs(plan()) == {}
    assert examined(file).kind == "whole" and open_store().client.get_run("1").info.status == "FINISHED"
    kept = tmp_path / "mlflow-before-upgrade-from-acf3f17fdcc7.db"
    assert examined(kept).kind == "older"
    assert "is of an older MLflow: it is upgraded" in capfd.readouterr().err


@pytest.mark.slow
def test_a_start_that_is_killed_anywhere_leaves_a_store_that_opens(tmp_path):
    program = "from vptlib.study.connection import open_store; open_store(); print('open')"
    for number in range(2):
        place = env(VPTLIB_STORE=str(tmp_path / str(number)))
        started = subprocess.Popen([sys.executable, "-c", program], env=place, stdout=subprocess.DEVNULL)
        while not list(tmp_path.glob(f"{number}/*.part")) and started.poll() is None:
            pass
        with pytest.raises(subprocess.TimeoutExpired):
            started.wait(0.4 * number)
        started.send_signal(signal.SIGKILL)
        started.wait()
        assert not (tmp_path / str(number) / "mlflow.db").exists()
        again = subprocess.run([sys.executable, "-c", program], env=place, capture_output=True, text=True, timeout=120)
        assert again.stdout.strip() == "open", again.stderr[-2000:]
        assert not list((tmp_path / str(number)).glob("*.part*"))


def env(**more: str) -> dict[str, str]:
    return dict(os.environ) | more


# ---- servers, and secrets -----------------------------------------------------------------------------------------

ANSWERS = {
    "unauthorised": ((401, "text/plain", "no"), "does not let us in (code 401): set MLFLOW_TRACKING_USERNAME"),
    "forbidden": ((403, "application/json", "{}"), "does not let us in (code 403)"),
    "forbidden by MLflow": (
        (403, "application/json", '{"error_code": "PERMISSION_DENIED", "message": "no"}'),
        "does not let us in (code 403)",
    ),
    "another service": ((200, "application/json", "[]"), "answers, but is no MLflow server"),
    "another service that has no such page": (
        (404, "application/json", '{"detail": "Not Found"}'),
        "answers, but is no MLflow server",
    ),
    "not there": ((404, "text/html", "<html>no</html>"), "answers, but is no MLflow server"),
    "a page": ((200, "text/html", "<html>hello</html>"), "answers, but is no MLflow server"),
    "broken": ((500, "text/plain", "oops"), "fails or is overloaded (code 500)"),
    "overloaded": ((503, "text/plain", "wait"), "fails or is overloaded (code 503)"),
}


@pytest.fixture
def served():
    """An HTTP server that gives one answer to everything; gives host:port."""
    servers = []

    def serve(status: int, kind: str, text: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def point_to(monkeypatch, address: str) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # is restored after the test
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)


@pytest.mark.parametrize(("answer", "sentence"), ANSWERS.values(), ids=ANSWERS.keys())
def test_a_wrong_server_is_one_sentence_without_the_password(served, monkeypatch, answer, sentence):
    host = served(*answer)
    point_to(monkeypatch, f"http://ann:s3cr%2Fet@{host}")
    with pytest.raises(UserError) as error:
        finished_runs(plan())
    said = str(error.value)
    assert sentence in said and host in said and "\n" not in said
    assert "s3cr" not in "".join(_texts(error.value))


def _texts(error: BaseException | None) -> list[str]:
    return [] if error is None else [str(error), *_texts(error.__cause__ or error.__context__)]


def test_a_password_goes_to_the_server_whose_address_has_it_and_to_no_other(served, monkeypatch):
    host = served(401, "text/plain", "no")
    point_to(monkeypatch, f"http://ann:hunter%2D2@{host}")
    seen = []
    for address in (f"http://ann:hunter%2D2@{host}", f"http://{host}"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(UserError):
            finished_runs(plan())
        seen.append((os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]))
    assert seen == [("ann", "hunter-2"), ("", "")]


def test_a_dead_and_a_silent_server_are_named_in_seconds(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:  # accepts, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        point_to(monkeypatch, f"http://127.0.0.1:{port}")
        with pytest.raises(UserError, match=f"the MLflow server http://127.0.0.1:{port} does not answer: start it"):
            finished_runs(plan())
    with pytest.raises(UserError, match="does not answer"):
        finished_runs(plan())


ADDRESSES = {
    "http://": "is no address of a server",
    "http://ann:s3/cret@host": "is no address of a server",
    "http://exa mple": "is no address of a server",
    "http://host:port": "is no address of a server",
    "http://host/?token=s3cret": "takes nothing after",
    "ftp://ann:s3cret@host": "is no store that MLflow offers",
    "sqlite://": "names no file",
    "sqlite:///": "names no file",
    "sqlite:///:memory:": "names no file",
    "sqlite:////tmp/what?.db": "take no question mark",
    "mysql+none://ann:s3cret@host/x": "is no store that MLflow offers",
}


@pytest.mark.parametrize(("address", "sentence"), ADDRESSES.items())
def test_an_address_that_cannot_be_used_is_one_sentence(monkeypatch, address, sentence):
    point_to(monkeypatch, address)
    with pytest.raises(UserError) as error:
        finished_runs(plan())
    assert sentence in str(error.value) and "\n" not in str(error.value)
    assert "s3" not in str(error.value)


def test_a_file_that_the_address_names_is_a_store_like_any_other(tmp_path, monkeypatch, own_store):
    shutil.copy(own_store / "mlflow.db", tmp_path / "runs.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'runs.db'}")
    run_id = logged()
    assert file_of(tmp_path, run_id, "test.json").is_file()
    assert not (own_store / "artifacts").exists()
