"""Time as a setting: in which order runs are made so that an answer exists early, and which of them fit.

The order at the largest size: solved probes, methods trained on kept tokens (their frozen part is computed once per
image), the two methods that are compared, and others. Then come smaller sizes and further seeds. So an answer exists
early and improves. A run starts before those two only if it leaves them their time. A step of each method is measured
before the start where runs will be made, with as many others beside it as there will be. Every finished run corrects
the forecast.
"""

import re
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.statement import Statement, statement
from vptlib.study.input_size import sizes_seen
from vptlib.study.material import build_model, is_solved, material_of, pinned
from vptlib.study.plan import Cell, Plan
from vptlib.study.published_rules import DONE, VTAB
from vptlib.study.run_costs import Pace, keeps_tokens, run_cost, shares_test_features
from vptlib.study.store import finished_runs, run_key
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.precision import resolved
from vptlib.tuning.training import best_device
from vptlib.wording import duration

COMPARED = ("vpt-deep", "full")
# After so many seconds a step is measured well enough: large images take seconds a step.
ENOUGH_SECONDS = 2.0
# Time kept for the methods that are compared, relative to their forecast: training may go on for longer than expected,
# a better rate may lie beyond the edge of those tried, and a shared machine may have less to give than when it was
# measured.
CAUTION = 1.5
# They may go on for this share of the time after it is up.
GRACE = 0.1
# At most so many models are measured at the same time; more would need the memory of a whole study.
MOST_MEASURED = 4
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str) -> float:
    """ "90s", "30m", "1.5h", "1h30m" or "2d" in seconds.

    Raises:
        UserError: it is no such time.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd])", text.lower())
    if not parts or re.sub(r"\d+(?:\.\d+)?\s*[smhd]|\s", "", text.lower()):
        raise UserError(f"time is {text!r}, but must be a number and a unit, such as 90s, 30m, 2h or 1h30m.")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds <= 0:
        raise UserError(f"time is {text!r}, but must be more than nothing.")
    return seconds


class OutOfTime(Exception):
    """A run was stopped because its time was up; its checkpoint is kept."""


def by_importance(plan: Plan) -> list[Cell]:
    """All cells of the plan, the ones that an answer needs first."""
    first, *others = plan.seeds
    largest, *smaller = reversed(plan.sizes)
    order = _of_methods(plan)
    cells = [Cell(method, largest, first) for method in order]
    cells += [Cell(method, n, first) for n in smaller for method in order]
    return cells + [Cell(method, n, seed) for seed in others for n in (largest, *smaller) for method in order]


def needed_first(plan: Plan) -> list[Cell]:
    """The cells without which there is no answer at all."""
    return [Cell(method, plan.sizes[-1], plan.seeds[0]) for method in COMPARED if method in plan.methods]


def _of_methods(plan: Plan) -> list[str]:
    """The methods in order of importance: first the cheap ones, which answer early, then those that are compared."""
    largest = plan.sizes[-1]
    ranks = [lambda m: is_solved(plan, m), lambda m: keeps_tokens(plan, m, largest), lambda m: m in COMPARED]
    return sorted(plan.methods, key=lambda m: next((k for k, holds in enumerate(ranks) if holds(m)), len(ranks)))


@dataclass(frozen=True)
class Timetable:
    """What fits into a time, by forecast.

    Attributes:
        within, beyond: the cells that fit and those that do not, in order of importance.
        seconds: that all of `within` need.
    """

    within: list[Cell]
    beyond: list[Cell]
    seconds: float


def timetable(
    plan: Plan,
    missing: Sequence[Cell],
    seconds: float,
    jobs: int,
    correction: float = 1.0,
    cost_of: Callable[[Cell], float] | None = None,
) -> Timetable:
    """Which of the missing cells fit into so many seconds with `jobs` runs at the same time.

    Those that an answer needs get their time first, although cheaper ones are made before them.

    Args:
        correction: measured seconds of finished runs, relative to their forecast.
        cost_of: seconds of a run; by default its forecast on this machine.
    """
    cost_of = cost_of or (lambda cell: forecast(plan, cell, jobs))
    wanted, needed = set(missing), needed_first(plan)
    order = [cell for cell in by_importance(plan) if cell in wanted]
    beyond, busy = set(), [0.0] * max(1, jobs)
    for cell in sorted(order, key=lambda cell: cell not in needed):
        cost = correction * cost_of(cell)
        core = min(range(len(busy)), key=busy.__getitem__)
        tuned = plan.tunes(cell) or plan.tuning_cell(cell) not in beyond
        if tuned and busy[core] + cost <= seconds:
            busy[core] += cost
        else:
            beyond.add(cell)
    return Timetable([c for c in order if c not in beyond], [c for c in order if c in beyond], max(busy))


def next_run(
    plan: Plan,
    waiting: Collection[Cell],
    running: Mapping[Cell, float],
    seconds: float,
    jobs: int,
    correction: float = 1.0,
) -> Cell | None:
    """The run to start on a free core: the most important one that fits and leaves their time to those compared.

    Solved methods leave it in any case: they take little, and are the first to answer.

    Args:
        waiting: cells that are neither finished nor running.
        running: each running cell with the seconds that it has taken so far.
        seconds: that are left.
        correction: as for `timetable`.

    Returns:
        A cell of `waiting`, or None if none fits now. The methods that are compared start as long as any time is left.
    """
    if seconds <= 0:
        return None
    compared = needed_first(plan)
    needed = [cell for cell in compared if cell in waiting]
    untuned = {*waiting, *running}

    def cost(cell: Cell, spent: float = 0.0) -> float:
        caution = CAUTION if cell in compared else 1.0
        return max(0.0, caution * correction * forecast(plan, cell, jobs) - spent)

    busy = [cost(cell, spent) for cell, spent in running.items()] + [0.0] * (jobs - len(running))
    for cell in by_importance(plan):
        if cell not in waiting or (not plan.tunes(cell) and plan.tuning_cell(cell) in untuned):
            continue
        later = [] if is_solved(plan, cell.method) else sorted(map(cost, needed), reverse=True)
        if cell in needed or _longest(busy, [cost(cell), *later]) <= seconds:
            return cell
    return None


def _longest(busy: Sequence[float], costs: Sequence[float]) -> float:
    """When the last of these runs ends, if each in turn starts on the core that is free first; seconds from now."""
    cores, last = sorted(busy), 0.0
    for cost in costs:
        cores[0] += cost
        last = max(last, cores[0])
        cores.sort()
    return last


def planned(table: Timetable, missing: int) -> list[Statement]:
    """What will be done in the time, and what will not, for a message before the start."""
    found = [statement("time_fits", runs=len(table.within), missing=missing, seconds=table.seconds)]
    if table.beyond:
        found.append(left_out(table.beyond))
    return found


def left_out(cells: Sequence[Cell]) -> Statement:
    """Runs that were not made, by size."""
    sizes = sorted({cell.n for cell in cells}, reverse=True)
    by_size = [
        {
            "n": n,
            "methods": list(dict.fromkeys(cell.method for cell in cells if cell.n == n)),
            "seeds": sorted({cell.seed for cell in cells if cell.n == n}),
        }
        for n in sizes
    ]
    return statement("runs_left_out", runs=len(cells), by_size=by_size)


def check_time(plan: Plan, missing: Sequence[Cell], seconds: float, jobs: int) -> Timetable:
    """The timetable, if at least the methods that are compared fit.

    Raises:
        UserError: they do not, or these rules cannot be stopped in time.
    """
    if plan.rules == VTAB:
        raise UserError(f"the rules {VTAB!r} know no time: leave out `time`.")
    table = timetable(plan, missing, seconds, jobs)
    late = [cell for cell in needed_first(plan) if cell in table.beyond]
    if late:
        needed = max(table.seconds, sum(forecast(plan, cell, jobs) for cell in needed_first(plan)) / min(jobs, 2))
        size = preprocessing(material_of(plan).vit).size
        methods = " and ".join(cell.method for cell in late)
        raise UserError(
            f"time is too short for {plan.task!r}: {methods} with {late[0].n} images of {size} px need about "
            f"{duration(needed)} here, and {duration(max(0, seconds))} are left: give more time, a smaller "
            "image_size, or fewer steps."
        )
    return table


def affordable_size(plan: Plan, seconds: float, jobs: int) -> int | None:
    """The largest input size, up to the chosen one, at which the methods that are compared fit; None if none does.

    They must fit even if they take `CAUTION` times their forecast. At the smallest size it is enough that they fit.

    Under the rules "until done" without a given size only; elsewhere the plan's own size is given back if it fits.
    """
    seen = sizes_seen(plan)
    sizes = [] if seen is None else [row.size for row in seen.rows if row.size < seen.chosen]
    limits = [plan.image_size_limit, *reversed(sizes)]
    for limit, caution in (*((limit, CAUTION) for limit in limits), (limits[-1], 1.0)):
        smaller = replace(plan, image_size_limit=limit)
        if not _beyond(smaller, seconds, jobs, caution):
            return preprocessing(material_of(smaller).vit).size
    return None


def _beyond(plan: Plan, seconds: float, jobs: int, caution: float) -> list[Cell]:
    """The runs that an answer needs and that do not fit, each with `caution` times its forecast."""
    done = finished_runs(plan)
    missing = [cell for cell in needed_first(plan) if run_key(plan, cell) not in done]
    return timetable(plan, missing, seconds, jobs, caution).beyond


def forecast(plan: Plan, cell: Cell, jobs: int = 1) -> float:
    """Seconds that a run will take, in a process with one thread and with `jobs` such processes at work."""
    pace = _pace(plan, cell.method, cell.n, jobs)
    shared = pace.stem * len(material_of(plan).test_items) if shares_test_features(plan, cell.method) else 0.0
    return run_cost(plan, cell, lambda _: pace).total + shared


# A function and its arguments → what it gives in each of the processes that will make the runs, all at the same time.
Ask = Callable[..., list]

_MEASURED: dict[tuple, Pace] = {}
_elsewhere: list[tuple[str, Ask]] = []  # where paces are measured instead of in this process; the last one counts


@contextmanager
def measured_at(place: str, ask: Ask) -> Iterator[None]:
    """Within it, paces are measured where the runs will be made, such as on the workers of a cluster.

    Args:
        place: its name; what was measured at another one does not count.
        ask: as of `vptlib.study.paces.OnWorkers`.
    """
    _elsewhere.append((place, ask))
    try:
        yield
    finally:
        _elsewhere.pop()


def _pace(plan: Plan, method: str, n: int, jobs: int) -> Pace:
    """The pace of a method, measured once for each input size, on kept tokens if those of n images may be kept."""
    material, beside = material_of(plan), min(jobs, MOST_MEASURED)
    size, bf16 = preprocessing(material.vit).size, plan.rules == DONE and resolved(plan.precision) == "bf16"
    place, ask = _elsewhere[-1] if _elsewhere else ("", None)
    key = (material.fingerprint, size, bf16, method, plan.num_prompts, plan.batch_size, plan.rules)
    key += (keeps_tokens(plan, method, n), beside, place)
    if key not in _MEASURED:
        paces = chain(*ask(paces_here, pinned(plan), method, n)) if ask else paces_here(plan, method, n, beside)
        _MEASURED[key] = Pace(*(statistics.mean(values) for values in zip(*map(astuple, paces), strict=True)))
    return _MEASURED[key]


def paces_here(plan: Plan, method: str, n: int, models: int = 1) -> list[Pace]:
    """The paces of so many models that are trained in this process at the same time, each by one thread."""
    size, kept = preprocessing(material_of(plan).vit).size, keeps_tokens(plan, method, n)
    solved, bf16 = is_solved(plan, method), plan.rules == DONE and resolved(plan.precision) == "bf16"
    fresh = [build_model(plan, method).to(best_device()).train() for _ in range(models)]
    images = torch.randn(plan.batch_size, 3, size, size, device=best_device())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(models) as pool:
            return list(pool.map(lambda model: pace_of(model, images, kept, solved, bf16), fresh))
    finally:
        torch.set_num_threads(threads)


def pace_of(model: AdaptedModel, images: Tensor, kept: bool, solved: bool, bf16: bool) -> Pace:
    """The pace of one model, in the thread that calls: both the number of threads and autocast belong to a thread."""
    torch.set_num_threads(1)
    inputs, stem = _through_stem(model, images) if kept else (images, 0.0)
    if solved:
        return Pace(stem, 0.0, 0.0)
    net = model.rest if kept else model
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        return Pace(stem, *_step_and_look(model, net, inputs))


@torch.no_grad()
def _through_stem(model: AdaptedModel, images: Tensor) -> tuple[Tensor, float]:
    """What is kept of the images, in float32, and the seconds that one of them takes."""
    return model.stem(images), _median_seconds(lambda: model.stem(images), 2) / len(images)


def _step_and_look(model: AdaptedModel, net: Callable[[Tensor], Tensor], inputs: Tensor) -> tuple[float, float]:
    """Seconds of a training step, and of the forward pass of one input of `net`, the part of `model` that is run."""
    labels = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
    optimiser = torch.optim.AdamW(model.parameter_groups(0.01), lr=1e-6, fused=True)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(net(inputs), labels).backward()
        optimiser.step()

    whole = _median_seconds(step, 3)
    with torch.no_grad():
        return whole, _median_seconds(lambda: net(inputs), 2) / len(inputs)


def _median_seconds(work: Callable[[], object], times: int) -> float:
    """Median seconds of `times` calls, or of fewer if they take long, after one that does not count."""
    seconds = []
    while len(seconds) < 2 or (len(seconds) <= times and sum(seconds) < ENOUGH_SECONDS):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
