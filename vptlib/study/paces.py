"""The paces of a study, measured where its runs will be made: in as many processes, or on the workers of a cluster.

The training loop itself takes a few steps, on some of the study's own images, with as many others at work beside it as
there will be. Nothing is kept of that.
"""

import importlib
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor
from torch.utils.data import TensorDataset

from vptlib.data.preparing import prepare
from vptlib.errors import UserError
from vptlib.processes import worker_options
from vptlib.study.cluster import Lost, Place
from vptlib.study.done_rules import recipe_until_done
from vptlib.study.make_runs import ONE_THREAD
from vptlib.study.material import build_model, is_solved, material_of
from vptlib.study.plan import Plan
from vptlib.study.published_rules import DONE, VTAB, published_optimiser
from vptlib.study.run_costs import Pace, keeps_tokens, lengths_of
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.solved import SOLVERS
from vptlib.tuning.training import (
    FrozenFeatures,
    History,
    Recipe,
    Training,
    best_device,
    evaluate,
    frozen_features,
)

# A step is measured at least so often, and for so many seconds, but not for longer than the most.
LEAST_TIMES, LEAST_SECONDS, MOST_SECONDS = 3, 0.4, 2.0
SAMPLE = 64  # images that are measured with, or a whole batch
MOST_SOLVED = 2000  # labelled images of a solver that is measured
MOST_BESIDE = 16  # workers that measure at the same time
_TURNS = 5
_MANY_STEPS = 10**6  # so the learning rate hardly moves


@dataclass(frozen=True)
class Measured:
    """What one process has measured.

    Attributes:
        loading: seconds to load the task and the backbone.
        preparing: seconds of a test image, until it is as the backbone expects it.
        paces: of one method, by the number of prompts; None for that of the plan.
        fastest, slowest: of the steps, relative to their medians.
        kept_bytes: of what a method keeps of an image; 0 where it keeps nothing.
        bytes: the most memory that the process has had; on a GPU, the most of that.
        machine_bytes: what the machine, or its GPU, has.
        on_gpu: whether it is the memory of a GPU.
    """

    loading: float = 0.0
    preparing: float = 0.0
    paces: dict[int | None, Pace] = field(default_factory=dict)
    fastest: float = 1.0
    slowest: float = 1.0
    kept_bytes: int = 0
    bytes: int = 0
    machine_bytes: int = 0
    on_gpu: bool = False


class Measuring(Protocol):
    """Where paces are measured."""

    def all(self, function: Callable, *args: Any) -> list:
        """What a function gives in each of the processes, all at the same time."""
        ...

    def turnaround(self) -> float:
        """Seconds of a piece of work on its way to a worker and back; 0 where runs need no scheduler."""
        ...


class Here:
    """This process, with all its threads, where runs are made one after the other in it."""

    def all(self, function: Callable, *args: Any) -> list:
        return [function(*args)]

    def turnaround(self) -> float:
        return 0.0


class Processes:
    """As many processes of one thread as runs are made at the same time."""

    def __init__(self, jobs: int):
        self._jobs = jobs

    def all(self, function: Callable, *args: Any) -> list:
        pool = get_reusable_executor(max_workers=self._jobs, env=ONE_THREAD, **worker_options())
        asked = [pool.submit(alone, function, *args) for _ in range(min(self._jobs, MOST_BESIDE))]
        return [each.result() for each in asked]

    def turnaround(self) -> float:
        return 0.0

    def close(self) -> None:
        """End the processes, so that a study starts its own, as it does after the plan."""
        get_reusable_executor(max_workers=self._jobs, env=ONE_THREAD, **worker_options()).shutdown(kill_workers=True)


class OnWorkers:
    """The workers of a cluster."""

    def __init__(self, place: Place):
        self._place, self._asked = place, 0

    def all(self, function: Callable, *args: Any) -> list:
        """
        Raises:
            UserError: no worker answers any more, or one lacks a package.
        """
        wanted = {self._give(function, *args) for _ in range(min(self._place.slots, MOST_BESIDE))}
        found = []
        while wanted:
            self._place.reach()
            for key, answer in self._place.finished(1.0):
                wanted.discard(key)
                if isinstance(answer, Lost):
                    wanted.add(self._give(function, *args))
                elif isinstance(answer, ImportError):
                    raise UserError(f"a worker of the cluster cannot measure ({answer}): install the same there.")
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    found.append(answer)
        return found

    def turnaround(self) -> float:
        """Of pieces of work that do nothing."""
        self.all(nothing)
        start = time.perf_counter()
        for _ in range(_TURNS):
            self.all(nothing)
        return (time.perf_counter() - start) / _TURNS

    def _give(self, function: Callable, *args: Any) -> str:
        self._asked += 1
        key = f"pace-{time.time_ns()}-{self._asked}"
        self._place.give(key, alone, function, *args)
        return key


