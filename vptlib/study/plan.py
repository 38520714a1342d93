"""The plan of a study: its grid, its rules and its conditions, checked before anything is loaded."""

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Literal, Self, cast

from vptlib.data.conditions import CORRUPTIONS, NOISES, Conditions
from vptlib.data.files import ASPECTS
from vptlib.errors import UserError
from vptlib.study import done_rules
from vptlib.study.published_rules import ALL, DONE, EQUAL, RULES, Setting, published_settings
from vptlib.tuning.augmentation import AUGMENTATIONS, NONE
from vptlib.tuning.backbones import EMBEDDED
from vptlib.tuning.methods import STANDARD, find_method
from vptlib.tuning.precision import PRECISIONS

# Under "equal budget" and "vtab-1k".
STEPS, CANDIDATES = 60, 2


# The least and the largest value of each whole number. No study needs more; far more would take all memory.
RANGES = {
    "sizes": (1, 10**9),
    "seeds": (0, 2**32 - 1),  # what random generators take
    "image_size": (1, 4096),
    "image_size_limit": (1, 4096),
    "depth": (1, 1000),
    "num_prompts": (1, 10_000),
    "steps": (1, 10**6),
    "batch_size": (1, 10**6),
    "candidates": (1, 1000),
    "test_images": (1, 10**9),
    "epochs": (1, 10**5),
}
MAY_BE_ALL = ("candidates", "test_images")
# The texts that are offered for a setting.
CHOICES = {
    "rules": RULES,
    "aspect": ("auto", *ASPECTS),
    "precision": PRECISIONS,
    "augmentation": AUGMENTATIONS,
    "noise": NOISES,
    "corruption": ("", *CORRUPTIONS),
}


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
        methods: ways to adapt the backbone, names in `vptlib.tuning.methods.METHODS`; `vpt methods` lists them.
        sizes: numbers of labelled images n; 80 % of n train, 20 % of n validate.
        seeds: each has its own images, batches and initial values. Under
            "until done" each chooses its own learning rate; under the other rules the first one chooses for all.
        backbone: the pre-trained vision transformer; `vpt backbones` lists them. A file of your own is `file:PATH`.
        depth: blocks of the backbone to keep, counted from the input; by default all (of the embedded one: 9 of 12).
        image_size: side in pixels of what the model sees. By default that of the backbone, or under the rules "until
            done" one that is chosen by looking (`vptlib.study.input_size`).
        image_size_limit: the largest input size in pixels that may be chosen by looking; by default there is none.
        aspect: how an image becomes a square: "squash", "crop" (its middle) or "pad" (with bars). "auto" is as the
            backbone was pre-trained under the rules "until done", else "squash".
        precision: "fp32", "bf16", or "auto": bf16 where this machine is faster with it. Only "until done" uses it.
        num_prompts: prompts per prompted layer.
        steps: of every training run of every method; under "until done", the largest number.
        batch_size: images in a step, of every training run of every method.
        candidates: how many learning rates (published rules: settings) are tried per method and size, or "all".
        test_images: how many of the task's test images are used, always the same ones; or "all". If there are fewer,
            all of them are used, and the report states both numbers.
        label_noise: share of the labelled images that carry a wrong label, as a fraction.
        noise: "symmetric" (a wrong label is any other class) or "pair" (always the next class).
        imbalance: size of the largest class divided by the size of the smallest.
        corruption: of the test images: "" for none, or a name in `vptlib.data.conditions.CORRUPTIONS`.
        severity: of the corruption, 1 (light) to 5 (heavy).
        rules: "until done", to train every run until it is done (`vptlib.study.done_rules`); "equal budget", to give
            every run the same number of steps; or "vtab-1k" for the published protocol
            (`vptlib.study.published_rules`). Under "vtab-1k" all n images train in the final run, `epochs` replaces
            `steps`, and the prompt length is chosen with the learning rate.
        epochs: passes over the images in every training run, under the rules "vtab-1k".
        augmentation: "none"; "light", which shifts training images a little and changes their brightness and contrast;
            or "light+mirror", which also mirrors half of them: take it only if no label depends on left and right.
            Under "until done" only. Methods that are solved, or with frozen lower layers, train without.
    """

    task: str
    methods: tuple[str, ...] = STANDARD
    sizes: tuple[int, ...] = (50, 150, 400)
    seeds: tuple[int, ...] = (0,)
    backbone: str = EMBEDDED
    image_size: int | None = None
    depth: int | None = None
    num_prompts: int = 10
    steps: int | None = None
    batch_size: int = 16
    candidates: int | Literal["all"] | None = None
    test_images: int | Literal["all"] = 400
    label_noise: float = 0.0
    noise: str = "symmetric"
    imbalance: float = 1.0
    corruption: str = ""
    severity: int = 3
    rules: str = DONE
    epochs: int = 100
    aspect: str = "auto"
    precision: str = "auto"
    image_size_limit: int | None = None
    augmentation: str = NONE

    def __post_init__(self):
        done = self.rules == DONE
        usual = (done_rules.MOST_STEPS, done_rules.CANDIDATES) if done else (STEPS, CANDIDATES)
        for name, value in zip(("steps", "candidates"), usual, strict=True):
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in ("methods", "sizes", "seeds"):
            object.__setattr__(self, name, _several(name, getattr(self, name)))
        for name, (least, most) in RANGES.items():
            for value in _each(getattr(self, name)):
                if not (name in MAY_BE_ALL and value == ALL):
                    _check_whole(name, value, least, most)
        object.__setattr__(self, "sizes", tuple(sorted(self.sizes)))
        for name in ("rules", "aspect", "precision", "augmentation"):
            if getattr(self, name) not in CHOICES[name]:
                raise UserError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(CHOICES[name])}.")
        _ = self.conditions  # checks itself
        if self.augmentation != NONE and not done:
            raise UserError(
                f"augmentation is {self.augmentation!r}, but the rules {self.rules!r} have none: take the rules "
                f"{DONE!r}, or augmentation {NONE!r}."
            )
        for method in self.methods:
            _ = self.to_try(method)

    @property
    def most_steps(self) -> int:
        """`steps`, which the rules give where the user does not."""
        return cast(int, self.steps)

    @property
    def most_candidates(self) -> int | Literal["all"]:
        """`candidates`, which the rules give where the user does not."""
        return cast(int | Literal["all"], self.candidates)

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
        if self.rules == DONE:
            return self._rates_until_done(method)
        if self.rules != EQUAL:
            return published_settings(method, self.batch_size, self.most_candidates)
        rates = find_method(method).learning_rates
        if not rates:
            raise UserError(f"{method!r} is not trained by steps: it needs the rules {DONE!r}.")
        count = self.most_candidates
        if count != ALL and count > len(rates):
            raise UserError(f"candidates is {count}, but {method!r} has {len(rates)} learning rates to try.")
        return list(rates if count == ALL else rates[:count])

    def _rates_until_done(self, method: str) -> list[float]:
        """The learning rates that are tried first; none for a method that is solved."""
        count = self.most_candidates
        if count == ALL:
            raise UserError(f"candidates is {ALL!r}, but under the rules {DONE!r} it must be a number.")
        return done_rules.first_rates(method, count) if find_method(method).learning_rates else []

    def cells(self) -> list[Cell]:
        """All runs in the order in which they are made: the first seed comes first, because it may tune for all."""
        return [Cell(method, n, seed) for seed in self.seeds for n in self.sizes for method in self.methods]

    def tuning_cell(self, cell: Cell) -> Cell:
        """The run that chooses the learning rate of `cell`: itself under "until done", else that of the first seed."""
        return cell if self.rules == DONE else replace(cell, seed=self.seeds[0])

    def tunes(self, cell: Cell) -> bool:
        """Whether the run of `cell` tries the candidates itself."""
        return self.tuning_cell(cell) == cell

    @property
    def kept_seeds(self) -> tuple[int, ...]:
        """Seeds whose models are stored, at the largest size: two, so that two trainings can be compared."""
        return self.seeds[:2]

    def keeps(self, cell: Cell) -> bool:
        """Whether the trained weights of `cell` are stored."""
        return cell.n == self.sizes[-1] and cell.seed in self.kept_seeds


# ---- checks of values -------------------------------------------------------------------------------------------


def _several(name: str, values: Any) -> tuple:
    """The values of a setting that has several, none twice."""
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise UserError(f"{name} is {values!r}, but must be a list.")
    given = tuple(values)
    if not given or len(set(given)) < len(given):
        raise UserError(f"{name} is {list(given)}: give at least one value, and none twice.")
    return given


def _each(value: Any) -> tuple:
    """The values of a setting: several, one, or none where it is left to the rules."""
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _check_whole(name: str, value: Any, least: int, most: int) -> None:
    """Raise unless `value` is a whole number in its range; a truth value is none."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if whole and least <= int(value) <= most:
        return
    wanted = (
        f"{least} or more{' or all' * (name in MAY_BE_ALL)}" if not whole or int(value) < least else f"{most:,} or less"
    )
    raise UserError(f"{name} is {value!r}, but must be {'' if whole else 'a whole number, '}{wanted}.")
