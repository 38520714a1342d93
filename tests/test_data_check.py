"""vptlib.data.check: planted faults are found, and a clean set passes."""

import base64
import io
import re

import numpy as np
import pytest
from pictures import class_folders, flag, flat, numbered, put, smooth
from PIL import Image
from typer.testing import CliRunner

from vptlib.cli import app
from vptlib.data.check import check_data
from vptlib.data.inspection import inspect
from vptlib.data.readers import read
from vptlib.data.sides import MODEL_SIZES, PATCH
from vptlib.errors import UserError
from vptlib.report.data_page import write_page
from vptlib.report.words.en import sentence
from vptlib.statement import Statement
from vptlib.tuning.backbones import EMBEDDED_ARCHITECTURE, EMBEDDED_IMAGE_SIZE


@pytest.fixture
def folder(tmp_path):
    """Two classes, 12 training and 4 test images each, all different."""
    for split, count, first in (("train", 12, 0), ("test", 4, 100)):
        class_folders(tmp_path / "cells" / split, {"crack": count, "sound": count}, first, smooth)
    return tmp_path / "cells"


def check(folder, sizes=(10, 20), query=""):
    return check_data(f"folder:{folder}{query}", sizes, progress=False)


def texts(found, level):
    return [sentence(finding.what) for finding in found.findings if finding.level == level]


def test_a_clean_set_passes(folder):
    found = check(folder)
    assert found.passed and not texts(found, "warning")
    assert found.counts().to_dict() == {"train": {"crack": 12, "sound": 12}, "test": {"crack": 4, "sound": 4}}
    assert found.duplicates.empty and (found.files["mode"] == "RGB").all()


