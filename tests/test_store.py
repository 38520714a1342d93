"""The store of runs: found after a move, checked, cleaned, and whole after a kill."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from pictures import class_folders, smooth
from stored import CELL, change, file_of, logged, plan, prints, result
from typer.testing import CliRunner

from vptlib.cli import app
from vptlib.study import store as store_module
from vptlib.study.connection import mlflow_client, open_store
from vptlib.study.database import alone
from vptlib.study.leftovers import lock_of
from vptlib.study.plan import Cell
from vptlib.study.store import finished_run, finished_runs, log_run, run_key, table_row
from vptlib.study.temporary import left_folders, temporary_folder

pytestmark = pytest.mark.usefixtures("own_store")

# ---- wherever it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["moved", """it's "mine" #1 100% é 日本"""])
def test_a_moved_store_has_its_runs_and_writes_to_its_new_place_only(own_store, monkeypatch, name):
    first, moved = logged(), own_store.parent / f"{own_store.name} {name}"
    own_store.rename(moved)
    monkeypatch.setenv("VPTLIB_STORE", str(moved))
    ours = plan()
    row = table_row(ours, CELL, finished_run(ours, CELL))
    assert row["run_id"] == first and row["correct"].sum() == 10
    second = logged(cell=Cell("vpt-deep", 40, 0))
    assert not own_store.exists()
    for run_id in (first, second):
        here = file_of(moved, run_id, "test.json")
        assert mlflow_client().get_run(run_id).info.artifact_uri == here.parent.as_uri()  # for MLflow's own pages
        assert Path(mlflow_client().download_artifacts(run_id, "test.json")).read_bytes() == here.read_bytes()


def test_a_copied_store_and_its_original_do_not_touch_each_other(own_store, monkeypatch):
    logged()
    copied = own_store.with_name(f"{own_store.name} copy")
    shutil.copytree(own_store, copied)
    before = prints(own_store)
    monkeypatch.setenv("VPTLIB_STORE", str(copied))
    assert len(finished_runs(plan())) == 1
    logged(cell=Cell("vpt-deep", 40, 0))
    assert prints(own_store) == before
    monkeypatch.setenv("VPTLIB_STORE", str(own_store))
    assert len(finished_runs(plan())) == 1


def test_a_store_that_is_replaced_while_it_is_open_is_opened_again(own_store, empty_database):
    logged()
    own_store.rename(own_store.with_name(f"{own_store.name} away"))
    own_store.mkdir()
    shutil.copy(empty_database, own_store / "mlflow.db")
    assert finished_runs(plan()) == {}
    assert len(list((own_store / "artifacts").iterdir())) == 0


def test_images_of_ones_own_are_found_by_content_after_a_move(own_store, tmp_path):
    old, new = tmp_path / "old", tmp_path / """the "new" one's"""
    class_folders(old, {"a": 60, "b": 60}, draw=smooth)
    about = {"sizes": (20,), "test_images": 10}
    stored = logged(plan(str(old), **about), Cell("linear", 20, 0), items=10)
    old.rename(new)
    assert finished_run(plan(str(new), **about), Cell("linear", 20, 0)).info.run_id == stored


def test_a_run_of_an_earlier_version_is_found_by_its_key_alone(own_store):
    run_id = logged()
    change(
        own_store / "mlflow.db",
        "DELETE FROM tags WHERE key = 'made_in'",
        "UPDATE tags SET value = 'x' WHERE key = 'task'",
    )
    assert finished_run(plan(), CELL).info.run_id == run_id


# ---- files that are not whole -------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def with_results(**columns) -> object:
    def write(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | columns))

    return write


