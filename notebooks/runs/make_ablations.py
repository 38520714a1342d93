"""Make the trainings that 05_prompt_design reads, and write them next to this file as one small JSON file.

    python notebooks/runs/make_ablations.py notebooks/05_prompt_design.ipynb

Task, backbone and recipe are those of the notebook's parameters cell; `DESIGNS` says what is varied. On one CPU core it
takes about fifteen minutes; the trainings that the file holds already are kept, so it can be stopped. Make it anew
(delete the file first) when the embedded backbone or the training changes; then run the notebook and its solutions.
"""

import ast
import json
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from papermill import inspect_notebook
from timm.models.vision_transformer import VisionTransformer
from tqdm import tqdm

from vptlib import Recipe, load_backbone, load_task
from vptlib.data.preparing import prepare
from vptlib.data.splits import few_shot
from vptlib.data.tasks import Task
from vptlib.prompting.initial_values import cluster_centres
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.search import train_setting
from vptlib.tuning.training import Diverged

# name → method and setting; the learning rate is the notebook's unless it is named.
DESIGNS = {
    f"length {p}, rate {rate:g}": ("vpt-deep", {"num_prompts": p, "learning_rate": rate})
    for rate in (6e-3, 2e-3, 2e-2)
    for p in (1, 5, 10, 50)
} | {
    "first layer": ("vpt-deep", {"layers": "first 1"}),
    "first 3 layers": ("vpt-deep", {"layers": "first 3"}),
    "last 3 layers": ("vpt-deep", {"layers": "last 3"}),
    "every 3rd layer": ("vpt-deep", {"layers": "every 3"}),
    "zero": ("vpt-deep", {"init": "zero"}),
    "normal": ("vpt-deep", {"init": "normal"}),
    "clusters": ("vpt-deep", {"init": "clusters"}),
    "shared": ("vpt-deep", {"shared": True}),
    "projected": ("vpt-deep", {"projection": 16}),
    "shallow": ("vpt-shallow", {}),
    "gated": ("vpt-shallow", {"gated": True}),
    "add": ("vpt-shallow", {"where": "add", "num_prompts": 1}),
    "pixel": ("vpt-shallow", {"where": "pixel"}),
    "pad": ("vpt-shallow", {"where": "pad", "num_prompts": 3}),
}
SEEDS = (0, 1)


def main(notebook: str) -> None:
    p = {name: ast.literal_eval(about["default"]) for name, about in inspect_notebook(notebook).items()}
    file = Path(__file__).with_name("prompt-design.json")
    named = ("task", "backbone", "image_size", "depth", "n", "held_out", "steps", "batch_size")
    about = {name: p[name] for name in named}
    found = json.loads(file.read_text()) if file.is_file() else {"about": about, "runs": []}
    if found["about"] != about:
        sys.exit(f"{file.name} was made with {found['about']}: delete it to make it anew.")
    done = {(run["design"], run["seed"]) for run in found["runs"]}
    wanted = [(design, seed) for seed in SEEDS for design in DESIGNS if (design, seed) not in done]
    source, vit = load_task(p["task"]), load_backbone(p["backbone"], p["image_size"], p["depth"])
    for design, seed in tqdm(wanted):
        found["runs"].append(trained(p, source, vit, design, seed))
        write(file, about, found["runs"])
    write(file, about, found["runs"])


def trained(p: dict, source: Task, vit: VisionTransformer, design: str, seed: int) -> dict:
    """One training as a row: held-out accuracy after the last step (None where it diverged)."""
    chosen = few_shot(source.train.labels, p["n"] + p["held_out"], seed)
    parts = (chosen[: p["n"]], chosen[p["n"] :])
    train, held = (prepare(source.train.select(part), preprocessing(vit)) for part in parts)
    method, setting = DESIGNS[design]
    setting = {"num_prompts": p["num_prompts"], "learning_rate": p["learning_rate"]} | setting
    if setting.get("init") == "clusters":
        setting["init"] = cluster_centres(vit, train.tensors[0], p["num_prompts"], "every 1", seed)
    recipe = Recipe(p["learning_rate"], p["steps"], p["batch_size"], evaluations=1, seed=seed)
    row = {"design": design, "method": method, "seed": seed, "accuracy": None}
    with suppress(Diverged):
        model, history = train_setting(method, vit, source.num_classes, setting, train, held, recipe)
        row |= {"accuracy": history.val_accuracy[-1], "trainable_parameters": model.trainable_parameters}
    return row


def write(file: Path, about: dict, runs: list[dict]) -> None:
    """The file, a line for each run."""
    head = {"about": about, "versions": {name: version(name) for name in ("torch", "timm")}, "designs": DESIGNS}
    lines = ",\n ".join(json.dumps(run) for run in runs)
    file.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "runs": [\n {lines}\n ]\n}}\n')


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
