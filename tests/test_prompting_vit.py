"""vptlib.prompting.vit: the fast form, the textbook form and the paper's equations give the same numbers."""

import copy
import math

import models
import pytest
import timm
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from models import redraw, small_vit
from timm.models.vision_transformer import ResPostBlock, VisionTransformer
from torch import nn
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.prompting.blocks import embed, heads, tokens_read
from vptlib.prompting.fast import fast_blocks
from vptlib.prompting.vit import PromptedViT, first_prompts, textbook_blocks
from vptlib.tuning.backbones import ClsMeanViT
from vptlib.tuning.methods import build_method

PATCH, IMAGE, CLASSES = 4, 8, 3
CONFIGURATIONS = {
    "heads": st.sampled_from([1, 2, 3]),
    "head_width": st.sampled_from([2, 4]),
    "depth": st.integers(1, 3),
    "num_prompts": st.integers(0, 4),
    "pooling": st.sampled_from(["token", "avg", "cls+mean"]),
    "reg_tokens": st.integers(0, 2),
    "qk_norm": st.booleans(),
    "scale_attn_norm": st.booleans(),
    "qkv_bias": st.booleans(),
    "pre_norm": st.booleans(),
    "no_embed_class": st.booleans(),
    "init_values": st.sampled_from([None, 0.5]),
    "batch": st.integers(1, 3),
    "seed": st.integers(0, 99),
}
OPTIONS = {
    "layers": st.sampled_from([None, "first 1", "last 1", "every 2", "last 2"]),
    "carry": st.sampled_from([None, True]),
    "shared": st.booleans(),
    "projection": st.sampled_from([None, 3]),
}


def build_vit(pooling="token", heads=2, head_width=4, depth=2, seed=0, num_classes=CLASSES, **options):
    """A float64 ViT with weights large enough to make every attention row far from uniform."""
    options |= {"img_size": IMAGE, "patch_size": PATCH, "embed_dim": heads * head_width, "num_heads": heads}
    options |= {"depth": depth, "num_classes": num_classes}
    if pooling == "cls+mean":
        vit = ClsMeanViT(**options)
        vit.reset_classifier(num_classes)
    else:
        vit = VisionTransformer(global_pool=pooling, **options)
    redraw(vit.double().parameters(), seed, scale=0.5)
    return vit


def build_prompted(vit, seed=0, **options):
    """The prompted model, with prompts as large as tokens, so that their effect is large."""
    model = PromptedViT(vit, **options)
    redraw([model.prompts], seed + 1)
    return model


def draw_images(batch=2, seed=0):
    return models.draw_images(batch, IMAGE, seed + 2, torch.float64)


def outputs_and_gradients(model, images, fast):
    """Tokens and logits, and the gradient of a non-linear loss to the images and to every parameter."""
    model.fast = fast
    goes_on = model.carry and len(model.layers) < len(model.vit.blocks) - model.layers[0]
    assert model.uses_fast_form == (fast and not goes_on and model.num_prompts > 0)
    model.zero_grad()
    images = images.clone().requires_grad_(True)
    tokens = model.forward_features(images)
    logits = model.vit.forward_head(tokens)
    if model.dropout.p == 0:  # by another way where the head reads the class token alone
        same = model(images)
        torch.testing.assert_close(same, logits, rtol=1e-10, atol=1e-10)
        logits = same
    (logits.square().sum() + tokens.sin().sum()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()} | {"images": images.grad}
    return tokens.detach(), logits.detach(), gradients


# ---- the fast form is the textbook form -------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, derandomize=True)
@given(configuration=st.fixed_dictionaries(CONFIGURATIONS), options=st.fixed_dictionaries(OPTIONS))
def test_fast_form_equals_textbook_form_in_outputs_and_all_gradients(configuration, options):
    num_prompts, batch, seed = (configuration.pop(key) for key in ("num_prompts", "batch", "seed"))
    assume(configuration["depth"] >= int((options["layers"] or "all 1").split()[1]))
    model = build_prompted(build_vit(seed=seed, **configuration), seed, num_prompts=num_prompts, **options)
    model.requires_grad_(True)  # the frozen weights too: the comparison covers every gradient there is
    images = draw_images(batch, seed)

    tokens, logits, gradients = outputs_and_gradients(model, images, fast=True)
    wanted_tokens, wanted_logits, wanted = outputs_and_gradients(model, images, fast=False)

    torch.testing.assert_close(tokens, wanted_tokens, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(logits, wanted_logits, rtol=1e-10, atol=1e-10)
    assert gradients.keys() == wanted.keys()
    for name, gradient in wanted.items():
        scale = max(1.0, gradient.abs().max().item()) if gradient.numel() else 1.0
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-10, atol=1e-10 * scale, msg=name)


