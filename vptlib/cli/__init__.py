"""The command line, `vpt`: reports, runs of notebooks, and checks of images and of this machine.

Commands import what they need when they run, so that `vpt --help` answers at once. Relative paths count from the
working directory; `~` and `~user` are home folders, wherever they are written.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vptlib.cli import models
from vptlib.cli.ending import expanded, reported_in_a_sentence, show_without_secrets, stop
from vptlib.cli.models import print_next
from vptlib.cli.plan import plan
from vptlib.cli.prompts import prompts_app
from vptlib.cli.serve import serve, tokens_app
from vptlib.cli.train import train
from vptlib.errors import UserError
from vptlib.terminal import prepare_output, print_row, print_table

if TYPE_CHECKING:
    from vptlib.data.check import DataCheck

_MOST_DIGITS = 12  # of a number of images

app = typer.Typer(
    help="Visual prompt tuning or full fine-tuning? A fair comparison, and a report that says what to do.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of `vpt` and of `python -m vptlib`."""
    sys.excepthook = show_without_secrets
    prepare_output()
    app(prog_name="vpt")


# ---- commands -------------------------------------------------------------------------------------------------


@app.command()
@reported_in_a_sentence
def init(
    place: Annotated[
        str, typer.Argument(help="A folder with a sub-folder for each class, a table of paths and labels, or a task.")
    ],
    out: Annotated[Path | None, typer.Option(help="The YAML file (by default next to PLACE, with its name).")] = None,
) -> None:
    """Check your own images and write a YAML file that fits them, for `vpt report`."""
    from vptlib.data.check import check_data
    from vptlib.report.init import as_typed, new_config, write_config

    target = new_config(place, out and expanded(out))
    found = check_data(place, sizes=())
    _print_check(found)
    if not found.passed:
        stop("No YAML file was written: fix the errors, then give the same command again.", 1)
    write_config(found, place, target)
    typer.echo(f"\nThe settings are in {as_typed(target)}, a line on each. The next command, in which --time 30m")
    typer.echo(f"would ask for what half an hour can answer:\n\n    vpt report {as_typed(target)}")


@app.command()
@reported_in_a_sentence
def report(
    config: Annotated[Path, typer.Argument(help="YAML file: `vpt init` writes one, `vpt config` explains it.")],
    out: Annotated[Path | None, typer.Option(help="The report's folder (by default reports/<name of CONFIG>).")] = None,
    time: Annotated[
        str | None, typer.Option(help="How long it may take, such as 30m or 2h; the same command later goes on.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Where runs are made: local:4, tcp://HOST:8786 (Dask), slurm:8, kubernetes:NAME.")
    ] = None,
) -> None:
    """Run what CONFIG asks for and write index.html, report.pdf and summary.json. Finished runs are not repeated."""
    typer.echo(f"Checking {config}")
    from vptlib.report.kernels import usual_kernels

    with usual_kernels() as kernels:  # which import while this process does
        from vptlib.report.build import make_report

        page = make_report(expanded(config), out and expanded(out), time, kernels, cluster)
    typer.echo(f"The report is at {page}")
    print_next(page.parent)


@app.command("report-all")
@reported_in_a_sentence
def report_all(
    folder: Annotated[Path, typer.Argument(help="Folder of YAML files; its sub-folders stand for sites.")],
    out: Annotated[Path | None, typer.Option(help="Gets all reports (by default reports/<name of FOLDER>).")] = None,
    time: Annotated[str | None, typer.Option(help="How long each report may take, such as 30m.")] = None,
    language: Annotated[str, typer.Option(help="Of the index: en or ja. A report has its own, by its file.")] = "en",
) -> None:
    """Make the reports of all YAML files in FOLDER that something has changed for, and an index over all of them.

    Exit code 1 if a report failed: its reason is in the index, the others are made.
    """
    from vptlib.paths import repository
    from vptlib.report.all_reports import MADE, make_all
    from vptlib.report.index_page import write_index
    from vptlib.report.words import speaking

    folder = expanded(folder)
    target = expanded(out) if out else repository() / "reports" / folder.resolve().name
    with speaking(language):
        try:
            found = make_all(folder, target, time, typer.echo)
        finally:  # also when it is interrupted, so that the index shows what there is
            index = write_index(target) if (target / MADE).is_file() else None
    counts = {"made": found.made, "unchanged": found.unchanged, "failed": found.failed}
    typer.echo(", ".join(f"{len(names)} {state}" for state, names in counts.items()))
    typer.echo(f"The index is at {index}")
    if found.failed:
        stop(f"Failed: {', '.join(found.failed)}. The index gives the reasons.", 1)


app.command()(plan)
app.command()(models.export)
app.command()(models.predict)
app.add_typer(prompts_app, name="prompts")
app.command()(serve)
app.command()(train)
app.add_typer(tokens_app, name="tokens")


@app.command()
@reported_in_a_sentence
def config() -> None:
    """List every setting of CONFIG, the YAML file of `vpt report`: what may be written, the default, the meaning."""
    from vptlib.report.settings import settings_table

    for row in settings_table():
        typer.echo(f"{row.name}: {row.kind.replace('`', '')} (default: {row.default.replace('`', '')})")
        print_row(("", row.meaning.replace("`", "")), [2])


@app.command("run")
@reported_in_a_sentence
def run_notebook(
    notebook: Annotated[str, typer.Argument(help="A notebook of the course (02, 02_training), or a path.")],
    parameters: Annotated[
        list[str] | None, typer.Option("-y", help="Parameters in YAML or JSON: -y '{n: 200}'; repeat it at will.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder (by default reports/runs/NAME).")] = None,
) -> None:
    """Run NOTEBOOK with other parameters; writes it, as run, and an HTML page that opens with the network off."""
    from vptlib.course.run_notebook import run_lesson

    typer.echo(f"The page is at {run_lesson(os.path.expanduser(notebook), parameters or [], out and expanded(out))}")


