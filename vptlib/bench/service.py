"""What the service costs, for `make bench`: how long images wait, compared with the model's own time for a batch.

Eight clients ask at once, and each sends its next image when it has the answer to the last one. All is taken in turn,
round after round: the model alone, the desk in this process, and the whole service in a process of its own.
"""

import asyncio
import io
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from vptlib.bench.operations import bound, photographs, write_models
from vptlib.bench.prompting import Seconds, paired
from vptlib.operations.bank import PromptBank
from vptlib.operations.predictor import MultiTaskPredictor
from vptlib.operations.records import AnswerRecords
from vptlib.operations.service.desk import Desk
from vptlib.prompting.blocks import ViT
from vptlib.tuning.backbones import EMBEDDED, load_backbone
from vptlib.tuning.training import best_device

TARGET = 2.0  # p95 ÷ the model's own time
MODEL = "the model's own batch"
DESK, SERVICE = "desk", "service over HTTP"
_SECONDS_TO_START = 120
_JPEGS = 16  # different images that are sent


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        image_size, depth: of the embedded backbone, in pixels and blocks.
        clients: that ask at once; also the images of the model's own batch.
        tasks: of the mixed case.
        requests: of each client in each round.
        rounds: in which all cases are taken in turn; one more, the first, does not count.
        side: of the JPEG images that are sent, in pixels.
    """

    image_size: int = 112
    depth: int | None = None
    clients: int = 8
    tasks: int = 8
    requests: int = 20
    rounds: int = 5
    side: int = 300

    def vit(self) -> ViT:
        """The embedded backbone."""
        return load_backbone(EMBEDDED, self.image_size, self.depth).to(best_device())


@dataclass(frozen=True)
class Measured:
    """All results.

    Attributes:
        bounds: case, measured, target, and whether it is met.
        figures: of each case p50 and p95 in milliseconds, and images a second.
    """

    bounds: pd.DataFrame
    figures: pd.DataFrame


@dataclass(frozen=True)
class Load:
    """What one round of a case showed.

    Attributes:
        seconds: from sending each image to its answer.
        wall: seconds for all of them.
    """

    seconds: list[float]
    wall: float


Send = Callable[[int, str, bytes], None]  # client, task, image


def measure(setting: Setting = Setting()) -> Measured:
    """Latencies as ratios to the model's own time for one batch, and the figures behind them."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = write_models(folder, setting.vit(), "vpt-deep", setting.tasks)
        bodies = jpegs(folder, setting.side)
        own = _own_batch(setting, files[0])
        with _desk(files, setting) as by_desk, _service(files, folder, setting) as by_service:
            ways = {DESK: by_desk, SERVICE: by_service}
            return _tables(setting, *_in_turn(setting, own, ways, [path.stem for path in files], bodies))


def jpegs(folder: Path, side: int) -> list[bytes]:
    """Drawn photographs as JPEG files of `side` × `side` pixels."""
    return [_square(path, side) for path in sorted(photographs(folder / "images", _JPEGS).iterdir())]


