"""GradCAM against six lines written by hand, and against a planted feature; the model is unchanged afterwards."""

import builtins
import io
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from models import HEAD_INPUTS, draw_images, small_vit
from sklearn.datasets import load_digits
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.explanations import maps as maps_module
from vptlib.explanations.attention import class_attention
from vptlib.explanations.maps import (
    CELLS,
    EXPLANATIONS,
    Explanation,
    cell_counts,
    explain,
    four_cells,
    integrated_gradients,
    prompt_attribution,
)
from vptlib.report.gradcam_page import gradcam_page
from vptlib.tuning.methods import METHODS as ALL_METHODS
from vptlib.tuning.methods import build_method

METHODS = ("linear", "vpt-shallow", "vpt-deep", "full")
SIZE, PATCH, GRID = 56, 14, 4


def vit(backbone: str = "class token", **options) -> VisionTransformer:
    kind, extra = HEAD_INPUTS[backbone]
    return small_vit(kind, **({"img_size": SIZE} | extra | options))


def adapted(method: str, backbone: str = "class token", **options):
    prompts = {"num_prompts": 5} if method.startswith("vpt") else {}
    model = build_method(method, vit(backbone, **options), 3, **prompts).eval()
    if method == "knn":  # its head has nothing to vote before it has seen labelled images
        with torch.no_grad():
            model.head.remember(model.features(draw_images(12, size=SIZE, seed=5)), torch.arange(12) % 3, 5)
    return model


images = partial(draw_images, size=SIZE)


def to_unit(maps: torch.Tensor) -> torch.Tensor:
    maps = maps - maps.amin((-2, -1), keepdim=True)
    return maps / maps.amax((-2, -1), keepdim=True)


def by_hand(model, pictures: torch.Tensor, classes: list[int]) -> np.ndarray:
    """GradCAM without pytorch-grad-cam; torch enlarges the map."""
    seen = []
    hook = model.vit.blocks[-1].norm1.register_forward_hook(lambda _, __, output: seen.append(output))
    logits = model(pictures.requires_grad_())
    hook.remove()
    gradients = torch.autograd.grad(logits[range(len(classes)), classes].sum(), seen[0])[0]  # B N D
    evidence = (gradients[:, -GRID * GRID :].mean(1, keepdim=True) * seen[0][:, -GRID * GRID :]).sum(-1)  # B h·w
    coarse = to_unit(evidence.relu().reshape(-1, 1, GRID, GRID))
    return to_unit(F.interpolate(coarse, scale_factor=PATCH, mode="bilinear"))[:, 0].detach().numpy()


@pytest.mark.parametrize("backbone", HEAD_INPUTS)
@pytest.mark.parametrize("method", METHODS)
def test_agrees_with_six_lines_by_hand(method, backbone):
    model = adapted(method, backbone)
    if method.startswith("vpt"):
        model.net.fast = False
    expected = by_hand(model, images(), [2, 0])
    maps = explain(model, images(), torch.tensor([2, 0]))
    assert expected.max() == 1 and expected.std() > 0.05  # the comparison is not one of empty maps
    np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_fast_and_textbook_form_have_the_same_maps():
    model = adapted("vpt-deep")
    assert model.net.uses_fast_form
    from_fast = explain(model, images())
    model.net.fast = False
    np.testing.assert_array_equal(from_fast, explain(model, images()))


@pytest.mark.parametrize("method", METHODS)
def test_maps_have_the_images_shape_and_lie_from_0_to_1(method):
    maps = explain(adapted(method), images(3))
    assert maps.shape == (3, SIZE, SIZE) and maps.dtype == np.float32
    assert maps.min() >= 0 and maps.max() <= 1


def test_by_default_the_predicted_class_is_explained():
    model = adapted("full")
    with torch.no_grad():
        predicted = model(images()).argmax(1)
    np.testing.assert_array_equal(explain(model, images()), explain(model, images(), predicted))
    other = explain(model, images(), (predicted + 1) % 3)
    assert np.abs(other - explain(model, images())).max() > 0.1


def test_many_images_are_explained_as_each_alone(monkeypatch):
    monkeypatch.setitem(EXPLANATIONS, "gradcam", replace(EXPLANATIONS["gradcam"], at_once=2))
    model, targets = adapted("vpt-deep"), torch.tensor([0, 1, 2, 0, 1])
    together = explain(model, images(5), targets)
    alone = [explain(model, images(5)[i : i + 1], targets[i : i + 1]) for i in range(5)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)


# ---- a planted feature -------------------------------------------------------------------------------------------


