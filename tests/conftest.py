"""Tests run on one thread each, with a store of their own; the backbone cache is the user's."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

torch.set_num_threads(1)


@pytest.fixture
def tiny_vit():
    """Factory of a small, random ViT of the real class: 28 px, patches of 14, width 32, 2 blocks, 2 heads."""

    def make(num_classes: int = 0, depth: int = 2, **options) -> VisionTransformer:
        sizes = {"img_size": 28, "patch_size": 14, "embed_dim": 32, "num_heads": 2} | options
        return VisionTransformer(depth=depth, num_classes=num_classes, **sizes).eval()

    return make


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory, monkeypatch):
    """A store of runs for this test alone."""
    folder = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("VPTLIB_STORE", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder
