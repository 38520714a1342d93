"""From a finished report to a model that answers: the trained model of a report as one `.vpt` file.

The report's `summary.json` has the settings of its study, so nothing has to be typed again. The model comes from the
store of runs. Before it is written it answers the test images of the study once more: a model that does not answer as
it did in the study is not exported. The same pass gives the features of these images, with which new images can be
compared later.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from torch.utils.data import TensorDataset

from vptlib import __version__
from vptlib.data.files import LazyImages
from vptlib.data.readers import is_spec, short_name
from vptlib.data.tasks import Task
from vptlib.errors import UserError
from vptlib.evidence.answers import Answers, Rate, answers_of
from vptlib.evidence.certainty import selective
from vptlib.operations.artefact import Artefact, Card, backbone_card, digest_of, write_artefact
from vptlib.operations.features import features_kept, reference_of
from vptlib.operations.gates import measured_for
from vptlib.statement import statement
from vptlib.study.material import material_of
from vptlib.study.plan import Cell
from vptlib.study.published_rules import DONE, VTAB
from vptlib.study.store import finished_run, run_key
from vptlib.study.study import Study
from vptlib.tuning.backbones import origin, preprocessing
from vptlib.tuning.methods import AdaptedModel, find_method
from vptlib.tuning.precision import resolved
from vptlib.tuning.training import evaluate
from vptlib.wording import did_you_mean

# So many test images, or this share of them, may get another answer than in the study: its arithmetic in bfloat16 may
# change a few.
MAY_DIFFER, SHARE_THAT_MAY = 2, 0.02
# Of the answers that a model gives by itself, so many are to be right where the report's `accuracy_needed` is not set.
USUAL_WANTED = (0.95, 0.99)
NO_METHOD = ("nothing_works", "no_answer")


@dataclass(frozen=True)
class Report:
    """One task of a finished report.

    Attributes:
        place: the report's folder.
        digest: SHA-256 of its `index.html`.
        found: the task's part of `summary.json`.
    """

    place: Path
    digest: str
    found: dict[str, Any]

    @property
    def study(self) -> Study:
        """The study that the report is about."""
        return Study(**self.found["study"])

    @property
    def choice(self) -> str:
        """The code of the recommendation."""
        return self.found["recommendation"]["choice_code"]

    @property
    def method(self) -> str | None:
        """The recommended method; of a report that asks for more evidence, the best so far."""
        return self.found["recommendation"]["method"]

    @property
    def advises(self) -> bool:
        """Whether the report says to use `method`."""
        return self.choice.startswith("use_") or self.choice == "fine_tune"


def read_report(place: Path, task: str | None = None) -> Report:
    """One task of the report in the folder `place`.

    Args:
        task: its name, where the report has several: as the report shows it, or as the YAML file names it.

    Raises:
        UserError: no report there, one of an earlier version, or a task that it does not have.
    """
    summary, page = place / "summary.json", place / "index.html"
    try:
        found = json.loads(summary.read_text(encoding="utf-8"))
        digest = digest_of(page)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"there is no report in {place} (no {Path(error.filename).name}): name the folder of a report, or make it "
            "with `vpt report CONFIG.yaml`."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{summary} cannot be read ({error}): make the report again.") from error
    chosen = _part(place, found.get("tasks", [found]), task)
    if "study" not in chosen:
        raise UserError(
            f"the report in {place} is of an earlier version, without the settings of its study: make it again with "
            "the same command; finished runs are not repeated."
        )
    return Report(place, digest, chosen)


def _part(place: Path, parts: list[dict[str, Any]], task: str | None) -> dict[str, Any]:
    """The part of the summary about `task`, or about the only one."""
    names = [_title_of(part["task"]) for part in parts]
    if task is None and len(parts) == 1:
        return parts[0]
    if task is None:
        raise UserError(f"the report in {place} has {len(parts)} tasks: add --task, one of {', '.join(names)}.")
    for part, name in zip(parts, names, strict=True):
        if task in (name, part["task"]):
            return part
    hint = did_you_mean(task, names, f"take one of {', '.join(names)}.")
    raise UserError(f"the report in {place} has no task {task!r}: {hint}")


def _title_of(task: str) -> str:
    return short_name(task) if is_spec(task) else task


# ---- exporting --------------------------------------------------------------------------------------------------


def export(report: Report, out: Path, method: str | None = None, seed: int | None = None) -> Artefact:
    """Write one trained model of a report to the `.vpt` file `out`, whole or not at all.

    Args:
        report: from `read_report`.
        method: by default the one that the report recommends.
        seed: of the training; by default, among those whose models are kept, the one of the highest accuracy on
            validation images.

    Raises:
        UserError: the report advises no method, its runs are not in this store, or the model does not answer as it did.
    """
    study = report.study
    material, runs = material_of(study), study.runs()
    task = material.task
    method = method or _advised(report)
    cell = Cell(method, study.sizes[-1], _best_seed(study, method) if seed is None else seed)
    run = _run_of(study, cell)
    model = study.model(method, cell.seed)
    test = material.test_under(study.conditions)
    with features_kept(model) as kept:
        answers, agreement = _answers_again(test, cell, model, task, runs)
    limits = _limits_of(report.found["asked"].get("limits") or {}, task.class_names)
    card = Card(
        title=_title_of(study.task),
        method=method,
        options={name: value for name, value in model.options.items() if name != "init"},
        class_names=task.class_names,
        preprocessing=preprocessing(model.vit),
        backbone=backbone_card(material.vit, study.backbone, *origin(study.backbone), material.fingerprint),
        grey=task.train.source.grey_range if isinstance(task.train, LazyImages) else None,
        recipe=_recipe(study, cell, run),
        data=_data(study, task) | _again(report),
        results=_results(runs, method, answers, agreement, task),
        limits=limits,
        measured=measured_for(limits, model, task, study.test_items()),
        known_limits=_known_limits(report, method),
        ask=_ask(answers, report.found["asked"].get("accuracy_needed")),
        lineage=_lineage(report, run, run_key(study, cell)),
    )
    return write_artefact(out, model, card, answers, reference_of(kept.last(len(test))))


def _advised(report: Report) -> str:
    if report.method is None or report.choice in NO_METHOD:
        raise UserError(
            f"the report in {report.place} advises no method ({report.choice}): name one with --method, one of "
            f"{', '.join(report.found['methods'])}."
        )
    return report.method


def _best_seed(study: Study, method: str) -> int:
    """Of the seeds whose models are kept, the one of the highest accuracy on validation images; the first of equals."""
    runs = {seed: _run_of(study, Cell(method, study.sizes[-1], seed)) for seed in study.kept_seeds}
    return max(runs, key=lambda seed: runs[seed].data.metrics["val_accuracy"])


def _run_of(study: Study, cell: Cell) -> Any:
    if cell.method not in study.methods:
        raise UserError(f"the report has no method {cell.method!r}: take one of {', '.join(study.methods)}.")
    if cell.seed not in study.kept_seeds:
        kept = ", ".join(map(str, study.kept_seeds))
        raise UserError(f"the model of seed {cell.seed} is not kept: take --seed {kept.replace(', ', ' or ')}.")
    try:
        return finished_run(study, cell)
    except UserError as error:
        raise UserError(
            f"{cell.method} with {cell.n} images and seed {cell.seed} is not in this store of runs: set VPTLIB_STORE "
            "or MLFLOW_TRACKING_URI to the one that the report was made with, or make the report again."
        ) from error


def _answers_again(
    test: TensorDataset, cell: Cell, model: AdaptedModel, task: Task, runs: pd.DataFrame
) -> tuple[Answers, float]:
    """What the model answers to the test images, and the share of these answers that its study has too."""
    found = evaluate(model, test)
    row = runs[(runs["method"] == cell.method) & (runs["n"] == cell.n) & (runs["seed"] == cell.seed)].iloc[0]
    same = found.predictions == row["predictions"]
    agreement = float(same.mean())
    if (~same).sum() > max(MAY_DIFFER, SHARE_THAT_MAY * len(same)):
        raise UserError(
            f"{cell.method} of seed {cell.seed} answers {agreement:.1%} of the test images as it did in its study: a "
            "library or the backbone has changed since; make the report again."
        )
    answers = Answers(
        found.predictions.astype(np.int64)[None],
        row["truth"],
        task.class_names,
        cast(np.ndarray, found.probabilities)[None],
        row["test_groups"],
        (cell.seed,),
        task.group_names,
    )
    return answers, agreement


def _limits_of(limits: dict[str, Any], class_names: tuple[str, ...]) -> dict[str, Any]:
    """The limits of a YAML file, as they were written, without those for classes of the report's other tasks."""

    def is_ours(entry: Any) -> bool:
        names = entry.get("class", []) if isinstance(entry, dict) else []
        return set([names] if isinstance(names, str) else names) <= set(class_names)

    kept = {kind: [one for one in (e if isinstance(e, list) else [e]) if is_ours(one)] for kind, e in limits.items()}
    return {kind: entries[0] if len(entries) == 1 else entries for kind, entries in kept.items() if entries}


