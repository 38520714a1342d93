"""What a study does while its store does not answer: which failures are waited for, how long, and with which words."""

import pytest
from stored import CELL, plan, result

from vptlib import signs_of_life
from vptlib.errors import UserError
from vptlib.study import outages
from vptlib.study import store as store_module
from vptlib.study.address import Address
from vptlib.study.failures import NoAnswer, explained
from vptlib.study.outages import outlasting
from vptlib.study.store import finished_runs, log_run

SERVER = Address("http://host:5000")
DEAD = NoAnswer("the MLflow server http://host:5000 does not answer: start it.")

PASSING = {
    "nobody listens": "Connection refused",
    "the connection broke": "('Connection aborted.', RemoteDisconnected('Remote end closed'))",
    "the server has no database": "Caused by ResponseError('too many 503 error responses')",
    "a proxy without a server": "request failed with error code 502 != 200",
    "an answer that was cut": "IncompleteRead(12 bytes read)",
    "https that was cut": "SSLEOFError(8, 'EOF occurred in violation of protocol')",
    "a database that was ended": "(psycopg.errors.AdminShutdown) terminating connection due to administrator command",
    "a database that starts": "connection failed: FATAL:  the database system is starting up",
    "no connection left": "FATAL:  sorry, too many clients already",
    "no connection left in time": "QueuePool limit of size 4 overflow 2 reached, connection timed out",
}
STAYING = {
    "a wrong password": "request failed with error code 401 != 200",
    "no permission": "request failed with error code 403 != 200",
    "a wrong certificate": "SSLCertVerificationError(1, 'certificate verify failed: self-signed certificate')",
    "another page": "error code 404 != 200",
    "an older database": "Detected out-of-date database schema",
    "a run that is gone": "RESOURCE_DOES_NOT_EXIST: Run with id=1 not found",
    "whatever else": "something strange",
}


@pytest.mark.parametrize("text", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_waited_for(text):
    found = explained(RuntimeError(text), SERVER)
    assert isinstance(found, NoAnswer) and found.fact.startswith("the MLflow server http://host:5000 ")


@pytest.mark.parametrize("text", STAYING.values(), ids=STAYING)
def test_what_stays_wrong_is_not_waited_for(text):
    assert type(explained(RuntimeError(text), SERVER)) is UserError


def test_a_file_is_never_waited_for(tmp_path):
    assert type(explained(RuntimeError("Connection refused"), Address("", tmp_path / "mlflow.db"))) is UserError


@pytest.fixture
def quick(monkeypatch):
    """Pauses of a hundredth of a second, and a store whose answers are listed."""
    monkeypatch.setenv(outages.SETTING, "60")
    monkeypatch.setattr(outages, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(outages, "LONGEST_PAUSE", 0.02)
    answers = [False, False, True]
    monkeypatch.setattr(outages, "answers", lambda: answers.pop(0) if len(answers) > 1 else answers[0])
    return answers


def failing(times: int, error: Exception = DEAD):
    """A step that fails so often; and how often it was begun."""
    begun = []

    def step() -> str:
        begun.append(1)
        if len(begun) <= times:
            raise error
        return "done"

    return step, begun


def test_a_step_is_begun_again_when_the_store_is_back_and_one_sentence_is_said(quick, capfd):
    step, begun = failing(2)
    assert outlasting(step) == "done" and len(begun) == 3 and quick == [True]
    said = capfd.readouterr().err
    assert said.startswith("The MLflow server http://host:5000 does not answer: waiting for it until ")
    assert said.count("\n") == 1 and "(VPTLIB_WAIT_FOR_STORE); finished work is kept." in said


@pytest.mark.parametrize("error", [UserError("a wrong password"), RuntimeError("a mistake")])
def test_another_failure_ends_it_at_once(quick, capfd, error):
    step, begun = failing(1, error)
    with pytest.raises(type(error), match=str(error)):
        outlasting(step)
    assert len(begun) == 1 and capfd.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "sentences"), [("0.05", 1), ("0", 0)])
def test_a_store_that_stays_dead_is_given_up_after_the_time(quick, monkeypatch, capfd, seconds, sentences):
    monkeypatch.setenv(outages.SETTING, seconds)
    quick[:] = [False]
    step, begun = failing(9)
    with pytest.raises(UserError, match="does not answer: start it"):
        outlasting(step)
    assert len(begun) == 1 and capfd.readouterr().err.count("\n") == sentences


def test_a_store_that_answers_and_fails_again_and_again_is_given_up_too(quick, monkeypatch):
    monkeypatch.setenv(outages.SETTING, "0.1")
    quick[:] = [True]
    step, begun = failing(10**6)
    with pytest.raises(UserError):
        outlasting(step)
    assert 1 < len(begun) < 20


def test_who_waits_shows_life_and_can_be_asked_to_stop(quick, monkeypatch):
    signs_of_life.begin()
    signs_of_life.ask_to_stop()
    with pytest.raises(signs_of_life.Interrupted):
        outlasting(failing(1)[0])


@pytest.mark.parametrize("given", ["soon", "-1", "nan"])
def test_a_time_that_is_no_number_of_seconds_is_refused_before_any_work(own_store, monkeypatch, given):
    monkeypatch.setenv(outages.SETTING, given)
    with pytest.raises(UserError, match=f"VPTLIB_WAIT_FOR_STORE is '{given}'"):
        finished_runs(plan())


def test_a_server_that_this_process_has_not_used_is_not_waited_for(own_store, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="does not answer"):
        finished_runs(plan())
    assert capfd.readouterr().err == ""


def test_a_training_that_is_done_is_not_lost_to_a_server_that_is_not_there_yet(own_store, monkeypatch, quick):
    stored = []

    def store(*_):
        if not stored:
            stored.append("not yet")
            raise DEAD
        stored.append("stored")

    monkeypatch.setattr(store_module, "open_store", store)
    with pytest.raises(AttributeError):  # this stand-in is no store, but it was asked for a second time
        log_run(plan(), CELL, result())
    assert stored == ["not yet", "stored"]
