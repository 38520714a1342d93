"""vptlib.prompting.swin: fast form, textbook form and a computation window by window give the same numbers."""

import copy
import math

import models
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import redraw
from timm.models.swin_transformer import SwinTransformer
from torch import nn
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.prompting.swin import PromptedSwin

CLASSES = 3


def build_swin(image=16, window=2, depths=(2, 2), heads=(1, 2), width=4, seed=0, **options):
    """A float64 Swin with patches of 4 px and weights large enough that attention is far from uniform."""
    sizes = {"img_size": image, "patch_size": 4, "window_size": window, "depths": depths, "num_heads": heads}
    sizes |= {"drop_path_rate": 0.0} | options
    swin = SwinTransformer(embed_dim=width, num_classes=CLASSES, **sizes).double()
    redraw(swin.parameters(), seed, scale=0.5)
    return swin.eval()


def build_prompted(swin, seed=0, **options):
    model = PromptedSwin(swin, **options)
    redraw(model.prompts, seed + 1)
    return model.eval()


def draw_images(image=16, batch=2, seed=0):
    return models.draw_images(batch, image, seed + 2, torch.float64)


# ---- the two forms ----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    image=st.sampled_from([16, 24, 28]),  # maps of 4, 6 and 7: windows fit, or timm pads
    window=st.sampled_from([2, 3, 4, 8]),  # 8 is more than there is: timm takes one window
    depths=st.sampled_from([(1,), (2, 1), (2, 2), (1, 1, 2)]),
    heads=st.sampled_from([1, 2]),
    num_prompts=st.integers(1, 4),
    batch=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_fast_form_equals_textbook_form_in_outputs_and_all_gradients(
    image, window, depths, heads, num_prompts, batch, seed
):
    swin = build_swin(image, window, depths, heads=(heads,) * len(depths), seed=seed)
    model = build_prompted(swin, seed, num_prompts=num_prompts).requires_grad_(True)
    images = draw_images(image, batch, seed)
    results = []
    for fast in (True, False):
        model.fast = fast
        assert model.uses_fast_form == fast
        model.zero_grad()
        logits = model(images)
        (logits.square().sum() + model.forward_features(images).sin().sum()).backward()
        results.append((logits.detach(), {name: p.grad for name, p in model.named_parameters()}))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-10, atol=1e-10)
    for name, wanted in results[1][1].items():
        scale = max(1.0, wanted.abs().max().item())
        torch.testing.assert_close(results[0][1][name], wanted, rtol=1e-10, atol=1e-10 * scale, msg=name)


@pytest.mark.parametrize("deep", [True, False], ids=["deep", "shallow"])
@pytest.mark.parametrize(("image", "window"), [(16, 2), (28, 3), (16, 8)])
def test_no_prompts_give_the_plain_backbone(deep, image, window):
    swin = build_swin(image, window)
    plain = swin(draw_images(image))
    model = PromptedSwin(swin, num_prompts=0, deep=deep).eval()
    torch.testing.assert_close(model(draw_images(image)), plain, rtol=1e-10, atol=1e-10)


def test_fast_form_draws_the_same_dropout_as_the_textbook_form():
    model = build_prompted(build_swin(), num_prompts=5, dropout=0.5).train()
    results = []
    for fast in (True, False):
        model.fast = fast
        torch.manual_seed(3)
        results.append(model(draw_images()))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)
    same = draw_images(batch=1).expand(2, -1, -1, -1)
    assert not torch.allclose(*model(same))  # each image draws for itself


def test_prompts_that_travel_take_the_textbook_form():
    assert not build_prompted(build_swin(), num_prompts=2, deep=False).uses_fast_form


# ---- against a computation token by token -----------------------------------------------------------------------


def attend(query, keys, scores_bias, attn, head, width):
    """One query of one head against rows of keys: the weighted mean of their values."""
    part = slice(head * width, (head + 1) * width)
    weight, bias = attn.qkv.weight, attn.qkv.bias
    size = attn.qkv.in_features
    q = (query @ weight[:size].T + bias[:size])[part]
    k = (keys @ weight[size : 2 * size].T + bias[size : 2 * size])[:, part]
    v = (keys @ weight[2 * size :].T + bias[2 * size :])[:, part]
    scores = k @ q / math.sqrt(width) + scores_bias
    return (scores.softmax(0)[:, None] * v).sum(0)


