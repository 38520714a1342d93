"""The part for quality departments: a row is empty exactly where nothing was done, and nothing claims conformity."""

import re
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pictures import class_folders
from planted import planted_runs

from vptlib.data.conditions import Conditions
from vptlib.data.preparing import ImageSet
from vptlib.data.tasks import Task, load_task
from vptlib.evidence.audit import audit
from vptlib.evidence.decision import recommend
from vptlib.evidence.limits import read_limits
from vptlib.evidence.recommendation import MORE_TEST_IMAGES, NO_ANSWER, NOTHING_WORKS
from vptlib.report import quality_facts
from vptlib.report.quality_facts import Done, facts_of
from vptlib.report.quality_map import AIST, BUSINESS, BY_CLASS, BY_GROUP, GUIDELINES, JIS, PLANT
from vptlib.report.sections import quality
from vptlib.report.sections.layers import LAYERS, layer_anchor
from vptlib.report.sections.quality import DONE, NOT_DONE, OPEN, checklists, disclaimer, done_for, quality_part
from vptlib.report.words import speaking, words

CLAIMS = re.compile(r"適合|準拠|\bconform\w*|\bcompl(?:y|ies|iant|iance)\b", re.I)
CLASSES = ("good", "scratch", "dent")
IMAGES = 300
TRUTH = np.arange(IMAGES) % 3
LIMITS = {"miss_rate": {"class": "scratch", "at_most": 0.4}, "accuracy": {"at_least": 0.5}}
GATES = {"latency": {"at_most": 50}}
BLUR = {"corruption": "blur", "severity": 2}


@dataclass
class Study:
    """What the part asks of a study, with planted runs."""

    table: pd.DataFrame
    task: str = "planted"
    backbone: str = "dinov2-small-focus"
    conditions: Conditions = field(default_factory=Conditions)
    left: list = field(default_factory=list)

    def missing(self):
        return self.left

    def runs(self):
        return self.table

    def under(self, **conditions):
        harder = Conditions(**conditions)
        return replace(self, conditions=harder, left=["a run"] if harder.label_noise else [])


def planted_study(seeds=3, lots=False, **options) -> Any:
    """Three classes of a hundred test images each, in lots of ten or in none; VPT-deep gets 90 % of them right."""
    return Study(planted_table(seeds, lots), **options)


@cache
def planted_table(seeds, lots) -> pd.DataFrame:
    groups = np.arange(IMAGES) // 10 if lots else None
    truth = {"vpt-deep": {200: 0.8, 400: 0.9}, "full": {200: 0.7, 400: 0.75}}
    runs = planted_runs(truth, seeds=seeds, images=IMAGES)
    runs["predictions"] = [np.where(correct, TRUTH, (TRUTH + 1) % 3) for correct in runs["correct"]]
    columns = {"truth": [TRUTH] * len(runs), "test_groups": [groups] * len(runs)}
    audited = {"last_step": 48, "stopped": "done", "tried": [{"0.001": 0.8}] * len(runs)}
    return runs.assign(**columns, **audited)


@cache
def advice_on(seeds, lots):
    return recommend(planted_table(seeds, lots))


def advice_for(study):
    grouped = study.table["test_groups"].iloc[0] is not None
    return advice_on(study.table["seed"].nunique(), grouped)


@pytest.fixture(autouse=True)
def task(monkeypatch):
    """Images in memory, without groups; a test may change it by `give`."""
    images = ImageSet(np.zeros((6, 2, 2, 3), np.uint8), np.arange(6) % 3)
    made = Task("planted", "Planted", images, images, CLASSES, "own images", "classification", "MIT", "the <works>")
    give = lambda changed: monkeypatch.setattr(quality_facts, "told_task", lambda name: changed)  # noqa: E731
    give(made)
    return made, give


def known(study, asked):
    return {
        "findings": audit(study.table),
        "limits": read_limits(asked.get("limits") or {}),
        "class_names": CLASSES,
        "group_names": (),
    }


