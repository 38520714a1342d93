"""Which accuracies the runs of one task are compatible with: the table of runs, drawn again `REPLICATES` times.

All functions are pure functions of the table of runs (`Study.runs`): a row per method, size n and seed, with `correct`,
one truth value per test image, the test images being the same, in the same order, in every row.

Two things are chance in such a table: which test images were taken, and which seeds (a seed draws the training
images, the batches and the initial values). Each interval here is the middle 95 % of `REPLICATES` tables drawn again:

test images  are drawn with replacement (Efron's bootstrap), the same draw for all methods, sizes and seeds, so that
             differences are paired. Where images come in groups (sites, lots, patients), whole groups are drawn. Two
             imagined images join them, one that only the first method gets right and one that only the second does;
             without them, methods that agree on all images would get an interval of no width (Laplace's rule; Agresti
             & Min, Biometrics 61, 2005). With few groups, deviations are widened as Student's t says.
seeds        are few, and three of them drawn with replacement understate their spread by far. Their deviations from
             the mean are therefore multiplied by random numbers such that every mean and every difference spreads as
             Student's t with S - 1 degrees of freedom says (a wild bootstrap; Liu, Annals of Statistics 16, 1988).
             What the seeds differ by because they err on different test images is in the first part already and is
             left out of the second (the mean squares of a two-way layout, as in Obuchowski & Rockette, 1995).

pool         The seeds of one size draw their training images from one pool, so they have some in common and show too
             little of what the choice of images does. `_Hidden` adds that part, for sizes up to half of the pool;
             smaller sizes show it for larger ones. Without them the caveat "pool_used_up" says that it is missing.

With one seed there is no second part: the interval shows the choice of test images only, and `seeds` is 1.

How often the 95 % interval of a difference holds the truth, on 400 planted tables each with 200 test images, with 3, 5
and 10 seeds (`tests/coverage_of_intervals.py` prints the whole table; tests/test_resampling.py repeats a part):

    0.93 to 1.00   independent images, also ten of them; seeds that differ by 0 or 3 points
    0.95 to 0.98   images in groups of ten, and in five groups of forty
    0.98 to 1.00   images in two groups of a hundred; but the intervals are then 130 points wide
    0.95 to 0.97   tuning luck of 2 points, each seed its own
    0.94 to 0.99   n = 40 out of a pool of 400 or of 80; n = 10, 20 and 40 out of a pool of 40
    0.94 to 0.96   a long tail to bad trainings, with a standard deviation of 4 points
    0.87 to 0.92   n = 40, alone, out of a pool of 40: always with the caveat "pool_used_up"
    0.59 to 0.89   tuning luck of 2 points, shared by all seeds: always with the caveat "tuning_shared"
    0.86 to 0.93   one training in five of one method is 15 points lower: with "seeds_skewed" in 18, 41 and 82 % of the
                   tables; in the others no seed shows it clearly, so "failures_unseen" is always given

Where seeds differ by 3 points, it holds it in 0.92 of the tables with two seeds and in 0.81 with one: take three.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import chi2

from vptlib.errors import UserError
from vptlib.evidence.layout import Layout, layout_of
from vptlib.statement import Statement, statement

REPLICATES = 2000
LEVEL = 0.95
# With so many test groups the bootstrap alone is wide enough.
_MANY_UNITS = 100
# With fewer, the imagined images are drawn apart from them.
_FEW_UNITS = 3
_RANDOM_SEED = 1988
# The two imagined test images, as a single method's accuracy and as a difference of two methods see them.
_IMAGINED_ACCURACY = np.array([1.0, 0.0])
_IMAGINED_DIFFERENCE = np.array([1.0, -1.0])
# The two methods of which a study is about; `joint` keeps both if it can.
_COMPARED = frozenset(("vpt-deep", "full"))
_ENOUGH_SEEDS = 3
# A seed is far below the others from this gap on (accuracy, a fraction), and from so many standard errors on.
_LEAST_GAP = 0.05
_ERRORS_BELOW = 3.0
# From the median of absolute deviations to a standard deviation, for normal ones.
_OF_NORMAL = 1.4826
# Seeds that share more of their training images than this show too little of what the choice of images does.
_MOST_SHARED = 0.5
# The share of what test images explain that is taken off a variance before it is multiplied.
_CAUTION = 0.25


# ---- one accuracy or difference at all sizes --------------------------------------------------------------------


@dataclass(frozen=True)
class Resampled:
    """An accuracy, or a difference of two, at K sizes, and the same in B tables drawn again.

    Attributes:
        n: K sizes, rising.
        value: K figures as observed.
        replicates: `K B`; row k belongs to size k, column b to one redrawn table, so rows can be combined.
        seeds: K numbers of seeds.
        image_variance, seed_variance: K parts of the squared uncertainty due to test images and to seeds.
        pool_variance: K parts due to the pool of training images, which more seeds do not make smaller.
        each_variance: K: what the choice of test images adds to the differences between seeds.
        images: number of test images.
        groups: number of test groups that are drawn; None where images are drawn.
    """

    n: np.ndarray
    value: np.ndarray
    replicates: np.ndarray = field(repr=False)
    seeds: np.ndarray
    image_variance: np.ndarray
    seed_variance: np.ndarray
    pool_variance: np.ndarray
    each_variance: np.ndarray
    images: int
    groups: int | None

    def interval(self, level: float = LEVEL) -> np.ndarray:
        """Low and high ends, `2 K`; each holds for its size alone."""
        return middle(self.replicates, level)

    def band(self, level: float = LEVEL) -> np.ndarray:
        """Low and high ends, `2 K`, that hold for all sizes together."""
        return together(self.replicates, level)

    def probability_above(self, threshold: float) -> np.ndarray:
        """K shares of the replicates above the threshold, ties counted half."""
        above, equal = self.replicates > threshold, self.replicates == threshold
        return (above + 0.5 * equal).mean(axis=-1)


def middle(replicates: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """The ends of the middle share `level` of replicates `... B`: low and high, `2 ...`."""
    return np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2], axis=-1)


def together(replicates: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Low and high ends, `2 K`, that hold all K rows of a share `level` of the replicates `K B`.

    All rows get the same tails. With one row it is `middle`. Source: the simultaneous bands of Beran, Journal of the
    American Statistical Association 83, 1988.
    """
    ordered = np.sort(replicates, axis=1)
    lower = np.stack([np.searchsorted(row, values, "right") for row, values in zip(ordered, replicates, strict=True)])
    upper = np.stack([np.searchsorted(row, values, "left") for row, values in zip(ordered, replicates, strict=True)])
    count = replicates.shape[1]
    tails = (
        np.minimum(lower, count - upper).min(axis=0) / count
    )  # B: the share beyond, where a replicate is farthest out
    tail = min(float(np.quantile(tails, 1 - level)), (1 - level) / 2)
    return np.quantile(replicates, [tail, 1 - tail], axis=-1)


