"""Maps of what a model looked at: a number in [0, 1] per pixel. `EXPLANATIONS` is the table of the ways to make one.

A further explanation is a function with a row in that table. Figures, checks and the course read the table.

GradCAM and HiResCAM are computed by pytorch-grad-cam, Integrated Gradients by captum. HiResCAM is the variant of
GradCAM that suits transformers. GradCAM averages a channel's gradient over all patches, as if every patch reached the
head in the same way. That holds after the last convolution of a network with mean pooling. In a transformer each patch
reaches the class token with its own attention weight, and the average loses this weight. HiResCAM multiplies gradient
and activation at each patch, so each patch gets its own first-order share. GradCAM++ and Score-CAM also average.

Both CAMs read `blocks[-1].norm1`, the tokens as they enter the last attention. A mean-pooled head also gets input along
the residual stream, past that attention; the map does not include it. Prompts, class token and registers have no
position in the image: for prompts take `prompt_attribution`. A map that looks sensible proves nothing. The checks are
in `vptlib.explanations.checks`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from timm.models.eva import EvaBlockPostNorm
from timm.models.vision_transformer import ResPostBlock
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from vptlib.errors import UserError
from vptlib.explanations.attention import class_attention, grid_of, opened, rollout
from vptlib.prompting.blocks import ViT
from vptlib.prompting.placement import FramedImages
from vptlib.prompting.vit import PromptedViT
from vptlib.tuning.methods import AdaptedModel

# How many images are computed together. The results do not depend on it.
_BATCH = 64
_ATTENTION_BATCH = 16  # fewer, because the attention of all blocks takes much memory
GRADIENTS_AT_ONCE = 32  # images times steps of Integrated Gradients
STEPS = 32  # of Integrated Gradients along its path


@dataclass(frozen=True)
class Explanation:
    """A row of the table of explanations.

    Attributes:
        title: the name in figures.
        make: model, images `B 3 H W` and targets (`B`, or None for the predicted classes) to maps `B H W` in [0, 1].
            It also gets the keywords `steps` and `progress` of `explain`.
        source: the paper and section that describe it.
        class_aware: whether the map depends on the class that is asked for.
        sees_side_path: whether the map includes a network next to the backbone (`AdaptedModel.has_side_path`).
        at_once: how many images `make` gets at once, which limits the memory it needs; None for all.
    """

    title: str
    make: Callable[..., np.ndarray]
    source: str
    class_aware: bool = True
    sees_side_path: bool = False
    at_once: int | None = _BATCH


def explain(
    model: AdaptedModel,
    images: Tensor,
    targets: Tensor | None = None,
    method: str = "gradcam",
    steps: int = STEPS,
    progress: bool = False,
) -> np.ndarray:
    """One map per image: where the evidence for a class lies.

    Each map is scaled by itself: 0 is the least and 1 the most evidence in *this* image. So the colours of two maps
    compare positions, not strength. A map of zeros means that there is no evidence for the class. Integrated Gradients
    give a value for each pixel. The other methods give one value per patch, and their maps are enlarged.

    Args:
        model: trained by any of vptlib's methods; its modes, gradients and flags are the same afterwards.
        images: `B 3 H W`, preprocessed as the model expects them.
        targets: `B` class numbers to explain; by default each image's predicted class.
        method: one of `EXPLANATIONS`.
        steps: of Integrated Gradients; the other methods have none.
        progress: show a bar; only Integrated Gradients takes long enough.

    Returns:
        float32 `B H W` in [0, 1], aligned with the image's pixels.

    Raises:
        UserError: unknown method, targets that do not fit, a model that the method cannot follow, or pytorch-grad-cam
            cannot be imported.
    """
    if method not in EXPLANATIONS:
        raise UserError(f"explanation method {method!r} is not known: take one of {', '.join(EXPLANATIONS)}.")
    _check(model, images, targets)
    _check_side_path(model, method)
    explanation, maps = EXPLANATIONS[method], [np.zeros((0, *images.shape[-2:]), dtype=np.float32)]
    with opened(model):
        for part in _parts(len(images), explanation.at_once):
            of_part = None if targets is None else targets[part]
            maps.append(explanation.make(model, images[part], of_part, steps=steps, progress=progress))
    return np.concatenate(maps)


def _parts(count: int, at_once: int | None) -> list[slice]:
    """Slices of at most `at_once` that cover `count` images; None for one slice."""
    size = at_once or max(count, 1)
    return [slice(start, start + size) for start in range(0, count, size)]


def _to_unit(maps: Tensor) -> Tensor:
    """Scale each of `B H W` by itself to [0, 1]. A map that does not vary becomes zeros."""
    maps = maps - maps.amin((-2, -1), keepdim=True)
    return (maps / maps.amax((-2, -1), keepdim=True).clamp(min=1e-12)).float()


def _in_image(model: AdaptedModel, maps: np.ndarray) -> np.ndarray:
    """Maps `B H W` of what the transformer saw to maps of the image itself, which a frame may have shrunk."""
    if not isinstance(model.in_use, FramedImages):
        return maps
    edge, size = model.in_use.num_prompts, maps.shape[1:]
    inner = torch.tensor(maps)[:, None, edge:-edge, edge:-edge]
    return _to_unit(F.interpolate(inner, size, mode="bilinear")[:, 0]).numpy()


# ---- GradCAM and HiResCAM ---------------------------------------------------------------------------------------


def _gradcam(model: AdaptedModel, images: Tensor, targets: Tensor | None, **_) -> np.ndarray:
    """Weights of the channels: mean gradient over patches; map: positive part of the weighted sum. `B H W`."""
    return _cam("GradCAM", model, images, targets)


def _hirescam(model: AdaptedModel, images: Tensor, targets: Tensor | None, **_) -> np.ndarray:
    """Positive part of gradient times activation, summed over channels at each patch. `B H W`."""
    return _cam("HiResCAM", model, images, targets)


def _cam(kind: str, model: AdaptedModel, images: Tensor, targets: Tensor | None) -> np.ndarray:
    cams, class_logit = _import_grad_cam()
    layer = _entrance(model.vit)
    wanted = None if targets is None else [class_logit(number) for number in targets.tolist()]
    grid = grid_of(model.vit, images)
    with _gradients_from(layer):
        cam = cams[kind](model, [layer], reshape_transform=lambda tokens: patch_grid(tokens, grid))
        try:  # not the `with` of pytorch-grad-cam, which hides an IndexError
            return _in_image(model, cam(images, wanted))
        finally:
            cam.activations_and_grads.release()


def _entrance(vit: ViT) -> nn.Module:
    """The norm before the last attention."""
    block = vit.blocks[-1]
    if not hasattr(block, "norm1") or isinstance(block, EvaBlockPostNorm | ResPostBlock):
        raise UserError(
            f"GradCAM needs blocks that begin with a norm, not {type(block).__name__}: take method "
            "'integrated-gradients'."
        )
    return cast(nn.Module, block.norm1)


def patch_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens `B N D` of any block, with or without prompts, to the grid of patches `B D h w`.

    The patches are last in every sequence: class token, registers, prompts, patches.
    """
    height, width = grid
    patches = tokens[:, -height * width :]  # B h·w D
    return patches.unflatten(1, (height, width)).permute(0, 3, 1, 2)  # B D h w


