"""Every figure of a report, drawn from planted data, also with many classes and with long names in several scripts."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
from planted import planted_answers, planted_runs

from vptlib.evidence.certainty import calibration, operating_curve, selective_curve
from vptlib.evidence.curves import paired_difference
from vptlib.evidence.decision import costs
from vptlib.evidence.mistakes import confusion
from vptlib.evidence.money import Pair, Prices
from vptlib.evidence.pretraining_distance import transfer_table
from vptlib.explanations.checks import BASELINES
from vptlib.explanations.maps import EXPLANATIONS
from vptlib.report.charts import (
    cost_figure,
    difference_figure,
    input_size_figure,
    learning_curve_figure,
    quadrant_figure,
)
from vptlib.report.explanation_charts import (
    attention_figure,
    cascade_figure,
    faithfulness_figure,
    map_table,
    prompt_figure,
)
from vptlib.report.forecast_charts import reliability_figure as forecast_figure
from vptlib.report.gradcam_page import gradcam_page
from vptlib.report.inspection_charts import confusion_figure, operating_figure, reliability_figure, selective_figure
from vptlib.report.money_charts import tornado_figure
from vptlib.tuning.methods import STANDARD

MANY = (50, 100, 200, 400, 800, 1000)
LONG = "a surface with scratches, dents and stains of several kinds"  # 59 letters
SCRIPTS = ("傷・打痕・汚れのある表面", "خدش على السطح", "표면의 긁힘", "Kratzer auf der Oberfläche", "ok")


def curves(ends: dict[str, float], sizes=MANY, band=0.03, seeds=3) -> pd.DataFrame:
    """Straight lines that end at the given accuracies."""
    return pd.DataFrame(
        {
            "method": method,
            "n": n,
            "mean": end - 0.06 * step,
            "low": end - 0.06 * step - band,
            "high": end - 0.06 * step + band,
            "seeds": seeds,
        }
        for method, end in ends.items()
        for step, n in enumerate(reversed(sizes))
    )


def runs(full: float = 0.7, **options) -> pd.DataFrame:
    truth = {"linear": 0.6, "vpt-shallow": 0.65, "vpt-deep": 0.7, "full": full}
    return planted_runs({method: dict.fromkeys(MANY, value) for method, value in truth.items()}, **options)


def input_sizes(accuracies, errors) -> pd.DataFrame:
    """As `vptlib.study.input_size.InputSizes.table`; the second size is chosen."""
    return pd.DataFrame(
        {
            "size": 56 * (k + 1),
            "accuracy": accuracy,
            "behind_error": error,
            "seconds_per_image": 0.03 * (k + 1) ** 2,
            "relative_cost": 1.04 * (k + 1) ** 2,
            "chosen": k == 1,
        }
        for k, (accuracy, error) in enumerate(zip(accuracies, errors, strict=True))
    )


# ---- tasks, money, forecasts --------------------------------------------------------------------------------------


def placed() -> pd.DataFrame:
    names = [
        "Where on the surface",
        "How many objects",
        "Clothes",
        "Digits",
        "Scratches",
        "Satellite",
        "Angle",
        "Colour",
    ]
    objectives = ["location", "counting", *["classification"] * 4, "counting", "location"]
    random = np.random.default_rng(0)
    numbers = {"distance": random.uniform(5, 90, 8), "vpt": random.uniform(0.5, 0.9, 8), "full": 0.7}
    return transfer_table(pd.DataFrame({"task": names, "objective": objectives} | numbers)).assign(
        title=[f"{name} (VTAB)" for name in names]
    )


def tornado(point_value=None):
    level = planted_runs(
        {m: {n: 1 - 1.56 * n**-0.5 for n in (50, 100, 200, 400)} for m in ("linear", "vpt-deep", "full")}
    )
    prices = Prices(label_price=[1, 2, 9], tasks_planned=[2, 10, 400], point_value=point_value)
    pair = Pair(level, prices, "vpt-deep", "full")
    return tornado_figure(pair.lead(), pair.tornado())


def forecasts():
    fifths = np.linspace(0, 0.8, 5)
    bins = pd.DataFrame(
        {
            "low": fifths,
            "forecast": fifths + 0.11,
            "came_true": fifths + 0.08,
            "came_true_low": np.maximum(fifths - 0.1, 0),
            "came_true_high": np.minimum(fifths + 0.3, 1),
            "cases": [41, 12, 8, 19, 132],
        }
    )
    return forecast_figure(bins, 0.35)


# ---- mistakes -----------------------------------------------------------------------------------------------------


def confused(names, trainings=3):
    counts = confusion(planted_answers(3000, 3, classes=len(names)))
    return confusion_figure(counts, names, trainings)


def long_names(classes: int) -> tuple[str, ...]:
    return tuple(f"{k} {LONG}"[:60] for k in range(classes))


def two_classes():
    return planted_answers(400, 3, classes=2, too_sure=2.0, class_names=("defect", "fine"))


# ---- explanations -------------------------------------------------------------------------------------------------


def examination(layers: int = 12, prompts: int = 10):
    """As `vptlib.explanations.checklist.Examination`, of noise."""
    random = np.random.default_rng(0)
    looks = {
        method: SimpleNamespace(
            distances=random.uniform(20, 90, (layers, 6)),
            prompt_shares=random.uniform(0, 0.4, layers) * (method == "vpt-deep"),
            kept=np.linspace(1, 0.3, layers),
            prompts=random.normal(size=(layers, prompts)) / 50,
        )
        for method in ("vpt-deep", "full")
    }
    return SimpleNamespace(looks=looks, frozen_distances=random.uniform(20, 90, (layers, 6)), even_distance=74.0)


def faithfulness() -> pd.DataFrame:
    rows = [
        (method, kind, mean := 0.05 * k, mean - 0.06, mean + 0.05)
        for method in ("vpt-deep", "full")
        for k, kind in enumerate([*BASELINES, *EXPLANATIONS])
    ]
    return pd.DataFrame(rows, columns=["method", "kind", "mean", "low", "high"])


def cascade() -> pd.DataFrame:
    steps = ["head", "block 12", "block 9", "block 6", "block 4", "block 1", "input"]
    left = [0.8, 0.6, 0.5, 0.2, 0.1, 0.05, -0.2]
    rows = [
        (method, "gradcam", step, height * value, height * value - 0.1, height * value + 0.1)
        for method, height in (("vpt-deep", 0.9), ("full", 0.8))
        for step, value in zip(steps, left, strict=True)
    ]
    return pd.DataFrame(rows, columns=["method", "kind", "step", "mean", "low", "high"])


def pictures(count: int, side: int = 64) -> np.ndarray:
    """Smooth noise, `B H W 3`."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (count, 8, 8, 3), np.uint8)
    return coarse.repeat(side // 8, axis=1).repeat(side // 8, axis=2)


def maps_of(count: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (count, 7, 7)).astype(np.float32)


def gradcam(names, per_cell=2):
    count = 4 * per_cell
    labels = np.arange(count) % len(names)
    wrong = (labels + 1) % len(names)
    a_right, b_right = np.repeat([1, 1, 0, 0], per_cell) == 1, np.repeat([1, 0, 1, 0], per_cell) == 1
    guesses = {"vpt-deep": np.where(a_right, labels, wrong), "full": np.where(b_right, labels, wrong)}
    counts = {"both right": 194, "only a": 1016, "only b": 24, "both wrong": 66}
    maps = {method: maps_of(count) for method in guesses}
    return gradcam_page(pictures(count), labels, names, maps, guesses, counts)


def maps(names):
    labels = np.array([0, 1, 0])
    guesses = {"vpt-deep": labels, "full": 1 - labels}
    kinds = {method: {kind: maps_of(3) for kind in EXPLANATIONS} for method in guesses}
    gaps = {method: {kind: np.array([0.2, -0.134, 0.0]) for kind in EXPLANATIONS} for method in guesses}
    return map_table(pictures(3), names, labels, guesses, kinds, gaps)


LEVEL = dict.fromkeys(STANDARD, 0.9)
EIGHT = dict(zip((*STANDARD, "lora", "lora-all", "bias", "adapter"), np.linspace(0.9, 0.85, 8), strict=True))
FIGURES = {
    "level": lambda: learning_curve_figure(curves(LEVEL), "Digits"),
    "close": lambda: learning_curve_figure(
        curves({"linear": 0.900, "vpt-shallow": 0.902, "vpt-deep": 0.905, "full": 0.999}, (50, 150, 400)), "Digits"
    ),
    "far": lambda: learning_curve_figure(
        curves({"linear": 0.35, "vpt-shallow": 0.5, "vpt-deep": 0.9, "full": 0.93}, seeds=1), "A long title " * 9
    ),
    "eight methods": lambda: learning_curve_figure(curves(EIGHT), SCRIPTS[0]),
    "two sizes": lambda: learning_curve_figure(curves({"vpt-deep": 0.9, "full": 0.8}, (1000, 2000)), "Digits"),
    "one size": lambda: learning_curve_figure(curves(LEVEL, (200,)), "Digits"),
    "differences": lambda: difference_figure(paired_difference(runs()), 0.01),
    "one-sided differences": lambda: difference_figure(paired_difference(runs(full=0.95)), 0.001),
    "wide margin": lambda: difference_figure(paired_difference(runs(images=2000)), 0.2),
    "costs": lambda: cost_figure(costs(runs())),
    "quadrants": lambda: quadrant_figure(placed()),
    "input sizes": lambda: input_size_figure(input_sizes((0.778, 0.83, 0.815, 0.84), (0.018, 0.013, 0.013, 0))),
    "level input sizes": lambda: input_size_figure(input_sizes((0.9,) * 5, (0,) * 5)),
    "two input sizes": lambda: input_size_figure(input_sizes((0.2, 0.95), (0.08, 0))),
    "tornado": tornado,
    "tornado with a value": lambda: tornado(300),
    "forecasts": forecasts,
    "confusion of two": lambda: confused(long_names(2)),
    "confusion of five": lambda: confused(SCRIPTS),
    "confusion of seven": lambda: confused(long_names(7)),
    "confusion of twelve": lambda: confused(long_names(12)),
    "confusion of thirty": lambda: confused(long_names(30)),
    "large counts": lambda: confusion_figure(np.array([[123456, 0], [1, 2]]), ("a", "b"), 1),
    "reliability": lambda: reliability_figure(calibration(two_classes()).bins, "vpt-deep"),
    "selective": lambda: selective_figure(selective_curve(two_classes()), "full"),
    "operating": lambda: operating_figure(
        operating_curve(two_classes(), ("defect",)), "linear", f"“{LONG}”", (0.2, 0.05), 0.02
    ),
    "faithfulness": lambda: faithfulness_figure(faithfulness()),
    "cascade": lambda: cascade_figure(cascade()),
    "attention": lambda: attention_figure(examination()),
    "prompts": lambda: prompt_figure(examination().looks["vpt-deep"].prompts),
    "maps": lambda: maps(long_names(2)),
    "gradcam": lambda: gradcam(SCRIPTS),
    "gradcam of thirty classes": lambda: gradcam(long_names(30), per_cell=1),
}
# One of each kind: what its texts look like in another language.
KINDS = (
    *("far", "differences", "costs", "quadrants", "input sizes", "tornado with a value", "forecasts"),
    *("confusion of five", "confusion of thirty", "reliability", "selective", "operating"),
    *("faithfulness", "cascade", "attention", "prompts", "maps", "gradcam"),
)
