"""vptlib.data.files: files of every kind become the same RGB, and are decoded once."""

import errno
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import small_vit
from pictures import flag, numbered, put, smooth
from PIL import Image

from vptlib.data import files as module
from vptlib.data import preparing
from vptlib.data.decoding import decode, held
from vptlib.data.files import (
    ASPECTS,
    PAD_GREY,
    ImageFiles,
    LazyImages,
    ListedImages,
    fitted,
    middle_square,
    squared,
)
from vptlib.data.preparing import ImageSet, Preprocessing, prepare
from vptlib.errors import UserError
from vptlib.tuning.methods import build_method
from vptlib.tuning.training import Recipe, evaluate, fit

PLAIN = Preprocessing(8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")


pytestmark = pytest.mark.usefixtures("own_cache")


def colours(height=6, width=8):
    """Red to the left, blue to the right, darker towards the bottom."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = np.linspace(250, 100, height).astype(np.uint8)[:, None]
    image[:, width // 2 :, 2] = np.linspace(250, 100, height).astype(np.uint8)[:, None]
    return image


def files(folder, count=5):
    """Pictures of different sizes."""
    return numbered(folder, count, draw=lambda number: smooth(number, side=6 + number))


def test_images_of_different_sizes_are_prepared_as_one_set(tmp_path):
    paths = files(tmp_path)
    lazy = LazyImages(ImageFiles(paths), np.arange(5), np.array([0, 1, 0, 1, 0]))
    prepared = prepare(lazy.select(np.array([4, 1])), PLAIN).tensors
    assert prepared[0].shape == (2, 3, 8, 8) and prepared[1].tolist() == [0, 1]
    for row, number in enumerate((4, 1)):
        wanted = Image.open(paths[number]).resize((8, 8), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(prepared[0][row].numpy() * 255, np.asarray(wanted).transpose(2, 0, 1), atol=1e-3)


def test_pillow_s_scaling_is_that_of_the_embedded_tasks(tmp_path):
    """The same image by file and by array: within the rounding to 8 bits and small differences of the filters."""
    smooth = np.asarray(Image.fromarray(colours(4, 4)).resize((40, 40), Image.Resampling.BICUBIC))
    path = put(tmp_path / "a.png", Image.fromarray(smooth))
    by_file = prepare(LazyImages(ImageFiles([path]), np.array([0]), np.array([0])), PLAIN).tensors[0]
    by_array = prepare(ImageSet(smooth[None], np.array([0])), PLAIN).tensors[0]
    assert (by_file - by_array).abs().max() < 1.5 / 255


def test_each_image_is_decoded_once_and_by_later_processes_not_at_all(tmp_path, monkeypatch):
    paths, seen = files(tmp_path), []
    monkeypatch.setattr(module, "held", lambda path, *how: seen.append(path.name) or held(path, *how))
    source = ImageFiles(paths)
    first = source.pixels(np.array([0, 3, 0]), 8, "bilinear")
    again = source.pixels(np.array([3, 1]), 8, "bilinear")
    assert sorted(seen) == ["0.png", "1.png", "3.png"]
    np.testing.assert_array_equal(first[1], again[0])
    np.testing.assert_array_equal(ImageFiles(paths).pixels(np.array([3]), 8, "bilinear")[0], again[0])
    assert len(seen) == 3
    source.pixels(np.array([3]), 10, "bilinear")
    assert len(seen) == 4  # another size is another image


def test_a_changed_file_is_decoded_again(tmp_path):
    paths = files(tmp_path, 2)
    before = ImageFiles(paths).pixels(np.array([0]), 8, "bilinear")
    put(paths[0], Image.new("RGB", (9, 9), "green"))
    after = ImageFiles(paths).pixels(np.array([0]), 8, "bilinear")
    assert after[0, 0, 0].tolist() == [0, 128, 0] and not np.array_equal(before, after)


def test_what_is_too_much_is_decoded_and_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT_BYTES", 10)
    source = ImageFiles(files(tmp_path))
    assert source.pixels(np.array([2, 0]), 8, "bilinear").shape == (2, 8, 8, 3)
    assert not (tmp_path / "cache").exists()


def test_a_stopped_process_leaves_no_row_that_is_called_done(tmp_path, monkeypatch):
    source = ImageFiles(files(tmp_path))

    def stop(path, *how):
        if path.name == "3.png":
            raise KeyboardInterrupt
        return held(path, *how)

    monkeypatch.setattr(module, "held", stop)
    with pytest.raises(KeyboardInterrupt):
        source.pixels(np.arange(5), 8, "bilinear")
    monkeypatch.setattr(module, "held", held)
    fresh = source.decoded(np.arange(5), 8, "bilinear")
    np.testing.assert_array_equal(source.pixels(np.arange(5), 8, "bilinear"), fresh)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VPTLIB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="VPTLIB_CACHE"):
        ImageFiles(files(tmp_path)).pixels(np.array([0]), 8, "bilinear")


# ---- what is kept on disk ---------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path):
    path.write_bytes(b"")


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


def one_bit_changed(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def rows_swapped(path):
    raw = path.read_bytes()
    one = len(raw) // 5
    path.write_bytes(raw[one : 2 * one] + raw[:one] + raw[2 * one :])


def noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def too_long(path):
    path.write_bytes(path.read_bytes() * 2)


DAMAGES = [cut, emptied, zeroed, one_bit_changed, rows_swapped, noise, too_long, lambda path: path.unlink()]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("while_in_use", [False, True])
def test_kept_images_that_were_damaged_are_decoded_again(tmp_path, damage, while_in_use):
    paths, rows = files(tmp_path), np.array([4, 0, 2, 1, 3, 2])
    source = ImageFiles(paths)
    wanted = source.pixels(rows, 8, "bilinear")
    np.testing.assert_array_equal(wanted, source.decoded(rows, 8, "bilinear"))
    (kept,) = (module.cache_folder() / "decoded").iterdir()
    whole = kept.read_bytes()
    damage(kept)
    again = source if while_in_use else ImageFiles(paths)
    np.testing.assert_array_equal(again.pixels(rows, 8, "bilinear"), wanted)
    assert kept.read_bytes()[: len(whole)] == whole  # mended on the way


def test_keeping_after_a_loss_decodes_what_was_lost(tmp_path):
    source, seen = ImageFiles(files(tmp_path)), []
    images = LazyImages(source, np.arange(5), np.zeros(5, int))
    images.keep(8, "bilinear")
    cut(next((module.cache_folder() / "decoded").iterdir()))
    images.keep(8, "bilinear", seen.append)
    assert seen == [3]


def test_what_earlier_versions_kept_is_not_read_and_removed(tmp_path):
    source, folder = ImageFiles(files(tmp_path)), module.cache_folder() / "decoded"
    name = sha256(f"{source.digest} 8 bilinear".encode()).hexdigest()[:32]
    folder.mkdir(parents=True)
    (folder / f"{name}.pixels").write_bytes(bytes(5 * 8 * 8 * 3))
    (folder / f"{name}.done").write_bytes(b"\1" * 5)
    assert source.pixels(np.arange(5), 8, "bilinear").any(axis=(1, 2, 3)).all()
    assert [path.name for path in folder.iterdir()] == [f"{name}.images"]


def test_two_processes_may_keep_the_same_images_at_once(tmp_path):
    paths, rows = files(tmp_path, 40), np.arange(40)
    wanted = ImageFiles(paths).decoded(rows, 8, "bilinear")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ImageFiles(paths).pixels(rows, 8, "bilinear"), range(8)))
    assert all(np.array_equal(one, wanted) for one in found)


def test_a_disk_that_fills_while_images_are_kept_is_reported(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.KeptImages, "write", full)
    with pytest.raises(UserError, match=r"cannot be kept in .*No space left on device\): free .* VPTLIB_CACHE"):
        ImageFiles(files(tmp_path)).pixels(np.arange(5), 8, "bilinear")


# ---- how an image becomes square ------------------------------------------------------------------------------------

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (PAD_GREY,) * 3


def colours_of(square):
    """The different colours of an image."""
    return set(map(tuple, np.asarray(square).reshape(-1, 3).tolist()))


@pytest.mark.parametrize("size", [10, 100, 150])
@pytest.mark.parametrize(("width", "height"), [(300, 100), (100, 300)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_crop_sees_only_the_middle(width, height, size, interpolation):
    square = squared(flag(width, height), size, interpolation, "crop")
    assert square.size == (size, size) and colours_of(square) == {GREEN}


@pytest.mark.parametrize("turned", [False, True])
def test_padding_shows_the_whole_image_between_two_grey_bars(turned):
    square = np.asarray(squared(flag(*((100, 300) if turned else (300, 100))), 30, "bicubic", "pad"))
    square = square.transpose(1, 0, 2) if turned else square
    assert colours_of(square[:10]) == colours_of(square[20:]) == {GREY}
    for k, colour in enumerate((RED, GREEN, BLUE)):
        assert colours_of(square[10:20, 10 * k + 3 : 10 * k + 7]) == {colour}
    assert GREY not in colours_of(square[10:20])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_squashed_images_are_those_of_earlier_versions(tmp_path, interpolation):
    path = put(tmp_path / "a.jpg", flag(), quality=95)
    with Image.open(path) as image:
        wanted = np.asarray(image.convert("RGB").resize((56, 56), Image.Resampling[interpolation.upper()]))
    source = ImageFiles([path])
    for found in (source.pixels(np.array([0]), 56, interpolation), source.decoded(np.array([0]), 56, interpolation)):
        np.testing.assert_array_equal(found[0], wanted)
    assert colours_of(squared(flag(), 3, "bilinear", "squash")) != {GREEN}


@pytest.mark.parametrize("aspect", ASPECTS)
def test_a_square_image_is_the_same_under_every_aspect(tmp_path, aspect):
    for path in (put(tmp_path / "a.png", smooth(1, 40)), put(tmp_path / "a.jpg", smooth(1, 400))):
        source = ImageFiles([path])
        for size in (8, 40, 56):
            found = source.decoded(np.array([0]), size, "bicubic", aspect)[0]
            np.testing.assert_array_equal(
                found, np.asarray(decode(path).resize((size, size), Image.Resampling.BICUBIC))
            )


def kept_names():
    return {path.name for path in (module.cache_folder() / "decoded").glob("*.images")}


def test_each_aspect_keeps_its_own_images(tmp_path):
    source = ImageFiles([put(tmp_path / "a.png", flag()), put(tmp_path / "b.png", flag(90, 90))])
    rows, seen = np.array([0, 1]), {}
    for aspect in ASPECTS:
        before = kept_names() if seen else set()
        seen[aspect] = source.pixels(rows, 8, "bilinear", aspect)
        (name,) = kept_names() - before
        assert (name == f"{sha256(f'{source.digest} 8 bilinear'.encode()).hexdigest()[:32]}.images") == (
            aspect == "squash"
        )
    assert all(np.array_equal(seen[aspect][1], seen["squash"][1]) for aspect in ASPECTS)  # the square one
    assert len({seen[aspect][0].tobytes() for aspect in ASPECTS}) == 3


def test_images_that_are_all_square_are_kept_once_for_every_aspect(tmp_path, monkeypatch):
    source, seen = ImageFiles(files(tmp_path)), []
    assert source.all_square
    monkeypatch.setattr(module, "held", lambda path, *how: seen.append(path) or held(path, *how))
    first = source.pixels(np.arange(5), 8, "bilinear", "crop")
    LazyImages(source, np.arange(5), np.zeros(5, int)).keep(8, "bilinear", aspect="pad")
    np.testing.assert_array_equal(source.pixels(np.arange(5), 8, "bilinear"), first)
    assert len(seen) == 5 and len(kept_names()) == 1


def test_a_set_is_square_only_if_every_image_is(tmp_path):
    paths = files(tmp_path)
    (tmp_path / "broken.png").write_text("no image")  # it is named when it is decoded
    assert ImageFiles([*paths, tmp_path / "broken.png", tmp_path / "missing.png"]).all_square
    assert not ImageFiles([*paths, put(tmp_path / "oblong.png", flag(9, 8))]).all_square
    assert ListedImages(2, lambda k: smooth(k)).all_square
    assert not ListedImages(2, lambda k: flag(9, 8 + k)).all_square


@pytest.mark.parametrize(("width", "height"), [(8000, 40), (40, 8000), (3000, 1), (1, 3000), (1, 1), (57, 56)])
@pytest.mark.parametrize("aspect", ASPECTS)
def test_extreme_shapes_become_squares(width, height, aspect):
    square = squared(Image.new("RGB", (width, height), RED), 56, "bicubic", aspect)
    assert square.size == (56, 56)
    assert colours_of(square) == ({RED} if aspect != "pad" or width == height else {RED, GREY})


@given(width=st.integers(1, 10_000), height=st.integers(1, 10_000), side=st.integers(1, 600))
def test_the_middle_square_lies_within_and_a_fitted_image_too(width, height, side):
    left, top, right, bottom = middle_square(width, height)
    assert right - left == bottom - top == min(width, height)
    assert abs(left - (width - right)) <= 1 and abs(top - (height - bottom)) <= 1
    fit = fitted(width, height, side)
    assert max(fit) == side and min(fit) >= 1
    assert abs(min(fit) - max(1, side * min(width, height) / max(width, height))) <= 0.5


@pytest.mark.parametrize("aspect", ASPECTS)
def test_a_large_oblong_jpeg_is_decoded_smaller_unless_it_is_squashed(tmp_path, monkeypatch, aspect):
    path, sizes = put(tmp_path / "a.jpg", smooth(3, 1200).resize((1600, 1200)), quality=95), []
    monkeypatch.setattr(module, "squared", lambda image, *how: sizes.append(image.size) or squared(image, *how))
    found = ImageFiles([path]).decoded(np.array([0]), 56, "bicubic", aspect)[0].astype(int)
    assert sizes == [(1600, 1200) if aspect == "squash" else (400, 300)]  # the least is 4 × 56
    assert np.abs(found - np.asarray(squared(decode(path), 56, "bicubic", aspect))).max() <= 4


# ---- large sets -------------------------------------------------------------------------------------------------


def test_a_large_set_is_prepared_batch_by_batch_with_the_same_numbers(tmp_path, monkeypatch):
    lazy = LazyImages(ImageFiles(files(tmp_path)), np.arange(5), np.array([0, 1, 0, 1, 0]))
    array = ImageSet(lazy.pixels(13, "bilinear"), lazy.labels)  # of another size than the backbone's
    for images in (lazy, array):
        whole = prepare(images, PLAIN).tensors[0]
        with monkeypatch.context() as patch:
            patch.setattr(preparing, "MOST_PREPARED_BYTES", 10)
            by_batch, labels = prepare(images, PLAIN).tensors
        assert isinstance(by_batch, preparing.LazyPixels) and by_batch.shape == whole.shape and len(by_batch) == 5
        assert by_batch.nbytes == whole.nbytes and labels.tolist() == [0, 1, 0, 1, 0]
        order = torch.tensor([3, 0, 3])
        assert torch.equal(by_batch[order], whole[order])
        assert torch.equal(by_batch[1:3], whole[1:3]) and torch.equal(by_batch[-1], whole[-1])
        assert torch.equal(torch.cat(list(by_batch.split(2))), whole)


def test_training_on_a_large_set_is_the_same_training(tmp_path, monkeypatch):
    lazy = LazyImages(ImageFiles(files(tmp_path, 8)), np.arange(8), np.arange(8) % 2)
    wanted = Preprocessing(28, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "bicubic")
    histories, found = [], []
    for most in (2**30, 10):
        monkeypatch.setattr(preparing, "MOST_PREPARED_BYTES", most)
        prepared = prepare(lazy, wanted)
        torch.manual_seed(0)
        model = build_method("vpt-deep", small_vit(), 2)
        histories.append(fit(model, prepared, prepared, Recipe(1e-2, steps=6, batch_size=3)))
        found.append(evaluate(model, prepared))
    assert histories[0].train_loss == histories[1].train_loss and histories[0].val_loss == histories[1].val_loss
    assert found[0].loss == found[1].loss and found[0].predictions.tolist() == found[1].predictions.tolist()


def test_keeping_decodes_without_holding_and_says_how_far_it_is(tmp_path, monkeypatch):
    source, seen = ImageFiles(files(tmp_path)), []
    LazyImages(source, np.array([1, 3]), np.array([0, 1])).keep(8, "bilinear", seen.append)
    assert seen == [2]
    monkeypatch.setattr(module, "held", lambda *_: pytest.fail("decoded again"))
    source.pixels(np.array([3, 1]), 8, "bilinear")


def test_a_full_disk_is_reported_before_decoding(tmp_path, monkeypatch):
    source = ImageFiles(files(tmp_path))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(UserError, match=r"0 MB are free\): free .* VPTLIB_CACHE"):
        source.pixels(np.arange(5), 8, "bilinear")