def spread_of(replicates: np.ndarray) -> np.ndarray:
    """Half the width of the middle 68 % of replicates `... B`: a standard deviation that far tails do not move."""
    low, high = middle(replicates, 0.68)
    return (high - low) / 2


def accuracies(runs: pd.DataFrame, method: str) -> Resampled:
    """Accuracy of one method at its sizes, resampled.

    Raises:
        UserError: the table lacks the method.
    """
    layout = layout_of(runs)
    cells = layout.of(method)
    values = [(n, list(cells[n]), np.stack(list(cells[n].values()))) for n in sorted(cells)]
    return _resampled(values, _IMAGINED_ACCURACY, layout)


def differences(runs: pd.DataFrame, a: str, b: str) -> Resampled:
    """Accuracy of `a` less that of `b` at the sizes and seeds that both have, resampled together.

    The other way round it is the same with the other sign, draw by draw.

    Raises:
        UserError: the table lacks one of them, or they share no size and seed.
    """
    layout = layout_of(runs)
    first, second = layout.of(a), layout.of(b)
    order = list(layout.cells)
    if order.index(a) > order.index(b):
        found = differences(runs, b, a)
        return replace(found, value=-found.value, replicates=-found.replicates)
    values = []
    for n in sorted(set(first) & set(second)):
        seeds = sorted(set(first[n]) & set(second[n]))
        if seeds:
            values.append((n, seeds, np.stack([first[n][s] - second[n][s] for s in seeds])))  # S I
    if not values:
        raise UserError(f"{a!r} and {b!r} have no size with a common seed in the table of runs: run both on the same.")
    return _resampled(values, _IMAGINED_DIFFERENCE, layout)