@contextmanager
def _gradients_from(layer: nn.Module) -> Iterator[None]:
    """Let autograd record from `layer` on, and nothing before it, even if no parameter requires a gradient."""
    hook = layer.register_forward_pre_hook(lambda _, inputs: tuple(x.detach().requires_grad_() for x in inputs))
    try:
        yield
    finally:
        hook.remove()


def _import_grad_cam() -> tuple[dict[str, type], type]:
    """The CAMs and `ClassifierOutputTarget`, imported only when needed: their OpenCV may need system libraries."""
    try:
        from pytorch_grad_cam import GradCAM, HiResCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except (ImportError, OSError) as error:
        raise UserError(
            f"pytorch-grad-cam cannot be imported ({error}): run `pip install --force-reinstall opencv-python-headless "
            "grad-cam`, or install the system library it names."
        ) from error
    return {"GradCAM": GradCAM, "HiResCAM": HiResCAM}, ClassifierOutputTarget


# ---- attention --------------------------------------------------------------------------------------------------


def _attention(model: AdaptedModel, images: Tensor, _targets: Tensor | None, **_) -> np.ndarray:
    """What the tokens that the head reads attend to in the last block. `B H W`."""
    return _in_image(model, _enlarged(class_attention(model, images), images))


def _rollout(model: AdaptedModel, images: Tensor, _targets: Tensor | None, **_) -> np.ndarray:
    """Attention followed back through all blocks. `B H W`."""
    return _in_image(model, _enlarged(torch.tensor(rollout(model, images).patches), images))


