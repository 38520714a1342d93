"""Numbers, dates and lists as a Japanese reader writes them.

All are rounded as in English, so that a report has the same figures in both languages; Babel, which rounds a tie to
the even digit, writes what has no digits to round: dates, and numbers in units of 万 and 億.
"""

from collections.abc import Iterable
from datetime import date

from babel.dates import format_date
from babel.numbers import format_decimal

from vptlib.report.words.en.numbers import number, whole
from vptlib.wording import decimals, plain, points, short_points
from vptlib.wording import storage as in_kilobytes

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
    "signed_points",
    "span",
    "storage",
    "whole",
]

_JAPANESE = "ja"
# How things are counted, by the end of their name; `_COUNTER` counts the rest.
_COUNTERS = {
    "画像": "枚",
    "ラベル": "枚",
    "学習": "回",
    "タスク": "件",
    "回答": "件",
    "事例": "件",
    "クラス": "種類",
    "手法": "種類",
    "学習率": "種類",
}
_COUNTER = "個"
# Nouns that count by themselves, after the number.
_UNITS = ("年", "か月", "日", "回", "件", "枚", "行", "組")


def per_cent(fraction: float, digits: int = 1) -> str:
    """0.8234 → "82.3%"."""
    return f"{100 * fraction:.{digits}f}%"


def in_points(fraction: float) -> str:
    """0.021 → "2.1ポイント": percentage points without a sign."""
    return f"{plain(100 * fraction)}ポイント"


def exact_points(fraction: float) -> str:
    """0.0025 → "0.25ポイント": as `in_points`, with all digits that were given."""
    return f"{100 * fraction:g}ポイント"


def signed_points(fraction: float) -> str:
    """0.021 → "+2.1", -0.03 → "−3", 0 → "0": percentage points with a sign, without a unit."""
    text = plain(100 * fraction)
    if text in ("0", "\u22120"):
        return "0"
    return text if fraction < 0 else f"+{text}"


def rounded(number: float) -> str:
    """Two significant digits: 1_234.5 → "1,200", 34_256 → "3.4万"."""
    return count(float(f"{number:.2g}"))


def count(number: float) -> str:
    """12_800_000 → "1,280万", 5_130 → "5,130": from 10,000 on three significant digits."""
    short = float(f"{number:.3g}")
    for unit, scale in (("億", 1e8), ("万", 1e4)):
        if short >= scale:
            return format_decimal(short / scale, locale=_JAPANESE) + unit
    return f"{number:,.0f}"


def many(number: str | int, noun: str) -> str:
    """3, "シード" → "シード3個"; 400, "テスト画像" → "テスト画像400枚"; 5, "年" → "5年".

    A number that is written already may be given as text.
    """
    text = number if isinstance(number, str) else f"{number:,}"
    if noun in _UNITS:
        return f"{text}{noun}"
    ends = [end for end in _COUNTERS if noun.endswith(end)]
    return f"{noun}{text}{_COUNTERS[max(ends, key=len)] if ends else _COUNTER}"


def listed(values: Iterable) -> str:
    """50, 100, 200 → "50、100、200"."""
    return "、".join(map(str, values))


def storage(size: float) -> str:
    """Bytes as kB or MB: 83_000 → "83 kB"."""
    return in_kilobytes(size) if size >= 1e3 else f"{size:.0f}バイト"


def duration(seconds: float) -> str:
    """Seconds as 秒, 分 or 時間: 39.4 → "39秒"."""
    if seconds < 10:
        return f"{seconds:.1f}秒"
    if seconds < 120:
        return f"{seconds:.0f}秒"
    return f"{seconds / 60:.0f}分" if seconds < 7200 else f"{seconds / 3600:.1f}時間"


def day(when: date) -> str:
    """2026年11月29日."""
    return format_date(when, "long", locale=_JAPANESE)


def span(low: str, high: str) -> str:
    """ "3", "5" → "3〜5"."""
    return f"{low}〜{high}"
