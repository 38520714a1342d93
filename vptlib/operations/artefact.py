"""One trained model as one file: everything that is needed to use it, to test it, and to know where it comes from.

A `.vpt` file is a safetensors file. It holds five things:

tensors   what was trained. The backbone is in it only as far as the method changes it.
card      what it is: backbone, preprocessing, classes, recipe, data, results, limits. Plain JSON in the metadata.
canaries  a few drawn pictures and the logits that the model gave for them. They are computed again at every load, so a
          wrong backbone, another preprocessing or a changed library cannot answer unnoticed.
answers   what this model answered to the test images of its study. A limit can so be tested later, too, and two
          versions can be compared image by image.
reference where the features of these test images lie, so that new images can be compared with them while the model is
          in use (`vptlib.operations.features`). Files of earlier versions have none.

No image of the user is in the file, and no path of the machine that wrote it. A checksum covers all of it. The same
model exported again is the same file, byte for byte.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from torch import Tensor

from vptlib.data.files import squared
from vptlib.data.preparing import ImageSet, Preprocessing, prepare
from vptlib.errors import UserError
from vptlib.evidence.answers import Answers
from vptlib.operations.features import Reference
from vptlib.prompting.blocks import ViT
from vptlib.tuning.backbones import fingerprint, load_backbone, set_aspect
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.promptfile import PromptCard, built_from, card_of, read_tensors, shape, write_tensors

FORMAT = "vptlib model 1"
WRITER = "`vpt export`"
_APART = "vpt."  # how the names of tensors begin that are not trained ones
# How far a canary's logit may be from the stored one: kinds of machine differ in the last digits of float32.
TOLERANCE = 2e-3
_LEAST_LOG = -60.0
# The parts of a `Reference`, by the names of their tensors, with their types.
_WATCHED = {"watch.centre": np.float32, "watch.basis": np.float32, "watch.coordinates": np.float16}

_Text = Annotated[str, Field(max_length=1000)]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@checked_dataclass
class BackboneCard:
    """The backbone of a model.

    Attributes:
        name: as `vptlib.load_backbone` takes it; of a local file `file:NAME`, without its folder.
        source, licence: of its weights.
        image_size: side of the square input in pixels.
        depth: number of its blocks.
        fingerprint: SHA-256 of its weights.
    """

    name: _Text
    source: _Text
    licence: _Text
    image_size: Annotated[int, Field(ge=1, le=10_000)]
    depth: Annotated[int, Field(ge=1, le=10_000)]
    width: Annotated[int, Field(ge=1, le=10**6)]
    patch_size: Annotated[int, Field(ge=1, le=10_000)]
    fingerprint: _Sha256


@checked_dataclass
class _More:
    """What a `.vpt` file says beyond the card of a prompt file."""

    title: _Text
    grey: tuple[float, float] | None
    backbone: BackboneCard
    recipe: dict[str, Any]
    data: dict[str, Any]
    results: dict[str, Any]
    limits: dict[str, Any]
    measured: dict[str, Any]
    known_limits: list[dict[str, Any]]
    ask: dict[str, Any] | None
    lineage: dict[str, Any]


@dataclass(frozen=True)
class Card:
    """What a model is.

    Attributes:
        title: of its task, for people.
        method, options: as `vptlib.build_method` takes them.
        class_names: of the logits' columns, in order.
        preprocessing: how images are prepared.
        grey: the values that became black and white in images of more than 8 bits; None if there were no such images.
        backbone: what it stands on.
        recipe: how it was trained: rules, number of labelled images, seed, learning rate, ...
        data: of its task: "task", "fingerprint", "test_images", "group_names", ...
        results: accuracy of this model and of its method, with intervals.
        limits: as they were written in the YAML file.
        measured: what only the export could measure; see `vptlib.operations.gates`.
        known_limits: findings that qualify the results, as plain statements.
        ask: from which probability on it may answer by itself: "wanted", "threshold", ...; None without probabilities.
        lineage: "run_id", "run_key", "report" (SHA-256), "notebook", "vptlib", "trained" (ISO 8601, UTC).
    """

    title: str
    method: str
    options: dict[str, Any]
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    backbone: BackboneCard
    grey: tuple[float, float] | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    known_limits: list[dict[str, Any]] = field(default_factory=list)
    ask: dict[str, Any] | None = None
    lineage: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Canaries:
    """Pictures and the logits that a model gave for them.

    Attributes:
        pictures: uint8 `H W 3` each, of different sides, so that the way to the square is tested too.
        logits: float32 `K C`.
    """

    pictures: tuple[np.ndarray, ...]
    logits: Tensor


@dataclass(frozen=True, eq=False)
class Artefact:
    """A `.vpt` file that was read.

    Attributes:
        path: where it lay.
        digest: SHA-256 of the file.
        card: what it is.
        tensors: the trained ones by name.
        canaries: see `Canaries`.
        answers: of this one training to the test images of its study.
        reference: of the features of these images; None in a file of an earlier version.
    """

    path: Path
    digest: str
    card: Card
    tensors: dict[str, Tensor] = field(repr=False)
    canaries: Canaries = field(repr=False)
    answers: Answers = field(repr=False)
    reference: Reference | None = field(default=None, repr=False)


# ---- writing ----------------------------------------------------------------------------------------------------


def write_artefact(
    path: Path | str, model: AdaptedModel, card: Card, answers: Answers, reference: Reference | None = None
) -> Artefact:
    """Write a trained model with its card, its answers and fresh canaries; whole or not at all.

    Args:
        path: a `.vpt` file; an existing one is replaced.
        model: trained.
        card: its `backbone.fingerprint` is that of the backbone before the method changed it.
        answers: of this model to its test images, S = 1.
        reference: of the features of these images; without it, nobody can tell later whether new images differ.

    Returns:
        The file as it is read again.

    Raises:
        UserError: numbers that are not finite, or a path that cannot be written.
    """
    path = Path(path)
    if path.suffix != ".vpt":
        raise UserError(f"{path} is to hold a model: give it a name that ends in .vpt.")
    trained = model.trained_state()
    if bad := next((name for name, tensor in trained.items() if not tensor.isfinite().all()), None):
        raise UserError(f"the model holds numbers that are not finite in {bad!r}: train it again, then export it.")
    pictures = drawn_pictures()
    logits = logits_of_pictures(model.eval(), pictures, card.preprocessing)
    apart = {"canary.logits": logits, "test.predictions": answers.predictions[0], "test.truth": answers.truth}
    apart |= {f"canary.{number}": picture for number, picture in enumerate(pictures)}
    if reference is not None:
        apart |= {name: getattr(reference, name.rpartition(".")[2]) for name in _WATCHED}
    if answers.groups is not None:
        apart["test.groups"] = answers.groups
    if answers.probabilities is not None:
        with np.errstate(divide="ignore"):
            apart["test.logs"] = np.maximum(np.log(answers.probabilities[0]), _LEAST_LOG).astype(np.float16)
    tensors = trained | {f"{_APART}{name}": torch.as_tensor(value).clone() for name, value in apart.items()}
    more = {name: value for name, value in card.plain().items() if name in _More.__dataclass_fields__}
    core = card_of(model, card.class_names, card.backbone.fingerprint)
    write_tensors(path, FORMAT, core, tensors, {"about": json.dumps(more, ensure_ascii=False)})
    return read_artefact(path)


def drawn_pictures() -> tuple[np.ndarray, ...]:
    """The pictures for canaries, uint8 `H W 3`: waves of colour with a disc and grain; wide, high and square."""
    random, found = np.random.default_rng(2203), []
    for height, width in ((48, 80), (80, 48), (64, 64)):
        y, x = np.mgrid[0:height, 0:width] / 64
        waves = [np.sin(2 * np.pi * (a * x + b * y + c)) for a, b, c in random.uniform(-2, 2, (3, 3))]
        picture = 0.5 + 0.35 * np.stack(waves, axis=-1)  # H W 3
        row, column = random.uniform(0.3, 0.7, 2) * (height, width)
        disc = (np.arange(height)[:, None] - row) ** 2 + (np.arange(width) - column) ** 2 < (height * width) / 50
        picture[disc] = random.uniform(0, 1, 3)
        picture += random.normal(0, 0.2, (height, width, 1))  # fine detail shows how a picture is scaled
        found.append((255 * picture.clip(0, 1)).round().astype(np.uint8))
    return tuple(found)


@torch.no_grad()
def logits_of_pictures(model: AdaptedModel, pictures: Sequence[np.ndarray], wanted: Preprocessing) -> Tensor:
    """What a model gives for pictures, uint8 `H W 3` each, prepared as images of a user are: float32 `K C`."""
    square = [squared(Image.fromarray(one), wanted.size, wanted.interpolation, wanted.aspect) for one in pictures]
    images = prepare(ImageSet(np.stack([np.asarray(one) for one in square]), np.zeros(len(square), np.int64)), wanted)
    like = model.vit.patch_embed.proj.weight
    return model(images.tensors[0].to(like.device, like.dtype)).float().cpu()


# ---- reading ----------------------------------------------------------------------------------------------------

_MORE = TypeAdapter(_More)


def read_artefact(path: Path | str) -> Artefact:
    """The model file at `path`, every value checked.

    Raises:
        UserError: no such file, or one that is cut, damaged, of another kind or of a newer format.
    """
    path = Path(path)
    before = _state_of(path)
    core, tensors, rest = read_tensors(path, FORMAT, WRITER, apart=_APART)
    digest = digest_of(path)
    if _state_of(path) != before:
        raise UserError(f"{path} changed while it was read: give the same command again.")
    try:
        more = _MORE.validate_json(rest.get("about", ""))
        canaries, answers = _canaries(rest), _answers(rest, core.class_names, more.data)
        reference = _reference(rest, answers.images)
    except ValidationError as error:
        finding, *_ = error.errors(include_url=False)
        where = ".".join(map(str, finding["loc"])) or "JSON"
        raise _damaged(path, f"{where[:80]}: {finding['msg'][:100]}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)[:100]) from error
    if more.backbone.fingerprint != core.backbone:
        raise _damaged(path, "two fingerprints of the backbone")
    about = {name: getattr(more, name) for name in _More.__dataclass_fields__}
    card = Card(
        method=core.method,
        options=core.options,
        class_names=core.class_names,
        preprocessing=core.preprocessing,
        **about,
    )
    return Artefact(path, digest, card, tensors, canaries, answers, reference)


def _state_of(path: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced; nothing where there is none."""
    with suppress(OSError, ValueError):  # ValueError: a path that holds U+0000
        found = path.stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    return ()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is damaged: its card cannot be read ({reason}): export it again, or fetch it again.")


