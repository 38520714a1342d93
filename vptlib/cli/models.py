"""`vpt export` and `vpt predict`: from a report to a model, and from new images to answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vptlib.cli.ending import expanded, reported_in_a_sentence
from vptlib.errors import UserError
from vptlib.terminal import print_row, print_table
from vptlib.wording import per_cent

if TYPE_CHECKING:
    from vptlib.data.findings import Finding


@reported_in_a_sentence
def export(
    report: Annotated[str, typer.Argument(help="The folder of a finished report, or its YAML file.")],
    out: Annotated[Path, typer.Argument(help="The file of the model, such as cells.vpt.")],
    method: Annotated[str | None, typer.Option(help="By default the one that the report recommends.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Which training; by default the kept one that is best on validation images.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Which task, where the report has several.")] = None,
) -> None:
    """Write the model of a report to one file, with its card, its tests and its canaries, for `vpt predict`."""
    from vptlib.operations.export import export as write
    from vptlib.operations.export import read_report
    from vptlib.operations.model_card import write_model_card
    from vptlib.report.words import in_language

    found = read_report(folder_of(expanded(Path(report))), task)
    target = expanded(out)
    artefact = write(found, target, method, seed)
    card, page = artefact.card, target.with_name(f"{target.name}.md")
    write_model_card(artefact, page, in_language().sentence)
    accuracy = card.results["accuracy"]
    rows = [
        ("model", f"{card.method}, {card.recipe['n']} labelled images, seed {card.recipe['seed']}"),
        ("accuracy", _with_interval(accuracy, f"of {card.data['test_images']} test images")),
        ("canaries", f"{len(artefact.canaries.pictures)} drawn pictures, checked"),
        ("file", f"{target} ({target.stat().st_size / 1e6:,.2f} MB)"),
        ("card", str(page)),
    ]
    if not found.advises:
        rows.insert(0, ("note", f"the report does not advise a method yet ({found.choice}): this is its best so far"))
    for row in rows:
        print_row(row, [8])
    typer.echo(f"\nThe next command answers new images:\n\n    vpt predict {target} PHOTOS/ --out answers.csv")


def folder_of(report: Path) -> Path:
    """The folder of a report that is named by itself or by its YAML file."""
    from vptlib.paths import repository

    return repository() / "reports" / report.stem if report.suffix.lower() in (".yaml", ".yml") else report


def print_next(report: Path) -> None:
    """Print the command after a report of one task; nothing where it advises no method."""
    import json

    from vptlib.operations.export import NO_METHOD
    from vptlib.report.init import as_typed
    from vptlib.report.sections.next_steps import next_commands

    found = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    if "tasks" in found or found["recommendation"]["choice_code"] in NO_METHOD:
        return
    typer.echo("The next command makes a file of its model, for answers to new images:\n")
    typer.echo(f"    {next_commands(as_typed(report), found['task'], False)[0]}")


def _with_interval(rate: dict, of: str) -> str:
    return f"{per_cent(rate['value'])} {of} ({per_cent(rate['low'])} to {per_cent(rate['high'])})"


@reported_in_a_sentence
def predict(
    model: Annotated[Path, typer.Argument(help="The file of a model, from `vpt export`.")],
    images: Annotated[list[Path], typer.Argument(help="Images, and folders with images.")],
    out: Annotated[
        Path | None, typer.Option(help="answers.csv or answers.parquet, with a contact sheet next to it.")
    ] = None,
    skip_unreadable: Annotated[bool, typer.Option(help="Give files that cannot be read a row without answer.")] = False,
    backbone: Annotated[
        str | None, typer.Option(help="The backbone, where the model's name for it will not do.")
    ] = None,
    check: Annotated[
        int, typer.Option(help="Draw so many images at random for a person to check; needs --out.", min=0)
    ] = 0,
) -> None:
    """Answer new images with a model. Stop it at any time: the same command goes on."""
    from vptlib.operations.artefact import read_artefact
    from vptlib.operations.predict import predict as answer
    from vptlib.report.words import in_language

    if check and out is None:
        raise UserError("--check draws images for a person to check, and the file of answers names them: add --out.")
    artefact = read_artefact(expanded(model))
    places, target = [expanded(place) for place in images], out and expanded(out)
    sentence = in_language().sentence
    done = answer(artefact, places, target, skip_unreadable, backbone, sentence=sentence, check=check)
    if target is None:
        _print_first(done)
    _print_counts(done)
    print_findings(done.findings)
    if done.path:
        typer.echo(f"\nThe answers are in {done.path}, and the least sure ones in pictures in {done.sheet}")
    if check:
        typer.echo(
            "Where drawn is yes, let a person write the right class into truth. If a prompt has this model, then:\n"
        )
        typer.echo(f"    vpt prompts checked NAME {done.path}")


def _print_first(done) -> None:
    rows = [
        (row.file, row.answer, "" if row.probability is None else per_cent(row.probability), row.ask_a_person)
        for row in done.first
    ]
    print_table(("file", "answer", "probability", "ask a person"), rows)
    if done.images > len(rows):
        typer.echo(f"... and {done.images - len(rows):,} more: --out answers.csv has them all")
    typer.echo()


def _print_counts(done) -> None:
    print_table(("answer", "images"), [(name, f"{count:,}") for name, count in done.counts.items()])
    if done.unreadable:
        typer.echo(f"without an answer: {done.unreadable:,}")


def print_findings(findings: "list[Finding] | tuple[Finding, ...]") -> None:
    """Print findings, the level of each in front."""
    from vptlib.report.words import in_language

    for finding in findings:
        print_row((finding.level, in_language().sentence(finding.what)), [7])
