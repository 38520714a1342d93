"""What an answer costs: one small experiment of the published protocol, made the textbook way and made our way.

For `python -m vptlib.bench answer`. All ways have the same images, backbone and methods, and each test image is used
once by each run. Every way works in a process of its own, with an empty store, one after the other:

    textbook      prompts are tokens, every step goes through the whole backbone, images are prepared anew for each
                  step, settings are tried one after the other, PyTorch shares each step out to all cores
    same rules    `Study.run` under the rules "vtab-1k": the same settings and the same steps. Its numbers are those of
                  the textbook but for rounding, which grows only where a rate is so high that training breaks down.
                  These rules stop no training early
    until done    `Study.run` under our own rules, which stop early. It is another protocol for the same question, with
                  the same largest number of steps
"""

import copy
import os
import resource
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from joblib.externals.loky import get_reusable_executor
from torch import Tensor
from torch.utils.data import TensorDataset

from vptlib.bench.operations import bound
from vptlib.bench.prompting import fast_step_flops, full_step_flops
from vptlib.data.preparing import LazyPixels
from vptlib.environment import set_meanwhile
from vptlib.evidence.resampling import differences
from vptlib.study.material import material_of
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import (
    ALL,
    DONE,
    VTAB,
    Setting,
    published_options,
    published_recipe,
    published_settings,
    steps_of,
)
from vptlib.study.runner import SCORE_OF_DIVERGED
from vptlib.study.study import Study
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import AdaptedModel, build_method, find_method
from vptlib.tuning.training import SOLVED, Diverged, Evaluation, Recipe, evaluate, fit

TEXTBOOK, SAME, EARLY = "textbook", "our way, same rules", "our way, until done"
WAYS = (TEXTBOOK, SAME, EARLY)
MOST = 0.35
# The papers' model: blocks, width, tokens of an image of 224 px, numbers of a patch.
PAPERS = 12, 768, 197, 3 * 16**2


@dataclass(frozen=True)
class Experiment:
    """What is compared.

    Attributes:
        task, methods: as for `vptlib.Study`, as are `image_size`, `depth` and `test_images`.
        labelled: images to train and validate on.
        epochs: passes over the images in every training.
        batch: images in a step.
        candidates: published settings that are tried for each method.
    """

    task: str = "fashion-mnist"
    methods: tuple[str, ...] = ("linear", "vpt-deep", "full")
    labelled: int = 400
    image_size: int = 98
    depth: int = 3
    epochs: int = 2
    batch: int = 16
    candidates: int = 6
    test_images: int = 400

    @property
    def in_words(self) -> str:
        """What is compared, as a sentence."""
        return (
            f"{self.labelled} labelled images of {self.task} at {self.image_size} px, the first {self.depth} blocks of "
            f"the embedded backbone, the methods {', '.join(self.methods)}. Published rules: {self.epochs} epochs in "
            f"batches of {self.batch}; each method tries the first {self.candidates} settings of its published grid, "
            "in an order drawn once."
        )

    def study(self, rules: str = VTAB) -> Study:
        """The experiment under the published rules, or under our own with the same largest number of steps."""
        published = Study(
            self.task,
            self.methods,
            sizes=(self.labelled,),
            rules=VTAB,
            candidates=self.candidates,
            epochs=self.epochs,
            batch_size=self.batch,
            image_size=self.image_size,
            depth=self.depth,
            test_images=self.test_images,
            precision="fp32",
        )
        if rules == VTAB:
            return published
        return replace(published, rules=DONE, candidates=None, steps=steps_of(self.labelled, self.epochs, self.batch))


EXPERIMENT = Experiment()


@dataclass(frozen=True)
class Made:
    """The experiment, made one way.

    Attributes:
        seconds: from the call to the table of runs; the start of workers and the store are in it.
        core_seconds: of all cores together.
        runs: method, n, seed, correct, accuracy, core_seconds, tried (how many settings) and chosen (in words).
    """

    seconds: float
    core_seconds: float
    runs: pd.DataFrame


