"""Seeded damage to prompt files: `load_prompts` gives a model or a `UserError`, and leaves the backbone as it was.

`cases` makes the files' bytes and `check` tries one; `make soak` calls them with larger counts.
"""

import json
import random
import struct
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch
from models import draw_images, small_vit

from vptlib.errors import UserError
from vptlib.tuning.methods import build_method
from vptlib.tuning.promptfile import load_prompts, read_card, save_prompts

METHODS = [
    ("linear", {}),
    ("mlp-k", {"layers": 2}),
    ("vpt-shallow", {"num_prompts": 3, "gated": True}),
    ("vpt-shallow", {"num_prompts": 2, "where": "pad"}),
    ("vpt-deep", {"num_prompts": 3}),
    ("vpt-deep", {"num_prompts": 3, "projection": 4, "layers": "last 1"}),
]
STRANGE = [
    *(None, True, False, 0, -1, 1, 3, 10**6, 10**12, 2**63, 10**40, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "full", "ssf", "linear", "vpt-deep", "pixel", "auto", "last 99", "every 0", "nicht", "\x00", "é" * 500),
    *([], [0], [1, 1], ["a"], [[]], [None, 1], {}, {"a": 1}, [0.0, 0.0, 0.0], [1e-40] * 3, ["0", "0", "0"], [1e9]),
]
KEYS = ["method", "options", "class_names", "preprocessing", "backbone", "shape", "size", "mean", "std", "aspect"]
KEYS += ["interpolation", "num_prompts", "layers", "where", "init", "deep", "dropout", "projection", "width", "extra"]


@lru_cache(maxsize=1)
def _vit():
    return small_vit()


@lru_cache(maxsize=1)
def _whole() -> list[bytes]:
    """A right file of each method."""
    with tempfile.TemporaryDirectory() as folder:
        path, found = Path(folder) / "p.safetensors", []
        for method, options in METHODS:
            save_prompts(build_method(method, small_vit(), 3, **options), path, ("a", "b", "c"))
            found.append(path.read_bytes())
    return found


def cases(seed: int, count: int) -> Iterator[bytes]:
    """`count` files, most of them damaged; the same for the same seed."""
    draw = random.Random(seed)
    kinds = [_bytes_changed, _cut, _header_changed, _card_changed, _card_changed, _card_changed, _tensors_changed]
    for _ in range(count):
        yield draw.choice(kinds)(draw, draw.choice(_whole()))


def check(case: bytes) -> None:
    """Load one file.

    Raises:
        AssertionError: the backbone was changed, or a model that was loaded does not work.
        Exception: anything other than a `UserError` that names the file.
    """
    vit = _vit()
    before = _state(vit)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.safetensors"
        path.write_bytes(case)
        for read in (read_card, lambda place: _works(load_prompts(place, vit))):
            try:
                read(path)
            except UserError as error:
                assert str(path) in str(error) and "\n" not in str(error), str(error)
    assert _state(vit) == before, "the backbone was changed"


def _works(model) -> None:
    with torch.no_grad():
        logits = model(draw_images())
    assert logits.shape[0] == 2 and not model.training


def _state(vit) -> tuple:
    """All that loading could change."""
    weights = tuple(
        (name, p.requires_grad, p.data_ptr(), float(p.detach().sum())) for name, p in vit.named_parameters()
    )
    modules = tuple((name, id(module), module.training) for name, module in vit.named_modules())
    return weights, modules, tuple(sorted(key for key in vit.__dict__ if not key.startswith("_")))


# ---- kinds of damage --------------------------------------------------------------------------------------------


def _bytes_changed(draw: random.Random, raw: bytes) -> bytes:
    changed = bytearray(raw)
    for _ in range(draw.choice([1, 2, 8, 50])):
        place = draw.randrange(len(changed) if draw.random() < 0.3 else min(1500, len(changed)))
        changed[place] = draw.randrange(256)
    return bytes(changed)


def _cut(draw: random.Random, raw: bytes) -> bytes:
    start, end = sorted(draw.randrange(len(raw) + 1) for _ in range(2))
    return draw.choice([raw[:start], raw[start:], raw[:start] + raw[end:], raw + raw[start:end]])


def _parts(raw: bytes) -> tuple[dict, bytes]:
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def _joined(header: dict, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def _header_changed(draw: random.Random, raw: bytes) -> bytes:
    header, body = _parts(raw)
    name = draw.choice(list(header))
    if draw.random() < 0.5 and name != "__metadata__":
        header[name][draw.choice(["dtype", "shape", "data_offsets"])] = draw.choice(
            ["BF16", "F16", "F64", "I32", "BOOL", "F8_E5M2", "C64", "X", [3, 32], [0], [-1], [2**40, 2**40], *STRANGE]
        )
    else:
        header[draw.choice([name, "net.x", ""])] = header.pop(name)
    return _joined(header, body)


def _card_changed(draw: random.Random, raw: bytes) -> bytes:
    header, body = _parts(raw)
    card = json.loads(header["__metadata__"]["card"])
    for _ in range(draw.choice([1, 1, 2])):
        inside = draw.choice([card, *(part for part in card.values() if isinstance(part, dict))])
        key = draw.choice([*inside, draw.choice(KEYS)])
        if draw.random() < 0.15:
            inside.pop(key, None)
        else:
            inside[key] = draw.choice(STRANGE)
    text = json.dumps(card)
    if draw.random() < 0.1:
        text = draw.choice(["[" * 50_000, "{}", "null", "1" * 9000, '"\\ud800"', text[:-3], text * 2])
    header["__metadata__"]["card"] = text
    return _joined(header, body)


def _tensors_changed(draw: random.Random, raw: bytes) -> bytes:
    header, body = _parts(raw)
    values = bytearray(body)
    place = draw.randrange(len(values) // 4) * 4
    values[place : place + 4] = draw.choice([b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f"])
    return _joined(header, bytes(values))
