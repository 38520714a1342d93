"""Numbers and sentences for people: each code of judgement has its sentence in every language."""

import ast
import inspect
import re
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from planted import planted_runs
from planted_statements import examples, spoken

import vptlib
from vptlib.errors import UserError
from vptlib.evidence.contest import LEVELS
from vptlib.evidence.curves import LEADS, crossover
from vptlib.evidence.decision import recommend
from vptlib.evidence.limits import KINDS
from vptlib.evidence.recommendation import STEPS, use_code
from vptlib.report import words
from vptlib.report.build import recommendation_in_words
from vptlib.report.judged import told_apart_before
from vptlib.report.settings import ReportSettings
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


@cache
def statements_made() -> tuple[tuple[str, ast.Call], ...]:
    """Each call of `statement` in vptlib, with the name of its file."""
    return tuple(
        (f"{path.name}, line {node.lineno}", node)
        for path in Path(vptlib.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "statement"
    )


def test_codes_are_literals_so_that_they_can_be_found():
    calls = statements_made()
    assert len(calls) > 50
    for where, call in calls:
        assert len(call.args) == 1 and isinstance(call.args[0], ast.Constant), where


@pytest.mark.parametrize("code", languages())
def test_each_language_has_a_sentence_for_each_code(code):
    sentences = in_language(code).SENTENCES
    for where, call in statements_made():
        name, given = ast.literal_eval(call.args[0]), {keyword.arg for keyword in call.keywords}
        assert name in sentences, f"{where}: no sentence for {name!r} in {code!r}"
        if None not in given:  # values that are spread from a dictionary have no names here
            assert given == set(inspect.signature(sentences[name]).parameters), f"{where}: values of {name!r}"


@pytest.mark.parametrize("code", languages())
def test_no_language_has_a_sentence_that_nothing_needs(code):
    assert set(in_language(code).SENTENCES) == {ast.literal_eval(call.args[0]) for _, call in statements_made()}


@pytest.mark.parametrize("code", languages())
def test_each_language_has_words_for_each_choice_step_level_and_lead(code):
    words = in_language(code)
    assert set(words.CHOICES) == set(words.HEADLINES) == set(STEPS)
    headlines = {words.headline(use_code(method), method) for method in METHODS} | set(words.HEADLINES.values())
    assert len(headlines) == len(METHODS) + len(STEPS), "no two choices read alike"
    assert (set(words.LEVELS), set(words.LEADS)) == (set(LEVELS), set(LEADS))


OF_ENGLISH_GRAMMAR = {"was_or_were"}


def public(language: ModuleType) -> dict[str, Any]:
    """The public functions and tables of a language."""
    of_numbers = in_language("en").numbers.__all__
    return {
        name: value
        for name, value in vars(language).items()
        if not name.startswith("_")
        and (
            isinstance(value, dict) or name in of_numbers or getattr(value, "__module__", "").startswith(words.__name__)
        )
    }


def lacking(language: ModuleType) -> set[str]:
    """The public functions and tables of English that another language does not have."""
    return set(public(in_language("en"))) - OF_ENGLISH_GRAMMAR - set(vars(language))


def test_each_language_has_the_names_of_the_english_one():
    assert {"CHOICES", "sentence", "in_prose", "day", "per_cent"} <= lacking(ModuleType("an empty language"))
    assert [lacking(in_language(code)) for code in languages()] == [set()] * len(languages())


@pytest.mark.parametrize("code", languages())
def test_each_language_takes_the_same_values_and_has_the_same_keys(code):
    language = public(in_language(code))
    for name, value in public(in_language("en")).items():
        if isinstance(value, dict):
            assert set(value) == set(language[name]), name
        elif name not in OF_ENGLISH_GRAMMAR:
            assert list(inspect.signature(value).parameters) == list(inspect.signature(language[name]).parameters), name


@pytest.mark.parametrize("code", languages())
def test_each_language_names_each_method_and_no_two_alike(code):
    titles = [in_language(code).title(method) for method in METHODS]
    assert all(titles) and len(set(titles)) == len(METHODS)


def test_a_language_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UserError, match=r"no words in 'tlh': take one of .*en"):
        in_language("tlh")


# ---- English ----------------------------------------------------------------------------------------------------

en = in_language("en")
QUIET = {"images": 1500, "shared": 0.95, "seed_spread": 0.001}


def law(a: float, b: float) -> dict[int, float]:
    """Accuracies along error(n) = a · n^-b."""
    return {n: 1 - a * n**-b for n in (50, 100, 200, 400)}


def test_a_method_that_is_a_name_keeps_its_capitals_within_a_sentence():
    kept = ["vpt-deep", "lora", "dora", "adaptformer", "layernorm", "ssf", "lp-ft"]
    assert [en.in_prose(method) for method in kept] == [en.title(method) for method in kept]
    assert (en.in_prose("full"), en.in_prose("knn")) == ("full fine-tuning", "k nearest neighbours")


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


