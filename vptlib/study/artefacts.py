"""The files of a run: written whole, found in the store's own folder wherever it is, and checked before they are used.

In a local store they lie where MLflow would put them, so its pages show them: `artifacts/RUN/artifacts/NAME`.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENOENT
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file
from torch import Tensor

from vptlib.errors import UserError
from vptlib.paths import store_folder, whole_file
from vptlib.study.connection import Store, open_store
from vptlib.study.failures import NoAnswer, explained
from vptlib.study.temporary import temporary_folder

RESULTS, TRIED, WEIGHTS = "test.json", "tried.json", "weights.safetensors"
PROBABILITIES = "probabilities.safetensors"
_BYTES = "weights_bytes"  # a tag
# Their logarithms are stored, because float16 has no number between 0.9995 and 1. None is below this one.
_LEAST_LOG = -60.0
# Without these a finished run cannot be a row of the table.
_METRICS = (
    "accuracy",
    "val_accuracy",
    "best_step",
    "train_seconds",
    "tuning_seconds",
    "trainable_parameters",
    "bytes_per_task",
)


def write_json(store: Store, run_id: str, name: str, content: dict) -> None:
    """Store a dictionary as a file of a run."""
    _write(store, run_id, name, lambda path: path.write_text(json.dumps(content), encoding="utf-8"))


def write_weights(store: Store, run_id: str, weights: dict[str, Tensor]) -> None:
    """Store a state dict as a file of a run, which then says that it has weights, and how large they are."""
    from mlflow.entities import RunTag

    plain, sizes = {name: t.cpu().contiguous() for name, t in weights.items()}, []

    def write(path: Path) -> None:
        save_file(plain, path)
        sizes.append(path.stat().st_size)

    _write(store, run_id, WEIGHTS, write)
    store.client.log_batch(run_id, tags=[RunTag(_BYTES, str(sizes[-1])), RunTag("weights", WEIGHTS)])


def read_weights(run_id: str) -> dict[str, Tensor]:
    """The state dict that `write_weights` stored.

    Raises:
        FileNotFoundError: there is none.
        UserError: the file is damaged, or the server does not answer.
    """
    path = artefact(run_id, WEIGHTS)
    try:
        return load_tensors(path)
    except SafetensorError as error:
        raise UserError(f"{path} is cut or damaged: run the study again, which makes this run anew.") from error


def write_probabilities(store: Store, run_id: str, probabilities: np.ndarray) -> None:
    """Store the probabilities of all classes for each test image, `N C`, in 2 bytes each."""
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(probabilities.astype(np.float32)), _LEAST_LOG).astype(np.float16)
    _write(store, run_id, PROBABILITIES, lambda path: save_arrays({"log_probabilities": logs}, path))


def read_probabilities(run_id: str) -> np.ndarray | None:
    """What `write_probabilities` stored, float32 `N C`, to 3 digits; or None if the run has no such file.

    Raises:
        UserError: the file is damaged, or the server does not answer.
    """
    try:
        path = artefact(run_id, PROBABILITIES)
        logs = load_file(path)["log_probabilities"]
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{path} is cut or damaged: delete it, or run the study again.") from error
    probabilities = np.exp(logs.astype(np.float32))
    return probabilities / probabilities.sum(axis=1, keepdims=True)


def artefact(run_id: str, name: str, at: str = "") -> Path:
    """A file of a run. What comes from a server is fetched once and kept in the store folder.

    Args:
        at: the address of the run's files on a server, where it is known; else it is asked for.

    Raises:
        FileNotFoundError: there is none.
        UserError: the server does not answer.
    """
    store, path = open_store(), _here(run_id, name)
    if not store.folder and not path.is_file():
        _fetch(store, run_id, name, at, path)
    return path


def fault_of(run, items: int | None = None) -> str:
    """What is wrong with the figures and files of a finished MLflow run, in a few words; "" if nothing is.

    Args:
        run: as MLflow gives it.
        items: number of test images, where it is known.
    """
    run_id, metrics, params, at = run.info.run_id, run.data.metrics, run.data.params, run.info.artifact_uri
    if "learning_rate" not in params or not all(name in metrics for name in _METRICS):
        return "its figures are not complete"
    try:
        if not _are_results(_content(run_id, RESULTS, at), items, metrics["accuracy"]):
            return f"{RESULTS} does not fit its figures"
        if "rates_tried" not in params:  # then they are in a file, because they are many
            _ = _content(run_id, TRIED, at)
        if "weights" in run.data.tags and (fault := _fault_of_weights(run)):
            return fault
        return _fault_of_probabilities(run_id)
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is gone"
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        return str(error)
    return ""


def test_results(run_id: str, _artifact_uri: str = "") -> dict:
    """ "predictions" and "correct" (0 or 1) for each test image of a run."""
    return _content(run_id, RESULTS)


def remove_artefacts(folder: Path, run_id: str) -> None:
    """Remove all files of a run from a folder of artefacts."""
    if run_id and (folder / run_id).is_dir():
        shutil.rmtree(folder / run_id, ignore_errors=True)


def results_are_whole(folder: Path, run_id: str) -> bool:
    """Whether a folder of artefacts has the results of a run."""
    path = _local(folder, run_id, RESULTS)
    try:
        return bool(_parsed(path, path.stat().st_mtime_ns))
    except (OSError, ValueError):
        return False


# ---- helpers --------------------------------------------------------------------------------------------------


def _content(run_id: str, name: str, at: str = "") -> dict:
    path = artefact(run_id, name, at)
    return _parsed(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4096)
def _parsed(path: Path, _written: int) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is cut or damaged") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is damaged")
    return found


def _are_results(found: dict, items: int | None, accuracy: float) -> bool:
    """Whether there is a whole number for each test image, and those that are right give the accuracy."""
    predictions, correct = found.get("predictions"), found.get("correct")
    if not isinstance(predictions, list) or not isinstance(correct, list) or not correct:
        return False
    if len(predictions) != len(correct) or len(correct) != (items or len(correct)):
        return False
    if not all(type(value) is int for value in (*predictions, *correct)) or not set(correct) <= {0, 1}:
        return False
    return math.isclose(sum(correct) / len(correct), accuracy, abs_tol=1e-6)


def _fault_of_probabilities(run_id: str) -> str:
    """Whether they are whole, where they lie on this machine. A run without them is a whole run: older ones are."""
    folder = open_store().folder
    path = _local(folder, run_id, PROBABILITIES) if folder else None
    return _fault_of_tensors(path) if path and path.is_file() else ""


def _fault_of_weights(run) -> str:
    """Whether they are whole. What lies on a server alone is not fetched for this: the server knows its size.

    Raises:
        FileNotFoundError: there are none.
    """
    run_id, store = run.info.run_id, open_store()
    path = _here(run_id, WEIGHTS)
    if store.folder or path.is_file():
        return _fault_of_tensors(path)
    sizes = {entry.path: entry.file_size for entry in store.client.list_artifacts(run_id)}
    if WEIGHTS not in sizes:
        raise FileNotFoundError(ENOENT, "no such file on the server", WEIGHTS)
    if not sizes[WEIGHTS]:  # the file is empty, or this server does not know
        return _fault_of_tensors(artefact(run_id, WEIGHTS, run.info.artifact_uri))
    wanted = run.data.tags.get(_BYTES)  # runs of older versions have none
    return f"{WEIGHTS} is cut or damaged" if wanted and sizes[WEIGHTS] != int(wanted) else ""


def _fault_of_tensors(path: Path) -> str:
    """Whether a safetensors file has all the bytes that its head announces; they are not read."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            head = json.loads(file.read(length)) if 8 < 8 + length <= size else {}
            ends = [entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError):
            ends = []
    return "" if ends and 8 + length + max(ends) == size else f"{path.name} is cut or damaged"


