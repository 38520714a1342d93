"""What a method gets wrong, on the page: its figures, its sentences, its pictures, the limits of the YAML file."""

import json
import re
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from planted import planted_answers
from stored import CELL, file_of, logged, plan, result

from vptlib.data.preparing import ImageSet, Preprocessing
from vptlib.errors import UserError
from vptlib.evidence.certainty import calibration, operating_curve, selective_curve
from vptlib.evidence.mistakes import confusion
from vptlib.report.config import check_material, read_config
from vptlib.report.inspection_charts import (
    confusion_figure,
    operating_figure,
    reliability_figure,
    selective_figure,
    short_name,
)
from vptlib.report.sections import inspection
from vptlib.report.sections.inspection import inspection_part, inspection_summary
from vptlib.report.style import LEAST_TYPE, NARROW, drawn_at
from vptlib.study.artefacts import PROBABILITIES, read_probabilities
from vptlib.study.store import finished_run, finished_runs, log_run

LONG = "scratch on the left side of $part 17$ " + "x" * 3  # 41 letters, with what would begin a formula

# ---- probabilities in the store ---------------------------------------------------------------------------------


def logged_with(probabilities) -> str:
    made = result(items=30)
    test = made.test.__class__(**(vars(made.test) | {"probabilities": probabilities}))
    log_run(plan(), CELL, made.__class__(**(vars(made) | {"test": test})))
    return finished_run(plan(), CELL).info.run_id


def probabilities(items: int = 30, classes: int = 10) -> np.ndarray:
    logits = 6 * np.random.default_rng(0).standard_normal((items, classes))
    return (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)


def test_probabilities_are_read_as_they_were_stored_also_near_one(own_store):
    given = probabilities()
    given[0] = [1 - 9e-6] + [1e-6] * 9
    read = read_probabilities(logged_with(given))
    assert read.dtype == np.float32 and read.shape == given.shape
    assert np.allclose(read, given, rtol=0.02, atol=1e-7)
    assert 5e-6 < 1 - read[0, 0] < 2e-5
    assert np.allclose(read.sum(axis=1), 1, atol=1e-5)


def test_a_run_stored_without_probabilities_is_whole_and_gives_none(own_store):
    run_id = logged()
    assert read_probabilities(run_id) is None
    assert len(finished_runs(plan())) == 1


def test_a_run_whose_probabilities_are_cut_counts_as_missing(own_store, capsys):
    run_id = logged_with(probabilities())
    path = file_of(own_store, run_id, PROBABILITIES)
    path.write_bytes(path.read_bytes()[:-10])
    assert len(finished_runs(plan())) == 0
    assert "probabilities.safetensors is cut or damaged" in capsys.readouterr().err
    with pytest.raises(UserError, match="cut or damaged"):
        read_probabilities(run_id)
    path.unlink()
    assert len(finished_runs(plan())) == 1


def test_probabilities_take_two_bytes_each(own_store):
    path = file_of(own_store, logged_with(probabilities(30, 300)), PROBABILITIES)
    assert path.stat().st_size < 2 * 30 * 300 + 200


# ---- figures ----------------------------------------------------------------------------------------------------


def two_classes():
    return planted_answers(400, 3, classes=2, too_sure=2.0, class_names=("defect", "fine"))


def confused(classes: int):
    names = tuple(f"{k} {LONG}"[:40] for k in range(classes))
    return confusion_figure(confusion(planted_answers(3000, 3, classes=classes)), names, 3)


