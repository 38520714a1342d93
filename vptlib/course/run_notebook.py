"""`vpt run`: a notebook of the course with other parameters.

    02, -y '{n: 200}' ── check names and types ── papermill ── NAME.ipynb and a self-contained NAME.html

Both files are written to a temporary folder and moved to their place at the end, so a failure leaves earlier ones
unchanged.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import Any

import nbformat
from pydantic import ConfigDict, TypeAdapter, ValidationError

from vptlib.errors import UserError
from vptlib.paths import repository
from vptlib.report.build import execute
from vptlib.report.pages import page
from vptlib.report.words import ENGLISH, languages
from vptlib.report.yaml_file import read_settings, short
from vptlib.wording import did_you_mean

# The types that parameters cells use; an annotation can name nothing else.
_TYPES = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "tuple": tuple, "dict": dict}


def run_lesson(name: str, texts: list[str], out: Path | None = None, progress: bool = True) -> Path:
    """Run a notebook with parameters. Write the result as a notebook and as a self-contained HTML page.

    Args:
        name: a path, or a notebook of the course by its name or number: "02_training", "02", in Japanese "ja/00".
        texts: YAML or JSON mappings of parameters, such as "{n: 200}"; the last value for a name counts.
        out: the folder, by default `default_folder`.
        progress: show a bar that counts cells.

    Returns:
        The path of the page.

    Raises:
        UserError: no such notebook or parameter, a value of the wrong type, a cell that failed, or a folder that cannot
            be used. Also, after the page is written, a check (`assert`) that failed: its claim does not hold with these
            parameters.
    """
    source = find_notebook(name)
    parameters = checked(source, parsed(texts))
    folder = (out or default_folder(source, parameters)).resolve()
    _check_folder(folder, source.stem)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as draft:
        ran = Path(draft) / source.name
        failed = execute(source, parameters, ran, progress, checks_stop=False)
        written = lesson_page(nbformat.read(ran, as_version=4), language_of(source))
        ran.with_suffix(".html").write_text(written, encoding="utf-8")
        folder.mkdir(exist_ok=True)
        for path in (ran, ran.with_suffix(".html")):
            shutil.move(path, folder / path.name)
    address = folder / f"{source.stem}.html"
    if failed:
        cells = f"cell {failed[0]}" if len(failed) == 1 else f"cells {', '.join(map(str, failed))}"
        raise UserError(f"the page is at {address}, but the check in {cells} failed: its claim does not hold here.")
    return address


# ---- the notebook -----------------------------------------------------------------------------------------------


def find_notebook(name: str) -> Path:
    """A notebook by its path, its name or its number.

    Raises:
        UserError: there is no such notebook, or the name is that of a folder or of another kind of file.
    """
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path.resolve()
    folder = repository() / "notebooks"
    places = [
        *sorted(folder.glob("*.ipynb")),
        *sorted(p for p in folder.glob("*/*.ipynb") if p.parent.name in languages()),
    ]
    known = {p.relative_to(folder).with_suffix("").as_posix(): p for p in places}
    wanted = path.stem if path.suffix == ".ipynb" else path.name
    if path.parent.name in languages():
        wanted = f"{path.parent.name}/{wanted}"
    matching = [stem for stem in known if stem == wanted or stem.startswith(f"{wanted}_")]
    if len(matching) == 1:
        return known[matching[0]]
    hint = did_you_mean(wanted, known, f"take one of {', '.join(known)}, or a path.", least=0.5, written=str)
    raise UserError(f"there is no notebook {name!r}: {hint}")


def language_of(source: Path) -> str:
    """The language of a notebook, which is the name of its folder; English in any other folder."""
    return source.parent.name if source.parent.name in languages() else ENGLISH


def lesson_page(notebook: nbformat.NotebookNode, language: str = ENGLISH) -> str:
    """One self-contained HTML page: code hidden, formulas as MathML, links into the repository as plain text."""
    from latex2mathml.converter import convert

    cells = [cell for cell in notebook.cells if cell.cell_type == "markdown" or cell.outputs]
    shown = nbformat.v4.new_notebook(cells=cells, metadata={"title": _title(notebook)})
    for cell in (cell for cell in cells if cell.cell_type == "markdown"):
        cell.source = _outside_code(r"\$([^$\n]+)\$", lambda found: convert(found[1]), cell.source)
        cell.source = re.sub(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)[^)\s]+\)", r"\1", cell.source)
    return page(shown, language)


def _title(notebook: nbformat.NotebookNode) -> str:
    headings = re.findall(r"^# (.+)$", "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"), re.M)
    return headings[0] if headings else "A notebook"


def _outside_code(pattern: str, change: Callable[[re.Match], str], text: str) -> str:
    """Replace a pattern in Markdown, but not within code."""
    parts = re.split(r"(```.*?```|`[^`\n]+`)", text, flags=re.S)
    return "".join(part if part.startswith("`") else re.sub(pattern, change, part) for part in parts)


# ---- the parameters ---------------------------------------------------------------------------------------------


def parsed(texts: list[str]) -> dict[str, Any]:
    """One mapping from several YAML or JSON texts.

    Raises:
        UserError: a text is not a mapping of names to values.
    """
    values: dict[str, Any] = {}
    for text in texts:
        try:
            found = read_settings(text, f"-y {short(text)!r}")
        except UserError as error:
            raise UserError(f"{str(error).rstrip('.')}: write it like -y '{{n: 200}}'.") from error
        if found is None or not all(name.isidentifier() for name in found.values):
            raise UserError(f"-y {short(text)!r} gives no names: write it like -y '{{n: 200}}' or -y 'n: 200'.")
        values |= found.values
    return {name: _with_home(value) for name, value in values.items()}


def _with_home(value: Any) -> Any:
    """A backbone of one's own with `~` and `~user` expanded, as a task's place is; any other value as it is."""
    if isinstance(value, str) and value.startswith("file:"):
        return f"file:{os.path.expanduser(value.removeprefix('file:'))}"
    return value


def checked(source: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The values as the notebook gets them, checked against its parameters cell.

    Raises:
        UserError: the notebook cannot be read, has no such parameter, or needs another type.
    """
    import papermill

    try:
        known = papermill.inspect_notebook(source)
    except Exception as error:  # papermill, nbformat and json raise many kinds for a file that is not a notebook
        reason = str(error).strip().splitlines()[0][:100]
        raise UserError(f"{source} cannot be read as a notebook ({reason}): name another, or restore it.") from error
    return {name: _checked(source, name, value, known) for name, value in values.items()}


