"""Your own images as a task: folders, tables, Hugging Face and torchvision data sets, VTAB-1k in the usual layout.

The name of a task is its kind and its place:

    folder:PATH                   a sub-folder for each class, with train/ val/ test/ above or in them, or without
    folder:PATH?train=DIR&test=DIR   ... whose splits have other names, with commas between several
    folder:PATH?ignore=NAME       ... without the folders of that name, with commas between several
    table:PATH.csv                (.tsv, .parquet) columns path and label, and optionally group and split
    table:PATH.csv?label=kind     ... whose columns have other names: path=, label=, group=, split=
    table:PATH.csv?encoding=cp932 ... whose letters are not UTF-8, where the encoding is not clear by itself
    folder:PATH?skip=unreadable   ... without the files that are not whole images (also for tables)
    folder:PATH?grey=0-4095       ... whose deep images (above 8 bits) are black and white there (for all kinds)
    vtab:ROOT/FOLDER              one of the 19 tasks of VTAB-1k, such as vtab:/data/vtab-1k/dtd
    vtab:ROOT                     all 19, in the order of the papers (in the YAML file of a report)
    hf:DIR or hf:OWNER/NAME       an image data set of Hugging Face, saved to disk or on the hub
    hf:NAME?label=COLUMN          ... with several columns or splits: label=, image=, train=, test=, config=
    torchvision:NAME?root=DIR     a data set of torchvision that has been downloaded to DIR; also train=, test=, split=

A PATH alone is a folder or a table, whichever is there. `~` and `~user` are home folders. Relative paths count from the
folder of the YAML file that holds them, elsewhere from the working directory (`located`). `hf:` names a folder if one
is there, or if the name begins with `.`, `/` or `~`.

Images without a split get one: a stratified quarter tests, always the same. Images of one group (a site, a production
lot) are never on both sides.
"""

import os
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, quote, urlencode

import numpy as np

from vptlib.data.decoding import is_whole
from vptlib.data.files import ImageFiles
from vptlib.data.findings import Finding
from vptlib.data.folders import read_folder
from vptlib.data.grey_range import Range, checked_range
from vptlib.data.hugging_face import read_hugging_face
from vptlib.data.listing import Listing
from vptlib.data.tables import TABLES, read_table
from vptlib.data.torchvision_sets import read_torchvision
from vptlib.data.vtab import read_vtab
from vptlib.errors import UserError
from vptlib.statement import statement
from vptlib.wording import did_you_mean, listed, printable

_SHOWN = 3  # names that a remark gives


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
    return printable(Path(parts_of(spec)[1]).stem) or "images"


def read(spec: str, folder: Path | None = None) -> Listing:
    """List the images that `spec` names; relative paths count from `folder` (by default the working directory).

    Raises:
        UserError: nothing is there, it is of another kind than given, classes do not fit, or labels are missing.
    """
    kind, place, query = parts_of(spec)
    kind = kind or _recognised(spec, folder)
    options = _options(spec, query)
    reader, offered = _READERS[kind]
    skip = options.pop("skip", "") if kind in ("folder", "table", "vtab") else ""
    if skip not in ("", "unreadable"):
        raise UserError(f"{spec}: skip is {skip!r}, but must be 'unreadable'.")
    grey = _grey_range(spec, options.pop("grey", ""))
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
    listing = _without_unreadable(spec, listing) if skip else listing
    listing = replace(listing, images=listing.images.with_grey(grey)) if grey else listing
    # Published lists are not checked: the 1,000 training images of sun397 lack some of its 397 classes.
    return listing if kind == "vtab" else _checked(spec, listing)


def _options(spec: str, query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    options = dict(pairs)
    for name in options:
        if sum(name == other for other, _ in pairs) > 1:
            raise UserError(f"{spec}: {name!r} is given twice: give it once, with commas between several names.")
    return options


def _grey_range(spec: str, given: str) -> Range | None:
    """The values of black and white in `?grey=LOW-HIGH`; both may be negative."""
    if not given:
        return None
    number = r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    found = re.fullmatch(rf"{number}-{number}", given)
    if not found:
        raise UserError(f"{spec}: grey is {given!r}, but must be the values of black and white, such as 0-4095.")
    try:
        return checked_range((float(found[1]), float(found[2])))
    except UserError as error:
        raise UserError(f"{spec}: {error}") from error


def _without_unreadable(spec: str, listing: Listing) -> Listing:
    """The listing without the files that are not whole images, which its remarks count; opens every file."""
    paths = cast(ImageFiles, listing.images).paths  # only readers of files offer to skip some
    with ThreadPoolExecutor() as pool:
        whole = np.array(list(pool.map(is_whole, paths)), dtype=bool)
    if whole.all():
        return listing
    lost = set(listing.labels[listing.splits == "train"]) - set(listing.labels[whole & (listing.splits == "train")])
    if lost:
        names = listed(repr(listing.class_names[label]) for label in sorted(lost))
        raise UserError(f"{spec}: no training image of {names} can be read: replace the files, or leave the class out.")
    kept = {"labels": listing.labels[whole], "splits": listing.splits[whole]}
    if listing.validation is not None:
        kept["validation"] = listing.validation[whole[listing.splits == "train"]]
    groups = None if listing.groups is None else listing.groups[whole]
    images = ImageFiles([path for path, good in zip(paths, whole, strict=True) if good])
    remarks = (*listing.remarks, _left_out(listing, np.flatnonzero(~whole)))
    return replace(listing, images=images, groups=groups, remarks=remarks, **kept)


def _left_out(listing: Listing, rows: np.ndarray) -> Finding:
    paths = cast(ImageFiles, listing.images).paths
    counts = Counter((listing.class_names[listing.labels[row]], str(listing.splits[row])) for row in rows)
    parts = [{"class": name, "split": split, "files": n} for (name, split), n in sorted(counts.items())]
    names = [printable(paths[row].name) for row in rows[:_SHOWN]]
    return Finding("warning", statement("unreadable_left_out", files=len(rows), parts=parts, names=names))


def _recognised(spec: str, folder: Path | None) -> str:
    path = located(spec.partition("?")[0], folder)
    if path.suffix.lower() in TABLES and not path.is_dir():
        return "table"
    if path.is_dir():
        return "vtab" if (path / "train800val200.txt").is_file() else "folder"
    if path.is_file():
        return "table"  # which says what kind of file it should be
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
    trains, tests = (set(listing.labels[listing.splits == split].tolist()) for split in ("train", "test"))
    for number, name in enumerate(listing.class_names):
        if number not in trains:
            has = "test images but none to train on" if number in tests else "no image at all"
            raise UserError(f"{spec}: class {name!r} has {has}: add some, or leave it out.")
    untested = [name for number, name in enumerate(listing.class_names) if number not in tests]
    if not untested:
        return listing
    what = statement("classes_without_test", classes=len(untested), names=untested[:_SHOWN])
    return replace(listing, remarks=(*listing.remarks, Finding("warning", what)))


_READERS: dict[str, tuple[Callable[..., Listing], tuple[str, ...]]] = {
    "folder": (read_folder, ("train", "test", "ignore")),
    "table": (read_table, ("path", "label", "group", "split", "encoding")),
    "vtab": (read_vtab, ()),
    "hf": (read_hugging_face, ("image", "label", "train", "test", "config")),
    "torchvision": (read_torchvision, ("root", "split", "train", "test")),
}