NO_MISSES = pd.DataFrame({"false_alarms": np.linspace(0, 1, 101), "misses": 0.0, "low": 0.0, "high": 0.0})
FIGURES = {
    "reliability": lambda: reliability_figure(calibration(two_classes()).bins, "vpt-deep"),
    "selective": lambda: selective_figure(selective_curve(two_classes()), "full"),
    "operating": lambda: operating_figure(
        operating_curve(two_classes(), ("defect",)), "linear", f"“{LONG}”", (0.2, 0.05), 0.02
    ),
    "no misses, and a limit far above": lambda: operating_figure(NO_MISSES, "full", "“crack”", (0.0, 0.19), 0.2),
    "two classes": lambda: confused(2),
    "four classes": lambda: confused(4),
    "seven classes": lambda: confused(7),
    "twelve classes": lambda: confused(12),
    "short names": lambda: confusion_figure(np.array([[123456, 0], [1, 2]]), ("a", "b"), 1),
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_clipped_none_overlaps_another_and_all_are_legible_on_a_phone(name):
    """As a phone of 320 px shows it."""
    with drawn_at(NARROW):
        figure = FIGURES[name]()
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    inside = {id(label) for label in axes.get_xticklabels() + axes.get_yticklabels()}
    ticks = {
        id(label)
        for axis, ends in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim()))
        for tick in axis.get_major_ticks()
        if min(ends) <= tick.get_loc() <= max(ends)
        for label in (tick.label1,)
    }
    drawn = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    drawn = [t for t in drawn if id(t) not in inside or id(t) in ticks]
    assert len(drawn) > 4
    for text in drawn:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0, text.get_text()
        assert box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height, text.get_text()
        assert text.get_fontsize() * 96 / 72 >= LEAST_TYPE, text.get_text()
    for one, other in combinations(drawn, 2):
        a, b = one.get_window_extent(), other.get_window_extent()
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, f"{one.get_text()!r} overlaps {other.get_text()!r}"


def test_a_long_name_keeps_its_beginning_and_its_end():
    assert short_name("scratch") == "scratch"
    assert short_name("scratch on the rim") == "scratch on the\nrim"
    long = short_name("a" * 30 + "b" * 30)
    assert long.startswith("aaaa") and long.endswith("bbbb") and "…" in long and len(long) < 40
    assert "\n" not in short_name("a very long name of a class", 16, 1)


# ---- the part ---------------------------------------------------------------------------------------------------


class PlantedStudy:
    """A study whose answers are planted; its task has images of one grey."""

    def __init__(self, answers, monkeypatch, stored=True):
        self.answers, self._stored = answers, stored
        images = np.full((answers.images, 16, 16, 3), 100, dtype=np.uint8)
        task = SimpleNamespace(class_names=answers.class_names, group_names=(), test=ImageSet(images, answers.truth))
        vit = SimpleNamespace()
        monkeypatch.setattr(inspection, "material_of", lambda _: SimpleNamespace(task=task, vit=vit))
        monkeypatch.setattr(inspection, "preprocessing", lambda _: Preprocessing((0.5,) * 3, (0.5,) * 3, 16, "bicubic"))

    def test_items(self):
        return np.arange(self.answers.images)

    def probabilities(self, method, seed, n):
        return self.answers.probabilities[seed] if self._stored else None

    def runs(self, method="vpt-deep") -> pd.DataFrame:
        answers = self.answers
        rows = [
            {"method": method, "n": 100, "seed": seed, "correct": right, "predictions": guess, "accuracy": right.mean()}
            for seed, (right, guess) in enumerate(zip(answers.right, answers.predictions, strict=True))
        ]
        runs = pd.DataFrame(rows)
        return runs if answers.groups is None else runs.assign(test_groups=[answers.groups] * len(runs))


def shown(study, *about) -> str:
    return "\n".join(each.data for each in inspection_part(study, study.runs(), *about))


