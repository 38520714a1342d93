"""Tasks: labelled images, split once and for all into training and test, with their origin and licence.

`load_task` gives one of the embedded tasks, or images of the user's own (`vptlib.readers`). A name always means the
same images: what is committed (`data/`), what `vptlib.drawing` draws, or a package that the user installs; never one or
the other, whichever is there. `prepare` makes of images what a backbone expects. Which images a run may use is decided
in `vptlib.subsets`.

The groups are those of VTAB (Zhai et al., arXiv 1910.04867): natural, specialised, structured.
"""

import gzip
import hashlib
import importlib.util
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from vptlib import drawing, readers
from vptlib.backbones import Preprocessing
from vptlib.errors import UserError
from vptlib.images import LazyImages
from vptlib.paths import cache_folder, repository
from vptlib.subsets import few_shot, fixed_test, split_validation

__all__ = [
    "TASKS",
    "ImageSet",
    "LazyPixels",
    "Task",
    "TaskEntry",
    "few_shot",
    "fixed_test",
    "load_reference",
    "load_task",
    "object_masks",
    "prepare",
    "split_validation",
    "task_is_available",
]


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

    def select(self, indices: np.ndarray) -> "ImageSet":
        """The images at `indices`, in that order."""
        return ImageSet(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Task:
    """A classification task.

    Attributes:
        group: VTAB's "natural", "specialised" or "structured", or "own images".
        objective: "classification", "location", "orientation", "counting" or "distance".
        licence, source: of the images, as every report prints them.
        train_groups: int64 for each training image: the site or lot that must not be on both sides of a split; or None.
        validation: for each training image whether the makers of the task set it aside to validate on (bool `N`); None
            where they do not say. Only the rules "vtab-1k" of a study follow it.
    """

    name: str
    title: str
    train: ImageSet | LazyImages
    test: ImageSet | LazyImages
    class_names: tuple[str, ...]
    group: str
    objective: str
    licence: str
    source: str
    train_groups: np.ndarray | None = None
    validation: np.ndarray | None = None

    def __post_init__(self):
        labels = np.concatenate([self.train.labels, self.test.labels])
        if labels.size and not (labels.min() >= 0 and labels.max() < self.num_classes):
            raise UserError(
                f"task {self.name!r} has labels from {labels.min()} to {labels.max()}, but names "
                f"{self.num_classes} classes: labels run from 0 to {self.num_classes - 1}."
            )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the class names and all images and labels of both splits."""
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        if isinstance(self.train, LazyImages):
            digest.update(self.train.source.digest.encode())
            groups = () if self.train_groups is None else (self.train_groups,)
            for array in (self.train.rows, self.train.labels, self.test.rows, self.test.labels, *groups):
                digest.update(np.ascontiguousarray(array))
            return digest.hexdigest()
        for array in (self.train.images, self.train.labels, self.test.images, self.test.labels):
            digest.update(f"{array.dtype} {array.shape}".encode())
            for row in array if array.ndim > 1 else [array]:
                digest.update(np.ascontiguousarray(row))
        return digest.hexdigest()


@dataclass(frozen=True)
class TaskEntry:
    """What is known of a task before it is loaded.

    Attributes:
        load: gives train set, test set and class names.
        where: "committed", "drawn by vptlib", or what has to be installed.
        missing: gives what to do before the task can be loaded, or "" where it can be loaded now.
    """

    title: str
    group: str
    objective: str
    licence: str
    source: str
    where: str
    load: Callable[[], tuple[ImageSet, ImageSet, tuple[str, ...]]]
    missing: Callable[[], str] = lambda: ""


@lru_cache(maxsize=32)
def load_task(name: str) -> Task:
    """The task of that name in `TASKS`, or the images that `vptlib.readers` finds by it; a second call gives the same.

    Args:
        name: an embedded task, or `folder:PATH`, `table:PATH`, `vtab:PATH`, `hf:NAME`, `torchvision:NAME`, or a path.

    Raises:
        UserError: if the name is unknown, its images are not on this machine, or something is wrong with them.
    """
    if name not in TASKS and readers.is_spec(name):
        return _own_task(name)
    entry = _entry(name)
    if mend := entry.missing():
        raise UserError(f"task {name!r} is not on this machine: {mend}")
    train, test, class_names = entry.load()
    about = (entry.group, entry.objective, entry.licence, entry.source)
    return Task(name, entry.title, train, test, class_names, *about)


PHOTOGRAPHS = "photographs"


def load_reference(name: str) -> ImageSet | LazyImages:
    """Images to measure a task's distance from, such as those of pre-training (`vptlib.transfer`).

    Args:
        name: "photographs" (600 crops of the two photographs that come with scikit-learn, CC BY: a stand-in where the
            images of pre-training cannot be had), or a task or place of images as for `load_task`, whose training
            images are taken.
    """
    return _photographs() if name == PHOTOGRAPHS else load_task(name).train


@lru_cache(maxsize=1)
def _photographs(count: int = 600, side: int = 96) -> ImageSet:
    from sklearn.datasets import load_sample_images

    rng = np.random.RandomState(0)  # its stream is frozen by NumPy (NEP 19)
    photographs = load_sample_images().images
    crops, labels = np.empty((count, side, side, 3), np.uint8), np.arange(count) % len(photographs)
    for crop, label in zip(crops, labels, strict=True):
        photograph = photographs[label]  # H W 3
        width = rng.randint(side, min(photograph.shape[:2]))
        top, left = (rng.randint(0, edge - width) for edge in photograph.shape[:2])
        square = Image.fromarray(photograph[top : top + width, left : left + width])
        crop[:] = np.asarray(square.resize((side, side), Image.Resampling.BICUBIC))
    return ImageSet(crops, labels.astype(np.int64))


def _own_task(spec: str) -> Task:
    found = readers.read(spec)
    (train, train_groups), (test, _) = found.part("train"), found.part("test")
    title = readers.short_name(spec).replace("_", " ")
    about = (found.group, found.objective, found.licence, found.source, train_groups)
    return Task(spec, title, train, test, found.class_names, *about, found.validation)


def task_is_available(name: str) -> tuple[bool, str]:
    """Whether the task can be loaded now, and where from or what to do first. Loads no images."""
    entry = _entry(name)
    mend = entry.missing()
    return not mend, mend or entry.where


def _entry(name: str) -> TaskEntry:
    if name not in TASKS:
        close = get_close_matches(name, TASKS, n=3) or list(TASKS)
        raise UserError(f"there is no task {name!r}: did you mean {', '.join(close)}?")
    return TASKS[name]


# ---- from images to tensors -------------------------------------------------------------------------------------


# Prepared sets up to this size are held in memory as a whole; of larger ones a batch at a time is made.
MOST_PREPARED_BYTES = 2**30


class LazyPixels:
    """Images as a backbone expects them, made when a batch of them is asked for.

    Stands where a tensor float32 `N 3 S S` of all of them would, and gives the same numbers bit for bit. What is kept
    of the user's own images is the decoded bytes, on disk (`vptlib.images`).
    """

    def __init__(self, images: ImageSet | LazyImages, preprocessing: Preprocessing):
        self._images, self._preprocessing = images, preprocessing
        self.shape = torch.Size((len(images), 3, preprocessing.size, preprocessing.size))

    def __len__(self) -> int:
        return self.shape[0]

    def size(self, axis: int) -> int:
        """As of a tensor."""
        return self.shape[axis]

    @property
    def nbytes(self) -> int:
        """What all of them would take in memory."""
        return 4 * self.shape.numel()

    def __getitem__(self, places: Tensor | slice | int) -> Tensor:
        """The images at `places` (int64 `B`, or a slice), float32 `B 3 S S`; of a number, that image `3 S S`."""
        if isinstance(places, int):
            return self[places : places + 1 or None][0]
        size, interpolation = self._preprocessing.size, self._preprocessing.interpolation
        part = self._images.select(places if isinstance(places, slice) else places.numpy())
        raw = part.pixels(size, interpolation) if isinstance(part, LazyImages) else part.images  # B H W 3
        return _normalised(raw, self._preprocessing).contiguous()  # convolutions round by how the numbers lie

    def split(self, count: int) -> Iterator[Tensor]:
        """All of them in their order, `count` at a time, float32 `B 3 S S`."""
        for start in range(0, len(self), count):
            yield self[start : start + count]


def prepare(images: ImageSet | LazyImages, preprocessing: Preprocessing) -> TensorDataset:
    """Images as the backbone expects them: float32 `N 3 S S`, normalised, with their labels as int64 `N`.

    Images are scaled to the square (as VTAB does, without cropping), antialiased where they shrink; beyond the result
    only a few hundred images are held at a time. Where the result would take more than `MOST_PREPARED_BYTES`,
    `LazyPixels` stand in the place of its images.

    Raises:
        UserError: if the backbone wants an interpolation other than bilinear or bicubic.
    """
    if preprocessing.interpolation not in ("bilinear", "bicubic"):
        raise UserError(f"interpolation {preprocessing.interpolation!r} is not known: take bilinear or bicubic.")
    lazy, labels = LazyPixels(images, preprocessing), torch.tensor(images.labels)
    if lazy.nbytes > MOST_PREPARED_BYTES:
        return TensorDataset(lazy, labels)
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


# ---- the embedded tasks -----------------------------------------------------------------------------------------


def _grey(images: np.ndarray, labels: np.ndarray) -> ImageSet:
    """Grey images `N H W` shown in three channels, without copying them."""
    return ImageSet(np.broadcast_to(images[..., None], (*images.shape, 3)), labels.astype(np.int64))


def _parted(images: np.ndarray, labels: np.ndarray, strata: np.ndarray, n_test: int) -> tuple[ImageSet, ImageSet]:
    """Grey images `N H W` in a training and a test part, the same shares of the strata in both."""
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[fixed_test(strata, n_test)] = True
    return _grey(images[~is_test], labels[~is_test]), _grey(images[is_test], labels[is_test])


FASHION_CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
FASHION_SUBSET = (2000, 1000)  # training and test images
_DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")


def fashion_subset_file() -> Path:
    """The committed subset of Fashion-MNIST; `data/make_fashion_subset.py` makes it."""
    return repository() / "data" / "fashion_mnist" / "subset.npz"


def _fashion():
    path = fashion_subset_file()
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        train = _grey(arrays["train_images"], arrays["train_labels"])
        return train, _grey(arrays["test_images"], arrays["test_labels"]), FASHION_CLASSES
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is missing or damaged: restore it with `git checkout -- {path}`.") from error


def _fashion_full():
    folder = _fashion_folder()
    parts = [
        _grey(read_idx(folder, f"{part}-images-idx3-ubyte"), read_idx(folder, f"{part}-labels-idx1-ubyte"))
        for part in ("train", "t10k")
    ]
    return *parts, FASHION_CLASSES


def _fashion_folder() -> Path | None:
    """Where the full set lies: Debian's package, or torchvision's download under the cache folder."""
    folders = (_DEBIAN_FASHION, cache_folder() / "FashionMNIST" / "raw")
    return next((folder for folder in folders if list(folder.glob("train-images-idx3-ubyte*"))), None)


def _fashion_full_missing() -> str:
    if _fashion_folder():
        return ""
    return (
        'install the Debian package dataset-fashion-mnist, or run `python -c "from torchvision.datasets import '
        f"FashionMNIST; FashionMNIST('{cache_folder()}', download=True)\"`, or take the committed 'fashion-mnist'."
    )


def read_idx(folder: Path, name: str) -> np.ndarray:
    """The uint8 array in the IDX file `name`, or `name.gz`, of a folder (format: LeCun's MNIST page).

    Raises:
        UserError: if the file is missing or damaged.
    """
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), folder / name)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        axes = raw[3]
        shape = np.frombuffer(raw, ">u4", count=axes, offset=4)
        if raw[:3] != b"\0\0\x08":
            raise ValueError("no IDX file of bytes")
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise UserError(f"{path} is missing or damaged ({error}): install or download the data set again.") from error


def _digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # N 8 8
    return *_parted(images, digits.target, digits.target, n_test=597), tuple("0123456789")


def _solar_cells():
    from elpv_dataset.utils import load_dataset

    images, defect_probability, cell_type = load_dataset()  # N 300 300, N, N
    labels = (defect_probability >= 0.5).astype(np.int64)
    strata = 2 * labels + (cell_type == "mono")
    return *_parted(images, labels, strata, n_test=len(labels) // 4), ("functional", "defective")


def _solar_cells_missing() -> str:
    if importlib.util.find_spec("elpv_dataset"):
        return ""
    return "install its images (90 MB, CC BY-NC-SA 4.0) with `pip install -e '.[solar-cells]'`."


DRAWN = (2000, 1000)  # training and test images of every drawn task


def _drawn(draw: Callable, class_names: tuple[str, ...]):
    images, labels = draw(sum(DRAWN))
    parts = [ImageSet(images[part], labels[part]) for part in (slice(DRAWN[0]), slice(DRAWN[0], None))]
    return *parts, class_names


def _location():
    columns = drawing.LOCATIONS
    return _drawn(drawing.location, tuple(f"column {k + 1} of {columns}" for k in range(columns)))


def _orientation():
    edges = [f"{360 * k / drawing.ORIENTATIONS:g}°" for k in range(drawing.ORIENTATIONS + 1)]
    return _drawn(drawing.orientation, tuple(f"{low}–{high}" for low, high in pairwise(edges)))


def _object_count():
    return _drawn(drawing.object_count, tuple(f"{count} solids" for count in drawing.COUNTS))


def object_masks(name: str) -> np.ndarray | None:
    """Where the object is in each test image of a drawn task, bool `N H W`; None for a task that does not know."""
    if name in ("dsprites-location", "dsprites-orientation"):
        return drawing.sprite_masks(load_task(name).test.images)
    if name == "object-count":
        return drawing.solid_masks(drawing.scenes(sum(DRAWN))[DRAWN[0] :])
    return None


TASKS: dict[str, TaskEntry] = {
    "fashion-mnist": TaskEntry(
        title="Fashion products (Fashion-MNIST, subset)",
        group="natural",
        objective="classification",
        licence="MIT, © 2017 Zalando SE",
        source="Fashion-MNIST (Xiao et al., arXiv 1708.07747): 2,000 of its training and 1,000 of its test images",
        where="committed",
        load=_fashion,
    ),
    "fashion-mnist-full": TaskEntry(
        title="Fashion products (Fashion-MNIST, all images)",
        group="natural",
        objective="classification",
        licence="MIT, © 2017 Zalando SE",
        source="Fashion-MNIST (Xiao et al., arXiv 1708.07747): 60,000 training and 10,000 test images",
        where="Debian package dataset-fashion-mnist, or torchvision's download",
        load=_fashion_full,
        missing=_fashion_full_missing,
    ),
    "digits": TaskEntry(
        title="Handwritten digits",
        group="natural",
        objective="classification",
        licence="CC BY 4.0 (UCI); BSD-3-Clause (scikit-learn, which ships them)",
        source="UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998), 1,797 images of 8 px; "
        "our own split into 1,200 and 597",
        where="comes with scikit-learn",
        load=_digits,
    ),
    "dsprites-location": TaskEntry(
        title="Where is the sprite?",
        group="structured",
        objective="location",
        licence="Apache-2.0, as vptlib",
        source="drawn by vptlib in the manner of dSprites-location, not the original: one square, ellipse or heart; "
        "the class is one of 16 columns of its centre of mass",
        where="drawn by vptlib",
        load=_location,
    ),
    "dsprites-orientation": TaskEntry(
        title="Which way is the heart turned?",
        group="structured",
        objective="orientation",
        licence="Apache-2.0, as vptlib",
        source="drawn by vptlib in the manner of dSprites-orientation, not the original: hearts only, since a turned "
        "square or ellipse looks like others of its kind; the class is one of 16 ranges of the full turn",
        where="drawn by vptlib",
        load=_orientation,
    ),
    "object-count": TaskEntry(
        title="How many solids?",
        group="structured",
        objective="counting",
        licence="Apache-2.0, as vptlib",
        source="drawn by vptlib in the manner of CLEVR-count, not the original: 3 to 10 spheres, cubes and cylinders "
        "on a plane, each in sight",
        where="drawn by vptlib",
        load=_object_count,
    ),
    "solar-cells": TaskEntry(
        title="Defects in solar cells",
        group="specialised",
        objective="classification",
        licence="CC BY-NC-SA 4.0: not for commercial use, and not redistributed here",
        source="elpv-dataset (Buerhop-Lutz et al. 2018, Deitsch et al. 2021): 2,624 electroluminescence images; "
        "defective means a defect probability of 1/2 or more; our own split, three quarters to one, in which cells "
        "of one module may lie on both sides, as the modules are not told",
        where="pip extra solar-cells",
        load=_solar_cells,
        missing=_solar_cells_missing,
    ),
}