def test_fast_form_draws_the_same_dropout_as_the_textbook_form():
    model = build_prompted(build_vit(), num_prompts=5, dropout=0.5).train()
    results = []
    for fast in (True, False):
        torch.manual_seed(3)
        results.append(outputs_and_gradients(model, draw_images(3), fast)[1])
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_a_gated_attention_takes_the_textbook_form():
    model = build_prompted(build_vit(), num_prompts=2)
    model.vit.blocks[1].attn.gate = nn.Linear(8, 8).double()
    assert model.fast and not model.uses_fast_form
    tokens = embed(model.vit, draw_images())
    assert not torch.allclose(fast_blocks(model, tokens), textbook_blocks(model, tokens))  # the guard is needed
    torch.testing.assert_close(model.forward_features(draw_images()), model.vit.norm(textbook_blocks(model, tokens)))


def test_a_block_of_another_kind_takes_the_textbook_form():
    model = build_prompted(build_vit(block_fn=ResPostBlock), num_prompts=2)
    assert model.fast and not model.uses_fast_form
    assert model(draw_images()).isfinite().all()


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"deep": False}, {}),
        ({"layers": "first 2", "carry": True}, {}),
        ({"deep": False, "gated": True}, {}),
        ({}, {"hook": True}),
        ({}, {"qkv": True}),
        ({}, {"training": True}),
    ],
    ids=["shallow", "travels on", "gates", "somebody watches a block", "wrapped projection", "dropout in attention"],
)
def test_where_the_short_cut_does_not_hold_the_textbook_form_is_taken(options, changes):
    model = build_prompted(build_vit(depth=3, attn_drop_rate=0.5), num_prompts=2, **options)
    block = model.vit.blocks[1]
    assert build_prompted(build_vit(depth=3), num_prompts=2).uses_fast_form  # the plain case
    if "hook" in changes:
        lengths = []
        block.register_forward_hook(lambda _block, inputs, _output: lengths.append(inputs[0].shape[1]))
    if "qkv" in changes:
        block.attn.qkv = nn.Sequential(block.attn.qkv)  # as LoRA puts itself around it
    if "training" in changes:
        model.vit.train()
    assert model.fast and not model.uses_fast_form
    images = draw_images()
    if "training" in changes:
        assert not torch.allclose(model(images), model(images))  # dropout acts: nothing was left out
        return
    wanted = model.vit.norm(textbook_blocks(model, model.stem(images)))
    torch.testing.assert_close(model.forward_features(images), wanted, rtol=0, atol=0)
    if "hook" in changes:
        assert set(lengths) == {1 + 4 + 2}  # the hook saw the prompts in the sequence


@pytest.mark.parametrize(
    "options", [{"deep": False}, {"layers": [0, 2], "carry": True}, {"deep": False, "gated": True}]
)
def test_the_guard_is_needed_where_prompts_travel(options):
    model = build_prompted(build_vit(depth=3), num_prompts=2, **options)
    tokens = embed(model.vit, draw_images())
    assert not torch.allclose(fast_blocks(model, tokens), textbook_blocks(model, tokens))


# ---- the last layer, and what is kept at inference --------------------------------------------------------------


def test_the_last_layer_asks_for_the_class_token_alone():
    model = build_prompted(build_vit(depth=2), num_prompts=2).eval()
    lengths = []
    for block in model.vit.blocks:
        block.mlp.register_forward_hook(lambda _mlp, inputs, _output: lengths.append(inputs[0].shape[1]))
    model(draw_images())
    assert lengths == [5, 1]
    lengths.clear()
    model.forward_features(draw_images())
    assert lengths == [5, 5]  # a caller that asks for all tokens gets them


TRAVELLING = [{"deep": False}, {"layers": [0, 2], "carry": True}, {"deep": False, "gated": True}]
TRAVELLING += [{"layers": [1], "carry": True}, {"layers": [0, 3], "carry": True}]


