"""`vpt serve` and `vpt tokens` as they are typed, with a real model, real images and real clients."""

import io
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from contextlib import contextmanager

import httpx
import numpy as np
import psutil
import pytest
import timm
import torch
from desks import bearer
from exported import answers_for, card_for, learned
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from vptlib.cli import app
from vptlib.operations.artefact import backbone_card, write_artefact
from vptlib.operations.records import AnswerRecords
from vptlib.operations.registry import PromptRegistry
from vptlib.operations.service import logs, wire
from vptlib.operations.service.access import add_token, read_tokens
from vptlib.tuning.backbones import fingerprint, load_backbone

ARCHITECTURE = "vit_tiny_patch16_224"
SECONDS = 90  # until a service answers, on a busy machine


def picture(seed=0, kind="PNG", size=(48, 40)):
    """The bytes of an image."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def bomb():
    """A PNG of a few hundred bytes that claims 2,500 million pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(500))) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The file of a model, and what --backbone must be."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    vit = timm.create_model(ARCHITECTURE, img_size=32, num_classes=3)
    save_file(vit.state_dict(), folder / "own.safetensors", metadata={"architecture": ARCHITECTURE})
    where = f"file:{folder / 'own.safetensors'}"
    vit = load_backbone(where, 32, 1)
    found = fingerprint(vit)
    card = backbone_card(vit, where, "drawn", "ours", found)
    made = learned("vpt-deep", vit)
    write_artefact(folder / "cells.vpt", made, card_for(made, found, backbone=card), answers_for())
    return folder / "cells.vpt", where


