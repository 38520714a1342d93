"""What is known about the explanations of a study's models: maps of a fixed sample of test images, and their checks.

`examine` draws the images at random. It makes every kind of map of them under each model and under a shuffled model.
It gathers the results of `vptlib.explanations.checks` and `vptlib.explanations.attention`. `checklist` turns the
numbers into rows for the person who answers for quality. A stated rule gives each row's verdict from a number. The
words for the codes of a row are in `vptlib.report.words`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from joblib import Memory

from vptlib.data.embedded import object_masks
from vptlib.explanations import attention
from vptlib.explanations.checks import (
    SAME,
    Finding,
    agreement,
    baseline_curves,
    between_runs,
    deletion_insertion,
    fitted_masks,
    interval,
    judge,
    likeness,
    randomised,
)
from vptlib.explanations.maps import (
    EXPLANATIONS,
    Attribution,
    explain,
    integrated_gradients,
    positive_part,
    prompt_attribution,
)
from vptlib.paths import store_folder
from vptlib.statement import Statement, statement
from vptlib.study.study import Study
from vptlib.tuning.methods import AdaptedModel

IMAGES = 8  # examined; with these and the levels below a report spends well under a minute per task on two cores
LEVELS = 5  # of the deletion and insertion curves
IMAGES_FOR_FEATURES = 100  # to compare features: CKA of few images is too high
ADDS_UP = 0.10  # the largest error of Integrated Gradients that passes, as a share of what they explain
YES, NO, OPEN = "holds", "does-not-hold", "open"  # the codes of verdicts


@dataclass(frozen=True)
class ModelLook:
    """What was found for one model.

    Attributes:
        maps: kind of map → `B H W`, of the predicted classes.
        findings: kind of map → its checks.
        gaps: kind of map, and each of `BASELINES` → insertion minus deletion area, `B`.
        likeness: mean similarity of each two kinds of map, a square table.
        incompleteness: mean gap of Integrated Gradients over pixels, as a share of the mean difference it explains.
        distances: mean attention distance, `L H`, in pixels.
        prompt_shares: share of attention on prompts, `L`.
        kept: CKA of features to the frozen backbone, `L`.
        prompts: mean over images of each prompt's share of the logit, `L P`, or None without prompts.
        second_run: kind of map → similarity to the maps of the same method trained with another seed, `B`; empty if
            the study has one seed.
    """

    maps: dict[str, np.ndarray]
    findings: dict[str, list[Finding]]
    gaps: dict[str, np.ndarray]
    likeness: pd.DataFrame
    incompleteness: float
    distances: np.ndarray
    prompt_shares: np.ndarray
    kept: np.ndarray
    prompts: np.ndarray | None
    second_run: dict[str, np.ndarray] = field(default_factory=dict)

    def finding(self, kind: str, check: str) -> Finding | None:
        """The result of the check with that name, or None if the check was not possible."""
        return next((found for found in self.findings[kind] if found.check == check), None)


@dataclass(frozen=True)
class Examination:
    """What was found for a study's models on the same images.

    Attributes:
        items: `B` positions among the study's test images, drawn at random from all of them.
        seed: of that draw.
        looks: method → what was found for its model.
        frozen_distances: mean attention distance of the frozen backbone, `L H`.
        even_distance: the distance for a head with even attention.
        object_known: whether the task gives the position of its object.
    """

    items: np.ndarray
    seed: int
    looks: dict[str, ModelLook]
    frozen_distances: np.ndarray
    even_distance: float
    object_known: bool


def examine(
    study: Study,
    methods: tuple[str, ...] = ("vpt-deep", "full"),
    images: int = IMAGES,
    seed: int = 0,
    kinds: tuple[str, ...] = tuple(EXPLANATIONS),
    progress: Callable[[str], None] | None = None,
) -> Examination:
    """Explain the stored models of `study` on test images drawn at random, and make every check of the maps.

    Args:
        study: finished.
        methods: whose models to examine.
        images: how many test images; all if there are fewer.
        seed: of the draw and of the shuffled model.
        kinds: of maps, some of `EXPLANATIONS`.
        progress: called with a line of text before each model.

    Raises:
        UserError: a run is not finished, or a model cannot have one of these kinds of map.
    """
    test = study.data(study.sizes[-1], study.seeds[0])[2].tensors[0]  # T 3 S S
    items = np.sort(np.random.default_rng(seed).permutation(len(test))[:images])
    pictures, masks = test[items], object_masks(study.task)
    if masks is not None:
        height, width = test.shape[-2:]
        masks = fitted_masks(masks[study.test_items()[items]], (height, width))
    frozen = study.build("linear").eval()
    looks = {}
    for method in methods:
        if progress:
            progress(f"looking into {method}")
        models = [study.model(method, of_run) for of_run in _stored_seeds(study, method)]
        looks[method] = _look(models, frozen, pictures, test[:IMAGES_FOR_FEATURES], masks, kinds, seed)
    far = attention.distances(frozen, pictures)
    return Examination(items, seed, looks, far, attention.even_distance(frozen.vit, pictures), masks is not None)


def _stored_seeds(study: Study, method: str) -> list[int]:
    """The kept seeds whose run of `method` is finished; a study with little time may lack the second."""
    runs = study.runs()
    made = set(runs[(runs["method"] == method) & (runs["n"] == study.sizes[-1])]["seed"])
    return [seed for seed in study.kept_seeds if seed in made]


EDITION = 5  # raise it when the results or the classes of an examination change, so that stored ones are not used


def examine_once(study: Study, seed: int = 0) -> Examination:
    """`examine` as a report needs it. The result is stored with the runs, and the next call reads it."""
    runs = study.runs()
    trained = runs[(runs["n"] == study.sizes[-1]) & (runs["seed"].isin(study.kept_seeds))]
    memory = Memory(store_folder() / "examinations", verbose=0)
    return memory.cache(_examined, ignore=["study"])(study, seed, tuple(sorted(trained["run_id"])), EDITION)


def _examined(study: Study, seed: int, run_ids: tuple[str, ...], edition: int) -> Examination:
    return examine(study, seed=seed)


def _look(
    models: list[AdaptedModel],
    frozen: AdaptedModel,
    images: torch.Tensor,
    many: torch.Tensor,
    masks: np.ndarray | None,
    kinds: tuple[str, ...],
    seed: int,
) -> ModelLook:
    """What is found for the first of `models`, and how similar the maps of the second are, if there is one."""
    model, *others = models
    grid = attention.grid_of(model.vit, images)
    with torch.no_grad():
        targets = model(images).argmax(dim=1)
    shuffled = randomised(model, seed)
    pixels = integrated_gradients(model, images, targets)
    of_pixels = {"integrated-gradients": positive_part(pixels.values)}
    maps = {kind: of_pixels[kind] if kind in of_pixels else explain(model, images, targets, kind) for kind in kinds}
    baselines = baseline_curves(model, images, targets, LEVELS)
    findings, gaps = {}, {name: curves.gap for name, curves in baselines.items()}
    for kind, of_kind in maps.items():
        curves = deletion_insertion(model, images, of_kind, targets, LEVELS)
        gaps[kind] = curves.gap
        of_shuffled = explain(shuffled, images, targets, kind, steps=8)
        findings[kind] = judge(model, images, of_kind, targets, masks, of_shuffled, LEVELS, baselines, curves)
    second_run = {
        kind: likeness(maps[kind], explain(other, images, targets, kind), grid) for other in others for kind in kinds
    }
    prompts = attention.prompts_in(model)
    return ModelLook(
        maps,
        findings,
        gaps,
        agreement(maps, grid),
        _incompleteness(pixels),
        attention.distances(model, images),
        attention.prompt_shares(model, images),
        attention.kept(model, frozen, many),
        prompt_attribution(model, images, targets, 16).values.mean(axis=0) if any(prompts.values()) else None,
        second_run,
    )


def _incompleteness(found: Attribution) -> float:
    return float(np.abs(found.gap).mean() / max(np.abs(found.difference).mean(), 1e-9))


# ---- the checklist ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of the checklist.

    Attributes:
        question: its code.
        answers: method → the numbers that answer it.
        verdict: over all methods: `YES`, `NO` or `OPEN`.
    """

    question: str
    answers: dict[str, Statement]
    verdict: str


