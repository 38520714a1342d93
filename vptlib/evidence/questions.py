"""The rule: questions in a fixed order. The first one that is not settled gives the next step.

    1  Have at least three seeds been run?                      no   more_seeds (a quick look advises nothing), unless
                                                                     they show that 3 is settled
    2  Was training long enough, the input large enough?        no   train_longer, larger_input
    3  Does anything beat always naming the commonest class     no   nothing_works; more_labels with fewer than ten
       by an amount that is of use?                                  images a class; more_seeds or more_test_images
                                                                     where it is open, whichever leaves more open
    4  Does one training of anything reach the accuracy that    no   more_labels where they may help, more_seeds
       is needed, and that of the present way of working?            or more_test_images where it is open, nothing_works
       Does anything keep the limits that were set beforehand?  no   more_test_images or more_seeds where it is open,
                                                                     whichever can show it, else the same
    5  Of those: which is the lightest method within the margin of the best (`vptlib.evidence.contest`)?
                                               asking for more pays  more_seeds, more_test_images
                                               else                  use_<method>

Asking for more pays if a larger study would save a quarter of the margin on average, by the better choice that it
would lead to; where prices are known, if it would save more than it costs. It is as large as the margin asks for, but
of a size that people run: `MOST_SEEDS` seeds or `MOST_TIMES_IMAGES` times the test images at most. Nothing is asked for
where the choice is right with a probability of 0.95 or more.

The probability is that of the method being right: the share of the resampled studies in which it is the lightest
within the margin of the best. Where an accuracy is needed, it is the share in which one training reaches it. From 0.95
on the confidence is high, from 0.80 on medium, otherwise low. It is medium at most if the audit of the runs found
something about a contender, if the interval may not hold, or if the printed 95 % interval of a difference leaves
another method right. A choice that asks for more always has low confidence: that of the method which leads so far. So
no sentence can say more than the headline.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from vptlib.evidence.answers import answers_of
from vptlib.evidence.audit import AuditFinding
from vptlib.evidence.contest import HIGH, LEVELS, MEDIUM, Candidate, Contest, level_of
from vptlib.evidence.costs import seconds_of_a_seed
from vptlib.evidence.forecast import forecast
from vptlib.evidence.limits import MET, NOT_MET, Limit, Tested, limits_tested
from vptlib.evidence.power import images_needed, seeds_needed, smallest_difference
from vptlib.evidence.reasons import Reasons
from vptlib.evidence.recommendation import (
    ASKED_FOR,
    FEWEST_SEEDS,
    FULL,
    LARGER_INPUT,
    MORE_LABELS,
    MORE_SEEDS,
    MORE_TEST_IMAGES,
    NOTHING_WORKS,
    PROMPT,
    STEPS,
    TRAIN_LONGER,
    Aims,
    Recommendation,
    use_code,
)
from vptlib.evidence.resampling import REPLICATES, Joint, Resampled, accuracies, differences, joint
from vptlib.evidence.shrinkage import shrunk
from vptlib.evidence.track_record import record_of
from vptlib.statement import Statement, statement

# More than this is not asked for, because few people would run it.
MOST_SEEDS, MOST_TIMES_IMAGES = 10, 4
# What is asked for must save this share of the margin on average.
LEAST_WORTH = 0.25
# A gain over always naming the commonest class that would be of use, as a share of the way from there to no error.
USEFUL = 0.1
FEW_PER_CLASS = 10
# Within this distance in accuracy, a method whose training was cut short, or any method, may still be the right one.
IN_REACH = 0.05
# The curve of a method counts as rising from this probability on.
RISING = 0.9
# A caveat that leaves the answer for these images as it is.
_ABOUT_OTHER_IMAGES = "pool_used_up"
# Audit findings about a contender that lower the confidence.
_DOUBTS = ("best_at_last_step", "choice_at_edge", "seeds_diverge", "accuracy_falls", "collapsed")


class Questions:
    """The questions, put to one task's runs.

    Args:
        runs: one task's table, with VPT-deep and full fine-tuning.
        aims: what the reader asks.
        findings: of the audit of these runs.
        larger_input: a finding that a larger input was clearly better, or None.
        backbone: its name, for the forecast.
        limits: rates that were fixed before the test; a method that does not keep them is not used.
        class_names: of the task, in the order of its labels; needed for limits.
        group_names: of the groups of test images, in the order of their numbers, as far as they have names.

    Raises:
        UserError: one of the two methods is missing, or the table cannot be used.
    """

    def __init__(
        self,
        runs: pd.DataFrame,
        aims: Aims,
        findings: Sequence[AuditFinding] = (),
        larger_input: Statement | None = None,
        backbone: str = "",
        limits: Sequence[Limit] = (),
        class_names: Sequence[str] = (),
        group_names: Sequence[str] = (),
    ):
        self._two = differences(runs, PROMPT, FULL)  # says which of the two is missing
        self.n = int(self._two.n[-1])
        self.found: Joint = joint(runs, self.n)
        self.runs, self.aims, self._larger_input, self._backbone = runs, aims, larger_input, backbone
        self.contest = Contest(runs, self.found, aims.margin, aims.handicaps)
        self._at_n = self.contest.at_n
        names = class_names, group_names
        self._tested = {m: self._held_to(limits, m, *names) for m in self.contest.methods} if limits else {}
        keeping = [m for m, tested in self._tested.items() if all(t.verdict == MET for t in tested)]
        self._permitted = self._among(keeping) if keeping else self.contest
        about = [f for f in findings if f.n == self.n and f.method in self.contest.methods]
        self._findings = [f for f in about if not f.what.values.get("solved")]  # the edge of a solver's path is no edge

    def answer(self) -> Recommendation:
        """The recommendation."""
        questions = (
            self._enough_seeds,
            self._long_enough,
            self._large_enough,
            self._beats_chance,
            self._within_limits,
            self._good_enough,
            self._which,
        )
        return next(found for question in questions if (found := question()) is not None)

    # ---- the questions, in their order ----

    def _enough_seeds(self) -> Recommendation | None:
        if self._is_quick and not self._is_settled_as_useless:
            seconds = (FEWEST_SEEDS - self._seeds) * seconds_of_a_seed(self.runs)
            why = statement("quick_look", seeds=self._seeds, fewest=FEWEST_SEEDS, seconds=seconds)
            return self._step(MORE_SEEDS, why)
        return None

    def _long_enough(self) -> Recommendation | None:
        cut = [f.method for f in self._findings if f.what.code == "best_at_last_step" and self._can_overtake(f.method)]
        return self._step(TRAIN_LONGER, statement("cut_short", methods=_once(cut))) if cut else None

    def _large_enough(self) -> Recommendation | None:
        return None if self._larger_input is None else self._step(LARGER_INPUT, self._larger_input)

    def _beats_chance(self) -> Recommendation | None:
        if not self._no_use:
            return None
        best = self.contest.best
        seen = {"method": best.method, "accuracy": best.accuracy, "low": best.low, "high": best.high}
        seen["chance"] = self._chance
        why = statement("at_chance", **seen) if self._at_chance else statement("little_above_chance", **seen)
        if self._per_class < FEW_PER_CLASS:
            return self._step(MORE_LABELS, why)
        if self._is_settled_as_useless:
            return self._nothing_works(why, self._hopeless)
        return self._step(self._larger_share(accuracies(self._at_n, best.method)), why)

    def _within_limits(self) -> Recommendation | None:
        if not self._tested or self._permitted is not self.contest:
            return None
        accuracy = {method: candidate.accuracy for method, candidate in self.contest.candidates.items()}
        still_open = [m for m, tested in self._tested.items() if all(t.verdict != NOT_MET for t in tested)]
        method = max(still_open or accuracy, key=lambda one: accuracy[one])
        failing = next(t for t in self._tested[method] if t.verdict != MET)
        why = statement("limits_not_kept", method=method, finding=failing.finding())
        if still_open:
            only_seeds = failing.needed is None and failing.limit.is_kept_by(failing.rate.value)
            return self._step(MORE_SEEDS if only_seeds else MORE_TEST_IMAGES, why, leads=method)
        if self._labels_may_help(method, gap=1.0):  # by a clear rise alone: the gap is not one of accuracy
            return self._step(MORE_LABELS, why, leads=method)
        return self._nothing_works(why, HIGH)

    def _good_enough(self) -> Recommendation | None:
        bar = self.aims.bar
        if bar is None:
            return None
        reach = {m: chance for m, chance in self._reach(bar).items() if m in self._permitted.methods}
        for least in (HIGH, MEDIUM):
            ready = [method for method, chance in reach.items() if chance >= least]
            if ready:
                choice = self._among(ready).choice
                why = statement(
                    "reaches", method=choice.method, bar=bar, chance=reach[choice.method], of_today=self._of_today
                )
                return self._use(choice, reach[choice.method], why)
        return self._not_good_enough(bar, max(reach, key=lambda method: reach[method]), reach)

    def _not_good_enough(self, bar: float, method: str, reach: dict[str, float]) -> Recommendation:
        mean = float((self._rows(method) >= bar).mean())
        best = self.contest.candidates[method]
        why = statement(
            "not_reached", method=method, bar=bar, accuracy=best.accuracy, chance=reach[method], mean=mean,
            of_today=self._of_today,
        )  # fmt: skip
        if self._labels_may_help(method, bar - best.accuracy):
            return self._step(MORE_LABELS, why, leads=method)
        if mean < 1 - HIGH:
            return self._nothing_works(why, 1 - mean)
        if mean < HIGH:
            return self._step(self._larger_share(accuracies(self._at_n, method)), why, leads=method)
        return self._use(best, reach[method], why)  # its mean does, but a single training may not

    def _which(self) -> Recommendation:
        choice = self._permitted.choice
        if asked := self._what_pays():
            return self._step(*asked)
        why = self._reasons.why_this_one(choice)
        return self._use(choice, choice.right, why, left=self._left_by_intervals(why))

    def _left_by_intervals(self, why: Statement) -> str | None:
        """A method that the intervals in `why` leave right, or None."""
        margin = self.aims.margin
        for kind, least in (("lighter", margin), ("heavier", -margin)):
            pair = why.values.get(kind)
            if pair and pair["low"] < least:
                return pair["second"]
        return None

    # ---- what the questions need ----

    def _among(self, methods: Sequence[str]) -> Contest:
        """The contest of some of the methods."""
        return Contest(self.runs, self.found, self.aims.margin, self.aims.handicaps, methods)

    def _held_to(
        self, limits: Sequence[Limit], method: str, class_names: Sequence[str], group_names: Sequence[str]
    ) -> list[Tested]:
        return limits_tested(answers_of(self._at_n, method, class_names, group_names=group_names), limits)

    @property
    def _seeds(self) -> int:
        return len(self.found.seeds)

    @property
    def _is_quick(self) -> bool:
        return self._seeds < FEWEST_SEEDS

    @property
    def _of_today(self) -> bool:
        """Whether the accuracy to reach is that of the present way of working."""
        return self.aims.bar == self.aims.today

    @property
    def _chance(self) -> float:
        return self.aims.chance or 0.0

    @cached_property
    def _at_chance(self) -> bool:
        """Whether no method is clearly better than always naming the commonest class."""
        if self.aims.chance is None:
            return False
        return min(self.contest.probability_below(self._chance).values()) > 1 - HIGH

    @cached_property
    def _hopeless(self) -> float:
        """Probability that no method is better than always naming the commonest class by an amount that is of use."""
        return self.contest.probability_best_below(self._chance + USEFUL * (1 - self._chance))

    @cached_property
    def _no_use(self) -> bool:
        """Whether no method is clearly better than that, or surely none by an amount that is of use.

        What is of use is for the reader to say: who gave an accuracy or limits has said it.
        """
        if self.aims.chance is None or self._at_chance:
            return self._at_chance
        return self.aims.bar is None and not self._tested and self._hopeless >= HIGH

    @property
    def _is_settled_as_useless(self) -> bool:
        """Whether further trainings or test images would hardly change that nothing is of use so far."""
        return self._no_use and (self._per_class < FEW_PER_CLASS or self._hopeless >= 0.5)

    @property
    def _per_class(self) -> float:
        """Labelled images for each class; infinite where the classes are not in the table."""
        if "truth" not in self.runs:
            return np.inf
        return self.n / max(1, len(np.unique(self._at_n["truth"].iloc[0])))

    def _rows(self, method: str) -> np.ndarray:
        """Redrawn accuracies of one method, `B`."""
        return self.found.replicates[self.found.methods.index(method)]

    def _reach(self, bar: float) -> dict[str, float]:
        """Method → probability that one training of it reaches the bar."""
        shares = (shrunk(self.found).single >= bar).mean(axis=1)
        return {method: float(share) for method, share in zip(self.found.methods, shares, strict=True)}

    def _can_overtake(self, method: str) -> bool:
        """Whether longer training of a method could change the answer."""
        choice = self.contest.choice
        if self._no_use or (self.aims.bar is not None and max(self._reach(self.aims.bar).values()) < MEDIUM):
            return True
        gap = choice.accuracy - self.contest.candidates[method].accuracy
        return method != choice.method and gap < IN_REACH

    def _labels_may_help(self, method: str, gap: float) -> bool:
        """Whether more labels may close a gap: one size, a curve that rises, or a last step that may be as large.

        Args:
            method: whose curve.
            gap: accuracy that lacks, a fraction.
        """
        found = accuracies(self.runs, method)
        at = int(np.flatnonzero(found.n == self.n)[0])
        if at == 0:
            return True
        gains = found.replicates[at] - found.replicates[at - 1]  # B
        return float((gains > 0).mean()) >= RISING or float((gains >= gap).mean()) > 1 - MEDIUM

    def _what_pays(self) -> tuple[str, Statement] | None:
        """The kind of information to ask for, with its reason, or None where asking does not pay."""
        choice, rival = self._permitted.choice, self._permitted.rival
        if rival is None or choice.right >= HIGH or self._least_gain > choice.expected_loss:
            return None
        why = max(self._larger_studies(choice, rival), key=self._gain_of, default=None)
        return None if why is None or self._gain_of(why) <= 0 else (why.values["step"], why)

    def _larger_studies(self, choice: Candidate, rival: Candidate) -> Iterator[Statement]:
        """What is open between two candidates, and each amount of information that may be asked for to narrow it."""
        margin, seeds, images = self.aims.margin, self._seeds, self.found.images
        each = seconds_of_a_seed(self.runs)
        wanted = seeds_needed(self._at_n, choice.method, rival.method, margin) or MOST_SEEDS
        for amount in self._amounts(seeds, min(MOST_SEEDS, wanted)):
            yield statement(
                "open_between", first=choice.method, second=rival.method, step=MORE_SEEDS, now=seeds, wanted=amount,
                worth=self._permitted.worth_of_more(seeds=amount), seconds=(amount - seeds) * each, groups=None,
            )  # fmt: skip
        wanted = images_needed(self._at_n, choice.method, rival.method, margin) or MOST_TIMES_IMAGES * images
        for amount in self._amounts(images, min(MOST_TIMES_IMAGES * images, wanted)):
            yield statement(
                "open_between", first=choice.method, second=rival.method, step=MORE_TEST_IMAGES, now=images,
                wanted=amount, worth=self._permitted.worth_of_more(images=amount), seconds=None,
                groups=self.found.groups,
            )  # fmt: skip

    def _amounts(self, now: int, wanted: int) -> list[int]:
        """What is wanted, if that is more than there is; where it has a price, also twice of what there is."""
        amounts = [wanted] if self.aims.costs_of_more is None else [min(2 * now, wanted), wanted]
        return [amount for amount in dict.fromkeys(amounts) if amount > now]

    @property
    def _least_gain(self) -> float:
        """What a larger study without a price must save, a fraction of accuracy."""
        return LEAST_WORTH * self.aims.margin if self.aims.costs_of_more is None else 0.0

    def _gain_of(self, why: Statement) -> float:
        """What a larger study saves beyond its price, or beyond a share of the margin: a fraction of accuracy."""
        if self.aims.costs_of_more is None:
            return why.values["worth"] - self._least_gain
        each = self.aims.costs_of_more[ASKED_FOR[why.values["step"]]]
        return why.values["worth"] - each * (why.values["wanted"] - why.values["now"])

    @staticmethod
    def _larger_share(found: Resampled) -> str:
        return MORE_SEEDS if found.seed_variance[-1] > found.image_variance[-1] else MORE_TEST_IMAGES

    # ---- the answers ----

    def _use(self, choice: Candidate, probability: float, why: Statement, left: str | None = None) -> Recommendation:
        """The answer to use a method; `left` is another one that the intervals leave right."""
        level = min(level_of(probability), self._highest_level, key=LEVELS.index)
        left = left if level == "high" else None
        level = level if left is None else "medium"
        claim = "right" if self.aims.bar is None else "reaches"
        sure = statement(
            "sure", method=choice.method, level=level, probability=probability, replicates=REPLICATES, claim=claim,
            bar=self.aims.bar, margin=self.aims.margin, quick=self._is_quick, left=left,
        )  # fmt: skip
        return self._made(use_code(choice.method), choice.method, level, probability, why, sure)

    def _step(self, step: str, why: Statement, leads: str | None = None) -> Recommendation:
        if self._no_use:
            return self._made(step, None, "low", math.nan, why, statement("none_leads", chance=self._chance))
        leader = self.contest.candidates[leads] if leads else self.contest.choice
        sure = statement(
            "leads_so_far", method=leader.method, probability=leader.right, margin=self.aims.margin,
            quick=self._is_quick,
        )  # fmt: skip
        return self._made(step, leader.method, "low", leader.right, why, sure)

    def _nothing_works(self, why: Statement, probability: float) -> Recommendation:
        level = "low" if self._is_quick else level_of(probability)
        sure = statement("sure_nothing_works", level=level, probability=probability)
        return self._made(NOTHING_WORKS, None, level, probability, why, sure)

    @cached_property
    def _highest_level(self) -> str:
        """The confidence that the runs allow at most."""
        if self._is_quick:
            return "low"
        doubted = [caveat for caveat in self.found.caveats if caveat.code != _ABOUT_OTHER_IMAGES]
        return "medium" if self._doubtful or doubted else "high"

    @cached_property
    def _doubtful(self) -> list[AuditFinding]:
        """What the audit found about methods that may be the right one."""
        top = self.contest.best.accuracy
        return [
            f
            for f in self._findings
            if f.what.code in _DOUBTS and top - self.contest.candidates[f.method].accuracy < IN_REACH
        ]

    @cached_property
    def _reasons(self) -> Reasons:
        return Reasons(self.runs, self._at_n, self.found, self.contest, self.aims, self._settles, self._doubtful)

    @cached_property
    def _settles(self) -> float:
        rival = self.contest.rival
        if rival is None or self._is_quick:  # few seeds do not show how much trainings differ
            return math.nan
        return smallest_difference(self._at_n, self.contest.choice.method, rival.method)

    def _made(
        self, choice: str, method: str | None, level: str, probability: float, why: Statement, sure: Statement
    ) -> Recommendation:
        low, high = (float(end) for end in self._two.interval()[:, -1])
        again = None if choice == NOTHING_WORKS else forecast(self.runs, self._backbone, margin=self.aims.margin)
        record = [record_of(level)] if choice == NOTHING_WORKS or choice not in STEPS else []
        return Recommendation(
            choice=choice,
            method=method,
            confidence=level,
            probability=probability,
            reasons=[self._reasons.seen(), why, sure, *record, *self._reasons.further(choice, method, again)],
            would_change=self._reasons.would_change(choice, method),
            decide_again_at=None if again is None else again.decide_again_at,
            decide_again_why=None if again is None else again.decide_again_why,
            n=self.n,
            seeds=self._seeds,
            images=self.found.images,
            difference=float(self._two.value[-1]),
            low=low,
            high=high,
            candidates=self.contest.candidates,
            settles=self._settles,
        )


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
