"""The files of registered versions: kept under their SHA-256, so that each is there once, and checked at every use.

In a local store they are in its own folder, wherever that has been moved: `artifacts/prompts/DIGEST.vpt`. On a server
each is the artefact of a run without a key, which no study takes for one of its own. It is fetched once and then kept
in the store folder.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vptlib.errors import UserError
from vptlib.operations.artefact import digest_of
from vptlib.operations.standing import Version
from vptlib.paths import remove_left, store_folder, whole_file
from vptlib.study.connection import Store, open_store
from vptlib.study.failures import explained
from vptlib.study.temporary import temporary_folder

_DIGEST = "vptlib.prompt_sha256"  # tag of the run that has a file


def deposit(path: Path, digest: str) -> str:
    """Keep a file in the store. One that is there and whole is left; one that was damaged is replaced.

    Args:
        path: of the file.
        digest: its SHA-256, in hexadecimal digits.

    Returns:
        The run that has the file, on a server; "" in a local store.

    Raises:
        UserError: the file changes while it is read; the disk is full, or the server does not answer.
    """
    store = open_store()
    if store.folder:
        _copy_whole(path, _local(store.folder, digest), digest, store)
        return ""
    return _upload(store, path, digest)


def withdraw(version: Version) -> Path:
    """The file of a version, whole: its SHA-256 is checked at every call.

    Raises:
        UserError: the file is gone, or another than the one that was registered; or the server does not answer.
    """
    store = open_store()
    if store.folder:
        return _checked(_local(store.folder, version.digest), version)
    kept = _kept(version.digest)
    if kept.is_file() and not _is(kept, version.digest):
        print(f"{kept} was changed since it was fetched: it is fetched again.", file=sys.stderr)
    if not _is(kept, version.digest):
        _fetch(store, version.digest, kept)
    return _checked(kept, version)


def _checked(path: Path, version: Version) -> Path:
    try:
        digest = digest_of(path)
    except FileNotFoundError:
        digest = ""
    except OSError as error:
        raise UserError(f"the file of {version.ref}, {path}, cannot be read ({error.strerror}): allow it.") from error
    if digest != version.digest:
        raise UserError(
            f"the file of {version.ref}, {path}, is {'not the one that was registered' if digest else 'gone'}: "
            "register the same file again, put back a copy, or roll back to another version."
        )
    return path


def _local(folder: Path, digest: str) -> Path:
    return folder / "prompts" / f"{_hexadecimal(digest)}.vpt"


def _kept(digest: str) -> Path:
    return store_folder() / "fetched" / "prompts" / f"{_hexadecimal(digest)}.vpt"


def _hexadecimal(digest: str) -> str:
    """A digest, which names a file, and so must not lead elsewhere."""
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise UserError(f"{digest[:80]!r} is no SHA-256, so the registry is damaged: put back a copy of it.")
    return digest


def _copy_whole(path: Path, target: Path, digest: str, store: Store) -> None:
    if _is(target, digest):
        return
    remove_left(target.parent)
    with _explained(path, store), whole_file(target) as part:
        shutil.copyfile(path, part)
        if digest_of(part) != digest:
            raise UserError(f"{path} was changed while it was read: register it again when it is finished.")


def _is(path: Path, digest: str) -> bool:
    try:
        return digest_of(path) == digest
    except OSError:
        return False


@contextmanager
def _explained(path: Path, store: Store) -> Iterator[None]:
    """A failure of the disk in one sentence, about the file that it was."""
    try:
        yield
    except OSError as error:
        if error.filename == str(path):
            raise UserError(f"{path} cannot be read ({error.strerror}): give a file that can.") from error
        raise explained(error, store.address) from error


# ---- on a server ------------------------------------------------------------------------------------------------


def _upload(store: Store, path: Path, digest: str) -> str:
    if _fetch(store, digest, _kept(digest)):
        return _runs_of(store, digest)[0].info.run_id
    found = _runs_of(store, digest)  # an upload that was cut off, or whose file was damaged, is done again
    tags = {_DIGEST: _hexadecimal(digest)}
    run = found[0] if found else store.client.create_run(store.experiment, tags=tags, run_name=f"prompt {digest[:8]}")
    with temporary_folder() as folder:
        part = folder / f"{digest}.vpt"
        _copy_whole(path, part, digest, store)
        store.client.log_artifact(run.info.run_id, str(part))
    store.client.set_terminated(run.info.run_id, "FINISHED")
    return run.info.run_id


def _runs_of(store: Store, digest: str) -> list[Any]:
    condition = f"tags.`{_DIGEST}` = '{_hexadecimal(digest)}'"
    return list(store.client.search_runs([store.experiment], condition, order_by=["attributes.start_time ASC"]))


def _fetch(store: Store, digest: str, kept: Path) -> bool:
    """Fetch the file from the first run that has it whole; False if none has. What was kept before is replaced."""
    kept.unlink(missing_ok=True)
    name = f"{_hexadecimal(digest)}.vpt"
    for run in _runs_of(store, digest):
        if name not in {entry.path for entry in store.client.list_artifacts(run.info.run_id)}:
            continue
        with temporary_folder() as folder:
            found = Path(store.client.download_artifacts(run.info.run_id, name, str(folder)))
            _move_whole(found, kept)
        if _is(kept, digest):
            return True
    return False


def _move_whole(found: Path, kept: Path) -> None:
    with whole_file(kept) as part:
        shutil.move(found, part)
