"""vptlib.tuning.solved: the numbers of scikit-learn, all classes in their order, and settings chosen on validation."""

import numpy as np
import pytest
import torch
from models import bright_and_dark, draw_images, small_vit
from sklearn.linear_model import LogisticRegression
from timm.models.deit import VisionTransformerDistilled
from torch.nn import functional as F

import vptlib.tuning.solved as solved
from vptlib.errors import UserError
from vptlib.tuning.methods import build_method
from vptlib.tuning.promptfile import load_prompts, save_prompts
from vptlib.tuning.solved import NEIGHBOURS, SOLVERS, STRENGTHS
from vptlib.tuning.training import FrozenFeatures, evaluate, frozen_features

WIDTH = 32


def model(method="linear", classes=3, kind=None, **options):
    return build_method(method, small_vit(*([kind] if kind else []), **options), classes)


def clouds(count, classes=3, spread=1.0, seed=0, only=None):
    """Features `N 32` around a point for each class, the same for all seeds; each feature has a scale of its own."""
    draw = torch.Generator().manual_seed(seed)
    points = torch.randn(classes, WIDTH, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % classes if only is None else torch.tensor(only)[torch.arange(count) % len(only)]
    features = points[labels] + spread * torch.randn(count, WIDTH, generator=draw)
    return FrozenFeatures(5 + features * torch.logspace(-1, 1, WIDTH), labels)


def standardised(train, other):
    mean, spread = train.tensors[0].double().mean(0), train.tensors[0].double().std(0, correction=0)
    return ((other.tensors[0].double() - mean) / spread).numpy()


def by_sklearn(train, other, strength):
    reference = LogisticRegression(C=strength, tol=1e-8, max_iter=20000)
    reference.fit(standardised(train, train), train.tensors[1].numpy())
    return reference.predict_proba(standardised(train, other))


# ---- logistic regression ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("count", [20, 200], ids=["fewer images than features", "more"])
def test_the_head_gives_the_probabilities_of_scikit_learn(classes, count):
    train, val = clouds(count, classes, spread=3), clouds(60, classes, spread=3, seed=1)
    net = model(classes=classes)
    found = SOLVERS["linear"](net, train, val)
    probabilities = net.rest(val.tensors[0]).softmax(dim=1).detach().double().numpy()
    np.testing.assert_allclose(probabilities, by_sklearn(train, val, found.setting), atol=2e-4)
    assert found.history.val_accuracy == [evaluate(net, val).accuracy]
    assert found.tried[f"{found.setting:g}"] == found.history.val_accuracy[0] == max(found.tried.values())


@pytest.mark.parametrize("count", [20, 200])
def test_nothing_is_left_to_gain_at_the_solution(count):
    parts = (clouds(count, spread=3), clouds(60, spread=3, seed=1))
    train, val = (FrozenFeatures(data.tensors[0].double(), data.tensors[1]) for data in parts)
    net = model().double()
    strength = SOLVERS["linear"](net, train, val).setting
    spread = train.tensors[0].double().std(0, correction=0)
    weight = (net.head.weight.detach() * spread).requires_grad_()  # on standardised features
    bias = net.head.bias.detach() + net.head.weight.detach() @ train.tensors[0].double().mean(0)
    bias.requires_grad_()
    logits = torch.from_numpy(standardised(train, train)) @ weight.T + bias
    loss = F.cross_entropy(logits, train.tensors[1]) + weight.pow(2).sum() / (2 * strength * count)
    gradients = torch.autograd.grad(loss, [weight, bias])
    assert max(gradient.abs().max() for gradient in gradients) < 1e-5


def test_planted_classes_are_all_found():
    net = model()
    found = SOLVERS["linear"](net, clouds(60, spread=0.1), clouds(30, spread=0.1, seed=1))
    assert found.history.best_val_accuracy == 1.0 and evaluate(net, clouds(30, spread=0.1, seed=2)).accuracy == 1.0
    history = found.history
    assert history.stopped == "solved" and history.val_steps == [1] and history.best_step == 1 and history.seconds > 0
    assert history.train_loss == [evaluate(net, clouds(60, spread=0.1)).loss]


@pytest.mark.parametrize("present", [[1, 3], [0, 4], [3, 1, 4]])
def test_classes_without_images_keep_their_column_and_never_win(present):
    """Columns 0, 1, ... are the classes of the task, whichever of them have images."""
    train, val = clouds(40, 5, 0.5, only=present), clouds(40, 5, 0.5, seed=1, only=present)
    net = model(classes=5)
    SOLVERS["linear"](net, train, val)
    logits = net.rest(val.tensors[0])
    assert evaluate(net, val).accuracy == 1.0
    absent = sorted({0, 1, 2, 3, 4} - set(present))
    assert torch.equal(logits[:, absent], torch.full((40, len(absent)), -100.0))
    assert logits.amax(dim=1).min() >= 0 and logits.isfinite().all()
    far = net.rest(1e4 * draw_images(1, WIDTH)[0, 0])  # nothing like the images
    assert set(far.argmax(dim=1).tolist()) <= set(present)


def test_a_single_class_wins_everywhere():
    net = model()
    found = SOLVERS["linear"](net, clouds(5, only=[2]), clouds(6, seed=1))
    assert evaluate(net, clouds(9, seed=2)).predictions.tolist() == [2] * 9
    assert found.history.val_accuracy == [pytest.approx(1 / 3)]


def test_constant_features_count_for_nothing():
    train, val = clouds(40), clouds(20, seed=1)
    with_constants = []
    for data in (train, val):
        features = data.tensors[0].clone()
        features[:, 3] = 7.0
        with_constants.append(FrozenFeatures(features, data.tensors[1]))
    net = model()
    SOLVERS["linear"](net, *with_constants)
    assert (net.head.weight[:, 3] == 0).all() and net.head.weight.isfinite().all()
    moved = with_constants[1].tensors[0].clone()
    moved[:, 3] = -1e6
    torch.testing.assert_close(net.rest(moved), net.rest(with_constants[1].tensors[0]))


def test_the_choice_is_the_highest_accuracy_and_then_the_lowest_loss(monkeypatch):
    scripted = iter([(0.5, 1.0), (0.8, 0.9), (0.8, 0.7), (0.8, 0.8), (0.7, 0.1), *[(0.7, 2.0)] * 20])
    give_found(monkeypatch, scripted)
    found = SOLVERS["linear"](model(), clouds(40), clouds(20, seed=1))
    assert found.setting == STRENGTHS[2] and found.history.val_loss == [0.7] and found.at_edge == ""


def test_the_path_ends_after_two_decades_without_progress(monkeypatch):
    figures = [(0.5, 1.0), (0.8, 0.9), (0.8, 1.0), (0.8, 1.1), (0.8, 0.8), *[(0.8, 1.0)] * 20]
    give_found(monkeypatch, iter(figures))
    found = SOLVERS["linear"](model(), clouds(40), clouds(20, seed=1))
    assert [*found.tried] == [f"{strength:g}" for strength in STRENGTHS[:9]]  # 4 after the fifth, which is the best
    assert found.setting == STRENGTHS[4] and found.at_edge == ""


@pytest.mark.parametrize(("falls", "edge"), [(True, "low"), (False, "high")])
def test_a_choice_at_an_edge_of_the_path_is_reported(monkeypatch, falls, edge):
    losses = range(40) if falls else range(40, 0, -1)
    give_found(monkeypatch, iter([(0.5, float(loss)) for loss in losses]))
    found = SOLVERS["linear"](model(), clouds(40), clouds(20, seed=1))
    assert found.at_edge == edge and found.setting == STRENGTHS[0 if falls else -1]


def give_found(monkeypatch, figures):
    """Validation data (20 images) get the accuracies and losses of `figures`."""
    plain = solved.evaluate

    def scripted(net, data):
        found = plain(net, data)
        if len(data) != 20:
            return found
        accuracy, loss = next(figures)
        return solved.Evaluation(accuracy, loss, found.predictions, found.correct)

    monkeypatch.setattr(solved, "evaluate", scripted)


def test_a_strength_that_does_not_converge_ends_the_path(monkeypatch):
    train, val = clouds(60, spread=3), clouds(30, spread=3, seed=1)
    whole = SOLVERS["linear"](model(), train, val).tried
    monkeypatch.setattr(solved, "MOST_ITERATIONS", 12)
    cut = SOLVERS["linear"](model(), train, val)
    assert 0 < len(cut.tried) < len(whole) and [*cut.tried] == [*whole][: len(cut.tried)]
    assert f"{cut.setting:g}" in cut.tried


def test_two_heads_are_solved_together():
    """Of a distilled DeiT: the mean of both heads is logistic regression on both tokens side by side."""
    net = build_method("linear", small_vit(VisionTransformerDistilled), 2).eval()
    train, val = (frozen_features(net, bright_and_dark(count, seed)) for count, seed in ((30, 0), (20, 1)))
    assert train.tensors[0].shape == (30, 6, WIDTH)
    found = SOLVERS["linear"](net, train, val)
    assert evaluate(net, bright_and_dark(20, seed=2)).accuracy == 1.0
    with torch.no_grad():
        both = [FrozenFeatures(net.vit.norm(d.tensors[0])[:, :2].flatten(1), d.tensors[1]) for d in (train, val)]
        probabilities = net.rest(val.tensors[0]).softmax(dim=1).numpy()
    np.testing.assert_allclose(probabilities, by_sklearn(*both, found.setting), atol=1e-3)


# ---- neighbours -------------------------------------------------------------------------------------------------


def test_the_number_of_neighbours_is_chosen_on_validation():
    """An image with a wrong label is nearest: one neighbour errs, three and five do not, and five are surer."""
    right, wrong = torch.eye(WIDTH)[0], torch.eye(WIDTH)[0] + 0.01 * torch.eye(WIDTH)[1]
    other = torch.eye(WIDTH)[5]
    train = FrozenFeatures(
        torch.stack([right + 0.1 * other] * 3 + [wrong] + [other] * 3), torch.tensor([0] * 3 + [1] * 4)
    )
    val = FrozenFeatures(torch.stack([wrong, other]), torch.tensor([0, 1]))
    net = model("knn", classes=2)
    found = SOLVERS["knn"](net, train, val)
    assert found.tried == {"1": 0.5, "3": 1.0, "5": 1.0} and found.setting == 5
    assert int(net.head.neighbours) == 5 and net.options == {"images": 7}
    assert found.history.stopped == "solved" and found.history.val_accuracy == [1.0]


@pytest.mark.parametrize(
    ("count", "tried"),
    [(1, [1]), (5, [1, 3, 5]), (19, [1, 3, 5, 10]), (60, [1, 3, 5, 10, 20, 50]), (250, [*NEIGHBOURS])],
)
def test_no_more_neighbours_are_tried_than_there_are_images(count, tried):
    found = SOLVERS["knn"](model("knn"), clouds(count), clouds(12, seed=1))
    assert [*map(int, found.tried)] == tried


@pytest.mark.parametrize(("count", "edge"), [(5, ""), (7, "high")])
def test_the_largest_number_of_neighbours_is_an_edge_unless_all_images_vote(monkeypatch, count, edge):
    give_found(monkeypatch, iter([(0.5, 3.0), (0.6, 3.0), (0.7, 3.0)]))
    found = SOLVERS["knn"](model("knn"), clouds(count), clouds(20, seed=1))
    assert found.setting == 5 and found.at_edge == edge


def test_neighbours_come_back_from_a_file(tmp_path):
    net = build_method("knn", small_vit(), 2)
    train, val = (frozen_features(net, bright_and_dark(count, seed)) for count, seed in ((30, 0), (20, 1)))
    SOLVERS["knn"](net, train, val)
    assert evaluate(net, bright_and_dark(20, seed=2)).accuracy == 1.0
    save_prompts(net, tmp_path / "p.safetensors", ("dark", "bright"))
    again = load_prompts(tmp_path / "p.safetensors", small_vit())
    torch.testing.assert_close(again(draw_images()), net(draw_images()), rtol=0, atol=0)


def test_another_method_has_no_neighbours():
    with pytest.raises(UserError, match=r"'linear' has no neighbours"):
        SOLVERS["knn"](model("linear"), clouds(5), clouds(5))


# ---- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SOLVERS)
def test_images_of_both_kinds_are_needed(method):
    none = FrozenFeatures(torch.zeros(0, WIDTH), torch.zeros(0, dtype=torch.long))
    for data, what in (((none, clouds(5)), "training"), ((clouds(5), none), "validation")):
        with pytest.raises(UserError, match=f"needs {what} images"):
            SOLVERS[method](model(method), *data)


@pytest.mark.parametrize("method", SOLVERS)
def test_features_that_are_not_finite_are_named(method):
    broken = clouds(5)
    broken.tensors[0][2, 3] = float("nan")
    for data, what in (((broken, clouds(5)), "training"), ((clouds(5), broken), "validation")):
        with pytest.raises(UserError, match=f"features of {what} images are not finite"):
            SOLVERS[method](model(method), *data)
