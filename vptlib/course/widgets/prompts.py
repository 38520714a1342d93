"""`prompt_explorer`: which token attends to which, in each layer and head of a prompted ViT."""

import math
from typing import cast

import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from timm.layers.attention import Attention
from torch import Tensor

from vptlib.course.widgets.view import DPI, View, slider
from vptlib.errors import UserError
from vptlib.explanations.attention import attention
from vptlib.prompting.vit import PromptedViT
from vptlib.tuning.methods import AdaptedModel

_CLASS, _PROMPT, _PATCH = "#C95500", "#0072B2", "#6B6B6B"  # colour-blind people can distinguish these


def prompt_explorer(model: AdaptedModel | PromptedViT, image: Tensor, layer: int = 1, head: int = 1) -> View:
    """Attention in a prompted ViT: sliders for the layer, the head and the token that asks.

    The picture shows three things: the attention of the asking token on each patch of the image, the attention of all
    tokens on all tokens, and how much the asking token gives to class token, prompts and patches. The weights are those
    of the textbook form, in which prompts are in the sequence.

    Args:
        model: with prompts (VPT-shallow or VPT-deep).
        image: `3 H W`, preprocessed as the model expects it.
        layer, head: shown first, counted from 1.

    Raises:
        UserError: a model without prompts, a layer or head that it does not have, an image that does not fit.
    """
    net = model.net if isinstance(model, AdaptedModel) else model
    if not isinstance(net, PromptedViT):
        raise UserError("prompt_explorer needs a model with prompts: build it with 'vpt-shallow' or 'vpt-deep'.")
    if image.ndim != 3:
        raise UserError(f"image has shape {tuple(image.shape)}, but must be `3 H W`: give one image, not a batch.")
    heads = cast(Attention, net.vit.blocks[0].attn).num_heads
    for name, value, most in (("layer", layer, len(net.vit.blocks)), ("head", head, heads)):
        if not 1 <= value <= most:
            raise UserError(f"{name} is {value}, but this model has {name}s 1 to {most}.")
    found = attention(net, image[None].to(net.prompts.device))  # L of 1 H T T
    weights = [of_block[0].float().cpu() for of_block in found]  # L of H T T
    names = _token_names(net.vit.num_prefix_tokens, net.num_prompts, math.prod(net.vit.patch_embed.grid_size))

    def draw(layer: int, head: int, asks: str) -> Figure:
        return _attention_figure(net, image, weights[layer - 1][head - 1].numpy(), names, layer, head, asks)

    return View(
        draw,
        {
            "layer": slider(ipywidgets.IntSlider, "layer", value=layer, min=1, max=len(weights)),
            "head": slider(ipywidgets.IntSlider, "head", value=head, min=1, max=heads),
            "asks": slider(ipywidgets.SelectionSlider, "asks", options=names, value=names[0]),
        },
        f"Attention of a prompted ViT; first shown: layer {layer}, head {head}, the class token asks.",
    )


def _token_names(prefix: int, prompts: int, patches: int) -> list[str]:
    registers = [f"register {i}" for i in range(1, prefix)]
    return [
        "class token",
        *registers,
        *(f"prompt {i + 1}" for i in range(prompts)),
        *(f"patch {i + 1}" for i in range(patches)),
    ]


