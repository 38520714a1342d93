"""The answers of one method's trainings to the same test images, and rates with intervals that are counted from them.

A rate is a share of cases: of the images of a class that were recognised (recall), of those called so that are of it
(precision), of the images that a model answers by itself. S trainings (seeds) answer the same I test images, so a rate
is a ratio of sums over `S I`, and three things make it uncertain:

test images  the variance of the linearised ratio over the images; over whole groups (site, lot, patient) where the
             groups of the test images are given (Cochran, Sampling Techniques, 1977, sections 6.3 and 11.8).
trainings    their spread beyond what the test images explain, as in `vptlib.evidence.curves`.
few of both  Student's t with Satterthwaite's degrees of freedom.

They are put together as an effective number of images, at which a binomial rate would be as uncertain. It is never
more than there are images. Wilson's interval for that number is the interval (Korn & Graubard, Survey Methodology 24,
1998; Dean & Pagano, American Statistician 69, 2015). With one training and without groups that is Wilson's interval as
it is, and the luck of training is not in it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.stats import beta, norm
from scipy.stats import t as student

from vptlib.errors import UserError
from vptlib.evidence.curves import methods_of
from vptlib.evidence.resampling import LEVEL


@dataclass(frozen=True)
class Rate:
    """A share of cases with its interval.

    Attributes:
        value: the share, a fraction; NaN if there is no case.
        low, high: ends of the interval, at the level asked for; 0 and 1 if there is no case.
        cases: cases in one training, on average.
        images: test images that are a case in any training.
        effective: images without groups, and one training, that would be as uncertain; `cases` at most.
        image_variance, seed_variance: the two parts of the variance of `value`.
        trainings: how many.
    """

    value: float
    low: float
    high: float
    cases: float
    images: int
    effective: float
    image_variance: float
    seed_variance: float
    trainings: int

    def bounds(self, level: float = LEVEL) -> tuple[float, float]:
        """One-sided bounds, each of which holds at `level` alone: the wider of two.

        - Clopper and Pearson's exact bound at the effective number of images: of the mean of trainings.
        - With several trainings, that of one further training, as the spread of these predicts it.
        """
        if not self.cases:
            return 0.0, 1.0
        low, high = exact_bounds(self.value, self.effective, level)
        reach = self.reach_of_one(self.image_variance, level)
        return max(0.0, min(low, self.value - reach)), min(1.0, max(high, self.value + reach))

    def reach_of_one(self, image_variance: float, level: float = LEVEL) -> float:
        """How far, one-sided, the rate of one further training may lie from the mean; 0 with one training.

        Args:
            image_variance: the part of test images; another one answers what more of them would do.
        """
        if self.trainings == 1:
            return 0.0
        of_one = (self.trainings + 1) * self.seed_variance
        variance = image_variance + of_one
        if not variance:
            return 0.0
        freedom = _freedom((image_variance, max(1, self.images - 1)), (of_one, self.trainings - 1))
        return float(student.ppf(level, freedom) * math.sqrt(variance))


NO_CASE = Rate(math.nan, 0.0, 1.0, 0.0, 0, 0.0, 0.0, 0.0, 1)


def exact_bounds(value: float, images: float, level: float = LEVEL) -> tuple[float, float]:
    """One-sided bounds of a share seen in so many images (Clopper & Pearson, Biometrika 26, 1934)."""
    hits = value * images
    low = float(beta.ppf(1 - level, hits, images - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(level, hits + 1, images - hits)) if hits < images else 1.0
    return low, high


@dataclass(frozen=True)
class Answers:
    """What the S trainings of one method answered to I test images of C classes.

    Attributes:
        predictions: int `S I`.
        truth: int `I`.
        class_names: C names.
        probabilities: float `S I C`; NaN for a training whose probabilities are not stored or are no numbers. None if
            all are missing.
        groups: int `I`, or None: site, lot or patient of each test image.
        seeds: of the S trainings.
        group_names: of the groups in the order of their numbers, as far as they have names.

    Raises:
        UserError: the parts do not fit each other.
    """

    predictions: np.ndarray
    truth: np.ndarray
    class_names: tuple[str, ...]
    probabilities: np.ndarray | None = field(default=None, repr=False)
    groups: np.ndarray | None = None
    seeds: tuple[int, ...] = ()
    group_names: tuple[str, ...] = ()

    def __post_init__(self):
        shape, classes = self.predictions.shape, len(self.class_names)
        if len(shape) != 2 or shape[1] != len(self.truth) or not self.predictions.size:
            raise UserError(f"predictions are {shape}, but must be trainings × {len(self.truth)} test images.")
        if self.probabilities is not None and self.probabilities.shape != (*shape, classes):
            raise UserError(f"probabilities are {self.probabilities.shape}, but must be {(*shape, classes)}.")
        if self.groups is not None and len(self.groups) != shape[1]:
            raise UserError(f"groups has {len(self.groups)} entries, but there are {shape[1]} test images.")
        for name, labels in (("truth", self.truth), ("predictions", self.predictions)):
            if labels.min() < 0 or labels.max() >= classes:
                raise UserError(f"{name} has classes from {labels.min()} to {labels.max()}, but {classes} have a name.")

    @property
    def trainings(self) -> int:
        return len(self.predictions)

    @property
    def images(self) -> int:
        return len(self.truth)

    @cached_property
    def right(self) -> np.ndarray:
        """Whether each answer is right, bool `S I`."""
        return self.predictions == self.truth

    @cached_property
    def sure(self) -> "Answers | None":
        """The answers of those trainings that have probabilities; None if none has."""
        if self.probabilities is None:
            return None
        whole = np.array([bool(np.isfinite(part).all()) for part in self.probabilities])
        if whole.all():
            return self
        if not whole.any():
            return None
        seeds = tuple(seed for seed, good in zip(self.seeds, whole, strict=True) if good) if self.seeds else ()
        predictions, probabilities = self.predictions[whole], self.probabilities[whole]
        return replace(self, predictions=predictions, probabilities=probabilities, seeds=seeds)

    @property
    def given_probabilities(self) -> np.ndarray:
        """`S I C`.

        Raises:
            UserError: there are no probabilities.
        """
        if self.probabilities is None:
            raise UserError("these answers have no probabilities: run the study again with this version.")
        return self.probabilities

    @cached_property
    def confidence(self) -> np.ndarray:
        """The probability of the predicted class, `S I`.

        Raises:
            UserError: there are no probabilities.
        """
        return np.take_along_axis(self.given_probabilities, self.predictions[..., None], axis=2)[..., 0]

    @cached_property
    def group_numbers(self) -> np.ndarray | None:
        """Groups numbered 0, 1, …, `I`; None without groups, or where each image is a group."""
        if self.groups is None:
            return None
        names, numbers = np.unique(self.groups, return_inverse=True)
        return numbers if len(names) < self.images else None

    @cached_property
    def correlation_in_groups(self) -> float:
        """How alike the mistakes in two images of a group are: from 0, as in any two, to 1, always the same.

        It is 1 if all answers are right (or wrong), because then nothing is known of it.
        """
        groups, mean = self.group_numbers, self.right.mean()
        if groups is None:
            return 0.0
        if mean in (0.0, 1.0):
            return 1.0
        off = self.right.mean(axis=0) - mean  # I
        sums, sizes = np.bincount(groups, off), np.bincount(groups)
        together = (sums**2).sum() - (off**2).sum()
        return float(np.clip(together / (sizes * (sizes - 1)).sum() / (mean * (1 - mean)), 0.0, 1.0))

    def rate(self, hits: np.ndarray, cases: np.ndarray, level: float = LEVEL) -> Rate:
        """The share of cases that are hits, with its interval.

        Args:
            hits: bool `S I` or `I`; only those that are cases count.
            cases: bool `S I` or `I`.
            level: of the interval.
        """
        cases = np.broadcast_to(cases, self.predictions.shape)
        some = cases.any(axis=0)
        hits = np.broadcast_to(hits, self.predictions.shape)[:, some] & (cases := cases[:, some])  # S M
        groups = None if self.group_numbers is None else self.group_numbers[some]
        return _rate(hits.astype(float), cases.astype(float), groups, self.correlation_in_groups, level)


def _rate(hits: np.ndarray, cases: np.ndarray, groups: np.ndarray | None, correlation: float, level: float) -> Rate:
    """`Answers.rate` for the M images that are a case in any of S trainings, `S M`."""
    trainings, images = cases.shape
    if not cases.size:
        return NO_CASE
    count = cases.sum() / trainings
    value = float(hits.sum() / cases.sum())
    shares = (hits - value * cases) / count  # S M: how much each answer moves its training's rate
    image_variance, freedom = _variance(shares.mean(axis=0), groups)
    seed_variance = _own_variance(shares)
    effective = _effective(value, image_variance + seed_variance, count / _design_effect(groups, correlation))
    if trainings == 1 and groups is None:
        effective = float(count)
    else:
        both = _freedom((image_variance, freedom), (seed_variance, trainings - 1))
        effective *= float((norm.ppf((1 + level) / 2) / student.ppf((1 + level) / 2, both)) ** 2)
    low, high = wilson(value, effective, level)
    return Rate(value, low, high, float(count), images, effective, image_variance, seed_variance, trainings)


def _variance(shares: np.ndarray, groups: np.ndarray | None) -> tuple[float, int]:
    """Of a sum of shares `M`, images or whole groups of them being drawn; and its degrees of freedom."""
    if groups is not None:
        sums = np.bincount(groups, shares)
        shares = sums[np.bincount(groups) > 0]
    units = len(shares)
    return float((shares**2).sum() * units / max(1, units - 1)), max(1, units - 1)


def _own_variance(shares: np.ndarray) -> float:
    """Of the mean of S trainings, the part of their spread that the test images do not explain; from `S M`."""
    trainings, images = shares.shape
    if trainings == 1:
        return 0.0
    seen = shares.sum(axis=1).var(ddof=1)
    from_images = ((shares - shares.mean(axis=0)) ** 2).sum() / (trainings - 1) * images / max(1, images - 1)
    return max(0.0, float(seen - from_images)) / trainings


def _design_effect(groups: np.ndarray | None, correlation: float) -> float:
    """By how much groups multiply a variance (Kish, Survey Sampling, 1965, section 5.4)."""
    if groups is None:
        return 1.0
    sizes = np.bincount(groups)
    return 1 + correlation * ((sizes**2).sum() / sizes.sum() - 1)


def _effective(value: float, variance: float, most: float) -> float:
    """The number of images at which a binomial share would have that variance; `most` at most."""
    return min(most, max(1.0, value * (1 - value) / variance)) if variance > 0 else most


def _freedom(*parts: tuple[float, int]) -> float:
    """Satterthwaite's degrees of freedom of a sum of variances, each with its own (Biometrics Bulletin 2, 1946)."""
    parts = tuple(part for part in parts if part[0] > 0)
    if not parts:
        return 1e6
    return sum(variance for variance, _ in parts) ** 2 / sum(variance**2 / freedom for variance, freedom in parts)


