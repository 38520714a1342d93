"""vptlib.tuning.methods: what each method trains, counts and stores."""

from functools import partial
from itertools import pairwise

import pytest
import timm
import torch
from models import draw_images, small_vit
from timm.layers.drop import DropPath
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import ParallelScalingBlock, ParallelThingsBlock, VisionTransformer
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.prompting.blocks import embed
from vptlib.tuning.backbones import ClsMeanViT
from vptlib.tuning.methods import BACKBONE_SHARE, METHODS, build_method, find_method
from vptlib.tuning.promptfile import load_prompts, save_prompts

WIDTH, DEPTH, CLASSES, PROMPTS, PATCHES = 16, 3, 5, 4, 4  # 28 px in patches of 14: a grid of 2 × 2
PROMPTED = tuple(name for name, method in METHODS.items() if method.uses_prompts)
STEPPED = tuple(name for name, method in METHODS.items() if method.learning_rates)
BIASES = WIDTH + DEPTH * (3 * WIDTH + WIDTH + 4 * WIDTH + WIDTH + 2 * WIDTH) + WIDTH  # patches, blocks, final norm


build_vit = partial(small_vit, embed_dim=WIDTH, depth=DEPTH)


def build(method, kind=VisionTransformer, seed=0, **options):
    if method in PROMPTED:
        options = {"num_prompts": PROMPTS} | options
    model = build_method(method, build_vit(kind, seed), CLASSES, **options)
    if method == "knn":  # as its solver would
        draw = torch.Generator().manual_seed(3)
        model.head.remember(torch.randn(8, model.head.in_features, generator=draw), torch.arange(8) % CLASSES, 3)
    return model


def head_numbers(features):
    return features * CLASSES + CLASSES


def block_numbers():
    attention = (WIDTH * 3 * WIDTH + 3 * WIDTH) + (WIDTH * WIDTH + WIDTH)
    mlp = (WIDTH * 4 * WIDTH + 4 * WIDTH) + (4 * WIDTH * WIDTH + WIDTH)
    return attention + mlp + 2 * 2 * WIDTH  # and two norms


def side_numbers():
    widths = (3, 32, 64, 128)
    convolutions = sum(9 * a * b + b for a, b in pairwise(widths))
    return convolutions + 128 * WIDTH + WIDTH + 1  # linear map, blend


def vit_numbers():
    """All numbers of the tiny ViT without its head, counted layer by layer from the configuration."""
    patch = 3 * 14 * 14 * WIDTH + WIDTH
    tokens = WIDTH + (PATCHES + 1) * WIDTH  # class token, positions
    return patch + tokens + DEPTH * block_numbers() + 2 * WIDTH


# Numbers that a method trains next to its head, counted by hand. A new method may add its own; nothing needs it.
EXTRA_NUMBERS = {
    "linear": 0,
    "vpt-shallow": PROMPTS * WIDTH,
    "vpt-deep": DEPTH * PROMPTS * WIDTH,
    "full": vit_numbers(),
    "partial-k": block_numbers() + 2 * WIDTH,
    "mlp-k": 2 * (WIDTH * WIDTH + WIDTH),
    "bias": BIASES,
    "adapter": DEPTH * (WIDTH * 2 + 2 + 2 * WIDTH + WIDTH),  # a bottleneck of 16 / 8
    "side-tuning": side_numbers(),
    "lora": DEPTH * 8 * (WIDTH + 3 * WIDTH),
    "ssf": 2 * (WIDTH + DEPTH * (2 * WIDTH + 3 * WIDTH + WIDTH + 4 * WIDTH + WIDTH) + WIDTH),
    "vpt-deep+bias": DEPTH * PROMPTS * WIDTH + BIASES,
    "vpt-late": PROMPTS * WIDTH,  # the last third of three blocks is one
    "full+prompts": DEPTH * PROMPTS * WIDTH + vit_numbers(),
    "full-then-prompts": DEPTH * PROMPTS * WIDTH + vit_numbers(),
    "lp-ft": vit_numbers(),
    "attentive-probe": 2 * WIDTH + WIDTH + (WIDTH * WIDTH + WIDTH),  # norm, one query, values
    "lora-all": DEPTH * 8 * (4 * WIDTH + 2 * WIDTH + 5 * WIDTH + 5 * WIDTH),
    "dora": DEPTH * (8 * (4 * WIDTH + 2 * WIDTH + 5 * WIDTH + 5 * WIDTH) + 3 * WIDTH + WIDTH + 4 * WIDTH + WIDTH),
    "adaptformer": DEPTH * (WIDTH * 64 + 64 + 64 * WIDTH + WIDTH),
    "layernorm": DEPTH * 4 * WIDTH + 2 * WIDTH,
}


