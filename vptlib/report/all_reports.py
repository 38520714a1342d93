"""All reports of a folder of YAML files in one go, and an index over them: `vpt report-all`.

    configs/osaka/parts.yaml  ──  OUT/osaka/parts/index.html …
    configs/nagoya/parts.yaml ──  OUT/nagoya/parts/index.html …     OUT/index.html, OUT/made.json

A report is made again only if something that it comes from has changed: its YAML file, its images, or vptlib. One that
fails is listed with its reason, and what an earlier try has made of it stays.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from vptlib.data.readers import local_path
from vptlib.errors import UserError
from vptlib.paths import lock_alone, repository, store_folder, write_whole
from vptlib.redaction import redacted
from vptlib.report.build import make_report
from vptlib.report.config import read_config
from vptlib.report.judged import report_day
from vptlib.shortages import sentence_of

MADE = "made.json"
_ENDINGS = (".yaml", ".yml")
_PROGRAM = ("vptlib/**/*.py", "vptlib/**/templates/*", "vptlib/**/*.po", "vptlib/**/*.json", "notebooks/report_*.ipynb")


@dataclass(frozen=True)
class Made:
    """What is known about one report of many, and kept in `made.json`.

    Attributes:
        name: its folder under OUT: the YAML file's path under the folder given, without its ending, as "osaka/parts".
        fingerprint: of all that the report came from, at the last try.
        day: of the last try that made it, as 2026-11-29; "" if none did.
        failed: why the last try made no report; "" if it did.
        complete: whether all runs that were asked for are in it.
        before: the parts of its `summary.json` that were replaced when it was made last, for "what changed".
    """

    name: str
    fingerprint: str = ""
    day: str = ""
    failed: str = ""
    complete: bool = False
    before: tuple[dict[str, Any], ...] = ()

    @property
    def site(self) -> str:
        """The folder that the YAML file lay in, under the one given: "" for that itself."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True)
class AllMade:
    """What `vpt report-all` did: the reports, and by their names those made now, unchanged, and failed."""

    reports: tuple[Made, ...]
    made: tuple[str, ...]
    unchanged: tuple[str, ...]
    failed: tuple[str, ...]


def make_all(
    folder: Path,
    out: Path,
    time_given: str | None = None,
    say: Callable[[str], None] = print,
    make: Callable[..., Path] = make_report,
) -> AllMade:
    """Make the reports of all YAML files under a folder, one after the other, but not those that nothing changed.

    What is known is written after each report, so that an interrupted command goes on where it was.

    Args:
        folder: searched with its sub-folders, which stand for sites or departments.
        out: gets a folder for each report, and `made.json`.
        time_given: how long each may take, such as "30m".
        say: hears what is being done.
        make: makes one report, as `vptlib.report.build.make_report`.

    Raises:
        UserError: there is no YAML file, two of them would share a folder, or another process is at work on `out`.
    """
    configs = configs_under(folder)
    with _alone(out):
        known = read_made(out)
        found: dict[str, Made] = {}
        done: dict[str, list[str]] = {"made": [], "unchanged": [], "failed": []}
        for number, (name, config) in enumerate(configs.items(), 1):
            earlier = known.get(name, Made(name))
            mark = fingerprint_of(config, time_given)
            if _is_unchanged(earlier, mark, out):
                state, now = "unchanged", earlier
                say(f"[{number}/{len(configs)}] {name}: nothing has changed")
            else:
                say(f"[{number}/{len(configs)}] {name}")
                now = _made_now(earlier, mark, config, out, time_given, make)
                state = "failed" if now.failed else "made"
                if now.failed:
                    say(f"{name} failed: {now.failed}")
            found[name] = now
            done[state].append(name)
            _write_made(out, {**known, **found})
        _write_made(out, found)
    return AllMade(tuple(found.values()), *(tuple(done[state]) for state in ("made", "unchanged", "failed")))


