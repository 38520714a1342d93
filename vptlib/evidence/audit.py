"""The audit after a study: what in its runs should make a reader doubt its figures, each finding with its runs.

`audit` reads the table of `Study.runs` and nothing else. Most findings are plain facts: a run that was best at its last
step, a choice at the edge of what was tried. Two findings are tests, because accuracy also varies by chance:

accuracy falls  A method has a lower accuracy with more labelled images. All pairs of its sizes are compared on the
                same test images and seeds, by `vptlib.evidence.resampling.differences`. One-sided, at
                5 % for a method: Holm's step-down rule corrects for the number of pairs (Scandinavian Journal of
                Statistics 6, 1979). A fall below `LEAST_FALL` is not tested.
seeds diverge   A seed is far below the other seeds of its cell (method and size), on the same test images. The gap must
                exceed `LEAST_GAP` and at least three standard errors, or more in a large study: the chance of a false
                alarm is 5 % for a study (Bonferroni). A standard error has two parts: the choice of test images, and
                what the seeds of the other cells usually differ by (with Satterthwaite's degrees of freedom).

A run that is not clearly better than always naming the commonest class is reported as that, and left out of both tests.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2, norm, t

from vptlib.evidence.curves import accuracies, differences, methods_of
from vptlib.statement import Statement, statement
from vptlib.tuning.training import LIMIT, SOLVED

WARNING, NOTE = LEVELS = ("warning", "note")

# Chance of a false alarm: of falling accuracy for a method, of a diverging seed for a study.
FALSE_ALARMS = 0.05
LEAST_FALL = 0.01  # accuracy, a fraction
LEAST_GAP = 0.05  # accuracy, a fraction
_LEAST_ERRORS = 3.0  # standard errors that a seed must be below the others
_FACTOR = math.sqrt(10)  # from one learning rate to the next


@dataclass(frozen=True)
class AuditFinding:
    """Something in a study that a reader should know before trusting its figures.

    Attributes:
        level: "warning" if it can change a result, else "note".
        what: the finding; `vptlib.report.words` has the sentence.
        run_ids: the runs that it is about.
        method: the method that it is about, or "" if it is about the whole study.
        n: its number of labelled images (of two, the larger), or 0 if it is about the whole study.
    """

    level: str
    what: Statement
    run_ids: tuple[str, ...]
    method: str
    n: int


def audit(runs: pd.DataFrame, without_looking: float | None = None) -> list[AuditFinding]:
    """Everything that the audit finds in the runs of one study, warnings first.

    Args:
        runs: the table of `vptlib.study.study.Study.runs`.
        without_looking: accuracy (a fraction) of always naming the commonest class, if it is known.

    Returns:
        The findings. The last one says how training ended.

    Raises:
        UserError: the table of runs cannot be used; the text gives the reason.
    """
    methods_of(runs)  # checks the table
    runs = runs.reset_index(drop=True)
    collapsed = _collapsed(runs, without_looking)
    sound = runs[~collapsed]
    found = [
        *_runs_collapsed(runs[collapsed], without_looking),
        *_diverging_seeds(sound),
        *_falls(sound),
        *_best_at_last_step(runs),
        *_choices_at_edge(runs),
        *_diverged_candidates(runs),
        _end_of_training(runs),
    ]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def audit_summary(findings: list[AuditFinding]) -> list[dict[str, Any]]:
    """The findings for `summary.json`, plain types only: code, values, level and run_ids of each."""
    return [
        {"code": f.what.code, "values": f.what.values, "level": f.level, "run_ids": list(f.run_ids)} for f in findings
    ]


# ---- how training ended -------------------------------------------------------------------------------------------


def _best_at_last_step(runs: pd.DataFrame) -> Iterator[AuditFinding]:
    """Training was cut short: the last step was the best one, and the largest number of steps ended it."""
    if _length_is_fixed(runs):
        return
    cut = runs[(runs["stopped"] == LIMIT) & (runs["best_step"] == runs["last_step"])]
    for (method, n), cell in _cells(cut):
        seeds, steps = _whole(cell["seed"]), int(cell["last_step"].max())
        what = statement("best_at_last_step", method=method, n=n, seeds=seeds, steps=steps)
        yield _finding(WARNING, what, cell)


def _end_of_training(runs: pd.DataFrame) -> AuditFinding:
    """Whether all runs ended by themselves; the published rules leave that open."""
    cut = runs[runs["stopped"] == LIMIT]
    if _length_is_fixed(runs):
        return _of_study(NOTE, statement("length_is_fixed", runs=len(runs)), runs)
    if not len(cut):
        return _of_study(NOTE, statement("trained_out", runs=len(runs)), runs)
    methods = list(dict.fromkeys(cut["method"]))
    return _of_study(NOTE, statement("not_trained_out", cut=len(cut), runs=len(runs), methods=methods), cut)


def _length_is_fixed(runs: pd.DataFrame) -> bool:
    """Under the published rules the length of training is given and nothing is validated on the way."""
    return "weight_decay" in runs


# ---- what was tried -----------------------------------------------------------------------------------------------


def _choices_at_edge(runs: pd.DataFrame) -> Iterator[AuditFinding]:
    for row in runs.to_dict("records"):
        tried, chosen = sorted(_rates(row["tried"])), float(row["learning_rate"])
        side = _side(chosen, tried)
        if side is None or (side == "largest" and _is_count(tried) and 2 * chosen > row["n"]):
            continue
        beyond = chosen * _FACTOR if side == "largest" else chosen / _FACTOR
        what = statement(
            "choice_at_edge",
            method=row["method"],
            n=int(row["n"]),
            side=side,
            chosen=chosen,
            tried=tried,
            further=float(f"{beyond:.1e}"),
            solved=row["stopped"] == SOLVED,
        )
        yield _finding(WARNING, what, pd.DataFrame([row]))


def _side(chosen: float, tried: list[float]) -> str | None:
    """ "smallest" or "largest" if the choice is that one of several, else None."""
    if len(tried) < 2:
        return None
    if math.isclose(chosen, tried[-1], rel_tol=1e-4):
        return "largest"
    is_smallest = math.isclose(chosen, tried[0], rel_tol=1e-4)
    return "smallest" if is_smallest and not _is_count(tried) else None


def _is_count(tried: list[float]) -> bool:
    """Whether these are numbers of neighbours: nothing is below 1, and no neighbour is beyond the training images."""
    return tried[0] == 1 and all(value.is_integer() for value in tried)


def _diverged_candidates(runs: pd.DataFrame) -> Iterator[AuditFinding]:
    runs = runs[runs["stopped"] != SOLVED]  # a solver has no rates that could diverge
    rates_of = runs["tried"].map(lambda tried: sorted(rate for rate, score in _rates(tried).items() if score == 0.0))
    for (method, n), cell in _cells(runs[rates_of.map(bool).astype(bool)]):
        rates = sorted({rate for some in rates_of[cell.index] for rate in some})
        yield _finding(NOTE, statement("candidate_diverged", method=method, n=n, rates=rates), cell)


def _rates(tried: dict[str, float]) -> dict[float, float]:
    """Value → validation accuracy; labels of whole settings are no values."""
    found = {}
    for text, accuracy in tried.items():
        try:
            found[float(text)] = float(accuracy)
        except ValueError:
            continue
    return found


# ---- more labels, less accuracy -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fall:
    """Accuracy of a method at two sizes, on common seeds and test images; `p` is one-sided, and 1 where not tested."""

    smaller: int
    larger: int
    before: float
    after: float
    p: float


def _falls(runs: pd.DataFrame) -> Iterator[AuditFinding]:
    """For each method that falls: its clearest fall."""
    for method in dict.fromkeys(runs["method"]):
        of_method = runs[runs["method"] == method]
        pairs = combinations(_whole(of_method["n"].drop_duplicates()), 2)
        falls = _clear([fall for pair in pairs if (fall := _fall(of_method, *pair))])
        if falls:
            fall = min(falls, key=lambda fall: (fall.p, fall.after - fall.before))
            yield _fall_found(method, fall, _common(of_method, fall.smaller, fall.larger))


def _clear(falls: list[_Fall]) -> list[_Fall]:
    """Those that chance does not explain, by Holm's rule: the k-th smallest `p` of m must be below 5 % / (m - k)."""
    clear = []
    for k, fall in enumerate(sorted(falls, key=lambda fall: fall.p)):
        if fall.p > FALSE_ALARMS / (len(falls) - k):
            break
        clear.append(fall)
    return clear


