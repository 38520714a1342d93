"""Light augmentation: what it changes, that all get the same, and which images and methods it leaves alone."""

import hashlib

import pytest
import torch
from models import bright_and_dark, draw_images, small_vit
from torch.nn import functional as F

import vptlib.tuning.training as training
from vptlib.errors import UserError
from vptlib.report.config import read_config
from vptlib.report.words.en import protocol
from vptlib.study import done_rules, runner
from vptlib.study.plan import Cell, Plan
from vptlib.study.store import run_key
from vptlib.study.study import Study
from vptlib.tuning.augmentation import CHANGE, LIGHT, MIRROR, NONE, augmented
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import build_method
from vptlib.tuning.training import Recipe, Training, fit, frozen_features

AT_NOTHING = torch.zeros(3)  # black, for pixels that are not normalised


def light(images, kind=LIGHT, seed=0, step=0, black=AT_NOTHING):
    return augmented(images, kind, seed, step, black)


def patterns(images):
    """Images `B 3 H W` without what brightness and contrast change: mean 0 and standard deviation 1 per channel."""
    return (images - images.mean((2, 3), keepdim=True)) / images.std((2, 3), keepdim=True)


# ---- what it does to images -------------------------------------------------------------------------------------


def test_each_image_is_shifted_by_whole_pixels_up_to_a_sixteenth_with_reflected_edges():
    image = draw_images(1, size=32)
    shifted = {
        (dy, dx): F.pad(image, (2, 2, 2, 2), mode="reflect")[:, :, 2 + dy : 34 + dy, 2 + dx : 34 + dx]
        for dy in range(-2, 3)
        for dx in range(-2, 3)
    }
    found = patterns(light(image.expand(300, -1, -1, -1)))
    assert found.shape == (300, 3, 32, 32)
    wanted = patterns(torch.cat(list(shifted.values())))
    matches = (found[:, None] - wanted[None]).abs().amax((2, 3, 4)) < 1e-4  # 300 25
    assert (matches.sum(1) == 1).all(), "each image is one of these shifts"
    assert matches.any(0).all(), "and each shift occurs"


def test_brightness_and_contrast_change_by_up_to_a_tenth_independently():
    striped = torch.zeros(400, 3, 8, 8)
    striped[:, :, ::2] = 1  # at less than 16 px there is no shift
    changed = light(striped)[:, 0]  # B H W
    brightness = changed.mean((1, 2)) / 0.5
    contrast = (changed[:, 0, 0] - changed[:, 1, 0]) / brightness
    for factors in (brightness, contrast):
        assert factors.min() == pytest.approx(1 - CHANGE, abs=0.01) and factors.min() >= 1 - CHANGE - 1e-5
        assert factors.max() == pytest.approx(1 + CHANGE, abs=0.01) and factors.max() <= 1 + CHANGE + 1e-5
    assert abs(torch.corrcoef(torch.stack([brightness, contrast]))[0, 1]) < 0.2


