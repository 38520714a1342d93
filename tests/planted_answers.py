"""How often the rule of `vptlib.evidence.questions` is right: its answers on planted tables, whose truth is known.

    python tests/planted_answers.py            writes judgement.md (reports/benchmarks/) and track_record.json
    python tests/planted_answers.py --quick    few tables; prints the page, writes nothing

Two sets of tables. *Named truths*: the same truth many times, in studies of several kinds. *The prior*: a new truth for
each table, drawn as `drawn_scenario` says; the record that reports print is counted here.

An answer is right if it is what the truth asks for. "Use X": X is the lightest within the margin of the best; where an
accuracy is needed, one further training of X reaches it. "Nothing works": no method is better than chance by a tenth of
the way to no error, or no method reaches what is needed. Answers that ask for more are counted apart.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from planted import planted_runs
from scipy.stats import beta, norm

from vptlib.evidence import contest, questions
from vptlib.evidence.contest import HIGH, LEVELS, MEDIUM, level_of
from vptlib.evidence.decision import recommend, summarise
from vptlib.evidence.questions import USEFUL
from vptlib.evidence.reasons import Reasons
from vptlib.evidence.recommendation import NOTHING_WORKS, STEPS, Recommendation, use_code
from vptlib.evidence.track_record import FILE

REPORT = Path(__file__).parents[1] / "reports" / "benchmarks" / "judgement.md"
METHODS = ("linear", "vpt-shallow", "vpt-deep", "lora", "full")  # the lightest first
LARGE = 400  # labelled images; the tables also have half as many
PER_GROUP = 10
# What decides whether an image is got right: the image, the image for this method, and the single training.
IMAGE, METHOD, TRAINING = 0.5, 0.25, 0.25
# The share of the first two that images of one group have in common.
GROUP = 0.5
BINS = (0.0, 0.3, 0.5, 0.65, MEDIUM, 0.9, HIGH, 0.99)  # from which probability on
_RANDOM_SEED = 14


# ---- scenarios --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setup:
    """What kind of study it is.

    Attributes:
        seeds, images: their numbers; images are test images.
        spread: standard deviation of the trainings of one method, a fraction.
        grouped: whether test images come in groups of ten that resemble each other.
        luck: standard deviation of what the choice of the setting adds, a fraction.
        shared: whether one seed chooses the setting for all, so that its luck does not show.
    """

    seeds: int = 3
    images: int = 400
    spread: float = 0.01
    grouped: bool = False
    luck: float = 0.0
    shared: bool = False


@dataclass(frozen=True)
class Scenario:
    """A truth and a study of it.

    Attributes:
        name: of the truth, for the table.
        accuracy: method → true accuracy, a fraction.
        setup: the study.
        margin, chance, needed: as for `recommend`.
        rise: accuracy lost with half the labels.
    """

    name: str
    accuracy: dict[str, float]
    setup: Setup = field(default_factory=Setup)
    margin: float = 0.01
    chance: float | None = 0.1
    needed: float | None = None
    rise: float = 0.0

    @property
    def best(self) -> float:
        return max(self.accuracy.values())

    def spread_of(self, method: str) -> float:
        """Standard deviation of one training; methods that guess have none."""
        above = self.accuracy[method] - (self.chance or 0.0)
        return self.setup.spread * float(np.clip(above / 0.05, 0.0, 1.0))


def ahead(method: str | None, points: float, base: float = 0.8) -> dict[str, float]:
    """All methods at `base`, one of them ahead."""
    return {m: base + points / 100 * (m == method) for m in METHODS}


def named_truths() -> list[Scenario]:
    """The truths of the table, without their studies."""
    found = [Scenario("all equal", ahead(None, 0))]
    for method in AHEAD:
        for points in (0.5, 1, 2, 4, 8):
            found.append(Scenario(f"{method} ahead by {points:g}", ahead(method, points)))
    for chance in (0.5, 0.1):
        found.append(Scenario(f"all at chance ({chance:g})", ahead(None, 0, chance), chance=chance))
    needed = Scenario("", ahead("full", 4), needed=0.88)
    found.append(replace(needed, name="needed: 4 above the best, flat"))
    found.append(replace(needed, name="needed: 4 above the best, rising", rise=0.05))
    found.append(replace(needed, name="needed: 4 below all", needed=0.76))
    return found


AHEAD = ("linear", "vpt-shallow", "vpt-deep", "full")
USUAL = "5 seeds, 400 images"  # the study that the page shows first
STUDIES = {
    "3 seeds, 100 images": Setup(3, 100),
    "3 seeds, 400 images": Setup(3, 400),
    USUAL: Setup(5, 400),
    "10 seeds, 2,000 images": Setup(10, 2000),
}
HARD_STUDIES = {
    "no spread of seeds": Setup(3, 400, spread=0.0),
    "spread of 3 points": Setup(3, 400, spread=0.03),
    "groups of ten": Setup(3, 400, grouped=True),
    "tuning luck of 2 points, shared": Setup(3, 400, luck=0.02, shared=True),
    "tuning luck of 2 points, each seed": Setup(3, 400, luck=0.02),
}
HARD_TRUTHS = ("all equal", "full ahead by 2", "vpt-deep ahead by 4", "full ahead by 8", "needed: 4 below all")


SPREADS = {0.0: "equally good", 0.01: "spread 1 point", 0.03: "spread 3 points", 0.10: "spread 10 points"}
NEAR_CHANCE = "near chance"


def drawn_scenario(random: np.random.Generator) -> Scenario:
    """A truth and a study from the prior.

    Three truths of twenty have all methods at chance or up to a fifth of the way above it. Otherwise each method is
    normal around a common accuracy between 40 and 95 per cent, with a spread of 0, 1, 3 or 10 points. A quarter of the
    tables needs an accuracy, normal around the best method's with a spread of 4 points. Margin: 1 or 3 points. Half the
    labels cost 0 or 5 points. A study has 3, 5 or 10 seeds, 100, 400 or 2,000 test images, and trainings with a spread
    of 0, 1 or 3 points. A quarter of the studies has test images in groups of ten; another quarter, drawn apart, has a
    luck of 2 points in the choice of the setting. In half of the studies one seed chooses the setting for all.
    """
    setup = Setup(
        seeds=int(random.choice([3, 5, 10])),
        images=int(random.choice([100, 400, 2000])),
        spread=float(random.choice([0.0, 0.01, 0.03])),
        grouped=bool(random.random() < 0.25),
        luck=0.02 * bool(random.random() < 0.25),
        shared=bool(random.random() < 0.5),
    )
    margin, rise = float(random.choice([0.01, 0.03])), float(random.choice([0.0, 0.05]))
    chance = float(random.choice([0.1, 0.5]))
    if random.random() < 0.15:
        share = float(random.choice([0.0, random.uniform(0.0, 0.2)]))
        deviations = random.uniform(0.0, share, len(METHODS)) * (1 - chance)
        accuracy = dict(zip(METHODS, (chance + deviations).tolist(), strict=True))
        return Scenario(NEAR_CHANCE, accuracy, setup, margin, chance)
    apart = float(random.choice(list(SPREADS)))
    deviations = apart * random.standard_normal(len(METHODS))
    values = np.clip(random.uniform(0.4, 0.95) + deviations, 0.2, 0.97)
    accuracy = dict(zip(METHODS, values.tolist(), strict=True))
    needed = None
    if random.random() < 0.25:
        needed = float(np.clip(max(values) + 0.04 * random.standard_normal(), 0.05, 0.99))
    return Scenario(SPREADS[apart], accuracy, setup, margin, 0.1, needed, rise)


# ---- tables -----------------------------------------------------------------------------------------------------


def table_of(scenario: Scenario, random: np.random.Generator) -> pd.DataFrame:
    """A table of runs as `Study.runs` gives, drawn from the truth."""
    setup = scenario.setup
    floor = min(scenario.chance or 0.0, *scenario.accuracy.values())
    sizes = {method: {LARGE // 2: max(floor, a - scenario.rise), LARGE: a} for method, a in scenario.accuracy.items()}
    runs = _other_columns(setup.seeds)
    image, of_method = _latent(setup, 1, random)[0], _latent(setup, len(METHODS), random)  # I, M I
    correct = []
    for k, method in enumerate(sizes):
        shared = np.sqrt(IMAGE) * image + np.sqrt(METHOD) * of_method[k]  # I
        luck = setup.luck * random.standard_normal()
        for accuracy in sizes[method].values():
            own = scenario.spread_of(method) * random.standard_normal(setup.seeds)  # S
            luck_of_seeds = luck if setup.shared else setup.luck * random.standard_normal(setup.seeds)
            hit = np.clip(accuracy + own + luck_of_seeds, 1e-3, 1 - 1e-3)  # S
            noise = np.sqrt(TRAINING) * random.standard_normal((setup.seeds, setup.images))  # S I
            correct += list(shared + noise < norm.ppf(hit)[:, None])
    truth = np.arange(setup.images) % round(1 / (scenario.chance or 0.1))
    groups = np.arange(setup.images) // PER_GROUP if setup.grouped else None
    return runs.assign(
        correct=correct,
        accuracy=[float(c.mean()) for c in correct],
        truth=[truth] * len(runs),
        test_groups=[groups] * len(runs),
        pool=100 * LARGE,
        tuned_by=0 if setup.shared else runs["seed"],
    )


def _other_columns(seeds: int) -> pd.DataFrame:
    """The columns that are no outcome, in the order of `METHODS`, sizes and seeds."""
    return planted_runs({method: {LARGE // 2: 0.5, LARGE: 0.5} for method in METHODS}, seeds=seeds, images=2)


def _latent(setup: Setup, count: int, random: np.random.Generator) -> np.ndarray:
    """What images bring with them, standard normal, `count I`; images of a group resemble each other."""
    own = random.standard_normal((count, setup.images))
    if not setup.grouped:
        return own
    of_group = random.standard_normal((count, setup.images // PER_GROUP)).repeat(PER_GROUP, axis=1)
    return np.sqrt(GROUP) * of_group + np.sqrt(1 - GROUP) * own


# ---- answers ----------------------------------------------------------------------------------------------------


def advice_on(scenario: Scenario, random: np.random.Generator) -> Recommendation:
    """The rule's answer to one table, without the further reasons: they decide nothing and take half the time."""
    runs = table_of(scenario, random)
    with (
        patch.object(Reasons, "further", lambda *_: []),
        patch.object(questions, "smallest_difference", lambda *_: float("nan")),
        patch.object(questions, "forecast", lambda *_, **__: None),
    ):
        return recommend(runs, scenario.margin, chance=scenario.chance, needed=scenario.needed)