@pytest.mark.parametrize("options", TRAVELLING, ids=str)
@pytest.mark.parametrize("pooling", ["token", "avg", "cls+mean", "map"])
def test_the_last_block_of_travelling_prompts_gives_only_what_is_read_with_the_same_numbers(pooling, options):
    results, queried = [], []
    for fast in (True, False):
        model = build_prompted(build_vit(pooling, depth=4), num_prompts=2, fast=fast, **options)
        model.requires_grad_(True)
        model.vit.blocks[-1].mlp.register_forward_hook(lambda _m, inputs, _o: queried.append(inputs[0].shape[1]))
        logits = model(draw_images())
        logits.square().sum().backward()
        results.append({name: p.grad for name, p in model.named_parameters()} | {"logits": logits.detach()})
    patches = 1 + (IMAGE // PATCH) ** 2
    assert queried == [1 if pooling == "token" else patches, patches + 2]
    for name, wanted in results[1].items():
        scale = max(1.0, wanted.abs().max().item())
        torch.testing.assert_close(results[0][name], wanted, rtol=1e-10, atol=1e-10 * scale, msg=name)


@pytest.mark.parametrize("watched", ["block", "attn", "qkv"])
def test_somebody_who_watches_the_last_block_sees_all_travelling_prompts(watched):
    model, lengths = build_prompted(build_vit(), num_prompts=3, deep=False), []
    block = model.vit.blocks[-1]
    module = {"block": block, "attn": block.attn, "qkv": block.attn.qkv}[watched]
    module.register_forward_hook(lambda _m, inputs, _o: lengths.append(inputs[0].shape[1]))
    torch.testing.assert_close(model(draw_images()), model.vit.forward_head(model.forward_features(draw_images())))
    assert lengths == [5 + 3] * 2


def test_travelling_prompts_draw_the_same_dropout_in_both_forms():
    model = build_prompted(build_vit(), num_prompts=5, dropout=0.5, deep=False).train()
    results = []
    for fast in (True, False):
        model.fast = fast
        torch.manual_seed(3)
        results.append(model(draw_images(3)))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pooling", ["avg", "cls+mean", "map"])
def test_other_heads_read_all_tokens(pooling):
    assert tokens_read(build_vit(pooling)) is None
    assert tokens_read(build_vit("token")) == 1


def test_keys_and_values_are_kept_at_inference_and_made_again_after_every_change():
    model = build_prompted(build_vit(), num_prompts=3).eval()
    images = draw_images()
    changes = [
        lambda: model.prompts.mul_(2),
        lambda: model.load_state_dict(build_prompted(build_vit(seed=4), seed=9, num_prompts=3).state_dict()),
        lambda: model.vit.blocks[0].norm1.weight.mul_(2),
        lambda: model.vit.blocks[1].attn.qkv.weight.add_(0.1),
        lambda: setattr(model, "prompts", nn.Parameter(model.prompts.flip(0))),
        lambda: setattr(model.prompts, "data", model.prompts.flip(1)),
    ]
    with torch.no_grad():
        for change in [lambda: None, *changes]:
            change()
            model.fast = True
            first, second = model(images), model(images)
            model.fast = False
            torch.testing.assert_close(first, model(images), rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(first, second, rtol=0, atol=0)
    model, normed = build_prompted(build_vit(), num_prompts=3).eval(), []
    model.vit.blocks[0].norm1.register_forward_hook(lambda _norm, inputs, _output: normed.append(inputs[0].shape))
    with torch.inference_mode():
        model(images)
        model(images)
    assert normed.count((3, 8)) == 1 and len(normed) == 3  # tokens twice, prompts once


def test_what_is_kept_does_not_reach_into_training():
    model = build_prompted(build_vit(), num_prompts=3)
    with torch.no_grad():
        model.eval()(draw_images())
    for mode in (True, False):
        model.train(mode).zero_grad()
        model(draw_images()).square().sum().backward()
        assert model.prompts.grad.abs().amax(dim=(1, 2)).min() > 1e-6


def test_kept_values_follow_the_number_type():
    model = build_prompted(build_vit(), num_prompts=3).eval()
    with torch.no_grad():
        model(draw_images())
        in_float32 = model.float()(draw_images().float())
        fresh = build_prompted(build_vit(), num_prompts=3).eval().float()
        torch.testing.assert_close(in_float32, fresh(draw_images().float()), rtol=0, atol=0)


# ---- no more graph than needed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "textbook"])
def test_nothing_below_the_first_prompted_layer_enters_the_graph(fast):
    model = build_prompted(build_vit(depth=3), num_prompts=2, layers="last 1", fast=fast).train()
    tokens = model.stem(draw_images())
    assert tokens.grad_fn is None and not tokens.requires_grad
    torch.testing.assert_close(model.rest(tokens), model(draw_images()), rtol=0, atol=0)
    through = tokens
    for block in model.vit.blocks[:2]:
        assert not block.attn.qkv.weight.requires_grad
    assert through.shape == (2, 5, 8)
    model(draw_images()).sum().backward()
    assert model.prompts.grad.shape == (1, 2, 8)


def test_late_prompts_can_start_from_kept_tokens():
    model = build_prompted(build_vit(depth=3), num_prompts=2, layers=[1, 2])
    by_hand = embed(model.vit, draw_images())
    torch.testing.assert_close(model.stem(draw_images()), model.vit.blocks[0](by_hand), rtol=0, atol=0)


@pytest.mark.parametrize("options", [{}, {"fast": False}, {"deep": False}, {"dropout": 0.5}], ids=str)
def test_checkpointing_changes_memory_and_nothing_else(options):
    model = build_prompted(build_vit(depth=3), num_prompts=2, **options).train()
    kept = {}
    for checkpointing in (False, True):
        model.vit.set_grad_checkpointing(checkpointing)
        sizes = []
        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            logits = model(draw_images())
        model.zero_grad()
        logits.square().sum().backward()
        kept[checkpointing] = logits.detach(), model.prompts.grad.clone(), sum(sizes)
    torch.testing.assert_close(kept[True][0], kept[False][0], rtol=0, atol=0)
    torch.testing.assert_close(kept[True][1], kept[False][1], rtol=1e-12, atol=1e-12)
    assert kept[True][2] < kept[False][2] / 2


def test_the_fast_form_keeps_fewer_numbers_for_the_backward_pass():
    kept = {}
    for fast in (True, False):
        model = build_prompted(build_vit(depth=3), num_prompts=10, fast=fast).train()
        sizes = {}
        keep = lambda t, s=sizes: s.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}) or t  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            model(draw_images(3))
        kept[fast] = sum(sizes.values())
    assert kept[True] < 0.6 * kept[False]


