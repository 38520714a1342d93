"""Model files with changed bits, and files that changed places: refused, or in every respect what they were."""

import hashlib
import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from exported import exported
from models import draw_images

from soak import prompts

OPTIONS: dict[str, dict[str, Any]] = {"lora": {"rank": 2}, "knn": {"images": 7}}


def flip(method: str, seed: float, flips: int, folder: str, to: str) -> None:
    """Change bits of a model file again and again, and write what became of it.

    A change that is seen by nobody, but gives another model, card or test, is a fault. The registry must refuse every
    change, because it has the file's digest.
    """
    place, draw = Path(folder), random.Random(seed)
    whole = exported(place / "whole.vpt", method=method, options=OPTIONS.get(method)).path
    registry, kept = _registered(whole)
    wanted, ends, said = all_of(whole), Counter(), []
    for number in range(flips):
        damaged, where = _flipped(whole.read_bytes(), draw)
        path = place / "damaged.vpt"
        path.write_bytes(damaged)
        end = _read(path, wanted)
        ends[end.split(":")[0]] += 1
        if end.split(":")[0] not in ("refused", "harmless"):
            said.append(f"{method}, change {number} ({where}): {end}")
        kept.write_bytes(damaged)
        if not _refused(registry):
            said.append(f"{method}, change {number} ({where}): the registry gave the changed file")
    said += _swapped(registry, place, whole, kept)
    row = {"flips": flips, "refused": ends["refused"], "harmless": ends["harmless"], "silent": ends["silent"]}
    Path(to).write_text(json.dumps(row | {"said": said}))


def _registered(whole: Path) -> tuple[Any, Path]:
    """A registry with this file as `cells/1`, and where its store keeps it."""
    from vptlib.operations.registry import PromptRegistry

    registry = PromptRegistry()
    registry.register(whole, prompts.NAME, "ann")
    return registry, registry.fetch(f"{prompts.NAME}/1")


def _flipped(data: bytes, draw: random.Random) -> tuple[bytes, str]:
    """One bit, or one to four bytes, of the header or of the whole file are another."""
    changed = bytearray(data)
    header = 8 + int.from_bytes(data[:8], "little")
    end = header if draw.random() < 0.4 else len(data)
    places = [draw.randrange(end) for _ in range(draw.choice((1, 1, 1, draw.randint(2, 4))))]
    for at in places:
        changed[at] ^= 1 << draw.randrange(8) if draw.random() < 0.7 else draw.randint(1, 255)
    return bytes(changed), f"at {', '.join(f'{at} in the header' if at < header else str(at) for at in places)}"


def _read(path: Path, wanted: dict[str, Any]) -> str:
    """ "refused", "harmless", "silent" (another model, card or test) or "foreign" (not refused in a sentence)."""
    from vptlib.errors import UserError

    try:
        found = all_of(path)
    except UserError:
        return "refused"
    except Exception as error:
        return f"foreign: {type(error).__name__}: {error}"
    other = [name for name in wanted if found[name] != wanted[name]]
    return f"silent: another {', '.join(other)}" if other else "harmless"


def all_of(path: Path) -> dict[str, Any]:
    """All that a model file gives to those who use it. (Changed canaries that still pass change nothing.)"""
    from vptlib.operations.artefact import load_model, read_artefact

    artefact = read_artefact(path)
    with torch.no_grad():
        logits = load_model(artefact, prompts.backbone())(draw_images(3))  # 3 C
    return {
        "logits": logits.tolist(),
        "card": artefact.card.plain(),
        "answers": {name: _print(value) for name, value in vars(artefact.answers).items()},
    }


def _print(value: Any) -> str:
    return hashlib.sha256(value.tobytes()).hexdigest() if isinstance(value, np.ndarray) else str(value)


def _refused(registry: Any) -> bool:
    from vptlib.errors import UserError

    try:
        registry.fetch(f"{prompts.NAME}/1")
    except UserError:
        return True
    return False


def _swapped(registry: Any, place: Path, whole: Path, kept: Path) -> list[str]:
    """Two files of the store that changed places are both refused; the same files, registered again, heal it."""
    shutil.copy(whole, kept)
    other = exported(place / "other.vpt", seed=1).path
    registry.register(other, prompts.NAME, "ann")
    second = registry.fetch(f"{prompts.NAME}/2")
    shutil.copy(whole, second)
    shutil.copy(other, kept)
    said = [] if _refused(registry) else ["the registry gave a file that had changed places"]
    registry.register(whole, prompts.NAME, "ann")
    return said + (["a file that is registered again does not heal its version"] if _refused(registry) else [])
