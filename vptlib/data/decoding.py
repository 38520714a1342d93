"""One image file as 8-bit RGB, the right way up, whatever it holds: or one sentence that names the file.

Deep greys and colours (more than 8 bits a value) are scaled by a range of the whole set, not clipped. Alpha is blended
with white. Palette, grey, 1-bit and CMYK images are converted. Of EXIF only the orientation is read.

Memory is bounded. All threads that decode in one process take at most `MOST_BYTES` together, and an image that needs
more is refused before it is decoded. An image of more than `MOST_PIXELS` is decoded at half its size or less.
"""

import io
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.TiffImagePlugin import TiffImageFile

from vptlib.data import deep_colours
from vptlib.data.formats import formats
from vptlib.data.grey import USUAL, Range, by_strips, eight_bits, kind_of, merged, values_of
from vptlib.data.memory import MOST_PIXELS, check_scans, room_to_decode, times_smaller
from vptlib.errors import UserError

_SAMPLED = 2**16  # pixels of an image that are looked at to find the range of a set
_MOST_STRIPS = 100_000
_PILLOW = logging.getLogger("PIL")
_NO_DATA = 42113  # the tag in which GDAL keeps the number that stands for "no value"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(path: Path, least: int | None = None, grey: Range | None = None) -> Image.Image:
    """The image in a file as 8-bit RGB, the right way up; the first page if there are several.

    Args:
        path: the file.
        least: an oblong JPEG may be decoded at a half, a quarter or an eighth of its size, which is several times as
            fast, if both sides keep this many pixels. By default every image is decoded at its own size, unless it has
            more than `MOST_PIXELS`.
        grey: the values that become black and white in a deep image. By default 0 and 65,535, or 0 and 1 for floats.

    Raises:
        UserError: the file is missing, truncated, not an image or too large; the message names it.
    """
    with held(path, least, grey) as image:
        return image


@contextmanager
def held(path: Path, least: int | None = None, grey: Range | None = None) -> Iterator[Image.Image]:
    """`decode`, for as long as the context lasts: only as many images at once as `MOST_BYTES` allows."""
    with ExitStack() as room:
        with opened(path) as image:
            if least and image.format == "JPEG" and image.width != image.height:
                image.draft(None, (least, least))
            room.enter_context(room_to_decode(path, image))
            decoded, _ = _upright(path, image, grey)
        yield decoded


def upright(image: Image.Image, name: str, grey: Range | None = None) -> Image.Image:
    """An image that a library gave, as `decode` would give it.

    Args:
        image: of any mode.
        name: what to call it in messages.
        grey: as in `decode`.

    Raises:
        UserError: the image cannot be decoded or converted.
    """
    _silence()
    with _named(name):
        image.load()
        turn = 1 if isinstance(image, TiffImageFile) else orientation_of(image)
        plain = as_rgb(image, grey)
        return plain.transpose(_TURNS[turn]) if turn > 1 else plain


def is_whole(path: Path) -> bool:
    """Whether the whole file can be read as an image."""
    try:
        decode(path)
    except UserError:
        return False
    return True


def as_rgb(image: Image.Image, grey: Range | None = None) -> Image.Image:
    """An image of any mode as 8-bit RGB; `grey` as in `decode`. It is halved, or more, above `MOST_PIXELS`."""
    times = times_smaller(*image.size)
    meaning = _meaning(image)
    return _reduced(image, times, grey, meaning) if times > 1 else _rgb(image, grey, meaning)


@dataclass(frozen=True)
class Glance:
    """What one look into a file shows.

    Attributes:
        image: the picture, the right way up, as small as it could be decoded: "L" from a JPEG, else RGB.
        width, height: of the image in the file, the right way up, in pixels.
        mode: Pillow's name for its colours.
        more_pages: whether the file holds further pages or frames, which are not read.
    """

    image: Image.Image
    width: int
    height: int
    mode: str
    more_pages: bool


def glance(path: Path, grey: Range | None = None) -> Glance:
    """Read the whole file once, but decode a JPEG to some 64 pixels only.

    Raises:
        UserError: as `decode`.
    """
    with ExitStack() as room, opened(path) as image:
        size, mode, jpeg = image.size, image.mode, image.format in ("JPEG", "MPO")
        if jpeg:
            image.draft("L", (64, 64))
        room.enter_context(room_to_decode(path, image))
        small, turned = _upright(path, image, grey, "L" if jpeg else "RGB")
        width, height = size[::-1] if turned else size
        return Glance(small, width, height, mode, _has_more_pages(image))


