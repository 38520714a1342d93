"""Visual prompt tuning of a Swin transformer (Jia et al., arXiv 2203.12119, section 4.2 and appendix).

A Swin block attends within windows of the image. The prompts join the tokens of every window. They have no position
bias and are never masked.

    deep      A fresh set at every block, as wide as its stage. Its outputs are thrown away, so a prompt needs only a
              key and a value, the same in all windows of all images: the fast form.
    shallow   One set before the first block, which travels on. A prompt's outputs in an image's windows are averaged.
              Patch merging joins four neighbours: a prompt is repeated four times, as in the official code.

The official code averages over windows in an order that mixes the images of a batch. Here each image has its own mean.

In the textbook form every window holds a copy of each prompt. For Swin-B at 224 px with 10 prompts, the fast form
leaves out 10 / (49 + 10) = 17 % of the matrix products in linear maps.
"""
# torch types all that a Module holds as Tensor or Module.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false

import math

import torch
from timm.models.swin_transformer import (
    PatchMerging,
    SwinTransformer,
    SwinTransformerBlock,
    WindowAttention,
    window_partition,
    window_reverse,
)
from torch import Tensor, nn
from torch.nn import functional as F

from vptlib.errors import UserError


class PromptedSwin(nn.Module):
    """A frozen timm Swin with learned prompts; only the prompts and the classifier head require gradients.

    Args:
        swin: a timm `SwinTransformer` with its classifier head; it is frozen in place.
        num_prompts: prompts per block (P); 0 gives the plain backbone.
        deep: fresh prompts at every block rather than before the first only.
        dropout: probability of dropping a prompt's entries in training, drawn separately for each image.
        fast: use the fast form where it is exact (deep); False forces the textbook form.

    Attributes:
        prompts: one parameter `L P D` per stage, with its number of blocks and its width; if shallow, one `1 P D`.

    Raises:
        UserError: if `swin` is not a timm Swin with its head, or a number is out of range.
    """

    def __init__(
        self, swin: SwinTransformer, num_prompts: int = 10, deep: bool = True, dropout: float = 0.0, fast: bool = True
    ):
        super().__init__()
        _check(swin, num_prompts, dropout)
        self.swin = swin.requires_grad_(False).eval()
        swin.head.requires_grad_(True)
        self.num_prompts = num_prompts
        self.deep = deep
        self.fast = fast
        self.dropout = nn.Dropout(dropout)
        stages = [(len(stage.blocks), stage.blocks[0].dim) for stage in swin.layers]
        sizes = stages if deep else [(1, stages[0][1])]
        self.prompts = nn.ParameterList(_uniform(swin, blocks, num_prompts, width) for blocks, width in sizes)

    def forward(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to logits `B C`."""
        return self.swin.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to the normalised map `B h w D` of the last stage, without prompts."""
        _check_images(self.swin, images)
        tokens = self.swin.patch_embed(images)  # B h w D
        blocks = fast_stages if self.uses_fast_form else textbook_stages
        return self.swin.norm(blocks(self, tokens))

    @property
    def uses_fast_form(self) -> bool:
        """Whether the fast form is wanted and exact: deep prompts, whose outputs are never read."""
        return self.fast and self.deep and self.num_prompts > 0

    def layer_prompts(self, stage: int, block: int, batch: int) -> Tensor:
        """The prompts of a block: `P D`, or `B P D` where dropout draws separately for each image."""
        prompts = self.prompts[stage][block]  # P D
        if self.training and self.dropout.p > 0:
            return self.dropout(prompts.expand(batch, -1, -1))  # B P D
        return prompts

    def train(self, mode: bool = True) -> "PromptedSwin":
        """Training mode for the prompts; the frozen backbone stays in evaluation mode."""
        super().train(mode)
        self.swin.eval()
        return self


# ---- the textbook form ------------------------------------------------------------------------------------------


def textbook_stages(model: PromptedSwin, tokens: Tensor) -> Tensor:
    """All stages with prompts among the tokens of each window. `B h w D` to `B h' w' D'`."""
    prompts = tokens.new_empty(len(tokens), 0, tokens.shape[-1])  # B 0 D: none yet
    for number, stage in enumerate(model.swin.layers):
        tokens, prompts = stage.downsample(tokens), merged(stage.downsample, prompts)
        for index, block in enumerate(stage.blocks):
            if model.deep or number == index == 0:
                prompts = model.layer_prompts(number, index, len(tokens)).expand(len(tokens), -1, -1)  # B P D
            tokens, prompts = textbook_block(block, tokens, prompts)
    return tokens


def textbook_block(block: SwinTransformerBlock, tokens: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens `B h w D` and prompts `B P D` through one block; a prompt's results in the windows are averaged."""
    count = prompts.shape[1]
    windows, back = into_windows(block, block.norm1(tokens))  # B W A D
    copies = block.norm1(prompts)[:, None].expand(-1, windows.shape[1], -1, -1)  # B W P D
    joined = torch.cat([copies, windows], dim=2)  # B W P+A D
    bias = F.pad(position_bias(block, windows.shape[1]), (count, 0, count, 0))  # W H P+A P+A, none for prompts
    q, k, v = _split(block.attn, block.attn.qkv(joined), 3)  # B W H P+A d
    out = _project(block.attn, F.scaled_dot_product_attention(q, k, v, attn_mask=bias))  # B W P+A D
    of_prompts, of_tokens = out.split([count, out.shape[2] - count], dim=2)
    tokens = tokens + block.drop_path1(back(of_tokens))
    prompts = prompts + block.drop_path1(of_prompts.mean(dim=1))
    return with_mlp(block, tokens), with_mlp(block, prompts)


def merged(downsample: nn.Module, prompts: Tensor) -> Tensor:
    """Prompts `B P D` to the width of the next stage `B P D'`."""
    if not isinstance(downsample, PatchMerging):
        return prompts
    return downsample.reduction(downsample.norm(prompts.repeat(1, 1, 4)))


# ---- the fast form ----------------------------------------------------------------------------------------------


def fast_stages(model: PromptedSwin, tokens: Tensor) -> Tensor:
    """All stages with prompts as further keys and values of each window only. `B h w D` to `B h' w' D'`."""
    for number, stage in enumerate(model.swin.layers):
        tokens = stage.downsample(tokens)
        for index, block in enumerate(stage.blocks):
            tokens = fast_block(block, tokens, model.layer_prompts(number, index, len(tokens)))
    return tokens


def fast_block(block: SwinTransformerBlock, tokens: Tensor, prompts: Tensor) -> Tensor:
    """Tokens `B h w D` through one block, with prompts `P D` or `B P D` as further keys and values of each window."""
    attn = block.attn
    windows, back = into_windows(block, block.norm1(tokens))  # B W A D
    q, k, v = _split(attn, attn.qkv(windows), 3)  # B W H A d
    width = attn.qkv.in_features
    bias = None if attn.qkv.bias is None else attn.qkv.bias[width:]
    kv = F.linear(block.norm1(prompts), attn.qkv.weight[width:], bias)  # P 2D or B P 2D
    prompt_k, prompt_v = _split(attn, kv if kv.ndim == 2 else kv[:, None], 2)  # H P d or B 1 H P d
    k, v = (torch.cat([p.expand(*x.shape[:3], -1, -1), x], dim=3) for p, x in ((prompt_k, k), (prompt_v, v)))
    mask = F.pad(position_bias(block, windows.shape[1]), (prompts.shape[-2], 0))  # W H A P+A
    out = _project(attn, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))  # B W A D
    return with_mlp(block, tokens + block.drop_path1(back(out)))


# ---- what both forms share --------------------------------------------------------------------------------------


def into_windows(block: SwinTransformerBlock, tokens: Tensor):
    """A map `B h w D`, shifted and padded, as windows `B W A D` (A = window area), and the way back."""
    batch, height, width, channels = tokens.shape
    rows, columns = block.window_size
    shift = block.shift_size
    rolled = torch.roll(tokens, (-shift[0], -shift[1]), dims=(1, 2)) if any(shift) else tokens
    padded = F.pad(rolled, (0, 0, 0, -width % columns, 0, -height % rows))  # B h' w' D
    windows = window_partition(padded, block.window_size).reshape(batch, -1, rows * columns, channels)  # B W A D

    def back(windows: Tensor) -> Tensor:
        flat = windows.reshape(-1, rows, columns, channels)
        map_ = window_reverse(flat, block.window_size, *padded.shape[1:3])[:, :height, :width]
        return torch.roll(map_, shift, dims=(1, 2)) if any(shift) else map_  # B h w D

    return windows, back


def position_bias(block: SwinTransformerBlock, windows: int) -> Tensor:
    """Position bias plus shift mask, `W H A A`: it is added to the scores between a window's tokens."""
    bias = block.attn._get_rel_pos_bias()  # 1 H A A
    if block.attn_mask is None:
        return bias.expand(windows, -1, -1, -1)
    return bias + block.attn_mask[:, None]  # W H A A


def with_mlp(block: SwinTransformerBlock, tokens: Tensor) -> Tensor:
    """The second half of a block, on tokens `... D`."""
    return tokens + block.drop_path2(block.mlp(block.norm2(tokens)))


def _split(attn: WindowAttention, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
    """`... N parts·D` to `parts` of `... H N d`."""
    heads = projected.unflatten(-1, (parts, attn.num_heads, -1))  # ... N parts H d
    return tuple(part.transpose(-3, -2) for part in heads.unbind(-3))


def _project(attn: WindowAttention, out: Tensor) -> Tensor:
    """`... H N d` to `... N D`."""
    return attn.proj(out.transpose(-3, -2).flatten(-2))


def _uniform(swin: SwinTransformer, blocks: int, count: int, width: int) -> nn.Parameter:
    """`L P D`, uniform in ± sqrt(6 / (3 · patch² + D of the first stage)), as in the official code."""
    rows, columns = swin.patch_embed.patch_size
    bound = math.sqrt(6 / (3 * rows * columns + swin.embed_dim))
    return nn.Parameter(swin.patch_embed.proj.weight.new_empty(blocks, count, width).uniform_(-bound, bound))


# ---- checks -----------------------------------------------------------------------------------------------------


def _check(swin: nn.Module, num_prompts: int, dropout: float) -> None:
    if not isinstance(swin, SwinTransformer):
        raise UserError(f"PromptedSwin needs a timm SwinTransformer, but got a {type(swin).__name__}.")
    if isinstance(swin.head.fc, nn.Identity):
        raise UserError("PromptedSwin needs a backbone with its classifier head: call swin.reset_classifier(C) first.")
    if num_prompts < 0:
        raise UserError(f"num_prompts is {num_prompts}, but must be 0 or more.")
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}, but must lie in [0, 1).")


def _check_images(swin: SwinTransformer, images: Tensor) -> None:
    size = swin.patch_embed.img_size
    if images.ndim != 4 or tuple(images.shape[-2:]) != tuple(size):
        raise UserError(
            f"images have shape {tuple(images.shape)}, but this backbone takes `B 3 {size[0]} {size[1]}`: resize them, "
            "or call swin.set_input_size first."
        )
