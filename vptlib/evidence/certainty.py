"""Whether a model's probabilities can be trusted, and what may be decided by them.

calibration   Of answers given with 80 % probability, are 80 % right?
selective     The model answers by itself where it is sure enough; the rest goes to a person.
operating     A class, or several, count as the defect. How many defects are missed, and how many good parts are
              stopped, depends on the probability from which on a part is stopped.

A threshold that was chosen on the same images that test it looks better than it is. So thresholds are cross-fitted: the
test images are divided into `FOLDS` parts, groups kept whole, and the threshold for each part is chosen on the others.
All figures of a threshold are those of images that did not choose it. Validation images would be too few.

A threshold is chosen as in conformal prediction: one more case is imagined that goes wrong (Angelopoulos & Bates,
Foundations and Trends in Machine Learning 16, 2023, section 1). So few cases give no threshold, not a hopeful one.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import t as student

from vptlib.errors import UserError
from vptlib.evidence.answers import Answers, Rate
from vptlib.evidence.resampling import LEVEL, drawn_counts, middle
from vptlib.statement import Statement, statement

FOLDS = 5
REPLICATES, OF_CURVES = 400, 200
MOST_BINS, LEAST_IN_BIN = 10, 10
_RANDOM_SEED = 2001
# Of the calibration error's interval: at 95 %, the bootstrap's basic interval would hold the truth in 90 % of tests.
_LEVEL_OF_ERROR = 0.99
# Shares of all images (or of the good ones) at which the curves are drawn.
_SHARES = np.linspace(0.0, 1.0, 101)


# ---- calibration ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Calibration:
    """How well the probability of the predicted class fits how often it is right.

    Attributes:
        bins: columns confidence (mean), accuracy, low, high (its 95 % interval), answers; bins of about equal size.
        error: expected calibration error, a fraction, without what chance adds to it; `low` and `high` its interval.
        seen: the same error as it is counted, and `by_chance` what a perfectly calibrated model stays below in 95 % of
            such tests.
        gap: mean confidence less accuracy: above 0 the model is too sure of itself.
        trainings: how many of the trainings have probabilities.
    """

    bins: pd.DataFrame = field(repr=False)
    error: float
    low: float
    high: float
    seen: float
    by_chance: float
    gap: float
    trainings: int

    def finding(self) -> Statement:
        """Whether the model is calibrated, too sure or not sure enough."""
        values = {"error": self.error, "low": self.low, "high": self.high, "gap": self.gap}
        if self.seen <= self.by_chance:
            return statement("calibrated", by_chance=self.by_chance, seen=self.seen)
        return statement("not_calibrated", **values)


def calibration(answers: Answers) -> Calibration | None:
    """Calibration of the predicted class; None without probabilities.

    The error is that of Guo et al. (ICML 2017, section 2) with bins of equal size, averaged over trainings. Chance
    alone makes it positive. So the bootstrap's own excess is taken off, and the interval is the bootstrap's basic one.
    What chance gives a calibrated model is by consistency resampling (Bröcker & Smith, Weather and Forecasting 22,
    2007).
    """
    if (sure := answers.sure) is None:
        return None
    confidence, right = sure.confidence, sure.right  # S I
    number, bins = _bins(confidence)
    weights = _weights(sure)
    errors = np.array([_errors(*one, bins, weights) for one in zip(confidence, right, number, strict=True)])
    again = errors.mean(axis=0)  # B
    seen = float(np.mean([_error(*one, bins) for one in zip(confidence, right, number, strict=True)]))
    chance = np.mean([_errors_if_calibrated(*one) for one in zip(confidence, number, strict=True)], axis=0)  # B
    by_chance = float(np.quantile(chance, LEVEL))
    low, high = middle(again, _LEVEL_OF_ERROR)
    return Calibration(
        _bins_table(sure, confidence, number, bins),
        error=max(0.0, 2 * seen - float(again.mean())),
        low=max(0.0, 2 * seen - float(high)) if seen > by_chance else 0.0,
        high=min(1.0, 2 * seen - float(low)),
        seen=seen,
        by_chance=by_chance,
        gap=float(confidence.mean() - right.mean()),
        trainings=sure.trainings,
    )


def _bins(confidence: np.ndarray) -> tuple[np.ndarray, int]:
    """The bin of each answer `S I`, and how many there are. Equal answers share a bin."""
    wanted = max(1, min(MOST_BINS, confidence.shape[1] // LEAST_IN_BIN))
    edges = np.unique(np.quantile(confidence, np.arange(1, wanted) / wanted))
    _, number = np.unique(np.searchsorted(edges, confidence, side="right"), return_inverse=True)
    number = number.reshape(confidence.shape)
    return number, int(number.max()) + 1


def _bins_table(answers: Answers, confidence: np.ndarray, number: np.ndarray, bins: int) -> pd.DataFrame:
    rows = []
    for each in range(bins):
        inside = number == each
        rate = answers.rate(answers.right, inside)
        row = {"confidence": confidence[inside].mean(), "accuracy": rate.value, "low": rate.low, "high": rate.high}
        rows.append(row | {"answers": rate.cases})
    return pd.DataFrame(rows)


def _error(confidence: np.ndarray, right: np.ndarray, number: np.ndarray, bins: int) -> float:
    return float(np.abs(np.bincount(number, confidence - right, bins)).sum() / len(right))


def _errors(
    confidence: np.ndarray, right: np.ndarray, number: np.ndarray, bins: int, weights: np.ndarray
) -> np.ndarray:
    """The error of one training in B redrawn sets of test images."""
    off = np.zeros((len(right), bins), dtype=np.float32)  # I bins
    off[np.arange(len(right)), number] = confidence - right
    return np.abs(weights @ off).sum(axis=1) / weights.sum(axis=1)


def _errors_if_calibrated(confidence: np.ndarray, number: np.ndarray) -> np.ndarray:
    """The error of B trainings whose answers are right exactly as often as their confidence promises."""
    random = np.random.default_rng(_RANDOM_SEED)  # the same for all trainings, which err on the same images
    order = np.argsort(number, kind="stable")
    starts = np.unique(number[order], return_index=True)[1]
    promised = confidence[order].astype(np.float32)
    off = np.empty((REPLICATES, len(starts)))
    for row in off:
        row[:] = np.add.reduceat(promised - (random.random(len(order), dtype=np.float32) < promised), starts)
    return np.abs(off).sum(axis=1) / len(order)


# ---- answers by itself ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Selective:
    """What the model may answer by itself if its answers are to be right as often as is wanted.

    Attributes:
        wanted: accuracy of the answers that it gives by itself, a fraction.
        share: share of the images that it answers.
        accuracy: of these answers, on images that did not choose the threshold.
        threshold: confidence from which on it answers, chosen on all test images; infinity if there is none.
        needed: test images that could show so much, at least.
    """

    wanted: float
    share: Rate
    accuracy: Rate
    threshold: float
    needed: int

    @property
    def is_possible(self) -> bool:
        """Whether there is a threshold, and answers beyond it."""
        return bool(self.share.value) and math.isfinite(self.threshold)

    def finding(self) -> Statement:
        """The sentence about it."""
        if not self.is_possible:
            return statement("answers_none", wanted=self.wanted, needed=self.needed)
        values = {"share": self.share, "accuracy": self.accuracy}
        ends = {f"{name}_{end}": getattr(rate, end) for name, rate in values.items() for end in ("low", "high")}
        figures = {name: rate.value for name, rate in values.items()} | ends
        return statement("answers_by_itself", wanted=self.wanted, threshold=self.threshold, **figures)


def selective(answers: Answers, wanted: float) -> Selective | None:
    """How much the model may answer by itself for an accuracy that is wanted; None without probabilities."""
    _check_share(wanted)
    if (sure := answers.sure) is None or answers.images < FOLDS:
        return None
    confidence, right = sure.confidence, sure.right
    alone = np.zeros_like(right)
    for others, part in _folds(sure):
        for seed in range(sure.trainings):
            threshold = _surest(confidence[seed, others], right[seed, others], wanted)
            alone[seed, part] = confidence[seed, part] >= threshold
    thresholds = [_surest(*one, wanted) for one in zip(confidence, right, strict=True)]
    share, accuracy = sure.rate(alone, np.ones_like(alone)), sure.rate(right, alone)
    return Selective(wanted, share, accuracy, _mean_threshold(thresholds), _images_to_choose(1 - wanted))


def _mean_threshold(thresholds: list[float]) -> float:
    """Of the trainings that have one; infinite if none has."""
    finite = [threshold for threshold in thresholds if math.isfinite(threshold)]
    return float(np.mean(finite)) if finite else thresholds[0]


def _images_to_choose(wrong: float) -> int:
    """How many test images a threshold needs that lets a share `wrong` pass, so that each fold leaves enough of them.

    Without any mistake, k images and an imagined one that is wrong have a share of 1 / (k + 1).
    """
    return math.ceil((1 / wrong - 1) * FOLDS / (FOLDS - 1) - 1e-9)


def _surest(confidence: np.ndarray, right: np.ndarray, wanted: float) -> float:
    """The lowest confidence from which on answers are right as often as wanted, one imagined mistake included."""
    order = np.argsort(-confidence, kind="stable")
    sorted_, wrong = confidence[order], np.cumsum(~right[order])
    ends_of_equals = np.append(sorted_[1:] != sorted_[:-1], True)
    enough = (wrong + 1) <= (1 - wanted) * (np.arange(len(order)) + 2) + 1e-9
    allowed = np.flatnonzero(enough & ends_of_equals)
    return float(sorted_[allowed[-1]]) if len(allowed) else math.inf


def selective_curve(answers: Answers) -> pd.DataFrame | None:
    """Accuracy of the surest answers against their share of all; None without probabilities.

    Returns:
        Columns share, accuracy, low, high (a band of 95 % at each share).
    """
    if (sure := answers.sure) is None:
        return None
    least, weights = max(0.05, min(0.5, 10 / sure.images)), _weights(sure)[:OF_CURVES]
    shares = np.linspace(least, 1.0, 100)
    found = [_accuracy_of_surest(*one, weights, shares) for one in zip(sure.confidence, sure.right, strict=True)]
    value, low, high = _mean_and_band(np.stack(found))
    return pd.DataFrame({"share": shares, "accuracy": value, "low": low, "high": high})


def _accuracy_of_surest(
    confidence: np.ndarray, right: np.ndarray, weights: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """The images as they are, then B redrawn sets of them: accuracy at each share, `B+1 K`."""
    order = np.argsort(-confidence, kind="stable")
    counts = np.vstack([np.ones(len(order), dtype=np.float32), weights])[:, order]  # B+1 I
    answered, hits = counts.cumsum(axis=1), (counts * right[order]).cumsum(axis=1)
    wanted = shares * answered[:, -1:]  # B+1 K
    return np.stack([np.interp(*one) for one in zip(wanted, answered, hits, strict=True)]) / wanted


# ---- defects ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OperatingPoint:
    """Misses and false alarms at a threshold on the probability of a defect.

    Attributes:
        wanted: share of the defects that may be missed.
        misses, false_alarms: on images that did not choose the threshold.
        threshold: chosen on all test images; minus infinity if there are too few defects to choose and test one.
        needed: test images of defects that are needed to choose one, at least.
        classes: the names of those that count as a defect.
    """

    wanted: float
    misses: Rate
    false_alarms: Rate
    threshold: float
    needed: int
    classes: tuple[str, ...]

    def finding(self) -> Statement:
        """The sentence about it."""
        names = list(self.classes)
        if not math.isfinite(self.threshold):
            return statement("too_few_defects", names=names, wanted=self.wanted, needed=self.needed)
        return statement(
            "operating_point",
            names=names,
            wanted=self.wanted,
            threshold=self.threshold,
            misses=self.misses.value,
            misses_low=self.misses.low,
            misses_high=self.misses.high,
            alarms=self.false_alarms.value,
            alarms_low=self.false_alarms.low,
            alarms_high=self.false_alarms.high,
        )


def defects(answers: Answers, classes: tuple[str, ...]) -> np.ndarray:
    """Whether each test image is of one of the classes that count as a defect, bool `I`.

    Raises:
        UserError: a class is not known.
    """
    return np.isin(answers.truth, _numbers(answers, classes))


def called_defect(answers: Answers, classes: tuple[str, ...]) -> np.ndarray:
    """Whether each answer is one of these classes, bool `S I`."""
    return np.isin(answers.predictions, _numbers(answers, classes))


def operating_point(answers: Answers, classes: tuple[str, ...], wanted: float) -> OperatingPoint | None:
    """Misses and false alarms where at most a share `wanted` of the defects is to be missed.

    Returns:
        None without probabilities, or where all test images are defects or none is.

    Raises:
        UserError: a class is not known, or `wanted` is no share between 0 and 1.
    """
    _check_share(wanted)
    sure, is_defect = answers.sure, defects(answers, classes)
    if sure is None or is_defect.all() or not is_defect.any() or answers.images < FOLDS:
        return None
    score = _score(sure, classes)
    stopped, of_folds = np.zeros(score.shape, dtype=bool), []
    for others, part in _folds(sure):
        for seed in range(sure.trainings):
            of_folds.append(_lowest_score(score[seed, others], is_defect[others], wanted))
            stopped[seed, part] = score[seed, part] >= of_folds[-1]
    thresholds = [_lowest_score(one, is_defect, wanted) for one in score]
    # Where a fold has too few defects, what was measured is not the threshold that all of them would choose.
    threshold = _mean_threshold(thresholds) if np.isfinite(of_folds).all() else -math.inf
    misses, alarms = sure.rate(~stopped, is_defect), sure.rate(stopped, ~is_defect)
    return OperatingPoint(wanted, misses, alarms, threshold, _images_to_choose(wanted), classes)


def operating_curve(answers: Answers, classes: tuple[str, ...]) -> pd.DataFrame | None:
    """The share of defects that are missed against the share of other images that are stopped.

    Returns:
        Columns false_alarms, misses, low, high (a band of 95 % at each share of false alarms); None as for
        `operating_point`.
    """
    sure, is_defect = answers.sure, defects(answers, classes)
    if sure is None or is_defect.all() or not is_defect.any():
        return None
    weights = _weights(sure)[:OF_CURVES]
    found = [_misses(one, is_defect, weights) for one in _score(sure, classes)]
    value, low, high = _mean_and_band(np.stack(found))
    return pd.DataFrame({"false_alarms": _SHARES, "misses": value, "low": low, "high": high})


def _score(answers: Answers, classes: tuple[str, ...]) -> np.ndarray:
    """The probability of a defect, `S I`."""
    return answers.given_probabilities[:, :, _numbers(answers, classes)].sum(axis=2)


def _lowest_score(score: np.ndarray, is_defect: np.ndarray, wanted: float) -> float:
    """The highest threshold below which at most a share `wanted` of the defects lies, one imagined miss included."""
    own = np.sort(score[is_defect])
    below = math.floor(wanted * (len(own) + 1) + 1e-9)  # the imagined one is among them
    return float(own[below - 1]) if below >= 1 else -math.inf


def _misses(score: np.ndarray, is_defect: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The images as they are, then B redrawn sets: share of misses at each share of false alarms, `B+1 K`."""
    order = np.argsort(-score, kind="stable")
    counts = np.vstack([np.ones(len(order), dtype=np.float32), weights])[:, order]  # B+1 I
    defect = is_defect[order]
    caught, stopped = (counts * defect).cumsum(axis=1), (counts * ~defect).cumsum(axis=1)
    caught, stopped = (np.pad(part / np.maximum(part[:, -1:], 1), ((0, 0), (1, 0))) for part in (caught, stopped))
    return 1 - np.stack([np.interp(_SHARES, *_highest_at(*one)) for one in zip(stopped, caught, strict=True)])


