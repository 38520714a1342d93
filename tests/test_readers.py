"""vptlib.data.readers: where a user's images may be, and the sentence for each layout that does not fit."""

from dataclasses import replace

import numpy as np
import pytest
from miniature_vtab import make_tree
from pictures import class_folders, flat, put, rows, table
from PIL import Image

from vptlib import doctor, load_task
from vptlib.data.readers import is_spec, read, resolved, short_name
from vptlib.data.splits import few_shot, split_validation
from vptlib.data.tasks import TASKS
from vptlib.data.vtab import VTAB_TASKS, read_vtab
from vptlib.errors import UserError

pytestmark = pytest.mark.usefixtures("own_cache")


def listed(listing):
    """Path, class and split of each image."""
    images = zip(listing.images.paths, listing.labels, listing.splits, strict=True)
    return [(path, listing.class_names[label], split) for path, label, split in images]


# ---- folders ----------------------------------------------------------------------------------------------------


def test_a_sub_folder_for_each_class(tmp_path):
    root = class_folders(tmp_path / "my cells", {"good": 8, "Ärger mit Öl": 12})
    (root / ".DS_Store").write_text("x")
    (root / "good" / "Thumbs.db").write_text("x")
    (root / "__MACOSX" / "good").mkdir(parents=True)
    put(root / "good" / "deeper" / "x.JPG")
    found = listed(read(f"folder:{root}"))
    assert {label for _, label, _ in found} == {"good", "Ärger mit Öl"}
    assert all(path.parts[len(root.parts)] == label for path, label, _ in found)
    assert len(found) == 21 and sum(split == "test" for *_, split in found) == 5
    assert {label for _, label, split in found if split == "test"} == {"good", "Ärger mit Öl"}
    assert found == listed(read(str(root)))  # without a prefix, and always the same split


def test_splits_above_the_classes(tmp_path):
    root = tmp_path / "data"
    for first, split in enumerate(("Train", "validation", "test")):
        class_folders(root / split, {"a": 3, "b": 2}, 100 * first)
    found = listed(read(f"folder:{root}"))
    assert sum(split == "test" for *_, split in found) == 5
    assert all((split == "test") == ("/test/" in str(path)) for path, _, split in found)


def test_a_linked_folder_is_followed(tmp_path):
    root = class_folders(tmp_path / "data", {"a": 4})
    class_folders(tmp_path / "elsewhere", {"b": 4})
    (root / "b").symlink_to(tmp_path / "elsewhere" / "b")
    assert len(read(f"folder:{root}").labels) == 8


# ---- tables -----------------------------------------------------------------------------------------------------


def by_threes(k):
    return k % 3


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_table_of_paths_and_labels(tmp_path, suffix):
    found = read(f"table:{table(tmp_path, rows(24, by_threes), suffix=suffix)}")
    assert found.class_names == ("0", "1", "2") and len(found.labels) == 24
    assert (found.splits == "test").sum() == 6
    assert found.images.paths[5] == tmp_path / "img" / "5.png" and found.labels[5] == 2


def test_columns_of_other_names_and_given_splits(tmp_path):
    kinds, splits = ("x", "y"), ("train", "VAL", "Test")
    filled = rows(24, lambda k: kinds[k % 2], lambda k: splits[k % 3])
    file = table(tmp_path, filled, ("path", "kind", "part"))
    found = read(f"table:{file}?label=kind&split=part")
    assert found.class_names == ("x", "y")
    assert found.splits.tolist() == ["train", "train", "test"] * 8


def test_numbers_sort_as_numbers(tmp_path):
    found = read(str(table(tmp_path, rows(24, lambda k: k % 12))))
    assert found.class_names == tuple(map(str, range(12)))


def test_no_site_is_on_both_sides(tmp_path):
    filled = rows(24, by_threes, lambda k: f"site {k // 3}")
    found = read(f"table:{table(tmp_path, filled, ('path', 'label', 'group'))}")
    assert not set(found.groups[found.splits == "test"]) & set(found.groups[found.splits == "train"])
    assert 3 <= (found.splits == "test").sum() <= 9
    train, own = found.part("train")
    chosen = few_shot(train.labels, 15, seed=1)
    kept, aside = split_validation(train.labels, chosen, groups=own)
    assert not set(own[kept]) & set(own[aside])
    assert sorted([*kept, *aside]) == sorted(chosen) and set(train.labels[kept]) == {0, 1, 2}


def test_a_task_has_the_groups_of_its_test_images_and_runs_keep_their_keys(tmp_path):
    filled = rows(24, by_threes, lambda k: f"site {k // 3}")
    task = load_task(f"table:{table(tmp_path, filled, ('path', 'label', 'group'))}")
    assert len(task.test_groups) == len(task.test) and not set(task.test_groups) & set(task.train_groups)
    assert replace(task, test_groups=None).fingerprint == task.fingerprint
    assert load_task("digits").test_groups is None


