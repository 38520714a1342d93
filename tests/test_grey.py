"""Images of more than 8 bits a value: one range for the whole set, whatever their files hold."""

import hashlib
import io

import cv2
import numpy as np
import pytest
from pictures import put, smooth
from PIL import Image

from vptlib.data import deep_colours
from vptlib.data.decoding import decode
from vptlib.data.files import ImageFiles, ListedImages
from vptlib.data.grey import table_of
from vptlib.data.grey_range import greys_of
from vptlib.data.readers import read
from vptlib.errors import UserError
from vptlib.report.words.en import sentence

pytestmark = pytest.mark.usefixtures("own_cache")


def ramp(low, high, kind=np.uint16):
    """Values from `low` to `high`, `40 50`."""
    return np.linspace(low, high, 2000).astype(kind).reshape(40, 50)


def saved(folder, name, values):
    """A grey image with these values, or one in colour."""
    folder.mkdir(parents=True, exist_ok=True)
    if values.ndim == 3:
        assert cv2.imwrite(str(folder / name), values[..., ::-1])
        return folder / name
    return put(folder / name, Image.fromarray(values))


def ranged(paths, grey):
    """Images with a range that is given, or that is found if it is None."""
    found = ImageFiles(paths)
    return found if grey is None else found.with_grey(grey)


RAMPS = {  # values, ending, range that is found
    "10 bits": (ramp(0, 1000), "png", (0, 1023)),
    "12 bits": (ramp(0, 4000), "png", (0, 4095)),
    "12 bits, TIFF": (ramp(0, 4000), "tif", (0, 4095)),
    "12 bits, PGM": (ramp(0, 4000), "pgm", (0, 4095)),
    "14 bits": (ramp(20, 16000), "tif", (0, 16383)),
    "16 bits": (ramp(0, 65535), "png", (0, 65535)),
    "8 bits in 16": (ramp(0, 250), "png", (0, 255)),
    "a part of 16 bits": (ramp(29000, 31000), "tif", None),
    "32 bits": (ramp(0, 100_000, np.int32), "tif", (0, 131071)),
    "signed, like tomographs": (ramp(-1000, 3000, np.int32), "tif", None),
    "floats to 1": (ramp(0, 1, np.float32), "tif", (0, 1)),
    "floats beyond 1 by a little": (ramp(-0.02, 1.03, np.float32), "tif", (0, 1)),
    "floats from -1": (ramp(-1, 1, np.float32), "tif", (-1, 1)),
    "floats to 255": (ramp(0, 250, np.float32), "tif", (0, 255)),
    "floats to 65,535": (ramp(0, 60000, np.float32), "tif", (0, 65535)),
    "small floats": (ramp(0, 0.01, np.float32), "tif", None),
    "floats, PFM": (ramp(-1000, 3000, np.float32), "pfm", None),
    "12 bits in colour": (np.stack([ramp(0, 4000)] * 3, 2), "png", (0, 4095)),
    "12 bits in colour, TIFF": (np.stack([ramp(0, 4000)] * 3, 2), "tif", (0, 4095)),
}


@pytest.mark.parametrize("name", RAMPS)
def test_a_ramp_stays_a_ramp(tmp_path, name):
    values, ending, wanted = RAMPS[name]
    source = ImageFiles([saved(tmp_path, f"a.{ending}", values)])
    low, high = source.grey_range
    if wanted is None:  # the ends of the values, without the outermost pixels
        assert (low, high) == pytest.approx((values.min(), values.max()), abs=0.003 * float(np.ptp(values)))
    else:
        assert (low, high) == wanted
    seen = np.asarray(source.open(0))
    exact = 255 * np.clip((values.astype(float) - low) / (high - low), 0, 1)
    exact = exact if exact.ndim == 3 else exact[..., None]
    assert np.abs(seen - exact).max() <= 0.51 and len(np.unique(seen)) > 120


def test_one_range_holds_for_all_images_of_a_set(tmp_path):
    dark, bright = saved(tmp_path, "0.png", ramp(0, 500)), saved(tmp_path, "1.png", ramp(0, 4000))
    source = ImageFiles([dark, bright])
    assert source.grey_range == (0, 4095)
    assert np.asarray(source.open(0)).max() == round(255 * 500 / 4095)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_a_hot_pixel_does_not_make_the_others_dark(tmp_path, kind):
    values = ramp(0, 1000, kind)
    values[3, 4] = 65535
    ending = "png" if kind == np.uint16 else "tif"
    _, high = ImageFiles([saved(tmp_path, f"{k}.{ending}", values) for k in range(3)]).grey_range
    assert 990 <= high <= 1023


@pytest.mark.parametrize(("kind", "usual"), [(np.uint16, (0, 65535)), (np.float32, (0, 1))])
def test_a_constant_set_keeps_the_usual_range(tmp_path, kind, usual):
    paths = [saved(tmp_path, f"{k}.tif", np.full((8, 8), 1, kind)) for k in range(2)]
    assert ImageFiles(paths).grey_range == usual