def _enlarged(coarse: Tensor, images: Tensor) -> np.ndarray:
    """`B h w` to `B H W` in [0, 1]."""
    fine = F.interpolate(_to_unit(coarse)[:, None], images.shape[-2:], mode="bilinear")[:, 0]
    return _to_unit(fine).cpu().numpy()


# ---- Integrated Gradients ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attribution:
    """Shares of a logit, signed.

    Attributes:
        values: the share of each part. Those of an image sum to `difference` plus `gap`.
        difference: `B`, the logit with the parts as they are minus the logit with the baseline instead.
        gap: `B`, sum of the values minus the difference. It goes to 0 as the steps increase (completeness).
    """

    values: np.ndarray
    difference: np.ndarray
    gap: np.ndarray


def integrated_gradients(
    model: AdaptedModel, images: Tensor, targets: Tensor | None = None, steps: int = STEPS, progress: bool = False
) -> Attribution:
    """Integrated Gradients of a class's logit over pixels: `values` is `B H W`, summed over colours, signed.

    The baseline is an even grey, zero after normalisation (the mean colour of the pre-training). With a black baseline
    black pixels could not count, and bright objects would get all the credit.

    Raises:
        UserError: targets that do not fit, or fewer than 2 steps.
    """
    _check(model, images, targets)
    with opened(model):
        targets = _predicted(model, images) if targets is None else targets
        found = _integrate(model, images, torch.zeros_like(images[:1]), targets, steps, progress, "pixels")
    return Attribution(found.values.sum(axis=1), found.difference, found.gap)


def prompt_attribution(
    model: AdaptedModel, images: Tensor, targets: Tensor | None = None, steps: int = STEPS, progress: bool = False
) -> Attribution:
    """Which prompts, in which layer, carried the decision: Integrated Gradients over them, `values` is `B L P`, signed.

    The baseline is prompts of zeros, in all layers at once. A prompt of zeros still takes attention. So this measures
    what a prompt's *content* did, not what its position in the sequence did.

    Args:
        model: with prompts among or on its tokens (vpt-shallow, vpt-deep, and mixtures with them).
        images, targets, steps, progress: as for `explain`.

    Raises:
        UserError: a model without such prompts, or as for `integrated_gradients`.
    """
    _check(model, images, targets)
    net = model.in_use
    if not isinstance(net, PromptedViT) or isinstance(net, FramedImages) or not net.num_prompts:
        raise UserError(f"method {model.method!r} has no prompts to explain: take vpt-shallow or vpt-deep.")
    with opened(model), torch.no_grad():
        targets = _predicted(model, images) if targets is None else targets
        prompts = torch.stack([net.layer_prompts(number, 1) for number in net.layers])  # L P D
        tokens = net.stem(images)  # B N D

    def logits(given: Tensor, tokens: Tensor) -> Tensor:
        with _prompts_replaced(net, given):
            return net.rest(tokens)

    each = prompts.expand(len(images), *prompts.shape)  # B L P D
    with opened(model):
        found = _integrate(logits, each, torch.zeros_like(each[:1]), targets, steps, progress, "prompts", tokens)
    return Attribution(found.values.sum(axis=-1), found.difference, found.gap)


