"""Colours of 16 bits a value, which Pillow reads as their high bytes: the low bytes come from a second reading.

Pillow describes the data of a file by tiles, each with the order of its bytes. With the other order it reads the low
bytes, by the same decoder and with the same checks. PNM files of a depth that Pillow decodes in Python, a value at a
time, are read by NumPy.
"""

import sys

import numpy as np
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

_DEEP = ("RGB;16", "RGBA;16", "RGBX;16", "LA;16", "R;16")
_MOST_IN_TEXT = 2**21
_LITTLE = sys.byteorder == "little"
# What Pillow calls the order of bytes: big, little, that of the machine. And what reads the low bytes instead.
_OTHER = {"B": "L", "L": "B", "N": "B" if _LITTLE else "L"}


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether an opened file that is not loaded yet has colours of 16 bits a value, whose low bytes can be read."""
    tile = _first_tile(image)
    if tile is None:
        return False
    if image.format == "PPM":
        return image.mode == "RGB" and _largest_value(tile) > 255
    return image.format in ("PNG", "TIFF") and _raw_mode(tile).startswith(_DEEP)


def work_of(image: ImageFile.ImageFile) -> int:
    """Bytes a pixel that the reading of deep colours, or by NumPy, takes on top of the result."""
    tile = _first_tile(image)
    if image.format == "PPM" and tile is not None and _largest_value(tile):
        return 18 if image.mode == "RGB" else 4
    return 4 * is_deep(image)


def read_low_bytes(image: ImageFile.ImageFile) -> Image.Image:
    """Load an opened PNG or TIFF for which `is_deep` holds: the low bytes of its colours, in the mode of the high."""
    grey = _raw_mode(image.tile[0]).startswith("LA")
    image.tile = [tile._replace(args=_with_raw_mode(tile, _low(_raw_mode(tile)))) for tile in image.tile]
    image.load()
    if grey:  # four bytes a pixel: grey high and low, alpha high and low
        _, low, _, alpha = image.split()
        return Image.merge("RGBA", [low, low, low, alpha])
    return image


def read_numbers(image: ImageFile.ImageFile) -> tuple[Image.Image, Image.Image | None]:
    """An opened PNM file, scaled from its own largest value to 8 or 16 bits: the image, and low bytes of deep colours.

    Raises:
        ValueError: the file is cut, or too large for a text.
    """
    tile = _first_tile(image)
    if tile is not None and tile[0] == "ppm_plain" and image.width * image.height > _MOST_IN_TEXT:
        raise ValueError("so many pixels, written as text, take minutes: save them as PNG")
    most = 0 if tile is None else _largest_value(tile)
    if tile is None or not most:
        image.load()
        return image, None
    kind, scale = (np.dtype(">u2"), 65535) if most > 255 else (np.dtype("u1"), 255)
    channels = 3 if image.mode == "RGB" else 1
    count = image.width * image.height * channels
    assert image.fp is not None
    image.fp.seek(tile[2])
    raw = np.frombuffer(image.fp.read(count * kind.itemsize), kind)
    if len(raw) < count:
        raise ValueError("image file is truncated")
    table = np.rint(np.arange(scale + 1) / most * scale).clip(0, scale).astype(kind.newbyteorder("="))
    values = table[raw].reshape(image.height, image.width, *([3] if channels == 3 else []))
    if channels == 1 or most <= 255:
        return Image.fromarray(values), None
    return Image.fromarray((values >> 8).astype(np.uint8)), Image.fromarray((values & 255).astype(np.uint8))


def mend_planes(image: TiffImageFile) -> None:
    """Tell Pillow that separate planes of 16 bits hold 16 bits: it takes them for 8."""
    tags, tile = image.tag_v2, _first_tile(image)
    if tile is not None and tile[0] == "raw" and tags.get(284, 1) == 2 and tags.get(258, (1,))[0] == 16:
        order = "B" if tags.prefix == b"MM" else "L"
        image.tile = [tile._replace(args=_with_raw_mode(tile, f"{_raw_mode(tile)};16{order}")) for tile in image.tile]


def _first_tile(image: ImageFile.ImageFile):
    return image.tile[0] if image.tile else None


def _largest_value(tile) -> int:
    """What a PNM file gives as its white, if Pillow would scale its values in Python; else 0."""
    return int(tile[3][-1]) if tile[0] == "ppm" else 0


def _raw_mode(tile) -> str:
    mode = tile[3] if isinstance(tile[3], str) else tile[3][0] if tile[3] else ""
    return mode if isinstance(mode, str) else ""


def _with_raw_mode(tile, mode: str):
    return mode if isinstance(tile[3], str) else (mode, *tile[3][1:])


def _low(mode: str) -> str:
    return "RGBA" if mode.startswith("LA") else mode[:-1] + _OTHER[mode[-1]]
