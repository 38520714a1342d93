"""The rules "until done": rates tried side by side, grids that grow, training that ends by itself, solved probes."""

import json
import math
from itertools import pairwise

import pandas as pd
import pytest
import torch

from vptlib.errors import UserError
from vptlib.report.words.en import protocol
from vptlib.study import done_rules, runner, store
from vptlib.study.done_rules import first_rates, next_rate, recipe_until_done, rounds, usual_rate
from vptlib.study.plan import Cell
from vptlib.study.store import run_key, tried_file
from vptlib.study.study import Study
from vptlib.tuning import training
from vptlib.tuning.methods import METHODS
from vptlib.tuning.training import Diverged, Training

pytestmark = pytest.mark.usefixtures("own_store")

TINY = {
    "task": "digits",
    "image_size": 14,
    "depth": 1,
    "num_prompts": 2,
    "steps": 60,
    "batch_size": 8,
    "test_images": 30,
    "rules": "until done",
    "precision": "fp32",
}


def study(**changes) -> Study:
    return Study(**(TINY | {"methods": ("linear", "vpt-deep"), "sizes": (40,), "seeds": (0,)} | changes))


# ---- the grid ---------------------------------------------------------------------------------------------------


def test_every_method_has_a_grid_of_equal_length_around_its_usual_rate():
    for method, row in METHODS.items():
        if row.learning_rates:
            rates = first_rates(method, 3)
            assert rates[0] == pytest.approx(usual_rate(method), rel=0.05)
            ordered = sorted(rates)
            assert [b / a for a, b in pairwise(ordered)] == pytest.approx([10**0.5] * 2, rel=0.05)


def test_a_grid_grows_only_from_its_edges():
    tried = {1e-3: 0.5, 3.2e-3: 0.6, 3.2e-4: 0.4}
    assert next_rate(tried, 3.2e-3) == pytest.approx(1e-2, rel=0.05)
    assert next_rate(tried, 3.2e-4) == pytest.approx(1e-4, rel=0.05)
    assert next_rate(tried, 1e-3) is None


def test_the_usual_rate_stays_unless_another_is_clearly_better():
    close, clear = {1e-3: (0.80, -0.6), 3e-3: (0.84, -0.5)}, {1e-3: (0.80, -0.6), 3e-3: (0.86, -0.5)}
    assert done_rules.standard_error(0.85, 80) == pytest.approx(0.04, abs=0.002)
    assert done_rules.ranked(close, 1e-3, images=80) == [1e-3, 3e-3]
    assert done_rules.ranked(clear, 1e-3, images=80) == [3e-3, 1e-3]
    assert done_rules.ranked(close, 1e-3, images=400) == [3e-3, 1e-3], "with more images 4 points are clear"
    assert done_rules.ranked({1e-3: (0.9, -0.2), 3e-3: (0.8, -0.1)}, 3e-3, images=10) == [3e-3, 1e-3]
    assert done_rules.ranked(close, 1e-2, images=80) == [3e-3, 1e-3], "the preferred one is no longer there"
    diverged = {1e-3: (0.0, -math.inf), 3e-3: (0.1, -2.3)}
    assert done_rules.ranked(diverged, 1e-3, images=8) == [3e-3, 1e-3]


def test_few_validation_images_do_not_move_a_rate_by_one_image(monkeypatch):
    middle = usual_rate("vpt-deep")
    planted(monkeypatch, lambda rate, step: 0.75 if rate < middle * 0.9 else 0.625)  # one of 8 images
    row = only_run(study(methods=("vpt-deep",)))
    assert row.learning_rate == pytest.approx(middle, rel=0.05) and len(row.tried) == 3


def test_rounds_end_at_evaluations():
    recipe = recipe_until_done(1e-3, steps=600, batch_size=16, seed=0, bf16=False)
    assert rounds(recipe, 3) == [60, 120] and rounds(recipe, 5) == [60, 120, 240] and rounds(recipe, 1) == [60]
    assert set(rounds(recipe, 5)) <= recipe.evaluation_steps
    short = recipe_until_done(1e-3, steps=50, batch_size=16, seed=0, bf16=False)
    assert set(rounds(short, 3)) <= short.evaluation_steps, "the first round has something to compare"


def planted(monkeypatch, worth, seen=None):
    """Trainings whose validation accuracy depends on the rate and the steps alone: `worth(rate, steps)`."""

    def advance(self, until, *_, **__):
        rate = self.recipe.learning_rate
        history = self.history
        for step in range(len(history.train_loss) + 1, until + 1):
            if seen is not None:
                seen.append((rate, step))
            accuracy = worth(rate, step)
            if accuracy is None:
                raise Diverged(f"the loss is nan with learning rate {rate:g}")
            history.train_loss.append(1.0)
            if step in self.recipe.evaluation_steps:
                self._run.note_validation(step, runner_evaluation(accuracy))

    monkeypatch.setattr(Training, "advance", advance)


