"""What was learned for one task, saved to one safetensors file; and a model made from that file.

The file holds the trained tensors (prompts and head). Its metadata holds what is needed to use them: the method and its
options, the classes, how images are prepared, and the fingerprint of the backbone. The file never holds the backbone.
No pickle is read.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vptlib.data.preparing import Preprocessing
from vptlib.errors import UserError
from vptlib.prompting.blocks import ViT
from vptlib.tuning.backbones import fingerprint, preprocessing, set_aspect
from vptlib.tuning.methods import AdaptedModel, build_method

FORMAT = "vptlib prompts 1"


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


def save_prompts(model: AdaptedModel, path: Path | str, class_names: tuple[str, ...] | None = None) -> None:
    """Write the trained tensors of `model` to `path`, whole or not at all.

    Args:
        model: from `build_method`, of a method that leaves the backbone as it is.
        path: a `.safetensors` file; an existing one is replaced.
        class_names: of the logits' columns, in order; by default "0", "1", ...

    Raises:
        UserError: a method that changes the backbone, names that do not fit, or a path that cannot be written.
    """
    path = Path(path)
    trained = model.trained_state()
    changed = [name for name in trained if not _is_ours(model, name)]
    if changed:
        raise UserError(f"method {model.method!r} changes the backbone itself ({changed[0]}): save the whole model.")
    count = model.head.out_features
    names = tuple(class_names or map(str, range(count)))
    if len(names) != count:
        raise UserError(f"class_names has {len(names)} names, but the head has {count} classes.")
    vit = model.vit
    options = {name: value for name, value in model.options.items() if name != "init"}  # the learned prompts replace it
    card = PromptCard(model.method, options, names, preprocessing(vit), fingerprint(vit), _shape(vit))
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in trained.items()}
        save_file(tensors, part, metadata={"format": FORMAT, "card": json.dumps(asdict(card))})
        part.replace(path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise UserError(f"prompts cannot be written to {path} ({error}): take a folder that can be written.") from error


def load_prompts(path: Path | str, vit: ViT) -> AdaptedModel:
    """A model in evaluation mode from the prompt file at `path` and its backbone, which is changed in place.

    Raises:
        UserError: no such file, a file that is not whole or not of this kind, or another backbone than the file's.
    """
    path = Path(path)
    card, tensors = _read(path)
    _check_backbone(path, card, vit)
    set_aspect(vit, card.preprocessing.aspect)
    model = build_method(card.method, vit, len(card.class_names), **card.options)
    wanted = {name: tensor.shape for name, tensor in model.trained_state().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if wanted != found:
        name = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise UserError(f"{path} is damaged: its tensor {name!r} does not fit its method {card.method!r}.")
    model.load_state_dict(tensors, strict=False)
    return model.eval()


def read_card(path: Path | str) -> PromptCard:
    """The description in the prompt file at `path`.

    Raises:
        UserError: no such file, or a file that is not whole or not of this kind.
    """
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[PromptCard, dict[str, Tensor]]:
    if not path.is_file():
        raise UserError(f"there is no prompt file at {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): save or fetch it again.") from error
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path} is a safetensors file, but not one that save_prompts wrote (no {FORMAT!r} in it).")
    try:
        card = json.loads(metadata["card"])
        prepared = card.pop("preprocessing")
        prepared |= {"mean": tuple(prepared["mean"]), "std": tuple(prepared["std"])}
        names = tuple(card.pop("class_names"))
        card = PromptCard(class_names=names, preprocessing=Preprocessing(**prepared), **card)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged: its card cannot be read ({error}): save or fetch it again.") from error
    bad = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
    if bad:
        raise UserError(f"{path} holds numbers that are not finite in {bad!r}: train again and save it.")
    return card, tensors


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


def _shape(vit: ViT) -> dict[str, int]:
    size, patch = vit.patch_embed.img_size, vit.patch_embed.patch_size
    return {"width": vit.embed_dim, "blocks": len(vit.blocks), "patch size": patch[0], "image size": size[0]}


def _is_ours(model: AdaptedModel, name: str) -> bool:
    """Whether a trained tensor was added to the backbone (prompts and their parts), or belongs to the head."""
    backbone = {id(p) for n, p in model.vit.named_parameters() if not n.startswith(("head.", "head_dist."))}
    return id(dict(model.named_parameters())[name]) not in backbone
