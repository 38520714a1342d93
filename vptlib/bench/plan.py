"""Whether `vpt plan` is right, for `python -m vptlib.bench plan`: its forecast of a study, and what it then takes.

Each study has a process of its own, as a report has. The plan comes first, then the runs are made in an empty store.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from vptlib.paths import repository
from vptlib.report.build import run_studies
from vptlib.report.config import check_material, read_config
from vptlib.study.cluster import reached
from vptlib.study.connection import open_store
from vptlib.study.planner import Planner, site_of

MOST_ERROR = 0.30
_EQUAL = """\
tasks: [digits]
rules: equal budget
methods: [linear, vpt-shallow, vpt-deep, full]
image_size: 56
sizes: [100]
seeds: [0, 1, 2]
steps: 40
test_images: 200
"""
_DONE = """\
tasks: [fashion-mnist]
methods: [linear, vpt-deep, full]
image_size: 56
sizes: [50, 100]
seeds: [0]
test_images: 200
"""
_ALONE = """\
tasks: [dsprites-location]
methods: [vpt-deep, full]
image_size: 56
sizes: [50]
seeds: [0]
test_images: 200
"""
# Of the 19 tasks of the miniature of the papers' experiment, which all have as many images. Each method tries more
# settings, for longer: else the start of processes would be most of it.
LONGER = {"epochs: 1": "epochs: 30", "candidates: 2": "candidates: 12"}
MINIATURE_TASKS = ("caltech101", "cifar", "dtd", "eurosat", "clevr_count", "dsprites_loc")


@dataclass(frozen=True)
class Case:
    """A study to forecast.

    Attributes:
        name: for the table.
        config: text of its YAML file; "" for the miniature of the papers' experiment.
        jobs: runs made at the same time.
        cluster: where they are made; "" for processes of this machine.
    """

    name: str
    config: str
    jobs: int = 2
    cluster: str = ""


CASES = (
    Case("digits, equal budget, 2 at a time", _EQUAL),
    Case("fashion-mnist, until done, 2 at a time", _DONE),
    Case("dsprites-location, until done, 1 at a time", _ALONE, jobs=1),
    Case("papers' experiment in miniature, 2 at a time", ""),
    Case("papers' experiment in miniature, 2 workers of a cluster", "", cluster="local:2"),
)


def measure() -> pd.DataFrame:
    """A row for each study: the forecast, what its runs took, and whether the error is within the target."""
    return pd.DataFrame([_row(case, *measured(case)) for case in tqdm(CASES, desc="plan")])


def _row(case: Case, forecast: float, low: float, high: float, taken: float) -> dict[str, str]:
    error = forecast / taken - 1
    return {
        "study": case.name,
        "forecast": f"{forecast:.0f} s",
        "from low to high": f"{low:.0f} to {high:.0f} s",
        "taken": f"{taken:.0f} s",
        "error": f"{100 * error:+.0f} %",
        "target": f"± {100 * MOST_ERROR:.0f} %",
        "met": "yes" if abs(error) <= MOST_ERROR else "no",
    }


def measured(case: Case) -> tuple[float, float, float, float]:
    """Seconds that are forecast, the low and the high end, and seconds that were taken, in a process of its own."""
    with _config_of(case) as config:
        environment = {**os.environ, "VPTLIB_STORE": str(config.parent / "store"), "VPTLIB_JOBS": str(case.jobs)}
        environment.pop("MLFLOW_TRACKING_URI", None)
        code = f"from vptlib.bench.plan import in_this_process as run; run({str(config)!r}, {case.cluster!r})"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        forecast, low, high, taken = map(float, done.stdout.splitlines()[-1].split())
    return forecast, low, high, taken


@contextmanager
def _config_of(case: Case) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vptlib-bench-") as folder:
        config = Path(folder) / "study.yaml"
        config.write_text(case.config or _miniature(Path(folder)))
        yield config


def _miniature(folder: Path) -> str:
    """Make the tree and the backbone of the miniature; its settings, for some of its tasks."""
    subprocess.run(
        [sys.executable, str(repository() / "tests" / "miniature_vtab.py"), str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    tasks = ", ".join(f"'vtab:vtab-1k/{name}'" for name in MINIATURE_TASKS)
    text = (folder / "miniature.yaml").read_text()
    for old, new in (LONGER | {"tasks: vtab:vtab-1k": f"tasks: [{tasks}]"}).items():
        assert old in text
        text = text.replace(old, new)
    return text


def in_this_process(path: str, cluster: str) -> None:
    """Print the forecast of a report's runs with its low and its high end, and what they take, in seconds."""
    config = read_config(Path(path))
    check_material(config)
    studies = [*config.studies(), *config.harder_studies()]
    with site_of(cluster, None, print) as site:
        planner = Planner(site, lambda _: None)
        outlooks = [planner.outlook(study) for study in studies]
    low, likely, high = (planner.starting + sum(each.seconds[end] for each in outlooks) for end in range(3))
    open_store()  # which takes seconds the first time
    with reached(cluster, print) if cluster else nullcontext() as place:
        begun = time.perf_counter()
        run_studies(studies, place)
        taken = time.perf_counter() - begun
    print(likely, low, high, taken)
