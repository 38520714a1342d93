"""Tasks as a report tells of them: what an embedded task says of itself, in the language that is spoken now."""

from dataclasses import replace

from vptlib.data.tasks import TASKS, Task, load_task
from vptlib.report.words import from_catalogue


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


def texts_of_tasks() -> list[str]:
    """All texts that `told_task` needs in each language."""
    return list(dict.fromkeys(text for task in TASKS.values() for text in (task.title, task.licence, task.source)))
