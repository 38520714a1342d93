"""`vpt report-all`: which reports are made again, what a failure leaves, and the index over all of them."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from html import unescape
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from vptlib import doctor
from vptlib.cli import app
from vptlib.errors import UserError
from vptlib.report import all_reports
from vptlib.report.all_reports import Made, configs_under, fingerprint_of, make_all, read_made
from vptlib.report.index_page import index_page, rows_of, small_curve, what_changed, write_index
from vptlib.report.pages import CHROMIUM_FLAGS, find_chromium
from vptlib.report.words import speaking


def part(task="digits", accuracy=0.8, choice="use_prompt", method="vpt-deep", **more):
    """A task's part of `summary.json`, as small as the index needs it."""
    curves = [
        {"method": one, "n": n, "mean": accuracy - 0.1 * (n < 400) - 0.05 * (one == "full"), "low": 0.7, "high": 0.9}
        for one in ("vpt-deep", "full")
        for n in (100, 400)
    ]
    advice = {
        "choice_code": choice,
        "method": method,
        "confidence": "medium",
        "probability": 0.81,
        "decide_again_at": 800,
    }
    return {"task": task, "curves": curves, "recommendation": advice, "asked": {}, "not_made": []} | more


@pytest.fixture
def place(tmp_path):
    """Two YAML files of two sites, and an empty folder for the reports."""
    for site, name in (("osaka", "parts"), ("nagoya", "welds")):
        (tmp_path / "configs" / site).mkdir(parents=True)
        (tmp_path / "configs" / site / f"{name}.yaml").write_text("tasks: [digits]\n")
    return tmp_path


class Maker:
    """Stands for `make_report`: writes a small report, or fails where it is told to."""

    def __init__(self, **parts):
        self.parts, self.calls, self.fail = parts, [], {}

    def __call__(self, config, out, time_given=None):
        self.calls.append(config.stem)
        if config.stem in self.fail:
            raise self.fail[config.stem]
        out.mkdir(parents=True, exist_ok=True)
        (out / "index.html").write_text("a report")
        (out / "summary.json").write_text(json.dumps(self.parts.get(config.stem, part())))
        return out / "index.html"


def made_in(place, make, **more):
    return make_all(place / "configs", place / "out", say=lambda _: None, make=make, **more)


# ---- what is made ---------------------------------------------------------------------------------------------


def test_each_yaml_file_has_its_report_in_a_folder_of_its_site(place):
    found = made_in(place, Maker())
    assert found.made == ("nagoya/welds", "osaka/parts") and not found.failed and not found.unchanged
    assert (place / "out" / "osaka" / "parts" / "index.html").is_file()
    assert [one.site for one in found.reports] == ["nagoya", "osaka"]


def test_what_nothing_has_changed_for_is_not_made_again(place):
    make = Maker()
    made_in(place, make)
    assert made_in(place, make).unchanged == ("nagoya/welds", "osaka/parts")
    (place / "configs" / "osaka" / "parts.yaml").write_text("tasks: [digits]\nsizes: [40]\n")
    found = made_in(place, make)
    assert found.made == ("osaka/parts",) and found.unchanged == ("nagoya/welds",)


@pytest.mark.parametrize("lost", ["index.html", "summary.json"])
def test_a_report_that_lost_a_part_is_made_again(place, lost):
    make = Maker()
    made_in(place, make)
    (place / "out" / "osaka" / "parts" / lost).unlink()
    assert made_in(place, make).made == ("osaka/parts",)


def test_a_report_that_lacks_runs_is_gone_on_with(place):
    make = Maker(parts=part(not_made=[{"method": "full"}]))
    made_in(place, make, time_given="1m")
    assert made_in(place, make, time_given="1m").made == ("osaka/parts",)


def test_a_failure_is_kept_with_its_reason_and_the_others_are_made(place):
    make = Maker()
    made_in(place, make)
    make.fail = {"parts": UserError("there are no images in parts/: add some.")}
    (place / "configs" / "osaka" / "parts.yaml").write_text("tasks: [digits]\nsizes: [40]\n")
    found = made_in(place, make)
    assert found.failed == ("osaka/parts",) and found.unchanged == ("nagoya/welds",)
    kept = read_made(place / "out")["osaka/parts"]
    assert kept.failed == "there are no images in parts/: add some." and kept.day
    assert (place / "out" / "osaka" / "parts" / "index.html").is_file(), "the earlier report stays"
    assert made_in(place, make).failed == ("osaka/parts",), "a failed one is tried again"


def test_an_unexpected_error_and_a_password_in_it_do_not_stop_or_leak(place, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "tr0ub4dor")
    make = Maker()
    make.fail = {"welds": RuntimeError("refused for tr0ub4dor")}
    assert made_in(place, make).made == ("osaka/parts",)
    assert read_made(place / "out")["nagoya/welds"].failed == "RuntimeError: refused for ***"


