"""The examination of a real, tiny study; its checklist, figures and widget."""

import base64
import io
import shutil
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from matplotlib import pyplot as plt
from matplotlib.text import Text
from PIL import Image
from test_charts import texts

from vptlib.course.widgets.explanations import explanation_picker
from vptlib.data.preparing import prepare
from vptlib.data.tasks import load_task
from vptlib.explanations import checklist as checklist_module
from vptlib.explanations.checklist import (
    DRAWS,
    FEW,
    NO,
    OPEN,
    YES,
    cascade_table,
    checklist,
    examine,
    faithfulness_table,
)
from vptlib.explanations.checks import Finding
from vptlib.explanations.maps import EXPLANATIONS, explain
from vptlib.explanations.similarity import likeness
from vptlib.report.explanation_charts import (
    attention_figure,
    cascade_figure,
    faithfulness_figure,
    map_table,
    one_map,
    prompt_figure,
)
from vptlib.report.sections.explained import explainability
from vptlib.report.words.en import QUESTIONS, VERDICTS, sentence
from vptlib.statement import statement
from vptlib.study.published_rules import EQUAL
from vptlib.study.study import Study
from vptlib.tuning.backbones import preprocessing

SETTINGS = dict(
    methods=("vpt-deep", "full"),
    sizes=(40,),
    image_size=28,
    depth=2,
    rules=EQUAL,
    steps=2,
    candidates=1,
    test_images=30,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, empty_database):
    """A finished study and its examination, made once."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(empty_database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VPTLIB_STORE", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        study = Study("dsprites-location", **SETTINGS)
        runs = study.run(progress=False).set_index("method")
        models = {method: study.model(method) for method in study.methods}
        lines: list[str] = []
        yield study, runs, models, examine(study, images=6, progress=lines.append), lines


def test_the_sample_is_drawn_at_random_from_all_test_images(made):
    study, _, _, found, lines = made
    assert len(set(found.items)) == 6 and found.items.max() < 30
    expected = np.sort(np.random.default_rng(0).permutation(30)[:6])
    np.testing.assert_array_equal(found.items, expected)
    assert lines == ["looking into vpt-deep", "looking into full"]
    assert study.test_items().shape == (30,)


def test_an_examination_is_stored_for_the_same_runs_and_draw(made, monkeypatch, tmp_path):
    study, calls = made[0], []
    monkeypatch.setattr(checklist_module, "store_folder", lambda: tmp_path)
    monkeypatch.setattr(checklist_module, "examine", lambda study, seed: calls.append(seed) or f"drawn by {seed}")
    found = [checklist_module.examine_once(study, seed) for seed in (0, 0, 5)]
    assert found == ["drawn by 0", "drawn by 0", "drawn by 5"] and calls == [0, 5]
    monkeypatch.setattr(Study, "runs", lambda self: made[1].reset_index().assign(run_id="another"))
    checklist_module.examine_once(study, 0)
    assert calls == [0, 5, 0]


def test_every_kind_of_map_has_every_check(made):
    *_, found, _ = made
    checks = ["differences", "faithful", "pointing", "energy", "repeats itself", "depends on the model"]
    checks.append("other kinds of map")  # and no second run, because there is one seed
    for method, look in found.looks.items():
        assert list(look.maps) == list(EXPLANATIONS)
        assert all(maps.shape == (6, 28, 28) for maps in look.maps.values())
        assert all([f.check for f in findings] == checks for findings in look.findings.values())
        assert set(look.gaps) == {*EXPLANATIONS, "random", "centre"}
        assert look.distances.shape == found.frozen_distances.shape == (2, 6)
        assert look.likeness.shape == (len(EXPLANATIONS), len(EXPLANATIONS))
        assert (look.prompts is None) == (method == "full")
        assert list(look.cascade) == ["gradcam"]
        assert list(look.cascade["gradcam"]) == ["head", "block 2", "block 1", "input"]
        assert all(alike.shape == (DRAWS, min(FEW, 6)) for alike in look.cascade["gradcam"].values())
    assert found.looks["vpt-deep"].prompts.shape == (2, 10)
    assert found.looks["vpt-deep"].prompt_shares.min() > 0 and found.looks["full"].prompt_shares.max() == 0
    assert found.object_known


def test_table_has_the_baselines_and_its_intervals_hold_the_mean(made):
    *_, found, _ = made
    table = faithfulness_table(found)
    assert len(table) == 2 * (len(EXPLANATIONS) + 2)
    assert ((table["low"] <= table["mean"]) & (table["mean"] <= table["high"])).all()


# ---- the checklist ----------------------------------------------------------------------------------------------


def test_checklist_has_a_reason_for_every_model(made):
    *_, found, _ = made
    rows = checklist(found)
    assert len(rows) == 9
    for row in rows:
        assert set(row.answers) == {"vpt-deep", "full"}
        assert all(len(sentence(found)) > 10 for found in row.answers.values())
    assert [row.question for row in rows] == list(QUESTIONS)
    assert {row.verdict for row in rows} <= set(VERDICTS) == {YES, NO, OPEN}
    assert rows[-1].verdict == OPEN  # one seed shows nothing about others


def test_with_two_seeds_the_maps_of_both_runs_are_compared(made):
    study, *_ = made
    both = replace(study, seeds=(0, 1))
    both.run(progress=False)
    found = examine(both, images=6, kinds=("gradcam", "rollout"))
    for method, look in found.looks.items():
        second = both.model(method, seed=1)
        pictures = both.data(40, 0)[2].tensors[0][found.items]
        with torch.no_grad():
            predicted = both.model(method)(pictures).argmax(dim=1)
        expected = likeness(look.maps["rollout"], explain(second, pictures, predicted, "rollout"), (2, 2))
        np.testing.assert_allclose(look.second_run["rollout"], expected)
    rows = {kind: checklist(found, kind)[-1] for kind in ("gradcam", "rollout")}
    assert all(row.answers["full"].values["check"] == "another training run" for row in rows.values())
    assert set(cascade_table(found)["kind"]) <= {"gradcam"}


def finding(check: str, passed: bool | None) -> Finding:
    return Finding(check, 0.1, 0.0, 0.2, 0.0, passed, statement("object_unknown"))


@pytest.mark.parametrize("passed, verdict", [((True, True), YES), ((True, False), NO), ((True, None), OPEN)])
def test_maps_are_the_same_in_another_run_if_they_are_for_both_methods(made, passed, verdict, monkeypatch):
    *_, found, _ = made
    for look, of_model in zip(found.looks.values(), passed, strict=True):
        monkeypatch.setitem(look.findings, "gradcam", [finding("another training run", of_model)])
    assert checklist(found)[-1].verdict == verdict


def test_what_could_not_be_checked_has_its_reason(made, monkeypatch):
    *_, found, _ = made
    for look in found.looks.values():
        monkeypatch.setitem(look.findings, "gradcam", [])
    rows = {row.question: row for row in checklist(found)}
    codes = {question: {answer.code for answer in row.answers.values()} for question, row in rows.items()}
    assert codes["map points at the object"] == {"object_unknown"}
    assert codes["other kinds of map agree"] == {"one_kind_examined"}
    assert codes["another run gives the same maps"] == {"one_model_examined"}


@pytest.mark.parametrize(
    "passed, verdict",
    [((True, True), YES), ((True, False), NO), ((None, True), OPEN), ((None, False), NO)],
)
def test_a_verdict_follows_from_both_models(made, passed, verdict, monkeypatch):
    *_, found, _ = made
    for look, of_model in zip(found.looks.values(), passed, strict=True):
        monkeypatch.setitem(look.findings, "gradcam", [finding("faithful", of_model)])
    rows = {row.question: row for row in checklist(found)}
    assert rows["answer depends on the map"].verdict == verdict
    assert rows["map points at the object"].verdict == OPEN  # the planted findings do not have it


def test_a_lead_needs_an_interval(made, monkeypatch):
    *_, found, _ = made
    ahead, behind = found.looks.values()

    def row():
        return next(row for row in checklist(found) if row.question == "one model is more faithful")

    monkeypatch.setitem(ahead.gaps, "gradcam", np.full(6, 0.5))
    monkeypatch.setitem(behind.gaps, "gradcam", np.full(6, 0.1))
    assert row().verdict == YES and row().answers["full"].values["method"] == "vpt-deep"
    monkeypatch.setitem(behind.gaps, "gradcam", np.array([0.0, 1, 0, 1, 0.9, 0.2]))
    assert row().verdict == OPEN
    unsure = row().answers["full"]
    assert unsure.code == "model_leads" and unsure.values["method"] is None and unsure.values["needed"] > 6


LEAD = {"value": 0.5, "of_baseline": 0.12, "images": 20, "needed": None}
ALIKE = {"value": 0.93, "low": 0.9, "high": 0.95, "needed": None, "similarity": 0.94, "of_other_images": 0.08}
OTHER = ALIKE | {"value": 0.04, "low": -0.2, "high": 0.2, "same": False}
WORDS = [
    ("maps_mark", {"share": 0.9, "enough": True}, "90% of the maps mark some place"),
    ("maps_mark", {"share": 0.8, "enough": False}, "80% of the maps mark some place: maps without differences tell"),
    ("map_against_baseline", LEAD | {"check": "faithful", "baseline": "centre", "leads": True}, "0.12: it leads"),
    ("map_against_baseline", LEAD | {"check": "faithful", "baseline": "random", "leads": False}, "it is behind"),
    (
        "map_against_baseline",
        LEAD | {"check": "pointing", "baseline": "even", "leads": None, "needed": 44},
        "even map 12%: 20 images are too few to tell; about 44 would settle it",
    ),
    (
        "map_against_baseline",
        LEAD | {"check": "pointing", "baseline": "even", "leads": None},
        "not decided, and more images would hardly change that",
    ),
    ("map_against_baseline", LEAD | {"check": "energy", "baseline": "even", "leads": True}, "even map 12%: it leads"),
    (
        "maps_compared",
        ALIKE | {"check": "depends on the model", "same": True},
        "maps 0.93 (95\u202f% interval 0.90 to 0.95; rank correlation 0.94, by chance 0.08): hardly changes",
    ),
    ("maps_compared", OTHER | {"check": "depends on the model"}, "0.08): changes with the model"),
    (
        "maps_compared",
        OTHER | {"check": "depends on the model", "low": 0.01},
        "changes with the model, but a part stays",
    ),
    ("maps_compared", ALIKE | {"check": "depends on the model", "same": None, "needed": 230}, "about 230 would settle"),
    ("maps_compared", ALIKE | {"check": "another training run", "same": True}, "much the same"),
    ("maps_compared", OTHER | {"check": "another training run"}, "marks other places"),
    ("maps_compared", ALIKE | {"check": "repeats itself", "same": True}, "it follows the image"),
    ("maps_compared", OTHER | {"check": "repeats itself"}, "a little noise gives another map"),
    ("maps_compared", ALIKE | {"check": "other kinds of map", "same": True}, "tell the same story"),
    ("maps_compared", OTHER | {"check": "other kinds of map"}, "tell other stories"),
    ("maps_not_compared", {"check": "depends on the model", "compared": 2, "maps": 6}, "only 2 of 6 maps"),
    ("map_not_repeated", {"check": "depends on the model", "repeats": False}, "the map does not repeat itself"),
    ("map_not_repeated", {"check": "another training run", "repeats": None}, "is not known to repeat itself"),
    ("repeat_unknown", {}, "no maps of slightly changed images"),
    ("same_for_every_image", {"similarity": 0.99}, "0.99: the same map for every image"),
    ("object_unknown", {}, "this task does not give"),
    ("one_kind_examined", {}, "one kind of map"),
    ("shares_off_by", {"error": 0.091, "allowed": 0.1}, "off by 9.1% of the change in the logit on average (10%"),
    ("faithfulness_differs_by", {"difference": -0.7, "low": -0.71, "high": 0.7}, "interval \u22120.71 to +0.70"),
    ("model_leads", {"method": "full", "images": 20, "needed": None}, "Full fine-tuning leads"),
    ("model_leads", {"method": None, "images": 20, "needed": 140}, "20 images are too few to tell; about 140"),
    ("one_model_examined", {}, "one model examined"),
]


@pytest.mark.parametrize("code, values, text", WORDS)
def test_each_finding_has_its_sentence(code, values, text):
    assert text in sentence(statement(code, **values))


def test_the_report_shows_the_checklist_in_words(made):
    *_, found, _ = made
    html = explainability(checklist(found), 6).data
    assert "from 6 test images drawn at random" in html and "1806.10758" in html
    assert html.count('<th scope="row"') == 9 and "<b>VPT-deep</b>" in html and "<b>Full fine-tuning</b>" in html


# ---- figures ----------------------------------------------------------------------------------------------------


PLANTED_CASCADE = pd.DataFrame(
    [
        (method, "gradcam", step, height * left, height * left - 0.1, height * left + 0.1)
        for method, height in (("vpt-deep", 0.9), ("full", 0.8))
        for step, left in zip(["head", "block 12", "block 9", "block 6", "block 4", "block 1", "input"],
                              [0.8, 0.6, 0.5, 0.2, 0.1, 0.05, -0.2], strict=True)
    ],
    columns=["method", "kind", "step", "mean", "low", "high"],
)  # fmt: skip


def test_the_cascade_is_in_the_table_in_order(made):
    *_, found, _ = made
    table = cascade_table(found)
    for _, rows in table.groupby("method"):
        assert list(rows["step"]) == ["head", "block 2", "block 1", "input"]
        known = rows.dropna()
        assert ((known["low"] <= known["mean"]) & (known["mean"] <= known["high"])).all()


def figures(made) -> dict:
    study, runs, _, found, _ = made
    task = load_task("dsprites-location")
    items = found.items[:2]
    pictures = task.test.select(study.test_items()[items])
    return {
        "faithfulness": faithfulness_figure(faithfulness_table(found)),
        "attention": attention_figure(found),
        "cascade": cascade_figure(PLANTED_CASCADE),
        "prompts": prompt_figure(found.looks["vpt-deep"].prompts),
        "maps": map_table(
            pictures.images,
            [f"a class with a rather long name, number {number}" for number in range(16)],
            pictures.labels,
            {method: runs.loc[method, "predictions"][items] for method in found.looks},
            {method: look.maps for method, look in found.looks.items()},
            {method: look.gaps for method, look in found.looks.items()},
        ),
    }


@pytest.mark.parametrize("name", ["faithfulness", "attention", "cascade", "prompts", "maps"])
def test_nothing_is_clipped_and_no_text_covers_another(made, name):
    figure = figures(made)[name]
    assert plt.get_fignums() == []
    boxes = texts(figure)
    assert len(boxes) > 8
    for text, box in boxes:
        assert box.x0 >= -0.5 and box.y0 >= -0.5, text
        assert box.x1 <= figure.bbox.width + 0.5 and box.y1 <= figure.bbox.height + 0.5, text
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, f"{one!r} overlaps {other!r}"
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert len(file.getvalue()) < 150_000


def test_each_map_has_its_title_and_its_number(made):
    *_, found, _ = made
    shown = [text.get_text() for text in figures(made)["maps"].findobj(Text)]
    for look in found.looks.values():
        for kind, row in EXPLANATIONS.items():
            assert row.title in [text.replace("\n", " ") for text in shown]
            assert f"{look.gaps[kind][0]:+.2f}".replace("-", "\u2212") in shown


def test_one_map_goes_from_the_picture_to_the_map():
    picture, of_picture = np.full((28, 28, 3), 200, np.uint8), np.eye(28, dtype=np.float32)
    plain, coloured = (np.asarray(Image.open(io.BytesIO(one_map(picture, of_picture, o)))) for o in (0.0, 1.0))
    assert plain.shape == coloured.shape == (320, 320, 3)
    assert np.ptp(plain.astype(int), axis=-1).max() == 0 and np.ptp(coloured.astype(int), axis=-1).max() > 100


# ---- the widget -------------------------------------------------------------------------------------------------


@pytest.fixture
def picker(made):
    study, _, models, _, _ = made
    task = load_task("dsprites-location")
    shown = task.test.select(study.test_items()[:5])
    images = prepare(shown, preprocessing(models["full"].vit)).tensors[0]
    return explanation_picker(models, shown.images, images, shown.labels, task.class_names, steps=4)


def controls(box) -> dict:
    return {control.description: control for control in box.children[0].children}


def picture(box) -> bytes:
    return box.children[1].children[0].value


def test_without_a_kernel_there_is_a_picture(picker):
    bundle = DisplayFormatter().format(picker)[0]
    still = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert still.size[0] > 100 and bundle["text/plain"].startswith("Predicted: ")
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_every_control_changes_the_picture(picker):
    found = controls(picker)
    assert set(found) == {"Image", "Model", "Method", "Layer", "Class", "Opacity"}
    changes = {"Image": 1, "Method": "rollout", "Model": "full", "Opacity": 0.0}
    for name, value in changes.items():
        before = picture(picker)
        found[name].value = value
        assert picture(picker) != before, name
    found["Opacity"].value = 0.6
    found["Method"].value = "gradcam"
    seen = set()
    for number in range(16):
        found["Class"].value = number
        seen.add(picture(picker))
    assert len(seen) > 4
    assert "Predicted:" in picker.children[1].children[1].value


def test_prompts_have_layers_and_full_fine_tuning_has_none(picker):
    found = controls(picker)
    found["Method"].value = "prompts"
    assert not found["Layer"].disabled and found["Layer"].max == 2
    before = picture(picker)
    found["Layer"].value = 2
    assert picture(picker) != before
    found["Model"].value = "full"
    assert "no prompts" in picker.children[1].children[1].value and picture(picker) == b""
    found["Method"].value = "attention"
    assert found["Layer"].disabled and picture(picker)
