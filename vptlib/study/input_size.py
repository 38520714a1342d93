"""The input size of a study, chosen by looking, before anything is trained.

Each labelled image passes once through the frozen backbone at several input sizes. On the features of each size a
logistic regression is trained to convergence and cross-validated on the labelled images alone. The smallest size within
one standard error of the best is taken (Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984,
section 3.4.3). The error is that of the paired difference, because all sizes are judged on the same images.

Answers are kept in the cache folder, one file for each size, so that other processes have them at once.
"""

import hashlib
import json
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from PIL import ExifTags, Image
from timm.models.vision_transformer import VisionTransformer
from tqdm import tqdm

from vptlib.data.files import ImageFiles, Images, LazyImages
from vptlib.data.preparing import ImageSet, aspect_in_effect, prepare
from vptlib.data.splits import few_shot, folds_of_groups
from vptlib.data.tasks import Task, load_task
from vptlib.errors import UserError
from vptlib.paths import cache_folder, write_whole
from vptlib.statement import Statement, statement
from vptlib.study.plan import Plan
from vptlib.study.published_rules import DONE
from vptlib.tuning.backbones import default_aspect, fingerprint, load_backbone, preprocessing, set_aspect
from vptlib.tuning.methods import build_method
from vptlib.tuning.precision import resolved
from vptlib.tuning.training import best_device

# Part of every kept answer's key. Increase it when the meaning of an answer changes.
EDITION = 1
# More labelled images than these are not looked at: they hardly sharpen the choice.
MOST_IMAGES = 1000
FOLDS, REPEATS = 5, 3  # the folds are drawn several times, so that their luck weighs less
# Inverse strengths of the penalty, as scikit-learn counts them; the one of the lowest loss is taken at each size.
STRENGTHS = tuple(10.0**e for e in (-4, -3.5, -3, -2.5, -2, -1.5, -1, 0))
# Sizes to look at, as multiples of the backbone's own size: of one up to `SMALL` pixels, and of a larger one.
TIMES_SMALL, TIMES = (1, 2, 3, 4), (0.5, 0.7, 1, 1.43)
SMALL = 112
# More patches than these, 40 × 40, are looked at only if the backbone's own size has them.
MOST_PATCHES = 1600
# The images' own size is looked at if it is this many times the next smaller size.
LEAST_STEP = 1.25
MOST_MEASURED = 500  # images whose width and height are read
_BATCH = 32


@dataclass(frozen=True)
class SizeSeen:
    """What the labelled images gave at one input size.

    Attributes:
        size: side of the square in pixels.
        accuracy, standard_error: of the cross-validated logistic regression, as fractions.
        behind: accuracy of the best size less this one.
        behind_error: standard error of that difference; it is paired.
        seconds_per_image: of the forward pass, without decoding.
        tokens: patches and further tokens of one image.
        relative_cost: of a training step, in arithmetic, as a multiple of the smallest size's.
    """

    size: int
    accuracy: float
    standard_error: float
    behind: float
    behind_error: float
    seconds_per_image: float
    tokens: int
    relative_cost: float