def _resampled(values: list[tuple[int, list, np.ndarray]], imagined: np.ndarray, layout: Layout) -> Resampled:
    """From (size, seeds, outcomes `S I`) to replicates."""
    seeds_of = np.array([[len(seeds)] for _, seeds, _ in values])  # K 1
    sums = np.stack([outcomes.sum(axis=0) for _, _, outcomes in values])  # K I: whole numbers, so nothing is rounded
    units = np.hstack([layout.by_unit(sums), seeds_of * imagined])  # K U+2
    sizes = np.append(layout.unit_sizes, [1.0, 1.0])  # U+2
    replicates = _redrawn(units, sizes, layout) / seeds_of  # K B
    of_seeds = {n: _OfSeeds(seeds, outcomes, layout) for n, seeds, outcomes in values}
    several = [n for n, found in of_seeds.items() if found.count > 1]
    hidden = {n: _hidden(n, several, layout.pool) for n in several}
    for row, n in zip(replicates, of_seeds, strict=True):
        row += of_seeds[n].redrawn
        if n in hidden:
            row += of_seeds[hidden[n].source].redrawn_apart * np.sqrt(hidden[n].factor)
    return Resampled(
        n=np.array([n for n, _, _ in values]),
        value=np.array([outcomes.mean() for _, _, outcomes in values]),
        replicates=np.clip(replicates, -1.0 if imagined.min() < 0 else 0.0, 1.0),
        seeds=seeds_of[:, 0],
        image_variance=_covariance_of_units(units / seeds_of, sizes).diagonal().copy(),
        seed_variance=np.array([found.variance / found.count for found in of_seeds.values()]),
        pool_variance=np.array(
            [hidden[n].factor * of_seeds[hidden[n].source].cautious if n in hidden else 0.0 for n in of_seeds]
        ),
        each_variance=np.array([found.explained for found in of_seeds.values()]),
        images=layout.images,
        groups=layout.groups,
    )


class _OfSeeds:
    """What the S seeds of outcomes `S I` differ by, apart from what the choice of test images explains.

    Attributes:
        count: S.
        variance: of one seed, without what the choice of test images explains.
        explained: what the choice of test images explains of it.
        cautious: of one seed, without a quarter of that.
        redrawn: `B`: what that adds to the mean of the seeds.
    """

    def __init__(self, seeds: list[int], outcomes: np.ndarray, layout: Layout):
        self.count = len(seeds)
        deviations = outcomes.mean(axis=1) - outcomes.mean()  # S
        between = deviations.var(ddof=1) if self.count > 1 else 0.0
        self.explained = float(_explained(outcomes[None], layout).item()) if self.count > 1 else 0.0
        self.variance = max(0.0, between - self.explained)
        self.cautious = max(0.0, between - _CAUTION * self.explained)
        self._multipliers, self._unit = _seed_multipliers(layout.seeds, seeds), deviations / np.sqrt(between or 1.0)
        self.redrawn: np.ndarray = self._multipliers @ self._unit * np.sqrt(self.variance)

    @property
    def redrawn_apart(self) -> np.ndarray:
        """`B`: numbers that spread as one seed of variance `cautious`, drawn apart from `redrawn`."""
        return np.roll(self._multipliers, 1, axis=0) @ self._unit * np.sqrt(self.cautious * self.count)


