"""Small ViTs of random weights and of today's families, images for them, and new values for what a method adds."""

from functools import partial

import torch
from timm.layers.mlp import SwiGLU
from timm.layers.norm import LayerNorm, RmsNorm
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch.utils.data import TensorDataset

from vptlib.tuning.backbones import ClsMeanViT

HEAD_INPUTS = {  # what the head reads → class of the ViT, its options
    "class token": (VisionTransformer, {}),
    "class token + mean": (ClsMeanViT, {}),
    "registers": (VisionTransformer, {"reg_tokens": 3}),
    "mean, no class token": (VisionTransformer, {"global_pool": "avg", "class_token": False}),
}

_ROPE = {"use_rot_pos_emb": True}
_GATED = {"swiglu_mlp": True, "mlp_ratio": 8 / 3}
FAMILIES = {  # name → class of the backbone, its options, as timm's models of that name have them
    "dinov3": (
        Eva,
        {"rope_type": "dinov3", "rope_temperature": 100, "rope_rotate_half": True, "use_abs_pos_emb": False}
        | {"num_reg_tokens": 4, "qkv_bias": False, "init_values": 0.5, "use_fc_norm": False, "dynamic_img_size": True}
        | {"norm_layer": partial(LayerNorm, eps=1e-5)}
        | _ROPE,
    ),
    "eva02": (Eva, {"qkv_fused": False, "scale_mlp": True, "ref_feat_shape": (2, 2)} | _GATED | _ROPE),
    "eva02, small": (Eva, {"ref_feat_shape": (2, 2)} | _GATED | _ROPE),
    "eva02, clip": (
        Eva,
        {"qkv_fused": False, "scale_mlp": True, "scale_attn_inner": True, "global_pool": "token"} | _GATED | _ROPE,
    ),
    "eva": (Eva, {}),
    "pe": (
        Eva,
        {"global_pool": "map", "attn_type": "rope", "use_pre_transformer_norm": True, "attn_pool_num_heads": 4}
        | {"rope_grid_offset": 1.0, "rope_grid_indexing": "xy"}
        | _ROPE,
    ),
    "rope-vit, mixed": (
        Eva,
        {"rope_type": "mixed", "attn_type": "rope", "global_pool": "token", "use_abs_pos_emb": False}
        | {"rope_grid_indexing": "xy", "rope_temperature": 10.0}
        | _ROPE,
    ),
    "siglip2": (VisionTransformer, {"global_pool": "map", "class_token": False, "act_layer": "gelu_tanh"}),
    "aimv2": (
        VisionTransformer,
        {"global_pool": "avg", "class_token": False, "fc_norm": False, "qkv_bias": False, "proj_bias": False}
        | {"norm_layer": partial(RmsNorm, eps=1e-5), "embed_norm_layer": partial(RmsNorm, eps=1e-5)}
        | {"mlp_layer": SwiGLU, "act_layer": "silu", "mlp_ratio": 2.75},
    ),
}


def small_family(name, **options):
    """A `small_vit` of one of `FAMILIES`."""
    kind, own = FAMILIES[name]
    return small_vit(kind, **own | options)


def small_vit(kind=VisionTransformer, seed=0, **options):
    """A ViT for 28 px in patches of 14, with width 32, 2 blocks and 2 heads, unless `options` give others."""
    torch.manual_seed(seed)
    sizes = {"img_size": 28, "patch_size": 14, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0}
    return kind(**sizes | options).eval()


def draw_images(count=2, size=28, seed=1, dtype=torch.float32):
    """Noise, B 3 H W."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def bright_and_dark(count, seed=0, noise=0.3):
    """Images for a small ViT, by turns of class 0, which is dark, and of class 1, which is bright."""
    labels = torch.arange(count) % 2
    pixels = draw_images(count, seed=seed) * noise + (2.0 * labels - 1)[:, None, None, None]
    return TensorDataset(pixels, labels)


@torch.no_grad()
def redraw(tensors, seed, scale=1.0):
    """Fill all tensors, in their order, with normal numbers of one generator."""
    draw = torch.Generator().manual_seed(seed)
    for tensor in tensors:
        tensor.copy_(torch.randn(tensor.shape, generator=draw, dtype=tensor.dtype) * scale)
