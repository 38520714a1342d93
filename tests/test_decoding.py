"""vptlib.data.decoding: files of every kind become the same RGB, the right way up, or a sentence that names them."""

import logging
import struct
import subprocess
import sys
import threading
import warnings
import zlib

import fuzz_images
import numpy as np
import pytest
from pictures import flag, put, smooth
from PIL import Image, ImageOps, TiffImagePlugin

from vptlib.data import memory
from vptlib.data.decoding import decode, glance, is_whole, orientation_of
from vptlib.data.files import ImageFiles
from vptlib.data.formats import FORMATS, NEEDS_PLUGIN, suffixes
from vptlib.errors import UserError


def colours(height=6, width=8):
    """Red to the left, blue to the right, darker towards the bottom."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = np.linspace(250, 100, height).astype(np.uint8)[:, None]
    image[:, width // 2 :, 2] = np.linspace(250, 100, height).astype(np.uint8)[:, None]
    return image


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".ppm"])
def test_formats_without_loss_give_back_the_pixels(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    path = put(tmp_path / f"a{suffix}", Image.fromarray(colours()), **options)
    np.testing.assert_array_equal(np.asarray(decode(path)), colours())


def grey():
    return np.linspace(0, 255, 48).reshape(6, 8).astype(np.uint8)


MODES = {
    "grey": (lambda: Image.fromarray(grey()), grey),
    "16 bit": (lambda: Image.fromarray(grey().astype(np.uint16) * 257), grey),
    "1 bit": (lambda: Image.fromarray(grey() > 127), lambda: np.where(grey() > 127, 255, 0)),
    "grey with alpha": (lambda: Image.merge("LA", [Image.fromarray(grey()), Image.new("L", (8, 6), 255)]), grey),
}


@pytest.mark.parametrize("mode", MODES)
def test_grey_of_all_depths_is_scaled_not_clipped(tmp_path, mode):
    make, wanted = MODES[mode]
    found = np.asarray(decode(put(tmp_path / "a.png", make())))
    np.testing.assert_array_equal(found, np.broadcast_to(wanted()[..., None], (6, 8, 3)))


def test_alpha_is_laid_on_white(tmp_path):
    image = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (200, 0, 0, 0))
    found = np.asarray(decode(put(tmp_path / "a.png", image)))
    assert found.tolist() == [[[200, 0, 0], [255, 255, 255]]]


def test_palettes_with_and_without_transparency(tmp_path):
    image = Image.fromarray(colours()).quantize(16)
    wanted = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(decode(put(tmp_path / "a.png", image))), wanted)
    clear = np.asarray(decode(put(tmp_path / "b.png", image, transparency=image.getpixel((0, 0)))))
    assert clear[0, 0].tolist() == [255, 255, 255] and clear[5, 7].tolist() == wanted[5, 7].tolist()


def test_cmyk_and_jpeg(tmp_path):
    flat = Image.new("RGB", (16, 16), (180, 60, 30))
    for mode in ("RGB", "CMYK"):
        found = np.asarray(decode(put(tmp_path / "a.jpg", flat.convert(mode), quality=95))).astype(int)
        assert np.abs(found - (180, 60, 30)).max() <= 6, mode


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "empty"])
def test_a_file_that_is_no_whole_image_is_named(tmp_path, damage):
    path = put(tmp_path / "broken one.jpg", Image.fromarray(colours(60, 80)))
    if damage == "missing":
        path.unlink()
    else:
        raw = path.read_bytes()
        path.write_bytes({"truncated": raw[: len(raw) // 2], "text": b"no image", "empty": b""}[damage])
    with pytest.raises(UserError, match=r"broken one\.jpg"):
        decode(path)


def test_a_large_square_jpeg_and_a_png_are_decoded_at_their_own_size(tmp_path):
    assert decode(put(tmp_path / "a.jpg", smooth(3, 800)), least=100).size == (800, 800)
    assert decode(put(tmp_path / "a.png", flag(800, 600)), least=100).size == (800, 600)
    assert decode(put(tmp_path / "b.jpg", flag(800, 600)), least=301).size == (800, 600)
    assert decode(put(tmp_path / "b.jpg", flag(800, 600)), least=300).size == (400, 300)


def test_a_truncated_jpeg_is_named_even_if_it_would_be_decoded_smaller(tmp_path):
    path = put(tmp_path / "a.jpg", smooth(3, 900).resize((1200, 900)))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"a\.jpg cannot be read"):
        decode(path, least=100)


# ---- endings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".apng", ".dib", ".pnm", ".pbm", ".avif", ".jp2", ".tga", ".qoi"])
def test_less_usual_endings_are_read(tmp_path, suffix):
    assert suffix in suffixes()
    found = np.asarray(decode(put(tmp_path / f"a{suffix}", smooth(1).convert("1" if suffix == ".pbm" else "RGB"))))
    assert found.shape == (40, 40, 3) and found.std() > 10


def test_endings_that_need_a_package_name_it_and_count_only_with_it():
    assert NEEDS_PLUGIN[".heic"] == "pillow-heif" and set(NEEDS_PLUGIN) == set(FORMATS["HEIF"])
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        assert not set(NEEDS_PLUGIN) & set(suffixes())
    else:
        assert set(NEEDS_PLUGIN) <= set(suffixes())


def test_an_ending_does_not_decide_what_a_file_is(tmp_path):
    path = put(tmp_path / "a.png", smooth(1))
    assert decode(path.rename(tmp_path / "a.jpg")).tobytes() == smooth(1).tobytes()


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tif"])
def test_further_pages_are_noticed_and_the_first_is_taken(tmp_path, kind):
    one = put(tmp_path / f"one.{kind}", smooth(1))
    two = put(tmp_path / f"two.{kind}", smooth(1), save_all=True, append_images=[smooth(2)])
    assert not glance(one).more_pages and glance(two).more_pages
    assert np.abs(np.asarray(decode(two)).astype(int) - np.asarray(decode(one))).mean() < 6


def test_a_photograph_with_a_preview_in_it_is_one_picture(tmp_path):
    path = put(tmp_path / "a.jpg", smooth(1), format="MPO", save_all=True, append_images=[smooth(2)])
    assert not glance(path).more_pages and glance(path).image.size[0] <= 64


# ---- EXIF -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "avif", "tif"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_photographs_are_turned_as_they_were_taken(tmp_path, kind, mode, orientation):
    plain = smooth(1).resize((40, 24)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = put(tmp_path / f"a.{kind}", plain, exif=exif)
    turned = plain.copy()
    turned.getexif()[0x0112] = orientation
    wanted = np.asarray(ImageOps.exif_transpose(turned).convert("RGB")).astype(int)
    found = np.asarray(decode(path)).astype(int)
    assert found.shape == wanted.shape and np.abs(found - wanted).mean() < 12
    seen = glance(path)
    assert (seen.width, seen.height) == (wanted.shape[1], wanted.shape[0])
    assert np.sign(seen.image.width - seen.image.height) == np.sign(seen.width - seen.height)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("error", [struct.error, TypeError, OverflowError, ValueError, KeyError])
def test_tags_that_cannot_be_written_back_stop_nothing(tmp_path, monkeypatch, kind, error):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    path = put(tmp_path / f"a.{kind}", flag(40, 20), exif=exif)

    def refuse(*_, **__):
        raise error("a tag")

    monkeypatch.setattr(Image.Exif, "tobytes", refuse)
    assert decode(path).size == (20, 40)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "avif", "tif"])
def test_numbers_that_do_not_fit_their_type_stop_nothing(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, TiffImagePlugin.IFDRational(72, 1)
    path = put(tmp_path / f"a.{kind}", flag(40, 20), exif=exif)
    raw = path.read_bytes()
    for order in "<>":  # the rational becomes a signed short: -3, which Pillow takes for a rational and cannot write
        raw = raw.replace(struct.pack(f"{order}HHI", 0x011A, 5, 1), struct.pack(f"{order}HHI", 0x011A, 8, 1))
    path.write_bytes(raw)
    if kind != "png":  # whose checksum would not fit
        assert decode(path).size == (20, 40)


@pytest.mark.parametrize(
    ("value", "turn"),
    [
        (6, 6),
        ((6,), 6),
        (TiffImagePlugin.IFDRational(6, 1), 6),
        (TiffImagePlugin.IFDRational(6, 0), 1),
        (0, 1),
        (9, 1),
        (-3, 1),
        ("6", 1),
        (b"6", 1),
        ((6, 6), 1),
        ((), 1),
        (None, 1),
        (float("nan"), 1),
        (2**40, 1),
    ],
)
def test_only_a_number_from_1_to_8_turns(value, turn):
    image = flag(4, 2)
    image.getexif()[0x0112] = value
    assert orientation_of(image) == turn


def test_exif_that_cannot_be_read_turns_nothing(tmp_path):
    path = put(tmp_path / "a.png", flag(8, 4), exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 30)
    assert decode(path).size == (8, 4)


# ---- damaged files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", list(fuzz_images.cases(seed=3, count=300)), ids=lambda case: case[0])
def test_a_damaged_file_is_an_image_or_a_sentence(tmp_path, case):
    fuzz_images.check(case, tmp_path)


def test_the_check_of_damaged_files_finds_a_foreign_exception(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_images.Worker, "ask", lambda *_: ("KeyError: 'x'", 0.0, 0))
    with pytest.raises(AssertionError, match="KeyError"):
        fuzz_images.check(("a.png", b"x"), tmp_path)
    monkeypatch.setattr(fuzz_images.Worker, "ask", lambda *_: ("", 0.0, memory.MOST_BYTES + 1))
    with pytest.raises(AssertionError, match="MiB"):
        fuzz_images.check(("a.png", b"x"), tmp_path)


def test_a_tiff_with_too_few_strips_is_not_half_black(tmp_path):
    path = put(tmp_path / "a.tif", smooth(1, 400), tiffinfo={278: 50})
    with Image.open(path) as image:
        assert len(image.tag_v2[273]) > 1
        first = image.tag_v2.offset
    raw = bytearray(path.read_bytes())
    for at in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", raw, first)[0], 12):
        if struct.unpack_from("<H", raw, at)[0] == 257:
            struct.pack_into("<HHII", raw, at, 257, 4, 1, 4000)  # the height
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"a\.tif cannot be read as an image \(strips are missing\)"):
        decode(path)


def test_nothing_is_written_to_the_terminal(tmp_path):
    path = put(tmp_path / "a.tif", smooth(1), compression="tiff_deflate")
    raw = bytearray(path.read_bytes())
    raw[20:60] = b"\xff" * 40
    path.write_bytes(raw)
    large = tmp_path / "large.png"
    large.write_bytes(png(10_000, 9_500))
    code = "import sys; from pathlib import Path; from vptlib.data.decoding import is_whole; "
    code += "print([is_whole(Path(path)) for path in sys.argv[1:]])"
    done = subprocess.run([sys.executable, "-c", code, path, large], capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout == "[False, True]\n"


# ---- memory and time --------------------------------------------------------------------------------------------


def png(width, height, depth=8, colour=0):
    """A black PNG."""
    zipped, row = zlib.compressobj(1), bytes(1 + width * depth // 8 * (3 if colour == 2 else 1))
    body = b"".join([*(zipped.compress(row) for _ in range(height)), zipped.flush()])
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def test_a_large_image_is_decoded_at_half_its_size_and_its_own_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MOST_PIXELS", 1000)
    for kind in ("png", "tif", "jpg"):
        path = put(tmp_path / f"a.{kind}", flag(80, 20), **({"quality": 95} if kind == "jpg" else {}))
        found = np.asarray(decode(path)).astype(int)
        assert found.shape == (10, 40, 3)
        wanted = np.asarray(flag(80, 20).reduce(2)).astype(int)
        assert np.abs(found - wanted).mean() < (12 if kind == "jpg" else 0.01)
        seen = glance(path)
        assert (seen.width, seen.height) == (80, 20)


def test_an_image_that_needs_too_much_memory_is_refused_with_its_size(tmp_path, monkeypatch):
    path = put(tmp_path / "a.png", flag(300, 200))
    monkeypatch.setattr(memory, "MOST_BYTES", 300 * 200 * 11)
    with pytest.raises(UserError, match=r"a\.png cannot be .* \(its 300 × 200 pixels need .* GiB, .*: scale it down"):
        decode(path)


@pytest.mark.slow
def test_a_large_deep_image_stays_within_the_memory_that_is_stated(tmp_path):
    case = ("a.png", png(13_300, 13_300, depth=16))
    fuzz_images.check(case, tmp_path)


def test_threads_wait_until_there_is_room(monkeypatch):
    room, order = memory.Room(10), []
    entered, leave = threading.Event(), threading.Event()

    def first():
        with room.taken(8):
            entered.set()
            leave.wait(10)
            order.append("first")

    def second():
        with room.taken(8):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    entered.wait(10)
    threads[1].start()
    with room.taken(2):
        assert order == []
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"]
    with room.taken(1000):  # more than there is, but alone
        pass


def test_a_jpeg_of_very_many_scans_is_refused(tmp_path, monkeypatch):
    path = put(tmp_path / "a.jpg", smooth(1, 1100), progressive=True)
    raw = path.read_bytes()
    last = raw.rfind(b"\xff\xda")
    path.write_bytes(raw[:-2] + raw[last:-2] * 4000 + raw[-2:])
    with pytest.raises(UserError, match=r"a\.jpg .*1,100 × 1,100 pixels are stored in 4,0\d\d scans\): save it again"):
        glance(path)


def test_a_warning_of_pillow_does_not_become_an_error(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(10_000, 9_500))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert is_whole(path)
    assert not heard and logging.getLogger("PIL").level >= logging.CRITICAL


def test_a_pnm_file_of_another_depth_is_scaled_by_its_own_white(tmp_path):
    values = np.arange(0, 1024, 8, dtype=">u2").reshape(8, 16)
    (tmp_path / "a.pgm").write_bytes(b"P5\n16 8\n1023\n" + values.tobytes())
    wanted = np.rint(np.rint(values / 1023 * 65535) / 257)
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "a.pgm"))[..., 0], wanted)
    (tmp_path / "a.ppm").write_bytes(b"P6\n8 8\n100\n" + (np.arange(192) % 101).astype(np.uint8).tobytes())
    found = np.asarray(decode(tmp_path / "a.ppm")).ravel()
    np.testing.assert_array_equal(found, np.rint(np.arange(192) % 101 / 100 * 255))
    (tmp_path / "cut.pgm").write_bytes(b"P5\n16 8\n1023\n" + values.tobytes()[:-1])
    with pytest.raises(UserError, match=r"cut\.pgm"):
        decode(tmp_path / "cut.pgm")


def test_a_set_decodes_what_decode_gives(tmp_path):
    paths = [put(tmp_path / f"{k}.png", smooth(k, 20)) for k in range(3)]
    seen = ImageFiles(paths).decoded(np.arange(3), 20, "bilinear")
    np.testing.assert_array_equal(seen, np.stack([np.asarray(decode(path)) for path in paths]))
