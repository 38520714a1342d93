"""The training loop: what it keeps, what it leaves alone, and that a stopped run goes on as if nothing had happened."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import vptlib.tuning.training as training
from vptlib.errors import UserError
from vptlib.tuning.methods import METHODS, build_method
from vptlib.tuning.training import Diverged, FrozenFeatures, Recipe, evaluate, fit, frozen_features


def images(count: int, seed: int = 0) -> TensorDataset:
    """Two classes that differ in brightness."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    pixels = torch.randn(count, 3, 28, 28, generator=generator) * 0.3 + (labels * 2.0 - 1.0)[:, None, None, None]
    return TensorDataset(pixels, labels)


def model(tiny_vit, method: str = "vpt-deep", **options):
    torch.manual_seed(3)
    return build_method(method, tiny_vit(), 2, **options)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_a_plain_task(tiny_vit, method):
    net = model(tiny_vit, method)
    before = evaluate(net, images(40, seed=1)).loss
    history = fit(net, images(40), images(20, seed=2), Recipe(1e-2, steps=40))
    after = evaluate(net, images(40, seed=1))
    assert after.loss < 0.8 * before
    assert after.accuracy >= 0.9
    assert len(history.train_loss) == 40 and history.val_steps == [8, 16, 24, 32, 40]


def test_whoever_watches_sees_every_step_and_may_stop(tiny_vit):
    seen = []

    def watch(history):
        seen.append(len(history.train_loss))
        return len(seen) == 5

    history = fit(model(tiny_vit), images(20), images(10), Recipe(1e-2, steps=40, evaluations=20), watch=watch)
    assert seen == [1, 2, 3, 4, 5] and len(history.train_loss) == 5
    assert history.best_step in history.val_steps == [2, 4]


def test_rate_rises_linearly_and_falls_to_nothing():
    recipe = Recipe(1.0, steps=100, warmup=0.1)
    rates = [recipe.rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] < 0.001


def test_weights_best_on_validation_remain(tiny_vit, monkeypatch):
    """Validation accuracy is made to peak at the second look; the weights of that moment must come back."""
    seen = []

    def scripted(net, data, batch_size=100):
        seen.append({name: t.clone() for name, t in net.trained_state().items()})
        accuracy = [0.5, 0.9, 0.7, 0.9][len(seen) - 1]
        return training.Evaluation(accuracy, loss=float(len(seen)), predictions=np.array([]), correct=np.array([]))

    monkeypatch.setattr(training, "evaluate", scripted)
    net = model(tiny_vit)
    history = fit(net, images(20), images(10), Recipe(1e-2, steps=8, evaluations=4))
    assert history.best_step == 4, "of equal accuracies the lower loss, which came first, is the better"
    assert history.best_val_accuracy == 0.9
    for name, tensor in net.trained_state().items():
        assert torch.equal(tensor, seen[1][name])
        assert not torch.equal(tensor, seen[3][name])


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(tiny_vit, tmp_path, monkeypatch, method):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    options = {"dropout": 0.2} if METHODS[method].uses_prompts else {}
    recipe = Recipe(1e-2, steps=12, batch_size=8, seed=5)
    torch.manual_seed(0)
    whole = model(tiny_vit, method, **options)
    uninterrupted = fit(whole, images(20), images(10), recipe)

    class Stop(Exception):
        pass

    done = []

    def stop(_):
        done.append(1)
        if len(done) == 7:
            raise Stop

    with pytest.raises(Stop):
        fit(model(tiny_vit, method, **options), images(20), images(10), recipe, tmp_path / "run.pt", stop)
    torch.manual_seed(99)  # a new process would not share the random state
    again = build_method(method, tiny_vit(), 2, **options)
    again.load_state_dict({n: t for n, t in whole.state_dict().items() if n not in again.trained_state()}, strict=False)
    resumed = fit(again, images(20), images(10), recipe, tmp_path / "run.pt")
    assert resumed.train_loss == uninterrupted.train_loss
    assert resumed.val_loss == uninterrupted.val_loss
    for name, tensor in whole.trained_state().items():
        assert torch.equal(tensor, again.trained_state()[name])


def test_tuning_then_prompting_has_two_phases(tiny_vit):
    """FT-then-PT: first the backbone without prompts, then prompts on the backbone that did best, now frozen."""
    net = model(tiny_vit, "full-then-prompts", num_prompts=2)
    seen = []
    note = lambda: {n: t.clone() for n, t in net.trained_state().items()}  # noqa: E731
    fit(net, images(20), None, Recipe(1e-2, steps=9, seed=1), progress=lambda _: seen.append(note()))
    changed = [{n for n in a if not torch.equal(a[n], b[n])} for a, b in pairwise(seen)]
    heads = {"net.vit.head.weight", "net.vit.head.bias"}
    assert all("net.prompts" not in names and "net.vit.blocks.0.attn.qkv.weight" in names for names in changed[:4])
    assert all(names == {"net.prompts"} | heads for names in changed[4:])  # steps 6 to 9 of 9


