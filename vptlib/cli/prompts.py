"""`vpt prompts`: versions of prompts by name, who allowed them, what answers now and what answered then."""

import getpass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vptlib.cli.ending import expanded, reported_in_a_sentence, stop
from vptlib.errors import UserError
from vptlib.terminal import print_row, print_table, shown
from vptlib.wording import decimals, many, per_cent, storage

if TYPE_CHECKING:
    from vptlib.operations.checked_tables import Taken
    from vptlib.operations.difference import Diff
    from vptlib.operations.ledger import Entry
    from vptlib.operations.standing import Version
    from vptlib.operations.watch import Watch

prompts_app = typer.Typer(help="Versions of models by name: register, test, promote, roll back.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="Of the prompt, such as cells.")]
_Ref = Annotated[str, typer.Argument(help="A version: cells/3, cells@candidate; cells alone is the one in production.")]
_Number = Annotated[int, typer.Argument(help="Of the version.")]
_By = Annotated[str | None, typer.Option(help="Who decides (by default the user of this machine).")]
_Reason = Annotated[str, typer.Option(help="Why, for those who ask later.")]


def _who(by: str | None) -> str:
    return by or getpass.getuser()


def _sentence(statement: Any) -> str:
    from vptlib.report.words import in_language

    return in_language().sentence(statement)


# ---- registering and finding ------------------------------------------------------------------------------------


@prompts_app.command()
@reported_in_a_sentence
def register(
    model: Annotated[Path, typer.Argument(help="The file of a model, from `vpt export`.")],
    name: _Name,
    tag: Annotated[list[str] | None, typer.Option(help="site=Kyoto; repeat it at will.")] = None,
    by: _By = None,
) -> None:
    """Keep MODEL as the next version of NAME. It answers nothing before it is promoted."""
    from vptlib.operations.registry import PromptRegistry

    version = PromptRegistry().register(expanded(model), name, _who(by), _tags(tag))
    typer.echo(f"{version.ref} is registered. The next command tests it against its limits:\n")
    typer.echo(f"    vpt prompts promote {name} {version.number}")


@prompts_app.command("list")
@reported_in_a_sentence
def list_versions(
    name: Annotated[str | None, typer.Argument(help="Of one prompt; by default of all.")] = None,
) -> None:
    """List the versions with what they are for: production, candidate, previous."""
    from vptlib.operations.registry import PromptRegistry

    _print_versions(PromptRegistry().versions(name))


@prompts_app.command()
@reported_in_a_sentence
def search(
    text: Annotated[
        str, typer.Argument(help="A part of a name, a title, a task, a tag, or a digest's beginning.")
    ] = "",
    tag: Annotated[list[str] | None, typer.Option(help="site=Kyoto; repeat it at will.")] = None,
    method: Annotated[str, typer.Option(help="Such as vpt-deep.")] = "",
    backbone: Annotated[str, typer.Option(help="Such as dinov2-small-focus.")] = "",
) -> None:
    """Find versions."""
    from vptlib.operations.registry import PromptRegistry

    _print_versions(PromptRegistry().search(text, _tags(tag), method, backbone))


@prompts_app.command()
@reported_in_a_sentence
def show(version: _Ref) -> None:
    """Say all about one version: its card, its tests, and where it comes from."""
    from vptlib.operations.artefact import read_artefact
    from vptlib.operations.model_card import model_card
    from vptlib.operations.registry import PromptRegistry

    path = PromptRegistry().fetch(version)
    typer.echo(model_card(read_artefact(path), _sentence).text)


@prompts_app.command()
@reported_in_a_sentence
def fetch(version: _Ref, out: Annotated[Path, typer.Argument(help="The file to write, such as cells.vpt.")]) -> None:
    """Copy the file of a version, whole and checked, for another machine or site."""
    import shutil

    from vptlib.operations.registry import PromptRegistry
    from vptlib.paths import whole_file

    source = PromptRegistry().fetch(version)
    with whole_file(expanded(out)) as part:
        shutil.copyfile(source, part)
    typer.echo(f"{version} is in {out}")


@prompts_app.command()
@reported_in_a_sentence
def diff(first: _Ref, second: _Ref) -> None:
    """Say what is another in SECOND: recipe, data, classes, and the images whose answer changed."""
    from vptlib.operations.registry import PromptRegistry

    _print_diff(PromptRegistry().diff(first, second))


# ---- deciding ---------------------------------------------------------------------------------------------------


@prompts_app.command()
@reported_in_a_sentence
def limits(
    name: _Name,
    config: Annotated[
        Path | None, typer.Argument(help="A YAML file with `limits:`; without it they are shown.")
    ] = None,
    two_people: Annotated[
        bool | None, typer.Option("--two-people/--one-person", help="Who registers a version may not promote it.")
    ] = None,
    by: _By = None,
    reason: _Reason = "",
) -> None:
    """Show or set the limits that a version of NAME must keep before it is promoted."""
    import yaml

    from vptlib.operations.registry import PromptRegistry
    from vptlib.report.config import read_config

    registry = PromptRegistry()
    if config is not None or two_people is not None:
        given = registry.limits(name) if config is None else read_config(expanded(config)).settings.limits
        registry.set_limits(name, given, _who(by), two_people, reason)
    now = registry.limits(name)
    typer.echo(yaml.safe_dump({"limits": now}, allow_unicode=True, default_flow_style=None).rstrip() if now else "none")


@prompts_app.command()
@reported_in_a_sentence
def promote(
    name: _Name,
    version: _Number,
    force: Annotated[
        bool, typer.Option(help="Although a gate does not hold; needs --reason, and is recorded.")
    ] = False,
    by: _By = None,
    reason: _Reason = "",
    backbone: Annotated[
        str | None, typer.Option(help="Where the backbone is, if it is a file of your own: file:PATH.safetensors.")
    ] = None,
) -> None:
    """Put a version into production, if every gate holds (exit code 1 if one does not)."""
    from vptlib.operations.artefact import load_backbone_of, load_model
    from vptlib.operations.gates import gates_for
    from vptlib.operations.registry import PromptRegistry, Refused

    registry = PromptRegistry()
    others = registry.tested_on_the_same_images(name, version)

    def tested(artefact, production, limits):
        model = load_model(artefact, load_backbone_of(artefact, backbone)) if backbone else None
        return gates_for(artefact, production, limits, model, tested_before=others)

    try:
        entry = registry.promote(name, version, _who(by), gates=tested, force=force, reason=reason)
    except Refused as refused:
        _print_gates(refused.entry)
        raise
    _print_gates(entry)
    typer.echo(f"{name}/{version} is in production{' (forced)' * (entry.kind == 'forced')}.")


@prompts_app.command("roll-back")
@reported_in_a_sentence
def roll_back(
    name: _Name,
    reason: _Reason,
    to: Annotated[int | None, typer.Option(help="A version that was in production; by default the one before.")] = None,
    by: _By = None,
) -> None:
    """Put back what was in production before. This needs no gate."""
    from vptlib.operations.registry import PromptRegistry

    entry = PromptRegistry().roll_back(name, _who(by), reason, to)
    typer.echo(f"{name}/{entry.version} is in production again.")


@prompts_app.command()
@reported_in_a_sentence
def retire(name: _Name, version: _Number, reason: _Reason, by: _By = None) -> None:
    """Let a version never be promoted again."""
    from vptlib.operations.registry import PromptRegistry

    PromptRegistry().retire(name, version, _who(by), reason)
    typer.echo(f"{name}/{version} is retired.")


# ---- looking back -----------------------------------------------------------------------------------------------


@prompts_app.command()
@reported_in_a_sentence
def history(name: _Name) -> None:
    """List all decisions about NAME."""
    from vptlib.operations.registry import PromptRegistry

    headings = ("no", "when", "what", "version", "by", "gates", "reason")
    print_table(headings, [_decision(entry) for entry in PromptRegistry().history(name)])


@prompts_app.command("as-of")
@reported_in_a_sentence
def as_of(
    name: _Name,
    when: Annotated[str, typer.Argument(help="Such as 2026-03-03T14:05, with +09:00 or Asia/Tokyo after it.")],
) -> None:
    """Say what answered at that moment, and who had allowed it."""
    from vptlib.operations.registry import PromptRegistry

    found = PromptRegistry().as_of(name, when)
    print_row(("time", _sentence(found.moment.finding())), [8])
    if found.version is None or found.entry is None:
        print_row(("answer", "nothing was in production"), [8])
        return
    version = found.version
    for row in (
        ("answer", f"{version.ref}: {version.title}, {version.method} on {version.backbone}"),
        ("since", f"{_local(found.entry)}, {found.entry.kind.replace('_', ' ')} by {found.entry.by}"),
        ("reason", found.entry.reason or "none given"),
        ("file", f"SHA-256 {version.digest}"),
        ("report", f"SHA-256 {version.lineage.get('report', 'not known')}"),
        ("run", str(version.lineage.get("run_id", "not known"))),
    ):
        print_row(row, [8])


@prompts_app.command()
@reported_in_a_sentence
def verify(name: Annotated[str | None, typer.Argument(help="Of one prompt; by default of all.")] = None) -> None:
    """Check that no decision was changed or removed (exit code 0 if none was)."""
    from vptlib.operations.registry import PromptRegistry

    registry, broken = PromptRegistry(), 0
    for each in [name] if name else sorted({version.name for version in registry.versions()}):
        faults, entries = registry.verify(each), registry.history(each)
        broken += bool(faults)
        last = f"{len(entries)} entries, the last one {entries[-1].hash[:16]}" if entries else "no entry"
        print_row((each, "; ".join(_sentence(fault.finding()) for fault in faults) or f"whole: {last}"), [12])
    if broken:
        stop("The record of decisions is not whole: see above.", 1)


# ---- watching ---------------------------------------------------------------------------------------------------


@prompts_app.command()
@reported_in_a_sentence
def status(
    name: Annotated[str | None, typer.Argument(help="Of one prompt; by default of all.")] = None,
    page: Annotated[Path | None, typer.Option(help="Also write one HTML page, such as status.html.")] = None,
) -> None:
    """Say whether prompts in production do what they were accepted for (exit code 1 if one needs action)."""
    from vptlib.operations.records import AnswerRecords
    from vptlib.operations.registry import PromptRegistry
    from vptlib.operations.status_page import HEADINGS, headline, row_of, write_status
    from vptlib.operations.watch import ACT, not_registered, watched

    registry, records = PromptRegistry(), AnswerRecords()
    watches = watched(registry, records, name)
    typer.echo(headline(watches))
    if watches:
        typer.echo()
        print_table(HEADINGS, list(map(row_of, watches)))
    for watch in watches:
        _print_watch(watch, in_full=name is not None)
    others = [] if name else not_registered(registry, records)
    if others:
        typer.echo(f"\nNot watched, because they answer from a file: {', '.join(map(shown, others))}")
    if page is not None:
        write_status(watches, expanded(page), _sentence, from_files=others)
        typer.echo(f"\nThe page is {page}")
    if any(watch.verdict == ACT for watch in watches):
        raise typer.Exit(1)


@prompts_app.command("to-check")
@reported_in_a_sentence
def to_check(
    name: _Name, table: Annotated[Path, typer.Argument(help="The .csv to write, such as tocheck.csv.")]
) -> None:
    """Write the ids of answers that were drawn at random and that nobody has checked yet."""
    from vptlib.operations.checked_tables import write_to_check
    from vptlib.operations.records import AnswerRecords
    from vptlib.operations.registry import PromptRegistry

    PromptRegistry().versions(name)  # so that another name is a sentence
    count = write_to_check(expanded(table), name, AnswerRecords())
    typer.echo(f"{many(count, 'drawn answer')} of {shown(name)} to check: {table}")
    if count:
        typer.echo("\nWrite the right class of each image into truth; the next command takes it in:\n")
        typer.echo(f"    vpt prompts checked {quote(name)} {quote(str(table))}")


@prompts_app.command()
@reported_in_a_sentence
def checked(
    name: Annotated[
        str, typer.Argument(help="Of the prompt; cells/2 if another version than that in production answered.")
    ],
    table: Annotated[
        Path, typer.Argument(help="A .csv with id and truth, or one of `vpt predict` with a column truth.")
    ],
    by: Annotated[str | None, typer.Option(help="Who checked (by default the user of this machine).")] = None,
) -> None:
    """Take in what people said of answers: in `truth` the right class, in `drawn` yes for images drawn at random."""
    from vptlib.operations.checked_tables import take_checked
    from vptlib.operations.records import AnswerRecords
    from vptlib.operations.registry import PromptRegistry

    taken = take_checked(expanded(table), name, PromptRegistry(), AnswerRecords(), _who(by))
    _print_taken(taken)
    typer.echo(f"\nThe next command says what that shows:\n\n    vpt prompts status {quote(taken.version.name)}")


# ---- printing ---------------------------------------------------------------------------------------------------


def _tags(given: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or []]
    if wrong := [name for name, equals, _ in pairs if not equals or not name]:
        raise UserError(f"--tag {wrong[0]!r} must be NAME=TEXT, such as --tag site=Kyoto.")
    return {name: text for name, _, text in pairs}


def _print_versions(versions: "list[Version]") -> None:
    if not versions:
        typer.echo("There is no such version.")
        return
    print_table(("version", "is", "method", "size", "what it is"), list(map(_version_row, versions)))


def _version_row(version: "Version") -> tuple[str, ...]:
    role = ", ".join(version.roles) or ("retired" if version.retired else "")
    tags = "".join(f"; {name}: {text}" for name, text in version.tags.items())
    about = f"{version.title}; {version.backbone}; registered {version.at:%Y-%m-%d} by {version.by}{tags}"
    return version.ref, role, version.method, storage(version.bytes), about


def _print_watch(watch: "Watch", in_full: bool) -> None:
    """The findings about a prompt: all of them, or those that ask somebody for something."""
    from vptlib.operations.status_page import VERDICT_WORDS, allowed
    from vptlib.operations.watch import FINE

    reasons = [reason for reason in watch.reasons if in_full or reason.verdict != FINE]
    if not reasons:
        return
    typer.echo(f"\n{shown(watch.name)}: {allowed(watch)}".rstrip(" :"))
    for reason in reasons:
        print_row((VERDICT_WORDS[reason.verdict], _sentence(reason.what)), [4])
    if watch.command:
        print_row(("next", watch.command), [4])


def _print_taken(taken: "Taken") -> None:
    version = taken.version.ref
    known = taken.checked - taken.new
    typer.echo(
        f"{many(taken.checked, 'checked answer')} of {version}: {taken.new:,} new"
        + (f", {known:,} recorded before" if known else "")
        + (f"; {many(taken.open, 'row')} without a class" if taken.open else "")
        + "."
    )
    if taken.drawn is not None and taken.drawn < taken.checked:
        typer.echo(
            f"{taken.drawn:,} of them were drawn at random (drawn is yes). The others do not count for the limits, "
            "because images that somebody chose are no sample of all images."
        )


def _print_gates(entry: "Entry") -> None:
    from vptlib.operations.gates import TEST_REUSE
    from vptlib.statement import Statement

    for gate in entry.gates:
        mark = "note" if gate["kind"] == TEST_REUSE else "holds" if gate["passed"] else "FAILS"
        print_row((mark, _sentence(Statement.of(gate["finding"]))), [6])


def _decision(entry: "Entry") -> tuple[str, ...]:
    failed = list(dict.fromkeys(gate["kind"] for gate in entry.gates if not gate["passed"]))
    gates = f"fails: {', '.join(failed)}" if failed else "hold" if entry.gates else ""
    version = "" if entry.version is None else str(entry.version)
    what = entry.kind.replace("_", " ")
    return str(entry.number), _local(entry), what, version, entry.by, gates, entry.reason


def _local(entry: "Entry") -> str:
    return entry.at.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def _print_diff(found: "Diff") -> None:
    first, second = found.first.ref, found.second.ref
    rows = [
        (f"{part}: {name}", str(values[0]), str(values[1]))
        for part, changes in found.changed.items()
        for name, values in changes.items()
    ]
    print_table(("what", first, second), rows or [("card", "the same", "the same")])
    typer.echo()
    rates = [("accuracy", *map(per_cent, found.accuracy), _change(found.accuracy))]
    for each in found.classes:
        rates.append((f"recall of {each.name}", *map(_rate, each.recall), _change(each.recall)))
        rates.append((f"precision of {each.name}", *map(_rate, each.precision), _change(each.precision)))
    print_table(("rate", first, second, "change"), rates)
    typer.echo(f"\n{_sentence(found.finding())}")


def _rate(value: float) -> str:
    return "-" if value != value else per_cent(value)


def _change(ends: tuple[float, float]) -> str:
    return "-" if any(end != end for end in ends) else decimals(100 * (ends[1] - ends[0]), 1, signed=True)
