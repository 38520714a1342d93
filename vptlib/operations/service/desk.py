"""Which version answers each task now; images of many tasks answered in common batches.

A desk has tasks from the registry, from `.vpt` files, or both. It asks their sources every few seconds what should
answer. A new version is loaded and tried on its canaries before it takes the name, so no request is lost when versions
change. A version that cannot be loaded changes nothing: the one before goes on answering, and `Serving.problem` says
why.

The way of a request: it is admitted, decoded by a thread of few, waits for the next pass of its backbone, and is
answered in it together with all that wait (`lanes`, `batches`).
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from vptlib.errors import UserError
from vptlib.operations.artefact import Artefact, Card, load_backbone_of
from vptlib.operations.new_images import threads
from vptlib.operations.service.batches import settle
from vptlib.operations.service.lanes import Answer, Lane, NoAnswer, Request
from vptlib.operations.service.pictures import MOST_PIXELS, Pictures, UnreadableImage
from vptlib.operations.service.sources import InFile, InRegistry, Offer, Source, in_production
from vptlib.tuning.training import best_device
from vptlib.wording import did_you_mean, listed

__all__ = ["Answer", "Desk", "NoAnswer", "Serving", "Stopping", "TooMuchAtOnce", "UnknownTask", "UnreadableImage"]

BATCH, MOST_WAITING = 16, 64
POLL_SECONDS = 5.0
SECONDS_TO_END = 10.0  # for the pass that is computed, or the look at the sources, when it stops
_AGAIN_SECONDS = 60.0  # after which a version that could not be loaded is tried again
_LOG = logging.getLogger(__name__)


class UnknownTask(UserError):
    """No task of this name is answered here."""


class TooMuchAtOnce(UserError):
    """As many requests wait as may wait."""


class Stopping(UserError):
    """The service stops, or has not started."""


@dataclass(frozen=True)
class Serving:
    """A task that is answered.

    Attributes:
        name: of the task.
        version: in the registry; None of a file.
        digest: SHA-256 of the model's file.
        card: of the model.
        since: when this version began to answer here, UTC.
        problem: "", or why the newest version does not answer, or why it is not known which one that is.
    """

    name: str
    version: int | None
    digest: str
    card: Card
    since: datetime
    problem: str = ""


@dataclass(frozen=True)
class _Task:
    """A task that is answered, and where."""

    serving: Serving
    lane: Lane


class Desk:
    """Answers images of many tasks.

    Args:
        names: of prompts in the registry; the version in production answers. None for all that have one, also those
            that get one later.
        files: `.vpt` files; the stem of each is its task's name.
        backbone: where the backbone is, as `file:PATH`, of models whose card names a file.
        most_bytes: of memory for the tasks of each backbone; those used least recently make room, and come back.
        batch: images in one pass, at most.
        most_waiting: requests that may wait or be computed at the same time.
        most_pixels: of an image.
        poll_seconds: between two looks at the sources.
        passed: is told how many images each pass had.

    Raises:
        UserError: nothing to serve, or two tasks of one name.
    """

    def __init__(
        self,
        names: Sequence[str] | None = (),
        files: Sequence[Path | str] = (),
        backbone: str | None = None,
        most_bytes: int | None = None,
        batch: int = BATCH,
        most_waiting: int = MOST_WAITING,
        most_pixels: int = MOST_PIXELS,
        poll_seconds: float = POLL_SECONDS,
        passed: Callable[[int], None] = lambda images: None,
    ):
        self._takes_all = names is None
        self._sources: list[Source] = [*map(InRegistry, names or ()), *(InFile(Path(file)) for file in files)]
        _check_names([source.name for source in self._sources], self._takes_all)
        self._backbone, self._most_bytes, self._batch = backbone, most_bytes, batch
        self._most_waiting, self._most_pixels, self._poll_seconds = most_waiting, most_pixels, poll_seconds
        self._passed = passed
        self._looked: datetime | None = None
        self._tasks: Mapping[str, _Task] = MappingProxyType({})  # replaced as a whole, never changed
        self._problems: dict[str, str] = {}
        self._failed: dict[str, tuple[str, float]] = {}  # name → digest that cannot be loaded, and when it was tried
        self._lanes: dict[tuple[str, int], Lane] = {}  # by fingerprint and image size
        self._requests: dict[Future, Request] = {}  # all that are not answered yet
        self._change = threading.Condition()  # held for moments, by whoever changes what is above
        self._refreshing = threading.Lock()  # held while versions are looked up and loaded
        self._stopping = threading.Event()
        self._stopping.set()
        self._poller: threading.Thread | None = None

    # ---- from start to stop -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Load what should answer, and begin to answer; then look for new versions every few seconds.

        Raises:
            UserError: a file cannot be served, or none of the names.
        """
        self._pictures = Pictures(self._most_pixels)
        # Half of the cores, because the model needs them too; but two, so that a large image does not hold up all.
        self._decoders = ThreadPoolExecutor(max(2, threads() // 2), "vpt-decoder")
        self._stopping.clear()
        try:
            self.refresh()
            self._check_started()
        except BaseException:
            self.stop(0)
            raise
        self._poller = threading.Thread(target=self._poll, name="vpt-poll", daemon=True)
        self._poller.start()

    def stop(self, patience_s: float) -> bool:
        """Take no more requests, and answer those that wait, for so many seconds; the others end with `Stopping`.

        Gives whether its threads have ended. The interpreter must not end before: a thread that is within torch then
        aborts the process.
        """
        if self._stopping.is_set():
            return self._ended(0)
        with self._change:
            self._stopping.set()
            self._change.wait_for(lambda: not self._requests, patience_s)
        self._decoders.shutdown(wait=False, cancel_futures=True)
        left = [future for lane in self._lanes.values() for future in lane.close()]
        with self._change:
            left += self._requests
        for future in left:
            settle(future, _stopping())
        self._pictures.close()
        return self._ended(SECONDS_TO_END)

    def _ended(self, seconds: float) -> bool:
        """Wait so long for the threads; whether none is left."""
        until = time.monotonic() + seconds
        lanes = [lane.join(max(0.0, until - time.monotonic())) for lane in self._lanes.values()]
        if self._poller is None:
            return all(lanes)
        self._poller.join(max(0.0, until - time.monotonic()))
        return all(lanes) and not self._poller.is_alive()

    @property
    def ready(self) -> bool:
        """Whether requests are taken, and at least one task is answered."""
        return bool(self._tasks) and not self._stopping.is_set()

    @property
    def waiting(self) -> int:
        """Requests that are not answered yet."""
        return len(self._requests)

    # ---- what is served -----------------------------------------------------------------------------------------

    @property
    def tasks(self) -> Mapping[str, Serving]:
        """The tasks that are answered, by name; it stays as it is while versions change."""
        return MappingProxyType({name: task.serving for name, task in self._tasks.items()})

    @property
    def looked(self) -> datetime | None:
        """When the sources were last asked what should answer, UTC; None if they never were."""
        return self._looked

    @property
    def problems(self) -> Mapping[str, str]:
        """Why tasks that were asked for are not answered, or not by their newest version, by name."""
        return MappingProxyType(dict(self._problems))

    def bank_report(self) -> pd.DataFrame:
        """The tasks in memory, as `PromptBank.report`, with the fingerprint of each one's backbone."""
        parts = [lane.bank.report().assign(backbone=found) for (found, _), lane in list(self._lanes.items())]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["name", "backbone"])

    def refresh(self) -> list[str]:
        """Ask all sources now what should answer. Gives the names whose version is another one, or that are gone."""
        return self._refreshed(patient=False)

    # ---- answering ----------------------------------------------------------------------------------------------

    async def answer(self, name: str, body: bytes) -> Answer:
        """The answer of a task to an image. Who no longer waits for it is not computed.

        Args:
            name: of the task.
            body: bytes of an image file of any format that can be read here.

        Raises:
            UnknownTask: there is no such task here.
            UnreadableImage: the bytes are no image that this task can answer.
            TooMuchAtOnce: too many requests wait.
            Stopping: the service stops.
            UserError: the task's model cannot answer now.
        """
        return await asyncio.wrap_future(self._admitted(name, body).future)

    def _admitted(self, name: str, body: bytes) -> Request:
        with self._change:
            if self._stopping.is_set():
                raise _stopping()
            task = self._tasks.get(name)
            if task is None:
                raise UnknownTask(f"there is no task {name[:100]!r} here: {_hint(name, self._tasks)}")
            if len(self._requests) >= self._most_waiting:
                raise TooMuchAtOnce(f"{len(self._requests)} images wait already: send this one again in a moment.")
            request = Request(name, body, Future(), task.lane)
            self._requests[request.future] = request
            request.future.add_done_callback(self._forget)
            self._decoders.submit(self._decode, request)
        return request

    def _forget(self, future: Future) -> None:
        with self._change:
            self._requests.pop(future, None)
            self._change.notify_all()

    def _decode(self, request: Request) -> None:
        """Bring a request to the queue of its backbone; whatever goes wrong is the answer to it."""
        if request.future.done():  # who sent it has gone
            return
        try:
            if not request.lane.put(request):
                settle(request.future, _stopping())
        except UserError as error:
            settle(request.future, error.with_traceback(None))  # whose frames would keep the image in memory
        except Exception:
            if not request.future.done():
                _LOG.exception("an image could not be decoded")
            settle(request.future, NoAnswer("the image could not be decoded: the log of the service says why."))

    # ---- which versions -----------------------------------------------------------------------------------------

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self._refreshed(patient=True)
            except Exception:  # whatever it is, the next look may succeed
                _LOG.exception("the sources of the tasks could not be read")

    def _refreshed(self, patient: bool) -> list[str]:
        """Names that changed; `patient` leaves alone for a while what could not be loaded before."""
        with self._refreshing:
            if self._stopping.is_set():
                return []
            if self._takes_all:
                self._take_new()
            changed = [source.name for source in self._sources if self._renew(source, patient)]
            self._sweep()
            self._looked = datetime.now(UTC)
        return changed

    def _take_new(self) -> None:
        """Add prompts that were put into production for the first time. What is known goes on if that is not known."""
        known = {source.name for source in self._sources}
        try:
            self._sources += [InRegistry(name) for name in in_production() if name not in known]
        except UserError:
            if not known:
                raise

    def _renew(self, source: Source, patient: bool) -> bool:
        """Let what a source offers answer. Gives whether that is another version than before."""
        name, present = source.name, self._tasks.get(source.name)
        try:
            offer = source.offer()
        except UserError as error:
            self._note(name, str(error))
            return False
        if offer is None:
            self._note(name, "nothing of it is in production: promote a version.")
            self._publish(name, None)
            return present is not None
        if present and present.serving.digest == offer.digest and not present.lane.is_behind(offer):
            self._note(name, "")
            return False
        if patient and self._failed_just_now(offer):
            return False
        return self._load(offer)

    def _load(self, offer: Offer) -> bool:
        present = self._tasks.get(offer.name)
        try:
            artefact = offer.read()
            lane = self._lane_for(artefact)
            lane.load(offer, artefact)
        except UserError as error:
            self._failed[offer.name] = offer.digest, time.monotonic()
            self._note(offer.name, _not_loaded(offer, present, error))
            return False
        self._failed.pop(offer.name, None)
        self._problems.pop(offer.name, None)
        serving = Serving(offer.name, offer.number, offer.digest, artefact.card, datetime.now(UTC))
        self._publish(offer.name, _Task(serving, lane))
        return True

    def _failed_just_now(self, offer: Offer) -> bool:
        digest, when = self._failed.get(offer.name, ("", 0.0))
        return digest == offer.digest and time.monotonic() < when + _AGAIN_SECONDS

    def _lane_for(self, artefact: Artefact) -> Lane:
        """The lane of a model's backbone, which is loaded if no task has it yet."""
        known = artefact.card.backbone
        key = known.fingerprint, known.image_size
        if key not in self._lanes:
            elsewhere = self._backbone if known.name.startswith("file:") else None
            vit = load_backbone_of(artefact, elsewhere).to(best_device())
            lane = Lane(vit, self._most_bytes, self._batch, self._pictures.seen, self._passed)
            with self._change:
                self._lanes = self._lanes | {key: lane}
        return self._lanes[key]

    def _note(self, name: str, problem: str) -> None:
        """Keep why a source has no newest version that answers; "" if it has."""
        if problem:
            self._problems[name] = problem
        else:
            self._problems.pop(name, None)
        present = self._tasks.get(name)
        if present and present.serving.problem != problem:
            self._publish(name, replace(present, serving=replace(present.serving, problem=problem)))

    def _publish(self, name: str, task: _Task | None) -> None:
        with self._change:
            others = {known: one for known, one in self._tasks.items() if known != name}
            order = [source.name for source in self._sources]
            found = others | ({name: task} if task else {})
            self._tasks = MappingProxyType({known: found[known] for known in order if known in found})

    def _sweep(self) -> None:
        """Take out of memory what is not served any more, and what nobody waits for."""
        with self._change:
            used = {(task.lane, name) for name, task in self._tasks.items()}
            used |= {(request.lane, request.name) for request in self._requests.values()}
            for lane in self._lanes.values():
                for name in lane.names:
                    if (lane, name) not in used:
                        lane.drop(name)
            empty = {key: lane for key, lane in self._lanes.items() if not lane.names}
            self._lanes = {key: lane for key, lane in self._lanes.items() if key not in empty}
        for lane in empty.values():
            lane.close()

    def _check_started(self) -> None:
        """Raise if a file cannot be served, or nothing at all can."""
        files = [source.name for source in self._sources if isinstance(source, InFile)]
        missing = [name for name in files if name not in self._tasks]
        if not self._tasks:
            missing += [source.name for source in self._sources]
        if not self._sources:
            raise UserError(
                "nothing is in production: vpt prompts promote NAME NUMBER puts a version there, or name a .vpt file."
            )
        for name in missing:
            raise UserError(f"{name!r} cannot be served: {self._problems[name]}")


def _check_names(names: Iterable[str], may_be_empty: bool) -> None:
    names = list(names)
    if not names and not may_be_empty:
        raise UserError("there is nothing to serve: name prompts of the registry, or .vpt files.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two tasks are named {twice!r}: rename one of the files, or name the prompt once.")


def _stopping() -> Stopping:
    return Stopping("the service does not take images now, because it stops: send the image again later.")


def _hint(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    few = f"there are {listed(names[:10])}." if names else "nothing is served now."
    return did_you_mean(name, names, few)


def _not_loaded(offer: Offer, present: _Task | None, error: UserError) -> str:
    what = "the file" if offer.number is None else f"version {offer.number}"
    still = ""
    if present:
        number = present.serving.version
        still = ", so the one before still answers" if number is None else f", so version {number} still answers"
    return f"{what} could not be loaded{still}: {error}"
