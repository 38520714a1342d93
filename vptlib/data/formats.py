"""Which formats of image files can be read on this machine, and how such files end."""

import ctypes
import functools
from contextlib import suppress

from PIL import Image, features

# What Pillow opens, by its own names, and how such files end. Formats that start another program (EPS), or whose
# values Pillow does not scale as the file says (FITS), are not among them. TGA has no signature, so it comes last.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "HEIF": (".heic", ".heif", ".hif"),
    "QOI": (".qoi",),
    "PCX": (".pcx",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
    "SUN": (".ras",),
    "PSD": (".psd",),
    "ICO": (".ico",),
    "TGA": (".tga",),
}
# Endings that need one more package, and its name for `pip install`.
NEEDS_PLUGIN = dict.fromkeys(FORMATS["HEIF"], "pillow-heif")


@functools.cache
def formats() -> tuple[str, ...]:
    """The rows of `FORMATS` that can be read on this machine; registers plug-ins that are installed."""
    Image.init()
    _silence_libtiff()
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]  (optional)

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    return tuple(name for name in FORMATS if name in Image.OPEN and _is_built_in(name))


def _silence_libtiff() -> None:
    """Keep what libtiff writes about damaged files off the terminal: it becomes an exception anyway."""
    with suppress(AttributeError, OSError):  # where Pillow was built without it
        library = ctypes.CDLL(getattr(Image.core, "__file__", None))
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


def _is_built_in(name: str) -> bool:
    """Whether the library that Pillow needs for a format was there when Pillow was built."""
    needed = {"JPEG": "jpg", "WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}.get(name)
    return needed is None or bool(features.check(needed))


@functools.cache
def suffixes() -> tuple[str, ...]:
    """Endings, in lower case with their dot, of the files that can be read on this machine."""
    return tuple(suffix for name in formats() for suffix in FORMATS[name])
