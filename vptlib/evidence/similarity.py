"""How far a task is from pre-training, and which method that predicts to win: distances, scores, quadrants.

The Fréchet distance between two sets of features (Heusel et al. 2017, arXiv 1706.08500) compares image sets. Scores
without training (kNN, LogME, H-score) measure how useful frozen features are. Han et al. (arXiv 2401.12902, section 5)
sort tasks into four quadrants: is the task's objective similar to that of pre-training, and are its images? They find
full fine-tuning preferred in one quadrant only: a similar objective on dissimilar images.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import linalg, stats

from vptlib.errors import UserError

# What pre-training on labelled photographs asks: to tell classes apart. All else counts as another objective.
SIMILAR_OBJECTIVES = ("classification",)
QUADRANTS = {
    # (similar objective, similar images) → what Han et al. find there
    (True, True): ("similar task, similar images", "vpt"),
    (True, False): ("similar task, dissimilar images", "full"),
    (False, True): ("dissimilar task, similar images", "vpt"),
    (False, False): ("dissimilar task, dissimilar images", "vpt"),
}


# ---- distance ---------------------------------------------------------------------------------------------------


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Fréchet distance of the Gaussians fitted to features `N F` and `M F`; biased upwards for small samples.

    |mean_a - mean_b|² + tr(A + B - 2 (AB)^1/2). The last trace is the sum of the singular values of L R', where
    A = L'L and B = R'R, so no square root of a matrix is taken, and few images in many dimensions are no trouble.

    Raises:
        UserError: widths that differ, fewer than two rows, or numbers that are not finite.
    """
    a, b = _features(a, 2), _features(b, 2)
    if a.shape[1] != b.shape[1]:
        raise UserError(f"features have widths {a.shape[1]} and {b.shape[1]}: take them from the same backbone.")
    left, right = (_root(x) for x in (a, b))
    shift = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    cross = linalg.svdvals(left @ right.T).sum()  # tr (AB)^1/2
    return float(shift + (left**2).sum() + (right**2).sum() - 2 * cross)


def _root(x: np.ndarray) -> np.ndarray:
    """L, with L'L the covariance of features `N F`; at most `F F`, however many images there are."""
    centred = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    return linalg.qr(centred, mode="r")[0][: x.shape[1]] if len(x) > x.shape[1] else centred


@dataclass(frozen=True)
class Distance:
    """A Fréchet distance extrapolated to endless samples, the plain one, and the extrapolation's standard error."""

    value: float
    plain: float
    error: float


