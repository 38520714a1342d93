"""Sentences of the decision page (`vptlib.report.sections.decision`), for readers who do not know the methods."""

from vptlib.report.words.en.base import in_prose, says, share, title
from vptlib.report.words.en.choices import LEVELS
from vptlib.report.words.en.money import currency, money
from vptlib.report.words.en.risks import named
from vptlib.wording import decimals, duration, listed, many, per_cent, plain

WHOLE, HEAD, LAST_PART, LOOK_UP, ADD_ON = "whole", "head", "last_part", "look_up", "add_on"
_KINDS = {
    **dict.fromkeys(["full", "full+prompts", "full-then-prompts", "lp-ft"], WHOLE),
    **dict.fromkeys(["linear", "mlp-k", "attentive-probe"], HEAD),
    "partial-k": LAST_PART,
    "knn": LOOK_UP,
}
_WAYS = {
    WHOLE: "a model that is retrained as a whole",
    HEAD: "one shared model with a new last step",
    LAST_PART: "a model whose last part is retrained",
    LOOK_UP: "one shared model that looks up similar images",
    ADD_ON: "a light add-on to one shared model",
}
_MOST_TITLES = 4
_SETTINGS = {"limits": "limits (misses, false alarms)"}


def kind_of_way(method: str) -> str:
    """What a method does to the model, as a code: most add something light to it."""
    return _KINDS.get(method, ADD_ON)


def way(method: str) -> str:
    """A method for a reader who does not know it: "a light add-on to one shared model (VPT-deep)"."""
    return f"{_WAYS[kind_of_way(method)]} ({in_prose(method)})"


def short_way(method: str) -> str:
    """The same in a table: "Light add-on to one shared model (VPT-deep)"."""
    text = way(method).removeprefix("a ")
    return text[0].upper() + text[1:]


def in_ten(probability: float) -> str:
    """0.78 → "about 8 of 10"; never certainty."""
    if probability >= 0.95:
        return "more than 9 of 10"
    return "less than 1 of 10" if probability < 0.05 else f"about {round(10 * probability)} of 10"


# ---- the next step ----------------------------------------------------------------------------------------------


@says
def next_use(task: str, method: str, n: int) -> str:
    return f"Use {way(method)}, trained on {n:,} labelled images, for {named(task)}."


@says
def next_operate(task: str, method: str, n: int) -> str:
    return f"Put {way(method)} into operation for {named(task)}, trained on {n:,} labelled images."


@says
def next_pilot(task: str, method: str, n: int) -> str:
    return (
        f"Try {way(method)}, trained on {n:,} labelled images, for {named(task)}, where a person checks every answer."
    )


@says
def next_seeds(task: str, now: int, wanted: int | None) -> str:
    times = f"more than {many(now, 'time')}" if wanted is None else f"{wanted:,} times instead of {now:,}"
    return f"Repeat each training for {named(task)} ({times}), then decide."


@says
def next_test_images(task: str, now: int, wanted: int | None) -> str:
    many_more = "" if wanted is None else f" (about {wanted:,} instead of {now:,})"
    return f"Test on more images for {named(task)}{many_more}, then decide."


@says
def next_larger_input(task: str) -> str:
    return f"Let the models for {named(task)} see larger pictures, then decide."


@says
def next_train_longer(task: str) -> str:
    return f"Train longer for {named(task)}, then decide."


@says
def next_labels(task: str, now: int, wanted: int | None, pilot: bool) -> str:
    up_to = "" if wanted is None else f": {wanted:,} instead of {now:,}"
    checked = ". Until then a person checks every answer" if pilot else ""
    return f"Label more images to train on for {named(task)}{up_to}{checked}."


@says
def next_use_none(task: str) -> str:
    return f"Use none of the ways that were tried for {named(task)}: keep the present one."


@says
def next_finish(task: str) -> str:
    return f"Let the study for {named(task)} finish: it has no answer yet."


# ---- how sure ---------------------------------------------------------------------------------------------------


@says
def sure_of_use(level: str, probability: float, ways: int, left: str | None) -> str:
    among = "" if ways < 2 else f" among the {ways} ways compared"
    also = "" if left is None else f" {title(left)} may be right too, so it is not high."
    return f"Confidence {LEVELS[level]}: this is the right choice{among} with a chance of {in_ten(probability)}.{also}"


@says
def sure_of_reaching(level: str, probability: float, bar: float) -> str:
    return (
        f"Confidence {LEVELS[level]}: the model that will run reaches {per_cent(bar, 0)} with a chance of "
        f"{in_ten(probability)}."
    )


