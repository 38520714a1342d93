"""The command line answers at once, fails in one sentence, and lists what there is."""

import http.server
import socket
import subprocess
import sys
import threading

import pytest
from typer.testing import CliRunner

from vptlib import cli, doctor
from vptlib.data.tasks import TASKS
from vptlib.errors import UserError
from vptlib.paths import repository
from vptlib.report import build
from vptlib.tuning.backbones import EMBEDDED


def run(*arguments: str):
    return CliRunner().invoke(cli.app, list(arguments))


def python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_help_is_there_without_the_heavy_libraries():
    heavy = "('torch', 'timm', 'pandas', 'matplotlib', 'mlflow', 'papermill')"
    assert python("-c", f"import sys, vptlib.cli; print([m for m in {heavy} if m in sys.modules])").strip() == "[]"


def test_the_module_is_the_same_command():
    answer = python("-m", "vptlib", "--help")
    assert "Usage: vpt" in answer
    for command in ("report", "tasks", "backbones", "doctor"):
        assert command in answer


def failing(error: BaseException):
    def make_report(*_):
        raise error

    return make_report


def test_a_users_mistake_is_one_sentence_on_stderr(monkeypatch):
    monkeypatch.setattr(build, "make_report", failing(UserError("x.yaml: `a` is wrong: mend it.")))
    result = run("report", "x.yaml")
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "Checking x.yaml\n",
        "Error: x.yaml: `a` is wrong: mend it.\n",
    )


def test_a_full_disk_is_one_sentence(monkeypatch):
    monkeypatch.setattr(build, "make_report", failing(OSError(28, "No space left on device", "/somewhere")))
    result = run("report", "x.yaml")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no space left on device at /somewhere: ")
    assert result.stderr.count("\n") == 1


def test_something_unforeseen_keeps_its_traceback_in_a_file(monkeypatch, tmp_path):
    monkeypatch.setattr(cli.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(build, "make_report", failing(KeyError("gone")))
    result = run("report", "x.yaml")
    assert result.exit_code == 1
    assert "KeyError" in result.stderr
    assert "Traceback" not in result.stderr
    (file,) = tmp_path.glob("vpt-*.txt")
    assert str(file) in result.stderr
    assert "Traceback" in file.read_text()


def test_debugging_shows_the_error_itself(monkeypatch):
    monkeypatch.setenv("VPT_DEBUG", "1")
    monkeypatch.setattr(build, "make_report", failing(KeyError("gone")))
    assert isinstance(run("report", "x.yaml").exception, KeyError)


def test_stopping_says_that_finished_runs_are_kept(monkeypatch):
    monkeypatch.setattr(build, "make_report", failing(KeyboardInterrupt()))
    result = run("report", "x.yaml")
    assert result.exit_code == 130
    assert "Finished runs are kept" in result.stderr


def test_a_wrong_configuration_leaves_nothing_behind(tmp_path):
    (tmp_path / "mine.yaml").write_text("tasks: [digits]\nstepps: 3\n")
    result = run("report", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "did you mean 'steps'" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_tasks_and_backbones_are_listed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    tasks = run("tasks").stdout
    for name, entry in TASKS.items():
        assert any(line.startswith(name) and entry.group in line for line in tasks.splitlines())
    assert max(map(len, tasks.splitlines())) <= 100
    assert EMBEDDED in run("backbones").stdout


# ---- vpt doctor -----------------------------------------------------------------------------------------------


def looks(monkeypatch, **chosen):
    monkeypatch.setattr(doctor, "_LOOKS", chosen)


def test_a_sound_machine_passes(monkeypatch):
    looks(monkeypatch, Python=doctor._python, packages=doctor._packages, disk=doctor._disk, tasks=doctor._tasks)
    result = run("doctor")
    assert result.exit_code == 0
    assert "FAIL" not in result.stdout
    assert "The quickstart can run here" in result.stdout


def test_a_faulty_machine_fails_and_names_the_fault(monkeypatch):
    def no_backbone():
        raise UserError("the weights are not here: fetch them.")

    def no_package():
        raise ImportError("No module named 'gone'")

    looks(monkeypatch, backbone=no_backbone, Chromium=no_package, disk=doctor._disk)
    monkeypatch.setattr(doctor, "free_bytes", lambda folder: 1e6)
    result = run("doctor")
    assert result.exit_code == 1
    assert "the weights are not here: fetch them." in result.stdout
    assert "No module named 'gone'" in result.stdout
    assert "mend backbone, Chromium, disk." in result.stderr


def test_the_quickstart_is_examined(monkeypatch):
    monkeypatch.setattr(doctor, "repository", lambda: repository() / "tests")
    looks(monkeypatch, quickstart=doctor._quickstart)
    result = run("doctor")
    assert result.exit_code == 1
    assert "quickstart.yaml" in result.stdout


def test_a_missing_or_old_package_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda name: ["no-such-thing>=1", "typer>=999", "pytest; extra == 'dev'"])
    mark, found = doctor._packages()
    assert mark == "FAIL"
    assert "no-such-thing is missing" in found
    assert "not >=999" in found
    assert "pytest" not in found


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(403)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_a_server_that_refuses_has_answered(server, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert doctor._answers(f"http://127.0.0.1:{server.server_port}")


def test_a_closed_port_has_not(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert not doctor._answers(f"http://127.0.0.1:{free.getsockname()[1]}")


def test_the_switch_for_no_network_is_honoured(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(doctor, "_answers", lambda address: pytest.fail("the hub was asked"))
    assert doctor._hub()[0] == "note"


# ---- a notebook's first look --------------------------------------------------------------------------------------


def test_a_notebook_that_can_run_is_ready():
    doctor.ready(EMBEDDED, "digits", layer=(1, 1, 9))
    doctor.ready("file:of-my-own.safetensors", "folder:somewhere")


@pytest.mark.parametrize("value", [0, 10])
def test_a_parameter_out_of_range_is_named_first(value):
    with pytest.raises(UserError, match=rf"^layer is {value}: set it to 1 to 9 in the parameters cell"):
        doctor.ready(layer=(value, 1, 9))


def test_a_missing_package_or_task_stops_a_notebook_in_its_first_cell(monkeypatch):
    monkeypatch.setattr("vptlib.data.tasks.task_is_available", lambda name: (False, "install this"))
    with pytest.raises(UserError, match=r"task 'digits' cannot be had here \(install this\)"):
        doctor.ready(task="digits")
    monkeypatch.setattr(doctor, "_packages", lambda: ("FAIL", "peft is missing: install it"))
    with pytest.raises(UserError, match="peft is missing: install it, then restart the kernel"):
        doctor.ready()


def test_in_a_notebook_a_users_mistake_is_one_sentence_too():
    code = "from vptlib.errors import UserError; raise UserError('n is 0: take more.')"
    shown = subprocess.run([sys.executable, "-m", "IPython", "--no-banner", "-c", code], capture_output=True, text=True)
    assert shown.stdout.strip() == "Error: n is 0: take more."