@dataclass(frozen=True)
class _Hidden:
    """What the seeds of one size cannot show, because they draw their training images from one pool.

    With n of N images each, two seeds have the share n/N in common. If accuracy is a mean over training images, of
    variance v for n of them, the seeds differ by v (1 - n/N) only, and all share an error of variance v n/N. Where the
    share is large, v is taken from a smaller size, with v proportional to 1/n. Only a quarter of what test images
    explain is taken off v: to take off all of it and then to multiply the rest would be too hopeful.

    Attributes:
        source: the size whose seeds show v.
        factor: the variance of that error, relative to the variance between those seeds.
        known: whether the share of the source is small enough.
    """

    source: int
    factor: float
    known: bool = True


def _hidden(n: int, sizes: Iterable[int], pool: int | None) -> _Hidden:
    """At size n, where seeds can be compared at `sizes`."""
    if pool is None:
        return _Hidden(n, 0.0)
    share = min(1.0, n / pool)
    if share <= _MOST_SHARED:
        return _Hidden(n, share / (1 - share))
    smaller = [size for size in sizes if size < n and size <= _MOST_SHARED * pool]
    if not smaller:
        return _Hidden(n, _MOST_SHARED / (1 - _MOST_SHARED), known=False)
    source = max(smaller)
    return _Hidden(source, share * (source / n) / (1 - source / pool))


# ---- all methods at one size ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Joint:
    """Accuracies of M methods at one size, and the same in B tables drawn again together.

    Attributes:
        n: the size.
        methods: M names, in the table's order.
        lacking: methods of the table without the common seeds at this size.
        value: M figures as observed.
        replicates: `M B`: accuracy of each method, its mean over trainings. Rows can be combined.
        single: `M B`: accuracy of one further training, such as that of the model that will run.
        seeds: the common seeds.
        images: number of test images.
        groups: number of test groups that are drawn; None where images are drawn.
        caveats: why the intervals may not hold.
        unseen: what no interval can contain: failures that no seed has shown.
    """

    n: int
    methods: tuple[str, ...]
    lacking: tuple[str, ...]
    value: np.ndarray
    replicates: np.ndarray = field(repr=False)
    single: np.ndarray = field(repr=False)
    seeds: tuple[int, ...]
    images: int
    groups: int | None
    caveats: tuple[Statement, ...]
    unseen: Statement

    def behind_best(self) -> pd.DataFrame:
        """How far each method is behind the best one, with intervals that hold for all of them together.

        The best one is chosen by looking, so the intervals are corrected for all pairs of methods.

        Returns:
            Columns method, behind, low, high (fractions), the best one first.
        """
        order = np.argsort(-self.value, kind="stable")
        value, replicates = self.value[order], self.replicates[order]
        pairs = list(combinations(range(len(order)), 2)) or [(0, 0)]
        low, high = together(np.stack([replicates[i] - replicates[j] for i, j in pairs]))
        rows = [(self.methods[order[0]], 0.0, 0.0, 0.0)]
        for (best, other), lowest, highest in zip(pairs, low, high, strict=True):
            if best == 0 < other:
                behind = float(value[0] - value[other])
                rows.append(
                    (self.methods[order[other]], behind, min(float(lowest), behind), max(float(highest), behind))
                )
        return pd.DataFrame(rows, columns=["method", "behind", "low", "high"])


def joint(runs: pd.DataFrame, n: int | None = None) -> Joint:
    """All methods that share seeds at one size, resampled together.

    The seeds are those that all these methods have: first as many as three, then as many methods, then as many seeds as
    there can be. VPT-deep and full fine-tuning are among the methods wherever they have a common seed.

    Args:
        runs: one task's table.
        n: the size; by default the largest that more than half of the methods share.

    Raises:
        UserError: the table cannot be used, or has no run of this size.
    """
    layout = layout_of(runs)
    n, seeds, methods = _common(layout, n)
    outcomes = np.stack([[layout.cells[method][n][seed] for seed in seeds] for method in methods])  # M S I
    of_images = _images_redrawn(outcomes.sum(axis=1), len(seeds), layout)  # M B
    hidden, covariance = _covariances_of_seeds(outcomes, n, methods, layout)
    mean, further = _seeds_redrawn(outcomes, covariance)  # M B, M B
    return Joint(
        n=n,
        methods=tuple(methods),
        lacking=tuple(method for method in layout.cells if method not in methods),
        value=outcomes.mean(axis=(1, 2)),
        replicates=np.clip(of_images + mean, 0.0, 1.0),
        single=np.clip(of_images + mean + further, 0.0, 1.0),
        seeds=tuple(seeds),
        images=layout.images,
        groups=layout.groups,
        caveats=tuple(_caveats(outcomes, seeds, methods, n, hidden, layout)),
        unseen=statement("failures_unseen", seeds=len(seeds), share=1 - (1 - LEVEL) ** (1 / len(seeds))),
    )


