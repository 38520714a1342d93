"""The YAML file behind a report: read, checked, and each mistake reported as one sentence with its line and its fix.

What may be set is in `vptlib.report.settings`; how the text is read, in `vptlib.report.yaml_file`.

Paths in `tasks`, `reference` and `backbone: file:...` mean the same as on the command line: `~` and `~user` are home
folders. A relative path counts from the YAML's folder; on the command line, from the working directory. A name with
`hf:` is a folder if one is there, or if it begins with `.`, `/` or `~`.
"""

import os
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from json import dumps
from pathlib import Path
from typing import Any

from babel.numbers import list_currencies
from pydantic import ValidationError

from vptlib.data.conditions import Conditions
from vptlib.data.possible_sizes import Labelled
from vptlib.data.readers import is_spec, located, resolved
from vptlib.data.tables import TABLES
from vptlib.data.tasks import PHOTOGRAPHS, TASKS, load_task, task_is_available
from vptlib.data.vtab import expanded
from vptlib.errors import UserError
from vptlib.evidence.limits import check_classes, limits_for, read_limits
from vptlib.evidence.prices import Prices
from vptlib.evidence.recommendation import FULL, PROMPT
from vptlib.redaction import redacted
from vptlib.report.init import as_typed, usual_config
from vptlib.report.settings import (
    MONEY_FIELDS,
    STUDY_FIELDS,
    TITLE,
    ConditionSettings,
    ReportOnly,
    ReportSettings,
    in_one_line,
)
from vptlib.report.words import from_catalogue, languages, speaking
from vptlib.report.yaml_file import Settings, read_settings, read_text, short
from vptlib.study.cluster import cluster_address
from vptlib.study.published_rules import VTAB
from vptlib.study.study import Study
from vptlib.study.time_budget import seconds_of
from vptlib.tuning.methods import METHODS
from vptlib.wording import did_you_mean

# The settings that are for judging the runs.
ASKED = ("accuracy_needed", "accuracy_today", "limits", "currency", *MONEY_FIELDS)
# What the report sets side by side; the other methods are there for comparison.
COMPARED = (PROMPT, FULL)


_FILE = "file:"  # how the name of a backbone on disk begins


@dataclass(frozen=True)
class ReportConfig:
    """A checked configuration.

    Attributes:
        path: the file it came from.
        settings: its values, as a pydantic model with an attribute for each key, those of the study included.
    """

    path: Path
    settings: ReportOnly

    @property
    def study_settings(self) -> dict[str, Any]:
        """The keyword arguments of `Study` other than the task, as plain JSON values."""
        return self.settings.model_dump(mode="json", include=set(STUDY_FIELDS))

    @property
    def asked(self) -> dict[str, Any]:
        """What the reader asks of a method, as plain JSON values: the settings that judge runs and make none."""
        return self.settings.model_dump(mode="json", include=set(ASKED))

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the report's languages; `summary.json` and `index.html` are in the first."""
        chosen = self.settings.language
        return (chosen,) if isinstance(chosen, str) else tuple(chosen)

    def title(self, language: str) -> str:
        """The title in one of the report's languages, without a password."""
        given = self.settings.title
        if not isinstance(given, str):
            return redacted(given[language])
        with speaking(language):
            return from_catalogue(TITLE) if given == TITLE else redacted(given)

    def studies(self) -> list[Study]:
        """One study a task, in the order of the file."""
        return [Study(task=task, **self.study_settings) for task in self.settings.tasks]

    def harder_studies(self) -> list[Study]:
        """Each task under each of the harder conditions."""
        return [study.under(**changes) for study in self.studies() for changes in self.settings.conditions]


