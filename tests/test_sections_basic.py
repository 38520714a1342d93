"""The parts of a report show what is in their tables, in words and figures that people read."""

import numpy as np
import pandas as pd
import pytest
from planted import planted_runs

from vptlib.data.preparing import ImageSet
from vptlib.data.tasks import Task
from vptlib.evidence.decision import advice_so_far
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


@pytest.mark.parametrize("seeds, said", [(1, False), (3, True)])
def test_what_holds_over_all_tasks_is_never_said_of_a_quick_look(seeds, said):
    runs = planted_runs({"vpt-deep": {400: 0.6}, "full": {400: 0.9}}, seeds=seeds)
    tables = {task: runs.assign(task=task) for task in ("digits", "object-count")}
    html = "".join(part.data for part in basic.across_tasks(tables))
    assert ("Full fine-tuning is clearly ahead in 2 of 2" in html) is said


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
