"""The fonts of figures, for every script, and how wide text is in them; the Japanese glyphs that a page needs.

Latin text stands in DejaVu Sans, which comes with matplotlib; Japanese in IPAex Gothic, which comes with
matplotlib-fontja; other scripts in the fonts that the machine has. Figures hold outlines, so a reader needs no font.
"""

import base64
import io
import logging
import re
import unicodedata
import warnings
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

from matplotlib import font_manager
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.textpath import text_to_path

from vptlib.report.words import words

LATIN = "DejaVu Sans"
PAGE_FAMILY = "vptlib-ja"  # of the glyphs that `subset_face` gives a page

# Each has Chinese, Japanese and Korean: one is enough.
_FOR_CJK = ("Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans CJK SC", "Noto Sans CJK TC", "Noto Sans CJK HK")
# Taken where they are installed, in this order, each for the scripts that those before lack.
_OTHERS = (
    *("Hiragino Sans", "Yu Gothic", "Malgun Gothic"),
    *("Microsoft YaHei", "Apple SD Gothic Neo", "PingFang SC", "WenQuanYi Zen Hei"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil"),
    *("Noto Sans Telugu", "Noto Sans Gujarati", "Noto Sans Gurmukhi", "Noto Sans Kannada", "Noto Sans Malayalam"),
    *("Noto Sans Sinhala", "Noto Sans Thai", "Noto Sans Lao", "Noto Sans Khmer", "Noto Sans Myanmar"),
    *("Noto Sans Ethiopic", "Noto Sans Georgian", "Noto Sans Armenian", "Nirmala UI", "Leelawadee UI", "Geeza Pro"),
    *("Noto Sans Symbols", "Noto Sans Symbols2", "Noto Emoji", "Symbola", "Segoe UI Symbol", "Arial Unicode MS"),
)
_CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO")


# ---- families ---------------------------------------------------------------------------------------------------


def families() -> list[str]:
    """Font families of a figure in the language that is spoken now; a glyph comes from the first that has it."""
    return list(_families(words.code == "ja"))


@cache
def _families(japanese_first: bool) -> tuple[str, ...]:
    japanese = japanese_family()
    first = [LATIN] if japanese is None else [japanese, LATIN] if japanese_first else [LATIN, japanese]
    installed = set(font_manager.get_font_names())
    for_cjk = [name for name in _FOR_CJK if name in installed][:1]
    return (*first, *for_cjk, *(name for name in _OTHERS if name in installed))


@cache
def japanese_family() -> str | None:
    """The family of the Japanese font, known to matplotlib from now on; None where the package is missing."""
    file = japanese_file()
    if file is None:
        return None
    font_manager.fontManager.addfont(file)
    family = FT2Font(file).family_name
    # It has one weight, so its bold text is regular: that is known and not worth a line each time.
    logging.getLogger(font_manager.__name__).addFilter(lambda record: f"for {family}" not in record.getMessage())
    return family


def japanese_file() -> Path | None:
    """The font file of the package matplotlib-fontja, which is not imported: its import would change all figures."""
    package = find_spec("matplotlib_fontja")
    places = package.submodule_search_locations if package else None
    found = [file for place in places or () for file in sorted(Path(place).glob("fonts/*.ttf"))]
    return found[0] if found else None


@cache
def _glyphs(family: str) -> frozenset[int]:
    """The characters that a family has."""
    return frozenset(FT2Font(font_manager.findfont(FontProperties(family=[family]))).get_charmap())


def missing(texts: Iterable[str]) -> str:
    """The characters for which no font of a figure has a glyph, each once; a figure shows a box in their place."""
    needed = {letter for text in texts for letter in text if _is_drawn(letter)}
    known = frozenset().union(*(_glyphs(family) for family in families()))
    return "".join(sorted(letter for letter in needed if ord(letter) not in known))


def packages_for(letters: str) -> list[str]:
    """The font packages of Debian and Ubuntu that have such characters."""
    cjk = [letter for letter in letters if unicodedata.name(letter, "").startswith(_CJK)]
    return [*(["fonts-noto-cjk"] if cjk else []), *(["fonts-noto-core"] if len(cjk) < len(letters) else [])]


def _is_drawn(letter: str) -> bool:
    """Whether a character has a shape of its own: no space, control, joiner or selector of variants."""
    return unicodedata.category(letter)[0] not in "CZ" and not unicodedata.name(letter, "").startswith("VARIATION")


@contextmanager
def without_glyph_warnings() -> Iterator[None]:
    """Within it, matplotlib does not warn of each missing glyph: `missing` tells of all at once."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        yield


# ---- widths -----------------------------------------------------------------------------------------------------


def width_of(text: str, points: float, bold: bool = False) -> float:
    """Inches that a line of text is wide."""
    return _width_of_points(text, bold, tuple(families())) * points


@lru_cache(maxsize=10_000)
def _width_of_points(text: str, bold: bool, fonts: tuple[str, ...]) -> float:
    """Inches that a line is wide in type of one point."""
    properties = FontProperties(family=list(fonts), size=10, weight="bold" if bold else "normal")
    with without_glyph_warnings():
        return text_to_path.get_text_width_height_descent(text, properties, ismath=False)[0] / 720


_NO_START = set("、。，．）」』】〉》〕］｝ー・：；？！ゝゞ々ぁぃぅぇぉっゃゅょァィゥェォッャュョ%％,.)]}!?:;")
_BREAKS = " \t\r\n\u3000"  # not the no-break spaces, such as that before a per cent sign
_NO_END = set("（「『【〈《〔［｛([{")


def wrapped(text: str, inches: float, points: float, bold: bool = False, lines: int = 0) -> str:
    """Text on lines of at most that width, broken at spaces and between Chinese and Japanese characters.

    A word longer than a line is broken within.

    Args:
        text: a title, a sentence or a name.
        inches: width of a line.
        points: size of the type.
        bold: whether it is bold.
        lines: how many there may be; of a longer text the middle is left out ("…"). 0: as many as it needs.
    """
    text = re.sub(f"[{_BREAKS}]+", " ", text).strip()
    found = _in_lines(text, inches, points, bold)
    if lines and len(found) > lines:
        kept = bisect_left(
            range(1, len(text)),
            True,
            key=lambda n: len(_in_lines(_without_middle(text, n), inches, points, bold)) > lines,
        )
        found = _in_lines(_without_middle(text, max(kept, 1)), inches, points, bold)[:lines]
    return "\n".join(found)


def _without_middle(text: str, letters: int) -> str:
    """So many letters of a text, from its beginning and its end."""
    end = letters // 2
    return f"{text[: letters - end].rstrip()}…{text[len(text) - end :].lstrip() if end else ''}"


def _in_lines(text: str, inches: float, points: float, bold: bool) -> list[str]:
    parts, found, used = _pieces(text), [""], 0.0
    while parts:
        piece = parts.pop(0)
        if not found[-1]:
            piece = piece.lstrip()
        if used + width_of(piece.rstrip(), points, bold) <= inches:
            found[-1] += piece
            used += width_of(piece, points, bold)
        elif found[-1]:
            found.append("")
            used = 0.0
            parts.insert(0, piece)
        else:
            fits = _longest_start(piece, inches, points, bold)
            found[-1] = piece[:fits]
            used = inches
            parts.insert(0, piece[fits:])
    return [line.strip() for line in found if line.strip()]


def _longest_start(word: str, inches: float, points: float, bold: bool) -> int:
    """How many letters of a word fit on a line, at least one; accents stay with their letter."""
    fits = 1
    while fits < len(word) and width_of(word[: fits + 1], points, bold) <= inches:
        fits += 1
    while fits < len(word) and unicodedata.combining(word[fits]):
        fits += 1
    return fits


def _pieces(text: str) -> list[str]:
    """Parts between which a line may end: words with the space before them, and single wide characters."""
    found: list[str] = []
    for letter in text:
        glue = bool(found) and letter not in _BREAKS and _holds(found[-1][-1], letter)
        if glue:
            found[-1] += letter
        else:
            found.append(letter)
    return found


def _holds(before: str, letter: str) -> bool:
    """Whether no line may end between two characters."""
    if letter in _NO_START or before in _NO_END:
        return True
    if before in "-/" and letter.isalpha():
        return False
    return not (_is_wide(before) or _is_wide(letter))


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF" and not unicodedata.name(letter, "").startswith("HANGUL")


# ---- the page ---------------------------------------------------------------------------------------------------


def subset_face(text: str) -> str:
    """An `@font-face` rule with the Japanese glyphs of a text, for its page and its PDF; "" where it has none.

    The rule's family is `PAGE_FAMILY`. The same text always gives the same rule.
    """
    file = japanese_file()
    needed = sorted({ord(letter) for letter in text if ord(letter) > 0x2E7F})
    if file is None or not needed:
        return ""
    return face_of(file, tuple(needed))


@cache
def face_of(file: Path, letters: tuple[int, ...]) -> str:
    from fontTools import subset
    from fontTools.ttLib import TTFont

    options = subset.Options(flavor="woff2", notdef_outline=True, hinting=False, recalc_timestamp=False)
    font = TTFont(file, recalcTimestamp=False)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=letters)
    cutter.subset(font)
    if not set(font.getBestCmap() or {}) & set(letters):
        return ""
    font.flavor = "woff2"
    buffer = io.BytesIO()
    font.save(buffer)
    code = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'@font-face {{ font-family: "{PAGE_FAMILY}"; font-display: block; '
        f'src: url("data:font/woff2;base64,{code}") format("woff2"); }}'
    )
