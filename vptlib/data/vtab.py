"""The 19 tasks of VTAB-1k (Zhai et al., arXiv 1910.04867) in the layout that the community passes around."""

import re
from pathlib import Path

import numpy as np

from vptlib.data.encodings import utf_text
from vptlib.data.files import ImageFiles
from vptlib.data.listing import Listing, check_image
from vptlib.errors import UserError
from vptlib.wording import did_you_mean

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
    train, test = (_vtab_list(path, file, classes) for file in ("train800val200.txt", "test.txt"))
    entries = train + test
    labels = np.array([label for _, label in entries], dtype=np.int64)
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
        _vtab_validation(path, [file for file, _ in train], classes),
    )


def _vtab_validation(path: Path, training: list[Path], classes: int) -> np.ndarray | None:
    """For each training image whether `val200.txt` sets it aside, bool `N`; None without that list."""
    if not (path / "val200.txt").is_file():
        return None
    aside = {file for file, _ in _vtab_list(path, "val200.txt", classes)}
    if strange := sorted(aside - set(training)):
        raise UserError(
            f"{path / 'val200.txt'} names {strange[0]}, which train800val200.txt does not: fetch the lists again."
        )
    validation = np.array([file in aside for file in training])
    if validation.all():
        raise UserError(f"{path / 'val200.txt'} sets all training images aside: fetch the lists again.")
    return validation


def _vtab_list(path: Path, name: str, classes: int) -> list[tuple[Path, int]]:
    file = path / name
    if not file.is_file():
        raise UserError(f"{file} is missing: a task of VTAB-1k has train800val200.txt and test.txt next to images/.")
    entries = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", _list_text(file)), start=1):
        if line.strip():
            entries.append(_entry(f"{file}, line {number}", line.strip(), path, classes))
    if not entries:
        raise UserError(f"{file} is empty: it needs a line for each image.")
    return entries


def _list_text(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): allow it to be read.") from error
    found = utf_text(raw)
    if found is None or "\0" in found[0]:
        raise UserError(f"{file}, line {_first_bad_line(raw)}: this is not text in UTF-8: fetch the list again.")
    return found[0]


def _first_bad_line(raw: bytes) -> int:
    """The first line that is not UTF-8, or holds a NUL."""
    lines = re.split(rb"\r\n|\r|\n", raw)
    return next((k for k, line in enumerate(lines, start=1) if b"\0" in line or utf_text(line) is None), 1)


def _entry(where: str, line: str, folder: Path, classes: int) -> tuple[Path, int]:
    """Path and label; what stands between them is any white space, and a path may hold spaces."""
    found = re.fullmatch(r"(.*\S)\s+([+-]?[0-9]+)", line, re.DOTALL)
    if not found:
        raise UserError(f"{where}: {line[:80]!r} is not a path and a label: fetch the list again.")
    label = found[2].lstrip("+0") or "0"
    if len(label) > 4 or not 0 <= int(label) < classes:  # a number of thousands of digits has no int
        raise UserError(f"{where}: the label is {found[2][:20]}, but {folder.name} has classes 0 to {classes - 1}.")
    check_image(where, folder / found[1], folder)
    return folder / found[1], int(label)
