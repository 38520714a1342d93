"""Images in a table: a row each, with path and label, and optionally group and split."""

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from vptlib.data.columns import columns_of, fits
from vptlib.data.files import ImageFiles
from vptlib.data.findings import Finding
from vptlib.data.listing import Listing, drawn, one_spelling, with_split
from vptlib.data.places import Places
from vptlib.data.split_names import roles_of, split_kind
from vptlib.data.table_files import TABLES as TABLES  # others ask which endings are tables
from vptlib.data.table_files import Table, read_cells
from vptlib.errors import UserError
from vptlib.statement import statement
from vptlib.wording import printable

# Words that often stand for "nothing". Here they are names like others, and are mentioned.
_NOTHING = {"none", "na", "n/a", "#n/a", "nan", "null", "nil", "<na>", "-", "?", "unknown"}


def read_table(
    file: Path, path: str = "", label: str = "", group: str = "", split: str = "", encoding: str = ""
) -> Listing:
    """A row for each image; paths count from the table's folder. Columns for group and split are optional.

    Args:
        file: a .csv, .tsv or .parquet file.
        path, label, group, split: names of columns, where they are not called so.
        encoding: of a text file that is not UTF-8 or UTF-16.

    Raises:
        UserError: the table cannot be read or understood; the message names its row or column.
    """
    asked = {"path": path, "label": label, "group": group, "split": split}
    table = read_cells(file, encoding, lambda header: fits(header, asked))
    columns = columns_of(table, asked)
    for what in ("path", "label"):
        _check_filled(table, columns[what])
    places = Places(file.parent, table.encoding)
    paths = [places.find(_where(table, k), cell) for k, cell in enumerate(table.column(columns["path"]))]
    kept = _first_rows(table, columns, paths)
    cells = {what: [table.cells[k][column] for k in kept] for what, column in columns.items()}
    splits = _given_splits(table, columns["split"], kept) if "split" in columns else None
    spelling, spelling_remarks = one_spelling(cells["label"], file.name, splits)
    kinds = [spelling[name] for name in cells["label"]]
    names = tuple(sorted(set(kinds), key=_as_number))
    number = {name: k for k, name in enumerate(names)}
    labels = np.array([number[name] for name in kinds], dtype=np.int64)
    groups, group_names, group_remarks = (
        _groups(table, columns["group"], cells["group"]) if "group" in columns else (None, (), [])
    )
    remarks = [
        *table.remarks,
        *_column_remark(table, columns, asked),
        *places.remarks(file.name),
        *_repeated_remark(table, len(kept)),
        *spelling_remarks,
        *_nothing_remarks(table, columns),
        *group_remarks,
        *(_split_remark(table, columns["split"], cells["split"], splits) if splits else [drawn(groups)]),
    ]
    images = ImageFiles([paths[k] for k in kept])
    given = with_split(labels, groups) if splits is None else np.array(splits, dtype=object)
    about = {"source": f"the table {file.name}", "remarks": tuple(remarks), "group_names": group_names}
    return Listing(images, labels, given, names, groups, **about)


def _where(table: Table, k: int) -> str:
    return f"{table.file}, row {table.rows[k]}"


def _check_filled(table: Table, column: int) -> None:
    for k, cell in enumerate(table.column(column)):
        if not cell.strip():
            raise UserError(f"{_where(table, k)}: {table.header[column]!r} is empty: fill it in.")


def _first_rows(table: Table, columns: dict[str, int], paths: list[Path]) -> list[int]:
    """The rows without those that repeat an earlier one; the same image must not have two labels, splits or groups."""
    first: dict[str, int] = {}
    kept = []
    for k, place in enumerate(paths):
        earlier = first.setdefault(os.path.normpath(place), k)
        if earlier == k:
            kept.append(k)
        for what in ("label", "split", "group"):
            _check_same(table, columns.get(what), place.name, earlier, k)
    return kept


def _check_same(table: Table, column: int | None, name: str, earlier: int, k: int) -> None:
    if column is None:
        return
    here, there = (table.cells[row][column].strip() for row in (k, earlier))
    if here != there:
        raise UserError(
            f"{_where(table, k)}: {name} is {here!r} here and {there!r} in row {table.rows[earlier]}: keep the row "
            "that is right."
        )


def _given_splits(table: Table, column: int, kept: list[int]) -> list[str]:
    """For each image "train" or "test"; without test images those to validate on test."""
    kinds = [split_kind(table.cells[k][column]) for k in kept]
    if None in kinds:
        k = kept[kinds.index(None)]
        cell = table.cells[k][column].strip()
        written = f"is {cell!r}" if cell else "is empty"
        raise UserError(f"{_where(table, k)}: the split {written}, but must be train, val or test.")
    if {"test", "evaluation"} <= set(kinds):
        raise UserError(
            f"{table.file}: column {table.header[column]!r} has splits to test and to evaluate on: give the rows that "
            "test the word test, and the others train or val."
        )
    roles = roles_of(filter(None, kinds))
    return [roles[str(kind)] for kind in kinds]


