"""vptlib.environment: what a machine is told by environment variables."""

import os

import pytest

from vptlib.environment import put_back, seconds_set, set_meanwhile
from vptlib.errors import UserError


def test_variables_are_what_they_were_also_after_a_failure(monkeypatch):
    monkeypatch.setenv("VPTLIB_A", "before")
    monkeypatch.delenv("VPTLIB_B", raising=False)
    with pytest.raises(ZeroDivisionError), set_meanwhile(VPTLIB_A="within", VPTLIB_B="new"):
        assert (os.environ["VPTLIB_A"], os.environ["VPTLIB_B"]) == ("within", "new")
        raise ZeroDivisionError
    assert os.environ["VPTLIB_A"] == "before" and "VPTLIB_B" not in os.environ


def test_a_variable_that_was_taken_away_meanwhile_is_no_error(monkeypatch):
    monkeypatch.delenv("VPTLIB_B", raising=False)
    with set_meanwhile(VPTLIB_B="new"):
        del os.environ["VPTLIB_B"]
    assert "VPTLIB_B" not in os.environ


@pytest.mark.parametrize(("given", "seconds"), [("", 7.0), (" 2.5 ", 2.5), ("0", 0.0)])
def test_seconds_are_those_given_or_the_usual_ones(monkeypatch, given, seconds):
    monkeypatch.setenv("VPTLIB_A", given)
    assert seconds_set("VPTLIB_A", 7.0) == seconds


@pytest.mark.parametrize("given", ["-1", "inf", "nan", "2s"])
def test_what_is_no_number_of_seconds_is_refused(monkeypatch, given):
    monkeypatch.setenv("VPTLIB_A", given)
    with pytest.raises(UserError, match=f"VPTLIB_A is '{given}', but must be a number of seconds, such as 7"):
        seconds_set("VPTLIB_A", 7.0)


def test_what_others_have_done_to_a_variable_is_put_back(monkeypatch):
    monkeypatch.setenv("VPTLIB_A", "before")
    monkeypatch.delenv("VPTLIB_B", raising=False)
    with put_back(["VPTLIB_A", "VPTLIB_B"]):
        os.environ["VPTLIB_B"] = "new"
        del os.environ["VPTLIB_A"]
    assert os.environ["VPTLIB_A"] == "before" and "VPTLIB_B" not in os.environ
