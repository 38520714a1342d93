"""Sentences on what a method gets wrong (`vptlib.evidence.mistakes`, `certainty`, `limits`)."""

from collections.abc import Iterable

from vptlib.report.words.en.audit import capitalised
from vptlib.report.words.en.base import interval, says
from vptlib.wording import apart, decimals, in_points, listed, many, per_cent, plain

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
    shown = [f"“{apart(name)}”" for name in names[:most]]
    return listed([*shown, f"{len(names) - most:,} more"] if len(names) > most else shown)


def limit_in_words(kind: str, names: Iterable[str], limit: float, each_group: bool = False) -> str:
    """ "Misses of “scratch”: at most 2 %"; in each group, where it must be kept there."""
    side = "at most" if kind in ("miss_rate", "false_alarm_rate") else "at least"
    where = " in each group" if each_group else ""
    return (
        f"{capitalised(LIMITS[kind].format(classes=quoted(names) if names else ''))}: {side} "
        f"{limit_share(limit)}{where}"
    )


def rate_interval(low: float, high: float) -> str:
    """0.551, 0.83 → "55.1 to 83.0 %"."""
    return f"{decimals(100 * low, 1)} to {per_cent(high)}"


def limit_share(fraction: float) -> str:
    return f"{100 * fraction:.4g}\u202f%"


def with_interval(value: float, low: float, high: float) -> str:
    return f"{per_cent(value)} ({interval(decimals(100 * low, 1), per_cent(high))})"


@says
def worst_class(name: str, recall: float, low: float, high: float, images: int, classes: int) -> str:
    return (
        f"{quoted([name])} is recognised least: {per_cent(recall)} of its {many(images, 'test image')} "
        f"(95\u202f% interval: {rate_interval(low, high)}, corrected for a choice among {classes:,} classes)."
    )


@says
def classes_not_tested(names: list[str], classes: int) -> str:
    more = f" and {classes - len(names):,} more" if classes > len(names) else ""
    return f"No test image shows {', '.join(quoted([name]) for name in names)}{more}, so nothing is known of that."


@says
def interval_of_rates(trainings: int, grouped: bool) -> str:
    drawn = "whole groups of test images" if grouped else "test images"
    if trainings == 1:
        return f"Intervals hold for the choice of {drawn}. One training stands behind them, so its luck is not in them."
    return f"Figures are means of {trainings} trainings. Intervals hold for the choice of {drawn} and of trainings."


@says
def worst_group(
    group: str, accuracy: float, low: float, high: float, images: int, groups: int, overall: float, clear: bool
) -> str:
    so = "It is clearly below all test images together" if clear else "It is not clearly below all test images together"
    return (
        f"Group {apart(group)} does worst: {per_cent(accuracy)} of its {many(images, 'test image')} are right "
        f"(95\u202f% interval: {rate_interval(low, high)}, corrected for a choice among {groups:,} groups). {so} "
        f"({per_cent(overall)})."
    )


@says
def groups_too_small(groups: int, least: int) -> str:
    return (
        f"The test images form {many(groups, 'group')}, but not two of them have {least} images or more: none can be "
        "called the worst."
    )


@says
def no_probabilities() -> str:
    return (
        "These runs were stored without probabilities, or theirs are no numbers. So nothing can be said of how sure "
        "the model is. Runs made from now on have them."
    )


@says
def some_without_probabilities(trainings: int, of: int) -> str:
    return f"Probabilities are there for {trainings} of {of} trainings; what needs them is from these."


@says
def calibrated(seen: float, by_chance: float) -> str:
    return (
        f"No fault is seen in the probabilities. They miss by {in_points(seen)} on average, and perfect ones would "
        f"miss by up to {in_points(by_chance)} in a test of this size."
    )


@says
def not_calibrated(error: float, low: float, high: float, gap: float) -> str:
    side = "too high" if gap > 0 else "too low"
    return (
        f"The probabilities miss by {in_points(error)} on average "
        f"({interval(plain(100 * low), in_points(high))}). On the whole they are {side} by {in_points(abs(gap))}."
    )


@says
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
        f"For {limit_share(wanted)} right, the model answers {per_cent(share, 0)} of the images by itself "
        f"({interval(decimals(100 * share_low, 0), per_cent(share_high, 0))}); the rest goes to a person. Of its own "
        f"answers {with_interval(accuracy, accuracy_low, accuracy_high)} were right, on images that did not choose "
        "the threshold."
    )


@says
def answers_none(wanted: float, needed: int) -> str:
    return (
        f"For {limit_share(wanted)} right, no threshold could be chosen: a person must see every image. It "
        f"takes at least "
        f"{needed:,} test images that the model gets right to show so much."
    )


@says
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
        f"To miss at most {limit_share(wanted)} of {quoted(names)}, call an image that from a probability of "
        f"{100 * threshold:.3g}\u202f% on. This missed {with_interval(misses, misses_low, misses_high)} of them. It "
        f"stopped {with_interval(alarms, alarms_low, alarms_high)} of the other images. Both figures are from images "
        "that did not choose the threshold."
    )


@says
def too_few_defects(names: list[str], wanted: float, needed: int) -> str:
    return (
        f"No threshold can be chosen that misses at most {limit_share(wanted)} of {quoted(names)}: it takes at least "
        f"{needed:,} test images of it."
    )


@says
def limit_met(
    kind: str, names: list[str], limit: float, value: float, bound: float, images: int, trainings: int
) -> str:
    return f"Measured {_measured(value, images, trainings)}; {_bound(kind, bound)}, so the limit is kept."


@says
def limit_not_met(
    kind: str, names: list[str], limit: float, value: float, bound: float, images: int, trainings: int
) -> str:
    return f"Measured {_measured(value, images, trainings)}: the limit is broken, and chance does not explain it."


@says
def limit_open(
    kind: str, names: list[str], limit: float, value: float, bound: float, images: int, trainings: int, needed: int
) -> str:
    return (
        f"Measured {_measured(value, images, trainings)}; {_bound(kind, bound)}. If the rate stays, about {needed:,} "
        "such test images would show that the limit is kept."
    )


@says
def limit_open_for_good(
    kind: str, names: list[str], limit: float, value: float, bound: float, images: int, trainings: int, keeps: bool
) -> str:
    why = (
        "The trainings differ too much for more test images alone to show that the limit is kept: run more seeds"
        if keeps
        else "At this rate the limit would be broken; only chance could excuse it"
    )
    return f"Measured {_measured(value, images, trainings)}; {_bound(kind, bound)}. {why}."


@says
def limit_without_images(kind: str, names: list[str], limit: float) -> str:
    return "No test image counts for it, so it cannot be tested."


def _measured(value: float, images: int, trainings: int) -> str:
    of_each = "" if trainings == 1 else f", mean of {trainings} trainings"
    return f"{per_cent(value)} of {many(images, 'test image')}{of_each}"


def _bound(kind: str, bound: float) -> str:
    side = "at most" if kind in ("miss_rate", "false_alarm_rate") else "at least"
    return f"with 95\u202f% confidence it is {side} {per_cent(bound)}"
