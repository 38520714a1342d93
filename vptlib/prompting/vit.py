"""Visual prompt tuning: a few learned vectors join the tokens of a frozen vision transformer.

VPT (Jia et al., ECCV 2022, arXiv 2203.12119, section 3.2) trains only prompts P and a classifier head:

    shallow   [x_1, Z_1, E_1] = L_1([x_0, P,       E_0])      one set of prompts, which then travels on as Z
    deep      [x_i, _,   E_i] = L_i([x_i-1, P_i-1, E_i-1])    a fresh set at every layer; its outputs are thrown away

x is the class token, E are the patch tokens, and L_i is a transformer block. Prompts have no position embedding. They
follow the class token (and the register tokens, if the backbone has them).

Deep prompting has two forms here, and both give the same numbers. `textbook_blocks` follows the equations.
`vptlib.prompting.fast` leaves out what the equations throw away.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from vptlib.errors import UserError
from vptlib.prompting.blocks import ViT, block_at, embed, heads, is_vit, run, tokens_read
from vptlib.prompting.eva import fast_eva_blocks, is_plain_eva
from vptlib.prompting.fast import fast_block, fast_blocks, is_plain

# First logit of each gate: nearly closed (sigmoid(-5) = 0.007), as in the code of Yoo et al.
GATE_START = -5.0


class PromptedViT(nn.Module):
    """A frozen timm ViT with learned prompts; only the prompts and the classifier head require gradients.

    Args:
        vit: a timm `VisionTransformer` or `Eva` with its classifier head; it is frozen in place.
        num_prompts: prompts per prompted layer (P); 0 gives the plain backbone.
        deep: prompts at every layer (VPT-deep) rather than before the first only (VPT-shallow).
        dropout: probability of dropping a prompt's entries in training, drawn separately for each image.
        fast: use the fast form wherever it is exact; False forces the textbook form.
        layers: which blocks get a fresh set, as numbers from 0 or as "first 3", "last 3" or "every 3". By default all
            of them if `deep`, else block 0 (Jia et al., section 4.3, prompt depth).
        carry: prompts travel on through blocks without a set of their own. Shallow prompts do so, and the official
            code at partial depth. By default only if not `deep`.
        gated: a learned gate per block mixes a travelling prompt before the block with the same prompt after it
            (Yoo et al., ICML 2023, arXiv 2306.05067, section 4.1).
        shared: one set of prompts for all prompted layers.
        projection: width d of the prompts. A learned linear map, shared by all layers, widens them to D.
        init: "uniform" (the official code's), "normal" (std 0.02), "zero", or a tensor `L P D`, such as
            `vptlib.prompting.initial_values` makes from images.

    Attributes:
        prompts: parameter of shape `L P D`: L prompted layers (1 if shared), P prompts, width D (d if projected).
        layers: the numbers of the prompted blocks, in rising order.

    Raises:
        UserError: if `vit` is not a plain timm vision transformer, a number is out of range, or options contradict.
    """

    def __init__(
        self,
        vit: ViT,
        num_prompts: int = 10,
        deep: bool = True,
        dropout: float = 0.0,
        fast: bool = True,
        layers: Sequence[int] | str | None = None,
        carry: bool | None = None,
        gated: bool = False,
        shared: bool = False,
        projection: int | None = None,
        init: str | Tensor = "uniform",
    ):
        super().__init__()
        _check(vit, num_prompts, dropout, projection)
        self.vit = vit.requires_grad_(False).eval()
        for head in heads(vit):
            head.requires_grad_(True)
        self.num_prompts = num_prompts
        self.deep = deep
        self.fast = fast
        self.dropout = nn.Dropout(dropout)
        self.layers = chosen_layers(layers if layers is not None else "every 1" if deep else [0], len(vit.blocks))
        self.carry = not deep if carry is None else carry
        self.shared = shared
        like = vit.patch_embed.proj.weight  # for its device and type
        width = projection or vit.embed_dim
        self.prompts = nn.Parameter(first_prompts(init, (1 if shared else len(self.layers), num_prompts, width), vit))
        self.widen = nn.Linear(width, vit.embed_dim).to(like) if projection else nn.Identity()
        self.gates = nn.Parameter(like.new_full((len(vit.blocks),), GATE_START)) if gated else None
        if gated and not self.carry:
            raise UserError("gated=True needs prompts that travel from block to block: give deep=False or carry=True.")
        self._kept: dict[int, tuple[list, Tensor]] = {}  # keys and values of prompts, kept for inference

    def forward(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to logits `B C`."""
        return self.rest(self.stem(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to normalised tokens `B N D`, without prompts, as timm's `forward_features`."""
        return self.vit.norm(self._prompted_blocks(self.stem(images)))

    def stem(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to tokens `B N D` that enter the first prompted block; they are frozen and may be kept."""
        tokens = embed(self.vit, images)  # B N D
        for number in range(self.layers[0]):
            tokens = block_at(self.vit, number, tokens.shape[1])(tokens)
        return tokens

    def rest(self, tokens: Tensor) -> Tensor:
        """Tokens `B N D` from `stem` to logits `B C`."""
        tokens = self._prompted_blocks(tokens, read=tokens_read(self.vit) or tokens.shape[1])
        return self.vit.forward_head(self.vit.norm(tokens))

    def _prompted_blocks(self, tokens: Tensor, read: int | None = None) -> Tensor:
        """The blocks from the first prompted one on: fast where that is wanted and exact, else textbook.

        The fast forms give the first `read` tokens alone, if that is given.
        """
        if self.uses_fast_form:
            return (fast_blocks if self._is_plain else fast_eva_blocks)(self, tokens, read)
        if read is not None and self._ends_early:
            return carried_blocks(self, tokens, read)
        return textbook_blocks(self, tokens)

    @property
    def uses_fast_form(self) -> bool:
        """Whether the fast form is wanted and exact: prompts never travel, and the blocks are plain pre-norm blocks."""
        travel = self.carry and set(self.layers) != set(range(self.layers[0], len(self.vit.blocks)))
        plain = self._is_plain or all(map(is_plain_eva, self.vit.blocks[self.layers[0] :]))
        return self.fast and self.num_prompts > 0 and not travel and self.gates is None and plain

    @property
    def _ends_early(self) -> bool:
        """Whether `carried_blocks` is wanted and exact: prompts travel, and the blocks are plain pre-norm blocks."""
        return self.fast and self.num_prompts > 0 and self.carry and self._is_plain

    @property
    def _is_plain(self) -> bool:
        return all(map(is_plain, self.vit.blocks[self.layers[0] :]))

    def prompts_among(self, number: int) -> int:
        """How many prompts are among the tokens that enter block `number`."""
        return self.num_prompts if number in self.layers or (self.carry and number > self.layers[0]) else 0

    def layer_prompts(self, number: int, batch: int) -> Tensor:
        """The prompts entering block `number`: `P D`, or `B P D` where dropout draws separately for each image."""
        prompts = self.widen(self.prompts[0 if self.shared else self.layers.index(number)])  # P D
        if self.training and self.dropout.p > 0:
            return self.dropout(prompts.expand(batch, -1, -1))  # B P D
        return prompts

    def train(self, mode: bool = True) -> "PromptedViT":
        """Training mode for the prompts; the frozen backbone stays in evaluation mode, as in the official code."""
        super().train(mode)
        self.vit.eval()
        return self


def first_prompts(init: str | Tensor, shape: tuple[int, int, int], vit: ViT) -> Tensor:
    """First values `L P D` of prompts; "uniform" is within ± sqrt(6 / (3 · patch² + D)), as in the official code."""
    prompts = vit.patch_embed.proj.weight.new_zeros(shape)  # for its device and type
    if isinstance(init, Tensor):
        if init.shape != shape:
            raise UserError(f"init has shape {tuple(init.shape)}, but these prompts have {shape}.")
        return prompts.copy_(init.detach())
    if init == "uniform":
        height, width = vit.patch_embed.patch_size
        bound = math.sqrt(6 / (3 * height * width + shape[-1]))
        return prompts.uniform_(-bound, bound)
    if init == "normal":
        return prompts.normal_(std=0.02)
    if init == "zero":
        return prompts
    raise UserError(f"init is {init!r}, but must be 'uniform', 'normal', 'zero' or a tensor.")


# ---- the textbook form ------------------------------------------------------------------------------------------


def textbook_blocks(model: PromptedViT, tokens: Tensor) -> Tensor:
    """Blocks as the paper's equations 4 to 8 write them: join, run, and part again. `B N D` to `B N D`."""
    prefix = model.vit.num_prefix_tokens
    prompts = tokens[:, :0]  # B 0 D: none yet
    for number in range(model.layers[0], len(model.vit.blocks)):
        if number in model.layers:
            prompts = model.layer_prompts(number, len(tokens)).expand(len(tokens), -1, -1)  # B P D
        joined = torch.cat([tokens[:, :prefix], prompts, tokens[:, prefix:]], dim=1)  # B N+P D
        left, after, right = run(model, number, joined).split([prefix, prompts.shape[1], tokens.shape[1] - prefix], 1)
        tokens = torch.cat([left, right], dim=1)  # B N D
        prompts = travelled(model, number, prompts, after)
    return tokens


def travelled(model: PromptedViT, number: int, before: Tensor, after: Tensor) -> Tensor:
    """The prompts that go on after block `number`, from those before and after it (both `B P D`)."""
    if not model.carry:
        return after[:, :0]
    if model.gates is None:
        return after
    gate = model.gates[number].sigmoid()
    return gate * after + (1 - gate) * before


def carried_blocks(model: PromptedViT, tokens: Tensor, read: int) -> Tensor:
    """`textbook_blocks` for prompts that travel, but of the last block only what is read. `B N D` to `B read D`.

    There prompts need no query and no MLP. The same holds for tokens that the head does not read. Prompts follow the
    patches here, because plain blocks treat all positions alike.
    """
    count, last = tokens.shape[1], len(model.vit.blocks) - 1
    for number in range(model.layers[0], last):
        if number in model.layers:
            prompts = model.layer_prompts(number, len(tokens)).expand(len(tokens), -1, -1)  # B P D
            tokens = torch.cat([tokens[:, :count], prompts], dim=1)  # B N+P D
        after = run(model, number, tokens)  # B N+P D
        if model.gates is None:
            tokens = after
        else:
            prompts = travelled(model, number, tokens[:, count:], after[:, count:])
            tokens = torch.cat([after[:, :count], prompts], dim=1)  # B N+P D
    if last in model.layers:
        tokens = tokens[:, :count]  # `fast_block` puts the fresh set in their place
    return run(model, last, tokens, block=partial(fast_block, model, last, read=read))


# ---- checks -----------------------------------------------------------------------------------------------------


def chosen_layers(layers: Sequence[int] | str, depth: int) -> tuple[int, ...]:
    """Block numbers from 0 in rising order, from a list or from "first 3", "last 3" or "every 3".

    Raises:
        UserError: no such layer, one twice, none at all, or a text of another form.
    """
    chosen = _by_rule(layers, depth) if isinstance(layers, str) else sorted(layers)
    if not chosen or len(set(chosen)) < len(chosen):
        raise UserError(f"layers is {layers!r}: give at least one layer, and none twice.")
    if not all(isinstance(number, int) and 0 <= number < depth for number in chosen):
        raise UserError(f"layers is {layers!r}, but this backbone has layers 0 to {depth - 1}.")
    return tuple(chosen)


def _by_rule(rule: str, depth: int) -> list[int]:
    word, _, count = rule.partition(" ")
    if word not in ("first", "last", "every") or not count.isdecimal() or not 1 <= int(count) <= depth:
        raise UserError(
            f"layers is {rule!r}, but must be 'first K', 'last K' or 'every K' with K from 1 to {depth}, or a list."
        )
    number = int(count)
    return {
        "first": list(range(number)),
        "last": list(range(depth - number, depth)),
        "every": list(range(0, depth, number)),
    }[word]


def _check(vit: nn.Module, num_prompts: int, dropout: float, projection: int | None) -> None:
    if not is_vit(vit):
        raise UserError(f"PromptedViT needs a timm VisionTransformer or Eva, but got a {type(vit).__name__}.")
    if isinstance(vit.head, nn.Identity):
        raise UserError("PromptedViT needs a backbone with its classifier head: call vit.reset_classifier(C) first.")
    if num_prompts < 0:
        raise UserError(f"num_prompts is {num_prompts}, but must be 0 or more.")
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}, but must lie in [0, 1).")
    if projection is not None and projection < 1:
        raise UserError(f"projection is {projection}, but must be 1 or more: the width of a prompt.")
