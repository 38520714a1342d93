"""No password and no token leaves: whatever the text, whatever way out."""

import io
import json
import logging
import pickle
import traceback
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from studies import study
from typer.testing import CliRunner

from vptlib import cli
from vptlib.cli import ending
from vptlib.errors import UserError
from vptlib.paths import repository
from vptlib.redaction import log_no_secrets, redacted, without_secrets
from vptlib.report import build
from vptlib.report.config import read_config
from vptlib.study.connection import open_store

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
    "postgresql://ann:pa/ss@host/db": "postgresql://***@host/db",
    "tls://ann:pass@host:8786 and tcp://host:8786": "tls://***@host:8786 and tcp://host:8786",
    "s3://AKIAX:abc/def+g@bucket/photos": "s3://***@bucket/photos",
    "http://127.0.0.1:5000/a@b/c and ssh://host/~": "http://127.0.0.1:5000/a@b/c and ssh://host/~",
    "https://h/x?n=1&amp;token=abc&amp;m=2": "https://h/x?n=1&amp;token=***&amp;m=2",
    "host=db user=ann password=hunter-2 dbname=x": "host=db user=ann password=*** dbname=x",
    "sslpassword='a b' PGPASSWORD: abc, n=3": "sslpassword='***' PGPASSWORD: ***, n=3",
    """{'password': 'a b', "api_key": "x", 'n': 3}""": """{'password': '***', "api_key": "***", 'n': 3}""",
    "password=&quot;hunter-2&quot;, n=3": "password=&quot;***&quot;, n=3",
    "os.environ['HF_TOKEN'] = 'abc'": "os.environ['HF_TOKEN'] = '***'",
    "MLFLOW_TRACKING_TOKEN=abc GITHUB_TOKEN: abc": "MLFLOW_TRACKING_TOKEN=*** GITHUB_TOKEN: ***",
    "AWS_SECRET_ACCESS_KEY=ab/c+d aws_access_key_id = x": "AWS_SECRET_ACCESS_KEY=*** aws_access_key_id = ***",
    "client_secret: abc; secret=abc; private-key=abc": "client_secret: ***; secret=***; private-key=***",
    "SERVER=db;UID=ann;PWD=abc": "SERVER=db;UID=ann;PWD=***",
    "token=f00ba4e5c1 and {'token': 'f00ba4e5c1'}": "token=*** and {'token': '***'}",
    "Authorization: Bearer abc\nHost: h": "Authorization: ***\nHost: h",
    "{'Authorization': 'Basic YW5uOnBhc3M=', 'n': 1}": "{'Authorization': '***', 'n': 1}",
    "-H 'X-Api-Key: abc' -H 'Cookie: id=abc'": "-H 'X-Api-Key: ***' -H 'Cookie: ***'",
    "sent Bearer 8f14e45fceea167a": "sent Bearer ***",
    f"the key AKIA{'A1' * 8} was used": "the key *** was used",
    f"hf_{'aB3' * 8}, ghp_{'aB3' * 8}, sk-{'aB3' * 8}": "***, ***, ***",
    f"vpt_{'aB-' * 14}x": "***",
    f"eyJ{'a' * 9}.{'b' * 9}.{'c' * 9}": "***",
    "-----BEGIN PRIVATE KEY-----\nMIGH\nAgEA\n-----END PRIVATE KEY-----": (
        "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----"
    ),
}


@pytest.mark.parametrize(("text", "safe"), TEXTS.items())
def test_secrets_in_addresses_are_taken_out_and_nothing_else(text, safe):
    assert redacted(text) == safe and redacted(safe) == safe


STAY = """
CLS token 3, prompt tokens: 10, token: CLS, tokens=197, num_tokens=10, pool='token', token=patch
cls_token=torch.float32 reg_token=0.1234567890 mask_token: Parameter1 dist_token=tensor1234 prompt_token=p1234567
{"tokens": 12345678, "token_type": "word1234"} and token = tokenizer
the secret: look at the images; a key: 3; key=value; primary_key=1; hotkey: x; keys=12345678; monkey=12345678
PWD=/work/x OLDPWD=/work/x; the password is missing; bearer of bad news; basic methods; Authorization is needed
Authorization: Bearer $TOKEN; password authentication failed for user "ann"; MLFLOW_TRACKING_PASSWORD is not set
https://example.org/a:b/c@d https://example.org:8443/@scope/x https://h/x?label=k&task=keys&sort=b
sk-learn, hf_hub, eyJ, AKIA, folder:photos?skip=unreadable, vpt_deep, vtab:/data, table:a.csv?label=kind&root=x
"""


@pytest.mark.parametrize("line", STAY.strip().splitlines())
def test_words_of_this_library_and_of_people_stay(line):
    assert redacted(line) == line


PAGES = [*(repository() / "reports/gallery").rglob("index.html"), *(repository() / "notebooks").glob("*.ipynb")]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(repository())))
def test_nothing_is_taken_out_of_a_page_that_has_no_secret(page):
    text = page.read_text("utf-8")
    assert redacted(text) == text and len(text) > 1000


def test_what_is_nested_is_reached_and_other_values_stay():
    given = {"a": ["http://u:p@h", 3, None, {"b": "password=x"}], "c": True}
    assert without_secrets(given) == {"a": ["http://***@h", 3, None, {"b": "password=***"}], "c": True}


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