def _canaries(rest: dict[str, Any]) -> Canaries:
    logits = rest[f"{_APART}canary.logits"]
    pictures = tuple(rest[f"{_APART}canary.{number}"].numpy() for number in range(len(logits)))
    if not pictures or any(one.dtype != np.uint8 or one.ndim != 3 or one.shape[2] != 3 for one in pictures):
        raise ValueError("its canaries are no pictures")
    return Canaries(pictures, logits.float())


def _answers(rest: dict[str, Any], class_names: tuple[str, ...], data: dict[str, Any]) -> Answers:
    read = {name: rest.get(f"{_APART}test.{name}") for name in ("predictions", "truth", "groups", "logs")}
    arrays = {name: None if tensor is None else tensor.numpy() for name, tensor in read.items()}
    logs, probabilities = arrays["logs"], None
    if logs is not None:
        raw = np.exp(logs.astype(np.float32))
        probabilities = (raw / raw.sum(axis=1, keepdims=True))[None]  # 1 I C
    predictions, truth = arrays["predictions"], arrays["truth"]
    if predictions is None or truth is None:
        raise ValueError("it lacks the answers of its test")
    try:
        return Answers(
            predictions.astype(np.int64)[None],
            truth.astype(np.int64),
            class_names,
            probabilities,
            arrays["groups"],
            group_names=tuple(map(str, data.get("group_names", ()))),
        )
    except UserError as error:
        raise ValueError(str(error)) from error


