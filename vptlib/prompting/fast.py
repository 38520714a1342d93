"""The fast form of deep prompting: the same numbers as the textbook form, without the work that is thrown away.

No later layer reads the output of a deep prompt, so a prompt needs no query and no MLP. It needs only a key and a
value. These are the same for every image of a batch. The head reads only some tokens of the last layer, so the others
are not computed there.
"""
# torch types all that a Module holds as Tensor or Module.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from vptlib.prompting.blocks import run

if TYPE_CHECKING:
    from vptlib.prompting.vit import PromptedViT


def fast_blocks(model: PromptedViT, tokens: Tensor, read: int | None = None) -> Tensor:
    """Blocks with prompts as further keys and values only. `B N D` to `B N D`, or `B read D` if fewer are read."""
    last = len(model.vit.blocks) - 1
    for number in range(model.layers[0], last + 1):
        step = partial(fast_block, model, number, read=read if number == last else None)
        tokens = run(model, number, tokens, block=step)
    return tokens


def fast_block(model: PromptedViT, number: int, tokens: Tensor, read: int | None = None) -> Tensor:
    """One pre-norm block, `B N D` to `B N D`; of the first `read` tokens only, if given."""
    block = model.vit.blocks[number]
    normed = block.norm1(tokens)
    prompts_kv = prompt_keys_values(model, number, len(tokens))
    attended = prompted_attention(block.attn, normed, prompts_kv, read)  # B N D
    tokens = tokens[:, :read] + block.drop_path1(block.ls1(attended))
    return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))


def prompted_attention(attn: Attention, tokens: Tensor, prompts_kv: Tensor | None, read: int | None = None) -> Tensor:
    """The first `read` of the tokens `B N D` attend to all of them and to the prompts; gives `B read D`.

    Keys and values of tokens and prompts meet in one tensor, apart from the queries: it is all that autograd keeps.
    """
    queries, keys_values = _halves(attn)
    q = queries(tokens[:, :read]).unflatten(-1, (attn.num_heads, attn.head_dim)).transpose(1, 2)  # B H read d
    kv = keys_values(tokens)  # B N 2D
    if prompts_kv is not None:
        kv = torch.cat([kv, prompts_kv.expand(len(kv), -1, -1)], dim=1)  # B N+P 2D
    k, v = kv.unflatten(-1, (2, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4)  # B H N+P d
    out = F.scaled_dot_product_attention(attn.q_norm(q), attn.k_norm(k), v)  # B H read d
    out = attn.norm(out.transpose(1, 2).flatten(2))  # B read D
    return attn.proj(out)


def prompt_keys_values(model: PromptedViT, number: int, batch: int, halves: Callable | None = None) -> Tensor | None:
    """Keys and values of a block's prompts, `P 2D` or `B P 2D`; at inference they are computed once and kept.

    `halves` gives the two functions of the block's attention: tokens to queries, and tokens to keys and values.
    """
    halves = halves or _halves
    if number not in model.layers:
        return None
    if model.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return _keys_values(model, number, batch, halves)
    sources, kind = _sources(model, number)
    found = model._kept.get(number)
    if found is None or not _is_made_from(found[0], sources, kind):
        found = model._kept[number] = _record(sources, kind), _keys_values(model, number, batch, halves)
    return found[1]


def _keys_values(model: PromptedViT, number: int, batch: int, halves: Callable) -> Tensor:
    block = model.vit.blocks[number]
    return halves(block.attn)[1](block.norm1(model.layer_prompts(number, batch)))


def _halves(attn: Attention):
    """The joint qkv projection as two functions: tokens to queries, and tokens to keys and values."""
    parts = [attn.attn_dim, 2 * attn.attn_dim]
    weights = attn.qkv.weight.split(parts)
    biases = (None, None) if attn.qkv.bias is None else attn.qkv.bias.split(parts)
    return [partial(F.linear, weight=weight, bias=bias) for weight, bias in zip(weights, biases, strict=True)]


def _sources(model: PromptedViT, number: int) -> tuple[list[Tensor], torch.dtype | None]:
    """The tensors that make the keys and values of a block's prompts, and the autocast type."""
    block = model.vit.blocks[number]
    sources = [model.prompts, *model.widen.parameters(), *block.norm1.parameters(), *block.attn.parameters()]
    device = model.prompts.device.type
    return sources, torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _record(sources: list[Tensor], kind: torch.dtype | None) -> list:
    """What is needed to see later whether a source has changed: each tensor, its version, and its values if it trains.

    Most changes in place raise a tensor's version. A fused optimiser changes a parameter without that (torch 2.14), so
    the values of what trains are compared too. The list holds the tensors, so that their memory is not reused.
    """
    return [kind, *((t.detach(), t._version, t.detach().clone() if t.requires_grad else None) for t in sources)]


def _is_made_from(record: list, sources: list[Tensor], kind: torch.dtype | None) -> bool:
    """Whether the sources are those of a record, unchanged."""
    recorded_kind, *recorded = record
    return (
        recorded_kind == kind
        and len(recorded) == len(sources)
        and all(_unchanged(*of, now) for of, now in zip(recorded, sources, strict=True))
    )


def _unchanged(then: Tensor, version: int, values: Tensor | None, now: Tensor) -> bool:
    same = (then.data_ptr(), then.dtype, version) == (now.data_ptr(), now.dtype, now._version)
    if not same or now.requires_grad != (values is not None):
        return False
    return values is None or torch.equal(values, now)


def is_plain(block: nn.Module) -> bool:
    """Whether the fast form is exact for a block: timm's pre-norm `Block` with plain attention, unchanged."""
    attn = getattr(block, "attn", None)
    if type(block) is not Block or type(attn) is not Attention or type(attn.qkv) is not nn.Linear:
        return False
    drops = attn.training and (attn.attn_drop.p > 0 or attn.proj_drop.p > 0)
    watched = any(m._forward_hooks or m._forward_pre_hooks for m in (block, attn, attn.qkv))
    return attn.gate is None and not drops and not watched
