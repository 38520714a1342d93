"""The rules of a study: equal budgets, training until done, or the protocol that the papers follow on VTAB-1k.

"equal budget" gives every run the same number of steps. "until done" (`vptlib.study.done_rules`) trains every run until
it is done. "vtab-1k" is the experiment of Jia et al. (ECCV
2022, arXiv 2203.12119, section 4.1 and appendix A) and Han et al. (ICLR 2024, arXiv 2401.12902, section 4.1). A setting
is chosen on the 200 images that the task sets aside; then all 1,000 images train with it. Learning rates and weight
decays are the ranges of the official code (`tune_vtab.py`). Prompt lengths are those of the papers for a ViT.

Two things are known to differ from that code. There AdamW decays by 0.01 for every decay of the grid except 0; here it
decays by the value of the setting. Where two settings are equal on validation images, that code takes the lower rate;
here the lower validation loss decides.
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal

import numpy as np

from vptlib.errors import UserError
from vptlib.tuning.training import Recipe

EQUAL, DONE, VTAB = "equal budget", "until done", "vtab-1k"
RULES = (EQUAL, DONE, VTAB)
ALL: Final = "all"

# Base rates: the peak learning rate is base rate × images per step / 256.
_SGD_RATES = (50.0, 25.0, 10.0, 5.0, 2.5, 1.0, 0.5, 0.25, 0.1, 0.05)
_ADAMW_RATES = (1e-3, 1e-4, 5e-4, 5e-3)
_DECAYS = (0.01, 0.001, 0.0001, 0.0)
PROMPT_LENGTHS = (1, 5, 10, 50, 100, 200)
DEEP_DROPOUT = 0.1
# Method → optimiser, base rates, prompt lengths.
_GRIDS: dict[str, tuple[str, tuple[float, ...], tuple[int | None, ...]]] = {
    "linear": ("sgd", _SGD_RATES, (None,)),
    "vpt-shallow": ("sgd", _SGD_RATES, PROMPT_LENGTHS),
    "vpt-deep": ("sgd", _SGD_RATES, PROMPT_LENGTHS),
    "full": ("adamw", _ADAMW_RATES, (None,)),
}


@dataclass(frozen=True)
class Setting:
    """What the published rules choose on validation images.

    Attributes:
        learning_rate: peak, for the batch size of the study.
        weight_decay: as in `vptlib.tuning.training.Recipe`.
        num_prompts: per prompted layer, or None for a method without prompts.
    """

    learning_rate: float
    weight_decay: float
    num_prompts: int | None

    @property
    def label(self) -> str:
        """Such as "lr 0.625, decay 0.01, 50 prompts"."""
        prompts = "" if self.num_prompts is None else f", {self.num_prompts} prompts"
        return f"lr {self.learning_rate:g}, decay {self.weight_decay:g}{prompts}"


def published_settings(method: str, batch_size: int, candidates: int | Literal["all"]) -> list[Setting]:
    """The first `candidates` (or "all") of a method's published settings, in a random but fixed order.

    Raises:
        UserError: the papers state no grid for the method, or it has fewer settings than `candidates`.
    """
    if method not in _GRIDS:
        raise UserError(f"the rules {VTAB!r} have no published grid for {method!r}: take one of {', '.join(_GRIDS)}.")
    _, rates, lengths = _GRIDS[method]
    grid = [Setting(r * batch_size / 256, decay, p) for r, decay, p in product(rates, _DECAYS, lengths)]
    count = len(grid) if candidates == ALL else candidates
    if count > len(grid):
        raise UserError(f"candidates is {count}, but {method!r} has {len(grid)} published settings to try.")
    return [grid[k] for k in np.random.RandomState(0).permutation(len(grid))[:count]]


def published_optimiser(method: str) -> str:
    """ "sgd" or "adamw": what the papers train a method with; it must have a published grid."""
    return _GRIDS[method][0]


def published_recipe(method: str, setting: Setting, images: int, epochs: int, batch_size: int, seed: int) -> Recipe:
    """The training of `method` on `images` images: `epochs` passes, a tenth of them warm-up; validated at the end."""
    return Recipe(
        setting.learning_rate,
        steps=steps_of(images, epochs, batch_size),
        batch_size=batch_size,
        weight_decay=setting.weight_decay,
        evaluations=1,
        seed=seed,
        optimiser=_GRIDS[method][0],
        fused=True,
    )


def published_options(method: str, num_prompts: int | None) -> dict:
    """The options for `vptlib.build_method`."""
    if num_prompts is None:
        return {}
    return {"num_prompts": num_prompts} | ({"dropout": DEEP_DROPOUT} if method == "vpt-deep" else {})


def steps_of(images: int, epochs: int, batch_size: int) -> int:
    """Optimiser steps in `epochs` passes over `images` images."""
    return math.ceil(epochs * images / min(batch_size, images))
