"""The parts of a report show what is in their tables, in words and figures that people read."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted import planted_runs

from vptlib.data.preparing import ImageSet
from vptlib.data.tasks import Task
from vptlib.evidence.decision import advice_so_far, recommend
from vptlib.report.sections import basic
from vptlib.study.study import Study


@pytest.fixture
def task() -> Task:
    def images(labels):
        return ImageSet(np.zeros((len(labels), 2, 2, 3), np.uint8), np.array(labels, dtype=np.int64))

    about = ("natural", "classification", "CC0", "drawn here")
    return Task("tiny", "Cats & <dogs>", images([0, 1]), images([0, 1, 1, 1]), ("cat", "dog"), *about)


@pytest.fixture
def runs() -> pd.DataFrame:
    """VPT-deep right on 3 of 4 test images, full fine-tuning on 1; a linear probe at the smaller size only."""
    costs = {"trainable_parameters": 100, "bytes_per_task": 400, "train_seconds": 2.0, "tuning_seconds": 4.0}
    rows = [
        {"task": "tiny", "method": method, "n": n, "seed": 0, "correct": np.arange(4) < right, **costs}
        for method, n, right in [
            ("linear", 10, 2),
            ("vpt-deep", 10, 2),
            ("full", 10, 2),
            ("vpt-deep", 20, 3),
            ("full", 20, 1),
        ]
    ]
    return pd.DataFrame(rows).assign(accuracy=lambda table: table["correct"].map(np.mean))


def test_a_card_has_the_figures_of_the_largest_size_and_escapes_names(task, runs):
    html = basic.answer(task, advice_so_far(runs), runs).data
    assert "Cats &amp; &lt;dogs&gt;" in html
    glance = html[html.index('<div class="glance">') :]
    assert glance.index("VPT-deep</th>") < glance.index("75.0\u202f%") < glance.index("25.0\u202f%")
    assert "Without looking: 75\u202f%" in html
    assert "Run more seeds, then decide" in html and "Confidence:" not in html, "nothing is decided"


def test_a_card_warns_of_what_limits_its_answer(task, runs):
    advice = advice_so_far(runs)
    assert "warning" not in basic.answer(task, advice, runs).data
    html = basic.answer(task, advice, runs, "At 56 px <only>.", price="It costs <much>.").data
    assert '<p class="more warning">At 56 px &lt;only&gt;.</p>' in html
    assert "<dt>Price</dt><dd>It costs &lt;much&gt;.</dd>" in html


def test_a_card_without_an_answer_says_what_is_missing_and_shows_what_there_is(task, runs):
    some = runs[(runs["method"] == "linear") | ((runs["method"] == "vpt-deep") & (runs["n"] == 20))]
    html = basic.answer(task, advice_so_far(some), some)
    assert "No answer yet: it needs more time" in html.data and "Confidence" not in html.data
    assert "Full fine-tuning has no finished run with 20 labelled images" in html.data
    glance = html.data[html.data.index('<div class="glance">') :]
    assert "VPT-deep</th><td>75.0\u202f%" in glance and "Linear probe" not in glance, "at the largest size only"


def over_all(*advices) -> str:
    return "".join(part.data for part in basic.across_tasks(advices))


def test_over_all_tasks_the_answers_are_counted_and_the_share_that_is_wrong_follows_from_their_probabilities():
    clear = recommend(planted_runs({"vpt-deep": {400: 0.6}, "full": {400: 0.9}}))
    unsure = replace(clear, choice="use_prompt", method="vpt-deep", probability=clear.probability - 0.4)
    open_yet = replace(clear, choice="more_seeds", probability=0.5)
    said = over_all(clear, clear, unsure, open_yet, open_yet)
    assert (
        "3 of 5 tasks have an answer: use full fine-tuning in 2 and use VPT-deep in 1. The other 2 ask for more" in said
    )
    wrong = 1 - (3 * clear.probability - 0.4) / 3
    assert f"{100 * wrong:.0f}\u202f% of such answers are wrong" in said
    assert "The other 1 asks for more" in over_all(clear, open_yet)


def test_over_all_tasks_nothing_is_said_of_one_task_and_no_answer_of_a_quick_look():
    quick = recommend(planted_runs({"vpt-deep": {400: 0.6}, "full": {400: 0.9}}, seeds=1))
    assert over_all(quick) == ""
    assert "None of 2 tasks has an answer yet" in over_all(quick, quick)


def test_a_method_that_was_not_run_at_a_size_gets_a_dash(runs):
    html = basic.accuracy_table(basic.learning_curves(runs)).data
    row = html[html.index('<th scope="row">20</th>') :]
    assert row.index("<td>–</td>") < row.index("75.0\u202f%")


@pytest.mark.parametrize("seeds, quick", [((0,), True), ((0, 1), True), ((0, 1, 2), False)])
def test_fewer_than_three_seeds_are_called_a_quick_look(seeds, quick):
    html = basic.opening("Title", [Study("digits", seeds=seeds)]).data
    assert ("This is a quick look" in html) is quick


def test_rules_are_given_once_unless_they_differ():
    small = {"image_size": 28, "depth": 1}
    first = Study("digits", test_images=30, **small)
    same = [first, Study("object-count", test_images=30, **small)]
    assert basic.rules(same).data.count("<dt>Tuning</dt>") == 1
    different = [first, Study("object-count", test_images=40, **small)]
    assert basic.rules(different).data.count("<dt>Tuning</dt>") == 2