@says
def sure_of_none(level: str, probability: float) -> str:
    return f"Confidence {LEVELS[level]}: none of the ways is good enough, with a chance of {in_ten(probability)}."


@says
def sure_of_nothing(seeds: int, fewest: int, seconds: float | None) -> str:
    stand = "One training stands" if seeds == 1 else f"Only {seeds} trainings stand"
    settings = ", ".join(str(seed) for seed in range(fewest))
    time = "" if seconds is None else f" (about {duration(seconds)} more)"
    return (
        f"This is a quick look and gives no probability. {stand} behind each figure, too few to tell merit from luck. "
        f"An answer needs seeds: [{settings}] in the YAML file, and time for them{time}. "
        "Then run the same command again."
    )


@says
def sure_so_far(method: str, probability: float) -> str:
    return (
        f"Not decided yet. So far {in_prose(method)} leads: it is the right choice with a chance of "
        f"{in_ten(probability)}."
    )


@says
def sure_of_missing(probability: float, bar: float) -> str:
    return (
        f"Not decided yet: so far the model that will run reaches {per_cent(bar, 0)} with a chance of "
        f"{in_ten(probability)}."
    )


@says
def none_keeps_limits_yet() -> str:
    return "Not decided yet: no way is shown to keep the limits that were set."


@says
def none_leads_yet() -> str:
    return "Not decided yet: so far no way is clearly better than guessing."


@says
def not_finished_yet(lacking: list[str]) -> str:
    if not lacking:
        return "Not known: the ways have no repetition in common yet. The same command goes on from here."
    have = "has" if len(lacking) == 1 else "have"
    names = listed(map(title, lacking))
    return f"Not known: {names} {have} no finished run yet. The same command, with more time, goes on from here."


# ---- against today ----------------------------------------------------------------------------------------------


@says
def right_in_test(method: str, accuracy: float, low: float, high: float, n: int) -> str:
    return (
        f"{title(method)} is right on {per_cent(accuracy)} ({decimals(100 * low, 1)} to {per_cent(high)}) with {n:,} "
        "labelled images."
    )


@says
def against_today(today: float, chance: float | None) -> str:
    if chance is None:
        return f"Today: {per_cent(today, 0)}."
    return (
        f"Today {per_cent(today, 0)} are right. The model that will run is as good or better with {share(chance)} "
        "probability."
    )


@says
def against_needed(needed: float, chance: float | None) -> str:
    if chance is None:
        return f"Needed: {per_cent(needed, 0)}."
    return f"Needed: {per_cent(needed, 0)}. The model that will run reaches that with {share(chance)} probability."


@says
def limit_on_page(kind: str, names: list[str], limit: float, value: float | None, verdict: str, group: str) -> str:
    rates = {
        "miss_rate": "Misses of {classes}",
        "false_alarm_rate": "False alarms for {classes}",
        "recall": "{classes} recognised",
        "precision": "Answers {classes} that are right",
        "accuracy": "Right answers",
    }
    classes = ", ".join(named(name) for name in names[:2]) + (" and others" if len(names) > 2 else "")
    lower = kind in ("miss_rate", "false_alarm_rate")
    asked = f"at {'most' if lower else 'least'} {100 * limit:.4g}\u202f% {'is allowed' if lower else 'is asked for'}"
    measured = "no test image" if value is None else per_cent(value)
    said = {"met": "kept", "not_met": "broken", "undecided": "not shown yet"}[verdict]
    lot = f" in lot {named(group)}" if group else ""
    return f"{rates[kind].format(classes=classes)}{lot}: {measured}, {asked}: {said}."


@says
def further_limits(limits: int, not_kept: int) -> str:
    return f"{many(limits, 'further limit')}, {not_kept} not shown to be kept: see below."


@says
def nothing_to_compare_with(lacking: list[str]) -> str:
    names = [_SETTINGS.get(name, name) for name in lacking]
    return f"To have it judged here, give {listed(names)} in the YAML file."


# ---- cost -------------------------------------------------------------------------------------------------------


@says
def step_takes_time(seconds: float) -> str:
    return f"The next step takes about {duration(seconds)} of computing, and no labels."


@says
def step_takes_images(images: int, price: float | None, training: bool) -> str:
    cost = "" if price is None else f", about {money(price)}"
    kind = "labelled images to train on" if training else "labelled test images"
    return f"The next step takes {images:,} further {kind}{cost}."


