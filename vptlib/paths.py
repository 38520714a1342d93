"""Where files are: the repository, the store of runs, the cache of backbones. Never in the working directory."""

import os
import shutil
from pathlib import Path

from vptlib.errors import UserError

# Weights and predictions of the quickstart and its report take about 200 MB, the converted backbone 100 MB.
FREE_BYTES_NEEDED = 500_000_000
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


def write_whole(path: Path, text: str) -> None:
    """Write a small file under a temporary name and rename it: no reader ever finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(text)
    part.replace(path)
