"""With more labels, will full fine-tuning be ahead? A forecast, its record on published tables, and when to refuse.

The question: full fine-tuning and VPT-deep were run with n labels. Will full fine-tuning be ahead by the margin or more
with K times as many? A *case* asks it of one task of a published table (`vptlib.evidence.published.full_and_prompts`):
what was known up to n, and whether it came true at a larger size.

The rules (`RULES`) are logistic regressions on few features, with a fixed penalty, so nothing in them is tuned. They
were written down before any of them was scored. They are judged on tasks that they have not seen (leave one task out),
by the Brier score (Monthly Weather Review 78, 1950): the mean squared distance of the probability from what happened.
Less is better. It is compared with the *constant*: the share of all cases that came true, given as the probability each
time; that share is known to it, which favours it. Picking the best of several rules flatters it. So the picking is
judged too: for each task the rule is picked on the other tasks alone (the row `PICKED` of the record). Cases of one
task are not independent, so intervals draw whole tasks.

A forecast is given only where all of this holds; otherwise `forecast` says which part does not:
- published tables at several sizes are about this kind of backbone;
- the sizes lie within those of the tables;
- the rule that is picked beats the constant, with a 95 % interval that excludes 0.

On the tables of today the last one does not hold, at any of the margins 0, 0.5, 1, 2 and 3 points
(`tests/test_forecast.py`). One rule, by images per class, just gets there by itself where any lead counts (margin 0).
But it is one of seven, and naming it now would be naming it after looking. So no forecast is given. The size at which
to decide again is then a convention: `CONVENTION` times the largest size.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from vptlib.errors import UserError
from vptlib.evidence.answers import wilson
from vptlib.evidence.curves import methods_of
from vptlib.evidence.published import HAN, IN21K, full_and_prompts
from vptlib.evidence.resampling import accuracies, differences
from vptlib.statement import Statement, statement
from vptlib.tuning.backbone_names import timm_names, without_hub

CONVENTION = 2  # times the largest size: where to decide again if nothing better is known
LEAST_LABELS = 400  # the tables with one image a class are of another kind, and left out
CONSTANT, PICKED = "constant", "picked"
_OWN_DIFFERENCE = {
    "lead_stays": ("ahead_now",),
    "difference": ("difference",),
    "straight_line": ("straight_line",),
    "power_laws": ("power_laws",),
    "difference_and_size": ("difference", "per_class", "times"),
}
# Rules that need no run of one's own: they can be tried on a backbone that was published at one size only.
OF_SIZE = {"later_size": ("later",), "images_per_class": ("per_class", "later")}
# Rule → its features; each is described in `_features`.
RULES: dict[str, tuple[str, ...]] = {CONSTANT: (), **OF_SIZE, **_OWN_DIFFERENCE}
_FEATURES = ("later", "per_class", "times", "ahead_now", "difference", "straight_line", "power_laws")

_PENALTY = 1.0  # of each squared slope, for features in standard deviations
_PENALTY_OF_LEVEL = 1e-2  # keeps the level finite where all cases ended the same way
_STEPS = 12  # of Newton's method
_REPLICATES, _RANDOM_SEED = 2000, 1950
_BINS = 5
_LEAST_ERROR = 5e-4  # an error of 0 has no logarithm
_EQUAL = 1e-9
# A user's difference is uncertain: the forecast is the mean over these quantiles of it.
_QUANTILES = (np.arange(9) + 0.5) / 9
_SHARED = 0.7  # correlation of the errors at two sizes, because their test images are the same


# ---- cases ----------------------------------------------------------------------------------------------------------


def cases_of(tables: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Every pair of sizes of one task, backbone and source, as a question with its answer.

    Args:
        tables: as from `vptlib.evidence.published.full_and_prompts`; accuracies in per cent.
        margin: by how much full fine-tuning must be ahead, a fraction; 0 asks whether it is ahead at all.

    Returns:
        One row a case: source, backbone, task, now and then (labelled images), came_true (bool), and the features.
    """
    known = tables[tables["n"] >= LEAST_LABELS]
    rows = []
    for (source, backbone, task), found in known.groupby(["source", "backbone", "task"], sort=False):
        found = found.sort_values("n")
        n, full, vpt = found["n"].to_numpy(), found["full"].to_numpy() / 100, found["vpt"].to_numpy() / 100
        for now, then in combinations(range(len(n)), 2):
            seen = slice(0, now + 1)
            about = {"source": source, "backbone": backbone, "task": task, "now": n[now], "then": n[then]}
            about["came_true"] = _is_ahead(full[then] - vpt[then], margin)
            rows.append(
                about | _features(n[seen], full[seen], vpt[seen], int(found["classes"].iloc[0]), n[then], margin)
            )
    columns = ["source", "backbone", "task", "now", "then", "came_true", *_FEATURES]
    return pd.DataFrame(rows, columns=columns)


