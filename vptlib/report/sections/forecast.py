"""Part of a report: the forecast for more labels, or why there is none, with the record of such forecasts."""

import pandas as pd
from IPython.display import HTML

from vptlib.evidence.forecast import CONSTANT, Record, forecast, law_caveat, record
from vptlib.report.forecast_charts import reliability_figure
from vptlib.report.sections.basic import facts, figure, part, table
from vptlib.report.words import in_language
from vptlib.wording import decimals, exact_points, per_cent

words = in_language()


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
        f"With {found.then:,} labels": words.sentence(found.why),
        "Decide again": words.sentence(found.decide_again_why),
        "Power laws": words.sentence(law_caveat(len(runs["correct"].iloc[0]))),
    }
    return [part("heading", text="With more labels", level=3), facts(said)]


def forecast_record(margin: float = 0.01) -> list[HTML]:
    """Heading, and how often forecasts were right on published tasks, as a table and a figure: once for a report.

    Args:
        margin: the smallest difference that matters, a fraction.
    """
    known = record(margin)
    heading = part("heading", text="How often forecasts with more labels were right", level=2)
    return [heading, record_table(known), record_figure(known)]


def record_table(known: Record) -> HTML:
    """How often each rule was right on published tasks that it had not seen."""
    rows = [
        [
            words.FORECAST_RULES[row.rule],
            f"{row.hits} of {row.cases} ({_range(row.low, row.high)})",
            decimals(row.brier, 3),
            f"{decimals(row.better, 3, signed=True)} ({_signed_range(row.better_low, row.better_high)})",
        ]
        for row in known.rules.itertuples()
        if row.rule != CONSTANT
    ]
    columns = ["Rule", "Right", "Brier score", "Gain on the constant"]
    caption = (
        f"{_question(known)} Each rule is tried on tasks that it has not seen: {known.cases} cases of {known.tasks} "
        f"tasks (Han et al., arXiv 2401.12902). The constant says {per_cent(known.came_true, 0)} each time, and its "
        f"Brier score is {decimals(known.picked['constant'], 3)}. Less is better. In brackets: 95\u202f% intervals"
    )
    return table(pd.DataFrame(rows, columns=columns), caption)


def record_figure(known: Record) -> HTML:
    """Forecast probability against the share that came true."""
    each = "; ".join(
        f"forecast {per_cent(row.forecast, 0)}, came true {per_cent(row.came_true, 0)} of {row.cases}"
        for row in known.bins.itertuples()
    )
    caption = (
        "For each task, the rule that is best on the other tasks. Points on the dashed line are honest probabilities. "
        "Lines: 95\u202f% intervals, counting tasks, not cases."
    )
    return figure(reliability_figure(known.bins, known.came_true), caption, f"Reliability of the forecasts: {each}")


def _question(known: Record) -> str:
    by = f"by {exact_points(known.margin)} or more" if known.margin else "at all"
    return f"Will full fine-tuning be ahead of VPT-deep {by} with more labels?"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {per_cent(high, 0)}"


def _signed_range(low: float, high: float) -> str:
    return f"{decimals(low, 3, signed=True)} to {decimals(high, 3, signed=True)}"
