"""One run under each of the rules: choose a candidate on validation images, train, test once."""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch.utils.data import TensorDataset
from tqdm import tqdm

from vptlib.errors import UserError
from vptlib.paths import store_folder, write_whole
from vptlib.prompting.blocks import heads
from vptlib.study.done_rules import MOST_GROWTH, lower_rate, next_rate, ranked, recipe_until_done, rounds
from vptlib.study.material import build_model, is_solved, material_of
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import DONE, EQUAL, VTAB, Setting, published_recipe
from vptlib.study.store import Result, finished_run, run_key, tried_file
from vptlib.study.time_budget import OutOfTime
from vptlib.terminal import ticking
from vptlib.tuning.devices import in_use
from vptlib.tuning.methods import AdaptedModel, find_method
from vptlib.tuning.precision import frozen_in_bfloat16, resolved
from vptlib.tuning.solved import SOLVERS
from vptlib.tuning.training import (
    Diverged,
    Evaluation,
    History,
    Recipe,
    Training,
    best_device,
    evaluate,
    fit,
    frozen_features,
    may_be_kept,
)


def default_jobs() -> int:
    """How many runs are made at the same time: `$VPTLIB_JOBS`, or one with a GPU, or as many as there are cores."""
    given = os.environ.get("VPTLIB_JOBS", "")
    if given and not given.isdigit():
        raise UserError(f"VPTLIB_JOBS is {given!r}, but must be a whole number: of runs made at the same time.")
    return int(given or 0) or (1 if best_device().type == "cuda" else os.cpu_count() or 1)


def run_alone(plan: Plan, cell: Cell, rates: list, deadline: float | None = None) -> tuple[Cell, Result | None]:
    """One run in its own process, with one thread: more threads would wait for those of other runs."""
    torch.set_num_threads(1)
    return run_here(plan, cell, rates, deadline)


def run_here(
    plan: Plan, cell: Cell, rates: list, deadline: float | None = None, progress: bool = False
) -> tuple[Cell, Result | None]:
    """A run with its cell; None instead of the result if its time was up before (`deadline`, as `time.time` counts)."""
    until = () if deadline is None else (deadline,)
    try:
        return cell, runner_of(plan, progress)(plan, cell, rates, *until)
    except OutOfTime:
        return cell, None


def runner_of(plan: Plan, progress: bool) -> Callable[..., Result]:
    """The function that makes a run under the rules of the plan."""
    if plan.rules == DONE:
        return run_until_done
    return run_cell if plan.rules == EQUAL else partial(run_published, progress=progress)


def _watch_of(deadline: float | None) -> Callable[[History], bool] | None:
    """What ends a training at `deadline` (seconds as `time.time` counts them)."""
    return None if deadline is None else lambda _: time.time() > deadline


def _fit_until(deadline: float, model: AdaptedModel, train, val, recipe: Recipe, checkpoint: Path) -> History:
    """`fit`, or `OutOfTime` if the time is up before its last step."""
    training = Training(model, train, val, recipe, checkpoint)
    training.advance(recipe.steps, watch=_watch_of(deadline))
    if not training.is_over:
        training.save()
        raise OutOfTime
    return training.finish()


def run_cell(plan: Plan, cell: Cell, rates: list[float], deadline: float | None = None) -> Result:
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
        recipe = Recipe(rate, plan.most_steps, plan.batch_size, seed=cell.seed)
        checkpoint = store_folder() / "checkpoints" / f"{run_key(plan, cell)}-{rate:g}.pt"
        try:
            if deadline is None:
                history = fit(model, train, val, recipe, checkpoint)
            else:
                history = _fit_until(deadline, model, train, val, recipe, checkpoint)
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


def run_until_done(plan: Plan, cell: Cell, rates: list[float], deadline: float | None = None) -> Result:
    """Solve, or train the candidates side by side and the best until it is done; test it once."""
    material = material_of(plan)
    train, val = material.labelled(cell.n, cell.seed, plan.conditions, plan.rules)
    probe = build_model(plan, cell.method, cell.seed)
    start = time.perf_counter()
    solved = is_solved(plan, cell.method)
    found = _solved(probe, train, val) if solved else _Race(plan, cell, probe, train, val, deadline).run(rates)
    test = material.test_features(plan.conditions) if solved else material.test_under(plan.conditions)
    return Result(
        found.history,
        _tested(found.model, test, bf16=not solved and found.history.precision == "bf16"),
        found.setting,
        found.tried,
        tuning_seconds=time.perf_counter() - start,
        trainable_parameters=found.model.trainable_parameters,
        bytes_per_task=found.model.bytes_per_task,
        weights=found.model.trained_state() if plan.keeps(cell) else None,
    )


