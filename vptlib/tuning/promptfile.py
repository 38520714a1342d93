"""What was learned for one task, saved to one safetensors file; and a model made from that file.

The file holds the trained tensors (prompts and head). Its metadata holds what is needed to use them: the method and its
options, the classes, how images are prepared, and the fingerprint of the backbone. The file never holds the backbone.
No pickle is read.

A file may come from anywhere, so nothing in it is believed. Its card is checked value by value. The model is first
built without memory (on torch's "meta" device) and its shapes compared with the file's; only then is it built.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vptlib.data.preparing import Preprocessing
from vptlib.errors import UserError
from vptlib.paths import whole_file
from vptlib.prompting.blocks import ViT
from vptlib.tuning.backbones import fingerprint, preprocessing, set_aspect
from vptlib.tuning.methods import AdaptedModel, build_method
from vptlib.wording import printable

FORMAT = "vptlib prompts 1"
# The types of trained tensors, as safetensors writes them.
TENSOR_TYPES = ("F16", "BF16", "F32", "F64")
# An option that is larger would take hours or all memory before its tensors could be found missing.
MOST = 10_000
_DAMAGED = "save or fetch it again"


@dataclass(frozen=True)
class PromptCard:
    """The description in a prompt file.

    Attributes:
        method: name in `vptlib.tuning.methods.METHODS`.
        options: the options of `build_method`.
        class_names: names of the logits' columns, in order.
        preprocessing: how images are prepared: size, mean, std, interpolation.
        backbone: fingerprint (SHA-256) of the backbone.
        shape: of that backbone, so that an error can name what differs: width, blocks, patch size, image size.
    """

    method: str
    options: dict
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    backbone: str
    shape: dict[str, int]


# ---- saving -----------------------------------------------------------------------------------------------------


def save_prompts(model: AdaptedModel, path: Path | str, class_names: tuple[str, ...] | None = None) -> None:
    """Write the trained tensors of `model` to `path`, whole or not at all.

    Args:
        model: from `build_method`, of a method that leaves the backbone as it is.
        path: a `.safetensors` file; an existing one is replaced.
        class_names: of the logits' columns, in order; by default "0", "1", ...

    Raises:
        UserError: a method that changes the backbone, names that do not fit, numbers that are not finite, or a path
            that cannot be written.
    """
    path = Path(path)
    _check_name(path)
    trained = model.trained_state()
    _check_ours(model, trained)
    names = _checked_names(class_names, model.head.out_features)
    _check_finite("these prompts hold", trained)
    vit = model.vit
    options = {name: value for name, value in model.options.items() if name != "init"}  # the learned prompts replace it
    card = PromptCard(model.method, options, names, preprocessing(vit), fingerprint(vit), _shape(vit))
    tensors = {name: tensor.cpu().contiguous() for name, tensor in trained.items()}
    with _written_whole(path) as part:
        save_file(tensors, part, metadata={"format": FORMAT, "card": json.dumps(asdict(card))})


def _check_ours(model: AdaptedModel, names: Any) -> None:
    """Refuse a method whose trained tensors are not all added to the backbone, or its head."""
    backbone = {id(p) for n, p in model.vit.named_parameters() if not n.startswith(("head.", "head_dist."))}
    own = dict(model.named_parameters())
    changed = [name for name in names if id(own[name]) in backbone]
    if changed:
        raise UserError(f"method {model.method!r} changes the backbone itself ({changed[0]}): save the whole model.")


def _checked_names(given: Any, count: int) -> tuple[str, ...]:
    """The names of `count` classes."""
    if isinstance(given, str):
        raise UserError(f"class_names is {given!r}, but must be a list of {count} names.")
    names = tuple(map(str, range(count))) if given is None else tuple(given)
    if len(names) != count:
        raise UserError(f"class_names has {len(names)} names, but the head has {count} classes.")
    for name in names:
        if not isinstance(name, str) or not name:
            raise UserError(f"class_names has {name!r}, but a name must be text that is not empty.")
        if printable(name) != name:
            raise UserError(f"class_names has {name!r}, which is not text that can be stored: give another name.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"class_names has {twice!r} twice: give every class its own name.")
    return names


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """`vptlib.paths.whole_file`, whose failures name the place."""
    try:
        with whole_file(path) as part:
            yield part
    except (OSError, SafetensorError, ValueError) as error:  # ValueError: a path that holds U+0000
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"prompts cannot be written to {path} ({reason}): name a file in a folder of yours.") from error


# ---- loading ----------------------------------------------------------------------------------------------------


def load_prompts(path: Path | str, vit: ViT) -> AdaptedModel:
    """A model in evaluation mode from the prompt file at `path` and its backbone.

    The model shares the weights of `vit` and has modules of its own, so `vit` itself is never changed.

    Raises:
        UserError: no such file, a file that is not whole or not of this kind, or another backbone than the file's.
    """
    path = Path(path)
    card, tensors = _read(path)
    _check_backbone(path, card, vit)
    _check_fits(path, card, tensors, vit)
    model = _built(card, vit, torch.device(vit.patch_embed.proj.weight.device))
    model.load_state_dict(tensors, strict=False)
    _check_finite(f"{path} holds", model.trained_state())  # a type of fewer bits may have none of its size
    return model.eval()


def read_card(path: Path | str) -> PromptCard:
    """The description in the prompt file at `path`.

    Raises:
        UserError: no such file, or a file that is not whole or not of this kind.
    """
    return _read(Path(path))[0]


def _built(card: PromptCard, vit: ViT, device: torch.device) -> AdaptedModel:
    """A fresh model of the card's method on a copy of `vit`, which shares its weights unless `device` is another."""
    own = _sharing(vit, device)
    set_aspect(own, card.preprocessing.aspect)
    with device:
        return build_method(card.method, own, len(card.class_names), **card.options)


