"""environment.yml, pyproject.toml, constraints.txt and what is installed agree with each other."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from vptlib import doctor

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())


def read_pins(text: str) -> dict[str, Version]:
    """Canonical name to version; every line must be an exact pin."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    pins = [re.fullmatch(r"([\w.\-]+)==([\w.+!]+)", line) or pytest.fail(line) for line in lines if line]
    return {canonicalize_name(pin[1]): Version(pin[2]) for pin in pins}


PINS = read_pins((ROOT / "constraints.txt").read_text())
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]


def needed_on_this_machine() -> set[str]:
    """The names of all distributions that `.[dev]` pulls in here, followed through the installed metadata."""
    found, waiting = set(), [(requirement.name, requirement.extras) for requirement in REQUIREMENTS]
    while waiting:
        name, extras = waiting.pop()
        if (canonicalize_name(name), frozenset(extras)) in found:
            continue
        found.add((canonicalize_name(name), frozenset(extras)))
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            environments = [default_environment() | {"extra": extra} for extra in (*extras, "")]
            if requirement.marker is None or any(map(requirement.marker.evaluate, environments)):
                waiting.append((requirement.name, requirement.extras))
    return {name for name, _ in found} - {"setuptools", "pip"}  # part of the environment: `pip freeze` omits both


def test_environment_yml_leaves_the_dependencies_to_pyproject():
    conda = [line for line in ENVIRONMENT["dependencies"] if isinstance(line, str)]
    (pip,) = [line["pip"] for line in ENVIRONMENT["dependencies"] if isinstance(line, dict)]
    assert [re.split(r"[=<>]", line)[0] for line in conda] == ["python", "pip"]
    assert pip == ["--constraint constraints.txt", "-e .[dev]"]
    assert ENVIRONMENT["name"] == PROJECT["name"]


def test_python_versions_agree():
    (line,) = [line for line in ENVIRONMENT["dependencies"] if str(line).startswith("python")]
    python = line.partition("=")[2]
    lowest = SpecifierSet(PROJECT["requires-python"])
    assert lowest == SpecifierSet(f">={python}")
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["target-version"]
    assert ruff == "py" + python.replace(".", "")
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in lowest
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for named in re.findall(r"python-version: *[\"']?([\d.]+)", workflow.read_text()):
            assert named == python, workflow.name


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_dependency_is_pinned_within_its_bounds(requirement):
    pin = PINS.get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} is not in constraints.txt"
    assert pin in requirement.specifier
    assert any(bound.operator in (">=", "==") for bound in requirement.specifier), "has no lower bound"


def test_what_the_dependencies_pull_in_is_pinned_too():
    assert needed_on_this_machine() - PINS.keys() == set()


def test_installed_versions_are_the_pinned_ones():
    installed = {canonicalize_name(d.name): Version(d.version) for d in metadata.distributions()}
    needed = needed_on_this_machine()
    assert needed <= installed.keys()
    # torch marks its builds ("2.9.0+cpu"); the version before the mark counts
    assert {name: installed[name].public for name in needed} == {name: PINS[name].public for name in needed}


def test_the_installed_package_is_this_repository():
    import vptlib

    assert Path(vptlib.__file__).resolve().is_relative_to(ROOT)
    assert metadata.version("vptlib") == vptlib.__version__


@pytest.mark.skipif(not shutil.which("git") or not (ROOT / ".git").exists(), reason=doctor.NO_CLONE)
@pytest.mark.parametrize("path", ["evidence/notebooks/report_overview.ipynb", "runs/02/a.ipynb", "data-photos.html"])
def test_reports_that_are_made_are_no_part_of_the_repository(path):
    """Otherwise `make test` would fail because of the style of a notebook that `make report` has written."""
    assert subprocess.run(["git", "check-ignore", "-q", f"reports/{path}"], cwd=ROOT).returncode == 0
    committed = "reports/gallery/evidence/summary.json"
    assert subprocess.run(["git", "check-ignore", "-q", "--no-index", committed], cwd=ROOT).returncode == 1
