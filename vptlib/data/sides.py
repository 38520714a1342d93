"""What images of these sizes lose when a model sees them: as a small square."""

import numpy as np
import pandas as pd

from vptlib.data.findings import Finding
from vptlib.statement import statement

SMALL = 32  # pixels: a shorter side is worth a note
# The embedded backbone (vptlib.tuning.backbones): side of a patch, and the input sizes that it might take, in pixels.
PATCH = 14
MODEL_SIZES = (56, 112, 168, 224)
MIXED = 10  # warn if the largest image has this many times the side of the smallest
APART = 3  # images with this many times the side of the typical image, or as many times less, are counted as apart
LONG = 0.5  # warn if a crop of the typical image loses this share of its area
NAMED = 3  # files that are too small


def as_the_model_sees(whole: pd.DataFrame) -> list[Finding]:
    """What these images lose as a small square.

    Args:
        whole: a row for each image that can be read: width, height (pixels) and path.
    """
    if whole.empty:
        return []
    sides = whole[["width", "height"]].to_numpy()  # N 2
    return [_image_sizes(sides), _detail(sides), *_shape(sides), *_mixed(sides), *_below_a_patch(whole), *_small(sides)]


def _image_sizes(sides: np.ndarray) -> Finding:
    spans = [[int(end) for end in (sides[:, k].min(), sides[:, k].max())] for k in range(2)]
    what = statement("image_sizes", typical=_typical(sides), widths=spans[0], heights=spans[1], model=list(MODEL_SIZES))
    return Finding("note", what)


def _typical(sides: np.ndarray) -> list[int]:
    """Width and height of the image whose area is the median: the size of a real image, whatever the mixture."""
    order = np.lexsort((sides[:, 0], sides.prod(axis=1)))
    return sides[order[(len(order) - 1) // 2]].tolist()


def _detail(sides: np.ndarray) -> Finding:
    """How many pixels of the typical image become one pixel of the model, at each size that shrinks it."""
    if sides.max() <= MODEL_SIZES[0]:
        return Finding("note", statement("nothing_lost", size=MODEL_SIZES[0]))
    width, height = _typical(sides)
    covered = [[size, max(1, width / size), max(1, height / size)] for size in MODEL_SIZES if size < max(width, height)]
    whole_at = next((size for size in MODEL_SIZES if size >= max(width, height)), None)
    return Finding("note", statement("detail_lost", covered=covered, whole_at=whole_at))


def _shape(sides: np.ndarray) -> list[Finding]:
    """What becomes of images that are not square: a crop loses, and padding wastes, the same share of an area."""
    lost = 1 - sides.min(axis=1) / sides.max(axis=1)
    if not lost.any():
        return []
    typical, most = float(np.median(lost)), float(lost.max())
    what = statement(
        "shape_lost",
        oblong=int((lost > 0).sum()),
        images=len(lost),
        typical=typical,
        most=most,
        over=LONG,
        above=int((lost > LONG).sum()),
    )
    return [Finding("warning" if typical > LONG else "note", what)]


def _mixed(sides: np.ndarray) -> list[Finding]:
    side = np.sqrt(sides.prod(axis=1))  # of a square of the same area
    if side.max() < MIXED * side.min():
        return []
    usual = np.median(side)
    what = statement(
        "sizes_mixed",
        smallest=sides[side.argmin()].tolist(),
        largest=sides[side.argmax()].tolist(),
        times=APART,
        below=int((side * APART < usual).sum()),
        above=int((side > APART * usual).sum()),
        images=len(side),
    )
    return [Finding("warning", what)]


def _below_a_patch(whole: pd.DataFrame) -> list[Finding]:
    tiny = whole[whole[["width", "height"]].min(axis=1) < PATCH]
    if tiny.empty:
        return []
    names = tiny["path"].head(NAMED).tolist()
    what = statement("below_a_patch", tiny=len(tiny), images=len(whole), patch=PATCH, names=names)
    return [Finding("warning", what)]


def _small(sides: np.ndarray) -> list[Finding]:
    small = int((sides.min(axis=1) < SMALL).sum())
    return [Finding("note", statement("small_images", images=small, side=SMALL))] if small else []
