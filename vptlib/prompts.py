"""Visual prompt tuning: a frozen vision transformer and a few learned vectors put among its tokens.

VPT (Jia et al., ECCV 2022, arXiv 2203.12119, section 3.2) learns prompts P and a classifier head and nothing else:

    shallow   [x_1, Z_1, E_1] = L_1([x_0, P,       E_0])      one set of prompts, which then travels on as Z
    deep      [x_i, _,   E_i] = L_i([x_i-1, P_i-1, E_i-1])    a fresh set at every layer, its outputs thrown away

x is the class token, E the patch tokens, L_i a transformer block. Prompts have no position embedding and stand
right behind the class token (and the register tokens, where the backbone has them).

Deep prompting has two forms here that give the same numbers. `textbook_blocks` does what the equations say.
`fast_blocks` leaves out what the equations throw away: no output of a deep prompt is ever read, so a prompt needs
neither a query nor the MLP, only its key and value, and these are the same for every image of a batch.
"""

import math

import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from vptlib.errors import UserError


class PromptedViT(nn.Module):
    """A frozen timm ViT with learned prompts; only `prompts` and the classifier head require gradients.

    Args:
        vit: a timm `VisionTransformer` with its classifier head; it is frozen in place.
        num_prompts: prompts per prompted layer (P); 0 gives the plain backbone.
        deep: prompts at every layer (VPT-deep) rather than before the first only (VPT-shallow).
        dropout: probability of dropping a prompt's entries in training, drawn for each image apart.
        fast: use the fast form wherever it is exact; False forces the textbook form.

    Attributes:
        prompts: parameter of shape `L P D`: L prompted layers (1 if shallow), P prompts, width D.

    Raises:
        UserError: if `vit` is not a plain timm vision transformer, or a number is out of range.
    """

    def __init__(
        self, vit: VisionTransformer, num_prompts: int = 10, deep: bool = True, dropout: float = 0.0, fast: bool = True
    ):
        super().__init__()
        _check(vit, num_prompts, dropout)
        self.vit = vit.requires_grad_(False).eval()
        vit.head.requires_grad_(True)
        self.num_prompts = num_prompts
        self.deep = deep
        self.fast = fast
        self.dropout = nn.Dropout(dropout)
        layers = len(vit.blocks) if deep else 1
        self.prompts = nn.Parameter(initial_prompts(layers, num_prompts, vit))

    def forward(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to logits `B C`."""
        return self.vit.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to normalised tokens `B N D`, prompts left out, as timm's method of that name gives."""
        tokens = embed(self.vit, images)  # B N D
        blocks = fast_blocks if self.uses_fast_form else textbook_blocks
        return self.vit.norm(blocks(self, tokens))  # B N D

    @property
    def uses_fast_form(self) -> bool:
        """Whether the short cut is asked for and exact: deep prompts in plain pre-norm blocks."""
        return self.fast and self.deep and self.num_prompts > 0 and all(map(_is_plain, self.vit.blocks))

    def layer_prompts(self, layer: int, batch: int) -> Tensor:
        """The prompts of one layer as they enter it: `P D`, or `B P D` where dropout draws for each image apart."""
        prompts = self.prompts[layer]  # P D
        if self.training and self.dropout.p > 0:
            return self.dropout(prompts.expand(batch, -1, -1))  # B P D
        return prompts

    def train(self, mode: bool = True) -> "PromptedViT":
        """Training mode for the prompts; the frozen backbone stays in evaluation mode, as in the official code."""
        super().train(mode)
        self.vit.eval()
        return self


def initial_prompts(layers: int, num_prompts: int, vit: VisionTransformer) -> Tensor:
    """Uniform in ± sqrt(6 / (3 · patch² + D)), the official code's choice; shape `L P D`."""
    height, width = vit.patch_embed.patch_size
    bound = math.sqrt(6 / (3 * height * width + vit.embed_dim))
    like = vit.patch_embed.proj.weight  # for its device and type
    return like.new_empty(layers, num_prompts, vit.embed_dim).uniform_(-bound, bound)


def embed(vit: VisionTransformer, images: Tensor) -> Tensor:
    """Images `B 3 H W` to the tokens `B N D` that enter the first block: class token, registers, patches."""
    tokens = vit.patch_embed(images)  # B N-1 D
    tokens = vit._pos_embed(tokens)  # B N D
    return vit.norm_pre(vit.patch_drop(tokens))


# ---- the textbook form ------------------------------------------------------------------------------------------


def textbook_blocks(model: PromptedViT, tokens: Tensor) -> Tensor:
    """All blocks as the paper's equations 4 to 8 write them: join, run, and replace. `B N D` to `B N D`."""
    prefix, count = model.vit.num_prefix_tokens, model.num_prompts
    for layer, block in enumerate(model.vit.blocks):
        if layer < len(model.prompts):
            if layer > 0:
                tokens = without_prompts(tokens, prefix, count)  # B N D
            tokens = with_prompts(tokens, model.layer_prompts(layer, len(tokens)), prefix)  # B N+P D
        tokens = block(tokens)
    return without_prompts(tokens, prefix, count)  # B N D


def with_prompts(tokens: Tensor, prompts: Tensor, prefix: int) -> Tensor:
    """Tokens `B N D` and prompts `P D` or `B P D` to `B N+P D`, the prompts behind `prefix` tokens."""
    prompts = prompts.expand(len(tokens), -1, -1)  # B P D
    return torch.cat([tokens[:, :prefix], prompts, tokens[:, prefix:]], dim=1)


def without_prompts(tokens: Tensor, prefix: int, count: int) -> Tensor:
    """Tokens `B N+P D` to `B N D`."""
    return torch.cat([tokens[:, :prefix], tokens[:, prefix + count :]], dim=1)


# ---- the fast form ----------------------------------------------------------------------------------------------


def fast_blocks(model: PromptedViT, tokens: Tensor) -> Tensor:
    """All blocks with prompts as further keys and values only. `B N D` to `B N D`."""
    for layer, block in enumerate(model.vit.blocks):
        prompts = model.layer_prompts(layer, len(tokens))  # P D or B P D
        attended = prompted_attention(block.attn, block.norm1(tokens), block.norm1(prompts))  # B N D
        tokens = tokens + block.drop_path1(block.ls1(attended))
        tokens = tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))
    return tokens


