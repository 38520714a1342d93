"""The distance of tasks from pre-training, and whether it predicted which method won: measured, not assumed.

Each task gets the distance of its images from reference images, and three scores that need no training. All use
features of the frozen backbone. The table also has the accuracy of VPT-deep and of full fine-tuning from the studies.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vptlib.data.files import LazyImages
from vptlib.data.preparing import ImageSet, prepare
from vptlib.data.splits import fixed_test
from vptlib.data.tasks import load_reference, load_task
from vptlib.errors import UserError
from vptlib.evidence.similarity import frechet_distance_at_infinity, h_score, knn_accuracy, log_me, transfer_table
from vptlib.study.study import Study
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.training import frozen_features

SCORES = {"knn": knn_accuracy, "log_me": log_me, "h_score": h_score}


def tasks_and_pretraining(studies: Sequence[Study], reference: str, images: int = 500) -> pd.DataFrame:
    """A row for each finished study: distance and scores, quadrant, what it predicts, and what was measured.

    Args:
        studies: on one backbone, with runs of "vpt-deep" and "full".
        reference: images to measure the distance from (`vptlib.data.tasks.load_reference`).
        images: used of each set, at most; the same number of each, because the distance depends on it.

    Returns:
        `vptlib.evidence.similarity.transfer_table` of the columns task, objective, distance (squared Fréchet,
        extrapolated), distance_error (its standard error), knn, log_me, h_score, vpt and full (fractions, at the
        largest size).

    Raises:
        UserError: fewer than two studies: near and far have a meaning only among tasks.
    """
    if len(studies) < 2:
        raise UserError("one task alone is not near or far: compare two or more, or leave out `reference`.")
    probe = studies[0].build("linear")
    sets = [load_reference(reference), *(load_task(study.task).train for study in studies)]
    images = min(images, *map(len, sets))
    away, *features = [_features(probe, one, images) for one in sets]
    rows = [_row(study, away, *found) for study, found in zip(studies, features, strict=True)]
    return transfer_table(pd.DataFrame(rows))


def _features(probe: AdaptedModel, images: ImageSet | LazyImages, count: int) -> tuple[np.ndarray, np.ndarray]:
    """What the head reads of `count` images, `N F`, and their labels `N`."""
    chosen = images.select(fixed_test(images.labels, count))
    return frozen_features(probe, prepare(chosen, preprocessing(probe.vit))).tensors[0].numpy(), chosen.labels


def _row(study: Study, away: tuple[np.ndarray, np.ndarray], features: np.ndarray, labels: np.ndarray) -> dict:
    runs = study.runs()
    last = runs[runs["n"] == study.sizes[-1]].groupby("method")["accuracy"].mean()
    distance = frechet_distance_at_infinity(features, away[0])
    return {
        "task": study.task,
        "objective": load_task(study.task).objective,
        "distance": distance.value,
        "distance_error": distance.error,
        **{name: score(features, labels) for name, score in SCORES.items()},
        "vpt": last["vpt-deep"],
        "full": last["full"],
    }