@pytest.mark.parametrize("method", STEPPED)
def test_every_method_trains_the_head_and_stores_what_requires_gradients(method):
    model = build(method)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(p.requires_grad for p in model.head.parameters())
    assert model.trained_state().keys() == trained


@pytest.mark.parametrize("method", EXTRA_NUMBERS)
def test_parameters_and_bytes_are_those_counted_by_hand(method):
    model = build(method)
    wanted = head_numbers(WIDTH) + EXTRA_NUMBERS[method]
    assert model.trainable_parameters == wanted
    assert model.bytes_per_task == 4 * wanted
    assert model.double().bytes_per_task == 8 * wanted
    assert sum(tensor.numel() for tensor in model.trained_state().values()) == wanted


def test_a_head_on_class_token_and_mean_reads_twice_the_width():
    assert build("linear", ClsMeanViT).trainable_parameters == head_numbers(2 * WIDTH)


@pytest.mark.parametrize("method", EXTRA_NUMBERS)
def test_only_the_method_s_parameters_require_gradients(method):
    model = build(method)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    everything = {name for name, _ in model.named_parameters()}
    head = {name for name in everything if ".head." in name}
    prompts = {"net.prompts"} & everything
    bias = {name for name in everything if name.endswith("bias")}
    wanted = {
        "linear": head,
        "mlp-k": head,
        "vpt-shallow": head | prompts,
        "vpt-deep": head | prompts,
        "vpt-late": head | prompts,
        "partial-k": head | {n for n in everything if n.startswith(("net.blocks.2.", "net.norm."))},
        "bias": head | bias,
        "adapter": head | {n for n in everything if ".down." in n or ".up." in n},
        "lora": head | {n for n in everything if "lora_" in n},
        "ssf": head | {n for n in everything if n.endswith((".scale", ".shift"))},
        "side-tuning": head | {n for n in everything if n.startswith(("net.side.", "net.blend"))},
        "vpt-deep+bias": head | prompts | bias,
        "attentive-probe": head | {n for n in everything if n.startswith(("net.norm.", "net.queries", "net.values."))},
        "lora-all": head | {n for n in everything if "lora_" in n},
        "dora": head | {n for n in everything if "lora_" in n},
        "adaptformer": head | {n for n in everything if ".down." in n or ".up." in n},
        "layernorm": head | {n for n in everything if "norm" in n},
    } | dict.fromkeys(("full", "full+prompts", "full-then-prompts", "lp-ft"), everything)
    assert trained == wanted[method]


def test_full_trains_what_another_method_froze():
    vit = build_vit()
    build_method("linear", vit, CLASSES)
    assert build_method("full", vit, CLASSES).trainable_parameters == head_numbers(WIDTH) + vit_numbers()


@pytest.mark.parametrize("method", STEPPED)
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


@pytest.mark.parametrize("method", STEPPED)
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
    weights = {n for n in decay if not ("norm" in n or "magnitude" in n) and n.endswith(".weight")}
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
    model = build_method("linear", build_vit(drop_path_rate=0.5), CLASSES).train()  # as while it is fitted
    images = draw_images()
    kept = model.features(images).detach()
    with torch.no_grad():
        model.head.weight.add_(1.0)  # as training would
    torch.testing.assert_close(model.head(kept), model(images))
    assert {name for name in METHODS if build(name).features_are_frozen} == {"linear", "mlp-k", "knn"}


