"""Tables of runs with known truth: accuracies are planted, test images share their difficulty between runs."""

import numpy as np
import pandas as pd
from scipy.stats import norm

SIZES_OF_METHODS = {  # bytes
    "knn": 20_000,
    "linear": 30_000,
    "vpt-shallow": 60_000,
    "vpt-deep": 130_000,
    "bias": 400_000,
    "lora": 600_000,
    "adapter": 900_000,
    "full": 51_200_000,
}


def planted_runs(truth, seeds=3, images=400, seed_spread=0.0, random=0, shared=0.7) -> pd.DataFrame:
    """A table such as `Study.runs` gives.

    Args:
        truth: method → size → true accuracy, a fraction.
        seeds: number of seeds; each adds its own normal deviation to each method's accuracy at each size.
        images: number of test images.
        seed_spread: standard deviation of those deviations.
        random: seed of the draw, or a numpy generator.
        shared: share of what decides whether an image is got right that the image brings with it.
    """
    random = np.random.default_rng(random)
    difficulty = np.sqrt(shared) * random.standard_normal(images)
    rows = []
    for method, accuracies in truth.items():
        for n, accuracy in accuracies.items():
            for seed in range(seeds):
                hit = np.clip(accuracy + seed_spread * random.standard_normal(), 1e-9, 1 - 1e-9)
                own = np.sqrt(1 - shared) * random.standard_normal(images)
                correct = difficulty + own < norm.ppf(hit)
                rows.append(_row(method, n, seed, correct))
    return pd.DataFrame(rows)


def _row(method: str, n: int, seed: int, correct: np.ndarray) -> dict:
    size = SIZES_OF_METHODS[method]
    seconds = {"linear": 0.4, "full": 20.0}.get(method, 15.0)
    return {
        "task": "planted",
        "method": method,
        "n": n,
        "seed": seed,
        "accuracy": correct.mean(),
        "val_accuracy": correct.mean(),
        "learning_rate": 1e-3,
        "best_step": 40,
        "train_seconds": seconds + seed,
        "tuning_seconds": (2 if seed == 0 else 1) * seconds,
        "trainable_parameters": size // 4,
        "bytes_per_task": size,
        "correct": correct,
        "run_id": f"{method}-{n}-{seed}",
    }


def audited_runs(truth, **options) -> pd.DataFrame:
    """As `planted_runs`, with the columns of an audit: each run ended by itself, no choice is at an edge."""
    runs = planted_runs(truth, **options)
    tried = {"0.0003": 0.6, "0.001": 0.8, "0.003": 0.7}
    chosen = [tried if seed == 0 else {"0.001": 0.8} for seed in runs["seed"]]  # the first seed tries for the others
    return runs.assign(last_step=48, stopped="done", tried=chosen)


# ---- tables that break the usual assumptions, for the coverage of intervals ---------------------------------------


def table_of(
    accuracies, images=200, random: int | np.random.Generator = 0, shared=0.5, group=1, of_groups=0.0, n=100, **columns
) -> pd.DataFrame:
    """A table from the true accuracy of every training.

    Args:
        accuracies: method → true accuracy of each seed's training, `S`.
        images: number of test images.
        random: seed of the draw, or a numpy generator.
        shared: share of what decides whether an image is got right that the image brings with it, for all methods.
        group: test images in a group; 1 for images without groups.
        of_groups: share of it that a method finds in a whole group, with all its seeds.
        n: the size.
        columns: further columns; a list has a value for each seed.
    """
    random = np.random.default_rng(random)
    groups = np.arange(images) // group
    difficulty = np.sqrt(shared) * random.standard_normal(images)
    rows = []
    for method, of_seeds in accuracies.items():
        of_group = np.sqrt(of_groups) * random.standard_normal(groups[-1] + 1)[groups]
        for seed, accuracy in enumerate(of_seeds):
            own = np.sqrt(1 - shared - of_groups) * random.standard_normal(images)
            correct = difficulty + of_group + own < norm.ppf(np.clip(accuracy, 1e-9, 1 - 1e-9))
            more = {name: value[seed] if isinstance(value, list) else value for name, value in columns.items()}
            rows.append(_row(method, n, seed, correct) | more)
    runs = pd.DataFrame(rows)
    return runs if group == 1 else runs.assign(test_groups=[groups] * len(runs))


def pool_effects(random, seeds: int, n: int, pool: int, spread: float, start: float) -> np.ndarray:
    """What trainings on n images out of one pool differ by from the mean of all pools, `S`.

    Args:
        random: a numpy generator.
        seeds: number of trainings.
        n, pool: each training draws n of the images of the pool.
        spread: standard deviation that the choice of n images gives, were the pool endless.
        start: standard deviation of what initial values and batches add.
    """
    worth = spread * np.sqrt(n) * random.standard_normal(pool)  # of each image
    drawn = [worth[random.permutation(pool)[:n]].mean() for _ in range(seeds)]
    return np.array(drawn) + start * random.standard_normal(seeds)


# ---- answers of models that are as sure as is planted, for what inspection asks for -------------------------------


def planted_answers(images=400, trainings=3, classes=3, too_sure=1.0, alike=0.0, random=0, **about):
    """`vptlib.evidence.answers.Answers` with probabilities that are perfect, or too sure.

    Args:
        images, trainings, classes: how many.
        too_sure: what the logits are multiplied by: at 1 the probabilities are exactly right, above 1 too high.
        alike: standard deviation of what each training adds to the logits.
        random: seed of the draw, or a numpy generator.
        about: other parts of `Answers`, such as `groups`.
    """
    from vptlib.evidence.answers import Answers

    random = np.random.default_rng(random)
    logits = 2.5 * random.standard_normal((images, classes))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (shares.cumsum(axis=1) > random.random((images, 1))).argmax(axis=1)
    own = too_sure * (logits + alike * random.standard_normal((trainings, images, classes)))  # S I C
    probabilities = np.exp(own) / np.exp(own).sum(axis=2, keepdims=True)
    names = tuple(f"class {number}" for number in range(classes))
    parts = {"class_names": names, "probabilities": probabilities.astype(np.float32), "seeds": tuple(range(trainings))}
    return Answers(probabilities.argmax(axis=2), truth, **(parts | about))


def answers_with_rate(rate, images=300, trainings=3, spread=0.0, group=1, of_groups=0.0, shared=0.5, random=0):
    """`Answers` to images of two classes that each training recognises at about this rate.

    Args:
        rate: true share of right answers, in both classes.
        spread: standard deviation of what the trainings' own rates differ by.
        group, of_groups, shared: as for `table_of`.
    """
    from vptlib.evidence.answers import Answers

    random = np.random.default_rng(random)
    groups = np.arange(images) // group
    common = np.sqrt(shared) * random.standard_normal(images)
    common = common + np.sqrt(of_groups) * random.standard_normal(groups[-1] + 1)[groups]
    own = np.sqrt(1 - shared - of_groups) * random.standard_normal((trainings, images))
    rates = np.clip(rate + spread * random.standard_normal((trainings, 1)), 1e-6, 1 - 1e-6)
    right = common + own < norm.ppf(rates)
    truth = random.integers(2, size=images)
    return Answers(np.where(right, truth, 1 - truth), truth, ("defect", "fine"), groups=None if group == 1 else groups)
