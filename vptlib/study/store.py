"""The store of runs: MLflow, on a server or in an SQLite file.

A run's key is a hash of everything that determines the run.
"""

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from vptlib.errors import UserError
from vptlib.paths import store_folder
from vptlib.redaction import redacted
from vptlib.study import done_rules
from vptlib.study.artefacts import (
    RESULTS,
    TRIED,
    fault_of,
    test_results,
    write_json,
    write_probabilities,
    write_weights,
)
from vptlib.study.connection import Store, open_store
from vptlib.study.connection import mlflow_client as mlflow_client
from vptlib.study.database import SECONDS_TO_MAKE, alone
from vptlib.study.failures import NoAnswer
from vptlib.study.leftovers import checkpoints_of, clean_once, discard, lock_of, unfinished_of
from vptlib.study.material import is_solved, material_of
from vptlib.study.outages import outlasting, seconds_to_wait
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import ALL, DONE, VTAB, Setting, published_settings
from vptlib.study.temporary import temporary_folder
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
    devices: int = 1  # that have trained side by side (`vptlib.tuning.devices`)


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
        "tuned_with": plan.tuning_cell(cell).seed,
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


def finished_runs(plan: Plan, cells: Sequence[Cell] | None = None) -> dict:
    """Finished MLflow runs of the study, by key; where two have the same key, one with stored weights.

    A run whose figures or files are not whole counts as missing, with a sentence on stderr. If a server dies that this
    process has used before, it is waited for (`vptlib.study.outages`).

    Args:
        cells: the runs to look for, by default all of the plan.
    """
    return _awaited_runs(plan, [run_key(plan, cell) for cell in (plan.cells() if cells is None else cells)])


def finished_run(plan: Plan, cell: Cell):
    """The finished MLflow run of one cell.

    Raises:
        UserError: it has not been run.
    """
    key = run_key(plan, cell)
    run = _awaited_runs(plan, [key]).get(key)
    if run is None:
        raise UserError(
            f"{cell.method} on {plan.task} with {cell.n} images and seed {cell.seed} has not been run: "
            "call Study.run() first."
        )
    return run


def _awaited_runs(plan: Plan, keys: list[str]) -> dict:
    """`_whole_runs`. A server that this process has not used yet is not waited for: its address may be wrong."""
    open_store()
    return outlasting(lambda: _whole_runs(plan, keys))


def _whole_runs(plan: Plan, keys: list[str]) -> dict:
    store, items = open_store(), len(material_of(plan).test_items)
    clean_once(store)
    found, damaged = {}, []
    runs = store.finished(keys)
    faults = store.of_each(lambda run: fault_of(run, items), runs)
    for run, fault in zip(runs, faults, strict=True):
        key = run.data.tags["key"]
        if key in found and "weights" not in run.data.tags:
            continue
        if fault:
            damaged.append((key, f"{run.info.run_name} ({run.info.run_id[:8]})", fault))
        else:
            found[key] = run
    for key, name, fault in damaged:
        if key not in found:
            _tell_once(f"The stored run {name} counts as missing, because {fault}: it is to be made again.")
    return found


@lru_cache(maxsize=1024)
def _tell_once(sentence: str) -> None:
    print(redacted(sentence), file=sys.stderr)


def log_run(plan: Plan, cell: Cell, result: Result) -> None:
    """Write a result as one MLflow run, which is marked finished only when all of it is written.

    A run that the store already has is not written again, unless only this one has weights. If the server or its
    database dies just now, it is waited for (`vptlib.study.outages`), and the run is written from its beginning. The
    checkpoints of a run stay until it is stored: from there a training goes on that could not be stored.

    Raises:
        UserError: the store cannot be written, or does not answer for too long.
    """
    with temporary_folder(stays_on_failure=True) as mark:  # shows others that this process lives
        outlasting(lambda: _store(plan, cell, result, mark.name))
    for path in checkpoints_of(run_key(plan, cell)):
        path.unlink(missing_ok=True)


def _store(plan: Plan, cell: Cell, result: Result, mark: str) -> None:
    """Write a result if it is not in the store; nothing is left of earlier attempts with the same mark."""
    store, key = open_store(), run_key(plan, cell)
    with alone(lock_of(store), seconds=SECONDS_TO_MAKE if store.address.file else SECONDS_TO_MAKE + seconds_to_wait()):
        known = _whole_runs(plan, [key]).get(key)
        if known is None or (result.weights and "weights" not in known.data.tags):
            before = store.finished([key]) if store.folder else []
            _write(store, plan, cell, result, mark)
            for run in before:
                discard(store, run.info.run_id)
        if store.address.file is None:
            _keep_one(store, key, mark)


