"""Parts of a report beyond one clean comparison: harder conditions, and the distance of tasks from pre-training."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import HTML

from vptlib.data.tasks import load_task
from vptlib.evidence.curves import learning_curves, paired_difference
from vptlib.evidence.similarity import how_well
from vptlib.report.charts import quadrant_figure
from vptlib.report.sections.basic import figure, part, table
from vptlib.report.words import in_language
from vptlib.study.study import Study
from vptlib.tuning.methods import METHODS
from vptlib.wording import decimals, per_cent, points

words = in_language()
_BY = {
    "quadrant": "Quadrant",
    "distance": "Distance",
    "knn": "kNN accuracy",
    "log_me": "LogME",
    "h_score": "H-score",
}


# ---- harder conditions ------------------------------------------------------------------------------------------


def harder_conditions(study: Study, conditions: Sequence[dict]) -> list[HTML]:
    """The accuracy of each method under each condition, all runs finished; nothing where there are none."""
    if not conditions:
        return []
    harder = [study.under(**changes) for changes in conditions]
    harder = [one for one in harder if not one.missing()]  # there may have been no time for some
    as_above = study.under()
    if not harder or as_above.missing():
        return []
    clean = as_above.runs()
    rows = [["As above", *_accuracies(clean, clean)]]
    rows += [
        [words.sentence(one.conditions.statement()).rstrip("."), *_accuracies(one.runs(), clean)] for one in harder
    ]
    columns = ["", *(METHODS[method].title for method in study.methods), "VPT-deep less full, in points"]
    caption = (
        f"Accuracy with {study.sizes[-1]:,} labelled images, and what the condition costs in points; on the right with "
        "the 95\u202f% interval"
    )
    return [
        part("heading", text="Under harder conditions", level=3),
        table(pd.DataFrame(rows, columns=columns), caption),
    ]


def _accuracies(runs: pd.DataFrame, clean: pd.DataFrame) -> list[str]:
    found, before = (learning_curves(some).set_index("method")["mean"] for some in (runs, clean))
    texts = [
        per_cent(mean) + ("" if runs is clean else f" ({points(mean - before[method])})")
        for method, mean in found.items()
    ]
    (difference,) = paired_difference(runs).itertuples()
    interval = f"{points(difference.low)} to {points(difference.high)}"
    return [*texts, f"{points(difference.difference)} ({interval})"]


# ---- tasks and pre-training -------------------------------------------------------------------------------------


def tasks_beside_pretraining(placed: pd.DataFrame, reference: str) -> list[HTML]:
    """Heading, the quadrants with the tasks in them, the scores, and how well both predicted the winner.

    Args:
        placed: from `vptlib.evidence.pretraining_distance.tasks_and_pretraining`.
        reference: what the distance was measured from, as the user named it.
    """
    titles = {task: load_task(task).title for task in placed["task"]}
    rows = [
        [
            titles[row.task],
            row.objective,
            f"{row.distance:,.0f} ± {row.distance_error:,.0f}",
            per_cent(row.knn, 0),
            decimals(row.log_me),
            decimals(row.h_score),
            "VPT" if row.predicted == "vpt" else "full",
            points(row.difference),
        ]
        for row in placed.itertuples()
    ]
    columns = ["Task", "Objective", "Distance", "kNN", "LogME", "H-score", "Quadrant says", "VPT-deep less full"]
    caption = f"Distance from {reference}: squared Fréchet distance of features, extrapolated to endless samples"
    return [
        part("heading", text="Tasks and pre-training", level=2),
        figure(
            quadrant_figure(placed.assign(title=placed["task"].map(titles))),
            caption="Han et al. (arXiv 2401.12902, section 5) find full fine-tuning preferred in the upper left alone. "
            "Far means farther than the median of these tasks: the distance has no scale of its own.",
            alt="Tasks by objective and by distance from the reference images; the table has the figures.",
        ),
        table(pd.DataFrame(rows, columns=columns), caption),
        table(
            _how_well_predicted(placed),
            f"How well each told the difference between VPT-deep and full fine-tuning: {len(placed)} tasks say little",
        ),
    ]


def _how_well_predicted(placed: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in how_well(placed).itertuples():
        if row.by == "quadrant":
            text = f"{round(row.right * row.tasks)} of {row.tasks} winners right"
            rows.append([_BY[row.by], f"{text} (95\u202f% interval {per_cent(row.low, 0)} to {per_cent(row.high, 0)})"])
        elif pd.notna(row.rank_correlation):
            rows.append([_BY[row.by], f"rank correlation {decimals(row.rank_correlation, signed=True)}"])
    return pd.DataFrame(rows, columns=["By", "On these tasks"])