def configs_under(folder: Path) -> dict[str, Path]:
    """The YAML files under a folder by the names of their reports, in the order of the names.

    Raises:
        UserError: there is none, or two have one name.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: name the folder that holds the YAML files.")
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS and path.is_file()):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            continue
        name = inside.with_suffix("").as_posix()
        if name in found:
            raise UserError(f"{found[name]} and {path} would share the report {name}: rename one of them.")
        found[name] = path
    if not found:
        raise UserError(f"there is no YAML file in {folder}: `vpt init PLACE --out {folder}/NAME.yaml` writes one.")
    _check_nested(found)
    return found


def _check_nested(found: dict[str, Path]) -> None:
    """A report's folder holds nothing but the report, so no report may lie in another one's folder."""
    for name in found:
        for outer in Path(name).parents:
            if outer.as_posix() in found:
                raise UserError(
                    f"{found[name]} would have its report in the folder of that of {found[outer.as_posix()]}: rename "
                    "the folder or the file."
                )


def _made_now(
    earlier: Made, mark: str, config: Path, out: Path, time_given: str | None, make: Callable[..., Path]
) -> Made:
    before = tuple(parts_of_summary(out / earlier.name))
    try:
        make(config, out / earlier.name, time_given)
    except Exception as error:
        return replace(earlier, fingerprint=mark, failed=_reason(error))
    complete = not any(part.get("not_made") for part in parts_of_summary(out / earlier.name))
    return Made(earlier.name, mark, report_day().isoformat(), "", complete, before)


def _reason(error: Exception) -> str:
    if isinstance(error, UserError):
        return redacted(str(error))
    return redacted(sentence_of(error) or f"{type(error).__name__}: {error}")


def _is_unchanged(earlier: Made, mark: str, out: Path) -> bool:
    there = (out / earlier.name / "index.html").is_file() and (out / earlier.name / "summary.json").is_file()
    return there and earlier.complete and not earlier.failed and earlier.fingerprint == mark


# ---- what a report comes from -----------------------------------------------------------------------------------


def fingerprint_of(config: Path, time_given: str | None = None) -> str:
    """A mark of all that a report comes from: YAML file, images (names, sizes, times of change), vptlib, the store.

    A file that cannot be read as a configuration has a mark, too: making its report says what is wrong.
    """
    mark = hashlib.sha256(config.read_bytes())
    mark.update(repr((time_given, str(store_folder()), _program())).encode())
    for path in _places(config):
        mark.update(repr(list(_files_of(path))).encode("utf-8", "surrogateescape"))
    return mark.hexdigest()[:32]


@cache
def _program() -> str:
    """A mark of vptlib itself: its code, templates, texts, and the notebooks of reports."""
    mark, root = hashlib.sha256(), repository()
    for path in sorted({path for pattern in _PROGRAM for path in root.glob(pattern)}):
        mark.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return mark.hexdigest()


def _places(config: Path) -> list[Path]:
    """The folders and tables of the images; none for embedded tasks and for data sets of a hub."""
    try:
        tasks = read_config(config).settings.tasks
    except UserError:
        return []
    places = (local_path(task) if ":" in task or "/" in task else None for task in tasks)
    return [place for place in places if place is not None]


def _files_of(place: Path) -> Iterator[tuple[str, int, int]]:
    """Each file of a folder with its size and its time of change; of a table, those of the table's own folder, too."""
    for folder, folders, names in os.walk(place if place.is_dir() else place.parent):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            try:
                about = os.stat(path)
            except OSError:
                continue
            yield path, about.st_size, about.st_mtime_ns


# ---- what is known ------------------------------------------------------------------------------------------------


def parts_of_summary(report: Path) -> list[dict[str, Any]]:
    """The tasks of a report's `summary.json`; none if it is not there or is damaged."""
    try:
        whole = json.loads((report / "summary.json").read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return whole.get("tasks", [whole]) if isinstance(whole, dict) else []


def read_made(out: Path) -> dict[str, Made]:
    """What earlier commands have written to `made.json`, by the reports' names; nothing if it is damaged."""
    try:
        rows = json.loads((out / MADE).read_text("utf-8"))["reports"]
        return {row["name"]: Made(**(row | {"before": tuple(row["before"])})) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_made(out: Path, found: dict[str, Made]) -> None:
    rows = [asdict(found[name]) for name in sorted(found)]
    write_whole(out / MADE, json.dumps({"reports": rows}, ensure_ascii=False, indent=1) + "\n")


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One process at a time works on `out`."""
    out.mkdir(parents=True, exist_ok=True)
    opened = os.open(out, os.O_RDONLY)
    try:
        lock_alone(opened, f"another `vpt report-all` is at work on {out}: wait for it, or use --out.")
        yield
    finally:
        os.close(opened)
