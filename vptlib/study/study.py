"""A fair comparison on one task: methods × sizes × seeds, every run kept in MLflow and never repeated.

The rules, which `Study.protocol` states in every report: all methods get the same images, the same number of
learning-rate candidates and the same number of optimiser steps; candidates are chosen on validation images that
are part of the labelled budget n; the test images are looked at once a run. The published rules of VTAB-1k, for those
who want to repeat the papers, are in `vptlib.rules`.
"""

import copy
import hashlib
import json
import logging
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from joblib import Parallel, delayed
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.utils.data import TensorDataset
from tqdm import tqdm

from vptlib.data.conditions import Conditions, corrupt, long_tail, wrong_labels
from vptlib.data.files import LazyImages
from vptlib.data.preparing import ImageSet, prepare
from vptlib.data.splits import few_shot, fixed_test, split_validation
from vptlib.data.tasks import Task, load_task
from vptlib.errors import UserError
from vptlib.paths import store_folder
from vptlib.rules import (
    ALL,
    EQUAL,
    RULES,
    Setting,
    published_options,
    published_recipe,
    published_sentences,
    published_settings,
)
from vptlib.tuning.backbones import EMBEDDED, fingerprint, load_backbone, preprocessing
from vptlib.tuning.methods import STANDARD, AdaptedModel, build_method, find_method
from vptlib.tuning.training import Diverged, Evaluation, History, Recipe, best_device, evaluate, fit, frozen_features

# Part of every run's key: raise it when the meaning of a run changes, so that old runs are not mixed with new ones.
PROTOCOL = 1
# Time of a run relative to full fine-tuning, for the progress bar and the order of work alone.
STEP_COST = {"linear": 0.02, "vpt-shallow": 1.0, "vpt-deep": 0.65, "full": 1.0}


@dataclass(frozen=True)
class Cell:
    """One run of the grid: a method on n labelled images, with the seed that draws them."""

    method: str
    n: int
    seed: int