def _fall(runs: pd.DataFrame, smaller: int, larger: int) -> _Fall | None:
    """The comparison of two sizes of one method, or None where they share no seed."""
    by_seed = runs.pivot(index="seed", columns="n", values="accuracy")
    both = by_seed[[smaller, larger]].dropna()
    if not len(both):
        return None
    before, after = float(both[smaller].mean()), float(both[larger].mean())
    if before - after < LEAST_FALL:
        return _Fall(smaller, larger, before, after, p=1.0)
    common = _common(runs, smaller, larger)
    compared = common.assign(method=common["n"].map({smaller: "smaller", larger: "larger"}), n=larger)
    falls = differences(compared, "smaller", "larger").probability_above(0.0)[0]
    return _Fall(smaller, larger, before, after, p=float(1 - falls))


def _common(runs: pd.DataFrame, smaller: int, larger: int) -> pd.DataFrame:
    """The runs of two sizes with the seeds that both have."""
    both = runs[runs["n"].isin([smaller, larger])]
    return both[both.groupby("seed")["n"].transform("nunique") == 2]


def _fall_found(method: str, fall: _Fall, runs: pd.DataFrame) -> AuditFinding:
    what = statement(
        "accuracy_falls",
        method=method,
        smaller=fall.smaller,
        larger=fall.larger,
        before=fall.before,
        after=fall.after,
        seeds=int(runs["seed"].nunique()),
        images=_images(runs),
    )
    return AuditFinding(WARNING, what, tuple(runs["run_id"]), method, fall.larger)


