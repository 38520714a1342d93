"""vptlib.prompting.placement and initial_values: other positions for prompts, and first values taken from images."""

import copy

import models
import pytest
import torch
from models import redraw, small_vit
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.prompting.blocks import embed
from vptlib.prompting.initial_values import class_means, cluster_centres
from vptlib.prompting.placement import AddedPrompts, FramedImages, PixelPrompts
from vptlib.prompting.vit import PromptedViT


@pytest.fixture
def vit():
    return small_vit(num_classes=3, depth=3).double()


def draw_images(count=4):
    return models.draw_images(count, seed=0, dtype=torch.float64)


def randomise(model):
    redraw([model.prompts], seed=5)
    return model


def trained(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


# ---- added ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("deep", [True, False], ids=["deep", "shallow"])
def test_added_prompts_are_added_to_the_patches_and_to_nothing_else(vit, count, deep):
    model = randomise(AddedPrompts(copy.deepcopy(vit), count, deep=deep))
    tokens = embed(vit, draw_images())
    for number, block in enumerate(vit.blocks):
        if deep or number == 0:
            tokens = tokens.clone()
            tokens[:, 1:] += model.prompts[number]
        tokens = block(tokens)
    torch.testing.assert_close(model(draw_images()), vit.forward_head(vit.norm(tokens)), rtol=1e-12, atol=1e-12)
    assert trained(model) == {"prompts", "vit.head.weight", "vit.head.bias"}


def test_added_zeros_are_the_plain_backbone(vit):
    model = AddedPrompts(copy.deepcopy(vit), 4, deep=True, init="zero")
    torch.testing.assert_close(model(draw_images()), vit(draw_images()), rtol=1e-12, atol=1e-12)


def test_added_prompts_must_fit_the_patches(vit):
    with pytest.raises(UserError, match=r"num_prompts is 3.*1 .*4"):
        AddedPrompts(vit, 3)


# ---- patches of pixels ------------------------------------------------------------------------------------------


def test_pixel_prompts_are_embedded_as_the_image_is(vit):
    model = randomise(PixelPrompts(copy.deepcopy(vit), 2))
    assert model.prompts.shape == (1, 2, 3 * 14 * 14)
    patches = model.prompts[0].reshape(2, 3, 14, 14)
    embedded = vit.patch_embed.proj(patches).flatten(1)  # 2 D, without positions
    shallow = PromptedViT(copy.deepcopy(vit), 2, deep=False, init=embedded[None])
    torch.testing.assert_close(model(draw_images()), shallow(draw_images()), rtol=1e-12, atol=1e-12)
    model(draw_images()).sum().backward()
    assert model.prompts.grad.abs().max() > 0


# ---- a frame of pixels ------------------------------------------------------------------------------------------


def test_a_frame_surrounds_the_shrunken_image(vit):
    model = randomise(FramedImages(copy.deepcopy(vit), 3))
    images = draw_images(2)
    framed = model.framed(images)
    inner = F.interpolate(images, (22, 22), mode="bilinear", antialias=True)
    torch.testing.assert_close(framed[:, :, 3:-3, 3:-3], inner, rtol=0, atol=0)
    assert model.prompts.shape == (1, 3, 28 * 28 - 22 * 22)
    for channel in range(3):  # pixel after pixel, row by row
        values = iter(model.prompts[0, channel].tolist())
        for row in range(28):
            for column in range(28):
                if not (3 <= row < 25 and 3 <= column < 25):
                    assert framed[1, channel, row, column].item() == next(values)
    torch.testing.assert_close(model(images), vit(framed), rtol=1e-12, atol=1e-12)
    model(images).sum().backward()
    assert (model.prompts.grad.abs() > 0).all()
    assert trained(model) == {"prompts", "vit.head.weight", "vit.head.bias"}


@pytest.mark.parametrize("width", [0, 14, -1])
def test_a_frame_must_leave_an_image(vit, width):
    with pytest.raises(UserError, match=f"num_prompts is {width}.*1 to 13"):
        FramedImages(vit, width)


# ---- first values from images -----------------------------------------------------------------------------------


def test_class_means_are_the_means_of_what_enters_each_layer(vit):
    images, labels = draw_images(6), torch.tensor([0, 1, 2, 0, 1, 0])
    found = class_means(vit, images, labels, "every 2")
    assert found.shape == (2, 3, 32)
    for k, number in enumerate((0, 2)):
        for c in range(3):
            tokens = []
            for image in images[labels == c]:
                x = embed(vit, image[None])
                for block in vit.blocks[:number]:
                    x = block(x)
                tokens += list(x[0, 1:])
            torch.testing.assert_close(found[k, c], torch.stack(tokens).mean(dim=0), rtol=1e-10, atol=1e-10)
    assert PromptedViT(vit, 3, layers="every 2", init=found)(images).shape == (6, 3)


def test_a_class_without_images_is_named(vit):
    with pytest.raises(UserError, match="class 1"):
        class_means(vit, draw_images(2), torch.tensor([0, 2]), "first 1")


def test_cluster_centres_find_groups_of_tokens(vit):
    light, dark = torch.full((3, 3, 28, 28), 2.0).double(), torch.full((3, 3, 28, 28), -2.0).double()
    images = torch.cat([light, dark]) + 0.01 * draw_images(6)
    vit.pos_embed.data.zero_()
    found = cluster_centres(vit, images, 2, "first 1")[0]  # 2 D
    tokens = embed(vit, images)[:, 1:]
    means = torch.stack([tokens[:3].flatten(0, 1).mean(0), tokens[3:].flatten(0, 1).mean(0)])
    order = [0, 1] if (found[0] - means[0]).norm() < (found[0] - means[1]).norm() else [1, 0]
    torch.testing.assert_close(found[order], means, rtol=0.05, atol=0.05)
    again = cluster_centres(vit, images, 2, "first 1")[0]
    torch.testing.assert_close(found, again, rtol=0, atol=0)


def test_more_centres_than_tokens_are_refused(vit):
    with pytest.raises(UserError, match=r"num_prompts is 9.*8"):
        cluster_centres(vit, draw_images(2), 9, "first 1")
