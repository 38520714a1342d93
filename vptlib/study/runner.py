"""One run under equal or published rules: choose a candidate on validation images, train, test once."""

import json
import math
import os
import time
from collections.abc import Callable
from functools import partial

import torch
from torch.utils.data import TensorDataset
from tqdm import tqdm

from vptlib.errors import UserError
from vptlib.paths import store_folder
from vptlib.study.material import build_model, material_of
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import EQUAL, Setting, published_recipe
from vptlib.study.store import Result, finished_run, run_key, tried_file
from vptlib.tuning.methods import find_method
from vptlib.tuning.training import Diverged, History, Recipe, best_device, evaluate, fit, frozen_features


def default_jobs() -> int:
    """How many runs are made at the same time: `$VPTLIB_JOBS`, or one with a GPU, or as many as there are cores."""
    given = os.environ.get("VPTLIB_JOBS", "")
    if given and not given.isdigit():
        raise UserError(f"VPTLIB_JOBS is {given!r}, but must be a whole number: of runs made at the same time.")
    return int(given or 0) or (1 if best_device().type == "cuda" else os.cpu_count() or 1)


def run_alone(plan: Plan, cell: Cell, rates: list[float]) -> tuple[Cell, Result]:
    """One run in its own process, with one thread: more threads would wait for those of other runs."""
    torch.set_num_threads(1)
    return cell, runner_of(plan, progress=False)(plan, cell, rates)


def runner_of(plan: Plan, progress: bool) -> Callable[..., Result]:
    """The function that makes a run under the rules of the plan."""
    return run_cell if plan.rules == EQUAL else partial(run_published, progress=progress)


def run_cell(plan: Plan, cell: Cell, rates: list[float]) -> Result:
    """Train with each candidate, keep the one that is best on validation images, test it once."""
    material = material_of(plan)
    train, val = material.labelled(cell.n, cell.seed, plan.conditions, plan.rules)
    test = material.test_under(plan.conditions)
    if (probe := build_model(plan, cell.method)).features_are_frozen:
        train, val = frozen_features(probe, train), frozen_features(probe, val)
        test = material.test_features(plan.conditions)
    start = time.perf_counter()
    best, tried, failures = None, {}, []
    for rate in rates:
        model = build_model(plan, cell.method, cell.seed)
        recipe = Recipe(rate, plan.steps, plan.batch_size, seed=cell.seed)
        checkpoint = store_folder() / "checkpoints" / f"{run_key(plan, cell)}-{rate:g}.pt"
        try:
            history = fit(model, train, val, recipe, checkpoint)
        except Diverged as error:
            tried[f"{rate:g}"] = 0.0
            failures.append(error)
            continue
        checkpoint.unlink(missing_ok=True)
        tried[f"{rate:g}"] = history.best_val_accuracy
        if best is None or _score(history) > _score(best[1]):
            best = model, history, rate
    if best is None:
        raise failures[-1]
    model, history, rate = best
    return Result(
        history,
        evaluate(model, test),
        rate,
        tried,
        tuning_seconds=time.perf_counter() - start,
        trainable_parameters=model.trainable_parameters,
        bytes_per_task=model.bytes_per_task,
        weights=model.trained_state() if plan.keeps(cell) else None,
    )


def run_published(plan: Plan, cell: Cell, settings: list[Setting], progress: bool = False) -> Result:
    """Choose a setting on validation images (the first seed), train with it on all images, test the last weights."""
    material, start = material_of(plan), time.perf_counter()
    about = (cell.n, cell.seed, plan.conditions, plan.rules)
    tuned = _Tuned(plan, cell, material.labelled(*about), settings) if cell.seed == plan.seeds[0] else None
    setting = tuned.best(progress) if tuned else settings[0]
    if tuned:
        val_accuracy = tuned.scores[setting.label][0]
    else:
        val_accuracy = finished_run(plan, plan.tuning_cell(cell)).data.metrics["val_accuracy"]
    whole, test = material.whole(*about), material.test_under(plan.conditions)
    model = build_model(plan, cell.method, cell.seed, setting.num_prompts)
    if model.features_are_frozen:
        whole, test = frozen_features(model, whole), material.test_features(plan.conditions)
    recipe = published_recipe(cell.method, setting, len(whole), plan.epochs, plan.batch_size, cell.seed)
    checkpoint = store_folder() / "checkpoints" / f"{run_key(plan, cell)}-final.pt"
    begun = time.perf_counter()
    try:
        history = fit(model, whole, None, recipe, checkpoint)
    except Diverged:
        history = History(seconds=time.perf_counter() - begun)
    checkpoint.unlink(missing_ok=True)
    return Result(
        history,
        evaluate(model, test),
        setting.learning_rate,
        {label: accuracy for label, (accuracy, _) in tuned.scores.items()} if tuned else {},
        tuning_seconds=time.perf_counter() - start,
        trainable_parameters=model.trainable_parameters,
        bytes_per_task=model.bytes_per_task,
        weights=model.trained_state() if plan.keeps(cell) else None,
        setting=setting,
        val_accuracy=val_accuracy,
    )


class _Tuned:
    """The settings of one run with their validation scores, kept in a file: a stopped run does not try them again.

    Attributes:
        scores: label of a setting → validation accuracy (fraction) and loss after the last step.
    """

    def __init__(self, plan: Plan, cell: Cell, data: tuple[TensorDataset, TensorDataset], settings: list[Setting]):
        self._plan, self._cell, self._settings = plan, cell, settings
        self._train, self._val = data
        probe = build_model(plan, cell.method)
        if probe.features_are_frozen:
            self._train, self._val = (frozen_features(probe, part) for part in data)
        self._file = tried_file(plan, cell)
        self.scores = json.loads(self._file.read_text()) if self._file.is_file() else {}

    def best(self, progress: bool) -> Setting:
        """The setting of the highest validation accuracy; where two are equal, of the lower loss. Tries untried ones.

        Raises:
            Diverged: all settings diverge.
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
            raise failure or Diverged(f"training of {cell.method!r} diverged with every setting: raise `candidates`.")
        return max(self._settings, key=lambda s: (self.scores[s.label][0], -self.scores[s.label][1]))

    def _try(self, setting: Setting) -> tuple[float, float]:
        plan, cell = self._plan, self._cell
        model = build_model(plan, cell.method, cell.seed, setting.num_prompts)
        recipe = published_recipe(cell.method, setting, len(self._train), plan.epochs, plan.batch_size, cell.seed)
        history = fit(model, self._train, self._val, recipe)
        return history.best_val_accuracy, history.best_val_loss

    def _keep(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(self.scores))
        part.replace(self._file)


def _score(history: History) -> tuple[float, float]:
    """Validation accuracy, and where two are equal the lower loss."""
    return history.best_val_accuracy, -history.best_val_loss


def candidates_of(plan: Plan, cell: Cell) -> list[float] | list[Setting]:
    """All candidates for the first seed; for other seeds only the one that the first seed chose."""
    if cell.seed == plan.seeds[0]:
        return plan.to_try(cell.method)
    chosen = finished_run(plan, plan.tuning_cell(cell)).data.params
    rate = float(chosen["learning_rate"])
    if plan.rules == EQUAL:
        return [rate]
    prompts = int(chosen["num_prompts"]) if find_method(cell.method).uses_prompts else None
    return [Setting(rate, float(chosen["weight_decay"]), prompts)]
