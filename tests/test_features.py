"""What the head of a model reads, and the reference of it that a model file keeps."""

import json
import threading

import numpy as np
import pytest
import torch
from exported import answers_for, exported, reference_for, rewritten, small_backbone
from hypothesis import given, settings
from hypothesis import strategies as st
from models import draw_images, small_vit
from served import METHODS, learned, sharp_vit
from studies import study
from timm.models.deit import VisionTransformerDistilled
from torch.utils.data import TensorDataset

from vptlib.errors import UserError
from vptlib.operations.artefact import load_backbone_of, load_model, read_artefact
from vptlib.operations.export import export, read_report
from vptlib.operations.features import Reference, features_kept, logits_and_features, reference_of
from vptlib.prompting.blocks import heads
from vptlib.report import build
from vptlib.tuning.methods import build_method
from vptlib.tuning.training import evaluate


def read_by_the_heads(model, images):
    """What a model gives, and what each of its heads reads meanwhile."""
    read = []
    hooks = [head.register_forward_pre_hook(lambda _, given: read.append(given[0])) for head in heads(model.vit)]
    with torch.no_grad():
        logits = model(images)
    for hook in hooks:
        hook.remove()
    return logits, read


@pytest.fixture(scope="module")
def vit():
    return sharp_vit()


# ---- features -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_logits_are_those_of_the_model_and_features_are_what_its_head_reads(vit, name):
    model = learned(name).on(vit)
    images = draw_images(3, dtype=torch.float64)
    want, (read,) = read_by_the_heads(model, images)
    logits, features = logits_and_features(model, images)
    assert torch.allclose(logits, want, atol=1e-9)
    assert torch.allclose(features, read, atol=1e-9)
    assert features.shape == (3, model.head.in_features)
    assert not torch.allclose(features[0], features[1])


@pytest.mark.parametrize("method", ["linear", "vpt-deep", "attentive-probe"])
def test_two_heads_give_the_mean_of_what_they_read(method):
    model = build_method(method, small_vit(VisionTransformerDistilled), 3).eval()
    for head in heads(model.vit):
        torch.nn.init.normal_(head.weight)
    want, read = read_by_the_heads(model, draw_images(2))
    logits, features = logits_and_features(model, draw_images(2))
    assert torch.allclose(logits, want, atol=1e-6)
    assert torch.allclose(features, (read[0] + read[1]) / 2, atol=1e-6)


def test_threads_that_share_a_backbone_each_get_their_own_features(vit):
    names, rounds = ["linear", "deep", "attentive", "bias"], 5
    models = {name: learned(name).on(vit) for name in names}
    images = {name: draw_images(2, seed=seed, dtype=torch.float64) for seed, name in enumerate(names)}
    want = {name: logits_and_features(models[name], images[name]) for name in names}
    wrong = []

    def work(name):
        for _ in range(rounds):
            found = logits_and_features(models[name], images[name])
            if not all(torch.allclose(a, b) for a, b in zip(found, want[name], strict=True)):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("name", ["linear", "deep", "side", "knn", "full"])
def test_the_pass_that_answers_the_test_images_gives_their_features_too(vit, name):
    model = learned(name).on(vit)
    images = draw_images(7, dtype=torch.float64)
    with features_kept(model) as kept:
        found = evaluate(model, TensorDataset(images, torch.arange(7) % 3), batch_size=3)
    _, want = logits_and_features(model, images)
    assert torch.allclose(kept.last(7), want.float(), atol=1e-5)
    assert len(found.predictions) == 7
    model(images)
    assert kept.last(100).shape[0] == 7  # nothing is kept after the block has ended


def test_a_pass_that_is_begun_again_with_less_memory_counts_once(vit):
    model, images = learned("linear").on(vit), draw_images(5, dtype=torch.float64)
    with features_kept(model) as kept:
        model(images[:2])  # a batch of the pass that failed
        for part in images.split(1):
            model(part)
    assert torch.allclose(kept.last(5), logits_and_features(model, images)[1].float(), atol=1e-5)


# ---- the reference ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(
    images=st.integers(2, 40), width=st.integers(1, 30), seed=st.integers(0, 99), scale=st.sampled_from([1e-9, 1, 1e9])
)
def test_coordinates_of_the_test_images_are_those_of_the_reference_at_any_scale(images, width, seed, scale):
    random = np.random.default_rng(seed)
    features = (random.normal(size=(images, width)) + 5) * scale
    reference = reference_of(features)
    count = min(16, images - 1, width)
    assert reference.basis.shape == (width, count)
    assert np.array_equal(reference.coordinates_of(features), reference.coordinates)
    assert reference.coordinates.dtype == np.float16
    along_first = reference.coordinates[:, 0].astype(float)
    assert along_first.std(ddof=1) == pytest.approx(1, abs=0.02)


