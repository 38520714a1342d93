"""What a reader gives: images that are not decoded yet, with labels and splits, and what has to be said of them."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vptlib.data.files import Images, LazyImages
from vptlib.data.splits import fixed_test, folds_of_groups
from vptlib.errors import UserError
from vptlib.statement import Statement

# How others call a split, in lower case, and whether its images train or test.
SPLIT_NAMES = {"train": "train", "training": "train", "val": "train", "valid": "train", "validation": "train"}
SPLIT_NAMES |= {"dev": "train", "test": "test", "testing": "test"}


@dataclass(frozen=True)
class Finding:
    """One thing found in the images, as code and numbers; `vptlib.report.words` has its sentence.

    Attributes:
        level: "error" (a study cannot go on), "warning" (its results may mislead) or "note".
        what: the finding.
    """

    level: str
    what: Statement


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


def listed(images: Images, labels: list, splits: list, names: tuple[str, ...], source: str) -> Listing:
    """A listing of images that a library gives, without groups; `splits` may all be "train"."""
    numbers = np.array(labels, dtype=np.int64)
    given = np.array(splits, dtype=object)
    return Listing(images, numbers, given if "test" in splits else with_split(numbers, None), names, None, source)


def check_image(where: str, place: Path, folder: Path) -> None:
    """Raise unless the image that a list names is there, and in the folder of the list."""
    if not Path(os.path.normpath(place)).is_relative_to(os.path.normpath(folder)):
        raise UserError(f"{where}: {place} is outside {folder}: put the list into a folder above all its images.")
    if not place.is_file():
        raise UserError(f"{where}: there is no image at {place}: correct the path, or fetch the image.")
