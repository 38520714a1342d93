"""New images for a model: which files are meant, and each as the model sees it, prepared as in training.

An image of more than 8 bits is shown in the range of greys that the training had. Where the training had none, such an
image is refused. Where an image does not fit the range, its answer is doubtful, and the reason is kept as a code.
"""

import math
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from vptlib.data.decoding import deep_values, depth_of, held
from vptlib.data.files import Images
from vptlib.data.findings import Finding
from vptlib.data.formats import NEEDS_PLUGIN, suffixes
from vptlib.data.grey import USUAL, Range, scaled
from vptlib.data.passed_over import passed_over
from vptlib.data.preparing import Preprocessing
from vptlib.data.tree import Ignored, tree
from vptlib.errors import UserError
from vptlib.statement import statement
from vptlib.wording import listed, printable

EIGHT_BITS, OTHER_GREYS = "8 bits", "greys"  # why an answer is doubtful
AHEAD = 2  # batches that are decoded while a GPU computes one

# ---- which files are meant ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """The images at the places that the user named.

    Attributes:
        paths: each once, as the user wrote it: the place, and the way from there.
        findings: what was passed over.
    """

    paths: list[Path]
    findings: list[Finding]


def found_at(places: Sequence[Path], is_own: Callable[[Path], bool] = lambda _: False) -> Found:
    """Files in the order given, each once; those in a folder, and in folders in it, by name, "2" before "10".

    Args:
        places: image files and folders.
        is_own: whether a file that is no image is one that an earlier command has written: nothing is said of it.

    Raises:
        UserError: a place is not there or cannot be read, or there are no images.
    """
    paths: dict[tuple[str, str], Path] = {}
    findings, named = [], 0
    parents: dict[Path, str] = {}
    for place in places:
        if os.path.isdir(place):
            images, passed = _in_folder(place, is_own)
            findings += passed
        elif os.path.isfile(place):
            images = [place]
        else:
            raise UserError(f"there is no image and no folder at {place}: correct the path.")
        named += len(images)
        for image in images:
            parent = parents.setdefault(image.parent, os.path.realpath(image.parent))
            paths.setdefault((parent, image.name), image)
    if not paths:
        raise UserError(_nothing_at(places, findings))
    if named > len(paths):
        findings.append(Finding("note", statement("images_named_again", files=named - len(paths))))
    return Found(list(paths.values()), findings)


def _in_folder(folder: Path, is_own: Callable[[Path], bool]) -> tuple[list[Path], list[Finding]]:
    try:
        root = tree(folder, Ignored())
    except UserError as error:
        if not isinstance(reason := error.__cause__, OSError):
            raise
        where = printable(str(reason.filename or folder))
        raise UserError(
            f"{where} cannot be read ({reason.strerror}): give yourself the right to read it, or name the images and "
            "folders that you mean one by one."
        ) from error
    for inner in root.walk():
        inner.others = [name for name in inner.others if not is_own(inner.path / name)]
    images = [image for inner in root.walk() for image in inner.images]
    depth = len(folder.parts)
    images.sort(key=lambda image: ([_natural(part) for part in image.parts[depth:]], image.parts))
    return images, passed_over(root, {root: ""}, Ignored())


def _natural(name: str) -> list[str | int]:
    """A key by which "image 2" comes before "image 10": texts and numbers by turns."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split("([0-9]+)", name.casefold()))]


def _nothing_at(places: Sequence[Path], findings: list[Finding]) -> str:
    where = listed([printable(str(place)) for place in places[:3]]) if places else "no place"
    packages = sorted({str(finding.what.values.get("package") or "") for finding in findings} - {""})
    if packages:
        return f"no image at {where} can be read here: pip install {packages[0]}."
    return f"there are no images at {where}: name image files, such as .jpg or .png, or folders that hold some."