def dark_with_bright_patch(row: int, column: int) -> torch.Tensor:
    picture = 0.1 * torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    picture[:, :, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = 1
    return picture


@torch.no_grad()
def decided_by_bright_patch(method: str, backbone: str):
    """Class 1 where the image has a bright patch, class 0 where it has none; attention carries the information.

    Channel 0 of a token is the brightness of its patch. Attention is even and copies channel 0 to all tokens, the MLPs
    add nothing, and the head reads channel 0 of what it pools.
    """
    model = adapted(method, backbone, embed_dim=8)
    net, width = model.vit, 8
    for name, parameter in model.named_parameters():
        if "norm" not in name and "prompts" not in name:
            parameter.zero_()
    net.patch_embed.proj.weight[0] = 1 / (3 * PATCH * PATCH)
    net.pos_embed[..., 1] = 1  # otherwise the norms would enlarge the small values of a dark patch
    net.blocks[-1].attn.qkv.weight[2 * width, 0] = 1
    net.blocks[-1].attn.proj.weight[0, 0] = 1
    model.head.weight[1, ::width] = 1
    dark, bright = (float(model(picture)[0, 1]) for picture in (torch.zeros(1, 3, SIZE, SIZE), PLANTED))
    model.head.bias[0] = (dark + bright) / 2
    model.head.bias[2] = -100
    return model


PLANTED = dark_with_bright_patch(2, 1)


@pytest.mark.parametrize("place", [(0, 0), (2, 1), (3, 2)])
@pytest.mark.parametrize("backbone", HEAD_INPUTS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("explanation", ["gradcam", "hirescam", "integrated-gradients"])
def test_map_points_at_the_patch_that_decides(explanation, method, backbone, place):
    model = decided_by_bright_patch(method, backbone)
    picture = dark_with_bright_patch(*place)
    assert int(model(picture).argmax()) == 1 and int(model(torch.zeros_like(picture)).argmax()) == 0
    found = explain(model, picture, method=explanation)[0]
    coarse = F.adaptive_avg_pool2d(torch.tensor(found)[None], GRID)[0]
    assert divmod(int(coarse.argmax()), GRID) == place


@pytest.mark.parametrize("place", [(0, 0), (3, 2)])
@pytest.mark.parametrize("backbone", HEAD_INPUTS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("explanation", ["attention", "rollout"])
def test_attention_points_at_the_patch_that_gets_it(explanation, method, backbone, place):
    """The bright patch also gets the attention, once keys carry brightness and all queries ask for it."""
    model = decided_by_bright_patch(method, backbone)
    with torch.no_grad():
        for block in model.vit.blocks:
            block.attn.qkv.bias[:8] = 1
            block.attn.qkv.weight[8:16, 0] = 4
    picture = dark_with_bright_patch(*place)
    found = torch.tensor(explain(model, picture, method=explanation))
    assert divmod(int(F.adaptive_avg_pool2d(found, GRID).argmax()), GRID) == place


# ---- every map, every model --------------------------------------------------------------------------------------


@pytest.mark.parametrize("explanation", EXPLANATIONS)
@pytest.mark.parametrize("method", ALL_METHODS)
def test_every_method_gets_a_map_or_a_clear_refusal(method, explanation):
    model = adapted(method)
    if method == "side-tuning" and explanation != "integrated-gradients":
        with pytest.raises(UserError, match="next to the backbone"):
            explain(model, images(), method=explanation)
        return
    maps = explain(model, images(), method=explanation, steps=4)
    assert maps.shape == (2, SIZE, SIZE) and maps.dtype == np.float32
    assert maps.min() >= 0 and maps.max() == pytest.approx(1)


@pytest.mark.parametrize("explanation", EXPLANATIONS)
@pytest.mark.parametrize("backbone", HEAD_INPUTS)
def test_images_of_another_shape_get_maps_of_their_own(backbone, explanation):
    model = adapted("vpt-deep", backbone, dynamic_img_size=True)
    pictures = torch.randn(2, 3, 3 * PATCH, 5 * PATCH, generator=torch.Generator().manual_seed(3))
    maps = explain(model, pictures, method=explanation, steps=4)
    assert maps.shape == (2, 3 * PATCH, 5 * PATCH) and maps.max() == pytest.approx(1)


@pytest.mark.parametrize("where", ["prepend", "pixel", "pad", "add"])
@pytest.mark.parametrize("explanation", EXPLANATIONS)
def test_other_kinds_of_prompts_leave_the_map_aligned_with_the_image(explanation, where):
    model = build_method("vpt-shallow", vit(), 3, num_prompts={"add": 1, "pad": 7}.get(where, 5), where=where).eval()
    maps = explain(model, images(), method=explanation, steps=4)
    assert maps.shape == (2, SIZE, SIZE) and maps.max() == pytest.approx(1)


def test_a_frame_is_cut_off_the_map():
    """What is left in the image is left in its map, at the image's own scale, although the image was shrunk."""
    model = build_method("vpt-shallow", vit(), 3, num_prompts=14, where="pad").eval()
    coarse = to_unit(class_attention(model, images()))
    framed = to_unit(F.interpolate(coarse[:, None], (SIZE, SIZE), mode="bilinear")[:, 0])
    inner = F.interpolate(framed[:, None, 14:-14, 14:-14], (SIZE, SIZE), mode="bilinear")[:, 0]
    np.testing.assert_allclose(explain(model, images(), method="attention"), to_unit(inner), atol=1e-5)


def test_hirescam_agrees_with_lines_by_hand():
    model = adapted("linear")
    seen = []
    hook = model.vit.blocks[-1].norm1.register_forward_hook(lambda _, __, output: seen.append(output))
    logits = model(images().requires_grad_())
    hook.remove()
    gradients = torch.autograd.grad(logits[:, 1].sum(), seen[0])[0]  # B N D
    evidence = (gradients * seen[0])[:, -GRID * GRID :].sum(-1).relu().reshape(-1, 1, GRID, GRID)
    expected = to_unit(F.interpolate(to_unit(evidence), scale_factor=PATCH, mode="bilinear"))[:, 0].detach().numpy()
    found = explain(model, images(), torch.tensor([1, 1]), method="hirescam")
    assert expected.std() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-6)


# ---- the table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("explanation", EXPLANATIONS)
def test_a_map_depends_on_the_class_exactly_if_its_row_says_so(explanation):
    model = adapted("full")
    first, second = (explain(model, images(), torch.tensor([k, k]), explanation, steps=4) for k in (0, 1))
    assert np.array_equal(first, second) != EXPLANATIONS[explanation].class_aware


@pytest.mark.parametrize("explanation", EXPLANATIONS)
def test_every_row_names_its_source(explanation):
    assert re.search(r"\d{4}, arXiv \d{4}\.\d{5}, (section|figure) \d", EXPLANATIONS[explanation].source)


def test_a_further_explanation_is_one_more_row(monkeypatch):
    def brightness(model, images, targets, **_):
        assert len(images) <= 2
        return images.mean(dim=1).clamp(0, 1).numpy()

    monkeypatch.setitem(EXPLANATIONS, "brightness", Explanation("Brightness", brightness, "here", at_once=2))
    found = explain(adapted("linear"), images(3), method="brightness")
    np.testing.assert_array_equal(found, images(3).mean(dim=1).clamp(0, 1))
    with pytest.raises(UserError, match=r"take one of gradcam, .*, rollout, brightness"):
        explain(adapted("linear"), images(), method="darkness")


# ---- Integrated Gradients ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", HEAD_INPUTS)
@pytest.mark.parametrize("method", METHODS)
def test_pixels_account_for_the_whole_difference(method, backbone):
    model = adapted(method, backbone)
    found = integrated_gradients(model, images(), torch.tensor([0, 2]), steps=64)
    with torch.no_grad():
        change = (model(images()) - model(torch.zeros(1, 3, SIZE, SIZE)))[range(2), [0, 2]]
    np.testing.assert_allclose(found.difference, change, atol=1e-5)
    assert np.abs(found.difference).max() > 0.05  # the difference is not trivial
    assert np.abs(found.gap).max() < 0.01 * np.abs(found.difference).max() + 1e-3
    np.testing.assert_allclose(found.values.sum(axis=(1, 2)) - found.gap, found.difference, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"projection": 6}, {"layers": "last 1"}])
