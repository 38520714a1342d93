"""The YAML file behind a report: read, checked, and each mistake reported as one sentence with its line and its fix.

The settings of the study are the fields of `vptlib.Study` itself, with its types and defaults. The report adds a title,
the tasks, the margin of the decision and the size of the GradCAM page.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from json import dumps
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from vptlib.data.conditions import Conditions
from vptlib.data.readers import expanded, is_spec, resolved
from vptlib.data.tasks import PHOTOGRAPHS, TASKS, task_is_available
from vptlib.errors import UserError
from vptlib.evidence.decision import FULL, PROMPT
from vptlib.study.study import Study
from vptlib.tuning.methods import METHODS
from vptlib.wording import did_you_mean

# What the report sets side by side; the other methods are there for comparison.
COMPARED = (PROMPT, FULL)


class _ReportOnly(BaseModel):
    """What a report needs beyond the study.

    Attributes:
        title: over the first page.
        tasks: embedded tasks, or the place of your own images (`vptlib.data.readers`), one study each; `vtab:ROOT` is
            all 19 of VTAB-1k.
        margin: a difference in accuracy, as a fraction, that would matter to the reader.
        images_per_cell: test images in each of the four cells of the GradCAM page.
        conditions: harder ones (`vptlib.data.conditions.Conditions`); the largest size is run under each of them too.
        reference: images to measure the tasks' distance from, "photographs" or a task; "" for none. See
            `vptlib.evidence.pretraining_distance`.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str = "Visual prompt tuning or full fine-tuning?"
    tasks: tuple[str, ...] = Field(min_length=1)
    margin: float = Field(0.01, gt=0, lt=1)
    images_per_cell: int = Field(2, ge=1, le=4)
    conditions: tuple[dict[str, str | int | float], ...] = ()
    reference: str = ""


def _study_fields() -> dict[str, Any]:
    """Type and default of each field of `Study`, except the task: a report may have several."""
    types = get_type_hints(Study)
    return {field.name: (types[field.name], field.default) for field in fields(Study) if field.name != "task"}


_Settings = create_model("_Settings", __base__=_ReportOnly, **_study_fields())


@dataclass(frozen=True)
class ReportConfig:
    """A checked configuration.

    Attributes:
        path: the file it came from.
        settings: its values, as a pydantic model with an attribute for each key, those of the study included.
    """

    path: Path
    settings: _ReportOnly

    @property
    def study_settings(self) -> dict[str, Any]:
        """The keyword arguments of `Study` other than the task, as plain JSON values."""
        return self.settings.model_dump(mode="json", include=set(_study_fields()))

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
    text = _read(path)
    values, lines = _parse(path, text)
    if isinstance(values.get("tasks"), str) and values["tasks"].startswith("vtab:"):  # one name for 19 tasks
        values["tasks"] = [values["tasks"]]
    try:
        settings = _Settings.model_validate_json(dumps(values, default=str))
    except ValidationError as error:
        findings = sorted(error.errors(), key=lambda finding: finding["type"] != "extra_forbidden")
        raise UserError(_sentence(path, lines, findings[0])) from error
    own: dict[str, Any] = {"tasks": _tasks(settings.tasks, path, lines)}
    if is_spec(settings.reference):
        own["reference"] = resolved(settings.reference, path.parent)
    config = ReportConfig(path, settings.model_copy(update=own))
    _check_names(config, lines)
    return config


def check_material(config: ReportConfig) -> None:
    """Load tasks and backbone once, and find out whether the tasks can give the sizes.

    Raises:
        UserError: a task or backbone that cannot be had, an image size or depth that the backbone does not have,
            sizes larger than the data, classes with too few images.
    """
    for study in [*config.studies(), *config.harder_studies()]:
        try:
            study.check()
        except UserError as error:
            raise UserError(f"{config.path}: task {study.task!r}: {error}") from error


def _tasks(names: tuple[str, ...], path: Path, lines: dict[str, int]) -> tuple[str, ...]:
    """Embedded tasks by name, images of the user's own by their whole path; all 19 for the folder of VTAB-1k."""
    try:
        return tuple(
            task for name in names for task in (expanded(resolved(name, path.parent)) if is_spec(name) else [name])
        )
    except UserError as error:
        raise UserError(f"{_where(path, lines, 'tasks')}: {error}") from error


