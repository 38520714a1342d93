"""From images to the input of a backbone: sets of decoded images, and tensors of the right size and colours."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from vptlib.data.files import LazyImages
from vptlib.errors import UserError


@dataclass(frozen=True)
class Preprocessing:
    """The input that a backbone expects: square RGB images of `size` pixels, normalised by `mean` and `std`."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


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
        size, interpolation = self._preprocessing.size, self._preprocessing.interpolation
        part = self._images.select(positions if isinstance(positions, slice) else positions.numpy())
        raw = part.pixels(size, interpolation) if isinstance(part, LazyImages) else part.images  # B H W 3
        return _normalised(raw, self._preprocessing).contiguous()  # the layout in memory changes how convolutions round

    def split(self, count: int) -> Iterator[Tensor]:
        """All of them in order, `count` at a time, float32 `B 3 S S`."""
        for start in range(0, len(self), count):
            yield self[start : start + count]


def prepare(images: ImageSet | LazyImages, preprocessing: Preprocessing) -> TensorDataset:
    """Images as the backbone expects them: float32 `N 3 S S`, normalised, with their labels as int64 `N`.

    Images are scaled to the square without cropping, as VTAB does, and antialiased when they shrink. Apart from the
    result, only a few hundred images are in memory at a time. If the result would take more than
    `MOST_PREPARED_BYTES`, its images are `LazyPixels` instead of a tensor.

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


def _normalised(images: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """uint8 `B H W 3` to float32 `B 3 S S`."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    pixels = torch.tensor(images).permute(0, 3, 1, 2).float() / 255  # B 3 H W
    if pixels.shape[2:] != (preprocessing.size, preprocessing.size):
        square = (preprocessing.size, preprocessing.size)
        pixels = F.interpolate(pixels, square, mode=preprocessing.interpolation, antialias=True).clamp(0, 1)
    return (pixels - mean) / std


def grey_images(images: np.ndarray, labels: np.ndarray) -> ImageSet:
    """Grey images `N H W` in three equal channels, without copying them."""
    return ImageSet(np.broadcast_to(images[..., None], (*images.shape, 3)), labels.astype(np.int64))
