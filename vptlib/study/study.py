"""A fair comparison on one task: methods × sizes × seeds. Every run is kept in MLflow and never repeated.

All methods get the same images and the same number of candidate learning rates. They train until they are done
(`vptlib.study.done_rules`), or with `rules="equal budget"` for the same number of optimiser steps. The learning rate is
chosen on validation images, which are part of the labelled budget n. Each run uses the test images once.
`Study.protocol` states these rules for every report. To repeat the papers, use the published rules of VTAB-1k
(`vptlib.study.published_rules`).
"""

import warnings
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch.utils.data import TensorDataset
from tqdm import tqdm

from vptlib.computed import computed_once
from vptlib.data.readers import short_name
from vptlib.errors import UserError
from vptlib.shortages import shortages_said
from vptlib.statement import Statement
from vptlib.study.artefacts import read_probabilities, read_weights
from vptlib.study.cluster import Place, in_words, reached
from vptlib.study.cluster_runs import results_on_cluster
from vptlib.study.make_runs import AsListed, is_stored, results
from vptlib.study.material import build_model, decode, material_of
from vptlib.study.plan import Cell, Plan
from vptlib.study.protocol import protocol_of
from vptlib.study.published_rules import DONE, EQUAL
from vptlib.study.runner import default_jobs
from vptlib.study.store import finished_run, finished_runs, log_run, mlflow_client, run_key, table_row
from vptlib.study.timed_runs import InTime, results_in_time
from vptlib.terminal import ticking
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.modules import NeighbourHead
from vptlib.tuning.training import LIMIT, History
from vptlib.wording import duration, many

# Time of a run relative to full fine-tuning; used only for the progress bar and the order of work.
STEP_COST = {"linear": 0.02, "vpt-late": 0.2, "vpt-shallow": 1.0, "vpt-deep": 0.65, "full": 1.0}