def _common(layout: Layout, n: int | None) -> tuple[int, list[int], list[str]]:
    """The size, the seeds and the methods of `joint`."""
    sizes = layout.sizes[::-1]
    if n is not None:
        if n not in sizes:
            raise UserError(f"the table of runs has no run with n={n}: take one of {', '.join(map(str, sizes[::-1]))}.")
        return n, *_common_at(layout, n)
    found = {size: _common_at(layout, size) for size in sizes}
    shared = [size for size, (_, methods) in found.items() if 2 * len(methods) > len(layout.cells)]
    size = max(shared or [max(sizes, key=lambda size: (len(found[size][1]), size))])
    return size, *found[size]


def _common_at(layout: Layout, n: int) -> tuple[list[int], list[str]]:
    seeds_of = {method: frozenset(cells[n]) for method, cells in layout.cells.items() if n in cells}
    pair = [seeds_of[method] for method in _COMPARED if method in seeds_of]
    wanted = frozenset.intersection(*pair) if len(pair) == len(_COMPARED) else frozenset()
    sets = _intersections(wanted & seeds if wanted else seeds for seeds in seeds_of.values())
    having = {seeds: [method for method, own in seeds_of.items() if seeds <= own] for seeds in sets}
    best = max(having, key=lambda seeds: (min(len(seeds), _ENOUGH_SEEDS), len(having[seeds]), len(seeds), -min(seeds)))
    return sorted(best), having[best]


def _intersections(sets: Iterable[frozenset[int]]) -> set[frozenset[int]]:
    """All intersections of some of the sets that are not empty."""
    found: set[frozenset[int]] = set()
    for one in set(sets):
        found |= {one} | {one & other for other in found}
    return found - {frozenset()}


def _caveats(
    outcomes: np.ndarray, seeds: list[int], methods: list[str], n: int, hidden: _Hidden, layout: Layout
) -> Iterator[Statement]:
    """Why the intervals of `joint` may not hold, from outcomes `M S I`."""
    if len(seeds) == 1:
        yield statement("one_seed")
    if layout.one_group:
        yield statement("one_test_group", images=layout.images)
    shared = [m for m in methods if len({layout.tuned_by.get((m, n, seed), seed) for seed in seeds}) < len(seeds)]
    if shared:
        yield statement("tuning_shared", methods=shared)
    if not hidden.known and layout.pool is not None:
        yield statement("pool_used_up", n=n, pool=layout.pool)
    gaps = _gaps(outcomes)  # M
    if len(seeds) >= _ENOUGH_SEEDS and np.isfinite(gaps).any():
        worst = int(np.nanargmax(gaps))
        of_worst = outcomes[worst].mean(axis=1)  # S
        yield statement(
            "seeds_skewed",
            method=methods[worst],
            lowest=float(of_worst.min()),
            others=float(np.sort(of_worst)[1:].mean()),
            seeds=len(seeds),
        )


