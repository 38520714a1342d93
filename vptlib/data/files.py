"""Images in a fixed order as square RGB of one size: decoded when they are needed, and then kept.

An image is decoded once for each size and aspect (`vptlib.data.decoding`). The result is kept in the cache folder, for
all processes and later runs (`vptlib.data.kept`).

The model's input is square, and `ASPECTS` are the ways to make an image square. "squash" scales both sides to the
square, as VTAB does. "crop" cuts the largest square out of the middle and scales that. "pad" scales the whole image
until its long side fits, and fills the rest with `PAD_GREY`. A square image is the same under all three.
"""

import copy
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from vptlib.data.decoding import deep_values, deep_values_of, depth_of, held, opened, upright
from vptlib.data.findings import Finding
from vptlib.data.grey import kind_of
from vptlib.data.grey_range import Greys, Range, checked_range, greys_of
from vptlib.data.kept import KeptImages
from vptlib.errors import UserError
from vptlib.paths import cache_folder

# Decoded images of one task are kept on disk up to this many bytes (at one image size). Those of a larger task are
# decoded again for each batch.
MOST_KEPT_BYTES = 8 * 2**30
ASPECTS = ("squash", "crop", "pad")
# In all three channels. The mean colours of the usual backbones lie within 24 of 255 of it.
PAD_GREY = 128
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_LOOKED_AT = 64  # images of a library of which the depth is looked at, evenly spaced


def middle_square(width: int, height: int) -> tuple[int, int, int, int]:
    """The largest square in the middle of an image, in whole pixels: left, top, right, bottom."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height of an image after its long side is scaled to `side`; the short side is at least 1 pixel."""
    longer = max(width, height)
    return max(1, round(width * side / longer)), max(1, round(height * side / longer))


def squared(image: Image.Image, size: int, interpolation: str, aspect: str) -> Image.Image:
    """An RGB image as a square of `size` pixels, scaled once; `aspect` is one of `ASPECTS`."""
    if aspect == "pad":
        return _padded(_scaled(image, fitted(*image.size, size), interpolation), size)
    if aspect == "crop":  # cut out before scaling: nothing from outside reaches the edge
        image = image.crop(middle_square(*image.size))
    return _scaled(image, (size, size), interpolation)


def _scaled(image: Image.Image, sides: tuple[int, int], interpolation: str) -> Image.Image:
    if image.size == sides:
        return image
    return image.resize(sides, _RESAMPLING[interpolation])  # Pillow antialiases when it shrinks


