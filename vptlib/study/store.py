"""The store of runs: MLflow, on a server or in an SQLite file.

A run's key is a hash of everything that determines the run.
"""

import hashlib
import json
import logging
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from filelock import FileLock
from safetensors.torch import save_file
from torch import Tensor

from vptlib.errors import UserError
from vptlib.paths import store_folder
from vptlib.study import done_rules
from vptlib.study.material import is_solved, material_of
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import ALL, DONE, VTAB, Setting, published_settings
from vptlib.tuning.augmentation import NONE
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import find_method
from vptlib.tuning.precision import resolved
from vptlib.tuning.training import LIMIT, Evaluation, History

# Part of every run's key. Increase it when the meaning of a run changes, so that old and new runs are not mixed.
PROTOCOL = 1


@dataclass
class Result:
    """The result of a run: its training, its test, the candidates tried, and its costs."""

    history: History
    test: Evaluation
    learning_rate: float
    tried: dict[str, float]  # learning rate, or label of a setting → validation accuracy
    tuning_seconds: float
    trainable_parameters: int
    bytes_per_task: int
    weights: dict[str, Tensor] | None  # if the run's model is kept
    setting: Setting | None = None  # that the published rules chose
    val_accuracy: float = float("nan")  # of that setting, before the final run


def tried_file(plan: Plan, cell: Cell) -> Path:
    """The file of what has been tried so far; it is removed when the run is in the store."""
    return store_folder() / "checkpoints" / f"{run_key(plan, cell)}-tried.json"


def run_key(plan: Plan, cell: Cell) -> str:
    """A hash of everything that determines a run's numbers."""
    material = material_of(plan)
    method = find_method(cell.method)
    facts = {
        "protocol": PROTOCOL,
        "task": material.task.fingerprint,
        "backbone": material.fingerprint,
        "cell": asdict(cell),
        "tuned_with": plan.seeds[0],
        "learning_rates": method.learning_rates if plan.candidates == ALL else method.learning_rates[: plan.candidates],
        "num_prompts": plan.num_prompts if method.uses_prompts else None,
        "steps": plan.steps,
        "batch_size": plan.batch_size,
        "test_items": len(material.test_items),
    } | plan.conditions.facts()
    prepared = preprocessing(material.vit)
    if plan.rules == DONE or getattr(material.vit, "pos_embed", None) is None:
        facts["image_size"] = prepared.size  # elsewhere the table of positions, a part of the fingerprint, has it
    if prepared.aspect != "squash":
        facts["aspect"] = prepared.aspect
    if plan.rules == DONE:
        facts |= _facts_until_done(plan, cell)
    if plan.rules == VTAB:
        facts |= _published_facts(plan, cell)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _facts_until_done(plan: Plan, cell: Cell) -> dict:
    """What determines a run that is trained until it is done."""
    return {
        "rules": plan.rules,
        "edition": done_rules.EDITION,
        "learning_rates": plan.to_try(cell.method),
        "options": dict(find_method(cell.method).strong_options),
        "precision": resolved(plan.precision),
        **({} if plan.augmentation == NONE or is_solved(plan, cell.method) else {"augmentation": plan.augmentation}),
    }


def _published_facts(plan: Plan, cell: Cell) -> dict:
    """What determines a run under the published rules, and None for what does not."""
    aside = material_of(plan).task.validation
    return {
        "rules": plan.rules,
        "settings": [asdict(s) for s in published_settings(cell.method, plan.batch_size, plan.most_candidates)],
        "epochs": plan.epochs,
        "set_aside": None if aside is None else np.flatnonzero(aside).tolist(),
        **dict.fromkeys(("learning_rates", "num_prompts", "steps")),
    }


# Without these, MLflow sends usage data to its makers, and prints every table and file to the terminal.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def _quoted(text: str) -> str:
    """A text in quotes for MLflow's filters, which have no escape character."""
    return f'"{text}"' if "'" in text else f"'{text}'"


@lru_cache(maxsize=1)
def _client_at(uri: str):
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    if not uri.startswith("sqlite:///"):
        return MlflowClient(tracking_uri=uri)
    # MLflow makes the tables of a new file without a lock: two notebooks that start together would both make them.
    with FileLock(uri.removeprefix("sqlite:///") + ".lock"):
        return MlflowClient(tracking_uri=uri)


def mlflow_client():
    """The MLflow client: the server that `MLFLOW_TRACKING_URI` names, or an SQLite file in the store folder."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_writable_store() / 'mlflow.db'}"
    return _client_at(uri)


def _writable_store() -> Path:
    folder = store_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "artifacts").mkdir(exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no permission to write")
    except OSError as error:
        raise UserError(
            f"the store of runs {folder} cannot be written ({error.strerror or error}): set VPTLIB_STORE to a folder "
            "that can be written."
        ) from error
    return folder


def _experiment() -> str:
    from mlflow.exceptions import MlflowException

    client = mlflow_client()
    found = client.get_experiment_by_name("vptlib")
    if found:
        return found.experiment_id
    local = not os.environ.get("MLFLOW_TRACKING_URI")
    where = (store_folder() / "artifacts").resolve().as_uri() if local else None
    try:
        return client.create_experiment("vptlib", artifact_location=where)
    except MlflowException:  # another process has just made it
        found = client.get_experiment_by_name("vptlib")
        if not found:
            raise
        return found.experiment_id


def finished_runs(plan: Plan) -> dict:
    """Finished MLflow runs of the study's task, by key; where two have the same key, one with stored weights."""
    found, token = {}, None
    while True:
        page = mlflow_client().search_runs(
            [_experiment()],
            filter_string=f"attributes.status = 'FINISHED' and tags.task = {_quoted(plan.task)}",
            max_results=1000,
            page_token=token,
        )
        for run in page:
            known = found.get(run.data.tags["key"])
            if known is None or "weights" in run.data.tags:
                found[run.data.tags["key"]] = run
        token = page.token
        if not token:
            return found