def _square(path: Path, side: int) -> bytes:
    stream = io.BytesIO()
    with Image.open(path) as image:
        image.resize((side, side)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


# ---- the model alone ------------------------------------------------------------------------------------------------


def _own_batch(setting: Setting, file: Path) -> Callable[[], None]:
    """A pass of the model with a batch that is prepared already, of one task."""
    bank = PromptBank(setting.vit())
    bank.load("own", file)
    images = torch.randn(setting.clients, 3, setting.image_size, setting.image_size, device=best_device())
    predictor = MultiTaskPredictor(bank)

    def run() -> None:
        for logits in predictor.logits(images, ["own"] * setting.clients):
            logits.cpu()

    return run


# ---- the desk, and the service --------------------------------------------------------------------------------------


@contextmanager
def _desk(files: Sequence[Path], setting: Setting) -> Iterator[Send]:
    """Asks a desk of this process, from threads, through one event loop, as the service does."""
    desk, loop = Desk(files=files), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    desk.start()
    thread.start()
    try:
        yield lambda _, task, body: _done(asyncio.run_coroutine_threadsafe(desk.answer(task, body), loop).result())
    finally:
        desk.stop(0)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _done(_: object) -> None:
    pass


@contextmanager
def _service(files: Sequence[Path], folder: Path, setting: Setting) -> Iterator[Send]:
    """Asks the service over loopback; each client has a connection that stays open."""
    process = get_context("spawn")
    ours, theirs = process.Pipe()
    given = ([str(path) for path in files], str(folder), torch.get_num_threads(), theirs)
    server = process.Process(target=serve, args=given, daemon=True)
    server.start()
    try:
        if not ours.poll(_SECONDS_TO_START):
            raise RuntimeError("the service has not started")
        port = ours.recv()
        connections = [HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(setting.clients)]
        yield lambda client, task, body: _post(connections[client], task, body)
        for connection in connections:
            connection.close()
    finally:
        ours.send("stop")
        server.join(_SECONDS_TO_START)


def _post(connection: HTTPConnection, task: str, body: bytes) -> None:
    try:
        status, text = _posted(connection, task, body)
    except (BrokenPipeError, ConnectionResetError):  # the service closes connections that were idle between rounds
        connection.close()
        status, text = _posted(connection, task, body)
    if status != 200:
        raise RuntimeError(f"the service answered {status}: {text[:200]!r}")


def _posted(connection: HTTPConnection, task: str, body: bytes) -> tuple[int, bytes]:
    connection.request("POST", f"/v1/tasks/{task}/answers", body, {"Content-Type": "image/jpeg"})
    response = connection.getresponse()
    return response.status, response.read()


def serve(files: Sequence[str], folder: str, threads: int, ends: Connection) -> None:
    """The whole service, in a process of its own: sends its port, and ends when it is told so."""
    from vptlib.operations.service import wire
    from vptlib.operations.service.access import Access
    from vptlib.operations.service.app import create_app
    from vptlib.operations.service.guard import Load as InHand
    from vptlib.operations.service.metrics import Metrics
    from vptlib.operations.service.settings import Settings

    torch.set_num_threads(threads)
    limits, metrics, in_hand = Settings(asks_per_second=1e6, asks_at_once=10**6), Metrics(), InHand()
    desk, records = Desk(files=files), AnswerRecords(Path(folder) / "answers.db")
    app = create_app(desk, Access(Path(folder) / "tokens.json"), limits, records, metrics, in_hand)
    server = wire.Server(wire.configured(app, limits, metrics.refuse), in_hand, 1.0)

    def end() -> None:
        ends.recv()
        server.should_exit = True

    desk.start()
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        ends.send(listening.getsockname()[1])
        threading.Thread(target=end, daemon=True).start()
        server.run(sockets=[listening])
    desk.stop(0)


# ---- eight clients --------------------------------------------------------------------------------------------------


def closed_loop(send: Send, clients: int, requests: int, tasks: Sequence[str], bodies: Sequence[bytes]) -> Load:
    """Let so many clients send so many images each, one after the other; tasks and images by turns."""

    def client(own: int) -> list[float]:
        seconds = []
        for number in range(requests):
            task, body = tasks[(own + number) % len(tasks)], bodies[(own * requests + number) % len(bodies)]
            start = time.perf_counter()
            send(own, task, body)
            seconds.append(time.perf_counter() - start)
        return seconds

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(client, range(clients)))
    return Load([one for seconds in found for one in seconds], time.perf_counter() - start)


def _in_turn(
    setting: Setting, own: Callable[[], None], ways: dict[str, Send], tasks: Sequence[str], bodies: Sequence[bytes]
) -> tuple[list[float], dict[str, list[Load]]]:
    """Seconds of the model's own batch, and the load of each case, in each round."""
    cases = {
        f"{way}, {many(some)}": partial(closed_loop, send, setting.clients, setting.requests, some, bodies)
        for way, send in ways.items()
        for some in (tasks[:1], tasks)
    }
    alone: list[float] = []
    loads: dict[str, list[Load]] = {name: [] for name in cases}
    for turn in tqdm(range(setting.rounds + 1), desc="service"):
        seconds = statistics.median(_seconds(own) for _ in range(5))
        found = {name: run() for name, run in cases.items()}
        if turn:  # the first passes are slower
            alone.append(seconds)
            for name, load in found.items():
                loads[name].append(load)
    return alone, loads


def many(tasks: Sequence[str]) -> str:
    """How many tasks there are, for people."""
    return "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks mixed"


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


# ---- the tables -----------------------------------------------------------------------------------------------------


def _tables(setting: Setting, alone: list[float], loads: dict[str, list[Load]]) -> Measured:
    seconds: Seconds = {MODEL: alone}
    rows, figures = [], [_figures(setting, f"{MODEL} of {setting.clients}", alone, alone, statistics.median(alone))]
    for name, rounds in loads.items():
        p50, p95 = ([float(np.quantile(load.seconds, share)) for load in rounds] for share in (0.5, 0.95))
        seconds[name] = p95
        rows.append(bound(f"{name}: p95 ÷ {MODEL} of {setting.clients}", paired(seconds, name, MODEL), TARGET))
        wall = statistics.median(load.wall / setting.requests for load in rounds)
        figures.append(_figures(setting, name, p50, p95, wall))
    return Measured(pd.DataFrame(rows), pd.DataFrame(figures))


def _figures(setting: Setting, name: str, p50: list[float], p95: list[float], wall: float) -> dict[str, str]:
    """A row of the second table; `wall` is the seconds for one image of each client."""
    shown = {label: f"{1000 * statistics.median(values):,.0f}" for label, values in (("p50", p50), ("p95", p95))}
    return {
        "case": name,
        "p50, ms": shown["p50"],
        "p95, ms": shown["p95"],
        "images/s": f"{setting.clients / wall:,.0f}",
    }
