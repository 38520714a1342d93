"""Whether what comes in is what a model was tested on: new images against test images, at counts that are set before.

Five tests compare the answers of a window with those to the test images. All are permutation tests: who is a new image
and who a test image is drawn again and again, and p = (count + 1) / (permutations + 1) is valid at any sample size,
with tied values too.

features    the squared Fréchet distance of the coordinates (Heusel et al., NeurIPS 2017, arXiv 1706.08500), and how
            many times the median of its permutations it is
energy      the energy distance (Székely & Rizzo, InterStat 5, 2004), which sees any difference of two distributions
confidence  the mean probability of the answers
classes     how often each class is the answer (χ² of the table)
asked       the share that is sent to a person

*Many tests.* Those of a look are taken together by Holm's method (Scandinavian Journal of Statistics 6, 1979). A test
whose answers are all the same cannot find anything and is left out.

*Many looks.* People look at a status page at any time, and a test that is repeated until it finds something always
does. So answers are cut into blocks of 200 in order of time. A block is tested after its first 25, 50, 100 and 200
answers and at no other time, each time at a quarter of `ALPHA`. What is found does not depend on when somebody looks.
Without drift, one block in 100 gives a false alarm at most.

*Few permutations where few are enough.* Permutations end when each test has seen 10 that are as extreme as the
answers; then p = 10 / permutations (Besag & Clifford, Biometrika 78, 1991).

What it cannot see:

- Drift that moves neither features nor answers: that a scratch now counts as good, for one. Only answers that people
  check show it (`vptlib.evidence.sequential`).
- Why something moved. A test set that has more scratches than production differs from it in its classes, and so in
  its features.
- Images that depend on each other, such as those of a lot. A lot differs from the test images by itself, so there are
  too many alarms, unless the groups of both are given. Then whole groups are permuted.
- What the main directions of the test images do not show. Only these coordinates are kept.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import cast

import numpy as np

from vptlib.errors import UserError
from vptlib.statement import Statement, statement

FEATURES, ENERGY, CONFIDENCE, CLASSES, ASKED = KINDS = ("features", "energy", "confidence", "classes", "asked")
# False alarms: the share of blocks without drift in which it may be found.
ALPHA = 0.01
BLOCK = 200
LOOKS = (25, 50, 100, 200)
PERMUTATIONS = 3999
# Blocks that are tested: the last so many.
MOST_BLOCKS = 25
# Test images that are compared: more take more time and tell hardly more of a window of 200.
MOST_TEST_IMAGES = 1000
_CHUNKS = (99, 400, 1000, 2500)  # of permutations; after each it is seen whether more are needed
_ENOUGH = 10  # as extreme as the answers
_POWER = 0.8
_WINDOWS, _OTHERS = 60, 100  # that are drawn to learn how large a shift would be found, and compared with so many
_MOST_CHANGED = 3
_NEARLY = 1e-9  # values that differ by rounding count as equal


# ---- what is compared -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sample:
    """Answers to n images.

    Attributes:
        answers: numbers of the classes, int `n`.
        class_names: C names.
        coordinates: of the features (`vptlib.operations.features.Reference`), `n k`; None where they are not known.
        confidence: probability of each answer, `n`; None where it is not known.
        asked: whether a person was to be asked, bool `n`; None where it is not known.
        groups: number or name of the lot, site or patient of each, `n`; None where they are drawn one by one or not
            known.

    Raises:
        UserError: the parts do not fit each other, or hold numbers that are not finite.
    """

    answers: np.ndarray
    class_names: tuple[str, ...]
    coordinates: np.ndarray | None = field(default=None, repr=False)
    confidence: np.ndarray | None = field(default=None, repr=False)
    asked: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __post_init__(self):
        count = len(self.answers)
        for name in ("coordinates", "confidence", "asked", "groups"):
            part = getattr(self, name)
            if part is not None and len(part) != count:
                raise UserError(f"{name} has {len(part)} entries, but there are {count} answers.")
        for name in ("coordinates", "confidence"):
            part = getattr(self, name)
            if part is not None and not np.isfinite(np.asarray(part, dtype=np.float64)).all():
                raise UserError(f"{name} holds numbers that are not finite: leave these answers out.")
        if count and not 0 <= self.answers.min() <= self.answers.max() < len(self.class_names):
            raise UserError(f"answers has classes from {self.answers.min()} to {self.answers.max()}, but "
                            f"{len(self.class_names)} have a name.")  # fmt: skip

    def __len__(self) -> int:
        return len(self.answers)

    def among(self, rows: np.ndarray | slice) -> "Sample":
        """The answers of some rows."""
        names = ("answers", "coordinates", "confidence", "asked", "groups")
        return replace(self, **{n: None if getattr(self, n) is None else getattr(self, n)[rows] for n in names})


# ---- what is found ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Test:
    """One test of a look.

    Attributes:
        kind: one of `KINDS`.
        p: probability of a difference as large as this without drift.
        adjusted: by Holm for all tests of the look; drift is found if it is at most a quarter of `ALPHA`.
        ratio: how many times the median of its permutations the statistic is; without drift about 1.
        before, now: of `CONFIDENCE` the means, of `ASKED` the shares, of test images and of the window; else NaN.
        changes: of `CLASSES` those that changed most: name, share of the test images, share of the window.
    """

    __test__ = False  # for pytest

    kind: str
    p: float
    adjusted: float
    ratio: float
    before: float = math.nan
    now: float = math.nan
    changes: tuple[tuple[str, float, float], ...] = ()

    @property
    def found(self) -> bool:
        return self.adjusted <= ALPHA / len(LOOKS) + _NEARLY

    def finding(self) -> Statement:
        """What this test saw."""
        if self.kind == FEATURES:
            return statement("drift_features", ratio=self.ratio)
        if self.kind == ENERGY:
            return statement("drift_energy", ratio=self.ratio)
        if self.kind == CONFIDENCE:
            return statement("drift_confidence", before=self.before, now=self.now)
        if self.kind == ASKED:
            return statement("drift_asked", before=self.before, now=self.now)
        return statement("drift_classes", changes=[list(change) for change in self.changes])


@dataclass(frozen=True)
class Look:
    """The tests after the first `answers` answers of a block."""

    answers: int
    tests: tuple[Test, ...]

    @property
    def found(self) -> bool:
        return any(test.found for test in self.tests)


@dataclass(frozen=True)
class Block:
    """Up to 200 answers in a row.

    Attributes:
        first: number of its first answer, from 0.
        answers: how many there are so far.
        looks: those that are complete. In a block before the last, none follows the one that found drift.
    """

    first: int
    answers: int
    looks: tuple[Look, ...]

    @property
    def found(self) -> bool:
        return any(look.found for look in self.looks)

    @property
    def is_complete(self) -> bool:
        return self.answers == BLOCK


@dataclass(frozen=True)
class Drift:
    """What was found in a stream of answers.

    Attributes:
        answers: in the stream.
        blocks: the last 25 at most, in order of time.
        has_features: whether coordinates of test images and answers could be compared.
        groups: whether whole groups were permuted; None where test images have groups and the answers do not.
    """

    answers: int
    blocks: tuple[Block, ...]
    has_features: bool
    groups: bool | None
    _pool: "_Pool | None" = field(repr=False, compare=False)  # of the last complete look
    _seed: int = field(repr=False)

    @property
    def look(self) -> Look | None:
        """The last complete look."""
        return next((block.looks[-1] for block in reversed(self.blocks) if block.looks), None)

    @property
    def found(self) -> bool:
        """Whether the present block has found drift; while it has not and is incomplete, whether the one before had."""
        return self.since is not None

    @cached_property
    def since(self) -> int | None:
        """Number of the first answer of the first block of those in a row, up to now, that found drift."""
        first = None
        for block in reversed(self.blocks):
            if block.found:
                first = block.first
            elif block.is_complete or first is not None:
                break
        return first

    @property
    def telling(self) -> Look | None:
        """The look that the finding is about: the last that found drift, else the last complete one."""
        looks = [look for block in self.blocks for look in block.looks]
        return next((look for look in reversed(looks) if look.found), self.look) if self.found else self.look

    @cached_property
    def shift(self) -> float | None:
        """The shift of all images that the last look would have found with probability about 0.8.

        It is along the main direction of the test images, in standard deviations along it. None with drift, without
        features, or with too few groups. It takes some tenths of a second.
        """
        if self.found or self.look is None or self._pool is None or not self.has_features or self.has_few_groups:
            return None
        return _shift(self._pool, len(self.look.tests), self._seed)

    @property
    def arrangements(self) -> float:
        """In how many ways groups could be permuted at the last look; infinite without groups."""
        return math.inf if self._pool is None else self._pool.arrangements

    @property
    def needed_arrangements(self) -> int:
        """In so many ways groups must be able to be permuted, so that the smallest probability of a look is enough."""
        return 0 if self.look is None else math.ceil(len(self.look.tests) * len(LOOKS) / ALPHA)

    @property
    def has_few_groups(self) -> bool:
        """Whether there are too few groups to find anything."""
        return self.arrangements < self.needed_arrangements

    def findings(self) -> list[Statement]:
        """The verdict, then what each test that found something saw, then what limits the verdict."""
        limits = self._limits()
        look = self.telling
        if look is None:
            return [statement("drift_too_few", answers=self.answers, needed=LOOKS[0]), *limits]
        if not self.found:
            return [statement("drift_not_found", answers=look.answers, shift=self.shift), *limits]
        seen = [test for test in look.tests if test.found]
        verdict = statement(
            "drift_found",
            tests=[test.kind for test in seen],
            since=self.since,
            at_least=self.since == self.blocks[0].first > 0,
            answers=look.answers,
        )
        return [verdict, *(test.finding() for test in seen), *limits]

    def _limits(self) -> list[Statement]:
        found = [] if self.has_features else [statement("drift_without_features")]
        if self.groups is None:
            found.append(statement("drift_groups_unknown"))
        if self.has_few_groups:
            ways = int(self.arrangements)
            found.append(statement("drift_few_groups", arrangements=ways, needed=self.needed_arrangements))
        return found


# ---- finding it -------------------------------------------------------------------------------------------------


def drift_of(reference: Sample, stream: Sample, seed: int = 0) -> Drift:
    """Whether a stream of answers still is as the answers to the test images were.

    Args:
        reference: answers to the test images.
        stream: answers of one version in use, in order of time, all of them: blocks are counted from the first.
        seed: of the permutations.

    Returns:
        The same for a longer stream, as far as its blocks are the same.

    Raises:
        UserError: the two have other classes, or coordinates of other widths.
    """
    _check_alike(reference, stream)
    groups = None if (reference.groups is not None and stream.groups is None) else reference.groups is not None
    if not groups:
        reference, stream = replace(reference, groups=None), replace(stream, groups=None)
    if len(reference) > MOST_TEST_IMAGES:
        kept = np.random.default_rng([seed, len(reference)]).permutation(len(reference))[:MOST_TEST_IMAGES]
        reference = reference.among(np.sort(kept))
    numbers = range(math.ceil(len(stream) / BLOCK))[-MOST_BLOCKS:]
    blocks = tuple(_block(reference, stream, number, seed, number == numbers[-1]) for number in numbers)
    last = next((block for block in reversed(blocks) if block.looks), None)
    return Drift(
        answers=len(stream),
        blocks=blocks,
        has_features=reference.coordinates is not None and stream.coordinates is not None,
        groups=groups,
        _pool=None if last is None else _pool(reference, stream, last.first, last.looks[-1].answers),
        _seed=seed,
    )


def _check_alike(reference: Sample, stream: Sample) -> None:
    if reference.class_names != stream.class_names:
        raise UserError("reference and stream have other classes: compare the answers of one version.")
    widths = {sample.coordinates.shape[1] for sample in (reference, stream) if sample.coordinates is not None}
    if len(widths) > 1:
        raise UserError(f"coordinates have widths {sorted(widths)}: compare the answers of one version.")
    if len(reference) < 2:
        raise UserError(f"reference has {len(reference)} answers, but must have 2 or more.")


def _block(reference: Sample, stream: Sample, number: int, seed: int, is_last: bool) -> Block:
    first, looks = number * BLOCK, []
    answers = min(BLOCK, len(stream) - first)
    for count in LOOKS:
        if count > answers or (not is_last and looks and looks[-1].found):
            break
        random = np.random.default_rng([seed, number, count])
        looks.append(Look(count, _tests(_pool(reference, stream, first, count), random)))
    return Block(first, answers, tuple(looks))


@dataclass(frozen=True, eq=False)
class _Pool:
    """Test images, then those of a window.

    Attributes:
        before, now: the two.
        units: number of what is permuted, for each of the N images, `N`: those of the window come last.
        new: how many of the units are of the window.
    """

    before: Sample
    now: Sample
    units: np.ndarray
    new: int

    @property
    def arrangements(self) -> float:
        """In how many ways units can be permuted; infinite where each image is one."""
        total = int(self.units[-1]) + 1
        return math.inf if self.before.groups is None else float(math.comb(total, self.new))

    def joined(self, name: str) -> np.ndarray | None:
        """A part of both samples, one after the other; None where one lacks it."""
        parts = getattr(self.before, name), getattr(self.now, name)
        return None if parts[0] is None or parts[1] is None else np.concatenate(parts)

    def drawn(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Who is of the window in `count` permutations: 1 or 0, `P N`."""
        order = random.random((count, int(self.units[-1]) + 1)).argsort(axis=1)  # P U
        return (order < self.new)[:, self.units].astype(np.float64)

    @property
    def observed(self) -> np.ndarray:
        """Who is of the window: 1 or 0, `1 N`."""
        return (np.arange(len(self.units)) >= len(self.before))[None].astype(np.float64)


