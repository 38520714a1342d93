"""vptlib.study.input_size: the smallest input size at which the thing can be seen is chosen, and from labels alone."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from models import small_vit
from pictures import class_folders, put, smooth, table
from PIL import Image
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vptlib.data.preparing import ImageSet
from vptlib.data.splits import few_shot
from vptlib.data.tasks import Task, load_task
from vptlib.errors import UserError
from vptlib.report.sections.input_size import input_size_part, input_size_summary
from vptlib.report.words import in_language
from vptlib.report.words.en import protocol
from vptlib.study import input_size
from vptlib.study.input_size import (
    STRENGTHS,
    chosen_size,
    compared,
    look,
    probe_path,
    reasons_for,
    sizes_seen,
    sizes_to_look_at,
    smallest_within_error,
)
from vptlib.study.plan import Plan
from vptlib.study.protocol import protocol_of
from vptlib.study.published_rules import DONE, EQUAL
from vptlib.study.study import Study
from vptlib.tuning import backbones

ARCHITECTURE = "test_vit"  # patches of 16 px
LADDER = [32, 64, 96, 128]


def striped(label, number, side=128, period=4):
    """Stripes that lie across or go down, and fade towards the edges, in noise: 4 px become 1 of 32, or 2 of 64 px."""
    fading = np.hanning(side)[:, None] * np.hanning(side)
    wave = 90 * np.sin(2 * np.pi * (np.arange(side) + 0.5) / period)
    return noisy(fading * (wave[:, None] if label else wave), 1000 * label + number)


def shaded(label, number, side=128):
    """Dark or bright, in noise: a difference that every size shows."""
    return noisy(np.full((side, side), 90 * label - 45), 1000 * label + number)


def noisy(pattern, seed):
    draw = np.random.default_rng(seed)
    picture = 128 + pattern + draw.normal(0, 25, pattern.shape) + draw.normal(0, 10)
    return Image.fromarray(np.uint8(picture.clip(0, 255))).convert("RGB")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny random backbone for 32 px, and images of fine and of coarse stripes; an empty cache."""
    root = tmp_path_factory.mktemp("sizes")
    torch.manual_seed(0)
    vit = timm.create_model(ARCHITECTURE, pretrained=False, img_size=32, num_classes=0)
    save_file(vit.state_dict(), root / "tiny.safetensors", metadata={"architecture": ARCHITECTURE})
    for label in range(2):
        for k in range(24):
            put(root / "fine" / f"class {label}" / f"{k}.png", striped(label, k))
            put(root / "coarse" / f"class {label}" / f"{k}.png", shaded(label, k))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VPTLIB_CACHE", str(root / "cache"))
        look.cache_clear()
        yield root


@pytest.fixture
def backbone(place):
    return f"file:{place / 'tiny.safetensors'}"


def plan_of(place, images="fine", rules=DONE, **options):
    settings = {"sizes": (32,), "depth": 1, "methods": ("linear",), "backbone": f"file:{place / 'tiny.safetensors'}"}
    return Study(str(place / images), rules=rules, **settings | options)


def task_of(monkeypatch, images, labels, groups=None, name="planted"):
    """A task of images in memory, which `look` finds by name."""
    train = ImageSet(images, np.asarray(labels, dtype=np.int64))
    test = ImageSet(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]))
    names = tuple(f"class {k}" for k in range(int(max(labels)) + 1))
    task = Task(name, name, train, test, names, "natural", "classification", "none", "drawn", train_groups=groups)
    monkeypatch.setattr(input_size, "load_task", lambda _: task)
    look.cache_clear()
    return task


def noise(count, side, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (count, side, side, 3), dtype=np.uint8)


# ---- the choice -------------------------------------------------------------------------------------------------


def test_the_smallest_size_at_which_a_pattern_can_be_seen_is_chosen(place):
    seen = sizes_seen(plan_of(place))
    accuracy = {row.size: row.accuracy for row in seen.rows}
    assert list(accuracy) == LADDER
    assert accuracy[32] < 0.8 and accuracy[64] > 0.95
    assert seen.chosen == chosen_size(plan_of(place)) == 64
    assert seen.n == 32 and seen.folds == 5 and seen.kind == "stratified"
    assert seen.images_px == (128, 128)


def test_where_all_sizes_do_as_well_the_smallest_is_chosen(place):
    seen = sizes_seen(plan_of(place, "coarse"))
    assert [row.size for row in seen.rows] == LADDER and seen.rows[0].accuracy > 0.9
    assert seen.chosen == 32


