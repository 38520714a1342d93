"""What operations cost, for `make bench`: one backbone for many tasks, a large registry, `vpt predict`, and scale.

Batches of one task and of many are taken in turn, as in `vptlib.bench.prompting`. The trained numbers are drawn, which
costs the same as learned ones. All files are real: a bank loads them as it does in use.
"""

import copy
import ctypes
import gc
import hashlib
import json
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, count
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator, StrMethodFormatter
from PIL import Image
from torch import Tensor
from torch.utils.data import TensorDataset
from tqdm import tqdm

from vptlib.bench.prompting import Seconds, alternated, bytes_in_use, paired
from vptlib.data.files import ImageFiles
from vptlib.data.preparing import ImageSet, prepare
from vptlib.evidence.answers import Answers
from vptlib.operations.artefact import Card, backbone_card, read_artefact, write_artefact
from vptlib.operations.bank import PromptBank
from vptlib.operations.features import reference_of
from vptlib.operations.gates import GateResult
from vptlib.operations.ledger import PROMOTED, Entry, model_of
from vptlib.operations.predict import BATCH, predict
from vptlib.operations.predictor import MultiTaskPredictor
from vptlib.operations.registry import PromptRegistry
from vptlib.prompting.blocks import ViT
from vptlib.report.style import COLOURS, INK, LINE, MARKERS, SOFT, TITLES, styled_panels
from vptlib.statement import statement
from vptlib.study.connection import open_store
from vptlib.tuning.backbones import (
    EMBEDDED,
    EMBEDDED_DEPTH,
    EMBEDDED_IMAGE_SIZE,
    load_backbone,
    origin,
    preprocessing,
)
from vptlib.tuning.methods import build_method
from vptlib.tuning.training import best_device
from vptlib.wording import storage

