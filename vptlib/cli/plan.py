"""`vpt plan`: how long and how much the runs of a report will take, before any of them starts."""

import math
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vptlib.cli.ending import expanded, reported_in_a_sentence
from vptlib.terminal import print_row, print_table, ticking
from vptlib.wording import count, duration, many, plain, storage

if TYPE_CHECKING:
    from vptlib.report.config import ReportConfig
    from vptlib.study.planner import Outlook, Planner, Site

# Of a report for each task and language, as the committed example has.
REPORT_BYTES = 2_500_000
_DAY = 86_400


@reported_in_a_sentence
def plan(
    config: Annotated[Path, typer.Argument(help="YAML file, as for `vpt report`.")],
    cluster: Annotated[
        str | None, typer.Option(help="Where runs will be made: local:4, tcp://HOST:8786, slurm:8, kubernetes:NAME.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Plan for so many runs at the same time, not for those there are now.")
    ] = None,
) -> None:
    """Say how long and how much the runs of CONFIG will take, and what limits them. Nothing is trained or stored."""
    typer.echo(f"Checking {config}")
    from tqdm import tqdm

    from vptlib.report.config import check_material, read_config
    from vptlib.study.cluster import cluster_address
    from vptlib.study.planner import Planner, site_of

    found = read_config(expanded(config))
    where = cluster or found.settings.cluster
    _ = where and cluster_address(where)  # a wrong one is refused before anything is loaded
    check_material(found)
    studies = [*found.studies(), *found.harder_studies()]
    with site_of(where, workers, typer.echo) as site:
        with ticking(tqdm(total=len(studies), bar_format=_BAR, leave=False, mininterval=0.2)) as bar:
            planner = Planner(site, lambda what: bar.set_description(f"Measuring {what}"))
            outlooks = []
            for study in studies:
                outlooks.append(planner.outlook(study))
                bar.update()
        _print(found, site, planner, outlooks)
    typer.echo(f"\nThe next command makes the report:\n\n    {_next(config, cluster)}")


_BAR = "{desc}  {elapsed} gone, {n_fmt} of {total_fmt} studies measured"


def _next(config: Path, cluster: str | None) -> str:
    from vptlib.report.init import as_typed

    return f"vpt report {as_typed(config)}" + (f" --cluster {shlex.quote(cluster)}" if cluster else "")


def _print(config: "ReportConfig", site: "Site", planner: "Planner", outlooks: "Sequence[Outlook]") -> None:
    """What was found, a line for each question."""
    from vptlib.data.readers import short_name
    from vptlib.report.build import power_before

    if len(outlooks) > 1:
        rows = [
            (short_name(o.study.task), f"{o.left.runs} of {len(o.study.cells())}", _time(o.seconds.likely))
            for o in outlooks
        ]
        print_table(("study", "runs to make", "time"), rows)
        typer.echo()
    lines = [
        ("runs", _runs(outlooks)),
        ("time", _times(site, planner, outlooks)),
        *(("steps", text) for text in _steps(outlooks)),
        ("memory", _memory(site, outlooks)),
        ("disk", _disk(config, outlooks)),
        *(("money", text) for text in _money(config, outlooks)),
        ("limit", _limit(site, outlooks)),
        *(("fits", text) for text in _fitting(config, site, outlooks)),
        *(("power", text) for text in power_before(config)),
    ]
    for line in lines:
        print_row(line, [6])


def _runs(outlooks: "Sequence[Outlook]") -> str:
    left, whole = sum(o.left.runs for o in outlooks), sum(o.whole.runs for o in outlooks)
    return f"{count(left)} of {count(whole)} to make" + ("" if left == whole else ", the others are in the store")


def _times(site: "Site", planner: "Planner", outlooks: "Sequence[Outlook]") -> str:
    """From the start of the first run to the end of the last one."""
    starting = planner.starting if any(o.left.runs for o in outlooks) else 0.0
    low, likely, high = (starting + sum(o.seconds[end] for o in outlooks) for end in range(3))
    computing = sum(o.left.computing for o in outlooks)
    text = f"about {_time(likely)} ({_time(low)} to {_time(high)}) with {many(site.workers, 'run')} at the same time"
    text += f"; {_time(computing)} of computing in all"
    if sum(o.left.runs for o in outlooks) < sum(o.whole.runs for o in outlooks):
        whole = sum(o.whole.computing for o in outlooks)
        text += f" (all runs, with those that are finished: {_time(whole)})"
    return f"{text}. Pages and explanations come on top."


def _steps(outlooks: "Sequence[Outlook]") -> Iterator[str]:
    """How many steps are expected, where that is not certain."""
    from vptlib.study.planner import USUAL_STEPS
    from vptlib.study.published_rules import DONE

    if not any(o.study.rules == DONE for o in outlooks):
        return
    seen = sum(o.steps_seen for o in outlooks)
    if seen:
        yield f"training goes on until it is done: as long as in {many(seen, 'finished run')} of these studies"
    else:
        yield (
            f"training goes on until it is done: {USUAL_STEPS.likely:.0f} steps are expected "
            f"({USUAL_STEPS.low:.0f} to {USUAL_STEPS.high:.0f}), as on the embedded tasks"
        )


