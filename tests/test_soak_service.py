"""The soak of the service in small, and that it finds what it looks for: each fault is planted once."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from soak import page, service
from soak.ledger import Ledger
from soak.scene import Scene

WANTED = {"good": 0.2, "pit": 0.8}


@pytest.fixture
def scene(tmp_path, monkeypatch) -> Scene:
    (tmp_path / "b.safetensors").touch()
    monkeypatch.setenv("SOAK_BACKBONE", str(tmp_path / "b.safetensors"))
    made = Scene(tmp_path / "scene")
    made.store.mkdir()
    return made


@pytest.fixture
def asked() -> service.Service:
    """A service that is not there: what its clients see is planted."""
    return service.Service(0, {}, [], {("d1", "0.png"): WANTED})


@pytest.mark.slow
def test_a_share_of_the_load_is_served_as_it_should_be(tmp_path):
    """In a process of its own, as the soak is."""
    program = (
        "import os\nfrom pathlib import Path\n"
        "from soak import __main__ as soak, service\nfrom soak.ledger import Ledger\n"
        "os.environ['SOAK_BACKBONE'] = str(soak.backbone())\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "print(service.run_part('service', 4, Ledger(folder / 'rows', 1), folder))\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    env |= {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr[-3000:]
    (row,) = Ledger(tmp_path / "rows", 1).rows("service")
    assert row["faults"] == [] and row["statuses"]["good images"]["200"] > 0 and len(row["statuses"]) > 8


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        ({}, []),
        ({"digest": "d2"}, ["an answer names another task, or a model that there is not"]),
        ({"task": "photos"}, ["an answer names another task, or a model that there is not"]),
        ({"probabilities": {"good": 0.21, "pit": 0.79}}, ["an answer is not that of the version that it names"]),
        ({"probabilities": {"pit": 0.8}}, ["an answer is not that of the version that it names"]),
        ({"answer": "good"}, ["an answer is not that of the version that it names"]),
    ],
)
def test_an_answer_that_is_not_that_of_its_version_is_found(asked, change, faults):
    given = {"task": "cells", "digest": "d1", "answer": "pit", "probabilities": WANTED}
    service.judge_answer(asked, "0.png", "cells", given | change)
    assert list(asked.seen.said) == faults


def test_a_status_that_a_client_may_not_get_is_a_fault(asked):
    asked.seen.count("huge bodies", 413, (413, 503))
    asked.seen.count("huge bodies", 500, (413, 503))
    assert asked.seen.said == {"huge bodies got 500": 1} and asked.seen.statuses["huge bodies"].total() == 2


@pytest.mark.parametrize(
    ("megabytes", "fault"),
    [
        ([100.0] * 300, ""),
        ([100.0, 100.0 + service.MOST_MEGABYTES, *[100.0] * 300], ""),
        ([100.0, 101.0 + service.MOST_MEGABYTES, *[100.0] * 300], "the load added"),
        ([100.0 + number for number in range(300)], "the memory grows"),
    ],
)
def test_memory_beyond_its_bound_and_memory_that_grows_are_found(scene, megabytes, fault):
    service.judge_memory(scene, megabytes)
    assert [said[: len(fault)] for said in scene.said] == [fault] * bool(fault)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"event": "request", "status": 200}', ""),
        ('{"event": "request", "status": 500}', "the log has a failure"),
        ('{"event": "odd", "traceback": "KeyError"}', "the log has a failure"),
        ("Traceback (most recent call last)", "a line of the log is no JSON"),
        ('{"token": "vpt_secret"}', "the log has a token"),
        ('{"path": "/etc/passwd"}', "the log has a token"),
    ],
)
def test_what_may_not_be_in_the_log_is_found(scene, tmp_path, line, fault):
    (tmp_path / "log").write_text(f'Listening on http://127.0.0.1:1\nTry it: curl\n{{"event": "first"}}\n{line}\n')
    service.judge_log(scene, tmp_path / "log", {"camera": "vpt_secret"})
    assert [said[: len(fault)] for said in scene.said] == [fault] * bool(fault)


def test_an_answer_that_is_not_in_the_record_or_under_another_model_is_found(scene):
    with closing(sqlite3.connect(scene.store / "answers.db")) as database, database:
        database.execute("CREATE TABLE models (number INTEGER, digest TEXT)")
        database.execute("CREATE TABLE given (id BLOB, model INTEGER)")
        database.execute("INSERT INTO models VALUES (1, 'd1')")
        database.execute("INSERT INTO given VALUES (x'0a', 1), (x'0b', 1)")
    service.judge_records(scene, {"0a": "d1"})
    assert scene.said == []
    service.judge_records(scene, {"0a": "d1", "0b": "d2", "0c": "d1"})
    assert scene.said == ["2 of 3 answers are not in the record, or under another model"]


def test_a_bomb_is_small_and_says_that_it_is_large():
    bomb = service.png_of(60_000)
    assert len(bomb) < 100_000 and int.from_bytes(bomb[16:20], "big") == 60_000


def test_the_page_has_the_statuses_of_all_kinds_of_clients_and_the_faults(tmp_path):
    ledger = Ledger(tmp_path, 0)
    assert service.section(ledger) == ""
    row = {"count": 180, "decisions": 7, "megabytes": [400, 620], "slowest": 0.81, "versions": {"cells/1": 1200}}
    ledger.add("service", 0, **row, statuses={"huge bodies": {"413": 3, "503": 1}}, faults=["3 × odd"])
    text = page.page(ledger, "reliability_of_service.md")
    assert "## The service under load" in text and "| huge bodies | 4 | 413: 3, 503: 1 |" in text
    assert "1,200 images were answered by 1 models" in text and "620 MB at most" in text and "Faults: 1." in text
    assert page.faults(ledger) == ["service: 1 × 3 × odd"]


def test_a_run_that_failed_before_its_load_is_a_fault_without_figures(tmp_path):
    ledger = Ledger(tmp_path, 0)
    ledger.add("service", 0, count=180, faults=["the service did not start"])
    assert service.section(ledger) == "" and page.faults(ledger) == ["service: 1 × the service did not start"]
