"""The study: its rules, its store, and that it can be killed anywhere."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from studies import TINY, study

from vptlib.errors import UserError
from vptlib.report.words.en import protocol
from vptlib.statement import statement
from vptlib.study import runner
from vptlib.study.plan import Cell
from vptlib.study.published_rules import EQUAL
from vptlib.study.store import mlflow_client, run_key
from vptlib.study.study import Study
from vptlib.tuning.methods import METHODS, STANDARD
from vptlib.tuning.training import Diverged, History

pytestmark = pytest.mark.usefixtures("own_store")


def plain(runs: pd.DataFrame) -> pd.DataFrame:
    """What must be the same for every way to make the runs."""
    table = runs.drop(columns=["train_seconds", "tuning_seconds", "run_id"])
    return table.assign(correct=table.correct.map(tuple), predictions=table.predictions.map(tuple))


def test_runs_are_made_once_and_a_larger_study_reuses_them(monkeypatch):
    made = []
    run_cell = runner.run_cell
    monkeypatch.setattr(runner, "run_cell", lambda s, cell, rates: made.append(cell) or run_cell(s, cell, rates))
    small = study()
    first = small.run(progress=False)
    assert made == small.cells() and len(first) == 8
    assert first.groupby("method").size().to_dict() == {"linear": 4, "vpt-deep": 4}
    again = small.run(progress=False)
    assert len(made) == 8, "nothing is run twice"
    pd.testing.assert_frame_equal(first, again)
    study(sizes=(40, 60, 80), seeds=(0, 1)).run(progress=False)
    assert {cell.n for cell in made[8:]} == {80}


def test_table_agrees_with_the_items_and_the_stored_model():
    ours = study()
    runs = ours.run(progress=False)
    for row in runs.itertuples():
        assert row.accuracy == pytest.approx(np.mean(row.correct))
        assert len(row.correct) == 30
    *_, test = ours.data(60, 0)
    for method in ours.methods:
        stored = runs[(runs.method == method) & (runs.n == 60) & (runs.seed == 0)].iloc[0]
        found = runner.evaluate(ours.model(method), test)
        assert found.predictions.tolist() == stored.predictions.tolist()
    assert (runs.predictions.iloc[0] == test.tensors[1].numpy()).tolist() == runs.correct.iloc[0].tolist()


def test_a_run_made_again_for_its_weights_is_made_once():
    """A larger study keeps no weights at its smaller size; a study of that size alone needs them."""
    study(seeds=(0,)).run(progress=False)
    small = study(seeds=(0,), sizes=(40,))
    assert len(small.missing()) == 2
    small.run(progress=False)
    assert small.missing() == []
    assert small.model("vpt-deep")


def test_runs_made_side_by_side_are_the_same_runs(monkeypatch, tmp_path, own_store):
    one_by_one = study().run(progress=False, jobs=1)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("VPTLIB_STORE", str(other))
    side_by_side = study().run(progress=False, jobs=2)
    pd.testing.assert_frame_equal(plain(one_by_one), plain(side_by_side))
    assert study().model("vpt-deep").trained_state().keys() == {
        "net.prompts",
        "net.vit.head.weight",
        "net.vit.head.bias",
    }


def test_every_method_gets_the_same_budget(monkeypatch):
    """Same number of candidates and steps, chosen on validation; the first seed tunes for the others."""
    fits = []
    fit = runner.fit
    monkeypatch.setattr(runner, "fit", lambda *a: fits.append((a[0].method, a[3])) or fit(*a))
    methods = (*STANDARD, "mlp-k", "partial-k", "full-then-prompts")
    runs = study(methods=methods, sizes=(60,)).run(progress=False)
    for method in methods:
        entry = METHODS[method]
        recipes = [recipe for name, recipe in fits if name == method]
        assert [r.learning_rate for r in recipes[:2]] == list(entry.learning_rates[:2])
        assert {r.steps for r in recipes} == {3}
        chosen = runs[runs.method == method].learning_rate
        assert len(recipes) == 3 and recipes[2].learning_rate == chosen.iloc[0] == chosen.iloc[1]
    assert set(runs.tuned_by) == {runs.seed.iloc[0]}


def test_the_rate_best_on_validation_is_chosen_whatever_the_test_says(monkeypatch):
    def scripted(model, train, val, recipe, *_):
        best = recipe.learning_rate == METHODS[model.method].learning_rates[1]
        return History([1.0], [1], [1.0], [0.8 if best else 0.3], best_step=1)

    monkeypatch.setattr(runner, "fit", scripted)
    runs = study(seeds=(0,)).run(progress=False)
    for row in runs.itertuples():
        assert row.learning_rate == METHODS[row.method].learning_rates[1]
        assert row.val_accuracy == 0.8


def test_test_images_are_looked_at_once_a_run(monkeypatch):
    looks = []
    evaluate = runner.evaluate
    monkeypatch.setattr(runner, "evaluate", lambda net, data: looks.append(len(data)) or evaluate(net, data))
    ours = study()
    ours.run(progress=False)
    assert looks == [30] * len(ours.cells())


def test_training_never_sees_test_images_and_sizes_are_nested():
    ours = study()
    (small, small_val, test), (large, large_val, _) = ours.data(40, 0), ours.data(60, 0)
    assert (len(small), len(small_val)) == (32, 8) and len(large) + len(large_val) == 60

    def prints(*sets):
        return {image.numpy().tobytes() for data in sets for image in data.tensors[0]}

    assert prints(small, small_val) <= prints(large, large_val)
    assert not prints(large, large_val) & prints(test)
    assert prints(small, small_val) != prints(*ours.data(40, 1)[:2])


def test_a_diverged_candidate_does_not_stop_the_study(monkeypatch):
    fit = runner.fit

    def sometimes(model, train, val, recipe, *rest):
        if recipe.learning_rate == METHODS[model.method].learning_rates[0]:
            raise Diverged("training diverged")
        return fit(model, train, val, recipe, *rest)

    monkeypatch.setattr(runner, "fit", sometimes)
    runs = study(seeds=(0,), sizes=(40,)).run(progress=False)
    assert [r.learning_rate for r in runs.itertuples()] == [
        METHODS[r.method].learning_rates[1] for r in runs.itertuples()
    ]

    def always(*_):
        raise Diverged("training diverged")

    monkeypatch.setattr(runner, "fit", always)
    with pytest.raises(Diverged):
        study(seeds=(5,), sizes=(40,)).run(progress=False)


def test_history_is_stored():
    ours = study(methods=("vpt-deep",), sizes=(40,), seeds=(0,))
    runs = ours.run(progress=False)
    history = ours.history("vpt-deep", 40, 0)
    assert len(history.train_loss) == 3
    assert history.best_val_accuracy == runs.val_accuracy[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": ("vpt",)}, "method 'vpt' is not known: take one of linear, vpt-shallow"),
        ({"methods": ()}, "methods is []"),
        ({"sizes": (40, 40)}, "sizes is [40, 40]: give at least one value, and none twice"),
        ({"steps": 0}, "steps is 0"),
        ({"candidates": 9}, "candidates is 9, but 'linear' has 3 learning rates"),
    ],
)
def test_impossible_studies_are_refused_at_once(changes, sentence):
    with pytest.raises(UserError) as error:
        study(**changes)
    assert sentence in str(error.value)


def test_sizes_beyond_the_data_are_refused_before_training(monkeypatch):
    monkeypatch.setattr(runner, "run_cell", lambda *_: pytest.fail("training began"))
    with pytest.raises(UserError, match="5000"):
        study(sizes=(40, 5000)).run(progress=False)


def test_models_of_two_seeds_are_kept_and_a_third_is_refused():
    three = study(seeds=(4, 2, 7), sizes=(40,))
    three.run(progress=False)
    first, second = (three.model("vpt-deep", seed).state_dict()["net.prompts"] for seed in (4, 2))
    assert not torch.equal(first, second)
    assert torch.equal(three.model("vpt-deep").state_dict()["net.prompts"], first)
    with pytest.raises(UserError, match="seed is 7, but models are stored for 4, 2 only"):
        three.model("vpt-deep", 7)


def test_a_run_that_is_not_there_is_named():
    with pytest.raises(UserError, match="vpt-deep on digits with 60 images and seed 0 has not been run"):
        study().model("vpt-deep")


def test_an_unwritable_store_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VPTLIB_STORE", str(tmp_path / "file" / "store"))
    with pytest.raises(UserError, match="VPTLIB_STORE"):
        study().missing()


def test_protocol_states_the_figures():
    rules = study().protocol()
    assert list(rules) == ["images", "tuning", "training", "test", "seeds", "prompts"]
    assert rules["training"] == statement("training_of_equal_budget", steps=3, batch_size=8)
    assert rules["tuning"].values == {"candidates": 2, "seeds": 2}
    assert rules["test"].values == {"images": 30} and rules["prompts"].values == {"num_prompts": 2}


def test_the_protocol_in_english_has_the_same_rows_and_figures():
    def english(**changes) -> dict[str, str]:
        return protocol(study(**changes).protocol())

    rules = english()
    assert list(rules) == ["Images", "Tuning", "Training", "Test", "Seeds", "Prompts"]
    assert rules["Images"].endswith("Sizes: 40, 60.") and rules["Prompts"] == "2 per prompted layer."
    assert "2 learning rates" in rules["Tuning"] and "3 optimiser steps" in rules["Training"]
    assert "taken over by the other seeds" in rules["Tuning"] and "30 test images" in rules["Test"]
    assert rules["Seeds"] == "2 (0, 1)."
    alone = english(candidates=1, seeds=(0,))
    assert "1 learning rate per method" in alone["Tuning"] and "other seeds" not in alone["Tuning"]
    assert "quick look" in alone["Seeds"]
    assert english(candidates="all")["Tuning"].startswith("All learning rates per method")


# ---- a store of an earlier version ------------------------------------------------------------------------------

# What vptlib wrote before its modules moved into sub-packages, for `EARLIER` below, copied from its store.
EARLIER = {
    "methods": ("linear", "vpt-deep"),
    "sizes": (40,),
    "steps": 3,
    "candidates": 1,
    "test_images": 30,
    "rules": EQUAL,
}
STORED = {
    "linear": {
        "key": "7261b1cc9f8718af72ea7f0e6213f3c8",
        "params": {"learning_rate": "0.01", "rates_tried": '{"0.01": 0.25}'},
        "metrics": {
            "accuracy": 0.13333333333333333,
            "test_loss": 11.969529151916504,
            "val_accuracy": 0.25,
            "best_step": 3.0,
            "train_seconds": 0.06077045300116879,
            "tuning_seconds": 0.15476399299950572,
            "trainable_parameters": 7690.0,
            "bytes_per_task": 30760.0,
        },
        "series": {
            "train_loss": [2.5883970260620117, 12.95880126953125, 14.295145034790039],
            "val_loss": [9.21341609954834, 12.63887882232666, 10.228052139282227],
            "val_accuracy_at": [0.0, 0.125, 0.25],
        },
        "predictions": [7, 7, 7, 7, 7, 7, 7, 7, 9, 9, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 9, 9, 7, 7, 7, 7, 7, 7, 7, 9],
        "right": [0, 4, 15, 20],
    },
    "vpt-deep": {
        "key": "52507858e0eb7f9f64b96aa4d30a6668",
        "params": {"learning_rate": "0.002", "rates_tried": '{"0.002": 0.125}'},
        "metrics": {
            "accuracy": 0.1,
            "test_loss": 2.5618791580200195,
            "val_accuracy": 0.125,
            "best_step": 3.0,
            "train_seconds": 2.6521466659978614,
            "tuning_seconds": 3.282466689001012,
            "trainable_parameters": 42250.0,
            "bytes_per_task": 169000.0,
        },
        "series": {
            "train_loss": [2.4547483921051025, 4.434259414672852, 2.771880865097046],
            "val_loss": [3.671332836151123, 3.151702642440796, 2.760373592376709],
            "val_accuracy_at": [0.125, 0.125, 0.125],
        },
        "predictions": [9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 6, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9],
        "right": [2, 12, 20],
    },
}
PARAMS = {
    "task": "digits",
    "backbone": "dinov2-small-focus",
    "image_size": "None",
    "depth": "None",
    "num_prompts": "10",
    "steps": "3",
    "batch_size": "16",
    "candidates": "1",
    "test_images": "30",
    "label_noise": "0.0",
    "noise": "symmetric",
    "imbalance": "1.0",
    "corruption": "",
    "severity": "3",
    "rules": "equal budget",
    "epochs": "100",
    "n": "40",
    "seed": "0",
}


def store_as_written_before(method: str, experiment: str, folder: Path) -> None:
    """One finished run in the store, by MLflow alone; its weights are not used here, so they are a single number."""
    stored, client = STORED[method], mlflow_client()
    tags = {
        "key": stored["key"],
        "task": "digits",
        "backbone_sha256": "3b56236982d487bf9b2c77dcc563f8ed8da9aec1b537e386ffffc90d86c12386",
        "seed": "0",
        "weights": "weights.safetensors",
    }
    run_id = client.create_run(experiment, tags=tags, run_name=f"digits {method} n=40 s=0").info.run_id
    for name, text in (PARAMS | {"method": method} | stored["params"]).items():
        client.log_param(run_id, name, text)
    for name, value in stored["metrics"].items():
        client.log_metric(run_id, name, value)
    for name, values in (stored["series"] | {"val_step": [1.0, 2.0, 3.0]}).items():
        for step, value in enumerate(values, 1):
            client.log_metric(run_id, name, value, step=step)
    correct = [int(k in stored["right"]) for k in range(30)]
    client.log_dict(run_id, {"predictions": stored["predictions"], "correct": correct}, "test.json")
    save_file({"head": torch.zeros(1)}, folder / "weights.safetensors")
    client.log_artifact(run_id, str(folder / "weights.safetensors"))
    client.set_terminated(run_id, "FINISHED")


def test_keys_are_those_of_stored_runs():
    ours = Study("digits", **EARLIER)
    assert {cell.method: run_key(ours, cell) for cell in ours.cells()} == {m: s["key"] for m, s in STORED.items()}


def test_a_store_of_an_earlier_version_is_read_and_no_run_is_repeated(own_store, monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "run_cell", lambda *_: pytest.fail("a stored run is made again"))
    experiment = mlflow_client().create_experiment("vptlib", artifact_location=(own_store / "artifacts").as_uri())
    for method in STORED:
        store_as_written_before(method, experiment, tmp_path)
    ours = Study("digits", **EARLIER)
    assert ours.missing() == []
    runs = ours.run(progress=False, jobs=1).set_index("method")
    assert runs.index.tolist() == ["linear", "vpt-deep"]
    assert runs.accuracy.tolist() == [0.13333333333333333, 0.1] and runs.val_accuracy.tolist() == [0.25, 0.125]
    assert runs.learning_rate.tolist() == [0.01, 0.002] and runs.bytes_per_task.tolist() == [30760, 169000]
    for method, stored in STORED.items():
        assert runs.predictions[method].tolist() == stored["predictions"]
        assert np.flatnonzero(runs.correct[method]).tolist() == stored["right"]
    history = ours.history("vpt-deep", 40, 0)
    assert history.val_loss == STORED["vpt-deep"]["series"]["val_loss"] and history.val_steps == [1, 2, 3]
    assert history.train_loss == STORED["vpt-deep"]["series"]["train_loss"] and history.best_step == 3


OPEN_AT_ONCE = """
import os, time
import mlflow.store.tracking.sqlalchemy_store  # slow, so before the fork: all are to open the store in one moment
from vptlib import Study

