"""What the runs of one task say about accuracy against labelled images, and how sure that is.

All functions are pure functions of the table of runs (`Study.runs`). Intervals come from `vptlib.evidence.resampling`.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pandas as pd

from vptlib.errors import UserError
from vptlib.evidence.layout import layout_of
from vptlib.evidence.resampling import (
    LEVEL,
    Resampled,
    accuracies,
    differences,
    middle,
    spread_of,
)
from vptlib.statement import Statement, statement

# Who leads between two methods a and b.
A_AHEAD, B_AHEAD, CROSSES, OPEN = LEADS = ("a_ahead", "b_ahead", "crosses", "open")

# Floors c tried for the power law, as shares of the smallest error.
_FLOORS = np.linspace(0.0, 0.98, 50)
_SIZES_FOR_FLOOR = 4
# An error of 0 has no logarithm: half a test image stands for it.
_LEAST_WRONG_IMAGES = 0.5


# ---- tables -----------------------------------------------------------------------------------------------------


def learning_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each method at each size, with its 95 % interval.

    Each interval holds for its size alone. `vptlib.evidence.resampling.Resampled.band` has those that hold for all
    sizes of a method together.

    Returns:
        Columns method, n, mean, low, high (fractions), seeds (how many runs stand behind the row).

    Raises:
        UserError: the table of runs cannot be used; the text gives the reason.
    """
    rows = [row for method in methods_of(runs) for row in _rows(accuracies(runs, method), "mean", method=method)]
    return pd.DataFrame(rows)[["method", "n", "mean", "low", "high", "seeds"]]


def paired_difference(runs: pd.DataFrame, a: str = "vpt-deep", b: str = "full") -> pd.DataFrame:
    """Accuracy of `a` less that of `b` at each size that both have, on the same test images and seeds.

    Returns:
        Columns n, difference, low, high (fractions), probability_a_ahead (share of the replicates), seeds.

    Raises:
        UserError: the table lacks one of them, or they share no size and seed.
    """
    found = differences(runs, a, b)
    table = pd.DataFrame(_rows(found, "difference"))
    table["probability_a_ahead"] = found.probability_above(0.0)
    return table[["n", "difference", "low", "high", "probability_a_ahead", "seeds"]]


def methods_of(runs: pd.DataFrame) -> list[str]:
    """The methods of a table of runs, in its order."""
    return list(layout_of(runs).cells)


def _rows(found: Resampled, name: str, **more) -> list[dict]:
    low, high = found.interval()
    return [
        more | {"n": int(n), name: value, "low": lowest, "high": highest, "seeds": int(seeds)}
        for n, value, lowest, highest, seeds in zip(
            found.n, found.value, np.minimum(low, found.value), np.maximum(high, found.value), found.seeds, strict=True
        )
    ]