CLASSES, PROMPTS, LENGTHS = 10, 10, (5, 10, 20, 50)
TEST_IMAGES = 400  # of which a model file keeps the answers
SIDES = (480, 360)
DRAWN = 20  # different pictures among the JPEG files
METHODS = {"full": {}, "vpt-deep": {"num_prompts": PROMPTS}, "linear": {}}


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        image_size, depth: of the embedded backbone, in pixels and blocks.
        batch: images in a batch, and the tasks of the batch with the most of them.
        few: tasks of the other mixed batch.
        rounds: of batches; `registry_rounds` and `predict_rounds` of what is slower.
        switches, loads: of tasks that are in memory, and of those that are not.
        names, versions: of the registry, and of each name.
        jpegs: new images for `vpt predict`.
        predict_sizes: image sizes of it; the first has the target.
        prompts, models: how many files of tasks and of whole models are made and loaded.
        scale: numbers of tasks that the table of scale has.
    """

    image_size: int = EMBEDDED_IMAGE_SIZE
    depth: int = EMBEDDED_DEPTH
    batch: int = 64
    few: int = 8
    rounds: int = 15
    registry_rounds: int = 5
    predict_rounds: int = 3
    switches: int = 1000
    loads: int = 15
    names: int = 100
    versions: int = 100
    jpegs: int = 1000
    predict_sizes: tuple[int, ...] = (112, EMBEDDED_IMAGE_SIZE)
    prompts: int = 100
    models: int = 3
    scale: tuple[int, ...] = (1, 3, 10, 100, 1000, 10_000)

    def vit(self, image_size: int | None = None) -> ViT:
        """The embedded backbone, by default at `image_size`."""
        return load_backbone(EMBEDDED, image_size or self.image_size, self.depth).to(best_device())

    def files_of(self, method: str) -> int:
        """How many files of a method are made."""
        return self.models if method == "full" else self.prompts


@dataclass(frozen=True)
class Measured:
    """All results.

    Attributes:
        bounds: case, measured, target, and whether it is met.
        milliseconds: the medians behind them.
        scale: method, tasks, bytes on disk and in memory, and whether they are measured or computed.
    """

    bounds: pd.DataFrame
    milliseconds: pd.DataFrame
    scale: pd.DataFrame


def measure(setting: Setting = Setting()) -> Measured:
    """Ratios and bounds with their targets, the figures behind them, and what many tasks need."""
    with tempfile.TemporaryDirectory() as place:
        folder, vit = Path(place), setting.vit()
        files = {method: write_models(folder, vit, method, setting.files_of(method)) for method in METHODS}
        batches = batch_seconds(setting, vit, files["vpt-deep"])
        tasks = task_seconds(setting, vit, files["vpt-deep"])
        prompts = alone(registry_in, folder / "store", files["vpt-deep"][0], setting)
        images = photographs(folder / "images", setting.jpegs)
        answers = {size: predict_seconds(setting, folder, images, size) for size in setting.predict_sizes}
        scale = footprints(setting, vit, files)
        grown = alone(growths, setting, files)
    bounds = [
        *_batch_rows(setting, batches),
        *_task_rows(tasks),
        *_registry_rows(setting, prompts),
        *_predict_rows(setting, answers),
        *_growth_rows(setting, grown),
    ]
    seconds = batches | tasks | prompts
    for size, own in answers.items():
        seconds |= {f"{name}, {size} px": values for name, values in own.items()}
    return Measured(pd.DataFrame(bounds), _milliseconds(seconds), scale)


# ---- model files ------------------------------------------------------------------------------------------------


def write_models(folder: Path, vit: ViT, method: str, files: int, **options: Any) -> list[Path]:
    """So many `.vpt` files of a method, whose trained numbers are drawn; `options` replace those of `METHODS`."""
    options = METHODS[method] | options
    model = build_method(method, copy.deepcopy(vit), CLASSES, **options).to(best_device())
    classes = tuple(f"class {number}" for number in range(CLASSES))
    card = Card(
        title="drawn",
        method=method,
        options=model.options,
        class_names=classes,
        preprocessing=preprocessing(vit),
        backbone=backbone_card(vit, EMBEDDED, *origin(EMBEDDED)),
        data={"task": "drawn", "test_images": TEST_IMAGES},
    )
    answers = _drawn_answers(classes)
    reference = reference_of(torch.randn(TEST_IMAGES, model.head.in_features))
    size = vit.patch_embed.img_size[0]
    name = "-".join(map(str, (method, size, *options.values())))
    paths = [folder / f"{name}-{number:03}.vpt" for number in range(files)]
    for path in tqdm(paths, desc=f"files of {method}"):
        with torch.no_grad():
            for tensor in model.trained_state().values():
                tensor.add_(0.01 * torch.randn_like(tensor))
        write_artefact(path, model, card, answers, reference)
    return paths


def _drawn_answers(classes: tuple[str, ...]) -> Answers:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(len(classes)), TEST_IMAGES).astype(np.float32)  # I C
    truth = np.arange(TEST_IMAGES) % len(classes)
    return Answers(probabilities.argmax(axis=1)[None], truth, classes, probabilities[None])


# ---- batches of many tasks ----------------------------------------------------------------------------------------

BARE, ONE = "batch, bare backbone", "batch, 1 task"


def batch_seconds(setting: Setting, vit: ViT, files: Sequence[Path]) -> Seconds:
    """Seconds of one batch of images: the bare backbone, one task, and many, of the same length and of several."""
    images = torch.randn(setting.batch, 3, *vit.patch_embed.img_size, device=best_device())
    bank = PromptBank(vit)
    predictor = MultiTaskPredictor(bank)
    with tempfile.TemporaryDirectory() as place:
        others = [write_models(Path(place), vit, "vpt-deep", 1, num_prompts=length)[0] for length in LENGTHS]
        same, mixed = (loaded(bank, kind, group, setting.batch) for kind, group in (("a", files), ("b", others)))
    runs: dict[str, Callable[[], Any]] = {BARE: torch.no_grad()(partial(vit, images))}
    runs[ONE] = partial(predictor.logits, images, [same[0]] * setting.batch)
    for tasks in (setting.few, setting.batch):
        for group, several in ((same, False), (mixed, True)):
            names = [group[image % tasks] for image in range(setting.batch)]
            runs[_many(tasks, several)] = partial(predictor.logits, images, names)
    return alternated(runs, setting.rounds, "batches")


def _many(tasks: int, several: bool) -> str:
    return f"batch, {tasks} tasks{', of several lengths' if several else ''}"


def loaded(bank: PromptBank, kind: str, files: Sequence[Path], tasks: int) -> list[str]:
    """Names of tasks that a bank has from now on, from these files by turns."""
    names = [f"{kind}{number:03}" for number in range(tasks)]
    for number, name in enumerate(names):
        bank.load(name, files[number % len(files)])
    return names


# ---- one task after another ---------------------------------------------------------------------------------------

SWITCH, LOAD = "switching to a task in memory", "loading a task from its file"


def task_seconds(setting: Setting, vit: ViT, files: Sequence[Path]) -> Seconds:
    """Seconds until another task can answer: one in memory, and one that is read, built, checked and published."""
    bank = PromptBank(vit)
    names = loaded(bank, "a", files, len(files))
    switches = [_seconds(partial(bank.resident, names[number % len(names)])) for number in range(setting.switches)]
    loads = [_seconds(partial(bank.load, "new", files[number % len(files)])) for number in range(setting.loads)]
    return {SWITCH: switches, LOAD: loads}


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


# ---- a large registry ---------------------------------------------------------------------------------------------

LIST, SEARCH, AS_OF = "registry, list", "registry, search", "registry, as-of"
_PATTERN = "pattern"
_TABLES = ("registered_models", "registered_model_tags", "model_versions", "model_version_tags")
_PROMOTED_EVERY = 10


def registry_in(store: Path, file: Path, setting: Setting) -> Seconds:
    """As `registry_seconds`, with a new store of runs in this folder; for a process of its own."""
    os.environ["VPTLIB_STORE"] = str(store)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return registry_seconds(file, setting)


def registry_seconds(file: Path, setting: Setting) -> Seconds:
    """Seconds to list all versions, to search all of them, and to find what answered in the middle of a history."""
    plant(file, setting.names, setting.versions)
    registry, name = PromptRegistry(), _line(setting.names - 1)
    when = _check_planted(registry, name, setting)
    runs = {
        LIST: registry.versions,
        SEARCH: partial(registry.search, name),
        AS_OF: partial(registry.as_of, name, when),
    }
    return alternated(runs, setting.registry_rounds, "registry")


def _check_planted(registry: PromptRegistry, name: str, setting: Setting) -> datetime:
    """See that the planted registry is a true one. Gives the moment of the entry in the middle of a history."""
    found = {version.name for version in registry.search(name)}
    assert len(registry.versions()) == setting.names * setting.versions and found == {name}
    assert not any(registry.verify(_line(number)) for number in range(setting.names))
    history = registry.history(name)
    when = history[len(history) // 2].at
    promoted = [entry.version for entry in history if entry.kind == PROMOTED and entry.at <= when]
    answering = registry.as_of(name, when).version
    assert answering is not None and answering.number == promoted[-1]
    return when


def plant(file: Path, names: int, versions: int) -> None:
    """Fill the registry of this process's store: so many names, and of each so many versions, a tenth promoted.

    One version is registered and promoted as users do it. Its rows are then copied in the database, with other names,
    numbers and digests, and with the hashes that these entries must have.
    """
    registry = PromptRegistry()
    registry.register(file, _PATTERN, "ann", {"site": "Kyoto", "product": "cells"})
    registry.promote(_PATTERN, 1, "bob", gates=_passed, reason="all gates passed")
    pattern = registry.history(_PATTERN)
    database = open_store().address.file
    assert database is not None  # the store is a folder
    with closing(sqlite3.connect(database)) as opened, opened:
        rows = {table: _rows_of(opened, table) for table in _TABLES}
        for table in (*_TABLES, "registered_model_aliases"):
            opened.execute(f"DELETE FROM {table} WHERE name IN (?, ?)", (_PATTERN, model_of(_PATTERN)))
        for number in range(names):
            for table, copies in _copies(rows, pattern, _line(number), versions).items():
                _insert(opened, table, copies)


def _line(number: int) -> str:
    return f"line {number:03}"


def _passed(*_: Any) -> list[GateResult]:
    """As many results as a usual promotion has; they only lie in the ledger."""
    what = statement("gate_same_classes", classes=CLASSES)
    return [GateResult(kind, True, what) for kind in ("canaries", "classes", "accuracy", "miss_rate", "no_worse")]


def _rows_of(opened: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    found = opened.execute(f"SELECT * FROM {table} WHERE name IN (?, ?)", (_PATTERN, model_of(_PATTERN)))
    columns = [column for column, *_ in found.description]
    return [dict(zip(columns, row, strict=True)) for row in found]


def _insert(opened: sqlite3.Connection, table: str, rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    columns = list(rows[0])
    marks = ", ".join("?" * len(columns))
    opened.executemany(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", [tuple(row.values()) for row in rows]
    )


Rows = dict[str, list[dict[str, Any]]]


def _copies(rows: Rows, pattern: Sequence[Entry], name: str, versions: int) -> dict[str, Iterator[dict[str, Any]]]:
    """The rows of a prompt, by table: of the prompt itself, and of its ledger."""
    history = _history(pattern, name, versions)
    texts = {_head(pattern[-1]): _head(history[-1])}
    digest = pattern[0].digest
    kinds = {entry.kind: entry for entry in pattern}

    def of_model(table: str) -> Iterator[dict[str, Any]]:
        for row in rows[table]:
            yield _changed(row, texts, name=name if row["name"] == _PATTERN else model_of(name))

    def of_versions(table: str) -> Iterator[dict[str, Any]]:
        own, of_ledger = ([row for row in rows[table] if (row["name"] == _PATTERN) is it] for it in (True, False))
        for version in range(1, versions + 1):
            for row in own:
                yield _changed(row, {digest: _digest(name, version)}, name=name, version=version)
        for entry in history:
            of_kind = kinds[entry.kind]
            for row in of_ledger:
                if row["version"] == of_kind.number:
                    yield _changed(row, {_text(of_kind): _text(entry)}, name=model_of(name), version=entry.number)

    return {table: (of_versions if "version" in table else of_model)(table) for table in _TABLES}


def _changed(row: dict[str, Any], texts: Mapping[str, str], **changes: Any) -> dict[str, Any]:
    """A row with other columns, and with other texts in all columns."""
    for old, new in texts.items():
        row = {column: value.replace(old, new) if isinstance(value, str) else value for column, value in row.items()}
    return row | changes


def _history(pattern: Sequence[Entry], name: str, versions: int) -> list[Entry]:
    """A chain: each version is registered, and every tenth one is promoted; ten minutes lie between entries."""
    registered, promoted = pattern
    kinds = [
        (of_kind, version)
        for version in range(1, versions + 1)
        for of_kind in ((registered, promoted) if version % _PROMOTED_EVERY == 1 else (registered,))
    ]
    start, entries = datetime.now(UTC) - timedelta(minutes=10 * len(kinds)), []
    for number, (of_kind, version) in enumerate(kinds, 1):
        own = {"number": number, "name": name, "version": version, "digest": _digest(name, version)}
        own |= {"at": start + timedelta(minutes=10 * (number - 1)), "mark": f"{number:016x}"}
        entry = replace(of_kind, **own, before=entries[-1].hash if entries else "")
        entries.append(replace(entry, hash=_sha256(_content(entry))))
    return entries


def _text(entry: Entry) -> str:
    """An entry as the ledger keeps it."""
    return f"{entry.hash} {_content(entry)}"


def _content(entry: Entry) -> str:
    parts = {name: value for name, value in entry.plain().items() if name != "hash"}
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))


def _head(entry: Entry) -> str:
    return f"{entry.number} {entry.hash}"


def _digest(name: str, version: int) -> str:
    return _sha256(f"{name}/{version}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# ---- new images ---------------------------------------------------------------------------------------------------

ENGINE, FORWARD, DECODING = "vpt predict", "bare backbone on decoded images", "decoding alone"


def predict_seconds(setting: Setting, folder: Path, images: Path, size: int) -> Seconds:
    """Seconds to answer all images, to pass them through the bare backbone when decoded, and to decode them."""
    vit = setting.vit(size)
    (file,) = write_models(folder, vit, "vpt-deep", 1)
    decode = partial(_decoded, sorted(images.iterdir()), vit)
    parts = decode().to(best_device()).split(BATCH)
    number = count()

    def engine() -> None:
        predict(read_artefact(file), [images], folder / f"answers-{size}-{next(number)}.csv", progress=False)

    @torch.inference_mode()
    def forward() -> None:
        for part in parts:
            vit(part).cpu()

    vit(parts[0])  # the first pass of a size is slower
    runs = {ENGINE: engine, FORWARD: forward, DECODING: decode}
    return _in_turn(runs, setting.predict_rounds, f"vpt predict at {size} px")


def _in_turn(runs: dict[str, Callable[[], Any]], rounds: int, title: str) -> Seconds:
    """As `alternated`, but the first round counts, too: a round takes long."""
    seconds: Seconds = {name: [] for name in runs}
    for _ in tqdm(range(rounds), desc=title):
        for name, run in runs.items():
            seconds[name].append(_seconds(run))
    return seconds


def _decoded(paths: Sequence[Path], vit: ViT) -> Tensor:
    """All images as the backbone takes them, `N 3 S S`."""
    wanted = preprocessing(vit)
    pixels = ImageFiles(paths).decoded(np.arange(len(paths)), wanted.size, wanted.interpolation, wanted.aspect)
    data: TensorDataset = prepare(ImageSet(pixels, np.zeros(len(paths), np.int64)), wanted)
    return data.tensors[0][:]


def photographs(folder: Path, files: int) -> Path:
    """So many JPEG files in a new folder: some drawn scenes of smooth colours, edges and grain, again and again."""
    folder.mkdir()
    paths = [folder / f"{number:05}.jpg" for number in range(files)]
    for number, path in enumerate(paths):
        if number < DRAWN:
            Image.fromarray(_scene(number)).save(path, quality=90)
        else:
            shutil.copyfile(paths[number % DRAWN], path)
    return folder


def _scene(number: int) -> np.ndarray:
    """uint8 `H W 3`."""
    random, (width, height) = np.random.default_rng(number), SIDES
    y, x = np.mgrid[0:height, 0:width] / height
    waves = [np.sin(2 * np.pi * (a * x + b * y + c)) for a, b, c in random.uniform(-2, 2, (3, 3))]
    scene = 0.5 + 0.3 * np.stack(waves, axis=-1)  # H W 3
    for across, down, radius in random.uniform((0, 0, 0.05), (4 / 3, 1, 0.2), (12, 3)):
        scene[(x - across) ** 2 + (y - down) ** 2 < radius**2] = random.uniform(0, 1, 3)
    scene += random.normal(0, 0.03, (height, width, 1))
    return (255 * scene.clip(0, 1)).round().astype(np.uint8)


# ---- scale --------------------------------------------------------------------------------------------------------


def footprints(setting: Setting, vit: ViT, files: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """Bytes on disk and in memory by method and number of tasks.

    Up to the number of files, they are the files' sizes and what a bank of them counts. Beyond, each further task is
    computed from the mean of these. Prompts and linear probes need the backbone once; whole models do without it.
    """
    shared = sum(tensor.nbytes for tensor in chain(vit.parameters(), vit.buffers()))
    rows = []
    for method, paths in files.items():
        base = 0 if method == "full" else shared
        disk, memory = _needs(vit, paths)
        for tasks in setting.scale:
            needed = {name: base + _sum(sizes, tasks) for name, sizes in (("disk", disk), ("memory", memory))}
            rows.append({"method": method, "tasks": tasks} | needed | {"measured": tasks <= len(paths)})
    return pd.DataFrame(rows)


def _needs(vit: ViT, paths: Sequence[Path]) -> tuple[list[int], list[int]]:
    """Bytes of each file, and of each of its tasks in a bank."""
    bank = PromptBank(vit)
    names = loaded(bank, "a", paths, len(paths))
    return [path.stat().st_size for path in paths], [bank.resident(name).bytes for name in names]


def _sum(sizes: Sequence[int], tasks: int) -> int:
    """Of the first `tasks` sizes; further ones are as their mean."""
    return sum(sizes[:tasks]) + round(max(0, tasks - len(sizes)) * statistics.mean(sizes))


def growths(setting: Setting, files: Mapping[str, Sequence[Path]]) -> dict[str, float]:
    """Bytes by which this process grows as a bank loads the files of a method, relative to what the bank counts."""
    vit, found = setting.vit(), {}
    banks = {method: PromptBank(vit) for method in files}  # all stay: the next one is not to fill what one leaves
    for method, paths in files.items():
        bank = banks[method]
        bank.load("first", paths[0])  # what Python and torch load once does not count
        before, counted = bytes_held(), bank.bytes
        loaded(bank, "a", paths, len(paths))
        found[method] = (bytes_held() - before) / (bank.bytes - counted)
    return found


def bytes_held() -> float:
    """Bytes in use, after what the C library keeps for later was given back; else new tasks would fill that first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return bytes_in_use()


