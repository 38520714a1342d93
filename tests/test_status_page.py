"""The page of `vpt prompts status`: eight prompts in different states, on screens from 320 px to wide and on A4."""

import re
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from watched import LATER, example

from vptlib.errors import UserError
from vptlib.evidence.limits import ACCURACY, MISS_RATE, Limit
from vptlib.operations.status_page import HEADINGS, headline, row_of, write_status
from vptlib.operations.watch import ACT, FINE, LOOK, Day, Point, Reason, Stretch, Watch, not_registered, watched
from vptlib.statement import Statement

NOW = datetime(2026, 3, 3, 14, 5, tzinfo=UTC)


def sentence(statement):
    """Stands for `vptlib.report.words`."""
    return f"{statement.code}: {', '.join(map(str, statement.values.values()))}."


@pytest.fixture(scope="module")
def watches(tmp_path_factory, empty_database):
    store = tmp_path_factory.mktemp("store")
    shutil.copy(empty_database, store / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VPTLIB_STORE", str(store))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        registry, records = example(tmp_path_factory.mktemp("files"))
        assert not_registered(registry, records) == ["loose"]
        return watched(registry, records, now=datetime.now(UTC) + LATER)


@pytest.fixture(scope="module")
def page(watches, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "status.html"
    write_status(watches, path, sentence, NOW, ["loose & <b>"])
    return path


def text_of(watch, tmp_path, words=sentence):
    path = tmp_path / "status.html"
    write_status([watch], path, words, NOW)
    return path.read_text("utf-8")


# ---- what it says -------------------------------------------------------------------------------------------------


def test_the_states_of_eight_prompts_are_in_the_table_the_most_urgent_first(watches):
    rows = {row[0]: dict(zip(HEADINGS, row, strict=True)) for row in map(row_of, watches)}
    assert [row["verdict"] for row in rows.values()] == ["act"] * 2 + ["look"] * 5 + ["fine"]
    assert "broken" in rows["welds"]["limits"]
    assert rows["solar"]["drift"] == "found"
    assert rows["bolts"]["labels"].endswith(": decide again")
    assert rows["tiles"]["answers"] == "0"
    assert rows["seals"]["answers"] == rows["caps"]["since"] == "–"
    assert rows["cells"]["answers"] == "420"
    assert rows["cells"]["limits"] == "2 kept"
    assert headline(watches) == "Of 8 prompts, 2 need action, 5 should be looked at and 1 is fine."


@pytest.mark.parametrize(
    ("verdicts", "wanted"),
    [
        ([], "There is no prompt yet."),
        ([FINE], "The one prompt is fine."),
        ([FINE, FINE], "All 2 prompts are fine."),
        ([ACT], "Of 1 prompt, 1 needs action."),
        ([ACT, FINE, FINE], "Of 3 prompts, 1 needs action and 2 are fine."),
        ([LOOK, LOOK], "Of 2 prompts, 2 should be looked at."),
    ],
)
def test_the_headline_counts_what_is_to_be_done(verdicts, wanted):
    found = [Watch(str(k), reasons=(Reason(verdict, Statement("x", {})),)) for k, verdict in enumerate(verdicts)]
    assert headline(found) == wanted


def test_the_page_has_who_allowed_what_the_findings_the_next_step_and_what_is_not_watched(page):
    text = page.read_text("utf-8")
    assert "2026-03-03 14:05 UTC" in text
    assert re.search(
        r"Version 1 \(VPT-deep on small\) answers since \d{4}-\d\d-\d\d \d\d:\d\d UTC; ben promoted it", text
    )
    assert '<li class="act-on">watch_broken: ' in text
    assert '<li class="look-at">drift_found: ' in text
    assert "<pre>vpt report CONFIG.yaml</pre>" in text
    assert "What is not watched" in text
    for chart in ("Answers a day", "Share for a person, by day", "Distance from the test", "Missed: scratch and pit"):
        assert f"<figcaption>{chart}" in text


def test_the_same_watches_give_the_same_page(watches, page, tmp_path):
    write_status(watches, tmp_path / "again.html", sentence, NOW, ["loose & <b>"])
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_every_name_is_escaped(page, tmp_path):
    text = page.read_text("utf-8")
    assert "nuts &amp; bolts" in text
    assert "loose &amp; &lt;b&gt;" in text
    evil = Watch("cells", reasons=(Reason(ACT, Statement("x", {}), "vpt <i>"),))
    shown = text_of(evil, tmp_path, lambda _: "<script>alert(1)</script>")
    assert "<script" not in shown
    assert "vpt &lt;i&gt;" in shown
    limit = Limit(MISS_RATE, ("<u>",), 0.1)
    charted = replace(evil, limits=(Stand(limit),), points=((Point(1, 0.5, 0, 1), Point(9, 0.1, 0, 0.4)),))
    assert "Missed: &lt;u&gt;" in text_of(charted, tmp_path)


class Stand:
    """Stands for `vptlib.evidence.sequential.Watched`."""

    def __init__(self, limit, verdict="open"):
        self.limit, self.verdict = limit, verdict


def test_another_file_is_not_replaced_but_an_earlier_page_is(page, tmp_path):
    other = tmp_path / "mine.html"
    other.write_text("<html>mine</html>")
    with pytest.raises(UserError, match="name another --page"):
        write_status([], other, sentence, NOW)
    assert other.read_text() == "<html>mine</html>"
    copy = shutil.copy(page, tmp_path / "status.html")
    write_status([], copy, sentence, NOW)
    assert "There is no prompt yet." in copy.read_text("utf-8")
    with pytest.raises(UserError, match="cannot be written"):
        write_status([], other / "status.html", sentence, NOW)


# ---- charts -------------------------------------------------------------------------------------------------------


def circles(text, kind):
    return [(float(x), float(y)) for x, y in re.findall(rf'<circle class="{kind}" cx="([\d.]+)" cy="([\d.]+)"', text)]


def line(text):
    return [tuple(map(float, pair.split(","))) for pair in re.search(r'class="line" points="(.*?)"', text)[1].split()]


def test_bars_are_as_high_as_the_answers_of_their_day(tmp_path):
    days = tuple(Day(date(2026, 3, 1) + timedelta(days=k), count, 0, 0) for k, count in enumerate((10, 0, 5)))
    text = text_of(Watch("cells", days=days), tmp_path)
    heights = [float(height) for height in re.findall(r'class="bar".*?height="([\d.]+)"', text)]
    assert heights == [100.0, 0.0, 50.0]
    assert 'aria-label="15 answers in 3 days; 10 on the day with the most."' in text
    assert "01 Mar" in text and "03 Mar" in text


def test_days_without_answers_have_no_share(tmp_path):
    days = tuple(
        Day(date(2026, 3, 1 + k), known, asked, known) for k, (known, asked) in enumerate([(4, 1), (0, 0), (4, 2)])
    )
    text = text_of(Watch("cells", days=days, tested_for_person=0.25), tmp_path)
    first, second = circles(text, "dot")
    assert first[1] > second[1], "50 % is above 25 %"
    assert f"M44 {first[1]:.1f}" in text, "the line of the test is at the same height as 25 %"
    assert "test 25" in text


def test_blocks_with_drift_are_marked_and_one_is_the_line_of_chance(tmp_path):
    blocks = tuple(
        Stretch(NOW + timedelta(days=k), ratio, ratio > 2) for k, ratio in enumerate((1.0, 4.0, float("inf")))
    )
    text = text_of(Watch("cells", stretches=blocks), tmp_path)
    (chance,), (far, further) = circles(text, "dot"), circles(text, "marked")
    assert chance[1] > far[1] > further[1]
    assert f'class="mark" d="M44 {chance[1]:.1f}' in text
    assert "drift was found in 2" in text


@pytest.mark.parametrize(("kind", "value"), [(MISS_RATE, 0.02), (ACCURACY, 0.9), (ACCURACY, 1.0), (MISS_RATE, 0.0)])
def test_a_rate_is_drawn_against_its_limit_within_the_chart(tmp_path, kind, value):
    limit = Limit(kind, ("pit",) if kind == MISS_RATE else (), value)
    points = tuple(Point(k, 0.95 if kind == ACCURACY else 0.05, 0.0 if k < 9 else 0.01, 1.0) for k in range(1, 40))
    text = text_of(Watch("cells", limits=(Stand(limit),), points=(points,)), tmp_path)
    heights = [y for _, y in line(text)]
    drawn = float(re.search(r'class="mark" d="M44 ([\d.]+)', text)[1])
    assert all(12 <= y <= 112 for y in [*heights, drawn])
    better = {MISS_RATE: heights[-1] < drawn, ACCURACY: heights[-1] < drawn}[kind]
    assert better == (value in (0.02, 0.9, 0.0)), "above the limit: more misses, or a higher accuracy"
    assert "39 checked" in text


# ---- how it looks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [320, 390, 760, 761, 1280])
def test_nothing_is_cut_and_chart_text_is_legible_on_any_screen(browser, page, width):
    tab = browser.new_page(viewport={"width": width, "height": 900})
    requests = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page.as_uri())
    assert requests == [page.as_uri()], "nothing is fetched"
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    cut = tab.evaluate(
        """[...document.querySelectorAll("main *")].filter(one => {
            const box = one.getBoundingClientRect();
            return one.closest("thead") === null && box.width && (box.right > innerWidth + 1 || box.left < -1);
        }).map(one => one.outerHTML.slice(0, 80))"""
    )
    assert cut == []
    sizes = tab.evaluate(
        """[...document.querySelectorAll("svg text")].map(one =>
            parseFloat(getComputedStyle(one).fontSize) * one.ownerSVGElement.getBoundingClientRect().width / 288)"""
    )
    assert len(sizes) > 50
    assert min(sizes) >= 11
    outside = tab.evaluate(
        """[...document.querySelectorAll("svg text")].filter(one => {
            const text = one.getBoundingClientRect(), chart = one.ownerSVGElement.getBoundingClientRect();
            return text.left < chart.left - 1 || text.right > chart.right + 1;
        }).map(one => one.textContent)"""
    )
    assert outside == []
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_paper_in_both_schemes(browser, page, scheme):
    tab = browser.new_page(color_scheme=scheme)
    tab.goto(page.as_uri())
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    words = tab.evaluate(
        """["body", ".scope", ".verdict.fine", ".verdict.look", ".verdict.act"].map(which =>
            getComputedStyle(document.querySelector(which)).color)"""
    )
    text = tab.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
    assert min(contrast(colour, paper) for colour in [*words, text]) >= 4.5
    assert (luminance(paper) < 0.1) == (scheme == "dark")
    tab.close()


def luminance(colour):
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_on_paper_the_table_has_all_columns_on_the_sheet(browser, page):
    tab = browser.new_page(viewport={"width": 680, "height": 1000})  # A4 less its margins
    tab.goto(page.as_uri())
    tab.emulate_media(media="print")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 680
    heads = tab.evaluate(
        "[...document.querySelectorAll('thead th')].filter(one => one.getBoundingClientRect().width > 20).length"
    )
    assert heads == len(HEADINGS)
    tab.close()


def test_every_chart_says_in_words_what_it_shows(browser, page):
    tab = browser.new_page()
    tab.goto(page.as_uri())
    labels = tab.evaluate('[...document.querySelectorAll("svg")].map(one => one.getAttribute("aria-label"))')
    assert len(labels) >= 15
    assert all(label and label.endswith(".") and re.search(r"\d", label) for label in labels)
    assert tab.evaluate('document.querySelectorAll("script, link, img, iframe").length') == 0
    tab.close()