def finished_run(plan: Plan, cell: Cell):
    """The finished MLflow run of one cell.

    Raises:
        UserError: it has not been run.
    """
    run = finished_runs(plan).get(run_key(plan, cell))
    if run is None:
        raise UserError(
            f"{cell.method} on {plan.task} with {cell.n} images and seed {cell.seed} has not been run: "
            "call Study.run() first."
        )
    return run


def log_run(plan: Plan, cell: Cell, result: Result) -> None:
    """Write a result as one MLflow run, which is marked finished only when all of it is written."""
    from mlflow.entities import Metric, Param, RunTag

    client, now = mlflow_client(), int(time.time() * 1000)
    key = run_key(plan, cell)
    tags = {"key": key, "task": plan.task, "backbone_sha256": material_of(plan).fingerprint}
    run = client.create_run(_experiment(), tags=tags, run_name=f"{plan.task} {cell.method} n={cell.n} s={cell.seed}")
    run_id, history = run.info.run_id, result.history
    params = {
        **{k: v for k, v in asdict(plan).items() if k not in ("methods", "sizes", "seeds")},
        **asdict(cell),
        "learning_rate": repr(result.learning_rate),
    }
    if result.setting is None:
        params |= {"rates_tried": json.dumps(result.tried), "stopped": history.stopped}
    else:  # hundreds of settings are too long for a parameter of MLflow
        params |= {"num_prompts": result.setting.num_prompts or 0, "weight_decay": repr(result.setting.weight_decay)}
        client.log_dict(run_id, result.tried, "tried.json")
    metrics = {
        "accuracy": result.test.accuracy,
        "test_loss": result.test.loss,
        "val_accuracy": history.best_val_accuracy if result.setting is None else result.val_accuracy,
        "best_step": history.best_step,
        "last_step": len(history.train_loss),
        "train_seconds": history.seconds,
        "tuning_seconds": result.tuning_seconds,
        "trainable_parameters": result.trainable_parameters,
        "bytes_per_task": result.bytes_per_task,
    }
    series = [
        Metric("train_loss", loss, now, step) for step, loss in zip(history.steps, history.train_loss, strict=True)
    ]
    for step, loss, accuracy in zip(history.val_steps, history.val_loss, history.val_accuracy, strict=True):
        series += [
            Metric("val_step", step, now, step),
            Metric("val_loss", loss, now, step),
            Metric("val_accuracy_at", accuracy, now, step),
        ]
    series += [Metric(name, float(value), now, 0) for name, value in metrics.items()]
    for start in range(0, len(series), 1000):  # MLflow's limit for one batch
        client.log_batch(run_id, metrics=series[start : start + 1000])
    client.log_batch(
        run_id, params=[Param(k, str(v)) for k, v in params.items()], tags=[RunTag("seed", str(cell.seed))]
    )
    client.log_dict(
        run_id,
        {"predictions": result.test.predictions.tolist(), "correct": result.test.correct.astype(int).tolist()},
        "test.json",
    )
    if result.weights:
        _log_weights(client, run_id, result.weights)
    client.set_terminated(run_id, "FINISHED")
    tried_file(plan, cell).unlink(missing_ok=True)


def _log_weights(client, run_id: str, weights: dict[str, Tensor]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file({name: t.cpu().contiguous() for name, t in weights.items()}, path)
        client.log_artifact(run_id, str(path))
    client.set_tag(run_id, "weights", "weights.safetensors")


def table_row(plan: Plan, cell: Cell, run) -> dict:
    """The row of a finished run in `vptlib.study.study.Study.runs`."""
    metrics, params = run.data.metrics, run.data.params
    items = test_results(run.info.run_id, run.info.artifact_uri)
    row = {
        "task": plan.task,
        **asdict(cell),
        "accuracy": metrics["accuracy"],
        "val_accuracy": metrics["val_accuracy"],
        "learning_rate": float(params["learning_rate"]),
        "tried": json.loads(params.get("rates_tried", "{}")),
        "best_step": int(metrics["best_step"]),
        "last_step": int(metrics.get("last_step", metrics["best_step"] if plan.rules == VTAB else params["steps"])),
        "stopped": params.get("stopped", LIMIT),
        "train_seconds": metrics["train_seconds"],
        "tuning_seconds": metrics["tuning_seconds"],
        "trainable_parameters": int(metrics["trainable_parameters"]),
        "bytes_per_task": int(metrics["bytes_per_task"]),
        "correct": np.array(items["correct"], dtype=bool),
        "predictions": np.array(items["predictions"]),
        "run_id": run.info.run_id,
    }
    if plan.rules == VTAB:
        prompts = int(params["num_prompts"]) or float("nan")
        row |= {"weight_decay": float(params["weight_decay"]), "num_prompts": prompts}
    return row


@lru_cache(maxsize=4096)
def test_results(run_id: str, _artifact_uri: str) -> dict:
    """ "predictions" and "correct" (0 or 1) for each test image of a run."""
    return json.loads(Path(mlflow_client().download_artifacts(run_id, "test.json")).read_text())
