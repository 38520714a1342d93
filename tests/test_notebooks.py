"""What every notebook must be before it is worth running: complete, in order, light, and linked to things that exist.

nbval runs the notebooks and compares their outputs; here only their stored form is checked. Each check is a
function from a notebook to a list of faults, and is itself tried on a notebook with that fault.
"""

import ast
import base64
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from papermill import inspect_notebook

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
README = NOTEBOOKS / "README.md"
sys.path.insert(0, str(NOTEBOOKS))
from store import stamp, store  # noqa: E402

LARGEST_IMAGE = 150_000  # bytes

EVERY = sorted(path for path in NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
SOLUTIONS = [path for path in EVERY if path.parent.name == "solutions"]
LESSONS = [path for path in EVERY if path.parent == NOTEBOOKS and re.match(r"\d\d_", path.name)]
TRANSLATED = [path for path in EVERY if path.parent == NOTEBOOKS / "ja"]
REPORTS = [path for path in EVERY if path not in LESSONS + SOLUTIONS + TRANSLATED]


def each(paths: list[Path]):
    """One test for each notebook, named after it."""
    return pytest.mark.parametrize("path", paths, ids=[str(path.relative_to(NOTEBOOKS)) for path in paths])


def read(path: Path):
    return nbformat.read(path, as_version=4)


def report(path: Path, faults: list[str]) -> None:
    """Fail with all faults of one notebook at once."""
    if faults:
        pytest.fail("\n  ".join([f"{path.relative_to(NOTEBOOKS.parent)}:", *faults]), pytrace=False)


def code_cells(notebook) -> list[tuple[int, nbformat.NotebookNode]]:
    return [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]


def outputs(notebook):
    return [(i, output) for i, cell in code_cells(notebook) for output in cell.outputs]


def is_tagged(cell, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


# ---- the checks: notebook → faults ------------------------------------------------------------------------------


def parameter_faults(path: Path) -> list[str]:
    """Exactly one cell tagged `parameters`, in which every line reads `name: type = value  # what it is`."""
    tagged = [cell for _, cell in code_cells(read(path)) if is_tagged(cell, "parameters")]
    if len(tagged) != 1:
        return [f"has {len(tagged)} code cells tagged 'parameters': papermill needs exactly one."]
    found = inspect_notebook(str(path)).values()
    untyped = [p["name"] for p in found if p["inferred_type_name"] == "None"]
    unexplained = [p["name"] for p in found if not p["help"].strip()]
    return (
        ([] if found else ["its 'parameters' cell sets no parameter that papermill can read."])
        + [f"parameter {name!r} has no type: write `{name}: int = ...  # what it is`." for name in untyped]
        + [f"parameter {name!r} has no comment on its line that says what it is." for name in unexplained]
    )


def order_faults(notebook) -> list[str]:
    """Run once, from top to bottom, in a fresh kernel: execution counts 1, 2, ... n."""
    counts = [cell.execution_count for _, cell in code_cells(notebook)]
    wanted = list(range(1, len(counts) + 1))
    wrong = [i for (i, _), have, want in zip(code_cells(notebook), counts, wanted, strict=True) if have != want]
    if not wrong:
        return []
    return [f"execution counts are {counts}, first wrong at cell {wrong[0]}: restart the kernel, run all, and save."]


def unrun_or_in_order_faults(notebook) -> list[str]:
    """Report notebooks may also be stored without having been run at all."""
    never_run = all(cell.execution_count is None and not cell.outputs for _, cell in code_cells(notebook))
    return [] if never_run else order_faults(notebook)


def output_faults(notebook) -> list[str]:
    """No errors, no warnings or progress bars, no widget state, no heavy images."""
    faults = []
    for i, output in outputs(notebook):
        if output.output_type == "error":
            faults.append(f"cell {i} stores the error {output.ename}: {output.evalue[:80]}")
        if output.get("name") == "stderr":
            faults.append(f"cell {i} wrote to stderr ({output.text.strip()[:60]!r}): fix the warning or hide the bar.")
        for kind, data in output.get("data", {}).items():
            if kind.startswith("application/vnd.jupyter.widget"):
                faults.append(f"cell {i} stores a widget: show a static figure as well and clear the widget.")
            if kind.startswith("image/") and (size := image_bytes(kind, data)) >= LARGEST_IMAGE:
                faults.append(f"cell {i} stores an image of {size // 1000} kB: stay below {LARGEST_IMAGE // 1000} kB.")
    if "widgets" in notebook.metadata:
        faults.append("its metadata hold widget state: save it without (Settings → Save Widget State Automatically).")
    return faults


def image_bytes(kind: str, data: str) -> int:
    return len(data) if kind == "image/svg+xml" else len(base64.b64decode(data))


def place_faults(notebook) -> list[str]:
    """Files are found through vptlib, so that the notebook runs from any folder; no path of one machine is stored."""
    of_a_machine = re.compile(r"/(?:home|root|Users|work|tmp)/[\w.]+")
    faults = []
    for i, cell in code_cells(notebook):
        if re.search(r"""["']\.\.?/|\.cwd\(\)|os\.getcwd|%cd|os\.chdir""", cell.source):
            faults.append(f"cell {i} depends on the working directory: get the folder from vptlib.paths.")
        shown = "".join(shown_text(output) for output in cell.outputs)
        if found := of_a_machine.search(cell.source + shown):
            faults.append(f"cell {i} shows a path of one machine: {found.group()}")
    return faults


def shown_text(output) -> str:
    """The text of an output: printed text, tables, reprs."""
    data = output.get("data", {})
    return "".join([output.get("text", ""), *(text for kind, text in data.items() if kind.startswith("text/"))])


# By the language of a lesson: what its first cell has, and how it sets an exercise.
OPENINGS = {
    "en": {
        "a title line `# ...`": r"^# \S",
        "the words 'you will be able to'": r"(?i)you (?:will|can) (?:then )?be able to",
        "the time needed in minutes": r"(?i)\d+ min",
    },
    "ja": {
        "a title line `# ...`": r"^# \S",
        "the words 'できるようになります'": r"できるようになります",
        "the time needed in minutes": r"\d+分",
    },
}
EXERCISES = {"en": r"(?i)\bexercises?\b", "ja": "演習"}


def language(path: Path) -> str:
    return "ja" if path in TRANSLATED else "en"


def opening_faults(notebook, code: str = "en") -> list[str]:
    """The first cell is prose: a title, what the reader will be able to do, and how long it takes."""
    first, wanted = notebook.cells[0], OPENINGS[code]
    if first.cell_type != "markdown":
        return ["its first cell is not markdown."]
    return [f"its first cell lacks {what}." for what, pattern in wanted.items() if not re.search(pattern, first.source)]


def teaching_faults(notebook, code: str = "en") -> list[str]:
    """Claims are checked by asserts, exercises are set, and the last code cell prints the versions."""
    cells = [cell for _, cell in code_cells(notebook)]
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    faults = []
    if not any("assert " in cell.source for cell in cells):
        faults.append("no cell checks a claim with `assert`.")
    if not re.search(EXERCISES[code], prose):
        faults.append("sets no exercise.")
    if not (cells and "version" in cells[-1].source and is_tagged(cells[-1], "nbval-ignore-output")):
        faults.append("its last code cell must print versions and be tagged 'nbval-ignore-output'.")
    return faults


def link_faults(text: str, folder: Path) -> list[str]:
    """Every relative link or image leads to a file, and its anchor to a heading."""
    faults = []
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=[\"']([^\"']+)[\"']", text):
        link = next(filter(None, target))
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        file = (folder / name) if name else None
        if file and not file.exists():
            faults.append(f"links to {link}, which does not exist.")
        elif file and anchor and file.suffix == ".md" and anchor not in heading_anchors(file.read_text()):
            faults.append(f"links to {link}, but that file has no such heading.")
    return faults


def heading_anchors(markdown: str) -> set[str]:
    """The anchors that code hosting sites give to headings: lower case, hyphens, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", markdown, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def stale_faults(notebook) -> list[str]:
    """The code is that which made the outputs: `notebooks/store.py` leaves a stamp over it."""
    stored = notebook.metadata.get("vptlib", {}).get("code")
    if stored == stamp(notebook):
        return []
    return ["its code is not the code that made its outputs: run `python notebooks/store.py` on it."]


def import_faults(notebook) -> list[str]:
    """What the notebook imports from vptlib is there, and so is what it takes from a module by its name."""
    tree = ast.parse("\n".join(cell.source for _, cell in code_cells(notebook) if not cell.source.startswith("%")))
    asked = [
        (node.module, name.name, name.asname or name.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vptlib"
        for name in node.names
    ]
    found = {alias: _imported(module, name) for module, name, alias in asked}
    faults = [f"imports {name} from {module}, which has none." for module, name, alias in asked if found[alias] is None]
    modules = {alias: what for alias, what in found.items() if isinstance(what, ModuleType)}
    return faults + [
        f"takes {node.attr} from {node.value.id}, which has none."
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
        if not hasattr(modules[node.value.id], node.attr)
    ]


def _imported(module: str, name: str) -> object | None:
    """What `from module import name` gives, or None."""
    try:
        found = importlib.import_module(module)
        return getattr(found, name) if hasattr(found, name) else importlib.import_module(f"{module}.{name}")
    except ImportError:
        return None


# Names as their makers write them, and words as this course writes them: what is wrong → what is right.
SPELLINGS = {
    r"Grad-CAM|(?<!pytorch-)\b[Gg]rad-cam|[Gg]rad-?Cam|\bGradcam": "GradCAM",
    r"Pytorch|PyTorch's Vision|pyTorch": "PyTorch",
    r"Jupyter Lab|JupyterLAB|Jupyterlab": "JupyterLab",
    r"(?i)\bd-?sprites\b(?<!dSprites)(?!-)": "dSprites",
    r"Fashion MNIST|FashionMNIST|Fashion-mnist": "Fashion-MNIST",
    r"Adam-W|ADAMW|Adamw": "AdamW",
    r"\bVIT\b|\bVit\b": "ViT",
    r"\bDino ?v2\b|DinoV2|DINO v2": "DINOv2",
    r"(?i)\bImage-net\b|\bImagenet\b": "ImageNet",
    r"VPT deep|VPT-Deep|VPTdeep": "VPT-deep",
    r"VPT shallow|VPT-Shallow": "VPT-shallow",
    r"(?i)\bpretrain": "pre-train",
    r"(?i)\boverfit": "over-fit",
    r"(?i)\bfinetun|\bfine tun": "fine-tun",
    r"(?i)\b(?:color|behavior|normalize|optimizer|center|labeled|labeling|gray)": "the British spelling",
}


def spelling_faults(text: str) -> list[str]:
    """Names and words in prose; code, links and the titles of others' works (in italics) are left alone."""
    prose = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)|<[^>]+>|\*[^*\n]+\*", " ", text, flags=re.DOTALL)
    return [
        f"writes {found.group()!r}: write {right}."
        for wrong, right in SPELLINGS.items()
        for found in re.finditer(wrong, prose)
    ]


def heading_faults(text: str) -> list[str]:
    """Headings: no full stop, no empty one, sections counted 1, 2, 3, no capitals in the middle but for names."""
    headings = re.findall(r"^(#+) (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    counted = [int(found[1]) for level, title in headings if level == "##" and (found := re.match(r"(\d+) ", title))]
    faults = [f"heading {title!r} ends with a full stop." for _, title in headings if title.rstrip().endswith(".")]
    if counted != list(range(1, len(counted) + 1)):
        faults.append(f"counts its sections {counted}.")
    for _, title in headings:
        words = re.findall(r"(?<=[a-z,] )[A-Z][a-z]+\b", title)
        if strange := [word for word in words if word not in NAMES]:
            faults.append(f"heading {title!r} has a capital in {strange[0]!r}: only first words and names have one.")
    return faults


NAMES = ("Han", "Jia", "Optuna", "Monday", "Swin", "Fashion")


# ---- the notebooks ----------------------------------------------------------------------------------------------


def test_there_are_lessons():
    assert LESSONS, "no numbered notebook was found under notebooks/: the checks below would pass on nothing."


@each(EVERY)
def test_is_valid_and_light(path):
    notebook = read(path)
    nbformat.validate(notebook)
    empty = [f"cell {i} is empty." for i, cell in enumerate(notebook.cells) if not cell.source.strip()]
    report(path, empty + output_faults(notebook))


@each(LESSONS + TRANSLATED + SOLUTIONS)
def test_outputs_are_not_older_than_the_code(path):
    notebook = read(path)
    if "vptlib" not in notebook.metadata:
        pytest.skip("stored without a stamp: `python notebooks/store.py` leaves one")
    report(path, stale_faults(notebook))


@each(EVERY)
def test_names_and_headings_are_spelt_right(path):
    prose = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    report(path, spelling_faults(prose) + heading_faults(prose))


def test_the_readme_is_spelt_right():
    text = README.read_text()
    report(README, spelling_faults(text) + heading_faults(text))


def ruff(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "ruff", *map(str, arguments)], capture_output=True, text=True)


def test_the_code_of_the_notebooks_is_in_style():
    found = ruff("check", NOTEBOOKS)
    assert found.returncode == 0, found.stdout
    found = ruff("format", "--check", NOTEBOOKS)
    assert found.returncode == 0, found.stdout


@each(EVERY)
def test_runs_from_any_folder(path):
    report(path, place_faults(read(path)))


@each(EVERY)
def test_imports_are_there(path):
    report(path, import_faults(read(path)))


@each(EVERY)
def test_links_lead_somewhere(path):
    prose = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    report(path, link_faults("\n".join(prose), path.parent))


@each(LESSONS + TRANSLATED + REPORTS)
def test_has_typed_parameters(path):
    report(path, parameter_faults(path))


@each(LESSONS + TRANSLATED + SOLUTIONS)
def test_outputs_come_from_one_clean_run(path):
    report(path, order_faults(read(path)))


@each(REPORTS)
def test_report_is_clean_or_unrun(path):
    report(path, unrun_or_in_order_faults(read(path)))


@each(LESSONS + TRANSLATED)
def test_opens_with_its_aim_and_time(path):
    report(path, opening_faults(read(path), language(path)))


@each(LESSONS + TRANSLATED)
def test_predicts_checks_and_sets_exercises(path):
    report(path, teaching_faults(read(path), language(path)))


@each(LESSONS)
def test_has_its_solutions(path):
    solutions = NOTEBOOKS / "solutions" / f"{path.stem}_solutions.ipynb"
    report(path, [] if solutions in SOLUTIONS else [f"has no solutions: write solutions/{solutions.name}."])


@each(LESSONS + TRANSLATED)
def test_is_on_the_map(path):
    place = path.relative_to(NOTEBOOKS).as_posix()
    assert f"({place})" in README.read_text(), f"notebooks/README.md does not link to {place}."


@each(TRANSLATED)
def test_a_translated_lesson_and_the_english_one_lead_to_each_other(path):
    english = NOTEBOOKS / path.name
    assert english in LESSONS, f"{path.name} has no English lesson."
    assert f"[English](../{path.name})" in read(path).cells[0].source
    assert f"[日本語](ja/{path.name})" in read(english).cells[0].source


@each(SOLUTIONS)
def test_solutions_belong_to_a_lesson(path):
    lessons = [f"{lesson.stem}_solutions" for lesson in LESSONS]
    assert path.stem in lessons, f"solutions/{path.name} has no lesson: is it named after one?"


@pytest.mark.parametrize("name", ["README.md", "GLOSSARY.md", "ja/GLOSSARY.md"])
def test_links_of_the_other_pages_lead_somewhere(name):
    page = NOTEBOOKS / name
    report(page, link_faults(page.read_text(encoding="utf-8"), page.parent))


# ---- the checks find what they look for -------------------------------------------------------------------------


def a_notebook(*cells, **metadata):
    return new_notebook(cells=list(cells), metadata=metadata)


def run_cell(source="1 + 1", count=1, tags=(), results=()):
    return new_code_cell(source, execution_count=count, metadata={"tags": list(tags)}, outputs=list(results))


WIDGET = {"application/vnd.jupyter.widget-view+json": {}}
PICTURE = base64.b64encode(bytes(LARGEST_IMAGE)).decode()
GOOD_OPENING = new_markdown_cell("# Title\n\nYou will be able to judge. **Time:** 10 minutes.")


@pytest.mark.parametrize(
    "check, notebook, fault",
    [
        (order_faults, a_notebook(run_cell(count=1), run_cell(count=3)), "restart the kernel"),
        (order_faults, a_notebook(run_cell(count=None)), "restart the kernel"),
        (unrun_or_in_order_faults, a_notebook(run_cell(count=2)), "restart the kernel"),
        (output_faults, a_notebook(run_cell(results=[new_output("error", ename="KeyError", evalue="n")])), "KeyError"),
        (output_faults, a_notebook(run_cell(results=[new_output("stream", name="stderr", text="50%")])), "stderr"),
        (output_faults, a_notebook(widgets={}), "widget state"),
        (
            output_faults,
            a_notebook(run_cell(results=[new_output("display_data", {"image/png": PICTURE})])),
            "150 kB",
        ),
        (
            output_faults,
            a_notebook(run_cell(results=[new_output("display_data", WIDGET)])),
            "stores a widget",
        ),
        (place_faults, a_notebook(run_cell('open("../data/x")')), "working directory"),
        (place_faults, a_notebook(run_cell(results=[new_output("stream", text="/home/ann/x")])), "path of one machine"),
        (opening_faults, a_notebook(run_cell()), "not markdown"),
        (opening_faults, a_notebook(new_markdown_cell("# Title\n\n10 minutes")), "able to"),
        (opening_faults, a_notebook(new_markdown_cell("# Title\n\nYou will be able to judge.")), "minutes"),
        (teaching_faults, a_notebook(run_cell("print(version)", tags=["nbval-ignore-output"])), "assert"),
        (teaching_faults, a_notebook(run_cell("assert True")), "versions"),
        (import_faults, a_notebook(run_cell("from vptlib.report.judged import nothing")), "imports nothing"),
        (import_faults, a_notebook(run_cell("from vptlib.nowhere import a")), "imports a from vptlib.nowhere"),
        (import_faults, a_notebook(run_cell("from vptlib.course import figures\nfigures.none()")), "takes none from"),
        (stale_faults, a_notebook(run_cell("2 + 2"), vptlib={"code": "of another cell"}), "not the code that made"),
    ],
)
def test_a_fault_is_found(check, notebook, fault):
    assert fault in " ".join(check(notebook))


@pytest.mark.parametrize(
    "text, fault",
    [
        ("We use Pytorch.", "PyTorch"),
        ("A Grad-CAM map", "GradCAM"),
        ("Finetuning it", "fine-tun"),
        ("a pretrained network", "pre-train"),
        ("the color", "British"),
        ("# One Title Like This", "capital in 'Title'"),
        ("# A title.", "full stop"),
        ("## 1 One\n\n## 3 Three", "counts its sections [1, 3]"),
    ],
)
def test_a_fault_of_spelling_is_found(text, fault):
    assert fault in " ".join(spelling_faults(text) + heading_faults(text))


def test_code_links_and_titles_of_others_are_left_alone():
    text = "`color=1` [GradCAM](grad-cam.html) *Full Finetuning?* dSprites-location, pytorch-grad-cam"
    assert spelling_faults(text) == []
    assert heading_faults("## 1 One\n\n## 2 · Two and Han et al") == []


def test_style_is_checked_in_notebooks_too(tmp_path):
    nbformat.write(a_notebook(run_cell("import os")), tmp_path / "a.ipynb")
    config = NOTEBOOKS.parent / "pyproject.toml"
    assert "unused" in ruff("check", "--config", config, tmp_path / "a.ipynb").stdout


def test_a_stamp_is_over_the_code_alone():
    first, second = a_notebook(run_cell("1"), run_cell("2")), a_notebook(run_cell("1"), run_cell("2", 7))
    assert stamp(first) == stamp(second) != stamp(a_notebook(run_cell("12")))


def test_storing_runs_strips_and_stamps(tmp_path):
    source = "import ipywidgets\nfrom IPython.display import display\ndisplay(ipywidgets.IntSlider())\n40 + 2"
    kernel = {"name": "python3", "language": "python", "display_name": "x"}
    nbformat.write(a_notebook(run_cell(source, count=None), kernelspec=kernel), tmp_path / "a.ipynb")
    store(tmp_path / "a.ipynb")
    stored = nbformat.read(tmp_path / "a.ipynb", as_version=4)
    assert "42" in str(stored.cells[0].outputs)
    assert output_faults(stored) == stale_faults(stored) == order_faults(stored) == []


def test_a_good_notebook_has_no_faults():
    good = a_notebook(
        GOOD_OPENING,
        run_cell("assert 1 + 1 == 2", 1),
        new_markdown_cell("**Exercise.** Try it."),
        run_cell("print(version)", 2, ["nbval-ignore-output"]),
    )
    for check in (order_faults, unrun_or_in_order_faults, output_faults, place_faults, opening_faults, teaching_faults):
        assert check(good) == []


@pytest.mark.parametrize(
    "source, fault",
    [
        ("n = 3", "no type"),
        ("n: int = 3", "no comment"),
        ("print(3)", "no parameter"),
        (None, "0 code cells"),
    ],
)
def test_a_bad_parameters_cell_is_found(tmp_path, source, fault):
    cells = [] if source is None else [run_cell(source, tags=["parameters"])]
    path = tmp_path / "lesson.ipynb"
    nbformat.write(a_notebook(*cells, kernelspec={"name": "python3", "language": "python", "display_name": "x"}), path)
    assert fault in " ".join(parameter_faults(path))


@pytest.mark.parametrize("link", ["missing.md", "there.md#no-such-heading"])
def test_a_dead_link_is_found(tmp_path, link):
    (tmp_path / "there.md").write_text("# The two forms (exact)\n")
    assert link_faults("[fine](there.md#the-two-forms-exact) [web](https://example.org)", tmp_path) == []
    assert link in link_faults(f"[x]({link})", tmp_path)[0]
