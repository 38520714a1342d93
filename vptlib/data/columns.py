"""Which column of a table is meant: by its name as asked, as documented, or as others call it."""

import re
from collections.abc import Sequence

from vptlib.data.formats import suffixes
from vptlib.data.split_names import split_kind
from vptlib.data.table_files import Table
from vptlib.errors import UserError

# What is taken for a column that was not named, if there is exactly one of these; without spaces and signs.
OTHER_NAMES = {
    "path": ("image", "imagepath", "imgpath", "filename", "filepath", "imagefile"),
    "label": ("class", "target", "category"),
}
_MOST_SPLITS, _LONGEST_SPLIT = 10, 30  # words and letters of a column that holds splits


def columns_of(table: Table, asked: dict[str, str]) -> dict[str, int]:
    """The number of the column for "path", for "label", and for "group" and "split" if there is one.

    Args:
        table: the table.
        asked: for each of the four the name that the user gave, or "".

    Raises:
        UserError: a column is missing, or several may be meant; the message names the option that decides.
    """
    found = {what: _column(table, what, asked[what]) for what in ("path", "label", "group", "split")}
    if found["split"] is None:
        found["split"] = _split_by_its_cells(table, [k for k in found.values() if k is not None])
    chosen = {what: k for what, k in found.items() if k is not None}
    for what, k in chosen.items():
        if k in table.no_text:
            raise UserError(_no_text(table, what, k))
    return chosen


def fits(header: Sequence[str], asked: dict[str, str]) -> bool:
    """Whether a header has columns for path and label."""
    return all(_candidates(header, what, asked[what]) for what in ("path", "label"))


def _column(table: Table, what: str, asked: str) -> int | None:
    there = _candidates(table.header, what, asked)
    if len(there) == 1:
        return there[0]
    if there:
        names = " and ".join(repr(table.header[k]) for k in there)
        same = len({table.header[k] for k in there}) == 1
        fix = "give one of them another name" if same else f"write ?{what}=COLUMN"
        raise UserError(f"{table.file} has several columns for {what}, {names}: {fix}.")
    if not asked and what in ("group", "split"):
        return None
    raise UserError(_missing(table, what, asked or what))


def _candidates(header: Sequence[str], what: str, asked: str) -> list[int]:
    """The columns that may be meant: by their very name, else by a similar one, else by what others call it."""
    name = asked or what
    by_name = [k for k, column in enumerate(header) if column == name]
    similar = [k for k, column in enumerate(header) if _plain(column) == _plain(name)]
    others = [k for k, column in enumerate(header) if not asked and _plain(column) in OTHER_NAMES.get(what, ())]
    return by_name or similar or others


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]+", "", name).casefold()


def _missing(table: Table, what: str, name: str) -> str:
    if any(cell.lower().endswith(suffixes()) for cell in table.header):
        return f"{table.file} has no column {name!r}, or no header: write path,label as its first row."
    there = ", ".join(table.header)
    return f"{table.file} has no column {name!r} for {what}: it has {there}; write ?{what}=COLUMN."


def _no_text(table: Table, what: str, k: int) -> str:
    return (
        f"{table.file}: column {table.header[k]!r} for {what} holds lists, tables or bytes: write one text or number "
        "in each cell, or read a data set of Hugging Face as hf:FOLDER."
    )


def _split_by_its_cells(table: Table, taken: list[int]) -> int | None:
    """A column of another name in which each cell is a split, such as "subset" with train and test."""
    free = [k for k in range(len(table.header)) if k not in taken and k not in table.no_text]
    known = [k for k in free if _are_splits(set(table.column(k)))]
    if len(known) > 1:
        names = " and ".join(repr(table.header[k]) for k in known)
        raise UserError(f"{table.file} has several columns of splits, {names}: write ?split=COLUMN.")
    return known[0] if known else None


def _are_splits(words: set[str]) -> bool:
    if len(words) > _MOST_SPLITS or max(map(len, words)) > _LONGEST_SPLIT:
        return False
    kinds = {split_kind(word) for word in words}
    return "train" in kinds and len(kinds) > 1 and None not in kinds
