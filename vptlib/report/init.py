"""The YAML file that `vpt init` writes for your own images: settings that fit them, each with a line of explanation.

Sizes, seeds and test images are set to what the images can give. Everything else is a line behind a #, with its
default: take the # away to change it.
"""

import os
import shlex
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vptlib.data.check import DataCheck
from vptlib.data.listing import Listing
from vptlib.data.possible_sizes import Labelled
from vptlib.data.readers import local_path, parts_of, resolved, short_name
from vptlib.data.tables import TABLES
from vptlib.data.tasks import TASKS
from vptlib.errors import UserError
from vptlib.report.judged import told_apart_before
from vptlib.report.words import words
from vptlib.study.done_rules import CANDIDATES, MOST_STEPS
from vptlib.tuning.methods import STANDARD
from vptlib.wording import in_points, listed

SEEDS = (0, 1, 2)
TEST_IMAGES = 400
# Numbers of labelled images to choose from, besides the number of all that there are.
LADDER = (20, 50, 100, 150, 200, 300, 400, 800)
# Of the largest size, about this share each: 50 and 150 of 400.
SMALLER = (1 / 8, 3 / 8)
APART = 1.5  # a size is at least this many times the one before
IMBALANCE = 4
CLASSES_NAMED = 12


# ---- where the file goes ----------------------------------------------------------------------------------------


def usual_config(images: Path) -> Path:
    """The YAML file of a folder or a table, next to it: photos/ → photos.yaml, list.csv → list.yaml."""
    whole = Path(os.path.abspath(images))  # a link is not followed: the file goes next to the link
    is_table = whole.suffix.lower() in TABLES and not whole.is_dir()
    return whole.parent / f"{(whole.stem if is_table else whole.name) or 'images'}.yaml"


def new_config(place: str, out: Path | None = None) -> Path:
    """The file that will be written for `place`; it is not there yet.

    Args:
        place: as for `vptlib.data.check.check_data`.
        out: where the user wants it; by default next to the images, or in the working directory if they have no folder.

    Raises:
        UserError: there is a file or folder already.
    """
    path = _path_of(place)
    target = Path(os.path.abspath(out or (usual_config(path) if path else f"{short_name(place)}.yaml")))
    if target.is_dir():
        raise UserError(f"{as_typed(target)} is a folder: name a YAML file with --out.")
    if target.exists():
        raise UserError(f"{as_typed(target)} is there already and stays as it is: name another file with --out.")
    return target


def as_typed(path: Path) -> str:
    """A path as one would type it: from the working directory if it lies there, and quoted if that is needed."""
    whole, here = Path(os.path.abspath(path)), Path.cwd()
    return shlex.quote(str(whole.relative_to(here) if whole.is_relative_to(here) else whole))


def _path_of(place: str) -> Path | None:
    return None if place in TASKS else local_path(place)


# ---- writing ----------------------------------------------------------------------------------------------------


def write_config(found: DataCheck, place: str, target: Path) -> None:
    """Write the YAML file of the images that were checked.

    Args:
        found: from `vptlib.data.check.check_data`; it must have passed.
        place: what was checked.
        target: the new file.

    Raises:
        UserError: the images can give no size, the file cannot be written, or a name in it cannot be.
    """
    try:
        whole = config_text(found, place, target).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"the name {place!r} is not UTF-8: rename the folder or the table.") from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(whole)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise UserError(f"{target} cannot be written ({reason}): name another file with --out.") from error


