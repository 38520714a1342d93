"""vptlib.tuning.promptfile: what is saved comes back, and nothing else is taken for it."""

import json
import pickle
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from vptlib.errors import UserError
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import build_method
from vptlib.tuning.promptfile import load_prompts, read_card, save_prompts

PROMPTED = [
    ("linear", {}),
    ("mlp-k", {"layers": 2}),
    ("vpt-shallow", {"num_prompts": 3, "gated": True}),
    ("vpt-shallow", {"num_prompts": 2, "where": "pixel"}),
    ("vpt-shallow", {"num_prompts": 2, "where": "pad"}),
    ("vpt-deep", {"num_prompts": 3}),
    ("vpt-deep", {"num_prompts": 3, "projection": 4, "layers": "last 1"}),
    ("vpt-deep", {"num_prompts": 3, "init": torch.ones(2, 3, 32)}),
]


@pytest.fixture
def backbone(tiny_vit):
    def make(seed=0, **options):
        torch.manual_seed(seed)
        return tiny_vit(**options)

    return make


def learned(backbone, method="vpt-deep", **options):
    """A model whose trained tensors are far from where they start."""
    model = build_method(method, backbone(), 3, **options)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.trained_state().values():
            tensor.copy_(torch.randn(tensor.shape, generator=draw))
    return model.eval()


def images():
    return torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("method", "options"), PROMPTED, ids=str)
def test_saved_and_loaded_gives_the_same_logits(backbone, tmp_path, method, options):
    model = learned(backbone, method, **options)
    save_prompts(model, tmp_path / "p.safetensors", ("a", "b", "c"))
    torch.manual_seed(99)
    again = load_prompts(tmp_path / "p.safetensors", backbone())
    torch.testing.assert_close(again(images()), model(images()), rtol=0, atol=0)
    assert again.method == method and not again.training
    fresh = build_method(method, backbone(), 3, **options).eval()
    assert not torch.allclose(fresh(images()), model(images()), atol=1e-3)


def test_the_file_holds_what_is_needed_and_no_backbone(backbone, tmp_path):
    path = tmp_path / "new" / "p.safetensors"
    model = learned(backbone, num_prompts=3)
    save_prompts(model, path, ("cat", "dog", "owl"))
    card = read_card(path)
    assert card.class_names == ("cat", "dog", "owl") and card.options == {"num_prompts": 3}
    assert card.preprocessing == preprocessing(model.vit)
    assert set(load_file(path)) == {"net.prompts", "net.vit.head.weight", "net.vit.head.bias"}
    assert path.stat().st_size < 4 * model.trainable_parameters + 2000
    assert [p.name for p in path.parent.iterdir()] == ["p.safetensors"]  # no half file beside it


def test_classes_without_names_are_numbered(backbone, tmp_path):
    save_prompts(learned(backbone), tmp_path / "p.safetensors")
    assert read_card(tmp_path / "p.safetensors").class_names == ("0", "1", "2")


# ---- refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"seed": 1}, "another backbone .fingerprint"),
        ({"embed_dim": 16}, "width 32, but this one has 16"),
        ({"depth": 3}, "blocks 2, but this one has 3"),
        ({"patch_size": 7}, "patch size 14, but this one has 7"),
    ],
)
def test_another_backbone_is_refused(backbone, tmp_path, other, words):
    path = tmp_path / "p.safetensors"
    save_prompts(learned(backbone), path)
    with pytest.raises(UserError, match=words) as error:
        load_prompts(path, backbone(**other))
    assert str(path) in str(error.value)


def test_one_changed_weight_makes_another_backbone(backbone, tmp_path):
    save_prompts(learned(backbone), tmp_path / "p.safetensors")
    vit = backbone()
    vit.blocks[1].norm2.bias.data[3] += 1e-6
    with pytest.raises(UserError, match="another backbone"):
        load_prompts(tmp_path / "p.safetensors", vit)


@pytest.mark.parametrize("method", ["full", "bias", "ssf", "full+prompts", "partial-k"])
def test_methods_that_change_the_backbone_are_not_saved_as_prompts(backbone, tmp_path, method):
    with pytest.raises(UserError, match=f"{method.replace('+', '.')}.*changes the backbone"):
        save_prompts(build_method(method, backbone(), 3), tmp_path / "p.safetensors")
    assert not list(tmp_path.iterdir())


def test_names_must_fit_the_classes(backbone, tmp_path):
    with pytest.raises(UserError, match=r"2 names.*3 classes"):
        save_prompts(learned(backbone), tmp_path / "p.safetensors", ("a", "b"))


def test_a_path_that_cannot_be_written_is_named(backbone, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file/p\.safetensors"):
        save_prompts(learned(backbone), tmp_path / "file" / "p.safetensors")


def rewritten(path, change):
    """The same tensors with other metadata."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    said = json.loads(raw[8 : 8 + length])["__metadata__"]
    save_file(load_file(path), path, metadata=change(said))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.unlink(), "there is no prompt file"),
        (lambda p: p.write_bytes(p.read_bytes()[:-40]), "not a whole safetensors file"),
        (lambda p: p.write_bytes(p.read_bytes()[:30]), "not a whole safetensors file"),
        (lambda p: p.write_bytes(b""), "not a whole safetensors file"),
        (lambda p: p.write_bytes(pickle.dumps({"net.prompts": [1.0]})), "not a whole safetensors file"),
        (lambda p: torch.save({"net.prompts": torch.ones(1)}, p), "not a whole safetensors file"),
        (lambda p: save_file({"x": torch.ones(1)}, p), "not one that save_prompts wrote"),
        (lambda p: rewritten(p, lambda said: said | {"card": "{"}), "card cannot be read"),
        (lambda p: rewritten(p, lambda said: {"format": said["format"]}), "card cannot be read"),
        (lambda p: rewritten(p, lambda said: said | {"format": "vptlib prompts 9"}), "not one that save_prompts"),
    ],
)
def test_what_is_not_whole_or_not_ours_is_refused(backbone, tmp_path, damage, words):
    path = tmp_path / "p.safetensors"
    save_prompts(learned(backbone), path)
    damage(path)
    with pytest.raises(UserError, match=words) as error:
        load_prompts(path, backbone())
    assert str(path) in str(error.value)


@pytest.mark.parametrize("change", ["missing", "other shape", "not finite"])
def test_tensors_that_do_not_fit_are_named(backbone, tmp_path, change):
    path = tmp_path / "p.safetensors"
    save_prompts(learned(backbone), path)
    raw = path.read_bytes()
    said = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])["__metadata__"]
    tensors = load_file(path)
    if change == "missing":
        del tensors["net.prompts"]
    elif change == "other shape":
        tensors["net.prompts"] = torch.zeros(2, 10, 31)
    else:
        tensors["net.prompts"][0, 0, 0] = float("nan")
    save_file(tensors, path, metadata=said)
    with pytest.raises(UserError, match=r"net\.prompts"):
        load_prompts(path, backbone())
