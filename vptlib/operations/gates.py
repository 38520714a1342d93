"""What an artefact must show before it may answer in production: one result for each limit that was set beforehand.

The limits are those of the report's YAML file (`vptlib.evidence.limits`). Rates, the comparison with production and
calibration are worked out from the answers to the test images that the artefact carries. `measured_for` measures what
needs images, at export. Latency is measured at promotion, on the machine that promotes.

What is not shown does not pass: a limit that is still open, or one whose measurement is missing. Whoever promotes all
the same says why (`vptlib.operations.registry`).
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from torch import Tensor

from vptlib.data.files import LazyImages
from vptlib.data.preparing import ImageSet, corrupted, prepare
from vptlib.data.tasks import Task
from vptlib.errors import UserError
from vptlib.evidence.answers import Answers
from vptlib.evidence.certainty import calibration
from vptlib.evidence.limits import (
    ACCURACY,
    AT_LEAST,
    AT_MOST,
    CALIBRATION_ERROR,
    EXPLANATIONS,
    LATENCY,
    MET,
    NO_WORSE,
    ROBUSTNESS,
    GateLimit,
    Limit,
    limits_tested,
    read_gate_limits,
    read_limits,
)
from vptlib.evidence.no_worse import compare
from vptlib.explanations.checklist import DRAWS, FEW, IMAGES
from vptlib.explanations.checks import Finding, judge, randomised, slightly_changed
from vptlib.explanations.maps import explain
from vptlib.operations.artefact import Artefact, check_canaries, load_backbone_of, load_model
from vptlib.statement import Statement, statement
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.training import evaluate

# Kinds of results that no limit asks for.
CANARIES, CLASSES, LIMITS, TEST_REUSE = "canaries", "classes", "limits", "test_reuse"
WARM_UP, REPEATS = 3, 21  # single images for the latency; the first ones are not counted
_STEPS = 8  # of Integrated Gradients, for maps that others are only compared with


@dataclass(frozen=True)
class GateResult:
    """What came of one gate.

    Attributes:
        kind: the kind of the limit, or `CANARIES`, `CLASSES`, `LIMITS` (none was set) or `TEST_REUSE`.
        passed: only what is shown passes. `TEST_REUSE` informs, and always passes.
        statement: the finding behind it.
    """

    kind: str
    passed: bool
    statement: Statement

    def plain(self) -> dict[str, Any]:
        """For JSON; the statement is under "finding"."""
        return {"kind": self.kind, "passed": self.passed, "finding": self.statement.plain()}


@dataclass(frozen=True)
class _Candidate:
    """What is to be promoted, what is in production now, and the loaded model, or None if it cannot be loaded."""

    artefact: Artefact
    production: Artefact | None
    model: AdaptedModel | None


def gates_for(
    artefact: Artefact,
    production: Artefact | None,
    limits: Mapping[str, Any] | None,
    model: AdaptedModel | None = None,
    tested_before: int = 0,
) -> list[GateResult]:
    """A result for each limit, and for what every promotion needs: canaries, classes, and any limit at all.

    Args:
        artefact: to be promoted.
        production: what is in production now; None for nothing.
        limits: as in the YAML file; see `vptlib.evidence.limits.read_limits`.
        model: of the artefact, from `load_model`; by default it is loaded here.
        tested_before: how many other versions were tested on the same test images.

    Raises:
        UserError: a limit that cannot be read.
    """
    rates, others = read_limits(limits or {}), read_gate_limits(limits or {})
    model, reproduced = _reproduced(artefact, model)
    candidate = _Candidate(artefact, production, model)
    found = [reproduced, _same_classes(artefact, production)]
    found += [_rate(artefact.answers, limit) for limit in rates]
    found += [_GATES[limit.kind](candidate, limit.given) for limit in others]
    if not rates and not others:
        found.append(GateResult(LIMITS, False, statement("gate_no_limits")))
    times = statement("gate_test_images_used", times=tested_before, images=artefact.answers.images)
    return [*found, GateResult(TEST_REUSE, True, times)]


# ---- always -----------------------------------------------------------------------------------------------------


def _reproduced(artefact: Artefact, model: AdaptedModel | None) -> tuple[AdaptedModel | None, GateResult]:
    """The model, and whether it gives on this machine what it gave when it was exported."""
    try:
        if model is None:
            model = load_model(artefact, load_backbone_of(artefact))  # it checks the canaries
        else:
            check_canaries(model, artefact)
    except UserError as error:
        return None, GateResult(CANARIES, False, statement("gate_canaries_not_reproduced", why=str(error)))
    return model, GateResult(CANARIES, True, statement("gate_canaries_reproduced"))


def _same_classes(artefact: Artefact, production: Artefact | None) -> GateResult:
    """Whoever uses the answers counts on the classes that production has, in their order."""
    names = tuple(artefact.card.class_names)
    if production is None:
        return GateResult(CLASSES, True, statement("gate_first_classes", classes=len(names)))
    before = tuple(production.card.class_names)
    if names == before:
        return GateResult(CLASSES, True, statement("gate_same_classes", classes=len(names)))
    added, removed = [n for n in names if n not in before], [n for n in before if n not in names]
    return GateResult(CLASSES, False, statement("gate_other_classes", added=added, removed=removed))


# ---- rates ------------------------------------------------------------------------------------------------------


def _rate(answers: Answers, limit: Limit) -> GateResult:
    if absent := [name for name in limit.classes if name not in answers.class_names]:
        return GateResult(limit.kind, False, statement("gate_class_absent", kind=limit.kind, names=absent))
    (tested,) = limits_tested(answers, [limit])
    about = statement(
        "gate_rate", kind=limit.kind, names=list(limit.classes), limit=limit.value, each_group=limit.each_group,
        finding=tested.finding(),
    )  # fmt: skip
    return GateResult(limit.kind, tested.verdict == MET, about)


# ---- production, probabilities, time ----------------------------------------------------------------------------


def _no_worse(candidate: _Candidate, given: Mapping[str, Any]) -> GateResult:
    artefact, production = candidate.artefact, candidate.production
    if production is None:
        return GateResult(NO_WORSE, True, statement("gate_no_production"))
    if artefact.digest == production.digest:
        return GateResult(NO_WORSE, True, statement("gate_is_production"))
    if not _same_images(artefact, production):
        ours, theirs = artefact.answers.images, production.answers.images
        return GateResult(NO_WORSE, False, statement("gate_other_test_images", images=ours, of_production=theirs))
    found = compare(artefact.answers, production.answers, given["by"])
    about = statement(
        "gate_no_worse", by=found.allowed, difference=found.difference, bound=found.bound, images=found.images,
        groups=found.groups, shown=found.is_shown, needed=found.needed,
    )  # fmt: skip
    return GateResult(NO_WORSE, found.is_shown, about)


def _same_images(artefact: Artefact, production: Artefact) -> bool:
    """Whether both were tested on the same images; those of a task follow from their number."""
    ours, theirs = (each.card.data.get("fingerprint") for each in (artefact, production))
    return ours is not None and ours == theirs and np.array_equal(artefact.answers.truth, production.answers.truth)


def _calibration_error(candidate: _Candidate, given: Mapping[str, Any]) -> GateResult:
    found, most = calibration(candidate.artefact.answers), given[AT_MOST]
    if found is None:
        return GateResult(CALIBRATION_ERROR, False, statement("gate_without_probabilities", limit=most))
    images = candidate.artefact.answers.images
    about = statement("gate_calibration", limit=most, error=found.error, high=found.high, images=images)
    return GateResult(CALIBRATION_ERROR, found.high <= most, about)


def _latency(candidate: _Candidate, given: Mapping[str, Any]) -> GateResult:
    if candidate.model is None:
        return GateResult(LATENCY, False, statement("gate_latency_unknown", limit=given[AT_MOST]))
    size = candidate.artefact.card.preprocessing.size
    found, device = milliseconds_an_image(candidate.model, size), next(candidate.model.parameters()).device
    on_gpu = device.type == "cuda"
    about = statement(
        "gate_latency", limit=given[AT_MOST], median=found, repeats=REPEATS,
        device=torch.cuda.get_device_name(device) if on_gpu else "CPU",
        threads=None if on_gpu else torch.get_num_threads(),
    )  # fmt: skip
    return GateResult(LATENCY, found <= given[AT_MOST], about)


@torch.inference_mode()
def milliseconds_an_image(model: AdaptedModel, size: int) -> float:
    """Median time of the model alone for one image, in milliseconds, on the device where the model is.

    What an image shows does not change the time, so the images are drawn at random.

    Args:
        model: in evaluation mode.
        size: side of the image in pixels.
    """
    device = next(model.parameters()).device
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(WARM_UP + REPEATS, 3, size, size, generator=draw).to(device)
    return float(np.median([_milliseconds(model, image[None]) for image in images][WARM_UP:]))


def _milliseconds(model: AdaptedModel, image: Tensor) -> float:
    _wait_for(image.device)
    start = time.perf_counter()
    model(image)
    _wait_for(image.device)
    return 1000 * (time.perf_counter() - start)


def _wait_for(device: torch.device) -> None:
    """A GPU works on while Python goes on."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# ---- what was measured at export --------------------------------------------------------------------------------

