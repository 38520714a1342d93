"""Tasks: labelled images with a fixed split into training and test, their origin and their licence.

`load_task` gives one of the embedded tasks, or the user's own images (`vptlib.data.readers`). A name always means the
same images, whatever is installed. They are committed (`data/`), drawn by vptlib, or in a package that the user
installs. `vptlib.data.preparing` turns images into the input of a backbone. `vptlib.data.splits` decides which
images a run may use.

The groups are those of VTAB (Zhai et al., arXiv 1910.04867): natural, specialised, structured.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from PIL import Image

from vptlib.data import readers
from vptlib.data.divided import findings_on_sides
from vptlib.data.embedded import (
    Loaded,
    fashion_mnist,
    fashion_mnist_full,
    fashion_mnist_full_missing,
    handwritten_digits,
    object_count,
    solar_cells,
    solar_cells_missing,
    sprite_location,
    sprite_orientation,
    surface_inspection,
)
from vptlib.data.files import LazyImages
from vptlib.data.findings import Finding, worst_first
from vptlib.data.preparing import ImageSet
from vptlib.errors import UserError
from vptlib.wording import did_you_mean


@dataclass(frozen=True)
class Task:
    """A classification task.

    Attributes:
        group: VTAB's "natural", "specialised" or "structured", or "own images".
        objective: "classification", "location", "orientation", "counting" or "distance".
        licence, source: of the images, as every report prints them.
        train_groups: int64 for each training image, or None: its site or lot. A split keeps each group on one side.
        test_groups: int64 for each test image, or None. Intervals draw whole groups.
        validation: bool `N`: the training images that the makers of the task set aside to validate on. None if they
            set none aside. Only the rules "vtab-1k" of a study use it.
        remarks: how the images were read, what was passed over, and what is wrong with their classes and groups.
        group_names: of the groups in the order of their numbers, as far as they have names.
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
    test_groups: np.ndarray | None = None
    remarks: tuple[Finding, ...] = ()
    group_names: tuple[str, ...] = ()

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
        if isinstance(self.train, LazyImages) and isinstance(self.test, LazyImages):
            digest.update(self.train.source.digest.encode())
            groups = () if self.train_groups is None else (self.train_groups,)
            for array in (self.train.rows, self.train.labels, self.test.rows, self.test.labels, *groups):
                digest.update(np.ascontiguousarray(array).data)
            return digest.hexdigest()
        for array in (self.train.images, self.train.labels, self.test.images, self.test.labels):
            digest.update(f"{array.dtype} {array.shape}".encode())
            for row in array if array.ndim > 1 else [array]:
                digest.update(np.ascontiguousarray(row).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class TaskEntry:
    """A task before it is loaded.

    Attributes:
        load: gives train set, test set and class names.
        where: "committed", "drawn by vptlib", or what has to be installed.
        missing: gives what to do before the task can be loaded, or "" if it can be loaded now.
    """

    title: str
    group: str
    objective: str
    licence: str
    source: str
    where: str
    load: Callable[[], Loaded]
    missing: Callable[[], str] = lambda: ""


@lru_cache(maxsize=32)
def load_task(name: str) -> Task:
    """The task of that name in `TASKS`, or the images that `vptlib.data.readers` finds; a second call gives the same.

    Args:
        name: an embedded task, or `folder:PATH`, `table:PATH`, `vtab:PATH`, `hf:NAME`, `torchvision:NAME`, or a path.

    Raises:
        UserError: the name is unknown, its images are not on this machine, or something is wrong with them.
    """
    if name not in TASKS and readers.is_spec(name):
        return _own_task(name)
    entry = _entry(name)
    if to_do := entry.missing():
        raise UserError(f"task {name!r} is not on this machine: {to_do}")
    train, test, class_names = entry.load()
    about = (entry.group, entry.objective, entry.licence, entry.source)
    return Task(name, entry.title, train, test, class_names, *about)


PHOTOGRAPHS = "photographs"


def load_reference(name: str) -> ImageSet | LazyImages:
    """Images to measure a task's distance from, such as those of pre-training (`vptlib.evidence.pretraining_distance`).

    Args:
        name: "photographs", or a task or a place of images as for `load_task`, whose training images are used.
            "photographs" are 600 crops of the two photographs that come with scikit-learn (CC BY). Use them where
            the images of pre-training are not available.
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
    (train, train_groups), (test, test_groups) = found.part("train"), found.part("test")
    title = readers.short_name(spec).replace("_", " ")
    about = (found.group, found.objective, found.licence, found.source, train_groups)
    remarks = (*found.remarks, *findings_on_sides(found))
    return Task(
        spec, title, train, test, found.class_names, *about, found.validation, test_groups, remarks, found.group_names
    )


def findings_of(task: Task) -> list[Finding]:
    """What has to be said of a task's images before any training: how they were read, their greys, their groups.

    Few images are opened; `vptlib.data.check` opens all. Errors come first, then warnings.
    """
    source = task.train.source if isinstance(task.train, LazyImages) else None
    return worst_first([*task.remarks, *([] if source is None else source.remarks())])


def task_is_available(name: str) -> tuple[bool, str]:
    """Whether the task can be loaded now, and where from or what to do first. Loads no images."""
    entry = _entry(name)
    to_do = entry.missing()
    return not to_do, to_do or entry.where


def _entry(name: str) -> TaskEntry:
    if name not in TASKS:
        hint = did_you_mean(name, TASKS, f"did you mean {', '.join(TASKS)}?", most=3, written=str)
        raise UserError(f"there is no task {name!r}: {hint}")
    return TASKS[name]


# ---- the embedded tasks -----------------------------------------------------------------------------------------


TASKS: dict[str, TaskEntry] = {
    "fashion-mnist": TaskEntry(
        title="Fashion products (Fashion-MNIST, subset)",
        group="natural",
        objective="classification",
        licence="MIT, © 2017 Zalando SE",
        source="Fashion-MNIST (Xiao et al., arXiv 1708.07747): 2,000 of its training and 1,000 of its test images",
        where="committed",
        load=fashion_mnist,
    ),
    "fashion-mnist-full": TaskEntry(
        title="Fashion products (Fashion-MNIST, all images)",
        group="natural",
        objective="classification",
        licence="MIT, © 2017 Zalando SE",
        source="Fashion-MNIST (Xiao et al., arXiv 1708.07747): 60,000 training and 10,000 test images",
        where="Debian package dataset-fashion-mnist, or torchvision's download",
        load=fashion_mnist_full,
        missing=fashion_mnist_full_missing,
    ),
    "digits": TaskEntry(
        title="Handwritten digits",
        group="natural",
        objective="classification",
        licence="CC BY 4.0 (UCI); BSD-3-Clause (scikit-learn, which ships them)",
        source="UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998), 1,797 images of 8 px; "
        "our own split into 1,200 and 597",
        where="comes with scikit-learn",
        load=handwritten_digits,
    ),
    "dsprites-location": TaskEntry(
        title="Where is the sprite?",
        group="structured",
        objective="location",
        licence="Apache-2.0, as vptlib",
        source="drawn by vptlib in the manner of dSprites-location, not the original: one square, ellipse or heart; "
        "the class is one of 16 columns of its centre of mass",
        where="drawn by vptlib",
        load=sprite_location,
    ),
    "dsprites-orientation": TaskEntry(
        title="Which way is the heart turned?",
        group="structured",
        objective="orientation",
        licence="Apache-2.0, as vptlib",
        source="drawn by vptlib in the manner of dSprites-orientation, not the original: hearts only, since a turned "
        "square or ellipse looks like others of its kind; the class is one of 16 ranges of the full turn",
        where="drawn by vptlib",
        load=sprite_orientation,
    ),
    "object-count": TaskEntry(
        title="How many solids?",
        group="structured",
        objective="counting",
        licence="Apache-2.0, as vptlib",
        source="drawn by vptlib in the manner of CLEVR-count, not the original: 3 to 10 spheres, cubes and cylinders "
        "on a plane, each in sight",
        where="drawn by vptlib",
        load=object_count,
    ),
    "surface-inspection": TaskEntry(
        title="Defects on metal plates",
        group="specialised",
        objective="classification",
        licence="Apache-2.0, as vptlib",
        source="drawn by vptlib: brushed, cast or ground plates of 256 px with one scratch of 1 to 2 px, with pits of "
        "2 to 4 px, with a stain, or fine; most plates also have harmless marks",
        where="drawn by vptlib",
        load=surface_inspection,
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
        load=solar_cells,
        missing=solar_cells_missing,
    ),
}