def alone(function: Callable, *args: Any) -> Any:
    """What a function gives in a process with one thread, as runs beside others have it."""
    torch.set_num_threads(1)
    return function(*args)


# ---- what is asked of each process ------------------------------------------------------------------------------


def load(plan: Plan, stores: bool = False) -> Measured:
    """Load what a study needs; the seconds that this takes.

    Args:
        stores: whether the process stores its runs itself, so that it needs MLflow too; this is not in the seconds.
    """
    if stores:
        importlib.import_module("mlflow")
    start = time.perf_counter()
    material = material_of(plan)
    items = material.test_items[:SAMPLE]
    images, wanted = material.task.test.select(items), preprocessing(material.vit)
    prepare(images, wanted)
    loading = time.perf_counter() - start
    return Measured(loading, seconds_of(lambda: prepare(images, wanted))[0] / len(items), **_memory())


def nothing() -> None:
    """Work that takes no time."""


def measure(plan: Plan, method: str) -> Measured:
    """The paces of a method, at some prompt lengths where the rules try several."""
    images, preparing = _sample(plan)
    found = {length: _pace(plan, method, length, images, preparing) for length in lengths_of(plan, method)}
    fastest, slowest = zip(*(spread for _, spread in found.values()), strict=True)
    paces = {length: pace for length, (pace, _) in found.items()}
    kept = _kept_bytes(plan, method) if keeps_tokens(plan, method, plan.sizes[-1]) else 0
    return Measured(paces=paces, fastest=min(fastest), slowest=max(slowest), kept_bytes=kept, **_memory())


def _kept_bytes(plan: Plan, method: str) -> int:
    """Bytes of what the frozen part of a method makes of one image."""
    model = build_model(plan, method)
    size = preprocessing(model.vit).size
    return frozen_features(model, TensorDataset(torch.zeros(1, 3, size, size), torch.zeros(1))).tensors[0].nbytes


def _memory() -> dict[str, Any]:
    if torch.cuda.is_available():
        found = {"bytes": torch.cuda.max_memory_allocated(), "machine_bytes": torch.cuda.mem_get_info()[1]}
    else:
        found = {"bytes": peak_bytes(), "machine_bytes": machine_bytes()}
    return found | {"on_gpu": torch.cuda.is_available()}


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def machine_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _sample(plan: Plan) -> tuple[TensorDataset, float]:
    """Some training images of the study, prepared, and the seconds that preparing one of them takes."""
    material = material_of(plan)
    chosen = material.parts(plan.sizes[-1], plan.seeds[0], plan.conditions, plan.rules)[0]
    images = material.task.train.select(chosen[: max(SAMPLE, plan.batch_size)])
    wanted = preprocessing(material.vit)
    return prepare(images, wanted), seconds_of(lambda: prepare(images, wanted))[0] / len(images)


def _pace(
    plan: Plan, method: str, prompts: int | None, images: TensorDataset, preparing: float
) -> tuple[Pace, tuple[float, float]]:
    """The pace of one model; the fastest and the slowest step, relative to their median."""
    n = plan.sizes[-1]
    build, _ = seconds_of(lambda: build_model(plan, method, 0, prompts))
    model = build_model(plan, method, 0, prompts).to(best_device())
    kept, stem = images, 0.0
    if is_solved(plan, method) or model.stem_is_frozen:
        stem = seconds_of(lambda: frozen_features(model, images))[0] / len(images)
        kept = frozen_features(model, images)
    pace = Pace(stem, 0.0, 0.0, build, preparing)
    if is_solved(plan, method):
        return replace(pace, solve=_solving(model, kept, n)), (1.0, 1.0)
    step, spread = _step(plan, model, kept)
    pace = replace(pace, step=step, look=seconds_of(lambda: evaluate(model, kept))[0] / len(images))
    if stem and not keeps_tokens(plan, method, n):  # memory cannot keep those of all images
        batch = min(plan.batch_size, len(images))
        pace = replace(pace, stem=0.0, step=step + batch * stem, look=pace.look + stem)
    return pace, spread


