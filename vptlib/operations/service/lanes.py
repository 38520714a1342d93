"""One backbone of the service: the tasks that stand on it, and the requests that wait for its next pass."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vptlib.data.preparing import ImageSet, LazyPixels, Preprocessing
from vptlib.errors import UserError
from vptlib.operations.artefact import Artefact, Card
from vptlib.operations.bank import PromptBank, Resident
from vptlib.operations.judgement import judged
from vptlib.operations.new_images import Seen
from vptlib.operations.predictor import Answered, MultiTaskPredictor
from vptlib.operations.service.batches import Batches
from vptlib.operations.service.sources import Offer
from vptlib.prompting.blocks import ViT

_LOG = logging.getLogger(__name__)


class NoAnswer(UserError):
    """A model that is served cannot answer now; the image is not to blame."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a task answered to one image.

    Attributes:
        task: its name.
        version: in the registry; None of a file.
        digest: SHA-256 of the file of the model that computed this answer.
        answer: name of the class.
        probability: of that class.
        probabilities: of all classes by name, in their order.
        ask_a_person: "yes" or "no"; "unknown" where the probability that is enough is not known.
        problem: why the answer is doubtful, or "".
        coordinates: of the image among the features, float16 `k`, see `vptlib.operations.features`; None where the
            model's file has no reference.
    """

    task: str
    version: int | None
    digest: str
    answer: str
    probability: float
    probabilities: dict[str, float]
    ask_a_person: str
    problem: str = ""
    coordinates: np.ndarray | None = None


@dataclass(eq=False)
class Request:
    """An image that waits for its answer.

    Attributes:
        name: of the task.
        body: bytes of the image file.
        future: will have the `Answer`.
        lane: whose tasks include the one of this name.
        seen: the image as the model of `card` sees it, once it is decoded.
        card: of the model that it was decoded for.
    """

    name: str
    body: bytes
    future: Future
    lane: "Lane"
    seen: Seen | None = None
    card: Card | None = None


class Lane:
    """Tasks on one backbone, answered in common batches by one thread.

    Args:
        vit: the backbone, on its device.
        most_bytes: of memory for its tasks, see `PromptBank`.
        batch: images in one pass, at most.
        see: gives the image in some bytes as the model of a card sees it.
        passed: is told how many images each pass had.
    """

    def __init__(
        self,
        vit: ViT,
        most_bytes: int | None,
        batch: int,
        see: Callable[[bytes, Card], Seen],
        passed: Callable[[int], None],
    ):
        self.bank = PromptBank(vit, most_bytes, self._fetched)
        self._device = vit.patch_embed.proj.weight.device
        self._predictor = MultiTaskPredictor(self.bank)
        self._see, self._noted = see, passed
        self._offers: dict[str, Offer] = {}  # what to fetch for a task that had to make room
        self._numbers: dict[tuple[str, str], int | None] = {}  # version of each name and digest that was loaded
        self._batches = Batches(self._answers, batch)

    @property
    def names(self) -> tuple[str, ...]:
        """Tasks that this lane can answer, in memory or not."""
        return tuple(self._offers)

    def load(self, offer: Offer, artefact: Artefact) -> None:
        """Take a task, in place of another version of it.

        Raises:
            UserError: as `PromptBank.load`; the version before then goes on answering.
        """
        self._numbers[offer.name, offer.digest] = offer.number
        self.bank.load(offer.name, artefact)
        self._offers[offer.name] = offer

    def is_behind(self, offer: Offer) -> bool:
        """Whether another version of a task is in memory: it was fetched while this one was loaded."""
        present = self.bank.snapshot().get(offer.name)
        return present is not None and present.digest != offer.digest

    def drop(self, name: str) -> None:
        """Forget a task that nobody waits for."""
        self._offers.pop(name, None)
        if name in self.bank.names:
            self.bank.unload(name)

    def put(self, request: Request) -> bool:
        """Decode an image, and let it wait for the next pass; False if there will be none.

        Raises:
            UserError: the image cannot be read, or its task cannot be loaded.
        """
        request.card = self._residents([request.name])[request.name].card
        request.seen = self._see(request.body, request.card)
        return self._batches.put(request, request.future)

    def close(self) -> list[Future]:
        """End after the present pass. Gives the futures of those that still waited."""
        return self._batches.close()

    def join(self, seconds: float) -> bool:
        """Wait so long for the end after `close`. Gives whether no pass is computed any more."""
        return self._batches.join(seconds)

    # ---- a pass -------------------------------------------------------------------------------------------------

    def _fetched(self, name: str) -> Artefact:
        return self._offers[name].read()

    def _answers(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        """One pass, with whatever goes wrong in it as a UserError."""
        try:
            return self._passed(requests)
        except UserError:
            raise
        except Exception as error:
            if len(requests) == 1:  # else it is tried again, one by one
                _LOG.exception("a pass failed")
            name = requests[0].name
            raise NoAnswer(f"the model of {name!r} could not answer: the log of the service says why.") from error

    def _passed(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        """The models are those that have the names when a pass begins, and stay so to its end."""
        residents = self._residents([request.name for request in requests])
        tasks = [residents[request.name] for request in requests]
        pixels = [self._seen_for(request, task.card) for request, task in zip(requests, tasks, strict=True)]
        images = _prepared(pixels, [task.card.preprocessing for task in tasks]).to(self._device)
        answered = self._predictor.answers_of(images, tasks)
        self._noted(len(requests))
        return [self._answer(request, one) for request, one in zip(requests, answered, strict=True)]

    def _residents(self, names: Sequence[str]) -> dict[str, Resident]:
        """As `PromptBank.residents`; why a model cannot be loaded again goes to the log, not to who sent an image."""
        try:
            return self.bank.residents(names)
        except UserError as error:
            _LOG.warning("a model could not be loaded again: %s", error)
            raise NoAnswer(f"the model of {names[0]!r} cannot be loaded: the log of the service says why.") from error

    def _seen_for(self, request: Request, card: Card) -> np.ndarray:
        """uint8 `S S 3`: decoded again if another version, with another preprocessing, has taken the name since."""
        assert request.seen is not None and request.card is not None  # since `put`
        if (card.preprocessing, card.grey) != (request.card.preprocessing, request.card.grey):
            request.seen = self._see(request.body, card)
        return request.seen.whole

    def _answer(self, request: Request, given: Answered) -> Answer | Exception:
        assert request.seen is not None
        task, card = given.task, given.task.card
        probabilities = given.logits.float().cpu().softmax(dim=0).numpy()  # C
        if not np.isfinite(probabilities).all():
            return NoAnswer(f"the answer of {task.name!r} is not a number: export the model again.")
        found = judged(card, probabilities, request.seen.doubt)
        reference = task.reference
        return Answer(
            task=task.name,
            version=self._numbers[task.name, task.digest],
            digest=task.digest,
            answer=found.answer,
            probability=found.probability,
            probabilities=dict(zip(card.class_names, map(float, probabilities), strict=True)),
            ask_a_person=found.ask_a_person,
            problem=found.problem,
            coordinates=None if reference is None else reference.coordinates_of(given.features[None])[0],
        )


def _prepared(pixels: Sequence[np.ndarray], wanted: Sequence[Preprocessing]) -> Tensor:
    """uint8 `S S 3` each to float32 `B 3 S S`, each as its own task wants it."""
    images = torch.empty(len(pixels), 3, wanted[0].size, wanted[0].size)
    for one in dict.fromkeys(wanted):
        rows = [row for row, own in enumerate(wanted) if own == one]
        part = np.stack([pixels[row] for row in rows])  # R S S 3
        images[rows] = LazyPixels(ImageSet(part, np.zeros(len(rows), np.int64)), one)[:]
    return images
