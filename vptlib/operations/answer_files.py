"""The file of answers, CSV or Parquet: a row for each image.

The columns are `file`, `answer`, `probability`, `ask_a_person` ("yes", "no" or "unknown"), `p: CLASS` for each class,
and `problem`: why a file has no answer, or why its answer is doubtful. If images were drawn at random for a person to
check, `drawn` says which ("yes"), and `truth` is empty, for that person. A CSV is UTF-8 with a mark in front, so that
Excel reads every script.

A spreadsheet takes a cell that begins with =, +, - or @ for a formula. So in a CSV a relative path that begins with one
gets "./" in front, which leads to the same file. A class name gets an apostrophe, unless it is a number. A Parquet file
has all names as they are.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from vptlib.errors import UserError
from vptlib.operations.contact_sheet import is_sheet
from vptlib.operations.journal import is_journal, refusals_named
from vptlib.paths import free_bytes, whole_file
from vptlib.wording import storage

ENDINGS = (".csv", ".parquet")
COLUMNS = ("file", "answer", "probability", "ask_a_person")  # then the classes, then "problem"
DRAWN, TRUTH = TO_CHECK = ("drawn", "truth")  # at the end, if images were drawn


@dataclass(frozen=True)
class Row:
    """One image.

    Attributes:
        file: its path as the user wrote it, as text that can be stored.
        answer: the most probable class; "" if the file cannot be read.
        probability: of that class.
        ask_a_person: "yes", "no", or "unknown" where the model file has no threshold.
        probabilities: of all classes, float32 `C`.
        problem: why there is no answer, or why it is doubtful; or "".
        drawn: whether it was drawn at random to be checked by a person; None if none were drawn.
    """

    file: str
    answer: str
    probability: float | None
    ask_a_person: str
    probabilities: np.ndarray | None
    problem: str
    drawn: bool | None = None

    @property
    def to_check(self) -> list[str]:
        """The cells of `TO_CHECK`; none if no images were drawn."""
        return [] if self.drawn is None else ["yes" if self.drawn else "", ""]


class AnswerFile:
    """The file of answers, with the contact sheet and the side file next to it.

    Args:
        path: of the file.

    Raises:
        UserError: it does not end in one of `ENDINGS`, or no file can have this name.
    """

    def __init__(self, path: Path):
        if "\0" in str(path):
            raise UserError(f"--out is {str(path)!r}, which is no name of a file: give another.")
        if path.suffix.lower() not in ENDINGS:
            raise UserError(f"--out is {path}, but must be a file that ends in {' or '.join(ENDINGS)}.")
        self.path = path
        self.sheet = path.with_suffix(".html")
        self.side = path.with_name(f"{path.name}.unfinished")

    def owns(self, path: Path) -> bool:
        """Whether a file is one of the three."""
        own = {one.name: one for one in (self.path, self.sheet, self.side)}
        return path.name in own and os.path.realpath(path.parent) == os.path.realpath(own[path.name].parent)

    def check(self) -> None:
        """See, before any work, that nothing of somebody else would be replaced; makes the folder.

        Raises:
            UserError: something else is under one of the names, or the folder cannot be made.
        """
        with refusals_named(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for path, is_ours in ((self.path, _is_answers), (self.sheet, is_sheet), (self.side, is_journal)):
                if path.is_dir():
                    raise UserError(f"{path} is a folder: name a file for the answers with --out.")
                if path.exists() and path.stat().st_size and not is_ours(path):
                    raise UserError(
                        f"{path} is there already, and `vpt predict` has not written it as it is now: name another "
                        "file with --out, or move that one away."
                    )

    def check_room(self, images: int, classes: int) -> None:
        """See, before any work, that the disk has room.

        Raises:
            UserError: it has not.
        """
        needed, free = 4_000_000 + images * (500 + 16 * classes), free_bytes(self.path.parent)
        if free < needed:
            raise UserError(
                f"{self.path} needs some {storage(needed)} with its side file and contact sheet, but {storage(free)} "
                "are free: make room there, or name a file on another disk."
            )

    def write(self, rows: Iterable[Row], class_names: Sequence[str], to_check: bool = False) -> None:
        """Write all rows; the file appears, or is replaced, in one step.

        Args:
            to_check: whether images were drawn, so that all rows have the columns for that.

        Raises:
            OSError: it cannot be written.
        """
        write = _write_parquet if self.path.suffix.lower() == ".parquet" else _write_csv
        with whole_file(self.path) as part:
            write(rows, class_names, TO_CHECK if to_check else (), part)


def _is_answers(path: Path) -> bool:
    """Whether a file is one of these, as it was written. One that a spreadsheet has saved since may hold notes."""
    if path.suffix.lower() == ".csv":
        return _begins(path, ("\ufeff" + ",".join(map(_quoted, COLUMNS))).encode()) and not _has_truths(path)
    from pyarrow import ArrowException, parquet

    try:
        names = tuple(parquet.read_schema(path).names)
        truths = parquet.read_table(path, columns=[TRUTH])[TRUTH] if names[-2:] == TO_CHECK else None
    except (ArrowException, OSError):
        return False
    return names[: len(COLUMNS)] == COLUMNS and (truths is None or truths.null_count == len(truths))


def _has_truths(path: Path) -> bool:
    """Whether a person has written a right class into a CSV."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        to_check = next(file, "").rstrip("\r\n").endswith(",".join(map(_quoted, TO_CHECK)))
        return to_check and any(not line.rstrip("\r\n").endswith(',""') for line in file)


