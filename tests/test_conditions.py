"""vptlib.data.conditions: what is changed is changed as asked, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vptlib import Study
from vptlib.data.conditions import CORRUPTIONS, Conditions, corrupt, long_tail, wrong_labels
from vptlib.errors import UserError
from vptlib.report.words.en import protocol
from vptlib.study.published_rules import EQUAL
from vptlib.study.store import run_key

LABELS = np.arange(600) % 5


@pytest.mark.parametrize("noise", ["symmetric", "pair"])
def test_the_share_that_was_asked_for_is_wrong(noise):
    changed = wrong_labels(LABELS, 0.3, noise, 5, seed=4)
    wrong = changed != LABELS
    assert wrong.sum() == 180 and set(changed) == set(range(5))
    if noise == "pair":
        assert (changed[wrong] == (LABELS[wrong] + 1) % 5).all()
    else:
        steps = np.bincount((changed[wrong] - LABELS[wrong]) % 5, minlength=5)
        assert steps[0] == 0 and steps[1:].min() > 25  # any other class
    assert not np.array_equal(changed, wrong_labels(LABELS, 0.3, noise, 5, seed=5))
    np.testing.assert_array_equal(wrong_labels(LABELS, 0.0, noise, 5, seed=4), LABELS)


def test_classes_fall_off_by_equal_factors():
    counts = np.sort(np.bincount(LABELS[long_tail(LABELS, 155, 16, seed=0)]))[::-1]
    assert counts.tolist() == pytest.approx([80, 40, 20, 10, 5], abs=1.01) and counts.sum() == 155


@given(n=st.integers(10, 200), imbalance=st.floats(1, 40), seed=st.integers(0, 20))
def test_a_long_tail_has_n_images_none_twice_and_two_of_each_class(n, imbalance, seed):
    try:
        chosen = long_tail(LABELS, n, imbalance, seed)
    except UserError as error:
        assert "imbalance" in str(error)
        return
    assert len(chosen) == len(set(chosen.tolist())) == n
    assert np.bincount(LABELS[chosen], minlength=5).min() >= 2


def test_which_class_is_rare_is_drawn_at_random():
    rare = {int(np.bincount(LABELS[long_tail(LABELS, 100, 10, seed)]).argmin()) for seed in range(20)}
    assert len(rare) > 2


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_corruptions_grow_with_severity_and_keep_the_kind(corruption):
    images = np.random.default_rng(0).integers(60, 190, (3, 30, 30, 3), dtype=np.uint8)
    before = images.copy()
    away = []
    for severity in (1, 3, 5):
        changed = corrupt(images, corruption, severity)
        assert changed.shape == images.shape and changed.dtype == np.uint8
        away.append(np.abs(changed.astype(int) - images).mean())
    assert 0 < away[0] < away[1] < away[2]
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(corrupt(images, corruption, 3), corrupt(images, corruption, 3))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_noise": 1.0}, "label_noise is 1.0"),
        ({"noise": "random"}, "noise is 'random'.*symmetric, pair"),
        ({"imbalance": 0.5}, "imbalance is 0.5"),
        ({"corruption": "fog"}, "corruption is 'fog'.*blur"),
        ({"corruption": "blur", "severity": 6}, "severity is 6"),
    ],
)
def test_values_out_of_range_are_named(options, words):
    with pytest.raises(UserError, match=words):
        Conditions(**options)
    with pytest.raises(UserError, match=words):
        Study("digits", **options)


def test_an_imbalance_that_the_data_cannot_give_is_named():
    with pytest.raises(UserError, match=r"class \d has 120: take a smaller"):
        long_tail(LABELS, 400, 30, seed=0)


# ---- in a study -------------------------------------------------------------------------------------------------


def study(**options):
    small = {"task": "digits", "methods": ("linear",), "sizes": (60,), "test_images": 50}
    small |= {"rules": EQUAL, "steps": 3, "candidates": 1}
    return Study(**small | options)


def test_a_study_states_its_conditions_and_keys_follow_them():
    plain, noisy = study(), study(label_noise=0.4)
    assert "conditions" not in plain.protocol()
    in_words = protocol(noisy.protocol())["Conditions"]
    assert in_words == "40% of the labelled images carry a wrong label (any other class)."
    cell = plain.cells()[0]
    keys = {run_key(s, cell) for s in (plain, noisy, study(label_noise=0.4, noise="pair"), study(imbalance=3.0))}
    assert len(keys) == 4
    assert run_key(study(noise="pair"), cell) == run_key(plain, cell), "a kind of noise without noise changes nothing"


def test_training_labels_are_wrong_and_test_labels_are_not():
    (train, val, test), (clean, clean_val, clean_test) = study(label_noise=0.5).data(60, 0), study().data(60, 0)
    labels = [np.concatenate([a.tensors[1], b.tensors[1]]) for a, b in ((train, val), (clean, clean_val))]
    assert len(labels[0]) == len(labels[1]) == 60 and sorted(labels[0].tolist()) != sorted(labels[1].tolist())
    np.testing.assert_array_equal(test.tensors[1], clean_test.tensors[1])
    np.testing.assert_array_equal(test.tensors[0], clean_test.tensors[0])


def test_test_images_are_corrupted_and_training_images_are_not():
    blurred, plain = study(corruption="blur", severity=5).data(60, 0), study().data(60, 0)
    np.testing.assert_array_equal(blurred[0].tensors[0], plain[0].tensors[0])
    assert (blurred[2].tensors[0] - plain[2].tensors[0]).abs().mean() > 0.01


def test_rare_classes_are_rare_in_the_labelled_images():
    train, val, _ = study(imbalance=8.0, sizes=(100,)).data(100, 0)
    counts = np.bincount(np.concatenate([train.tensors[1], val.tensors[1]]), minlength=10)
    assert counts.sum() == 100 and 6 < counts.max() / counts.min() <= 13


def test_a_noisy_study_runs_and_is_stored_next_to_the_clean_one(own_store):
    clean = study().run(progress=False, jobs=1)
    noisy = study(label_noise=0.6).run(progress=False, jobs=1)
    assert len(clean) == len(noisy) == 1 and clean["run_id"][0] != noisy["run_id"][0]
    assert not study().missing()
