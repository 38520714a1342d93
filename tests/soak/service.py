"""`vpt serve` under load: good images, hostile clients and changing versions at once, in a real process on loopback.

Clients of several kinds ask in threads for some seconds, while another process promotes versions and rolls them back.
Each client says what it expects. There is no fault if every status is one that the client may get, each answer is what
`vpt predict` gives with the version that the answer names, each answer is in the record, the memory stays bounded, and
SIGTERM ends the process with 0. The log may have no token and no text of a client.
"""

import http.client
import json
import os
import random
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import dropwhile
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd
import psutil
import torch
import yaml
from exported import answers_for, card_for, learned
from pictures import numbered, smooth

from soak.ledger import Ledger
from soak.processes import Process, afresh
from soak.scene import Scene

PARTS = {"service": 180}  # seconds of load
NAME, FILE = "cells", "photos"  # a prompt of the registry, and a file
VERSIONS, IMAGES, SIDE = 3, 6, 28
METHODS = ("vpt-deep", "linear", "vpt-deep")
CLOSE = 2e-4  # of probabilities, which a batch of another size computes in another order
MOST_MEGABYTES = 900  # that the load may add: half a gigabyte of requests, and pictures that are decoded
SECONDS_TO_START, SECONDS_TO_STOP = 180, 40
PATIENCE = 45  # seconds in which any client must be rid of its connection
NASTY = "of-a-client-\u202e<script>"

# ---- what is served ---------------------------------------------------------------------------------------------


def make_ready(folder: str) -> None:
    """Model files on the embedded backbone (what they learned is drawn), and what `vpt predict` gives with each."""
    from vptlib.cli import app

    models, pictures = Path(folder) / "models", Path(folder) / "pictures"
    models.mkdir()
    numbered(pictures, IMAGES, draw=smooth)
    smooth(99).convert("L").save(pictures / "odd.jpg")
    for number, method in enumerate((*METHODS, "linear")):
        path = models / (f"{number}.vpt" if number < VERSIONS else f"{FILE}.vpt")
        _write_model(path, method, number)
        app(["predict", str(path), str(pictures), "--out", str(path.with_suffix(".parquet"))], standalone_mode=False)


def _write_model(path: Path, method: str, seed: int) -> None:
    from vptlib.operations.artefact import backbone_card, write_artefact
    from vptlib.tuning.backbones import EMBEDDED, fingerprint, load_backbone

    vit = load_backbone(image_size=SIDE)
    found = fingerprint(vit)
    model = learned(method, vit, seed)
    backbone = backbone_card(vit, EMBEDDED, "embedded", "Apache-2.0", found)
    card = card_for(model, found, backbone=backbone, ask={"threshold": 0.6})
    write_artefact(path, model, card, answers_for(seed=seed))


def decide(seed: str, models: str, to: str, stop: str) -> None:
    """Register all versions and promote one; then promote and roll back at random, until it is to stop.

    Args:
        models: the folder of the model files.
        to: a file that appears when the first version is in production; it has the number of decisions at the end.
        stop: a file whose appearance ends it.
    """
    from soak.prompts import passing
    from vptlib.errors import UserError
    from vptlib.operations.registry import PromptRegistry

    registry, draw, done = PromptRegistry(), random.Random(seed), 0
    for number in range(VERSIONS):
        registry.register(Path(models) / f"{number}.vpt", NAME, "ann")
    registry.promote(NAME, 1, "bob", gates=passing)
    Path(to).write_text("0")
    while not Path(stop).exists():
        time.sleep(draw.uniform(1, 5))
        with suppress(UserError):  # nothing was in production before
            if draw.random() < 0.3:
                registry.roll_back(NAME, "bob", "of the soak")
            else:
                registry.promote(NAME, draw.randint(1, VERSIONS), "bob", gates=passing)
            done += 1
    Path(to).write_text(str(done))


# ---- what clients see -------------------------------------------------------------------------------------------


