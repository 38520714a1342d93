"""Conditions of the field: wrong labels, rare classes, and test images that differ from the training images.

`Conditions` belong to a study. Every method meets the same ones, drawn with the same seed. As in the field, they change
labels and class sizes of all labelled images of a run, validation images included. Test images keep their true labels
and class sizes; only `corruption` changes their pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from vptlib.errors import UserError
from vptlib.statement import Statement, statement

NOISES = ("symmetric", "pair")


@dataclass(frozen=True)
class Conditions:
    """The conditions of a study; the defaults change nothing.

    Attributes:
        label_noise: share of the labelled images that carry a wrong label.
        noise: "symmetric" (any other class) or "pair" (always the next class, as if two kinds were confused).
        imbalance: size of the largest class divided by the size of the smallest. Sorted by size, each class is smaller
            than the one before by the same factor.
        corruption: of the test images: "" or a name in `CORRUPTIONS`.
        severity: of the corruption, 1 (light) to 5 (heavy).
    """

    label_noise: float = 0.0
    noise: str = "symmetric"
    imbalance: float = 1.0
    corruption: str = ""
    severity: int = 3

    def __post_init__(self):
        if not 0 <= self.label_noise < 1:
            raise UserError(f"label_noise is {self.label_noise}, but must lie in [0, 1).")
        if self.noise not in NOISES:
            raise UserError(f"noise is {self.noise!r}, but must be one of {', '.join(NOISES)}.")
        if not 1 <= self.imbalance < math.inf:
            raise UserError(f"imbalance is {self.imbalance}, but must be 1 or more.")
        if self.corruption and self.corruption not in CORRUPTIONS:
            raise UserError(f"corruption is {self.corruption!r}, but must be one of {', '.join(CORRUPTIONS)}.")
        if not 1 <= self.severity <= 5:
            raise UserError(f"severity is {self.severity}, but must be 1 to 5.")

    def facts(self) -> dict:
        """The values that differ from the defaults; they are part of a run's key."""
        named = {"label_noise": self.label_noise, "imbalance": self.imbalance, "corruption": self.corruption}
        changed = {name: value for name, value in named.items() if value != getattr(_PLAIN, name)}
        if "label_noise" in changed:
            changed["noise"] = self.noise
        if "corruption" in changed:
            changed["severity"] = self.severity
        return changed

    def statement(self) -> Statement:
        """For the rules of a report; its sentence is "" where nothing is changed."""
        return statement(
            "conditions",
            label_noise=self.label_noise,
            noise=self.noise,
            imbalance=self.imbalance,
            corruption=self.corruption,
            severity=self.severity,
        )


# ---- labels -----------------------------------------------------------------------------------------------------


def wrong_labels(labels: np.ndarray, share: float, noise: str, num_classes: int, seed: int) -> np.ndarray:
    """Labels `N` of which a random share, rounded to whole images, is wrong.

    Args:
        labels: int64 `N`, counted from 0.
        share: of the labels that are changed, 0 to 1.
        noise: "symmetric" or "pair".
        num_classes: two or more.
        seed: of the random choice.
    """
    rng = np.random.default_rng([seed, 1])
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    step = rng.integers(1, num_classes, len(chosen)) if noise == "symmetric" else 1
    changed = labels.copy()
    changed[chosen] = (labels[chosen] + step) % num_classes
    return changed


def long_tail(labels: np.ndarray, n: int, imbalance: float, seed: int) -> np.ndarray:
    """Indices of `n` images in classes of unequal size: each class is smaller than the one before by the same factor.

    The order of the classes, from large to small, is random. Every class keeps at least two images (one to train on,
    one to validate on). For one seed a smaller `n` takes the first images of each class.

    Raises:
        UserError: the data have too few images of a large class, or `n` is too small.
    """
    classes, totals = np.unique(labels, return_counts=True)
    if n < 2 * len(classes):
        raise UserError(f"size {n} is too small for {len(classes)} classes with at least 2 images each.")
    rng = np.random.RandomState(seed)  # its stream is frozen by NumPy (NEP 19)
    order = rng.permutation(len(classes))
    wanted = _falling(n, len(classes), imbalance)
    counts = dict(zip(classes[order].tolist(), wanted.tolist(), strict=True))
    chosen = []
    for label, total in zip(classes.tolist(), totals.tolist(), strict=True):
        if counts[label] > total:
            raise UserError(
                f"size {n} with imbalance {imbalance:g} asks for {counts[label]} images of one class, but class "
                f"{label} has {total}: take a smaller size or imbalance."
            )
        chosen.append(rng.permutation(np.flatnonzero(labels == label))[: counts[label]])
    return rng.permutation(np.concatenate(chosen))


def _falling(n: int, classes: int, imbalance: float) -> np.ndarray:
    """`n` split into counts, each smaller than the one before by the same factor, but at least 2."""
    shares = imbalance ** (-np.arange(classes) / max(1, classes - 1))
    counts = np.maximum(2, np.floor(n * shares / shares.sum())).astype(int)
    while counts.sum() > n:  # raising counts to 2 has made the sum too large
        counts[np.argmax(counts)] -= 1
    counts[: n - counts.sum()] += 1
    return counts


# ---- pixels -----------------------------------------------------------------------------------------------------


def corrupt(images: np.ndarray, corruption: str, severity: int) -> np.ndarray:
    """Images, uint8 `N H W 3`, under a corruption of the kinds of Hendrycks and Dietterich (arXiv 1903.12261).

    Every image has its own noise. The same images always get the same noise.
    """
    return CORRUPTIONS[corruption](images, severity)


def _noise(images: np.ndarray, severity: int) -> np.ndarray:
    rng = np.random.default_rng(severity)
    return _bytes(images + rng.normal(0, 255 * 0.04 * severity, images.shape))


def _blur(images: np.ndarray, severity: int) -> np.ndarray:
    radius = severity * images.shape[1] / 150  # looks equally strong at every image size
    return _each(images, lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def _brightness(images: np.ndarray, severity: int) -> np.ndarray:
    return _bytes(images + 255 * 0.1 * severity)


def _contrast(images: np.ndarray, severity: int) -> np.ndarray:
    means = images.mean(axis=(1, 2), keepdims=True)
    return _bytes(means + (images - means) * (1 - 0.17 * severity))


def _pixels(images: np.ndarray, severity: int) -> np.ndarray:
    height, width = images.shape[1:3]
    coarse = max(1, round(width * (1 - 0.15 * severity))), max(1, round(height * (1 - 0.15 * severity)))
    shrink, grow = Image.Resampling.BOX, Image.Resampling.NEAREST
    return _each(images, lambda image: image.resize(coarse, shrink).resize((width, height), grow))


CORRUPTIONS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelation": _pixels,
}


def _each(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in images]) if len(images) else images


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(values.clip(0, 255)).astype(np.uint8)


_PLAIN = Conditions()