SETTINGS = {
    "PGPASSWORD": "hunter-2",
    "MYSQL_PWD": "abc",
    "HF_TOKEN": "long-enough",
    "AWS_SECRET_ACCESS_KEY": "abc/def+ghi",
    "AWS_ACCESS_KEY_ID": "abcdefghi",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "hunter-2",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "hunter-23",
    "SOME_API_KEY": "hunter-23",
    "SOME_CLIENT_SECRET": "hunter-23",
}


@pytest.mark.parametrize(("name", "value"), SETTINGS.items())
def test_a_setting_that_is_a_secret_by_its_name_is_taken_out(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert redacted(f"it was {value}, {value!r}") == "it was ***, '***'"


def test_a_database_address_in_any_setting_has_a_password(monkeypatch):
    monkeypatch.setenv("BACKEND", "postgresql://ann:hunter-2@db/runs")
    monkeypatch.setenv("REMOTE", "ssh://worker@host/x")
    assert redacted("hunter-2 of ann on db, worker of runs") == "*** of ann on db, worker of runs"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "true"),
        ("TOKENIZERS_PARALLELISM", "embedded"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/embedded"),
        ("DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY", "embedded"),
        ("OLDPWD", "embedded"),
    ],
)
def test_a_setting_that_is_no_secret_stays(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert redacted(f"true: {value} it is") == f"true: {value} it is"


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


# ---- what is kept: the store, the summary, the notebooks, the page ----------------------------------------------

PLANTED = "pl4nted"


@pytest.fixture
def secretive(own_store, tmp_path, monkeypatch):
    """A study whose task has a password in its path, with secrets in the environment."""
    from PIL import Image

    monkeypatch.setenv("HF_TOKEN", f"{PLANTED}-environment")
    place = tmp_path / f"password={PLANTED}-path" / "cells"
    for shade, name in enumerate(("ok", "scratch")):
        (place / name).mkdir(parents=True)
        for number in range(40):
            Image.new("RGB", (14, 14), (120 * shade + number, number, 5 * number)).save(place / name / f"{number}.png")
    return study(task=f"folder:{place}", methods=("linear",), sizes=(20,), seeds=(0,), test_images=10)


def kept_by(folder: Path) -> dict[str, bytes]:
    """All files of a folder that hold the planted word."""
    files = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert files
    return {name: text for name, text in files.items() if PLANTED.encode() in text}


def test_the_store_of_runs_has_no_secret_of_a_path(secretive, own_store):
    secretive.run()
    (run,) = open_store().client.search_runs([open_store().experiment])
    assert "password=***" in run.data.params["task"] and "password=***" in run.data.tags["task"]
    assert kept_by(own_store) == {} and len(secretive.runs()) == 1


def test_an_error_of_a_task_has_no_secret_of_its_path(secretive):
    with pytest.raises(UserError) as failure:
        study(task=secretive.task.replace("cells", "missing")).run()
    assert PLANTED not in str(failure.value) and "password=***" in str(failure.value)


def test_the_summary_and_the_page_have_no_secret(secretive, tmp_path, monkeypatch):
    file = tmp_path / "mine.yaml"
    title = f"Cells of postgresql://ann:{PLANTED}@host/db"
    file.write_text(f"title: {json.dumps(title)}\ntasks: [digits]\n")
    config, draft = read_config(file), tmp_path / "draft"
    (draft / "notebooks").mkdir(parents=True)
    monkeypatch.setattr(build, "summary", lambda study, margin, asked: {"task": secretive.task, "why": [title]})
    build.write_summary(config, draft)
    output = new_output("stream", text=f"Bearer {PLANTED}-1234567890")
    executed(new_code_cell("print(1)", outputs=[output]), draft, monkeypatch)
    build.write_page(config, draft)
    assert kept_by(draft) == {}
    assert json.loads((draft / "summary.json").read_text())["why"] == ["Cells of postgresql://***@host/db"]
    assert "postgresql://***@host/db" in (draft / "index.html").read_text()


def executed(cell, draft, monkeypatch):
    """Let papermill give a notebook with this cell, for each page of a report on one task."""
    import papermill

    for name in ("report_overview.ipynb", "report_digits.ipynb"):
        made = new_notebook(cells=[cell], metadata={"papermill": {"input_path": "x"}})

        def run(source, part, *_, made=made, **__):
            nbformat.write(made, part)
            return made

        monkeypatch.setattr(papermill, "execute_notebook", run)
        build.execute(Path("x.ipynb"), {}, draft / "notebooks" / name)


def test_a_notebook_that_failed_is_kept_without_secrets(own_store, tmp_path):
    """A real kernel: the source, the output before the failure, and the failure each name a secret."""
    source = tmp_path / "fails.ipynb"
    code = f"print('Authorization: Bearer {PLANTED}')\nraise KeyError('https://h/?token={PLANTED}')"
    nbformat.write(new_notebook(cells=[new_code_cell(code)]), source)
    with pytest.raises(UserError) as failure:
        build.execute(source, {}, tmp_path / "made.ipynb")
    assert PLANTED not in str(failure.value) and "KeyError" in str(failure.value)
    kept = own_store / "failed" / "made.ipynb"
    assert PLANTED not in kept.read_text() and "token=***" in kept.read_text()


def test_a_log_holds_no_password_and_is_cleaned_once(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter22")
    log, written = logging.getLogger("vptlib.test"), io.StringIO()
    log.addHandler(logging.StreamHandler(written))
    try:
        for _ in range(2):
            log_no_secrets("vptlib.test", "vptlib.another")
        log.warning("no entry for %s", "ann:hunter22")
        assert written.getvalue() == "no entry for ann:***\n"
        assert len(log.handlers[0].filters) == 1
    finally:
        log.handlers.clear()
