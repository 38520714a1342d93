"""What one report computes once: the second who asks reads it, whoever it is, and nothing outlives the report."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import numpy as np
import pandas as pd
import pytest

from vptlib.computed import FOLDER, computed_once, results_kept

calls = []


@computed_once
def total(table: pd.DataFrame, times: float = 1) -> float:
    """The sum of all numbers, slowly."""
    calls.append(times)
    sleep(0.05)
    return float(sum(map(np.sum, table["numbers"]))) * times


@computed_once
def failing() -> None:
    """Fails each time."""
    calls.append(0)
    raise ValueError


def table() -> pd.DataFrame:
    return pd.DataFrame({"numbers": [np.arange(3), np.arange(4)], "name": ["a", "b"]})


@pytest.fixture(autouse=True)
def forgotten():
    calls.clear()


def test_a_result_is_computed_once_for_equal_arguments(tmp_path):
    with results_kept(tmp_path / "kept"):
        assert [total(table()), total(table()), total(table(), times=2), total(table())] == [9, 9, 18, 9]
    assert calls == [1, 2]


def test_other_numbers_in_a_table_are_other_arguments(tmp_path):
    other = table()
    other["numbers"].iloc[1][0] = 5
    with results_kept(tmp_path / "kept"):
        assert [total(table()), total(other)] == [9, 14]


def test_outside_of_a_report_nothing_is_kept(tmp_path):
    with results_kept(tmp_path / "kept"):
        total(table())
    assert total(table()) == 9 and calls == [1, 1]
    assert list(tmp_path.iterdir()) == [] and FOLDER not in os.environ


def test_two_that_ask_at_the_same_time_compute_once(tmp_path):
    with results_kept(tmp_path / "kept"), ThreadPoolExecutor(4) as threads:
        assert list(threads.map(total, [table()] * 4)) == [9] * 4
    assert calls == [1]


def test_a_failure_is_not_kept(tmp_path):
    with results_kept(tmp_path / "kept"):
        for _ in range(2):
            with pytest.raises(ValueError):
                failing()
    assert calls == [0, 0]


def test_another_process_reads_what_this_one_has_computed(tmp_path):
    ask = "import test_computed as t; print(t.total(t.table()), t.calls)"
    with results_kept(tmp_path / "kept"):
        sys.modules["test_computed"] = sys.modules[__name__]
        first = subprocess.check_output([sys.executable, "-c", ask], text=True, cwd=os.path.dirname(__file__))
        second = subprocess.check_output([sys.executable, "-c", ask], text=True, cwd=os.path.dirname(__file__))
    assert (first, second) == ("9.0 [1]\n", "9.0 []\n")