def test_coordinates_keep_distances_where_all_directions_are_kept():
    features = np.random.default_rng(0).normal(size=(40, 6))
    points = reference_of(features).coordinates.astype(float)
    apart = np.linalg.norm(features[:, None] - features, axis=-1)[np.triu_indices(40, 1)]
    now = np.linalg.norm(points[:, None] - points, axis=-1)[np.triu_indices(40, 1)]
    assert now / apart == pytest.approx(np.median(now / apart), rel=0.02)


def test_directions_are_in_order_of_spread_and_do_not_depend_on_the_sign_of_the_library():
    random = np.random.default_rng(1)
    features = random.normal(size=(60, 5)) * [1, 5, 3, 0.2, 0.1]
    reference = reference_of(features)
    spread = reference.coordinates.astype(float).std(axis=0)
    assert (np.diff(spread) < 0).all()
    largest = np.abs(reference.basis).argmax(axis=0)
    assert (reference.basis[largest, np.arange(5)] > 0).all()
    assert largest[:3].tolist() == [1, 2, 0]


def test_images_that_are_all_the_same_have_a_reference_and_far_ones_stay_finite():
    reference = reference_of(np.ones((5, 3)))
    assert not reference.coordinates.any()
    assert np.isfinite(reference.coordinates_of(np.full((2, 3), 1e30))).all()


def test_features_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="two test images or more"):
        reference_of(np.ones((1, 3)))
    with pytest.raises(UserError, match="not all finite"):
        reference_of(np.array([[1.0, 2.0], [np.nan, 1.0]]))
    with pytest.raises(UserError, match=r"must be `B 3`"):
        reference_of(np.eye(3)).coordinates_of(np.ones((2, 4)))


# ---- in a model file ----------------------------------------------------------------------------------------------


def test_a_model_file_keeps_the_reference_and_one_without_still_reads(tmp_path):
    want = reference_for(answers_for())
    written = exported(tmp_path / "a.vpt", "linear").reference
    for name in ("centre", "basis", "coordinates"):
        assert np.array_equal(getattr(written, name), getattr(want, name)), name
    old = exported(tmp_path / "b.vpt", "linear", watched=False)
    assert old.reference is None
    load_model(old, small_backbone())


def test_an_export_keeps_where_the_test_images_of_its_study_lie(own_store, tmp_path):
    made = study(methods=("linear", "vpt-deep"), sizes=(40,), seeds=(0,), steps=3)
    made.run(progress=False)
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "index.html").write_text("the report")
    (folder / "summary.json").write_text(json.dumps(build.summary(made, 0.01, {})))
    for method in made.methods:
        written = export(read_report(folder), tmp_path / "m.vpt", method, 0)
        reference = written.reference
        assert reference is not None
        assert len(reference.coordinates) == written.answers.images
        images, _ = made.data(40, 0)[2].tensors
        _, features = logits_and_features(load_model(written, load_backbone_of(written)), images)
        again = reference.coordinates_of(features)
        assert np.abs(again.astype(float) - reference.coordinates).max() < 0.01
        assert reference.coordinates.astype(float).std(axis=0).min() > 0.01


CENTRE, BASIS, POINTS = (f"vpt.watch.{part}" for part in ("centre", "basis", "coordinates"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda given: {name: tensor for name, tensor in given.items() if name != BASIS},
        lambda given: given | {BASIS: given[BASIS].double()},
        lambda given: given | {BASIS: given[BASIS][:-1].clone()},
        lambda given: given | {BASIS: given[BASIS][:, :-1].clone()},
        lambda given: given | {POINTS: given[POINTS][:-1].clone()},
        lambda given: given | {POINTS: given[POINTS][0].clone()},
        lambda given: given | {POINTS: given[POINTS].float()},
        lambda given: given | {CENTRE: given[CENTRE] * float("nan")},
        lambda given: given | {BASIS: given[BASIS][:, :0].clone(), POINTS: given[POINTS][:, :0].clone()},
    ],
)
def test_a_reference_that_cannot_be_is_refused_with_the_file_named(tmp_path, damage):
    path = tmp_path / "m.vpt"
    exported(path, "linear")
    rewritten(path, tensors=damage)
    with pytest.raises(UserError, match=r"m\.vpt is damaged.*(reference|centre)"):
        read_artefact(path)


def test_a_reference_of_features_of_another_width_is_refused_at_the_load(tmp_path):
    path = tmp_path / "m.vpt"
    exported(path, "linear")
    rewritten(
        path,
        tensors=lambda given: given | {CENTRE: given[CENTRE][:-1].clone(), BASIS: given[BASIS][:-1].clone()},
    )
    with pytest.raises(UserError, match="features of another width"):
        load_model(read_artefact(path), small_backbone())


def test_parts_that_do_not_fit_each_other_are_refused():
    with pytest.raises(UserError, match="have shapes"):
        Reference(np.ones(3, np.float32), np.ones((4, 2), np.float32), np.ones((5, 2), np.float16))
