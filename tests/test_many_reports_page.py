"""docs/many_reports.md: its commands are parsed by the real program, its examples are well-formed."""

import re
import shlex

import pytest
import yaml
from typer.main import get_command

from vptlib.cli import app
from vptlib.paths import repository
from vptlib.report.all_reports import MADE
from vptlib.report.build import PARTS

PAGE = (repository() / "docs" / "many_reports.md").read_text("utf-8")


def commands() -> list[str]:
    """What stands after `vpt` in the page's commands, up to a redirection."""
    found = re.findall(r"^(?:vpt|.*\.venv/bin/vpt) (report-all [^>\n]*)", PAGE, re.MULTILINE)
    return [line.strip() for line in found]


def test_the_page_has_its_commands():
    assert len(commands()) == 3


@pytest.mark.parametrize("line", commands())
def test_each_command_is_one_of_the_program(line):
    name, *words = shlex.split(line)
    command = get_command(app).commands[name]
    command.make_context(name, words)


def test_the_files_it_names_are_those_that_are_written():
    assert MADE in PAGE
    assert all(part in PAGE for part in PARTS if ".en." not in part)


def test_the_jobs_are_well_formed():
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    job = yaml.safe_load(text)["jobs"]["reports"]
    assert [step for step in job["steps"] if "report-all" in step.get("run", "")]
    (line,) = re.findall(r"^(\S+ \S+ \S+ \S+ \S+) cd ", PAGE, re.MULTILINE)
    assert re.fullmatch(r"30 1 \* \* \*", line)