def done(study=None, asked=None, conditions=(), explained=None) -> Done:
    study, asked = study or planted_study(), asked or {}
    return Done(study, study.table, advice_for(study), asked, known(study, asked), conditions, explained)


def filled(guideline, **given) -> set[str]:
    """The rows that have an entry."""
    facts = facts_of(done(**given))
    return {f"{item.name.english} {item.each}".strip() for item in guideline.items if done_for(item, facts)}


def shown(study=None, asked=None, conditions=(), explained=None) -> str:
    study, asked = study or planted_study(), asked or {}
    about = (study, study.table, advice_for(study), asked, known(study, asked), conditions, explained)
    return "".join(str(part.data) for part in quality_part(*about))


def states(**given) -> dict[str, str]:
    """Question → state."""
    found = done(**given)
    return {check.question: check.state for _, checks in checklists(found, facts_of(found)) for check in checks}


def text_of(html: str) -> str:
    return re.sub(r"<[^>]+>", " ", html)


# ---- the map ----------------------------------------------------------------------------------------------------


def test_each_fact_that_an_item_names_is_one_that_is_looked_for_and_each_layer_is_in_the_report():
    names = set(facts_of(done()))
    items = [item for guideline in (*GUIDELINES, PLANT) for item in guideline.items]
    assert {name for item in items for name in (*item.facts, *item.asked)} <= names
    assert {layer for item in items for layer in item.layers} <= set(LAYERS)
    assert all(bool(item.facts) == bool(item.layers) for item in items), "a section only where something can be done"


def test_with_nothing_asked_only_what_a_study_always_does_has_an_entry():
    assert filled(AIST) == {
        "Sufficiency of the data design",
        f"Coverage of the data set {BY_CLASS}",
        "Uniformity of the data set",
        "Correctness of the trained model",
    }


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ({"asked": {"accuracy_needed": 0.8}}, {"Quality in use", "AI performance"}),
        ({"asked": {"accuracy_today": 0.7}}, {"Quality in use", "AI performance"}),
        ({"asked": {"limits": LIMITS}}, {"Risk avoidance", "AI performance"}),
        ({"asked": {"limits": GATES}}, {"Maintainability of quality in operation"}),
        ({"conditions": [BLUR]}, {"Stability of the trained model"}),
        ({"conditions": [{"label_noise": 0.4}]}, set()),  # its runs are missing
        ({"explained": 96}, set()),
    ],
)
def test_what_was_done_fills_its_rows_and_no_others(given, rows):
    assert filled(AIST, **given) - filled(AIST) == rows


def test_rows_by_lot_are_empty_without_lots_and_fairness_without_limits_in_each():
    lots = {"study": planted_study(lots=True)}
    each = {"accuracy": {"at_least": 0.5, "every": "group"}}
    assert filled(AIST, **lots) - filled(AIST) == {f"Coverage of the data set {BY_GROUP}"}
    assert "Fairness" in filled(AIST, **lots, asked={"limits": each})
    assert "Fairness" not in filled(AIST, **lots, asked={"limits": LIMITS})
    assert "Fairness" not in filled(AIST, asked={"limits": each}), "no lots, so nothing was done for each"


def test_privacy_security_and_the_analysis_of_the_problem_are_empty_whatever_was_done():
    everything = {
        "study": planted_study(lots=True),
        "asked": {"accuracy_needed": 0.8, "accuracy_today": 0.7, "limits": LIMITS | GATES},
        "conditions": [BLUR],
        "explained": 96,
    }
    never = {
        AIST: {"Fairness", "Adequacy of the data", "Sufficiency of the analysis of the problem domain"},
        JIS: {"Policies related to AI", "Internal organization", "Assessing impacts of AI systems"},
        BUSINESS: {
            "Human-centric",
            "Fairness",
            "Privacy protection",
            "Ensuring security",
            "Education and literacy",
            "Ensuring fair competition",
            "Innovation",
        },
    }
    for guideline, empty in never.items():
        names = {f"{item.name.english} {item.each}".strip() for item in guideline.items}
        assert names - filled(guideline, **everything) == empty


