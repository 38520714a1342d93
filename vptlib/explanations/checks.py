"""Does a map mean anything? Checks that a pretty picture cannot pass by being pretty.

    deletion_insertion   take away (or bring back) what the map marks most, and see what the answer does
                         (Petsiuk et al., BMVC 2018, arXiv 1806.07421, section 4.3)
    pointing, energy     is the object there? Only where it is known (Zhang et al., IJCV 2018, arXiv 1608.00507)
    randomised, with_shuffled_labels   a model that knows nothing must give other maps
                         (Adebayo et al., NeurIPS 2018, arXiv 1810.03292, sections 3 and 4)
    likeness, agreement  do two methods, or two seeds, tell the same story?
    judge                all of it for one kind of map, as `Finding`s with their verdicts

Every number stands beside what a map reaches that knows nothing: one drawn by lot, and a blob in the middle. Images
are tensors as the model takes them, maps are `B H W` as `vptlib.explanations.maps.explain` gives them.
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
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.training import History, Recipe, fit
from vptlib.wording import decimals

LEVELS = 8  # steps from the whole image to nothing
FEWEST = 3  # maps that must have differences before a likeness is judged
SAME = 0.7  # mean rank correlation from which on two sets of maps count as the same
_BATCH = 100
_FLAT = 1e-6


# ---- maps that know nothing -------------------------------------------------------------------------------------


def random_maps(images: Tensor, grid: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A value by lot for each patch, enlarged as maps are; `B H W` in [0, 1]."""
    coarse = np.random.default_rng(seed).random((len(images), 1, *grid), dtype=np.float32)
    fine = F.interpolate(torch.tensor(coarse), images.shape[-2:], mode="bilinear")[:, 0].numpy()
    return np.clip(fine, 0, 1)


def centre_maps(images: Tensor) -> np.ndarray:
    """A round blob in the middle, a quarter of the image its standard deviation; `B H W`, 1 at its top."""
    height, width = images.shape[-2:]
    rows, columns = (np.arange(side) - (side - 1) / 2 for side in (height, width))
    blob = np.exp(-((rows[:, None] / (height / 4)) ** 2 + (columns / (width / 4)) ** 2) / 2)
    return np.broadcast_to(np.float32(blob / blob.max()), (len(images), height, width))


# ---- deletion and insertion -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curves:
    """What the answer does while patches go or come.

    Attributes:
        shares: `K`, share of patches taken away (or brought back), from 0 to 1.
        deletion: `B K`, probability of the class while what is marked most goes first; a faithful map falls early.
        insertion: `B K`, the same while what is marked most comes back first; a faithful map rises early.
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_area(self) -> np.ndarray:
        """Area under each deletion curve, `B`, low is good."""
        return np.trapezoid(self.deletion, self.shares, axis=1)

    @property
    def insertion_area(self) -> np.ndarray:
        """Area under each insertion curve, `B`, high is good."""
        return np.trapezoid(self.insertion, self.shares, axis=1)

    @property
    def gap(self) -> np.ndarray:
        """Insertion area less deletion area, `B`: near 0 for a map that knows nothing, high is good."""
        return self.insertion_area - self.deletion_area


def deletion_insertion(
    model: AdaptedModel, images: Tensor, maps: np.ndarray, targets: Tensor | None = None, levels: int = LEVELS
) -> Curves:
    """Deletion and insertion curves; patches go as a whole, and what is gone is filled with the image's median colour.

    The median is the ground in a drawing and an even middle tone in a photograph. Patches that the map marks alike go
    in an order by lot, so a map without differences is a map by lot.

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
    places = torch.tensor(_places(pooled(maps, grid)))  # B N: 0 for the patch marked most
    gone = [_keep(images, places >= k, grid) for k in taken]
    back = [_keep(images, places < k, grid) for k in taken[1:-1]]  # it begins with nothing and ends with all
    deletion = _follow(model, gone, targets)
    insertion = np.concatenate([deletion[:, -1:], _follow(model, back, targets), deletion[:, :1]], axis=1)
    return Curves(taken / count, deletion, insertion)


