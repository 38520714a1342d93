"""An automatic search for the settings of one method: a fixed number of trials of a fixed number of steps each.

Every trial trains a fresh model, and validation images judge it. No function here takes test images. All methods have
the same budget: trials × steps × batch. Optuna chooses the next setting (Akiba et al., KDD 2019, arXiv 1907.10902; by
TPE, Bergstra et al., NeurIPS 2011). The trials are kept in an SQLite file. A search that was stopped continues there,
with the same result.
"""

import copy
import hashlib
import json
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.utils.data import TensorDataset
from tqdm import tqdm

from vptlib.errors import UserError
from vptlib.paths import store_folder
from vptlib.terminal import ticking
from vptlib.tuning.backbones import fingerprint
from vptlib.tuning.methods import AdaptedModel, build_method, find_method
from vptlib.tuning.training import Diverged, History, Recipe, fit

# Settings of a recipe that may be searched. Steps and batch size are the budget, which all trials share.
RECIPE_SETTINGS = ("learning_rate", "weight_decay", "warmup")
# Trials drawn evenly before TPE starts to model. It is a constant, so more trials never change the first ones.
DRAWN_EVENLY = 5


@dataclass(frozen=True)
class Between:
    """Any number from `low` to `high`, both above 0, on a logarithmic scale."""

    low: float
    high: float

    def __post_init__(self):
        if not 0 < self.low < self.high < math.inf:
            raise UserError(f"a range from {self.low} to {self.high} cannot be searched: take 0 < low < high.")

    @property
    def middle(self) -> float:
        """The geometric mean of both ends."""
        return math.sqrt(self.low * self.high)


Space = Mapping[str, Between | tuple]


def train_setting(
    method: str,
    vit: VisionTransformer,
    num_classes: int,
    setting: Mapping,
    train: TensorDataset,
    val: TensorDataset | None,
    recipe: Recipe,
) -> tuple[AdaptedModel, History]:
    """A fresh model of `method` on a copy of `vit`, trained with `setting`.

    Args:
        setting: values by name: of `RECIPE_SETTINGS` they replace the recipe's, all others are options of the method.
        train, val: images `N 3 H W` and labels `N`, as for `vptlib.fit`.
        recipe: the rest; its seed draws the initial values too.
    """
    options = {name: value for name, value in setting.items() if name not in RECIPE_SETTINGS}
    own = {name: value for name, value in setting.items() if name in RECIPE_SETTINGS}
    torch.manual_seed(recipe.seed)
    model = build_method(method, copy.deepcopy(vit), num_classes, **options)
    return model, fit(model, train, val, replace(recipe, **own))


