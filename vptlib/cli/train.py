"""`vpt train`: one run of a study, on all devices that `accelerate launch` or `torchrun` has given a process."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vptlib.cli.ending import expanded, reported_in_a_sentence
from vptlib.errors import UserError
from vptlib.wording import per_cent

if TYPE_CHECKING:
    from vptlib.study.study import Study


@reported_in_a_sentence
def train(
    config: Annotated[Path, typer.Argument(help="YAML file of the study, as for `vpt report`.")],
    method: Annotated[str, typer.Option(help="One of its methods.")],
    size: Annotated[int, typer.Option(help="One of its sizes: how many labelled images.")],
    seed: Annotated[int, typer.Option(help="One of its seeds.")] = 0,
    task: Annotated[str | None, typer.Option(help="Which task, where the study has several.")] = None,
    shard: Annotated[bool, typer.Option(help="Share out the weights too: for `full` with a very large model.")] = False,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Most images on a device at the same time; fewer need less memory.")
    ] = None,
) -> None:
    """Make one run of CONFIG on several devices: accelerate launch --num_processes 8 -m vptlib train CONFIG …

    `vpt report CONFIG` then finds it in the store.
    """
    from vptlib.report.config import read_config
    from vptlib.study.one_run import make_run
    from vptlib.study.plan import Cell
    from vptlib.study.store import finished_run
    from vptlib.tuning.devices import many_devices

    study, cell = _chosen(read_config(expanded(config)).studies(), task), Cell(method, size, seed)
    with many_devices(shard, at_once) as devices:
        made = make_run(study, cell, devices, typer.echo if devices.is_first else _say_nothing, progress=True)
    if devices.is_first:
        accuracy = finished_run(study, cell).data.metrics["accuracy"]
        typer.echo(f"{'It is' if made else 'The run was already'} in the store: accuracy {per_cent(accuracy)}.")


def _say_nothing(_: str) -> None:
    pass


def _chosen(studies: "list[Study]", task: str | None) -> "Study":
    """The study of the task, which must be named where there are several."""
    found = [study for study in studies if task in (None, study.task)]
    if len(found) != 1:
        named = "--task is missing" if task is None else f"--task is {task!r}"
        raise UserError(f"{named}, but must be one of {', '.join(study.task for study in studies)}.")
    return found[0]
