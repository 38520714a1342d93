"""What a person meant by folders: which are classes, which are splits, and which hold something else.

Four layouts are understood, at the place that is named or in a folder that holds nothing else:

    good/ bad/                            a folder for each class
    train/good/ … val/good/ … test/good/  splits above the classes (ImageNet, chest X-rays, Intel scenes)
    good/train/ good/test/ …              splits below the classes
    images/good/ … masks/                 a folder of images next to one of masks or labels

Whatever else stands next to splits is passed over, and said. Where two readings are possible, none is taken: the
message names the ways out.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from vptlib.data.endings import way_of
from vptlib.data.findings import Finding
from vptlib.data.formats import suffixes
from vptlib.data.split_names import is_beside, is_container, is_never_a_class, roles_of, split_kind
from vptlib.data.tree import Folder
from vptlib.errors import UserError
from vptlib.statement import Statement, statement
from vptlib.wording import listed, many, printable

LISTS = (".csv", ".tsv", ".parquet", ".xlsx", ".txt")
_NAMED = 5  # folders that a message names


@dataclass(frozen=True)
class Part:
    """The images of one class in one split: those in `folder` and below.

    Attributes:
        name: of the class, as written.
        split: what they do, "train" or "test"; None where no image tests yet.
        origin: the split that they come from: "train", "val", "test" or "evaluation".
    """

    name: str
    split: str | None
    folder: Folder
    origin: str = "train"


@dataclass
class Layout:
    """What was understood of a folder.

    Attributes:
        parts: the images of each class and split, in order.
        remarks: what has to be said of them.
        passed: folders with images that are no class and no split.
    """

    parts: list[Part] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    passed: list[Folder] = field(default_factory=list)

    def remark(self, level: str, what: Statement) -> None:
        """Add a finding."""
        self.remarks.append(Finding(level, what))


def understood(root: Folder) -> Layout:
    """The classes and splits in a folder.

    Raises:
        UserError: there are no classes, or there are two ways to read the folders.
    """
    layout = Layout()
    _refuse_other_kinds(root)
    top = _entered(root, layout)
    _refuse_other_kinds(top)
    named = [folder for folder in top.filled if split_kind(folder.name)]
    splits = [folder for folder in named if _unwrapped(folder, Layout()).filled]
    bare = [folder for folder in named if folder not in splits]
    if splits:
        _splits_above(top, splits, bare, layout)
    elif len({split_kind(folder.name) for folder in bare}) > 1:
        raise UserError(
            f"{top.path}: {_row(bare)} hold images, but no sub-folder for each class: make these, or write the labels "
            "into a table (table:PATH.csv)."
        )
    elif any(_inner_kinds(folder) for folder in top.filled):
        _splits_below(top, layout)
    else:
        layout.parts += [Part(folder.name, None, folder) for folder in _classes(top, layout)]
        layout.remark("note", statement("folders_are_classes", folder=_name(top), classes=len(layout.parts)))
    _say_passed(layout)
    return layout


def chosen(root: Folder, train: str, test: str) -> Layout:
    """The classes in the folders that the user names as training and test images; without `test` a quarter tests.

    Args:
        root: the folder that holds both.
        train, test: folders in it, with commas between several.

    Raises:
        UserError: there is no such folder, or it holds no classes.
    """
    layout = Layout()
    sides = {"train": _at(root, train, "train"), "test": _at(root, test, "test")}
    if not sides["train"]:
        raise UserError(f"{root.path}: ?test={test} needs ?train=FOLDER with it: name the folder of training images.")
    _refuse_nested([*sides["train"], *sides["test"]])
    _say_splits(root, [(folder, side) for side, folders in sides.items() for folder in folders], layout)
    for side, folders in sides.items():
        for folder in folders:
            inner = _classes(_entered(folder, layout), layout)
            layout.parts += [Part(part.name, side if test else None, part, side) for part in inner]
    _say_passed(layout)
    return layout


def _refuse_nested(folders: list[Folder]) -> None:
    for k, folder in enumerate(folders):
        for other in folders[:k]:
            if folder.path.is_relative_to(other.path) or other.path.is_relative_to(folder.path):
                raise UserError(f"{folder.path} and {other.path} share images: name two folders that do not.")


# ---- splits above classes ---------------------------------------------------------------------------------------


def _splits_above(top: Folder, splits: list[Folder], bare: list[Folder], layout: Layout) -> None:
    kinds = _kinds(top, splits)
    others = [folder for folder in top.filled if folder not in splits and folder not in bare]
    if "train" not in kinds and len(top.filled) > 1:
        raise UserError(
            f"{top.path}: {_row(splits)} can be a split, but no folder next to it can be the training images: "
            f"{_ways_out(others or bare or splits)}."
        )
    strange = [folder for folder in others if not is_beside(folder.name)]
    if len(splits) == 1 and not bare and strange:
        raise UserError(
            f"{top.path}: {_row(splits)} can be a split, and {_row(strange)} can be classes: {_ways_out(strange)}."
        )
    roles = roles_of(kinds)
    _say_splits(top, [(folder, roles[split_kind(folder.name) or ""]) for folder in splits], layout)
    if "test" not in kinds and "test" in roles.values():
        (name,) = [folder.name for folder in splits if roles[split_kind(folder.name) or ""] == "test"]
        layout.remark("warning", statement("held_out_tests", folder=_name(top), name=printable(name)))
    for folder in bare:
        what = statement("split_without_classes", name=printable(folder.name), images=folder.count)
        layout.remark("warning", what)
    _pass_over(others, layout)
    _say_loose(top, layout)
    for folder in splits:
        kind = split_kind(folder.name) or ""
        role = roles[kind] if "test" in roles.values() else None
        inner = _classes(_unwrapped(folder, layout), layout)
        layout.parts += [Part(part.name, role, part, kind) for part in inner]
    _refuse_anomaly_detection(top, layout)


def _kinds(top: Folder, splits: list[Folder]) -> dict[str, Folder]:
    kinds: dict[str, Folder] = {}
    for folder in splits:
        earlier = kinds.setdefault(split_kind(folder.name) or "", folder)
        if earlier is not folder:
            _refuse_two(top, earlier, folder)
    if {"test", "evaluation"} <= set(kinds):
        _refuse_two(top, kinds["evaluation"], kinds["test"])
    return kinds


def _refuse_two(top: Folder, one: Folder, other: Folder) -> None:
    raise UserError(
        f"{top.path}: {_row([one, other])} read as the same split: name the folders that you mean "
        f"(?train=FOLDER&test=FOLDER), or leave one out (?ignore={printable(other.name)})."
    )


def _say_splits(top: Folder, splits: list[tuple[Folder, str]], layout: Layout) -> None:
    sides = {side: [printable(f.name) for f, role in splits if role == side] for side in ("train", "test")}
    layout.remark("note", statement("folders_are_splits", folder=_name(top), **sides))


def _refuse_anomaly_detection(top: Folder, layout: Layout) -> None:
    sides = {side: {part.name for part in layout.parts if part.split == side} for side in ("train", "test")}
    if len(sides["train"]) == 1 and len(sides["test"] - sides["train"]) >= 1 and sides["test"]:
        (name,) = sides["train"]
        test = next(part.folder.path.parent for part in layout.parts if part.split == "test")
        raise UserError(
            f"{top.path} trains on {printable(name)!r} alone and tests on other classes, as for anomaly detection "
            f"(MVTec AD), so class {printable(min(sides['test'] - sides['train']))!r} has test images but none to "
            f"train on: name folder:{test} to classify the images of the test, or add training images."
        )


# ---- splits below classes ---------------------------------------------------------------------------------------


def _inner_kinds(folder: Folder) -> set[str]:
    """The kinds of split in a folder, if they are two or more and one of them trains."""
    kinds = {kind for inner in folder.filled if (kind := split_kind(inner.name))}
    return kinds if len(kinds) > 1 and "train" in kinds else set()


def _splits_below(top: Folder, layout: Layout) -> None:
    with_splits = [folder for folder in top.filled if any(split_kind(inner.name) for inner in folder.filled)]
    without = [folder for folder in top.filled if folder not in with_splits]
    inner = [part for folder in with_splits for part in folder.filled if split_kind(part.name)]
    if without or any(part.filled for part in inner):
        whole = next(folder for folder in with_splits if _inner_kinds(folder))
        how = f", but {_row(without)} does not" if without else ", and those hold folders again"
        raise UserError(
            f"{top.path}: {_row([whole])} holds splits of its own{how}: if it is a data set, name it alone "
            f"(folder:{whole.path}); if it is a class, put its images straight into its splits, as in all classes."
        )
    kinds = {folder.name: _kinds(folder, [p for p in folder.filled if split_kind(p.name)]) for folder in with_splits}
    roles = roles_of({kind: folder for of_class in kinds.values() for kind, folder in of_class.items()})
    sides = {side: sorted(kind for kind, role in roles.items() if role == side) for side in ("train", "test")}
    layout.remark("note", statement("splits_in_classes", folder=_name(top), classes=len(with_splits), **sides))
    if sides["test"] == ["val"]:
        layout.remark("warning", statement("held_out_tests", folder=_name(top), name="val"))
    _say_loose(top, layout)
    for folder in with_splits:
        _say_loose(folder, layout)
        _pass_over([part for part in folder.filled if not split_kind(part.name)], layout)
        for kind, part in sorted(kinds[folder.name].items(), key=lambda item: item[1].name):
            layout.parts.append(Part(folder.name, roles[kind], part, kind))


# ---- classes ----------------------------------------------------------------------------------------------------


def _classes(folder: Folder, layout: Layout) -> list[Folder]:
    """The folders in it, each a class."""
    if not folder.filled:
        raise UserError(_no_classes(folder))
    never = [inner for inner in folder.filled if is_never_a_class(inner.name)]
    if never:
        raise UserError(f"{folder.path}: {_row(never)} can hardly be a class: {_ways_out(never)}.")
    only = folder.filled[0]
    if len(folder.filled) == 1 and is_container(only.name) and not only.filled:
        raise UserError(_no_classes(only, folder.others))
    _say_loose(folder, layout)
    empty = [printable(inner.name) for inner in folder.folders if not inner.count and not is_beside(inner.name)]
    if empty:
        what = statement("folders_without_images", folder=_name(folder), names=empty[:_NAMED], folders=len(empty))
        layout.remark("warning", what)
    for inner in folder.filled:
        if is_beside(inner.name):
            what = statement("doubtful_class", name=printable(inner.name), images=inner.count)
            layout.remark("warning", what)
    return [_without_masks(inner, layout) for inner in folder.filled]


def _without_masks(folder: Folder, layout: Layout) -> Folder:
    """A class folder without a folder of masks that lies in it next to one of images (COVID-19 radiographs)."""
    beside = [inner for inner in folder.filled if is_beside(inner.name)]
    if not beside or (len(beside) == len(folder.filled) and not folder.images):
        return folder
    _pass_over(beside, layout)
    kept = [inner for inner in folder.folders if inner not in beside]
    count = folder.count - sum(inner.count for inner in beside)
    return Folder(folder.path, folder.images, folder.others, kept, count=count)


def _no_classes(folder: Folder, above: Sequence[str] = ()) -> str:
    """That there are no class folders, and what to do; `above` are names of files in the folder above."""
    lists = [printable(name) for name in (*folder.others, *above) if name.lower().endswith(LISTS)]
    start = f"{folder.path} holds no images in sub-folders"
    if folder.images and lists:
        return f"{start}: if {lists[0]!r} lists images and labels, name it (table:PATH); or make one for each class."
    if prefixes := _prefixes(folder.images):
        names = ", ".join(map(repr, prefixes[:3]))
        return f"{start}: if the names of the files give the class ({names}), move the files into one for each class."
    if not folder.count and (left_out := _unread(folder)):
        return f"{start} that can be read, but {left_out}: save them as PNG or JPEG, in one for each class."
    kinds = ", ".join(suffix[1:] for suffix in suffixes()[:8])
    return f"{start}: make one for each class ({kinds}, …)."


def _unread(folder: Folder) -> str:
    """The endings of files below that might be images (HEIC, raw), most frequent first: "12 .heic files"."""
    endings = Counter(PurePath(name).suffix.lower() for inner in folder.walk() for name in inner.others)
    found = [(ending, n) for ending, n in endings.most_common() if way_of(ending)]
    return listed(many(n, f"{printable(ending)} file") for ending, n in found[:_NAMED]) if found else ""


def _prefixes(images: list[Path]) -> list[str]:
    """What the names of images begin with before a number (cat.12.jpg), if all of them begin with one of a few."""
    found = sorted({path.stem.rstrip("0123456789").rstrip("_-. (") for path in images})
    return found if 1 < len(found) <= len(images) / 2 and all(found) else []


# ---- folders that only hold another -----------------------------------------------------------------------------


def _entered(root: Folder, layout: Layout) -> Folder:
    """The folder in which the classes or splits lie: `root`, or one that it holds and nothing else but masks."""
    top = root
    while (inner := _only(top)) is not None:
        _pass_over([other for other in top.filled if other is not inner], layout)
        top = inner
    if top is not root:
        where = printable(str(top.path.relative_to(root.path)))
        layout.remark("note", statement("folder_entered", folder=_name(root), inner=where))
    return top


def _only(folder: Folder) -> Folder | None:
    if folder.images:
        return None
    if len(folder.filled) == 1:
        (inner,) = folder.filled
        return None if split_kind(inner.name) or not inner.filled else inner
    containers = [inner for inner in folder.filled if is_container(inner.name)]
    rest = [inner for inner in folder.filled if inner not in containers]
    return containers[0] if len(containers) == 1 and all(is_beside(inner.name) for inner in rest) else None


def _unwrapped(split: Folder, layout: Layout) -> Folder:
    """The folder in which the classes of a split lie: seg_train/seg_train/, train/images/."""
    top = split
    while not top.images:
        containers = [inner for inner in top.filled if is_container(inner.name) or inner.name == split.name]
        rest = [inner for inner in top.filled if inner not in containers]
        if len(containers) != 1 or not all(is_beside(inner.name) for inner in rest):
            break
        _pass_over(rest, layout)
        (top,) = containers
    return top


# ---- helpers ----------------------------------------------------------------------------------------------------


def _refuse_other_kinds(folder: Folder) -> None:
    """Raise where the files in a folder show that another reader is meant."""
    for inner in [folder, *folder.folders]:
        if "train800val200.txt" in inner.others:
            raise UserError(f"{inner.path} is a task of VTAB-1k: write vtab:{inner.path}.")
    if {"dataset_dict.json", "state.json"} & set(folder.others):
        raise UserError(f"{folder.path} is a data set saved by Hugging Face's library: write hf:{folder.path}.")


def _at(root: Folder, text: str, option: str) -> list[Folder]:
    """The folders below `root` that an option names, with commas between several."""
    below = {folder.path.relative_to(root.path).as_posix(): folder for folder in root.walk() if folder.count}
    names = [text] if text in below else [name for name in text.split(",") if name]
    for name in names:
        if name.rstrip("/") not in below:
            inside = listed(printable(folder.name) for folder in root.filled[:_NAMED]) or "none"
            raise UserError(f"{root.path} holds no folder of images {name!r} for ?{option}=: it has {inside}.")
    return [below[name.rstrip("/")] for name in names]


def _pass_over(folders: list[Folder], layout: Layout) -> None:
    layout.passed += folders


def _say_passed(layout: Layout) -> None:
    """A remark for each name of folders that were passed over."""
    of_name: dict[str, list[Folder]] = {}
    for folder in layout.passed:
        of_name.setdefault(printable(folder.name), []).append(folder)
    for name, folders in of_name.items():
        images = sum(folder.count for folder in folders)
        layout.remark("warning", statement("folder_passed_over", name=name, folders=len(folders), images=images))


def _say_loose(folder: Folder, layout: Layout) -> None:
    if folder.images:
        first = printable(folder.images[0].name)
        what = statement("images_without_class", folder=_name(folder), images=len(folder.images), first=first)
        layout.remark("warning", what)


def _ways_out(folders: list[Folder]) -> str:
    names = ",".join(printable(folder.name) for folder in folders[:_NAMED])
    return f"leave out what is no class (?ignore={names}), name the splits (?train=FOLDER&test=FOLDER), or rename"


def _row(folders: list[Folder]) -> str:
    names = [f"{printable(folder.name)}/" for folder in folders]
    return listed(names if len(names) <= _NAMED else [*names[:_NAMED], "others"])


def _name(folder: Folder) -> str:
    return printable(folder.name)