def _highest_at(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A rising staircase without its vertical parts: the highest y at each x."""
    last = np.append(x[1:] > x[:-1], True)
    return x[last], y[last]


def _numbers(answers: Answers, classes: tuple[str, ...]) -> list[int]:
    unknown = [name for name in classes if name not in answers.class_names]
    if unknown:
        raise UserError(f"there is no class {unknown[0]!r}: the classes are {', '.join(answers.class_names[:20])}.")
    return [answers.class_names.index(name) for name in classes]


def _check_share(wanted: float) -> None:
    if not 0 < wanted < 1:
        raise UserError(f"wanted is {wanted}, but must be between 0 and 1, such as 0.99 or 0.02.")


# ---- drawing again ----------------------------------------------------------------------------------------------


def _folds(answers: Answers) -> list[tuple[np.ndarray, np.ndarray]]:
    """The images that choose a threshold and those that test it, `FOLDS` times; groups are kept whole.

    Without groups each class is spread evenly over the parts.
    """
    random, groups = np.random.default_rng(_RANDOM_SEED), answers.group_numbers
    if groups is None:
        order = random.permutation(answers.images)
        order = order[np.argsort(answers.truth[order], kind="stable")]
        number = np.empty(answers.images, dtype=int)
        number[order] = np.arange(answers.images) % FOLDS
    else:
        number = (random.permutation(groups.max() + 1) % FOLDS)[groups]
    return [(number != fold, number == fold) for fold in range(FOLDS)]


def _weights(answers: Answers) -> np.ndarray:
    """How often each test image is drawn in B redrawn sets, float32 `B I`; groups are drawn whole."""
    groups = answers.group_numbers
    units = answers.images if groups is None else int(groups.max()) + 1
    weights = drawn_counts(units, REPLICATES, np.random.default_rng(_RANDOM_SEED))
    return weights if groups is None else weights[:, groups]


def _mean_and_band(found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of S trainings and its band, from `S B+1 K` whose first row is as observed.

    The band has the spread over redrawn test images, and that of the trainings as Student's t with S - 1 degrees of
    freedom. The second holds a part of the first too, so the band is rather too wide than too narrow.
    """
    trainings = len(found)
    value, again = found[:, 0].mean(axis=0), found[:, 1:].mean(axis=0)  # K, B K
    if trainings > 1:
        spread = found[:, 0].std(axis=0, ddof=1) / math.sqrt(trainings)  # K
        evenly = (np.random.default_rng(_RANDOM_SEED).permutation(len(again)) + 0.5) / len(again)
        again = again + student.ppf(evenly, trainings - 1)[:, None] * spread
    low, high = middle(again.T)
    return value, np.clip(np.minimum(low, value), 0, 1), np.clip(np.maximum(high, value), 0, 1)