def _is_ahead(difference: float, margin: float) -> bool:
    return bool(difference >= margin - _EQUAL) if margin > 0 else bool(difference > _EQUAL)


def _features(
    n: np.ndarray, full: np.ndarray, vpt: np.ndarray, classes: int, then: float, margin: float
) -> dict[str, float]:
    """What the rules see: sizes n `K` so far (rising), accuracies `K` (fractions), and the size that is asked about.

    later: its logarithm. per_class: the logarithm of its images per class. times: the logarithm of it over the largest
    so far. ahead_now: whether full fine-tuning is ahead by the margin so far (0 or 1). difference: full fine-tuning
    less VPT-deep there. straight_line: that difference, continued in a straight line over log n. power_laws: the
    difference of the two power laws. The last two stay at the difference where there is one size.
    """
    difference = full - vpt
    return {
        "later": np.log10(then),
        "per_class": np.log10(then / classes),
        "times": np.log10(then / n[-1]),
        "ahead_now": float(_is_ahead(difference[-1], margin)),
        "difference": difference[-1],
        "straight_line": _continued(n, difference, then),
        "power_laws": _law(n, full, then) - _law(n, vpt, then) if len(n) > 1 else difference[-1],
    }


def _continued(n: np.ndarray, values: np.ndarray, then: float) -> float:
    if len(n) < 2:
        return float(values[-1])
    slope = np.polyfit(np.log(n), values, 1)[0]
    return float(values[-1] + slope * np.log(then / n[-1]))


def _law(n: np.ndarray, accuracy: np.ndarray, then: float) -> float:
    """Accuracy at `then` by error = a · n^-b, a straight line in the logarithms."""
    line = np.polyfit(np.log(n), np.log(np.maximum(1 - accuracy, _LEAST_ERROR)), 1)
    return 1 - min(1.0, float(np.exp(np.polyval(line, np.log(then)))))


