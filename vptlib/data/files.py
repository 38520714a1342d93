"""Image files of all kinds as RGB: decoded when they are needed, at the size that is needed, and then kept.

Every file becomes 8-bit RGB. It is rotated by its EXIF orientation, 16-bit grey is scaled (not clipped), and alpha is
blended with white. Palette, grey, 1-bit and CMYK images are converted. An image is decoded once for each size. The
result is kept as raw bytes in the cache folder, for all processes and later runs.
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
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def decode(path: Path) -> Image.Image:
    """The image in a file as 8-bit RGB, the right way up.

    Raises:
        UserError: the file is missing, truncated or not an image; the message names it.
    """
    try:
        with Image.open(path) as image:
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


class Images:
    """Images in a fixed order, and those already decoded. Sub-classes give their number and open one of them."""

    def __len__(self) -> int:
        raise NotImplementedError

    def open(self, row: int) -> Image.Image:
        """One image as 8-bit RGB."""
        raise NotImplementedError

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all images."""
        raise NotImplementedError

    def pixels(self, rows: np.ndarray, size: int, interpolation: str) -> np.ndarray:
        """The images at `rows` as uint8 `N S S 3`, scaled to the square without cropping; each is decoded once.

        Raises:
            UserError: a file is not a whole image, or the cache folder cannot be written.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if not self._may_be_kept(size):
            return self.decoded(rows, size, interpolation)
        return np.asarray(self._filled(rows, size, interpolation)[rows])

    def keep(
        self, rows: np.ndarray, size: int, interpolation: str, progress: Callable[[int], None] | None = None
    ) -> None:
        """Decode the images at `rows` that are not kept yet, a few at a time; nothing if the task is too large to keep.

        Args:
            progress: called with the number of images that have just been decoded.

        Raises:
            UserError: as `pixels`.
        """
        if self._may_be_kept(size):
            self._filled(np.asarray(rows, dtype=np.int64), size, interpolation, progress)

    def decoded(self, rows: np.ndarray, size: int, interpolation: str) -> np.ndarray:
        """The images at `rows` as uint8 `N S S 3`, decoded now."""
        images = np.zeros((len(rows), size, size, 3), dtype=np.uint8)
        with ThreadPoolExecutor(_threads()) as pool:
            for k, image in enumerate(pool.map(lambda row: self._square(row, size, interpolation), rows.tolist())):
                images[k] = image
        return images

    def _square(self, row: int, size: int, interpolation: str) -> np.ndarray:
        image = self.open(row)
        if image.size != (size, size):
            image = image.resize((size, size), _RESAMPLING[interpolation])  # Pillow antialiases when it shrinks
        return np.asarray(image)

    def _may_be_kept(self, size: int) -> bool:
        return len(self) * size * size * 3 <= MOST_KEPT_BYTES

    def _filled(
        self, rows: np.ndarray, size: int, interpolation: str, progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """The kept images, uint8 `N S S 3`; at least those at `rows` are decoded."""
        kept, done = self._kept(size, interpolation)
        missing = np.unique(rows[~done[rows]])
        if len(missing):
            _check_room(len(missing) * size * size * 3)
        for start in range(0, len(missing), 256):
            part = missing[start : start + 256]
            kept[part] = self.decoded(part, size, interpolation)
            done[part] = True  # after the pixels: if the process stops between the two, the row is decoded again
            if progress:
                progress(len(part))
        return kept

    def _kept(self, size: int, interpolation: str) -> tuple[np.ndarray, np.ndarray]:
        """Two files in the cache folder, as arrays: pixels, uint8 `N S S 3`, and which rows are filled, bool `N`."""
        name = hashlib.sha256(f"{self.digest} {size} {interpolation}".encode()).hexdigest()[:32]
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

    def open(self, row: int) -> Image.Image:
        """One image as 8-bit RGB; raises a UserError that names the file if it is not a whole image."""
        return decode(self.paths[row])

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the bytes of all files, in order; reads each once."""
        whole = hashlib.sha256()
        with ThreadPoolExecutor(_threads()) as pool:
            for one in pool.map(_digest_of, self.paths):
                whole.update(one)
        return whole.hexdigest()


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

    def open(self, row: int) -> Image.Image:
        """One image as 8-bit RGB, the right way up."""
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

    def pixels(self, size: int, interpolation: str) -> np.ndarray:
        """All of them as uint8 `N S S 3`."""
        return self.source.pixels(self.rows, size, interpolation)

    def keep(self, size: int, interpolation: str, progress: Callable[[int], None] | None = None) -> None:
        """Decode all of them once, with only a few in memory at a time; see `Images.keep`."""
        self.source.keep(self.rows, size, interpolation, progress)

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


def _threads() -> int:
    """Threads help, because Pillow releases Python's lock while it decodes."""
    return min(8, os.cpu_count() or 1)


# A truncated file is an error, not half an image.
ImageFile.LOAD_TRUNCATED_IMAGES = False
