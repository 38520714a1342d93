"""The part of a report about the images: origin, licence, classes, lots, leakage, and what was left out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import HTML

from vptlib.data.findings import Finding
from vptlib.data.tasks import Task, findings_of
from vptlib.report.judged import commonest_share
from vptlib.report.sections.basic import facts, folding_table, heading
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.wording import apart

VTAB_GROUPS = ("natural", "specialised", "structured")
CHECK = "vpt data check"
_NAMED = 10  # classes that a line names


def images_part(task: Task, doubles: Finding | None) -> list[HTML]:
    """Where the images come from and what their licence allows; classes; lots and leakage; what was left out.

    Args:
        task: whose images they are.
        doubles: what was found of test images among the labelled ones; None if they were not searched.
    """
    said, nothing = remarks(task), {_("Left out"): _("Nothing was left out when the images were read.")}
    return [
        facts(about(task)),
        heading(_("Classes and how many images they have")),
        *_classes(task),
        heading(_("Lots, leakage, and what was left out")),
        facts(_lots(task) | _leakage(doubles) | (said or nothing)),
    ]


def about(task: Task) -> dict[str, str]:
    """Label → text: classes, numbers of images, source and licence."""
    numbers = _("{train} images to train on, {test} to test on.")
    floor = _("{share} accuracy, by always naming the commonest class.")
    return {
        _("Classes"): _("{n} ({names})").format(n=words.whole(task.num_classes), names=_some(task.class_names)),
        **_group(task),
        _("To draw from"): numbers.format(train=words.whole(len(task.train)), test=words.whole(len(task.test))),
        _("Without looking"): floor.format(share=words.per_cent(commonest_share(task))),
        _("Source"): task.source,
        _("Licence"): task.licence,
    }


def _group(task: Task) -> dict[str, str]:
    """The task's group in the VTAB benchmark; nothing for images that are not in it."""
    if task.group not in VTAB_GROUPS:
        return {}
    text = _("{group}, {objective} (the groups of the VTAB benchmark).")
    names = {
        "natural": _("Natural images"),
        "specialised": _("Specialised images"),
        "structured": _("Structured images"),
        "classification": _("classification"),
        "location": _("location"),
        "orientation": _("orientation"),
        "counting": _("counting"),
        "distance": _("distance"),
    }
    return {_("Group"): text.format(group=names[task.group], objective=names[task.objective])}


def _some(names: Sequence[str]) -> str:
    shown = words.series(map(apart, names[:_NAMED]))
    if len(names) <= _NAMED:
        return shown
    return _("{names} and {n} more").format(names=shown, n=words.whole(len(names) - _NAMED))


def _classes(task: Task) -> list[HTML]:
    """Images of each class, the rarest at test first."""
    numbers = [np.bincount(part.labels, minlength=task.num_classes) for part in (task.train, task.test)]
    order = np.argsort(numbers[1], kind="stable")
    rows = [[task.class_names[k], *(words.whole(counts[k]) for counts in numbers)] for k in order]
    caption = _("Images of each class, the rarest at test first")
    return folding_table(pd.DataFrame(rows, columns=[_("Class"), _("To train on"), _("To test on")]), caption)


def _lots(task: Task) -> dict[str, str]:
    """What is known of lots, sites or groups."""
    if task.train_groups is None or task.test_groups is None:
        unknown = _("Not known: the images name no lot, site or group, so whether one is on both sides is not known.")
        return {_("Lots"): unknown}
    train, test = np.unique(task.train_groups), np.unique(task.test_groups)
    shared = np.intersect1d(train, test)
    apart = (
        _("{n} of them are on both sides, so the test is easier than work with new ones.")
        if len(shared)
        else _("None is on both sides.")
    ).format(n=words.whole(len(shared)))
    lots = _("{train} to train on, {test} to test on.").format(
        train=words.whole(len(train)), test=words.whole(len(test))
    )
    return {_("Lots"): words.sentences(lots, apart)}


def _leakage(doubles: Finding | None) -> dict[str, str]:
    """Whether test images were also trained on."""
    if doubles is None:
        return {_("Leakage"): _("Doubles were not searched for. This does it: {command}").format(command=CHECK)}
    return {_("Leakage"): words.sentence(doubles.what)}


def remarks(task: Task) -> dict[str, str]:
    """What has to be said of the task's images: how they were read, and what may mislead."""
    numbered = enumerate(findings_of(task), 1)
    return {f"{level_of(finding.level)} {k}": words.sentence(finding.what) for k, finding in numbered}


def level_of(code: str) -> str:
    """The level of a finding about images, as a label."""
    return {"error": _("Error"), "warning": _("Warning"), "note": _("Note")}[code]