# ---- the record -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """How often forecasts would have been right. All but `by_backbone` is about one source and backbone.

    Attributes:
        margin: by which full fine-tuning must be ahead, a fraction.
        backbone: whose tables at several sizes the rules learn from.
        tasks, cases: how many stand behind the record.
        came_true: the share of the cases in which full fine-tuning was ahead by the margin later.
        rules: a row a rule, and the last row for picking among them (`PICKED`): rule, cases, hits (probability on the
            side that came true), hit_rate with low and high (95 %), brier, constant (Brier score of the constant),
            better (constant less brier), better_low, better_high (95 %). All on tasks that the rule has not seen.
        by_task: a row a task, for `PICKED`: task, cases, hits, brier, constant, rule (picked without this task).
        by_laboratory: a row a laboratory and rule, where the difference so far is another laboratory's and what came
            later is of the tables: laboratory, rule, cases, hits, hit_rate, brier, constant.
        by_backbone: a row a backbone and rule of size alone, fitted on the other backbones: backbone, rule, cases,
            hits, hit_rate, brier, constant (the share among the other backbones).
        bins: for `PICKED`, a row a fifth of the probability that occurs: low, high (of the bin), cases, tasks, forecast
            (mean), came_true (share), came_true_low, came_true_high (95 %, Wilson, counting tasks, not cases).
        rule: the one that is picked on all tasks.
        sizes: least and largest `now`, least and largest `then`.
    """

    margin: float
    backbone: str
    tasks: int
    cases: int
    came_true: float
    rules: pd.DataFrame
    by_task: pd.DataFrame
    by_laboratory: pd.DataFrame
    by_backbone: pd.DataFrame
    bins: pd.DataFrame
    rule: str
    sizes: tuple[int, int, int, int]
    fitted: "_Logistic" = field(repr=False)

    @property
    def compared(self) -> int:
        """How many rules were compared, without the constant."""
        return len(RULES) - 1

    @property
    def picked(self) -> pd.Series:
        """The row of `rules` for picking among them."""
        return self.rules.set_index("rule").loc[PICKED]

    @property
    def useful(self) -> bool:
        """Whether picking a rule beats the constant, with an interval that excludes 0."""
        return bool(self.picked["better_low"] > 0)

    def probability(self, features: dict[str, float]) -> float:
        """That full fine-tuning will be ahead by the margin, by the rule that is picked on all tasks."""
        return float(self.fitted.probability(np.array([[features[name] for name in RULES[self.rule]]]))[0, 0])


def record(margin: float = 0.01) -> Record:
    """The record on the published tables: 19 tasks of VTAB-1k with 400 to 10,000 labels (Han et al., arXiv 2401.12902).

    Args:
        margin: as in `cases_of`.

    Raises:
        UserError: the margin is not in [0, 1), or a table is missing.
    """
    if not 0 <= margin < 1:
        raise UserError(f"margin is {margin}, but must be from 0 to below 1: 0.01 is one percentage point.")
    return _record(float(margin))


@lru_cache(maxsize=16)
def _record(margin: float) -> Record:
    return record_of(_published(), margin, HAN, IN21K)


@lru_cache(maxsize=1)
def _published() -> pd.DataFrame:
    return full_and_prompts()


def record_of(tables: pd.DataFrame, margin: float, source: str, backbone: str) -> Record:
    """The record on given tables.

    Args:
        tables: as from `vptlib.evidence.published.full_and_prompts`.
        margin: as in `cases_of`.
        source, backbone: whose tables at several sizes the rules learn from; the rest of `tables` only tests them.

    Raises:
        UserError: fewer than three tasks have several sizes.
    """
    own = tables[(tables["source"] == source) & (tables["backbone"] == backbone)]
    cases = cases_of(own, margin)
    tasks = list(dict.fromkeys(cases["task"]))
    if len(tasks) < 3:
        raise UserError(f"the tables have {len(tasks)} tasks at several sizes, but a record needs three or more.")
    of_task = cases["task"].map(tasks.index).to_numpy()  # N
    judged = _judged(cases, of_task, len(tasks))
    # rules that differ by rounding alone are equal: the first, which is the simplest, is taken on every processor
    rule = min(RULES, key=lambda name: round(_brier(judged.held_out[name], judged.came_true).mean(), 9))
    return Record(
        margin=margin,
        backbone=backbone,
        tasks=len(tasks),
        cases=len(cases),
        came_true=float(judged.came_true.mean()),
        rules=_rules_table(judged),
        by_task=_tasks_table(judged, tasks),
        by_laboratory=_laboratories_table(tables, own, cases, judged, tasks, margin),
        by_backbone=_backbones_table(tables, source, margin),
        bins=_bins_table(judged),
        rule=rule,
        sizes=(*_ends(cases["now"]), *_ends(cases["then"])),
        fitted=_fit(_columns(cases, rule), judged.came_true, np.ones((1, len(cases)))),
    )


def _ends(sizes: pd.Series) -> tuple[int, int]:
    return int(sizes.min()), int(sizes.max())


@dataclass(frozen=True)
class _Judged:
    """N cases of T tasks: what came true, and what each rule would have said, fitted without the case's task.

    Attributes:
        came_true: `N`, 0 or 1.
        of_task: `N`, the number of the task.
        held_out: rule → probabilities `N`, `PICKED` among them.
        models: rule → its fits, one without each task: `T`.
        chosen: for each task the rule that was picked on the others.
    """

    came_true: np.ndarray
    of_task: np.ndarray
    held_out: dict[str, np.ndarray]
    models: dict[str, "_Logistic"]
    chosen: list[str]

    @property
    def constant(self) -> np.ndarray:
        """The squared distance of the constant in each case: `N`."""
        return _brier(self.came_true.mean(), self.came_true)


def _judged(cases: pd.DataFrame, of_task: np.ndarray, tasks: int) -> _Judged:
    """Each rule is fitted without each pair of tasks: one pair serves the score of a task and the choice for it."""
    came_true = cases["came_true"].to_numpy(dtype=float)
    first, second = np.triu_indices(tasks)  # G pairs; a pair of equal tasks leaves one out
    left_out = (of_task == first[:, None]) | (of_task == second[:, None])  # G N
    pair = np.empty((tasks, tasks), dtype=int)
    pair[first, second] = pair[second, first] = np.arange(len(first))
    held_out, models, inner = {}, {}, {}
    numbers, alone = np.arange(len(cases)), np.arange(tasks)
    for rule in RULES:
        columns = _columns(cases, rule)  # N F
        fits = _fit(columns, came_true, (~left_out).astype(float))
        said = fits.probability(columns)  # G N
        held_out[rule] = said[pair[of_task, of_task], numbers]
        models[rule] = fits.only(pair[alone, alone])
        scores = _brier(said[pair[:, of_task], numbers], came_true)  # T N: of each case, fitted without task T too
        inner[rule] = (scores * (of_task != alone[:, None])).sum(axis=1)  # T
    table = pd.DataFrame(inner)
    chosen = table.idxmin(axis=1).tolist()
    held_out[PICKED] = np.array([held_out[chosen[task]][k] for k, task in enumerate(of_task)])
    return _Judged(came_true, of_task, held_out, models, chosen)


def _columns(cases: pd.DataFrame, rule: str) -> np.ndarray:
    return cases[list(RULES[rule])].to_numpy(dtype=float)


def _brier(probability: np.ndarray | float, came_true: np.ndarray) -> np.ndarray:
    return (probability - came_true) ** 2


def _is_hit(probability: np.ndarray, came_true: np.ndarray) -> np.ndarray:
    return (probability >= 0.5) == (came_true > 0.5)


def _rules_table(judged: _Judged) -> pd.DataFrame:
    rows = []
    for rule, said in judged.held_out.items():
        hits, brier = _is_hit(said, judged.came_true), _brier(said, judged.came_true)
        low, high = _interval_over_tasks(hits.astype(float), judged.of_task)
        better_low, better_high = _interval_over_tasks(judged.constant - brier, judged.of_task)
        scores = {"brier": brier.mean(), "constant": judged.constant.mean(), "better": (judged.constant - brier).mean()}
        rows.append(_hits(rule, hits) | {"low": low, "high": high} | scores)
        rows[-1] |= {"better_low": better_low, "better_high": better_high}
    return pd.DataFrame(rows)


def _hits(rule: str, hits: np.ndarray) -> dict:
    return {"rule": rule, "cases": len(hits), "hits": int(hits.sum()), "hit_rate": float(hits.mean())}


def _interval_over_tasks(values: np.ndarray, of_task: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of values `N` where whole tasks are drawn again."""
    tasks = int(of_task.max()) + 1
    drawn = np.random.default_rng(_RANDOM_SEED).integers(tasks, size=(_REPLICATES, tasks))  # B T
    sums, counts = np.bincount(of_task, values, tasks), np.bincount(of_task, minlength=tasks)
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _tasks_table(judged: _Judged, tasks: list[str]) -> pd.DataFrame:
    said = judged.held_out[PICKED]
    table = pd.DataFrame({"task": [tasks[k] for k in judged.of_task], "brier": _brier(said, judged.came_true)})
    table = table.assign(hits=_is_hit(said, judged.came_true), constant=judged.constant)
    found = table.groupby("task", sort=False).agg(
        cases=("hits", "size"), hits=("hits", "sum"), brier=("brier", "mean"), constant=("constant", "mean")
    )
    return found.assign(rule=judged.chosen).reset_index()


