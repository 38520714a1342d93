"""Data sets of other libraries: Hugging Face and torchvision."""

from pathlib import Path

from vptlib.data.files import ListedImages
from vptlib.data.listing import SPLIT_NAMES, Listing, listed
from vptlib.errors import UserError
from vptlib.wording import did_you_mean


def read_hugging_face(place: str) -> Listing:
    """A data set with an image and a class column, saved by `save_to_disk` or on the hub."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]  (optional)
    except ImportError as error:
        raise UserError("hf: needs the library datasets: run `pip install datasets`.") from error
    try:
        found = datasets.load_from_disk(place) if Path(place).is_dir() else datasets.load_dataset(place)
    except Exception as error:  # datasets, huggingface_hub, pyarrow and requests raise exceptions of many kinds
        raise UserError(f"hf:{place} cannot be loaded ({error}): check the name and the network.") from error
    parts = dict(found.items()) if hasattr(found, "items") else {"train": found}
    features = next(iter(parts.values())).features
    image = next((n for n, f in features.items() if isinstance(f, datasets.Image)), None)
    label = next((n for n, f in features.items() if isinstance(f, datasets.ClassLabel)), None)
    if image is None or label is None:
        raise UserError(
            f"hf:{place} has columns {', '.join(features)}, but needs one of images and one of class labels."
        )
    known = {name: part for name, part in parts.items() if name.lower() in SPLIT_NAMES}
    labels, splits, sources = [], [], []
    for name, part in known.items():
        labels += part[label]
        splits += [SPLIT_NAMES[name.lower()]] * len(part)
        sources += [(part, row) for row in range(len(part))]
    images = ListedImages(len(sources), lambda row: sources[row][0][sources[row][1]][image])
    return listed(images, labels, splits, tuple(features[label].names), f"the Hugging Face data set {place}")


def read_torchvision(name: str, root: str = "") -> Listing:
    """A data set of `torchvision.datasets` with `train=` or `split=`, that has been downloaded to `root`."""
    from torchvision import datasets as sets

    from vptlib.paths import cache_folder

    kind = getattr(sets, name, None)
    if not isinstance(kind, type):
        hint = did_you_mean(name, sets.__all__, "did you mean 'CIFAR10'?")
        raise UserError(f"torchvision has no data set {name!r}: {hint}")
    folder = root or str(cache_folder())
    parts = [_torchvision_part(kind, folder, split) for split in ("train", "test")]
    labels = [int(label) for part in parts for label in _targets(part)]
    splits = ["train"] * len(parts[0]) + ["test"] * len(parts[1])
    ends = len(parts[0])
    images = ListedImages(len(labels), lambda row: (parts[0][row] if row < ends else parts[1][row - ends])[0])
    names = getattr(parts[0], "classes", None) or list(map(str, range(max(labels) + 1)))
    return listed(images, labels, splits, tuple(map(str, names)), f"torchvision's {name}")


def _torchvision_part(kind: type, root: str, split: str):
    for options in ({"train": split == "train"}, {"split": split}):
        try:
            return kind(root=root, **options)
        except TypeError:
            continue
        except (RuntimeError, OSError) as error:
            raise UserError(
                f"torchvision's {kind.__name__} is not in {root} ({str(error).splitlines()[0]}): download it with "
                f"`torchvision.datasets.{kind.__name__}({root!r}, download=True)`, or give ?root=DIR."
            ) from error
    raise UserError(f"torchvision's {kind.__name__} has no training and test parts: list its files in a table.")


def _targets(part) -> list:
    for name in ("targets", "labels", "_labels", "y"):
        if hasattr(part, name):
            return list(getattr(part, name))
    return [part[row][1] for row in range(len(part))]
