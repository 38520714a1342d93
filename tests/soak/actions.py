"""What the soak kills: a tiny study, the first opening of a store, `vpt data check`, a report, and its last step.

PYTHONPATH=tests python -m soak.actions study '{"images": "...", "jobs": 2}'
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

CLASSES, IMAGES_OF_A_CLASS = ("broken", "whole"), 24
PLAN = {
    "methods": ("linear", "vpt-deep"),
    "sizes": (8, 16),
    "seeds": (0, 1),
    "image_size": 14,
    "depth": 1,
    "num_prompts": 2,
    "steps": 6,
    "batch_size": 8,
    "precision": "fp32",
}
# A report needs a model that gets some images right, so it is a little larger.
REPORT = """\
tasks: [digits]
methods: [vpt-deep, full]
sizes: [60]
image_size: 28
depth: 1
num_prompts: 2
steps: 20
candidates: 1
test_images: 60
rules: equal budget
images_per_cell: 1
"""


def draw_images(folder: Path, of_a_class: int = IMAGES_OF_A_CLASS) -> None:
    """Drawn images of two classes, which the place of a bright square tells apart, in a folder for each."""
    random = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(of_a_class):
            pixels = random.integers(0, 120, (20, 20, 3), dtype=np.uint8)
            at = random.integers(0, 10)
            pixels[at : at + 8, 10 * label : 10 * label + 8] += 100
            Image.fromarray(pixels).save(folder / name / f"{number:04}.png")


def load_libraries() -> None:
    """Load what all actions need, before forks are made; no thread is left running."""
    torch.set_num_threads(1)
    import imagehash  # noqa: F401
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    import vptlib.cli
    import vptlib.data.check
    import vptlib.report.build
    import vptlib.report.data_page  # noqa: F401
    from vptlib.study.material import material_of
    from vptlib.study.study import Study

    material_of(Study("digits", **PLAN))  # the forks share its backbone


# ---- the actions ----------------------------------------------------------------------------------------------


def study(images: str, jobs: int = 1) -> None:
    """Make the missing runs of the tiny study."""
    tiny_study(images).run(progress=False, jobs=jobs)


def tiny_study(images: str) -> Any:
    """The study whose runs are killed."""
    from vptlib.study.study import Study

    return Study(f"folder:{images}", **PLAN)


def cluster_study(images: str) -> Any:
    """The study whose cluster is disturbed: 24 short runs, of which 18 wait for the rate that others choose."""
    from vptlib.study.published_rules import EQUAL
    from vptlib.study.study import Study

    more = {"methods": ("linear", "vpt-deep", "full"), "steps": 30, "rules": EQUAL, "seeds": (0, 1, 2, 3)}
    return Study(f"folder:{images}", **PLAN | more)


def on_cluster(images: str, cluster: str) -> None:
    """Let a cluster make what is missing of its study."""
    from soak.on_machine import hasten

    hasten()
    cluster_study(images).run(progress=False, cluster=cluster)


def table_of(images: str, to: str) -> None:
    """Write the table of the tiny study's runs to a file, without what differs from time to time."""
    study = tiny_study(images)
    rows = study.runs().to_dict("records")
    kept = [method for method in study.methods if study.model(method) is not None]
    text = json.dumps({"rows": rows_of(study), "ids": [row["run_id"] for row in rows], "models": kept})
    Path(to).write_text(text)


def rows_of(study: Any) -> list[dict[str, Any]]:
    """The finished runs of a study, without what differs from time to time."""
    return [_row(row) for row in study.runs().to_dict("records")]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    differing = ("task", "train_seconds", "tuning_seconds", "run_id")
    return {name: _plain(value) for name, value in row.items() if name not in differing}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def time_to_open(images: str, to: str) -> None:
    """Write to a file the seconds until a study has found what is missing in its store, which must be nothing."""
    from vptlib.study.store import run_key

    study = tiny_study(images)
    run_key(study, study.cells()[0])  # its images and its backbone are loaded now
    begun = time.perf_counter()
    missing = study.missing()
    seconds = time.perf_counter() - begun
    assert not missing, missing
    Path(to).write_text(json.dumps(seconds))


def creation() -> None:
    """Open a store for the first time, as every command does that needs runs."""
    from vptlib.study.store import finished_runs
    from vptlib.study.study import Study

    assert finished_runs(Study("digits", **PLAN)) == {}


def check(images: str, page: str) -> None:
    """`vpt data check IMAGES --out PAGE`."""
    from vptlib.cli import app

    app(["data", "check", images, "--out", page, "--sizes", "8,16"], standalone_mode=False)


def report(config: str, out: str) -> None:
    """`vpt report CONFIG --out OUT`."""
    from vptlib.report.build import make_report

    make_report(Path(config), Path(out))


def swap(config: str, out: str) -> None:
    """A report whose studies and notebooks are there at once: what is left is the folder that takes its place."""
    from vptlib.report import build

    def write_notebooks(_: Any, draft: Path, *__: Any) -> None:
        (draft / "notebooks").mkdir()
        (draft / "notebooks" / "report_overview.ipynb").write_text("{}")

    def write_page(_: Any, draft: Path) -> None:
        (draft / "index.html").write_text("<html>the new one</html>")

    def write_summary(_: Any, draft: Path) -> None:
        (draft / "summary.json").write_text("{}\n")

    def nothing(*_: Any) -> str:
        return ""

    steps = {"check_material": nothing, "run_studies": nothing, "begin_notebooks": nothing, "write_pdf": nothing}
    steps |= {"write_notebooks": write_notebooks, "write_page": write_page, "write_summary": write_summary}
    steps |= {"usual_kernels": nullcontext}  # there is no notebook to run
    for name, step in steps.items():
        setattr(build, name, step)
    build.make_report(Path(config), Path(out))


def sleep_with_child(seconds: float) -> None:
    """A process with a child that outlives it: what the soak must find."""
    import subprocess

    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])
    time.sleep(seconds)


ACTIONS: dict[str, Callable[..., None]] = {
    action.__name__: action
    for action in (study, on_cluster, table_of, time_to_open, creation, check, report, swap, sleep_with_child)
}

if __name__ == "__main__":
    from soak.processes import ended_code

    torch.set_num_threads(1)
    raise SystemExit(ended_code(ACTIONS[sys.argv[1]], **json.loads(sys.argv[2])))
