"""Watching prompts in production: what is fine, what somebody should look at, and what to act on."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from chains import rewrite, text_of
from exported import answers_for, exported
from watched import LATER, answered, in_production

from vptlib.operations.records import TABLE, AnswerRecords, Checked, Given
from vptlib.operations.registry import PromptRegistry
from vptlib.operations.watch import ACT, FINE, LOOK, not_registered, watch_of, watched


@pytest.fixture
def records(own_store):
    return AnswerRecords()


@pytest.fixture(scope="module")
def kept_store(tmp_path_factory, empty_database):
    """A store in which `cells` is in production, trained with 1,000 images. It takes long to make, so it is copied."""
    store = tmp_path_factory.mktemp("kept")
    shutil.copy(empty_database, store / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VPTLIB_STORE", str(store))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        in_production(tmp_path_factory.mktemp("files"), "cells", n=1000)
    return store


@pytest.fixture
def cells(kept_store, tmp_path, monkeypatch):
    """The registry and the record of answers of a store for this test alone, with `cells` in production."""
    shutil.copytree(kept_store, tmp_path / "store")
    monkeypatch.setenv("VPTLIB_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return PromptRegistry(), AnswerRecords()


def seen(name, registry, records, now=None):
    """The prompt a month after it was promoted."""
    return watch_of(name, registry, records, now or datetime.now(UTC) + LATER)


def codes(watch, *verdicts):
    return [reason.what.code for reason in watch.reasons if reason.verdict in (verdicts or (FINE, LOOK, ACT))]


def values(watch, code):
    return next(reason.what.values for reason in watch.reasons if reason.what.code == code)


def given(watch, number, at=None, **changes):
    about = {
        "id": f"{number:032x}",
        "at": at or watch.since.at + timedelta(hours=1 + number),
        "task": watch.name,
        "version": watch.version.number,
        "digest": watch.version.digest,
        "answer": "good",
        "probability": 0.9,
        "ask_a_person": "no",
    }
    return Given(**about | changes)


def say(records, watch, numbers, truth="good", hours=0):
    at = watch.since.at + timedelta(days=1, hours=hours)
    records.take((), [Checked(f"{number:032x}", truth, "chi", at) for number in numbers])


# ---- what is fine -------------------------------------------------------------------------------------------------


def test_a_prompt_that_answers_as_in_its_test_is_fine(records, tmp_path):
    registry = in_production(tmp_path, "cells", n=500)
    answered("cells", records, 300, drawn=0.6, right=0.98)
    watch = seen("cells", registry, records)
    assert watch.verdict == FINE, codes(watch)
    assert watch.command == ""
    assert (watch.version.ref, watch.since.by) == ("cells/1", "ben")
    assert watch.recorded == watch.last_month == 300
    assert 60 <= watch.last_week <= 80
    assert watch.drawn == watch.drawn_checked == watch.checked > 80
    given_on = records.frame("cells")["at"].dt.date
    assert sum(day.answers for day in watch.days) == (given_on >= watch.days[0].day).sum() > 250
    assert len(watch.days) == 30
    assert watch.for_person == pytest.approx(watch.tested_for_person, abs=0.1)
    assert [limit.verdict for limit in watch.limits] == ["holds", "holds"]
    assert [path[-1].cases for path in watch.points] == [limit.cases for limit in watch.limits]
    assert not watch.drift.found
    assert watch.labels.now == 500 + watch.checked


# ---- what asks for something --------------------------------------------------------------------------------------


def test_a_broken_limit_is_to_act_on_and_the_command_puts_back_what_was_there_before(records, tmp_path):
    in_production(tmp_path, "cells")
    registry = in_production(tmp_path, "cells", number=1)
    answered("cells", records, 100, drawn=0.8, right=0.4)
    watch = seen("cells", registry, records)
    assert watch.verdict == ACT
    assert "watch_broken" in codes(watch, ACT)
    assert watch.reasons[0].verdict == ACT, "the most urgent first"
    assert watch.command == "vpt prompts roll-back cells --reason 'a limit is broken'"
    assert values(watch, "status_decide_again")["why"] == ["limit"]


def test_a_broken_limit_of_a_first_version_asks_to_decide_again(cells):
    registry, records = cells
    answered("cells", records, 60, drawn=1.0, right=0.3)
    assert seen("cells", registry, records).command == "vpt report CONFIG.yaml"


def test_a_limit_for_a_class_that_the_model_does_not_have_is_said(records, tmp_path):
    registry = in_production(tmp_path, "cells", limits={"recall": {"class": "good", "at_least": 0.5}})
    other = ("good", "dent", "pit")
    exported(tmp_path / "other.vpt", answers=replace(answers_for(), class_names=other), class_names=other, seed=3)
    registry.register(tmp_path / "other.vpt", "cells", "aki")
    registry.set_limits("cells", {"recall": {"class": "dent", "at_least": 0.5}}, "ben")
    watch = seen("cells", registry, records)
    assert values(watch, "status_class_absent") == {"kind": "recall", "names": ["dent"]}
    assert watch.verdict == LOOK


def test_only_answers_that_were_drawn_count_for_limits(cells):
    registry, records = cells
    watch = seen("cells", registry, records)
    records.add([given(watch, number) for number in range(60)])
    say(records, watch, range(60), "scratch")
    watch = seen("cells", registry, records)
    assert [limit.verdict for limit in watch.limits] == ["no_cases", "no_cases"]
    assert values(watch, "watch_not_drawn") == {"answers": 60, "of": 60}
    assert "watch_broken" not in codes(watch)


def test_shifted_features_are_drift_with_the_day_on_which_it_began(cells):
    registry, records = cells
    answered("cells", records, 210, drawn=0.4, shift=3.0)
    watch = seen("cells", registry, records)
    assert watch.drift.found
    assert watch.verdict == LOOK
    assert codes(watch, LOOK)[:2] == ["drift_found", "drift_features"]
    began = datetime.fromisoformat(values(watch, "status_drift_since")["at"])
    assert began - watch.since.at < timedelta(hours=4)
    assert watch.stretches[0].found
    assert watch.stretches[0].ratio > 5
    assert watch.command == "vpt prompts to-check cells tocheck.csv"
    assert values(watch, "status_decide_again")["why"] == ["drift"]


def test_answers_without_coordinates_are_watched_by_their_classes_alone_and_that_is_said(cells):
    registry, records = cells
    watch = seen("cells", registry, records)
    records.add([given(watch, number) for number in range(60)])
    watch = seen("cells", registry, records)
    assert watch.drift.found, "all of 60 answers are good"
    assert "drift_without_features" in codes(watch)


def test_coordinates_of_another_width_do_not_stop_the_watching(cells):
    registry, records = cells
    watch = seen("cells", registry, records)
    odd = np.zeros(3, dtype=np.float16)
    records.add([given(watch, number, coordinates=odd) for number in range(30)])
    assert "drift_without_features" in codes(seen("cells", registry, records))


@pytest.mark.parametrize(
    ("data", "n", "again_at", "by_rule", "code"),
    [
        ({"decide_again_at": 120}, 100, 120, False, "status_decide_again"),
        ({"decide_again_at": 400}, 100, 400, False, "status_labels_to_go"),
        ({}, 100, 200, True, "status_labels_to_go"),
        ({}, 20, 40, True, "status_decide_again"),
        ({"decide_again_at": None}, 20, None, False, None),
        ({"decide_again_at": "soon"}, 100, 200, True, "status_labels_to_go"),
    ],
)
def test_checked_answers_add_up_to_the_labels_at_which_to_decide_again(
    records, tmp_path, data, n, again_at, by_rule, code
):
    registry = in_production(tmp_path, "cells", data=data, n=n)
    watch = seen("cells", registry, records)
    shown = ("good", "scratch", "pit")
    records.add([given(watch, number, answer=shown[number % 3], probability=0.8) for number in range(24)])
    say(records, watch, range(24))
    watch = seen("cells", registry, records)
    assert (watch.labels.now, watch.labels.again_at, watch.labels.by_rule) == (n + 24, again_at, by_rule)
    about = [found for found in codes(watch) if found in ("status_decide_again", "status_labels_to_go")]
    assert about == ([code] if code else [])


def test_checks_before_the_training_are_no_further_labels(cells):
    registry, records = cells
    watch = seen("cells", registry, records)
    records.add([given(watch, 0, at=datetime(2025, 1, 1, tzinfo=UTC)), given(watch, 1)])
    records.take((), [Checked(f"{0:032x}", "good", "chi", datetime(2025, 1, 2, tzinfo=UTC))])
    say(records, watch, [1])
    assert seen("cells", registry, records).labels.checked == 1


def test_drawn_answers_that_nobody_checks_are_said_after_a_week(cells):
    registry, records = cells
    watch = seen("cells", registry, records)
    records.add([given(watch, number, drawn=True) for number in range(20)])
    say(records, watch, range(10))
    fresh = seen("cells", registry, records, watch.since.at + timedelta(days=3))
    assert values(fresh, "status_checks") == {"drawn": 20, "checked": 10}
    assert "status_checks_waiting" not in codes(fresh)
    late = seen("cells", registry, records)
    assert values(late, "status_checks_waiting") == {"waiting": 10, "due": 20, "days": 7}
    say(records, watch, range(10, 17))
    assert "status_checks_waiting" not in codes(seen("cells", registry, records)), "three of twenty may wait"


def test_a_service_that_draws_nothing_is_said(cells):
    registry, records = cells
    watch = seen("cells", registry, records)
    records.add([given(watch, number) for number in range(5)])
    assert values(seen("cells", registry, records), "status_none_drawn") == {"answers": 5}


def test_people_who_disagree_are_counted_and_the_last_one_counts(cells):
    registry, records = cells
    watch = seen("cells", registry, records)
    records.add([given(watch, number, drawn=True) for number in range(3)])
    say(records, watch, range(3), "scratch")
    say(records, watch, [0], "good", hours=1)
    watch = seen("cells", registry, records)
    assert values(watch, "status_disputed") == {"disputed": 1, "checked": 3}
    accuracy = watch.limits[0]
    assert (accuracy.hits, accuracy.cases) == (1, 3)


def test_a_class_that_the_model_does_not_have_counts_as_a_mistake(cells):
    registry, records = cells
    watch = seen("cells", registry, records)
    records.add([given(watch, number, drawn=True) for number in range(4)])
    say(records, watch, range(3))
    say(records, watch, [3], "dent")
    accuracy = seen("cells", registry, records).limits[0]
    assert (accuracy.hits, accuracy.cases) == (3, 4)


def test_an_answer_that_the_model_cannot_have_given_is_said(cells):
    registry, records = cells
    records.add([given(seen("cells", registry, records), 0, answer="dent")])
    assert "'dent', which is no class" in values(seen("cells", registry, records), "status_failed")["why"]


# ---- which version answers ----------------------------------------------------------------------------------------


def test_only_answers_of_the_version_in_production_count(cells, tmp_path):
    registry, records = cells
    before = seen("cells", registry, records)
    records.add([given(before, number, drawn=True) for number in range(40)])
    say(records, before, range(40), "scratch")
    in_production(tmp_path, "cells", number=1, n=1000)
    watch = seen("cells", registry, records)
    assert watch.version.number == 2
    assert watch.recorded == watch.checked == 0
    assert watch.limits[0].cases == 0
    assert watch.labels.checked == 40, "labels are of the prompt, whoever answered"


def test_a_service_that_stays_with_another_version_is_said(cells, tmp_path):
    registry, records = cells
    first = seen("cells", registry, records)
    in_production(tmp_path, "cells", number=1, n=1000)
    watch = seen("cells", registry, records)
    old = {"digest": first.version.digest, "version": 1}
    records.add([given(watch, 0, at=watch.since.at + timedelta(seconds=2), **old)])
    assert not values(seen("cells", registry, records), "status_other_versions")["late"], "it takes a while to load"
    records.add([given(watch, 1, at=watch.since.at + timedelta(hours=1))])
    assert values(seen("cells", registry, records), "status_other_versions") == {
        "answers": 1,
        "versions": ["cells/1"],
        "late": False,
    }
    records.add([given(watch, 2, at=watch.since.at + timedelta(hours=2), **old)])
    late = seen("cells", registry, records)
    assert values(late, "status_other_versions")["late"]
    assert "status_other_versions" in codes(late, LOOK)


def test_a_forced_promotion_is_remembered(records, tmp_path):
    registry = in_production(tmp_path, "cells", force=True)
    watch = seen("cells", registry, records)
    assert values(watch, "status_forced") == {"by": "ben", "reason": "line stands still"}


def test_answers_of_tables_count_for_limits_but_not_as_answers_of_the_service(cells):
    registry, records = cells
    watch = seen("cells", registry, records)
    records.add([given(watch, number, drawn=True, source=TABLE) for number in range(30)])
    say(records, watch, range(30))
    watch = seen("cells", registry, records)
    assert watch.recorded == 0
    assert watch.drift is None
    assert watch.limits[0].cases == 30


# ---- what cannot be watched ---------------------------------------------------------------------------------------


def test_nothing_recorded_says_how_answers_are_recorded(cells):
    registry, records = cells
    watch = seen("cells", registry, records)
    assert codes(watch, LOOK) == ["status_nothing_recorded"]
    assert watch.command == "vpt serve"
    assert watch.drift is None


def test_a_silent_service_is_said(cells):
    registry, records = cells
    watch = seen("cells", registry, records)
    records.add([given(watch, number, drawn=True) for number in range(3)])
    say(records, watch, range(3))
    assert "status_silent" in codes(seen("cells", registry, records), LOOK)


def test_no_production_names_the_version_that_could_be_promoted(cells, tmp_path):
    registry, records = cells
    registry.retire("cells", 1, "ben", "worn out")
    assert values(seen("cells", registry, records), "status_no_production") == {"candidate": None}
    exported(tmp_path / "next.vpt", seed=5)
    registry.register(tmp_path / "next.vpt", "cells", "aki")
    watch = seen("cells", registry, records)
    assert watch.verdict == LOOK
    assert watch.command == "vpt prompts promote cells 2"


def test_one_prompt_in_doubt_does_not_hide_the_others(records, own_store, tmp_path):
    registry = in_production(tmp_path, "welds", n=1000)
    in_production(tmp_path, "cells", n=1000)
    answered("cells", records, 40, drawn=1.0)
    damaged = registry.fetch("welds")
    damaged.chmod(0o644)
    damaged.write_bytes(b"gone")
    watches = watched(registry, records, now=datetime.now(UTC) + LATER)
    assert [(watch.name, watch.verdict) for watch in watches] == [("welds", ACT), ("cells", FINE)]
    assert codes(watches[0]) == ["status_failed"]
    text = text_of(own_store, 2)
    rewrite(own_store, 2, text.replace("promoted", "promotee"))
    watches = watched(registry, records, now=datetime.now(UTC) + LATER)
    assert [watch.verdict for watch in watches] == [ACT, ACT]
    assert all("in doubt" in values(watch, "status_failed")["why"] for watch in watches)
    assert watches[0].command == "vpt prompts history cells"


def test_limits_that_this_version_cannot_read_are_said(cells):
    registry, records = cells

    class Later:
        """A registry with a limit of a later version."""

        def limits(self, name):
            return {"beauty": {"at_least": 0.9}}

        def __getattr__(self, name):
            return getattr(registry, name)

    watch = watch_of("cells", Later(), records)
    assert "limits has no 'beauty'" in values(watch, "status_failed")["why"]
    assert watch.verdict == ACT


def test_a_damaged_record_is_said_for_each_prompt(cells):
    registry, records = cells
    records.path.write_bytes(b"no database at all " * 400)
    watch = seen("cells", registry, records)
    assert watch.verdict == ACT
    assert "move it away" in values(watch, "status_records_failed")["why"]
    assert watch.version.ref == "cells/1"
    assert not_registered(registry, records) == []


def test_models_that_answer_from_a_file_are_named(cells):
    registry, records = cells
    watch = seen("cells", registry, records)
    records.add([given(watch, 0), given(watch, 1, task="loose", version=None)])
    assert not_registered(registry, records) == ["loose"]


def test_a_model_without_probabilities_limits_or_recipe_is_watched_as_far_as_it_can_be(records, tmp_path):
    path = tmp_path / "bare.vpt"
    exported(path, answers=answers_for(24, 30, probabilities=False), watched=False, recipe={})
    registry = PromptRegistry()
    registry.register(path, "bare", "aki")
    registry.promote("bare", 1, "ben", gates=lambda *_: [])
    watch = seen("bare", registry, records)
    records.add([given(watch, number, ask_a_person="unknown") for number in range(30)])
    watch = seen("bare", registry, records)
    assert watch.for_person is None
    assert watch.tested_for_person is None
    assert watch.labels is None
    assert watch.limits == ()
    assert "status_without_limits" in codes(watch)
