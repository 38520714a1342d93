"""The table of runs (`Study.runs`) of one task, checked and in order, as resampling needs it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from vptlib.errors import UserError


@dataclass(frozen=True)
class Layout:
    """The runs of one task.

    Attributes:
        cells: method → size → seed → outcomes `I` (0 or 1).
        seeds: all of them, sorted.
        images: number of test images.
        unit_sizes: images in each of the U units that are drawn: groups, or single images.
        groups: number of groups that are drawn; None where images are.
        pool: labelled images that the training images were drawn from, if that is known.
        one_group: whether all test images are of one group.
        tuned_by: (method, size, seed) → the seed that chose its setting, if that is known.
    """

    cells: dict[str, dict[int, dict[int, np.ndarray]]]
    seeds: list[int]
    images: int
    unit_sizes: np.ndarray = field(repr=False)
    pool: int | None = None
    one_group: bool = False
    tuned_by: dict[tuple[str, int, int], int] = field(default_factory=dict)
    _unit_of: np.ndarray | None = field(default=None, repr=False)  # I

    @property
    def groups(self) -> int | None:
        return None if self._unit_of is None else len(self.unit_sizes)

    @property
    def sizes(self) -> list[int]:
        return sorted({n for cells in self.cells.values() for n in cells})

    def shared(self, methods: Iterable[str], n: int) -> list[int]:
        """The seeds that all these methods have at one size."""
        return sorted(set.intersection(*(set(self.cells[method].get(n, ())) for method in methods)))

    def of(self, method: str) -> dict[int, dict[int, np.ndarray]]:
        """The cells of one method.

        Raises:
            UserError: the table lacks it.
        """
        if method not in self.cells:
            raise UserError(
                f"the table of runs has no finished run of {method!r}, only of {', '.join(self.cells)}: "
                f"add {method!r} to the study's methods and run it."
            )
        return self.cells[method]

    def by_unit(self, values: np.ndarray) -> np.ndarray:
        """Values of images `K I`, added up by unit: `K U`."""
        if self._unit_of is None:
            return values
        return np.stack([np.bincount(self._unit_of, row, len(self.unit_sizes)) for row in values])


def layout_of(runs: pd.DataFrame) -> Layout:
    """The table of runs, checked and in order.

    Raises:
        UserError: the table cannot be used; the text gives the reason.
    """
    _check(runs)
    cells: dict[str, dict[int, dict[int, np.ndarray]]] = {}
    for method, n, seed, correct in zip(runs["method"], runs["n"], runs["seed"], runs["correct"], strict=True):
        cells.setdefault(method, {}).setdefault(int(n), {})[int(seed)] = _outcomes(correct, method, n, seed)
    seeds = sorted({int(seed) for seed in runs["seed"]})
    images = len(runs["correct"].iloc[0])
    unit_of = _units(runs, images)
    one_group = unit_of is not None and unit_of.max() == 0
    if unit_of is None or one_group or unit_of.max() == images - 1:
        return Layout(cells, seeds, images, np.ones(images), _pool(runs), one_group, _tuned_by(runs))
    sizes = np.bincount(unit_of).astype(float)
    return Layout(cells, seeds, images, sizes, _pool(runs), False, _tuned_by(runs), unit_of)


def _pool(runs: pd.DataFrame) -> int | None:
    """The number of labelled images to draw from, the same in all rows."""
    given = runs["pool"].iloc[0] if "pool" in runs else None
    return None if given is None or pd.isna(given) else int(given)


def _tuned_by(runs: pd.DataFrame) -> dict[tuple[str, int, int], int]:
    if "tuned_by" not in runs:
        return {}
    return {
        (str(method), int(n), int(seed)): int(chosen)
        for method, n, seed, chosen in zip(runs["method"], runs["n"], runs["seed"], runs["tuned_by"], strict=True)
        if not pd.isna(chosen)
    }


def _outcomes(correct: object, method: str, n: int, seed: int) -> np.ndarray:
    outcomes = np.asarray(correct, dtype=float)
    if np.isnan(outcomes).any():
        raise UserError(
            f"the column 'correct' of {method} with n={n} and seed {seed} holds NaN: give true or false for each test "
            "image, or leave this run out."
        )
    return outcomes


def _units(runs: pd.DataFrame, images: int) -> np.ndarray | None:
    """The group of each test image, `I`, counted from 0; None where the table has no groups."""
    given = runs["test_groups"].iloc[0] if "test_groups" in runs else None
    if given is None or np.ndim(given) == 0:
        return None
    if not all(each is given or np.array_equal(each, given) for each in runs["test_groups"]):
        raise UserError("the column 'test_groups' differs between runs: all runs have the same test images.")
    if len(given) != images:
        raise UserError(f"the column 'test_groups' holds {len(given)} groups for {images} test images: give one each.")
    return np.unique(np.asarray(given), return_inverse=True)[1]


def _check(runs: pd.DataFrame) -> None:
    if len(runs) == 0:
        raise UserError("the table of runs is empty: run the study first.")
    for column in ("method", "n", "seed", "correct"):
        if column not in runs:
            raise UserError(f"the table of runs has no column {column!r}: take the table that Study.runs() gives.")
    if "task" in runs and runs["task"].nunique() > 1:
        raise UserError(f"the table of runs mixes the tasks {', '.join(runs['task'].unique())}: give one task's rows.")
    twice = runs.duplicated(["method", "n", "seed"])
    if twice.any():
        row = runs[twice].iloc[0]
        raise UserError(
            f"the table of runs has {row['method']} with n={row['n']} and seed {row['seed']} twice: keep one of them."
        )
    lengths = sorted({np.size(correct) for correct in runs["correct"]})
    if len(lengths) > 1 or lengths[0] < 2:
        raise UserError(
            f"the column 'correct' holds {', '.join(map(str, lengths))} test images a run: all runs need the same two "
            "or more."
        )
