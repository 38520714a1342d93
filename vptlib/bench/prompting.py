"""The cost of prompting, for `make bench`: whole steps, peak memory and inference, on ViT-B/16 at 224 px, batch 8.

All cases are timed in turn, round after round, so that a machine that slows down slows all of them. A result is the
median over the rounds of the ratio of two cases within a round. Weights are random, which costs the same as learned
ones. Peak memory is measured in a separate process for each case. The floor is the time for the arithmetic that the
equations need, at the speed of a large matrix product.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import cast

import pandas as pd
import timm
import torch
from matplotlib.figure import Figure
from timm.models import PretrainedCfg, VisionTransformer
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset
from tqdm import tqdm

from vptlib.prompting.vit import PromptedViT
from vptlib.tuning.methods import build_method
from vptlib.tuning.training import Recipe, best_device, fit, frozen_features

CLASSES = 100


@dataclass(frozen=True)
class Setting:
    """What is measured: a timm architecture, images per step, timed rounds."""

    architecture: str = "vit_base_patch16_224"
    batch: int = 8
    rounds: int = 11
    probe_images: int = 64

    def vit(self) -> VisionTransformer:
        """A fresh backbone with random weights and a head."""
        vit = timm.create_model(self.architecture, num_classes=CLASSES)
        return cast(VisionTransformer, vit).to(best_device())

    def images(self) -> tuple[Tensor, Tensor]:
        """A batch of random images `B 3 H W` and labels `B`."""
        config = cast(PretrainedCfg, timm.get_pretrained_cfg(self.architecture))
        images = torch.randn(self.batch, *config.input_size, device=best_device())
        return images, torch.randint(CLASSES, (self.batch,), device=best_device())


Seconds = dict[str, list[float]]  # case → seconds in each round


def measure(setting: Setting = Setting()) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ratios with their targets, and the absolute figures behind them."""
    seconds = step_seconds(setting) | inference_seconds(setting)
    memory = peak_memory(setting)
    return ratios(seconds, memory, probe_ratio(setting)), absolutes(seconds, memory, floor_seconds(setting))


# ---- time -------------------------------------------------------------------------------------------------------


def step_seconds(setting: Setting) -> Seconds:
    """Seconds of a whole training step (forward, backward, AdamW) of each case."""
    return alternated(_steps(setting), setting.rounds, "training steps")


def _steps(setting: Setting) -> dict[str, Callable[[], None]]:
    images, labels = setting.images()
    shared = setting.vit()  # frozen, so that all prompted models may share it
    full = build_method("full", setting.vit(), CLASSES).to(best_device()).train()
    steps = {"full fine-tuning": training_step(full, full, images, labels)}
    for count in (50, 10, 100, 200):  # cases that are compared are timed one after the other
        for form in ("fast", "textbook") if count < 200 else ("fast",):
            model = PromptedViT(shared, count, fast=form == "fast").train()
            steps[f"VPT-deep, {form} form, {count} prompts"] = training_step(model, model, images, labels)
    late = PromptedViT(shared, 10, layers=f"last {max(1, len(shared.blocks) // 4)}").train()
    with torch.no_grad():
        kept = late.stem(images)
    steps["VPT-deep, last quarter of the layers, the frozen ones kept, 10 prompts"] = training_step(
        late, late.rest, kept, labels
    )
    return steps


