"""What a method gets wrong: which classes, which of them for which, in which groups, and on which images.

All are pure functions of `vptlib.evidence.answers.Answers`. Where the worst of many classes or groups is named, its
interval is corrected for having looked at all of them (Bonferroni).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vptlib.evidence.answers import Answers, Rate
from vptlib.evidence.resampling import LEVEL
from vptlib.statement import Statement, statement

# Smaller groups are left out of the search for the worst: one wrong image would decide it.
LEAST_IN_GROUP = 10


@dataclass(frozen=True)
class ClassRates:
    """How one class is recognised.

    Attributes:
        name: of the class.
        recall: share of its images that are called so.
        precision: share of the images called so that are of it.
        taken_for: the other class that its images are most often called, or "" if none is.
    """

    name: str
    recall: Rate
    precision: Rate
    taken_for: str


def class_rates(answers: Answers, level: float = LEVEL) -> list[ClassRates]:
    """Recall and precision of every class, in the order of the classes."""
    counts = confusion(answers)
    found = []
    for number, name in enumerate(answers.class_names):
        of_class, called = answers.truth == number, answers.predictions == number  # I, S I
        others = np.delete(counts[number], number)
        rest = [other for other in answers.class_names if other != name]
        taken_for = rest[int(others.argmax())] if others.any() else ""
        recall, precision = answers.rate(called, of_class, level), answers.rate(of_class, called, level)
        found.append(ClassRates(name, recall, precision, taken_for))
    return found


def confusion(answers: Answers) -> np.ndarray:
    """How many images of class r are called class c, `C C`: the sum over all trainings."""
    classes = len(answers.class_names)
    pairs = answers.truth * classes + answers.predictions  # S I
    return np.bincount(pairs.ravel(), minlength=classes**2).reshape(classes, classes)


def confused_pairs(answers: Answers, most: int = 15) -> pd.DataFrame:
    """The commonest mistakes.

    Returns:
        Columns truth, prediction (names), images (of one training, on average), share (of the images of the class).
        The commonest comes first.
    """
    counts = confusion(answers)
    of_class = counts.sum(axis=1)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    rows = [
        {
            "truth": answers.class_names[r],
            "prediction": answers.class_names[c],
            "images": wrong[r, c] / answers.trainings,
            "share": wrong[r, c] / of_class[r],
        }
        for r, c in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[r, c]
    ]
    return pd.DataFrame(rows, columns=["truth", "prediction", "images", "share"])


def about_classes(answers: Answers) -> list[Statement]:
    """The class that is recognised worst; the classes that no test image has; how the intervals were made."""
    there = np.bincount(answers.truth, minlength=len(answers.class_names)) > 0
    found = []
    if there.sum() > 1:
        found.append(_worst_class(answers, there))
    if not there.all():
        absent = [name for name, here in zip(answers.class_names, there, strict=True) if not here]
        found.append(statement("classes_not_tested", names=absent[:10], classes=len(absent)))
    grouped = answers.group_numbers is not None
    return [*found, statement("interval_of_rates", trainings=answers.trainings, grouped=grouped)]


def _worst_class(answers: Answers, there: np.ndarray) -> Statement:
    images = np.bincount(answers.truth, minlength=len(there))
    recalls = np.bincount(answers.truth, answers.right.mean(axis=0), len(there)) / np.maximum(images, 1)
    number = int(np.where(there, recalls, np.inf).argmin())
    level = 1 - (1 - LEVEL) / int(there.sum())
    worst = answers.rate(answers.right, answers.truth == number, level)
    return statement(
        "worst_class",
        name=answers.class_names[number],
        recall=worst.value,
        low=worst.low,
        high=worst.high,
        images=worst.images,
        classes=int(there.sum()),
    )


# ---- groups -----------------------------------------------------------------------------------------------------


def about_groups(answers: Answers) -> list[Statement]:
    """The group with the lowest accuracy, and whether it is clearly below all images together. Nothing without groups.

    A group is taken as it is, such as a site that will go on sending images; its images are drawn.
    """
    if answers.groups is None:
        return []
    numbers, sizes = np.unique(answers.groups, return_counts=True)
    large = numbers[sizes >= LEAST_IN_GROUP]
    if len(large) < 2:
        return [statement("groups_too_small", groups=len(numbers), least=LEAST_IN_GROUP)]
    level = 1 - (1 - LEVEL) / len(large)
    within = Answers(answers.predictions, answers.truth, answers.class_names)
    rates = {int(number): within.rate(answers.right, answers.groups == number, level) for number in large}
    worst = min(rates, key=lambda number: rates[number].value)
    rate, overall = rates[worst], float(answers.right.mean())
    return [
        statement(
            "worst_group",
            group=answers.group_names[worst] if worst < len(answers.group_names) else str(worst),
            accuracy=rate.value,
            low=rate.low,
            high=rate.high,
            images=rate.images,
            groups=len(large),
            overall=overall,
            clear=rate.high < overall,
        )
    ]


# ---- images -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WrongImages:
    """Images that the first training gets wrong.

    Attributes:
        wrong: how many there are.
        surest: positions of those with the most confident mistakes, the most confident first; empty if the training
            has no probabilities.
        at_random: positions of others, drawn at random.
    """

    wrong: int
    surest: tuple[int, ...]
    at_random: tuple[int, ...]


def wrong_images(answers: Answers, most: int = 6, seed: int = 0) -> WrongImages:
    """Which wrong images to show: `most` of the most confident mistakes, and as many of the others at random."""
    wrong = np.flatnonzero(~answers.right[0])
    surest: list[int] = []
    probabilities = None if answers.probabilities is None else answers.probabilities[0]
    if probabilities is not None and np.isfinite(probabilities).all():
        sure = probabilities[wrong, answers.predictions[0, wrong]]
        surest = wrong[np.argsort(-sure, kind="stable")[:most]].tolist()
    rest = np.setdiff1d(wrong, surest)
    drawn = np.random.default_rng(seed).permutation(rest)[:most]
    return WrongImages(len(wrong), tuple(surest), tuple(sorted(drawn.tolist())))