@says
def costs_in_money(tasks: float, assumed: int, unit: str) -> str:
    guessed = f" {many(assumed, 'figure')} behind it {'is' if assumed == 1 else 'are'} assumed." if assumed else ""
    return f"For {many(f'{tasks:,.0f}', 'task')}, in {currency(unit)}; ranges hold 95\u202f%.{guessed}"


@says
def costs_without_prices() -> str:
    return "For sums of money give label_price (and, if known, tasks_planned and engineer_day_price) in the YAML file."


@says
def costs_of_none() -> str:
    return "No way is advised, so none has a price."


# ---- decide again -----------------------------------------------------------------------------------------------


@says
def decide_again_when(n: int | None, why: str, wait: bool) -> str:
    if why == "change":
        return "Decide again after a change of the images, the question, or the shared model."
    if wait or n is None:
        return "Decide again as soon as the next step is done."
    reason = {
        "decide_again_by_record": "there another answer is likelier than now, by past cases",
        "decide_again_past_record": "up to there the answer is likelier the same, by past cases",
    }.get(why, "a convention, without a forecast behind it")
    return f"Decide again at {n:,} labelled images ({reason})."


@says
def who_decides() -> str:
    return "The approver below decides; the engineer who runs vpt report brings the new report."


# ---- figure -----------------------------------------------------------------------------------------------------


@says
def curve_says(
    method: str, accuracy: float, n: int, best: str, best_accuracy: float, needed: float | None, today: float | None,
    pixels: int | None, sizes: int,
) -> str:  # fmt: skip
    if best == method:
        first = f"With {n:,} labelled images {in_prose(method)} is the most accurate: {per_cent(accuracy)}."
    else:
        first = (
            f"With {n:,} labelled images {in_prose(method)} has {per_cent(accuracy)}, the most accurate way "
            f"({in_prose(best)}) {per_cent(best_accuracy)}."
        )
    marks = [
        f"{'above' if accuracy >= mark else 'below'} the {per_cent(mark, 0)} {name}"
        for name, mark in (("needed", needed), ("of today", today))
        if mark is not None
    ]
    lines = f" {title(method)} is {listed(marks)}." if marks else ""
    seen = "" if pixels is None else f" The models see {pixels} × {pixels} pixels."
    rest = " Bars: 95\u202f% intervals." if sizes == 1 else " Bands: 95\u202f% intervals."
    return f"{first}{lines}{seen}{rest}"


# ---- several tasks ----------------------------------------------------------------------------------------------


@says
def tasks_agree(tasks: int, step: str, method: str | None, wrong: float | None) -> str:
    all_of_them = "both" if tasks == 2 else f"all {tasks}"
    return f"The next step is the same for {all_of_them} tasks: {_step(step, method)}.{_expected_wrong(wrong)}"


@says
def tasks_differ(tasks: int, steps: list[dict], wrong: float | None) -> str:
    each = "; ".join(f"{_step(one['step'], one['method'])} for {_titles(one['titles'])}" for one in steps)
    return f"The next step differs between the {tasks} tasks: {each}.{_expected_wrong(wrong)}"


def _step(step: str, method: str | None) -> str:
    return step_in_short(step, method)[0].lower() + step_in_short(step, method)[1:]


def step_in_short(step: str, method: str | None) -> str:
    """A next step in a table, by its code: "Use a light add-on to one shared model (VPT-deep)"."""
    if step in ("next_use", "next_operate", "next_pilot"):
        verb = {"next_use": "Use", "next_operate": "Operate with", "next_pilot": "Pilot with"}[step]
        return f"{verb} {way(str(method))}"
    return {
        "next_seeds": "Repeat each training, then decide",
        "next_test_images": "Test on more images, then decide",
        "next_larger_input": "Take larger pictures, then decide",
        "next_train_longer": "Train longer, then decide",
        "next_labels": "Label more images to train on",
        "next_use_none": "Use none of the ways tried",
        "next_finish": "Let the study finish",
    }[step]


def _titles(titles: list[str]) -> str:
    few = [named(one) for one in titles[:_MOST_TITLES]]
    return listed([*few, f"{len(titles) - _MOST_TITLES} more"] if len(titles) > _MOST_TITLES else few)


def _expected_wrong(wrong: float | None) -> str:
    if wrong is None:
        return ""
    return (
        f" Of the tasks with an answer, about {plain(round(100 * wrong, 1))}\u202f% are expected to have a wrong one."
    )
