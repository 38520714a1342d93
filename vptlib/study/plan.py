"""The plan of a study: its grid, its rules and its conditions, checked before anything is loaded."""

from dataclasses import dataclass, replace
from typing import Literal, Self

from vptlib.data.conditions import Conditions
from vptlib.errors import UserError
from vptlib.study.published_rules import ALL, EQUAL, RULES, Setting, published_settings
from vptlib.tuning.backbones import EMBEDDED
from vptlib.tuning.methods import STANDARD, find_method


@dataclass(frozen=True)
class Cell:
    """One run of the grid: a method on n labelled images, which the seed chooses."""

    method: str
    n: int
    seed: int


@dataclass(frozen=True)
class Plan:
    """A task, a backbone, and the grid to run. `vptlib.Study` is a plan that can be run.

    Attributes:
        task: as for `vptlib.load_task`: an embedded task, or the place of your own images.
        methods: names in `vptlib.tuning.methods.METHODS`.
        sizes: numbers of labelled images n; 80 % of n train, 20 % of n validate.
        seeds: each has its own images, batches and initial values. The runs of the first seed choose the learning rate.
        backbone, image_size, depth: as in `load_backbone`.
        num_prompts: prompts per prompted layer.
        steps, batch_size: of every training run of every method.
        candidates: how many learning rates (published rules: settings) are tried per method and size, or "all".
        test_images: how many of the task's test images are used, always the same ones; or "all".
        label_noise, noise, imbalance, corruption, severity: as in `vptlib.data.conditions.Conditions`.
        rules: "equal budget", or "vtab-1k" for the published protocol (`vptlib.study.published_rules`). Under
            "vtab-1k" all n images train in the final run, `epochs` replaces `steps`, and the prompt length is chosen
            together with the learning rate.
        epochs: passes over the images in every training run, under the rules "vtab-1k".
    """

    task: str
    methods: tuple[str, ...] = STANDARD
    sizes: tuple[int, ...] = (50, 150, 400)
    seeds: tuple[int, ...] = (0,)
    backbone: str = EMBEDDED
    image_size: int | None = None
    depth: int | None = None
    num_prompts: int = 10
    steps: int = 60
    batch_size: int = 16
    candidates: int | Literal["all"] = 2
    test_images: int | Literal["all"] = 400
    label_noise: float = 0.0
    noise: str = "symmetric"
    imbalance: float = 1.0
    corruption: str = ""
    severity: int = 3
    rules: str = EQUAL
    epochs: int = 100

    def __post_init__(self):
        for name in ("methods", "sizes", "seeds"):
            values = tuple(getattr(self, name))
            if not values or len(set(values)) < len(values):
                raise UserError(f"{name} is {list(values)}: give at least one value, and none twice.")
            object.__setattr__(self, name, values)
        object.__setattr__(self, "sizes", tuple(sorted(self.sizes)))
        for name in ("steps", "batch_size", "candidates", "test_images", "epochs"):
            value, may_be_all = getattr(self, name), name in ("candidates", "test_images")
            if not (may_be_all and value == ALL) and (isinstance(value, str) or value < 1):
                raise UserError(f"{name} is {value!r}, but must be 1 or more{' or all' * may_be_all}.")
        _ = self.conditions  # checks itself
        if self.rules not in RULES:
            raise UserError(f"rules is {self.rules!r}, but must be one of {', '.join(RULES)}.")
        for method in self.methods:
            _ = self.to_try(method)

    @property
    def conditions(self) -> Conditions:
        """The conditions of this study: wrong labels, rare classes, corrupted test images."""
        return Conditions(self.label_noise, self.noise, self.imbalance, self.corruption, self.severity)

    def under(self, **conditions) -> Self:
        """The same comparison under harder conditions, at the largest size only.

        Args:
            **conditions: as in `vptlib.data.conditions.Conditions`.
        """
        return replace(self, sizes=self.sizes[-1:], **conditions)

    def to_try(self, method: str) -> list[float] | list[Setting]:
        """The candidates that tuning tries for `method`: learning rates, or published settings.

        Raises:
            UserError: the method has fewer than `candidates` of them.
        """
        if self.rules != EQUAL:
            return published_settings(method, self.batch_size, self.candidates)
        rates = find_method(method).learning_rates
        if self.candidates != ALL and self.candidates > len(rates):
            raise UserError(f"candidates is {self.candidates}, but {method!r} has {len(rates)} learning rates to try.")
        return list(rates if self.candidates == ALL else rates[: self.candidates])

    def cells(self) -> list[Cell]:
        """All runs in the order in which they are made: the first seed comes first, because it tunes."""
        return [Cell(method, n, seed) for seed in self.seeds for n in self.sizes for method in self.methods]

    def tuning_cell(self, cell: Cell) -> Cell:
        """The run of the first seed, which chooses the learning rate for the other seeds of `cell`."""
        return replace(cell, seed=self.seeds[0])

    @property
    def kept_seeds(self) -> tuple[int, ...]:
        """Seeds whose models are stored, at the largest size: two, so that two trainings can be compared."""
        return self.seeds[:2]

    def keeps(self, cell: Cell) -> bool:
        """Whether the trained weights of `cell` are stored."""
        return cell.n == self.sizes[-1] and cell.seed in self.kept_seeds
