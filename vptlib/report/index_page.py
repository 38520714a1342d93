"""The index over many reports: one page with a row for each task, to sort and to filter, out of `summary.json` files.

The page opens with the network off. It is complete without its script, which only sorts and filters rows.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vptlib.data.readers import is_spec, short_name
from vptlib.evidence.recommendation import STEPS
from vptlib.paths import write_whole
from vptlib.report.all_reports import Made, parts_of_summary, read_made
from vptlib.report.judged import report_day
from vptlib.report.macros import TEMPLATES, template
from vptlib.report.style import COLOURS, dark_colour
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.tuning.methods import METHODS
from vptlib.wording import printable

# A small curve, in its own units: width, height, and the room for its dots.
CURVE_WIDTH, CURVE_HEIGHT, CURVE_EDGE = 120, 40, 4
# Accuracies nearer to each other than this count as the same as last time: the last digit that is shown.
SAME = 0.0005


@dataclass(frozen=True)
class Row:
    """One task of one report, ready to be shown; what sorts has its key beside it.

    Attributes:
        report: the report's name, such as "osaka/parts".
        site: its folder; "" for none.
        task: the task's name.
        address: of the report's page, relative to the index; "" if there is none.
        step: the next step in a few words; "" if the report was never made.
        step_code: its code, by which rows are filtered.
        confidence: in words.
        sure: its probability, for sorting; -1 where there is none.
        accuracy: of the advised or nearest method at the largest number of labels, with its interval, in words.
        accuracy_key: the same as a number; -1 where there is none.
        asked: the accuracy that was asked for, in words; "" if none was.
        reached: whether it is reached: "yes", "no" or "".
        labels: labelled images now.
        again_at: decide again at so many; 0 where there is no such number.
        curve: a small learning curve: its lines.
        changed: what is another than last time, in words; "" if nothing is.
        day: when it was made, as 2026-11-29.
        failed: why the last try failed; "" if it did not.
    """

    report: str
    site: str
    task: str
    address: str
    step: str = ""
    step_code: str = ""
    confidence: str = ""
    sure: float = -1
    accuracy: str = ""
    accuracy_key: float = -1
    asked: str = ""
    reached: str = ""
    labels: int = 0
    again_at: int = 0
    curve: tuple[dict[str, Any], ...] = ()
    changed: str = ""
    day: str = ""
    failed: str = ""


def write_index(out: Path, title: str = "") -> Path:
    """Write `OUT/index.html` over the reports of `made.json`, in the language that is spoken now; gives its path."""
    target = out / "index.html"
    write_whole(target, index_page(list(read_made(out).values()), out, title or _("All reports")))
    return target


def index_page(reports: Sequence[Made], out: Path, title: str) -> str:
    """The page as HTML.

    Args:
        reports: what is known about each.
        out: the folder that they lie in.
        title: of the page.
    """
    rows = [row for made in reports for row in rows_of(made, out)]
    return template("index_page.html.j2").render(
        language=words.code,
        title=title,
        day=words.day(report_day()),
        rows=rows,
        sites=sorted({row.site for row in rows if row.site}),
        steps=[(code, label, count) for (code, label), count in _steps(rows)],
        totals=totals(reports, rows),
        failed=[made for made in reports if made.failed],
        curve=(CURVE_WIDTH, CURVE_HEIGHT),
        styles=[(TEMPLATES / name).read_text("utf-8") for name in ("page.css", "index_page.css")],
        script=(TEMPLATES / "index_page.js").read_text("utf-8"),
    )


def totals(reports: Sequence[Made], rows: Sequence[Row]) -> dict[str, str]:
    """Label to text: how much there is, and how much of it asks for attention."""
    answered = [row for row in rows if row.step_code]
    changed, missed = sum(bool(row.changed) for row in rows), sum(row.reached == "no" for row in rows)
    return {
        _("Reports"): words.whole(len(reports)),
        _("Tasks"): words.whole(len(answered)),
        _("Ready to use a method"): words.whole(sum(row.step_code not in STEPS for row in answered)),
        _("Below the accuracy asked for"): words.whole(missed),
        _("Another answer than last time"): words.whole(changed),
        _("Failed at the last try"): words.whole(sum(bool(made.failed) for made in reports)),
        _("Labelled images in all"): words.whole(sum(row.labels for row in rows)),
    }


def rows_of(made: Made, out: Path) -> list[Row]:
    """A row for each task of a report; one without figures for a report that was never made."""
    parts = parts_of_summary(out / made.name)
    there = (out / made.name / "index.html").is_file()
    address = quote(f"{made.name}/index.html") if there else ""
    kept: dict[str, Any] = {"report": made.name, "site": made.site, "day": made.day, "failed": made.failed}
    if not parts:
        return [Row(task=made.name.rpartition("/")[2], address=address, **kept)]
    before = {part.get("task"): part for part in made.before}
    return [Row(address=address, **kept, **_facts(part, before.get(part.get("task")), made)) for part in parts]


def _facts(part: dict[str, Any], before: dict[str, Any] | None, made: Made) -> dict[str, Any]:
    """What a row says of a task, from its part of `summary.json`."""
    advice, point = part["recommendation"], best_point(part)
    needed = (part.get("asked") or {}).get("accuracy_needed")
    code = advice["choice_code"]
    return {
        "task": printable(short_name(part["task"]) if is_spec(part["task"]) else part["task"]),
        "step": words.headline(code, advice.get("method")),
        "step_code": code,
        "confidence": words.LEVELS.get(advice.get("confidence"), ""),
        "sure": advice.get("probability") or -1,
        "accuracy": "" if point is None else _with_interval(point),
        "accuracy_key": -1 if point is None else point["mean"],
        "asked": "" if needed is None else words.per_cent(needed),
        "reached": "" if needed is None or point is None else "yes" if point["mean"] >= needed else "no",
        "labels": max((one["n"] for one in part["curves"]), default=0),
        "again_at": advice.get("decide_again_at") or 0,
        "curve": small_curve(part["curves"]),
        "changed": "" if before is None or made.failed else what_changed(before, part),
    }


def _with_interval(point: dict[str, Any]) -> str:
    low, high = (words.number(100 * point[end], 1) for end in ("low", "high"))
    return f"{words.per_cent(point['mean'])} ({words.span(low, high)})"


def best_point(part: dict[str, Any]) -> dict[str, Any] | None:
    """The advised method at the largest number of labels, or the most accurate one there where none is advised."""
    points = [one for one in part["curves"] if one["mean"] is not None and math.isfinite(one["mean"])]
    if not points:
        return None
    largest = max(one["n"] for one in points)
    there = {one["method"]: one for one in points if one["n"] == largest}
    return there.get(part["recommendation"].get("method")) or max(there.values(), key=lambda one: one["mean"])


def what_changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What a task's answer has changed to since the report before; "" if it is the same."""
    old, new = (words.headline(one["recommendation"]["choice_code"], one["recommendation"].get("method"))
                for one in (before, now))  # fmt: skip
    if old != new:
        return _("Before: {step}").format(step=old)
    was, now_is = best_point(before), best_point(now)
    if was is None or now_is is None or abs(was["mean"] - now_is["mean"]) < SAME:
        return ""
    return _("Accuracy {points} points, labels {n}").format(
        points=words.points(now_is["mean"] - was["mean"]), n=words.whole(now_is["n"])
    )


