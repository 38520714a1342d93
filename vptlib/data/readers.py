"""Your own images as a task: folders, tables, Hugging Face and torchvision data sets, VTAB-1k in the usual layout.

The name of a task is its kind and its place:

    folder:PATH                   a sub-folder for each class, or train/ val/ test/ above them
    table:PATH.csv                (.tsv, .parquet) columns path and label, and optionally group and split
    table:PATH.csv?label=kind     ... whose columns have other names: path=, label=, group=, split=
    folder:PATH?skip=unreadable   ... without the files that are not whole images (also for tables)
    vtab:ROOT/FOLDER              one of the 19 tasks of VTAB-1k, such as vtab:/data/vtab-1k/dtd
    vtab:ROOT                     all 19, in the order of the papers (in the YAML file of a report)
    hf:DIR or hf:OWNER/NAME       an image data set of Hugging Face, saved to disk or on the hub
    torchvision:NAME?root=DIR     a data set of torchvision that has been downloaded to DIR

A PATH alone is a folder or a table, whichever is there. `~` and `~user` are home folders. Relative paths count from the
folder of the YAML file that holds them, elsewhere from the working directory (`located`). `hf:` names a folder if one
is there, or if the name begins with `.`, `/` or `~`.

Images without a split get one: a stratified quarter tests, always the same. Images of one group (a site, a production
lot) are never on both sides.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, quote, urlencode

import numpy as np
import pandas as pd

from vptlib.data.files import SUFFIXES, ImageFiles, Images, LazyImages, ListedImages, is_whole
from vptlib.data.splits import fixed_test, folds_of_groups
from vptlib.errors import UserError
from vptlib.wording import did_you_mean

_SPLITS = {"train": "train", "training": "train", "val": "train", "valid": "train", "validation": "train"}
_SPLITS |= {"dev": "train", "test": "test", "testing": "test"}


@dataclass(frozen=True)
class Listing:
    """The images that a reader has found.

    Attributes:
        images: all of them, none decoded yet.
        labels: int64 `N`, counted from 0.
        splits: "train" or "test" for each image.
        class_names: in the order of the labels.
        groups: an int64 for each image (a site, a lot), or None.
        source: where the images come from, as reports print it.
        licence: as reports print it.
        group, objective: as in `vptlib.data.tasks.Task`.
        validation: for each training image whether the data's own lists set it aside to validate on, or None.
    """

    images: Images
    labels: np.ndarray
    splits: np.ndarray
    class_names: tuple[str, ...]
    groups: np.ndarray | None
    source: str
    licence: str = "yours to know: not stated by the data"
    group: str = "own images"
    objective: str = "classification"
    validation: np.ndarray | None = None

    def part(self, split: str) -> tuple[LazyImages, np.ndarray | None]:
        """The images of one split, and their groups."""
        rows = np.flatnonzero(self.splits == split)
        return LazyImages(self.images, rows, self.labels[rows]), None if self.groups is None else self.groups[rows]


def is_spec(name: str) -> bool:
    """Whether `name` is a place of images, not the name of an embedded task."""
    kind = name.partition(":")[0]
    return kind in _READERS or "/" in name or "\\" in name or Path(name.partition("?")[0]).suffix.lower() in TABLES


def parts_of(spec: str) -> tuple[str, str, str]:
    """Kind ("" if none is given), place and options of a name: "table:a.csv?label=k" → "table", "a.csv", "label=k"."""
    kind, _, rest = spec.partition(":")
    if kind not in _READERS:
        kind, rest = "", spec
    place, _, query = rest.partition("?")
    return kind, place, query


def located(place: str | Path, folder: Path | None = None) -> Path:
    """The path that a user wrote: `~` and `~user` expanded; a relative one counts from `folder`.

    Args:
        place: as written.
        folder: that of the YAML file which holds `place`; None for the working directory.
    """
    path = Path(os.path.expanduser(place))  # pathlib's own takes "./~x" for "~x"
    return path if path.is_absolute() or folder is None else folder / path


def local_path(spec: str, folder: Path | None = None) -> Path | None:
    """The folder or table that `spec` names; None for a data set that is found by its name."""
    kind, place, _ = parts_of(spec)
    by_name = kind == "torchvision" or (kind == "hf" and not _is_local(place, folder))
    return None if by_name else located(place, folder)


def _is_local(place: str, folder: Path | None) -> bool:
    """Whether a data set of Hugging Face is a folder, not a name on the hub."""
    return place.startswith((".", "/", "~")) or located(place, folder).is_dir()


def resolved(spec: str, folder: Path) -> str:
    """`spec` with absolute paths; a relative one counts from `folder`."""
    kind, place, query = parts_of(spec)
    path = local_path(spec, folder)
    if kind == "torchvision":
        query = _with_absolute_root(query, folder)
    colon, mark = ":" if kind else "", "?" if query else ""
    return f"{kind}{colon}{place if path is None else path.resolve()}{mark}{query}"


def _with_absolute_root(query: str, folder: Path) -> str:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if options.get("root"):
        options["root"] = str(located(options["root"], folder).resolve())
    return urlencode(options, quote_via=quote, safe="/")


def short_name(spec: str) -> str:
    """The name of a task in files and tables: the last part of its place."""
    return Path(parts_of(spec)[1]).stem or "images"


def read(spec: str, folder: Path | None = None) -> Listing:
    """List the images that `spec` names; relative paths count from `folder` (by default the working directory).

    Raises:
        UserError: nothing is there, it is of another kind than given, classes do not fit, or labels are missing.
    """
    kind, place, query = parts_of(spec)
    kind = kind or _recognised(spec, folder)
    options = dict(parse_qsl(query, keep_blank_values=True))
    reader, offered = _READERS[kind]
    skip = options.pop("skip", "") if kind in ("folder", "table", "vtab") else ""
    if skip not in ("", "unreadable"):
        raise UserError(f"{spec}: skip is {skip!r}, but must be 'unreadable'.")
    for name in options:
        if name not in offered:
            first = offered[0] if offered else "none"
            hint = did_you_mean(name, offered, f"did you mean {first!r}?")
            raise UserError(f"{spec}: {kind!r} has no option {name!r}: {hint}")
    if options.get("root"):
        options["root"] = str(located(options["root"], folder))
    path = local_path(f"{kind}:{place}", folder)
    if kind == "hf" and path is not None and not path.is_dir():
        raise UserError(f"{spec}: there is no folder at {path}: name one that `save_to_disk` has written.")
    listing = reader(place if path is None else str(path) if kind == "hf" else path, **options)
    listing = _without_unreadable(listing) if skip else listing
    # Published lists are not checked: the 1,000 training images of sun397 lack some of its 397 classes.
    return listing if kind == "vtab" else _checked(spec, listing)


def _without_unreadable(listing: Listing) -> Listing:
    """The listing without the files that are not whole images; opens every file."""
    paths = cast(ImageFiles, listing.images).paths  # only readers of files offer to skip some
    with ThreadPoolExecutor() as pool:
        whole = np.array(list(pool.map(is_whole, paths)), dtype=bool)
    readable = [path for path, good in zip(paths, whole, strict=True) if good]
    kept = {"labels": listing.labels[whole], "splits": listing.splits[whole]}
    if listing.validation is not None:
        kept["validation"] = listing.validation[whole[listing.splits == "train"]]
    groups = None if listing.groups is None else listing.groups[whole]
    return replace(listing, images=ImageFiles(readable), groups=groups, **kept)


def _recognised(spec: str, folder: Path | None) -> str:
    path = located(spec.partition("?")[0], folder)
    if path.suffix.lower() in TABLES and not path.is_dir():
        return "table"
    if path.is_dir():
        return "vtab" if (path / "train800val200.txt").is_file() else "folder"
    if "?" in spec and located(spec, folder).exists():
        raise UserError(f"{spec}: a ? in a path begins the options: rename what is there.")
    raise UserError(f"there is no folder or table at {path}: name one, or one of the tasks that `vpt tasks` lists.")


def _checked(spec: str, listing: Listing) -> Listing:
    first, *others = listing.class_names
    if not others:
        raise UserError(f"{spec}: there is only one class, {first!r}: a task needs two or more.")
    for split in ("train", "test"):
        if not (listing.splits == split).any():
            raise UserError(f"{spec}: there are no {split} images: add some, or leave out the split altogether.")
    counts = np.bincount(listing.labels[listing.splits == "train"], minlength=len(listing.class_names))
    if (counts == 0).any():
        missing = listing.class_names[int(counts.argmin())]
        raise UserError(f"{spec}: class {missing!r} has test images but none to train on: add some, or leave it out.")
    return listing


def _with_split(labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """A stratified quarter tests, always the same; whole groups if there are groups."""
    splits = np.full(len(labels), "train", dtype=object)
    if groups is None:
        splits[fixed_test(labels, max(1, len(labels) // 4))] = "test"
        return splits
    count = len(np.unique(groups))
    if count < 4:
        raise UserError(f"{count} groups: a test of whole groups needs at least 4: add some, or leave out the column.")
    splits[next(folds_of_groups(labels, groups, 4))[1]] = "test"
    return splits


# ---- folders ----------------------------------------------------------------------------------------------------


def read_folder(path: Path) -> Listing:
    """A sub-folder for each class, or train/ val/ test/ above them; images of val/ count as training images."""
    if not path.is_dir():
        raise UserError(f"there is no folder at {path}: name the one that holds a sub-folder for each class.")
    inside = _folders(path)
    parts = [entry for entry in inside if entry.name.lower() in _SPLITS]
    if parts and len(parts) == len(inside):
        found = [(file, label, _SPLITS[part.name.lower()]) for part in parts for file, label in _by_class(part)]
    else:
        found = [(file, label, None) for file, label in _by_class(path)]
    if not found:
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise UserError(f"{path} holds no images in sub-folders: make one for each class ({kinds}).")
    names = tuple(sorted({label for _, label, _ in found}))
    labels = np.array([names.index(label) for _, label, _ in found], dtype=np.int64)
    given = np.array([split for *_, split in found], dtype=object)
    splits = given if (given == "test").any() else _with_split(labels, None)
    return Listing(ImageFiles([file for file, *_ in found]), labels, splits, names, None, f"the folder {path.name}")


def _folders(path: Path) -> list[Path]:
    return sorted((Path(e.path) for e in os.scandir(path) if e.is_dir() and _is_seen(e.name)), key=lambda p: p.name)


def _by_class(path: Path) -> list[tuple[Path, str]]:
    """All images below each sub-folder, sorted by name, each with the sub-folder's name."""
    return [(file, folder.name) for folder in _folders(path) for file in _images_below(folder)]