def _tested(model: AdaptedModel, test: TensorDataset, bf16: bool) -> Evaluation:
    """The test, in the arithmetic in which the model was chosen."""
    if not bf16:
        return evaluate(model, test)
    with frozen_in_bfloat16(model), torch.autocast(best_device().type, torch.bfloat16):
        return evaluate(model, test)


@dataclass(frozen=True)
class _Found:
    """A trained model, with what was chosen (a learning rate, or the strength of a solver) and what was tried."""

    model: AdaptedModel
    history: History
    setting: float
    tried: dict[str, float]


def _solved(model: AdaptedModel, train: TensorDataset, val: TensorDataset) -> _Found:
    solved = SOLVERS[model.method](model, frozen_features(model, train), frozen_features(model, val))
    return _Found(model.eval(), solved.history, solved.setting, solved.tried)


class _Race:
    """Candidates of one run: they train side by side, the worse half stops after each round, the best goes on."""

    def __init__(
        self,
        plan: Plan,
        cell: Cell,
        probe: AdaptedModel,
        train: TensorDataset,
        val: TensorDataset,
        deadline: float | None = None,
    ):
        self._plan, self._cell, self._deadline = plan, cell, deadline
        if probe.stem_is_frozen and may_be_kept(probe, train, val):
            train, val = frozen_features(probe, train), frozen_features(probe, val)
        self._data = train, val
        self._bf16 = resolved(plan.precision) == "bf16"
        self._file = tried_file(plan, cell)
        self._scores: dict[str, dict[str, tuple[float, float]]] = (  # round → rate → validation accuracy and loss
            _scores_before(self._file)
        )
        self._running: dict[float, Training] = {}
        self._failure = Diverged("training has not diverged")

    def run(self, rates: list[float]) -> _Found:
        """Train the candidates, then the best one until it is done.

        Raises:
            Diverged: training diverges with every rate.
        """
        best = rates[0]  # the usual one
        if len(rates) > 1:
            at = rounds(self._recipe(best), len(rates))
            best = self._grown(self._best_of(rates, at), at[-1])
        history, best = self._to_the_end(best)
        tried = {f"{rate:g}": self._best_accuracy(rate) for rate in self._all_rates()}
        tried[f"{best:g}"] = history.best_val_accuracy
        return _Found(self._running[best].model, history, best, tried)

    def _best_of(self, rates: list[float], at: list[int]) -> float:
        """The best rate after the rounds of `at`, each a number of steps; `rates` begins with the usual one."""
        usual = rates[0]
        for number, steps in enumerate(at):
            order = self._ranked(rates, usual, steps)
            rates = order[: 1 if number == len(at) - 1 else math.ceil(len(rates) / 2)]
            for rate in order[len(rates) :]:
                self._drop(rate)
        return rates[0]

    def _grown(self, best: float, steps: int) -> float:
        """The best rate after rates beyond the edge have been tried too."""
        for _ in range(MOST_GROWTH):
            further = next_rate(dict.fromkeys(self._all_rates(), 0.0), best)
            if further is None:
                return best
            if self._ranked([best, further], best, steps)[0] == best:
                self._drop(further)
                return best
            self._drop(best)
            best = further
        return best

    def _ranked(self, rates: list[float], preferred: float, steps: int) -> list[float]:
        """Rates by what they reach within so many steps, the best first."""
        return ranked({rate: self._score(rate, steps) for rate in rates}, preferred, len(self._data[1]))

    def _to_the_end(self, rate: float) -> tuple[History, float]:
        """The training that goes on to its end. A rate that diverges late is divided by √10, twice at most."""
        for _ in range(3):
            training = self._training(rate)
            try:
                self._advance(training, self._plan.most_steps)
                return training.finish(), rate
            except Diverged as error:
                self._failure = error
                self._note(rate, self._plan.most_steps, _DIVERGED)
                self._drop(rate)
                rate = lower_rate(rate)
        raise self._failure

    def _score(self, rate: float, steps: int) -> tuple[float, float]:
        """Best validation accuracy of a rate within so many steps, and where two are equal the lower loss."""
        known = self._scores.get(str(steps), {}).get(f"{rate:g}")
        if known is None:
            training = self._training(rate)
            try:
                self._advance(training, steps)
                known = _score(training.history)
            except Diverged as error:
                self._failure, known = error, _DIVERGED
                self._drop(rate)
            self._note(rate, steps, known)
        return known[0], known[1]

    def _advance(self, training: Training, steps: int) -> None:
        """Train to step `steps`; where the time is up before, keep all that is running and stop."""
        training.advance(steps, watch=_watch_of(self._deadline))
        if not training.is_over and len(training.history.train_loss) < steps:
            for running in self._running.values():
                running.save()
            raise OutOfTime

    def _drop(self, rate: float) -> None:
        self._running.pop(rate, None)
        self._checkpoint(rate).unlink(missing_ok=True)

    def _recipe(self, rate: float) -> Recipe:
        plan = self._plan
        recipe = recipe_until_done(rate, plan.most_steps, plan.batch_size, self._cell.seed, self._bf16)
        return replace(recipe, augmentation=plan.augmentation)

    def _training(self, rate: float) -> Training:
        if rate not in self._running:
            plan, cell = self._plan, self._cell
            model = build_model(plan, cell.method, cell.seed)
            if model.phases[0] == "head":
                self._solve_head(model)
            self._running[rate] = Training(model, *self._data, self._recipe(rate), self._checkpoint(rate))
        return self._running[rate]

    def _solve_head(self, model: AdaptedModel) -> None:
        """The first phase of LP-FT: the head of a linear probe, solved; only the second phase is left to train.

        The head is solved on the images as they are; augmentation is for the second phase.
        """
        probe = build_model(self._plan, "linear", self._cell.seed)
        _solved(probe, *self._data)
        for head, solved in zip(heads(model.vit), heads(probe.vit), strict=True):
            head.load_state_dict(solved.state_dict())
        model.phases = model.phases[1:]

    def _checkpoint(self, rate: float) -> Path:
        return store_folder() / "checkpoints" / f"{run_key(self._plan, self._cell)}-{rate:g}.pt"

    def _note(self, rate: float, steps: int, score: tuple[float, float]) -> None:
        self._scores.setdefault(str(steps), {})[f"{rate:g}"] = score
        _keep_scores(self._file, self._scores)

    def _all_rates(self) -> list[float]:
        return sorted({float(rate) for scores in self._scores.values() for rate in scores})

    def _best_accuracy(self, rate: float) -> float:
        """The best validation accuracy of a rate in all rounds; 0 if it diverged in any."""
        scores = [tuple(of_round[f"{rate:g}"]) for of_round in self._scores.values() if f"{rate:g}" in of_round]
        return 0.0 if _DIVERGED in scores else max(accuracy for accuracy, _ in scores)


