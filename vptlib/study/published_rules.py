"""The rules of a study: an equal budget for every method, or the protocol that the papers follow on VTAB-1k.

"equal budget" is the comparison that `vptlib.study` describes. "vtab-1k" is the experiment of Jia et al. (ECCV 2022,
arXiv 2203.12119, section 4.1 and appendix A) and Han et al. (ICLR 2024, arXiv 2401.12902, section 4.1): settings are
chosen on the 200 images that the task sets aside, then all 1,000 train with the chosen one. Rates and decays are the
ranges of the official code (`tune_vtab.py`); prompt lengths are those of the papers for a ViT. Known to differ from
that code: there AdamW decays by 0.01 at every decay of the grid but 0, and of settings equal on validation images the
one with the lower rate is taken; here AdamW decays as the setting says, and the lower validation loss decides.
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from vptlib.errors import UserError
from vptlib.tuning.methods import METHODS
from vptlib.tuning.training import Recipe

EQUAL, VTAB = "equal budget", "vtab-1k"
RULES = (EQUAL, VTAB)
ALL = "all"

# Base rates: the peak learning rate is the base rate × images a step / 256.
_SGD_RATES = (50.0, 25.0, 10.0, 5.0, 2.5, 1.0, 0.5, 0.25, 0.1, 0.05)
_ADAMW_RATES = (1e-3, 1e-4, 5e-4, 5e-3)
_DECAYS = (0.01, 0.001, 0.0001, 0.0)
_PROMPT_LENGTHS = (1, 5, 10, 50, 100, 200)
DEEP_DROPOUT = 0.1
# Method → optimiser, base rates, prompt lengths.
_GRIDS = {
    "linear": ("sgd", _SGD_RATES, (None,)),
    "vpt-shallow": ("sgd", _SGD_RATES, _PROMPT_LENGTHS),
    "vpt-deep": ("sgd", _SGD_RATES, _PROMPT_LENGTHS),
    "full": ("adamw", _ADAMW_RATES, (None,)),
}


@dataclass(frozen=True)
class Setting:
    """What the published rules choose by validation images.

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


def published_settings(method: str, batch_size: int, candidates: int | str) -> list[Setting]:
    """The first `candidates` ("all": every one) of a method's published settings, in an order drawn once and for all.

    Raises:
        UserError: the papers state no grid for the method, or fewer settings than `candidates`.
    """
    if method not in _GRIDS:
        raise UserError(f"the rules {VTAB!r} have no published grid for {method!r}: take of {', '.join(_GRIDS)}.")
    _, rates, lengths = _GRIDS[method]
    grid = [Setting(r * batch_size / 256, decay, p) for r, decay, p in product(rates, _DECAYS, lengths)]
    count = len(grid) if candidates == ALL else candidates
    if count > len(grid):
        raise UserError(f"candidates is {count}, but {method!r} has {len(grid)} published settings to try.")
    return [grid[k] for k in np.random.RandomState(0).permutation(len(grid))[:count]]


def published_recipe(method: str, setting: Setting, images: int, epochs: int, batch_size: int, seed: int) -> Recipe:
    """The training of `method` on so many images: `epochs` passes, a tenth of them warm-up; validated at the end."""
    return Recipe(
        setting.learning_rate,
        steps=steps_of(images, epochs, batch_size),
        batch_size=batch_size,
        weight_decay=setting.weight_decay,
        evaluations=1,
        seed=seed,
        optimiser=_GRIDS[method][0],
    )


def published_options(method: str, num_prompts: int | None) -> dict:
    """What `vptlib.build_method` needs beyond the method's name."""
    if num_prompts is None:
        return {}
    return {"num_prompts": num_prompts} | ({"dropout": DEEP_DROPOUT} if method == "vpt-deep" else {})


def steps_of(images: int, epochs: int, batch_size: int) -> int:
    """Optimiser steps in `epochs` passes over so many images."""
    return math.ceil(epochs * images / min(batch_size, images))


def published_sentences(
    methods: tuple[str, ...], candidates: int | str, epochs: int, batch_size: int, official_split: bool
) -> dict[str, str]:
    """The published rules with a study's figures, label to sentence."""
    counts = {method: len(published_settings(method, batch_size, candidates)) for method in methods}
    if len(set(counts.values())) == 1:
        tried = f"{counts[methods[0]]} for every method"
    else:
        tried = ", ".join(f"{METHODS[method].title} {count}" for method, count in counts.items())
        tried += " (a larger grid is a larger chance to find a good setting: the published grids are not equal)"
    if candidates != ALL:
        tried += ", the first of an order drawn once from the published grid (seed 0)"
    optimiser, passes = {"sgd": "SGD", "adamw": "AdamW"}, f"{epochs} pass{'es' if epochs > 1 else ''}"
    by_optimiser = [f"{METHODS[name].title} with {optimiser[_GRIDS[name][0]]}" for name in methods]
    return {
        "Tuning": "Settings (learning rate, weight decay, prompt length) are chosen on the images that "
        + ("the task sets aside (val200.txt)" if official_split else "were set aside (a fifth, stratified)")
        + ", by accuracy after the last step and of equals by the lower loss, with the first seed alone. "
        + f"Tried: {tried}.",
        "Final run": "All n images train with the chosen setting, one run a seed. Nothing is chosen afterwards: the "
        "weights after the last step are tested. A run that diverges counts with what it then predicts.",
        "Training": f"{passes} over the images, up to {batch_size} a step, linear warm-up over the first tenth, "
        f"cosine decay, no augmentation: {', '.join(by_optimiser)} (momentum 0.9 with SGD).",
        "Prompts": f"Their number is part of the setting ({', '.join(map(str, _PROMPT_LENGTHS))}); deep prompts have a "
        f"dropout of {DEEP_DROPOUT:g}.",
    }