def answers(**correct):
    """Kept answers of sizes, from strings of right (1) and wrong (0)."""
    return {
        int(size[1:]): {
            "correct": [float(c) for c in text],
            "seconds_per_image": 0.1,
            "tokens": 5,
            "operations": int(size[1:]) ** 2,
        }
        for size, text in correct.items()
    }


def test_the_error_is_that_of_paired_differences():
    rows = compared(answers(_32="1000", _64="1110"), np.arange(4))
    assert [row.accuracy for row in rows] == [0.25, 0.75]
    differences = np.array([0, 1, 1, 0])
    assert rows[0].behind == 0.5
    assert rows[0].behind_error == pytest.approx(differences.std(ddof=1) / 2)
    assert (rows[1].behind, rows[1].behind_error) == (0, 0)
    assert [row.relative_cost for row in rows] == [1, 4]


def test_images_of_one_group_count_together():
    """Two groups of two equal images are two independent differences, not four."""
    (row, _) = compared(answers(_32="1100", _64="1111"), np.array([0, 0, 1, 1]))
    assert row.behind_error == pytest.approx(np.array([0.0, 1.0]).std(ddof=1) / np.sqrt(2))


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ({"_32": "1111011111", "_64": "1111111111"}, 32),  # one of ten: as large as its error
        ({"_32": "1001011111", "_64": "1111111111"}, 64),
        ({"_32": "1001011111", "_64": "1111111110", "_96": "1111111111"}, 64),
        ({"_32": "1111111111", "_64": "1111111110"}, 32),
    ],
)
def test_the_smallest_size_within_one_standard_error_of_the_best_is_taken(sizes, chosen):
    assert smallest_within_error(compared(answers(**sizes), np.arange(10))) == chosen


def test_the_probe_is_logistic_regression_on_standardised_features():
    """Turning few images into their own space changes nothing."""
    draw = np.random.default_rng(0)
    train, test, labels = draw.normal(3, 2, (30, 50)), draw.normal(3, 2, (9, 50)), np.arange(30) % 3
    for strength, found in zip(STRENGTHS, probe_path(train, labels, test), strict=True):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, tol=1e-8, max_iter=10_000))
        np.testing.assert_allclose(found, model.fit(train, labels).predict_proba(test), atol=2e-3)


# ---- which sizes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "patch", "sides", "wanted"),
    [
        (56, 14, (28, 28), (56,)),  # nothing grows
        (56, 14, (8, 8), (56,)),  # smaller than a patch
        (56, 14, (300, 300), (56, 112, 168, 224)),
        (56, 14, (4000, 3000), (56, 112, 168, 224)),
        (56, 14, (180, 400), (56, 112, 168)),
        (56, 14, (100, 100), (56, 98)),  # the images' own size, in whole patches
        (56, 14, (60, 60), (56,)),
        (224, 16, (28, 28), (224,)),
        (224, 16, (300, 300), (112, 160, 224, 288)),
        (224, 16, (240, 240), (112, 160, 224)),
        (224, 16, (640, 480), (112, 160, 224, 320)),
        (224, 32, (640, 480), (128, 160, 224, 320)),
        (518, 14, (1024, 768), (252, 364, 518)),  # larger ones cost too much
    ],
)
def test_sizes_run_from_a_small_one_to_the_images_own(own, patch, sides, wanted):
    width, height = sides
    vit = small_vit(img_size=own, patch_size=patch, embed_dim=2, num_heads=1, depth=1)
    images = ImageSet(np.zeros((2, height, width, 3), np.uint8), np.array([0, 1]))
    task = Task("t", "t", images, images, ("a", "b"), "natural", "classification", "none", "drawn")
    assert sizes_to_look_at(task, vit) == wanted
    assert own in wanted and all(size % patch == 0 for size in wanted)


def test_a_photograph_that_lies_on_its_side_is_measured_upright(place, tmp_path, backbone):
    for name in "ab":
        for k in range(4):
            exif = Image.Exif()
            exif[0x0112] = 6
            put(tmp_path / name / f"{k}.jpg", smooth(k).resize((40, 24)), exif=exif)
    assert look(str(tmp_path), backbone, 1, 4, 0).images_px == (24, 40)