@contextmanager
def _prompts_replaced(net: PromptedViT, given: Tensor) -> Iterator[None]:
    """Use `given`, `B L P D`, instead of the model's own prompts."""
    net.layer_prompts = lambda number, batch: given[:, net.layers.index(number)]
    try:
        yield
    finally:
        del net.layer_prompts


def positive_part(values: np.ndarray) -> np.ndarray:
    """The evidence for the class in signed shares `B H W`, as maps in [0, 1].

    1 is the 98th percentile of a map and all above it. Otherwise a few single pixels would leave the rest dark.
    """
    found = torch.tensor(values).relu()
    top = found.flatten(1).quantile(0.98, dim=1) if found.numel() else found.new_ones(len(found))
    most = torch.where(top > 0, top, found.flatten(1).amax(dim=1)) if found.numel() else top
    return (found / most.clamp(min=1e-12)[:, None, None]).clamp(max=1).numpy()


def _integrate(
    logits: Callable[..., Tensor],
    inputs: Tensor,
    baseline: Tensor,
    targets: Tensor,
    steps: int,
    progress: bool,
    what: str,
    tokens: Tensor | None = None,
) -> Attribution:
    """captum's Integrated Gradients, some images at a time so that a bar can move; `values` as `inputs`.

    `logits` also gets the `tokens` of the images, where they are given.
    """
    from captum.attr import IntegratedGradients

    if steps < 2:
        raise UserError(f"steps is {steps}, but Integrated Gradients needs 2 or more: take {STEPS}.")
    method = IntegratedGradients(logits, multiply_by_inputs=True)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    chunk = max(1, GRADIENTS_AT_ONCE // steps)
    with tqdm(total=len(inputs), desc=f"Integrated Gradients over {what}", disable=not progress, unit="image") as bar:
        for start in range(0, len(inputs), chunk):
            part = slice(start, start + chunk)
            extra = () if tokens is None else (tokens[part],)
            values = method.attribute(
                inputs[part].detach(),
                baseline.expand_as(inputs[part]),
                target=targets[part],
                additional_forward_args=extra or None,
                n_steps=steps,
                internal_batch_size=GRADIENTS_AT_ONCE,
            ).detach()
            difference = _difference(logits, inputs[part], baseline, targets[part], extra)
            parts.append((values, difference, values.flatten(1).sum(dim=1) - difference))
            bar.update(len(values))
    if not parts:
        return Attribution(inputs.numpy(), np.zeros(0, np.float32), np.zeros(0, np.float32))
    return Attribution(*(torch.cat(column).float().cpu().numpy() for column in zip(*parts, strict=True)))


@torch.no_grad()
def _difference(logits, inputs: Tensor, baseline: Tensor, targets: Tensor, extra: tuple) -> Tensor:
    """Logits of `targets` with the inputs minus those with the baseline, `B`."""
    with_, without = (logits(x, *extra)[range(len(targets)), targets] for x in (inputs, baseline.expand_as(inputs)))
    return with_ - without


# ---- the table --------------------------------------------------------------------------------------------------


def _pixel_gradients(
    model: AdaptedModel, images: Tensor, targets: Tensor | None, steps: int, progress: bool
) -> np.ndarray:
    """Positive part of Integrated Gradients over pixels. `B H W`."""
    return positive_part(integrated_gradients(model, images, targets, steps, progress).values)


EXPLANATIONS = {
    "gradcam": Explanation("GradCAM", _gradcam, "Selvaraju et al., ICCV 2017, arXiv 1610.02391, section 3"),
    "hirescam": Explanation("HiResCAM", _hirescam, "Draelos and Carin 2020, arXiv 2011.08891, section 4"),
    "integrated-gradients": Explanation(
        "Integrated Gradients",
        _pixel_gradients,
        "Sundararajan et al., ICML 2017, arXiv 1703.01365, section 3",
        sees_side_path=True,
        at_once=None,
    ),
    "attention": Explanation(
        "Attention",
        _attention,
        "Caron et al., ICCV 2021, arXiv 2104.14294, figure 1",
        class_aware=False,
        at_once=_ATTENTION_BATCH,
    ),
    "rollout": Explanation(
        "Rollout",
        _rollout,
        "Abnar and Zuidema, ACL 2020, arXiv 2005.00928, section 3",
        class_aware=False,
        at_once=_ATTENTION_BATCH,
    ),
}


# ---- checks -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def _predicted(model: AdaptedModel, images: Tensor) -> Tensor:
    return torch.cat([model(part).argmax(dim=1) for part in images.split(_BATCH)] or [torch.zeros(0, dtype=torch.long)])


def _check(model: AdaptedModel, images: Tensor, targets: Tensor | None) -> None:
    if not isinstance(model, AdaptedModel):
        raise UserError(f"explain takes a model from build_method, not a {type(model).__name__}.")
    _check_targets(targets, len(images), model.head.out_features)


def _check_side_path(model: AdaptedModel, method: str) -> None:
    if model.has_side_path and not EXPLANATIONS[method].sees_side_path:
        others = [repr(name) for name, row in EXPLANATIONS.items() if row.sees_side_path]
        raise UserError(
            f"{method!r} cannot follow the network next to the backbone that {model.method!r} adds: take "
            f"{' or '.join(others)}."
        )


def _check_targets(targets: Tensor | None, count: int, num_classes: int) -> None:
    if targets is None:
        return
    if targets.shape != (count,):
        raise UserError(f"targets has shape {tuple(targets.shape)}, but {count} images need one class number each.")
    if count and not 0 <= int(targets.min()) <= int(targets.max()) < num_classes:
        raise UserError(f"targets has a class outside 0 to {num_classes - 1}, the model's classes.")


# ---- which images to look at ------------------------------------------------------------------------------------

CELLS = ("both right", "only a", "only b", "both wrong")


def four_cells(correct_a: np.ndarray, correct_b: np.ndarray, per_cell: int, seed: int) -> dict[str, np.ndarray]:
    """Test images to look at, drawn at random from the four ways in which two models can be right: no cherry-picking.

    Args:
        correct_a: bool `N`, whether model a is right on each test image.
        correct_b: the same for model b.
        per_cell: how many to draw from each cell; a smaller cell gives all it has.
        seed: of the draw; what is drawn from a cell depends only on the seed and on that cell's images.

    Returns:
        `CELLS` → sorted test indices.

    Raises:
        UserError: if the two have different numbers of images.
    """
    members = _cell_members(correct_a, correct_b)
    return {cell: _draw(members[cell], per_cell, [seed, number]) for number, cell in enumerate(CELLS)}


def cell_counts(correct_a: np.ndarray, correct_b: np.ndarray) -> dict[str, int]:
    """`CELLS` → how many of all test images are in each; arguments as for `four_cells`."""
    return {cell: len(members) for cell, members in _cell_members(correct_a, correct_b).items()}


def _cell_members(correct_a: np.ndarray, correct_b: np.ndarray) -> dict[str, np.ndarray]:
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape:
        raise UserError(f"correct_a has {len(a)} test images and correct_b {len(b)}: give both for the same images.")
    return {cell: np.flatnonzero(inside) for cell, inside in zip(CELLS, (a & b, a & ~b, ~a & b, ~a & ~b), strict=True)}


def _draw(members: np.ndarray, count: int, seed: list[int]) -> np.ndarray:
    drawn = np.random.default_rng(seed).permutation(members)[:count]
    return np.sort(drawn)
