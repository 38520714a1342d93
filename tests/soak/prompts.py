"""What the soak does with models in service, each in a process that may be killed; and what a reader sees of them."""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from exported import answers_for, card_for, exported, learned, small_backbone
from models import draw_images
from pictures import numbered, smooth

NAME = "cells"
MODELS, IMAGES = 9, 40  # model files, and images to answer: three batches, the last one not full


def load_libraries(folder: Path, database: Path | None = None) -> None:
    """Load what all actions need, before forks are made, and use it once: much is made ready at the first use.

    The forks share no connection: each has a store of its own, and this process keeps none open. An empty store is in
    `folder / "store"`.

    Args:
        database: with MLflow's tables, where there is one: to make it takes seconds.
    """
    torch.set_num_threads(1)
    import mlflow.artifacts
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    import vptlib.cli.models
    import vptlib.cli.prompts
    import vptlib.operations.predict
    import vptlib.operations.registry
    import vptlib.report.words.en  # noqa: F401
    from vptlib.study.connection import open_store

    with pytest.MonkeyPatch.context() as patched, redirect_stdout(None):
        patched.setenv("VPTLIB_STORE", str(folder / "store"))
        (folder / "store").mkdir()
        if database:
            shutil.copy(database, folder / "store" / "mlflow.db")
        open_store()
        shutil.copytree(folder / "store", folder / "first")
        patched.setenv("VPTLIB_STORE", str(folder / "first"))
        register(str(exported(folder / "first.vpt").path))
        promote(1)
        look(str(folder / "first.json"))


@cache
def backbone() -> Any:
    """The backbone of all models."""
    return small_backbone()


def logits_of(path: Path) -> str:
    """A digest of what the model in a file gives for drawn images: equal only if every bit is."""
    from vptlib.operations.artefact import load_model, read_artefact

    with torch.no_grad():
        logits = load_model(read_artefact(path), backbone())(draw_images(3))  # 3 C
    return hashlib.sha256(logits.numpy().tobytes()).hexdigest()


# ---- the actions ----------------------------------------------------------------------------------------------


def _command(*words: object) -> None:
    """A command of `vpt`."""
    from vptlib.cli import app

    code = app(list(map(str, words)), standalone_mode=False)
    if code:
        raise SystemExit(code)


def register(path: str, by: str = "ann") -> None:
    """`vpt prompts register`: keep a file as a version."""
    _command("prompts", "register", path, NAME, "--by", by)


def promote(version: int) -> None:
    """Put a version into production. The gates are tried elsewhere: here they pass."""
    from vptlib.operations.registry import PromptRegistry

    PromptRegistry().promote(NAME, version, "bob", gates=passing)


def roll_back(reason: str) -> None:
    """`vpt prompts roll-back`: put back what was in production before."""
    _command("prompts", "roll-back", NAME, "--by", "bob", "--reason", reason)


def fetch(ref: str, out: str) -> None:
    """`vpt prompts fetch`: copy the file of a version."""
    _command("prompts", "fetch", ref, out)


def export(out: str, seed: int) -> None:
    """Write a trained model to a file, which replaces an earlier one."""
    from vptlib.operations.artefact import write_artefact
    from vptlib.tuning.backbones import fingerprint

    model = learned("vpt-deep", backbone(), seed)
    write_artefact(out, model, card_for(model, fingerprint(backbone())), answers_for())


def predict(model: str, images: str, out: str) -> None:
    """`vpt predict`: answer images. Its backbone is that of the soak, which has no name."""
    from vptlib.operations import predict as predicting

    predicting.load_backbone_of = lambda artefact, name: backbone()
    _command("predict", model, images, "--out", out)


@dataclass(frozen=True)
class Passed:
    """A gate that passes."""

    passed: bool = True

    def plain(self) -> dict[str, Any]:
        return {"kind": "soak", "passed": True}


def passing(*_: Any) -> list[Passed]:
    """Gates that pass."""
    return [Passed()]


# ---- several at once ------------------------------------------------------------------------------------------


def decide(seed: str, own: list[str], shared: list[str], rounds: int, to: str) -> None:
    """Many decisions about one prompt, while others decide too. A line of `to` for each says how it ended."""
    from vptlib.errors import UserError

    draw, who = random.Random(seed), seed.rpartition(" ")[2]
    with open(to, "a") as file:
        for number in range(rounds):
            try:
                ended = _decision(draw, [own[number % len(own)], *shared], f"{who} {number}")
            except UserError as error:
                ended = {"refused": str(error)}
            file.write(json.dumps(ended) + "\n")
            file.flush()


def _decision(draw: random.Random, files: list[str], who: str) -> dict[str, Any]:
    from vptlib.operations.registry import PromptRegistry

    registry = PromptRegistry()
    kind = draw.choice(("register", "register", "promote", "promote", "promote", "roll back", "limits"))
    if kind == "register":
        version = registry.register(draw.choice(files), NAME, who)
        return {"number": version.number, "digest": version.digest}
    if kind == "promote":
        numbers = [version.number for version in registry.versions(NAME)]
        return {"hash": registry.promote(NAME, draw.choice(numbers), who, gates=passing).hash}
    if kind == "roll back":
        return {"hash": registry.roll_back(NAME, who, f"by {who}").hash}
    limits = {"accuracy": {"at_least": round(draw.uniform(0.1, 0.7), 3)}}
    return {"hash": registry.set_limits(NAME, limits, who).hash}


