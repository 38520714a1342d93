"""One frozen backbone in memory, and the prompts of many tasks on it.

A task is read, built and checked before anyone sees it. It then takes its name in one step, also where it replaces
another. So an answer comes from the old prompts or from the new ones, never from half of each, and a task that cannot
be loaded changes nothing.

A bank may have a limit of memory. Then the task that was used least recently makes room, and comes back when it is
asked for.
"""
# torch types all that a Module holds as Tensor or Module.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportReturnType=false

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from pathlib import Path
from threading import Lock, RLock
from types import MappingProxyType

import numpy as np
import pandas as pd
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vptlib.errors import UserError
from vptlib.operations.artefact import Artefact, Card, load_model, read_artefact
from vptlib.operations.features import Reference
from vptlib.prompting import eva
from vptlib.prompting.blocks import ViT
from vptlib.prompting.fast import is_plain, prompt_keys_values
from vptlib.prompting.vit import PromptedViT
from vptlib.tuning.backbones import fingerprint
from vptlib.tuning.methods import AdaptedModel

# What Python needs for one module of a model, with its parameters and without their numbers (measured: 2470 to 2760).
MODULE_BYTES = 2500
# Stacked keys and values take at most so much, and never what the limit leaves for tasks.
STACKED_BYTES = 64 * 2**20

Source = Artefact | Path | str


@dataclass(eq=False)
class Resident:
    """A task in memory; its model is not to be changed.

    Attributes:
        name: of the task in the bank.
        card: of the artefact.
        digest: SHA-256 of the artefact's file.
        model: in evaluation mode; nothing of it trains.
        reference: where the features of its test images lie; None in a file of an earlier version.
        bytes: of memory that this task adds: tensors of its own, `keys_values`, the modules of its model, `reference`.
        shares_backbone: whether all weights of the backbone are the shared ones. Full fine-tuning has its own.
        one_pass: whether its images can join a pass of the shared backbone. Else they need one of its own model.
        keys_values: block number → keys and values of its prompts there, `P 2D`; empty without prompts or `one_pass`.
        loaded: when it was loaded, UTC.
        used: when it was last asked for, UTC.
        answers: how many images it has answered.
    """

    name: str
    card: Card
    digest: str
    model: AdaptedModel
    reference: Reference | None
    bytes: int
    shares_backbone: bool
    one_pass: bool
    keys_values: Mapping[int, Tensor]
    loaded: datetime
    used: datetime
    answers: int = 0