def search(
    method: str,
    vit: VisionTransformer,
    num_classes: int,
    space: Space,
    train: TensorDataset,
    val: TensorDataset,
    recipe: Recipe,
    trials: int,
    storage: Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Run the trials that are still missing, and return all. It may be interrupted: finished trials are kept.

    The first trial takes the first choice and the middle of each range. A trial that diverges counts, with accuracy 0.
    The search's key covers everything that determines a trial: another space, recipe, backbone or other images make
    another search. More `trials` continue the same search.

    Args:
        method: a name in `vptlib.tuning.methods.METHODS`.
        vit: the backbone; it is copied.
        space: what is searched: a name of `RECIPE_SETTINGS` or an option of the method → `Between` or a tuple of
            choices (texts, numbers, True, False).
        train, val: images `N 3 H W` and labels `N`; `val` chooses.
        recipe: of every trial, except what `space` names; its seed also draws the trials.
        trials: number of trials in all.
        storage: the SQLite file; by default `searches.db` in the store of runs.
        progress: show a bar with the time left.

    Returns:
        A row a trial, in order: trial, a column for each name in `space`, val_accuracy, val_loss, best_step, seconds,
        diverged.

    Raises:
        UserError: a name or range that cannot be searched, no trials, or a storage that cannot be written.
    """
    _check(method, space, trials)
    study = _study(_key(method, vit, num_classes, space, train, val, recipe), storage)
    missing = max(0, trials - len(_finished(study)))
    with ticking(tqdm(total=missing, disable=not (progress and missing), desc=f"search of {method}")) as bar:
        for _ in range(missing):
            _one_trial(
                study, space, recipe.seed, lambda s: train_setting(method, vit, num_classes, s, train, val, recipe)
            )
            bar.update(1)
    return _table(_finished(study)[:trials], space)


def best_setting(trials: pd.DataFrame) -> dict:
    """The setting with the highest validation accuracy in a table of `search`; where two are equal, the lower loss.

    Raises:
        UserError: all trials diverged.
    """
    if trials["diverged"].all():
        raise UserError("all trials of the search diverged: search smaller learning rates.")
    best = trials.sort_values(["val_accuracy", "val_loss"], ascending=[False, True]).iloc[0]
    return {name: _plain(best[name]) for name in trials.columns[1 : list(trials.columns).index("val_accuracy")]}


# ---- one trial --------------------------------------------------------------------------------------------------


def _one_trial(study, space: Space, seed: int, train) -> None:
    """Take a setting, train with it, store the result; a trial that is stopped is repeated."""
    from optuna.trial import TrialState

    done = len(_finished(study))
    study.sampler = _sampler(seed, done)  # from the count of trials only, so that a stopped search continues the same
    if not done:
        study.enqueue_trial({name: v.middle if isinstance(v, Between) else v[0] for name, v in space.items()})
    trial = study.ask(_distributions(space))
    try:
        _, history = train(trial.params)
    except Diverged:
        facts, accuracy = {"diverged": True, "val_loss": None, "best_step": 0, "seconds": 0.0}, 0.0
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        accuracy, loss = history.best_val_accuracy, history.best_val_loss
        facts = {"diverged": False, "val_loss": loss, "best_step": history.best_step, "seconds": history.seconds}
    trial.set_user_attr("facts", facts)
    study.tell(trial, accuracy)


def _sampler(seed: int, done: int):
    from optuna.samplers import TPESampler

    digest = hashlib.sha256(f"{seed} {done}".encode()).digest()
    return TPESampler(n_startup_trials=DRAWN_EVENLY, seed=int.from_bytes(digest[:4]))


def _distributions(space: Space) -> dict:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        name: FloatDistribution(v.low, v.high, log=True) if isinstance(v, Between) else CategoricalDistribution(v)
        for name, v in space.items()
    }


# ---- the store: Optuna ------------------------------------------------------------------------------------------


def _key(method, vit, num_classes, space, train, val, recipe) -> str:
    """A hash of everything that determines the trials."""
    named = {name: asdict(v) if isinstance(v, Between) else list(v) for name, v in sorted(space.items())}
    facts = [method, fingerprint(vit), num_classes, named, asdict(recipe), _digest(train), _digest(val)]
    return f"{method} {hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]}"


def _digest(data: TensorDataset) -> str:
    digest = hashlib.sha256()
    for tensor in data.tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _study(key: str, storage: Path | None):
    import optuna
    from sqlalchemy.exc import DBAPIError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = Path(storage or store_folder() / "searches.db")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sqlite3.connect(path).close()
        return optuna.create_study(
            storage=f"sqlite:///{path}", study_name=key, direction="maximize", load_if_exists=True
        )
    except (OSError, sqlite3.Error, DBAPIError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the trials cannot be kept in {path} ({reason}): give storage another file, or set VPTLIB_STORE to a "
            "folder that can be written."
        ) from error


def _finished(study) -> list:
    """Trials that have a result, in order."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _table(trials: list, space: Space) -> pd.DataFrame:
    rows = [
        {"trial": number, **{name: trial.params[name] for name in space}, "val_accuracy": trial.value}
        | {name: trial.user_attrs["facts"][name] for name in ("val_loss", "best_step", "seconds", "diverged")}
        for number, trial in enumerate(trials)
    ]
    return pd.DataFrame(rows).astype({"val_loss": float})


def _plain(value):
    """A numpy number as a Python number, because builders check for that."""
    return value.item() if hasattr(value, "item") else value


# ---- checks -----------------------------------------------------------------------------------------------------


def _check(method: str, space: Space, trials: int) -> None:
    offered = (*RECIPE_SETTINGS, *find_method(method).options)
    for name, values in space.items():
        if name not in offered:
            raise UserError(f"space names {name!r}, but of {method!r} one can search {', '.join(offered)}.")
        if not isinstance(values, Between) and not (isinstance(values, tuple) and values):
            raise UserError(f"space[{name!r}] is {values!r}, but must be Between(low, high) or a tuple of choices.")
    if trials < 1:
        raise UserError(f"trials is {trials}, but must be 1 or more.")
