"""What is another in one version of a prompt than in another one: its card, its rates, its answers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from vptlib.evidence.answers import Answers
from vptlib.operations.artefact import Artefact, Card
from vptlib.operations.standing import Version
from vptlib.statement import Statement, statement


@dataclass(frozen=True)
class ClassChange:
    """Recall and precision of a class in the first and in the second version; NaN where there is no case."""

    name: str
    recall: tuple[float, float]
    precision: tuple[float, float]


@dataclass(frozen=True)
class Flipped:
    """Two versions on the same test images.

    Attributes:
        images: indices of the test images whose answer is another.
        gained: how many only the second version has right.
        lost: how many only the first version has right.
        p_value: of the exact test that both are right equally often, two-sided (McNemar, Psychometrika 12, 1947). It
            counts test images as drawn one by one.
    """

    images: tuple[int, ...]
    gained: int
    lost: int
    p_value: float


@dataclass(frozen=True)
class Diff:
    """What is another in the second of two versions.

    Attributes:
        first, second: the versions.
        changed: of "method", "recipe", "data", "backbone", "preprocessing", "classes" and "limits", what is another:
            name → its value in the first and in the second; None where there is none.
        accuracy: of both, each on its own test images.
        classes: of the classes that both have.
        flipped: None where the test images are not the same, and answers cannot be compared one by one.
    """

    first: Version
    second: Version
    changed: dict[str, dict[str, tuple[Any, Any]]]
    accuracy: tuple[float, float]
    classes: tuple[ClassChange, ...]
    flipped: Flipped | None

    def finding(self) -> Statement:
        """The sentence about the answers."""
        about = {"first": self.first.ref, "second": self.second.ref}
        if self.flipped is None:
            return statement("versions_not_compared", **about)
        found = self.flipped
        about |= {"flipped": len(found.images), "gained": found.gained, "lost": found.lost, "p_value": found.p_value}
        return statement("versions_compared", **about)


def difference(first: tuple[Version, Artefact], second: tuple[Version, Artefact]) -> Diff:
    """What is another in the second of two versions, each with its file."""
    cards, answers = (first[1].card, second[1].card), (first[1].answers, second[1].answers)
    return Diff(
        first[0],
        second[0],
        _changed(*map(_sections, cards)),
        (float(answers[0].right.mean()), float(answers[1].right.mean())),
        _classes(*answers),
        _flipped(*answers) if _are_the_same_images(*cards, *answers) else None,
    )


def _sections(card: Card) -> dict[str, Mapping[str, Any]]:
    return {
        "method": {"name": card.method, **card.options},
        "recipe": card.recipe,
        "data": card.data,
        "backbone": asdict(card.backbone),
        "preprocessing": asdict(card.preprocessing) | {"grey": card.grey},
        "classes": {"names": list(card.class_names)},
        "limits": card.limits,
    }


def _changed(first: dict[str, Mapping], second: dict[str, Mapping]) -> dict[str, dict[str, tuple[Any, Any]]]:
    found = {}
    for section in first:
        a, b = first[section] or {}, second[section] or {}
        own = {name: (a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)}
        if own:
            found[section] = own
    return found


def _classes(first: Answers, second: Answers) -> tuple[ClassChange, ...]:
    both = [name for name in first.class_names if name in second.class_names]
    a, b = _rates(first), _rates(second)
    return tuple(ClassChange(name, (a[name][0], b[name][0]), (a[name][1], b[name][1])) for name in both)


def _rates(answers: Answers) -> dict[str, tuple[float, float]]:
    """Recall and precision of each class."""
    found = {}
    for number, name in enumerate(answers.class_names):
        called, is_one = answers.predictions == number, answers.truth == number  # S I, I
        hits = int((called & is_one).sum())
        cases = int(is_one.sum()) * answers.trainings
        found[name] = _share(hits, cases), _share(hits, int(called.sum()))
    return found


def _share(hits: int, cases: int) -> float:
    return hits / cases if cases else float("nan")


def _are_the_same_images(first: Card, second: Card, a: Answers, b: Answers) -> bool:
    """Whether answers can be compared one by one: the same data, the same test images, the same classes."""
    if not first.data.get("fingerprint") or a.class_names != b.class_names:
        return False
    same = all(first.data.get(name) == second.data.get(name) for name in ("fingerprint", "test_images"))
    return same and np.array_equal(a.truth, b.truth)


def _flipped(first: Answers, second: Answers) -> Flipped:
    a, b = first.predictions[0], second.predictions[0]
    gained = int((second.right[0] & ~first.right[0]).sum())
    lost = int((first.right[0] & ~second.right[0]).sum())
    p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return Flipped(tuple(int(k) for k in np.flatnonzero(a != b)), gained, lost, p_value)