class Reply(NamedTuple):
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Seen:
    """What all clients have seen; several threads write to it.

    Attributes:
        statuses: kind of client → status → how often.
        said: what went wrong, and how often.
        ids: of the answers, with the digest that answered.
        slowest: seconds of the slowest good answer.
        versions: answers by version.
    """

    statuses: dict[str, Counter] = field(default_factory=dict)
    said: Counter = field(default_factory=Counter)
    ids: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0
    versions: Counter = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, status: int | str, allowed: tuple[int | str, ...]) -> None:
        """Count a response, which is a fault if the client may not get it."""
        with self._lock:
            self.statuses.setdefault(kind, Counter())[str(status)] += 1
            if status not in allowed:
                self.said[f"{kind} got {status}"] += 1

    def fault(self, sentence: str) -> None:
        with self._lock:
            self.said[sentence] += 1

    def answered(self, given: dict[str, Any], seconds: float) -> None:
        with self._lock:
            self.ids[given["id"]] = given["digest"]
            self.versions[f"{given['task']}/{given['version']}"] += 1
            self.slowest = max(self.slowest, seconds)


@dataclass
class Service:
    """A running service, as its clients know it.

    Attributes:
        port: on loopback.
        tokens: by name.
        images: files that can be answered.
        expected: (digest, file name) → probabilities by class.
        seen: what the clients see.
    """

    port: int
    tokens: dict[str, str]
    images: list[Path]
    expected: dict[tuple[str, str], dict[str, float]]
    seen: Seen = field(default_factory=Seen)

    def ask(self, method: str, path: str, body: Any = None, token: str = "", **headers: str) -> Reply:
        """One request on a connection of its own."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            given["Authorization"] = f"Bearer {token}"
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(method, path, body, given)
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def send(self, body: bytes, token: str, task: str = NAME, kind: str = "image/png") -> Reply:
        """Ask for an answer."""
        return self.ask("POST", f"/v1/tasks/{quote(task, safe='')}/answers", body, token, Content_Type=kind)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


Client = Callable[[Service, random.Random], None]
BUSY = (429, 503)  # what anybody may get under load


def good(service: Service, draw: random.Random, token: str = "camera-0") -> None:
    """An image that can be answered; the answer must be that of the version that it names."""
    path, task = draw.choice(service.images), draw.choice((NAME, NAME, FILE))
    begun = time.monotonic()
    reply = service.send(path.read_bytes(), service.tokens[token], task)
    service.seen.count("good images", reply.status, (200, *BUSY))
    if reply.status != 200:
        if "retry-after" not in reply.headers:
            service.seen.fault("a refusal because of load has no Retry-After")
        time.sleep(0.2)
        return
    given = json.loads(reply.body)
    service.seen.answered(given, time.monotonic() - begun)
    judge_answer(service, path.name, task, given)
    if draw.random() < 0.1:
        _say_the_truth(service, draw, given["id"])


def judge_answer(service: Service, image: str, task: str, given: dict[str, Any]) -> None:
    """The answer is what `vpt predict` gives with that version."""
    wanted = service.expected.get((given["digest"], image))
    if given["task"] != task or wanted is None:
        service.seen.fault("an answer names another task, or a model that there is not")
        return
    best = max(given["probabilities"], key=given["probabilities"].get)
    off = max(abs(wanted[name] - given["probabilities"].get(name, -1)) for name in wanted)
    if off > CLOSE or given["answer"] != best or set(given["probabilities"]) != set(wanted):
        service.seen.fault("an answer is not that of the version that it names")


def _say_the_truth(service: Service, draw: random.Random, id: str) -> None:
    truth, allowed = draw.choice((("pit", (200, *BUSY)), (NASTY, (422, *BUSY))))
    body = json.dumps({"class": truth})
    reply = service.ask(
        "POST", f"/v1/answers/{id}/truth", body, service.tokens["checker"], Content_Type="application/json"
    )
    service.seen.count("true classes", reply.status, allowed)


def broken(service: Service, draw: random.Random) -> None:
    """A file that is cut, changed or no image at all; a changed one may still be readable."""
    whole = draw.choice(service.images).read_bytes()
    way = draw.randrange(4)
    if way == 0:
        body = whole[: draw.randrange(len(whole))]
    elif way == 1:
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 20)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        body = bytes(changed)
    elif way == 2:
        body = draw.randbytes(draw.randrange(5000))
    else:
        body = NASTY.encode() * 50
    reply = service.send(body, service.tokens["camera-0"], kind=draw.choice(("image/png", "image/tiff", "image/x-odd")))
    service.seen.count("broken images", reply.status, (200, 422, *BUSY))


def bomb(service: Service, draw: random.Random) -> None:
    """A small file of very many pixels: some more than are read, or just as many."""
    side, allowed = draw.choice(((60_000, (422,)), (30_000, (422,)), (7_000, (200, 422))))
    reply = service.send(png_of(side), service.tokens["camera-1"])
    service.seen.count("pixel bombs", reply.status, (*allowed, *BUSY))


def png_of(side: int, rows: int = 7_000) -> bytes:
    """A black square of so many pixels a side, in a few kilobytes; only its first rows are there."""
    line = b"\0" * (1 + (side + 7) // 8)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeezer = zlib.compressobj(9)
    data = b"".join([*(squeezer.compress(line) for _ in range(min(side, rows))), squeezer.flush()])
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def huge(service: Service, draw: random.Random) -> None:
    """A body that is announced, or simply sent, and larger than is taken."""
    head = f"POST /v1/tasks/{NAME}/answers HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    head += f"Authorization: Bearer {service.tokens['camera-0']}\r\n"
    with service.connect() as sock:
        if draw.random() < 0.5:
            sock.sendall(f"{head}Content-Length: {10 ** draw.randint(8, 12)}\r\n\r\n".encode())
        else:
            sock.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            part = b"100000\r\n" + bytes(2**20) + b"\r\n"
            with suppress(OSError):  # it closes in the middle
                for _ in range(80):
                    sock.sendall(part)
        service.seen.count("huge bodies", status_of(sock), (413, "closed", *BUSY))


def status_of(sock: socket.socket) -> int | str:
    """The status that comes next; "closed" if the other side ends, "silent" if nothing comes in time."""
    data = b""
    try:
        while b"\r\n" not in data and (part := sock.recv(4096)):
            data += part
    except TimeoutError:
        return "silent"
    except OSError:
        return "closed"
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", data)
    return int(found[1]) if found else "closed"


def stranger(service: Service, draw: random.Random) -> None:
    """A token that is missing, wrong, expired, without the role, or for another task."""
    body, tokens = service.images[0].read_bytes(), service.tokens
    name, token, task, status = draw.choice(
        (
            ("no token", "", NAME, 401),
            ("a wrong token", "vpt_" + "x" * draw.randint(1, 3000), NAME, 401),
            ("an expired token", tokens["expired"], NAME, 401),
            ("a token without the role", tokens["metrics"], NAME, 403),
            ("a token of another task", tokens["other"], NAME, 404),
        )
    )
    service.seen.count(name, service.send(body, token, task).status, (status, *BUSY))


def trickster(service: Service, draw: random.Random) -> None:
    """A name that leads elsewhere, or a request that is none."""
    names = ("..%2f..%2f..%2fetc%2fpasswd", "%00", "cells%2f1", "../../v1/tasks", "%2e%2e", "a" * 9000, quote(NASTY))
    paths = [f"/v1/tasks/{name}/answers" for name in names] + [f"/v1/answers/{name}/truth" for name in names]
    no_http = (b"\x16\x03\x01\x02\0\x01\0", b"G\0T / HTTP/1.1\r\n\r\n", b"\r\n" * 40 + b"x y\r\n\r\n")
    kind = {"Content_Type": draw.choice(("image/png", "application/json"))}
    if draw.random() < 0.7:
        reply = service.ask("POST", draw.choice(paths), b"{}", service.tokens["checker"], **kind)
        service.seen.count("tricks in names", reply.status, (400, 403, 404, 405, 414, 415, 422, *BUSY))
        return
    with service.connect() as sock:
        sock.sendall(draw.choice(no_http))
        service.seen.count("no HTTP", status_of(sock), (400, 408, 505, "closed"))


def leaver(service: Service, draw: random.Random) -> None:
    """Sends an image, or a part of it, and goes away."""
    body = draw.choice(service.images).read_bytes()
    head = f"POST /v1/tasks/{NAME}/answers HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += f"Authorization: Bearer {service.tokens['camera-1']}\r\n\r\n"
    with service.connect() as sock:
        sock.sendall(head.encode() + body[: draw.choice((len(body), len(body) // 2))])
        if draw.random() < 0.5:  # with a reset
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    service.seen.count("clients that leave", "left", ("left",))
    time.sleep(0.2)


def slow(service: Service, draw: random.Random) -> None:
    """Many connections at once, whose headers or bodies never end; all of them must be closed by the service."""
    head = f"POST /v1/tasks/{NAME}/answers HTTP/1.1\r\nHost: localhost\r\n".encode()
    body = f"Authorization: Bearer {service.tokens['camera-1']}\r\nContent-Length: 900\r\n\r\nsome".encode()
    name, start = draw.choice((("slow headers", head), ("slow bodies", head + body), ("silent connections", b"")))
    socks = []
    with suppress(OSError):  # as many as it takes
        for _ in range(draw.randint(5, 200)):
            socks.append(service.connect())
            socks[-1].sendall(start)
    for sock in socks:
        with sock:
            service.seen.count(name, status_of(sock), (408, 413, "closed", *BUSY))


def reader(service: Service, draw: random.Random) -> None:
    """Whoever watches the service: each answer must come in time."""
    paths = (("/healthz", ""), ("/readyz", ""), ("/v1/tasks", "camera-0"), ("/metrics", "metrics"), ("/", ""))
    path, token = draw.choice((*paths, ("/openapi.json", "")))
    begun = time.monotonic()
    reply = service.ask("GET", path, token=service.tokens.get(token, ""))
    service.seen.count("readers", reply.status, (200, *BUSY) if token else (200,))
    if path == "/healthz" and time.monotonic() - begun > 10:
        service.seen.fault("healthz took more than 10 s")
    time.sleep(0.2)


# Kinds of clients, and how many of each ask at the same time.
CLIENTS: tuple[tuple[Client, int], ...] = (
    (good, 4),
    (broken, 1),
    (bomb, 1),
    (huge, 1),
    (stranger, 1),
    (trickster, 1),
    (leaver, 1),
    (slow, 2),
    (reader, 1),
)

# ---- the load ---------------------------------------------------------------------------------------------------


def loaded(service: Service, seconds: float, seed: str) -> None:
    """Let all clients ask until the time is over."""
    end, threads = time.monotonic() + seconds, []
    for client, count in CLIENTS:
        for number in range(count):
            draw = random.Random(f"{seed} {client.__name__} {number}")
            threads.append(threading.Thread(target=_asking, args=(service, client, number, draw, end)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 4 * PATIENCE)
        if thread.is_alive():
            service.seen.fault("a client was never rid of its connection")


def _asking(service: Service, client: Client, number: int, draw: random.Random, end: float) -> None:
    asking = (lambda: good(service, draw, f"camera-{number}")) if client is good else lambda: client(service, draw)
    while time.monotonic() < end:
        try:
            asking()
        except (ConnectionError, http.client.HTTPException) as error:
            if client in (good, reader, stranger):
                service.seen.fault(f"{client.__name__}: {type(error).__name__}")
        except Exception as error:
            service.seen.fault(f"{client.__name__}: {type(error).__name__}: {error}")


class Memory(threading.Thread):
    """Megabytes of a process, twice a second."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self._process, self._ended = psutil.Process(pid), threading.Event()
        self.megabytes = [self._now()]

    def run(self) -> None:
        """Measure until it is stopped."""
        with suppress(psutil.NoSuchProcess):
            while not self._ended.wait(0.5):
                self.megabytes.append(self._now())

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _now(self) -> float:
        return self._process.memory_info().rss / 2**20


