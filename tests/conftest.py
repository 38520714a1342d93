"""Tests run on one thread each, those that make runs with a store of their own; the backbone cache is the user's."""

import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)
os.environ["VPTLIB_JOBS"] = "1"
os.environ["VPTLIB_STORE"] = "/nonexistent: ask for the fixture own_store"


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that no worker is left alone with them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="module")
def browser():
    """The Chromium of this machine, in its sandbox where it can."""
    from playwright.sync_api import sync_playwright

    from vptlib import doctor
    from vptlib.report.pages import find_chromium, launched

    chromium = find_chromium()
    if chromium is None:
        pytest.skip(doctor.NO_CHROMIUM)
    with sync_playwright() as playwright:
        running = launched(playwright.chromium, chromium)
        yield running
        running.close()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """The place of an empty cache of backbones and images for this test alone."""
    monkeypatch.setenv("VPTLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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
