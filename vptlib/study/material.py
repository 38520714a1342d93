"""What the runs of a study share, loaded once: task, backbone and prepared images. Fresh models are made from it."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.utils.data import TensorDataset

from vptlib.data.conditions import Conditions, long_tail, wrong_labels
from vptlib.data.files import LazyImages
from vptlib.data.preparing import aspect_in_effect, corrupted, prepare
from vptlib.data.splits import few_shot, fixed_test, split_validation
from vptlib.data.tasks import Task, load_task
from vptlib.prompting.blocks import heads
from vptlib.study.done_rules import strong_options
from vptlib.study.input_size import chosen_size
from vptlib.study.plan import Plan
from vptlib.study.published_rules import ALL, DONE, EQUAL, VTAB, published_options
from vptlib.tuning.backbones import default_aspect, fingerprint, load_backbone, preprocessing, set_aspect
from vptlib.tuning.methods import AdaptedModel, build_method, find_method
from vptlib.tuning.precision import resolved
from vptlib.tuning.solved import SOLVERS
from vptlib.tuning.training import frozen_features


class Material:
    """Task, backbone and prepared test images, loaded once for all runs."""

    def __init__(
        self,
        task: str,
        backbone: str,
        image_size: int | None,
        depth: int | None,
        test_images: int | Literal["all"],
        aspect: str,
    ):
        self.task: Task = load_task(task)
        vit, self.fingerprint = _load_backbone(backbone, image_size, depth)
        self.vit = copy.copy(vit)  # the same weights; only the attribute is its own
        wanted = default_aspect(vit) if aspect == "auto" else aspect
        set_aspect(self.vit, aspect_in_effect(self.task.train, wanted))
        all_of_them = len(self.task.test)
        self.test_items = fixed_test(self.task.test.labels, all_of_them if test_images == ALL else test_images)
        groups = self.task.test_groups
        self.truth = np.asarray(self.task.test.labels[self.test_items], dtype=np.int64)
        self.test_groups = None if groups is None else groups[self.test_items]
        # Prepared images are large, so those of at most two conditions are kept.
        self.test_under = lru_cache(maxsize=2)(self._test_under)
        self.test_features = lru_cache(maxsize=2)(self._test_features)

    def _test_under(self, conditions: Conditions) -> TensorDataset:
        """The test images, prepared, and corrupted if that is a condition."""
        images, wanted = self.task.test.select(self.test_items), preprocessing(self.vit)
        if conditions.corruption:
            images = corrupted(images, wanted, conditions.corruption, conditions.severity)
        return prepare(images, wanted)

    def _test_features(self, conditions: Conditions) -> TensorDataset:
        """The input of a linear head for the test images."""
        model = build_method("linear", copy.deepcopy(self.vit), self.task.num_classes)
        return frozen_features(model, self.test_under(conditions))

    def parts(self, n: int, seed: int, conditions: Conditions, rules: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices of the training and the validation images of a budget of n, and all labels, including wrong ones."""
        labels = self.task.train.labels
        as_listed = rules == VTAB and n == len(labels) and conditions.imbalance == 1
        if as_listed:  # a published list is used as it is, even if some classes have few images or none
            chosen = np.arange(n)
        elif conditions.imbalance > 1:
            chosen = long_tail(labels, n, conditions.imbalance, seed)
        else:
            chosen = few_shot(labels, n, seed)
        if conditions.label_noise:
            wrong, share = labels.copy(), conditions.label_noise
            wrong[chosen] = wrong_labels(labels[chosen], share, conditions.noise, self.task.num_classes, seed)
            labels = wrong
        if as_listed and self.task.validation is not None:
            return chosen[~self.task.validation], chosen[self.task.validation], labels
        return *split_validation(labels, chosen, groups=self.task.train_groups), labels

    def labelled(self, n: int, seed: int, conditions: Conditions, rules: str) -> tuple[TensorDataset, TensorDataset]:
        """Training and validation images of one budget of n, prepared, with their labels, including wrong ones."""
        training, validation, labels = self.parts(n, seed, conditions, rules)
        return self._prepared(training, labels), self._prepared(validation, labels)

    def whole(self, n: int, seed: int, conditions: Conditions, rules: str) -> TensorDataset:
        """All images of one budget of n, prepared, in the order of the task."""
        *parts, labels = self.parts(n, seed, conditions, rules)
        return self._prepared(np.sort(np.concatenate(parts)), labels)

    def _prepared(self, indices: np.ndarray, labels: np.ndarray) -> TensorDataset:
        images = prepare(self.task.train.select(indices), preprocessing(self.vit)).tensors[0]
        return TensorDataset(images, torch.tensor(labels[indices]))


@lru_cache(maxsize=4)
def _load_backbone(*names) -> tuple[VisionTransformer, str]:
    """The backbone, of which copies are adapted, and its fingerprint. All tasks of a report share it."""
    vit = load_backbone(*names)
    return vit, fingerprint(vit)


@lru_cache(maxsize=32)
def _load_material(*names) -> Material:
    return Material(*names)


def material_of(plan: Plan) -> Material:
    """The material of `plan`, loaded at the first call."""
    aspect = "squash" if plan.aspect == "auto" and plan.rules != DONE else plan.aspect
    return _load_material(plan.task, plan.backbone, chosen_size(plan), plan.depth, plan.test_images, aspect)


def pinned(plan: Plan) -> Plan:
    """The plan with what this machine has chosen, so that no other one chooses for itself: input size, arithmetic."""
    return replace(plan, image_size=chosen_size(plan), precision=resolved(plan.precision))


def forget_material() -> None:
    """Load tasks and backbones anew at the next call: files may have changed since a long process has read them."""
    _load_material.cache_clear()
    _load_backbone.cache_clear()


def decode(plan: Plan, progress: Callable[[int], object]) -> None:
    """Decode all images of the plan's own files once, before several runs or processes need them.

    Args:
        progress: called with the number of images that have just been decoded.
    """
    wanted = preprocessing(material_of(plan).vit)
    for part in decoded_images(plan):
        part.keep(wanted.size, wanted.interpolation, progress, aspect=wanted.aspect)


def decoded_images(plan: Plan) -> list[LazyImages]:
    """The images that a plan's runs need decoded: of training, and of test; none where they are embedded."""
    material = material_of(plan)
    train, test = material.task.train, material.task.test
    if not isinstance(train, LazyImages) or not isinstance(test, LazyImages):
        return []
    grid = [(n, seed) for n in plan.sizes for seed in plan.seeds]
    chosen = [np.concatenate(material.parts(*at, plan.conditions, plan.rules)[:2]) for at in grid]
    return [train.select(np.unique(np.concatenate(chosen))), test.select(material.test_items)]


def build_model(plan: Plan, method: str, seed: int = 0, num_prompts: int | None = None) -> AdaptedModel:
    """A fresh, untrained model of `method` on the plan's backbone, with a head for the classes of its task."""
    material = material_of(plan)
    count = (num_prompts or plan.num_prompts) if find_method(method).uses_prompts else None
    if plan.rules == EQUAL:
        options = {} if count is None else {"num_prompts": count}
    elif plan.rules == DONE:
        options = strong_options(method, count)
    else:
        options = published_options(method, count)
    torch.manual_seed(seed)
    return build_method(method, copy.deepcopy(material.vit), material.task.num_classes, **options)


def is_solved(plan: Plan, method: str) -> bool:
    """Whether `method` is solved to convergence under these rules, not trained by steps."""
    return plan.rules == DONE and method in SOLVERS and len(heads(material_of(plan).vit)) == 1
