"""From the runs of one task to a recommendation: prompts, fine-tuning, more data, or no difference that matters.

All functions are pure functions of the table of runs (`Study.runs`). They give codes and numbers; the sentences are in
`vptlib.report.words`. The rule uses one figure with its 95 % interval: the accuracy of VPT-deep less that of full
fine-tuning at the largest size. It compares this with the margin, the smallest difference that matters to the user.
Prompts are the lighter choice, so they need not win. They must only not lose:

    interval                                          choice
    within -margin … +margin                          no_difference (that matters)
    above -margin                                     prompt
    below 0, the difference itself ≤ -margin          fine_tune
    anything else                                     collect_more (data)

Prompts are right if fine-tuning is not better by the margin or more. Fine-tuning is right if it is. There is no
difference that matters if neither is better by the margin. The confidence is the probability that the choice is right,
as a share of the bootstrap replicates: from 0.95 on high, from 0.80 on medium, otherwise low. For `collect_more` it is
the reverse: high if neither answer reaches 0.80, low if one reaches 0.95. With one seed it is always low: a quick look.

A study that had too little time may lack the runs of one of the two. `advice_so_far` then gives the choice `no_answer`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from vptlib.errors import UserError
from vptlib.evidence.curves import (
    CROSSES,
    REPLICATES,
    PowerLaw,
    Resampled,
    accuracies,
    crossover,
    differences,
    fit_power_law,
    learning_curves,
    methods_of,
    trend,
)
from vptlib.statement import Statement, statement

PROMPT, FULL, LINEAR = "vpt-deep", "full", "linear"
TO_PROMPT, TO_FINE_TUNE, COLLECT_MORE, NO_DIFFERENCE, NO_ANSWER = CHOICES = (
    "prompt",
    "fine_tune",
    "collect_more",
    "no_difference",
    "no_answer",
)
LEVELS = ("low", "medium", "high")
# What may be true of full fine-tuning and VPT-deep, and has a probability.
FULL_BETTER, FULL_NOT_BETTER, BELOW_MARGIN = ("full_better", "full_not_better", "below_margin")
HIGH, MEDIUM = 0.95, 0.80
# Power laws are trusted up to this many times the largest size.
HORIZON = 10

_COST_COLUMNS = ("trainable_parameters", "bytes_per_task", "train_seconds", "tuning_seconds")


@dataclass(frozen=True)
class Recommendation:
    """What to do, how sure that is, and why.

    Attributes:
        choice: one of `CHOICES`: "prompt", "fine_tune", "collect_more" or "no_difference"; of `advice_so_far` also
            "no_answer", with probability, difference, low and high NaN.
        confidence: one of `LEVELS`: "low", "medium" or "high"; never above "low" with one seed.
        reasons: the findings with their numbers; `vptlib.report.words` makes sentences of them.
        decide_again_at: the number of labelled images at which to run the study again. Where both power laws can be
            trusted and cross within `HORIZON` times the largest size, it is the crossing, but at least one and a half
            times the largest size. Otherwise it is twice the largest size.
        probability: of the choice being right; for "collect_more", of the likelier of the two answers.
        n, difference, low, high: largest common size, and VPT-deep less full fine-tuning there with its 95 % interval.
        seeds: the number of seeds behind that.
    """

    choice: str
    confidence: str
    reasons: list[Statement]
    decide_again_at: int | None
    probability: float
    n: int
    difference: float
    low: float
    high: float
    seeds: int


def recommend(runs: pd.DataFrame, margin: float = 0.01) -> Recommendation:
    """Choose the way to adapt the backbone to this task, by the rule at the head of this module.

    Args:
        runs: one task's table, with VPT-deep and full fine-tuning.
        margin: the smallest difference in accuracy that matters, a fraction: 0.01 is one percentage point.

    Raises:
        UserError: one of the two methods is missing, the table cannot be used, or the margin is not in (0, 1).
    """
    if not 0 < margin < 1:
        raise UserError(f"margin is {margin}, but must be between 0 and 1: 0.01 is one percentage point.")
    evidence = _Evidence(runs, margin)
    choice = _choose(evidence)
    return Recommendation(
        choice=choice,
        confidence=_confidence(evidence, choice),
        reasons=_reasons(evidence, choice),
        decide_again_at=evidence.next_size,
        probability=_probability(evidence, choice),
        n=evidence.n,
        difference=evidence.difference,
        low=evidence.low,
        high=evidence.high,
        seeds=evidence.seeds,
    )


def are_comparable(runs: pd.DataFrame) -> bool:
    """Whether VPT-deep and full fine-tuning have finished runs of the same size and seed."""
    prompt, full = (set(zip(rows["n"], rows["seed"], strict=True)) for rows in _of_both(runs))
    return bool(prompt & full)


def advice_so_far(runs: pd.DataFrame, margin: float = 0.01) -> Recommendation:
    """As `recommend`; where the two methods cannot be compared yet, the choice "no_answer" and what there is.

    Raises:
        UserError: as `recommend`, but not for a method that is missing.
    """
    if are_comparable(runs):
        return recommend(runs, margin)
    n = int(runs["n"].max())
    lacking = [method for method, rows in zip((PROMPT, FULL), _of_both(runs), strict=True) if n not in set(rows["n"])]
    curves = learning_curves(runs)
    best = curves[curves["n"] == n].sort_values("mean").iloc[-1]
    reasons = [
        statement("not_compared_yet", n=n, lacking=lacking),
        statement(
            "best_so_far", method=str(best["method"]), n=n, accuracy=float(best["mean"]), low=float(best["low"]),
            high=float(best["high"]),
        ),
    ]  # fmt: skip
    nothing = dict.fromkeys(("probability", "difference", "low", "high"), float("nan"))
    return Recommendation(NO_ANSWER, "low", reasons, None, n=n, seeds=int(best["seeds"]), **nothing)


def _of_both(runs: pd.DataFrame) -> list[pd.DataFrame]:
    return [runs[runs["method"] == method] for method in (PROMPT, FULL)]


def costs(runs: pd.DataFrame) -> pd.DataFrame:
    """What each method costs at its largest size.

    Returns:
        Columns method, n, trainable_parameters, bytes_per_task (head included), train_seconds (one training run, median
        over the seeds) and tuning_seconds (all learning rates tried, the most of the seeds). Also time_ratio and
        storage_ratio: train_seconds and bytes_per_task divided by those of full fine-tuning, NaN where it is missing.

    Raises:
        UserError: the table lacks a column.
    """
    for column in _COST_COLUMNS:
        if column not in runs:
            raise UserError(f"the table of runs has no column {column!r}: take the table that Study.runs() gives.")
    table = pd.DataFrame([_cost(runs[runs["method"] == method], method) for method in methods_of(runs)])
    full = table[table["method"] == FULL]
    for name, column in (("time_ratio", "train_seconds"), ("storage_ratio", "bytes_per_task")):
        table[name] = table[column] / (full[column].iloc[0] if len(full) else np.nan)
    return table


def summarise(runs: pd.DataFrame, margin: float = 0.01) -> dict[str, Any]:
    """The results in a table of runs, as one task's part of `summary.json`: plain types only, NaN as None.

    Keys: task, methods, runs (their number), curves, crossover (n, low, high, or None), recommendation (choice_code,
    confidence, reason_codes, decide_again_at), cost (by method). The caller adds the words and what is not in the table
    (group, backbone, image_size, versions).

    Raises:
        UserError: as `advice_so_far`.
    """
    advice = advice_so_far(runs, margin)
    return {
        "task": str(runs["task"].iloc[0]),
        "methods": methods_of(runs),
        "runs": len(runs),
        "curves": _records(learning_curves(runs)),
        "crossover": None if advice.choice == NO_ANSWER else _crossing(runs),
        "recommendation": {
            "choice_code": advice.choice,
            "confidence": advice.confidence,
            "reason_codes": [reason.plain() for reason in advice.reasons],
            "decide_again_at": advice.decide_again_at,
        },
        "cost": {row.pop("method"): row for row in _records(costs(runs))},
    }


def _crossing(runs: pd.DataFrame) -> dict[str, Any] | None:
    found = crossover(runs, PROMPT, FULL)
    return {"n": found.n, "low": found.low, "high": found.high} if found.verdict == CROSSES else None


def _cost(rows: pd.DataFrame, method: str) -> dict:
    largest = rows[rows["n"] == rows["n"].max()]
    return {
        "method": method,
        "n": int(largest["n"].iloc[0]),
        "trainable_parameters": int(largest["trainable_parameters"].iloc[0]),
        "bytes_per_task": int(largest["bytes_per_task"].iloc[0]),
        "train_seconds": float(largest["train_seconds"].median()),
        "tuning_seconds": float(largest["tuning_seconds"].max()),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries of Python's own types."""
    plain = table.astype(object).where(table.notna(), None)
    return [
        {key: getattr(value, "item", lambda v=value: v)() for key, value in row.items()}
        for row in plain.to_dict("records")
    ]