_STRICT = ConfigDict(strict=True, extra="forbid")


@checked_dataclass(frozen=True, config=_STRICT)
class UnderCorruption:
    """The answers to all test images, corrupted: `predictions` are classes, `I`."""

    corruption: str
    severity: int
    predictions: list[int]


@checked_dataclass(frozen=True, config=_STRICT)
class MapCheck:
    """Whether maps pass a check; None where it is not decided, and `needed` images would decide it."""

    passed: bool | None
    needed: int | None


@checked_dataclass(frozen=True, config=_STRICT)
class MapsChecked:
    """The checks of one kind of map.

    Attributes:
        maps: the kind, in `vptlib.explanations.maps.EXPLANATIONS`.
        images: test images that were looked at.
        checks: name, as in `vptlib.evidence.limits.MAP_CHECKS` → what came of it.
        impossible: why the model can have no such map; "" where it can.
    """

    maps: str
    images: int
    checks: dict[str, MapCheck]
    impossible: str = ""


_Entry = TypeVar("_Entry")
_UNDER_CORRUPTIONS, _MAPS_CHECKED = TypeAdapter(list[UnderCorruption]), TypeAdapter(list[MapsChecked])


def _measured(candidate: _Candidate, kind: str, entries: TypeAdapter[list[_Entry]]) -> list[_Entry]:
    """What the card says was measured; nothing where it cannot be read, because then nothing is shown."""
    try:
        return entries.validate_json(json.dumps(candidate.artefact.card.measured.get(kind, [])))
    except ValidationError:
        return []


