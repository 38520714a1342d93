"""Whether a prompt in production still does what it was accepted for, from its answers and what people said of them.

Four questions are asked of each prompt, and each gives reasons, as codes and numbers:

limits  Do the answers that were drawn at random, and checked by people, still keep the limits? Answers that somebody
        chose to check are no sample of all answers, so they do not count here.
drift   Are new images, and the answers to them, like those of the test (`vptlib.evidence.drift`)?
checks  Are the answers that were drawn really looked at?
labels  Are there so many labelled images by now that it is time to decide again between VPT and full fine-tuning?

Only answers of the version that is in production now count. A prompt is `FINE`, or somebody should `LOOK`, or `ACT`.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from vptlib.errors import UserError
from vptlib.evidence.drift import FEATURES, Drift, Sample, drift_of
from vptlib.evidence.limits import Limit, read_limits
from vptlib.evidence.sequential import BROKEN, OPEN, Watched, not_drawn, watch_limits
from vptlib.operations.artefact import Artefact, read_artefact
from vptlib.operations.judgement import threshold_of
from vptlib.operations.ledger import FORCED, Entry
from vptlib.operations.records import SERVICE, AnswerRecords
from vptlib.operations.registry import PromptRegistry
from vptlib.operations.standing import CANDIDATE, PREVIOUS, Version
from vptlib.statement import Statement, statement

FINE, LOOK, ACT = VERDICTS = ("fine", "look", "act")
LABELS, LIMIT, DRIFT = "labels", "limit", "drift"  # why it is time to decide again
DAYS = 30  # that a page shows
MOST_POINTS = 40  # of a limit
_WEEK, _DAY = timedelta(days=7), timedelta(days=1)
# An answer that was drawn should be checked within so many days; where more than this share is not, somebody is asked.
CHECK_WITHIN, MAY_WAIT = 7, 0.2
TIME_TO_LOAD = timedelta(minutes=10)  # after which a service that runs has taken over the present version
# Without a number from the report, a decision is made again at so many times the labelled images.
RULE_OF_THUMB = 2


@dataclass(frozen=True)
class Reason:
    """Something that was found.

    Attributes:
        verdict: `ACT` and `LOOK` ask somebody for something; `FINE` is good to know.
        what: the finding.
        command: what to type next because of it; "" where nothing has to be done.
    """

    verdict: str
    what: Statement
    command: str = ""


@dataclass(frozen=True)
class Day:
    """The answers of one day, in UTC. `for_person`: how many a person should look at; `known`: how many say so."""

    day: date
    answers: int
    for_person: int
    known: int


@dataclass(frozen=True)
class Stretch:
    """Answers in a row that were compared with the test.

    Attributes:
        ended: when the last of them was given.
        ratio: their distance from the test, as a multiple of what chance alone gives.
        found: whether chance does not explain it.
    """

    ended: datetime
    ratio: float
    found: bool


@dataclass(frozen=True)
class Point:
    """A rate after so many cases, with the ends of its confidence sequence."""

    cases: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Labels:
    """Labelled images.

    Attributes:
        trained: those of the last decision.
        checked: answers of this prompt that people checked since.
        again_at: how many there are when it is time to decide again; None where more would change nothing.
        by_rule: whether that is a rule of thumb, because the report gave no number.
    """

    trained: int
    checked: int
    again_at: int | None
    by_rule: bool

    @property
    def now(self) -> int:
        return self.trained + self.checked

    @property
    def enough(self) -> bool:
        return self.again_at is not None and self.now >= self.again_at


@dataclass(frozen=True)
class Watch:
    """One prompt, as it is now.

    Attributes:
        name: of the prompt.
        version: in production; None if nothing is, or if it is not known.
        since: the decision that put it there.
        recorded: its answers that the service recorded since.
        last_week, last_month: how many of them in the last 7 and 30 days.
        for_person: share of them that a person should look at; None without a threshold or an answer.
        others: version, such as "cells/2", or the start of a digest → answers since then that were not by the present
            version.
        days: of the last `DAYS` days, the oldest first; only those since the version answers.
        tested_for_person: share of the test images that a person should have looked at; None without a threshold.
        drawn, drawn_checked: answers that were drawn at random, and how many of them people checked.
        checked: all answers that people checked, drawn or not.
        drift: of the answers; None if there is none.
        drift_began: when the first answer of the first part was given in which drift was found, up to now.
        stretches: the parts that drift was looked for in, in the order of time.
        limits: what the checked answers show of each.
        points: of each limit, the rate as the checks came in.
        labels: how many there are; None if the card does not say.
        reasons: the most urgent first.
    """

    name: str
    version: Version | None = None
    since: Entry | None = None
    recorded: int = 0
    last_week: int = 0
    last_month: int = 0
    for_person: float | None = None
    others: dict[str, int] = field(default_factory=dict)
    days: tuple[Day, ...] = ()
    tested_for_person: float | None = None
    drawn: int = 0
    drawn_checked: int = 0
    checked: int = 0
    drift: Drift | None = None
    drift_began: datetime | None = None
    stretches: tuple[Stretch, ...] = ()
    limits: tuple[Watched, ...] = ()
    points: tuple[tuple[Point, ...], ...] = ()
    labels: Labels | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`: that of the most urgent reason."""
        return self.reasons[0].verdict if self.reasons else FINE

    @property
    def command(self) -> str:
        """The next command, because of the most urgent reason that has one; "" where nothing has to be done."""
        return next((reason.command for reason in self.reasons if reason.command), "")


