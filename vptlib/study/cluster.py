"""A Dask cluster as the place where runs are made: what `cluster` may be, how to reach it, what is given to it.

    local:4                  four processes on this machine
    tcp://scheduler:8786     a scheduler that runs already; tls:// with certificates
    slurm:8                  eight jobs of Slurm, with the settings of Dask's own jobqueue.yaml
    kubernetes:NAME          the Dask cluster of that name, which Dask's operator looks after

Work is never pinned to a worker, and workers do not take it from each other: both have left studies hanging. A worker
has one thread. Docs: docs/from_laptop_to_cluster.md.
"""

import contextlib
import logging
import pickle
import queue
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from vptlib.environment import put_back, seconds_set
from vptlib.errors import UserError
from vptlib.paths import store_folder
from vptlib.wording import many

KINDS = ("local", "tcp", "tls", "slurm", "kubernetes")
# A run is given up after it has been on so many workers that ended: it is to blame, and not one that was beside it.
MOST_ENDED_WORKERS = 20
SECONDS_TO_CONNECT = 10
# So long an answer of the scheduler is waited for, and results on their way from workers. Dask has no limit of its own:
# a machine that is paused would stop the study.
SECONDS_FOR_AN_ANSWER = 30
SECONDS_FOR_RESULTS = 60
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_AUDITS = 5.0
# Settings of a Slurm job; what is not given here is that of Dask's jobqueue.yaml.
SLURM_SETTINGS = ("queue", "account", "memory", "walltime", "gpus")
_MOST_WORKERS = 10_000
# Dask gives each of these a level of its own.
_LOGGERS = ("distributed", "distributed.client", "distributed.gc", "tornado.application")


@dataclass(frozen=True)
class Address:
    """A cluster by its setting.

    Attributes:
        kind: one of `KINDS`.
        where: the scheduler's address, or the name in Kubernetes.
        workers: to start, where this process starts them.
        settings: of a job.
    """

    kind: str
    where: str = ""
    workers: int = 0
    settings: dict[str, str] = field(default_factory=dict)


def cluster_address(text: str) -> Address:
    """The cluster that a setting names; nothing is connected yet.

    Raises:
        UserError: it names none.
    """
    kind, colon, rest = text.partition(":")
    if kind not in KINDS or not colon:
        raise UserError(f"cluster is {text!r}, but must be {_FORMS}.")
    if kind in ("tcp", "tls"):
        return Address(kind, _scheduler(text))
    name, _, asked = rest.partition("?")
    if kind == "kubernetes":
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name):
            raise UserError(f"cluster is {text!r}, but after kubernetes: must come the name of a Dask cluster there.")
        return Address(kind, name, settings=_settings(text, asked, ("namespace",)))
    count = int(name) if name.isascii() and name.isdigit() and len(name) < 6 else 0
    if not 0 < count <= _MOST_WORKERS:
        raise UserError(f"cluster is {text!r}, but after {kind}: must come a number of workers, such as {kind}:4.")
    return Address(kind, workers=count, settings=_settings(text, asked, SLURM_SETTINGS if kind == "slurm" else ()))


_FORMS = "local:4 (processes here), tcp://HOST:PORT or tls://HOST:PORT (a Dask scheduler), slurm:8 or kubernetes:NAME"


def _scheduler(text: str) -> str:
    try:
        parts = urlsplit(text)
        whole = bool(parts.hostname and parts.port) and not (parts.username or parts.path.strip("/") or parts.query)
    except ValueError:
        whole = False
    if not whole:
        raise UserError(f"cluster is {text!r}, but a scheduler's address has a host and a port: tcp://HOST:8786.")
    return text.rstrip("/")


def _settings(text: str, asked: str, known: tuple[str, ...]) -> dict[str, str]:
    pairs = parse_qsl(asked, keep_blank_values=True)
    for name, value in pairs:
        if name not in known or not value:
            offered = f"only {', '.join(known)}" if known else "nothing"
            raise UserError(f"cluster is {text!r}, but after ? may come {offered}, each with a value.")
    if asked and not pairs:
        raise UserError(f"cluster is {text!r}: after ? must come name=value.")
    return dict(pairs)


# ---- the connection ------------------------------------------------------------------------------------------------