def _not_measured(kind: str) -> GateResult:
    return GateResult(kind, False, statement("gate_not_measured", kind=kind))


def _robustness(candidate: _Candidate, given: Mapping[str, Any]) -> GateResult:
    answers, which = candidate.artefact.answers, (given["corruption"], given["severity"])
    measured = _measured(candidate, ROBUSTNESS, _UNDER_CORRUPTIONS)
    found = next((each for each in measured if (each.corruption, each.severity) == which), None)
    under = None if found is None else _answers_under(answers, found.predictions)
    if under is None:
        return _not_measured(ROBUSTNESS)
    (tested,) = limits_tested(under, [Limit(ACCURACY, (), given[AT_LEAST])])
    about = statement(
        "gate_robustness", corruption=which[0], severity=which[1], limit=given[AT_LEAST],
        clean=float(answers.right.mean()), finding=tested.finding(),
    )  # fmt: skip
    return GateResult(ROBUSTNESS, tested.verdict == MET, about)


def _answers_under(answers: Answers, predictions: list[int]) -> Answers | None:
    """The answers to the same test images under a corruption; None if these are not answers to them."""
    try:
        return replace(answers, predictions=np.array([predictions], dtype=np.int64), probabilities=None)  # 1 I
    except (UserError, OverflowError):
        return None


