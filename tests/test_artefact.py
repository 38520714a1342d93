"""A trained model as one file: what is in it, what a load checks, and what a damaged file gives."""

import random

import numpy as np
import pytest
import torch
from exported import CLASSES, OPTIONS, answers_for, exported, learned, rewritten, small_backbone
from models import draw_images
from safetensors import safe_open

from vptlib.errors import UserError
from vptlib.operations.artefact import (
    Artefact,
    check_canaries,
    digest_of,
    load_backbone_of,
    load_model,
    read_artefact,
)
from vptlib.tuning.methods import METHODS


@pytest.mark.parametrize("method", METHODS)
def test_every_method_comes_back_with_the_same_answers_and_leaves_the_backbone(tmp_path, method):
    vit = small_backbone()
    before = {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    artefact = exported(tmp_path / "m.vpt", method)
    again = load_model(read_artefact(tmp_path / "m.vpt"), vit)
    want = learned(method, seed=0, **OPTIONS.get(method, {}))(draw_images())
    assert torch.allclose(again(draw_images()), want, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in again.parameters())
    after = vit.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert artefact.digest == digest_of(tmp_path / "m.vpt")


def test_prompts_share_the_memory_of_the_backbone_and_a_whole_model_has_its_own(tmp_path):
    vit = small_backbone()
    theirs = {p.data_ptr() for p in vit.parameters()}
    of = {
        method: load_model(exported(tmp_path / f"{method}.vpt", method), vit) for method in ("vpt-deep", "full", "bias")
    }
    share = {
        method: sum(p.data_ptr() in theirs for p in model.parameters()) / len(theirs) for method, model in of.items()
    }
    assert share["vpt-deep"] == 1
    assert share["full"] == 0
    assert 0 < share["bias"] < 1


def test_card_answers_and_canaries_come_back(tmp_path):
    limits = {"accuracy": {"at_least": 0.6}}
    answers = answers_for()
    written = exported(tmp_path / "m.vpt", answers=answers, limits=limits, grey=(0.0, 4095.0), title="セル")
    read = read_artefact(tmp_path / "m.vpt")
    assert read.card == written.card
    assert (read.card.title, read.card.grey, read.card.limits) == ("セル", (0.0, 4095.0), limits)
    assert read.card.class_names == CLASSES
    assert np.array_equal(read.answers.predictions, answers.predictions)
    assert np.array_equal(read.answers.truth, answers.truth)
    assert np.allclose(read.answers.probabilities, answers.probabilities, atol=2e-3)
    assert len(read.canaries.pictures) == len(read.canaries.logits) > 1
    assert len({picture.shape for picture in read.canaries.pictures}) > 1


def test_answers_without_probabilities_come_back_without(tmp_path):
    assert exported(tmp_path / "m.vpt", answers=answers_for(probabilities=False)).answers.probabilities is None


def test_no_image_of_the_user_and_no_path_is_in_the_file(tmp_path):
    exported(tmp_path / "m.vpt")
    with safe_open(tmp_path / "m.vpt", framework="pt") as file:
        metadata = " ".join(file.metadata().values())
        pictures = [name for name in file.keys() if "canary" in name]  # noqa: SIM118
    assert str(tmp_path) not in metadata
    assert len(pictures) == 4  # three drawn ones and the logits


# ---- canaries -----------------------------------------------------------------------------------------------------


def changed(path, name, change):
    """The file with one tensor changed, and with its checksum."""
    rewritten(path, tensors=lambda given: given | {name: change(given[name])})


@pytest.mark.parametrize("method", ["vpt-deep", "vpt-shallow", "linear", "full", "lora"])
def test_trained_tensors_of_another_training_do_not_pass_the_canaries(tmp_path, method):
    first, second = exported(tmp_path / "a.vpt", method, seed=0), exported(tmp_path / "b.vpt", method, seed=1)
    swapped = Artefact(first.path, first.digest, first.card, second.tensors, first.canaries, first.answers)
    with pytest.raises(UserError, match="does not answer as it did when it was exported"):
        load_model(swapped, small_backbone())


@pytest.mark.parametrize(
    "change",
    [{"interpolation": "bilinear"}, {"aspect": "crop"}, {"mean": [0.4, 0.5, 0.5]}, {"std": [0.5, 0.5, 0.6]}],
)
def test_another_preparation_of_images_does_not_pass_the_canaries(tmp_path, change):
    artefact = exported(tmp_path / "a.vpt")
    prepared = type(artefact.card.preprocessing)(**vars(artefact.card.preprocessing) | change)
    card = type(artefact.card)(**vars(artefact.card) | {"preprocessing": prepared})
    other = Artefact(artefact.path, artefact.digest, card, artefact.tensors, artefact.canaries, artefact.answers)
    with pytest.raises(UserError, match="does not answer as it did"):
        check_canaries(load_model(artefact, small_backbone()), other)


def test_one_prompt_that_is_lost_does_not_pass_the_canaries(tmp_path):
    exported(tmp_path / "a.vpt")

    def without_one(prompts):
        prompts = prompts.clone()
        prompts[0, 0] = 0
        return prompts

    changed(tmp_path / "a.vpt", "net.prompts", without_one)
    with pytest.raises(UserError, match="does not answer as it did"):
        load_model(read_artefact(tmp_path / "a.vpt"), small_backbone())


def test_last_digits_that_differ_between_machines_pass(tmp_path):
    exported(tmp_path / "a.vpt")
    changed(tmp_path / "a.vpt", "vpt.canary.logits", lambda logits: logits * (1 + 1e-5) + 1e-5)
    load_model(read_artefact(tmp_path / "a.vpt"), small_backbone())


# ---- what is refused ----------------------------------------------------------------------------------------------


def about(path, change):
    """The file with other texts in its metadata, and with their checksum."""
    rewritten(path, texts=change)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.unlink(), "there is no file at"),
        (lambda p: p.write_bytes(p.read_bytes()[:-40]), "not a whole safetensors file"),
        (lambda p: p.write_bytes(b""), "not a whole safetensors file"),
        (lambda p: about(p, lambda m: m | {"format": "vptlib model 2"}), "newer vptlib"),
        (lambda p: about(p, lambda m: m | {"format": "vptlib model 0"}), "cannot read"),
        (lambda p: about(p, lambda m: m | {"format": "vptlib prompts 1"}), "not one that `vpt export` wrote"),
        (lambda p: about(p, lambda m: m | {"about": "{"}), "card cannot be read"),
        (lambda p: about(p, lambda m: {k: v for k, v in m.items() if k != "about"}), "card cannot be read"),
        (lambda p: about(p, lambda m: m | {"about": m["about"].replace('"ours"', "7")}), "licence"),
        (lambda p: changed(p, "vpt.test.predictions", lambda t: t + 9), "card cannot be read"),
        (lambda p: changed(p, "vpt.test.truth", lambda t: t[:-1]), "card cannot be read"),
        (lambda p: changed(p, "vpt.canary.0", lambda t: t.float()), "canaries are no pictures"),
        (lambda p: changed(p, "net.prompts", lambda t: t * float("nan")), "not finite"),
    ],
)
def test_what_is_not_whole_or_not_ours_is_refused_with_the_file_named(tmp_path, damage, words):
    path = tmp_path / "m.vpt"
    exported(path)
    damage(path)
    with pytest.raises(UserError, match=words) as error:
        read_artefact(path)
    assert "m.vpt" in str(error.value)


