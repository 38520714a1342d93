"""The search keeps its budget, continues where it was stopped, and is chosen on validation images alone."""

import copy

import pandas as pd
import pytest
import torch
from models import bright_and_dark, small_vit
from torch.utils.data import TensorDataset

from vptlib import Recipe, UserError, build_method, fit
from vptlib.tuning import search as search_module
from vptlib.tuning.search import Between, best_setting, search, train_setting

SPACE = {"learning_rate": Between(1e-3, 1e-1), "num_prompts": (2, 1, 4)}
RECIPE = Recipe(1e-2, steps=3, batch_size=8, evaluations=1, seed=5)


@pytest.fixture
def parts():
    """Training and validation images."""
    return bright_and_dark(16, noise=2), bright_and_dark(8, seed=1, noise=2)


@pytest.fixture
def run(parts, tmp_path):
    """A small search: `run(trials)`; further arguments replace its own."""
    vit = small_vit()

    def make(trials, method="vpt-deep", space=SPACE, recipe=RECIPE, storage=tmp_path / "a.db", vit=vit, parts=parts):
        return search(method, vit, 2, space, *parts, recipe, trials, storage, progress=False)

    return make


@pytest.fixture
def trainings(monkeypatch):
    """The settings of the trainings, in order."""
    made = []

    def counted(method, vit, num_classes, setting, *rest):
        made.append(dict(setting))
        return train_setting(method, vit, num_classes, setting, *rest)

    monkeypatch.setattr(search_module, "train_setting", counted)
    return made


def settings(table: pd.DataFrame) -> list[tuple]:
    return list(table[[*SPACE, "val_accuracy", "val_loss"]].itertuples(index=False, name=None))


def test_makes_as_many_trials_as_asked_within_the_space(run, trainings):
    table = run(7)
    assert len(table) == len(trainings) == 7
    assert table["learning_rate"].between(1e-3, 1e-1).all() and table["learning_rate"].nunique() == 7
    assert set(table["num_prompts"]) <= {1, 2, 4} and table["num_prompts"].nunique() > 1
    assert list(table["trial"]) == list(range(7))


def test_the_first_trial_takes_first_choice_and_middle(run):
    first = run(1).iloc[0]
    assert first["num_prompts"] == 2 and first["learning_rate"] == pytest.approx(1e-2)


def test_finished_trials_are_not_made_again(run, trainings):
    first = run(4)
    again = run(4)
    assert len(trainings) == 4
    pd.testing.assert_frame_equal(first, again)
    assert len(run(2)) == 2 and len(trainings) == 4


def test_a_stopped_search_goes_on_as_if_it_had_not_been(run, tmp_path, monkeypatch):
    whole = run(8, storage=tmp_path / "whole.db")

    trained, stops = search_module.train_setting, iter([False] * 3 + [True] + [False] * 9)

    def stopped_once(*arguments):
        if next(stops):
            raise KeyboardInterrupt
        return trained(*arguments)

    monkeypatch.setattr(search_module, "train_setting", stopped_once)
    with pytest.raises(KeyboardInterrupt):
        run(8, storage=tmp_path / "parts.db")
    assert len(run(3, storage=tmp_path / "parts.db")) == 3
    assert settings(run(8, storage=tmp_path / "parts.db")) == settings(whole)


def test_stopped_in_its_very_first_trial_it_still_begins_with_it(run, tmp_path, monkeypatch):
    trained = search_module.train_setting

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(search_module, "train_setting", stop)
    with pytest.raises(KeyboardInterrupt):
        run(2)
    monkeypatch.setattr(search_module, "train_setting", trained)
    assert settings(run(2)) == settings(run(2, storage=tmp_path / "b.db"))


def test_another_recipe_space_backbone_or_other_images_are_another_search(run, trainings, parts):
    run(1)
    swapped = TensorDataset(parts[1].tensors[0], 1 - parts[1].tensors[1])
    others = (
        {"recipe": Recipe(1e-2, steps=4, batch_size=8, evaluations=1, seed=5)},
        {"space": SPACE | {"num_prompts": (2, 1)}},
        {"vit": small_vit(seed=1)},
        {"parts": (parts[0], swapped)},
        {"method": "vpt-shallow"},
    )
    for count, other in enumerate(others, start=2):
        run(1, **other)
        assert len(trainings) == count, other


