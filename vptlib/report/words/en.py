"""English sentences for what judgement found.

A function that is marked `@_says` is the sentence for the code of its name (`vptlib.statement.Statement`). Its
parameters are the values of that statement. Numbers are written by `vptlib.wording`.
"""

from collections.abc import Callable, Iterable
from datetime import datetime

from vptlib.evidence.audit import NOTE, WARNING
from vptlib.evidence.contest import HIGH
from vptlib.evidence.curves import A_AHEAD, B_AHEAD, CROSSES, OPEN
from vptlib.evidence.recommendation import (
    FULL,
    LARGER_INPUT,
    MORE_LABELS,
    MORE_SEEDS,
    MORE_TEST_IMAGES,
    NO_ANSWER,
    NOTHING_WORKS,
    PROMPT,
    STEPS,
    TRAIN_LONGER,
)
from vptlib.evidence.stages import LABEL_MORE, OPERATE, OUT_OF_SIGHT, PILOT, STUDY_MORE
from vptlib.statement import Statement
from vptlib.tuning.methods import find_method
from vptlib.wording import decimals, duration, exact_points, in_points, listed, many, per_cent, plain, rounded, storage

SENTENCES: dict[str, Callable[..., str]] = {}

# ---- codes in a word or two -------------------------------------------------------------------------------------

# The steps that ask for more, in two words and as a headline for someone who has to act on it.
CHOICES = {
    MORE_SEEDS: "run more seeds",
    MORE_TEST_IMAGES: "test on more images",
    LARGER_INPUT: "take a larger input",
    TRAIN_LONGER: "train longer",
    MORE_LABELS: "label more to train on",
    NOTHING_WORKS: "nothing works",
    NO_ANSWER: "no answer yet",
}
HEADLINES = {
    MORE_SEEDS: "Run more seeds, then decide",
    MORE_TEST_IMAGES: "Test on more images, then decide",
    LARGER_INPUT: "Take a larger input, then decide",
    TRAIN_LONGER: "Train longer, then decide",
    MORE_LABELS: "Label more images to train on",
    NOTHING_WORKS: "Nothing works here: change the backbone or the task",
    NO_ANSWER: "No answer yet: it needs more time",
}
_USED = {PROMPT: "Use visual prompts (VPT-deep)", FULL: "Fine-tune the whole model"}
LEVELS = {"low": "low", "medium": "medium", "high": "high"}
PLAN_STEPS = {
    OPERATE: "operate",
    PILOT: "pilot",
    LABEL_MORE: "label more",
    STUDY_MORE: "finish the study",
    OUT_OF_SIGHT: "out of sight",
}
# What each statement of a plan is about.
PLAN_PARTS = {
    "tried": "Tried",
    **dict.fromkeys([OPERATE, "operate_unasked", PILOT, LABEL_MORE, STUDY_MORE, OUT_OF_SIGHT], "Now"),
    **dict.fromkeys(["collect", "buy_labels"], "Collect"),
    **dict.fromkeys(["decide_again_by_convention", "decide_again_by_record", "decide_again_past_record"], "Then"),
    **dict.fromkeys(["again_when_finished", "again_with_another_backbone"], "Then"),
}
LEADS = {
    A_AHEAD: "a ahead throughout",
    B_AHEAD: "b ahead throughout",
    CROSSES: "crosses",
    OPEN: "not enough evidence",
}


# ---- helpers ----------------------------------------------------------------------------------------------------


def sentence(statement: Statement) -> str:
    """The sentence for a statement."""
    return SENTENCES[statement.code](**statement.values)


def title(method: str) -> str:
    """A method's title: "VPT-deep", "Full fine-tuning"."""
    return find_method(method).title


def in_prose(method: str) -> str:
    """A method's title within a sentence: "VPT-deep", "full fine-tuning"."""
    name = title(method)
    return name if name[1].isupper() else name[0].lower() + name[1:]


def interval(low: str, high: str) -> str:
    """ "3", "5 points" → "95 % interval: 3 to 5 points"."""
    return f"95\u202f% interval: {low} to {high}"


def ahead(difference: float) -> str:
    """-0.021 → "2.1 points behind"."""
    if _is_level(difference):
        return "level"
    return f"{in_points(abs(difference))} {'ahead' if difference > 0 else 'behind'}"


def ahead_interval(low: float, high: float) -> str:
    """(-0.03, 0.01) → "… 3 points behind to 1 point ahead"; (-0.03, -0.01) → "… 3 to 1 point behind"."""
    same_side = low * high > 0 and not (_is_level(low) or _is_level(high))
    return interval(plain(100 * abs(low)) if same_side else ahead(low), ahead(high))


def share(fraction: float, digits: int = 0) -> str:
    """Per cent of the resampled studies; no number of them can show certainty, so 0.995 → "more than 99 %"."""
    if fraction > 0.99:
        return f"more than {per_cent(0.99, 0)}"
    return f"less than {per_cent(0.01, 0)}" if fraction < 0.01 else per_cent(fraction, digits)


def _is_level(difference: float) -> bool:
    return plain(100 * abs(difference)) == "0"


def _says(words: Callable[..., str]) -> Callable[..., str]:
    SENTENCES[words.__name__] = words
    return words


# ---- recommendations (vptlib.evidence.questions, vptlib.evidence.reasons) -----------------------------------------


def choice(code: str, method: str | None) -> str:
    """A choice in a few words: "use VPT-deep", "run more seeds"."""
    return CHOICES[code] if code in STEPS else f"use {in_prose(str(method))}"


def headline(code: str, method: str | None) -> str:
    """A choice as a headline for someone who has to act on it."""
    return HEADLINES[code] if code in STEPS else _USED.get(str(method), f"Use {_the(str(method))}")


def _the(method: str) -> str:
    """A method in a sentence that acts on it: "the linear probe", "LoRA"."""
    name = in_prose(method)
    return f"the {name}" if name[0].islower() and name.endswith("probe") else name


@_says
def seen(n: int, images: int, methods: list[str], accuracies: list[float], chance: float | None) -> str:
    each = [f"{in_prose(method)} {per_cent(accuracy)}" for method, accuracy in zip(methods, accuracies, strict=True)]
    guess = "" if chance is None else f" Always naming the commonest class: {per_cent(chance)}."
    return f"With {n:,} labelled images, the share of the {images:,} test images that is right: {listed(each)}.{guess}"


@_says
def not_compared_yet(n: int, lacking: list[str]) -> str:
    if not lacking:
        return f"{title(PROMPT)} and {in_prose(FULL)} have no seed in common yet, so they cannot be compared."
    have = "has" if len(lacking) == 1 else "have"
    return (
        f"{_capital(listed([in_prose(method) for method in lacking]))} {have} no finished run with {n:,} labelled "
        "images, for want of time. So the two ways cannot be compared. The same command with more time goes on from "
        "here."
    )


@_says
def best_so_far(method: str, n: int, accuracy: float, low: float, high: float) -> str:
    return (
        f"The best of what is finished: {in_prose(method)}, right on {per_cent(accuracy)} of the test images with "
        f"{n:,} labelled images ({interval(decimals(100 * low, 1), per_cent(high))})."
    )


@_says
def quick_look(seeds: int, fewest: int, seconds: float) -> str:
    have = "One seed stands" if seeds == 1 else f"Only {seeds} seeds stand"
    return (
        f"{have} behind each figure. That shows too little of the luck in drawing the training images. Run at least "
        f"{fewest}: they need no new labels, only time{_so_long(seconds)}."
    )


@_says
def cut_short(methods: list[str]) -> str:
    return (
        f"Training of {listed(map(in_prose, methods))} was cut short: the last step was the best one. Longer training "
        "can change the order. Give more steps."
    )


@_says
def at_chance(method: str, accuracy: float, low: float, high: float, chance: float) -> str:
    return (
        f"No method is clearly better than always naming the commonest class ({per_cent(chance)}). The best one, "
        f"{in_prose(method)}, is right on {per_cent(accuracy)} ({interval(decimals(100 * low, 1), per_cent(high))})."
    )


@_says
def little_above_chance(method: str, accuracy: float, low: float, high: float, chance: float) -> str:
    return (
        f"No method is of use. The best one, {in_prose(method)}, is right on {per_cent(accuracy)} "
        f"({interval(decimals(100 * low, 1), per_cent(high))}). Always naming the commonest class is right on "
        f"{per_cent(chance)}."
    )


@_says
def reaches(method: str, bar: float, chance: float, of_today: bool) -> str:
    return (
        f"{_mark(bar, of_today)} {_capital(_the(method))} reaches it: a single training does so with {share(chance)} "
        "probability. Where several methods do, this one loses least."
    )


def _mark(bar: float, of_today: bool) -> str:
    """What is to be reached, as a sentence."""
    return f"The present way of working has {per_cent(bar)}." if of_today else f"The work needs {per_cent(bar)}."


@_says
def not_reached(method: str, bar: float, accuracy: float, chance: float, mean: float, of_today: bool) -> str:
    return (
        f"{_mark(bar, of_today)} {_capital(in_prose(method))} comes nearest with {per_cent(accuracy)}. A single "
        f"training of it reaches the mark with {share(chance)} probability, the mean of many with {share(mean)}."
    )


@_says
def limits_not_kept(method: str, finding: Statement) -> str:
    return f"No method is shown to keep the limits that were set. {_capital(_the(method))}: {sentence(finding)}"


@_says
def lightest_of_the_best(method: str, margin: float, lighter: dict | None, heavier: dict | None) -> str:
    others = [("heavier", heavier), ("lighter", lighter)]
    parts = [
        f"Next to {_the(pair['second'])}, the best {kind} method, it is {_compared(pair)}."
        for kind, pair in others
        if pair
    ]
    first = "the lightest method" if lighter is None else "the heaviest method" if heavier is None else "in between"
    alone = [] if parts else ["No other method was compared."]
    return " ".join(
        [f"{_capital(_the(method))} is {first}.", *parts, *alone, f"The least that matters is {in_points(margin)}."]
    )


def _compared(pair: dict) -> str:
    return f"{ahead(pair['difference'])} ({ahead_interval(pair['low'], pair['high'])})"


@_says
def best_after_costs(method: str) -> str:
    return f"With its costs taken off at the value of a point, {_the(method)} has the highest expected value."


@_says
def open_between(
    first: str, second: str, step: str, now: int, wanted: int, worth: float, seconds: float | None, groups: int | None
) -> str:
    of_groups = f", from {round(groups * wanted / now):,} groups instead of {groups:,}," if groups else ""
    what = {
        MORE_SEEDS: f"About {wanted:,} seeds instead of {now:,}{_so_long(seconds)}",
        MORE_TEST_IMAGES: f"About {wanted:,} test images instead of {now:,}{of_groups}",
    }[step]
    return (
        f"{_capital(_the(first))} or {_the(second)}: these runs leave it open. {what} would narrow it most. "
        f"On average that is worth {in_points(worth)} of accuracy."
    )


def _so_long(seconds: float | None) -> str:
    """How long further runs take, in brackets."""
    return "" if seconds is None else f" (about {duration(seconds)} of training)"


@_says
def sure(
    method: str,
    level: str,
    probability: float,
    replicates: int,
    claim: str,
    bar: float | None,
    margin: float,
    quick: bool,
    left: str | None,
) -> str:
    said = {
        "right": f"{_the(method)} is the lightest within {in_points(margin)} of the best",
        "reaches": f"one training of {_the(method)} reaches {per_cent(bar or 0)}",
    }[claim]
    in_share = f"in {share(probability)} of {replicates:,} resampled studies"
    seeds = " With so few seeds it is a quick look." if quick else ""
    capped = f" It is not high, because the interval leaves {_the(left)} right." if left else ""
    return f"Confidence {LEVELS[level]}: {in_share} {said}.{seeds}{capped}"


@_says
def leads_so_far(method: str, probability: float, margin: float, quick: bool) -> str:
    if quick:
        return f"Not decided. So far {_the(method)} leads, but a quick look gives no probability for that."
    return (
        f"Not decided. So far {_the(method)} leads: the probability that it is the lightest within "
        f"{in_points(margin)} of the best is {share(probability)}."
    )


@_says
def none_leads(chance: float) -> str:
    return (
        f"Not decided. So far no method is clearly of more use than always naming the commonest class "
        f"({per_cent(chance)})."
    )


@_says
def sure_nothing_works(level: str, probability: float) -> str:
    return f"Confidence {LEVELS[level]}: the probability that no method here is good enough is {share(probability)}."


@_says
def loss(method: str, loss: float, other: str, other_loss: float) -> str:
    return (
        f"Taking {_the(method)} now loses {_loss(loss)} on average, in accuracy or in needless weight. The next best, "
        f"{in_prose(other)}, would lose {_loss(other_loss)}."
    )


def _loss(fraction: float) -> str:
    """A loss, such as "0.2 points"; a small one is never called none."""
    return "less than 0.1 points" if fraction < 0.0005 else in_points(fraction)


