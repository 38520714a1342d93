"""Attention against sums by hand: where it goes, how far, how much goes to prompts, and what tuning has kept."""

from functools import partial

import numpy as np
import pytest
import torch
from models import FAMILIES, HEAD_INPUTS, draw_images, small_family, small_vit
from timm.layers.attention import Attention
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.explanations.attention import (
    attention,
    class_attention,
    distances,
    even_distance,
    kept,
    layer_features,
    linear_cka,
    pool_shares,
    prompt_shares,
    prompt_views,
    prompts_in,
    readers,
    rollout,
)
from vptlib.explanations.maps import explain
from vptlib.prompting.blocks import rotations, rotations_of
from vptlib.prompting.eva import halves
from vptlib.prompting.vit import textbook_blocks
from vptlib.tuning.methods import build_method

SIZE, PATCH, P = 42, 14, 4
PROMPTED = {
    "vpt-shallow": {},
    "vpt-deep": {},
    "deep, last two": {"layers": "last 2"},
    "deep, carried": {"layers": [0, 2], "carry": True},
}


def adapted(kind: str, backbone: str = "class token"):
    build, extra = HEAD_INPUTS[backbone]
    vit = small_vit(build, img_size=SIZE, depth=3, **extra)
    method = kind if kind in ("linear", "full", "vpt-shallow") else "vpt-deep"
    options = {"num_prompts": P, **PROMPTED[kind]} if kind in PROMPTED else {}
    return build_method(method, vit, 3, **options).eval()


images = partial(draw_images, size=SIZE)


def of_today(name: str, kind: str = "vpt-deep"):
    """`adapted`, for a backbone of `FAMILIES`."""
    options = {"num_prompts": P} if kind.startswith("vpt") else {}
    return build_method(kind, small_family(name, img_size=SIZE, depth=3), 3, **options).eval()


@pytest.mark.parametrize("backbone", HEAD_INPUTS)
@pytest.mark.parametrize("kind", ["linear", *PROMPTED])
def test_rows_of_attention_sum_to_one_and_count_the_prompts(kind, backbone):
    model = adapted(kind, backbone)
    found = attention(model, images())
    plain = 9 + model.vit.num_prefix_tokens
    assert [w.shape[-1] - plain for w in found] == list(prompts_in(model).values())
    for weights in found:
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


