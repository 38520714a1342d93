"""One plain training loop for every method, and one evaluation.

AdamW (or SGD, for the published rules) with linear warm-up. Then there are two schedules:

    fixed     the rate falls as a cosine to 0 over a fixed number of optimiser steps
    patience  the rate stays until validation data show no more progress, then it falls linearly to 0 (Hägele et al.,
              NeurIPS 2024, arXiv 2405.18392, section 3); `steps` is then the largest number of steps

The weights that did best on validation data are kept. Layers below everything that trains (the whole backbone of a
linear probe, the blocks before the first late prompt) are computed once per image.

The same loop trains on several devices, inside `vptlib.tuning.devices.many_devices`.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from vptlib.errors import UserError
from vptlib.paths import whole_file
from vptlib.signs_of_life import moved
from vptlib.tuning.augmentation import AUGMENTATIONS, NONE, augmented
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.devices import ONE_DEVICE, Devices, in_use
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.precision import frozen_in_bfloat16

SECONDS_BETWEEN_CHECKPOINTS = 60
# Most bytes for the kept tokens of frozen blocks. If all images need more, the tokens are computed again at each step.
MOST_KEPT_BYTES = 2 * 2**30
OPTIMISERS = ("adamw", "sgd")
# Why a training ended: validation data showed no more progress, the steps were used up, or a solver converged.
FINISHED, LIMIT, SOLVED = "done", "limit", "solved"
# With patience, a validation loss counts as progress if it is lower than the lowest before by this share of it.
LEAST_PROGRESS = 0.01


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
        autocast: compute in bfloat16 where that is safe (`vptlib.tuning.precision` has where it pays). A run whose loss
            is not finite in it starts again in float32.
        compile: run the model through `torch.compile`; for long runs on GPUs.
        checkpointing: keep only each block's input; the backward pass computes the rest again: less memory, more time.
        optimiser: "adamw", or "sgd" with momentum 0.9.
        patience: None for the fixed schedule; or how many evaluations in a row may pass without progress (a higher
            accuracy, or a loss lower by `LEAST_PROGRESS`) before the rate falls and training ends.
        cooldown: with patience, the steps in which the rate falls, as a share of the steps before.
        fused: one kernel for all of AdamW: the same numbers but for rounding, in less time.
        augmentation: one of `vptlib.tuning.augmentation.AUGMENTATIONS`, of training images. A model with a frozen stem
            trains without, also where its images are too many to keep the stem's output of all.
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
    patience: int | None = None
    cooldown: float = 0.2
    fused: bool = False
    augmentation: str = NONE

    def __post_init__(self):
        for name, offered in (("optimiser", OPTIMISERS), ("augmentation", AUGMENTATIONS)):
            if getattr(self, name) not in offered:
                raise UserError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(offered)}.")

    def rate_at(self, step: int, falls_from: int | None = None) -> float:
        """Learning rate of step 0, 1, ... steps - 1.

        Args:
            falls_from: with patience, the step from which the rate falls, if that is known yet.
        """
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        if self.patience is not None:
            if falls_from is None or step < falls_from:
                return self.learning_rate
            length = self.end_of(falls_from) - falls_from
            return self.learning_rate * (1 - (step - falls_from + 1) / (length + 1))
        done = (step - rising) / max(1, self.steps - rising)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def end_of(self, falls_from: int) -> int:
        """With patience, the number of steps after which training ends if the rate falls from step `falls_from`."""
        return min(self.steps, falls_from + max(1, round(self.cooldown * falls_from)))

    def fall(self, history: "History", start: int = 0) -> tuple[int | None, str]:
        """With patience: the step from which the rate falls, or None if it does not fall yet; and why.

        Args:
            history: of the training so far.
            start: steps before this one do not count: they belong to an earlier phase.

        Returns:
            The step counts from `start`. The reason is `FINISHED`, or `LIMIT` if only the last steps are left.
        """
        best_loss, best_accuracy, waited = math.inf, -1.0, 0
        for step, loss, accuracy in zip(history.val_steps, history.val_loss, history.val_accuracy, strict=True):
            if step <= start:
                continue
            waited = 0 if accuracy > best_accuracy or loss < (1 - LEAST_PROGRESS) * best_loss else waited + 1
            best_loss, best_accuracy = min(best_loss, loss), max(best_accuracy, accuracy)
            if waited == self.patience and step - start < self.latest_fall:
                return step - start, FINISHED
        return (self.latest_fall, LIMIT) if len(history.train_loss) - start >= self.latest_fall else (None, LIMIT)

    @property
    def latest_fall(self) -> int:
        """With patience, the step from which the rate falls at the latest."""
        return max(0, self.steps - max(1, round(self.cooldown * self.steps / (1 + self.cooldown))))

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
    stopped: str = ""  # FINISHED, LIMIT or SOLVED
    precision: str = ""  # "fp32" or "bf16" for training by steps

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
    """Accuracy (a fraction), mean cross-entropy, and for each item the predicted class and whether it is right.

    `probabilities` are those of all classes, float32 `N C`, or None where nobody asked for them.
    """

    accuracy: float
    loss: float
    predictions: np.ndarray
    correct: np.ndarray
    probabilities: np.ndarray | None = None


class FrozenFeatures(TensorDataset):
    """Output of `model.stem` in place of images (features `N F` or tokens `N T D`), and labels `N`."""


def best_device() -> torch.device:
    """The first CUDA device, or the CPU; among many devices, that of this process."""
    return in_use().device


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
    training = Training(model, train, val, recipe, checkpoint)
    training.advance(recipe.steps, progress, watch)
    return training.finish()


class Training:
    """One training run that may be taken in parts, such as beside others of which only the best go on.

    Args:
        model, train, val, recipe, checkpoint: as for `fit`.

    Attributes:
        history: of the steps so far.

    Raises:
        UserError: patience without validation data.
    """

    def __init__(
        self,
        model: AdaptedModel,
        train: TensorDataset,
        val: TensorDataset | None,
        recipe: Recipe,
        checkpoint: Path | None = None,
    ):
        if recipe.patience is not None and not val:
            raise UserError("training with patience needs validation images: give val, or patience=None.")
        self.model, self.recipe = model, recipe
        self._checkpoint = checkpoint
        self._devices = in_use()
        self._device = self._devices.device
        self._share = self._devices.share_of(min(recipe.batch_size, len(train)))
        self._trained = self._devices.placed(model)  # `model` itself, unless its weights are shared out
        self._trained.vit.set_grad_checkpointing(recipe.checkpointing)
        self._augmented = _augmentation(model, train, recipe)
        net, self._train, self._val = _what_trains(self._trained, train, val)
        net = torch.compile(net) if recipe.compile else net
        self._net = self._devices.network(self._trained, net, self._train.tensors[0])
        # fewer where the GPU has no memory for so many images
        self._at_once = min(recipe.batch_size, self._devices.at_once or recipe.batch_size)
        self._random: Tensor | None = None  # the state of torch's random numbers between two parts
        self._first = _copies(self._trained) if recipe.autocast else {}, torch.get_rng_state()
        self._begin("bf16" if recipe.autocast else "fp32")
        if checkpoint and self._devices.from_first(checkpoint.is_file):
            self._run.read(checkpoint)
        for _ in self.history.steps:
            next(self._batches)

    def _begin(self, precision: str) -> None:
        self._optimiser = _optimiser(self._trained, self.recipe)
        self._run = _Run(self._trained, self._optimiser, self.recipe, self._devices)
        self._run.history.precision = precision
        self._batches = _batches(len(self._train), self.recipe.batch_size, self.recipe.seed)

    @property
    def history(self) -> History:
        return self._run.history

    @property
    def is_over(self) -> bool:
        """Whether the last step has been taken."""
        return len(self.history.train_loss) >= self._run.last_step

    def advance(
        self,
        until: int,
        progress: Callable[[int], None] | None = None,
        watch: Callable[[History], bool] | None = None,
    ) -> None:
        """Train to step `until`, or to the end if that comes before.

        Raises:
            Diverged: as for `fit`.
        """
        if self._random is not None:
            torch.set_rng_state(self._random)
        try:
            self._advance(until, progress, watch)
        except Diverged:
            if not self._uses_bf16:
                raise
            self._begin_again_in_fp32()
            self._advance(until, progress, watch)
        self._random = torch.get_rng_state()

    def _advance(
        self, until: int, progress: Callable[[int], None] | None, watch: Callable[[History], bool] | None
    ) -> None:
        with self._weights_in_use():
            self._steps(until, progress, watch)

    def _steps(
        self, until: int, progress: Callable[[int], None] | None, watch: Callable[[History], bool] | None
    ) -> None:
        run, history, agreed = self._run, self.history, self._devices.from_first
        start, saved = time.perf_counter() - history.seconds, time.perf_counter()
        self._trained.train()
        while len(history.train_loss) < min(until, run.last_step):
            step = len(history.train_loss)
            history.train_loss.append(self._one_step(step))
            if self._val is not None and run.evaluates_after(step + 1):
                run.note_validation(step + 1, self._validated(self._val))
            history.seconds = time.perf_counter() - start
            if self._checkpoint and agreed(partial(_is_old, saved)):
                run.write(self._checkpoint)
                saved = time.perf_counter()
            if progress:
                progress(1)
            if watch and agreed(partial(watch, history)):
                break

    def _validated(self, val: TensorDataset) -> Evaluation:
        with self._arithmetic():
            found = evaluate(self._trained, val)
        return self._devices.from_first(lambda: found)

    def save(self) -> None:
        """Write the checkpoint now, if there is a file for it."""
        if self._checkpoint:
            self._run.write(self._checkpoint)

    def finish(self) -> History:
        """Put the weights that did best on validation data into the model, without a further step."""
        self._run.keep_best()
        self._devices.take_back(self._trained, self.model)
        self.history.stopped = self._run.reason
        self.model.eval()
        return self.history

    def _one_step(self, step: int) -> float:
        moved()
        rate = self._run.enter_phase(step)
        batch = next(self._batches)
        inputs, labels = (tensor[batch[self._share]].to(self._device) for tensor in self._train.tensors)
        for group in self._optimiser.param_groups:
            group["lr"] = rate * group["share"]
        self._devices.begin_step(self.recipe.seed, step)
        loss = self._loss(self._augmented(inputs, step, len(batch), self._share), labels, len(batch))
        self._optimiser.step()
        loss = loss.item()
        if not math.isfinite(loss):
            raise Diverged(
                f"training of {self.model.method!r} diverged: the loss is {loss} at step {step + 1} with learning rate "
                f"{self.recipe.learning_rate:g}; take a smaller learning_rate."
            )
        return loss

    def _loss(self, inputs: Tensor, labels: Tensor, batch: int) -> Tensor:
        """Mean loss of a batch of so many images, and its gradients, from the share of this device.

        Fewer images are taken at once where memory is too small for all.
        """
        try:
            return self._loss_in_parts(inputs, labels, batch)
        except torch.OutOfMemoryError:
            pass  # what the failed attempt holds is freed only after this block
        self._at_once = _fewer(min(self._at_once, len(inputs)), self._devices, training=True)
        return self._loss(inputs, labels, batch)

    def _loss_in_parts(self, inputs: Tensor, labels: Tensor, batch: int) -> Tensor:
        self._optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device)
        parts, devices = self._devices.parts(inputs, labels, self._at_once, batch), self._devices.count
        for number, (part, wanted, images) in enumerate(parts, start=1):
            with self._net.part(last=number == len(parts)):
                # gradients become the mean over the devices
                loss = F.cross_entropy(self._logits(part), wanted) * (images * devices / batch)
                loss.backward()
            total = total + loss.detach()
        return self._devices.mean(total)

    def _logits(self, inputs: Tensor) -> Tensor:
        with self._arithmetic():
            logits = self._net(inputs)
        return logits.float() if logits.dtype == torch.bfloat16 else logits

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._uses_bf16)

    @property
    def _uses_bf16(self) -> bool:
        return self.history.precision == "bf16"

    def _weights_in_use(self) -> AbstractContextManager:
        if not self._uses_bf16:
            return nullcontext()
        return frozen_in_bfloat16(self._trained, frozenset(self._trained.trained_state()))

    def _begin_again_in_fp32(self) -> None:
        _report_once(f"The loss of {self.model.method!r} is not finite in bfloat16: the run starts again in float32.")
        weights, random = self._first
        self._trained.load_state_dict(weights, strict=False)
        torch.set_rng_state(random)
        self._begin("fp32")


def _is_old(saved: float) -> bool:
    """Whether the checkpoint of that moment (as `time.perf_counter` counts) is to be replaced."""
    return time.perf_counter() - saved > SECONDS_BETWEEN_CHECKPOINTS


def _copies(model: AdaptedModel) -> dict[str, Tensor]:
    """The trained tensors as they are now."""
    return {name: tensor.clone() for name, tensor in model.trained_state().items()}


def _fewer(images: int, devices: Devices, training: bool = False) -> int:
    """Half as many images, after the GPU had no memory for so many.

    Raises:
        UserError: one image is too much, or other devices would not follow.
    """
    devices.note_lack_of_memory(images, training)
    if images == 1:
        raise UserError("the memory of the GPU is too small for one image: take a smaller image_size or backbone.")
    half = -(-images // 2)
    _report_once(f"The GPU has no memory for {images} images at once: it takes {half}, with the same result.")
    torch.cuda.empty_cache()
    return half


@cache
def _report_once(text: str) -> None:
    if in_use().is_first:
        print(text, file=sys.stderr)


@torch.inference_mode()
def evaluate(model: AdaptedModel, data: TensorDataset, batch_size: int = 100) -> Evaluation:
    """Accuracy and loss of `model` on images `N 3 H W` (or `FrozenFeatures` `N F`) and labels `N`."""
    was_training = model.training
    model.eval()
    kept = isinstance(data, FrozenFeatures)
    net = model.rest if kept else model
    device = next(model.parameters()).device
    devices = ONE_DEVICE if kept and model.features_are_frozen else in_use()  # a head alone is not worth sharing
    inputs, labels = data.tensors
    logits = _in_batches(lambda part: net(part.to(device)).float().cpu(), inputs, batch_size, devices)  # N C
    model.train(was_training)
    predictions = logits.argmax(dim=1)
    correct = predictions == labels
    return Evaluation(
        accuracy=correct.double().mean().item(),
        loss=F.cross_entropy(logits, labels).item(),
        predictions=predictions.numpy(),
        correct=correct.numpy(),
        probabilities=logits.softmax(dim=1).numpy(),
    )


@torch.no_grad()  # not inference_mode: the head's backward pass needs ordinary tensors
def frozen_features(model: AdaptedModel, data: TensorDataset, batch_size: int = 100) -> FrozenFeatures:
    """Images `N 3 H W` to the output of `model.stem`: features `N F` for a linear probe, else tokens `N T D`."""
    model.to(best_device()).eval()
    inputs, labels = data.tensors
    features = _in_batches(lambda part: model.stem(part.to(best_device())).cpu(), inputs, batch_size, in_use())
    return FrozenFeatures(features, labels)


def _in_batches(run: Callable[[Tensor], Tensor], inputs: Tensor, batch_size: int, devices: Devices) -> Tensor:
    """`run` on all inputs, a batch at once, or less where the GPU has no memory for it."""

    def alive(part: Tensor) -> Tensor:
        moved()
        return run(part)

    try:
        return devices.outputs(alive, inputs, batch_size)
    except torch.OutOfMemoryError:
        pass
    return _in_batches(run, inputs, _fewer(min(batch_size, len(inputs)), devices), devices)


def _what_trains(
    model: AdaptedModel, train: TensorDataset, val: TensorDataset | None
) -> tuple[Callable[[Tensor], Tensor], TensorDataset, TensorDataset | None]:
    """The network to run and its data: with a frozen stem, only what is above it, on the stem's output."""
    given = isinstance(train, FrozenFeatures)
    if not given and not (model.stem_is_frozen and may_be_kept(model, train, val)):
        return model, train, val
    return model.rest, _on_stem(model, train), None if val is None else _on_stem(model, val)


