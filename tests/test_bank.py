"""vptlib.operations.bank: tasks come, go and change their prompts, and no answer is ever half of one."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from models import draw_images, small_vit
from served import APART, IN_ONE_PASS, Learned, learned, make_bank, sharp_vit, without_files  # noqa: F401 (a fixture)

from vptlib.errors import UserError
from vptlib.evidence.answers import Answers
from vptlib.operations import bank as bank_module
from vptlib.operations.artefact import Card, backbone_card, read_artefact, write_artefact
from vptlib.operations.bank import MODULE_BYTES, PromptBank
from vptlib.operations.predictor import MultiTaskPredictor
from vptlib.prompting.fast import prompt_keys_values
from vptlib.tuning.backbones import preprocessing

pytestmark = pytest.mark.usefixtures("without_files")

IMAGES = draw_images(2, dtype=torch.float64)


def answers(bank, name, images=IMAGES):
    return torch.stack(MultiTaskPredictor(bank).logits(images, [name] * len(images)))


@torch.no_grad()
def right(source, vit, images=IMAGES):
    """What a task would answer without any bank."""
    return source.on(vit)(images)


def assert_gives(bank, name, source):
    torch.testing.assert_close(answers(bank, name), right(source, bank.vit), rtol=1e-10, atol=1e-10)


# ---- loading ----------------------------------------------------------------------------------------------------


def test_a_loaded_task_answers_and_says_what_it_is():
    bank, before = PromptBank(sharp_vit()), datetime.now(UTC)
    task = bank.load("cells", learned(seed=4, classes=5))
    assert bank.names == ("cells",) and bank.resident("cells") is task
    assert (task.name, task.card.method, task.digest) == ("cells", "vpt-deep", learned(seed=4).digest)
    assert before <= task.loaded <= task.used <= datetime.now(UTC)
    assert not task.model.training and not any(p.requires_grad for p in task.model.parameters())
    assert_gives(bank, "cells", learned(seed=4, classes=5))


def test_the_backbone_is_frozen_and_never_changed():
    vit = sharp_vit().train()
    weights = {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    bank = make_bank(vit, ["linear", "knn", "deep", "shallow", "bias", "lora", "side", "partial", "full"])
    for name in bank.names:
        answers(bank, name)
    assert not vit.training and not any(p.requires_grad for p in vit.parameters())
    assert vit.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in vit.state_dict().items())


def test_keys_and_values_are_kept_from_the_first_moment_on():
    task = make_bank().resident("deep")
    with torch.no_grad():
        for block in range(4):
            assert prompt_keys_values(task.model.net, block, 1) is task.keys_values[block]


def test_what_is_kept_for_a_task_apart_is_kept_and_counted_too():
    task = make_bank(names=["deep and bias"]).resident("deep and bias")
    with torch.no_grad():
        kept = [prompt_keys_values(task.model.net, block, 1) for block in range(4)]
    biases = sum(p.nbytes for name, p in task.model.named_parameters() if name in task.model.trained_state())
    assert task.bytes == biases + sum(one.nbytes for one in kept) + MODULE_BYTES * len(list(task.model.modules()))


@pytest.mark.parametrize("name", IN_ONE_PASS)
def test_a_task_that_leaves_the_backbone_alone_joins_its_pass(name):
    task = make_bank(names=[name]).resident(name)
    assert task.one_pass and task.shares_backbone


@pytest.mark.parametrize("name", APART)
def test_a_task_that_cannot_join_is_kept_apart(name):
    task = make_bank(names=[name]).resident(name)
    assert not task.one_pass and not task.keys_values
    assert task.shares_backbone == (name not in ("bias", "deep and bias", "partial", "full"))


def test_the_bytes_of_a_task_are_those_that_it_adds():
    vit = sharp_vit()  # 4 blocks, width 32, float64
    empty = make_bank(vit, []).bytes
    task = make_bank(vit).resident("deep")
    prompts, head, kept = 4 * 3 * 32, 4 * 32 + 4, 4 * 3 * 64
    assert task.bytes == 8 * (prompts + head + kept) + MODULE_BYTES * len(list(task.model.modules()))
    assert empty == 0 and make_bank(vit, ["deep", "linear"]).bytes > task.bytes


def test_full_fine_tuning_counts_with_a_whole_backbone():
    bank = make_bank(names=["full", "lora"])
    full, lora = (task.bytes - MODULE_BYTES * len(list(task.model.modules())) for task in bank.snapshot().values())
    assert full >= sum(p.nbytes for p in bank.vit.parameters()) > 4 * lora


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_task_needs_a_name(name):
    bank = PromptBank(sharp_vit())
    with pytest.raises(UserError, match="must be text that is not empty"):
        bank.load(name, learned())
    assert bank.names == ()


def test_a_task_can_be_loaded_within_inference_mode():
    with torch.inference_mode():
        bank = make_bank()
        inside = answers(bank, "deep")
    torch.testing.assert_close(answers(bank, "deep"), inside.clone(), rtol=1e-10, atol=1e-10)


# ---- files ------------------------------------------------------------------------------------------------------


def write(path, name="deep", vit=None, seed=0):
    """A file with a task of this name; gives its model."""
    vit = vit or small_vit()
    model = learned(name, seed).on(vit)
    classes, truth = ("a", "b", "c"), np.array([0, 1, 2])
    card = Card(
        title="cells",
        method=model.method,
        options=model.options,
        class_names=classes,
        preprocessing=preprocessing(vit),
        backbone=backbone_card(vit, "file:small.safetensors", "drawn", "none"),
    )
    write_artefact(path, model, card, Answers(truth[None].copy(), truth, classes))
    return model


@pytest.mark.parametrize("name", ["deep", "knn", "mlp", "projected", "late", "shallow", "lora", "full", "bias"])
def test_a_task_comes_from_its_file(tmp_path, name):
    model = write(tmp_path / "cells.vpt", name)
    bank = PromptBank(small_vit())
    task = bank.load("cells", tmp_path / "cells.vpt")
    assert task.digest == read_artefact(tmp_path / "cells.vpt").digest and task.card.title == "cells"
    assert task.one_pass == (name in IN_ONE_PASS) and task.shares_backbone == (name not in ("full", "bias"))
    with torch.no_grad():
        wanted = model(draw_images())
    torch.testing.assert_close(answers(bank, "cells", draw_images()), wanted, rtol=1e-4, atol=1e-4)


def test_a_file_that_is_damaged_or_of_another_backbone_replaces_nothing(tmp_path):
    path = tmp_path / "cells.vpt"
    write(path)
    bank = PromptBank(small_vit())
    task = bank.load("cells", path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cells\.vpt"):
        bank.load("cells", path)
    write(path, vit=small_vit(seed=1))
    with pytest.raises(UserError, match=r"cells\.vpt was learned on another backbone"):
        bank.load("cells", path)
    assert bank.resident("cells") is task


def test_a_file_that_changes_in_place_later_changes_no_answer(tmp_path):
    path = tmp_path / "cells.vpt"
    write(path)
    bank = PromptBank(small_vit())
    bank.load("cells", path)
    before = answers(bank, "cells", draw_images())
    with open(path, "r+b") as file:  # the same file, not a new one under its name
        file.write(bytes(path.stat().st_size))
    assert torch.equal(answers(bank, "cells", draw_images()), before)


# ---- what fails changes nothing ---------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_an_error_and_no_success(tmp_path):
    bank = PromptBank(sharp_vit())
    with pytest.raises(UserError, match=r"missing\.vpt"):
        bank.load("cells", tmp_path / "missing.vpt")
    assert bank.names == () and bank.bytes == 0


@pytest.mark.parametrize("step", ["read_artefact", "load_model", "prompt_keys_values"])
@pytest.mark.parametrize("error", [UserError("damaged"), MemoryError()])
def test_a_failed_load_leaves_everything_as_it_was(monkeypatch, step, error):
    bank = make_bank(names=["deep", "linear"])
    before, size, wanted = bank.snapshot(), bank.bytes, answers(bank, "deep")

    def fail(*_arguments):
        raise error

    monkeypatch.setattr(bank_module, step, fail)
    for name in ("deep", "new"):  # a replacement, and one more
        with pytest.raises(type(error)):
            bank.load(name, learned(seed=9))
    assert bank.snapshot() is before and bank.bytes == size
    assert torch.equal(answers(bank, "deep"), wanted)


def test_a_task_that_is_not_there_cannot_be_unloaded():
    bank = make_bank(names=["deep", "linear"])
    with pytest.raises(UserError, match="'cells' is not in this bank: it has deep, linear"):
        bank.unload("cells")
    assert bank.names == ("deep", "linear")


@pytest.mark.parametrize(("names", "words"), [([], "it is empty"), (["deep"] * 1, "it has deep")])
def test_a_task_that_is_not_there_cannot_be_asked(names, words):
    with pytest.raises(UserError, match=f"'cells' is not in this bank: {words}"):
        make_bank(names=names).resident("cells")


# ---- going and changing -----------------------------------------------------------------------------------------


def test_unloading_frees_all_that_the_task_added():
    bank = make_bank(names=["deep", "deep, twin"])
    predictor = MultiTaskPredictor(bank)
    predictor.logits(IMAGES, bank.names)  # keeps stacked keys and values of both
    tasks = list(bank.snapshot().values())
    stack = weakref.ref(bank.stacked(tuple(tasks), 0))
    things = [thing for task in tasks for thing in (task, task.model, task.model.net.prompts, task.keys_values[0])]
    gone = [weakref.ref(thing) for thing in things]
    del tasks, things
    assert bank.bytes > sum(task.bytes for task in bank.snapshot().values())  # the stacks count
    for name in bank.names:
        bank.unload(name)
    gc.collect()
    assert [found() for found in gone] == [None] * 8 and stack() is None
    assert bank.bytes == 0 and bank.report().empty


def test_one_unloaded_task_frees_the_stacks_that_it_is_in():
    bank = make_bank(names=["deep", "deep, twin", "every second"])
    tasks = bank.snapshot()
    pair, other = (tasks["deep"], tasks["deep, twin"]), (tasks["deep"], tasks["every second"])
    stays, goes = weakref.ref(bank.stacked(other, 0)), weakref.ref(bank.stacked(pair, 0))
    bank.unload("deep, twin")
    assert goes() is None and stays() is bank.stacked(other, 0)
    bank.stacked(pair, 0)  # a batch that began before still gets it, but nothing is kept
    assert bank.bytes == sum(task.bytes for task in bank.snapshot().values()) + bank.stacked(other, 0).nbytes


def test_after_a_swap_the_new_prompts_answer():
    bank = make_bank(names=["deep", "deep, twin"])
    names, predictor = ["deep", "deep, twin"], MultiTaskPredictor(bank)
    before = predictor.logits(IMAGES, names)
    bank.load("deep", learned(seed=8, classes=4))
    after = predictor.logits(IMAGES, names)
    torch.testing.assert_close(after[0], right(learned(seed=8, classes=4), bank.vit)[0], rtol=1e-10, atol=1e-10)
    assert not torch.allclose(after[0], before[0], atol=1e-3)
    torch.testing.assert_close(after[1], before[1], rtol=1e-10, atol=1e-10)
    assert bank.names == ("deep, twin", "deep")


def test_a_snapshot_stays_as_it_is():
    bank = make_bank()
    taken = bank.snapshot()
    old = taken["deep"]
    bank.load("deep", learned(seed=8))
    bank.load("linear", learned("linear"))
    assert dict(taken) == {"deep": old} and bank.snapshot()["deep"] is not old
    with pytest.raises(TypeError):
        taken["deep"] = old


def test_while_tasks_are_swapped_every_answer_is_of_one_of_them_whole():
    bank = make_bank(names=["deep", "deep, twin"])
    sources = [learned("deep", seed, classes=4) for seed in (5, 6)]
    sources.append(learned("deep, long", 7, classes=4))
    possible = torch.stack([right(source, bank.vit)[0] for source in sources])  # 3 C
    bank.load("deep", sources[0])
    stop, seen, predictor = threading.Event(), [], MultiTaskPredictor(bank)

    def ask():
        while not stop.is_set() or not seen:
            seen.append(predictor.logits(IMAGES, ["deep", "deep, twin"])[0])

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        try:
            for turn in range(25):
                bank.load("deep", sources[turn % 3])
        finally:
            stop.set()
        for one in asking:
            one.result()
    distance = (torch.stack(seen)[:, None] - possible).abs().amax(dim=-1)  # answers × 3
    assert distance.min(dim=1).values.max() < 1e-9
    assert len(distance.argmin(dim=1).unique()) > 1  # swaps were seen


# ---- a limit of memory ------------------------------------------------------------------------------------------


def size_of(name="deep"):
    return make_bank(names=[name]).resident(name).bytes


def test_the_task_that_was_used_least_recently_makes_room():
    bank = PromptBank(sharp_vit(), most_bytes=3 * size_of())
    for number, name in enumerate("abc"):
        bank.load(name, learned(seed=number))
    bank.resident("a")
    bank.load("d", learned(seed=3))
    assert set(bank.names) == {"a", "c", "d"}
    answers(bank, "c")
    bank.load("e", learned(seed=4))
    assert set(bank.names) == {"c", "d", "e"} and bank.bytes <= 3 * size_of()


def test_a_replacement_needs_room_for_itself_alone():
    bank = PromptBank(sharp_vit(), most_bytes=2 * size_of())
    bank.load("a", learned())
    bank.load("b", learned())
    bank.load("a", learned(seed=2))
    assert set(bank.names) == {"a", "b"}


def test_a_task_larger_than_the_limit_is_refused_and_nobody_makes_room():
    bank = PromptBank(sharp_vit(), most_bytes=2 * size_of())
    bank.load("a", learned())
    before = bank.snapshot()
    with pytest.raises(UserError, match=r"task 'b' needs .* bytes of memory, but most_bytes is .*: allow more"):
        bank.load("b", learned("full"))
    assert bank.snapshot() is before


def test_a_limit_must_leave_something():
    with pytest.raises(UserError, match="most_bytes is 0, but must be 1 or more"):
        PromptBank(sharp_vit(), most_bytes=0)


def test_a_task_that_made_room_comes_back_when_it_is_asked_for():
    sources = {name: learned(seed=number) for number, name in enumerate("abcd")}
    bank = PromptBank(sharp_vit(), most_bytes=2 * size_of(), fetch=sources.__getitem__)
    for name in "abcdacbd":
        assert_gives(bank, name, sources[name])
        assert len(bank.names) <= 2 and bank.bytes <= 2 * size_of()


def test_the_tasks_of_a_batch_do_not_make_room_for_each_other():
    sources = {name: learned(seed=number) for number, name in enumerate("abc")}
    bank = PromptBank(sharp_vit(), most_bytes=2 * size_of(), fetch=sources.__getitem__)
    bank.resident("a")
    bank.resident("b")
    bank.residents(["c", "a"])  # c needs room, and a was used before b
    assert set(bank.names) == {"a", "c"}


def test_a_batch_of_more_tasks_than_memory_holds_is_answered_all_the_same():
    sources = {name: learned(seed=number) for number, name in enumerate("abcd")}
    bank = PromptBank(sharp_vit(), most_bytes=2 * size_of(), fetch=sources.__getitem__)
    images = draw_images(4, dtype=torch.float64)
    found = MultiTaskPredictor(bank).logits(images, list("abcd"))
    for row, name in enumerate("abcd"):
        torch.testing.assert_close(found[row], right(sources[name], bank.vit, images)[row], rtol=1e-10, atol=1e-10)
    assert len(bank.names) == 2 and bank.bytes <= 2 * size_of()


def test_stacks_leave_the_tasks_their_room():
    names = ["deep", "deep, twin"]
    alone = make_bank(names=names).bytes
    bank = make_bank(names=names, most_bytes=alone + 100)
    MultiTaskPredictor(bank).logits(IMAGES, names)
    assert bank.bytes == alone
    roomy = make_bank(names=names, most_bytes=alone + 10_000)
    MultiTaskPredictor(roomy).logits(IMAGES, names)
    assert alone < roomy.bytes <= alone + 10_000
    roomy.load("linear", learned("linear"))  # needs the room of the stacks, and of a task
    assert roomy.bytes <= alone + 10_000


def test_stacks_of_the_last_batches_are_kept_and_no_more(monkeypatch):
    names = ["deep", "deep, twin", "every second"]
    bank = make_bank(names=names)
    one, two, three = bank.snapshot().values()
    monkeypatch.setattr(bank_module, "STACKED_BYTES", 2 * bank.stacked((one, two), 0).nbytes)
    bank.load("linear", learned("linear"))  # the room is worked out again
    alone = sum(task.bytes for task in bank.snapshot().values())
    first, second = bank.stacked((one, two), 0), bank.stacked((one, three), 0)
    assert bank.stacked((one, two), 0) is first
    bank.stacked((two, three), 0)
    assert bank.stacked((one, two), 0) is first and bank.stacked((one, three), 0) is not second
    assert bank.bytes == alone + 2 * first.nbytes


# ---- fetching ---------------------------------------------------------------------------------------------------


def test_two_threads_that_miss_the_same_task_load_it_once():
    asked, both = [], threading.Barrier(4)

    def fetch(name):
        asked.append(name)
        return learned()

    bank = PromptBank(sharp_vit(), fetch=fetch)

    def ask(_number):
        both.wait()
        return bank.resident("cells")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert asked == ["cells"] and len(set(found)) == 1


def test_what_cannot_be_fetched_is_the_fetchers_error_and_changes_nothing():
    def fetch(name):
        raise UserError(f"prompt {name!r} is not registered.")

    bank = PromptBank(sharp_vit(), fetch=fetch)
    bank.load("deep", learned())
    before = bank.snapshot()
    with pytest.raises(UserError, match="prompt 'cells' is not registered"):
        bank.residents(["deep", "cells"])
    assert bank.snapshot() is before
    bank.load("cells", learned("linear"))
    assert_gives(bank, "cells", learned("linear"))


def test_a_task_in_memory_is_not_fetched_again():
    bank = PromptBank(sharp_vit(), fetch=lambda _name: pytest.fail("fetched"))
    bank.load("deep", learned())
    assert_gives(bank, "deep", Learned())


# ---- the report -------------------------------------------------------------------------------------------------


def test_the_report_has_a_row_for_each_task_the_last_used_one_first():
    bank = make_bank(names=["deep", "full", "linear"])
    answers(bank, "full")
    answers(bank, "deep", IMAGES[:1])
    table = bank.report()
    assert list(table["name"]) == ["deep", "full", "linear"]
    assert list(table["answers"]) == [1, 2, 0]
    assert list(table["method"]) == ["vpt-deep", "full", "linear"] and list(table["classes"]) == [4, 4, 6]
    assert list(table["one_pass"]) == [True, False, True] == list(table["shares_backbone"])
    assert table["bytes"].sum() == bank.bytes
    assert list(table["used"]) == sorted(table["used"], reverse=True)


def test_an_empty_bank_has_an_empty_report_of_the_same_columns():
    assert list(PromptBank(sharp_vit()).report().columns) == list(make_bank().report().columns)
