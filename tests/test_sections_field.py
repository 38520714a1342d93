"""vptlib.report.sections.field and vptlib.evidence.pretraining_distance:
what the studies found, in tables, and no section that was not asked for."""

import numpy as np
import pandas as pd
import pytest

from vptlib import Study
from vptlib.data.tasks import PHOTOGRAPHS, load_reference, load_task
from vptlib.errors import UserError
from vptlib.evidence import pretraining_distance
from vptlib.evidence.similarity import frechet_distance_at_infinity, transfer_table
from vptlib.report.charts import quadrant_figure
from vptlib.report.sections import field
from vptlib.study.published_rules import EQUAL

SMALL = {"methods": ("linear", "vpt-deep", "full"), "sizes": (40, 60), "steps": 2, "candidates": 1, "test_images": 40}
SMALL |= {"image_size": 28, "depth": 1, "num_prompts": 2, "rules": EQUAL}
NOISY = {"label_noise": 0.5}


@pytest.fixture(scope="module")
def studies():
    return [Study(task, **SMALL) for task in ("digits", "dsprites-location")]


def test_a_harder_study_is_the_largest_size_alone(studies):
    harder = studies[0].under(**NOISY)
    assert harder.sizes == (60,) and harder.conditions.label_noise == 0.5
    assert harder.methods == studies[0].methods and harder.seeds == studies[0].seeds


def test_without_conditions_the_section_says_so_and_how_to_run_them(studies):
    (said,) = field.robustness_part(studies[0], [])
    assert "Not tested" in said.data and "corruption: blur" in said.data


def test_what_a_condition_costs_is_the_difference_of_two_studies(studies, own_store):
    study = studies[0]
    clean, noisy = study.run(progress=False), study.under(**NOISY).run(progress=False)
    (table,) = field.robustness_part(study, [NOISY])
    assert "50% of the labelled images carry a wrong label" in table.data
    for method in study.methods:
        before = clean[(clean["method"] == method) & (clean["n"] == 60)]["accuracy"].iloc[0]
        after = noisy[noisy["method"] == method]["accuracy"].iloc[0]
        change = f"{100 * (after - before):+.1f}".replace("-", "\u2212")
        assert f"{100 * after:.1f}\u202f% ({change})" in table.data


def test_a_condition_whose_runs_are_missing_is_named(studies, own_store):
    (said,) = field.robustness_part(studies[0].under(), [{"label_noise": 0.3}])
    assert "Not tested: 30% of the labelled images" in said.data and "3 runs not made" in said.data


def test_tasks_are_placed_by_what_was_measured(studies, own_store):
    for study in studies:
        study.run(progress=False)
    placed = pretraining_distance.tasks_and_pretraining(studies, PHOTOGRAPHS, images=60)
    assert placed["task"].tolist() == ["digits", "dsprites-location"]
    assert placed["objective"].tolist() == ["classification", "location"]
    last = studies[1].runs().query("n == 60").set_index("method")["accuracy"]
    assert placed.loc[1, "vpt"] == last["vpt-deep"] and placed.loc[1, "full"] == last["full"]
    shown = " ".join(part.data for part in field.tasks_beside_pretraining(placed, PHOTOGRAPHS))
    assert "Distance from photographs" in shown and "of 2 winners right" in shown and "rank correlation" not in shown
    near = pretraining_distance.tasks_and_pretraining(studies, "digits", images=60).set_index("task")["distance"]
    assert near["digits"] < 0.1 * near["dsprites-location"]  # digits are near digits


def test_one_task_is_not_near_or_far(studies):
    with pytest.raises(UserError, match="one task alone"):
        pretraining_distance.tasks_and_pretraining(studies[:1], PHOTOGRAPHS)


def test_the_stand_in_for_photographs_is_always_the_same():
    images = load_reference(PHOTOGRAPHS)
    assert images.images.shape == (600, 96, 96, 3) and np.bincount(images.labels).tolist() == [300, 300]
    assert load_reference("digits") is load_task("digits").train
    flat = images.images.reshape(600, -1)[:, ::97].astype(float)
    assert frechet_distance_at_infinity(flat, flat).value < 0.05 * flat.var(axis=0).sum()


def test_the_figure_names_each_task_once():
    tasks = {"task": list("abcd"), "objective": ["classification", "classification", "location", "counting"]}
    numbers = {"distance": [1.0, 9.0, 2.0, 8.0], "vpt": [0.8, 0.5, 0.6, 0.3], "full": [0.7, 0.6, 0.5, 0.4]}
    placed = transfer_table(pd.DataFrame(tasks | numbers)).assign(title=["Ab (x)", "Bc", "Cd", "De"])
    (axes,) = quadrant_figure(placed).axes
    texts = [text.get_text() for text in axes.texts]
    assert "Ab: VPT-deep +10.0" in texts and "De: full +10.0" in texts
    assert sum(text.startswith(("Ab", "Bc", "Cd", "De")) for text in texts) == 4
