"""Sentences on what to do and why (`vptlib.evidence.questions`, `reasons`, `track_record`)."""

from vptlib.evidence.recommendation import (
    FULL,
    LARGER_INPUT,
    MORE_LABELS,
    MORE_SEEDS,
    MORE_TEST_IMAGES,
    PROMPT,
    STEPS,
    TRAIN_LONGER,
)
from vptlib.report.words.en.audit import capitalised, seeds_listed
from vptlib.report.words.en.base import ahead, ahead_interval, in_prose, interval, says, sentence, share, title
from vptlib.report.words.en.choices import CHOICES, HEADLINES, LEVELS, USED
from vptlib.statement import Statement
from vptlib.wording import decimals, duration, in_points, listed, many, per_cent, rounded, storage

# ---- recommendations (vptlib.evidence.questions, vptlib.evidence.reasons) -----------------------------------------


def choice(code: str, method: str | None) -> str:
    """A choice in a few words: "use VPT-deep", "run more seeds"."""
    return CHOICES[code] if code in STEPS else f"use {in_prose(str(method))}"


def headline(code: str, method: str | None) -> str:
    """A choice as a headline for someone who has to act on it."""
    return HEADLINES[code] if code in STEPS else USED.get(str(method), f"Use {the_method(str(method))}")


def the_method(method: str) -> str:
    """A method in a sentence that acts on it: "the linear probe", "LoRA"."""
    name = in_prose(method)
    return f"the {name}" if name[0].islower() and name.endswith("probe") else name


@says
def seen(n: int, images: int, methods: list[str], accuracies: list[float], chance: float | None) -> str:
    each = [f"{in_prose(method)} {per_cent(accuracy)}" for method, accuracy in zip(methods, accuracies, strict=True)]
    guess = "" if chance is None else f" Always naming the commonest class: {per_cent(chance)}."
    return f"With {n:,} labelled images, the share of the {images:,} test images that is right: {listed(each)}.{guess}"


@says
def not_compared_yet(n: int, lacking: list[str]) -> str:
    if not lacking:
        return f"{title(PROMPT)} and {in_prose(FULL)} have no seed in common yet, so they cannot be compared."
    have = "has" if len(lacking) == 1 else "have"
    return (
        f"{capitalised(listed([in_prose(method) for method in lacking]))} {have} no finished run with {n:,} labelled "
        "images, for want of time. So the two ways cannot be compared. The same command with more time goes on from "
        "here."
    )


@says
def best_so_far(method: str, n: int, accuracy: float, low: float, high: float) -> str:
    return (
        f"The best of what is finished: {in_prose(method)}, right on {per_cent(accuracy)} of the test images with "
        f"{n:,} labelled images ({interval(decimals(100 * low, 1), per_cent(high))})."
    )


@says
def quick_look(seeds: int, fewest: int, seconds: float) -> str:
    have = "One seed stands" if seeds == 1 else f"Only {seeds} seeds stand"
    return (
        f"{have} behind each figure. That shows too little of the luck in drawing the training images. Run at least "
        f"{fewest}: they need no new labels, only time{_so_long(seconds)}."
    )


@says
def cut_short(methods: list[str]) -> str:
    return (
        f"Training of {listed(map(in_prose, methods))} was cut short: the last step was the best one. Longer training "
        "can change the order. Give more steps."
    )


@says
def at_chance(method: str, accuracy: float, low: float, high: float, chance: float) -> str:
    return (
        f"No method is clearly better than always naming the commonest class ({per_cent(chance)}). The best one, "
        f"{in_prose(method)}, is right on {per_cent(accuracy)} ({interval(decimals(100 * low, 1), per_cent(high))})."
    )


@says
def little_above_chance(method: str, accuracy: float, low: float, high: float, chance: float) -> str:
    return (
        f"No method is of use. The best one, {in_prose(method)}, is right on {per_cent(accuracy)} "
        f"({interval(decimals(100 * low, 1), per_cent(high))}). Always naming the commonest class is right on "
        f"{per_cent(chance)}."
    )


@says
def reaches(method: str, bar: float, chance: float, of_today: bool) -> str:
    return (
        f"{_mark(bar, of_today)} {capitalised(the_method(method))} reaches it: a single training does so with "
        f"{share(chance)} "
        "probability. Where several methods do, this one loses least."
    )


def _mark(bar: float, of_today: bool) -> str:
    """What is to be reached, as a sentence."""
    return f"The present way of working has {per_cent(bar)}." if of_today else f"The work needs {per_cent(bar)}."


