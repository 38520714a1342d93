"""Temporary folders in the store folder, each with a lock that shows whether its process still lives."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from vptlib.paths import store_folder


@contextmanager
def temporary_folder(stays_on_failure: bool = False) -> Iterator[Path]:
    """A folder that is removed at the end. What a killed process leaves is found by `left_folders`.

    Args:
        stays_on_failure: whether an error leaves it like a kill, because something elsewhere has its name.
    """
    folder = _parent() / uuid4().hex
    with FileLock(_lock_of(folder)):
        folder.mkdir(parents=True)
        try:
            yield folder
        except BaseException:
            if not stays_on_failure:
                remove_folder(folder)
            raise
        remove_folder(folder)


def left_folders() -> list[Path]:
    """Folders of processes that have ended without removing them."""
    names = {path.stem for path in _parent().glob("*")} if _parent().is_dir() else set()
    return [folder for name in sorted(names) if not _is_in_use(folder := _parent() / name)]


def remove_folder(folder: Path) -> None:
    """Remove a temporary folder, and at last its lock."""
    shutil.rmtree(folder, ignore_errors=True)
    _lock_of(folder).unlink(missing_ok=True)


def _parent() -> Path:
    return store_folder() / "temporary"


def _lock_of(folder: Path) -> Path:
    return folder.with_suffix(".lock")


def _is_in_use(folder: Path) -> bool:
    try:
        with FileLock(_lock_of(folder), timeout=0):
            return False
    except Timeout:
        return True
