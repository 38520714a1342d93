"""What every form of prompting needs from a timm ViT: its first tokens, its blocks, its head.

Two classes of timm are meant: `VisionTransformer`, and `Eva` for DINOv3, EVA-02, PE and RoPE-ViT. An `Eva` turns the
queries and keys of patches by their position (Su et al. 2021, arXiv 2104.09864; in two dimensions Heo et al., ECCV
2024, arXiv 2403.13298). Class token, registers and prompts have no position in the image, so they are not turned.
"""
# torch types all that a Module holds as Tensor or Module.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportIndexIssue=false, reportReturnType=false

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeGuard

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vptlib.errors import UserError

if TYPE_CHECKING:
    from vptlib.prompting.vit import PromptedViT

if TYPE_CHECKING:  # `Eva` has the same attributes, but timm leaves the types of many open
    ViT = VisionTransformer
else:
    ViT = VisionTransformer | Eva


def is_vit(module: object) -> TypeGuard[ViT]:
    """Whether `module` is a vision transformer that vptlib can adapt."""
    return isinstance(module, ViT)


def embed(vit: ViT, images: Tensor) -> Tensor:
    """Images `B 3 H W` to the tokens `B N D` that enter the first block: class token, registers, patches."""
    _check_images(vit, images)
    tokens = vit.patch_embed(images)  # B n D, or B h w D
    if isinstance(vit, Eva):
        tokens, _ = vit._pos_embed(tokens)  # B N D; the rotary positions go to each block
        return vit.norm_pre(tokens)
    tokens = vit._pos_embed(tokens)  # B N D
    return vit.norm_pre(vit.patch_drop(tokens))


def patch_sides(vit: ViT) -> tuple[int, int]:
    """Height and width of a patch in pixels of the image, also where a small network comes before the patches."""
    return tuple(vit.patch_embed.feat_ratio(as_scalar=False))


def tokens_read(vit: ViT) -> int | None:
    """How many tokens, from the first on, the head reads after the last block; None for all of them."""
    known = type(vit) in (VisionTransformer, Eva)  # a subclass may read others
    pools_class_token = known and vit.global_pool == "token" and vit.attn_pool is None
    return 1 if pools_class_token and isinstance(vit.norm, (nn.LayerNorm, nn.Identity)) else None


def run(model: PromptedViT, number: int, *inputs: Tensor, block=None) -> Tensor:
    """A block's result. With timm's `set_grad_checkpointing` the backward pass computes the inner values again."""
    if block is None:
        prompts = getattr(model, "prompts_among", _none)(number)
        block = block_at(model.vit, number, inputs[0].shape[1], prompts)
    if model.vit.grad_checkpointing and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)


def _none(_number: int) -> int:
    return 0


def block_at(vit: ViT, number: int, tokens: int, prompts: int = 0) -> Callable[[Tensor], Tensor]:
    """Block `number`, for sequences of so many tokens: class token, registers, so many prompts, patches."""
    block, table = vit.blocks[number], rotations(vit, tokens - vit.num_prefix_tokens - prompts)
    if table is None:
        return block
    return partial(block, rope=_beginning_with(prompts, rotations_of(vit, number, table)))


def rotations(vit: ViT, patches: int) -> Tensor | None:
    """The sines and cosines that turn `patches` n patches, for all blocks: `n 2d` or, by block and head, `L H n 2d`.

    None for a backbone without rotary positions.
    """
    rope = getattr(vit, "rope", None)
    if rope is None:
        return None
    if vit.dynamic_img_size:
        return rope.get_embed(shape=list(_grid(vit, patches)))
    return rope.get_embed() if hasattr(rope, "feat_shape") else rope.get_embed(shape=vit.patch_embed.grid_size)


def rotations_of(vit: ViT, number: int, table: Tensor) -> Tensor:
    """The part of `rotations` for block `number`: `n 2d`, or `H n 2d`."""
    return table[number] if vit.rope_mixed else table


def _beginning_with(prompts: int, table: Tensor) -> Tensor:
    """`... n 2d` to `... P+n 2d`: prompts come before the patches and are not turned (sine 0, cosine 1)."""
    if not prompts:
        return table
    sines, cosines = table[..., :1, :].expand(*table.shape[:-2], prompts, -1).chunk(2, dim=-1)  # ... P d each
    still = torch.cat([torch.zeros_like(sines), torch.ones_like(cosines)], dim=-1)  # ... P 2d
    return torch.cat([still, table], dim=-2)


def _grid(vit: ViT, patches: int) -> tuple[int, int]:
    """Rows and columns of so many patches: those of the backbone's own image size, else those of a square."""
    if patches == vit.patch_embed.num_patches:
        return tuple(vit.patch_embed.grid_size)
    return math.isqrt(patches), math.isqrt(patches)


def heads(vit: ViT) -> list[nn.Module]:
    """The classifier: one linear layer, or two for a distilled DeiT."""
    return [vit.get_submodule(name) for name in ("head", "head_dist") if hasattr(vit, name)]


def _check_images(vit: ViT, images: Tensor) -> None:
    if images.ndim != 4:
        raise UserError(f"images have shape {tuple(images.shape)}, but must be `B 3 H W`.")
    height, width = images.shape[-2:]
    wanted, (rows, columns) = vit.patch_embed.img_size, patch_sides(vit)
    if not vit.dynamic_img_size and wanted is not None and (height, width) != tuple(wanted):
        raise UserError(
            f"images are {height} × {width} px, but this backbone takes {wanted[0]} × {wanted[1]}: load it with that "
            "image_size, or resize the images."
        )
    if (height % rows or width % columns) and not vit.patch_embed.dynamic_img_pad:
        raise UserError(
            f"images are {height} × {width} px, but patches are {rows} × {columns} px: resize to whole patches."
        )
    if isinstance(vit, Eva):
        _check_positions(vit, height, width)


def _check_positions(vit: Eva, height: int, width: int) -> None:
    """Tokens alone must give the positions of the patches: they may be kept without their images."""
    if vit.patch_drop is not None and vit.patch_drop.training:
        raise UserError("this backbone drops patches at random in training: create it with patch_drop_rate=0.")
    grid = tuple(vit.patch_embed.dynamic_feat_size((height, width)))
    if vit.rope is not None and _grid(vit, math.prod(grid)) != grid:
        own = vit.patch_embed.img_size
        raise UserError(
            f"images are {height} × {width} px, but the rotary positions of this backbone are set for {own[0]} × "
            f"{own[1]}: take square images, or call set_input_size(({height}, {width})) first."
        )
