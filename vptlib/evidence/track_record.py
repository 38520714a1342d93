"""How often the rule of `vptlib.evidence.questions` was right where the truth is known: the record that reports print.

The rule answers on planted tables of runs. Their truths and studies are drawn from a prior, which is described in
reports/benchmarks/judgement.md. `make record` counts anew and writes track_record.json, next to this file. A test fails
if the rule has changed since.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from vptlib.evidence.contest import LEVELS
from vptlib.statement import Statement, statement

# Fewer answers of a level say nothing of how often it is right.
FEWEST_ANSWERS = 30
FILE = Path(__file__).with_name("track_record.json")


def record_of(level: str) -> Statement:
    """How often an answer with this confidence was right, of those that name a method or say that nothing works.

    Args:
        level: one of `vptlib.evidence.contest.LEVELS`.

    Returns:
        The statement "record_of_rule" with level, tables (all that were judged), answers (of this level), right (their
        number) and low, high (95 % interval of the share that is right, a fraction; Clopper and Pearson, Biometrika 26,
        1934). With fewer than `FEWEST_ANSWERS` answers of this level: "record_too_small" with level, tables, answers.

    Raises:
        ValueError: there is no such level.
    """
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}, but must be one of {', '.join(LEVELS)}.")
    record = _read(FILE)
    found = record["levels"].get(level, {"answers": 0})
    if found["answers"] < FEWEST_ANSWERS:
        return statement("record_too_small", level=level, tables=record["tables"], answers=found["answers"])
    return statement(
        "record_of_rule", level=level, tables=record["tables"], answers=found["answers"], right=found["right"],
        low=found["low"], high=found["high"],
    )  # fmt: skip


@lru_cache(maxsize=1)
def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())
