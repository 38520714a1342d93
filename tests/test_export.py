"""From a finished report to a model file: which model, what its card says, and what is refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from studies import study
from typer.testing import CliRunner

from vptlib.cli import app
from vptlib.data.tasks import load_task
from vptlib.errors import UserError
from vptlib.operations.artefact import digest_of, load_backbone_of, load_model, read_artefact
from vptlib.operations.export import export, read_report
from vptlib.report import build
from vptlib.study.artefacts import WEIGHTS, artefact
from vptlib.study.plan import Cell
from vptlib.study.published_rules import DONE
from vptlib.study.store import finished_run
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.training import evaluate

LIMITS = {"accuracy": {"at_least": 0.1}}
METHODS = ("linear", "vpt-deep", "full")


def report_of(folder, made, change=lambda summary: summary, asked=None):
    """A report's folder, with the two files that an export reads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text("the report")
    found = build.summary(made, 0.01, {"limits": LIMITS} | (asked or {}))
    (folder / "summary.json").write_text(json.dumps(change(found)))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, empty_database):
    """A finished study of three methods in a store of its own."""
    import os
    import shutil

    folder = tmp_path_factory.mktemp("store")
    shutil.copy(empty_database, folder / "mlflow.db")
    before = os.environ["VPTLIB_STORE"]
    os.environ["VPTLIB_STORE"] = str(folder)
    one = study(methods=METHODS, sizes=(40,), seeds=(0, 1, 2))
    one.run(progress=False)
    yield one
    os.environ["VPTLIB_STORE"] = before


@pytest.mark.parametrize("method", METHODS)
def test_the_exported_model_answers_the_test_images_as_the_study_did(made, tmp_path, method):
    report = read_report(report_of(tmp_path / "r", made))
    written = export(report, tmp_path / "m.vpt", method, seed=1)
    model = load_model(written, load_backbone_of(written))
    again = evaluate(model, made.data(40, 1)[2])
    runs = made.runs()
    row = runs[(runs["method"] == method) & (runs["seed"] == 1)].iloc[0]
    assert np.array_equal(again.predictions, row["predictions"])
    assert np.array_equal(written.answers.predictions[0], row["predictions"])
    assert written.card.results["accuracy"]["value"] == pytest.approx(row["accuracy"])
    assert written.card.results["same_answers_as_in_study"] == 1


def test_methods_that_are_solved_or_trained_until_done_are_exported_too(own_store, tmp_path):
    made = study(
        methods=("linear", "knn", "lp-ft"), sizes=(40,), seeds=(0,), rules=DONE, steps=4, candidates=1, precision="fp32"
    )
    made.run(progress=False)
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "index.html").write_text("the report")
    found = {"task": "digits", "study": build.plan_of(made), "asked": {}, "methods": list(made.methods)}
    found["recommendation"] = {"choice_code": "more_seeds", "method": "linear"}
    (folder / "summary.json").write_text(json.dumps(found))
    runs = made.runs()
    for method in made.methods:
        written = export(read_report(folder), tmp_path / "m.vpt", method)
        load_model(written, load_backbone_of(written))
        row = runs[runs["method"] == method].iloc[0]
        assert np.array_equal(written.answers.predictions[0], row["predictions"])


def test_the_card_says_what_the_study_was(made, tmp_path):
    report = read_report(report_of(tmp_path / "r", made))
    card = export(report, tmp_path / "m.vpt", "vpt-deep").card
    task = load_task("digits")
    assert card.class_names == task.class_names
    assert card.preprocessing == preprocessing(made.build("linear").vit)
    assert card.data["fingerprint"] == task.fingerprint
    assert card.data["test_items"] == made.test_items().tolist()
    assert (card.backbone.name, card.backbone.image_size, card.backbone.depth) == (made.backbone, 14, 1)
    assert (card.recipe["n"], card.recipe["num_prompts"], card.limits) == (40, 2, LIMITS)
    assert card.lineage["report"] == digest_of(tmp_path / "r" / "index.html")
    of_run = finished_run(made, Cell("vpt-deep", 40, card.recipe["seed"])).info.run_id
    assert card.lineage["run_id"] == of_run
    accuracy = card.results["accuracy"]
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert card.results["accuracy_of_method"]["trainings"] == 3


def test_the_seed_is_chosen_on_validation_images_among_those_that_are_kept(made, tmp_path):
    report = read_report(report_of(tmp_path / "r", made))
    runs = made.runs()
    for method in METHODS:
        kept = runs[(runs["method"] == method) & runs["seed"].isin(made.kept_seeds)]
        wanted = int(kept.sort_values(["val_accuracy", "seed"], ascending=[False, True])["seed"].iloc[0])
        assert export(report, tmp_path / "m.vpt", method).card.recipe["seed"] == wanted


def test_the_recommended_method_is_the_default_and_a_report_without_advice_is_named_in_the_card(made, tmp_path):
    def advising(code, method):
        def change(summary):
            return summary | {"recommendation": summary["recommendation"] | {"choice_code": code, "method": method}}

        return change

    used = read_report(report_of(tmp_path / "a", made, advising("fine_tune", "full")))
    asked = read_report(report_of(tmp_path / "b", made, advising("more_seeds", "linear")))
    none = read_report(report_of(tmp_path / "c", made, advising("nothing_works", None)))
    first = export(used, tmp_path / "m.vpt").card
    assert first.method == "full"
    assert "exported_without_advice" not in [found["code"] for found in first.known_limits]
    second = export(asked, tmp_path / "m.vpt").card
    assert second.method == "linear"
    assert second.known_limits[0] == {"code": "exported_without_advice", "choice": "more_seeds"}
    with pytest.raises(UserError, match=r"advises no method .* --method, one of linear, vpt-deep, full"):
        export(none, tmp_path / "m.vpt")
    assert export(none, tmp_path / "m.vpt", "linear").card.method == "linear"