@pytest.mark.parametrize("method", METHODS)
def test_stem_and_rest_give_the_logits(method):
    options = {"layers": "last 2"} if method == "vpt-deep" else {}
    model = build(method, **options).eval()
    torch.testing.assert_close(model.rest(model.stem(draw_images())), model(draw_images()))
    frozen = ("linear", "mlp-k", "partial-k", "vpt-deep", "vpt-late", "attentive-probe", "knn")
    assert model.stem_is_frozen == (method in frozen)
    if model.stem_is_frozen:
        assert not model.stem(draw_images()).requires_grad


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
    [("linear", "num_prompts"), ("full", "dropout"), ("vpt-deep", "prompts"), ("vpt-deep", "deep"), ("lora", "k")],
)
def test_an_unknown_option_is_named(method, option):
    with pytest.raises(UserError) as error:
        build_method(method, build_vit(), CLASSES, **{option: 1})
    assert method in str(error.value) and repr(option) in str(error.value)


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("vpt-deep", {"where": ["add"]}, "'add'.*prepend, add, pixel, pad"),
        ("vpt-deep", {"where": "behind"}, "'behind'.*prepend, add, pixel, pad"),
        ("vpt-deep", {"where": "pad"}, "vpt-shallow"),
        ("vpt-shallow", {"where": "pixel", "gated": True}, "'pixel'.*'gated'"),
    ],
)
def test_values_out_of_range_are_named(method, options, words):
    with pytest.raises(UserError, match=words):
        build(method, **options)


def test_options_are_those_that_the_builders_take():
    own = {"partial-k": ("blocks",), "mlp-k": ("layers",), "adapter": ("reduction",), "adaptformer": ("bottleneck",)}
    own |= dict.fromkeys(("lora", "lora-all", "dora"), ("rank",)) | {"knn": ("images",)}
    own |= dict.fromkeys(("full", "lp-ft"), ("layer_decay", "drop_path"))
    for name, method in METHODS.items():
        if method.uses_prompts:
            assert {"num_prompts", "dropout", "layers", "where", "init"} < set(method.options)
            assert not {"vit", "deep", "options"} & set(method.options)
        else:
            assert method.options == own.get(name, ())


@pytest.mark.parametrize("method", ["linear", "vpt-deep"])
def test_a_wrong_number_of_classes_is_named(method):
    for classes in (0, -1, 2.5, "5", None, True):
        with pytest.raises(UserError, match=rf"num_classes is {classes!r}, .*whole number of 1 or more"):
            build_method(method, build_vit(), classes)


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224", "beit_base_patch16_224"])
def test_a_model_that_is_no_vit_is_named(name):
    with torch.device("meta"):  # shapes without numbers
        other = timm.create_model(name)
    for method in ("linear", "full", "lora", "vpt-deep"):
        with pytest.raises(UserError, match=type(other).__name__):
            build_method(method, other, CLASSES)


# ---- late prompts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "prompted"), [(1, (0,)), (2, (1,)), (4, (2, 3)), (9, (6, 7, 8)), (10, (6, 7, 8, 9))])
def test_late_prompts_are_in_the_last_third_of_the_blocks(depth, prompted):
    model = build_method("vpt-late", build_vit(depth=depth), CLASSES, num_prompts=PROMPTS)
    assert model.net.layers == prompted and model.frozen_blocks == prompted[0]
    assert model.net.prompts.shape == (len(prompted), PROMPTS, WIDTH)
    assert set(model.trained_state()) == {"net.prompts", "net.vit.head.weight", "net.vit.head.bias"}


def test_late_prompts_give_the_logits_and_gradients_of_the_equations():
    """Equations 7 and 8 of Jia et al. (arXiv 2203.12119) in blocks 3 and 4 of five, plain blocks below."""
    model = build_method("vpt-late", build_vit(depth=5).double(), CLASSES, num_prompts=PROMPTS).train()
    vit, prompts, images = model.vit, model.net.prompts, draw_images(dtype=torch.float64)
    tokens = embed(vit, images)  # B 1+N D
    for number, block in enumerate(vit.blocks):
        fresh = prompts[number - 3].expand(len(images), -1, -1) if number >= 3 else tokens[:, :0]  # B P D, or none
        tokens = block(torch.cat([tokens[:, :1], fresh, tokens[:, 1:]], dim=1))  # B 1+P+N D
        tokens = torch.cat([tokens[:, :1], tokens[:, 1 + fresh.shape[1] :]], dim=1)  # B 1+N D
    wanted = vit.head(vit.norm(tokens)[:, 0])
    found = model.rest(model.stem(images))
    assert model.net.uses_fast_form
    trained = list(model.trained_state())
    for logits in (found, model(images)):
        torch.testing.assert_close(logits, wanted, rtol=1e-10, atol=1e-10)
    gradients = []
    for logits in (wanted, found):
        model.zero_grad()
        F.cross_entropy(logits, torch.tensor([0, 1])).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert list(gradients[1]) == trained and all(gradient.any() for gradient in gradients[1].values())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-10)


