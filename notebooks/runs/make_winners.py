"""Make the runs that 06_when_prompts_win reads with `stored = True`, and write them next to this file as one JSON file.

    python notebooks/runs/make_winners.py notebooks/06_when_prompts_win.ipynb

The studies are those that the notebook's parameters cell describes. What is in the store of runs already is not run
again; from nothing it takes about eight minutes on one idle CPU core. Do it when the rules of a study, the learning
rates or the embedded backbone change; then run the notebook and its solutions anew.
"""

import ast
import json
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from papermill import inspect_notebook

from vptlib import Study

COLUMNS = ["task", "method", "n", "seed", "accuracy", "val_accuracy", "learning_rate", "best_step"]


def studies(p: dict) -> list[Study]:
    """All studies of the notebook: plain on every task, hard conditions on the first, mixtures on the last."""
    shared = {name: p[name] for name in ("backbone", "image_size", "depth", "steps", "batch_size", "candidates")}
    shared |= {"sizes": (p["n"],), "seeds": tuple(p["seeds"]), "test_images": p["test_images"]}
    shared |= {"rules": "equal budget"}
    first, *_, last = p["tasks"]
    pair = ("vpt-deep", "full")
    return [
        *(Study(task, ("linear", *pair), **shared) for task in p["tasks"]),
        *(Study(first, pair, **shared, **condition) for condition in ({"label_noise": 0.4}, {"imbalance": 10.0})),
        Study(last, ("full+prompts", "full-then-prompts"), **shared),
    ]


def main(notebook: str) -> None:
    parameters = {name: ast.literal_eval(about["default"]) for name, about in inspect_notebook(notebook).items()}
    found = []
    for study in studies(parameters):
        runs = study.run()
        rows = runs[COLUMNS].to_dict("records")
        for row, correct in zip(rows, runs["correct"], strict=True):
            row["correct"] = "".join("1" if right else "0" for right in correct)  # one mark for each test image
        found.append({"study": asdict(study), "runs": rows})
    stored = {"versions": {package: version(package) for package in ("vptlib", "torch", "timm")}, "studies": found}
    path = Path(__file__).with_name("when-prompts-win.json")
    path.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
    print(f"{sum(len(study['runs']) for study in found)} runs of {len(found)} studies written to {path.name}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