_DIVERGED = (0.0, -math.inf)  # the score of a rate that diverges


def run_published(
    plan: Plan, cell: Cell, settings: list[Setting], deadline: float | None = None, progress: bool = False
) -> Result:
    """Choose a setting on validation images (the first seed), train with it on all images, test the last weights.

    A run under these rules has no deadline: it goes on to its end.
    """
    material, start = material_of(plan), time.perf_counter()
    about = (cell.n, cell.seed, plan.conditions, plan.rules)
    tuned = _Tuned(plan, cell, material.labelled(*about), settings) if cell.seed == plan.seeds[0] else None
    setting = tuned.best(progress) if tuned else settings[0]
    if tuned:
        val_accuracy = tuned.scores[setting.label][0]
    else:
        metrics = in_use().from_first(lambda: dict(finished_run(plan, plan.tuning_cell(cell)).data.metrics))
        val_accuracy = metrics["val_accuracy"]
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
        self._train, self._val = _for_tuning(plan, cell, data)
        self._file = tried_file(plan, cell)
        self.scores = _scores_before(self._file)

    def best(self, progress: bool) -> Setting:
        """The setting of the highest validation accuracy; where two are equal, of the lower loss. Tries untried ones.

        Raises:
            Diverged: all settings diverge.
        """
        cell, failure = self._cell, None
        name = f"  {cell.method}, n = {cell.n}: settings tried"
        with ticking(tqdm(self._settings, name, disable=not progress, leave=False, mininterval=1)) as settings:
            for setting in settings:
                if setting.label not in self.scores:
                    failure = self._try(setting) or failure
        if all(math.isinf(loss) for _, loss in self.scores.values()):
            raise failure or Diverged(f"training of {cell.method!r} diverged with every setting: raise `candidates`.")
        return max(self._settings, key=lambda s: (self.scores[s.label][0], -self.scores[s.label][1]))

    def _try(self, setting: Setting) -> Diverged | None:
        """Try a setting and keep its scores; the error of a training that diverges."""
        failure = None
        try:
            self.scores[setting.label] = _score_of(self._plan, self._cell, setting, self._train, self._val)
        except Diverged as error:
            self.scores[setting.label], failure = SCORE_OF_DIVERGED, error
        _keep_scores(self._file, self.scores)
        return failure