class Lost(Exception):
    """What became of a piece of work is not known: its scheduler or its result is gone. It is to be given again."""


class Place:
    """A connection to a cluster. Work is given to it under a key; `finished` gives results as they come.

    Attributes:
        tell: is given a sentence when the cluster does not answer, or answers again.
    """

    def __init__(self, address: Address, tell: Callable[[str], None]):
        """
        Args:
            address: of the cluster.
            tell: is given a sentence when the cluster does not answer.
        """
        self._address, self.tell = address, tell
        self._results: queue.SimpleQueue = queue.SimpleQueue()
        self._given: dict[str, Any] = {}  # key → future
        self._started: Any = None  # the cluster, where this process starts it
        self._at_the_end = contextlib.ExitStack()
        self._client: Any = None
        self._prepared = ""  # identifier of the scheduler that was set for this
        self._audited, self._unknown = time.monotonic(), set[str]()
        self._seen: tuple[float, dict] = -SECONDS_BETWEEN_LOOKS, {}  # when the scheduler was asked, and its workers
        self._gpus = 0  # that these have together

    def __enter__(self) -> "Place":
        _dask()
        for name in _LOGGERS:  # what is lost is said by `tell`, in a sentence
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._at_the_end.enter_context(_threads_put_back())
        try:
            self._started = _start(self._address)
            self._connect()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def link(self) -> str:
        """Where Dask shows what the workers do, or "" if it cannot."""
        with contextlib.suppress(Exception):
            return self._client.dashboard_link or ""
        return ""

    def workers(self) -> dict[str, dict]:
        """Each worker by its address, as the scheduler knew it a second ago; none where it does not answer."""
        asked, workers = self._seen
        if time.monotonic() - asked > SECONDS_BETWEEN_LOOKS:
            try:
                scheduler = self._asked(self._client.scheduler.identity, n_workers=-1)
                self._prepare(scheduler["id"])
                workers = scheduler["workers"]
            except Exception:
                workers = {}
            self._seen, self._gpus = (time.monotonic(), workers), sum(map(_gpus_of, workers.values()))
        return workers

    @property
    def slots(self) -> int:
        """How many runs the workers can make at the same time."""
        workers = self.workers()
        return self._gpus or len(workers)

    def ask_workers(self, question: Callable, *args: Any) -> dict[str, Any]:
        """What a coroutine function gives on each worker, by address; an exception in place of what it raises.

        Workers that end meanwhile are left out.

        Raises:
            UserError: as `reach`.
        """
        while True:
            try:
                found = self._client.run(question, *args, on_error="return")
            except OSError:  # the scheduler or a worker has gone
                self.reach()
                time.sleep(0.5)
                continue
            return {worker: answer for worker, answer in found.items() if not isinstance(answer, OSError)}

    def retire(self, worker: str) -> None:
        """Let a worker end; what it does is given to others.

        Dask's own way waits until other workers have its results, without end where workers cannot reach each other.
        Here a result that is lost costs a look into the store.
        """
        with contextlib.suppress(Exception):
            self._ask_scheduler(_dismissal(), worker)

    def give(self, key: str, function: Callable, *args: Any) -> None:
        """Give a piece of work to the workers, under a key of its own."""
        resources = {"GPU": 1} if self._on_gpus() else None
        try:
            future = self._client.submit(
                _by_name(), *_named(function), pickle.dumps(args), key=key, pure=False, resources=resources
            )
        except Exception as error:
            self._results.put((key, Lost(str(error))))
            return
        self._given[key] = future
        future.add_done_callback(lambda done: self._results.put((done.key, None)))

    def finished(self, seconds: float) -> list[tuple[str, Any]]:
        """Key and result of what has ended; an exception in place of a result that there is none of.

        Args:
            seconds: how long to wait for the first one.
        """
        found = self._ended(seconds)
        whole = [key for key, error in found.items() if error is None]
        return [(key, error) for key, error in found.items() if error] + self._gathered(whole)

    def reach(self, wait: float | None = None) -> None:
        """Wait until the scheduler answers and has a worker.

        Raises:
            UserError: it does not within `wait` seconds, by default those of `VPTLIB_WAIT_FOR_CLUSTER` or ten minutes.
        """
        if self._client.status == "running" and self.slots:
            return
        limit = seconds_set("VPTLIB_WAIT_FOR_CLUSTER", 600) if wait is None else wait
        end, told = time.monotonic() + limit, ""
        while True:
            fault = self._fault()
            if not fault:
                if told:
                    self.tell(f"going on, {in_words(self.slots, self.link)}")
                return
            if time.monotonic() > end:
                raise UserError(f"{fault} for {limit:.0f} s: {_START_IT[self._address.kind]}; finished runs are kept.")
            if fault != told:
                self.tell(f"{fault}: waiting up to {limit:.0f} s")
                told = fault
            time.sleep(0.5)

    def forget(self) -> None:
        """Take back all work that has not ended. A run that has begun stops at its next step."""
        if self._given:
            with contextlib.suppress(Exception):
                self._client.cancel(list(self._given.values()))
        self._given.clear()

    # ---- helpers ----

    def _lose_all(self) -> None:
        """All work that was given is lost: it is told so, and no late word of the old connection counts."""
        for key in self._given:
            self._results.put((key, Lost("the scheduler has gone")))
        self.forget()

    def _ended(self, seconds: float) -> dict[str, Exception | None]:
        """The keys of all that has ended since the last call; with what went wrong, if it is known already."""
        found: dict[str, Exception | None] = {}
        words = self._words(seconds)
        if not words:
            found |= self._missed()
        for key, error in words:  # of a key that was lost, no later word counts
            found[key] = found.get(key) or error
        return {key: error for key, error in found.items() if error or key in self._given}

    def _words(self, seconds: float) -> list[tuple[str, Exception | None]]:
        """All that has come in, after waiting for the first."""
        words = []
        with contextlib.suppress(queue.Empty):
            words.append(self._results.get(timeout=max(0.0, seconds)))
            while True:
                words.append(self._results.get_nowait())
        return words

    def _missed(self) -> dict[str, Exception | None]:
        """What has ended without a word, and what the scheduler does not know: it was given while one was lost."""
        found: dict[str, Exception | None] = {key: None for key, future in self._given.items() if future.done()}
        waiting = [key for key in self._given if key not in found]
        if not waiting or time.monotonic() - self._audited < SECONDS_BETWEEN_AUDITS:
            return found
        self._audited = time.monotonic()
        try:
            unknown = set(self._ask_scheduler(_question_of_tasks(), waiting))
        except Exception:  # `reach` will tell
            return found
        for key in unknown & self._unknown:  # twice: what was given a moment ago may be on its way
            found[key] = Lost("the scheduler does not know it")
            self._given.pop(key)
        self._unknown = unknown
        return found

    def _gathered(self, keys: list[str]) -> list[tuple[str, Any]]:
        """The results of these keys, fetched in one go."""
        futures = {key: self._given.pop(key) for key in keys}
        values: dict[str, Any] = self._fetched([key for key in keys if futures[key].status == "finished"])
        for key in futures.keys() - values.keys():
            values[key] = self._what_happened(futures[key])
        return list(values.items())

    def _fetched(self, keys: list[str]) -> dict[str, Any]:
        """The results of finished work; `Lost` where its worker has gone, or does not answer in time.

        `Client.gather` would wait here until other workers have made anew what is lost.
        """
        found: dict[str, Any] = {}
        while missing := [key for key in keys if key not in found]:
            try:
                answer = self._asked(self._client.scheduler.gather, keys=missing, seconds=SECONDS_FOR_RESULTS)
            except Exception as error:
                return found | dict.fromkeys(missing, Lost(str(error)))
            if answer["status"] == "OK":
                return found | answer["data"]
            found |= dict.fromkeys(answer["keys"], Lost("its worker has gone"))
        return found

    def _ask_scheduler(self, question: Callable, *args: Any) -> Any:
        """What a function gives on the scheduler.

        Raises:
            TimeoutError: the scheduler does not answer in time.
        """
        return self._asked(partial(self._client.run_on_scheduler, asynchronous=True), question, *args)

    def _asked(self, question: Callable, *args: Any, seconds: float = SECONDS_FOR_AN_ANSWER, **named: Any) -> Any:
        """What a coroutine function of Dask gives, within a time.

        Raises:
            TimeoutError: it does not end in time.
        """
        return self._client.sync(question, *args, callback_timeout=seconds, **named)

    def _what_happened(self, future: Any) -> BaseException:
        """The error of a piece of work; `Lost` where there is none to be had."""
        if future.status != "error":
            return Lost(future.status)
        try:
            error = future.exception(timeout=SECONDS_TO_CONNECT)
        except Exception as failure:
            return Lost(str(failure))
        if type(error).__name__ == "KilledWorker":
            return UserError(
                f"this run was on {MOST_ENDED_WORKERS + 1} workers that ended, most often because memory ran out: give "
                "workers more memory, or take a smaller batch_size or image_size."
            )
        return error if error is not None else Lost("no error")

    def _fault(self) -> str:
        """What keeps the cluster from working now, or ""."""
        if self._client.status != "running":
            where = self._address.where or self._address.kind
            try:
                self._connect()
            except UserError:
                return f"the scheduler {where} does not answer"
        return "" if self.slots else f"the cluster {self._address.where or self._address.kind} has no worker"

    def _connect(self) -> None:
        """Connect to the scheduler anew; what was given to it before is lost."""
        from distributed import Client

        self._lose_all()
        self._leave()
        where = self._started or self._address.where
        try:
            self._client = Client(where, timeout=SECONDS_TO_CONNECT, set_as_default=False, name="vptlib")
            self._prepare()
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"the Dask scheduler {self._address.where or self._address.kind} does not answer ({reason}): "
                f"{_START_IT[self._address.kind]}."
            ) from error

    def _prepare(self, scheduler: str = "") -> None:
        """Set a scheduler for long runs of which each is precious; Dask also reconnects by itself, to a new one.

        Args:
            scheduler: its identifier; nothing is done for one that was set already.
        """
        if not scheduler or scheduler != self._prepared:
            self._prepared = self._ask_scheduler(_preparation(), MOST_ENDED_WORKERS)

    def _on_gpus(self) -> bool:
        """Whether a worker has said that it has a GPU: then only such ones are given work."""
        self.workers()
        return self._gpus > 0

    def _leave(self) -> None:
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.close(timeout=2)

    def _close(self) -> None:
        self.forget()
        self._leave()
        if self._started is not None:
            with contextlib.suppress(Exception):
                self._started.close()
        self._at_the_end.close()