# ---- Japanese ---------------------------------------------------------------------------------------------------

ja = in_language("ja")


@pytest.mark.parametrize(
    "text, wanted",
    [
        (ja.per_cent(0.8234), "82.3%"),
        (ja.per_cent(0.5, 0), "50%"),
        (ja.decimals(-0.134), "\u22120.13"),
        (ja.points(0.0234), "+2.3"),
        (ja.short_points(-0.02), "\u22122"),
        (ja.in_points(0.021), "2.1ポイント"),
        (ja.exact_points(0.0025), "0.25ポイント"),
        (ja.signed_points(-0.0301), "\u22123"),
        (ja.signed_points(0.021), "+2.1"),
        (ja.signed_points(-0.0001), "0"),
        (ja.plain(2.04), "2"),
        (ja.rounded(1234.5), "1,200"),
        (ja.rounded(34_256), "3.4万"),
        (ja.whole(12_800), "12,800"),
        (ja.number(-1234.5, 1), "\u22121,234.5"),
        (ja.count(5130), "5,130"),
        (ja.count(9999.6), "1万"),
        (ja.count(12_800_000), "1,280万"),
        (ja.count(12_345_678), "1,230万"),
        (ja.count(123_456_789), "1.23億"),
        (ja.storage(999), "999バイト"),
        (ja.storage(83_000), "83\u202fkB"),
        (ja.duration(0.07), "0.1秒"),
        (ja.duration(39.4), "39秒"),
        (ja.duration(600), "10分"),
        (ja.duration(9000), "2.5時間"),
        (ja.day(date(2026, 11, 29)), "2026年11月29日"),
        (ja.span("75.2", "84.8"), "75.2〜84.8"),
        (ja.listed([50, 100, 200]), "50、100、200"),
        (ja.many(3, "シード"), "シード3個"),
        (ja.many(3000, "タスク"), "タスク3,000件"),
        (ja.many(400, "テスト画像"), "テスト画像400枚"),
        (ja.many(1, "学習率"), "学習率1種類"),
        (ja.many("2.5", "年"), "2.5年"),
        (ja.money(34_256), "3.4万"),
        (ja.money(-0.123), "\u22120.12"),
        (ja.money_span(2100, 3400, 6000), "3,400（2,100〜6,000）"),
    ],
)
def test_numbers_are_written_for_japanese_readers(text, wanted):
    assert text == wanted


@pytest.mark.parametrize("fraction", [0.00049, 0.0125, 0.0235, 0.8235, 0.99951])
def test_both_languages_round_alike(fraction):
    assert ja.per_cent(fraction) == en.per_cent(fraction).replace("\u202f", "")
    assert ja.in_points(fraction).removesuffix("ポイント") == en.in_points(fraction).split()[0]


@pytest.mark.parametrize(
    "low, high, text",
    [
        (-0.03, 0.01, "\u22123〜+1ポイント"),
        (-0.03, -0.01, "\u22123〜\u22121ポイント"),
        (0.0, 0.021, "0〜+2.1ポイント"),
    ],
)
def test_a_japanese_interval_of_a_difference_has_signs(low, high, text):
    assert ja.ahead_interval(low, high) == f"95%区間：{text}"


def test_no_share_of_resampled_studies_is_certain_in_japanese():
    assert (ja.share(1.0), ja.share(0.0), ja.share(0.953, 1)) == ("99%超", "1%未満", "95.3%")


@pytest.mark.parametrize(
    "vpt, full, options, headline, why",
    [
        (0.88, 0.80, QUIET, "視覚プロンプト（VPT-deep）を採用する", "VPT-deepは最も軽い手法である。より重い手法のうち"),
        (0.80, 0.88, QUIET, "モデル全体を再学習する", "全体の再学習は最も重い手法である。より軽い手法のうち"),
        (0.80, 0.80, QUIET | {"seeds": 1}, "シードを増やしてから決める",
         "各数値の裏付けはシード1個だけである。これでは、学習画像の選ばれ方による偶然の影響が十分に見えない。"
         "少なくともシード3個で学習する。新しいラベルは要らず、必要なのは時間だけである（学習に約4分）。"),
        (0.80, 0.80, {"images": 20, "shared": 0.5, "random": 4}, "テスト画像を増やしてから決める",
         "VPT-deepと全体の再学習のどちらがよいかは、これまでの学習では決まらない。"
         "最も絞り込めるのは、テスト画像を20枚から約80枚に増やすことである。"),
        (0.10, 0.10, QUIET, "使える手法がない。バックボーンか課題を見直す",
         "最も多いクラスを答え続けた場合の正解率（10.0%）を、明らかに上回る手法がない。"),
    ],
)  # fmt: skip
def test_each_choice_has_its_headline_and_its_reason_in_japanese(vpt, full, options, headline, why):
    runs = planted_runs({"vpt-deep": {400: vpt}, "full": {400: full}}, **options)
    advice = recommend(runs, margin=0.03, chance=0.1)
    assert ja.headline(advice.choice, advice.method) == headline
    assert ja.sentence(advice.reasons[1]).startswith(why)