@dataclass(frozen=True)
class InputSizes:
    """What was seen at several input sizes, and which of them is taken.

    Attributes:
        rows: by size, the smallest first; empty if only one size was possible, because nothing is then looked at.
        chosen: the input size to take, in pixels.
        default: the backbone's own.
        fixed: whether the backbone takes no other size.
        aspect: how images become square; "squash" if all of them are.
        images_px: median width and height of the training images.
        short_sides: least, median and largest short side of the training images, in pixels.
        n: labelled images that were looked at; 0 if nothing was.
        folds: of the cross-validation.
        kind: of the folds: "stratified", "groups" (whole groups stay together), or "plain" (no class has two images).
        further: the next larger size that the images have pixels for and that was not looked at, or None.
        without_limit: the size that would be taken if a limit did not forbid it, or None if no limit does.
    """

    rows: tuple[SizeSeen, ...]
    chosen: int
    default: int
    fixed: bool
    aspect: str
    images_px: tuple[int, int]
    short_sides: tuple[int, int, int]
    n: int
    folds: int
    kind: str
    further: int | None
    without_limit: int | None = None

    @property
    def best(self) -> int:
        """The size of the highest accuracy; where two are equal, the smaller one."""
        return max(self.rows, key=lambda row: (row.accuracy, -row.size)).size if self.rows else self.chosen

    def at(self, size: int) -> SizeSeen:
        """What was seen at one of the sizes."""
        return next(row for row in self.rows if row.size == size)

    def table(self) -> pd.DataFrame:
        """The rows, a column for each attribute of `SizeSeen`, and whether a size is `chosen`."""
        columns = list(SizeSeen.__dataclass_fields__)
        frame = pd.DataFrame([asdict(row) for row in self.rows], columns=columns)
        return frame.assign(chosen=frame["size"] == self.chosen)

    def statement(self) -> Statement:
        """What was chosen, and why."""
        if self.fixed:
            return statement("input_size_fixed", size=self.chosen)
        if not self.rows:
            return statement("input_size_only", size=self.chosen, images=list(self.images_px))
        chosen, best = self.at(self.chosen), self.at(self.best)
        if self.without_limit is not None:
            wanted = self.at(self.without_limit)
            return statement(
                "input_size_limited",
                size=self.chosen,
                accuracy=chosen.accuracy,
                wanted=wanted.size,
                wanted_accuracy=wanted.accuracy,
            )
        return statement(
            "input_size_chosen",
            size=self.chosen,
            accuracy=chosen.accuracy,
            best=self.best,
            best_accuracy=best.accuracy,
            error=chosen.behind_error,
            sizes=[row.size for row in self.rows],
        )

    def findings(self) -> list[Statement]:
        """What a reader should know beyond the choice: a larger input may do better, or images differ much in size."""
        found = []
        if self.without_limit is not None:
            larger, row = self.at(self.without_limit), self.at(self.chosen)
            found.append(
                statement(
                    "larger_input_needs_time", size=larger.size, accuracy=larger.accuracy, smaller=row.size,
                    smaller_accuracy=row.accuracy,
                )
            )  # fmt: skip
        elif self.best > self.chosen:
            row = self.at(self.chosen)
            found.append(self._larger(self.best, self.chosen, row.behind, row.behind_error, rising=False))
        elif self.further and (before := self._last_step_up()):
            found.append(self._larger(self.further, before.size, before.behind, before.behind_error, rising=True))
        least, _, most = self.short_sides
        if self.rows and most >= 10 * least:
            found.append(statement("input_sizes_mixed", least=least, median=self.short_sides[1], most=most))
        return found

    def reasons(self) -> list[Statement]:
        """The choice, how it was made, and the findings."""
        if not self.rows:
            return [self.statement()]
        looked = statement("input_size_probe", n=self.n, folds=self.folds, kind=self.kind)
        return [self.statement(), looked, *self.findings()]

    def _last_step_up(self) -> SizeSeen | None:
        """The second largest size, if the largest is the best and ahead of it by more than the standard error."""
        *_, before, largest = (None, None, *self.rows)
        if before is None or largest is None or largest.size != self.best:
            return None
        return before if before.behind > before.behind_error else None

    def _larger(self, size: int, smaller: int, gain: float, error: float, rising: bool) -> Statement:
        return statement("larger_input", size=size, smaller=smaller, gain=gain, error=error, rising=rising)


# ---- for a plan -------------------------------------------------------------------------------------------------


def chosen_size(plan: Plan) -> int | None:
    """The input size of a plan, or None for the backbone's own.

    Under the rules "until done", a size that is not given is chosen by `look`. The clean labels choose it, so that a
    study under harder conditions has the size of the clean one.

    Raises:
        UserError: as `look`.
    """
    seen = sizes_seen(plan)
    if seen is None:
        return plan.image_size
    return None if seen.fixed else seen.chosen


def sizes_seen(plan: Plan) -> InputSizes | None:
    """What was seen to choose a plan's input size, or None if nothing is to be chosen."""
    if plan.rules != DONE or plan.image_size is not None:
        return None
    about = (plan.task, plan.backbone, plan.depth, plan.sizes[-1], plan.seeds[0])
    return within(plan.image_size_limit, look(*about, plan.aspect, precision=plan.precision))