def test_files_that_cannot_be_read_are_named_and_left_out_on_request(folder):
    whole = (folder / "train" / "crack" / "3.png").read_bytes()
    (folder / "train" / "crack" / "3.png").write_bytes(whole[: len(whole) // 2])
    (folder / "test" / "sound" / "new.jpg").write_text("no image")
    found = check(folder)
    (error,) = texts(found, "error")
    assert "2 of 33 files" in error and "crack/3.png" in error and "new.jpg" in error
    without = check(folder, query="?skip=unreadable")
    assert without.passed and len(without.files) == 31
    with pytest.raises(UserError, match="skip is 'all'"):
        read(f"folder:{folder}?skip=all")


def test_the_same_file_within_and_across_splits(folder):
    image = (folder / "train" / "crack" / "0.png").read_bytes()
    (folder / "train" / "crack" / "copy.png").write_bytes(image)
    (folder / "test" / "crack" / "leak.png").write_bytes(image)
    found = check(folder)
    assert found.duplicates["kind"].tolist() == ["exact", "exact"]
    assert set(found.duplicates["where"]) == {"within train", "across train and test"}
    assert any("leak.png" in text and "flatter" in text for text in texts(found, "warning"))
    assert found.passed


def test_almost_the_same_image_across_splits(folder):
    smooth(0).resize((60, 60)).save(folder / "test" / "crack" / "again.jpg", quality=70)  # of train/crack/0.png
    found = check(folder)
    (pair,) = found.duplicates.itertuples()
    assert (pair.kind, pair.where, pair.classes) == ("near", "across train and test", "same")
    assert {pair.first, pair.second} == {str(folder / "test/crack/again.jpg"), str(folder / "train/crack/0.png")}
    assert found.files["path"].iloc[list(pair.rows)].tolist() == [pair.first, pair.second]
    assert any("almost the same image" in text for text in texts(found, "warning"))


def test_images_that_only_the_hash_takes_for_the_same_are_no_duplicates(folder):
    image = np.asarray(smooth(0)).astype(float)
    Image.fromarray((0.7 * image + 60).clip(0, 255).astype(np.uint8)).save(folder / "train" / "crack" / "paler.png")
    found = check(folder)
    hashes = found.files.set_index("path")["hash"]
    apart = hashes[str(folder / "train/crack/0.png")] ^ hashes[str(folder / "train/crack/paler.png")]
    assert int(apart).bit_count() <= 4 and found.duplicates.empty


def test_one_image_under_two_classes_is_a_warning(folder):
    (folder / "train" / "sound" / "copy.png").write_bytes((folder / "train" / "crack" / "0.png").read_bytes())
    found = check(folder)
    assert found.duplicates["classes"].tolist() == ["different"]
    assert any("of different classes" in text and "labels is wrong" in text for text in texts(found, "warning"))


def test_embedded_tasks_can_be_checked():
    found = check_data("digits", (50,), progress=False)
    assert found.passed and found.counts().sum().to_dict() == {"train": 1200, "test": 597}
    assert "UCI" in found.listing.source


def test_sizes_that_cannot_be_given_are_errors(folder):
    found = check(folder, sizes=(3, 20, 200))
    errors = texts(found, "error")
    assert len(errors) == 2 and "with 3 labelled" in errors[0] and "with 200 labelled" in errors[1]


def test_imbalance_is_a_warning(folder):
    numbered(folder / "train" / "sound" / "more", 120, 5000, smooth)
    assert any("'sound' has 132" in text and "'crack' 12" in text for text in texts(check(folder), "warning"))


def test_modes_and_small_images_are_noted(folder):
    smooth(7, 20).convert("L").save(folder / "train" / "crack" / "small.png")
    notes = " ".join(texts(check(folder), "note"))
    assert "RGB 32, L 1" in notes and "1 image is smaller than 32" in notes and "Licence" in notes


# ---- sizes ------------------------------------------------------------------------------------------------------


def of_sizes(root, *sizes):
    """Two classes of pictures, one of each size (width, height), all different."""
    for label, name in enumerate(("crack", "sound")):
        for k, size in enumerate(sizes):
            put(root / name / f"{k}.png", smooth(1000 * label + k).resize(size))
    return root


def said(found, code):
    """Level, values and sentence of the finding with a code; None if there is none."""
    for finding in found.findings:
        if finding.what.code == code:
            assert Statement.of(finding.what.plain()) == finding.what
            return finding.level, finding.what.values, sentence(finding.what)
    return None


def test_the_sizes_are_those_that_the_embedded_backbone_might_take():
    assert MODEL_SIZES[0] == EMBEDDED_IMAGE_SIZE and f"patch{PATCH}_" in EMBEDDED_ARCHITECTURE
    assert all(size % PATCH == 0 for size in MODEL_SIZES)


def test_photos_are_told_apart_from_what_the_model_sees(tmp_path):
    found = check(of_sizes(tmp_path / "photos", *[(480, 360)] * 5), sizes=(4,))
    level, values, text = said(found, "image_sizes")
    assert level == "note" and values["typical"] == [480, 360]
    assert text == "Your images are 480 × 360 px. The embedded backbone sees a square of 56 × 56 px to 224 × 224 px."
    level, values, text = said(found, "detail_lost")
    np.testing.assert_allclose(values["covered"][0], [56, 480 / 56, 360 / 56])
    assert level == "note" and values["whole_at"] is None
    assert "8.6 × 6.4 px at 56 px" in text and "2.1 × 1.6 px at 224 px" in text
    assert text.endswith("Details thinner than about 17.1, 8.6, 5.7 and 4.3 px vanish.")
    level, values, text = said(found, "shape_lost")
    assert level == "note" and values["typical"] == values["most"] == 0.25 and values["oblong"] == 10
    assert "A crop of the middle loses 25\u202f% of a typical image" in text
    assert said(found, "sizes_mixed") is None and said(found, "below_a_patch") is None
    assert said(found, "nothing_lost") is None


def test_the_typical_size_is_that_of_a_real_image_and_the_range_of_all_is_given(tmp_path):
    _, values, text = said(
        check(of_sizes(tmp_path, (100, 80), (80, 100), (90, 70), (70, 90), (200, 300))), "image_sizes"
    )
    assert tuple(values["typical"]) in {(100, 80), (80, 100)}
    assert (values["widths"], values["heights"]) == ([70, 200], [70, 300])
    assert "(median; width 70 to 200, height 70 to 300)" in text


def test_only_the_sizes_that_shrink_an_image_lose_detail(tmp_path):
    _, values, text = said(check(of_sizes(tmp_path, *[(140, 70)] * 3)), "detail_lost")
    assert values["covered"] == [[56, 2.5, 1.25], [112, 1.25, 1]] and values["whole_at"] == 168
    assert text.endswith("Details thinner than about 5 and 2.5 px vanish. At 168 px it loses nothing.")


@pytest.mark.parametrize(("largest", "lost"), [(56, False), (57, True)])
def test_images_no_larger_than_the_smallest_input_lose_nothing(tmp_path, largest, lost):
    found = check(of_sizes(tmp_path, (40, 40), (40, 40), (largest, 50)))
    assert (said(found, "nothing_lost") is None) == lost and (said(found, "detail_lost") is None) != lost
    assert "no detail" in (said(found, "detail_lost" if lost else "nothing_lost")[2]) or lost
    if lost:
        assert said(found, "detail_lost")[1] == {"covered": [], "whole_at": 56}


def test_square_images_lose_nothing_to_a_crop_and_panoramas_most(tmp_path):
    assert said(check(of_sizes(tmp_path / "a", *[(60, 60)] * 3)), "shape_lost") is None
    level, values, text = said(check(of_sizes(tmp_path / "b", (60, 60), (300, 60), (400, 60))), "shape_lost")
    assert level == "warning" and values["typical"] == 0.8 and values["most"] == 0.85
    assert (values["oblong"], values["above"], values["images"]) == (4, 4, 6)
    assert "Not square: 4 of 6 images" in text and "85\u202f% at most, and more than 50\u202f% of 4 images" in text


def test_mixed_sizes_from_40_to_8000_pixels_are_a_warning_with_counts(tmp_path):
    root = of_sizes(tmp_path, *[(480, 360)] * 4, (40, 40))
    put(root / "crack" / "huge.png", flat(size=(8000, 500)))
    level, values, text = said(check(root), "sizes_mixed")
    assert level == "warning" and (values["smallest"], values["largest"]) == ([40, 40], [8000, 500])
    assert (values["below"], values["above"], values["images"]) == (2, 1, 11)
    assert "from 40 × 40 px to 8,000 × 500 px" in text and "2 of 11 images; more than 3 times it: 1." in text


@pytest.mark.parametrize(("side", "mixed"), [(399, False), (400, True)])
def test_sizes_are_mixed_from_ten_times_the_side(tmp_path, side, mixed):
    assert (said(check(of_sizes(tmp_path, (40, 40), (side, side))), "sizes_mixed") is not None) == mixed


@pytest.mark.parametrize(("size", "tiny"), [((13, 60), True), ((60, 13), True), ((14, 14), False)])
def test_images_smaller_than_a_patch_are_named(tmp_path, size, tiny):
    found = check(of_sizes(tmp_path, (60, 60), size, (60, 60)), sizes=(4,))
    assert (said(found, "below_a_patch") is not None) == tiny and found.passed
    if tiny:
        level, values, text = said(found, "below_a_patch")
        assert level == "warning" and values["tiny"] == 2 and values["images"] == 6
        assert "one patch of the model (14 px): 2 of 6 images" in text
        assert str(tmp_path / "crack/1.png") in text and str(tmp_path / "sound/1.png") in text


def test_many_images_smaller_than_a_patch_are_named_up_to_three(tmp_path):
    text = said(check(of_sizes(tmp_path, *[(10, 10)] * 3)), "below_a_patch")[2]
    assert text.count(".png") == 3 and "and 3 more." in text


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_size_of_a_photograph_is_that_of_the_right_way_up(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # it was taken with the camera on its side
    turned = inspect(put(tmp_path / f"a{suffix}", flag(300, 100), exif=exif))
    upright = inspect(put(tmp_path / f"b{suffix}", flag(300, 100)))
    assert (turned["width"], turned["height"]) == (100, 300) and (upright["width"], upright["height"]) == (300, 100)


def test_files_that_cannot_be_read_have_no_size(tmp_path):
    root = of_sizes(tmp_path, *[(60, 60)] * 3)
    (root / "crack" / "3.png").write_bytes(b"")
    found = check(root)
    assert said(found, "below_a_patch") is None and said(found, "image_sizes")[1]["widths"] == [60, 60]
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    assert said(check(root), "image_sizes") is None


def pictures_on(html):
    """Descriptions and pictures of the page's table of what the model sees, in order."""
    table = html[html.index('<div class="table seen">') :]
    found = re.findall(
        r'<img alt="([^"]+)" src="data:image/(?:png|jpeg);base64,([^"]+)"', table[: table.index("</table>")]
    )
    return [(alt, Image.open(io.BytesIO(base64.b64decode(data)))) for alt, data in found]


def test_the_page_shows_three_images_as_the_model_sees_them(tmp_path):
    root = class_folders(tmp_path / "flags", {"a": 4, "b": 4, "c": 4, "d": 4}, draw=lambda k: flag(300 + k % 1000, 100))
    write_page(check(root), "Flags", tmp_path / "page.html")
    shown = pictures_on((tmp_path / "page.html").read_text())
    assert len(shown) == 9
    for k in range(3):
        (of_image, image), (of_small, small), (of_large, large) = shown[3 * k : 3 * k + 3]
        assert of_image.startswith(f"Image of class {'abc'[k]}, 30") and image.size == (300, 100)
        assert (of_small, of_large) == ("The same, 56 × 56 px", "The same, 224 × 224 px")
        assert small.size == (56, 56) and large.size == (224, 224)
        assert small.getpixel((28, 28)) == (0, 255, 0) and small.getpixel((2, 28)) == (0, 255, 0)  # green alone


def test_a_page_can_be_written_of_images_that_are_extreme_or_cannot_be_read(tmp_path):
    root = of_sizes(tmp_path / "images", (8000, 40), (1, 1), (2, 3000), (60, 60))
    write_page(check(root), "Extreme", tmp_path / "page.html")
    assert len(pictures_on((tmp_path / "page.html").read_text())) == 6
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    write_page(check(root), "None", tmp_path / "page.html")
    assert 'class="table seen"' not in (tmp_path / "page.html").read_text()


# ---- helpers and the command ------------------------------------------------------------------------------------


def test_the_command_prints_writes_a_page_and_says_by_its_exit_code_whether_to_go_on(folder, tmp_path):
    out = tmp_path / "page.html"
    arguments = ["data", "check", str(folder), "--out", str(out), "--sizes", "10,20"]
    good = CliRunner().invoke(app, arguments)
    assert good.exit_code == 0 and "crack" in good.output and str(out) in good.output.replace("\n", "")
    html = out.read_text()
    assert "data:image/jpeg" in html and "<script" not in html and "http" not in html.replace("http-equiv", "")
    (folder / "train" / "crack" / "0.png").write_bytes(b"")
    bad = CliRunner().invoke(app, arguments)
    assert bad.exit_code == 1 and "crack/0.png" in out.read_text() and "cannot go on" in bad.output
    wrong = CliRunner().invoke(app, ["data", "check", str(folder), "--sizes", "ten"])
    assert wrong.exit_code == 1 and "--sizes" in wrong.output
