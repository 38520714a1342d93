"""What a recommendation is: its codes, what the reader asks for, and what the answer holds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from vptlib.errors import UserError
from vptlib.evidence.contest import Candidate
from vptlib.statement import Statement

PROMPT, FULL, LINEAR = "vpt-deep", "full", "linear"
MORE_SEEDS, MORE_TEST_IMAGES, LARGER_INPUT, TRAIN_LONGER, MORE_LABELS, NOTHING_WORKS, NO_ANSWER = STEPS = (
    "more_seeds",
    "more_test_images",
    "larger_input",
    "train_longer",
    "more_labels",
    "nothing_works",
    "no_answer",
)
# The steps that enlarge the study → what they ask for.
ASKED_FOR = {MORE_SEEDS: "seeds", MORE_TEST_IMAGES: "test_images"}
FEWEST_SEEDS = 3  # fewer are a quick look, which advises nothing
_USE = {LINEAR: "use_linear", PROMPT: "use_prompt", FULL: "fine_tune"}


def use_code(method: str) -> str:
    """The choice that stands for using a method: "use_linear", "use_prompt", "fine_tune", "use_vpt_shallow", ..."""
    return _USE.get(method, f"use_{method.replace('-', '_')}")


@dataclass(frozen=True)
class Aims:
    """What the reader asks of a method, beyond what the runs say.

    Attributes:
        margin: the smallest difference in accuracy that matters, a fraction: 0.01 is one percentage point.
        chance: accuracy of always naming the commonest class, a fraction; None if it is not known.
        today: accuracy of the present way of working, a fraction; None if there is none.
        needed: accuracy that the work needs, a fraction; None if none was given.
        handicaps: method → accuracy (a fraction) that its cost above the cheapest is worth; None leaves it to the
            margin.
        costs_of_more: "seeds" and "test_images" → accuracy (a fraction) that the price of one more is worth; None
            leaves it to the margin.

    Raises:
        UserError: a number out of its range.
    """

    margin: float = 0.01
    chance: float | None = None
    today: float | None = None
    needed: float | None = None
    handicaps: Mapping[str, float] | None = None
    costs_of_more: Mapping[str, float] | None = None

    def __post_init__(self):
        if not 0 < self.margin < 1:
            raise UserError(f"margin is {self.margin}, but must be between 0 and 1: 0.01 is one percentage point.")
        for name in ("chance", "today", "needed"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UserError(f"{name} is {value}, but must be a fraction from 0 to 1: 0.9 is 90 per cent.")

    @property
    def bar(self) -> float | None:
        """The accuracy to reach: what is needed, or what the present way has if that is more."""
        given = [value for value in (self.needed, self.today) if value is not None]
        return max(given) if given else None


@dataclass(frozen=True)
class Recommendation:
    """What to do, how sure that is, and why.

    Attributes:
        choice: `use_code` of a method, or one of `STEPS`.
        method: the method to use; for a step that asks for more, the one that leads so far; None where none is better
            than guessing, or good enough.
        confidence: "low", "medium" or "high"; "low" for every step that asks for more.
        probability: of the method being right; of the claim, where nothing works; NaN where neither is said.
        reasons: the findings with their numbers; `vptlib.report.words` makes sentences of them. The first says what was
            seen, the second why that leads to the choice, the third how sure it is.
        would_change: what would change the choice; None for "no_answer".
        decide_again_at: the number of labelled images at which to run the study again; None where more labels would
            change nothing.
        decide_again_why: where that number comes from.
        n, seeds, images: the size that was judged, its common seeds and its test images.
        difference, low, high: VPT-deep less full fine-tuning there, with its 95 % interval; NaN for "no_answer".
        candidates: all methods that were judged, the lightest first.
        settles: the smallest true difference that a study like this tells apart in four of five cases, a fraction; NaN
            for "no_answer" and for a quick look.
    """

    choice: str
    method: str | None
    confidence: str
    probability: float
    reasons: list[Statement]
    would_change: Statement | None
    decide_again_at: int | None
    decide_again_why: Statement | None
    n: int
    seeds: int
    images: int
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    candidates: dict[str, Candidate] = field(default_factory=dict)
    settles: float = math.nan

    @property
    def uses(self) -> bool:
        """Whether the choice is to use a method now."""
        return self.choice not in STEPS

    @property
    def expected_loss(self) -> dict[str, float]:
        """Method → accuracy (a fraction) that choosing it now loses on average."""
        return {name: candidate.expected_loss for name, candidate in self.candidates.items()}