DAMAGES = {
    "gone": ("test.json", Path.unlink),
    "cut": ("test.json", cut),
    "empty": ("test.json", lambda path: path.write_bytes(b"")),
    "zeros": ("test.json", zeros),
    "a list": ("test.json", lambda path: path.write_text("[1]")),
    "too few": ("test.json", with_results(predictions=[1] * 29, correct=[1] * 10 + [0] * 19)),
    "too few in one": ("test.json", with_results(predictions=[1] * 29)),
    "of another run": ("test.json", with_results(correct=[1] * 30)),
    "no truth values": ("test.json", with_results(correct=[10] + [0] * 29)),
    "texts": ("test.json", with_results(predictions=["1"] * 30)),
    "nothing in it": ("test.json", with_results(correct=None)),
    "weights gone": ("weights.safetensors", Path.unlink),
    "weights cut": ("weights.safetensors", cut),
    "weights empty": ("weights.safetensors", lambda path: path.write_bytes(b"")),
    "weights zeros": ("weights.safetensors", zeros),
    "weights too long": ("weights.safetensors", lambda path: path.write_bytes(path.read_bytes() + b"0")),
    "folder gone": (".", shutil.rmtree),
}


@pytest.mark.parametrize(("name", "damage"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_run_whose_files_are_not_whole_counts_as_missing_with_a_sentence(own_store, capfd, name, damage):
    run_id = logged()
    damage(file_of(own_store, run_id, name))
    assert finished_runs(plan()) == {} and finished_runs(plan()) == {}
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "digits linear n=40 s=0" in said and "it is to be made again" in said
    again = logged()
    assert again != run_id and [path.name for path in (own_store / "artifacts").iterdir()] == [again]
    assert capfd.readouterr().err == ""


def test_settings_tried_that_are_not_whole_make_a_published_run_missing(own_store):
    run_id = logged()
    change(own_store / "mlflow.db", "DELETE FROM params WHERE key = 'rates_tried'")
    assert finished_runs(plan()) == {}
    file_of(own_store, run_id, "tried.json").write_text("{}")
    assert len(finished_runs(plan())) == 1


def test_figures_that_are_not_complete_make_a_run_missing(own_store):
    logged()
    change(own_store / "mlflow.db", "DELETE FROM latest_metrics WHERE key = 'best_step'")
    assert finished_runs(plan()) == {}


# ---- killed, or twice ---------------------------------------------------------------------------------------------


def test_a_run_logged_twice_is_one_run(own_store):
    first = logged()
    assert logged() == first and len(list((own_store / "artifacts").iterdir())) == 1


def test_a_run_with_weights_takes_the_place_of_one_without(own_store):
    first = logged(weights=False)
    second = logged()
    assert second != first and logged(weights=False) == second
    assert [path.name for path in (own_store / "artifacts").iterdir()] == [second]


STEPS = ["_series", "write_json", "write_weights", "discard"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_it_is_stored_a_run_is_there_whole_or_not_at_all(own_store, step):
    logged(weights=False)  # so that there is something to discard
    child = os.fork()
    if child == 0:
        setattr(store_module, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        log_run(plan(), CELL, result())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    restart()
    assert len(finished_runs(plan())) == 1
    listed = {run.info.run_id for run in mlflow_client().search_runs([open_store().experiment])}
    assert len(listed) == 1
    assert {path.name for path in (own_store / "artifacts").iterdir()} == listed
    assert list((own_store / "temporary").iterdir()) == []
    logged()
    assert "weights" in finished_run(plan(), CELL).data.tags


def test_of_two_runs_of_one_key_the_whole_one_with_weights_stays(own_store, monkeypatch):
    first = logged()
    whole = file_of(own_store, first, "test.json").read_text()
    file_of(own_store, first, "test.json").write_text("{}")
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "discard", lambda *_: None)  # as if it was killed before
        second = logged()
        file_of(own_store, first, "test.json").write_text(whole)
        file_of(own_store, second, "weights.safetensors").unlink()
    restart()
    assert finished_run(plan(), CELL).info.run_id == first
    assert [path.name for path in (own_store / "artifacts").iterdir()] == [first]


def restart() -> None:
    """Forget what this process has opened and cleaned."""
    store_module.clean_once.cache_clear()


def test_what_killed_processes_left_is_removed_at_the_next_start(own_store):
    kept = logged()
    orphan, part = own_store / "artifacts" / ("0" * 32), own_store / "mlflow.db.0123.part-journal"
    (orphan / "artifacts").mkdir(parents=True)
    (orphan / "artifacts" / "test.json").write_text("{}")
    part.touch()
    key = run_key(plan(), CELL)
    checkpoints = own_store / "checkpoints"
    checkpoints.mkdir()
    for name in (f"{key}-tried.json", f"{key}-0.01.pt", f"{'1' * 32}-tried.json"):
        (checkpoints / name).touch()
    (own_store / "temporary" / "left").mkdir(parents=True)
    checked = CliRunner().invoke(app, ["store", "check"])
    assert checked.exit_code == 0 and "5 of killed processes" in checked.output
    with temporary_folder() as alive:
        restart()
        finished_runs(plan())
        assert left_folders() == [] and alive.is_dir()
    assert [path.name for path in (own_store / "artifacts").iterdir()] == [kept]
    assert not part.exists() and list((own_store / "temporary").iterdir()) == []
    assert [path.name for path in checkpoints.iterdir()] == [f"{'1' * 32}-tried.json"]


def test_a_run_that_another_process_is_storing_is_left_alone(own_store):
    store = open_store()
    with alone(lock_of(store)):
        run_id = store.client.create_run(store.experiment, tags={"key": "k"}).info.run_id
        restart()
        finished_runs(plan())
        assert store.client.get_run(run_id).info.lifecycle_stage == "active"
    restart()
    finished_runs(plan())
    assert store.client.get_run(run_id).info.lifecycle_stage == "deleted"


def test_whole_artefacts_stay_where_the_database_has_no_runs(own_store, empty_database):
    run_id = logged()
    (own_store / "mlflow.db").unlink()
    shutil.copy(empty_database, own_store / "mlflow.db")
    finished_runs(plan())
    assert file_of(own_store, run_id, "test.json").is_file()


# ---- vpt store check ----------------------------------------------------------------------------------------------


def test_vpt_store_check_says_what_is_there_and_changes_nothing(own_store):
    run_id = logged()
    before = prints(own_store)
    sound = CliRunner().invoke(app, ["store", "check"])
    assert sound.exit_code == 0 and prints(own_store) == before
    assert "mlflow.db" in sound.output and "1 finished, 0 of them damaged" in sound.output
    cut(file_of(own_store, run_id, "test.json"))
    damaged = CliRunner().invoke(app, ["store", "check"])
    assert damaged.exit_code == 1
    assert "digits linear n=40 s=0" in damaged.output and "test.json is cut or damaged" in damaged.output


@pytest.mark.parametrize(
    ("content", "says"), [(b"no database at all" * 100, "cannot be used"), (b"", "was not finished: the next study")]
)
def test_vpt_store_check_says_of_a_file_only_what_is_so(own_store, content, says):
    (own_store / "mlflow.db").write_bytes(content)
    found = CliRunner().invoke(app, ["store", "check"]).stdout
    assert says in found and "can be used" not in found and "answers" not in found


def test_vpt_store_check_does_not_say_that_a_dead_server_answers(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    found = CliRunner().invoke(app, ["store", "check"])
    assert found.exit_code == 1 and "cannot be used" in found.stdout and "does not answer" in found.stdout
    assert "answers" not in found.stdout and "finished," not in found.stdout


def test_vpt_store_check_makes_no_store(tmp_path, monkeypatch):
    monkeypatch.setenv("VPTLIB_STORE", str(tmp_path / "none"))
    checked = CliRunner().invoke(app, ["store", "check"])
    assert checked.exit_code == 0 and "There is no store yet" in checked.output
    assert list(tmp_path.iterdir()) == []
