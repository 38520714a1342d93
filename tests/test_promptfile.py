"""vptlib.tuning.promptfile: what is saved comes back, and nothing else is accepted."""

import json
import pickle
import struct

import fuzz_promptfile
import pytest
import torch
from models import FAMILIES, draw_images, redraw, small_family, small_vit
from safetensors.torch import load_file, save_file

from vptlib.errors import UserError
from vptlib.tuning import promptfile
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


def learned(method="vpt-deep", **options):
    """A model whose trained tensors are far from where they start."""
    model = build_method(method, small_vit(), 3, **options)
    redraw(model.trained_state().values(), seed=1)
    return model.eval()


@pytest.mark.parametrize(("method", "options"), PROMPTED, ids=str)
def test_saved_and_loaded_gives_the_same_logits(tmp_path, method, options):
    model = learned(method, **options)
    save_prompts(model, tmp_path / "p.safetensors", ("a", "b", "c"))
    torch.manual_seed(99)
    again = load_prompts(tmp_path / "p.safetensors", small_vit())
    torch.testing.assert_close(again(draw_images()), model(draw_images()), rtol=0, atol=0)
    assert again.method == method and not again.training
    fresh = build_method(method, small_vit(), 3, **options).eval()
    assert not torch.allclose(fresh(draw_images()), model(draw_images()), atol=1e-3)


@pytest.mark.parametrize("method", ["linear", "vpt-shallow", "vpt-deep"])
@pytest.mark.parametrize("name", FAMILIES)
def test_prompts_of_todays_backbones_come_back(tmp_path, name, method):
    path = tmp_path / "p.safetensors"
    options = {"num_prompts": 3} if method != "linear" else {}
    model = build_method(method, small_family(name), 3, **options)
    redraw(model.trained_state().values(), seed=1)
    save_prompts(model.eval(), path)
    again = load_prompts(path, small_family(name))
    torch.testing.assert_close(again(draw_images()), model(draw_images()), rtol=0, atol=0)
    with pytest.raises(UserError, match="image size 28, but this one has 42"):
        load_prompts(path, small_family(name, img_size=42))


def test_the_file_holds_what_is_needed_and_no_backbone(tmp_path):
    path = tmp_path / "new" / "p.safetensors"
    model = learned(num_prompts=3)
    save_prompts(model, path, ("cat", "dog", "owl"))
    card = read_card(path)
    assert card.class_names == ("cat", "dog", "owl") and card.options == {"num_prompts": 3}
    assert card.preprocessing == preprocessing(model.vit)
    assert set(load_file(path)) == {"net.prompts", "net.vit.head.weight", "net.vit.head.bias"}
    assert path.stat().st_size < 4 * model.trainable_parameters + 2000
    assert [p.name for p in path.parent.iterdir()] == ["p.safetensors"]  # no half file next to it


def test_classes_without_names_are_numbered(tmp_path):
    save_prompts(learned(), tmp_path / "p.safetensors")
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
def test_another_backbone_is_refused(tmp_path, other, words):
    path = tmp_path / "p.safetensors"
    save_prompts(learned(), path)
    with pytest.raises(UserError, match=words) as error:
        load_prompts(path, small_vit(**other))
    assert str(path) in str(error.value)


def test_one_changed_weight_makes_another_backbone(tmp_path):
    save_prompts(learned(), tmp_path / "p.safetensors")
    vit = small_vit()
    vit.blocks[1].norm2.bias.data[3] += 1e-6
    with pytest.raises(UserError, match="another backbone"):
        load_prompts(tmp_path / "p.safetensors", vit)


@pytest.mark.parametrize("method", ["full", "bias", "ssf", "full+prompts", "partial-k"])
def test_methods_that_change_the_backbone_are_not_saved_as_prompts(tmp_path, method):
    with pytest.raises(UserError, match=f"{method.replace('+', '.')}.*changes the backbone"):
        save_prompts(build_method(method, small_vit(), 3), tmp_path / "p.safetensors")
    assert not list(tmp_path.iterdir())