# ---- a whole run ------------------------------------------------------------------------------------------------


def run_part(part: str, seconds: int, ledger: Ledger, folder: Path) -> dict[str, Any]:
    """Serve under load for so many seconds, and keep the row."""
    scene = Scene(folder / part)
    row = served(scene, seconds, f"{ledger.seed}") | {"count": seconds, "faults": scene.said}
    ledger.add(part, 0, **row)
    scene.clear()
    return row


def served(scene: Scene, seconds: float, seed: str) -> dict[str, Any]:
    """Start a service, load it, look at what is left of it. What is wrong is added to `scene.said`."""
    models, to, stop = (scene.folder / name for name in ("models", "decisions.txt", "stop"))
    if not scene.ended_well(_started(scene, "make_ready", folder=str(scene.folder)), "the making of the models"):
        return {}
    deciding = _started(scene, "decide", seed=seed, models=str(models), to=str(to), stop=str(stop))
    _wait(lambda: to.exists() or deciding.ended(), SECONDS_TO_START)
    tokens = add_tokens(scene)
    process, log, port = serve(scene, models / f"{FILE}.vpt")
    if port is None:
        scene.said.append(f"the service did not start: {log.read_text(errors='replace')[-500:]}")
        process.kill()
        deciding.kill(group=True)
        return {}
    images = sorted((scene.folder / "pictures").iterdir())
    service, memory = Service(port, tokens, images, predicted(models)), Memory(process.pid)
    memory.start()
    loaded(service, seconds, seed)
    stop.touch()
    scene.ended_well(deciding, "who promotes and rolls back")
    _judge_the_end(scene, service, process)
    memory.stop()
    judge_memory(scene, memory.megabytes)
    judge_log(scene, log, tokens)
    judge_records(scene, service.seen.ids)
    scene.said += [f"{count} × {said}" for said, count in service.seen.said.items()]
    return {
        "statuses": {kind: dict(found) for kind, found in sorted(service.seen.statuses.items())},
        "versions": dict(service.seen.versions),
        "decisions": int(to.read_text()),
        "megabytes": [round(memory.megabytes[0]), round(max(memory.megabytes))],
        "slowest": round(service.seen.slowest, 2),
    }


