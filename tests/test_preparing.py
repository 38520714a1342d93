"""vptlib.data.preparing: images become square in three ways, by file and by array alike."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from models import small_vit
from pictures import flag, put, smooth

from vptlib.data import preparing
from vptlib.data.files import ASPECTS, PAD_GREY, ImageFiles, LazyImages, squared
from vptlib.data.preparing import ImageSet, Preprocessing, as_the_model_sees, aspect_in_effect, prepare
from vptlib.errors import UserError
from vptlib.tuning.backbones import default_aspect, preprocessing
from vptlib.tuning.methods import build_method
from vptlib.tuning.promptfile import read_card, save_prompts

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)

pytestmark = pytest.mark.usefixtures("own_cache")


def wanted(size, aspect="squash", interpolation="bicubic"):
    return Preprocessing(size, MEAN, STD, interpolation, aspect)


def array_of(*pictures):
    return ImageSet(np.stack([np.asarray(picture) for picture in pictures]), np.zeros(len(pictures), np.int64))


def files_of(folder, *pictures):
    paths = [put(folder / f"{k}.png", picture) for k, picture in enumerate(pictures)]
    return LazyImages(ImageFiles(paths), np.arange(len(paths)), np.zeros(len(paths), np.int64))


def seen(images, how):
    """What `prepare` gives, without the normalisation: 0 to 255, `N S S 3`."""
    pixels = prepare(images, how).tensors[0].permute(0, 2, 3, 1)  # N S S 3
    return (pixels * torch.tensor(how.std) + torch.tensor(how.mean)).numpy() * 255


# ---- arrays and files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["array", "files"])
def test_a_crop_of_a_flag_is_its_middle_stripe_and_padding_adds_grey_bars(tmp_path, kind):
    images = array_of(flag()) if kind == "array" else files_of(tmp_path, flag())
    (crop,), (pad,) = seen(images, wanted(30, "crop")), seen(images, wanted(30, "pad"))
    np.testing.assert_allclose(crop, np.broadcast_to([0, 255, 0], (30, 30, 3)), atol=1e-3)
    np.testing.assert_allclose(pad[:10], PAD_GREY, atol=1e-3)
    np.testing.assert_allclose(pad[20:], PAD_GREY, atol=1e-3)
    np.testing.assert_allclose(pad[10:20, [5, 15, 25]], np.broadcast_to(255 * np.eye(3), (10, 3, 3)), atol=1e-3)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize(("width", "height"), [(90, 61), (61, 90), (40, 13), (28, 50)])
def test_by_file_and_by_array_an_image_is_the_same(tmp_path, width, height, aspect, interpolation):
    picture = smooth(5, 40).resize((width, height)).point(lambda grey: 60 + grey // 2)  # far from where Pillow clips
    how = wanted(28, aspect, interpolation)
    by_array, by_file = seen(array_of(picture), how), seen(files_of(tmp_path, picture), how)
    assert np.abs(by_array - by_file).max() < 1.5  # Pillow rounds after each axis


def test_squashing_an_array_is_one_interpolation_as_before():
    images = np.random.default_rng(0).integers(0, 256, (2, 60, 100, 3), dtype=np.uint8)
    pixels = torch.tensor(images).permute(0, 3, 1, 2).float() / 255  # B 3 H W
    scaled = torch.nn.functional.interpolate(pixels, (28, 28), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    found = prepare(ImageSet(images, np.array([0, 1])), Preprocessing(28, MEAN, STD, "bicubic")).tensors[0]
    assert torch.equal(found, (scaled - mean) / std)


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("side", [8, 28, 64])
def test_square_arrays_are_the_same_under_every_aspect(side, aspect):
    images = array_of(smooth(1, side), smooth(2, side))
    assert torch.equal(prepare(images, wanted(28, aspect)).tensors[0], prepare(images, wanted(28)).tensors[0])


@pytest.mark.parametrize("shape", [(40, 8000), (8000, 40), (1, 3000), (3000, 1)])
@pytest.mark.parametrize("aspect", ASPECTS)
def test_arrays_of_extreme_shapes_become_squares(shape, aspect):
    images = ImageSet(np.full((1, *shape, 3), 200, np.uint8), np.array([0]))
    (found,) = seen(images, wanted(56, aspect))
    values = set(np.rint(found).astype(int).ravel().tolist())
    assert found.shape == (56, 56, 3) and values == ({200, PAD_GREY} if aspect == "pad" else {200})


@pytest.mark.parametrize("aspect", ASPECTS)
def test_a_large_set_has_the_same_aspect_batch_by_batch(tmp_path, monkeypatch, aspect):
    pictures = [smooth(k, 40).resize((60, 40)) for k in range(3)]
    for images in (array_of(*pictures), files_of(tmp_path, *pictures)):
        whole = prepare(images, wanted(14, aspect)).tensors[0]
        with monkeypatch.context() as patch:
            patch.setattr(preparing, "MOST_PREPARED_BYTES", 10)
            by_batch = prepare(images, wanted(14, aspect)).tensors[0]
        assert isinstance(by_batch, preparing.LazyPixels) and torch.equal(by_batch[:], whole)


@pytest.mark.parametrize("kind", ["array", "files"])
@pytest.mark.parametrize("aspect", ASPECTS)
def test_what_is_shown_is_what_the_model_gets(tmp_path, kind, aspect):
    pictures = [smooth(k, 40).resize((60, 40)) for k in range(3)]
    images = array_of(*pictures) if kind == "array" else files_of(tmp_path, *pictures)
    found = as_the_model_sees(images.select(np.array([2, 0])), wanted(14, aspect))
    assert found.dtype == np.uint8 and found.shape == (2, 14, 14, 3)
    assert np.abs(found - seen(images, wanted(14, aspect))[[2, 0]]).max() <= 0.51  # rounded
    if kind == "files":
        np.testing.assert_array_equal(found[1], np.asarray(squared(pictures[0], 14, "bicubic", aspect)))


def test_showing_keeps_nothing(tmp_path):
    as_the_model_sees(files_of(tmp_path, flag()), wanted(14, "crop"))
    assert not (tmp_path / "cache").exists()


def test_only_oblong_images_have_an_aspect(tmp_path):
    square, oblong = smooth(1, 20), flag(30, 20)
    assert aspect_in_effect(array_of(square), "crop") == "squash" and aspect_in_effect(array_of(oblong), "pad") == "pad"
    of_files = files_of(tmp_path, square, oblong)
    assert aspect_in_effect(of_files, "crop") == "crop"
    assert aspect_in_effect(files_of(tmp_path / "other", square, square), "crop") == "squash"
    assert aspect_in_effect(of_files.select(np.array([0])), "crop") == "crop"  # it belongs to the whole task


# ---- of a backbone, and in a prompt file ----------------------------------------------------------------------------


def test_an_aspect_that_does_not_exist_is_named():
    with pytest.raises(UserError, match=r"aspect is 'stretch', but must be one of squash, crop, pad\."):
        wanted(8, "stretch")


@pytest.mark.parametrize(("mode", "aspect"), [("center", "crop"), ("squash", "squash"), ("border", "pad")])
def test_a_backbone_has_the_aspect_of_its_pre_training(mode, aspect):
    vit = small_vit()
    vit.pretrained_cfg = {"crop_mode": mode}
    assert default_aspect(vit) == preprocessing(vit, "auto").aspect == aspect
    assert preprocessing(vit).aspect == "squash" and preprocessing(vit, "pad").aspect == "pad"
    vit.aspect = "crop"
    assert preprocessing(vit).aspect == "crop" and preprocessing(vit, "squash").aspect == "squash"


def test_a_card_gives_back_its_aspect_and_one_without_is_squashed(tmp_path):
    vit = small_vit()
    vit.aspect = "crop"
    save_prompts(build_method("vpt-deep", vit, 2), tmp_path / "a.safetensors")
    card = read_card(tmp_path / "a.safetensors")
    assert card.preprocessing == preprocessing(vit) and card.preprocessing.aspect == "crop"
    stored = json.loads(json.dumps(dataclasses.asdict(card.preprocessing)))
    del stored["aspect"]
    assert Preprocessing(**stored).aspect == "squash"
