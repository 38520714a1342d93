"""The part of a report that lets its figures be traced: libraries, fingerprints of what went in, ids of runs."""

from collections.abc import Mapping

import pandas as pd
from IPython.display import HTML

from vptlib.data.tasks import Task
from vptlib.report.sections.basic import facts, folded, table
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.study.material import material_of
from vptlib.study.study import Study
from vptlib.tuning.backbones import fingerprint


def fingerprints_part(study: Study, task: Task, runs: pd.DataFrame, versions: Mapping[str, str]) -> list[HTML]:
    """Fingerprints of images and backbone, libraries, and folded away every run with its id.

    Args:
        study, task, runs: what the chapter is about.
        versions: library → version.
    """
    known = {
        _("Images (SHA-256)"): task.fingerprint,
        _("Backbone"): study.backbone,
        _("Weights of the backbone (SHA-256)"): fingerprint(material_of(study).vit),
        _("Libraries"): words.series(f"{name} {version}" for name, version in versions.items()),
    }
    head = _("Runs in the store of runs, by their ids: {n}").format(n=words.whole(len(runs)))
    return [facts(known), folded(head, [_runs(runs)])]


def _runs(runs: pd.DataFrame) -> HTML:
    rows = [
        [words.title(run.method), words.whole(run.n), str(run.seed), words.per_cent(run.accuracy), run.run_id]
        for run in runs.itertuples()
    ]
    columns = [_("Method"), _("Labelled images"), _("Seed"), _("Accuracy"), _("Id of the run")]
    return table(pd.DataFrame(rows, columns=columns), _("Each line is one training run"))
