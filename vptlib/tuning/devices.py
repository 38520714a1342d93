"""The devices of one training: one, or several, each with a process that `accelerate launch` or `torchrun` has started.

    with many_devices():
        fit(model, train, val, recipe)

With several, all processes do the same, each on its own device. A step's batch stays that of the recipe. Each process
takes its share of it, and gradients are those of the whole batch. What depends on a clock or on a file is found out by
the first process, and all go on from its answer. So no process waits for a step that another does not take.

With one device nothing is done here, and `accelerate` is not imported. `ManyDevices` has a copy of the model on each
device (Li et al., VLDB 2020, arXiv 2006.15704). `ShardedDevices` shares out weights, gradients and the optimiser's
moments (Zhao et al., VLDB 2023, arXiv 2304.11277): for full fine-tuning of models too large for one device.
"""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vptlib.errors import UserError
from vptlib.tuning.methods import AdaptedModel

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")

# How long processes wait for another one, such as the first when it decodes all images. If a process ends, the launcher
# ends the others at once.
LONGEST_WAIT = timedelta(hours=6)
# Rows that go from device to device at the same time.
ROWS_AT_ONCE = 100


# ---- one device -------------------------------------------------------------------------------------------------


class Network:
    """What gives the logits of a step. On one device it is the network itself."""

    def __init__(self, net: Callable[[Tensor], Tensor]):
        self._net = net

    def __call__(self, inputs: Tensor) -> Tensor:
        return self._net(inputs)

    def part(self, last: bool) -> AbstractContextManager:
        """Around the two passes of a part of a batch: gradients of the devices meet in the last part alone."""
        return nullcontext()


class Devices:
    """One device: the first GPU, or the CPU.

    Attributes:
        count: of devices, each with a process.
        number: of this process, from 0.
        at_once: the most images that a device takes through the network at the same time; None for its whole share.
    """

    count, number = 1, 0

    def __init__(self, at_once: int | None = None):
        self.at_once = at_once

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.number == 0

    @property
    def device(self) -> torch.device:
        """That of this process."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def placed(self, model: AdaptedModel) -> AdaptedModel:
        """The model that is to be trained for `model`: itself, on the device."""
        return model.to(self.device)

    def take_back(self, trained: AdaptedModel, model: AdaptedModel) -> None:
        """Put the weights of `trained`, which was placed for `model`, into `model`."""

    def network(self, model: AdaptedModel, net: Callable[[Tensor], Tensor], inputs: Tensor) -> Network:
        """`net`, a function of the placed model, for training on `inputs`, `N ...`."""
        return Network(net)

    def share_of(self, count: int) -> slice:
        """Which of the `count` images of a batch are for this process.

        Raises:
            UserError: there are more processes than images.
        """
        return slice(0, count)

    def parts(self, inputs: Tensor, labels: Tensor, at_once: int, batch: int) -> list[tuple[Tensor, Tensor, int]]:
        """A share of a batch in parts of `at_once` images: inputs, labels, and how many of them count."""
        pairs = zip(inputs.split(at_once), labels.split(at_once), strict=True)
        return [(part, wanted, len(part)) for part, wanted in pairs]

    def mean(self, number: Tensor) -> Tensor:
        """The mean over the devices."""
        return number

    def begin_step(self, seed: int, step: int) -> None:
        """Make dropout independent between the devices."""

    def from_first(self, find: Callable[[], T]) -> T:
        """What the first process finds; only it calls `find`, and all raise if that raises a `UserError`."""
        return find()

    def have_alike(self, value: Any) -> bool:
        """Whether this value is the same in all processes."""
        return True

    def outputs(self, run: Callable[[Tensor], Tensor], inputs: Tensor, batch_size: int) -> Tensor:
        """`run`, which trains nothing, on all inputs, `batch_size` at a time; the devices share the work."""
        return torch.cat([run(part) for part in inputs.split(batch_size)])

    def note_lack_of_memory(self, images: int, training: bool) -> None:
        """Called when the GPU has no memory for so many images at once, before half as many are tried.

        Raises:
            UserError: the other processes would not follow.
        """

    def whole(self, stored: Any) -> Any:
        """Tensors, in dictionaries and lists, with all their numbers; all processes call it together."""
        return stored

    def shared_out(self, stored: Any, like: Tensor) -> Any:
        """A whole tensor as this process holds one like `like`; what is no tensor of its shape stays."""
        return stored


_IN_USE: ContextVar[Devices | None] = ContextVar("devices", default=None)
ONE_DEVICE = Devices()


def in_use() -> Devices:
    """The devices of the `many_devices` around the caller, or one device."""
    return _IN_USE.get() or ONE_DEVICE


@contextmanager
def many_devices(sharded: bool = False, at_once: int | None = None) -> Iterator[Devices]:
    """Train and evaluate on all devices that the launcher has given a process; with one process, as without.

    All processes must do the same inside. What is done once, such as writing a file, goes under `if devices.is_first`.

    Args:
        sharded: share out weights, gradients and moments over the devices, for full fine-tuning.
        at_once: the most images that a device takes through the network at the same time; by default its whole share
            of a batch. Fewer need less memory, with the same result.

    Yields:
        The devices.

    Raises:
        UserError: `accelerate` is missing, or the processes cannot be those of one training.
    """
    count = _processes()
    if sharded and count < 2:
        raise UserError(
            "sharding needs at least 2 processes, and this is the only one: start with `accelerate launch`, or without "
            "sharding."
        )
    kind = Devices if count < 2 else ShardedDevices if sharded else ManyDevices
    devices = kind(at_once)
    token = _IN_USE.set(devices)
    try:
        yield devices
    finally:
        _IN_USE.reset(token)


def _processes() -> int:
    """How many processes the launcher has started.

    Raises:
        UserError: it was asked for several and has started one: `accelerate launch` without GPUs does that silently.
    """
    if "WORLD_SIZE" not in os.environ and {"ACCELERATE_USE_CPU", "MASTER_PORT"} <= set(os.environ):
        raise UserError(
            "`accelerate launch` was asked for several processes and has started one: give it --multi_gpu, which also "
            "starts several processes on CPUs."
        )
    return int(os.environ.get("WORLD_SIZE", "1"))


# ---- a copy of the model on each device -------------------------------------------------------------------------


@cache
def _accelerator() -> "Accelerator":
    """That of this process. The recipe alone decides on bfloat16, whatever was given to the launcher.

    Raises:
        UserError: `accelerate` is missing, or does not see the processes that the launcher has started.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import InitProcessGroupKwargs
    except ImportError as error:
        raise UserError(
            "a training on several devices needs the package accelerate: pip install 'vptlib[devices]'."
        ) from error
    cpu = not torch.cuda.is_available()  # without it, accelerate makes each process on a CPU the first one
    found = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)])
    if found.num_processes != _processes():
        raise UserError(
            f"the launcher has started {_processes()} processes, but accelerate sees {found.num_processes}: start them "
            "with `accelerate launch` or `torchrun`."
        )
    return found


