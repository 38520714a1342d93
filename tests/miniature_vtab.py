"""A tree in the layout of VTAB-1k with few, small images, and a report to be made of it.

    python tests/miniature_vtab.py FOLDER      makes FOLDER/vtab-1k, FOLDER/tiny.safetensors and FOLDER/miniature.yaml
    vpt report FOLDER/miniature.yaml --out FOLDER/report

All 19 folders, with the lists of the original and labels from 0 to the last class of each task. What is relaxed: there
are 50 training images (40 and 10) and 24 test images instead of 1,000 and thousands. So most classes have none in tasks
of many classes (as some of sun397's have in the original). The images are patches of colour that only roughly show the
class, and the backbone is a small ViT of random weights: the results say nothing about any method.
"""

import sys
from pathlib import Path

import numpy as np
import timm
import torch
from pictures import put
from PIL import Image
from safetensors.torch import save_file

from vptlib.data.vtab import VTAB_TASKS

COUNTS = {"train800": ("train", 40), "val200": ("val", 10), "test": ("test", 24)}
ARCHITECTURE = "test_vit"

REPORT = """\
# Made by tests/miniature_vtab.py: the settings of reports/configs/vtab1k.yaml, but for their size.
title: VTAB-1k in miniature
tasks: vtab:vtab-1k
methods: [linear, vpt-deep, full]
rules: vtab-1k
backbone: file:{backbone}@{architecture}
image_size: 32
depth: 2
sizes: [50]
seeds: [42, 44]
epochs: 1
batch_size: 20
candidates: 2
test_images: all
images_per_cell: 1
"""


def make_tree(root: Path) -> Path:
    """The 19 folders under `root`, with images and lists."""
    for number, (name, (classes, *_)) in enumerate(VTAB_TASKS.items()):
        draw = np.random.default_rng(number)
        lines = {part: _images(root / name, folder, n, classes, draw) for part, (folder, n) in COUNTS.items()}
        lines["train800val200"] = lines["train800"] + lines["val200"]
        for part, rows in lines.items():
            (root / name / f"{part}.txt").write_text("".join(f"{row}\n" for row in rows))
    return root


def _images(task: Path, folder: str, count: int, classes: int, draw: np.random.Generator) -> list[str]:
    """Images of one part, JPEG as in the original, and their lines; labels are spread evenly up to the last one."""
    rows = []
    for k, label in enumerate(np.linspace(0, classes - 1, count).round().astype(int)):
        colour = 255 * np.array([label / classes, (3 * label % classes) / classes, 0.5])
        pixels = (colour + draw.normal(0, 25, (6, 6, 3))).clip(0, 255).astype(np.uint8)
        place = f"images/{folder}/{k:06}.jpg"
        put(task / place, Image.fromarray(pixels).resize((40, 32)), quality=90)
        rows.append(f"{place} {label}")
    return rows


def make_backbone(path: Path) -> Path:
    """A ViT of timm's smallest kind with random weights."""
    torch.manual_seed(0)
    save_file(timm.create_model(ARCHITECTURE, num_classes=0, img_size=32).state_dict(), path)
    return path


def make_report(folder: Path) -> Path:
    """All of it under `folder`; gives the YAML file."""
    make_tree(folder / "vtab-1k")
    backbone = make_backbone(folder / "tiny.safetensors").resolve()
    config = folder / "miniature.yaml"
    config.write_text(REPORT.format(backbone=backbone, architecture=ARCHITECTURE))
    return config


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    print(f"vpt report {make_report(target)} --out {target / 'report'}")