def _reference(rest: dict[str, Any], images: int) -> Reference | None:
    """What `write_artefact` kept of a `Reference`; None where there is nothing of it."""
    parts = {name: rest[f"{_APART}{name}"].numpy() for name in _WATCHED if f"{_APART}{name}" in rest}
    if not parts:
        return None
    if [part.dtype for part in parts.values()] != list(_WATCHED.values()):
        raise ValueError("its reference of features lacks a part, or has one of another type")
    try:
        reference = Reference(*parts.values())
    except UserError as error:
        raise ValueError(str(error)) from error
    if len(reference.coordinates) != images:
        raise ValueError(f"its reference has {len(reference.coordinates)} test images, its answers {images}")
    return reference


# ---- using ------------------------------------------------------------------------------------------------------


def load_model(artefact: Artefact, vit: ViT, known_fingerprint: str | None = None) -> AdaptedModel:
    """The model of a file on its backbone, in evaluation mode, after its canaries have given what they must.

    The model shares the weights of `vit` that its method leaves as they are; those that it changes are its own. `vit`
    itself is never changed.

    Args:
        vit: the backbone; see `load_backbone_of`.
        known_fingerprint: of `vit`, where the caller has it: to compute it reads all weights.

    Raises:
        UserError: another backbone than the file's, tensors that do not fit, or canaries that fail.
    """
    card = artefact.card
    core = PromptCard(
        card.method, card.options, card.class_names, card.preprocessing, card.backbone.fingerprint, _shape_of(card)
    )
    model = built_from(artefact.path, core, artefact.tensors, vit, True, known_fingerprint)
    model.requires_grad_(False)
    check_canaries(model, artefact)
    if artefact.reference is not None and len(artefact.reference.centre) != model.head.in_features:
        raise _damaged(artefact.path, "its reference is of features of another width")
    return model