def checklist(found: Examination, kind: str = "gradcam") -> list[Row]:
    """What must be known before a map may be shown to anyone, from the numbers of `examine`.

    A row holds if it holds for every model. It does not hold if it fails for one model. Otherwise it is open.

    Args:
        found: from `examine`.
        kind: of the maps that the reader sees.
    """
    looks = found.looks
    rows = [
        _check_row("maps mark a place", looks, kind, "differences"),
        _check_row("answer depends on the map", looks, kind, "faithful"),
        _check_row("map points at the object", looks, kind, "pointing"),
        _check_row("map depends on the model", looks, kind, "depends on the model"),
        _agreement_row(looks, kind),
        _completeness_row(looks),
    ]
    if len(looks) == 2:
        rows.append(_comparison_row(looks, kind))
    return [*rows, _second_run_row(looks, kind)]


def _verdict(passed: Sequence[bool | None]) -> str:
    return YES if all(passed) else NO if False in passed else OPEN


def _row_of(question: str, findings: dict[str, Finding]) -> Row:
    answers = {method: finding.statement for method, finding in findings.items()}
    return Row(question, answers, _verdict([finding.passed for finding in findings.values()]))


def _check_row(question: str, looks: dict[str, ModelLook], kind: str, check: str) -> Row:
    findings = {method: found for method, look in looks.items() if (found := look.finding(kind, check))}
    if len(findings) < len(looks):
        return Row(question, dict.fromkeys(looks, statement("object_unknown")), OPEN)
    return _row_of(question, findings)


