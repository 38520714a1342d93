"""Faults on purpose: a study on a cluster of real processes, of which something is killed, stopped, cut off or filled.

At random moments one thing after the other goes wrong on a site (soak/site.py) whose supervisor starts again what has
ended; a study that was killed is given again, too. When it ends, its table must be that of an undisturbed one, each
run must be there once, and nothing may be left. The moments of one study share its verdict.

    python -m soak cluster
"""

import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from soak import actions
from soak.kills import difference
from soak.ledger import Ledger
from soak.on_machine import BEAT, EXPIRY, STALE, hasten
from soak.processes import FINISHED, REFUSED, Process, afresh
from soak.scene import Scene
from soak.shortages import is_one_sentence
from soak.site import Site

PART = "cluster"
PARTS = {PART: 200}  # moments
CLAIMS = "vptlib claims"
_GAP = 14.0  # seconds between two moments at most
HANGS = 240  # seconds after the last moment in which a study must end
_SETTLES = 90  # seconds in which all is well again when nothing goes wrong any more
_MOST_REFUSALS = 20  # of one study

# ---- what goes wrong ----------------------------------------------------------------------------------------------

Hit = str | None  # what was hit; None: it is not there just now


def _one_of(site: Site, state: str, draw: random.Random) -> Hit:
    """Kill a worker that is in a state, or its machine."""
    busy = [machine for machine in site.machines if machine.state() == state]
    if not busy:
        return None
    machine, whole = draw.choice(busy), draw.random() < 0.3
    time.sleep(draw.uniform(0, 0.3))
    if machine.state() != state:
        return None
    if whole:
        machine.kill()
        return "the whole machine"
    return "the worker" if machine.kill_worker() else None


def while_training(site: Site, draw: random.Random) -> Hit:
    return _one_of(site, "making", draw)


def while_storing(site: Site, draw: random.Random) -> Hit:
    return _one_of(site, "storing", draw)


def scheduler(site: Site, draw: random.Random) -> Hit:
    if not site.scheduler.running:
        return None
    site.scheduler.kill()
    return "SIGKILL"


def server(site: Site, draw: random.Random) -> Hit:
    if not site.server.running:
        return None
    site.server.kill()
    return "SIGKILL"


def database(site: Site, draw: random.Random) -> Hit:
    if not site.database or not site.database.running:
        return None
    gently = draw.random() < 0.5
    (site.database.stop if gently else site.database.kill)()
    return "immediate stop" if gently else "SIGKILL"


def study(site: Site, draw: random.Random) -> Hit:
    if site.study is None or site.study.ended():
        return None
    site.study.kill(group=True)
    return "SIGKILL"


def pause(site: Site, draw: random.Random) -> Hit:
    machine, seconds = draw.choice(site.machines), EXPIRY * draw.uniform(1.1, 2)
    if not machine.state():
        return None
    machine.pause(True)
    site.later(seconds, lambda: machine.pause(False))
    return f"for {seconds:.0f} s"


def partition(site: Site, draw: random.Random) -> Hit:
    machine, seconds = draw.choice(site.machines), draw.uniform(1, 2 * EXPIRY)
    if not machine.state():
        return None
    with suppress(subprocess.CalledProcessError):  # it is just being started again
        site.later(seconds, machine.cut())
        return f"for {seconds:.0f} s"
    return None


def disk(site: Site, draw: random.Random) -> Hit:
    machine, seconds = draw.choice(site.machines), draw.uniform(2, 10)
    if not machine.state():
        return None
    with ExitStack() as stack:
        try:
            stack.enter_context(machine.fill(draw))
        except OSError:  # it is full already, or the worker has just written something
            return None
        site.later(seconds, stack.pop_all().close)
    return f"for {seconds:.0f} s"


def clock(site: Site, draw: random.Random) -> Hit:
    hours = draw.uniform(1, 48) * draw.choice((-1, 1))
    where, found = draw.choice(
        [("a machine", machine.clock) for machine in site.machines] + [("all others", site.clock)]
    )
    found.set_wrong(3600 * hours)
    site.later(draw.uniform(5, 60), lambda: found.set_wrong(0))
    return f"{where}, by {hours:+.0f} h"


def _always(_: Site) -> bool:
    return True


@dataclass(frozen=True)
class Kind:
    """What may go wrong: its title, how it is done, and whether this machine lets us."""

    title: str
    strike: Callable[[Site, random.Random], Hit]
    can_be_had: Callable[[Site], bool] = _always