@pytest.mark.parametrize("method", ["linear", "vpt-deep", "full"])
def test_one_changed_bit_anywhere_in_the_file_is_seen(tmp_path, method):
    path, draw = tmp_path / "m.vpt", random.Random(5)
    exported(path, method)
    whole = path.read_bytes()
    for _ in range(150):
        changed, place = bytearray(whole), draw.randrange(len(whole))
        changed[place] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(UserError, match=r"m\.vpt"):
            read_artefact(path)


def test_the_same_model_is_the_same_file(tmp_path):
    files = {exported(tmp_path / f"{number}.vpt").digest for number in range(5)}
    assert len(files) == 1


def test_another_backbone_is_refused(tmp_path):
    artefact = exported(tmp_path / "m.vpt")
    with pytest.raises(UserError, match="learned on another backbone"):
        load_model(artefact, small_backbone(seed=5))


def test_a_backbone_from_a_file_is_asked_for_by_its_name_alone(tmp_path):
    artefact = exported(tmp_path / "m.vpt")
    known = type(artefact.card.backbone)(**vars(artefact.card.backbone) | {"name": "file:own.safetensors"})
    card = type(artefact.card)(**vars(artefact.card) | {"backbone": known})
    other = Artefact(artefact.path, artefact.digest, card, artefact.tensors, artefact.canaries, artefact.answers)
    with pytest.raises(UserError, match=r"own.safetensors.*--backbone file:PATH"):
        load_backbone_of(other)


def test_numbers_that_are_not_finite_are_not_exported(tmp_path):
    from exported import card_for

    from vptlib.operations.artefact import write_artefact
    from vptlib.tuning.backbones import fingerprint

    vit = small_backbone()
    found = fingerprint(vit)
    model = learned(vit=vit)
    with torch.no_grad():
        model.net.prompts[0, 0, 0] = float("inf")
    with pytest.raises(UserError, match="not finite"):
        write_artefact(tmp_path / "m.vpt", model, card_for(model, found), answers_for())
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_ending_is_not_written(tmp_path):
    with pytest.raises(UserError, match=r"ends in \.vpt"):
        exported(tmp_path / "m.safetensors")
