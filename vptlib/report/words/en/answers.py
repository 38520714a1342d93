"""Sentences from a report to answers (`vptlib.operations.predict`)."""

from vptlib.report.words.en.base import in_prose, says
from vptlib.report.words.en.choices import CHOICES
from vptlib.report.words.en.data_check import grey_value
from vptlib.report.words.en.mistakes import limit_share, with_interval
from vptlib.report.words.en.reading import was_or_were
from vptlib.wording import many

# ---- from a report to answers (vptlib.report.sections.next_steps, vptlib.operations) ------------------------------

NEXT_HEADING = "From this report to answers"


@says
def next_step_use(method: str) -> str:
    return (
        f"These commands turn {in_prose(method)} into a file, answer new images with it, and put it under control. The "
        "file holds the model, its tests and where it comes from."
    )


@says
def next_step_try(method: str) -> str:
    return (
        f"The report asks for more before it advises a method. Its best so far, {in_prose(method)}, can already be "
        "tried on new images:"
    )


@says
def exported_without_advice(choice: str) -> str:
    return f"The report did not advise a method when this model was exported: its advice was to {CHOICES[choice]}."


# ---- answers to new images (vptlib.operations.predict) ------------------------------------------------------------


@says
def images_named_again(files: int) -> str:
    return f"{many(files, 'file')} {was_or_were(files)} named more than once, and {was_or_were(files)} answered once."


@says
def unreadable_skipped(bad: int, files: int, first: str) -> str:
    have = "has" if bad == 1 else "have"
    return f"{bad:,} of {many(files, 'file')} cannot be read, and {have} no answer: {first} first."


@says
def new_images_of_8_bits(images: int, first: str, low: float, high: float) -> str:
    return (
        f"{many(images, 'image')} {'has' if images == 1 else 'have'} 8 bits a value, such as {first}, but the model "
        f"was trained on more: {grey_value(low)} was black and {grey_value(high)} white. Such answers are "
        f"doubtful, so each is "
        "for a person. Save such images in the way in which the training images were saved."
    )


@says
def new_greys_do_not_fit(images: int, first: str, low: float, high: float) -> str:
    return (
        f"The values of {many(images, 'image')} do not fit those of the training images, where "
        f"{grey_value(low)} was black "
        f"and {grey_value(high)} white: {first} first. Such answers are doubtful, so each is for a person. Check the "
        "exposure, or in what way these files were saved."
    )


@says
def person_asked(
    asked: int,
    images: int,
    wanted: float | None,
    threshold: float,
    accuracy: float | None,
    low: float | None,
    high: float | None,
) -> str:
    aim = "" if wanted is None else f" For {limit_share(wanted)} right, that is the limit which the test images gave."
    measured = ""
    if accuracy is not None and low is not None and high is not None:
        measured = f" Of the answers above it, {with_interval(accuracy, low, high)} were right there."
    return (
        f"{asked:,} of {many(images, 'image')} {'is' if asked == 1 else 'are'} for a person: the probability is below "
        f"{threshold:.3g}, or there is a problem.{aim}{measured} This holds for images like those of the test."
    )


@says
def person_unknown(wanted: float | None, images: int, needed: int | None) -> str:
    if wanted is None:
        return (
            "Which images a person should see is not known: the model file does not say from which probability its "
            "answers are right often enough. Set accuracy_needed in the settings of the report, run the report again, "
            "then export the model."
        )
    least = "" if needed is None else f" It takes at least {needed:,} sure answers that are all right."
    return (
        f"Which images a person should see is not known: on {many(images, 'test image')}, there is no probability from "
        f"which {limit_share(wanted)} of the answers are right.{least} Test on more images, or set a lower "
        f"accuracy_needed; "
        "then export the model again."
    )


@says
def formulas_marked(names: list[str], classes: int) -> str:
    more = f" and {classes - len(names):,} more" if classes > len(names) else ""
    return (
        "In a CSV an apostrophe stands in front of class names that a spreadsheet would take for formulas: "
        f"{', '.join(map(repr, names))}{more}. A Parquet file has the names as they are."
    )