# ---- all prompts --------------------------------------------------------------------------------------------------


def watched(
    registry: PromptRegistry, records: AnswerRecords, name: str | None = None, now: datetime | None = None
) -> list[Watch]:
    """All prompts, or one; those to act on first, then by name. What is wrong with one does not hide the others.

    Args:
        now: the moment that counts as now.

    Raises:
        UserError: the store does not answer, or there is no such prompt.
    """
    names = sorted({version.name for version in registry.versions(name)})
    found = [watch_of(each, registry, records, now) for each in names]
    return sorted(found, key=lambda watch: -VERDICTS.index(watch.verdict))


def not_registered(registry: PromptRegistry, records: AnswerRecords) -> list[str]:
    """Names that have answers but are no prompt of the registry: served from a file, and not watched.

    If the record of answers cannot be read, they are not known, and each `Watch` says so.

    Raises:
        UserError: the store does not answer.
    """
    try:
        tasks = records.tasks()
    except UserError:
        return []
    return sorted(set(tasks) - {version.name for version in registry.versions()})


def watch_of(name: str, registry: PromptRegistry, records: AnswerRecords, now: datetime | None = None) -> Watch:
    """One prompt. Whatever cannot be read becomes a reason to act, so nothing is raised for it.

    Raises:
        UserError: the store does not answer.
    """
    now = now or datetime.now(UTC)
    versions = registry.versions(name)
    try:
        answering = registry.as_of(name, min(now, datetime.now(UTC)))
        limits = registry.limits(name)
    except UserError as error:
        return _with(Watch(name), [_failed(error, f"vpt prompts history {_typed(name)}")])
    if answering.version is None:
        return _without_production(name, versions)
    watch = Watch(name, answering.version, answering.entry)
    try:
        artefact = read_artefact(registry.fetch(answering.version.ref))
    except UserError as error:
        command = _back(name, versions, "its file is damaged") or f"vpt prompts register MODEL.vpt {_typed(name)}"
        return _with(watch, [_failed(error, command)])
    try:
        answers = records.frame(name)
    except UserError as error:
        return _with(watch, [Reason(ACT, statement("status_records_failed", why=str(error)))])
    try:
        return _watched(watch, versions, artefact, limits, answers, now)
    except UserError as error:  # limits of a later version, for one
        return _with(watch, [_failed(error, f"vpt prompts limits {_typed(name)}")])


def _with(watch: Watch, reasons: list[Reason]) -> Watch:
    """The most urgent first; reasons of one verdict keep their order."""
    return replace(watch, reasons=tuple(sorted(reasons, key=lambda reason: -VERDICTS.index(reason.verdict))))


def _failed(error: UserError, command: str) -> Reason:
    return Reason(ACT, statement("status_failed", why=str(error)), command)


def _without_production(name: str, versions: list[Version]) -> Watch:
    candidate = next((version.number for version in versions if CANDIDATE in version.roles), None)
    command = f"history {_typed(name)}" if candidate is None else f"promote {_typed(name)} {candidate}"
    about = statement("status_no_production", candidate=candidate)
    return _with(Watch(name), [Reason(LOOK, about, f"vpt prompts {command}")])


def _back(name: str, versions: list[Version], why: str) -> str:
    """The command that puts back what was there before; "" if nothing was."""
    if not any(PREVIOUS in version.roles for version in versions):
        return ""
    return f"vpt prompts roll-back {_typed(name)} --reason {shlex.quote(why)}"


