"""Images in folders: a sub-folder for each class, with splits above or below them, or without."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vptlib.data.files import ImageFiles
from vptlib.data.findings import Finding
from vptlib.data.layouts import Layout, Part, chosen, understood
from vptlib.data.listing import Listing, drawn, one_spelling, with_split
from vptlib.data.passed_over import passed_over
from vptlib.data.tree import Ignored, tree
from vptlib.errors import UserError
from vptlib.statement import statement
from vptlib.wording import did_you_mean, printable

# A class that the makers of a data set added, of images that show none of the others (Caltech-101).
_CLUTTER = ("background_google", "257.clutter", "__background__", "_background_noise_")
_MASK = re.compile(r"(.+?)[ _-](?:mask|masks|gt|groundtruth|ground_truth|seg|segmentation|label)(?:[ _-]\d+)?", re.I)


def read_folder(path: Path, train: str = "", test: str = "", ignore: str = "") -> Listing:
    """The images in folders that `vptlib.data.layouts` understands, with what was understood and passed over.

    Args:
        path: the folder above all.
        train, test: the folders in it that train and test, if its own structure does not show it.
        ignore: names of folders to leave out, with commas between several.

    Raises:
        UserError: there are no classes, the structure can be read in two ways, or a folder cannot be read.
    """
    if not path.is_dir():
        raise UserError(f"there is no folder at {path}: name the one that holds a sub-folder for each class.")
    ignored = Ignored(frozenset(name for name in ignore.split(",") if name))
    root = tree(path, ignored)
    _check_ignored(path, ignored)
    layout = chosen(root, train, test) if train or test else understood(root)
    used, spellings = _names(path, layout)
    found = [(image, used[part.name], part.split) for part in layout.parts for image in _images(part)]
    names = tuple(sorted({name for _, name, _ in found}))
    number = {name: k for k, name in enumerate(names)}
    labels = np.array([number[name] for _, name, _ in found], dtype=np.int64)
    given = np.array([split for *_, split in found], dtype=object)
    has_test = bool((given == "test").any())
    left_out = passed_over(root, {part.folder: used[part.name] for part in layout.parts}, ignored)
    remarks = [*layout.remarks, *([] if has_test else [drawn()]), *spellings, *_deeper(layout.parts), *_clutter(names)]
    return Listing(
        ImageFiles([file for file, *_ in found]),
        labels,
        given if has_test else with_split(labels, None),
        names,
        None,
        f"the folder {printable(path.name)}",
        remarks=(*remarks, *_masks(layout.parts), *left_out),
    )


def _images(part: Part) -> Iterator[Path]:
    for folder in part.folder.walk():
        yield from folder.images


def _check_ignored(path: Path, ignored: Ignored) -> None:
    there = {folder.name for folder in ignored.found}
    if missing := sorted(ignored.names - there):
        inside = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
        hint = did_you_mean(missing[0], inside, "name one that is there, without its path.")
        raise UserError(f"{path} holds no folder {missing[0]!r} to ignore: {hint}")


def _names(path: Path, layout: Layout) -> tuple[dict[str, str], tuple[Finding, ...]]:
    names, splits = [part.name for part in layout.parts], [part.origin for part in layout.parts]
    return one_spelling(names, str(path), splits)


def _clutter(names: tuple[str, ...]) -> list[Finding]:
    found = [name for name in names if name.lower() in _CLUTTER]
    return [Finding("note", statement("clutter_class", name=name)) for name in found]


def _deeper(parts: list[Part]) -> list[Finding]:
    found = [part for part in parts if part.folder.filled]
    if not found:
        return []
    first = found[0].folder
    inner = [printable(folder.name) for folder in first.filled[:3]]
    classes = len({part.name for part in found})
    return [Finding("note", statement("deeper_folders", classes=classes, first=printable(first.name), inner=inner))]


def _masks(parts: list[Part]) -> list[Finding]:
    """Images that are named after another one: "a.png" and "a_mask.png" in one folder."""
    found = []
    for part in parts:
        for folder in part.folder.walk():
            marked = [(image, name[1]) for image in folder.images if (name := _MASK.fullmatch(image.stem))]
            stems = {image.stem for image in folder.images} if marked else set()
            found += [image for image, stem in marked if stem in stems]
    if not found:
        return []
    what = statement("files_look_like_masks", images=len(found), first=printable(found[0].name))
    return [Finding("warning", what)]
