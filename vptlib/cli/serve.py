"""`vpt serve`: models that answer over HTTP; `vpt tokens`: who may ask them."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vptlib.cli.ending import expanded, reported_in_a_sentence
from vptlib.errors import UserError
from vptlib.terminal import print_row, print_table

if TYPE_CHECKING:
    from vptlib.operations.service.access import Access, Token
    from vptlib.operations.service.desk import Desk

_LOCAL = "127.0.0.1"
_MEGABYTE = 10**6


@reported_in_a_sentence
def serve(
    tasks: Annotated[
        list[str] | None,
        typer.Argument(help="Names of prompts, and .vpt files; by default all that is in production.", metavar="TASKS"),
    ] = None,
    host: Annotated[str, typer.Option(help="Where it listens; 0.0.0.0 for every network: needs tokens.")] = _LOCAL,
    port: Annotated[int, typer.Option(help="Its port; 0 for any that is free.", min=0, max=65535)] = 8000,
    batch: Annotated[int, typer.Option(help="Images that are computed together, at most.", min=1, max=1024)] = 16,
    most_memory: Annotated[
        int | None, typer.Option(help="Megabytes for the tasks of one backbone; those used least make room.", min=1)
    ] = None,
    check_share: Annotated[float, typer.Option(help="Share of answers that a person is to check, at random.")] = 0.05,
    backbone: Annotated[
        str | None, typer.Option(help="Where the backbone is, if it is a file of your own: file:PATH.safetensors.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="A PEM file, for HTTPS; goes with --key.")] = None,
    key: Annotated[Path | None, typer.Option(help="The PEM file of the certificate's key.")] = None,
    patience: Annotated[float, typer.Option(help="Seconds for what has begun, once it is to stop.", min=0)] = 20.0,
) -> None:
    """Answer images over HTTP until Ctrl-C. A promotion or a roll-back takes effect within seconds."""
    from vptlib.operations.records import AnswerRecords
    from vptlib.operations.service import logs, wire
    from vptlib.operations.service.access import Access, tokens_file
    from vptlib.operations.service.app import create_app
    from vptlib.operations.service.desk import Desk
    from vptlib.operations.service.guard import Load
    from vptlib.operations.service.metrics import Metrics
    from vptlib.operations.service.settings import Settings

    settings, access = Settings(check_share=check_share), Access(tokens_file())
    _check_door(access, host)
    _check_pair(certificate, key)
    names, files = _named(tasks or [])
    listening = wire.bound(host, port)  # before anything is loaded, so that a taken port is known at once
    metrics, load = Metrics(), Load()
    most_bytes = None if most_memory is None else most_memory * _MEGABYTE
    desk = Desk(names, files, backbone, most_bytes, batch, passed=metrics.passed)
    app = create_app(desk, access, settings, AnswerRecords(), metrics, load)
    pair = [None if path is None else str(expanded(path)) for path in (certificate, key)]
    server = wire.Server(wire.configured(app, settings, metrics.refuse, *pair), load, patience)
    desk.start()
    listening.listen()
    try:
        _print_start(desk, access, "http" if certificate is None else "https", *listening.getsockname()[:2])
        logs.set_up()
        wire.serve(server, listening)
    finally:
        ended = desk.stop(0)
    if not ended:  # a source does not answer: a thread that is left to the interpreter's end may abort the process
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _check_door(access: "Access", host: str) -> None:
    """Raise where nobody could ask, or where anybody could."""
    from vptlib.operations.service.access import tokens_file
    from vptlib.operations.service.guard import LOOPBACK

    if access.is_open and host.lower() not in LOOPBACK:
        raise UserError(
            f"--host is {host}, where others could ask, but there are no tokens: vpt tokens add NAME makes one; or "
            "leave --host out."
        )
    if not access.is_open and not access.tokens:
        raise UserError(
            f"{tokens_file()} has no token, so nobody could ask: vpt tokens add NAME makes one; or remove the file, to "
            "answer this machine alone."
        )


def _check_pair(certificate: Path | None, key: Path | None) -> None:
    if key is not None and certificate is None:
        raise UserError("--key goes with --certificate: give both.")


def _named(tasks: Sequence[str]) -> tuple[list[str] | None, list[Path]]:
    """Names in the registry, and files; no names mean all that is in production."""
    files = [expanded(Path(task)) for task in tasks if task.lower().endswith(".vpt")]
    names = [task for task in tasks if not task.lower().endswith(".vpt")]
    return (names, files) if tasks else (None, [])


def _print_start(desk: "Desk", access: "Access", scheme: str, host: str, port: int) -> None:
    from vptlib.operations.service.app import described

    shown = f"[{host}]" if ":" in host else host
    address = f"{scheme}://{shown}:{port}"
    typer.echo(f"Listening on {address} with {described(desk.tasks)}. Ctrl-C stops it.")
    token = "" if access.is_open else ' -H "Authorization: Bearer $TOKEN"'
    name = next(iter(desk.tasks))
    path = shlex.quote(f"{address}/v1/tasks/{_quoted(name)}/answers")
    typer.echo(f"Try it:  curl{token} -H 'Content-Type: image/jpeg' --data-binary @photo.jpg {path}")
    typer.echo(f"For people, in a browser:  {address}/")
    if access.is_open:
        print_row(("note", "There are no tokens, so only programs and people on this machine can ask."), [7])
    elif scheme == "http" and host not in (_LOCAL, "::1"):
        text = "Tokens and images cross the network unencrypted: give --certificate and --key, or put a proxy in front."
        print_row(("warning", text), [7])
    for name, problem in desk.problems.items():
        print_row(("warning", f"{name}: {problem}"), [7])


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


# ---- tokens -------------------------------------------------------------------------------------------------------

tokens_app = typer.Typer(help="Who may ask `vpt serve`: tokens.", no_args_is_help=True)


@tokens_app.command()
@reported_in_a_sentence
def add(
    name: Annotated[str, typer.Argument(help="Of who gets it, such as camera-3; the log has it.")],
    role: Annotated[
        list[str] | None,
        typer.Option(help="ask (the default), check (true classes) or operate (metrics); repeat it at will."),
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; repeat it at will.")] = None,
    days: Annotated[int, typer.Option(help="Until it expires.")] = 90,
) -> None:
    """Make a token and print it, once: only its SHA-256 is kept."""
    from vptlib.operations.service.access import add_token, tokens_file

    token = add_token(tokens_file(), name, role or ["ask"], task or [], days)
    typer.echo(token)
    typer.echo("Keep it now: it cannot be shown again. A running service takes it at once.", err=True)


@tokens_app.command("list")
@reported_in_a_sentence
def list_tokens() -> None:
    """List the tokens: whose, for what, until when."""
    from vptlib.operations.service.access import read_tokens, tokens_file

    rows = [_token_row(token) for token in read_tokens(tokens_file())]
    if not rows:
        typer.echo("There is no token: vpt tokens add NAME makes one.")
        return
    print_table(("name", "until", "roles", "tasks"), rows)


@tokens_app.command()
@reported_in_a_sentence
def remove(name: Annotated[str, typer.Argument(help="Of who has it.")]) -> None:
    """Make a token invalid; a running service refuses it at once."""
    from vptlib.operations.service.access import remove_token, tokens_file

    left = remove_token(tokens_file(), name)
    typer.echo(f"The token of {name} is not valid any more.")
    if not left:
        text = f"No token is left, so nobody may ask; remove {tokens_file()} to answer this machine without tokens."
        print_row(("note", text), [7])


def _token_row(token: "Token") -> tuple[str, ...]:
    until = f"{token.expires:%Y-%m-%d}{', expired' if token.is_expired else ''}"
    return token.name, until, ", ".join(token.roles), ", ".join(token.tasks or ("all",))
