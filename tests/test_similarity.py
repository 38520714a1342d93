"""vptlib.evidence.similarity: distances with a known answer, scores against plain computations, quadrants by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, optimize, stats

from vptlib.errors import UserError
from vptlib.evidence.similarity import (
    evidence,
    frechet_distance,
    frechet_distance_at_infinity,
    h_score,
    how_well,
    knn_accuracy,
    log_me,
    quadrant,
    transfer_table,
)


def draw(seed=0, count=200, width=6, shift=0.0, scale=1.0):
    return shift + scale * np.random.default_rng(seed).normal(size=(count, width))


def classes(seed=0, count=90, width=5, apart=2.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return rng.normal(size=(count, width)) + apart * rng.normal(size=(3, width))[labels], labels


# ---- distance ---------------------------------------------------------------------------------------------------


def test_distance_is_that_of_the_definition():
    a, b = draw(0, 300) @ np.diag([1, 2, 3, 1, 1, 1.0]), draw(1, 250, shift=0.5)
    covariances = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)


def test_distance_of_gaussians_is_known():
    a, b = draw(0, 40_000, 4), draw(1, 40_000, 4, shift=1.0, scale=3.0)
    assert frechet_distance(a, b) == pytest.approx(4 * 1 + 4 * (3 - 1) ** 2, rel=0.02)


def test_fewer_images_than_dimensions():
    a, b = draw(0, 12, 50), draw(1, 9, 50)
    full = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T) + 0j)
    wanted = (
        ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * np.trace(full).real
    )
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=0.02)  # sqrtm of a singular matrix is itself inexact


@pytest.mark.parametrize("count", [100, 400])
def test_extrapolation_takes_most_of_the_bias_away(count):
    plain, better = [], []
    for seed in range(8):  # the same distribution: the true distance is 0
        a, b = draw(2 * seed, count, 20), draw(2 * seed + 1, count, 20)
        found = frechet_distance_at_infinity(a, b, seed)
        plain.append(found.plain)
        better.append(found.value)
        assert found.error > 0
    assert min(plain) > 0 and abs(np.mean(better)) < 0.35 * np.mean(plain)


def test_the_true_distance_is_kept():
    a, b = draw(0, 400, 10), draw(1, 400, 10, shift=0.8)
    assert frechet_distance_at_infinity(a, b).value == pytest.approx(10 * 0.8**2, rel=0.15)


# ---- scores -----------------------------------------------------------------------------------------------------


def test_neighbours_vote_as_counted_by_hand():
    features = np.array([[1, 0], [1, 0.1], [1, 0.2], [0, 1], [0.1, 1], [1, 0.15]], float)
    labels = np.array([0, 0, 0, 1, 1, 1])
    # the last is among class 0, and row 2 is nearest to it; the others have a nearest neighbour of their own class
    assert knn_accuracy(features, labels, k=1) == pytest.approx(3 / 6) or knn_accuracy(features, labels, k=1) == 4 / 6
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for k in (1, 2, 3):
        right = 0
        for i in range(6):
            order = sorted((j for j in range(6) if j != i), key=lambda j: np.linalg.norm(unit[i] - unit[j]))[:k]
            votes = [labels[j] for j in order]
            best = max(set(votes), key=lambda c: (votes.count(c), -votes.index(c)))
            right += best == labels[i]
        assert knn_accuracy(features, labels, k) == pytest.approx(right / 6)


@pytest.mark.parametrize(("count", "width"), [(60, 5), (50, 40), (20, 40)])
def test_log_me_is_the_maximum_of_the_evidence(count, width):
    features, labels = classes(1, count, width)
    u, s, _ = np.linalg.svd(features, full_matrices=False)
    wanted = []
    for label in range(3):
        y = (labels == label).astype(float)

        def loss(logs, y=y):
            alpha, beta = np.exp(logs)
            covariance = np.eye(count) / beta + features @ features.T / alpha  # of the targets
            direct = stats.multivariate_normal(np.zeros(count), covariance).logpdf(y)
            ours = evidence(alpha, beta, s**2, (u.T @ y) ** 2, y @ y, count, width)
            assert ours == pytest.approx(direct, rel=1e-6, abs=1e-6)
            return -direct

        best = optimize.minimize(
            loss, [0.0, 1.0], method="Nelder-Mead", bounds=[(-20, 20)] * 2, options={"xatol": 1e-6, "fatol": 1e-9}
        )
        wanted.append(-best.fun / count)
    if count > width:
        assert log_me(features, labels) == pytest.approx(np.mean(wanted), rel=1e-4, abs=1e-5)
    else:  # features that fit any labels: the best noise is none, which a search only approaches from below
        assert 0 <= log_me(features, labels) - np.mean(wanted) < 0.05


def test_h_score_is_the_trace_where_nothing_needs_shrinking():
    features, labels = classes(2, 6000, 4)
    centred = features - features.mean(0)
    means = np.stack([centred[labels == label].mean(0) for label in range(3)])
    wanted = np.trace(np.linalg.inv(np.cov(centred.T, bias=True)) @ (means.T @ means / 3))
    assert h_score(features, labels) == pytest.approx(wanted, rel=0.02)
    assert 0 < h_score(features, labels) < 2


@pytest.mark.parametrize("score", [knn_accuracy, log_me, h_score])
def test_scores_separate_labels_from_noise_and_do_not_depend_on_names(score):
    features, labels = classes(3, 120, 8)
    shuffled = np.random.default_rng(0).permutation(labels)
    assert score(features, labels) > score(features, shuffled)
    order = np.random.default_rng(1).permutation(120)
    renamed = np.array([2, 0, 1])[labels]
    assert score(features[order], renamed[order]) == pytest.approx(score(features, labels), rel=1e-6)


# ---- quadrants --------------------------------------------------------------------------------------------------


def tasks():
    return pd.DataFrame(
        {
            "task": list("abcd"),
            "objective": ["classification", "classification", "location", "counting"],
            "distance": [1.0, 9.0, 2.0, 8.0],
            "vpt": [0.8, 0.5, 0.6, 0.3],
            "full": [0.7, 0.6, 0.5, 0.4],
            "knn": [0.9, 0.2, 0.8, 0.1],
        }
    )


def test_full_fine_tuning_is_predicted_in_one_quadrant_only():
    winners = {(o, d): quadrant(o, d, 5.0)[1] for o in ("classification", "location") for d in (1.0, 9.0)}
    assert [key for key, winner in winners.items() if winner == "full"] == [("classification", 9.0)]


def test_the_table_shows_what_was_predicted_and_what_came():
    table = transfer_table(tasks())
    assert table["predicted"].tolist() == ["vpt", "full", "vpt", "vpt"]
    assert table["actual"].tolist() == ["vpt", "full", "vpt", "full"]
    assert table["right"].tolist() == [True, True, True, False]
    found = how_well(table).set_index("by")
    assert found.loc["quadrant", "right"] == 0.75
    assert found.loc["quadrant", "low"] == pytest.approx(0.3006, abs=1e-3)  # Wilson: 3 of 4
    assert found.loc["knn", "rank_correlation"] == pytest.approx(0.8944, abs=0.01)
    assert found.loc["distance", "rank_correlation"] < -0.8


# ---- mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: frechet_distance(draw(0, 5, 3), draw(0, 5, 4)), "widths 3 and 4"),
        (lambda: frechet_distance(draw(0, 1, 3), draw(0, 5, 3)), "2 rows or more"),
        (lambda: frechet_distance(np.full((4, 2), np.nan), draw(0, 5, 2)), "not finite"),
        (lambda: frechet_distance_at_infinity(draw(0, 5), draw(0, 50)), "10 rows"),
        (lambda: log_me(draw(0, 5), np.zeros(5)), "all labels are the same"),
        (lambda: h_score(draw(0, 5), np.zeros(4)), "one each"),
        (lambda: h_score(np.ones((6, 3)), np.arange(6) % 2), "all features are the same"),
        (lambda: knn_accuracy(draw(0, 5), np.arange(5) % 2, k=5), "k is 5.*1 and 4"),
        (lambda: transfer_table(tasks().drop(columns="vpt")), "'vpt'"),
    ],
)
def test_mistakes_are_reported_in_a_sentence(call, words):
    with pytest.raises(UserError, match=words):
        call()