def answer_to(scenario: Scenario, random: np.random.Generator, follow: bool = False) -> dict:
    """What the rule says about one table, whether that is right, and what follows if it asks for more."""
    advice = advice_on(scenario, random)
    said = advice.reasons[1].code
    compared = advice.method is not None and scenario.needed is None  # else the question is what is good enough
    return {
        "name": scenario.name,
        "choice": advice.choice,
        "why": said,
        "method": advice.method,
        "level": advice.confidence,
        "probability": advice.probability,
        "right": is_right(scenario, advice, random),
        "near_best": compared and scenario.best - scenario.accuracy[advice.method] < scenario.margin,
        "leader_right": advice.method in right_methods(scenario),
        "loss": 100 * true_loss(scenario, advice.method) if compared else np.nan,
        "contradictions": contradictions(advice, scenario),
        "margin": scenario.margin,
        "needs": scenario.needed is not None,
        "expected_loss": 100 * advice.expected_loss[advice.method] if advice.method else np.nan,
        "capped": advice.confidence != level_of(advice.probability),
        "scale": float(np.std(list(scenario.accuracy.values()))),
        "best": scenario.best,
        **(after_what_was_asked(scenario, advice, random) if follow else {}),
        **asdict(scenario.setup),
    }


def after_what_was_asked(scenario: Scenario, advice: Recommendation, random: np.random.Generator) -> dict:
    """What the leading method loses once the study has the size that was asked for, in points."""
    asked = advice.reasons[1]
    if asked.code != "open_between":
        return {"asked": np.nan, "worth": np.nan, "loss_after": np.nan}
    what = {"more_seeds": "seeds", "more_test_images": "images"}[advice.choice]
    wanted = int(asked.values["wanted"])
    wanted += -wanted % PER_GROUP * (what == "images")
    later = advice_on(replace(scenario, setup=replace(scenario.setup, **{what: wanted})), random)
    loss = 100 * true_loss(scenario, later.method) if later.method else np.nan
    return {"asked": wanted, "worth": 100 * asked.values["worth"], "loss_after": loss}