def test_normalised_pixels_change_as_the_picture_itself_would():
    """Brightness is a factor from black, which is not 0 in normalised pixels."""
    picture = draw_images(8, size=32).sigmoid()
    mean, std = (torch.tensor(of).view(3, 1, 1) for of in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    found = light((picture - mean) / std, black=(-mean / std).flatten())
    assert torch.allclose(found * std + mean, light(picture), atol=1e-6)


def test_only_light_with_mirror_mirrors_and_half_of_the_images():
    images = draw_images(400, size=16)
    plain, mirrored = light(images), light(images, MIRROR)
    flipped = (mirrored - plain.flip(3)).abs().amax((1, 2, 3)) < 1e-6
    as_light = (mirrored - plain).abs().amax((1, 2, 3)) < 1e-6
    assert (flipped ^ as_light).all(), "each is that of light, or its mirror image"
    assert 160 < flipped.sum() < 240


def test_none_gives_the_images_themselves():
    images = draw_images()
    assert light(images, NONE) is images


def test_it_depends_on_seed_and_step_and_not_on_torchs_random_numbers():
    images, state = draw_images(4, size=32), torch.get_rng_state()
    first = light(images, seed=1, step=2)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert torch.equal(light(images, seed=1, step=2), first)
    for other in ({"seed": 1, "step": 3}, {"seed": 2, "step": 2}, {"seed": 2, "step": 1}):
        assert not torch.equal(light(images, **other), first), other


# ---- in training ------------------------------------------------------------------------------------------------


def images_in_training(method="full", data=None, val=None, room=100, **options):
    """The images of all steps as the model sees them, `N 3 H W`, and those of validation; at most `room` at once."""
    net = build_method(method, small_vit(seed=3), 2)
    seen, validated = [], []

    def note(net, inputs):
        if len(inputs[0]) > room:
            raise torch.OutOfMemoryError
        (seen if net.training else validated).append(inputs[0].clone())

    net.register_forward_pre_hook(note)
    fit(net, data or bright_and_dark(8), val, Recipe(1e-3, steps=4, batch_size=4, **options))
    return torch.cat(seen), validated


def test_training_sees_changed_images_and_validation_the_images_themselves():
    val = bright_and_dark(6, seed=2)
    plain, _ = images_in_training(val=val)
    changed, validated = images_in_training(val=val, augmentation=LIGHT)
    assert not torch.equal(plain, changed)
    assert len(validated) == 4 and all(torch.equal(images, val.tensors[0]) for images in validated)


def test_step_number_s_sees_the_images_that_the_module_gives_for_it():
    net = build_method("full", small_vit(), 2)
    expected = preprocessing(net.vit)
    black = -torch.tensor(expected.mean) / torch.tensor(expected.std)
    plain, _ = images_in_training(seed=5)
    changed, _ = images_in_training(seed=5, augmentation=MIRROR)
    wanted = [augmented(part, MIRROR, 5, step, black) for step, part in enumerate(plain.split(4))]
    assert torch.equal(changed, torch.cat(wanted))


def test_all_methods_that_train_on_images_get_the_same_ones():
    first, _ = images_in_training("full", augmentation=LIGHT)
    for method in ("vpt-deep", "vpt-shallow", "lora"):
        assert torch.equal(images_in_training(method, augmentation=LIGHT)[0], first), method


def test_a_batch_that_is_split_for_a_small_gpu_is_augmented_as_a_whole():
    split, _ = images_in_training(augmentation=LIGHT, room=3)
    assert torch.equal(split, images_in_training(augmentation=LIGHT)[0])


@pytest.mark.parametrize("limit", [2**30, 0])
@pytest.mark.parametrize(
    ("method", "options"),
    [("linear", {}), ("partial-k", {"blocks": 1}), ("attentive-probe", {}), ("vpt-deep", {"layers": "last 1"})],
)
def test_with_frozen_lower_layers_training_is_the_same_whether_their_output_is_kept_or_not(
    monkeypatch, method, options, limit
):
    """Memory decides whether it is kept; augmentation in one of the two cases would make it decide on the result."""
    monkeypatch.setattr(training, "MOST_KEPT_BYTES", limit)
    losses = []
    for kind in (NONE, MIRROR):
        net = build_method(method, small_vit(seed=3), 2, **options)
        losses.append(fit(net, bright_and_dark(12), None, Recipe(1e-2, steps=4, augmentation=kind)).train_loss)
    assert losses[0] == losses[1]


def test_kept_features_are_never_changed():
    """Of a model whose stem does nothing, they are images in form."""
    net = build_method("full", small_vit(seed=3), 2)
    kept = frozen_features(net, bright_and_dark(8))
    assert torch.equal(images_in_training(data=kept, augmentation=LIGHT)[0], images_in_training(data=kept)[0])


def test_an_old_checkpoint_without_augmentation_can_be_read(tmp_path):
    path, recipe = tmp_path / "run.pt", Recipe(1e-3, steps=6, batch_size=4)
    net = lambda: build_method("full", small_vit(seed=3), 2)  # noqa: E731
    whole = fit(net(), bright_and_dark(8), None, recipe)
    first = Training(net(), bright_and_dark(8), None, recipe, path)
    first.advance(3)
    first.save()
    stored = torch.load(path, weights_only=True)
    del stored["recipe"]["augmentation"]
    torch.save(stored, path)
    assert fit(net(), bright_and_dark(8), None, recipe, path).train_loss == whole.train_loss
    other = Recipe(1e-3, steps=6, batch_size=4, augmentation=LIGHT)
    with pytest.raises(UserError, match="belongs to another recipe"):
        fit(net(), bright_and_dark(8), None, other, path)


def test_an_unknown_augmentation_is_refused():
    with pytest.raises(UserError, match="augmentation is 'strong', but must be one of none, light, light\\+mirror"):
        Recipe(1e-3, augmentation="strong")
    with pytest.raises(UserError, match="augmentation is 'strong', but must be one of none, light, light\\+mirror"):
        Plan("digits", augmentation="strong")


# ---- in a study -------------------------------------------------------------------------------------------------

TINY = {"task": "digits", "image_size": 28, "depth": 2, "num_prompts": 2, "steps": 40, "batch_size": 8}
TINY |= {"test_images": 30, "rules": "until done", "precision": "fp32", "sizes": (40,), "candidates": 2}


def study(**changes) -> Study:
    return Study(**(TINY | {"methods": ("linear", "partial-k", "vpt-deep", "lp-ft")} | changes))


@pytest.mark.parametrize("rules", ["equal budget", "vtab-1k"])
def test_other_rules_have_no_augmentation(rules):
    with pytest.raises(UserError, match=f"augmentation is 'light', but the rules '{rules}' have none") as caught:
        study(rules=rules, methods=("vpt-deep",), augmentation=LIGHT)
    assert "take the rules 'until done', or augmentation 'none'" in str(caught.value)


def test_a_configuration_names_the_line_of_an_augmentation_that_cannot_be(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("tasks: [digits]\naugmentation: light+mirror\n")
    assert [study.augmentation for study in read_config(path).studies()] == [MIRROR]
    path.write_text("tasks: [digits]\naugmentation: light\nrules: equal budget\n")
    with pytest.raises(UserError, match="line 2: augmentation is 'light', but the rules 'equal budget' have none"):
        read_config(path)


def test_without_augmentation_every_key_is_as_it_was_before_there_was_any(monkeypatch):
    """A key is the hash of a text that must not name augmentation, or stored runs would be lost."""
    texts, sha256 = [], hashlib.sha256
    plain, changed = study(), study(augmentation=LIGHT)
    run_key(plain, plain.cells()[0])  # loads what the keys need
    monkeypatch.setattr(hashlib, "sha256", lambda text=b"", **options: texts.append(text) or sha256(text, **options))
    for each in (plain, study(rules="equal budget"), study(rules="vtab-1k", methods=("vpt-deep",))):
        for cell in each.cells():
            run_key(each, cell)
    assert len(texts) >= 9 and not any(b"augment" in text for text in texts)
    run_key(changed, Cell("vpt-deep", 40, 0))
    assert b'"augmentation": "light"' in texts[-1]


def test_augmentation_is_part_of_the_key_of_methods_that_train_and_not_of_solved_ones():
    plans = [study(), study(augmentation=LIGHT), study(augmentation=MIRROR)]
    keys = {m: {run_key(plan, Cell(m, 40, 0)) for plan in plans} for m in ("linear", "vpt-deep", "lp-ft")}
    assert {method: len(found) for method, found in keys.items()} == {"linear": 1, "vpt-deep": 3, "lp-ft": 3}


def test_the_protocol_states_which_augmentation_and_who_has_none():
    assert protocol(study().protocol())["Input"].endswith("; no augmentation.")
    rules = protocol(study(augmentation=LIGHT).protocol())
    assert list(rules)[:3] == ["Images", "Input", "Augmentation"] and "augmentation" not in rules["Input"]
    text = rules["Augmentation"]
    assert "shifted by up to 1/16 of its side" in text and "change by up to 10\u202f%" in text
    assert "No image is mirrored, because a label may depend on left and right." in text
    assert "None for Linear probe and Partial-k, whose frozen layers" in text
    assert "LP-FT: the head is first solved without." in text
    assert (
        "Half of the images, at random, are mirrored" in protocol(study(augmentation=MIRROR).protocol())["Augmentation"]
    )


@pytest.mark.usefixtures("own_store")
def test_a_race_trains_on_augmented_images_and_solves_the_head_of_lp_ft_on_plain_ones(monkeypatch):
    calls, solved_on = [], []
    solve = runner.SOLVERS["linear"]

    def noted(images, kind, seed, step, black, *share):
        calls.append((kind, seed, step))
        return augmented(images, kind, seed, step, black, *share)

    def solving(model, train, val):
        solved_on.append(train.tensors[0].clone())
        return solve(model, train, val)

    monkeypatch.setattr(training, "augmented", noted)
    monkeypatch.setitem(runner.SOLVERS, "linear", solving)
    for method in ("linear", "partial-k", "vpt-deep", "lp-ft"):
        taken = len(calls)
        ours = study(methods=(method,), augmentation=LIGHT)
        runner.run_until_done(ours, Cell(method, 40, 7), done_rules.first_rates(method, 2))
        fresh = calls[taken:]
        assert bool(fresh) == (method in ("vpt-deep", "lp-ft")), method
        assert {(kind, seed) for kind, seed, _ in fresh} <= {(LIGHT, 7)}
        if fresh:
            assert sorted({step for *_, step in fresh}) == list(range(max(step for *_, step in fresh) + 1))
    assert all(torch.equal(solved_on[0], features) for features in solved_on), "as for the linear probe"