# ---- seeds that diverge -------------------------------------------------------------------------------------------


def _diverging_seeds(runs: pd.DataFrame) -> Iterator[AuditFinding]:
    cells = {about: cell for about, cell in _cells(runs) if len(cell) > 1}
    below = {about: _below_others(np.stack(cell["correct"].to_list())) for about, cell in cells.items()}
    suspects = [about for about, gaps in below.items() if gaps.mean(axis=1).max() > LEAST_GAP]
    variances = _variances_of_seeds(runs) if suspects else {}
    chance = FALSE_ALARMS / max(1, sum(map(len, cells.values())))
    for about in suspects:
        far = _is_far(below[about], *_usual_variance(variances, *about), chance)
        if far.any():
            yield _seeds_found(cells[about][far], cells[about][~far])


def _below_others(correct: np.ndarray) -> np.ndarray:
    """For each seed of `S I`, how far it is below the mean of the others on each test image, `S I`."""
    seeds = len(correct)
    return (correct.sum(axis=0) - correct) / (seeds - 1) - correct


def _is_far(below: np.ndarray, usual: float, freedom: int, chance: float) -> np.ndarray:
    """Which seeds of `below`, `S I`, are below the others by more than chance explains.

    Args:
        usual: the usual variance between seeds, estimated with `freedom` degrees of freedom.
        chance: of a false alarm, for one seed.
    """
    seeds, images = below.shape
    gap = below.mean(axis=1)  # S
    # Two imagined images, one for and one against: agreement on all images is no certainty (as in `curves`).
    of_images = (below.var(axis=1) * images + 2) / (images + 2) ** 2  # S
    of_seeds = usual * (1 + 1 / (seeds - 1))
    variance = of_images + of_seeds  # S
    least = t.isf(chance, freedom * (variance / of_seeds) ** 2) if of_seeds else norm.isf(chance)
    return (gap > LEAST_GAP) & (gap > np.maximum(_LEAST_ERRORS, least) * np.sqrt(variance))