@pytest.mark.parametrize("method", ["vpt-shallow", "vpt-deep", "full+prompts"])
def test_prompts_account_for_the_whole_difference(method, options):
    model = build_method(method, vit(), 3, num_prompts=5, **options).eval()
    with torch.no_grad():
        model.net.prompts *= 8  # otherwise the difference is small
    found = prompt_attribution(model, images(), torch.tensor([0, 2]), steps=128)
    assert found.values.shape == (2, len(model.net.layers), 5)
    assert np.abs(found.difference).max() > 0.01
    assert np.abs(found.gap).max() < 0.02 * np.abs(found.difference).max()


@torch.no_grad()
def test_the_prompt_that_decides_gets_the_credit():
    """One prompt of five carries brightness in channel 0, which attention copies to all; the head reads it."""
    model = decided_by_bright_patch("vpt-deep", "class token")
    model.net.prompts.zero_()
    model.net.prompts[..., 1] = 1
    model.net.prompts[-1, 3, 0] = 2
    found = prompt_attribution(model, dark_with_bright_patch(0, 0), torch.tensor([1])).values[0]  # L P
    assert np.unravel_index(found.argmax(), found.shape) == (1, 3)
    assert found[1, 3] > 5 * np.abs(np.delete(found.ravel(), 8)).max()


