"""From the runs of one task to a recommendation: prompts, fine-tuning, more data, or no difference that matters.

All functions are pure functions of the table of runs (`Study.runs`). The rule looks at one figure, the accuracy of
VPT-deep less that of full fine-tuning at the largest size, with its 95 % interval, and at the margin, the smallest
difference that matters to whoever asks. Prompts are the lighter choice, so they need not win, only not lose:

    interval                                          choice
    within -margin … +margin                          no difference that matters
    above -margin                                     prompt
    below 0, the difference itself ≤ -margin          fine-tune
    anything else                                     collect more data

Prompts are right if fine-tuning is not better by the margin or more, fine-tuning is right if it is, and there is no
difference that matters if neither is better by the margin. The confidence is
the probability (share of the bootstrap replicates) that the choice is right: from 0.95 on high, from 0.80 on medium,
else low. That of "collect more data" is the reverse: high if neither answer reaches 0.80, low if one reaches 0.95.
With one seed it is always low: a quick look.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from vptlib.errors import UserError
from vptlib.evidence.curves import (
    REPLICATES,
    Resampled,
    accuracies,
    crossover,
    differences,
    fit_power_law,
    in_prose,
    learning_curves,
    methods_of,
    trend,
)
from vptlib.tuning.methods import find_method
from vptlib.wording import duration, per_cent, storage

PROMPT, FULL, LINEAR = "vpt-deep", "full", "linear"
HIGH, MEDIUM = 0.95, 0.80
# Power laws are believed up to this many times the largest size.
HORIZON = 10

_INTERVAL = "95\u202f% interval"
_COST_COLUMNS = ("trainable_parameters", "bytes_per_task", "train_seconds", "tuning_seconds")


@dataclass(frozen=True)
class Recommendation:
    """What to do, how sure that is, and why.

    Attributes:
        choice: "prompt", "fine-tune", "collect more data" or "no difference that matters".
        confidence: "low", "medium" or "high"; never above "low" with one seed.
        reasons: plain sentences with the figures.
        decide_again_at: the number of labelled images at which to run the study again. Where both power laws can be
            trusted and cross within `HORIZON` times the largest size, it is the crossing (one and a half times the
            largest size at least); otherwise it is twice the largest size.
        probability: of the choice being right; for "collect more data", of the likelier of the two answers.
        n, difference, low, high: largest common size, and VPT-deep less full fine-tuning there with its 95 % interval.
        seeds: how many seeds stand behind that.
    """

    choice: str
    confidence: str
    reasons: list[str]
    decide_again_at: int | None
    probability: float
    n: int
    difference: float
    low: float
    high: float
    seeds: int


def recommend(runs: pd.DataFrame, margin: float = 0.01) -> Recommendation:
    """Say which way to adapt the backbone to this task, by the rule at the head of this module.

    Args:
        runs: one task's table, with VPT-deep and full fine-tuning.
        margin: the smallest difference in accuracy that matters, a fraction: 0.01 is one percentage point.

    Raises:
        UserError: one of the two methods is missing, the table cannot be used, or the margin is not in (0, 1).
    """
    if not 0 < margin < 1:
        raise UserError(f"margin is {margin}, but must lie between 0 and 1: 0.01 is one percentage point.")
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


def costs(runs: pd.DataFrame) -> pd.DataFrame:
    """What each method costs at its largest size.

    Returns:
        Columns method, n, trainable_parameters, bytes_per_task (head included), train_seconds (one training run, median
        over the seeds), tuning_seconds (all learning rates tried, the most of the seeds), and time_ratio and
        storage_ratio: train_seconds and bytes_per_task by those of full fine-tuning, NaN where that is missing.

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
    """What a table of runs says, as one task's part of `summary.json`: plain types only, NaN as None.

    Keys: task, methods, runs (their number), curves, crossover (n, low, high, or None), recommendation, cost (by
    method). What the table does not know (group, backbone, image_size, versions) is for the caller to add.

    Raises:
        UserError: as `recommend`.
    """
    advice, crossing = recommend(runs, margin), crossover(runs, PROMPT, FULL)
    crosses = crossing.verdict == "crosses"
    return {
        "task": str(runs["task"].iloc[0]),
        "methods": methods_of(runs),
        "runs": len(runs),
        "curves": _records(learning_curves(runs)),
        "crossover": {"n": crossing.n, "low": crossing.low, "high": crossing.high} if crosses else None,
        "recommendation": {
            "choice": advice.choice,
            "confidence": advice.confidence,
            "reasons": advice.reasons,
            "decide_again_at": advice.decide_again_at,
        },
        "cost": {row.pop("method"): row for row in _records(costs(runs))},
    }


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
    """What the rule and its reasons look at."""

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

    @cached_property
    def laws(self):
        """The power laws of both methods, or None where one cannot be fitted or trusted."""
        if len(self.found.n) < 2:
            return None
        laws = tuple(fit_power_law(self.runs, method) for method in (PROMPT, FULL))
        return laws if all(law.trusted for law in laws) else None

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
        return "no difference that matters"
    if evidence.low > -evidence.margin:
        return "prompt"
    if evidence.high < 0 and evidence.difference <= -evidence.margin:
        return "fine-tune"
    return "collect more data"