def _begins(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _write_csv(rows: Iterable[Row], class_names: Sequence[str], last: Sequence[str], part: Path) -> None:
    with part.open("w", encoding="utf-8-sig", newline="") as file:
        heads = [*COLUMNS, *(as_text(f"p: {name}") for name in class_names), "problem", *last]
        file.write(_line(map(_quoted, heads)))
        for row in rows:
            file.write(_line(_written(row, len(class_names))))


def _written(row: Row, classes: int) -> list[str]:
    probability = "" if row.probability is None else _number(row.probability)
    others = [""] * classes if row.probabilities is None else map(_number, row.probabilities.tolist())
    answer, problem = _quoted(as_text(row.answer)), _quoted(as_text(row.problem))
    last = map(_quoted, row.to_check)
    return [_quoted(_as_path(row.file)), answer, probability, _quoted(row.ask_a_person), *others, problem, *last]


def _line(cells: Iterable[str]) -> str:
    return ",".join(cells) + "\r\n"


def _number(probability: float) -> str:
    return f"{probability:.6f}"


def _quoted(text: str) -> str:
    # Quotes around every text: where a spreadsheet separates by semicolons, a name with one stays in one cell.
    return '"' + text.replace('"', '""') + '"'


_FORMULA = "[=+@\\-\uff1d\uff0b\uff20\uff0d]"  # also in full width
_BEGINS_FORMULA = re.compile(rf"((?:^|[;,\t\r\n])\s*)(?={_FORMULA})")
_IS_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?")


def as_text(text: str) -> str:
    """A text in which no spreadsheet finds a formula, whatever it separates cells by."""
    return text if _IS_NUMBER.fullmatch(text) else _BEGINS_FORMULA.sub(r"\1'", text)


def _as_path(file: str) -> str:
    """A path that is no formula and leads to the same file."""
    return f"./{file}" if re.match(rf"\s*{_FORMULA}", file) else file


def _write_parquet(rows: Iterable[Row], class_names: Sequence[str], last: Sequence[str], part: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    text, number = pyarrow.string(), pyarrow.float64()
    own = zip(COLUMNS, (text, text, number, text), strict=True)
    ends = ((name, text) for name in ("problem", *last))
    schema = pyarrow.schema([*own, *((f"p: {name}", number) for name in class_names), *ends])
    with part.open("wb") as file, parquet.ParquetWriter(file, schema) as writer:
        for cells in _by_many(_cells(row, len(class_names)) for row in rows):
            columns = [list(column) for column in zip(*cells, strict=True)]
            writer.write_table(pyarrow.table(columns, schema=schema))


def _cells(row: Row, classes: int) -> list[str | float | None]:
    numbers = [None] * classes if row.probabilities is None else [round(p, 6) for p in row.probabilities.tolist()]
    probability = None if row.probability is None else round(row.probability, 6)
    last = [text or None for text in (row.problem, *row.to_check)]
    return [row.file, row.answer or None, probability, row.ask_a_person, *numbers, *last]


def _by_many(cells: Iterator[list]) -> Iterator[list[list]]:
    while part := list(islice(cells, 4096)):
        yield part