def measure(experiment: Experiment = EXPERIMENT) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Case, measured, target and whether it is met; the cost of each way; and of each method made each way."""
    material_of(experiment.study())  # what is fetched or decoded at the first use of all is not counted
    with tempfile.TemporaryDirectory() as folder:
        made = {way: alone(way, experiment, Path(folder) / str(k)) for k, way in enumerate(WAYS)}
    return bounds(made), by_way(made), by_method(made)


def alone(way: str, experiment: Experiment, store: Path) -> Made:
    """One way in a new process, which may use all cores."""
    cores = str(os.cpu_count())
    set_for_it = {"OMP_NUM_THREADS": cores, "MKL_NUM_THREADS": cores, "VPTLIB_JOBS": "", "VPTLIB_STORE": str(store)}
    with set_meanwhile(**set_for_it, MLFLOW_TRACKING_URI=""), ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(made_here, way, experiment).result()


def made_here(way: str, experiment: Experiment) -> Made:
    """The experiment, made one way in this process and its workers."""
    begun, used = time.perf_counter(), core_seconds_used()
    runs = textbook_runs(experiment.study()) if way == TEXTBOOK else _study_runs(way, experiment)
    seconds = time.perf_counter() - begun
    get_reusable_executor(reuse=True).shutdown(wait=True)  # the system counts a worker's time when it has ended
    return Made(seconds, core_seconds_used() - used, runs)


def core_seconds_used() -> float:
    """What this process and its ended children have used of all cores."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _study_runs(way: str, experiment: Experiment) -> pd.DataFrame:
    study = experiment.study(VTAB if way == SAME else DONE)
    runs = study.run(progress=False)
    tried = [len(of_run) if way == EARLY else experiment.candidates for of_run in runs["tried"]]
    chosen = [_label(row) for row in runs.to_dict("records")]
    # a run has one thread, so its seconds are those of a core
    return runs.assign(core_seconds=runs["tuning_seconds"], tried=tried, chosen=chosen)


def _label(row: Mapping[Any, Any]) -> str:
    """The setting that was chosen, in words."""
    if "weight_decay" not in row:
        return f"{'strength' if row['stopped'] == SOLVED else 'lr'} {row['learning_rate']:g}"
    prompts = None if np.isnan(row["num_prompts"]) else int(row["num_prompts"])
    return Setting(row["learning_rate"], row["weight_decay"], prompts).label


# ---- the textbook way -------------------------------------------------------------------------------------------


def textbook_runs(plan: Plan) -> pd.DataFrame:
    """A row for each run under the published rules: method, n, seed, correct, accuracy and what it has cost."""
    return pd.DataFrame([_textbook_run(plan, cell) for cell in plan.cells()])


def _textbook_run(plan: Plan, cell: Cell) -> dict[str, Any]:
    used = time.process_time()
    tried = tried_by_textbook(plan, cell)
    setting = max(tried, key=lambda s: (tried[s][0], -tried[s][1]))
    test = tested_by_textbook(plan, cell, setting)
    return {
        "method": cell.method,
        "n": cell.n,
        "seed": cell.seed,
        "accuracy": test.accuracy,
        "correct": test.correct,
        "core_seconds": time.process_time() - used,
        "tried": len(tried),
        "chosen": setting.label,
    }


def tried_by_textbook(plan: Plan, cell: Cell) -> dict[Setting, tuple[float, float]]:
    """Each setting → accuracy and loss on the validation images."""
    training, validation, labels = material_of(plan).parts(cell.n, cell.seed, plan.conditions, plan.rules)
    train, val = _pixels(plan, training, labels), _pixels(plan, validation, labels)
    scores = {}
    for setting in published_settings(cell.method, plan.batch_size, plan.most_candidates):
        model = textbook_model(plan, cell, setting)
        try:
            history = fit(model, train, val, _recipe(plan, cell, setting, len(train)))
            scores[setting] = history.best_val_accuracy, history.best_val_loss
        except Diverged:
            scores[setting] = SCORE_OF_DIVERGED
    return scores


def tested_by_textbook(plan: Plan, cell: Cell, setting: Setting) -> Evaluation:
    """The test of a model that all images have trained."""
    material = material_of(plan)
    *parts, labels = material.parts(cell.n, cell.seed, plan.conditions, plan.rules)
    whole = _pixels(plan, np.sort(np.concatenate(parts)), labels)
    model = textbook_model(plan, cell, setting)
    fit(model, whole, None, _recipe(plan, cell, setting, len(whole)))
    test = material.task.test.select(material.test_items)
    return evaluate(model, _dataset(LazyPixels(test, preprocessing(material.vit)), material.truth))


def textbook_model(plan: Plan, cell: Cell, setting: Setting) -> AdaptedModel:
    """A fresh model whose prompts are tokens, and of which nothing is computed once and kept."""
    material = material_of(plan)
    options = published_options(cell.method, setting.num_prompts)
    if find_method(cell.method).uses_prompts:
        options["fast"] = False
    torch.manual_seed(cell.seed)
    model = build_method(cell.method, copy.deepcopy(material.vit), material.task.num_classes, **options)
    model.features_are_frozen, model.frozen_blocks = False, 0
    return model


def _recipe(plan: Plan, cell: Cell, setting: Setting, images: int) -> Recipe:
    """The published training with PyTorch's optimiser as it is by default."""
    recipe = published_recipe(cell.method, setting, images, plan.epochs, plan.batch_size, cell.seed)
    return replace(recipe, fused=False)