# ---- the rule ---------------------------------------------------------------------------------------------------


class _Evidence:
    """What the rule and its reasons use."""

    def __init__(self, runs: pd.DataFrame, margin: float):
        self.runs, self.margin = runs, margin
        self.found: Resampled = differences(runs, PROMPT, FULL)
        self.n, self.seeds = int(self.found.n[-1]), int(self.found.seeds[-1])
        self.replicates = self.found.replicates[-1]  # B
        self.difference = float(self.found.value[-1])
        self.low, self.high = (float(end) for end in self.found.interval()[:, -1])

    @property
    def fine_tuning_is_right(self) -> float:
        """Probability that full fine-tuning is better by the margin or more."""
        return float((self.replicates <= -self.margin).mean())

    @property
    def leader(self) -> str:
        """The method that is ahead at the largest size; VPT-deep where two are equal."""
        return PROMPT if self.difference >= 0 else FULL

    @cached_property
    def laws(self) -> tuple[PowerLaw, PowerLaw] | None:
        """The power laws of both methods, or None where one cannot be fitted or trusted."""
        if len(self.found.n) < 2:
            return None
        prompt, full = (fit_power_law(self.runs, method) for method in (PROMPT, FULL))
        return (prompt, full) if prompt.trusted and full.trusted else None

    @cached_property
    def predicted_crossing(self) -> float | None:
        """The first size beyond the largest, within the horizon, at which the power laws cross."""
        if self.laws is None:
            return None
        sizes = self.n * np.geomspace(1, HORIZON, 200)
        lead = np.array([self.laws[1].error(n) - self.laws[0].error(n) for n in sizes])
        changes = np.flatnonzero(np.sign(lead[1:]) * np.sign(lead[:-1]) < 0)
        return float(sizes[changes[0] + 1]) if len(changes) else None

    @property
    def next_size(self) -> int:
        """Where to decide again, to two significant digits."""
        if self.predicted_crossing is None:
            return 2 * self.n
        return int(float(f"{max(self.predicted_crossing, 1.5 * self.n):.2g}"))


