"""Modules that other methods than prompting put into a frozen backbone.

    adapter      a bottleneck after each MLP (Houlsby et al. 2019, arXiv 1902.00751; placed as Pfeiffer et al. 2020)
    adaptformer  a bottleneck next to each MLP (Chen et al. 2022, arXiv 2205.13535)
    ssf          a scale and a shift of every feature after each operation (Lian et al. 2022, arXiv 2210.08823)
    side-tuning  a small network next to the backbone, blended with it (Zhang et al. 2020, arXiv 1912.13503)
    mlp-k        an MLP in place of the linear head (Jia et al. 2022, arXiv 2203.12119, section 4.1)
    attentive-probe  learned queries that read the last tokens (Bardes et al. 2024, arXiv 2404.08471)
    knn          a vote of the nearest labelled images in place of the head (Wu et al. 2018, arXiv 1805.01978)

Adapters of both kinds, SSF, and LoRA and DoRA (by the library `peft`) change a timm `VisionTransformer` or `Eva` in
place, and they start as no change. Drop-path (`put_drop_path`) belongs to the training of the backbone itself.
"""
# torch types all that a Module holds as Tensor or Module.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from numbers import Integral, Real

import torch
from timm.layers.drop import DropPath, calculate_drop_path_rates
from timm.models.eva import EvaAttention
from torch import Tensor, nn
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.prompting.blocks import ViT, heads

SIDE_WIDTHS = (32, 64, 128)  # channels of the side network's three convolutions
ADAPTFORMER_SCALE = 0.1  # of the bottleneck next to the MLP (Chen et al., section 3.2)
QUERY_WIDTH = 64  # features that one query of the attentive probe reads, as one head of most ViTs
TEMPERATURE = 0.07  # of the neighbours' votes (Wu et al., section 3.1)
# Added to a class's share of the votes, so that its logit is finite where no neighbour has the class.
LEAST_SHARE = 1e-6


class Adapter(nn.Module):
    """An MLP, then a bottleneck: y + up(GELU(down(y))) with y = mlp(x); `up` starts at zero."""

    def __init__(self, mlp: nn.Module, width: int, bottleneck: int, like: Tensor):
        super().__init__()
        self.mlp = mlp
        self.down = nn.Linear(width, bottleneck).to(like)
        self.up = nn.Linear(bottleneck, width).to(like)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `B N D` to `B N D`."""
        out = self.mlp(tokens)
        return out + self.up(F.gelu(self.down(out)))


class ParallelAdapter(nn.Module):
    """An MLP and a bottleneck side by side: mlp(x) + 0.1 · up(ReLU(down(x))); `up` starts at zero.

    Chen et al. (NeurIPS 2022, arXiv 2205.13535), section 3.2, equations 3 and 4; x is normalised.
    """

    def __init__(self, mlp: nn.Module, width: int, bottleneck: int, like: Tensor):
        super().__init__()
        self.mlp = mlp
        self.down = nn.Linear(width, bottleneck).to(like)
        self.up = nn.Linear(bottleneck, width).to(like)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `B N D` to `B N D`."""
        return self.mlp(tokens) + ADAPTFORMER_SCALE * self.up(F.relu(self.down(tokens)))


class ScaleShift(nn.Module):
    """A learned scale (from 1) and shift (from 0) of each of F features, after another module."""

    def __init__(self, module: nn.Module, features: int, like: Tensor):
        super().__init__()
        self.module = module
        self.scale = nn.Parameter(like.new_ones(features))
        self.shift = nn.Parameter(like.new_zeros(features))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of the module to its output `... F`, scaled and shifted."""
        return self.module(inputs) * self.scale + self.shift


class FeatureReader(nn.Module):
    """A frozen ViT of which something else than its own pooling makes the features `B F` that the head reads."""

    has_side_path = False  # of an `AdaptedModel` around it

    def __init__(self, vit: ViT):
        super().__init__()
        self.vit = vit

    def features(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to what the head reads, `B F`."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to logits `B C`: the mean, if there are two heads."""
        return self.classify(self.features(images))

    def classify(self, features: Tensor) -> Tensor:
        """Features `B F` to logits `B C`."""
        return torch.stack([head(features) for head in heads(self.vit)]).mean(dim=0)


