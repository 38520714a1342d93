"""The audit of a study: each fault is planted alone and found alone; a study without a fault raises no alarm."""

import json

import numpy as np
import pandas as pd
import pytest
from planted import audited_runs

from vptlib.errors import UserError
from vptlib.evidence.audit import NOTE, WARNING, audit, audit_summary
from vptlib.report.sections.audit import audit_part
from vptlib.report.words import in_language

LAW = {50: 0.70, 150: 0.80, 400: 0.87}
METHODS = ("linear", "vpt-deep", "full")
en = in_language("en")


def clean(**options) -> pd.DataFrame:
    return audited_runs(dict.fromkeys(METHODS, LAW), **options)


def at(runs: pd.DataFrame, method: str, n: int, seed: int) -> int:
    """The row of one run."""
    return runs.query("method == @method and n == @n and seed == @seed").index[0]


def with_accuracy(runs: pd.DataFrame, row: int, accuracy: float) -> None:
    """Give a run this accuracy; the test images that it gets right are drawn at random."""
    images = len(runs.at[row, "correct"])
    correct = np.random.default_rng(row).permutation(images) < round(accuracy * images)
    runs.at[row, "correct"], runs.at[row, "accuracy"] = correct, correct.mean()


def only(runs: pd.DataFrame, code: str, **options) -> dict:
    """The values of the one finding, and its runs; the last note, about the end of training, aside."""
    finding, *rest = audit(runs, **options)
    assert finding.what.code == code and len(rest) == 1
    return finding.what.values | {"level": finding.level, "run_ids": finding.run_ids}


# ---- nothing to find --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("without_looking", [None, 0.1])
def test_a_study_without_a_fault_has_only_the_note_that_all_runs_were_trained_out(without_looking):
    (finding,) = audit(clean(), without_looking)
    assert (finding.level, finding.what.plain()) == (NOTE, {"code": "trained_out", "runs": 27})
    assert (finding.method, finding.n, len(finding.run_ids)) == ("", 0, 27)


def test_a_table_of_two_tasks_is_refused():
    two = pd.concat([clean(), clean().assign(task="other")])
    with pytest.raises(UserError, match="mixes the tasks planted, other"):
        audit(two)


# ---- each fault alone -------------------------------------------------------------------------------------------


def test_a_run_that_was_cut_short_is_found():
    runs = clean()
    rows = [at(runs, "full", 150, seed) for seed in (0, 2)]
    runs.loc[rows, ["best_step", "stopped"]] = [48, "limit"]
    cut, end = audit(runs)
    assert cut.what.plain() == {
        "code": "best_at_last_step", "method": "full", "n": 150, "seeds": [0, 2], "steps": 48,
    }  # fmt: skip
    assert (cut.level, cut.run_ids, cut.method, cut.n) == (WARNING, ("full-150-0", "full-150-2"), "full", 150)
    assert end.what.plain() == {"code": "not_trained_out", "cut": 2, "runs": 27, "methods": ["full"]}
    assert (end.level, end.run_ids) == (NOTE, cut.run_ids)


@pytest.mark.parametrize(("best", "stopped"), [(48, "done"), (40, "limit")])
def test_best_at_the_last_step_is_no_fault_if_it_ended_by_itself_or_had_been_better_before(best, stopped):
    runs = clean().assign(best_step=best, stopped=stopped)
    assert [finding.what.code for finding in audit(runs)] == ["trained_out" if stopped == "done" else "not_trained_out"]


def test_a_length_that_the_published_rules_fix_is_no_fault():
    runs = clean().assign(best_step=48, stopped="limit", weight_decay=0.01, tried=[{}] * 27)
    assert [finding.what.plain() for finding in audit(runs)] == [{"code": "length_is_fixed", "runs": 27}]


