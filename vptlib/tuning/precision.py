"""The arithmetic that a model is computed with: float32, or bfloat16 where this machine gains time by it.

Mixed precision (Micikevicius et al., ICLR 2018, arXiv 1710.03740) in bfloat16, whose exponents are those of float32
(Kalamkar et al. 2019, arXiv 1905.12322), so that the loss needs no scaling. Trained weights, prompts, norms, logits and
the optimiser stay in float32. Frozen weights are cast once, because autocast casts them again at every step.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.paths import cache_folder, write_whole

PRECISIONS = ("auto", "fp32", "bf16")
# "auto" takes bfloat16 where it needs at most this share of the time of float32.
MOST_TIME = 0.85
# What is timed: a block of ViT-S/16 at 224 px.
TOKENS, WIDTH, HEADS = 197, 384, 6
IMAGES_ON_A_CPU, IMAGES_ON_A_GPU = 4, 64
ROUNDS = 3


def resolved(precision: str) -> str:
    """ "fp32" or "bf16" for one of `PRECISIONS`; "auto" takes what is faster on this machine.

    Raises:
        UserError: another word.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision is {precision!r}, but must be auto, fp32 or bf16.")
    if precision != "auto":
        return precision
    return "bf16" if time_share() <= MOST_TIME else "fp32"


def time_share() -> float:
    """The time of a training step in bfloat16 as a share of that in float32; infinite where it is no choice here.

    It is measured once per machine, in about a second, and kept in the cache folder.
    """
    return kept_share(cache_folder() / "precision.json") if has_bfloat16() else math.inf


def has_bfloat16() -> bool:
    """Whether this machine has instructions for bfloat16: a GPU that multiplies in it, or a CPU with AMX or AVX-512."""
    try:
        if torch.cuda.is_available():
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    except (AttributeError, RuntimeError):  # another version of torch, or a driver that does not answer
        return False


@cache
def machine() -> str:
    """What the answer depends on: the GPU or the CPU with its instructions, and torch's version."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    offered = torch.cpu.get_capabilities()
    instructions = sorted(name for name, has in offered.items() if has is True)
    return f"{offered.get('cpu_name', 'CPU')} with {' '.join(instructions)}, torch {torch.__version__}"


@cache
def kept_share(path: Path) -> float:
    """The kept answer, or a measured one, which is then kept. One that cannot be kept is infinite.

    Each process would measure it again, and the same run could get two keys.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if machine() not in _kept(path):
            _keep(path, measured_share())
        return float(_kept(path)[machine()])
    except (AttributeError, OSError, RuntimeError, TypeError, ValueError, KeyError):
        return math.inf


def _kept(path: Path) -> dict[str, float]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _keep(path: Path, share: float) -> None:
    """Write the answer, unless another process was first."""
    answers = {machine(): round(share, 3)} | _kept(path)
    write_whole(path, json.dumps(answers, indent=1))


# ---- the measurement --------------------------------------------------------------------------------------------


def measured_share() -> float:
    """The least time of a step in bfloat16 over that in float32; both are timed in turn, but for the first round."""
    steps = {bf16: _step(bf16) for bf16 in (False, True)}
    seconds: dict[bool, list[float]] = {bf16: [] for bf16 in steps}
    for turn in range(ROUNDS + 1):
        for bf16, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:
                seconds[bf16].append(time.perf_counter() - start)
    return min(seconds[True]) / min(seconds[False])


def _step(bf16: bool) -> Callable[[], None]:
    """Forward and backward pass through the products of a transformer block. No random number is drawn."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = IMAGES_ON_A_GPU if device.type == "cuda" else IMAGES_ON_A_CPU
    shapes = ((3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH))
    qkv, proj, fc1, fc2 = (torch.full(shape, 1 / WIDTH, device=device, requires_grad=True) for shape in shapes)
    tokens = torch.ones(batch, TOKENS, WIDTH, device=device)  # B N D

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            q, k, v = F.linear(tokens, qkv).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # B H N d
            attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # B N D
            out = F.linear(F.gelu(F.linear(F.linear(attended, proj), fc1)), fc2)
        out.float().square().mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


# ---- frozen weights ---------------------------------------------------------------------------------------------


@contextmanager
def frozen_in_bfloat16(model: nn.Module, trained: frozenset[str] = frozenset()) -> Iterator[None]:
    """Hold the frozen weights and biases of linear and convolution layers in bfloat16; then all is as before.

    The numbers are those of plain autocast, under which `model` must run. The tensors of before come back themselves.

    Args:
        model: a model in float32.
        trained: names of parameters that stay, because they train at another time, next to those that train now.
    """
    frozen = {p: p.data for name, p in _of_products(model) if not p.requires_grad and name not in trained}
    try:
        for parameter, before in frozen.items():
            if before.dtype == torch.float32:
                parameter.data = before.to(torch.bfloat16)
        yield
    finally:
        for parameter, before in frozen.items():
            parameter.data = before


def _of_products(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters of linear and convolution layers, with their names in `model`."""
    products = {
        id(p) for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d) for p in m.parameters(recurse=False)
    }
    return ((name, p) for name, p in model.named_parameters() if id(p) in products)
