"""From images to the input of a backbone: sets of decoded images, and tensors of the right size and colours.

The input is square. How an image becomes square is the `aspect` of a `Preprocessing`; `vptlib.data.files` describes
the three ways.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from vptlib.data.conditions import corrupt
from vptlib.data.files import ASPECTS, PAD_GREY, LazyImages, fitted, middle_square
from vptlib.errors import UserError


@dataclass(frozen=True)
class Preprocessing:
    """The input that a backbone expects: square RGB images of `size` pixels, normalised by `mean` and `std`.

    Attributes:
        size: side of the square in pixels.
        mean, std: of the three channels, on a scale from 0 to 1.
        interpolation: "bilinear" or "bicubic".
        aspect: how an image becomes square: "squash", "crop" or "pad" (`vptlib.data.files.ASPECTS`).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    aspect: str = "squash"

    def __post_init__(self):
        if self.aspect not in ASPECTS:
            raise UserError(f"aspect is {self.aspect!r}, but must be one of {', '.join(ASPECTS)}.")


@dataclass(frozen=True)
class ImageSet:
    """Images as uint8 `N H W 3`, all of one size, and their labels as int64 `N`, counted from 0; both read-only."""

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] != 3:
            raise UserError(f"images are {self.images.dtype} {self.images.shape}, but must be uint8 N H W 3.")
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise UserError(
                f"labels are {self.labels.dtype} {self.labels.shape}, but must be int64, one for each of the "
                f"{len(self.images)} images."
            )
        for name in ("images", "labels"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: np.ndarray | slice) -> "ImageSet":
        """The images at `indices`, in that order."""
        return ImageSet(self.images[indices], self.labels[indices])


# Prepared sets up to this size are held in memory as a whole. Larger ones are prepared batch by batch.
MOST_PREPARED_BYTES = 2**30


class LazyPixels:
    """Images as a backbone expects them, prepared when a batch is needed.

    It replaces a tensor float32 `N 3 S S` of all images, and gives the same numbers bit for bit. Of the user's own
    images only the decoded bytes are kept, on disk (`vptlib.data.files`).
    """

    def __init__(self, images: ImageSet | LazyImages, preprocessing: Preprocessing):
        self._images, self._preprocessing = images, preprocessing
        self.shape = torch.Size((len(images), 3, preprocessing.size, preprocessing.size))

    def __len__(self) -> int:
        return self.shape[0]

    def size(self, axis: int) -> int:
        """As `Tensor.size`."""
        return self.shape[axis]

    @property
    def nbytes(self) -> int:
        """Bytes that all of them would take in memory."""
        return 4 * self.shape.numel()

    def __getitem__(self, positions: Tensor | slice | int) -> Tensor:
        """The images at `positions` (int64 `B`, or a slice), float32 `B 3 S S`; for a number, one image `3 S S`."""
        if isinstance(positions, int):
            return self[positions : positions + 1 or None][0]
        wanted = self._preprocessing
        part = self._images.select(positions if isinstance(positions, slice) else positions.numpy())
        raw = pixels_of(part, wanted)  # B H W 3
        return _normalised(raw, wanted).contiguous()  # the layout in memory changes how convolutions round

    def split(self, count: int) -> Iterator[Tensor]:
        """All of them in order, `count` at a time, float32 `B 3 S S`."""
        for start in range(0, len(self), count):
            yield self[start : start + count]


def pixels_of(images: ImageSet | LazyImages, wanted: Preprocessing) -> np.ndarray:
    """uint8 `N H W 3`: squares as a backbone expects them, or as they are where they are in memory."""
    if isinstance(images, LazyImages):
        return images.pixels(wanted.size, wanted.interpolation, wanted.aspect)
    return images.images


def prepare(images: ImageSet | LazyImages, preprocessing: Preprocessing) -> TensorDataset:
    """Images as the backbone expects them: float32 `N 3 S S`, normalised, with their labels as int64 `N`.

    By default images are scaled to the square without cropping, as VTAB does; see `Preprocessing.aspect`. They are
    antialiased when they shrink. Apart from the result, only a few hundred images are in memory at a time. If the
    result would take more than `MOST_PREPARED_BYTES`, its images are `LazyPixels` instead of a tensor.

    Raises:
        UserError: the backbone needs an interpolation other than bilinear or bicubic.
    """
    if preprocessing.interpolation not in ("bilinear", "bicubic"):
        raise UserError(f"interpolation {preprocessing.interpolation!r} is not known: use bilinear or bicubic.")
    lazy, labels = LazyPixels(images, preprocessing), torch.tensor(images.labels)
    if lazy.nbytes > MOST_PREPARED_BYTES:
        return TensorDataset(cast(Tensor, lazy), labels)  # all that use it take `LazyPixels` for a tensor
    result, chunk = torch.empty(lazy.shape), 256  # N 3 S S
    for start, part in zip(range(0, len(images), chunk), lazy.split(chunk), strict=True):
        result[start : start + chunk] = part
    return TensorDataset(result, labels)


