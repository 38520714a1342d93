"""Decoded images kept on disk, for all processes and later runs: one file, with a checksum next to each image.

An image counts as kept only if its checksum fits. So a file that was cut, damaged or half written never gives wrong
pixels: what does not fit is decoded again. The file is not mapped into memory, because reading a mapped file that was
cut, or writing one on a full disk, ends the process without a message.
"""

import os
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

_SUM = 8  # bytes in front of each image; zeros, as in a hole of the file, mean that it is not kept


class KeptImages:
    """Square RGB images of one size in one file. Several processes may use it at once.

    Args:
        folder: where the file is, made if it is missing.
        name: of the file, without its ending.
        side: of each image in pixels.

    Raises:
        OSError: the file cannot be made or opened.
    """

    def __init__(self, folder: Path, name: str, side: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._shape, self._bytes = folder / f"{name}.images", (side, side, 3), side * side * 3
        self._path.touch()
        for ending in (".pixels", ".done"):  # the same images, as earlier versions kept them, without checksums
            (folder / f"{name}{ending}").unlink(missing_ok=True)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The images at `rows` (int64 `N`), uint8 `N S S 3`, and which are kept, bool `N`; the others are noise."""
        images, kept = np.empty((len(rows), *self._shape), np.uint8), np.zeros(len(rows), bool)
        with suppress(OSError), self._path.open("rb", buffering=0) as file:  # what cannot be read is not kept
            for k, row in enumerate(rows.tolist()):
                file.seek(row * (_SUM + self._bytes))
                noted = file.read(_SUM)
                if any(noted) and file.readinto(memoryview(images[k]).cast("B")) == self._bytes:
                    kept[k] = noted == self._sum(row, images[k])
        return images, kept

    def noted(self, rows: np.ndarray) -> np.ndarray:
        """Which of `rows` have been written, bool `N`, without reading their pixels: `read` may still refuse some."""
        written = np.zeros(len(rows), bool)
        record = _SUM + self._bytes
        with suppress(OSError), self._path.open("rb", buffering=0) as file:
            whole = file.seek(0, os.SEEK_END) // record
            for k, row in enumerate(rows.tolist()):
                if row < whole:
                    file.seek(row * record)
                    written[k] = any(file.read(_SUM))
        return written

    def write(self, rows: np.ndarray, images: np.ndarray) -> None:
        """Keep `images` (uint8 `N S S 3`) at `rows` (int64 `N`).

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        with self._path.open("r+b") as file:
            for row, image in zip(rows.tolist(), images, strict=True):
                file.seek(row * (_SUM + self._bytes))
                file.write(self._sum(row, image) + image.tobytes())

    def _sum(self, row: int, image: np.ndarray) -> bytes:
        """The checksum of an image at its row, never zero; another row has another one."""
        return b"kept" + zlib.crc32(image.data, row).to_bytes(4, "little")
