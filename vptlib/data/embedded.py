"""The embedded tasks, one loader each: a committed subset, scikit-learn's digits, solar cells, and drawn images.

Each loader gives the training set, the test set and the names of the classes. `vptlib.data.tasks.TASKS` lists them.
"""

import gzip
import importlib.util
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from vptlib.data import surface, synthetic
from vptlib.data.preparing import ImageSet, grey_images
from vptlib.data.splits import fixed_test
from vptlib.errors import UserError
from vptlib.paths import cache_folder, repository


def _parted(images: np.ndarray, labels: np.ndarray, strata: np.ndarray, n_test: int) -> tuple[ImageSet, ImageSet]:
    """Grey images `N H W` in a training and a test part; both have the same shares of the strata."""
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[fixed_test(strata, n_test)] = True
    return grey_images(images[~is_test], labels[~is_test]), grey_images(images[is_test], labels[is_test])


Loaded = tuple[ImageSet, ImageSet, tuple[str, ...]]  # training set, test set, names of the classes

FASHION_CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
FASHION_SUBSET = (2000, 1000)  # training and test images
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")


def fashion_subset_file() -> Path:
    """The committed subset of Fashion-MNIST; `data/make_fashion_subset.py` makes it."""
    return repository() / "data" / "fashion_mnist" / "subset.npz"


def fashion_mnist() -> Loaded:
    path = fashion_subset_file()
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        train = grey_images(arrays["train_images"], arrays["train_labels"])
        return train, grey_images(arrays["test_images"], arrays["test_labels"]), FASHION_CLASSES
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is missing or damaged: restore it with `git checkout -- {path}`.") from error


def fashion_mnist_full() -> Loaded:
    folder = _fashion_folder() or DEBIAN_FASHION
    train, test = (
        grey_images(read_idx(folder, f"{part}-images-idx3-ubyte"), read_idx(folder, f"{part}-labels-idx1-ubyte"))
        for part in ("train", "t10k")
    )
    return train, test, FASHION_CLASSES


def _fashion_folder() -> Path | None:
    """The folder of the full set: Debian's package, or torchvision's download in the cache folder; else None."""
    folders = (DEBIAN_FASHION, cache_folder() / "FashionMNIST" / "raw")
    return next((folder for folder in folders if list(folder.glob("train-images-idx3-ubyte*"))), None)


def fashion_mnist_full_missing() -> str:
    if _fashion_folder():
        return ""
    return (
        'install the Debian package dataset-fashion-mnist, or run `python -c "from torchvision.datasets import '
        f"FashionMNIST; FashionMNIST('{cache_folder()}', download=True)\"`, or take the committed 'fashion-mnist'."
    )


def read_idx(folder: Path, name: str) -> np.ndarray:
    """The uint8 array in the IDX file `name`, or `name.gz`, of a folder (format: LeCun's MNIST page).

    Raises:
        UserError: the file is missing or damaged.
    """
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), folder / name)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        axes = raw[3]
        shape = np.frombuffer(raw, ">u4", count=axes, offset=4)
        if raw[:3] != b"\0\0\x08":
            raise ValueError("it is not an IDX file of bytes")
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise UserError(f"{path} is missing or damaged ({error}): install or download the data set again.") from error


def handwritten_digits() -> Loaded:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # N 8 8
    return *_parted(images, digits.target, digits.target, n_test=597), tuple("0123456789")


def solar_cells() -> Loaded:
    from elpv_dataset.utils import load_dataset  # pyright: ignore[reportMissingImports]  (an extra)

    images, defect_probability, cell_type = load_dataset()  # N 300 300, N, N
    labels = (defect_probability >= 0.5).astype(np.int64)
    strata = 2 * labels + (cell_type == "mono")
    return *_parted(images, labels, strata, n_test=len(labels) // 4), ("functional", "defective")


def solar_cells_missing() -> str:
    if importlib.util.find_spec("elpv_dataset"):
        return ""
    return "install its images (90 MB, CC BY-NC-SA 4.0) with `pip install -e '.[solar-cells]'`."


DRAWN = (2000, 1000)  # training and test images of every task drawn by `vptlib.data.synthetic`
PLATES = (800, 400)  # training and test images of surface-inspection


def _drawn(
    draw: Callable[[int], tuple[np.ndarray, np.ndarray]],
    class_names: tuple[str, ...],
    counts: tuple[int, int] = DRAWN,
) -> Loaded:
    images, labels = draw(sum(counts))
    train, test = (ImageSet(images[part], labels[part]) for part in (slice(counts[0]), slice(counts[0], None)))
    return train, test, class_names


@cache
def sprite_location() -> Loaded:
    columns = synthetic.LOCATIONS
    return _drawn(synthetic.location, tuple(f"column {k + 1} of {columns}" for k in range(columns)))


@cache
def sprite_orientation() -> Loaded:
    edges = [f"{360 * k / synthetic.ORIENTATIONS:g}°" for k in range(synthetic.ORIENTATIONS + 1)]
    return _drawn(synthetic.orientation, tuple(f"{low}–{high}" for low, high in pairwise(edges)))


def object_count() -> Loaded:
    return _drawn(synthetic.object_count, tuple(f"{count} solids" for count in synthetic.COUNTS))


@cache
def surface_inspection() -> Loaded:
    return _drawn(surface.plates, surface.DEFECTS, PLATES)


def object_masks(name: str) -> np.ndarray | None:
    """Where the object is in each test image of a drawn task, bool `N H W`; None for other tasks.

    For surface-inspection the object is the defect, so the masks of fine plates are False everywhere.
    """
    sprites = {"dsprites-location": sprite_location, "dsprites-orientation": sprite_orientation}
    if name in sprites:
        _, test, _ = sprites[name]()
        return synthetic.sprite_masks(test.images)
    if name == "object-count":
        return synthetic.solid_masks(synthetic.scenes(sum(DRAWN))[DRAWN[0] :])
    if name == "surface-inspection":
        return surface.plate_masks(sum(PLATES))[PLATES[0] :]
    return None