_DOUBTS = {
    "best_at_last_step": "training cut short",
    "choice_at_edge": "a choice at the edge of what was tried",
    "seeds_diverge": "seeds that differ too much",
    "accuracy_falls": "accuracy that falls with more labels",
    "collapsed": "runs no better than guessing",
}


@_says
def audit_doubts(codes: list[str], methods: list[str]) -> str:
    return (
        f"The audit of the runs found {listed(_DOUBTS[code] for code in codes)} ({listed(map(in_prose, methods))}). "
        "So the confidence is not high."
    )


@_says
def methods_lacking(methods: list[str], n: int) -> str:
    have = "has" if len(methods) == 1 else "have"
    return f"{_capital(listed(map(in_prose, methods)))} {have} no runs to compare with {n:,} labelled images: left out."


@_says
def seeds_not_common(common: int, unused: list[int]) -> str:
    return f"Only the {many(common, 'seed')} that all methods have are compared: {_seeds(unused)} left out."


@_says
def two_ways(first: str, second: str, difference: float, low: float, high: float, n: int) -> str:
    return (
        f"{title(first)} is {ahead(difference)} compared with {in_prose(second)} with {n:,} labelled images "
        f"({ahead_interval(low, high)})."
    )


@_says
def settles(difference: float, seeds: int, images: int) -> str:
    return (
        f"With {many(seeds, 'seed')} and {images:,} test images a study like this can tell apart "
        f"{in_points(difference)} (in four of five cases). Smaller differences stay open."
    )


@_says
def across_tasks(tasks: int, answers: list[dict], wrong: float | None) -> str:
    if not answers or wrong is None:
        return f"None of {tasks} tasks has an answer yet. Each asks for more first."
    found = [f"{choice(one['choice'], one['method'])} in {one['tasks']}" for one in answers]
    answered = sum(one["tasks"] for one in answers)
    have = "has an answer" if answered == 1 else "have an answer"
    open_yet = (
        "" if answered == tasks else f" The other {tasks - answered} ask{'s' * (tasks - answered == 1)} for more."
    )
    expected = f"By their probabilities, {share(wrong)} of such answers are wrong."
    return f"{answered} of {tasks} tasks {have}: {listed(found)}.{open_yet} {expected}"


@_says
def told_apart_before(seeds: int, images: int, difference: float, groups: int | None) -> str:
    grouped = f" They come from {many(groups, 'group')}; as far as those differ, it tells apart less." if groups else ""
    return (
        f"With {many(seeds, 'seed')} and {images:,} test images a study tells apart about {in_points(difference)} "
        f"(in four of five cases).{grouped}"
    )


@_says
def lead_changes(n: float, low: float, high: float, leader: str) -> str:
    return (
        f"Between VPT-deep and full fine-tuning the lead changes at about {rounded(n)} labelled images "
        f"({interval(rounded(low), rounded(high))}); beyond, {in_prose(leader)} leads."
    )


@_says
def weights(methods: list[str], stored: list[int], seconds: list[float]) -> str:
    each = [
        f"{in_prose(method)} {storage(size)}, {duration(time)}"
        for method, size, time in zip(methods, stored, seconds, strict=True)
    ]
    return f"What each further task stores, and how long one training takes: {'; '.join(each)}."


@_says
def last_labels(method: str, smaller: int, n: int, gain: float, low: float, high: float) -> str:
    return (
        f"From {smaller:,} to {n:,} labelled images {in_prose(method)} gained {decimals(100 * gain, 1)} points "
        f"({interval(decimals(100 * low, 1), decimals(100 * high, 1))})."
    )


@_says
def change_by_backbone() -> str:
    return "Another backbone, other images, or an easier question. More labels or seeds would not."


@_says
def change_by_step(step: str) -> str:
    return {
        MORE_SEEDS: "More seeds in the settings: the same command goes on from these runs and decides.",
        MORE_TEST_IMAGES: "More labelled images to test on, in the settings too, then the same command.",
        LARGER_INPUT: "A larger image size in the settings, or more time, then the same command.",
        TRAIN_LONGER: "More steps in the settings, then the same command.",
        MORE_LABELS: "More labelled images to train on, a larger size in the settings, then the same command.",
    }[step]


@_says
def change_by_bar(bar: float) -> str:
    return f"Another accuracy to reach than {per_cent(bar)}. With more labels the order of the methods can be another."


@_says
def change_by_rival(rival: str, probability: float) -> str:
    return (
        f"{_capital(_the(rival))} is right instead with {share(probability)} probability. With more labels the order "
        "can be another."
    )


@_says
def labels_to_make(missing: int, pool: int) -> str:
    return f"The images hold {pool:,} labelled ones to train on, so {missing:,} have to be labelled for that."


@_says
def change_by_other_methods(method: str) -> str:
    return f"Runs of other methods: {_the(method)} is the only one that was compared."


# ---- the record of the rule (vptlib.evidence.track_record) --------------------------------------------------------


@_says
def record_of_rule(level: str, tables: int, answers: int, right: int, low: float, high: float) -> str:
    return (
        f"On {tables:,} planted tables with a known truth, this rule gave confidence {LEVELS[level]} {answers:,} "
        f"times. It was right in {right:,} of them, {per_cent(right / answers)} "
        f"({interval(decimals(100 * low, 1), per_cent(high))}). With other truths than those planted, this share "
        "would differ."
    )


@_says
def record_too_small(level: str, tables: int, answers: int) -> str:
    often = f"only {many(answers, 'time')}" if answers else "never"
    return (
        f"On {tables:,} planted tables with a known truth, this rule gave confidence {LEVELS[level]} {often}: too few "
        "answers for a record."
    )


# ---- the plan in stages (vptlib.evidence.stages) ------------------------------------------------------------------


@_says
def operate(method: str, chance: float, needed: float) -> str:
    return f"Operate with {_the(method)}: {_one_training(chance, needed)}."


@_says
def operate_unasked(method: str) -> str:
    return (
        f"Operate with {_the(method)}. No accuracy was asked for (accuracy_needed), so whether it is good enough is "
        "not judged."
    )


@_says
def pilot(method: str, chance: float, needed: float) -> str:
    return (
        f"Pilot with {_the(method)}: {_one_training(chance, needed)}, which is not enough to operate. A person checks "
        "each answer that is used."
    )


@_says
def label_more(chance: float | None, needed: float | None) -> str:
    return f"Label more images to train on before anything is used.{_so_far(chance, needed)}"


@_says
def study_more(choice: str, chance: float | None, needed: float | None) -> str:
    return f"Finish the study before anything is used ({CHOICES[choice]}).{_so_far(chance, needed)}"


def _so_far(chance: float | None, needed: float | None) -> str:
    return "" if chance is None or needed is None else f" So far {_one_training(chance, needed)}."


def _one_training(chance: float, needed: float) -> str:
    near_the_mark = abs(chance - HIGH) < 0.01  # where a rounded figure would hide which side it is on
    return f"one training reaches {per_cent(needed, 0)} with a chance of {share(chance, int(near_the_mark))}"


@_says
def out_of_sight(needed: float | None) -> str:
    return "Use none of them" + ("." if needed is None else f": {per_cent(needed, 0)} is out of sight.")


@_says
def tried(n: int, images: int, finished: bool, prompt_bytes: float | None) -> str:
    trial = "This study was the trial" if finished else "This study is the trial, and it is not finished"
    light = "" if prompt_bytes is None else f" Prompts are cheap to take back: a task stores {storage(prompt_bytes)}."
    return f"{trial}: up to {n:,} labelled images to train and {images:,} to test.{light}"


@_says
def buy_labels(labels: int, price: float | None) -> str:
    cost = "" if price is None else f", for about {money(price)}"
    return f"{labels:,} further labelled images to train on{cost}."


@_says
def collect(checks: float, labels: int, months: int, given: bool) -> str:
    known = "" if given else " (assumed)"
    return (
        f"Keep the answers that a person checks, {checks:,.0f} a month{known}: after {many(months, 'month')} they are "
        f"the {labels:,} further labels."
    )


@_says
def again_when_finished() -> str:
    return "Decide again as soon as the study is finished."


@_says
def again_with_another_backbone() -> str:
    return "Decide again after a change of the backbone, the images or the task."


# ---- money (vptlib.evidence.money) --------------------------------------------------------------------------------

# Each price: its name, and its unit after the figure.
PRICES = {
    "label_price": ("Price of a label", "an image"),
    "point_value": ("Value of a point of accuracy", "a task and year"),
    "tasks_planned": ("Tasks planned", "tasks"),
    "horizon_years": ("Horizon", "years"),
    "discount_rate": ("Discount rate", "a year"),
    "checks_per_month": ("Checked answers", "a task and month"),
    "retrainings_per_year": ("Retrainings", "a task and year"),
    "engineer_days_per_project": ("Engineer days for the project", "days"),
    "engineer_days_per_task": ("Engineer days for a task", "days"),
    "engineer_days_per_retraining": ("Engineer days for a retraining", "days"),
    "engineer_day_price": ("Price of an engineer's day", "a day"),
    "compute_hour_price": ("Price of an hour of computing", "an hour"),
    "storage_price": ("Price of storage", "a GB and year"),
    "serving_price": ("Price of a model in memory", "a model and year"),
    "accuracy": ("Difference in accuracy", "points"),
}
BILL_ITEMS = {
    "labels": "Labels to train and to test",
    "set_up": "Engineer days to set up",
    "training": "First training",
    "checks": "Checked answers",
    "retraining": "Retraining, on the checked answers",
    "storage": "Storage",
    "serving": "Models in memory",
}
ORIGINS = {True: "given", False: "assumed"}
# Whether accuracy has a value in the comparison, or costs are compared alone.
_WAY = {True: "better", False: "cheaper"}
_ASKED_FOR = {"seeds": "seed", "test_images": "test image"}


def money(amount: float) -> str:
    """A sum to two significant digits, at most two of them decimals: 34_256 → "34,000", -0.123 → "−0.12"."""
    size = round(abs(amount), 2)
    text = rounded(size) if size >= 10 else f"{size:.2g}"
    return f"\u2212{text}" if amount < 0 and float(f"{size:.2g}") else text


def money_span(low: float, likely: float, high: float) -> str:
    """ "34,000 (21,000 to 60,000)", or one figure where there is no range."""
    ends = money(low), money(high)
    return money(likely) if ends[0] == ends[1] else f"{money(likely)} ({ends[0]} to {ends[1]})"


def tasks(number: float) -> str:
    """10.0 → "10 tasks"."""
    return many(f"{number:,.0f}", "task")


def bill_of(method: str) -> str:
    """Over the items of a bill."""
    return f"The bill of {_the(method)}"


def tornado_axis(a: str, b: str, valued: bool) -> str:
    """Below the tornado figure: what its bars measure."""
    what = "brings more than" if valued else "costs less than"
    return f"What {_the(a)} {what} {_the(b)}, over the horizon"


def labels_each(needed: float, labels: dict[str, int]) -> str:
    """With how many labels each way reaches the accuracy that is needed, of the sizes that were run."""
    each = listed(f"{in_prose(method)} with {n:,}" for method, n in labels.items())
    return f"Of the sizes that were run, {each} labelled images reach {per_cent(needed, 0)}."


@_says
def not_priced() -> str:
    return "Nothing is priced: give label_price, the price of one labelled image, in the YAML file."


@_says
def none_to_price() -> str:
    return "No way is advised, so none is priced."


@_says
def priced(
    method: str, tasks_planned: float, years: float, total: list[float], labelling: float, rival: str | None,
    rival_total: list[float] | None, assumed: int,
) -> str:  # fmt: skip
    other = ""
    if rival is not None and rival_total is not None:
        other = f" {_capital(_the(rival))} costs {money_span(*rival_total)}."
    guessed = f" {many(assumed, 'figure')} behind it {'is' if assumed == 1 else 'are'} assumed." if assumed else ""
    return (
        f"For {tasks(tasks_planned)} and {many(plain(years), 'year')} {_the(method)} costs {money_span(*total)}. "
        f"Labels and checked answers are {per_cent(labelling, 0)} of that.{other}{guessed}"
    )


@_says
def further_labels(tasks_planned: float, train: int, test: int, checks: int) -> str:
    checked = f"In operation {checks:,} answers a year are checked."
    if tasks_planned <= 1:
        return f"No further labels are needed to begin: the study's own images serve its task. {checked}"
    return f"For {tasks(tasks_planned)} {train:,} further labels are needed to train and {test:,} to test. {checked}"


@_says
def brings_more(a: str, b: str, lead: list[float], probability: float, valued: bool) -> str:
    low, likely, high = lead
    if likely < 0:
        a, b, probability, (low, likely, high) = b, a, 1 - probability, (-high, -likely, -low)
    span = money_span(low, likely, high)
    if not valued:
        return (
            f"{_capital(_the(a))} costs {span} less than {_the(b)}. What a point of accuracy is worth was not given "
            "(point_value), so accuracy is not in it."
        )
    return (
        f"Accuracy and costs together, {_the(a)} brings {span} more than {_the(b)}; it is the better one in "
        f"{share(probability)} of the draws."
    )


def _turning(name: str, value: float) -> str:
    return f"{value:,.0f}" if name == "tasks_planned" and value >= 10 else money(value)


