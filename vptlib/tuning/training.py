"""One plain training loop for every method, and one evaluation.

AdamW (or SGD, for the published rules) with linear warm-up and cosine decay over a fixed number of optimiser steps. The
weights that did best on validation data are kept. Layers below everything that trains (the whole backbone of a linear
probe, the blocks before the first late prompt) are computed once per image.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from vptlib.errors import UserError
from vptlib.tuning.methods import AdaptedModel

SECONDS_BETWEEN_CHECKPOINTS = 60
# Most bytes for the kept tokens of frozen blocks. If all images need more, the tokens are computed again at each step.
MOST_KEPT_BYTES = 2 * 2**30
OPTIMISERS = ("adamw", "sgd")


class Diverged(UserError):
    """The training loss is not finite."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        learning_rate: peak learning rate of the optimiser.
        steps: optimiser steps.
        batch_size: images a step, or all of them where there are fewer.
        weight_decay: on weight matrices only; with SGD on prompts too, as in the code of Jia et al.
        warmup: share of the steps in which the rate rises linearly; then it falls as a cosine to 0.
        evaluations: number of evaluations on validation data, evenly spread, the last one after the last step.
        seed: of the order of the batches (and of dropout).
        autocast: compute in bfloat16 where that is safe; for GPUs (on most CPUs it is slower by far).
        compile: run the model through `torch.compile`; for long runs on GPUs.
        checkpointing: keep only each block's input; the backward pass computes the rest again: less memory, more time.
        optimiser: "adamw", or "sgd" with momentum 0.9.
    """

    learning_rate: float
    steps: int = 100
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup: float = 0.1
    evaluations: int = 5
    seed: int = 0
    autocast: bool = False
    compile: bool = False
    checkpointing: bool = False
    optimiser: str = "adamw"

    def __post_init__(self):
        if self.optimiser not in OPTIMISERS:
            raise UserError(f"optimiser is {self.optimiser!r}, but must be one of {', '.join(OPTIMISERS)}.")

    def rate_at(self, step: int) -> float:
        """Learning rate of step 0, 1, ... steps - 1."""
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        done = (step - rising) / max(1, self.steps - rising)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    @property
    def evaluation_steps(self) -> set[int]:
        """Numbers of finished steps after which validation data are evaluated."""
        return {round(self.steps * (i + 1) / self.evaluations) for i in range(self.evaluations)} - {0}


@dataclass
class History:
    """What happened in training: a loss for each step, validation figures for each evaluation."""

    train_loss: list[float] = field(default_factory=list)
    val_steps: list[int] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    best_step: int = 0
    seconds: float = 0.0

    @property
    def steps(self) -> list[int]:
        """1, 2, ... for each entry of `train_loss`."""
        return list(range(1, len(self.train_loss) + 1))

    @property
    def best_val_accuracy(self) -> float:
        """Validation accuracy of the weights that are kept, a fraction."""
        return self.val_accuracy[self.val_steps.index(self.best_step)] if self.val_steps else float("nan")

    @property
    def best_val_loss(self) -> float:
        """Validation loss of the weights that are kept."""
        return self.val_loss[self.val_steps.index(self.best_step)] if self.val_steps else float("nan")


@dataclass(frozen=True)
class Evaluation:
    """Accuracy (a fraction), mean cross-entropy, and for each item the predicted class and whether it is right."""

    accuracy: float
    loss: float
    predictions: np.ndarray
    correct: np.ndarray


class FrozenFeatures(TensorDataset):
    """Output of `model.stem` in place of images (features `N F` or tokens `N T D`), and labels `N`."""


def best_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    model: AdaptedModel,
    train: TensorDataset,
    val: TensorDataset | None,
    recipe: Recipe,
    checkpoint: Path | None = None,
    progress: Callable[[int], None] | None = None,
    watch: Callable[[History], bool] | None = None,
) -> History:
    """Train `model` in place; it ends with the weights that did best on `val` (without `val`: the last ones).

    Best is the highest validation accuracy; where two are equal, the lower loss.

    Args:
        model: from `build_method`.
        train: images `N 3 H W` (a tensor, or `vptlib.data.preparing.LazyPixels`; or `FrozenFeatures`) and labels `N`.
        val: the same, for choosing; never test data.
        recipe: steps, rate, batch size, seed.
        checkpoint: file from which a stopped run continues; a long run writes it once a minute.
        progress: called with 1 after every step.
        watch: called with the history after every step; training stops if it returns True.

    Raises:
        Diverged: the loss is not finite; the text names the step and the learning rate.
    """
    device = best_device()
    model.to(device)
    model.vit.set_grad_checkpointing(recipe.checkpointing)
    net, train, val = _what_trains(model, train, val)
    net = torch.compile(net) if recipe.compile else net
    optimiser = _optimiser(model, recipe)
    run = _Run(model, optimiser, recipe)
    if checkpoint and checkpoint.is_file():
        run.read(checkpoint)
    batches = _batches(len(train), recipe.batch_size, recipe.seed)
    for _ in run.history.steps:
        next(batches)
    start, saved = time.perf_counter() - run.history.seconds, time.perf_counter()
    model.train()
    for step in range(len(run.history.train_loss), recipe.steps):
        phase = run.enter_phase(step)
        batch = [t[next_].to(device) for t, next_ in _pair(train, batches)]
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.autocast):
            loss = _step(net, optimiser, phase.rate_at(step - run.phase_start), batch)
        if not math.isfinite(loss):
            raise Diverged(
                f"training of {model.method!r} diverged: the loss is {loss} at step {step + 1} with learning rate "
                f"{recipe.learning_rate:g}; take a smaller learning_rate."
            )
        run.history.train_loss.append(loss)
        if val is not None and step + 1 in recipe.evaluation_steps:
            run.note_validation(step + 1, evaluate(model, val))
        run.history.seconds = time.perf_counter() - start
        if checkpoint and time.perf_counter() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            run.write(checkpoint)
            saved = time.perf_counter()
        if progress:
            progress(1)
        if watch and watch(run.history):
            break
    run.keep_best()
    model.eval()
    return run.history


@torch.inference_mode()
def evaluate(model: AdaptedModel, data: TensorDataset, batch_size: int = 100) -> Evaluation:
    """Accuracy and loss of `model` on images `N 3 H W` (or `FrozenFeatures` `N F`) and labels `N`."""
    was_training = model.training
    model.eval()
    net = model.rest if isinstance(data, FrozenFeatures) else model
    device = next(model.parameters()).device
    inputs, labels = data.tensors
    logits = torch.cat([net(part.to(device)).float().cpu() for part in inputs.split(batch_size)])  # N C
    model.train(was_training)
    predictions = logits.argmax(dim=1)
    correct = predictions == labels
    return Evaluation(
        accuracy=correct.double().mean().item(),
        loss=F.cross_entropy(logits, labels).item(),
        predictions=predictions.numpy(),
        correct=correct.numpy(),
    )


@torch.no_grad()  # not inference_mode: the head's backward pass needs ordinary tensors
def frozen_features(model: AdaptedModel, data: TensorDataset, batch_size: int = 100) -> FrozenFeatures:
    """Images `N 3 H W` to the output of `model.stem`: features `N F` for a linear probe, else tokens `N T D`."""
    model.to(best_device()).eval()
    inputs, labels = data.tensors
    features = [model.stem(part.to(best_device())).cpu() for part in inputs.split(batch_size)]
    return FrozenFeatures(torch.cat(features), labels)


def _what_trains(
    model: AdaptedModel, train: TensorDataset, val: TensorDataset | None
) -> tuple[Callable[[Tensor], Tensor], TensorDataset, TensorDataset | None]:
    """The network to run and its data: with a frozen stem, only what is above it, on the stem's output."""
    given = isinstance(train, FrozenFeatures)
    if not given and not (model.stem_is_frozen and _may_be_kept(model, train, val)):
        return model, train, val
    return model.rest, _on_stem(model, train), None if val is None else _on_stem(model, val)