def orientation_of(image: Image.Image) -> int:
    """How the camera was held, 1 to 8 as in EXIF; 1 if the file does not say, or says nonsense."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        if isinstance(value, tuple) and len(value) == 1:
            value = value[0]
        return next((turn for turn in range(1, 9) if value == turn), 1)
    except Exception:  # a damaged tag raises exceptions of many kinds; the pixels are there all the same
        return 1


@contextmanager
def opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """An image file of which only the header is read so far; whatever is wrong with it becomes a UserError.

    Raises:
        UserError: as `decode`, also for what the caller does with the image in this context.
    """
    _silence()
    # By its name Pillow would map the file into memory, and then mistakes the sides of a TIFF that lies on its side.
    with _named(str(path)), path.open("rb") as file:
        jpeg = file.peek(3).startswith(b"\xff\xd8\xff")
        with jpeg_factory(file) if jpeg else _opened(file) as image:
            if jpeg and image.width * image.height > 3 * MOST_PIXELS:
                raise Image.DecompressionBombError
            if jpeg:
                check_scans(path, image)
            yield image


def _opened(file: BinaryIO) -> ImageFile.ImageFile:
    """As `Image.open`; an AVIF with EXIF that Pillow cannot write back is opened without it."""
    try:
        return Image.open(file, formats=formats())
    except Exception:
        file.seek(0)
        raw = bytearray(file.read())
        if raw[4:8] != b"ftyp":
            raise
        for start, order in ((raw.find(b"II*\0"), "<I"), (raw.find(b"MM\0*"), ">I")):
            if start >= 0:
                (first,) = struct.unpack_from(order, raw, start + 4)
                raw[start + first : start + first + 2] = b"\0\0"  # the number of tags
        return Image.open(io.BytesIO(raw), formats=formats())


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Whatever goes wrong becomes a UserError that names the image."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{name} is missing: restore it, or take it out of the list.") from error
    except Image.DecompressionBombError as error:
        why = f"with more than {2 * MOST_PIXELS / 1e6:.0f} million pixels it may be a decompression bomb"
        raise UserError(f"{name} cannot be read as an image ({why}): scale it down, or take it out.") from error
    except Exception as error:  # Pillow's plug-ins raise exceptions of many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{name} cannot be read as an image ({reason}): replace it, or take it out.") from error


def _silence() -> None:
    """Pillow's warnings stay off the terminal: what they are about is checked here."""
    if _PILLOW.level != logging.CRITICAL:  # to set a level clears the caches of all loggers
        _PILLOW.setLevel(logging.CRITICAL)
    if not any(row[0] == "ignore" and row[3] and row[3].pattern == "PIL\\." for row in warnings.filters):
        warnings.filterwarnings("ignore", module="PIL\\.")


def _upright(path: Path, image: ImageFile.ImageFile, grey: Range | None, mode: str = "RGB") -> tuple[Image.Image, bool]:
    """The pixels of an opened file as "RGB" (or "L"), turned by the orientation; and whether that changes the sides."""
    pixels, low = _loaded(path, image, grey not in (None, USUAL["whole"]))
    # Pillow itself turns a TIFF while it loads it. Of other files it has read the last tag only now.
    turn = 1 if isinstance(image, TiffImageFile) else orientation_of(image)
    if low is not None:
        pixels = merged(pixels, low, grey or USUAL["whole"])
    plain = pixels.convert("L") if mode == "L" else as_rgb(pixels, grey)
    return plain.transpose(_TURNS[turn]) if turn > 1 else plain, turn >= 5


def _loaded(path: Path, image: ImageFile.ImageFile, with_low_bytes: bool) -> tuple[Image.Image, Image.Image | None]:
    """The pixels of an opened file; also the low bytes of deep colours if they are wanted."""
    low = None
    if image.format == "PPM":
        return deep_colours.read_numbers(image)
    if with_low_bytes and deep_colours.is_deep(image):
        with opened(path) as again:
            _prepare(again)
            low = deep_colours.read_low_bytes(again)
    _prepare(image)
    image.load()
    return image, low


def _prepare(image: ImageFile.ImageFile) -> None:
    """What Pillow needs help with before it loads a TIFF."""
    if not isinstance(image, TiffImageFile):
        return
    _keep_only_the_orientation(image)
    deep_colours.mend_planes(image)
    _check_strips(image)


def _keep_only_the_orientation(image: ImageFile.ImageFile) -> None:
    """Drop the other tags: Pillow writes all of them back when it turns an image, and not every tag can be written."""
    turn, exif = orientation_of(image), image.getexif()
    for tag in list(exif):
        del exif[tag]
    exif[ExifTags.Base.Orientation] = turn
    for name in ("exif", "xmp", "XML:com.adobe.xmp"):
        image.info.pop(name, None)