# ---- both are the equations of the paper ------------------------------------------------------------------------


def layer_norm(x, norm):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def transformer_layer(z, block):
    """L_i of Dosovitskiy et al. (arXiv 2010.11929, equations 2 and 3), one image and one head at a time. `N D`."""
    y = layer_norm(z, block.norm1)
    width = z.shape[-1] // block.attn.num_heads
    projected = y @ block.attn.qkv.weight.T + block.attn.qkv.bias  # N 3D
    query, key, value = projected.chunk(3, dim=-1)
    heads = []
    for h in range(block.attn.num_heads):
        part = slice(h * width, (h + 1) * width)
        scores = query[:, part] @ key[:, part].T / math.sqrt(width)
        weights = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
        heads.append(weights @ value[:, part])
    z = z + torch.cat(heads, dim=-1) @ block.attn.proj.weight.T + block.attn.proj.bias
    hidden = layer_norm(z, block.norm2) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return z + hidden @ block.mlp.fc2.weight.T + block.mlp.fc2.bias


def patch_tokens(image, vit):
    """E_0: each patch flattened, projected, its position added. `3 H W` to `N D`."""
    side = IMAGE // PATCH
    patches = [
        image[:, r * PATCH : (r + 1) * PATCH, c * PATCH : (c + 1) * PATCH].flatten()
        for r in range(side)
        for c in range(side)
    ]
    weight = vit.patch_embed.proj.weight.flatten(1)
    return torch.stack(patches) @ weight.T + vit.patch_embed.proj.bias + vit.pos_embed[0, 1:]


def vpt_by_the_equations(image, vit, prompts, deep):
    """Equations 4 to 8 of Jia et al. for one image; returns the class logits."""
    x, E = vit.cls_token[0] + vit.pos_embed[0, :1], patch_tokens(image, vit)
    P = prompts[0]
    for i, block in enumerate(vit.blocks):
        if deep:
            P = prompts[i]
        z = transformer_layer(torch.cat([x, P, E]), block)
        x, P, E = z[:1], z[1 : 1 + len(P)], z[1 + len(P) :]
    return layer_norm(x[0], vit.norm) @ vit.head.weight.T + vit.head.bias


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "textbook"])
@pytest.mark.parametrize("deep", [True, False], ids=["deep", "shallow"])
def test_equals_the_equations_of_the_paper(deep, fast):
    vit = build_vit(heads=2, head_width=3, depth=3)
    model = build_prompted(vit, num_prompts=4, deep=deep, fast=fast)
    images = draw_images(2)
    wanted = torch.stack([vpt_by_the_equations(image, vit, model.prompts, deep) for image in images])
    torch.testing.assert_close(model(images), wanted, rtol=1e-10, atol=1e-10)


