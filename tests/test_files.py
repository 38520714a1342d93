"""vptlib.data.files: files of every kind become the same RGB, and are decoded once."""

import numpy as np
import pytest
import torch
from models import small_vit
from pictures import numbered, put, smooth
from PIL import Image

from vptlib.data import files as module
from vptlib.data import preparing
from vptlib.data.files import ImageFiles, LazyImages, decode
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


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_photographs_are_turned_as_they_were_taken(tmp_path, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = put(tmp_path / "a.png", Image.fromarray(colours()), exif=exif)
    np.testing.assert_array_equal(np.asarray(decode(path)), np.rot90(colours(), turns))


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
    monkeypatch.setattr(module, "decode", lambda path: seen.append(path.name) or decode(path))
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

    def stop(path):
        if path.name == "3.png":
            raise KeyboardInterrupt
        return decode(path)

    monkeypatch.setattr(module, "decode", stop)
    with pytest.raises(KeyboardInterrupt):
        source.pixels(np.arange(5), 8, "bilinear")
    monkeypatch.setattr(module, "decode", decode)
    fresh = source.decoded(np.arange(5), 8, "bilinear")
    np.testing.assert_array_equal(source.pixels(np.arange(5), 8, "bilinear"), fresh)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VPTLIB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="VPTLIB_CACHE"):
        ImageFiles(files(tmp_path)).pixels(np.array([0]), 8, "bilinear")


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
    monkeypatch.setattr(module, "decode", lambda path: pytest.fail("decoded again"))
    source.pixels(np.array([3, 1]), 8, "bilinear")


def test_a_full_disk_is_reported_before_decoding(tmp_path, monkeypatch):
    source = ImageFiles(files(tmp_path))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(UserError, match=r"0 MB are free\): free .* VPTLIB_CACHE"):
        source.pixels(np.arange(5), 8, "bilinear")
