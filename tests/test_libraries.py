"""Data sets of other libraries: torchvision, and Hugging Face (a stand-in, and the library where it is installed)."""

import gzip
import pickle
import re
import struct
import sys
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from pictures import class_folders, flat, numbered

from vptlib import doctor
from vptlib.data.readers import read
from vptlib.errors import UserError
from vptlib.report.words.en import sentence

pytestmark = pytest.mark.usefixtures("own_cache")


def said(found):
    """All remarks as sentences, each with its level."""
    return "\n".join(f"{remark.level}: {sentence(remark.what)}" for remark in found.remarks)


def understood(found):
    """Class and split of each image."""
    kinds = [found.class_names[label] for label in found.labels]
    return list(zip(kinds, found.splits.tolist(), strict=True))


# ---- Hugging Face: a stand-in for the library --------------------------------------------------------------------


class ImageFeature:
    dtype = "PIL.Image.Image"


class ClassLabel:
    dtype = "int64"

    def __init__(self, *names):
        self.names = list(names)


class Value:
    def __init__(self, dtype):
        self.dtype = dtype


class Split:
    """Rows with features, as a `datasets.Dataset`."""

    def __init__(self, rows, **features):
        self.rows, self.features = rows, features

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, key):
        return [row[key] for row in self.rows] if isinstance(key, str) else self.rows[key]


def split_of(labels, feature, column="label", **others):
    """A split of flat images with these labels; `others` are further columns, each a feature and its cells."""
    cells = {column: (feature, labels), **others}
    rows = [{name: values[k] for name, (_, values) in cells.items()} | {"image": flat(k)} for k in range(len(labels))]
    return Split(rows, image=ImageFeature(), **{name: kind for name, (kind, _) in cells.items()})


@pytest.fixture
def hub(monkeypatch):
    """Gives data sets by their names: `hub["a/b"] = ...` is what `hf:a/b` loads."""
    known = {}

    def load(place, **options):
        found = known[place]
        return found(**options) if callable(found) else found

    fake = SimpleNamespace(Image=ImageFeature, ClassLabel=ClassLabel, load_dataset=load, load_from_disk=load)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return known


NO_YES = ClassLabel("no", "yes")


def test_classes_are_matched_by_name_whatever_their_order(hub):
    hub["a/b"] = {
        "train": split_of([0, 1, 0, 1], NO_YES),
        "test": split_of([0, 1, 1], ClassLabel("yes", "no")),
    }
    found = read("hf:a/b")
    assert found.class_names == ("no", "yes")
    assert [kind for kind, split in understood(found) if split == "test"] == ["yes", "no", "no"]
    assert "'test' counts its classes in another order than 'train'" in said(found)


def test_training_images_come_first_and_give_the_order_of_classes(hub):
    hub["a/b"] = {"test": split_of([0, 1], ClassLabel("yes", "no")), "train": split_of([0, 1, 0], NO_YES)}
    found = read("hf:a/b")
    assert found.class_names == ("no", "yes") and found.splits.tolist() == ["train"] * 3 + ["test"] * 2
    assert found.images.open(3).getpixel((0, 0)) == (0, 100, 50)


def test_images_without_a_label_are_passed_over_and_counted(hub):
    hub["a/b"] = {"train": split_of([0, -1, 1, None, 0, 1], NO_YES), "test": split_of([1, -1, 0], NO_YES)}
    found = read("hf:a/b")
    assert [kind for kind, _ in understood(found)] == ["no", "yes", "no", "yes", "yes", "no"]
    assert found.images.open(1).getpixel((0, 0))[0] == 2  # the picture goes with its label
    assert "warning: hf:a/b: passed over without a label: 2 images of 'train' and 1 image of 'test'" in said(found)


def test_a_test_split_without_labels_leaves_the_validation_images_to_test(hub):
    train, hidden = split_of([0, 1] * 4, NO_YES), split_of([-1] * 5, NO_YES)
    hub["a/b"] = {"train": train, "validation": split_of([0, 1], NO_YES), "test": hidden}
    found = read("hf:a/b")
    assert found.splits.tolist() == ["train"] * 8 + ["test"] * 2
    assert "5 images of 'test'" in said(found) and "split 'validation' tests" in said(found)


def test_no_label_at_all_is_refused(hub):
    hub["a/b"] = {"train": split_of([-1] * 4, NO_YES), "test": split_of([None] * 2, NO_YES)}
    with pytest.raises(UserError, match="no image has a label"):
        read("hf:a/b")


