"""vptlib.bench.service: the clients, and that the benchmark runs; no time is tested."""

import threading
from pathlib import Path

import pytest
from PIL import Image

from vptlib.bench import service
from vptlib.bench.service import DESK, SERVICE, Setting, closed_loop, jpegs, measure


def test_each_client_sends_its_next_image_when_it_has_the_answer_to_the_last_one():
    sent, busy, lock = [], set(), threading.Lock()

    def send(client, task, body):
        with lock:
            assert client not in busy
            busy.add(client)
            sent.append((client, task, body))
        with lock:
            busy.remove(client)

    load = closed_loop(send, 3, 4, ["a", "b"], [b"1", b"2", b"3"])
    assert len(load.seconds) == len(sent) == 12 and max(load.seconds) <= load.wall
    assert {client for client, *_ in sent} == {0, 1, 2}
    assert [task for client, task, _ in sent if client == 0] == ["a", "b", "a", "b"]
    assert {body for *_, body in sent} == {b"1", b"2", b"3"}


def test_images_are_different_jpeg_files_of_the_given_side(tmp_path):
    bodies = jpegs(tmp_path, 40)
    assert len(set(bodies)) == len(bodies) == 16
    (tmp_path / "one.jpg").write_bytes(bodies[0])
    with Image.open(tmp_path / "one.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (40, 40))


@pytest.mark.slow
def test_the_benchmark_runs_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(service.tempfile, "tempdir", str(tmp_path))
    found = measure(Setting(image_size=28, depth=1, clients=2, tasks=2, requests=2, rounds=1, side=40))
    cases = [f"{way}, {tasks}" for way in (DESK, SERVICE) for tasks in ("1 task", "2 tasks mixed")]
    assert [case.split(":")[0] for case in found.bounds["case"]] == cases
    assert list(found.bounds["target"]) == ["2"] * 4
    for measured, met in zip(found.bounds["measured"], found.bounds["met"], strict=True):
        assert float(measured) > 0 and met == ("yes" if float(measured) <= 2 else "no")
    assert list(found.figures["case"]) == ["the model's own batch of 2", *cases]
    assert list(Path(tmp_path).iterdir()) == []
