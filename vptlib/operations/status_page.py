"""The prompts in production on one page for those who answer for them: what is fine, what to look at, what to act on.

The page opens with the network off. It has no script, its charts are drawn in it, and every name is escaped. It is the
same for the same watches, but for the moment in its head.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from vptlib.errors import UserError
from vptlib.evidence.limits import ACCURACY, AT_MOST, Limit
from vptlib.evidence.sequential import BROKEN, HOLDS, NO_CASES, NO_GROUPS, OPEN, Watched
from vptlib.operations.watch import ACT, DAYS, FINE, LOOK, Day, Point, Stretch, Watch
from vptlib.paths import write_whole
from vptlib.statement import Statement
from vptlib.tuning.methods import find_method
from vptlib.wording import listed, many, per_cent, plain, printable

HEADINGS = ("prompt", "verdict", "version", "since", "answers", "to a person", "drift", "limits", "labels")
VERDICT_WORDS = {FINE: "fine", LOOK: "look", ACT: "act"}
NOTHING = "\u2013"
_MARK = '<meta name="generator" content="vpt prompts status">'
_TEMPLATES = Path(__file__).parent / "templates"
_DONE = {"promoted": "promoted it", "forced": "forced it into production", "rolled_back": "rolled back to it"}


# ---- a row in words, for the page and for the terminal ------------------------------------------------------------


def row_of(watch: Watch) -> tuple[str, ...]:
    """The cells of a prompt under `HEADINGS`."""
    answers = f"{watch.last_month:,}" if watch.days else NOTHING
    return (
        printable(watch.name),
        VERDICT_WORDS[watch.verdict],
        str(watch.version.number) if watch.version else NOTHING,
        f"{watch.since.at:%Y-%m-%d}" if watch.since else NOTHING,
        answers,
        NOTHING if watch.for_person is None else per_cent(watch.for_person, 0),
        _drift_in_words(watch),
        _limits_in_words(watch.limits),
        _labels_in_words(watch),
    )


def _drift_in_words(watch: Watch) -> str:
    if watch.drift is None or watch.drift.look is None:
        return NOTHING
    return "found" if watch.drift.found else "not found"


def _limits_in_words(limits: Sequence[Watched]) -> str:
    words = {BROKEN: "broken", OPEN: "open", HOLDS: "kept", NO_CASES: "untested", NO_GROUPS: "untested"}
    counts = Counter(words[found.verdict] for found in limits)
    return ", ".join(f"{counts[word]} {word}" for word in dict.fromkeys(words.values()) if counts[word]) or NOTHING


def _labels_in_words(watch: Watch) -> str:
    if watch.labels is None:
        return NOTHING
    now, again_at = watch.labels.now, watch.labels.again_at
    if watch.labels.enough:
        return f"{now:,}: decide again"
    return f"{now:,}" + ("" if again_at is None else f" of {again_at:,}")


def headline(watches: Sequence[Watch]) -> str:
    """How many prompts are fine, to look at, and to act on: one sentence."""
    counts = Counter(watch.verdict for watch in watches)
    if not watches:
        return "There is no prompt yet."
    if counts[FINE] == len(watches):
        return "The one prompt is fine." if len(watches) == 1 else f"All {len(watches)} prompts are fine."
    parts = [
        f"{counts[ACT]:,} {'needs' if counts[ACT] == 1 else 'need'} action" if counts[ACT] else "",
        f"{counts[LOOK]:,} should be looked at" if counts[LOOK] else "",
        f"{counts[FINE]:,} {'is' if counts[FINE] == 1 else 'are'} fine" if counts[FINE] else "",
    ]
    return f"Of {many(len(watches), 'prompt')}, {listed(filter(None, parts))}."


def allowed(watch: Watch) -> str:
    """Which version answers, since when, and who allowed it: one sentence; "" if nothing is in production."""
    version, since = watch.version, watch.since
    if version is None or since is None:
        return ""
    return (
        f"Version {version.number} ({find_method(version.method).title} on {printable(version.backbone)}) answers "
        f"since {_moment(since.at)}; {printable(since.by)} {_DONE[since.kind]}."
    )


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


# ---- the page -----------------------------------------------------------------------------------------------------


def write_status(
    watches: Sequence[Watch],
    path: Path,
    sentence: Callable[[Statement], str],
    now: datetime | None = None,
    from_files: Sequence[str] = (),
) -> None:
    """Write the page, whole or not at all. An earlier one is replaced.

    Args:
        watches: from `vptlib.operations.watch.watched`.
        sentence: the words for a finding.
        now: the moment in the head.
        from_files: names that answer from a file, and are not watched.

    Raises:
        UserError: there is another file of this name, or it cannot be written.
    """
    try:
        if path.exists() and path.stat().st_size and not _is_status(path):
            raise UserError(f"{path} is there already, and is no page of `vpt prompts status`: name another --page.")
        write_whole(path, _page(watches, sentence, now or datetime.now(UTC), from_files))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}): name another --page.") from error


def _is_status(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARK.encode() in file.read(1000)


def _page(
    watches: Sequence[Watch], sentence: Callable[[Statement], str], now: datetime, from_files: Sequence[str]
) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, autoescape=True, trim_blocks=True
    )
    return environment.get_template("status.html.j2").render(
        headings=HEADINGS,
        headline=headline(watches),
        moment=_moment(now),
        rows=[(watch.verdict, f"prompt-{number}", row_of(watch)) for number, watch in enumerate(watches)],
        prompts=[_part(watch, f"prompt-{number}", sentence) for number, watch in enumerate(watches)],
        days=DAYS,
        from_files=[printable(name) for name in from_files],
    )


def _part(watch: Watch, anchor: str, sentence: Callable[[Statement], str]) -> dict:
    return {
        "anchor": anchor,
        "name": printable(watch.name),
        "verdict": watch.verdict,
        "word": VERDICT_WORDS[watch.verdict],
        "allowed": allowed(watch),
        "findings": [(reason.verdict, printable(sentence(reason.what))) for reason in watch.reasons],
        "charts": list(_charts(watch)),
        "command": watch.command,
    }


# ---- charts -------------------------------------------------------------------------------------------------------

# Sides of a chart and of what is around its lines, in pixels. It is never shown smaller, so its text stays legible.
_WIDTH, _HEIGHT = 288, 136
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 64, 12, 24
_MOST_RATIO = 99.0


def _charts(watch: Watch) -> Iterable[tuple[str, Markup]]:
    """Title and drawing of each chart that there is something to draw for."""
    if any(day.answers for day in watch.days):
        yield "Answers a day", _answers_chart(watch.days)
    if any(day.known for day in watch.days):
        yield "Share for a person, by day", _person_chart(watch.days, watch.tested_for_person)
    if watch.stretches:
        yield "Distance from the test \u00f7 chance, by block", _drift_chart(watch.stretches)
    for found, points in zip(watch.limits, watch.points, strict=False):
        if points:
            yield _limit_title(found.limit), _limit_chart(found.limit, points)


def _limit_title(limit: Limit) -> str:
    kind = {"miss_rate": "Missed", "false_alarm_rate": "False alarms"}.get(limit.kind, limit.kind.capitalize())
    return f"{kind}{'' if limit.kind == ACCURACY else ': ' + printable(listed(limit.classes))}, checked answers"


def _answers_chart(days: Sequence[Day]) -> Markup:
    most, room = max(day.answers for day in days), _across(1) - _across(0)
    step = room / len(days)
    bars = [
        _rectangle(_across(0) + number * step + 0.1 * step, _up(day.answers / most), 0.8 * step)
        for number, day in enumerate(days)
    ]
    total = sum(day.answers for day in days)
    alt = f"{many(total, 'answer')} in {many(len(days), 'day')}; {most:,} on the day with the most."
    return _chart(alt, [*bars, *_scale(f"{most:,}", "0"), *_dates(days[0].day, days[-1].day)])


def _person_chart(days: Sequence[Day], tested: float | None) -> Markup:
    shares = [(number, day.for_person / day.known) for number, day in enumerate(days) if day.known]
    top = _round_top(max([share for _, share in shares] + [tested or 0.0]))
    spots = [(_across((number + 0.5) / len(days)), _up(share / top)) for number, share in shares]
    drawn = [_line(spots), *(_dot(x, y) for x, y in spots)]
    alt = f"Lowest {per_cent(min(s for _, s in shares), 0)}, highest {per_cent(max(s for _, s in shares), 0)}"
    if tested is not None:
        drawn += _mark_at(_up(tested / top), f"test {per_cent(tested, 0)}")
        alt += f"; {per_cent(tested, 0)} in the test"
    scale = _scale(per_cent(top, 0), per_cent(0, 0))
    return _chart(f"{alt}.", [*drawn, *scale, *_dates(days[0].day, days[-1].day)])


def _drift_chart(stretches: Sequence[Stretch]) -> Markup:
    ratios = [min(stretch.ratio, _MOST_RATIO) for stretch in stretches]
    top = 1.1 * max(2.0, *ratios)
    spots = [(_across((number + 0.5) / len(ratios)), _up(ratio / top)) for number, ratio in enumerate(ratios)]
    dots = [_dot(x, y, stretch.found) for (x, y), stretch in zip(spots, stretches, strict=True)]
    found = sum(stretch.found for stretch in stretches)
    alt = (
        f"{many(len(stretches), 'block')} of answers, the last one {plain(ratios[-1])} times as far from the test as "
        f"by chance; drift was found in {found}."
    )
    drawn = [_line(spots), *dots, *_mark_at(_up(1 / top), "chance"), *_scale(plain(top), "0")]
    return _chart(alt, [*drawn, *_dates(stretches[0].ended.date(), stretches[-1].ended.date())])


def _limit_chart(limit: Limit, points: Sequence[Point]) -> Markup:
    last = points[-1]
    later = points[len(points) // 4 :]  # the first checks alone say nothing, and would need the whole height
    ends = [end for point in later for end in (point.low, point.rate, point.high)] + [limit.value]
    low, high = _round_down(min(ends)), min(1.0, _round_top(max(ends)))

    def up(rate: float) -> float:
        return _up((min(high, max(low, rate)) - low) / (high - low))

    def across(cases: int) -> float:
        return _across(cases / last.cases)

    upper = [(across(point.cases), up(point.high)) for point in points]
    lower = [(across(point.cases), up(point.low)) for point in points]
    drawn = [_area([*upper, *lower[::-1]]), _line([(across(p.cases), up(p.rate)) for p in points])]
    side = "at most" if limit.side == AT_MOST else "at least"
    alt = (
        f"After {many(last.cases, 'checked answer')}: {per_cent(last.rate)}, between {per_cent(last.low)} and "
        f"{per_cent(last.high)}; the limit is {side} {per_cent(limit.value)}."
    )
    ends_below = _below("0", f"{last.cases:,} checked")
    scale = _scale(per_cent(high, 0), per_cent(low, 0))
    return _chart(alt, [*drawn, *_mark_at(up(limit.value), f"limit {_short(limit.value)}"), *scale, *ends_below])


def _short(fraction: float) -> str:
    return f"{100 * fraction:.3g}\u202f%"


def _round_top(value: float) -> float:
    """A little more than a share, with a short name."""
    return next((top for top in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8) if 1.05 * value <= top), 1.0)


def _round_down(value: float) -> float:
    """A little less than a share, with a short name."""
    return next((low for low in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1) if value >= low + 0.02), 0.0)


def _across(fraction: float) -> float:
    return _LEFT + fraction * (_WIDTH - _LEFT - _RIGHT)


def _up(fraction: float) -> float:
    return _HEIGHT - _BOTTOM - fraction * (_HEIGHT - _TOP - _BOTTOM)


def _chart(alt: str, parts: Iterable[Markup]) -> Markup:
    base = Markup('<path class="base" d="M{:.0f} {:.0f}H{:.0f}"/>').format(_across(0), _up(0), _across(1))
    inside = Markup("").join([*parts, base])
    head = Markup('<svg role="img" viewBox="0 0 {} {}" aria-label="{}">').format(_WIDTH, _HEIGHT, alt)
    return head + inside + Markup("</svg>")


def _rectangle(x: float, y: float, width: float) -> Markup:
    return Markup(f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_up(0) - y:.1f}"/>')


def _line(spots: Sequence[tuple[float, float]]) -> Markup:
    return Markup(f'<polyline class="line" points="{_pairs(spots)}"/>')


def _area(spots: Sequence[tuple[float, float]]) -> Markup:
    return Markup(f'<polygon class="area" points="{_pairs(spots)}"/>')


def _pairs(spots: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)


def _dot(x: float, y: float, marked: bool = False) -> Markup:
    return Markup(f'<circle class="{"marked" if marked else "dot"}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>')


def _mark_at(y: float, name: str) -> list[Markup]:
    """A broken line across the chart, with its name to the right of it."""
    line = Markup(f'<path class="mark" d="M{_across(0):.0f} {y:.1f}H{_across(1):.0f}"/>')
    return [line, _text(_across(1) + 4, y + 4, name, "start")]


def _scale(top: str, bottom: str) -> list[Markup]:
    return [_text(_LEFT - 6, _up(1) + 4, top, "end"), _text(_LEFT - 6, _up(0) + 4, bottom, "end")]


def _dates(first: date, last: date) -> list[Markup]:
    return _below(f"{first:%d %b}", "" if first == last else f"{last:%d %b}")


def _below(first: str, last: str) -> list[Markup]:
    y = _HEIGHT - 7
    ends = [_text(_across(0), y, first, "start"), _text(_across(1), y, last, "end")]
    return ends if last else ends[:1]


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')
