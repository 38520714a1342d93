"""The command line answers at once, fails in one sentence, and lists what there is."""

import ast
import http.server
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pictures import class_folders
from typer.testing import CliRunner

from vptlib import cli, doctor
from vptlib.cli import ending
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


ASK_FOR_HELP = """
import sys
from vptlib.cli import app

app(["--help"], standalone_mode=False)
print("loaded:", sorted({"torch", "timm", "numpy", "pandas", "matplotlib", "mlflow", "papermill"} & set(sys.modules)))
"""


def test_help_is_there_without_the_heavy_libraries():
    answer = python("-c", ASK_FOR_HELP)
    assert "Usage" in answer
    assert answer.splitlines()[-1] == "loaded: []"


def test_the_module_is_the_same_command():
    answer = python("-m", "vptlib", "--help")
    assert "Usage: vpt" in answer
    for command in ("init", "report", "tasks", "backbones", "doctor"):
        assert command in answer


def failing(error: BaseException):
    def make_report(*_):
        raise error

    return make_report


def test_a_users_mistake_is_one_sentence_on_stderr(monkeypatch):
    monkeypatch.setattr(build, "make_report", failing(UserError("x.yaml: `a` is wrong: fix it.")))
    result = run("report", "x.yaml")
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "Checking x.yaml\n",
        "Error: x.yaml: `a` is wrong: fix it.\n",
    )


def test_a_full_disk_is_one_sentence(monkeypatch):
    monkeypatch.setattr(build, "make_report", failing(OSError(28, "No space left on device", "/somewhere")))
    result = run("report", "x.yaml")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no space left on device at /somewhere: ")
    assert result.stderr.count("\n") == 1


def test_something_unforeseen_keeps_its_traceback_in_a_file(monkeypatch, tmp_path):
    monkeypatch.setattr(ending.tempfile, "tempdir", str(tmp_path))
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
    assert "What is finished is kept" in result.stderr


def test_a_wrong_configuration_leaves_nothing_behind(tmp_path):
    (tmp_path / "mine.yaml").write_text("tasks: [digits]\nstepps: 3\n")
    result = run("report", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "did you mean 'steps'" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_folder_in_place_of_a_configuration_is_answered_with_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    result = run("report", "photos/")
    assert result.exit_code == 1
    assert "first `vpt init photos`, then `vpt report photos.yaml`." in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_home_is_expanded_in_the_paths_of_the_command_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = []
    monkeypatch.setattr(build, "make_report", lambda *given: asked.append(given[:2]) or tmp_path / "index.html")
    (tmp_path / "summary.json").write_text('{"tasks": []}')
    assert run("report", "~/x.yaml", "--out=~/pages").exit_code == 0
    assert run("report", "x.yaml").exit_code == 0
    assert asked == [(tmp_path / "x.yaml", tmp_path / "pages"), (Path("x.yaml"), None)]
    class_folders(tmp_path / "photos", {"a": 8, "b": 8})
    assert run("data", "check", "~/photos", "--sizes=4", "--out=~/page.html").exit_code == 0
    assert (tmp_path / "page.html").is_file()


def test_tasks_and_backbones_are_listed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    tasks = run("tasks").stdout
    for name, entry in TASKS.items():
        assert any(line.startswith(name) and entry.group in line for line in tasks.splitlines())
    assert max(map(len, tasks.splitlines())) <= 100
    assert EMBEDDED in run("backbones").stdout


# ---- vpt doctor -----------------------------------------------------------------------------------------------


@pytest.fixture
def checks(monkeypatch):
    """Leaves `vpt doctor` only these checks: by name, or checks of the test's own."""

    def only(*names, **own):
        chosen = {name: doctor.CHECKS[name] for name in names} | own
        monkeypatch.setattr(doctor, "CHECKS", chosen)

    return only


def test_a_sound_machine_passes(checks):
    checks("Python", "packages", "disk", "tasks")
    result = run("doctor")
    assert result.exit_code == 0
    assert "FAIL" not in result.stdout
    assert "The quickstart can run here" in result.stdout


def test_a_faulty_machine_fails_and_names_the_fault(checks, monkeypatch):
    def no_backbone():
        raise UserError("the weights are not here: fetch them.")

    def no_package():
        raise ImportError("No module named 'gone'")

    checks("disk", backbone=no_backbone, Chromium=no_package)
    monkeypatch.setattr(doctor, "free_bytes", lambda folder: 1e6)
    result = run("doctor")
    assert result.exit_code == 1
    assert "the weights are not here: fetch them." in result.stdout
    assert "No module named 'gone'" in result.stdout
    assert "disk, backbone, Chromium." in result.stderr


def test_the_quickstart_is_examined(checks, monkeypatch):
    monkeypatch.setattr(doctor, "repository", lambda: repository() / "tests")
    checks("quickstart")
    result = run("doctor")
    assert result.exit_code == 1
    assert "quickstart.yaml" in result.stdout


def test_a_missing_or_old_package_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda name: ["no-such-thing>=1", "typer>=999", "pytest; extra == 'dev'"])
    mark, found = doctor.CHECKS["packages"]()
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