SCORE_OF_DIVERGED = (0.0, math.inf)  # validation accuracy and loss of a published setting that diverges


def score_of_setting(plan: Plan, cell: Cell, setting: Setting) -> tuple[float, float]:
    """One published setting by itself, for runs whose settings are tried on many machines.

    Returns:
        Validation accuracy (a fraction) and loss after the last step; `SCORE_OF_DIVERGED` where training diverges.
    """
    try:
        return _score_of(plan, cell, setting, *_data_for_tuning(plan, cell))
    except Diverged:
        return SCORE_OF_DIVERGED


@lru_cache(maxsize=1)  # a worker gets many settings of one run, one after the other
def _data_for_tuning(plan: Plan, cell: Cell) -> tuple[TensorDataset, TensorDataset]:
    labelled = material_of(plan).labelled(cell.n, cell.seed, plan.conditions, plan.rules)
    return _for_tuning(plan, cell, labelled)


def _for_tuning(
    plan: Plan, cell: Cell, data: tuple[TensorDataset, TensorDataset]
) -> tuple[TensorDataset, TensorDataset]:
    """Training and validation images as a setting needs them: for a linear head, their features."""
    probe = build_model(plan, cell.method)
    if not probe.features_are_frozen:
        return data
    train, val = data
    return frozen_features(probe, train), frozen_features(probe, val)


def _score_of(
    plan: Plan, cell: Cell, setting: Setting, train: TensorDataset, val: TensorDataset
) -> tuple[float, float]:
    """Validation accuracy and loss of one published setting."""
    model = build_model(plan, cell.method, cell.seed, setting.num_prompts)
    recipe = published_recipe(cell.method, setting, len(train), plan.epochs, plan.batch_size, cell.seed)
    history = fit(model, train, val, recipe)
    return history.best_val_accuracy, history.best_val_loss


def _scores_before(file: Path) -> dict:
    """What has been tried before the run was stopped; the same on all devices."""
    return in_use().from_first(lambda: json.loads(file.read_text()) if file.is_file() else {})


def _keep_scores(file: Path, scores: dict) -> None:
    if in_use().is_first:
        write_whole(file, json.dumps(scores))


def _score(history: History) -> tuple[float, float]:
    """Validation accuracy, and where two are equal the lower loss."""
    return history.best_val_accuracy, -history.best_val_loss


def candidates_of(plan: Plan, cell: Cell) -> list[float] | list[Setting]:
    """All candidates for a run that tunes; for others the one that was chosen; none for a method that is solved."""
    if is_solved(plan, cell.method):
        return []
    if plan.tunes(cell):
        return plan.to_try(cell.method)
    chosen = finished_run(plan, plan.tuning_cell(cell)).data.params
    rate = float(chosen["learning_rate"])
    if plan.rules != VTAB:
        return [rate]
    prompts = int(chosen["num_prompts"]) if find_method(cell.method).uses_prompts else None
    return [Setting(rate, float(chosen["weight_decay"]), prompts)]
