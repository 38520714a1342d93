"""The settings of a report's YAML file: types and defaults, checked by pydantic, and the table that explains them.

The settings of the study are the fields of `vptlib.Study` itself. Names, types and defaults come from the classes; what
a setting means comes from their docstrings, so `vpt config` and docs/settings.md cannot differ from the program.
"""

import inspect
import re
import types
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from vptlib.data.conditions import Conditions
from vptlib.evidence.prices import ASSUMED, Prices, Span, bounds_in_words
from vptlib.report.words import ENGLISH, languages
from vptlib.study import done_rules
from vptlib.study.plan import CANDIDATES, CHOICES, RANGES, STEPS, Plan
from vptlib.study.published_rules import DONE

# Defaults that the rules of the study give: under "until done", and under the others.
_BY_THE_RULES = {"steps": (done_rules.MOST_STEPS, STEPS), "candidates": (done_rules.CANDIDATES, CANDIDATES)}
_RANGES = RANGES | {"severity": (1, 5), "images_per_cell": (1, 4)}
_CHOICES = CHOICES | {"language": tuple(languages())}
_DICTS = {"title": "a text for each language", "conditions": "mappings", "limits": "mappings"}
_BOUNDS = {
    "accuracy_needed": "above 0, below 1",
    "accuracy_today": "from 0, below 1",
    "margin": "above 0, below 1",
    "label_noise": "from 0, below 1",
    "imbalance": "of 1 or more",
}


TITLE = "Visual prompt tuning or full fine-tuning?"


