"""Parts of a report on results: accuracy against labelled images, all methods next to the best, two of them paired."""

import pandas as pd
from IPython.display import HTML

from vptlib.evidence.costs import costs
from vptlib.evidence.curves import crossover, learning_curves, paired_difference
from vptlib.evidence.resampling import Joint, joint
from vptlib.report.charts import cost_figure, difference_figure, learning_curve_figure
from vptlib.report.figure_html import figure
from vptlib.report.sections.basic import heading, points_between, table, with_range
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.statement import statement


def accuracy_part(runs: pd.DataFrame, title: str) -> list[HTML]:
    """The learning curves as figure and table, and at the largest size each method next to the best.

    Args:
        runs: one task's table, with at least one run.
        title: of the task.
    """
    curves, found = learning_curves(runs), joint(runs)
    caption = lead_in_words(found)
    alt = _("Accuracy on {title} against the number of labelled images, a line for each method. {finding}").format(
        title=title, finding=caption
    )
    return [
        figure(lambda: learning_curve_figure(curves, title), caption, alt, curves, "accuracy"),
        accuracy_table(curves),
        *([behind_table(found)] if len(found.methods) > 1 else []),
    ]


def lead_in_words(found: Joint) -> str:
    """Which method leads and by how much, from `vptlib.evidence.resampling.joint`."""
    behind = found.behind_best()
    first, accuracy = behind["method"].iloc[0], max(found.value)
    best = _("With {n} labelled images {method} is the most accurate: {accuracy} of the test images are right.").format(
        n=words.whole(found.n), method=words.in_prose(first), accuracy=words.per_cent(accuracy)
    )
    if len(behind) == 1:
        return best
    second = behind.iloc[1]
    text = (
        _("{method} is {points} behind (95\u202f% interval: {interval}), so it is clearly less accurate.")
        if second["low"] > 0
        else _("{method} is {points} behind (95\u202f% interval: {interval}), so which one is better is open.")
    )
    next_one = text.format(
        method=words.title(second["method"]),
        points=words.in_points(second["behind"]),
        interval=points_between(second["low"], second["high"]),
    )
    return words.sentences(best, next_one)


def accuracy_table(curves: pd.DataFrame) -> HTML:
    """Accuracy by size and method, from `learning_curves`."""
    methods = list(dict.fromkeys(curves["method"]))
    rows = [[words.whole(n), *(_accuracy(curves, method, n) for method in methods)] for n in sorted(set(curves["n"]))]
    frame = pd.DataFrame(rows, columns=[_("Labelled images"), *map(words.title, methods)])
    return table(frame, _("Accuracy on the test images, with its 95\u202f% interval"))


def _accuracy(curves: pd.DataFrame, method: str, n: int) -> str:
    """One point of the curves, such as "82.3 % (78.0 to 86.1)"; a dash where the method was not run at that size."""
    found = curves[(curves["method"] == method) & (curves["n"] == n)]
    return with_range(*found.iloc[0][["mean", "low", "high"]]) if len(found) else "–"


def behind_table(found: Joint) -> HTML:
    """How far each method is behind the best one."""
    rows = [
        [
            words.title(row.method),
            _("the best") if k == 0 else words.points(row.behind),
            points_between(row.low, row.high) if k else "–",
        ]
        for k, row in enumerate(found.behind_best().itertuples())
    ]
    columns = [_("Method"), _("Points behind the best"), _("95\u202f% interval")]
    caption = _(
        "With {n} labelled images. The intervals hold for all methods together, although the best was chosen"
    ).format(n=words.whole(found.n))
    return table(pd.DataFrame(rows, columns=columns), caption)


def difference_part(runs: pd.DataFrame, margin: float) -> list[HTML]:
    """Heading, and VPT-deep against full fine-tuning on the same test images, as figure and table.

    Args:
        runs: one task's table with both methods.
        margin: the smallest difference in accuracy that matters, a fraction.
    """
    differences = paired_difference(runs)
    alone = [statement("one_seed")] if differences["seeds"].min() == 1 else []
    finding = words.sentences(*map(words.sentence, [crossover(runs).note, *alone]))
    alt = _("Accuracy of VPT-deep less that of full fine-tuning at each size. {finding}").format(finding=finding)
    return [
        heading(_("VPT-deep against full fine-tuning")),
        figure(lambda: difference_figure(differences, margin), finding, alt, differences, "difference"),
        difference_table(differences),
    ]


def difference_table(differences: pd.DataFrame) -> HTML:
    """VPT-deep less full fine-tuning by size, from `paired_difference`."""
    rows = [
        [
            words.whole(row.n),
            words.points(row.difference),
            points_between(row.low, row.high),
            words.per_cent(row.probability_a_ahead, 0),
        ]
        for row in differences.itertuples()
    ]
    columns = [
        _("Labelled images"),
        _("Difference in points"),
        _("95\u202f% interval"),
        _("Resampled studies with VPT-deep ahead"),
    ]
    return table(pd.DataFrame(rows, columns=columns), _("VPT-deep less full fine-tuning, on the same test images"))


# ---- what each method takes -------------------------------------------------------------------------------------


def cost_part(runs: pd.DataFrame) -> list[HTML]:
    """What each method stores and how long it trains, as figure and table."""
    cost = costs(runs)
    least, most = (cost.loc[pick(cost["bytes_per_task"])] for pick in (pd.Series.idxmin, pd.Series.idxmax))
    caption = _(
        "{least} stores the least for each further task, {few}; {most} stores the most, {many}. With prompts all tasks "
        "share one backbone; full fine-tuning stores a whole model for each task."
    ).format(
        least=words.title(least["method"]),
        few=words.storage(least["bytes_per_task"]),
        most=words.in_prose(most["method"]),
        many=words.storage(most["bytes_per_task"]),
    )
    alt = _("Bytes stored for each further task and seconds of a training run, by method. {finding}").format(
        finding=caption
    )
    measured = cost[["bytes_per_task", "train_seconds"]].notna().all(axis=None)
    drawn = [figure(lambda: cost_figure(cost), caption, alt, cost, "cost")] if measured else []
    return [*drawn, cost_table(cost)]


def cost_table(cost: pd.DataFrame) -> HTML:
    """What each method costs, from `costs`."""
    rows = [
        [
            words.title(row["method"]),
            words.count(row["trainable_parameters"]),
            words.storage(row["bytes_per_task"]),
            _time(row["train_seconds"]),
            _time(row["tuning_seconds"]),
        ]
        for _k, row in cost.iterrows()
    ]
    columns = [
        _("Method"),
        _("Trained parameters"),
        _("Stored per further task"),
        _("One training run"),
        _("With its tuning"),
    ]
    caption = _("Measured at {n} labelled images").format(n=words.whole(cost["n"].max()))
    return table(pd.DataFrame(rows, columns=columns), caption)


def _time(seconds: float) -> str:
    """A dash where it was not measured."""
    return "–" if pd.isna(seconds) else words.duration(seconds)