KINDS = {
    "making": Kind("a worker is killed while it makes a run", while_training),
    "storing": Kind("a worker is killed while it stores a run", while_storing),
    "scheduler": Kind("the scheduler is killed", scheduler),
    "server": Kind("the MLflow server is killed", server),
    "database": Kind("PostgreSQL is killed", database, lambda site: site.database is not None),
    "study": Kind("the study is killed, and given again", study),
    "pause": Kind("a machine is paused for longer than its claim holds", pause),
    "partition": Kind("a machine is cut off from the network", partition, lambda site: site.network),
    "disk": Kind("the disk of a machine is full", disk, lambda site: all(each.disk for each in site.machines)),
    "clock": Kind("a clock jumps by hours, and back", clock),
}


# ---- studies ------------------------------------------------------------------------------------------------------


@dataclass
class Moment:
    """One thing that goes wrong.

    Attributes:
        wait: seconds after the last one.
        at: seconds since its study began.
        hit: what was hit, in words.
    """

    number: int
    kind: str
    wait: float
    draw: random.Random
    at: float = 0.0
    hit: str = ""


def moments(ledger: Ledger, numbers: list[int], kinds: list[str]) -> Iterator[Moment]:
    """The moments of these numbers, the same for the same seed and kinds."""
    for number in numbers:
        draw = ledger.random(PART, number)
        yield Moment(number, draw.choice(kinds), draw.uniform(0, _GAP), draw)


@dataclass
class Disturbed:
    """A study, and what has gone wrong while it was made.

    Attributes:
        said: what may not be, a sentence each.
        refused: how often it ended with one sentence, and was given again.
    """

    number: int
    begun: float = field(default_factory=time.monotonic)
    met: list[Moment] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    refused: int = 0


class Studies:
    """One study after the other on a site, until all moments are over."""

    def __init__(self, site: Site, images: Path, wanted: list[dict[str, Any]], coming: Iterator[Moment], until: float):
        """
        Args:
            wanted: the rows of the undisturbed table.
            until: after this, as `time.monotonic` counts, no moment comes any more.
        """
        self._site, self._images, self._wanted = site, images, wanted
        self._coming, self._until, self._started = coming, until, 0
        self._next: Moment | None = None
        self._due = 0.0
        self._advance()

    def one(self, number: int) -> Disturbed:
        """Make a study, disturb it, and judge what has become of it."""
        about = Disturbed(number)
        self._site.study = self._begun()
        while not self._has_ended(about):
            self._site.heal()
            self._strike(about)
            time.sleep(0.02)
        self._settle(about)
        about.said += judged(self._site, self._images, self._wanted)
        return about

    @property
    def over(self) -> bool:
        """Whether no moment is left."""
        return self._next is None or time.monotonic() > self._until

    def _advance(self) -> None:
        self._next = next(self._coming, None)
        self._due = time.monotonic() + (self._next.wait if self._next else 0)

    def _begun(self) -> Process:
        self._started += 1
        given = {"images": str(self._images), "cluster": self._site.cluster.address}
        own = self._site.desk.environment() | {"MLFLOW_TRACKING_URI": self._site.server.address}
        log = self._site.desk.folder / f"study-{self._started}.txt"
        return afresh("soak.actions", ["on_cluster", json.dumps(given)], own, log)

    def _strike(self, about: Disturbed) -> None:
        if self.over or self._next is None or time.monotonic() < self._due:
            return
        if hit := KINDS[self._next.kind].strike(self._site, self._next.draw):
            self._next.at, self._next.hit = time.monotonic() - about.begun, hit
            about.met.append(self._next)
            self._advance()

    def _has_ended(self, about: Disturbed) -> bool:
        """Whether the study is finished, or may not be given again."""
        process = self._site.study
        assert process
        if not process.ended():
            last = about.begun + (about.met[-1].at if about.met else 0)
            if time.monotonic() - last < HANGS:
                return False
            about.said.append(f"the study does not end: {process.said()} {self._site.troubles[-1:]}")
            process.kill(group=True)
            return True
        if process.code == FINISHED:
            return True
        if process.code == REFUSED and is_one_sentence(process.said()):
            about.refused += 1
        elif process.code != -9:
            about.said.append(f"the study ended with {process.code}, and not with one sentence: {process.said()}")
        if about.refused > _MOST_REFUSALS or about.said:
            about.said.append(f"it is not given again: {process.said()}")
            return True
        self._site.study = self._begun()
        return False

    def _settle(self, about: Disturbed) -> None:
        """Let nothing be wrong any more, and what has ended be there again."""
        self._site.heal(everything=True)
        end = time.monotonic() + _SETTLES
        while not self._site.is_well():
            if time.monotonic() > end:
                about.said.append(f"not all is well again after {_SETTLES} s: {self._site.troubles[-1:]}")
                return
            time.sleep(0.1)