_START_IT = {
    "local": "give the command again",
    "tcp": "start `dask scheduler` there and `dask worker --nthreads 1` for it, or correct the address",
    "tls": "start `dask scheduler` there with its certificates, and set those of this machine (docs/cluster/safety.md)",
    "slurm": "look at the jobs with `squeue`, and at their output",
    "kubernetes": "look at the pods of the cluster with `kubectl get pods`",
}


def _gpus_of(about: dict) -> int:
    """How many GPUs a worker has said to have."""
    return int((about.get("resources") or {}).get("GPU", 0))


def _named(function: Callable) -> tuple[str, str]:
    return function.__module__, function.__qualname__


def _by_name() -> Callable:
    """A function that calls another one by its name, on packed arguments.

    The scheduler unpacks what it passes on. So it would import torch, and not answer meanwhile; and it would need
    vptlib. This function is sent by value, because it is within a function.
    """

    def call(module: str, name: str, packed: bytes) -> Any:
        import importlib
        import pickle

        return getattr(importlib.import_module(module), name)(*pickle.loads(packed))

    return call


def _preparation() -> Callable:
    """What is done on the scheduler: workers that end are not the fault of a run beside them, and no worker takes
    another's run. Gives the scheduler's identifier.

    A function within a function is sent by value, so the scheduler needs no vptlib.
    """

    async def prepare(most_ended_workers: int, dask_scheduler: Any = None) -> str:
        dask_scheduler.allowed_failures = max(dask_scheduler.allowed_failures, most_ended_workers)
        stealing = dask_scheduler.extensions.get("stealing")
        if stealing is not None:
            await stealing.stop()
        return dask_scheduler.id

    return prepare