def averaging_vit(patch: float):
    """One number per token, two layers that add the mean of all tokens to each; class token 0, one patch.

    With queries of zero every token attends equally to all, so a layer is: token + mean(all tokens).
    """
    vit = small_vit(img_size=1, patch_size=1, embed_dim=1, num_heads=1, num_classes=1).double()
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.zero_()
        vit.patch_embed.proj.bias.fill_(patch)
        vit.head.weight.fill_(1)
        for block in vit.blocks:
            block.attn.qkv.weight.copy_(torch.tensor([[0.0], [0.0], [1.0]]))  # the value is the token
            block.attn.proj.weight.fill_(1)
            block.norm1 = nn.Identity()  # the norm of a single number would be 0
    vit.norm = nn.Identity()
    return vit


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "textbook"])
@pytest.mark.parametrize(
    ("deep", "prompts", "class_token"),
    [
        # layer 1: class 0, prompt 6, patch 3; mean 3 -> class 3, prompt 9, patch 6
        # layer 2: class 3, new prompt 0, patch 6; mean 3 -> class 6
        (True, [[[6.0]], [[0.0]]], 6.0),
        # layer 2: class 3, prompt 9 has travelled on, patch 6; mean 6 -> class 9  (dropped, it would be 7.5)
        (False, [[[6.0]]], 9.0),
    ],
    ids=["deep", "shallow"],
)
def test_a_case_worked_by_hand(deep, prompts, class_token, fast):
    model = PromptedViT(averaging_vit(patch=3.0), num_prompts=1, deep=deep, fast=fast)
    with torch.no_grad():
        model.prompts.copy_(torch.tensor(prompts))
    assert model(torch.zeros(1, 3, 1, 1, dtype=torch.float64)).item() == pytest.approx(class_token, abs=1e-12)


def test_the_hand_worked_backbone_without_prompts():
    # layer 1: class 0, patch 3; mean 1.5 -> 1.5, 4.5; layer 2: mean 3 -> class 4.5
    images = torch.zeros(1, 3, 1, 1, dtype=torch.float64)
    assert averaging_vit(patch=3.0)(images).item() == pytest.approx(4.5, abs=1e-12)


# ---- where prompts are and how long they live -------------------------------------------------------------------


@pytest.mark.parametrize("deep", [True, False], ids=["deep", "shallow"])
@pytest.mark.parametrize("pooling", ["token", "avg", "cls+mean", "map"])
def test_no_prompts_give_the_plain_backbone(pooling, deep):
    vit = build_vit(pooling, reg_tokens=1)
    images = draw_images()
    plain = vit.eval()(images)
    model = build_prompted(vit, num_prompts=0, deep=deep)
    torch.testing.assert_close(model(images), plain, rtol=0, atol=0)
    assert model.prompts.numel() == 0


def test_shallow_prompts_travel_through_all_layers():
    model = build_prompted(build_vit(depth=3, reg_tokens=2), num_prompts=4, deep=False)
    lengths = []
    for block in model.vit.blocks:
        block.register_forward_hook(lambda _block, inputs, _output: lengths.append(inputs[0].shape[1]))
    tokens = model.forward_features(draw_images())
    plain = 1 + 2 + (IMAGE // PATCH) ** 2
    assert lengths == [plain + 4] * 3
    assert tokens.shape[1] == plain


def test_shallow_prompts_leave_a_layer_changed_and_deep_ones_fresh():
    kept = {}
    for deep in (True, False):
        model = build_prompted(build_vit(depth=2, reg_tokens=1), num_prompts=2, deep=deep, fast=False)
        seen = []
        for block in model.vit.blocks:
            block.register_forward_hook(lambda _b, inputs, output, seen=seen: seen.append((inputs[0], output)))
        model(draw_images())
        left_the_first, entered_the_second = seen[0][1][:, 2:4], seen[1][0][:, 2:4]  # behind class token and register
        kept[deep] = torch.equal(left_the_first, entered_the_second)
        if deep:
            torch.testing.assert_close(entered_the_second, model.prompts[1].expand(2, -1, -1), rtol=0, atol=0)
    assert kept == {True: False, False: True}


def test_one_layer_deep_is_one_layer_shallow():
    deep = build_prompted(build_vit(depth=1), num_prompts=3, deep=True)
    shallow = build_prompted(build_vit(depth=1), num_prompts=3, deep=False)
    torch.testing.assert_close(deep(draw_images()), shallow(draw_images()), rtol=1e-10, atol=1e-10)


def test_every_prompted_layer_has_its_own_influence():
    model = build_prompted(build_vit(depth=3), num_prompts=2)
    model(draw_images()).sum().backward()
    assert model.prompts.shape == (3, 2, 8)
    assert (model.prompts.grad.abs().amax(dim=(1, 2)) > 1e-6).all()


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        (None, (0, 1, 2, 3)),
        ("first 2", (0, 1)),
        ("last 2", (2, 3)),
        ("every 2", (0, 2)),
        ("every 4", (0,)),
        ([3, 1], (1, 3)),
    ],
)
def test_prompts_are_in_the_layers_asked_for(layers, wanted):
    model = build_prompted(build_vit(depth=4), num_prompts=2, layers=layers, fast=False)
    lengths = []
    for block in model.vit.blocks:
        block.register_forward_hook(lambda _block, inputs, _output: lengths.append(inputs[0].shape[1]))
    model(draw_images())
    assert model.layers == wanted and model.prompts.shape == (len(wanted), 2, 8)
    assert lengths == [5 + 2 * (number in wanted) for number in range(4)]


