"""Ways to adapt a pre-trained ViT to a task, by name: what each trains, and what must be stored for a task.

A study compares linear, vpt-shallow, vpt-deep and full by default. The others are the baselines of Jia et al.
(ECCV 2022, arXiv 2203.12119, section 4.1), later ones that an expert asks for, and the mixtures of Han et al. (ICLR
2024, arXiv 2401.12902, section 4). `METHODS` gives the source of each.

To add a method, write a builder and a row in `METHODS`. Figures, reports and the command line read the table.
"""
# torch types all that a Module holds as Tensor or Module.
# pyright: reportArgumentType=false, reportCallIssue=false

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from timm.models import group_parameters
from torch import Tensor, nn

from vptlib.errors import UserError
from vptlib.prompting.blocks import ViT, block_at, embed, heads, is_vit, run
from vptlib.prompting.placement import AddedPrompts, FramedImages, PixelPrompts
from vptlib.prompting.vit import PromptedViT
from vptlib.tuning import modules

# Share of the prompts' learning rate for backbone weights that train together with prompts. With the rates of `METHODS`
# it gives about the rate of full fine-tuning.
BACKBONE_SHARE = 0.015


class AdaptedModel(nn.Module):
    """A backbone prepared for one method: `model(images B 3 H W) -> logits B C`.

    Attributes:
        method: the method's name in `METHODS`.
        options: the options it was built with.
        net: the timm ViT, or the `PromptedViT` or `FeatureReader` around it.
        features_are_frozen: nothing before the head trains, so features can be computed once and kept.
        frozen_blocks: how many blocks lie below everything that trains; 0 where keeping their output saves nothing.
        backbone_share: share of the learning rate for the backbone's own weights.
        phases: of training, in order, each with an equal share of the steps; in phase "full" there are no prompts, in
            phase "head" only the head trains.
        layer_decay: of the learning rate from each layer of the backbone to the layer below it; 1 for none.
    """

    def __init__(
        self,
        method: str,
        net: nn.Module,
        features_are_frozen: bool = False,
        frozen_blocks: int = 0,
        backbone_share: float = 1.0,
        phases: tuple[str, ...] = ("all",),
        layer_decay: float = 1.0,
    ):
        super().__init__()
        self.method = method
        self.options: dict = {}
        self.net = net
        self.features_are_frozen = features_are_frozen and len(heads(self.vit)) == 1
        self.frozen_blocks = frozen_blocks
        self.backbone_share = backbone_share
        self.phases = phases
        self.layer_decay = layer_decay
        self._phase = phases[-1]
        self._trained = {name for name, p in self.named_parameters() if p.requires_grad} | self._head_names

    def forward(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to logits `B C`."""
        return self.in_use(images)

    @property
    def in_use(self) -> nn.Module:
        """What computes the logits in the present phase."""
        return self.vit if self._phase == "full" else self.net

    @property
    def has_side_path(self) -> bool:
        """Whether a network next to the backbone adds to what the head reads."""
        return getattr(self.net, "has_side_path", False)

    @property
    def vit(self) -> ViT:
        """The timm ViT itself, without prompts."""
        return self.net if is_vit(self.net) else cast(ViT, self.net.vit)

    @property
    def head(self) -> nn.Linear | modules.MlpHead | modules.NeighbourHead:
        """The classifier: features `B F` to logits `B C`."""
        return cast(nn.Linear | modules.MlpHead | modules.NeighbourHead, self.vit.head)

    def features(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to what the head reads, `B F`."""
        if isinstance(self.net, modules.FeatureReader):
            return self.net.features(images)
        return self.vit.forward_head(self.in_use.forward_features(images), pre_logits=True)

    @property
    def stem_is_frozen(self) -> bool:
        """Whether `stem` does work that is needed only once per image."""
        return self.features_are_frozen or self.frozen_blocks > 0

    def stem(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` through everything below what trains: features `B F`, tokens `B N D`, or the images."""
        if self.features_are_frozen:
            return self.features(images)
        if not self.stem_is_frozen:
            return images
        tokens = embed(self.vit, images)  # B N D
        for number in range(self.frozen_blocks):
            tokens = block_at(self.vit, number, tokens.shape[1])(tokens)
        return tokens

    def rest(self, kept: Tensor) -> Tensor:
        """The output of `stem` to logits `B C`."""
        if self.features_are_frozen:
            return self.head(kept)
        if not self.stem_is_frozen:
            return self(kept)
        if isinstance(self.net, PromptedViT | modules.AttentiveProbe):
            return self.net.rest(kept)
        for number in range(self.frozen_blocks, len(self.vit.blocks)):
            kept = run(self, number, kept)
        return self.vit.forward_head(self.vit.norm(kept))

    def train(self, mode: bool = True) -> "AdaptedModel":
        """Training mode; parts of the backbone that have nothing to learn stay in evaluation mode."""
        super().train(mode)
        vit = self.vit
        embedding = nn.ModuleList([vit.patch_embed, vit.pos_drop, vit.patch_drop or nn.Identity()])
        rope = getattr(vit, "rope", None) or nn.Identity()
        for part in (embedding, rope, vit.norm_pre, *vit.blocks, vit.norm):
            part.train(mode and any(p.requires_grad for p in part.parameters()))
        if self.features_are_frozen:
            self.net.eval()
            self.head.train(mode)
        return self

    def begin_phase(self, phase: str) -> None:
        """Train from here on only what trains in `phase`, one of `phases`; *FT-then-PT* and *LP-FT* have two.

        Raises:
            UserError: there is no such phase.
        """
        if phase not in self.phases:
            raise UserError(f"method {self.method!r} has no phase {phase!r}: it has {', '.join(self.phases)}.")
        self._phase = phase
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in self._trained and self._trains_in(phase, name))
            if not parameter.requires_grad:
                parameter.grad = None
        self.train(self.training)

    def _trains_in(self, phase: str, name: str) -> bool:
        if phase in ("all", "head"):
            return phase == "all" or name in self._head_names
        return (name in self._prompt_names) == (phase == "prompts") or name in self._head_names

    @property
    def _prompt_names(self) -> set[str]:
        """Names of what prompting adds to the backbone."""
        backbone = {id(p) for p in self.vit.parameters()}
        return {name for name, p in self.named_parameters() if id(p) not in backbone}

    @property
    def _head_names(self) -> set[str]:
        of_heads = {id(p) for head in heads(self.vit) for p in head.parameters()}
        return {name for name, p in self.named_parameters() if id(p) in of_heads}

    @property
    def trainable_parameters(self) -> int:
        """How many numbers training changes, the head's included."""
        return sum(tensor.numel() for tensor in self.trained_state().values())

    @property
    def bytes_per_task(self) -> int:
        """Storage that one more task needs, if all tasks share a backbone."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.trained_state().values())

    def trained_state(self) -> dict[str, Tensor]:
        """The trained tensors by name: what must be stored for this task."""
        return {name: p.detach() for name, p in self.named_parameters() if name in self._trained}

    def parameter_groups(self, weight_decay: float) -> list[dict]:
        """Groups for a torch optimiser, each with its `share` of the learning rate.

        Weights (`O I`, `O I h w`) decay. Biases, norms, scales, tokens and prompts do not. With `layer_decay` d, block
        k of L has d^(L+1-k) of the learning rate, and the embedding d^(L+1) (Bao et al., ICLR 2022, arXiv 2106.08254).

        Raises:
            UserError: a method that is not trained by steps.
        """
        if isinstance(self.head, modules.NeighbourHead):
            raise UserError(f"method {self.method!r} has no steps: solve it with vptlib.tuning.solved.SOLVERS.")
        own, of_layer = self._prompt_names | self._head_names, self._layer_shares
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if name in self._trained:
                decay = weight_decay if parameter.ndim in (2, 4) else 0.0
                share = 1.0 if name in own else self.backbone_share * of_layer.get(id(parameter), 1.0)
                groups.setdefault((decay, share), []).append(parameter)
        return [{"params": p, "weight_decay": decay, "share": share} for (decay, share), p in groups.items()]

    @property
    def _layer_shares(self) -> dict[int, float]:
        """The id of each parameter of the backbone → its layer's share of the learning rate; empty without decay."""
        if self.layer_decay == 1:
            return {}
        found = group_parameters(self.vit, self.vit.group_matcher(coarse=False), reverse=True)
        layers = cast(dict[str, int], found)  # name → number, from the embedding on
        of_head = max(layers.values())
        return {id(p): self.layer_decay ** (of_head - layers[name]) for name, p in self.vit.named_parameters()}


# ---- builders: a backbone with its head, frozen or not, to a model ----------------------------------------------


def _freeze_all_but_head(vit: ViT) -> None:
    vit.requires_grad_(False)
    for head in heads(vit):
        head.requires_grad_(True)


def _unfreeze_biases(vit: ViT) -> None:
    for name, parameter in vit.named_parameters():
        if name.endswith("bias"):
            parameter.requires_grad_(True)


def _linear(vit: ViT) -> AdaptedModel:
    _freeze_all_but_head(vit)
    return AdaptedModel("linear", vit, features_are_frozen=True, frozen_blocks=len(vit.blocks))


def _mlp(vit: ViT, layers: int = 3) -> AdaptedModel:
    modules.put_mlp_head(vit, layers)
    _freeze_all_but_head(vit)
    return AdaptedModel("mlp-k", vit, features_are_frozen=True, frozen_blocks=len(vit.blocks))


def _partial(vit: ViT, blocks: int = 1) -> AdaptedModel:
    depth = len(vit.blocks)
    modules.check_whole("blocks", blocks, 1, depth, "the backbone's number of blocks")
    _freeze_all_but_head(vit)
    for part in (*vit.blocks[depth - blocks :], vit.norm, vit.fc_norm):
        part.requires_grad_(True)
    if vit.attn_pool is not None:
        vit.attn_pool.requires_grad_(True)
    return AdaptedModel("partial-k", vit, frozen_blocks=depth - blocks)


def _bias(vit: ViT) -> AdaptedModel:
    _freeze_all_but_head(vit)
    _unfreeze_biases(vit)
    return AdaptedModel("bias", vit)


def _adapter(vit: ViT, reduction: int = 8) -> AdaptedModel:
    _freeze_all_but_head(vit)
    modules.put_adapters(vit, reduction)
    return AdaptedModel("adapter", vit)


def _adaptformer(vit: ViT, bottleneck: int = 64) -> AdaptedModel:
    _freeze_all_but_head(vit)
    modules.put_parallel_adapters(vit, bottleneck)
    return AdaptedModel("adaptformer", vit)


def _lora(vit: ViT, rank: int = 8) -> AdaptedModel:
    modules.put_lora(vit, rank)
    return _with_lora("lora", vit)


def _lora_all(vit: ViT, rank: int = 8) -> AdaptedModel:
    modules.put_lora_everywhere(vit, rank)
    return _with_lora("lora-all", vit)


def _dora(vit: ViT, rank: int = 8) -> AdaptedModel:
    modules.put_lora_everywhere(vit, rank, dora=True)
    return _with_lora("dora", vit)


def _with_lora(method: str, vit: ViT) -> AdaptedModel:
    """Only what `peft` added and the head train; `peft` itself freezes all but the former."""
    for name, parameter in vit.named_parameters():
        parameter.requires_grad_("lora_" in name)
    for head in heads(vit):
        head.requires_grad_(True)
    return AdaptedModel(method, vit)


def _layernorm(vit: ViT) -> AdaptedModel:
    _freeze_all_but_head(vit)
    norms = [part for part in vit.modules() if isinstance(part, nn.LayerNorm)]
    if not norms:
        raise UserError("method 'layernorm' needs a backbone with nn.LayerNorm, and this one has none: take 'bias'.")
    for norm in norms:
        norm.requires_grad_(True)
    return AdaptedModel("layernorm", vit)


def _attentive(vit: ViT) -> AdaptedModel:
    net = modules.AttentiveProbe(vit)
    _freeze_all_but_head(vit)
    return AdaptedModel("attentive-probe", net, frozen_blocks=len(vit.blocks))


def _knn(vit: ViT, images: int = 0) -> AdaptedModel:
    modules.put_neighbours(vit, images)
    vit.requires_grad_(False)
    return AdaptedModel("knn", vit, features_are_frozen=True, frozen_blocks=len(vit.blocks))


def _ssf(vit: ViT) -> AdaptedModel:
    _freeze_all_but_head(vit)
    modules.put_scales_and_shifts(vit)
    return AdaptedModel("ssf", vit)


def _side(vit: ViT) -> AdaptedModel:
    _freeze_all_but_head(vit)
    return AdaptedModel("side-tuning", modules.SideTuned(vit))


_POSITIONS = {"prepend": PromptedViT, "add": AddedPrompts, "pixel": PixelPrompts, "pad": FramedImages}


def _prompted(vit: ViT, deep: bool, where: str = "prepend", **options) -> PromptedViT:
    if not isinstance(where, str) or where not in _POSITIONS:
        raise UserError(f"where is {where!r}, but must be one of {', '.join(_POSITIONS)}.")
    kind = _POSITIONS[where]
    offered = set(inspect.signature(kind).parameters) - {"vit"}
    unknown = sorted(set(options) - offered)
    if unknown or (deep and "deep" not in offered):
        what = f"option {unknown[0]!r}" if unknown else "form for every layer: take 'vpt-shallow'"
        raise UserError(f"prompts with where={where!r} have no {what}.")
    return kind(vit, **options, **({"deep": deep} if "deep" in offered else {}))


def _vpt_shallow(vit: ViT, **options) -> AdaptedModel:
    return AdaptedModel("vpt-shallow", _prompted(vit, deep=False, **options))


def _vpt_deep(vit: ViT, **options) -> AdaptedModel:
    net = _prompted(vit, deep=True, **options)
    return AdaptedModel("vpt-deep", net, frozen_blocks=net.layers[0])


def _vpt_late(vit: ViT, **options) -> AdaptedModel:
    last_third = f"last {math.ceil(len(vit.blocks) / 3)}"
    net = _prompted(vit, deep=True, **{"layers": last_third} | options)
    return AdaptedModel("vpt-late", net, frozen_blocks=net.layers[0])


def _vpt_deep_bias(vit: ViT, **options) -> AdaptedModel:
    net = _prompted(vit, deep=True, **options)
    _unfreeze_biases(vit)
    return AdaptedModel("vpt-deep+bias", net)


def _full(vit: ViT, layer_decay: float = 1.0, drop_path: float = 0.0) -> AdaptedModel:
    _prepare_full(vit, layer_decay, drop_path)
    return AdaptedModel("full", vit, layer_decay=layer_decay)


def _head_then_full(vit: ViT, layer_decay: float = 1.0, drop_path: float = 0.0) -> AdaptedModel:
    _prepare_full(vit, layer_decay, drop_path)
    return AdaptedModel("lp-ft", vit, phases=("head", "all"), layer_decay=layer_decay)


def _prepare_full(vit: ViT, layer_decay: float, drop_path: float) -> None:
    """All of it trains. Without `drop_path`, the drop-path that the backbone came with stays."""
    modules.check_number("layer_decay", layer_decay, 0, 1, without=0)
    if drop_path != 0:
        modules.put_drop_path(vit, drop_path)
    vit.requires_grad_(True)


def _full_prompts(vit: ViT, **options) -> AdaptedModel:
    net = _prompted(vit, deep=True, **options)
    vit.requires_grad_(True)
    return AdaptedModel("full+prompts", net, backbone_share=BACKBONE_SHARE)


def _full_then_prompts(vit: ViT, **options) -> AdaptedModel:
    net = _prompted(vit, deep=True, **options)
    vit.requires_grad_(True)
    return AdaptedModel("full-then-prompts", net, backbone_share=BACKBONE_SHARE, phases=("full", "prompts"))


# ---- the table --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """A row of the table of methods.

    Attributes:
        title: the name in figures and tables.
        build: backbone with head (and options) to model.
        learning_rates: for AdamW; a tuning budget of k candidates takes the first k. None for a method without steps.
        source: the paper and section that describe it.
        colour, marker: of the method in every figure, for matplotlib; no two methods share a marker. A marker is a
            letter, or (points, 1, angle in degrees) for a star and (corners, 0, angle) for a polygon.
        strong_options: options of `build_method` in the strong form, in which experts compare it.
        strong_rate: usual learning rate in that form; by default the first of `learning_rates`.
    """

    title: str
    build: Callable[..., AdaptedModel]
    learning_rates: tuple[float, ...]
    source: str
    colour: str
    marker: str | tuple[int, int, float]
    strong_options: Mapping[str, float] = field(default_factory=dict)
    strong_rate: float | None = None

    def __post_init__(self):
        if self.strong_rate is None and self.learning_rates:
            object.__setattr__(self, "strong_rate", self.learning_rates[0])

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options of `build_method`: those of the builder, and those of prompts if it passes them on."""
        _, *own = inspect.signature(self.build).parameters.values()
        return tuple(name for option in own for name in _names(option))

    @property
    def uses_prompts(self) -> bool:
        """Whether `num_prompts` is among its options."""
        return "num_prompts" in self.options


def _names(option: inspect.Parameter) -> tuple[str, ...]:
    if option.kind is not inspect.Parameter.VAR_KEYWORD:
        return (option.name,)
    return "where", *(name for name in inspect.signature(PromptedViT).parameters if name not in ("vit", "deep"))


# Layer-wise decay as Bao et al. (ICLR 2022, arXiv 2106.08254) and drop-path as Touvron et al. (ICML 2021, arXiv
# 2012.12877) tune ViTs. At the usual rate, fashion-mnist (100 labels, embedded backbone, seed 0) has 69.0 %; at 3e-5
# 66.2, at 3e-4 67.8, at 1e-3 65.8; without both, at 3e-5, 62.5.
STRONG_RATE = 1e-4
STRONG_FULL = {"layer_decay": 0.75, "drop_path": 0.1}

_JIA, _HAN = "Jia et al., ECCV 2022, arXiv 2203.12119", "Han et al., ICLR 2024, arXiv 2401.12902"

METHODS = {
    "linear": Method("Linear probe", _linear, (1e-2, 1e-3, 1e-1), f"{_JIA}, section 4.1", "#333333", "s"),
    "vpt-shallow": Method(
        "VPT-shallow", _vpt_shallow, (5e-3, 1e-3, 2e-2), f"{_JIA}, section 3.2, equations 4 to 6", "#009E73", "^"
    ),
    "vpt-deep": Method(
        "VPT-deep", _vpt_deep, (2e-3, 6e-3, 5e-4), f"{_JIA}, section 3.2, equations 7 and 8", "#0072B2", "o"
    ),
    "full": Method(
        "Full fine-tuning", _full, (3e-5, 1e-5, 1e-4), f"{_JIA}, section 4.1", "#D55E00", "D", STRONG_FULL, STRONG_RATE
    ),
    "partial-k": Method("Partial-k", _partial, (3e-4, 1e-4, 1e-3), f"{_JIA}, section 4.1", "#7A5200", "v"),
    "mlp-k": Method("Mlp-k", _mlp, (1e-3, 1e-4, 1e-2), f"{_JIA}, section 4.1", "#7A3E9D", "P"),
    "bias": Method(
        "Bias", _bias, (1e-3, 3e-4, 5e-3), "BitFit: Ben Zaken et al., ACL 2022, arXiv 2106.10199", "#A3195B", "X"
    ),
    "adapter": Method(
        "Adapter", _adapter, (1e-3, 3e-4, 5e-3), "Houlsby et al., ICML 2019, arXiv 1902.00751", "#2F6B5E", "<"
    ),
    "side-tuning": Method(
        "Side-tuning", _side, (1e-3, 1e-2, 1e-4), "Zhang et al., ECCV 2020, arXiv 1912.13503, section 3", "#5A6675", ">"
    ),
    "lora": Method(
        "LoRA", _lora, (1e-3, 3e-4, 5e-3), "Hu et al., ICLR 2022, arXiv 2106.09685, section 4", "#7A5200", "p"
    ),
    "ssf": Method(
        "SSF", _ssf, (1e-3, 3e-4, 5e-3), "Lian et al., NeurIPS 2022, arXiv 2210.08823, section 3", "#7A3E9D", "h"
    ),
    "vpt-deep+bias": Method(
        "VPT-deep + bias",
        _vpt_deep_bias,
        (2e-3, 6e-3, 5e-4),
        f"{_JIA}, appendix (VPT with bias tuning)",
        "#A3195B",
        "*",
    ),
    "full+prompts": Method("Mixed", _full_prompts, (2e-3, 6e-3, 5e-4), f"{_HAN}, section 4 (mixed)", "#2F6B5E", "d"),
    "full-then-prompts": Method(
        "FT-then-PT", _full_then_prompts, (2e-3, 6e-3, 5e-4), f"{_HAN}, section 4 (FT-then-PT)", "#5A6675", "8"
    ),
    "lp-ft": Method(
        "LP-FT",
        _head_then_full,
        (3e-5, 1e-5, 1e-4),
        "Kumar et al., ICLR 2022, arXiv 2202.10054",
        "#B0413E",
        (4, 1, 0),
        STRONG_FULL,
        STRONG_RATE,
    ),
    "attentive-probe": Method(
        "Attentive probe",
        _attentive,
        (1e-3, 3e-4, 5e-3),
        "Bardes et al., TMLR 2024, arXiv 2404.08471 (V-JEPA)",
        "#4B5320",
        (3, 1, 0),
    ),
    "knn": Method(
        "k nearest neighbours", _knn, (), "Wu et al., CVPR 2018, arXiv 1805.01978, section 3.4", "#333333", (6, 1, 0)
    ),
    "lora-all": Method(
        "LoRA, all layers", _lora_all, (1e-3, 3e-4, 5e-3), "Hu et al., ICLR 2022, arXiv 2106.09685", "#7A5200", "H"
    ),
    "dora": Method("DoRA", _dora, (1e-3, 3e-4, 5e-3), "Liu et al., ICML 2024, arXiv 2402.09353", "#A3195B", (4, 1, 45)),
    "adaptformer": Method(
        "AdaptFormer",
        _adaptformer,
        (1e-3, 3e-4, 5e-3),
        "Chen et al., NeurIPS 2022, arXiv 2205.13535, section 3.2",
        "#2F6B5E",
        (3, 1, 180),
    ),
    "layernorm": Method(
        "LayerNorm tuning",
        _layernorm,
        (1e-3, 3e-4, 5e-3),
        "Basu et al., AAAI 2024, arXiv 2304.01917 (LN-Tune)",
        "#7A3E9D",
        (5, 0, 180),
    ),
    "vpt-late": Method(  # VPT-deep in the last third of the blocks; the blocks below are computed once per image
        "VPT-late", _vpt_late, (2e-3, 6e-3, 5e-4), f"{_JIA}, section 4.3 (prompt depth)", "#7A3E9D", (8, 1, 0)
    ),
}
# What a study compares by default.
STANDARD = ("linear", "vpt-shallow", "vpt-deep", "full")


def find_method(name: str) -> Method:
    """The row of `METHODS` called `name`.

    Raises:
        UserError: if there is none.
    """
    if name not in METHODS:
        raise UserError(f"method {name!r} is not known: take one of {', '.join(METHODS)}.")
    return METHODS[name]


def build_method(name: str, vit: ViT, num_classes: int, **options) -> AdaptedModel:
    """A fresh head for `num_classes` classes on `vit`, and what the method adds and unfreezes.

    Args:
        name: a name in `METHODS`.
        vit: the backbone; it is changed in place, so give each model its own.
        num_classes: C of the logits `B C`.
        **options: the method's own, `METHODS[name].options`: for the prompted ones those of `PromptedViT` and `where`
            ("prepend", or a position of `vptlib.prompting.placement`); `blocks` of partial-k, `layers` of mlp-k,
            `reduction` of adapter, `bottleneck` of adaptformer, `rank` of lora, lora-all and dora, `layer_decay` and
            `drop_path` of full and lp-ft, `images` of knn (how many it keeps; its solver sets it).

    Raises:
        UserError: unknown method or option, a value out of range, or a backbone that is no timm ViT or already adapted.
    """
    method = find_method(name)
    unknown = sorted(set(options) - set(method.options))
    if unknown:
        has = f"it has {', '.join(method.options)}" if method.options else "it has none"
        raise UserError(f"method {name!r} has no option {unknown[0]!r}: {has}.")
    if not is_vit(vit):
        raise UserError(f"build_method needs a timm VisionTransformer or Eva, but got a {type(vit).__name__}.")
    modules.check_untouched(vit)
    modules.check_whole("num_classes", num_classes, 1)
    vit.reset_classifier(num_classes)
    model = method.build(vit, **options)
    model.options = options
    return model
