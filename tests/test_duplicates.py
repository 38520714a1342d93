"""vptlib.data.duplicates: copies are found whatever their container, their metadata or the way they are turned."""

import os

import numpy as np
import pytest
from pictures import class_folders, put, smooth
from PIL import Image

from vptlib.data import duplicates
from vptlib.data.check import check_data
from vptlib.data.duplicates import ACROSS, canonical, near_pairs
from vptlib.report.words.en import sentence

TURNS = list(Image.Transpose)
# The EXIF orientation with which a viewer shows an image as it was, after it has been turned.
UNDONE_BY = {
    Image.Transpose.FLIP_LEFT_RIGHT: 2,
    Image.Transpose.ROTATE_180: 3,
    Image.Transpose.FLIP_TOP_BOTTOM: 4,
    Image.Transpose.TRANSPOSE: 5,
    Image.Transpose.ROTATE_90: 6,
    Image.Transpose.TRANSVERSE: 7,
    Image.Transpose.ROTATE_270: 8,
}


@pytest.fixture
def folder(tmp_path):
    """Two classes, 6 training and 3 test images each, all different."""
    for split, count, first in (("train", 6, 0), ("test", 3, 100)):
        class_folders(tmp_path / "cells" / split, {"crack": count, "sound": count}, first, picture)
    return tmp_path / "cells"


def picture(number):
    return smooth(number, 96)


def check(folder):
    return check_data(f"folder:{folder}", (), progress=False)


def pairs(found):
    return [(pair.kind, pair.where) for pair in found.duplicates.itertuples()]


def oriented(turn):
    exif = Image.Exif()
    exif[0x0112] = UNDONE_BY[turn]
    return exif


COPIES = {
    "another container": ("bmp", lambda image: image, {}),
    "other metadata": ("png", lambda image: image, {"dpi": (72, 72)}),
    "a palette": ("webp", lambda image: image, {"lossless": True}),
    "alpha that hides nothing": ("png", lambda image: image.convert("RGBA"), {}),
} | {f"EXIF {turn.name}": ("png", lambda image, turn=turn: image.transpose(turn), turn) for turn in UNDONE_BY}


@pytest.mark.parametrize("name", COPIES)
def test_the_same_pixels_in_another_file_are_the_same_image(folder, name):
    suffix, change, options = COPIES[name]
    options = options if isinstance(options, dict) else {"exif": oriented(options)}
    put(folder / "test" / "crack" / f"copy.{suffix}", change(picture(0)), **options)
    assert pairs(check(folder)) == [("exact", ACROSS)]


@pytest.mark.parametrize("turn", UNDONE_BY, ids=lambda turn: turn.name)
def test_a_photograph_that_exif_turns_is_a_duplicate_of_the_upright_one(folder, turn):
    put(folder / "test" / "crack" / "copy.jpg", picture(0).transpose(turn), exif=oriented(turn), quality=95)
    assert pairs(check(folder)) == [("near", ACROSS)]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.name)
def test_a_copy_with_turned_pixels_is_reported_as_such(folder, turn, suffix):
    put(folder / "test" / "crack" / f"copy.{suffix}", picture(0).transpose(turn))
    found = check(folder)
    assert pairs(found) == [("turned", ACROSS)]
    (said,) = [sentence(f.what) for f in found.findings if f.what.code == "duplicates" and f.level == "warning"]
    assert "almost the same image, turned or mirrored" in said and "if turning does not change the class" in said


def test_turned_copies_of_other_classes_are_a_note_because_turning_may_be_the_class(folder):
    put(folder / "test" / "sound" / "copy.png", picture(0).transpose(Image.Transpose.ROTATE_90))
    found = check(folder)
    assert pairs(found) == [("turned", ACROSS)]
    assert [f.level for f in found.findings if f.what.code.startswith("duplicates")] == ["note"]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_that_is_linked_twice_is_a_duplicate(folder, link):
    link(folder / "train" / "crack" / "0.png", folder / "test" / "sound" / "link.png")
    found = check(folder)
    assert pairs(found) == [("exact", ACROSS)] and found.duplicates["classes"].tolist() == ["different"]


def test_a_photograph_and_its_lossless_copy_are_the_same_image(folder):
    photo = put(folder / "train" / "crack" / "photo.jpg", picture(50))
    put(folder / "test" / "crack" / "photo.png", Image.open(photo))
    assert pairs(check(folder)) == [("exact", ACROSS)]


