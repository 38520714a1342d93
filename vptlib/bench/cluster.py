"""What a cluster costs on this machine, for `make bench`: workers against one process, and the engine around the runs.

Each case makes the same study in a store of its own. The cases are taken in turn, round after round. What is compared
has made a small study in this store before: imports, loading the backbone and making the store are not counted.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from vptlib.bench.crowd import CROWD, no_ops_a_second
from vptlib.bench.operations import bound
from vptlib.environment import set_meanwhile
from vptlib.study.cluster import Place, reached
from vptlib.study.cluster_runs import results_on_cluster
from vptlib.study.make_runs import ONE_THREAD, AsListed
from vptlib.study.plan import Cell
from vptlib.study.study import Study

WORKERS, ROUNDS, NO_OPS = 2, 3, 2000
ONE, PROCESSES, CLUSTER = "one process, two threads", "two processes, no cluster", "two workers of a cluster"
LEAST_GAIN, MOST_OVERHEAD, LEAST_NO_OPS = 1.2, 0.3, 200
STUDY = Study(  # four runs, which two workers share evenly; under "until done" none waits for the choice of another
    "fashion-mnist",
    methods=("full", "vpt-deep"),
    sizes=(100,),
    seeds=(0, 1),
    image_size=56,
    steps=30,
    candidates=1,
    test_images=100,
)
_FIRST = replace(STUDY, seeds=(9, 10), steps=4)
_JOBS = {ONE: 1, PROCESSES: 2}


@dataclass
class _Noting(AsListed):
    """An order that notes what each run took on its worker."""

    seconds: dict[Cell, float] = field(default_factory=dict)

    def note(self, cell: Cell, seconds: float) -> None:
        self.seconds[cell] = seconds


def measure() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Case, measured, target and whether it is met; and the medians of each way to make the study."""
    with tempfile.TemporaryDirectory() as folder, reached(f"local:{WORKERS}", print) as place:
        rounds = [_one_round(Path(folder) / str(k), place) for k in tqdm(range(ROUNDS), desc="cluster")]
    no_ops = no_ops_a_second(NO_OPS)
    gain = statistics.median(each[ONE].seconds / each[CLUSTER].seconds for each in rounds)
    overhead = statistics.median(each[CLUSTER].engine for each in rounds) + 1 / no_ops
    bounds = [
        _at_least("runs an hour, two workers ÷ one process with two threads", gain, LEAST_GAIN),
        bound("time of the engine for a run on a cluster", overhead, MOST_OVERHEAD, "s"),
        _at_least(f"runs that do nothing, finished a second by {CROWD} workers", no_ops, LEAST_NO_OPS),
    ]
    return pd.DataFrame(bounds), pd.DataFrame([_row(way, [each[way] for each in rounds]) for way in rounds[0]])


@dataclass(frozen=True)
class Made:
    """A study that was made.

    Attributes:
        seconds: from its call to its table.
        engine: seconds of a run that are neither training nor testing; NaN where it is not known.
        numbers: accuracies, to compare.
    """

    seconds: float
    engine: float
    numbers: list[float]


def _one_round(folder: Path, place: Place) -> dict[str, Made]:
    found = {way: _in_process(folder / str(jobs), jobs) for way, jobs in _JOBS.items()}
    with _store(folder / "cluster"):
        _on(place, _FIRST)
        found[CLUSTER] = _on(place, STUDY)
    assert found[CLUSTER].numbers == found[PROCESSES].numbers, "workers with one thread give the same numbers"
    return found


def _on(place: Place, study: Study) -> Made:
    """A study on the workers of a cluster."""
    order, begun = _Noting(), time.perf_counter()
    for _ in results_on_cluster(study, study.missing(), order, place, lambda _: None):
        pass
    runs, seconds = study.runs(), time.perf_counter() - begun
    engine = statistics.mean(order.seconds.values()) - runs["tuning_seconds"].mean()
    return Made(seconds, engine, runs["accuracy"].tolist())


def _in_process(store: Path, jobs: int) -> Made:
    """A study in a process of its own, with `jobs` runs at the same time."""
    environment = os.environ | dict.fromkeys(ONE_THREAD, "2") | {"VPTLIB_STORE": str(store)}  # Dask has set them to 1
    command = [sys.executable, "-c", f"from vptlib.bench.cluster import in_this_process; in_this_process({jobs})"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    seconds, *numbers = map(float, done.stdout.split())
    return Made(seconds, float("nan"), numbers)


def in_this_process(jobs: int) -> None:
    """Make the study after a smaller one, and print its seconds and its accuracies."""
    _FIRST.run(progress=False, jobs=jobs)
    begun = time.perf_counter()
    runs = STUDY.run(progress=False, jobs=jobs)
    print(time.perf_counter() - begun, *runs["accuracy"])


# ---- tables -----------------------------------------------------------------------------------------------------


def _store(folder: Path) -> AbstractContextManager[None]:
    """The store of this process, and of what it asks of workers, is in a folder."""
    return set_meanwhile(VPTLIB_STORE=str(folder))


def _at_least(case: str, measured: float, target: float) -> dict[str, str]:
    """A line of the table for what must not be less."""
    shown = f"{measured:.2f}" if target < 10 else f"{measured:.0f}"
    met = "yes" if float(shown) >= target else "no"
    return {"case": case, "measured": shown, "target": f"≥ {target:g}", "met": met}


def _row(way: str, rounds: list[Made]) -> dict[str, Any]:
    seconds = statistics.median(made.seconds for made in rounds)
    runs = len(STUDY.cells())
    return {"way": way, "seconds": round(seconds, 1), "runs an hour": round(3600 * runs / seconds)}