@app.command()
@reported_in_a_sentence
def tasks() -> None:
    """List the tasks: images with labels that a report can use."""
    from vptlib.data.tasks import TASKS, task_is_available

    rows = []
    for name, entry in TASKS.items():
        available, where = task_is_available(name)
        about = f"{entry.title}; {where.rstrip('.')}; {entry.licence}"
        rows.append((name, "yes" if available else "no", entry.group, about))
    print_table(("task", "here", "group", "what it is"), rows)


@app.command()
@reported_in_a_sentence
def backbones() -> None:
    """List the pre-trained vision transformers that can be adapted."""
    from vptlib.tuning.backbones import available_backbones

    print_table(("backbone", "what it is"), list(available_backbones().items()))


@app.command()
@reported_in_a_sentence
def methods() -> None:
    """List the ways to adapt a backbone: what a report's `methods` and `build_method` take."""
    from vptlib.tuning.methods import METHODS

    rows = []
    for name, method in METHODS.items():
        options = f"; options: {', '.join(method.options)}" if method.options else ""
        rows.append((name, method.title, f"{method.source}{options}"))
    print_table(("method", "title", "source and options"), rows)


data_app = typer.Typer(help="Images of your own.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("check")
@reported_in_a_sentence
def check(
    place: Annotated[
        str, typer.Argument(help="A folder with a sub-folder for each class, a table of paths and labels, or a task.")
    ],
    out: Annotated[Path | None, typer.Option(help="The page (by default reports/data-NAME.html).")] = None,
    sizes: Annotated[
        str | None, typer.Option(help="Numbers of labelled images that a study would ask for, such as 50,150,400.")
    ] = None,
) -> None:
    """Open all images once and say what is wrong, before any training (exit code 0 if a study can go on)."""
    from vptlib.data.check import check_data
    from vptlib.data.readers import short_name
    from vptlib.paths import repository
    from vptlib.report.data_page import write_page

    found = check_data(place, None if sizes is None else _sizes(sizes))
    _print_check(found)
    target = (out and expanded(out)) or repository() / "reports" / f"data-{short_name(place)}.html"
    write_page(found, f"The images of {short_name(place)}", target)
    typer.echo(f"\nThe page is at {target}")
    if not found.passed:
        stop("A study cannot go on with these images: fix the errors.", 1)


@app.command()
@reported_in_a_sentence
def doctor() -> None:
    """Look over this machine and say whether the quickstart report can be made on it (exit code 0 if so)."""
    from vptlib.doctor import examine

    faults = []
    for finding in examine():
        print_row((finding.mark, finding.what, finding.found), [4, 10])
        faults += [finding.what] if finding.mark == "FAIL" else []
    if faults:
        stop(f"The quickstart cannot run here: fix {', '.join(faults)}.", 1)
    typer.echo("The quickstart can run here: make report")


store_app = typer.Typer(help="The store of runs.", no_args_is_help=True)
app.add_typer(store_app, name="store")


@store_app.command("check")
@reported_in_a_sentence
def check_store() -> None:
    """Say where the store of runs is and what is in it (exit code 0 if it can be used and no run is damaged)."""
    from vptlib.study.inspection import inspect_store

    found = inspect_store()
    print_row(("store", found.where), [11])
    if found.state == "none":
        typer.echo("There is no store yet: the first study makes it.")
        return
    for what, size in found.bytes.items():
        print_row((what, f"{size / 1e6:,.1f} MB"), [11])
    print_row(("state", "cannot be used" if found.faults else _STATES[found.state]), [11])
    if found.finished or not found.faults:
        print_row(("runs", f"{found.finished} finished, {len(found.damaged)} of them damaged"), [11])
    for name, fault in found.damaged.items():
        print_row(("damaged", f"{name}: {fault}; the next study that needs it makes it again"), [11])
    if len(found.left):
        print_row(("left-overs", f"{len(found.left)} of killed processes; the next study removes them"), [11])
    for fault in found.faults:
        print_row(("fault", fault), [11])
    if not found.passed:
        stop("The store is not sound: see above.", 1)


_STATES = {
    "whole": "can be used",
    "server": "answers",
    "half made": "was not finished: the next study makes it",
    "older": "of an older MLflow: the next study upgrades it, and keeps a copy",
}


def _sizes(text: str) -> tuple[int, ...]:
    """The numbers that `--sizes` asks for."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) <= _MOST_DIGITS for part in parts):
        raise UserError(f"--sizes is {text!r}, but must be whole numbers with commas between, such as 50,150,400.")
    sizes = tuple(map(int, parts))
    if 0 in sizes:
        raise UserError(f"--sizes is {text!r}, but a study needs labelled images: leave out the 0.")
    if len(set(sizes)) < len(sizes):
        twice = next(size for size in sizes if sizes.count(size) > 1)
        raise UserError(f"--sizes is {text!r}, which names {twice} twice: name each number once.")
    return sizes


def _print_check(found: "DataCheck") -> None:
    """Print the images of each class, and what was found."""
    from vptlib.report.words import in_language

    rows = [(name, str(row["train"]), str(row["test"])) for name, row in found.counts().iterrows()]
    print_table(("class", "train", "test"), rows)
    typer.echo()
    for finding in found.findings:
        print_row((finding.level, in_language().sentence(finding.what)), [7])