@_says
def turns_at(
    name: str, value: float, low: float, high: float, share: float, below: str, above: str, valued: bool
) -> str:
    what = f"{_turning(name, value)} tasks" if name == "tasks_planned" else f"{_turning(name, value)} for a label"
    ends = f"{_turning(name, low)} to {_turning(name, high)}"
    some = f" In {per_cent(1 - share, 0)} of the draws there is no such point." if share < 0.95 else ""
    return f"Below {what} ({ends}) {_the(below)} is the {_WAY[valued]} way, above it {_the(above)}.{some}"


@_says
def turns_nowhere(name: str, least: float, most: float, better: str, share: float, valued: bool) -> str:
    where = (
        f"from {least:,.0f} to {most:,.0f} tasks" if name == "tasks_planned" else f"for labels at up to {money(most)}"
    )
    some = f" In {per_cent(share, 0)} of the draws that changes somewhere." if share > 0.05 else ""
    return f"{_capital(_the(better))} is the {_WAY[valued]} way {where}.{some}"


@_says
def worth_asking(kind: str, amount: int, worth: float, price: float, pays: bool) -> str:
    what = many(amount, f"further {_ASKED_FOR[kind]}")
    so = "more than that" if pays else "not more than that"
    return f"{_capital(what)}: the price is {money(price)}. What they show is worth {so} on average, {money(worth)}."


@_says
def labels_must_bring(labels: int, tasks_planned: float, price: float, gain: float) -> str:
    return (
        f"{labels:,} further labels to train, for each of {tasks(tasks_planned)}: the price is {money(price)}, so they "
        f"pay if they bring more than {in_points(gain)}."
    )


# ---- learning curves (vptlib.evidence.curves) ---------------------------------------------------------------------


@_says
def few_sizes(sizes: int) -> str:
    return f"there are only {sizes} sizes, and a line through two points cannot be wrong"


@_says
def error_rises(first: int, last: int) -> str:
    return f"the error does not fall from {first} to {last} labelled images"


@_says
def error_maybe_flat(first: int, last: int) -> str:
    return f"the error may as well be flat from {first} to {last} labelled images"


@_says
def error_off_curve(n: int) -> str:
    return f"the error at {n} labelled images lies off the curve by more than chance explains"


@_says
def who_leads(a: str, b: str, a_ahead_at: list[int], b_ahead_at: list[int], open_at: list[int], changes: int) -> str:
    found = [
        (f"{in_prose(a)} is clearly ahead", a_ahead_at),
        (f"{in_prose(b)} is clearly ahead", b_ahead_at),
        ("neither is clearly ahead", open_at),
    ]
    text = "; ".join(f"{lead} at {listed(sizes)}" for lead, sizes in found if sizes)
    several = f" The lead changes {changes} times; the last change is given." if changes > 1 else ""
    return f"{text[0].upper()}{text[1:]} labelled images.{several}"


# ---- the explainability checklist (vptlib.explanations.checklist) -----------------------------------------------

QUESTIONS = {
    "maps mark a place": "Does every map mark some place?",
    "answer depends on the map": "Does the answer depend on what the map marks?",
    "map points at the object": "Does the map point at the object?",
    "map follows its image": "Does the map stay when the image hardly changes?",
    "map depends on the model": "Does the map change when the model forgets all?",
    "other kinds of map agree": "Do other methods tell the same story?",
    "shares add up": "Do the shares of Integrated Gradients add up?",
    "one model is more faithful": "Are one model's maps more faithful than the other's?",
    "another run gives the same maps": "Would another training run give the same maps?",
}
VERDICTS = {"holds": "holds", "does-not-hold": "does not hold", "open": "open"}
_COMPARED_WITH = {
    "repeats itself": "the map of the image with a little noise",
    "depends on the model": "random models' maps",
    "other kinds of map": "the other methods' maps",
    "another training run": "a second training run's map",
}
_SAME_OR_NOT = {
    ("repeats itself", True): "it follows the image",
    ("repeats itself", False): "a little noise gives another map",
    ("depends on the model", True): "hardly changes when the model is made to forget",
    ("depends on the model", False): "changes with the model",
    ("other kinds of map", True): "they tell the same story",
    ("other kinds of map", False): "they tell other stories",
    ("another training run", True): "much the same",
    ("another training run", False): "another run marks other places",
}
FAITHFULNESS_CAVEAT = (
    "In training the model never saw images with parts taken away. So an answer may change because an image is "
    "strange, not because what matters is gone (Hooker et al. 2019, arXiv 1806.10758). Only the distance to the grey "
    "maps counts, because they share this fault."
)


@_says
def maps_mark(share: float, enough: bool) -> str:
    return f"{share:.0%} of the maps mark some place" + ("" if enough else ": maps without differences tell nothing")


def _undecided(images: int | None, needed: int | None) -> str:
    seen = "too few images to tell" if images is None else f"{images} images are too few to tell"
    if needed is None:
        return "not decided, and more images would hardly change that"
    return f"{seen}; about {rounded(needed)} would settle it"


@_says
def map_against_baseline(
    check: str, value: float, baseline: str, of_baseline: float, leads: bool | None, images: int, needed: int | None
) -> str:
    if check == "faithful":
        what = f"insertion minus deletion area {decimals(value)}, of the {baseline} map {decimals(of_baseline)}"
    else:
        what = {"pointing": "points at the object in", "energy": "share on the object"}[check]
        what = f"{what} {value:.0%}, {baseline} map {of_baseline:.0%}"
    verdict = {True: "it leads", False: "it is behind", None: _undecided(images, needed)}[leads]
    return f"{what}: {verdict}"


@_says
def maps_compared(
    check: str,
    value: float,
    low: float,
    high: float,
    same: bool | None,
    needed: int | None,
    similarity: float,
    of_other_images: float,
) -> str:
    verdict = _undecided(None, needed) if same is None else _SAME_OR_NOT[check, same]
    if check == "depends on the model" and same is False and low > 0:
        verdict += ", but a part stays"
    limits = f"95\u202f% interval {decimals(low)} to {decimals(high)}"
    raw = f"rank correlation {decimals(similarity)}, by chance {decimals(of_other_images)}"
    return f"similarity to {_COMPARED_WITH[check]} {decimals(value)} ({limits}; {raw}): {verdict}"


@_says
def maps_not_compared(check: str, compared: int, maps: int) -> str:
    known = f"only {compared} of {maps} maps have differences to compare"
    return f"similarity to {_COMPARED_WITH[check]} not known: {known}"


@_says
def map_not_repeated(check: str, repeats: bool | None) -> str:
    why = "is not known to repeat itself" if repeats is None else "does not repeat itself"
    return f"similarity to {_COMPARED_WITH[check]} shows nothing, because the map {why}"


@_says
def repeat_unknown() -> str:
    return "no maps of slightly changed images"


@_says
def same_for_every_image(similarity: float) -> str:
    return f"rank correlation of the maps of different images {decimals(similarity)}: the same map for every image"


@_says
def object_unknown() -> str:
    return "this task does not give the position of the object"


@_says
def one_kind_examined() -> str:
    return "one kind of map examined"


@_says
def shares_off_by(error: float, allowed: float) -> str:
    return f"off by {error:.1%} of the change in the logit on average ({allowed:.0%} allowed)"


@_says
def faithfulness_differs_by(difference: float, low: float, high: float) -> str:
    lead, least, most = (decimals(value, signed=True) for value in (difference, low, high))
    return f"difference {lead}, 95\u202f% interval {least} to {most}"


@_says
def model_leads(method: str | None, images: int, needed: int | None) -> str:
    return f"{title(method)} leads" if method else _undecided(images, needed)


@_says
def one_model_examined() -> str:
    return "one model examined"


# ---- the audit of a study's runs (vptlib.evidence.audit) ----------------------------------------------------------

AUDIT = {WARNING: "Warning", NOTE: "Note", "clean": "No warning"}
_FINDINGS = {
    "collapsed": "{runs} of {methods} are not clearly better than always naming the commonest class.",
    "seeds_diverge": "{runs} of {methods} are far below the other seeds.",
    "accuracy_falls": "Accuracy falls with more labelled images: {methods} ({runs}).",
    "best_at_last_step": (
        "Training was cut short in {runs} of {methods}: their last step was their best one. Give more steps."
    ),
    "choice_at_edge": "{runs} of {methods} chose at the edge of what was tried. Try further values.",
    "candidate_diverged": "Some learning rates diverged in {runs} of {methods}. Others were chosen.",
}


def audit_is_clean() -> str:
    """Where the audit has no warning."""
    return (
        "The audit looks for runs cut short, choices at the edge of what was tried, accuracy that falls with more "
        "labels, and seeds far below the others. It found none."
    )


def findings_together(code: str, methods: list[str], runs: int) -> str:
    """Several findings of one code, about so many runs, in one sentence."""
    return _FINDINGS[code].format(methods=listed(map(in_prose, methods)), runs=many(runs, "run"))


