"""vptlib.operations.predictor: one batch for many tasks has the numbers of one image and one task at a time."""

from types import MethodType

import models
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import FAMILIES, HEAD_INPUTS
from served import (
    IN_ONE_PASS,
    METHODS,
    learned,
    make_bank,
    sharp_vit,
    take_without_files,
    without_files,  # noqa: F401 (a fixture)
)
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vptlib.errors import UserError
from vptlib.operations.features import features_kept
from vptlib.operations.predictor import MultiTaskPredictor

pytestmark = pytest.mark.usefixtures("without_files")

BACKBONES = HEAD_INPUTS | FAMILIES | {"two heads": (VisionTransformerDistilled, {})}
BACKBONES["norms of queries and keys"] = VisionTransformer, {"qk_norm": True, "init_values": 0.5}


def draw_images(count=2, **options):
    return models.draw_images(count, dtype=torch.float64, **options)


@torch.no_grad()
def one_by_one(bank, images, names):
    """What each task's own model answers to one image."""
    return [bank.resident(name).model(image[None])[0] for image, name in zip(images, names, strict=True)]


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def drawn(names, count, seed):
    """So many names, drawn with replacement."""
    numbers = torch.randint(len(names), (count,), generator=torch.Generator().manual_seed(seed))
    return [names[number] for number in numbers]


# ---- the same numbers -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=BACKBONES)
def crowd(request):
    """A bank with every kind of task that can share a pass of the backbone, and a few that cannot."""
    kind, options = BACKBONES[request.param]
    some = [*IN_ONE_PASS, "shallow", "attentive", "deep and bias"]
    names = [name for name in some if (request.param, name) != ("two heads", "knn")]
    with pytest.MonkeyPatch.context() as patch:
        take_without_files(patch)
        return make_bank(sharp_vit(kind, **options), names)


@pytest.mark.parametrize("count", [30, 5, 1])
def test_on_every_backbone_a_batch_answers_as_each_task_alone(crowd, count):
    names, images = drawn(crowd.names, count, seed=count), draw_images(count, seed=count)
    assert_same(MultiTaskPredictor(crowd).logits(images, names), one_by_one(crowd, images, names))


def test_a_batch_of_every_kind_of_task_answers_as_each_task_alone(shared_bank):
    names, images = list(METHODS), draw_images(len(METHODS))
    assert_same(MultiTaskPredictor(shared_bank).logits(images, names), one_by_one(shared_bank, images, names))


def test_all_that_may_share_a_pass_does(crowd):
    found = {name for name, task in crowd.snapshot().items() if task.one_pass}
    assert found == set(IN_ONE_PASS) & set(crowd.names)


@pytest.fixture(scope="module")
def shared_bank():
    with pytest.MonkeyPatch.context() as patch:
        take_without_files(patch)
        return make_bank(names=list(METHODS))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(names=st.lists(st.sampled_from([*IN_ONE_PASS, "shallow", "lora", "full"]), max_size=12), seed=st.integers(0, 99))
def test_any_composition_of_a_batch_gives_the_same(shared_bank, names, seed):
    images = draw_images(len(names), seed=seed)
    assert_same(MultiTaskPredictor(shared_bank).logits(images, names), one_by_one(shared_bank, images, names))


def test_a_permuted_batch_has_permuted_answers(shared_bank):
    names, images = drawn(shared_bank.names, 20, seed=1), draw_images(20)
    predictor = MultiTaskPredictor(shared_bank)
    found = predictor.logits(images, names)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2)).tolist()
    permuted = predictor.logits(images[order], [names[row] for row in order])
    assert_same(permuted, [found[row] for row in order])


def test_every_task_has_an_answer_of_its_own_number_of_classes(shared_bank):
    names = list(shared_bank.names)
    for answer in (MultiTaskPredictor(shared_bank).logits, MultiTaskPredictor(shared_bank).probabilities):
        assert [tuple(one.shape) for one in answer(draw_images(len(names)), names)] == [(len(name),) for name in names]


