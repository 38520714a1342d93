"""Many workers on one machine: their runs take no time or sleep, or they are simulated. For what a cluster costs.

The engine, the scheduler, the claims and the store are the real ones. Only the training is left out.
"""

import asyncio
import heapq
import logging
import math
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, cast

import numpy as np

from vptlib.bench.store import drawn_result, plan_of
from vptlib.environment import set_meanwhile
from vptlib.study.claims import BEAT, ServerBoard, claims_experiment
from vptlib.study.cluster import Place, reached
from vptlib.study.cluster_runs import results_on_cluster
from vptlib.study.connection import open_store
from vptlib.study.make_runs import AsListed, claims_of_store
from vptlib.study.on_worker import STORED, Outcome, Work
from vptlib.study.store import finished_runs, log_run, run_key
from vptlib.study.study import Study

RUNS_OF_EACH = 8
CROWD = 16  # workers for the scheduler's speed: so many that they are never what is waited for
_SEEDS = 100
_SECONDS_TO_BEGIN = 300
# What workers do many times a second to watch themselves; on machines of their own that would not be in the way.
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "10s",
    "distributed.admin.system-monitor.interval": "10s",
}


def study_of(runs: int) -> Study:
    """A study of so many runs, a multiple of a hundred. Nobody trains them."""
    return Study(
        "digits",
        methods=("linear",),
        sizes=tuple(range(20, 20 + runs // _SEEDS)),
        seeds=tuple(range(_SEEDS)),
        image_size=14,
        depth=1,
        test_images=20,
    )


def made(place: Place, runs: int, after: int = 0) -> float:
    """Seconds of the engine until a place has made so many runs of a study; those `after` the first ones."""
    study = study_of(-(-(after + runs) // _SEEDS) * _SEEDS)
    wanted = study.cells()[after : after + runs]
    begun = time.perf_counter()
    count = sum(1 for _ in results_on_cluster(study, wanted, AsListed(), place, lambda _: None))
    assert count == runs
    return time.perf_counter() - begun


# ---- the engine alone -------------------------------------------------------------------------------------------


class _Instant:
    """A place whose workers have done all work as soon as they are asked."""

    slots = 10_000

    def __init__(self) -> None:
        self._given: deque[str] = deque()

    def ask_workers(self, *_: Any) -> dict[str, str]:
        return {}

    def reach(self) -> None:
        pass

    def forget(self) -> None:
        pass

    def give(self, key: str, *_: Any) -> None:
        self._given.append(key)

    def finished(self, _: float) -> list[tuple[str, Outcome]]:
        done = [(key, Outcome(STORED)) for key in self._given]
        self._given.clear()
        return done


def engine_seconds(runs: int) -> float:
    """What the engine itself takes for so many runs on 10,000 workers that need no time."""
    return made(cast(Place, _Instant()), runs)


# ---- a crowd of real workers ------------------------------------------------------------------------------------


class Doing:
    """A place whose workers are given other work than that of the study."""

    def __init__(self, place: Place, work: Callable[[Work], Outcome]):
        self._place, self._work = place, work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    def give(self, key: str, function: Callable, *args: Any) -> None:
        self._place.give(key, self._work, *args)


def nothing(work: Work) -> Outcome:
    """A run that takes no time."""
    return Outcome(STORED)


def asleep(work: Work) -> Outcome:
    """A run that takes a second, and no core."""
    time.sleep(1)
    return Outcome(STORED)


@contextmanager
def crowd(workers: int) -> Iterator[Place]:
    """A scheduler and so many workers, all in one other process; and a store of their own."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="vptlib-crowd-") as folder:
        process = context.Process(target=_crowd, args=(theirs, workers, folder), daemon=True)
        with set_meanwhile(VPTLIB_STORE=folder, MLFLOW_TRACKING_URI=""):
            process.start()
            theirs.close()  # so that its end is seen here
            try:
                with reached(ours.recv(), print) as place:
                    yield place
            finally:
                process.kill()
                process.join()


def _crowd(pipe: Any, workers: int, folder: str) -> None:
    asyncio.run(_serve(pipe, workers, folder))


async def _serve(pipe: Any, workers: int, folder: str) -> None:
    import dask.config
    from distributed import Scheduler, Worker

    dask.config.set(_QUIET)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        common = {"nthreads": 1, "memory_limit": 0, "local_directory": folder, "dashboard": False}
        await asyncio.gather(*(Worker(scheduler.address, name=k, **common) for k in range(workers)))
        pipe.send(scheduler.address)
        await scheduler.finished()


def no_ops_a_second(runs: int, workers: int = CROWD) -> float:
    """How many runs that do nothing are finished a second, through all of the engine but the store."""
    with crowd(workers) as place:
        idle = cast(Place, Doing(place, nothing))
        made(idle, workers)  # workers import what they need
        return runs / made(idle, runs, after=workers)


def seconds_of_sleepers(workers: int) -> float:
    """Seconds of a study with `RUNS_OF_EACH` runs for each worker; a run sleeps for a second."""
    with crowd(workers) as place:
        sleeping = cast(Place, Doing(place, asleep))
        made(sleeping, workers)
        return made(sleeping, workers * RUNS_OF_EACH, after=workers)


# ---- many machines on one server --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rates:
    """What one MLflow server on PostgreSQL bears, while its clients share the machine with it.

    Attributes:
        runs: claimed, looked for, stored and given back in a second.
        beats: signs of life in a second.
    """

    runs: float
    beats: float


def server_rates(address: str, machines: int = 4, runs: int = 30, beats: int = 100) -> Rates:
    """The rates of a server that several machines use at the same time; each is a process with a folder of its own."""
    context = get_context("spawn")
    meeting = context.Barrier(machines + 1)
    with tempfile.TemporaryDirectory(prefix="vptlib-crowd-") as folder, set_meanwhile(OMP_NUM_THREADS="1"):
        given = [(f"{folder}/{k}", k, address, runs, beats, meeting) for k in range(machines)]
        processes = [context.Process(target=_machine, args=each, daemon=True) for each in given]
        for process in processes:
            process.start()
        try:
            meeting.wait(_SECONDS_TO_BEGIN)
            storing, living = _seconds_until(meeting), _seconds_until(meeting)
        finally:
            for process in processes:
                process.join(1)
                process.kill()
                process.join()
    return Rates(machines * runs / storing, machines * beats / living)


def _seconds_until(meeting: Any) -> float:
    begun = time.perf_counter()
    meeting.wait(_SECONDS_TO_BEGIN)
    return time.perf_counter() - begun


def _machine(folder: str, number: int, address: str, runs: int, beats: int, meeting: Any) -> None:
    """What the workers of a machine ask of a server, with nothing in between."""
    os.environ |= {"VPTLIB_STORE": folder, "MLFLOW_TRACKING_URI": address}
    plan = plan_of(range(1000 * number, 1000 * number + runs))
    client, key = open_store().client, f"machine {number}"
    board = ServerBoard(client, claims_experiment(client) or "")
    with claims_of_store() as claims:
        finished_runs(plan, plan.cells()[:1])  # what is done once
        meeting.wait()
        for cell in plan.cells()[::3]:
            assert claims.take(run_key(plan, cell)) and not finished_runs(plan, [cell])
            log_run(plan, cell, drawn_result(cell.seed))
            claims.release(run_key(plan, cell))
        meeting.wait()
        assert board.put(key, key)
        for _ in range(beats):
            assert board.beat(key)
        board.remove(key)
        meeting.wait()


# ---- more than one machine can hold -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """What a run asks of what all workers share, seconds.

    Attributes:
        scheduler: of the engine and the scheduler, one run after the other.
        store: of the server, one run after the other.
        beat: of the server, for a sign of life of a claim.
        pause: between two signs of life of a worker.
    """

    scheduler: float
    store: float = 0.0
    beat: float = 0.0
    pause: float = BEAT


def simulated_seconds(runs: int, workers: int, seconds: float, costs: Costs, spread: float = 0.5) -> float:
    """How long a study takes whose training is replaced by sleeping: a simulation from event to event.

    A worker that is free waits for the scheduler, trains, and waits for the store. Both take one at a time, in the
    order of arrival. Signs of life take their share of the server's time.

    Args:
        seconds: that a run trains, on average.
        spread: share of it by which a run is shorter or longer, evenly drawn.

    Returns:
        Seconds; infinite, if the signs of life alone are too much for the server.
    """
    workers = min(workers, runs)
    free = 1 - workers * costs.beat / costs.pause  # share of the server's time
    if free <= 0 and costs.store:
        return math.inf
    storing = costs.store / free if costs.store else 0.0
    trained = iter(np.random.default_rng(0).uniform(seconds * (1 - spread), seconds * (1 + spread), runs))
    events = [(0.0, _FREE)] * workers
    scheduler = store = 0.0  # when each is free again
    while events:
        now, kind = heapq.heappop(events)
        if kind == _TRAINED:
            store = max(store, now) + storing
            heapq.heappush(events, (store, _FREE))
        elif (length := next(trained, None)) is not None:
            scheduler = max(scheduler, now) + costs.scheduler
            heapq.heappush(events, (scheduler + length, _TRAINED))
    return store


_FREE, _TRAINED = 0, 1


def most_workers(seconds: float, costs: Costs) -> tuple[int, str]:
    """How many workers can be busy with runs of so many seconds, and what is busy all the time with more of them.

    Each run takes `seconds` of a worker and its costs of what is shared; of the server also the signs of life.
    """
    length = seconds + costs.scheduler + costs.store
    of_server = costs.store / length + costs.beat / costs.pause  # share of its time that a worker takes
    return min(
        (int(length / costs.scheduler), "scheduler"), (int(1 / of_server) if of_server else sys.maxsize, "store")
    )