def corrupted(images: ImageSet | LazyImages, preprocessing: Preprocessing, corruption: str, severity: int) -> ImageSet:
    """Images under a corruption of `vptlib.data.conditions`, before `prepare`.

    The user's own are corrupted as the model sees them, others at the size that they have.
    """
    wanted = preprocessing
    lazy = isinstance(images, LazyImages)
    pixels = images.pixels(wanted.size, wanted.interpolation, wanted.aspect) if lazy else images.images  # N H W 3
    return ImageSet(corrupt(pixels, corruption, severity), images.labels)


def _normalised(images: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """uint8 `B H W 3` to float32 `B 3 S S`."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (_squared(images, preprocessing) - mean) / std


def _squared(images: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """uint8 `B H W 3` to float32 `B 3 S S`, from 0 to 1; the same as `vptlib.data.files.squared`, but for tensors."""
    size = preprocessing.size
    height, width = images.shape[1:3]
    pixels = torch.tensor(images).permute(0, 3, 1, 2).float() / 255  # B 3 H W
    if preprocessing.aspect == "pad":
        inner_width, inner_height = fitted(width, height, size)
        return _padded(_scaled(pixels, (inner_height, inner_width), preprocessing.interpolation), size)
    if preprocessing.aspect == "crop":
        left, top, right, bottom = middle_square(width, height)
        pixels = pixels[:, :, top:bottom, left:right]
    return _scaled(pixels, (size, size), preprocessing.interpolation)


def _scaled(pixels: Tensor, sides: tuple[int, int], interpolation: str) -> Tensor:
    """`B 3 H W` to the height and width in `sides`."""
    if pixels.shape[2:] == sides:
        return pixels
    return F.interpolate(pixels, sides, mode=interpolation, antialias=True).clamp(0, 1)


def _padded(pixels: Tensor, size: int) -> Tensor:
    """`B 3 H W` in the middle of a grey square, `B 3 S S`."""
    height, width = pixels.shape[2:]
    left, top = (size - width) // 2, (size - height) // 2
    return F.pad(pixels, (left, size - width - left, top, size - height - top), value=PAD_GREY / 255)


def as_the_model_sees(images: ImageSet | LazyImages, preprocessing: Preprocessing) -> np.ndarray:
    """Images for display, uint8 `N S S 3`: those of `prepare`, before their colours are normalised; none is kept.

    Raises:
        UserError: a file is not a whole image.
    """
    if isinstance(images, LazyImages):
        wanted = preprocessing
        return images.source.decoded(images.rows, wanted.size, wanted.interpolation, wanted.aspect)
    seen = _squared(images.images, preprocessing).permute(0, 2, 3, 1)  # N S S 3
    return (255 * seen).round().byte().numpy()


def pictures_of(images: ImageSet | LazyImages, preprocessing: Preprocessing, size: int = 224) -> np.ndarray:
    """Images for display, uint8 `N H W 3`: the part that a model sees, of `size` pixels; small sets as they are."""
    if isinstance(images, ImageSet) and preprocessing.aspect == "squash":
        return images.images
    return as_the_model_sees(images, replace(preprocessing, size=size))


def aspect_in_effect(images: ImageSet | LazyImages, aspect: str) -> str:
    """`aspect`, or "squash" where all images of the task are square: every aspect is then the same."""
    if isinstance(images, LazyImages):
        square = images.source.all_square
    else:
        height, width = images.images.shape[1:3]
        square = height == width
    return "squash" if square else aspect


def grey_images(images: np.ndarray, labels: np.ndarray) -> ImageSet:
    """Grey images `N H W` in three equal channels, without copying them."""
    return ImageSet(np.broadcast_to(images[..., None], (*images.shape, 3)), labels.astype(np.int64))