def test_probabilities_are_those_of_the_logits(shared_bank):
    names = ["deep", "linear", "deep", "full"]
    predictor, images = MultiTaskPredictor(shared_bank), draw_images(4)
    wanted = [logits.softmax(dim=0) for logits in predictor.logits(images, names)]
    assert_same(predictor.probabilities(images, names), wanted)
    assert all(one.sum().item() == pytest.approx(1) for one in wanted)


def test_the_same_image_has_another_answer_under_other_prompts():
    image = draw_images(1).expand(2, -1, -1, -1)
    bank = make_bank(names=[])
    first, second = (bank.load(name, learned("deep", seed)).model.head for seed, name in enumerate("ab"))
    second.load_state_dict(first.state_dict())  # so that the prompts alone differ
    first, second = MultiTaskPredictor(bank).logits(image, ["a", "b"])
    assert not torch.allclose(first, second, atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_the_features_are_what_the_head_reads(shared_bank, name):
    image, own = draw_images(1), learned(name, list(METHODS).index(name), len(name)).on(sharp_vit())
    with features_kept(own) as kept:
        own(image)
    answered, *_ = MultiTaskPredictor(shared_bank).answers(image.expand(2, -1, -1, -1), [name, "deep"])
    assert_same([answered.features.float()], [kept.last(1)[0]])
    assert answered.task is shared_bank.resident(name)


def test_bad_pixels_of_one_image_stay_in_its_own_answer(shared_bank):
    names, images = ["deep", "deep, twin", "linear", "deep"], draw_images(4)
    predictor = MultiTaskPredictor(shared_bank)
    wanted = predictor.logits(images, names)
    images[1] = torch.nan
    found = predictor.logits(images, names)
    assert found[1].isnan().all()
    assert_same([found[row] for row in (0, 2, 3)], [wanted[row] for row in (0, 2, 3)])


def test_answers_carry_no_gradient(shared_bank):
    images = draw_images(2).requires_grad_()
    found = MultiTaskPredictor(shared_bank).logits(images, ["deep", "full"])
    assert not any(one.requires_grad for one in found)


# ---- one pass ---------------------------------------------------------------------------------------------------


def watch(module, seen):
    """Note the shape of the first input whenever `module` runs, without a hook, which would end the fast form."""
    forward = module.forward

    def noted(self, *inputs):
        seen.append(tuple(inputs[0].shape))
        return forward(*inputs)

    module.forward = MethodType(noted, module)


def test_one_pass_of_the_backbone_serves_all_tasks_that_join_it():
    bank = make_bank(names=list(IN_ONE_PASS))
    embedded, last = [], []
    for vit in (bank.vit, *(task.model.vit for task in bank.snapshot().values())):
        watch(vit.patch_embed, embedded)
        watch(vit.blocks[3].mlp, last)
    names = drawn(bank.names, 30, seed=0)
    MultiTaskPredictor(bank).logits(draw_images(30), names)
    assert embedded == [(30, 3, 28, 28)]
    assert last == [(30, 1, 32)]  # of the last block, the token alone that the heads read


def test_attention_runs_once_for_each_number_of_prompts():
    bank = make_bank(names=["linear", "mlp", "deep", "deep, twin", "every second", "deep, long"])
    seen = [[] for _ in bank.vit.blocks]
    for block, calls in zip(bank.vit.blocks, seen, strict=True):
        watch(block.attn.proj, calls)
    MultiTaskPredictor(bank).logits(draw_images(12), [*bank.names] * 2)
    assert [sorted(shape[0] for shape in calls) for calls in seen] == [[2, 4, 6], [2, 4, 6], [2, 4, 6], [2, 4, 6]]


def test_images_of_a_task_apart_are_one_batch_of_its_own_model():
    bank = make_bank(names=["shallow", "deep"])
    seen = []
    watch(bank.resident("shallow").model.vit.patch_embed, seen)
    MultiTaskPredictor(bank).logits(draw_images(5), ["shallow", "deep", "shallow", "shallow", "deep"])
    assert seen == [(3, 3, 28, 28)]


# ---- where the short cut does not hold --------------------------------------------------------------------------


class Doubled(VisionTransformer):
    """Reads its last tokens in a way of its own."""

    def forward_features(self, x, **options):
        return 2 * super().forward_features(x, **options)


def test_a_backbone_that_runs_in_its_own_way_keeps_plain_heads_apart():
    bank = make_bank(sharp_vit(Doubled), ["linear", "deep", "none"])
    assert [task.one_pass for task in bank.snapshot().values()] == [False, True, True]
    names, images = ["linear", "deep", "none"], draw_images(3)
    assert_same(MultiTaskPredictor(bank).logits(images, names), one_by_one(bank, images, names))


def gate(vit):
    vit.blocks[1].attn.gate = nn.Linear(32, 32).double()


def wrap(vit):
    vit.blocks[1].attn.qkv = nn.Sequential(vit.blocks[1].attn.qkv)


@pytest.mark.parametrize("change", [gate, wrap])
def test_where_blocks_are_not_plain_every_task_runs_apart_and_right(change):
    vit = sharp_vit()
    change(vit)
    bank = make_bank(vit, ["linear", "deep", "late", "full"])
    assert not any(task.one_pass for task in bank.snapshot().values())
    names, images = list(bank.names) * 2, draw_images(8)
    assert_same(MultiTaskPredictor(bank).logits(images, names), one_by_one(bank, images, names))


# ---- what is wrong, and what is empty ---------------------------------------------------------------------------


def test_an_unknown_task_is_named_and_nothing_is_counted():
    bank = make_bank(names=["deep", "linear"])
    with pytest.raises(UserError, match="'cells' is not in this bank: it has deep, linear"):
        MultiTaskPredictor(bank).logits(draw_images(2), ["deep", "cells"])
    assert list(bank.report()["answers"]) == [0, 0]


def test_a_batch_of_no_images_has_no_answers(shared_bank):
    assert MultiTaskPredictor(shared_bank).logits(draw_images(0), []) == []
    assert MultiTaskPredictor(shared_bank).probabilities(draw_images(0), []) == []


@pytest.mark.parametrize(
    ("images", "names", "words"),
    [
        (draw_images(2), ["deep"], "must be a list of 2 names"),
        (draw_images(4), "deep", "must be a list of 4 names"),
        (draw_images(1)[0], ["deep"] * 3, r"shape \(3, 28, 28\), but must be `B 3 H W`"),
        (draw_images(1, size=42), ["deep"], "42 × 42 px, but this backbone takes 28 × 28"),
        (draw_images(1, size=42), ["shallow"], "42 × 42 px, but this backbone takes 28 × 28"),
    ],
    ids=["too few names", "one text", "one image", "another size", "another size, apart"],
)
def test_what_does_not_fit_is_named(shared_bank, images, names, words):
    with pytest.raises(UserError, match=words):
        MultiTaskPredictor(shared_bank).logits(images, names)


# ---- swaps ------------------------------------------------------------------------------------------------------


def test_a_batch_ends_with_the_prompts_that_it_began_with():
    bank = make_bank(names=["deep", "deep, twin", "shallow"])
    names, images = ["deep", "deep, twin", "shallow"], draw_images(3)
    predictor, before = MultiTaskPredictor(bank), one_by_one(bank, images, ["deep", "deep, twin", "shallow"])
    forward, swapped = bank.vit.patch_embed.forward, []

    def swap_first(_self, pixels):
        if not swapped:
            swapped.append(bank.load("deep", learned("deep, long", seed=8, classes=4)))
            bank.unload("deep, twin")
            bank.load("deep, twin", learned("linear", seed=9))
        return forward(pixels)

    bank.vit.patch_embed.forward = MethodType(swap_first, bank.vit.patch_embed)
    assert_same(predictor.logits(images, names), before)
    assert swapped == [bank.resident("deep")]
    after = predictor.logits(images, names)
    assert_same(after, one_by_one(bank, images, names))
    assert not torch.allclose(after[0], before[0], atol=1e-3) and len(after[1]) == 3


def test_answers_are_counted_for_each_task():
    bank = make_bank(names=["deep", "full"])
    MultiTaskPredictor(bank).logits(draw_images(5), ["deep", "full", "deep", "deep", "full"])
    assert {task.name: task.answers for task in bank.snapshot().values()} == {"deep": 3, "full": 2}
