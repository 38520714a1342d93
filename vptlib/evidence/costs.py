"""What each method costs, as measured in the runs. Prices are in `vptlib.evidence.money`."""

import numpy as np
import pandas as pd

from vptlib.errors import UserError
from vptlib.evidence.curves import methods_of
from vptlib.evidence.recommendation import FULL

_COLUMNS = ("trainable_parameters", "bytes_per_task", "train_seconds", "tuning_seconds")


def costs(runs: pd.DataFrame) -> pd.DataFrame:
    """What each method costs at its largest size.

    Returns:
        Columns method, n, trainable_parameters, bytes_per_task (head included), train_seconds (one training run, median
        over the seeds) and tuning_seconds (all learning rates tried, the most of the seeds). Also time_ratio and
        storage_ratio: train_seconds and bytes_per_task divided by those of full fine-tuning, NaN where it is missing.

    Raises:
        UserError: the table lacks a column.
    """
    for column in _COLUMNS:
        if column not in runs:
            raise UserError(f"the table of runs has no column {column!r}: take the table that Study.runs() gives.")
    table = pd.DataFrame([_cost(runs[runs["method"] == method], method) for method in methods_of(runs)])
    full = table[table["method"] == FULL]
    for name, column in (("time_ratio", "train_seconds"), ("storage_ratio", "bytes_per_task")):
        table[name] = table[column] / (full[column].iloc[0] if len(full) else np.nan)
    return table


def seconds_of_a_seed(runs: pd.DataFrame) -> float:
    """How long all runs of one more seed take, one after the other: each method at each size, tuning included.

    Each takes the median of the seeds so far; one that was never made takes as long as the longest of its method.
    """
    columns = [column for column in ("train_seconds", "tuning_seconds") if column in runs]
    seconds = runs.assign(seconds=runs[columns].sum(axis=1))
    table = seconds.pivot_table("seconds", "method", "n", aggfunc="median")
    return float(table.apply(lambda of_method: of_method.fillna(of_method.max()), axis=1).to_numpy().sum())


def _cost(rows: pd.DataFrame, method: str) -> dict:
    largest = rows[rows["n"] == rows["n"].max()]
    return {
        "method": method,
        "n": int(largest["n"].iloc[0]),
        "trainable_parameters": int(largest["trainable_parameters"].iloc[0]),
        "bytes_per_task": int(largest["bytes_per_task"].iloc[0]),
        "train_seconds": float(largest["train_seconds"].median()),
        "tuning_seconds": float(largest["tuning_seconds"].max()),
    }
