"""Names of classes and tasks in a report: shown as they are, in files that never take each other's place."""

import unicodedata
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from vptlib.course.figures import leads_by_distance
from vptlib.report.build import file_names
from vptlib.report.charts import learning_curve_figure
from vptlib.report.explanation_charts import map_table
from vptlib.report.gradcam_page import gradcam_page
from vptlib.report.pages import launched
from vptlib.report.style import styled_figure, text_style

FORMULAS = ["$5 and $6", "$x^$", r"$\frac$", r"a $\nonsense{$ b", r"\$1 $", "100 % {$_$}"]


# ---- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["fashion-mnist", "dsprites-location"], ["fashion-mnist", "dsprites-location"]),
        (["photos", "photos", "photos"], ["photos", "photos-2", "photos-3"]),
        (["overview", "Overview"], ["overview-1", "Overview-2"]),
        (["Photos", "photos"], ["Photos", "photos-2"]),
        (["caf\u00e9", "cafe\u0301"], ["caf\u00e9", "caf\u00e9-2"]),
        (["photos", "photos", "photos-2"], ["photos", "photos-2", "photos-2-3"]),
        ([".", "..", "!?", "my photos"], ["task", "task-2", "task-3", "my-photos"]),
        (["a/b", "a:b", "caf\udce9"], ["a-b", "a-b-2", "caf-"]),
    ],
)
def test_each_task_gets_files_of_its_own(names, files):
    assert file_names(names) == files


@pytest.mark.parametrize("letter", ["a", "é", "日", "😀"])
def test_a_long_name_is_cut_and_still_its_own(letter):
    found = file_names([letter * 300, letter * 300 + "b", letter * 300 + "c"])
    assert all(len(f"report_{name}.part.ipynb".encode()) < 200 for name in found)
    assert len({unicodedata.normalize("NFC", name).casefold() for name in found}) == 3


# ---- figures ----------------------------------------------------------------------------------------------------


def shown(figure) -> list[str]:
    """Draw a figure as a report does, after its styles have ended, and give its texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # glyphs that the font lacks
        figure.canvas.draw()
    assert not any(text.get_parse_math() for text in figure.findobj(plt.Text) if "$" in text.get_text())
    return [text.get_text() for text in figure.findobj(plt.Text)]


IMAGES = np.zeros((4, 28, 28, 3), np.uint8)
LABELS = np.array([0, 1, 0, 1])
MAPS = {method: np.full((4, 28, 28), 0.5) for method in ("vpt-deep", "full")}
GUESSES = {"vpt-deep": LABELS, "full": 1 - LABELS}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_class_name_is_no_formula_on_the_gradcam_page(name):
    texts = shown(gradcam_page(IMAGES, LABELS, [name, f"{name} 2"], MAPS, GUESSES))
    assert any(name in text.replace("\n", " ") for text in texts)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_class_name_is_no_formula_in_the_table_of_maps(name):
    kinds = {method: {"gradcam": maps} for method, maps in MAPS.items()}
    gaps = {method: {"gradcam": np.zeros(4)} for method in MAPS}
    assert any(name in text for text in shown(map_table(IMAGES, [name, "b"], LABELS, GUESSES, kinds, gaps)))


@pytest.mark.parametrize("name", FORMULAS)
def test_a_task_name_is_no_formula_over_a_curve(name):
    row = {"mean": 0.5, "low": 0.4, "high": 0.6, "seeds": 1}
    curves = pd.DataFrame([{"method": m, "n": n} | row for m in ("vpt-deep", "full") for n in (50, 100)])
    assert any(name in text for text in shown(learning_curve_figure(curves, name)))


@pytest.mark.parametrize("name", FORMULAS)
def test_a_task_name_is_no_formula_in_the_course(name):
    tasks = pd.DataFrame({"task": [name, "b"], "objective": ["classification", "counting"], "distance": [1.0, 2.0]})
    gaps = pd.DataFrame({"difference": 0.1, "low": 0.0, "high": 0.2}, index=[name, "b"])
    assert name in shown(leads_by_distance(tasks, gaps))


def test_only_our_own_figures_are_without_formulas():
    with styled_figure(2.0) as (fig, ax):
        ax.set_title(FORMULAS[1])
    with text_style():
        assert not plt.rcParams["text.parse_math"]
    shown(fig)
    assert plt.rcParams["text.parse_math"]


# ---- Chromium ---------------------------------------------------------------------------------------------------


class Browsers:
    """Playwright's kind of browser, on a machine with or without a sandbox."""

    def __init__(self, has_sandbox: bool):
        self.has_sandbox, self.asked = has_sandbox, []

    def launch(self, chromium_sandbox: bool, args: list[str], **_):
        from playwright.sync_api import Error

        self.asked.append(chromium_sandbox)
        assert "--no-sandbox" not in args
        if chromium_sandbox and not self.has_sandbox:
            raise Error("No usable sandbox!")
        return SimpleNamespace(sandbox=chromium_sandbox)


@pytest.mark.parametrize(("has_sandbox", "asked"), [(True, [True]), (False, [True, False])])
def test_chromium_runs_in_its_sandbox_where_it_can(tmp_path, has_sandbox, asked):
    browsers = Browsers(has_sandbox)
    assert launched(browsers, tmp_path / "chromium").sandbox is has_sandbox
    assert browsers.asked == asked


def test_the_chromium_of_this_machine_starts(browser):
    assert browser.is_connected()