# ---- power law --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PowerLaw:
    """error(n) = a · n^-b + c, fitted to one method's mean errors.

    With fewer than four sizes a floor c cannot be seen and is taken as 0, which makes predictions hopeful.

    Attributes:
        method: the method's name.
        a, b, c: the fit to the observed errors.
        a_interval, b_interval, c_interval: low and high ends, 95 %.
        largest: the largest size behind the fit.
        caveat: why the fit is not to be trusted; None where nothing speaks against it.
    """

    method: str
    a: float
    b: float
    c: float
    a_interval: tuple[float, float]
    b_interval: tuple[float, float]
    c_interval: tuple[float, float]
    largest: int
    caveat: Statement | None
    replicates: np.ndarray = field(repr=False)  # B 3

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against the fit."""
        return self.caveat is None

    def predict(self, n: float) -> tuple[float, float, float]:
        """Accuracy (fraction) expected with n labelled images: the fit's, and the ends of its 95 % interval.

        The interval holds if the law goes on to n; nothing in the data can promise that.
        """
        return _with_interval(1 - self.error(n), 1 - _power_law(self.replicates, n))

    def gain(self, more: int) -> tuple[float, float, float]:
        """Accuracy (fraction) that `more` labels on top of the largest size would buy, with its 95 % interval."""
        n = self.largest + more
        replicates = _power_law(self.replicates, self.largest) - _power_law(self.replicates, n)
        return _with_interval(self.error(self.largest) - self.error(n), replicates)

    def error(self, n: float) -> float:
        """The fitted error (fraction) with n labelled images."""
        return float(_power_law(np.array([self.a, self.b, self.c]), n))


def fit_power_law(runs: pd.DataFrame, method: str) -> PowerLaw:
    """Fit error(n) = a · n^-b (+ c from four sizes on) to one method's learning curve.

    The form is the usual one for learning curves (Hestness et al., arXiv 1712.00409). It is fitted by least squares on
    the logarithms, weighted by what is known of each error, to the observed errors and to every replicate of them.
    The fit is not trusted with fewer than three sizes (a line through two points cannot be wrong), where the interval
    of b reaches 0 (a flat or rising error), or where the points stray from the curve by more than chance explains.

    Raises:
        UserError: the table lacks the method, or has it at one size only.
    """
    found = accuracies(runs, method)
    if len(found.n) < 2:
        raise UserError(f"a power law for {method!r} needs at least two sizes, but there is only n={found.n[0]}.")
    least = _LEAST_WRONG_IMAGES / found.images
    errors = np.maximum(1 - found.value, least)  # K
    redrawn = np.maximum(1 - found.replicates.T, least)  # B K
    spread = spread_of(redrawn.T)  # K
    replicates = _fit(redrawn, found.n, spread)  # B 3
    a, b, c = (float(value) for value in _fit(errors[None], found.n, spread)[0])
    a_ends, b_ends, c_ends = ((float(low), float(high)) for low, high in map(middle, replicates.T))
    residuals = redrawn - np.stack([_power_law(replicates, n) for n in found.n], axis=1)  # B K
    caveat = _caveat(found.n, b, b_ends, residuals)
    return PowerLaw(method, a, b, c, a_ends, b_ends, c_ends, int(found.n[-1]), caveat, replicates)


def _power_law(parameters: np.ndarray, n: float) -> np.ndarray:
    """Errors `...` in [0, 1] for parameters `... 3`."""
    a, b, c = np.moveaxis(parameters, -1, 0)
    with np.errstate(over="ignore"):
        return np.clip(a * np.power(float(n), -b) + c, 0.0, 1.0)


def _fit(errors: np.ndarray, n: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Errors `B K` to parameters `B 3`: for each floor c a straight line in the logarithms, then the best floor."""
    shares = _FLOORS if len(n) >= _SIZES_FOR_FLOOR else _FLOORS[:1]
    floors = errors.min(axis=1, keepdims=True) * shares  # B F
    above = errors[:, None, :] - floors[..., None]  # B F K
    weights = (above / spread) ** 2  # B F K: the variance of log(above) is (spread / above)²
    intercept, slope = _line(np.log(n), np.log(above), weights)  # B F
    fitted = np.exp(intercept[..., None] + slope[..., None] * np.log(n)) + floors[..., None]  # B F K
    misfit = (((fitted - errors[:, None, :]) / spread) ** 2).sum(axis=-1)  # B F
    best = misfit.argmin(axis=1)[:, None]
    columns = [np.take_along_axis(values, best, axis=1)[:, 0] for values in (np.exp(intercept), -slope, floors)]
    return np.stack(columns, axis=1)


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intercepts and slopes `...` of weighted straight lines through x `K` and y `... K`."""
    total = weights.sum(axis=-1)
    mean_x, mean_y = (weights * x).sum(axis=-1) / total, (weights * y).sum(axis=-1) / total
    dx = x - mean_x[..., None]
    slope = (weights * dx * y).sum(axis=-1) / (weights * dx**2).sum(axis=-1)
    return mean_y - slope * mean_x, slope


def _caveat(n: np.ndarray, b: float, b_interval: tuple[float, float], residuals: np.ndarray) -> Statement | None:
    if len(n) < 3:
        return statement("few_sizes", sizes=len(n))
    if b <= 0:
        return statement("error_rises", first=int(n[0]), last=int(n[-1]))
    if b_interval[0] <= 0:
        return statement("error_maybe_flat", first=int(n[0]), last=int(n[-1]))
    low, high = middle(residuals.T, 1 - (1 - LEVEL) / len(n))  # each K
    astray = (low > 0) | (high < 0)
    return statement("error_off_curve", n=int(n[astray][0])) if astray.any() else None


def _with_interval(value: float, replicates: np.ndarray) -> tuple[float, float, float]:
    low, high = middle(replicates)
    return value, float(min(low, value)), float(max(high, value))


# ---- who leads, and where that changes --------------------------------------------------------------------------


@dataclass(frozen=True)
class Crossover:
    """Whether and where the lead changes between two methods.

    Attributes:
        verdict: `A_AHEAD` or `B_AHEAD` (throughout), `CROSSES` or `OPEN` (not enough evidence).
        n, low, high: labelled images at which the lead changes and its 95 % interval; None unless `CROSSES`.
        note: what was seen at which sizes.
    """

    verdict: str
    n: float | None
    low: float | None
    high: float | None
    note: Statement


def crossover(runs: pd.DataFrame, a: str = "vpt-deep", b: str = "full") -> Crossover:
    """Where the lead changes between `a` and `b`.

    At each size one of them is *clearly ahead* if the 95 % band of their difference, which holds for all sizes
    together, does not reach 0 there; otherwise the size is open.
    - clearly ahead at all sizes: `A_AHEAD` or `B_AHEAD`;
    - each clearly ahead somewhere: `CROSSES`. The crossing is sought between the last two sizes that are clearly ahead
      for different methods, with only open sizes between them. In every replicate the difference is interpolated in
      log n. Where noise crosses zero several times, the crossing with the least difference on the wrong side is
      taken. If the lead clearly changes more than once, n is the last change, and the note gives the number of
      changes: from n on the order at the largest size holds;
    - anything else: `OPEN`.

    Raises:
        UserError: the table lacks one of the methods, or they share no size and seed.
    """
    found = differences(runs, a, b)
    low, high = found.band()
    leads = np.where(low > 0, 1, np.where(high < 0, -1, 0))  # K: 1 a, -1 b, 0 open
    clear = np.flatnonzero(leads).tolist()
    changes = [(i, j) for i, j in pairwise(clear) if leads[i] != leads[j]]
    sizes = {lead: found.n[leads == lead].tolist() for lead in (1, -1, 0)}
    note = statement(
        "who_leads", a=a, b=b, a_ahead_at=sizes[1], b_ahead_at=sizes[-1], open_at=sizes[0], changes=len(changes)
    )
    if changes:
        return Crossover(CROSSES, *_crossing(found, *changes[-1]), note)
    if len(clear) == len(leads):
        return Crossover(A_AHEAD if leads[0] > 0 else B_AHEAD, None, None, None, note)
    return Crossover(OPEN, None, None, None, note)


def _crossing(found: Resampled, first: int, last: int) -> tuple[float, float, float]:
    """Where the difference crosses zero between two sizes, with the 95 % interval."""
    window = slice(first, last + 1)
    sign = np.sign(found.value[first])
    log_n = np.log(found.n[window])
    n = float(np.exp(_zero(log_n, sign * found.value[window][None])[0]))
    low, high = np.exp(middle(_zero(log_n, sign * found.replicates[window].T)))
    return n, float(min(low, n)), float(max(high, n))


def _zero(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where y `B K`, positive before and negative after, crosses zero over x `K`: `B`, an end of x if it does not."""
    wrong_before = np.cumsum(np.maximum(-y, 0), axis=1)  # B K: cost of a crossing right after each size
    wrong_after = np.cumsum(np.maximum(y, 0)[:, ::-1], axis=1)[:, ::-1]  # B K: cost of one right before it
    nothing = np.zeros((len(y), 1))
    cost = np.hstack([nothing, wrong_before]) + np.hstack([wrong_after, nothing])  # B K+1
    first = cost.argmin(axis=1)  # the crossing is between x[first - 1] and x[first]
    left, right = np.clip(first - 1, 0, len(x) - 1), np.clip(first, 0, len(x) - 1)
    rows = np.arange(len(y))
    above, below = y[rows, left], y[rows, right]
    fall = np.where(above > below, above - below, 1.0)
    return x[left] + np.clip(above / fall, 0.0, 1.0) * (x[right] - x[left])


def trend(runs: pd.DataFrame, a: str = "vpt-deep", b: str = "full") -> tuple[float, float, float] | None:
    """What `a` gains on `b` with every doubling of the labelled images (fraction), with its 95 % interval.

    The slope of a straight line through the differences over log n; None where there is only one size.
    """
    found = differences(runs, a, b)
    if len(found.n) < 2:
        return None
    weights = 1 / spread_of(found.replicates) ** 2  # K
    log_n = np.log2(found.n)
    _, slope = _line(log_n, found.value, weights)
    _, slopes = _line(log_n, found.replicates.T, weights)  # B
    return _with_interval(float(slope), slopes)
