"""Whether one model is no worse than another on the same test images, by more than is allowed (non-inferiority).

Both are as they are: what is drawn are the test images, and every image is answered by both. Of I images the first
alone is right on b, the second alone on c, and the difference in accuracy is (b - c) / I. Tango's score statistic says
how far it is above a difference that is not allowed (Statistics in Medicine 17, 1998, section 3). With few images, or
few answers that differ, its normal limit is too hopeful: none of 270 images would show one point. So its probability is
worked out over all b and c, for the most harmful share of answers that differ (unconditional exact test; Hsueh, Liu &
Chen, Biometrics 57, 2001; Sidik, Statistics in Medicine 22, 2003).

Test images that come in groups (site, lot, patient) are drawn as whole groups. The counts are then those of fewer
images, rounded to the side of caution: as many as would be as uncertain without groups (Korn & Graubard, Survey
Methodology 24, 1998), and fewer by Student's t, because there are few groups.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.special import bdtrc, gammaln, xlog1py, xlogy
from scipy.stats import norm
from scipy.stats import t as student

from vptlib.errors import UserError
from vptlib.evidence.answers import Answers
from vptlib.evidence.limits import rounded_up
from vptlib.evidence.resampling import LEVEL

# Shares of images that only the second model gets right, at which the probability is worked out.
_SHARES = 120
# How near the bound is to the exact one.
_NEAR = 1e-5
# Counts that are further from their mean, in standard errors, are left out of a sum.
_ERRORS = 8
_MOST_IMAGES = 10_000_000


@dataclass(frozen=True)
class Compared:
    """Two models on the same test images.

    Attributes:
        allowed: by how much the first may be below the second, a fraction of accuracy.
        difference: accuracy of the first less that of the second.
        counts: images that only the first, that only the second gets right, and all of them; of images in groups,
            those of as many images without groups as would be as uncertain.
        images, groups: of the test; groups is 0 where images are drawn one by one.
        needed: about how many test images would show it if shares and groups stay as they are; None if none would.
    """

    allowed: float
    difference: float
    counts: tuple[int, int, int]
    images: int
    groups: int
    needed: int | None

    @cached_property
    def is_shown(self) -> bool:
        """Whether the first is shown to be no worse by more than is allowed."""
        return probability(*self.counts, self.allowed) <= 1 - LEVEL

    @cached_property
    def bound(self) -> float:
        """The lower one-sided 95 % bound of the difference."""
        found = _lower_bound(*self.counts)
        return max(found, -self.allowed) if self.is_shown else min(found, -self.allowed)  # apart by rounding at most


def compare(first: Answers, second: Answers, allowed: float) -> Compared:
    """Whether the first training of `first` is no worse than that of `second` by more than `allowed`.

    Args:
        first, second: answers to the same test images, in the same order.
        allowed: a fraction of accuracy, 0 or more and less than 1.

    Raises:
        UserError: the test images differ.
    """
    if not np.array_equal(first.truth, second.truth):
        raise UserError("the two models answered different test images: test both on the same images.")
    ahead = first.right[0].astype(int) - second.right[0]  # I: 1, 0 or -1
    groups = first.group_numbers
    groups = groups if groups is not None and groups.any() else None  # one group alone shows no spread
    share = 1.0 if groups is None else _effective_share(ahead, groups)
    return Compared(
        allowed=allowed,
        difference=float(ahead.mean()),
        counts=_counts(ahead, share),
        images=len(ahead),
        groups=0 if groups is None else int(groups.max()) + 1,
        needed=_needed(ahead, allowed, share),
    )


def probability(b: int, c: int, images: int, allowed: float) -> float:
    """The probability of counts that speak for the first model as much as these, or more, if it is worse by `allowed`.

    Args:
        b, c: images that only the first, and only the second model gets right.
        images: all of them.
        allowed: a fraction of accuracy.
    """
    return _probability(b, c, images, -float(allowed))


@lru_cache(maxsize=4096)
def _probability(b: int, c: int, images: int, difference: float) -> float:
    least = _least_first(_statistic(np.array(b), np.array(c), images, difference), images, difference)  # I+1
    lowest, highest = max(0.0, -difference), (1 - difference) / 2
    shares = lowest + (highest - lowest) * np.linspace(0, 1, _SHARES) ** 4  # most of them where few answers differ
    return max(_probability_at(float(share), least, images, difference) for share in shares)


def _probability_at(share: float, least: np.ndarray, images: int, difference: float) -> float:
    """The probability that b is `least` (for each c) or more, if only the second is right on this share of images."""
    reach = _ERRORS * math.sqrt(images * share * (1 - share)) + _ERRORS
    c = np.arange(max(0, math.floor(images * share - reach)), min(images, math.ceil(images * share + reach)) + 1)
    of_c = (
        gammaln(images + 1) - gammaln(c + 1) - gammaln(images - c + 1) + xlogy(c, share) + xlog1py(images - c, -share)
    )
    of_rest = min(1.0, max(0.0, (share + difference) / (1 - share))) if share < 1 else 0.0
    return float(np.exp(of_c) @ bdtrc(least[c] - 1, images - c, of_rest))  # binomial: of c, and that b is more


def _least_first(seen: np.ndarray, images: int, difference: float) -> np.ndarray:
    """For each c from 0 to I, the least b whose statistic is as high as the one seen; I - c + 1 if there is none."""
    c = np.arange(images + 1)
    low, high = np.full(images + 1, -1), images - c + 1
    while (high - low > 1).any():
        between = (low + high) // 2
        enough = _statistic(np.clip(between, 0, images - c), c, images, difference) >= seen - 1e-9
        open_ = high - low > 1
        low, high = np.where(open_ & ~enough, between, low), np.where(open_ & enough, between, high)
    return high


def _statistic(b: np.ndarray, c: np.ndarray, images: int, difference: float) -> np.ndarray:
    """Tango's score statistic: how many standard errors (b - c) / I is above `difference`."""
    second = -b - c + (2 * images - b + c) * difference
    third = -c * difference * (1 - difference)
    root = np.sqrt(np.maximum(second**2 - 8 * images * third, 0))
    only_second = np.maximum(
        (root - second) / (4 * images), max(0.0, -difference)
    )  # most likely share, if this is true
    variance = images * (2 * only_second + difference * (1 - difference))
    above = b - c - images * difference
    return np.where(variance > 1e-12, above / np.sqrt(np.maximum(variance, 1e-12)), np.sign(above) * 1e12)