def frechet_distance_at_infinity(a: np.ndarray, b: np.ndarray, seed: int = 0, draws: int = 15) -> Distance:
    """The Fréchet distance without most of its small-sample bias (Chong and Forsyth, CVPR 2020, arXiv 1911.07023).

    The bias falls about as 1 / N. So the distance is computed for sub-samples of different N from both sets, and a
    straight line in 1 / N is followed to 0. Some bias remains: the line is only nearly straight unless N is well above
    the number of dimensions in which features vary. So compare distances only between sets of similar size. A value a
    little below zero means no distance.

    Args:
        a, b: features `N F` and `M F`, at least 10 rows each.
        seed: of the sub-samples.
        draws: sub-samples, from a quarter of the smaller set up to all of it.
    """
    a, b = _features(a, 10), _features(b, 10)
    rng = np.random.default_rng(seed)
    whole = min(len(a), len(b))
    sizes = np.linspace(max(5, whole // 4), whole, draws).astype(int)
    values = [frechet_distance(*(x[rng.choice(len(x), n, replace=False)] for x in (a, b))) for n in sizes]
    line = stats.linregress(1 / sizes, values)
    return Distance(float(line.intercept), frechet_distance(a, b), float(line.intercept_stderr))


# ---- scores without training ------------------------------------------------------------------------------------


def knn_accuracy(features: np.ndarray, labels: np.ndarray, k: int = 5) -> float:
    """Leave-one-out accuracy, a fraction, of the vote of the k nearest neighbours by cosine; `N F`, `N`.

    Where two classes have equally many votes, the one with the nearest neighbour wins.
    """
    from sklearn.neighbors import NearestNeighbors

    features, labels = _labelled(features, labels)
    if not 1 <= k < len(labels):
        raise UserError(f"k is {k}, but must be between 1 and {len(labels) - 1}, one less than there are images.")
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    near = NearestNeighbors(n_neighbors=k).fit(unit).kneighbors(return_distance=False)  # N k, without the image itself
    votes = np.zeros((len(labels), labels.max() + 1))
    for place in range(k):
        votes[np.arange(len(labels)), labels[near[:, place]]] += 1 + 1e-6 * (k - place) / k
    return float((votes.argmax(axis=1) == labels).mean())


def log_me(features: np.ndarray, labels: np.ndarray) -> float:
    """Log of the evidence of a Bayesian linear model per image, mean over the classes one against all (higher: better).

    You et al., ICML 2021 (arXiv 2102.11005, algorithm 1): for each class the prior's and the noise's precision that
    maximise the evidence are found by a fixed-point iteration.
    """
    features, labels = _labelled(features, labels)
    u, s, _ = np.linalg.svd(features, full_matrices=False)  # features = u s v'
    evidences = []
    for label in np.unique(labels):
        target = (labels == label).astype(float)
        evidences.append(_best_evidence(s**2, (u.T @ target) ** 2, (target**2).sum(), *features.shape))
    return float(np.mean(evidences))


def _best_evidence(squares: np.ndarray, projected: np.ndarray, norm: float, count: int, width: int) -> float:
    """Maximal log evidence per image, of squared singular values and squared projections of the target on them."""
    alpha = beta = 1.0
    rest = _out_of_reach(norm, projected)
    for _ in range(200):
        shrunk = beta * squares / (alpha + beta * squares)
        weights = (projected * squares * beta**2 / (alpha + beta * squares) ** 2).sum()  # |m|²
        error = (projected * (alpha / (alpha + beta * squares)) ** 2).sum() + rest
        fitted = shrunk.sum()
        new = fitted / max(weights, 1e-12), (count - fitted) / max(error, 1e-12)
        done = abs(np.log(new[0] / alpha)) + abs(np.log(new[1] / beta)) < 1e-6
        alpha, beta = new
        if done:
            break
    return evidence(alpha, beta, squares, projected, norm, count, width) / count


def evidence(alpha: float, beta: float, squares, projected, norm: float, count: int, width: int) -> float:
    """Log evidence of targets under weights ~ N(0, 1/alpha) and noise ~ N(0, 1/beta) (You et al., equation 2)."""
    rest = _out_of_reach(norm, projected)
    weights = (projected * squares * beta**2 / (alpha + beta * squares) ** 2).sum()
    error = (projected * (alpha / (alpha + beta * squares)) ** 2).sum() + rest
    determinant = np.log(alpha + beta * squares).sum() + (width - len(squares)) * np.log(alpha)
    return 0.5 * (
        count * np.log(beta) + width * np.log(alpha) - count * np.log(2 * np.pi)
        - beta * error - alpha * weights - determinant
    )  # fmt: skip


def _out_of_reach(norm: float, projected: np.ndarray) -> float:
    """What no combination of features can give of the target; 0 for mere rounding, which a large beta would blow up."""
    rest = norm - projected.sum()
    return float(rest) if rest > 1e-9 * norm else 0.0


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """tr(cov⁻¹ · cov between classes) (Bao et al., ICIP 2019), shrunk as Ibrahim et al. (arXiv 2110.06893) do.

    Higher is better; it is at most the number of classes less one.
    """
    from sklearn.covariance import ledoit_wolf

    features, labels = _labelled(features, labels)
    centred = features - features.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(centred, assume_centered=True)
    means = np.stack([centred[labels == label].mean(axis=0) for label in labels])  # N F: of each image's class
    between = means.T @ means / len(labels)
    if not np.trace(covariance) > 0:
        raise UserError("all features are the same: take them from a backbone that tells images apart.")
    return float((1 - shrinkage) * np.trace(linalg.pinvh(covariance) @ between))


# ---- quadrants --------------------------------------------------------------------------------------------------


def quadrant(objective: str, distance: float, threshold: float) -> tuple[str, str]:
    """The quadrant of Han et al. that a task falls into, and who is preferred there ("vpt" or "full").

    Args:
        objective: as tasks carry it: "classification", "location", ...
        distance: Fréchet distance of the task's images to those of pre-training.
        threshold: what counts as dissimilar; only a set of tasks gives it a meaning (`transfer_table`: the median).
    """
    return QUADRANTS[objective in SIMILAR_OBJECTIVES, distance <= threshold]


def transfer_table(tasks: pd.DataFrame) -> pd.DataFrame:
    """Tasks in their quadrants, with the prediction of the quadrant next to what was measured.

    Args:
        tasks: a row a task: task, objective, distance, vpt, full (accuracies, fractions), and scores of any name.

    Returns:
        The same rows with quadrant, predicted and actual ("vpt" or "full"), difference (vpt - full), right. Dissimilar
        means farther away than the median task, as the distance has no scale of its own.
    """
    if missing := {"task", "objective", "distance", "vpt", "full"} - set(tasks.columns):
        raise UserError(f"tasks lacks the column {sorted(missing)[0]!r}.")
    threshold = tasks["distance"].median()
    placed = [quadrant(o, d, threshold) for o, d in zip(tasks["objective"], tasks["distance"], strict=True)]
    table = tasks.assign(
        quadrant=[name for name, _ in placed],
        predicted=[winner for _, winner in placed],
        difference=(tasks["vpt"] - tasks["full"]).round(9),  # so that equal differences stay equal
    )
    table["actual"] = np.where(table["difference"] >= 0, "vpt", "full")
    return table.assign(right=table["predicted"] == table["actual"])


def how_well(table: pd.DataFrame) -> pd.DataFrame:
    """How well quadrants and scores predicted the winner: a row each.

    Columns: by ("quadrant" or a score's name), tasks, right (share of winners, quadrant only), low and high (Wilson's
    95 % interval), rank_correlation (Spearman, with vpt - full; scores and distance only).
    """
    count, right = len(table), int(table["right"].sum())
    interval = stats.binomtest(right, count).proportion_ci(method="wilson")
    rows = [("quadrant", count, right / count, interval.low, interval.high, np.nan)]
    known = ["task", "objective", "distance_error", "vpt", "full"]
    for name in table.columns.difference(
        [*known, "quadrant", "predicted", "actual", "difference", "right"], sort=False
    ):
        correlation = stats.spearmanr(table[name], table["difference"]).statistic if count > 2 else np.nan
        rows.append((name, count, np.nan, np.nan, np.nan, correlation))
    return pd.DataFrame(rows, columns=["by", "tasks", "right", "low", "high", "rank_correlation"])


# ---- checks -----------------------------------------------------------------------------------------------------


def _features(features: np.ndarray, least: int) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < least:
        raise UserError(f"features have shape {features.shape}, but must be `N F` with {least} rows or more.")
    if not np.isfinite(features).all():
        raise UserError("features hold numbers that are not finite: look at the images and the backbone.")
    return features


def _labelled(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features, labels = _features(features, 2), np.asarray(labels)
    if labels.shape != (len(features),):
        raise UserError(f"labels have shape {labels.shape}, but {len(features)} images need one each.")
    if len(np.unique(labels)) < 2:
        raise UserError("all labels are the same: a score needs two classes or more.")
    return features, labels.astype(np.int64)