def test_the_weights_are_those_by_which_each_block_mixes_its_values():
    net, pictures, seen = adapted("vpt-deep").net, images(), []
    hooks = [b.attn.register_forward_hook(lambda attn, x, y: seen.append((attn, x[0], y))) for b in net.vit.blocks]
    with torch.no_grad():
        textbook_blocks(net, net.stem(pictures))
    for hook in hooks:
        hook.remove()
    for (attn, x, y), weights in zip(seen, attention(net, pictures), strict=True):  # B H T T
        v = attn.qkv(x).unflatten(-1, (3, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4)[2]  # B H T d
        torch.testing.assert_close(attn.proj((weights @ v).transpose(1, 2).flatten(2)), y)


def test_each_block_has_its_prompts_counted():
    assert list(prompts_in(adapted("linear")).values()) == [0, 0, 0]
    assert list(prompts_in(adapted("vpt-shallow")).values()) == [P, P, P]
    assert list(prompts_in(adapted("deep, last two")).values()) == [0, P, P]
    assert list(prompts_in(adapted("deep, carried")).values()) == [P, P, P]


def test_the_model_gives_the_same_logits_afterwards():
    model = adapted("vpt-deep")
    with torch.no_grad():
        before = model(images())
        attention(model, images())
        torch.testing.assert_close(model(images()), before, rtol=0, atol=0)
    assert model.net.fast and all(block.attn.fused_attn for block in model.vit.blocks)


def test_readers_are_what_the_head_pools():
    tokens = torch.randn(1, 16, 32)
    for backbone in HEAD_INPUTS:
        vit = adapted("linear", backbone).vit
        shares = readers(vit, vit.num_prefix_tokens + 9)
        given = tokens[:, : len(shares)].clone().requires_grad_()
        vit.pool(given).sum().backward()
        weight = given.grad.abs().sum(dim=-1)[0]
        torch.testing.assert_close(shares, weight / weight.sum())


@torch.no_grad()
def test_class_attention_is_the_row_of_the_class_token():
    model = adapted("vpt-deep", "registers")
    row = attention(model, images())[-1].mean(1)[:, 0, -9:]
    torch.testing.assert_close(class_attention(model, images()), row.reshape(2, 3, 3))


# ---- the backbones of today --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", ["linear", "vpt-shallow", "vpt-deep"])
def test_attention_of_todays_backbones_has_rows_of_sum_one_and_mixes_the_values(kind, name):
    model, seen = of_today(name, kind), []
    for block in model.vit.blocks:
        block.attn.register_forward_hook(lambda attn, inputs, output: seen.append((attn, inputs[0], output)))
    found = attention(model, images())
    plain, prompts = 9 + model.vit.num_prefix_tokens, 0 if kind == "linear" else P
    for weights, (attn, tokens, output) in zip(found, seen, strict=True):
        assert weights.shape == (2, 2, plain + prompts, plain + prompts)
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        assert attn.fused_attn
        keys_values = attn.qkv if isinstance(attn, Attention) else halves(attn)[1]
        v = keys_values(tokens)[..., -32:].unflatten(-1, (2, 16)).transpose(1, 2)  # B H N d
        torch.testing.assert_close(attn.proj(attn.norm((weights @ v).transpose(1, 2).flatten(2))), output)
    assert list(prompts_in(model).values()) == [prompts] * 3


@torch.no_grad()
@pytest.mark.parametrize("name", ["dinov3", "rope-vit, mixed"])
def test_rotary_positions_turn_the_patches_and_not_the_prompts(name):
    """The weights of the last block, from queries and keys by hand."""
    model, entered = of_today(name), []
    attn, prefix = model.vit.blocks[2].attn, model.vit.num_prefix_tokens
    hook = model.vit.blocks[2].norm1.register_forward_hook(lambda _, __, tokens: entered.append(tokens))
    weights = attention(model, images())[2]
    hook.remove()
    qkv = attn.qkv(entered[0]).unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)  # 3 B H N d
    turns = rotations_of(model.vit, 2, rotations(model.vit, 9))
    for part in qkv[:2]:
        part[:, :, prefix + P :] = apply_rot_embed_cat(part[:, :, prefix + P :].clone(), turns, half=attn.rotate_half)
    torch.testing.assert_close(weights, (qkv[0] @ qkv[1].mT / 4).softmax(-1))


@torch.no_grad()
@pytest.mark.parametrize("name", ["pe", "siglip2"])
def test_a_head_with_its_own_attention_mixes_the_values_by_its_shares(name):
    model, seen = of_today(name), []
    pool = model.vit.attn_pool
    assert pool.num_heads == {"pe": 4, "siglip2": 2}[name]
    pool.num_heads, pool.head_dim, pool.scale = 1, 32, 32**-0.5  # one head, so that the mean over heads is its share
    pool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pool.proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(images())
    tokens, mixed = seen
    assert tokens.shape[1] == 9 + model.vit.num_prefix_tokens  # without prompts
    shares = pool_shares(model.vit, tokens)
    torch.testing.assert_close(shares.sum(1), torch.ones(2))
    torch.testing.assert_close(torch.einsum("bn,bnd->bd", shares, pool.kv(tokens)[..., 32:]), mixed[:, 0])


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", ["linear", "vpt-deep"])
def test_class_attention_of_todays_backbones_is_that_of_the_tokens_that_the_head_reads(kind, name):
    model, pooled = of_today(name, kind), []
    vit = model.vit
    prefix, prompts = vit.num_prefix_tokens, P if kind == "vpt-deep" else 0
    if vit.attn_pool is not None:
        vit.attn_pool.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
    weights = attention(model, images())[-1].mean(1)  # B N N
    patches = weights[..., -9:]
    if vit.global_pool == "token":
        wanted = patches[:, 0]
    elif vit.global_pool == "avg":
        wanted = patches[:, -9:].mean(1)
    else:
        shares = pool_shares(vit, pooled[0])
        rows = torch.cat([patches[:, :prefix], patches[:, prefix + prompts :]], dim=1)
        wanted = (shares[..., None] * rows).sum(1)
    torch.testing.assert_close(class_attention(model, images()), wanted.reshape(2, 3, 3))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", ["linear", "vpt-shallow", "vpt-deep"])
