"""Does a map mean anything? A picture does not pass these checks only because it looks good.

    deletion_insertion   remove (or restore) what the map marks most, and follow the answer
                         (Petsiuk et al., BMVC 2018, arXiv 1806.07421, section 4.3)
    pointing, energy     is the object there? Only where it is known (Zhang et al., IJCV 2018, arXiv 1608.00507)
    slightly_changed     a map that follows its image hardly changes with it
    randomised, cascade, with_shuffled_labels   a model without knowledge must give other maps
                         (Adebayo et al., NeurIPS 2018, arXiv 1810.03292, sections 3 and 4)
    judge                all checks of one kind of map, as `Finding`s with their verdicts

Deletion and insertion show the model images unlike any that it was trained on. So an answer may change because the
image is strange, not because something that matters is gone (Hooker et al., NeurIPS 2019, arXiv 1806.10758, section 1).
The baselines share this fault, and so each number is compared with theirs. `BASELINES` are maps made without the model:
a random one, and a blob in the middle. Similarity has its own null (`vptlib.explanations.similarity`). One rule gives
all verdicts: a question is settled if the 95 % interval of what decides it does not include its limit.

Images are tensors as the model takes them. Maps are `B H W` as `vptlib.explanations.maps.explain` gives them.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from vptlib.errors import UserError
from vptlib.explanations.attention import grid_of
from vptlib.explanations.intervals import FEWEST, images_needed, interval
from vptlib.explanations.similarity import SAME, Scale, likeness, mean, pooled, scale_of
from vptlib.prompting.vit import PromptedViT
from vptlib.statement import Statement, statement
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.training import History, Recipe, fit

LEVELS = 8  # steps from the whole image to nothing
SLIGHT = 0.1  # of the standard deviation of an image: what counts as a slight change
_BATCH = 100
_FLAT = 1e-6


# ---- baselines: maps made without the model ---------------------------------------------------------------------


def random_maps(images: Tensor, grid: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A random value for each patch, enlarged as maps are; `B H W` in [0, 1]."""
    coarse = np.random.default_rng(seed).random((len(images), 1, *grid), dtype=np.float32)
    fine = F.interpolate(torch.tensor(coarse), images.shape[-2:], mode="bilinear")[:, 0].numpy()
    return np.clip(fine, 0, 1)


def centre_maps(images: Tensor) -> np.ndarray:
    """A round blob in the middle, a quarter of the image its standard deviation; `B H W`, 1 at its top."""
    height, width = images.shape[-2:]
    rows, columns = (np.arange(side) - (side - 1) / 2 for side in (height, width))
    blob = np.exp(-((rows[:, None] / (height / 4)) ** 2 + (columns / (width / 4)) ** 2) / 2)
    return np.broadcast_to(np.float32(blob / blob.max()), (len(images), height, width))


@dataclass(frozen=True)
class Baseline:
    """A row of the table of baselines.

    Attributes:
        title: the name in figures.
        make: images `B 3 H W` and the grid of patches to maps `B H W`.
    """

    title: str
    make: Callable[[Tensor, tuple[int, int]], np.ndarray]


BASELINES = {
    "random": Baseline("random", lambda images, grid: random_maps(images, grid, seed=1)),
    "centre": Baseline("centre blob", lambda images, grid: centre_maps(images)),
}


