"""What a training step costs in the arithmetic of this machine, for `make bench`.

Four questions: what bfloat16 saves at 224 px, how far a step at 56 px is above its arithmetic floor on one thread, what
late prompts on kept tokens save, and what it costs to choose the input size. All cases of a question are timed in turn,
as in `vptlib.bench.prompting`; only the choice of the input size is timed once.
"""

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import cast

import pandas as pd
import torch
from timm.models import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from vptlib.bench.prompting import (
    Seconds,
    Setting,
    alternated,
    fast_step_flops,
    full_step_flops,
    matmul_peak,
    paired,
    shallow_step_flops,
)
from vptlib.data.tasks import load_task
from vptlib.prompting.blocks import tokens_read
from vptlib.study.input_size import look
from vptlib.tuning.backbones import EMBEDDED, EMBEDDED_IMAGE_SIZE, load_backbone
from vptlib.tuning.methods import AdaptedModel, build_method
from vptlib.tuning.precision import frozen_in_bfloat16, resolved
from vptlib.tuning.training import best_device

CLASSES, PROMPTS, LARGE = 10, 10, 224
NO_BF16 = "no fast bfloat16 here"
FLOOR_TARGETS = {"vpt-deep": 1.5, "full": 1.6, "vpt-shallow": 1.5}
LATE = "VPT on the last third of the blocks, kept tokens"
CHOICE, EPOCH = "choosing among four input sizes up to 224 px", "one epoch of full at 224 px"
CHOICE_TASK, CHOICE_BATCH = "surface-inspection", 16


def measure(
    rounds: int = 7, large_batch: int = 8, small_batch: int = 32, labelled: int = 400
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ratios with their targets, and the milliseconds behind them; `labelled` images choose the input size."""
    seconds: Seconds = {}
    rows = []
    for name, vit, target in (("ViT-B/16", Setting().vit(), 0.40), ("embedded", embedded(LARGE), 0.50)):
        with _large_steps(name, vit, large_batch) as steps:
            seconds |= alternated(steps, rounds, f"{name} at {LARGE} px")
        rows += [_bf16_row(seconds, name, method, target) for method in ("vpt-deep", "full")]
    late = alternated(_late_steps(embedded(LARGE), large_batch), rounds, "kept tokens")
    rows.append((f"embedded at {LARGE} px, {LATE} ÷ VPT-deep", f"{paired(late, LATE, 'VPT-deep'):.2f}", 0.28))
    small, floors = _on_one_thread(partial(_small_seconds, small_batch, rounds))
    rows += [_floor_row(small, floors, method) for method in FLOOR_TARGETS]
    choice = _choice_seconds(labelled, rounds)
    rows.append((f"{CHOICE} ÷ {EPOCH}", f"{choice[CHOICE][0] / choice[EPOCH][0]:.2f}", 1.5))
    return _table(rows), _milliseconds(seconds | late | small | choice)


def embedded(image_size: int) -> VisionTransformer:
    return cast(VisionTransformer, load_backbone(image_size=image_size)).to(best_device())


# ---- the cases --------------------------------------------------------------------------------------------------


@contextmanager
def _large_steps(name: str, vit: VisionTransformer, batch: int) -> Iterator[dict[str, Callable[[], None]]]:
    """Steps in float32, and in bfloat16 where "auto" takes it; frozen weights are in bfloat16 in the meantime."""
    images, labels = _batch(vit, batch)
    steps = {}
    with ExitStack() as weights:
        for method in ("vpt-deep", "full"):
            for precision in dict.fromkeys(("fp32", resolved("auto"))):
                model = _model(method, vit)
                if precision == "bf16":
                    weights.enter_context(frozen_in_bfloat16(model))
                steps[f"{name} at {LARGE} px, {method}, {precision}"] = training_step(
                    model, model, images, labels, precision == "bf16"
                )
        yield steps


def _late_steps(vit: VisionTransformer, batch: int) -> dict[str, Callable[[], None]]:
    """VPT-deep, and prompts in the last third of the blocks alone, on the tokens that enter them."""
    images, labels = _batch(vit, batch)
    deep = _model("vpt-deep", vit)
    late = _model("vpt-late", vit)
    with torch.no_grad():
        kept = late.stem(images)
    return {
        "VPT-deep": training_step(deep, deep, images, labels),
        LATE: training_step(late, late.rest, kept, labels),
    }


def _small_seconds(batch: int, rounds: int) -> tuple[Seconds, dict[str, float]]:
    """Seconds of a step of each method at the embedded default's size, and its floor."""
    vit = embedded(EMBEDDED_IMAGE_SIZE)
    images, labels = _batch(vit, batch)
    models = {method: _model(method, vit) for method in FLOOR_TARGETS}
    steps = {_small(method): training_step(model, model, images, labels) for method, model in models.items()}
    seconds = alternated(steps, rounds, f"embedded at {EMBEDDED_IMAGE_SIZE} px, one thread")
    peak = matmul_peak()
    return seconds, {_small(method): flops / peak for method, flops in step_flops(vit, batch).items()}


def _choice_seconds(labelled: int, rounds: int) -> Seconds:
    """Seconds of choosing the input size on images of 256 px, and of an epoch of full fine-tuning on as many."""
    load_task(CHOICE_TASK)
    start = time.perf_counter()
    unused = int(time.time())  # answers are kept, so another choice of images is looked at in each run
    look(CHOICE_TASK, EMBEDDED, None, labelled, unused, precision="auto")
    seconds = time.perf_counter() - start
    vit = embedded(LARGE)
    model = _model("full", vit)
    step = training_step(model, model, *_batch(vit, CHOICE_BATCH), resolved("auto") == "bf16")
    steps = alternated({EPOCH: step}, rounds, EPOCH)[EPOCH]
    return {CHOICE: [seconds], EPOCH: [statistics.median(steps) * labelled / CHOICE_BATCH]}


def step_flops(vit: VisionTransformer, batch: int) -> dict[str, float]:
    """The least floating-point operations of a step of each method of `FLOOR_TARGETS`."""
    tokens = vit.num_prefix_tokens + vit.patch_embed.num_patches
    numbers, read = vit.patch_embed.proj.weight[0].numel(), tokens_read(vit) or tokens
    sizes = len(vit.blocks), vit.embed_dim, tokens
    return {
        "vpt-deep": fast_step_flops(*sizes, PROMPTS, batch, numbers, read),
        "full": full_step_flops(*sizes, batch, numbers, read),
        "vpt-shallow": shallow_step_flops(*sizes, PROMPTS, batch, numbers, read),
    }


def training_step(
    model: AdaptedModel, net: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor, bf16: bool = False
) -> Callable[[], None]:
    """A whole step as `fit` takes it under the rules "until done"; `net(inputs)` gives the logits."""
    optimiser = torch.optim.AdamW(model.parameter_groups(0.01), lr=1e-5, fused=True)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=bf16):
            logits = net(inputs)
        F.cross_entropy(logits.float(), labels).backward()
        optimiser.step()

    return step