def alone(run: Callable, *given: Any) -> Any:
    """What a function gives in a new process, with as many threads as this one has."""
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (torch.get_num_threads(),)) as process:
        return process.submit(run, *given).result()


# ---- the tables ---------------------------------------------------------------------------------------------------


def bound(case: str, measured: float, target: float | None = None, unit: str = "") -> dict[str, str]:
    """A line of the table: met as it is shown. Without a target it is for information."""
    shown = f"{measured:.{2 if unit in ('', 's') or measured < 10 else 0}f}"
    met = "–" if target is None else "yes" if float(shown) <= target else "no"
    wanted = "–" if target is None else f"{target:g} {unit}".rstrip()
    return {"case": case, "measured": f"{shown} {unit}".rstrip(), "target": wanted, "met": met}


def _batch_rows(setting: Setting, seconds: Seconds) -> list[dict[str, str]]:
    rows = [
        bound(f"{_many(tasks, several)} ÷ 1 task", paired(seconds, _many(tasks, several), ONE), target)
        for tasks, target in ((setting.few, 1.10), (setting.batch, 1.25))
        for several in (False, True)
    ]
    return [*rows, bound(f"{ONE} ÷ bare backbone", paired(seconds, ONE, BARE))]


def _task_rows(seconds: Seconds) -> list[dict[str, str]]:
    switch, load = (1000 * statistics.median(seconds[name]) for name in (SWITCH, LOAD))
    slowest = 1000 * max(seconds[SWITCH])
    return [
        bound(SWITCH, switch, 5, "ms"),
        bound(f"{SWITCH}, the slowest of {len(seconds[SWITCH]):,}", slowest, unit="ms"),
        bound(LOAD, load, 200, "ms"),
    ]