def test_carried_prompts_stay_until_the_next_fresh_set():
    model = build_prompted(build_vit(depth=4), num_prompts=2, layers=[1, 3], carry=True)
    seen = []
    for block in model.vit.blocks:
        block.register_forward_hook(lambda _block, inputs, output: seen.append((inputs[0], output)))
    model(draw_images())
    assert [inputs.shape[1] for inputs, _ in seen] == [5, 7, 7, 7]
    torch.testing.assert_close(seen[2][0][:, 1:3], seen[1][1][:, 1:3], rtol=0, atol=0)  # carried
    torch.testing.assert_close(seen[3][0][:, 1:3], model.prompts[1].expand(2, -1, -1), rtol=0, atol=0)  # fresh


def test_shallow_is_one_fresh_set_that_is_carried():
    shallow = build_prompted(build_vit(depth=3), num_prompts=2, deep=False)
    carried = build_prompted(build_vit(depth=3), num_prompts=2, layers=[0], carry=True)
    torch.testing.assert_close(shallow(draw_images()), carried(draw_images()), rtol=0, atol=0)


def test_a_shared_set_is_the_same_set_at_every_layer():
    vit = build_vit(depth=3)
    shared = build_prompted(copy.deepcopy(vit), num_prompts=2, shared=True)
    apart = build_prompted(copy.deepcopy(vit), num_prompts=2)
    with torch.no_grad():
        apart.prompts.copy_(shared.prompts.expand(3, -1, -1))
    assert shared.prompts.shape == (1, 2, 8)
    torch.testing.assert_close(shared(draw_images()), apart(draw_images()), rtol=0, atol=0)


def test_projected_prompts_are_narrow_ones_widened_by_one_map():
    vit = build_vit(depth=2)
    narrow = build_prompted(copy.deepcopy(vit), num_prompts=2, projection=3)
    wide = build_prompted(copy.deepcopy(vit), num_prompts=2)
    with torch.no_grad():
        wide.prompts.copy_(narrow.prompts @ narrow.widen.weight.T + narrow.widen.bias)
    assert narrow.prompts.shape == (2, 2, 3)
    torch.testing.assert_close(narrow(draw_images()), wide(draw_images()), rtol=1e-12, atol=1e-12)
    assert narrow.widen.weight.requires_grad


@pytest.mark.parametrize(("logit", "same_as"), [(50.0, "shallow"), (-50.0, "shared and deep")])
def test_gates_lead_from_prompts_that_travel_to_prompts_that_stay(logit, same_as):
    vit = build_vit(depth=3)
    gated = build_prompted(copy.deepcopy(vit), num_prompts=2, deep=False, gated=True)
    with torch.no_grad():
        gated.gates.fill_(logit)
    options = {"deep": False} if same_as == "shallow" else {"shared": True}
    other = build_prompted(copy.deepcopy(vit), num_prompts=2, **options)
    torch.testing.assert_close(gated(draw_images()), other(draw_images()), rtol=1e-9, atol=1e-9)


def test_a_gate_in_between_mixes_what_entered_and_what_left():
    model = build_prompted(build_vit(depth=2), num_prompts=2, deep=False, gated=True)
    with torch.no_grad():
        model.gates.fill_(math.log(3))  # sigmoid: 3/4
    seen = []
    for block in model.vit.blocks:
        block.register_forward_hook(lambda _block, inputs, output: seen.append((inputs[0], output)))
    model(draw_images()).sum().backward()
    mixed = 0.75 * seen[0][1][:, 1:3] + 0.25 * seen[0][0][:, 1:3]
    torch.testing.assert_close(seen[1][0][:, 1:3], mixed, rtol=1e-12, atol=1e-12)
    assert model.gates.grad[0].abs() > 1e-6


