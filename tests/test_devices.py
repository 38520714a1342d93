"""Training on several devices: two processes on this machine's CPU find what one finds, and decide all things alike."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
import two_devices
import typer
from accelerate.commands.launch import launch_command_parser
from models import bright_and_dark, small_vit
from torch.distributed.run import get_args_parser
from two_devices import KILLED, METHODS, USUAL, WITH_GRADIENTS, model, trained
from typer.main import get_command

from vptlib.cli.train import train
from vptlib.errors import UserError
from vptlib.paths import repository
from vptlib.report.config import read_config
from vptlib.study.runner import candidates_of, run_until_done
from vptlib.study.store import finished_run, table_row
from vptlib.tuning import devices
from vptlib.tuning.devices import in_use, many_devices
from vptlib.tuning.promptfile import load_prompts, save_prompts
from vptlib.tuning.training import Recipe, fit

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
CLOSE = 1e-6
STUDY = """
tasks: [digits]
methods: [vpt-deep, full]
sizes: [40]
seeds: [0]
image_size: 14
depth: 1
num_prompts: 2
steps: 60
batch_size: 9
test_images: 31
precision: fp32
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, empty_database):
    """Where the processes find a study and an empty store, and write what they find."""
    folder = tmp_path_factory.mktemp("devices")
    (folder / "store").mkdir()
    shutil.copy(empty_database, folder / "store" / "mlflow.db")
    (folder / "study.yaml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def ended(folder):
    """Two processes of `tests/two_devices.py`, started as users start them; one of them is killed in the end."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    usual = ["--num_machines=1", "--mixed_precision=bf16", "--dynamo_backend=no", "--main_process_port=0"]
    command = [*launcher, *usual, str(HERE / "two_devices.py"), str(folder)]
    surroundings = os.environ | {"OMP_NUM_THREADS": "1", "VPTLIB_STORE": str(folder / "store")}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=surroundings)


@pytest.fixture(scope="module")
def both(ended, folder):
    """What each of the two processes has found."""
    files = [folder / f"found-{number}.pt" for number in (0, 1)]
    assert all(file.is_file() for file in files), ended.stderr[-3000:]
    return [torch.load(file, weights_only=True) for file in files]


@pytest.fixture(scope="module")
def two(both):
    """What the first process has found, once it is known that the second has found the same."""
    for name in set(both[0]) - {"number", "masks", "held"}:
        same(both[0][name], both[1][name], 0, name)
    assert (both[0]["number"], both[1]["number"], both[0]["count"]) == (0, 1, 2)
    return both[0]


def same(one, other, tolerance: float, where: str = "") -> None:
    """Raise unless two results are the same up to rounding, in shapes, types and numbers."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            same(one[name], other[name], tolerance, f"{where} {name}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for first, second in zip(one, other, strict=True):
            same(first, second, tolerance, where)
    elif isinstance(one, torch.Tensor):
        assert (one.shape, one.dtype) == (other.shape, other.dtype), where
        assert type(one) is type(other) is torch.Tensor or isinstance(one, torch.nn.Parameter), where
        assert (one - other).abs().max() <= tolerance, where
    elif isinstance(one, float):
        assert abs(one - other) <= tolerance, where
    else:
        assert one == other, where


# ---- the same numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_two_devices_train_to_the_weights_of_one(two, method):
    same(two[f"trained {method}"], trained(method), CLOSE, method)


@pytest.mark.parametrize("method", WITH_GRADIENTS)
def test_the_gradients_of_shares_are_those_of_the_whole_batch(two, method):
    alone = two_devices.first_gradients(method)
    assert alone
    same(two[f"gradients {method}"], alone, CLOSE, method)


def test_every_layer_of_prompts_has_a_gradient(two):
    gradients = two["gradients vpt-deep"]["net.prompts"]  # L P D
    assert gradients.shape[:2] == (3, 10)
    assert (gradients.abs().amax(dim=2) > 1e-6).all()


def test_a_weight_that_nothing_reads_stays_and_stops_nobody(two):
    same(two["unread weight"], two_devices.with_unread_weight(), CLOSE)
    assert torch.equal(two["unread weight"]["weights"]["net.spare"], torch.ones(3))


@pytest.mark.parametrize("method", ["vpt-deep", "full"])
def test_a_share_in_parts_of_two_images_gives_the_same(two, method):
    same(two["parts"][method], trained(method), CLOSE, method)


def test_each_image_is_augmented_as_on_one_device(two):
    augmented, plain = trained("vpt-deep", augmentation="light+mirror"), trained("vpt-deep")
    assert augmented["train_loss"] != pytest.approx(plain["train_loss"], rel=1e-3)
    same(two["augmented"], augmented, CLOSE)


def test_frozen_weights_stay_bit_for_bit_and_in_their_type(two):
    before = model("vpt-deep").state_dict()
    learned = {"net.prompts", "net.vit.head.weight", "net.vit.head.bias"}
    for kind in ("trained vpt-deep", "bf16"):
        after = two[kind]["weights"]
        assert learned < before.keys() == after.keys()
        for name in before.keys() - learned:
            assert after[name].dtype == torch.float32 and torch.equal(after[name], before[name]), name


def test_bfloat16_is_that_of_the_recipe_and_not_of_the_launcher(two):
    alone = trained("vpt-deep", autocast=True)
    assert two["trained vpt-deep"]["train_loss"] != pytest.approx(alone["train_loss"], abs=CLOSE)
    assert two["bf16"]["train_loss"] == pytest.approx(alone["train_loss"], abs=0.02)
    same(two["bf16"]["answers"], alone["answers"], 0.02)


def test_the_prompt_file_of_two_devices_is_that_of_one(two, folder, tmp_path):
    net = model("vpt-deep")
    fit(net, *two_devices.data(), Recipe(**USUAL))
    save_prompts(net, tmp_path / "one.safetensors")
    vit = small_vit(seed=3, depth=3)
    vit.reset_classifier(2)
    of_two, of_one = (load_prompts(at, vit) for at in (folder / "two.safetensors", tmp_path / "one.safetensors"))
    same(of_two.trained_state(), of_one.trained_state(), CLOSE)
    assert not torch.equal(of_one.trained_state()["net.prompts"], model("vpt-deep").trained_state()["net.prompts"])


def test_dropout_differs_between_devices_and_is_the_same_when_repeated(both, two):
    same(*two["dropout"], 0)
    assert two["dropout"][0]["train_loss"] != two["trained vpt-deep"]["train_loss"]
    masks = [found["masks"][1] for found in both]
    assert masks[0] != masks[1]


# ---- the same decisions -----------------------------------------------------------------------------------------


def test_a_patient_training_ends_in_the_same_step(two):
    alone = two_devices.patient()
    assert alone["stopped"] == "done" and len(alone["train_loss"]) < two_devices.PATIENT["steps"]
    same(two["patient"], alone, 1e-4)


def test_only_the_first_process_may_stop_a_training(two):
    assert len(two["watched"]) == 2 and len(two["watched in vain"]) == USUAL["steps"]


def test_all_processes_see_that_a_training_diverges(two):
    for name in ("diverging", "diverging bf16", "sharded diverging"):
        assert "diverged: the loss is nan at step" in two[name], name


def test_what_the_first_process_cannot_do_is_an_error_of_all(two):
    assert two["first fails"] == "the first could not read it."


def test_processes_find_out_whether_they_have_the_same(two):
    assert two["unlike"] == (False, True)


def test_fewer_images_than_devices_are_evaluated(two):
    alone = two_devices.evaluate(model("vpt-deep"), bright_and_dark(1, seed=4)).loss
    assert two["few to evaluate"] == pytest.approx(alone, abs=CLOSE)


def test_a_batch_smaller_than_the_processes_is_refused(two):
    assert two["small batch"] == (
        "a batch has 1 images, fewer than the 2 processes: start at most 1, or take a larger batch_size."
    )


# ---- weights shared out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sharded", "sharded parts"])
def test_weights_shared_out_train_to_those_of_one_device(two, name):
    same(two[name], trained("full"), CLOSE)


def test_weights_shared_out_train_with_augmentation_and_checkpointing(two):
    same(two["sharded augmented"], trained("full", augmentation="light"), CLOSE)


def test_weights_shared_out_train_in_bfloat16(two):
    alone = trained("full", autocast=True)
    assert two["sharded bf16"]["train_loss"] == pytest.approx(alone["train_loss"], abs=0.02)


def test_a_stopped_training_of_shared_weights_goes_on_from_one_file(two, folder):
    alone = trained("full", optimiser="adamw")
    assert two["sharded in two"]["train_loss"] == pytest.approx(alone["train_loss"], abs=1e-4)
    assert two["sharded in two"]["val_loss"] == pytest.approx(alone["val_loss"], abs=1e-4)
    stored = torch.load(folder / "full.pt", weights_only=True)
    assert {type(tensor) for tensor in stored["trained"].values()} == {torch.Tensor}
    assert stored["optimiser"]["state"][0]["exp_avg"].shape in {t.shape for t in stored["trained"].values()}


def test_each_device_holds_its_share_of_weights_gradients_and_moments(both):
    whole = both[0]["held"][1]
    assert sum(found["held"][0] for found in both) == pytest.approx(whole, rel=0.05)
    assert all(0.4 * whole < found["held"][0] < 0.6 * whole for found in both)


def test_sharding_is_refused_where_the_backbone_is_frozen(two):
    assert "'vpt-deep' does not train all weights, so sharding saves little" in two["sharded prompts"]


# ---- stopped, and started again ---------------------------------------------------------------------------------


def test_a_stopped_training_goes_on_as_if_nothing_had_happened(two):
    same(two["in two"], trained("vpt-deep", optimiser="adamw"), 1e-4)


def test_a_killed_process_ends_all_and_one_device_can_go_on(ended, two, folder):
    assert ended.returncode != 0 and "SIGKILL" in ended.stderr
    net, alone, steps = model("vpt-deep", seed=9), model("vpt-deep"), []
    resumed = fit(net, *two_devices.data(), Recipe(**KILLED), folder / "killed.pt", steps.append)
    assert len(steps) in (KILLED["steps"] - 4, KILLED["steps"] - 3), "the first process may be a step behind"
    whole = fit(alone, *two_devices.data(), Recipe(**KILLED))
    same(two_devices.outcome(net, resumed), two_devices.outcome(alone, whole), 1e-4)


# ---- a run of a study -------------------------------------------------------------------------------------------


@pytest.fixture
def of_two(two, folder, monkeypatch):
    """The study of which two devices have made one run, and that run."""
    monkeypatch.setenv("VPTLIB_STORE", str(folder / "store"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (study,) = read_config(folder / "study.yaml").studies()
    return study, next(cell for cell in study.cells() if cell.method == "vpt-deep")


def test_a_run_of_a_study_is_made_once_and_the_study_finds_it(of_two, ended):
    study, cell = of_two
    stored = finished_run(study, cell)
    assert stored.data.params["devices"] == "2" and "weights" in stored.data.tags
    assert [cell.method for cell in study.missing()] == ["full"]
    row = table_row(study, cell, stored)
    for seconds in ("train_seconds", "tuning_seconds"):
        assert row[seconds] == 2 * stored.data.metrics[seconds] > 0, "two devices for so long"
    accuracy = f"accuracy {100 * stored.data.metrics['accuracy']:.1f}"
    assert [line.replace("\u202f", " ") for line in ended.stdout.splitlines()] == [
        "Training vpt-deep on 40 images, seed 0, on 2 devices.",
        f"It is in the store: {accuracy} %.",
        f"The run was already in the store: {accuracy} %.",
    ]


def test_a_run_of_a_study_has_the_numbers_of_one_device(of_two):
    study, cell = of_two
    stored, history = finished_run(study, cell).data, study.history(cell.method, cell.n, cell.seed)
    alone = run_until_done(study, cell, candidates_of(study, cell))
    assert float(stored.params["learning_rate"]) == alone.learning_rate
    assert history.val_steps == alone.history.val_steps
    same([history.val_loss, history.train_loss], [alone.history.val_loss, alone.history.train_loss], 1e-3)
    assert stored.metrics["accuracy"] == pytest.approx(alone.test.accuracy, abs=1.5 / 31)


# ---- one device, and wrong starts -------------------------------------------------------------------------------

# Losses of six steps before several devices were possible.
BEFORE = {
    "linear": [1.0130076, 0.7316073, 0.6160872, 0.3974423, 0.2476033, 0.2426699],
    "vpt-deep": [0.8684957, 0.7336676, 0.7503712, 0.7662352, 0.5902740, 0.7383515],
    "full": [1.0130076, 3.1227276, 0.3464748, 1.2356706, 0.5599272, 0.6299624],
    "lora": [1.0130076, 0.5725881, 0.3199846, 0.1329732, 0.0744138, 0.0617489],
}


@pytest.mark.parametrize("method", BEFORE)
def test_one_device_trains_as_before(method):
    assert trained(method)["train_loss"] == pytest.approx(BEFORE[method], rel=1e-5)
    with many_devices(at_once=2) as alone:
        assert alone is in_use() and (alone.count, alone.is_first) == (1, True)
        same(trained(method), trained(method), CLOSE)
    assert in_use() is devices.ONE_DEVICE


def test_what_trains_on_one_device_does_not_import_accelerate(two):
    assert two["imported"] is False


def test_a_launcher_that_has_started_one_process_alone_is_refused(monkeypatch):
    """`accelerate launch --cpu --num_processes 2` does that, with these two settings."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(UserError, match="has started one: give it --multi_gpu"), many_devices():
        pass


def test_without_accelerate_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UserError, match=r"pip install 'vptlib\[devices\]'"), many_devices():
        pass


def test_processes_that_each_believe_to_be_alone_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("accelerate.Accelerator", lambda **_: SimpleNamespace(num_processes=1))
    with pytest.raises(UserError, match="has started 2 processes, but accelerate sees 1"), many_devices():
        pass


def test_sharding_needs_several_processes():
    with pytest.raises(UserError, match="sharding needs at least 2 processes"), many_devices(sharded=True):
        pass


def test_a_device_without_memory_for_its_share_says_what_to_give():
    several = devices.ManyDevices.__new__(devices.ManyDevices)
    with pytest.raises(UserError, match="no memory for 16 images at once: give it half as many"):
        several.note_lack_of_memory(16, training=True)
    several.note_lack_of_memory(16, training=False)


# ---- the page ---------------------------------------------------------------------------------------------------

PAGE = (repository() / "docs" / "many_devices.md").read_text("utf-8")
COMMANDS = re.findall(r"^(accelerate launch|torchrun) (.*?)-m vptlib train (.*)$", PAGE, re.MULTILINE)


def test_the_commands_of_the_page_are_those_of_the_launchers_and_of_vptlib():
    app = typer.Typer()
    app.command()(train)
    assert [launcher for launcher, *_ in COMMANDS] == ["accelerate launch", "torchrun", *["accelerate launch"] * 2]
    for launcher, options, words in COMMANDS:
        parser = launch_command_parser() if launcher == "accelerate launch" else get_args_parser()
        found = parser.parse_args([*shlex.split(options), "-m", "vptlib", "train", *shlex.split(words)])
        assert found.training_script == "vptlib" and found.training_script_args == ["train", *shlex.split(words)]
        get_command(app).make_context("train", shlex.split(words))


def test_the_memory_of_the_page_is_that_of_its_backbones():
    with torch.device("meta"):
        count = sum(p.numel() for p in timm.create_model("vit_base_patch16_224", num_classes=100).parameters())
    whole, share = 20 * count / 2**30, 20 * count / 8 / 2**30
    assert f"| ViT-B/16 | {count / 1e6:.0f} million | {whole:.1f} GiB | {share:.1f} GiB |" in PAGE
