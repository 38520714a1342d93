"""What is known about a finished study beyond its runs: its audit, its input size, what is asked, what it can show."""

import os
import platform
from datetime import UTC, date, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from vptlib.computed import computed_once
from vptlib.data.tasks import Task, load_task
from vptlib.evidence.audit import audit
from vptlib.evidence.limits import limits_for, read_limits
from vptlib.evidence.money import costs_of_more, handicaps
from vptlib.evidence.power import power_before
from vptlib.evidence.prices import Prices
from vptlib.statement import Statement, statement
from vptlib.study.doubles import doubles_across
from vptlib.study.input_size import InputSizes, sizes_seen
from vptlib.study.study import Study

VERSIONS_OF = ("vptlib", "torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn", "mlflow", "papermill")
# A larger input counts as clearly better from so many standard errors on.
CLEAR_ERRORS = 2


def versions() -> dict[str, str]:
    """Python and the libraries that shape the figures, with their versions."""
    return {"python": platform.python_version()} | {name: version(name) for name in VERSIONS_OF}


def report_day() -> date:
    """The day of a report: today, or that of `SOURCE_DATE_EPOCH`, seconds since 1970, for one that is made again."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(seconds), UTC).date() if seconds.isdecimal() else date.today()


doubles_of = computed_once(doubles_across)


@computed_once
def known_of(study: Study, runs: pd.DataFrame, margin: float, asked: dict[str, Any]) -> dict[str, Any]:
    """What `vptlib.evidence.decision.recommend` takes beyond the runs and the margin, by name.

    Args:
        study: with finished runs.
        runs: from `study.runs()`.
        margin: the smallest difference in accuracy that matters, a fraction.
        asked: settings of the report: `accuracy_needed`, `accuracy_today`, `limits` and prices.
    """
    task, prices = load_task(study.task), Prices.among(asked)
    guessing = commonest_share(task)
    return {
        "chance": guessing,
        "needed": asked.get("accuracy_needed"),
        "today": asked.get("accuracy_today"),
        "handicaps": handicaps(runs, prices),
        "costs_of_more": costs_of_more(runs, prices),
        "findings": audit(runs, guessing),
        "larger_input": larger_input(sizes_seen(study), margin),
        "backbone": study.backbone,
        "limits": limits_for(read_limits(asked.get("limits") or {}), task.class_names),
        "class_names": task.class_names,
        "group_names": task.group_names,
    }


def told_apart_before(seeds: int, images: int, groups: np.ndarray | None = None) -> Statement:
    """What a study with so many seeds and test images can tell apart, before any run; `groups` are of those images."""
    count = None if groups is None else len(np.unique(groups))
    difference = power_before(images, seeds)
    return statement(
        "told_apart_before", seeds=seeds, images=images, difference=difference,
        groups=None if count == images else count,
    )  # fmt: skip


def commonest_share(task: Task) -> float:
    """Accuracy (fraction) of always naming the commonest class of the test images."""
    return float(np.bincount(task.test.labels).max() / len(task.test))


def kept_small(seen: InputSizes | None) -> Statement | None:
    """The finding that a limit keeps the input smaller than the images call for, or None."""
    if seen is None or seen.without_limit is None:
        return None
    return next(found for found in seen.findings() if found.code == "larger_input_needs_time")


def larger_input(seen: InputSizes | None, margin: float) -> Statement | None:
    """The finding that a limit keeps the input too small, if a larger one is clearly better, by the margin or more."""
    if seen is None or seen.without_limit is None:
        return None
    wanted, chosen = seen.at(seen.without_limit), seen.at(seen.chosen)
    gain = wanted.accuracy - chosen.accuracy
    if gain < max(margin, CLEAR_ERRORS * chosen.behind_error):
        return None
    return kept_small(seen)
