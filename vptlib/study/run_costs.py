"""What a run costs, in seconds, from what a step and an image take: under each of the three rules.

The paces are measured elsewhere (`vptlib.study.time_budget` in this process, `vptlib.study.paces` where runs are made).
Here they are put together as `vptlib.study.runner` does the work.
"""

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import cache
from typing import cast

import numpy as np
import torch
from torch.utils.data import TensorDataset

from vptlib.study import done_rules
from vptlib.study.material import build_model, is_solved, material_of
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import DONE, EQUAL, VTAB, Setting, steps_of
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import find_method
from vptlib.tuning.training import Recipe, may_be_kept

# Expected steps until training is done, before any run of the study has shown it: the mean of the runs of the embedded
# report, which take 144 to 200.
EXPECTED_STEPS = 180
_EVALUATIONS = Recipe(1.0).evaluations  # of a training with an equal budget


@dataclass(frozen=True)
class Pace:
    """Seconds of one model.

    Attributes:
        stem: of an image on its way to what is kept; 0 where nothing is.
        step: of a training step with a whole batch.
        look: of an image from there on, without gradients.
        build: of a fresh model.
        prepare: of an image, until it is as the backbone expects it.
        solve: of a solver, for each labelled image.
    """

    stem: float
    step: float
    look: float
    build: float = 0.0
    prepare: float = 0.0
    solve: float = 0.0


@dataclass(frozen=True)
class RunCost:
    """Seconds of the parts of a run.

    Attributes:
        first: before any training: images are prepared, and what never changes is computed.
        settings: of each published setting that is tried; empty under the other rules.
        last: all that is left, with the test.
    """

    first: float
    settings: tuple[float, ...]
    last: float

    @property
    def total(self) -> float:
        return self.first + sum(self.settings) + self.last


def run_cost(
    plan: Plan,
    cell: Cell,
    pace_at: Callable[[int | None], Pace],
    steps: float = EXPECTED_STEPS,
    prompts: int | None = None,
) -> RunCost:
    """What a run costs, without its place in the store and without the features of test images, which runs share.

    Args:
        pace_at: the pace of the cell's method by its number of prompts; None for that of the plan.
        steps: of the candidate that is trained until it is done; the rules "until done" alone ask for it.
        prompts: that the published rules have chosen, where they have.
    """
    if is_solved(plan, cell.method):
        pace = pace_at(None)
        return RunCost(0.0, (), pace.build + cell.n * (pace.prepare + pace.stem + pace.solve))
    if plan.rules == VTAB:
        return _published(plan, cell, pace_at, prompts)
    pace = pace_at(None)
    taken, evaluations, trainings = _until_done(plan, cell, steps) if plan.rules == DONE else _equal(plan, cell)
    once = cell.n * (pace.prepare + pace.stem * _times_through_stem(plan, cell, trainings))
    trained = trainings * pace.build + taken * _step(plan, pace, 0.8 * cell.n)
    return RunCost(0.0, (), once + trained + evaluations * cell.n / 5 * pace.look + _test(plan, cell.method, pace))


def _times_through_stem(plan: Plan, cell: Cell, trainings: int) -> int:
    """How often the images of a run pass through what is frozen: `vptlib.tuning.training.fit` keeps it for one run."""
    return trainings if plan.rules == EQUAL and not reads_features(plan, cell.method) else 1


def _published(plan: Plan, cell: Cell, pace_at: Callable[[int | None], Pace], prompts: int | None) -> RunCost:
    """The settings train on 800 of 1,000 images, in these proportions, and the chosen one on all of them."""
    tried = [each for each in plan.to_try(cell.method) if isinstance(each, Setting)] if plan.tunes(cell) else []
    features = reads_features(plan, cell.method)
    first = sum(cell.n * (p.prepare + p.stem * features) for p in [pace_at(None)] if tried)

    def trained(pace: Pace, images: float) -> float:
        steps = steps_of(round(images), plan.epochs, plan.batch_size)
        return pace.build + cell.n * pace.stem * (not features) + steps * _step(plan, pace, images)

    settings = [trained(p, 0.8 * cell.n) + 0.2 * cell.n * p.look for p in (pace_at(s.num_prompts) for s in tried)]
    lengths = [prompts] if prompts or not tried else [setting.num_prompts for setting in tried]
    finals = [trained(p, cell.n) + _test(plan, cell.method, p) for p in map(pace_at, lengths)]
    last = pace_at(None)
    return RunCost(first, tuple(settings), cell.n * (last.prepare + last.stem * features) + float(np.mean(finals)))