def test_an_interrupted_command_goes_on_where_it_was(place):
    make = Maker()
    make.fail = {"parts": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        made_in(place, make)
    make.fail = {}
    found = made_in(place, make)
    assert found.unchanged == ("nagoya/welds",) and found.made == ("osaka/parts",)


def test_a_yaml_file_that_is_gone_leaves_the_index(place):
    make = Maker()
    made_in(place, make)
    (place / "configs" / "osaka" / "parts.yaml").unlink()
    made_in(place, make)
    assert set(read_made(place / "out")) == {"nagoya/welds"}


def test_two_commands_do_not_work_on_one_folder(place):
    def make(*_):
        with ThreadPoolExecutor(1) as thread, pytest.raises(UserError, match="another `vpt report-all` is at work"):
            thread.submit(made_in, place, Maker()).result()
        raise UserError("tried.")

    assert len(made_in(place, make).failed) == 2


def test_a_new_image_changes_the_mark_of_its_report_and_another_folder_does_not(tmp_path):
    for folder in ("photos", "others"):
        (tmp_path / folder / "good").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "good" / "a.png")
    config = tmp_path / "photos.yaml"
    config.write_text("tasks: [folder:photos]\n")
    before = fingerprint_of(config)
    Image.new("RGB", (8, 8)).save(tmp_path / "others" / "good" / "b.png")
    assert fingerprint_of(config) == before
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "good" / "b.png")
    with_image = fingerprint_of(config)
    assert with_image != before
    os.utime(tmp_path / "photos" / "good" / "a.png", ns=(1, 1))
    assert fingerprint_of(config) not in (before, with_image)
    assert fingerprint_of(config, "30m") != fingerprint_of(config)


@pytest.mark.parametrize(
    "files, reason",
    [
        ([], "there is no YAML file in"),
        (["a.yaml", "a.yml"], "would share the report a: rename one of them"),
        (["a.yaml", "a/b.yaml"], "in the folder of that of"),
    ],
)
def test_a_folder_that_cannot_be_laid_out_is_refused(tmp_path, files, reason):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("tasks: [digits]\n")
    with pytest.raises(UserError, match=reason):
        configs_under(tmp_path)


def test_hidden_folders_hold_no_reports_to_make(place):
    (place / "configs" / ".git").mkdir()
    (place / "configs" / ".git" / "x.yaml").write_text("tasks: [digits]\n")
    assert set(configs_under(place / "configs")) == {"nagoya/welds", "osaka/parts"}


@pytest.mark.parametrize("text", ["", "{", '{"reports": 3}', '{"reports": [{"name": 3}]}'])
def test_a_damaged_list_of_what_was_made_means_that_all_is_made_anew(place, text):
    make = Maker()
    made_in(place, make)
    (place / "out" / all_reports.MADE).write_text(text)
    assert len(made_in(place, make).made) == 2


# ---- the command ------------------------------------------------------------------------------------------------


def test_the_command_makes_all_writes_the_index_and_ends_with_1_for_a_failure(place, monkeypatch):
    make = Maker()
    make.fail = {"welds": UserError("no such task: 'screws'.")}
    monkeypatch.setattr(all_reports, "make_all", partial(make_all, make=make))
    said = CliRunner().invoke(app, ["report-all", str(place / "configs"), "--out", str(place / "out")])
    assert said.exit_code == 1, said.output
    assert "1 made, 0 unchanged, 1 failed" in said.output and "Failed: nagoya/welds" in said.output
    page = unescape((place / "out" / "index.html").read_text())
    assert "no such task: 'screws'." in page and 'href="osaka/parts/index.html"' in page


def test_the_index_has_the_language_that_is_asked_for(place, monkeypatch):
    monkeypatch.setattr(all_reports, "make_all", partial(make_all, make=Maker()))
    command = ["report-all", str(place / "configs"), "--out", str(place / "out"), "--language"]
    assert CliRunner().invoke(app, [*command, "ja"]).exit_code == 0
    page = (place / "out" / "index.html").read_text()
    assert '<html lang="ja">' in page and "The tasks" not in page and "タスク" in page
    assert CliRunner().invoke(app, [*command, "tlh"]).exit_code == 1


# ---- the index --------------------------------------------------------------------------------------------------


def page_of(out: Path, **parts) -> str:
    for name, facts in parts.items():
        (out / name).mkdir()
        (out / name / "index.html").write_text("a report")
        (out / name / "summary.json").write_text(json.dumps(facts))
    return index_page([Made(name, day="2026-11-29") for name in parts], out, "All")