def runner_evaluation(accuracy):
    from vptlib.tuning.training import Evaluation

    return Evaluation(accuracy, 1 - accuracy, None, None)


def near(best: float):
    """A step on the grid costs 10 points: more than the standard error on 40 validation images."""
    return lambda rate, step: 0.94 - 0.2 * abs(math.log10(rate / best)) + 1e-4 * step


def only_run(study: Study) -> pd.Series:
    return study.run(progress=False, jobs=1).iloc[-1]


@pytest.mark.parametrize(("best", "tried"), [(0, 3), (1, 4), (-1, 4), (2, 5), (-2, 5), (5, 5)])
def test_the_grid_grows_towards_the_best_rate_but_not_without_end(monkeypatch, best, tried):
    middle = usual_rate("vpt-deep")
    planted(monkeypatch, near(middle * 10 ** (best / 2)))
    row = only_run(study(methods=("vpt-deep",), sizes=(200,)))
    assert len(row.tried) == tried
    reached = min(abs(best), 1 + done_rules.MOST_GROWTH)
    assert row.learning_rate == pytest.approx(middle * 10 ** (math.copysign(reached, best) / 2 if best else 0), rel=0.1)


def test_the_worse_half_stops_after_each_round(monkeypatch):
    seen = []
    middle = usual_rate("vpt-deep")
    planted(monkeypatch, near(middle), seen)
    only_run(study(methods=("vpt-deep",), steps=600))
    steps = {rate: max(step for r, step in seen if r == rate) for rate in {rate for rate, _ in seen}}
    assert sorted(steps.values()) == [60, 120, 600]
    assert steps[min(steps, key=lambda rate: abs(math.log(rate / middle)))] == 600
    assert len(seen) == len(set(seen)), "no step is taken twice"


def test_a_rate_that_diverges_is_noted_and_the_others_go_on(monkeypatch):
    middle = usual_rate("vpt-deep")
    planted(monkeypatch, lambda rate, step: None if rate > 2 * middle else near(middle)(rate, step))
    row = only_run(study(methods=("vpt-deep",)))
    assert row.tried[max(row.tried, key=float)] == 0.0 and row.learning_rate == pytest.approx(middle, rel=0.05)


def test_a_later_seed_that_diverges_takes_a_lower_rate_and_the_study_goes_on(monkeypatch):
    middle = usual_rate("vpt-deep")
    monkeypatch.setattr(
        runner, "candidates_of", lambda plan, cell: plan.to_try(cell.method) if not cell.seed else [middle]
    )
    planted(monkeypatch, near(middle))
    study(methods=("vpt-deep",)).run(progress=False, jobs=1)
    planted(monkeypatch, lambda rate, step: None if rate >= middle * 0.99 else 0.8)
    row = only_run(study(methods=("vpt-deep",), seeds=(0, 1)))
    assert row.seed == 1 and row.learning_rate == pytest.approx(middle / 10**0.5, rel=0.05)
    assert row.tried[f"{middle:g}"] == 0.0


def test_if_all_rates_diverge_the_error_is_theirs(monkeypatch):
    planted(monkeypatch, lambda rate, step: None)
    with pytest.raises(Diverged, match="the loss is nan"):
        study(methods=("vpt-deep",)).run(progress=False, jobs=1)


# ---- whole runs -------------------------------------------------------------------------------------------------


def test_runs_end_by_themselves_and_say_how(monkeypatch):
    runs = study(methods=("linear", "vpt-deep", "full"), steps=200, seeds=(0, 1)).run(progress=False, jobs=1)
    by_method = runs.groupby("method")
    assert set(by_method.get_group("linear").stopped) == {"solved"}
    stepped = runs[runs.method != "linear"]
    assert set(stepped.stopped) <= {"done", "limit"} and (stepped.last_step <= 200).all()
    assert (stepped.best_step <= stepped.last_step).all()
    assert (stepped.tried.map(len) >= 3).all() and (runs.tuned_by == runs.seed).all(), "each seed chooses for itself"
    assert (runs.pool == 1200).all() and runs.test_groups.isna().all()
    assert ((runs.truth.iloc[0] == runs.predictions.iloc[0]) == runs.correct.iloc[0]).all()
    assert all(truth is runs.truth.iloc[0] for truth in runs.truth)
    history = study(methods=("full",), steps=200).history("full", 40, 0)
    assert history.stopped == stepped[(stepped.method == "full") & (stepped.seed == 0)].iloc[0].stopped


