"""vptlib.tuning.modules: what they compute, by separate arithmetic, and that all methods fit all kinds of ViT."""

import copy
import math
import sys

import pytest
import torch
from models import draw_images, redraw, small_vit
from timm.layers import RmsNorm, SwiGLU
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import ParallelScalingBlock, ParallelThingsBlock, VisionTransformer
from torch import nn
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.tuning.backbones import ClsMeanViT
from vptlib.tuning.methods import METHODS, build_method

WIDTH, DEPTH, CLASSES, HEADS = 16, 3, 5, 2
KINDS = {
    "class token": (VisionTransformer, {}),
    "mean of patches": (VisionTransformer, {"global_pool": "avg"}),
    "no class token": (VisionTransformer, {"global_pool": "avg", "class_token": False}),
    "attention pooling, as SigLIP": (VisionTransformer, {"global_pool": "map", "class_token": False}),
    "class token and mean": (ClsMeanViT, {}),
    "registers": (VisionTransformer, {"reg_tokens": 2}),
    "norm before the blocks, as CLIP": (VisionTransformer, {"pre_norm": True}),
    "layer scale, as DINOv2": (VisionTransformer, {"init_values": 0.1}),
    "gated MLP": (VisionTransformer, {"mlp_layer": SwiGLU}),
    "two heads, as DeiT": (VisionTransformerDistilled, {}),
}
STEPPED = tuple(name for name, method in METHODS.items() if method.learning_rates)
NEEDS_PLAIN_BLOCKS = ("adapter", "lora", "ssf", "adaptformer")
STARTS_AS_NOTHING = (*NEEDS_PLAIN_BLOCKS, "lora-all")
CHANGES_THE_BACKBONE = (*STARTS_AS_NOTHING, "dora")


def build_vit(kind="class token", **options):
    vit, own = KINDS[kind]
    return small_vit(vit, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, **own, **options)


def build(method, kind="class token", **options):
    if METHODS[method].uses_prompts:
        options = {"num_prompts": 2} | options
    return build_method(method, build_vit(kind), CLASSES, **options)


