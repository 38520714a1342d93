"""What is known about the explanations of a study's models: maps of a fixed sample of test images, and their checks.

`examine` draws the images at random. It makes every kind of map of them under each model and under a model that has
forgotten. It gathers what `vptlib.explanations.checks` and `vptlib.explanations.attention` report. `checklist` turns
the numbers into rows for the person who answers for quality. Each row's verdict follows from a number by a stated rule.
"""

from collections.abc import Callable
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
    between_runs,
    deletion_insertion,
    fitted_masks,
    interval,
    judge,
    know_nothing,
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
from vptlib.study.study import Study
from vptlib.tuning.methods import METHODS, AdaptedModel
from vptlib.wording import decimals

IMAGES = 8  # examined; with these and the steps below a report spends well under a minute a task on two cores
LEVELS = 5  # of the deletion and insertion curves
IMAGES_FOR_FEATURES = 100  # to compare features: CKA of few images is too high
ADDS_UP = 0.10  # what Integrated Gradients may be off by, as a share of what they explain
YES, NO, OPEN = "holds", "does not hold", "open"


@dataclass(frozen=True)
class ModelLook:
    """What was found of one model.

    Attributes:
        maps: kind of map → `B H W`, of the predicted classes.
        findings: kind of map → its checks.
        gaps: kind of map, and "random" and "centre" → insertion less deletion area, `B`.
        likeness: of each two kinds of map, a square table.
        incompleteness: mean gap of Integrated Gradients over pixels, as a share of the mean difference it explains.
        distances: mean attention distance, `L H`, in pixels.
        prompt_shares: share of attention on prompts, `L`.
        kept: CKA of features to the frozen backbone, `L`.
        prompts: mean over images of each prompt's share of the logit, `L P`, or None without prompts.
        second_run: kind of map → likeness to the maps of the same method trained with another seed, `B`; empty if
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
        """The check of that name, if it could be made."""
        return next((found for found in self.findings[kind] if found.check == check), None)


@dataclass(frozen=True)
class Examination:
    """What was found of a study's models on the same images.

    Attributes:
        items: `B` places among the study's test images, drawn by lot from all of them.
        seed: of that draw.
        looks: method → what was found of its model.
        frozen_distances: of the frozen backbone, `L H`.
        even_distance: of a head that looks everywhere alike.
        object_known: whether the task knows where its object is.
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
    kinds: tuple[str, ...] = EXPLANATIONS,
    progress: Callable[[str], None] | None = None,
) -> Examination:
    """Explain the stored models of `study` on test images drawn by lot, and hold the maps to every check.

    Args:
        study: finished.
        methods: whose models to look into.
        images: how many test images; fewer if there are fewer.
        seed: of the draw, of random maps and of the model that forgets.
        kinds: of maps, some of `EXPLANATIONS`.
        progress: told what is being worked on.

    Raises:
        UserError: a run is not finished, or a kind of map that a model cannot have.
    """
    test = study.data(study.sizes[-1], study.seeds[0])[2].tensors[0]  # T 3 S S
    items = np.sort(np.random.default_rng(seed).permutation(len(test))[:images])
    pictures, masks = test[items], object_masks(study.task)
    if masks is not None:
        masks = fitted_masks(masks[study.test_items()[items]], tuple(test.shape[-2:]))
    frozen = study.build("linear").eval()
    looks = {}
    for method in methods:
        if progress:
            progress(f"looking into {method}")
        models = [study.model(method, of_run) for of_run in study.kept_seeds]
        looks[method] = _look(models, frozen, pictures, test[:IMAGES_FOR_FEATURES], masks, kinds, seed)
    far = attention.distances(frozen, pictures)
    return Examination(items, seed, looks, far, attention.even_distance(frozen.vit, pictures), masks is not None)


EDITION = 4  # raise it when what an examination finds changes, so that kept ones are made anew


def examine_once(study: Study, seed: int = 0) -> Examination:
    """`examine` as a report asks for it; what has been examined is kept beside the runs and not examined again."""
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
    """What is found of the first of `models`, and how like its maps those of the second are, if there is one."""
    model, *others = models
    grid = attention.grid_of(model.vit, images)
    with torch.no_grad():
        targets = model(images).argmax(dim=1)
    forgot = randomised(model, seed)
    pixels = integrated_gradients(model, images, targets)
    of_pixels = {"integrated-gradients": positive_part(pixels.values)}
    maps = {kind: of_pixels[kind] if kind in of_pixels else explain(model, images, targets, kind) for kind in kinds}
    baselines = know_nothing(model, images, targets, LEVELS)
    findings, gaps = {}, {name: curves.gap for name, curves in baselines.items()}
    for kind, of_kind in maps.items():
        curves = deletion_insertion(model, images, of_kind, targets, LEVELS)
        gaps[kind] = curves.gap
        of_forgot = explain(forgot, images, targets, kind, steps=8)
        findings[kind] = judge(model, images, of_kind, targets, masks, of_forgot, LEVELS, baselines, curves)
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
    """A line of the checklist: the question, a sentence for each method, and the verdict over all of them."""

    question: str
    answers: dict[str, str]
    verdict: str


