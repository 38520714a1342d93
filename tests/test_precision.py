"""vptlib.tuning.precision, and what training does with it: bfloat16, too little memory, one kernel for AdamW."""

import json
import math

import pytest
import torch
from models import HEAD_INPUTS, bright_and_dark, draw_images, small_vit
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from vptlib.errors import UserError
from vptlib.tuning import precision
from vptlib.tuning.methods import build_method
from vptlib.tuning.precision import frozen_in_bfloat16, has_bfloat16, resolved, time_share
from vptlib.tuning.training import Diverged, Recipe, Training, evaluate, fit, frozen_features


def build(method="vpt-deep", **options):
    return build_method(method, small_vit(), 2, **options)


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def in_float64(data):
    """Images in float64: AdamW makes whole steps of the rounding errors of a gradient that should be 0."""
    return TensorDataset(data.tensors[0].double(), data.tensors[1])


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ---- which arithmetic -------------------------------------------------------------------------------------------


@pytest.fixture
def offers_bfloat16(own_cache, monkeypatch):
    """A machine that is worth measuring, whatever this one is; gives the file of answers."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    return own_cache / "precision.json"


def measured(monkeypatch, share):
    """Let the measurement give `share`; the list that is returned grows with each one."""
    calls = []
    monkeypatch.setattr(precision, "measured_share", lambda: calls.append(share) or share)
    return calls


def test_what_is_given_is_what_is_used(monkeypatch):
    calls = measured(monkeypatch, 0.1)
    assert (resolved("fp32"), resolved("bf16"), calls) == ("fp32", "bf16", [])


@pytest.mark.parametrize("word", ["fp16", "", "BF16"])
def test_another_word_is_refused_in_a_sentence(word):
    with pytest.raises(UserError, match=f"^precision is '{word}', but must be auto, fp32 or bf16.$"):
        resolved(word)


@pytest.mark.parametrize(("share", "answer"), [(0.4, "bf16"), (0.85, "bf16"), (0.86, "fp32"), (13.0, "fp32")])
def test_auto_takes_bfloat16_where_it_saves_15_per_cent(offers_bfloat16, monkeypatch, share, answer):
    measured(monkeypatch, share)
    assert resolved("auto") == answer


def test_a_cpu_without_instructions_for_it_is_not_measured(own_cache, monkeypatch):
    calls = measured(monkeypatch, 0.1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for amx, avx512, answer in ((False, False, "fp32"), (True, False, "bf16"), (False, True, "bf16")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx512=avx512: avx512)
        assert has_bfloat16() == (amx or avx512) and resolved("auto") == answer
        assert (time_share() == math.inf) == (answer == "fp32")
    assert len(calls) == 1, "once for a machine"


def test_the_answer_is_measured_once_and_kept_for_thismachine(offers_bfloat16, monkeypatch):
    calls = measured(monkeypatch, 0.5)
    assert resolved("auto") == resolved("auto") == "bf16"
    precision.kept_share.cache_clear()  # another process
    assert resolved("auto") == "bf16" and len(calls) == 1
    assert list(json.loads(offers_bfloat16.read_text()).values()) == [0.5]
    precision.kept_share.cache_clear()
    monkeypatch.setattr(precision, "machine", lambda: "another CPU")
    assert resolved("auto") == "bf16" and len(calls) == 2
    assert len(json.loads(offers_bfloat16.read_text())) == 2
    assert [path.name for path in offers_bfloat16.parent.iterdir()] == ["precision.json"]


def test_the_answer_of_another_process_that_was_first_holds(offers_bfloat16, monkeypatch):
    def slower():
        offers_bfloat16.write_text(json.dumps({precision.machine(): 0.5}))
        return 2.0

    monkeypatch.setattr(precision, "measured_share", slower)
    assert resolved("auto") == "bf16"


@pytest.mark.parametrize("failure", ["damaged", "no folder", "measurement"])
def test_after_any_failure_it_is_float32(offers_bfloat16, monkeypatch, failure):
    calls = measured(monkeypatch, 0.1)
    if failure == "damaged":
        offers_bfloat16.parent.mkdir()
        offers_bfloat16.write_text("{")
    elif failure == "no folder":
        offers_bfloat16.parent.write_text("")
    else:
        monkeypatch.setattr(precision, "measured_share", lambda: torch.empty(-1))
    assert resolved("auto") == resolved("auto") == "fp32"
    assert len(calls) == 0, "an answer that cannot be kept would be another one for the next process"


def test_the_measurement_gives_a_share_and_draws_no_random_number(monkeypatch):
    for name, small in {"TOKENS": 3, "WIDTH": 12, "ROUNDS": 1}.items():
        monkeypatch.setattr(precision, name, small)
    before = torch.get_rng_state()
    assert 0 < precision.measured_share() < math.inf
    assert torch.equal(torch.get_rng_state(), before)


# ---- frozen weights ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["linear", "vpt-shallow", "vpt-deep", "bias", "adapter", "ssf", "full"])
def test_frozen_weights_in_bfloat16_give_the_numbers_of_plain_autocast(method):
    model, images = build(method), draw_images()
    results = []
    for cast in (False, True):
        model.zero_grad()
        context = frozen_in_bfloat16(model) if cast else torch.enable_grad()
        with context:
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(images)
            logits.float().square().sum().backward()
        results.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None} | {"logits": logits})
    assert same(*results) and len(results[0]) > 2


def test_only_frozen_products_are_cast_and_all_come_back_themselves():
    model = build("bias")
    before, places = weights_of(model), {name: p.data_ptr() for name, p in model.named_parameters()}
    with frozen_in_bfloat16(model, trained=frozenset({"net.blocks.0.mlp.fc1.weight"})):
        cast = {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}
    products = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    wanted = {f"net.blocks.{block}.{product}.weight" for block in (0, 1) for product in products}
    assert cast == wanted - {"net.blocks.0.mlp.fc1.weight"} | {"net.patch_embed.proj.weight"}
    assert same(weights_of(model), before)
    assert {name: p.data_ptr() for name, p in model.named_parameters()} == places


def test_weights_come_back_after_an_exception():
    model = build()
    before = weights_of(model)
    with pytest.raises(ZeroDivisionError), frozen_in_bfloat16(model):
        raise ZeroDivisionError
    assert same(weights_of(model), before)


def test_kept_keys_and_values_of_prompts_follow_the_arithmetic():
    model, images = build().eval(), draw_images()
    fresh = build().eval()
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():
        in_float32 = model(images)
        for _ in range(2):
            with frozen_in_bfloat16(model), torch.autocast("cpu", torch.bfloat16):
                assert not torch.equal(model(images).float(), in_float32)
                kept = [found[1].dtype for found in model.net._kept.values()]
            assert kept == [torch.bfloat16] * 2
            assert torch.equal(model(images), in_float32) and torch.equal(fresh(images), in_float32)


# ---- training in bfloat16 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["linear", "vpt-shallow", "vpt-deep", "lora", "full", "full-then-prompts"])
def test_training_in_bfloat16_learns_and_changes_no_frozen_weight(method):
    if method == "lora":
        pytest.importorskip("peft")
    model = build(method)
    frozen = {n: t for n, t in weights_of(model).items() if n not in model.trained_state()}
    data = bright_and_dark(24)
    history = fit(model, data, data, Recipe(1e-2, steps=12, batch_size=24, evaluations=2, autocast=True))
    assert history.precision == "bf16" and history.best_val_accuracy > 0.9
    after = model.state_dict()
    assert same({name: after[name] for name in frozen}, frozen)
    assert {t.dtype for t in after.values() if t.is_floating_point()} == {torch.float32}
    assert evaluate(model, data).accuracy > 0.9


def test_the_weights_kept_of_an_earlier_phase_are_not_rounded():
    """In the second phase of FT-then-PT the backbone, which trained before, is frozen, but it is what is stored."""
    model = build("full-then-prompts")
    fit(model, bright_and_dark(8), bright_and_dark(8), Recipe(1e-2, steps=4, evaluations=2, autocast=True))
    weight = model.vit.blocks[0].mlp.fc1.weight
    assert not torch.equal(weight, weight.bfloat16().float())


def test_the_loss_is_computed_in_float32(monkeypatch):
    kinds, formula = [], F.cross_entropy
    monkeypatch.setattr(
        F, "cross_entropy", lambda logits, labels: kinds.append(logits.dtype) or formula(logits, labels)
    )
    fit(build(), bright_and_dark(8), bright_and_dark(8), Recipe(1e-3, steps=1, evaluations=1, autocast=True))
    assert kinds == [torch.float32] * 2


def test_validation_is_computed_in_the_arithmetic_of_the_steps():
    model, kinds = build(), []
    model.head.register_forward_hook(lambda _m, _i, out: kinds.append((torch.is_grad_enabled(), out.dtype)))
    fit(model, bright_and_dark(4), bright_and_dark(4), Recipe(1e-3, steps=1, evaluations=1, autocast=True))
    assert kinds == [(True, torch.bfloat16), (False, torch.bfloat16)]
    evaluate(model, bright_and_dark(4))
    assert kinds[-1] == (False, torch.float32)
    fit(model, bright_and_dark(4), None, Recipe(1e-3, steps=1))  # no tensor of inference is left in it


def not_finite_in_bfloat16(model, from_step):
    """From a step on, the head gives NaN under autocast, as large activations do."""
    steps = []

    def spoil(_module, _inputs, logits):
        steps.extend([1] * torch.is_grad_enabled())
        return logits * math.nan if torch.is_autocast_enabled("cpu") and len(steps) >= from_step else logits

    model.head.register_forward_hook(spoil)
    return model


@pytest.mark.parametrize("from_step", [1, 3])
@pytest.mark.parametrize("method", ["vpt-deep", "full-then-prompts"])
def test_a_run_that_is_not_finite_in_bfloat16_is_the_run_in_float32(method, from_step, capsys):
    data, recipe = bright_and_dark(12), Recipe(1e-3, steps=4, batch_size=4, evaluations=2)
    runs = []
    for autocast in (False, True):
        torch.manual_seed(0)
        model = not_finite_in_bfloat16(build(method, dropout=0.3), from_step)
        torch.manual_seed(1)
        history = fit(model, data, data, Recipe(**vars(recipe) | {"autocast": autocast}))
        runs.append((history, weights_of(model)))
    (wanted, wanted_weights), (history, weights) = runs
    assert (wanted.precision, history.precision) == ("fp32", "fp32")
    assert history.train_loss == wanted.train_loss and history.val_loss == wanted.val_loss
    assert same(weights, wanted_weights)
    if (method, from_step) == ("vpt-deep", 1):  # a text is printed once
        assert "'vpt-deep' is not finite in bfloat16: the run starts again in float32" in capsys.readouterr().err


def test_a_run_that_fell_back_stays_in_float32_when_it_goes_on(tmp_path):
    data, recipe = bright_and_dark(12), Recipe(1e-3, steps=6, batch_size=4, autocast=True)
    whole = fit(not_finite_in_bfloat16(build(), 2), data, None, recipe)
    first = Training(not_finite_in_bfloat16(build(), 2), data, None, recipe, tmp_path / "run.pt")
    first.advance(3)
    first.save()
    second = Training(build(), data, None, recipe, tmp_path / "run.pt")
    second.advance(6)
    assert second.finish().precision == "fp32"
    assert second.history.train_loss == whole.train_loss


def test_what_diverges_in_float32_too_is_reported():
    model = build()
    model.head.register_forward_hook(lambda _m, _i, logits: logits * math.nan)
    with pytest.raises(Diverged, match="step 1"):
        fit(model, bright_and_dark(8), None, Recipe(1e-3, steps=2, autocast=True))


# ---- too little memory ------------------------------------------------------------------------------------------


def with_memory_for(model, images):
    """A model whose GPU has memory for so many images at once."""

    def refuse(_module, inputs):
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > images:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    sizes = []
    model.vit.patch_embed.register_forward_pre_hook(refuse)
    return model, sizes


def test_a_batch_too_large_for_the_memory_is_taken_in_parts_with_the_same_result(capsys):
    data, recipe = in_float64(bright_and_dark(14)), Recipe(1e-3, steps=3, batch_size=14)
    whole, (small, sizes) = build("full").double(), with_memory_for(build("full").double(), 4)
    wanted, history = fit(whole, data, None, recipe), fit(small, data, None, recipe)
    assert sizes == [14, 7, 4, 4, 4, 2, *[4, 4, 4, 2] * 2]
    assert history.train_loss == pytest.approx(wanted.train_loss, rel=1e-10)
    for one, other in zip(small.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)
    report = capsys.readouterr().err
    assert report.count("no memory for 14 images at once: it takes 7") == 1
    assert report.count("no memory for 7 images at once: it takes 4") == 1


def test_memory_that_runs_out_in_the_backward_pass_leaves_no_trace():
    data, recipe = bright_and_dark(8), Recipe(1e-3, steps=2, batch_size=8)
    whole, small, failures = build("full"), build("full"), []

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, logits):
            return logits.clone()

        @staticmethod
        def backward(ctx, gradient):
            if not failures:
                failures.append(1)
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return gradient

    small.vit.blocks[0].register_forward_hook(lambda _m, _i, tokens: Fails.apply(tokens))
    wanted, history = fit(whole, data, None, recipe), fit(small, data, None, recipe)
    assert failures == [1] and history.train_loss == pytest.approx(wanted.train_loss, rel=1e-5)


def test_evaluation_and_frozen_features_take_fewer_images_as_well():
    data = bright_and_dark(11)
    small, sizes = with_memory_for(build("linear"), 3)
    whole = build("linear")
    whole.load_state_dict(small.state_dict())
    assert evaluate(small, data).loss == pytest.approx(evaluate(whole, data).loss, rel=1e-5)
    assert sizes == [11, 6, 3, 3, 3, 2]
    kept = frozen_features(small, data, batch_size=5).tensors[0]
    torch.testing.assert_close(kept, frozen_features(whole, data).tensors[0])


def test_where_one_image_is_too_much_the_sentence_says_what_to_do():
    small, _ = with_memory_for(build("full"), 0)
    with pytest.raises(UserError, match="too small for one image: take a smaller image_size"):
        fit(small, bright_and_dark(4), None, Recipe(1e-3, steps=1))


# ---- AdamW in one kernel ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["vpt-deep", "full"])
@pytest.mark.parametrize("head", HEAD_INPUTS)
def test_one_kernel_for_adamw_gives_the_same_weights(method, head):
    kind, options = HEAD_INPUTS[head]
    data, results = in_float64(bright_and_dark(12)), []
    for fused in (False, True):
        model = build_method(method, small_vit(kind, **options), 2).double()
        history = fit(model, data, None, Recipe(1e-3, steps=5, batch_size=6, fused=fused))
        results.append((torch.tensor(history.train_loss), model.trained_state()))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=1e-6)
    for name, tensor in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], tensor, rtol=0, atol=1e-6, msg=name)


def test_the_recipe_decides_on_the_kernel(monkeypatch):
    asked, kind = [], torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda *given, **named: asked.append(named) or kind(*given, **named))
    for fused in (False, True):
        fit(build(), bright_and_dark(4), None, Recipe(1e-3, steps=1, fused=fused))
    assert [bool(named["fused"]) for named in asked] == [False, True]


def test_the_loss_of_a_step_is_that_of_the_plain_formula():
    """One batch in one part: not a bit may differ from the loop before batches could be parted."""
    model, data = build("full"), bright_and_dark(6)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    images, labels = (tensor[order] for tensor in data.tensors)
    loss = F.cross_entropy(model.train()(images), labels)
    loss.backward()
    wanted = [p.grad.clone() for p in model.parameters()]
    history = fit(model, data, None, Recipe(1e-3, steps=1, batch_size=6))
    assert history.train_loss == [loss.item()]
    assert all(torch.equal(p.grad, w) for p, w in zip(model.parameters(), wanted, strict=True))