def right_methods(scenario: Scenario) -> set[str]:
    """The lightest method within the margin of the best; two where one is exactly the margin behind."""
    behind = {method: scenario.best - scenario.accuracy[method] for method in METHODS}
    first = {next(m for m in METHODS if behind[m] < scenario.margin + slack) for slack in (-1e-9, 1e-9)}
    return first


def true_loss(scenario: Scenario, method: str) -> float:
    """Accuracy lost by using the method, a fraction: what it is behind, and the margin where a lighter one would do."""
    behind = scenario.best - scenario.accuracy[method]
    lightest = max(METHODS.index(right) for right in right_methods(scenario))
    return behind * (behind >= scenario.margin + 1e-9) + scenario.margin * (METHODS.index(method) > lightest)


def is_right(scenario: Scenario, advice: Recommendation, random: np.random.Generator) -> bool | None:
    """Whether an answer is what the truth asks for; None for an answer that asks for more."""
    if advice.choice == NOTHING_WORKS:
        return _nothing_works(scenario, advice)
    if not advice.uses:
        return None
    method = str(advice.method)
    if scenario.needed is not None:
        spread = np.hypot(scenario.spread_of(method), scenario.setup.luck)
        return bool(scenario.accuracy[method] + spread * random.standard_normal() >= scenario.needed)
    guesses = scenario.chance is not None and scenario.best <= scenario.chance
    return method in right_methods(scenario) and not guesses