# ---- every sentence of a language, with planted values ----------------------------------------------------------

# Latin letters that a Japanese engineer writes: formats, units, optimisers, devices, tests, commands and settings.
LATIN = {
    *("AdamW", "SGD", "Brier", "McNemar", "ViT-B", "VPT", "ImageNet-21k", "drop-path", "vptlib"),
    *("CPU", "GPU", "CSV", "JPEG", "PNG", "Parquet", "RGB", "YAML", "UTC", "UTF-8", "NaN", "bfloat16", "PoC"),
    *("kB", "MB", "GB", "ms", "px"),
}
# Names of settings in one word; elsewhere they are English, as in "3 seeds".
SETTINGS = "|".join(sorted({*ReportSettings.model_fields, *KINDS, *ja.GATES, "group", "groups"}))
# What is typed as it stands, and what the planted values themselves hold.
TYPED = re.compile(
    "|".join(
        [
            r"val200\.txt|\?\w+=[\w-]+|pip install \S+|pillow-heif|\.heic|cp932|UTF-16|\{classes\}",
            r"NVIDIA H200|Asia/Tokyo|\d{4}-\d\d-\d\dT[\d:+]+|attention_rollout|Integrated Gradients|「mask」",
            r"tasks: \[.*?\]|seeds: \[.*?\]|every: group|`[^`]*`|vpt( [a-z]+)+|[a-z]+(_[a-z]+)+",
            rf"(?<![A-Za-z0-9_ ])({SETTINGS})(?![A-Za-z])",
        ]
    )
)
WORD = re.compile(r"[A-Za-z][A-Za-z0-9-]+")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def english_words(sentence: str) -> set[str]:
    """Latin words of a Japanese sentence that are no names."""
    for title in sorted({ja.title(method) for method in METHODS}, key=len, reverse=True):
        sentence = sentence.replace(title, "")
    return set(WORD.findall(TYPED.sub("", sentence))) - LATIN


def test_no_japanese_sentence_has_an_english_word():
    assert english_words("VPT-deepのseedは3個") == {"seed"} and not english_words("LoRA（全層）は83 kB（label_price）")
    found = {code: english_words(said) for code, _, said in spoken("ja") if english_words(said)}
    assert not found


def texts(table: dict) -> Iterator[str]:
    """The texts of a table, also of pairs."""
    for value in table.values():
        yield from value if isinstance(value, tuple) else [value]


def test_no_japanese_table_has_an_english_word():
    tables = {name: table for name, table in public(ja).items() if isinstance(table, dict) and name != "SENTENCES"}
    assert {"CHOICES", "PRICES", "QUESTIONS", "GATES"} <= set(tables)
    found = {name: sorted(set().union(*map(english_words, texts(table)))) for name, table in tables.items()}
    assert not {name: words for name, words in found.items() if words}


@pytest.mark.parametrize(
    "text",
    [
        ja.tornado_axis("vpt-deep", "linear", True),
        ja.tornado_axis("vpt-deep", "linear", False),
        ja.bill_of("full"),
        ja.labels_each(0.9, {"vpt-deep": 100, "full": 200}),
        ja.audit_is_clean(),
        *(ja.findings_together(code, ["full", "linear"], 3) for code in ("collapsed", "accuracy_falls")),
        *(ja.headline(use_code(method), method) for method in METHODS),
    ],
)
def test_what_is_no_statement_is_japanese_too(text):
    assert text and not english_words(text)


def figures(text: str) -> set[str]:
    """The figures of a sentence; small ones may be words, and 1/4 may be a quarter."""
    return {figure.replace(",", "") for figure in NUMBER.findall(text)} - set("012")


# Shares that English says in words.
IN_WORDS = {
    "four of five": {"4", "5"},
    "a fifth": {"5"},
    "a quarter": {"4"},
}


def test_japanese_has_the_figures_of_english_and_no_others():
    assert figures("1,280 of 37 (95.3 %)") == {"1280", "37", "95.3"}
    for code, says in en.SENTENCES.items():
        for values in examples(code, says):
            english, japanese = (language.sentence(Statement(code, values)) for language in (en, ja))
            in_words = set().union(*(figures_ for said, figures_ in IN_WORDS.items() if said in english))
            assert figures(english) | in_words == figures(japanese), (code, english, japanese)


GLUED = re.compile(r"[、。][、。]|\s[、。]|[ぁ-ん一-龠](, |; |: )|[ぁ-ん]\(|%の%|None|True|False")


def test_japanese_sentences_are_put_together_as_japanese_is_written():
    assert GLUED.search("見つかった。。") and GLUED.search("正解率, 見逃し率")
    found = {code: said for code, _, said in spoken("ja") if GLUED.search(TYPED.sub("", said))}
    assert not found
