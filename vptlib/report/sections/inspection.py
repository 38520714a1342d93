"""The part of a report that says what a method gets wrong: classes, groups, limits, how sure it is, and the images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from PIL import Image, ImageOps

from vptlib.data.preparing import pictures_of
from vptlib.evidence.answers import Answers, Rate, answers_of, best_method
from vptlib.evidence.certainty import (
    Calibration,
    OperatingPoint,
    Selective,
    calibration,
    operating_curve,
    operating_point,
    selective,
    selective_curve,
)
from vptlib.evidence.limits import (
    FALSE_ALARM_RATE,
    MET,
    MISS_RATE,
    NOT_MET,
    Limit,
    Tested,
    left_for_promotion,
    limits_tested,
    read_limits,
)
from vptlib.evidence.mistakes import (
    ClassRates,
    about_classes,
    about_groups,
    class_rates,
    confused_pairs,
    confusion,
    wrong_images,
)
from vptlib.report.addresses import data_address
from vptlib.report.figure_html import figure
from vptlib.report.inspection_charts import (
    MOST_CLASSES,
    confusion_figure,
    operating_figure,
    reliability_figure,
    selective_figure,
)
from vptlib.report.sections.basic import (
    MOST_ROWS,
    facts,
    folding_table,
    heading,
    part,
    table,
    with_range,
)
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.statement import Statement, statement
from vptlib.study.material import material_of
from vptlib.study.study import Study
from vptlib.tuning.backbones import preprocessing
from vptlib.wording import apart

# How right the answers that a model gives by itself may have to be; those above its accuracy are looked at.
WANTED = (0.9, 0.95, 0.99)
MOST_CURVES, MOST_PICTURES, PICTURE_SIDE = 3, 6, 200
_SIGNS = {MET: ("✓", "holds"), NOT_MET: ("✗", "does-not-hold")}


def inspection_part(
    study: Study, runs: pd.DataFrame, method: str | None = None, limits: Mapping[str, Any] | None = None
) -> list[HTML]:
    """What the method gets wrong on the test images, from all its trainings at the largest size.

    Args:
        study: that the runs are of.
        runs: from `study.runs()`.
        method: the one to look at; by default the best at the largest size.
        limits: as in the YAML file; see `vptlib.evidence.limits.read_limits`.

    Raises:
        UserError: the method has no finished run, or a limit cannot be read.
    """
    found = Looked.at(study, runs, method, limits or {})
    return [
        *_limits(found),
        facts(dict(_facts(found))),
        heading(_("Class by class")),
        *_classes(found),
        *_confusion(found),
        *_sure(found),
        *_pictures(study, found),
    ]


@dataclass(frozen=True)
class Looked:
    """What was found out about one method's answers.

    Attributes:
        method, n: whose answers these are, with how many labelled images.
        limits: those that are rates.
        later: that some limits are tested at promotion, and which.
    """

    method: str
    n: int
    answers: Answers
    limits: list[Limit]
    later: list[Statement]

    @classmethod
    def at(cls, study: Study, runs: pd.DataFrame, method: str | None, limits: Mapping[str, Any]) -> "Looked":
        """The answers of a method at its largest size; of the best one where None is named."""
        method, task = method or best_method(runs), material_of(study).task
        truth = task.test.labels[study.test_items()]
        answers = answers_of(runs, method, task.class_names, truth, study.probabilities, task.group_names)
        n = int(runs.loc[runs["method"] == method, "n"].max())
        return cls(method, n, answers, read_limits(limits), left_for_promotion(limits))

    @cached_property
    def tested(self) -> list[Tested]:
        return limits_tested(self.answers, self.limits)

    @cached_property
    def rates(self) -> list[ClassRates]:
        return class_rates(self.answers)

    @cached_property
    def calibration(self) -> Calibration | None:
        return calibration(self.answers)

    @cached_property
    def selective(self) -> list[Selective]:
        """For the accuracies of `WANTED` that not all answers reach together anyway."""
        wanted = [each for each in WANTED if each > self.answers.right.mean()] or [WANTED[-1]]
        return [found for each in wanted if (found := selective(self.answers, each)) is not None]

    @cached_property
    def points(self) -> list[OperatingPoint]:
        """The thresholds for the limits of misses."""
        of_misses = [tested.limit for tested in self.tested if tested.limit.kind == MISS_RATE]
        asked = [(limit.classes, limit.value) for limit in of_misses if 0 < limit.value < 1][:MOST_CURVES]
        return [found for each in asked if (found := operating_point(self.answers, *each)) is not None]

    @property
    def defects(self) -> list[tuple[str, ...]]:
        """Each set of classes that a limit calls the defect."""
        kinds = (MISS_RATE, FALSE_ALARM_RATE)
        return list(dict.fromkeys(t.limit.classes for t in self.tested if t.limit.kind in kinds))[:MOST_CURVES]

    def findings(self) -> list[Statement]:
        """All in sentences but the limits: classes, groups, probabilities."""
        of_answers = [*about_classes(self.answers), *about_groups(self.answers), *self._about_probabilities()]
        return [*of_answers, *self.later]

    def _about_probabilities(self) -> list[Statement]:
        sure, calibrated = self.answers.sure, self.calibration
        if sure is None or calibrated is None:
            return [statement("no_probabilities")]
        fewer = sure.trainings < self.answers.trainings
        some = [statement("some_without_probabilities", trainings=sure.trainings, of=self.answers.trainings)]
        points = [point.finding() for point in self.points]
        return [*(some if fewer else []), calibrated.finding(), *self._by_itself(), *points]

    def _by_itself(self) -> list[Statement]:
        """The highest accuracy for which the model may answer anything by itself; the lowest if there is none."""
        possible = [found for found in self.selective if found.is_possible]
        return [found.finding() for found in (possible[-1:] or self.selective[:1])]


def inspection_summary(
    study: Study, runs: pd.DataFrame, method: str | None = None, limits: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The part of `summary.json` about what the method gets wrong: classes, limits, findings with their codes.

    Args and Raises: as for `inspection_part`.
    """
    found = Looked.at(study, runs, method, limits or {})
    limits_found = [
        {"verdict": tested.verdict} | tested.finding().plain() | {"sentence": words.sentence(tested.finding())}
        for tested in found.tested
    ]
    classes = [
        {"class": each.name, "images": each.recall.images, "taken_for": each.taken_for}
        | {f"recall{end}": value for end, value in _ends(each.recall).items()}
        | {f"precision{end}": value for end, value in _ends(each.precision).items()}
        for each in found.rates
    ]
    findings = [{"sentence": words.sentence(each)} | each.plain() for each in found.findings()]
    about = {"method": found.method, "n": found.n, "trainings": found.answers.trainings}
    return about | {"limits": limits_found, "classes": classes, "findings": findings}


