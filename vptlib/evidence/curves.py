"""What the runs of one task say about accuracy against labelled images, and how sure that is.

All functions are pure functions of the table of runs (`Study.runs`): a row per method, size n and seed, with `correct`,
one truth value per test image, the test images being the same, in the same order, in every row.

Two things are chance in such a table: which test images were taken, and which seeds (a seed draws the training
images, the batches and the initial values). Each interval here is the middle 95 % of `REPLICATES` tables drawn again:

test images  are drawn with replacement (Efron's bootstrap), the same draw for all methods, sizes and seeds, so that
             differences are paired. Two imagined images join them, one that only the first method gets right and one
             that only the second does; without them, methods that agree on all images would get an interval of no
             width (Laplace's rule; Agresti & Min, Biometrics 61, 2005).
seeds        are few, and three of them drawn with replacement understate their spread by far. Their deviations from
             the mean are therefore multiplied by random numbers such that every mean and every difference spreads as
             Student's t with S - 1 degrees of freedom says (a wild bootstrap; Liu, Annals of Statistics 16, 1988).
             What the seeds differ by because they err on different test images is in the first part already and is
             left out of the second (the mean squares of a two-way layout, as in Obuchowski & Rockette, 1995).

With one seed there is no second part: the interval shows the choice of test images only, and `seeds` is 1.

How often the 95 % interval of a difference holds the truth, on 1,500 planted tables each (200 test images; seeds that
differ by a standard deviation of 0, 2, 4 and 8 points in each method's accuracy; tests/test_curves.py repeats a part):
0.98, 0.96, 0.94 and 0.95 with five seeds, 0.98, 0.95, 0.93 and 0.93 with three, 0.97, 0.94, 0.89 and 0.88 with two, and
0.96, 0.88, 0.67 and 0.41 with one. So take three.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.stats import chi2

from vptlib.errors import UserError
from vptlib.statement import Statement, statement

REPLICATES = 2000
LEVEL = 0.95
# A method is "clearly ahead" at a size where it is so in this share of the replicates: 95 % with two sides.
CLEAR = (1 + LEVEL) / 2
# Who leads between two methods a and b.
A_AHEAD, B_AHEAD, CROSSES, OPEN = LEADS = ("a_ahead", "b_ahead", "crosses", "open")

_RANDOM_SEED = 1988
# The two imagined test images, as a single method's accuracy and as a difference of two methods see them.
_IMAGINED_ACCURACY = np.array([1.0, 0.0])
_IMAGINED_DIFFERENCE = np.array([1.0, -1.0])
# Floors c tried for the power law, as shares of the smallest error.
_FLOORS = np.linspace(0.0, 0.98, 50)
_SIZES_FOR_FLOOR = 4
# An error of 0 has no logarithm: half a test image stands for it.
_LEAST_WRONG_IMAGES = 0.5


# ---- tables -----------------------------------------------------------------------------------------------------


def learning_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each method at each size, with its 95 % interval.

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
    return list(_layout(runs).cells)


def _rows(found: "Resampled", name: str, **more) -> list[dict]:
    low, high = found.interval()
    return [
        more | {"n": int(n), name: value, "low": lowest, "high": highest, "seeds": int(seeds)}
        for n, value, lowest, highest, seeds in zip(
            found.n, found.value, np.minimum(low, found.value), np.maximum(high, found.value), found.seeds, strict=True
        )
    ]


# ---- resampling -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resampled:
    """An accuracy, or a difference of two, at K sizes, and the same in B tables drawn again.

    Attributes:
        n: K sizes, rising.
        value: K figures as observed.
        replicates: `K B`; row k belongs to size k, column b to one redrawn table, so rows can be combined.
        seeds: K numbers of seeds.
        image_variance, seed_variance: K parts of the squared uncertainty due to test images and to seeds.
        images: number of test images.
    """

    n: np.ndarray
    value: np.ndarray
    replicates: np.ndarray = field(repr=False)
    seeds: np.ndarray
    image_variance: np.ndarray
    seed_variance: np.ndarray
    images: int

    def interval(self, level: float = LEVEL) -> np.ndarray:
        """Low and high ends, `2 K`."""
        return middle(self.replicates, level)

    def probability_above(self, threshold: float) -> np.ndarray:
        """K shares of the replicates above the threshold, ties counted half."""
        above, equal = self.replicates > threshold, self.replicates == threshold
        return (above + 0.5 * equal).mean(axis=-1)


def middle(replicates: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """The ends of the middle share `level` of replicates `... B`: low and high, `2 ...`."""
    return np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2], axis=-1)


def spread_of(replicates: np.ndarray) -> np.ndarray:
    """Half the width of the middle 68 % of replicates `... B`: a standard deviation that far tails do not move."""
    low, high = middle(replicates, 0.68)
    return (high - low) / 2


def accuracies(runs: pd.DataFrame, method: str) -> Resampled:
    """Accuracy of one method at its sizes, resampled.

    Raises:
        UserError: the table lacks the method.
    """
    layout = _layout(runs)
    cells = layout.of(method)
    values = [(n, list(cells[n]), np.stack(list(cells[n].values()))) for n in sorted(cells)]
    return _resampled(values, _IMAGINED_ACCURACY, layout)


def differences(runs: pd.DataFrame, a: str, b: str) -> Resampled:
    """Accuracy of `a` less that of `b` at the sizes and seeds that both have, resampled together.

    Raises:
        UserError: the table lacks one of them, or they share no size and seed.
    """
    layout = _layout(runs)
    first, second = layout.of(a), layout.of(b)
    values = []
    for n in sorted(set(first) & set(second)):
        seeds = sorted(set(first[n]) & set(second[n]))
        if seeds:
            values.append((n, seeds, np.stack([first[n][s] - second[n][s] for s in seeds])))  # S I
    if not values:
        raise UserError(f"{a!r} and {b!r} have no size with a common seed in the table of runs: run both on the same.")
    return _resampled(values, _IMAGINED_DIFFERENCE, layout)


def _resampled(values: list[tuple[int, list, np.ndarray]], imagined: np.ndarray, layout: "_Layout") -> Resampled:
    """From (size, seeds, outcomes `S I`) to replicates."""
    seeds_of = np.array([[len(seeds)] for _, seeds, _ in values])  # K 1
    sums = np.stack([outcomes.sum(axis=0) for _, _, outcomes in values])  # K I: whole numbers, so nothing is rounded
    sums = np.hstack([sums, seeds_of * imagined]).astype(np.float32)  # K I+2
    count = sums.shape[1]
    replicates = (sums @ _image_weights(layout.images).T).astype(float) / (count * seeds_of)  # K B
    seed_variance = []
    for row, (_, seeds, outcomes) in zip(replicates, values, strict=True):
        own = np.sqrt(_own_share_of_seeds(outcomes))
        deviations = own * (outcomes.mean(axis=1) - outcomes.mean())  # S
        row += _seed_multipliers(len(layout.seeds), tuple(map(layout.seeds.index, seeds))) @ deviations
        seed_variance.append(deviations.var(ddof=1) / len(seeds) if len(seeds) > 1 else 0.0)
    return Resampled(
        n=np.array([n for n, _, _ in values]),
        value=np.array([outcomes.mean() for _, _, outcomes in values]),
        replicates=np.clip(replicates, -1.0 if imagined.min() < 0 else 0.0, 1.0),
        seeds=seeds_of[:, 0],
        image_variance=(sums / seeds_of).var(axis=1) / count,
        seed_variance=np.array(seed_variance),
        images=layout.images,
    )


def _own_share_of_seeds(outcomes: np.ndarray) -> float:
    """The share of the variance between the seeds of `S I` that test images do not explain, in [0, 1]."""
    seeds, images = outcomes.shape
    if seeds == 1 or images == 1:
        return 0.0
    by_seed, by_image = outcomes.mean(axis=1, keepdims=True), outcomes.mean(axis=0, keepdims=True)
    between = images * by_seed.var(ddof=1)
    rest = ((outcomes - by_seed - by_image + outcomes.mean()) ** 2).sum() / ((seeds - 1) * (images - 1))
    return max(0.0, 1.0 - rest / between) if between > 0 else 0.0


@lru_cache(maxsize=2)
def _image_weights(images: int) -> np.ndarray:
    """How often each of the test images and the two imagined ones is drawn, `B I+2`."""
    count = images + len(_IMAGINED_ACCURACY)
    random = np.random.default_rng([_RANDOM_SEED, images])
    weights = np.empty((REPLICATES, count), dtype=np.float32)
    for row in weights:
        row[:] = np.bincount(random.integers(count, size=count), minlength=count)
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=64)
def _seed_multipliers(all_seeds: int, chosen: tuple[int, ...]) -> np.ndarray:
    """Numbers `B S` for the S chosen ones of all seeds; the same table is drawn whichever are chosen.

    Multiplied by deviations of standard deviation s and added up, they spread as s / √S times Student's t with S - 1
    degrees of freedom.
    """
    random = np.random.default_rng([_RANDOM_SEED, all_seeds])
    normal = random.standard_normal((REPLICATES, all_seeds))[:, chosen]  # B S
    uniform = (random.permutation(REPLICATES)[:, None] + 0.5) / REPLICATES  # B 1: evenly spread, so less noise
    seeds = len(chosen)
    if seeds == 1:
        return np.zeros((REPLICATES, 1))
    scale = np.sqrt(chi2.ppf(uniform, seeds - 1) / (seeds - 1))  # B 1
    return normal / scale / np.sqrt(seeds * (seeds - 1))


# ---- the table of runs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """The runs of one task: method → size → seed → outcomes `I` (0 or 1), with all seeds and the number of images."""

    cells: dict[str, dict[int, dict[int, np.ndarray]]]
    seeds: list[int]
    images: int

    def of(self, method: str) -> dict[int, dict[int, np.ndarray]]:
        if method not in self.cells:
            raise UserError(
                f"the table of runs has no finished run of {method!r}, only of {', '.join(self.cells)}: "
                f"add {method!r} to the study's methods and run it."
            )
        return self.cells[method]


def _layout(runs: pd.DataFrame) -> _Layout:
    _check(runs)
    cells: dict[str, dict[int, dict[int, np.ndarray]]] = {}
    for method, n, seed, correct in zip(runs["method"], runs["n"], runs["seed"], runs["correct"], strict=True):
        cells.setdefault(method, {}).setdefault(int(n), {})[int(seed)] = np.asarray(correct, dtype=float)
    seeds = sorted({int(seed) for seed in runs["seed"]})
    return _Layout(cells, seeds, len(runs["correct"].iloc[0]))


def _check(runs: pd.DataFrame) -> None:
    if len(runs) == 0:
        raise UserError("the table of runs is empty: run the study first.")
    for column in ("method", "n", "seed", "correct"):
        if column not in runs:
            raise UserError(f"the table of runs has no column {column!r}: take the table that Study.runs() gives.")
    if "task" in runs and runs["task"].nunique() > 1:
        raise UserError(f"the table of runs mixes the tasks {', '.join(runs['task'].unique())}: give one task's rows.")
    twice = runs.duplicated(["method", "n", "seed"])
    if twice.any():
        row = runs[twice].iloc[0]
        raise UserError(
            f"the table of runs has {row['method']} with n={row['n']} and seed {row['seed']} twice: keep one of them."
        )
    lengths = sorted({np.size(correct) for correct in runs["correct"]})
    if len(lengths) > 1 or lengths[0] < 2:
        raise UserError(
            f"the column 'correct' holds {', '.join(map(str, lengths))} test images a run: all runs need the same two "
            "or more."
        )


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

    At each size one of them is *clearly ahead* if it is so in 97.5 % of the replicates; otherwise the size is open.
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
    ahead = found.probability_above(0.0)
    leads = np.where(ahead >= CLEAR, 1, np.where(ahead <= 1 - CLEAR, -1, 0))  # K: 1 a, -1 b, 0 open
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