def test_embedded_tasks_do_not_grow_and_nothing_is_looked_at(own_cache, monkeypatch):
    monkeypatch.setattr(input_size, "build_method", None)
    images = noise(8, 28)
    task_of(monkeypatch, images, [0, 1] * 4, name="small")
    monkeypatch.setattr(input_size, "load_backbone", lambda *_, **__: small_vit(img_size=56))
    seen = look("small", "any", None, 8, 0)
    assert (seen.chosen, seen.rows, seen.n, seen.further) == (56, (), 0, None)
    assert seen.statement().code == "input_size_only" and len(seen.reasons()) == 1


# ---- labels alone, and groups ------------------------------------------------------------------------------------


def test_only_the_labelled_images_are_looked_at(place, monkeypatch):
    plan, prepare, used = plan_of(place, seeds=(1,)), input_size.prepare, []

    def listening(images, preprocessing):
        used.append((images.rows.tolist(), preprocessing.size, preprocessing.aspect))
        return prepare(images, preprocessing)

    monkeypatch.setattr(input_size, "prepare", listening)
    sizes_seen(plan)
    train = load_task(plan.task).train
    wanted = train.rows[few_shot(train.labels, 32, 1)].tolist()
    assert used == [(wanted, size, "squash") for size in LADDER]


def test_groups_stay_together(own_cache, monkeypatch, backbone):
    """Each group is one picture, four times: folds that split groups would know every answer."""
    groups = np.repeat(np.arange(10), 4)
    images = np.stack([np.asarray(smooth(k, 64)) for k in range(10)])[groups]
    labels = (np.arange(10) % 2)[groups]
    task_of(monkeypatch, images, labels, name="ungrouped")
    apart = look("ungrouped", backbone, 1, 40, 0)
    task_of(monkeypatch, images, labels, groups, name="grouped")
    together = look("grouped", backbone, 1, 40, 0)
    assert apart.kind == "stratified" and all(row.accuracy > 0.85 for row in apart.rows)
    assert together.kind == "groups" and all(row.accuracy < 0.7 for row in together.rows)


def test_a_study_under_harder_conditions_has_the_size_of_the_clean_one(place):
    plan = plan_of(place)
    assert chosen_size(plan.under(label_noise=0.4)) == chosen_size(plan) == 64


# ---- answers are kept --------------------------------------------------------------------------------------------


def test_another_process_has_the_answer_without_looking(place, monkeypatch):
    plan = plan_of(place)
    before = sizes_seen(plan)
    look.cache_clear()
    monkeypatch.setattr(input_size, "build_method", None)  # looking is impossible now
    assert sizes_seen(plan) == before
    with pytest.raises(TypeError):
        sizes_seen(replace(plan, seeds=(5,)))  # other images are another question


def test_a_stopped_look_goes_on_where_it_was(own_cache, monkeypatch, backbone):
    task_of(monkeypatch, noise(12, 64), [0, 1] * 6, name="stopped")
    load, looked = input_size.load_backbone, []

    def until(stop, name, size=None, depth=None):
        if size == stop:
            raise KeyboardInterrupt
        looked.extend([size] if size else [])
        return load(name, size, depth)

    monkeypatch.setattr(input_size, "load_backbone", lambda *args, **options: until(64, *args, **options))
    with pytest.raises(KeyboardInterrupt):
        look("stopped", backbone, 1, 12, 0)
    monkeypatch.setattr(input_size, "load_backbone", lambda *args, **options: until(None, *args, **options))
    assert [row.size for row in look("stopped", backbone, 1, 12, 0).rows] == looked == [32, 64]


@pytest.mark.parametrize("text", ["", '{"size": 32', "[]", '{"size": 32}'])
def test_a_damaged_answer_is_found_again(own_cache, monkeypatch, backbone, text):
    task_of(monkeypatch, noise(8, 64), [0, 1] * 4, name="damaged")
    before = look("damaged", backbone, 1, 8, 0)
    for path in (own_cache / "input_sizes").glob("*.json"):
        path.write_text(text)
    look.cache_clear()
    after = look("damaged", backbone, 1, 8, 0)
    assert [row.accuracy for row in after.rows] == [row.accuracy for row in before.rows]
    assert not list(own_cache.rglob("*.part"))


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path, backbone):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VPTLIB_CACHE", str(tmp_path / "file"))
    task_of(monkeypatch, noise(8, 64), [0, 1] * 4, name="unwritable")
    with pytest.raises(UserError, match="set VPTLIB_CACHE to a folder"):
        look("unwritable", backbone, 1, 8, 0)