class PromptBank:
    """One frozen backbone, shared by all tasks. Any number of threads may use a bank.

    Args:
        vit: the backbone, at its device and type; it is frozen in place and set to evaluation mode.
        most_bytes: how much memory the tasks may need together, the backbone not counted; by default any amount.
        fetch: gives the artefact of a task that is not in memory, from its name. Without it, only what `load` brought
            can be asked for, and a task that had to make room is gone.

    Raises:
        UserError: `most_bytes` is not 1 or more.
    """

    def __init__(self, vit: ViT, most_bytes: int | None = None, fetch: Callable[[str], Source] | None = None):
        if most_bytes is not None and most_bytes < 1:
            raise UserError(f"most_bytes is {most_bytes}, but must be 1 or more: the memory for tasks, in bytes.")
        self.vit = vit.requires_grad_(False).eval()
        self._most_bytes = most_bytes
        self._fetch = fetch
        self._residents: Mapping[str, Resident] = MappingProxyType({})  # replaced as a whole, never changed
        self._stacks = _Stacks()
        self._changing = Lock()  # held for moments, by whoever changes what is above
        self._loading = RLock()  # held while a task is read and built, so that two threads do not load it twice

    # ---- what comes and goes ------------------------------------------------------------------------------------

    def load(self, name: str, source: Source) -> Resident:
        """Read, build and check a task; then give it its name, in place of a task that had it.

        Args:
            name: of the task in this bank.
            source: the artefact, or the path of its file.

        Raises:
            UserError: an artefact that is missing, damaged or of another backbone, or that needs more than
                `most_bytes`. The bank is then as it was.
        """
        if not isinstance(name, str) or not name:
            raise UserError(f"the name of a task is {name!r}, but must be text that is not empty.")
        with self._loading:
            new = self._built(name, source)
            self._publish(new)
        return new

    def unload(self, name: str) -> None:
        """Take a task out of memory. A batch that has begun with it ends with it.

        Raises:
            UserError: it is not in memory.
        """
        with self._changing:
            if name not in self._residents:
                raise UserError(self._is_unknown(name))
            self._replace({other: task for other, task in self._residents.items() if other != name})

    # ---- what is there ------------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """Of the backbone; artefacts of another one are refused."""
        return fingerprint(self.vit)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tasks in memory."""
        return tuple(self._residents)

    @property
    def bytes(self) -> int:
        """Memory that the tasks add to the backbone, with what is kept for batches of several tasks."""
        with self._changing:
            return _bytes_of(self._residents) + self._stacks.bytes

    def snapshot(self) -> Mapping[str, Resident]:
        """The tasks in memory by name. It stays as it is while tasks come and go."""
        return self._residents

    def resident(self, name: str) -> Resident:
        """The task of this name, fetched first if it is not in memory.

        Raises:
            UserError: there is no such task, or it cannot be loaded.
        """
        return self.residents([name])[name]

    def residents(self, names: Iterable[str]) -> dict[str, Resident]:
        """Each task that is named, once. Whoever holds them can use them to the end, also when they make room.

        Raises:
            UserError: there is no such task, or it cannot be loaded.
        """
        wanted, present, now = dict.fromkeys(names), self._residents, datetime.now(UTC)
        for name in wanted.keys() & present.keys():
            present[name].used = now  # before others are fetched: these are not to make room for them
        return {name: present.get(name) or self._fetched(name) for name in wanted}

    def count(self, images: Mapping[Resident, int]) -> None:
        """Note how many images each task has answered."""
        with self._changing:
            for task, number in images.items():
                task.answers += number

    def report(self) -> pd.DataFrame:
        """A row for each task in memory, the last used one first; columns as the attributes of `Resident`."""
        rows = [
            {"name": task.name, "method": task.card.method, "classes": len(task.card.class_names)}
            | {"bytes": task.bytes, "shares_backbone": task.shares_backbone, "one_pass": task.one_pass}
            | {"answers": task.answers, "loaded": task.loaded, "used": task.used, "digest": task.digest}
            for task in sorted(self._residents.values(), key=lambda task: task.used, reverse=True)
        ]
        columns = ["name", "method", "classes", "bytes", "shares_backbone", "one_pass", "answers", "loaded", "used"]
        return pd.DataFrame(rows, columns=[*columns, "digest"])

    def stacked(self, tasks: tuple[Resident, ...], block: int) -> Tensor:
        """Keys and values of the prompts of T tasks at a block, `T P 2D`; all of them have P prompts there.

        They are kept for the next batch of the same tasks, as long as all of these are in memory.
        """
        with self._changing:
            found = self._stacks.get(block, tasks)
        if found is not None:
            return found
        made = torch.stack([task.keys_values[block] for task in tasks])  # T P 2D
        with self._changing:
            if all(self._residents.get(task.name) is task for task in tasks):
                self._stacks.put(block, tasks, made)
        return made

    # ---- how ----------------------------------------------------------------------------------------------------

    def _fetched(self, name: str) -> Resident:
        with self._loading:
            present = self._residents.get(name)  # perhaps another thread has just loaded it
            if present is not None:
                return present
            if self._fetch is None:
                raise UserError(self._is_unknown(name))
            return self.load(name, self._fetch(name))

    @torch.inference_mode(False)
    @torch.no_grad()
    def _built(self, name: str, source: Source) -> Resident:
        """A task that is whole, and whose canaries were right; nobody else sees it yet."""
        artefact = source if isinstance(source, Artefact) else read_artefact(source)
        model = load_model(artefact, self.vit, self.fingerprint).requires_grad_(False).eval()
        _copy_own(model, self.vit)
        kept, one_pass, now = _kept_keys_values(model), _can_join(model, self.vit), datetime.now(UTC)
        return Resident(
            name=name,
            card=artefact.card,
            digest=artefact.digest,
            model=model,
            reference=artefact.reference,
            bytes=_own_bytes(model, self.vit) + _nbytes(kept.values()) + _bytes_of_reference(artefact.reference),
            shares_backbone=_shares_weights(model.vit, self.vit),
            one_pass=one_pass,
            keys_values=MappingProxyType(kept if one_pass else {}),
            loaded=now,
            used=now,
        )

    def _publish(self, new: Resident) -> None:
        with self._changing:
            others = {name: task for name, task in self._residents.items() if name != new.name}
            self._replace(self._those_with_room_for(new, others) | {new.name: new})

    def _those_with_room_for(self, new: Resident, others: dict[str, Resident]) -> dict[str, Resident]:
        """The tasks that may stay: those that were used least recently make room."""
        if self._most_bytes is None:
            return others
        if new.bytes > self._most_bytes:
            raise UserError(
                f"task {new.name!r} needs {new.bytes:,} bytes of memory, but most_bytes is {self._most_bytes:,}: allow "
                "more, or take a method that leaves the backbone as it is."
            )
        excess = _bytes_of(others) + new.bytes - self._most_bytes
        for task in sorted(others.values(), key=lambda task: task.used):
            if excess > 0:
                excess -= others.pop(task.name).bytes
        return others

    def _replace(self, residents: dict[str, Resident]) -> None:
        """Make `residents` the tasks in memory, and forget what was made from others."""
        self._residents = MappingProxyType(residents)
        room = STACKED_BYTES if self._most_bytes is None else self._most_bytes - _bytes_of(residents)
        self._stacks.keep(set(residents.values()), min(STACKED_BYTES, room))

    def _is_unknown(self, name: str) -> str:
        names = list(self._residents)
        has = f"it has {', '.join(names[:10])}{', …' if len(names) > 10 else ''}" if names else "it is empty"
        return f"task {name!r} is not in this bank: {has}; load it first."


def _nbytes(parts: Iterable[Tensor | np.ndarray]) -> int:
    return sum(part.nbytes for part in parts)


def _bytes_of_reference(reference: Reference | None) -> int:
    return 0 if reference is None else _nbytes((reference.centre, reference.basis, reference.coordinates))


def _bytes_of(tasks: Mapping[str, Resident]) -> int:
    return sum(task.bytes for task in tasks.values())


class _Stacks:
    """Stacked keys and values `T P 2D` by block and tasks; those used least recently make room for others."""

    def __init__(self):
        self.bytes = 0
        self._room = STACKED_BYTES
        self._stacks: OrderedDict[tuple, Tensor] = OrderedDict()  # the last used one last

    def get(self, block: int, tasks: tuple[Resident, ...]) -> Tensor | None:
        found = self._stacks.get((block, *tasks))
        if found is not None:
            self._stacks.move_to_end((block, *tasks))
        return found

    def put(self, block: int, tasks: tuple[Resident, ...], made: Tensor) -> None:
        """Keep a stack, if there is room for it at all and no other thread has made it."""
        if made.nbytes <= self._room and (block, *tasks) not in self._stacks:
            self._stacks[block, *tasks] = made
            self.bytes += made.nbytes
            self._shrink()

    def keep(self, tasks: set[Resident], room: int) -> None:
        """Keep the stacks of these tasks alone, in so many bytes."""
        self._room = room
        for key in [key for key in self._stacks if not tasks.issuperset(key[1:])]:
            self.bytes -= self._stacks.pop(key).nbytes
        self._shrink()

    def _shrink(self) -> None:
        while self.bytes > self._room:
            self.bytes -= self._stacks.popitem(last=False)[1].nbytes


# ---- what a model adds to its backbone ----------------------------------------------------------------------------


def _can_join(model: AdaptedModel, shared: ViT) -> bool:
    """Whether a pass of the shared backbone, with the model's prompts as keys and values, gives the model's numbers."""
    if not _has_fast_form(shared) or not _is_untouched(model.vit, shared):
        return False
    net = model.in_use
    if type(net) is PromptedViT:
        return net.uses_fast_form or net.num_prompts == 0
    return net is model.vit and _runs_as_timms(shared)


def _kept_keys_values(model: AdaptedModel) -> dict[int, Tensor]:
    """Keys and values `P 2D` of a model's prompts by block; the model keeps the very same."""
    net = model.in_use
    if not isinstance(net, PromptedViT) or not net.uses_fast_form:
        return {}
    halves = eva.halves if isinstance(model.vit, Eva) else None
    return {number: prompt_keys_values(net, number, 1, halves) for number in net.layers}


