"""Whether bfloat16 gives the same answers as float32, for `python -m vptlib.bench parity`: whole studies in both.

Two trainings that differ in rounding end at different weights, as two seeds do. So a difference is shown next to the
spread of the seeds.
"""

import pandas as pd

from vptlib.study.study import Study

TASKS = ("fashion-mnist", "dsprites-location")
METHODS = ("vpt-deep", "full")
LABELLED, SEEDS = 400, (0, 1, 2)
MOST_POINTS = 0.5


def measure() -> tuple[pd.DataFrame, str]:
    """Mean accuracy of each method in both precisions, and whether the winner is the same.

    Raises:
        UserError: as `Study.run`.
    """
    table = compared(pd.concat([_runs(task, precision) for task in TASKS for precision in ("fp32", "bf16")]))
    return table, winners(table)


def _runs(task: str, precision: str) -> pd.DataFrame:
    study = Study(task, METHODS, sizes=(LABELLED,), seeds=SEEDS, precision=precision)
    return study.run().assign(task=task, precision=precision)


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each task and method: per cent in both precisions, their difference, and the seeds' spread.

    Args:
        runs: of studies, with the columns `task`, `precision` ("fp32", "bf16"), `method`, `accuracy` (a fraction).
    """
    rows = []
    for (task, method), part in runs.groupby(["task", "method"], sort=False):
        points = {name: 100 * some["accuracy"] for name, some in part.groupby("precision")}
        difference = points["bf16"].mean() - points["fp32"].mean()
        row = {"task": task, "method": method, "float32": points["fp32"].mean(), "bfloat16": points["bf16"].mean()}
        row |= {"difference": difference, "spread of seeds": points["fp32"].std()}
        rows.append(row | {"target": f"± {MOST_POINTS}", "met": "yes" if abs(difference) <= MOST_POINTS else "no"})
    return pd.DataFrame(rows).round(1)


def winners(table: pd.DataFrame) -> str:
    """For each task of the table of `compared`, whether the better method is the same in both precisions."""
    return " ".join(_winner(task, part) for task, part in table.groupby("task", sort=False))


def _winner(task: str, part: pd.DataFrame) -> str:
    best = [part.loc[part[precision].idxmax(), "method"] for precision in ("float32", "bfloat16")]
    methods = list(dict.fromkeys(best))
    return f"{task}: the winner is {'the same' if len(methods) == 1 else 'not the same'} ({', '.join(methods)})."