# ---- bad input --------------------------------------------------------------------------------------------------


def test_a_backbone_of_fixed_size_keeps_it(own_cache, monkeypatch, backbone):
    load = backbones.load_backbone

    def fixed(name, image_size=None, depth=None):
        if image_size not in (None, 32):
            raise UserError("this backbone takes 32 px only")
        return load(name, image_size, depth)

    monkeypatch.setattr(input_size, "load_backbone", fixed)
    task_of(monkeypatch, noise(8, 128), [0, 1] * 4, name="for a fixed backbone")
    seen = look("for a fixed backbone", backbone, 1, 8, 0)
    assert seen.fixed and seen.chosen == 32 and seen.statement().code == "input_size_fixed"
    plan = Plan("for a fixed backbone", backbone=backbone, depth=1, sizes=(8,), rules=DONE)
    assert chosen_size(plan) is None  # any number would be refused
    with pytest.raises(UserError, match="32 px only"):
        look("for a fixed backbone", backbone, 1, 8, 0, sizes=(32, 64))


def test_very_few_images_are_enough(own_cache, monkeypatch, backbone):
    task_of(monkeypatch, noise(20, 64), [0] * 16 + [1] * 4, name="few")
    seen = look("few", backbone, 1, 4, 0)
    assert (seen.n, seen.folds, seen.kind) == (4, 2, "stratified")
    assert all(0 <= row.accuracy <= 1 for row in seen.rows)


def test_a_class_with_fewer_images_than_folds_is_no_fault(own_cache, monkeypatch, backbone):
    task_of(monkeypatch, noise(22, 64), [0] * 20 + [1] * 2, name="rare")
    seen = look("rare", backbone, 1, 22, 0)
    assert seen.folds == 5 and all(np.isfinite(row.accuracy) for row in seen.rows)


def test_images_of_very_different_sizes_follow_their_median(own_cache, tmp_path, backbone):
    sides = [24, 24, 70, 70, 70, 70, 900, 900]
    for name in "ab":
        for k, side in enumerate(sides):
            put(tmp_path / name / f"{k}.png", smooth(k, side))
    seen = look(str(tmp_path), backbone, 1, 8, 0)
    assert [row.size for row in seen.rows] == [32, 64]
    assert seen.images_px == (70, 70)
    (found,) = (what for what in seen.findings() if what.code == "input_sizes_mixed")
    assert found.values == {"least": 24, "median": 70, "most": 900}


def test_a_budget_that_the_task_cannot_give_is_named(place):
    with pytest.raises(UserError, match="size 500 is larger than"):
        chosen_size(plan_of(place, sizes=(500,)))


# ---- findings and words -----------------------------------------------------------------------------------------


def seen_at(place, **correct):
    """What was seen, with other accuracies."""
    rows = compared(answers(**correct), np.arange(10))
    return replace(sizes_seen(plan_of(place)), rows=rows, chosen=smallest_within_error(rows))


def test_a_larger_input_that_is_ahead_within_the_error_is_a_finding(place):
    (found,) = seen_at(place, _32="1111011111", _64="1111111111").findings()
    assert found.code == "larger_input"
    assert found.values == {"size": 64, "smaller": 32, "gain": 0.1, "error": pytest.approx(0.1), "rising": False}


def test_accuracy_that_still_rises_at_the_largest_size_is_a_finding_if_the_images_have_more_pixels(place):
    rising = seen_at(place, _32="1000000000", _64="1111111111")
    assert rising.further is None and rising.findings() == []  # 128 px is all that these images have
    (found,) = replace(rising, further=96).findings()
    assert (found.code, found.values["size"], found.values["smaller"], found.values["rising"]) == (
        "larger_input",
        96,
        32,
        True,
    )
    assert "96" in in_language().sentence(found) and "90 points" in in_language().sentence(found)


def test_the_sentence_names_the_choice_and_what_it_was_chosen_from(place):
    text = in_language().sentence(seen_at(place, _32="1111011111", _64="1111111111").statement())
    assert text == (
        "32 px is the smallest of 32 and 64 px within one standard error (10 points) of the best. It has 90.0\u202f% "
        "accuracy; 64 px has 100.0\u202f%."
    )
    best = in_language().sentence(seen_at(place, _32="0000000001", _64="1111111111").statement())
    assert best.startswith("64 px is the best of 32 and 64 px, with 100.0\u202f% accuracy.")


# ---- plans ------------------------------------------------------------------------------------------------------