def _check(name: str) -> str:
    return f"vpt prompts to-check {_typed(name)} tocheck.csv"


def _typed(name: str) -> str:
    return shlex.quote(name)


# ---- one prompt that answers --------------------------------------------------------------------------------------


def _watched(
    watch: Watch,
    versions: list[Version],
    artefact: Artefact,
    limits: Mapping[str, Any],
    answers: pd.DataFrame,
    now: datetime,
) -> Watch:
    assert watch.version is not None and watch.since is not None
    own = answers[answers["digest"] == artefact.digest]
    served = own[(own["source"] == SERVICE) & (own["at"] >= watch.since.at)]
    drawn = own[own["drawn"]]
    names, wanted = artefact.card.class_names, read_limits(limits)
    checks, drift = _checks(own, names), _drift(artefact, served)
    watch = replace(
        watch,
        recorded=len(served),
        last_week=int((served["at"] > now - _WEEK).sum()),
        last_month=int((served["at"] > now - DAYS * _DAY).sum()),
        for_person=_share_for_person(served),
        others=_others(answers, artefact.digest, watch.since.at, versions),
        days=_days(served, watch.since.at, now),
        tested_for_person=_tested_for_person(artefact),
        drawn=len(drawn),
        drawn_checked=int(checks.drawn.sum()),
        checked=len(checks.drawn),
        drift=drift,
        drift_began=None if drift is None or drift.since is None else served["at"].iloc[drift.since].to_pydatetime(),
        stretches=_stretches(drift, served),
        limits=tuple(checks.against(wanted)),
        points=_points(checks.among(checks.drawn), wanted),
        labels=_labels(artefact, answers),
    )
    reasons = [
        *_about_limits(watch, wanted, names, versions),
        *_about_drift(watch),
        *_about_labels(watch),
        *_about_checks(watch, own, drawn, now),
        *[Reason(FINE, what) for what in not_drawn(checks.drawn)],
        *_about_answers(watch, answers),
    ]
    return _with(watch, reasons)


def _share_for_person(answers: pd.DataFrame) -> float | None:
    known = answers["ask_a_person"][answers["ask_a_person"] != "unknown"]
    return float((known == "yes").mean()) if len(known) else None


def _tested_for_person(artefact: Artefact) -> float | None:
    asked = _tested(artefact).asked
    return None if asked is None else float(asked.mean())


def _others(answers: pd.DataFrame, digest: str, since: datetime, versions: list[Version]) -> dict[str, int]:
    later = answers[(answers["at"] >= since) & (answers["digest"] != digest) & (answers["source"] == SERVICE)]
    refs = {version.digest: version.ref for version in versions}
    return {
        refs.get(str(other), str(other)[:12]): int(count) for other, count in later["digest"].value_counts().items()
    }


def _days(answers: pd.DataFrame, since: datetime, now: datetime) -> tuple[Day, ...]:
    today = now.astimezone(UTC).date()
    first = max(since.astimezone(UTC).date(), today - (DAYS - 1) * _DAY)
    of_day, asked = answers["at"].dt.date, answers["ask_a_person"]
    counts = [
        of_day[which].value_counts().to_dict()
        for which in (slice(None), (asked == "yes").to_numpy(), (asked != "unknown").to_numpy())
    ]
    all_days = [first + number * _DAY for number in range((today - first).days + 1)]
    return tuple(Day(day, *(int(count.get(day, 0)) for count in counts)) for day in all_days)


# ---- the questions ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Checks:
    """Checked answers: numbers of the classes that people and the model gave, `n`, and whether each was drawn, `n`.

    A class that only people named, because another version has it, is a further name: the model is wrong there.
    """

    truth: np.ndarray
    answer: np.ndarray
    drawn: np.ndarray
    names: tuple[str, ...]

    def among(self, rows: np.ndarray | slice) -> "_Checks":
        return _Checks(self.truth[rows], self.answer[rows], self.drawn[rows], self.names)

    def against(self, limits: Sequence[Limit]) -> list[Watched]:
        """What they show of each limit."""
        return watch_limits(self.truth, self.answer, self.drawn, self.names, limits)


def _tested(artefact: Artefact) -> Sample:
    """The answers to the test images."""
    answers, threshold = artefact.answers, threshold_of(artefact.card)
    confidence = None if answers.probabilities is None else answers.confidence[0]
    return Sample(
        answers.predictions[0],
        artefact.card.class_names,
        None if artefact.reference is None else artefact.reference.coordinates,
        confidence,
        None if confidence is None or threshold is None else confidence < threshold,
        answers.groups,
    )