def test_the_usual_ranges_give_what_they_always_gave():
    every = np.arange(65536)
    np.testing.assert_array_equal(table_of(0, 65535), np.rint(every / 257).astype(np.uint8))
    floats = np.random.default_rng(0).random((50, 60), dtype=np.float32)
    image = Image.fromarray(floats)
    file = io.BytesIO()
    image.save(file, "TIFF")
    source = ListedImages(1, lambda _: Image.open(file))
    np.testing.assert_array_equal(np.asarray(source.open(0))[..., 0], np.rint(255 * floats).astype(np.uint8))


def bytes_digest(paths):
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()


@pytest.mark.parametrize(
    ("values", "grey", "same"),
    [
        (ramp(0, 65535), None, True),
        (ramp(0, 65535), (0, 65535), True),
        (ramp(0, 255).astype(np.uint8), (0, 4095), True),  # a range says nothing of 8 bits
        (ramp(0, 65535), (0, 4095), False),
        (ramp(0, 4000), None, False),
        (ramp(0, 4000), (0, 65535), True),
    ],
)
def test_an_unusual_range_is_part_of_the_digest(tmp_path, values, grey, same):
    paths = [saved(tmp_path, "a.png", values)]
    source = ranged(paths, grey)
    assert (source.digest == bytes_digest(paths)) == same
    assert len(source.digest) == 64


def test_each_range_has_a_digest_of_its_own(tmp_path):
    paths = [saved(tmp_path, "a.png", ramp(0, 65535))]
    assert len({ranged(paths, grey).digest for grey in (None, (0, 100), (0, 101), (0.5, 100))}) == 4


def test_a_given_range_holds_and_new_images_can_use_it(tmp_path):
    path = saved(tmp_path, "a.tif", ramp(-1000, 3000, np.int32))
    source = ranged([path], (-160, 240))
    assert source.grey_range == (-160.0, 240.0) and all(type(end) is float for end in source.grey_range)
    seen = np.asarray(decode(path, grey=source.grey_range))
    assert seen.min() == 0 and seen.max() == 255
    np.testing.assert_array_equal(seen, np.asarray(source.open(0)))


@pytest.mark.parametrize("grey", [(5, 5), (7, 3), (0, float("nan")), (0, float("inf"))])
def test_a_range_that_is_none_is_refused(grey):
    with pytest.raises(UserError, match="give the value of black, and a higher one of white"):
        ranged([], grey)


def test_images_of_8_bits_have_no_range_and_are_not_decoded_to_find_one(tmp_path, monkeypatch):
    paths = [put(tmp_path / f"a.{ending}", smooth(1)) for ending in ("png", "jpg", "tif", "webp", "gif", "bmp")]
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    source = ImageFiles(paths)
    assert source.grey_range is None and source.remarks() == [] and source.digest == bytes_digest(paths)


def said(source):
    return {found.what.code: (found.level, sentence(found.what)) for found in source.remarks()}


def test_the_range_is_stated(tmp_path):
    source = ImageFiles([saved(tmp_path, "a.png", ramp(0, 4000))])
    level, words = said(source)["grey_range"]
    assert level == "note" and "0 becomes black and 4,095 white" in words and "?grey=LOW-HIGH" in words
    assert "as you gave it" in said(ranged(source.paths, (1, 2)))["grey_range"][1]


@pytest.mark.parametrize(
    ("high", "grey", "level"), [(4000, None, "note"), (65535, None, "note"), (90, (7, 60), "warning")]
)
def test_a_mixture_with_8_bits_is_said(tmp_path, high, grey, level):
    paths = [saved(tmp_path, "a.png", ramp(0, high)), put(tmp_path / "b.png", smooth(1)), put(tmp_path / "c.jpg")]
    found, words = said(ranged(paths, grey))["grey_depths_mixed"]
    assert found == level and words.startswith("1 image has more than 8 bits a value, and 2 have 8.")


def test_whole_numbers_and_floats_keep_their_usual_ranges_or_are_said_to_share_one(tmp_path):
    whole, real = saved(tmp_path, "a.png", ramp(0, 65535)), saved(tmp_path, "b.tif", ramp(0, 1, np.float32))
    source = ImageFiles([whole, real])
    assert source.grey_range is None and source.digest == bytes_digest([whole, real])
    assert all(np.asarray(source.open(row)).max() == 255 for row in (0, 1))
    assert "Each kind keeps its usual range" in said(source)["grey_kinds_mixed"][1]
    other = ImageFiles([saved(tmp_path, "c.png", ramp(0, 4000)), real])
    assert other.grey_range is not None and said(other)["grey_kinds_mixed"][0] == "warning"


def test_few_levels_are_said_with_a_range_to_try(tmp_path):
    values = np.tile(ramp(0, 900), (10, 1))
    values[:3] = 65535  # a scale bar
    level, words = said(ImageFiles([saved(tmp_path, "a.png", values)]))["grey_levels_few"]
    assert level == "warning" and "become only 4 grey levels" in words and "?grey=" in words


