"""The parts of a report show what is in their tables, in words and figures that people read."""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted import planted_runs

from vptlib.data.preparing import ImageSet
from vptlib.data.tasks import Task
from vptlib.evidence.curves import learning_curves
from vptlib.evidence.decision import advice_so_far
from vptlib.report.sections import basic
from vptlib.report.sections.curves import accuracy_table
from vptlib.report.sections.fairness import fairness_part, power_of
from vptlib.report.sections.layers import chapter_opening
from vptlib.report.words import words
from vptlib.study.study import Study
from vptlib.wording import in_points

TRUTH = {"vpt-deep": {400: 0.8}, "full": {400: 0.78}}


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


def test_a_method_that_was_not_run_at_a_size_gets_a_dash(runs):
    html = accuracy_table(learning_curves(runs)).data
    row = html[html.index('dir="auto">20</th>') :]
    assert row.index('data-label="Linear probe" dir="auto">–</td>') < row.index("75.0\u202f%")


def test_the_equal_terms_stand_open_and_the_other_rules_are_folded_away():
    study, advice = Study("digits", test_images=30, image_size=28, depth=1), advice_so_far(planted_runs(TRUTH))
    terms, shown, others = (part.data for part in fairness_part(study, advice))
    assert "the same for all methods" in terms
    assert "<dt>Tuning</dt>" in shown and "<dt>Test</dt>" in shown and "What this study can show" in shown
    assert others.startswith("<details") and "<dt>Training</dt>" in others and "<dt>Tuning</dt>" not in others


def test_what_the_study_tells_apart_is_one_number_everywhere_as_its_runs_vary():
    study, advice = Study("digits", test_images=30, image_size=28, depth=1), advice_so_far(planted_runs(TRUTH))
    said = words.sentence(power_of(study, advice))
    reason = next(reason for reason in advice.reasons if reason.code == "settles")
    assert in_points(reason.values["difference"]) in said and "were expected" in said
    quick = power_of(study, replace(advice, settles=math.nan))
    assert quick.code == "told_apart_before"


def test_a_long_table_folds_its_end_and_says_so_on_paper():
    frame = pd.DataFrame([[str(k), "x"] for k in range(25)], columns=["Row", "Value"])
    first, rest = (part.data for part in basic.folding_table(frame, "Many"))
    assert first.count("<tr>") == 1 + basic.MOST_ROWS and rest.count("<tr>") == 1 + 5
    assert 'data-elsewhere="(in the HTML page)"' in rest and "The other rows: 5" in rest
    assert len(basic.folding_table(frame.head(20), "Few")) == 1


def test_a_table_of_more_than_three_columns_stacks_on_a_phone():
    frame = pd.DataFrame([["a", "1", "2", "3"]], columns=["Row", "One", "Two", "Three"])
    assert 'class="stacks"' in basic.table(frame, "Wide").data
    assert "stacks" not in basic.table(frame[["Row", "One"]], "Narrow").data


def test_every_term_that_a_chapter_links_to_is_explained(task, runs):
    guide = basic.reading_guide(0.01).data
    links = re.findall(r'href="#(word-[^"]+)"', chapter_opening(task, advice_so_far(runs)).data)
    assert len(links) == 5 and all(f'id="{link}"' in guide for link in links)
    assert 'id="words-used"' in guide
