"""The bytes of an image, as somebody sent them, to what a model sees: decoded as `vpt predict` decodes a file.

The decoders read files, so the bytes become one, for as long as they are decoded. It lies in a folder that only this
user can read, under a name that has nothing of the sender. What a killed process has left there is removed.
"""

import fcntl
import os
import re
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from vptlib.data.decoding import opened
from vptlib.data.formats import NEEDS_PLUGIN, suffixes
from vptlib.errors import UserError
from vptlib.operations.artefact import Card
from vptlib.operations.judgement import grey_of
from vptlib.operations.new_images import NewImages, Seen
from vptlib.wording import printable

MOST_PIXELS = 50_000_000
_START, _MARK = "vptlib-images-", "in-use"
_HEIC = ("heic", "heix", "hevc", "hevx", "heim", "heis", "hevm", "hevs")  # brands at the start of such files


class UnreadableImage(UserError):
    """What was sent is no image that can be answered; the message says why, and how to fix it."""


class Pictures:
    """Decodes images that come as bytes. Any number of threads may use it, until it is closed.

    Args:
        most_pixels: of an image; one with more is refused before it is decoded.
    """

    def __init__(self, most_pixels: int = MOST_PIXELS):
        self._most_pixels = most_pixels
        self._folder, self._mark = _new_folder()
        self._number = count()

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._mark.close()

    def seen(self, body: bytes, card: Card) -> Seen:
        """An image as the model of a card sees it.

        Raises:
            UnreadableImage: it cannot be decoded, has too many pixels, or is of a kind that the model cannot answer.
        """
        _check_kind(body)
        with self._as_file(body) as path:
            problem = self._refusal(path)
            seen = Seen((), None, problem=problem)
            if not problem:
                seen = NewImages([path], card.preprocessing, grey_of(card)).seen(0)
        if seen.problem:
            raise UnreadableImage(_without_path(seen.problem, path))
        return seen

    @contextmanager
    def _as_file(self, body: bytes) -> Iterator[Path]:
        path = self._folder / str(next(self._number))
        try:
            with path.open("xb") as file:
                file.write(body)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _refusal(self, path: Path) -> str:
        """Why an image is not decoded, by what its header says, or ""."""
        try:
            with opened(path) as image:
                width, height = image.size
        except UserError as error:
            _let_go(error)
            return str(error)
        if width * height > self._most_pixels:
            return f"the image has {width:,} × {height:,} pixels, more than {self._most_pixels:,}: scale it down."
        return ""


def _let_go(error: BaseException | None) -> None:
    """Free what the frames of an exception hold, such as all bytes of a file: else it waits for the collector."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _check_kind(body: bytes) -> None:
    """Raise for what needs no decoder to be refused."""
    if not body:
        raise UnreadableImage("the image is empty: send the bytes of an image file.")
    is_heic = body[4:8] == b"ftyp" and body[8:12].decode("latin-1") in _HEIC
    if is_heic and not suffixes_include_heic():
        raise UnreadableImage("the image is HEIC, which cannot be read here: save it as JPEG or PNG.")


def suffixes_include_heic() -> bool:
    """Whether the package that reads HEIC is installed."""
    return not NEEDS_PLUGIN.keys().isdisjoint(suffixes())


# ---- sentences without the name of the file -------------------------------------------------------------------------


def _without_path(sentence: str, path: Path) -> str:
    """A sentence about a file, for somebody who sent an image and has never seen that file."""
    text = re.sub(r"cannot identify image file <[^)]*", "its format is not one of those that are read here", sentence)
    text = re.sub(r"<_io\.[^>)]*>?", "its bytes", text.replace(printable(str(path)), "the image"))
    text = text.replace(", or take it out of the list", "").replace(", or take it out", "")
    if path.parent.name in text or str(path.parent.parent) in text:  # part of a path that was cut off
        return "the image cannot be read as an image: replace it."
    return text


# ---- the folder -----------------------------------------------------------------------------------------------------


def _new_folder() -> tuple[Path, BinaryIO]:
    """A folder of this process alone, and the file in it whose lock shows that the process lives."""
    _remove_left()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_START))  # for this user alone
        mark = (folder / _MARK).open("xb")
        with suppress(OSError):  # a file system without locks
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (folder / _MARK).exists():  # else a process that starts just now took it for one that was left
            return folder, mark
        mark.close()


def _remove_left() -> None:
    """Remove the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_START}*"):
        with suppress(OSError):
            if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
                continue
            with (folder / _MARK).open("rb") as mark:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails as long as its process lives
                shutil.rmtree(folder)