def test_the_shares_of_rollout_sum_to_one_on_todays_backbones(kind, name):
    found = rollout(of_today(name, kind), images())
    np.testing.assert_allclose(found.patches.sum((1, 2)) + found.prompts.sum((1, 2)) + found.prefix, 1, atol=1e-5)
    of_prompts = {"linear": (0, 0), "vpt-shallow": (1, P), "vpt-deep": (3, P)}[kind]
    assert found.patches.shape == (2, 3, 3) and found.prompts.shape[1:] == of_prompts


def to_unit(maps):
    maps = maps - maps.amin((-2, -1), keepdim=True)
    return maps / maps.amax((-2, -1), keepdim=True).clamp(min=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", ["linear", "vpt-deep", "full"])
def test_gradcam_of_todays_backbones_agrees_with_lines_by_hand(kind, name):
    model, seen, classes = of_today(name, kind), [], [2, 0]
    with torch.no_grad():  # else the gradients of random backbones are tiny
        for parameter in model.vit.blocks[-1].parameters():
            parameter.mul_(4)
    if kind == "vpt-deep":
        model.net.fast = False
    hook = model.vit.blocks[-1].norm1.register_forward_hook(lambda _, __, output: seen.append(output))
    logits = model(images().requires_grad_())
    hook.remove()
    gradients = torch.autograd.grad(logits[[0, 1], classes].sum(), seen[0])[0][:, -9:]  # B 9 D: the patches alone
    evidence = (gradients.mean(1, keepdim=True) * seen[0][:, -9:]).sum(-1).relu()  # B 9
    fine = F.interpolate(to_unit(evidence.reshape(2, 1, 3, 3)), scale_factor=PATCH, mode="bilinear")
    maps = explain(model, images(), torch.tensor(classes))
    assert maps.shape == (2, SIZE, SIZE) and maps.std() > 0.05
    np.testing.assert_allclose(maps, to_unit(fine)[:, 0].detach(), atol=1e-5)


def test_gradcam_refuses_blocks_that_end_with_a_norm():
    vit = small_family("eva", img_size=SIZE, use_post_norm=True)
    with pytest.raises(UserError, match=r"EvaBlockPostNorm.*integrated-gradients"):
        explain(build_method("linear", vit, 3), images())


@pytest.mark.parametrize("method", ["attention", "rollout", "integrated-gradients"])
@pytest.mark.parametrize("name", ["dinov3", "pe", "siglip2"])
def test_the_other_maps_have_the_images_shape(name, method):
    maps = explain(of_today(name), images(), method=method, steps=4)
    assert maps.shape == (2, SIZE, SIZE) and maps.min() >= 0 and maps.max() <= 1 and maps.std() > 0.05


# ---- rollout -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", HEAD_INPUTS)
@pytest.mark.parametrize("kind", ["linear", *PROMPTED])
def test_the_shares_of_rollout_sum_to_one(kind, backbone):
    model = adapted(kind, backbone)
    found = rollout(model, images())
    total = found.patches.sum((1, 2)) + found.prompts.sum((1, 2)) + found.prefix
    np.testing.assert_allclose(total, 1, atol=1e-5)
    layers = len(model.net.layers) if kind in PROMPTED else 0
    assert found.prompts.shape == (2, layers, P if layers else 0)
    assert (found.prompts > 0).all()


def test_without_prompts_rollout_is_the_product_of_matrices():
    model = adapted("linear")
    product = torch.eye(10)
    for weights in attention(model, images(1)):
        product = (0.5 * weights.mean(1)[0] + 0.5 * torch.eye(10)) @ product
    np.testing.assert_allclose(rollout(model, images(1)).patches.ravel(), product[0, 1:], atol=1e-6)


# ---- prompts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", HEAD_INPUTS)
@pytest.mark.parametrize("kind", PROMPTED)
def test_views_of_prompts_are_parts_of_the_attention(kind, backbone):
    model = adapted(kind, backbone)
    prefix, views = model.vit.num_prefix_tokens, prompt_views(model, images())
    for i, block in enumerate(views.blocks):
        mean = attention(model, images())[block].mean(1)
        np.testing.assert_allclose(views.attends_to[:, i].reshape(2, P, 9), mean[:, prefix : prefix + P, -9:])
        by = mean[:, -9:, prefix : prefix + P].transpose(1, 2)
        np.testing.assert_allclose(views.attended_by[:, i].reshape(2, P, 9), by)
    assert (views.from_class_token > 0).all() == (prefix > 0)


def test_views_need_prompts():
    with pytest.raises(UserError, match="no prompts among its tokens"):
        prompt_views(adapted("linear"), images())


def test_share_on_prompts_is_even_where_attention_is():
    model = adapted("vpt-deep")
    with torch.no_grad():
        for block in model.vit.blocks:
            block.attn.qkv.weight[:64] = 0  # queries and keys are the same everywhere
            block.attn.qkv.bias[:64] = 0
    np.testing.assert_allclose(prompt_shares(model, images(20)), P / (P + 10), atol=1e-6)
    np.testing.assert_array_equal(prompt_shares(adapted("full"), images()), 0)


# ---- distances and similarity ------------------------------------------------------------------------------------


def test_a_head_with_even_attention_has_the_mean_distance_of_patches():
    model = adapted("vpt-deep")
    with torch.no_grad():
        for block in model.vit.blocks:
            block.attn.qkv.weight[:64] = 0
            block.attn.qkv.bias[:64] = 0
    corners = [(r * PATCH, c * PATCH) for r in range(3) for c in range(3)]
    by_hand = np.mean([np.hypot(a[0] - b[0], a[1] - b[1]) for a in corners for b in corners])
    assert even_distance(model.vit, images()) == pytest.approx(by_hand)
    found = distances(model, images(20))
    assert found.shape == (3, 2)
    np.testing.assert_allclose(found, by_hand, rtol=1e-5)


def test_a_head_that_attends_to_its_own_patch_has_distance_0(monkeypatch):
    identity = torch.eye(10).expand(2, 2, 10, 10)
    monkeypatch.setattr("vptlib.explanations.attention.attention", lambda *_: [identity] * 3)
    np.testing.assert_allclose(distances(adapted("linear"), images()), 0, atol=1e-6)


def test_cka_is_1_for_rotated_features_and_small_for_unrelated_ones():
    rng = np.random.default_rng(0)
    a, rotation = rng.normal(size=(200, 8)), np.linalg.qr(rng.normal(size=(8, 8)))[0]
    assert linear_cka(a, 3 * a @ rotation + 5) == pytest.approx(1)
    assert linear_cka(a, rng.normal(size=(200, 8))) < 0.1
    with pytest.raises(UserError, match="same 3 images"):
        linear_cka(a, a[:50])
    with pytest.raises(UserError, match="same for all images"):
        linear_cka(a, np.ones((200, 2)))


def test_the_frozen_backbone_is_kept_and_a_shuffled_one_is_not():
    frozen, tuned = adapted("linear"), adapted("full")
    np.testing.assert_allclose(kept(tuned, frozen, images(40)), 1, atol=1e-5)
    with torch.no_grad():
        weights = tuned.vit.blocks[1].mlp.fc2.weight
        weights.copy_(50 * weights.flip(0))
    found = kept(tuned, frozen, images(40))
    assert found[0] == pytest.approx(1, abs=1e-5) and found[1] < 0.9


def test_features_of_parts_are_those_of_the_whole():
    model = adapted("vpt-deep")
    found = layer_features(model, images(20))
    assert [f.shape for f in found] == [(20, 32)] * 3
    np.testing.assert_allclose(layer_features(model, images(20)[17:])[2], found[2][17:], atol=1e-5)
