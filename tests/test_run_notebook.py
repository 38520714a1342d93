"""`vpt run`: names and types are checked, the page is self-contained, and a failure leaves nothing behind."""

import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from typer.testing import CliRunner

from vptlib import cli
from vptlib.course import run_notebook
from vptlib.course.run_notebook import checked, default_folder, find_notebook, lesson_page, parsed, run_lesson
from vptlib.errors import UserError
from vptlib.paths import repository

PARAMETERS = """
n: int = 3  # a number
rate: float = 0.5  # a rate
task: str = "digits"  # a text
sizes: list[int] = [50, 100]  # numbers
quick: bool = True  # whether
""".strip()


@pytest.fixture
def notebook(tmp_path):
    """Factory of a notebook with the parameters above and further cells."""

    def make(*sources: str) -> Path:
        first = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        cells = [
            new_markdown_cell("# A lesson\n\nWidth $D^2$, [next](other.ipynb)."),
            first,
            *map(new_code_cell, sources),
        ]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = tmp_path / "lesson.ipynb"
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
        return path

    return make


# ---- names and types --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["02", "02_training", "02_training.ipynb", "notebooks/02_training.ipynb"])
def test_a_notebook_is_found_by_number_name_or_path(name):
    assert find_notebook(name) == repository() / "notebooks" / "02_training.ipynb"


@pytest.mark.parametrize("name", ["ja/07", "ja/07_decide", "notebooks/ja/07_decide.ipynb"])
def test_a_translated_notebook_is_found_by_its_folder_and_has_results_of_its_own(name):
    found = find_notebook(name)
    assert found == repository() / "notebooks" / "ja" / "07_decide.ipynb"
    assert default_folder(found, {}).name == "07_decide.ja"
    assert default_folder(found, {"n": 3}).name == "07_decide.ja-n=3"
    assert default_folder(find_notebook("07"), {}).name == "07_decide"


def test_a_page_is_in_the_language_of_its_lesson():
    notebook = new_notebook(cells=[new_markdown_cell("# 題名")])
    assert '<html lang="ja' in lesson_page(notebook, "ja")
    assert '<html lang="en' in lesson_page(notebook)


def test_a_page_shows_what_a_cell_displays_and_what_its_last_line_gives():
    shown = [
        new_output("display_data", {"text/html": "<b>displayed</b>"}),
        new_output("execute_result", {"text/html": "<b>given</b>"}, execution_count=1),
    ]
    html = lesson_page(new_notebook(cells=[new_code_cell("1", outputs=shown)]))
    assert html.count("<b>displayed</b>") == html.count("<b>given</b>") == 1


def test_a_missing_notebook_is_reported_with_a_similar_name():
    with pytest.raises(UserError, match="did you mean 02_training"):
        find_notebook("02_trainning")
    with pytest.raises(UserError, match=r"take one of .*01_prompt_internals"):
        find_notebook("zzz")


def test_parameters_come_from_yaml_and_json_and_the_last_value_counts():
    assert parsed(["{n: 200}", '{"rate": 0.1, "sizes": [1, 2]}', "n: 300"]) == {"n": 300, "rate": 0.1, "sizes": [1, 2]}


@pytest.mark.parametrize("text", ["{n: ", "n=200", "[1, 2]", "3: 4", ""])
def test_text_without_parameters_is_refused(text):
    with pytest.raises(UserError, match=r"-y .*: write it like -y '\{n: 200\}'"):
        parsed([text])


@pytest.mark.parametrize(
    "values",
    [{"n": 5}, {"rate": 1}, {"task": "x"}, {"sizes": [1, 2]}, {"quick": False}],
)
def test_right_values_pass_unchanged(notebook, values):
    assert checked(notebook(), values) == values


@pytest.mark.parametrize(
    "values, fault",
    [
        ({"n": "many"}, "parameter 'n' of lesson.ipynb must be a whole number, such as 3, but is \"many\""),
        ({"n": 2.5}, "a whole number, such as 3, but is 2.5"),
        ({"n": True}, "a whole number"),
        ({"n": None}, "a whole number, such as 3, but is null"),
        ({"rate": "0.5"}, "a number, such as 0.5"),
        ({"quick": "yes"}, "true or false"),
        ({"sizes": 50}, r"a list of whole numbers, such as [50, 100], but is 50"),
        ({"sizes": [1, "a"]}, "a list of whole numbers"),
        ({"raet": 1}, "has no parameter 'raet': did you mean 'rate'?"),
        ({"zzz": 1}, "has no parameter 'zzz': it has n, rate, task, sizes, quick."),
    ],
)
def test_wrong_names_and_types_are_refused(notebook, values, fault):
    with pytest.raises(UserError, match=re.escape(fault)):
        checked(notebook(), values)


