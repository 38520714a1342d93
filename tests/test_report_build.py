"""What can go wrong in making a report: each time one sentence, and the earlier report stays as it was."""

import fcntl
import hashlib
import os
import re
import time
from contextlib import contextmanager
from pathlib import Path

import nbformat
import psutil
import pytest
from clusters import OneThread
from nbformat.v4 import new_code_cell, new_notebook

from vptlib.computed import FOLDER
from vptlib.data.tasks import load_task
from vptlib.errors import UserError
from vptlib.report import build
from vptlib.report.kernels import Kernels
from vptlib.study.plan import Cell
from vptlib.study.run_costs import Pace
from vptlib.study.study import Study
from vptlib.study.time_budget import forecast, paces_here
from vptlib.tuning.training import Diverged

SETTINGS = "tasks: [digits]\nsizes: [40]\nimage_size: 28\ndepth: 1\nsteps: 1\ncandidates: 1\ntest_images: 20\n"


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SETTINGS)
    return path


@pytest.fixture
def earlier(tmp_path) -> Path:
    """A report that is there already."""
    folder = tmp_path / "out"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "index.html").write_text("the earlier one")
    (folder / "summary.json").write_text("{}")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


# ---- the folder -----------------------------------------------------------------------------------------------


def steps(monkeypatch, **replaced):
    """Make a report without training, notebooks and Chromium. A test puts its own functions there."""

    def write_page(_, draft):
        (draft / "index.html").write_text("the new one")

    plain = {
        "check_material": lambda config: None,
        "run_studies": lambda *_: None,
        "begin_notebooks": lambda config, draft, shown, kernels: [],
        "write_notebooks": lambda config, draft, kernels, begun: None,
        "write_page": write_page,
        "write_summary": lambda config, draft: None,
        "write_pdf": lambda config, draft: "",
    }
    for name, step in (plain | replaced).items():
        monkeypatch.setattr(build, name, step)


def test_a_report_takes_the_place_of_the_earlier_one_as_a_whole(config, earlier, monkeypatch):
    steps(monkeypatch)
    assert build.make_report(config, earlier) == earlier / "index.html"
    assert contents(earlier) == {"index.html": "the new one"}
    assert hidden(earlier.parent) == []