@dataclass(frozen=True)
class Study(Plan):
    """A plan that can be run, with its runs in the store. Its fields are those of `vptlib.study.plan.Plan`."""

    # ---- the grid ----

    def missing(self) -> list[Cell]:
        """The runs that are not in the store, or are there without the weights that this study keeps."""
        done = finished_runs(self)
        return [cell for cell in self.cells() if not is_stored(self, cell, done)]

    def run(
        self,
        progress: bool = True,
        jobs: int | None = None,
        seconds: float | None = None,
        cluster: str | Place | None = None,
    ) -> pd.DataFrame:
        """Make the missing runs and give the table of all runs. You can interrupt it: finished runs are kept.

        Args:
            progress: show a bar with the time left, or with `seconds` the time gone.
            jobs: runs made at the same time, each in a process with one thread. The default is `$VPTLIB_JOBS`, or one
                with a GPU, or the number of cores. With 1, runs are made in this process.
            seconds: the time it may take. Runs are then made in the order of their importance
                (`vptlib.study.time_budget`), and those that do not fit are left for a later call. Only the runs that an
                answer needs may take a little more (`vptlib.study.time_budget.GRACE`).
            cluster: where runs are made, if not in processes of this one (`vptlib.study.cluster`): "tcp://HOST:8786",
                "slurm:8", …; or a connection that several studies share. Each of its workers makes one run at a time.

        Raises:
            UserError: the task cannot give these sizes, the store cannot be written, a method always diverges, or the
                cluster does not answer.
        """
        missing = self.missing()
        if missing and cluster:
            self.check()
            shared = nullcontext(cluster) if isinstance(cluster, Place) else reached(cluster, print)
            with shared as place:
                self._make_on_cluster(missing, place, seconds, progress)
            return self.runs()
        jobs = min(jobs or default_jobs(), max(1, len(missing)))
        if missing:
            self.check()
            with shortages_said(jobs):
                self._decode(progress)
                self._make(missing, jobs, seconds, progress)
        return self.runs()

    def _make(self, missing: list[Cell], jobs: int, seconds: float | None, progress: bool) -> None:
        """Make runs and store them, with a bar."""
        with ticking(self._bar(missing, seconds, progress)) as bar, warnings.catch_warnings():
            # joblib warns when it replaces a process whose memory has grown; no run is lost
            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
            tell = self._telling(bar)
            if seconds is None:
                made = results(self, self.in_order(missing, jobs), AsListed(), jobs, tell, progress=progress)
            else:
                made = results_in_time(self, missing, jobs, seconds, tell)
            with closing(made):
                for cell, result in made:
                    if result is not None:
                        log_run(self, cell, result)
                        tell(f"{cell.method} with {cell.n} images, seed {cell.seed}, is done")
                    bar.update(self._cost(cell))

    def _make_on_cluster(self, missing: list[Cell], place: Place, seconds: float | None, progress: bool) -> None:
        """Let a cluster make runs and store them, with a bar.

        Raises:
            UserError: as `run`; or the workers store runs elsewhere.
        """
        with ticking(self._bar(missing, seconds, progress)) as bar:
            tell = place.tell = self._telling(bar)
            tell(f"{many(len(missing), 'run')} to make, {in_words(place.slots, place.link)}")
            order = AsListed() if seconds is None else InTime(self, place.slots, seconds)
            made = results_on_cluster(self, self.in_order(missing, place.slots), order, place, tell)
            finished = []
            with closing(made):
                for cell in made:
                    finished.append(cell)
                    tell(f"{cell.method} with {cell.n} images, seed {cell.seed}, is done")
                    bar.update(self._cost(cell))
        wanted = missing if seconds is None else finished
        known = finished_runs(self, wanted)
        if not all(is_stored(self, cell, known) for cell in wanted):
            raise UserError(
                "the cluster has made runs that are not in the store of this study: let its workers use the same "
                "MLFLOW_TRACKING_URI."
            )

    def _bar(self, missing: list[Cell], seconds: float | None, progress: bool) -> tqdm:
        """A bar that counts the cost of the runs; with `seconds`, the time gone."""
        total = sum(self._cost(cell) for cell in missing) + 1e-9  # the sum in another order may be larger
        form = _BAR if seconds is None else f"{{desc}}  {{elapsed}} gone of {duration(max(0.0, seconds))}"
        bar = tqdm(total=total, disable=not progress, bar_format=form, mininterval=1)
        bar.set_description(f"{short_name(self.task)}: {len(missing)} runs to make")
        return bar

    def _telling(self, bar: tqdm) -> Callable[[str], None]:
        return lambda text: bar.set_description(f"{short_name(self.task)}: {text}")

    def in_order(self, missing: list[Cell], jobs: int) -> list[Cell]:
        """The first seed may tune for the others: it comes first. Runs side by side begin with the costliest."""
        cost = self._cost if jobs > 1 else lambda cell: 0.0
        return sorted(missing, key=lambda cell: (cell.seed != self.seeds[0], -cost(cell)))

    def check(self) -> None:
        """Check before any training that the task can give these sizes.

        Raises:
            UserError: it cannot; the message names the size, and what is possible.
        """
        for n in self.sizes:
            material_of(self).parts(n, self.seeds[0], self.conditions, self.rules)

    @computed_once
    def runs(self) -> pd.DataFrame:
        """The finished runs of this study, one row each.

        Columns: task, method, n, seed, accuracy, val_accuracy (fractions), learning_rate (of a solved method: the
        strength that was chosen), tried (text of a rate → validation accuracy), best_step, last_step, stopped ("done":
        no more progress, "limit": the steps were used up, or "solved"), train_seconds,
        tuning_seconds, trainable_parameters, bytes_per_task, correct (bool array, test images in their fixed order),
        predictions (int array), run_id, truth (int array: the right classes), test_groups (int array, or None), pool
        (labelled images that the n were drawn from), tuned_by (the seed that chose the setting). The published rules
        add the chosen weight_decay and num_prompts (NaN for a method without prompts); val_accuracy is then that of
        the chosen setting before the final run.
        """
        done = finished_runs(self)
        rows = [table_row(self, cell, done[key]) for cell in self.cells() if (key := run_key(self, cell)) in done]
        return pd.DataFrame(rows)

    def history(self, method: str, n: int, seed: int) -> History:
        """The training of one finished run, step by step."""
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
            stopped=run.data.params.get("stopped", LIMIT),
        )

    def model(self, method: str, seed: int | None = None) -> AdaptedModel:
        """The trained model of `method` at the largest size, from the store.

        Args:
            method: one of the study's.
            seed: one of `kept_seeds`; the first, if not given.

        Raises:
            UserError: the run is not finished, or the models of the seed are not stored.
        """
        seed = self.seeds[0] if seed is None else seed
        if seed not in self.kept_seeds:
            raise UserError(f"seed is {seed}, but models are stored for {', '.join(map(str, self.kept_seeds))} only.")
        run = finished_run(self, Cell(method, self.sizes[-1], seed))
        weights = read_weights(run.info.run_id)
        model = self.build(method, num_prompts=int(run.data.params["num_prompts"]))
        model.load_state_dict(weights, strict=False)
        if isinstance(model.head, NeighbourHead):  # how many images its solver kept
            model.options = {**model.options, "images": len(model.head.keys)}
        return model.eval()

    def probabilities(self, method: str, seed: int | None = None, n: int | None = None) -> np.ndarray | None:
        """The probabilities that one finished run gave to each class of the test images, float32 `I C`.

        Args:
            method: one of the study's.
            seed: one of the study's; the first, if not given.
            n: the number of labelled images; the largest, if not given.

        Returns:
            Test images in the order of `test_items`; or None for a run that was stored without them.

        Raises:
            UserError: the run is not finished, or its file is damaged.
        """
        cell = Cell(method, self.sizes[-1] if n is None else n, self.seeds[0] if seed is None else seed)
        return read_probabilities(finished_run(self, cell).info.run_id)

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

    def protocol(self) -> dict[str, Statement]:
        """The rules of the comparison with this study's figures: "images", "tuning", … and a statement of each."""
        return protocol_of(self)

    # ---- helpers ----

    def _decode(self, progress: bool) -> None:
        """Decode all images of the study's own files once, before several processes need them."""
        name = f"{self.task}: decoding images"
        with tqdm(desc=name, disable=not progress, unit=" images", delay=5, mininterval=1) as bar:
            decode(self, bar.update)

    def _cost(self, cell: Cell) -> float:
        """How long a run takes, relative to the others."""
        if self.rules == DONE:
            return STEP_COST.get(cell.method, 1.0) * (1 + 0.3 * len(self.to_try(cell.method)))
        tried = len(self.to_try(cell.method))
        of_final = 0 if self.rules == EQUAL else 1
        return STEP_COST.get(cell.method, 1.0) * (tried + of_final if cell.seed == self.seeds[0] else 1)


_BAR = "{desc}  {percentage:3.0f}% |{bar:20}| {elapsed} gone, {remaining} left"
