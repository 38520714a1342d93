"""What the head of a model reads of an image, and a short form of it by which new images are compared with tested ones.

The features of an image are the input of `AdaptedModel.head`: what a backbone, with all that a method has put into it,
makes of the image after pooling. Where a backbone has two heads (a distilled DeiT), they are the mean of what both
read. `vptlib.evidence.drift` asks whether the features of new images are those of the test images. For that a `.vpt`
file keeps a `Reference`: the main directions of the features of the test images, and where each test image lies on
them. An image cannot be drawn from so few numbers, and only they are kept.
"""
# torch types all that a Module holds as Tensor or Module.
# pyright: reportCallIssue=false

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vptlib.errors import UserError
from vptlib.prompting.blocks import ViT, heads
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.modules import FeatureReader

# So many directions are kept at most.
MOST_DIRECTIONS = 16
# Coordinates are in units of the spread along the main direction, so no image that can be shown lies further away.
_FURTHEST = 6e4


# ---- features ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def logits_and_features(model: AdaptedModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits `B C` and features `B D` of images `B 3 H W`, from one pass.

    Modules are called one after the other and nothing is kept in them. So threads may share them.
    """
    if isinstance(model.net, FeatureReader):
        features = model.features(images)  # B D
        return model.net.classify(features), features
    return read_by_head(model.vit, model.in_use.forward_features(images))


def read_by_head(vit: ViT, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Logits `B C` and features `B D` from the tokens `B N D` that a backbone ends with."""
    features = vit.forward_head(tokens, pre_logits=True)  # B D
    if len(heads(vit)) > 1:  # each head reads a token of its own
        return vit.forward_head(tokens), features
    return vit.head(features), features


class Kept:
    """Features that the passes of `features_kept` read.

    Attributes:
        parts: of each head, what it read, batch by batch, `B D` each.
    """

    def __init__(self, number_of_heads: int):
        self.parts: list[list[Tensor]] = [[] for _ in range(number_of_heads)]

    def last(self, count: int) -> Tensor:
        """Features `count D` of the last so many images: a pass that was begun again has read some of them twice."""
        return torch.stack([torch.cat(parts)[-count:] for parts in self.parts]).mean(dim=0)


@contextmanager
def features_kept(model: AdaptedModel) -> Iterator[Kept]:
    """Keep the features of all images that go through `model`, such as in `vptlib.tuning.training.evaluate`.

    Not for models whose modules several threads share: it keeps the features of all passes through the head.
    """
    kept = Kept(len(heads(model.vit)))

    def keeper(parts: list[Tensor]):
        return lambda _head, inputs: parts.append(inputs[0].detach().float().cpu())

    hooks = [h.register_forward_pre_hook(keeper(p)) for h, p in zip(heads(model.vit), kept.parts, strict=True)]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


# ---- the short form ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Reference:
    """Where the test images of a model lie among the features.

    Attributes:
        centre: mean of their features, float32 `D`.
        basis: k main directions, float32 `D k`, scaled so that the coordinates along the first have variance 1.
        coordinates: of the test images in their order, float16 `n k`.
    """

    centre: np.ndarray
    basis: np.ndarray = field(repr=False)
    coordinates: np.ndarray = field(repr=False)

    def __post_init__(self):
        width, count = self.basis.shape if self.basis.ndim == 2 else (0, 0)
        fits = self.centre.shape == (width,) and self.coordinates.ndim == 2 and self.coordinates.shape[1] == count
        if not fits or not 1 <= count <= MOST_DIRECTIONS or len(self.coordinates) < 2:
            shapes = [part.shape for part in (self.centre, self.basis, self.coordinates)]
            raise UserError(f"centre, basis and coordinates have shapes {shapes}, but must be `D`, `D k` and `n k`.")
        if not all(np.isfinite(part).all() for part in (self.centre, self.basis, self.coordinates)):
            raise UserError("centre, basis or coordinates hold numbers that are not finite.")

    def coordinates_of(self, features: Tensor | np.ndarray) -> np.ndarray:
        """Features `B D` to coordinates, float16 `B k`.

        Raises:
            UserError: features of another width.
        """
        given = _as_array(features)  # B D
        if given.ndim != 2 or given.shape[1] != len(self.centre):
            raise UserError(f"features have shape {given.shape}, but must be `B {len(self.centre)}`.")
        return _coordinates(given, self.centre, self.basis)


def reference_of(features: Tensor | np.ndarray) -> Reference:
    """The reference of test images by their features `n D`: principal components, at most 16.

    A direction points to where its largest entry is positive, so the same features give the same numbers again.

    Raises:
        UserError: fewer than two images, or features that are not finite.
    """
    given = _as_array(features)  # n D
    if given.ndim != 2 or len(given) < 2:
        raise UserError(f"features have shape {given.shape}, but must be `n D` of two test images or more.")
    if not np.isfinite(given).all():
        raise UserError("the features of the test images are not all finite numbers: train the model again.")
    centre = given.mean(axis=0)
    basis, scale = _main_directions(given - centre)
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
    centre, basis = centre.astype(np.float32), (basis / (scale or 1.0)).astype(np.float32)
    return Reference(centre, basis, _coordinates(given, centre, basis))


def _main_directions(centred: np.ndarray) -> tuple[np.ndarray, float]:
    """The main directions `D k` of features `n D` with mean 0, and the standard deviation along the first."""
    images, width = centred.shape
    count = min(MOST_DIRECTIONS, images - 1, width)
    if images <= width:
        _, spread, directions = np.linalg.svd(centred, full_matrices=False)
        return directions[:count].T, float(spread[0] / np.sqrt(images - 1))
    variances, directions = np.linalg.eigh(centred.T @ centred / (images - 1))  # rising; far faster than of `n D`
    return directions[:, ::-1][:, :count], float(np.sqrt(max(0.0, variances[-1])))


def _as_array(features: Tensor | np.ndarray) -> np.ndarray:
    """Float64, because features of a large mean lose digits otherwise."""
    given = features.detach().double().cpu().numpy() if isinstance(features, Tensor) else features
    return np.asarray(given, dtype=np.float64)


def _coordinates(features: np.ndarray, centre: np.ndarray, basis: np.ndarray) -> np.ndarray:
    found = (features - centre.astype(np.float64)) @ basis.astype(np.float64)  # B k
    return found.clip(-_FURTHEST, _FURTHEST).astype(np.float16)
