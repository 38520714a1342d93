"""What a reader gives: images that are not decoded yet, with labels and splits, and what has to be said of them."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vptlib.data.files import Images, LazyImages
from vptlib.data.findings import Finding
from vptlib.data.splits import fixed_test, folds_of_groups
from vptlib.errors import UserError
from vptlib.statement import statement
from vptlib.wording import listed, printable


@dataclass(frozen=True)
class Listing:
    """The images that a reader has found.

    Attributes:
        images: all of them, none decoded yet.
        labels: int64 `N`, counted from 0.
        splits: "train" or "test" for each image.
        class_names: in the order of the labels.
        groups: an int64 for each image (a site, a lot), or None.
        source: where the images come from, as reports print it.
        licence: as reports print it.
        group, objective: as in `vptlib.data.tasks.Task`.
        validation: for each training image whether the data's own lists set it aside to validate on, or None.
        remarks: how the reader understood what it found, and what it passed over.
        group_names: of the groups in the order of their numbers, as written; groups that were not written have none.
    """

    images: Images
    labels: np.ndarray
    splits: np.ndarray
    class_names: tuple[str, ...]
    groups: np.ndarray | None
    source: str
    licence: str = "yours to know: not stated by the data"
    group: str = "own images"
    objective: str = "classification"
    validation: np.ndarray | None = None
    remarks: tuple[Finding, ...] = ()
    group_names: tuple[str, ...] = ()

    def part(self, split: str) -> tuple[LazyImages, np.ndarray | None]:
        """The images of one split, and their groups."""
        rows = np.flatnonzero(self.splits == split)
        return LazyImages(self.images, rows, self.labels[rows]), None if self.groups is None else self.groups[rows]


def with_split(labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """A stratified quarter tests, always the same; whole groups if there are groups."""
    splits = np.full(len(labels), "train", dtype=object)
    if groups is None:
        splits[fixed_test(labels, max(1, len(labels) // 4))] = "test"
        return splits
    count = len(np.unique(groups))
    if count < 4:
        raise UserError(f"{count} groups: a test of whole groups needs at least 4: add some, or leave out the column.")
    splits[next(folds_of_groups(labels, groups, 4))[1]] = "test"
    return splits


def drawn(groups: np.ndarray | None = None) -> Finding:
    """That `with_split` has drawn the test images."""
    return Finding("note", statement("quarter_tests", groups=groups is not None))


def check_image(where: str, place: Path, folder: Path) -> None:
    """Raise unless the image that a list names is there, and in the folder of the list."""
    if not Path(os.path.normpath(place)).is_relative_to(os.path.normpath(folder)):
        raise UserError(f"{where}: {place} is outside {folder}: put the list into a folder above all its images.")
    if not os.path.isfile(place):  # also where no file can have such a name
        raise UserError(f"{where}: there is no image at {place}: correct the path, or fetch the image.")


# ---- the same class, written in several ways ----------------------------------------------------------------------


def one_spelling(
    names: Sequence[str], where: str, splits: Sequence[str] | None = None
) -> tuple[dict[str, str], tuple[Finding, ...]]:
    """The class that each name means: two spellings of one thing are one class.

    Names that look the same (composed or not, with spaces around or doubled) are always one class. Names that differ in
    case, width of letters, zeros in front of a number, or the sign between words are one class if no split has both.
    A single letter keeps its case: "a" and "A" are two classes. A name with no other spelling stays as it is, except
    that bytes which are no UTF-8 become text.

    Args:
        names: the names as written; one may come several times.
        where: the folder or table that holds them, for messages.
        splits: of each name, the split ("train", "val", …) that it is from; None if all are from one.

    Returns:
        Each written name with the name to use, and what has to be said of it.

    Raises:
        UserError: one split has two spellings that may or may not be one class.
    """
    given = list(zip(names, splits or ["train"] * len(names), strict=True))
    often, total = Counter(given), Counter(names)
    meant: dict[str, dict[str, list[str]]] = {}  # loose form → strict form → spellings
    for name in sorted(set(names)):
        text = printable(name)
        meant.setdefault(_loosely(text), {}).setdefault(_strictly(text), []).append(name)
    used, remarks = {}, [_repaired(where, name) for name in sorted(set(names)) if printable(name) != name]
    for kinds in meant.values():
        _refuse_two_in_one_split(kinds, set(given), where)
        spellings = [name for of_kind in kinds.values() for name in of_kind]
        first = min(spellings, key=lambda name: (-often[name, "train"], -total[name], name))
        several = len(spellings) > 1
        used |= dict.fromkeys(spellings, _strictly(printable(first)) if several else printable(first))
        if several:
            shown = [_shown(name) for name in spellings]
            what = statement("spellings_joined", where=_last(where), name=used[first], spellings=shown)
            remarks.append(Finding("warning" if len(kinds) > 1 else "note", what))
    return used, tuple(remarks)


def _refuse_two_in_one_split(kinds: dict[str, list[str]], given: set[tuple[str, str]], where: str) -> None:
    for split in sorted({split for _, split in given}):
        found = [next((name for name in names if (name, split) in given), None) for names in kinds.values()]
        there = [repr(printable(name)) for name in found if name is not None]
        if len(there) > 1:
            raise UserError(
                f"{where}: {listed(there)} may be one class in {len(there)} spellings: give them one name if they "
                "are, or names that differ more if they are not."
            )


def _last(where: str) -> str:
    """The name of a folder or table, without the path that leads to it."""
    return printable(where.replace("\\", "/").rstrip("/").rpartition("/")[2])


def _repaired(where: str, name: str) -> Finding:
    return Finding("warning", statement("name_not_utf8", where=_last(where), name=printable(name)))


def _shown(name: str) -> str:
    """A name in quotes; in code points if it holds marks or spaces that cannot be told apart by eye."""
    text = printable(name)
    return repr(text) if text == _strictly(text) else ascii(text)


def _strictly(name: str) -> str:
    """The same for names that look the same: composed, without spaces around, doubled or of no width."""
    visible = re.sub("[\u200b\u200e\u200f\u2060\ufeff]", "", unicodedata.normalize("NFC", name))
    return " ".join(visible.split()) or name


def _loosely(name: str) -> str:
    """The same for names that may mean one thing."""
    text = unicodedata.normalize("NFKC", _strictly(name))
    text = text if len(text) == 1 else text.lower()
    text = re.sub(r"(?<=[^\W_])[ _\-\u2010-\u2015](?=[^\W_])", " ", text)
    text = re.sub(r"(?<![\d.,])0+(?=\d)", "", text)
    return re.sub(r"^(-?\d+)[.,]0+$", r"\1", text)
