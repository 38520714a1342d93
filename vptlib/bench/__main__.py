"""`make bench`: costs on this machine, as ratios within one run, and the measurement behind the embedded default.

Five tables are made on request only (`python -m vptlib.bench parity`, `store`, `answer`, `plan` or `scale`): `make
bench` leaves them out. The first trains in both precisions, the second fills databases with 100,000 runs, the third
makes one experiment the textbook way and our way, the fourth makes studies that `vpt plan` has forecast, and the last
(`make bench-scale`) shows how cost grows.

The cases that are compared are timed in turn, round after round, so that a machine that slows down slows all of them.
Tables are written to `reports/benchmarks/`. No test measures time.
"""

import copy
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F
from torch.utils.data import TensorDataset
from tqdm import tqdm

from vptlib.bench import (
    answer,
    arithmetic,
    cluster,
    crowd,
    operations,
    parity,
    plan,
    prompting,
    scale,
    servers,
    service,
    store,
)
from vptlib.data.files import ImageFiles, LazyImages
from vptlib.data.preparing import LazyPixels, prepare
from vptlib.data.splits import few_shot, fixed_test
from vptlib.data.tasks import load_task
from vptlib.paths import repository
from vptlib.tuning.backbones import EMBEDDED_DEPTH, EMBEDDED_IMAGE_SIZE, load_backbone, preprocessing
from vptlib.tuning.methods import STANDARD, AdaptedModel, build_method
from vptlib.tuning.precision import has_bfloat16, resolved
from vptlib.tuning.training import best_device

TASKS = ("fashion-mnist", "digits", "dsprites-location", "object-count")
IMAGE_SIZES, DEPTHS = (56, 84, 98), (9, 12)
START_SECONDS = 1.0
# Half an hour; a quarter of an hour, and PostgreSQL; ten minutes; eight minutes; a quarter of an hour, and PostgreSQL.
ON_REQUEST = ("parity", "store", "answer", "plan", "scale")


def main() -> None:
    """Run all measurements and write their tables, or only those that the arguments name."""
    folder = repository() / "reports" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "prompting": _prompting,
        "arithmetic": _arithmetic,
        "training_steps": _training_steps,
        "loading": _loading,
        "embedded_default": _embedded_default,
        "operations": _operations,
        "service": _service,
        "start": _start,
        "cluster": _cluster,
        "parity": _parity,
        "store": _stores,
        "answer": _answer,
        "plan": _plan,
        "scale": _scale,
    }
    wanted = sys.argv[1:] or [name for name in tables if name not in ON_REQUEST]
    for name in wanted:
        if name not in tables:
            sys.exit(f"there is no table {name!r}: take one of {', '.join(tables)}.")
    for name in wanted:
        title, parts = tables[name](folder)
        command = f"python -m vptlib.bench {name}" if name in ON_REQUEST else "make bench"
        _write(folder / f"{name}{_suffix()}.md", title, [*parts, f"Repeat with `{command}`."])


def _prompting(folder: Path) -> tuple[str, list]:
    ratios, absolutes = prompting.measure()
    picture = f"prompting{_suffix()}.png"
    prompting.ratio_figure(ratios).savefig(folder / picture, dpi=110)
    parts = [
        _PROMPTING_TEXT,
        ratios.round({"ratio": 2}),
        f"![ratios and targets]({picture})",
        _ABSOLUTES_TEXT,
        absolutes,
    ]
    return "What prompting costs: ViT-B/16 at 224 px, batch 8", parts


def _arithmetic(_: Path) -> tuple[str, list]:
    ratios, milliseconds = arithmetic.measure()
    return "A training step in the arithmetic of this machine", [_ARITHMETIC_TEXT, ratios, milliseconds]


def _stores(_: Path) -> tuple[str, list]:
    _check_postgres()
    table = store.measure()
    return "What a store with many runs costs", [_STORE_TEXT, store.bounds(table), "Seconds, medians.", table]


def _check_postgres() -> None:
    if servers.postgres_programs() is None:
        sys.exit("there is no PostgreSQL here: apt-get install postgresql.")


