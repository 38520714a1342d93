"""Tasks, subsets and preparation: what they promise, on the real embedded tasks."""

import gzip
import hashlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vptlib import doctor
from vptlib.data import embedded, synthetic
from vptlib.data.preparing import ImageSet, Preprocessing, prepare
from vptlib.data.splits import few_shot, fixed_test, split_validation
from vptlib.data.tasks import TASKS, Task, load_task
from vptlib.data.tasks import task_is_available as available
from vptlib.errors import UserError
from vptlib.paths import repository

# What these names mean, permanently: a change here changes every published figure.
FINGERPRINTS = {
    "fashion-mnist": "a4a1371e55a78ccd4b2239dc6bd1d1f166d82f6ec7ae572d3e6a30b75db4e72b",
    "digits": "90cbc6dcb7dd9233981c1f342d868222ecb40552b01bc4bfc146fde9addb0f0e",
    "dsprites-location": "5afc366df5b751a5c17435a01995366edd2b9e5e55b592b7f369f59f0e304474",
    "dsprites-orientation": "2abacbcf7e9358b86544d249e6ba54481584dfe78e5ca398a33bb1272a499b7f",
    "object-count": "ff18839ad5d0929e53c2b1f3abfbe73d2a770c89067a108904444a33b044d4fc",
    "surface-inspection": "c2e12e7c5ab1ba9d8ce876141e260a087d3c8cdb2a7235395deb6301a4dac3ab",
}


# ---- tasks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_a_name_means_the_same_images_for_good(name):
    assert load_task(name).fingerprint == FINGERPRINTS[name]


def test_drawing_again_gives_the_same_images():
    again = [
        draw(50)[0] for draw in (synthetic.location, synthetic.orientation, synthetic.object_count) for _ in range(2)
    ]
    for first, second in zip(again[::2], again[1::2], strict=True):
        assert np.array_equal(first, second)


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_training_and_test_have_the_same_class_shares_and_no_image_in_common(name):
    task = load_task(name)
    assert available(name) == (True, TASKS[name].where)
    train, test = (np.bincount(part.labels, minlength=task.num_classes) for part in (task.train, task.test))
    assert (np.abs(test - (train + test) * test.sum() / (train + test).sum()) < 1).all()
    if name != "digits":
        assert np.ptp(train) <= 1 and np.ptp(test) <= 1
    train_digests, test_digests = (
        [hashlib.sha256(image.tobytes()).digest() for image in part.images] for part in (task.train, task.test)
    )
    assert len(set(train_digests)) == len(task.train)
    assert not set(train_digests) & set(test_digests)


@pytest.mark.parametrize("change", ["pixel", "label", "name", "order"])
def test_the_fingerprint_notices_any_change(change):
    def task(images, labels, names=("a", "b")):
        part = ImageSet(images, labels)
        return Task("t", "T", part, part, names, "natural", "classification", "", "")

    images, labels = np.zeros((2, 2, 2, 3), np.uint8), np.array([0, 1])
    images[1] = 7
    other = {
        "pixel": lambda: task(images + (np.arange(24).reshape(2, 2, 2, 3) == 5).astype(np.uint8), labels),
        "label": lambda: task(images, labels[[0, 0]]),
        "name": lambda: task(images, labels, ("a", "c")),
        "order": lambda: task(images[::-1], labels),
    }[change]()
    assert other.fingerprint != task(images, labels).fingerprint
    assert task(images.copy(), labels.copy()).fingerprint == task(images, labels).fingerprint


def test_unknown_tasks_name_the_close_ones():
    with pytest.raises(UserError, match=r"no task 'fashion_mnist': did you mean .*fashion-mnist"):
        load_task("fashion_mnist")
    with pytest.raises(UserError, match=r"did you mean .*digits"):
        available("zebra")


def test_malformed_images_and_labels_are_refused():
    images, labels = np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int64)
    with pytest.raises(UserError, match="must be uint8 N H W 3"):
        ImageSet(images.astype(float), labels)
    with pytest.raises(UserError, match="one for each of the 2 images"):
        ImageSet(images, labels[:1])
    part = ImageSet(images, labels + 2)
    with pytest.raises(ValueError, match="read-only"):
        ImageSet(images, labels).labels[0] = 1
    with pytest.raises(UserError, match="labels from 2 to 2, but names 2 classes"):
        Task("t", "T", part, part, ("a", "b"), "natural", "classification", "", "")