def test_a_threshold_that_the_test_cannot_choose_is_none_and_says_how_many_images_would_do(made, tmp_path):
    report = read_report(report_of(tmp_path / "r", made, asked={"accuracy_needed": 0.99}))
    ask = export(report, tmp_path / "m.vpt", "linear").card.ask
    assert ask["wanted"] == 0.99
    assert ask["threshold"] is None
    assert ask["needed"] > 30


def test_the_same_export_again_is_the_same_file(made, tmp_path):
    report = read_report(report_of(tmp_path / "r", made))
    assert export(report, tmp_path / "a.vpt", "full").digest == export(report, tmp_path / "b.vpt", "full").digest


def test_limits_that_need_images_are_measured_at_the_export(made, tmp_path):
    limits = LIMITS | {"robustness": {"corruption": "blur", "severity": 2, "at_least": 0.05}}
    report = read_report(report_of(tmp_path / "r", made, asked={"limits": limits}))
    assert export(report, tmp_path / "m.vpt", "linear").card.measured["robustness"]


def test_a_model_that_does_not_answer_as_in_its_study_is_not_exported(made, tmp_path):
    report = read_report(report_of(tmp_path / "r", made))
    path = artefact(finished_run(made, Cell("linear", 40, 0)).info.run_id, WEIGHTS)
    kept = path.read_bytes()
    try:
        save_file({name: -tensor for name, tensor in load_file(path).items()}, path)
        with pytest.raises(UserError, match="of the test images as it did in its study"):
            export(report, tmp_path / "m.vpt", "linear", seed=0)
    finally:
        path.write_bytes(kept)
    assert not (tmp_path / "m.vpt").exists()


# ---- what is refused ----------------------------------------------------------------------------------------------


def two_tasks(summary):
    return {"title": "two", "tasks": [summary, summary | {"task": "folder:/somewhere/own photos"}]}


def test_one_of_several_tasks_is_named(made, tmp_path):
    folder = report_of(tmp_path / "r", made, two_tasks)
    with pytest.raises(UserError, match="has 2 tasks: add --task, one of digits, own photos"):
        read_report(folder)
    assert read_report(folder, "digits").found["task"] == "digits"
    assert read_report(folder, "own photos").found["task"] == "folder:/somewhere/own photos"
    with pytest.raises(UserError, match=r"no task 'digit'.*digits"):
        read_report(folder, "digit")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "summary.json").unlink(), "no summary.json"),
        (lambda folder: (folder / "index.html").unlink(), "no index.html"),
        (lambda folder: (folder / "summary.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "summary.json").write_text('{"task": "digits"}'), "of an earlier version"),
    ],
)
def test_a_folder_without_a_whole_report_is_refused(made, tmp_path, spoil, words):
    folder = report_of(tmp_path / "r", made)
    spoil(folder)
    with pytest.raises(UserError, match=words):
        read_report(folder)


def test_methods_seeds_and_stores_that_there_are_not_are_refused(made, tmp_path, monkeypatch):
    report = read_report(report_of(tmp_path / "r", made))
    with pytest.raises(UserError, match="no method 'lora': take one of linear"):
        export(report, tmp_path / "m.vpt", "lora")
    with pytest.raises(UserError, match="seed 2 is not kept: take --seed 0 or 1"):
        export(report, tmp_path / "m.vpt", "linear", 2)
    monkeypatch.setenv("VPTLIB_STORE", str(tmp_path / "other"))
    with pytest.raises(UserError, match="not in this store of runs: set VPTLIB_STORE"):
        export(report, tmp_path / "m.vpt", "linear", 0)


# ---- the command --------------------------------------------------------------------------------------------------


def test_the_command_writes_the_file_and_its_card_and_names_the_next_command(made, tmp_path):
    folder = report_of(tmp_path / "r", made)
    out = tmp_path / "m.vpt"
    done = CliRunner().invoke(app, ["export", str(folder), str(out), "--method", "vpt-deep"])
    assert done.exit_code == 0, done.output
    assert "vpt predict" in done.output
    written = read_artefact(out)
    card = (tmp_path / "m.vpt.md").read_text()
    assert written.digest in card
    assert written.card.backbone.fingerprint in card
    assert "VPT-deep" in card


def test_the_card_is_a_model_card_of_the_hub_that_no_name_can_break(made, tmp_path):
    from dataclasses import replace

    from huggingface_hub import ModelCard

    from vptlib.operations.model_card import model_card
    from vptlib.report.words import in_language

    written = export(read_report(report_of(tmp_path / "r", made)), tmp_path / "m.vpt", "linear")
    bad = replace(written.card, title="a\n---\n# b | <script>", class_names=("x|y", *written.card.class_names[1:]))
    text = str(model_card(replace(written, card=bad), in_language().sentence))
    read = ModelCard(text)
    assert read.data.library_name == "vptlib"
    assert read.data.eval_results[0].metric_value == round(written.card.results["accuracy"]["value"], 4)
    assert "<script>" not in read.text
    assert "x\\|y" in text