def _augmentation(
    model: AdaptedModel, train: TensorDataset, recipe: Recipe
) -> Callable[[Tensor, int, int, slice], Tensor]:
    """What makes of the images of a step, `B 3 H W`, those that the model sees; they may be a share of its batch.

    A frozen stem sees each image once, so a model that has one trains on the images as they are. The same holds where
    memory is too small to keep the stem's output: the result must not depend on memory.
    """
    if recipe.augmentation == NONE or model.stem_is_frozen or isinstance(train, FrozenFeatures):
        return lambda images, *_: images
    expected = preprocessing(model.vit)
    black = -torch.tensor(expected.mean) / torch.tensor(expected.std)  # 3
    return lambda images, step, batch, share: augmented(
        images, recipe.augmentation, recipe.seed, step, black, batch, share
    )


def _on_stem(model: AdaptedModel, data: TensorDataset) -> FrozenFeatures:
    return data if isinstance(data, FrozenFeatures) else frozen_features(model, data)


def may_be_kept(model: AdaptedModel, train: TensorDataset, val: TensorDataset | None) -> bool:
    """Whether the stem's output for all images stays within `MOST_KEPT_BYTES`."""
    if not len(train):
        return True
    one = frozen_features(model, TensorDataset(*(t[:1] for t in train.tensors))).tensors[0]
    return one.numel() * one.element_size() * (len(train) + len(val or ())) <= MOST_KEPT_BYTES