def test_a_run_that_cannot_be_stored_is_not_trained_again(own_store, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    ours, steps, advance = study(methods=("full",)), [], Training.advance

    def counted(self, *args, **kwargs):
        before = len(self.history.train_loss)
        advance(self, *args, **kwargs)
        steps.append(len(self.history.train_loss) - before)

    monkeypatch.setattr(Training, "advance", counted)
    with monkeypatch.context() as patched:
        patched.setattr(store, "write_json", refuse)
        with pytest.raises(UserError, match="the server does not answer"):
            ours.run(progress=False, jobs=1)
    assert sum(steps) > 0 and list((own_store / "checkpoints").glob("*.pt"))
    steps.clear()
    assert len(ours.run(progress=False, jobs=1)) == 1
    assert sum(steps) == 0 and not list((own_store / "checkpoints").iterdir())


def refuse(*_):
    raise UserError("the server does not answer")


def test_a_run_is_the_same_however_it_is_made():
    """In one piece, after a kill in the middle of the race, and again: the same numbers."""
    ours = study(methods=("full",))
    cell = Cell("full", 40, 0)
    whole = runner.run_until_done(ours, cell, ours.to_try("full"))
    scores = json.loads(tried_file(ours, cell).read_text())
    first = min(scores, key=int)
    tried_file(ours, cell).write_text(json.dumps({first: scores[first]}))
    again = runner.run_until_done(ours, cell, ours.to_try("full"))
    assert again.tried == whole.tried and again.learning_rate == whole.learning_rate
    assert again.test.predictions.tolist() == whole.test.predictions.tolist()
    assert again.history.train_loss == whole.history.train_loss


def test_the_head_of_lp_ft_is_solved_before_everything_trains(monkeypatch):
    ours = study(methods=("lp-ft", "linear"))
    solved, first = [], []
    solve, advance = runner.SOLVERS["linear"], Training.advance

    def noted(model, *data):
        found = solve(model, *data)
        solved.append(model.head.weight.detach().clone())
        return found

    def watched(self, *of, **options):
        if not first:
            first.append(self.model.head.weight.detach().clone())
            assert self.model.phases == ("all",), "the head needs no phase of its own any more"
        return advance(self, *of, **options)

    monkeypatch.setitem(runner.SOLVERS, "linear", noted)
    monkeypatch.setattr(Training, "advance", watched)
    found = runner.run_until_done(ours, Cell("lp-ft", 40, 0), ours.to_try("lp-ft"))
    assert torch.equal(first[0], solved[0]) and found.history.stopped in ("done", "limit")
    assert not torch.equal(found.weights["net.head.weight"], solved[0]), "it trains on from there"


def test_keys_depend_on_what_determines_a_run_and_on_nothing_else():
    base = study()
    cell = Cell("vpt-deep", 40, 0)
    key = run_key(base, cell)
    assert run_key(study(sizes=(40, 60), seeds=(0, 1), methods=("vpt-deep",)), cell) == key
    for changes in (
        {"steps": 80},
        {"candidates": 2},
        {"precision": "bf16"},
        {"image_size": 28},
        {"rules": "equal budget"},
    ):
        assert run_key(study(**changes), cell) != key, changes


def test_defaults_depend_on_the_rules():
    equal, done = Study("digits", rules="equal budget"), Study("digits")
    assert (equal.steps, equal.candidates) == (60, 2) and done.rules == "until done"
    assert (done.steps, done.candidates) == (done_rules.MOST_STEPS, done_rules.CANDIDATES)


def test_the_protocol_states_these_rules():
    rules = protocol(study(methods=("linear", "vpt-deep", "full")).protocol())
    assert list(rules) == ["Images", "Input", "Tuning", "Training", "Solved", "Strong form", "Test", "Seeds", "Prompts"]
    assert rules["Input"].startswith("14 × 14 px, given;") and "3 learning rates" in rules["Tuning"]
    assert "60 steps" in rules["Training"] and rules["Solved"].startswith("Linear probe: solved to convergence")
    assert rules["Strong form"].startswith("Full fine-tuning: lower layers learn more slowly (factor 0.75 a layer)")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": "all"}, "must be a number"),
        ({"precision": "fp16"}, "precision is 'fp16', but must be one of auto, fp32, bf16"),
        ({"aspect": "stretch"}, "aspect is 'stretch', but must be one of auto, squash, crop, pad"),
        ({"rules": "equal budget", "methods": ("knn",)}, "it needs the rules 'until done'"),
    ],
)
def test_what_the_rules_cannot_do_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        study(**changes)