def _gaps(outcomes: np.ndarray) -> np.ndarray:
    """How far the lowest seed of each method is below its median, where that is more than chance; else NaN: `M`.

    Chance is the larger of two: the test images, and what the seeds of all methods usually are off their median by.
    """
    methods, seeds, images = outcomes.shape
    if seeds < _ENOUGH_SEEDS:
        return np.full(methods, np.nan)
    of_seed = outcomes.mean(axis=2)  # M S
    order = np.argsort(of_seed, axis=1)
    lowest, median = order[:, 0], order[:, seeds // 2]
    every = np.arange(methods)
    below = outcomes[every, median] - outcomes[every, lowest]  # M I
    off = np.sort(np.abs(of_seed - of_seed[every, median][:, None]), axis=1)[:, 1:]  # M S-1: without the median's own 0
    error = np.maximum(below.std(axis=1) / np.sqrt(images), _OF_NORMAL * np.median(off))  # M
    gap = below.mean(axis=1)  # M
    return np.where((gap > _LEAST_GAP) & (gap > _ERRORS_BELOW * error), gap, np.nan)


def _images_redrawn(sums: np.ndarray, seeds: int, layout: Layout) -> np.ndarray:
    """Accuracies `M B` on redrawn test images, from right answers `M I` of all seeds.

    Each method has two imagined images of its own: so a difference of two methods sees four, two of them at a time.
    """
    units = layout.by_unit(sums)  # M U
    weights = _unit_weights(len(layout.unit_sizes))[:, :-2]  # B U: the draws of `differences`
    right, wrong = _imagined_draws(len(sums))  # M B, M B
    total = weights @ layout.unit_sizes  # B
    center = (units.sum(axis=1, keepdims=True) + seeds) / (layout.images + 2)  # M 1
    drawn = total + right + wrong  # M B: rarely 0 where there are very few images
    sums_of = units.astype(np.float32) @ weights.T + seeds * right  # M B
    redrawn = np.where(drawn > 0, sums_of / np.maximum(drawn, 1), center)
    return (center + (redrawn - center) * _widening(layout)) / seeds


@lru_cache(maxsize=4)
def _imagined_draws(methods: int) -> np.ndarray:
    """How often each method's two imagined images are drawn, `2 M B`."""
    random = np.random.default_rng([_RANDOM_SEED, methods, 2])
    return random.poisson(1.0, (2, methods, REPLICATES)).astype(float)


def _covariances_of_seeds(
    outcomes: np.ndarray, n: int, methods: list[str], layout: Layout
) -> tuple[_Hidden, np.ndarray]:
    """What the pool hides, and the covariance `M M` of the means over seeds, from outcomes `M S I`."""
    seeds = outcomes.shape[1]
    if seeds == 1:
        return _Hidden(n, 0.0), np.zeros((len(methods), len(methods)))
    smaller = {size: shared for size in layout.sizes if size < n and len(shared := layout.shared(methods, size)) > 1}
    hidden = _hidden(n, smaller, layout.pool)
    own = _own_covariance(outcomes, layout)
    if hidden.source != n:
        shown = np.stack(
            [[layout.cells[method][hidden.source][seed] for seed in smaller[hidden.source]] for method in methods]
        )
        return hidden, own / seeds + hidden.factor * _own_covariance(shown, layout, _CAUTION)
    return hidden, own / seeds + hidden.factor * _own_covariance(outcomes, layout, _CAUTION)


def _between(outcomes: np.ndarray) -> np.ndarray:
    """The covariance `M M` of seeds, from outcomes `M S I`."""
    return np.atleast_2d(np.cov(outcomes.mean(axis=2)))


def _own_covariance(outcomes: np.ndarray, layout: Layout, share: float = 1.0) -> np.ndarray:
    """The covariance `M M` of one seed that test images do not explain; no difference has less than alone."""
    return _root(_between(outcomes) - share * _explained(outcomes, layout), square=True)


def _root(covariance: np.ndarray, square: bool = False) -> np.ndarray:
    """A root `M M` of the nearest matrix that has one, or that matrix itself."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return root @ root.T if square else root


def _seeds_redrawn(outcomes: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What seeds add to each method's mean, of this covariance, and to one further training, `M B` each.

    In a further training the part that test images explain is left in: to subtract it would be too hopeful.
    """
    methods, seeds, _ = outcomes.shape
    if seeds == 1:
        return np.zeros((methods, REPLICATES)), np.zeros((methods, REPLICATES))
    normal = _normal_draws(methods) / _t_scale(seeds - 1)  # 2 M B
    further = _root(_between(outcomes))  # M M
    return _root(covariance) @ normal[0], further @ normal[1]


@lru_cache(maxsize=4)
def _normal_draws(methods: int) -> np.ndarray:
    return np.random.default_rng([_RANDOM_SEED, methods, 3]).standard_normal((2, methods, REPLICATES))


# ---- redrawn test images and seeds ------------------------------------------------------------------------------


def _redrawn(units: np.ndarray, sizes: np.ndarray, layout: Layout) -> np.ndarray:
    """Means `K B` over redrawn units, from their sums `K U` and sizes `U`; the last two units are imagined images."""
    weights = _unit_weights(len(sizes) - 2)  # B U
    drawn = (units.astype(np.float32) @ weights.T).astype(float) / (weights @ sizes)  # K B
    center = units.sum(axis=1, keepdims=True) / sizes.sum()  # K 1
    return center + (drawn - center) * _widening(layout)


def _covariance_of_units(units: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The covariance `K K` of means over units, from their sums `K U` and sizes `U`."""
    count = len(sizes)
    rest = units - units.sum(axis=1, keepdims=True) / sizes.sum() * sizes  # K U
    return rest @ rest.T / sizes.sum() ** 2 * (count / (count - 1) if count < _MANY_UNITS else 1.0)


def _explained(outcomes: np.ndarray, layout: Layout) -> np.ndarray:
    """The part, `M M`, of the covariance between seeds that the choice of test images explains; outcomes `M S I`."""
    methods, seeds, _ = outcomes.shape
    units = np.stack([layout.by_unit(of_method) for of_method in outcomes])  # M S U
    sizes = layout.unit_sizes
    rest = units - units.sum(axis=2, keepdims=True) / layout.images * sizes  # M S U
    rest = (rest - rest.mean(axis=1, keepdims=True)).reshape(methods, -1)  # M S*U
    count = len(sizes)
    return rest @ rest.T / ((seeds - 1) * layout.images**2) * (count / (count - 1) if count > 1 else 0.0)


def _widening(layout: Layout) -> np.ndarray | float:
    """Factors `B` for the deviations of redrawn means: few groups spread as Student's t.

    Few images need none: the two that are imagined widen their interval enough.
    """
    if layout.groups is None or layout.groups >= _MANY_UNITS:
        return 1.0
    effective = layout.images**2 / (layout.unit_sizes**2).sum()
    return np.sqrt(effective / (effective - 1)) / _t_scale(effective - 1)


@lru_cache(maxsize=4)
def _unit_weights(units: int) -> np.ndarray:
    """How often each of the units (images or groups) and the two imagined images is drawn, `B U+2`.

    With two units the imagined images are drawn apart: of four drawn together none would be real in one draw of 16, and
    no interval would exclude anything.
    """
    random = np.random.default_rng([_RANDOM_SEED, units])
    if units < _FEW_UNITS:
        imagined = random.poisson(1.0, (REPLICATES, len(_IMAGINED_ACCURACY))).astype(np.float32)
        weights = np.hstack([drawn_counts(units, REPLICATES, random), imagined])
    else:
        weights = drawn_counts(units + len(_IMAGINED_ACCURACY), REPLICATES, random)
    weights.setflags(write=False)
    return weights


def drawn_counts(units: int, times: int, random: np.random.Generator) -> np.ndarray:
    """How often each of the units is drawn when as many are drawn with replacement, `times` again: float32 `B U`."""
    counts = np.empty((times, units), dtype=np.float32)
    for row in counts:
        row[:] = np.bincount(random.integers(units, size=units), minlength=units)
    return counts


def _seed_multipliers(all_seeds: list[int], chosen: list[int]) -> np.ndarray:
    return _multipliers(len(all_seeds), tuple(map(all_seeds.index, chosen)))


@lru_cache(maxsize=64)
def _multipliers(all_seeds: int, chosen: tuple[int, ...]) -> np.ndarray:
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


@lru_cache(maxsize=64)
def _t_scale(freedom: float) -> np.ndarray:
    """Numbers `B` that turn normal ones into Student's t: √(χ² / degrees of freedom), evenly spread."""
    order = np.random.default_rng([_RANDOM_SEED, int(1000 * freedom)]).permutation(REPLICATES)
    return np.sqrt(chi2.ppf((order + 0.5) / REPLICATES, freedom) / freedom)
