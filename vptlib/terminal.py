"""Plain text on a terminal: columns, letters of all widths whatever it can show, and clocks that go on.

Some letters take two columns (Chinese, Japanese, Korean, most pictures), and some take none (marks on a letter). Names
of files and classes are shown with their control characters written out, so that no name can move the cursor. Letters
that the terminal's encoding lacks are written as near as ASCII gets, or as an escape.
"""

import codecs
import io
import shutil
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

import typer

from vptlib.wording import printable

if TYPE_CHECKING:
    from tqdm import tqdm

MOST_WIDE = 40  # columns that a table gives to a column of names
# Seconds between two pictures of a bar that does not move: on a terminal; in a notebook, a pipe or a file.
TICK, TICK_ELSEWHERE = 1.0, 30.0
_ASCII = str.maketrans(
    {"×": "x", "−": "-", "–": "-", "…": "...", "\u202f": " ", "“": '"', "”": '"', "’": "'", "→": "->", "√": "sqrt "}
)


def prepare_output() -> None:
    """Let nothing that is printed fail for want of a letter in the encoding of the terminal, pipe or file."""
    codecs.register_error("vptlib.nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="vptlib.nearest")


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = printable(error.object[error.start : error.end]).translate(_ASCII)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


@contextmanager
def ticking(bar: "tqdm") -> Iterator["tqdm"]:
    """A bar whose clock goes on while nothing is finished, so that long work is not taken for work that hangs.

    The bar is closed at the end.
    """
    ended = Event()

    def tick(seconds: float) -> None:
        while not ended.wait(seconds):
            bar.refresh()

    with bar:
        if bar.disable:
            yield bar
            return
        clock = Thread(target=tick, args=[TICK if bar.fp.isatty() else TICK_ELSEWHERE], daemon=True)
        clock.start()
        try:
            yield bar
        finally:
            ended.set()
            clock.join()


def shown(text: str) -> str:
    """A name as it can be printed on one line: control characters and bytes that are no UTF-8 are written out."""
    return "".join(repr(sign)[1:-1] if unicodedata.category(sign) in ("Cc", "Cf") else sign for sign in printable(text))


def width(text: str) -> int:
    """How many columns a text takes."""
    return sum(map(_columns, text))


def _columns(sign: str) -> int:
    if unicodedata.combining(sign) or unicodedata.category(sign) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def print_table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print plain columns, each as wide as its longest entry up to `MOST_WIDE`; longer ones go on in the next line."""
    rows = [tuple(map(shown, row)) for row in rows]
    widths = [
        min(MOST_WIDE, max(width(row[column]) for row in [headings, *rows])) for column in range(len(headings) - 1)
    ]
    for row in [headings, *rows]:
        print_row(row, widths)


def print_row(row: tuple[str, ...], widths: list[int]) -> None:
    """Print one row; the last column is wrapped to the terminal's width, but no word in it is broken.

    Args:
        row: a text for each column.
        widths: of all columns but the last. One that needs more goes beyond, up to `MOST_WIDE`.
    """
    room = max(30, shutil.get_terminal_size().columns - sum(widths) - 2 * len(widths))
    names = [wrapped(shown(text), max(most, MOST_WIDE)) for text, most in zip(row, widths, strict=False)]
    columns = [*names, wrapped(shown(row[-1].replace("\n", " ")), room, break_words=False)]
    for number in range(max(map(len, columns))):
        parts = [lines[number] if number < len(lines) else "" for lines in columns]
        padded = [text + " " * (most - width(text)) for text, most in zip(parts, widths, strict=False)]
        typer.echo("  ".join([*padded, parts[-1]]).rstrip())


def wrapped(text: str, most: int, break_words: bool = True) -> list[str]:
    """Lines of at most `most` columns, broken at spaces, and within words that are longer than a line if so asked."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if width(joined) <= most:
            lines[-1] = joined
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = lines[-1] or word
        while break_words and (head := _head(lines[-1], most)) < len(lines[-1]):
            lines[-1:] = [lines[-1][:head], lines[-1][head:]]
    return lines


def _head(text: str, most: int) -> int:
    """How many letters of a text fit into `most` columns; at least one."""
    taken = 0
    for number, sign in enumerate(text):
        taken += _columns(sign)
        if taken > most:
            return max(1, number)
    return len(text)
