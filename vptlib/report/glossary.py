"""The words that reports and the course share, each with its explanation: one source, in each language.

A report shows those of `guide` under "Words used here". The course has all of them in two files, one for each language,
with the term in both. After a text here or its translation has changed,

    python -m vptlib.report.glossary

writes both files.
"""

from pathlib import Path
from typing import NamedTuple

from vptlib.paths import repository
from vptlib.report.words import ENGLISH, speaking
from vptlib.report.words import gettext as _

# Language → its file in the folder of the notebooks.
FILES = {ENGLISH: "GLOSSARY.md", "ja": "ja/GLOSSARY.md"}


class Entry(NamedTuple):
    """A term in the language that is spoken now.

    Attributes:
        anchor: its name in links, the same in every language.
        term: the word itself.
        meaning: one to three sentences.
    """

    anchor: str
    term: str
    meaning: str


def guide(margin: str) -> list[Entry]:
    """The terms that a report explains, in the order in which a reader meets them.

    Args:
        margin: the smallest difference that matters, in words: "1 point".
    """
    return [
        Entry(
            "prompts",
            _("Visual prompts (VPT)"),
            _(
                "A few learned vectors are put among the inputs of a frozen, pre-trained model. One model serves all "
                "tasks; each task stores only its prompts. “Deep” prompts enter at every layer, “shallow” ones at the "
                "first."
            ),
        ),
        Entry(
            "full",
            _("Full fine-tuning"),
            _("All numbers of the model are trained, and each task stores its own copy."),
        ),
        Entry(
            "linear",
            _("Linear probe"),
            _(
                "The model stays as it is; only a linear classifier on top is trained. The least effort, as a "
                "yardstick."
            ),
        ),
        Entry("backbone", _("Backbone"), _("The pre-trained model that all methods begin with.")),
        Entry(
            "labelled",
            _("Labelled images"),
            _("All images with labels that a method may use, those for choosing its learning rate included."),
        ),
        Entry(
            "test",
            _("Test images"),
            _("Images with labels that no method has trained on. All accuracies are measured on them."),
        ),
        Entry("accuracy", _("Accuracy"), _("Share of the test images that get the right answer.")),
        Entry(
            "looking",
            _("Without looking"),
            _("What always naming the commonest class would reach: the floor that any method must clear."),
        ),
        Entry(
            "misses",
            _("Misses and false alarms"),
            _(
                "Misses: share of the images of a class that are called something else. False alarms: share of the "
                "other images that are called that class."
            ),
        ),
        Entry(
            "training",
            _("Training run, seed"),
            _(
                "A seed is one repetition of the whole training, with other labelled images, in another order and "
                "from another start."
            ),
        ),
        Entry(
            "points",
            _("Points"),
            _("Percentage points of accuracy. A difference below {margin} is called one that does not matter.").format(
                margin=margin
            ),
        ),
        Entry(
            "interval",
            _("95\u202f% interval"),
            _(
                "Were the test images (and seeds, where there are several) drawn anew, 95 of 100 results would be "
                "expected within it."
            ),
        ),
        Entry(
            "calibration",
            _("Calibration, threshold"),
            _(
                "A model is calibrated if it is right as often as its probabilities say. Below a threshold of its "
                "probability, an answer goes to a person."
            ),
        ),
        Entry(
            "lot",
            _("Lot, site, group"),
            _(
                "Images that belong together, such as those of one lot, one site or one patient. A fair test keeps a "
                "group on one side."
            ),
        ),
        Entry(
            "poc",
            _("PoC, pilot, operate"),
            _(
                "A PoC (proof of concept) is a trial on images at hand. In a pilot a person checks each answer that is "
                "used. In operation most answers are used as they are."
            ),
        ),
        Entry(
            "map",
            _("Map (GradCAM and others)"),
            _("A picture of where a model found the evidence for its answer. It can be wrong, so it is checked."),
        ),
    ]


def of_the_course() -> list[Entry]:
    """The terms that the course has besides: how prompts work, how a study decides, and what comes after it."""
    return [*_of_prompts(), *_of_studies(), *_of_operation()]


def _of_prompts() -> list[Entry]:
    return [
        Entry("token", _("Token"), _("A vector of the sequence that a transformer works on.")),
        Entry(
            "prompt",
            _("Prompt"),
            _("A learned vector among the tokens of a layer. It has no position and no image content."),
        ),
        Entry(
            "deep",
            _("VPT-deep, VPT-shallow"),
            _(
                "VPT-deep puts new prompts before every layer and drops their outputs after it. VPT-shallow puts "
                "prompts before the first layer only; they then pass through all layers."
            ),
        ),
        Entry("head", _("Head"), _("The linear layer from features to classes. Every method trains it.")),
        Entry("frozen", _("Frozen"), _("Not changed by training.")),
        Entry(
            "input-size",
            _("Input size"),
            _("The side, in pixels, to which an image is brought before a model sees it. A larger one costs time."),
        ),
        Entry(
            "groups",
            _("VTAB groups"),
            _(
                "Three kinds of task. Natural: photographs of things. Specialised: images from special equipment. "
                "Structured: counting, locating, orienting."
            ),
        ),
    ]


