"""Numbers that papers have printed, as tidy tables, and their means and counts, computed again.

The files are in `data/reference/`, whose README gives the source of each number. Top-1 accuracies are in per cent.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from vptlib.data.vtab import VTAB_TASKS
from vptlib.errors import UserError
from vptlib.paths import repository
from vptlib.study.published_rules import ALL, published_settings

# The papers' names of the 19 tasks → the folders of VTAB-1k, in the order of the papers' tables.
TASK_NAMES = {
    "CIFAR-100": "cifar",
    "Caltech101": "caltech101",
    "DTD": "dtd",
    "Flowers102": "oxford_flowers102",
    "Pets": "oxford_iiit_pet",
    "SVHN": "svhn",
    "Sun397": "sun397",
    "PatchCamelyon": "patch_camelyon",
    "EuroSAT": "eurosat",
    "Resisc45": "resisc45",
    "Retinopathy": "diabetic_retinopathy",
    "Clevr/count": "clevr_count",
    "Clevr/distance": "clevr_dist",
    "DMLab": "dmlab",
    "KITTI/distance": "kitti",
    "dSprites/location": "dsprites_loc",
    "dSprites/orientation": "dsprites_ori",
    "SmallNORB/azimuth": "smallnorb_azi",
    "SmallNORB/elevation": "smallnorb_ele",
}
GROUPS = ("natural", "specialised", "structured")
_HAN, _JIA = "Han et al., arXiv 2401.12902", "as reprinted for Jia et al., arXiv 2203.12119"

# What has been printed of means and counts: (what, whose, printed). Recomputed by `check`.
_PRINTED_GROUP_MEANS = {
    ("Elephant FT", "natural"): 75.19,
    ("Elephant FT", "specialised"): 83.48,
    ("Elephant FT", "structured"): 48.07,
    ("Elephant VPT", "natural"): 79.53,
    ("Elephant VPT", "specialised"): 82.65,
    ("Elephant VPT", "structured"): 56.09,
    ("Elephant Mixed", "natural"): 72.80,
    ("Elephant Mixed", "specialised"): 79.78,
    ("Elephant Mixed", "structured"): 42.94,
    ("Elephant FT-then-PT", "natural"): 78.20,
    ("Elephant FT-then-PT", "specialised"): 82.70,
    ("Elephant FT-then-PT", "structured"): 50.38,
}
_PRINTED_MEANS = {  # over the 19 tasks
    "Linear": 52.9,
    "Bias": 62.1,
    "VPT-shallow": 64.9,
    "Full": 65.6,
    "VPT-deep": 69.4,
    "E2VPT": 71.4,
    "LoRA": 72.3,
    "AdaptFormer": 72.3,
    "SSF": 73.1,
    "VFPT": 73.2,
    "PACE": 76.9,
}
_PRINTED_WINS = {  # setting → wins of VPT, tasks
    "vtab-1k": (16, 19),
    "400 images": (16, 19),
    "5,000 images": (4, 14),
    "10,000 images": (3, 14),
    "one shot": (13, 19),
    "Swin-B": (6, 19),
    "MAE": (4, 19),
    "MoCo v3": (4, 19),
}
_SETTINGS = {
    "scale:{}:400": "400 images",
    "scale:{}:5000": "5,000 images",
    "scale:{}:10000": "10,000 images",
    "oneshot:{}": "one shot",
    "SwinB:{}": "Swin-B",
    "MAE:{}": "MAE",
    "MoCov3:{}": "MoCo v3",
}


def vtab1k() -> pd.DataFrame:
    """44 methods × 19 tasks at 1,000 images, ViT-B/16 pre-trained on ImageNet-21k.

    Columns: method, task (folder of VTAB-1k), group, top1 (per cent), source.
    """
    return _tidy(_read(_file("vtab1k_published.csv")))[["method", "task", "group", "top1", "source"]]


def comparisons() -> pd.DataFrame:
    """Full fine-tuning and VPT of Han et al., a row for each setting and task.

    Columns: setting ("vtab-1k", "400 images" ... "one shot", "Swin-B", "MAE", "MoCo v3"), task, group, full and vpt
    (per cent).
    """
    table = _tidy(_read(_file("elephant_tables.csv")))
    names = {form.format(m): (name, m) for form, name in _SETTINGS.items() for m in ("FT", "VPT")}
    table["setting"], table["m"] = zip(*table["setting"].map(names), strict=True)
    base = vtab1k()
    base = base[base["method"].isin(["Elephant FT", "Elephant VPT"])]
    base = base.assign(setting="vtab-1k", m=base["method"].str.removeprefix("Elephant "))
    both = pd.concat([base, table])[["setting", "task", "group", "m", "top1"]]
    wide = both.pivot(index=["setting", "task", "group"], columns="m", values="top1").reset_index()
    wide = wide.rename(columns={"FT": "full", "VPT": "vpt"}).rename_axis(columns=None)
    order = {name: k for k, name in enumerate([*_PRINTED_WINS, *TASK_NAMES.values()])}
    return wide.sort_values(["setting", "task"], key=lambda column: column.map(order)).reset_index(drop=True)


def group_means(table: pd.DataFrame) -> pd.DataFrame:
    """For each method the means of the three groups, and both means that papers call "the VTAB mean".

    Args:
        table: from `vtab1k`, or any rows of it.

    Returns:
        One row a method: natural, specialised, structured, mean_of_tasks (of 19), mean_of_groups (of 3); without the
        groups of which there is no task.
    """
    present = [group for group in GROUPS if (table["group"] == group).any()]
    means = table.pivot_table(index="method", columns="group", values="top1", sort=False)[present]
    of_tasks = table.groupby("method", sort=False)["top1"].mean()
    return means.assign(mean_of_tasks=of_tasks, mean_of_groups=means.mean(axis=1)).rename_axis(columns=None)


def wins(table: pd.DataFrame) -> pd.DataFrame:
    """How often VPT is ahead, level and behind in each setting of `comparisons`, with the mean difference in points."""
    difference = table.assign(d=table["vpt"] - table["full"]).groupby("setting", sort=False)["d"]
    return pd.DataFrame(
        {
            "tasks": difference.size(),
            "vpt": difference.agg(lambda d: (d > 0).sum()),
            "level": difference.agg(lambda d: (d == 0).sum()),
            "full": difference.agg(lambda d: (d < 0).sum()),
            "mean_difference": difference.mean(),
        }
    )


def check() -> pd.DataFrame:
    """Every printed mean and count that can be computed again from the tables.

    Columns: what, source, printed, recomputed, difference, agrees. Accuracies in the files have one decimal, so a mean
    agrees within 0.05 (and a count only exactly).
    """
    means = group_means(vtab1k())
    rows = [
        (f"{method}, mean of the {group} tasks", _HAN, printed, means.loc[method, group], 0.05)
        for (method, group), printed in _PRINTED_GROUP_MEANS.items()
    ]
    rows += [
        (
            f"{method}, mean of 19 tasks",
            _JIA if method in ("Linear", "Bias", "Full") else "its paper",
            printed,
            mean,
            0.1,
        )
        for method, printed in _PRINTED_MEANS.items()
        for mean in [means.loc[method, "mean_of_tasks"]]
    ]
    counted = wins(comparisons())["vpt"]
    rows += [
        (f"{setting}: tasks of {of} where VPT wins", _HAN, float(printed), float(counted[setting]), 0.0)
        for setting, (printed, of) in _PRINTED_WINS.items()
    ]
    table = pd.DataFrame(rows, columns=["what", "source", "printed", "recomputed", "within"])
    table["difference"] = table["recomputed"] - table["printed"]
    table["agrees"] = table["difference"].abs() <= table["within"] + 1e-9
    return table.drop(columns="within")


def divided_by_eight() -> pd.DataFrame:
    """The mean of Han et al.'s structured tasks at 5,000 images: 7 tasks, divided by 7, and by 8 as it was printed.

    Divided by 7, full fine-tuning is ahead; divided by 8, VPT seems to be. Columns: method, by_seven, by_eight.
    """
    table = comparisons()
    rows = table[(table["setting"] == "5,000 images") & (table["group"] == "structured")]
    return pd.DataFrame(
        {
            "method": ["full", "vpt"],
            "by_seven": [rows["full"].sum() / 7, rows["vpt"].sum() / 7],
            "by_eight": [rows["full"].sum() / 8, rows["vpt"].sum() / 8],
        }
    )


# ---- tables of other laboratories -----------------------------------------------------------------------------------

HAN, JIA, MAI = "Han et al.", "Jia et al.", "Mai et al."
IN21K = "ViT-B/16, supervised on ImageNet-21k"
CLIP = "ViT-B/16, CLIP"
# The experiments of Mai et al. → backbone, labelled training images ("full" is left open: the file does not say).
_MAI_IMAGES = {"1k": 1000, "500": 500, "225": 225, "imagenet": 100_000}
# CIFAR-100 once more, augmented and normalised; the same 16 results stand in the file under two names.
_MAI_AUGMENTED = "cifar_aug_norm"
# The setting of `comparisons` → backbone, labelled images; None: one image a class.
_HAN_SETTINGS: dict[str, tuple[str, int | None]] = {
    "one shot": (IN21K, None),
    "400 images": (IN21K, 400),
    "vtab-1k": (IN21K, 1000),
    "5,000 images": (IN21K, 5000),
    "10,000 images": (IN21K, 10_000),
    "Swin-B": ("Swin-B", 1000),
    "MAE": ("MAE", 1000),
    "MoCo v3": ("MoCo v3", 1000),
}


def osu() -> pd.DataFrame:
    """The results of Mai et al. (CVPR 2025, arXiv 2409.16434): 16 methods × 19 tasks of VTAB-1k, and larger sets.

    Returns:
        One row a result: experiment ("vtab-1k", "vtab-1k, augmented", "cifar100", "resisc45", "clevr-count", "imagenet
        few-shot, CLIP"), task, images (labelled training images; missing where the file says "full"), backbone, method,
        top1 (per cent), settings (chosen; name to value), tried (learning rates, rising; empty where not recorded).
    """
    table = _read(_file("osu_peft_results.csv"))
    table = table[table["experiment"] != "cifar100 augmented"]
    of_vtab, augmented = table["experiment"] == "vtab-1k", table["task_or_images"] == _MAI_AUGMENTED
    experiment = table["experiment"].where(~augmented, "vtab-1k, augmented")
    task = table["task_or_images"].where(of_vtab, table["experiment"].str.partition(" ")[0]).where(~augmented, "cifar")
    images = table["task_or_images"].where(~of_vtab, "1k").map(_MAI_IMAGES)
    return pd.DataFrame(
        {
            "experiment": experiment,
            "task": task,
            "images": images.astype("Int64"),
            "backbone": np.where(table["experiment"].str.contains("CLIP"), CLIP, IN21K),
            "method": table["method"],
            "top1": table["top1"],
            "settings": table["chosen_settings"].map(json.loads),
            "tried": table["learning_rates_tried"].fillna("").map(lambda text: tuple(map(float, text.split()))),
        }
    ).reset_index(drop=True)


def fgvc() -> pd.DataFrame:
    """15 methods × 5 fine-grained tasks, ViT-B/16 pre-trained on ImageNet-21k, trained on the whole training sets.

    Full fine-tuning and VPT are those of Jia et al. (arXiv 2203.12119).

    Returns:
        One row a result: method, task, top1 (per cent), classes, training_images, source (of the result).
    """
    tasks = _read(_file("fgvc_tasks.csv")).drop(columns="source")
    return _read(_file("fgvc_published.csv")).merge(tasks, on="task", validate="many_to_one")


def full_and_prompts() -> pd.DataFrame:
    """Full fine-tuning and VPT-deep, wherever both are published with the number of labelled training images.

    Returns:
        One row a source, backbone, task and size: source (whose), backbone, task, classes, n (labelled images), full,
        vpt (per cent).
    """
    return pd.concat([_of_han(), _of_jia(), _of_jia_fgvc(), _of_mai()], ignore_index=True)


def _of_han() -> pd.DataFrame:
    table = comparisons()
    classes = table["task"].map(lambda task: VTAB_TASKS[task][0])
    backbone, n = zip(*table["setting"].map(_HAN_SETTINGS), strict=True)
    sizes = pd.Series(n, index=table.index, dtype=float).fillna(classes).astype(int)
    return _states(HAN, pd.Series(backbone, index=table.index), table["task"], classes, sizes, table)


def _of_jia() -> pd.DataFrame:
    wide = vtab1k().pivot(index="task", columns="method", values="top1")
    wide = wide.rename(columns={"Full": "full", "VPT-deep": "vpt"}).reset_index()
    classes = wide["task"].map(lambda task: VTAB_TASKS[task][0])
    return _states(JIA, IN21K, wide["task"], classes, 1000, wide)


def _of_jia_fgvc() -> pd.DataFrame:
    wide = fgvc().pivot(index=["task", "classes", "training_images"], columns="method", values="top1")
    wide = wide.rename(columns={"Full fine-tuning": "full", "VPT-Deep": "vpt"}).reset_index()
    return _states(JIA, IN21K, wide["task"], wide["classes"], wide["training_images"], wide)


def _of_mai() -> pd.DataFrame:
    table = osu()
    table = table[table["experiment"].isin(["vtab-1k", "imagenet few-shot, CLIP"])]
    wide = table.pivot(index=["backbone", "task", "images"], columns="method", values="top1")
    wide = wide.rename(columns={"vpt_deep": "vpt"}).reset_index()
    classes = wide["task"].map(lambda task: 1000 if task == "imagenet" else VTAB_TASKS[task][0])
    return _states(MAI, wide["backbone"], wide["task"], classes, wide["images"], wide)


def _states(source: str, backbone, task, classes, n, table: pd.DataFrame) -> pd.DataFrame:
    columns = {"source": source, "backbone": backbone, "task": task, "classes": classes, "n": n}
    states = pd.DataFrame(columns | {"full": table["full"], "vpt": table["vpt"]})
    return states.astype({"classes": int, "n": int})


# ---- the baseline's grid decides the winner -------------------------------------------------------------------------


@dataclass(frozen=True)
class Grids:
    """Full fine-tuning of two laboratories, which tried different learning rates, and VPT-deep next to it.

    Attributes:
        table: a row a task of VTAB-1k: task, group, tried (rates), chosen (rate), at_lowest (whether that is the lowest
            rate tried), full_mai, vpt_mai, full_jia, vpt_jia (per cent), and changes_mai, changes_jia (whether the
            winner over the VPT-deep of that laboratory changes with whose full fine-tuning it meets).
        tried_mai, tried_jia: the rates that each laboratory tried for full fine-tuning, rising.
        mean_mai, mean_jia: mean top-1 of full fine-tuning, per cent.
        prompts_mai, prompts_jia: mean top-1 of VPT-deep, per cent.
    """

    table: pd.DataFrame
    tried_mai: tuple[float, ...]
    tried_jia: tuple[float, ...]
    mean_mai: float
    mean_jia: float
    prompts_mai: float
    prompts_jia: float

    @property
    def at_lowest(self) -> int:
        """Tasks in which Mai et al. chose the lowest rate that they tried."""
        return int(self.table["at_lowest"].sum())

    @property
    def changes(self) -> tuple[int, int]:
        """Tasks in which the winner changes: over the VPT-deep of Mai et al., and over that of Jia et al."""
        return int(self.table["changes_mai"].sum()), int(self.table["changes_jia"].sum())


def grids() -> Grids:
    """How full fine-tuning, and with it the lead of VPT-deep on VTAB-1k, hangs on the rates that were tried for it.

    Mai et al. (arXiv 2409.16434) tried two rates for it, Jia et al. (arXiv 2203.12119) four, with lower ones among
    them; the grid of Jia et al. is that of their code. The laboratories also differ in other things, such as
    normalisation.
    """
    mai, jia = osu(), vtab1k()
    mai = mai[mai["experiment"] == "vtab-1k"].set_index(["method", "task"])
    full, vpt = mai.loc["full"], mai.loc["vpt_deep", "top1"]
    chosen = full["settings"].map(lambda settings: settings["lr"])
    theirs = jia.set_index(["method", "task"])["top1"]
    table = pd.DataFrame({"tried": full["tried"], "chosen": chosen, "at_lowest": chosen == full["tried"].map(min)})
    table = table.assign(full_mai=full["top1"], vpt_mai=vpt, full_jia=theirs["Full"], vpt_jia=theirs["VPT-deep"])
    for whose in ("mai", "jia"):
        prompts = table[f"vpt_{whose}"]
        table[f"changes_{whose}"] = (prompts > table["full_mai"]) != (prompts > table["full_jia"])
    table = table.loc[list(TASK_NAMES.values())].rename_axis("task").reset_index()
    table.insert(1, "group", table["task"].map(lambda task: VTAB_TASKS[task][2]))
    rates = sorted({setting.learning_rate for setting in published_settings("full", 256, ALL)})
    means = table[["full_mai", "full_jia", "vpt_mai", "vpt_jia"]].mean()
    return Grids(table, table["tried"].iloc[0], tuple(rates), *map(float, means))


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    """The files' names of tasks and groups as those of VTAB-1k's folders."""
    table = table.assign(task=table["task"].map(TASK_NAMES))
    return table.assign(group=table["task"].map(lambda task: VTAB_TASKS[task][2]), top1=table["top1"].astype(float))


def _file(name: str) -> Path:
    return repository() / "data" / "reference" / name


@lru_cache
def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype={"top1": float})
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged: restore it with `git checkout -- {path}`.") from error