def _images_below(folder: Path) -> list[Path]:
    found = []
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if _is_seen(name))
        found += [Path(root, name) for name in sorted(files) if _is_seen(name) and name.lower().endswith(SUFFIXES)]
    return found


def _is_seen(name: str) -> bool:
    """Whether a name is not one of a file manager's own: those begin with a dot or two underscores (__MACOSX)."""
    return not name.startswith((".", "__"))


# ---- tables -----------------------------------------------------------------------------------------------------

TABLES: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=True),
    ".tsv": lambda path: pd.read_csv(path, sep="\t", dtype=str, keep_default_na=True),
    ".parquet": pd.read_parquet,
}


def read_table(file: Path, path: str = "path", label: str = "label", group: str = "", split: str = "") -> Listing:
    """A row for each image; paths count from the table's folder. Columns `group` and `split` are optional."""
    frame = _table(file)
    columns = {"path": path, "label": label, "group": group or "group", "split": split or "split"}
    for what, column in columns.items():
        asked = what in ("path", "label") or {"group": group, "split": split}[what]
        if column not in frame and asked:
            there = ", ".join(map(str, frame.columns))
            raise UserError(f"{file} has no column {column!r} for {what}: it has {there}; write ?{what}=COLUMN.")
    for what in ("path", "label"):
        empty = frame[columns[what]].isna().to_numpy()
        if empty.any():
            raise UserError(f"{file}, row {int(empty.argmax()) + 1}: {columns[what]!r} is empty: fill it in.")
    paths = [file.parent / place for place in frame[columns["path"]].astype(str)]
    for row, place in enumerate(paths, start=1):
        _check_image(f"{file}, row {row}", place, file.parent)
    kinds = frame[columns["label"]].astype(str)
    _check_one_label_each(file, paths, kinds.tolist())
    names = tuple(sorted(kinds.unique(), key=_as_number))
    labels = kinds.map({name: k for k, name in enumerate(names)}).to_numpy(np.int64)
    groups = None
    if columns["group"] in frame:
        groups = pd.factorize(frame[columns["group"]].fillna("").astype(str), sort=True)[0].astype(np.int64)
    splits = _given_splits(file, frame[columns["split"]]) if columns["split"] in frame else _with_split(labels, groups)
    return Listing(ImageFiles(paths), labels, splits, names, groups, f"the table {file.name}")


