"""Embedded tasks and backbones as a report tells of them: in the language that is spoken now."""

from dataclasses import replace

from vptlib.data.tasks import TASKS, Task, load_task
from vptlib.report.words import from_catalogue
from vptlib.report.words import gettext as _
from vptlib.tuning.backbones import ORIGINS_IN_WORDS, origin


def told_task(name: str) -> Task:
    """The task of that name with title, licence and source in the report's language; the user's own stay as they are.

    Args:
        name: as for `vptlib.data.tasks.load_task`.

    Raises:
        UserError: as there.
    """
    task = load_task(name)
    if name not in TASKS:
        return task
    return replace(
        task, title=from_catalogue(task.title), licence=from_catalogue(task.licence), source=from_catalogue(task.source)
    )


def told_origin(backbone: str) -> tuple[str, str]:
    """Source and licence of its weights, as `vptlib.tuning.backbones.origin`, in the report's language."""
    source, licence = origin(backbone)
    name, colon, terms = licence.partition(": ")
    if colon:
        return from_catalogue(source), _("{name}: {text}").format(name=name, text=from_catalogue(terms))
    return from_catalogue(source), from_catalogue(licence)


def texts_told() -> list[str]:
    """All texts that these need in each language."""
    of_tasks = (text for task in TASKS.values() for text in (task.title, task.licence, task.source))
    return list(dict.fromkeys([*of_tasks, *ORIGINS_IN_WORDS]))
