"""Sentences on what can go wrong, and what would catch it (`vptlib.evidence.risks`)."""

from vptlib.report.words.en.base import in_prose, says, share, title
from vptlib.wording import apart, in_points, many, per_cent, plain

_LONGEST_NAME = 40
_RATES = {
    "miss_rate": "misses of {classes}",
    "false_alarm_rate": "false alarms for {classes}",
    "recall": "{classes} recognised",
    "precision": "answers {classes} that are right",
    "accuracy": "right answers",
}
_LIMITS_TO_GIVE = {
    "accuracy": "the accuracy that is needed (limits: accuracy)",
    "recall": "a limit for this class (limits: recall)",
    "each_group": "a limit in every lot (limits, with every: group)",
}
_AUDIT_RISKS = {
    "collapsed": "Trainings of {method} learned nothing",
    "seeds_diverge": "One training of {method} is far below the others",
    "accuracy_falls": "{method} got worse with more labels, which is a sign of a faulty training",
    "best_at_last_step": "Training of {method} was cut short, so it may be better than shown",
    "choice_at_edge": "The setting of {method} is at the end of what was tried, so it may be better than shown",
}
_CURES = {
    "collapsed": "Look at these runs, and run them again with another seed",
    "seeds_diverge": "More seeds, in the settings",
    "accuracy_falls": "More seeds, in the settings",
    "best_at_last_step": "More steps, in the settings",
    "choice_at_edge": "More candidates, in the settings",
}


