"""The part of a report on VTAB-1k that shows its figures next to the published ones.

Ours are means over the seeds at the largest size; Jia et al.'s (arXiv 2203.12119) and Han et al.'s (arXiv 2401.12902)
are in `data/reference/`, read by `vptlib.evidence.published`.
"""

import numpy as np
import pandas as pd
from IPython.display import HTML

from vptlib.data.vtab import VTAB_TASKS, vtab_name
from vptlib.evidence.curves import paired_difference
from vptlib.evidence.published import GROUPS, TASK_NAMES, group_means, vtab1k
from vptlib.evidence.recommendation import FULL, PROMPT
from vptlib.report.sections.basic import facts, part
from vptlib.report.words import in_language
from vptlib.study.published_rules import ALL, VTAB
from vptlib.study.study import Study
from vptlib.tuning.backbones import preprocessing
from vptlib.wording import decimals

words = in_language()
# Whose figure → the names of its full fine-tuning and its VPT-deep in `vtab1k()`.
PAPERS = {"Jia et al.": ("Full", "VPT-deep"), "Han et al.": ("Elephant FT", "Elephant VPT")}
OURS = "Ours"
WHOSE = (OURS, *PAPERS)
# The weights that the official code loads (imagenet21k/ViT-B_16.npz of the ViT authors), by their name in timm.
PUBLISHED_BACKBONE = "vit_base_patch16_224.orig_in21k"
PUBLISHED_IMAGE_SIZE, PUBLISHED_IMAGES, PUBLISHED_SEEDS, PUBLISHED_EPOCHS = 224, 1000, 5, 100


def beside_published(studies: list[Study]) -> list[HTML]:
    """The table, a summary and how the settings differ; nothing where no task is one of VTAB-1k."""
    ours = [study for study in studies if vtab_name(study.task)]
    if not ours:
        return []
    table = comparison(ours)
    return [
        HTML('<h3 id="published">Beside the published figures</h3>'),
        comparison_table(table, len(ours[0].seeds)),
        HTML("<h3>What is not as in the papers</h3>"),
        facts(departures(ours) | {"Our figures less theirs": reproduction(table)}),
    ]


def comparison(studies: list[Study]) -> pd.DataFrame:
    """Our figures and the published ones on the tasks of VTAB-1k among `studies`, in the order of the papers.

    Returns:
        One row a task: task (folder), group; for each of `WHOSE` columns (whose, "full") and (whose, "vpt"), top-1 in
        per cent; of ours also the standard deviation over the seeds, (OURS, "full ±") and (OURS, "vpt ±") (NaN with one
        seed), and (OURS, "clear"): whether the 95 % interval of the difference excludes 0.
    """
    by_name = {vtab_name(study.task): study for study in studies}
    published = vtab1k().set_index(["method", "task"])["top1"]
    rows = []
    for name in (folder for folder in TASK_NAMES.values() if folder in by_name):
        row = {("task", ""): name, ("group", ""): VTAB_TASKS[name][2]} | _ours(by_name[name].runs())
        for paper, (full, vpt) in PAPERS.items():
            row |= {(paper, "full"): published[full, name], (paper, "vpt"): published[vpt, name]}
        rows.append(row)
    table = pd.DataFrame(rows)
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table