def prompted_attention(attn: Attention, tokens: Tensor, prompts: Tensor) -> Tensor:
    """Tokens `B N D` attend to themselves and to the prompts `P D` or `B P D`; gives `B N D`."""
    q, k, v = attn.qkv(tokens).unflatten(-1, (3, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4)  # B H N d
    prompt_k, prompt_v = _keys_and_values(attn, prompts)  # H P d or B H P d
    k = torch.cat([attn.k_norm(k), _for_each_image(attn.k_norm(prompt_k), len(k))], dim=2)  # B H N+P d
    v = torch.cat([v, _for_each_image(prompt_v, len(v))], dim=2)  # B H N+P d
    out = F.scaled_dot_product_attention(attn.q_norm(q), k, v)  # B H N d
    out = attn.norm(out.transpose(1, 2).flatten(2))  # B N D
    return attn.proj(out)


def _keys_and_values(attn: Attention, prompts: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values alone, each `H P d` or `B H P d`: the lower two thirds of the joint qkv projection."""
    weight = attn.qkv.weight[attn.attn_dim :]  # 2D D
    bias = None if attn.qkv.bias is None else attn.qkv.bias[attn.attn_dim :]
    kv = F.linear(prompts, weight, bias).unflatten(-1, (2, attn.num_heads, attn.head_dim))  # ... P 2 H d
    k, v = kv.unbind(-3)  # ... P H d
    return k.transpose(-3, -2), v.transpose(-3, -2)


def _for_each_image(prompts: Tensor, batch: int) -> Tensor:
    """`H P d`, shared by all images, or `B H P d` to `B H P d`."""
    return prompts.expand(batch, -1, -1, -1)


# ---- checks -----------------------------------------------------------------------------------------------------


def _is_plain(block: nn.Module) -> bool:
    """Whether a block is the pre-norm block that the fast form repeats, with timm's plain attention."""
    return type(block) is Block and type(block.attn) is Attention and block.attn.gate is None


def _check(vit: nn.Module, num_prompts: int, dropout: float) -> None:
    if not isinstance(vit, VisionTransformer):
        raise UserError(f"PromptedViT needs a timm VisionTransformer, but got a {type(vit).__name__}.")
    if isinstance(vit.head, nn.Identity):
        raise UserError("PromptedViT needs a backbone with its classifier head: call vit.reset_classifier(C) first.")
    if num_prompts < 0:
        raise UserError(f"num_prompts is {num_prompts}, but must be 0 or more.")
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}, but must lie in [0, 1).")
