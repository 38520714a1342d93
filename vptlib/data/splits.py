"""Which images a run may use: stratified, repeatable choices from the labels alone.

`few_shot` chooses the labelled budget of a run from the training images. `split_validation` sets the validation images
of that budget aside. `fixed_test` chooses the test images.
"""

import warnings
from collections.abc import Iterator

import numpy as np

from vptlib.errors import UserError


def few_shot(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Indices of `n` labelled images: the budget of one run, which includes its validation images.

    Each class keeps its share to within one image, but has at least two images. Subsets of one seed are nested: a
    smaller one is the beginning of a larger one.

    Raises:
        UserError: if `n` or a class is too small, or `n` larger than the data.
    """
    classes, totals = np.unique(labels, return_counts=True)
    if n > len(labels):
        raise UserError(f"size {n} is larger than the {len(labels)} training images: take at most {len(labels)}.")
    if totals.min() < 2:
        raise UserError(
            f"class {classes[totals.argmin()]} has a single training image, but needs at least 2 (one to train on, "
            "one to validate on): add images or leave the class out."
        )
    if n < 2 * len(classes):
        raise UserError(
            f"size {n} is too small for {len(classes)} classes with at least 2 images each: "
            f"take at least {2 * len(classes)}."
        )
    return _stratified(labels, n, seed, at_least=2)


def fixed_test(labels: np.ndarray, n: int) -> np.ndarray:
    """Sorted indices of `n` test images (all, if there are fewer): stratified, and always the same ones.

    Raises:
        UserError: if `n` is not positive.
    """
    if n < 1:
        raise UserError(f"{n} test images were asked for: take at least 1.")
    return np.sort(_stratified(labels, min(n, len(labels)), seed=0, at_least=0))


def split_validation(
    labels: np.ndarray, indices: np.ndarray, share: float = 0.2, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split a subset into indices to train on and indices to validate on.

    About `share` of the images validate, and at least one. The split is stratified, and every class keeps at least one
    training image. It is not random: in each class the images that joined the subset last validate. If rounding leaves
    images to choose, they come from the classes that are furthest below their share; where two are equal, from the
    earlier class.

    Args:
        labels: int64, of all images.
        indices: of the subset, in the order in which images joined it.
        share: of the subset that validates.
        groups: an integer for each label. Whole groups then validate, and classes keep their shares as far as possible.

    Raises:
        UserError: no class has an image to spare, `share` is not between 0 and 1, or no split of whole groups exists.
    """
    if not 0 < share < 1:
        raise UserError(f"the validation share is {share}, but must lie between 0 and 1.")
    if groups is not None:
        return _split_by_group(labels[indices], groups[indices], indices, share)
    spare = [image for members in _by_class(labels[indices]) for image in _spare(members, share)]
    if not spare:
        raise UserError("no class of the subset has two images, so none is left to validate on: take a larger size.")
    wanted = max(1, round(share * len(indices)))
    validation = np.zeros(len(indices), dtype=bool)
    validation[[position for _, position in sorted(spare)[:wanted]]] = True
    return indices[~validation], indices[validation]


def _split_by_group(
    labels: np.ndarray, groups: np.ndarray, indices: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """The split of whole groups that is closest to `share`, among those that leave every class a training image."""
    folds = round(1 / share)
    if len(np.unique(groups)) < folds:
        raise UserError(
            f"the {len(indices)} images come from {len(np.unique(groups))} groups, but {folds} are needed to set whole "
            "groups aside for validation: take a larger size, or leave out the group column."
        )
    found = [aside for kept, aside in folds_of_groups(labels, groups, folds) if set(labels[kept]) == set(labels)]
    if not found:
        raise UserError(
            "some class comes from one group only, so whole groups cannot be set aside for validation: take a larger "
            "size, or leave out the group column."
        )
    aside = min(found, key=lambda positions: abs(len(positions) - share * len(labels)))
    validation = np.zeros(len(indices), dtype=bool)
    validation[aside] = True
    return indices[~validation], indices[validation]


def folds_of_groups(labels: np.ndarray, groups: np.ndarray, folds: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ways to set whole groups aside: the positions that stay and the positions set aside, about 1 / `folds` of all.

    Stratified if some class has at least `folds` images.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    enough = np.unique(labels, return_counts=True)[1].max() >= folds
    kind = StratifiedGroupKFold if enough else GroupKFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn warns of classes with few images
        yield from kind(n_splits=folds, shuffle=True, random_state=0).split(labels, labels, groups)


def _spare(members: np.ndarray, share: float) -> list[tuple[float, int]]:
    """The images of one class that may validate: all but the first, the last one first.

    Each is a pair of rank and position in the subset. The image of the lowest rank validates first: its rank is the
    count of the class's validation images with it, less the class's share.
    """
    quota = share * len(members)
    return [(k + 1 - quota, position) for k, position in enumerate(members[:0:-1])]


def _by_class(labels: np.ndarray) -> list[np.ndarray]:
    """For each class, the positions of its images in `labels`."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _stratified(labels: np.ndarray, n: int, seed: int, at_least: int) -> np.ndarray:
    """The first `n` indices of a random order in which every beginning keeps the class shares."""
    rng = np.random.RandomState(seed)  # its stream is frozen by NumPy (NEP 19): subsets outlive versions
    queues = [rng.permutation(members) for members in _by_class(labels)]
    queues = [queues[k] for k in rng.permutation(len(queues))]  # where two shares are equal, the earlier class is first
    turns = _turns(np.array([len(queue) for queue in queues]), n, at_least)
    chosen = np.empty(n, dtype=np.int64)
    for k, queue in enumerate(queues):
        mine = turns == k
        chosen[mine] = queue[: mine.sum()]
    return chosen


def _turns(totals: np.ndarray, n: int, at_least: int) -> np.ndarray:
    """Which class gives the next image, `n` times: first `at_least` rounds of all classes, then by the quota method.

    The quota method (Balinski and Young 1975) keeps every count within one of its exact share at every length. At each
    step only some classes may have one more image without exceeding their share. The method takes the one that reaches
    its next image first.
    """
    turns = np.tile(np.arange(len(totals)), at_least)
    taken = np.bincount(turns, minlength=len(totals))
    turns = list(turns[:n])
    for length in range(len(turns) + 1, n + 1):
        entitled = taken * totals.sum() < length * totals
        due = np.where(entitled, (taken + 1) / totals, np.inf)
        turns.append(due.argmin())
        taken[turns[-1]] += 1
    return np.array(turns)