def test_too_few_groups_are_named():
    labels, groups = np.array([0, 1] * 6), np.array([0, 0, 1, 1, 2, 2] * 2)
    with pytest.raises(UserError, match=r"3 groups, but 5"):
        split_validation(labels, np.arange(12), groups=groups)
    with pytest.raises(UserError, match="one group only"):
        split_validation(np.arange(10) % 5, np.arange(10), groups=np.arange(10) % 5)


# ---- VTAB-1k ----------------------------------------------------------------------------------------------------


def test_all_nineteen_tasks_of_vtab(tmp_path):
    make_tree(tmp_path)
    assert len(VTAB_TASKS) == 19
    for name, (classes, _, group, objective) in VTAB_TASKS.items():
        found = read_vtab(tmp_path / name)
        assert len(found.class_names) == classes
        assert (found.group, found.objective) == (group, objective)
        assert found.splits.tolist() == ["train"] * 50 + ["test"] * 24
        assert found.images.paths[40] == tmp_path / name / "images" / "val" / "000000.jpg"


# ---- other libraries --------------------------------------------------------------------------------------------


def test_a_torchvision_data_set(tmp_path):
    import pickle

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    draw = np.random.default_rng(0)
    batch = {"data": draw.integers(0, 255, (4, 3072), dtype=np.uint8), "labels": [0, 1, 2, 3]}
    for name in [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]:
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcd")}))
    import torchvision

    kind = torchvision.datasets.CIFAR10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "_check_integrity", lambda self: True)
        patch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
        found = read(f"torchvision:CIFAR10?root={tmp_path}")
    assert len(found.labels) == 24 and (found.splits == "test").sum() == 4
    assert found.class_names[:3] == ("a", "b", "c")
    wanted = batch["data"][2].reshape(3, 32, 32).transpose(1, 2, 0)
    np.testing.assert_array_equal(np.asarray(found.images.open(22)), wanted)


def test_a_torchvision_data_set_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="download=True"):
        read(f"torchvision:CIFAR10?root={tmp_path}")
    with pytest.raises(UserError, match="did you mean 'CIFAR10"):
        read("torchvision:CIFAR1")


def test_hugging_face_sets_need_their_library(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="pip install datasets"):
        read("hf:some/thing")


def test_a_hugging_face_set_saved_to_disk(tmp_path):
    datasets = pytest.importorskip("datasets", reason=doctor.NO_DATASETS)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = {"image": [Image.new("RGB", (4, 4), (10 * k, 0, 0)) for k in range(12)], "label": [0, 1] * 6}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "set")
    found = read(f"hf:{tmp_path / 'set'}")
    assert found.class_names == ("no", "yes") and (found.splits == "test").sum() == 3
    assert found.images.open(3).getpixel((0, 0)) == (30, 0, 0)


# ---- as a task --------------------------------------------------------------------------------------------------


def test_own_images_are_a_task(tmp_path):
    root = class_folders(tmp_path / "solar_cells", {"good": 8, "bad": 8})
    task = load_task(f"folder:{root}")
    assert task.title == "solar cells" and task.class_names == ("bad", "good")
    assert len(task.train) == 12 and len(task.test) == 4
    assert task.train.select(np.array([0])).images.shape == (1, 224, 224, 3)


def test_the_fingerprint_follows_every_byte_and_label(tmp_path):
    root = class_folders(tmp_path / "one", {"a": 5, "b": 5})
    first = load_task(f"folder:{root}").fingerprint
    twin = class_folders(tmp_path / "two", {"a": 5, "b": 5})
    assert load_task(f"folder:{twin}").fingerprint == first  # the same images elsewhere
    put(twin / "a" / "1.png", flat(99))
    assert load_task(f"folder:{twin}/").fingerprint != first


def test_what_is_a_place_and_what_a_name(tmp_path):
    assert not any(is_spec(name) for name in TASKS) and not is_spec("fashon-mnist")
    assert is_spec("folder:x") and is_spec("./cells") and is_spec("list.csv") and is_spec("hf:a/b")
    assert resolved("folder:cells", tmp_path) == f"folder:{tmp_path.resolve() / 'cells'}"
    assert resolved("table:l.csv?label=k", tmp_path) == f"table:{tmp_path.resolve() / 'l.csv'}?label=k"
    assert resolved("hf:a/b", tmp_path) == "hf:a/b"
    assert short_name("table:/x/my list.csv?label=k") == "my list" and short_name("vtab:/d/dtd") == "dtd"
    with pytest.raises(UserError, match="no folder or table at"):
        read(str(tmp_path / "nothing"))