def read_config(path: Path) -> ReportConfig:
    """Read and check everything that can be checked without data or weights.

    Raises:
        UserError: a missing or broken file, an unknown key, a wrong type, an unknown name.
    """
    read = _read(path)
    values, lines = read.values, read.lines
    if isinstance(values.get("tasks"), str) and values["tasks"].startswith("vtab:"):  # one name for 19 tasks
        values["tasks"] = [values["tasks"]]
    try:
        settings = ReportSettings.model_validate_json(dumps(values))
    except ValidationError as error:
        raise UserError(_sentence(path, lines, error.errors())) from error
    own: dict[str, Any] = {"tasks": _tasks(settings.tasks, path, lines)}
    if (backbone := settings.model_dump()["backbone"]).startswith(_FILE):
        own["backbone"] = _FILE + os.path.abspath(located(backbone.removeprefix(_FILE), path.parent))
    if is_spec(settings.reference):
        own["reference"] = resolved(settings.reference, path.parent)
    config = ReportConfig(path, settings.model_copy(update=own))
    _check_names(config, lines)
    return config


def check_material(config: ReportConfig) -> None:
    """Load tasks and backbone once, and find out whether the tasks can give the sizes.

    Raises:
        UserError: a task or backbone that cannot be had, an image size or depth that the backbone does not have,
            sizes larger than the data (the message gives sizes that would do), classes with too few images, a limit
            for a class that no task has.
    """
    studies = [*config.studies(), *config.harder_studies()]
    _check_classes_of_limits(config)
    for check in (lambda study: _check_sizes(study, config, studies), Study.check):  # the quick check first
        for study in studies:
            try:
                check(study)
            except UserError as error:
                raise UserError(f"{config.path}: task {study.task!r}: {error}") from error


def _check_sizes(study: Study, config: ReportConfig, studies: Sequence[Study]) -> None:
    """Raise unless the labels of the task can give the sizes of `study`; say which would do for all `studies`."""
    if study.rules == VTAB:  # it takes published lists as they are
        return
    try:
        for n in study.sizes:
            _labelled(study).check(n)
    except UserError as error:
        sizes = list(config.study_settings["sizes"])
        for each in studies:
            sizes = _labelled(each).nearest(sizes)
        raise UserError(f"{str(error).rstrip('.')}; `sizes: {sizes}` would do." if sizes else str(error)) from error


def _labelled(study: Study) -> Labelled:
    task = load_task(study.task)
    return Labelled(task.train.labels, task.train_groups, study.seeds, study.imbalance)


def _tasks(names: tuple[str, ...], path: Path, lines: dict[str, int]) -> tuple[str, ...]:
    """Embedded tasks by name, images of the user's own by their whole path; all 19 for the folder of VTAB-1k."""
    try:
        return tuple(
            task for name in names for task in (expanded(resolved(name, path.parent)) if is_spec(name) else [name])
        )
    except UserError as error:
        raise UserError(f"{_where(path, lines, 'tasks')}: {error}") from error


# ---- reading --------------------------------------------------------------------------------------------------


def _read(path: Path) -> Settings:
    if path.suffix.lower() in TABLES or path.is_dir():
        kind = "folder" if path.is_dir() else "table"
        raise UserError(f"{path} is a {kind}, not a YAML file: {_report_on(path)}.")
    try:
        read = read_settings(read_text(path), str(path))
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}: {_instead(path)}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): name a YAML file that can.") from error
    if read is None:
        raise UserError(f"{path} must hold `key: value` lines, such as `tasks: [{_example_task()}]`.")
    return read


def _report_on(images: Path) -> str:
    """The commands that make a report on a folder or a table of images."""
    then = f"`vpt report {as_typed(usual_config(images))}`"
    return then if usual_config(images).exists() else f"first `vpt init {shlex.quote(str(images))}`, then {then}"


def _instead(path: Path) -> str:
    """What to do where there is no file."""
    if str(path) in TASKS:
        return f"{path} is a task, so write `tasks: [{path}]` into a YAML file, or let `vpt init {path}` write one."
    images = [place for place in (path.with_suffix(""), *map(path.with_suffix, TABLES)) if place.exists()]
    if images and not usual_config(images[0]).exists():
        return f"{_report_on(images[0])}."
    others, in_folder = [p.name for p in path.parent.glob("*.y*ml")], lambda name: str(path.parent / name)
    return did_you_mean(path.name, others, "name an existing YAML file.", written=in_folder)


def _example_task() -> str:
    return next(iter(TASKS))