LABELS = {
    "texts": ("string", ["cat", "dog", "cat", "dog"], ["cat", "dog", "cat", "dog"]),
    "whole numbers": ("int64", [3, 10, 3, 10], ["3", "10", "3", "10"]),
    "yes and no": ("bool", [True, False, True, False], ["True", "False", "True", "False"]),
    "some empty": ("string", ["cat", "", "dog", None], ["cat", "dog"]),
    "None as a word": ("string", ["None", "NA", "None", "NA"], ["None", "NA", "None", "NA"]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_without_class_names_are_read(hub, name):
    dtype, cells, wanted = LABELS[name]
    part = split_of(cells, Value(dtype))
    hub["a/b"] = {"train": part, "test": part}
    assert understood(read("hf:a/b")) == [(kind, "train") for kind in wanted] + [(kind, "test") for kind in wanted]


def test_numbers_sort_as_numbers(hub):
    hub["a/b"] = split_of([10, 9, 1, 2] * 3, Value("int32"))
    assert read("hf:a/b").class_names == ("1", "2", "9", "10")


@pytest.mark.parametrize("dtype", ["float32", "list", "struct"])
def test_labels_that_are_no_classes_are_refused(hub, dtype):
    hub["a/b"] = split_of([0.5, 0.7] * 4, Value(dtype), column="score")
    with pytest.raises(UserError, match="columns image, score, but needs one of images and one of class labels"):
        read("hf:a/b")
    with pytest.raises(UserError, match=f"column 'score' holds {dtype}, not classes"):
        read("hf:a/b?label=score")


def test_several_columns_of_labels_are_not_guessed(hub):
    coarse = (ClassLabel("x", "y"), [0, 1] * 4)
    hub["a/b"] = split_of([0, 1, 1, 0] * 2, NO_YES, column="fine", coarse=coarse)
    with pytest.raises(UserError, match=r"several columns for label, fine, coarse: write \?label=COLUMN"):
        read("hf:a/b")
    assert read("hf:a/b?label=coarse").class_names == ("x", "y")
    hub["a/b"] = split_of([0, 1, 1, 0] * 2, NO_YES, coarse=coarse)  # one of them is called label
    found = read("hf:a/b")
    assert found.class_names == ("no", "yes")
    assert "images are taken from column 'image' and labels from 'label', not from 'coarse'" in said(found)


def test_several_columns_of_images_are_not_guessed(hub):
    part = split_of([0, 1] * 4, NO_YES)
    part.features = {"left": ImageFeature(), "right": ImageFeature(), "label": NO_YES}
    part.rows = [{"left": flat(k), "right": flat(100 + k), "label": k % 2} for k in range(8)]
    hub["a/b"] = part
    with pytest.raises(UserError, match=r"several columns for image, left, right: write \?image=COLUMN"):
        read("hf:a/b")
    assert read("hf:a/b?image=right").images.open(1).getpixel((0, 0)) == (101, 100, 50)
    with pytest.raises(UserError, match="no column 'middle'"):
        read("hf:a/b?image=middle")


def test_a_class_without_images_is_left_out_and_said(hub):
    hub["a/b"] = {name: split_of([0, 2, 0, 2], ClassLabel("no", "maybe", "yes")) for name in ("train", "test")}
    found = read("hf:a/b")
    assert found.class_names == ("no", "yes") and found.labels.tolist() == [0, 1] * 4
    assert "1 class has no image, and is left out (such as 'maybe')" in said(found)


SPLITS = {
    "train and test": (["train", "test"], "", {"test"}, "note: .*'train' trains, and split 'test' tests"),
    "three": (["train", "validation", "test"], "", {"test"}, "note: .*'train' and 'validation' trains"),
    "validation alone": (["train", "validation"], "", {"validation"}, "warning: .*'validation' tests"),
    "one more": (["train", "test", "test_hard"], "", {"test"}, "warning: .*Not used: 'test_hard'"),
    "unlabelled": (["train", "test", "unsupervised"], "", {"test"}, "warning: .*Not used: 'unsupervised'"),
    "one more, asked": (
        ["train", "test", "test_hard"],
        "?train=train&test=test_hard",
        {"test_hard"},
        "note: .*Not used: 'test'",
    ),
    "two asked": (["a", "b", "c"], "?train=a,b&test=c", {"c"}, "note: .*'a' and 'b' trains"),
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_are_understood_and_said(hub, name):
    names, options, tests, words = SPLITS[name]
    hub["a/b"] = {split: split_of([0, 1] * (2 + k), NO_YES) for k, split in enumerate(names)}
    found = read(f"hf:a/b{options}")
    assert (found.splits == "test").sum() == sum(2 * (2 + names.index(split)) for split in tests)
    assert re.search(words, said(found))


@pytest.mark.parametrize(
    "names",
    [["train", "test_hard"], ["fold1", "fold2"], ["train", "train2017", "test"], ["train", "eval", "test"], ["test"]],
)
def test_splits_that_are_not_clear_are_asked_for(hub, names):
    hub["a/b"] = {split: split_of([0, 1] * 4, NO_YES) for split in names}
    with pytest.raises(UserError, match=r"is not clear: write \?train=SPLIT&test=SPLIT") as error:
        read("hf:a/b")
    assert all(repr(name) in str(error.value) or name in str(error.value) for name in names)
    assert (read(f"hf:a/b?train={names[0]}").splits == "test").sum() == 2  # a quarter


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("?test=test", "needs \\?train=SPLIT"),
        ("?train=trian&test=test", "no split 'trian'"),
        ("?train=train&test=train", "'train' is named twice"),
    ],
)
def test_a_wrong_choice_of_splits_is_named(hub, options, words):
    hub["a/b"] = {split: split_of([0, 1] * 4, NO_YES) for split in ("train", "test")}
    with pytest.raises(UserError, match=words):
        read(f"hf:a/b{options}")


def test_one_split_alone_is_divided_and_said(hub):
    hub["a/b"] = split_of([0, 1] * 4, NO_YES)
    found = read("hf:a/b")
    assert (found.splits == "test").sum() == 2 and "a quarter of its images tests" in said(found)


def as_bytes(picture, kind="PNG"):
    stored = BytesIO()
    picture.save(stored, kind)
    return stored.getvalue()


def test_images_that_are_not_decoded_yet_are_decoded(hub, tmp_path):
    (path,) = numbered(tmp_path, 1, first=7)
    part = split_of([0, 1] * 2, NO_YES)
    part.rows[1]["image"] = {"bytes": as_bytes(flat(77)), "path": "x.png"}
    part.rows[2]["image"] = {"bytes": None, "path": str(path)}
    part.rows[3]["image"] = as_bytes(flat(78))
    hub["a/b"] = part
    images = read("hf:a/b").images
    assert [images.open(k).getpixel((0, 0))[0] for k in range(4)] == [0, 77, 7, 78]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "row 2 has no image in column 'image'"),
        ({"bytes": None, "path": None}, "row 2 has no image"),
        ({"bytes": b"no image", "path": None}, "row 2 cannot be read as an image"),
        ({"bytes": as_bytes(flat(size=(99, 99)), "JPEG")[:300], "path": None}, "row 2 cannot be read as an image"),
        ({"bytes": None, "path": "/nowhere/x.png"}, "row 2 cannot be read as an image"),
        (5, "row 2 cannot be read as an image"),
    ],
)
def test_an_image_that_is_missing_or_damaged_is_named_by_its_row(hub, value, words):
    part = split_of([0, 1] * 4, NO_YES)
    part.rows[2]["image"] = value
    hub["a/b"] = {"train": part, "test": split_of([0, 1], NO_YES)}
    with pytest.raises(UserError, match=f"hf:a/b, split train, {words}"):
        read("hf:a/b").images.open(2)