def _of_studies() -> list[Entry]:
    return [
        Entry("study", _("Study"), _("Methods × sizes × seeds on one task, under the same rules for all.")),
        Entry("quick-look", _("Quick look"), _("A study with one or two seeds. It advises nothing but to run more.")),
        Entry(
            "validation",
            _("Validation images"),
            _("The part of the labelled budget (20\u202f%) that decides learning rate and best step."),
        ),
        Entry(
            "leakage",
            _("Leakage"),
            _(
                "The test images are not new to the model: the same image, or one of the same group, was among those "
                "for training. Accuracy then looks better than it is."
            ),
        ),
        Entry(
            "curve",
            _("Learning curve"),
            _("Accuracy against the number of labelled images."),
        ),
        Entry(
            "crossover",
            _("Crossover"),
            _("The number of labelled images at which the lead changes from one method to the other."),
        ),
        Entry(
            "bootstrap",
            _("Bootstrap, resampled studies"),
            _(
                "Drawing again, with replacement, from what was measured. Each replicate is a study as it might have "
                "come out, so all of them show how much a figure depends on chance."
            ),
        ),
        Entry(
            "margin",
            _("Margin"),
            _("The smallest difference in accuracy that matters to the person who decides."),
        ),
        Entry(
            "needed",
            _("Accuracy needed"),
            _("The share of right answers from which the work is better off than today. It is set before the study."),
        ),
        Entry(
            "risk",
            _("Risk"),
            _(
                "What a choice loses on average, over the possible outcomes of the study: the accuracy that a better "
                "method would have had, or the margin where a lighter one would have done."
            ),
        ),
        Entry(
            "bill",
            _("Bill"),
            _(
                "Labels to train and to test, checks, working days and computers, for all tasks and years. What is "
                "assumed in it is named."
            ),
        ),
        Entry(
            "tornado",
            _("Tornado"),
            _(
                "A figure of what one price or count at a time changes, the widest bar first. A bar that crosses 0 can "
                "turn the order of two methods."
            ),
        ),
        Entry(
            "faithfulness",
            _("Faithfulness"),
            _(
                "A map is faithful if what it marks matters to the answer: the answer changes when the marked parts "
                "are taken away."
            ),
        ),
        Entry(
            "robustness",
            _("Robustness"),
            _("How much accuracy is left when images are darker, blurred or noisier than those of the study."),
        ),
    ]


def _of_operation() -> list[Entry]:
    return [
        Entry(
            "plan",
            _("Plan"),
            _(
                "The step that the evidence allows: operate, pilot, label more first, or out of sight. It depends on "
                "the chance that one training reaches the accuracy needed."
            ),
        ),
        Entry(
            "stage",
            _("Stage"),
            _("A decision that uses only what is known so far. It names the size at which the decision is made again."),
        ),
        Entry(
            "audit",
            _("Audit"),
            _("Answers in operation that a person checks. It notices a fall of accuracy and brings labels."),
        ),
        Entry(
            "drift",
            _("Drift"),
            _("New images are not like the test images. It is found without labels, and may do no harm."),
        ),
        Entry(
            "promote",
            _("Promote"),
            _("Put a version of a model into production, after it has kept the limits that were set before its test."),
        ),
        Entry(
            "roll-back",
            _("Roll back"),
            _("Put into production again what was there before. The record gets one entry more, not one less."),
        ),
    ]


# ---- the files of the course ------------------------------------------------------------------------------------


def glossary_text(code: str) -> str:
    """The file of a language, in Markdown: all terms in the alphabetical order of the English ones.

    Args:
        code: a language of `FILES`; each term stands in that language, then in the others.
    """
    others = [other for other in FILES if other != code]
    names = {other: {entry.anchor: entry.term for entry in _entries(other)} for other in others}
    english = {entry.anchor: entry.term.casefold() for entry in _entries(ENGLISH)}
    entries = sorted(_entries(code), key=lambda entry: english[entry.anchor])
    with speaking(code):
        head = [f"# {_('Glossary')}", _("The words that reports and the course share, in English and in Japanese.")]
        lines = [
            _("**{term}** ({elsewhere}): {meaning}").format(
                term=entry.term,
                elsewhere=", ".join(names[other][entry.anchor] for other in others),
                meaning=entry.meaning,
            )
            for entry in entries
        ]
    links = " · ".join(f"[{_title(other)}]({_path(code, other)})" for other in others)
    made = "<!-- Written by `python -m vptlib.report.glossary`: change the texts in vptlib/report/glossary.py. -->"
    return "\n\n".join([made, *head, links, *lines]) + "\n"


def write_glossary(folder: Path) -> list[Path]:
    """Write the file of each language below a folder, and return their paths."""
    paths = []
    for code, name in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(glossary_text(code), encoding="utf-8")
        paths.append(path)
    return paths


def _entries(code: str) -> list[Entry]:
    with speaking(code):
        return [*guide(_("the margin")), *of_the_course()]


def _title(code: str) -> str:
    """The glossary's title in its own language, for a link."""
    with speaking(code):
        return _("Glossary")


def _path(code: str, other: str) -> str:
    """The other language's file, seen from that of `code`."""
    return "../" * FILES[code].count("/") + FILES[other]


if __name__ == "__main__":
    for written in write_glossary(repository() / "notebooks"):
        print(written)
