"""Methods whose best head is solved, not stepped: nothing is left to a learning rate or to a number of steps.

    linear    multinomial logistic regression to convergence, along a path of strengths of the penalty
    knn       a vote of the k nearest labelled images (Wu et al., CVPR 2018, arXiv 1805.01978), for several k

Both work on kept features (`vptlib.tuning.training.frozen_features`). Validation data choose the setting: the highest
accuracy, and where two are equal the lower loss.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from vptlib.errors import UserError
from vptlib.prompting.blocks import heads
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.modules import NeighbourHead
from vptlib.tuning.training import SOLVED, Evaluation, FrozenFeatures, History, evaluate

# Strengths C of logistic regression, as scikit-learn defines them: weight of the summed loss next to half the squared
# norm of the weights.
STRENGTHS = tuple(10.0 ** (half / 2) for half in range(-10, 7))
# The path ends after so many strengths in a row (two decades) whose validation accuracy is no better and whose loss is
# higher than the best one's. Later ones could win only if the loss fell again.
WITHOUT_PROGRESS = 4
TOLERANCE = 1e-6  # of the largest entry of the gradient, in float64
MOST_ITERATIONS = 5000
NEIGHBOURS = (1, 3, 5, 10, 20, 50, 100, 200)
# Logit of a class without a training image. The largest logit of the others is always 0 or more.
ABSENT = -100.0
# A feature whose spread is a smaller share of its mean is taken as constant: float32 cannot carry its scaling.
LEAST_SPREAD = 1e-4


@dataclass(frozen=True)
class Solved:
    """What a solver found; the model has the head of the best setting.

    Attributes:
        history: one entry of each: loss on training data, loss and accuracy on validation data; all seconds.
        setting: the chosen strength C of logistic regression, or number of neighbours.
        tried: text of each setting that was solved → validation accuracy.
        at_edge: "low" or "high" if the choice is the first or the last setting, beyond which a better one may lie.
    """

    history: History
    setting: float
    tried: dict[str, float]
    at_edge: str


Solver = Callable[[AdaptedModel, FrozenFeatures, FrozenFeatures], Solved]


def solve_linear(model: AdaptedModel, train: FrozenFeatures, validation: FrozenFeatures) -> Solved:
    """Solve the head of a linear probe by logistic regression (L-BFGS, float64), with the strength that is best.

    Features are standardised by training data; the head then takes the scaling in, so the model stays an ordinary one.
    A class without a training image gets a logit of -100 for every image. A distilled DeiT has two heads, whose mean
    counts; they are solved together.

    Args:
        model: method "linear"; its head is changed in place.
        train, validation: output of `frozen_features` (features `N F`; tokens `N T D` for two heads) and labels `N`.

    Raises:
        UserError: no images to train on or to choose by, or features that are not finite.
    """
    start = time.perf_counter()
    _check(train, validation)
    problem = _Problem(_inputs(model, train), train.tensors[1].numpy(), model.head.out_features)
    path = _Path()
    for strength in STRENGTHS:
        weight, bias = problem.solve(strength)
        if path.tried and not problem.converged:
            break
        _put(model, weight, bias)
        path.note(strength, evaluate(model, validation), partial(_put, model, weight, bias))
        if path.waited == WITHOUT_PROGRESS:
            break
    path.use_best()
    at_edge = {path.first: "low", path.last: "high"}.get(path.setting, "")
    return path.solved(evaluate(model, train).loss, at_edge, start)


def solve_knn(model: AdaptedModel, train: FrozenFeatures, validation: FrozenFeatures) -> Solved:
    """Keep the features of all training images, with the number of neighbours that is best.

    Args:
        model: method "knn"; its head is changed in place, and its option `images` becomes the number of images.
        train, validation: features `N F` from `frozen_features` and labels `N`.

    Raises:
        UserError: no images to keep or to choose by, or features that are not finite.
    """
    start = time.perf_counter()
    _check(train, validation)
    head = model.head
    if not isinstance(head, NeighbourHead):
        raise UserError(f"method {model.method!r} has no neighbours to choose: build the model with method 'knn'.")
    features, labels = train.tensors
    path = _Path()
    for count in (count for count in NEIGHBOURS if count <= len(features)):
        head.remember(features, labels, count)
        path.note(count, evaluate(model, validation), partial(head.remember, features, labels, count))
    path.use_best()
    model.options = {**model.options, "images": len(features)}
    may_grow = path.setting == path.last and path.last < len(features)
    return path.solved(evaluate(model, train).loss, "high" if may_grow else "", start)


SOLVERS: dict[str, Solver] = {"linear": solve_linear, "knn": solve_knn}


# ---- logistic regression ----------------------------------------------------------------------------------------


class _Problem:
    """Multinomial logistic regression on features `N F`; each solution starts from the one before.

    Where there are fewer images than features, the standardised features are turned to the axes of the training data,
    of which there is one for each image. The penalty is the same there, because a rotation keeps the norm of weights.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, classes: int):
        from sklearn.linear_model import LogisticRegression

        self._mean, spread = features.mean(axis=0), features.std(axis=0)
        constant = spread <= LEAST_SPREAD * np.abs(self._mean)
        self._factor = np.where(constant, 0.0, 1 / np.where(constant, 1.0, spread))  # F
        self._inputs, self._axes = _turned((features - self._mean) * self._factor)  # N R, R F
        self._labels = labels
        self._present, self._classes = np.unique(labels), classes
        self._model = LogisticRegression(tol=TOLERANCE, max_iter=MOST_ITERATIONS, warm_start=True)
        self.converged = True

    def solve(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Weights `C F` and biases `C` on the features as they were given, for all classes in their order."""
        turned, offsets = self._of_present_classes(strength)  # c R, c
        weight = np.zeros((self._classes, len(self._mean)))
        weight[self._present] = (turned - turned.mean(axis=0)) @ self._axes * self._factor  # c F
        bias = np.full(self._classes, ABSENT)
        bias[self._present] = offsets - offsets.mean() - weight[self._present] @ self._mean
        return weight, bias

    def _of_present_classes(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        if len(self._present) == 1:
            return np.zeros((1, self._inputs.shape[1])), np.zeros(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge: `converged` has it
            self._model.set_params(C=strength).fit(self._inputs, self._labels)
        self.converged = bool(np.max(self._model.n_iter_) < MOST_ITERATIONS)
        turned, offsets = self._model.coef_, self._model.intercept_
        if len(self._present) == 2:  # one row, for the logit of the second class less that of the first
            turned, offsets = np.concatenate([-turned, turned]) / 2, np.concatenate([-offsets, offsets]) / 2
        return turned, offsets


def _turned(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features `N F` on at most N axes, `N R`, and these axes, `R F`; their product is what was given."""
    if len(features) >= features.shape[1]:
        return features, np.eye(features.shape[1])
    left, sizes, axes = np.linalg.svd(features, full_matrices=False)
    return left * sizes, axes


def _inputs(model: AdaptedModel, data: FrozenFeatures) -> np.ndarray:
    """What the head reads, float64 `N F`; for two heads, what both read side by side."""
    kept = data.tensors[0]
    if len(heads(model.vit)) > 1:
        kept = _prefix_tokens(model, kept)
    return kept.double().numpy()


@torch.no_grad()
def _prefix_tokens(model: AdaptedModel, tokens: Tensor) -> Tensor:
    """Tokens `N T D` after the last block to the normalised class and distillation tokens, `N 2D`."""
    device = next(model.parameters()).device
    parts = [model.vit.norm(part.to(device))[:, :2].flatten(1).cpu() for part in tokens.split(100)]
    return torch.cat(parts)


@torch.no_grad()
def _put(model: AdaptedModel, weight: np.ndarray, bias: np.ndarray) -> None:
    """Put weights `C F` and biases `C` into the head, or a part into each of two heads, whose mean is then right."""
    all_heads = heads(model.vit)
    for head, part in zip(all_heads, np.split(weight, len(all_heads), axis=1), strict=True):
        linear = cast(nn.Linear, head)
        linear.weight.copy_(torch.from_numpy(len(all_heads) * part))
        linear.bias.copy_(torch.from_numpy(bias))


# ---- choosing a setting -----------------------------------------------------------------------------------------


class _Path:
    """The settings that were solved, in rising order, and the best of them.

    Attributes:
        tried: text of a setting → validation accuracy.
        setting: the best one.
        first, last: the least and the largest setting that were solved.
        waited: how many were solved since the best that have a higher loss, too.
    """

    def __init__(self):
        self.tried: dict[str, float] = {}
        self.setting = self.first = self.last = float("nan")
        self.waited = 0
        self._found: Evaluation | None = None
        self._use: Callable[[], None] = lambda: None

    def note(self, setting: float, found: Evaluation, use: Callable[[], None]) -> None:
        """Compare a setting's validation figures with the best; `use` puts its solution into the model."""
        best = self._found
        if best is None:
            self.first = setting
        self.last = setting
        self.tried[f"{setting:g}"] = found.accuracy
        if best is None or (found.accuracy, -found.loss) > (best.accuracy, -best.loss):
            self.setting, self._found, self._use, self.waited = setting, found, use, 0
        else:
            self.waited = self.waited + 1 if found.loss > best.loss else 0

    def use_best(self) -> None:
        """Put the best solution into the model."""
        self._use()

    def solved(self, train_loss: float, at_edge: str, start: float) -> Solved:
        """The result, from the loss on training data and the time at the start."""
        found = self._found
        assert found is not None  # every solver tries at least one setting
        history = History([train_loss], [1], [found.loss], [found.accuracy], best_step=1)
        history = replace(history, seconds=time.perf_counter() - start, stopped=SOLVED)
        return Solved(history, float(self.setting), self.tried, at_edge)


def _check(train: FrozenFeatures, validation: FrozenFeatures) -> None:
    for what, data in (("training", train), ("validation", validation)):
        if not len(data):
            raise UserError(f"a solver needs {what} images, and there are none: give a larger number of labels.")
        if not data.tensors[0].isfinite().all():
            raise UserError(f"features of {what} images are not finite: compute them in fp32, or check the images.")
