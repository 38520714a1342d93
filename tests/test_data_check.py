"""vptlib.data.check: planted faults are found, and a clean set passes."""

import numpy as np
import pytest
from pictures import class_folders, numbered, smooth
from PIL import Image
from typer.testing import CliRunner

from vptlib.cli import app
from vptlib.data.check import check_data, near_pairs
from vptlib.data.readers import read
from vptlib.errors import UserError
from vptlib.report.words.en import sentence


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
    assert "RGB 32, L 1" in notes and "1 images are smaller than 32" in notes and "Licence" in notes


def test_near_pairs_are_those_of_brute_force():
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 2**63, 150, dtype=np.uint64)
    hashes[100:] = hashes[:50] ^ (np.uint64(1) << draw.integers(0, 64, 50).astype(np.uint64))  # one bit away
    wanted = [
        (a, b) for a in range(150) for b in range(a + 1, 150) if bin(int(hashes[a]) ^ int(hashes[b])).count("1") <= 4
    ]
    assert near_pairs(hashes) == wanted and len(wanted) >= 50
    assert len(near_pairs(np.zeros(300, np.uint64), most=1000)) == 1000


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
