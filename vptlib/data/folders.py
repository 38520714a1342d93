"""Images in folders: a sub-folder for each class, or splits above them."""

import os
from pathlib import Path

import numpy as np

from vptlib.data.files import SUFFIXES, ImageFiles
from vptlib.data.listing import SPLIT_NAMES, Listing, with_split
from vptlib.errors import UserError


def read_folder(path: Path) -> Listing:
    """A sub-folder for each class, or train/ val/ test/ above them; images of val/ count as training images."""
    if not path.is_dir():
        raise UserError(f"there is no folder at {path}: name the one that holds a sub-folder for each class.")
    inside = _folders(path)
    parts = [entry for entry in inside if entry.name.lower() in SPLIT_NAMES]
    if parts and len(parts) == len(inside):
        found = [(file, label, SPLIT_NAMES[part.name.lower()]) for part in parts for file, label in _by_class(part)]
    else:
        found = [(file, label, None) for file, label in _by_class(path)]
    if not found:
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise UserError(f"{path} holds no images in sub-folders: make one for each class ({kinds}).")
    names = tuple(sorted({label for _, label, _ in found}))
    labels = np.array([names.index(label) for _, label, _ in found], dtype=np.int64)
    given = np.array([split for *_, split in found], dtype=object)
    splits = given if (given == "test").any() else with_split(labels, None)
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
