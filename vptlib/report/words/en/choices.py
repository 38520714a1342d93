"""Codes in a word or two: choices, steps, levels, parts of a plan."""

from vptlib.evidence.curves import A_AHEAD, B_AHEAD, CROSSES, OPEN
from vptlib.evidence.recommendation import (
    FULL,
    LARGER_INPUT,
    MORE_LABELS,
    MORE_SEEDS,
    MORE_TEST_IMAGES,
    NO_ANSWER,
    NOTHING_WORKS,
    PROMPT,
    TRAIN_LONGER,
)
from vptlib.evidence.stages import LABEL_MORE, OPERATE, OUT_OF_SIGHT, PILOT, STUDY_MORE

# ---- codes in a word or two -------------------------------------------------------------------------------------

# The steps that ask for more, in two words and as a headline for someone who has to act on it.
CHOICES = {
    MORE_SEEDS: "run more seeds",
    MORE_TEST_IMAGES: "test on more images",
    LARGER_INPUT: "take a larger input",
    TRAIN_LONGER: "train longer",
    MORE_LABELS: "label more to train on",
    NOTHING_WORKS: "nothing works",
    NO_ANSWER: "no answer yet",
}
HEADLINES = {
    MORE_SEEDS: "Run more seeds, then decide",
    MORE_TEST_IMAGES: "Test on more images, then decide",
    LARGER_INPUT: "Take a larger input, then decide",
    TRAIN_LONGER: "Train longer, then decide",
    MORE_LABELS: "Label more images to train on",
    NOTHING_WORKS: "Nothing works here: change the backbone or the task",
    NO_ANSWER: "No answer yet: it needs more time",
}
USED = {PROMPT: "Use visual prompts (VPT-deep)", FULL: "Fine-tune the whole model"}
LEVELS = {"low": "low", "medium": "medium", "high": "high"}
PLAN_STEPS = {
    OPERATE: "operate",
    PILOT: "pilot",
    LABEL_MORE: "label more",
    STUDY_MORE: "finish the study",
    OUT_OF_SIGHT: "out of sight",
}
# What each statement of a plan is about.
PLAN_PARTS = {
    "tried": "Tried",
    **dict.fromkeys([OPERATE, "operate_unasked", PILOT, LABEL_MORE, STUDY_MORE, OUT_OF_SIGHT], "Now"),
    **dict.fromkeys(["collect", "buy_labels"], "Collect"),
    **dict.fromkeys(["decide_again_by_convention", "decide_again_by_record", "decide_again_past_record"], "Then"),
    **dict.fromkeys(["again_when_finished", "again_with_another_backbone"], "Then"),
}
LEADS = {
    A_AHEAD: "a ahead throughout",
    B_AHEAD: "b ahead throughout",
    CROSSES: "crosses",
    OPEN: "not enough evidence",
}