# ---- what must hold -----------------------------------------------------------------------------------------------


def judged(site: Site, images: Path, wanted: list[dict[str, Any]]) -> Iterator[str]:
    """What may not be when a study is over and its machines have begun anew, a sentence each."""
    os.environ["MLFLOW_TRACKING_URI"] = site.server.address
    places = {"desk": site.desk, **{f"machine {k}": machine.scene for k, machine in enumerate(site.machines)}}
    rows = {name: seen_from(place, images) for name, place in places.items()}["desk"]
    for _ in range(2):  # a claim must be seen twice
        if any(experiment == CLAIMS for experiment, *_ in site.runs()):
            time.sleep(STALE + BEAT)
            seen_from(site.desk, images)
    yield from faults_of(rows, wanted, site.runs())
    for name, place in places.items():
        yield from (f"{name}: {said}" for said in place.temporary_faults())
    if strays := site.strays():
        yield f"processes are left: {strays}"


def seen_from(place: Scene, images: Path) -> list[dict[str, Any]]:
    """The table of the study as the next process of this store folder sees it, which cleans up first."""
    from vptlib.study.connection import open_store
    from vptlib.study.leftovers import clean_once
    from vptlib.study.outages import outlasting

    os.environ |= place.environment()
    clean_once.cache_clear()
    outlasting(open_store)  # the server may just have begun anew
    return actions.rows_of(actions.cluster_study(str(images)))


def faults_of(
    rows: list[dict[str, Any]], wanted: list[dict[str, Any]], runs: list[tuple[str, str, str]]
) -> Iterator[str]:
    """What is wrong with a table, and with the runs of the database.

    Args:
        runs: experiment, key and status of each.
    """
    if rows != wanted:
        yield f"the table differs: {difference(rows, wanted)}"
    claims = [status for experiment, _, status in runs if experiment == CLAIMS]
    if claims:
        yield f"{len(claims)} claims are left"
    keys = Counter(key for experiment, key, status in runs if experiment != CLAIMS and status == "FINISHED")
    if twice := sum(count > 1 for count in keys.values()):
        yield f"{twice} runs are there twice"
    if len(keys) != len(wanted):
        yield f"{len(keys)} runs are stored instead of {len(wanted)}"
    if unfinished := [status for experiment, _, status in runs if experiment != CLAIMS and status != "FINISHED"]:
        yield f"{len(unfinished)} runs are left {unfinished[0]}"


# ---- the part -----------------------------------------------------------------------------------------------------


@cache
def apart() -> tuple[str, ...]:
    """The beginning of a command in namespaces of its own: no process outlives it, and no network and no disk."""
    dies_with_this = ("setpriv", "--pdeathsig", "KILL")
    words = (*dies_with_this, "unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")
    try:
        done = subprocess.run([*words, "ip", "link", "add", "type", "veth"], capture_output=True, check=False)
    except OSError:
        return ()
    # the shell is the first process there, which takes over those whose parent has ended
    return () if done.returncode else (*words, "sh", "-c", '"$@"; exit $?', "sh")


def run(ledger: Ledger, count: int, until: float, folder: Path) -> None:
    """Let the missing moments come, and keep a row of each.

    Args:
        until: after this, as `time.monotonic` counts, none comes any more.
        folder: for what was printed, where something went wrong.
    """
    while (missing := ledger.missing(PART, count)) and time.monotonic() < until:
        code = _on_a_site(ledger, missing, until, folder)
        if code and ledger.missing(PART, count) == missing:
            raise RuntimeError(f"the cluster has ended with {code} before its first study was over")


def replay(about: dict[str, Any], ledger: Ledger) -> list[str]:
    """What goes wrong when the moments of one study come again; what each hits depends on what is there just then.

    Args:
        about: as `keep` told it.
        ledger: of the same seed, for the rows of this call alone.
    """
    ledger.forget(PART)
    _on_a_site(ledger, [moment["number"] for moment in about["moments"]], math.inf, ledger.folder)
    return [said for row in ledger.rows(PART) for said in row["faults"]]


def _on_a_site(ledger: Ledger, numbers: list[int], until: float, folder: Path) -> int:
    """Let these moments come in a process of its own, up to the first study with a fault; its exit code."""
    with tempfile.TemporaryDirectory(prefix="vptlib-soak-", ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o755)  # PostgreSQL's user has a folder in it
        given = [place, ledger.folder, ledger.seed, json.dumps(numbers), until, folder / PART]
        command = [*apart(), sys.executable, "-m", "soak.cluster", *map(str, given)]
        return subprocess.run(command, check=False).returncode