def _probability(evidence: _Evidence, choice: str) -> float:
    fine_tune = evidence.fine_tuning_is_right
    if choice == "no difference that matters":
        return float((np.abs(evidence.replicates) < evidence.margin).mean())
    return {"prompt": 1 - fine_tune, "fine-tune": fine_tune}.get(choice, max(fine_tune, 1 - fine_tune))


def _confidence(evidence: _Evidence, choice: str) -> str:
    if evidence.seeds == 1:
        return "low"
    probability = _probability(evidence, choice)
    levels = ["low", "medium", "high"]
    level = int(probability >= MEDIUM) + int(probability >= HIGH)
    return levels[2 - level] if choice == "collect more data" else levels[level]


# ---- the reasons ------------------------------------------------------------------------------------------------


def _reasons(evidence: _Evidence, choice: str) -> list[str]:
    reasons = [
        _what_was_seen(evidence),
        _why(evidence, choice),
        _how_sure(evidence, choice),
        _what_would_narrow_it(evidence) if choice == "collect more data" else "",
        _where_the_lead_changes(evidence),
        _linear_probe(evidence),
        _weight(evidence.runs),
        _what_more_labels_buy(evidence, choice),
    ]
    return [reason for reason in reasons if reason]


def _what_was_seen(evidence: _Evidence) -> str:
    prompt, full = (_accuracy_at(evidence.runs, method, evidence.n) for method in (PROMPT, FULL))
    return (
        f"With {evidence.n:,} labelled images {in_prose(PROMPT)} is right on {per_cent(prompt)} of the "
        f"{evidence.found.images:,} test images and {in_prose(FULL)} on {per_cent(full)}: {in_prose(PROMPT)} is "
        f"{_ahead(evidence.difference)} ({_INTERVAL}: {_range(evidence.low, evidence.high)})."
    )


def _why(evidence: _Evidence, choice: str) -> str:
    margin, prompt, full = _points(evidence.margin), _title(PROMPT), _title(FULL)
    if choice == "no difference that matters":
        return (
            f"The whole interval lies within {margin}, called the least that matters. So take the lighter one: with "
            "prompts all tasks share one backbone."
        )
    if choice == "prompt":
        lead = "is clearly ahead" if evidence.low > 0 else "may be ahead"
        return f"{prompt} {lead}, and the interval rules out that {in_prose(FULL)} is better by {margin} or more."
    if choice == "fine-tune":
        certain = evidence.high <= -evidence.margin
        rest = f"by at least {margin}, so its weight pays" if certain else f"and probably by {margin} or more"
        return f"{full} is clearly ahead, {rest}."
    if evidence.high < evidence.margin:
        return (
            f"{full} may be better by up to {_points(-evidence.low)}, but it may also be better by less than {margin}, "
            "the least that would justify its weight, or not at all."
        )
    return (
        f"Both answers are open: {in_prose(FULL)} may be better by up to {_points(-evidence.low)}, {prompt} by up to "
        f"{_points(evidence.high)}, and {margin} is the least that matters."
    )


def _how_sure(evidence: _Evidence, choice: str) -> str:
    share = f"{_share(_probability(evidence, choice))} of {REPLICATES:,} resampled studies"
    better, not_better = f"{in_prose(FULL)} is better by the margin", f"{in_prose(FULL)} is not better by the margin"
    likelier = better if evidence.fine_tuning_is_right >= 0.5 else not_better
    seen = {
        "prompt": f"in {share} {not_better}",
        "fine-tune": f"in {share} {better}",
        "no difference that matters": f"in {share} the difference is below the margin",
        "collect more data": f"the likelier answer, that {likelier}, holds in {share}",
    }[choice]
    if evidence.seeds == 1:
        return (
            "Confidence low, for this is a quick look: with one seed the interval shows the choice of test images, not "
            f"the luck in drawing the training images. As far as it goes, {seen}."
        )
    claim = " that this is open" if choice == "collect more data" else ""
    return f"Confidence {_confidence(evidence, choice)}{claim}: {seen}."


def _what_would_narrow_it(evidence: _Evidence) -> str:
    if evidence.seeds == 1:
        return "Run at least three seeds before labelling more images: they need no new labels, only time."
    images, seeds = evidence.found.image_variance[-1], evidence.found.seed_variance[-1]
    share = images / (images + seeds)
    source = (
        f"{per_cent(share, 0)} of the uncertainty comes from the choice of the {evidence.found.images:,} test images"
    )
    if share >= 0.5:
        return f"{source}: more test images would narrow the interval most."
    return f"Only {source}, the rest from the {evidence.seeds} seeds: more seeds would narrow the interval most."


