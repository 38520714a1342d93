"""How much memory decoding takes, before it is done: images wait for their turn, and the too large are refused.

All threads that decode in one process take at most `MOST_BYTES` together.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import ImageFile

from vptlib.data import deep_colours
from vptlib.data.grey import kind_of
from vptlib.errors import UserError

MOST_BYTES = 3 * 2**29  # 1.5 GiB
MOST_PIXELS = 2**30 // 12  # 89 million: beyond this Pillow warns, and images are decoded at half their size or less
# Bytes a pixel that the library behind a format needs on top of its result.
_WORK = {"WEBP": 12, "AVIF": 6, "HEIF": 8, "JPEG2000": 16, "GIF": 4, "PSD": 4, "ICO": 4, "SGI": 4}
_MOST_STEPS = 3 * 10**9  # pixels times scans of a progressive JPEG: some seconds


def times_smaller(width: int, height: int) -> int:
    """By which number both sides are divided, so that at most `MOST_PIXELS` are left."""
    times = 1
    while (width // times) * (height // times) > MOST_PIXELS:
        times += 1
    return times


def check_scans(path: Path, image: ImageFile.ImageFile) -> None:
    """Raise a UserError if a progressive JPEG goes through its pixels so often that it takes minutes."""
    pixels = image.width * image.height
    if image.info.get("progressive") and pixels > 2**20:
        scans = path.read_bytes().count(b"\xff\xda")
        if scans * pixels > _MOST_STEPS:
            raise UserError(
                f"{path} cannot be read as an image (its {image.width:,} × {image.height:,} pixels are stored in "
                f"{scans:,} scans): save it again, or take it out."
            )


@contextmanager
def room_to_decode(path: Path, image: ImageFile.ImageFile) -> Iterator[None]:
    """Wait until an opened image may be decoded, and keep its room for as long as the context lasts.

    Raises:
        UserError: it needs more than `MOST_BYTES` by itself.
    """
    times = times_smaller(*image.size)
    if image.format == "JPEG" and times > 1:
        image.draft(None, (image.width // times, image.height // times))
    needed = _bytes_to_decode(image)
    if needed > MOST_BYTES:
        raise UserError(
            f"{path} cannot be read as an image (its {image.width:,} × {image.height:,} pixels need "
            f"{needed / 2**30:.1f} GiB, more than {MOST_BYTES / 2**30:.1f}): scale it down, or take it out."
        )
    with _ROOM.taken(needed):
        yield


def _bytes_to_decode(image: ImageFile.ImageFile) -> int:
    """Bytes at the peak of decoding an opened image: while it is read, or then as 8 bits, as RGB, and turned."""
    pixels = image.width * image.height
    stored = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}.get(image.mode, 4)
    work = deep_colours.work_of(image) + _WORK.get(image.format or "", 0)
    if image.info.get("progressive"):
        work += 6  # coefficients of 2 bytes, at the size of the file
    later = pixels * bool(kind_of(image.mode)) + 8 * pixels // times_smaller(*image.size) ** 2
    return pixels * stored + max(pixels * work, later)


class Room:
    """Bytes that threads share: who needs more than is free waits."""

    def __init__(self, most: int):
        self._most, self._taken, self._change = most, 0, threading.Condition()

    @contextmanager
    def taken(self, needed: int) -> Iterator[None]:
        """`needed` bytes, for as long as the context lasts; at least one image is always let in."""
        with self._change:
            self._change.wait_for(lambda: not self._taken or self._taken + needed <= self._most)
            self._taken += needed
        try:
            yield
        finally:
            with self._change:
                self._taken -= needed
                self._change.notify_all()


_ROOM = Room(MOST_BYTES)
