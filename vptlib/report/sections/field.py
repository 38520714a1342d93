"""Parts of a report beyond one clean comparison: harder conditions, and the distance of tasks from pre-training."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import HTML

from vptlib.evidence.curves import learning_curves, paired_difference
from vptlib.evidence.similarity import how_well
from vptlib.report.charts import quadrant_figure
from vptlib.report.figure_html import figure
from vptlib.report.sections.basic import heading, paragraph, points_between, table
from vptlib.report.sections.layers import PRETRAINING, pretraining_title
from vptlib.report.told import told_task
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.study.study import Study
from vptlib.study.time_budget import left_out

# ---- harder conditions ------------------------------------------------------------------------------------------


def robustness_part(study: Study, conditions: Sequence[dict]) -> list[HTML]:
    """The accuracy of each method under each condition; where nothing was run, that, and how to run it.

    Args:
        study: the clean one.
        conditions: fields of `vptlib.data.conditions.Conditions`, such as {"label_noise": 0.4}.
    """
    if not conditions:
        return [paragraph(none_asked())]
    harder = [study.under(**changes) for changes in conditions]
    missing = [one for one in harder if one.missing()]
    return [*_compared(study, [one for one in harder if one not in missing]), *map(_not_made, missing)]


def none_asked() -> str:
    """That no harder conditions were run, and how to run them."""
    return _(
        "Not tested: how the methods do with blurred or noisy images, with wrong labels, or with rare classes. Give "
        "conditions in the YAML file, such as {example}, then the same command runs them."
    ).format(example="- {corruption: blur, severity: 2}")


def _not_made(one: Study) -> HTML:
    text = _("Not tested: {condition} {runs}")
    return paragraph(text.format(condition=condition_of(one), runs=words.sentence(left_out(one.missing()))))


def condition_of(one: Study) -> str:
    """The condition of a harder study as a sentence."""
    return words.sentence(one.conditions.statement())


def _compared(study: Study, harder: list[Study]) -> list[HTML]:
    as_above = study.under()
    if not harder or as_above.missing():
        return []
    clean = as_above.runs()
    rows = [[_("As above"), *_accuracies(clean, clean)]]
    rows += [[condition_of(one).rstrip(".。"), *_accuracies(one.runs(), clean)] for one in harder]
    columns = [_("Condition"), *map(words.title, study.methods), _("VPT-deep less full, in points")]
    caption = _(
        "Accuracy with {n} labelled images, and what the condition costs in points; on the right with the 95\u202f% "
        "interval"
    ).format(n=words.whole(study.sizes[-1]))
    return [table(pd.DataFrame(rows, columns=columns), caption)]


def _accuracies(runs: pd.DataFrame, clean: pd.DataFrame) -> list[str]:
    found, before = (learning_curves(some).set_index("method")["mean"] for some in (runs, clean))
    texts = [
        words.per_cent(mean)
        if runs is clean
        else _("{value} ({interval})").format(value=words.per_cent(mean), interval=words.points(mean - before[method]))
        for method, mean in found.items()
    ]
    return [*texts, *map(_lead, paired_difference(runs).itertuples())]


def _lead(row) -> str:
    interval = points_between(row.low, row.high)
    return _("{value} ({interval})").format(value=words.points(row.difference), interval=interval)


# ---- tasks and pre-training -------------------------------------------------------------------------------------


def tasks_beside_pretraining(placed: pd.DataFrame, reference: str) -> list[HTML]:
    """Heading, the quadrants with the tasks in them, the scores, and how well both predicted the winner.

    Args:
        placed: from `vptlib.evidence.pretraining_distance.tasks_and_pretraining`.
        reference: what the distance was measured from, as the user named it.
    """
    titles = {task: told_task(task).title for task in placed["task"]}
    titled = placed.assign(title=placed["task"].map(titles))
    caption = _(
        "Han et al. (arXiv 2401.12902, section 5) find full fine-tuning preferred in the upper left alone. Far means "
        "farther than the median of these tasks: the distance has no scale of its own."
    )
    alt = _("Tasks by objective and by distance from the reference images; the table has the figures.")
    how = _("How well each told the difference between VPT-deep and full fine-tuning: {n} tasks say little")
    return [
        heading(pretraining_title(), 2, PRETRAINING),
        figure(lambda: quadrant_figure(titled), caption, alt, titled, "tasks-and-pre-training"),
        _scores(titled, reference),
        table(_how_well_predicted(placed), how.format(n=len(placed))),
    ]


def _scores(titled: pd.DataFrame, reference: str) -> HTML:
    rows = [
        [
            row.title,
            row.objective,
            f"{words.whole(row.distance)} ± {words.whole(row.distance_error)}",
            words.per_cent(row.knn, 0),
            words.decimals(row.log_me),
            words.decimals(row.h_score),
            "VPT" if row.predicted == "vpt" else _("full"),
            words.points(row.difference),
        ]
        for row in titled.itertuples()
    ]
    columns = [
        _("Task"),
        _("Objective"),
        _("Distance"),
        "kNN",
        "LogME",
        "H-score",
        _("Quadrant says"),
        _("VPT-deep less full"),
    ]
    caption = _("Distance from {reference}: squared Fréchet distance of features, extrapolated to endless samples")
    return table(pd.DataFrame(rows, columns=columns), caption.format(reference=reference))


def _how_well_predicted(placed: pd.DataFrame) -> pd.DataFrame:
    names = {
        "quadrant": _("Quadrant"),
        "distance": _("Distance"),
        "knn": _("kNN accuracy"),
        "log_me": "LogME",
        "h_score": "H-score",
    }
    rows = []
    for row in how_well(placed).itertuples():
        if row.by == "quadrant":
            text = _("{right} of {tasks} winners right (95\u202f% interval {interval})").format(
                right=round(row.right * row.tasks),
                tasks=row.tasks,
                interval=words.span(words.per_cent(row.low, 0), words.per_cent(row.high, 0)),
            )
            rows.append([names[row.by], text])
        elif pd.notna(row.rank_correlation):
            value = words.decimals(row.rank_correlation, signed=True)
            rows.append([names[row.by], _("rank correlation {value}").format(value=value)])
    return pd.DataFrame(rows, columns=[_("By"), _("On these tasks")])