def test_a_configuration_is_asked_for_and_passed_on(hub):
    def load(name=None):
        if name is None:
            raise ValueError("Config name is missing.\nPlease pick one among the available configs: ['x', 'y']")
        return split_of([0, 1] * 4, NO_YES)

    hub["a/b"] = load
    with pytest.raises(UserError, match=r"'x', 'y'.*\?config=NAME"):
        read("hf:a/b")
    assert len(read("hf:a/b?config=x").labels) == 8


@pytest.mark.parametrize("kind", ["classes", "imagefolder"])
def test_a_folder_of_another_kind_is_refused_with_its_right_name(hub, tmp_path, kind):
    root = class_folders(tmp_path / "set", {"a": 2, "b": 2})
    if kind == "imagefolder":
        (root / "metadata.csv").write_text("file_name,label\na/0.png,x\n")
    words = "folder:.*set if it has a folder" if kind == "classes" else r"table:.*metadata\.csv\?label=COLUMN"
    with pytest.raises(UserError, match=words):
        read(f"hf:{root}")


def test_the_table_of_an_imagefolder_is_read(tmp_path):
    root = class_folders(tmp_path / "set", {"a": 4, "b": 4})
    rows = [f"{name}/{k}.png,{kind}" for name, kind in (("a", "x"), ("b", "y")) for k in range(4)]
    (root / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    assert [kind for kind, _ in understood(read(f"table:{root / 'metadata.csv'}"))] == ["x"] * 4 + ["y"] * 4


# ---- Hugging Face: the library itself ------------------------------------------------------------------------------


def real(labels, names=("no", "yes"), image=None):
    datasets = pytest.importorskip("datasets", reason=doctor.NO_DATASETS)
    features = datasets.Features({"image": image or datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
    rows = {"image": [flat(10 * k, (4, 4)) for k in range(len(labels))], "label": labels}
    return datasets.Dataset.from_dict(rows, features=features)


def test_splits_saved_to_disk_with_other_orders_missing_labels_and_a_format(tmp_path):
    datasets = pytest.importorskip("datasets", reason=doctor.NO_DATASETS)
    train = real([0, 1, -1, 1, 0]).with_format("torch")
    whole = datasets.DatasetDict(train=train, test=real([0, 1], ("yes", "no")), extra=real([0]))
    whole.save_to_disk(tmp_path / "set")
    found = read(f"hf:{tmp_path / 'set'}")
    assert understood(found) == [(k, "train") for k in ("no", "yes", "yes", "no")] + [("yes", "test"), ("no", "test")]
    assert found.images.open(2).getpixel((0, 0)) == (30, 100, 50)
    assert "Not used: 'extra'" in said(found)


def test_images_saved_without_decoding_and_missing_ones(tmp_path):
    datasets = pytest.importorskip("datasets", reason=doctor.NO_DATASETS)
    real([0, 1] * 4).cast_column("image", datasets.Image(decode=False)).save_to_disk(tmp_path / "bytes")
    assert read(f"hf:{tmp_path / 'bytes'}").images.open(3).getpixel((0, 0)) == (30, 100, 50)
    rows = {"image": [None if k == 3 else flat(k) for k in range(8)], "label": [0, 1] * 4}
    datasets.Dataset.from_dict(rows, features=real([0]).features).save_to_disk(tmp_path / "missing")
    with pytest.raises(UserError, match="split train, row 3 has no image"):
        read(f"hf:{tmp_path / 'missing'}")


def test_a_folder_of_parquet_files_and_one_of_neither_kind(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason=doctor.NO_DATASETS)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for split, labels in (("train", [0, 1] * 3), ("test", [1, 0])):
        (tmp_path / "set" / "data").mkdir(parents=True, exist_ok=True)
        real(labels).to_parquet(tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet")
    found = read(f"hf:{tmp_path / 'set'}")
    assert found.splits.tolist() == ["train"] * 6 + ["test"] * 2 and found.class_names == ("no", "yes")
    with pytest.raises(UserError, match=r"cannot be loaded.*folder:"):
        read(f"hf:{class_folders(tmp_path / 'other', {'a': 2, 'b': 2})}")


# ---- torchvision: its own layouts ---------------------------------------------------------------------------------


def write_idx(path, array):
    """An array of bytes in the format of MNIST, packed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    for name, content in ((path, head + array.astype(np.uint8).tobytes()),):
        name.write_bytes(content)
        with gzip.open(f"{name}.gz", "wb") as file:
            file.write(content)


def mnist_files(folder, prefix="", train=(0, 1, 2, 0), test=(2, 1, 0)):
    for name, labels in (("train", train), ("test" if prefix else "t10k", test)):
        pictures = np.stack([np.full((28, 28), 10 * k, np.uint8) for k in range(len(labels))])
        write_idx(folder / f"{prefix}{name}-images-idx3-ubyte", pictures)
        write_idx(folder / f"{prefix}{name}-labels-idx1-ubyte", np.array(labels))


def test_mnist_is_read_from_its_own_files(tmp_path):
    mnist_files(tmp_path / "MNIST" / "raw")
    found = read(f"torchvision:MNIST?root={tmp_path}")
    assert [kind[0] for kind, _ in understood(found)] == list("0120210")
    assert found.splits.tolist() == ["train"] * 4 + ["test"] * 3
    assert found.images.open(6).getpixel((3, 3)) == (20, 20, 20)
    assert "7 classes have no image, and are left out (such as '3 - three')" in said(found)


def test_a_variant_of_emnist_is_asked_for(tmp_path):
    mnist_files(tmp_path / "EMNIST" / "raw", "emnist-letters-", (1, 2, 3, 1), (3, 2, 1))
    with pytest.raises(UserError, match=r"several variants: write \?split= and one of byclass.*letters"):
        read(f"torchvision:EMNIST?root={tmp_path}")
    found = read(f"torchvision:EMNIST?root={tmp_path}&split=letters")
    assert understood(found)[:3] == [("a", "train"), ("b", "train"), ("c", "train")]  # its labels begin with 1
    with pytest.raises(UserError, match=r"MNIST takes no \?split="):
        read(f"torchvision:MNIST?root={tmp_path}&split=letters")


def test_a_folder_of_classes_with_validation_images_alone(tmp_path):
    """Imagenette has train and val."""
    names = sorted(torchvision.datasets.Imagenette._WNID_TO_CLASS)
    for split in ("train", "val"):
        for k, wnid in enumerate(names):
            for row in range(2):
                path = tmp_path / "imagenette2" / split / wnid / f"{row}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                flat(k).save(path)
    found = read(f"torchvision:Imagenette?root={tmp_path}")
    assert found.splits.tolist() == ["train"] * 20 + ["test"] * 20 and "tench, Tinca tinca" in found.class_names
    assert "warning: torchvision:Imagenette: split 'train' trains, and split 'val' tests" in said(found)


def test_a_set_without_splits_is_divided(tmp_path):
    class_folders(tmp_path / "eurosat" / "2750", {"Forest": 8, "River": 8})
    found = read(f"torchvision:EuroSAT?root={tmp_path}")
    assert found.class_names == ("Forest", "River") and (found.splits == "test").sum() == 4
    assert "a quarter of its images tests" in said(found)


def test_a_set_that_lists_its_own_words(tmp_path):
    """DTD has train, val and test."""
    data = tmp_path / "dtd" / "dtd"
    class_folders(data / "images", {"banded": 6, "dotted": 6})
    for split, rows in (("train", (0, 1)), ("val", (2, 3)), ("test", (4, 5))):
        (data / "labels").mkdir(exist_ok=True)
        listed = "\n".join(f"{name}/{row}.png" for name in ("banded", "dotted") for row in rows)
        (data / "labels" / f"{split}1.txt").write_text(listed)
    found = read(f"torchvision:DTD?root={tmp_path}")
    assert found.splits.tolist() == ["train"] * 8 + ["test"] * 4
    assert "'train' and 'val' trains, and split 'test' tests" in said(found)


# ---- torchvision: kinds that are made up --------------------------------------------------------------------------


class Made:
    """A data set of flat images; sub-classes give targets for each word."""

    word, parts = "split", {}

    def __init__(self, root, **options):
        chosen = options[self.word]
        if chosen not in self.parts:
            raise ValueError(f"Unknown value '{chosen}' for argument {self.word}. Valid values are {set(self.parts)}.")
        self.given = self.parts[chosen]

    def __len__(self):
        return len(self.given)

    def __getitem__(self, row):
        return flat(row), self.given[row]


def made(monkeypatch, word="split", parts=None, **attributes):
    """A class of torchvision that takes `word` and has these targets."""

    class Kind(Made):
        def __init__(self, root, split="train"):
            super().__init__(root, split=split)

    class KindOfImageSet(Made):
        def __init__(self, root, image_set="train"):
            super().__init__(root, image_set=image_set)

    kind = KindOfImageSet if word == "image_set" else Kind
    kind.word, kind.parts = word, parts
    for name, value in attributes.items():
        setattr(kind, name, value)
    monkeypatch.setattr(torchvision.datasets, "Made", kind, raising=False)
    return "torchvision:Made?root=/x"


ABAB = [0, 1, 0, 1]
WORDS = {
    "image_set": ("image_set", {"train": ABAB, "test": ABAB}, {"train": 4, "test": 4}),
    "trainval": ("split", {"trainval": ABAB, "test": ABAB}, {"train": 4, "test": 4}),
    "trainval with its halves": (
        "split",
        {"train": [0, 1], "val": [0, 1], "trainval": ABAB, "test": ABAB},
        {"train": 4, "test": 4},
    ),
    "trainval without a test": (
        "split",
        {"train": ABAB, "val": [0, 1], "trainval": [*ABAB, 0, 1]},
        {"train": 4, "test": 2},
    ),
    "valid": ("split", {"train": ABAB, "valid": [0, 1], "test": ABAB}, {"train": 6, "test": 4}),
    "extra": ("split", {"train": ABAB, "test": ABAB, "extra": ABAB}, {"train": 4, "test": 4}),
    "unlabelled": (
        "split",
        {"train": ABAB, "test": ABAB, "unlabeled": [-1] * 9, "train+unlabeled": ABAB},
        {"train": 4, "test": 4},
    ),
    "a test without labels": ("split", {"train": ABAB, "val": [0, 1], "test": [None] * 4}, {"train": 4, "test": 2}),
}


@pytest.mark.parametrize("name", WORDS)
def test_parts_are_found_whatever_they_are_called(monkeypatch, name):
    word, parts, wanted = WORDS[name]
    found = read(made(monkeypatch, word, parts))
    assert {split: int((found.splits == split).sum()) for split in ("train", "test")} == wanted
    assert ("warning" in said(found)) == (name in ("extra", "unlabelled") or "without" in name)


def test_other_parts_can_be_named(monkeypatch):
    spec = made(monkeypatch, parts={"train-standard": ABAB, "train-challenge": ABAB, "val": [0, 1]})
    with pytest.raises(UserError, match=r"'?train-standard'?.* is not clear: write \?train=SPLIT"):
        read(spec)
    assert (read(f"{spec}&train=train-standard&test=val").splits == "test").sum() == 2


TARGETS = {
    "arrays of one number": (
        [np.int64(0), np.array(1), torch.tensor(0), torch.tensor(1, dtype=torch.uint8)],
        ["0", "1", "0", "1"],
    ),
    "beginning with 1": ([1, 2, 3, 1], ["1", "2", "3", "1"]),
    "some without a label": ([0, -1, 1, None], ["0", "1"]),
}
NOT_CLASSES = {
    "boxes": {"boxes": [[0, 0, 1, 1]], "labels": [1]},
    "two targets": (0, 1),
    "several labels": torch.tensor([0, 1, 1]),
    "texts": "a caption",
    "numbers": 0.5,
    "masks": flat(),
    "below": -7,
}


@pytest.mark.parametrize("name", TARGETS)
def test_targets_of_any_whole_kind_are_classes(monkeypatch, name):
    targets, wanted = TARGETS[name]
    found = read(made(monkeypatch, parts={"train": targets, "test": targets}))
    assert understood(found) == [(kind, "train") for kind in wanted] + [(kind, "test") for kind in wanted]


@pytest.mark.parametrize("name", NOT_CLASSES)
def test_targets_that_are_no_classes_are_refused(monkeypatch, name):
    spec = made(monkeypatch, parts={"train": [NOT_CLASSES[name]] * 4, "test": ABAB})
    with pytest.raises(UserError, match=r"torchvision:Made gives targets such as .*, not one class an image"):
        read(spec)


def test_a_list_that_does_not_agree_with_the_items_is_not_used(monkeypatch):
    spec = made(monkeypatch, parts={"train": ABAB, "test": ABAB}, labels=[1, 0, 1, 0], targets=["a", "b", "c", "d"])
    assert [kind for kind, _ in understood(read(spec))] == ["0", "1"] * 4


def test_class_names_that_are_twice_the_same_do_not_merge_classes(monkeypatch):
    spec = made(monkeypatch, parts={"train": ABAB, "test": ABAB}, classes=["crane", "crane"])
    assert read(spec).class_names == ("0", "1")


@pytest.mark.parametrize(
    "error", [KeyError("x"), pickle.UnpicklingError("cut"), EOFError(), RuntimeError("Dataset not found.")]
)
def test_damaged_files_are_told_in_a_sentence(monkeypatch, error):
    class Broken:
        def __init__(self, root, train=True):
            raise error

    monkeypatch.setattr(torchvision.datasets, "Broken", Broken, raising=False)
    with pytest.raises(UserError, match=r"torchvision's Broken is not in /x .*download=True") as caught:
        read("torchvision:Broken?root=/x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["CocoDetection", "FakeData", "VisionDataset", "PhotoTour"])
def test_kinds_without_parts_or_classes_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="torchvision"):
        read(f"torchvision:{name}?root={tmp_path}")


def test_every_class_of_torchvision_is_answered_in_a_sentence(tmp_path):
    for name in torchvision.datasets.__all__:
        with pytest.raises(UserError, match=r"torchvision"):
            read(f"torchvision:{name}?root={tmp_path}")