def _checked(source: Path, name: str, value: Any, known: dict[str, dict]) -> Any:
    if name not in known:
        hint = did_you_mean(short(name.lower()), known, f"it has {', '.join(known) or 'none at all'}.", least=0.5)
        raise UserError(f"{source.name} has no parameter {name!r}: {hint}")
    kind = _type(known[name]["inferred_type_name"])
    if kind is None:
        return value
    try:
        return TypeAdapter(kind, config=ConfigDict(strict=True)).validate_json(dumps(value, default=str))
    except (ValidationError, ValueError) as error:
        default, written = known[name]["default"], known[name]["inferred_type_name"]
        raise UserError(
            f"parameter {name!r} of {source.name} must be {_in_words(written)}, such as {default}, but is "
            f"{short(dumps(value, default=str))}."
        ) from error


def _type(written: str) -> Any:
    """The type that an annotation names, or None if it is not one of `_TYPES`."""
    try:
        return eval(written, {"__builtins__": {}}, _TYPES)
    except Exception:  # an annotation may hold anything
        return None


def _in_words(written: str) -> str:
    one = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}
    many = {"list[int]": "whole numbers", "list[float]": "numbers", "list[str]": "texts"}
    return f"a list of {many[written]}" if written in many else one.get(written, written)


# ---- the folder -------------------------------------------------------------------------------------------------


def default_folder(source: Path, parameters: dict[str, Any]) -> Path:
    """A folder under `reports/runs`, named after the notebook, its language unless it is English, and its parameters.

    A name that is changed or cut gets six characters of a hash, so that two such names differ.
    """
    runs, language = repository() / "reports" / "runs", language_of(source)
    stem = source.stem if language == ENGLISH else f"{source.stem}.{language}"
    if not parameters:
        return runs / stem
    text = ",".join(f"{name}={value}" for name, value in sorted(parameters.items()))
    short = re.sub(r"[^\w.=-]+", "-", text).strip("-")[:40]
    ending = "" if short == text else f"-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    return runs / f"{stem}-{short}{ending}"


def _check_folder(folder: Path, stem: str) -> None:
    """Refuse a folder that cannot be written or that has other files than those of a run."""
    if folder.is_dir():
        strange = sorted(p.name for p in folder.iterdir() if p.name not in (f"{stem}.ipynb", f"{stem}.html"))
        if strange:
            raise UserError(f"{folder} holds {strange[0]!r}: name another folder with --out.")
    elif folder.exists():
        raise UserError(f"{folder} is a file: name a folder with --out.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}."):
            pass
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): name another folder with --out.") from error