OF_CHANCE = ("at_chance", "little_above_chance")


def _nothing_works(scenario: Scenario, advice: Recommendation) -> bool:
    if advice.reasons[1].code in OF_CHANCE:
        chance = scenario.chance or 0.0
        return scenario.best < chance + USEFUL * (1 - chance)
    return scenario.needed is not None and scenario.best < scenario.needed


def contradictions(advice: Recommendation, scenario: Scenario) -> list[str]:
    """In what the headline, the confidence and the reasons contradict each other."""
    why, sure = advice.reasons[1], advice.reasons[2]
    rest = [c for c in advice.candidates.values() if c.method != advice.method]
    stepping = not advice.uses and advice.choice != NOTHING_WORKS
    found = {
        "level above its probability": LEVELS.index(advice.confidence) > LEVELS.index(level_of(advice.probability)),
        "a step with confidence": stepping and advice.confidence != "low",
        "the sentence of confidence is about another method": sure.values.get("method", advice.method) != advice.method,
        "the sentence of confidence has another level": sure.values.get("level", advice.confidence)
        != advice.confidence,
        "another method is surely right": advice.method
        and scenario.needed is None
        and any(c.right >= HIGH for c in rest),
        "another method loses less": advice.uses
        and scenario.needed is None
        and any(c.expected_loss < advice.expected_loss[str(advice.method)] for c in rest),
        "it asks for as many as there are": why.code == "open_between" and why.values["wanted"] <= why.values["now"],
        "nothing works, yet one is clearly above chance": advice.choice == NOTHING_WORKS
        and why.code in OF_CHANCE
        and any(c.low > (scenario.chance or 0.0) + USEFUL * (1 - (scenario.chance or 0.0)) for c in rest),
        "high, though an interval leaves another method right": advice.confidence == HIGHEST
        and any(
            pair and pair["low"] < least * scenario.margin
            for pair, least in ((why.values.get("lighter"), 1), (why.values.get("heavier"), -1))
        ),
        "open, though its method is surely right": why.code == "open_between" and advice.probability >= HIGH,
    }
    return [name for name, holds in found.items() if holds]


