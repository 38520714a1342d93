"""Which numbers of labelled images a set of images can give: each must leave every class images to train on.

A size fits if `vptlib.data.splits` (or `vptlib.data.conditions.long_tail`) can choose that many images and then set
validation images aside, for every seed.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vptlib.data.conditions import long_tail
from vptlib.data.splits import few_shot, split_validation
from vptlib.errors import UserError


@dataclass(frozen=True)
class Labelled:
    """The labels that sizes are chosen from.

    Attributes:
        labels: int64 `N`, of the training images.
        groups: an int64 for each of them, or None.
        seeds: of the study; a size must fit for each.
        imbalance: of the study's conditions; 1 for none.
    """

    labels: np.ndarray
    groups: np.ndarray | None
    seeds: tuple[int, ...]
    imbalance: float = 1.0

    @property
    def least(self) -> int:
        """Two images of each class."""
        return 2 * len(np.unique(self.labels))

    def check(self, n: int) -> None:
        """Choose `n` images and split them, for every seed.

        Raises:
            UserError: that is not possible; the message says why.
        """
        for seed in self.seeds:
            split_validation(self.labels, self._chosen(n, seed), groups=self.groups)

    def fits(self, n: int) -> bool:
        """Whether `n` images can be chosen and split."""
        try:
            self.check(n)
        except UserError:
            return False
        return True

    def largest(self) -> int | None:
        """The largest size that fits, or None if none does."""
        impossible_from = bisect_left(range(self.least, len(self.labels) + 1), True, key=self._is_too_large)
        n = self.least + impossible_from - 1
        return n if n >= self.least and self.fits(n) else None

    def nearest(self, wanted: Iterable[int]) -> list[int]:
        """The wanted sizes, those that are too small or too large replaced by the nearest that fits."""
        largest = self.largest()
        if largest is None:
            return []
        near = sorted({min(max(n, self.least), largest) for n in wanted})
        return [n for n in near if self.fits(n)] or [largest]

    def _is_too_large(self, n: int) -> bool:
        """Whether `n` images cannot be chosen. With equal classes, only the number of images sets a limit."""
        if self.imbalance == 1 and n <= len(self.labels):
            return False
        try:
            for seed in self.seeds:
                self._chosen(n, seed)
        except UserError:
            return True
        return False

    def _chosen(self, n: int, seed: int) -> np.ndarray:
        if self.imbalance > 1:
            return long_tail(self.labels, n, self.imbalance, seed)
        return few_shot(self.labels, n, seed)