def _at(method: str, n: int) -> str:
    return f"{in_prose(method)} with {n:,} labelled images"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _seeds(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {listed(seeds)}"


@_says
def best_at_last_step(method: str, n: int, seeds: list[int], steps: int) -> str:
    return (
        f"{_capital(_at(method, n))} is best at its last step, step {steps:,} ({_seeds(seeds)}): training was cut "
        "short. Give more steps."
    )


@_says
def choice_at_edge(
    method: str, n: int, side: str, chosen: float, tried: list[float], further: float, solved: bool
) -> str:
    who = _capital(_at(method, n))
    if solved:
        return f"{who} chose the {side} strength of its path, {chosen:g} (of {tried[0]:g} to {tried[-1]:g})."
    each = listed(f"{rate:g}" for rate in tried)
    return f"{who} chose the {side} learning rate, {chosen:g}, of those tried ({each}). Try {further:g} too."


@_says
def candidate_diverged(method: str, n: int, rates: list[float]) -> str:
    several = "s" if len(rates) > 1 else ""
    each = listed(f"{rate:g}" for rate in rates)
    return f"Training of {_at(method, n)} diverged with learning rate{several} {each}. Another was chosen."


@_says
def accuracy_falls(method: str, smaller: int, larger: int, before: float, after: float, seeds: int, images: int) -> str:
    chance = "seeds and the choice of test images" if seeds > 1 else "the choice of test images"
    return (
        f"{title(method)} falls from {per_cent(before)} with {smaller:,} labelled images to {per_cent(after)} with "
        f"{larger:,}, on the same {images:,} test images ({many(seeds, 'seed')}): more than {chance} explains."
    )


@_says
def seeds_diverge(method: str, n: int, seeds: list[int], accuracy: float, others: float) -> str:
    each = " on average" if len(seeds) > 1 else ""
    return (
        f"{_capital(_at(method, n))}: {_seeds(seeds)} reached {per_cent(accuracy)}{each}, the rest {per_cent(others)}. "
        "The choice of test images does not explain that."
    )


@_says
def collapsed(method: str, n: int, seeds: list[int], accuracy: float, without_looking: float) -> str:
    return (
        f"{_capital(_at(method, n))} is right on {per_cent(accuracy)} of the test images ({_seeds(seeds)}). That is "
        f"not clearly more than by always naming the commonest class ({per_cent(without_looking)})."
    )


@_says
def trained_out(runs: int) -> str:
    ended = "The only run ended by itself" if runs == 1 else f"All {runs:,} runs ended by themselves"
    return f"{ended}, not because the steps were used up."


@_says
def not_trained_out(cut: int, runs: int, methods: list[str]) -> str:
    return (
        f"{cut:,} of {many(runs, 'run')} ended because the steps were used up, not by themselves: "
        f"{listed(map(in_prose, methods))}."
    )


@_says
def length_is_fixed(runs: int) -> str:
    ran = "The only run" if runs == 1 else f"All {runs:,} runs"
    return f"{ran} had the length that the rules fix. Whether training was done is not known."


# ---- protocol, rules and conditions (vptlib.study.protocol, vptlib.data.conditions) -------------------------------

RULES = {
    "images": "Images",
    "input": "Input",
    "augmentation": "Augmentation",
    "tuning": "Tuning",
    "final_run": "Final run",
    "training": "Training",
    "solved": "Solved",
    "strong": "Strong form",
    "prompts": "Prompts",
    "test": "Test",
    "seeds": "Seeds",
    "conditions": "Conditions",
}
OPTIMISERS = {"sgd": "SGD", "adamw": "AdamW"}


def protocol(rules: dict[str, Statement]) -> dict[str, str]:
    """The rules of `vptlib.study.study.Study.protocol`, label to sentence, in the same order."""
    return {RULES[about]: sentence(rule) for about, rule in rules.items()}


def _in_a_row(values: Iterable) -> str:
    return ", ".join(map(str, values))


@_says
def images_of_equal_budget(sizes: list[int], validating: list[float], nested: bool, groups_apart: bool | None) -> str:
    low, high = (round(100 * share) for share in validating)
    parts = f"{100 - low} % of them train, {low} % validate" if low == high else _from_to(low, high)
    of_groups = {
        True: " No group both trains and validates.",
        False: " Some groups both train and validate.",
        None: "",
    }[groups_apart]
    smaller = "For one seed the smaller sets are part of the larger ones; every" if nested else "Every"
    return (
        f"n counts all labelled images used: {parts}.{of_groups} {smaller} method gets the same images. Sizes: "
        f"{_in_a_row(sizes)}."
    )


def _from_to(low: int, high: int) -> str:
    return f"{low} to {high} % of them validate, depending on the size, and the others train"


@_says
def tuning_of_equal_budget(candidates: int | str, seeds: int) -> str:
    tried = "All learning rates" if candidates == "all" else many(candidates, "learning rate")
    taken_over = " and taken over by the other seeds" if seeds > 1 else ""
    return (
        f"{tried} per method and size, chosen on the validation images of the first seed, the same number for every "
        f"method{taken_over}."
    )


@_says
def training_of_equal_budget(steps: int, batch_size: int) -> str:
    return (
        f"{steps} optimiser steps of up to {batch_size} images for every run of every method (AdamW, linear warm-up, "
        "cosine decay, no augmentation); the weights best on validation images are kept."
    )


_ASPECTS = {
    "squash": "scaled to the square",
    "crop": "the short side is scaled and the middle is cut out",
    "pad": "the long side is scaled and bars are added",
}


@_says
def input_given(size: int, aspect: str, origin: str, precision: str, augmentation: str) -> str:
    how = {
        "chosen": "chosen on the labelled images before any training",
        "own": "the backbone's own size, because no other is possible or would show more",
        "given": "given",
    }[origin]
    arithmetic = " Computed in bfloat16." if precision == "bf16" else ""
    plain = "; no augmentation" if augmentation == "none" else ""
    return f"{size} × {size} px, {how}; {_ASPECTS[aspect]}{plain}.{arithmetic}"


@_says
def augmentation_given(shift: int, change: float, mirror: bool, without: list[str], head_solved: list[str]) -> str:
    half = (
        "Half of the images, at random, are mirrored left to right."
        if mirror
        else "No image is mirrored, because a label may depend on left and right."
    )
    frozen, heads = (listed([title(method) for method in of]) if of else "" for of in (without, head_solved))
    none = f" None for {frozen}, whose frozen layers need to see each image only once." if frozen else ""
    solved = f" {heads}: the head is first solved without." if heads else ""
    return (
        f"At each training step an image is shifted by up to 1/{shift} of its side, and its brightness and contrast "
        f"change by up to {per_cent(change, 0)}; every method gets the same images. {half}{none}{solved} Validation "
        "and test images stay as they are."
    )


@_says
def tuning_until_done(candidates: int, growth: int, seeds: int) -> str:
    whose = "Each seed chooses for itself, on its own validation images" if seeds > 1 else "Validation images decide"
    return (
        f"{many(candidates, 'learning rate')} per method and size, a factor of √10 apart, the same number for every "
        f"method. {whose}; after each round the worse half stops. The usual rate "
        "stays unless another is better by more than one standard error. If the best rate is at the edge, the next one "
        f"is tried too, at most {growth} times."
    )


@_says
def training_until_done(steps: int, batch_size: int, patience: int, between: int) -> str:
    return (
        f"Until {patience} evaluations in a row, {between} steps apart, show no progress on validation images, or "
        f"{steps:,} steps of up to {batch_size} images, the same for every method (AdamW: linear warm-up, constant "
        "rate, linear fall at the end). The weights best on validation images are kept."
    )


@_says
def solved_methods(methods: list[str]) -> str:
    return (
        f"{listed([title(method) for method in methods])}: solved to convergence on the frozen features; the strength "
        "is chosen from a whole path on validation images."
    )


_STRENGTHS = {
    "layer_decay": "lower layers learn more slowly (factor {:g} a layer)",
    "drop_path": "blocks are skipped at random (drop-path up to {:g})",
}


@_says
def strong_methods(options: dict[str, dict]) -> str:
    parts = [
        f"{title(method)}: {listed([_STRENGTHS[name].format(value) for name, value in own.items()])}"
        for method, own in options.items()
    ]
    return "; ".join(parts) + "."


@_says
def prompts_given(num_prompts: int) -> str:
    return f"{num_prompts} per prompted layer."


@_says
def images_of_published_rules(sizes: list[int]) -> str:
    return f"n counts all labelled images used, those for tuning included. Sizes: {_in_a_row(sizes)}."


@_says
def tuning_of_published_rules(
    settings: dict[str, int], whole_grid: bool, official_split: bool, whole_groups: bool
) -> str:
    how = "about a fifth, in whole groups" if whole_groups else "a fifth, stratified"
    aside = "the task sets aside (val200.txt)" if official_split else f"were set aside ({how})"
    drawn = "" if whole_grid else ", the first of an order drawn once from the published grid (seed 0)"
    return (
        f"Settings (learning rate, weight decay, prompt length) are chosen on the images that {aside}, by accuracy "
        "after the last step and of equals by the lower loss, with the first seed alone. "
        f"Tried: {_settings_tried(settings)}{drawn}."
    )


def _settings_tried(settings: dict[str, int]) -> str:
    numbers = list(settings.values())
    if len(set(numbers)) == 1:
        return f"{numbers[0]} for every method"
    each = _in_a_row(f"{title(method)} {number}" for method, number in settings.items())
    return f"{each} (a larger grid is a larger chance to find a good setting: the published grids are not equal)"


@_says
def final_run_of_published_rules() -> str:
    return (
        "All n images train with the chosen setting, one run a seed. Nothing is chosen afterwards: the weights after "
        "the last step are tested. A run that diverges counts with what it then predicts."
    )


@_says
def training_of_published_rules(epochs: int, batch_size: int, optimisers: dict[str, str]) -> str:
    passes = "1 pass" if epochs == 1 else f"{epochs} passes"
    each = _in_a_row(f"{title(method)} with {OPTIMISERS[name]}" for method, name in optimisers.items())
    return (
        f"{passes} over the images, up to {batch_size} a step, linear warm-up over the first tenth, cosine decay, no "
        f"augmentation: {each} (momentum 0.9 with SGD)."
    )


@_says
def prompts_of_published_rules(lengths: list[int], dropout: float) -> str:
    return f"Their number is part of the setting ({_in_a_row(lengths)}); deep prompts have a dropout of {dropout:g}."


@_says
def time_fits(runs: int, missing: int, seconds: float) -> str:
    if not runs:
        return f"None of {many(missing, 'run')} fits into the time."
    return f"{runs} of {many(missing, 'run')} fit into the time; they should take {duration(seconds)}."


@_says
def size_for_the_time(size: int, wanted: int) -> str:
    return f"Images of {wanted} px would be better, but take too long for this time: they are {size} px here."


@_says
def runs_left_out(runs: int, by_size: list[dict]) -> str:
    parts = [
        f"{listed([title(method) for method in part['methods']])} with {part['n']:,} images "
        f"({'seed' if len(part['seeds']) == 1 else 'seeds'} {_in_a_row(part['seeds'])})"
        for part in by_size
    ]
    return f"{many(runs, 'run')} not made, for want of time: {'; '.join(parts)}. More time makes them."


@_says
def tested_once(images: int, asked: int | None = None) -> str:
    fewer = f" All that there are: {asked:,} were asked for." if asked else ""
    return f"{images} test images, the same for all runs, looked at once a run and never for a choice.{fewer}"


@_says
def seeds_given(seeds: list[int]) -> str:
    quick = ": a quick look. Intervals show the choice of test images only" if len(seeds) == 1 else ""
    return f"{len(seeds)} ({_in_a_row(seeds)}){quick}."


@_says
def conditions(label_noise: float, noise: str, imbalance: float, corruption: str, severity: int) -> str:
    """ "" where nothing is changed."""
    parts = []
    if label_noise:
        way = "any other class" if noise == "symmetric" else "always the next class"
        parts.append(f"{label_noise:.0%} of the labelled images carry a wrong label ({way})")
    if imbalance > 1:
        parts.append(f"the commonest class has {imbalance:g} times the images of the rarest")
    if corruption:
        parts.append(f"test images suffer {corruption}, severity {severity} of 5")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


# ---- the input size (vptlib.study.input_size) -----------------------------------------------------------------------


@_says
def input_size_chosen(
    size: int, accuracy: float, best: int, best_accuracy: float, error: float, sizes: list[int]
) -> str:
    looked = f"{listed(sizes)} px"
    if size == best:
        return (
            f"{size} px is the best of {looked}, with {per_cent(accuracy)} accuracy. No smaller size is within one "
            "standard error of it."
        )
    return (
        f"{size} px is the smallest of {looked} within one standard error ({in_points(error)}) of the best. It has "
        f"{per_cent(accuracy)} accuracy; {best} px has {per_cent(best_accuracy)}."
    )


@_says
def input_size_limited(size: int, accuracy: float, wanted: int, wanted_accuracy: float) -> str:
    return (
        f"{size} px, with {per_cent(accuracy)} accuracy, is the best that the time or image_size_limit allows. Without "
        f"that limit {wanted} px would be taken, with {per_cent(wanted_accuracy)}."
    )


@_says
def larger_input_needs_time(size: int, accuracy: float, smaller: int, smaller_accuracy: float) -> str:
    return (
        f"These results are those of {smaller} px, where a probe of the frozen backbone is right on "
        f"{per_cent(smaller_accuracy)} of labelled images that it has not seen. At {size} px it is right on "
        f"{per_cent(accuracy)}. More time, or a GPU, allows {size} px, and the order of the methods may then be "
        "another."
    )


@_says
def input_size_probe(n: int, folds: int, kind: str) -> str:
    how = {
        "stratified": "each part has all classes as far as possible",
        "groups": "whole groups stay together",
        "plain": "no class has two images, so classes are not balanced",
    }[kind]
    return (
        f"A logistic regression on frozen features of {n:,} labelled images, cross-validated in {folds} parts "
        f"({how}). No test image is used."
    )


@_says
def input_size_only(size: int, images: list[int]) -> str:
    return (
        f"{size} px, the backbone's own size. The images are {_by(*images)} (median), so a larger input would show "
        "nothing more."
    )


@_says
def input_size_fixed(size: int) -> str:
    return f"{size} px: this backbone takes no other input size, so none was compared."


@_says
def input_size_by_hand(size: int) -> str:
    return f"{size} px, given as image_size: other sizes were not compared."


@_says
def larger_input(size: int, smaller: int, gain: float, error: float, rising: bool) -> str:
    if rising:
        found = (
            f"Accuracy still rises with the input size: from {smaller} px to the largest one compared it gains "
            f"{in_points(gain)} (standard error {in_points(error)})."
        )
    else:
        found = (
            f"At {size} px the probe is {in_points(gain)} ahead of {smaller} px, which is within one standard error "
            f"({in_points(error)})."
        )
    return f"{found} Setting image_size to {size} may do better, at a higher cost."


@_says
def input_sizes_mixed(least: int, median: int, most: int) -> str:
    return (
        f"The images differ much in size: their short sides run from {least:,} to {most:,} px. The sizes to compare "
        f"follow the median, {median:,} px."
    )


# ---- how images were read (vptlib.data.listing, vptlib.data.folders, vptlib.data.readers) ----------------------------


@_says
def spellings_joined(where: str, name: str, spellings: list[str]) -> str:
    return f"{where}: {listed(spellings)} are taken as one class, {name!r}. Rename one of them if they are not."


@_says
def folders_are_classes(folder: str, classes: int) -> str:
    return f"{folder}/ holds {many(classes, 'folder')} with images: each is a class."


@_says
def folders_are_splits(folder: str, train: list[str], test: list[str]) -> str:
    said = [f"{_folders(names)} {role}" for names, role in ((train, "to train on"), (test, "to test on")) if names]
    return f"{folder}/ holds splits, with classes in them: {', '.join(said)}."


@_says
def splits_in_classes(folder: str, classes: int, train: list[str], test: list[str]) -> str:
    return (
        f"{folder}/ holds {many(classes, 'class folder')} with splits in them: {_folders(train)} to train on, "
        f"{_folders(test)} to test on."
    )


@_says
def held_out_tests(folder: str, name: str) -> str:
    return (
        f"{folder}/ has no test folder, so the images of {name}/ are the test. Images to choose settings by are taken "
        "from the training images."
    )


@_says
def quarter_tests(groups: bool) -> str:
    part = "about a quarter of all images, in whole groups," if groups else "a quarter of all images"
    return f"No images are marked as the test: {part} tests, always the same."


@_says
def folder_entered(folder: str, inner: str) -> str:
    return f"{folder}/ only holds {inner}/, where the images are."


@_says
def folder_passed_over(name: str, folders: int, images: int) -> str:
    which = f"{name}/ was" if folders == 1 else f"{folders:,} folders {name}/ were"
    return f"{which} passed over, with {many(images, 'image')}: by the name, no class and no split."


@_says
def doubtful_class(name: str, images: int) -> str:
    return (
        f"{name}/, with {many(images, 'image')}, is taken as a class. Leave it out with ?ignore={name} if it is none."
    )


@_says
def split_without_classes(name: str, images: int) -> str:
    return (
        f"{name}/ was passed over: it holds {many(images, 'image')}, but no class folders, so there are no labels. "
        "Sort the images into folders for the classes to use them."
    )


@_says
def images_without_class(folder: str, images: int, first: str) -> str:
    have = "lies" if images == 1 else "lie"
    return (
        f"{many(images, 'image')} {have} in {folder}/ next to the folders in it, and {_was(images)} passed over "
        f"({first}). Move them into the folder of their class."
    )


@_says
def deeper_folders(classes: int, first: str, inner: list[str]) -> str:
    return (
        f"{many(classes, 'class folder')} {_holds(classes)} folders again, such as {first}/ with {_folders(inner)}: "
        "all images in them belong to the class."
    )


@_says
def folders_without_images(folder: str, names: list[str], folders: int) -> str:
    more = f" and {many(folders - len(names), 'other')}" if folders > len(names) else ""
    return f"{folder}/ holds folders without images, which are no class: {_folders(names)}{more}."


@_says
def files_passed_over(ending: str, files: int, classes: dict[str, int], way: str, package: str) -> str:
    kind = f"{ending} file" if ending else "file without an ending"
    most = sorted(classes.items(), key=lambda item: -item[1])
    shown = [f"{name!r}: {n:,}" for name, n in most[:5]] + ([f"{len(most) - 5} more classes"] if len(most) > 5 else [])
    of_classes = f" ({', '.join(shown)})" if shown else ""
    ways = {
        "convert": "Save such files as PNG or JPEG to use them.",
        "install": f"Install {package} to use them: pip install {package}.",
        "unpack": "Unpack such files if they hold images.",
        "frames": "Save the frames of videos as images to use them.",
        "name it": "Give images the ending of their format to use them.",
    }
    many_files = many(files, kind) if ending else f"{files:,} {'file' if files == 1 else 'files'} without an ending"
    return f"{many_files} {_was(files)} passed over{of_classes}. {ways[way]}"


@_says
def no_images_passed_over(files: int, endings: dict[str, int]) -> str:
    shown = [f"{n:,} {ending}" for ending, n in endings.items()]
    rest = files - sum(endings.values())
    return f"{many(files, 'file')} of other kinds {_was(files)} passed over: {listed([*shown, *_others(rest)])}."


@_says
def hidden_passed_over(images: int, first: str) -> str:
    return (
        f"{many(images, 'image')} {_was(images)} passed over, because a name begins with a dot ({first}). Rename the "
        "file or folder to use it."
    )


@_says
def link_in_a_circle(links: int, first: str) -> str:
    lead = "leads" if links == 1 else "lead"
    return f"{many(links, 'link')} {lead} back to a folder above, and {_was(links)} not followed: {first}."


@_says
def ignored_as_asked(images: dict[str, int]) -> str:
    shown = [f"{name}/ ({many(n, 'image')})" for name, n in images.items()]
    return f"Left out, as you asked: {listed(shown)}."


@_says
def clutter_class(name: str) -> str:
    return f"{name!r} is a class of images that show none of the others. Leave it out with ?ignore={name} if you want."


@_says
def files_look_like_masks(images: int, first: str) -> str:
    return (
        f'{many(images, "image")} {"has" if images == 1 else "have"} the name of another image and "mask" ({first}), '
        "and count as images of the class. Move them out if they are masks."
    )


@_says
def classes_without_test(classes: int, names: list[str]) -> str:
    more = f" and {many(classes - len(names), 'other')}" if classes > len(names) else ""
    have = "has" if classes == 1 else "have"
    return (
        f"{many(classes, 'class') if classes == 1 else f'{classes:,} classes'} {have} no test image: "
        f"{', '.join(map(repr, names))}{more}. The accuracy is not that of {'this class' if classes == 1 else 'these'}."
    )


@_says
def unreadable_left_out(files: int, parts: list[dict], names: list[str]) -> str:
    shown = [f"{part['class']!r} in {part['split']}: {part['files']:,}" for part in parts[:5]]
    more = f", and {len(parts) - 5} more" if len(parts) > 5 else ""
    return (
        f"{many(files, 'file')} {_was(files)} left out, because they are not whole images ({', '.join(shown)}{more}). "
        f"Among them: {', '.join(names)}."
    )


def _folders(names: list[str]) -> str:
    return listed(f"{name}/" for name in names)


def _others(number: int) -> list[str]:
    return [many(number, "other")] if number else []


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _holds(number: int) -> str:
    return "holds" if number == 1 else "hold"


@_says
def name_not_utf8(where: str, name: str) -> str:
    return f"{where}: a name is not UTF-8, and is shown as '{name}'. Rename it to have it shown as it was meant."


# ---- how a table was read (vptlib.data.table_files, columns, places, tables) ----------------------------------------


@_says
def table_encoding(table: str, encoding: str, words: list[str]) -> str:
    if not words:
        return f"{table} was read as {encoding}."
    return (
        f"{table} is not UTF-8, and was read as {encoding}, so that it has words such as "
        f"{listed(map(repr, words))}. If they are wrong, write ?encoding=NAME."
    )


@_says
def table_separator(table: str, separator: str) -> str:
    return f"The cells of {table} are separated by {separator}."


@_says
def table_columns(table: str, taken: dict[str, str]) -> str:
    return f"{table}: {listed(f'column {name!r} is taken for {what}' for what, name in taken.items())}."


_PATHS_DIFFERED = {
    "backslashes": "backslashes",
    "spaces": "spaces around a name",
    "accents": "letters and accents stored apart",
    "case": "capital or small letters",
    "stored": "names stored in the encoding of the table",
}


@_says
def table_paths_understood(table: str, differed: dict[str, int], written: str, meant: str) -> str:
    kinds = listed(f"{_PATHS_DIFFERED[kind]} (in {many(rows, 'row')})" for kind, rows in differed.items())
    taken = f"The one file that fits was taken: '{written}' is '{meant}'."
    return f"{table}: paths differ from their files by {kinds}. {taken}"


@_says
def table_rows_repeated(table: str, rows: int, images: int) -> str:
    repeat = "repeats an image" if rows == 1 else "repeat images"
    return f"{many(rows, 'row')} of {table} {repeat} of an earlier row. Each image counts once: {images:,} in all."


@_says
def table_words_for_nothing(table: str, column: str, words: list[str]) -> str:
    names = "is taken as a name" if len(words) == 1 else "are taken as names"
    return f"{table}: in column {column!r} {listed(map(repr, words))} {names}. Only an empty cell counts as empty."


@_says
def table_no_groups(table: str, column: str) -> str:
    return f"{table}: column {column!r} is empty, so that no groups are kept apart."


@_says
def table_groups_empty(table: str, column: str, images: int) -> str:
    have = "1 image has" if images == 1 else f"{images:,} images have"
    return f"{table}: {have} no group in column {column!r}. Each is taken as a group of its own."


@_says
def table_groups_joined(table: str, column: str, spellings: list[str]) -> str:
    example = listed(map(repr, spellings))
    return f"{table}: groups in column {column!r} that differ in spelling only, such as {example}, are one."


@_says
def table_splits(table: str, column: str, train: list[str], test: list[str]) -> str:
    tests = listed(map(repr, test)) if test else "nothing"
    trains = listed(map(repr, train)) if train else "nothing"
    return f"{table}: in column {column!r} {trains} trains and {tests} tests."


# ---- how a data set of another library was read (vptlib.data.library_parts, hugging_face) ----------------------------


@_says
def splits_of_library(where: str, train: list[str], test: list[str], left_out: list[str]) -> str:
    trains = f"{where}: split {listed(map(repr, train))} trains"
    tests = f"split {listed(map(repr, test))} tests" if test else "a quarter of its images tests"
    rest = f" Not used: {listed(map(repr, left_out))}." if left_out else ""
    return f"{trains}, and {tests}.{rest}"


@_says
def columns_of_library(where: str, image: str, label: str, others: list[str]) -> str:
    return (
        f"{where}: images are taken from column {image!r} and labels from {label!r}, not from "
        f"{listed(map(repr, others))}."
    )


@_says
def images_without_label(where: str, counts: dict[str, int]) -> str:
    of_each = listed(f"{many(number, 'image')} of {name!r}" for name, number in counts.items())
    return f"{where}: passed over without a label: {of_each}."


@_says
def classes_by_name(where: str, first: str, parts: list[str]) -> str:
    return (
        f"{where}: split {listed(map(repr, parts))} counts its classes in another order than {first!r}. "
        "They are matched by their names."
    )


@_says
def classes_without_images(where: str, classes: int, first: list[str]) -> str:
    have = "1 class has" if classes == 1 else f"{classes:,} classes have"
    return f"{where}: {have} no image, and {'is' if classes == 1 else 'are'} left out (such as {first[0]!r})."


# ---- the check of images (vptlib.data.check) ------------------------------------------------------------------------

_THE_SAME = {
    "exact": "the same image",
    "near": "almost the same image",
    "turned": "almost the same image, turned or mirrored",
}


@_says
def grey_range(low: float, high: float, how: str, deep: int, images: int) -> str:
    which = "All images have" if deep == images else f"{deep:,} of {images:,} images have"
    why = {
        "given": "as you gave it",
        "usual": "the usual range",
        "nominal": "the range that their values fill",
        "own": "their lowest and highest values, without the outermost pixels",
    }[how]
    return (
        f"{which} more than 8 bits a value, and share one range ({why}): {_value(low)} becomes black and "
        f"{_value(high)} white. For another, add ?grey=LOW-HIGH to the name of the task."
    )


@_says
def grey_kinds_mixed(whole: int, floats: int, one_range: bool) -> str:
    scale = "They share one range all the same" if one_range else "Each kind keeps its usual range"
    return (
        f"{whole:,} images hold whole numbers of more than 8 bits, and {floats:,} hold floats. {scale}: check that "
        "black and white mean the same in both, or save them all in one way."
    )


@_says
def grey_depths_mixed(deep: int, others: int, own: bool) -> str:
    mean = (
        "The others keep theirs, 0 to 255, so black and white may mean different things: save all images in one way."
        if own
        else "Black and white are the ends of the range in both."
    )
    have, their = ("has" if images == 1 else "have" for images in (deep, others))
    return f"{many(deep, 'image')} {have} more than 8 bits a value, and {others:,} {their} 8. {mean}"


@_says
def grey_levels_few(levels: int, low: float, high: float) -> str:
    return (
        f"The middle 98% of the pixels lie between {_value(low)} and {_value(high)}, and become only {levels} grey "
        f"levels: a few very dark or bright pixels take the rest. Try ?grey={_value(low, '')}-{_value(high, '')}."
    )


@_says
def grey_without_value(files: int, sampled: int, first: str) -> str:
    return (
        f"{files:,} of the {sampled:,} images looked at have pixels without a value (NaN), such as {first}: they "
        "become black."
    )


@_says
def unreadable_files(bad: int, files: int, messages: list[str]) -> str:
    more = f" and {bad - len(messages)} more" if bad > len(messages) else ""
    each = "; ".join(message.rstrip(".") for message in messages)
    return (
        f"{bad} of {files} files cannot be read: {each}{more}. Or add ?skip=unreadable to the name of "
        'the task to leave them out; in a YAML file it then needs quotes: tasks: ["folder:photos?skip=unreadable"]. '
        "No count here includes them, and they were not searched for duplicates."
    )


@_says
def size_not_possible(n: int, message: str) -> str:
    return f"A study with {n} labelled images: {message}"


@_says
def no_size_possible(message: str) -> str:
    return f"No number of labelled images can be split for a study: {message}"


@_says
def sizes_possible(least: int, largest: int, all: bool, examples: list[int]) -> str:
    if all:
        any_of = f"{least:,}" if least == largest else f"any number from {least:,} to {largest:,}"
        return f"A study can ask for {any_of} of the labelled images."
    return f"A study that keeps groups whole can ask for {listed(f'{n:,}' for n in examples)} labelled images."


@_says
def groups_on_both_sides(shared: int, groups: int, tested: int, test: int, pair: list[str]) -> str:
    are = "1 group is" if shared == 1 else f"{shared:,} groups are"
    come = "comes" if tested == 1 else "come"
    return (
        f"{are} on both sides of the split, of {groups:,}: {tested:,} of {many(test, 'test image')} {come} from a "
        f"group that is trained on, such as {pair[1]} ({pair[0]} trains). Test results will flatter: move each group "
        "to one side, or leave the split out, and whole groups are drawn."
    )


@_says
def classes_not_trained(number: int, names: list[str]) -> str:
    more = [f"{number - len(names):,} more"] if number > len(names) else []
    have = f"Class {names[0]!r} has" if number == 1 else f"Classes {listed([*map(repr, names), *more])} have"
    return f"{have} no training images: no model can learn {'it' if number == 1 else 'them'}."


@_says
def more_pages(files: int, images: int, names: list[str]) -> str:
    more = f" and {files - len(names):,} more" if files > len(names) else ""
    hold = "holds" if files == 1 else "hold"
    return (
        f"{files:,} of {many(images, 'file')} {hold} further pages or frames, of which none is used: {', '.join(names)}"
        f"{more}. Save each page as a file of its own to use it."
    )


@_says
def duplicates(kind: str, where: str, pairs: int, first: str, second: str, more: bool) -> str:
    found, across = _pairs(kind, where, pairs, first, second, more), where.startswith("across")
    if not across:
        return f"{found}."
    if kind == "turned":
        return f"{found}: if turning does not change the class, test results will flatter."
    return f"{found}: test results will flatter; keep such images on one side."


@_says
def duplicates_of_different_classes(kind: str, pairs: int, first: str, second: str, more: bool) -> str:
    found = _pairs(kind, "of different classes", pairs, first, second, more)
    return f"{found}: one of the two labels is wrong, or the classes overlap."


@_says
def duplicates_not_all_compared(kind: str, where: str) -> str:
    return (
        f"Too many images look alike for all to be compared: the search {where} for pairs that show {_THE_SAME[kind]} "
        "stopped early, so there may be some."
    )


def _pairs(kind: str, which: str, pairs: int, first: str, second: str, more: bool) -> str:
    least = "At least " if more else ""  # the search stopped early
    number = f"{least}{pairs:,} pairs {which} show" if pairs > 1 else f"{least}1 pair {which} shows"
    return f"{number} {_THE_SAME[kind]}, such as {first} and {second}"


@_says
def rare_class(common: str, most: int, rare: str, least: int) -> str:
    return (
        f"Class {common!r} has {most} training images and {rare!r} {least}: accuracy then says little about the rare "
        "class."
    )


@_says
def image_modes(modes: dict[str, int]) -> str:
    each = _in_a_row(f"{mode} {number}" for mode, number in modes.items())
    return f"Modes of the files that can be read: {each}. A model sees all as 8-bit RGB."


@_says
def small_images(images: int, side: int) -> str:
    are = "image is" if images == 1 else "images are"
    return f"{images:,} {are} smaller than {side} px on a side: a square from their middle has to be enlarged."


def _value(number: float, thousands: str = ",") -> str:
    """A grey value: whole numbers with thousands set off, others with four digits."""
    return f"{number:{thousands}.0f}" if float(number).is_integer() else f"{number:.4g}"


def _by(width: int, height: int) -> str:
    """(480, 360) → "480 × 360 px"."""
    return f"{width:,} × {height:,} px"


@_says
def image_sizes(typical: list[int], widths: list[int], heights: list[int], model: list[int]) -> str:
    one_size = widths[0] == widths[1] and heights[0] == heights[1]
    ends = [f"{name} {low:,} to {high:,}" for name, (low, high) in (("width", widths), ("height", heights))]
    images = _by(*typical) if one_size else f"{_by(*typical)} (median; {', '.join(ends)})"
    smallest, *_, largest = model
    return (
        f"Your images are {images}. The embedded backbone sees a square of {_by(smallest, smallest)} to "
        f"{_by(largest, largest)}."
    )


@_says
def nothing_lost(size: int) -> str:
    return f"No image is larger than {_by(size, size)}: the model loses no detail, and larger input sizes add none."


@_says
def detail_lost(covered: list[list[float]], whole_at: int | None) -> str:
    if not covered:
        return f"At {whole_at} px and above the typical image keeps all its detail; larger ones lose some."
    each = listed(f"{plain(across)} × {plain(down)} px at {size:.0f} px" for size, across, down in covered)
    gone = listed(plain(2 * max(across, down)) for _, across, down in covered)
    above = f" At {whole_at} px it loses nothing." if whole_at else ""
    return (
        f"One pixel of the model covers, of the typical image without a crop, {each}. Details thinner than about "
        f"{gone} px vanish.{above}"
    )


@_says
def shape_lost(oblong: int, images: int, typical: float, most: float, over: float, above: int) -> str:
    rest = f", and more than {per_cent(over, 0)} of {above:,} images" if above else ""
    return (
        f"Not square: {oblong:,} of {images:,} images. A crop of the middle loses {per_cent(typical, 0)} of a typical "
        f"image, {per_cent(most, 0 if most < 0.99 else 1)} at most{rest}. Padding leaves the same share of the model's "
        "square empty."
    )


@_says
def sizes_mixed(smallest: list[int], largest: list[int], times: int, below: int, above: int, images: int) -> str:
    return (
        f"Sizes are mixed, from {_by(*smallest)} to {_by(*largest)}. Less than 1/{times} of the median side: {below:,} "
        f"of {images:,} images; more than {times} times it: {above:,}. The model sees fine detail in some and not in "
        "others: check that size does not give the class away."
    )


@_says
def below_a_patch(tiny: int, images: int, patch: int, names: list[str]) -> str:
    more = f" and {tiny - len(names):,} more" if tiny > len(names) else ""
    return (
        f"Smaller than one patch of the model ({patch} px): {tiny:,} of {images:,} images, {', '.join(names)}{more}. "
        "They show it very little: replace them by larger ones, or take them out."
    )


@_says
def groups_apart(groups: int) -> str:
    return f"{groups:,} groups: none of them has both training and test images."


@_says
def licence_given(licence: str) -> str:
    return f"Licence: {licence}."


# ---- what a method gets wrong (vptlib.evidence.mistakes, certainty, limits) ----------------------------------------

# The rate of a limit; {classes} are those that it is for.
LIMITS = {
    "miss_rate": "misses of {classes}",
    "false_alarm_rate": "false alarms for {classes}",
    "recall": "recall of {classes}",
    "precision": "precision of {classes}",
    "accuracy": "accuracy",
}
LIMIT_VERDICTS = {"met": "met", "not_met": "not met", "undecided": "open"}


def quoted(names: Iterable[str], most: int = 5) -> str:
    """Names of classes within a sentence: “scratch” and “dent”; of many, the first ones."""
    names = list(names)
    shown = [f"“{name}”" for name in names[:most]]
    return listed([*shown, f"{len(names) - most:,} more"] if len(names) > most else shown)


def limit_in_words(kind: str, names: Iterable[str], limit: float, each_group: bool = False) -> str:
    """ "Misses of “scratch”: at most 2 %"; in each group, where it must be kept there."""
    side = "at most" if kind in ("miss_rate", "false_alarm_rate") else "at least"
    where = " in each group" if each_group else ""
    return f"{_capital(LIMITS[kind].format(classes=quoted(names) if names else ''))}: {side} {_limit(limit)}{where}"


def rate_interval(low: float, high: float) -> str:
    """0.551, 0.83 → "55.1 to 83.0 %"."""
    return f"{decimals(100 * low, 1)} to {per_cent(high)}"


def _limit(fraction: float) -> str:
    return f"{100 * fraction:.4g}\u202f%"


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{per_cent(value)} ({interval(decimals(100 * low, 1), per_cent(high))})"


@_says
def worst_class(name: str, recall: float, low: float, high: float, images: int, classes: int) -> str:
    return (
        f"{quoted([name])} is recognised least: {per_cent(recall)} of its {many(images, 'test image')} "
        f"(95\u202f% interval: {rate_interval(low, high)}, corrected for a choice among {classes:,} classes)."
    )


@_says
def classes_not_tested(names: list[str], classes: int) -> str:
    more = f" and {classes - len(names):,} more" if classes > len(names) else ""
    return f"No test image shows {', '.join(quoted([name]) for name in names)}{more}, so nothing is known of that."


@_says
def interval_of_rates(trainings: int, grouped: bool) -> str:
    drawn = "whole groups of test images" if grouped else "test images"
    if trainings == 1:
        return f"Intervals hold for the choice of {drawn}. One training stands behind them, so its luck is not in them."
    return f"Figures are means of {trainings} trainings. Intervals hold for the choice of {drawn} and of trainings."


@_says
def worst_group(
    group: str, accuracy: float, low: float, high: float, images: int, groups: int, overall: float, clear: bool
) -> str:
    so = "It is clearly below all test images together" if clear else "It is not clearly below all test images together"
    return (
        f"Group {group} does worst: {per_cent(accuracy)} of its {many(images, 'test image')} are right (95\u202f% "
        f"interval: {rate_interval(low, high)}, corrected for a choice among {groups:,} groups). {so} "
        f"({per_cent(overall)})."
    )


@_says
def groups_too_small(groups: int, least: int) -> str:
    return (
        f"The test images form {many(groups, 'group')}, but not two of them have {least} images or more: none can be "
        "called the worst."
    )


@_says
def no_probabilities() -> str:
    return (
        "These runs were stored without probabilities, or theirs are no numbers. So nothing can be said of how sure "
        "the model is. Runs made from now on have them."
    )


@_says
def some_without_probabilities(trainings: int, of: int) -> str:
    return f"Probabilities are there for {trainings} of {of} trainings; what needs them is from these."


@_says
def calibrated(seen: float, by_chance: float) -> str:
    return (
        f"No fault is seen in the probabilities. They miss by {in_points(seen)} on average, and perfect ones would "
        f"miss by up to {in_points(by_chance)} in a test of this size."
    )


@_says
def not_calibrated(error: float, low: float, high: float, gap: float) -> str:
    side = "too high" if gap > 0 else "too low"
    return (
        f"The probabilities miss by {in_points(error)} on average "
        f"({interval(plain(100 * low), in_points(high))}). On the whole they are {side} by {in_points(abs(gap))}."
    )


@_says
def answers_by_itself(
    wanted: float,
    threshold: float,
    share: float,
    share_low: float,
    share_high: float,
    accuracy: float,
    accuracy_low: float,
    accuracy_high: float,
) -> str:
    return (
        f"For {_limit(wanted)} right, the model answers {per_cent(share, 0)} of the images by itself "
        f"({interval(decimals(100 * share_low, 0), per_cent(share_high, 0))}); the rest goes to a person. Of its own "
        f"answers {_with_interval(accuracy, accuracy_low, accuracy_high)} were right, on images that did not choose "
        "the threshold."
    )


@_says
def answers_none(wanted: float, needed: int) -> str:
    return (
        f"For {_limit(wanted)} right, no threshold could be chosen: a person must see every image. It takes at least "
        f"{needed:,} test images that the model gets right to show so much."
    )


@_says
def operating_point(
    names: list[str],
    wanted: float,
    threshold: float,
    misses: float,
    misses_low: float,
    misses_high: float,
    alarms: float,
    alarms_low: float,
    alarms_high: float,
) -> str:
    return (
        f"To miss at most {_limit(wanted)} of {quoted(names)}, call an image that from a probability of "
        f"{100 * threshold:.3g}\u202f% on. This missed {_with_interval(misses, misses_low, misses_high)} of them. It "
        f"stopped {_with_interval(alarms, alarms_low, alarms_high)} of the other images. Both figures are from images "
        "that did not choose the threshold."
    )


@_says
def too_few_defects(names: list[str], wanted: float, needed: int) -> str:
    return (
        f"No threshold can be chosen that misses at most {_limit(wanted)} of {quoted(names)}: it takes at least "
        f"{needed:,} test images of it."
    )


@_says
def limit_met(
    kind: str, names: list[str], limit: float, value: float, bound: float, images: int, trainings: int
) -> str:
    return f"Measured {_measured(value, images, trainings)}; {_bound(kind, bound)}, so the limit is kept."


@_says
def limit_not_met(
    kind: str, names: list[str], limit: float, value: float, bound: float, images: int, trainings: int
) -> str:
    return f"Measured {_measured(value, images, trainings)}: the limit is broken, and chance does not explain it."


@_says
def limit_open(
    kind: str, names: list[str], limit: float, value: float, bound: float, images: int, trainings: int, needed: int
) -> str:
    return (
        f"Measured {_measured(value, images, trainings)}; {_bound(kind, bound)}. If the rate stays, about {needed:,} "
        "such test images would show that the limit is kept."
    )


@_says
def limit_open_for_good(
    kind: str, names: list[str], limit: float, value: float, bound: float, images: int, trainings: int, keeps: bool
) -> str:
    why = (
        "The trainings differ too much for more test images alone to show that the limit is kept: run more seeds"
        if keeps
        else "At this rate the limit would be broken; only chance could excuse it"
    )
    return f"Measured {_measured(value, images, trainings)}; {_bound(kind, bound)}. {why}."


@_says
def limit_without_images(kind: str, names: list[str], limit: float) -> str:
    return "No test image counts for it, so it cannot be tested."


def _measured(value: float, images: int, trainings: int) -> str:
    of_each = "" if trainings == 1 else f", mean of {trainings} trainings"
    return f"{per_cent(value)} of {many(images, 'test image')}{of_each}"


def _bound(kind: str, bound: float) -> str:
    side = "at most" if kind in ("miss_rate", "false_alarm_rate") else "at least"
    return f"with 95\u202f% confidence it is {side} {per_cent(bound)}"


# ---- the forecast and its record (vptlib.evidence.forecast) ---------------------------------------------------------

FORECAST_RULES = {
    "constant": "The same probability each time",
    "later_size": "By the later number of labels",
    "images_per_class": "By its images per class and its labels",
    "lead_stays": "Who is ahead now stays ahead",
    "difference": "By the difference now",
    "straight_line": "By the difference, continued in a straight line",
    "power_laws": "By the power laws of both",
    "difference_and_size": "By the difference, images per class and times the labels",
    "picked": "The best of these, picked on the other tasks",
}


@_says
def full_ahead_later(probability: float, n: int, then: int, margin: float, hits: int, cases: int, tasks: int) -> str:
    lead = f"ahead by {in_points(margin)} or more" if margin else "ahead"
    return (
        f"With {then:,} labelled images instead of {n:,}, {in_prose(FULL)} will be {lead} with probability "
        f"{share(probability)}. Such forecasts were right in {hits} of {cases} cases of {tasks} published tasks."
    )


@_says
def no_table_for_backbone(others: list[str], hits: int, cases: int) -> str:
    carried = (
        f" On backbones that it had not seen ({listed(others)}), a rule by images per class was right in {hits} of "
        f"{cases} cases."
        if cases
        else ""
    )
    return (
        "None is given. The published tables at several sizes are about ViT-B/16, supervised on ImageNet-21k, and not "
        f"about this backbone.{carried}"
    )


@_says
def beyond_the_tables(n: int, then: int, least: int, most: int, latest: int) -> str:
    return (
        f"None is given. The published tables go from {least:,} to {most:,} labelled images now, and to {latest:,} "
        f"later. Asked was {n:,} now and {then:,} later."
    )


@_says
def rules_no_better(
    rules: int, tasks: int, cases: int, hits: int, brier: float, constant: float, better: float, low: float, high: float
) -> str:
    gain, least, most = (decimals(value, 3, signed=True) for value in (better, low, high))
    return (
        f"None is given, because the record shows no gain on a constant. {rules} rules were compared in {cases} cases "
        f"of {tasks} published tasks. The best one, picked without the task it is tried on, was right in {hits}. Its "
        f"Brier score is {decimals(brier, 3)}, and {decimals(constant, 3)} for the same probability each time (gain "
        f"{gain}, {interval(least, most)}). Below 0 is a loss."
    )


@_says
def classes_not_known() -> str:
    return "None is given, because the number of classes is not known."


@_says
def two_not_run_together() -> str:
    return f"None is given, because {in_prose(PROMPT)} and {in_prose(FULL)} have no size with a common seed yet."


@_says
def decide_again_by_record(n: int) -> str:
    return f"Decide again at {n:,} labelled images: there the answer is likelier another one than now, by the record."


@_says
def decide_again_past_record(n: int) -> str:
    return f"Decide again at {n:,} labelled images: up to there the answer is likelier the same. The record ends there."


@_says
def decide_again_by_convention(n: int, times: int) -> str:
    much = {2: "twice"}.get(times, f"{times} times")
    return (
        f"Decide again at {n:,} labelled images. That is a convention, {much} the largest size: no forecast stands "
        "behind it."
    )


@_says
def power_laws_seldom_hold(
    images: int, cases: int, tasks: int, near: int, near_held: int, far: int, far_held: int
) -> str:
    return (
        f"Power laws fitted to 400 and 1,000 labelled images, on {tasks} published tasks and both methods: their "
        f"95\u202f% intervals would have held in {near_held} of {cases} cases at {near:,} images and in {far_held} of "
        f"{cases} at {far:,} (with {images:,} test images). So take a continued curve for a guess."
    )


# ---- why an interval may not hold (vptlib.evidence.resampling) ----------------------------------------------------


@_says
def one_seed() -> str:
    return "With one seed, the intervals show the choice of test images only, not what another training would give."


@_says
def one_test_group(images: int) -> str:
    return (
        f"All {many(images, 'test image')} come from one group. The intervals do not show what other groups would give."
    )


@_says
def tuning_shared(methods: list[str]) -> str:
    whose = listed(in_prose(method) for method in methods)
    return (
        f"One seed chose the learning rate for all seeds of {whose}. The intervals do not contain the luck of that "
        "choice."
    )


@_says
def pool_used_up(n: int, pool: int) -> str:
    return (
        f"Each training used {n:,} of the same {many(pool, 'labelled image')}. So the seeds share most of their "
        "images, and the intervals do not show what other images would give."
    )


@_says
def seeds_skewed(method: str, lowest: float, others: float, seeds: int) -> str:
    return (
        f"One of {seeds} trainings of {in_prose(method)} reached {per_cent(lowest)}, the others {per_cent(others)} on "
        "average. The intervals assume that trainings differ evenly, so they may not hold."
    )


@_says
def failures_unseen(seeds: int, share: float) -> str:
    if seeds == 1:
        return "With one training, nothing shows how often a training fails."
    return (
        f"If {per_cent(share, 0)} of all trainings failed, {seeds} could still all be sound, with a chance of "
        "5\u202f%. Then both their mean and a further training are worse than the intervals say."
    )


# ---- from a report to answers (vptlib.report.sections.next_steps, vptlib.operations) ------------------------------

NEXT_HEADING = "From this report to answers"


@_says
def next_step_use(method: str) -> str:
    return (
        f"These commands turn {in_prose(method)} into a file, answer new images with it, and put it under control. The "
        "file holds the model, its tests and where it comes from."
    )


@_says
def next_step_try(method: str) -> str:
    return (
        f"The report asks for more before it advises a method. Its best so far, {in_prose(method)}, can already be "
        "tried on new images:"
    )


@_says
def exported_without_advice(choice: str) -> str:
    return f"The report did not advise a method when this model was exported: its advice was to {CHOICES[choice]}."


# ---- answers to new images (vptlib.operations.predict) ------------------------------------------------------------


@_says
def images_named_again(files: int) -> str:
    return f"{many(files, 'file')} {_was(files)} named more than once, and {_was(files)} answered once."


@_says
def unreadable_skipped(bad: int, files: int, first: str) -> str:
    have = "has" if bad == 1 else "have"
    return f"{bad:,} of {many(files, 'file')} cannot be read, and {have} no answer: {first} first."


@_says
def new_images_of_8_bits(images: int, first: str, low: float, high: float) -> str:
    return (
        f"{many(images, 'image')} {'has' if images == 1 else 'have'} 8 bits a value, such as {first}, but the model "
        f"was trained on more: {_value(low)} was black and {_value(high)} white. Such answers are doubtful, so each is "
        "for a person. Save such images in the way in which the training images were saved."
    )


@_says
def new_greys_do_not_fit(images: int, first: str, low: float, high: float) -> str:
    return (
        f"The values of {many(images, 'image')} do not fit those of the training images, where {_value(low)} was black "
        f"and {_value(high)} white: {first} first. Such answers are doubtful, so each is for a person. Check the "
        "exposure, or in what way these files were saved."
    )


@_says
def person_asked(
    asked: int,
    images: int,
    wanted: float | None,
    threshold: float,
    accuracy: float | None,
    low: float | None,
    high: float | None,
) -> str:
    aim = "" if wanted is None else f" For {_limit(wanted)} right, that is the limit which the test images gave."
    measured = ""
    if accuracy is not None and low is not None and high is not None:
        measured = f" Of the answers above it, {_with_interval(accuracy, low, high)} were right there."
    return (
        f"{asked:,} of {many(images, 'image')} {'is' if asked == 1 else 'are'} for a person: the probability is below "
        f"{threshold:.3g}, or there is a problem.{aim}{measured} This holds for images like those of the test."
    )


@_says
def person_unknown(wanted: float | None, images: int, needed: int | None) -> str:
    if wanted is None:
        return (
            "Which images a person should see is not known: the model file does not say from which probability its "
            "answers are right often enough. Set accuracy_needed in the settings of the report, run the report again, "
            "then export the model."
        )
    least = "" if needed is None else f" It takes at least {needed:,} sure answers that are all right."
    return (
        f"Which images a person should see is not known: on {many(images, 'test image')}, there is no probability from "
        f"which {_limit(wanted)} of the answers are right.{least} Test on more images, or set a lower accuracy_needed; "
        "then export the model again."
    )


@_says
def formulas_marked(names: list[str], classes: int) -> str:
    more = f" and {classes - len(names):,} more" if classes > len(names) else ""
    return (
        "In a CSV an apostrophe stands in front of class names that a spreadsheet would take for formulas: "
        f"{', '.join(map(repr, names))}{more}. A Parquet file has the names as they are."
    )


# ---- limits in groups and at promotion (vptlib.evidence.limits) ------------------------------------------------------


@_says
def limit_in_groups(group: str, groups: int, not_shown: int, finding: Statement, needed: int | None) -> str:
    only = "the only group" if groups == 1 else f"the worst of {groups:,} groups"
    takes = "" if needed is None else f" It takes at least {needed:,} of that group."
    others = f" It is not shown in {not_shown:,} of the {groups:,} groups." if not_shown > 1 else ""
    return f"Group {group} is {only}. {sentence(finding)}{takes}{others}"


@_says
def limit_without_groups(kind: str, names: list[str]) -> str:
    return (
        "The test images have no groups, so it cannot be tested in each: give the groups in a column 'group', or take "
        "`every: group` out."
    )


# What limits are about that are tested at promotion (vptlib.operations.gates).
GATES = {
    "no_worse_than_production": "no worse than production",
    "calibration_error": "calibration error",
    "latency": "time for an image",
    "robustness": "accuracy on corrupted images",
    "explanations": "checks of the maps",
}


@_says
def limits_at_promotion(kinds: list[str]) -> str:
    return (
        f"Some limits are tested when a version is promoted, not here: {listed([GATES[kind] for kind in kinds])}. The "
        "advice does not depend on them."
    )


# ---- promotion (vptlib.operations.gates) ----------------------------------------------------------------------------

_MAP_CHECKS = {
    "differences": "the maps mark a place",
    "faithful": "the answer depends on what they mark",
    "repeats_itself": "they follow the image",
    "depends_on_the_model": "they depend on the model",
}


@_says
def gate_canaries_reproduced() -> str:
    return "The canaries give the same answers here as at export."


@_says
def gate_canaries_not_reproduced(why: str) -> str:
    return f"The canaries were not reproduced here: {why}"


@_says
def gate_first_classes(classes: int) -> str:
    return f"Nothing is in production yet, so its {classes:,} classes need not be the same as before."


@_says
def gate_same_classes(classes: int) -> str:
    return f"Its {classes:,} classes are those of production, in the same order."


@_says
def gate_other_classes(added: list[str], removed: list[str]) -> str:
    if not added and not removed:
        return "Its classes are those of production, but in another order. Whoever counts on the order must know."
    new, gone = f"new: {quoted(added)}" if added else "", f"gone: {quoted(removed)}" if removed else ""
    return f"Its classes are not those of production ({'; '.join(filter(None, [new, gone]))})."


@_says
def gate_no_limits() -> str:
    return (
        "No limit was set before the test, so nothing shows that it is good enough: set `limits` in the YAML file, run "
        "the report and export again."
    )


@_says
def gate_test_images_used(times: int, images: int) -> str:
    if not times:
        return f"It is the only version that was tested on these {many(images, 'test image')}."
    were = "was" if times == 1 else "were"
    return (
        f"{many(times, 'other version')} {were} tested on these same {many(images, 'test image')}. Each time that a "
        "version is chosen by them, its figures look better than they are. New test images have no such fault."
    )


@_says
def gate_class_absent(kind: str, names: list[str]) -> str:
    return (
        f"The limit is for {quoted(names)}, which this version does not have, so it cannot be tested: correct the name "
        "in `limits`, or take the limit out, and export again."
    )


@_says
def gate_rate(kind: str, names: list[str], limit: float, each_group: bool, finding: Statement) -> str:
    return f"{limit_in_words(kind, names, limit, each_group)}. {sentence(finding)}"


@_says
def gate_no_production() -> str:
    return "Nothing is in production yet, so nothing can be worse than it."


@_says
def gate_is_production() -> str:
    return "It is the version in production."


@_says
def gate_other_test_images(images: int, of_production: int) -> str:
    return (
        f"It was tested on {many(images, 'test image')}, and production on {of_production:,}, which are not the same "
        "images. So the two cannot be compared: export both from reports with the same task and `test_images`."
    )


@_says
def gate_no_worse(
    by: float, difference: float, bound: float, images: int, groups: int, shown: bool, needed: int | None
) -> str:
    drawn = f"{many(images, 'test image')} in {groups:,} groups" if groups else many(images, "test image")
    side = {"level": " with", "ahead": " of", "behind": ""}[ahead(difference).split()[-1]]
    worst = f"at most {_hundredths(-bound)} behind" if bound < 0 else f"at least {_hundredths(bound)} ahead"
    allowed = f"it may be up to {exact_points(by)} behind" if by else "it may not be behind"
    said = (
        f"On the same {drawn} it is {ahead(difference)}{side} production. With 95\u202f% confidence it is {worst}; "
        f"{allowed}."
    )
    if shown:
        return said
    if needed is None:
        return f"{said} At these rates more test images would not show it."
    return f"{said} If the rates stay, about {needed:,} test images would show it."


def _hundredths(fraction: float) -> str:
    """0.00984 → "0.98 points"."""
    return f"{decimals(100 * fraction, 2)} points"


@_says
def gate_without_probabilities(limit: float) -> str:
    return (
        f"The calibration error is to be at most {exact_points(limit)}, but no probabilities were stored: run the "
        "report again with this version, and export again."
    )


@_says
def gate_calibration(limit: float, error: float, high: float, images: int) -> str:
    kept = "no more" if high <= limit else "more"
    return (
        f"The probabilities miss by {in_points(error)} on average on {many(images, 'test image')}. The upper end of "
        f"the 95\u202f% interval is {_hundredths(high)}, {kept} than the {exact_points(limit)} allowed."
    )


@_says
def gate_latency(limit: float, median: float, repeats: int, device: str, threads: int | None) -> str:
    kept = "no more than" if median <= limit else "more than"
    where = device if threads is None else f"{device}, {many(threads, 'thread')}"
    return (
        f"The model took {median:.3g}\u202fms for an image, {kept} the {limit:.4g}\u202fms allowed. It is the median "
        f"of {repeats} single images on this machine ({where}), without opening and preparing them."
    )


@_says
def gate_latency_unknown(limit: float) -> str:
    return f"An image may take {limit:.4g}\u202fms, but the model could not be loaded here, so no time was measured."


@_says
def gate_not_measured(kind: str) -> str:
    return (
        f"What it needs ({GATES[kind]}) was not measured at export: export it again with this limit in the YAML file."
    )


@_says
def gate_robustness(corruption: str, severity: int, limit: float, clean: float, finding: Statement) -> str:
    return (
        f"Accuracy under {corruption} of severity {severity}: at least {_limit(limit)} ({per_cent(clean)} without it). "
        f"{sentence(finding)}"
    )


@_says
def gate_explanations(
    maps: str, passed: list[str], failed: list[str], undecided: list[str], images: int, needed: int | None
) -> str:
    parts = {"shown": passed, "refuted": failed, "not decided": undecided}
    said = [f"{word}: {listed([_MAP_CHECKS[name] for name in names])}" for word, names in parts.items() if names]
    more = "" if needed is None else f" About {needed:,} images would decide it."
    return f"Maps of kind {maps} on {many(images, 'test image')}; {'; '.join(said)}.{more}"


@_says
def gate_explanations_impossible(maps: str, why: str) -> str:
    return f"This model can have no maps of kind {maps}: {why}"


# ---- versions and their history (vptlib.operations.registry) --------------------------------------------------------


@_says
def ledger_fault(kind: str, number: int) -> str:
    what = {
        "changed": f"Entry {number} was changed after it was written.",
        "missing": f"Entry {number} was removed, or more from there on.",
        "forked": f"Before entry {number}, something was added that goes on from an entry that does not count.",
        "out_of_order": f"Entry {number} is not later than the entry before it.",
    }
    return what[kind]


@_says
def moment_taken(at: str, zone: str, given: bool, hour: str) -> str:
    zone_of = "as given" if given else "that of this machine, because none was given"
    about = {
        "once": "",
        "twice": " The clocks showed this time twice, and the earlier one was taken.",
        "skipped": " The clocks were set forward over this time, and were taken to go on as before.",
    }
    return f"This is {at} in UTC. The time zone is {zone}, {zone_of}.{about[hour]}"


@_says
def versions_not_compared(first: str, second: str) -> str:
    return (
        f"{first} and {second} were tested on other images or with other classes, so their answers cannot be compared "
        "one by one."
    )


@_says
def versions_compared(first: str, second: str, flipped: int, gained: int, lost: int, p_value: float) -> str:
    if not flipped:
        return f"{first} and {second} give the same answer to every test image."
    return (
        f"{second} answers {many(flipped, 'test image')} otherwise than {first}: {gained:,} right that were wrong, "
        f"{lost:,} wrong that were right. A difference as large as this would come by chance with probability "
        f"{p_value:.2g} (McNemar's exact test)."
    )


# ---- drift (vptlib.evidence.drift) ------------------------------------------------------------------------------

DRIFT_TESTS = {
    "features": "what the model sees in the images",
    "energy": "how the images are spread",
    "confidence": "how sure the model is",
    "classes": "how often each class is the answer",
    "asked": "the share that is sent to a person",
}


@_says
def drift_too_few(answers: int, needed: int) -> str:
    return (
        f"Whether new images are like the test images is not tested yet: it takes {needed:,} answers, and there "
        f"{'is' if answers == 1 else 'are'} {answers:,}."
    )


@_says
def drift_not_found(answers: int, shift: float | None) -> str:
    size = (
        ""
        if shift is None
        else f" A shift of all images by about {decimals(shift, 1)} standard deviations along their main direction "
        "would probably (80\u202f%) have been found."
    )
    return (
        f"In the last {many(answers, 'answer')} that were tested, no difference from the test images was found.{size}"
    )


@_says
def drift_found(tests: list[str], since: int, at_least: bool, answers: int) -> str:
    begin = f"since answer {since + 1:,}" + (" or longer" if at_least else "")
    what = listed([DRIFT_TESTS[kind] for kind in tests])
    return (
        f"New images differ from the test images {begin}: {what}. This is from {many(answers, 'answer')} in a row. "
        "Without a difference, it is found in at most 1\u202f% of such blocks."
    )


@_says
def drift_features(ratio: float) -> str:
    return f"The Fréchet distance of what the model sees to the test images is {_times_chance(ratio)}."


@_says
def drift_energy(ratio: float) -> str:
    return f"The energy distance of what the model sees to the test images is {_times_chance(ratio)}."


@_says
def drift_confidence(before: float, now: float) -> str:
    return f"The mean probability of an answer is {per_cent(now)}; on the test images it was {per_cent(before)}."


@_says
def drift_asked(before: float, now: float) -> str:
    return f"A person is asked for {per_cent(now)} of the images; on the test images it was {per_cent(before)}."


@_says
def drift_classes(changes: list[list]) -> str:
    parts = [f"{quoted([name])} {per_cent(now)} (test images {per_cent(before)})" for name, before, now in changes]
    return f"The answers changed most here: {listed(parts)}."


@_says
def drift_without_features() -> str:
    return (
        "What the model saw in the test images, or in some of the new ones, is not kept: only the answers were "
        "compared. If the model's file is of an earlier version, export the model again."
    )


@_says
def drift_groups_unknown() -> str:
    return (
        "The test images are in groups, such as lots, and the answers are not: a new lot alone may look like a "
        "difference."
    )


@_says
def drift_few_groups(arrangements: int, needed: int) -> str:
    return (
        f"There are too few groups to find a difference: they can be ordered in {many(arrangements, 'way')}, and it "
        f"takes {needed:,}."
    )


def _times_chance(ratio: float) -> str:
    return "far above what chance gives" if ratio == float("inf") else f"{plain(ratio)} times what chance gives"


# ---- checked answers (vptlib.evidence.sequential) -----------------------------------------------------------------


@_says
def watch_broken(
    kind: str,
    names: list[str],
    limit: float,
    group: str | int | None,
    value: float,
    low: float,
    high: float,
    cases: int,
    after: int,
) -> str:
    return (
        f"{_watched_limit(kind, names, limit, group)}. Checked answers show that it is broken, since the "
        f"{_ordinal(after)} of them: {_with_interval(value, low, high)} of {many(cases, 'image')}."
    )


@_says
def watch_holds(
    kind: str,
    names: list[str],
    limit: float,
    group: str | int | None,
    value: float,
    low: float,
    high: float,
    cases: int,
) -> str:
    return (
        f"{_watched_limit(kind, names, limit, group)}. Checked answers keep it: "
        f"{_with_interval(value, low, high)} of {many(cases, 'image')}."
    )


@_says
def watch_open(
    kind: str,
    names: list[str],
    limit: float,
    group: str | int | None,
    value: float,
    low: float,
    high: float,
    cases: int,
    needed: int | None,
) -> str:
    more = "" if needed is None else f" If the rate stays, about {needed:,} more checked answers would show a break."
    return (
        f"{_watched_limit(kind, names, limit, group)}. Checked answers do not show that it is broken: "
        f"{_with_interval(value, low, high)} of {many(cases, 'image')}.{more}"
    )


@_says
def watch_no_cases(kind: str, names: list[str], limit: float, group: str | int | None) -> str:
    return f"{_watched_limit(kind, names, limit, group)}. No checked answer counts for it yet."


@_says
def watch_without_groups(kind: str, names: list[str], limit: float, group: str | int | None) -> str:
    return (
        f"{limit_in_words(kind, names, limit, each_group=True)}. It is not watched, because the groups of new images "
        "are not known."
    )


@_says
def watch_not_drawn(answers: int, of: int) -> str:
    return (
        f"{answers:,} of {many(of, 'checked answer')} {'does' if answers == 1 else 'do'} not count: "
        f"{'it was' if answers == 1 else 'they were'} not drawn at random."
    )


def _watched_limit(kind: str, names: list[str], limit: float, group: str | int | None) -> str:
    return limit_in_words(kind, names, limit) + ("" if group is None else f" (group {group})")


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


# ---- prompts in production (vptlib.operations.watch) ---------------------------------------------------------------


@_says
def status_failed(why: str) -> str:
    return f"It cannot be watched, because {why}"


@_says
def status_records_failed(why: str) -> str:
    return f"Its answers cannot be read: {why}"


@_says
def status_no_production(candidate: int | None) -> str:
    if candidate is None:
        return "Nothing is in production, so nothing answers."
    return f"Nothing is in production, so nothing answers. Version {candidate} could be promoted."


@_says
def status_without_limits() -> str:
    return "No limit on mistakes is set, so checked answers are not tested against one."


@_says
def status_class_absent(kind: str, names: list[str]) -> str:
    return (
        f"A limit ({kind.replace('_', ' ')}) is for {quoted(names)}, which the version in production does not have, so "
        "it is not watched: set the limits again."
    )


@_says
def status_drift_since(at: str) -> str:
    return f"This began with the answers of {datetime.fromisoformat(at):%Y-%m-%d}. Have some of the new images checked."


_DECIDE_AGAIN_BECAUSE = {
    "labels": "there are enough labelled images",
    "limit": "a limit is broken",
    "drift": "new images differ from those of the test",
}


@_says
def status_decide_again(
    why: list[str], labelled: int | None, checked: int | None, again_at: int | None, by_rule: bool
) -> str:
    because = listed(_DECIDE_AGAIN_BECAUSE[cause] for cause in why)
    text = f"It is time to decide again between VPT and full fine-tuning, because {because}."
    if labelled is None or checked is None:
        return text
    text += f" There are {labelled:,} labelled images now, {checked:,} of them from checked answers."
    return text if again_at is None else f"{text} {_again_at(again_at, by_rule)}"


@_says
def status_labels_to_go(labelled: int, checked: int, again_at: int, by_rule: bool) -> str:
    return (
        f"There are {labelled:,} labelled images now, {checked:,} of them from checked answers. "
        f"{_again_at(again_at, by_rule)}"
    )


def _again_at(images: int, by_rule: bool) -> str:
    if by_rule:
        return (
            f"The model's file names no number to decide again at, so {images:,} is a rule of thumb: twice the images "
            "that the model was trained on."
        )
    return f"The report said to decide again at {images:,}."


@_says
def status_checks_waiting(waiting: int, due: int, days: int) -> str:
    are = "is" if waiting == 1 else "are"
    return (
        f"Of {many(due, 'answer')} drawn at random more than {days} days ago, {waiting:,} {are} not checked yet. As "
        "long as the hard ones are left out, the limits look better kept than they are."
    )


@_says
def status_checks(drawn: int, checked: int) -> str:
    were = "was" if drawn == 1 else "were"
    return f"{many(drawn, 'answer')} {were} drawn at random to be checked, and people have checked {checked:,} of them."


@_says
def status_disputed(disputed: int, checked: int) -> str:
    of = f"{disputed:,} of {many(checked, 'checked answer')}"
    return f"People said different things of {of}. What was said last counts; agree on how to label such images."


@_says
def status_none_drawn(answers: int) -> str:
    return (
        f"None of {many(answers, 'answer')} was drawn at random to be checked, so nothing shows whether the limits are "
        "still kept. Let the service draw some."
    )


@_says
def status_nothing_recorded() -> str:
    return "No answer is recorded yet. The service (vpt serve) records what it answers."


@_says
def status_no_answer_yet(others: int) -> str:
    if others:
        return (
            f"This version has not answered since it went into production, but others have: {many(others, 'answer')}. "
            "See whether the service runs and can load it."
        )
    return "This version has not answered since it went into production. See whether the service runs."


@_says
def status_silent(days: int) -> str:
    return f"There was no answer in the last {days} days. See whether the service runs."


@_says
def status_other_versions(answers: int, versions: list[str], late: bool) -> str:
    given = f"{many(answers, 'answer')} since then came from another model ({', '.join(versions)})"
    if late:
        return f"{given}, the newest one too: a service has not taken over the version in production. See its log."
    return f"{given}; they do not count here."


@_says
def status_forced(by: str, reason: str) -> str:
    return f"{by} put it into production although a gate failed. The reason given: {reason}"