def train_a_little(model, images, steps=2):
    """Steps of AdamW; gives the names of what has changed."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.train().parameter_groups(0.1), lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(model(images).float(), torch.arange(len(images))).backward()
        optimiser.step()
    model.eval()
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


# ---- every method on every kind of ViT --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", STEPPED)
def test_what_is_trained_is_what_changes_and_all_that_a_task_needs(method, kind):
    model, images = build(method, kind), draw_images()
    assert train_a_little(model, images) == model.trained_state().keys()
    torch.testing.assert_close(model(images), model(images), rtol=0, atol=0)  # in evaluation mode nothing is drawn
    torch.testing.assert_close(model.rest(model.stem(images)), model(images))
    fresh = build(method, kind).eval()
    assert not torch.allclose(fresh(images), model(images))
    fresh.load_state_dict(model.trained_state(), strict=False)
    torch.testing.assert_close(fresh(images), model(images), rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", STARTS_AS_NOTHING)
def test_it_starts_as_the_plain_backbone(method, kind):
    vit = build_vit(kind)
    plain = vit.forward_head(vit.forward_features(draw_images()), pre_logits=True)
    torch.testing.assert_close(build(method, kind).eval().features(draw_images()), plain, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_dora_starts_as_the_plain_backbone_but_for_rounding(kind):
    """It divides each row of the weights by its length, and multiplies by it."""
    vit = build_vit(kind)
    plain = vit.forward_head(vit.forward_features(draw_images()), pre_logits=True)
    torch.testing.assert_close(build("dora", kind).eval().features(draw_images()), plain)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("method", STEPPED)
def test_what_is_added_takes_the_type_of_the_backbone(method, dtype):
    options = {"num_prompts": 2} if METHODS[method].uses_prompts else {}
    model = build_method(method, build_vit().to(dtype), CLASSES, **options)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert train_a_little(model, draw_images(dtype=dtype), steps=1) <= model.trained_state().keys()


def test_two_heads_both_learn_and_no_features_are_kept():
    for method in ("linear", "mlp-k"):
        model = build(method, "two heads, as DeiT")
        assert not model.features_are_frozen
        assert {name.split(".")[1] for name in model.trained_state()} == {"head", "head_dist"}
        tokens = model.stem(draw_images())  # of all blocks: these may be kept
        assert model.stem_is_frozen and tokens.shape == (2, 6, WIDTH) and not tokens.requires_grad


# ---- how many numbers options add, counted by hand --------------------------------------------------------------

HEAD = WIDTH * CLASSES + CLASSES
BLOCK = (3 * WIDTH * WIDTH + 3 * WIDTH) + (WIDTH * WIDTH + WIDTH) + (8 * WIDTH * WIDTH + 5 * WIDTH) + 4 * WIDTH


@pytest.mark.parametrize(
    ("method", "options", "numbers"),
    [
        ("partial-k", {"blocks": 2}, HEAD + 2 * BLOCK + 2 * WIDTH),
        ("partial-k", {"blocks": DEPTH}, HEAD + DEPTH * BLOCK + 2 * WIDTH),
        ("mlp-k", {"layers": 1}, HEAD),
        ("mlp-k", {"layers": 2}, HEAD + WIDTH * WIDTH + WIDTH),
        ("adapter", {"reduction": 4}, HEAD + DEPTH * (WIDTH * 4 + 4 + 4 * WIDTH + WIDTH)),
        ("adapter", {"reduction": WIDTH}, HEAD + DEPTH * (WIDTH + 1 + WIDTH + WIDTH)),
        ("adaptformer", {"bottleneck": 5}, HEAD + DEPTH * (WIDTH * 5 + 5 + 5 * WIDTH + WIDTH)),
        ("lora", {"rank": 1}, HEAD + DEPTH * (WIDTH + 3 * WIDTH)),
        ("lora-all", {"rank": 2}, HEAD + DEPTH * 2 * 16 * WIDTH),  # in and out: 1 + 3, 1 + 1, 1 + 4, 4 + 1 widths
        ("dora", {"rank": 2}, HEAD + DEPTH * (2 * 16 + 3 + 1 + 4 + 1) * WIDTH),
        ("knn", {"images": 7}, 7 * (WIDTH + CLASSES) + 1),
    ],
)
def test_options_add_as_many_numbers_as_counted_by_hand(method, options, numbers):
    model = build(method, **options)
    assert model.trainable_parameters == numbers and model.bytes_per_task == 4 * numbers


def test_ssf_on_other_kinds_counts_each_norm_once():
    linears = 3 * WIDTH + WIDTH + 4 * WIDTH + WIDTH
    for kind, norms in (("class token", 1), ("mean of patches", 1), ("norm before the blocks, as CLIP", 2)):
        scaled = WIDTH + DEPTH * (linears + 2 * WIDTH) + norms * WIDTH  # patches, blocks, norms around them
        assert build("ssf", kind).trainable_parameters == HEAD + 2 * scaled


def test_two_heads_count_twice():
    assert build("linear", "two heads, as DeiT").trainable_parameters == 2 * HEAD
    assert build("mlp-k", "two heads, as DeiT", layers=2).trainable_parameters == 2 * (HEAD + WIDTH * WIDTH + WIDTH)


# ---- what they compute ------------------------------------------------------------------------------------------


def disturbed(method, kind="class token", **options):
    """The model with new values for all that the method added, and the untouched backbone."""
    model = build(method, kind, **options).double().eval()
    redraw([p for name, p in model.named_parameters() if p.requires_grad and ".head." not in name], seed=1)
    return model, build_vit(kind).double()


def test_an_adapter_adds_its_bottleneck_behind_the_mlp():
    model, vit = disturbed("adapter", reduction=4)
    tokens = vit._pos_embed(vit.patch_embed(draw_images().double()))
    for block, adapted in zip(vit.blocks, model.vit.blocks, strict=True):
        tokens = tokens + block.attn(block.norm1(tokens))
        out = block.mlp(block.norm2(tokens))
        down = out @ adapted.mlp.down.weight.T + adapted.mlp.down.bias
        tokens = tokens + out + F.gelu(down) @ adapted.mlp.up.weight.T + adapted.mlp.up.bias
    assert adapted.mlp.down.out_features == 4
    torch.testing.assert_close(model.net.forward_features(draw_images().double()), vit.norm(tokens))


def test_an_adaptformer_adds_a_tenth_of_its_bottleneck_next_to_the_mlp():
    model, vit = disturbed("adaptformer", bottleneck=4)
    tokens = vit._pos_embed(vit.patch_embed(draw_images().double()))
    for block, adapted in zip(vit.blocks, model.vit.blocks, strict=True):
        tokens = tokens + block.attn(block.norm1(tokens))
        normed = block.norm2(tokens)
        down = normed @ adapted.mlp.down.weight.T + adapted.mlp.down.bias
        tokens = tokens + block.mlp(normed) + 0.1 * (down.relu() @ adapted.mlp.up.weight.T + adapted.mlp.up.bias)
    torch.testing.assert_close(model.net.forward_features(draw_images().double()), vit.norm(tokens))


@pytest.mark.parametrize("method", ["lora-all", "dora"])
def test_lora_and_dora_change_every_linear_map_of_the_blocks(method):
    """LoRA: W + B A. DoRA (arXiv 2402.09353, equation 5): its rows scaled to the learned lengths m."""
    model, vit = disturbed(method, rank=2)
    lengths = [p for name, p in model.named_parameters() if "magnitude" in name]
    redraw(lengths, seed=2)
    with torch.no_grad():
        for block, adapted in zip(vit.blocks, model.vit.blocks, strict=True):
            for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
                lora, weight = adapted.get_submodule(name), block.get_submodule(name).weight
                weight += lora.lora_B["default"].weight @ lora.lora_A["default"].weight
                if method == "dora":
                    length = lora.lora_magnitude_vector["default"].weight
                    weight *= (length / weight.norm(dim=1))[:, None]
    assert len(lengths) == (4 * DEPTH if method == "dora" else 0)
    torch.testing.assert_close(
        model.net.forward_features(draw_images().double()), vit.forward_features(draw_images().double())
    )


def test_lora_on_all_layers_leaves_the_pooling_alone():
    model = build("lora-all", "attention pooling, as SigLIP")
    assert {name.split(".")[1] for name in model.trained_state()} == {"blocks", "head"}


def test_layernorm_trains_all_norms_and_nothing_else():
    trained = build("layernorm", "norm before the blocks, as CLIP").trained_state()
    norms = {"norm_pre", "norm", *(f"blocks.{k}.norm{which}" for k in range(DEPTH) for which in (1, 2))}
    assert {name.rsplit(".", 1)[0] for name in trained} == {f"net.{name}" for name in (*norms, "head")}


def test_a_backbone_without_layernorm_is_named():
    vit = build_vit(norm_layer=RmsNorm)
    with pytest.raises(UserError, match=r"layernorm.*LayerNorm"):
        build_method("layernorm", vit, CLASSES)


def test_an_attentive_probe_starts_with_the_mean_of_all_tokens():
    model, vit = build("attentive-probe", "registers").eval(), build_vit("registers")
    tokens = F.layer_norm(vit.forward_features(draw_images()), [WIDTH])
    torch.testing.assert_close(model.features(draw_images()), tokens.mean(dim=1))


def test_each_query_of_an_attentive_probe_reads_its_part_of_the_values():
    vit = small_vit(embed_dim=128, num_heads=2)
    plain = copy.deepcopy(vit)
    model = build_method("attentive-probe", vit, CLASSES).eval()
    assert model.net.queries.shape == (1, 2, 128)  # one for each 64 features
    redraw(probe_parameters(model), seed=1)
    x = F.layer_norm(plain.forward_features(draw_images()), [128], model.net.norm.weight, model.net.norm.bias)
    values = x @ model.net.values.weight.T + model.net.values.bias
    for number, query in enumerate(model.net.queries[0]):
        part = slice(64 * number, 64 * number + 64)
        weights = torch.stack([torch.softmax(image @ query / 128**0.5, dim=0) for image in x])  # B N
        read = torch.stack([w @ v for w, v in zip(weights, values[..., part], strict=True)])
        torch.testing.assert_close(model.features(draw_images())[:, part], read)


def probe_parameters(model):
    return [p for name, p in model.named_parameters() if name.startswith(("net.norm.", "net.queries", "net.values."))]


@pytest.mark.parametrize(("width", "queries"), [(16, 1), (96, 1), (192, 3), (384, 6), (1152, 18), (144, 2)])
def test_a_query_for_each_64_features_where_they_can_be_shared_out(width, queries):
    vit = small_vit(embed_dim=width, depth=1, num_heads=1)
    assert build_method("attentive-probe", vit, CLASSES).net.queries.shape == (1, queries, width)


def test_the_most_similar_images_vote():
    head = build("knn", images=4).head
    head.remember(torch.eye(WIDTH)[[0, 0, 1, 2]] * torch.tensor([[1.0], [5], [1], [1]]), torch.tensor([0, 0, 3, 1]), 3)
    feature = torch.zeros(1, WIDTH)
    feature[0, :3] = torch.tensor([0.6, 0.8, 0.0])  # cosines 0.6, 0.6, 0.8 and 0: the last one does not vote
    votes = math.exp(0.6 / 0.07) * 2, math.exp(0.8 / 0.07)
    wanted = torch.tensor([[votes[0], 0, 0, votes[1], 0]]) / sum(votes)
    torch.testing.assert_close(head(feature), (wanted + 1e-6).log())
    torch.testing.assert_close(head(3 * feature), head(feature))  # the length does not count
    assert head(feature).softmax(dim=1).sum() == pytest.approx(1)


def test_neighbours_are_loaded_whatever_their_number():
    first, second = build("knn", images=4), build("knn")
    first.head.remember(torch.randn(6, WIDTH), torch.arange(6) % CLASSES, 2)
    second.load_state_dict(first.trained_state(), strict=False)
    torch.testing.assert_close(second(draw_images()), first(draw_images()), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="size mismatch"):  # of another backbone
        build("knn", "class token and mean").load_state_dict(first.trained_state(), strict=False)


def test_lora_adds_a_product_of_two_thin_matrices():
    model, vit = disturbed("lora", rank=2)
    with torch.no_grad():
        for block, adapted in zip(vit.blocks, model.vit.blocks, strict=True):
            lora = adapted.attn.qkv
            block.attn.qkv.weight += lora.lora_B["default"].weight @ lora.lora_A["default"].weight
    torch.testing.assert_close(
        model.net.forward_features(draw_images().double()), vit.forward_features(draw_images().double())
    )


@pytest.mark.parametrize("kind", ["class token", "mean of patches", "norm before the blocks, as CLIP"])
def test_ssf_scales_and_shifts_behind_every_operation(kind):
    model, vit = disturbed("ssf", kind)

    def ssf(x, of):
        return x if isinstance(of, nn.Identity) else x * of.scale + of.shift

    def linear(x, plain, of):
        return ssf(x @ plain.weight.T + plain.bias, of)

    new = model.vit
    tokens = vit._pos_embed(ssf(vit.patch_embed(draw_images().double()), new.patch_embed.norm))
    tokens = ssf(vit.norm_pre(tokens), new.norm_pre)
    for block, changed in zip(vit.blocks, new.blocks, strict=True):
        normed = ssf(block.norm1(tokens), changed.norm1)
        qkv = linear(normed, block.attn.qkv, changed.attn.qkv).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*qkv).transpose(1, 2).flatten(2)
        tokens = tokens + linear(attended, block.attn.proj, changed.attn.proj)
        hidden = F.gelu(linear(ssf(block.norm2(tokens), changed.norm2), block.mlp.fc1, changed.mlp.fc1))
        tokens = tokens + linear(hidden, block.mlp.fc2, changed.mlp.fc2)
    tokens = ssf(vit.norm(tokens), new.norm)
    pooled = tokens[:, 1:].mean(dim=1) if kind == "mean of patches" else tokens[:, 0]
    wanted = ssf(vit.fc_norm(pooled), new.fc_norm)
    torch.testing.assert_close(model.features(draw_images().double()), wanted)


def test_side_tuning_blends_two_networks():
    model = build("side-tuning").eval()
    frozen = build("linear").features(draw_images())
    for logit, share in ((0.0, 0.5), (2.0, 0.8807970779778823)):
        model.net.blend.data.fill_(logit)
        wanted = share * frozen + (1 - share) * model.net.side(draw_images())
        torch.testing.assert_close(model.features(draw_images()), wanted)


def test_side_tuning_with_two_heads_gives_their_mean():
    model = build("side-tuning", "two heads, as DeiT").eval()
    features = model.features(draw_images())
    wanted = (model.vit.head(features) + model.vit.head_dist(features)) / 2
    torch.testing.assert_close(model(draw_images()), wanted)


def test_an_mlp_head_is_linear_maps_with_relu_between():
    model = build("mlp-k", layers=3)
    x = model.features(draw_images())
    for number, linear in enumerate(part for part in model.head if isinstance(part, nn.Linear)):
        x = (x.relu() if number else x) @ linear.weight.T + linear.bias
    torch.testing.assert_close(model(draw_images()), x)


def test_partial_k_with_checkpoints_has_the_same_gradients():
    plain, saving = build("partial-k", blocks=2).train(), build("partial-k", blocks=2).train()
    saving.vit.set_grad_checkpointing(True)
    saving.load_state_dict(plain.state_dict())
    for model in (plain, saving):
        F.cross_entropy(model.rest(model.stem(draw_images())), torch.tensor([0, 1])).backward()
    gradients = ({n: p.grad for n, p in model.named_parameters() if p.requires_grad} for model in (plain, saving))
    torch.testing.assert_close(*gradients)


# ---- chance in training -----------------------------------------------------------------------------------------

CHANCE = {"pos_drop_rate": 0.3, "patch_drop_rate": 0.5, "drop_path_rate": 0.5}


def drawn_parts(model):
    """Where the model as it is draws something: the numbers of blocks, and "embedding"."""
    vit = model.vit
    blocks = {number for number, block in enumerate(vit.blocks) if number and block.drop_path1.training}
    assert vit.pos_drop.training == vit.patch_drop.training
    return blocks | ({"embedding"} if vit.pos_drop.training else set())


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        ("linear", set()),
        ("mlp-k", set()),
        ("vpt-shallow", set()),
        ("vpt-deep", set()),
        ("side-tuning", set()),
        ("partial-k", {2}),
        ("adapter", {1, 2}),
        ("lora", {1, 2}),
        ("lora-all", {1, 2}),
        ("dora", {1, 2}),
        ("adaptformer", {1, 2}),
        ("layernorm", {1, 2}),
        ("attentive-probe", set()),
        ("knn", set()),
        ("lp-ft", {"embedding", 1, 2}),
        ("bias", {"embedding", 1, 2}),
        ("vpt-deep+bias", {"embedding", 1, 2}),
        ("ssf", {"embedding", 1, 2}),
        ("full", {"embedding", 1, 2}),
        ("full+prompts", {"embedding", 1, 2}),
    ],
)
def test_frozen_parts_leave_nothing_to_chance(method, wanted):
    model = build_method(method, build_vit(**CHANCE), CLASSES)
    assert drawn_parts(model.train()) == wanted
    assert drawn_parts(model.eval()) == set()


def test_tokens_below_partial_k_are_the_same_in_training():
    model = build_method("partial-k", build_vit(**CHANCE), CLASSES).eval()
    kept = model.stem(draw_images())
    torch.testing.assert_close(model.train().stem(draw_images()), kept, rtol=0, atol=0)
    logits = [model.rest(kept) for _ in range(8)]
    assert not all(torch.equal(one, logits[0]) for one in logits)  # the last block does draw


def test_phases_leave_to_chance_what_learns_in_them():
    model = build_method("full-then-prompts", build_vit(**CHANCE), CLASSES).train()
    model.begin_phase("full")
    assert drawn_parts(model) == {"embedding", 1, 2}
    model.begin_phase("prompts")
    assert drawn_parts(model) == set()
    assert model.net.dropout.training


# ---- bad input --------------------------------------------------------------------------------------------------

LIMITS = {
    ("partial-k", "blocks"): ([0, DEPTH + 1], "1 to 3"),
    ("mlp-k", "layers"): ([0], "1 or more"),
    ("adapter", "reduction"): ([0, WIDTH + 1], "1 to 16"),
    ("adaptformer", "bottleneck"): ([0], "1 or more"),
    ("lora", "rank"): ([0], "1 or more"),
    ("lora-all", "rank"): ([0], "1 or more"),
    ("dora", "rank"): ([0], "1 or more"),
    ("knn", "images"): ([], "0 or more"),
}


@pytest.mark.parametrize(("method", "option"), LIMITS)
def test_values_out_of_range_are_named(method, option):
    beyond, limits = LIMITS[method, option]
    for value in (*beyond, -1, 1.5, "2", None, True):
        with pytest.raises(UserError, match=f"^{option} is {value!r}, but must be a whole number .*{limits}"):
            build(method, **{option: value})


@pytest.mark.parametrize("method", NEEDS_PLAIN_BLOCKS)
def test_blocks_of_another_kind_are_named(method):
    vit = build_vit(block_fn=ParallelScalingBlock)
    with pytest.raises(UserError, match=f"{method}.*ParallelScalingBlock"):
        build_method(method, vit, CLASSES)


@pytest.mark.parametrize("method", ["lora-all", "dora"])
def test_lora_on_all_layers_fits_parallel_blocks(method):
    model = build_method(method, build_vit(block_fn=ParallelScalingBlock), CLASSES)
    linears = {name.split(".lora_")[0] for name in model.trained_state() if ".lora_" in name}
    assert len(linears) == DEPTH * 3  # qkv and fc1 in one, and two that lead out


def test_blocks_without_linear_maps_are_named():
    vit = build_vit()
    vit.blocks = nn.ModuleList([nn.Identity()])
    with pytest.raises(UserError, match=r"lora-all.*linear maps.*Identity"):
        build_method("lora-all", vit, CLASSES)


def test_lora_finds_the_projections_of_attentions_side_by_side():
    model = build_method("lora", build_vit(block_fn=ParallelThingsBlock), CLASSES)
    assert model.trainable_parameters == HEAD + DEPTH * 2 * 8 * (WIDTH + 3 * WIDTH)


@pytest.mark.parametrize("first", CHANGES_THE_BACKBONE)
@pytest.mark.parametrize("second", ["linear", "full", "vpt-deep", *CHANGES_THE_BACKBONE])
def test_a_backbone_that_is_adapted_already_is_refused(first, second):
    vit = build_vit()
    untouched = copy.deepcopy(vit)
    build_method(first, vit, CLASSES)
    with pytest.raises(UserError, match="already"):
        build_method(second, vit, CLASSES)
    build_method(second, untouched, CLASSES)


@pytest.mark.parametrize("method", ["lora", "lora-all", "dora"])
def test_without_peft_the_sentence_says_what_to_install(monkeypatch, method):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=rf"'{method}'.*peft.*pip install"):
        build(method)
