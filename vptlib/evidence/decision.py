"""From the runs of one task to a recommendation, and to the task's part of `summary.json`.

All functions are pure functions of the table of runs (`Study.runs`). They give codes and numbers; the sentences are in
`vptlib.report.words`. The rule is in `vptlib.evidence.questions`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from vptlib.computed import computed_once
from vptlib.evidence.audit import AuditFinding
from vptlib.evidence.costs import costs
from vptlib.evidence.curves import CROSSES, crossover, learning_curves, methods_of
from vptlib.evidence.limits import Limit
from vptlib.evidence.questions import Questions
from vptlib.evidence.recommendation import FULL, NO_ANSWER, PROMPT, Aims, Recommendation
from vptlib.statement import Statement, statement


@computed_once
def recommend(
    runs: pd.DataFrame,
    margin: float = 0.01,
    *,
    chance: float | None = None,
    today: float | None = None,
    needed: float | None = None,
    handicaps: Mapping[str, float] | None = None,
    costs_of_more: Mapping[str, float] | None = None,
    findings: Sequence[AuditFinding] = (),
    larger_input: Statement | None = None,
    backbone: str = "",
    limits: Sequence[Limit] = (),
    class_names: Sequence[str] = (),
    group_names: Sequence[str] = (),
) -> Recommendation:
    """Choose the next step for this task, by the rule of `vptlib.evidence.questions`.

    Args:
        runs: one task's table, with VPT-deep and full fine-tuning; all its methods are candidates.
        margin, chance, today, needed, handicaps, costs_of_more: as in `vptlib.evidence.recommendation.Aims`.
        findings: of `vptlib.evidence.audit.audit`, for these runs.
        larger_input: the finding that a larger input was clearly better, if there is one.
        backbone: its name. `vptlib.evidence.forecast` has a record for few; without one, when to decide again is a
            convention.
        limits: rates that were fixed before the test (`vptlib.evidence.limits.read_limits`). A method that does not
            keep them is not used.
        class_names: of the task, in the order of its labels; needed for limits.
        group_names: of the groups of test images, in the order of their numbers, as far as they have names.

    Raises:
        UserError: one of the two methods is missing, the table cannot be used, or a number is out of range.
    """
    aims = Aims(margin, chance, today, needed, handicaps, costs_of_more)
    return Questions(runs, aims, findings, larger_input, backbone, limits, class_names, group_names).answer()


def are_comparable(runs: pd.DataFrame) -> bool:
    """Whether VPT-deep and full fine-tuning have finished runs of the same size and seed."""
    prompt, full = (set(zip(rows["n"], rows["seed"], strict=True)) for rows in _of_both(runs))
    return bool(prompt & full)


def advice_so_far(runs: pd.DataFrame, margin: float = 0.01, **about: Any) -> Recommendation:
    """As `recommend`; where the two methods cannot be compared yet, the choice "no_answer" and what there is.

    Args:
        runs, margin: as for `recommend`.
        about: its other arguments.

    Raises:
        UserError: as `recommend`, but not for a method that is missing.
    """
    if are_comparable(runs):
        return recommend(runs, margin, **about)
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
    images = len(runs["correct"].iloc[0])
    return Recommendation(
        NO_ANSWER, None, "low", float("nan"), reasons, None, None, None, n=n, seeds=int(best["seeds"]), images=images
    )


def _of_both(runs: pd.DataFrame) -> list[pd.DataFrame]:
    return [runs[runs["method"] == method] for method in (PROMPT, FULL)]


def summarise(runs: pd.DataFrame, margin: float = 0.01, **about: Any) -> dict[str, Any]:
    """The results in a table of runs, as one task's part of `summary.json`: plain types only, NaN as None.

    Keys: task, methods, runs (their number), curves, crossover (n, low, high, or None), recommendation (choice_code,
    method, confidence, probability, reason_codes, would_change_code, decide_again_at, settles, candidates), cost (by
    method). The caller adds the words and what is not in the table (group, backbone, image_size, versions).

    Args:
        runs, margin, about: as for `advice_so_far`.

    Raises:
        UserError: as `advice_so_far`.
    """
    advice = advice_so_far(runs, margin, **about)
    return {
        "task": str(runs["task"].iloc[0]),
        "methods": methods_of(runs),
        "runs": len(runs),
        "curves": _records(learning_curves(runs)),
        "crossover": None if advice.choice == NO_ANSWER else _crossing(runs),
        "recommendation": _plain(advice),
        "cost": {row.pop("method"): row for row in _records(costs(runs))},
    }


def _plain(advice: Recommendation) -> dict[str, Any]:
    """A recommendation for `summary.json`."""
    return {
        "choice_code": advice.choice,
        "method": advice.method,
        "confidence": advice.confidence,
        "probability": _or_none(advice.probability),
        "reason_codes": [reason.plain() for reason in advice.reasons],
        "would_change_code": None if advice.would_change is None else advice.would_change.plain(),
        "decide_again_at": advice.decide_again_at,
        "settles": _or_none(advice.settles),
        "candidates": _records(pd.DataFrame([vars(candidate) for candidate in advice.candidates.values()])),
    }


def _or_none(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def _crossing(runs: pd.DataFrame) -> dict[str, Any] | None:
    found = crossover(runs, PROMPT, FULL)
    return {"n": found.n, "low": found.low, "high": found.high} if found.verdict == CROSSES else None


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries of Python's own types."""
    plain = table.astype(object).where(table.notna(), None)
    return [
        {key: getattr(value, "item", lambda v=value: v)() for key, value in row.items()}
        for row in plain.to_dict("records")
    ]
