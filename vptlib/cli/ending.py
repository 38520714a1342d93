"""How a command of `vpt` ends: every failure is one sentence on stderr and an exit code."""

import functools
import os
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import typer

from vptlib.errors import UserError
from vptlib.redaction import redacted
from vptlib.shortages import sentence_of
from vptlib.terminal import prepare_output


def reported_in_a_sentence(command: Callable) -> Callable:
    """A command that ends every failure with one sentence on stderr and an exit code.

    `VPT_DEBUG=1` shows the traceback instead.
    """

    @functools.wraps(command)
    def run(*args, **kwargs):
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        prepare_output()
        _end_orderly()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return command(*args, **kwargs)
        except typer.Exit:
            raise
        except KeyboardInterrupt as ended:
            number = ended.number if isinstance(ended, _Ended) else signal.SIGINT
            stop("Stopped. What is finished is kept: the same command goes on from there.", 128 + number)
        except BrokenPipeError:
            stop("", 141)
        except Exception as error:
            if os.environ.get("VPT_DEBUG"):
                sys.excepthook = show_without_secrets  # typer has set its own
                raise
            stop(_sentence(error), 1)

    return run


class _Ended(KeyboardInterrupt):
    """Another signal than that of Ctrl-C, with the same meaning."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def _end_orderly() -> None:
    """The signals with which a system or a closed window ends a program are heard like Ctrl-C, unless switched off."""

    def end(number: int, _frame: object) -> None:
        raise _Ended(number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, end)


def expanded(path: Path) -> Path:
    """A path from the command line, with `~` and `~user` expanded: a shell leaves them in `--out=~/x`."""
    return Path(os.path.expanduser(path))


def stop(sentence: str, code: int) -> None:
    """End the command with a sentence on stderr and an exit code."""
    if sentence:
        typer.echo(sentence, err=True)
    raise typer.Exit(code)


def show_without_secrets(*raised) -> None:
    """Print a traceback, as `VPT_DEBUG` asks, without any password."""
    print(redacted("".join(traceback.format_exception(*raised))), end="", file=sys.stderr)


def _sentence(error: Exception) -> str:
    return redacted(_plain_sentence(error))


def _plain_sentence(error: Exception) -> str:
    if isinstance(error, UserError):
        return f"Error: {error}"
    if ran_out := sentence_of(error):
        return f"Error: {ran_out}"
    if isinstance(error, OSError) and error.strerror:
        where = f" at {error.filename}" if error.filename else ""
        return f"Error: {error.strerror.lower()}{where}: fix that; finished runs are kept and the same command goes on."
    return (
        f"Error: unexpected failure ({type(error).__name__}: {error}); finished runs are kept. "
        f"The traceback, for a bug report, is in {_written_traceback()}."
    )


def _written_traceback() -> str:
    with tempfile.NamedTemporaryFile("w", prefix="vpt-", suffix=".txt", delete=False) as file:
        file.write(redacted(traceback.format_exc()))
    return file.name
