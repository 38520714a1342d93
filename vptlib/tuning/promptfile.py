"""What was learned for one task, saved to one safetensors file; and a model made from that file.

The file holds the trained tensors (prompts and head). Its metadata holds what is needed to use them: the method and its
options, the classes, how images are prepared, and the fingerprint of the backbone. The file never holds the backbone.
No pickle is read.

A file may come from anywhere, so nothing in it is believed. Its card is checked value by value. The model is first
built without memory (on torch's "meta" device) and its shapes compared with the file's; only then is it built.
"""

import copy
import hashlib
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
_SEALED, _CHECKSUM = "vptlib", "sha256"


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
    write_tensors(path, FORMAT, card_of(model, names), trained)


def sealed(texts: dict[str, str], tensors: dict[str, Tensor]) -> dict[str, str]:
    """The metadata of a file with a checksum: one entry, because safetensors writes several in any order."""
    checksum = _checksum(texts, tensors)
    return {_SEALED: json.dumps(texts | {_CHECKSUM: checksum}, ensure_ascii=False, sort_keys=True)}


def _checksum(texts: dict[str, str], tensors: dict[str, Tensor]) -> str:
    """SHA-256 over texts, and over names, types, shapes and bytes of tensors."""
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def card_of(model: AdaptedModel, class_names: tuple[str, ...], backbone: str | None = None) -> PromptCard:
    """The description of a trained model.

    Args:
        class_names: of the logits' columns, in order.
        backbone: fingerprint of the backbone as it was before the method changed it; by default as it is now.
    """
    vit = model.vit
    options = {name: value for name, value in model.options.items() if name != "init"}  # the learned prompts replace it
    return PromptCard(model.method, options, class_names, preprocessing(vit), backbone or fingerprint(vit), shape(vit))


