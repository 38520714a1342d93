"""The parts of a report, as its notebooks show them: the card with the answer, tables, figures, facts.

Each function takes results of judgement and gives HTML made by a macro of `parts.html.j2`.
"""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from vptlib.data.tasks import Task, findings_of, load_task
from vptlib.evidence.costs import costs
from vptlib.evidence.curves import learning_curves
from vptlib.evidence.recommendation import FEWEST_SEEDS, NO_ANSWER, NOTHING_WORKS, Recommendation
from vptlib.evidence.resampling import Joint
from vptlib.explanations.checklist import NO, OPEN, YES, Row
from vptlib.report.judged import commonest_share
from vptlib.report.words import in_language
from vptlib.statement import statement
from vptlib.study.study import Study
from vptlib.study.time_budget import left_out
from vptlib.tuning.methods import METHODS
from vptlib.wording import count, duration, exact_points, per_cent, points, storage

TEMPLATES = Path(__file__).parent.parent / "templates"
VTAB_GROUPS = ("natural", "specialised", "structured")

words = in_language()
COST_ROWS = (
    # label, column of `costs`, how to write it
    ("Trained parameters", "trainable_parameters", count),
    ("Stored per further task", "bytes_per_task", storage),
    ("One training run", "train_seconds", duration),
)


# ---- the simple parts -----------------------------------------------------------------------------------------


def part(name: str, **values: Any) -> HTML:
    """One macro of `parts.html.j2`, filled in; a notebook cell shows it as it is."""
    return HTML(str(getattr(_parts(), name)(**values)))


def figure(fig: Figure, caption: str, alt: str) -> HTML:
    """A matplotlib figure, as SVG, with its caption, and with a description (`alt`) for those who cannot see it."""
    width, height = fig.get_size_inches()
    buffer = io.BytesIO()
    fig.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(fig)
    address = f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return part("figure", address=address, caption=caption, alt=alt, wide=width > 1.3 * height)


def facts(items: dict[str, str]) -> HTML:
    """Labels and sentences, one under the other."""
    return part("facts", items=items)


def table(frame: pd.DataFrame, caption: str) -> HTML:
    """A table of formatted texts; the first column names the row."""
    return part("table", columns=list(frame.columns), rows=frame.values.tolist(), caption=caption)


@cache
def _parts():
    folder = FileSystemLoader(TEMPLATES)
    environment = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.globals["words"] = words
    return environment.get_template("parts.html.j2").module


# ---- what the parts show --------------------------------------------------------------------------------------


def opening(title: str, studies: list[Study]) -> HTML:
    """Title, scope and, with fewer than three seeds, the warning that this is a quick look."""
    first = studies[0]
    methods = ", ".join(METHODS[method].title for method in first.methods)
    scope = [
        date.today().strftime("%-d %B %Y"),
        f"{len(studies)} task{'s' if len(studies) > 1 else ''}",
        " to ".join(f"{n:,}" for n in dict.fromkeys((first.sizes[0], first.sizes[-1]))) + " labelled images",
        methods,
        f"backbone {first.backbone}",
    ]
    return part("opening", title=title, scope=scope, quick_look=len(first.seeds) < FEWEST_SEEDS)


def answer(task: Task, advice: Recommendation, runs: pd.DataFrame, warning: str = "", price: str = "") -> HTML:
    """The card of one task on the first page: what to do, how sure that is, why, what it costs, what would change it.

    Args:
        task: what was asked.
        advice: what was found (`vptlib.evidence.decision.advice_so_far`).
        runs: the table behind it.
        warning: a sentence on what limits the answer, or "".
        price: a sentence on money, or "".
    """
    return part(
        "answer",
        task=task,
        advice=advice,
        colour=colour_of(advice),
        lines=_lines(advice, price),
        glance=at_a_glance(runs, advice.n, commonest_share(task)),
        warning=warning,
    )


_SO_FAR, _DECIDED = ("Why", "So far"), ("Why", "How sure")


def _lines(advice: Recommendation, price: str) -> dict[str, str]:
    """Label to sentence, what a reader must have read before anything else."""
    if advice.choice == NO_ANSWER:
        labels, reasons = _SO_FAR, advice.reasons
    else:
        labels, reasons = _DECIDED, advice.reasons[1:]  # the figures of the first are in the table
    lines = {label: words.sentence(reason) for label, reason in zip(labels, reasons, strict=False)}
    if price:
        lines["Price"] = price
    if advice.would_change is not None:
        lines["What would change it"] = words.sentence(advice.would_change)
    return lines


_NO_METHOD = "#414c5a"


def colour_of(advice: Recommendation) -> str:
    """The colour that the chosen method has in the figures; a quiet one where no method is chosen."""
    return METHODS[str(advice.method)].colour if advice.uses else _NO_METHOD


def not_made(study: Study) -> list[HTML]:
    """The runs of the study that there was no time for; nothing if all are there."""
    missing = study.missing()
    return [facts({"Not made": words.sentence(left_out(missing))})] if missing else []


def task_opening(task: Task, advice: Recommendation) -> HTML:
    """Heading and answer of one task's pages, with all reasons."""
    return part("task_opening", task=task, advice=advice, colour=colour_of(advice))


def across_tasks(advices: Sequence[Recommendation]) -> list[HTML]:
    """Which answers several tasks have, and which share of them is expected to be wrong; nothing for one task.

    That share is the mean of what their probabilities leave (Efron, Large-Scale Inference, 2010, section 2.2): it holds
    however many tasks are looked at.
    """
    if len(advices) < 2:
        return []
    answered = [one for one in advices if one.uses or one.choice == NOTHING_WORKS]
    counts = Counter((one.choice, one.method) for one in answered)
    answers = [{"choice": choice, "method": method, "tasks": many} for (choice, method), many in counts.most_common()]
    wrong = 1 - float(np.mean([one.probability for one in answered])) if answered else None
    said = statement("across_tasks", tasks=len(advices), answers=answers, wrong=wrong)
    return [facts({"Over all tasks": words.sentence(said)})]


def behind_table(found: Joint) -> HTML:
    """How far each method is behind the best one, from `vptlib.evidence.resampling.joint`."""
    rows = [
        [METHODS[row.method].title, "the best" if k == 0 else points(row.behind), _ends(row) if k else ""]
        for k, row in enumerate(found.behind_best().itertuples())
    ]
    columns = ["", "Points behind the best", "95\u202f% interval"]
    caption = (
        f"With {found.n:,} labelled images. The intervals hold for all methods together, although the best was chosen"
    )
    return table(pd.DataFrame(rows, columns=columns), caption)


def _ends(row) -> str:
    return f"{points(row.low)} to {points(row.high)}"


def reading_guide(margin: float) -> HTML:
    """The words of the first page, for readers who have not met them."""
    return part("reading_guide", margin=exact_points(margin))


def rules(studies: list[Study]) -> HTML:
    """How the comparison was made: once for all tasks with exactly the same rules."""
    tasks_of: dict[tuple, list[str]] = {}
    for study in studies:
        tasks_of.setdefault(tuple(words.protocol(study.protocol()).items()), []).append(load_task(study.task).title)
    return part("rules", protocols=[(tasks, dict(shared)) for shared, tasks in tasks_of.items()])


def closing(config: str, versions: dict[str, str]) -> HTML:
    """How to make the report again, and with which versions it was made."""
    return part("closing", config=config, versions=versions)


def at_a_glance(runs: pd.DataFrame, n: int, without_looking: float) -> HTML:
    """The methods with runs at `n` labelled images, the most accurate first: accuracy with its interval, and costs."""
    curves, cost = learning_curves(runs), costs(runs).set_index("method")
    ranked = curves[curves["n"] == n].sort_values("mean", ascending=False, kind="stable")
    rows = [
        [METHODS[point["method"]].title, per_cent(point["mean"]), _range(point), *_costs_of(cost.loc[point["method"]])]
        for _, point in ranked.iterrows()
    ]
    columns = ["", "Accuracy", "95\u202f% interval", "Stored a task", "Training"]
    caption = f"With {n:,} labelled images. Without looking: {per_cent(without_looking, 0)} accuracy"
    return table(pd.DataFrame(rows, columns=columns), caption)


