"""Part of a report: the forecast for more labels, or why there is none, with the record of such forecasts."""

import pandas as pd
from IPython.display import HTML

from vptlib.evidence.forecast import CONSTANT, Record, forecast, law_caveat, record
from vptlib.report.figure_html import figure
from vptlib.report.forecast_charts import reliability_figure
from vptlib.report.sections.basic import facts, heading, table
from vptlib.report.sections.layers import RECORD
from vptlib.report.words import gettext as _
from vptlib.report.words import words


def forecast_part(
    runs: pd.DataFrame, backbone: str, margin: float = 0.01, *, classes: int | None = None, times: float = 2
) -> list[HTML]:
    """Heading, the forecast or why there is none, and where to decide again.

    Args:
        runs: one task's table.
        backbone: its name, as a study has it.
        margin: the smallest difference that matters, a fraction.
        classes: of the task; by default those in the column `truth` of the runs.
        times: how many times the labels are asked about.
    """
    found = forecast(runs, backbone, times, margin, classes=classes)
    said = {
        _("With {n} labels").format(n=words.whole(found.then)): words.sentence(found.why),
        _("Decide again"): words.sentence(found.decide_again_why),
        _("Continued curves"): words.sentence(law_caveat(len(runs["correct"].iloc[0]))),
    }
    return [heading(_("With more labels")), facts(said)]


def forecast_record(margin: float = 0.01) -> list[HTML]:
    """Heading, and how often forecasts were right on published tasks, as a table and a figure: once for a report.

    Args:
        margin: the smallest difference that matters, a fraction.
    """
    known = record(margin)
    head = heading(_("How often forecasts with more labels were right"), 2, RECORD)
    return [head, record_table(known), record_figure(known)]


def record_table(known: Record) -> HTML:
    """How often each rule was right on published tasks that it had not seen."""
    rows = [
        [
            words.FORECAST_RULES[row.rule],
            _("{hits} of {cases} ({interval})").format(
                hits=row.hits, cases=row.cases, interval=_range(row.low, row.high)
            ),
            words.decimals(row.brier, 3),
            _("{value} ({interval})").format(
                value=words.decimals(row.better, 3, signed=True),
                interval=_signed_range(row.better_low, row.better_high),
            ),
        ]
        for row in known.rules.itertuples()
        if row.rule != CONSTANT
    ]
    columns = [_("Rule"), _("Right"), _("Brier score"), _("Gain on the constant")]
    caption = _(
        "{question} Each rule is tried on tasks that it has not seen: {cases} cases of {tasks} tasks (Han et al., "
        "arXiv 2401.12902). The constant says {share} each time, and its Brier score is {brier}. Less is better. In "
        "brackets: 95\u202f% intervals"
    ).format(
        question=_question(known),
        cases=known.cases,
        tasks=known.tasks,
        share=words.per_cent(known.came_true, 0),
        brier=words.decimals(known.picked["constant"], 3),
    )
    return table(pd.DataFrame(rows, columns=columns), caption)


def record_figure(known: Record) -> HTML:
    """Forecast probability against the share that came true."""
    each = words.series(
        (
            _("forecast {forecast}, came true {share} of {cases}").format(
                forecast=words.per_cent(row.forecast, 0), share=words.per_cent(row.came_true, 0), cases=row.cases
            )
            for row in known.bins.itertuples()
        ),
        ";",
    )
    caption = _(
        "For each task, the rule that is best on the other tasks. Points on the dashed line are honest probabilities. "
        "Lines: 95\u202f% intervals, counting tasks, not cases."
    )
    alt = _("Reliability of the forecasts: {each}").format(each=each)
    draw = lambda: reliability_figure(known.bins, known.came_true)  # noqa: E731
    return figure(draw, caption, alt, known.bins, "forecasts")


def _question(known: Record) -> str:
    if not known.margin:
        return _("Will full fine-tuning be ahead of VPT-deep at all with more labels?")
    return _("Will full fine-tuning be ahead of VPT-deep by {points} or more with more labels?").format(
        points=words.exact_points(known.margin)
    )


def _range(low: float, high: float) -> str:
    return words.span(words.number(100 * low), words.per_cent(high, 0))


def _signed_range(low: float, high: float) -> str:
    return words.span(words.decimals(low, 3, signed=True), words.decimals(high, 3, signed=True))