# ---- groups -----------------------------------------------------------------------------------------------------


def _groups(table: Table, column: int, cells: list[str]) -> tuple[np.ndarray | None, tuple[str, ...], list[Finding]]:
    """A number for each image's group, the groups' names, and what has to be said.

    Two spellings of one group are one, under the first of them. An image without a group is one of its own, unnamed.
    """
    empty = np.array([not cell.strip() for cell in cells])
    if empty.all():
        what = statement("table_no_groups", table=table.file.name, column=table.header[column])
        return None, (), [Finding("warning", what)]
    texts = {cell: _as_group(cell) for cell, none in zip(cells, empty, strict=True) if not none}
    joined = _with_several_spellings(texts)
    written = [c for c in cells if c.strip()]
    codes, found = pd.factorize(np.array([texts[c] if joined else c for c in written], object), sort=True)
    first = dict(zip(codes[::-1], reversed(written), strict=True))  # code → its first spelling
    groups = np.empty(len(cells), np.int64)
    groups[~empty] = codes
    groups[empty] = len(found) + np.arange(empty.sum())
    remarks = []
    if empty.any():
        what = statement(
            "table_groups_empty", table=table.file.name, column=table.header[column], images=int(empty.sum())
        )
        remarks.append(Finding("warning", what))
    if joined:
        what = statement("table_groups_joined", table=table.file.name, column=table.header[column], spellings=joined)
        remarks.append(Finding("warning", what))
    return groups, tuple(printable(first[code]).strip() for code in range(len(found))), remarks


def _as_group(cell: str) -> str:
    """The same for all spellings of a group: 1, 01 and 1.0; "Site A" and "site a "."""
    text = " ".join(unicodedata.normalize("NFKC", cell).casefold().split())
    return re.sub(r"^(-?\d+)[.,]0+$", r"\1", re.sub(r"(?<![\d.,])0+(?=\d)", "", text))


def _with_several_spellings(texts: dict[str, str]) -> list[str]:
    """All spellings of the first group that has several, or none."""
    spellings: dict[str, list[str]] = {}
    for cell, text in texts.items():
        spellings.setdefault(text, []).append(cell)
    return next((cells for cells in spellings.values() if len(cells) > 1), [])


# ---- what has to be said ----------------------------------------------------------------------------------------


def _column_remark(table: Table, columns: dict[str, int], asked: dict[str, str]) -> list[Finding]:
    taken = {what: table.header[k] for what, k in columns.items() if table.header[k] != (asked[what] or what)}
    return [Finding("note", statement("table_columns", table=table.file.name, taken=taken))] if taken else []


def _repeated_remark(table: Table, images: int) -> list[Finding]:
    repeated = len(table.cells) - images
    what = statement("table_rows_repeated", table=table.file.name, rows=repeated, images=images)
    return [Finding("warning", what)] if repeated else []


def _nothing_remarks(table: Table, columns: dict[str, int]) -> list[Finding]:
    """Words such as NA among labels and groups, which are taken as names."""
    remarks = []
    for what in ("label", "group"):
        words = sorted(set(_words_for_nothing(table.column(columns[what])))) if what in columns else []
        if words:
            column = table.header[columns[what]]
            what = statement("table_words_for_nothing", table=table.file.name, column=column, words=words)
            remarks.append(Finding("note", what))
    return remarks


def _words_for_nothing(cells: Iterable[str]) -> list[str]:
    return [cell.strip() for cell in cells if cell.strip().lower() in _NOTHING]


def _split_remark(table: Table, column: int, cells: list[str], splits: list[str]) -> list[Finding]:
    """Which words of the table train and which test, if it has others than these two."""
    sides = {side: set() for side in ("train", "test")}
    for cell, side in zip(cells, splits, strict=True):
        sides[side].add(cell.strip())
    if all({word.lower() for word in words} <= {side} for side, words in sides.items()):
        return []
    is_held_out = bool(sides["test"]) and all(split_kind(word) != "test" for word in sides["test"])
    train, test = sorted(sides["train"]), sorted(sides["test"])
    what = statement("table_splits", table=table.file.name, column=table.header[column], train=train, test=test)
    return [Finding("warning" if is_held_out else "note", what)]


def _as_number(name: str) -> tuple[float, str]:
    """A key for sorting: class names that are numbers sort as numbers, also with a decimal comma."""
    try:
        number = float(re.sub(r"^([+-]?\d+),(\d+)$", r"\1.\2", name.strip()))
    except ValueError:
        return float("inf"), name
    return (number if number == number else float("inf")), name