class Strict(BaseModel):
    """Settings that must have their own type, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)
    """How pydantic checks them."""


class ReportOnly(Strict):
    """What a report needs beyond the study.

    Attributes:
        title: over the first page; or one for each language, such as `{en: "Labels", ja: "ラベル"}`.
        language: of the report, or a list of several: the first is index.html, another such as index.ja.html, and the
            pages link to each other. Nothing is computed again for another.
        tasks: embedded tasks, or the place of your own images (`vptlib.data.readers`), one study each; `vtab:ROOT` is
            all 19 of VTAB-1k.
        margin: a difference in accuracy, as a fraction, that would matter to the reader.
        accuracy_needed: share of right answers that the work needs, a fraction; null if none was set.
        accuracy_today: share of right answers of the present way of working, a fraction; null if there is none.
        images_per_cell: test images in each of the four cells of the GradCAM page.
        conditions: harder ones, each a mapping of `label_noise`, `noise`, `imbalance`, `corruption` and `severity`; the
            largest size is run under each of them too.
        reference: images to measure the tasks' distance from, "photographs" or a task; "" for none. See
            `vptlib.evidence.pretraining_distance`.
        time: how long the report may take, a number and a unit (s, m, h or d), such as "30m" or "2h"; "" makes all
            runs. `vpt report --time` overrides it.
        limits: rates that were fixed before the test, as fractions: `miss_rate` or `false_alarm_rate` with `class` and
            `at_most`, `recall` or `precision` with `class` and `at_least`, `accuracy` with `at_least`. For
            `miss_rate` and `false_alarm_rate`, `class` is the defect, or a list of defects. Several limits of one kind
            are a list. With `every: group` a limit must hold in each group of test images (lot, site, patient) by
            itself. These are tested only when a version is promoted: `no_worse_than_production` with `by`, a fraction
            of accuracy; `calibration_error` with `at_most`, a fraction; `latency` with `at_most`, milliseconds for one
            image; `robustness` with `corruption`, `severity` and `at_least`; `explanations` with `maps` and `checks`.
            See `vptlib.evidence.limits`.
        cluster: where runs are made: "" on this machine; "local:4" in so many processes here; "tcp://HOST:8786" or
            "tls://HOST:8786" by the workers of a Dask scheduler; "slurm:8" in so many jobs of Slurm, with
            `?queue=…&account=…&memory=32GB&walltime=12:00:00&gpus=1` as wanted; "kubernetes:NAME" by that Dask cluster.
            `vpt report --cluster` overrides it. See docs/from_laptop_to_cluster.md.
        currency: of all prices, the three letters of ISO 4217, such as "JPY" or "USD"; "" names none.
    """

    title: str | dict[str, str] = TITLE
    language: str | Annotated[tuple[str, ...], Field(min_length=1)] = ENGLISH
    tasks: tuple[str, ...] = Field(min_length=1)
    margin: float = Field(0.01, gt=0, lt=1)
    accuracy_needed: float | None = Field(None, gt=0, lt=1)
    accuracy_today: float | None = Field(None, ge=0, lt=1)
    images_per_cell: int = Field(2, ge=1, le=4)
    conditions: tuple[dict[str, str | int | float], ...] = ()
    reference: str = ""
    time: str = ""
    limits: dict[str, Any] = {}
    cluster: str = ""
    currency: str = ""


def _fields_of(kind: type) -> dict[str, Any]:
    """Type and default of each field of a dataclass."""
    hints = get_type_hints(kind)
    return {field.name: (hints[field.name], field.default) for field in fields(kind)}


# A report may have several tasks, so it has a setting of its own for them.
STUDY_FIELDS = {name: field for name, field in _fields_of(Plan).items() if name != "task"}
# Each a number, or [low, likely, high].
MONEY_FIELDS = _fields_of(Prices)
ReportSettings = create_model("ReportSettings", __base__=ReportOnly, **STUDY_FIELDS, **MONEY_FIELDS)
# One entry of `conditions`.
ConditionSettings = create_model("ConditionSettings", __base__=Strict, **_fields_of(Conditions))


# ---- the table --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SettingRow:
    """One line of the table.

    Attributes:
        name: as written in the YAML file.
        kind: what may be written there, with its range or its choices.
        default: as written in YAML, or what decides if nothing is written.
        meaning: what it is for, with its unit.
    """

    name: str
    kind: str
    default: str
    meaning: str


def settings_table() -> list[SettingRow]:
    """All settings, those of the report first."""
    meanings = attributes_of(ReportOnly) | attributes_of(Plan) | attributes_of(Prices)
    return [
        SettingRow(name, _kind(name, field.annotation), _default(name, field), meanings[name])
        for name, field in ReportSettings.model_fields.items()
    ]


def settings_page() -> str:
    """The table as a page in Markdown: docs/settings.md."""
    rows = [f"| `{row.name}` | {row.kind} | {row.default} | {row.meaning} |" for row in settings_table()]
    return "\n".join(
        [
            "# Settings of a report",
            "",
            "Every key of the YAML file that `vpt report` reads. Only `tasks` is needed. `vpt init` writes a file that",
            "fits your images, and `vpt config` prints this table.",
            "",
            "Values are read as YAML 1.2: dates, times and `no` are text, only `true` and `false` are truth values.",
            'Put text in quotes if it holds a `?`, or a colon and a space: `tasks: ["folder:photos?skip=unreadable"]`.',
            "Relative paths count from the folder of the YAML file.",
            "",
            "| key | value | default | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
            "This page is written by `make docs`, from the program itself.",
            "",
        ]
    )


def attributes_of(kind: type) -> dict[str, str]:
    """The section "Attributes" of a docstring: name → description on one line; names of one entry share it."""
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    entries = re.findall(r"^ {4}(\w[\w, ]*): (.+(?:\n {8}.+)*)", section, re.M)
    return {name.strip(): " ".join(text.split()) for names, text in entries for name in names.split(",")}


def _kind(name: str, annotation: Any) -> str:
    if name in MONEY_FIELDS:
        return f"number {bounds_in_words(name)}, or [low, likely, high]"
    parts = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    words = [_kind_of_part(name, part) for part in parts if part is not type(None)]
    if type(None) in parts:
        words.append("null")
    return " or ".join(dict.fromkeys(words))


def _kind_of_part(name: str, part: Any) -> str:
    if get_origin(part) is Annotated:
        return _kind_of_part(name, get_args(part)[0])
    if get_origin(part) is Literal:
        return f'"{get_args(part)[0]}"'
    if get_origin(part) is tuple:
        return f"list: {_kind_of_part(name, get_args(part)[0])}"
    if get_origin(part) is dict:
        return _DICTS[name]
    if part is int:
        least, most = _RANGES[name]
        return f"whole number from {least:,} to {most:,}"
    if part is float:
        return f"number {_BOUNDS[name]}"
    return ", ".join(f'"{choice}"' for choice in _CHOICES[name]) if name in _CHOICES else "text"


def _default(name: str, field: Any) -> str:
    if field.is_required():
        return "needed"
    if name in _BY_THE_RULES:
        done, others = _BY_THE_RULES[name]
        return f"`{done}`, or `{others}` where `rules` is not `{DONE}`"
    if name in MONEY_FIELDS:
        return _assumed(name)
    return f"`{in_one_line(field.default)}`"


def _assumed(name: str) -> str:
    """What stands in for a figure about money that is not given."""
    if name not in ASSUMED:
        return "none: it cannot be assumed"
    span, in_labels = ASSUMED[name]
    figures = f"{span.likely:g}" if span.low == span.high else _three(span)
    return f"assumed: {figures}{' times `label_price`' if in_labels else ''}"


def _three(span: Span) -> str:
    return f"[{', '.join(f'{end:g}' for end in span)}]"


def in_one_line(value: Any) -> str:
    """A default as it is written in YAML."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(in_one_line, value))}]"
    if isinstance(value, dict):
        return str(value)
    return {None: "null", "": '""'}.get(value, str(value))