# ---- the card ---------------------------------------------------------------------------------------------------


def _recipe(study: Study, cell: Cell, run: Any) -> dict[str, Any]:
    params = run.data.params
    kept = ["rules", "epochs" if study.rules == VTAB else "steps", "batch_size", "candidates", "augmentation"]
    own = {name: getattr(study, name) for name in kept}
    if find_method(cell.method).uses_prompts:
        own["num_prompts"] = int(params["num_prompts"])
    if study.rules == DONE:
        own["precision"] = resolved(study.precision)
    chosen = {name: float(params[name]) for name in ("learning_rate", "weight_decay") if name in params}
    ended = {"best_step": int(run.data.metrics["best_step"]), "stopped": params.get("stopped")}
    return {"n": cell.n, "seed": cell.seed} | ended | own | chosen


def _data(study: Study, task: Task) -> dict[str, Any]:
    return {
        "task": _title_of(study.task),
        "fingerprint": task.fingerprint,
        "licence": task.licence,
        "source": task.source if not is_spec(study.task) else "own images",
        "labelled_images": len(task.train),
        "test_images": len(study.test_items()),
        "test_items": study.test_items().tolist(),
        "group_names": list(task.group_names),
    }


def _again(report: Report) -> dict[str, Any]:
    """At how many labelled images the report wants to decide again; None where more would change nothing."""
    advice = report.found["recommendation"]
    return {"decide_again_at": advice["decide_again_at"]} if "decide_again_at" in advice else {}


