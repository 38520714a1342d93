"""What a study will take, before it starts: time, memory, disk, and what limits it. Nothing is trained or stored.

    measure ── paces of steps and images, what keeping a run takes (`vptlib.study.paces`, `vptlib.study.keeping`)
        └── costs of each run (`vptlib.study.run_costs`) ── in their order (`vptlib.study.schedule`) ── Outlook

How many steps a training takes "until done" is not known before. Finished runs of the study tell; without any, those
of the embedded tasks do. So there is a likely figure, with a low and a high one.
"""

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from vptlib.data.preparing import MOST_PREPARED_BYTES
from vptlib.errors import UserError
from vptlib.study.address import store_address
from vptlib.study.artefacts import fault_of
from vptlib.study.cluster import Place, cluster_address, reached
from vptlib.study.connection import open_store
from vptlib.study.database import examined
from vptlib.study.done_rules import MOST_GROWTH
from vptlib.study.keeping import Keeping, keeping
from vptlib.study.make_runs import is_stored
from vptlib.study.material import decoded_images, is_solved, material_of, pinned
from vptlib.study.on_worker import WORK_BEFORE_RENEWAL
from vptlib.study.paces import Here, Measured, Measuring, OnWorkers, Processes, joined, load, measure
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import DONE, VTAB, steps_of
from vptlib.study.run_costs import EXPECTED_STEPS, Pace, RunCost, between, rounds_of, run_cost, shares_test_features
from vptlib.study.runner import default_jobs
from vptlib.study.schedule import Piece, ends_of, longest_chain, pieces_of
from vptlib.study.store import run_key
from vptlib.study.study import Study
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import find_method

# Steps "until done" of most runs of the embedded tasks.
FEWEST_STEPS, MOST_STEPS = 140, 300
# All tasks are loaded to measure how long that takes, as long as it takes no more seconds than these.
SECONDS_TO_LOAD = 15.0
# A cluster without a worker is not waited for longer.
SECONDS_FOR_A_CLUSTER = 60.0
_DECODED = 16  # images that are decoded to measure it


