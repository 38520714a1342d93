"""What a study has done that a guideline may ask about: sentences by name, from its runs, its settings and its images.

Nothing is said that was not computed: where nothing was done there is no sentence. `vptlib.report.quality_map` says
which of them speak to which item of a guideline.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vptlib.data.files import LazyImages
from vptlib.data.findings import Finding
from vptlib.data.listing import Listing
from vptlib.data.tasks import Task, findings_of
from vptlib.evidence.answers import answers_of, best_method
from vptlib.evidence.audit import NOTE, WARNING
from vptlib.evidence.curves import learning_curves
from vptlib.evidence.limits import MET, NOT_MET, UNDECIDED, Tested, limits_tested, read_gate_limits, read_limits
from vptlib.evidence.prices import Prices
from vptlib.evidence.recommendation import Aims, Recommendation
from vptlib.evidence.stages import OUT_OF_SIGHT, Plan, plan
from vptlib.report.told import told_origin, told_task
from vptlib.statement import Statement, statement
from vptlib.study.study import Study

FILE = "file:"  # before the path of a backbone of one's own
_SHOWN = 12  # characters of a fingerprint


@dataclass(frozen=True)
class Done:
    """A study with all that the facts are read from.

    Attributes:
        study: that the runs are of.
        runs: from `study.runs()`.
        advice: the recommendation for these runs.
        asked, known: as in `vptlib.report.judged.known_of`.
        conditions: harder ones, as in the YAML file; those whose runs are missing count as not run.
        explained: test images whose maps were examined; None where none were.
        doubles: what was found of test images among the labelled ones; None where they were not searched.
    """

    study: Study
    runs: pd.DataFrame
    advice: Recommendation
    asked: Mapping[str, Any]
    known: Mapping[str, Any]
    conditions: Sequence[Mapping[str, Any]] = ()
    explained: int | None = None
    doubles: Finding | None = None

    @cached_property
    def task(self) -> Task:
        return told_task(self.study.task)

    @cached_property
    def method(self) -> str:
        """The method that is advised or leads; the most accurate one where none does."""
        return self.advice.method or best_method(self.runs)

    @cached_property
    def last(self) -> pd.DataFrame:
        """The trainings of the method at its largest size."""
        own = self.runs[self.runs["method"] == self.method]
        return own[own["n"] == own["n"].max()]

    @property
    def n(self) -> int:
        return int(self.last["n"].iloc[0])

    @property
    def accuracy(self) -> float:
        return float(self.last["accuracy"].mean())

    @property
    def images(self) -> int:
        """Test images."""
        return len(self.last["correct"].iloc[0])

    @property
    def seeds(self) -> int:
        return len(self.last)

    @cached_property
    def classes(self) -> np.ndarray:
        """Test images of each class."""
        truth = self.runs["truth"].iloc[0]
        return np.bincount(truth, minlength=len(self.known["class_names"]))

    @cached_property
    def groups(self) -> int:
        """Lots, sites or patients in the test images; 0 where none were given."""
        given = self.runs["test_groups"].iloc[0] if "test_groups" in self.runs else None
        return 0 if given is None else len(np.unique(given))

    @cached_property
    def tested(self) -> list[Tested]:
        """The limits that are rates, after their test."""
        limits = read_limits(self.asked.get("limits") or {})
        if not limits:
            return []
        names = self.known["class_names"]
        answers = answers_of(self.runs, self.method, names, group_names=self.known["group_names"])
        return limits_tested(answers, limits)

    @cached_property
    def bar(self) -> float | None:
        """The accuracy to reach: what is needed, or what the present way has if that is more."""
        needed, today = self.asked.get("accuracy_needed"), self.asked.get("accuracy_today")
        return Aims(needed=needed, today=today).bar

    @cached_property
    def plan(self) -> Plan:
        advice = self.advice
        return plan(
            self.runs,
            advice.choice,
            advice.method,
            needed=self.bar,
            decide_again_at=advice.decide_again_at,
            why_then=advice.decide_again_why,
            prices=Prices.among(dict(self.asked)),
        )

    @cached_property
    def harder(self) -> list[tuple[Study, pd.DataFrame]]:
        """The harder studies whose runs are all there, with the trainings of the method at the same size."""
        studies = [self.study.under(**changes) for changes in self.conditions]
        tables = [(study, study.runs()) for study in studies if not study.missing()]
        own = [(study, runs[(runs["method"] == self.method) & (runs["n"] == self.n)]) for study, runs in tables]
        return [(study, runs) for study, runs in own if len(runs)]

    @cached_property
    def missing(self) -> int:
        """Planned runs that were not made."""
        return len(self.study.missing())

    @cached_property
    def found_in_data(self) -> list[tuple[str, Statement]]:
        """Level and finding of what was seen when the images were read."""
        return [(finding.level, finding.what) for finding in findings_of(self.task)]

    @property
    def backbone(self) -> str:
        """Its name, without the place of a file on this machine."""
        name = self.study.backbone
        return Path(name.removeprefix(FILE)).name if name.startswith(FILE) else name

    @property
    def licence(self) -> str | None:
        """Of the images; None where it is not stated."""
        return None if self.task.licence == Listing.licence else self.task.licence

    @cached_property
    def groups_shared(self) -> bool:
        """Whether some lots, sites or patients are in both training and test."""
        train, tested = self.task.train_groups, self.runs["test_groups"].iloc[0] if self.groups else None
        return train is not None and tested is not None and bool(np.isin(tested, train).any())

    @cached_property
    def audited(self) -> dict[str, int]:
        """Findings of the audit of the runs, by level."""
        levels = [finding.level for finding in self.known["findings"]]
        return {level: levels.count(level) for level in (WARNING, NOTE)}


def facts_of(done: Done) -> dict[str, list[Statement]]:
    """What the study has done, by name: the names that `vptlib.report.quality_map` uses; nothing done, no sentence."""
    return {name: find(done) for name, find in _FACTS.items()}


def _asked_accuracy(done: Done) -> list[Statement]:
    needed = done.asked.get("accuracy_needed")
    return [] if needed is None else [statement("quality_asked_accuracy", needed=needed)]


def _asked_today(done: Done) -> list[Statement]:
    today = done.asked.get("accuracy_today")
    return [] if today is None else [statement("quality_asked_today", today=today)]


def _asked_limits(done: Done) -> list[Statement]:
    return [statement("quality_asked_limits", limits=len(done.tested))] if done.tested else []


def _asked_limits_in_groups(done: Done) -> list[Statement]:
    limits = [tested for tested in done.tested if tested.limit.each_group]
    return [statement("quality_asked_limits_in_groups", limits=len(limits))] if limits else []


def _needed(done: Done) -> list[Statement]:
    """Nothing where the plan has no chance to tell: nothing was asked for, or no method was judged yet."""
    if done.bar is None:
        return []
    if done.plan.stage == OUT_OF_SIGHT:
        return [done.plan.headline]
    if math.isnan(done.plan.chance):
        return []
    chance = float(done.plan.chance)
    return [statement("quality_needed", method=done.plan.method, needed=done.bar, chance=chance)]


def _today(done: Done) -> list[Statement]:
    today = done.asked.get("accuracy_today")
    if today is None:
        return []
    return [statement("quality_today", method=done.method, today=today, accuracy=done.accuracy)]


def _limits(done: Done) -> list[Statement]:
    if not done.tested:
        return []
    verdicts = [tested.verdict for tested in done.tested]
    return [
        statement(
            "quality_limits",
            limits=len(verdicts),
            met=verdicts.count(MET),
            undecided=verdicts.count(UNDECIDED),
            not_met=verdicts.count(NOT_MET),
        )
    ]


def _limits_in_groups(done: Done) -> list[Statement]:
    limits = [tested for tested in done.tested if tested.limit.each_group and tested.groups]
    return [statement("quality_limits_in_groups", limits=len(limits), groups=done.groups)] if limits else []


def _sizes(done: Done) -> list[Statement]:
    sizes = [int(n) for n in sorted(set(done.runs["n"]))]
    return [statement("quality_sizes", sizes=sizes, pool=len(done.task.train), images=done.images)]


def _classes(done: Done) -> list[Statement]:
    counts = done.classes
    return [statement("quality_classes", classes=len(counts), rarest=int(counts.min()), images=done.images)]


def _groups(done: Done) -> list[Statement]:
    return [statement("quality_groups", groups=done.groups, images=done.images)] if done.groups else []


def _balance(done: Done) -> list[Statement]:
    shares = done.classes / done.classes.sum()
    return [statement("quality_balance", common=float(shares.max()), rare=float(shares.min()))]


def _data_read(done: Done) -> list[Statement]:
    searched = [] if done.doubles is None else [done.doubles.what]
    if not isinstance(done.task.train, LazyImages):  # images that vptlib has were not read from files of the user
        return searched
    notes = sum(level == "note" for level, _what in done.found_in_data)
    return [statement("quality_data_read", warnings=len(done.found_in_data) - notes, notes=notes), *searched]


def _accuracy(done: Done) -> list[Statement]:
    curves = learning_curves(done.runs)
    point = curves[(curves["method"] == done.method) & (curves["n"] == done.n)].iloc[0]
    return [
        statement(
            "quality_accuracy",
            method=done.method,
            n=done.n,
            accuracy=float(point["mean"]),
            low=float(point["low"]),
            high=float(point["high"]),
            images=done.images,
            seeds=done.seeds,
        )
    ]


def _audit(done: Done) -> list[Statement]:
    found = done.audited
    return [statement("quality_audit", runs=len(done.runs), warnings=found[WARNING], notes=found[NOTE])]


def _conditions(done: Done) -> list[Statement]:
    return [
        statement(
            "quality_condition",
            condition=study.conditions.statement(),
            method=done.method,
            accuracy=float(runs["accuracy"].mean()),
            before=done.accuracy,
        )
        for study, runs in done.harder
    ]


def _origin(done: Done) -> list[Statement]:
    return [statement("quality_origin", source=done.task.source, licence=done.licence)]


def _versions(done: Done) -> list[Statement]:
    shown = done.task.fingerprint[:_SHOWN]
    return [
        statement("quality_versions", fingerprint=shown, backbone=done.backbone, vptlib=version("vptlib")),
    ]


def _backbone(done: Done) -> list[Statement]:
    source, licence = told_origin(done.study.backbone)
    return [statement("quality_backbone", backbone=done.backbone, source=source, licence=licence)]


def _explanations(done: Done) -> list[Statement]:
    return [statement("quality_explanations", images=done.explained)] if done.explained else []


def _plan(done: Done) -> list[Statement]:
    return [done.plan.headline]


def _promotion(done: Done) -> list[Statement]:
    limits = read_gate_limits(done.asked.get("limits") or {})
    return [statement("quality_promotion", limits=len(limits))] if limits else []


_FACTS: dict[str, Callable[[Done], list[Statement]]] = {
    "asked_accuracy": _asked_accuracy,
    "asked_today": _asked_today,
    "asked_limits": _asked_limits,
    "asked_limits_in_groups": _asked_limits_in_groups,
    "needed": _needed,
    "today": _today,
    "limits": _limits,
    "limits_in_groups": _limits_in_groups,
    "sizes": _sizes,
    "classes": _classes,
    "groups": _groups,
    "balance": _balance,
    "data_read": _data_read,
    "accuracy": _accuracy,
    "audit": _audit,
    "conditions": _conditions,
    "origin": _origin,
    "versions": _versions,
    "backbone": _backbone,
    "explanations": _explanations,
    "plan": _plan,
    "promotion": _promotion,
}
