"""vptlib.prompts: the fast form, the textbook form and the paper's equations give the same numbers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import ResPostBlock, VisionTransformer
from torch import nn
from torch.nn import functional as F

from vptlib.backbones import ClsMeanViT
from vptlib.errors import UserError
from vptlib.prompts import PromptedViT, embed, fast_blocks, first_prompts, textbook_blocks

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


def build_vit(pooling="token", heads=2, head_width=4, depth=2, seed=0, num_classes=CLASSES, **options):
    """A float64 ViT with weights large enough to make every attention row far from uniform."""
    options |= {"img_size": IMAGE, "patch_size": PATCH, "embed_dim": heads * head_width, "num_heads": heads}
    options |= {"depth": depth, "num_classes": num_classes}
    if pooling == "cls+mean":
        vit = ClsMeanViT(**options)
        vit.reset_classifier(num_classes)
    else:
        vit = VisionTransformer(global_pool=pooling, **options)
    draw = torch.Generator().manual_seed(seed)
    vit.double()
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64) * 0.5)
    return vit


def build_prompted(vit, seed=0, **options):
    """The prompted model, with prompts as large as tokens, so that what they do cannot be overlooked."""
    model = PromptedViT(vit, **options)
    draw = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        model.prompts.copy_(torch.randn(model.prompts.shape, generator=draw, dtype=torch.float64))
    return model


def draw_images(batch=2, seed=0):
    return torch.randn(batch, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(seed + 2), dtype=torch.float64)


def outputs_and_gradients(model, images, fast):
    """Tokens and logits, and the gradient of a non-linear loss to the images and to every parameter."""
    model.fast = fast
    assert model.uses_fast_form == (fast and not model.carry and model.num_prompts > 0)
    model.zero_grad()
    images = images.clone().requires_grad_(True)
    tokens = model.forward_features(images)
    logits = model.vit.forward_head(tokens)
    (logits.square().sum() + tokens.sin().sum()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()} | {"images": images.grad}
    return tokens.detach(), logits.detach(), gradients


# ---- the fast form is the textbook form -------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(configuration=st.fixed_dictionaries(CONFIGURATIONS))
def test_fast_form_equals_textbook_form_in_outputs_and_all_gradients(configuration):
    num_prompts, batch, seed = (configuration.pop(key) for key in ("num_prompts", "batch", "seed"))
    model = build_prompted(build_vit(seed=seed, **configuration), seed, num_prompts=num_prompts)
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


# ---- both are what the equations of the paper say ---------------------------------------------------------------


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

    With queries of zero every token attends to all alike, so that a layer is: token + mean(all tokens).
    """
    vit = VisionTransformer(img_size=1, patch_size=1, embed_dim=1, depth=2, num_heads=1, num_classes=1).double()
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


# ---- where prompts stand and how long they live -----------------------------------------------------------------


@pytest.mark.parametrize("deep", [True, False], ids=["deep", "shallow"])
@pytest.mark.parametrize("pooling", ["token", "avg", "cls+mean"])
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
    model = build_prompted(vit, num_prompts=2)  # not yet told which mode
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
    vit = VisionTransformer(img_size=28, patch_size=14, embed_dim=64, depth=2, num_heads=2, num_classes=2)
    torch.manual_seed(0)
    prompts = first_prompts("uniform", (2, 200, 64), vit)  # 25,600 draws
    bound = math.sqrt(6 / (3 * 14 * 14 + 64))
    assert prompts.shape == (2, 200, 64)
    assert 0.999 * bound < prompts.abs().max().item() <= bound
    assert prompts.mean().item() == pytest.approx(0, abs=0.02 * bound)
    assert prompts.var().item() == pytest.approx(bound**2 / 3, rel=0.03)  # of a uniform distribution


def test_prompts_take_the_number_type_of_the_backbone():
    assert PromptedViT(build_vit()).prompts.dtype == torch.float64


# ---- mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_prompts": -1}, ["num_prompts", "-1"]),
        ({"dropout": 1.0}, ["dropout", "1.0"]),
        ({"dropout": -0.1}, ["dropout", "-0.1"]),
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