class Range(NamedTuple):
    """A figure that is not certain."""

    low: float
    likely: float
    high: float

    def plus(self, other: "Range") -> "Range":
        return Range(*(mine + its for mine, its in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Course:
    """How some runs of a study go.

    Attributes:
        seconds: from the start to the end.
        computing: of all runs, one after the other.
        chain: the runs that must follow each other and take longest together; often it is one run.
        chain_seconds: that these take.
        runs: how many there are.
    """

    seconds: float = 0.0
    computing: float = 0.0
    chain: tuple[Cell, ...] = ()
    chain_seconds: float = 0.0
    runs: int = 0


def course_of(
    plan: Plan, cells: Sequence[Cell], cost_of: Callable[[Cell], RunCost], workers: int, split: bool = False
) -> Course:
    """How runs go that are made in this order.

    Args:
        cost_of: what a run costs, with its place in the store.
        workers: runs that are made at the same time.
        split: whether each published setting is a piece of work of its own, as on a cluster.
    """
    if not cells:
        return Course()
    costs = [(cell, cost_of(cell)) for cell in cells]
    pieces = pieces_of(plan, costs, split, workers)
    chain = [pieces[number] for number in longest_chain(pieces)]
    return Course(
        seconds=max(ends_of(pieces, workers)),
        computing=sum(piece.seconds for piece in pieces),
        chain=_runs_of(chain),
        chain_seconds=sum(piece.seconds for piece in chain),
        runs=len(cells),
    )


def _runs_of(chain: Sequence[Piece]) -> tuple[Cell, ...]:
    return tuple(dict.fromkeys(piece.cell for piece in chain))


@dataclass(frozen=True)
class Known:
    """What is known of a study before it goes on.

    Attributes:
        measured: method → its paces, and the memory that it took.
        keeping: method and whether its weights are kept → what it takes to keep a run.
        steps: method → steps until it is done.
        prompts: a run that chooses for others, and is finished → the number of prompts that it has chosen.
        loading: seconds in each process: the task, the test images, and what is made of them once.
        decoding: seconds before the first run, of images that are not decoded yet.
        turnaround: seconds of each piece of work on its way to a worker of a cluster and back, with its share of the
            time in which workers begin anew.
    """

    measured: Mapping[str, Measured]
    keeping: Mapping[tuple[str, bool], Keeping]
    steps: Mapping[str, Range] = field(default_factory=dict)
    prompts: Mapping[Cell, int] = field(default_factory=dict)
    loading: float = 0.0
    decoding: float = 0.0
    turnaround: float = 0.0


def cost_with(plan: Plan, known: Known, end: int = 1) -> Callable[[Cell], RunCost]:
    """What each run costs, its place in the store included.

    Args:
        end: of the ranges: 0 the low one, 1 the likely one, 2 the high one.
    """

    def cost(cell: Cell) -> RunCost:
        measured, steps = known.measured[cell.method], known.steps.get(cell.method, USUAL_STEPS)[end]
        paces = {length: _at_end(pace, measured, end) for length, pace in measured.paces.items()}
        chosen = known.prompts.get(plan.tuning_cell(cell))
        found = run_cost(plan, cell, lambda prompts: between(paces, prompts or plan.num_prompts), steps, chosen)
        grown = 0.0
        if plan.rules == DONE and end == 2 and not is_solved(plan, cell.method) and len(plan.to_try(cell.method)) > 1:
            grown = MOST_GROWTH * rounds_of(plan, cell)[-1] * paces[None].step
        extra = grown + known.keeping[cell.method, plan.keeps(cell)].seconds + known.turnaround
        settings = tuple(seconds + known.turnaround for seconds in found.settings)
        return replace(found, settings=settings, last=found.last + extra)

    return cost


USUAL_STEPS = Range(FEWEST_STEPS, EXPECTED_STEPS, MOST_STEPS)


def _at_end(pace: Pace, measured: Measured, end: int) -> Pace:
    times = (measured.fastest, 1.0, measured.slowest)[end]
    return replace(pace, stem=times * pace.stem, step=times * pace.step, look=times * pace.look)


@dataclass(frozen=True)
class Outlook:
    """What one study will take.

    Attributes:
        study: with its settings.
        missing: its runs that are not in the store.
        left: how the runs that are missing go, as likely; `seconds` has all ends.
        whole: the same for all runs, as if none was finished.
        seconds: from the start to the end of what is missing, with all that comes before and between.
        disk: bytes in the store of the missing runs, and of all.
        process_bytes: memory of one process.
        machine_bytes: what a machine, or a GPU, has.
        on_gpu: whether the memory is that of a GPU.
        aside: seconds that are no run: loading and decoding.
        decoding: seconds of decoding among these.
        keeping: seconds to keep the missing runs, of all that they take.
        with_twice: seconds, as likely, with twice as many workers.
        cost_of: seconds of a run, as likely.
        steps_seen: finished runs that told how many steps there will be.
    """

    study: Study
    missing: Sequence[Cell]
    left: Course
    whole: Course
    seconds: Range
    disk: tuple[float, float]
    process_bytes: float
    machine_bytes: float
    on_gpu: bool
    aside: float
    decoding: float
    keeping: float
    with_twice: float
    cost_of: Callable[[Cell], float]
    steps_seen: int = 0


def outlook_of(
    study: Study, missing: Sequence[Cell], known: Known, workers: int, split: bool = False, steps_seen: int = 0
) -> Outlook:
    """What a study will take, from what is known of it; nothing is measured here."""
    jobs = min(workers, max(1, len(missing))) if not split else workers
    cells, ends = study.in_order(list(missing), jobs), range(3)
    courses = [course_of(study, cells, cost_with(study, known, end), jobs, split) for end in ends]
    every = study.in_order(study.cells(), workers)
    aside = known.loading + known.decoding if missing else 0.0
    measured = known.measured.values()
    kept = [known.keeping[cell.method, study.keeps(cell)] for cell in missing]
    cost = cost_with(study, known)
    return Outlook(
        study=study,
        missing=missing,
        left=courses[1],
        whole=course_of(study, every, cost, workers, split),
        seconds=Range(*(course.seconds + aside for course in courses)),
        disk=(sum(k.bytes for k in kept), sum(known.keeping[c.method, study.keeps(c)].bytes for c in every)),
        process_bytes=max(each.bytes for each in measured) + _beyond_the_sample(study, known),
        machine_bytes=min(each.machine_bytes for each in measured),
        on_gpu=any(each.on_gpu for each in measured),
        aside=aside,
        decoding=known.decoding if missing else 0.0,
        keeping=sum(each.seconds for each in kept),
        with_twice=course_of(study, study.in_order(cells, 2 * workers), cost, 2 * workers, split).seconds + aside,
        cost_of=lambda cell: cost(cell).total,
        steps_seen=steps_seen,
    )


def _beyond_the_sample(plan: Plan, known: Known) -> float:
    """Bytes of all prepared images and kept tokens of a process; few of them were there when it was measured."""
    if any(each.on_gpu for each in known.measured.values()):
        return 0.0
    material, n = material_of(plan), plan.sizes[-1]
    one = 4 * 3 * preprocessing(material.vit).size ** 2
    sets = [n * one] * (2 if plan.rules == VTAB else 1) + [len(material.test_items) * one]
    kept = max(each.kept_bytes for each in known.measured.values())
    return sum(size for size in sets if size <= MOST_PREPARED_BYTES) + n * kept


# ---- what limits it ---------------------------------------------------------------------------------------------


class Limit(NamedTuple):
    """What limits a report.

    Attributes:
        kind: "nothing", "memory", "decoding", "keeping", "loading", "run", "tuning", or "workers".
        seconds: of the time that it takes, or for "workers" the time with twice as many; of memory, bytes.
        cells: the runs, for "run" and "tuning".
    """

    kind: str
    seconds: float = 0.0
    cells: tuple[Cell, ...] = ()


def limit_of(outlooks: Sequence[Outlook], workers: int, on_machine: int) -> Limit:
    """What limits the whole, by its largest part.

    Args:
        workers: runs made at the same time.
        on_machine: of these, on one machine.
    """
    wall = sum(each.seconds.likely for each in outlooks)
    if not any(each.left.runs for each in outlooks):
        return Limit("nothing")
    for each in outlooks:
        if each.process_bytes * on_machine > each.machine_bytes:
            return Limit("memory", each.process_bytes * on_machine)
    parts = {
        "decoding": sum(each.decoding for each in outlooks),
        "keeping": sum(each.keeping for each in outlooks) / workers,
        "loading": sum(each.aside - each.decoding for each in outlooks),
    }
    largest = max(parts, key=parts.__getitem__)
    if parts[largest] > wall / 2:
        return Limit(largest, parts[largest])
    chains = sum(each.left.chain_seconds for each in outlooks)
    shared = sum(each.left.computing for each in outlooks) / workers
    if chains > max(shared, 0.8 * sum(each.left.seconds for each in outlooks)) and workers > 1:
        longest = max(outlooks, key=lambda each: each.left.chain_seconds).left
        return Limit("run" if len(longest.chain) == 1 else "tuning", chains, longest.chain)
    return Limit("workers", sum(each.with_twice for each in outlooks))


# ---- measuring --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """Where the runs of a report will be made.

    Attributes:
        measuring: where paces are measured.
        workers: runs that will be made at the same time.
        on_machine: of these, the most on one machine.
        split: whether each published setting is a piece of work of its own, as on a cluster.
        starts: whether the processes start with the study; those of a scheduler run already.
    """

    measuring: Measuring
    workers: int
    on_machine: int
    split: bool = False
    starts: bool = False


@contextmanager
def site_of(cluster: str, workers: int | None, tell: Callable[[str], None]) -> Iterator[Site]:
    """Where runs will be made: on a cluster, or on this machine where `cluster` is "".

    Args:
        workers: runs at the same time to plan for; by default as many as the cluster has workers, or as are made here.
        tell: is given a sentence where a cluster does not answer. The paces are then those of this machine.

    Raises:
        UserError: `cluster` names none.
    """
    if not cluster:
        with _here(workers or default_jobs()) as site:
            yield site
        return
    _ = cluster_address(cluster)
    with ExitStack() as open_until_the_end:
        try:
            place = open_until_the_end.enter_context(reached(cluster, tell, SECONDS_FOR_A_CLUSTER))
            site = _at(place, workers, cluster_address(cluster).workers > 0)
        except UserError as error:
            tell(f"{error} So the paces are those of this machine.")
            jobs = workers or cluster_address(cluster).workers or default_jobs()
            site = replace(open_until_the_end.enter_context(_here(jobs)), split=True, starts=False)
        yield site


def _at(place: Place, workers: int | None, starts: bool) -> Site:
    hosts = Counter(about.get("host", "") for about in place.workers().values())
    measuring = OnWorkers(place)
    return Site(measuring, workers or place.slots, max(hosts.values()), split=True, starts=starts)


@contextmanager
def _here(jobs: int) -> Iterator[Site]:
    """This machine, which measures with no more processes than it has cores."""
    if jobs == 1:
        yield Site(Here(), 1, 1)
        return
    processes = Processes(min(jobs, max(2, os.cpu_count() or 1)))
    try:
        yield Site(processes, jobs, jobs, starts=True)
    finally:
        processes.close()


class Planner:
    """Measures once what several studies have in common, and gives the outlook of each.

    Args:
        site: where their runs will be made.
        tell: is given what is measured, as it begins.

    Attributes:
        starting: seconds until the processes of a study have begun.
    """

    def __init__(self, site: Site, tell: Callable[[str], object]):
        self._site, self._tell = site, tell
        self._measured: dict[Any, Measured] = {}
        self._keeping: dict[Any, dict[tuple[str, bool], Keeping]] = {}
        self._loads: dict[str, Measured] = {}  # task → what loading it took
        self.starting = self._turnaround = 0.0

    def outlook(self, study: Study) -> Outlook:
        """What one study will take.

        Raises:
            UserError: the task or the backbone cannot be had, or no worker answers.
        """
        done = runs_without_a_change(study)
        missing = [cell for cell in study.cells() if not is_stored(study, cell, done)]
        steps, seen = steps_seen(study, done)
        self._load(study)
        known = Known(
            measured={method: self._paces(study, method) for method in study.methods},
            keeping=self._kept(study, steps),
            steps=steps,
            prompts=_prompts_chosen(study, done),
            turnaround=self._turnaround,
        )
        known = replace(known, loading=self._loading(study, missing, known), decoding=_decoding(study))
        return outlook_of(study, missing, known, self._site.workers, self._site.split, seen)

    def _paces(self, study: Study, method: str) -> Measured:
        material = material_of(study)
        key = (material.fingerprint, preprocessing(material.vit), type(material.task.train), method, study.rules)
        key += (study.num_prompts, study.batch_size, study.candidates, study.sizes[-1], study.augmentation)
        if is_solved(study, method):
            key += (material.task.num_classes,)
        if key not in self._measured:
            self._tell(f"a step of {method}")
            self._measured[key] = joined(self._site.measuring.all(measure, pinned(study), method))
        return self._measured[key]

    def _load(self, study: Study) -> None:
        """Let all processes load a task, so that they then measure at the same time."""
        if study.task in self._loads or sum(each.loading for each in self._loads.values()) > SECONDS_TO_LOAD:
            return
        self._tell("how long loading takes")
        start = time.perf_counter()
        found = joined(self._site.measuring.all(load, pinned(study), self._site.split))
        if not self._loads:
            began = max(0.0, time.perf_counter() - start - found.loading)
            self.starting = began if self._site.starts else 0.0
            renewed = began / WORK_BEFORE_RENEWAL if self._site.split else 0.0  # workers of a cluster begin anew
            self._turnaround = self._site.measuring.turnaround() + renewed
        self._loads[study.task] = found

    def _loading(self, study: Study, missing: Collection[Cell], known: Known) -> float:
        """Seconds that each process needs before its first run of a study."""
        images = len(material_of(study).test_items)
        known_loads = [self._loads[study.task]] if study.task in self._loads else [*self._loads.values()]
        loading = statistics.mean(each.loading for each in known_loads)
        preparing = statistics.mean(each.preparing for each in known_loads)
        methods = {cell.method for cell in missing}
        shared = [known.measured[method] for method in methods if shares_test_features(study, method)]
        stem = max((pace.stem for each in shared for pace in each.paces.values()), default=0.0)
        return loading + images * (preparing + stem)

    def _kept(self, study: Study, steps: Mapping[str, Range]) -> dict[tuple[str, bool], Keeping]:
        """What it takes to keep a run; of tasks with other test images, the bytes of these are counted anew."""
        material = material_of(study)
        key = (material.fingerprint, preprocessing(material.vit).size, study.methods, study.rules, study.candidates)
        images, classes = len(material.test_items), material.task.num_classes
        if key not in self._keeping:
            self._tell("keeping a run")
            taken = _steps_of_a_run(study, steps)
            self._keeping[key] = {
                name: replace(each, bytes=each.bytes - _bytes_of_test(images, classes))
                for name, each in keeping(study, taken).items()
            }
        return {
            name: replace(each, bytes=each.bytes + _bytes_of_test(images, classes))
            for name, each in self._keeping[key].items()
        }


def _bytes_of_test(images: int, classes: int) -> int:
    """Of the stored answers to so many test images: 2 bytes for each class, and two numbers as text."""
    return images * (2 * classes + 7)


def _steps_of_a_run(plan: Plan, steps: Mapping[str, Range]) -> int:
    if plan.rules == VTAB:
        return steps_of(plan.sizes[-1], plan.epochs, plan.batch_size)
    if plan.rules != DONE:
        return plan.most_steps
    return min(plan.most_steps, round(statistics.mean(each.likely for each in steps.values())))


def _decoding(study: Study) -> float:
    """Seconds to decode the images that are not decoded yet."""
    wanted, seconds = preprocessing(material_of(study).vit), 0.0
    about = (wanted.size, wanted.interpolation, wanted.aspect)
    for part in decoded_images(study):
        rows = part.source.not_kept(part.rows, *about)
        if not len(rows):
            continue
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _DECODED)).astype(int)]
        start = time.perf_counter()
        part.source.decoded(some, *about)
        seconds += (time.perf_counter() - start) / len(some) * len(rows)
    return seconds


# ---- what the store tells ---------------------------------------------------------------------------------------


def runs_without_a_change(plan: Plan) -> dict:
    """Finished MLflow runs of a plan, by key, as `vptlib.study.store.finished_runs`: but nothing is made or cleaned.

    Raises:
        UserError: the store cannot be read, or its server does not answer.
    """
    file = store_address().file
    if file is not None and examined(file).kind != "whole":
        return {}
    store, items = open_store(), len(material_of(plan).test_items)
    found: dict[str, Any] = {}
    for run in store.finished([run_key(plan, cell) for cell in plan.cells()]):
        key = run.data.tags["key"]
        if (key not in found or "weights" in run.data.tags) and not fault_of(run, items):
            found[key] = run
    return found


def steps_seen(plan: Plan, done: Mapping[str, Any]) -> tuple[dict[str, Range], int]:
    """Method → steps until it is done, by the finished runs of the plan; and how many of these told.

    A method without one has the steps of the others. Low and high are quartiles, or the usual ones where none is seen.
    """
    seen: dict[str, list[float]] = {}
    for cell in plan.cells():
        run = done.get(run_key(plan, cell))
        if run is not None and plan.rules == DONE and not is_solved(plan, cell.method):
            seen.setdefault(cell.method, []).append(run.data.metrics["last_step"])
    everywhere = [steps for each in seen.values() for steps in each]
    return {method: _range_of(seen.get(method) or everywhere) for method in plan.methods}, len(everywhere)


def _range_of(steps: Sequence[float]) -> Range:
    if not steps:
        return USUAL_STEPS
    low, high = np.quantile(steps, (0.25, 0.75))
    likely = float(np.mean(steps))
    return Range(min(float(low), likely), likely, max(float(high), likely))


def _prompts_chosen(plan: Plan, done: Mapping[str, Any]) -> dict[Cell, int]:
    """The prompt length that each finished run has chosen for later seeds, under the published rules."""
    found = {}
    for cell in plan.cells():
        if plan.rules == VTAB and plan.tunes(cell) and find_method(cell.method).uses_prompts:
            run = done.get(run_key(plan, cell))
            if run is not None:
                found[cell] = int(run.data.params["num_prompts"])
    return found