# ---- what is seen ---------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What a reader sees of the prompt.

    Attributes:
        entries: of the ledger: hash, kind, version, digest.
        production: the version that these entries put into production, worked out here once more.
        previous: the version that a roll-back would put there, or None.
        loaded: of production: its digest and that of its logits; None if nothing is there.
        aliases: of MLflow, by name.
        roles: what the aliases should be.
        said: what is wrong with it.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    production: int | None = None
    previous: int | None = None
    loaded: tuple[str, str] | None = None
    aliases: dict[str, int] = field(default_factory=dict)
    roles: dict[str, int] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def versions(self) -> dict[str, int]:
        """The number of each file that is registered, by its digest."""
        return {entry["digest"]: entry["version"] for entry in self.entries if entry["kind"] == "registered"}

    @property
    def hashes(self) -> list[str]:
        return [entry["hash"] for entry in self.entries]


def look(to: str) -> None:
    """Write what is seen to a file."""
    from vptlib.operations.ledger import Ledger

    seen = Seen()
    chain = Ledger().chain(NAME)
    seen.said += [f"the chain has a fault: {fault.kind} at {fault.number}" for fault in chain.faults]
    seen.entries = [
        {"hash": one.hash, "kind": one.kind, "version": one.version, "digest": one.digest} for one in chain.entries
    ]
    if chain.entries:
        _look_at(seen, chain)
    Path(to).write_text(json.dumps(asdict(seen)))


def _look_at(seen: Seen, chain: Any) -> None:
    from vptlib.operations.registry import PromptRegistry
    from vptlib.operations.standing import standing
    from vptlib.study import database
    from vptlib.study.connection import mlflow_client, open_store

    registry, found = PromptRegistry(), standing(chain.entries)
    if file := open_store().address.file:
        seen.said += [f"the database is damaged: {line}" for line in database.faults(file)]
    seen.roles = {role: number for role, number in found.roles().items() if number is not None}
    seen.previous, seen.production = found.previous, _last_put(seen.entries)
    if seen.production != found.production:
        seen.said.append(f"{found.production} is in production, but the ledger says {seen.production}")
    with suppress(Exception):  # before the first registration ends, there may be no model of that name
        named = mlflow_client().search_registered_models(f"name = '{NAME}'")
        seen.aliases = {alias: int(number) for one in named for alias, number in one.aliases.items()}
    _check_versions(seen, registry)
    if seen.production is not None:
        path = registry.fetch(NAME)
        seen.loaded = _digest(path), logits_of(path)
        if seen.loaded[0] != found.version(seen.production).digest:
            seen.said.append("the file in production is not the one of the ledger")


def _last_put(entries: list[dict[str, Any]]) -> int | None:
    """What the last promotion or roll-back put into production. (Nothing is retired here.)"""
    put = [entry["version"] for entry in entries if entry["kind"] in ("promoted", "forced", "rolled_back")]
    return put[-1] if put else None


def _check_versions(seen: Seen, registry: Any) -> None:
    """Each version that is listed has a whole file, and each is there once."""
    from vptlib.errors import UserError
    from vptlib.operations.artefact import read_artefact

    listed = registry.versions(NAME)
    numbers = [version.number for version in listed]
    if len(numbers) != len(set(numbers)) or len(seen.versions) != len(numbers):
        seen.said.append(f"versions are there twice: {numbers}")
    for version in listed:
        try:
            path = registry.fetch(version.ref)
            read_artefact(path)
            if _digest(path) != version.digest:
                seen.said.append(f"{version.ref} has another file than it was registered with")
        except UserError as error:
            seen.said.append(f"{version.ref} is listed, but has no whole file: {error}")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- what there is before -------------------------------------------------------------------------------------


def make_files(folder: Path) -> None:
    """Model files 0.vpt, 1.vpt, …, and images."""
    folder.mkdir(parents=True)
    for seed in range(MODELS):
        exported(folder / f"{seed}.vpt", seed=seed)
    numbered(folder / "images", IMAGES, draw=smooth)


def logits(folder: str, to: str) -> None:
    """Write the digests of the model files and of their logits."""
    found = {_digest(path): logits_of(path) for path in sorted(Path(folder).glob("*.vpt"))}
    Path(to).write_text(json.dumps(found))


def begun(action: Callable[..., None], mark: str, largest: int | None = None, **arguments: Any) -> None:
    """Open the store where one is needed, leave a mark, and only then begin.

    Args:
        largest: bytes of a file that this process writes, from then on.
    """
    from vptlib.errors import UserError
    from vptlib.study.connection import open_store

    if action in _OF_STORE:
        with suppress(UserError):  # the action itself reports it
            open_store()
    os.close(os.open(mark, os.O_CREAT | os.O_WRONLY))
    if largest is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    action(**arguments)


_OF_STORE = (register, promote, roll_back, fetch)
