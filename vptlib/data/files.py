"""Image files of all kinds as RGB: decoded when they are needed, at the size that is needed, and then kept.

Every file becomes 8-bit RGB. It is rotated by its EXIF orientation, 16-bit grey is scaled (not clipped), and alpha is
blended with white. Palette, grey, 1-bit and CMYK images are converted. An image is decoded once for each size and
aspect. The result is kept as raw bytes in the cache folder, for all processes and later runs.

The model's input is square, and `ASPECTS` are the ways to make an image square. "squash" scales both sides to the
square, as VTAB does. "crop" cuts the largest square out of the middle and scales that. "pad" scales the whole image
until its long side fits, and fills the rest with `PAD_GREY`. A square image is the same under all three.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from vptlib.errors import UserError
from vptlib.paths import cache_folder

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
# Decoded images of one task are kept on disk up to this many bytes (at one image size). Those of a larger task are
# decoded again for each batch.
MOST_KEPT_BYTES = 8 * 2**30
ASPECTS = ("squash", "crop", "pad")
# In all three channels. The mean colours of the usual backbones lie within 24 of 255 of it.
PAD_GREY = 128
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def decode(path: Path, least: int | None = None) -> Image.Image:
    """The image in a file as 8-bit RGB, the right way up.

    Args:
        path: the file.
        least: an oblong JPEG may be decoded at a half, a quarter or an eighth of its size, which is several times as
            fast, if both sides keep this many pixels. By default every image is decoded at its own size.

    Raises:
        UserError: the file is missing, truncated or not an image; the message names it.
    """
    try:
        with Image.open(path) as image:
            if least and image.format == "JPEG" and image.width != image.height:
                image.draft(None, (least, least))
            image.load()
            return as_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: restore it, or take it out of the list.") from error
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image ({error}): replace it, or take it out.") from error


def is_whole(path: Path) -> bool:
    """Whether the whole file can be read as an image."""
    try:
        decode(path)
    except UserError:
        return False
    return True


def as_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as 8-bit RGB."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        grey = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.rint(grey.clip(0, 65535) / 257).astype(np.uint8))
    elif image.mode == "F":
        image = Image.fromarray(np.rint(255 * np.asarray(image).clip(0, 1)).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


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

    def __len__(self) -> int:
        raise NotImplementedError

    def open(self, row: int, least: int | None = None) -> Image.Image:
        """One image as 8-bit RGB; with `least` it may come smaller, as in `decode`."""
        raise NotImplementedError

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
        return np.asarray(self._filled(rows, size, interpolation, aspect)[rows])

    def keep(
        self,
        rows: np.ndarray,
        size: int,
        interpolation: str,
        progress: Callable[[int], None] | None = None,
        aspect: str = "squash",
    ) -> None:
        """Decode the images at `rows` that are not kept yet, a few at a time; nothing if the task is too large to keep.

        Args:
            progress: called with the number of images that have just been decoded.

        Raises:
            UserError: as `pixels`.
        """
        if self._may_be_kept(size):
            self._filled(np.asarray(rows, dtype=np.int64), size, interpolation, aspect, progress)

    def decoded(self, rows: np.ndarray, size: int, interpolation: str, aspect: str = "squash") -> np.ndarray:
        """The images at `rows` as uint8 `N S S 3`, decoded now."""
        # "squash" keeps the numbers of earlier versions. With four pixels for one the others move by 1/8 pixel at most.
        least = None if aspect == "squash" else 4 * size

        def square(row: int) -> np.ndarray:
            return np.asarray(squared(self.open(row, least), size, interpolation, aspect))  # S S 3

        images = np.zeros((len(rows), size, size, 3), dtype=np.uint8)
        with ThreadPoolExecutor(_threads()) as pool:
            for k, image in enumerate(pool.map(square, rows.tolist())):
                images[k] = image
        return images

    def _may_be_kept(self, size: int) -> bool:
        return len(self) * size * size * 3 <= MOST_KEPT_BYTES

    def _filled(
        self,
        rows: np.ndarray,
        size: int,
        interpolation: str,
        aspect: str,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """The kept images, uint8 `N S S 3`; at least those at `rows` are decoded."""
        kept, done = self._kept(size, interpolation, aspect)
        missing = np.unique(rows[~done[rows]])
        if len(missing):
            _check_room(len(missing) * size * size * 3)
        for start in range(0, len(missing), 256):
            part = missing[start : start + 256]
            kept[part] = self.decoded(part, size, interpolation, aspect)
            done[part] = True  # after the pixels: if the process stops between the two, the row is decoded again
            if progress:
                progress(len(part))
        return kept

    def _kept(self, size: int, interpolation: str, aspect: str) -> tuple[np.ndarray, np.ndarray]:
        """Two files in the cache folder, as arrays: pixels, uint8 `N S S 3`, and which rows are filled, bool `N`."""
        what = f"{self.digest} {size} {interpolation}"
        if aspect != "squash" and not self.all_square:
            what += f" {aspect}"
        name = hashlib.sha256(what.encode()).hexdigest()[:32]
        folder = cache_folder() / "decoded"
        count = len(self)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return (
                _mapped(folder / f"{name}.pixels", (count, size, size, 3), np.uint8),
                _mapped(folder / f"{name}.done", (count,), np.bool_),
            )
        except OSError as error:
            raise UserError(_cannot_be_kept(folder, str(error), count * size * size * 3)) from error


class ImageFiles(Images):
    """Images that are files.

    Attributes:
        paths: one for each image.
    """

    def __init__(self, paths: Sequence[Path]):
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def open(self, row: int, least: int | None = None) -> Image.Image:
        """One image as 8-bit RGB; raises a UserError that names the file if it is not a whole image."""
        return decode(self.paths[row], least)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the bytes of all files, in order; reads each once."""
        whole = hashlib.sha256()
        with ThreadPoolExecutor(_threads()) as pool:
            for one in pool.map(_digest_of, self.paths):
                whole.update(one)
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

    def open(self, row: int, least: int | None = None) -> Image.Image:
        """One image as 8-bit RGB, the right way up, always at its own size."""
        return as_rgb(ImageOps.exif_transpose(self._image_at(row)))

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
        progress: Callable[[int], None] | None = None,
        aspect: str = "squash",
    ) -> None:
        """Decode all of them once, with only a few in memory at a time; see `Images.keep`."""
        self.source.keep(self.rows, size, interpolation, progress, aspect)

    @property
    def images(self) -> np.ndarray:
        """All of them for display, uint8 `N S S 3` at 224 px, not kept."""
        return self.source.decoded(self.rows, 224, "bicubic")


