"""The checks find what they look for: right, wrong, constant and random maps, and shuffled models."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from models import bright_and_dark, draw_images, small_vit

from vptlib.data import synthetic
from vptlib.data.embedded import DRAWN, object_masks
from vptlib.data.tasks import load_task
from vptlib.errors import UserError
from vptlib.explanations.checks import (
    cascade,
    centre_maps,
    compared,
    deletion_insertion,
    energy,
    fitted_masks,
    judge,
    pointing,
    random_maps,
    randomised,
    repeats_itself,
    slightly_changed,
    with_shuffled_labels,
)
from vptlib.explanations.intervals import FEWEST, images_needed, interval
from vptlib.explanations.maps import EXPLANATIONS, explain
from vptlib.explanations.similarity import SAME, agreement, likeness, pooled, scale_of
from vptlib.report.words.en import sentence
from vptlib.statement import statement
from vptlib.tuning.methods import build_method
from vptlib.tuning.training import Recipe, evaluate

SIZE, PATCH, GRID, COUNT = 56, 14, (4, 4), 40


@pytest.fixture(scope="module")
def planted():
    """A model that predicts class 1 where one patch is bright, images with such a patch, and its position."""
    model = build_method("full", small_vit(img_size=SIZE, patch_size=PATCH, embed_dim=8), 2).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        model.vit.patch_embed.proj.weight[0] = 1 / (3 * PATCH * PATCH)
        model.vit.pos_embed[..., 1] = 1
        model.vit.blocks[-1].attn.qkv.weight[16, 0] = 1
        model.vit.blocks[-1].attn.proj.weight[0, 0] = 1
        model.head.weight[1, 0] = 60
    places = np.random.default_rng(0).integers(16, size=COUNT)
    images = 0.1 * torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    for image, place in zip(images, places, strict=True):
        row, column = divmod(int(place), 4)
        image[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = 1
    with torch.no_grad():
        dark = model(torch.full((1, 3, SIZE, SIZE), 0.05))[0, 1]
        bright = model(images)[:, 1].mean()
        model.head.bias[1] = -(dark + bright) / 2
    masks = (images[:, 0] == 1).float().numpy()
    return model, images, masks


def verdicts(findings) -> dict[str, bool | None]:
    return {found.check: found.passed for found in findings}


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "integrated-gradients"])
def test_a_true_map_passes_every_check(planted, method):
    model, images, masks = planted
    assert (model(images).argmax(1) == 1).all()
    found = verdicts(judge(model, images, explain(model, images, method=method), masks=masks))
    assert found == {"differences": True, "faithful": True, "pointing": True, "energy": True}


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_constant_map_is_flagged(planted, value):
    model, images, masks = planted
    findings = judge(model, images, np.full((COUNT, SIZE, SIZE), value, np.float32), masks=masks)
    found = verdicts(findings)
    assert found["differences"] is False
    assert findings[0].statement == statement("maps_mark", share=0.0, enough=False)
    assert not any(found[check] for check in ("faithful", "pointing", "energy"))


def test_a_random_map_is_flagged(planted):
    model, images, masks = planted
    found = verdicts(judge(model, images, random_maps(images, GRID, seed=5), masks=masks))
    assert found["differences"] and not any(found[check] for check in ("faithful", "pointing", "energy"))


def test_the_centre_map_is_flagged(planted):
    model, images, masks = planted
    found = verdicts(judge(model, images, np.array(centre_maps(images)), masks=masks))
    assert not any(found[check] for check in ("faithful", "pointing", "energy"))


def related(planted, of_random_model, maps=None, again=None) -> dict[str, bool | None]:
    """The verdicts on GradCAM maps, or on `maps`, that need further maps."""
    model, images, _ = planted
    maps = explain(model, images) if maps is None else maps
    again = explain(model, slightly_changed(images)) if again is None else again
    return verdicts(judge(model, images, maps, of_random_model=of_random_model, again=again))


def test_a_map_that_a_shuffled_model_also_gives_is_flagged(planted):
    model, images, _ = planted
    assert related(planted, explain(model, images))["depends on the model"] is False
    other = random_maps(images, GRID, seed=6)
    found = related(planted, other)
    assert found["depends on the model"] is True and found["repeats itself"] is True


def test_pure_noise_does_not_pass(planted):
    _, images, _ = planted
    maps, again, of_random = (random_maps(images, GRID, seed=seed) for seed in (5, 6, 7))
    found = related(planted, of_random, maps, again)
    assert found["repeats itself"] is False and found["depends on the model"] is None
    assert found["faithful"] is not True


def test_a_map_that_is_not_known_to_repeat_itself_is_not_called_dependent(planted):
    model, images, _ = planted
    findings = judge(model, images, explain(model, images), of_random_model=random_maps(images, GRID, seed=6))
    assert verdicts(findings)["depends on the model"] is None
    assert findings[-1].statement == statement("map_not_repeated", check="depends on the model", repeats=None)


def test_the_same_map_for_every_image_does_not_follow_its_image(planted):
    _, images, _ = planted
    blob = np.array(centre_maps(images))
    found = related(planted, random_maps(images, GRID, seed=6), blob, blob)
    assert found["repeats itself"] is False and found["depends on the model"] is None


def test_one_random_model_that_differs_is_not_enough_if_others_do_not(planted):
    """Of two random models one gives the same maps and one gives others: no verdict."""
    model, images, _ = planted
    drawn = np.stack([explain(model, images), random_maps(images, GRID, seed=6)])
    assert related(planted, drawn)["depends on the model"] is None


def test_maps_without_differences_show_no_change_of_the_model(planted):
    model, images, _ = planted
    maps, other = explain(model, images), random_maps(images, GRID, seed=6)
    other[2:] = 0
    finding = judge(model, images, maps, of_random_model=other, again=maps)[-1]
    assert finding.check == "depends on the model" and finding.passed is None
    assert finding.statement.values == {"check": finding.check, "compared": 2, "maps": COUNT}


def mixed_with_noise(maps: np.ndarray, share: float) -> np.ndarray:
    """Maps of the same images, a `share` of each replaced by noise."""
    images = torch.zeros(len(maps), 3, SIZE, SIZE)
    return (1 - share) * maps + share * random_maps(images, GRID, seed=9)


def test_no_value_has_two_verdicts_and_the_verdicts_turn_once():
    maps = random_maps(torch.zeros(COUNT, 3, SIZE, SIZE), GRID, seed=8)
    scale = scale_of(maps, GRID)
    repeats = repeats_itself(scale, likeness(maps, mixed_with_noise(maps, 0.05), GRID))
    assert repeats.passed
    seen = []
    for share in np.linspace(0, 1, 41):
        alike = likeness(maps, mixed_with_noise(maps, share), GRID)
        same, dependent, of_kinds = (
            compared(check, scale, alike, repeats)
            for check in ("another training run", "depends on the model", "other kinds of map")
        )
        assert same.value == dependent.value and same.passed == of_kinds.passed
        assert dependent.passed == (None if same.passed is None else not same.passed)
        assert (same.passed is None) == (same.low <= SAME <= same.high)
        seen.append({True: 2, None: 1, False: 0}[same.passed])
    assert seen == sorted(seen, reverse=True) and set(seen) == {0, 1, 2}


def test_too_few_images_give_no_verdict():
    maps = random_maps(torch.zeros(FEWEST - 1, 3, SIZE, SIZE), GRID)
    assert repeats_itself(scale_of(maps, GRID), likeness(maps, maps, GRID)).passed is None


# ---- deletion and insertion --------------------------------------------------------------------------------------


def test_curves_run_from_the_whole_image_to_nothing_and_back(planted):
    model, images, masks = planted
    curves = deletion_insertion(model, images, masks, levels=16)
    assert curves.shares.tolist() == [k / 16 for k in range(17)]
    with torch.no_grad():
        whole = model(images).softmax(1)[:, 1].numpy()
    for start in (curves.deletion[:, 0], curves.insertion[:, -1]):
        np.testing.assert_allclose(start, whole, atol=1e-6)
    np.testing.assert_allclose(curves.deletion[:, -1], curves.insertion[:, 0], atol=1e-6)
    assert (curves.deletion[:, 1] < 0.5).all() and (curves.insertion[:, 1] > 0.5).all()  # the bright patch goes first


def test_areas_are_those_under_the_curves(planted):
    model, images, masks = planted
    curves = deletion_insertion(model, images, masks, levels=4)
    by_hand = (curves.deletion[:, 1:] + curves.deletion[:, :-1]).sum(axis=1) / 8
    np.testing.assert_allclose(curves.deletion_area, by_hand, rtol=1e-6)
    np.testing.assert_allclose(curves.gap, curves.insertion_area - curves.deletion_area)


def test_a_removed_patch_is_filled_with_the_median_colour(planted):
    model, images, masks = planted
    seen = []
    hook = model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    deletion_insertion(model, images, masks, torch.ones(COUNT, dtype=torch.long), levels=16)
    hook.remove()
    gone = seen[1]  # one patch, the bright one
    assert gone[:, 0].amax() < 0.2
    outside = torch.tensor(masks)[:, None].expand_as(images) == 0
    torch.testing.assert_close(gone[outside], images[outside])


def test_an_image_of_one_patch_goes_from_whole_to_nothing_in_one_step():
    model = build_method("full", small_vit(img_size=PATCH, patch_size=PATCH, embed_dim=8), 2).eval()
    images = torch.rand(3, 3, PATCH, PATCH)
    curves = deletion_insertion(model, images, np.ones((3, PATCH, PATCH), np.float32))
    assert curves.deletion.shape == curves.insertion.shape == (3, 2)
    np.testing.assert_array_equal(curves.insertion, curves.deletion[:, ::-1])


# ---- where the object is -----------------------------------------------------------------------------------------


def test_pointing_by_hand():
    masks, maps = np.zeros((3, 8, 8), np.float32), np.zeros((3, 8, 8), np.float32)
    masks[:, 2:4, 2:4] = 1
    maps[0, 2, 3] = 1  # on it
    maps[1, 5, 5] = 1  # two pixels away from it
    assert pointing(maps, masks, 0).tolist() == [1, 0, 4 / 64]
    assert pointing(maps, masks, 2).tolist() == [1, 1, 36 / 64]


def test_energy_by_hand():
    masks, maps = np.zeros((2, 4, 4), np.float32), np.ones((2, 4, 4), np.float32)
    masks[:, 0] = 1
    maps[1, 1:] = 0
    assert energy(maps, masks).tolist() == [0.25, 1]
    assert energy(0 * maps, masks).tolist() == [0.25, 0.25]


@pytest.mark.parametrize("name", ["dsprites-location", "object-count"])
def test_masks_are_where_the_object_is(name):
    images, masks = load_task(name).test.images, object_masks(name)
    assert masks.shape == images.shape[:3] and masks.dtype == bool
    share = masks.mean(axis=(1, 2))
    assert share.min() > 0.005 and share.max() < 0.7
    assert object_masks("digits") is None


def test_more_solids_cover_more_and_stand_out():
    images, labels = synthetic.object_count(32)
    masks = synthetic.solid_masks(synthetic.scenes(32))
    share = masks.mean(axis=(1, 2))
    assert np.corrcoef(labels, share)[0, 1] > 0.8
    colourful = np.ptp(images.astype(int), axis=-1)
    inside, outside = colourful[masks].mean(), colourful[~masks].mean()
    assert inside > 5 * outside


def test_masks_belong_to_the_images_of_the_task():
    """Test image k of object-count shows the solids of scene 2000 + k."""
    test = load_task("object-count").test
    solids, brightness = synthetic.scenes(sum(DRAWN))[DRAWN[0] + 7]
    np.testing.assert_array_equal(test.images[7], synthetic.draw_solids(solids, brightness))
    np.testing.assert_array_equal(object_masks("object-count")[7], synthetic.solid_masks([(solids, brightness)])[0])


def test_masks_are_fitted_to_what_the_model_sees():
    masks = np.zeros((1, 64, 64), dtype=bool)
    masks[:, :, :32] = True
    fitted = fitted_masks(masks, (28, 28))
    assert fitted.shape == (1, 28, 28) and fitted[0, :, :14].min() == 1 and fitted[0, :, 14:].max() == 0


# ---- models without knowledge ------------------------------------------------------------------------------------


def test_shuffling_keeps_the_spread_and_loses_the_order(planted):
    model, _, _ = planted
    before = {name: p.clone() for name, p in model.named_parameters()}
    other = randomised(model, seed=1)
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(parameter.flatten().sort().values, before[name].flatten().sort().values)
    assert not torch.equal(other.vit.pos_embed, before["net.pos_embed"])
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())  # a copy


@pytest.mark.parametrize("method", ["full", "vpt-deep", "vpt-shallow", "lora"])
def test_a_cascade_forgets_from_the_head_down(method):
    model = build_method(method, small_vit(), 3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape))
    before = {name: p.clone() for name, p in model.named_parameters()}
    changed: list[set[str]] = []
    names = []
    for name, other in cascade(model):
        names.append(name)
        changed.append({key for key, p in other.named_parameters() if not torch.equal(p, before[key])})
    assert names == ["head", "block 2", "block 1", "input"]
    assert all(small < large for small, large in pairwise(changed[:3]))
    assert all(".blocks." not in key for key in changed[0]) and any("head" in key for key in changed[0])
    assert {key for key, p in before.items() if p.numel() > 1} <= changed[-1]
    assert all(torch.equal(p, before[key]) for key, p in model.named_parameters())  # a copy


def test_prompts_are_forgotten_with_their_block():
    model = build_method("vpt-deep", small_vit(), 3, num_prompts=4).eval()
    kept = [[torch.equal(one, other) for one, other in zip(model.net.prompts, step.net.prompts, strict=True)]
            for _, step in cascade(model)]  # fmt: skip
    assert kept == [[True, True], [True, False], [False, False], [False, False]]


def test_a_slight_change_is_slight():
    images = draw_images(6)
    change = (slightly_changed(images) - images).flatten(1).std(dim=1) / images.flatten(1).std(dim=1)
    assert change.min() > 0.08 and change.max() < 0.12


def test_only_the_learned_weights_are_shuffled_on_request():
    model = build_method("vpt-deep", small_vit(), 3, num_prompts=4).eval()
    other = randomised(model, part="learned")
    assert not torch.equal(other.net.prompts, model.net.prompts)
    assert torch.equal(other.vit.blocks[0].mlp.fc1.weight, model.vit.blocks[0].mlp.fc1.weight)
    with pytest.raises(UserError, match="'some'"):
        randomised(model, part="some")


def test_shuffled_labels_teach_nothing():
    data, recipe = bright_and_dark(120, noise=0.7), Recipe(1e-2, steps=40, batch_size=20)
    taught, misled = (build_method("linear", small_vit(), 2) for _ in range(2))
    assert len(with_shuffled_labels(misled, data, recipe, seed=1).train_loss) == 40
    from vptlib.tuning.training import fit

    fit(taught, data, None, recipe)
    assert evaluate(taught, data).accuracy > 0.95
    assert 0.2 < evaluate(misled, data).accuracy < 0.8


# ---- similarity --------------------------------------------------------------------------------------------------


def test_similarity_is_of_ranks_and_unknown_for_flat_maps():
    images = torch.zeros(3, 3, SIZE, SIZE)
    maps = random_maps(images, GRID)
    np.testing.assert_allclose(likeness(maps, maps**3, GRID), 1, atol=0.05)
    np.testing.assert_allclose(likeness(maps, 1 - maps, GRID), -1, atol=1e-6)
    assert np.isnan(likeness(maps, 0 * maps, GRID)).all()


def test_agreement_is_a_square_with_ones():
    images = torch.zeros(200, 3, SIZE, SIZE)
    a, b = random_maps(images, GRID, 1), random_maps(images, GRID, 2)
    table = agreement({"a": a, "also a": a, "b": b}, GRID)
    assert table.loc["a", "also a"] == pytest.approx(1) and table.loc["b", "b"] == 1
    assert abs(table.loc["a", "b"]) < 0.1 and (table.values == table.values.T).all()


def test_pooling_takes_the_mean_of_each_patch():
    maps = np.zeros((1, SIZE, SIZE), np.float32)
    maps[0, 14:28, 0:14] = 1
    assert pooled(maps, GRID)[0].tolist() == [0] * 4 + [1] + [0] * 11


# ---- the scale of similarity --------------------------------------------------------------------------------------


def planted_maps(count: int, common: float, shared: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """Two maps of each image: a part `common` to all images, and an own part of which the second map has `shared`."""
    base = common * np.random.default_rng(3).normal(size=(1, 6, 6))
    own, noise = rng.normal(size=(2, count, 6, 6))
    return base + own, base + shared * own + np.sqrt(1 - shared**2) * noise


@pytest.mark.parametrize("common", [0.0, 1.0])
def test_the_scale_takes_out_what_maps_of_all_images_share(common):
    rng = np.random.default_rng(0)
    unrelated, maps = (planted_maps(1500, common, 0, rng) for _ in range(2))
    scale = scale_of(unrelated[0], (6, 6))
    assert (scale.null > 0.3) == (common > 0)
    assert interval(scale.place(likeness(*unrelated, (6, 6))))[0] == pytest.approx(0, abs=0.02)
    assert interval(scale.place(likeness(maps[0], maps[0], (6, 6))))[0] == pytest.approx(1)


def test_maps_of_equal_places_leave_no_scale():
    blob = np.array(centre_maps(torch.zeros(8, 3, SIZE, SIZE)))
    assert not scale_of(blob, GRID).usable
    assert np.isnan(scale_of(0 * blob, GRID).null) and not scale_of(0 * blob, GRID).usable


# ---- intervals ------------------------------------------------------------------------------------------------------


def coverage(truth: float, draw, repeats: int = 1000, **options) -> float:
    found = np.array([interval(draw(), **options) for _ in range(repeats)])
    return float(((found[:, 1] <= truth) & (truth <= found[:, 2])).mean())


@pytest.mark.parametrize("images", [8, 24])
def test_an_interval_over_few_images_covers_what_it_promises(images):
    rng = np.random.default_rng(0)
    assert coverage(2 / 7, lambda: rng.beta(2, 5, images)) > 0.92
    assert coverage(0, lambda: rng.normal(size=images)) > 0.93


def test_an_interval_of_similarity_covers_what_it_promises():
    rng = np.random.default_rng(0)
    for common in (0, 1):
        a, b = planted_maps(2000, common, 0.6, rng)
        truth = interval(scale_of(a, (6, 6)).place(likeness(a, b, (6, 6))))[0]

        def draw(common=common):
            a, b = planted_maps(8, common, 0.6, rng)
            return scale_of(a, (6, 6)).place(likeness(a, b, (6, 6)))

        assert coverage(truth, draw, 400) > 0.92


def test_an_interval_over_random_models_and_images_covers_what_it_promises():
    rng = np.random.default_rng(0)
    for spread in (0, 1, 3):
        assert coverage(0, lambda s=spread: s * rng.normal(size=(10, 1)) + rng.normal(size=(10, 8))) > 0.92


@pytest.mark.parametrize("pointed, of_blob", [(0.95, 0.7), (0.98, 0.95), (0.85, 0.0), (0.6, 0.3)])
@pytest.mark.parametrize("images", [8, 24])
def test_an_interval_of_pointing_covers_what_it_promises(pointed, of_blob, images):
    rng = np.random.default_rng(0)

    def draw():
        return (rng.random(images) < pointed) * 1.0 - (rng.random(images) < of_blob)

    assert coverage(pointed - of_blob, draw, 500, ends=1) > 0.93


def test_an_interval_leaves_out_what_is_not_known():
    mean, low, high = interval(np.array([1.0, 2.0, 3.0, np.nan]))
    assert (mean, low, high) == pytest.approx((2, 2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=1e-3)
    assert np.isnan(interval(np.array([np.nan]))).all()
    assert interval(np.array([1.0]))[0] == 1 and np.isnan(interval(np.array([1.0]))[1])


def test_the_images_needed_settle_the_question_as_often_as_promised():
    rng = np.random.default_rng(0)
    needed = images_needed(rng.normal(0.6, 1, 20_000))
    assert 20 <= needed <= 30
    settled = np.mean([interval(rng.normal(0.6, 1, needed))[1] > 0 for _ in range(1000)])
    assert 0.75 < settled < 0.87
    assert images_needed(np.array([1.0, -1.0] * 10)) is None  # exactly the limit
    models = np.repeat([[1.0], [-0.9]], 30, axis=1) + rng.normal(0, 0.1, (2, 30))
    assert images_needed(models) is None  # it hangs on the random model, not on the images


def test_maps_of_another_shape_are_refused(planted):
    model, images, masks = planted
    with pytest.raises(UserError, match="one map for each"):
        deletion_insertion(model, images, masks[:3])
    with pytest.raises(UserError, match="not finite"):
        judge(model, images, np.full_like(masks, np.nan))


def test_every_kind_of_map_can_be_judged():
    model = build_method("vpt-shallow", small_vit(), 3, num_prompts=4).eval()
    images = draw_images(4)
    for method in EXPLANATIONS:
        findings = judge(model, images, explain(model, images, method=method, steps=4))
        assert [found.check for found in findings] == ["differences", "faithful"]
        assert all(sentence(found.statement) for found in findings)