def _drift(artefact: Artefact, served: pd.DataFrame) -> Drift | None:
    """What differs from the test in the answers that a service gave, all in the order of time."""
    if served.empty:
        return None
    tested, asked = _tested(artefact), served["ask_a_person"]
    coordinates = _coordinates(served, tested)
    stream = Sample(
        _numbers(served["answer"], tested.class_names),
        tested.class_names,
        coordinates,
        served["probability"].to_numpy(),
        None if tested.asked is None or (asked == "unknown").any() else (asked == "yes").to_numpy(),
    )
    return drift_of(tested, stream)


def _coordinates(served: pd.DataFrame, tested: Sample) -> np.ndarray | None:
    """Coordinates of all answers, float16 `n k`; None if one lacks them, or they are not those of the test images."""
    if tested.coordinates is None:
        return None
    found, width = list(served["coordinates"]), tested.coordinates.shape[1]
    if any(one is None or len(one) != width or not np.isfinite(one).all() for one in found):
        return None
    return np.stack(found)


def _numbers(names: pd.Series, class_names: tuple[str, ...]) -> np.ndarray:
    """Names of classes as numbers, int `n`.

    Raises:
        UserError: a name that is no class.
    """
    numbers = {name: number for number, name in enumerate(class_names)}
    if other := next((name for name in names.unique() if name not in numbers), None):
        raise UserError(f"an answer on record is {str(other)[:60]!r}, which is no class of the model that gave it.")
    return names.map(numbers).to_numpy(dtype=np.int64)


def _stretches(drift: Drift | None, served: pd.DataFrame) -> tuple[Stretch, ...]:
    if drift is None:
        return ()
    found = []
    for block in drift.blocks:
        if block.looks and block.looks[-1].tests:
            tests = block.looks[-1].tests
            shown = next((test for test in tests if test.kind == FEATURES), tests[0])
            ended = served["at"].iloc[block.first + block.looks[-1].answers - 1]
            found.append(Stretch(ended.to_pydatetime(), shown.ratio, block.found))
    return tuple(found)


def _checks(own: pd.DataFrame, class_names: tuple[str, ...]) -> _Checks:
    """The checked answers in the order in which they were checked."""
    checked = own[own["truth"] != ""].sort_values("checked_at", kind="stable")
    names = (*class_names, *sorted(set(checked["truth"]) - set(class_names)))
    truth, answer = (_numbers(checked[column], names) for column in ("truth", "answer"))
    return _Checks(truth, answer, checked["drawn"].to_numpy(), names)


def _points(drawn: _Checks, limits: Sequence[Limit]) -> tuple[tuple[Point, ...], ...]:
    """The rate of each limit after the first checks, after more of them, and after all."""
    counts = sorted({round(count) for count in np.linspace(1, len(drawn.truth), MOST_POINTS)})
    looks = [drawn.among(slice(count)).against(limits) for count in counts if count <= len(drawn.truth)]
    of_limits = zip(*looks, strict=True) if looks else []
    return tuple(
        tuple(Point(look.cases, look.rate, look.low, look.high) for look in path if look.cases) for path in of_limits
    )


def _labels(artefact: Artefact, answers: pd.DataFrame) -> Labels | None:
    """None where the card does not say how many images the model was trained with."""
    card = artefact.card
    n, trained = card.recipe.get("n"), _moment(card.lineage.get("trained"))
    if not isinstance(n, int):
        return None
    checked = answers[answers["truth"] != ""]
    if trained:
        checked = checked[checked["checked_at"] >= trained]
    given = card.data.get("decide_again_at", "")
    by_rule = not (given is None or isinstance(given, int))
    return Labels(n, len(checked), RULE_OF_THUMB * n if by_rule else given, by_rule)


