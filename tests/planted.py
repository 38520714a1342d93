"""Tables of runs with known truth: accuracies are planted, test images share their difficulty between runs."""

import numpy as np
import pandas as pd
from scipy.stats import norm

SIZES_OF_METHODS = {"linear": 30_000, "vpt-shallow": 60_000, "vpt-deep": 130_000, "full": 51_200_000}  # bytes


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