def _where_the_lead_changes(evidence: _Evidence) -> str:
    """The crossing seen, else the crossing predicted, else a clear trend, else nothing."""
    crossing = crossover(evidence.runs, PROMPT, FULL)
    if crossing.verdict == "crosses":
        leader = PROMPT if evidence.difference > 0 else FULL
        return (
            f"The lead changes at about {_rounded(crossing.n)} labelled images ({_INTERVAL}: {_rounded(crossing.low)} "
            f"to {_rounded(crossing.high)}); beyond, {in_prose(leader)} leads."
        )
    if evidence.predicted_crossing is not None:
        prompt, full = (law.error(evidence.n) for law in evidence.laws)
        return (
            f"If both curves go on as they do, {in_prose(PROMPT if prompt > full else FULL)} takes the lead at about "
            f"{_rounded(evidence.predicted_crossing)} labelled images."
        )
    return _trend(evidence)


def _trend(evidence: _Evidence) -> str:
    slope = trend(evidence.runs, PROMPT, FULL)
    if slope is None or slope[1] <= 0 <= slope[2]:
        return ""
    gains, other = (in_prose(method) for method in ((PROMPT, FULL) if slope[0] > 0 else (FULL, PROMPT)))
    low, high = sorted(map(abs, slope[1:]))
    return (
        f"With every doubling of the labelled images {gains} gains {_points(abs(slope[0]))} on {other} "
        f"({_INTERVAL}: {_plain(low)} to {_points(high)})."
    )


def _linear_probe(evidence: _Evidence) -> str:
    """How the linear probe compares with the better of the two, at the same size."""
    if LINEAR not in methods_of(evidence.runs):
        return ""
    best = PROMPT if evidence.difference >= 0 else FULL
    found = differences(evidence.runs, LINEAR, best)
    if found.n[-1] != evidence.n:
        return ""
    low, high = found.interval()[:, -1]
    seen = f"{_ahead(found.value[-1])} compared with {in_prose(best)} ({_INTERVAL}: {_range(low, high)})"
    if low > -evidence.margin:
        return f"The linear probe is no worse than the best, and the lightest of all: {seen}."
    if high >= 0:
        return f"The linear probe, the lightest of all, cannot be told from the best: {seen}."
    return f"The linear probe does not keep up: {seen}."


def _weight(runs: pd.DataFrame) -> str:
    table = costs(runs).set_index("method")
    prompt, full = table.loc[PROMPT], table.loc[FULL]
    times = full["bytes_per_task"] / prompt["bytes_per_task"]
    return (
        f"Each further task stores {storage(prompt['bytes_per_task'])} with {in_prose(PROMPT)} and "
        f"{storage(full['bytes_per_task'])} with {in_prose(FULL)}, {times:,.0f} times as much; a training run takes "
        f"{duration(prompt['train_seconds'])} and {duration(full['train_seconds'])}."
    )


def _what_more_labels_buy(evidence: _Evidence, choice: str) -> str:
    """For the method that is recommended, or leads."""
    if len(evidence.found.n) < 2:
        return ""
    leader = PROMPT if evidence.difference >= 0 else FULL
    method = {"fine-tune": FULL, "collect more data": leader}.get(choice, PROMPT)
    law = fit_power_law(evidence.runs, method)
    if not law.trusted:
        return f"What more labels would buy {in_prose(method)} cannot be foretold: {law.caveat}."
    gain, low, high = law.gain(law.largest)
    return (
        f"Twice as many labelled images ({2 * law.largest:,}) would lift {in_prose(method)} by about {_points(gain)} "
        f"({_INTERVAL}: {_plain(low)} to {_points(high)}), if its curve goes on as it does."
    )


# ---- words and figures ------------------------------------------------------------------------------------------


def _accuracy_at(runs: pd.DataFrame, method: str, n: int) -> float:
    found = accuracies(runs, method)
    return float(found.value[found.n == n][0])


def _title(method: str) -> str:
    return find_method(method).title


def _share(probability: float) -> str:
    """Per cent of the replicates; no number of replicates can show certainty."""
    return f"more than {per_cent(0.99, 0)}" if probability > 0.99 else per_cent(probability, 0)


def _plain(fraction: float) -> str:
    return f"{100 * fraction:.1f}".removesuffix(".0")


def _points(fraction: float) -> str:
    number = _plain(fraction)
    return f"{number} point" if number == "1" else f"{number} points"


def _ahead(difference: float) -> str:
    """-0.021 → "2.1 points behind"."""
    if _plain(abs(difference)) == "0":
        return "level"
    return f"{_points(abs(difference))} {'ahead' if difference > 0 else 'behind'}"


def _range(low: float, high: float) -> str:
    """(-0.03, 0.01) → "3 points behind to 1 point ahead"; (-0.03, -0.01) → "3 to 1 point behind"."""
    same_side = low * high > 0 and "level" not in (_ahead(low), _ahead(high))
    return f"{_plain(abs(low)) if same_side else _ahead(low)} to {_ahead(high)}"


def _rounded(number: float) -> str:
    """Two significant digits: 1,234.5 → "1,200"."""
    return f"{float(f'{number:.2g}'):,.0f}"