def named(name: str) -> str:
    """A name within a sentence, kept short, and apart from it where it is written from right to left."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return f"“{apart(short)}”"


def _limit_of(kind: str, names: list[str], limit: float, group: str) -> str:
    """ "misses of “scratch” (at most 2 %)"."""
    first, more = ", ".join(named(name) for name in names[:2]), " and others" if len(names) > 2 else ""
    side = "at most" if kind in ("miss_rate", "false_alarm_rate") else "at least"
    lot = f" in lot {named(group)}" if group else ""
    return f"{_RATES[kind].format(classes=first + more)}{lot} ({side} {100 * limit:.4g}\u202f%)"


def _and_more(others: int) -> str:
    return f" So {'does' if others == 1 else 'do'} {many(others, 'further limit')}." if others else ""


# ---- what can go wrong ------------------------------------------------------------------------------------------


@says
def risk_used_all_the_same(method: str, accuracy: float) -> str:
    return f"The best of them, {in_prose(method)}, is used all the same: it is right on only {per_cent(accuracy, 0)}."


@says
def risk_quick_look(seeds: int) -> str:
    stand = "One training stands" if seeds == 1 else f"Only {seeds} trainings stand"
    return f"{stand} behind each figure, so luck may have decided."


@says
def risk_another_way(rival: str, probability: float) -> str:
    return f"{title(rival)} may be the right way instead: {share(probability)} probability."


@says
def risk_something_works(probability: float) -> str:
    return f"A way would be good enough after all: {share(probability)} probability."


@says
def risk_blind(difference: float, images: int, seeds: int) -> str:
    return (
        f"Differences between the ways below {in_points(difference)} go unseen with {many(images, 'test image')} and "
        f"{many(seeds, 'seed')}."
    )


@says
def risk_drift() -> str:
    return "The images change after the start: camera, light, supplier, product."


@says
def risk_limit_not_met(kind: str, names: list[str], limit: float, value: float | None, group: str, others: int) -> str:
    measured = "" if value is None else f" It is {per_cent(value)}."
    return f"A limit is broken: {_limit_of(kind, names, limit, group)}.{measured}{_and_more(others)}"


@says
def risk_limit_open(kind: str, names: list[str], limit: float, value: float | None, group: str, others: int) -> str:
    measured = " No test image shows it." if value is None else f" Measured: {per_cent(value)}."
    more = f" {many(others, 'further limit')} too." if others else ""
    return f"Not shown to be kept: {_limit_of(kind, names, limit, group)}.{measured}{more}"


@says
def risk_not_reached(bar: float, chance: float) -> str:
    return f"The model that will run stays below {per_cent(bar, 0)}: {share(1 - chance)} probability."


@says
def risk_weak_lot(group: str, accuracy: float, overall: float) -> str:
    against = f"against {per_cent(overall, 0)} overall"
    return f"Lot {named(group)} is recognised worse: {per_cent(accuracy, 0)} right, {against}."


@says
def risk_weak_class(name: str, recall: float, overall: float) -> str:
    return f"{named(name)} is recognised worse: {per_cent(recall, 0)} of it, against {per_cent(overall, 0)} overall."


@says
def risk_class_untested(name: str, classes: int) -> str:
    more = f" and {many(classes - 1, 'other class').replace('classs', 'classes')}" if classes > 1 else ""
    return f"Nothing is known of {named(name)}{more}: no test image shows it."


@says
def risk_wrong_answers(wrong: float) -> str:
    return f"Wrong answers: about {_of_hundred(wrong)} in the test."


def _of_hundred(fraction: float) -> str:
    return f"{plain(100 * fraction) if fraction < 0.02 else round(100 * fraction)} of 100"


@says
def risk_not_calibrated(error: float, gap: float) -> str:
    side = "more" if gap > 0 else "less"
    return f"The model says that it is {side} sure than it should be: {in_points(error)} off on average."


@says
def risk_audit(finding: str, method: str, warnings: int) -> str:
    more = f" {many(warnings - 1, 'further warning')} about the runs." if warnings > 1 else ""
    text = _AUDIT_RISKS[finding]
    name = title(method) if text.startswith("{") else in_prose(method)
    return f"{text.format(method=name)}.{more}"


@says
def risk_small_input(size: int, accuracy: float, smaller: int, smaller_accuracy: float) -> str:
    return (
        f"The pictures were made too small ({smaller} px): in a quick check the untrained model is right on "
        f"{per_cent(accuracy, 0)} at {size} px and on {per_cent(smaller_accuracy, 0)} at {smaller} px."
    )


@says
def risk_groups_on_both_sides(tested: int, test: int) -> str:
    return (
        f"The figures flatter: {tested:,} of {test:,} test images come from lots that the model was trained on as well."
    )


@says
def risk_duplicates(copies: int, tested: int) -> str:
    were = "was" if copies == 1 else "were"
    return f"The figures flatter: {copies:,} of {many(tested, 'test image')} {were} also trained on."


@says
def risk_labels_contradict(pairs: int) -> str:
    return f"Labels contradict each other: the same image in two classes, in {many(pairs, 'pair')}."


@says
def risk_images(warnings: int) -> str:
    return f"The images themselves: {many(warnings, 'warning')} of their check."


@says
def risk_unseen_lots() -> str:
    return "A new lot, site or camera may be recognised worse: the lots of the images are not known."


# ---- what catches it --------------------------------------------------------------------------------------------


@says
def caught_at_promotion() -> str:
    return "The test before it goes into production: a version that breaks a limit is refused (vpt prompts promote)."


@says
def caught_by_seeds(fewest: int) -> str:
    return f"{fewest} repetitions or more, in the settings (seeds)."


@says
def caught_by_deciding_again(n: int | None) -> str:
    return "Deciding again with more labels." if n is None else f"Deciding again at {n:,} labelled images."


@says
def caught_by_another_study() -> str:
    return "Another study, with other images or another shared model."


@says
def caught_by_test_images() -> str:
    return "More test images."


@says
def caught_by_watching() -> str:
    return "Answers that a person checks, and the watch over new images (vpt prompts status)."


@says
def caught_by_more_cases(images: int | None) -> str:
    refused = "Until then a version is refused (vpt prompts promote)."
    if images is None:
        return f"More repetitions, or a better model. {refused}"
    return f"About {images:,} test images that count for it. {refused}"


@says
def caught_by_a_limit(kind: str) -> str:
    return f"The test before production, once you give {_LIMITS_TO_GIVE[kind]}."


@says
def caught_by_checking_all() -> str:
    return "Only a person who checks every answer: the test cannot tell which answers are sure."


@says
def caught_by_a_person(checked: float, accuracy: float) -> str:
    return (
        f"A person checks the {per_cent(checked, 0)} least sure answers: of the others {per_cent(accuracy, 0)} are "
        "right."
    )


@says
def caught_by_a_threshold() -> str:
    return "A threshold measured on test images decides what a person sees, not the model's own figure."


@says
def caught_by_another_run(finding: str) -> str:
    return f"{_CURES[finding]}, then the same command."


@says
def caught_by_a_larger_input() -> str:
    return "A larger image size in the settings, or more time."


@says
def caught_by_dividing_anew() -> str:
    return "Dividing the images anew, each lot and each image on one side; vpt data check finds the rest."


@says
def caught_by_the_check() -> str:
    return "The check of the images (vpt data check) names them: correct them before the next study."


@says
def caught_by_groups() -> str:
    return "The lot or site of each image (groups), then a test in lots that were not trained on."