def _pixels(plan: Plan, indices: np.ndarray, labels: np.ndarray) -> TensorDataset:
    """Images that are prepared whenever a step needs them, and their labels."""
    material = material_of(plan)
    images = LazyPixels(material.task.train.select(indices), preprocessing(material.vit))
    return _dataset(images, labels[indices])


def _dataset(images: LazyPixels, labels: np.ndarray) -> TensorDataset:
    return TensorDataset(cast(Tensor, images), torch.tensor(labels))


# ---- the papers' own experiment, counted ------------------------------------------------------------------------


def textbook_step_flops(depth: int, width: int, tokens: int, prompts: int, batch: int, patch_numbers: int) -> float:
    """Floating-point operations of one VPT-deep step whose prompts are tokens, as in `fast_step_flops`."""
    length = tokens + prompts
    block = 48 * length * width**2 + 12 * length**2 * width  # forward, and back to all that enters it
    return batch * (depth * block + 2 * (tokens - 1) * patch_numbers * width)


def share_for_papers() -> float:
    """Operations of our way ÷ textbook for all settings that the papers try on a task, in steps of one image.

    Tests and final runs are left out, and so is the one pass that a linear probe needs our way.
    """
    depth, width, tokens, numbers = PAPERS
    one_pass = depth * (24 * tokens * width**2 + 4 * tokens**2 * width) + 2 * (tokens - 1) * numbers * width
    full = full_step_flops(depth, width, tokens, 1, numbers, read=tokens)
    settings = {method: published_settings(method, 1, ALL) for method in ("linear", "vpt-deep", "full")}
    lengths = [setting.num_prompts or 0 for setting in settings["vpt-deep"]]
    ours = sum(fast_step_flops(depth, width, tokens, count, 1, numbers) for count in lengths)
    textbook = sum(textbook_step_flops(depth, width, tokens, count, 1, numbers) for count in lengths)
    fulls = len(settings["full"]) * full
    return (ours + fulls) / (len(settings["linear"]) * one_pass + textbook + fulls)


# ---- the tables -------------------------------------------------------------------------------------------------


def bounds(made: Mapping[str, Made]) -> pd.DataFrame:
    """Case, measured, target, and whether it is met."""
    textbook = made[TEXTBOOK]
    rows = [bound(f"time, {way} ÷ textbook", made[way].seconds / textbook.seconds, MOST) for way in (SAME, EARLY)]
    for way in (SAME, EARLY):
        rows.append(bound(f"core-hours, {way} ÷ textbook", made[way].core_seconds / textbook.core_seconds))
    return pd.DataFrame([*rows, bound("operations of the papers' own experiment, ours ÷ textbook", share_for_papers())])


def by_way(made: Mapping[str, Made]) -> pd.DataFrame:
    """What the whole experiment has cost each way."""
    rows = [
        {
            "way": way,
            "minutes": f"{each.seconds / 60:.2f}",
            "core-minutes": f"{each.core_seconds / 60:.2f}",
            "cores in use": f"{each.core_seconds / each.seconds:.2f}",
        }
        for way, each in made.items()
    ]
    return pd.DataFrame(rows)


def by_method(made: Mapping[str, Made]) -> pd.DataFrame:
    """What each method has cost and reached, and the difference to the textbook way with its 95 % interval."""
    outcomes = pd.concat([each.runs.assign(method=_named(each.runs["method"], way)) for way, each in made.items()])
    methods = made[TEXTBOOK].runs["method"]
    return pd.DataFrame([_row(made, method, way, outcomes) for method in methods for way in made])


def _named(methods: pd.Series, way: str) -> pd.Series:
    return methods + ", " + way


def _row(made: Mapping[str, Made], method: str, way: str, outcomes: pd.DataFrame) -> dict[str, str]:
    run, textbook = (each.runs.set_index("method").loc[method] for each in (made[way], made[TEXTBOOK]))
    row = {
        "method": method,
        "way": way,
        "tried": str(run["tried"]),
        "chosen": run["chosen"],
        "core-minutes": f"{run['core_seconds'] / 60:.2f}",
        "÷ textbook": f"{run['core_seconds'] / textbook['core_seconds']:.2f}",
        "per cent right": f"{100 * run['accuracy']:.1f}",
    }
    if way == TEXTBOOK:
        return row | dict.fromkeys(("difference", "95 % interval", "holds 0"), "–")
    found = differences(outcomes[["method", "n", "seed", "correct"]], f"{method}, {way}", f"{method}, {TEXTBOOK}")
    low, high = 100 * found.interval()[:, 0]
    return row | {
        "difference": f"{round(100 * found.value[0], 1) + 0.0:+.1f}",  # + 0.0 makes of -0.0 a 0
        "95 % interval": f"{low:+.1f} to {high:+.1f}",
        "holds 0": "yes" if low <= 0 <= high else "no",
    }
