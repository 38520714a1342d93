"""The simple parts of a report: headings, tables, facts, colours, and those of its end.

Each function takes results of judgement and gives HTML made by a macro of `parts.html.j2`.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from IPython.display import HTML

from vptlib.evidence.recommendation import Recommendation
from vptlib.report.glossary import guide
from vptlib.report.macros import filled
from vptlib.report.style import dark_colour, text_colour
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.tuning.methods import METHODS

# Rows of a long table that are open; the others are folded away.
MOST_ROWS = 20


# ---- the simple parts -----------------------------------------------------------------------------------------


def part(name: str, **values: Any) -> HTML:
    """One macro of `parts.html.j2`, filled in; a notebook cell shows it as it is."""
    return filled("parts.html.j2", name, **values)


def heading(text: str, level: int = 4, anchor: str = "") -> HTML:
    """A heading, with an id where a link leads there."""
    return part("heading", text=text, level=level, anchor=anchor)


def paragraph(text: str) -> HTML:
    """A text by itself."""
    return part("paragraph", text=text)


def facts(items: dict[str, str]) -> HTML:
    """Labels and sentences, one under the other."""
    return part("facts", items=items)


def table(frame: pd.DataFrame, caption: str) -> HTML:
    """A table of formatted texts; the first column names the row, and every column has a name."""
    return part("table", columns=list(frame.columns), rows=frame.values.tolist(), caption=caption)


def folding_table(frame: pd.DataFrame, caption: str, most: int = MOST_ROWS) -> list[HTML]:
    """As `table`; of more than `most` rows those at the end are folded away."""
    if len(frame) <= most:
        return [table(frame, caption)]
    head = _("The other rows: {n}").format(n=words.whole(len(frame) - most))
    return [table(frame.head(most), caption), folded(head, [table(frame.iloc[most:], head)])]


def folded(head: str, parts: Sequence[HTML]) -> HTML:
    """Parts that a reader opens; on paper only their head stands, and where they are."""
    return part("folded", head=head, parts=[str(each.data) for each in parts])


def between(low: float, high: float, digits: int = 1) -> str:
    """Two fractions in per cent, without the sign: 0.78, 0.861 → "78.0 to 86.1"."""
    return words.span(words.number(100 * low, digits), words.number(100 * high, digits))


def points_between(low: float, high: float) -> str:
    """Two differences in points with their signs: "−2.3 to +0.4"."""
    return words.span(words.points(low), words.points(high))


def with_range(value: float, low: float, high: float) -> str:
    """A fraction with its interval: "82.3 % (78.0 to 86.1)"."""
    return _("{value} ({interval})").format(value=words.per_cent(value), interval=between(low, high))


# Where no method is chosen: on light and on dark ground.
_NO_METHOD = {"light": "#414c5a", "dark": "#c3ccd7"}


def colours_of(advice: Recommendation) -> dict[str, str]:
    """The colours, on light and on dark ground, of the chosen method; quiet ones where no method is chosen."""
    return method_colours(str(advice.method)) if advice.uses else _NO_METHOD


def method_colours(method: str) -> dict[str, str]:
    """The colours that a method has in text and figures, on light and on dark ground."""
    colour = METHODS[method].colour
    return {"light": text_colour(colour), "dark": dark_colour(colour)}


# ---- the end of the report ------------------------------------------------------------------------------------


def reading_guide(margin: float) -> HTML:
    """The words of the report, for readers who have not met them."""
    return part("reading_guide", entries=guide(words.exact_points(margin)))


def closing(config: str, versions: dict[str, str]) -> HTML:
    """How to make the report again, and with which versions it was made."""
    return part("closing", config=config, versions=versions)
