"""Damaged image files of all formats, and what must hold for each: an image, or one sentence that names the file.

`cases` gives files, the same ones for the same seed. `check` tries one in a process of its own, which ends if it hangs.
"""

import io
import multiprocessing
import os
import random
import re
import struct
import time
import zlib
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image

from vptlib.data.decoding import decode, glance
from vptlib.data.files import ImageFiles
from vptlib.data.memory import MOST_BYTES
from vptlib.errors import UserError

SECONDS = 10  # of work: a file that takes longer hangs
_ABSURD = (0, 1, 2, 3, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF, 13_300, 60_000, 65_535)


def cases(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """`count` damaged files: a name with its ending, and the bytes."""
    draw, whole = random.Random(seed), _whole_files()
    names = sorted(whole)
    for number in range(count):
        name = names[number % len(names)]
        ending = name.split(" ")[0]
        raw = whole[name]
        damages = [_flip, _cut, _insert, _number, _swap, _structure, _structure]
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            raw = draw.choice(damages)(draw, raw, whole)
        yield f"{seed}-{number}.{ending}", raw


def check(case: tuple[str, bytes], folder: Path) -> None:
    """Raise AssertionError if a case gives anything but an image or a sentence, hangs, or takes too much memory."""
    name, raw = case
    path = folder / name
    path.write_bytes(raw)
    try:
        for look in LOOKS:
            answer = Worker.ask(path, look)
            assert answer is not None, f"{name}, {look}: no answer"
            foreign, seconds, grown = answer
            assert not foreign, f"{name}, {look}: {foreign}"
            assert seconds <= SECONDS, f"{name}, {look}: {seconds:.0f} s"
            assert grown <= MOST_BYTES, f"{name}, {look}: {grown / 2**20:.0f} MiB"
    finally:
        path.unlink(missing_ok=True)


# ---- whole files ----------------------------------------------------------------------------------------------


def _whole_files() -> dict[str, bytes]:
    """A small file of each kind: its ending and what it is → its bytes."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 255, (5, 6, 3), dtype=np.uint8)
    colour = Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)
    grey, alpha = colour.convert("L"), colour.copy()
    alpha.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 16)
    whole = Image.fromarray(np.asarray(grey).astype(np.int32) * 9 - 500)
    real = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    more = {"save_all": True, "append_images": [colour.rotate(90)]}
    files = {
        "jpg": (colour, {"exif": exif}),
        "jpg progressive": (colour, {"progressive": True}),
        "jpg cmyk": (colour.convert("CMYK"), {}),
        "png": (colour, {"exif": exif}),
        "png alpha": (alpha, {}),
        "png palette": (colour.quantize(16), {"transparency": 3}),
        "png deep": (deep, {}),
        "png animated": (colour, more),
        "webp": (colour, {"exif": exif}),
        "webp lossless": (alpha, {"lossless": True}),
        "webp animated": (colour, more),
        "bmp": (colour, {}),
        "bmp palette": (colour.quantize(16), {}),
        "dib": (colour, {}),
        "gif": (colour.quantize(16), {}),
        "gif animated": (colour, more),
        "ppm": (colour, {}),
        "pgm": (deep, {}),
        "pbm": (grey.convert("1"), {}),
        "pfm": (real, {}),
        "avif": (colour, {"exif": exif}),
        "jp2": (colour, {}),
        "j2k deep": (deep, {}),
        "qoi": (colour, {}),
        "pcx": (colour, {}),
        "sgi": (colour, {}),
        "tga": (colour, {"compression": "tga_rle"}),
        "ico": (colour, {}),
        "tif": (colour, {}),
        "tif deep": (deep, {"exif": exif}),
        "tif whole": (whole, {}),
        "tif float": (real, {"compression": "tiff_deflate"}),
        "tif pages": (colour, {**more, "compression": "tiff_lzw"}),
        "tif jpeg": (colour, {"compression": "jpeg"}),
        "tif packbits": (grey, {"compression": "packbits"}),
        "tif fax": (grey.convert("1"), {"compression": "group4"}),
        "tif zstd": (alpha, {"compression": "zstd"}),
    }
    return {name: _saved(image, name.split(" ")[0], options) for name, (image, options) in files.items()}


def _saved(image: Image.Image, ending: str, options: dict) -> bytes:
    file = io.BytesIO()
    kind = Image.registered_extensions()[f".{ending}"]
    image.save(file, kind, **options)
    return file.getvalue()


# ---- damages --------------------------------------------------------------------------------------------------


def _flip(draw: random.Random, raw: bytes, _) -> bytes:
    changed = bytearray(raw)
    early = draw.random() < 0.6  # headers are short, and matter most
    for _ in range(draw.choice((1, 2, 8, 40))):
        changed[draw.randrange(min(len(raw), 200) if early else len(raw))] = draw.randrange(256)
    return bytes(changed)


def _cut(draw: random.Random, raw: bytes, _) -> bytes:
    return raw[: draw.randrange(len(raw))] or b"\0"


def _insert(draw: random.Random, raw: bytes, _) -> bytes:
    at = draw.randrange(len(raw))
    return raw[:at] + draw.choice((draw.randbytes(draw.choice((1, 4, 300))), raw[at : at + 200] * 3)) + raw[at:]


def _number(draw: random.Random, raw: bytes, _) -> bytes:
    """An absurd number somewhere."""
    at, code = draw.randrange(min(len(raw), 600)), draw.choice(("<H", ">H", "<I", ">I"))
    value = struct.pack(code, draw.choice(_ABSURD) & (0xFFFF if code[1] == "H" else 0xFFFFFFFF))
    return raw[:at] + value + raw[at + len(value) :]


def _swap(draw: random.Random, raw: bytes, whole: dict[str, bytes]) -> bytes:
    """The head of one file and the tail of another."""
    other = whole[draw.choice(sorted(whole))]
    return raw[: draw.randrange(len(raw)) + 1] + other[draw.randrange(len(other)) :]


def _structure(draw: random.Random, raw: bytes, whole: dict[str, bytes]) -> bytes:
    """An absurd number where the format expects one, with its checksum made right."""
    if raw[:4] in (b"II*\0", b"MM\0*") and len(raw) > 8:
        return _tag(draw, raw)
    if raw.startswith(b"\x89PNG") and len(raw) > 40:
        return _chunk(draw, raw)
    if raw.startswith(b"\xff\xd8"):
        at = max(raw.find(b"\xff\xc0"), raw.find(b"\xff\xc2"))
        return raw[: at + 5] + struct.pack(">HH", _side(draw), _side(draw)) + raw[at + 9 :]
    if raw.startswith(b"GIF8"):
        return raw[:6] + struct.pack("<HH", _side(draw), _side(draw)) + raw[10:]
    if raw[:1] == b"P" and raw[1:2].isdigit():
        return re.sub(rb"\d+", lambda found: str(draw.choice(_ABSURD)).encode(), raw[:20], count=4) + raw[20:]
    return _number(draw, raw, whole)


def _side(draw: random.Random) -> int:
    return draw.choice((0, 1, 7, 48, 300, 13_300, 60_000, 65_535))


def _tag(draw: random.Random, raw: bytes) -> bytes:
    order = "<" if raw[:1] == b"I" else ">"
    (first,) = struct.unpack_from(f"{order}I", raw, 4)
    if first + 2 > len(raw):
        return raw
    (count,) = struct.unpack_from(f"{order}H", raw, first)
    at = first + 2 + 12 * draw.randrange(max(1, count))
    if at + 12 > len(raw):
        return raw
    tag, kind, many, value = struct.unpack_from(f"{order}HHII", raw, at)
    what = draw.randrange(5)
    if what == 4:  # the next page is one that was there before
        at = min(first + 2 + 12 * count, len(raw) - 4)
        return raw[:at] + struct.pack(f"{order}I", draw.choice((first, 8, 2, len(raw)))) + raw[at + 4 :]
    tag = draw.choice((256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 339)) if what == 0 else tag
    kind = draw.randrange(20) if what == 1 else kind
    many = draw.choice(_ABSURD) if what == 2 else many
    value = draw.choice(_ABSURD) if what == 3 else value
    return raw[:at] + struct.pack(f"{order}HHII", tag, kind, many, value) + raw[at + 12 :]


def _chunk(draw: random.Random, raw: bytes) -> bytes:
    starts, at = [], 8
    while at + 12 <= len(raw):
        starts.append(at)
        at += 12 + struct.unpack_from(">I", raw, at)[0]
    at = draw.choice(starts[:1] * 3 + starts)
    length, name = struct.unpack_from(">I4s", raw, at)
    body = bytearray(raw[at + 8 : at + 8 + length])
    if name == b"IHDR" and len(body) == 13:
        if draw.random() < 0.7:
            body[:8] = struct.pack(">II", _side(draw), _side(draw))
        else:
            body[draw.randrange(8, 13)] = draw.choice((0, 1, 2, 3, 4, 6, 8, 16))
    elif body:
        body[draw.randrange(len(body))] = draw.randrange(256)
    bomb = zlib.compress(bytes(draw.choice((10, 10**6, 10**8)))) if draw.random() < 0.02 else b""
    text = b"zTXt" + b"note\0\0" + bomb if draw.random() < 0.5 else b"iCCP" + b"name\0\0" + bomb
    extra = _png_chunk(text[:4], text[4:]) if bomb else b""
    return raw[:at] + _png_chunk(name, bytes(body)) + extra + raw[at + 12 + length :]


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


# ---- a process that tries them --------------------------------------------------------------------------------


class Worker:
    """A process that decodes files one after the other; it is replaced if it hangs or ends."""

    _process: multiprocessing.process.BaseProcess | None = None
    _line: Connection | None = None
    _owner = 0  # the process that uses it

    @classmethod
    def ask(cls, path: Path, look: str) -> tuple[str, float, int] | None:
        """What was wrong ("" if nothing), seconds of work, and bytes that memory grew; None if there is no answer."""
        if cls._owner != os.getpid():  # the worker of the process that this one was forked from
            cls._process, cls._owner = None, os.getpid()
        if cls._process is None or not cls._process.is_alive():
            context = multiprocessing.get_context("spawn")
            cls._line, there = context.Pipe()
            cls._process = context.Process(target=_answer, args=(there,), daemon=True)
            cls._process.start()
            there.close()
        assert cls._line is not None
        try:
            cls._line.send((path, look))
            if cls._line.poll(12 * SECONDS):  # of a clock: other processes may be at work
                return cls._line.recv()
        except (EOFError, OSError):
            pass
        cls._process.kill()
        cls._process.join()
        cls._process = None
        return None


def _answer(line: Connection) -> None:
    while True:
        try:
            path, look = line.recv()
        except EOFError:
            return
        before, start = _resident(), time.process_time()
        foreign = _foreign(path, look)
        line.send((foreign, time.process_time() - start, _resident("VmHWM") - before))


def _foreign(path: Path, look: str) -> str:
    """What a look into a file gave, other than an image or a sentence."""
    try:
        LOOKS[look](path)
    except UserError as error:
        text = str(error)
        if str(path) not in text or "\n" in text or not text.endswith("."):
            return f"not one sentence that names the file: {text!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _as_set(path: Path) -> None:
    """As a data set would use it."""
    images = ImageFiles([path])
    images.remarks()
    images.decoded(np.array([0]), 32, "bilinear", "pad")


def _resident(name: str = "VmRSS") -> int:
    """Bytes in memory now; for "VmHWM", the most since this was last asked for by its other name."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    if name == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(rf"{name}:\s+(\d+)", status.read_text())
    return 1024 * int(found[1]) if found else 0


LOOKS = {
    "decode": decode,
    "decode small": lambda path: decode(path, 64),
    "decode in a range": lambda path: decode(path, None, (3.0, 900.0)),
    "glance": glance,
    "as a set": _as_set,
}


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        failed = 0
        for case in cases(int(sys.argv[1]), int(sys.argv[2])):
            try:
                check(case, Path(folder))
            except AssertionError as error:
                failed += 1
                print(error, flush=True)
                if os.environ.get("KEEP"):
                    Path(os.environ["KEEP"], case[0]).write_bytes(case[1])
        print(f"{failed} of {sys.argv[2]} failed")