def _ends(rate: Rate) -> dict[str, float | None]:
    return {
        "": rate.value if rate.cases else None,
        "_low": rate.low if rate.cases else None,
        "_high": rate.high if rate.cases else None,
    }


# ---- sentences --------------------------------------------------------------------------------------------------


def _labels() -> dict[str, str]:
    """Code of a finding → the label before its sentence."""
    return {
        "worst_class": _("Weakest class"),
        "classes_not_tested": _("Not tested"),
        "interval_of_rates": _("Intervals"),
        "worst_group": _("Weakest group"),
        "groups_too_small": _("Groups"),
        "no_probabilities": _("How sure it is"),
        "some_without_probabilities": _("Probabilities"),
        "calibrated": _("How sure it is"),
        "not_calibrated": _("How sure it is"),
        "answers_by_itself": _("By itself"),
        "answers_none": _("By itself"),
        "operating_point": _("Threshold"),
        "too_few_defects": _("Threshold"),
        "limits_at_promotion": _("At promotion"),
    }


def _facts(found: Looked) -> list[tuple[str, str]]:
    """A label and the sentences under it, in the order of the findings."""
    answers, labels = found.answers, _labels()
    right = answers.rate(answers.right, np.ones_like(answers.right))
    one = _("{method} with {n} labelled images, one training: {share} of {images} test images are right ({interval}).")
    several = _(
        "{method} with {n} labelled images, mean of {trainings} trainings: {share} of {images} test images are right "
        "({interval})."
    )
    looked_at = (one if answers.trainings == 1 else several).format(
        method=words.title(found.method),
        n=words.whole(found.n),
        trainings=answers.trainings,
        share=words.per_cent(right.value),
        images=words.whole(answers.images),
        interval=_range(right),
    )
    texts: dict[str, list[str]] = {_("Looked at"): [looked_at]}
    for each in found.findings():
        texts.setdefault(labels[each.code], []).append(words.sentence(each))
    return [(label, words.sentences(*sentences)) for label, sentences in texts.items()]


