"""Make the runs that a notebook reads with `stored = True`, and write them next to this file as one small JSON file.

    python notebooks/runs/make_runs.py notebooks/03_data_scaling.ipynb

The notebook's parameters cell describes the study; its rules are "equal budget". Runs that are already in the
store are not repeated. Without any, it takes about five minutes on two idle CPU cores. Do it when the rules of a study,
the learning rates or the embedded backbone change. Then run the notebook and its solutions again.
"""

import ast
import json
import sys
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path

from papermill import inspect_notebook

from vptlib import Study
from vptlib.report.words.en import protocol

COLUMNS = [
    *("task", "method", "n", "seed", "accuracy", "val_accuracy", "learning_rate", "best_step"),
    *("train_seconds", "tuning_seconds", "trainable_parameters", "bytes_per_task", "pool", "tuned_by"),
]


def study_of(notebook: str) -> Study:
    """The study that a notebook's parameters describe; parameters that are not fields of a study are ignored."""
    parameters = inspect_notebook(notebook).values()
    known = {field.name for field in fields(Study)}
    settings = {p["name"]: ast.literal_eval(p["default"]) for p in parameters if p["name"] in known}
    return Study(**settings, rules="equal budget")


def main(notebook: str) -> None:
    study = study_of(notebook)
    runs = study.run()
    rows = runs[COLUMNS].round({"train_seconds": 2, "tuning_seconds": 2}).to_dict("records")
    for row, correct in zip(rows, runs["correct"], strict=True):
        row["correct"] = "".join("1" if right else "0" for right in correct)  # one mark for each test image
    stored = {
        "study": asdict(study),
        "protocol": protocol(study.protocol()),
        "versions": {package: version(package) for package in ("vptlib", "torch", "timm")},
        "runs": rows,
    }
    path = Path(__file__).with_name(f"{study.task}.json")
    path.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(rows)} runs written to {path.name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