# ---- each as the model sees it ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """One image as the model sees it.

    Attributes:
        identity: size and times of its file on the disk, before it was read.
        pixels: uint8 `S S 3`; None if it cannot be read.
        doubt: why its answer is doubtful, as a code.
        problem: why it cannot be read, or "".
    """

    identity: tuple[int, ...]
    pixels: np.ndarray | None
    doubt: str = ""
    problem: str = ""

    @property
    def whole(self) -> np.ndarray:
        """The pixels.

        Raises:
            UserError: it cannot be read.
        """
        if self.pixels is None:
            raise UserError(self.problem)
        return self.pixels


class NewImages(Images):
    """Images that are decoded as those of the training were, and not kept.

    Args:
        paths: their files.
        preprocessing: that of the training.
        grey: the range of greys that the training had, or None.
    """

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing, grey: Range | None):
        self._paths, self._preprocessing, self._range = paths, preprocessing, grey

    def __len__(self) -> int:
        return len(self._paths)

    @contextmanager
    def held(self, row: int, least: int | None = None) -> Iterator[Image.Image]:
        """As `Images.held`."""
        with held(self._paths[row], least, self._range) as image:
            yield image

    def seen(self, row: int) -> Seen:
        """One image, or what is wrong with it."""
        path = self._paths[row]
        identity = identity_of(path)
        try:
            _check_kind(path)
            doubt = self._doubt(path)
            wanted = self._preprocessing
            return Seen(identity, self.square(row, wanted.size, wanted.interpolation, wanted.aspect), doubt)
        except UserError as error:
            return Seen(identity, None, problem=str(error))

    def _doubt(self, path: Path) -> str:
        """Why greys may mean something else than in training.

        Raises:
            UserError: the image has more than 8 bits, and those of the training had not: its range is not known.
        """
        depth = depth_of(path)
        if self._range is None:
            if depth:
                raise UserError(
                    f"{path} has more than 8 bits a value, but the model was trained on images of 8 bits: save it with "
                    "8 bits, in the way in which the training images were saved."
                )
            return ""
        if not depth:
            return "" if _is_nominal(self._range) else EIGHT_BITS
        return "" if _greys_fit(deep_values(path), self._range) else OTHER_GREYS


def identity_of(path: Path) -> tuple[int, ...]:
    """Size and times of a file; nothing if there is none."""
    try:
        about = path.stat()
    except OSError:
        return ()
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _check_kind(path: Path) -> None:
    """Raise for what has no end (a pipe), and for a format that needs one more package."""
    ending = path.suffix.lower()
    if ending in NEEDS_PLUGIN and ending not in suffixes():
        raise UserError(f"{path} needs one more package: pip install {NEEDS_PLUGIN[ending]}, or take it out.")
    with suppress(OSError):  # what is not there is named when it is opened
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path} is no file: replace it, or take it out.")


def _is_nominal(grey: Range) -> bool:
    """Whether black and white are the ends of a usual range, as they are in images of 8 bits."""
    low, high = grey
    return grey in (*USUAL.values(), (-1.0, 1.0)) or (low == 0 and math.log2(high + 1).is_integer())


def _greys_fit(values: np.ndarray, grey: Range) -> bool:
    """Whether values of one image make sense in a range: half of them lie in it, and they are not all black or white.

    Args:
        values: float64, one axis; NaN where there is none.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return False
    low, high = grey
    return bool(((finite >= low) & (finite <= high)).mean() >= 0.5 and len(np.unique(scaled(finite, low, high))) > 1)


# ---- ahead of the model -------------------------------------------------------------------------------------------


@contextmanager
def decoded_ahead(
    images: NewImages, rows: Sequence[int], batch: int, ahead: int
) -> Iterator[Iterator[dict[int, Seen]]]:
    """The images at `rows`, decoded by threads; only a few are in memory at a time.

    They come in parts, by row: those of rows 0 to `batch` - 1 together, and so on.

    Args:
        ahead: parts that are decoded while who asks for them works on one. On a CPU both would wait for each other:
            there 0 is faster (`make bench`).
    """
    pool = ThreadPoolExecutor(threads())

    def parts() -> Iterator[dict[int, Seen]]:
        waiting: deque[dict[int, Future[Seen]]] = deque()
        for _, members in groupby(rows, lambda row: row // batch):
            waiting.append({row: pool.submit(images.seen, row) for row in members})
            if len(waiting) > ahead:
                yield _results(waiting.popleft())
        while waiting:
            yield _results(waiting.popleft())

    try:
        yield parts()
    finally:
        pool.shutdown(cancel_futures=True)


def _results(part: dict[int, "Future[Seen]"]) -> dict[int, Seen]:
    return {row: seen.result() for row, seen in part.items()}


def threads() -> int:
    """Threads that decode: Pillow releases Python's lock while it does."""
    return min(8, os.cpu_count() or 1)