# ---- reading --------------------------------------------------------------------------------------------------


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        others, in_folder = [p.name for p in path.parent.glob("*.y*ml")], lambda name: str(path.parent / name)
        hint = did_you_mean(path.name, others, "name an existing YAML file.", written=in_folder)
        raise UserError(f"there is no file {path}: {hint}") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder: name a YAML file.") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise UserError(f"{path} cannot be read ({reason}): name a YAML file that can.") from error


def _parse(path: Path, text: str) -> tuple[dict, dict[str, int]]:
    """The values of the file, and the line of each key."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        what = getattr(error, "problem", None) or "a character that YAML does not allow"
        raise UserError(f"{where}: this is not YAML ({what}): fix that line.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold `key: value` lines, such as `tasks: [{_example_task()}]`.")
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if key.value in lines:
            raise UserError(
                f"{path}, line {key.start_mark.line + 1}: `{key.value}` is there already on line {lines[key.value]}: "
                "delete one of the two."
            )
        lines[key.value] = key.start_mark.line + 1
    return values, lines


def _example_task() -> str:
    return next(iter(TASKS))


# ---- names ----------------------------------------------------------------------------------------------------


def _check_names(config: ReportConfig, lines: dict[str, int]) -> None:
    settings, methods, path = config.settings, config.study_settings["methods"], config.path
    embedded = tuple(task for task in settings.tasks if not is_spec(task))
    _check_known(_where(path, lines, "tasks"), "task", embedded, TASKS, "`vpt tasks` lists them")
    _check_known(_where(path, lines, "methods"), "method", methods, METHODS, f"choose from {', '.join(METHODS)}")
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
    if settings.reference and not is_spec(settings.reference):
        where, known = _where(path, lines, "reference"), (PHOTOGRAPHS, *TASKS)
        _check_known(where, "reference", (settings.reference,), known, f"take {PHOTOGRAPHS!r} or a task")
    try:
        config.studies()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _check_conditions(config: ReportConfig, where: str) -> None:
    names = [field.name for field in fields(Conditions)]
    for changes in config.settings.conditions:
        _check_known(where, "condition", changes, names, f"choose from {', '.join(names)}")
        _check_condition(where, changes)


def _check_condition(where: str, changes: dict[str, Any]) -> None:
    try:
        harder = Conditions(**changes)
    except (UserError, TypeError) as error:
        raise UserError(f"{where}: {changes} cannot be a condition: {error}") from error
    if not harder.facts():
        raise UserError(f"{where}: {changes} changes nothing: give label_noise, imbalance or corruption.")


def _check_known(where: str, kind: str, names: Collection[str], known: Collection[str], otherwise: str) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"{where}: there is no {kind} {name!r}: {_hint(name, known, otherwise)}")


def _hint(name: str, known: Collection[str], otherwise: str) -> str:
    return did_you_mean(name.lower(), known, f"{otherwise}.", least=0.5)


# ---- pydantic's findings as sentences -------------------------------------------------------------------------

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "tuple_type": "a list such as {example}",
    "too_short": "a list with at least one value",
    "finite_number": "a finite number",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "greater_than": "above {gt}",
    "less_than": "below {lt}",
    "literal_error": "{expected}",
}


def _sentence(path: Path, lines: dict[str, int], finding: Mapping[str, Any]) -> str:
    """One finding of pydantic as one sentence with file, line, key and fix."""
    key, *rest = finding["loc"]
    where = _where(path, lines, key)
    if finding["type"] == "extra_forbidden":
        return f"{where}: `{key}` is not a setting: {_hint(str(key), _Settings.model_fields, _all_settings())}"
    if finding["type"] == "missing":
        return f"{where}: `{key}` is missing: add a line such as `{key}: {_example(key)}`."
    message: str = finding["msg"]
    expected = _EXPECTED.get(finding["type"], message).format(example=_example(key), **finding.get("ctx", {}))
    which = f"value {rest[0] + 1} of `{key}`" if rest and isinstance(rest[0], int) else f"`{key}`"
    return f"{where}: {which} must be {expected}, but is {dumps(finding['input'])}."


def _where(path: Path, lines: dict[str, int], key) -> str:
    return f"{path}, line {lines[key]}" if key in lines else str(path)


def _all_settings() -> str:
    return f"the settings are {', '.join(_Settings.model_fields)}"


def _example(key: str) -> str:
    if key == "tasks":
        return f"[{_example_task()}]"
    default = _Settings.model_fields[key].default
    return f"[{', '.join(map(str, default))}]" if isinstance(default, tuple) else str(default)