def _choose(evidence: _Evidence) -> str:
    if -evidence.margin < evidence.low and evidence.high < evidence.margin:
        return NO_DIFFERENCE
    if evidence.low > -evidence.margin:
        return TO_PROMPT
    if evidence.high < 0 and evidence.difference <= -evidence.margin:
        return TO_FINE_TUNE
    return COLLECT_MORE


def _claim(evidence: _Evidence, choice: str) -> str:
    """What must be true for the choice to be right; for `COLLECT_MORE`, the likelier of the two answers."""
    likelier = FULL_BETTER if evidence.fine_tuning_is_right >= 0.5 else FULL_NOT_BETTER
    return {TO_PROMPT: FULL_NOT_BETTER, TO_FINE_TUNE: FULL_BETTER, NO_DIFFERENCE: BELOW_MARGIN}.get(choice, likelier)


def _probability(evidence: _Evidence, choice: str) -> float:
    """Share of the replicates in which the claim is true."""
    claim = _claim(evidence, choice)
    if claim == BELOW_MARGIN:
        return float((np.abs(evidence.replicates) < evidence.margin).mean())
    return evidence.fine_tuning_is_right if claim == FULL_BETTER else 1 - evidence.fine_tuning_is_right


def _confidence(evidence: _Evidence, choice: str) -> str:
    if evidence.seeds == 1:
        return "low"
    probability = _probability(evidence, choice)
    level = int(probability >= MEDIUM) + int(probability >= HIGH)
    return LEVELS[2 - level] if choice == COLLECT_MORE else LEVELS[level]


# ---- the reasons ------------------------------------------------------------------------------------------------


def _reasons(evidence: _Evidence, choice: str) -> list[Statement]:
    reasons = [
        _what_was_seen(evidence),
        _why(evidence, choice),
        _how_sure(evidence, choice),
        _what_would_narrow_it(evidence) if choice == COLLECT_MORE else None,
        _where_the_lead_changes(evidence),
        _linear_probe(evidence),
        _weight(evidence.runs),
        _what_more_labels_buy(evidence, choice),
    ]
    return [reason for reason in reasons if reason]


def _what_was_seen(evidence: _Evidence) -> Statement:
    prompt, full = (_accuracy_at(evidence.runs, method, evidence.n) for method in (PROMPT, FULL))
    return statement(
        "seen", n=evidence.n, images=evidence.found.images, prompt=prompt, full=full, difference=evidence.difference,
        low=evidence.low, high=evidence.high,
    )  # fmt: skip


