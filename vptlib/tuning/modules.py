"""Modules that other methods than prompting put into a frozen backbone.

    adapter      a bottleneck after each MLP (Houlsby et al. 2019, arXiv 1902.00751; placed as Pfeiffer et al. 2020)
    ssf          a scale and a shift of every feature after each operation (Lian et al. 2022, arXiv 2210.08823)
    side-tuning  a small network next to the backbone, blended with it (Zhang et al. 2020, arXiv 1912.13503)
    mlp-k        an MLP in place of the linear head (Jia et al. 2022, arXiv 2203.12119, section 4.1)

Adapters, SSF and LoRA (by the library `peft`) change a timm `VisionTransformer` in place, and they start as no change.
"""
# torch types all that a Module holds as Tensor or Module.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from numbers import Integral

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.prompting.blocks import heads

SIDE_WIDTHS = (32, 64, 128)  # channels of the side network's three convolutions


class Adapter(nn.Module):
    """An MLP, then a bottleneck: y + up(GELU(down(y))) with y = mlp(x); `up` starts at zero."""

    def __init__(self, mlp: nn.Module, width: int, bottleneck: int, like: Tensor):
        super().__init__()
        self.mlp = mlp
        self.down = nn.Linear(width, bottleneck).to(like)
        self.up = nn.Linear(bottleneck, width).to(like)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `B N D` to `B N D`."""
        out = self.mlp(tokens)
        return out + self.up(F.gelu(self.down(out)))


class ScaleShift(nn.Module):
    """A learned scale (from 1) and shift (from 0) of each of F features, after another module."""

    def __init__(self, module: nn.Module, features: int, like: Tensor):
        super().__init__()
        self.module = module
        self.scale = nn.Parameter(like.new_ones(features))
        self.shift = nn.Parameter(like.new_zeros(features))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of the module to its output `... F`, scaled and shifted."""
        return self.module(inputs) * self.scale + self.shift


