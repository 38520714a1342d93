"""The sections of a task's chapter with planted runs: what they say, and that bad input never breaks them."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from planted import audited_runs, planted_answers, planted_runs

from vptlib.data.conditions import Conditions
from vptlib.data.findings import Finding
from vptlib.data.preparing import ImageSet
from vptlib.data.tasks import Task
from vptlib.evidence.audit import audit
from vptlib.evidence.decision import advice_so_far
from vptlib.evidence.limits import limits_tested, read_limits
from vptlib.evidence.resampling import joint
from vptlib.explanations.checklist import NO, OPEN, YES, Row
from vptlib.report.sections import alerts as findings_first
from vptlib.report.sections.alerts import FINE, NOTED, SERIOUS, WARN, alerts, alerts_part, reasons_part
from vptlib.report.sections.audit import audit_part
from vptlib.report.sections.basic import facts
from vptlib.report.sections.curves import accuracy_part, cost_part, difference_part, lead_in_words
from vptlib.report.sections.decision import Judged
from vptlib.report.sections.images import images_part
from vptlib.report.sections.layers import DATA, EXPLANATIONS, MISTAKES, NOT_DONE, PROTOCOL, chapter_opening
from vptlib.report.sections.meeting import meeting_part, sentences
from vptlib.report.sections.not_done import not_done_part
from vptlib.report.sections.stages import plan_part
from vptlib.report.words import languages, speaking, words
from vptlib.statement import statement
from vptlib.study.plan import Cell

CLEAR = {"linear": {200: 0.55, 400: 0.6}, "vpt-deep": {200: 0.7, 400: 0.8}, "full": {200: 0.85, 400: 0.95}}
ARABIC = "شقّ في السطح"
LONG = "a very long name of a class, as an export of a database writes it, " * 3


def task(names=("scratch", "sound"), images=8, groups=None, remarks=()) -> Task:
    labels = np.arange(images) % len(names)
    pictures = ImageSet(np.zeros((images, 2, 2, 3), np.uint8), labels.astype(np.int64))
    about = ("own images", "classification", "CC0", "drawn here")
    sides = {"train_groups": groups, "test_groups": groups}
    return Task("tiny", "Parts & <bolts>", pictures, pictures, tuple(names), *about, remarks=tuple(remarks), **sides)


def judged(runs: pd.DataFrame, asked=None, **more) -> Judged:
    about = more.pop("task", None) or task()
    return Judged(about, runs, advice_so_far(runs), 0.01, asked or {}, audit(runs), **more)


class PlantedStudy(SimpleNamespace):
    """A study as far as the sections ask one."""

    def __init__(self, runs: pd.DataFrame, missing=(), **more):
        columns = {name: tuple(dict.fromkeys(runs[column])) for name, column in
                   (("methods", "method"), ("sizes", "n"), ("seeds", "seed"))}  # fmt: skip
        super().__init__(task="digits", backbone="dinov2-small-focus", conditions=Conditions(), **columns, **more)
        self.left = list(missing)

    def missing(self):
        return self.left

    def under(self, **changes):
        return SimpleNamespace(conditions=Conditions(**changes), missing=lambda: [Cell("full", 400, 0)])


def page_of(parts) -> str:
    return "\n".join(part.data for part in parts)


def row(question: str, verdict: str) -> Row:
    return Row(question, {}, verdict)


# ---- what a reader should know first ----------------------------------------------------------------------------


def test_without_a_finding_it_says_that_the_audit_found_none():
    runs = audited_runs(CLEAR)
    (found,) = alerts(PlantedStudy(runs), judged(runs))
    assert found[0] == FINE and "found none" in found[1]


def test_each_kind_of_finding_has_its_level_and_the_layer_that_shows_it():
    runs = audited_runs(CLEAR).assign(best_step=48, stopped="limit")
    notes = [
        Finding("warning", statement("clutter_class", name="other")),
        Finding("note", statement("folder_entered", folder="a", inner="b")),
    ]
    one = judged(runs, task=task(remarks=notes))
    failed = [row("maps mark a place", NO), row("shares add up", YES), row("map points at the object", OPEN)]
    found = alerts(PlantedStudy(runs, [Cell("full", 400, 2)]), one, failed)
    by_layer = {layer: (level, text) for level, text, layer in found}
    assert by_layer[NOT_DONE][0] == WARN and "1 run not made" in by_layer[NOT_DONE][1]
    assert by_layer[PROTOCOL][0] == WARN and "cut short" in by_layer[PROTOCOL][1]
    assert by_layer[EXPLANATIONS] == (
        WARN, "The pictures of what the models look at failed a check: Does every map mark some place?"
    )  # fmt: skip
    assert {level for level, _text, layer in found if layer == DATA} == {WARN, NOTED}
    assert FINE not in {level for level, _text, _layer in found}
    html = page_of(alerts_part(PlantedStudy(runs, [Cell("full", 400, 2)]), one, failed))
    assert html.count("<li ") == len(found) and 'href="#digits-not-done"' in html


def test_a_limit_that_is_broken_is_serious_and_comes_first(monkeypatch):
    runs = audited_runs(CLEAR)
    tested = limits_tested(planted_answers(400, 3), read_limits({"accuracy": {"at_least": 0.99}}))
    one = judged(runs)
    vars(one)["limits"] = tested
    (first, *_rest) = alerts(PlantedStudy(runs), one)
    assert first[0] == SERIOUS and first[2] == MISTAKES and first[1].startswith("Accuracy: at least 99\u202f%. ")


def test_one_seed_is_warned_of():
    runs = audited_runs(CLEAR, seeds=1)
    texts = [text for level, text, _layer in alerts(PlantedStudy(runs), judged(runs)) if level == WARN]
    assert any("With one seed" in text for text in texts)


def test_the_reasons_stand_under_the_findings_and_the_head_links_to_the_words_used():
    advice = advice_so_far(planted_runs(CLEAR))
    assert page_of(reasons_part(advice)).count("<li>") == len(advice.reasons) + 1
    head = chapter_opening(task(), advice).data
    assert '<h2 id="tiny" dir="auto">Parts &amp; &lt;bolts&gt;</h2>' in head and 'href="#word-interval"' in head
    assert "--colour-light: #" in head and "--colour-dark: #" in head


# ---- captions say what was found --------------------------------------------------------------------------------


def test_the_caption_of_the_curves_says_who_leads_and_by_how_much():
    runs = planted_runs(CLEAR)
    said = lead_in_words(joint(runs, 400))
    best = 100 * runs[(runs["method"] == "full") & (runs["n"] == 400)]["accuracy"].mean()
    assert f"With 400 labelled images full fine-tuning is the most accurate: {best:.1f}\u202f%" in said
    assert "VPT-deep is" in said and "clearly less accurate" in said


def test_the_caption_leaves_open_what_is_open():
    runs = planted_runs({"vpt-deep": {400: 0.8}, "full": {400: 0.805}})
    assert "which one is better is open" in lead_in_words(joint(runs, 400))


def test_one_method_alone_leads_nobody():
    runs = planted_runs({"linear": {400: 0.8}})
    assert "points" not in lead_in_words(joint(runs, 400))
    assert page_of(accuracy_part(runs, "Tiny")).count("<table") == 1


def test_figures_have_their_data_and_tables_have_no_empty_head():
    runs = planted_runs(CLEAR)
    html = page_of([*accuracy_part(runs, "Tiny"), *difference_part(runs, 0.01), *cost_part(runs)])
    assert html.count("<figure") == html.count('download="') == 3
    assert not re.search(r"<th[^>]*>\s*</th>", html) and html.count("<caption>") == html.count("<table")
    assert all("data-label=" in cell for cell in re.findall(r"<td[^>]*>", html))


def test_the_caption_of_the_costs_names_the_lightest_and_the_heaviest():
    html = page_of(cost_part(planted_runs(CLEAR)))
    assert "Linear probe stores the least for each further task, 30\u202fkB; full fine-tuning stores the most" in html


# ---- the plan, the meeting, what was not done -------------------------------------------------------------------


def test_the_plan_has_four_boxes_and_marks_the_one_to_act_on():
    runs = planted_runs(CLEAR)
    html = page_of(plan_part(runs, {"accuracy_needed": 0.8}, advice_so_far(runs, needed=0.8)))
    assert html.count('<li class="stage') == 4 and html.count('class="badge"') == 1
    heads = re.findall(r'class="stage-head">([^<]+)', html)
    assert [head.strip() for head in heads] == ["PoC", "Operate", "Collect", "Decide again"]
    assert html.index("stage now") > html.index("PoC")


def test_an_unfinished_study_stays_in_the_first_stage():
    runs = planted_runs(CLEAR, seeds=1)
    html = page_of(plan_part(runs, {}, advice_so_far(runs)))
    assert html.index("stage now") < html.index("PoC") and "Operate: not yet" in html


def test_the_meeting_has_three_sentences_and_a_price_only_where_one_was_given():
    runs = audited_runs(CLEAR)
    said = sentences(judged(runs))
    assert len(said) == 3 and "Money was not asked about" in said[1] and "51.2\u202fMB" in said[1]
    assert "costs" in sentences(judged(runs, {"label_price": 2}))[1]
    assert page_of(meeting_part(judged(runs))).startswith("<details")


def test_what_was_not_done_follows_from_the_study():
    runs = audited_runs({method: {400: 0.8} for method in ("vpt-deep", "full")}, seeds=1)
    html = page_of(
        not_done_part(PlantedStudy(runs, [Cell("full", 400, 2)]), judged(runs), [{"label_noise": 0.3}], None)
    )
    labels = ("Runs", "Repetitions", "Labels", "Harder conditions", "Accuracy needed", "Limits", "Prices",
              "Lots and sites", "Explanations", "Other backbones", "Doubles", "Other methods")  # fmt: skip
    assert [text for text in re.findall(r"<dt>([^<]+)", html)] == list(labels)
    assert "LoRA" in html and "30% of the labelled images" in html


def test_what_was_done_is_not_listed():
    runs = audited_runs(CLEAR)
    asked = {"accuracy_needed": 0.9, "limits": {"accuracy": {"at_least": 0.5}}, "label_price": 1}
    one = judged(runs, asked, task=task(groups=np.arange(8) // 2))
    html = page_of(not_done_part(PlantedStudy(runs), one, [], [row("maps mark a place", YES)]))
    assert re.findall(r"<dt>([^<]+)", html) == ["Harder conditions", "Other backbones", "Doubles", "Other methods"]


# ---- the images -------------------------------------------------------------------------------------------------


def test_three_hundred_classes_show_the_rarest_and_fold_the_rest():
    html = page_of(images_part(task([f"class {k}" for k in range(300)], 900), None))
    assert "The other rows: 280" in html and html.count('<th scope="row"') == 300
    assert "and 290 more" in html


def test_lots_on_both_sides_are_told_and_unknown_lots_too():
    assert "4 of them are on both sides" in page_of(images_part(task(groups=np.arange(8) // 2), None))
    assert "the images name no lot" in page_of(images_part(task(), None))


def test_names_in_any_script_and_of_any_length_are_text_with_their_own_direction():
    html = page_of(images_part(task([ARABIC, LONG, "<b>bold</b>"], 9), None))
    assert f'dir="auto">{ARABIC}</th>' in html and LONG.strip() in html and "<b>bold</b>" not in html


@pytest.mark.parametrize("language", languages())
def test_a_sentence_keeps_its_direction_whatever_class_it_begins_with(language):
    with speaking(language):
        said = words.quoted([ARABIC])
        shown = page_of([facts({"Weakest": f"{said} is recognised least"})])
    assert f"\u2068{ARABIC}\u2069" in shown and 'dir="auto"' not in shown


# ---- bad input, in both languages -------------------------------------------------------------------------------

BAD = {
    "one seed": planted_runs(CLEAR, seeds=1),
    "one method": planted_runs({"linear": {400: 0.8}}),
    "no run of full fine-tuning": planted_runs({"linear": {200: 0.6, 400: 0.8}, "vpt-deep": {200: 0.7, 400: 0.8}}),
    "two test images": planted_runs(CLEAR, images=2),
    "all wrong": planted_runs({method: {400: 1e-6} for method in CLEAR}),
    "times that are not known": planted_runs(CLEAR).assign(train_seconds=np.nan, tuning_seconds=np.nan),
    "some methods at one size only": planted_runs(CLEAR | {"lora": {200: 0.7}}),
}


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_breaks_no_section(name, language):
    runs = BAD[name].assign(last_step=48, stopped="done", tried=[{}] * len(BAD[name]))
    study, one = PlantedStudy(runs), judged(runs, task=task([ARABIC, LONG]))
    with speaking(language):
        html = page_of([
            chapter_opening(one.task, one.advice), *alerts_part(study, one), *reasons_part(one.advice),
            *meeting_part(one), *plan_part(runs, {}, one.advice), *accuracy_part(runs, "Tiny"), *cost_part(runs),
            *images_part(one.task, one.doubles), *audit_part(list(one.audit)), *not_done_part(study, one, []),
        ])  # fmt: skip
    assert not re.search(r"\bnan\b|NaN|None\b(?! (is|were))", re.sub(r"<[^>]*>", " ", html))


def test_a_quick_look_at_one_task_is_warned_of_once():
    runs = audited_runs(CLEAR, seeds=2)
    found = alerts(PlantedStudy(runs), replace(judged(runs)))
    assert sum("quick look" in text for _level, text, _layer in found) == 1
    assert findings_first.SERIOUS not in {level for level, _text, _layer in found}


def test_letters_that_no_font_here_has_are_named_with_the_package_that_has_them():
    runs, tangut = audited_runs(CLEAR), "\U00017000"

    def said_of(*names: str) -> str:
        return " ".join(text for _level, text, _layer in alerts(PlantedStudy(runs), judged(runs, task=task(names))))

    assert tangut in said_of(f"class {tangut}", "sound") and "fonts-noto" in said_of(tangut, "sound")
    assert "font" not in said_of("きず", "sound")
