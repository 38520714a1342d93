"""The layers of a task's chapter, each with a heading and an anchor, and the contents list that leads to them."""

import hashlib
import re
from collections.abc import Sequence

from IPython.display import HTML

from vptlib.data.readers import is_spec, short_name
from vptlib.data.tasks import Task
from vptlib.data.vtab import vtab_name
from vptlib.evidence.recommendation import Recommendation
from vptlib.report.sections.basic import colours_of, heading, part
from vptlib.report.told import told_task
from vptlib.report.words import gettext as _
from vptlib.study.study import Study

FINDINGS, PLAN, RESULTS, MISTAKES, ROBUSTNESS, EXPLANATIONS, MONEY, DATA, PROTOCOL, VERSIONS, NOT_DONE = LAYERS = (
    "findings",
    "plan",
    "results",
    "mistakes",
    "robustness",
    "explanations",
    "money",
    "data",
    "protocol",
    "versions",
    "not-done",
)
QUALITY = "quality"  # the layer of `vptlib.report.sections.quality`, which brings its own heading
# The anchors of chapters that are not about one task.
WORDS_USED, PUBLISHED, PRETRAINING = "words-used", "published", "tasks-and-pre-training"
RECORD, AGAIN = "record-of-forecasts", "again"


def layer_titles() -> dict[str, str]:
    """Layer → its heading."""
    return {
        FINDINGS: _("What a reader should know first"),
        PLAN: _("The plan in stages"),
        RESULTS: _("Results"),
        MISTAKES: _("What it gets wrong"),
        ROBUSTNESS: _("Under harder conditions"),
        EXPLANATIONS: _("What the models look at, and whether to believe it"),
        MONEY: _("What it costs"),
        DATA: _("The images"),
        PROTOCOL: _("Rules of the comparison, and whether it was fair"),
        VERSIONS: _("Versions and fingerprints"),
        NOT_DONE: _("What was not done"),
    }


def anchor(task: str) -> str:
    """The id of a task's chapter: no blanks, no path of this machine, another for each task.

    Args:
        task: as a study names it: an embedded task, or the place of the user's own images.
    """
    if not is_spec(task):
        return task
    name = re.sub(r"[^\w-]+", "-", short_name(task)).strip("-").lower() or "task"
    return f"{name}-{hashlib.sha256(task.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"


def layer_anchor(task: str, layer: str) -> str:
    """The id of a layer's heading."""
    return f"{anchor(task)}-{layer}"


def layer_heading(task: str, layer: str) -> HTML:
    """The heading of a layer of the task's chapter."""
    return heading(layer_titles()[layer], 3, layer_anchor(task, layer))


def contents(studies: Sequence[Study], placed: bool = False) -> HTML:
    """The list of all chapters, with links to all layers of all tasks.

    Args:
        studies: one for each task.
        placed: whether there is a chapter on tasks and pre-training.
    """
    published = any(vtab_name(study.task) for study in studies)
    first = [(PUBLISHED, published_title())] if published else []
    first += [(PRETRAINING, pretraining_title())] if placed else []
    last = [
        (RECORD, _("How often forecasts with more labels were right")),
        (WORDS_USED, _("Words used here")),
        (AGAIN, _("How to repeat this")),
    ]
    tasks = [(anchor(study.task), told_task(study.task).title, _layers_of(study.task)) for study in studies]
    alone = [[(place, head, []) for place, head in chapters] for chapters in (first, last)]
    return part("contents", chapters=[*alone[0], *tasks, *alone[1]])


def _layers_of(task: str) -> list[tuple[str, str]]:
    titles = layer_titles() | {QUALITY: _("For quality departments")}
    return [(layer_anchor(task, layer), head) for layer, head in titles.items()]


def published_title() -> str:
    """The heading of the chapter on published figures."""
    return _("Beside the published figures")


def pretraining_title() -> str:
    """The heading of the chapter on the tasks' distance from pre-training."""
    return _("Tasks and pre-training")


def chapter_opening(task: Task, advice: Recommendation) -> HTML:
    """Heading and answer of one task's chapter, and links to the words that it uses."""
    terms = {
        "word-labelled": _("Labelled images"),
        "word-accuracy": _("Accuracy"),
        "word-points": _("Points"),
        "word-interval": _("95\u202f% interval"),
        "word-training": _("Training run, seed"),
    }
    place, colours = anchor(task.name), colours_of(advice)
    return part("task_opening", anchor=place, task=task, advice=advice, colours=colours, terms=list(terms.items()))