class Served:
    """`vpt serve` in a process of its own; what it printed and logged is in files."""

    def __init__(self, folder, model, *options):
        self.folder, self.store = folder, folder / "store"
        self.log, self.out = folder / "log", folder / "out"
        path, backbone = model
        command = [sys.executable, "-m", "vptlib", "serve", str(path), "--backbone", backbone, "--port", "0", *options]
        self.environment = os.environ | {"VPTLIB_STORE": str(self.store), "OMP_NUM_THREADS": "1"}
        with self.log.open("wb") as log, self.out.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=log, env=self.environment, cwd=folder)
        first = self.wait_for(lambda: self.out.read_text().partition("\n")[0])
        self.address = first.split()[2]
        self.port = int(self.address.rpartition(":")[2])

    def wait_for(self, found):
        """What `found` gives, as soon as it gives something."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if given := found():
                return given
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def ask(self, method, path, token=None, **options):
        headers = options.pop("headers", {}) | (bearer(token) if token else {})
        return httpx.request(method, self.address + path, headers=headers, timeout=30, **options)

    def answer(self, body, token):
        return self.ask("POST", "/v1/tasks/cells/answers", token, content=body, headers={"Content-Type": "image/png"})

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def vpt(self, *arguments):
        command = [sys.executable, "-m", "vptlib", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)


@contextmanager
def serving(folder, model, *options):
    token = add_token(folder / "store" / "tokens.yaml", "boss", ["ask", "check", "operate"], [], 1)
    made = Served(folder, model, *options)
    made.token = token
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def served(tmp_path_factory, model):
    with serving(tmp_path_factory.mktemp("served"), model, "--check-share", "1", "--most-memory", "100") as made:
        yield made


# ---- a service ----------------------------------------------------------------------------------------------------


def test_the_first_lines_say_where_it_is_and_how_to_try_it_and_that_works(served):
    (served.folder / "photo.jpg").write_bytes(picture(kind="JPEG"))
    first, second, *_ = served.out.read_text().splitlines()
    assert first.startswith("Listening on http://127.0.0.1:") and "with cells." in first
    tried = subprocess.run(
        ["bash", "-c", second.partition("Try it:")[2]],
        cwd=served.folder,
        env=os.environ | {"TOKEN": served.token},
        capture_output=True,
        check=True,
    )
    assert json.loads(tried.stdout)["task"] == "cells"


def test_an_answer_is_recorded_and_its_truth_too(served):
    given = served.answer(picture(1), served.token).json()
    assert given["check"] is True and abs(sum(given["probabilities"].values()) - 1) < 1e-4
    said = served.ask("POST", f"/v1/answers/{given['id']}/truth", served.token, json={"class": "pit"})
    assert said.status_code == 200, said.text
    frame = AnswerRecords(served.store / "answers.db").frame("cells").set_index("id")
    row = frame.loc[given["id"]]
    assert (row["answer"], row["truth"], row["checked_by"], row["drawn"]) == (given["answer"], "pit", "boss", True)


def test_a_decompression_bomb_is_refused_in_a_sentence(served):
    response = served.answer(bomb(), served.token)
    assert response.status_code == 422 and response.json()["error"]["code"] == "image"
    assert "pixels" in response.text and str(served.folder) not in response.text and "/tmp" not in response.text


def test_what_is_no_image_is_refused_without_a_path_of_the_server(served):
    for body in (b"no image", b"", picture()[:200], b"GIF89a", b"<svg/>", b"\xff\xd8\xff\xe0" + bytes(1000)):
        response = served.answer(body, served.token)
        assert response.status_code == 422, response.text
        assert not set("/\\").intersection(response.json()["error"]["message"]), response.text


def test_tokens_that_are_added_and_removed_count_without_a_restart(served):
    token = served.vpt("tokens", "add", "guest", "--task", "cells").splitlines()[0]
    assert served.answer(picture(2), token).status_code == 200
    assert served.ask("GET", "/metrics", token).status_code == 403
    assert "guest" in served.vpt("tokens", "list")
    served.vpt("tokens", "remove", "guest")
    assert served.answer(picture(2), token).status_code == 401
    assert served.answer(picture(2), served.token).status_code == 200


def malformed(seed, token):
    """A request that is broken somewhere, as bytes."""
    draw = random.Random(seed)
    body = bytearray(picture(seed % 5, draw.choice(["PNG", "JPEG", "TIFF", "BMP", "WEBP"])))
    for _ in range(draw.randint(1, 20)):
        body[draw.randrange(len(body))] = draw.randrange(256)
    body = bytes(body[: draw.choice([len(body), len(body) // 2, 10])])
    name = draw.choice(["cells", "cells", "cells", "../cells", "%00", "%2e%2e%2f", "x" * 5000, "ce%lls", "сells"])
    lines = [
        f"POST /v1/tasks/{name}/answers HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token}",
        "Connection: close",
    ]
    length = len(body) if draw.random() < 0.8 else draw.choice([0, 5, 10**12, "x", -1])
    lines.append(f"Content-Length: {length}" if draw.random() < 0.9 else "Transfer-Encoding: chunked")
    raw = bytearray("\r\n".join([*lines, "", ""]).encode())
    if draw.random() < 0.3:
        raw[draw.randrange(len(raw))] = draw.randrange(256)
    return bytes(raw) + body


def test_two_hundred_malformed_requests_leave_it_as_it_was(served):
    process = psutil.Process(served.process.pid)
    served.answer(picture(3), served.token)
    before = process.memory_info().rss
    for seed in range(200):
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as sock:
            sock.sendall(malformed(seed, served.token))
            sock.shutdown(socket.SHUT_WR)
            found = b"".join(iter(lambda sock=sock: received(sock), b""))
        assert not found or found[:12] != b"HTTP/1.1 500", (seed, found[:500])
    assert served.answer(picture(3), served.token).status_code == 200
    assert process.memory_info().rss - before < 100e6
    assert process.num_fds() < 100


def received(sock):
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b""


def test_its_log_is_json_without_tokens_and_images(served):
    image = picture(4)
    served.answer(image, served.token)
    lines = served.wait_for(lambda: [line for line in served.lines() if line.get("status") == 200])
    assert lines[-1]["token"] == "boss" and lines[-1]["route"] == "/v1/tasks/{name}/answers"
    text = served.log.read_text()
    assert served.token not in text and served.token[4:24] not in text and "PNG" not in text and ".jpg" not in text


def test_its_metrics_are_of_real_models(served):
    served.answer(picture(5), served.token)
    text = served.ask("GET", "/metrics", served.token).text
    assert 'vpt_model_info{backbone="file:own.safetensors"' in text and "vpt_tasks_bytes{backbone=" in text
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(figures["vpt_batch_images_count"]) >= 1
    assert time.time() - float(figures["vpt_last_refresh_timestamp_seconds"]) < 60


# ---- its end ------------------------------------------------------------------------------------------------------


def test_a_signal_lets_what_has_begun_end_and_the_exit_code_is_0(served):  # the last test that asks this service
    with socket.create_connection(("127.0.0.1", served.port)) as sock:
        body = picture()
        lines = ["POST /v1/tasks/cells/answers HTTP/1.1", "Host: x", f"Authorization: Bearer {served.token}"]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
        sock.sendall(head + body[:100])
        time.sleep(0.5)
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert served.ask("GET", "/readyz").status_code == 503
        sock.sendall(body[100:])
        response = b"".join(iter(lambda: received(sock), b""))
    assert response.startswith(b"HTTP/1.1 200")
    assert served.process.wait(60) == 0
    assert "Traceback" not in served.log.read_text() and served.lines()[-1]["event"] == "stopped"
    id = json.loads(response.partition(b"\r\n\r\n")[2])["id"]
    assert id in set(AnswerRecords(served.store / "answers.db").frame("cells")["id"])


# ---- what is refused before it starts -----------------------------------------------------------------------------


def run(*arguments, code=0):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_without_anything_in_production_the_next_command_is_named(own_store):
    said = run("serve", code=1)
    assert said.count(". ") == 0 and "vpt prompts promote NAME NUMBER" in said


def test_by_default_it_serves_what_is_in_production_and_nothing_else(own_store, model, monkeypatch):
    registry = PromptRegistry()
    for name in ("cells", "candidate"):
        registry.register(model[0], name, "maker")
    registry.promote("cells", 1, "approver", gates=lambda *_: [])
    monkeypatch.setattr(wire, "serve", lambda server, listening: None)
    monkeypatch.setattr(logs, "set_up", lambda: None)
    said = run("serve", "--backbone", model[1], "--port", 0)
    assert " with cells/1. " in said and "There are no tokens" in said
    assert "/v1/tasks/cells/answers" in said and "Authorization" not in said


def test_another_host_needs_tokens(own_store, model):
    path, backbone = model
    for host in ("0.0.0.0", "::", "vision.example"):
        said = run("serve", path, "--backbone", backbone, "--host", host, code=1)
        assert f"--host is {host}" in said and "vpt tokens add NAME" in said


def test_a_file_without_any_token_is_refused(own_store, model):
    run("tokens", "add", "camera")
    assert "No token is left" in run("tokens", "remove", "camera")
    assert "nobody could ask" in run("serve", model[0], "--backbone", model[1], code=1)


def test_a_taken_port_is_one_sentence(own_store, model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = run("serve", model[0], "--backbone", model[1], "--port", port, code=1)
    assert f"port {port} at 127.0.0.1 cannot be had" in said and "--port" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--check-share", "2"], "--check-share is 2"),
        (["--key", "k.pem"], "--key goes with --certificate"),
        (["--certificate", "/none.pem"], "--certificate /none.pem"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(own_store, model, options, words):
    assert words in run("serve", model[0], "--backbone", model[1], "--port", "0", *options, code=1)


# ---- tokens -------------------------------------------------------------------------------------------------------


def test_tokens_are_added_listed_and_removed(own_store):
    token = run("tokens", "add", "camera-3", "--role", "ask", "--role", "check", "--task", "cells", "--days", 7)
    listed = run("tokens", "list")
    assert "camera-3" in listed and "ask, check" in listed and "cells" in listed
    assert token.split()[0] not in listed and token.split()[0].startswith("vpt_")
    assert [one.name for one in read_tokens(own_store / "tokens.yaml")] == ["camera-3"]
    run("tokens", "remove", "camera-3")
    assert "There is no token" in run("tokens", "list")
    assert "did you mean 'ask'" in run("tokens", "add", "x", "--role", "akk", code=1)