def within(limit: int | None, seen: InputSizes) -> InputSizes:
    """What was seen; if the choice is above `limit`, the best size up to it is chosen, or the smallest of all."""
    if limit is None or seen.chosen <= limit or not seen.rows:
        return seen
    allowed = [row for row in seen.rows if row.size <= limit] or [seen.rows[0]]
    chosen = max(allowed, key=lambda row: (row.accuracy, -row.size)).size
    return replace(seen, chosen=chosen, without_limit=seen.chosen if chosen != seen.chosen else None)


def reasons_for(plan: Plan) -> list[Statement]:
    """Why a plan has its input size: what was chosen and how, or that it was given; findings come last."""
    seen = sizes_seen(plan)
    if seen is not None:
        return seen.reasons()
    return [] if plan.image_size is None else [statement("input_size_by_hand", size=plan.image_size)]


# ---- what to look at --------------------------------------------------------------------------------------------


def sizes_to_look_at(task: Task, vit: VisionTransformer) -> tuple[int, ...]:
    """Input sizes to compare, in pixels: about four, from a small one up to the images' own size.

    All are multiples of the patch. The backbone's own size is one of them. No other is above the median short side of
    the training images, because larger inputs would show nothing more.

    Args:
        task: whose training images are measured.
        vit: the backbone at its own size.
    """
    own, patch = _side_and_patch(vit)
    return _sizes_between(own, patch, int(np.median(_sides(task.train).min(axis=1))))


def _side_and_patch(vit: VisionTransformer) -> tuple[int, int]:
    return vit.patch_embed.img_size[0], vit.patch_embed.patch_size[0]


