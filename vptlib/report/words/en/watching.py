"""Sentences on prompts in production (`vptlib.evidence.drift`, `sequential`, `vptlib.operations.watch`)."""

from datetime import datetime

from vptlib.report.words.en.base import says
from vptlib.report.words.en.mistakes import limit_in_words, quoted, with_interval
from vptlib.wording import apart, decimals, listed, many, per_cent, plain

# ---- drift (vptlib.evidence.drift) ------------------------------------------------------------------------------

DRIFT_TESTS = {
    "features": "what the model sees in the images",
    "energy": "how the images are spread",
    "confidence": "how sure the model is",
    "classes": "how often each class is the answer",
    "asked": "the share that is sent to a person",
}


@says
def drift_too_few(answers: int, needed: int) -> str:
    return (
        f"Whether new images are like the test images is not tested yet: it takes {needed:,} answers, and there "
        f"{'is' if answers == 1 else 'are'} {answers:,}."
    )


@says
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


@says
def drift_found(tests: list[str], since: int, at_least: bool, answers: int) -> str:
    begin = f"since answer {since + 1:,}" + (" or longer" if at_least else "")
    what = listed([DRIFT_TESTS[kind] for kind in tests])
    return (
        f"New images differ from the test images {begin}: {what}. This is from {many(answers, 'answer')} in a row. "
        "Without a difference, it is found in at most 1\u202f% of such blocks."
    )


@says
def drift_features(ratio: float) -> str:
    return f"The Fréchet distance of what the model sees to the test images is {_times_chance(ratio)}."


@says
def drift_energy(ratio: float) -> str:
    return f"The energy distance of what the model sees to the test images is {_times_chance(ratio)}."


@says
def drift_confidence(before: float, now: float) -> str:
    return f"The mean probability of an answer is {per_cent(now)}; on the test images it was {per_cent(before)}."


@says
def drift_asked(before: float, now: float) -> str:
    return f"A person is asked for {per_cent(now)} of the images; on the test images it was {per_cent(before)}."


@says
def drift_classes(changes: list[list]) -> str:
    parts = [f"{quoted([name])} {per_cent(now)} (test images {per_cent(before)})" for name, before, now in changes]
    return f"The answers changed most here: {listed(parts)}."


@says
def drift_without_features() -> str:
    return (
        "What the model saw in the test images, or in some of the new ones, is not kept: only the answers were "
        "compared. If the model's file is of an earlier version, export the model again."
    )


@says
def drift_groups_unknown() -> str:
    return (
        "The test images are in groups, such as lots, and the answers are not: a new lot alone may look like a "
        "difference."
    )


@says
def drift_few_groups(arrangements: int, needed: int) -> str:
    return (
        f"There are too few groups to find a difference: they can be ordered in {many(arrangements, 'way')}, and it "
        f"takes {needed:,}."
    )


def _times_chance(ratio: float) -> str:
    return "far above what chance gives" if ratio == float("inf") else f"{plain(ratio)} times what chance gives"


# ---- checked answers (vptlib.evidence.sequential) -----------------------------------------------------------------


@says
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
        f"{_ordinal(after)} of them: {with_interval(value, low, high)} of {many(cases, 'image')}."
    )


@says
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
        f"{with_interval(value, low, high)} of {many(cases, 'image')}."
    )


@says
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
        f"{with_interval(value, low, high)} of {many(cases, 'image')}.{more}"
    )


@says
def watch_no_cases(kind: str, names: list[str], limit: float, group: str | int | None) -> str:
    return f"{_watched_limit(kind, names, limit, group)}. No checked answer counts for it yet."


@says
def watch_without_groups(kind: str, names: list[str], limit: float, group: str | int | None) -> str:
    return (
        f"{limit_in_words(kind, names, limit, each_group=True)}. It is not watched, because the groups of new images "
        "are not known."
    )