def _model(method: str, vit: VisionTransformer) -> AdaptedModel:
    options = {"num_prompts": PROMPTS} if "vpt" in method else {}
    return build_method(method, copy.deepcopy(vit), CLASSES, **options).to(best_device()).train()


def _batch(vit: VisionTransformer, batch: int) -> tuple[Tensor, Tensor]:
    """Random images `B 3 H W` and labels `B`."""
    images = torch.randn(batch, 3, *vit.patch_embed.img_size, device=best_device())
    return images, torch.arange(batch, device=best_device()) % CLASSES


def _on_one_thread(run: Callable):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run()
    finally:
        torch.set_num_threads(threads)


def _small(method: str) -> str:
    return f"embedded at {EMBEDDED_IMAGE_SIZE} px, one thread, {method}"


# ---- the tables -------------------------------------------------------------------------------------------------


def _bf16_row(seconds: Seconds, name: str, method: str, target: float) -> tuple[str, str, float]:
    bf16, fp32 = (f"{name} at {LARGE} px, {method}, {precision}" for precision in ("bf16", "fp32"))
    ratio = f"{paired(seconds, bf16, fp32):.2f}" if bf16 in seconds else NO_BF16
    return f"{name} at {LARGE} px, {method}, auto precision ÷ float32", ratio, target


def _floor_row(seconds: Seconds, floors: dict[str, float], method: str) -> tuple[str, str, float]:
    case = _small(method)
    return f"{case} ÷ floor", f"{statistics.median(seconds[case]) / floors[case]:.2f}", FLOOR_TARGETS[method]


def _table(rows: list[tuple[str, str, float]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["case", "ratio", "target"])
    table["met"] = ["–" if ratio == NO_BF16 else "yes" if float(ratio) <= target else "no" for _, ratio, target in rows]
    return table


def _milliseconds(seconds: Seconds) -> pd.DataFrame:
    return pd.DataFrame([{"case": name, "ms": round(1000 * statistics.median(s))} for name, s in seconds.items()])