def test_images_read_from_files_have_their_findings_and_images_of_vptlib_have_none(tmp_path, task):
    assert "Adequacy of the data" not in filled(AIST)
    folder = class_folders(tmp_path / "parts", dict.fromkeys(CLASSES, 20))
    task[1](load_task(str(folder)))
    assert "Adequacy of the data" in filled(AIST)
    (said,) = facts_of(done())["origin"]
    assert said.values["licence"] is None and states()["Is the licence of the images known?"] == OPEN


def test_sentences_have_the_figures_of_the_runs():
    study = planted_study(lots=True)
    asked = {"accuracy_needed": 0.8, "accuracy_today": 0.7, "limits": LIMITS}
    facts = facts_of(done(study, asked, [BLUR], 96))
    last = study.table[(study.table["method"] == "vpt-deep") & (study.table["n"] == 400)]
    (accuracy,) = facts["accuracy"]
    assert accuracy.values["accuracy"] == pytest.approx(last["accuracy"].mean())
    assert (accuracy.values["n"], accuracy.values["seeds"], accuracy.values["images"]) == (400, 3, IMAGES)
    assert facts["classes"][0].values == {"classes": 3, "rarest": 100, "images": IMAGES}
    assert facts["balance"][0].values == {"common": pytest.approx(1 / 3), "rare": pytest.approx(1 / 3)}
    assert facts["groups"][0].values == {"groups": 30, "images": IMAGES}
    verdicts = facts["limits"][0].values
    assert verdicts["limits"] == 2 == verdicts["met"] + verdicts["undecided"] + verdicts["not_met"]
    assert "Test images suffer blur" in words.sentence(facts["conditions"][0])
    assert facts_of(done(asked={"limits": LIMITS | GATES}))["promotion"][0].values == {"limits": 1}
    assert words.sentence(facts["explanations"][0]).startswith("Maps of 96 test images")


def test_an_accuracy_that_no_method_was_judged_by_leaves_its_row_empty():
    found = done(asked={"accuracy_needed": 0.8})
    unjudged = replace(found, advice=replace(found.advice, choice=NO_ANSWER, method=None))
    assert facts_of(found)["needed"] and facts_of(unjudged)["needed"] == []
    nothing = replace(found, advice=replace(found.advice, choice=NOTHING_WORKS, method=None))
    assert [one.code for one in facts_of(nothing)["needed"]] == ["out_of_sight"]


# ---- checklists -------------------------------------------------------------------------------------------------


def test_states_follow_from_what_was_done():
    bare, asked = states(), states(asked={"accuracy_needed": 0.8, "limits": LIMITS | GATES}, conditions=[BLUR])
    for question in (
        "Was it said before the test what has to be reached?",
        "Are all limits met?",
        "Were harder conditions tested?",
        "Were limits for promotion set?",
    ):
        assert (bare[question], asked[question]) == (NOT_DONE, DONE), question
    assert bare["Are lots or sites kept apart in training and test?"] == NOT_DONE
    assert bare["Were the maps of what the models look at examined?"] == NOT_DONE
    assert states(explained=96)["Were the maps of what the models look at examined?"] == DONE


def test_nothing_that_a_report_cannot_know_is_ever_done():
    for given in ({}, {"asked": {"accuracy_needed": 0.8, "limits": LIMITS | GATES}, "conditions": [BLUR]}):
        found = states(**given)
        assert found["Approver: has the next step been approved?"] == OPEN
        assert found["Has this report been reviewed and approved?"] == OPEN
        assert found["Is monitoring set up?"] == NOT_DONE


@pytest.mark.parametrize(("seeds", "state"), [(1, NOT_DONE), (2, OPEN), (3, DONE)])
def test_three_seeds_are_asked_for(seeds, state):
    assert states(study=planted_study(seeds))["Was the training repeated often enough?"] == state


def test_missing_runs_and_too_few_test_images_stay_open():
    assert states()["Engineer: are all planned runs made?"] == DONE
    assert states(study=planted_study(left=["a run"]))["Engineer: are all planned runs made?"] == OPEN
    found = done()
    for choice in (MORE_TEST_IMAGES, NO_ANSWER):
        asking = replace(found, advice=replace(found.advice, choice=choice))
        (first, *_) = dict(checklists(asking, facts_of(asking)))["Test standards"]
        assert first.state == OPEN


