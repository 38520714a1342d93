"""Maps of what a model looked at: for each image a number per pixel, in [0, 1], whatever the method.

`gradcam` is GradCAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391, section 3) as pytorch-grad-cam computes it. In a
vision transformer the tokens of the patches, laid out on their grid, take the place of a feature map; the class
token, the register tokens and the prompts have no place in the image and are left out.

What such a map cannot say: the layer read is `blocks[-1].norm1`, the tokens as they enter the last attention. What
reaches a mean-pooled head past that attention, along the residual stream, is not in the map. Nor does a map that
looks sensible prove that the model is right, or right for good reasons.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from vptlib.errors import UserError
from vptlib.methods import AdaptedModel
from vptlib.prompts import PromptedViT

# Images explained at once; the result does not depend on it.
_BATCH = 64


def explain(model: AdaptedModel, images: Tensor, targets: Tensor | None = None, method: str = "gradcam") -> np.ndarray:
    """One map per image: where the evidence for a class lies.

    Each map is scaled by itself: 0 is the least and 1 the most evidence in *this* image, so colours of two maps
    compare where, not how much. A map of zeros means that no patch spoke for the class.

    Args:
        model: trained by any of vptlib's methods; it is left as it was found (modes, gradients, flags).
        images: `B 3 H W`, preprocessed as the model expects them.
        targets: `B` class numbers to explain; by default each image's predicted class.
        method: "gradcam".

    Returns:
        float32 `B H W` in [0, 1], upsampled to the image from one value per patch.

    Raises:
        UserError: unknown method, targets that do not fit, or pytorch-grad-cam cannot be imported.
    """
    if method not in _METHODS:
        raise UserError(f"explanation method {method!r} is not known: take one of {', '.join(_METHODS)}.")
    _check_targets(targets, len(images), model.head.out_features)
    classes = [None] * len(images) if targets is None else targets.tolist()
    with _open_to_explanation(model):
        maps = [
            _METHODS[method](model, images[start : start + _BATCH], classes[start : start + _BATCH])
            for start in range(0, len(images), _BATCH)
        ]
    return np.concatenate(maps) if maps else np.zeros((0, *images.shape[-2:]), dtype=np.float32)


# ---- GradCAM ----------------------------------------------------------------------------------------------------


def _gradcam(model: AdaptedModel, images: Tensor, classes: list[int | None]) -> np.ndarray:
    """Weights of the channels: mean gradient over patches; map: positive part of the weighted sum. `B H W`."""
    grad_cam, class_logit = _import_grad_cam()
    layer = model.vit.blocks[-1].norm1
    wanted = None if None in classes else [class_logit(number) for number in classes]
    with _gradients_from(layer):
        cam = grad_cam(model, [layer], reshape_transform=lambda tokens: patch_grid(model, tokens))
        try:  # not its own `with`, which swallows IndexError
            return cam(images, wanted)
        finally:
            cam.activations_and_grads.release()


def patch_grid(model: AdaptedModel, tokens: Tensor) -> Tensor:
    """Tokens `B N D` of any block, prompts among them or not, to the grid of patches `B D h w`.

    In every sequence the patches come last: class token, registers, prompts, patches.
    """
    height, width = model.vit.patch_embed.grid_size
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


def _import_grad_cam() -> tuple[type, type]:
    """`GradCAM` and `ClassifierOutputTarget`, imported when needed: OpenCV behind them may want system libraries."""
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except (ImportError, OSError) as error:
        raise UserError(
            f"pytorch-grad-cam cannot be imported ({error}): run `pip install --force-reinstall opencv-python-headless "
            "grad-cam`, or install the system library it names."
        ) from error
    return GradCAM, ClassifierOutputTarget


_METHODS: dict[str, Callable[[AdaptedModel, Tensor, list[int | None]], np.ndarray]] = {"gradcam": _gradcam}


# ---- the model while it is explained ----------------------------------------------------------------------------


@contextmanager
def _open_to_explanation(model: AdaptedModel) -> Iterator[None]:
    """Evaluation mode, no parameter collecting gradients, prompts in textbook form; afterwards all as before.

    The fast form calls `norm1` twice per block and never has prompts and patches in one sequence.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    prompted = [(module, module.fast) for module in model.modules() if isinstance(module, PromptedViT)]
    try:
        model.eval()
        model.requires_grad_(False)
        for module, _ in prompted:
            module.fast = False
        with torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, required, gradient in parameters:
            parameter.requires_grad_(required)
            parameter.grad = gradient
        for module, fast in prompted:
            module.fast = fast


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