def _optimiser(model: AdaptedModel, recipe: Recipe) -> torch.optim.Optimizer:
    groups = model.parameter_groups(recipe.weight_decay)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=recipe.fused or None)
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


class _Run:
    """The state of one training run: everything that a checkpoint needs so that the run continues unchanged."""

    def __init__(self, model: AdaptedModel, optimiser: torch.optim.Optimizer, recipe: Recipe, devices: Devices):
        self.model, self.optimiser, self.recipe, self._devices = model, optimiser, recipe, devices
        self.history = History()
        self.best: dict[str, Tensor] | None = None
        self.phase_start = 0
        self.falls_from: int | None = None  # with patience: the step of the last phase from which the rate falls
        self.reason = LIMIT
        self._first_step = 0

    def enter_phase(self, step: int) -> float:
        """The learning rate of step 0, 1, ...; a phase starts from the best weights of the phase before."""
        self.look_for_fall()
        phases, steps = self.model.phases, self.recipe.steps
        number = step * len(phases) // steps
        begin, end = (-(-k * steps // len(phases)) for k in (number, number + 1))
        if step == begin and number:
            self.keep_best()
            self.best = None
        if step in (begin, self._first_step):
            self.model.begin_phase(phases[number])
        self.phase_start = begin
        recipe = replace(self.recipe, steps=end - begin)
        if number < len(phases) - 1:  # patience is for the last phase; those before have their share of the steps
            recipe = replace(recipe, patience=None)
        return recipe.rate_at(step - begin, self.falls_from)

    @property
    def _last_phase(self) -> tuple[Recipe, int]:
        """The recipe of the last phase, and the number of steps before it."""
        count, steps = len(self.model.phases), self.recipe.steps
        begin = -(-(count - 1) * steps // count)
        return replace(self.recipe, steps=steps - begin), begin

    @property
    def last_step(self) -> int:
        """After how many steps training ends, as far as that is known."""
        if self.falls_from is None:
            return self.recipe.steps
        recipe, begin = self._last_phase
        return begin + recipe.end_of(self.falls_from)

    def evaluates_after(self, steps: int) -> bool:
        """Whether validation data are evaluated after so many steps."""
        return steps in self.recipe.evaluation_steps or (self.recipe.patience is not None and steps == self.last_step)

    def look_for_fall(self) -> None:
        """With patience, find out whether the rate falls from here on."""
        if self.recipe.patience is not None and self.falls_from is None:
            recipe, begin = self._last_phase
            if len(self.history.train_loss) > begin:
                self.falls_from, self.reason = recipe.fall(self.history, begin)

    def note_validation(self, step: int, found: Evaluation) -> None:
        history = self.history
        earlier = any(done > self.phase_start for done in history.val_steps)
        better = not earlier or (found.accuracy, -found.loss) > (history.best_val_accuracy, -history.best_val_loss)
        history.val_steps.append(step)
        history.val_loss.append(found.loss)
        history.val_accuracy.append(found.accuracy)
        if better:
            history.best_step = step
            last = step == self.recipe.steps and self.recipe.patience is None
            self.best = None if last else {n: t.clone() for n, t in self.model.trained_state().items()}

    def keep_best(self) -> None:
        if self.best is not None:
            self.model.load_state_dict(self.best, strict=False)
        if not self.history.val_steps:
            self.history.best_step = len(self.history.train_loss)

    def write(self, path: Path) -> None:
        stored = self._devices.whole(
            {
                "recipe": asdict(self.recipe),
                "history": asdict(self.history),
                "trained": self.model.trained_state(),
                "best": self.best,
                "optimiser": self.optimiser.state_dict(),
                "random": torch.get_rng_state(),
            }
        )
        if self._devices.is_first:
            with whole_file(path) as part:
                torch.save(stored, part)

    def read(self, path: Path) -> None:
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises what its reader, zip or pickle raise
            raise UserError(f"checkpoint {path} cannot be read ({error}): delete it to start the run again.") from error
        if Recipe(**stored["recipe"]) != self.recipe:
            raise UserError(f"checkpoint {path} belongs to another recipe: delete it, or give its recipe.")
        self.history = History(**stored["history"])
        self._first_step = len(self.history.train_loss)
        self.model.load_state_dict(self._held(stored["trained"]), strict=False)
        self.best = stored["best"] and self._held(stored["best"])
        self.optimiser.load_state_dict(self._held_moments(stored["optimiser"]))
        torch.set_rng_state(stored["random"])
        self.look_for_fall()

    def _held(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Whole weights as this process holds them."""
        like = dict(self.model.named_parameters())
        return {name: self._devices.shared_out(tensor, like[name]) for name, tensor in weights.items()}

    def _held_moments(self, stored: dict) -> dict:
        """The state of the optimiser with its tensors as this process holds them."""
        like = [p for group in self.optimiser.param_groups for p in group["params"]]
        states = {
            number: {name: self._devices.shared_out(value, like[number]) for name, value in state.items()}
            for number, state in stored["state"].items()
        }
        return stored | {"state": states}
