"""What one answer is worth: the class, how sure the model is, and whether a person should look at the image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vptlib.data.grey import Range
from vptlib.operations.new_images import EIGHT_BITS, OTHER_GREYS


class Judging(Protocol):
    """What a `vptlib.operations.artefact.Card` says about judging answers."""

    @property
    def class_names(self) -> Sequence[str]: ...
    @property
    def ask(self) -> dict[str, Any] | None: ...
    @property
    def grey(self) -> tuple[float, float] | None: ...


@dataclass(frozen=True)
class Judged:
    """One answer.

    Attributes:
        answer: name of the class.
        probability: of that class.
        ask_a_person: "yes" or "no"; "unknown" where the probability that is enough is not known.
        problem: why the answer is doubtful, or "".
    """

    answer: str
    probability: float
    ask_a_person: str
    problem: str


def judged(card: Judging, probabilities: np.ndarray, doubt: str) -> Judged:
    """The judgement of one answer.

    Args:
        probabilities: of all classes, float32 `C`.
        doubt: as in `vptlib.operations.new_images.Seen`.
    """
    best = int(probabilities.argmax())
    probability, enough, problem = float(probabilities[best]), threshold_of(card), _doubtful(card, doubt)
    if problem:
        ask = "yes"
    elif enough is None:
        ask = "unknown"
    else:
        ask = "no" if probability >= enough else "yes"
    return Judged(card.class_names[best], probability, ask, problem)


def threshold_of(card: Judging) -> float | None:
    """The probability from which the model answers by itself; None if it is not known."""
    value = (card.ask or {}).get("threshold")
    return float(value) if value is not None and math.isfinite(value) else None


def grey_of(card: Judging) -> Range | None:
    """The values that became black and white in the training; None if its images had 8 bits."""
    return None if card.grey is None else (float(card.grey[0]), float(card.grey[1]))


def _doubtful(card: Judging, doubt: str) -> str:
    low, high = grey_of(card) or (0, 0)
    return {
        "": "",
        EIGHT_BITS: f"8 bits a value: the model was trained on more, from {low:g} (black) to {high:g} (white)",
        OTHER_GREYS: f"its values do not fit those of the training images, {low:g} (black) to {high:g} (white)",
    }[doubt]
