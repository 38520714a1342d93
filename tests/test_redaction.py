"""No password and no token leaves: whatever the text, whatever way out."""

import pickle
import traceback

import pytest
from typer.testing import CliRunner

from vptlib import cli
from vptlib.cli import ending
from vptlib.errors import UserError
from vptlib.redaction import redacted
from vptlib.report import build

TEXTS = {
    "GET http://ann:pass@host:5000/api failed": "GET http://***@host:5000/api failed",
    "postgresql+psycopg2://ann:p@ss:w@host/db": "postgresql+psycopg2://***@host/db",
    "https://token@host": "https://***@host",
    "see 'http://a:b@h' and http://c:d@i": "see 'http://***@h' and http://***@i",
    "http://h/x?token=abc&n=3": "http://h/x?token=***&n=3",
    "mysql://h/x?ssl=1&sslpassword=abc": "mysql://h/x?ssl=1&sslpassword=***",
    "https://h/?X-Amz-Signature=abc": "https://h/?X-Amz-Signature=***",
    "https://h/a@b/c?n=1&key": "https://h/a@b/c?n=1&key",
    "mail ann@host about the token": "mail ann@host about the token",
}


@pytest.mark.parametrize(("text", "safe"), TEXTS.items())
def test_secrets_in_addresses_are_taken_out_and_nothing_else(text, safe):
    assert redacted(text) == safe and redacted(safe) == safe


KNOWN = {
    "http://ann:hunter-2@host": ["hunter-2", "ann:hunter-2", "YW5uOmh1bnRlci0y"],
    "http://ann:p%40ss%20word@host": ["p%40ss%20word", "p@ss word"],
    "http://ann:p@ss/w?rd@host": ["p@ss/w?rd"],
    "http://longtoken@host": ["longtoken"],
    "postgresql://host/db?user=ann&password=hunter-2": ["hunter-2"],
    "http://ann:abc@host": ["abc"],
}


@pytest.mark.parametrize(("address", "leaks"), KNOWN.items())
def test_the_password_of_this_process_is_taken_out_wherever_it_stands(monkeypatch, address, leaks):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    for leak in (*leaks, address):
        assert leak not in redacted(f"failed with {leak}, twice {leak!r}")
    assert redacted("the word abcdef stays") == "the word abcdef stays"


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"])
def test_a_password_that_is_a_setting_is_taken_out(monkeypatch, name):
    monkeypatch.setenv(name, "hunter-2")
    assert redacted("Bearer hunter-2") == "Bearer ***"


def test_a_sentence_for_the_user_never_has_a_password_also_not_from_a_worker():
    error = UserError("http://ann:pass@host fails.")
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == "http://***@host fails."
    assert "pass" not in "".join(traceback.format_exception(error))


def test_an_unforeseen_failure_and_its_traceback_have_no_password(monkeypatch, tmp_path):
    def fails(*_):
        raise KeyError("http://ann:hunter-2@host")

    monkeypatch.setattr(ending.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(build, "make_report", fails)
    said = CliRunner().invoke(cli.app, ["report", "x.yaml"])
    (file,) = tmp_path.glob("vpt-*.txt")
    for text in (said.output, said.stderr, file.read_text()):
        assert "hunter-2" not in text
