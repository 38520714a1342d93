"""Does a map mean anything? A picture does not pass these checks only because it looks good.

    deletion_insertion   remove (or restore) what the map marks most, and follow the answer
                         (Petsiuk et al., BMVC 2018, arXiv 1806.07421, section 4.3)
    pointing, energy     is the object there? Only where it is known (Zhang et al., IJCV 2018, arXiv 1608.00507)
    randomised, with_shuffled_labels   a model without knowledge must give other maps
                         (Adebayo et al., NeurIPS 2018, arXiv 1810.03292, sections 3 and 4)
    likeness, agreement  how similar are the maps of two methods, or of two seeds?
    judge                all checks of one kind of map, as `Finding`s with their verdicts

Every number is compared with that of maps made without the model, `BASELINES`: a random one, and a blob in the middle.
Images are tensors as the model takes them. Maps are `B H W` as `vptlib.explanations.maps.explain` gives them.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from vptlib.errors import UserError
from vptlib.explanations.attention import grid_of
from vptlib.statement import Statement, statement
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.training import History, Recipe, fit

LEVELS = 8  # steps from the whole image to nothing
FEWEST = 3  # maps that must have differences before their similarity is judged
SAME = 0.7  # two sets of maps count as the same from this mean rank correlation on
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
    "random": Baseline("by lot", lambda images, grid: random_maps(images, grid, seed=1)),
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


def pooled(maps: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Mean of maps `B H W` in each patch, `B N`."""
    return F.adaptive_avg_pool2d(torch.tensor(np.array(maps))[:, None], grid).flatten(1).numpy()


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
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if part == "all" or name in names:
                order = torch.randperm(parameter.numel(), generator=rng)
                parameter.copy_(parameter.flatten()[order.to(parameter.device)].view_as(parameter))
    return other.eval()


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


# ---- similarity -------------------------------------------------------------------------------------------------


def likeness(a: np.ndarray, b: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Rank correlation (Spearman) over patches of two maps of an image, `B`; nan where one has no differences."""
    a, b = (pooled(maps, grid) for maps in (a, b))
    varied = (np.ptp(a, axis=1) > _FLAT) & (np.ptp(b, axis=1) > _FLAT)
    found = np.full(len(a), np.nan)
    for i in np.flatnonzero(varied):
        found[i] = np.corrcoef(rankdata(a[i].round(6)), rankdata(b[i].round(6)))[0, 1]
    return found


def agreement(maps: dict[str, np.ndarray], grid: tuple[int, int]) -> pd.DataFrame:
    """Mean similarity (`likeness`) of each pair of maps of the same images: a square table, 1 on its diagonal.

    Args:
        maps: name (of a method, or of a seed) → `B H W`.
        grid: rows and columns of patches.
    """
    names = list(maps)
    table = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for i, one in enumerate(names):
        for other in names[:i]:
            table.loc[one, other] = table.loc[other, one] = mean(likeness(maps[one], maps[other], grid))
    return table


def mean(values: np.ndarray) -> float:
    """The mean of the values that are not nan; nan if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean of values `B` and its 95 % interval over the choice of images (bootstrap)."""
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan, np.nan, np.nan
    drawn = np.random.default_rng(seed).integers(len(values), size=(2000, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


# ---- a verdict --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One check of one kind of map.

    Attributes:
        check: "differences", "faithful", "pointing", "energy", "depends on the model" or "another training run".
        value: of the maps, mean over images.
        low, high: 95 % interval of what decides: the lead over the best baseline, or the value itself.
        baseline: the value of the best baseline, or the limit.
        passed: True, False, or None where there are too few images to decide.
        statement: value, baseline and verdict, for a sentence.
    """

    check: str
    value: float
    low: float
    high: float
    baseline: float
    passed: bool | None
    statement: Statement


def judge(
    model: AdaptedModel,
    images: Tensor,
    maps: np.ndarray,
    targets: Tensor | None = None,
    masks: np.ndarray | None = None,
    of_random_model: np.ndarray | None = None,
    levels: int = LEVELS,
    baselines: dict[str, Curves] | None = None,
    curves: Curves | None = None,
) -> list[Finding]:
    """Every check that is possible for one kind of map.

    Args:
        model, images, maps, targets, levels: as for `deletion_insertion`.
        masks: `B H W`, share of each pixel that is object, where that is known.
        of_random_model: maps of the first of these images (or all), same classes, by the `randomised` model.
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
    if of_random_model is not None:
        alike = likeness(maps[: len(of_random_model)], of_random_model, grid)
        findings.append(_same_or_not("depends on the model", alike, wanted=False))
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
    """Passed if the interval of the lead over the best baseline is above 0; all values are `B`."""
    best = max(baselines, key=lambda name: baselines[name].mean())
    lead, low, high = interval(values - baselines[best])
    passed = True if low > 0 else False if lead <= 0 else None
    value, of_best = float(values.mean()), float(baselines[best].mean())
    numbers = {"check": check, "value": value, "baseline": best, "of_baseline": of_best, "leads": passed}
    return Finding(check, value, low, high, of_best, passed, statement("map_against_baseline", **numbers))


def between_runs(alike: np.ndarray) -> Finding:
    """Whether two training runs of a method give the same maps: it passes from a mean similarity of `SAME` on.

    Args:
        alike: `likeness` of the two runs' maps of the same images, for the same classes, `B`.
    """
    return _same_or_not("another training run", alike, wanted=True)


def _same_or_not(check: str, alike: np.ndarray, wanted: bool) -> Finding:
    """Passed if the maps are the same as the others and `wanted` is True, or are not the same and it is False."""
    value, low, high = interval(alike)
    compared = int(np.count_nonzero(~np.isnan(alike)))  # a map without differences cannot be compared
    if compared < min(FEWEST, len(alike)):
        numbers = statement("maps_not_compared", check=check, compared=compared, maps=len(alike))
        return Finding(check, value, low, high, SAME, None, numbers)
    same = bool(value >= SAME)
    numbers = statement("maps_compared", check=check, similarity=value, same=same)
    return Finding(check, value, low, high, SAME, same == wanted, numbers)


def _check_maps(maps: np.ndarray, images: Tensor) -> None:
    wanted = (len(images), *images.shape[-2:])
    if maps.shape != wanted:
        raise UserError(f"maps have shape {maps.shape}, but these images need {wanted}: one map for each.")
    if not np.isfinite(maps).all():
        raise UserError("maps have numbers that are not finite: check the model's weights.")
