"""Where files are: the repository, the store of runs, the cache of backbones. Never in the working directory."""

import ctypes
import errno
import fcntl
import glob
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vptlib.errors import UserError

# Weights and predictions of the quickstart and its report take about 200 MB, the converted backbone 100 MB.
FREE_BYTES_NEEDED = 500_000_000
SECONDS_OF_A_DEAD_LOCK = 2
_AT_WORKING_FOLDER, _EXCHANGE = -100, 2  # from linux/fcntl.h and linux/fs.h
ROOT = Path(__file__).resolve().parent.parent


def repository() -> Path:
    """The cloned repository, which holds the notebooks and the committed data.

    Raises:
        UserError: vptlib was installed without its repository.
    """
    if not (ROOT / "notebooks").is_dir():
        raise UserError(f"vptlib at {ROOT} is outside its repository: clone it and install with `pip install -e .`.")
    return ROOT


def cache_folder() -> Path:
    """Folder for converted backbones: `$VPTLIB_CACHE`, or `vptlib` under the user's cache folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("VPTLIB_CACHE") or base / "vptlib")


def store_folder() -> Path:
    """Folder of the MLflow database, its artefacts and the checkpoints: `$VPTLIB_STORE`, or `reports/store`."""
    return Path(os.environ.get("VPTLIB_STORE") or repository() / "reports" / "store")


def free_bytes(folder: Path) -> int:
    """Free space on the disk of `folder`, which need not exist yet."""
    return shutil.disk_usage(folder).free if folder.exists() else free_bytes(folder.parent)


def bytes_in(folder: Path) -> int:
    """Bytes of all files under `folder`; 0 if there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name to write `path` under. What is written is put on the disk and renamed at the end.

    So no reader finds half of it, also after the machine has lost its power. If writing fails, nothing is left. What a
    killed process has left of this file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    start = (
        f"{path.stem[:20]}.{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}."  # short for a name of any length
    )
    remove_left(path.parent, start)
    part = path.with_name(f"{start}{os.getpid()}-{secrets.token_hex(4)}.part")
    with part.open("xb") as mark:
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield part
            _put_on_disk(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    _put_on_disk(path.parent)


def remove_left(folder: Path, start: str = "") -> None:
    """Remove what `whole_file` had begun in a folder and its process, killed, has left.

    Args:
        start: of the names of these files.
    """
    for left in folder.glob(f"{glob.escape(start)}*.part"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails as long as its process lives
            left.unlink()


def write_whole(path: Path, text: str) -> None:
    """Write a small file under a temporary name and rename it: no reader ever finds half of it."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def lock_alone(opened: int, complaint: str) -> None:
    """Lock an open file or folder until it is closed. Where a file system has no locks, that is up to the user.

    A process that was killed while it began another one leaves its lock to that for a moment: this tries for a while.

    Raises:
        UserError: with the complaint, if another process has locked it.
    """
    until = time.monotonic() + SECONDS_OF_A_DEAD_LOCK
    while True:
        try:
            return fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise UserError(complaint) from error
            time.sleep(0.05)
        except OSError:
            return None


def exchanged(one: Path, other: Path) -> bool:
    """Two files or folders of one disk change their names in one step; False where the system cannot do that."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):  # not on Linux
        return False
    return rename(_AT_WORKING_FOLDER, os.fsencode(one), _AT_WORKING_FOLDER, os.fsencode(other), _EXCHANGE) == 0


def _put_on_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlast a loss of power."""
    try:
        opened = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no folder
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network folders have no such call
            raise
    finally:
        os.close(opened)