def _scale(folder: Path) -> tuple[str, list]:
    _check_postgres()
    found, picture = scale.measure(), f"scale{_suffix()}.png"
    scale.figure(found).savefig(folder / picture, dpi=110)
    points = next(points for line, points in found if line.measure is scale.workers)
    with servers.servers() as (_, server):
        rates = crowd.server_rates(server.address)
    no_ops = crowd.no_ops_a_second(cluster.NO_OPS)
    further = scale.beyond(points, no_ops, rates)
    shared = _SHARED_TEXT.format(no_ops=no_ops, runs=rates.runs, beats=rates.beats)
    simulated = _BEYOND_TEXT.format(crowded=1 / further.costs.scheduler)
    parts = [_GROWTH_TEXT, scale.table(found), f"![time and memory against what grows]({picture})"]
    return "How cost grows", [*parts, shared, further.checks, simulated, further.studies]


def _plan(_: Path) -> tuple[str, list]:
    return "Whether `vpt plan` is right", [_PLAN_TEXT, plan.measure()]


def _answer(_: Path) -> tuple[str, list]:
    bounds, ways, methods = answer.measure()
    parts = [_ANSWER_TEXT, bounds, _PAPERS_TEXT, ways, _METHODS_TEXT, methods]
    return "What an answer costs: the textbook way and our way", parts


def _cluster(_: Path) -> tuple[str, list]:
    bounds, ways = cluster.measure()
    return "What a cluster costs", [_CLUSTER_TEXT, bounds, "The medians behind the first line.", ways]


def _training_steps(_: Path) -> tuple[str, list]:
    return "One training step on the embedded default", [_STEPS_TEXT, training_steps()]


def _loading(_: Path) -> tuple[str, list]:
    return "How long a training step waits for its images", [_LOADING_TEXT, loading()]


def _embedded_default(_: Path) -> tuple[str, list]:
    return "Image size and depth of the embedded backbone", [_DEFAULT_TEXT, frozen_features()]


def _operations(folder: Path) -> tuple[str, list]:
    found, picture = operations.measure(), f"operations{_suffix()}.png"
    operations.scale_figure(found.scale).savefig(folder / picture, dpi=110)
    scale = [_SCALE_TEXT, operations.scale_table(found.scale), f"![bytes by number of tasks]({picture})"]
    parts = [_OPERATIONS_TEXT, found.bounds, *scale, "The medians behind the first table.", found.milliseconds]
    return "What operations cost: many tasks on one backbone", parts


def _service(_: Path) -> tuple[str, list]:
    found = service.measure()
    parts = [_SERVICE_TEXT, found.bounds, "The medians behind the first table.", found.figures]
    return "How long an image waits for its answer", parts


def _start(_: Path) -> tuple[str, list]:
    return "How soon `vpt --help` answers", [_START_TEXT, start()]


def _parity(_: Path) -> tuple[str, list]:
    if resolved("auto") != "bf16":
        sys.exit("parity needs a machine that is faster in bfloat16; this one is not.")
    table, winners = parity.measure()
    return "The same answers in bfloat16 as in float32", [_PARITY_TEXT, table, winners]


def _suffix() -> str:
    """Ends the names of a GPU's files, which are in the same folder as those of the CPU."""
    return "_gpu" if torch.cuda.is_available() else ""


def training_steps(batch: int = 32, rounds: int = 15) -> pd.DataFrame:
    """Time of a whole training step of each method, and of VPT-deep in its textbook form, relative to "full"."""
    images = torch.randn(batch, 3, EMBEDDED_IMAGE_SIZE, EMBEDDED_IMAGE_SIZE, device=best_device())
    labels = torch.randint(10, (batch,), device=best_device())
    vit = load_backbone()
    models = {name: build_method(name, copy.deepcopy(vit), 10) for name in STANDARD}
    models["vpt-deep, textbook form"] = build_method("vpt-deep", copy.deepcopy(vit), 10, fast=False)
    steps = {name: _step(model.to(best_device()).train(), images, labels) for name, model in models.items()}
    seconds = _alternated(steps, rounds)
    full = seconds["full"]
    rows = [
        {"step": name, "÷ full": round(s / full, 2), "ms": round(1000 * s), "images/s": round(batch / s)}
        for name, s in seconds.items()
    ]
    return pd.DataFrame(rows)