def test_the_part_names_the_weakest_class_what_it_may_answer_and_the_limits(monkeypatch):
    study = PlantedStudy(planted_answers(400, 3, groups=np.arange(400) // 40), monkeypatch)
    limits = {"miss_rate": {"class": "class 0", "at_most": 0.1}, "accuracy": {"at_least": 0.3}}
    page = shown(study, "vpt-deep", limits)
    for wanted in ("Weakest class", "Weakest group", "By itself", "Threshold", "✗ not met", "✓ met", "set in the YAML"):
        assert wanted in page
    assert page.count("<figure") == 4 and page.count("data:image/jpeg") == 12
    assert all(len(alt) > 10 for alt in re.findall(r'alt="([^"]*)"', page))


def test_a_quick_look_with_one_training_says_that_its_luck_is_not_in_the_intervals(monkeypatch):
    page = shown(PlantedStudy(planted_answers(100, 1), monkeypatch))
    assert "One training stands behind them" in page and "trainings" not in page


def test_runs_without_probabilities_have_no_curves_and_say_why(monkeypatch):
    page = shown(PlantedStudy(planted_answers(100, 2), monkeypatch, stored=False))
    assert "stored without probabilities" in page and page.count("<figure") == 1
    assert "sure" not in page.partition("Others, drawn at random")[2]


def test_three_hundred_classes_show_the_weakest_and_fold_the_rest(monkeypatch):
    study = PlantedStudy(planted_answers(900, 2, classes=300), monkeypatch)
    page = shown(study)
    assert "The weakest of 300 classes" in page and "<details" in page and "The commonest mistakes" in page
    tested = len(np.unique(study.answers.truth))
    assert page.index('dir="auto">class') < page.index("<details") < page.index(f"The other rows: {tested - 20}")


def test_a_model_without_mistakes_has_no_pictures_of_them(monkeypatch):
    perfect = planted_answers(100, 1, classes=2)
    right = perfect.__class__(perfect.truth[None], perfect.truth, perfect.class_names, perfect.probabilities)
    page = shown(PlantedStudy(right, monkeypatch))
    assert "data:image/jpeg" not in page and "No image is wrong" in page


def test_one_class_at_test_and_ten_images_are_shown(monkeypatch):
    few = planted_answers(10, 1, classes=2)
    one = few.__class__(few.predictions, np.zeros(10, dtype=int), few.class_names, few.probabilities)
    page = shown(PlantedStudy(one, monkeypatch), None, {"miss_rate": {"class": "class 1", "at_most": 0.1}})
    assert "Not tested" in page and "cannot be tested" in page


def test_names_of_classes_are_text_and_no_markup(monkeypatch):
    study = PlantedStudy(planted_answers(60, 1, classes=2, class_names=("<b>$x$</b>", "fine")), monkeypatch)
    page = shown(study)
    assert "<b>$x$</b>" not in page and "&lt;b&gt;$x$&lt;/b&gt;" in page


def test_the_summary_is_plain_json_with_codes_and_sentences(monkeypatch):
    study = PlantedStudy(planted_answers(50, 2), monkeypatch)
    found = inspection_summary(study, study.runs(), None, {"recall": {"class": "class 1", "at_least": 0.9}})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["method"] == "vpt-deep" and found["limits"][0]["code"].startswith("limit_")
    assert {each["code"] for each in found["findings"]} >= {"worst_class", "interval_of_rates"}


# ---- limits in the YAML file ------------------------------------------------------------------------------------


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_limit_that_cannot_be_is_refused_with_its_line(tmp_path):
    path = written(
        tmp_path / "r.yaml", "tasks: [surface-inspection]\nlimits: {miss_rate: {class: scratch, at_least: 0.9}}"
    )
    with pytest.raises(UserError, match=r"r.yaml, line 2: the limit 'miss_rate' must have class, at_most"):
        read_config(path)
    path = written(tmp_path / "s.yaml", "tasks: [surface-inspection]\nlimits: 3")
    with pytest.raises(UserError, match=r"line 2: `limits` must be a mapping such as \{accuracy: \{at_least: 0.9\}\}"):
        read_config(path)


def test_a_limit_for_a_class_that_no_task_has_is_refused_with_line_and_classes(tmp_path):
    text = "tasks: [surface-inspection]\nsteps: 3\nlimits:\n  recall: {class: dent, at_least: 0.9}\n"
    with pytest.raises(UserError, match=r"line 3: .* class 'dent' that there is not: the classes are scratch, pit"):
        check_material(read_config(written(tmp_path / "r.yaml", text)))


def test_limits_reach_what_is_asked_of_a_report(tmp_path):
    text = "tasks: [surface-inspection]\nlimits:\n  recall: [{class: pit, at_least: 0.9}]\n"
    assert read_config(written(tmp_path / "r.yaml", text)).asked["limits"] == {
        "recall": [{"class": "pit", "at_least": 0.9}]
    }