def _registry_rows(setting: Setting, seconds: Seconds) -> list[dict[str, str]]:
    what = f"{setting.names * setting.versions:,} versions of {setting.names:,} names"
    return [bound(f"{name}, {what}", statistics.median(seconds[name]), 1, "s") for name in (LIST, SEARCH, AS_OF)]


def _predict_rows(setting: Setting, answers: Mapping[int, Seconds]) -> list[dict[str, str]]:
    rows = []
    for size, seconds in answers.items():
        what = f"{setting.jpegs:,} JPEGs, {size} px"
        target = 1.2 if size == setting.predict_sizes[0] else None
        rows.append(bound(f"{ENGINE} ÷ {FORWARD}, {what}", paired(seconds, ENGINE, FORWARD), target))
        rows.append(bound(f"{DECODING} ÷ {FORWARD}, {what}", paired(seconds, DECODING, FORWARD)))
    return rows


def _growth_rows(setting: Setting, grown: Mapping[str, float]) -> list[dict[str, str]]:
    return [
        bound(f"growth of a process ÷ what the bank counts, {setting.files_of(method)} of {TITLES[method]}", ratio)
        for method, ratio in grown.items()
    ]


def _milliseconds(seconds: Seconds) -> pd.DataFrame:
    medians = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    return pd.DataFrame([{"case": name, "ms": f"{ms:,.{0 if ms >= 10 else 3}f}"} for name, ms in medians.items()])