@pytest.fixture
def hub(monkeypatch):
    """Sets the address that is used as the hub, and runs the check of it."""
    from huggingface_hub import constants

    def ask(address: str, offline: bool = False) -> str:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        return doctor.CHECKS["model hub"]()

    return ask


def test_a_server_that_refuses_has_answered(server, hub):
    assert hub(f"http://127.0.0.1:{server.server_port}")[0] == "ok"


def test_a_closed_port_has_not(hub):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mark, found = hub(f"http://127.0.0.1:{free.getsockname()[1]}")
    assert mark == "note"
    assert "no answer" in found


def test_the_switch_for_no_network_is_honoured(server, hub):
    mark, found = hub(f"http://127.0.0.1:{server.server_port}", offline=True)
    assert mark == "note"
    assert "HF_HUB_OFFLINE" in found


@pytest.fixture
def clone(tmp_path):
    (tmp_path / ".git").mkdir()
    return tmp_path


def test_what_cannot_be_tested_here_is_named_with_its_fix(monkeypatch, clone):
    monkeypatch.setattr("vptlib.report.pages.find_chromium", lambda: None)
    monkeypatch.setattr("vptlib.bench.servers.postgres_programs", lambda: None)
    monkeypatch.setattr("vptlib.data.tasks.task_is_available", lambda name: (False, "fetch it"))
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "repository", lambda: clone)
    reasons = {value for name, value in vars(doctor).items() if name.startswith("NO_")}
    assert set(doctor.left_out_of_the_tests()) == reasons
    mark, found = doctor.CHECKS["tests"]()
    assert mark == "note"
    assert "apt-get install chromium" in found
    assert "pip install datasets" in found


def test_a_machine_with_everything_leaves_no_test_out(monkeypatch, clone):
    monkeypatch.setattr("vptlib.report.pages.find_chromium", lambda: "/usr/bin/chromium")
    monkeypatch.setattr("vptlib.bench.servers.postgres_programs", lambda: "/usr/bin")
    monkeypatch.setattr("vptlib.data.tasks.task_is_available", lambda name: (True, ""))
    monkeypatch.setattr(doctor, "find_spec", lambda name: "a module")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(doctor, "repository", lambda: clone)
    assert doctor.CHECKS["tests"]() == ("ok", "`make test` tests everything")


@pytest.mark.parametrize(("listed", "mark"), [("Noto Sans CJK JP\n", "ok"), ("", "note")])
def test_fonts_for_japanese_are_looked_for(monkeypatch, tmp_path, listed, mark):
    lister = tmp_path / "fc-list"
    lister.write_text(f"#!/bin/sh\nprintf '{listed}'\n")
    lister.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(lister))
    assert doctor.CHECKS["fonts"]()[0] == mark


def test_every_reason_to_leave_a_test_out_is_one_that_the_doctor_names():
    reasons = {name for name in vars(doctor) if name.startswith("NO_")}
    skips = [
        (path.name, keyword.value)
        for path in (repository() / "tests").glob("test_*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(("mark.skipif", "importorskip"))
        for keyword in call.keywords
        if keyword.arg == "reason"
    ]
    assert len(skips) >= 5
    assert [(name, ast.unparse(why)) for name, why in skips if ast.unparse(why).split(".")[-1] not in reasons] == []


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
    with pytest.raises(UserError, match=r"task 'digits' is not available here \(install this\)"):
        doctor.ready(task="digits")
    monkeypatch.setattr(doctor, "requires", lambda name: ["no-such-thing>=1"])
    with pytest.raises(UserError, match=r"no-such-thing is missing: install with .*, then restart the kernel"):
        doctor.ready()


def test_in_a_notebook_a_users_mistake_is_one_sentence_too():
    code = "from vptlib.errors import UserError; raise UserError('n is 0: take more.')"
    shown = subprocess.run([sys.executable, "-m", "IPython", "--no-banner", "-c", code], capture_output=True, text=True)
    assert shown.stdout.strip() == "Error: n is 0: take more."