def _dismissal() -> Callable:
    """Close a worker at once; sent by value."""

    async def dismiss(worker: str, dask_scheduler: Any = None) -> None:
        await dask_scheduler.remove_worker(worker, stimulus_id="vptlib", expected=True)

    return dismiss


def _question_of_tasks() -> Callable:
    """Which of some keys the scheduler does not know; sent by value."""

    def unknown(keys: list[str], dask_scheduler: Any = None) -> list[str]:
        return [key for key in keys if key not in dask_scheduler.tasks]

    return unknown


# ---- clusters that this process starts --------------------------------------------------------------------------


def _start(address: Address) -> Any:
    """The cluster of an address that names none that runs already, or None."""
    if address.kind == "local":
        return _local(address)
    if address.kind == "slurm":
        started = slurm_cluster(address)
        started.scale(jobs=address.workers)
        return started
    return _in_kubernetes(address) if address.kind == "kubernetes" else None


def _threads_put_back() -> contextlib.AbstractContextManager[None]:
    """Dask sets OMP_NUM_THREADS=1 and others for the workers that it starts here, and leaves them so in this process.

    What this process starts later is to have all threads again.
    """
    import dask.config

    return put_back(dask.config.get("distributed.nanny.pre-spawn-environ", {}))


def _local(address: Address) -> Any:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=address.workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        security=True,  # other people on this machine reach the loopback too
        dashboard_address="127.0.0.1:0",
        memory_limit=0,  # the machine's own; a worker that is stopped at a share of it would never make a large run
        silence_logs=50,  # a worker that is renewed logs an error that is none
    )


