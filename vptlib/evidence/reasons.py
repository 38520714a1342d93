"""The reasons behind a recommendation: each a code with its numbers. `vptlib.report.words` makes sentences of them."""

import math
from collections.abc import Sequence

import pandas as pd

from vptlib.evidence.audit import AuditFinding
from vptlib.evidence.contest import Candidate, Contest, rival_of
from vptlib.evidence.costs import costs
from vptlib.evidence.curves import CROSSES, crossover
from vptlib.evidence.forecast import Forecast
from vptlib.evidence.recommendation import FEWEST_SEEDS, FULL, NOTHING_WORKS, PROMPT, STEPS, Aims
from vptlib.evidence.resampling import Joint, accuracies, differences, middle
from vptlib.statement import Statement, statement


class Reasons:
    """What can be said of one task's runs.

    Args:
        runs: one task's table.
        at_n: its runs at the size that is judged, with the common seeds.
        found: the accuracies at the size that is judged.
        contest: of the same methods.
        aims: what the reader asks.
        settles: the smallest difference that the study tells apart, a fraction; NaN where that is not known.
        findings: of the audit, about contenders.
    """

    def __init__(
        self,
        runs: pd.DataFrame,
        at_n: pd.DataFrame,
        found: Joint,
        contest: Contest,
        aims: Aims,
        settles: float,
        findings: Sequence[AuditFinding],
    ):
        self._runs, self._at_n, self._found, self._contest, self._aims = runs, at_n, found, contest, aims
        self._settles, self._findings = settles, findings

    def seen(self) -> Statement:
        """The accuracies, the highest first."""
        order = sorted(self._contest.candidates.values(), key=lambda candidate: -candidate.accuracy)
        return statement(
            "seen",
            n=self._found.n,
            images=self._found.images,
            methods=[candidate.method for candidate in order],
            accuracies=[candidate.accuracy for candidate in order],
            chance=self._aims.chance,
        )

    def why_this_one(self, choice: Candidate) -> Statement:
        """Why the choice is the method to use: what the best would add, or what lighter ones lack."""
        lighter = [m for m in self._contest.methods if self._contest.is_lighter(m, choice.method)]
        heavier = [m for m in self._contest.methods if m != choice.method and m not in lighter]
        near = max(lighter, key=self._accuracy, default=None)
        best = max(heavier, key=self._accuracy, default=None)
        if self._aims.handicaps is not None:
            return statement("best_after_costs", method=choice.method)
        return statement(
            "lightest_of_the_best",
            method=choice.method,
            margin=self._aims.margin,
            lighter=None if near is None else self._ahead(choice.method, near),
            heavier=None if best is None else self._ahead(choice.method, best),
        )

    def further(self, choice: str, method: str | None, again: Forecast | None) -> list[Statement]:
        """What else a reader should know, the weightiest first; `again` says when to decide again."""
        return [
            *self._loss(choice, method),
            *self._doubts(),
            *([] if choice in STEPS else [self._found.unseen]),
            *self._methods_left_out(),
            *self._two_ways(),
            *self._what_it_settles(),
            *self._lead(),
            *self._weight(),
            *self._last_labels(method),
            *self._again(again),
        ]

    def would_change(self, choice: str, method: str | None) -> Statement:
        """What would make another choice right."""
        if choice == NOTHING_WORKS:
            return statement("change_by_backbone")
        if choice in STEPS:
            return statement("change_by_step", step=choice)
        if self._aims.bar is not None:
            return statement("change_by_bar", bar=self._aims.bar)
        rival = rival_of(str(method), self._contest.candidates.values())
        if rival is None:
            return statement("change_by_other_methods", method=method)
        return statement("change_by_rival", rival=rival.method, probability=rival.right)

    # ---- one by one ----

    def _loss(self, choice: str, method: str | None) -> list[Statement]:
        if method is None or method != self._contest.choice.method or len(self._contest.methods) < 2:
            return []
        if len(self._found.seeds) < FEWEST_SEEDS:
            return []
        losses = {name: candidate.expected_loss for name, candidate in self._contest.candidates.items()}
        others = [name for name in losses if name != method]
        next_best = min(others, key=lambda name: losses[name])
        return [statement("loss", method=method, loss=losses[method], other=next_best, other_loss=losses[next_best])]

    def _doubts(self) -> list[Statement]:
        found = []
        if self._findings:
            codes = list(dict.fromkeys(finding.what.code for finding in self._findings))
            methods = list(dict.fromkeys(finding.method for finding in self._findings))
            found.append(statement("audit_doubts", codes=codes, methods=methods))
        return [*found, *self._found.caveats]

    def _methods_left_out(self) -> list[Statement]:
        found = []
        if self._found.lacking:
            found.append(statement("methods_lacking", methods=list(self._found.lacking), n=self._found.n))
        at_n = self._runs[(self._runs["n"] == self._found.n) & self._runs["method"].isin(self._found.methods)]
        unused = sorted(set(at_n["seed"]) - set(self._found.seeds))
        if unused:
            found.append(statement("seeds_not_common", common=len(self._found.seeds), unused=[int(s) for s in unused]))
        return found

    def _two_ways(self) -> list[Statement]:
        """VPT-deep against full fine-tuning, which every report is about."""
        return [statement("two_ways", **self._ahead(PROMPT, FULL), n=self._found.n)]

    def _what_it_settles(self) -> list[Statement]:
        if math.isnan(self._settles):
            return []
        seeds, images = len(self._found.seeds), self._found.images
        return [statement("settles", difference=self._settles, seeds=seeds, images=images)]

    def _lead(self) -> list[Statement]:
        crossing = crossover(self._runs, PROMPT, FULL)
        if crossing.verdict != CROSSES:
            return []
        leader = PROMPT if self._accuracy(PROMPT) > self._accuracy(FULL) else FULL
        return [statement("lead_changes", n=crossing.n, low=crossing.low, high=crossing.high, leader=leader)]

    def _weight(self) -> list[Statement]:
        table = costs(self._runs).set_index("method").loc[self._contest.methods]
        return [
            statement(
                "weights",
                methods=list(table.index),
                stored=[int(size) for size in table["bytes_per_task"]],
                seconds=[float(seconds) for seconds in table["train_seconds"]],
            )
        ]

    def _last_labels(self, method: str | None) -> list[Statement]:
        """What the last step in size brought the method that is chosen, or the best one; nothing is extrapolated."""
        method = method or self._contest.best.method
        found = accuracies(self._runs, method)
        before = [k for k, n in enumerate(found.n) if n < self._found.n]
        if not before:
            return []
        at, last = before[-1] + 1, before[-1]
        low, high = map(float, middle(found.replicates[at] - found.replicates[last]))
        gain = float(found.value[at] - found.value[last])
        return [
            statement(
                "last_labels", method=method, smaller=int(found.n[last]), n=self._found.n, gain=gain,
                low=min(low, gain), high=max(high, gain),
            )
        ]  # fmt: skip

    def _again(self, again: Forecast | None) -> list[Statement]:
        """When to decide again, and whether that takes new labels."""
        if again is None:
            return []
        pool = int(self._at_n["pool"].iloc[0]) if "pool" in self._at_n else again.decide_again_at
        lacking = again.decide_again_at - pool
        return [
            again.decide_again_why,
            *([statement("labels_to_make", missing=lacking, pool=pool)] if lacking > 0 else []),
        ]

    def _accuracy(self, method: str) -> float:
        return self._contest.candidates[method].accuracy

    def _ahead(self, method: str, other: str) -> dict:
        """How far a method is ahead of another, with its 95 % interval."""
        found = differences(self._at_n, method, other)
        low, high = (float(end) for end in found.interval()[:, -1])
        difference = float(found.value[-1])
        return {
            "first": method,
            "second": other,
            "difference": difference,
            "low": min(low, difference),
            "high": max(high, difference),
        }