def _sharing(vit: ViT, device: torch.device) -> ViT:
    """A copy of the modules of `vit` whose parameters and buffers are the same memory, or on the meta device none."""
    parameters = {id(p): nn.Parameter(p.detach().to(device), p.requires_grad) for p in vit.parameters()}
    buffers = {id(b): b.detach().to(device) for b in vit.buffers()}
    return copy.deepcopy(vit, parameters | buffers)


def _check_fits(path: Path, card: PromptCard, tensors: dict[str, Tensor], vit: ViT) -> None:
    """Raise unless the card's method has exactly the file's tensors, and they change nothing of the backbone."""
    try:
        model = _built(card, vit, torch.device("meta"))
    except UserError as error:
        raise UserError(f"{path} is damaged: {str(error).rstrip('.')}; {_DAMAGED}.") from error
    except Exception as error:  # what torch, timm and peft raise for impossible options is of many kinds
        raise UserError(
            f"{path} is damaged: no model of method {card.method!r} has its options ({type(error).__name__}): "
            f"{_DAMAGED}."
        ) from error
    wanted = {name: tensor.shape for name, tensor in model.trained_state().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if wanted != found:
        name = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise UserError(f"{path} is damaged: its tensor {name!r} does not fit its method {card.method!r}.")
    try:
        _check_ours(model, wanted)
    except UserError as error:
        raise UserError(f"{path} holds no prompts: {error}") from error


def _check_backbone(path: Path, card: PromptCard, vit: ViT) -> None:
    here = _shape(vit)
    for what, wanted in card.shape.items():
        if here.get(what) != wanted:
            raise UserError(
                f"{path} was learned on a backbone with {what} {wanted}, but this one has {here.get(what)}: load the "
                "backbone that it was learned on."
            )
    if fingerprint(vit) != card.backbone:
        raise UserError(
            f"{path} was learned on another backbone (fingerprint {card.backbone[:12]}, here {fingerprint(vit)[:12]}): "
            "prompts work only with the weights that they were learned with; load those."
        )
    prepared = preprocessing(vit, card.preprocessing.aspect)
    for what, wanted in asdict(card.preprocessing).items():
        if getattr(prepared, what) != wanted:
            raise UserError(
                f"{path} was learned on images prepared with {what} {wanted}, but this backbone prepares them with "
                f"{getattr(prepared, what)}: load the backbone under the name that it had then."
            )


def _shape(vit: ViT) -> dict[str, int]:
    size, patch = vit.patch_embed.img_size, vit.patch_embed.patch_size
    return {"width": vit.embed_dim, "blocks": len(vit.blocks), "patch size": patch[0], "image size": size[0]}


# ---- reading ----------------------------------------------------------------------------------------------------


def _check_name(path: Path) -> None:
    """Refuse a name that safetensors cannot open."""
    if printable(str(path)) != str(path):
        raise UserError(f"the path {printable(str(path))} is not UTF-8: take a file and a folder with another name.")


def _read(path: Path) -> tuple[PromptCard, dict[str, Tensor]]:
    _check_name(path)
    try:
        if not path.is_file():
            raise UserError(f"there is no prompt file at {path}.")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise UserError(
                    f"{path} is a safetensors file, but not one that save_prompts wrote (no {FORMAT!r} in it)."
                )
            card = _card(path, metadata.get("card", ""))
            tensors = {name: _tensor(path, file, name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except UserError:
        raise
    except Exception as error:  # safetensors, torch and the file system raise many kinds for a damaged file
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a whole safetensors file ({reason}): {_DAMAGED}.") from error
    _check_finite(f"{path} holds", tensors)
    return card, tensors


def _tensor(path: Path, file: Any, name: str) -> Tensor:
    kind = file.get_slice(name).get_dtype()
    if kind not in TENSOR_TYPES:
        raise UserError(
            f"{path} is damaged: its tensor {name!r} is of type {kind}, not of decimal numbers: {_DAMAGED}."
        )
    return file.get_tensor(name)


def _check_finite(who: str, tensors: dict[str, Tensor]) -> None:
    bad = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
    if bad:
        raise UserError(f"{who} numbers that are not finite in {bad!r}: train again and save it.")


_Text = Annotated[str, Field(min_length=1, max_length=1000)]
_Count = Annotated[int, Field(ge=1, le=MOST)]
_Share = Annotated[float, Field(ge=-1000, le=1000)]
_Spread = Annotated[float, Field(gt=0, le=1000)]
_Whole = Annotated[int, Field(ge=0, le=MOST)]
_Number = Annotated[float, Field(ge=-MOST, le=MOST)]
_Option = bool | _Whole | _Number | _Text | list[_Whole] | None
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@checked_dataclass(config=_STRICT)
class _StoredPreprocessing:
    """`Preprocessing` as it is stored."""

    size: _Count
    mean: tuple[_Share, _Share, _Share]
    std: tuple[_Spread, _Spread, _Spread]
    interpolation: Literal["bilinear", "bicubic"]
    aspect: Literal["squash", "crop", "pad"] = "squash"


@checked_dataclass(config=_STRICT)
class _StoredCard:
    """`PromptCard` as it is stored."""

    method: _Text
    options: dict[str, _Option]
    class_names: Annotated[tuple[_Text, ...], Field(min_length=1)]
    preprocessing: _StoredPreprocessing
    backbone: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    shape: dict[Literal["width", "blocks", "patch size", "image size"], _Count]


_CARD = TypeAdapter(_StoredCard)


def _card(path: Path, text: str) -> PromptCard:
    """The card in a file's metadata, every value checked."""
    try:
        stored = _CARD.validate_json(text)
    except ValidationError as error:
        finding, *_ = error.errors(include_url=False)
        where = ".".join(map(str, finding["loc"])) or "JSON"
        raise UserError(
            f"{path} is damaged: its card cannot be read ({where[:80]}: {finding['msg'][:100]}): {_DAMAGED}."
        ) from error
    if len(set(stored.class_names)) < len(stored.class_names):
        raise UserError(f"{path} is damaged: its card cannot be read (a class name is there twice): {_DAMAGED}.")
    own = {name: getattr(stored, name) for name in ("method", "options", "class_names", "backbone", "shape")}
    return PromptCard(preprocessing=Preprocessing(**asdict(stored.preprocessing)), **own)