# ---- deletion and insertion -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curves:
    """The probability of the answer while patches are removed or restored.

    Attributes:
        shares: `K`, share of patches removed (or restored), from 0 to 1.
        deletion: `B K`, while the patches marked most are removed first; with a faithful map it falls early.
        insertion: `B K`, while the patches marked most are restored first; with a faithful map it rises early.
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_area(self) -> np.ndarray:
        """Area under each deletion curve, `B`; low is good."""
        return np.trapezoid(self.deletion, self.shares, axis=1)

    @property
    def insertion_area(self) -> np.ndarray:
        """Area under each insertion curve, `B`; high is good."""
        return np.trapezoid(self.insertion, self.shares, axis=1)

    @property
    def gap(self) -> np.ndarray:
        """Insertion area minus deletion area, `B`: near 0 for a random map; high is good."""
        return self.insertion_area - self.deletion_area


def deletion_insertion(
    model: AdaptedModel, images: Tensor, maps: np.ndarray, targets: Tensor | None = None, levels: int = LEVELS
) -> Curves:
    """Deletion and insertion curves. Whole patches are removed and filled with the image's median colour.

    The median is the ground in a drawing and an even middle tone in a photograph. Patches that the map marks equally
    are removed in random order, so a map without differences counts as a random map.

    Args:
        model: trained.
        images: `B 3 H W`.
        maps: `B H W`.
        targets: `B` classes to follow; by default those predicted.
        levels: steps from the whole image to nothing, at most the number of patches.

    Raises:
        UserError: maps that do not fit the images.
    """
    _check_maps(maps, images)
    grid = grid_of(model.vit, images)
    count = grid[0] * grid[1]
    taken = np.unique(np.linspace(0, count, min(levels, count) + 1).round().astype(int))  # K
    if targets is None:
        targets = _probabilities(model, images).argmax(dim=1)
    ranks = torch.tensor(_ranks(pooled(maps, grid)))  # B N: 0 for the patch marked most
    gone = [_keep(images, ranks >= k, grid) for k in taken]
    back = [_keep(images, ranks < k, grid) for k in taken[1:-1]]  # the ends, nothing and all, are in `gone`
    deletion = _follow(model, gone, targets)
    insertion = np.concatenate([deletion[:, -1:], _follow(model, back, targets), deletion[:, :1]], axis=1)
    return Curves(taken / count, deletion, insertion)


def _ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each of `B N` values, 0 for the largest; equal ones in random order."""
    ties = np.random.default_rng(0).random(values.shape)
    order = np.lexsort((ties, -values.round(6)), axis=1)
    return np.argsort(order, axis=1)


def _keep(images: Tensor, kept: Tensor, grid: tuple[int, int]) -> Tensor:
    """Images `B 3 H W`, each patch that is not in `kept` (bool `B N`) filled with the image's median colour."""
    colour = images.flatten(2).median(dim=2).values[..., None, None]  # B 3 1 1
    mask = kept.unflatten(1, grid)[:, None].float()  # B 1 h w
    mask = F.interpolate(mask, images.shape[-2:], mode="nearest")
    return torch.where(mask > 0.5, images, colour)


def _follow(model: AdaptedModel, stages: list[Tensor], targets: Tensor) -> np.ndarray:
    """Probability of `targets` at each stage, `B K`."""
    if not stages:  # an image of one patch has nothing between all and nothing
        return np.zeros((len(targets), 0), dtype=np.float32)
    found = [_probabilities(model, stage)[range(len(targets)), targets] for stage in stages]
    return torch.stack(found, dim=1).numpy()


@torch.inference_mode()
def _probabilities(model: AdaptedModel, images: Tensor) -> Tensor:
    """`B C`; the model in evaluation mode."""
    was_training = model.training
    model.eval()
    found = torch.cat([model(part).softmax(dim=1) for part in images.split(_BATCH)]).clone()
    model.train(was_training)
    return found


# ---- where the object is known ----------------------------------------------------------------------------------