def test_a_limit_that_is_broken_is_not_done():
    broken = {"accuracy": {"at_least": 0.99}}
    assert states(asked={"limits": broken})["Are all limits met?"] == NOT_DONE


@pytest.mark.parametrize(("train", "state"), [(np.arange(100, 106), DONE), (np.arange(6), OPEN)])
def test_lots_on_both_sides_stay_open(task, train, state):
    made, give = task
    give(replace(made, train_groups=train))
    lots = planted_study(lots=True)
    assert states(study=lots)["Are lots or sites kept apart in training and test?"] == state


# ---- the page ---------------------------------------------------------------------------------------------------


def test_an_empty_row_says_so_and_leads_nowhere():
    html = shown()
    rows = re.findall(r"<tr[^>]*>.*?</tr>", html, re.S)
    empty = [row for row in rows if 'class="empty"' in row]
    assert len(empty) == sum(len(g.items) - len(filled(g)) for g in (*GUIDELINES, PLANT))
    assert all("Nothing was done" in row and "href" not in row for row in empty)
    (privacy,) = [row for row in rows if "Privacy protection" in row]
    assert "No report of this kind examines it" in privacy


def test_links_lead_to_layers_of_this_task():
    links = set(re.findall(r'href="#([^"]+)"', shown(explained=96)))
    assert links and links <= {layer_anchor("planted", layer) for layer in LAYERS}
    assert layer_anchor("planted", "explanations") in links


def test_what_comes_from_outside_is_escaped():
    assert "the &lt;works&gt;" in shown()


def test_a_backbone_of_ones_own_is_shown_without_its_place():
    html = shown(planted_study(backbone="file:/home/somebody/secret/own.safetensors"))
    assert "own.safetensors" in html and "somebody" not in html


@pytest.mark.parametrize("code", ["en", "ja"])
def test_nothing_claims_conformity_but_the_disclaimer_denies_it(code):
    asked = {"accuracy_needed": 0.8, "accuracy_today": 0.7, "limits": LIMITS | GATES}
    with speaking(code):
        html = shown(planted_study(lots=True), asked, [BLUR], 96)
        text = text_of(html).replace(disclaimer(), "")
        assert CLAIMS.search(disclaimer())
    assert CLAIMS.findall(text) == []


def test_english_names_stand_before_the_originals_and_in_japanese_the_originals_alone():
    row = next(row for row in re.findall(r"<tr.*?</tr>", shown(), re.S) if ">C-2<" in row)
    assert row.index('lang="en">Stability of the trained model<') < row.index('lang="ja">機械学習モデルの安定性<')
    with speaking("ja"):
        html = shown()
    row = next(row for row in re.findall(r"<tr.*?</tr>", html, re.S) if ">C-2<" in row)
    assert "機械学習モデルの安定性" in row and "Stability" not in row
    assert "Data for AI systems" in html, "a name that has no confirmed original"


def test_every_source_has_title_publisher_and_edition():
    text = text_of(shown())
    for guideline in (*GUIDELINES, PLANT):
        source = guideline.source
        for name in (source.title, source.publisher, source.edition):
            assert name.english in text and name.original in text
        assert source.year is None or str(source.year) in text


def test_all_but_heading_and_disclaimer_is_folded_and_every_cell_has_the_name_of_its_column():
    html = shown(explained=96)
    assert html.count("<details") == len(checklists(done(), facts_of(done()))) + len(GUIDELINES) + 2
    assert " open>" not in html
    cells = re.findall(r"<td([^>]*)>", html)
    assert cells and all('data-label="' in cell for cell in cells)
    assert not re.search(r"<th[^>]*>\s*</th>", html)


def test_the_whole_part_is_made_where_nothing_can_be_answered_yet():
    study = planted_study(seeds=1)
    assert "Nothing answers yet" in shown(study) or "A person is to check" in shown(study)
    assert quality.QUALITY in shown(study)
