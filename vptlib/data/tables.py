"""Images in a table: a row each, with path and label, and optionally group and split."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from vptlib.data.files import ImageFiles
from vptlib.data.listing import SPLIT_NAMES, Listing, check_image, with_split
from vptlib.errors import UserError

TABLES: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=True),
    ".tsv": lambda path: pd.read_csv(path, sep="\t", dtype=str, keep_default_na=True),
    ".parquet": pd.read_parquet,
}


def read_table(file: Path, path: str = "path", label: str = "label", group: str = "", split: str = "") -> Listing:
    """A row for each image; paths count from the table's folder. Columns `group` and `split` are optional."""
    frame = _table(file)
    columns = {"path": path, "label": label, "group": group or "group", "split": split or "split"}
    for what, column in columns.items():
        asked = what in ("path", "label") or {"group": group, "split": split}[what]
        if column not in frame and asked:
            there = ", ".join(map(str, frame.columns))
            raise UserError(f"{file} has no column {column!r} for {what}: it has {there}; write ?{what}=COLUMN.")
    for what in ("path", "label"):
        empty = frame[columns[what]].isna().to_numpy()
        if empty.any():
            raise UserError(f"{file}, row {int(empty.argmax()) + 1}: {columns[what]!r} is empty: fill it in.")
    paths = [file.parent / place for place in frame[columns["path"]].astype(str)]
    for row, place in enumerate(paths, start=1):
        check_image(f"{file}, row {row}", place, file.parent)
    kinds = frame[columns["label"]].astype(str)
    _check_one_label_each(file, paths, kinds.tolist())
    names = tuple(sorted(kinds.unique(), key=_as_number))
    labels = kinds.map({name: k for k, name in enumerate(names)}).to_numpy(np.int64)
    groups = None
    if columns["group"] in frame:
        groups = pd.factorize(frame[columns["group"]].fillna("").astype(str), sort=True)[0].astype(np.int64)
    splits = _given_splits(file, frame[columns["split"]]) if columns["split"] in frame else with_split(labels, groups)
    return Listing(ImageFiles(paths), labels, splits, names, groups, f"the table {file.name}")


def _table(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise UserError(f"there is no table at {file}: name a .csv, .tsv or .parquet file.")
    read_it = TABLES.get(file.suffix.lower())
    if read_it is None:
        raise UserError(f"{file} is not a table that can be read: name a .csv, .tsv or .parquet file.")
    try:
        frame = read_it(file)
    except Exception as error:  # pandas and pyarrow raise exceptions of many kinds
        raise UserError(f"{file} cannot be read as a table ({' '.join(str(error).split())}): save it again.") from error
    if frame.empty:
        raise UserError(f"{file} has no rows: it needs one for each image.")
    return frame


def _check_one_label_each(file: Path, paths: list[Path], kinds: list[str]) -> None:
    first: dict[Path, int] = {}
    for row, place in enumerate(paths):
        earlier = first.setdefault(place, row)
        if kinds[earlier] != kinds[row]:
            raise UserError(
                f"{file}, row {row + 1}: {place.name} is {kinds[row]!r} here and {kinds[earlier]!r} in row "
                f"{earlier + 1}: keep the row that is right."
            )


def _given_splits(file: Path, column: pd.Series) -> np.ndarray:
    splits = column.fillna("").astype(str).str.strip().str.lower().map(SPLIT_NAMES)
    if splits.isna().any():
        row = int(splits.isna().to_numpy().argmax())
        raise UserError(f"{file}, row {row + 1}: the split is {column.iloc[row]!r}, but must be train, val or test.")
    return splits.to_numpy(object)


def _as_number(name: str) -> tuple[float, str]:
    """A key for sorting: class names that are numbers sort as numbers."""
    try:
        return float(name), name
    except ValueError:
        return float("inf"), name
