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


def model(method: str = "vpt-deep", **options):
    return build_method(method, small_vit(seed=3), 2, **options)


@pytest.mark.parametrize("method", METHODS)
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


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch, method):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    options = {"dropout": 0.2} if METHODS[method].uses_prompts else {}
    recipe = Recipe(1e-2, steps=12, batch_size=8, seed=5)
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
