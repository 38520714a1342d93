"""What other methods than prompting put into a frozen backbone: small trained modules, each starting as nothing.

    adapter      a bottleneck behind each MLP (Houlsby et al. 2019, arXiv 1902.00751; placed as Pfeiffer et al. 2020)
    ssf          a scale and a shift of every feature behind each operation (Lian et al. 2022, arXiv 2210.08823)
    side-tuning  a small network beside the backbone, blended with it (Zhang et al. 2020, arXiv 1912.13503)
    mlp-k        an MLP in place of the linear head (Jia et al. 2022, arXiv 2203.12119, section 4.1)

Adapters and SSF are put into a timm `VisionTransformer` in place, which stays one.
"""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.prompts import heads

SIDE_WIDTHS = (32, 64, 128)  # channels of the side network's three convolutions


class Adapter(nn.Module):
    """An MLP with a bottleneck behind it: y + up(GELU(down(y))) with y = mlp(x); `up` starts at zero."""

    def __init__(self, mlp: nn.Module, width: int, bottleneck: int):
        super().__init__()
        self.mlp = mlp
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `B N D` to `B N D`."""
        out = self.mlp(tokens)
        return out + self.up(F.gelu(self.down(out)))


class ScaleShift(nn.Module):
    """A learned scale (from 1) and shift (from 0) of each of F features, behind another module."""

    def __init__(self, module: nn.Module, features: int):
        super().__init__()
        self.module = module
        self.scale = nn.Parameter(torch.ones(features))
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, inputs: Tensor) -> Tensor:
        """Whatever the module takes to what it gives, `... F`, scaled and shifted."""
        return self.module(inputs) * self.scale + self.shift


class SideTuned(nn.Module):
    """A frozen ViT and a small trained network whose features are blended: a · ViT + (1 - a) · side, a learned.

    a is the sigmoid of a number that starts at 0, as in the comparison of Jia et al.; their side network is an
    AlexNet, this one three strided convolutions, the mean over the image, and a linear map.
    """

    def __init__(self, vit: VisionTransformer):
        super().__init__()
        self.vit = vit
        layers, channels = [], 3
        for width in SIDE_WIDTHS:
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
            channels = width
        self.side = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, _features(vit)))
        self.blend = nn.Parameter(torch.zeros(()))

    def features(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to what the head reads, `B F`."""
        share = self.blend.sigmoid()
        frozen = self.vit.forward_head(self.vit.forward_features(images), pre_logits=True)
        return share * frozen + (1 - share) * self.side(images)

    def forward(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to logits `B C`."""
        return self.vit.head(self.features(images))


class MlpHead(nn.Sequential):
    """A classifier of k linear layers with ReLU between them, all hidden ones as wide as the features."""

    def __init__(self, in_features: int, out_features: int, layers: int):
        parts = []
        for _ in range(layers - 1):
            parts += [nn.Linear(in_features, in_features), nn.ReLU()]
        super().__init__(*parts, nn.Linear(in_features, out_features))
        self.in_features, self.out_features = in_features, out_features


def put_adapters(vit: VisionTransformer, reduction: int) -> None:
    """An adapter behind each MLP, with a bottleneck of D / `reduction`."""
    if not 1 <= reduction <= vit.embed_dim:
        raise UserError(f"reduction is {reduction}, but must lie between 1 and the backbone's width {vit.embed_dim}.")
    for block in vit.blocks:
        block.mlp = Adapter(block.mlp, vit.embed_dim, vit.embed_dim // reduction)


def put_scales_and_shifts(vit: VisionTransformer) -> None:
    """SSF behind the patch embedding, all norms, and all linear maps of the blocks.

    Raises:
        UserError: blocks without timm's plain attention and MLP.
    """
    vit.patch_embed.norm = ScaleShift(vit.patch_embed.norm, vit.embed_dim)
    vit.norm = ScaleShift(vit.norm, vit.embed_dim)
    for block in vit.blocks:
        if not all(isinstance(getattr(block, name, None), nn.Module) for name in ("norm1", "norm2", "attn", "mlp")):
            raise UserError(f"method 'ssf' needs blocks with one attention and one MLP, not {type(block).__name__}.")
        block.norm1 = ScaleShift(block.norm1, vit.embed_dim)
        block.norm2 = ScaleShift(block.norm2, vit.embed_dim)
        for module, name in ((block.attn, "qkv"), (block.attn, "proj"), (block.mlp, "fc1"), (block.mlp, "fc2")):
            linear = getattr(module, name)
            setattr(module, name, ScaleShift(linear, linear.out_features))


def put_lora(vit: VisionTransformer, rank: int) -> None:
    """LoRA (Hu et al. 2022, arXiv 2106.09685) on the joint qkv projection of each block, by the library `peft`.

    Raises:
        UserError: `peft` is not installed, or an impossible rank.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("method 'lora' needs the library peft: run `pip install -e '.[lora]'`.") from error
    if rank < 1:
        raise UserError(f"rank is {rank}, but must be 1 or more.")
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=["qkv"]), vit)


def put_mlp_head(vit: VisionTransformer, layers: int) -> None:
    """An MLP of `layers` linear layers in place of the linear head, or of both heads of a distilled DeiT."""
    if layers < 1:
        raise UserError(f"layers is {layers}, but must be 1 or more.")
    for name in ("head", "head_dist")[: len(heads(vit))]:
        linear = getattr(vit, name)
        setattr(vit, name, MlpHead(linear.in_features, linear.out_features, layers).to(linear.weight))


def _features(vit: VisionTransformer) -> int:
    """How many numbers the head reads."""
    return vit.head.in_features