def test_pixels_without_a_value_are_black_and_said(tmp_path):
    values = ramp(100, 200, np.float32)
    values[0, :5], values[1, :5], values[2, :5], values[3, :5] = np.nan, np.inf, -np.inf, -3.4e38
    source = ImageFiles([saved(tmp_path, "a.tif", values)])
    seen = np.asarray(source.open(0))
    assert seen[0, 0, 0] == seen[2, 0, 0] == seen[3, 0, 0] == 0 and seen[1, 0, 0] == 255
    assert source.grey_range == pytest.approx((100, 200), abs=1.5)
    level, words = said(source)["grey_without_value"]
    assert level == "warning" and "a.tif" in words


def test_the_number_that_stands_for_no_value_in_a_map_is_not_a_value(tmp_path):
    values = ramp(100, 200, np.float32)
    values[:10] = -9999
    path = put(tmp_path / "a.tif", Image.fromarray(values), tiffinfo={42113: "-9999"})
    assert ImageFiles([path]).grey_range[0] > 100


def test_images_of_a_library_share_a_range_too():
    images = [Image.fromarray(ramp(0, high)) for high in (500, 4000)]
    source = ListedImages(2, lambda row: images[row])
    assert source.grey_range == (0, 4095) and np.asarray(source.open(0)).max() == round(255 * 500 / 4095)
    assert "grey_range" in said(source)
    assert ListedImages(2, lambda row: smooth(row)).grey_range is None


def test_the_range_of_a_large_set_is_found_from_some_images_always_the_same():
    looked_at = []

    def values(row):
        looked_at.append(row)
        return np.arange(0, 4000.0)

    assert greys_of(["whole"] * 10_000, values, str).range == (0, 4095)
    assert len(looked_at) == 256 and {0, 9999} <= set(looked_at)


def test_an_image_that_cannot_be_read_does_not_stop_the_search(tmp_path):
    good, bad = saved(tmp_path, "a.png", ramp(0, 4000)), saved(tmp_path, "b.png", ramp(0, 4000))
    bad.write_bytes(bad.read_bytes()[:200])
    source = ImageFiles([bad, good])
    assert source.grey_range == (0, 4095)
    with pytest.raises(UserError, match=r"b\.png cannot be read"):
        source.open(0)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_deep_colours_have_their_low_bytes(tmp_path, ending):
    values = np.random.default_rng(0).integers(0, 65536, (9, 11, 3)).astype(np.uint16)
    path = saved(tmp_path, f"a.{ending}", values)
    with Image.open(path) as image:
        assert deep_colours.is_deep(image)
        np.testing.assert_array_equal(np.asarray(deep_colours.read_low_bytes(image)), values & 255)


def test_deep_grey_with_alpha_keeps_its_values(tmp_path):
    values = np.dstack([ramp(0, 4000)] * 3 + [np.full((40, 50), 65535, np.uint16)])
    assert cv2.imwrite(str(tmp_path / "a.png"), values)
    source = ImageFiles([tmp_path / "a.png"])
    assert source.grey_range == (0, 4095) and len(np.unique(np.asarray(source.open(0)))) > 200


def deep_classes(root):
    for name, values in (("dark", ramp(0, 500)), ("bright", ramp(2000, 3000))):
        for k in range(5):
            saved(root / name, f"{k}.png", values + np.uint16(k))
    return root


@pytest.mark.parametrize(
    ("option", "wanted"), [("", (0, 4095)), ("?grey=0-3000", (0, 3000)), ("?grey=-1e3-5000.5", (-1000, 5000.5))]
)
def test_the_place_of_the_images_may_name_the_range(tmp_path, option, wanted):
    found = read(f"{deep_classes(tmp_path / 'set')}{option}").images
    assert found.grey_range == wanted
    assert (found.digest == read(str(tmp_path / "set")).images.digest) == (option == "")


@pytest.mark.parametrize("kind", ["?grey=0-3000&skip=unreadable", "?skip=unreadable&grey=0-3000"])
def test_files_that_are_skipped_do_not_change_the_range(tmp_path, kind):
    root = deep_classes(tmp_path / "set")
    (root / "dark" / "0.png").write_bytes(b"broken")
    found = read(f"{root}{kind}")
    assert len(found.images) == 9 and found.images.grey_range == (0, 3000)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("4095", "grey is '4095', but must be the values of black and white, such as 0-4095"),
        ("4095-0", "grey is 4095 to 0: give the value of black, and a higher one of white"),
        ("0-1e999", "grey is 0 to inf"),
        ("nan-1", "grey is 'nan-1', but must be"),
    ],
)
def test_a_range_that_is_none_is_named_with_its_place(tmp_path, given, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        read(f"{deep_classes(tmp_path / 'set')}?grey={given}")
    assert "set?grey=" in str(error.value)