def _range(rate: Rate) -> str:
    return words.rate_interval(rate.low, rate.high)


def _limits(found: Looked) -> list[HTML]:
    """The limits with their verdicts; nothing where none was set."""
    if not found.tested:
        return []
    items = [(limit_of(tested), *_mark(tested), [("", words.sentence(tested.finding()))]) for tested in found.tested]
    caption = _(
        "Limits set in the YAML file before the runs, tested on {method} with {n} labelled images; its answer is the "
        "most probable class"
    ).format(method=words.in_prose(found.method), n=words.whole(found.n))
    return [part("verdicts", heads=[_("Limit"), _("Verdict"), _("Because")], items=items, caption=caption)]


def limit_of(tested: Tested) -> str:
    """The limit in words: "Misses of “scratch”: at most 2 %"."""
    limit = tested.limit
    return words.limit_in_words(limit.kind, limit.classes, limit.value, limit.each_group)


def _mark(tested: Tested) -> tuple[str, str]:
    """The kind of verdict, and a sign with its name."""
    sign, kind = _SIGNS.get(tested.verdict, ("?", "open"))
    return kind, f"{sign} {words.LIMIT_VERDICTS[tested.verdict]}"


# ---- classes ----------------------------------------------------------------------------------------------------


def _classes(found: Looked) -> list[HTML]:
    """Recall and precision of each class; of many, the weakest, and the rest folded away."""
    caption = _(
        "Recall: share of the class that is recognised. Precision: share of what is called so that is right. In "
        "brackets: 95\u202f% intervals"
    )
    if len(found.rates) <= MOST_ROWS:
        return [table(_class_rows(found.rates), caption)]
    there = sorted((rates for rates in found.rates if rates.recall.cases), key=lambda rates: rates.recall.value)
    weakest = _("The weakest of {classes} classes. {explained}").format(
        classes=words.whole(len(found.rates)), explained=caption
    )
    return folding_table(_class_rows(there), weakest)


def _class_rows(rates: Sequence[ClassRates]) -> pd.DataFrame:
    rows = [
        [each.name, words.whole(each.recall.images), _cell(each.recall), _cell(each.precision), each.taken_for or "–"]
        for each in rates
    ]
    columns = [_("Class"), _("Test images"), _("Recall"), _("Precision"), _("Most often called")]
    return pd.DataFrame(rows, columns=columns)


def _cell(rate: Rate) -> str:
    """ "82.3 % (78.0 to 86.1)"; a dash where nothing was called so, or no image is there."""
    return with_range(rate.value, rate.low, rate.high) if rate.cases else "–"