def _agreement_row(looks: dict[str, ModelLook], kind: str) -> Row:
    """The map that is shown, compared with the other kinds; it passes from half of `SAME` on."""
    alike = {method: look.likeness[kind].drop(kind) for method, look in looks.items()}
    passed = [bool(of_model.mean() >= SAME / 2) for of_model in alike.values()]
    answers = {
        method: statement("kinds_compared", mean=float(of.mean()), least=float(of.min()), most=float(of.max()))
        for method, of in alike.items()
    }
    return Row("other kinds of map agree", answers, _verdict(passed))


def _second_run_row(looks: dict[str, ModelLook], kind: str) -> Row:
    """The map that is shown, compared with that of the same method with other training images and another start."""
    question = "another run gives the same maps"
    if not all(look.second_run for look in looks.values()):
        return Row(question, dict.fromkeys(looks, statement("one_model_examined")), OPEN)
    return _row_of(question, {method: between_runs(look.second_run[kind]) for method, look in looks.items()})


def _completeness_row(looks: dict[str, ModelLook]) -> Row:
    answers = {
        method: statement("shares_off_by", error=look.incompleteness, allowed=ADDS_UP) for method, look in looks.items()
    }
    return Row("shares add up", answers, _verdict([look.incompleteness <= ADDS_UP for look in looks.values()]))


def _comparison_row(looks: dict[str, ModelLook], kind: str) -> Row:
    """Whether one model's maps are more faithful; the interval of the difference must not include 0."""
    (first, a), (second, b) = looks.items()
    lead, low, high = interval(a.gaps[kind] - b.gaps[kind])
    ahead = first if low > 0 else second if high < 0 else None
    answers = {
        first: statement("faithfulness_differs_by", difference=lead, low=low, high=high),
        second: statement("model_leads", method=ahead),
    }
    return Row("one model is more faithful", answers, YES if ahead else OPEN)


def faithfulness_table(found: Examination) -> pd.DataFrame:
    """Insertion minus deletion area of each kind of map: columns method, kind, mean, low, high (95 % interval)."""
    rows = [(method, kind, *interval(gaps)) for method, look in found.looks.items() for kind, gaps in look.gaps.items()]
    return pd.DataFrame(rows, columns=["method", "kind", "mean", "low", "high"])
