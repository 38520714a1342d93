"""Maps of what a model looked at: for each image a number per pixel, in [0, 1], whatever the method.

    gradcam                GradCAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391, section 3), by pytorch-grad-cam
    hirescam               HiResCAM (Draelos and Carin 2020, arXiv 2011.08891, section 4), by pytorch-grad-cam
    integrated-gradients   Integrated Gradients (Sundararajan et al., ICML 2017, arXiv 1703.01365), by captum
    attention              what the tokens that the head reads attend to in the last block
    rollout                attention followed back through all blocks (Abnar and Zuidema, ACL 2020, arXiv 2005.00928)

Why HiResCAM is the kin of GradCAM for transformers: GradCAM averages a channel's gradient over all places, as if every
place spoke to the head alike. That holds behind the last convolution of a network with mean pooling; in a transformer
each patch reaches the class token with an attention weight of its own, and averaging throws it away. HiResCAM
multiplies gradient and activation at each place, so what a patch gets is its own first-order share. GradCAM++ and
Score-CAM keep the averaging, in other forms.

Both CAMs read `blocks[-1].norm1`, the tokens as they enter the last attention. What reaches a mean-pooled head past
that attention, along the residual stream, is not in the map. `attention` and `rollout` know no class. Prompts, class
token and registers have no place in the image: `prompt_attribution` asks for the prompts themselves. That a map looks
sensible proves nothing: `vptlib.explanations.checks` holds the checks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from vptlib.errors import UserError
from vptlib.explanations.attention import class_attention, grid_of, no_side_path, opened, rollout
from vptlib.prompting.placement import FramedImages
from vptlib.prompting.vit import PromptedViT
from vptlib.tuning.methods import AdaptedModel

# Images explained at once; the result does not depend on it. Attention of all blocks takes much memory.
_BATCH = 64
_ATTENTION_BATCH = 16
_GRADIENTS_AT_ONCE = 32  # images times steps of Integrated Gradients
STEPS = 32  # of Integrated Gradients along its path


def explain(
    model: AdaptedModel,
    images: Tensor,
    targets: Tensor | None = None,
    method: str = "gradcam",
    steps: int = STEPS,
    progress: bool = False,
) -> np.ndarray:
    """One map per image: where the evidence for a class lies.

    Each map is scaled by itself: 0 is the least and 1 the most evidence in *this* image, so colours of two maps
    compare where, not how much. A map of zeros means that nothing spoke for the class. All but Integrated Gradients,
    which has a value for each pixel, are upsampled from one value per patch.

    Args:
        model: trained by any of vptlib's methods; it is left as it was found (modes, gradients, flags).
        images: `B 3 H W`, preprocessed as the model expects them.
        targets: `B` class numbers to explain; by default each image's predicted class.
        method: one of `EXPLANATIONS`.
        steps: of Integrated Gradients; the other methods have none.
        progress: show a bar; only Integrated Gradients takes long enough.

    Returns:
        float32 `B H W` in [0, 1], in the place of the image's own pixels.

    Raises:
        UserError: unknown method, targets that do not fit, a model that the method cannot follow, or pytorch-grad-cam
            cannot be imported.
    """
    if method not in _METHODS:
        raise UserError(f"explanation method {method!r} is not known: take one of {', '.join(_METHODS)}.")
    _check(model, images, targets)
    if method == "integrated-gradients":
        return positive_part(integrated_gradients(model, images, targets, steps, progress).values)
    no_side_path(model, method)
    classes = [None] * len(images) if targets is None else targets.tolist()
    batch = _ATTENTION_BATCH if method in ("attention", "rollout") else _BATCH
    with opened(model):
        maps = [
            _in_image(model, _METHODS[method](model, images[start : start + batch], classes[start : start + batch]))
            for start in range(0, len(images), batch)
        ]
    return np.concatenate(maps) if maps else np.zeros((0, *images.shape[-2:]), dtype=np.float32)


def _to_unit(maps: Tensor) -> Tensor:
    """Each of `B H W` by itself to [0, 1]. A map that does not vary becomes zeros."""
    maps = maps - maps.amin((-2, -1), keepdim=True)
    return (maps / maps.amax((-2, -1), keepdim=True).clamp(min=1e-12)).float()


def _in_image(model: AdaptedModel, maps: np.ndarray) -> np.ndarray:
    """Maps `B H W` of what the transformer saw to the image itself, which a frame may have shrunk."""
    if not isinstance(model._in_use, FramedImages):
        return maps
    edge, size = model._in_use.num_prompts, maps.shape[1:]
    inner = torch.tensor(maps)[:, None, edge:-edge, edge:-edge]
    return _to_unit(F.interpolate(inner, size, mode="bilinear")[:, 0]).numpy()


# ---- GradCAM and HiResCAM ---------------------------------------------------------------------------------------


def _gradcam(model: AdaptedModel, images: Tensor, classes: list[int | None]) -> np.ndarray:
    """Weights of the channels: mean gradient over patches; map: positive part of the weighted sum. `B H W`."""
    return _cam("GradCAM", model, images, classes)


def _hirescam(model: AdaptedModel, images: Tensor, classes: list[int | None]) -> np.ndarray:
    """Positive part of gradient times activation, summed over channels at each patch. `B H W`."""
    return _cam("HiResCAM", model, images, classes)


def _cam(kind: str, model: AdaptedModel, images: Tensor, classes: list[int | None]) -> np.ndarray:
    cams, class_logit = _import_grad_cam()
    layer = model.vit.blocks[-1].norm1
    wanted = None if None in classes else [class_logit(number) for number in classes]
    grid = grid_of(model.vit, images)
    with _gradients_from(layer):
        cam = cams[kind](model, [layer], reshape_transform=lambda tokens: patch_grid(tokens, grid))
        try:  # not its own `with`, which swallows IndexError
            return cam(images, wanted)
        finally:
            cam.activations_and_grads.release()


def patch_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens `B N D` of any block, prompts among them or not, to the grid of patches `B D h w`.

    In every sequence the patches come last: class token, registers, prompts, patches.
    """
    height, width = grid
    patches = tokens[:, -height * width :]  # B h·w D
    return patches.unflatten(1, (height, width)).permute(0, 3, 1, 2)  # B D h w