class ManyDevices(Devices):
    """Several devices, each with a copy of the model."""

    def __init__(self, at_once: int | None = None):
        super().__init__(at_once)
        self._accelerator = _accelerator()
        self.count, self.number = self._accelerator.num_processes, self._accelerator.process_index

    @property
    def device(self) -> torch.device:
        return self._accelerator.device

    def network(self, model: AdaptedModel, net: Callable[[Tensor], Tensor], inputs: Tensor) -> Network:
        return _Joined(model, net, inputs[:1].to(self.device))

    def share_of(self, count: int) -> slice:
        if count < self.count:
            raise UserError(
                f"a batch has {count} images, fewer than the {self.count} processes: start at most {count}, or take a "
                "larger batch_size."
            )
        return slice(count * self.number // self.count, count * (self.number + 1) // self.count)

    def mean(self, number: Tensor) -> Tensor:
        return cast(Tensor, self._accelerator.reduce(number, "mean"))

    def begin_step(self, seed: int, step: int) -> None:
        """From here on torch's random numbers depend on the seed, the step and the number of the process alone."""
        drawn = np.random.SeedSequence((seed, step, self.number)).generate_state(1, np.uint64)
        torch.manual_seed(int(drawn[0]))

    def from_first(self, find: Callable[[], T]) -> T:
        from accelerate.utils import broadcast_object_list

        said: list[Any] = list(_answer(find)) if self.is_first else [None, None]
        broadcast_object_list(said)
        answer, error = said
        if error is not None:
            raise error
        return answer

    def have_alike(self, value: Any) -> bool:
        from accelerate.utils import gather_object

        return all(other == value for other in gather_object([value]))

    def outputs(self, run: Callable[[Tensor], Tensor], inputs: Tensor, batch_size: int) -> Tensor:
        """All shares have the same length: where there are too few inputs, the last one repeats."""
        each = -(-len(inputs) // self.count)
        rows = torch.arange(each * self.number, each * (self.number + 1)).clamp(max=len(inputs) - 1)
        own = torch.cat([run(inputs[part]) for part in rows.split(batch_size)])
        return self._of_all(own).flatten(0, 1)[: len(inputs)]

    def _of_all(self, own: Tensor) -> Tensor:
        """`E ...` of each process to `W E ...` for all; only a few rows at a time are on the devices."""
        found = []
        for part in own.split(ROWS_AT_ONCE):
            gathered = cast(Tensor, self._accelerator.gather(part.to(self.device)))
            found.append(gathered.to(own.device).unflatten(0, (self.count, -1)))
        return torch.cat(found, dim=1)

    def note_lack_of_memory(self, images: int, training: bool) -> None:
        if training:
            raise UserError(
                f"a device has no memory for {images} images at once: give it half as many (at_once, or --at-once)."
            )


def _answer(find: Callable[[], T]) -> tuple[T | None, UserError | None]:
    """What `find` gives or raises, when this process is alone."""
    token = _IN_USE.set(ONE_DEVICE)
    try:
        return find(), None
    except UserError as error:
        return None, error
    finally:
        _IN_USE.reset(token)


class _Joined(Network):
    """The network on this device, whose gradients become the mean over all devices."""

    def __init__(self, model: AdaptedModel, net: Callable[[Tensor], Tensor], sample: Tensor):
        super().__init__(net)
        self._model = model
        self._join(some_are_unused=len(model.phases) > 1 or _leaves_some_unused(model, net, sample))

    def __call__(self, inputs: Tensor) -> Tensor:
        return self._joined(inputs)

    def part(self, last: bool) -> AbstractContextManager:
        if self._training != _names_of_training(self._model):  # another phase has begun
            self._join(some_are_unused=True)
        return nullcontext() if last else self._joined.no_sync()

    def _join(self, some_are_unused: bool) -> None:
        """Give all devices the weights of the first. To look for unused ones at each step takes time."""
        self._training = _names_of_training(self._model)
        module = _AsModule(self._model, self._net)
        self._joined = DistributedDataParallel(module, find_unused_parameters=some_are_unused)


def _leaves_some_unused(model: AdaptedModel, net: Callable[[Tensor], Tensor], sample: Tensor) -> bool:
    """Whether the logits do not depend on all weights that train: some backbones have weights that no head reads."""
    weights = [p for p in model.parameters() if p.requires_grad]
    return any(gradient is None for gradient in torch.autograd.grad(net(sample).sum(), weights, allow_unused=True))


class _AsModule(nn.Module):
    """A function of a model as a module with the model's parameters."""

    def __init__(self, model: AdaptedModel, net: Callable[[Tensor], Tensor]):
        super().__init__()
        self.model = model
        self._net = (net,)  # in a tuple, so that it is not registered a second time

    def forward(self, inputs: Tensor) -> Tensor:
        return self._net[0](inputs)


def _names_of_training(model: AdaptedModel) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


# ---- a share of the model on each device ------------------------------------------------------------------------


class ShardedDevices(ManyDevices):
    """Several devices, each with a share of every weight, of its gradient and of its moments (FSDP2 of torch).

    A block's weights are put together on every device when it is computed, and dropped again. `accelerate` (1.15) does
    the same on GPUs alone, so torch is called itself, and what runs on GPUs is what was tested on CPUs.
    """

    def placed(self, model: AdaptedModel) -> AdaptedModel:
        """A copy with its weights shared out. `model` itself waits in the memory of the machine.

        Raises:
            UserError: a method that does not train all weights from beginning to end.
        """
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        if model.phases != ("all",) or set(model.trained_state()) != {name for name, _ in model.named_parameters()}:
            raise UserError(
                f"method {model.method!r} does not train all weights, so sharding saves little: leave it out, or take "
                "method 'full'."
            )
        self._make_equal(model.to("cpu"))
        shared = copy.deepcopy(model)
        mesh = init_device_mesh(self.device.type, (self.count,))
        for part in (*shared.vit.blocks, shared):
            fully_shard(part, mesh=mesh, reshard_after_forward=True)  # so that between steps no weight is whole
        return shared

    def _make_equal(self, model: AdaptedModel) -> None:
        """Give all processes the weights of the first."""
        from accelerate.utils import broadcast

        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.copy_(cast(Tensor, broadcast(tensor.to(self.device))))

    def take_back(self, trained: AdaptedModel, model: AdaptedModel) -> None:
        model.load_state_dict(self.whole(trained.trained_state()), strict=False)
        model.to(self.device)

    def network(self, model: AdaptedModel, net: Callable[[Tensor], Tensor], inputs: Tensor) -> Network:
        """The parts of a batch give their gradients one by one: whole gradients would need the memory that is saved."""
        return Network(net)

    def parts(self, inputs: Tensor, labels: Tensor, at_once: int, batch: int) -> list[tuple[Tensor, Tensor, int]]:
        """As many parts on each device: where one has an image fewer, a part that does not count may be needed."""
        parts = super().parts(inputs, labels, at_once, batch)
        largest_share = -(-batch // self.count)
        missing = -(-largest_share // at_once) - len(parts)
        return parts + [(inputs[:1], labels[:1], 0)] * missing

    def outputs(self, run: Callable[[Tensor], Tensor], inputs: Tensor, batch_size: int) -> Tensor:
        """Not in inference mode: weights that were put together in it could not train."""
        with torch.inference_mode(False), torch.no_grad():
            return super().outputs(run, inputs, min(batch_size, self.at_once or batch_size))

    def note_lack_of_memory(self, images: int, training: bool) -> None:
        super().note_lack_of_memory(images, training=True)

    def whole(self, stored: Any) -> Any:
        if isinstance(stored, dict):
            return {name: self.whole(value) for name, value in stored.items()}
        if isinstance(stored, list):
            return [self.whole(value) for value in stored]
        return stored.full_tensor().cpu() if hasattr(stored, "full_tensor") else stored

    def shared_out(self, stored: Any, like: Tensor) -> Any:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(stored, Tensor) or stored.shape != like.shape or not isinstance(like, DTensor):
            return stored
        whole = stored.to(self.device)
        return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