def test_other_rules_and_a_given_size_are_left_alone(place, monkeypatch):
    monkeypatch.setattr(input_size, "look", None)
    assert chosen_size(plan_of(place, rules=EQUAL)) is None
    assert chosen_size(plan_of(place, rules=EQUAL, image_size=64)) == 64
    given = plan_of(place, image_size=96)
    assert chosen_size(given) == 96
    (reason,) = reasons_for(given)
    assert reason.plain() == {"code": "input_size_by_hand", "size": 96}


@pytest.mark.parametrize(
    ("aspect", "sides", "used"), [("auto", (40, 24), "crop"), ("pad", (40, 24), "pad"), ("pad", (24, 24), "squash")]
)
def test_images_become_square_as_the_plan_has_it(own_cache, tmp_path, backbone, aspect, sides, used):
    class_folders(tmp_path / "images", {"a": 4, "b": 4}, draw=lambda number: smooth(number).resize(sides))
    plan = Plan(str(tmp_path / "images"), backbone=backbone, depth=1, sizes=(4,), rules=DONE, aspect=aspect)
    assert sizes_seen(plan).aspect == used


# ---- the report -------------------------------------------------------------------------------------------------


def texts_of(parts):
    return re.sub(r"data:[^\"]*", "", " ".join(part.data for part in parts))


def test_the_report_shows_accuracy_against_size_and_images_as_the_model_sees_them(place):
    parts = input_size_part(plan_of(place))
    html = texts_of(parts)
    assert "64 px is the smallest of 32, 64, 96 and 128 px" in html or "64 px is the best of" in html
    assert "64 px (chosen)" in html and "What the model sees: 64 × 64 px" in html
    assert html.count("Image of class") == 3 and "No test image is used." in html
    assert sum(part.data.count("data:image") for part in parts) == 2 + 2 * 3


def test_a_report_on_small_images_has_one_sentence(place, tmp_path):
    class_folders(tmp_path / "small", {"a": 8, "b": 8}, draw=lambda number: smooth(number, 24))
    plan = replace(plan_of(place), task=str(tmp_path / "small"), sizes=(8,))
    html = texts_of(input_size_part(plan))
    assert html.count("<dd") == 1 and "32 px, the backbone&#39;s own size" in html
    assert "<img" not in html and "<table" not in html


def test_the_rules_say_where_the_input_size_comes_from(place, tmp_path):
    class_folders(tmp_path / "small", {"a": 8, "b": 8}, draw=lambda number: smooth(number, 24))
    plan = plan_of(place, methods=("linear", "full"))
    small = replace(plan, task=str(tmp_path / "small"), sizes=(8,))
    said = [protocol(protocol_of(a_plan))["Input"] for a_plan in (plan, replace(plan, image_size=96), small)]
    assert said[0].startswith("64 × 64 px, chosen on the labelled images before any training;")
    assert said[1].startswith("96 × 96 px, given;")
    assert said[2].startswith("32 × 32 px, the backbone's own size, because no other is possible or would show more;")


def test_a_report_on_a_given_size_states_that_and_shows_images(place):
    html = texts_of(input_size_part(plan_of(place, image_size=96)))
    assert "96 px, given as image_size" in html and "96 × 96 px" in html
    assert "<th" in html and "chosen" not in html


def test_other_rules_have_no_such_part(place):
    assert input_size_part(plan_of(place, rules=EQUAL)) == []


def test_the_summary_holds_what_was_compared(place):
    summary = input_size_summary(plan_of(place))
    assert (summary["size"], summary["aspect"], summary["chosen_by_looking"]) == (64, "squash", True)
    assert pd.DataFrame(summary["compared"])["size"].tolist() == LADDER
    assert [row["size"] for row in summary["compared"] if row["chosen"]] == [64]
    assert summary["reasons"][0]["code"] == "input_size_chosen"
    given = input_size_summary(plan_of(place, rules=EQUAL, image_size=96))
    assert given["size"] == 96 and "compared" not in given


def test_a_table_of_images_with_groups_is_looked_at(own_cache, tmp_path, backbone):
    rows = [[f"img/{k}.png", "ab"[k % 2], f"lot {k // 2}"] for k in range(24)]
    path = table(tmp_path, rows, header=("path", "label", "group"))
    for k in range(24):
        put(tmp_path / "img" / f"{k}.png", smooth(k, 64))
    assert look(str(path), backbone, 1, 12, 0).kind == "groups"
