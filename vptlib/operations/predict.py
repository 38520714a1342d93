"""A user's new images to answers: decoded once, ahead of the model, prepared as in training.

What is answered is kept in a side file, so that a command which was stopped goes on from there. Images have fixed
positions in batches of `BATCH`, whatever is done already. So both ways give the same bytes.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from vptlib.data.findings import Finding, worst_first
from vptlib.data.preparing import ImageSet, LazyPixels, Preprocessing
from vptlib.errors import UserError
from vptlib.operations.answer_files import AnswerFile, Row, as_text
from vptlib.operations.artefact import Artefact, load_backbone_of, load_model
from vptlib.operations.contact_sheet import MOST_TILES, Sheet, Tile, write_sheet
from vptlib.operations.journal import Journal, Record, journal_at, refusals_named
from vptlib.operations.judgement import grey_of, judged, threshold_of
from vptlib.operations.new_images import AHEAD, EIGHT_BITS, NewImages, Seen, decoded_ahead, found_at, threads
from vptlib.statement import Statement, statement
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.training import best_device
from vptlib.wording import printable

BATCH = 16
FIRST = 20  # rows that a `Prediction` holds


@dataclass(frozen=True)
class Prediction:
    """What `predict` did.

    Attributes:
        images: how many there are.
        unreadable: how many of them have no answer.
        for_person: how many a person should look at, those without an answer included; None if that is not known.
        counts: images by answer, in the order of the classes.
        first: the first `FIRST` rows.
        findings: what has to be said, worst first.
        path, sheet: the file of answers and the contact sheet; None if none was asked for.
    """

    images: int
    unreadable: int
    for_person: int | None
    counts: dict[str, int]
    first: tuple[Row, ...]
    findings: tuple[Finding, ...]
    path: Path | None = None
    sheet: Path | None = None

    @property
    def answered(self) -> int:
        return self.images - self.unreadable


def predict(
    artefact: Artefact,
    places: Sequence[Path | str],
    out: Path | str | None = None,
    skip_unreadable: bool = False,
    backbone: str | None = None,
    progress: bool = True,
    sentence: Callable[[Statement], str] | None = None,
    check: int = 0,
) -> Prediction:
    """Answer new images with an exported model.

    Args:
        artefact: the model.
        places: image files, and folders, which are searched with all folders in them.
        out: a .csv or .parquet file; the contact sheet is next to it, as .html. By default nothing is written.
        skip_unreadable: a file that cannot be read becomes a row without an answer.
        backbone: where the model's backbone is, if not under the name that the model file gives.
        progress: show a bar on stderr.
        sentence: the words for a finding, for the contact sheet; by default it has none.
        check: so many images are drawn at random, for a person to write their right class into the file of answers.

    Raises:
        UserError: there are no images, a file cannot be read, or `out` cannot be written. What was done is kept.
    """
    target = None if out is None else AnswerFile(Path(out))
    found = found_at([Path(place) for place in places], target.owns if target else lambda _: False)
    if target:
        target.check()
        target.check_room(len(found.paths), len(artefact.card.class_names))
    with journal_at(target and target.side, artefact.digest) as journal:
        unread = _answer_all(artefact, found.paths, journal, target, skip_unreadable, backbone, progress)
        rows = _Rows(artefact, found.paths, journal, unread, check)
        done = rows.summary([*found.findings, *rows.findings()], target)
        if target:
            words = [sentence(finding.what) for finding in done.findings] if sentence else []
            with refusals_named(target.path):
                write_sheet(rows.sheet(done, words), target.sheet)
                target.write(rows, rows.class_names, rows.drawn is not None)
            journal.finished = True
    return done


# ---- answering ----------------------------------------------------------------------------------------------------


def _answer_all(
    artefact: Artefact,
    paths: Sequence[Path],
    journal: Journal,
    target: AnswerFile | None,
    skip_unreadable: bool,
    backbone: str | None,
    progress: bool,
) -> dict[int, str]:
    """Answer what the journal lacks. Gives the images that cannot be read, with the reason."""
    missing = [row for row, path in enumerate(paths) if not journal.has(path)]
    if not missing:
        return {}
    model, card, unread = _loaded(artefact, backbone), artefact.card, {}
    images = NewImages(paths, card.preprocessing, grey_of(card))
    ahead = AHEAD if best_device().type == "cuda" else 0
    with (
        tqdm(total=len(paths), initial=len(paths) - len(missing), desc="answering images", disable=not progress) as bar,
        decoded_ahead(images, missing, BATCH, ahead) as batches,
    ):
        for batch in batches:
            good = {row: seen for row, seen in batch.items() if not seen.problem}
            bad = {row: seen.problem for row, seen in batch.items() if seen.problem}
            if good:
                found = _probabilities(model, _batch_of(good, len(paths), card.preprocessing.size), card.preprocessing)
                journal.add([_record(paths[row], good[row], found[row % BATCH]) for row in good])
            if bad and not skip_unreadable:
                raise UserError(_stopped_by(next(iter(bad.values())), target))
            unread |= bad
            bar.update(len(batch))
    return unread


def _loaded(artefact: Artefact, backbone: str | None) -> AdaptedModel:
    """The model, on the best device."""
    vit = load_backbone_of(artefact, backbone).to(best_device())
    return load_model(artefact, vit, artefact.card.backbone.fingerprint)


def _stopped_by(problem: str, target: AnswerFile | None) -> str:
    kept = "what was done is kept, and the same command goes on" if target else "with --out, what is done is kept"
    return f"{problem.rstrip('.')}; or add --skip-unreadable to answer the others ({kept})."


def _record(path: Path, seen: Seen, probabilities: np.ndarray) -> Record:
    if not np.isfinite(probabilities).all():
        raise UserError(f"the model's answer to {path} is not a number: export the model again.")
    return Record(str(path), seen.identity, seen.doubt, probabilities)


def _batch_of(good: dict[int, Seen], images: int, size: int) -> np.ndarray:
    """uint8 `B S S 3`: each image at its position, which does not depend on what else is there; black elsewhere."""
    start = next(iter(good)) // BATCH * BATCH
    pixels = np.zeros((min(BATCH, images - start), size, size, 3), np.uint8)
    for row, seen in good.items():
        pixels[row - start] = seen.whole
    return pixels


@torch.inference_mode()
def _probabilities(model: AdaptedModel, pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 `B S S 3` to probabilities float32 `B C`, as `vptlib.tuning.training.evaluate` gives them."""
    inputs = LazyPixels(ImageSet(pixels, np.zeros(len(pixels), np.int64)), preprocessing)[:]  # B 3 S S
    logits = model(inputs.to(next(model.parameters()).device)).float().cpu()  # B C
    return logits.softmax(dim=1).numpy()


