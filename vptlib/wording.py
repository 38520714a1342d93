"""Numbers as people read them, the only set; the narrow space before a unit keeps the two on one line."""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from unicodedata import bidirectional

_MINUS = "\u2212"


def per_cent(fraction: float, digits: int = 1) -> str:
    """0.8234 → "82.3 %"."""
    return f"{100 * fraction:.{digits}f}\u202f%"


def points(difference: float, digits: int = 1) -> str:
    """-0.0234 → "−2.3": a difference in percentage points, with its sign."""
    return decimals(100 * difference, digits, signed=True)


def short_points(difference: float) -> str:
    """0.02 → "+2", 0 → "0": as `points`, with no more digits than there are, and three at most."""
    return "0" if abs(difference) < 1e-9 else f"{100 * difference:+.3g}".replace("-", _MINUS)


def in_points(fraction: float) -> str:
    """0.021 → "2.1 points", 0.01 → "1 point": percentage points without a sign."""
    return many(plain(100 * fraction), "point")


def exact_points(fraction: float) -> str:
    """0.0025 → "0.25 points": as `in_points`, with all digits that were given."""
    return many(f"{100 * fraction:g}", "point")


def decimals(value: float, digits: int = 2, signed: bool = False) -> str:
    """-0.134 → "−0.13"; `signed` shows a plus too: 0.134 → "+0.13"."""
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", _MINUS)


def plain(value: float) -> str:
    """2.34 → "2.3", 2.04 → "2": one decimal, left out where it is 0."""
    return f"{value:.1f}".removesuffix(".0").replace("-", _MINUS)


def rounded(number: float) -> str:
    """Two significant digits: 1_234.5 → "1,200"."""
    return count(float(f"{number:.2g}"))


def count(number: float) -> str:
    """12_800_000 → "12.8 million"; 5_130 → "5,130"."""
    return f"{number / 1e6:.3g}\u202fmillion" if number >= 1e6 else f"{number:,.0f}"


def many(number: str | int, noun: str) -> str:
    """3, "seed" → "3 seeds"; 1, "seed" → "1 seed"; a number that is written already may be given as text."""
    text = number if isinstance(number, str) else f"{number:,}"
    return f"{text} {noun}{'' if text == '1' else 's'}"


def listed(values: Iterable) -> str:
    """50, 100, 200 → "50, 100 and 200"."""
    *most, last = map(str, values)
    return f"{', '.join(most)} and {last}" if most else last


def storage(size: float) -> str:
    """Bytes as kB or MB: 83_000 → "83 kB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g}\u202f{unit}"
    return f"{size:.0f} bytes"


def duration(seconds: float) -> str:
    """Seconds as s, min or h."""
    if seconds < 10:
        return f"{seconds:.1f}\u202fs"
    if seconds < 120:
        return f"{seconds:.0f}\u202fs"
    return f"{seconds / 60:.0f}\u202fmin" if seconds < 7200 else f"{seconds / 3600:.1f}\u202fh"


def apart(name: str | int) -> str:
    """A name within a sentence: one that is written from right to left does not change the order of the rest.

    It stands between the marks that isolate it (Unicode Annex 9, section 2.4.2); other names stay as they are.
    """
    text = str(name)
    return f"\u2068{text}\u2069" if any(bidirectional(letter) in ("R", "AL") for letter in text) else text


def printable(text: str) -> str:
    """A name from the file system as text that can be stored: bytes that are no UTF-8 are shown as \\xNN."""
    return re.sub("[\ud800-\udfff]", lambda half: _as_byte(ord(half[0])), text)


def _as_byte(code: int) -> str:
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def did_you_mean(
    word: str, known: Iterable[str], otherwise: str, *, most: int = 1, least: float = 0.6, written: Callable = repr
) -> str:
    """ "wieght" → "did you mean 'weight'?": the end of an error message about a wrong name.

    Args:
        word: the wrong name.
        known: the right ones.
        otherwise: the end of the message where no right name is similar.
        most: how many names it may give.
        least: similarity that a name needs, from 0 to 1.
        written: how a name is written.
    """
    close = get_close_matches(word, list(known), n=most, cutoff=least)
    return f"did you mean {', '.join(map(written, close))}?" if close else otherwise
