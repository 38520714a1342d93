"""A whole report, small but real: its parts, its contract, and how it looks in a browser and on A4."""

import asyncio
import hashlib
import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import nbformat
import pikepdf
import pytest
from axe_playwright_python.sync_playwright import Axe

from vptlib import doctor
from vptlib.evidence.recommendation import STEPS, use_code
from vptlib.report import build
from vptlib.report.config import read_config
from vptlib.report.pages import find_chromium, language_tag, own_name, print_pdfs
from vptlib.report.pdf import figures_of
from vptlib.report.told import told_task
from vptlib.report.words import speaking
from vptlib.study import runner
from vptlib.study.study import Study

pytestmark = pytest.mark.slow

TASKS = ("digits", "dsprites-location")
SETTINGS = """
title: A small <report> & its title
language: [en, ja]
tasks: [digits, dsprites-location]
sizes: [40, 60]
image_size: 28
depth: 1
steps: 2
candidates: 1
test_images: 30
"""


LANGUAGES = {"en": ("index.html", "report.pdf"), "ja": ("index.ja.html", "report.ja.pdf")}
in_each_language = pytest.mark.parametrize("language", LANGUAGES)
MOST_BYTES = 3_000_000


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
    pages, pdfs = map(set, zip(*LANGUAGES.values(), strict=True))
    assert parts == pages | {"summary.json", "notebooks"} | (pdfs if find_chromium() else set())
    notebooks = {f"report_{part}.ipynb" for part in ("overview", *TASKS)}
    assert {path.name for path in (made / "out" / "notebooks").iterdir()} == notebooks | {"ja"}
    assert {path.name for path in (made / "out" / "notebooks" / "ja").iterdir()} == notebooks


def test_the_notebooks_ran_without_an_error_or_a_path_of_this_machine(made):
    for path in (made / "out" / "notebooks").rglob("*.ipynb"):
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
    one = SETTINGS.replace("[digits, dsprites-location]", "[digits]").replace("[en, ja]", "en")
    (tmp_path / "small.yaml").write_text(one)
    monkeypatch.setattr(build, "run_in_time", lambda *_: None)
    page = build.make_report(tmp_path / "small.yaml", tmp_path / "out", time_given="1h").read_text()
    assert "No answer yet: it needs more time" in page
    assert "Full fine-tuning has no finished run with 60 labelled images" in page
    assert "4 runs not made" in page and "What the audit of the runs found" in page
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


@in_each_language
def test_the_page_has_the_answers_first_and_hides_the_code(made, language):
    html = (made / "out" / LANGUAGES[language][0]).read_text()
    assert f'<html lang="{language_tag(language)}">' in html
    assert "<title>A small &lt;report&gt; &amp; its title</title>" in html
    assert html.index('id="decision"') < html.index('id="contents"') < html.index('id="digits"')
    assert "import" not in re.sub(r'"data:[^"]*"', "", html.split("</style>")[1])
    assert "<script" not in html


def test_the_pages_lead_to_each_other_and_say_in_which_language(made):
    for language, (name, _) in LANGUAGES.items():
        [(code, (other, _))] = [item for item in LANGUAGES.items() if item[0] != language]
        html = (made / "out" / name).read_text()
        assert re.findall(r"<a [^>]*hreflang[^>]*>[^<]+</a>", html) == [
            f'<a href="{other}" hreflang="{code}" lang="{code}">{own_name(code)}</a>'
        ]


def test_the_fingerprint_on_the_page_is_that_of_the_summary_which_is_in_the_first_language(made):
    text = (made / "out" / "summary.json").read_bytes()
    assert json.loads(text)["language"] == "en"
    for name, _ in LANGUAGES.values():
        assert hashlib.sha256(text).hexdigest()[:16] in (made / "out" / name).read_text()


@in_each_language
def test_page_and_pdf_are_small_enough_to_send(made, language):
    assert all(
        path.stat().st_size < MOST_BYTES for name in LANGUAGES[language] if (path := made / "out" / name).exists()
    )