def _bins_table(judged: _Judged) -> pd.DataFrame:
    said, rows = judged.held_out[PICKED], []
    place = np.minimum((said * _BINS).astype(int), _BINS - 1)
    for k in np.unique(place):
        inside = place == k
        tasks, share = len(set(judged.of_task[inside])), float(judged.came_true[inside].mean())
        low, high = wilson(share, tasks)
        rows.append(
            {
                "low": k / _BINS,
                "high": (k + 1) / _BINS,
                "cases": int(inside.sum()),
                "tasks": tasks,
                "forecast": float(said[inside].mean()),
                "came_true": share,
                "came_true_low": low,
                "came_true_high": high,
            }
        )
    return pd.DataFrame(rows)


# ---- other laboratories, other backbones ----------------------------------------------------------------------------


def _laboratories_table(
    tables: pd.DataFrame, own: pd.DataFrame, cases: pd.DataFrame, judged: _Judged, tasks: list[str], margin: float
) -> pd.DataFrame:
    """What each rule says of later sizes of `own` from another laboratory's difference on the same task."""
    others = tables[(tables["backbone"] == own["backbone"].iloc[0]) & (tables["source"] != own["source"].iloc[0])]
    rows = []
    for laboratory, theirs in others.groupby("source", sort=False):
        asked = _asked_elsewhere(theirs[theirs["task"].isin(tasks)], own, margin)
        if asked.empty:
            continue
        came_true, of_task = asked["came_true"].to_numpy(dtype=float), asked["task"].map(tasks.index).to_numpy()
        for rule in RULES:
            said = judged.models[rule].probability(_columns(asked, rule))[of_task, np.arange(len(asked))]
            rows.append({"laboratory": laboratory} | _scored(rule, said, came_true, cases["came_true"].mean()))
    return pd.DataFrame(rows, columns=["laboratory", *_SCORES])