def loading(batch: int = 16, images: int = 400, rounds: int = 15) -> pd.DataFrame:
    """Time to prepare a batch, and its share of a whole training step of VPT-deep, for each source of images."""
    vit = load_backbone()
    wanted = preprocessing(vit)
    small = prepare(load_task("fashion-mnist").train.select(np.arange(images)), wanted).tensors[0]
    model = build_method("vpt-deep", vit, 10).to(best_device()).train()
    step = _step(model, small[:batch].to(best_device()), torch.arange(batch, device=best_device()) % 10)
    with tempfile.TemporaryDirectory() as folder:
        lazy = LazyPixels(LazyImages(_photographs(Path(folder), images), np.arange(images), np.zeros(images)), wanted)
        lazy[:]  # decodes all of them once
        sources = {"the embedded default: all prepared in memory": small, "a large set: decoded bytes on disk": lazy}
        draws = {name: _draw(source, batch) for name, source in sources.items()}
        seconds = _alternated({"step": step} | draws, rounds)
    rows = [
        {
            "images": name,
            "ms for a batch": round(1000 * seconds[name], 2),
            "ms for the rest of the step": round(1000 * seconds["step"], 1),
            "share of waiting": f"{100 * seconds[name] / (seconds[name] + seconds['step']):.1f} %",
        }
        for name in sources
    ]
    return pd.DataFrame(rows)


def _photographs(folder: Path, count: int) -> ImageFiles:
    """JPEG files of 300 px with noise."""
    draw, paths = np.random.default_rng(0), [folder / f"{k:05}.jpg" for k in range(count)]
    for path in paths:
        Image.fromarray(draw.integers(0, 255, (300, 300, 3), dtype=np.uint8)).save(path)
    return ImageFiles(paths)


def _draw(source: torch.Tensor | LazyPixels, batch: int) -> Callable[[], None]:
    """A function that takes a batch at random positions, as `fit` does."""
    generator = torch.Generator().manual_seed(0)

    def draw() -> None:
        source[torch.randperm(len(source), generator=generator)[:batch]].to(best_device())

    return draw


def start(rounds: int = 7) -> pd.DataFrame:
    """CPU time of `vpt --help`, compared with a bare Python; `vpt --help` must not load torch."""
    commands = {"python -c pass": ["-c", "pass"], "vpt --help": ["-m", "vptlib", "--help"]}
    seconds = {name: [] for name in commands}
    for _ in range(rounds):
        for name, arguments in commands.items():
            seconds[name].append(_cpu_seconds([sys.executable, *arguments]))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    bare, answered = medians.values()
    row = {"command": "vpt --help", "CPU seconds": round(answered, 2), "÷ bare Python": round(answered / bare, 1)}
    return pd.DataFrame([row | {"target, seconds": START_SECONDS, "met": "yes" if answered <= START_SECONDS else "no"}])


def _cpu_seconds(command: list[str]) -> float:
    """User time of a process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def frozen_features(train_images: int = 1000, test_images: int = 500) -> pd.DataFrame:
    """Accuracy of a logistic regression on frozen features, and forward time, for each image size and depth."""
    rows = []
    with tqdm(total=len(IMAGE_SIZES) * len(TASKS), desc="frozen features") as bar:
        for size in IMAGE_SIZES:
            vits = {depth: load_backbone(image_size=size, depth=depth).to(best_device()) for depth in DEPTHS}
            for name in TASKS:
                task = load_task(name)
                train = task.train.select(few_shot(task.train.labels, train_images, seed=0))
                test = task.test.select(fixed_test(task.test.labels, test_images))
                train, test = (prepare(part, preprocessing(vits[9])) for part in (train, test))
                for depth, vit in vits.items():
                    rows.append({"image_size": size, "depth": depth, "task": name} | _probe(vit, train, test))
                bar.update()
    table = pd.DataFrame(rows)
    wide = table.pivot(index=["image_size", "depth"], columns="task", values="accuracy")[list(TASKS)]
    wide.insert(0, "mean", wide.mean(axis=1))
    seconds = table.groupby(["image_size", "depth"])["seconds"].sum()
    base = seconds[IMAGE_SIZES[0], DEPTHS[0]]
    wide = (100 * wide).round(1)
    wide.insert(0, f"time ÷ ({IMAGE_SIZES[0]} px, {DEPTHS[0]} blocks)", (seconds / base).round(2))
    return wide.reset_index()


def _probe(vit, train: TensorDataset, test: TensorDataset) -> dict[str, float]:
    start = time.perf_counter()
    features = [_features(vit, data.tensors[0]) for data in (train, test)]
    seconds = time.perf_counter() - start
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, tol=1e-2, max_iter=1000))
    probe.fit(features[0], train.tensors[1].numpy())
    return {"accuracy": probe.score(features[1], test.tensors[1].numpy()), "seconds": seconds}


@torch.inference_mode()
def _features(vit, images: torch.Tensor):
    parts = [vit.forward_head(vit.forward_features(p.to(best_device())), pre_logits=True) for p in images.split(100)]
    return torch.cat(parts).cpu().numpy()


def _step(model: AdaptedModel, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(model.parameter_groups(0.01), lr=1e-5)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        optimiser.step()
        if images.is_cuda:
            torch.cuda.synchronize()

    return step


def _alternated(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each step. Every round times each step once; the first two rounds do not count."""
    seconds = {name: [] for name in steps}
    for turn in tqdm(range(rounds + 2), desc="training steps"):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _write(path: Path, title: str, parts: list[str | pd.DataFrame]) -> None:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU{_bfloat16()}"
    where = f"{device}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, torch {torch.__version__}."
    text, *others = [_markdown(part) if isinstance(part, pd.DataFrame) else part for part in parts]
    path.write_text("\n\n".join([f"# {title}", text, where, *others]) + "\n")
    print(path.read_text())


