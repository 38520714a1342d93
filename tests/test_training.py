"""The training loop: what it keeps, what it does not change, and that a stopped run continues as if never stopped."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from models import bright_and_dark, small_vit

import vptlib.tuning.training as training
from vptlib.errors import UserError
from vptlib.tuning.methods import METHODS, build_method
from vptlib.tuning.training import Diverged, FrozenFeatures, Recipe, evaluate, fit, frozen_features

STEPPED = [name for name, row in METHODS.items() if row.learning_rates]


def model(method: str = "vpt-deep", **options):
    return build_method(method, small_vit(seed=3), 2, **options)


@pytest.mark.parametrize("method", STEPPED)
def test_every_method_learns_a_plain_task(method):
    net = model(method)
    before = evaluate(net, bright_and_dark(40, seed=1)).loss
    history = fit(net, bright_and_dark(40), bright_and_dark(20, seed=2), Recipe(1e-2, steps=40))
    after = evaluate(net, bright_and_dark(40, seed=1))
    assert after.loss < 0.8 * before
    assert after.accuracy >= 0.9
    assert len(history.train_loss) == 40 and history.val_steps == [8, 16, 24, 32, 40]


def test_an_observer_sees_every_step_and_may_stop():
    seen = []

    def watch(history):
        seen.append(len(history.train_loss))
        return len(seen) == 5

    recipe = Recipe(1e-2, steps=40, evaluations=20)
    history = fit(model(), bright_and_dark(20), bright_and_dark(10), recipe, watch=watch)
    assert seen == [1, 2, 3, 4, 5] and len(history.train_loss) == 5
    assert history.best_step in history.val_steps == [2, 4]


def test_rate_rises_linearly_and_falls_to_nothing():
    recipe = Recipe(1.0, steps=100, warmup=0.1)
    rates = [recipe.rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] < 0.001


def test_weights_best_on_validation_remain(monkeypatch):
    """Validation accuracy peaks at the second evaluation; the weights of that moment must come back."""
    seen = []

    def scripted(net, data, batch_size=100):
        seen.append({name: t.clone() for name, t in net.trained_state().items()})
        accuracy = [0.5, 0.9, 0.7, 0.9][len(seen) - 1]
        return training.Evaluation(accuracy, loss=float(len(seen)), predictions=np.array([]), correct=np.array([]))

    monkeypatch.setattr(training, "evaluate", scripted)
    net = model()
    history = fit(net, bright_and_dark(20), bright_and_dark(10), Recipe(1e-2, steps=8, evaluations=4))
    assert history.best_step == 4, "of equal accuracies the lower loss, which came first, is the better"
    assert history.best_val_accuracy == 0.9
    for name, tensor in net.trained_state().items():
        assert torch.equal(tensor, seen[1][name])
        assert not torch.equal(tensor, seen[3][name])


@pytest.mark.parametrize("augmentation", ["none", "light+mirror"])
@pytest.mark.parametrize("method", STEPPED)
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch, method, augmentation):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    options = {"dropout": 0.2} if METHODS[method].uses_prompts else {}
    recipe = Recipe(1e-2, steps=12, batch_size=8, seed=5, augmentation=augmentation)
    whole = model(method, **options)
    uninterrupted = fit(whole, bright_and_dark(20), bright_and_dark(10), recipe)

    class Stop(Exception):
        pass

    done = []

    def stop(_):
        done.append(1)
        if len(done) == 7:
            raise Stop

    with pytest.raises(Stop):
        fit(model(method, **options), bright_and_dark(20), bright_and_dark(10), recipe, tmp_path / "run.pt", stop)
    again = build_method(method, small_vit(seed=99), 2, **options)  # a new process would not share the random state
    again.load_state_dict({n: t for n, t in whole.state_dict().items() if n not in again.trained_state()}, strict=False)
    resumed = fit(again, bright_and_dark(20), bright_and_dark(10), recipe, tmp_path / "run.pt")
    assert resumed.train_loss == uninterrupted.train_loss
    assert resumed.val_loss == uninterrupted.val_loss
    for name, tensor in whole.trained_state().items():
        assert torch.equal(tensor, again.trained_state()[name])


def test_tuning_then_prompting_has_two_phases():
    """FT-then-PT: first the backbone without prompts, then prompts on the backbone that did best, now frozen."""
    net = model("full-then-prompts", num_prompts=2)
    seen = []
    note = lambda: {n: t.clone() for n, t in net.trained_state().items()}  # noqa: E731
    fit(net, bright_and_dark(20), None, Recipe(1e-2, steps=9, seed=1), progress=lambda _: seen.append(note()))
    changed = [{n for n in a if not torch.equal(a[n], b[n])} for a, b in pairwise(seen)]
    heads = {"net.vit.head.weight", "net.vit.head.bias"}
    assert all("net.prompts" not in names and "net.vit.blocks.0.attn.qkv.weight" in names for names in changed[:4])
    assert all(names == {"net.prompts"} | heads for names in changed[4:])  # steps 6 to 9 of 9


def test_the_second_phase_begins_with_the_best_of_the_first(monkeypatch):
    seen = []

    def scripted(net, data, batch_size=100):
        seen.append(net.trained_state()["net.vit.cls_token"].clone())
        accuracy = [0.6, 0.9, 0.7, 0.2, 0.3, 0.1][len(seen) - 1]
        return training.Evaluation(accuracy, loss=1.0, predictions=np.array([]), correct=np.array([]))

    monkeypatch.setattr(training, "evaluate", scripted)
    net = model("full-then-prompts", num_prompts=2)
    history = fit(net, bright_and_dark(20), bright_and_dark(10), Recipe(1e-2, steps=12, evaluations=6))
    assert not torch.equal(seen[1], seen[2])
    assert torch.equal(seen[3], seen[1]) and torch.equal(seen[5], seen[1])
    assert history.best_step == 10  # only in the second phase: without prompts it would be another method


def test_late_prompts_and_late_blocks_train_on_kept_tokens_as_on_images(monkeypatch):
    for method, options in (("vpt-deep", {"layers": "last 1"}), ("partial-k", {"blocks": 1})):
        runs = []
        for limit in (2**30, 0):
            monkeypatch.setattr(training, "MOST_KEPT_BYTES", limit)
            net = model(method, **options)
            passes = []
            net.vit.patch_embed.register_forward_hook(lambda *_, p=passes: p.append(1))
            history = fit(net, bright_and_dark(20), bright_and_dark(10), Recipe(1e-2, steps=10, batch_size=8))
            runs.append((history.train_loss, history.val_loss, len(passes)))
        assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-4)
        assert runs[0][1] == pytest.approx(runs[1][1], rel=1e-4)
        assert runs[0][2] <= 3 and runs[1][2] > 10


@pytest.mark.parametrize("method", ["vpt-deep", "vpt-shallow", "full"])
def test_checkpointing_blocks_changes_nothing_but_memory(method):
    losses = []
    for checkpointing in (False, True):
        recipe = Recipe(1e-3, steps=4, checkpointing=checkpointing)
        losses.append(fit(model(method), bright_and_dark(10), None, recipe).train_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_autocast_computes_in_bfloat16_and_learns():
    net, kinds = model(), []
    net.vit.blocks[0].mlp.fc1.register_forward_hook(lambda _m, _x, out: kinds.append(out.dtype))
    history = fit(net, bright_and_dark(20), None, Recipe(1e-2, steps=15, autocast=True))
    assert set(kinds) == {torch.bfloat16}
    assert history.train_loss[-1] < 0.8 * history.train_loss[0]
    assert all(tensor.dtype == torch.float32 for tensor in net.trained_state().values())


def test_a_compiled_model_is_what_trains(monkeypatch):
    """`torch.compile` takes minutes here. The test checks that it is called, and that its result is run."""
    calls = []

    def compiled(net):
        return lambda inputs: calls.append(len(inputs)) or net(inputs)

    monkeypatch.setattr(torch, "compile", compiled)
    fit(model(), bright_and_dark(8), None, Recipe(1e-3, steps=2, compile=True))
    assert calls == [8, 8]


def test_a_foreign_or_damaged_checkpoint_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    path = tmp_path / "run.pt"
    fit(model(), bright_and_dark(8), None, Recipe(1e-3, steps=2), path)
    with pytest.raises(UserError, match=r"run\.pt belongs to another recipe"):
        fit(model(), bright_and_dark(8), None, Recipe(2e-3, steps=2), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"run\.pt cannot be read"):
        fit(model(), bright_and_dark(8), None, Recipe(1e-3, steps=2), path)


def test_divergence_is_named():
    broken = bright_and_dark(8)
    broken.tensors[0][3] = math.inf
    with pytest.raises(Diverged, match=r"'full' diverged: the loss is nan at step 1 with learning rate 0.001"):
        fit(model("full"), broken, None, Recipe(1e-3, steps=2))


def test_cached_features_give_the_same_probe_as_images():
    by_images, by_features = model("linear"), model("linear")
    recipe = Recipe(1e-2, steps=10)
    one = fit(by_images, bright_and_dark(20), bright_and_dark(10), recipe)
    train, val = frozen_features(by_features, bright_and_dark(20)), frozen_features(by_features, bright_and_dark(10))
    assert isinstance(train, FrozenFeatures)
    two = fit(by_features, train, val, recipe)
    assert one.train_loss == two.train_loss
    assert evaluate(by_images, bright_and_dark(10)).loss == pytest.approx(evaluate(by_features, val).loss, abs=1e-6)


def test_each_image_is_seen_once_before_any_is_seen_twice():
    stream = images_seen(count=10, batch_size=4, steps=5)
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))
    assert sorted(images_seen(count=3, batch_size=32, steps=1)) == [0, 1, 2]


def images_seen(count, batch_size, steps):
    """Numbers of the images that training takes, in order."""
    net, data, seen = model("full"), bright_and_dark(count), []
    data.tensors[0][:, 0, 0, 0] = torch.arange(count)
    net.register_forward_pre_hook(lambda _net, inputs: seen.extend(inputs[0][:, 0, 0, 0].int().tolist()))
    fit(net, data, None, Recipe(1e-5, steps=steps, batch_size=batch_size))
    return seen


def test_evaluation_counts():
    net, data = model(), bright_and_dark(7)
    found = evaluate(net, data, batch_size=3)
    logits = net(data.tensors[0])
    assert found.predictions.tolist() == logits.argmax(1).tolist()
    assert found.accuracy == pytest.approx((logits.argmax(1) == data.tensors[1]).float().mean().item())
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, data.tensors[1]).item(), rel=1e-5)


# ---- patience ---------------------------------------------------------------------------------------------------


def scripted_validation(monkeypatch, figures):
    """Validation that gives these pairs of accuracy and loss, one after the other; the last one from then on."""
    given = iter(figures)
    last = [None]

    def evaluation(net, data, batch_size=100):
        last[0] = next(given, last[0])
        accuracy, loss = last[0]
        return training.Evaluation(accuracy, loss, np.array([]), np.array([]))

    monkeypatch.setattr(training, "evaluate", evaluation)


PATIENT = Recipe(1e-2, steps=100, evaluations=20, patience=2, cooldown=0.2, warmup=0.05)


def test_training_ends_when_validation_shows_no_more_progress(monkeypatch):
    """Progress at steps 5, 10 and 15; none at 20 and 25: the rate falls from step 25 on, for a fifth of 25 steps."""
    scripted_validation(monkeypatch, [(0.5, 1.0), (0.6, 1.0), (0.6, 0.9), (0.6, 0.9), (0.6, 0.895), (0.7, 0.8)])
    history = fit(model(), bright_and_dark(20), bright_and_dark(10), PATIENT)
    assert len(history.train_loss) == 30 and history.stopped == "done"
    assert history.val_steps == [5, 10, 15, 20, 25, 30]
    assert history.best_step == 30, "the steps in which the rate falls count as well"


def test_a_higher_accuracy_or_a_clearly_lower_loss_is_progress(monkeypatch):
    scripted_validation(
        monkeypatch, [(0.5 + 0.01 * k, 1.0) for k in range(8)] + [(0.57, 0.98**k) for k in range(1, 99)]
    )
    history = fit(model(), bright_and_dark(20), bright_and_dark(10), PATIENT)
    assert history.stopped == "limit" and len(history.train_loss) == 100


def test_with_patience_the_last_steps_are_kept_for_the_fall():
    rates = [PATIENT.rate_at(step, falls_from=PATIENT.latest_fall) for step in range(100)]
    assert PATIENT.latest_fall == 83 and PATIENT.end_of(83) == 100
    assert rates[:5] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
    assert set(rates[5:83]) == {0.01}, "no cosine: the end is not known yet"
    assert rates[83:] == pytest.approx([0.01 * (1 - k / 18) for k in range(1, 18)])


def test_patience_without_validation_images_is_refused():
    with pytest.raises(UserError, match="patience needs validation images: give val, or patience=None"):
        fit(model(), bright_and_dark(20), None, PATIENT)


def test_a_training_taken_in_parts_is_the_training_taken_at_once():
    """Another training between the parts draws random numbers of its own; dropout draws them here."""
    recipe = Recipe(1e-2, steps=30, evaluations=6, patience=3, augmentation="light")
    data = bright_and_dark(20), bright_and_dark(10, seed=2)
    torch.manual_seed(0)
    whole = fit(model(dropout=0.5), *data, recipe)
    torch.manual_seed(0)
    parts = training.Training(model(dropout=0.5), *data, recipe)
    for until in (7, 8, 20, 30):
        parts.advance(until)
        torch.rand(3)
    history = parts.finish()
    assert history.train_loss == whole.train_loss and history.val_loss == whole.val_loss
    assert (history.best_step, history.stopped) == (whole.best_step, whole.stopped)


@pytest.mark.parametrize("stop_at", [3, 27, 29])
def test_a_patient_run_that_was_killed_goes_on_to_the_same_end(tmp_path, monkeypatch, stop_at):
    """Killed before and in the fall of the rate: it ends at the same step."""
    figures = [(0.5, 1.0), (0.6, 1.0), (0.6, 0.9), (0.6, 0.9), (0.6, 0.895), (0.7, 0.8)]
    scripted_validation(monkeypatch, figures)
    whole = fit(model(), bright_and_dark(20), bright_and_dark(10), PATIENT)
    scripted_validation(monkeypatch, figures)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    first = training.Training(model(), bright_and_dark(20), bright_and_dark(10), PATIENT, tmp_path / "run.pt")
    first.advance(stop_at)
    again = fit(model(), bright_and_dark(20), bright_and_dark(10), PATIENT, tmp_path / "run.pt")
    assert again.val_steps == whole.val_steps and again.train_loss == pytest.approx(whole.train_loss)


def test_in_a_method_of_two_phases_patience_is_for_the_second(monkeypatch):
    scripted_validation(monkeypatch, [(0.5, 1.0)])
    net = model("full-then-prompts")
    history = fit(net, bright_and_dark(20), bright_and_dark(10), PATIENT)
    assert history.stopped == "done" and len(history.train_loss) == 50 + 15 + 3, "1 evaluation, 2 in vain, and a fall"