def check_canaries(model: AdaptedModel, artefact: Artefact) -> None:
    """Compute the canaries again and compare.

    Raises:
        UserError: a logit is further from the stored one than `TOLERANCE`, absolute and relative.
    """
    wanted = artefact.canaries.logits
    found = logits_of_pictures(model, artefact.canaries.pictures, artefact.card.preprocessing)
    if found.shape == wanted.shape and torch.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE):
        return
    off = (found - wanted).abs().max().item() if found.shape == wanted.shape else float("nan")
    raise UserError(
        f"{artefact.path} does not answer as it did when it was exported (a logit is off by {off:.3g}): its backbone, "
        "its preparation of images or a library is another one; install the versions in its card, or export it again."
    )


def load_backbone_of(artefact: Artefact, name: str | None = None) -> ViT:
    """The backbone that the file of a model names, its fingerprint checked.

    Args:
        name: as for `vptlib.load_backbone`, where the one in the card is not at hand under its own name, such as
            `file:PATH.safetensors`.

    Raises:
        UserError: it cannot be had, or its weights are others.
    """
    known = artefact.card.backbone
    if name is None and known.name.startswith("file:"):
        raise UserError(
            f"{artefact.path} stands on a backbone from a file ({known.name.removeprefix('file:')}): say where that "
            "file is with --backbone file:PATH."
        )
    vit = load_backbone(name or known.name, known.image_size, known.depth)
    set_aspect(vit, artefact.card.preprocessing.aspect)
    found = fingerprint(vit)
    if found != known.fingerprint:
        raise UserError(
            f"{artefact.path} was learned on other weights of {known.name} (fingerprint {known.fingerprint[:12]}, here "
            f"{found[:12]}): give the very ones with --backbone."
        )
    return vit


def backbone_card(vit: ViT, name: str, source: str, licence: str, found: str | None = None) -> BackboneCard:
    """The card of a backbone that was loaded under `name`; `found` is its fingerprint, where that is known."""
    sides = shape(vit)
    shown = f"file:{Path(name.removeprefix('file:')).name}" if name.startswith("file:") else name
    return BackboneCard(
        name=shown,
        source=source,
        licence=licence,
        image_size=sides["image size"],
        depth=sides["blocks"],
        width=sides["width"],
        patch_size=sides["patch size"],
        fingerprint=found or fingerprint(vit),
    )


def _shape_of(card: Card) -> dict[str, int]:
    known = card.backbone
    return {
        "width": known.width,
        "blocks": known.depth,
        "patch size": known.patch_size,
        "image size": known.image_size,
    }