# ---- many of them -----------------------------------------------------------------------------------------------


def answers_on_named_truths(tables: int, jobs: int) -> pd.DataFrame:
    """Answers in each cell of the table, `tables` each."""
    truths = {scenario.name: scenario for scenario in named_truths()}
    cells = [(study, name) for study in STUDIES for name in truths]
    cells += [(study, name) for study in HARD_STUDIES for name in HARD_TRUTHS]
    setups = STUDIES | HARD_STUDIES
    asked = [
        (replace(truths[name], setup=setups[study]), [_RANDOM_SEED, 1, cell], tables)
        for cell, (study, name) in enumerate(cells)
    ]
    found = _in_parallel(_same_truth, asked, jobs)
    return pd.concat([part.assign(study=study) for part, (study, _) in zip(found, cells, strict=True)])


def _same_truth(scenario: Scenario, seed: list[int], tables: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame([answer_to(scenario, random) for _ in range(tables)])


def answers_on_prior(tables: int, jobs: int) -> pd.DataFrame:
    """One answer on each of so many tables drawn from the prior."""
    scenarios = [drawn_scenario(np.random.default_rng([_RANDOM_SEED, 2, k])) for k in range(tables)]
    units = [s.setup.images // (PER_GROUP if s.setup.grouped else 1) for s in scenarios]
    order = np.argsort(units, kind="stable")  # tables of the same number of units share their draws
    asked = [([(int(k), scenarios[k]) for k in part],) for part in np.array_split(order, max(1, tables // 50))]
    return pd.concat(_in_parallel(_own_truths, asked, jobs)).sort_values("table").reset_index(drop=True)


def _own_truths(numbered: list[tuple[int, Scenario]]) -> pd.DataFrame:
    rows = [
        {"table": k} | answer_to(scenario, np.random.default_rng([_RANDOM_SEED, 3, k]), follow=True)
        for k, scenario in numbered
    ]
    return pd.DataFrame(rows)


def _in_parallel(function, asked: Iterable[tuple], jobs: int) -> list:
    with parallel_config("loky", inner_max_num_threads=1):
        return list(Parallel(n_jobs=jobs)(delayed(function)(*arguments) for arguments in asked))


# ---- the record -------------------------------------------------------------------------------------------------


def record_in(answers: pd.DataFrame) -> dict:
    """What track_record.json holds: the counts by level, and what shows whether the rule is still the one counted."""
    claims = claims_in(answers)
    return {
        "tables": len(answers),
        "levels": {level: _counted(claims[claims["level"] == level]) for level in LEVELS},
        "thresholds": thresholds(),
        "answers": [f"{row.choice} {row.level} {row.probability:.3f}" for row in answers.head(PROBES).itertuples()],
    }


PROBES = 60


def thresholds() -> dict[str, float]:
    """The numbers of the rule, by name."""
    named = vars(contest) | vars(questions)
    return {
        name: value for name, value in sorted(named.items()) if name[0].isupper() and isinstance(value, int | float)
    }


def claims_in(answers: pd.DataFrame) -> pd.DataFrame:
    """The answers that do not ask for more."""
    found = answers[answers["right"].notna()]
    return found.assign(right=found["right"].astype(bool))


def _counted(claims: pd.DataFrame) -> dict[str, float]:
    right, answers = int(claims["right"].sum()), len(claims)
    low, high = interval_of(right, answers)
    return {"answers": answers, "right": right, "low": round(low, 4), "high": round(high, 4)}


def interval_of(right: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Clopper and Pearson, Biometrika 26, 1934)."""
    low = float(beta.ppf(0.025, right, of - right + 1)) if right else 0.0
    high = float(beta.ppf(0.975, right + 1, of - right)) if right < of else 1.0
    return low, high


# ---- the page ---------------------------------------------------------------------------------------------------


def page(prior: pd.DataFrame, named: pd.DataFrame, speed: pd.DataFrame) -> str:
    """The report, in Markdown."""
    claims = claims_in(prior)
    by_condition = pd.concat([_by(claims[claims["level"] == HIGHEST], column) for column in _CONDITIONS])
    asked = prior[prior["right"].isna()]
    binned = claims.assign(probability_from=[f"{max(b for b in BINS if b <= p):.2f}" for p in claims["probability"]])
    counts = Counter(name for found in [*prior["contradictions"], *named["contradictions"]] for name in found)
    contradicted = "".join(f" {name}: {count:,}." for name, count in counts.items()) or " None was found."
    parts = [
        "# How often the rule is right, where the truth is known",
        _INTRODUCTION.format(tables=len(prior), prior=_one_line(drawn_scenario), share=IMAGE, method=METHOD),
        "## Errors by true difference",
        _NAMED.format(tables=len(named) // named.groupby(["study", "name"]).ngroups, ahead=", ".join(AHEAD)),
        _markdown(_errors_by_difference(named[named["study"].isin(STUDIES)])),
        _HARDER,
        _markdown(_errors_by_difference(named[named["study"].isin(HARD_STUDIES)])),
        "## Truths and answers",
        _TRUTHS.format(study=USUAL),
        _markdown(_truths_of(USUAL, named)),
        "## By confidence",
        _markdown(_by(claims, "level").reindex(LEVELS[::-1]).dropna()),
        "## By probability",
        "The probability is the one that the report prints. *Stated* is its mean in the row.",
        _markdown(_by(binned, "probability_from")),
        "## By confidence and answer",
        _markdown(_by_level_and(claims, "choice", _ANSWERS)),
        "## By confidence and true spread of the methods",
        _PRIOR,
        _markdown(_by_level_and(claims, "name", [NEAR_CHANCE, *SPREADS.values()])),
        "## High confidence, by the kind of study",
        _markdown(by_condition),
        "## Answers that ask for more",
        _ASKED,
        _markdown(_asked(asked)),
        "## Contradictions",
        f"Headline, confidence and reasons were compared in {len(prior) + len(named):,} answers.{contradicted}",
        "## Speed",
        "A study of 8 methods, 5 sizes, 5 seeds and 2,000 test images; seconds of one processor core.",
        _markdown(speed),
        "## Other studies, truth by truth",
        *(
            f"### {study}\n\n{_markdown(_truths_of(study, named))}"
            for study in named["study"].unique()
            if study != USUAL
        ),
        "Repeat with `make record`.",
    ]
    return "\n\n".join(parts) + "\n"


HIGHEST = LEVELS[-1]
_INTRODUCTION = """\
The rule judged tables of runs whose truth is known, because it was planted. Two sets were judged.

*Named truths*: one method is ahead of the others by a known difference, and a study of a known size is drawn again \
and again. They give the errors by true difference.

*The prior*: {tables:,} tables, each with a truth of its own. They give the record that reports print. **The record \
depends on this prior**: with other truths it would differ. The prior is as follows. {prior} An image is got right if \
a normal number is below a threshold: {share:.0%} of its variance is the image, {method:.0%} the image for this \
method, the rest the training.

*Right* is as follows. "Use X": X is the lightest within the margin of the best. Where an accuracy is needed: one \
further training of X reaches it. "Nothing works": no method is above chance by a tenth of the way to no error, or \
none reaches what is needed. *Near best*: nothing is better than X by the margin. *Loss*: what the method is behind \
the best, if that is the margin or more, and the margin where a lighter one would have done, in points of accuracy. \
*95 % interval*: of the share that is right (Clopper and Pearson, 1934)."""
_ASKED = """\
*Leader right*: how often the method that led was right already; *stated* is the probability that was given for it. \
*Loss now*: of using that method at once. *Loss later*: of the method that leads in a new study of the size that was \
asked for. *Worth*: what the report said that the information is worth. All in points."""
_NAMED = """\
{tables} tables for each truth and study; differences in points, margin 1 point; chance 10 %, or 50 % where named. \
Each cell has three numbers, in per cent of the answers: *wrong*, *wrong with high confidence*, and *asks for more*. \
Wrong: the answer names a method, or says that nothing works, against the truth. A method that is ahead by exactly the \
margin may be used or left. In a row with a difference one method is ahead of the others; the row is a mean over which \
one it is: {ahead}."""
_HARDER = """\
The same for harder studies, of 3 seeds and 400 images, with one method a row. *Groups of ten*: test images of one \
group resemble each other. *Tuning luck*: the choice of the setting adds luck to accuracy; *shared* means that one \
seed chooses for all."""
_TRUTHS = """\
The same for one study, {study}, and for each truth: per cent of each answer, then of wrong ones. *Loss*: of the \
method that is named or leads, in points."""
_PRIOR = """\
This shows how the record depends on the prior. The spread is that of the true accuracies of the methods."""


def _by(claims: pd.DataFrame, column: str) -> pd.DataFrame:
    """Counts of answers by a column."""
    return pd.DataFrame({_label(column, value): _judged(rows) for value, rows in claims.groupby(column)}).T


def _by_level_and(claims: pd.DataFrame, column: str, values: Iterable[str]) -> pd.DataFrame:
    """Counts of answers by confidence, the highest first, and by a column, in the order of `values`."""
    found = dict(list(claims.groupby(["level", column])))
    both = [(level, value) for level in LEVELS[::-1] for value in values if (level, value) in found]
    return pd.DataFrame({f"{level}, {_plain(value)}": _judged(found[level, value]) for level, value in both}).T


def _plain(code: str) -> str:
    return code.replace("_", " ")


_CONDITIONS = {
    "seeds": "seeds",
    "images": "test images",
    "spread": "spread of seeds",
    "grouped": "groups of ten",
    "luck": "tuning luck",
    "shared": "one seed tunes for all",
    "margin": "margin",
    "needs": "an accuracy is needed",
}


def _label(column: str, value: object) -> str:
    if column not in _CONDITIONS:
        return str(value)
    written = {True: "yes", False: "no"}[bool(value)] if column in ("grouped", "shared", "needs") else value
    return f"{_CONDITIONS[column]}: {written}"


def _judged(rows: pd.DataFrame) -> dict[str, str]:
    right, of = int(rows["right"].sum()), len(rows)
    low, high = interval_of(right, of)
    return {
        "answers": f"{of:,}",
        "right": f"{right / of:.1%}",
        "95 % interval": f"{100 * low:.1f} to {100 * high:.1f}",
        "stated": _mean(rows["probability"], ".1%"),
        "near best": _mean(rows.loc[rows["loss"].notna(), "near_best"], ".1%"),
        "loss": _mean(rows["loss"], ".2f"),
    }


def _asked(rows: pd.DataFrame) -> pd.DataFrame:
    """What answers that ask for more would lose now and later."""

    def of(found: pd.DataFrame) -> dict[str, str]:
        leads = found[found["method"].notna()]
        return {
            "answers": f"{len(found):,}",
            "leader right": _mean(leads["leader_right"], ".1%"),
            "stated": _mean(leads["probability"], ".1%"),
            "loss now": _mean(found["loss"], ".2f"),
            "loss later": _mean(found["loss_after"], ".2f"),
            "worth": _mean(found["worth"], ".2f"),
        }

    return pd.DataFrame(
        {_plain(f"{choice}, {why}"): of(found) for (choice, why), found in rows.groupby(["choice", "why"])}
    ).T


def _mean(values: pd.Series, form: str) -> str:
    """The mean of those that are known, or a dash."""
    known = values.dropna()
    return f"{known.astype(float).mean():{form}}" if len(known) else "-"


def _truths_of(study: str, named: pd.DataFrame) -> pd.DataFrame:
    """A row for each truth, a column for each answer."""
    rows = named[named["study"] == study]
    shares = pd.crosstab(rows["name"], rows["choice"], normalize="index")
    shares = shares[[choice for choice in _ANSWERS if choice in shares]].rename(columns=_plain)
    judged = _errors(rows)[["wrong", "wrong, high"]].groupby(rows["name"]).mean()
    table = shares.join(judged).map(lambda share: f"{share:.0%}".rstrip("%"))
    table["loss"] = rows.groupby("name")["loss"].mean().map(lambda loss: "-" if pd.isna(loss) else f"{loss:.2f}")
    return table.loc[rows["name"].unique()]


_ANSWERS = (*map(use_code, METHODS), *STEPS)


def _errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Whether each answer is wrong, wrong with high confidence, or asks for more."""
    wrong = rows["right"].eq(False)
    return pd.DataFrame(
        {"wrong": wrong, "wrong, high": wrong & (rows["level"] == HIGHEST), "asks": rows["right"].isna()}
    )


def _errors_by_difference(named: pd.DataFrame) -> pd.DataFrame:
    """A row for each true difference, a column for each study."""
    difference = named["name"].replace(r"^.* ahead by (\S+)$", r"ahead by \1", regex=True)
    shares = _errors(named).groupby([difference, named["study"]]).mean()  # the cells have as many tables each
    cells = shares.apply(lambda row: " / ".join(f"{share:.0%}".rstrip("%") for share in row), axis=1)
    return cells.unstack("study").loc[difference.unique(), named["study"].unique()].fillna("-")


def _markdown(table: pd.DataFrame) -> str:
    lines = [["", *map(str, table.columns)], ["---"] * (len(table.columns) + 1)]
    lines += [[str(name), *map(str, row)] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _one_line(function) -> str:
    """What a docstring adds to its first line, in one line."""
    return " ".join((function.__doc__ or "").split("\n\n", 1)[1].split())


# ---- speed ------------------------------------------------------------------------------------------------------


def speed_of_a_large_study() -> pd.DataFrame:
    """Seconds of processor for a study of 8 methods, 5 sizes, 5 seeds and 2,000 test images."""
    accuracy = {"knn": 0.78, "bias": 0.82, "adapter": 0.81} | ahead("full", 2, 0.83)
    sizes = {m: {n: a - 0.02 * k for k, n in enumerate((800, 400, 200, 100, 50))} for m, a in accuracy.items()}
    runs = planted_runs(sizes, seeds=5, images=2000, seed_spread=0.01)
    seconds = {}
    for what, judged in (
        ("recommend, the first time", recommend),
        ("recommend, again", recommend),
        ("summarise", summarise),
    ):
        start = time.process_time()
        judged(runs, chance=0.1)
        seconds[what] = time.process_time() - start
    return pd.DataFrame({name: {"seconds": f"{value:.2f}"} for name, value in seconds.items()}).T


def main() -> None:
    """Count, and write the record and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few tables; print the page, write nothing")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    speed = speed_of_a_large_study()
    prior = answers_on_prior(PROBES if given.quick else PRIOR_TABLES, given.jobs)
    named = answers_on_named_truths(1 if given.quick else TABLES_A_CELL, given.jobs)
    text = page(prior, named, speed)
    if given.quick:
        print(text)
        return
    REPORT.write_text(text)
    FILE.write_text(json.dumps(record_in(prior), indent=1) + "\n")


PRIOR_TABLES, TABLES_A_CELL = 3000, 100


if __name__ == "__main__":
    main()
