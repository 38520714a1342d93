"""The cells of a table in a file: text with separators (.csv, .tsv), or .parquet.

A table is read as text, cell for cell. Only an empty cell is empty: "None", "NA" and "nan" are words like others. Rows
are counted as a spreadsheet shows them: the header is row 1, empty rows count, and a cell may have several lines.
"""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vptlib.data.encodings import UTF_8, text_of
from vptlib.data.findings import Finding
from vptlib.errors import UserError
from vptlib.statement import statement

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "upright bars"}
# What people take for a table, and how to make one of it.
_OTHERS = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods"), "open it in its program, and save it as .csv (CSV UTF-8)"),
    **dict.fromkeys((".json", ".jsonl"), "pandas.read_json reads it, and to_csv writes a .csv"),
    ".txt": "give it the ending .csv, and a header such as path,label",
}
_NAMED = "name a .csv, .tsv or .parquet file"


@dataclass(frozen=True)
class Table:
    """Cells as text.

    Attributes:
        file: where they come from.
        header: the names of the columns, as written but without spaces around.
        cells: for each row its cells, as many as the header has; "" for an empty one.
        rows: the number of each row in a spreadsheet.
        encoding: of the text; "" for .parquet.
        no_text: the columns that hold lists, tables or bytes.
        remarks: how the file was understood.
    """

    file: Path
    header: tuple[str, ...]
    cells: list[list[str]]
    rows: list[int]
    encoding: str = ""
    no_text: frozenset[int] = frozenset()
    remarks: tuple[Finding, ...] = ()

    def column(self, number: int) -> list[str]:
        """The cells of a column."""
        return [row[number] for row in self.cells]


def read_cells(file: Path, encoding: str, fits: Callable[[tuple[str, ...]], bool]) -> Table:
    """The cells of a table.

    Args:
        file: a .csv, .tsv or .parquet file.
        encoding: of its text; "" to find it.
        fits: whether a header has the columns that are needed; the separator is the one that gives such a header.

    Raises:
        UserError: there is no such table, it cannot be read, or it has no rows.
    """
    if not file.is_file():
        raise UserError(f"there is no table at {file}: {_NAMED}.")
    reader = TABLES.get(file.suffix.lower())
    if reader is None:
        raise UserError(f"{file} is not a table that can be read: {_OTHERS.get(file.suffix.lower(), _NAMED)}.")
    table = reader(file, encoding, fits)
    if not table.cells:
        raise UserError(f"{file} has no rows: it needs one for each image.")
    return table


def _unreadable(file: Path, reason: str, fix: str = "save it again") -> UserError:
    return UserError(f"{file} cannot be read as a table ({reason}): {fix}.")


# ---- text -------------------------------------------------------------------------------------------------------


def _read_text(file: Path, encoding: str, fits: Callable[[tuple[str, ...]], bool]) -> Table:
    text, found = text_of(file, encoding)
    if text.startswith("PK\x03\x04"):
        raise _unreadable(file, "it is a spreadsheet or an archive", _OTHERS[".xlsx"])
    separator, text = _separator(file, text, fits)
    records = _records(file, text, separator)
    first = next((k for k, (cells, _) in enumerate(records) if any(map(str.strip, cells))), None)
    if first is None:
        raise _unreadable(file, "it is empty", "it needs a header such as path,label, and a row for each image")
    header = tuple(name.strip() for name in _without_end(records[first][0]))
    rows, cells = [], []
    for number, (given, line) in enumerate(records[first + 1 :], start=first + 2):
        if any(map(str.strip, given)):
            rows.append(number)
            cells.append(_fitted(file, given, len(header), number, line))
    remarks = [*_encoding_remark(file, found, encoding, records), *_separator_remark(file, separator)]
    return Table(file, header, cells, rows, found, remarks=tuple(remarks))