def _results(runs: pd.DataFrame, method: str, answers: Answers, agreement: float, task: Task) -> dict[str, Any]:
    """Accuracy of this model, and of its method over all seeds, each with its 95 % interval."""
    of_method = answers_of(runs, method, task.class_names)
    return {
        "accuracy": _with_ends(answers.rate(answers.right, np.ones_like(answers.right))),
        "accuracy_of_method": _with_ends(of_method.rate(of_method.right, np.ones_like(of_method.right)))
        | {"trainings": of_method.trainings},
        "same_answers_as_in_study": agreement,
    }


def _with_ends(rate: Rate) -> dict[str, float]:
    return {"value": rate.value, "low": rate.low, "high": rate.high}


def _known_limits(report: Report, method: str) -> list[dict[str, Any]]:
    """Findings of the report that qualify the results: those of the audit, and those about mistakes of this method."""
    audit = [found for found in report.found.get("audit", []) if found.get("level") != "note"]
    inspection = report.found.get("inspection", {})
    mistakes = inspection.get("findings", []) if inspection.get("method") == method else []
    notes = [] if report.advises else [statement("exported_without_advice", choice=report.choice).plain()]
    return [*notes, *audit, *mistakes]


def _ask(answers: Answers, needed: float | None) -> dict[str, Any] | None:
    """From which probability on the model may answer by itself; None without probabilities."""
    accuracy = float(answers.right.mean())
    wanted = needed or next((each for each in USUAL_WANTED if each > accuracy), USUAL_WANTED[-1])
    found = selective(answers, wanted) if wanted < 1 else None
    if found is None:
        return None
    ask: dict[str, Any] = {"wanted": wanted, "needed": found.needed, "threshold": None}
    if not found.is_possible:
        return ask
    ask["threshold"] = found.threshold
    for name in ("share", "accuracy"):
        ends = _with_ends(getattr(found, name))
        ask |= {name: ends["value"], f"{name}_low": ends["low"], f"{name}_high": ends["high"]}
    return ask


def _lineage(report: Report, run: Any, key: str) -> dict[str, Any]:
    return {
        "run_id": run.info.run_id,
        "run_key": key,
        "report": report.digest,
        "notebook": "report_task.ipynb",
        "vptlib": __version__,
        "trained": datetime.fromtimestamp(run.info.end_time / 1000, UTC).isoformat(timespec="seconds"),
    }