def _explanations(candidate: _Candidate, given: Mapping[str, Any]) -> GateResult:
    measured = _measured(candidate, EXPLANATIONS, _MAPS_CHECKED)
    found = next((each for each in measured if each.maps == given["maps"]), None)
    if found is not None and found.impossible:
        about = statement("gate_explanations_impossible", maps=found.maps, why=found.impossible)
        return GateResult(EXPLANATIONS, False, about)
    if found is None or not set(given["checks"]) <= set(found.checks):
        return _not_measured(EXPLANATIONS)
    checks = {name: found.checks[name] for name in given["checks"]}
    named = {verdict: [name for name, c in checks.items() if c.passed is verdict] for verdict in (True, False, None)}
    needed = [checks[name].needed for name in named[None]]
    known = [images for images in needed if images is not None]
    about = statement(
        "gate_explanations", maps=found.maps, passed=named[True], failed=named[False], undecided=named[None],
        images=found.images, needed=max(known) if known and len(known) == len(needed) else None,
    )  # fmt: skip
    return GateResult(EXPLANATIONS, len(named[True]) == len(checks), about)


_GATES: dict[str, Callable[[_Candidate, Mapping[str, Any]], GateResult]] = {
    NO_WORSE: _no_worse,
    CALIBRATION_ERROR: _calibration_error,
    LATENCY: _latency,
    ROBUSTNESS: _robustness,
    EXPLANATIONS: _explanations,
}


# ---- measuring, at export ---------------------------------------------------------------------------------------


def measured_for(
    limits: Mapping[str, Any], model: AdaptedModel, task: Task, test_items: np.ndarray
) -> dict[str, list[dict[str, Any]]]:
    """What the limits on robustness and explanations need, from the test images; an artefact's card keeps it.

    Args:
        limits: as in the YAML file.
        model: trained, in evaluation mode, on the CPU.
        task: that the model was trained for.
        test_items: positions of the study's test images among those of the task, in the order of the artefact's
            answers.

    Returns:
        kind → what was measured, as JSON can hold it; empty where no limit needs anything.

    Raises:
        UserError: a limit that cannot be read.
    """
    wanted = read_gate_limits(limits)
    test = task.test.select(test_items)
    under = _once((limit.given["corruption"], limit.given["severity"]) for limit in _of_kind(wanted, ROBUSTNESS))
    kinds = _once(limit.given["maps"] for limit in _of_kind(wanted, EXPLANATIONS))
    found = {
        ROBUSTNESS: [asdict(_under_corruption(model, test, *which)) for which in under],
        EXPLANATIONS: [asdict(_maps_checked(model, test, kind)) for kind in kinds],
    }
    return {kind: entries for kind, entries in found.items() if entries}


def _of_kind(limits: Iterable[GateLimit], kind: str) -> list[GateLimit]:
    return [limit for limit in limits if limit.kind == kind]


def _once(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _under_corruption(
    model: AdaptedModel, test: ImageSet | LazyImages, corruption: str, severity: int
) -> UnderCorruption:
    """The model's answers to all test images, corrupted as a report corrupts them under `conditions`."""
    wanted = preprocessing(model.vit)
    images = corrupted(test, wanted, corruption, severity)
    return UnderCorruption(corruption, severity, evaluate(model, prepare(images, wanted)).predictions.tolist())


def _maps_checked(model: AdaptedModel, test: ImageSet | LazyImages, kind: str) -> MapsChecked:
    """The checks of one kind of map, on a few test images drawn at random, for the classes that the model answers."""
    items = np.sort(np.random.default_rng(0).permutation(len(test))[:IMAGES])
    images = prepare(test.select(items), preprocessing(model.vit)).tensors[0]  # B 3 S S
    try:
        return MapsChecked(kind, len(items), _checks_of_maps(model, images, kind))
    except UserError as error:
        return MapsChecked(kind, len(items), {}, str(error))


def _checks_of_maps(model: AdaptedModel, images: Tensor, kind: str) -> dict[str, MapCheck]:
    with torch.no_grad():
        targets = model(images).argmax(dim=1)
    maps = explain(model, images, targets, kind)
    again = explain(model, slightly_changed(images), targets, kind)
    drawn = [explain(randomised(model, seed), images[:FEW], targets[:FEW], kind, _STEPS) for seed in range(DRAWS)]
    findings = judge(model, images, maps, targets, of_random_model=np.stack(drawn), again=again)
    return {found.check.replace(" ", "_"): _as_plain(found) for found in findings}


def _as_plain(found: Finding) -> MapCheck:
    passed = None if found.passed is None else bool(found.passed)
    return MapCheck(passed, None if found.needed is None else int(found.needed))