def pooled(maps: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Mean of maps `B H W` in each patch, `B N`."""
    return F.adaptive_avg_pool2d(torch.tensor(np.array(maps))[:, None], grid).flatten(1).numpy()


def _places(values: np.ndarray) -> np.ndarray:
    """The place of each of `B N` values in falling order, ties by lot."""
    lots = np.random.default_rng(0).random(values.shape)
    order = np.lexsort((lots, -values.round(6)), axis=1)
    return np.argsort(order, axis=1)


def _keep(images: Tensor, kept: Tensor, grid: tuple[int, int]) -> Tensor:
    """Images `B 3 H W` with the patches that are not in `kept`, bool `B N`, in the image's median colour."""
    colour = images.flatten(2).median(dim=2).values[..., None, None]  # B 3 1 1
    mask = kept.unflatten(1, grid)[:, None].float()  # B 1 h w
    mask = F.interpolate(mask, images.shape[-2:], mode="nearest")
    return torch.where(mask > 0.5, images, colour)


def _follow(model: AdaptedModel, stages: list[Tensor], targets: Tensor) -> np.ndarray:
    """Probability of `targets` at each stage, `B K`."""
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
    """Masks bool `B H W` of images in their own size to the size that the model sees, share of each pixel covered."""
    return F.interpolate(torch.tensor(masks)[:, None].float(), size, mode="area")[:, 0].numpy()


def pointing(maps: np.ndarray, masks: np.ndarray, reach: int) -> np.ndarray:
    """Whether the place that a map marks most lies on the object or within `reach` pixels of it, `B`, in [0, 1].

    Where several places are marked most, the share of them that do: a map without differences scores what pointing
    blindly would.

    Args:
        maps: `B H W`.
        masks: `B H W`, share of each pixel that is object.
        reach: half a patch is fair, for a map of patches cannot point more finely.
    """
    near = F.max_pool2d(torch.tensor(np.float32(masks >= 0.5))[:, None], 2 * reach + 1, 1, reach)[:, 0].numpy()
    most = maps >= maps.max(axis=(1, 2), keepdims=True) - _FLAT
    return (most * near).sum(axis=(1, 2)) / most.sum(axis=(1, 2))


def energy(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of each map's sum that lies on the object, `B`; the object's share of the area for a map of zeros.

    An even map scores the object's share of the area, so compare with that, or with `centre_maps`.
    """
    total = maps.sum(axis=(1, 2))
    shares = (maps * masks).sum(axis=(1, 2)) / np.maximum(total, _FLAT)
    return np.where(total > _FLAT, shares, masks.mean(axis=(1, 2)))


# ---- models that know nothing -----------------------------------------------------------------------------------


def randomised(model: AdaptedModel, seed: int = 0, part: str = "all") -> AdaptedModel:
    """A copy whose numbers have been shuffled within each tensor: what was learned is gone, their spread is not.

    Args:
        model: trained.
        seed: of the shuffling.
        part: "all" weights, or only what was "learned" for the task (with full fine-tuning that is all, too).

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
    """Train a fresh `model` in place on the right images with labels dealt out by lot: it learns nothing of the task.

    Args:
        model: untrained, from `build_method`.
        train: images `N 3 H W` and labels `N`.
        recipe, progress: as for `vptlib.tuning.training.fit`.
        seed: of the dealing.
    """
    images, labels = train.tensors
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return fit(model, TensorDataset(images, labels[order]), None, recipe, progress=progress)


# ---- likeness ---------------------------------------------------------------------------------------------------


def likeness(a: np.ndarray, b: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Rank correlation (Spearman) over patches of two maps of an image, `B`; nan where one has no differences."""
    a, b = (pooled(maps, grid) for maps in (a, b))
    varied = (np.ptp(a, axis=1) > _FLAT) & (np.ptp(b, axis=1) > _FLAT)
    found = np.full(len(a), np.nan)
    for i in np.flatnonzero(varied):
        found[i] = np.corrcoef(rankdata(a[i].round(6)), rankdata(b[i].round(6)))[0, 1]
    return found


def agreement(maps: dict[str, np.ndarray], grid: tuple[int, int]) -> pd.DataFrame:
    """Mean likeness of each pair of maps of the same images: a square table, 1 on its diagonal.

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
    """The mean of what is not nan; nan if nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean of values `B` and its 95 % interval over the choice of images (bootstrap)."""
    values = values[~np.isnan(values)]
    if not len(values):
        return (float("nan"),) * 3
    lots = np.random.default_rng(seed).integers(len(values), size=(2000, len(values)))
    low, high = np.quantile(values[lots].mean(axis=1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


# ---- a verdict --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One check of one kind of map.

    Attributes:
        check: "differences", "faithful", "pointing", "energy", "depends on the model" or "another training run".
        value: of the maps, mean over images.
        low, high: 95 % interval of what decides: the lead over the best baseline, or the value itself.
        baseline: the best that a map reaches which knows nothing.
        passed: True, False, or None where the images are too few to tell.
        text: value, baseline and verdict in a sentence.
    """

    check: str
    value: float
    low: float
    high: float
    baseline: float
    passed: bool | None
    text: str


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
    """Every check that can be made of one kind of map; a flag is a finding that has not passed.

    Args:
        model, images, maps, targets, levels: as for `deletion_insertion`.
        masks: `B H W`, share of each pixel that is object, where that is known.
        of_random_model: maps of the first of these images (or all), same classes, by the `randomised` model.
        baselines, curves: what `know_nothing` and `deletion_insertion` gave for the same arguments, if at hand.
    """
    _check_maps(maps, images)
    grid = grid_of(model.vit, images)
    findings = [_differences(maps)]
    baselines = baselines or know_nothing(model, images, targets, levels)
    curves = curves or deletion_insertion(model, images, maps, targets, levels)
    findings.append(_faithful(curves.gap, {name: of.gap for name, of in baselines.items()}))
    if masks is not None:
        findings += _on_object(maps, masks, reach=model.vit.patch_embed.patch_size[0] // 2)
    if of_random_model is not None:
        findings.append(_depends(likeness(maps[: len(of_random_model)], of_random_model, grid)))
    return findings


def know_nothing(
    model: AdaptedModel, images: Tensor, targets: Tensor | None = None, levels: int = LEVELS
) -> dict[str, Curves]:
    """Curves of the maps that know nothing: "random" and "centre"."""
    grid = grid_of(model.vit, images)
    maps = {"random": random_maps(images, grid, seed=1), "centre": centre_maps(images)}
    return {name: deletion_insertion(model, images, of, targets, levels) for name, of in maps.items()}


def _differences(maps: np.ndarray) -> Finding:
    varied = np.ptp(maps, axis=(1, 2)) > _FLAT
    share = float(varied.mean())
    verdict = "" if share >= 0.9 else ": maps without differences tell nothing"
    return Finding(
        "differences", share, share, share, 0.0, share >= 0.9, f"{share:.0%} of the maps mark some place{verdict}"
    )


def _faithful(gap: np.ndarray, baselines: dict[str, np.ndarray]) -> Finding:
    best = max(baselines, key=lambda name: baselines[name].mean())
    lead, low, high = interval(gap - baselines[best])
    passed = True if low > 0 else False if lead <= 0 else None
    verdict = {True: "it leads", False: "it does not lead", None: "too few images to tell"}[passed]
    known = decimals(baselines[best].mean())
    text = f"insertion less deletion area {decimals(gap.mean())}, of the {best} map {known}: {verdict}"
    return Finding("faithful", float(gap.mean()), low, high, float(baselines[best].mean()), passed, text)


def _on_object(maps: np.ndarray, masks: np.ndarray, reach: int) -> list[Finding]:
    centre = centre_maps(torch.tensor(maps)[:, None])
    even = np.ones_like(maps)
    kinds = {
        "pointing": lambda of: pointing(of, masks, reach),
        "energy": lambda of: energy(of, masks),
    }
    names = {"pointing": "points at the object in", "energy": "share on the object"}
    findings = []
    for check, score in kinds.items():
        own, of_centre, of_even = score(maps), score(centre), score(even)
        baseline, name = (of_centre, "centre") if of_centre.mean() >= of_even.mean() else (of_even, "even")
        lead, low, high = interval(own - baseline)
        passed = True if low > 0 else False if lead <= 0 else None
        verdict = {True: "it stands above", False: "it does not stand above", None: "too few images to tell"}[passed]
        text = f"{names[check]} {own.mean():.0%}, {name} map {baseline.mean():.0%}: {verdict}"
        findings.append(Finding(check, float(own.mean()), low, high, float(baseline.mean()), passed, text))
    return findings


def _depends(alike: np.ndarray) -> Finding:
    verdicts = {True: "hardly changes when the model is made to forget", False: "changes with the model"}
    return _same_or_not("depends on the model", "a random model's map", alike, verdicts, wanted=False)


def between_runs(alike: np.ndarray) -> Finding:
    """Whether two training runs of a method give the same maps: holds from a mean likeness of `SAME` on.

    Args:
        alike: `likeness` of the two runs' maps of the same images, for the same classes, `B`.
    """
    verdicts = {True: "much the same", False: "another run marks other places"}
    return _same_or_not("another training run", "a second training run's map", alike, verdicts, wanted=True)


def _same_or_not(check: str, other: str, alike: np.ndarray, verdicts: dict[bool, str], wanted: bool) -> Finding:
    """Passed if the maps are the same as others and that is wanted, or are not and that is."""
    value, low, high = interval(alike)
    compared = np.count_nonzero(~np.isnan(alike))  # a map without differences is like no other
    if compared < min(FEWEST, len(alike)):
        text = f"likeness to {other} not known: only {compared} of {len(alike)} maps have differences to compare"
        return Finding(check, value, low, high, SAME, None, text)
    same = bool(value >= SAME)
    return Finding(
        check, value, low, high, SAME, same == wanted, f"likeness to {other} {decimals(value)}: {verdicts[same]}"
    )


def _check_maps(maps: np.ndarray, images: Tensor) -> None:
    wanted = (len(images), *images.shape[-2:])
    if maps.shape != wanted:
        raise UserError(f"maps have shape {maps.shape}, but these images need {wanted}: one map for each.")
    if not np.isfinite(maps).all():
        raise UserError("maps hold numbers that are not finite: look at the model's weights.")