def test_deep_greys_that_look_the_same_in_8_bits_are_not_called_the_same(folder):
    grey = np.asarray(picture(60).convert("L")).astype(np.uint16) * 257
    put(folder / "train" / "crack" / "deep.png", Image.fromarray(grey))
    put(folder / "test" / "crack" / "deep.png", Image.fromarray(grey ^ 1))
    assert pairs(check(folder)) == [("near", ACROSS)]


def test_files_that_cannot_be_read_are_not_searched_and_the_check_says_so(folder):
    for split in ("train", "test"):
        (folder / split / "crack" / "empty.png").write_bytes(b"")
    put(folder / "test" / "crack" / "copy.bmp", picture(0))
    found = check(folder)
    (pair,) = found.duplicates.itertuples()
    assert found.files["path"].iloc[list(pair.rows)].tolist() == [pair.first, pair.second]
    (error,) = [sentence(f.what) for f in found.findings if f.level == "error"]
    assert "not searched for duplicates" in error and found.counts().to_numpy().sum() == 19


# ---- searches that stop -----------------------------------------------------------------------------------------


def alike(count):
    """A folder's worth of pictures that look the same, but differ in pixels."""

    def draw(number):
        pixels = np.asarray(picture(0)).copy()
        pixels[number % 96, (number // 96) % 96] ^= 1
        return Image.fromarray(pixels)

    return {"crack": count, "sound": count}, draw


def test_a_search_that_stops_says_at_least(tmp_path, monkeypatch):
    counts, draw = alike(5)
    for split in ("train", "test"):
        class_folders(tmp_path / split, counts, 100 * (split == "test"), draw)
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 7)
    found = check(tmp_path)
    said = [sentence(f.what) for f in found.findings if f.what.code == "duplicates"]
    assert any(text.startswith("At least 7 pairs across train and test show") for text in said)
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 1000)
    found = check(tmp_path)
    assert any("100 pairs across train and test" in sentence(f.what) for f in found.findings) and not found.stopped


def test_a_search_that_stops_before_it_finds_anything_says_so(tmp_path, monkeypatch):
    hashes = np.zeros(40, np.uint64)
    miniatures = np.arange(40, dtype=np.uint8)[:, None].repeat(64, axis=1) * 6
    every = np.arange(40)
    assert near_pairs(hashes, miniatures, every, every) == ([], True)
    monkeypatch.setattr(duplicates, "MOST_COMPARED", 10)
    assert near_pairs(hashes, miniatures, every, every) == ([], False)
    counts, draw = alike(3)
    class_folders(tmp_path / "train", counts, 0, draw)
    class_folders(tmp_path / "test", counts, 50, lambda number: Image.eval(draw(number), lambda v: v // 2))
    found = check(tmp_path)
    said = [sentence(f.what) for f in found.findings if f.what.code == "duplicates_not_all_compared"]
    assert said and all("stopped early, so there may be some" in text for text in said)


# ---- parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", ["within", "across"])
def test_near_pairs_are_those_of_brute_force(sides):
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 2**63, 300, dtype=np.uint64)
    for bits in range(1, 6):  # 1 to 5 bits away from one of the first hundred, in random places
        for k in range(100 + 20 * bits, 120 + 20 * bits):
            flips = draw.choice(64, bits, replace=False).astype(np.uint64)
            hashes[k] = hashes[k - 100] ^ np.bitwise_or.reduce(np.uint64(1) << flips)
    hashes[240:260] = hashes[:20]
    every = np.arange(300)
    left, right = (every, every) if sides == "within" else (every[:130], every[130:])
    wanted = sorted(
        (a, b)
        for a in left.tolist()
        for b in right.tolist()
        if (a < b or sides == "across") and int(hashes[a] ^ hashes[b]).bit_count() <= 4
    )
    found, complete = near_pairs(hashes, np.zeros((300, 64), np.uint8), left, right)
    assert found == wanted and complete and len(wanted) > 30


@pytest.mark.parametrize("number", range(5))
def test_all_eight_ways_to_turn_an_image_have_one_canonical_form(number):
    image = picture(number).convert("L").resize((32, 32))
    forms = [np.asarray(image)] + [np.asarray(image.transpose(turn)) for turn in TURNS]
    turned = {canonical(form.astype(np.int64))(form).tobytes() for form in forms}
    assert len(turned) == 1
