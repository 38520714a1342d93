"""Numbers that papers have printed, as tidy tables, and their means and counts, computed again.

The files are in `data/reference/`, whose README gives the source of each number. Top-1 accuracies are in per cent.
"""

from functools import lru_cache
from pathlib import Path

import pandas as pd

from vptlib.data.vtab import VTAB_TASKS
from vptlib.errors import UserError
from vptlib.paths import repository

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