def test_names_must_fit_the_classes(tmp_path):
    with pytest.raises(UserError, match=r"2 names.*3 classes"):
        save_prompts(learned(), tmp_path / "p.safetensors", ("a", "b"))


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file/p\.safetensors"):
        save_prompts(learned(), tmp_path / "file" / "p.safetensors")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a", "b", "a"), "'a' twice"),
        (("a", "b", 3), "has 3, but a name must be text"),
        (("a", "b", ""), "not empty"),
        (("a", "b", "caf\udce9"), "not text that can be stored"),
        ("abc", "must be a list of 3 names"),
    ],
)
def test_names_of_classes_are_different_texts(tmp_path, names, words):
    with pytest.raises(UserError, match=words):
        save_prompts(learned(), tmp_path / "p.safetensors", names)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a" * 300, "nul\0.safetensors", "..", "folder"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="prompts cannot be written to"):
        save_prompts(learned(), tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(UserError):
        load_prompts(tmp_path / name, small_vit())


@pytest.mark.parametrize("name", ["a" * 243 + ".safetensors", "\u5c31.safetensors"])
def test_every_name_that_a_file_can_have_is_taken(tmp_path, name):
    save_prompts(learned(), tmp_path / name)
    assert load_prompts(tmp_path / name, small_vit()).method == "vpt-deep"


def test_a_name_that_is_not_utf8_is_refused_before_anything_is_written(tmp_path):
    for use in (lambda place: save_prompts(learned(), place), read_card):
        with pytest.raises(UserError, match=r"latin\\xe9\.safetensors is not UTF-8: take a file and a folder"):
            use(tmp_path / "latin\udce9.safetensors")
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_not_finite_are_not_saved(tmp_path):
    model = learned()
    model.net.prompts.data[0, 0, 0] = float("inf")
    with pytest.raises(UserError, match=r"not finite in 'net\.prompts'"):
        save_prompts(model, tmp_path / "p.safetensors")


# ---- the caller's backbone ----------------------------------------------------------------------------------------


def test_a_backbone_serves_many_files_and_keeps_its_weights_in_one_place(tmp_path):
    vit = small_vit()
    for method, options in PROMPTED[:6]:
        model = learned(method, **options)
        save_prompts(model, tmp_path / "p.safetensors")
        again = load_prompts(tmp_path / "p.safetensors", vit)
        torch.testing.assert_close(again(draw_images()), model(draw_images()), rtol=0, atol=0)
        assert again.vit.blocks[0].attn.qkv.weight.data_ptr() == vit.blocks[0].attn.qkv.weight.data_ptr()
    assert isinstance(vit.head, torch.nn.Identity) and all(p.requires_grad for p in vit.parameters())
    assert "aspect" not in vit.__dict__


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_backbone_is_as_it_was_after_an_interruption(tmp_path, monkeypatch, error):
    save_prompts(learned(), tmp_path / "p.safetensors")
    vit = small_vit()

    def interrupted(name, own, *rest, **options):
        model = build_method(name, own, *rest, **options)
        if own.cls_token.device.type == "cpu":  # not the rehearsal
            raise error
        return model

    monkeypatch.setattr(promptfile, "build_method", interrupted)
    with pytest.raises(error):
        load_prompts(tmp_path / "p.safetensors", vit)
    assert isinstance(vit.head, torch.nn.Identity) and all(p.requires_grad for p in vit.parameters())


def test_fuzzed_files_give_a_model_or_a_sentence_and_leave_the_backbone():
    for case in fuzz_promptfile.cases(seed=13, count=150):
        fuzz_promptfile.check(case)


# ---- what is not whole -------------------------------------------------------------------------------------------


def rewritten(path, change):
    """The same tensors with other metadata."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    said = json.loads(raw[8 : 8 + length])["__metadata__"]
    save_file(load_file(path), path, metadata=change(said))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.unlink(), "there is no file at"),
        (lambda p: p.write_bytes(p.read_bytes()[:-40]), "not a whole safetensors file"),
        (lambda p: p.write_bytes(p.read_bytes()[:30]), "not a whole safetensors file"),
        (lambda p: p.write_bytes(b""), "not a whole safetensors file"),
        (lambda p: p.write_bytes(pickle.dumps({"net.prompts": [1.0]})), "not a whole safetensors file"),
        (lambda p: torch.save({"net.prompts": torch.ones(1)}, p), "not a whole safetensors file"),
        (lambda p: save_file({"x": torch.ones(1)}, p), "not one that save_prompts wrote"),
        (lambda p: rewritten(p, lambda said: said | {"card": "{"}), "card cannot be read"),
        (lambda p: rewritten(p, lambda said: {"format": said["format"]}), "card cannot be read"),
        (lambda p: rewritten(p, lambda said: said | {"format": "vptlib prompts 9"}), "newer vptlib .format 9, here 1."),
    ],
)
def test_what_is_not_whole_or_not_ours_is_refused(tmp_path, damage, words):
    path = tmp_path / "p.safetensors"
    save_prompts(learned(), path)
    damage(path)
    with pytest.raises(UserError, match=words) as error:
        load_prompts(path, small_vit())
    assert str(path) in str(error.value)


def card_with(change):
    """Damage: a change of the card, as a mapping."""

    def changed(said):
        card = json.loads(said["card"])
        change(card)
        return said | {"card": json.dumps(card)}

    return lambda path: rewritten(path, changed)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.update(method=3), "card cannot be read .method"),
        (lambda card: card.update(method="nonsense"), "is damaged: method 'nonsense' is not known"),
        (lambda card: card.update(method="full", options={}), "does not fit its method 'full'"),
        (lambda card: card.update(extra=1), "card cannot be read .extra"),
        (lambda card: card["options"].update(nonsense=1), "has no option 'nonsense'"),
        (lambda card: card["options"].update(num_prompts=10**12), "card cannot be read .options.num_prompts"),
        (lambda card: card["options"].update(num_prompts=9999), r"'net\.prompts' does not fit"),
        (lambda card: card["options"].update(dropout=float("nan")), "card cannot be read"),
        (lambda card: card["options"].update(layers=["a", 1]), "card cannot be read"),
        (lambda card: card.update(class_names=["a", "b"]), r"'net\.vit\.head\.\w+' does not fit"),
        (lambda card: card.update(class_names=["a", "b", "b"]), "a class name is there twice"),
        (lambda card: card.update(class_names=["a", "b", 3]), "card cannot be read .class_names.2"),
        (lambda card: card.update(class_names="abc"), "card cannot be read .class_names"),
        (lambda card: card["preprocessing"].update(size=0), "card cannot be read .preprocessing.size"),
        (lambda card: card["preprocessing"].update(size=True), "card cannot be read .preprocessing.size"),
        (lambda card: card["preprocessing"].update(std=[0, 1, 1]), "card cannot be read .preprocessing.std"),
        (lambda card: card["preprocessing"].update(mean=[0, 1]), "card cannot be read .preprocessing.mean"),
        (lambda card: card["preprocessing"].update(mean=[0.1, 0.2, 0.3]), "prepared with mean .0.1, 0.2, 0.3"),
        (lambda card: card["preprocessing"].update(interpolation="x"), "card cannot be read .preprocessing.interp"),
        (lambda card: card["preprocessing"].update(aspect="round"), "card cannot be read .preprocessing.aspect"),
        (lambda card: card.update(backbone="x"), "card cannot be read .backbone"),
        (lambda card: card["shape"].update(width=0), "card cannot be read .shape.width"),
    ],
)
def test_each_value_of_a_card_is_checked(tmp_path, change, words):
    path = tmp_path / "p.safetensors"
    save_prompts(learned(), path)
    card_with(change)(path)
    with pytest.raises(UserError, match=words) as error:
        load_prompts(path, small_vit())
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [torch.int32, torch.bool, torch.float8_e5m2])
def test_tensors_that_are_no_decimal_numbers_are_refused(tmp_path, kind):
    path = tmp_path / "p.safetensors"
    save_prompts(learned(), path)
    raw = path.read_bytes()
    said = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])["__metadata__"]
    save_file({name: tensor.to(kind) for name, tensor in load_file(path).items()}, path, metadata=said)
    with pytest.raises(UserError, match=r"is of type .*, not of decimal numbers"):
        load_prompts(path, small_vit())


@pytest.mark.parametrize("change", ["missing", "other shape", "not finite"])
def test_tensors_that_do_not_fit_are_named(tmp_path, change):
    path = tmp_path / "p.safetensors"
    save_prompts(learned(), path)
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
        load_prompts(path, small_vit())