def _on_stem(model: AdaptedModel, data: TensorDataset) -> FrozenFeatures:
    return data if isinstance(data, FrozenFeatures) else frozen_features(model, data)


def _may_be_kept(model: AdaptedModel, train: TensorDataset, val: TensorDataset | None) -> bool:
    """Whether the stem's output for all images stays within `MOST_KEPT_BYTES`."""
    if not len(train):
        return True
    one = frozen_features(model, TensorDataset(*(t[:1] for t in train.tensors))).tensors[0]
    return one.numel() * one.element_size() * (len(train) + len(val or ())) <= MOST_KEPT_BYTES


def _optimiser(model: AdaptedModel, recipe: Recipe) -> torch.optim.Optimizer:
    groups = model.parameter_groups(recipe.weight_decay)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    by_kind = [
        group | {"params": kind, "weight_decay": recipe.weight_decay * decays}
        for group in groups
        for decays in (True, False)
        if (kind := [p for p in group["params"] if (p.ndim > 1) is decays])
    ]
    return torch.optim.SGD(by_kind, lr=recipe.learning_rate, momentum=0.9)


def _batches(count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Indices of the batches, without end: a new random order of all items whenever the last one is used up."""
    generator = torch.Generator().manual_seed(seed)
    size = min(batch_size, count)
    rest = torch.empty(0, dtype=torch.long)
    while True:
        if len(rest) < size:
            rest = torch.cat([rest, torch.randperm(count, generator=generator)])
        yield rest[:size]
        rest = rest[size:]


def _pair(data: TensorDataset, batches: Iterator[Tensor]) -> list[tuple[Tensor, Tensor]]:
    indices = next(batches)
    return [(tensor, indices) for tensor in data.tensors]


def _step(net: Callable[[Tensor], Tensor], optimiser: torch.optim.Optimizer, rate: float, batch: list[Tensor]) -> float:
    inputs, labels = batch
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]
    loss = F.cross_entropy(net(inputs), labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.item()


class _Run:
    """The state of one training run: everything that a checkpoint needs so that the run continues unchanged."""

    def __init__(self, model: AdaptedModel, optimiser: torch.optim.Optimizer, recipe: Recipe):
        self.model, self.optimiser, self.recipe = model, optimiser, recipe
        self.history = History()
        self.best: dict[str, Tensor] | None = None
        self.phase_start = 0
        self._first_step = 0

    def enter_phase(self, step: int) -> Recipe:
        """The recipe of the phase of step 0, 1, ...; a phase starts from the best weights of the phase before."""
        phases, steps = self.model.phases, self.recipe.steps
        number = step * len(phases) // steps
        begin, end = (-(-k * steps // len(phases)) for k in (number, number + 1))
        if step == begin and number:
            self.keep_best()
            self.best = None
        if step in (begin, self._first_step):
            self.model.begin_phase(phases[number])
        self.phase_start = begin
        return replace(self.recipe, steps=end - begin)

    def note_validation(self, step: int, found: Evaluation) -> None:
        history = self.history
        earlier = any(done > self.phase_start for done in history.val_steps)
        better = not earlier or (found.accuracy, -found.loss) > (history.best_val_accuracy, -history.best_val_loss)
        history.val_steps.append(step)
        history.val_loss.append(found.loss)
        history.val_accuracy.append(found.accuracy)
        if better:
            history.best_step = step
            last = step == self.recipe.steps
            self.best = None if last else {n: t.clone() for n, t in self.model.trained_state().items()}

    def keep_best(self) -> None:
        if self.best is not None:
            self.model.load_state_dict(self.best, strict=False)
        if not self.history.val_steps:
            self.history.best_step = len(self.history.train_loss)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        torch.save(
            {
                "recipe": asdict(self.recipe),
                "history": asdict(self.history),
                "trained": self.model.trained_state(),
                "best": self.best,
                "optimiser": self.optimiser.state_dict(),
                "random": torch.get_rng_state(),
            },
            part,
        )
        part.replace(path)

    def read(self, path: Path) -> None:
        try:
            stored = torch.load(path, weights_only=True)
        except Exception as error:  # torch raises what its reader, zip or pickle raise
            raise UserError(f"checkpoint {path} cannot be read ({error}): delete it to start the run again.") from error
        if stored["recipe"] != asdict(self.recipe):
            raise UserError(f"checkpoint {path} belongs to another recipe: delete it, or give its recipe.")
        self.history = History(**stored["history"])
        self._first_step = len(self.history.train_loss)
        self.model.load_state_dict(stored["trained"], strict=False)
        self.best = stored["best"]
        self.optimiser.load_state_dict(stored["optimiser"])
        torch.set_rng_state(stored["random"])
