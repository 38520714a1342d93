"""How similar two maps of an image are, on one scale: 0 for maps of different images, 1 for the same map.

    likeness       rank correlation of two maps of each image
    agreement      its mean for each two kinds of map
    Scale          the same with chance taken out: 0 is the null, 1 is equality

Two maps that have nothing to do with each other can still be similar. Both may be smooth, and both may be brightest in
the middle. Maps of *different images* by the same model share all this, and nothing of the image. So their similarity
is the null. The scale takes it out as Cohen's kappa takes out agreement by chance (Educational and Psychological
Measurement 1960): `(similarity - null) / (1 - null)`. From `SAME` on, a map is nearer to the same map than to a map of
another image. All questions of one kind of map use this one limit, so one value cannot have two verdicts.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch.nn import functional as F

SAME = 0.5  # halfway from a map of another image to the same map
_FLAT = 1e-6
_TOO_ALIKE = 0.95  # maps of different images that are so similar leave no scale


def pooled(maps: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Mean of maps `B H W` in each patch, `B N`."""
    return F.adaptive_avg_pool2d(torch.tensor(np.array(maps))[:, None], grid).flatten(1).numpy()


def likeness(a: np.ndarray, b: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Rank correlation (Spearman) over patches of two maps of an image, `B`; nan where one has no differences."""
    return (_directions(a, grid) * _directions(b, grid)).sum(axis=1)


def _directions(maps: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Ranks over patches of each map as a vector of length 1, `B N`; the product of two is their correlation."""
    values = pooled(maps, grid)
    ranks = rankdata(values.round(6), axis=1)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    ranks[np.ptp(values, axis=1) <= _FLAT] = np.nan
    lengths = np.linalg.norm(ranks, axis=1, keepdims=True)
    return ranks / np.where(lengths > 0, lengths, np.nan)


def agreement(maps: dict[str, np.ndarray], grid: tuple[int, int]) -> pd.DataFrame:
    """Mean similarity (`likeness`) of each pair of maps of the same images: a square table, 1 on its diagonal.

    Args:
        maps: name (of a method, or of a seed) → `B H W`.
        grid: rows and columns of patches.
    """
    names = list(maps)
    table = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for i, one in enumerate(names):
        for other in names[:i]:
            table.loc[one, other] = table.loc[other, one] = mean(likeness(maps[one], maps[other], grid))
    return table


def mean(values: np.ndarray) -> float:
    """The mean of the values that are not nan; nan if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


@dataclass(frozen=True)
class Scale:
    """What similarity means for one kind of map under one model; made by `scale_of`.

    Attributes:
        null: mean similarity of the maps of two different images; nan with fewer than 3 maps to compare.
        by_image: `B`, what each image adds to the null: its jackknife pseudo-value, nan for a map without differences.
    """

    null: float
    by_image: np.ndarray

    @property
    def usable(self) -> bool:
        """Whether the map differs from image to image, so that there is a distance to measure."""
        return self.null < _TOO_ALIKE

    def place(self, alike: np.ndarray) -> np.ndarray:
        """Where similarities lie on the scale. The mean of the values is the place; their spread holds the null's, too.

        Args:
            alike: `likeness` to the maps of the first images (or all), `B` or `D B`.
        """
        by_image = self.by_image[: alike.shape[-1]]
        of_all = mean(alike)
        found = (of_all - self.null) / (1 - self.null)
        from_null = (1 - found) * (by_image - mean(by_image))  # how the place follows the null, to first order
        values = (alike - of_all - from_null) / (1 - self.null)
        return values - mean(values) + found


def scale_of(maps: np.ndarray, grid: tuple[int, int]) -> Scale:
    """The scale of one kind of map, from its maps `B H W` of different images."""
    directions = _directions(maps, grid)  # B N
    known = ~np.isnan(directions).any(axis=1)
    count, by_image = int(known.sum()), np.full(len(maps), np.nan)
    if count < 3:
        return Scale(np.nan, by_image)
    table = directions[known] @ directions[known].T  # K K
    np.fill_diagonal(table, 0)
    null = table.sum() / (count * (count - 1))
    without = (table.sum() - 2 * table.sum(axis=1)) / ((count - 1) * (count - 2))  # K: the null without each image
    by_image[known] = count * null - (count - 1) * without
    return Scale(float(null), by_image)