def training_step(model: torch.nn.Module, net: Callable, inputs: Tensor, labels: Tensor) -> Callable[[], None]:
    """A whole step of AdamW on the trainable parameters of `model`; `net(inputs)` gives the logits."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(net(inputs), labels).backward()
        optimiser.step()

    return step


def inference_seconds(setting: Setting) -> Seconds:
    """Seconds of a forward pass of the bare backbone and of prompted ones."""
    images, _ = setting.images()
    bare = setting.vit().eval()
    runs: dict[str, torch.nn.Module] = {"bare backbone": bare}
    for count, fast in ((200, True), (200, False)):
        runs[f"{'fast' if fast else 'textbook'} form, {count} prompts"] = PromptedViT(bare, count, fast=fast).eval()
    passes = {f"inference, {name}": torch.inference_mode()(partial(model, images)) for name, model in runs.items()}
    return alternated(passes, 2 * setting.rounds, "inference")


def alternated(runs: dict[str, Callable[[], None]], rounds: int, title: str) -> Seconds:
    """Seconds of each case. Every round times each case once; the first round does not count."""
    seconds: Seconds = {name: [] for name in runs}
    for turn in tqdm(range(rounds + 1), desc=title):
        for name, run in runs.items():
            _wait()
            start = time.perf_counter()
            run()
            _wait()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def paired(seconds: Seconds, one: str, other: str) -> float:
    """Median over the rounds of the ratio of two cases."""
    return statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def probe_ratio(setting: Setting) -> float:
    """Time of 100 epochs of a linear probe on kept features, relative to the one pass that computed the features."""
    model = build_method("linear", setting.vit(), CLASSES)
    images, _ = setting.images()
    count = setting.probe_images
    data = TensorDataset(
        images.cpu().repeat(-(-count // len(images)), 1, 1, 1)[:count], torch.randint(CLASSES, (count,))
    )
    start = time.perf_counter()
    features = frozen_features(model, data, batch_size=setting.batch)
    passes = time.perf_counter() - start
    start = time.perf_counter()
    fit(model, features, None, Recipe(1e-2, steps=100 * -(-count // 32), batch_size=32))
    return (time.perf_counter() - start) / passes


# ---- memory -----------------------------------------------------------------------------------------------------

MEMORY_CASES = ("VPT-deep, textbook form, 100 prompts", "VPT-deep, fast form, 100 prompts", "full fine-tuning")
CHECKPOINTED = "VPT-deep, fast form, 100 prompts, checkpointing"


def peak_memory(setting: Setting) -> dict[str, float]:
    """Peak MiB above the built model in two training steps of each case, each in a new process."""
    found = {}
    for case in tqdm((*MEMORY_CASES, CHECKPOINTED), desc="peak memory"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            found[case] = alone.submit(_peak_of, setting, case, torch.get_num_threads()).result()
    return found


def _peak_of(setting: Setting, case: str, threads: int) -> float:
    torch.set_num_threads(threads)
    images, labels = setting.images()
    if case == "full fine-tuning":
        model = build_method("full", setting.vit(), CLASSES).to(best_device()).train()
    else:
        model = PromptedViT(setting.vit(), 100, fast="fast" in case).train()
        model.vit.set_grad_checkpointing("checkpointing" in case)
    step = training_step(model, model, images, labels)
    before = bytes_in_use()
    step()
    step()
    return (peak_bytes() - before) / 2**20


def bytes_in_use() -> float:
    """Bytes in use now. `peak_bytes` then counts from this moment."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_bytes() -> float:
    """The most bytes in use since the last call of `bytes_in_use`."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _status("VmHWM")


def _status(field: str) -> float:
    """A field of Linux's /proc/self/status in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * float(line.split()[1])


# ---- the arithmetic floor ---------------------------------------------------------------------------------------


def fast_step_flops(
    depth: int, width: int, tokens: int, prompts: int, batch: int, patch_numbers: int, read: int = 1
) -> float:
    """Floating-point operations that one VPT-deep step needs at least (matrix products only).

    Args:
        depth, width: blocks and D.
        tokens: N, the class token included.
        prompts: P per layer.
        batch: images B.
        patch_numbers: 3 · patch², the input numbers of the patch embedding.
        read: tokens that the head reads.
    """
    total = 2 * (tokens - 1) * patch_numbers * width  # per image; only forward: nothing before the blocks learns
    square = width**2
    for number in range(depth):
        asking = read if number == depth - 1 else tokens  # queries
        attention = 2 * asking * (tokens + prompts) * width  # one of its products
        own = 4 * prompts * square / batch  # keys and values of prompts, shared by all images
        total += asking * 20 * square + tokens * 4 * square + 2 * attention + own  # forward
        total += asking * 18 * square + own  # back through MLP and projection, and to the prompts
        if number:
            total += asking * 2 * square + tokens * 4 * square + 4 * attention  # back to the tokens
        else:
            total += attention + 4 * asking * prompts * width  # back to the prompts' keys and values alone
    return batch * total


def full_step_flops(depth: int, width: int, tokens: int, batch: int, patch_numbers: int, read: int = 1) -> float:
    """Floating-point operations that one step of full fine-tuning needs at least, as `fast_step_flops`."""
    total = 4 * (tokens - 1) * patch_numbers * width  # per image; forward, and back to the weights
    for number in range(depth):
        asking = read if number == depth - 1 else tokens  # queries
        linear = (20 * asking + 4 * tokens) * width**2
        total += 3 * linear  # forward, back to the weights, back to the tokens
        total += 3 * 4 * asking * tokens * width  # attention: two products forward, four back
    return batch * total


def shallow_step_flops(
    depth: int, width: int, tokens: int, prompts: int, batch: int, patch_numbers: int, read: int = 1
) -> float:
    """Floating-point operations that one VPT-shallow step needs at least, as `fast_step_flops`.

    The prompts that enter the first block are the same for all images; only they need a gradient there.
    """
    total = 2 * (tokens - 1) * patch_numbers * width  # per image
    square, length = width**2, tokens + prompts
    for number in range(depth):
        asking = read if number == depth - 1 else length  # queries
        rest = 18 * asking * square  # projection and MLP
        total += rest + 4 * asking * length * width + rest  # with attention forward; back through projection and MLP
        if number:
            total += 2 * (2 * asking + 4 * length) * square + 8 * asking * length * width
        else:
            total += 6 * (tokens + 2 * prompts / batch) * square + 10 * length * prompts * width
    return batch * total