def _lower_bound(b: int, c: int, images: int) -> float:
    """The difference from which downwards all are refused at 95 %."""
    refused, left = -1.0, (b - c) / images
    while left - refused > _NEAR:
        between = (refused + left) / 2
        if _probability(b, c, images, between) <= 1 - LEVEL:
            refused = between
        else:
            left = between
    return refused


# ---- groups -----------------------------------------------------------------------------------------------------


def _counts(ahead: np.ndarray, share: float) -> tuple[int, int, int]:
    """b, c and the number of images, of a share of them, rounded to the side of caution."""
    b, c = math.floor(share * (ahead > 0).sum() + 1e-9), math.ceil(share * (ahead < 0).sum() - 1e-9)
    return b, c, max(1, b + c, math.floor(share * len(ahead) + 1e-9))


def _effective_share(ahead: np.ndarray, groups: np.ndarray) -> float:
    """Images without groups that would be as uncertain, as a share of the images there are; 1 at most."""
    sizes, sums = np.bincount(groups), np.bincount(groups, ahead)
    count, off = len(sizes), sums - ahead.mean() * sizes
    alone = ahead.var() / len(ahead)
    of_groups = (off**2).sum() / len(ahead) ** 2 * count / (count - 1)
    seen = alone / of_groups if of_groups > 0 else 1.0
    alike = _correlation(ahead, groups)
    by_size = 1 / (1 + alike * ((sizes**2).sum() / sizes.sum() - 1))  # Kish, Survey Sampling, 1965, section 5.4
    few = (norm.ppf(LEVEL) / student.ppf(LEVEL, count - 1)) ** 2
    return float(min(1.0, seen, by_size) * few)


def _correlation(ahead: np.ndarray, groups: np.ndarray) -> float:
    """How alike two images of a group are in this, 0 to 1; 1 if no answer differs, because nothing is known then."""
    if not ahead.var():
        return 1.0
    off = ahead - ahead.mean()  # I
    sums, sizes = np.bincount(groups, off), np.bincount(groups)
    together = (sums**2).sum() - (off**2).sum()
    return float(np.clip(together / (sizes * (sizes - 1)).sum() / ahead.var(), 0.0, 1.0))


# ---- more images ------------------------------------------------------------------------------------------------


def _needed(ahead: np.ndarray, allowed: float, share: float) -> int | None:
    """About how many images would show it, two digits, rounded up: by the normal limit, and without any difference."""
    room = float(ahead.mean()) + allowed
    if room <= 0 or allowed <= 0:
        return None
    by_spread = norm.ppf(LEVEL) ** 2 * ahead.var() / room**2
    at_least = math.log(1 - LEVEL) / math.log1p(-allowed)
    needed = max(math.ceil(max(by_spread, at_least) / share), len(ahead) + 1)
    return rounded_up(needed) if needed <= _MOST_IMAGES else None