def _asked_elsewhere(theirs: pd.DataFrame, own: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Cases with the size and the difference of `theirs` as what is known, and a larger size of `own` as what came."""
    later = own.merge(theirs, on="task", suffixes=("_then", ""))
    later = later[(later["n_then"] > later["n"]) & (later["n"] >= LEAST_LABELS)]
    rows = []
    for row in later.itertuples():
        known = np.array([row.n]), np.array([row.full / 100]), np.array([row.vpt / 100])
        came_true = _is_ahead((row.full_then - row.vpt_then) / 100, margin)
        rows.append({"task": row.task, "came_true": came_true} | _features(*known, row.classes, row.n_then, margin))
    return pd.DataFrame(rows, columns=["task", "came_true", *_FEATURES])


_SCORES = ["rule", "cases", "hits", "hit_rate", "brier", "constant"]


def _scored(rule: str, said: np.ndarray, came_true: np.ndarray, constant: float) -> dict:
    brier = _brier(said, came_true).mean()
    return _hits(rule, _is_hit(said, came_true)) | {"brier": brier, "constant": _brier(constant, came_true).mean()}


def _backbones_table(tables: pd.DataFrame, source: str, margin: float) -> pd.DataFrame:
    """Who is ahead at the published sizes of each backbone, by rules of size alone that were fitted on the others."""
    known = tables[(tables["source"] == source) & (tables["n"] >= LEAST_LABELS)]
    states = pd.DataFrame({"later": np.log10(known["n"]), "per_class": np.log10(known["n"] / known["classes"])})
    ahead = np.array([_is_ahead(d, margin) for d in (known["full"] - known["vpt"]) / 100], dtype=float)
    rows = []
    for backbone in known["backbone"].unique():
        inside = (known["backbone"] == backbone).to_numpy()
        if inside.all():
            break
        for rule in OF_SIZE:
            columns = _columns(states, rule)
            said = _fit(columns, ahead, (~inside)[None].astype(float)).probability(columns)[0]
            scored = _scored(rule, said[inside], ahead[inside], ahead[~inside].mean())
            rows.append({"backbone": backbone} | scored)
    return pd.DataFrame(rows, columns=["backbone", *_SCORES])


# ---- logistic regressions, many at once -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Logistic:
    """G logistic regressions on the same F features.

    Attributes:
        middle, scale: `F`, of the features.
        weights: `G F+1`, the level first.
    """

    middle: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    def probability(self, features: np.ndarray) -> np.ndarray:
        """Features `N F` to probabilities `G N`."""
        return expit(self.weights @ self.design(features).T)

    def design(self, features: np.ndarray) -> np.ndarray:
        """Features `N F` to `N F+1`: in standard deviations, with a column of ones first."""
        return np.hstack([np.ones((len(features), 1)), (features - self.middle) / self.scale])

    def only(self, which: np.ndarray) -> "_Logistic":
        """Some of the G."""
        return _Logistic(self.middle, self.scale, self.weights[which])


def _fit(features: np.ndarray, came_true: np.ndarray, used: np.ndarray) -> _Logistic:
    """One regression for each row of `used` (`G N`, 0 or 1), by Newton's method with the fixed penalty."""
    spread = features.std(axis=0)
    start = _Logistic(features.mean(axis=0), np.where(spread > 0, spread, 1.0), np.zeros((len(used), 0)))
    design = start.design(features)  # N P
    size = design.shape[1]
    squares = np.einsum("np,nq->npq", design, design).reshape(len(design), -1)  # N PP
    penalty = np.diag([_PENALTY_OF_LEVEL, *[_PENALTY] * (size - 1)])  # P P
    weights = np.zeros((len(used), size))  # G P
    for _ in range(_STEPS):
        said = expit(weights @ design.T)  # G N
        slope = (used * (came_true - said)) @ design - weights @ penalty  # G P
        bend = ((used * said * (1 - said)) @ squares).reshape(-1, size, size) + penalty  # G P P
        weights = weights + np.linalg.solve(bend, slope[..., None])[..., 0]
    return _Logistic(start.middle, start.scale, weights)


# ---- power laws -----------------------------------------------------------------------------------------------------


def law_record(images: int = 1000) -> pd.DataFrame:
    """How often 95 % intervals of power laws, fitted to 400 and 1,000 labels, hold at 5,000 and 10,000.

    The law is error = a · n^-b through both errors; its interval comes from the choice of test images alone, to first
    order in the logarithms. Both methods of the 14 tasks that Han et al. (arXiv 2401.12902) print at all four sizes.

    Args:
        images: test images, on which the width of the intervals depends.

    Returns:
        A row for each of 5,000 and 10,000: n, cases, held, share, low, high (95 %, Wilson, counting tasks), tasks,
        leads_right (tasks in which the two laws name the method that was ahead).

    Raises:
        UserError: fewer than two test images.
    """
    if images < 2:
        raise UserError(f"images is {images}, but must be 2 or more.")
    return _law_record(int(images)).copy()


@lru_cache(maxsize=16)
def _law_record(images: int) -> pd.DataFrame:
    tables = _published()
    own = tables[(tables["source"] == HAN) & (tables["backbone"] == IN21K)]
    wide = own.pivot_table(index="task", columns="n", values=["full", "vpt"])
    sizes = [400, 1000, 5000, 10_000]
    errors = 1 - wide.loc[:, [(m, n) for m in ("full", "vpt") for n in sizes]].dropna().to_numpy() / 100
    errors = np.maximum(errors.reshape(-1, 2, len(sizes)), _LEAST_ERROR)  # T 2 4
    rows = []
    for k, n in enumerate(sizes[2:], start=2):
        steps = np.log(n / sizes[1]) / np.log(sizes[1] / sizes[0])
        fitted, spread = _two_point_law(errors[..., 0], errors[..., 1], steps, images)
        held = np.abs(np.log(errors[..., k]) - fitted) <= norm.ppf(0.975) * spread  # T 2
        right = np.sign(fitted[:, 0] - fitted[:, 1]) == np.sign(errors[:, 0, k] - errors[:, 1, k])
        low, high = wilson(float(held.mean()), len(held))
        found = {"n": n, "cases": held.size, "held": int(held.sum()), "share": float(held.mean()), "low": low}
        rows.append(found | {"high": high, "tasks": len(held), "leads_right": int(right.sum())})
    return pd.DataFrame(rows)


def _two_point_law(first: np.ndarray, second: np.ndarray, steps: float, images: int) -> tuple[np.ndarray, np.ndarray]:
    """The logarithm of the error, `steps` times as far beyond the second as that is from the first; its spread."""
    fitted = np.log(second) + steps * (np.log(second) - np.log(first))
    a, b = steps * np.sqrt((1 - first) / (first * images)), (1 + steps) * np.sqrt((1 - second) / (second * images))
    return fitted, np.sqrt(np.maximum(a**2 + b**2 - 2 * _SHARED * a * b, 0.0))


def law_caveat(images: int = 1000) -> Statement:
    """What to say next to any sentence that continues a power law: how often such intervals held.

    Raises:
        UserError: as `law_record`.
    """
    near, far = law_record(images).to_dict("records")
    return statement(
        "power_laws_seldom_hold", images=images, cases=near["cases"], tasks=near["tasks"],
        near=near["n"], near_held=near["held"], far=far["n"], far_held=far["held"],
    )  # fmt: skip


# ---- the forecast ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecast:
    """Whether full fine-tuning will be ahead by the margin with more labels, or why that is not said.

    Attributes:
        probability: that it will be; None if no forecast is given.
        n: the largest number of labelled images that both methods were run with.
        then: the number that is asked about.
        why: the forecast with its record, or why there is none.
        decide_again_at: the number of labelled images at which to run the study again.
        decide_again_why: whether that comes from the record or is a convention.
    """

    probability: float | None
    n: int
    then: int
    why: Statement
    decide_again_at: int
    decide_again_why: Statement


def forecast(
    runs: pd.DataFrame,
    backbone: str,
    times: float = CONVENTION,
    margin: float = 0.01,
    *,
    classes: int | None = None,
    known: Record | None = None,
) -> Forecast:
    """With `times` as many labels, will full fine-tuning be ahead of VPT-deep by the margin or more?

    Args:
        runs: one task's table. The largest size with a common seed of both methods counts as now.
        backbone: its name, as a study has it.
        times: how many times the labels, above 1.
        margin: a fraction, as in `cases_of`.
        classes: of the task; by default those in the column `truth` of the runs.
        known: a record to use instead of `record(margin)`.

    Raises:
        UserError: a number out of range, or a table that cannot be used.
    """
    if not 1 < times < np.inf:
        raise UserError(f"times is {times}, but must be above 1: 2 asks about twice the labels.")
    if classes is not None and classes < 2:
        raise UserError(f"classes is {classes}, but must be 2 or more.")
    n, known, classes = _largest_common(runs), known or record(margin), classes or _classes(runs)
    if n is None:
        largest = int(runs["n"].max())
        return _none(largest, largest * times, statement("two_not_run_together"))
    then = round(n * times)
    refusal = _refusal(known, backbone, n, then)
    if refusal is not None:
        return _none(n, then, refusal)
    if classes is None:
        return _none(n, then, statement("classes_not_known"))
    own = _past(runs)
    probability = own.probability(known, classes, then)
    decide_again_at, decide_again_why = _decide_again(own, known, classes)
    return Forecast(probability, n, then, _given(known, probability, n, then), decide_again_at, decide_again_why)


def _none(n: int, then: float, why: Statement) -> Forecast:
    again = statement("decide_again_by_convention", n=CONVENTION * n, times=CONVENTION)
    return Forecast(None, n, round(then), why, CONVENTION * n, again)


@dataclass(frozen=True)
class _Past:
    """A user's own runs of both methods: sizes `K`, accuracies `K`, and the last difference drawn again, `B`."""

    n: np.ndarray
    full: np.ndarray
    vpt: np.ndarray
    last: np.ndarray

    def probability(self, known: Record, classes: int, then: float) -> float:
        """The mean over what the difference may truly be."""
        said = []
        for shift in np.quantile(self.last, _QUANTILES) - (self.full[-1] - self.vpt[-1]):
            full = np.append(self.full[:-1], np.clip(self.full[-1] + shift, 0, 1))
            said.append(known.probability(_features(self.n, full, self.vpt, classes, then, known.margin)))
        return float(np.mean(said))


def _largest_common(runs: pd.DataFrame) -> int | None:
    """The largest size that both methods were run with, on a common seed; None if there is none."""
    methods_of(runs)  # checks the table
    done = [set(map(tuple, runs.loc[runs["method"] == m, ["n", "seed"]].to_numpy())) for m in ("vpt-deep", "full")]
    return max((int(n) for n, _ in done[0] & done[1]), default=None)


def _past(runs: pd.DataFrame) -> _Past:
    found, full = differences(runs, "full", "vpt-deep"), accuracies(runs, "full")
    level = full.value[np.searchsorted(full.n, found.n)]
    return _Past(found.n, level, level - found.value, found.replicates[-1])


def _classes(runs: pd.DataFrame) -> int | None:
    truth = runs["truth"].iloc[0] if "truth" in runs else None
    return None if truth is None or np.ndim(truth) == 0 else len(np.unique(truth))


def _refusal(known: Record, backbone: str, n: int, then: int) -> Statement | None:
    """Why no forecast is given; None if one is."""
    if not speaks_for(backbone):
        return _no_table(known)
    least, most, _, latest = known.sizes
    if n < least or n > most or then > latest:
        return statement("beyond_the_tables", n=n, then=then, least=least, most=most, latest=latest)
    if not known.useful:
        picked = known.picked
        return statement(
            "rules_no_better", rules=known.compared, tasks=known.tasks, cases=known.cases, hits=int(picked["hits"]),
            brier=float(picked["brier"]), constant=float(picked["constant"]), better=float(picked["better"]),
            low=float(picked["better_low"]), high=float(picked["better_high"]),
        )  # fmt: skip
    return None


def _no_table(known: Record) -> Statement:
    """With how often a rule of size alone was right on backbones that it was not fitted on."""
    others = known.by_backbone[known.by_backbone["backbone"] != known.backbone]
    others = others[others["rule"] == "images_per_class"]
    hits, cases = int(others["hits"].sum()), int(others["cases"].sum())
    return statement("no_table_for_backbone", others=others["backbone"].tolist(), hits=hits, cases=cases)


_SPEAKS_FOR = re.compile(r"vit_base_patch16_\d+\.(?:orig|augreg\d?)_in21k")


def speaks_for(backbone: str) -> bool:
    """Whether tables at several sizes are about this backbone: ViT-B/16, supervised on ImageNet-21k.

    Args:
        backbone: a timm name, or another spelling that `vptlib.tuning.backbones` would understand.
    """
    own = without_hub(backbone).removeprefix("timm/")
    return any(_SPEAKS_FOR.fullmatch(name) for name in [own, *timm_names(backbone)])


def _given(known: Record, probability: float, n: int, then: int) -> Statement:
    picked = known.picked
    return statement(
        "full_ahead_later", probability=probability, n=n, then=then, margin=known.margin, hits=int(picked["hits"]),
        cases=int(picked["cases"]), tasks=known.tasks,
    )  # fmt: skip


def _decide_again(own: _Past, known: Record, classes: int) -> tuple[int, Statement]:
    """The first doubling at which the answer is likelier another than now; the end of the tables if there is none."""
    n, latest = int(own.n[-1]), known.sizes[3]
    ahead = _is_ahead(own.full[-1] - own.vpt[-1], known.margin)
    size = CONVENTION * n
    while size <= latest:
        if (own.probability(known, classes, size) >= 0.5) != ahead:
            return size, statement("decide_again_by_record", n=size)
        size *= 2
    last = max(latest, n + 1)
    return last, statement("decide_again_past_record", n=last)
