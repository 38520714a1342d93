"""vptlib.data.folders: what was meant by folders, a row each: what is understood and said, or the sentence."""

import json
import os

import pytest
from pictures import numbered, put

from vptlib import load_task
from vptlib.data.listing import one_spelling
from vptlib.data.readers import read
from vptlib.data.split_names import is_beside, split_kind
from vptlib.errors import UserError
from vptlib.report.words.en import sentence

pytestmark = pytest.mark.usefixtures("own_cache")
EACH = 4  # images in a folder of a row


def made(root, *folders, files=()):
    """Folders of four images each, and empty files."""
    for k, folder in enumerate(folders):
        numbered(root / folder, EACH, 100 * k)
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")
    return root


def both(*splits, classes=("a", "b")):
    return [f"{split}/{name}" for split in splits for name in classes]


def codes(listing):
    return {finding.what.code for finding in listing.remarks}


def said(listing):
    return "\n".join(sentence(finding.what) for finding in listing.remarks)


# Folders → classes, training and test images, codes of what is said of them.
SPLITS, CLASSES = {"folders_are_splits"}, {"folders_are_classes", "quarter_tests"}
UNDERSTOOD = {
    "class folders": (["a", "b"], "ab", 6, 2, CLASSES),
    "splits": (both("train", "test"), "ab", 8, 8, SPLITS),
    "three splits": (both("train", "val", "test"), "ab", 16, 8, SPLITS),
    "only training images": (both("train"), "ab", 6, 2, SPLITS | {"quarter_tests"}),
    "only training and validation": (both("train", "val"), "ab", 8, 8, SPLITS | {"held_out_tests"}),
    "masks next to splits": ([*both("train", "test"), "masks"], "ab", 8, 8, SPLITS | {"folder_passed_over"}),
    "sorted masks": ([*both("train", "test", "ground_truth")], "ab", 8, 8, SPLITS | {"folder_passed_over"}),
    "a hold-out": ([*both("train", "test", "holdout")], "ab", 8, 8, SPLITS | {"folder_passed_over"}),
    "another test": ([*both("train", "test", "test_hard")], "ab", 8, 8, SPLITS | {"folder_passed_over"}),
    "documents": ([*both("train", "test"), "docs/figures"], "ab", 8, 8, SPLITS | {"folder_passed_over"}),
    "a test without labels": ([*both("train"), "test"], "ab", 6, 2, SPLITS | {"split_without_classes"}),
    "the same, and val": ([*both("train", "val"), "test"], "ab", 8, 8, {"split_without_classes", "held_out_tests"}),
    "images next to classes": (["a", "b", "."], "ab", 6, 2, CLASSES | {"images_without_class"}),
    "images next to splits": ([*both("train", "test"), "."], "ab", 8, 8, SPLITS | {"images_without_class"}),
    "images in a split": ([*both("train", "test"), "train"], "ab", 8, 8, SPLITS | {"images_without_class"}),
    "splits in classes": (["a/train", "a/test", "b/train", "b/test"], "ab", 8, 8, {"splits_in_classes"}),
    "val in classes": (["a/train", "a/val", "b/train", "b/val"], "ab", 8, 8, {"splits_in_classes", "held_out_tests"}),
    "masks in classes": (["a/train", "a/test", "a/masks", "b/train", "b/test"], "ab", 8, 8, {"folder_passed_over"}),
    "Intel scenes": (
        [*both("seg_train/seg_train", "seg_test/seg_test"), "seg_pred/seg_pred"],
        "ab", 8, 8, SPLITS | {"folder_passed_over"},
    ),
    "a folder that wraps": (both("data/train", "data/test"), "ab", 8, 8, SPLITS | {"folder_entered"}),
    "two that wrap": (both("x/y"), "ab", 6, 2, CLASSES | {"folder_entered"}),
    "EuroSAT": (["EuroSAT/2750/a", "EuroSAT/2750/b"], "ab", 6, 2, CLASSES | {"folder_entered"}),
    "chest X-rays twice": (
        both("x/train", "x/val", "x/test", "x/x/train", "x/x/test"), "ab", 16, 8, SPLITS | {"folder_passed_over"},
    ),
    "images and masks": (both("images", "masks"), "ab", 6, 2, CLASSES | {"folder_passed_over", "folder_entered"}),
    "COVID-19 radiographs": (
        ["a/images", "a/masks", "b/images", "b/masks"], "ab", 6, 2, CLASSES | {"folder_passed_over", "deeper_folders"},
    ),
    "Tiny ImageNet": (
        ["train/a/images", "train/b/images", "val/images", "test/images"], "ab", 6, 2, {"split_without_classes"},
    ),
    "ImageNet": (both("ILSVRC/Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/val"), "ab", 8, 8, {"held_out_tests"}),
    "folders in classes": (["a/lot 1", "a/lot 2", "b/lot 1"], "ab", 9, 3, CLASSES | {"deeper_folders"}),
    "valid and invalid": (["valid", "invalid"], ("invalid", "valid"), 6, 2, CLASSES),
    "a class called train": (["car", "plane", "train"], ("car", "plane", "train"), 9, 3, CLASSES),
    "masks worn": (["mask", "no_mask"], ("mask", "no_mask"), 6, 2, CLASSES | {"doubtful_class"}),
    "a background": (["__background__", "_x"], ("__background__", "_x"), 6, 2, CLASSES | {"clutter_class"}),
    "Caltech-101": (
        ["101_ObjectCategories/BACKGROUND_Google", "101_ObjectCategories/ant"],
        ("BACKGROUND_Google", "ant"), 6, 2, CLASSES | {"clutter_class"},
    ),
    "a hidden folder": (["a", "b", ".c"], "ab", 6, 2, CLASSES | {"hidden_passed_over"}),
    "system folders": (
        ["a", "b", "@eaDir/a", "#recycle", "__MACOSX/a", ".thumbnails", "lost+found", "$RECYCLE.BIN",
         "System Volume Information", ".ipynb_checkpoints", "a/@eaDir/x"],
        "ab", 6, 2, CLASSES,
    ),
    "a class that is not tested": ([*both("train"), "test/a"], "ab", 8, 4, SPLITS | {"classes_without_test"}),
    "case across splits": (["train/A x", "train/b", "test/a X", "test/b"], ("A x", "b"), 8, 8, {"spellings_joined"}),
    "zeros across splits": (["train/1", "train/2", "test/01", "test/02"], "12", 8, 8, {"spellings_joined"}),
    "a space across splits": (["train/a", "train/b", "test/a ", "test/b"], "ab", 8, 8, {"spellings_joined"}),
    "case across train and val": (
        ["train/Ab", "val/aB", "test/Ab", "train/c", "test/c"], ("Ab", "c"), 12, 8, {"spellings_joined"},
    ),
    "composed or not": (["é", "e\u0301", "b"], "bé", 9, 3, CLASSES | {"spellings_joined"}),
    "letters": (["a", "A"], "Aa", 6, 2, CLASSES),
    "Japanese splits": (both("学習データ", "テスト用"), "ab", 8, 8, SPLITS),
}  # fmt: skip
SAYS_WHAT_IT_TOOK = {"folders_are_splits", "folders_are_classes", "splits_in_classes"}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_folders_are_read_as_meant_and_it_is_said(tmp_path, name):
    folders, classes, train, test, remarks = UNDERSTOOD[name]
    found = read(str(made(tmp_path / "data", *folders)))
    assert found.class_names == tuple(classes)
    assert [(found.splits == split).sum() for split in ("train", "test")] == [train, test]
    assert remarks <= codes(found) and codes(found) & SAYS_WHAT_IT_TOOK
    assert not codes(found) - remarks - SAYS_WHAT_IT_TOOK - {"quarter_tests", "folder_entered", "deeper_folders"}
    assert str(tmp_path) not in said(found)  # no path of a machine in a report
    json.dumps([finding.what.plain() for finding in found.remarks]).encode()