def block_by_hand(block, tokens, prompts):
    """One image, a map `h w D` whose sides the window divides, and prompts `P D`, token by token."""
    h, w, size = tokens.shape
    (rows, columns), (down, right) = block.window_size, block.shift_size
    heads = block.attn.num_heads
    normed, normed_prompts = block.norm1(tokens), block.norm1(prompts)
    attended, of_prompts = torch.zeros_like(tokens), []
    for top in range(0, h, rows):
        for left in range(0, w, columns):
            # positions of the shifted map in this window, their positions in the image and their regions after the roll
            places = [(r, c) for r in range(top, top + rows) for c in range(left, left + columns)]
            image = [((r + down) % h, (c + right) % w) for r, c in places]
            region = [(r >= h - down if down else False, c >= w - right if right else False) for r, c in places]
            inside = torch.stack([normed[at] for at in image])
            keys = torch.cat([normed_prompts, inside])
            results = []
            for index, query in enumerate(keys):
                out = []
                for head in range(heads):
                    bias = torch.zeros(len(keys), dtype=tokens.dtype)
                    if index >= len(prompts):
                        me = index - len(prompts)
                        for other, place in enumerate(places):
                            dy, dx = places[me][0] - place[0], places[me][1] - place[1]
                            row = (dy + rows - 1) * (2 * columns - 1) + dx + columns - 1
                            mask = 0.0 if region[me] == region[other] else -100.0
                            bias[len(prompts) + other] = block.attn.relative_position_bias_table[row, head] + mask
                    out.append(attend(query, keys, bias, block.attn, head, size // heads))
                results.append(torch.cat(out) @ block.attn.proj.weight.T + block.attn.proj.bias)
            for at, result in zip(image, results[len(prompts) :], strict=True):
                attended[at] = result
            of_prompts.append(torch.stack(results[: len(prompts)]))
    tokens, prompts = tokens + attended, prompts + torch.stack(of_prompts).mean(0)
    return tokens + block.mlp(block.norm2(tokens)), prompts + block.mlp(block.norm2(prompts))


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "textbook"])
@pytest.mark.parametrize("deep", [True, False], ids=["deep", "shallow"])
def test_equals_a_computation_token_by_token(deep, fast):
    """Two blocks, the second shifted and masked; then patch merging and one window of four tokens."""
    swin = build_swin(depths=(2, 1), width=4)
    model = build_prompted(swin, num_prompts=2, deep=deep, fast=fast)
    wanted = []
    with torch.no_grad():
        for image in draw_images():
            tokens = swin.patch_embed(image[None])[0]
            prompts = model.prompts[0][0]
            for number, stage in enumerate(swin.layers):
                if number:
                    tokens = stage.downsample(tokens[None])[0]
                    prompts = stage.downsample.reduction(stage.downsample.norm(torch.cat([prompts] * 4, dim=-1)))
                for index, block in enumerate(stage.blocks):
                    if deep:
                        prompts = model.prompts[number][index]
                    tokens, prompts = block_by_hand(block, tokens, prompts)
            wanted.append(swin.norm(tokens).mean((0, 1)) @ swin.head.fc.weight.T + swin.head.fc.bias)
        assert any(swin.layers[0].blocks[1].shift_size) and swin.layers[0].blocks[1].attn_mask is not None
        torch.testing.assert_close(model(draw_images()), torch.stack(wanted), rtol=1e-9, atol=1e-9)


def test_images_of_a_batch_do_not_mix():
    model = build_prompted(build_swin(), num_prompts=2, deep=False)
    images = draw_images(batch=3)
    apart = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), apart, rtol=1e-10, atol=1e-10)


# ---- shapes, freezing, mistakes ---------------------------------------------------------------------------------


def test_shapes_at_every_stage():
    model = build_prompted(build_swin(32, 4, (2, 2, 1), (1, 2, 4)), num_prompts=3)
    shapes = []
    for stage in model.swin.layers:
        stage.blocks[0].mlp.register_forward_hook(lambda _m, inputs, _out: shapes.append(tuple(inputs[0].shape)))
    assert model.forward_features(draw_images(32)).shape == (2, 2, 2, 16)
    assert shapes == [(2, 8, 8, 4), (2, 4, 4, 8), (2, 2, 2, 16)]
    assert [tuple(p.shape) for p in model.prompts] == [(2, 3, 4), (2, 3, 8), (1, 3, 16)]
    assert [tuple(p.shape) for p in build_prompted(build_swin(), num_prompts=3, deep=False).prompts] == [(1, 3, 4)]


@pytest.mark.parametrize("deep", [True, False], ids=["deep", "shallow"])
def test_training_changes_prompts_and_head_and_nothing_else(deep):
    model = build_prompted(build_swin(drop_path_rate=0.3), num_prompts=2, deep=deep).train()
    assert not model.swin.training
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05, weight_decay=0.1)
    for step in range(3):
        optimiser.zero_grad()
        F.cross_entropy(model(draw_images(batch=3, seed=step)), torch.tensor([0, 1, 2])).backward()
        optimiser.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    prompts = {f"prompts.{stage}" for stage in range(2 if deep else 1)}
    assert changed == prompts | {"swin.head.fc.weight", "swin.head.fc.bias"}


def test_prompts_start_uniform_within_the_official_bound():
    model = PromptedSwin(build_swin(width=8, heads=(2, 2)), num_prompts=200)
    bound = math.sqrt(6 / (3 * 16 + 8))
    for prompts in model.prompts:
        assert 0.99 * bound < prompts.abs().max().item() <= bound
        assert prompts.var().item() == pytest.approx(bound**2 / 3, rel=0.06)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PromptedSwin(nn.Linear(2, 2)), "got a Linear"),
        (lambda: PromptedSwin(build_swin(), num_prompts=-1), "num_prompts is -1"),
        (lambda: PromptedSwin(build_swin(), dropout=1.0), "dropout is 1.0"),
        (lambda: PromptedSwin(_headless()), "reset_classifier"),
        (lambda: PromptedSwin(build_swin())(draw_images(24)), "B 3 16 16"),
    ],
)
def test_mistakes_are_reported_in_a_sentence(make, words):
    with pytest.raises(UserError, match=words):
        make()


def _headless():
    swin = build_swin()
    swin.reset_classifier(0)
    return swin


def test_another_image_size_works_once_the_backbone_is_set_to_it():
    swin = build_swin()
    swin.set_input_size(img_size=(32, 24))
    images = torch.randn(2, 3, 32, 24, dtype=torch.float64)
    none = PromptedSwin(copy.deepcopy(swin), num_prompts=0).eval()
    torch.testing.assert_close(none(images), swin(images), rtol=1e-10, atol=1e-10)
    model = build_prompted(swin, num_prompts=2)
    quick = model(images)
    model.fast = False
    torch.testing.assert_close(quick, model(images), rtol=1e-10, atol=1e-10)