def _variances_of_seeds(runs: pd.DataFrame) -> dict[tuple[str, int], tuple[float, int]]:
    """Variance of accuracy between the seeds of a cell without that of the test images, and its degrees of freedom."""
    found = {}
    for method in dict.fromkeys(runs["method"]):
        at = accuracies(runs, method)
        for n, seeds, variance in zip(at.n, at.seeds, at.seed_variance, strict=True):
            if seeds > 1:
                found[method, int(n)] = float(variance * seeds), int(seeds) - 1
    return found


def _usual_variance(variances: dict[tuple[str, int], tuple[float, int]], method: str, n: int) -> tuple[float, int]:
    """What seeds usually vary by: over all other cells, or over those of the same size if that is more.

    With few labels seeds differ more, and a seed draws the same training images for all methods.
    """
    others = {cell: found for cell, found in variances.items() if cell != (method, n)}
    same_size = {cell: found for cell, found in others.items() if cell[1] == n}
    return max(_typical(list(others.values())), _typical(list(same_size.values())))


def _typical(variances: list[tuple[float, int]]) -> tuple[float, int]:
    """The median of variances, which one further fault does not move, and their degrees of freedom together."""
    if not variances:
        return 0.0, 0
    # The median of a chi-square is below its mean.
    return float(np.median([v * f / chi2.median(f) for v, f in variances])), sum(f for _, f in variances)


def _seeds_found(far: pd.DataFrame, others: pd.DataFrame) -> AuditFinding:
    what = statement(
        "seeds_diverge",
        method=str(far["method"].iloc[0]),
        n=int(far["n"].iloc[0]),
        seeds=_whole(far["seed"]),
        accuracy=float(far["accuracy"].mean()),
        others=float(others["accuracy"].mean()),
    )
    return _finding(WARNING, what, far)


# ---- runs that learned nothing ------------------------------------------------------------------------------------


def _collapsed(runs: pd.DataFrame, without_looking: float | None) -> pd.Series:
    """Which runs are not clearly (one-sided, 5 %) better than always naming the commonest class."""
    if without_looking is None:
        return pd.Series(False, index=runs.index)
    error = math.sqrt(without_looking * (1 - without_looking) / _images(runs))
    return runs["accuracy"] <= without_looking + norm.isf(0.05) * error


def _runs_collapsed(runs: pd.DataFrame, without_looking: float | None) -> Iterator[AuditFinding]:
    for (method, n), cell in _cells(runs):
        what = statement(
            "collapsed",
            method=method,
            n=n,
            seeds=_whole(cell["seed"]),
            accuracy=float(cell["accuracy"].mean()),
            without_looking=without_looking,
        )
        yield _finding(WARNING, what, cell)


# ---- helpers ------------------------------------------------------------------------------------------------------


def _cells(runs: pd.DataFrame) -> Iterator[tuple[tuple[str, int], pd.DataFrame]]:
    """The runs of each method and size, in the order of the table."""
    for (method, n), cell in runs.groupby(["method", "n"], sort=False):
        yield (str(method), int(n)), cell


def _finding(level: str, what: Statement, cell: pd.DataFrame) -> AuditFinding:
    return AuditFinding(level, what, tuple(cell["run_id"]), str(cell["method"].iloc[0]), int(cell["n"].iloc[0]))


def _of_study(level: str, what: Statement, runs: pd.DataFrame) -> AuditFinding:
    return AuditFinding(level, what, tuple(runs["run_id"]), method="", n=0)


def _whole(numbers: pd.Series) -> list[int]:
    return sorted(map(int, numbers))


def _images(runs: pd.DataFrame) -> int:
    return len(runs["correct"].iloc[0])