def test_a_file_that_is_not_a_notebook_is_refused(tmp_path):
    (tmp_path / "a.ipynb").write_text("hello")
    with pytest.raises(UserError, match="cannot be read as a notebook"):
        checked(tmp_path / "a.ipynb", {})


def test_every_lesson_takes_its_own_defaults():
    import ast

    import papermill

    for path in sorted((repository() / "notebooks").glob("[0-9]*.ipynb")):
        own = {name: ast.literal_eval(p["default"]) for name, p in papermill.inspect_notebook(path).items()}
        assert checked(path, own) == own


# ---- a run ------------------------------------------------------------------------------------------------------


def test_a_run_leaves_the_notebook_and_a_page_that_fetches_nothing(notebook, tmp_path, capfd):
    path = notebook("print(n + 40)", "from vptlib.course.widgets.view import ipywidgets\nipywidgets.IntSlider()")
    place = run_lesson(str(path), ["{n: 2}"], tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["lesson.html", "lesson.ipynb"]
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    html, ran = place.read_text(), (tmp_path / "out" / "lesson.ipynb").read_text()
    assert "42" in html and "<title>A lesson</title>" in html
    assert "<math" in html and "other.ipynb" not in html and "next" in html
    assert "<script" not in html and not re.search(r'(?:src|href)="https?:', html)
    assert "widget-view" not in ran and str(tmp_path) not in ran
    assert "cell" in capfd.readouterr().err  # the bar


def test_by_default_it_is_under_reports_and_named_after_its_parameters(notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(run_notebook, "repository", lambda: tmp_path)
    path = notebook("1")
    assert run_lesson(str(path), ["{n: 2}"], progress=False).parent == tmp_path / "reports" / "runs" / "lesson-n=2"
    assert default_folder(path, {"n": 2}) == tmp_path / "reports" / "runs" / "lesson-n=2"


def test_long_parameters_give_short_names_that_differ():
    long = ["/a/very long/folder" * 9, "/a/very long/folder" * 9 + "2", "a" * 90, "a" * 91]
    names = {default_folder(Path("lesson.ipynb"), {"task": task}).name for task in long}
    assert len(names) == 4 and all(re.fullmatch(r"[\w.=-]{1,60}", name) for name in names)


def test_a_cell_that_fails_is_named_and_an_earlier_run_stays(notebook, tmp_path, own_store):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lesson.html").write_text("the earlier one")
    with pytest.raises(UserError, match=r"lesson\.ipynb failed in cell 3 \(ZeroDivisionError"):
        run_lesson(str(notebook("assert n == 1", "1 / 0")), [], tmp_path / "out", progress=False)
    assert (tmp_path / "out" / "lesson.html").read_text() == "the earlier one"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_check_that_fails_is_reported_and_the_page_is_written(notebook, tmp_path):
    path = notebook("assert n == 3", "print('after')")
    with pytest.raises(UserError, match=r"page is at .*, but the check in cell 3 failed"):
        run_lesson(str(path), ["{n: 2}"], tmp_path / "out", progress=False)
    assert "after" in (tmp_path / "out" / "lesson.html").read_text()
    run_lesson(str(path), [], tmp_path / "out", progress=False)


def test_a_folder_with_other_files_is_not_changed(notebook, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years")
    with pytest.raises(UserError, match=r"holds 'thesis\.tex': name another folder with --out"):
        run_lesson(str(notebook()), [], tmp_path / "out")
    with pytest.raises(UserError, match="is a file: name a folder"):
        run_lesson(str(notebook()), [], tmp_path / "out" / "thesis.tex")


def test_formulas_in_code_stay_code():
    page = lesson_page(new_notebook(cells=[new_markdown_cell("`a $x$` and $x$ and\n\n```\n$y$\n```")]))
    assert page.count("<math") == 1 and "a $x$" in page and "$y$" in page


def test_only_cells_with_output_are_on_the_page():
    silent = new_code_cell("secret = 1")
    loud = new_code_cell("print(1)", outputs=[new_output("stream", text="seen")])
    page = lesson_page(new_notebook(cells=[silent, loud]))
    assert "seen" in page and "secret" not in page


def test_the_command_prints_the_path_and_gives_exit_codes(monkeypatch):
    monkeypatch.setattr(run_notebook, "run_lesson", lambda *given: given)
    done = CliRunner().invoke(cli.app, ["run", "02", "-y", "{n: 2}", "-y", "{steps: 3}", "--out", "x"])
    assert done.exit_code == 0 and "('02', ['{n: 2}', '{steps: 3}']" in done.stdout

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_notebook, "run_lesson", stopped)
    assert CliRunner().invoke(cli.app, ["run", "02"]).exit_code == 130
    monkeypatch.undo()
    wrong = CliRunner().invoke(cli.app, ["run", "02", "-y", "{stepz: 2}"])
    assert (wrong.exit_code, wrong.stderr) == (
        1,
        "Error: 02_training.ipynb has no parameter 'stepz': did you mean 'steps'?\n",
    )