class SideTuned(nn.Module):
    """A frozen ViT and a small trained network whose features are blended: a · ViT + (1 - a) · side, a learned.

    a is the sigmoid of a number that starts at 0, as in the comparison of Jia et al. Their side network is an AlexNet.
    This one has three strided convolutions, the mean over the image, and a linear map.
    """

    has_side_path = True  # of an `AdaptedModel` around it

    def __init__(self, vit: VisionTransformer):
        super().__init__()
        self.vit = vit
        layers, channels, like = [], 3, _like(vit)
        for width in SIDE_WIDTHS:
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
            channels = width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, vit.head.in_features)]
        self.side = nn.Sequential(*layers).to(like)
        self.blend = nn.Parameter(like.new_zeros(()))

    def features(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to what the head reads, `B F`."""
        share = self.blend.sigmoid()
        frozen = self.vit.forward_head(self.vit.forward_features(images), pre_logits=True)
        return share * frozen + (1 - share) * self.side(images)

    def forward(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to logits `B C`: the mean, if there are two heads."""
        features = self.features(images)
        return torch.stack([head(features) for head in heads(self.vit)]).mean(dim=0)


class MlpHead(nn.Sequential):
    """A classifier of k linear layers with ReLU between them, all hidden ones as wide as the features."""

    def __init__(self, in_features: int, out_features: int, layers: int):
        parts = []
        for _ in range(layers - 1):
            parts += [nn.Linear(in_features, in_features), nn.ReLU()]
        super().__init__(*parts, nn.Linear(in_features, out_features))
        self.in_features, self.out_features = in_features, out_features


def put_adapters(vit: VisionTransformer, reduction: int) -> None:
    """Put an adapter after each MLP, with a bottleneck of D / `reduction`.

    Raises:
        UserError: blocks without one attention and one MLP, or an impossible reduction.
    """
    check_whole("reduction", reduction, 1, vit.embed_dim, "the backbone's width")
    _check_blocks(vit, "adapter")
    for block in vit.blocks:
        block.mlp = Adapter(block.mlp, vit.embed_dim, vit.embed_dim // reduction, _like(vit))


def put_scales_and_shifts(vit: VisionTransformer) -> None:
    """Put SSF after the patch embedding, all norms, and all linear maps of the blocks.

    Raises:
        UserError: blocks without one attention and one MLP, or patches embedded by another network.
    """
    _check_blocks(vit, "ssf")
    if not hasattr(vit.patch_embed, "norm"):
        raise UserError(
            f"method 'ssf' needs patches embedded by one convolution, not {type(vit.patch_embed).__name__}."
        )
    like = _like(vit)
    _scale(vit.patch_embed, "norm", vit.embed_dim, like)  # an identity in most ViTs: SSF then follows the embedding
    for name in ("norm_pre", "norm", "fc_norm"):
        if not isinstance(getattr(vit, name), nn.Identity):
            _scale(vit, name, vit.embed_dim, like)
    for block in vit.blocks:
        _scale(block, "norm1", vit.embed_dim, like)
        _scale(block, "norm2", vit.embed_dim, like)
        for part in (block.attn, block.mlp):
            linears = {name: child for name, child in part.named_children() if isinstance(child, nn.Linear)}
            for name, linear in linears.items():
                _scale(part, name, linear.out_features, like)


def put_lora(vit: VisionTransformer, rank: int) -> None:
    """Put LoRA (Hu et al. 2022, arXiv 2106.09685) on the joint qkv projection of each block, by the library `peft`.

    Raises:
        UserError: `peft` is not installed, an impossible rank, or blocks without such a projection.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("method 'lora' needs the library peft: run `pip install -e '.[lora]'`.") from error
    check_whole("rank", rank, 1)
    if not any(name.endswith(".qkv") for name, _ in vit.blocks.named_modules()):
        raise UserError(f"method 'lora' needs blocks with a joint qkv projection, not {type(vit.blocks[0]).__name__}.")
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=["qkv"]), vit)


def put_mlp_head(vit: VisionTransformer, layers: int) -> None:
    """Put an MLP of `layers` linear layers in place of the linear head, or of both heads of a distilled DeiT.

    Raises:
        UserError: an impossible number of layers.
    """
    check_whole("layers", layers, 1)
    for name in ("head", "head_dist")[: len(heads(vit))]:
        linear = getattr(vit, name)
        setattr(vit, name, MlpHead(linear.in_features, linear.out_features, layers).to(linear.weight))


# ---- checks -----------------------------------------------------------------------------------------------------


def check_whole(name: str, value: int, low: int, high: int | None = None, limit: str = "") -> None:
    """Refuse a `value` of parameter `name` that is not a whole number from `low` on (up to `high`, named `limit`)."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        wanted = f"from {low} to {high}, {limit}" if high is not None else f"of {low} or more"
        raise UserError(f"{name} is {value!r}, but must be a whole number {wanted}.")


def check_untouched(vit: VisionTransformer) -> None:
    """Refuse a backbone that already has the modules of a method: two methods would be measured as one."""
    if any(isinstance(module, (Adapter, ScaleShift)) or hasattr(module, "lora_A") for module in vit.modules()):
        raise UserError("this backbone holds adapters, scales or LoRA already: give each model a fresh one, or a copy.")


def _check_blocks(vit: VisionTransformer, method: str) -> None:
    for block in vit.blocks:
        if not all(isinstance(getattr(block, name, None), nn.Module) for name in ("norm1", "norm2", "attn", "mlp")):
            raise UserError(
                f"method {method!r} needs blocks with one attention and one MLP, not {type(block).__name__}."
            )


def _scale(parent: nn.Module, name: str, features: int, like: Tensor) -> None:
    setattr(parent, name, ScaleShift(getattr(parent, name), features, like))


def _like(vit: VisionTransformer) -> Tensor:
    """A tensor whose device and type new tensors take."""
    return vit.patch_embed.proj.weight