def predicted(models: Path) -> dict[tuple[str, str], dict[str, float]]:
    """(digest of a model file, name of an image) → probabilities by class, as `vpt predict` wrote them."""
    from vptlib.operations.artefact import read_artefact

    found = {}
    for model in sorted(models.glob("*.vpt")):
        digest = read_artefact(model).digest
        for row in pd.read_parquet(model.with_suffix(".parquet")).to_dict("records"):
            shares = {name.removeprefix("p: "): share for name, share in row.items() if name.startswith("p: ")}
            found[digest, Path(row["file"]).name] = shares
    return found


def add_tokens(scene: Scene) -> dict[str, str]:
    """Tokens by name, as `vpt tokens add` makes them; one of them has expired since."""
    from vptlib.operations.service.access import add_token

    path = scene.store / "tokens.yaml"
    given = {f"camera-{number}": (["ask"], []) for number in range(4)} | {
        "checker": (["ask", "check"], []),
        "metrics": (["operate"], []),
        "other": (["ask"], [FILE]),
        "expired": (["ask"], []),
    }
    tokens = {name: add_token(path, name, roles, tasks, 1) for name, (roles, tasks) in given.items()}
    kept = yaml.safe_load(path.read_text())
    for token in kept["tokens"]:
        if token["name"] == "expired":
            token["expires"] = datetime.now(UTC) - timedelta(seconds=1)
    path.write_text(yaml.safe_dump(kept))
    return tokens