def _moment(text: Any) -> datetime | None:
    """The moment that a card names; None if it names none."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# ---- reasons ------------------------------------------------------------------------------------------------------

_SERVE, _DRAW, _DECIDE = "vpt serve", "vpt serve --check-share 0.05", "vpt report CONFIG.yaml"


def _about_limits(
    watch: Watch, wanted: Sequence[Limit], names: tuple[str, ...], versions: list[Version]
) -> list[Reason]:
    if not wanted:
        return [Reason(FINE, statement("status_without_limits"))]
    back = _back(watch.name, versions, "a limit is broken") or _DECIDE
    found = [_about_limit(limit, back, _check(watch.name)) for limit in watch.limits]
    for limit in wanted:
        if absent := [name for name in limit.classes if name not in names]:
            about = statement("status_class_absent", kind=limit.kind, names=absent)
            found.append(Reason(LOOK, about, f"vpt prompts limits {_typed(watch.name)}"))
    return found


def _about_limit(found: Watched, back: str, check: str) -> Reason:
    if found.verdict == BROKEN:
        return Reason(ACT, found.finding(), back)
    speaks_against = found.verdict == OPEN and found.evidence > 0 and not found.limit.is_kept_by(found.rate)
    return Reason(LOOK, found.finding(), check) if speaks_against else Reason(FINE, found.finding())


def _about_drift(watch: Watch) -> list[Reason]:
    """The verdict and what was seen ask for a look; what limits the verdict is good to know."""
    drift = watch.drift
    if drift is None:
        return []
    findings = drift.findings()
    if not drift.found or drift.telling is None:
        return [Reason(FINE, what) for what in findings]
    asking = 1 + sum(test.found for test in drift.telling.tests)
    about = [Reason(LOOK, what, _check(watch.name)) for what in findings[:asking]]
    if (began := watch.drift_began) is not None:
        about.append(Reason(LOOK, statement("status_drift_since", at=began.isoformat())))
    return [*about, *(Reason(FINE, what) for what in findings[asking:])]


def _about_labels(watch: Watch) -> list[Reason]:
    """Whether it is time to decide again between VPT and full fine-tuning, and why."""
    labels = watch.labels
    about = {
        "labelled": labels and labels.now,
        "checked": labels and labels.checked,
        "again_at": labels and labels.again_at,
        "by_rule": bool(labels and labels.by_rule),
    }
    causes = {
        LABELS: labels is not None and labels.enough,
        LIMIT: any(found.broken for found in watch.limits),
        DRIFT: watch.drift is not None and watch.drift.found,
    }
    if why := [cause for cause, holds in causes.items() if holds]:
        return [Reason(LOOK, statement("status_decide_again", why=why, **about), _DECIDE)]
    if labels is None or labels.again_at is None:
        return []
    return [Reason(FINE, statement("status_labels_to_go", **about))]


def _about_checks(watch: Watch, own: pd.DataFrame, drawn: pd.DataFrame, now: datetime) -> list[Reason]:
    found = []
    due = drawn[drawn["at"] < now - CHECK_WITHIN * _DAY]
    waiting = int((due["truth"] == "").sum())
    if waiting > MAY_WAIT * len(due):
        about = statement("status_checks_waiting", waiting=waiting, due=len(due), days=CHECK_WITHIN)
        found.append(Reason(LOOK, about, _check(watch.name)))
    elif watch.drawn:
        found.append(Reason(FINE, statement("status_checks", drawn=watch.drawn, checked=watch.drawn_checked)))
    if disputed := int((own["truths"] > 1).sum()):
        found.append(Reason(LOOK, statement("status_disputed", disputed=disputed, checked=watch.checked)))
    if watch.recorded and not watch.drawn:
        found.append(Reason(LOOK, statement("status_none_drawn", answers=watch.recorded), _DRAW))
    return found


def _answered_late_by_another(answers: pd.DataFrame, watch: Watch) -> bool:
    """Whether the newest answer is of another version, though a service had the time to load the present one."""
    assert watch.version is not None and watch.since is not None
    last = answers[answers["source"] == SERVICE].iloc[-1]
    return last["digest"] != watch.version.digest and last["at"] > watch.since.at + TIME_TO_LOAD


def _about_answers(watch: Watch, answers: pd.DataFrame) -> list[Reason]:
    assert watch.since is not None
    found, others = [], sum(watch.others.values())
    if answers.empty:
        found.append(Reason(LOOK, statement("status_nothing_recorded"), _SERVE))
    elif not watch.recorded:
        found.append(Reason(LOOK, statement("status_no_answer_yet", others=others), _SERVE))
    elif not watch.last_week:
        found.append(Reason(LOOK, statement("status_silent", days=_WEEK.days), _SERVE))
    if others:
        late = _answered_late_by_another(answers, watch)
        about = statement("status_other_versions", answers=others, versions=list(watch.others), late=late)
        found.append(Reason(LOOK if late else FINE, about))
    if watch.since.kind == FORCED:
        found.append(Reason(FINE, statement("status_forced", by=watch.since.by, reason=watch.since.reason)))
    return found