REFUSED = {
    "MVTec, all": ([f"{c}/{p}" for c in "xy" for p in ("train/good", "test/good", "test/cut")], r"folder:.*data/x"),
    "MVTec, one": (["train/good", "test/good", "test/cut", "ground_truth/cut"], "'cut' has test images.*folder:.*test"),
    "classes next to a split": ([*both("train"), "car", "plane"], r"train/ can be a split.*\?ignore=car,plane"),
    "a test next to classes": (["a", "b", *both("test")], r"test/ can be a split.*\?train=FOLDER"),
    "two of a kind": (both("train", "training_set", "test"), r"train/ and training_set/ read as the same split"),
    "two tests": (both("train", "evaluation", "test"), r"evaluation/ and test/ read as the same split"),
    "two cases of a split": (both("train", "Train", "test"), "Train/ and train/ read as the same split"),
    "splits without classes": (["train", "test"], "test/ and train/ hold images, but no sub-folder for each class"),
    "object detection": (["train/images", "val/images"], "hold images, but no sub-folder for each class"),
    "splits in some classes": (["a/train", "a/test", "b"], "a/ holds splits of its own, but b/ does not"),
    "data sets side by side": (both("x/train", "x/test", "y/train", "y/test"), "if it is a data set, name it alone"),
    "unlabelled": (["a", "b", "unlabelled"], r"unlabelled/ can hardly be a class.*\?ignore=unlabelled"),
    "masks among classes": (["train/a", "train/b", "train/masks", "test/a"], r"masks/ can hardly be a class"),
    "flat images and masks": (["images", "masks"], "images holds no images in sub-folders"),
    "case": (["Crack", "crack"], "'Crack' and 'crack' may be one class in 2 spellings"),
    "numbers": (["1", "01", "001"], "'001', '01' and '1' may be one class in 3"),
    "width": (["ｶﾒﾗ", "カメラ"], "may be one class"),
    "the sign between words": (["hot_spot", "hot spot"], "may be one class"),
    "case in a test": ([*both("train"), "test/aa", "test/Aa"], "'Aa' and 'aa' may be one class"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_with_the_way_out(tmp_path, name):
    folders, words = REFUSED[name]
    root = made(tmp_path / "data", *folders)
    with pytest.raises(UserError, match=words) as error:
        read(str(root))
    assert "\n" not in str(error.value) and str(root) in str(error.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["labels.csv"], r"'labels.csv' lists images and labels.*table:PATH"),
        (["state.json", "x.arrow"], "write hf:"),
        (["train800val200.txt"], "VTAB-1k"),
    ],
)
def test_what_another_reader_reads_is_named(tmp_path, files, words):
    with pytest.raises(UserError, match=words):
        read(f"folder:{made(tmp_path, '.', files=files)}")


