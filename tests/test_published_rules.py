"""The published rules of VTAB-1k: which settings are tried, what trains on what, and the whole report in miniature."""

import json
import math
from dataclasses import replace

import miniature_vtab
import numpy as np
import pandas as pd
import pytest
import torch
from models import bright_and_dark, small_vit
from typer.testing import CliRunner

from vptlib.data.vtab import VTAB_TASKS, expanded, vtab_name
from vptlib.errors import UserError
from vptlib.evidence.published import TASK_NAMES, group_means, vtab1k
from vptlib.paths import store_folder
from vptlib.report import build
from vptlib.report.config import read_config
from vptlib.report.sections import published
from vptlib.report.words.en import sentence
from vptlib.study import runner
from vptlib.study.material import material_of
from vptlib.study.plan import Cell
from vptlib.study.published_rules import Setting, published_recipe, published_settings, steps_of
from vptlib.study.store import run_key
from vptlib.study.study import Study
from vptlib.tuning.training import Diverged, Recipe, evaluate, fit

# ---- the grids --------------------------------------------------------------------------------------------------


def test_the_published_grids_are_whole():
    deep, full = published_settings("vpt-deep", 64, "all"), published_settings("full", 64, "all")
    assert (len(deep), len(full), len(published_settings("linear", 64, "all"))) == (240, 16, 40)
    assert len(set(deep)) == 240
    assert {s.num_prompts for s in deep} == {1, 5, 10, 50, 100, 200} and {s.num_prompts for s in full} == {None}
    assert {s.weight_decay for s in full} == {0.01, 0.001, 0.0001, 0.0}
    assert max(s.learning_rate for s in deep) == 50 * 64 / 256
    assert {s.learning_rate for s in published_settings("full", 256, "all")} == {1e-3, 1e-4, 5e-4, 5e-3}


def test_a_smaller_budget_is_the_beginning_of_a_larger_one_and_equal_for_all():
    for method in ("linear", "vpt-shallow", "vpt-deep", "full"):
        sixteen = published_settings(method, 64, 16)
        assert len(sixteen) == 16 and sixteen[:5] == published_settings(method, 64, 5)


def test_the_number_of_settings_tried_is_stated():
    ours = Study("digits", methods=("vpt-deep", "full"), rules="vtab-1k", batch_size=64, candidates=16)
    same = ours.protocol()["tuning"]
    assert same.values["settings"] == {"vpt-deep": 16, "full": 16} and not same.values["whole_grid"]
    assert "16 for every method, the first of an order drawn once" in sentence(same)
    all_there_are = replace(ours, candidates="all").protocol()["tuning"]
    assert all_there_are.values["settings"] == {"vpt-deep": 240, "full": 16} and all_there_are.values["whole_grid"]
    assert "VPT-deep 240, Full fine-tuning 16" in sentence(all_there_are)


def test_passes_become_steps():
    assert steps_of(800, 100, 64) == 1250 and steps_of(1000, 100, 64) == math.ceil(100_000 / 64)
    assert steps_of(10, 3, 64) == 3, "a step never holds more images than there are"
    recipe = published_recipe("vpt-deep", Setting(2.5, 0.01, 50), 800, 100, 64, seed=1)
    assert (recipe.optimiser, recipe.warmup, recipe.evaluation_steps) == ("sgd", 0.1, {1250})
    assert published_recipe("full", Setting(1e-4, 0.0, None), 800, 100, 64, seed=1).optimiser == "adamw"


# ---- SGD --------------------------------------------------------------------------------------------------------