def _attention_figure(
    net: PromptedViT, image: Tensor, weights: np.ndarray, names: list[str], layer: int, head: int, asks: str
) -> Figure:
    """One head's weights `T T`: over the image, as a matrix, and summed for the asking token."""
    prefix, (rows, columns) = net.vit.num_prefix_tokens, net.vit.patch_embed.grid_size
    prompts = len(weights) - prefix - rows * columns
    here = [name for name in names if prompts or not name.startswith("prompt")]
    figure = Figure(figsize=(8.8, 3.7), dpi=DPI, layout=ConstrainedLayoutEngine(rect=(0, 0, 1, 0.95)))
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.25, 1.05])
    for axis in (left, middle):
        axis.spines[["top", "right"]].set_visible(False)
    if asks not in here:
        figure.text(0.5, 0.5, f"Layer {layer} has no prompts in its sequence: choose another layer.", ha="center")
        for axis in (left, middle, right):
            axis.set_axis_off()
        return figure
    row = here.index(asks)
    spent = {
        "class token": weights[row, :prefix].sum(),
        "prompts": weights[row, prefix : prefix + prompts].sum(),
        "patches": weights[row, prefix + prompts :].sum(),
    }
    _draw_on_image(left, image, weights[row, prefix + prompts :].reshape(rows, columns))
    if asks.startswith("patch"):
        _mark_patch(left, row - prefix - prompts, columns)
    left.set_title(f"{asks}: what of the\nimage it looks at", fontsize=10, loc="left")
    _draw_matrix(middle, weights, prefix, prompts, row)
    middle.set_title(f"layer {layer}, head {head}", fontsize=10, loc="left", pad=32)
    _draw_shares(right, spent)
    unread = asks.startswith("prompt") and not net.carry
    right.set_title(
        f"{asks}: spends, %" + ("\n(its answer is thrown away)" if unread else "\n"), fontsize=10, loc="left"
    )
    return figure


def _draw_on_image(axis, image: Tensor, attention: np.ndarray) -> None:
    """The image in grey; the more attention a patch gets, the more colour covers it."""
    grey = image.mean(dim=0).cpu().numpy()
    axis.imshow(grey, cmap="gray", extent=(0, attention.shape[1], attention.shape[0], 0))
    strength = np.zeros((*attention.shape, 4))
    strength[..., :3] = np.array([int(_CLASS[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    strength[..., 3] = 0.85 * attention / max(attention.max(), 1e-9)
    axis.imshow(strength, extent=(0, attention.shape[1], attention.shape[0], 0), interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel(f"strongest colour: {100 * attention.max():.1f} %", fontsize=9)


def _mark_patch(axis, number: int, columns: int) -> None:
    y, x = divmod(number, columns)
    axis.add_patch(Rectangle((x, y), 1, 1, facecolor="none", edgecolor=_PROMPT, lw=2))


def _draw_matrix(axis, weights: np.ndarray, prefix: int, prompts: int, row: int) -> None:
    """All weights, with the names of the regions above and a frame around the asking row."""
    total = len(weights)
    unit = total / 27  # the names keep their distance from a larger matrix
    axis.imshow(weights, cmap="Greys", vmin=0, vmax=max(np.quantile(weights, 0.98), 1e-9), interpolation="nearest")
    regions = ((0, prefix, "class", _CLASS), (prefix, prompts, "prompts", _PROMPT))
    regions += ((prefix + prompts, total - prefix - prompts, "patches", _PATCH),)
    for start, size, name, colour in regions:
        if not size:
            continue
        axis.add_patch(Rectangle((start - 0.5, -0.5 - 1.4 * unit), size, 0.9 * unit, color=colour, lw=0, clip_on=False))
        at, side = (start + size / 2 - 0.5, "center") if start else (-0.5, "right")
        axis.text(at, -0.5 - 1.8 * unit, name, color=colour, ha=side, va="bottom", fontsize=9, fontweight="bold")
        if start:
            axis.axvline(start - 0.5, color=colour, lw=1)
            axis.axhline(start - 0.5, color=colour, lw=1)
    axis.add_patch(Rectangle((-0.5, row - 0.5), total, 1, facecolor="none", edgecolor=_CLASS, lw=1.5))
    axis.set(xticks=[], yticks=[], xlim=(-0.5, total - 0.5), ylim=(total - 0.5, -0.5))
    axis.set_xlabel("rows ask, columns answer", fontsize=9)


def _draw_shares(axis, spent: dict[str, float]) -> None:
    colours = dict(zip(spent, (_CLASS, _PROMPT, _PATCH), strict=True))
    for place, (name, share) in enumerate(spent.items()):
        axis.barh(place, 100 * share, color=colours[name], height=0.55)
        axis.text(100 * share + 2, place, f"{100 * share:.0f}", va="center", fontsize=10)
        axis.text(0, place - 0.36, name, color=colours[name], fontsize=9, fontweight="bold", va="bottom")
    axis.set(xlim=(0, 115), ylim=(2.5, -0.75), xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