# ---- on the models of timm --------------------------------------------------------------------------------------

TIMM = {  # name of the architecture → what is particular
    "deit_tiny_patch16_224": "class token",
    "deit_tiny_distilled_patch16_224": "two heads",
    "deit3_small_patch16_224": "layer scale, no position for the class token",
    "vit_small_patch14_reg4_dinov2": "registers",
    "vit_tiny_patch16_224": "class token",
    "vit_base_patch16_clip_224": "norm before the blocks",
    "vit_base_patch16_siglip_224": "no class token, attention pooling",
    "vit_small_patch16_224": "average pooling",
    "vit_relpos_small_patch16_224": "another class",
}


def build_timm(name, **options):
    """A timm architecture with its own options, but narrow, with two blocks, and for 2 × 2 patches."""
    patch = 14 if "patch14" in name else 16
    size = {"img_size": 2 * patch, "depth": 2, "embed_dim": 24, "num_heads": 2, "num_classes": CLASSES}
    return timm.create_model(name, **size | options).double().eval()


@pytest.mark.parametrize("name", [n for n in TIMM if "relpos" not in n])
@pytest.mark.parametrize("deep", [True, False], ids=["deep", "shallow"])
def test_works_on_the_vits_of_timm(name, deep):
    options = {"global_pool": "avg", "class_token": False} if TIMM[name] == "average pooling" else {}
    vit = build_timm(name, **options)
    size = vit.patch_embed.img_size[0]
    images = torch.randn(2, 3, size, size, dtype=torch.float64)
    plain = vit(images)
    none = PromptedViT(copy.deepcopy(vit), num_prompts=0, deep=deep).eval()
    torch.testing.assert_close(none(images), plain, rtol=1e-12, atol=1e-12)
    model = build_prompted(vit, num_prompts=3, deep=deep).eval()
    assert model.uses_fast_form == deep
    results = []
    for fast in (True, False):
        model.fast = fast
        model.zero_grad()
        logits = model(images)
        logits.square().sum().backward()
        results.append((logits.detach(), model.prompts.grad.clone()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)
    assert not torch.allclose(results[0][0], plain) and results[0][1].abs().max() > 0
    assert all(p.requires_grad for head in heads(model.vit) for p in head.parameters())


def test_images_of_another_size_where_the_backbone_takes_them():
    model = build_prompted(build_timm("vit_tiny_patch16_224", dynamic_img_size=True), num_prompts=2).eval()
    for size in ((32, 32), (48, 32), (64, 64)):
        images = torch.randn(2, 3, *size, dtype=torch.float64)
        model.fast = True
        quick = model(images)
        model.fast = False
        torch.testing.assert_close(quick, model(images), rtol=1e-10, atol=1e-10)
    with pytest.raises(UserError, match="40 × 32"):
        model(torch.randn(1, 3, 40, 32, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(2, 3, 9, 8), (2, 3, 12, 12), (3, 8, 8)])
def test_images_of_a_size_that_the_backbone_does_not_take_are_refused(shape):
    with pytest.raises(UserError, match=" × " if len(shape) == 4 else "B 3 H W"):
        build_prompted(build_vit())(torch.zeros(shape, dtype=torch.float64))


# ---- what is frozen ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [True, False], ids=["deep", "shallow"])
def test_training_changes_prompts_and_head_and_nothing_else(deep):
    model = build_prompted(build_vit(), num_prompts=2, deep=deep)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "prompts",
        "vit.head.weight",
        "vit.head.bias",
    }

    optimiser = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)
    model.train()
    for step in range(4):
        optimiser.zero_grad()
        F.cross_entropy(model(draw_images(6, step)), torch.tensor([0, 1, 2, 0, 1, 2])).backward()
        optimiser.step()

    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"prompts", "vit.head.weight", "vit.head.bias"}


def test_the_backbone_never_enters_training_mode():
    vit = build_vit(drop_rate=0.5, pos_drop_rate=0.5)
    model = build_prompted(vit, num_prompts=2)  # its mode is not set yet
    assert not vit.training
    assert model.train().training and not vit.training
    images = draw_images()
    torch.testing.assert_close(model(images), model(images), rtol=0, atol=0)


