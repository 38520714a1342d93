"""What killed processes leave in a store, and its removal at the next start.

A run is written under a lock, so with the lock in hand no process that lives has an unfinished one in a local store.
On a server only the unfinished runs of this store folder's own ended processes are removed.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from vptlib.errors import UserError
from vptlib.paths import store_folder
from vptlib.study.artefacts import fault_of, remove_artefacts, results_are_whole
from vptlib.study.claims import FolderBoard, ServerBoard, claims_experiment
from vptlib.study.connection import Store
from vptlib.study.database import all_ids, alone, left_parts, repeated_keys, unfinished_ids
from vptlib.study.failures import NoAnswer
from vptlib.study.temporary import left_folders, remove_folder


@dataclass
class Leftovers:
    """What is left in a store.

    Attributes:
        runs: identifiers of unfinished runs and of those that another has replaced, and whether MLflow lists them.
        folders: artefacts without a run.
        files: databases half made, and checkpoints of runs that are finished.
        temporary: temporary folders.
    """

    runs: dict[str, bool] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    temporary: list[Path] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.runs) + len(self.folders) + len(self.files) + len(self.temporary)


@lru_cache(maxsize=4)
def clean_once(store: Store) -> None:
    """Remove what is left in a store, at the first call for it in this process."""
    FolderBoard(claims_folder(store)).tidy()
    try:
        with alone(lock_of(store), seconds=0):
            if store.address.file is None and (experiment := claims_experiment(store.client, make=False)):
                ServerBoard(store.client, experiment).tidy(claims_folder(store).with_name("claims-seen.json"))
            _clean(store, leftovers_of(store))
    except UserError:  # another process stores a run just now, or a server has died: the next start will do
        return


def lock_of(store: Store) -> Path:
    """What `vptlib.study.database.alone` takes for a store: its file, or for a server one name in the store folder."""
    store_folder().mkdir(parents=True, exist_ok=True)
    return store.address.file or store_folder() / "server"


def claims_folder(store: Store) -> Path:
    """Where claims of runs are, if they are files."""
    return lock_of(store).parent / "claims"


def leftovers_of(store: Store) -> Leftovers:
    """What is left in a store; to be called alone (`vptlib.study.database.alone`)."""
    left = Leftovers(files=_checkpoints_of_finished(store), temporary=left_folders())
    file = store.address.file
    if file is None:
        left.runs = {run.info.run_id: True for folder in left.temporary for run in unfinished_of(store, folder.name)}
        return left
    left.files += left_parts(file)
    left.runs = {
        run_id: listed
        for run_id, listed in unfinished_ids(file, store.experiment).items()
        if listed or (store.folder and (store.folder / run_id).is_dir())
    }
    left.runs |= dict.fromkeys(_replaced(store, file), True)
    if store.folder and store.folder.is_dir():
        left.folders = _without_a_run(store.folder, all_ids(file))
    return left


def discard(store: Store, run_id: str) -> None:
    """Take a run out of the store, with its files. A kill in between leaves an unfinished run.

    So does a server whose account may write runs, but not delete them.
    """
    store.client.set_terminated(run_id, "KILLED")
    try:
        store.client.delete_run(run_id)
    except UserError as error:
        if store.folder or isinstance(error, NoAnswer):
            raise
    if store.folder:
        remove_artefacts(store.folder, run_id)


def unfinished_of(store: Store, mark: str) -> list:
    """Unfinished MLflow runs of a server that were begun under this mark, the name of a temporary folder."""
    condition = f"attributes.status != 'FINISHED' AND tags.made_in = '{mark}'"
    return list(store.client.search_runs([store.experiment], condition))


def checkpoints_of(key: str) -> list[Path]:
    """Files of the training of one run, and of what it has tried."""
    return list(_checkpoints().glob(f"{key}-*"))


def _clean(store: Store, left: Leftovers) -> None:
    for run_id, listed in left.runs.items():
        if listed:
            discard(store, run_id)
        elif store.folder:
            remove_artefacts(store.folder, run_id)
    for folder in left.folders:
        remove_artefacts(folder.parent, folder.name)
    for file in left.files:
        file.unlink(missing_ok=True)
    for folder in left.temporary:
        remove_folder(folder)


def _replaced(store: Store, file: Path) -> list[str]:
    """Runs that were made again, because a file was damaged or weights were wanted, by a process that then was killed.

    The one that stays is whole, has weights, and is the latest, in this order.
    """
    of_key: dict[str, list] = {}
    for run in store.finished(repeated_keys(file, store.experiment)):
        of_key.setdefault(run.data.tags["key"], []).append(run)
    for runs in of_key.values():
        runs.sort(key=lambda run: (not fault_of(run), "weights" in run.data.tags, run.info.start_time))
    return [run.info.run_id for runs in of_key.values() for run in runs[:-1]]


def _without_a_run(folder: Path, runs: set[str]) -> list[Path]:
    """Artefacts of no run. In a store without any run whole ones stay: its database may have been moved away."""
    orphans = [path for path in folder.iterdir() if _is_hex(path.name) and path.name not in runs and path.is_dir()]
    return [path for path in orphans if runs or not results_are_whole(folder, path.name)]


def _checkpoints() -> Path:
    return store_folder() / "checkpoints"


def _checkpoints_of_finished(store: Store) -> list[Path]:
    keys = {path.name[:32] for path in _checkpoints().glob("*-*") if _is_hex(path.name[:32])}
    finished = {run.data.tags["key"] for run in store.finished(sorted(keys))} if keys else set()
    return [path for key in finished for path in checkpoints_of(key)]


def _is_hex(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{32}", text) is not None