@dataclass(frozen=True)
class Study:
    """A task, a backbone, and the grid to run.

    Attributes:
        task: as for `vptlib.load_task`: an embedded task, or where images of your own lie.
        methods: names in `vptlib.tuning.methods.METHODS`.
        sizes: numbers of labelled images n; 80 % of n train, 20 % of n validate.
        seeds: each draws its own images, batches and initial values; the first one's also choose the learning rate.
        backbone, image_size, depth: as in `load_backbone`.
        num_prompts: prompts per prompted layer.
        steps, batch_size: of every training run of every method.
        candidates: learning rates (published rules: settings) tried per method and size, or "all" that there are.
        test_images: how many of the task's test images are used, always the same ones; or "all".
        label_noise, noise, imbalance, corruption, severity: as in `vptlib.data.conditions.Conditions`.
        rules: "equal budget", or "vtab-1k" for the published protocol (`vptlib.rules`), under which all n images train
            in the end, `epochs` takes the place of `steps`, and the prompt length is chosen with the learning rate.
        epochs: passes over the images in every training run, under the rules "vtab-1k".
    """

    task: str
    methods: tuple[str, ...] = STANDARD
    sizes: tuple[int, ...] = (50, 150, 400)
    seeds: tuple[int, ...] = (0,)
    backbone: str = EMBEDDED
    image_size: int | None = None
    depth: int | None = None
    num_prompts: int = 10
    steps: int = 60
    batch_size: int = 16
    candidates: int | Literal["all"] = 2
    test_images: int | Literal["all"] = 400
    label_noise: float = 0.0
    noise: str = "symmetric"
    imbalance: float = 1.0
    corruption: str = ""
    severity: int = 3
    rules: str = EQUAL
    epochs: int = 100

    def __post_init__(self):
        for name in ("methods", "sizes", "seeds"):
            values = tuple(getattr(self, name))
            if not values or len(set(values)) < len(values):
                raise UserError(f"{name} is {list(values)}: give at least one value, and none twice.")
            object.__setattr__(self, name, values)
        object.__setattr__(self, "sizes", tuple(sorted(self.sizes)))
        for name in ("steps", "batch_size", "candidates", "test_images", "epochs"):
            value, may_be_all = getattr(self, name), name in ("candidates", "test_images")
            if not (may_be_all and value == ALL) and (isinstance(value, str) or value < 1):
                raise UserError(f"{name} is {value!r}, but must be 1 or more{' or all' * may_be_all}.")
        _ = self.conditions  # which checks itself
        if self.rules not in RULES:
            raise UserError(f"rules is {self.rules!r}, but must be one of {', '.join(RULES)}.")
        for method in self.methods:
            _ = self._to_try(find_method(method).learning_rates, method)

    @property
    def conditions(self) -> Conditions:
        """What this study meets beyond clean, balanced images."""
        return Conditions(self.label_noise, self.noise, self.imbalance, self.corruption, self.severity)

    def under(self, **conditions) -> "Study":
        """The same comparison at the largest size alone, under harder conditions.

        Args:
            **conditions: as in `vptlib.data.conditions.Conditions`.
        """
        return replace(self, sizes=self.sizes[-1:], **conditions)

    def _to_try(self, rates: tuple[float, ...], method: str) -> list[float] | list[Setting]:
        """What tuning tries for a method, of the learning rates that it offers or of the published settings."""
        if self.rules != EQUAL:
            return published_settings(method, self.batch_size, self.candidates)
        if self.candidates != ALL and self.candidates > len(rates):
            raise UserError(f"candidates is {self.candidates}, but {method!r} has {len(rates)} learning rates to try.")
        return list(rates if self.candidates == ALL else rates[: self.candidates])

    # ---- the grid ----

    def cells(self) -> list[Cell]:
        """All runs, in the order in which they are made: the first seed comes first, for it tunes."""
        return [Cell(method, n, seed) for seed in self.seeds for n in self.sizes for method in self.methods]

    def missing(self) -> list[Cell]:
        """The runs that are not in the store yet, or lack the weights that this study needs kept."""
        done = _finished(self)
        return [cell for cell in self.cells() if not self._is_done(cell, done.get(_key(self, cell)))]

    def run(self, progress: bool = True, jobs: int | None = None) -> pd.DataFrame:
        """Run what is missing and give the table of all runs. Interrupt it at will: finished runs are kept.

        Args:
            progress: show a bar with the time left.
            jobs: runs made at the same time, each in a process with one thread; by default as many as there are
                cores (or `$VPTLIB_JOBS`), and one with a GPU. With 1, runs are made in this process.

        Raises:
            UserError: sizes that the task cannot give, a store that cannot be written, a method that always diverges.
        """
        missing = self.missing()
        if missing:
            self.check()
            self._decode(progress)
        first, others = ([c for c in missing if (c.seed == self.seeds[0]) is tunes] for tunes in (True, False))
        total = sum(self._cost(cell) for cell in missing)
        with (
            tqdm(total=total, disable=not (progress and missing), bar_format=_BAR, mininterval=1) as bar,
            warnings.catch_warnings(),
        ):
            # joblib replaces a process whose memory has grown, says so, and loses nothing
            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
            bar.set_description(f"{self.task}: {len(missing)} runs to make")
            for cells in (first, others):  # the first seed tunes for the others
                for cell, result in self._results(cells, jobs or _default_jobs(), progress):
                    _log(self, cell, result)
                    bar.set_description(f"{self.task}: {cell.method} with {cell.n} images, seed {cell.seed}, is done")
                    bar.update(self._cost(cell))
        return self.runs()

    def _results(self, cells: list[Cell], jobs: int, progress: bool) -> Iterator[tuple[Cell, "_Result"]]:
        """Each cell with its result, as they come."""
        work = [(self, cell, _rates(self, cell)) for cell in cells]
        if min(jobs, len(work)) <= 1:
            run = _runner(self, progress)
            return ((cell, run(*job)) for cell, job in zip(cells, work, strict=True))
        costliest_first = sorted(work, key=lambda job: -self._cost(job[1]))
        parallel = Parallel(n_jobs=min(jobs, len(work)), return_as="generator_unordered")
        return parallel(delayed(_run_alone)(*job) for job in costliest_first)

    def check(self) -> None:
        """Find out before any training whether the task can give these sizes.

        Raises:
            UserError: it cannot; the text says which size, and what can be given.
        """
        for n in self.sizes:
            _material(self).parts(n, self.seeds[0], self.conditions, self.rules)

    def runs(self) -> pd.DataFrame:
        """The finished runs of this study, a row each.

        Columns: task, method, n, seed, accuracy, val_accuracy (fractions), learning_rate, best_step, train_seconds,
        tuning_seconds, trainable_parameters, bytes_per_task, correct (bool array, test images in their fixed order),
        predictions (int array), run_id. Under the published rules also weight_decay and num_prompts, as chosen (NaN for
        a method without prompts), and val_accuracy is that of the chosen setting before the final run.
        """
        done = _finished(self)
        rows = [_row(self, cell, done[key]) for cell in self.cells() if (key := _key(self, cell)) in done]
        return pd.DataFrame(rows)

    def history(self, method: str, n: int, seed: int) -> History:
        """What happened in the training of one finished run."""
        run = _finished_run(self, Cell(method, n, seed))
        client = _client()
        series = {
            name: [m.value for m in sorted(client.get_metric_history(run.info.run_id, name), key=lambda m: m.step)]
            for name in ("train_loss", "val_loss", "val_accuracy_at", "val_step")
        }
        return History(
            train_loss=series["train_loss"],
            val_steps=[int(step) for step in series["val_step"]],
            val_loss=series["val_loss"],
            val_accuracy=series["val_accuracy_at"],
            best_step=int(run.data.metrics["best_step"]),
            seconds=run.data.metrics["train_seconds"],
        )

    @property
    def kept_seeds(self) -> tuple[int, ...]:
        """Seeds whose models are stored, at the largest size: two, so that two trainings can be held side by side."""
        return self.seeds[:2]

    def model(self, method: str, seed: int | None = None) -> AdaptedModel:
        """The trained model of `method` at the largest size, from the store.

        Args:
            method: one of the study's.
            seed: one of `kept_seeds`; the first, if not given.

        Raises:
            UserError: that run is not finished, or the models of that seed are not stored.
        """
        seed = self.seeds[0] if seed is None else seed
        if seed not in self.kept_seeds:
            raise UserError(f"seed is {seed}, but models are stored for {_listed(self.kept_seeds)} alone.")
        run = _finished_run(self, Cell(method, self.sizes[-1], seed))
        folder = _client().download_artifacts(run.info.run_id, "weights.safetensors")
        model = self.build(method, num_prompts=int(run.data.params["num_prompts"]))
        model.load_state_dict(load_file(folder), strict=False)
        return model.eval()

    def build(self, method: str, seed: int = 0, num_prompts: int | None = None) -> AdaptedModel:
        """A fresh, untrained model of `method` on this study's backbone, with a head for its task's classes."""
        material = _material(self)
        count = (num_prompts or self.num_prompts) if find_method(method).uses_prompts else None
        if self.rules == EQUAL:
            options = {} if count is None else {"num_prompts": count}
        else:
            options = published_options(method, count)
        torch.manual_seed(seed)
        return build_method(method, copy.deepcopy(material.vit), material.task.num_classes, **options)

    def data(self, n: int, seed: int) -> tuple[TensorDataset, TensorDataset, TensorDataset]:
        """Training, validation and test images, prepared (`N 3 S S`), of one size and seed."""
        material = _material(self)
        return *material.labelled(n, seed, self.conditions, self.rules), material.test_under(self.conditions)

    def test_items(self) -> np.ndarray:
        """Indices, in the task's test set, of the test images in the order of `correct` and `predictions`."""
        return _material(self).test_items

    def protocol(self) -> dict[str, str]:
        """The rules of the comparison, label to sentence, with this study's figures."""
        seeds = len(self.seeds)
        of_tuning = self._equal_sentences() if self.rules == EQUAL else self._published_sentences()
        return (
            of_tuning
            | {
                "Test": f"{len(self.test_items())} test images, the same for all runs, looked at once a run and never "
                "for a choice.",
                "Seeds": f"{seeds} ({_listed(self.seeds)})"
                + ("." if seeds > 1 else ": a quick look. Intervals show the choice of test images only."),
            }
            | ({"Prompts": of_tuning.get("Prompts", f"{self.num_prompts} per prompted layer.")})
            | ({"Conditions": self.conditions.sentence()} if self.conditions.sentence() else {})
        )

    def _equal_sentences(self) -> dict[str, str]:
        tried = "All learning rates" if self.candidates == ALL else _count(self.candidates, "learning rate")
        return {
            "Images": f"n counts all labelled images used: 80 % of them train, 20 % validate. For one seed the smaller "
            f"sets are part of the larger ones; every method gets the same images. Sizes: {_listed(self.sizes)}.",
            "Tuning": f"{tried} per method and size, chosen on the validation "
            "images of the first seed, the same number for every method"
            + (" and taken over by the other seeds." if len(self.seeds) > 1 else "."),
            "Training": f"{self.steps} optimiser steps of up to {self.batch_size} images for every run of every method "
            "(AdamW, linear warm-up, cosine decay, no augmentation); the weights best on validation images are kept.",
        }

    def _published_sentences(self) -> dict[str, str]:
        task = _material(self).task
        official = task.validation is not None and self.sizes == (len(task.train),) and self.conditions.imbalance == 1
        return {
            "Images": f"n counts all labelled images used, those for tuning included. Sizes: {_listed(self.sizes)}.",
        } | published_sentences(self.methods, self.candidates, self.epochs, self.batch_size, official)

    # ---- within the room ----

    def _decode(self, progress: bool) -> None:
        """Decode all images of the study's own files once, before several processes ask for them."""
        material = _material(self)
        if not isinstance(material.task.train, LazyImages):
            return
        grid = [(n, seed) for n in self.sizes for seed in self.seeds]
        chosen = [np.concatenate(material.parts(*at, self.conditions, self.rules)[:2]) for at in grid]
        parts = [
            material.task.train.select(np.unique(np.concatenate(chosen))),
            material.task.test.select(material.test_items),
        ]
        wanted = preprocessing(material.vit)
        with tqdm(
            desc=f"{self.task}: decoding images", disable=not progress, unit=" images", delay=5, mininterval=1
        ) as bar:
            for part in parts:
                part.keep(wanted.size, wanted.interpolation, bar.update)

    def _cost(self, cell: Cell) -> float:
        """How long a run takes beside the others."""
        tried = len(self._to_try(find_method(cell.method).learning_rates, cell.method))
        of_final = 0 if self.rules == EQUAL else 1
        return STEP_COST.get(cell.method, 1.0) * (tried + of_final if cell.seed == self.seeds[0] else 1)

    def _is_done(self, cell: Cell, run) -> bool:
        return run is not None and (not self._keeps(cell) or "weights" in run.data.tags)

    def _keeps(self, cell: Cell) -> bool:
        """Whether the run's weights are stored."""
        return cell.n == self.sizes[-1] and cell.seed in self.kept_seeds