def _has_fast_form(vit: ViT) -> bool:
    """Whether the fast form of prompting is exact in all blocks."""
    return all(map(is_plain, vit.blocks)) or all(map(eva.is_plain_eva, vit.blocks))


def _runs_as_timms(vit: ViT) -> bool:
    """Whether a ViT embeds, runs its blocks, normalises and reads, as timm's own classes do; a subclass may not."""
    own = Eva if isinstance(vit, Eva) else VisionTransformer
    return type(vit).forward is own.forward and type(vit).forward_features is own.forward_features


def _is_untouched(own: ViT, shared: ViT) -> bool:
    """Whether a backbone has the modules and the very tensors of the shared one; its head may be another."""
    return dict(_parts(own)) == dict(_parts(shared))


def _parts(vit: ViT) -> Iterator[tuple[str, object]]:
    """Kind of each module and address of each tensor, by name, without the head's."""
    for name, part in chain(vit.named_modules(), vit.named_parameters(), vit.named_buffers()):
        if not _is_of_head(name):
            yield name, _address(part) if isinstance(part, Tensor) else type(part)


def _shares_weights(own: ViT, shared: ViT) -> bool:
    """Whether all weights of the shared backbone are used, perhaps among others."""
    here = {_address(tensor) for tensor in own.parameters()}
    return all(_address(p) in here for name, p in shared.named_parameters() if not _is_of_head(name))


def _is_of_head(name: str) -> bool:
    return name.split(".")[0] in ("head", "head_dist")


def _copy_own(model: AdaptedModel, shared: ViT) -> None:
    """Move what is not the backbone's to memory of its own: a tensor that was read may be the very file, mapped."""
    for tensor in _own_tensors(model, shared):
        tensor.data = tensor.data.clone()


def _own_bytes(model: AdaptedModel, shared: ViT) -> int:
    """Memory of the tensors that are not the backbone's, and of all modules."""
    modules = sum(1 for _ in model.modules())
    return _nbytes(_own_tensors(model, shared)) + MODULE_BYTES * modules


def _own_tensors(model: AdaptedModel, shared: ViT) -> list[Tensor]:
    theirs = {_address(tensor) for tensor in _tensors(shared)}
    return [tensor for tensor in _tensors(model) if _address(tensor) not in theirs]


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


def _address(tensor: Tensor) -> tuple:
    return tensor.data_ptr(), tensor.dtype, tensor.shape