def _step(plan: Plan, model: AdaptedModel, data: TensorDataset) -> tuple[float, tuple[float, float]]:
    """Seconds of a training step: the median; the fastest and the slowest, relative to it.

    All are steps of one training: what happens once at its beginning, such as the change to bfloat16, is in none.
    """
    model.phases = model.phases[-1:]  # where there are two, the second one has all or most of the steps
    ends: list[float] = []

    def watch(_: History) -> bool:
        _wait_for_gpu()
        ends.append(time.perf_counter())
        return _are_enough(ends[-1] - ends[0], len(ends) - 1)

    Training(model, data, None, _recipe(plan, model.method)).advance(_MANY_STEPS, watch=watch)
    seconds, spread = _median_and_spread(np.diff(ends))
    share = min(plan.batch_size, len(data)) / plan.batch_size  # a small study has no whole batch
    return seconds / share, spread


def _recipe(plan: Plan, method: str) -> Recipe:
    """As under the rules of the plan, at a rate at which nothing moves."""
    if plan.rules == DONE:
        bf16 = plan.precision == "bf16"
        recipe = recipe_until_done(1e-6, _MANY_STEPS, plan.batch_size, 0, bf16)
        return replace(recipe, patience=None, evaluations=1, augmentation=plan.augmentation)
    optimiser = published_optimiser(method) if plan.rules == VTAB else "adamw"
    return Recipe(1e-6, _MANY_STEPS, plan.batch_size, evaluations=1, optimiser=optimiser)


def _solving(model: AdaptedModel, features: TensorDataset, n: int) -> float:
    """Seconds of a solver for each labelled image: on noisy copies of some features, as many as there will be."""
    count = min(n, MOST_SOLVED)
    validation = max(1, count // 5)
    rows = torch.arange(count) % len(features)
    inputs, labels = (tensor[rows] for tensor in features.tensors)
    generator = torch.Generator().manual_seed(0)
    inputs = inputs + 0.3 * inputs.std() * torch.randn(inputs.shape, generator=generator)
    parts = [FrozenFeatures(inputs[part], labels[part]) for part in (slice(validation, None), slice(validation))]
    start = time.perf_counter()
    SOLVERS[model.method](model, *parts)
    return (time.perf_counter() - start) / count


def seconds_of(work: Callable[[], object]) -> tuple[float, tuple[float, float]]:
    """Median seconds of some calls, after one that does not count; the fastest and the slowest, relative to it."""
    work()
    seconds: list[float] = []
    while not _are_enough(sum(seconds), len(seconds)):
        start = time.perf_counter()
        work()
        _wait_for_gpu()
        seconds.append(time.perf_counter() - start)
    return _median_and_spread(seconds)


def _are_enough(seconds: float, times: int) -> bool:
    """Whether so many calls, which took so long together, are enough."""
    return seconds >= LEAST_SECONDS and (times >= LEAST_TIMES or seconds >= MOST_SECONDS)


def _median_and_spread(seconds: Sequence[float] | np.ndarray) -> tuple[float, tuple[float, float]]:
    median = float(np.median(seconds))
    low, high = np.quantile(seconds, (0.1, 0.9)) / median
    return median, (float(low), float(high))


def _wait_for_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def joined(found: list[Measured]) -> Measured:
    """What several processes have measured at the same time: the mean of their paces."""
    paces = {length: _mean([each.paces[length] for each in found]) for length in found[0].paces}
    return Measured(
        loading=statistics.mean(each.loading for each in found),
        preparing=statistics.mean(each.preparing for each in found),
        paces=paces,
        fastest=min(each.fastest for each in found),
        slowest=max(each.slowest for each in found),
        kept_bytes=found[0].kept_bytes,
        bytes=max(each.bytes for each in found),
        machine_bytes=min(each.machine_bytes for each in found),
        on_gpu=found[0].on_gpu,
    )


def _mean(paces: list[Pace]) -> Pace:
    return Pace(*(statistics.mean(values) for values in zip(*map(astuple, paces), strict=True)))