def _check_room(needed: int) -> None:
    """Raise if the disk is too full: writing to a mapped file would then end the process without a message."""
    folder = cache_folder() / "decoded"
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(_cannot_be_kept(folder, f"{free / 1e6:.0f} MB are free", needed))


def _cannot_be_kept(folder: Path, reason: str, needed: int) -> str:
    return (
        f"decoded images cannot be kept in {folder} ({reason}): free {needed / 1e6:.0f} MB there, or set VPTLIB_CACHE "
        "to a folder that can be written."
    )


def _mapped(path: Path, shape: tuple[int, ...], kind: type) -> np.ndarray:
    """An array in a file, of zeros if the file is new; several processes may open it at once."""
    length = int(np.prod(shape)) * np.dtype(kind).itemsize
    with path.open("a+b") as file:
        if os.fstat(file.fileno()).st_size != length:
            file.truncate(length)
    return np.memmap(path, dtype=kind, mode="r+", shape=shape)


def _digest_of(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): restore it, or take it out of the list.") from error


def _is_square(path: Path) -> bool:
    """Whether the image in a file is square, by its header; a file that cannot be read is named when it is decoded."""
    try:
        with Image.open(path) as image:
            return image.width == image.height
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return True


def _threads() -> int:
    """Threads help, because Pillow releases Python's lock while it decodes."""
    return min(8, os.cpu_count() or 1)


# A truncated file is an error, not half an image.
ImageFile.LOAD_TRUNCATED_IMAGES = False