def test_labels_in_file_names_are_seen(tmp_path):
    for k in range(6):
        put(tmp_path / "images" / f"{('cat', 'dog')[k % 2]}.{k}.jpg")
    with pytest.raises(UserError, match=r"names of the files give the class \('cat', 'dog'\)"):
        read(str(tmp_path))


def test_images_that_cannot_be_read_are_counted_where_there_are_no_others(tmp_path):
    with pytest.raises(UserError, match=r"no images in sub-folders that can be read, but 2 .cr3 files"):
        read(str(made(tmp_path, files=["a/1.cr3", "b/2.CR3", "a/readme.txt"])))


# ---- options ----------------------------------------------------------------------------------------------------


def test_the_user_names_the_splits(tmp_path):
    root = made(tmp_path, *both("old", "new", "x/hard"))
    found = read(f"{root}?train=old,new&test=x/hard")
    assert found.class_names == ("a", "b") and found.splits.tolist() == ["train"] * 16 + ["test"] * 8
    assert "old/ and new/ to train on, hard/ to test on" in said(found)
    assert (read(f"{root}?train=new").splits == "test").sum() == 2
    for query, words in {
        "test=new": r"needs \?train=FOLDER",
        "train=nwe": r"'nwe' for \?train=: it has new, old and x",
        "train=new&test=new/a": "share images",
        "train=old&train=new": "'train' is given twice",
    }.items():
        with pytest.raises(UserError, match=words):
            read(f"{root}?{query}")


