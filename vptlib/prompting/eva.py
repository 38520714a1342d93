"""The fast form of deep prompting for timm's `Eva`: DINOv3, EVA-02, the Perception Encoder (PE), RoPE-ViT.

`vptlib.prompting.vit` holds the prompts and the textbook form, and `vptlib.prompting.fast` says what the fast form
leaves out. A block of `Eva` differs in four ways:

    positions   queries and keys of patches are turned (`vptlib.prompting.blocks`); those of prompts are not
    projections one for queries, keys and values, or three; often keys have no bias
    norms       in EVA-02 one more after the attention and within the MLP (sub-LN), which reads each token by itself
    MLP         often gated (SwiGLU), and also reads each token by itself

DINOv3: Siméoni et al. 2025, arXiv 2508.10104. EVA-02: Fang et al. 2023, arXiv 2303.11331. PE: Bolya et al. 2025, arXiv
2504.13181. RoPE-ViT: Heo et al., ECCV 2024, arXiv 2403.13298.
"""
# torch types all that a Module holds as Tensor or Module.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportOptionalCall=false, reportOptionalMemberAccess=false, reportReturnType=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from timm.layers.attention import AttentionRope
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import EvaAttention, EvaBlock
from torch import Tensor, nn
from torch.nn import functional as F

from vptlib.prompting.blocks import rotations, rotations_of, run
from vptlib.prompting.fast import prompt_keys_values

if TYPE_CHECKING:
    from vptlib.prompting.vit import PromptedViT


def fast_eva_blocks(model: PromptedViT, tokens: Tensor, read: int | None = None) -> Tensor:
    """Blocks with prompts as further keys and values only. `B N D` to `B N D`, or `B read D` if fewer are read."""
    vit, last = model.vit, len(model.vit.blocks) - 1
    table = rotations(vit, tokens.shape[1] - vit.num_prefix_tokens)  # n 2d, L H n 2d or none
    for number in range(model.layers[0], last + 1):
        turns = None if table is None else rotations_of(vit, number, table)
        step = partial(fast_eva_block, model, number, turns=turns, read=read if number == last else None)
        tokens = run(model, number, tokens, block=step)
    return tokens


def fast_eva_block(
    model: PromptedViT, number: int, tokens: Tensor, turns: Tensor | None, read: int | None = None
) -> Tensor:
    """One pre-norm block, `B N D` to `B N D`; of the first `read` tokens only, if given."""
    block = model.vit.blocks[number]
    prompts_kv = prompt_keys_values(model, number, len(tokens), halves)
    attended = turned_attention(block.attn, block.norm1(tokens), prompts_kv, turns, read)  # B N D
    tokens = tokens[:, :read] + block.drop_path1(_scaled(attended, block.gamma_1))
    return tokens + block.drop_path2(_scaled(block.mlp(block.norm2(tokens)), block.gamma_2))


def turned_attention(
    attn: EvaAttention | AttentionRope,
    tokens: Tensor,
    prompts_kv: Tensor | None,
    turns: Tensor | None,
    read: int | None = None,
) -> Tensor:
    """The first `read` of the tokens `B N D` attend to all of them and to the prompts; gives `B read D`.

    `turns`, `n 2d` or `H n 2d`, are the rotary positions of the n patches. Prompts come after the patches here: without
    a position of their own, they may.
    """
    queries, keys_values = halves(attn)
    q = queries(tokens[:, :read]).unflatten(-1, (attn.num_heads, attn.head_dim)).transpose(1, 2)  # B H read d
    kv = keys_values(tokens)  # B N 2D
    if prompts_kv is not None:
        kv = torch.cat([kv, prompts_kv.expand(len(kv), -1, -1)], dim=1)  # B N+P 2D
    k, v = kv.unflatten(-1, (2, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4)  # B H N+P d
    q, k = (_turned(attn, norm(x), turns).type_as(v) for norm, x in ((attn.q_norm, q), (attn.k_norm, k)))
    out = F.scaled_dot_product_attention(q, k, v)  # B H read d
    out = attn.norm(out.transpose(1, 2).flatten(2))  # B read D
    return attn.proj(out)


def _turned(attn: EvaAttention | AttentionRope, x: Tensor, turns: Tensor | None) -> Tensor:
    """Queries or keys `B H N d` with those of the patches turned. The patches follow the class token and registers."""
    prefix = attn.num_prefix_tokens
    if turns is None or x.shape[2] <= prefix:
        return x
    patches = x[:, :, prefix : prefix + turns.shape[-2]]  # B H n d, or fewer where fewer are read
    turned = apply_rot_embed_cat(patches, turns[..., : patches.shape[2], :], half=attn.rotate_half)
    return torch.cat([x[:, :, :prefix], turned, x[:, :, prefix + patches.shape[2] :]], dim=2)


def halves(attn: EvaAttention | AttentionRope) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The projections as two functions: tokens `B N D` to queries `B N D`, and to keys and values `B N 2D`."""
    if attn.qkv is None:
        return attn.q_proj, lambda tokens: torch.cat([attn.k_proj(tokens), attn.v_proj(tokens)], dim=-1)
    width = attn.num_heads * attn.head_dim
    weights, bias = attn.qkv.weight.split([width, 2 * width]), _joint_bias(attn)
    biases = (None, None) if bias is None else bias.split([width, 2 * width])
    return tuple(partial(F.linear, weight=w, bias=b) for w, b in zip(weights, biases, strict=True))


def _joint_bias(attn: EvaAttention | AttentionRope) -> Tensor | None:
    """The bias `3D` of the joint projection; an `EvaAttention` keeps its parts apart, with zeros for the keys."""
    if isinstance(attn, AttentionRope):
        return attn.qkv.bias
    return None if attn.q_bias is None else torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])


def _scaled(tokens: Tensor, gamma: Tensor | None) -> Tensor:
    return tokens if gamma is None else gamma * tokens


def is_plain_eva(block: nn.Module) -> bool:
    """Whether the fast form is exact for a block: timm's pre-norm `EvaBlock` with plain attention, unchanged."""
    attn = getattr(block, "attn", None)
    if type(block) is not EvaBlock or type(attn) not in (EvaAttention, AttentionRope):
        return False
    maps = [part for part in (attn.qkv, attn.q_proj, attn.k_proj, attn.v_proj) if part is not None]
    drops = attn.training and (attn.attn_drop.p > 0 or attn.proj_drop.p > 0)
    watched = any(m._forward_hooks or m._forward_pre_hooks for m in (block, attn, *maps))
    shared = getattr(attn, "num_kv_groups", 1) > 1  # keys and values of several heads are one (GQA)
    return all(type(m) is nn.Linear for m in maps) and attn.gate is None and not (drops or watched or shared)