def test_a_row_has_the_step_the_accuracy_and_what_was_asked(tmp_path):
    page_of(tmp_path, parts=part(asked={"accuracy_needed": 0.9}))
    (row,) = rows_of(Made("parts", day="2026-11-29"), tmp_path)
    assert row.step == "Use visual prompts (VPT-deep)" and row.step_code == "use_prompt" and row.sure == 0.81
    assert row.accuracy == "80.0\u202f% (70.0 to 90.0)" and row.reached == "no" and row.labels == 400
    assert row.again_at == 800 and row.address == "parts/index.html"


def test_a_report_of_several_tasks_has_a_row_for_each(tmp_path):
    page = page_of(tmp_path, both={"title": "Two", "tasks": [part("digits"), part("folder:/data/Schrauben & Muttern")]})
    assert page.count("<tr data-site") == 2
    assert "Schrauben &amp; Muttern" in page


@pytest.mark.parametrize(
    "now, text",
    [
        (part(), ""),
        (part(accuracy=0.8004), ""),
        (part(accuracy=0.85), "Accuracy +5.0 points, labels 400"),
        (part(choice="fine_tune", method="full"), "Before: Use visual prompts (VPT-deep)"),
    ],
)
def test_what_changed_is_said_in_words(now, text):
    assert what_changed(part(), now) == text


def test_names_and_reasons_cannot_become_markup(tmp_path):
    page_of(tmp_path, parts=part('folder:/data/<img src=x onerror="alert(1)">'))
    page = index_page([Made("parts", failed="<script>alert(2)</script>")], tmp_path, "</title><script>")
    assert "<img src=x" not in page and "<script>alert" not in page and "</title><script>" not in page


@pytest.mark.parametrize("facts", ["", "[1]", '{"tasks": []}'])
def test_a_damaged_summary_is_a_row_without_figures(tmp_path, facts):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "summary.json").write_text(facts)
    (row,) = rows_of(Made("parts", failed="lost"), tmp_path)
    assert row.task == "parts" and not row.step and not row.address


def test_no_curve_leaves_its_box_and_the_larger_accuracy_is_drawn_higher():
    lines = {line["title"]: line for line in small_curve(part(accuracy=1.0)["curves"])}
    assert lines["VPT-deep"]["last"][1] < lines["Full fine-tuning"]["last"][1]
    for line in lines.values():
        for point in line["points"].split():
            across, down = map(float, point.split(","))
            assert 0 <= across <= 120 and 0 <= down <= 40
    assert small_curve([]) == ()
    assert small_curve([{"method": "full", "n": 40, "mean": None}]) == ()


def test_an_index_of_200_reports_has_a_row_for_each(tmp_path):
    page_of(tmp_path, **{f"report-{k}": part(accuracy=0.5 + k / 500) for k in range(200)})
    reports = [Made(f"report-{k}", day="2026-11-29") for k in range(200)]
    assert index_page(reports, tmp_path, "200").count("<tr data-site") == 200


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason=doctor.NO_CHROMIUM)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_rows_are_sorted_and_filtered_and_nothing_is_wrong_for_a_screen_reader(tmp_path, language):
    parts = {"one": part("digits", 0.9), "two": part("folder:/data/ねじ", 0.7, asked={"accuracy_needed": 0.8})}
    parts["three"] = part("folder:/data/" + "a very long name " * 8, 0.75, choice="fine_tune", method="full")
    with speaking(language):
        (tmp_path / "all.html").write_text(page_of(tmp_path, **parts))
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_look, tmp_path / "all.html").result()


def _look(page_file: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(find_chromium()), args=list(CHROMIUM_FLAGS), chromium_sandbox=False
        )
        for width in (320, 390, 1280):
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
                page = context.new_page()
                page.goto(page_file.as_uri())
                found = Axe().run(page)
                assert found.violations_count == 0, (width, scheme, found.generate_report())
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
                context.close()
        page = browser.new_page()
        page.goto(page_file.as_uri())
        tasks = page.locator("#rows tbody tr:visible th")
        page.locator("#rows thead button").nth(4).click()
        assert tasks.all_inner_texts()[0] == "ねじ"
        page.locator("#rows thead button").nth(4).click()
        assert tasks.all_inner_texts()[0] == "digits"
        page.fill("#search", "long")
        assert tasks.count() == 1
        page.fill("#search", "")
        page.check("#attention")
        assert tasks.all_inner_texts() == ["ねじ"]
        browser.close()


def test_the_index_is_written_where_the_reports_are(place):
    made_in(place, Maker())
    assert write_index(place / "out") == place / "out" / "index.html"
    assert "nagoya" in (place / "out" / "index.html").read_text()