@pytest.mark.parametrize(("chosen", "side", "further"), [(0.003, "largest", 0.0095), (0.0003, "smallest", 9.5e-05)])
def test_a_choice_at_the_edge_is_found_with_what_to_try_next(chosen, side, further):
    runs = clean()
    runs.at[at(runs, "vpt-deep", 400, 0), "learning_rate"] = chosen
    assert only(runs, "choice_at_edge") == {
        "method": "vpt-deep", "n": 400, "side": side, "chosen": chosen, "tried": [0.0003, 0.001, 0.003],
        "further": further, "solved": False, "level": WARNING, "run_ids": ("vpt-deep-400-0",),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tried", "chosen", "at_edge"),
    [
        (["1e-05", "0.1", "1000"], 1000.0, True),
        (["1e-05", "0.1", "1000"], 0.1, False),
        (["1", "3", "9"], 9.0, True),
        (["1", "3", "9"], 1.0, False),  # one neighbour: there is nothing below
        (["0.1"], 0.1, False),
    ],
)
def test_a_solved_method_is_at_an_edge_at_the_end_of_its_path(tried, chosen, at_edge):
    runs = clean()
    row = at(runs, "linear", 50, 0)
    runs.at[row, "tried"] = dict.fromkeys(tried, 0.8)
    runs.loc[row, ["learning_rate", "stopped"]] = [chosen, "solved"]
    found = {finding.what.code: finding for finding in audit(runs)}
    assert set(found) == {"trained_out"} | ({"choice_at_edge"} if at_edge else set())
    assert not at_edge or found["choice_at_edge"].what.values["solved"] is True


def test_a_candidate_that_diverged_is_a_note():
    runs = clean()
    runs.at[at(runs, "full", 50, 0), "tried"] = {"0.0003": 0.6, "0.001": 0.8, "0.003": 0.0}
    assert only(runs, "candidate_diverged") == {
        "method": "full", "n": 50, "rates": [0.003], "level": NOTE, "run_ids": ("full-50-0",),
    }  # fmt: skip


def test_accuracy_that_falls_with_more_labels_is_found():
    """The quick look's case: full fine-tuning fell from 70.8 % with 150 images to 66.2 % with 400; one seed."""
    runs = audited_runs({"linear": LAW, "full": {50: 0.568, 150: 0.708, 400: 0.662}}, seeds=1)
    means = runs.set_index(["method", "n"])["accuracy"]
    assert only(runs, "accuracy_falls") == {
        "method": "full", "smaller": 150, "larger": 400, "before": means["full", 150], "after": means["full", 400],
        "seeds": 1, "images": 400, "level": WARNING, "run_ids": ("full-150-0", "full-400-0"),
    }  # fmt: skip


def test_a_fall_counts_seeds_as_chance_where_there_are_several():
    """The same mean fall: the same in each seed, or here up and there down."""
    falls = {150: 0.80, 400: 0.72}
    same = audited_runs({"full": falls}, seeds=3)
    assert only(same, "accuracy_falls")["seeds"] == 3
    mixed = same.copy()
    for seed, accuracy in enumerate((0.86, 0.72, 0.58)):
        with_accuracy(mixed, at(mixed, "full", 400, seed), accuracy)
    assert "accuracy_falls" not in {finding.what.code for finding in audit(mixed)}


def test_a_fall_below_a_point_is_no_finding_however_many_test_images_there_are():
    runs = audited_runs({"full": {150: 0.80, 400: 0.80}}, seeds=1, images=20_000)
    correct = runs.at[0, "correct"].copy()
    correct[np.flatnonzero(correct)[:160]] = False  # 0.8 points, all of them losses
    runs.at[1, "correct"], runs.at[1, "accuracy"] = correct, correct.mean()
    assert [finding.what.code for finding in audit(runs)] == ["trained_out"]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_seed_far_below_the_others_is_named(seeds):
    runs = clean(seeds=seeds)
    with_accuracy(runs, at(runs, "vpt-deep", 400, 1), 0.5)
    cell = runs.query("method == 'vpt-deep' and n == 400")
    assert only(runs, "seeds_diverge") == {
        "method": "vpt-deep", "n": 400, "seeds": [1], "accuracy": 0.5,
        "others": pytest.approx(cell.loc[cell["seed"] != 1, "accuracy"].mean()),
        "level": WARNING, "run_ids": ("vpt-deep-400-1",),
    }  # fmt: skip


def test_seeds_that_differ_everywhere_are_no_fault_of_one_of_them():
    runs = clean(seed_spread=0.05, random=3)
    spread = runs.groupby(["method", "n"])["accuracy"].agg(np.ptp)
    assert spread.max() > 0.1  # far more than 400 test images explain
    assert "seeds_diverge" not in {finding.what.code for finding in audit(runs)}


def test_a_run_that_learned_nothing_is_found_and_is_not_called_a_diverging_seed_too():
    runs = clean()
    with_accuracy(runs, at(runs, "full", 400, 2), 0.1)
    assert only(runs, "collapsed", without_looking=0.1) == {
        "method": "full", "n": 400, "seeds": [2], "accuracy": 0.1, "without_looking": 0.1,
        "level": WARNING, "run_ids": ("full-400-2",),
    }  # fmt: skip
    assert only(runs, "seeds_diverge")["seeds"] == [2]  # where the floor is not known


def test_warnings_come_first():
    runs = clean()
    runs.at[at(runs, "linear", 50, 0), "tried"] = {"0.0003": 0.6, "0.001": 0.8, "0.003": 0.0}
    runs.at[at(runs, "full", 400, 0), "learning_rate"] = 0.003
    found = [(finding.level, finding.what.code) for finding in audit(runs)]
    assert found == [(WARNING, "choice_at_edge"), (NOTE, "candidate_diverged"), (NOTE, "trained_out")]


# ---- false alarms -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "seeds"),
    [
        ({"full": dict.fromkeys((50, 150, 400), 0.75)}, 1),  # level: where a false alarm is likeliest
        ({"full": dict.fromkeys((50, 150, 400), 0.75)}, 3),
        (dict.fromkeys(METHODS, LAW), 3),
    ],
)
def test_chance_seldom_raises_an_alarm(truth, seeds):
    random, tables = np.random.default_rng(7), 120
    alarms = {"accuracy_falls": 0, "seeds_diverge": 0}
    for _ in range(tables):
        for finding in audit(audited_runs(truth, seeds=seeds, images=200, random=random)):
            if finding.level == WARNING:
                alarms[finding.what.code] += 1
    assert max(alarms.values()) <= 0.08 * tables, alarms


# ---- for people and for summary.json ----------------------------------------------------------------------------


def faulty() -> pd.DataFrame:
    """Every method cut short everywhere, and a diverged candidate."""
    runs = clean(seeds=1).assign(best_step=48, stopped="limit")
    runs.at[at(runs, "full", 50, 0), "tried"] = {"0.0003": 0.6, "0.001": 0.8, "0.003": 0.0}
    return runs


def test_the_summary_has_plain_values():
    found = audit_summary(audit(faulty()))
    assert json.loads(json.dumps(found)) == found
    assert found[-2] == {
        "code": "candidate_diverged", "values": {"method": "full", "n": 50, "rates": [0.003]}, "level": "note",
        "run_ids": ["full-50-0"],
    }  # fmt: skip


def test_the_report_gives_several_findings_of_a_kind_in_one_line_with_their_runs_folded_away():
    heading, html = (part.data for part in audit_part(audit(faulty())))
    assert "audit" in heading and html.count("<dt>Warning</dt>") == 1 and html.count("<dt>Note</dt>") == 2
    lead = "Training was cut short in 9 runs of linear probe, VPT-deep and full fine-tuning"
    assert html.index(lead) < html.index("<details>") < html.index("VPT-deep with 150 labelled images is best at its")
    assert html.index("<code>vpt-deep-150-0</code>") < html.index("Training of full fine-tuning with 50")


def test_the_report_says_so_where_nothing_was_found():
    html = audit_part(audit(clean()))[1].data
    assert html.index("<dt>No warning</dt><dd>The audit looks for runs cut short") < html.index("All 27 runs ended by")


def test_a_fall_is_told_with_both_sizes_and_what_chance_covers():
    runs = audited_runs({"full": {150: 0.75, 400: 0.65}}, seeds=1)
    text = en.sentence(audit(runs)[0].what)
    assert text.startswith("Full fine-tuning falls from ") and " with 150 labelled images to " in text
    assert text.endswith(
        "with 400, on the same 400 test images (1 seed): more than the choice of test images explains."
    )


def test_a_solved_method_has_no_rate_that_could_diverge():
    """With four validation images, a penalty may well get none of them right."""
    runs = clean()
    runs.at[at(runs, "linear", 50, 0), "tried"] = {"0.001": 0.0, "0.01": 0.5, "0.1": 0.25}
    runs.at[at(runs, "linear", 50, 0), "learning_rate"] = 0.01
    runs.at[at(runs, "linear", 50, 0), "stopped"] = "solved"
    assert "candidate_diverged" not in {finding.what.code for finding in audit(runs)}


def test_a_table_of_solved_methods_alone_is_audited():
    """Its part with rates is empty, and an empty selection once failed."""
    assert audit(clean().query("method == 'linear'").assign(stopped="solved"))
