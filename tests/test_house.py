"""The structure is checked by machine: what may import what, and that private names are used in their own file only.

`make lint` runs the same contracts (import-linter, in pyproject.toml) and the same rules of ruff. Here each is also
tried on a planted offender.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("vptlib", "tests", "notebooks", "reports", "data")
PROGRAMS = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))


# ---- private names stay at home -------------------------------------------------------------------------------


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imported_names(tree: ast.AST) -> set[str]:
    """The names that a program uses for vptlib, its modules and their contents."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vptlib":
            names |= {alias.asname or alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {alias.asname or "vptlib" for alias in node.names if alias.name.split(".")[0] == "vptlib"}
    return names


def borrowed(code: str) -> Iterator[str]:
    """Each private name of another module that a program imports, reads, or replaces by its name in a string."""
    tree = ast.parse(code)
    ours = imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".") + [alias.name for alias in node.names]
            yield from (f"line {node.lineno}: {part}" for part in parts if is_private(part))
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            start = node.value
            while isinstance(start, ast.Attribute):
                start = start.value
            if isinstance(start, ast.Name) and start.id in ours:
                yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            yield from (f"line {node.lineno}: {text}" for text in replaced(node, ours))


def replaced(call: ast.Call, ours: set[str]) -> Iterator[str]:
    """`setattr(module, "_name", …)` and `setattr("vptlib.module._name", …)`."""
    texts = [part.value for part in call.args[:2] if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    if texts and texts[0].startswith("vptlib."):
        yield from (texts[0] for part in texts[0].split(".") if is_private(part))
    elif texts and is_private(texts[0]) and ast.unparse(call.args[0]).split(".")[0] in ours:
        yield f"{ast.unparse(call.args[0])}.{texts[0]}"


def program_of(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def test_no_program_uses_a_private_name_of_another_module():
    found = [f"{path.relative_to(ROOT)}, {name}" for path in PROGRAMS for name in borrowed(path.read_text())]
    assert not found, "\n".join(found)


def test_no_notebook_uses_a_private_name():
    assert len(NOTEBOOKS) > 15
    found = [f"{path.relative_to(ROOT)}, {name}" for path in NOTEBOOKS for name in borrowed(program_of(path))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "code",
    [
        "from vptlib.data.files import _read",
        "from vptlib._hidden import read",
        "from planted import _draw",
        "from vptlib import doctor\ndoctor._packages()",
        "def late():\n    from vptlib.data import files as f\n    return f._read",
        "import vptlib.data.files\nvptlib.data.files._read()",
        "from vptlib import Study\nStudy._cells",
        "from vptlib import doctor\nmonkeypatch.setattr(doctor, '_packages', None)",
        "monkeypatch.setattr('vptlib.doctor._packages', None)",
    ],
)
def test_a_borrowed_private_name_is_found(code):
    assert len(list(borrowed(code))) == 1


def test_what_is_public_or_ones_own_is_no_fault():
    code = "from __future__ import annotations\nfrom vptlib import doctor\ndoctor.__doc__\nself._own = _mine()\n"
    assert list(borrowed(code + "setattr(doctor, 'CHECKS', {})")) == []


# ---- rules of ruff --------------------------------------------------------------------------------------------

CACHED_METHOD = """
from functools import {cache}


class Reader:
    @{cache}
    def read(self):
        return 1
"""


def faults(code: str, path: str) -> str:
    """What `make lint` finds in a file of this text at this path."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", "--stdin-filename", path]
    return subprocess.run([*command, "-"], input=code, cwd=ROOT, capture_output=True, text=True).stdout


@pytest.mark.parametrize("cache", ["lru_cache", "cache"])
def test_a_cache_on_a_method_is_found(cache):
    """It would keep every object alive for ever."""
    assert "B019" in faults(CACHED_METHOD.format(cache=cache), "vptlib/reader.py")
    assert faults(CACHED_METHOD.format(cache="cached_property"), "vptlib/reader.py") == "All checks passed!\n"


@pytest.mark.parametrize(
    "code", ["import sys\n\nsys.modules[__name__] = None\n", "from sys import modules as m\n\nm\n"]
)
def test_the_table_of_modules_is_left_alone(code):
    assert "TID251" in faults(code, "vptlib/trick.py")
    assert "TID251" not in faults(code, "tests/test_trick.py")  # a test may pretend that a package is missing


# ---- who may import whom --------------------------------------------------------------------------------------


def contracts(folder: Path) -> subprocess.CompletedProcess:
    """Checks the contracts of pyproject.toml on the `vptlib` in this folder."""
    command = [shutil.which("lint-imports", path=Path(sys.executable).parent), "--no-cache", "--no-logo"]
    return subprocess.run([*command, str(ROOT / "pyproject.toml")], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path) -> Path:
    """The package alone, to plant an offender in."""
    shutil.copytree(ROOT / "vptlib", tmp_path / "vptlib", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_imports_point_downwards_and_in_no_circle():
    done = contracts(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "fault"),
    [
        ("prompting/vit.py", "import vptlib.tuning.methods", "vptlib.prompting is not allowed to import vptlib.tuning"),
        (
            "evidence/prices.py",
            "import vptlib.explanations.maps",
            "evidence is not allowed to import vptlib.explanations",
        ),
        ("study/store.py", "import vptlib.bench.prompting", "study is not allowed to import vptlib.bench"),
        ("wording.py", "def late():\n    import vptlib.data.files", "wording is not allowed to import vptlib.data"),
        ("data/files.py", "import vptlib.data.check", "No cycles are allowed in vptlib.data"),
        ("elsewhere.py", "", "vptlib.elsewhere"),
    ],
)
def test_an_import_that_points_upwards_is_found(copy, file, line, fault):
    with (copy / "vptlib" / file).open("a") as program:
        program.write(f"\n{line}\n")
    done = contracts(copy)
    assert done.returncode == 1
    assert fault in " ".join(done.stdout.split())


def test_an_import_for_types_only_is_no_arrow(copy):
    with (copy / "vptlib" / "wording.py").open("a") as program:
        program.write("\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import vptlib.data.files\n")
    assert contracts(copy).returncode == 0


# ---- the public names ----------------------------------------------------------------------------------------


def test_the_public_names_are_the_same_for_users_and_for_type_checkers():
    """Written three times in vptlib/__init__.py: where to load each from, the imports for type checkers, __all__."""
    tree = ast.parse((ROOT / "vptlib" / "__init__.py").read_text())
    assigned = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    homes = ast.literal_eval(assigned["_HOME"])
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    typed = {alias.name: line.module for line in block.body for alias in line.names}
    assert typed == {name: f"vptlib.{home}" for name, home in homes.items()}
    assert ast.literal_eval(assigned["__all__"]) == sorted(homes)


# ---- the plan of the house is that of the house ---------------------------------------------------------------


def test_contributors_are_shown_every_folder():
    layout = (ROOT / "CONTRIBUTING.md").read_text().split("## Layout")[1].split("## ")[0]
    shown = set(re.findall(r"`(\w+)/?`", "".join(re.findall(r"^\| (`.*?) \|", layout, re.MULTILINE))))
    there = {path.stem for path in (ROOT / "vptlib").iterdir() if path.is_dir() or path.suffix == ".py"}
    assert shown - {"vptlib"} == {name for name in there if not name.startswith("__")} | {"operations"}


def test_the_files_that_recipes_name_are_there():
    named = set(re.findall(r"`((?:vptlib|tests|notebooks)/[\w./]+)`", (ROOT / "CONTRIBUTING.md").read_text()))
    assert len(named) >= 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_changelog_sends_nobody_to_a_module_that_is_not_there():
    rows = re.findall(r"^\| `vptlib.*? \| (.*) \|$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    modules = {name for row in rows for name in re.findall(r"`(vptlib[\w.]*)`", row)}
    assert len(modules) > 40
    files = {name: ROOT / name.replace(".", "/") for name in modules}
    assert [name for name, path in files.items() if not (path.is_dir() or path.with_suffix(".py").exists())] == []