def _separator(file: Path, text: str, fits: Callable[[tuple[str, ...]], bool]) -> tuple[str, str]:
    """What separates the cells, and the text without the line in which Excel says so."""
    if stated := re.match('"?sep=([^\r\n])"?(?:\r\n|\r|\n|$)', text, re.IGNORECASE):
        return stated[1], text[stated.end() :]
    usual = "\t" if file.suffix.lower() == ".tsv" else ","
    headers = {separator: _header(text, separator) for separator in (usual, *SEPARATORS)}
    most = max(headers, key=lambda separator: len(headers[separator]))
    return next((separator for separator, header in headers.items() if fits(header)), most), text


def _header(text: str, separator: str) -> tuple[str, ...]:
    try:
        records = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        return tuple(name.strip() for name in next((cells for cells in records if any(map(str.strip, cells))), ()))
    except csv.Error:
        return ()


def _records(file: Path, text: str, separator: str) -> list[tuple[list[str], int]]:
    """All rows, empty ones too, each with the line in which it ends."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return [(cells, reader.line_num) for cells in reader]
    except csv.Error as error:
        raise _unreadable(
            file, f"line {reader.line_num}: {error}", "write a quote within a quoted cell twice, and close each"
        ) from error


def _without_end(cells: list[str]) -> list[str]:
    """Cells without the empty ones at the end, which spreadsheets leave behind."""
    count = len(cells)
    while count and not cells[count - 1].strip():
        count -= 1
    return cells[:count]


def _fitted(file: Path, cells: list[str], width: int, number: int, line: int) -> list[str]:
    if len(cells) > width:
        cells = _without_end(cells)
    if len(cells) > width:
        raise _unreadable(
            file,
            f"row {number}, line {line}: it has {len(cells)} cells, but the header has {width}",
            "put cells that hold the separator between quotes",
        )
    return cells + [""] * (width - len(cells))


def _separator_remark(file: Path, separator: str) -> list[Finding]:
    usual = "\t" if file.suffix.lower() == ".tsv" else ","
    if separator == usual:
        return []
    name = SEPARATORS.get(separator, repr(separator))
    return [Finding("note", statement("table_separator", table=file.name, separator=name))]


def _encoding_remark(file: Path, found: str, asked: str, records: list[tuple[list[str], int]]) -> list[Finding]:
    if asked or found == UTF_8:
        return []
    if found.startswith("UTF"):
        return [Finding("note", statement("table_encoding", table=file.name, encoding=found, words=[]))]
    words = list(dict.fromkeys(cell.strip() for cells, _ in records for cell in cells if not cell.isascii()))
    what = statement("table_encoding", table=file.name, encoding=found, words=words[:5])
    return [Finding("warning", what)]


# ---- parquet ----------------------------------------------------------------------------------------------------


def _read_parquet(file: Path, encoding: str, fits: Callable[[tuple[str, ...]], bool]) -> Table:
    if encoding:
        raise UserError(f"{file} is a .parquet file, whose encoding is known: leave out ?encoding=.")
    try:
        frame = pd.read_parquet(file)
        columns = [_as_texts(frame.iloc[:, k]) for k in range(frame.shape[1])]
    except Exception as error:  # pandas and pyarrow raise exceptions of many kinds, some when a cell is first read
        raise _unreadable(file, " ".join(str(error).split())) from error
    header = tuple(str(name).strip() for name in frame.columns)
    no_text = frozenset(k for k, column in enumerate(columns) if column is None)
    filled = [[""] * len(frame) if column is None else column for column in columns]
    cells = [list(row) for row in zip(*filled, strict=True)]
    return Table(file, header, cells, list(range(2, 2 + len(cells))), no_text=no_text)


def _as_texts(column: pd.Series) -> list[str] | None:
    """The cells of a column as text, "" for what is missing or no number (NaN); None if they are no text."""
    missing = column.isna().to_numpy()
    texts = column.tolist() if column.dtype == object else column.astype(str).tolist()
    try:
        return ["" if empty else _as_text(value) for value, empty in zip(texts, missing, strict=True)]
    except (TypeError, UnicodeDecodeError):
        return None


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if not pd.api.types.is_scalar(value):
        raise TypeError(f"{type(value).__name__} is no text")
    return str(value)


TABLES: dict[str, Callable[[Path, str, Callable[[tuple[str, ...]], bool]], Table]] = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".parquet": _read_parquet,
}
