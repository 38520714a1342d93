"""Images with more than 8 bits a value (deep ones) as 8 bits, by the values that stand for black and white.

Pillow has deep greys as whole numbers of 16 or 32 bits, and as floats of 32 bits. Deep colours come as two images of
8 bits, the high and the low bytes. All work is done on strips of rows, so that a large image
needs little memory on top of itself.
"""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

Range = tuple[float, float]  # the values that become black and white
# Without a range of the set, whole numbers count as 16 bits and floats as 0 to 1.
USUAL = {"whole": (0.0, 65535.0), "float": (0.0, 1.0)}
_STRIP = 2**20  # pixels
_NO_NUMBER = 1e30  # floats beyond this mean "no value", as -3.4e38 in maps


def kind_of(mode: str) -> str | None:
    """ "whole" or "float" if grey images of this Pillow mode are deep, else None."""
    if mode == "F":
        return "float"
    return "whole" if mode.split(";")[0] == "I" else None


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """An image in strips of whole rows, each with the number of its first row."""
    rows = max(1, _STRIP // max(1, image.width))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def by_strips(image: Image.Image, mode: str, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`change` applied to an image strip by strip; the result has the same size and this mode."""
    changed = Image.new(mode, image.size)
    for top, strip in strips(image):
        changed.paste(change(strip), (0, top))
    return changed


def values_of(strip: Image.Image, unsigned: bool = False, no_value: float | None = None) -> np.ndarray:
    """The greys of a deep image, `H W`: uint16, int32, uint32 or float32; NaN where a float stands for no value.

    Args:
        strip: the image, or a part of it.
        unsigned: Pillow's 32-bit whole numbers are those of a file without signs.
        no_value: a number that stands for "no value" in this file.
    """
    values = np.asarray(strip)
    if values.dtype == np.int32 and unsigned:
        return values.view(np.uint32)
    if values.dtype == np.float32:
        missing = np.isnan(values) | ((np.abs(values) > _NO_NUMBER) & np.isfinite(values))
        if no_value is not None:
            missing |= values == np.float32(no_value)
        return np.where(missing, np.float32(np.nan), values) if missing.any() else values
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Greys as uint8: `low` and below, and NaN, become 0; `high` and above become 255."""
    exact = values.astype(np.float32 if values.dtype == np.float32 else np.float64)
    exact -= exact.dtype.type(low)
    exact /= exact.dtype.type(high - low)
    np.nan_to_num(exact, copy=False, nan=0, posinf=1, neginf=0)
    return np.rint(255 * exact.clip(0, 1)).astype(np.uint8)


def table_of(low: float, high: float) -> np.ndarray:
    """What each 16-bit value becomes, uint8 `65536`."""
    return scaled(np.arange(65536, dtype=np.uint16), low, high)


def eight_bits(
    image: Image.Image, grey: Range | None, unsigned: bool = False, no_value: float | None = None
) -> Image.Image:
    """A deep grey image as mode "L".

    Args:
        image: of a mode for which `kind_of` is not None.
        grey: the values that become black and white; by default those of `USUAL`.
        unsigned, no_value: as in `values_of`.
    """
    low, high = grey or USUAL[kind_of(image.mode) or "whole"]
    table = table_of(low, high)

    def change(strip: Image.Image) -> Image.Image:
        values = values_of(strip, unsigned, no_value)
        return Image.fromarray(table[values] if values.dtype == np.uint16 else scaled(values, low, high))

    return by_strips(image, "L", change)


def merged(high: Image.Image, low: Image.Image, grey: Range) -> Image.Image:
    """Deep colours in 8 bits, from the high and the low bytes of their values (two RGB or RGBA images of one size).

    All colours share one range. Alpha keeps its high byte.
    """
    table = table_of(*grey)
    for top, strip in strips(high):
        upper = np.array(strip)  # H W C
        lower = np.asarray(low.crop((0, top, low.width, top + strip.height)))
        upper[..., :3] = table[upper[..., :3].astype(np.uint16) << 8 | lower[..., :3]]
        high.paste(Image.fromarray(upper), (0, top))
    return high