def serve(scene: Scene, file: Path) -> tuple[subprocess.Popen, Path, int | None]:
    """Start `vpt serve`; its process, its log, and its port, or None if it did not start."""
    log = scene.folder / "service.txt"
    command = [sys.executable, "-m", "vptlib", "serve", NAME, str(file), "--port", "0"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=os.environ | scene.environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    found = _wait(
        lambda: re.search(r"Listening on http://127\.0\.0\.1:(\d+)", log.read_text()) or process.poll() is not None,
        SECONDS_TO_START,
    )
    return process, log, int(found[1]) if isinstance(found, re.Match) else None


# ---- what must hold ---------------------------------------------------------------------------------------------


def _judge_the_end(scene: Scene, service: Service, process: subprocess.Popen) -> None:
    """It still answers; SIGTERM ends it with 0, and what it has in hand then is answered or refused, not lost."""
    if process.poll() is not None:
        scene.said.append(f"the service ended by itself, with {process.returncode}")
        return
    _wait(lambda: service.ask("GET", "/readyz").status == 200, PATIENCE)
    path = service.images[0]
    for task in (NAME, FILE):
        reply = service.send(path.read_bytes(), service.tokens["checker"], task)
        service.seen.count("an image after the load", reply.status, (200,))
        if reply.status == 200:
            given = json.loads(reply.body)
            service.seen.answered(given, 0)
            judge_answer(service, path.name, task, given)
    last = threading.Thread(target=_last_image, args=(service, path))
    last.start()
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        code = f"nothing within {SECONDS_TO_STOP} s"
    last.join(PATIENCE)
    if code != 0:
        scene.said.append(f"SIGTERM ended the service with {code}")


def _last_image(service: Service, path: Path) -> None:
    try:
        reply = service.send(path.read_bytes(), service.tokens["checker"])
    except OSError:
        service.seen.count("an image at the end", "closed", ("closed",))  # it came when all was over
        return
    service.seen.count("an image at the end", reply.status, (200, 503))
    if reply.status == 200:
        given = json.loads(reply.body)
        service.seen.answered(given, 0)
        judge_answer(service, path.name, NAME, given)


def judge_memory(scene: Scene, megabytes: list[float]) -> None:
    """It adds no more than it may, and its middle does not grow from the second third to the last one."""
    if (more := max(megabytes) - megabytes[0]) > MOST_MEGABYTES:
        scene.said.append(f"the load added {more:.0f} MB, more than {MOST_MEGABYTES}")
    third = len(megabytes) // 3
    if third >= 60:
        second, last = (sorted(part)[third // 2] for part in (megabytes[third : 2 * third], megabytes[2 * third :]))
        if last > 1.15 * second + 50:
            scene.said.append(f"the memory grows: from {second:.0f} to {last:.0f} MB")


def judge_log(scene: Scene, log: Path, tokens: dict[str, str]) -> None:
    """Each line is JSON, none is of an unexpected failure, and none has a token or a text of a client."""
    text = log.read_text()
    if any(token in text for token in tokens.values()) or "of-a-client" in text or "passwd" in text:
        scene.said.append("the log has a token, or a text of a client")
    for line in dropwhile(lambda line: not line.startswith("{"), text.splitlines()):  # it begins with words for people
        try:
            found = json.loads(line)
        except ValueError:
            scene.said.append(f"a line of the log is no JSON: {line[:200]}")
            return
        if "traceback" in found or found.get("status") == 500:
            scene.said.append(f"the log has a failure: {line[-400:]}")
            return


def judge_records(scene: Scene, ids: dict[str, str]) -> None:
    """Each answer that a client got is in the record, under the model that gave it."""
    with closing(sqlite3.connect(f"file:{scene.store / 'answers.db'}?mode=ro", uri=True)) as database:
        query = "SELECT lower(hex(id)), digest FROM given JOIN models ON model = models.number"
        kept = dict(database.execute(query).fetchall())
    if lost := sum(kept.get(id) != digest for id, digest in ids.items()):
        scene.said.append(f"{lost} of {len(ids)} answers are not in the record, or under another model")


# ---- processes --------------------------------------------------------------------------------------------------


def _started(scene: Scene, action: str, **given: Any) -> Process:
    log = scene.folder / f"{action}.txt"
    return afresh("soak.service", [action, json.dumps(given)], scene.environment(), log)


def _wait(what: Callable[[], Any], seconds: float) -> Any:
    """What `what` gives as soon as it is true; None if that is never so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.2)
    return None


# ---- the table --------------------------------------------------------------------------------------------------


def section(ledger: Ledger) -> str:
    """The part of the report's page; nothing if the service was not tried."""
    rows = [row for row in ledger.rows("service") if "statuses" in row]
    if not rows:
        return ""
    (row,) = rows
    lines = ["| clients | requests | status: how often |", "| --- | --- | --- |"]
    for kind, found in row["statuses"].items():
        counts = ", ".join(f"{status}: {count:,}" for status, count in sorted(found.items()))
        lines.append(f"| {kind} | {sum(found.values()):,} | {counts} |")
    before, most = row["megabytes"]
    return (
        f"## The service under load\n\n`vpt serve` on loopback for {row['count']} s: {sum(row['versions'].values()):,} "
        f"images were answered by {len(row['versions'])} models, while {row['decisions']} promotions and roll-backs "
        f"were made. The slowest answer took {row['slowest']:.1f} s. The process had {before:,} MB at first and "
        f"{most:,} MB at most. There is no fault if each client gets a status that is meant for it, each answer is "
        "what `vpt predict` gives with the version that is named in it, each answer is in the record, the log has no "
        f"token and no text of a client, and SIGTERM ends the process with 0. Faults: {len(row['faults'])}.\n\n"
        + "\n".join(lines)
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"make_ready": make_ready, "decide": decide}[sys.argv[1]](**json.loads(sys.argv[2]))
