"""Numbers, dates and lists as an English reader writes them: those of `vptlib.wording`, and dates."""

from datetime import date

from vptlib.wording import (
    count,
    decimals,
    duration,
    exact_points,
    in_points,
    listed,
    many,
    per_cent,
    plain,
    points,
    rounded,
    short_points,
    storage,
)

__all__ = [
    "count",
    "day",
    "decimals",
    "duration",
    "exact_points",
    "in_points",
    "listed",
    "many",
    "number",
    "per_cent",
    "plain",
    "points",
    "rounded",
    "short_points",
    "span",
    "storage",
    "whole",
]


def day(when: date) -> str:
    """29 November 2026."""
    return when.strftime("%-d %B %Y")


def whole(value: float) -> str:
    """12800 → "12,800"."""
    return f"{value:,.0f}"


def number(value: float, digits: int = 0) -> str:
    """1234.5, 1 → "1,234.5"."""
    return f"{value:,.{digits}f}".replace("-", "\u2212")


def span(low: str, high: str) -> str:
    """ "3", "5" → "3 to 5"."""
    return f"{low} to {high}"