@says
def watch_not_drawn(answers: int, of: int) -> str:
    return (
        f"{answers:,} of {many(of, 'checked answer')} {'does' if answers == 1 else 'do'} not count: "
        f"{'it was' if answers == 1 else 'they were'} not drawn at random."
    )


def _watched_limit(kind: str, names: list[str], limit: float, group: str | int | None) -> str:
    return limit_in_words(kind, names, limit) + ("" if group is None else f" (group {apart(group)})")


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


# ---- prompts in production (vptlib.operations.watch) ---------------------------------------------------------------


@says
def status_failed(why: str) -> str:
    return f"It cannot be watched, because {why}"


@says
def status_records_failed(why: str) -> str:
    return f"Its answers cannot be read: {why}"


@says
def status_no_production(candidate: int | None) -> str:
    if candidate is None:
        return "Nothing is in production, so nothing answers."
    return f"Nothing is in production, so nothing answers. Version {candidate} could be promoted."


@says
def status_without_limits() -> str:
    return "No limit on mistakes is set, so checked answers are not tested against one."


@says
def status_class_absent(kind: str, names: list[str]) -> str:
    return (
        f"A limit ({kind.replace('_', ' ')}) is for {quoted(names)}, which the version in production does not have, so "
        "it is not watched: set the limits again."
    )


@says
def status_drift_since(at: str) -> str:
    return f"This began with the answers of {datetime.fromisoformat(at):%Y-%m-%d}. Have some of the new images checked."


_DECIDE_AGAIN_BECAUSE = {
    "labels": "there are enough labelled images",
    "limit": "a limit is broken",
    "drift": "new images differ from those of the test",
}


@says
def status_decide_again(
    why: list[str], labelled: int | None, checked: int | None, again_at: int | None, by_rule: bool
) -> str:
    because = listed(_DECIDE_AGAIN_BECAUSE[cause] for cause in why)
    text = f"It is time to decide again between VPT and full fine-tuning, because {because}."
    if labelled is None or checked is None:
        return text
    text += f" There are {labelled:,} labelled images now, {checked:,} of them from checked answers."
    return text if again_at is None else f"{text} {_again_at(again_at, by_rule)}"


@says
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


@says
def status_checks_waiting(waiting: int, due: int, days: int) -> str:
    are = "is" if waiting == 1 else "are"
    return (
        f"Of {many(due, 'answer')} drawn at random more than {days} days ago, {waiting:,} {are} not checked yet. As "
        "long as the hard ones are left out, the limits look better kept than they are."
    )


@says
def status_checks(drawn: int, checked: int) -> str:
    were = "was" if drawn == 1 else "were"
    return f"{many(drawn, 'answer')} {were} drawn at random to be checked, and people have checked {checked:,} of them."


@says
def status_disputed(disputed: int, checked: int) -> str:
    of = f"{disputed:,} of {many(checked, 'checked answer')}"
    return f"People said different things of {of}. What was said last counts; agree on how to label such images."


@says
def status_none_drawn(answers: int) -> str:
    return (
        f"None of {many(answers, 'answer')} was drawn at random to be checked, so nothing shows whether the limits are "
        "still kept. Let the service draw some."
    )


@says
def status_nothing_recorded() -> str:
    return "No answer is recorded yet. The service (vpt serve) records what it answers."


@says
def status_no_answer_yet(others: int) -> str:
    if others:
        return (
            f"This version has not answered since it went into production, but others have: {many(others, 'answer')}. "
            "See whether the service runs and can load it."
        )
    return "This version has not answered since it went into production. See whether the service runs."


@says
def status_silent(days: int) -> str:
    return f"There was no answer in the last {days} days. See whether the service runs."


@says
def status_other_versions(answers: int, versions: list[str], late: bool) -> str:
    given = f"{many(answers, 'answer')} since then came from another model ({', '.join(versions)})"
    if late:
        return f"{given}, the newest one too: a service has not taken over the version in production. See its log."
    return f"{given}; they do not count here."


@says
def status_forced(by: str, reason: str) -> str:
    return f"{by} put it into production although a gate failed. The reason given: {reason}"
