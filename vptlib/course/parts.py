"""Drawn images of metal parts, for the final project: a folder that looks like one of a user, made in a second."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("good", "hole", "scratch")
_SIDE = 64  # pixels


def draw_folder(folder: Path, number: int, seed: int = 0) -> None:
    """Draw labelled images: a sub-folder for each of `KINDS`, with so many PNG files each."""
    random = np.random.default_rng(seed)
    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for count in range(number):
            _save(draw_part(kind, random), folder / kind / f"{count:03}.png")


def draw_new(folder: Path, number: int, light: Sequence[float] = (1.0,), seed: int = 1) -> dict[str, str]:
    """Draw images without labels, the kinds by chance.

    Args:
        number: how many.
        light: of the lamp, one value after the other for equal parts of the images; 1 is that of `draw_folder`.

    Returns:
        File name → the true kind, which only whoever drew them knows.
    """
    random, truths = np.random.default_rng(seed), {}
    folder.mkdir(parents=True, exist_ok=True)
    for count in range(number):
        kind = KINDS[random.integers(len(KINDS))]
        truths[f"{count:03}.png"] = kind
        _save(draw_part(kind, random, light[count * len(light) // number]), folder / f"{count:03}.png")
    return truths


def draw_part(kind: str, random: np.random.Generator, light: float = 1.0) -> np.ndarray:
    """One part of a kind in `KINDS`, uint8 `H W 3`: a brushed plate with grain, and perhaps a defect.

    Args:
        light: the values are multiplied by it.
    """
    y, x = np.mgrid[:_SIDE, :_SIDE]
    plate = 150 + 5 * np.sin(x / random.uniform(3, 6) + random.uniform(0, 6)) + random.normal(0, 8, (_SIDE, _SIDE))
    row, column = random.uniform(18, _SIDE - 18, 2)
    if kind == "hole":
        plate[(x - column) ** 2 + (y - row) ** 2 < random.uniform(4, 8) ** 2] -= 90
    if kind == "scratch":
        turn, half = random.uniform(0, np.pi), random.uniform(10, 22)
        across = (x - column) * np.sin(turn) - (y - row) * np.cos(turn)
        along = (x - column) * np.cos(turn) + (y - row) * np.sin(turn)
        plate[(np.abs(across) < 1.3) & (np.abs(along) < half)] -= 70
    return np.repeat((light * plate).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _save(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path)