def _why(evidence: _Evidence, choice: str) -> Statement:
    margin, full_most = evidence.margin, -evidence.low
    if choice == NO_DIFFERENCE:
        return statement("within_margin", margin=margin)
    if choice == TO_PROMPT:
        return statement("prompt_not_worse", margin=margin, clear=evidence.low > 0)
    if choice == TO_FINE_TUNE:
        return statement("full_ahead", margin=margin, certain=evidence.high <= -margin)
    if evidence.high < margin:
        return statement("full_maybe_better", margin=margin, full_most=full_most)
    return statement("both_open", margin=margin, full_most=full_most, prompt_most=evidence.high)


def _how_sure(evidence: _Evidence, choice: str) -> Statement:
    claim, probability = _claim(evidence, choice), _probability(evidence, choice)
    is_open = choice == COLLECT_MORE
    if evidence.seeds == 1:
        return statement("quick_look", claim=claim, probability=probability, replicates=REPLICATES, is_open=is_open)
    level = _confidence(evidence, choice)
    return statement(
        "confidence", level=level, claim=claim, probability=probability, replicates=REPLICATES, is_open=is_open
    )


def _what_would_narrow_it(evidence: _Evidence) -> Statement:
    if evidence.seeds == 1:
        return statement("seeds_before_labels")
    of_images, of_seeds = evidence.found.image_variance[-1], evidence.found.seed_variance[-1]
    share, images = float(of_images / (of_images + of_seeds)), evidence.found.images
    if share >= 0.5:
        return statement("more_test_images", share=share, images=images)
    return statement("more_seeds", share=share, images=images, seeds=evidence.seeds)


def _where_the_lead_changes(evidence: _Evidence) -> Statement | None:
    """The crossing seen, else the crossing predicted, else a clear trend, else nothing."""
    crossing = crossover(evidence.runs, PROMPT, FULL)
    if crossing.verdict == CROSSES:
        leader = PROMPT if evidence.difference > 0 else FULL
        return statement("lead_changes", n=crossing.n, low=crossing.low, high=crossing.high, leader=leader)
    laws, predicted = evidence.laws, evidence.predicted_crossing
    if laws is not None and predicted is not None:
        prompt, full = (law.error(evidence.n) for law in laws)
        return statement("lead_will_change", n=predicted, leader=PROMPT if prompt > full else FULL)
    return _trend(evidence)


def _trend(evidence: _Evidence) -> Statement | None:
    found = trend(evidence.runs, PROMPT, FULL)
    if found is None or found[1] <= 0 <= found[2]:
        return None
    gains, other = (PROMPT, FULL) if found[0] > 0 else (FULL, PROMPT)
    low, high = sorted(map(abs, found[1:]))
    return statement("trend", gains=gains, other=other, slope=abs(found[0]), low=low, high=high)


def _linear_probe(evidence: _Evidence) -> Statement | None:
    """The linear probe compared with the better of the two, at the same size."""
    if LINEAR not in methods_of(evidence.runs):
        return None
    found = differences(evidence.runs, LINEAR, evidence.leader)
    if found.n[-1] != evidence.n:
        return None
    low, high = map(float, found.interval()[:, -1])
    seen = {"best": evidence.leader, "difference": float(found.value[-1]), "low": low, "high": high}
    if low > -evidence.margin:
        return statement("linear_not_worse", **seen)
    return statement("linear_open", **seen) if high >= 0 else statement("linear_worse", **seen)


def _weight(runs: pd.DataFrame) -> Statement:
    table = costs(runs).set_index("method")
    prompt, full = table.loc[PROMPT], table.loc[FULL]
    return statement(
        "weight",
        prompt_bytes=int(prompt["bytes_per_task"]),
        full_bytes=int(full["bytes_per_task"]),
        prompt_seconds=float(prompt["train_seconds"]),
        full_seconds=float(full["train_seconds"]),
    )


def _what_more_labels_buy(evidence: _Evidence, choice: str) -> Statement | None:
    """For the method that is recommended, or leads."""
    if len(evidence.found.n) < 2:
        return None
    method = {TO_FINE_TUNE: FULL, COLLECT_MORE: evidence.leader}.get(choice, PROMPT)
    law = fit_power_law(evidence.runs, method)
    if not law.trusted:
        return statement("more_labels_unknown", method=method, caveat=law.caveat)
    gain, low, high = law.gain(law.largest)
    return statement("more_labels_buy", method=method, n=2 * law.largest, gain=gain, low=low, high=high)


def _accuracy_at(runs: pd.DataFrame, method: str, n: int) -> float:
    found = accuracies(runs, method)
    return float(found.value[found.n == n][0])