def _check_image(where: str, place: Path, folder: Path) -> None:
    """Raise unless the image that a list names is there, and in the folder of the list."""
    if not Path(os.path.normpath(place)).is_relative_to(os.path.normpath(folder)):
        raise UserError(f"{where}: {place} is outside {folder}: put the list into a folder above all its images.")
    if not place.is_file():
        raise UserError(f"{where}: there is no image at {place}: correct the path, or fetch the image.")


def _table(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise UserError(f"there is no table at {file}: name a .csv, .tsv or .parquet file.")
    read_it = TABLES.get(file.suffix.lower())
    if read_it is None:
        raise UserError(f"{file} is not a table that can be read: name a .csv, .tsv or .parquet file.")
    try:
        frame = read_it(file)
    except Exception as error:  # pandas and pyarrow raise exceptions of many kinds
        raise UserError(f"{file} cannot be read as a table ({' '.join(str(error).split())}): save it again.") from error
    if frame.empty:
        raise UserError(f"{file} has no rows: it needs one for each image.")
    return frame


def _check_one_label_each(file: Path, paths: list[Path], kinds: list[str]) -> None:
    first: dict[Path, int] = {}
    for row, place in enumerate(paths):
        earlier = first.setdefault(place, row)
        if kinds[earlier] != kinds[row]:
            raise UserError(
                f"{file}, row {row + 1}: {place.name} is {kinds[row]!r} here and {kinds[earlier]!r} in row "
                f"{earlier + 1}: keep the row that is right."
            )


def _given_splits(file: Path, column: pd.Series) -> np.ndarray:
    splits = column.fillna("").astype(str).str.strip().str.lower().map(_SPLITS)
    if splits.isna().any():
        row = int(splits.isna().to_numpy().argmax())
        raise UserError(f"{file}, row {row + 1}: the split is {column.iloc[row]!r}, but must be train, val or test.")
    return splits.to_numpy(object)


def _as_number(name: str) -> tuple[float, str]:
    """A key for sorting: class names that are numbers sort as numbers."""
    try:
        return float(name), name
    except ValueError:
        return float("inf"), name


# ---- VTAB-1k ----------------------------------------------------------------------------------------------------

# Folder → classes, test images, group, objective (Zhai et al., arXiv 1910.04867, table 2 of the appendix).
VTAB_TASKS: dict[str, tuple[int, int, str, str]] = {
    "cifar": (100, 10_000, "natural", "classification"),
    "caltech101": (102, 6_084, "natural", "classification"),
    "dtd": (47, 1_880, "natural", "classification"),
    "oxford_flowers102": (102, 6_149, "natural", "classification"),
    "oxford_iiit_pet": (37, 3_669, "natural", "classification"),
    "svhn": (10, 26_032, "natural", "classification"),
    "sun397": (397, 21_750, "natural", "classification"),
    "patch_camelyon": (2, 32_768, "specialised", "classification"),
    "eurosat": (10, 5_400, "specialised", "classification"),
    "resisc45": (45, 6_300, "specialised", "classification"),
    "diabetic_retinopathy": (5, 42_670, "specialised", "classification"),
    "clevr_count": (8, 15_000, "structured", "counting"),
    "clevr_dist": (6, 15_000, "structured", "distance"),
    "dmlab": (6, 22_735, "structured", "distance"),
    "kitti": (4, 711, "structured", "distance"),
    "dsprites_loc": (16, 73_728, "structured", "location"),
    "dsprites_ori": (16, 73_728, "structured", "orientation"),
    "smallnorb_azi": (18, 12_150, "structured", "orientation"),
    "smallnorb_ele": (9, 12_150, "structured", "orientation"),
}


def vtab_name(spec: str) -> str | None:
    """The folder's name, such as "dtd", if `spec` is one of the 19 tasks of VTAB-1k; otherwise None."""
    kind, _, place = spec.partition("?")[0].partition(":")
    folder = Path(place if kind == "vtab" else spec)
    is_vtab = kind == "vtab" or (folder / "train800val200.txt").is_file()
    return folder.name if is_vtab and folder.name in VTAB_TASKS else None


def expanded(spec: str) -> list[str]:
    """The 19 tasks in the order of the papers, if `spec` is `vtab:` and the folder of them all; else `spec` itself.

    Raises:
        UserError: there is no such folder, or it lacks some of the 19; the message names those.
    """
    kind, _, place = spec.partition(":")
    root = Path(place.partition("?")[0])
    is_one = root.name in VTAB_TASKS or (root / "train800val200.txt").is_file()
    if kind != "vtab" or is_one:
        return [spec]
    if not root.is_dir():
        raise UserError(f"{spec}: there is no folder at {root}: name the one that holds the 19 of VTAB-1k.")
    missing = [name for name in VTAB_TASKS if not (root / name).is_dir()]
    if missing:
        which = f"lacks {', '.join(missing)}" if len(missing) < len(VTAB_TASKS) else "holds none of them"
        raise UserError(
            f"{spec} must hold the 19 folders of VTAB-1k, but {which}: add them, or list the tasks that you want "
            f"(such as vtab:{root / next(iter(VTAB_TASKS))})."
        )
    return [f"vtab:{root / name}" for name in VTAB_TASKS]


def read_vtab(path: Path) -> Listing:
    """One of the 19 tasks: `train800val200.txt` trains and `test.txt` tests, each line a path and a label.

    The lines keep their order: in the official list those of `train800.txt` come before those of `val200.txt`. If there
    is a `val200.txt`, its images are set aside to validate on.
    """
    name = path.name
    if name not in VTAB_TASKS:
        hint = did_you_mean(name, VTAB_TASKS, f"did you mean {next(iter(VTAB_TASKS))!r}?", least=0.4)
        raise UserError(f"{path}: there is no task {name!r} in VTAB-1k: {hint}")
    classes, _, group, objective = VTAB_TASKS[name]
    train, test = _vtab_list(path, "train800val200.txt"), _vtab_list(path, "test.txt")
    entries = train + test
    labels = np.array([label for _, label in entries], dtype=np.int64)
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(
            f"{path}: labels run from {labels.min()} to {labels.max()}, but {name} has classes 0 to {classes - 1}."
        )
    splits = np.array(["train"] * len(train) + ["test"] * len(test), dtype=object)
    return Listing(
        ImageFiles([file for file, _ in entries]),
        labels,
        splits,
        tuple(map(str, range(classes))),
        None,
        f"VTAB-1k (Zhai et al., arXiv 1910.04867), task {name}, in the layout of the community",
        "that of the original data set",
        group,
        objective,
        _vtab_validation(path, [file for file, _ in train]),
    )


def _vtab_validation(path: Path, training: list[Path]) -> np.ndarray | None:
    """For each training image whether `val200.txt` sets it aside, bool `N`; None without that list."""
    if not (path / "val200.txt").is_file():
        return None
    aside = {file for file, _ in _vtab_list(path, "val200.txt")}
    if strange := sorted(aside - set(training)):
        raise UserError(
            f"{path / 'val200.txt'} names {strange[0]}, which train800val200.txt does not: fetch the lists again."
        )
    validation = np.array([file in aside for file in training])
    if validation.all():
        raise UserError(f"{path / 'val200.txt'} sets all training images aside: fetch the lists again.")
    return validation


def _vtab_list(path: Path, name: str) -> list[tuple[Path, int]]:
    file = path / name
    if not file.is_file():
        raise UserError(f"{file} is missing: a task of VTAB-1k has train800val200.txt and test.txt next to images/.")
    entries = []
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        place, _, label = line.strip().rpartition(" ")
        if not place or not label.lstrip("-").isdigit():
            raise UserError(f"{file}, line {number}: {line.strip()!r} is not a path and a label: fetch the list again.")
        _check_image(f"{file}, line {number}", path / place, path)
        entries.append((path / place, int(label)))
    if not entries:
        raise UserError(f"{file} is empty: it needs a line for each image.")
    return entries


# ---- other libraries --------------------------------------------------------------------------------------------


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
    known = {name: part for name, part in parts.items() if name.lower() in _SPLITS}
    labels, splits, sources = [], [], []
    for name, part in known.items():
        labels += part[label]
        splits += [_SPLITS[name.lower()]] * len(part)
        sources += [(part, row) for row in range(len(part))]
    images = ListedImages(len(sources), lambda row: sources[row][0][sources[row][1]][image])
    return _listed(images, labels, splits, tuple(features[label].names), f"the Hugging Face data set {place}")


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
    return _listed(images, labels, splits, tuple(map(str, names)), f"torchvision's {name}")


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


def _listed(images: Images, labels: list, splits: list, names: tuple[str, ...], source: str) -> Listing:
    numbers = np.array(labels, dtype=np.int64)
    given = np.array(splits, dtype=object)
    return Listing(images, numbers, given if "test" in splits else _with_split(numbers, None), names, None, source)


_READERS: dict[str, tuple[Callable[..., Listing], tuple[str, ...]]] = {
    "folder": (read_folder, ()),
    "table": (read_table, ("path", "label", "group", "split")),
    "vtab": (read_vtab, ()),
    "hf": (read_hugging_face, ()),
    "torchvision": (read_torchvision, ("root",)),
}