# ---- names ----------------------------------------------------------------------------------------------------


def _check_names(config: ReportConfig, lines: dict[str, int]) -> None:
    settings, methods, path = config.settings, config.study_settings["methods"], config.path
    embedded = tuple(task for task in settings.tasks if not is_spec(task))
    if places := [task for task in embedded if task not in TASKS and os.path.isdir(path.parent / task)]:
        raise UserError(
            f"{_where(path, lines, 'tasks')}: there is no task {short(places[0])!r}, but a folder of that name: write "
            f"folder:{short(places[0])}."
        )
    _check_known(_where(path, lines, "tasks"), "task", embedded, TASKS, "`vpt tasks` lists them")
    _check_known(_where(path, lines, "methods"), "method", methods, METHODS, f"choose from {', '.join(METHODS)}")
    _check_languages(config, _where(path, lines, "language"))
    _check_title(config, _where(path, lines, "title"))
    if len(set(settings.tasks)) < len(settings.tasks):
        raise UserError(f"{_where(path, lines, 'tasks')}: `tasks` names a task twice: delete one of the two.")
    missing = [method for method in COMPARED if method not in methods]
    if missing:
        raise UserError(
            f"{_where(path, lines, 'methods')}: `methods` lacks {missing[0]!r}: a report compares "
            f"{' and '.join(COMPARED)}, so add it."
        )
    for task in embedded:
        available, why = task_is_available(task)
        if not available:
            raise UserError(f"{_where(path, lines, 'tasks')}: task {task!r} cannot be had here: {why}")
    _check_conditions(config, _where(path, lines, "conditions"))
    _check_limits(config, _where(path, lines, "limits"))
    _check_currency(config, _where(path, lines, "currency"))
    if settings.reference and not is_spec(settings.reference):
        where, known = _where(path, lines, "reference"), (PHOTOGRAPHS, *TASKS)
        _check_known(where, "reference", (settings.reference,), known, f"take {PHOTOGRAPHS!r} or a task")
    try:
        config.studies()
        Prices.among(config.asked)
        if settings.time:
            seconds_of(settings.time)
        if settings.cluster:
            cluster_address(settings.cluster)
    except UserError as error:
        key = str(error).partition(" ")[0]  # what `Study` says of a setting begins with its name
        raise UserError(f"{_where(path, lines, key)}: {error}") from error


def _check_currency(config: ReportConfig, where: str) -> None:
    code = config.settings.currency
    if code and code not in list_currencies("en"):
        raise UserError(f"{where}: `currency` is {code!r}: take the three letters of ISO 4217, such as JPY or USD.")


def _check_languages(config: ReportConfig, where: str) -> None:
    _check_spoken(config.languages, where)
    if len(set(config.languages)) < len(config.languages):
        raise UserError(f"{where}: `language` names a language twice: delete one of the two.")


def _check_spoken(codes: Collection[str], where: str) -> None:
    unknown = [code for code in codes if code not in languages()]
    if unknown:
        raise UserError(f"{where}: there is no language {short(unknown[0])!r}: take {' or '.join(languages())}.")


def _check_title(config: ReportConfig, where: str) -> None:
    """A title for each language has one for each of the report's."""
    given = config.settings.title
    if isinstance(given, str):
        return
    if missing := [code for code in config.languages if not given.get(code, "").strip()]:
        raise UserError(f"{where}: `title` has none for {missing[0]!r}: add it, or give one text for all languages.")
    _check_spoken(given, where)


def _check_limits(config: ReportConfig, where: str) -> None:
    try:
        read_limits(config.settings.limits)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _check_classes_of_limits(config: ReportConfig) -> None:
    """Each limit needs a task that has its classes; a report of several tasks may have limits for some."""
    classes = [load_task(study.task).class_names for study in config.studies()]
    for limit in read_limits(config.settings.limits):
        if any(limits_for([limit], names) for names in classes):
            continue
        nearest = max(classes, key=lambda names: len(set(limit.classes) & set(names)))
        try:
            check_classes([limit], nearest)
        except UserError as error:
            raise UserError(f"{_where(config.path, _read(config.path).lines, 'limits')}: {error}") from error