def _padded(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    square = Image.new("RGB", (size, size), (PAD_GREY,) * 3)
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square


class Images:
    """Images in a fixed order, and those already decoded. Sub-classes give their number and open one of them."""

    _grey: Range | None = None  # asked for; found if it is None

    def __len__(self) -> int:
        raise NotImplementedError

    def open(self, row: int, least: int | None = None) -> Image.Image:
        """One image as 8-bit RGB; with `least` it may come smaller, as in `vptlib.data.decoding.decode`."""
        with self.held(row, least) as image:
            return image

    @contextmanager
    def held(self, row: int, least: int | None = None) -> Iterator[Image.Image]:
        """`open`, for as long as the context lasts: only as many images at once as memory allows."""
        raise NotImplementedError
        yield  # pyright: ignore[reportUnreachable]

    def with_grey(self, grey: Range) -> Self:
        """The same images with another range of greys.

        Args:
            grey: the values that become black and white in images of more than 8 bits.

        Raises:
            UserError: it is no range.
        """
        other = copy.copy(self)
        for known in ("greys", "digest"):
            other.__dict__.pop(known, None)
        other._grey = checked_range(grey)
        return other

    @property
    def grey_range(self) -> Range | None:
        """The values that become black and white in images of more than 8 bits; None if there are none.

        It is found once, from some of these images. Images of 8 bits are not looked at.
        """
        return self.greys.range

    @cached_property
    def greys(self) -> Greys:
        """What is known of the images of more than 8 bits."""
        return Greys(images=len(self))

    def remarks(self) -> list[Finding]:
        """What has to be said about values of more than 8 bits."""
        return self.greys.remarks()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all images."""
        raise NotImplementedError

    @cached_property
    def all_square(self) -> bool:
        """Whether every image is square, so that all of `ASPECTS` give the same."""
        raise NotImplementedError

    def pixels(self, rows: np.ndarray, size: int, interpolation: str, aspect: str = "squash") -> np.ndarray:
        """The images at `rows` as uint8 `N S S 3`, made square by one of `ASPECTS`; each is decoded once.

        Raises:
            UserError: a file is not a whole image, or the cache folder cannot be written.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if not self._may_be_kept(size):
            return self.decoded(rows, size, interpolation, aspect)
        file = self._kept(size, interpolation, aspect)
        images, kept = file.read(rows)
        for part, fresh in self._decode_and_keep(file, rows[~kept], size, interpolation, aspect):
            here = np.flatnonzero(np.isin(rows, part) & ~kept)
            images[here] = fresh[np.searchsorted(part, rows[here])]
        return images

    def keep(
        self,
        rows: np.ndarray,
        size: int,
        interpolation: str,
        progress: Callable[[int], object] | None = None,
        aspect: str = "squash",
    ) -> None:
        """Decode the images at `rows` that are not kept yet, a few at a time; nothing if the task is too large to keep.

        Args:
            progress: called with the number of images that have just been decoded.

        Raises:
            UserError: as `pixels`.
        """
        if not self._may_be_kept(size):
            return
        file, rows = self._kept(size, interpolation, aspect), np.asarray(rows, dtype=np.int64)
        for part, _ in self._decode_and_keep(file, rows[~file.noted(rows)], size, interpolation, aspect):
            if progress:
                progress(len(part))

    def not_kept(self, rows: np.ndarray, size: int, interpolation: str, aspect: str = "squash") -> np.ndarray:
        """Those of `rows` that `keep` would decode."""
        if not self._may_be_kept(size):
            return rows[:0]
        return rows[~self._kept(size, interpolation, aspect).noted(rows)]

    def decoded(self, rows: np.ndarray, size: int, interpolation: str, aspect: str = "squash") -> np.ndarray:
        """The images at `rows` as uint8 `N S S 3`, decoded now."""
        images = np.zeros((len(rows), size, size, 3), dtype=np.uint8)
        with ThreadPoolExecutor(_threads()) as pool:
            square = pool.map(lambda row: self.square(row, size, interpolation, aspect), rows.tolist())
            for k, image in enumerate(square):
                images[k] = image
        return images

    def square(self, row: int, size: int, interpolation: str, aspect: str = "squash") -> np.ndarray:
        """One image as uint8 `S S 3`, decoded now."""
        # "squash" keeps the numbers of earlier versions. With four pixels for one the others move by 1/8 pixel at most.
        least = None if aspect == "squash" else 4 * size
        with self.held(row, least) as image:
            return np.asarray(squared(image, size, interpolation, aspect))

    def _may_be_kept(self, size: int) -> bool:
        return len(self) * size * size * 3 <= MOST_KEPT_BYTES

    def _decode_and_keep(
        self, file: KeptImages, rows: np.ndarray, size: int, interpolation: str, aspect: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Decode and keep the images at `rows`, some at a time: their rows, each once and sorted, and their pixels."""
        missing = np.unique(rows)
        if len(missing):
            _check_room(len(missing) * size * size * 3)
        for start in range(0, len(missing), 256):
            part = missing[start : start + 256]
            images = self.decoded(part, size, interpolation, aspect)
            try:
                file.write(part, images)
            except OSError as error:
                raise UserError(_cannot_be_kept(str(error), len(missing) * size * size * 3)) from error
            yield part, images

    def _kept(self, size: int, interpolation: str, aspect: str) -> KeptImages:
        what = f"{self.digest} {size} {interpolation}"
        if aspect != "squash" and not self.all_square:
            what += f" {aspect}"
        name = hashlib.sha256(what.encode()).hexdigest()[:32]
        try:
            return KeptImages(_kept_folder(), name, size)
        except OSError as error:
            raise UserError(_cannot_be_kept(str(error), len(self) * size * size * 3)) from error


class ImageFiles(Images):
    """Images that are files.

    Args:
        paths: one for each image.
    """

    def __init__(self, paths: Sequence[Path]):
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    @contextmanager
    def held(self, row: int, least: int | None = None) -> Iterator[Image.Image]:
        """As `Images.held`; raises a UserError that names the file if it is not a whole image."""
        with held(self.paths[row], least, self.grey_range) as image:
            yield image

    @cached_property
    def greys(self) -> Greys:
        """What is known of the images of more than 8 bits, from all headers and from the pixels of some."""
        with ThreadPoolExecutor(_threads()) as pool:
            kinds = list(pool.map(depth_of, self.paths, chunksize=64))
        return greys_of(kinds, lambda row: deep_values(self.paths[row]), lambda row: str(self.paths[row]), self._grey)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the bytes of all files, in order, and an unusual range of greys; reads each file once."""
        whole = hashlib.sha256()
        with ThreadPoolExecutor(_threads()) as pool:
            for one in pool.map(_digest_of, self.paths):
                whole.update(one)
        if not self.greys.is_usual:
            whole.update(f"grey {self.grey_range}".encode())
        return whole.hexdigest()

    @cached_property
    def all_square(self) -> bool:
        """Whether every image is square; reads the files' headers up to the first that is not."""
        return all(map(_is_square, self.paths))


class ListedImages(Images):
    """Images that a library gives one by one.

    Args:
        count: how many.
        image_at: gives the Pillow image of a number, counted from 0.
    """

    def __init__(self, count: int, image_at: Callable[[int], Image.Image]):
        self._count, self._image_at = count, image_at

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def held(self, row: int, least: int | None = None) -> Iterator[Image.Image]:
        """As `Images.held`, always at its own size; a UserError names the image by its number."""
        yield upright(self._image_at(row), f"image {row}", self.grey_range)

    @cached_property
    def greys(self) -> Greys:
        """What is known of the images of more than 8 bits, from some of them; none if those have 8 bits."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(len(self), _LOOKED_AT)).round().astype(np.int64)).tolist()
        if not any(self._kind_at(row) for row in rows):
            return Greys(images=len(self))
        kinds = [self._kind_at(row) for row in range(len(self))]
        return greys_of(kinds, lambda row: deep_values_of(self._image_at(row)), "image {}".format, self._grey)

    def _kind_at(self, row: int) -> str | None:
        """As `kind_of`; None for an image that the library cannot give, which is named when it is decoded."""
        try:
            return kind_of(self._image_at(row).mode)
        except Exception:  # libraries raise exceptions of many kinds
            return None

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all pixels, in order; decodes each image once."""
        whole = hashlib.sha256()
        for row in range(len(self)):
            image = self.open(row)
            whole.update(f"{image.size}".encode())
            whole.update(image.tobytes())
        return whole.hexdigest()

    @cached_property
    def all_square(self) -> bool:
        """Whether every image is square; decodes them up to the first that is not."""
        return all(image.width == image.height for image in map(self.open, range(len(self))))


@dataclass(frozen=True, eq=False)
class LazyImages:
    """Images that are decoded when they are needed, with labels; used like a `vptlib.data.preparing.ImageSet`.

    Attributes:
        source: all images of the task.
        rows: which of them these are, int64 `N`.
        labels: int64 `N`, counted from 0.
    """

    source: Images
    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: np.ndarray | slice) -> "LazyImages":
        """The images at `indices`, in that order."""
        return LazyImages(self.source, self.rows[indices], self.labels[indices])

    def pixels(self, size: int, interpolation: str, aspect: str = "squash") -> np.ndarray:
        """All of them as uint8 `N S S 3`, made square by one of `ASPECTS`."""
        return self.source.pixels(self.rows, size, interpolation, aspect)

    def keep(
        self,
        size: int,
        interpolation: str,
        progress: Callable[[int], object] | None = None,
        aspect: str = "squash",
    ) -> None:
        """Decode all of them once, with only a few in memory at a time; see `Images.keep`."""
        self.source.keep(self.rows, size, interpolation, progress, aspect)

    @property
    def images(self) -> np.ndarray:
        """All of them for display, uint8 `N S S 3` at 224 px, not kept."""
        return self.source.decoded(self.rows, 224, "bicubic")


def _kept_folder() -> Path:
    return cache_folder() / "decoded"


def _check_room(needed: int) -> None:
    """Raise if the disk is too full, before anything is decoded."""
    free = shutil.disk_usage(_kept_folder()).free
    if free < needed:
        raise UserError(_cannot_be_kept(f"{free / 1e6:.0f} MB are free", needed))


def _cannot_be_kept(reason: str, needed: int) -> str:
    return (
        f"decoded images cannot be kept in {_kept_folder()} ({reason}): free {needed / 1e6:.0f} MB there, or set "
        "VPTLIB_CACHE to a folder that can be written."
    )


def _digest_of(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): restore it, or take it out of the list.") from error


def _is_square(path: Path) -> bool:
    """Whether the image in a file is square, by its header; a file that cannot be read is named when it is decoded."""
    try:
        with opened(path) as image:
            return image.width == image.height
    except UserError:
        return True


def _threads() -> int:
    """Threads help, because Pillow releases Python's lock while it decodes."""
    return min(8, os.cpu_count() or 1)