def test_late_prompts_come_back_from_their_file(tmp_path):
    model = build("vpt-late").eval()
    with torch.no_grad():
        model.net.prompts.normal_()
    save_prompts(model, tmp_path / "late.safetensors")
    again = load_prompts(tmp_path / "late.safetensors", build_vit())
    assert again.method == "vpt-late" and again.net.layers == (DEPTH - 1,)
    torch.testing.assert_close(again(draw_images()), model(draw_images()), rtol=0, atol=0)


# ---- phases -----------------------------------------------------------------------------------------------------


def test_full_fine_tuning_comes_first_and_then_prompts_on_what_it_left():
    model = build("full-then-prompts")
    head = {"net.vit.head.weight", "net.vit.head.bias"}
    everything = set(model.trained_state())
    wanted = {"full": everything - {"net.prompts"}, "prompts": head | {"net.prompts"}}
    assert model.phases == ("full", "prompts")
    check_what_trains_in_phases(model, wanted)


def test_the_head_comes_first_and_then_all_trains():
    """LP-FT (Kumar et al., arXiv 2202.10054)."""
    model = build("lp-ft")
    assert model.phases == ("head", "all")
    wanted = {"head": {"net.head.weight", "net.head.bias"}, "all": set(model.trained_state())}
    check_what_trains_in_phases(model, wanted)
    model = build("lp-ft", drop_path=0.5).train()
    for phase, draws in (("head", False), ("all", True)):  # with the head alone, the features stay what they are
        model.begin_phase(phase)
        assert model.vit.blocks[-1].drop_path1.training is draws


def check_what_trains_in_phases(model, wanted):
    everything = set(model.trained_state())
    for phase in model.phases:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        model.begin_phase(phase)
        optimiser = torch.optim.AdamW(model.parameter_groups(0.1), lr=0.01)
        F.cross_entropy(model(draw_images()), torch.tensor([0, 1])).backward()
        optimiser.step()
        assert {name for name, p in model.named_parameters() if p.requires_grad} == wanted[phase]
        assert {name for name, p in model.named_parameters() if p.grad is not None} == wanted[phase]
        assert {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])} == wanted[phase]
        assert set(model.trained_state()) == everything  # all of it must be stored


def test_there_are_no_prompts_in_the_first_phase():
    model = build("full-then-prompts").eval()
    prompted = model(draw_images())
    model.begin_phase("full")
    torch.testing.assert_close(model(draw_images()), model.vit(draw_images()), rtol=0, atol=0)
    torch.testing.assert_close(model.head(model.features(draw_images())), model(draw_images()))
    assert not torch.allclose(model(draw_images()), prompted)
    model.begin_phase("prompts")
    torch.testing.assert_close(model(draw_images()), prompted, rtol=0, atol=0)


def test_a_phase_that_does_not_exist_is_named():
    for method, there_are in (("linear", "all"), ("full-then-prompts", "full, prompts")):
        with pytest.raises(UserError, match=f"{method}.*'warm-up'.*{there_are}"):
            build(method).begin_phase("warm-up")


def test_every_row_says_where_it_comes_from():
    for name, method in METHODS.items():
        assert "arXiv" in method.source and len(set(method.learning_rates)) == (0 if name == "knn" else 3)
    assert len({method.title for method in METHODS.values()}) == len(METHODS)


def test_the_first_rows_stay_first():
    first = "linear vpt-shallow vpt-deep full partial-k mlp-k bias adapter side-tuning lora ssf vpt-deep+bias"
    assert [*METHODS][:14] == [*first.split(), "full+prompts", "full-then-prompts"]
    assert METHODS["full"].learning_rates == (3e-5, 1e-5, 1e-4)


