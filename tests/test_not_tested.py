"""A test that was left out is named in the last line of `make test`, and a fresh machine gets what the tests need."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from not_tested import sentence

ROOT = Path(__file__).resolve().parent.parent

SOME_TESTS = """
import pytest

def test_one():
    pass

@pytest.mark.skipif(True, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize("k", range(3))
def test_three(k):
    pass

def test_four():
    pytest.importorskip("no_such_thing", reason="no thing")

@pytest.mark.xfail
def test_five():
    assert False
"""


def test_what_was_left_out_is_counted_by_its_reason(tmp_path):
    """The tests run in a process of their own, as in `make test`."""
    (tmp_path / "test_some.py").write_text(SOME_TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "xdist", "-n", "1"]
    command += ["--junitxml=found.xml"]
    quick = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run(command, cwd=tmp_path, env=quick, check=True, capture_output=True)
    assert sentence([tmp_path / "found.xml"] * 2) == (
        "Not tested here: 6 tests (no Chromium: apt-get install chromium), 2 tests (no thing)."
    )


def test_nothing_left_out_is_a_sentence_too(tmp_path):
    (tmp_path / "found.xml").write_text("<testsuites><testsuite><testcase/></testsuite></testsuites>")
    assert sentence([tmp_path / "found.xml"]) == "Everything was tested."


# ---- .ci/run ----------------------------------------------------------------------------------------------------

NEEDED = {
    "chromium": "chromium",
    "fc-list": "fonts-noto-cjk",
    "pdfinfo": "poppler-utils",
    "pg_ctlcluster": "postgresql",
}


@pytest.fixture
def machine(tmp_path):
    """A machine whose only programs are those of a shell and the named ones. Gives what `.ci/run` does there."""
    for name in ("bash", "dirname", "env", "id"):
        (tmp_path / name).symlink_to(shutil.which(name))

    def run(*names: str, apt: str | None = "exit 0") -> tuple[str, str]:
        programs = dict.fromkeys(names, "echo found") | {"make": f'echo "make $@" >> {tmp_path}/done'}
        if apt:
            programs["apt-get"] = f'echo "apt-get $@" >> {tmp_path}/done; {apt}'
            programs["sudo"] = 'shift; exec "$@"'
        for name, text in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        run = subprocess.run(
            [ROOT / ".ci" / "run"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
        )
        return (tmp_path / "done").read_text(), run.stderr

    return run


def test_a_machine_that_has_everything_installs_nothing(machine):
    assert machine(*NEEDED) == ("make test\n", "")


@pytest.mark.parametrize("missing", NEEDED)
def test_what_is_missing_is_installed_before_the_tests(machine, missing):
    done, complaint = machine(*(NEEDED.keys() - {missing}))
    assert done.splitlines()[-2:] == [f"apt-get install -y --no-install-recommends {NEEDED[missing]}", "make test"]
    assert complaint == ""


def test_another_chromium_will_do(machine):
    assert machine("google-chrome", *(NEEDED.keys() - {"chromium"})) == ("make test\n", "")


@pytest.mark.parametrize("apt", ["exit 1", None], ids=["apt-get fails", "no apt-get"])
def test_what_cannot_be_installed_is_named_and_the_tests_run(machine, apt):
    done, complaint = machine(*(NEEDED.keys() - {"chromium"}), apt=apt)
    assert done.splitlines()[-1] == "make test"
    assert complaint == "Could not install chromium: what needs it is not tested here.\n"


def test_the_readme_names_the_same_packages():
    readme = (ROOT / "README.md").read_text()
    assert f"apt-get install {' '.join(NEEDED.values())}" in readme