def test_sgd_is_that_of_the_equations():
    """Three steps on one batch, worked out by hand: momentum 0.9, decay on prompts and head weight, not on the bias."""
    from vptlib.tuning.methods import build_method

    data = bright_and_dark(4)
    model = build_method("vpt-deep", small_vit(), 2, num_prompts=3)
    torch.nn.init.normal_(model.head.bias)
    recipe = Recipe(0.1, steps=3, batch_size=4, weight_decay=0.1, warmup=0.0, optimiser="sgd")
    now = {name: t.clone() for name, t in model.trained_state().items()}
    speed = {name: torch.zeros_like(t) for name, t in now.items()}
    by_hand = build_method("vpt-deep", small_vit(), 2, num_prompts=3)
    by_hand.load_state_dict(model.state_dict())
    by_hand.train()
    for step in range(3):
        by_hand.zero_grad()
        torch.nn.functional.cross_entropy(by_hand(data.tensors[0]), data.tensors[1]).backward()
        for name, parameter in by_hand.named_parameters():
            if name in now:
                decay = 0.0 if name.endswith("bias") else 0.1
                speed[name] = 0.9 * speed[name] + parameter.grad + decay * parameter.detach()
                parameter.data -= recipe.rate_at(step) * speed[name]
    fit(model, data, None, recipe)
    for name, tensor in by_hand.trained_state().items():
        torch.testing.assert_close(model.trained_state()[name], tensor, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(tensor, now[name])


def test_an_unknown_optimiser_is_named():
    with pytest.raises(UserError, match=r"optimiser is 'lion', but must be one of adamw, sgd"):
        Recipe(0.1, optimiser="lion")


# ---- a study ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    """The folder of a miniature, made once."""
    folder = tmp_path_factory.mktemp("miniature")
    miniature_vtab.make_report(folder)
    return folder


def study(folder, name="dtd", **changes) -> Study:
    config = read_config(folder / "miniature.yaml")
    settings = config.study_settings | {"methods": ["vpt-deep", "full"]} | changes
    return Study(task=f"vtab:{folder / 'vtab-1k' / name}", **settings)


def test_keys_of_equal_budgets_are_those_of_earlier_versions():
    """Runs in the stores of users stay valid. These keys are from the version before there were published rules."""
    ours = Study("digits", image_size=14, depth=1, rules="equal budget")
    assert run_key(ours, Cell("vpt-deep", 50, 0)) == "c56e31fe364784f0e40a0c47dac7a91e"
    assert run_key(ours, Cell("full", 150, 0)) == "287fc7337f6274966f20c587de86e6cf"


@pytest.mark.usefixtures("own_store", "own_cache")
def test_settings_are_chosen_on_200_and_all_1000_train_in_the_end(miniature, monkeypatch):
    fits = []
    plain = runner.fit
    monkeypatch.setattr(runner, "fit", lambda m, *a: fits.append((m, *a)) or plain(m, *a))
    ours = study(miniature)
    runs = ours.run(progress=False)
    assert len(runs) == 4
    of_deep = [call for call in fits if call[0].method == "vpt-deep"]
    sizes = [(len(train), None if val is None else len(val)) for _, train, val, *_ in of_deep]
    assert sizes == [(40, 10), (40, 10), (50, None), (50, None)], "two settings, then a final run for each seed"
    tried = published_settings("vpt-deep", 20, 2)
    assert [m.net.prompts.shape[1] for m, *_ in of_deep[:2]] == [s.num_prompts for s in tried]
    assert {m.net.dropout.p for m, *_ in of_deep} == {0.1}
    assert {call[3].optimiser for call in of_deep} == {"sgd"}
    chosen = runs[runs.method == "vpt-deep"]
    assert len({(r.learning_rate, r.weight_decay, r.num_prompts) for r in chosen.itertuples()}) == 1
    assert chosen.val_accuracy.nunique() == 1
    assert ours.history("vpt-deep", 50, 44).val_steps == [], "nothing is looked at in the final run"
    found = evaluate(ours.model("vpt-deep"), ours.data(50, 42)[2])
    assert found.predictions.tolist() == chosen.predictions.iloc[0].tolist()
    assert not list((store_folder() / "checkpoints").iterdir())
    assert ours.run(progress=False).run_id.tolist() == runs.run_id.tolist(), "finished runs are not repeated"


def test_the_lists_of_the_task_are_followed_as_they_are(miniature):
    task = material_of(study(miniature)).task
    train, val, _ = material_of(study(miniature)).parts(50, 0, study(miniature).conditions, "vtab-1k")
    assert train.tolist() == list(range(40)) and val.tolist() == list(range(40, 50))
    assert task.train.source.paths[val[0]].parent.name == "val"
    tuning = study(miniature).protocol()["tuning"]
    assert tuning.values["official_split"] and "val200.txt" in sentence(tuning)
    assert study(miniature).test_items().tolist() == list(range(24))


def test_without_val200_a_fifth_is_set_aside(tmp_path):
    root = miniature_vtab.make_tree(tmp_path / "vtab-1k")
    miniature_vtab.make_backbone(tmp_path / "tiny.safetensors")
    (root / "dtd" / "val200.txt").unlink()
    ours = Study(
        f"vtab:{root / 'dtd'}",
        methods=("vpt-deep", "full"),
        sizes=(50,),
        rules="vtab-1k",
        backbone=f"file:{tmp_path / 'tiny.safetensors'}@{miniature_vtab.ARCHITECTURE}",
        test_images="all",
    )
    train, val, _ = material_of(ours).parts(50, 0, ours.conditions, ours.rules)
    assert sorted([*train, *val]) == list(range(50)) and 0 < len(val) <= 10 and val.tolist() != list(range(40, 50))
    tuning = ours.protocol()["tuning"]
    assert not tuning.values["official_split"] and "a fifth, stratified" in sentence(tuning)


@pytest.mark.usefixtures("own_store", "own_cache")
def test_stopped_while_tuning_it_does_not_try_again_what_was_tried(miniature, monkeypatch):
    plain, fits = runner.fit, []

    def stop_at_second(*arguments):
        fits.append(1)
        if len(fits) == 2:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(runner, "fit", stop_at_second)
    ours = study(miniature, seeds=(42,))
    with pytest.raises(KeyboardInterrupt):
        ours.run(progress=False)
    ours.run(progress=False)
    assert len(fits) == 2 + 2 + 3, "of vpt-deep one setting and the final run remained; full has two and its final run"


@pytest.mark.usefixtures("own_store", "own_cache")
def test_what_diverges_counts(miniature, monkeypatch):
    """A diverged setting is not chosen. A diverged final run is still a run. If all diverge, the sentence states it."""
    plain = runner.fit
    worst = published_settings("full", 20, 2)[0]

    def fails(model, train, val, recipe, *rest):
        if recipe.learning_rate == worst.learning_rate and recipe.weight_decay == worst.weight_decay:
            raise Diverged("training diverged")
        if val is None:
            for tensor in model.trained_state().values():
                tensor.fill_(math.nan)
            raise Diverged("training diverged")
        return plain(model, train, val, recipe, *rest)

    monkeypatch.setattr(runner, "fit", fails)
    ours = study(miniature, methods=("full",), seeds=(42,))
    row = ours.run(progress=False).iloc[0]
    assert row.learning_rate == published_settings("full", 20, 2)[1].learning_rate
    assert len(set(row.predictions)) == 1 and row.accuracy == pytest.approx(np.mean(row.correct))

    def always(*_):
        raise Diverged("training diverged")

    monkeypatch.setattr(runner, "fit", always)
    with pytest.raises(Diverged):
        study(miniature, methods=("full",), seeds=(5,)).run(progress=False)


# ---- all 19 -----------------------------------------------------------------------------------------------------


def test_the_root_stands_for_all_19_in_the_order_of_the_papers(miniature):
    config = read_config(miniature / "miniature.yaml")
    assert [vtab_name(task) for task in config.settings.tasks] == list(TASK_NAMES.values()) == list(VTAB_TASKS)
    assert expanded("vtab:/x/dtd") == ["vtab:/x/dtd"] and expanded("folder:/x") == ["folder:/x"]
    assert vtab_name("fashion-mnist") is None and vtab_name("folder:/x/dtd") is None


def test_missing_folders_are_named_all_at_once(miniature, tmp_path):
    for name in VTAB_TASKS:
        if name not in ("dtd", "kitti"):
            (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=r"but lacks dtd, kitti: add them, or list the tasks"):
        expanded(f"vtab:{tmp_path}")


def test_a_validation_list_that_does_not_fit_is_named(tmp_path):
    root = miniature_vtab.make_tree(tmp_path)
    from vptlib.data.vtab import read_vtab

    (root / "dtd" / "val200.txt").write_text("images/test/000000.jpg 0\n")
    with pytest.raises(UserError, match=r"val200\.txt names .*000000\.jpg, which train800val200\.txt does not"):
        read_vtab(root / "dtd")
    (root / "dtd" / "val200.txt").write_text((root / "dtd" / "train800val200.txt").read_text())
    with pytest.raises(UserError, match="sets all training images aside"):
        read_vtab(root / "dtd")


def test_the_committed_configuration_is_the_published_setting(miniature, monkeypatch):
    path = build.repository() / "reports" / "configs" / "vtab1k.yaml"
    text = path.read_text().replace("vtab:/data/vtab-1k", f"vtab:{miniature / 'vtab-1k'}")
    (miniature / "committed.yaml").write_text(text)
    first = read_config(miniature / "committed.yaml").studies()[0]
    assert (first.rules, first.candidates, first.test_images) == ("vtab-1k", "all", "all")
    assert (first.sizes, len(first.seeds), first.epochs, first.image_size) == ((1000,), 5, 100, 224)
    assert first.backbone == published.PUBLISHED_BACKBONE


# ---- next to the published figures ------------------------------------------------------------------------------


class Finished:
    """A finished study of one VTAB task with invented runs: VPT right on all, full on none."""

    seeds, sizes = (0, 1), (1000,)

    def __init__(self, name: str):
        self.task = f"vtab:/x/{name}"

    def runs(self) -> pd.DataFrame:
        return pd.DataFrame(
            [
                {"method": m, "n": 1000, "seed": s, "accuracy": float(right), "correct": np.full(40, right)}
                for m, right in (("vpt-deep", True), ("full", False))
                for s in self.seeds
            ]
        )


def test_the_table_holds_our_figures_and_the_printed_ones():
    table = published.comparison([Finished(name) for name in reversed(VTAB_TASKS)])
    assert table["task", ""].tolist() == list(VTAB_TASKS), "in the order of the papers, not of the report"
    assert (table["Ours", "vpt"] == 100).all() and (table["Ours", "full"] == 0).all() and table["Ours", "clear"].all()
    printed = vtab1k().set_index(["method", "task"])["top1"]
    assert table["Jia et al.", "vpt"].tolist() == [printed["VPT-deep", name] for name in VTAB_TASKS]
    assert table["Han et al.", "full"].tolist() == [printed["Elephant FT", name] for name in VTAB_TASKS]
    average, theirs = published.means(table), group_means(vtab1k())
    for row in ("natural", "specialised", "structured", "mean_of_tasks", "mean_of_groups"):
        assert average.loc[row, ("Jia et al.", "full")] == pytest.approx(theirs.loc["Full", row])
        assert average.loc[row, ("Ours", "vpt")] == 100
    assert "VPT +100.0" in published.comparison_table(table, 2).data
    assert "19 of 19" in published.comparison_table(table, 2).data
    assert "CIFAR-100, \u221268.9" in published.reproduction(table.iloc[:1])


def test_a_few_tasks_are_compared_over_the_same_few():
    table = published.comparison([Finished("dtd"), Finished("kitti")])
    average = published.means(table)
    assert "specialised" not in average.index
    assert average.loc["mean_of_tasks", ("Jia et al.", "full")] == pytest.approx(table["Jia et al.", "full"].mean())


def test_nothing_is_shown_of_other_tasks():
    assert published.beside_published([Study("digits", image_size=14, depth=1)]) == []


def test_what_is_not_as_published_is_stated(miniature):
    said = published.departures([study(miniature)])
    assert "first 2 blocks" in said["Backbone"] and "orig_in21k" in said["Backbone"]
    assert "32 px" in said["Image size"] and "24 of 1,880" in said["Test images"]
    assert "50 with labels" in said["Training images"] and "2. In the papers" in said["Seeds"]
    assert "2 settings" in said["Tuning"] and "images: 1. In" in said["Training"] and "1 of 19" in said["Tasks"]
    equal = study(miniature, rules="equal budget")
    assert "equal, small tuning budget" in published.departures([equal])["Rules"]


@pytest.mark.slow
@pytest.mark.usefixtures("own_store", "own_cache")
def test_the_whole_experiment_in_miniature(miniature, monkeypatch, tmp_path):
    """`vpt report`, all 19 tasks. The notebooks of single tasks are the same notebook: one is executed."""
    from vptlib.cli import app

    executed = {"report_overview.ipynb", "report_sun397.ipynb"}
    run = build.run_notebook

    def some(kernel, name, parameters, target):
        if target.name in executed:
            run(kernel, name, parameters, target)
        else:
            target.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')

    monkeypatch.setattr(build, "run_notebook", some)
    done = CliRunner().invoke(app, ["report", str(miniature / "miniature.yaml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    tasks = json.loads((tmp_path / "out" / "summary.json").read_text())["tasks"]
    assert len(tasks) == 19 and {task["runs"] for task in tasks} == {6}
    assert {task["group"] for task in tasks} == {"natural", "specialised", "structured"}
    page = (tmp_path / "out" / "index.html").read_text()
    lines = page.split('class="table grouped"')[1].split("</table>")[0].split("<tr")[3:]
    assert len(lines) == 19 + 3 + 3
    names = [*TASK_NAMES, "Mean of 19 tasks", "Mean of 3 groups", "Mean of 8 structured"]
    assert all(f">{name}</th>" in page for name in names)
    filled = [line.count("<td") - line.count("></td>") for line in lines[:-1]]
    assert set(filled) == {9} and "nan" not in "".join(lines)
    assert "What is not as in the papers" in page and "val200.txt" in page
