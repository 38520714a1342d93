"""What is known about the explanations of a study's models: maps of a fixed sample of test images, and their checks.

`examine` draws the images at random. It makes every kind of map of them under each model, under models that have
forgotten all, and along a cascade in which a model forgets from the head down. It gathers the results of
`vptlib.explanations.checks` and `vptlib.explanations.attention`. `checklist` turns the numbers into rows for the person
who answers for quality. A stated rule gives each row's verdict from a number. The words for the codes of a row are in
`vptlib.report.words`.
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
    Finding,
    baseline_curves,
    cascade,
    compared,
    deletion_insertion,
    fitted_masks,
    judge,
    slightly_changed,
)
from vptlib.explanations.intervals import FEWEST, images_needed, interval
from vptlib.explanations.maps import (
    EXPLANATIONS,
    Attribution,
    explain,
    integrated_gradients,
    positive_part,
    prompt_attribution,
)
from vptlib.explanations.similarity import Scale, agreement, likeness, scale_of
from vptlib.paths import store_folder
from vptlib.statement import Statement, statement
from vptlib.study.study import Study
from vptlib.tuning.methods import AdaptedModel

# With these numbers a report spends under a minute per task on two cores.
IMAGES = 16  # a lead of 0.75 of its standard deviation is told from 0 with a chance of 0.8 (one-sample t test)
FEW = 8  # images for maps of random models, which differ more from model to model than from image to image
DRAWS = 6  # random models; one alone may be similar or opposite by luck
BLOCKS_SHOWN = 4  # of a cascade through all blocks: the last one, the first one, and some between
LEVELS = 5  # of the deletion and insertion curves
IMAGES_FOR_FEATURES = 100  # to compare features: CKA of few images is too high
ADDS_UP = 0.10  # the largest error of Integrated Gradients that passes, as a share of what they explain
YES, NO, OPEN = "holds", "does-not-hold", "open"  # the codes of verdicts
_SLOW = "integrated-gradients"  # many passes a map, so its further maps are of `FEW` images and `_SLOW_DRAWS` models
_SLOW_DRAWS, _SLOW_STEPS = 3, 8


@dataclass(frozen=True)
class ModelLook:
    """What was found for one model.

    Attributes:
        maps: kind of map → `B H W`, of the predicted classes.
        findings: kind of map → its checks.
        gaps: kind of map, and each of `BASELINES` → insertion minus deletion area, `B`.
        likeness: mean similarity of each two kinds of map, a square table.
        scales: kind of map → what its similarity to others means.
        cascade: the first kind of map → step of the cascade → similarity to the map of the trained model, `D B`.
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
    scales: dict[str, Scale]
    cascade: dict[str, dict[str, np.ndarray]]
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


EDITION = 6  # raise it when the results or the classes of an examination change, so that stored ones are not used


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
    pixels = integrated_gradients(model, images, targets)
    of_pixels = {_SLOW: positive_part(pixels.values)}
    maps = {kind: of_pixels[kind] if kind in of_pixels else explain(model, images, targets, kind) for kind in kinds}
    baselines = baseline_curves(model, images, targets, LEVELS)
    again = _further_maps(model, slightly_changed(images, seed), targets, kinds)
    of_random, falls = _forgotten(model, images[:FEW], targets[:FEW], maps, seed)
    second_run = {
        kind: likeness(maps[kind][: len(of_other)], of_other, grid)
        for other in others
        for kind, of_other in _further_maps(other, images, targets, kinds).items()
    }
    findings, gaps = {}, {name: curves.gap for name, curves in baselines.items()}
    for kind, of_kind in maps.items():
        curves = deletion_insertion(model, images, of_kind, targets, LEVELS)
        gaps[kind] = curves.gap
        findings[kind] = judge(
            model, images, of_kind, targets, masks, of_random[kind], again[kind], LEVELS, baselines, curves
        )
    scales = {kind: scale_of(of_kind, grid) for kind, of_kind in maps.items()}
    for kind in kinds:
        findings[kind] += _compared_with_others(kind, maps, scales[kind], findings[kind], second_run, grid)
    prompts = attention.prompts_in(model)
    return ModelLook(
        maps,
        findings,
        gaps,
        agreement(maps, grid),
        scales,
        {kinds[0]: falls},
        _incompleteness(pixels),
        attention.distances(model, images),
        attention.prompt_shares(model, images),
        attention.kept(model, frozen, many),
        prompt_attribution(model, images[:FEW], targets[:FEW], 16).values.mean(axis=0)
        if any(prompts.values())
        else None,
        second_run,
    )


def _further_maps(
    model: AdaptedModel, images: torch.Tensor, targets: torch.Tensor, kinds: Sequence[str]
) -> dict[str, np.ndarray]:
    """Kind → maps to compare with, of all images, or of the first `FEW` where a map takes many passes."""
    count = {kind: FEW if kind == _SLOW else len(images) for kind in kinds}
    return {
        kind: explain(model, images[: count[kind]], targets[: count[kind]], kind, steps=_SLOW_STEPS) for kind in kinds
    }


