"""Ways to adapt a pre-trained ViT to a task, by name: what each trains, and what it leaves to be stored.

linear       only a linear head on frozen features
vpt-shallow  prompts before the first layer, and the head (Jia et al., ECCV 2022, section 3.2)
vpt-deep     prompts before every layer, and the head (the same)
full         all parameters
"""

from collections.abc import Callable
from dataclasses import dataclass

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vptlib.errors import UserError
from vptlib.prompts import PromptedViT


class AdaptedModel(nn.Module):
    """A backbone made ready for one method: `model(images B 3 H W) -> logits B C`.

    Attributes:
        method: the method's name in `METHODS`.
        net: the timm ViT, or the `PromptedViT` around it.
        features_are_frozen: nothing before the head trains, so features can be computed once and kept.
    """

    def __init__(self, method: str, net: nn.Module, features_are_frozen: bool = False):
        super().__init__()
        self.method = method
        self.net = net
        self.features_are_frozen = features_are_frozen

    def forward(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to logits `B C`."""
        return self.net(images)

    @property
    def vit(self) -> VisionTransformer:
        """The timm ViT itself, without prompts."""
        return self.net.vit if isinstance(self.net, PromptedViT) else self.net

    @property
    def head(self) -> nn.Module:
        """The classifier: features `B F` to logits `B C`."""
        return self.vit.head

    def features(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to what the head reads, `B F`."""
        return self.vit.forward_head(self.net.forward_features(images), pre_logits=True)

    def train(self, mode: bool = True) -> "AdaptedModel":
        """Training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.features_are_frozen:
            self.net.eval()
        return self

    @property
    def trainable_parameters(self) -> int:
        """How many numbers training changes, the head's included."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def bytes_per_task(self) -> int:
        """What one more task adds to storage beside a backbone that all tasks share."""
        return sum(p.numel() * p.element_size() for p in self.parameters() if p.requires_grad)

    def trained_state(self) -> dict[str, Tensor]:
        """The trained tensors by name: what must be stored for this task."""
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

    def parameter_groups(self, weight_decay: float) -> list[dict]:
        """Groups for a torch optimiser: decay on weights (`O I`, `O I h w`), none on biases, norms, scales, tokens."""
        trained = [p for p in self.parameters() if p.requires_grad]
        plain = [p for p in trained if p.ndim in (2, 4)]
        free = [p for p in trained if p.ndim not in (2, 4)]
        groups = [{"params": plain, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
        return [group for group in groups if group["params"]]


def _linear(vit: VisionTransformer) -> AdaptedModel:
    vit.requires_grad_(False)
    vit.head.requires_grad_(True)
    return AdaptedModel("linear", vit, features_are_frozen=True)


def _vpt_shallow(vit: VisionTransformer, **options) -> AdaptedModel:
    return AdaptedModel("vpt-shallow", PromptedViT(vit, deep=False, **options))


def _vpt_deep(vit: VisionTransformer, **options) -> AdaptedModel:
    return AdaptedModel("vpt-deep", PromptedViT(vit, deep=True, **options))


def _full(vit: VisionTransformer) -> AdaptedModel:
    return AdaptedModel("full", vit.requires_grad_(True))


@dataclass(frozen=True)
class Method:
    """A row of the table of methods.

    Attributes:
        title: the name in figures and tables.
        build: backbone with head (and options) to model.
        learning_rates: AdamW learning rates in the order in which a tuning budget of k candidates takes them.
        uses_prompts: whether `num_prompts` and `dropout` are among its options.
    """

    title: str
    build: Callable[..., AdaptedModel]
    learning_rates: tuple[float, ...]
    uses_prompts: bool = False


METHODS = {
    "linear": Method("Linear probe", _linear, (1e-2, 1e-3, 1e-1)),
    "vpt-shallow": Method("VPT-shallow", _vpt_shallow, (5e-3, 1e-3, 2e-2), uses_prompts=True),
    "vpt-deep": Method("VPT-deep", _vpt_deep, (2e-3, 6e-3, 5e-4), uses_prompts=True),
    "full": Method("Full fine-tuning", _full, (3e-5, 1e-5, 1e-4)),
}


def find_method(name: str) -> Method:
    """The row of `METHODS` called `name`.

    Raises:
        UserError: if there is none.
    """
    if name not in METHODS:
        raise UserError(f"method {name!r} is not known: take one of {', '.join(METHODS)}.")
    return METHODS[name]


def build_method(name: str, vit: VisionTransformer, num_classes: int, **options) -> AdaptedModel:
    """A fresh head for `num_classes` classes on `vit`, and what the method adds and unfreezes.

    Args:
        name: a name in `METHODS`.
        vit: the backbone; it is changed in place, so give each model its own.
        num_classes: C of the logits `B C`.
        **options: the method's own, `num_prompts` and `dropout` for the prompted ones.

    Raises:
        UserError: unknown method or option.
    """
    method = find_method(name)
    unknown = set(options) - ({"num_prompts", "dropout", "fast"} if method.uses_prompts else set())
    if unknown:
        raise UserError(f"method {name!r} has no option {sorted(unknown)[0]!r}.")
    vit.reset_classifier(num_classes)
    return method.build(vit, **options)
