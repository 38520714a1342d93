"""Sentences on the plan in stages (`vptlib.evidence.stages`)."""

from vptlib.evidence.contest import HIGH
from vptlib.report.words.en.base import says, share
from vptlib.report.words.en.choices import CHOICES
from vptlib.report.words.en.money import money
from vptlib.report.words.en.recommendations import the_method
from vptlib.wording import many, per_cent, storage

# ---- the plan in stages (vptlib.evidence.stages) ------------------------------------------------------------------


@says
def operate(method: str, chance: float, needed: float) -> str:
    return f"Operate with {the_method(method)}: {_one_training(chance, needed)}."


@says
def operate_unasked(method: str) -> str:
    return (
        f"Operate with {the_method(method)}. No accuracy was asked for (accuracy_needed), so whether it is "
        f"good enough is "
        "not judged."
    )


@says
def pilot(method: str, chance: float, needed: float) -> str:
    return (
        f"Pilot with {the_method(method)}: {_one_training(chance, needed)}, which is not enough to operate. A "
        f"person checks "
        "each answer that is used."
    )


@says
def label_more(chance: float | None, needed: float | None) -> str:
    return f"Label more images to train on before anything is used.{_so_far(chance, needed)}"


@says
def study_more(choice: str, chance: float | None, needed: float | None) -> str:
    return f"Finish the study before anything is used ({CHOICES[choice]}).{_so_far(chance, needed)}"


def _so_far(chance: float | None, needed: float | None) -> str:
    return "" if chance is None or needed is None else f" So far {_one_training(chance, needed)}."


def _one_training(chance: float, needed: float) -> str:
    near_the_mark = abs(chance - HIGH) < 0.01  # where a rounded figure would hide which side it is on
    return f"one training reaches {per_cent(needed, 0)} with a chance of {share(chance, int(near_the_mark))}"


@says
def out_of_sight(needed: float | None) -> str:
    return "Use none of them" + ("." if needed is None else f": {per_cent(needed, 0)} is out of sight.")


@says
def tried(n: int, images: int, finished: bool, prompt_bytes: float | None) -> str:
    trial = "This study was the trial" if finished else "This study is the trial, and it is not finished"
    light = "" if prompt_bytes is None else f" Prompts are cheap to take back: a task stores {storage(prompt_bytes)}."
    return f"{trial}: up to {n:,} labelled images to train and {images:,} to test.{light}"


@says
def buy_labels(labels: int, price: float | None) -> str:
    cost = "" if price is None else f", for about {money(price)}"
    return f"{labels:,} further labelled images to train on{cost}."


@says
def collect(checks: float, labels: int, months: int, given: bool) -> str:
    known = "" if given else " (assumed)"
    return (
        f"Keep the answers that a person checks, {checks:,.0f} a month{known}: after {many(months, 'month')} they are "
        f"the {labels:,} further labels."
    )


@says
def again_when_finished() -> str:
    return "Decide again as soon as the study is finished."


@says
def again_with_another_backbone() -> str:
    return "Decide again after a change of the backbone, the images or the task."
