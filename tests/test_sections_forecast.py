"""The forecast in a report: the sentence, the record next to it, and a figure that reads on a phone."""

import io

import pytest
from matplotlib import pyplot as plt
from planted import planted_runs

from vptlib.evidence.forecast import record
from vptlib.report.forecast_charts import reliability_figure
from vptlib.report.sections.forecast import forecast_part, forecast_record
from vptlib.report.words import en
from vptlib.statement import statement


@pytest.fixture(scope="module")
def runs():
    return planted_runs({"vpt-deep": {400: 0.7, 1000: 0.8}, "full": {400: 0.65, 1000: 0.8}})


@pytest.mark.parametrize(
    "backbone, why", [("dinov2-small-focus", "not about this backbone"), ("vit_base_patch16_224.orig_in21k", "no gain")]
)
def test_a_task_says_why_there_is_no_forecast(runs, backbone, why):
    heading, said = (html.data for html in forecast_part(runs, backbone))
    assert "With more labels" in heading
    assert why in said and "With 2,000 labels" in said and "That is a convention, twice the largest size" in said
    assert "would have held in 12 of 28 cases at 5,000 images" in said  # with the 400 test images of these runs


def test_a_report_shows_the_record_of_forecasts():
    heading, table, picture = (html.data for html in forecast_record())
    assert "How often forecasts with more labels were right" in heading
    assert table.count("<tr>") == 1 + 8 and "The best of these, picked on the other tasks" in table
    assert "89 cases of 19 tasks" in table and "31 of 89" in table
    assert 'alt="Reliability of the forecasts: forecast ' in picture


def test_the_figure_has_a_point_for_each_part_of_the_record_and_is_closed():
    known = record()
    figure = reliability_figure(known.bins, known.came_true)
    assert plt.get_fignums() == []
    (axes,) = figure.axes
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [point.get_xdata()[0] for point in points] == pytest.approx(known.bins["forecast"].tolist())
    assert [point.get_ydata()[0] for point in points] == pytest.approx(known.bins["came_true"].tolist())
    labels = [label.get_text().split("\n")[1] for label in axes.get_xticklabels()]
    assert labels == [f"{cases} cases" for cases in known.bins["cases"]]


def test_a_part_of_the_scale_without_cases_is_called_empty():
    some = record().bins.iloc[[0, 4]].assign(cases=[1, 2])
    labels = reliability_figure(some, 0.5).axes[0].get_xticklabels()
    assert [label.get_text().split("\n")[1] for label in labels] == ["1 case", "none", "none", "none", "2 cases"]


def test_the_figure_is_legible_on_a_phone_and_its_texts_are_apart():
    figure = reliability_figure(record().bins, record().came_true)
    share = min(1, 342 / (96 * figure.get_figwidth()))
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert len(file.getvalue()) < 150_000 and 1000 <= figure.bbox.width <= 1280
    shown = [t for t in figure.axes[0].texts + figure.axes[0].get_xticklabels() if t.get_text()]
    assert min(text.get_fontsize() for text in shown) * 96 / 72 * share >= 8.5
    boxes = [text.get_window_extent() for text in shown]
    for k, box in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 and box.y1 <= figure.bbox.height
        assert not any(box.overlaps(other) for other in boxes[:k])


def test_a_forecast_is_given_with_its_record():
    values = {"probability": 0.831, "n": 1000, "then": 5000, "margin": 0.01, "hits": 80, "cases": 96, "tasks": 24}
    assert en.sentence(statement("full_ahead_later", **values)) == (
        "With 5,000 labelled images instead of 1,000, full fine-tuning will be ahead by 1 point or more with "
        "probability 83\u202f%. Such forecasts were right in 80 of 96 cases of 24 published tasks."
    )
    assert "will be ahead with probability" in en.sentence(statement("full_ahead_later", **(values | {"margin": 0.0})))