def test_steps_at_once_change_nothing(monkeypatch):
    model = adapted("vpt-deep")
    whole = integrated_gradients(model, images(5), steps=6).values
    monkeypatch.setattr(maps_module, "GRADIENTS_AT_ONCE", 4)
    np.testing.assert_allclose(integrated_gradients(model, images(5), steps=6).values, whole, atol=1e-5)


def test_a_bar_is_shown_on_request(capsys):
    explain(adapted("linear"), images(), method="integrated-gradients", steps=2, progress=True)
    assert "Integrated Gradients over pixels" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["linear", "full"])
def test_a_model_without_prompts_has_none_to_explain(method):
    with pytest.raises(UserError, match="no prompts to explain"):
        prompt_attribution(adapted(method), images())


# ---- the model is unchanged --------------------------------------------------------------------------------------


def state_of(model) -> list:
    """Flags, gradients, modes and weights; and the size of each dictionary of a module, its hooks among them."""
    flags = [(p.requires_grad, p.grad is None or p.grad.clone()) for p in model.parameters()]
    sizes = [{name: len(part) for name, part in vars(m).items() if isinstance(part, dict)} for m in model.modules()]
    modes = [(m.training, getattr(m, "fast", None), size) for m, size in zip(model.modules(), sizes, strict=True)]
    return [flags, modes, {name: t.clone() for name, t in model.state_dict().items()}]


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("explanation", EXPLANATIONS)
def test_an_explanation_leaves_the_model_unchanged(explanation, method, training):
    model = adapted(method).train(training)
    model(images()).sum().backward()
    before = state_of(model)
    explain(model, images(), method=explanation, steps=2)
    if method.startswith("vpt"):
        prompt_attribution(model, images(), steps=2)
        assert "layer_prompts" not in vars(model.net)
    assert same(before, state_of(model))


def test_an_error_leaves_the_model_unchanged():
    model = adapted("vpt-deep").train()
    before = state_of(model)
    with pytest.raises(UserError):
        explain(model, torch.zeros(1, 3, SIZE + PATCH, SIZE))
    assert same(before, state_of(model))


def test_it_works_where_gradients_are_off():
    model = adapted("linear")
    with torch.no_grad():
        inside = explain(model, images())
    np.testing.assert_array_equal(inside, explain(model, images()))


def test_an_explanation_leaves_the_images_unchanged():
    pictures = images()
    explain(adapted("vpt-deep"), pictures)
    assert not pictures.requires_grad and torch.equal(pictures, images())


# ---- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ({"method": "gradcam++"}, "gradcam\\+\\+"),
        ({"targets": torch.tensor([1])}, "targets has shape"),
        ({"targets": torch.tensor([0, 3])}, "outside 0 to 2"),
        ({"targets": torch.tensor([0, -1])}, "outside 0 to 2"),
        ({"method": "integrated-gradients", "steps": 1}, "steps is 1"),
    ],
)
def test_mistakes_are_named(arguments, culprit):
    with pytest.raises(UserError, match=culprit):
        explain(adapted("linear"), images(), **arguments)


def test_a_bare_network_is_refused():
    with pytest.raises(UserError, match="from build_method"):
        explain(vit(), images())


def test_a_failed_import_names_the_fix(monkeypatch):
    real = builtins.__import__

    def without_opencv(name, *rest):
        if name.startswith("pytorch_grad_cam"):
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_opencv)
    with pytest.raises(UserError, match=r"libGL\.so\.1.*opencv-python-headless"):
        explain(adapted("linear"), images())


# ---- the four cells ----------------------------------------------------------------------------------------------

A = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 1], dtype=bool)
B = np.array([1, 1, 1, 1, 0, 1, 1, 0, 0, 0], dtype=bool)


def test_each_cell_has_the_images_of_its_name():
    cells = four_cells(A, B, per_cell=10, seed=0)
    assert {cell: list(found) for cell, found in cells.items()} == {
        "both right": [0, 1, 2, 3],
        "only a": [4, 9],
        "only b": [5, 6],
        "both wrong": [7, 8],
    }
    assert cell_counts(A, B) == {"both right": 4, "only a": 2, "only b": 2, "both wrong": 2}
    assert tuple(cells) == CELLS


