"""A desk and records that stand for the real ones in tests of the service's HTTP side, and a client of both."""

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import pandas as pd
from fastapi.testclient import TestClient

from vptlib.errors import UserError
from vptlib.operations.service.access import Access, add_token
from vptlib.operations.service.app import create_app
from vptlib.operations.service.desk import Answer, Serving, UnreadableImage
from vptlib.operations.service.guard import Load
from vptlib.operations.service.metrics import Metrics
from vptlib.operations.service.settings import Settings

CLASSES = ("good", "scratch", "pit")
IMAGE = b"\x89PNG planted bytes of an image"


def serving(name, version=3, problem=""):
    """What answers a task."""
    backbone = SimpleNamespace(name="small")
    card = SimpleNamespace(
        title=f"about {name}", class_names=CLASSES, ask={"threshold": 0.8}, method="vpt-deep", backbone=backbone
    )
    return Serving(name, version, "d" * 64, card, datetime(2026, 3, 3, tzinfo=UTC), problem)


class FakeDesk:
    """Answers "scratch" to what begins like a PNG; `fails` is raised instead, and `waits` seconds pass before."""

    def __init__(self, *names):
        self.tasks = {name: serving(name) for name in names or ("cells", "photos")}
        self.ready, self.waiting, self.looked = True, 0, datetime(2026, 3, 4, tzinfo=UTC)
        self.fails, self.waits = None, 0.0
        self.asked = []

    def refresh(self):
        if self.fails:
            raise self.fails
        return list(self.tasks)

    def bank_report(self):
        return pd.DataFrame({"backbone": ["small"] * len(self.tasks), "bytes": [1000] * len(self.tasks)})

    async def answer(self, name, body):
        self.asked.append(name)
        await asyncio.sleep(self.waits)
        if self.fails:
            raise self.fails
        if not body.startswith(b"\x89PNG"):
            raise UnreadableImage("the image cannot be read: send a JPEG or PNG.")
        shares = {"good": 0.05, "scratch": 0.93, "pit": 0.02}
        return Answer(name, 3, "d" * 64, "scratch", 0.93, shares, "no", "", None)


class FakeRecords:
    """Keeps what is recorded in a list; `full` stands for a full disk."""

    def __init__(self):
        self.given, self.checked, self.full = [], [], False

    def add(self, given):
        if self.full:
            raise OSError(28, "No space left on device")
        self.given += given

    def task_of(self, id):
        return next((one.task for one in self.given if one.id == id), None)

    def check(self, id, truth, by):
        if self.task_of(id) is None:
            raise UserError(f"there is no answer with the id {id}.")
        self.checked.append((id, truth, by))
        return True


@contextmanager
def asking(folder, tokens=None, desk=None, records=None, **settings):
    """A client of a service with fakes.

    Args:
        tokens: name → (roles, tasks); the client has `token[name]`. None for a service without tokens.
    """
    path = folder / "tokens.yaml"
    made = {name: add_token(path, name, roles, names, 90) for name, (roles, names) in (tokens or {}).items()}
    desk, records, metrics, load = desk or FakeDesk(), records or FakeRecords(), Metrics(), Load()
    app = create_app(desk, Access(path), Settings(**settings), records, metrics, load)
    with TestClient(app, base_url="http://localhost:8000") as client:
        client.token, client.desk, client.records, client.path = made, desk, records, path
        client.metrics, client.load = metrics, load
        yield client


def bearer(token):
    """The header of a token."""
    return {"Authorization": f"Bearer {token}"}


def send(client, task="cells", body=IMAGE, token=None, **headers):
    """Ask for an answer."""
    given = {"Content-Type": "image/png"} | (bearer(token) if token else {}) | headers
    return client.post(f"/v1/tasks/{task}/answers", content=body, headers=given)


def code(response):
    """Of the error, which has one form everywhere."""
    assert set(response.json()) == {"error"} and set(response.json()["error"]) == {"code", "message"}, response.text
    return response.status_code, response.json()["error"]["code"]


def figure(metrics, name, **labels):
    """A value of the metrics."""
    return metrics.registry.get_sample_value(name, labels)
