"""Model files for tests of operations: every method on a small backbone, without training."""

import json

import numpy as np
import torch
from models import redraw, small_vit
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vptlib.evidence.answers import Answers
from vptlib.operations.artefact import Card, backbone_card, write_artefact
from vptlib.operations.features import reference_of
from vptlib.tuning.backbones import ClsMeanViT, fingerprint, preprocessing
from vptlib.tuning.methods import build_method
from vptlib.tuning.modules import NeighbourHead
from vptlib.tuning.promptfile import sealed

OPTIONS = {"knn": {"images": 7}}
CLASSES = ("good", "scratch", "pit")


def small_backbone(seed=0):
    """A backbone that makes different pictures different."""
    vit = small_vit(ClsMeanViT, seed=seed, patch_size=4)
    redraw([tensor for name, tensor in vit.named_parameters() if "norm" not in name], seed=seed + 1, scale=0.3)
    return vit


def learned(method="vpt-deep", vit=None, seed=0, **options):
    """A model of a method on its own copy of a small backbone, with trained tensors that `seed` draws."""
    vit = small_backbone() if vit is None else vit
    model = build_method(method, vit, len(CLASSES), **options)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.trained_state().values():
            tensor.add_(torch.randn(tensor.shape, generator=draw))
    if isinstance(model.head, NeighbourHead):
        model.head.remember(torch.randn(7, 64, generator=draw), torch.arange(7) % 3, 3)
    return model.eval()


def card_for(model, found, **changes):
    """A card of a small model; `found` is the fingerprint of its backbone before training."""
    about = {
        "title": "cells",
        "method": model.method,
        "options": model.options,
        "class_names": CLASSES,
        "preprocessing": preprocessing(model.vit),
        "backbone": backbone_card(model.vit, "small", "drawn", "ours", found),
        "recipe": {"n": 40, "seed": 0},
        "data": {"task": "cells", "fingerprint": "f" * 64, "test_images": 30},
        "lineage": {"run_id": "r1", "report": "a" * 64},
    }
    return Card(**about | changes)


def answers_for(right=24, images=30, seed=0, probabilities=True):
    """Answers to test images of three classes, of which `right` are right."""
    random = np.random.default_rng(seed)
    truth = np.arange(images) % 3
    predictions = np.where(np.arange(images) < right, truth, (truth + 1) % 3)
    shares = random.dirichlet(np.ones(3), images).astype(np.float32)
    shares[np.arange(images), predictions] += 1
    given = (shares / shares.sum(axis=1, keepdims=True))[None] if probabilities else None
    return Answers(predictions[None], truth, CLASSES, given)


def reference_for(answers, width=64, seed=0):
    """A reference of as many images as `answers` has, with features of each class around a place of its own."""
    random = np.random.default_rng(seed)
    places = random.normal(0, 2, (len(answers.class_names), width))  # C D
    return reference_of(places[answers.predictions[0]] + random.normal(0, 1, (answers.images, width)))


def exported(path, method="vpt-deep", seed=0, answers=None, options=None, watched=True, **changes):
    """A model file at `path`; `watched`: with a reference of features, as an export writes it."""
    vit = small_backbone()
    found = fingerprint(vit)
    model = learned(method, vit, seed, **(options or OPTIONS.get(method, {})))
    answers = answers or answers_for()
    reference = reference_for(answers, model.head.in_features) if watched else None
    return write_artefact(path, model, card_for(model, found, **changes), answers, reference)


def rewritten(path, texts=lambda given: given, tensors=lambda given: given):
    """The file with other texts or tensors, and with the checksum that belongs to them."""
    with safe_open(path, framework="pt") as file:
        given = json.loads(file.metadata()["vptlib"])
    del given["sha256"]
    changed = tensors(load_file(path))
    save_file(changed, path, metadata=sealed(texts(given), changed))