def scale_table(scale: pd.DataFrame) -> pd.DataFrame:
    """A row for each number of tasks; what is computed is in italics."""
    table = []
    for tasks, rows in scale.groupby("tasks"):
        cells = {"tasks": f"{tasks:,}"}
        for row in rows.itertuples():
            title, mark = TITLES[cast(str, row.method)], "" if row.measured else "*"
            cells |= {f"{title}, {kind}": f"{mark}{storage(getattr(row, kind))}{mark}" for kind in ("disk", "memory")}
        table.append(cells)
    return pd.DataFrame(table)


def scale_figure(scale: pd.DataFrame) -> Figure:
    """Bytes against tasks, both logarithmic: on disk and in memory. Filled marks are measured, open ones computed."""
    with styled_panels(4.0, 2) as (figure, panels):
        for axes, (kind, title) in zip(panels, (("disk", "On disk"), ("memory", "In memory")), strict=True):
            _draw(axes, scale, kind)
            axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold")
        figure.tight_layout()
    return figure


_UP = {"vpt-deep": 5, "linear": -5}  # points by which labels give way to each other


def _draw(axes: Axes, scale: pd.DataFrame, kind: str) -> None:
    for method, rows in scale.groupby("method", sort=False):
        name, tasks, needed = cast(str, method), rows["tasks"].to_numpy(), rows[kind].to_numpy()
        style = {"color": COLOURS[name], "marker": MARKERS[name], "markersize": 5.5}
        axes.plot(tasks, needed, **style, markerfacecolor="white", linewidth=1.6)
        axes.plot(tasks[rows["measured"]], needed[rows["measured"]], **style, linestyle="none")
        at, away = (tasks[-1], needed[-1]), (7, _UP.get(name, 0))
        label = {"color": COLOURS[name], "fontsize": 9.5, "fontweight": "bold", "va": "center"}
        axes.annotate(TITLES[name], at, away, textcoords="offset points", annotation_clip=False, **label)
    least, most = scale["tasks"].min(), scale["tasks"].max()
    needs = scale[["disk", "memory"]].to_numpy()
    axes.set(xscale="log", yscale="log", xlabel="tasks")
    axes.set(xlim=(0.7 * least, 300 * most), ylim=(needs.min() / 2, 2 * needs.max()))
    axes.xaxis.set_major_locator(FixedLocator([tasks for tasks in (1, 100, 10_000) if tasks <= most]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(EngFormatter("B"))
    axes.tick_params(labelsize=9, labelcolor=INK)
    axes.xaxis.label.set(fontsize=9.5, color=SOFT)
    axes.grid(axis="x", visible=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