def test_the_overview_lists_every_task_with_its_numbers():
    rows = {
        cells[1].strip("` "): [cell.strip() for cell in cells[2:]]
        for line in (repository() / "data" / "README.md").read_text().splitlines()
        if line.startswith("| `") and (cells := line.split("|"))
    }
    assert list(rows) == list(TASKS)
    for name, (images, classes, group, *_, licence, _) in rows.items():
        assert group == TASKS[name].group
        assert licence.split(":")[0].split(" (")[0] in TASKS[name].licence
        if name in FINGERPRINTS:
            task = load_task(name)
            assert images == f"{len(task.train):,} + {len(task.test):,}, {task.train.images.shape[1]} px"
            assert classes.startswith(str(task.num_classes)) or name == "object-count"


# ---- Fashion-MNIST ----------------------------------------------------------------------------------------------


def test_the_committed_subset_is_the_one_on_its_card():
    path = embedded.fashion_subset_file()
    assert hashlib.sha256(path.read_bytes()).hexdigest() in path.with_name("README.md").read_text()
    assert path.stat().st_size < 2_000_000


@pytest.mark.skipif(not available("fashion-mnist-full")[0], reason=doctor.NO_FULL_FASHION)
def test_the_committed_subset_comes_out_of_the_full_set_again():
    script = repository() / "data" / "make_fashion_subset.py"
    spec = importlib.util.spec_from_file_location("make_fashion_subset", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    again = module.subset()
    with np.load(embedded.fashion_subset_file()) as committed:
        assert set(committed.files) == set(again)
        for name, array in again.items():
            assert np.array_equal(committed[name], array), name
    assert len(load_task("fashion-mnist-full").train) == 60_000


def test_a_damaged_subset_names_the_file_and_the_fix(tmp_path, monkeypatch):
    whole = embedded.fashion_subset_file().read_bytes()
    for size in (0, 1000, len(whole) // 2, len(whole) - 10):
        path = tmp_path / f"{size}.npz"
        path.write_bytes(whole[:size])
        monkeypatch.setattr(embedded, "fashion_subset_file", lambda path=path: path)
        with pytest.raises(UserError, match=rf"{size}\.npz is missing or damaged.*git checkout"):
            TASKS["fashion-mnist"].load()


@pytest.fixture
def cached_fashion(tmp_path, monkeypatch):
    """A tiny set in torchvision's layout under the cache folder, and no Debian package."""
    monkeypatch.setattr(embedded, "DEBIAN_FASHION", tmp_path / "none")
    monkeypatch.setenv("VPTLIB_CACHE", str(tmp_path))
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for part, n in (("train", 20), ("t10k", 10)):
        images = np.random.RandomState(n).randint(0, 256, (n, 28, 28)).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(_idx(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(_idx(np.arange(n) % 10)))
    return folder


def _idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def test_the_full_set_is_read_from_torchvisions_folder_packed_or_not(cached_fashion):
    assert available("fashion-mnist-full")[0]
    train, test, names = TASKS["fashion-mnist-full"].load()
    assert (len(train), len(test), len(names)) == (20, 10, 10)
    expected = np.random.RandomState(20).randint(0, 256, (20, 28, 28))
    assert np.array_equal(train.images, np.stack([expected] * 3, axis=-1))
    assert test.labels.tolist() == list(range(10))


@pytest.mark.parametrize("size", [0, 3, 10, 500, -1])
def test_a_truncated_idx_file_is_named(cached_fashion, size):
    path = cached_fashion / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte is missing or damaged"):
        TASKS["fashion-mnist-full"].load()


def test_a_truncated_packed_idx_file_is_named(cached_fashion):
    path = cached_fashion / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte\.gz is missing or damaged"):
        TASKS["fashion-mnist-full"].load()


def test_without_the_full_set_the_package_and_the_download_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "DEBIAN_FASHION", tmp_path / "none")
    monkeypatch.setenv("VPTLIB_CACHE", str(tmp_path))
    load_task.cache_clear()
    with pytest.raises(UserError, match=r"dataset-fashion-mnist.*torchvision.*'fashion-mnist'"):
        load_task("fashion-mnist-full")


# ---- solar cells ------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_elpv(monkeypatch):
    """A stand-in for elpv-dataset's module: 80 cells in the shapes and types that its `load_dataset` gives."""
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (80, 300, 300)).astype(np.uint8)
    probability, kinds = np.tile([0, 1 / 3, 2 / 3, 1.0], 20), np.repeat(["mono", "poly"], 40)
    module, parent = ModuleType("elpv_dataset.utils"), ModuleType("elpv_dataset")
    module.load_dataset = lambda: (images, probability, kinds)
    parent.__spec__, parent.utils = ModuleSpec("elpv_dataset", None), module
    monkeypatch.setitem(sys.modules, "elpv_dataset", parent)
    monkeypatch.setitem(sys.modules, "elpv_dataset.utils", module)
    return images, probability, kinds


def test_solar_cells_are_defective_from_a_probability_of_one_half(fake_elpv):
    images, probability, kinds = fake_elpv
    assert available("solar-cells")[0]
    train, test, names = TASKS["solar-cells"].load()
    assert names == ("functional", "defective") and (len(train), len(test)) == (60, 20)
    place = {image.tobytes(): k for k, image in enumerate(images)}
    for part in (train, test):
        places = [place[image[..., 1].tobytes()] for image in part.images]
        assert part.labels.tolist() == (probability[places] >= 0.5).astype(int).tolist()
        assert part.labels.mean() == 0.5 and (kinds[places] == "mono").mean() == 0.5


def test_without_the_extra_the_pip_command_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    load_task.cache_clear()
    with pytest.raises(UserError, match=r"pip install -e '\.\[solar-cells\]'"):
        load_task("solar-cells")
    assert available("solar-cells")[0] is False


# ---- drawn tasks ------------------------------------------------------------------------------------------------


def _centre_of_mass(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean column and row of the light in images `N S S 3`, in pixels from the upper left corner."""
    light, middles = images[..., 0].astype(float), np.arange(images.shape[2]) + 0.5
    total = light.sum(axis=(1, 2))
    return light.sum(axis=1) @ middles / total, light.sum(axis=2) @ middles / total


def test_the_location_label_is_the_column_of_the_centre_of_mass():
    task = load_task("dsprites-location")
    x, _ = _centre_of_mass(task.train.images)
    step = 36 / 31  # pixels from position to position
    assert np.array_equal(np.floor((x - 14 + step / 2) / (2 * step)).astype(int), task.train.labels)


def test_no_sprite_touches_the_edge():
    for name in ("dsprites-location", "dsprites-orientation"):
        images = load_task(name).train.images
        assert images[:, [0, -1]].max() == images[:, :, [0, -1]].max() == 0


def test_the_orientation_label_is_where_the_hearts_lobes_point():
    task = load_task("dsprites-orientation")
    x, y = _centre_of_mass(task.test.images)
    middles = np.arange(synthetic.SIZE) + 0.5
    arms = (middles - x[:, None, None]) + 1j * (middles[:, None] - y[:, None, None])  # N S S
    lopsided = (task.test.images[..., 0] * np.abs(arms) ** 2 * arms).sum(axis=(1, 2))  # towards the lobes
    turn = np.degrees(np.angle(lopsided * 1j))  # clockwise from upright
    off = (turn - (task.test.labels + 0.5) * 22.5 + 180) % 360 - 180
    assert (np.abs(off) < 11.25).mean() > 0.9  # turns are 7.5 or 0 from a class's middle; small hearts show it roughly
    assert np.abs(off).max() < 22.5 and np.abs(off.mean()) < 0.5


@pytest.mark.parametrize("shape", synthetic.SPRITES)
def test_sprites_have_the_shapes_of_their_names(shape):
    image = synthetic.draw_sprite(shape, radius=20, angle=0.0, x=32, y=32) / 255
    half = 20 / np.sqrt(2)
    area = {
        "square": (2 * half) ** 2,
        "ellipse": np.pi * 20 * 10,
        "heart": (4 + np.pi) * (20 / synthetic.HEART_TIP) ** 2,
    }
    assert image.sum() == pytest.approx(area[shape], rel=0.01)
    assert np.allclose(image, image[:, ::-1], atol=0.01)  # upright: left and right are equal
    rows = np.flatnonzero(image.max(axis=1) > 0.5) + 0.5
    top, bottom = {"square": (32 - half, 32 + half), "ellipse": (12, 52), "heart": (None, 52)}[shape]
    assert rows.max() == pytest.approx(bottom, abs=1.5)
    assert top is None or rows.min() == pytest.approx(top, abs=1.5)


def test_the_count_label_is_the_number_of_solids_and_each_of_them_is_seen():
    images, labels = synthetic.object_count(64)
    for image, label, (solids, brightness) in zip(images, labels, synthetic.scenes(64), strict=True):
        assert len(solids) == synthetic.COUNTS[label]
        assert np.array_equal(image, synthetic.draw_solids(solids, brightness))
        for k in range(len(solids)):
            without = synthetic.draw_solids(solids[:k] + solids[k + 1 :], brightness)
            changed = np.abs(image.astype(int) - without).max(axis=2) > 12
            assert changed.sum() >= 30, solids[k]


def test_more_solids_do_not_show_in_the_ground_alone():
    """Brightness of the ground must not reveal the count: the upper left pixel is ground in every scene."""
    task = load_task("object-count")
    corner = task.train.images[:, 0, 0, 0].astype(float)
    means = [corner[task.train.labels == label].mean() for label in range(task.num_classes)]
    spread = corner.std() / np.sqrt(250)
    assert np.ptp(means) < 6 * spread


def test_a_nearer_solid_hides_a_farther_one():
    far = synthetic.Solid("cube", 6.0, synthetic.TURNS[2], 0, 64, 60)
    near = synthetic.Solid("sphere", 6.0, 0.0, 1, 64, 72)
    image = synthetic.draw_solids([near, far])
    assert np.array_equal(image, synthetic.draw_solids([far, near]))
    red, _, blue = image[36, 32].astype(int)
    assert blue > red


# ---- subsets ----------------------------------------------------------------------------------------------------

class_sizes = st.lists(st.integers(2, 40), min_size=1, max_size=12)
seeds = st.integers(0, 2**31)


def _labels(sizes: list[int]) -> np.ndarray:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.RandomState(1).permutation(labels)


@settings(deadline=None)
@given(sizes=class_sizes, seed=seeds, draw=st.data())
def test_few_shot_is_nested_seeded_and_without_repeats(sizes, seed, draw):
    labels = _labels(sizes)
    small = draw.draw(st.integers(2 * len(sizes), len(labels)))
    large = draw.draw(st.integers(small, len(labels)))
    subset = few_shot(labels, large, seed)
    assert len(set(subset.tolist())) == len(subset) == large
    assert np.array_equal(few_shot(labels, small, seed), subset[:small])
    counts = np.bincount(labels[subset], minlength=len(sizes))
    assert counts.min() >= 2


@settings(deadline=None)
@given(sizes=class_sizes, seed=seeds, draw=st.data())
def test_few_shot_keeps_class_shares_to_within_one_wherever_the_two_of_each_class_allow_it(sizes, seed, draw):
    labels = _labels(sizes)
    n = draw.draw(st.integers(2 * len(sizes), len(labels)))
    share = n * np.array(sizes) / len(labels)
    counts = np.bincount(labels[few_shot(labels, n, seed)])
    assert (counts <= np.maximum(2, np.ceil(share))).all()
    if share.min() >= 2:
        assert (np.abs(counts - share) < 1).all()


def test_few_shot_differs_between_seeds_and_favours_no_class():
    labels = _labels([50] * 16)
    subsets = [few_shot(labels, 40, seed) for seed in range(200)]
    assert len({tuple(sorted(subset)) for subset in subsets}) == 200
    extra = np.sum([np.bincount(labels[subset]) == 3 for subset in subsets], axis=0)  # 8 of 16 classes each time
    assert extra.min() > 60 and extra.max() < 140
    often = np.bincount(np.concatenate(subsets), minlength=len(labels))
    assert often.max() < 30  # 10 expected of each image


@pytest.mark.parametrize(
    ("sizes", "n", "says"),
    [
        ([5, 5], 11, "size 11 is larger than the 10 training images: take at most 10"),
        ([5, 5, 5], 5, "size 5 is too small for 3 classes with at least 2 images each: take at least 6"),
        ([5, 5], 0, "size 0 is too small for 2 classes with at least 2 images each: take at least 4"),
        ([5, 5], -3, "size -3 is too small"),
        ([5, 1, 5], 8, "class 1 has a single training image"),
    ],
)
def test_impossible_sizes_say_what_is_possible(sizes, n, says):
    with pytest.raises(UserError, match=says):
        few_shot(_labels(sizes), n, seed=0)


@settings(deadline=None)
@given(sizes=class_sizes, seed=seeds, share=st.floats(0.05, 0.95), draw=st.data())
def test_validation_parts_the_subset_and_leaves_every_class_something_to_train_on(sizes, seed, share, draw):
    labels = _labels(sizes)
    subset = few_shot(labels, draw.draw(st.integers(2 * len(sizes), len(labels))), seed)
    train, validation = split_validation(labels, subset, share)
    assert sorted([*train, *validation]) == sorted(subset)
    assert set(labels[train]) == set(labels)
    counts, held = (np.bincount(labels[part], minlength=len(sizes)) for part in (subset, validation))
    wanted = max(1, round(share * len(subset)))
    assert len(validation) == min(wanted, len(subset) - len(sizes))
    if (np.ceil(share * counts) < counts).all():  # no class is held back to keep its training image
        assert (np.abs(held - share * counts) < 1 + 1e-9).all()
    again = split_validation(labels, subset, share)
    assert np.array_equal(again[0], train) and np.array_equal(again[1], validation)


def test_left_over_validation_places_go_round_the_classes():
    labels = _labels([50] * 16)
    held = np.zeros(16)
    for seed in range(100):
        held += np.bincount(labels[split_validation(labels, few_shot(labels, 50, seed))[1]], minlength=16)
    assert held.sum() == 1000 and held.min() > 35  # 62.5 expected of each class


def test_impossible_validation_is_refused():
    labels = np.array([0, 0, 1, 1])
    with pytest.raises(UserError, match="validation share is 1"):
        split_validation(labels, np.arange(4), share=1)
    with pytest.raises(UserError, match="no class of the subset has two images"):
        split_validation(labels, np.array([0, 2]))


@settings(deadline=None)
@given(sizes=class_sizes, n=st.integers(1, 600))
def test_fixed_test_is_stratified_sorted_and_always_the_same(sizes, n):
    labels = _labels(sizes)
    chosen = fixed_test(labels, n)
    taken = min(n, len(labels))
    assert len(chosen) == taken and (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, fixed_test(labels.copy(), n))
    counts = np.bincount(labels[chosen], minlength=len(sizes))
    assert (np.abs(counts - taken * np.array(sizes) / len(labels)) < 1).all()


def test_no_test_images_are_refused():
    with pytest.raises(UserError, match="0 test images were asked for"):
        fixed_test(np.array([0, 1]), 0)


# ---- preparation ------------------------------------------------------------------------------------------------


def _preprocessing(size: int, interpolation: str = "bicubic") -> Preprocessing:
    return Preprocessing(size, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5), interpolation=interpolation)


def test_images_of_the_right_size_are_only_normalised():
    images = np.random.RandomState(0).randint(0, 256, (3, 28, 28, 3)).astype(np.uint8)
    pixels, labels = prepare(ImageSet(images, np.array([2, 0, 1])), _preprocessing(28)).tensors
    expected = (images / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.2, 0.25, 0.5])
    assert pixels.dtype == torch.float32 and labels.dtype == torch.int64 and labels.tolist() == [2, 0, 1]
    assert np.allclose(pixels.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (64, 64), (100, 60)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_scaling_agrees_with_pillow(shape, interpolation):
    image = np.random.RandomState(0).randint(80, 176, (*shape, 3)).astype(np.uint8)  # far from where Pillow clips
    pixels = prepare(ImageSet(image[None], np.array([0])), _preprocessing(28, interpolation)).tensors[0][0]
    ours = pixels.numpy().transpose(1, 2, 0) * [0.2, 0.25, 0.5] + [0.5, 0.4, 0.3]
    theirs = np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling[interpolation.upper()]))
    assert np.abs(ours * 255 - theirs).max() < 1.5  # Pillow rounds after each axis


def test_more_images_than_a_chunk_keep_their_order():
    images = np.broadcast_to((np.arange(600) % 256).astype(np.uint8)[:, None, None, None], (600, 8, 8, 3))
    pixels = prepare(ImageSet(images, np.arange(600)), _preprocessing(14)).tensors[0]
    assert torch.allclose(pixels[:, 0, 5, 5] * 0.2 + 0.5, torch.arange(600) % 256 / 255, atol=1e-5)


def test_an_unknown_interpolation_is_named():
    with pytest.raises(UserError, match="interpolation 'lanczos' is not known"):
        prepare(ImageSet(np.zeros((1, 8, 8, 3), np.uint8), np.array([0])), _preprocessing(14, "lanczos"))
