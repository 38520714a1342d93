"""Small ViTs of random weights, images for them, and new values for what a method adds."""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch.utils.data import TensorDataset

from vptlib.tuning.backbones import ClsMeanViT

HEAD_INPUTS = {  # what the head reads → class of the ViT, its options
    "class token": (VisionTransformer, {}),
    "class token + mean": (ClsMeanViT, {}),
    "registers": (VisionTransformer, {"reg_tokens": 3}),
    "mean, no class token": (VisionTransformer, {"global_pool": "avg", "class_token": False}),
}


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