# ---- small multiples ----------------------------------------------------------------------------------------------


def small_curve(curves: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Lines of a small learning curve: method, colours, the points of a polyline, and its last point.

    All curves of a page have one height for 0 to 100 %, so that they can be compared; labels are on a log scale.
    """
    points = [one for one in curves if one["mean"] is not None and math.isfinite(one["mean"])]
    if not points:
        return ()
    ends = math.log(min(one["n"] for one in points)), math.log(max(one["n"] for one in points))
    methods = [method for method in dict.fromkeys(one["method"] for one in points) if method in METHODS]
    return tuple(_line(method, [one for one in points if one["method"] == method], ends) for method in methods)


def _line(method: str, points: list[dict[str, Any]], ends: tuple[float, float]) -> dict[str, Any]:
    places = [_place(one, ends) for one in sorted(points, key=lambda one: one["n"])]
    return {
        "title": words.title(method),
        "light": COLOURS[method],
        "dark": dark_colour(COLOURS[method]),
        "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in places),
        "last": places[-1],
        "accuracy": words.per_cent(max(points, key=lambda one: one["n"])["mean"], 0),
    }


def _place(point: dict[str, Any], ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    across = 0.5 if high == low else (math.log(point["n"]) - low) / (high - low)
    width, height = CURVE_WIDTH - 2 * CURVE_EDGE, CURVE_HEIGHT - 2 * CURVE_EDGE
    return CURVE_EDGE + across * width, CURVE_EDGE + (1 - point["mean"]) * height


# ---- the page -----------------------------------------------------------------------------------------------------


def _steps(rows: Sequence[Row]) -> list[tuple[tuple[str, str], int]]:
    return Counter((row.step_code, row.step) for row in rows if row.step_code).most_common()