def test_the_user_leaves_folders_out(tmp_path):
    root = made(tmp_path, *both("train"), "car", "train/a/masks")
    found = read(f"{root}?ignore=car,masks")
    assert found.class_names == ("a", "b") and len(found.labels) == 8
    assert "car/ (4 images) and masks/ (4 images)" in said(found)
    with pytest.raises(UserError, match="no folder 'cra' to ignore: did you mean 'car'"):
        read(f"{root}?ignore=cra")


# ---- passed over ------------------------------------------------------------------------------------------------


def test_files_that_are_no_images_are_counted_by_ending_and_class(tmp_path):
    files = [f"a/{name}" for name in ("1.CR2", "2.cr2", "Thumbs.db", "._1.png")]
    files += ["b/3.cr2", "b/film.mp4", "b/noend", "b/x.txt", "z.zip"]
    (tmp_path / "c").mkdir()
    found = read(str(made(tmp_path, "a", "b", files=files)))
    counted = {f.what.values["ending"]: f.what.values for f in found.remarks if f.what.code == "files_passed_over"}
    assert counted[".cr2"]["classes"] == {"a": 2, "b": 1} and counted[".cr2"]["way"] == "convert"
    assert counted[".mp4"]["way"] == "frames" and counted[".zip"]["way"] == "unpack"
    assert counted[""]["classes"] == {"b": 1} and set(counted) == {"", ".cr2", ".mp4", ".zip"}
    for words in ("3 .cr2 files were passed over ('a': 2, 'b': 1)", "without images, which are no class: c/", "1 .txt"):
        assert words in said(found)


def test_images_of_phones_need_one_more_package(tmp_path, monkeypatch):
    monkeypatch.setattr("vptlib.data.tree.suffixes", lambda: (".png",))  # as without pillow-heif
    found = read(str(made(tmp_path, "a", "b", files=["a/1.HEIC"])))
    assert "1 .heic file was passed over ('a': 1). Install pillow-heif" in said(found)


def test_masks_in_the_folder_of_their_images_are_named(tmp_path):
    root = made(tmp_path, "a", "b")
    put(root / "a" / "0_mask.png"), put(root / "a" / "0_mask_1.png"), put(root / "b" / "death_mask.png")
    assert '2 images have the name of another image and "mask" (0_mask.png)' in said(read(str(root)))


def test_a_link_that_leads_back_is_named_and_one_that_does_not_is_followed(tmp_path):
    root = made(tmp_path / "data", "a", "b")
    (root / "a" / "round").symlink_to(root)
    made(tmp_path / "elsewhere", "c")
    (root / "c").symlink_to(tmp_path / "elsewhere" / "c")
    (root / "self").symlink_to("self")
    found = read(str(root))
    assert found.class_names == ("a", "b", "c") and len(found.labels) == 12
    assert "1 link leads back" in said(found)