def _confusion(found: Looked) -> list[HTML]:
    """The confusion matrix of a few classes; of many, the commonest mistakes."""
    answers, pairs = found.answers, confused_pairs(found.answers)
    if len(answers.class_names) <= MOST_CLASSES:
        worst = _pairs_in_words(pairs.head(3)) or _("No image is wrong.")
        caption = _("{worst} Each row holds the test images of one class; what lies off the diagonal is wrong.")
        alt = _("Confusion matrix. {worst}").format(worst=worst)
        counts = confusion(answers)
        data = pd.DataFrame(counts, columns=list(answers.class_names))
        data.insert(0, _("It is"), list(answers.class_names), allow_duplicates=True)
        draw = lambda: confusion_figure(counts, answers.class_names, answers.trainings)  # noqa: E731
        return [figure(draw, caption.format(worst=worst), alt, data, "confusion")]
    rows = [
        [row.truth, row.prediction, words.plain(row.images), words.per_cent(row.share)] for row in pairs.itertuples()
    ]
    columns = [_("It is"), _("It was called"), _("Images"), _("Share of the class")]
    return folding_table(pd.DataFrame(rows, columns=columns), _("The commonest mistakes, per training")) if rows else []


def _pairs_in_words(pairs: pd.DataFrame) -> str:
    one = _("{truth} called {called}: {images}")
    each = [
        one.format(truth=apart(row.truth), called=apart(row.prediction), images=words.plain(row.images))
        for row in pairs.itertuples()
    ]
    return (
        _("The commonest mistakes, images per training: {each}.").format(each=words.series(each, ";")) if each else ""
    )


# ---- how sure it is ---------------------------------------------------------------------------------------------


def _sure(found: Looked) -> list[HTML]:
    parts = [*_by_itself(found), *_curves(found)]
    return [heading(_("How sure it is, and what may go to a person")), *parts] if parts else []


def _by_itself(found: Looked) -> list[HTML]:
    """For each accuracy that may be wanted, what is left to a person; nothing without probabilities."""
    rows = [
        [
            words.per_cent(each.wanted, 0),
            _cell(each.share),
            words.per_cent(each.threshold),
            _cell(each.accuracy),
            words.per_cent(1 - each.share.value, 0),
        ]
        if each.is_possible
        else [words.per_cent(each.wanted, 0), _("none"), "–", "–", _("all")]
        for each in found.selective
    ]
    columns = [
        _("Right answers wanted"),
        _("Answers by itself"),
        _("If its probability is at least"),
        _("Right among these"),
        _("To a person"),
    ]
    caption = _(
        "How much the model may answer by itself, measured on images that did not choose the threshold. In brackets: "
        "95\u202f% intervals"
    )
    return [table(pd.DataFrame(rows, columns=columns), caption)] if rows else []


def _curves(found: Looked) -> list[HTML]:
    """Reliability, answers by itself, misses against false alarms; nothing without probabilities."""
    curve, calibrated = selective_curve(found.answers), found.calibration
    if curve is None or calibrated is None:
        return []
    figures = [_reliability(calibrated, found.method), _selective(curve, found.method)]
    return [part("side_by_side", figures=[each.data for each in figures]), *_operating(found)]


def _reliability(calibrated: Calibration, method: str) -> HTML:
    finding = words.sentence(calibrated.finding())
    caption = _(
        "{finding} On the dashed line, answers are right as often as the model promises; below it, less often."
    ).format(finding=finding)
    alt = _("Share of right answers against the model's probability. {finding}").format(finding=finding)
    return figure(lambda: reliability_figure(calibrated.bins, method), caption, alt, calibrated.bins, "calibration")


def _selective(curve: pd.DataFrame, method: str) -> HTML:
    half = curve.iloc[(curve["share"] - 0.5).abs().argmin()]
    finding = _("Of the surest {share} of the images {accuracy} are right, of all {all}.").format(
        share=words.per_cent(half["share"], 0),
        accuracy=words.per_cent(half["accuracy"]),
        all=words.per_cent(curve["accuracy"].iloc[-1]),
    )
    caption = _("{finding} The model answers where it is surest, and a person does the rest.").format(finding=finding)
    alt = _("Accuracy against the share answered. {finding}").format(finding=finding)
    return figure(lambda: selective_figure(curve, method), caption, alt, curve, "answers-by-itself")


