"""A whole report, small but real: its parts, its contract, and how it looks in a browser and on A4."""

import asyncio
import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest

from vptlib import doctor
from vptlib.evidence.recommendation import STEPS, use_code
from vptlib.report import build
from vptlib.report.config import read_config
from vptlib.report.pages import find_chromium, print_pdf
from vptlib.study import runner
from vptlib.study.study import Study

pytestmark = pytest.mark.slow

TASKS = ("digits", "dsprites-location")
SETTINGS = """
title: A small <report> & its title
tasks: [digits, dsprites-location]
sizes: [40, 60]
image_size: 28
depth: 1
steps: 2
candidates: 1
test_images: 30
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report with the store of runs behind it, made once for all tests of this file."""
    folder = tmp_path_factory.mktemp("made")
    config = folder / "small.yaml"
    config.write_text(SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VPTLIB_STORE", str(folder / "store"))
        patch.setenv("VPTLIB_JOBS", "1")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        build.make_report(config, folder / "out")
    return folder


@pytest.fixture
def with_its_store(made, monkeypatch):
    monkeypatch.setenv("VPTLIB_STORE", str(made / "store"))
    return made


def test_all_parts_are_there_and_nothing_else(made):
    parts = {path.name for path in (made / "out").iterdir()}
    assert parts == {"index.html", "summary.json", "notebooks"} | ({"report.pdf"} if find_chromium() else set())
    names = {path.name for path in (made / "out" / "notebooks").iterdir()}
    assert names == {"report_overview.ipynb", *(f"report_{task}.ipynb" for task in TASKS)}


def test_the_notebooks_ran_without_an_error_or_a_path_of_this_machine(made):
    for path in (made / "out" / "notebooks").iterdir():
        notebook = nbformat.read(path, as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        kinds = {output.output_type for cell in code for output in cell.outputs}
        assert "error" not in kinds
        assert str(made) not in path.read_text()


def test_a_report_whose_time_was_up_shows_what_there_is(tmp_path, monkeypatch):
    """Linear probe and VPT-deep are finished, full fine-tuning is not."""
    settings = {"sizes": (40, 60), "image_size": 28, "depth": 1, "steps": 2, "candidates": 1, "test_images": 30}
    monkeypatch.setenv("VPTLIB_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    Study("digits", methods=("linear", "vpt-deep"), **settings).run(progress=False, jobs=1)
    (tmp_path / "small.yaml").write_text(SETTINGS.replace("[digits, dsprites-location]", "[digits]"))
    monkeypatch.setattr(build, "run_in_time", lambda studies, deadline: None)
    page = build.make_report(tmp_path / "small.yaml", tmp_path / "out", time_given="1h").read_text()
    assert "No answer yet: it needs more time" in page
    assert "Full fine-tuning has no finished run with 60 labelled images" in page
    assert "4 runs not made, for want of time" in page and "What the audit of the runs found" in page
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["recommendation"]["choice_code"] == "no_answer" and summary["crossover"] is None
    assert {cell["method"] for cell in summary["not_made"]} == {"vpt-shallow", "full"}
    assert (tmp_path / "out" / "notebooks" / "report_digits.ipynb").is_file()


def test_the_summary_keeps_the_contract(with_its_store):
    summary = json.loads((with_its_store / "out" / "summary.json").read_text())
    assert [part["task"] for part in summary["tasks"]] == list(TASKS)
    for part in summary["tasks"]:
        check_contract(part)
        runs = Study(part["task"], **read_config(with_its_store / "small.yaml").study_settings).runs()
        means = runs.groupby(["method", "n"])["accuracy"].mean()
        for point in part["curves"]:
            assert point["mean"] == pytest.approx(means[point["method"], point["n"]])


def test_with_one_task_the_summary_is_that_tasks(with_its_store, tmp_path):
    config = tmp_path / "one.yaml"
    config.write_text(SETTINGS.replace(", dsprites-location", ""))
    build.write_summary(read_config(config), tmp_path)
    check_contract(json.loads((tmp_path / "summary.json").read_text()))


def check_contract(part: dict) -> None:
    assert part["group"] in ("natural", "specialised", "structured")
    assert part["backbone"] == "dinov2-small-focus"
    assert part["image_size"] == 28
    assert part["methods"] == ["linear", "vpt-shallow", "vpt-deep", "full"]
    assert part["runs"] == 8
    assert len(part["curves"]) == 8
    for point in part["curves"]:
        assert set(point) >= {"method", "n", "mean", "low", "high", "seeds"}
        assert 0 <= point["low"] <= point["mean"] <= point["high"] <= 1
        assert point["seeds"] == 1
    assert part["crossover"] is None or set(part["crossover"]) == {"n", "low", "high"}
    advice = part["recommendation"]
    assert advice["choice"] in ("run more seeds", "nothing works"), "one seed advises nothing"
    assert advice["choice_code"] in {*STEPS, *map(use_code, part["methods"])}
    assert {candidate["method"] for candidate in advice["candidates"]} == set(part["methods"])
    assert part["inspection"]["classes"]
    assert advice["reason_codes"][0]["code"] == "seen"
    assert len(advice["reason_codes"]) == len(advice["reasons"])
    assert advice["confidence"] == "low"  # one seed
    assert advice["reasons"] and all(isinstance(reason, str) for reason in advice["reasons"])
    assert "decide_again_at" in advice
    assert set(part["cost"]) == set(part["methods"])
    assert part["versions"]["torch"]


def test_a_second_report_trains_nothing_and_a_failure_leaves_the_first(with_its_store, monkeypatch):
    def fail(*_):
        raise build.UserError("the notebook failed.")

    monkeypatch.setattr(runner, "run_cell", lambda *_: pytest.fail("a finished run was made again"))
    monkeypatch.setattr(build, "run_notebook", fail)
    page = with_its_store / "out" / "index.html"
    before = page.read_bytes()
    with pytest.raises(build.UserError, match="the notebook failed"):
        build.make_report(with_its_store / "small.yaml", with_its_store / "out")
    assert page.read_bytes() == before


def test_the_page_has_the_answers_first_and_hides_the_code(made):
    html = (made / "out" / "index.html").read_text()
    assert "<title>A small &lt;report&gt; &amp; its title</title>" in html
    text = re.sub(r"<[^>]+>", " ", html.split("<main>")[1])
    assert "quick look" in text[:600]
    assert html.count('<article class="answer') == len(TASKS)
    assert html.index('<article class="answer') < html.index("<figure>")
    assert "import" not in re.sub(r'src="data:[^"]*"', "", html)
    assert html.count("<img") == html.count('alt="') >= 14 * len(TASKS)
    assert "<script" not in html


# ---- in the browser -------------------------------------------------------------------------------------------


CUT_OFF = """
() => [...document.querySelectorAll('img, table, p, li, dd, h1, h2, h3, pre, caption, td, th')].filter(element => {
    const box = element.getBoundingClientRect();
    const clipped = element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== 'inline';
    return box.left < 0 || box.right > document.documentElement.clientWidth || clipped;
}).map(element => element.outerHTML.slice(0, 200))
"""


@pytest.mark.parametrize("width", [1280, 800])
def test_nothing_is_fetched_and_nothing_is_cut_off(made, browser, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    address = (made / "out" / "index.html").as_uri()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address, wait_until="networkidle", timeout=120_000)
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate(CUT_OFF) == []
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    page.close()


def test_the_check_for_cut_off_things_finds_one(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_content("<p>fine</p><table><tr><td style='min-width: 2000px'>too wide</td></tr></table>")
    assert page.evaluate(CUT_OFF)
    page.close()


def test_links_within_the_page_lead_somewhere(made, browser):
    page = browser.new_page()
    page.goto((made / "out" / "index.html").as_uri(), timeout=120_000)
    targets = page.eval_on_selector_all(
        "a[href^='#']", "links => links.map(link => link.getAttribute('href').slice(1))"
    )
    assert set(TASKS) <= set(targets)
    for target in targets:
        assert page.evaluate("id => document.getElementById(id) !== null", target), target
    page.close()


# ---- on paper -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not find_chromium(), reason=doctor.NO_CHROMIUM)
@pytest.mark.skipif(not shutil.which("pdfinfo"), reason=doctor.NO_PDFINFO)
def test_the_pdf_is_a4_with_a_first_page_of_answers(made):
    pdf = made / "out" / "report.pdf"
    facts = dict(
        line.split(":", 1) for line in subprocess.check_output(["pdfinfo", pdf], text=True).splitlines() if ":" in line
    )
    assert "A4" in facts["Page size"]
    first = subprocess.check_output(["pdftotext", "-l", "1", pdf, "-"], text=True)
    assert first.count("What would change it") == len(TASKS)


@pytest.mark.skipif(not find_chromium(), reason=doctor.NO_CHROMIUM)
def test_a_pdf_can_be_printed_while_an_event_loop_runs_as_in_a_notebook(tmp_path):
    (tmp_path / "a.html").write_text("<p>seen</p>")

    async def within():
        print_pdf(tmp_path / "a.html", tmp_path / "a.pdf", find_chromium())

    with ThreadPoolExecutor(1) as thread:  # this one may have the event loop of the browser that other tests use
        thread.submit(asyncio.run, within()).result()
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
