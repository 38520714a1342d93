"""vptlib.prompting.eva and the backbones of today: both forms, timm's own model and equations by hand agree."""

import copy
from functools import partial

import models
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from models import FAMILIES, redraw, small_family
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import Eva
from torch import nn
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.prompting.blocks import block_at, embed, is_vit, rotations, tokens_read
from vptlib.prompting.initial_values import class_means, cluster_centres
from vptlib.prompting.placement import AddedPrompts, FramedImages, PixelPrompts
from vptlib.prompting.vit import PromptedViT, textbook_blocks
from vptlib.tuning.methods import METHODS, build_method

IMAGE, PATCH, CLASSES, PROMPTS = 12, 4, 3, 2  # a grid of 3 × 3
EVAS = [name for name, (kind, _) in FAMILIES.items() if kind is Eva]
LEFT_TO_THE_TEXTBOOK = {  # no fast form
    "post-norm": {"use_post_norm": True},
    "shared keys (GQA)": {"attn_type": "rope", "qkv_fused": False, "num_kv_heads": 1},
}


def build(name, seed=0, **options):
    """A float64 backbone of a family, with weights large enough to make every attention row far from uniform."""
    sizes = {"img_size": IMAGE, "patch_size": PATCH, "embed_dim": 16, "depth": 3, "num_classes": CLASSES} | options
    if name in FAMILIES:
        vit = small_family(name, **sizes)
    else:
        vit = models.small_vit(Eva, **{"use_rot_pos_emb": True} | LEFT_TO_THE_TEXTBOOK[name] | sizes)
    redraw(vit.double().parameters(), seed, scale=0.5)
    return vit.eval()


def prompted(vit, seed=0, **options):
    model = PromptedViT(vit, **{"num_prompts": PROMPTS} | options)
    redraw([model.prompts], seed + 1)
    return model.eval()


draw_images = partial(models.draw_images, size=IMAGE, dtype=torch.float64)


def both_forms(model, pictures):
    """For each form: logits, and the gradients of a non-linear loss to the images and to every parameter."""
    results = []
    model.requires_grad_(True)
    for fast in (True, False):
        model.fast = fast
        model.zero_grad()
        given_images = pictures.clone().requires_grad_(True)
        logits = model(given_images)
        tokens = model.forward_features(given_images)
        torch.testing.assert_close(model.vit.forward_head(tokens), logits, rtol=1e-10, atol=1e-10)
        (logits.square().sum() + tokens.sin().sum()).backward()
        gradients = {name: p.grad for name, p in model.named_parameters()} | {"images": given_images.grad}
        results.append({"logits": logits.detach(), "tokens": tokens.detach()} | gradients)
    return results


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if value is None:
            assert found[name] is None, name
            continue
        scale = max(1.0, value.abs().max().item()) if value.numel() else 1.0
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10 * scale, msg=name)


# ---- the forms, and timm ------------------------------------------------------------------------------------------

CONFIGURATIONS = {
    "num_heads": st.sampled_from([1, 2]),
    "depth": st.integers(1, 3),
    "rope_type": st.sampled_from([None, "cat", "dinov3", "mixed", "mrope"]),
    "attn_type": st.sampled_from(["eva", "rope"]),
    "qkv_fused": st.booleans(),
    "qkv_bias": st.booleans(),
    "qk_norm": st.booleans(),
    "scale_attn_inner": st.booleans(),
    "swiglu_mlp": st.booleans(),
    "scale_mlp": st.booleans(),
    "num_reg_tokens": st.integers(0, 2),
    "class_token": st.booleans(),
    "no_embed_class": st.booleans(),
    "use_abs_pos_emb": st.booleans(),
    "use_pre_transformer_norm": st.booleans(),
    "global_pool": st.sampled_from(["token", "avg", "map"]),
    "init_values": st.sampled_from([None, 0.5]),
    "dynamic_img_size": st.booleans(),
}
OPTIONS = {
    "num_prompts": st.integers(1, 3),
    "layers": st.sampled_from([None, "first 1", "last 1", "every 2", "last 2"]),
    "carry": st.sampled_from([None, True]),
    "shared": st.booleans(),
    "projection": st.sampled_from([None, 3]),
}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    configuration=st.fixed_dictionaries(CONFIGURATIONS),
    options=st.fixed_dictionaries(OPTIONS),
    seed=st.integers(0, 99),
)
def test_fast_form_equals_textbook_form_in_outputs_and_all_gradients(configuration, options, seed):
    assume(configuration["depth"] >= int((options["layers"] or "all 1").split()[1]))
    assume(configuration["class_token"] or configuration["global_pool"] != "token")
    kind = configuration.pop("rope_type")
    turning = {} if kind is None else {"use_rot_pos_emb": True, "rope_type": kind}
    turning |= {"rope_rotate_half": kind == "dinov3"}
    vit = models.small_vit(
        Eva, img_size=IMAGE, patch_size=PATCH, embed_dim=8, num_classes=CLASSES, **configuration, **turning
    )
    redraw(vit.double().parameters(), seed, scale=0.5)
    model = prompted(vit, seed, **options)
    goes_on = model.carry and len(model.layers) < len(vit.blocks) - model.layers[0]
    assert model.uses_fast_form != goes_on
    assert_same(*both_forms(model, draw_images(seed=seed)))