def wilson(value: float, images: float, level: float = LEVEL) -> tuple[float, float]:
    """Ends of Wilson's interval of a share seen in so many images (J. American Statistical Association 22, 1927)."""
    z = norm.ppf((1 + level) / 2)
    middle, whole = value + z**2 / (2 * images), 1 + z**2 / images
    reach = z * math.sqrt(value * (1 - value) / images + (z / (2 * images)) ** 2)
    return max(0.0, float((middle - reach) / whole)), min(1.0, float((middle + reach) / whole))


# ---- from a table of runs ---------------------------------------------------------------------------------------


def best_method(runs: pd.DataFrame) -> str:
    """The method of the highest mean accuracy at the largest size of the table."""
    methods_of(runs)  # checks the table
    largest = runs[runs["n"] == runs["n"].max()]
    return str(largest.groupby("method", sort=False)["accuracy"].mean().idxmax())


def answers_of(
    runs: pd.DataFrame,
    method: str,
    class_names: Sequence[str],
    truth: np.ndarray | None = None,
    probabilities: Callable[[str, int, int], np.ndarray | None] | None = None,
    group_names: Sequence[str] = (),
) -> Answers:
    """The answers of one method at its largest size in a table of runs.

    Args:
        runs: from `vptlib.study.study.Study.runs`, with `predictions`.
        truth: int `I`, where the table has no column of it.
        probabilities: gives those of a run, `I C` or None, from method, seed and n.
        group_names: of the groups in the order of their numbers, as far as they have names.

    Raises:
        UserError: the table lacks the method, or its predictions, or the truth is not known.
    """
    own = runs[runs["method"] == method]
    if own.empty:
        raise UserError(f"the table of runs has no finished run of {method!r}: name a method of the table.")
    if "predictions" not in own:
        raise UserError("the table of runs has no column 'predictions': take the table that Study.runs() gives.")
    own = own[own["n"] == own["n"].max()].sort_values("seed")
    right = own["truth"].iloc[0] if truth is None and "truth" in own else truth
    if right is None:
        raise UserError("the table of runs has no column 'truth': give the right classes as `truth`.")
    groups = own["test_groups"].iloc[0] if "test_groups" in own else None
    seeds = tuple(int(seed) for seed in own["seed"])
    n = int(own["n"].iloc[0])
    given = [probabilities(method, seed, n) if probabilities else None for seed in seeds]
    return Answers(
        np.stack([np.asarray(found, dtype=np.int64) for found in own["predictions"]]),
        np.asarray(right, dtype=np.int64),
        tuple(class_names),
        _stacked(given, len(right), len(class_names)),
        None if groups is None else np.asarray(groups),
        seeds,
        tuple(group_names),
    )


def _stacked(given: list[np.ndarray | None], images: int, classes: int) -> np.ndarray | None:
    """`S I C`, NaN where a training has none; None if no training has any."""
    if all(part is None for part in given):
        return None
    missing = np.full((images, classes), np.nan, dtype=np.float32)
    return np.stack([missing if part is None else part for part in given])