def _here(run_id: str, name: str) -> Path:
    """Where a file of a run lies on this machine: in the store, or where it is kept when it was fetched."""
    folder = open_store().folder
    return _local(folder, run_id, name) if folder else store_folder() / "fetched" / run_id / name


def _local(folder: Path, run_id: str, name: str) -> Path:
    return folder / run_id / "artifacts" / name


def _write(store: Store, run_id: str, name: str, write: Callable[[Path], object]) -> None:
    if store.folder:
        with _explained_full_disk(store), whole_file(_local(store.folder, run_id, name)) as part:
            write(part)
        return
    with temporary_folder() as folder:
        write(folder / name)
        store.client.log_artifact(run_id, str(folder / name))


def _fetch(store: Store, run_id: str, name: str, at: str, kept: Path) -> None:
    """Fetch a file of a server's run, and give it its name when all of it is there."""
    at = at or store.client.get_run(run_id).info.artifact_uri
    with temporary_folder() as folder, whole_file(kept) as part:
        try:
            fetched = store.fetch(f"{at}/{name}", folder)
        except NoAnswer:
            raise
        except UserError as error:
            if name in {entry.path for entry in store.client.list_artifacts(run_id)}:
                raise
            raise FileNotFoundError(ENOENT, "no such file on the server", name) from error
        shutil.move(fetched, part)


@contextmanager
def _explained_full_disk(store: Store) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise explained(error, store.address) from error