# ---- the rows -----------------------------------------------------------------------------------------------------


def _drawn(digest: str, paths: Sequence[Path], unread: Collection[int], count: int) -> set[int]:
    """So many answered images, drawn at random: the same ones whenever the same model answers the same files."""
    answered = [number for number in range(len(paths)) if number not in unread]
    named = "\0".join([digest, *(printable(str(path)) for path in paths)])
    random = np.random.default_rng(list(hashlib.sha256(named.encode()).digest()))
    return set(random.permutation(answered)[:count].tolist())


class _Rows:
    """A row for each image, in order, read from the journal whenever they are wanted."""

    def __init__(
        self, artefact: Artefact, paths: Sequence[Path], journal: Journal, unread: dict[int, str], check: int = 0
    ):
        self._artefact, self._paths, self._journal, self._unread = artefact, paths, journal, unread
        self.drawn = _drawn(artefact.digest, paths, unread, check) if check else None
        self._ask = artefact.card.ask or {}
        self._grey = grey_of(artefact.card)
        self.class_names = tuple(artefact.card.class_names)

    def __iter__(self) -> Iterator[Row]:
        for number, path in enumerate(self._paths):
            file = printable(str(path))
            if number in self._unread:
                row = Row(file, "", None, "yes", None, self._unread[number])
            else:
                row = self._row(file, self._journal.get(path))
            yield row if self.drawn is None else replace(row, drawn=number in self.drawn)

    def _row(self, file: str, record: Record) -> Row:
        found = judged(self._artefact.card, record.probabilities, record.doubt)
        return Row(file, found.answer, found.probability, found.ask_a_person, record.probabilities, found.problem)

    def findings(self) -> list[Finding]:
        """What has to be said of the answers."""
        return [*self._unreadable(), *self._doubts(), *self._person(), *self._marked()]

    def _unreadable(self) -> list[Finding]:
        if not self._unread:
            return []
        first = printable(str(self._paths[min(self._unread)]))
        what = statement("unreadable_skipped", bad=len(self._unread), files=len(self._paths), first=first)
        return [Finding("warning", what)]

    def _doubts(self) -> list[Finding]:
        if self._grey is None:
            return []
        files: dict[str, list[int]] = {}
        for number, path in enumerate(self._paths):
            if number not in self._unread:
                files.setdefault(self._journal.get(path).doubt, []).append(number)
        low, high = self._grey
        found = []
        for doubt in sorted(set(files) - {""}):
            images, first = len(files[doubt]), printable(str(self._paths[files[doubt][0]]))
            if doubt == EIGHT_BITS:
                what = statement("new_images_of_8_bits", images=images, first=first, low=low, high=high)
            else:
                what = statement("new_greys_do_not_fit", images=images, first=first, low=low, high=high)
            found.append(Finding("warning", what))
        return found

    def _person(self) -> list[Finding]:
        wanted, threshold = self._ask.get("wanted"), threshold_of(self._artefact.card)
        if threshold is None:
            images, needed = self._artefact.answers.images, self._ask.get("needed")
            return [Finding("warning", statement("person_unknown", wanted=wanted, images=images, needed=needed))]
        asked = sum(row.ask_a_person == "yes" for row in self)
        what = statement(
            "person_asked",
            asked=asked,
            images=len(self._paths),
            wanted=wanted,
            threshold=threshold,
            accuracy=self._ask.get("accuracy"),
            low=self._ask.get("accuracy_low"),
            high=self._ask.get("accuracy_high"),
        )
        return [Finding("note", what)]

    def _marked(self) -> list[Finding]:
        names = [name for name in self.class_names if as_text(name) != name]
        return [Finding("note", statement("formulas_marked", names=names[:3], classes=len(names)))] if names else []

    def summary(self, findings: Iterable[Finding], target: AnswerFile | None) -> Prediction:
        """What was done."""
        counts = Counter(row.answer for row in self)
        asked = sum(row.ask_a_person == "yes" for row in self)
        return Prediction(
            images=len(self._paths),
            unreadable=len(self._unread),
            for_person=None if threshold_of(self._artefact.card) is None else asked,
            counts={name: counts[name] for name in self.class_names},
            first=tuple(islice(self, FIRST)),
            findings=tuple(worst_first(findings)),
            path=target and target.path,
            sheet=target and target.sheet,
        )

    def sheet(self, done: Prediction, sentences: Sequence[str]) -> Sheet:
        """The contact sheet: those for a person first, then the least sure."""

        def urgency(numbered: tuple[int, Row]) -> tuple[bool, float, int]:
            number, row = numbered
            return row.ask_a_person != "yes", row.probability or 0.0, number

        answered = ((number, row) for number, row in enumerate(self) if row.probability is not None)
        chosen = heapq.nsmallest(MOST_TILES, answered, key=urgency)
        unread = [(printable(str(self._paths[number])), why) for number, why in self._unread.items()]
        title = printable(self._artefact.card.title)
        return Sheet(title, done.images, done.for_person, done.counts, self._tiles(chosen), unread, sentences)

    def _tiles(self, chosen: Sequence[tuple[int, Row]]) -> list[Tile]:
        images = NewImages(self._paths, self._artefact.card.preprocessing, self._grey)
        with ThreadPoolExecutor(threads()) as pool:
            pictures = list(pool.map(images.seen, [number for number, _ in chosen]))
        return [
            Tile(row.file, row.answer, row.probability or 0.0, row.ask_a_person == "yes", row.problem, seen.pixels)
            for (_, row), seen in zip(chosen, pictures, strict=True)
        ]