def _forgotten(
    model: AdaptedModel, images: torch.Tensor, targets: torch.Tensor, maps: dict[str, np.ndarray], seed: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Maps `D B H W` by models that have forgotten all, and the similarity `D B` of the first kind on the way there."""
    first, grid, shown = next(iter(maps)), attention.grid_of(model.vit, images), _steps_shown(len(model.vit.blocks))
    trained = maps[first][: len(images)]
    of_random: dict[str, list[np.ndarray]] = {kind: [] for kind in maps}
    falls: dict[str, list[np.ndarray]] = {step: [] for step in shown}
    for draw in range(DRAWS):
        forgetful = model
        for step, forgetful in cascade(model, seed + draw):
            if step in shown:
                found = explain(forgetful, images, targets, first, _SLOW_STEPS)
                falls[step].append(likeness(trained, found, grid))
        for kind in maps:
            if kind != _SLOW or draw < _SLOW_DRAWS:
                of_random[kind].append(explain(forgetful, images, targets, kind, steps=_SLOW_STEPS))
    return (
        {kind: np.stack(drawn) for kind, drawn in of_random.items()},
        {step: np.stack(alike) for step, alike in falls.items()},
    )


def _steps_shown(depth: int) -> list[str]:
    """Names of the steps of `cascade` after which maps are made."""
    blocks = np.unique(np.linspace(1, depth, min(BLOCKS_SHOWN, depth)).round().astype(int))[::-1]
    return ["head", *(f"block {number}" for number in blocks), "input"]


def _compared_with_others(
    kind: str,
    maps: dict[str, np.ndarray],
    scale: Scale,
    findings: list[Finding],
    second_run: dict[str, np.ndarray],
    grid: tuple[int, int],
) -> list[Finding]:
    """One kind of map compared with the other kinds, and with those of a second training run, where there are any."""
    repeats = next(found for found in findings if found.check == "repeats itself")
    others = [likeness(maps[kind], of_other, grid) for other, of_other in maps.items() if other != kind]
    found = []
    if others:
        found.append(compared("other kinds of map", scale, _mean_over_kinds(np.stack(others)), repeats))
    if kind in second_run:
        found.append(compared("another training run", scale, second_run[kind], repeats))
    return found


def _mean_over_kinds(alike: np.ndarray) -> np.ndarray:
    """Mean of `K B` over kinds, `B`; nan where an image has none. The kinds are these few, not a sample of others."""
    known = ~np.isnan(alike)
    counts = known.sum(axis=0)
    return np.where(counts, np.where(known, alike, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)


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
    rows = [_check_row(question, looks, kind, check) for question, check in _CHECKS.items()]
    rows.append(_completeness_row(looks))
    if len(looks) == 2:
        rows.append(_comparison_row(looks, kind))
    return [*rows, _check_row("another run gives the same maps", looks, kind, "another training run")]


_CHECKS = {
    "maps mark a place": "differences",
    "answer depends on the map": "faithful",
    "map points at the object": "pointing",
    "map follows its image": "repeats itself",
    "map depends on the model": "depends on the model",
    "other kinds of map agree": "other kinds of map",
}


def _verdict(passed: Sequence[bool | None]) -> str:
    return YES if all(passed) else NO if False in passed else OPEN


def _check_row(question: str, looks: dict[str, ModelLook], kind: str, check: str) -> Row:
    findings = {method: found for method, look in looks.items() if (found := look.finding(kind, check))}
    if len(findings) < len(looks):
        return Row(question, dict.fromkeys(looks, _not_possible(check)), OPEN)
    answers = {method: finding.statement for method, finding in findings.items()}
    return Row(question, answers, _verdict([finding.passed for finding in findings.values()]))


def _not_possible(check: str) -> Statement:
    """Why a check of all models is not possible."""
    if check == "another training run":
        return statement("one_model_examined")
    return statement("one_kind_examined") if check == "other kinds of map" else statement("object_unknown")


def _completeness_row(looks: dict[str, ModelLook]) -> Row:
    answers = {
        method: statement("shares_off_by", error=look.incompleteness, allowed=ADDS_UP) for method, look in looks.items()
    }
    return Row("shares add up", answers, _verdict([look.incompleteness <= ADDS_UP for look in looks.values()]))


def _comparison_row(looks: dict[str, ModelLook], kind: str) -> Row:
    """Whether one model's maps are more faithful; the interval of the difference must not include 0."""
    (first, a), (second, b) = looks.items()
    differences = a.gaps[kind] - b.gaps[kind]
    lead, low, high = interval(differences)
    enough = len(differences) >= FEWEST
    ahead = first if enough and low > 0 else second if enough and high < 0 else None
    needed = None if ahead else images_needed(differences)
    answers = {
        first: statement("faithfulness_differs_by", difference=lead, low=low, high=high),
        second: statement("model_leads", method=ahead, images=len(differences), needed=needed),
    }
    return Row("one model is more faithful", answers, YES if ahead else OPEN)


def faithfulness_table(found: Examination) -> pd.DataFrame:
    """Insertion minus deletion area of each kind of map: columns method, kind, mean, low, high (95 % interval)."""
    rows = [(method, kind, *interval(gaps)) for method, look in found.looks.items() for kind, gaps in look.gaps.items()]
    return pd.DataFrame(rows, columns=["method", "kind", "mean", "low", "high"])


def cascade_table(found: Examination) -> pd.DataFrame:
    """How much of a map is left while its model forgets from the head down.

    Returns:
        columns method, kind, step (the name of the step, in order), mean, low, high: similarity to the map of the
        trained model on the scale of `vptlib.explanations.similarity`, with its 95 % interval. A kind whose scale is
        not known has no rows.
    """
    rows = [
        (method, kind, step, *interval(look.scales[kind].place(alike)))
        for method, look in found.looks.items()
        for kind, steps in look.cascade.items()
        if look.scales[kind].usable
        for step, alike in steps.items()
    ]
    return pd.DataFrame(rows, columns=["method", "kind", "step", "mean", "low", "high"])