class SideTuned(FeatureReader):
    """A frozen ViT and a small trained network whose features are blended: a · ViT + (1 - a) · side, a learned.

    a is the sigmoid of a number that starts at 0, as in the comparison of Jia et al. Their side network is an AlexNet.
    This one has three strided convolutions, the mean over the image, and a linear map.
    """

    has_side_path = True

    def __init__(self, vit: ViT):
        super().__init__(vit)
        layers, channels, like = [], 3, _like(vit)
        for width in SIDE_WIDTHS:
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
            channels = width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, vit.head.in_features)]
        self.side = nn.Sequential(*layers).to(like)
        self.blend = nn.Parameter(like.new_zeros(()))

    def features(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to what the head reads, `B F`."""
        share = self.blend.sigmoid()
        frozen = self.vit.forward_head(self.vit.forward_features(images), pre_logits=True)
        return share * frozen + (1 - share) * self.side(images)


class AttentiveProbe(FeatureReader):
    """A frozen ViT whose last tokens are read by learned queries, one for each head; then comes a linear classifier.

    A query q of D numbers attends to all N normalised tokens x: weights softmax(x · q / sqrt(D)). It reads D / heads
    features of their values V x. A projection of the keys would add numbers but no function, because it can be part of
    q. V starts as the identity and q at zero, so the first features are the mean of all tokens. The MLP after the
    attention (Bardes et al., arXiv 2404.08471) is left out, as in Yu et al. (TMLR 2022, arXiv 2205.01917).
    """

    def __init__(self, vit: ViT):
        super().__init__(vit)
        width, like = vit.embed_dim, _like(vit)
        count = max(number for number in range(1, max(1, width // QUERY_WIDTH) + 1) if width % number == 0)
        for name in ("head", "head_dist")[: len(heads(vit))]:  # some backbones' heads read more than D numbers
            setattr(vit, name, nn.Linear(width, getattr(vit, name).out_features).to(like))
        self.norm = nn.LayerNorm(width).to(like)
        self.queries = nn.Parameter(like.new_zeros(1, count, width))
        self.values = nn.Linear(width, width).to(like)
        nn.init.eye_(self.values.weight)
        nn.init.zeros_(self.values.bias)

    def features(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to what the head reads, `B D`."""
        return self._read(self.vit.forward_features(images))

    def rest(self, tokens: Tensor) -> Tensor:
        """Tokens `B N D` after the last block to logits `B C`."""
        return self.classify(self._read(self.vit.norm(tokens)))

    def _read(self, tokens: Tensor) -> Tensor:
        tokens = self.norm(tokens)  # B N D
        _, count, width = self.queries.shape
        weights = (tokens @ self.queries.mT / width**0.5).softmax(dim=1)  # B N q
        values = self.values(tokens).unflatten(-1, (count, width // count))  # B N q D/q
        return torch.einsum("bnq,bnqd->bqd", weights, values).flatten(1)  # B D


class MlpHead(nn.Sequential):
    """A classifier of k linear layers with ReLU between them, all hidden ones as wide as the features."""

    def __init__(self, in_features: int, out_features: int, layers: int):
        parts = []
        for _ in range(layers - 1):
            parts += [nn.Linear(in_features, in_features), nn.ReLU()]
        super().__init__(*parts, nn.Linear(in_features, out_features))
        self.in_features, self.out_features = in_features, out_features


class NeighbourHead(nn.Module):
    """A classifier without training: the k labelled images of the most similar features vote.

    Each vote weighs exp(cosine / 0.07). A logit is the log of a class's share of the votes (Wu et al., CVPR 2018,
    arXiv 1805.01978, section 3.4).

    Attributes:
        keys: features of the labelled images, scaled to length 1, `N F`.
        votes: 1 for the class of each, else 0, `N C`.
        neighbours: k, one number.
    """

    def __init__(self, in_features: int, out_features: int, images: int, like: Tensor):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.keys = _constant(like.new_zeros(images, in_features))
        self.votes = _constant(like.new_zeros(images, out_features))
        self.neighbours = _constant(like.new_ones(()))

    def remember(self, features: Tensor, labels: Tensor, neighbours: int) -> None:
        """Take the features `N F` and labels `N` of the labelled images; `neighbours` of them vote."""
        like = self.neighbours
        self.keys = _constant(F.normalize(features.to(like), dim=-1))
        self.votes = _constant(F.one_hot(labels.to(like.device), self.out_features).to(like))
        self.neighbours.fill_(neighbours)

    def forward(self, features: Tensor) -> Tensor:
        """Features `B F` to logits `B C`.

        Raises:
            UserError: there are no labelled images yet.
        """
        if not self.votes.any():
            raise UserError("method 'knn' has no labelled images yet: solve it with vptlib.tuning.solved.SOLVERS.")
        similar = F.normalize(features, dim=-1) @ self.keys.T  # B N
        nearest = similar.topk(min(int(self.neighbours), len(self.keys)))  # B k
        weights = (nearest.values / TEMPERATURE).softmax(dim=-1)  # B k
        shares = torch.einsum("bk,bkc->bc", weights, self.votes[nearest.indices])  # B C
        return (shares + LEAST_SHARE).log()

    def _load_from_state_dict(self, state: dict, prefix: str, *others) -> None:
        """As torch does, for any number of labelled images."""
        for name in ("keys", "votes"):
            stored, own = state.get(prefix + name), getattr(self, name)
            if stored is not None and stored.shape[1:] == own.shape[1:]:
                setattr(self, name, _constant(own.new_zeros(stored.shape)))
        super()._load_from_state_dict(state, prefix, *others)


def _constant(tensor: Tensor) -> nn.Parameter:
    """A parameter that no gradient changes: it is stored with the task, as what is trained."""
    return nn.Parameter(tensor, requires_grad=False)


def put_adapters(vit: ViT, reduction: int) -> None:
    """Put an adapter after each MLP, with a bottleneck of D / `reduction`.

    Raises:
        UserError: blocks without one attention and one MLP, or an impossible reduction.
    """
    check_whole("reduction", reduction, 1, vit.embed_dim, "the backbone's width")
    _check_blocks(vit, "adapter")
    for block in vit.blocks:
        block.mlp = Adapter(block.mlp, vit.embed_dim, vit.embed_dim // reduction, _like(vit))


def put_parallel_adapters(vit: ViT, bottleneck: int) -> None:
    """Put a bottleneck of so many features next to each MLP.

    Raises:
        UserError: blocks without one attention and one MLP, or an impossible bottleneck.
    """
    check_whole("bottleneck", bottleneck, 1)
    _check_blocks(vit, "adaptformer")
    for block in vit.blocks:
        block.mlp = ParallelAdapter(block.mlp, vit.embed_dim, bottleneck, _like(vit))


def put_scales_and_shifts(vit: ViT) -> None:
    """Put SSF after the patch embedding, all norms, and all linear maps of the blocks.

    Raises:
        UserError: blocks without one attention and one MLP, or patches embedded by another network.
    """
    _check_blocks(vit, "ssf")
    if not hasattr(vit.patch_embed, "norm"):
        raise UserError(
            f"method 'ssf' needs patches embedded by one convolution, not {type(vit.patch_embed).__name__}."
        )
    like = _like(vit)
    _scale(vit.patch_embed, "norm", vit.embed_dim, like)  # an identity in most ViTs: SSF then follows the embedding
    for name in ("norm_pre", "norm", "fc_norm"):
        if not isinstance(getattr(vit, name), nn.Identity):
            _scale(vit, name, vit.embed_dim, like)
    _call_projections(vit)
    for block in vit.blocks:
        _scale(block, "norm1", vit.embed_dim, like)
        _scale(block, "norm2", vit.embed_dim, like)
        for part in (block.attn, block.mlp):
            linears = {name: child for name, child in part.named_children() if isinstance(child, nn.Linear)}
            for name, linear in linears.items():
                _scale(part, name, linear.out_features, like)


def put_lora(vit: ViT, rank: int) -> None:
    """Put LoRA (Hu et al. 2022, arXiv 2106.09685) on queries, keys and values of each block, by the library `peft`.

    Their projection is a joint one (`qkv`) or, in some `Eva`, three.

    Raises:
        UserError: `peft` is not installed, an impossible rank, or blocks without such projections.
    """
    linears = {name.rpartition(".")[2] for name, part in vit.blocks.named_modules() if isinstance(part, nn.Linear)}
    found = next((names for names in (["qkv"], ["q_proj", "k_proj", "v_proj"]) if linears.issuperset(names)), None)
    if found is None:
        raise UserError(f"method 'lora' needs blocks with a joint qkv projection, not {type(vit.blocks[0]).__name__}.")
    _inject(vit, "lora", rank, found)


def put_lora_everywhere(vit: ViT, rank: int, dora: bool = False) -> None:
    """Put LoRA, or DoRA (Liu et al. 2024, arXiv 2402.09353), on all linear maps of the blocks, by the library `peft`.

    Raises:
        UserError: `peft` is not installed, an impossible rank, or blocks without linear maps.
    """
    method = "dora" if dora else "lora-all"
    names = [f"blocks.{name}" for name, part in vit.blocks.named_modules() if isinstance(part, nn.Linear)]
    if not names:
        raise UserError(f"method {method!r} needs blocks with linear maps, not {type(vit.blocks[0]).__name__}.")
    _inject(vit, method, rank, names, use_dora=dora)


def _inject(vit: ViT, method: str, rank: int, names: list[str], **options) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError(f"method {method!r} needs the library peft: run `pip install -e '.[lora]'`.") from error
    check_whole("rank", rank, 1)
    _call_projections(vit)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=names, **options), vit)


def put_mlp_head(vit: ViT, layers: int) -> None:
    """Put an MLP of `layers` linear layers in place of the linear head, or of both heads of a distilled DeiT.

    Raises:
        UserError: an impossible number of layers.
    """
    check_whole("layers", layers, 1)
    for name in ("head", "head_dist")[: len(heads(vit))]:
        linear = getattr(vit, name)
        setattr(vit, name, MlpHead(linear.in_features, linear.out_features, layers).to(linear.weight))


def put_neighbours(vit: ViT, images: int) -> None:
    """Put a vote of the nearest of so many labelled images in place of the linear head.

    Raises:
        UserError: an impossible number of images, or a distilled DeiT, which has two heads.
    """
    check_whole("images", images, 0)
    if len(heads(vit)) > 1:
        raise UserError("method 'knn' needs a backbone with one head: a distilled DeiT has two; take 'linear'.")
    vit.head = NeighbourHead(vit.head.in_features, vit.head.out_features, images, _like(vit))


def put_drop_path(vit: ViT, rate: float) -> None:
    """Leave out branches of blocks at random in training: the first block's never, the last block's with `rate`.

    Stochastic depth (Huang et al., ECCV 2016, arXiv 1603.09382, section 3), as timm's `drop_path_rate`.

    Raises:
        UserError: an impossible rate, or blocks without a position for it.
    """
    check_number("drop_path", rate, 0, 1, without=1)
    for block, own in zip(vit.blocks, calculate_drop_path_rates(rate, len(vit.blocks)), strict=True):
        found = [
            (parent, name)
            for parent in block.modules()
            for name, _ in parent.named_children()
            if name.startswith("drop_path")
        ]
        if not found:
            raise UserError(f"drop_path needs blocks of timm that can be left out, not {type(block).__name__}.")
        for parent, name in found:
            setattr(parent, name, DropPath(own) if own else nn.Identity())


# ---- checks -----------------------------------------------------------------------------------------------------


def check_whole(name: str, value: int, low: int, high: int | None = None, limit: str = "") -> None:
    """Refuse a `value` of parameter `name` that is not a whole number from `low` on (up to `high`, named `limit`)."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        wanted = f"from {low} to {high}, {limit}" if high is not None else f"of {low} or more"
        raise UserError(f"{name} is {value!r}, but must be a whole number {wanted}.")


def check_number(name: str, value: float, low: float, high: float, without: float) -> None:
    """Refuse a `value` of parameter `name` that is not a number from `low` to `high`, or that is `without`."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not low <= value <= high or value == without:
        raise UserError(f"{name} is {value!r}, but must be a number from {low} to {high}, without {without} itself.")


def check_untouched(vit: ViT) -> None:
    """Refuse a backbone that already has the modules of a method: two methods would be measured as one."""
    added = (Adapter, ParallelAdapter, ScaleShift)
    if any(isinstance(module, added) or hasattr(module, "lora_A") for module in vit.modules()):
        raise UserError("this backbone holds adapters, scales or LoRA already: give each model a fresh one, or a copy.")


def _check_blocks(vit: ViT, method: str) -> None:
    for block in vit.blocks:
        if not all(isinstance(getattr(block, name, None), nn.Module) for name in ("norm1", "norm2", "attn", "mlp")):
            raise UserError(
                f"method {method!r} needs blocks with one attention and one MLP, not {type(block).__name__}."
            )


def _call_projections(vit: ViT) -> None:
    """Let every `EvaAttention` call its joint projection. If it only reads the weight, a wrapper has no effect."""
    for module in vit.modules():
        if isinstance(module, EvaAttention):
            module.qkv_bias_separate = True


def _scale(parent: nn.Module, name: str, features: int, like: Tensor) -> None:
    setattr(parent, name, ScaleShift(getattr(parent, name), features, like))


def _like(vit: ViT) -> Tensor:
    """A tensor whose device and type new tensors take."""
    return vit.patch_embed.proj.weight