def _pool(reference: Sample, stream: Sample, first: int, count: int) -> _Pool:
    now = stream.among(slice(first, first + count))
    if reference.groups is None or now.groups is None:
        return _Pool(reference, now, np.arange(len(reference) + count), count)
    old, new = (np.unique(groups, return_inverse=True)[1] for groups in (reference.groups, now.groups))
    return _Pool(reference, now, np.concatenate([old, new + old.max() + 1]), int(new.max()) + 1)


def _tests(pool: _Pool, random: np.random.Generator) -> tuple[Test, ...]:
    """All tests of a look that can find anything."""
    statistics = _statistics(pool)
    nulls = _nulls(pool, statistics, random)
    p = {kind: _p_value(*nulls[kind]) for kind in statistics}
    adjusted = _holm(p)
    return tuple(
        _described(pool, Test(kind, p[kind], adjusted[kind], _ratio(*nulls[kind]))) for kind in KINDS if kind in p
    )


def _nulls(
    pool: _Pool, statistics: dict[str, Callable], random: np.random.Generator
) -> dict[str, tuple[float, np.ndarray]]:
    """Each statistic of the answers, and of permutations until more of them would change nothing."""
    observed = {kind: float(of(pool.observed)[0]) for kind, of in statistics.items()}
    null = {kind: np.empty(0) for kind in statistics}
    for count in _CHUNKS:
        drawn = pool.drawn(count, random)  # P N
        null = {kind: np.concatenate([null[kind], of(drawn)]) for kind, of in statistics.items()}
        if all(_as_extreme(observed[kind], null[kind]).sum() >= _ENOUGH for kind in statistics):
            break
    return {kind: (observed[kind], null[kind]) for kind in statistics}