def test_a_second_build_gives_the_same_bytes_on_the_same_day(with_its_store, tmp_path, monkeypatch):
    """Nothing is trained, and both are made on one day."""
    monkeypatch.setattr(runner, "run_cell", lambda *_: pytest.fail("a finished run was made again"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int((with_its_store / "out" / "index.html").stat().st_mtime)))
    build.make_report(with_its_store / "small.yaml", tmp_path / "out")  # commands on the page name the folder
    names = [name for names in LANGUAGES.values() for name in names] + ["summary.json"]
    assert differing(with_its_store / "out", tmp_path / "out", names) == []


def differing(one: Path, other: Path, names: list[str]) -> list[str]:
    """The files of two folders that differ, those that only one of them has included."""
    read = lambda path: path.read_bytes() if path.exists() else None  # noqa: E731
    return [name for name in names if read(one / name) != read(other / name)]


# ---- in the browser -------------------------------------------------------------------------------------------


# What is wider than its own box, or reaches out of the page; what scrolls by itself may be wider, and so may what only
# screen readers are to find.
BOXES = "img, svg, table, p, li, dt, dd, h1, h2, h3, h4, pre, caption, td, th, figcaption, summary"
CUT_OFF = """
boxes => [...document.querySelectorAll(boxes)].filter(element => element.checkVisibility()).filter(element => {
    const box = element.getBoundingClientRect(), width = document.documentElement.clientWidth;
    const scrolling = node => ['auto', 'scroll'].includes(getComputedStyle(node).overflowX);
    const scrolls = node => node && (scrolling(node) || scrolls(node.parentElement));
    const hasBox = getComputedStyle(element).display !== 'inline' && element.tagName !== 'svg';
    const seen = getComputedStyle(element).clipPath !== 'inset(50%)';
    const clipped = seen && hasBox && element.scrollWidth > element.clientWidth + 1 && !scrolls(element);
    const outside = (box.left < -0.5 || box.right > width + 0.5) && !scrolls(element.parentElement);
    return clipped || outside;
}).map(element => element.outerHTML.replace(/data:[^"]*/g, '').slice(0, 200))
"""