@says
def not_reached(method: str, bar: float, accuracy: float, chance: float, mean: float, of_today: bool) -> str:
    return (
        f"{_mark(bar, of_today)} {capitalised(in_prose(method))} comes nearest with {per_cent(accuracy)}. A single "
        f"training of it reaches the mark with {share(chance)} probability, the mean of many with {share(mean)}."
    )


@says
def limits_not_kept(method: str, finding: Statement) -> str:
    return (
        f"No method is shown to keep the limits that were set. {capitalised(the_method(method))}: {sentence(finding)}"
    )


@says
def lightest_of_the_best(method: str, margin: float, lighter: dict | None, heavier: dict | None) -> str:
    others = [("heavier", heavier), ("lighter", lighter)]
    parts = [
        f"Next to {the_method(pair['second'])}, the best {kind} method, it is {_compared(pair)}."
        for kind, pair in others
        if pair
    ]
    first = "the lightest method" if lighter is None else "the heaviest method" if heavier is None else "in between"
    alone = [] if parts else ["No other method was compared."]
    return " ".join(
        [
            f"{capitalised(the_method(method))} is {first}.",
            *parts,
            *alone,
            f"The least that matters is {in_points(margin)}.",
        ]
    )


def _compared(pair: dict) -> str:
    return f"{ahead(pair['difference'])} ({ahead_interval(pair['low'], pair['high'])})"


@says
def best_after_costs(method: str) -> str:
    return f"With its costs taken off at the value of a point, {the_method(method)} has the highest expected value."


@says
def open_between(
    first: str, second: str, step: str, now: int, wanted: int, worth: float, seconds: float | None, groups: int | None
) -> str:
    of_groups = f", from {round(groups * wanted / now):,} groups instead of {groups:,}," if groups else ""
    what = {
        MORE_SEEDS: f"About {wanted:,} seeds instead of {now:,}{_so_long(seconds)}",
        MORE_TEST_IMAGES: f"About {wanted:,} test images instead of {now:,}{of_groups}",
    }[step]
    return (
        f"{capitalised(the_method(first))} or {the_method(second)}: these runs leave it open. {what} would "
        f"narrow it most. "
        f"On average that is worth {in_points(worth)} of accuracy."
    )


def _so_long(seconds: float | None) -> str:
    """How long further runs take, in brackets."""
    return "" if seconds is None else f" (about {duration(seconds)} of training)"


@says
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
        "right": f"{the_method(method)} is the lightest within {in_points(margin)} of the best",
        "reaches": f"one training of {the_method(method)} reaches {per_cent(bar or 0)}",
    }[claim]
    in_share = f"in {share(probability)} of {replicates:,} resampled studies"
    seeds = " With so few seeds it is a quick look." if quick else ""
    capped = f" It is not high, because the interval leaves {the_method(left)} right." if left else ""
    return f"Confidence {LEVELS[level]}: {in_share} {said}.{seeds}{capped}"


@says
def leads_so_far(method: str, probability: float, margin: float, quick: bool) -> str:
    if quick:
        return f"Not decided. So far {the_method(method)} leads, but a quick look gives no probability for that."
    return (
        f"Not decided. So far {the_method(method)} leads: the probability that it is the lightest within "
        f"{in_points(margin)} of the best is {share(probability)}."
    )


@says
def none_leads(chance: float) -> str:
    return (
        f"Not decided. So far no method is clearly of more use than always naming the commonest class "
        f"({per_cent(chance)})."
    )


@says
def sure_nothing_works(level: str, probability: float) -> str:
    return f"Confidence {LEVELS[level]}: the probability that no method here is good enough is {share(probability)}."