def _bfloat16() -> str:
    """The instructions for bfloat16 that this CPU has, for a line of text."""
    if torch.cpu._is_amx_tile_supported():
        return " with AMX"
    return " with AVX-512 bfloat16" if has_bfloat16() else " without fast bfloat16"


def _markdown(table: pd.DataFrame) -> str:
    lines = [list(map(str, table.columns)), ["---"] * table.shape[1], *table.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_PROMPTING_TEXT = (
    "All cases are taken in turn, eleven rounds in one run; a ratio is the median over the rounds of two cases within "
    "a round. A training step is forward, backward and AdamW. Random weights, random images. The *textbook* form runs "
    "prompts through the blocks as tokens; the *fast* form gives the same numbers (tests hold it to 1e-10) with "
    "prompts as further keys and values. Memory is the peak of resident memory above the built model, in a process "
    "for each case. *Kept tokens*: what the frozen blocks before the first prompt give, computed once."
)
_ABSOLUTES_TEXT = (
    "The figures behind the ratios. *× floor* is the measured time over the time that the matrix products which the "
    "equations ask for would take at the speed of one product of two 2048 × 2048 matrices, measured in the same run; "
    "norms, softmax, GELU and AdamW come on top and are not in the floor."
)
_ARITHMETIC_TEXT = (
    "Forward, backward and fused AdamW, 10 prompts, random images: 8 at 224 px, 32 at 56 px. Cases are timed in turn, "
    "seven rounds in one run; a ratio is the median over the rounds. *auto precision*: bfloat16 if a short measurement "
    "shows that it is faster here, with frozen weights cast once; its target is for a CPU with AMX. *Floor*: the time "
    "of the matrix products that the equations ask for, at the speed of one product of two 2048 × 2048 matrices on one "
    "thread in the same run. *Kept tokens*: what the frozen blocks before the first prompt give, computed once. "
    "*Choosing the input size*: 400 images of surface-inspection, drawn at 256 px, pass once at each size, and a probe "
    "is cross-validated on the features; it is timed once, and its images are resized in that time."
)
_PARITY_TEXT = (
    f"Per cent of 400 test images that are right, with {parity.LABELLED} labelled images; means of "
    f"{len(parity.SEEDS)} seeds, every run trained until it is done. *Spread of seeds*: standard deviation over the "
    "seeds in float32. Two trainings that round differently part as two seeds do, so the difference of two such means "
    "moves by about 0.8 of that spread from luck alone. A difference within it is no sign of the precision."
)
_STEPS_TEXT = (
    f"Forward, backward and AdamW on 32 images of {EMBEDDED_IMAGE_SIZE} px, first {EMBEDDED_DEPTH} blocks of ViT-S/14, "
    "10 prompts; medians of alternated rounds. The linear probe is timed without its cache of features: with it, a "
    "step costs next to nothing."
)
_LOADING_TEXT = (
    f"Sixteen images of {EMBEDDED_IMAGE_SIZE} px at random places of 400, for a training step of VPT-deep on the "
    "embedded backbone (forward, backward and AdamW); medians of alternated rounds. The set on disk was decoded "
    "before, from JPEG files of 300 px: bytes are read from a mapped file and normalised for each batch. Nothing is "
    "loaded ahead, so all of it is waiting. Trust the share, not the times, where other work ran on the machine. On a "
    "GPU, where a step is shorter, the share is larger; measure it there."
)
_OPERATIONS_TEXT = (
    f"The embedded backbone ({EMBEDDED_IMAGE_SIZE} px where no size is given); tasks of VPT-deep with 10 prompts and "
    "10 classes, whose numbers are drawn. *Batch*: 64 images. Its cases are taken in turn, fifteen rounds in one run; "
    "a ratio is the median over the rounds of two cases within a round. *Of several lengths*: tasks of 5, 10, 20 and "
    "50 prompts by turns, against one task of 10. *Loading*: the file is read, built, tried on its canaries and "
    "published; the system has its bytes in memory. *Registry*: an SQLite file, in which every tenth version was "
    "promoted; the start of a process is not counted. *vpt predict*: all of the command after its start, from reading "
    "the model file to the written answers and their page, on JPEG files of 480 × 360 pixels. It is compared with a "
    "pass of timm's backbone over the same images, decoded and prepared before; three rounds. The target is for "
    "112 px. At 56 px a pass is so short that decoding has a large share, and the ratio tells of JPEG. *Decoding "
    "alone*: the same threads without a model."
)
_SCALE_TEXT = (
    "What many tasks need. Figures in italics, and open marks, are computed from the mean of a measured task. The "
    "others are sizes of real files, and what a bank counts that has loaded them; the first table compares that count "
    "with the growth of a real process. Prompts and linear probes count the shared backbone once; whole models do "
    "without it. Each file also holds canaries, and the answers to and main features of 400 test images. A bank may "
    "need 64 MiB more for keys and values of batches that come again."
)
_SERVICE_TEXT = (
    "Eight clients ask at once, and each sends its next image when it has the answer to the last one: JPEG files of "
    "300 × 300 pixels, for the embedded backbone at 112 px and tasks of VPT-deep with 10 prompts, whose numbers are "
    "drawn. A latency goes from sending an image to its answer; p95 is what one in twenty exceeds. *The model's own "
    "batch*: one pass with 8 images of one task that are decoded and prepared already. *Desk*: the heart of the "
    "service in the same process. *Service over HTTP*: a process of its own, asked over loopback by clients that need "
    "time of the same cores. All is taken in turn, five rounds in one run; a ratio is the median over the rounds of "
    "two cases within a round."
)
_STORE_TEXT = (
    "A study of 57 runs (3 methods, 19 seeds) in a store with other runs: copies of one of its runs under other keys, "
    "with all figures, parameters and tags, but without histories and files. *Open, first*: a process that has not "
    "used the store before looks for all 57 runs, and fetches and checks the results of each. *Open, again*: the "
    "results were fetched before. *Open, no run yet*: none of the 57 is there. *Store a run*: all of it, with its "
    "results on 400 test images. *List keys*: of all runs, by SQL, as docs/cluster/store.md says. PostgreSQL and the "
    "MLflow server (2 worker processes) run on the same machine as the study, over loopback; the index is that of the "
    "page. Without it PostgreSQL reads all tags for each of the 57 keys: MLflow can search for one key at a time. "
    "MLflow's server needs about 20 ms of CPU for a search, however many runs there are, and about 4 ms for each run "
    "that it gives; so a list of all runs through it would take minutes."
)
_ANSWER_TEXT = (
    f"{answer.EXPERIMENT.in_words} Each way is made once, in a new process with an empty store, one after the other. "
    "Time goes from the call to the table of runs; the start of workers and of the store is in it. *Textbook*: prompts "
    "are tokens. Every step goes through the whole backbone, and its images are prepared anew. Settings are tried one "
    "after the other, and each step is shared out to all cores. AdamW is as PyTorch has it by default. *Our way, same "
    "rules*: `Study.run` with the same settings and steps. Prompts are keys and values, features of a linear probe are "
    "computed once, and each core makes a run of its own. The numbers differ by rounding only, but that grows where a "
    "rate is so high that training breaks down. These rules stop no training early. *Our way, until done*: `Study.run` "
    "under our own rules, which stop the worse half of the candidates early and solve the linear probe. This is "
    "another protocol for the same question. Images, methods and the largest number of steps are the same. Its "
    "settings are others, and a fifth of the images never trains."
)
_PAPERS_TEXT = (
    "*The papers' own experiment*: all 296 settings of a task (linear 40, VPT-deep 240, full 16) for ViT-B/16 at "
    "224 px. Its matrix products are counted, not timed, and runs side by side are no part of it. Nearly all of them "
    "are VPT-deep. There the fast form is all that can be saved with the same numbers; more needs fewer steps."
)
_METHODS_TEXT = (
    "By method. *Core-minutes*: of all cores together. *Difference*: in points, on the same "
    f"{answer.EXPERIMENT.test_images} test images, with the interval of `vptlib.evidence.resampling`. There is one "
    "seed, so it shows the choice of test images only."
)
_PLAN_TEXT = (
    "Small studies, each in a process of its own with an empty store. `vpt plan` forecasts first, then the runs are "
    "made. *Forecast*: of all runs, with the start of the workers. *Taken*: from the first run to the last one stored; "
    "opening the store is not in it. *Miniature*: tasks in the layout of VTAB-1k under the published rules, with few, "
    f"small images and a small backbone of random weights; {len(plan.MINIATURE_TASKS)} of the 19."
)
_CLUSTER_TEXT = (
    f"A study of {len(cluster.STUDY.cells())} runs on fashion-mnist (VPT-deep and full fine-tuning, 100 labelled "
    f"images, {cluster.STUDY.most_steps} steps, the embedded backbone at 56 px), in an SQLite store of its own each "
    f"time. The ways are taken in turn, {cluster.ROUNDS} rounds in one run; a ratio is the median over the rounds. "
    "Each way has made a small study in its store before, so imports, loading and making the store are not counted. "
    "*Two workers of a cluster*: `cluster: local:2`, each with one thread. Their accuracies are those of two "
    "processes, digit for digit; this is checked. *Time of the engine*: what a run takes beyond its training and "
    "testing: claim, look-ups, images, storing, scheduling. *Runs that do nothing*: "
    f"{cluster.NO_OPS:,} of them through the engine and the scheduler, without a store; the workers are threads of one "
    "process, and all share two cores."
)
_GROWTH_TEXT = (
    "Each line is measured in a process of its own, on drawn images, with the embedded backbone at 56 px. Memory is "
    "the most that the process has above what it had before. *Exponent*: the slope of the larger half of the line, "
    "both axes logarithmic: 0 does not grow, 1 grows in proportion, 2 with the square. *Theory*: the exponent that "
    "the arithmetic or the data structure has; where two are given, a constant part comes first, and the second one "
    "holds when the part that grows outweighs it."
)
_SHARED_TEXT = (
    "**What all workers share**, measured here: the engine and the scheduler finish {no_ops:.0f} runs a second that do "
    f"nothing ({crowd.CROWD} workers). An MLflow server on PostgreSQL bears {{runs:.0f}} runs a second (claimed, "
    "looked for, stored, given back), or {beats:.0f} signs of life. A worker that trains gives one every "
    f"{crowd.BEAT:.0f} seconds. Four client processes, the server and the database share two cores. From these figures "
    "a simulation takes a study from event to event: it waits for the scheduler, sleeps instead of training, and waits "
    "for the store. First it is compared with real workers whose runs sleep for a second and store nothing:"
)
_BEYOND_TEXT = (
    f"**Simulated**: {scale.RUNS:,} runs on {scale.WORKERS:,} workers of one scheduler and one server such as these. "
    "With hundreds of workers the scheduler is slower than the simulation says, because each result is fetched from "
    "its worker, and here all share two cores. So the simulation goes on with the pace that it had with most of them, "
    "{crowded:.0f} runs a second. *Never*: the signs of life alone are more than the server bears. More cores for the "
    "server help then, or fewer workers with larger runs. *Workers that can be busy*: with more of them the study is "
    "not made sooner."
)
_START_TEXT = (
    "User CPU time of a whole process, Python's own start included; medians of seven alternated rounds. "
    "`python -c pass` is the bare Python."
)
_DEFAULT_TEXT = (
    "Per cent of 500 test images that a logistic regression (stopped at tolerance 0.01) on the frozen features of "
    "1,000 images gets right (head input: class token joined with the mean of the patch tokens, after the final norm), "
    "and the time of the forward passes. One standard error of a cell is about 2 points."
)

if __name__ == "__main__":
    main()
