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
from vptlib.report.sections.basic import facts, heading, part
from vptlib.report.sections.layers import PUBLISHED, published_title
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.study.published_rules import ALL, VTAB
from vptlib.study.study import Study
from vptlib.tuning.backbones import preprocessing

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
        heading(published_title(), 2, PUBLISHED),
        comparison_table(table, len(ours[0].seeds)),
        heading(_("What is not as in the papers"), 3),
        facts(departures(ours) | {_("Our figures less theirs"): reproduction(table)}),
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
        found[_("Rules")] = _(
            "An equal, small tuning budget for every method, and validation images that never train. In the papers "
            "settings are chosen on 200 of the 1,000 images, and all 1,000 train in the end."
        )
    if first.backbone.removeprefix("timm/") != PUBLISHED_BACKBONE or first.depth is not None:
        found[_("Backbone")] = _(
            "{ours}. In the papers: ViT-B/16, supervised on ImageNet-21k (in timm: {theirs}). Another backbone moves "
            "all figures."
        ).format(ours=_backbone_of(first), theirs=PUBLISHED_BACKBONE)
    if size != PUBLISHED_IMAGE_SIZE:
        found[_("Image size")] = _("{ours} px. In the papers: {theirs} px.").format(
            ours=size, theirs=PUBLISHED_IMAGE_SIZE
        )
    if n != PUBLISHED_IMAGES:
        found[_("Training images")] = _("{ours} with labels. In the papers: {theirs}.").format(
            ours=words.whole(n), theirs=words.whole(PUBLISHED_IMAGES)
        )
    if other := _other_tests(studies):
        found[_("Test images")] = _("Not the whole test set: {tasks}.").format(tasks=other)
    if len(first.seeds) != PUBLISHED_SEEDS:
        found[_("Seeds")] = _("{ours}. In the papers: the mean of {theirs} runs.").format(
            ours=len(first.seeds), theirs=PUBLISHED_SEEDS
        )
    if first.rules == VTAB and first.candidates != ALL:
        found[_("Tuning")] = _("{ours} settings a method. In the papers: the whole grid of each method.").format(
            ours=first.candidates
        )
    if first.rules == VTAB and first.epochs != PUBLISHED_EPOCHS:
        found[_("Training")] = _("Passes over the images: {ours}. In the papers: {theirs}.").format(
            ours=first.epochs, theirs=PUBLISHED_EPOCHS
        )
    if first.conditions.facts():
        found[_("Conditions")] = words.sentence(first.conditions.statement())
    if len(studies) < len(VTAB_TASKS):
        found[_("Tasks")] = _("{ours} of {theirs}; all means here, ours and theirs, are over these alone.").format(
            ours=len(studies), theirs=len(VTAB_TASKS)
        )
    found[_("In any case")] = _(
        "Images are read from JPEG files and normalised as the backbone was pre-trained. Suites of the benchmark "
        "differ in both, and that is known to shift results. One batch size serves all methods."
    )
    return found


def _backbone_of(study: Study) -> str:
    if study.depth is None:
        return study.backbone
    return _("{backbone}, its first {depth} blocks").format(backbone=study.backbone, depth=study.depth)


def _other_tests(studies: list[Study], most: int = 4) -> str:
    """Tasks whose test images are not all those of the benchmark, with both numbers."""
    counts = [(name, len(study.test_items())) for study in studies if (name := vtab_name(study.task))]
    one = _("{name} {ours} of {theirs}")
    other = [
        one.format(name=name, ours=words.whole(n), theirs=words.whole(VTAB_TASKS[name][1]))
        for name, n in counts
        if n != VTAB_TASKS[name][1]
    ]
    more = [_("{n} more tasks").format(n=len(other) - most)] if len(other) > most else []
    return words.listed([*other[:most], *more]) if other else ""


def reproduction(table: pd.DataFrame) -> str:
    """How far our figures are from the published ones, a sentence for each paper."""
    return words.sentences(*(_reproduced(table, paper) for paper in PAPERS))


def _reproduced(table: pd.DataFrame, paper: str) -> str:
    parts = []
    for name, method in (("full", FULL), ("vpt", PROMPT)):
        gap = table[OURS, name] - table[paper, name]
        worst = int(np.abs(gap.to_numpy()).argmax())
        parts.append(
            _("{method} {mean} points on average (most: {task}, {most})").format(
                method=words.in_prose(method),
                mean=words.decimals(gap.mean(), 1, signed=True),
                task=_paper_name(table["task", ""].iloc[worst]),
                most=words.decimals(gap.iloc[worst], 1, signed=True),
            )
        )
    return _("{paper}: {gaps}.").format(paper=paper, gaps=words.listed(parts))


# ---- the table ------------------------------------------------------------------------------------------------


def comparison_table(table: pd.DataFrame, seeds: int) -> HTML:
    average = means(table)
    groups = []
    for group in GROUPS:
        rows = table[table["group", ""] == group]
        if len(rows):
            lines = [("", _cells(_paper_name(row["task", ""]), row)) for _, row in rows.iterrows()]
            title = _group_title(group).format(n=len(rows))
            groups.append([*lines, ("mean", _cells(title, average.loc[group]))])
    last = [
        ("mean", _cells(_("Mean of {n} tasks").format(n=len(table)), average.loc["mean_of_tasks"])),
        ("mean", _cells(_("Mean of {n} groups").format(n=len(groups)), average.loc["mean_of_groups"])),
        ("mean", _wins(table)),
    ]
    whose = [_("Ours") if one == OURS else one for one in WHOSE]
    return part(
        "grouped_table",
        heads=[
            (_("Images"), 1),
            (words.title(FULL), 3),
            (words.title(PROMPT), 3),
            (_("Who is ahead, in points"), 3),
        ],
        columns=[_("Task"), *(3 * whose)],
        groups=[*groups, last],
        caption=_caption(seeds),
    )


def _caption(seeds: int) -> str:
    ours = (
        _("Accuracy on the test images in per cent. Ours: mean ± standard deviation over {seeds} seeds.")
        if seeds > 1
        else _("Accuracy on the test images in per cent. Ours: one seed.")
    ).format(seeds=seeds)
    rest = _(
        "In brackets: a lead of ours on a task whose 95\u202f% interval does not leave out 0. Level: less than 0.05 "
        "points apart, in figures printed with one decimal. Means carry no interval."
    )
    return words.sentences(ours, rest)


def _group_title(group: str) -> str:
    return {
        "natural": _("Mean of {n} natural"),
        "specialised": _("Mean of {n} specialised"),
        "structured": _("Mean of {n} structured"),
    }[group]


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
        return "unclear", _("level")
    text = f"{'VPT' if lead > 0 else _('full')} +{abs(lead):.1f}"
    if not row.get((whose, "clear"), True):
        return "unclear", f"({text})"
    return "prompt" if lead > 0 else "fine-tune", text


def _wins(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Of how many tasks VPT-deep is ahead, by the printed figures."""
    ahead = [int((table[whose, "vpt"] - table[whose, "full"] >= 0.05).sum()) for whose in WHOSE]
    return [("", _("VPT-deep ahead in")), *(6 * [("", "")]), *(("", _wins_of(count, len(table))) for count in ahead)]


def _wins_of(ahead: int, tasks: int) -> str:
    return _("{ahead} of {tasks}").format(ahead=ahead, tasks=tasks)


def _paper_name(folder: str) -> str:
    return next(name for name, known in TASK_NAMES.items() if known == folder)