def checklist(found: Examination, kind: str = "gradcam") -> list[Row]:
    """What must be known before a map may be shown to anyone, from the numbers of `examine`.

    A row holds if it holds for every model, does not if it fails for one, and is open otherwise.

    Args:
        found: from `examine`.
        kind: of the maps that the reader sees.
    """
    looks = found.looks
    rows = [
        _row_of(looks, kind, "differences", "Does every map mark some place?"),
        _row_of(looks, kind, "faithful", "Does the answer hang on what the map marks?"),
        _row_of(looks, kind, "pointing", "Does the map point at the object?"),
        _row_of(looks, kind, "depends on the model", "Does the map change when the model forgets all it knows?"),
        _agreement_row(looks, kind),
        _completeness_row(looks),
    ]
    if len(looks) == 2:
        rows.append(_comparison_row(looks, kind))
    return [*rows, _second_run_row(looks, kind)]


def _verdict(passed: list[bool | None]) -> str:
    return YES if all(passed) else NO if False in passed else OPEN


def _row_of(looks: dict[str, ModelLook], kind: str, check: str, question: str) -> Row:
    findings = {method: look.finding(kind, check) for method, look in looks.items()}
    if not all(findings.values()):
        return Row(question, dict.fromkeys(looks, "where the object is, this task does not know"), OPEN)
    answers = {method: finding.text for method, finding in findings.items()}
    return Row(question, answers, _verdict([finding.passed for finding in findings.values()]))


def _agreement_row(looks: dict[str, ModelLook], kind: str) -> Row:
    """The map that is shown beside the other kinds: half-way to the same is the least that one may call alike."""
    alike = {method: look.likeness[kind].drop(kind) for method, look in looks.items()}
    passed = [bool(of_model.mean() >= SAME / 2) for of_model in alike.values()]
    answers = {
        method: f"likeness to the other methods' maps {decimals(of.mean())} on average, "
        f"from {decimals(of.min())} to {decimals(of.max())}"
        for method, of in alike.items()
    }
    return Row("Do other methods tell the same story?", answers, _verdict(passed))


def _second_run_row(looks: dict[str, ModelLook], kind: str) -> Row:
    """The map that is shown beside that of the same method trained on other images from another start."""
    question = "Would another training run give the same maps?"
    if not all(look.second_run for look in looks.values()):
        return Row(question, dict.fromkeys(looks, "one model examined"), OPEN)
    found = {method: between_runs(look.second_run[kind]) for method, look in looks.items()}
    answers = {method: finding.text for method, finding in found.items()}
    return Row(question, answers, _verdict([finding.passed for finding in found.values()]))


def _completeness_row(looks: dict[str, ModelLook]) -> Row:
    answers = {
        method: f"off by {look.incompleteness:.1%} of the change in the logit on average ({ADDS_UP:.0%} allowed)"
        for method, look in looks.items()
    }
    passed = [look.incompleteness <= ADDS_UP for look in looks.values()]
    return Row("Do the shares of Integrated Gradients add up?", answers, _verdict(passed))


def _comparison_row(looks: dict[str, ModelLook], kind: str) -> Row:
    """Whether the first model's maps are the more faithful; a lead that no interval carries is none."""
    (first, a), (second, b) = looks.items()
    lead, low, high = interval(a.gaps[kind] - b.gaps[kind])
    ahead = first if low > 0 else second if high < 0 else None
    text = f"difference {lead:+.2f}, 95\u202f% interval {low:+.2f} to {high:+.2f}".replace("-", "\u2212")
    answers = {first: text, second: f"{METHODS[ahead].title} leads" if ahead else "neither leads"}
    return Row("Are one model's maps more faithful than the other's?", answers, YES if ahead else OPEN)


def faithfulness_table(found: Examination) -> pd.DataFrame:
    """Insertion less deletion area of each kind of map: columns method, kind, mean, low, high (95 % interval)."""
    rows = [(method, kind, *interval(gaps)) for method, look in found.looks.items() for kind, gaps in look.gaps.items()]
    return pd.DataFrame(rows, columns=["method", "kind", "mean", "low", "high"])