study = Study(**{settings})
start, children = time.time() + 0.5, []
for _ in range(4):
    child = os.fork()
    if child == 0:
        while time.time() < start:
            time.sleep(0.001)
        os._exit(len(study.missing()))
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


def test_processes_that_open_a_new_store_at_once_all_get_in(tmp_path):
    settings = TINY | {"methods": ("linear", "vpt-deep", "full"), "sizes": (40,), "seeds": (0,)}
    env = os.environ | {"VPTLIB_STORE": str(tmp_path / "store")}
    program = [sys.executable, "-c", OPEN_AT_ONCE.format(settings=settings)]
    said = subprocess.run(program, env=env, capture_output=True, text=True, timeout=120)
    assert said.stdout.strip() == "[3, 3, 3, 3]", said.stderr[-2000:]


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_with_the_same_result(own_store, monkeypatch, tmp_path):
    """SIGKILL while a run is under way: finished runs stay, the rest follows, the table is the same."""
    script = textwrap.dedent(f"""
        import sys, torch
        torch.set_num_threads(1)
        from vptlib import Study
        from vptlib.study import runner
        run_cell, made = runner.run_cell, []
        def slow(study, cell, rates):
            made.append(cell)
            if len(made) == 4 and {{stop}}:
                print("HANGING", flush=True)
                while True: pass
            return run_cell(study, cell, rates)
        runner.run_cell = slow
        Study(**{TINY!r}, methods=("linear", "vpt-deep"), sizes=(40, 60), seeds=(0, 1)).run(progress=False)
        print(len(made))
    """)

    def start(stop: bool) -> subprocess.Popen:
        code = script.replace("{stop}", str(stop))
        return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=dict(os.environ))

    killed = start(stop=True)
    assert killed.stdout.readline().strip() == "HANGING"
    time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    before = study().runs()
    assert len(before) == 3 and study().missing()[0] == Cell("vpt-deep", 60, 0)
    resumed = start(stop=False)
    assert resumed.communicate()[0].strip() == "5", "only the five missing runs are made"
    after = study().runs()
    assert list(after.run_id[:3]) == list(before.run_id)

    monkeypatch.setenv("VPTLIB_STORE", str(tmp_path / "untouched"))
    pd.testing.assert_frame_equal(plain(after), plain(study().run(progress=False)))