def _sizes_between(own: int, patch: int, short_side: int) -> tuple[int, ...]:
    times = TIMES_SMALL if own <= SMALL else TIMES
    steps = {max(1, round(own * factor / patch)) * patch for factor in times}
    steps = {size for size in steps if (size // patch) ** 2 <= MOST_PATCHES}
    sizes = {own} | {size for size in steps if size <= short_side}
    whole = short_side // patch * patch
    if LEAST_STEP * max(sizes) <= whole < max(steps):
        sizes.add(whole)
    return tuple(sorted(sizes))


def _further(largest: int, patch: int, short_side: int) -> int | None:
    """The next size above the largest, if the images have the pixels for it."""
    size = min(round(TIMES[-1] * largest / patch), short_side // patch) * patch
    return size if size >= LEAST_STEP * largest else None


def _sides(images: ImageSet | LazyImages) -> np.ndarray:
    """Width and height in pixels, the right way up, of up to `MOST_MEASURED` images, evenly spread: `N 2`."""
    if isinstance(images, ImageSet):
        height, width = images.images.shape[1:3]
        return np.array([[width, height]])
    spread = np.linspace(0, len(images) - 1, min(len(images), MOST_MEASURED)).astype(int)
    return np.array([_width_and_height(images.source, row) for row in images.rows[spread].tolist()])


def _width_and_height(source: Images, row: int) -> tuple[int, int]:
    """Read from the header where there is a file; a file that cannot be read is named when it is decoded."""
    if not isinstance(source, ImageFiles):
        return source.open(row).size
    try:
        with Image.open(source.paths[row]) as image:
            lies_on_its_side = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return (image.height, image.width) if lies_on_its_side else image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return source.open(row).size


# ---- looking ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Backbone:
    """What is needed to know of a backbone before it is loaded at another size."""

    own: int
    patch: int
    aspect: str
    fingerprint: str


@lru_cache(maxsize=8)
def _backbone(name: str, depth: int | None) -> _Backbone:
    vit = load_backbone(name, depth=depth)
    return _Backbone(*_side_and_patch(vit), default_aspect(vit), fingerprint(vit))


@lru_cache(maxsize=64)
def look(
    task_name: str,
    backbone: str,
    depth: int | None,
    n: int,
    seed: int,
    aspect: str = "auto",
    sizes: tuple[int, ...] | None = None,
    precision: str = "fp32",
) -> InputSizes:
    """Compare input sizes by frozen features of labelled images, and take one. A bar shows the time left.

    A stopped look goes on where it was: sizes that were finished are kept. No test image is used.

    Args:
        task_name, backbone, depth: as in a `Plan`.
        n: labelled images of the largest budget; `MOST_IMAGES` of them at most are used.
        seed: that chooses them.
        aspect: "squash", "crop", "pad", or "auto" for that of the backbone.
        sizes: in pixels; by default those of `sizes_to_look_at`.
        precision: of the forward passes, "fp32", "bf16" or "auto".

    Raises:
        UserError: the task cannot give `n` images, a file is not a whole image, or one of `sizes` is impossible.
    """
    task, about = load_task(task_name), _backbone(backbone, depth)
    sides = _sides(task.train)
    short = sides.min(axis=1)
    wanted = sizes or _sizes_between(about.own, about.patch, int(np.median(short)))
    unseen = InputSizes(
        rows=(),
        chosen=min(wanted),
        default=about.own,
        fixed=False,
        aspect=aspect_in_effect(task.train, about.aspect if aspect == "auto" else aspect),
        images_px=(int(np.median(sides[:, 0])), int(np.median(sides[:, 1]))),
        short_sides=(int(short.min()), int(np.median(short)), int(short.max())),
        n=0,
        folds=0,
        kind="",
        further=_further(max(wanted), about.patch, int(np.median(short))),
    )
    if len(wanted) == 1:
        return unseen
    looks = _Looks(task, few_shot(task.train.labels, n, seed), unseen.aspect, resolved(precision), backbone, depth)
    seen = looks.all(wanted, may_fail=sizes is None)
    if set(seen) == {about.own}:
        return replace(unseen, chosen=about.own, fixed=True)
    rows = compared(seen, looks.clusters)
    counts = {"n": len(looks.chosen), "folds": len(looks.folds[0]), "kind": looks.kind}
    return replace(unseen, rows=rows, chosen=smallest_within_error(rows), **counts)


def _digest(numbers: np.ndarray) -> str:
    return hashlib.sha256(numbers.astype(np.int64).tobytes()).hexdigest()


class _Looks:
    """Looks at one task, a size at a time; the answer for each size is kept in a file of its own.

    Attributes:
        chosen: indices of the labelled images, at most `MOST_IMAGES` unless there are very many classes.
        folds, kind: as `_folds` gives them.
        clusters: the group of each of these images, int `N`; without groups, each is one.
    """

    def __init__(self, task: Task, labelled: np.ndarray, aspect: str, precision: str, backbone: str, depth: int | None):
        self.chosen = labelled[: max(MOST_IMAGES, 2 * task.num_classes)]
        groups = None if task.train_groups is None else task.train_groups[self.chosen]
        self.folds, self.kind = _folds(task.train.labels[self.chosen], groups)
        each = np.arange(len(self.chosen)) if groups is None or self.kind != "groups" else groups
        self.clusters = np.unique(each, return_inverse=True)[1]
        self._task, self._backbone, self._depth = task, backbone, depth
        self._aspect, self._bf16 = aspect, precision == "bf16"
        self._facts = {
            "edition": EDITION,
            "task": task.fingerprint,
            "backbone": _backbone(backbone, depth).fingerprint,
            "images": _digest(self.chosen),
            "groups": _digest(self.clusters),
            "aspect": aspect,
            "precision": precision,
        }

    def all(self, sizes: tuple[int, ...], may_fail: bool) -> dict[int, dict]:
        """What each size gave; if `may_fail`, without the sizes that the backbone cannot take."""
        own = _backbone(self._backbone, self._depth).own
        seen = {size: answer for size in sizes if (answer := _read(self._file(size)))}
        missing = [size for size in sizes if size not in seen]
        total = sum(size**2 for size in missing) * len(self.chosen)
        with tqdm(total=total, disable=not missing, bar_format=_BAR, mininterval=1, leave=False) as bar:
            for size in missing:
                bar.set_description(f"{self._task.title}: looking at {size} px")
                try:
                    vit = load_backbone(self._backbone, size, self._depth)
                except UserError:
                    if not may_fail or size == own:
                        raise
                    continue
                seen[size] = self._kept(size, vit, bar)
        return {size: seen[size] for size in sizes if size in seen}

    def _kept(self, size: int, vit: VisionTransformer, bar: tqdm) -> dict:
        """What one size gave, read from its file or found now; of several processes only one does the work."""
        path = self._file(size)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if (answer := _read(path)) is None:
                    answer = self._found(size, vit, bar)
                    write_whole(path, json.dumps(answer))
                return answer
        except OSError as error:
            raise UserError(
                f"{path.parent} cannot be written ({error.strerror or error}): set VPTLIB_CACHE to a folder that can "
                "be written."
            ) from error

    def _found(self, size: int, vit: VisionTransformer, bar: tqdm) -> dict:
        set_aspect(vit, self._aspect)
        images = self._task.train.select(self.chosen)
        features, seconds = _features(vit, self._task.num_classes, images, self._bf16, bar)
        correct, strength = _cross_validated(features, images.labels, self.folds)
        return {
            "size": size,
            "correct": correct.tolist(),
            "strength": strength,
            "seconds_per_image": seconds,
            "tokens": _tokens(vit),
            "operations": _operations(vit),
        }

    def _file(self, size: int) -> Path:
        facts = json.dumps(self._facts | {"size": size}, sort_keys=True)
        return cache_folder() / "input_sizes" / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.json"


_BAR = "{desc}  {percentage:3.0f}% |{bar:20}| {elapsed} gone, {remaining} left"


def _read(path: Path) -> dict | None:
    """A kept answer; None if there is none, or a damaged one."""
    try:
        answer = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) and set(answer) >= _KEPT else None


_KEPT = {"size", "correct", "strength", "seconds_per_image", "tokens", "operations"}


@torch.inference_mode()
def _features(
    vit: VisionTransformer, num_classes: int, images: ImageSet | LazyImages, bf16: bool, bar: tqdm
) -> tuple[np.ndarray, float]:
    """What a linear head would read, `N F`, and the seconds that the forward pass took for an image."""
    device, wanted = best_device(), preprocessing(vit)
    model = build_method("linear", vit, num_classes).to(device).eval()
    features, seconds = [], 0.0
    for part in prepare(images, wanted).tensors[0].split(_BATCH):  # B 3 S S
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            features.append(model.features(part.to(device)).float().cpu())  # B F
        seconds += time.perf_counter() - start
        bar.update(len(part) * wanted.size**2)
    return torch.cat(features).numpy(), seconds / len(images)


def _tokens(vit: VisionTransformer) -> int:
    return vit.patch_embed.num_patches + vit.num_prefix_tokens


def _operations(vit: VisionTransformer) -> int:
    """Multiplications of a forward pass through the blocks (Kaplan et al., arXiv 2001.08361, section 2.1)."""
    tokens, width = _tokens(vit), vit.embed_dim
    return len(vit.blocks) * (12 * tokens * width**2 + 2 * tokens**2 * width)


# ---- cross-validation -------------------------------------------------------------------------------------------

# Not a seed of a study: the same numbers that chose the images would put them into folds by their order in the task.
_FIRST_SEED = 20_000
Folds = list[tuple[np.ndarray, np.ndarray]]  # of each fold: positions to train on, positions to predict


def _folds(labels: np.ndarray, groups: np.ndarray | None) -> tuple[list[Folds], str]:
    """Folds, drawn `REPEATS` times, and their kind. Whole groups stay together, if there are two or more: drawn once.

    There are fewer folds if the commonest class has fewer images, or if there are fewer groups. A class of fewer images
    than folds is missing from some folds.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if groups is not None and (number := len(np.unique(groups))) > 1:
        return [list(folds_of_groups(labels, groups, min(FOLDS, number)))], "groups"
    commonest = int(np.bincount(labels).max())
    kind, count = (KFold, len(labels)) if commonest < 2 else (StratifiedKFold, commonest)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn warns of classes with few images
        drawn = [
            list(kind(min(FOLDS, count), shuffle=True, random_state=_FIRST_SEED + k).split(labels, labels))
            for k in range(REPEATS)
        ]
    return drawn, "plain" if commonest < 2 else "stratified"


def _cross_validated(features: np.ndarray, labels: np.ndarray, drawn: list[Folds]) -> tuple[np.ndarray, float]:
    """How often models that did not see an image classify it correctly, from 0 to 1, `N`; and the strength used.

    The strength is that of the lowest loss on all such predictions. Accuracy does not choose it, because the highest
    of several accuracies would flatter.
    """
    probabilities = np.stack([_out_of_fold(features, labels, folds) for folds in drawn])  # R K N C
    of_label = np.searchsorted(np.unique(labels), labels)
    losses = -np.log(probabilities[:, :, np.arange(len(labels)), of_label]).mean(axis=(0, 2))  # K
    best = int(losses.argmin())
    return (probabilities[:, best].argmax(axis=2) == of_label).mean(axis=0), STRENGTHS[best]


_LEAST = 1e-6  # probability of a class, so that a class without a training image costs much but not everything


def _out_of_fold(features: np.ndarray, labels: np.ndarray, folds: Folds) -> np.ndarray:
    """Probabilities of the classes for each of `STRENGTHS`, `K N C`."""
    classes = np.unique(labels)
    probabilities = np.full((len(STRENGTHS), len(labels), len(classes)), _LEAST)
    for kept, aside in folds:
        there = np.searchsorted(classes, np.unique(labels[kept]))
        for k, predicted in enumerate(probe_path(features[kept], labels[kept], features[aside])):
            probabilities[k, aside[:, None], there] = np.maximum(predicted, _LEAST)
    return probabilities


def probe_path(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> Iterator[np.ndarray]:
    """Class probabilities `M C` of test features for each of `STRENGTHS`, from the strongest penalty on.

    Features are standardised. They are then turned into the space of the training images, which has fewer dimensions
    where there are few images, and in which the solution is the same.
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) == 1:
        yield from (np.ones((len(test), 1)) for _ in STRENGTHS)
        return
    train, test = train.astype(np.float64), test.astype(np.float64)  # in float32 the solver may stop too early
    mean, spread = train.mean(axis=0), train.std(axis=0)
    train, test = ((part - mean) / np.where(spread > 1e-8, spread, 1) for part in (train, test))
    if train.shape[1] > len(train):
        *_, axes = np.linalg.svd(train, full_matrices=False)  # R F
        train, test = train @ axes.T, test @ axes.T
    model = LogisticRegression(warm_start=True, max_iter=1000)
    for strength in STRENGTHS:
        yield model.set_params(C=strength).fit(train, labels).predict_proba(test)


# ---- the choice -------------------------------------------------------------------------------------------------


def compared(seen: dict[int, dict], clusters: np.ndarray) -> tuple[SizeSeen, ...]:
    """Rows of the sizes that were seen, the smallest first. `clusters`: the group of each image, int `N`."""
    sizes = sorted(seen)
    correct = {size: np.array(seen[size]["correct"], dtype=float) for size in sizes}  # N each
    best = correct[max(sizes, key=lambda size: (correct[size].mean(), -size))] if sizes else None
    return tuple(
        SizeSeen(
            size=size,
            accuracy=float(correct[size].mean()),
            standard_error=_error_of_mean(correct[size], clusters),
            behind=float((best - correct[size]).mean()),
            behind_error=_error_of_mean(best - correct[size], clusters),
            seconds_per_image=seen[size]["seconds_per_image"],
            tokens=seen[size]["tokens"],
            relative_cost=seen[size]["operations"] / seen[sizes[0]]["operations"],
        )
        for size in sizes
    )


def _error_of_mean(values: np.ndarray, clusters: np.ndarray) -> float:
    """Standard error of a mean over images; those of one cluster vary together."""
    sums = np.bincount(clusters, weights=values - values.mean())
    return math.sqrt(len(sums) / (len(sums) - 1) * float(sums @ sums)) / len(values)


def smallest_within_error(rows: tuple[SizeSeen, ...]) -> int:
    return min(row.size for row in rows if row.behind <= row.behind_error)
