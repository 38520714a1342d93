"""Which method is right, how sure that is, and what a wrong choice costs: all methods of a study are candidates.

The right method is the lightest one within the margin of the best. The margin is the smallest difference in accuracy
that matters. Lighter means fewer bytes for each further task, and where two are equal, less time to train.

A choice can lose in two ways. Its accuracy is below the best by the margin or more: it loses that difference. Or a
lighter method would have done: it loses the margin, the price that the reader puts on weight. Where the costs of the
methods are known, they take the place of the margin: each method's accuracy is reduced by its `handicap`, the accuracy
that its cost above the cheapest method is worth, and the right method is the one that is then the best.

Probabilities and losses are averages over the redrawn tables of `vptlib.evidence.resampling.joint`, so all methods are
compared on the same test images and seeds; `vptlib.evidence.shrinkage` allows for the best one being the luckiest.
Expected loss and the value of information: Raiffa and Schlaifer, Applied Statistical Decision Theory, 1961, chapters 4
and 5.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.stats import norm

from vptlib.evidence.resampling import LEVEL, Joint, differences, middle
from vptlib.evidence.shrinkage import shrunk

HIGH, MEDIUM = LEVEL, 0.80
LEVELS = ("low", "medium", "high")
_POINTS = 41  # of the normal distribution, when the value of information is averaged


@dataclass(frozen=True)
class Candidate:
    """One method at the size where methods are compared.

    Attributes:
        method: its name.
        accuracy, low, high: mean over the seeds, a fraction, with its 95 % interval.
        right: probability that it is the lightest within the margin of the best.
        near_best: probability that no method is better by the margin or more.
        expected_loss: accuracy (a fraction) that choosing it loses on average.
    """

    method: str
    accuracy: float
    low: float
    high: float
    right: float
    near_best: float
    expected_loss: float


class Contest:
    """The candidates of one study, the lightest first.

    Args:
        runs: one task's table.
        found: accuracies that were redrawn together.
        margin: the smallest difference in accuracy that matters, a fraction.
        handicaps: method → accuracy (a fraction) that its cost is worth, or None.
        among: methods that may be chosen; by default all.
    """

    def __init__(
        self,
        runs: pd.DataFrame,
        found: Joint,
        margin: float,
        handicaps: Mapping[str, float] | None = None,
        among: Collection[str] | None = None,
    ):
        order = [method for method in by_weight(runs, found) if among is None or method in among]
        rows = [found.methods.index(method) for method in order]
        self.methods: list[str] = order
        self.margin, self.handicaps = margin, handicaps
        self.value: np.ndarray = found.value[rows]  # M
        self._observed: np.ndarray = found.replicates[rows]  # M B: for what is said of one method alone
        self._compared: np.ndarray = shrunk(found).replicates[rows]  # M B: for what is said of several
        self._runs, self._n = runs, found.n

    @cached_property
    def candidates(self) -> dict[str, Candidate]:
        """All of them, the lightest first."""
        low, high = middle(self._observed)  # M, M
        right, near, losses = self._right.mean(axis=1), self._near.mean(axis=1), self._losses.mean(axis=1)
        return {
            method: Candidate(
                method,
                float(self.value[k]),
                float(min(low[k], self.value[k])),
                float(max(high[k], self.value[k])),
                float(right[k]),
                float(near[k]),
                float(losses[k]),
            )
            for k, method in enumerate(self.methods)
        }

    @cached_property
    def choice(self) -> Candidate:
        """The candidate that loses least on average; where two are equal, the lighter one."""
        return min(self.candidates.values(), key=lambda candidate: candidate.expected_loss)

    @cached_property
    def best(self) -> Candidate:
        """The candidate of the highest accuracy; where two are equal, the lighter one."""
        return max(self.candidates.values(), key=lambda candidate: candidate.accuracy)

    @cached_property
    def rival(self) -> Candidate | None:
        """The candidate that is most probably right if the choice is wrong, or None where there is no other."""
        return rival_of(self.choice.method, self.candidates.values())

    def is_lighter(self, one: str, other: str) -> bool:
        """Whether the first of two candidates is the lighter one."""
        return self.methods.index(one) < self.methods.index(other)

    def probability_below(self, level: float) -> dict[str, float]:
        """Method → probability that its accuracy is not above `level`.

        It is multiplied by the number of methods (Bonferroni), because all of them are tried.
        """
        times, shares = len(self.methods), (self._observed <= level).mean(axis=1)
        return {method: min(1.0, times * float(share)) for method, share in zip(self.methods, shares, strict=True)}

    def probability_best_below(self, level: float) -> float:
        """Probability that the accuracy of every method is below `level`."""
        return float((self._compared.max(axis=0) < level).mean())

    def value_of_information(self) -> dict[str, float]:
        """What it would be worth to remove one source of uncertainty, in expected loss (a fraction of accuracy).

        Keys: "seeds", "test_images", and "both" (perfect information). Between the choice and its rival alone, as if
        their difference were normal.
        """
        if self.rival is None:
            return {"seeds": 0.0, "test_images": 0.0, "both": 0.0}
        found = differences(self._runs, self.choice.method, self.rival.method)
        at = int(np.flatnonzero(found.n == self._n)[0])
        of_images, of_seeds = float(found.image_variance[at]), float(found.seed_variance[at])
        of_pool = float(found.pool_variance[at])  # neither seeds nor test images remove it
        lead = float(found.value[at]) - self._handicap_of(self.choice.method) + self._handicap_of(self.rival.method)
        now = self._loss_of_pair(np.array([lead]), of_images + of_seeds + of_pool)[0]
        return {
            "seeds": max(0.0, now - self._expected(lead, of_seeds, of_images + of_pool)),
            "test_images": max(0.0, now - self._expected(lead, of_images, of_seeds + of_pool)),
            "both": float(now),
        }

    # ---- each redrawn table ----

    @cached_property
    def _net(self) -> np.ndarray:
        """Accuracies less the handicaps, `M B`."""
        return self._compared - np.array([[self._handicap_of(method)] for method in self.methods])

    def _handicap_of(self, method: str) -> float:
        return self.handicaps.get(method, 0.0) if self.handicaps is not None else 0.0

    @cached_property
    def _behind(self) -> np.ndarray:
        """How far each method is behind the best, `M B`."""
        return self._net.max(axis=0) - self._net

    @cached_property
    def _near(self) -> np.ndarray:
        """Whether no method is better by the margin or more, bool `M B`."""
        return self._behind < self.margin

    @cached_property
    def _first(self) -> np.ndarray:
        """The position of the right method in each table, `B`."""
        return self._net.argmax(axis=0) if self.handicaps is not None else self._near.argmax(axis=0)

    @property
    def _right(self) -> np.ndarray:
        """Bool `M B`."""
        return self._first == np.arange(len(self.methods))[:, None]

    @property
    def _losses(self) -> np.ndarray:
        """What each choice loses in each table, `M B`."""
        if self.handicaps is not None:
            return self._behind
        too_heavy = np.arange(len(self.methods))[:, None] > self._first
        return np.where(self._near, 0.0, self._behind) + self.margin * too_heavy

    # ---- two methods, as if normal ----

    def _expected(self, lead: float, known: float, left: float) -> float:
        """Expected loss of the better choice once the variance `known` is removed and `left` remains."""
        quantiles = norm.ppf((np.arange(_POINTS) + 0.5) / _POINTS)
        return float(self._loss_of_pair(lead + np.sqrt(known) * quantiles, left).mean())

    def _loss_of_pair(self, leads: np.ndarray, variance: float) -> np.ndarray:
        """Least expected loss of the two, `K`, where the choice leads by `leads` (`K`) with that variance."""
        if self.handicaps is not None:
            return _positive_part(-np.abs(leads), variance)
        lighter_lead = leads if self.rival and self.is_lighter(self.choice.method, self.rival.method) else -leads
        spread = np.sqrt(variance) if variance > 0 else 1e-12
        behind = norm.cdf((-self.margin - lighter_lead) / spread)  # the lighter one is worse by the margin or more
        take_lighter = _positive_part(-lighter_lead - self.margin, variance) + self.margin * behind
        ahead = norm.cdf((lighter_lead - self.margin) / spread)
        take_heavier = _positive_part(lighter_lead - self.margin, variance) + self.margin * (ahead + 1 - behind)
        return np.minimum(take_lighter, take_heavier)


def _positive_part(means: np.ndarray, variance: float) -> np.ndarray:
    """Mean of max(0, x) for normal x with these means, `K`."""
    if variance <= 0:
        return np.maximum(means, 0.0)
    spread = np.sqrt(variance)
    return means * norm.cdf(means / spread) + spread * norm.pdf(means / spread)


def rival_of(method: str, candidates: Iterable[Candidate]) -> Candidate | None:
    """The candidate that is most probably right if `method` is wrong, or None where there is no other."""
    others = [candidate for candidate in candidates if candidate.method != method]
    return max(others, key=lambda other: (other.right, -other.expected_loss), default=None)


def by_weight(runs: pd.DataFrame, found: Joint) -> list[str]:
    """The methods of `found`, the lightest first: by bytes for each further task, then by seconds of training."""
    at = runs[(runs["n"] == found.n) & runs["method"].isin(found.methods)]
    weights = at.groupby("method")[["bytes_per_task", "train_seconds"]].median()
    return weights.sort_values(["bytes_per_task", "train_seconds"], kind="stable").index.tolist()


def level_of(probability: float) -> str:
    """One of `LEVELS`: "high" from 0.95 on, "medium" from 0.80 on, else "low"."""
    return LEVELS[int(probability >= MEDIUM) + int(probability >= HIGH)]