def _as_extreme(observed: float, null: np.ndarray) -> np.ndarray:
    return null >= observed - _NEARLY * max(1e-12, abs(observed))


def _p_value(observed: float, null: np.ndarray) -> float:
    """Of the permutations in their order; the tenth that is as extreme ends them (Besag & Clifford 1991)."""
    extreme = np.flatnonzero(_as_extreme(observed, null))
    if len(extreme) >= _ENOUGH:
        return _ENOUGH / float(extreme[_ENOUGH - 1] + 1)
    return (len(extreme) + 1) / (len(null) + 1)


def _ratio(observed: float, null: np.ndarray) -> float:
    middle = float(np.median(null))
    return observed / middle if middle > 0 else math.inf if observed > 0 else 1.0


def _holm(p: dict[str, float]) -> dict[str, float]:
    adjusted, largest = {}, 0.0
    for rank, kind in enumerate(sorted(p, key=lambda kind: p[kind])):
        largest = max(largest, min(1.0, p[kind] * (len(p) - rank)))
        adjusted[kind] = largest
    return adjusted


def _described(pool: _Pool, test: Test) -> Test:
    """The test with what changed, for people."""
    if test.kind in (CONFIDENCE, ASKED):
        before, now = (getattr(s, test.kind).mean(dtype=np.float64) for s in (pool.before, pool.now))
        return replace(test, before=float(before), now=float(now))
    if test.kind != CLASSES:
        return test
    names = pool.now.class_names
    before, now = (np.bincount(s.answers, minlength=len(names)) / len(s) for s in (pool.before, pool.now))
    order = np.argsort(-np.abs(now - before), kind="stable")[:_MOST_CHANGED]
    changed = [(names[c], float(before[c]), float(now[c])) for c in order if now[c] != before[c]]
    return replace(test, changes=tuple(changed))


