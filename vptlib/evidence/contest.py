"""Which method is right, how sure that is, and what a wrong choice costs: all methods of a study are candidates.

The right method is the lightest one within the margin of the best. The margin is the smallest difference in accuracy
that matters. Lighter means fewer bytes for each further task, and where two are equal, less time to train.

A choice can lose in two ways. Its accuracy is below the best by the margin or more: it loses that difference. Or a
lighter method would have done: it loses the margin, the price that the reader puts on weight. Where the costs of the
methods are known, they take the place of the margin: each method's accuracy is reduced by its `handicap`, the accuracy
that its cost above the cheapest method is worth, and the right method is the one that is then the best.

Probabilities and losses are averages over the redrawn tables of `vptlib.evidence.resampling.joint`, so all methods are
compared on the same test images and seeds; `vptlib.evidence.shrinkage` allows for the best one being the luckiest.
Expected loss and the value of a larger study: Raiffa and Schlaifer, Applied Statistical Decision Theory, 1961, chapters
4 and 5.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from vptlib.evidence.power import uncertainty_left
from vptlib.evidence.resampling import LEVEL, Joint, middle
from vptlib.evidence.shrinkage import Parts, shrunk

HIGH, MEDIUM = LEVEL, 0.80
LEVELS = ("low", "medium", "high")


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
        self._found, self._rows = found, rows
        self.at_n: pd.DataFrame = runs[(runs["n"] == found.n) & runs["seed"].isin(found.seeds)]  # what is judged

    @cached_property
    def candidates(self) -> dict[str, Candidate]:
        """All of them, the lightest first."""
        low, high = middle(self._observed)  # M, M
        right, near = self._right.mean(axis=1), self._near.mean(axis=1)
        losses = self._losses(self._net(self._compared)).mean(axis=1)
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

    def worth_of_more(self, seeds: int | None = None, images: int | None = None) -> float:
        """What a larger study would save on average, in expected loss (a fraction of accuracy).

        Many such studies are drawn from the same redrawn tables as the losses. In each, the choice is the one that
        loses least by what that study tells.

        Args:
            seeds, images: of the larger study; None leaves them as they are. Images are test images.
        """
        if self.rival is None:
            return 0.0
        left = uncertainty_left(self.at_n, self.choice.method, self.rival.method, seeds, images)
        saved = self._least_loss_now - self._least_loss(left)
        return float(np.clip(saved, 0.0, self.choice.expected_loss))

    # ---- each redrawn table ----

    def _net(self, accuracies: np.ndarray) -> np.ndarray:
        """Accuracies `M ...` less the handicaps."""
        handicaps = np.array([(self.handicaps or {}).get(method, 0.0) for method in self.methods])
        return accuracies - handicaps.reshape(-1, *[1] * (accuracies.ndim - 1))

    @cached_property
    def _near(self) -> np.ndarray:
        """Whether no method is better by the margin or more, bool `M B`."""
        return self._behind(self._net(self._compared)) < self.margin

    @cached_property
    def _right(self) -> np.ndarray:
        """Whether each method is the right one, bool `M B`."""
        net = self._net(self._compared)
        first = net.argmax(axis=0) if self.handicaps is not None else self._near.argmax(axis=0)  # B
        return first == np.arange(len(self.methods))[:, None]

    def _losses(self, net: np.ndarray) -> np.ndarray:
        """What each choice loses where the methods have these accuracies, `M ...`."""
        behind = self._behind(net)
        if self.handicaps is not None:
            return behind
        near = behind < self.margin
        too_heavy = near.cumsum(axis=0) > near  # a lighter one is near the best
        return np.where(near, 0.0, behind) + self.margin * too_heavy

    @cached_property
    def _parts(self) -> Parts:
        return Parts.of(self._found)

    @cached_property
    def _least_loss_now(self) -> float:
        return self._least_loss(1.0)

    def _least_loss(self, left: float) -> float:
        """The mean loss of the best choices after larger studies that leave this share of the noise."""
        possible = self._parts.after_study(left)[self._rows]  # M K K
        return float(self._losses(self._net(possible)).mean(axis=2).min(axis=0).mean())

    @staticmethod
    def _behind(net: np.ndarray) -> np.ndarray:
        """How far each method is behind the best, `M ...`."""
        return net.max(axis=0) - net


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
