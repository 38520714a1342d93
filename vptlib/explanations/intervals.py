"""How sure a mean over a few images is, and how many images would make it sure.

With few images a bootstrap interval is too narrow, so these intervals are Student's. Values may be a table of draws and
images, such as the maps of several random models. Another model would give another mean, and so would other images.
The variance then has a part of each (two-way clusters: Cameron, Gelbach and Miller, Journal of Business & Economic
Statistics 2011, section 2).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

FEWEST = 5  # images with a value that any verdict needs
POWER = 0.8  # the chance to settle a question with the images that `images_needed` gives
_CONFIDENCE = 0.95
_MOST_NEEDED = 10_000


def interval(values: np.ndarray, ends: float | None = None) -> tuple[float, float, float]:
    """Mean of values and its 95 % interval; values that are nan are left out.

    Args:
        values: `B`, one for each image, or `D B`, of several draws for the same images.
        ends: for values `B` that are mostly -1, 0 or 1, give 1. A value at each end is added for the interval, because
            few images may all have the same value (after Agresti and Min, Statistics in Medicine 2005).

    Returns:
        mean, low and high; all nan without a value, low and high nan with a single image.
    """
    found = _spread(values)
    if found.images < 2:
        return found.mean, np.nan, np.nan
    around = found if ends is None else _spread(np.append(values, [-ends, ends]))
    reach = float(t.ppf((1 + _CONFIDENCE) / 2, around.freedom)) * around.error
    return found.mean, around.mean - reach, around.mean + reach


def images_needed(values: np.ndarray, limit: float = 0.0) -> int | None:
    """How many images would tell the mean from `limit` with a chance of `POWER`, if mean and spread are those seen.

    It is a rough figure, because mean and spread come from the same few images.

    Args:
        values: as for `interval`.
        limit: what the mean is compared with.

    Returns:
        None if more images would hardly settle it: more than 10,000 are needed, or the draws differ too much.
    """
    found = _spread(values)
    if found.images < 2:
        return None
    wanted = float(norm.ppf((1 + _CONFIDENCE) / 2) + norm.ppf(POWER))
    left = ((found.mean - limit) / wanted) ** 2 - max(found.of_draws - found.of_cells, 0)
    per_image = found.of_images * found.images
    if left <= 0 or per_image / left > _MOST_NEEDED:
        return None
    return max(FEWEST, int(np.ceil(per_image / left)) + 2)  # 2 more, because the spread is estimated, too


@dataclass(frozen=True)
class _Spread:
    """Parts of the variance of a mean over draws and images."""

    mean: float
    images: int
    draws: int
    of_images: float
    of_draws: float
    of_cells: float

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        together = self.of_images + self.of_draws - self.of_cells  # each cell is in both parts
        return float(np.sqrt(max(together, self.of_images, self.of_draws)))

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the two parts together (Satterthwaite, Biometrics Bulletin 1946)."""
        if self.draws < 2 or not self.of_draws:
            return self.images - 1
        parts = self.of_images**2 / (self.images - 1) + self.of_draws**2 / (self.draws - 1)
        return (self.of_images + self.of_draws) ** 2 / parts


def _spread(values: np.ndarray) -> _Spread:
    table = np.atleast_2d(values)  # D B
    known = ~np.isnan(table)
    count, images, draws = int(known.sum()), int(known.any(axis=0).sum()), int(known.any(axis=1).sum())
    if not count:
        return _Spread(np.nan, 0, 0, 0.0, 0.0, 0.0)
    mean = float(table[known].mean())
    rest = np.where(known, table - mean, 0)  # D B
    return _Spread(
        mean,
        images,
        draws,
        _of_clusters(rest.sum(axis=0), images, count),
        _of_clusters(rest.sum(axis=1), draws, count),
        float((rest**2).sum()) / count**2,
    )


def _of_clusters(sums: np.ndarray, clusters: int, count: int) -> float:
    """Variance of a mean of `count` values that is due to its clusters, from the sum of each; 0 with one cluster."""
    return float((sums**2).sum()) / count**2 * clusters / (clusters - 1) if clusters > 1 else 0.0