@contextmanager
def _gradients_from(layer: nn.Module) -> Iterator[None]:
    """Have autograd record from `layer` on, though no parameter may require a gradient, and nothing before it."""
    hook = layer.register_forward_pre_hook(lambda _, inputs: tuple(x.detach().requires_grad_() for x in inputs))
    try:
        yield
    finally:
        hook.remove()


def _import_grad_cam() -> tuple[dict[str, type], type]:
    """The CAMs and `ClassifierOutputTarget`, imported when needed: OpenCV behind them may want system libraries."""
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


def _attention(model: AdaptedModel, images: Tensor, _classes: list[int | None]) -> np.ndarray:
    return _upsampled(class_attention(model, images), images)


def _rollout(model: AdaptedModel, images: Tensor, _classes: list[int | None]) -> np.ndarray:
    return _upsampled(torch.tensor(rollout(model, images).patches), images)


def _upsampled(coarse: Tensor, images: Tensor) -> np.ndarray:
    """`B h w` to `B H W` in [0, 1]."""
    fine = F.interpolate(_to_unit(coarse)[:, None], images.shape[-2:], mode="bilinear")[:, 0]
    return _to_unit(fine).cpu().numpy()


# ---- Integrated Gradients ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attribution:
    """Shares of a logit, signed.

    Attributes:
        values: what each part gave; over all parts of an image they sum to `difference`, but for `gap`.
        difference: `B`, the logit with the parts as they are less that with the baseline in their place.
        gap: `B`, sum of the values less the difference: completeness, which is exact for endless steps.
    """

    values: np.ndarray
    difference: np.ndarray
    gap: np.ndarray


def integrated_gradients(
    model: AdaptedModel, images: Tensor, targets: Tensor | None = None, steps: int = STEPS, progress: bool = False
) -> Attribution:
    """Integrated Gradients of a class's logit over pixels: `values` is `B H W`, summed over colours, signed.

    The baseline is an even grey, zero after normalisation (the mean colour of the pre-training). A baseline of black
    would hand all the credit to bright things, for black pixels then cannot count.

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

    The baseline is prompts of zeros, in all layers at once. A prompt of zeros still takes attention, so this asks what
    a prompt's *content* did, not what an empty place in the sequence did.

    Args:
        model: with prompts among or on its tokens (vpt-shallow, vpt-deep, and mixtures with them).
        images, targets, steps, progress: as for `explain`.

    Raises:
        UserError: a model without such prompts, or as for `integrated_gradients`.
    """
    _check(model, images, targets)
    net = model._in_use
    if not isinstance(net, PromptedViT) or isinstance(net, FramedImages) or not net.num_prompts:
        raise UserError(f"method {model.method!r} has no prompts to ask: take vpt-shallow or vpt-deep.")
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
    """Let `given`, `B L P D`, enter in place of the model's own prompts."""
    net.layer_prompts = lambda number, _: given[:, net.layers.index(number)]
    try:
        yield
    finally:
        del net.layer_prompts


