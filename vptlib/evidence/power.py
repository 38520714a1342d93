"""What a study could settle: the smallest difference that it tells from none, and what would make that smaller.

The 95 % interval of a difference has a normal part (test images) and a part of Student's t (seeds), as in
`vptlib.evidence.resampling`. How wide it will be is not certain before the runs, because it is made from the spread of
few seeds: power is averaged over that. On planted tables, differences of the size given here were told apart in 66 to
91 % of the studies where 80 % were asked for, less often where seeds do not differ at all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import chi2, multivariate_normal, norm, t

from vptlib.errors import UserError
from vptlib.evidence.resampling import LEVEL, differences

_MOST_SEEDS = 1000
_MOST_IMAGES = 10_000_000
# Points of a distribution that is added up, and studies with other spreads of their seeds that power is averaged over.
_POINTS, _STUDIES = 500, 31
# Of the variance of a difference on one image, the part that all seeds have in common, relative to that of each seed:
# as in the runs that the lessons store.
_LASTING = 0.1


def smallest_difference(runs: pd.DataFrame, a: str, b: str, probability: float = 0.8) -> float:
    """The true difference of `a` and `b` that a study like this one tells from none, a fraction.

    A study like this has its largest common size, its seeds and its test images. It tells the difference apart if its
    95 % interval excludes 0.

    Args:
        runs, a, b: as for `differences`.
        probability: with which it shall do so.

    Raises:
        UserError: as `differences`, or the probability is not between 0.05 and 1.
    """
    if not 1 - LEVEL < probability < 1:
        raise UserError(f"probability is {probability}, but must lie between 0.05 and 1: 0.8 is usual.")
    return _Error.of(runs, a, b).told_apart(probability)


def images_needed(runs: pd.DataFrame, a: str, b: str, margin: float) -> int | None:
    """Test images with which the 95 % interval of the difference would reach no further than the margin to each side.

    Args:
        runs, a, b: as for `differences`, at their largest common size. The seeds stay as they are. Further images come
            from further groups, as many from each as now.
        margin: a fraction of accuracy.

    Returns:
        Their number; it is not above the present one if those suffice. None if test images alone cannot do it.

    Raises:
        UserError: as `differences`, or the margin is not above 0.
    """
    _check_margin(margin)
    return _Error.of(runs, a, b).images_for(margin)


def seeds_needed(runs: pd.DataFrame, a: str, b: str, margin: float) -> int | None:
    """As `images_needed`, but seeds, with the test images as they are. None if 1,000 seeds cannot do it."""
    _check_margin(margin)
    return _Error.of(runs, a, b).seeds_for(margin)


def power_before(
    images: int,
    seeds: int,
    accuracy: float = 0.8,
    shared: float = 0.7,
    seed_spread: float = 0.02,
    probability: float = 0.8,
) -> float:
    """The true difference of two methods that a study would tell from none, before any run: a fraction.

    Args:
        images, seeds: of the study. With one seed only the choice of test images counts.
        accuracy: that is expected of both methods, a fraction.
        shared: share of what decides whether an image is got right that the image brings with it. From 0.7 follow
            differences on 18 % of the images at an accuracy of 0.8, much as in the runs that the lessons store.
        seed_spread: standard deviation of the accuracy of one method over seeds, a fraction.
        probability: with which it shall do so.

    Raises:
        UserError: a number out of its range.
    """
    for name, value in (("accuracy", accuracy), ("shared", shared), ("probability", probability)):
        if not 0 < value < 1:
            raise UserError(f"{name} is {value}, but must lie between 0 and 1.")
    if images < 2 or seeds < 1 or seed_spread < 0:
        raise UserError("a study needs two or more test images and one or more seeds, and no spread is below 0.")
    both_right = multivariate_normal(cov=[[1, shared], [shared, 1]]).cdf(np.full(2, norm.ppf(accuracy)))
    differ = 2 * (accuracy - float(both_right))  # the share of images that two trainings decide differently
    of_seed = 2 * seed_spread**2 if seeds > 1 else 0.0
    return _Error(_LASTING * differ, differ, of_seed, 0.0, images, seeds, None).told_apart(probability)


def uncertainty_left(runs: pd.DataFrame, a: str, b: str, seeds: int | None = None, images: int | None = None) -> float:
    """The squared uncertainty of the difference in a larger study, as a share of what it is now.

    Args:
        runs, a, b: as for `differences`, at their largest common size.
        seeds, images: of the larger study; None leaves them as they are.

    Raises:
        UserError: as `differences`.
    """
    error = _Error.of(runs, a, b)
    now = sum(error.parts(error.images, error.seeds))
    later = sum(error.parts(images or error.images, seeds or error.seeds))
    return min(1.0, later / now) if now > 0 else 1.0


def _check_margin(margin: float) -> None:
    if not margin > 0:
        raise UserError(f"margin is {margin}, but must be above 0: 0.01 is one percentage point.")


@dataclass(frozen=True)
class _Error:
    """The parts of the squared uncertainty of a difference between two methods.

    Attributes:
        shared: of one test image, which all seeds have in common.
        each: of one test image, which each seed has for itself.
        seed: of one seed.
        pool: of the pool of training images.
        images, seeds: as they are now.
        groups: number of test groups, or None.
    """

    shared: float
    each: float
    seed: float
    pool: float
    images: int
    seeds: int
    groups: int | None

    @classmethod
    def of(cls, runs: pd.DataFrame, a: str, b: str) -> "_Error":
        """Of the largest size that both have."""
        found = differences(runs, a, b)
        seeds, images = int(found.seeds[-1]), found.images
        of_images = float(found.image_variance[-1])
        each = min(float(found.each_variance[-1]), of_images * seeds)
        shared = (of_images - each / seeds) * images
        seed, pool = float(found.seed_variance[-1]) * seeds, float(found.pool_variance[-1])
        return cls(shared, each * images, seed, pool, images, seeds, found.groups)

    def told_apart(self, probability: float) -> float:
        """The difference whose interval excludes 0 with this probability.

        The width of the interval varies as the spread of the seeds that it is made from does.
        """
        of_images, of_seeds = self.parts(self.images, self.seeds)
        share = (np.arange(_STUDIES) + 0.5) / _STUDIES
        seen = chi2.ppf(share, self.seeds - 1) / (self.seeds - 1) * of_seeds if self.seeds > 1 else 0.0 * share
        halves = np.array([_half_width(of_images, float(one), self.seeds) for one in seen])
        spread = np.sqrt(of_images + of_seeds) or 1e-12
        return _root_of(lambda gap: float(norm.cdf((gap - halves) / spread).mean()) - probability)

    def images_for(self, margin: float) -> int | None:
        """The fewest test images with which half the interval is within the margin."""
        if self._half(_MOST_IMAGES, self.seeds) > margin:
            return None
        return _least(lambda images: self._half(images, self.seeds) <= margin, 2)

    def seeds_for(self, margin: float) -> int | None:
        """The fewest seeds with which half the interval is within the margin."""
        if self._half(self.images, _MOST_SEEDS) > margin:
            return None
        return _least(lambda seeds: self._half(self.images, seeds) <= margin, 2)

    def _half(self, images: float, seeds: int) -> float:
        return _half_width(*self.parts(images, seeds), seeds)

    def parts(self, images: float, seeds: int) -> tuple[float, float]:
        """The squared uncertainty due to test images and to trainings."""
        few = 1.0
        if self.groups:
            freedom = max(1.0, self.groups * images / self.images - 1)
            few = t.ppf((1 + LEVEL) / 2, freedom) / norm.ppf((1 + LEVEL) / 2)
        return few**2 * (self.shared + self.each / seeds) / images, self.seed / seeds + self.pool


def _half_width(of_images: float, of_seeds: float, seeds: int) -> float:
    """Half the 95 % interval of a normal error with one variance and one of Student's t with the other, added up."""
    if seeds == 1 or of_seeds == 0:
        return float(norm.ppf((1 + LEVEL) / 2) * np.sqrt(of_images))
    scaled = np.sqrt(of_seeds) * t.ppf((np.arange(_POINTS) + 0.5) / _POINTS, seeds - 1)
    if of_images == 0:
        return float(np.quantile(scaled, (1 + LEVEL) / 2))
    below = lambda half: float(norm.cdf((half - scaled) / np.sqrt(of_images)).mean())  # noqa: E731
    return _root_of(lambda half: below(half) - (1 + LEVEL) / 2)


def _root_of(rising: Callable[[float], float]) -> float:
    """Where a rising function is 0, from 0 to 1: no two accuracies differ by more."""
    return 1.0 if rising(1.0) <= 0 else float(brentq(rising, 0.0, 1.0, xtol=1e-6)) if rising(0.0) < 0 else 0.0


def _least(fits: Callable[[int], bool], start: int) -> int:
    """The least whole number from `start` on that fits; all above it fit too."""
    if fits(start):
        return start
    low, high = start, 2 * start
    while not fits(high):
        low, high = high, 2 * high
    while low + 1 < high:
        half = (low + high) // 2
        low, high = (low, half) if fits(half) else (half, high)
    return high