def _step(plan: Plan, pace: Pace, images: float) -> float:
    """Seconds of a step on so many training images; a batch has no more."""
    return pace.step * min(1.0, images / plan.batch_size)


def _test(plan: Plan, method: str, pace: Pace) -> float:
    """All test images once through the whole model; a head alone is given their features, which runs share."""
    stem = 0.0 if shares_test_features(plan, method) else pace.stem
    return len(material_of(plan).test_items) * (pace.look + stem)


def _equal(plan: Plan, cell: Cell) -> tuple[float, float, int]:
    """Steps, evaluations and trainings of a run with an equal budget."""
    tried = len(plan.to_try(cell.method)) if plan.tunes(cell) else 1
    return tried * plan.most_steps, _EVALUATIONS * tried, tried


def _until_done(plan: Plan, cell: Cell, expected: float) -> tuple[float, float, int]:
    """The same for one that goes on until it is done, its candidates side by side."""
    steps = float(min(expected, plan.most_steps))
    rates = done_rules.first_rates(cell.method, cast(int, plan.most_candidates))
    if len(rates) > 1:
        first, *later = rounds_of(plan, cell)
        steps += first * (len(rates) - 1) + sum(later) / 2
    return steps, steps / done_rules.STEPS_BETWEEN_EVALUATIONS, len(rates)


def rounds_of(plan: Plan, cell: Cell) -> list[int]:
    """Steps after which the worse half of the candidates stops, under the rules "until done"."""
    rates = done_rules.first_rates(cell.method, cast(int, plan.most_candidates))
    recipe = done_rules.recipe_until_done(rates[0], plan.most_steps, plan.batch_size, cell.seed, bf16=False)
    return done_rules.rounds(recipe, len(rates))


# ---- facts about a method -----------------------------------------------------------------------------------------


@cache
def keeps_tokens(plan: Plan, method: str, n: int) -> bool:
    """Whether `method` trains on what its frozen part makes of n images, computed once per image and kept."""
    model = build_model(plan, method)
    size = preprocessing(model.vit).size
    images = torch.zeros(1, 3, size, size).expand(n, -1, -1, -1)  # n 3 S S, of which one is in memory
    return model.stem_is_frozen and may_be_kept(model, TensorDataset(images, torch.zeros(n)), None)


@cache
def reads_features(plan: Plan, method: str) -> bool:
    """Whether all that a method trains is a head on features that never change."""
    return build_model(plan, method).features_are_frozen


def shares_test_features(plan: Plan, method: str) -> bool:
    """Whether a run is tested on features of the test images, which all runs of a process share."""
    return is_solved(plan, method) or (plan.rules != DONE and reads_features(plan, method))


def lengths_of(plan: Plan, method: str) -> list[int | None]:
    """The prompt lengths to measure a pace at: the least, a middle one and the most of those that are tried."""
    if plan.rules != VTAB or not find_method(method).uses_prompts:
        return [None]
    tried = sorted({s.num_prompts for s in plan.to_try(method) if isinstance(s, Setting) and s.num_prompts})
    return [tried[0], *tried[len(tried) // 2 : len(tried) // 2 + 1], tried[-1]] if len(tried) > 3 else [*tried]


def between(paces: Mapping[int | None, Pace], prompts: int) -> Pace:
    """The pace at a prompt length, on the straight line between the two that were measured around it."""
    if None in paces:
        return paces[None]
    lengths = sorted(length for length in paces if length is not None)
    rows = np.array([astuple(paces[length]) for length in lengths])
    return Pace(*(float(np.interp(prompts, lengths, column)) for column in rows.T))
