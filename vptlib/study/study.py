"""A fair comparison on one task: methods × sizes × seeds, every run kept in MLflow and never repeated.

The rules, which `Study.protocol` states in every report: all methods get the same images, the same number of
learning-rate candidates and the same number of optimiser steps; candidates are chosen on validation images that
are part of the labelled budget n; the test images are looked at once a run. The published rules of VTAB-1k, for those
who want to repeat the papers, are in `vptlib.study.published_rules`.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from safetensors.torch import load_file
from torch.utils.data import TensorDataset
from tqdm import tqdm

from vptlib.data.files import LazyImages
from vptlib.errors import UserError
from vptlib.study.material import build_model, material_of
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import (
    ALL,
    EQUAL,
    published_sentences,
)
from vptlib.study.runner import candidates_of, default_jobs, run_alone, runner_of
from vptlib.study.store import Result, finished_run, finished_runs, log_run, mlflow_client, run_key, table_row
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.training import History

# Time of a run relative to full fine-tuning, for the progress bar and the order of work alone.
STEP_COST = {"linear": 0.02, "vpt-shallow": 1.0, "vpt-deep": 0.65, "full": 1.0}


@dataclass(frozen=True)
class Study(Plan):
    """A plan that is run, with its runs in the store. Its fields are those of `vptlib.study.plan.Plan`."""

    # ---- the grid ----

    def missing(self) -> list[Cell]:
        """The runs that are not in the store yet, or lack the weights that this study needs kept."""
        done = finished_runs(self)
        return [cell for cell in self.cells() if not self._is_done(cell, done.get(run_key(self, cell)))]

    def run(self, progress: bool = True, jobs: int | None = None) -> pd.DataFrame:
        """Run what is missing and give the table of all runs. Interrupt it at will: finished runs are kept.

        Args:
            progress: show a bar with the time left.
            jobs: runs made at the same time, each in a process with one thread; by default as many as there are
                cores (or `$VPTLIB_JOBS`), and one with a GPU. With 1, runs are made in this process.

        Raises:
            UserError: sizes that the task cannot give, a store that cannot be written, a method that always diverges.
        """
        missing = self.missing()
        if missing:
            self.check()
            self._decode(progress)
        first, others = ([c for c in missing if (c.seed == self.seeds[0]) is tunes] for tunes in (True, False))
        total = sum(self._cost(cell) for cell in missing)
        with (
            tqdm(total=total, disable=not (progress and missing), bar_format=_BAR, mininterval=1) as bar,
            warnings.catch_warnings(),
        ):
            # joblib replaces a process whose memory has grown, says so, and loses nothing
            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
            bar.set_description(f"{self.task}: {len(missing)} runs to make")
            for cells in (first, others):  # the first seed tunes for the others
                for cell, result in self._results(cells, jobs or default_jobs(), progress):
                    log_run(self, cell, result)
                    bar.set_description(f"{self.task}: {cell.method} with {cell.n} images, seed {cell.seed}, is done")
                    bar.update(self._cost(cell))
        return self.runs()

    def _results(self, cells: list[Cell], jobs: int, progress: bool) -> Iterator[tuple[Cell, Result]]:
        """Each cell with its result, as they come."""
        work = [(self, cell, candidates_of(self, cell)) for cell in cells]
        if min(jobs, len(work)) <= 1:
            run = runner_of(self, progress)
            return ((cell, run(*job)) for cell, job in zip(cells, work, strict=True))
        costliest_first = sorted(work, key=lambda job: -self._cost(job[1]))
        parallel = Parallel(n_jobs=min(jobs, len(work)), return_as="generator_unordered")
        return parallel(delayed(run_alone)(*job) for job in costliest_first)

    def check(self) -> None:
        """Find out before any training whether the task can give these sizes.

        Raises:
            UserError: it cannot; the text says which size, and what can be given.
        """
        for n in self.sizes:
            material_of(self).parts(n, self.seeds[0], self.conditions, self.rules)

    def runs(self) -> pd.DataFrame:
        """The finished runs of this study, a row each.

        Columns: task, method, n, seed, accuracy, val_accuracy (fractions), learning_rate, best_step, train_seconds,
        tuning_seconds, trainable_parameters, bytes_per_task, correct (bool array, test images in their fixed order),
        predictions (int array), run_id. Under the published rules also weight_decay and num_prompts, as chosen (NaN for
        a method without prompts), and val_accuracy is that of the chosen setting before the final run.
        """
        done = finished_runs(self)
        rows = [table_row(self, cell, done[key]) for cell in self.cells() if (key := run_key(self, cell)) in done]
        return pd.DataFrame(rows)

    def history(self, method: str, n: int, seed: int) -> History:
        """What happened in the training of one finished run."""
        run = finished_run(self, Cell(method, n, seed))
        client = mlflow_client()
        series = {
            name: [m.value for m in sorted(client.get_metric_history(run.info.run_id, name), key=lambda m: m.step)]
            for name in ("train_loss", "val_loss", "val_accuracy_at", "val_step")
        }
        return History(
            train_loss=series["train_loss"],
            val_steps=[int(step) for step in series["val_step"]],
            val_loss=series["val_loss"],
            val_accuracy=series["val_accuracy_at"],
            best_step=int(run.data.metrics["best_step"]),
            seconds=run.data.metrics["train_seconds"],
        )

    def model(self, method: str, seed: int | None = None) -> AdaptedModel:
        """The trained model of `method` at the largest size, from the store.

        Args:
            method: one of the study's.
            seed: one of `kept_seeds`; the first, if not given.

        Raises:
            UserError: that run is not finished, or the models of that seed are not stored.
        """
        seed = self.seeds[0] if seed is None else seed
        if seed not in self.kept_seeds:
            raise UserError(f"seed is {seed}, but models are stored for {_listed(self.kept_seeds)} alone.")
        run = finished_run(self, Cell(method, self.sizes[-1], seed))
        folder = mlflow_client().download_artifacts(run.info.run_id, "weights.safetensors")
        model = self.build(method, num_prompts=int(run.data.params["num_prompts"]))
        model.load_state_dict(load_file(folder), strict=False)
        return model.eval()

    def build(self, method: str, seed: int = 0, num_prompts: int | None = None) -> AdaptedModel:
        """A fresh, untrained model of `method` on this study's backbone, with a head for its task's classes."""
        return build_model(self, method, seed, num_prompts)

    def data(self, n: int, seed: int) -> tuple[TensorDataset, TensorDataset, TensorDataset]:
        """Training, validation and test images, prepared (`N 3 S S`), of one size and seed."""
        material = material_of(self)
        return *material.labelled(n, seed, self.conditions, self.rules), material.test_under(self.conditions)

    def test_items(self) -> np.ndarray:
        """Indices, in the task's test set, of the test images in the order of `correct` and `predictions`."""
        return material_of(self).test_items

    def protocol(self) -> dict[str, str]:
        """The rules of the comparison, label to sentence, with this study's figures."""
        seeds = len(self.seeds)
        of_tuning = self._equal_sentences() if self.rules == EQUAL else self._published_sentences()
        return (
            of_tuning
            | {
                "Test": f"{len(self.test_items())} test images, the same for all runs, looked at once a run and never "
                "for a choice.",
                "Seeds": f"{seeds} ({_listed(self.seeds)})"
                + ("." if seeds > 1 else ": a quick look. Intervals show the choice of test images only."),
            }
            | ({"Prompts": of_tuning.get("Prompts", f"{self.num_prompts} per prompted layer.")})
            | ({"Conditions": self.conditions.sentence()} if self.conditions.sentence() else {})
        )

    def _equal_sentences(self) -> dict[str, str]:
        tried = "All learning rates" if self.candidates == ALL else _count(self.candidates, "learning rate")
        return {
            "Images": f"n counts all labelled images used: 80 % of them train, 20 % validate. For one seed the smaller "
            f"sets are part of the larger ones; every method gets the same images. Sizes: {_listed(self.sizes)}.",
            "Tuning": f"{tried} per method and size, chosen on the validation "
            "images of the first seed, the same number for every method"
            + (" and taken over by the other seeds." if len(self.seeds) > 1 else "."),
            "Training": f"{self.steps} optimiser steps of up to {self.batch_size} images for every run of every method "
            "(AdamW, linear warm-up, cosine decay, no augmentation); the weights best on validation images are kept.",
        }

    def _published_sentences(self) -> dict[str, str]:
        task = material_of(self).task
        official = task.validation is not None and self.sizes == (len(task.train),) and self.conditions.imbalance == 1
        return {
            "Images": f"n counts all labelled images used, those for tuning included. Sizes: {_listed(self.sizes)}.",
        } | published_sentences(self.methods, self.candidates, self.epochs, self.batch_size, official)

    # ---- within the room ----

    def _decode(self, progress: bool) -> None:
        """Decode all images of the study's own files once, before several processes ask for them."""
        material = material_of(self)
        if not isinstance(material.task.train, LazyImages):
            return
        grid = [(n, seed) for n in self.sizes for seed in self.seeds]
        chosen = [np.concatenate(material.parts(*at, self.conditions, self.rules)[:2]) for at in grid]
        parts = [
            material.task.train.select(np.unique(np.concatenate(chosen))),
            material.task.test.select(material.test_items),
        ]
        wanted = preprocessing(material.vit)
        with tqdm(
            desc=f"{self.task}: decoding images", disable=not progress, unit=" images", delay=5, mininterval=1
        ) as bar:
            for part in parts:
                part.keep(wanted.size, wanted.interpolation, bar.update)

    def _cost(self, cell: Cell) -> float:
        """How long a run takes beside the others."""
        tried = len(self.to_try(cell.method))
        of_final = 0 if self.rules == EQUAL else 1
        return STEP_COST.get(cell.method, 1.0) * (tried + of_final if cell.seed == self.seeds[0] else 1)

    def _is_done(self, cell: Cell, run) -> bool:
        return run is not None and (not self.keeps(cell) or "weights" in run.data.tags)


_BAR = "{desc}  {percentage:3.0f}% |{bar:20}| {elapsed} gone, {remaining} left"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(values: tuple) -> str:
    return ", ".join(map(str, values))


# ---- what the runs of a study share ---------------------------------------------------------------------------


# ---- one run --------------------------------------------------------------------------------------------------


# ---- the store: MLflow ----------------------------------------------------------------------------------------
