"""vptlib.methods: what each method trains, counts and stores."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional as F

from vptlib.backbones import ClsMeanViT
from vptlib.errors import UserError
from vptlib.methods import METHODS, build_method, find_method

WIDTH, DEPTH, CLASSES, PROMPTS, PATCHES = 16, 3, 5, 4, 4  # 28 px in patches of 14: a grid of 2 × 2
PROMPTED = ("vpt-shallow", "vpt-deep")


def build_vit(kind=VisionTransformer, seed=0, **options):
    torch.manual_seed(seed)
    return kind(img_size=28, patch_size=14, embed_dim=WIDTH, depth=DEPTH, num_heads=2, num_classes=0, **options).eval()


def build(method, kind=VisionTransformer, seed=0, **options):
    if method in PROMPTED:
        options = {"num_prompts": PROMPTS} | options
    return build_method(method, build_vit(kind, seed), CLASSES, **options)


def draw_images(batch=2):
    return torch.randn(batch, 3, 28, 28, generator=torch.Generator().manual_seed(7))


def head_numbers(features):
    return features * CLASSES + CLASSES


def vit_numbers():
    """All numbers of the tiny ViT but its head's, counted layer by layer from the configuration."""
    patch = 3 * 14 * 14 * WIDTH + WIDTH
    tokens = WIDTH + (PATCHES + 1) * WIDTH  # class token, positions
    attention = (WIDTH * 3 * WIDTH + 3 * WIDTH) + (WIDTH * WIDTH + WIDTH)
    mlp = (WIDTH * 4 * WIDTH + 4 * WIDTH) + (4 * WIDTH * WIDTH + WIDTH)
    norms = 2 * 2 * WIDTH
    return patch + tokens + DEPTH * (attention + mlp + norms) + 2 * WIDTH


EXTRA_NUMBERS = {
    "linear": 0,
    "vpt-shallow": PROMPTS * WIDTH,
    "vpt-deep": DEPTH * PROMPTS * WIDTH,
    "full": vit_numbers(),
}


def test_every_method_of_the_table_is_tested_here():
    assert EXTRA_NUMBERS.keys() == METHODS.keys()


@pytest.mark.parametrize("method", METHODS)
def test_parameters_and_bytes_are_those_counted_by_hand(method):
    model = build(method)
    wanted = head_numbers(WIDTH) + EXTRA_NUMBERS[method]
    assert model.trainable_parameters == wanted
    assert model.bytes_per_task == 4 * wanted
    assert model.double().bytes_per_task == 8 * wanted
    assert sum(tensor.numel() for tensor in model.trained_state().values()) == wanted


def test_a_head_on_class_token_and_mean_reads_twice_the_width():
    assert build("linear", ClsMeanViT).trainable_parameters == head_numbers(2 * WIDTH)


@pytest.mark.parametrize("method", METHODS)
def test_only_the_method_s_parameters_require_gradients(method):
    model = build(method)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    everything = {name for name, _ in model.named_parameters()}
    wanted = {
        "linear": {"net.head.weight", "net.head.bias"},
        "vpt-shallow": {"net.prompts", "net.vit.head.weight", "net.vit.head.bias"},
        "vpt-deep": {"net.prompts", "net.vit.head.weight", "net.vit.head.bias"},
        "full": everything,
    }
    assert trained == wanted[method]


def test_full_trains_what_another_method_froze():
    vit = build_vit()
    build_method("linear", vit, CLASSES)
    assert build_method("full", vit, CLASSES).trainable_parameters == head_numbers(WIDTH) + vit_numbers()


@pytest.mark.parametrize("method", METHODS)
def test_training_changes_the_trained_parameters_and_no_other(method):
    model = build(method).train()
    trained = model.trained_state().keys()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameter_groups(0.1), lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        F.cross_entropy(model(draw_images(5)), torch.arange(5)).backward()
        optimiser.step()
    assert {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])} == trained


@pytest.mark.parametrize("method", METHODS)
def test_parameter_groups_hold_each_trained_parameter_once_and_decay_weights_only(method):
    model = build(method)
    names = {id(p): name for name, p in model.named_parameters()}
    decay = {}
    for group in model.parameter_groups(0.3):
        assert group["params"]
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert name not in decay
            decay[name] = group["weight_decay"]
    assert decay.keys() == model.trained_state().keys()
    weights = {name for name in decay if name.endswith(".weight") and "norm" not in name}
    assert {name for name, value in decay.items() if value == 0.3} == weights
    assert {value for name, value in decay.items() if name not in weights} == {0.0}


@pytest.mark.parametrize("kind", [VisionTransformer, ClsMeanViT])
@pytest.mark.parametrize("method", METHODS)
def test_features_and_head_give_the_logits(method, kind):
    model = build(method, kind).eval()
    images = draw_images()
    torch.testing.assert_close(model.head(model.features(images)), model(images))
    assert model(images).shape == (2, CLASSES)


def test_features_of_the_linear_probe_can_be_kept():
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=28, patch_size=14, embed_dim=WIDTH, depth=DEPTH, num_heads=2, num_classes=0, drop_path_rate=0.5
    )
    model = build_method("linear", vit, CLASSES).train()  # in training mode, as while it is fitted
    images = draw_images()
    kept = model.features(images).detach()
    with torch.no_grad():
        model.head.weight.add_(1.0)  # as training would
    torch.testing.assert_close(model.head(kept), model(images))
    assert {name: build(name).features_are_frozen for name in METHODS} == {
        "linear": True,
        "vpt-shallow": False,
        "vpt-deep": False,
        "full": False,
    }


@pytest.mark.parametrize("method", METHODS)
def test_the_trained_state_is_all_that_one_more_task_needs(method):
    first, second = build(method), build(method)  # the same backbone, another head and other prompts
    with torch.no_grad():
        for tensor in first.trained_state().values():
            tensor.add_(0.1)
    images = draw_images()
    assert not torch.allclose(first(images), second(images))
    second.load_state_dict(first.trained_state(), strict=False)
    torch.testing.assert_close(second(images), first(images), rtol=0, atol=0)


def test_the_vit_inside_is_the_one_given():
    for method in METHODS:
        vit = build_vit()
        model = build_method(method, vit, CLASSES)
        assert model.vit is vit and model.head is vit.head and model.method == method


def test_prompts_take_their_options():
    model = build("vpt-deep", dropout=0.25, fast=False)
    assert model.net.dropout.p == 0.25 and not model.net.uses_fast_form
    assert build("vpt-deep").net.uses_fast_form


@pytest.mark.parametrize("name", ["vpt", "Linear", ""])
def test_an_unknown_method_is_named_with_the_known_ones(name):
    for call in (find_method, lambda name: build_method(name, build_vit(), CLASSES)):
        with pytest.raises(UserError) as error:
            call(name)
        assert repr(name) in str(error.value)
        assert all(known in str(error.value) for known in METHODS)


@pytest.mark.parametrize(
    ("method", "option"),
    [("linear", "num_prompts"), ("full", "dropout"), ("vpt-deep", "prompts"), ("vpt-deep", "deep")],
)
def test_an_unknown_option_is_named(method, option):
    with pytest.raises(UserError) as error:
        build_method(method, build_vit(), CLASSES, **{option: 1})
    assert method in str(error.value) and repr(option) in str(error.value)
