"""Images of many tasks in one batch, each under its own prompts and its own head.

The backbone is frozen and the same for all, so one pass serves the whole batch. Deep prompts join it as further keys
and values (`vptlib.prompting.fast`), which differ from image to image here. Norms and MLPs run once for all images,
and attention once for all images with the same number of prompts. A task without prompts has zero of them.

A task that changes the backbone, or whose prompts travel from block to block, has a pass of its own.
"""
# torch types all that a Module holds as Tensor or Module.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from timm.models.eva import EvaBlock
from torch import Tensor, nn

from vptlib.errors import UserError
from vptlib.operations.bank import PromptBank, Resident
from vptlib.operations.features import logits_and_features, read_by_head
from vptlib.prompting.blocks import embed, rotations, rotations_of, tokens_read
from vptlib.prompting.eva import turned_attention
from vptlib.prompting.fast import prompted_attention


@dataclass(frozen=True, eq=False)
class Answered:
    """What a task gives for one image.

    Attributes:
        task: that computed it; the bank may have another one of this name by now.
        logits: `C`, of the classes in the task's card.
        features: `F`, what the head read, as in `vptlib.operations.features`.
    """

    task: Resident
    logits: Tensor
    features: Tensor


Both = tuple[Tensor, Tensor]  # logits `R C` and features `R F`