def _costs_of(row: pd.Series) -> tuple[str, str]:
    return storage(row["bytes_per_task"]), duration(row["train_seconds"])


def accuracy_table(curves: pd.DataFrame) -> HTML:
    """Accuracy by size and method, from `learning_curves`."""
    methods = list(dict.fromkeys(curves["method"]))
    rows = [[f"{n:,}", *(_accuracy(curves, method, n) for method in methods)] for n in sorted(set(curves["n"]))]
    frame = pd.DataFrame(rows, columns=["Labelled images", *(METHODS[method].title for method in methods)])
    return table(frame, "Accuracy on the test images, with its 95\u202f% interval")


def _point(curves: pd.DataFrame, method: str, n: int) -> pd.Series:
    return curves[(curves["method"] == method) & (curves["n"] == n)].iloc[0]


def _range(point: pd.Series) -> str:
    return f"{100 * point['low']:.1f} to {100 * point['high']:.1f}"


def _accuracy(curves: pd.DataFrame, method: str, n: int) -> str:
    """One point of the curves, such as "82.3 % (78.0 to 86.1)"; a dash where the method was not run at that size."""
    if not ((curves["method"] == method) & (curves["n"] == n)).any():
        return "–"
    point = _point(curves, method, n)
    return f"{per_cent(point['mean'])} ({_range(point)})"


def difference_table(differences: pd.DataFrame) -> HTML:
    """VPT-deep less full fine-tuning by size, from `paired_difference`."""
    rows = [
        [
            f"{row.n:,}",
            points(row.difference),
            f"{points(row.low)} to {points(row.high)}",
            per_cent(row.probability_a_ahead, 0),
        ]
        for row in differences.itertuples()
    ]
    columns = ["Labelled images", "Difference in points", "95\u202f% interval", "Resampled studies with VPT-deep ahead"]
    return table(pd.DataFrame(rows, columns=columns), "VPT-deep less full fine-tuning, on the same test images")


def cost_table(cost: pd.DataFrame) -> HTML:
    """What each method costs, from `costs`."""
    rows = [
        [METHODS[method].title, *(text(row[column]) for _, column, text in COST_ROWS), duration(row["tuning_seconds"])]
        for method, row in cost.set_index("method").iterrows()
    ]
    columns = ["Method", *(label for label, _, _ in COST_ROWS), "With its tuning"]
    return table(pd.DataFrame(rows, columns=columns), f"Measured at {cost['n'].max():,} labelled images")


def about(task: Task) -> HTML:
    """Where the images come from, and what their licence allows."""
    return facts(
        {
            "Classes": f"{task.num_classes} ({_some(task.class_names)}).",
            **_group(task),
            "To draw from": f"{len(task.train):,} images to train on, {len(task.test):,} to test on.",
            "Without looking": f"{per_cent(commonest_share(task))} accuracy, by always naming the commonest class.",
            "Source": task.source,
            "Licence": task.licence,
            **remarks(task),
        }
    )


def _group(task: Task) -> dict[str, str]:
    """The task's group in the VTAB benchmark; nothing for images that are not in it."""
    if task.group not in VTAB_GROUPS:
        return {}
    return {"Group": f"{task.group}, {task.objective} (the groups of the VTAB benchmark)."}


def remarks(task: Task) -> dict[str, str]:
    """What has to be said of the task's images: how they were read, and what may mislead."""
    numbered = enumerate(findings_of(task), 1)
    return {f"{finding.level.capitalize()} {k}": words.sentence(finding.what) for k, finding in numbered}


def _some(names: tuple[str, ...], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# ---- explanations -----------------------------------------------------------------------------------------------

_SIGNS = {YES: "✓", NO: "✗", OPEN: "?"}


def explainability(rows: list[Row], images: int) -> HTML:
    """The explainability checklist (`vptlib.explanations.checklist`): a question, its verdict, and why."""
    items = [
        (
            words.QUESTIONS[row.question],
            row.verdict,
            f"{_SIGNS[row.verdict]} {words.VERDICTS[row.verdict]}",
            [(METHODS[method].title, words.sentence(found)) for method, found in row.answers.items()],
        )
        for row in rows
    ]
    return part("checklist", items=items, images=images)