def _ours(runs: pd.DataFrame) -> dict:
    last = runs[runs["n"] == runs["n"].max()]
    row = {}
    for name, method in (("full", FULL), ("vpt", PROMPT)):
        found = 100 * last.loc[last["method"] == method, "accuracy"]
        row |= {(OURS, name): found.mean(), (OURS, f"{name} ±"): found.std(ddof=1)}
    difference = paired_difference(last, PROMPT, FULL).iloc[-1]
    return row | {(OURS, "clear"): bool(difference["low"] > 0 or difference["high"] < 0)}


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Means of a `comparison`, all over the tasks that are in it.

    Returns:
        Rows natural, specialised, structured (those that are there), mean_of_tasks, mean_of_groups; columns as there.
    """
    columns = [(whose, method) for whose in WHOSE for method in ("full", "vpt")]
    long = pd.concat(
        pd.DataFrame(
            {"method": k, "task": table["task", ""], "group": table["group", ""], "top1": table[column].astype(float)}
        )
        for k, column in enumerate(columns)
    )
    found = group_means(long).T
    found.columns = pd.MultiIndex.from_tuples(columns)
    return found


def departures(studies: list[Study]) -> dict[str, str]:
    """How our setting differs from the published one, label to sentence."""
    first = studies[0]
    size = preprocessing(first.build("linear").vit).size
    n, found = first.sizes[-1], {}
    if first.rules != VTAB:
        found["Rules"] = (
            "An equal, small tuning budget for every method, and validation images that never train. In the papers "
            "settings are chosen on 200 of the 1,000 images, and all 1,000 train in the end."
        )
    if first.backbone.removeprefix("timm/") != PUBLISHED_BACKBONE or first.depth is not None:
        found["Backbone"] = (
            f"{first.backbone}{'' if first.depth is None else f', its first {first.depth} blocks'}. In the papers: "
            f"ViT-B/16, supervised on ImageNet-21k (in timm: {PUBLISHED_BACKBONE}). Another backbone moves all figures."
        )
    if size != PUBLISHED_IMAGE_SIZE:
        found["Image size"] = f"{size} px. In the papers: {PUBLISHED_IMAGE_SIZE} px."
    if n != PUBLISHED_IMAGES:
        found["Training images"] = f"{n:,} with labels. In the papers: {PUBLISHED_IMAGES:,}."
    if other := _other_tests(studies):
        found["Test images"] = f"Not the whole test set: {other}."
    if len(first.seeds) != PUBLISHED_SEEDS:
        found["Seeds"] = f"{len(first.seeds)}. In the papers: the mean of {PUBLISHED_SEEDS} runs."
    if first.rules == VTAB and first.candidates != ALL:
        found["Tuning"] = f"{first.candidates} settings a method. In the papers: the whole grid of each method."
    if first.rules == VTAB and first.epochs != PUBLISHED_EPOCHS:
        found["Training"] = (
            f"{first.epochs} pass{'es' if first.epochs > 1 else ''} over the images. In the papers: {PUBLISHED_EPOCHS}."
        )
    if first.conditions.facts():
        found["Conditions"] = words.sentence(first.conditions.statement())
    if len(studies) < len(VTAB_TASKS):
        found["Tasks"] = f"{len(studies)} of {len(VTAB_TASKS)}; all means here, ours and theirs, are over these alone."
    found["In any case"] = (
        "Images are read from JPEG files and normalised as the backbone was pre-trained. Suites of the benchmark "
        "differ in both, and that is known to shift results. One batch size serves all methods."
    )
    return found


def _other_tests(studies: list[Study], most: int = 4) -> str:
    """Tasks whose test images are not all those of the benchmark, with both numbers."""
    counts = [(name, len(study.test_items())) for study in studies if (name := vtab_name(study.task))]
    other = [f"{name} {n:,} of {VTAB_TASKS[name][1]:,}" for name, n in counts if n != VTAB_TASKS[name][1]]
    return ", ".join(other[:most]) + (f" and {len(other) - most} more tasks" if len(other) > most else "")


def reproduction(table: pd.DataFrame) -> str:
    """How far our figures are from the published ones, a sentence for each paper."""
    sentences = []
    for paper in PAPERS:
        parts = []
        for method, title in (("full", "full fine-tuning"), ("vpt", "VPT-deep")):
            gap = table[OURS, method] - table[paper, method]
            worst = int(np.abs(gap.to_numpy()).argmax())
            where = _paper_name(table["task", ""].iloc[worst])
            mean, most = (decimals(value, 1, signed=True) for value in (gap.mean(), gap.iloc[worst]))
            parts.append(f"{title} {mean} points on average (most: {where}, {most})")
        sentences.append(f"{paper}: {', '.join(parts)}.")
    return " ".join(sentences)


# ---- the table ------------------------------------------------------------------------------------------------


def comparison_table(table: pd.DataFrame, seeds: int) -> HTML:
    average = means(table)
    groups = []
    for group in GROUPS:
        rows = table[table["group", ""] == group]
        if len(rows):
            lines = [("", _cells(_paper_name(row["task", ""]), row)) for _, row in rows.iterrows()]
            title = f"Mean of {len(rows)} {group}"
            groups.append([*lines, ("mean", _cells(title, average.loc[group]))])
    last = [
        ("mean", _cells(f"Mean of {len(table)} tasks", average.loc["mean_of_tasks"])),
        ("mean", _cells(f"Mean of {len(groups)} groups", average.loc["mean_of_groups"])),
        ("mean", _wins(table)),
    ]
    spread = f" ± standard deviation over {seeds} seeds" if seeds > 1 else ", one seed"
    return part(
        "grouped_table",
        heads=[("", 1), ("Full fine-tuning", 3), ("VPT-deep", 3), ("Who is ahead, in points", 3)],
        columns=["Task", *(3 * [*WHOSE])],
        groups=[*groups, last],
        caption=f"Accuracy on the test images in per cent. Ours: mean{spread}. In brackets: a lead of ours on a task "
        "whose 95\u202f% interval does not leave out 0. Level: less than 0.05 points apart, in figures printed with "
        "one decimal. Means carry no interval.",
    )


def _cells(title: str, row: pd.Series) -> list[tuple[str, str]]:
    """One line: the title, three figures a method, and three leads; each with its class."""
    figures = [("", _figure(row, whose, method)) for method in ("full", "vpt") for whose in WHOSE]
    return [("", title), *figures, *(_lead(row, whose) for whose in WHOSE)]


def _figure(row: pd.Series, whose: str, method: str) -> str:
    spread = row.get((whose, f"{method} ±"), np.nan)
    return f"{row[whose, method]:.1f}" + ("" if pd.isna(spread) else f" ± {spread:.1f}")


def _lead(row: pd.Series, whose: str) -> tuple[str, str]:
    lead = row[whose, "vpt"] - row[whose, "full"]
    if abs(lead) < 0.05:
        return "unclear", "level"
    text = f"{'VPT' if lead > 0 else 'full'} +{abs(lead):.1f}"
    if not row.get((whose, "clear"), True):
        return "unclear", f"({text})"
    return "prompt" if lead > 0 else "fine-tune", text


def _wins(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Of how many tasks VPT-deep is ahead, by the printed figures."""
    ahead = [int((table[whose, "vpt"] - table[whose, "full"] >= 0.05).sum()) for whose in WHOSE]
    return [("", "VPT-deep ahead in"), *(6 * [("", "")]), *(("", f"{count} of {len(table)}") for count in ahead)]


def _paper_name(folder: str) -> str:
    return next(name for name, known in TASK_NAMES.items() if known == folder)