class MultiTaskPredictor:
    """Answers for images of any tasks of a bank, the same numbers as one image and one task at a time give.

    Args:
        bank: the tasks and their backbone. A batch keeps the tasks that it began with, also when they are replaced.
    """

    def __init__(self, bank: PromptBank):
        self.bank = bank

    def logits(self, images: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Logits of each image for its own task: B tensors, as `answers` takes images and names."""
        return [answered.logits for answered in self.answers(images, names)]

    def answers(self, images: Tensor, names: Sequence[str]) -> list[Answered]:
        """Logits and features of each image for its own task.

        Args:
            images: `B 3 H W`, prepared as the tasks' cards say, on the backbone's device.
            names: B names of tasks.

        Returns:
            B answers; the logits of image i are `C`, the number of classes of its task.

        Raises:
            UserError: images of another shape, another number of names, or a task that the bank cannot give.
        """
        _check(images, names)
        residents = self.bank.residents(names)
        return self.answers_of(images, [residents[name] for name in names])

    @torch.no_grad()
    def answers_of(self, images: Tensor, residents: Sequence[Resident]) -> list[Answered]:
        """As `answers`, for the B tasks that the caller has from the bank."""
        tasks: dict[Resident, list[int]] = {}
        for row, task in enumerate(residents):
            tasks.setdefault(task, []).append(row)
        found = {task: logits_and_features(task.model, images[own]) for task, own in tasks.items() if not task.one_pass}
        together = {task: own for task, own in tasks.items() if task.one_pass}
        if together:
            found |= _in_one_pass(self.bank, images, together)
        self.bank.count({task: len(own) for task, own in tasks.items()})
        answers = {
            row: Answered(task, *both)
            for task, (logits, features) in found.items()
            for row, *both in zip(tasks[task], logits, features, strict=True)
        }
        return [answers[row] for row in range(len(residents))]

    def probabilities(self, images: Tensor, names: Sequence[str]) -> list[Tensor]:
        """As `logits`, but probabilities: the `C` numbers of an image sum to 1."""
        return [logits.softmax(dim=-1) for logits in self.logits(images, names)]


def _check(images: Tensor, names: Sequence[str]) -> None:
    if images.ndim != 4:
        raise UserError(f"images have shape {tuple(images.shape)}, but must be `B 3 H W`.")
    if isinstance(names, str) or len(names) != len(images):
        raise UserError(f"names is {names!r}, but must be a list of {len(images)} names: one task for each image.")


# ---- one pass -----------------------------------------------------------------------------------------------------


def _in_one_pass(bank: PromptBank, images: Tensor, rows: dict[Resident, list[int]]) -> dict[Resident, Both]:
    """Logits and features of each task for its rows of `images`, from one pass of the shared backbone."""
    vit, last = bank.vit, len(bank.vit.blocks) - 1
    tasks = sorted(rows, key=lambda task: task.name)  # the same tasks always have the same order
    batch = _Batch(bank, tasks, [len(rows[task]) for task in tasks], images.device)
    tokens = embed(vit, images[[row for task in tasks for row in rows[task]]])  # B N D, task by task
    turns = rotations(vit, tokens.shape[1] - vit.num_prefix_tokens)  # n 2d, L H n 2d or none
    for number, block in enumerate(vit.blocks):
        read = tokens_read(vit) if number == last else None
        own = None if turns is None else rotations_of(vit, number, turns)
        attended = batch.attended(block, number, block.norm1(tokens), own, read)  # B N D
        tokens = tokens[:, :read] + _scaled(block, 1, attended)
        tokens = tokens + _scaled(block, 2, block.mlp(block.norm2(tokens)))
    parts = vit.norm(tokens).split(batch.counts)  # R N D each
    return {task: read_by_head(task.model.vit, part) for task, part in zip(tasks, parts, strict=True)}


def _scaled(block: nn.Module, branch: int, tokens: Tensor) -> Tensor:
    """What a block adds to its tokens by attention (branch 1) or MLP (branch 2), with its learned scale."""
    if not isinstance(block, EvaBlock):
        return getattr(block, f"ls{branch}")(tokens)
    gamma = getattr(block, f"gamma_{branch}")
    return tokens if gamma is None else gamma * tokens


@dataclass(frozen=True)
class _Group:
    """Images with the same number of prompts at a block.

    Attributes:
        tasks: those of the images.
        rows: of the images in the batch, `R`.
        which: number of each image's task in `tasks`, `R`.
    """

    tasks: tuple[Resident, ...]
    rows: Tensor
    which: Tensor


class _Batch:
    """Which image of a pass has which prompts: `counts` gives the images of each of the `tasks`, in order."""

    def __init__(self, bank: PromptBank, tasks: list[Resident], counts: list[int], device: torch.device):
        self.bank = bank
        self.tasks = tasks
        self.counts = counts
        self._task_of = torch.arange(len(tasks)).repeat_interleave(torch.tensor(counts))  # B
        self._device = device
        self._known: dict[tuple[int, ...], tuple[list[_Group], Tensor]] = {}

    def attended(self, block: nn.Module, number: int, tokens: Tensor, turns: Tensor | None, read: int | None) -> Tensor:
        """Attention of each image's first `read` tokens to all of them and to its prompts: `B N D` to `B read D`."""
        attend = _attention(block, turns, read)
        groups, back = self._groups(number)
        if len(groups) == 1:
            return attend(tokens, self._keys_values(groups[0], number))
        parts = [attend(tokens[group.rows], self._keys_values(group, number)) for group in groups]  # R read D each
        return torch.cat(parts)[back]

    def _keys_values(self, group: _Group, number: int) -> Tensor | None:
        """Of the prompts of a group: `P 2D` if all images have the same, else `R P 2D`; None without prompts."""
        first = group.tasks[0].keys_values.get(number)
        if first is None or len(group.tasks) == 1:
            return first
        return self.bank.stacked(group.tasks, number)[group.which]

    def _groups(self, number: int) -> tuple[list[_Group], Tensor]:
        """The groups at a block, and the order that brings their images back to their rows; most blocks share them."""
        lengths = tuple(len(task.keys_values.get(number, ())) for task in self.tasks)
        if lengths not in self._known:
            groups = [self._group([length == one for one in lengths]) for length in sorted(set(lengths))]
            self._known[lengths] = groups, torch.cat([group.rows for group in groups]).argsort()
        return self._known[lengths]

    def _group(self, members: list[bool]) -> _Group:
        belongs = torch.tensor(members)  # T
        rows = belongs[self._task_of].nonzero()[:, 0]  # R
        which = (belongs.cumsum(0) - 1)[self._task_of[rows]]  # R
        tasks = tuple(task for task, member in zip(self.tasks, members, strict=True) if member)
        return _Group(tasks, rows.to(self._device), which.to(self._device))


def _attention(block: nn.Module, turns: Tensor | None, read: int | None):
    """Tokens `R N D` and keys and values of prompts to attended tokens `R read D`, for a block of either class."""
    if isinstance(block, EvaBlock):
        return lambda tokens, prompts_kv: turned_attention(block.attn, tokens, prompts_kv, turns, read)
    return lambda tokens, prompts_kv: prompted_attention(block.attn, tokens, prompts_kv, read)