@pytest.mark.parametrize(
    "step", ["check_material", "run_studies", "begin_notebooks", "write_summary", "write_notebooks", "write_page"]
)
@pytest.mark.parametrize("error", [UserError("wrong"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failure_anywhere_leaves_the_earlier_report(config, earlier, monkeypatch, step, error):
    def fail(*_):
        raise error

    steps(monkeypatch, **{step: fail})
    before = contents(earlier)
    with pytest.raises(type(error)):
        build.make_report(config, earlier)
    assert contents(earlier) == before
    assert hidden(earlier.parent) == []


def test_a_chromium_that_does_not_print_fails_the_command_but_not_the_page(config, tmp_path, monkeypatch):
    steps(monkeypatch, write_pdf=lambda config, draft: "chromium fell over: fix it.")
    with pytest.raises(UserError, match=r"index\.html, but without its PDF: chromium fell over"):
        build.make_report(config, tmp_path / "out")
    assert contents(tmp_path / "out") == {"index.html": "the new one"}


def test_by_default_a_report_is_next_to_the_others(config, tmp_path, monkeypatch):
    steps(monkeypatch)
    monkeypatch.setattr(build, "repository", lambda: tmp_path)
    assert build.make_report(config) == tmp_path / "reports" / "mine" / "index.html"


def test_a_folder_with_other_things_is_not_touched(config, earlier, monkeypatch):
    steps(monkeypatch)
    (earlier / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"'thesis\.tex', which is no part of a report: .* --out"):
        build.make_report(config, earlier)
    assert (earlier / "thesis.tex").read_text() == "years of work"


def test_a_report_that_had_another_language_before_is_replaced(config, earlier, monkeypatch):
    steps(monkeypatch)
    for name in ("index.ja.html", "report.pdf", "report.ja.pdf"):
        (earlier / name).write_text("the earlier one")
    build.make_report(config, earlier)
    assert contents(earlier) == {"index.html": "the new one"}


def test_a_language_that_there_is_not_makes_no_part_of_a_report(config, earlier, monkeypatch):
    steps(monkeypatch)
    (earlier / "index.tlh.html").write_text("mine")
    with pytest.raises(UserError, match=r"'index\.tlh\.html', which is no part of a report"):
        build.make_report(config, earlier)


def test_results_are_kept_while_the_notebooks_run_and_gone_afterwards(config, tmp_path, monkeypatch):
    kept = []
    steps(
        monkeypatch,
        write_notebooks=lambda *_: kept.extend([Path(os.environ[FOLDER]), os.path.isdir(os.environ[FOLDER])]),
    )
    build.make_report(config, tmp_path / "out")
    assert kept[1] and not kept[0].exists() and FOLDER not in os.environ
    assert contents(tmp_path / "out") == {"index.html": "the new one"}


def test_a_place_that_cannot_be_written_is_named(config, earlier, monkeypatch):
    steps(monkeypatch)
    with pytest.raises(UserError, match=r"index\.html is a file: name a folder with --out"):
        build.make_report(config, earlier / "index.html")
    with pytest.raises(UserError, match=r"cannot be written to .*below \(Not a directory\): .* --out"):
        build.make_report(config, earlier / "index.html" / "below")


def test_too_little_space_is_reported_before_training(config, earlier, monkeypatch):
    steps(monkeypatch, run_studies=lambda *_: pytest.fail("trained all the same"))
    monkeypatch.setattr(build, "free_bytes", lambda folder: 10e6)
    with pytest.raises(UserError, match=r"only 10 MB are free at .* MB are needed: free some"):
        build.make_report(config, earlier)


def test_two_reports_do_not_write_to_one_place(config, earlier, monkeypatch):
    steps(monkeypatch)
    draft = earlier.parent / ".out.draft"
    draft.mkdir()
    (draft / "index.html").write_text("half made")
    other = os.open(draft, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another report is being written"):
        build.make_report(config, earlier)
    assert contents(draft) == {"index.html": "half made"}
    os.close(other)  # the other one was killed
    build.make_report(config, earlier)
    assert contents(earlier) == {"index.html": "the new one"}
    assert hidden(earlier.parent) == []


def test_a_swap_cut_short_by_a_kill_is_undone(config, earlier, monkeypatch):
    def fail(*_):
        raise UserError("wrong")

    steps(monkeypatch, run_studies=fail)
    earlier.rename(earlier.parent / ".out.earlier")
    with pytest.raises(UserError):
        build.make_report(config, earlier)
    assert contents(earlier)["index.html"] == "the earlier one"
    assert hidden(earlier.parent) == []


# ---- time -----------------------------------------------------------------------------------------------------


@pytest.fixture
def timed(monkeypatch, own_store):
    """Two studies whose runs take a second each by forecast, and what was run with how many seconds."""
    ran = []
    monkeypatch.setattr("vptlib.study.time_budget.forecast", lambda plan, cell, jobs: 1.0)
    monkeypatch.setattr(build, "default_jobs", lambda: 1)
    monkeypatch.setattr(
        Study, "run", lambda self, progress, seconds, cluster: ran.append((self.task, round(seconds, -3)))
    )
    tiny = {"methods": ("vpt-deep", "full"), "sizes": (40,), "image_size": 14, "depth": 1}
    return [Study(task, **tiny) for task in ("digits", "dsprites-location")], ran


def test_each_study_has_its_share_of_the_time(timed, capsys):
    studies, ran = timed
    build.run_in_time(studies, time.time() + 10_000)
    assert ran == [("digits", 5000), ("dsprites-location", 10_000)], "what the first left is there for the second"
    assert "[2/2] dsprites-location\n  2 of 2 runs fit into the time" in capsys.readouterr().out


def test_a_line_says_that_steps_are_measured_which_takes_a_while(timed, capsys):
    build.run_in_time(timed[0], time.time() + 10_000)
    assert "Measuring what a step takes  00:00 gone" in capsys.readouterr().err


def test_a_time_that_is_too_short_is_refused_before_the_first_run(timed):
    studies, ran = timed
    with pytest.raises(UserError, match="time is too short for 'digits'"):
        build.run_in_time(studies, time.time() + 3)
    assert ran == []


def test_a_later_study_without_time_is_begun_all_the_same(timed, monkeypatch):
    """What it finishes is in the report, and what it begins is kept."""
    studies, ran = timed

    def late(self, progress, seconds, cluster):
        ran.append(self.task)
        monkeypatch.setattr(build.time, "time", lambda: 1e12)

    monkeypatch.setattr(Study, "run", late)
    build.run_in_time(studies, time.time() + 100)
    assert ran == ["digits", "dsprites-location"]


def test_a_report_without_a_single_run_says_what_to_do(config, tmp_path, monkeypatch, own_store):
    steps(monkeypatch, _affordable=lambda config, *_: config, run_in_time=lambda *_: None)
    with pytest.raises(UserError, match="before any run of 'digits' was finished: give more time"):
        build.make_report(config, tmp_path / "out", time_given="5m")


def test_on_a_cluster_it_is_the_workers_that_say_what_fits(config, tmp_path, monkeypatch, own_store):
    """This machine measures nothing: it may be a laptop, and the workers have GPUs."""
    asked, forecasts = [], []

    def happens(key, function, *args):
        asked.append(args)
        return [Pace(0.0, 0.5 if len(asked) % 2 else 1.5, 0.0)]

    @contextmanager
    def two_workers(text, tell):
        yield OneThread(happens, workers=2)

    def run_in_time(studies, deadline, place):
        forecasts.append(forecast(studies[0], Cell("full", 40, 0), place.slots))

    monkeypatch.setattr("vptlib.study.time_budget.pace_of", lambda *_: pytest.fail("measured here"))
    steps(monkeypatch, reached=two_workers, run_in_time=run_in_time)
    config.write_text(SETTINGS + "batch_size: 9\nrules: equal budget\n")  # a batch that no other test has measured
    with pytest.raises(UserError, match="before any run"):
        build.make_report(config, tmp_path / "out", time_given="1h", cluster="tcp://10.0.0.7:8786")
    assert forecasts == [pytest.approx(1.0)], "one step, the mean of both workers"
    assert {each[0] for each in asked} == {paces_here}
    sent = [each[1] for each in asked]
    assert all(plan.image_size == 28 and plan.precision != "auto" for plan in sent)


# ---- a method that fails ----------------------------------------------------------------------------------------


@pytest.fixture
def diverging(monkeypatch, own_store):
    """A study, the methods whose training diverges, and those that were run to their end by themselves."""
    bad, ran = set(), []

    def run(self, progress, cluster):
        if bad & set(self.methods):
            raise Diverged("training of 'x' diverged: raise `candidates`.")
        ran.append(self.methods)

    monkeypatch.setattr(Study, "run", run)
    study = Study("digits", methods=("linear", "vpt-deep", "full"), sizes=(40,), image_size=14, depth=1)
    return study, bad, ran


def test_a_method_that_diverges_is_left_out_and_the_others_are_run(diverging, capsys):
    study, bad, ran = diverging
    bad.add("full")
    build.run_studies([study])
    assert ran == [("linear",), ("vpt-deep",)]
    assert "raise `candidates`. The report is made without these runs." in capsys.readouterr().out


def test_a_study_of_which_nothing_converges_has_no_report(diverging):
    study, bad, ran = diverging
    bad.update(study.methods)
    with pytest.raises(Diverged):
        build.run_studies([study])
    assert ran == []


# ---- a notebook -----------------------------------------------------------------------------------------------


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Factory of a notebook with a parameter `a` and one cell, in a repository of its own."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(build, "repository", lambda: tmp_path)

    def make(source: str) -> None:
        parameters = new_code_cell("a: int = 1  # a number", metadata={"tags": ["parameters"]})
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        whole = new_notebook(cells=[parameters, new_code_cell(source)], metadata={"kernelspec": kernel})
        nbformat.write(whole, tmp_path / "notebooks" / "tried.ipynb")

    return make


@pytest.fixture
def run():
    """Runs notebooks in one kernel."""
    with Kernels(1, "") as kernels:
        yield lambda *given: kernels.begin(build.run_notebook, *given).result()


def test_a_parameter_that_the_notebook_lacks_is_named(notebook, run, tmp_path):
    notebook("print(a)")
    with pytest.raises(UserError, match=r"tried\.ipynb has no parameter 'b'"):
        run("tried", {"a": 2, "b": 3}, tmp_path / "done.ipynb")
    with pytest.raises(UserError, match=r"there is no notebook .*gone\.ipynb"):
        run("gone", {}, tmp_path / "done.ipynb")


def test_a_notebook_runs_with_its_parameters_and_keeps_no_path_of_the_machine(notebook, run, tmp_path):
    notebook("print(a + 40)")
    run("tried", {"a": 2}, tmp_path / "done.ipynb")
    text = (tmp_path / "done.ipynb").read_text()
    assert "42" in text
    assert str(tmp_path) not in text
    assert not list(tmp_path.glob("*.part*"))


def test_a_users_mistake_in_a_cell_comes_out_as_it_is(notebook, run, tmp_path):
    notebook("from vptlib.errors import UserError\nraise UserError('too few images: label more.')")
    with pytest.raises(UserError, match=r"^too few images: label more\.$"):
        run("tried", {"a": 2}, tmp_path / "done.ipynb")
    assert not (tmp_path / "done.ipynb").exists()


def test_a_cell_that_fails_is_named_and_kept_for_looking(notebook, run, tmp_path, own_store):
    notebook("1 / 0")
    with pytest.raises(UserError, match=r"tried\.ipynb failed in cell 3 \(ZeroDivisionError: division by zero\)"):
        run("tried", {"a": 2}, tmp_path / "done.ipynb")
    assert not (tmp_path / "done.ipynb").exists()
    assert "ZeroDivisionError" in (own_store / "failed" / "done.ipynb").read_text()


def test_a_notebook_finds_nothing_of_the_one_before_in_the_same_kernel(notebook, run, tmp_path):
    for number in (1, 2):
        notebook(f"import os\nprint(os.getpid(), 'left' in dir(), a)\nleft = {number}")
        run("tried", {"a": number}, tmp_path / f"{number}.ipynb")
    ran = [nbformat.read(tmp_path / f"{number}.ipynb", as_version=4).cells[-1] for number in (1, 2)]
    said = [cell.outputs[0].text.split() for cell in ran]
    assert [line[1:] for line in said] == [["False", "1"], ["False", "2"]]
    assert said[0][0] == said[1][0]
    assert ran[0].execution_count == ran[1].execution_count == 3


def test_kernels_end_with_their_block_whatever_happens(notebook, tmp_path):
    with pytest.raises(UserError), Kernels(2, "import json") as two:
        notebook("1 / 0")
        two.begin(build.run_notebook, "tried", {"a": 2}, tmp_path / "done.ipynb").result()
    assert not [child for child in psutil.Process().children() if "ipykernel" in " ".join(child.cmdline())]


def test_code_that_kernels_begin_with_may_fail(notebook, tmp_path):
    """The notebook then says what is wrong."""
    notebook("print(a)")
    with Kernels(1, "import gone_for_good") as one:
        one.begin(build.run_notebook, "tried", {"a": 2}, tmp_path / "done.ipynb").result()


def test_a_kernel_that_dies_is_reported(notebook, run, tmp_path):
    notebook("import os\nos._exit(1)")
    with pytest.raises(UserError, match=r"the kernel of tried\.ipynb stopped .*memory"):
        run("tried", {"a": 2}, tmp_path / "done.ipynb")
    assert not (tmp_path / "done.ipynb").exists()


# ---- the summary ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_there, name", [(True, "report_task"), (False, "report_task_so_far")])
def test_the_report_notebooks_take_the_parameters_that_a_report_gives(config, tmp_path, monkeypatch, is_there, name):
    given = {}
    monkeypatch.setattr(build, "has_answer", lambda study: is_there)
    monkeypatch.setattr(
        build,
        "run_notebook",
        lambda _, name, parameters, target: given.update({target.relative_to(tmp_path): (name, parameters)}),
    )
    config.write_text(SETTINGS + "language: [ja, en]\n")
    (tmp_path / "summary.json").write_bytes(b"{}\n")
    settings = build.read_config(config)
    with Kernels(1, "") as kernels:
        begun = build.begin_notebooks(settings, tmp_path, "reports/x", kernels)
        build.write_notebooks(settings, tmp_path, kernels, begun)
    files = {
        Path("notebooks") / place / f"report_{part}.ipynb" for place in ("", "en") for part in ("overview", "digits")
    }
    assert set(given) == files
    for file, (notebook, parameters) in given.items():
        build.check_parameters(build.repository() / "notebooks" / f"{notebook}.ipynb", parameters)
        assert parameters["language"] == ("en" if "en" in file.parts else "ja")
    notebook, task = given[Path("notebooks/report_digits.ipynb")]
    assert notebook == name
    assert [Study(task["task"], **task["settings"])] == settings.studies()
    _, overview = given[Path("notebooks/report_overview.ipynb")]
    assert overview["fingerprint"] == hashlib.sha256(b"{}\n").hexdigest()[:16]


def test_fewer_test_images_than_asked_for_are_said_before_training(config, tmp_path, monkeypatch, capsys):
    said = []
    steps(monkeypatch, run_studies=lambda *_: said.append(capsys.readouterr().out))
    there = len(load_task("digits").test)
    config.write_text(re.sub("test_images: .*", f"test_images: {there + 1}", config.read_text()))
    build.make_report(config, tmp_path / "out")
    config.write_text(config.read_text().replace(str(there + 1), str(there)))
    build.make_report(config, tmp_path / "out")
    assert f"{there} test images, and {there + 1} were asked for: all {there} are used" in said[0]
    assert "asked for" not in said[1]