def opened(made, browser, language: str, width: int, scheme: str = "light"):
    """The page of a language in a window of this width, and the list of what it asks for and complains about."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((made / "out" / LANGUAGES[language][0]).as_uri(), wait_until="load", timeout=120_000)
    return page, asked, complaints


def unfold(page) -> None:
    """Open all that is folded."""
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")


@in_each_language
@pytest.mark.parametrize("width", [1280, 800, 390, 320])
def test_nothing_is_fetched_and_nothing_is_cut_off(made, browser, language, width):
    page, asked, complaints = opened(made, browser, language, width)
    unfold(page)
    assert [url for url in asked if not url.startswith("data:")] == [page.url]
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate(CUT_OFF, BOXES) == []
    seen = "image => image.loading === 'lazy' || !image.checkVisibility() || image.complete && image.naturalWidth > 0"
    assert page.evaluate(f"[...document.images].every({seen})")
    page.close()


@in_each_language
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_that_keeps_a_reader_out(made, browser, language, width, scheme):
    page, _, _ = opened(made, browser, language, width, scheme)
    unfold(page)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200], len(one["nodes"])) for one in found] == []
    page.close()


@in_each_language
def test_headings_skip_no_level_and_every_image_has_a_text(made, browser, language):
    page, _, _ = opened(made, browser, language, 1280)
    levels = page.eval_on_selector_all("h1, h2, h3, h4, h5, h6", "all => all.map(head => +head.tagName[1])")
    assert levels[0] == 1 and all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert page.eval_on_selector_all("img", "all => all.filter(image => !image.getAttribute('alt')).length") == 0
    assert page.locator("img").count() >= 10 * len(TASKS)
    page.close()


def test_the_check_for_cut_off_things_finds_one(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_content("<p>fine</p><table><tr><td style='min-width: 2000px'>too wide</td></tr></table>")
    assert page.evaluate(CUT_OFF, BOXES)
    page.close()


@in_each_language
def test_links_within_the_page_lead_somewhere(made, browser, language):
    page, _, _ = opened(made, browser, language, 1280)
    targets = page.eval_on_selector_all(
        "a[href^='#']", "links => links.map(link => decodeURIComponent(link.getAttribute('href').slice(1)))"
    )
    assert {*TASKS, "content"} <= set(targets)
    for target in targets:
        assert page.evaluate("id => document.getElementById(id) !== null", target), target
    ids = page.eval_on_selector_all("[id]", "all => all.map(element => element.id)")
    assert len(ids) == len(set(ids))
    page.close()


# ---- on paper -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not find_chromium(), reason=doctor.NO_CHROMIUM)
@pytest.mark.skipif(not shutil.which("pdfinfo"), reason=doctor.NO_PDFINFO)
@in_each_language
def test_the_pdf_is_a4_with_a_first_page_of_answers(made, language):
    pdf = made / "out" / LANGUAGES[language][1]
    facts = dict(
        line.split(":", 1) for line in subprocess.check_output(["pdfinfo", pdf], text=True).splitlines() if ":" in line
    )
    assert "A4" in facts["Page size"]
    first = subprocess.check_output(["pdftotext", "-l", "1", pdf, "-"], text=True)
    with speaking(language):
        titles = [told_task(task).title for task in TASKS]
    assert all("".join(title.split()) in "".join(first.split()) for title in titles)
    assert hashlib.sha256((made / "out" / "summary.json").read_bytes()).hexdigest()[:16] in first
    sheets = subprocess.check_output(["pdftotext", pdf, "-"], text=True).split("\f")[:-1]
    for number, sheet in enumerate(sheets, 1):
        text = " ".join(sheet.split())
        assert text.endswith(f"{number} / {len(sheets)}") and "A small <report> & its title" in text


@pytest.mark.skipif(not find_chromium(), reason=doctor.NO_CHROMIUM)
@in_each_language
def test_a_reader_of_the_pdf_finds_its_way(made, language):
    page, name = (made / "out" / file for file in LANGUAGES[language])
    with pikepdf.open(name) as document:
        assert document.Root.Lang == language_tag(language)
        assert document.docinfo["/Title"] == "A small <report> & its title" and "/Author" not in document.docinfo
        assert document.Root.ViewerPreferences.DisplayDocTitle and document.Root.MarkInfo.Marked
        assert "/Metadata" not in document.Root, "no claim of PDF/UA"
        bookmarks = [item.title for item in document.open_outline().root]
        assert bookmarks
        figures = list(figures_of(document))
        printed = re.sub("<details.*?</details>", "", page.read_text(), flags=re.DOTALL)  # what is folded is not
        assert len(figures) >= printed.count("<img") and all(str(figure.Alt) for figure in figures)
        links = [link for sheet in document.pages for link in sheet.obj.get("/Annots", [])]
        assert sum("/Dest" in link for link in links) > 10 * len(TASKS), "the contents list leads somewhere"
        addresses = [str(link.A.URI) for link in links if "/A" in link and "/URI" in link.A]
        assert not [address for address in addresses if address.startswith("file:")]


@pytest.mark.skipif(not find_chromium(), reason=doctor.NO_CHROMIUM)
def test_a_pdf_can_be_printed_while_an_event_loop_runs_as_in_a_notebook(tmp_path):
    (tmp_path / "a.html").write_text("<p>seen</p>")

    async def within():
        print_pdfs({tmp_path / "a.html": tmp_path / "a.pdf"}, find_chromium())

    with ThreadPoolExecutor(1) as thread:  # this one may have the event loop of the browser that other tests use
        thread.submit(asyncio.run, within()).result()
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
