"""Parts of a data set as another library gives them, joined: labels by their names, splits by what they are called."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vptlib.data.files import ListedImages
from vptlib.data.findings import Finding
from vptlib.data.listing import Listing, one_spelling, with_split
from vptlib.data.split_names import roles_of, split_kind
from vptlib.errors import UserError
from vptlib.statement import statement
from vptlib.wording import listed


@dataclass(frozen=True)
class Part:
    """A split of a data set.

    Attributes:
        name: as the library calls it.
        labels: the class of each image by its name; None where the library gives none.
        class_names: all classes, in the library's order.
        image_at: opens the image of a row, counted from 0.
    """

    name: str
    labels: Sequence[str | None]
    class_names: Sequence[str]
    image_at: Callable[[int], Image.Image]


@dataclass(frozen=True)
class Choice:
    """Which splits the user wants: the names after ?train= and ?test=, with commas between several, or "" for each."""

    train: str = ""
    test: str = ""

    def wants(self, name: str, names: Sequence[str]) -> bool:
        """Whether a split may be used: it was asked for, or none was and its name is that of a split."""
        if self.train or self.test:
            return name in _names_in(self.train) + _names_in(self.test)
        return len(names) == 1 or split_kind(name) is not None


def joined(
    parts: Sequence[Part],
    names: Sequence[str],
    choice: Choice,
    where: str,
    source: str,
    said: Sequence[Finding] = (),
    free_text: bool = False,
) -> Listing:
    """One listing of the parts that train or test; images without a label are passed over.

    Args:
        parts: the splits that `choice` wants.
        names: of all splits.
        choice: which train and which test; if none tests, a quarter of the images does.
        where: the data set as the user wrote it, for messages.
        source: as reports print it.
        said: remarks of the reader.
        free_text: whether labels are texts, which may have two spellings.

    Raises:
        UserError: no image has a label, or which split trains and which tests is not clear.
    """
    labelled = {part.name: part for part in parts if any(label is not None for label in part.labels)}
    if parts and not labelled:
        raise UserError(f"{where}: no image has a label: choose other splits, or another column of labels.")
    empty = [part.name for part in parts if part.name not in labelled]
    roles, remarks = _roles([name for name in names if name not in empty], choice, where)
    used = sorted((labelled[name] for name in roles), key=lambda part: roles[part.name] != "train")
    rows = [(part, row) for part in used for row, label in enumerate(part.labels) if label is not None]
    written = [str(part.labels[row]) for part, row in rows]
    splits = [roles[part.name] for part, _ in rows]
    spelling, spelled = one_spelling(written, where, splits) if free_text else ({}, ())
    kinds = [spelling.get(name, name) for name in written]
    order = list(dict.fromkeys(spelling.get(name, name) for part in used for name in part.class_names))
    class_names = tuple(name for name in order if name in set(kinds))
    number = {name: k for k, name in enumerate(class_names)}
    images = ListedImages(len(rows), lambda k: rows[k][0].image_at(rows[k][1]))
    labels, given = np.array([number[name] for name in kinds], dtype=np.int64), np.array(splits, dtype=object)
    given = given if "test" in splits else with_split(labels, None)
    passed_over = [*_unlabelled(parts, where), *_unused(order, class_names, where)]
    remarks = (*said, *remarks, *passed_over, *([] if free_text else _other_order(used, where)), *spelled)
    return Listing(images, labels, given, class_names, None, source, remarks=remarks)


def _unlabelled(parts: Sequence[Part], where: str) -> list[Finding]:
    counts = {part.name: sum(label is None for label in part.labels) for part in parts}
    counts = {name: count for name, count in counts.items() if count}
    return [Finding("warning", statement("images_without_label", where=where, counts=counts))] if counts else []


def _other_order(parts: Sequence[Part], where: str) -> list[Finding]:
    """Parts that count their classes in another order than the first."""
    first, *others = parts
    differ = [part.name for part in others if list(part.class_names) != list(first.class_names)]
    return (
        [Finding("note", statement("classes_by_name", where=where, first=first.name, parts=differ))] if differ else []
    )


def _unused(names: Sequence[str], used: Sequence[str], where: str) -> list[Finding]:
    unused = [name for name in names if name not in set(used)]
    what = statement("classes_without_images", where=where, classes=len(unused), first=unused[:3])
    return [Finding("note", what)] if unused else []


# ---- which split trains, and which tests ------------------------------------------------------------------------


def _roles(names: Sequence[str], choice: Choice, where: str) -> tuple[dict[str, str], list[Finding]]:
    """The role of each split that is used, and what has to be said of them all."""
    is_asked = bool(choice.train or choice.test)
    roles = _asked_roles(names, choice, where) if is_asked else _roles_by_name(names, where)
    sides = {side: [name for name, role in roles.items() if role == side] for side in ("train", "test")}
    left_out = [name for name in names if name not in roles]
    is_plain = len(names) == 1 or (not left_out and all(split_kind(name) == "test" for name in sides["test"]))
    what = statement("splits_of_library", where=where, train=sides["train"], test=sides["test"], left_out=left_out)
    return roles, [Finding("note" if is_plain or is_asked else "warning", what)]


def _names_in(asked: str) -> list[str]:
    return [name.strip() for name in asked.split(",") if name.strip()]


def _asked_roles(names: Sequence[str], choice: Choice, where: str) -> dict[str, str]:
    there = ", ".join(names)
    if not choice.train:
        raise UserError(f"{where}: ?test={choice.test} needs ?train=SPLIT with it: take one of {there}.")
    roles: dict[str, str] = {}
    for side, asked in (("train", choice.train), ("test", choice.test)):
        for name in _names_in(asked):
            if name not in names:
                raise UserError(f"{where} has no split {name!r} with labels for ?{side}=: take one of {there}.")
            if name in roles:
                raise UserError(f"{where}: split {name!r} is named twice: name it once, to train or to test.")
            roles[name] = side
    return roles


def _roles_by_name(names: Sequence[str], where: str) -> dict[str, str]:
    kinds = {name: kind for name in names if (kind := split_kind(name))}
    if len(names) == 1 and set(kinds.values()) <= {"train"}:
        return {names[0]: "train"}
    found = list(kinds.values())
    is_clear = "train" in found and len(found) > 1 and len(set(found)) == len(found)
    if not is_clear or {"test", "evaluation"} <= set(found):
        raise UserError(
            f"{where} has the splits {listed(names)}, and which train and which test is not clear: write "
            "?train=SPLIT&test=SPLIT (with commas between several), or ?train=SPLIT alone to divide it."
        )
    roles = roles_of(found)
    return {name: roles[kind] for name, kind in kinds.items()}
