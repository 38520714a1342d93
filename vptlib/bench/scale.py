"""How cost grows: time and memory against images, classes, prompts, input size, tasks, runs and workers.

Each line is measured in a process of its own, from small to large, on drawn images: what they show costs nothing. An
exponent is the slope of the larger half of a line, both axes logarithmic. What one machine cannot hold is simulated
from what was measured on it (`vptlib.bench.crowd`).
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, NullLocator, StrMethodFormatter
from tqdm import tqdm

from vptlib.bench.crowd import (
    RUNS_OF_EACH,
    Costs,
    Rates,
    engine_seconds,
    most_workers,
    seconds_of_sleepers,
    simulated_seconds,
)
from vptlib.bench.operations import alone, bytes_held, loaded, write_models
from vptlib.bench.prompting import peak_bytes, training_step
from vptlib.bench.store import in_file, median_seconds
from vptlib.data.preparing import ImageSet, prepare
from vptlib.operations.bank import PromptBank
from vptlib.operations.predictor import MultiTaskPredictor
from vptlib.prompting.blocks import ViT
from vptlib.report.style import INK, LINE, OPEN, WIDE, text_style
from vptlib.tuning.backbones import EMBEDDED, load_backbone, preprocessing
from vptlib.tuning.methods import build_method
from vptlib.tuning.training import best_device, frozen_features
from vptlib.wording import duration, storage

TIME, MEMORY = "#0072B2", "#D55E00"


@dataclass(frozen=True)
class Point:
    """What a value costs.

    Attributes:
        value: of what grows.
        seconds: of time.
        bytes: of memory, or on disk; NaN where they are not measured.
    """

    value: int
    seconds: float
    bytes: float = float("nan")


@dataclass(frozen=True)
class Line:
    """What grows, what is measured, and what theory says.

    Attributes:
        name: what grows.
        what: is measured.
        time, memory: the exponents that theory gives, in words.
        limit: what ends the growth, or bends the line.
        values: from small to large.
        measure: gives a point for each value.
    """

    name: str
    what: str
    time: str
    memory: str
    limit: str
    values: tuple[int, ...]
    measure: Callable[[Sequence[int]], Iterable[Point]]


Measured = list[tuple[Line, list[Point]]]


def measure(lines: Sequence[Line] | None = None) -> Measured:
    """The points of each line, each line in a new process."""
    wanted = LINES if lines is None else lines
    return [(line, alone(_points, line)) for line in tqdm(wanted, desc="how cost grows")]


def _points(line: Line) -> list[Point]:
    """What a process does once is done before the first point."""
    list(line.measure(line.values[:1]))
    return list(line.measure(line.values))


# ---- images -----------------------------------------------------------------------------------------------------


def images(counts: Sequence[int]) -> Iterator[Point]:
    """So many images are prepared, and pass once through the first block, as for kept features and for tests."""
    vit, random = load_backbone(EMBEDDED, depth=1), np.random.default_rng(0)
    model, wanted = build_method("linear", vit, 10), preprocessing(vit)
    for count in counts:
        pixels = random.integers(0, 256, (count, wanted.size, wanted.size, 3), dtype=np.uint8)  # N H W 3
        given = ImageSet(pixels, np.arange(count) % 10)
        yield _point(count, lambda given=given: frozen_features(model, prepare(given, wanted)))


# ---- a training step --------------------------------------------------------------------------------------------


def classes(counts: Sequence[int]) -> Iterator[Point]:
    """A step of VPT-deep with so many classes."""
    for count in counts:
        yield _step(count, load_backbone(), classes=count)


def prompts(counts: Sequence[int]) -> Iterator[Point]:
    """A step of VPT-deep with so many prompts in each layer."""
    for count in counts:
        yield _step(count, load_backbone(), prompts=count)


def input_sizes(sizes: Sequence[int]) -> Iterator[Point]:
    """A step of VPT-deep with images of so many pixels."""
    for size in sizes:
        yield _step(size, load_backbone(EMBEDDED, size), batch=4)


def _step(value: int, vit: ViT, classes: int = 10, prompts: int = 10, batch: int = 16) -> Point:
    """A whole step, and its memory above the built model."""
    model = build_method("vpt-deep", vit, classes, num_prompts=prompts).to(best_device()).train()
    drawn = torch.randn(batch, 3, *vit.patch_embed.img_size, device=best_device())  # B 3 H W
    labels = torch.randint(classes, (batch,), device=best_device())
    return _point(value, training_step(model, model, drawn, labels), rounds=5)


# ---- tasks ------------------------------------------------------------------------------------------------------


def tasks(counts: Sequence[int]) -> Iterator[Point]:
    """A batch of 64 images, of as many tasks as it can have, and the memory of a bank with so many."""
    vit = load_backbone()
    with tempfile.TemporaryDirectory() as folder:
        files = write_models(Path(folder), vit, "vpt-deep", 10)
        for count in counts:
            yield _bank(count, vit, files)


def _bank(count: int, vit: ViT, files: Sequence[Path], batch: int = 64) -> Point:
    bank, before = PromptBank(vit), bytes_held()
    names = loaded(bank, "task", files, count)
    held = bytes_held() - before
    drawn = torch.randn(batch, 3, *vit.patch_embed.img_size, device=best_device())  # B 3 H W
    answered = partial(MultiTaskPredictor(bank).logits, drawn, [names[image % count] for image in range(batch)])
    return Point(count, median_seconds(5, answered), held)


# ---- runs and workers -------------------------------------------------------------------------------------------


def runs_in_store(counts: Sequence[int]) -> Iterator[Point]:
    """A study of nine runs is opened for the first time on a machine, in a file with so many runs."""
    for figures in in_file(counts, seeds=3, rounds=5):
        yield Point(figures.runs, figures.first, figures.bytes)


def runs_of_study(counts: Sequence[int]) -> Iterator[Point]:
    """What the engine does for so many runs on 10,000 workers, where runs take no time."""
    for count in counts:
        before = bytes_held()
        yield Point(count, engine_seconds(count), peak_bytes() - before)


def workers(counts: Sequence[int]) -> Iterator[Point]:
    """A study with eight runs for each of so many workers of one scheduler; a run sleeps for a second."""
    for count in counts:
        yield Point(count, seconds_of_sleepers(count))


# ---- a point ----------------------------------------------------------------------------------------------------


def _point(value: int, run: Callable[[], Any], rounds: int = 1) -> Point:
    before = bytes_held()
    seconds = median_seconds(rounds, run)
    return Point(value, seconds, peak_bytes() - before)


LINES = (
    Line(
        "labelled images",
        "preparing them, and one pass through one block",
        "1",
        "1; 0 for prepared images of more than 1 GiB",
        "the pass; above 1 GiB images are prepared batch by batch, and only what is kept of each still grows",
        (100, 1_000, 10_000, 100_000),
        images,
    ),
    Line(
        "classes",
        "a step of VPT-deep, batch 16",
        "0; 1 when the head outweighs the backbone",
        "0; 1 for the head",
        "the backbone, up to some 10,000 classes",
        (10, 100, 1_000, 10_000, 100_000),
        classes,
    ),
    Line(
        "prompts in each layer",
        "a step of VPT-deep, batch 16",
        "0; 1 when they outnumber the tokens",
        "0; 1 when they outnumber the tokens",
        "keys and values of the prompts",
        (1, 10, 100, 1_000),
        prompts,
    ),
    Line(
        "input size, pixels",
        "a step of VPT-deep, batch 4",
        "2 for the tokens; 4 for their attention",
        "2 for the tokens",
        "the layers, as long as there are fewer than some 2,000 tokens",
        (56, 112, 224, 448),
        input_sizes,
    ),
    Line(
        "tasks on one backbone",
        "a batch of 64 images of all of them, and a bank that holds them",
        "0",
        "1",
        "memory of the bank",
        (1, 10, 100, 1_000),
        tasks,
    ),
    Line(
        "runs in the store",
        "opening a study of nine runs; bytes on disk",
        "0 by the index; 1 for the search for leftovers",
        "1",
        "what killed processes have left is looked for among all runs, once in a process",
        (10, 100, 1_000, 10_000, 100_000),
        runs_in_store,
    ),
    Line(
        "runs of one study",
        "the engine itself, 10,000 workers",
        "1",
        "1",
        "keys of all runs, made before the first one starts",
        (1_000, 10_000, 100_000, 1_000_000),
        runs_of_study,
    ),
    Line(
        "workers",
        "one scheduler, eight runs of one second for each",
        "0; 1 when the scheduler is busy all the time",
        "–",
        "fetching results, a request to each worker; all of them share two cores here",
        (1, 4, 16, 64, 256),
        workers,
    ),
)


# ---- what one machine cannot hold -------------------------------------------------------------------------------

RUNS, WORKERS, LENGTHS = 1_000_000, 10_000, (10, 60, 600, 3600)  # the lengths of runs in seconds
MANY = 100  # workers, from which on the scheduler is what they wait for


@dataclass(frozen=True)
class Beyond:
    """The costs of what all workers share, and what they lead to.

    Attributes:
        costs: from what was measured.
        checks: of the simulation against real workers that sleep: workers, seconds of both, their ratio.
        studies: of very many runs on very many workers, simulated.
    """

    costs: Costs
    checks: pd.DataFrame
    studies: pd.DataFrame


def beyond(points: Sequence[Point], no_ops: float, rates: Rates) -> Beyond:
    """Check the simulation, and let it go on.

    Args:
        points: of the line `workers`, whose runs have no store.
        no_ops: runs that the engine and the scheduler finish in a second, with few workers.
        rates: of a server.

    The simulation goes on at the slower pace that the scheduler has with many workers.
    """
    alone = Costs(scheduler=1 / no_ops)
    crowded = max(1 / no_ops, *(_share(point) for point in points))
    both = Costs(scheduler=crowded, store=1 / rates.runs, beat=1 / rates.beats)
    checks = pd.DataFrame(_check(point, alone) for point in points)
    return Beyond(both, checks, pd.DataFrame(_study(seconds, both) for seconds in LENGTHS))


def _share(point: Point) -> float:
    """Seconds of the scheduler for a run that sleeps: what a study takes beyond the sleeping, if it is all the time."""
    return (point.seconds - RUNS_OF_EACH) / (RUNS_OF_EACH * point.value) if point.value >= MANY else 0.0


def _check(point: Point, costs: Costs) -> dict[str, str]:
    seconds = simulated_seconds(RUNS_OF_EACH * point.value, point.value, 1.0, costs, spread=0.0)
    return {
        "workers": f"{point.value:,}",
        "measured": duration_of(point.seconds),
        "simulated": duration_of(seconds),
        "simulated ÷ measured": f"{seconds / point.seconds:.2f}",
    }


def _study(seconds: float, costs: Costs) -> dict[str, str]:
    """A study of `RUNS` runs, with as many workers as there may be and with as many as can be busy."""
    most, busy = most_workers(seconds, costs)
    few = min(most, WORKERS)
    return {
        "a run trains": duration_of(seconds),
        "workers that can be busy": f"{most:,}",
        "what is busy first": busy,
        f"hours with {WORKERS:,}": _hours(simulated_seconds(RUNS, WORKERS, seconds, costs)),
        "hours with those": f"{_hours(simulated_seconds(RUNS, few, seconds, costs))} ({few:,})",
        "hours if nothing were shared": _hours(RUNS * seconds / WORKERS),
    }


def _hours(seconds: float) -> str:
    return "never" if np.isinf(seconds) else f"{seconds / 3600:.1f}"


# ---- the exponent -----------------------------------------------------------------------------------------------


def exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of the larger half of a line, at least two points, by least squares on logarithms; NaN if one is not > 0.

    Args:
        values: increasing.
        costs: of each.
    """
    half = slice(-max(2, -(-len(values) // 2)), None)
    x, y = np.array(values[half], float), np.array(costs[half], float)
    if not (y > 0).all():
        return float("nan")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


# ---- tables and figure ------------------------------------------------------------------------------------------


def table(measured: Measured) -> pd.DataFrame:
    """A row for each line: from the least to the largest value, the exponents beside those of theory, and the limit."""
    return pd.DataFrame(_row(line, points) for line, points in measured)


def _row(line: Line, points: list[Point]) -> dict[str, str]:
    values = [point.value for point in points]
    return {
        "what grows": f"{line.name}, {values[0]:,} to {values[-1]:,}",
        "measured": line.what,
        "time": _from_to(duration_of, [point.seconds for point in points]),
        "exponent": _shown(exponent(values, [point.seconds for point in points])),
        "theory": line.time,
        "memory": _from_to(storage, [point.bytes for point in points]),
        "exponent of memory": _shown(exponent(values, [point.bytes for point in points])),
        "theory of memory": line.memory,
        "what limits": line.limit,
    }


def duration_of(seconds: float) -> str:
    """Seconds, and milliseconds where they are few."""
    return f"{1000 * seconds:.3g}\u202fms" if seconds < 1 else duration(seconds)


def _from_to(shown: Callable[[float], str], costs: list[float]) -> str:
    if any(np.isnan(costs)):
        return "–"
    return f"{shown(costs[0])} → {shown(costs[-1])}"


def _shown(slope: float) -> str:
    return "–" if np.isnan(slope) else f"{slope:.2f}"


def figure(measured: Measured) -> Figure:
    """A panel for each line: how many times the least value's time and memory, against what grows; all logarithmic."""
    across = 4
    down = -(-len(measured) // across)
    with text_style():
        drawn = Figure(figsize=(WIDE, 2.3 * down + 0.3), layout="constrained")
        panels = list(drawn.subplots(down, across, squeeze=False).flat)
        for axes, (line, points) in zip(panels, measured, strict=False):
            _draw(axes, line, points)
        for axes in panels[len(measured) :]:
            axes.set_visible(False)
        drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return drawn


def _draw(axes: Axes, line: Line, points: list[Point]) -> None:
    values = np.array([point.value for point in points], float)
    axes.plot(values, values / values[0], color=OPEN, linewidth=1, linestyle=":", label="in proportion (exponent 1)")
    for name, colour, marker, costs in (
        ("time", TIME, "o", [point.seconds for point in points]),
        ("memory, or bytes on disk", MEMORY, "s", [point.bytes for point in points]),
    ):
        grown = np.array(costs) / costs[0]
        axes.plot(values, grown, color=colour, marker=marker, markersize=4, linewidth=1.6, label=name)
    axes.set(xscale="log", yscale="log")
    axes.set_title(line.name, loc="left", fontsize=9, fontweight="bold")
    axes.set_ylim(0.3, max(10.0, *axes.get_ylim()))
    axes.xaxis.set_major_locator(FixedLocator(values.tolist()))
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(StrMethodFormatter("× {x:,g}"))
    axes.tick_params(labelsize=8, labelcolor=INK)
    axes.grid(color=LINE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