def positive_part(values: np.ndarray) -> np.ndarray:
    """What spoke for the class, of signed shares `B H W`, as maps in [0, 1].

    1 stands for the 98th percentile of a map and all above it, for a few single pixels would leave the rest dark.
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
    beside: Tensor | None = None,
) -> Attribution:
    """captum's Integrated Gradients, some images at a time so that a bar can move; `values` as `inputs`."""
    from captum.attr import IntegratedGradients

    if steps < 2:
        raise UserError(f"steps is {steps}, but Integrated Gradients needs 2 or more: take {STEPS}.")
    method = IntegratedGradients(logits, multiply_by_inputs=True)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    chunk = max(1, _GRADIENTS_AT_ONCE // steps)
    with tqdm(total=len(inputs), desc=f"Integrated Gradients over {what}", disable=not progress, unit="image") as bar:
        for start in range(0, len(inputs), chunk):
            part = slice(start, start + chunk)
            extra = () if beside is None else (beside[part],)
            values = method.attribute(
                inputs[part].detach(),
                baseline.expand_as(inputs[part]),
                target=targets[part],
                additional_forward_args=extra or None,
                n_steps=steps,
                internal_batch_size=_GRADIENTS_AT_ONCE,
            ).detach()
            difference = _difference(logits, inputs[part], baseline, targets[part], extra)
            parts.append((values, difference, values.flatten(1).sum(dim=1) - difference))
            bar.update(len(values))
    if not parts:
        return Attribution(inputs.numpy(), np.zeros(0, np.float32), np.zeros(0, np.float32))
    return Attribution(*(torch.cat(column).float().cpu().numpy() for column in zip(*parts, strict=True)))


@torch.no_grad()
def _difference(logits, inputs: Tensor, baseline: Tensor, targets: Tensor, extra: tuple) -> Tensor:
    """Logits of `targets` with the inputs less those with the baseline, `B`."""
    with_, without = (logits(x, *extra)[range(len(targets)), targets] for x in (inputs, baseline.expand_as(inputs)))
    return with_ - without


# ---- the table of methods, and checks ---------------------------------------------------------------------------


_METHODS: dict[str, Callable[[AdaptedModel, Tensor, list[int | None]], np.ndarray] | None] = {
    "gradcam": _gradcam,
    "hirescam": _hirescam,
    "integrated-gradients": None,  # has steps and a bar, so `explain` calls it itself
    "attention": _attention,
    "rollout": _rollout,
}
EXPLANATIONS = tuple(_METHODS)


@torch.no_grad()
def _predicted(model: AdaptedModel, images: Tensor) -> Tensor:
    return torch.cat([model(part).argmax(dim=1) for part in images.split(_BATCH)] or [torch.zeros(0, dtype=torch.long)])


def _check(model: AdaptedModel, images: Tensor, targets: Tensor | None) -> None:
    if not isinstance(model, AdaptedModel):
        raise UserError(f"explain takes a model from build_method, not a {type(model).__name__}.")
    _check_targets(targets, len(images), model.head.out_features)


def _check_targets(targets: Tensor | None, count: int, num_classes: int) -> None:
    if targets is None:
        return
    if targets.shape != (count,):
        raise UserError(f"targets has shape {tuple(targets.shape)}, but {count} images need one class number each.")
    if count and not 0 <= int(targets.min()) <= int(targets.max()) < num_classes:
        raise UserError(f"targets holds a class outside 0 to {num_classes - 1}, which are the model's.")


# ---- which images to look at ------------------------------------------------------------------------------------

CELLS = ("both right", "only a", "only b", "both wrong")


def four_cells(correct_a: np.ndarray, correct_b: np.ndarray, per_cell: int, seed: int) -> dict[str, np.ndarray]:
    """Test images to look at, drawn by lot from the four ways in which two models can be right: no cherry-picking.

    Args:
        correct_a: bool `N`, whether model a is right on each test image.
        correct_b: the same for model b.
        per_cell: how many to draw from each cell; a smaller cell gives all it has.
        seed: of the lot; a cell's draw depends on it and on that cell's own images only.

    Returns:
        `CELLS` → sorted test indices.

    Raises:
        UserError: if the two do not speak of the same images.
    """
    members = _cell_members(correct_a, correct_b)
    return {cell: _draw(members[cell], per_cell, [seed, number]) for number, cell in enumerate(CELLS)}


def cell_counts(correct_a: np.ndarray, correct_b: np.ndarray) -> dict[str, int]:
    """`CELLS` → how many of all test images lie in each; arguments as for `four_cells`."""
    return {cell: len(members) for cell, members in _cell_members(correct_a, correct_b).items()}


def _cell_members(correct_a: np.ndarray, correct_b: np.ndarray) -> dict[str, np.ndarray]:
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape:
        raise UserError(f"correct_a speaks of {len(a)} test images and correct_b of {len(b)}: give the same images.")
    return {cell: np.flatnonzero(inside) for cell, inside in zip(CELLS, (a & b, a & ~b, ~a & b, ~a & ~b), strict=True)}


def _draw(members: np.ndarray, count: int, seed: list[int]) -> np.ndarray:
    drawn = np.random.default_rng(seed).permutation(members)[:count]
    return np.sort(drawn)