def _check_conditions(config: ReportConfig, where: str) -> None:
    names = [field.name for field in fields(Conditions)]
    for changes in config.settings.conditions:
        _check_known(where, "condition", changes, names, f"choose from {', '.join(names)}")
        _check_condition(where, changes)


def _check_condition(where: str, changes: dict[str, Any]) -> None:
    try:
        ConditionSettings.model_validate_json(dumps(changes))
        harder = Conditions(**changes)
    except ValidationError as error:
        finding, *_ = error.errors()
        key, expected = finding["loc"][0], _expected(str(finding["loc"][0]), finding)
        raise UserError(
            f"{where}: {short(dumps(changes))} cannot be a condition: `{key}` must be {expected}."
        ) from error
    except UserError as error:
        raise UserError(f"{where}: {short(dumps(changes))} cannot be a condition: {error}") from error
    if not harder.facts():
        raise UserError(f"{where}: {short(dumps(changes))} changes nothing: give label_noise, imbalance or corruption.")


def _check_known(where: str, kind: str, names: Collection[str], known: Collection[str], otherwise: str) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"{where}: there is no {kind} {short(name)!r}: {_hint(short(name), known, otherwise)}")


def _hint(name: str, known: Collection[str], otherwise: str) -> str:
    """The known name that is the same but for capitals, "_", "-" and spaces; else a similar one."""
    same = [right for right in known if _letters(right) == _letters(name)]
    return did_you_mean(same[0] if same else name.lower(), known, f"{otherwise}.", least=0.5)


def _letters(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


# ---- pydantic's findings as sentences -------------------------------------------------------------------------

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text, in quotes if it is a number",
    "tuple_type": "a list such as {example}",
    "dict_type": "a mapping such as {example}",
    "too_short": "a list with at least one value",
    "finite_number": "a finite number",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "greater_than": "above {gt}",
    "less_than": "below {lt}",
    "literal_error": "{expected}",
}


def _sentence(path: Path, lines: dict[str, int], findings: Sequence[Mapping[str, Any]]) -> str:
    """The first of pydantic's findings as one sentence with file, line, key and fix; unknown keys come first."""
    finding, *_ = sorted(findings, key=lambda finding: finding["type"] != "extra_forbidden")
    key, *rest = finding["loc"]
    where = _where(path, lines, key)
    if finding["type"] == "extra_forbidden":
        return f"{where}: `{key}` is not a setting: {_hint(str(key), ReportSettings.model_fields, _all_settings())}"
    if finding["type"] == "missing":
        return f"{where}: `{key}` is missing: add a line such as `{key}: {_example(key)}`."
    of_one_type = rest and isinstance(rest[0], int)  # else the type is one of several, each with a finding
    of_key = [finding] if of_one_type else [other for other in findings if other["loc"][0] == key]
    which = f"value {rest[0] + 1} of `{key}`" if of_one_type else f"`{key}`"
    expected = " or ".join(dict.fromkeys(_expected(key, each) for each in of_key))
    return f"{where}: {which} must be {expected}, but is {short(dumps(finding['input']))}."


def _expected(key: str, finding: Mapping[str, Any]) -> str:
    if key == "time":
        return "a number and a unit, such as 30m or 2h"
    if key in MONEY_FIELDS:
        return "a number or [low, likely, high]"
    message: str = finding["msg"]
    return _EXPECTED.get(finding["type"], message).format(example=_example(key), **finding.get("ctx", {}))


def _where(path: Path, lines: dict[str, int], key) -> str:
    return f"{path}, line {lines[key]}" if key in lines else str(path)


def _all_settings() -> str:
    return f"the settings are {', '.join(ReportSettings.model_fields)}; `vpt config` explains them"


def _example(key: str) -> str:
    if key == "tasks":
        return f"[{_example_task()}]"
    if key == "language":
        return in_one_line(tuple(languages()))
    if key == "conditions":
        return "[{corruption: blur}]"
    if key == "limits":
        return "{accuracy: {at_least: 0.9}}"
    return in_one_line(ReportSettings.model_fields[key].default)