def slurm_cluster(address: Address) -> Any:
    """Dask's cluster of Slurm jobs, each with one worker of one thread; `job_script()` gives what is submitted.

    Raises:
        UserError: no memory is given, or the package is missing.
    """
    try:
        import dask.config
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise UserError("a cluster on Slurm needs a package: pip install 'vptlib[cluster]'.") from error
    given = dict(address.settings)
    gpus = given.pop("gpus", "0")
    if not (gpus.isascii() and gpus.isdigit()):
        raise UserError(f"cluster asks for gpus={gpus}, but must ask for a number, such as gpus=1.")
    if not (given.get("memory") or dask.config.get("jobqueue.slurm.memory", None)):
        raise UserError(
            f"cluster is 'slurm:{address.workers}', but a job needs memory: write slurm:{address.workers}?memory=32GB, "
            "or set it in Dask's jobqueue.yaml."
        )
    on_gpus = int(gpus) > 0
    of_gpus: dict[str, Any] = (
        {"job_extra_directives": [f"--gres=gpu:{gpus}"], "worker_extra_args": ["--resources", "GPU=1"]}
        if on_gpus
        else {}
    )
    return SLURMCluster(
        cores=1,
        processes=1,
        security=True,  # certificates of this cluster alone: its scheduler listens on the network
        shared_temp_directory=_own_folder(),
        scheduler_options={"dashboard_address": "127.0.0.1:0"},
        **given,
        **of_gpus,
    )


def _own_folder() -> str:
    """A folder for keys that only this user may read; jobs read it on their nodes."""
    folder = store_folder() / "slurm"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return str(folder.absolute())


def _in_kubernetes(address: Address) -> Any:
    try:
        from dask_kubernetes.operator import KubeCluster  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "a cluster in Kubernetes needs a package: pip install dask-kubernetes; or give the address of its "
            "scheduler, tcp://HOST:8786."
        ) from error
    return KubeCluster.from_name(address.where, **address.settings)


def _dask() -> None:
    """
    Raises:
        UserError: Dask is not installed.
    """
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise UserError("`cluster` needs a package: pip install 'vptlib[cluster]'.") from error


def in_words(slots: int, link: str) -> str:
    """What is said when a cluster is reached."""
    return f"{many(slots, 'worker')} of the cluster" + (f", shown at {link}" if link else "")


@contextlib.contextmanager
def reached(text: str, tell: Callable[[str], None], wait: float | None = None) -> Iterator[Place]:
    """A connection to the cluster that a setting names, with at least one worker, after `wait` seconds at most.

    Raises:
        UserError: it names none, or none answers.
    """
    with Place(cluster_address(text), tell) as place:
        place.reach(wait)
        yield place