def test_a_pipe_is_no_image(tmp_path):
    os.mkfifo(made(tmp_path, "a", "b") / "a" / "pipe.png")
    assert len(read(str(tmp_path)).labels) == 8


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    root, listed = made(tmp_path, "a", "b", "c"), os.scandir

    def scandir(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(UserError, match=r"b cannot be read \(Permission denied\).*\?ignore=b"):
        read(str(root))


# ---- names ------------------------------------------------------------------------------------------------------


def test_names_that_are_not_utf8_are_shown_and_kept(tmp_path):
    root = made(tmp_path, os.fsdecode(b"\x90\xb3\x8f\xed"), os.fsdecode(b"\x88\xd9\x8f\xed"), os.fsdecode(b"x\xff"))
    found = read(str(root))
    assert found.class_names == ("\\x88\u064f\\xed", "\\x90\\xb3\\x8f\\xed", "x\\xff") and len(found.labels) == 12
    assert "name_not_utf8" in codes(found) and said(found).encode()
    assert load_task(f"folder:{root}").fingerprint


def test_a_message_can_always_be_printed(tmp_path):
    with pytest.raises(UserError) as error:
        read(os.fsdecode(os.fsencode(tmp_path) + b"/\xff/none"))
    assert "\\xff" in str(error.value) and str(error.value).encode()


ONE_SPELLING = {
    "nothing to do": (["b", " lead", "e\u0301"], None, {"b": "b", " lead": " lead", "e\u0301": "e\u0301"}),
    "composed": (["é", "e\u0301"], None, {"é": "é", "e\u0301": "é"}),
    "spaces": (["a  b", "a b ", "\u3000a b"], None, dict.fromkeys(["a  b", "a b ", "\u3000a b"], "a b")),
    "invisible": (["ab", "a\u200bb", "\ufeffab"], None, dict.fromkeys(["ab", "a\u200bb", "\ufeffab"], "ab")),
    "case": (["Ab", "aB"], ["test", "train"], {"Ab": "aB", "aB": "aB"}),
    "the more frequent": (["Ab", "aB", "aB"], ["val", "test", "test"], {"Ab": "aB", "aB": "aB"}),
    "signs of numbers": (["-1", "1", "+1"], None, {"-1": "-1", "1": "1", "+1": "+1"}),
    "versions": (["v1.05", "v1.5"], None, {"v1.05": "v1.05", "v1.5": "v1.5"}),
    "German": (["Maße", "Masse"], None, {"Maße": "Maße", "Masse": "Masse"}),
    "letters": (["a", "A"], None, {"a": "a", "A": "A"}),
    "bits": (["00", "01", "10", "11"], None, {"00": "00", "01": "01", "10": "10", "11": "11"}),
}


@pytest.mark.parametrize("name", ONE_SPELLING)
def test_one_class_has_one_spelling(name):
    names, splits, wanted = ONE_SPELLING[name]
    used, remarks = one_spelling(names, "/x/list.csv", splits)
    assert used == wanted
    assert [f.what.code for f in remarks] == ["spellings_joined"] * (len(set(wanted.values())) < len(wanted))


@pytest.mark.parametrize("pair", [("1", "01"), ("1", "1.0"), ("A b", "a b"), ("lot-007", "lot-7"), ("a_b", "a-b")])
def test_two_spellings_in_one_place_are_refused(pair):
    with pytest.raises(UserError, match=r"list.csv: .* may be one class in 2 spellings"):
        one_spelling(pair, "/x/list.csv")


@pytest.mark.parametrize(
    ("kind", "names"),
    {
        "train": "train Train TRAIN training_set seg_train train_images dataset_train train-set 01_train train2017 "
        "TrainSet traindata trainval train_val ILSVRC2012_img_train train_224x224 ｔｒａｉｎ",
        "val": "val valid validation_set dev Validation",
        "test": "test_set seg_test Test testing テスト用",
        "evaluation": "evaluation eval_set",
        None: "test1 test_hard trainA invalid seg_pred masks holdout trains contest attrain",
    }.items(),
)
def test_names_of_splits(kind, names):
    assert {name: split_kind(name) for name in names.split()} == dict.fromkeys(names.split(), kind)
    assert split_kind("Test ") == "test" and split_kind("Training Set") == "train" and is_beside("ground truth")


# ---- what ?skip=unreadable leaves out ---------------------------------------------------------------------------


def test_what_was_skipped_stays_listed(tmp_path):
    root = made(tmp_path, *both("train", "test"))
    for broken in ("train/a/0.png", "train/a/1.png", "test/b/3.png"):
        (root / broken).write_bytes(b"")
    found = read(f"{root}?skip=unreadable")
    assert len(found.labels) == 13 and len(found.images.paths) == 13
    assert "3 files were left out" in said(found) and "'a' in train: 2, 'b' in test: 1" in said(found)
    assert load_task(f"{root}?skip=unreadable").remarks == found.remarks


def test_a_class_that_loses_all_its_images_is_an_error(tmp_path):
    root = made(tmp_path, *both("train", "test"))
    for image in (root / "train" / "b").iterdir():
        image.write_bytes(b"")
    with pytest.raises(UserError, match="no training image of 'b' can be read"):
        read(f"{root}?skip=unreadable")


def test_remarks_do_not_change_what_a_task_is(tmp_path):
    root = made(tmp_path, "a", "b")
    before = load_task(f"folder:{root}")
    (root / "notes.txt").write_text("x")
    after = load_task(f"folder:{root}/")
    assert before.remarks != after.remarks and before.fingerprint == after.fingerprint
