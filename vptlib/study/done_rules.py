"""The rules "until done": every method is trained until validation images show no more progress.

One rule for all methods that are trained by steps:

- Each tries `candidates` learning rates around its usual one, a factor of √10 apart. All train side by side; after each
  round the worse half stops (successive halving: Jamieson and Talwalkar, AISTATS 2016, arXiv 1502.07943).
- Few validation images choose by luck. So the usual rate stays unless another is better by more than one standard error
  (Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984, section 3.4.3).
- If the best rate lies at the edge of those tried, the next one beyond is tried too, at most `MOST_GROWTH` times. It
  must be better by as much.
- The best goes on until `PATIENCE` evaluations bring no progress, or to `steps`, the same for all. Then its rate falls.

Each seed chooses for itself, on its own validation images: so the luck of a choice is in the spread of the seeds.
Methods with a solver (`vptlib.tuning.solved`) are solved to convergence instead.
"""

import math
from collections.abc import Mapping

from vptlib.tuning.methods import find_method
from vptlib.tuning.training import Recipe

MOST_STEPS = 600
CANDIDATES = 3
FACTOR = math.sqrt(10)
MOST_GROWTH = 2
STEPS_BETWEEN_EVALUATIONS = 20
PATIENCE = 4
WARMUP = 0.05
# Share of the largest number of steps after which the worse half of the candidates stops; each later round doubles it.
FIRST_ROUND = 0.1
# Part of every key of these rules. Increase it when the meaning of a run changes.
EDITION = 3


def usual_rate(method: str) -> float:
    """The middle of a method's grid."""
    row = find_method(method)
    return row.strong_rate or row.learning_rates[0]


def first_rates(method: str, count: int) -> list[float]:
    """`count` learning rates: the usual one, then by turns a step down and a step up; a step is a factor of √10."""
    exponents = [-(k + 1) // 2 if k % 2 else k // 2 for k in range(count)]  # 0, -1, 1, -2, 2, ...
    return [_neat(usual_rate(method) * FACTOR**e) for e in exponents]


def next_rate(tried: Mapping[float, float], best: float) -> float | None:
    """The rate beyond the edge if the best of those tried lies there, else None.

    Args:
        tried: rate → validation accuracy.
        best: the best of them.
    """
    if best == min(tried):
        return lower_rate(best)
    return _neat(best * FACTOR) if best == max(tried) else None


def ranked(scores: Mapping[float, tuple[float, float]], preferred: float, images: int) -> list[float]:
    """Rates, the best first; the preferred one comes first unless another is better by more than one standard error.

    Args:
        scores: rate → validation accuracy and negative loss; the loss is infinite if training diverged.
        preferred: one of the rates, or one that is no longer there.
        images: validation images.
    """
    order = sorted(scores, key=scores.__getitem__, reverse=True)
    if preferred not in scores or math.isinf(scores[preferred][1]):
        return order
    best = scores[order[0]][0]
    if best - scores[preferred][0] > standard_error(best, images):
        return order
    return [preferred, *(rate for rate in order if rate != preferred)]


def standard_error(accuracy: float, images: int) -> float:
    """Of an accuracy on so many images; one right and one wrong image are added, so that it is never 0."""
    share = (accuracy * images + 1) / (images + 2)
    return math.sqrt(share * (1 - share) / images)


def lower_rate(rate: float) -> float:
    """The next rate below."""
    return _neat(rate / FACTOR)


def _neat(rate: float) -> float:
    """A rate with two digits, so that a grid prints well and is the same on every machine."""
    return float(f"{rate:.1e}")


def strong_options(method: str, num_prompts: int | None) -> dict:
    """The options for `vptlib.build_method`."""
    return dict(find_method(method).strong_options) | ({} if num_prompts is None else {"num_prompts": num_prompts})


def recipe_until_done(rate: float, steps: int, batch_size: int, seed: int, bf16: bool) -> Recipe:
    """The training of one candidate."""
    return Recipe(
        rate,
        steps=steps,
        batch_size=batch_size,
        warmup=WARMUP,
        evaluations=max(1, round(steps / STEPS_BETWEEN_EVALUATIONS)),
        seed=seed,
        autocast=bf16,
        patience=PATIENCE,
        fused=True,
    )


def rounds(recipe: Recipe, candidates: int) -> list[int]:
    """The numbers of steps after which the worse half of the candidates stops, until one is left."""
    count = max(1, math.ceil(math.log2(max(2, candidates))))
    evaluated = sorted(recipe.evaluation_steps)
    wanted = [FIRST_ROUND * recipe.steps * 2**k for k in range(count)]
    return [next((step for step in evaluated if step >= least), recipe.steps) for least in wanted]