def test_all_trials_have_the_same_steps_and_a_recipes_setting_replaces_its_own(parts):
    model, history = train_setting(
        "vpt-deep", small_vit(), 2, {"learning_rate": 3e-2, "num_prompts": 4, "weight_decay": 0.0}, *parts, RECIPE
    )
    assert len(history.train_loss) == RECIPE.steps
    assert model.net.prompts.shape == (2, 4, 32)

    vit = small_vit()
    torch.manual_seed(RECIPE.seed)
    by_hand = build_method("linear", copy.deepcopy(vit), 2)
    wanted = fit(by_hand, *parts, Recipe(3e-2, steps=3, batch_size=8, evaluations=1, seed=5)).train_loss
    found = train_setting("linear", vit, 2, {"learning_rate": 3e-2}, *parts, RECIPE)[1].train_loss
    assert found == wanted


def test_a_trial_that_diverges_counts_and_is_never_best(run):
    space = {"learning_rate": (1e30, 1e-2), "num_prompts": (2,)}
    table = run(6, space=space)
    assert len(table) == 6 and table["diverged"].iloc[0]
    assert (table.loc[table["diverged"], "val_accuracy"] == 0).all()
    assert not table["diverged"].all()
    assert best_setting(table) == {"learning_rate": 1e-2, "num_prompts": 2}
    with pytest.raises(UserError, match="smaller learning rates"):
        best_setting(table[table["diverged"]])


def test_the_best_is_the_most_accurate_and_where_two_are_equal_the_lower_loss_wins():
    table = pd.DataFrame(
        {
            "trial": range(4),
            "num_prompts": [1, 5, 10, 50],
            "val_accuracy": [0.5, 0.8, 0.8, 0.7],
            "val_loss": [0.1, 0.9, 0.6, 0.2],
            "best_step": 3,
            "seconds": 1.0,
            "diverged": False,
        }
    )
    assert best_setting(table) == {"num_prompts": 10}
    assert type(best_setting(table)["num_prompts"]) is int


def test_what_was_best_can_be_trained_again(run, parts):
    torch.manual_seed(0)
    table = run(4)
    setting = best_setting(table)
    torch.manual_seed(0)
    _, history = train_setting("vpt-deep", small_vit(), 2, setting, *parts, RECIPE)
    assert history.best_val_accuracy == table["val_accuracy"].max()


def test_it_learns_where_better_settings_lie(run):
    """TPE spends more of its later trials near the rate that works than an even draw would."""
    space = {"learning_rate": Between(1e-8, 1e-1), "num_prompts": (2,)}
    table = run(25, space=space, recipe=Recipe(1e-2, steps=12, batch_size=16, evaluations=1, seed=5))
    late = table["learning_rate"].iloc[10:]
    assert (late > 1e-3).mean() > 2 / 7 + 0.15  # an even draw puts two of seven decades there


@pytest.mark.parametrize(
    "options, message",
    [
        ({"space": {"steps": (10, 20)}}, "space names 'steps'"),
        ({"method": "full", "space": {"num_prompts": (1, 2)}}, "space names 'num_prompts'.*'full'"),
        ({"space": {"num_prompts": [1, 2]}}, r"space\['num_prompts'\].*tuple"),
        ({"space": {"num_prompts": ()}}, "tuple of choices"),
        ({"trials": 0}, "trials is 0"),
        ({"method": "vpt-deeper"}, "'vpt-deeper'"),
    ],
)
def test_what_cannot_be_searched_is_named(run, options, message):
    with pytest.raises(UserError, match=message):
        run(**{"trials": 1} | options)


@pytest.mark.parametrize("low, high", [(0, 1), (2, 1), (1, 1), (1, float("inf"))])
def test_a_range_must_be_one(low, high):
    with pytest.raises(UserError, match="cannot be searched"):
        Between(low, high)


def test_a_storage_that_cannot_be_written_is_named(run, tmp_path):
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(UserError, match="give storage another file"):
        run(1, storage=tmp_path / "folder.db")
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(UserError, match=r"text\.db"):
        run(1, storage=tmp_path / "text.db")
