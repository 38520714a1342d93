"""How labelled images are divided: classes, splits and groups, and the numbers of images that a study can ask for.

All of it follows from the labels, so no image is opened.
"""

from dataclasses import replace

import numpy as np

from vptlib.data.findings import Finding
from vptlib.data.listing import Listing
from vptlib.data.possible_sizes import Labelled
from vptlib.errors import UserError
from vptlib.statement import statement
from vptlib.wording import printable

IMBALANCE = 10  # warn if the largest class has this many times the images of the smallest
USUAL_SIZES = (50, 150, 400)  # those that a study asks for if nobody says otherwise
NAMED = 3  # classes or images that a finding names
SEEDS = (0, 1, 2)


def findings_on_sides(listing: Listing) -> list[Finding]:
    """Groups on both sides, classes that are not in both splits: what may mislead, whatever the images show."""
    return [*_groups(listing), *_classes(listing)]


def _groups(listing: Listing) -> list[Finding]:
    groups, train = listing.groups, listing.splits == "train"
    if groups is None:
        return []
    shared = np.intersect1d(groups[train], groups[~train])
    if not len(shared):
        return [Finding("note", statement("groups_apart", groups=len(np.unique(groups))))]
    touched = np.flatnonzero(~train & np.isin(groups, shared))
    example = int(touched[0])
    same = int(np.flatnonzero(train & (groups == groups[example]))[0])
    what = statement(
        "groups_on_both_sides",
        shared=len(shared),
        groups=len(np.unique(groups)),
        tested=len(touched),
        test=int((~train).sum()),
        pair=[name_of(listing, same), name_of(listing, example)],
    )
    return [Finding("warning", what)]


def name_of(listing: Listing, row: int) -> str:
    """How a person finds one image: by its path, or by its number where there are no files."""
    paths = getattr(listing.images, "paths", None)
    return f"image {row}" if paths is None else printable(str(paths[row]))


def _classes(listing: Listing) -> list[Finding]:
    """Classes that one of the two splits lacks."""
    untested, untrained = (_absent(listing, split) for split in ("test", "train"))
    found = []
    if untested and not any(remark.what.code == "classes_without_test" for remark in listing.remarks):
        found.append(statement("classes_without_test", classes=len(untested), names=untested[:NAMED]))
    if untrained:
        found.append(statement("classes_not_trained", number=len(untrained), names=untrained[:NAMED]))
    return [Finding("warning", what) for what in found]


def _absent(listing: Listing, split: str) -> list[str]:
    counts = np.bincount(listing.labels[listing.splits == split], minlength=len(listing.class_names))
    return [name for name, count in zip(listing.class_names, counts, strict=True) if not count]


def findings_on_balance(listing: Listing) -> list[Finding]:
    """Whether the commonest class of the training images has many times the images of the rarest."""
    counts = np.bincount(listing.labels[listing.splits == "train"], minlength=len(listing.class_names))
    most, least = int(counts.max()), int(counts.min())
    if most < IMBALANCE * least or not most:
        return []
    common, rare = (listing.class_names[int(at)] for at in (counts.argmax(), counts.argmin()))
    return [Finding("warning", statement("rare_class", common=common, most=most, rare=rare, least=least))]


# ---- sizes ------------------------------------------------------------------------------------------------------


def findings_on_sizes(listing: Listing, sizes: tuple[int, ...] | None) -> list[Finding]:
    """Which numbers of labelled images a study can ask for; an error for each of `sizes` that it cannot.

    Where no sizes are given, it is an error only if there are none at all. Published lists with classes of fewer than
    two images can be used all the same, by the rules "vtab-1k".
    """
    train = listing.splits == "train"
    if not train.any():
        return []
    groups = None if listing.groups is None else listing.groups[train]
    labelled = Labelled(listing.labels[train], groups, SEEDS)
    largest = labelled.largest()
    level = "warning" if listing.validation is not None else "error"
    found = []
    for n in sizes or ():
        try:
            labelled.check(n)
        except UserError as error:
            found.append(Finding("error", statement("size_not_possible", n=n, message=_named(str(error), listing))))
    if largest is not None:
        what = statement(
            "sizes_possible",
            least=labelled.least,
            largest=largest,
            all=groups is None,
            examples=labelled.nearest(sizes or USUAL_SIZES),
        )
        found.append(Finding("note", what))
    elif not sizes:
        found.append(Finding(level, statement("no_size_possible", message=_why_none(labelled, listing))))
    return found


def _why_none(labelled: Labelled, listing: Listing) -> str:
    counts = np.bincount(labelled.labels, minlength=len(listing.class_names))
    rare = [name for name, count in zip(listing.class_names, counts, strict=True) if count == 1]
    if rare:
        more = f" and {len(rare) - NAMED} more" if len(rare) > NAMED else ""
        named = ", ".join(map(repr, rare[:NAMED]))
        return f"fewer than 2 training images are of class {named}{more}: add some, or leave the class out."
    try:
        labelled.check(len(labelled.labels))
    except UserError as error:
        return str(error)
    return "whole groups cannot be set aside for validation at any size: add groups, or leave out the group column."


def _named(message: str, listing: Listing) -> str:
    """A message of `vptlib.data.splits`, in which a class is a number, with the class's name."""
    for number, name in enumerate(listing.class_names):
        if message.startswith(f"class {number} "):
            return message.replace(f"class {number} ", f"class {name!r} ", 1)
    return message


def readable(listing: Listing, whole: np.ndarray) -> Listing:
    """The labels of the images that can be read, for judgement: a study leaves the others out or stops.

    Args:
        whole: bool for each image.
    """
    groups = None if listing.groups is None else listing.groups[whole]
    return replace(listing, labels=listing.labels[whole], splits=listing.splits[whole], groups=groups)