# ---- statistics -------------------------------------------------------------------------------------------------


def _statistics(pool: _Pool) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Kind → who is of the window, `P N`, to a statistic `P` that is large where window and rest differ.

    What is the same for all images is left out.
    """
    found: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    points = pool.joined("coordinates")
    if points is not None and np.ptp(points, axis=0).any():
        points = points.astype(np.float64)
        found |= {FEATURES: partial(_frechet, points - points.mean(axis=0)), ENERGY: partial(_energy, _apart(points))}
    for kind, values in ((CONFIDENCE, pool.joined("confidence")), (ASKED, pool.joined("asked"))):
        if values is not None and len(np.unique(values)) > 1:
            found[kind] = partial(_difference, values.astype(np.float64))
    answers = np.concatenate([pool.before.answers, pool.now.answers])
    classes, numbers = np.unique(answers, return_inverse=True)
    if len(classes) > 1:
        found[CLASSES] = partial(_chi_square, np.eye(len(classes))[numbers])
    return found


def _frechet(points: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Squared Fréchet distances `P`, as `vptlib.evidence.similarity.frechet_distance`, from points `N k` of mean 0."""
    (first, one), (second, other) = _moments(points, drawn)
    shift = ((first - second) ** 2).sum(axis=1)
    width = points.shape[1]
    trace = np.trace(one, axis1=1, axis2=2) + np.trace(other, axis1=1, axis2=2)  # P
    jitter = (1e-13 * trace + 1e-30)[:, None, None] * np.eye(width)  # for fewer images than directions
    root = np.linalg.cholesky(other + jitter)  # P k k
    common = np.linalg.eigvalsh(root.mT @ one @ root)  # P k
    return shift + trace - 2 * np.sqrt(common.clip(0)).sum(axis=1)