def _operating(found: Looked) -> list[HTML]:
    points = {point.classes: point for point in found.points if np.isfinite(point.threshold)}
    curves = ((classes, operating_curve(found.answers, classes)) for classes in found.defects)
    figures = [_of_defect(found, classes, curve, points.get(classes)) for classes, curve in curves if curve is not None]
    return [part("side_by_side", figures=[each.data for each in figures])] if figures else []


def _of_defect(found: Looked, classes: tuple[str, ...], curve: pd.DataFrame, point: OperatingPoint | None) -> HTML:
    """Misses against false alarms for the classes that a limit calls the defect."""
    dot = None if point is None else (point.false_alarms.value, point.misses.value)
    wanted = None if point is None else point.wanted
    names = words.quoted(classes, 2)
    at_tenth = curve.iloc[(curve["false_alarms"] - 0.1).abs().argmin()]
    finding = _("With {alarms} false alarms {misses} of {names} are missed.").format(
        alarms=words.per_cent(at_tenth["false_alarms"], 0), misses=words.per_cent(at_tenth["misses"]), names=names
    )
    caption = _(
        "{finding} Each threshold on the probability of the defect is a point of the line; a lower one misses less and "
        "stops more good parts."
    ).format(finding=finding)
    if dot is not None:
        beside = _("The dot is measured on images that did not choose the threshold, so it may lie beside the line.")
        caption = words.sentences(caption, beside)
    alt = _("Misses of {names} against false alarms. {finding}").format(names=names, finding=finding)
    draw = lambda: operating_figure(curve, found.method, names, dot, wanted)  # noqa: E731
    return figure(draw, caption, alt, curve, "misses-and-false-alarms")


# ---- the wrong images -------------------------------------------------------------------------------------------


def _pictures(study: Study, found: Looked) -> list[HTML]:
    """A few wrong images of the first training: the most confident mistakes, and others at random."""
    answers, wrong = found.answers, wrong_images(found.answers, MOST_PICTURES)
    heads = ((_("The surest of its mistakes"), wrong.surest), (_("Others, drawn at random"), wrong.at_random))
    groups = [(head, _shown(study, answers, list(positions))) for head, positions in heads if positions]
    if not groups:
        return []
    caption = (
        _("Wrong answers: {n}.")
        if answers.trainings == 1
        else _("Wrong answers of the first of {trainings} trainings: {n}.")
    ).format(n=words.whole(wrong.wrong), trainings=answers.trainings)
    return [heading(_("Images that it got wrong")), part("wrong_images", groups=groups, caption=caption)]


def _shown(study: Study, answers: Answers, positions: list[int]) -> list[dict[str, str]]:
    material = material_of(study)
    images = material.task.test.select(study.test_items()[positions])
    pictures = pictures_of(images, preprocessing(material.vit), PICTURE_SIDE)
    return [_one(answers, position, picture) for position, picture in zip(positions, pictures, strict=True)]


def _one(answers: Answers, position: int, picture: np.ndarray) -> dict[str, str]:
    names, guess = answers.class_names, answers.predictions[0, position]
    sure = math.nan if answers.probabilities is None else float(answers.probabilities[0, position, guess])
    missed = int((~answers.right[:, position]).sum())
    return {
        "address": _small(picture),
        "truth": names[answers.truth[position]],
        "called": names[guess],
        "sure": _("{share} sure").format(share=_probability(sure)) if math.isfinite(sure) else "",
        "often": _("wrong in {missed} of {trainings} trainings").format(missed=missed, trainings=answers.trainings)
        if answers.trainings > 1
        else "",
    }


def _probability(value: float) -> str:
    if value > 0.999:
        return _("more than {share}").format(share=words.per_cent(0.999))
    return words.per_cent(value, 0 if value < 0.99 else 1)


def _small(picture: np.ndarray) -> str:
    """A small picture as a data address; tiny ones are enlarged by a whole factor, so that their pixels stay pixels."""
    image = Image.fromarray(picture)
    times = max(1, PICTURE_SIDE // max(image.size))
    if times > 1:
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    return data_address(ImageOps.contain(image, (PICTURE_SIDE, PICTURE_SIDE)), "JPEG")
