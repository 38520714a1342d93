"""`task_chooser`: what a task's images look like, and how to run the course on them."""

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from vptlib.course.widgets.view import DPI, View
from vptlib.data.tasks import TASKS, Task, load_task, task_is_available
from vptlib.errors import UserError
from vptlib.report.fonts import wrapped
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.tuning.backbones import EMBEDDED, available_backbones

_WIDTH = 8.8  # inches


def task_chooser(task: str = "fashion-mnist", backbone: str = EMBEDDED) -> View:
    """What a task's images look like, what a backbone is, and how to run the course on them.

    The choice is in `view.controls["task"].value` and `view.controls["backbone"].value`.

    Args:
        task, backbone: chosen first; the tasks are those available on this machine.

    Raises:
        UserError: a task that is not available here.
    """
    here = [name for name in TASKS if task_is_available(name)[0]]
    if task not in here:
        raise UserError(f"task {task!r} is not available here: take one of {', '.join(here)}.")
    backbones = {name: about for name, about in available_backbones().items() if name.islower()}
    backbones.setdefault(backbone, _("chosen in the parameters cell"))

    def draw(task: str, backbone: str) -> Figure:
        return _task_figure(load_task(task), backbone, backbones[backbone])

    options = {"style": {"description_width": "initial"}, "layout": {"width": "26em"}}
    return View(
        draw,
        {
            "task": ipywidgets.Dropdown(description=_("task"), options=here, value=task, **options),
            "backbone": ipywidgets.Dropdown(
                description=_("backbone"), options=list(backbones), value=backbone, **options
            ),
        },
        _("Images of the task {task}; {tasks} tasks and {backbones} backbones to choose from.").format(
            task=task, tasks=len(here), backbones=len(backbones)
        ),
    )


def _task_figure(task: Task, backbone: str, about: str) -> Figure:
    """The first image of each class (at most ten), the facts below, and the command that runs the course on them."""
    classes = min(task.num_classes, 10)
    figure = Figure(figsize=(_WIDTH, 2.9), dpi=DPI)
    for label in range(classes):
        axis = figure.add_axes((0.01 + 0.099 * label, 0.5, 0.09, 0.36))
        first = int(np.flatnonzero(task.train.labels == label)[0])
        axis.imshow(task.train.images[first])
        axis.set_title(wrapped(task.class_names[label], 0.95, 8, lines=1), fontsize=8, parse_math=False)
        axis.set_axis_off()
    counted = _("{classes} classes, {train} training and {test} test images").format(
        classes=task.num_classes, train=words.whole(len(task.train)), test=words.whole(len(task.test))
    )
    command = f"vpt run 02 -y '{{task: {task.name}, backbone: {backbone}}}'"
    lines = [
        f"{task.title} · {task.group} · {counted} · {task.licence}",
        f"{backbone} · {about}",
        _("The course on them: {command}").format(command=command),
    ]
    text = "\n".join(wrapped(line, _WIDTH - 0.2, 9) for line in lines)
    figure.text(0.012, 0.42, text, fontsize=9, va="top", linespacing=1.6)
    return figure