def main(place: str, rows: str, seed: str, missing: str, until: str, logs: str) -> int:
    """All studies on one site, in this process; 1 if a study has a fault, because the site may be broken then."""
    ledger, folder = Ledger(Path(rows), int(seed)), Path(place)
    numbers: list[int] = json.loads(missing)
    torch.set_num_threads(1)
    hasten()
    images, wanted = undisturbed(folder / "undisturbed")
    number = 1 + max((row["study"] for row in ledger.rows(PART)), default=-1)
    with Site(folder, network=bool(apart())) as site:
        kinds = [name for name, kind in KINDS.items() if kind.can_be_had(site)]
        studies = Studies(site, images, wanted, moments(ledger, numbers, kinds), float(until))
        while not studies.over:
            about = studies.one(number)
            number += bool(about.met)
            if about.said and not about.met:
                raise RuntimeError(f"the study fails even if nothing disturbs it: {about.said[0]}")
            keep(ledger, about)
            if about.said:
                shutil.copytree(folder, Path(logs) / str(about.number), ignore=_not_logs, dirs_exist_ok=True)
                return 1
            site.empty()
    return 0


def undisturbed(folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The images of the study, and the rows of its table if nothing disturbs it."""
    scene = Scene(folder)
    actions.draw_images(scene.images)
    os.environ |= scene.environment()
    plan = actions.cluster_study(str(scene.images))
    plan.run(progress=False, jobs=1)
    return scene.images, actions.rows_of(plan)


def keep(ledger: Ledger, about: Disturbed) -> None:
    """A row for each moment; what went wrong and what it took is in that of the last one."""
    verdict = "fault" if about.said else "fine"
    for moment in about.met:
        row = {"kind": moment.kind, "at": round(moment.at, 1), "hit": moment.hit, "study": about.number}
        if moment is about.met[-1]:
            row |= {"faults": about.said, "refused": about.refused}
            row |= {"seconds": round(time.monotonic() - about.begun)}
        ledger.add(PART, moment.number, **{"faults": [], "verdict": verdict} | row)
    if about.said:
        told = [{"number": m.number, "kind": m.kind, "at": m.at, "hit": m.hit} for m in about.met]
        ledger.add_fault(PART, about.met[-1].number, faults=about.said, moments=told)
    print(f"study {about.number}, {verdict}: {', '.join(each.kind for each in about.met)}", *about.said, flush=True)


def _not_logs(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_file() and Path(name).suffix not in (".txt", ".log")]


def section(ledger: Ledger) -> str:
    """The part of the report's page; nothing if no moment was tried."""
    rows = ledger.rows(PART)
    if not rows:
        return ""
    lines = ["| what goes wrong | moments | in a study with a fault |", "| --- | --- | --- |"]
    for name, kind in KINDS.items():
        those = [row for row in rows if row["kind"] == name]
        wrong = sum(row["verdict"] == "fault" for row in those)
        lines.append(f"| {kind.title} | {len(those) or 'not to be had here'} | {wrong if those else ''} |")
    studies = Counter(row["study"] for row in rows)
    faults = {row["study"] for row in rows if row["verdict"] == "fault"}
    refused, seconds = (sum(row.get(name, 0) for row in rows) for name in ("refused", "seconds"))
    return (
        f"## {len(rows)} moments in {len(studies)} studies\n\nA study of 24 runs on a cluster of real processes: a "
        "Dask scheduler and an MLflow server on PostgreSQL, and two machines with one worker each, which have a "
        "network, a small disk and a clock of their own. A supervisor starts again what has ended. At random moments "
        f"one of these things goes wrong, drawn evenly; up to {max(studies.values())} of them met one study. Claims "
        f"last {EXPIRY:.0f} s here, not 120, and Dask gives a silent worker up after 6 s, not 300, so that pauses and "
        f"cuts outlast them. A clock is Python's `time.time` in all processes of a machine.\n\n"
        "A study has no fault if its table (accuracy, predictions, learning rate, rates tried, steps) is that of an "
        "undisturbed one, each run is in the database once, no run is left unfinished, no claim and no temporary file "
        "is left on any machine after its next start, and no process is left over. A claim that nobody wants any more "
        f"is taken down when it has been silent for an hour, here for {STALE:.0f} s.\n\n{chr(10).join(lines)}\n\n"
        f"Studies with a fault: {len(faults)}. {refused} times a study ended in one sentence, because no worker or no "
        f"scheduler was fit just then, and was given again. All took {seconds / 60:.0f} minutes."
    )


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