_BAR = "{desc}  {percentage:3.0f}% |{bar:20}| {elapsed} gone, {remaining} left"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(values: tuple) -> str:
    return ", ".join(map(str, values))


# ---- what the runs of a study share ---------------------------------------------------------------------------


class _Material:
    """Task, backbone and prepared test images, loaded once for all runs."""

    def __init__(self, task: str, backbone: str, image_size: int | None, depth: int | None, test_images: int | str):
        self.task: Task = load_task(task)
        self.vit, self.fingerprint = _load_backbone(backbone, image_size, depth)
        all_of_them = len(self.task.test)
        self.test_items = fixed_test(self.task.test.labels, all_of_them if test_images == ALL else test_images)

    @lru_cache(maxsize=2)  # noqa: B019 (a material lives as long as its process)
    def test_under(self, conditions: Conditions) -> TensorDataset:
        """The test images, prepared; corrupted, if that is a condition."""
        images, wanted = self.task.test.select(self.test_items), preprocessing(self.vit)
        if conditions.corruption:
            lazy = isinstance(images, LazyImages)
            pixels = images.pixels(wanted.size, wanted.interpolation) if lazy else images.images
            images = ImageSet(corrupt(pixels, conditions.corruption, conditions.severity), images.labels)
        return prepare(images, wanted)

    @lru_cache(maxsize=2)  # noqa: B019
    def test_features(self, conditions: Conditions) -> TensorDataset:
        """What a linear head reads of the test images."""
        model = build_method("linear", copy.deepcopy(self.vit), self.task.num_classes)
        return frozen_features(model, self.test_under(conditions))

    def parts(self, n: int, seed: int, conditions: Conditions, rules: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices of the images to train and to validate on, out of one budget of n, and all labels as told."""
        labels = self.task.train.labels
        as_listed = rules != EQUAL and n == len(labels) and conditions.imbalance == 1
        if as_listed:  # a published list is taken as it is, whatever its classes have
            chosen = np.arange(n)
        elif conditions.imbalance > 1:
            chosen = long_tail(labels, n, conditions.imbalance, seed)
        else:
            chosen = few_shot(labels, n, seed)
        if conditions.label_noise:
            told = labels.copy()
            share = conditions.label_noise
            told[chosen] = wrong_labels(labels[chosen], share, conditions.noise, self.task.num_classes, seed)
            labels = told
        if as_listed and self.task.validation is not None:
            return chosen[~self.task.validation], chosen[self.task.validation], labels
        return *split_validation(labels, chosen, groups=self.task.train_groups), labels

    def labelled(self, n: int, seed: int, conditions: Conditions, rules: str) -> tuple[TensorDataset, TensorDataset]:
        """Training and validation images out of one budget of n, prepared, with their labels as they are told."""
        *parts, labels = self.parts(n, seed, conditions, rules)
        return tuple(self._prepared(part, labels) for part in parts)

    def whole(self, n: int, seed: int, conditions: Conditions, rules: str) -> TensorDataset:
        """All images of one budget of n, prepared, in the order of the task."""
        *parts, labels = self.parts(n, seed, conditions, rules)
        return self._prepared(np.sort(np.concatenate(parts)), labels)

    def _prepared(self, places: np.ndarray, labels: np.ndarray) -> TensorDataset:
        images = prepare(self.task.train.select(places), preprocessing(self.vit)).tensors[0]
        return TensorDataset(images, torch.tensor(labels[places]))


@lru_cache(maxsize=2)
def _load_backbone(*names) -> tuple[VisionTransformer, str]:
    """The backbone, for copies of it to be adapted, and its fingerprint; all tasks of a report share it."""
    vit = load_backbone(*names)
    return vit, fingerprint(vit)


@lru_cache(maxsize=32)
def _load_material(*names) -> _Material:
    return _Material(*names)


def _material(study: Study) -> _Material:
    return _load_material(study.task, study.backbone, study.image_size, study.depth, study.test_images)


# ---- one run --------------------------------------------------------------------------------------------------


@dataclass
class _Result:
    history: History
    test: Evaluation
    learning_rate: float
    tried: dict[str, float]  # learning rate → validation accuracy
    tuning_seconds: float
    trainable_parameters: int
    bytes_per_task: int
    weights: dict[str, Tensor] | None  # of the run whose model is kept
    setting: Setting | None = None  # that the published rules chose
    val_accuracy: float = float("nan")  # of that setting, before the final run


def _default_jobs() -> int:
    said = os.environ.get("VPTLIB_JOBS", "")
    if said and not said.isdigit():
        raise UserError(f"VPTLIB_JOBS is {said!r}, but must be a whole number: how many runs to make at the same time.")
    return int(said or 0) or (1 if best_device().type == "cuda" else os.cpu_count() or 1)


def _run_alone(study: Study, cell: Cell, rates: list[float]) -> tuple[Cell, _Result]:
    """One run in a process of its own: one thread, for threads that share cores with others wait for each other."""
    torch.set_num_threads(1)
    return cell, _runner(study, progress=False)(study, cell, rates)


def _runner(study: Study, progress: bool) -> Callable[..., _Result]:
    """What makes a run, by the rules of the study."""
    return _run_cell if study.rules == EQUAL else partial(_run_published, progress=progress)


def _run_cell(study: Study, cell: Cell, rates: list[float]) -> _Result:
    """Train with each candidate, keep the one best on validation images, test it once."""
    material = _material(study)
    train, val = material.labelled(cell.n, cell.seed, study.conditions, study.rules)
    test = material.test_under(study.conditions)
    if (probe := study.build(cell.method)).features_are_frozen:
        train, val = frozen_features(probe, train), frozen_features(probe, val)
        test = material.test_features(study.conditions)
    start = time.perf_counter()
    best, tried, failure = None, {}, None
    for rate in rates:
        model = study.build(cell.method, cell.seed)
        recipe = Recipe(rate, study.steps, study.batch_size, seed=cell.seed)
        checkpoint = store_folder() / "checkpoints" / f"{_key(study, cell)}-{rate:g}.pt"
        try:
            history = fit(model, train, val, recipe, checkpoint)
        except Diverged as error:
            tried[f"{rate:g}"], failure = 0.0, error
            continue
        checkpoint.unlink(missing_ok=True)
        tried[f"{rate:g}"] = history.best_val_accuracy
        if best is None or _score(history) > _score(best[1]):
            best = model, history, rate
    if best is None:
        raise failure
    model, history, rate = best
    return _Result(
        history,
        evaluate(model, test),
        rate,
        tried,
        tuning_seconds=time.perf_counter() - start,
        trainable_parameters=model.trainable_parameters,
        bytes_per_task=model.bytes_per_task,
        weights=model.trained_state() if study._keeps(cell) else None,
    )


def _run_published(study: Study, cell: Cell, settings: list[Setting], progress: bool = False) -> _Result:
    """Choose a setting on validation images (the first seed), train with it on all images, test the last weights."""
    material, start = _material(study), time.perf_counter()
    about = (cell.n, cell.seed, study.conditions, study.rules)
    tuned = _Tuned(study, cell, material.labelled(*about), settings) if cell.seed == study.seeds[0] else None
    setting = tuned.best(progress) if tuned else settings[0]
    if tuned:
        val_accuracy = tuned.scores[setting.label][0]
    else:
        val_accuracy = _finished_run(study, _tuning_cell(study, cell)).data.metrics["val_accuracy"]
    whole, test = material.whole(*about), material.test_under(study.conditions)
    model = study.build(cell.method, cell.seed, setting.num_prompts)
    if model.features_are_frozen:
        whole, test = frozen_features(model, whole), material.test_features(study.conditions)
    recipe = published_recipe(cell.method, setting, len(whole), study.epochs, study.batch_size, cell.seed)
    checkpoint = store_folder() / "checkpoints" / f"{_key(study, cell)}-final.pt"
    begun = time.perf_counter()
    try:
        history = fit(model, whole, None, recipe, checkpoint)
    except Diverged:
        history = History(seconds=time.perf_counter() - begun)
    checkpoint.unlink(missing_ok=True)
    return _Result(
        history,
        evaluate(model, test),
        setting.learning_rate,
        {label: accuracy for label, (accuracy, _) in tuned.scores.items()} if tuned else {},
        tuning_seconds=time.perf_counter() - start,
        trainable_parameters=model.trainable_parameters,
        bytes_per_task=model.bytes_per_task,
        weights=model.trained_state() if study._keeps(cell) else None,
        setting=setting,
        val_accuracy=val_accuracy,
    )


class _Tuned:
    """The settings of one run with what they reached on validation images; kept in a file, so that hours are not lost.

    Attributes:
        scores: label of a setting → validation accuracy and loss after the last step.
    """

    def __init__(self, study: Study, cell: Cell, data: tuple[TensorDataset, TensorDataset], settings: list[Setting]):
        self._study, self._cell, self._settings = study, cell, settings
        self._train, self._val = data
        probe = study.build(cell.method)
        if probe.features_are_frozen:
            self._train, self._val = (frozen_features(probe, part) for part in data)
        self._file = _tried_file(study, cell)
        self.scores = json.loads(self._file.read_text()) if self._file.is_file() else {}

    def best(self, progress: bool) -> Setting:
        """The setting of the highest validation accuracy, of equals of the lowest loss; tries what is not tried yet.

        Raises:
            Diverged: all of them diverge.
        """
        cell, failure = self._cell, None
        name = f"  {cell.method}, n = {cell.n}: settings tried"
        for setting in tqdm(self._settings, name, disable=not progress, leave=False, mininterval=1):
            if setting.label not in self.scores:
                try:
                    self.scores[setting.label] = self._try(setting)
                except Diverged as error:
                    self.scores[setting.label], failure = (0.0, float("inf")), error
                self._keep()
        if all(math.isinf(loss) for _, loss in self.scores.values()):
            raise failure or Diverged(f"training of {cell.method!r} diverged with every setting: take a larger grid.")
        return max(self._settings, key=lambda s: (self.scores[s.label][0], -self.scores[s.label][1]))

    def _try(self, setting: Setting) -> tuple[float, float]:
        study, cell = self._study, self._cell
        model = study.build(cell.method, cell.seed, setting.num_prompts)
        recipe = published_recipe(cell.method, setting, len(self._train), study.epochs, study.batch_size, cell.seed)
        history = fit(model, self._train, self._val, recipe)
        return history.best_val_accuracy, history.best_val_loss

    def _keep(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(self.scores))
        part.replace(self._file)


def _tried_file(study: Study, cell: Cell) -> Path:
    """What has been tried so far, until the run is in the store."""
    return store_folder() / "checkpoints" / f"{_key(study, cell)}-tried.json"


def _score(history: History) -> tuple[float, float]:
    """Validation accuracy, and of equals the lower loss."""
    return history.best_val_accuracy, -history.best_val_loss


def _rates(study: Study, cell: Cell) -> list[float] | list[Setting]:
    """The candidates for the first seed; for the others, what the first one chose."""
    if cell.seed == study.seeds[0]:
        return study._to_try(find_method(cell.method).learning_rates, cell.method)
    chosen = _finished_run(study, _tuning_cell(study, cell)).data.params
    rate = float(chosen["learning_rate"])
    if study.rules == EQUAL:
        return [rate]
    prompts = int(chosen["num_prompts"]) if find_method(cell.method).uses_prompts else None
    return [Setting(rate, float(chosen["weight_decay"]), prompts)]


def _tuning_cell(study: Study, cell: Cell) -> Cell:
    """The run of the first seed, which tunes for the others."""
    return Cell(cell.method, cell.n, study.seeds[0])


# ---- the store: MLflow ----------------------------------------------------------------------------------------


def _key(study: Study, cell: Cell) -> str:
    """A hash of all that determines a run's numbers."""
    material = _material(study)
    method = find_method(cell.method)
    facts = {
        "protocol": PROTOCOL,
        "task": material.task.fingerprint,
        "backbone": material.fingerprint,
        "cell": asdict(cell),
        "tuned_with": study.seeds[0],
        "learning_rates": method.learning_rates
        if study.candidates == ALL
        else method.learning_rates[: study.candidates],
        "num_prompts": study.num_prompts if method.uses_prompts else None,
        "steps": study.steps,
        "batch_size": study.batch_size,
        "test_items": len(material.test_items),
    } | study.conditions.facts()
    if study.rules != EQUAL:
        facts |= _published_facts(study, cell)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _published_facts(study: Study, cell: Cell) -> dict:
    """What determines a run under the published rules, in the place of what does not."""
    aside = _material(study).task.validation
    return {
        "rules": study.rules,
        "settings": [asdict(setting) for setting in study._to_try((), cell.method)],
        "epochs": study.epochs,
        "set_aside": None if aside is None else np.flatnonzero(aside).tolist(),
        **dict.fromkeys(("learning_rates", "num_prompts", "steps")),
    }


# MLflow reports its use to its makers, and every table and file to the terminal, unless told not to.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def _quoted(text: str) -> str:
    """A text in the quotes of MLflow's filters, which know no escape."""
    return f'"{text}"' if "'" in text else f"'{text}'"


@lru_cache(maxsize=1)
def _client_at(uri: str):
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    if not uri.startswith("sqlite:///"):
        return MlflowClient(tracking_uri=uri)
    # MLflow makes the tables of a new file without a lock: two notebooks that start side by side would both make them.
    with FileLock(uri.removeprefix("sqlite:///") + ".lock"):
        return MlflowClient(tracking_uri=uri)


def _client():
    """The MLflow client: the server that `MLFLOW_TRACKING_URI` names, or an SQLite file in the store folder."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_writable_store() / 'mlflow.db'}"
    return _client_at(uri)


def _writable_store() -> Path:
    folder = store_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "artifacts").mkdir(exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no permission to write")
    except OSError as error:
        raise UserError(
            f"the store of runs {folder} cannot be written ({error.strerror or error}): set VPTLIB_STORE to a folder "
            "that can."
        ) from error
    return folder


def _experiment() -> str:
    from mlflow.exceptions import MlflowException

    client = _client()
    found = client.get_experiment_by_name("vptlib")
    if found:
        return found.experiment_id
    local = not os.environ.get("MLFLOW_TRACKING_URI")
    where = (store_folder() / "artifacts").resolve().as_uri() if local else None
    try:
        return client.create_experiment("vptlib", artifact_location=where)
    except MlflowException:  # another process has made it since we looked
        found = client.get_experiment_by_name("vptlib")
        if not found:
            raise
        return found.experiment_id


def _finished(study: Study) -> dict:
    """Finished MLflow runs of the study's task, by key; of two that are the same, one with stored weights."""
    found, token = {}, None
    while True:
        page = _client().search_runs(
            [_experiment()],
            filter_string=f"attributes.status = 'FINISHED' and tags.task = {_quoted(study.task)}",
            max_results=1000,
            page_token=token,
        )
        for run in page:
            known = found.get(run.data.tags["key"])
            if known is None or "weights" in run.data.tags:
                found[run.data.tags["key"]] = run
        token = page.token
        if not token:
            return found


def _finished_run(study: Study, cell: Cell):
    run = _finished(study).get(_key(study, cell))
    if run is None:
        raise UserError(
            f"{cell.method} on {study.task} with {cell.n} images and seed {cell.seed} has not been run: "
            "call Study.run() first."
        )
    return run


def _log(study: Study, cell: Cell, result: _Result) -> None:
    """Everything under one MLflow run, marked finished only when all of it is there."""
    from mlflow.entities import Metric, Param, RunTag

    client, now = _client(), int(time.time() * 1000)
    key = _key(study, cell)
    tags = {"key": key, "task": study.task, "backbone_sha256": _material(study).fingerprint}
    run = client.create_run(_experiment(), tags=tags, run_name=f"{study.task} {cell.method} n={cell.n} s={cell.seed}")
    run_id, history = run.info.run_id, result.history
    params = {
        **{k: v for k, v in asdict(study).items() if k not in ("methods", "sizes", "seeds")},
        **asdict(cell),
        "learning_rate": repr(result.learning_rate),
    }
    if result.setting is None:
        params["rates_tried"] = json.dumps(result.tried)
    else:  # hundreds of settings are more than a parameter of MLflow may hold
        params |= {"num_prompts": result.setting.num_prompts or 0, "weight_decay": repr(result.setting.weight_decay)}
        client.log_dict(run_id, result.tried, "tried.json")
    metrics = {
        "accuracy": result.test.accuracy,
        "test_loss": result.test.loss,
        "val_accuracy": history.best_val_accuracy if result.setting is None else result.val_accuracy,
        "best_step": history.best_step,
        "train_seconds": history.seconds,
        "tuning_seconds": result.tuning_seconds,
        "trainable_parameters": result.trainable_parameters,
        "bytes_per_task": result.bytes_per_task,
    }
    series = [
        Metric("train_loss", loss, now, step) for step, loss in zip(history.steps, history.train_loss, strict=True)
    ]
    for step, loss, accuracy in zip(history.val_steps, history.val_loss, history.val_accuracy, strict=True):
        series += [
            Metric("val_step", step, now, step),
            Metric("val_loss", loss, now, step),
            Metric("val_accuracy_at", accuracy, now, step),
        ]
    series += [Metric(name, float(value), now, 0) for name, value in metrics.items()]
    for start in range(0, len(series), 1000):  # MLflow's limit for one batch
        client.log_batch(run_id, metrics=series[start : start + 1000])
    client.log_batch(
        run_id, params=[Param(k, str(v)) for k, v in params.items()], tags=[RunTag("seed", str(cell.seed))]
    )
    client.log_dict(
        run_id,
        {"predictions": result.test.predictions.tolist(), "correct": result.test.correct.astype(int).tolist()},
        "test.json",
    )
    if result.weights:
        _log_weights(client, run_id, result.weights)
    client.set_terminated(run_id, "FINISHED")
    _tried_file(study, cell).unlink(missing_ok=True)


def _log_weights(client, run_id: str, weights: dict[str, Tensor]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file({name: t.cpu().contiguous() for name, t in weights.items()}, path)
        client.log_artifact(run_id, str(path))
    client.set_tag(run_id, "weights", "weights.safetensors")


def _row(study: Study, cell: Cell, run) -> dict:
    metrics = run.data.metrics
    items = _test_items(run.info.run_id, run.info.artifact_uri)
    row = {
        "task": study.task,
        **asdict(cell),
        "accuracy": metrics["accuracy"],
        "val_accuracy": metrics["val_accuracy"],
        "learning_rate": float(run.data.params["learning_rate"]),
        "best_step": int(metrics["best_step"]),
        "train_seconds": metrics["train_seconds"],
        "tuning_seconds": metrics["tuning_seconds"],
        "trainable_parameters": int(metrics["trainable_parameters"]),
        "bytes_per_task": int(metrics["bytes_per_task"]),
        "correct": np.array(items["correct"], dtype=bool),
        "predictions": np.array(items["predictions"]),
        "run_id": run.info.run_id,
    }
    if study.rules != EQUAL:
        prompts = int(run.data.params["num_prompts"]) or float("nan")
        row |= {"weight_decay": float(run.data.params["weight_decay"]), "num_prompts": prompts}
    return row


@lru_cache(maxsize=4096)
def _test_items(run_id: str, _artifact_uri: str) -> dict:
    return json.loads(Path(_client().download_artifacts(run_id, "test.json")).read_text())
