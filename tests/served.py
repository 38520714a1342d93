"""Tasks of every method for a bank of prompts, without training and without files."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from models import small_vit
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vptlib.operations import bank as bank_module
from vptlib.operations.artefact import load_model, read_artefact
from vptlib.operations.bank import PromptBank
from vptlib.operations.features import Reference
from vptlib.tuning.methods import build_method
from vptlib.tuning.modules import NeighbourHead

IN_ONE_PASS = {  # name → method, its options
    "linear": ("linear", {}),
    "mlp": ("mlp-k", {"layers": 2}),
    "knn": ("knn", {"images": 7}),
    "deep": ("vpt-deep", {"num_prompts": 3}),
    "deep, twin": ("vpt-deep", {"num_prompts": 3}),
    "deep, long": ("vpt-deep", {"num_prompts": 7}),
    "none": ("vpt-deep", {"num_prompts": 0}),
    "first": ("vpt-deep", {"num_prompts": 3, "layers": "first 2"}),
    "last": ("vpt-deep", {"num_prompts": 5, "layers": "last 1"}),
    "every second": ("vpt-deep", {"num_prompts": 3, "layers": "every 2"}),
    "shared": ("vpt-deep", {"num_prompts": 2, "shared": True}),
    "projected": ("vpt-deep", {"num_prompts": 3, "projection": 4}),
    "late": ("vpt-late", {"num_prompts": 3}),
}
APART = {
    "shallow": ("vpt-shallow", {"num_prompts": 3}),
    "gated": ("vpt-shallow", {"num_prompts": 3, "gated": True}),
    "carried": ("vpt-deep", {"num_prompts": 3, "layers": [0, 2], "carry": True}),
    "textbook": ("vpt-deep", {"num_prompts": 3, "fast": False}),
    "pixels": ("vpt-shallow", {"num_prompts": 2, "where": "pixel"}),
    "added": ("vpt-deep", {"num_prompts": 1, "where": "add"}),
    "frame": ("vpt-shallow", {"num_prompts": 2, "where": "pad"}),
    "bias": ("bias", {}),
    "deep and bias": ("vpt-deep+bias", {"num_prompts": 3}),
    "lora": ("lora", {"rank": 2}),
    "adapter": ("adapter", {}),
    "ssf": ("ssf", {}),
    "side": ("side-tuning", {}),
    "attentive": ("attentive-probe", {}),
    "partial": ("partial-k", {}),
    "full": ("full", {}),
}
METHODS = IN_ONE_PASS | APART


@dataclass
class Learned:
    """Stands for an artefact: what `seed` would have learned by a method."""

    method: str = "vpt-deep"
    options: Mapping = field(default_factory=lambda: {"num_prompts": 3})
    classes: int = 3
    seed: int = 0
    reference: Reference | None = None

    @property
    def card(self):
        return SimpleNamespace(method=self.method, class_names=tuple(map(str, range(self.classes))))

    @property
    def digest(self):
        return f"{self.seed:064x}"

    def on(self, vit):
        """The model, which shares with `vit` all memory that it does not change."""
        memory = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in vit.parameters()}
        memory |= {id(b): b.detach() for b in vit.buffers()}
        torch.manual_seed(self.seed)
        dtype = vit.patch_embed.proj.weight.dtype
        model = build_method(self.method, copy.deepcopy(vit, memory), self.classes, **self.options).to(dtype)
        for name, parameter in model.named_parameters():
            if name in model.trained_state():
                noise = torch.randn(parameter.shape, dtype=torch.float64).to(parameter)
                parameter.data = parameter.data + noise * (1.0 if "prompts" in name else 0.1)
        if isinstance(model.head, NeighbourHead):
            count = self.options["images"]
            features = torch.randn(count, model.head.in_features, dtype=torch.float64)
            model.head.remember(features, torch.arange(count) % self.classes, 3)
        return model.eval()


def learned(name="deep", seed=0, classes=3):
    """What a row of `METHODS` would have learned."""
    method, options = METHODS[name]
    return Learned(method, options, classes, seed)


@torch.no_grad()
def sharp_vit(kind=VisionTransformer, **options):
    """A float64 `small_vit` of 4 blocks with weights so large that attention is far from uniform."""
    vit = small_vit(kind, **{"depth": 4} | options).double()
    for parameter in vit.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    return vit


def make_bank(vit=None, names=("deep",), **options):
    """A bank with tasks of these names, each with as many classes as its name has letters."""
    bank = PromptBank(sharp_vit() if vit is None else vit, **options)
    for seed, name in enumerate(names):
        bank.load(name, learned(name, seed, classes=len(name)))
    return bank


def take_without_files(monkeypatch):
    """Let banks take `Learned` tasks as they are, next to artefacts and files."""

    def read(source):
        return source if isinstance(source, Learned) else read_artefact(source)

    def load(source, vit, fingerprint):
        return source.on(vit) if isinstance(source, Learned) else load_model(source, vit, fingerprint)

    monkeypatch.setattr(bank_module, "read_artefact", read)
    monkeypatch.setattr(bank_module, "load_model", load)


@pytest.fixture
def without_files(monkeypatch):
    """As `take_without_files`, for one test."""
    take_without_files(monkeypatch)
