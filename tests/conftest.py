"""Tests run on one thread each, those that make runs with a store of their own; the backbone cache is the user's."""

import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

torch.set_num_threads(1)
os.environ["VPTLIB_JOBS"] = "1"
os.environ["VPTLIB_STORE"] = "/nonexistent: ask for the fixture own_store"


@pytest.fixture
def tiny_vit():
    """Factory of a small, random ViT of the real class: 28 px, patches of 14, width 32, 2 blocks, 2 heads."""

    def make(num_classes: int = 0, depth: int = 2, **options) -> VisionTransformer:
        sizes = {"img_size": 28, "patch_size": 14, "embed_dim": 32, "num_heads": 2} | options
        return VisionTransformer(depth=depth, num_classes=num_classes, **sizes).eval()

    return make


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """MLflow's SQLite file with its tables: MLflow takes seconds to make one, so it is made once and copied."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def own_store(tmp_path_factory, monkeypatch, empty_database):
    """A store of runs for this test alone. Every test that makes or asks for runs needs it."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(empty_database, folder / "mlflow.db")
    monkeypatch.setenv("VPTLIB_STORE", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder
