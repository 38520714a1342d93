"""Numbers and sentences for people: each code of judgement has its sentence in every language."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from planted import planted_runs

import vptlib
from vptlib.errors import UserError
from vptlib.evidence.contest import LEVELS
from vptlib.evidence.curves import LEADS, crossover
from vptlib.evidence.decision import recommend
from vptlib.evidence.recommendation import STEPS, use_code
from vptlib.report.build import recommendation_in_words
from vptlib.report.judged import told_apart_before
from vptlib.report.words import in_language, languages
from vptlib.statement import Statement, statement
from vptlib.tuning.methods import METHODS
from vptlib.wording import (
    count,
    decimals,
    did_you_mean,
    duration,
    exact_points,
    in_points,
    listed,
    many,
    per_cent,
    plain,
    points,
    rounded,
    short_points,
    storage,
)

# ---- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, wanted",
    [
        (per_cent(0.8234), "82.3\u202f%"),
        (per_cent(0.5, 0), "50\u202f%"),
        (decimals(-0.134), "\u22120.13"),
        (decimals(0.134, 1, signed=True), "+0.1"),
        (points(0.0234), "+2.3"),
        (points(-0.0234), "\u22122.3"),
        (points(0.0234, 0), "+2"),
        (short_points(-0.02), "\u22122"),
        (short_points(0.0025), "+0.25"),
        (short_points(1e-12), "0"),
        (in_points(0.021), "2.1 points"),
        (in_points(0.01), "1 point"),
        (exact_points(0.0025), "0.25 points"),
        (exact_points(0.01), "1 point"),
        (plain(2.34), "2.3"),
        (plain(2.04), "2"),
        (rounded(1234.5), "1,200"),
        (rounded(87), "87"),
        (many(1, "seed"), "1 seed"),
        (many(3000, "task"), "3,000 tasks"),
        (listed([50, 100, 200]), "50, 100 and 200"),
        (listed([50]), "50"),
        (storage(999), "999 bytes"),
        (storage(83_000), "83\u202fkB"),
        (storage(64_900_000), "64.9\u202fMB"),
        (storage(1.5e9), "1.5\u202fGB"),
        (count(5130), "5,130"),
        (count(16_200_000), "16.2\u202fmillion"),
        (duration(0.07), "0.1\u202fs"),
        (duration(39.4), "39\u202fs"),
        (duration(600), "10\u202fmin"),
        (duration(9000), "2.5\u202fh"),
    ],
)
def test_numbers_are_written_for_people(text, wanted):
    assert text == wanted


def test_a_wrong_name_is_answered_with_the_most_similar_right_ones():
    known = ["linear", "vpt-deep", "vpt-shallow"]
    assert did_you_mean("vpt-dep", known, "take another.") == "did you mean 'vpt-deep'?"
    assert did_you_mean("vpt-dep", known, "", most=2, least=0.4, written=str) == "did you mean vpt-deep, vpt-shallow?"
    assert did_you_mean("adapter", known, "take another.") == "take another."


# ---- every code in every language -------------------------------------------------------------------------------


def statements_made() -> Iterator[tuple[str, ast.Call]]:
    """Each call of `statement` in vptlib, with the name of its file."""
    for path in Path(vptlib.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "statement":
                yield f"{path.name}, line {node.lineno}", node


def test_codes_are_literals_so_that_they_can_be_found():
    calls = list(statements_made())
    assert len(calls) > 50
    for where, call in calls:
        assert len(call.args) == 1 and isinstance(call.args[0], ast.Constant), where


@pytest.mark.parametrize("code", languages())
def test_each_language_has_a_sentence_for_each_code(code):
    sentences = in_language(code).SENTENCES
    for where, call in statements_made():
        name, given = call.args[0].value, {keyword.arg for keyword in call.keywords}
        assert name in sentences, f"{where}: no sentence for {name!r} in {code!r}"
        if None not in given:  # values that are spread from a dictionary have no names here
            assert given == set(inspect.signature(sentences[name]).parameters), f"{where}: values of {name!r}"


@pytest.mark.parametrize("code", languages())
def test_no_language_has_a_sentence_that_nothing_needs(code):
    assert set(in_language(code).SENTENCES) == {call.args[0].value for _, call in statements_made()}


@pytest.mark.parametrize("code", languages())
def test_each_language_has_words_for_each_choice_step_level_and_lead(code):
    words = in_language(code)
    assert set(words.CHOICES) == set(words.HEADLINES) == set(STEPS)
    headlines = {words.headline(use_code(method), method) for method in METHODS} | set(words.HEADLINES.values())
    assert len(headlines) == len(METHODS) + len(STEPS), "no two choices read alike"
    assert (set(words.LEVELS), set(words.LEADS)) == (set(LEVELS), set(LEADS))


def lacking(language: ModuleType) -> set[str]:
    """The public functions and tables of English that another language does not have."""
    english = in_language("en")
    own = {
        name
        for name, value in vars(english).items()
        if isinstance(value, dict) or getattr(value, "__module__", "") == english.__name__
    }
    return {name for name in own if not name.startswith("_")} - set(vars(language))


def test_each_language_has_the_names_of_the_english_one():
    assert {"CHOICES", "sentence", "in_prose"} <= lacking(ModuleType("an empty language"))
    assert not any(lacking(in_language(code)) for code in languages())


def test_a_language_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UserError, match=r"no words in 'tlh': take one of .*en"):
        in_language("tlh")


# ---- English ----------------------------------------------------------------------------------------------------

en = in_language("en")
QUIET = {"images": 1500, "shared": 0.95, "seed_spread": 0.001}


def law(a: float, b: float) -> dict[int, float]:
    """Accuracies along error(n) = a · n^-b."""
    return {n: 1 - a * n**-b for n in (50, 100, 200, 400)}


@pytest.mark.parametrize(
    "lacking, text",
    [
        (["full"], "Full fine-tuning has no finished run with 400 labelled images, for want of time."),
        (["vpt-deep", "full"], "VPT-deep and full fine-tuning have no finished run with 400 labelled images, for"),
        ([], "VPT-deep and full fine-tuning have no seed in common yet, so they cannot be compared."),
    ],
)
def test_what_lacks_for_an_answer_is_named(lacking, text):
    assert en.sentence(statement("not_compared_yet", n=400, lacking=lacking)).startswith(text)
    assert en.HEADLINES["no_answer"] == "No answer yet: it needs more time"


def test_the_best_so_far_has_its_interval():
    so_far = statement("best_so_far", method="linear", n=400, accuracy=0.803, low=0.7519, high=0.8478)
    assert en.sentence(so_far) == (
        "The best of what is finished: linear probe, right on 80.3\u202f% of the test images with 400 labelled images "
        "(95\u202f% interval: 75.2 to 84.8\u202f%)."
    )


@pytest.mark.parametrize(
    "vpt, full, options, choice, headline, why",
    [
        (0.88, 0.80, QUIET, "use VPT-deep", "Use visual prompts (VPT-deep)",
         "VPT-deep is the lightest method. Next to full fine-tuning, the best heavier method, it is "),
        (0.80, 0.88, QUIET, "use full fine-tuning", "Fine-tune the whole model",
         "Full fine-tuning is the heaviest method. Next to VPT-deep, the best lighter method, it is "),
        (0.80, 0.80, QUIET | {"seeds": 1}, "run more seeds", "Run more seeds, then decide",
         "One seed stands behind each figure. That shows too little of the luck in drawing the training images. Run at "
         "least 3: they need no new labels, only time (about 4\u202fmin of training)."),
        (0.80, 0.80, {"images": 20, "shared": 0.5, "random": 4},
         "test on more images", "Test on more images, then decide",
         "VPT-deep or full fine-tuning: these runs leave it open. About 80 test images instead of 20 would"),
        (0.10, 0.10, QUIET, "nothing works", "Nothing works here: change the backbone or the task",
         "No method is clearly better than always naming the commonest class (10.0\u202f%)."),
    ],
)  # fmt: skip
def test_each_choice_has_its_headline_and_its_reason(vpt, full, options, choice, headline, why):
    runs = planted_runs({"vpt-deep": {400: vpt}, "full": {400: full}}, **options)
    advice = recommend(runs, margin=0.03, chance=0.1)
    assert en.choice(advice.choice, advice.method) == choice
    assert en.headline(advice.choice, advice.method) == headline
    assert en.sentence(advice.reasons[1]).startswith(why)


def test_what_a_study_tells_apart_names_the_groups_of_its_test_images():
    said = en.sentence(told_apart_before(3, 105, np.arange(105) // 53))
    assert said.endswith("They come from 2 groups; as far as those differ, it tells apart less.")
    alone = en.sentence(told_apart_before(3, 105, np.arange(105)))
    assert "group" not in alone and alone == en.sentence(told_apart_before(3, 105))


@pytest.mark.parametrize("seeds, said", [(1, False), (3, True)])
def test_a_quick_look_gives_no_probability(seeds, said):
    runs = planted_runs({"vpt-deep": {400: 0.8}, "full": {400: 0.8}}, images=20, shared=0.5, seeds=seeds, random=3)
    sentence = en.sentence(recommend(runs, 0.03).reasons[2])
    assert sentence.startswith("Not decided.") and ("%" in sentence) is said


@pytest.mark.parametrize(
    "low, high, text",
    [
        (-0.03, 0.01, "3 points behind to 1 point ahead"),
        (-0.03, -0.01, "3 to 1 point behind"),
        (0.0, 0.021, "level to 2.1 points ahead"),
    ],
)
def test_an_interval_of_a_difference_names_the_side_of_each_end(low, high, text):
    assert en.ahead_interval(low, high) == f"95\u202f% interval: {text}"


def test_a_share_of_resampled_studies_never_promises_certainty():
    assert en.share(1.0) == "more than 99\u202f%"
    assert en.share(0.0) == "less than 1\u202f%"
    assert en.share(0.953, 1) == "95.3\u202f%"


def test_who_leads_is_given_size_by_size_with_the_number_of_changes():
    truth = {"vpt-deep": {50: 0.7, 200: 0.7, 800: 0.8}, "full": {50: 0.5, 200: 0.8, 800: 0.7}}
    assert en.sentence(crossover(planted_runs(truth, images=1000, seeds=1)).note) == (
        "VPT-deep is clearly ahead at 50 and 800; full fine-tuning is clearly ahead at 200 labelled images. The lead "
        "changes 2 times; the last change is given."
    )


def test_the_summary_has_the_words_next_to_the_codes():
    reason = statement("cut_short", methods=["full"])
    change = statement("change_by_step", step="train_longer")
    codes = {"choice_code": "train_longer", "method": "full", "confidence": "low", "decide_again_at": 800}
    made = codes | {"reason_codes": [reason.plain()], "would_change_code": change.plain()}
    joined = recommendation_in_words(made)
    assert joined["choice"] == "train longer" and joined["choice_code"] == "train_longer"
    assert joined["reasons"] == [
        "Training of full fine-tuning was cut short: the last step was the best one. Longer training can change the "
        "order. Give more steps."
    ]
    assert joined["would_change"] == "More steps in the settings, then the same command."
    assert Statement.of(joined["reason_codes"][0]) == reason