# ---- dropout and the first values -------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "textbook"])
def test_dropout_draws_for_each_image_and_only_in_training(fast):
    model = build_prompted(build_vit(), num_prompts=6, dropout=0.5, fast=fast)
    same = draw_images(1).expand(3, -1, -1, -1)
    logits = model.train()(same)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(logits[a], logits[b])
    logits = model.eval()(same)
    torch.testing.assert_close(logits[1:], logits[:1].expand(2, -1), rtol=1e-12, atol=1e-12)


def test_dropout_keeps_the_mean_and_drops_its_share():
    model = build_prompted(build_vit(heads=3, head_width=4), num_prompts=50, dropout=0.25).train()
    torch.manual_seed(0)
    dropped = model.layer_prompts(0, batch=40)  # 40 50 12: 24,000 draws
    assert (dropped == 0).double().mean().item() == pytest.approx(0.25, abs=0.015)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], (model.prompts[0] / 0.75).expand_as(dropped)[kept])


def test_prompts_start_uniform_within_the_official_bound():
    prompts = first_prompts("uniform", (2, 200, 64), small_vit(embed_dim=64))  # 25,600 draws
    bound = math.sqrt(6 / (3 * 14 * 14 + 64))
    assert prompts.shape == (2, 200, 64)
    assert 0.999 * bound < prompts.abs().max().item() <= bound
    assert prompts.mean().item() == pytest.approx(0, abs=0.02 * bound)
    assert prompts.var().item() == pytest.approx(bound**2 / 3, rel=0.03)  # of a uniform distribution


def test_prompts_start_as_asked():
    vit = build_vit(heads=3, head_width=4)
    torch.manual_seed(0)
    normal = first_prompts("normal", (10, 100, 12), vit)
    assert normal.std().item() == pytest.approx(0.02, rel=0.03) and abs(normal.mean().item()) < 1e-3
    assert first_prompts("zero", (2, 3, 12), vit).abs().sum() == 0
    given = torch.randn(2, 3, 12)
    model = PromptedViT(vit, 3, init=given)
    torch.testing.assert_close(model.prompts.detach(), given.double(), rtol=0, atol=0)
    assert model.prompts.data_ptr() != given.data_ptr()


def test_prompts_take_the_number_type_of_the_backbone():
    assert PromptedViT(build_vit()).prompts.dtype == torch.float64


# ---- mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_prompts": -1}, ["num_prompts", "-1"]),
        ({"dropout": 1.0}, ["dropout", "1.0"]),
        ({"dropout": -0.1}, ["dropout", "-0.1"]),
        ({"layers": [0, 2]}, ["layers", "0 to 1"]),
        ({"layers": [-1]}, ["layers", "0 to 1"]),
        ({"layers": [1, 1]}, ["layers", "twice"]),
        ({"layers": []}, ["layers", "at least one"]),
        ({"layers": "last 3"}, ["last 3", "1 to 2"]),
        ({"layers": "some"}, ["some", "first K"]),
        ({"gated": True}, ["gated", "deep=False"]),
        ({"projection": 0}, ["projection", "0"]),
        ({"init": "random"}, ["init", "random", "uniform"]),
        ({"init": torch.zeros(2, 3, 8)}, ["init", "(2, 3, 8)", "(2, 10, 8)"]),
    ],
)
def test_numbers_out_of_range_are_named(options, words):
    with pytest.raises(UserError) as error:
        PromptedViT(build_vit(), **options)
    assert all(word in str(error.value) for word in words)


def test_a_backbone_without_head_is_refused():
    with pytest.raises(UserError, match="reset_classifier"):
        PromptedViT(build_vit(num_classes=0))


def test_another_network_is_refused():
    with pytest.raises(UserError, match="Linear"):
        PromptedViT(nn.Linear(2, 2))


@pytest.mark.parametrize("method", ["vpt-deep", "full+prompts"])
def test_kept_keys_and_values_are_made_again_after_a_fused_optimiser(method):
    """A fused AdamW changes parameters without raising their version: a validation in between must not be blind."""
    model = build_method(method, small_vit(), 3).eval()
    images = models.draw_images(2)
    optimiser = torch.optim.AdamW(model.parameter_groups(0.0), lr=0.1, fused=True)
    for _ in range(2):
        with torch.inference_mode():
            before = model(images)
        model(images).square().sum().backward()
        optimiser.step()
        with torch.inference_mode():
            after = model(images)
        torch.testing.assert_close(after, model(images).detach(), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(after, before)
