"""Light augmentation: training images that change a little at each step, in the same way for every method.

It depends on the seed and the number of the step alone, not on torch's random numbers. So all methods and all
candidates of a run get the same images, and a run that is stopped and goes on gets them too.
"""

import numpy as np
import torch
from torch import Tensor

# "light" mirrors no image, because a label may depend on left and right: an orientation, a letter, a side of the body.
AUGMENTATIONS = ("none", "light", "light+mirror")
NONE, LIGHT, MIRROR = AUGMENTATIONS
SHIFT = 16  # an image is shifted by up to 1/16 of its side
CHANGE = 0.1  # its brightness and its contrast are changed by up to this share


def augmented(
    images: Tensor,
    kind: str,
    seed: int,
    step: int,
    black: Tensor,
    batch: int | None = None,
    share: slice = slice(None),
) -> Tensor:
    """The images `B 3 H W` as step number `step` of a training with this seed sees them, `B 3 H W`.

    - Each image is shifted by up to `1/SHIFT` of its side in x and in y, by whole pixels, so that none is blurred. What
      is missing at an edge is reflected there.
    - Its brightness and its contrast are multiplied by factors from `1 - CHANGE` to `1 + CHANGE`. Brightness multiplies
      the distance from black. In normalised pixels black is `-mean / std` of a channel, not 0. Contrast multiplies the
      distance from the channel's mean in this image; there the normalisation makes no difference. A bright pixel may
      become brighter than white: nothing is cut off.
    - With "light+mirror", a coin decides for each image whether left and right change places.

    Args:
        images: normalised pixels.
        kind: one of `AUGMENTATIONS`; "none" gives the images as they are.
        seed: of the training, 0 or more.
        step: 0, 1, ...
        black: the normalised value of black in each channel, `3`.
        batch, share: where `images` are a share of the step's images: how many those are, and which ones are given.
            They change in the same way as they would among all.
    """
    if kind == NONE:
        return images
    height, width = images.shape[2:]
    count, draw = len(images) if batch is None else batch, np.random.default_rng((seed, step))
    rows, columns = (_shifted(side, draw, count)[share].to(images.device) for side in (height, width))  # B H, B W
    brightness, contrast = (_factors(draw, count)[share].to(images) for _ in range(2))  # B 1 1 1
    if kind == MIRROR:  # drawn last: all else is as in "light"
        mirrored = torch.from_numpy(draw.random(count) < 0.5)[share].to(images.device)
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    moved = _picked(images, rows, columns)
    black = black.to(images).view(1, 3, 1, 1)
    mean = moved.mean(dim=(2, 3), keepdim=True)  # B 3 1 1
    return black + brightness * (mean - black) + brightness * contrast * (moved - mean)


def _shifted(side: int, draw: np.random.Generator, count: int) -> Tensor:
    """For each image, from which row (or column) of the image each of its rows comes, int64 `B side`."""
    most = side // SHIFT
    shifts = torch.from_numpy(draw.integers(-most, most, size=count, endpoint=True))
    beyond = (torch.arange(side) + shifts[:, None]).abs()  # B side; reflected at 0
    last = side - 1
    return last - (last - beyond).abs()  # reflected at the other edge


def _factors(draw: np.random.Generator, count: int) -> Tensor:
    return torch.from_numpy(draw.uniform(1 - CHANGE, 1 + CHANGE, size=(count, 1, 1, 1)))


def _picked(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Rows `B H` and columns `B W` of the images `B 3 H W`."""
    count, channels, height, width = images.shape
    wide = images.gather(2, rows[:, None, :, None].expand(count, channels, height, width))
    return wide.gather(3, columns[:, None, None, :].expand(count, channels, height, width))