def _memory(site: "Site", outlooks: "Sequence[Outlook]") -> str:
    largest = max(outlooks, key=lambda o: o.process_bytes)
    here = "a GPU" if largest.on_gpu else "the machine"
    each, whole = storage(largest.process_bytes), storage(site.on_machine * largest.process_bytes)
    text = f"{each} for a process" + (f", {whole} for {site.on_machine}" if site.on_machine > 1 else "")
    return f"{text}; {here} has {storage(largest.machine_bytes)}"


def _disk(config: "ReportConfig", outlooks: "Sequence[Outlook]") -> str:
    from vptlib.paths import free_bytes, store_folder

    left, whole = (sum(o.disk[part] for o in outlooks) for part in range(2))
    text = f"{storage(left)} in the store" + ("" if left == whole else f" ({storage(whole)} with all runs)")
    report = REPORT_BYTES * len(config.settings.tasks) * len(config.languages)
    return f"{text}, and about {storage(report)} for the report; {storage(free_bytes(store_folder()))} are free"


def _money(config: "ReportConfig", outlooks: "Sequence[Outlook]") -> Iterator[str]:
    """What the hours of all runs cost, as the report counts them; nothing where no price is given."""
    from vptlib.evidence.prices import Prices

    prices = Prices.among(config.asked)
    if not prices.given("compute_hour_price"):
        return
    hours, price = sum(o.left.computing for o in outlooks) / 3600, prices.of("compute_hour_price")
    low, likely, high = (f"{hours * each:,.2f}" for each in price)
    between = "" if low == high else f" ({low} to {high})"
    currency = f" {config.settings.currency}" if config.settings.currency else ""
    yield f"{likely}{between}{currency} for {plain(hours)} hours of computing"


def _limit(site: "Site", outlooks: "Sequence[Outlook]") -> str:
    """What limits the whole, with its figure."""
    from vptlib.study.planner import limit_of

    kind, amount, cells = limit_of(outlooks, site.workers, site.on_machine)
    if kind in ("run", "tuning"):
        return _longest(kind, amount, f"{cells[0].method} with {count(cells[0].n)} images", outlooks)
    if kind == "memory":
        has = min(o.machine_bytes for o in outlooks)
        fewer = max(1, math.floor(has / max(o.process_bytes for o in outlooks)))
        advice = f"start at most {many(fewer, 'worker')} on it" if site.split else f"set VPTLIB_JOBS={fewer}"
        return f"memory: {site.on_machine} at the same time need {storage(amount)} of {storage(has)}; {advice}"
    return {
        "nothing": "nothing is left to make",
        "decoding": f"decoding images takes {_time(amount)}, more than half of the time; it is done once",
        "keeping": f"keeping runs in the store takes {_time(amount)}, more than half of the time: they are short",
        "loading": f"loading tasks takes {_time(amount)}, more than half of the time: the runs are short",
        "workers": f"the number of workers: with twice as many it would take about {_time(amount)}",
    }[kind]


def _longest(kind: str, seconds: float, run: str, outlooks: "Sequence[Outlook]") -> str:
    helping = max(1, math.ceil(sum(o.left.computing for o in outlooks) / seconds))
    no_more = f"More than {many(helping, 'worker')} would not help"
    if kind == "tuning":
        return f"tuning before later seeds: {run}, one after the other, {_time(seconds)}. {no_more}"
    return f"one long run, which no second worker can share: {run}, {_time(seconds)}. {no_more}"


def _fitting(config: "ReportConfig", site: "Site", outlooks: "Sequence[Outlook]") -> Iterator[str]:
    """What fits into the time of the file, by the same rule as the report's."""
    from vptlib.report.build import SECONDS_TO_WRITE
    from vptlib.report.words import in_language
    from vptlib.study.published_rules import VTAB
    from vptlib.study.time_budget import planned, seconds_of, timetable

    if not config.settings.time:
        return
    if any(o.study.rules == VTAB for o in outlooks):
        yield f"the rules {VTAB!r} know no time: leave out `time`"
        return
    seconds = seconds_of(config.settings.time) - len(config.settings.tasks) * SECONDS_TO_WRITE
    for outlook in outlooks:
        share = max(0.0, seconds / len(outlooks))
        table = timetable(outlook.study, outlook.missing, share, site.workers, cost_of=outlook.cost_of)
        for line in planned(table, len(outlook.missing)):
            yield in_language().sentence(line)


def _time(seconds: float) -> str:
    """As `duration`, and days where there are several."""
    return f"{seconds / _DAY:.1f}\u202fdays" if seconds >= 2 * _DAY else duration(seconds)