def test_the_draw_depends_only_on_the_seed():
    rng = np.random.default_rng(3)
    a, b = rng.random(400) < 0.7, rng.random(400) < 0.6
    first, again, other = (four_cells(a, b, 3, seed) for seed in (0, 0, 1))
    for cell in CELLS:
        assert len(first[cell]) == 3 and list(first[cell]) == list(again[cell])
    assert any(list(first[cell]) != list(other[cell]) for cell in CELLS)


def test_every_member_of_a_cell_is_drawn_equally_often():
    everything = np.ones(20, dtype=bool)
    drawn = np.concatenate([four_cells(everything, everything, 5, seed)["both right"] for seed in range(400)])
    counts = np.bincount(drawn, minlength=20)  # expected 100 each, standard deviation 8.7
    assert counts.min() > 60 and counts.max() < 140


def test_cells_of_different_test_sets_are_refused():
    with pytest.raises(UserError, match="9 test images"):
        four_cells(A[:9], B, 1, 0)


# ---- the page of pictures ----------------------------------------------------------------------------------------

DIGITS = load_digits()
NAMES = tuple("0123456789")
LONG_NAMES = [f"the digit called {name}" for name in NAMES]


def page(per_cell: int = 2, cells=(True, True, True, True), names=NAMES, **options):
    """A page of digits, `per_cell` in each of the wanted cells (in the order of CELLS)."""
    wanted = [pair for pair, there in zip([(1, 1), (1, 0), (0, 1), (0, 0)], cells, strict=True) if there]
    right = np.repeat(np.array(wanted, dtype=bool).reshape(-1, 2), per_cell, axis=0)  # B 2
    labels = DIGITS.target[: len(right)]
    guesses = np.where(right, labels[:, None], (labels[:, None] + 1) % 10)
    pictures = np.repeat(np.uint8(DIGITS.images[: len(right), ..., None] * 15), 3, axis=-1)
    coarse = torch.rand(len(right), 2, 7, 7, generator=torch.Generator().manual_seed(0))
    fine = F.interpolate(coarse, size=98, mode="bilinear").numpy()
    maps = {"vpt-deep": fine[:, 0], "full": fine[:, 1]}
    return gradcam_page(pictures, labels, names, maps, {"vpt-deep": guesses[:, 0], "full": guesses[:, 1]}, **options)


def texts(figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.parametrize("per_cell", [1, 2, 4])
def test_no_text_is_clipped_or_covered(per_cell):
    figure = page(
        per_cell, names=LONG_NAMES, counts={"both right": 194, "only a": 1016, "only b": 24, "both wrong": 66}
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in texts(figure)]
    boxes += [axes.get_window_extent(renderer) for axes in figure.axes]
    assert len(boxes) > 2 * 3 * 4 * per_cell
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
        for other in boxes[:i]:
            assert not _share_area(box, other)


def _share_area(a, b) -> bool:
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1


@pytest.mark.parametrize("per_cell", [1, 2, 4])
def test_page_has_the_shape_of_a4_text_or_less(per_cell):
    width, height = page(per_cell, names=LONG_NAMES).get_size_inches()
    assert height / width <= 260 / 180  # millimetres within margins of 15 and 18


def test_every_prediction_is_marked_right_or_wrong_in_its_cell():
    found = [text.get_text() for text in texts(page(per_cell=3))]
    assert sum(text.startswith("✓") for text in found) == 3 * 4
    assert sum(text.startswith("✗") for text in found) == 3 * 4
    assert {"Both right", "Only VPT-deep right", "Only full fine-tuning right", "Both wrong"} <= set(found)


def test_headings_give_the_number_of_images():
    found = [text.get_text() for text in texts(page(counts=cell_counts(A, B)))]
    assert found.count("2 of 10 test images") == 3 and found.count("4 of 10 test images") == 1


def test_empty_cells_say_so():
    found = [text.get_text() for text in texts(page(cells=(True, False, True, False)))]
    assert found.count("none shown") == 2


def test_picture_is_small():
    file = io.BytesIO()
    page(2, counts=cell_counts(A, B)).savefig(file)
    assert len(file.getvalue()) < 150_000


def test_opacity_goes_from_the_picture_to_the_map():
    def tiles(opacity):
        return [axes.images[0].get_array() for axes in page(1, opacity=opacity).axes[1:3]]

    grey, colour = tiles(0.0), tiles(1.0)
    assert all(np.ptp(tile, axis=-1).max() == 0 for tile in grey)  # no colour without the map
    np.testing.assert_array_equal(*grey)  # the same image under both models
    assert np.abs(colour[0] - colour[1]).max() > 0.3  # and two maps over it
