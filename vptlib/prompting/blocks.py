"""What every form of prompting needs from a timm ViT: its first tokens, its blocks, its head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vptlib.errors import UserError

if TYPE_CHECKING:
    from vptlib.prompting.vit import PromptedViT


def embed(vit: VisionTransformer, images: Tensor) -> Tensor:
    """Images `B 3 H W` to the tokens `B N D` that enter the first block: class token, registers, patches."""
    _check_images(vit, images)
    tokens = vit.patch_embed(images)  # B N-1 D
    tokens = vit._pos_embed(tokens)  # B N D
    return vit.norm_pre(vit.patch_drop(tokens))


def tokens_read(vit: VisionTransformer) -> int | None:
    """How many tokens, from the first on, the head reads after the last block; None for all of them."""
    pools_class_token = type(vit) is VisionTransformer and vit.global_pool == "token" and vit.attn_pool is None
    return 1 if pools_class_token and isinstance(vit.norm, (nn.LayerNorm, nn.Identity)) else None


def run(model: PromptedViT, number: int, *inputs: Tensor, block=None) -> Tensor:
    """A block's result. With timm's `set_grad_checkpointing` the backward pass computes the inner values again."""
    block = block or model.vit.blocks[number]
    if model.vit.grad_checkpointing and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)


def heads(vit: VisionTransformer) -> list[nn.Module]:
    """The classifier: one linear layer, or two for a distilled DeiT."""
    return [vit.get_submodule(name) for name in ("head", "head_dist") if hasattr(vit, name)]


def _check_images(vit: VisionTransformer, images: Tensor) -> None:
    if images.ndim != 4:
        raise UserError(f"images have shape {tuple(images.shape)}, but must be `B 3 H W`.")
    height, width = images.shape[-2:]
    wanted, (rows, columns) = vit.patch_embed.img_size, vit.patch_embed.patch_size
    if not vit.dynamic_img_size and wanted is not None and (height, width) != tuple(wanted):
        raise UserError(
            f"images are {height} × {width} px, but this backbone takes {wanted[0]} × {wanted[1]}: load it with that "
            "image_size, or resize the images."
        )
    if (height % rows or width % columns) and not vit.patch_embed.dynamic_img_pad:
        raise UserError(
            f"images are {height} × {width} px, but patches are {rows} × {columns} px: resize to whole patches."
        )