def _keep_one(store: Store, key: str, mark: str) -> None:
    """Let a server keep one run of a key.

    It may have done a request although its answer was lost; and in a network that was cut in two, two processes may
    have made one run.
    """
    for run in unfinished_of(store, mark):
        discard(store, run.info.run_id)
    runs = store.finished([key])
    whole = [run for run in runs if len(runs) > 1 and not fault_of(run)]
    whole.sort(key=lambda run: ("weights" not in run.data.tags, run.info.start_time, run.info.run_id))
    for run in whole[1:]:
        try:
            discard(store, run.info.run_id)
        except NoAnswer:
            raise
        except UserError:  # another process has removed it just now
            continue


def _write(store: Store, plan: Plan, cell: Cell, result: Result, mark: str) -> None:
    from mlflow.entities import Param, RunTag

    client, now = store.client, int(time.time() * 1000)
    tags = {
        "key": run_key(plan, cell),
        "task": _storable(plan.task),
        "backbone_sha256": material_of(plan).fingerprint,
        "made_in": mark,
    }
    name = _storable(f"{plan.task} {cell.method} n={cell.n} s={cell.seed}")
    run_id = client.create_run(store.experiment, tags=tags, run_name=name).info.run_id
    series = _series(result, now)
    for start in range(0, len(series), 1000):  # MLflow's limit for one batch
        client.log_batch(run_id, metrics=series[start : start + 1000])
    params = [Param(k, _storable(str(v))) for k, v in _params(plan, cell, result).items()]
    client.log_batch(run_id, params=params, tags=[RunTag("seed", str(cell.seed))])
    if result.setting is not None:  # hundreds of settings are too long for a parameter of MLflow
        write_json(store, run_id, TRIED, result.tried)
    correct = result.test.correct.astype(int).tolist()
    write_json(store, run_id, RESULTS, {"predictions": result.test.predictions.tolist(), "correct": correct})
    if result.test.probabilities is not None:
        write_probabilities(store, run_id, result.test.probabilities)
    if result.weights:
        write_weights(store, run_id, result.weights)
    client.set_terminated(run_id, "FINISHED")


def _params(plan: Plan, cell: Cell, result: Result) -> dict:
    """What was set, and what was chosen."""
    params = {
        **{k: v for k, v in asdict(plan).items() if k not in ("methods", "sizes", "seeds")},
        **asdict(cell),
        "learning_rate": repr(result.learning_rate),
        "devices": result.devices,
    }
    if result.setting is None:
        return params | {"rates_tried": json.dumps(result.tried), "stopped": result.history.stopped}
    return params | {
        "num_prompts": result.setting.num_prompts or 0,
        "weight_decay": repr(result.setting.weight_decay),
    }


def _series(result: Result, now: int) -> list:
    """The training step by step, and the figures of the run, as metrics of MLflow; `now` is in milliseconds."""
    from mlflow.entities import Metric

    history = result.history
    figures = {
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
    return series + [Metric(name, float(value), now, 0) for name, value in figures.items()]


def _storable(text: str) -> str:
    """A text as a database takes it: without a password, and with names that are not UTF-8 spelt out."""
    return redacted(text).encode("utf-8", "backslashreplace").decode()


def table_row(plan: Plan, cell: Cell, run) -> dict:
    """The row of a finished run in `vptlib.study.study.Study.runs`."""
    metrics, params = run.data.metrics, run.data.params
    items, devices = test_results(run.info.run_id), int(params.get("devices", 1))
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
        "train_seconds": metrics["train_seconds"] * devices,  # as one device would take, for fair costs
        "tuning_seconds": metrics["tuning_seconds"] * devices,
        "trainable_parameters": int(metrics["trainable_parameters"]),
        "bytes_per_task": int(metrics["bytes_per_task"]),
        "correct": np.array(items["correct"], dtype=bool),
        "predictions": np.array(items["predictions"]),
        "run_id": run.info.run_id,
        **_about_images(plan),
        "tuned_by": _tuned_by(plan, cell),
    }
    if plan.rules == VTAB:
        prompts = int(params["num_prompts"]) or float("nan")
        row |= {"weight_decay": float(params["weight_decay"]), "num_prompts": prompts}
    return row


def _about_images(plan: Plan) -> dict:
    """What the rows of a study have in common: the classes and groups of the test images, and the pool to train on."""
    material = material_of(plan)
    return {"truth": material.truth, "test_groups": material.test_groups, "pool": len(material.task.train)}


def _tuned_by(plan: Plan, cell: Cell) -> int:
    """The seed whose validation images chose the setting of `cell`; its own where there was nothing to choose."""
    alone = is_solved(plan, cell.method) or len(plan.to_try(cell.method)) < 2
    return cell.seed if alone else plan.tuning_cell(cell).seed