def config_text(found: DataCheck, place: str, target: Path) -> str:
    """The text of the YAML file: settings that fit the images, and a commented line for each of the others.

    Raises:
        UserError: the images can give no size.
    """
    labelled = _labelled(found.listing)
    sizes = usual_sizes(labelled)
    blocks = [
        [
            "# Visual prompts or full fine-tuning on your own images? Written by `vpt init`: change it, then",
            f"#   vpt report {_printable(as_typed(target))}",
            "# Stop it at any time. Finished runs are kept, and the same command goes on from there.",
            "# Relative paths count from this file's folder. A line behind a # has no effect: it shows the default.",
        ],
        [f"title: {in_yaml(f'{_title(place)}: visual prompts or full fine-tuning?')}"],
        [*_about(found), f"tasks: [{in_yaml(_as_task(place, target))}]"],
        [*_about_sizes(labelled), f"sizes: {sizes}"],
        [*_about_seeds(len(sizes)), f"seeds: {list(SEEDS)}"],
        [*_about_tests(found.listing), f"test_images: {min(TEST_IMAGES, _count(found.listing, 'test'))}"],
        ["# ---- What the work asks for: examples ----"],
        *_asked(),
        ["# ---- What vptlib chooses if you do not ----"],
        *_choices(found),
        _harder(labelled, sizes[-1]),
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def in_yaml(text: str) -> str:
    """Text as YAML reads it back, in quotes.

    Raises:
        UnicodeEncodeError: a part of it, such as a byte of a file's name, is no character.
    """
    text.encode("utf-8")
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf")).strip()


def _printable(text: str) -> str:
    """Text for a comment, where YAML has no way to write a line break or a control character."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _as_task(place: str, target: Path) -> str:
    """`place` as the YAML file names it: from its own folder if the images lie there, else by the whole path."""
    if place in TASKS:
        return place
    path = _path_of(place)
    if path is None:
        return resolved(place, Path.cwd())
    kind, _, query = parts_of(place)
    whole = Path(os.path.abspath(path))
    inside = whole.is_relative_to(target.parent) and whole != target.parent
    where = f"./{whole.relative_to(target.parent)}" if inside else str(whole)
    return f"{kind}{':' if kind else ''}{where}{'?' if query else ''}{query}"


def _title(place: str) -> str:
    path = _path_of(place)
    return usual_config(path).stem if path else short_name(place)


# ---- what fits the images ---------------------------------------------------------------------------------------


def usual_sizes(labelled: Labelled) -> list[int]:
    """Up to three numbers of labelled images that fit: all that there are or 800, and about 1/8 and 3/8 of that.

    Raises:
        UserError: no number of these images can be split.
    """
    everything = len(labelled.labels)
    offered = [n for n in LADDER if labelled.least <= n < everything and labelled.fits(n)]
    largest = LADDER[-1] if LADDER[-1] in offered else everything
    labelled.check(largest)
    sizes: list[int] = []
    for wanted in [share * largest for share in SMALLER]:
        below = [n for n in offered if n * APART <= largest and (not sizes or n >= sizes[-1] * APART)]
        sizes += sorted(below, key=lambda n: abs(np.log(n / wanted)))[:1]
    return [*sizes, largest]


def _labelled(listing: Listing) -> Labelled:
    """The training images, of which every class must have two.

    Raises:
        UserError: a class has fewer.
    """
    train = listing.splits == "train"
    counts = np.bincount(listing.labels[train], minlength=len(listing.class_names))
    rare = [name for name, count in zip(listing.class_names, counts, strict=True) if count < 2]
    if rare:
        names = listed(map(repr, rare[:CLASSES_NAMED]))
        raise UserError(f"fewer than 2 training images are of class {names}: add some, or leave the class out.")
    return Labelled(listing.labels[train], None if listing.groups is None else listing.groups[train], SEEDS)


def _count(listing: Listing, split: str) -> int:
    return int((listing.splits == split).sum())


# ---- explanations -----------------------------------------------------------------------------------------------


def _about(found: DataCheck) -> list[str]:
    train, test = (_count(found.listing, split) for split in ("train", "test"))
    counts = found.counts()
    named = [f"{name} ({row['train']} + {row['test']})" for name, row in counts.head(CLASSES_NAMED).iterrows()]
    more = f" and {len(counts) - CLASSES_NAMED} more" if len(counts) > CLASSES_NAMED else ""
    return [
        f"# Your images: {train + test:,}, of which {train:,} are there to train on and {test:,} to test on.",
        f"# {len(counts):,} classes: {_printable(', '.join(named))}{more}",
    ]


def _about_sizes(labelled: Labelled) -> list[str]:
    return [
        "# Numbers of labelled images to compare at: a fifth of them validates, the others train.",
        f"# Your images can give {labelled.least:,} (two of each class) to {len(labelled.labels):,} (all).",
    ]


def _about_seeds(sizes: int) -> list[str]:
    runs = len(STANDARD) * sizes
    return [
        "# Each seed has its own choice of images, batches and first values.",
        f"# {len(STANDARD)} methods × sizes × seeds are {runs * len(SEEDS)} runs. [0] alone is a quick look in {runs}.",
    ]


def _about_tests(listing: Listing) -> list[str]:
    test = _count(listing, "test")
    used = f"all {test:,} of them" if test <= TEST_IMAGES else f"{TEST_IMAGES} of {test:,}, always the same ones"
    groups = None if listing.groups is None else listing.groups[listing.splits == "test"]
    power = told_apart_before(len(SEEDS), min(test, TEST_IMAGES), groups)
    lines = [f"# How many test images are used: {used}.", f"# {words.sentence(power)}"]
    if test < 100:
        known = in_points(round(1.96 * sqrt(0.8 * 0.2 / test), 2))  # half of a 95 % interval
        lines += [f"# With so few, an accuracy of 80 % is known to within about {known}."]
    return lines


def _choices(found: DataCheck) -> list[list[str]]:
    """A commented line for each setting with a default that fits most images, under what it means."""
    typical = next((f.what.values["typical"] for f in found.findings if f.what.code == "image_sizes"), None)
    yours = f" (yours are typically {typical[0]:,} × {typical[1]:,})" if typical else ""
    rows: list[tuple[str, str, Any]] = [
        ('How long the report may take, such as 30m or 2h; "" makes all runs', "time", ""),
        (f"Side in pixels of the square that the model sees{yours}. null: chosen by looking", "image_size", None),
        ("How an image becomes a square: auto, squash, crop (its middle) or pad (with bars)", "aspect", "auto"),
        ("Arithmetic: fp32, bf16, or auto (bf16 where this machine is faster with it)", "precision", "auto"),
        (
            "Small changes to training images: none, light, or light+mirror if no label depends on left and right",
            "augmentation",
            "none",
        ),
        ("The largest number of training steps; a run ends early when it makes no more progress", "steps", MOST_STEPS),
        ("Learning rates that each method tries first", "candidates", CANDIDATES),
        ("Ways to adapt the backbone; `vpt methods` lists them all", "methods", list(STANDARD)),
    ]
    return [[f"# {about}.", f"# {key}: {_value(value)}"] for about, key, value in rows]


# What the work asks for; nobody else can know it, so the values are examples.
_ASKED = (
    ("Share of right answers that the work needs", "accuracy_needed", "0.9"),
    ("Share of right answers of the present way of working", "accuracy_today", "0.85"),
    (
        "Rates fixed before the test (also miss_rate of a defect; see docs/settings.md)",
        "limits",
        "{accuracy: {at_least: 0.8}}",
    ),
    ("Price of one labelled image; with it the report has a bill", "label_price", "1"),
    ("The currency of all prices, by ISO 4217", "currency", "USD"),
    (
        "What a point of accuracy is worth, for a task and year; with both, cost takes part in the choice",
        "point_value",
        "100",
    ),
    ("How many tasks of this kind there will be", "tasks_planned", "10"),
)


def _asked() -> list[list[str]]:
    """A commented line for each thing that the reader may ask of a method, under what it means."""
    return [[f"# {about}.", f"# {key}: {value}"] for about, key, value in _ASKED]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return {None: "null", "": '""'}.get(value, str(value))


def _harder(labelled: Labelled, largest: int) -> list[str]:
    """Conditions that fit the images, all of them commented out."""
    rows = [
        ("{corruption: blur, severity: 2}", "the test images are blurred"),
        ("{label_noise: 0.2}", "a fifth of the labelled images has a wrong label"),
    ]
    if Labelled(labelled.labels, labelled.groups, labelled.seeds, IMBALANCE).fits(largest):
        rows += [(f"{{imbalance: {IMBALANCE}}}", f"the largest class has {IMBALANCE} times the images of the smallest")]
    width = max(len(condition) for condition, _ in rows)
    return [
        "# What if the field is harder? Each line runs the largest size once more.",
        "# conditions:",
        *(f"#   - {condition:{width}}  # {about}" for condition, about in rows),
    ]