def _moments(points: np.ndarray, drawn: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Means `P k` and covariances `P k k` of the window and of the rest."""
    width = points.shape[1]
    upper = np.triu_indices(width)
    terms = np.hstack([points, points[:, upper[0]] * points[:, upper[1]]])  # N k+k(k+1)/2
    of_window, count = drawn @ terms, drawn.sum(axis=1, keepdims=True)
    found = []
    for sums, cases in ((of_window, count), (terms.sum(axis=0) - of_window, len(points) - count)):
        mean = sums[:, :width] / cases  # P k
        product = np.empty((len(drawn), width, width))
        product[:, upper[0], upper[1]] = product[:, upper[1], upper[0]] = sums[:, width:]
        spread = product - cases[:, :, None] * mean[:, :, None] * mean[:, None, :]
        found.append((mean, spread / np.maximum(cases - 1, 1)[:, :, None]))
    return found


def _apart(points: np.ndarray) -> np.ndarray:
    """Distances between points `N k`: `N N`."""
    squares = (points**2).sum(axis=1)
    between = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(between, 0)
    return np.sqrt(between.clip(0))


def _energy(apart: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Energy statistics n m / (n + m) · (2 E|x - y| - E|x - x'| - E|y - y'|), `P`, from distances `N N`."""
    total, of_each = apart.sum(), apart.sum(axis=1)  # N
    within = ((drawn @ apart) * drawn).sum(axis=1)  # P
    across = drawn @ of_each - within
    rest = total - 2 * across - within
    new = drawn.sum(axis=1)
    old = len(apart) - new
    return new * old / (new + old) * (2 * across / (new * old) - within / new**2 - rest / old**2)


def _difference(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """How far the means of the window and of the rest are apart, `P`, from values `N`."""
    sums, count = drawn @ values, drawn.sum(axis=1)
    return np.abs(sums / count - (values.sum() - sums) / (len(values) - count))


def _chi_square(one_hot: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """χ² of the table window or rest × class, `P`, from classes `N C`."""
    share = drawn.mean(axis=1, keepdims=True)  # P 1
    expected = share * one_hot.sum(axis=0)  # P C
    return ((drawn @ one_hot - expected) ** 2 / (expected * (1 - share))).sum(axis=1)


# ---- what would have been found ---------------------------------------------------------------------------------


def _shift(pool: _Pool, tests: int, seed: int) -> float | None:
    """The shift along the main direction that is found with probability 0.8, in standard deviations along it.

    Windows without drift are drawn by permutation, and then shifted. Drift is found where the Fréchet distance or the
    energy exceeds what permutations reach with the probability that Holm's first step allows. The shift itself adds to
    the spread of all images together. So what permutations reach is raised by its share in the variance.
    """
    points = cast(np.ndarray, pool.joined("coordinates")).astype(np.float64)
    own = points[: len(pool.before), 0].std(ddof=1)
    if not own or not tests:
        return None
    random = np.random.default_rng([seed, tests])
    statistics, drawn = _statistics(pool), pool.drawn(PERMUTATIONS, random)
    level = 1 - ALPHA / len(LOOKS) / tests
    null = {kind: statistics[kind](drawn) for kind in (FEATURES, ENERGY)}
    limits = {kind: float(np.quantile(values, level, method="higher")) for kind, values in null.items()}
    windows, share = drawn[:_WINDOWS].astype(bool), len(pool.now) / len(points)

    def power(shift: float) -> float:
        grown = 1 + share * (1 - share) * (shift / own) ** 2
        found = _frechet_shifted(points, windows, null[FEATURES][:_WINDOWS], shift) > grown * limits[FEATURES]
        found |= _energy_shifted(points, windows, null[ENERGY][:_WINDOWS], shift) > grown * limits[ENERGY]
        return float(found.mean())

    least = _least(power, own)
    return None if least is None else float(least / own)


def _least(power: Callable[[float], float], start: float) -> float | None:
    """About the least shift at which `power` is 0.8; None if none is."""
    low, high = 0.0, start
    while power(high) < _POWER:
        low, high = high, 2 * high
        if high > 100 * start:
            return None
    for _ in range(6):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= _POWER else (middle, high)
    return high


def _frechet_shifted(points: np.ndarray, windows: np.ndarray, before: np.ndarray, shift: float) -> np.ndarray:
    """Fréchet distances `W` when each window is shifted along the first direction: covariances stay as they are."""
    apart = np.array([points[rows, 0].mean() - points[~rows, 0].mean() for rows in windows])  # W
    return before + 2 * shift * apart + shift**2


def _energy_shifted(points: np.ndarray, windows: np.ndarray, before: np.ndarray, shift: float) -> np.ndarray:
    """Energy statistics `W` when each window is shifted along the first direction: only distances across change.

    Their mean change is taken from every so many of the other images.
    """
    found = []
    for rows, energy in zip(windows, before, strict=True):
        new, old = points[rows], points[~rows]  # m k, n k
        some = old[:: math.ceil(len(old) / _OTHERS)]
        across = ((new**2).sum(axis=1)[:, None] + (some**2).sum(axis=1) - 2 * new @ some.T).clip(0)  # m s
        ahead = new[:, :1] - some[:, 0]
        shifted = np.sqrt((across + 2 * shift * ahead + shift**2).clip(0))
        found.append(energy + 2 * len(new) * len(old) / len(points) * (shifted - np.sqrt(across)).mean())
    return np.array(found)