def matmul_peak(size: int = 2048, tries: int = 5) -> float:
    """Floating-point operations per second in a large float32 matrix product, the best of a few tries."""
    a, b = (torch.randn(size, size, device=best_device()) for _ in range(2))
    seconds = []
    for _ in range(tries + 1):
        start = time.perf_counter()
        torch.matmul(a, b)
        _wait()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def floor_seconds(setting: Setting) -> dict[str, float]:
    """Least seconds of a fast step, for each number of prompts."""
    vit, peak = setting.vit(), matmul_peak()
    tokens, numbers = 1 + vit.patch_embed.num_patches, vit.patch_embed.proj.weight[0].numel()
    return {
        f"VPT-deep, fast form, {count} prompts": fast_step_flops(
            len(vit.blocks), vit.embed_dim, tokens, count, setting.batch, numbers
        )
        / peak
        for count in (10, 50, 100, 200)
    }


# ---- the tables -------------------------------------------------------------------------------------------------


def ratios(seconds: Seconds, memory: dict[str, float], probe: float) -> pd.DataFrame:
    """Each ratio that has a target: case, ratio, target, and whether it is met."""
    textbook, fast = "VPT-deep, textbook form, {} prompts", "VPT-deep, fast form, {} prompts"
    late = next(name for name in seconds if "kept" in name)
    rows = [
        (f"step, fast ÷ textbook, {n} prompts", paired(seconds, fast.format(n), textbook.format(n)), target)
        for n, target in ((10, 0.90), (50, 0.78), (100, 0.65))
    ]
    rows += [
        ("step, VPT-deep ÷ full, 50 prompts", paired(seconds, fast.format(50), "full fine-tuning"), 0.65),
        ("step, 200 prompts ÷ 10 prompts, fast", paired(seconds, fast.format(200), fast.format(10)), 1.15),
        ("memory, fast ÷ textbook, 100 prompts", memory[fast.format(100)] / memory[textbook.format(100)], 0.68),
        ("memory, VPT-deep ÷ full, 100 prompts", memory[fast.format(100)] / memory["full fine-tuning"], 0.50),
        ("step, late prompts on kept tokens ÷ all layers", paired(seconds, late, fast.format(10)), 0.30),
        (
            "inference, 200 prompts ÷ bare backbone",
            paired(seconds, "inference, fast form, 200 prompts", "inference, bare backbone"),
            1.10,
        ),
        ("linear probe, 100 epochs on kept features ÷ one pass", probe, 0.05),
    ]
    table = pd.DataFrame(rows, columns=["case", "ratio", "target"])
    table["met"] = table["ratio"].le(table["target"]).map({True: "yes", False: "no"})
    return table


def absolutes(seconds: Seconds, memory: dict[str, float], floors: dict[str, float]) -> pd.DataFrame:
    """Milliseconds, MiB and the multiple of the arithmetic floor of each case; "–" if it is not measured."""

    def cell(values: dict[str, float], name: str, form: Callable[[float], str]) -> str:
        return form(values[name]) if name in values else "–"

    names = [*seconds, *(name for name in memory if name not in seconds)]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    multiples = {name: medians[name] / floor for name, floor in floors.items()}
    return pd.DataFrame(
        {
            "case": names,
            "ms": [cell(medians, name, lambda s: f"{1000 * s:,.0f}") for name in names],
            "peak MiB": [cell(memory, name, lambda m: f"{m:,.0f}") for name in names],
            "× floor": [cell(multiples, name, lambda m: f"{m:.2f}") for name in names],
        }
    )


def ratio_figure(table: pd.DataFrame) -> Figure:
    """Measured ratios as dots and their targets as bars, one line per case. A dot within its bar meets the target."""
    figure = Figure(figsize=(8.6, 0.42 * len(table) + 1.2), layout="constrained")
    axes = figure.subplots()
    heights = range(len(table))[::-1]
    axes.barh(heights, table["target"], color="#dde2e8", height=0.7, label="target, at most")
    axes.scatter(table["ratio"], heights, color="#0072B2", zorder=3, label="measured")
    for height, ratio in zip(heights, table["ratio"], strict=True):
        axes.annotate(f"{ratio:.2f}", (ratio, height), (7, 0), textcoords="offset points", va="center")
    axes.set_yticks(heights, table["case"])
    axes.set_xlim(0, 1.1 * max(table["ratio"].max(), table["target"].max()))
    axes.set_xlabel("ratio, median over the rounds of one run")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    return figure