def _check_strips(image: ImageFile.ImageFile) -> None:
    """Raise if a TIFF lists fewer strips than its height needs (Pillow would leave the rest black), or far too many."""
    tiles = [(tile[0], tile[1] or (0, 0, 0, 0)) for tile in image.tile]
    if tiles and tiles[0][0] == "raw":
        pixels = sum((right - left) * (bottom - top) for _, (left, top, right, bottom) in tiles)
        if pixels < image.width * image.height:
            raise ValueError("strips are missing")
        if len(tiles) > _MOST_STRIPS:
            raise ValueError(f"{len(tiles):,} strips")


def _meaning(image: Image.Image) -> tuple[bool, float | None]:
    """Whether the whole numbers of a TIFF have no signs, and which number stands for "no value"."""
    if not isinstance(image, TiffImageFile):
        return False, None
    tags = image.tag_v2
    unsigned = tags.get(258) == (32,) and tags.get(339, (1,)) == (1,)
    try:
        return unsigned, float(str(tags.get(_NO_DATA, "")).strip("\0 "))
    except ValueError:
        return unsigned, None


def _has_more_pages(image: Image.Image) -> bool:
    """Whether an image that is loaded has more pages. The further pictures in an MPO are previews."""
    return image.format in ("TIFF", "GIF", "WEBP", "PNG", "AVIF", "HEIF") and bool(getattr(image, "is_animated", False))


# ---- colours ----------------------------------------------------------------------------------------------------


def _has_alpha(image: Image.Image) -> bool:
    return (bool({"A", "a"} & set(image.getbands())) and image.mode != "LAB") or "transparency" in image.info


def _on_white(strip: Image.Image) -> Image.Image:
    """An image with alpha as RGB, blended with white."""
    strip = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB")


def _rgb(image: Image.Image, grey: Range | None, meaning: tuple[bool, float | None]) -> Image.Image:
    """An image, or a strip of one, as RGB at its own size."""
    if kind_of(image.mode):
        image = eight_bits(image, grey, *meaning)
    if _has_alpha(image):
        return by_strips(image, "RGB", _on_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def _reduced(image: Image.Image, times: int, grey: Range | None, meaning: tuple[bool, float | None]) -> Image.Image:
    """A large image as RGB with both sides divided, strip by strip."""
    small = Image.new("RGB", (-(-image.width // times), -(-image.height // times)))
    rows = 64 * times
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        small.paste(_rgb(strip, grey, meaning).reduce(times), (0, top // times))
    return small


# ---- values of deep images --------------------------------------------------------------------------------------


def depth_of(path: Path) -> str | None:
    """ "whole" or "float" if the values of an image file are deep, else None; reads its header.

    A file that cannot be read counts as not deep: it is named when it is decoded.
    """
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(32)
    except OSError:
        return None
    if head.startswith((b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM")):
        return None
    if head.startswith(b"\x89PNG") and head[12:16] == b"IHDR":
        return "whole" if head[24:25] == b"\x10" else None
    try:
        with opened(path) as image:
            return kind_of(image.mode) or ("whole" if deep_colours.is_deep(image) else None)
    except UserError:
        return None


def deep_values_of(image: Image.Image) -> np.ndarray:
    """`deep_values` of a Pillow image of a mode with deep greys; of another mode, no values."""
    return _every(image, _step(image)) if kind_of(image.mode) else np.empty(0)


def deep_values(path: Path) -> np.ndarray:
    """Values of a deep image, evenly spaced, some 65,000 at most; NaN where there is none. Float64, one axis.

    Raises:
        UserError: as `decode`.
    """
    with ExitStack() as room, opened(path) as image:
        room.enter_context(room_to_decode(path, image))
        pixels, low = _loaded(path, image, True)
        step = _step(pixels)
        if low is None:
            return _every(pixels, step, *_meaning(image))
        upper, lower = (_every(part.convert("RGB"), step) for part in (pixels, low))
        return 256 * upper + lower


def _step(image: Image.Image) -> int:
    """Every so manieth row and column is looked at."""
    return max(1, int(np.ceil(np.sqrt(image.width * image.height / _SAMPLED))))


def _every(image: Image.Image, step: int, unsigned: bool = False, no_value: float | None = None) -> np.ndarray:
    rows = [image.crop((0, top, image.width, top + 1)) for top in range(step // 2, image.height, step)]
    parts = [values_of(row, unsigned, no_value)[:, step // 2 :: step].ravel() for row in rows]
    return np.concatenate(parts).astype(np.float64)


# A truncated file is an error, not half an image.
ImageFile.LOAD_TRUNCATED_IMAGES = False