def test_mixed_backbone_weights_learn_more_slowly_than_prompts():
    model = build("full+prompts")
    share = {id(p): group["share"] for group in model.parameter_groups(0.1) for p in group["params"]}
    for name, parameter in model.named_parameters():
        own = name == "net.prompts" or ".head." in name
        assert share[id(parameter)] == (1.0 if own else BACKBONE_SHARE)
    assert {group["share"] for group in build("vpt-deep+bias").parameter_groups(0.1)} == {1.0}


@pytest.mark.parametrize("where", ["add", "pixel", "pad"])
def test_prompts_can_be_elsewhere(where):
    count = {"add": 1, "pixel": 2, "pad": 3}[where]
    model = build("vpt-shallow", where=where, num_prompts=count).train()
    F.cross_entropy(model(draw_images()), torch.tensor([0, 1])).backward()
    assert model.net.prompts.grad.abs().max() > 0
    assert {n for n, p in model.named_parameters() if p.grad is not None} == set(model.trained_state())


# ---- the strong form: layer-wise decay and drop-path ------------------------------------------------------------

SHAPES = {
    "class token": (VisionTransformer, {}),
    "class token and mean": (ClsMeanViT, {}),
    "two heads, as DeiT": (VisionTransformerDistilled, {}),
    "mean of patches": (VisionTransformer, {"global_pool": "avg"}),
    "registers and a norm before the blocks": (VisionTransformer, {"reg_tokens": 2, "pre_norm": True}),
    "attention pooling, as SigLIP": (VisionTransformer, {"global_pool": "map", "class_token": False}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_wise_decay_has_the_shares_of_timm(shape):
    kind, options = SHAPES[shape]
    model = build_method("full", build_vit(kind, **options), CLASSES, layer_decay=0.75)
    names = {id(p): name for name, p in model.named_parameters()}
    ours = {names[id(p)]: group["share"] for group in model.parameter_groups(0.1) for p in group["params"]}
    timms = param_groups_layer_decay(model.vit, 0.1, layer_decay=0.75)
    assert ours == {names[id(p)]: pytest.approx(group["lr_scale"]) for group in timms for p in group["params"]}


def test_layer_wise_decay_groups_parameters_as_timm():
    model = build("full", layer_decay=0.75)
    no_decay = model.vit.no_weight_decay()  # class token and positions, as here
    timms = param_groups_layer_decay(model.vit, 0.1, no_decay, layer_decay=0.75)
    ours = {frozenset(map(id, g["params"])): (g["share"], g["weight_decay"]) for g in model.parameter_groups(0.1)}
    wanted = {frozenset(map(id, g["params"])): (g["lr_scale"], g["weight_decay"]) for g in timms}
    assert ours.keys() == wanted.keys() and len(ours) == 2 * (DEPTH + 2)
    assert all(ours[group] == pytest.approx(wanted[group]) for group in ours)


@pytest.mark.parametrize("method", ["full", "lp-ft"])
def test_the_deeper_a_layer_the_smaller_its_share(method):
    model = build(method, layer_decay=0.5)
    names = {id(p): name for name, p in model.named_parameters()}
    shares = {names[id(p)]: group["share"] for group in model.parameter_groups(0.1) for p in group["params"]}
    by_part = {"patch_embed.": 1 / 16, "blocks.0.": 1 / 8, "blocks.1.": 1 / 4, "blocks.2.": 1 / 2, "norm.": 1 / 2}
    by_part |= {"cls_token": 1 / 16, "pos_embed": 1 / 16, "head.": 1.0}
    for name, share in shares.items():
        assert share == next(wanted for part, wanted in by_part.items() if name.startswith(f"net.{part}"))


@pytest.mark.parametrize("method", STEPPED)
def test_without_layer_wise_decay_groups_stay_as_they_are(method):
    """Weights and the rest, each in the order of the model, and apart only where prompts share with a backbone."""
    model, wanted = build(method), {}
    own = {n for n in model.trained_state() if n.startswith(("net.prompts", "net.vit.head", "net.head"))}
    for name, parameter in model.named_parameters():
        if name in model.trained_state():
            share = BACKBONE_SHARE if method.startswith("full") and method != "full" and name not in own else 1.0
            wanted.setdefault((0.2 if parameter.ndim in (2, 4) else 0.0, share), []).append(id(parameter))
    groups = model.parameter_groups(0.2)
    found = [((group["weight_decay"], group["share"]), [id(p) for p in group["params"]]) for group in groups]
    assert found == list(wanted.items())


@pytest.mark.parametrize("method", ["full", "lp-ft"])
def test_drop_path_rises_with_depth_as_in_timm(method):
    model, timms = build(method, drop_path=0.2), build_vit(drop_path_rate=0.2)
    for block, wanted in zip(model.vit.blocks, timms.blocks, strict=True):
        for name in ("drop_path1", "drop_path2"):
            ours, other = getattr(block, name), getattr(wanted, name)
            assert type(ours) is type(other)
            assert getattr(ours, "drop_prob", 0) == pytest.approx(getattr(other, "drop_prob", 0))
    assert [getattr(b.drop_path1, "drop_prob", 0) for b in model.vit.blocks] == pytest.approx([0, 0.1, 0.2])


def test_drop_path_draws_in_training_only():
    model, plain, images = build("full", drop_path=0.9), build("full"), draw_images(8)
    model.load_state_dict(plain.state_dict())
    torch.testing.assert_close(model.eval()(images), plain.eval()(images), rtol=0, atol=0)
    model.train()
    assert not torch.allclose(model(images), model(images))


def test_without_drop_path_that_of_the_backbone_stays():
    model = build_method("full", build_vit(drop_path_rate=0.5), CLASSES)
    assert model.vit.blocks[-1].drop_path2.drop_prob == 0.5
    model = build_method("full", build_vit(drop_path_rate=0.5), CLASSES, drop_path=0.1)
    assert model.vit.blocks[-1].drop_path2.drop_prob == pytest.approx(0.1)


@pytest.mark.parametrize("block", [ParallelScalingBlock, ParallelThingsBlock])
def test_blocks_of_other_kinds_have_drop_path_and_layer_wise_decay_too(block):
    model = build_method("full", build_vit(block_fn=block), CLASSES, **METHODS["full"].strong_options)
    drawn = [{round(p.drop_prob, 6) for p in b.modules() if isinstance(p, DropPath)} for b in model.vit.blocks]
    assert drawn == [set(), {0.05}, {0.1}]
    assert len(model.parameter_groups(0.1)) == 2 * (DEPTH + 2)


def test_blocks_without_drop_path_are_named():
    vit = build_vit()
    vit.blocks[1] = nn.Linear(WIDTH, WIDTH)
    with pytest.raises(UserError, match=r"drop_path.*Linear"):
        build_method("full", vit, CLASSES, drop_path=0.1)


@pytest.mark.parametrize("method", ["full", "lp-ft"])
@pytest.mark.parametrize(
    ("option", "values"),
    [("layer_decay", [0, -0.5, 1.01, float("nan"), "0.5", True, None]), ("drop_path", [1, -0.1, 1.5, "a", None, True])],
)
def test_shares_out_of_range_are_named(method, option, values):
    for value in values:
        with pytest.raises(UserError, match=rf"^{option} is {value!r}, but must be a number from 0 to 1, without"):
            build(method, **{option: value})


@pytest.mark.parametrize("method", METHODS)
def test_every_row_has_a_strong_form(method):
    row = METHODS[method]
    model = build(method, **row.strong_options)
    assert model.options.items() >= dict(row.strong_options).items()
    if method in ("full", "lp-ft"):
        assert row.strong_options == {"layer_decay": 0.75, "drop_path": 0.1} and row.strong_rate > row.learning_rates[0]
    else:
        assert not row.strong_options and row.strong_rate == next(iter(row.learning_rates), None)


# ---- neighbours -------------------------------------------------------------------------------------------------


def test_neighbours_are_not_trained_by_steps():
    with pytest.raises(UserError, match=r"knn.*no steps.*SOLVERS"):
        build("knn").parameter_groups(0.1)


def test_neighbours_need_labelled_images():
    with pytest.raises(UserError, match=r"knn.*no labelled images yet.*SOLVERS"):
        build_method("knn", build_vit(), CLASSES)(draw_images())


def test_neighbours_of_two_heads_are_refused():
    with pytest.raises(UserError, match=r"knn.*one head"):
        build("knn", VisionTransformerDistilled)