@says
def loss(method: str, loss: float, other: str, other_loss: float) -> str:
    return (
        f"Taking {the_method(method)} now loses {_loss(loss)} on average, in accuracy or in needless weight. "
        f"The next best, "
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


@says
def audit_doubts(codes: list[str], methods: list[str]) -> str:
    return (
        f"The audit of the runs found {listed(_DOUBTS[code] for code in codes)} ({listed(map(in_prose, methods))}). "
        "So the confidence is not high."
    )


@says
def methods_lacking(methods: list[str], n: int) -> str:
    have = "has" if len(methods) == 1 else "have"
    return (
        f"{capitalised(listed(map(in_prose, methods)))} {have} no runs to compare with {n:,} labelled images: left out."
    )


@says
def seeds_not_common(common: int, unused: list[int]) -> str:
    return f"Only the {many(common, 'seed')} that all methods have are compared: {seeds_listed(unused)} left out."


@says
def two_ways(first: str, second: str, difference: float, low: float, high: float, n: int) -> str:
    return (
        f"{title(first)} is {ahead(difference)} compared with {in_prose(second)} with {n:,} labelled images "
        f"({ahead_interval(low, high)})."
    )


@says
def settles(difference: float, seeds: int, images: int) -> str:
    return (
        f"With {many(seeds, 'seed')} and {images:,} test images a study like this can tell apart "
        f"{in_points(difference)} (in four of five cases). Smaller differences stay open."
    )


@says
def told_apart_before(seeds: int, images: int, difference: float, groups: int | None) -> str:
    grouped = f" They come from {many(groups, 'group')}; as far as those differ, it tells apart less." if groups else ""
    return (
        f"With {many(seeds, 'seed')} and {images:,} test images a study tells apart about {in_points(difference)} "
        f"(in four of five cases).{grouped}"
    )


@says
def told_apart(seeds: int, images: int, difference: float, expected: float) -> str:
    seen = (
        f"With {many(seeds, 'seed')} and {images:,} test images this study tells apart {in_points(difference)} "
        "(in four of five cases)."
    )
    if in_points(difference) == in_points(expected):
        return f"{seen} So much was expected before it ran."
    more = "more" if difference > expected else "less"
    return f"{seen} Before it ran, {in_points(expected)} were expected: its results vary {more} than usual ones."


@says
def lead_changes(n: float, low: float, high: float, leader: str) -> str:
    return (
        f"Between VPT-deep and full fine-tuning the lead changes at about {rounded(n)} labelled images "
        f"({interval(rounded(low), rounded(high))}); beyond, {in_prose(leader)} leads."
    )


@says
def weights(methods: list[str], stored: list[int], seconds: list[float]) -> str:
    each = [
        f"{in_prose(method)} {storage(size)}, {duration(time)}"
        for method, size, time in zip(methods, stored, seconds, strict=True)
    ]
    return f"What each further task stores, and how long one training takes: {'; '.join(each)}."


@says
def last_labels(method: str, smaller: int, n: int, gain: float, low: float, high: float) -> str:
    return (
        f"From {smaller:,} to {n:,} labelled images {in_prose(method)} gained {decimals(100 * gain, 1)} points "
        f"({interval(decimals(100 * low, 1), decimals(100 * high, 1))})."
    )


@says
def change_by_backbone() -> str:
    return "Another backbone, other images, or an easier question. More labels or seeds would not."


@says
def change_by_step(step: str) -> str:
    return {
        MORE_SEEDS: "More seeds in the settings: the same command goes on from these runs and decides.",
        MORE_TEST_IMAGES: "More labelled images to test on, in the settings too, then the same command.",
        LARGER_INPUT: "A larger image size in the settings, or more time, then the same command.",
        TRAIN_LONGER: "More steps in the settings, then the same command.",
        MORE_LABELS: "More labelled images to train on, a larger size in the settings, then the same command.",
    }[step]


@says
def change_by_bar(bar: float) -> str:
    return f"Another accuracy to reach than {per_cent(bar)}. With more labels the order of the methods can be another."


@says
def change_by_rival(rival: str, probability: float) -> str:
    return (
        f"{capitalised(the_method(rival))} is right instead with {share(probability)} probability. With more "
        f"labels the order "
        "can be another."
    )


@says
def labels_to_make(missing: int, pool: int) -> str:
    return f"The images hold {pool:,} labelled ones to train on, so {missing:,} have to be labelled for that."


@says
def change_by_other_methods(method: str) -> str:
    return f"Runs of other methods: {the_method(method)} is the only one that was compared."


# ---- the record of the rule (vptlib.evidence.track_record) --------------------------------------------------------


@says
def record_of_rule(level: str, tables: int, answers: int, right: int, low: float, high: float) -> str:
    return (
        f"On {tables:,} planted tables with a known truth, this rule gave confidence {LEVELS[level]} {answers:,} "
        f"times. It was right in {right:,} of them, {per_cent(right / answers)} "
        f"({interval(decimals(100 * low, 1), per_cent(high))}). With other truths than those planted, this share "
        "would differ."
    )


@says
def record_too_small(level: str, tables: int, answers: int) -> str:
    often = f"only {many(answers, 'time')}" if answers else "never"
    return (
        f"On {tables:,} planted tables with a known truth, this rule gave confidence {LEVELS[level]} {often}: too few "
        "answers for a record."
    )