@pytest.mark.parametrize("options", [{}, {"deep": False}, {"layers": "last 2"}, {"layers": [0, 2], "carry": True}])
@pytest.mark.parametrize("name", [*FAMILIES, *LEFT_TO_THE_TEXTBOOK])
def test_both_forms_agree_on_every_family(name, options):
    model = prompted(build(name), **options)
    travels = options.get("carry") or options.get("deep") is False
    assert model.uses_fast_form == (name in FAMILIES and not travels)
    assert_same(*both_forms(model, draw_images()))


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("name", [*FAMILIES, *LEFT_TO_THE_TEXTBOOK])
def test_no_prompts_give_the_model_of_timm(name, deep):
    vit = build(name)
    results = []
    for model in (vit, PromptedViT(copy.deepcopy(vit), num_prompts=0, deep=deep)):
        pictures = draw_images().requires_grad_(True)
        logits = model.requires_grad_(True)(pictures)
        logits.square().sum().backward()
        gradients = {key.removeprefix("vit."): p.grad for key, p in model.named_parameters() if key != "prompts"}
        results.append(gradients | {"logits": logits.detach(), "images": pictures.grad})
    assert_same(results[1], results[0])


@pytest.mark.parametrize("rope_type", ["cat", "dinov3", "mixed"])
@pytest.mark.parametrize("depth", [1, 3])
def test_shallow_prompts_are_what_timm_computes_with_them_as_registers(rope_type, depth):
    """Registers are tokens without a position, behind the class token, which go on from block to block."""
    options = {"rope_type": rope_type, "rope_rotate_half": rope_type == "dinov3", "use_abs_pos_emb": False}
    sizes = {"embed_dim": 16, "img_size": IMAGE, "patch_size": PATCH, "depth": depth, "num_classes": CLASSES}
    with_registers = partial(models.small_vit, Eva, use_rot_pos_emb=True, **options, **sizes)
    wanted, vit = with_registers(num_reg_tokens=1 + PROMPTS).double(), with_registers(num_reg_tokens=1).double()
    redraw(wanted.parameters(), 0, scale=0.5)
    stored = wanted.state_dict()
    registers, prompts = stored["reg_token"].split([1, PROMPTS], dim=1)
    vit.load_state_dict(stored | {"reg_token": registers})
    model = PromptedViT(vit, PROMPTS, deep=False, init=prompts).eval()
    torch.testing.assert_close(model(draw_images()), wanted(draw_images()), rtol=1e-10, atol=1e-10)
    if depth == 1:  # then deep is shallow, in the fast form
        model = PromptedViT(vit, PROMPTS, init=prompts).eval()
        assert model.uses_fast_form
        torch.testing.assert_close(model(draw_images()), wanted(draw_images()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fast", [True, False])
def test_deep_prompts_are_attended_to_without_a_rotation(fast):
    """One image, one block, head by head and token by token; a patch at row r, column c is turned by its own angles."""
    vit = build("eva02, small", depth=1, scale_attn_inner=False)
    model = prompted(vit, fast=fast)
    block, picture = vit.blocks[0], draw_images(1)
    with torch.no_grad():
        tokens = embed(vit, picture)[0]  # N D: class token, patches
        rows = torch.cat([block.norm1(tokens), block.norm1(model.prompts[0])])  # N+P D
        attn, width = block.attn, 8
        angles = rotations(vit, 9)  # 9 2d
        mixed = []
        for head in range(2):
            part = slice(head * width, (head + 1) * width)
            q, k, v = (rows @ weight[part].T for weight in attn.qkv.weight.split(16))
            q, v = q + attn.q_bias[part], v + attn.v_bias[part]
            for patch in range(9):
                q[1 + patch] = apply_rot_embed_cat(q[1 + patch], angles[patch])
                k[1 + patch] = apply_rot_embed_cat(k[1 + patch], angles[patch])
            mixed.append((q @ k.T / width**0.5).softmax(dim=1) @ v)
        tokens = tokens + attn.proj(torch.cat(mixed, dim=1))[: len(tokens)]
        tokens = tokens + block.mlp(block.norm2(tokens))
        assert angles.std() > 0.3
        torch.testing.assert_close(model.forward_features(picture)[0], vit.norm(tokens), rtol=1e-10, atol=1e-10)


def test_the_fast_form_draws_the_same_dropout_as_the_textbook_form():
    model = prompted(build("dinov3"), num_prompts=5, dropout=0.5).train()
    assert not any(part.training for part in model.vit.modules())
    results = []
    for fast in (True, False):
        model.fast = fast
        torch.manual_seed(3)
        results.append(model(draw_images()))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["dinov3", "eva02", "rope-vit, mixed"])
def test_prompts_kept_for_inference_follow_their_training(name):
    model = prompted(build(name))
    for _ in range(2):
        with torch.no_grad():
            quick = model(draw_images())
            torch.testing.assert_close(quick, model(draw_images()), rtol=0, atol=0)
            model.fast = False
            torch.testing.assert_close(quick, model(draw_images()), rtol=1e-10, atol=1e-10)
            model.fast = True
            for tensor in (model.prompts, *model.vit.blocks[1].attn.parameters()):
                tensor.add_(0.1)


# ---- where the fast form is not exact -----------------------------------------------------------------------------


def _hook(block):
    block.attn.register_forward_hook(lambda *_: None)


def _wrap(block):
    block.attn.k_proj = nn.Sequential(block.attn.k_proj)


def _gate(block):
    block.attn.gate = nn.Linear(16, 16).double()


def _drop(block):
    block.attn.attn_drop.p = 0.5
    block.attn.train()


@pytest.mark.parametrize("change", [_hook, _wrap, _gate, _drop])
def test_a_changed_block_takes_the_textbook_form(change):
    model = prompted(build("eva02"))
    assert model.uses_fast_form
    change(model.vit.blocks[1])
    assert model.fast and not model.uses_fast_form
    torch.manual_seed(0)
    found = model(draw_images())
    torch.manual_seed(0)
    tokens = textbook_blocks(model, embed(model.vit, draw_images()))
    torch.testing.assert_close(found, model.vit.forward_head(model.vit.norm(tokens)), rtol=1e-10, atol=1e-10)


# ---- parts of a pass ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_kept_tokens_give_the_numbers_of_the_whole(name, fast):
    model = prompted(build(name), layers="last 2", fast=fast)
    kept = model.stem(draw_images())
    torch.testing.assert_close(model.rest(kept), model(draw_images()), rtol=0, atol=0)
    torch.testing.assert_close(kept, block_at(model.vit, 0, kept.shape[1])(embed(model.vit, draw_images())))


@pytest.mark.parametrize("method", ["linear", "partial-k", "attentive-probe", "vpt-deep"])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_lies_below_the_trained_part_may_be_kept_for_every_method(name, method):
    options = {"layers": "last 1", "num_prompts": PROMPTS} if method == "vpt-deep" else {}
    model = build_method(method, build(name), CLASSES, **options).double().eval()
    assert model.stem_is_frozen
    torch.testing.assert_close(model.rest(model.stem(draw_images())), model(draw_images()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", ["dinov3", "rope-vit, mixed", "siglip2"])
def test_checkpointing_changes_no_number(name, fast):
    results = []
    for checkpointing in (False, True):
        model = prompted(build(name), fast=fast).train().requires_grad_(True)
        model.vit.set_grad_checkpointing(checkpointing)
        calls = []
        model.vit.blocks[1].norm2.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        logits = model(draw_images())
        logits.square().sum().backward()
        assert len(calls) == 1 + checkpointing
        results.append({key: p.grad for key, p in model.named_parameters()} | {"logits": logits.detach()})
    assert_same(results[1], results[0])


def test_only_the_class_token_is_computed_where_the_head_reads_it_alone():
    model, lengths = prompted(build("eva02, clip")), []
    assert tokens_read(model.vit) == 1 and tokens_read(build("eva02")) is None and tokens_read(build("pe")) is None
    for block in model.vit.blocks:
        block.mlp.register_forward_hook(lambda _m, inputs, _o: lengths.append(inputs[0].shape[1]))
    model(draw_images())
    assert lengths == [10, 10, 1]


# ---- sizes of images ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("rope_type", ["cat", "dinov3", "mixed"])
@pytest.mark.parametrize("side", [4, 8, 20])
def test_square_images_of_another_size_have_positions_of_their_own(side, rope_type, fast):
    vit = build("dinov3", rope_type=rope_type, rope_rotate_half=rope_type == "dinov3")
    pictures = draw_images(size=side)
    plain = PromptedViT(copy.deepcopy(vit), num_prompts=0).eval()
    torch.testing.assert_close(plain(pictures), vit(pictures), rtol=1e-10, atol=1e-10)
    model = prompted(vit, fast=fast, layers="last 2")
    kept = model.stem(pictures)
    model.stem(draw_images())  # another size in between changes nothing
    torch.testing.assert_close(model.rest(kept), model(pictures), rtol=0, atol=0)


def test_images_that_are_not_square_need_the_size_to_be_set():
    vit = build("dinov3")
    tall = torch.randn(2, 3, 16, 4, dtype=torch.float64)
    with pytest.raises(UserError, match=r"16 × 4 px.*set for 12 × 12.*set_input_size\(\(16, 4\)\)"):
        prompted(copy.deepcopy(vit))(tall)
    vit.set_input_size((16, 4))
    wanted = vit(tall)
    torch.testing.assert_close(PromptedViT(vit, num_prompts=0).eval()(tall), wanted, rtol=1e-10, atol=1e-10)
    with pytest.raises(UserError, match="8 × 8 px"):  # as many patches as the tall image has
        prompted(vit)(draw_images(size=8))


@pytest.mark.parametrize(
    ("size", "words"),
    [(3, "3 × 3 px, but patches are 4 × 4 px"), (10, "patches are 4 × 4 px"), (16, "takes 12 × 12")],
)
def test_images_that_do_not_fit_are_refused(size, words):
    vit = build("dinov3" if "patches" in words else "eva02")
    with pytest.raises(UserError, match=words):
        prompted(vit)(draw_images(size=size))


def test_patches_dropped_at_random_are_refused_in_training():
    model = prompted(build("dinov3", patch_drop_rate=0.5))
    assert model(draw_images()).isfinite().all()
    model.vit.patch_drop.train()
    with pytest.raises(UserError, match="patch_drop_rate=0"):
        model(draw_images())


# ---- all methods --------------------------------------------------------------------------------------------------

STEPPED = [name for name, method in METHODS.items() if method.learning_rates]


def adapted(method, name, **options):
    if METHODS[method].uses_prompts:
        options = {"num_prompts": PROMPTS} | options
    return build_method(method, build(name).float(), CLASSES, **options)


@pytest.mark.parametrize("method", STEPPED)
@pytest.mark.parametrize("name", ["dinov3", "eva02, small", "eva02, clip", "pe", "aimv2", "post-norm"])
def test_every_method_trains_what_it_says_and_nothing_else(name, method):
    if (name, method) == ("aimv2", "layernorm"):  # it has RMSNorm
        with pytest.raises(UserError, match="LayerNorm"):
            adapted(method, name)
        return
    model = adapted(method, name).train()
    redraw([p for p in model.parameters() if p.requires_grad and not p.any()], 5, scale=0.1)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):  # what starts at zero may have no gradient at first
        optimiser.zero_grad()
        F.cross_entropy(model(models.draw_images(4, IMAGE)), torch.arange(4) % CLASSES).backward()
        optimiser.step()
    changed = {key for key, p in model.named_parameters() if not torch.equal(p, before[key])}
    without = {key for key in set(model.trained_state()) - changed if not _has_no_effect(key, model)}
    assert changed <= set(model.trained_state()) and not without


def _has_no_effect(name, model):
    """A bias of keys shifts all scores of a query alike; the softmax does not see it. Some tensors are never read."""
    return name.endswith(("k_proj.bias", "attn.k_norm.bias")) or not dict(model.named_parameters())[name].numel()


@pytest.mark.parametrize("method", ["lora", "lora-all", "dora", "adapter", "adaptformer", "ssf"])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_added_starts_as_no_change(name, method):
    pictures = models.draw_images(2, IMAGE)
    plain = adapted("linear", name).eval()
    model = adapted(method, name).eval()
    for own, other in zip(model.head.parameters(), plain.head.parameters(), strict=True):
        own.data.copy_(other)
    torch.testing.assert_close(model(pictures), plain(pictures), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", EVAS)
def test_layer_wise_decay_gives_each_block_of_an_eva_its_own_rate(name):
    model = adapted("full", name, layer_decay=0.5)
    shares = {id(p): group["share"] for group in model.parameter_groups(0.0) for p in group["params"]}
    of_blocks = [shares[id(block.mlp.fc2.weight)] for block in model.vit.blocks]
    assert of_blocks == [0.5**3, 0.5**2, 0.5]
    assert shares[id(model.vit.patch_embed.proj.weight)] == 0.5**4 and shares[id(model.head.weight)] == 1


# ---- other positions and first values -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_prompts_in_other_positions_work(name):
    vit, pictures = build(name), draw_images()
    plain = vit(pictures)
    none = AddedPrompts(copy.deepcopy(vit), 9, deep=True, init="zero").eval()
    torch.testing.assert_close(none(pictures), plain, rtol=1e-10, atol=1e-10)
    redraw([none.prompts], 1)
    assert not torch.allclose(none(pictures), plain, atol=1e-3)
    patches = pictures[:1, :, :PATCH, :PATCH].reshape(1, 1, -1)  # a patch of the image itself, as a prompt
    pixel = PixelPrompts(copy.deepcopy(vit), 1, init=patches).eval()
    embedded = vit.patch_embed(pictures[:1]).flatten(1, -2)[0, :1]  # 1 D
    token = PromptedViT(copy.deepcopy(vit), 1, deep=False, init=embedded[None]).eval()
    torch.testing.assert_close(pixel(pictures), token(pictures), rtol=1e-10, atol=1e-10)
    framed = FramedImages(copy.deepcopy(vit), 1).eval()
    torch.testing.assert_close(framed(pictures), vit(framed.framed(pictures)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_first_values_come_from_the_tokens_that_enter_a_block(name):
    vit, pictures, labels = build(name), draw_images(6), torch.arange(6) % 3
    seen = []
    for block in vit.blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, vit.num_prefix_tokens :]))
    vit(pictures)
    entering = torch.stack(seen[:3])  # L N n D
    wanted = torch.stack([entering[:, labels == label].mean((1, 2)) for label in range(3)], dim=1)
    torch.testing.assert_close(class_means(vit, pictures, labels, "every 1"), wanted, rtol=1e-9, atol=1e-9)
    assert cluster_centres(vit, pictures, 4, "last 2").shape == (2, 4, 16)


def test_what_is_no_vision_transformer_is_refused():
    assert is_vit(build("pe")) and is_vit(build("aimv2")) and not is_vit(nn.Linear(2, 2))
    with pytest.raises(UserError, match="VisionTransformer or Eva, but got a Linear"):
        PromptedViT(nn.Linear(2, 2))
    with pytest.raises(UserError, match="VisionTransformer or Eva, but got a Linear"):
        build_method("linear", nn.Linear(2, 2), 3)