def write_tensors(
    path: Path, form: str, card: PromptCard, tensors: dict[str, Tensor], more: dict[str, str] | None = None
) -> None:
    """Write tensors and a card to one safetensors file, whole or not at all.

    Args:
        form: name and number of the format.
        more: further texts, by name. With them the file gets a checksum, and the same contents give the same bytes.

    Raises:
        UserError: the path cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    texts = {"format": form, "card": json.dumps(asdict(card))}
    metadata = texts if more is None else sealed(texts | more, plain)
    with _written_whole(path) as part:
        mode = part.stat().st_mode
        save_file(plain, part, metadata=metadata)
        part.chmod(mode)  # safetensors lets only the owner read it


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
    card, tensors, _ = read_tensors(path, FORMAT, "save_prompts")
    return built_from(path, card, tensors, vit, may_change_backbone=False)


def built_from(
    path: Path,
    card: PromptCard,
    tensors: dict[str, Tensor],
    vit: ViT,
    may_change_backbone: bool,
    known_fingerprint: str | None = None,
) -> AdaptedModel:
    """A model in evaluation mode from a card and its trained tensors.

    The model shares the weights of `vit` that its method leaves as they are; those that it changes are its own. `vit`
    itself is never changed.

    Args:
        path: where card and tensors come from, for errors.
        may_change_backbone: whether the method may be one that does, such as full fine-tuning.
        known_fingerprint: of `vit`, where the caller has it: to compute it reads all weights.

    Raises:
        UserError: another backbone than the card's, or tensors that do not fit the card.
    """
    _check_backbone(path, card, vit, known_fingerprint or fingerprint(vit))
    _check_fits(path, card, tensors, vit, may_change_backbone)
    model = _built(card, vit, torch.device(vit.patch_embed.proj.weight.device))
    like = model.trained_state()
    # assigned, not copied: a copy would go into the memory that is shared with `vit`
    model.load_state_dict({name: tensor.to(like[name]) for name, tensor in tensors.items()}, strict=False, assign=True)
    _check_finite(f"{path} holds", model.trained_state())  # a type of fewer bits may have none of its size
    return model.eval()


def read_card(path: Path | str) -> PromptCard:
    """The description in the prompt file at `path`.

    Raises:
        UserError: no such file, or a file that is not whole or not of this kind.
    """
    return read_tensors(Path(path), FORMAT, "save_prompts")[0]


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


def _check_fits(path: Path, card: PromptCard, tensors: dict[str, Tensor], vit: ViT, may_change_backbone: bool) -> None:
    """Raise unless the card's method has exactly the file's tensors, and they change what they may change."""
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
    if may_change_backbone:
        return
    try:
        _check_ours(model, wanted)
    except UserError as error:
        raise UserError(f"{path} holds no prompts: {error}") from error


def _check_backbone(path: Path, card: PromptCard, vit: ViT, found: str) -> None:
    """Raise unless `vit`, whose fingerprint is `found`, is the backbone of the card."""
    here = shape(vit)
    for what, wanted in card.shape.items():
        if here.get(what) != wanted:
            raise UserError(
                f"{path} was learned on a backbone with {what} {wanted}, but this one has {here.get(what)}: load the "
                "backbone that it was learned on."
            )
    if found != card.backbone:
        raise UserError(
            f"{path} was learned on another backbone (fingerprint {card.backbone[:12]}, here {found[:12]}): "
            "prompts work only with the weights that they were learned with; load those."
        )
    prepared = preprocessing(vit, card.preprocessing.aspect)
    for what, wanted in asdict(card.preprocessing).items():
        if getattr(prepared, what) != wanted:
            raise UserError(
                f"{path} was learned on images prepared with {what} {wanted}, but this backbone prepares them with "
                f"{getattr(prepared, what)}: load the backbone under the name that it had then."
            )


def shape(vit: ViT) -> dict[str, int]:
    """Width, blocks, patch size and image size of a backbone, by these names."""
    size, patch = vit.patch_embed.img_size, vit.patch_embed.patch_size
    return {"width": vit.embed_dim, "blocks": len(vit.blocks), "patch size": patch[0], "image size": size[0]}


# ---- reading ----------------------------------------------------------------------------------------------------


def _check_name(path: Path) -> None:
    """Refuse a name that safetensors cannot open."""
    if printable(str(path)) != str(path):
        raise UserError(f"the path {printable(str(path))} is not UTF-8: take a file and a folder with another name.")


def read_tensors(
    path: Path, form: str, writer: str, apart: str | None = None
) -> tuple[PromptCard, dict[str, Tensor], dict[str, Any]]:
    """The card, the trained tensors and the rest of a file that `write_tensors` wrote, every value checked.

    Args:
        form: the format that it must have.
        writer: what writes such files, for errors.
        apart: how the names of tensors begin that are not trained ones. They are in the rest, of any type. A file
            that may have them must have a checksum.

    Returns:
        Card; trained tensors by name; the metadata, and the tensors that are apart, by name.

    Raises:
        UserError: no such file, or a file that is not whole, not of this kind or of a newer format.
    """
    _check_name(path)
    try:
        if not path.is_file():
            raise UserError(f"there is no file at {path}: check the path.")
        with safe_open(path, framework="pt") as file:
            metadata, checksum = _opened(file.metadata() or {})
            _check_form(path, metadata.get("format", ""), form, writer)
            card = _card(path, metadata.get("card", ""))
            names = [str(name) for name in file.keys()]  # noqa: SIM118 (no mapping)
            others = [name for name in names if apart and name.startswith(apart)]
            tensors = {name: _tensor(path, file, name) for name in names if name not in others}
            apart_ones = {name: file.get_tensor(name).clone() for name in others}
            if apart and checksum != _checksum(metadata, tensors | apart_ones):
                raise UserError(f"{path} is damaged: its contents do not fit its checksum: {_DAMAGED}.")
            rest = metadata | apart_ones
    except UserError:
        raise
    except Exception as error:  # safetensors, torch and the file system raise many kinds for a damaged file
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a whole safetensors file ({reason}): {_DAMAGED}.") from error
    _check_finite(f"{path} holds", tensors)
    return card, tensors, rest


def _opened(metadata: dict[str, str]) -> tuple[dict[str, str], str | None]:
    """The texts in the metadata of a file, and its checksum if it has one."""
    if _SEALED not in metadata:
        return metadata, None
    texts = json.loads(metadata[_SEALED])
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("its metadata are no texts")
    return texts, texts.pop(_CHECKSUM, None)


def _check_form(path: Path, found: str, wanted: str, writer: str) -> None:
    kind, _, number = wanted.rpartition(" ")
    of_kind, _, of_file = found.rpartition(" ")
    if of_kind != kind:
        raise UserError(f"{path} is a safetensors file, but not one that {writer} wrote (no {wanted!r} in it).")
    if of_file.isdecimal() and int(of_file) > int(number):
        raise UserError(f"{path} was written by a newer vptlib (format {of_file}, here {number}): install that one.")
    if of_file != number:
        raise UserError(f"{path} is of format {of_file!r}, which this vptlib cannot read: write it again.")


def _tensor(path: Path, file: Any, name: str) -> Tensor:
    kind = file.get_slice(name).get_dtype()
    if kind not in TENSOR_TYPES:
        raise UserError(
            f"{path} is damaged: its tensor {name!r} is of type {kind}, not of decimal numbers: {_DAMAGED}."
        )
    return file.get_tensor(name).clone()  # else it is the file itself, and changes with it


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