def fitted_masks(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Masks, bool `B H W` in the images' own size, to the size that the model sees: share of each pixel covered."""
    return F.interpolate(torch.tensor(masks)[:, None].float(), size, mode="area")[:, 0].numpy()


def pointing(maps: np.ndarray, masks: np.ndarray, reach: int) -> np.ndarray:
    """Whether the pixel that a map marks most is on the object or within `reach` pixels of it, `B`, in [0, 1].

    Where several pixels are marked most, it is the share of them. So a map without differences scores as much as random
    pointing does.

    Args:
        maps: `B H W`.
        masks: `B H W`, share of each pixel that is object.
        reach: half a patch is fair, because a map of patches cannot point more precisely.
    """
    most_covered = masks.max(axis=(1, 2), keepdims=True)
    enough = np.where(most_covered >= 0.5, 0.5, np.maximum(most_covered / 2, _FLAT))  # thin objects cover less
    near = F.max_pool2d(torch.tensor(np.float32(masks >= enough))[:, None], 2 * reach + 1, 1, reach)[:, 0].numpy()
    most = maps >= maps.max(axis=(1, 2), keepdims=True) - _FLAT
    return (most * near).sum(axis=(1, 2)) / most.sum(axis=(1, 2))


def energy(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of each map's sum that is on the object, `B`.

    An even map scores the object's share of the area, and so does a map of zeros. Compare with that, or with
    `centre_maps`.
    """
    total = maps.sum(axis=(1, 2))
    shares = (maps * masks).sum(axis=(1, 2)) / np.maximum(total, _FLAT)
    return np.where(total > _FLAT, shares, masks.mean(axis=(1, 2)))


# ---- models without knowledge -----------------------------------------------------------------------------------


def slightly_changed(images: Tensor, seed: int = 0) -> Tensor:
    """Images `B 3 H W` with a little noise, `SLIGHT` of each image's own standard deviation."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).to(images)
    return images + SLIGHT * images.flatten(1).std(dim=1)[:, None, None, None] * noise


def randomised(model: AdaptedModel, seed: int = 0, part: str = "all") -> AdaptedModel:
    """A copy with the numbers of each tensor shuffled: what was learned is lost, and the spread is the same.

    Args:
        model: trained.
        seed: of the shuffling.
        part: "all" weights, or only those "learned" for the task (with full fine-tuning these are all, too).

    Raises:
        UserError: another part.
    """
    if part not in ("all", "learned"):
        raise UserError(f"part is {part!r}, but must be 'all' or 'learned'.")
    other = copy.deepcopy(model)
    names = model.trained_state()
    _shuffle([p for name, p in other.named_parameters() if part == "all" or name in names], seed)
    return other.eval()


@torch.no_grad()
def _shuffle(tensors: list[Tensor], seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    for tensor in tensors:
        order = torch.randperm(tensor.numel(), generator=rng)
        tensor.copy_(tensor.flatten()[order.to(tensor.device)].view_as(tensor))


def cascade(model: AdaptedModel, seed: int = 0) -> Iterator[tuple[str, AdaptedModel]]:
    """A copy that forgets step by step, from the head down (Adebayo et al., section 3, cascading randomisation).

    Each step shuffles the numbers of further tensors and keeps what was shuffled before. After the last step the whole
    model is shuffled, as by `randomised`.

    Args:
        model: trained.
        seed: of the shuffling.

    Yields:
        what was shuffled last ("head" with the last norm, "block 12" … "block 1" with its own prompts, "input"), and
        the copy: the same object each time, so use it before the next step.
    """
    other = copy.deepcopy(model).eval()
    for number, (name, tensors) in enumerate(_steps_down(other).items()):
        _shuffle(tensors, seed + 1000 * number)
        yield name, other


def _steps_down(model: AdaptedModel) -> dict[str, list[Tensor]]:
    """Names of the steps of `cascade` → the tensors that each shuffles; every parameter is in one step."""
    depth = len(model.vit.blocks)
    blocks = [f"block {number}" for number in range(depth, 0, -1)]
    steps: dict[str, list[Tensor]] = {name: [] for name in ("head", *blocks, "input")}
    of_blocks = {id(p): number for number, block in enumerate(model.vit.blocks, 1) for p in block.parameters()}
    above = {id(p) for part in _above_the_blocks(model) for p in part.parameters()}
    prompts = _prompts_by_block(model)
    for parameter in model.parameters():
        if prompts and parameter is model.in_use.prompts:
            continue
        number = of_blocks.get(id(parameter))
        steps["head" if id(parameter) in above else "input" if number is None else f"block {number}"].append(parameter)
    for number, of_block in prompts.items():
        steps[f"block {number}"].append(of_block)
    return steps


def _above_the_blocks(model: AdaptedModel) -> list[nn.Module]:
    parts = (getattr(model.vit, name, None) for name in ("head", "head_dist", "norm", "fc_norm", "attn_pool"))
    return [part for part in parts if isinstance(part, nn.Module)]


def _prompts_by_block(model: AdaptedModel) -> dict[int, Tensor]:
    """Number of a block, from 1 → the prompts that enter there, `P D`; empty if there are none or all share one set."""
    net = model.in_use
    if not isinstance(net, PromptedViT) or net.shared or len(net.prompts) != len(net.layers):
        return {}
    return {layer + 1: net.prompts[row] for row, layer in enumerate(net.layers)}


def with_shuffled_labels(
    model: AdaptedModel,
    train: TensorDataset,
    recipe: Recipe,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> History:
    """Train a new `model` in place on the right images with shuffled labels: it learns nothing about the task.

    Args:
        model: untrained, from `build_method`.
        train: images `N 3 H W` and labels `N`.
        recipe, progress: as for `vptlib.tuning.training.fit`.
        seed: of the shuffling.
    """
    images, labels = train.tensors
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return fit(model, TensorDataset(images, labels[order]), None, recipe, progress=progress)


# ---- a verdict --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One check of one kind of map.

    Attributes:
        check: "differences", "faithful", "pointing", "energy", "repeats itself", "depends on the model",
            "other kinds of map" or "another training run".
        value: of the maps, mean over images; for a similarity, on the scale of `vptlib.explanations.similarity`.
        low, high: 95 % interval of what decides: the lead over the best baseline, or the value itself.
        baseline: the value of the best baseline, or the limit.
        passed: True, False, or None where it is not decided.
        statement: value, baseline and verdict, for a sentence.
        needed: about how many images would settle what is not decided; None where it is, or where they would not help.
    """

    check: str
    value: float
    low: float
    high: float
    baseline: float
    passed: bool | None
    statement: Statement
    needed: int | None = None


def judge(
    model: AdaptedModel,
    images: Tensor,
    maps: np.ndarray,
    targets: Tensor | None = None,
    masks: np.ndarray | None = None,
    of_random_model: np.ndarray | None = None,
    again: np.ndarray | None = None,
    levels: int = LEVELS,
    baselines: dict[str, Curves] | None = None,
    curves: Curves | None = None,
) -> list[Finding]:
    """Every check that is possible for one kind of map.

    Args:
        model, images, maps, targets, levels: as for `deletion_insertion`.
        masks: `B H W`, share of each pixel that is object, where that is known.
        of_random_model: maps of the first of these images (or all), same classes, by the `randomised` model; `B H W`,
            or `D B H W` of several such models. One random model may be similar by luck, so take several.
        again: maps of the first of these images (or all), `slightly_changed`, same classes. Whether a map depends on
            the model is judged only where this is known: noise changes with everything.
        baselines, curves: results of `baseline_curves` and `deletion_insertion` for the same arguments.
    """
    _check_maps(maps, images)
    grid = grid_of(model.vit, images)
    baselines = baselines or baseline_curves(model, images, targets, levels)
    curves = curves or deletion_insertion(model, images, maps, targets, levels)
    gaps = {name: of.gap for name, of in baselines.items()}
    findings = [_differences(maps), _against_the_best("faithful", curves.gap, gaps)]
    if masks is not None:
        findings += _on_object(maps, masks, reach=model.vit.patch_embed.patch_size[0] // 2)
    if again is None and of_random_model is None:
        return findings
    scale = scale_of(maps, grid)
    repeats = repeats_itself(scale, None if again is None else likeness(maps[: len(again)], again, grid))
    findings.append(repeats)
    if of_random_model is not None:
        drawn = of_random_model if of_random_model.ndim == 4 else of_random_model[None]  # D B H W
        alike = np.stack([likeness(maps[: len(of_draw)], of_draw, grid) for of_draw in drawn])  # D B
        findings.append(compared("depends on the model", scale, alike, repeats))
    return findings


def baseline_curves(
    model: AdaptedModel, images: Tensor, targets: Tensor | None = None, levels: int = LEVELS
) -> dict[str, Curves]:
    """Deletion and insertion curves of `BASELINES`; arguments as for `deletion_insertion`."""
    maps = {name: baseline.make(images, grid_of(model.vit, images)) for name, baseline in BASELINES.items()}
    return {name: deletion_insertion(model, images, of, targets, levels) for name, of in maps.items()}


def _differences(maps: np.ndarray) -> Finding:
    share = float((np.ptp(maps, axis=(1, 2)) > _FLAT).mean())
    passed = share >= 0.9
    return Finding("differences", share, share, share, 0.0, passed, statement("maps_mark", share=share, enough=passed))


def _on_object(maps: np.ndarray, masks: np.ndarray, reach: int) -> list[Finding]:
    shown = masks.any(axis=(1, 2))  # where there is no object, nothing can be pointed at
    if not shown.any():
        return []
    maps, masks = maps[shown], masks[shown]
    baselines = {"centre": centre_maps(torch.tensor(maps)[:, None]), "even": np.ones_like(maps)}
    scores = {"pointing": lambda of: pointing(of, masks, reach), "energy": lambda of: energy(of, masks)}
    return [
        _against_the_best(check, score(maps), {name: score(of) for name, of in baselines.items()})
        for check, score in scores.items()
    ]


def _against_the_best(check: str, values: np.ndarray, baselines: dict[str, np.ndarray]) -> Finding:
    """Whether the maps lead over the best baseline, by the interval of the lead; all values are `B`."""
    best = max(baselines, key=lambda name: baselines[name].mean())
    lead = values - baselines[best]
    _, low, high = interval(lead, ends=1 if check == "pointing" else None)
    passed = _side(len(lead), low, high, 0)
    needed = images_needed(lead) if passed is None else None
    value, of_best = float(values.mean()), float(baselines[best].mean())
    numbers = {"check": check, "value": value, "baseline": best, "of_baseline": of_best}
    said = statement("map_against_baseline", **numbers, leads=passed, images=len(lead), needed=needed)
    return Finding(check, value, low, high, of_best, passed, said, needed)


def _side(images: int, low: float, high: float, limit: float) -> bool | None:
    """True if the interval lies above the limit, False if below, None if it includes it or the images are too few."""
    if images < FEWEST or not (low > limit or high < limit):
        return None
    return bool(low > limit)


# ---- verdicts on similarity -------------------------------------------------------------------------------------

_WANTED = {"repeats itself": True, "depends on the model": False, "other kinds of map": True}
_WANTED["another training run"] = True  # whether the two maps should be the same


def repeats_itself(scale: Scale, alike: np.ndarray | None) -> Finding:
    """Whether a map follows its image: the same after a slight change of the image, and another for another image.

    Args:
        scale: of the maps.
        alike: `likeness` to the maps of the `slightly_changed` images, `B`; None if that is not known.
    """
    check = "repeats itself"
    if alike is None:
        return Finding(check, np.nan, np.nan, np.nan, SAME, None, statement("repeat_unknown"))
    if not np.isnan(scale.null) and not scale.usable:
        numbers = statement("same_for_every_image", similarity=scale.null)
        return Finding(check, np.nan, np.nan, np.nan, SAME, False, numbers)
    return _on_scale(check, scale, alike)


def compared(check: str, scale: Scale, alike: np.ndarray, repeats: Finding) -> Finding:
    """A verdict on the similarity of a map to others of the same images, which should be the same or should not.

    Args:
        check: "depends on the model" (they should not), "other kinds of map" or "another training run" (they should).
        scale: of the maps that are compared.
        alike: `likeness` to the others, `B`, or `D B` of several.
        repeats: from `repeats_itself`. Of a map that does not repeat itself, similarity to others shows nothing.
    """
    if repeats.passed is not True:
        numbers = statement("map_not_repeated", check=check, repeats=repeats.passed)
        return Finding(check, np.nan, np.nan, np.nan, SAME, None, numbers)
    return _on_scale(check, scale, alike)


def _on_scale(check: str, scale: Scale, alike: np.ndarray) -> Finding:
    """Passed if the maps lie on the side of `SAME` where they should be."""
    table = np.atleast_2d(alike)  # D B
    count = int((~np.isnan(table)).any(axis=0).sum())  # a map without differences cannot be compared
    if count < FEWEST or np.isnan(scale.null):
        numbers = statement("maps_not_compared", check=check, compared=count, maps=table.shape[1])
        return Finding(check, np.nan, np.nan, np.nan, SAME, None, numbers)
    values = scale.place(alike)
    value, low, high = interval(values)
    same = _side(count, low, high, SAME)
    needed = images_needed(values, SAME) if same is None else None
    numbers = {"check": check, "value": value, "low": low, "high": high, "same": same, "needed": needed}
    said = statement("maps_compared", **numbers, similarity=mean(alike), of_other_images=scale.null)
    return Finding(check, value, low, high, SAME, None if same is None else same == _WANTED[check], said, needed)


def _check_maps(maps: np.ndarray, images: Tensor) -> None:
    wanted = (len(images), *images.shape[-2:])
    if maps.shape != wanted:
        raise UserError(f"maps have shape {maps.shape}, but these images need {wanted}: one map for each.")
    if not np.isfinite(maps).all():
        raise UserError("maps have numbers that are not finite: check the model's weights.")
