"""vptlib.operations.ledger: entries are only added, in one order for all writers, and no change stays unseen."""

import hashlib
import json
import multiprocessing
import re
import unicodedata
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from chains import parts_of, rewrite, text_of, with_hash
from stored import change

from vptlib.errors import UserError
from vptlib.operations import ledger as ledger_module
from vptlib.operations.ledger import (
    CHANGED,
    FORKED,
    LIMITS_SET,
    MISSING,
    OUT_OF_ORDER,
    PROMOTED,
    PROMPT,
    REGISTERED,
    Draft,
    Fault,
    Ledger,
    claim,
    model_of,
)
from vptlib.study.connection import mlflow_client

pytestmark = pytest.mark.usefixtures("own_store")


def added(name: str = "cells", kind: str = REGISTERED, version: int = 1, **more):
    return Ledger().append(name, lambda _: Draft(kind, version, "ann", **more))


def three() -> list:
    return [added(), added(kind=PROMOTED), added(version=2)]


# ---- entries ----------------------------------------------------------------------------------------------------


def test_an_entry_is_read_as_it_was_written():
    about = {"limits": {"accuracy": {"at_least": 0.9}}, "two_people": True, "語": "車載"}
    gates = [{"kind": "miss_rate", "passed": False, "value": 0.1}]
    made = added(kind=LIMITS_SET, reason="no more than 語", gates=gates, about=about, report="r" * 64, digest="d" * 64)
    (found,) = Ledger().entries("cells")
    assert found == made and (found.number, found.name, found.kind, found.version) == (1, "cells", LIMITS_SET, 1)
    assert (found.by, found.reason, found.gates, found.about) == ("ann", "no more than 語", gates, about)
    assert (found.report, found.digest, found.before) == ("r" * 64, "d" * 64, "")
    assert abs(datetime.now(UTC) - found.at) < timedelta(minutes=1) and found.at.tzinfo is UTC
    assert Ledger().head("cells") == found and not Ledger().verify("cells")


def test_each_entry_holds_the_hash_of_the_one_before_it():
    entries = three()
    assert Ledger().entries("cells") == entries
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert [entry.before for entry in entries] == ["", entries[0].hash, entries[1].hash]


def test_the_hash_is_that_of_the_canonical_json_of_all_else(own_store):
    entry = added(reason="語")
    rest = {name: value for name, value in entry.plain().items() if name != "hash"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == entry.hash
    assert text_of(own_store, 1) == f"{entry.hash} {text}"


def test_numbers_of_numpy_and_those_that_json_does_not_have_are_stored():
    gates = [{"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), "d": (1, 2), "e": np.bool_(True)}]
    added(gates=gates)
    assert Ledger().entries("cells")[0].gates == [{"a": 0.5, "b": [0, 1], "c": None, "d": [1, 2], "e": True}]


def test_an_entry_that_is_longer_than_a_tag_of_mlflow_is_whole():
    gates = [{"kind": f"recall of {k}", "passed": True} for k in range(6000)]
    added(gates=gates)
    assert Ledger().entries("cells")[0].gates == gates and not Ledger().verify("cells")


def test_no_prompt_has_no_entry_and_each_prompt_has_its_own():
    assert Ledger().entries("cells") == [] and Ledger().head("cells") is None and list(Ledger().chains()) == []
    added("cells")
    added("太陽電池", version=7)
    assert [entry.version for entry in Ledger().entries("太陽電池")] == [7]
    assert {name: len(chain.entries) for name, chain in Ledger().chains()} == {"cells": 1, "太陽電池": 1}


def test_names_that_differ_only_by_case_or_unicode_form_have_the_same_chain():
    added("ガラス")
    for other in (unicodedata.normalize("NFD", "ガラス"), "ｶﾞﾗｽ"):
        assert other != "ガラス" and model_of(other) == model_of("ガラス")
        assert Ledger().entries(other)[0].name == "ガラス"
    assert model_of("STRASSE") == model_of("straße") and model_of("cells") != model_of("cell")


def test_a_model_of_another_program_is_not_taken_for_a_ledger():
    mlflow_client().create_registered_model("cells.ledger")
    with pytest.raises(UserError, match=r"has a model 'cells\.ledger' that is no ledger of vptlib: take another"):
        added()
    claim("cells", PROMPT)
    claim("cells", PROMPT)
    assert mlflow_client().get_registered_model("cells").tags == {"vptlib.kind": "prompt"}


# ---- time -------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that stands where it is set."""

    now_is = datetime(2026, 5, 4, 12, tzinfo=UTC)

    @classmethod
    def now(cls, zone=None):
        return cls.now_is

    fromisoformat = staticmethod(datetime.fromisoformat)


def test_a_clock_that_runs_backwards_changes_no_order_and_is_told(monkeypatch, capsys):
    monkeypatch.setattr(ledger_module, "datetime", Clock)
    first = added()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(Clock, "now_is", first.at - timedelta(hours=1))
    second, third = added(kind=PROMOTED), added(version=2)
    assert first.at < second.at < third.at < first.at + timedelta(seconds=1)
    assert (first.behind, second.behind) == (0, 3600)
    told = capsys.readouterr().err
    assert "The clock of this machine is 60\u202fmin behind the last entry of 'cells'" in told
    assert not Ledger().verify("cells")


def test_two_entries_of_the_same_moment_have_an_order(monkeypatch, capsys):
    monkeypatch.setattr(ledger_module, "datetime", Clock)
    first, second = added(), added()
    assert second.at - first.at == timedelta(microseconds=1)
    assert capsys.readouterr().err == "" and first.hash != second.hash


# ---- two writers ------------------------------------------------------------------------------------------------


def test_a_decision_on_an_old_state_is_void_and_is_made_again():
    seen = []

    def decide(chain):
        seen.append(len(chain.entries))
        if len(seen) == 1:
            added(kind=PROMOTED)  # another writer is faster
        return Draft(REGISTERED, len(chain.entries), "bob")

    added()
    entry = Ledger().append("cells", decide)
    assert seen == [1, 2] and (entry.number, entry.version) == (3, 2)
    assert [one.by for one in Ledger().entries("cells")] == ["ann", "ann", "bob"]
    assert len(mlflow_client().search_model_versions("name = 'cells.ledger'")) == 4, "the void one stays, unread"
    assert not Ledger().verify("cells")


def test_what_the_decision_raises_is_passed_on_and_nothing_is_added():
    def decide(chain):
        raise KeyError("gate")

    with pytest.raises(KeyError):
        Ledger().append("cells", decide)
    assert Ledger().append("cells", lambda chain: None) is None
    assert list(Ledger().chains()) == [] and mlflow_client().search_registered_models() == []


def test_who_is_always_overtaken_is_told(monkeypatch):
    monkeypatch.setattr(ledger_module, "ATTEMPTS", 3)

    def decide(chain):
        added()
        return Draft(REGISTERED, 1, "bob")

    with pytest.raises(UserError, match="others decide about 'cells' all the time"):
        Ledger().append("cells", decide)


class LostAnswer:
    """A client whose answer to one call is lost on the way, after the server has done what it was asked."""

    def __init__(self, client):
        self.client = client

    def __getattr__(self, name):
        return getattr(self.client, name)

    def create_model_version(self, *args, **options):
        self.client.create_model_version(*args, **options)
        raise UserError("the MLflow server does not answer")


def test_an_entry_whose_answer_was_lost_is_there_once(monkeypatch):
    store = ledger_module.open_store()
    added()
    losing = type(store)(LostAnswer(store.client), store.experiment, store.address, store.folder)
    monkeypatch.setattr(ledger_module, "open_store", lambda: losing)
    assert added(kind=PROMOTED).number == 2
    assert len(Ledger().entries("cells")) == 2


def count_up(writer: int, times: int) -> None:
    """Each entry counts the entries that it was decided on."""
    for _ in range(times):
        Ledger().append("cells", lambda chain: Draft(REGISTERED, len(chain.entries), f"writer {writer}"))


def test_four_processes_at_once_lose_no_entry_and_decide_on_the_newest_state():
    mlflow_client()
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=count_up, args=(writer, 5)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    entries = Ledger().entries("cells")
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert [entry.version for entry in entries] == list(range(20)), "no decision was made on an old state"
    assert sorted({entry.by for entry in entries}) == [f"writer {writer}" for writer in range(4)]
    assert not Ledger().verify("cells")


# ---- what was changed later -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_entry_that_was_changed_is_found_and_not_believed(own_store, number):
    three()
    rewrite(own_store, number, text_of(own_store, number).replace('"ann"', '"eve"'))
    assert Ledger().verify("cells") == [Fault(CHANGED, number)]
    assert [entry.number for entry in Ledger().entries("cells")] == [k for k in (1, 2, 3) if k != number]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_entry_that_was_changed_together_with_its_hash_is_found(own_store, number):
    three()
    rewrite(own_store, number, with_hash(parts_of(own_store, number) | {"by": "eve"}))
    assert Ledger().verify("cells") == [Fault(CHANGED, number)]


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("how", ["in MLflow", "in the file"])
def test_an_entry_that_was_removed_is_found(own_store, number, how):
    three()
    if how == "in MLflow":
        mlflow_client().delete_model_version("cells.ledger", str(number))
    else:
        change(own_store / "mlflow.db", f"DELETE FROM model_version_tags WHERE version = {number}")
    assert Ledger().verify("cells") == [Fault(MISSING, number)]


def test_a_fault_at_the_end_stays_visible_after_further_entries():
    three()
    mlflow_client().delete_model_version("cells.ledger", "3")
    assert added(version=3).number == 4
    added(version=4)
    assert Ledger().verify("cells") == [Fault(MISSING, 3)]
    assert [entry.number for entry in Ledger().entries("cells")] == [1, 2, 4, 5]


def test_a_last_entry_that_was_replaced_stays_visible_after_further_entries(own_store):
    three()
    rewrite(own_store, 3, with_hash(parts_of(own_store, 3) | {"by": "eve"}))
    added(version=3)
    assert Ledger().verify("cells") == [Fault(CHANGED, 3)]


def test_an_entry_of_another_prompt_is_not_believed(own_store):
    three()
    added("wafers")
    rewrite(own_store, 2, text_of(own_store, 1, "wafers.ledger"))
    assert Ledger().verify("cells") == [Fault(CHANGED, 2)]


def test_a_chain_that_goes_on_from_a_void_entry_is_a_fork(own_store):
    entries = three()
    planted = parts_of(own_store, 3) | {"before": entries[0].hash, "by": "eve", "number": 2}
    void = with_hash(planted)
    follower = with_hash(planted | {"before": void[:64], "number": 3})
    for text in (void, follower):
        mlflow_client().create_model_version("cells.ledger", "vptlib:ledger", tags={"vptlib.entry": text})
    assert Ledger().entries("cells") == entries
    assert Ledger().verify("cells") == [Fault(FORKED, 4)]


def test_entries_whose_times_do_not_rise_are_found(own_store):
    first = added()
    planted = parts_of(own_store, 1) | {"number": 2, "before": first.hash, "mark": "x"}
    mlflow_client().create_model_version("cells.ledger", "vptlib:ledger", tags={"vptlib.entry": with_hash(planted)})
    assert Ledger().verify("cells") == [Fault(OUT_OF_ORDER, 2)]


@pytest.mark.parametrize("text", ["", "x", "{}", "a" * 64 + " {}", with_hash({}), with_hash({"at": 3}), "0 [] []"])
def test_a_text_that_is_no_entry_is_a_fault_and_no_crash(own_store, text):
    three()
    rewrite(own_store, 2, text)
    assert Ledger().verify("cells") == [Fault(CHANGED, 2)]


def test_a_fault_has_a_sentence_with_its_number():
    assert Fault(MISSING, 3).finding().plain() == {"code": "ledger_fault", "kind": MISSING, "number": 3}


def test_a_damaged_file_is_named(own_store):
    added()
    change(own_store / "mlflow.db", "PRAGMA foreign_keys = OFF", "DROP TABLE model_version_tags")
    with pytest.raises(UserError, match=re.escape(str(own_store / "mlflow.db"))):
        Ledger().entries("cells")
