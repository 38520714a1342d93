"""The end of a report: the commands that turn its answer into predictions."""

import re
import shlex
from pathlib import Path

from IPython.display import HTML

from vptlib.data.readers import is_spec, short_name
from vptlib.evidence.recommendation import NO_ANSWER, NOTHING_WORKS, Recommendation
from vptlib.report.sections.basic import part
from vptlib.report.words import words
from vptlib.statement import statement


def next_commands(report: str, task: str, several: bool) -> list[str]:
    """The commands after a report: the model as a file, answers to new images, a version under control.

    Args:
        report: its folder, as one would type it, not quoted.
        task: as the YAML file names it.
        several: whether the report has other tasks, too.
    """
    shown = short_name(task) if is_spec(task) else task
    name = re.sub(r"[^\w.-]+", "-", shown).strip(".-") or "model"
    which = f" --task {shlex.quote(shown)}" if several else ""
    return [
        f"vpt export {shlex.quote(report)} {name}.vpt{which}",
        f"vpt predict {name}.vpt NEW_IMAGES/ --out answers.csv",
        f"vpt prompts register {name}.vpt {name}",
    ]


def next_part(task: str, advice: Recommendation, report: str, several: bool) -> list[HTML]:
    """What to do after the report; nothing where no method is of use.

    Args:
        task, report, several: as for `next_commands`.
        advice: about the task.
    """
    if advice.choice in (NOTHING_WORKS, NO_ANSWER) or advice.method is None or not report:
        return []
    use, attempt = statement("next_step_use", method=advice.method), statement("next_step_try", method=advice.method)
    commands = next_commands(Path(report).as_posix(), task, several)
    sentence = words.sentence(use if advice.uses else attempt)
    return [part("commands", heading=words.NEXT_HEADING, sentence=sentence, commands=commands)]
