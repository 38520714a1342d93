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
from dataclasses import replace
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, quote, urlencode

import numpy as np

from vptlib.data.files import ImageFiles, is_whole
from vptlib.data.folders import read_folder
from vptlib.data.libraries import read_hugging_face, read_torchvision
from vptlib.data.listing import Listing
from vptlib.data.tables import TABLES, read_table
from vptlib.data.vtab import read_vtab
from vptlib.errors import UserError
from vptlib.wording import did_you_mean


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


_READERS: dict[str, tuple[Callable[..., Listing], tuple[str, ...]]] = {
    "folder": (read_folder, ()),
    "table": (read_table, ("path", "label", "group", "split")),
    "vtab": (read_vtab, ()),
    "hf": (read_hugging_face, ()),
    "torchvision": (read_torchvision, ("root",)),
}