def test_the_second_phase_begins_with_the_best_of_the_first(tiny_vit, monkeypatch):
    seen = []

    def scripted(net, data, batch_size=100):
        seen.append(net.trained_state()["net.vit.cls_token"].clone())
        accuracy = [0.6, 0.9, 0.7, 0.2, 0.3, 0.1][len(seen) - 1]
        return training.Evaluation(accuracy, loss=1.0, predictions=np.array([]), correct=np.array([]))

    monkeypatch.setattr(training, "evaluate", scripted)
    net = model(tiny_vit, "full-then-prompts", num_prompts=2)
    history = fit(net, images(20), images(10), Recipe(1e-2, steps=12, evaluations=6))
    assert not torch.equal(seen[1], seen[2])
    assert torch.equal(seen[3], seen[1]) and torch.equal(seen[5], seen[1])
    assert history.best_step == 10  # of the second phase alone: without prompts it would be another method


def test_late_prompts_and_late_blocks_train_on_kept_tokens_as_on_images(tiny_vit, monkeypatch):
    for method, options in (("vpt-deep", {"layers": "last 1"}), ("partial-k", {"blocks": 1})):
        runs = []
        for limit in (2**30, 0):
            monkeypatch.setattr(training, "MOST_KEPT_BYTES", limit)
            net = model(tiny_vit, method, **options)
            passes = []
            net.vit.patch_embed.register_forward_hook(lambda *_, p=passes: p.append(1))
            history = fit(net, images(20), images(10), Recipe(1e-2, steps=10, batch_size=8))
            runs.append((history.train_loss, history.val_loss, len(passes)))
        assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-4)
        assert runs[0][1] == pytest.approx(runs[1][1], rel=1e-4)
        assert runs[0][2] <= 3 and runs[1][2] > 10


@pytest.mark.parametrize("method", ["vpt-deep", "vpt-shallow", "full"])
def test_checkpointing_blocks_changes_nothing_but_memory(tiny_vit, method):
    losses = []
    for checkpointing in (False, True):
        recipe = Recipe(1e-3, steps=4, checkpointing=checkpointing)
        losses.append(fit(model(tiny_vit, method), images(10), None, recipe).train_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_autocast_computes_in_bfloat16_and_learns(tiny_vit):
    net, kinds = model(tiny_vit), []
    net.vit.blocks[0].mlp.fc1.register_forward_hook(lambda _m, _x, out: kinds.append(out.dtype))
    history = fit(net, images(20), None, Recipe(1e-2, steps=15, autocast=True))
    assert set(kinds) == {torch.bfloat16}
    assert history.train_loss[-1] < 0.8 * history.train_loss[0]
    assert all(tensor.dtype == torch.float32 for tensor in net.trained_state().values())


def test_a_compiled_model_is_what_trains(tiny_vit, monkeypatch):
    """`torch.compile` takes minutes here: that it is asked for, and what it gives is run, is what can be told."""
    calls = []

    def compiled(net):
        return lambda inputs: calls.append(len(inputs)) or net(inputs)

    monkeypatch.setattr(torch, "compile", compiled)
    fit(model(tiny_vit), images(8), None, Recipe(1e-3, steps=2, compile=True))
    assert calls == [8, 8]


def test_a_foreign_or_damaged_checkpoint_is_refused(tiny_vit, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    path = tmp_path / "run.pt"
    fit(model(tiny_vit), images(8), None, Recipe(1e-3, steps=2), path)
    with pytest.raises(UserError, match=r"run\.pt belongs to another recipe"):
        fit(model(tiny_vit), images(8), None, Recipe(2e-3, steps=2), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"run\.pt cannot be read"):
        fit(model(tiny_vit), images(8), None, Recipe(1e-3, steps=2), path)


def test_divergence_is_named(tiny_vit):
    broken = images(8)
    broken.tensors[0][3] = math.inf
    with pytest.raises(Diverged, match=r"'full' diverged: the loss is nan at step 1 with learning rate 0.001"):
        fit(model(tiny_vit, "full"), broken, None, Recipe(1e-3, steps=2))


def test_cached_features_give_the_same_probe_as_images(tiny_vit):
    by_images, by_features = model(tiny_vit, "linear"), model(tiny_vit, "linear")
    recipe = Recipe(1e-2, steps=10)
    one = fit(by_images, images(20), images(10), recipe)
    train, val = frozen_features(by_features, images(20)), frozen_features(by_features, images(10))
    assert isinstance(train, FrozenFeatures)
    two = fit(by_features, train, val, recipe)
    assert one.train_loss == two.train_loss
    assert evaluate(by_images, images(10)).loss == pytest.approx(evaluate(by_features, val).loss, abs=1e-6)


def test_each_image_is_seen_once_before_any_is_seen_twice():
    batches = training._batches(10, 4, seed=1)
    stream = torch.cat([next(batches) for _ in range(5)])
    assert sorted(stream[:10].tolist()) == list(range(10))
    assert sorted(stream[10:].tolist()) == list(range(10))
    assert sorted(next(training._batches(3, 32, seed=1)).tolist()) == [0, 1, 2]


def test_evaluation_counts(tiny_vit):
    net, data = model(tiny_vit), images(7)
    found = evaluate(net, data, batch_size=3)
    logits = net(data.tensors[0])
    assert found.predictions.tolist() == logits.argmax(1).tolist()
    assert found.accuracy == pytest.approx((logits.argmax(1) == data.tensors[1]).float().mean().item())
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, data.tensors[1]).item(), rel=1e-5)
