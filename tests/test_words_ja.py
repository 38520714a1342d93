"""Japanese sentences: each says what the English one of its code says, with the same values, in Japanese."""

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from statement_examples import EXAMPLES

from vptlib.evidence.limits import GATE_KINDS, KINDS
from vptlib.report.settings import ReportSettings
from vptlib.report.words import in_language
from vptlib.statement import Statement
from vptlib.tuning.methods import METHODS

EN, JA = (in_language(code).SENTENCES for code in ("en", "ja"))
SPOKEN = sorted(EN.keys() & JA.keys() & EXAMPLES.keys())


def said() -> Iterator[tuple[str, dict[str, Any], str, str]]:
    """Code, values, and the English and the Japanese sentence, of each example."""
    for code in SPOKEN:
        for values in EXAMPLES[code]:
            yield code, values, EN[code](**values), JA[code](**values)


def test_every_code_has_examples():
    assert EN.keys() == JA.keys() == EXAMPLES.keys()


# ---- values -----------------------------------------------------------------------------------------------------


def changed(value: Any) -> Any:
    """Another value of the same kind, or the same where any other may have no meaning."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 2
    return 0.93 * value if isinstance(value, float) else value


def heeded(sentence: Callable[..., str], values: dict[str, Any]) -> set[str]:
    """Which of the values a sentence depends on, by changing one after the other."""
    before = sentence(**values)
    others = {name: values | {name: changed(value)} for name, value in values.items()}
    return {name for name, other in others.items() if other != values and sentence(**other) != before}


def test_japanese_sentences_take_the_values_of_the_english_ones():
    assert {code: str(inspect.signature(JA[code])) for code in SPOKEN} == {
        code: str(inspect.signature(EN[code])) for code in SPOKEN
    }


def test_japanese_sentences_heed_the_values_that_the_english_ones_heed():
    differing = {
        (code, *heeded(JA[code], values) ^ heeded(EN[code], values)) for code in SPOKEN for values in EXAMPLES[code]
    }
    assert differing == {(code,) for code in SPOKEN}


def test_what_english_tells_apart_japanese_tells_apart_too():
    pairs = {(code, english, japanese) for code, _, english, japanese in said()}
    assert len(pairs) == len({(code, english) for code, english, _ in pairs})
    assert len(pairs) == len({(code, japanese) for code, _, japanese in pairs})


# ---- numbers ----------------------------------------------------------------------------------------------------

_SCALES = {"million": 1e6, "万": 1e4, "億": 1e8}
_NUMBER = re.compile(r"(\d[\d,]*(?:\.\d+)?)\s*(million|万|億)?")
# English words that may be digits in Japanese, as in 5分の1, 画像1枚あたり, 1件もない, 0枚.
_WORDS = {
    0: "level|none",
    1: "one|a|an|single|each|only|no|none|first|once|quarter|fifth|tenth|half",
    2: "more than once|twice|two|second|half",
    4: "four|quarter",
    5: "five|fifth",
}


def numbers_in(text: str) -> Counter[float]:
    """The numbers of a text, without signs, and how often each is there: "1,280万" is 12,800,000."""
    found = _NUMBER.findall(text)
    return Counter(float(digits.replace(",", "")) * _SCALES.get(scale, 1) for digits, scale in found)


def numbers_in_words(text: str) -> set[float]:
    """What the number words of an English text may be as digits."""
    return {float(number) for number, words in _WORDS.items() if re.search(rf"\b({words})\b", text, re.IGNORECASE)}


@pytest.mark.parametrize("text, wanted", [("1,280万枚と3枚", [12_800_000, 3]), ("12.8\u202fmillion", [12_800_000])])
def test_numbers_are_found_in_texts_of_both_languages(text, wanted):
    assert numbers_in(text) == Counter(wanted)


def test_japanese_sentences_leave_out_no_number():
    short = [(en, ja) for _, _, en, ja in said() if numbers_in(en) - numbers_in(ja)]
    assert not short


def test_japanese_sentences_add_no_number():
    longer = [
        (en, ja) for _, _, en, ja in said() if numbers_in(ja).keys() - numbers_in(en).keys() - numbers_in_words(en)
    ]
    assert not longer


# ---- words ------------------------------------------------------------------------------------------------------

# Names of formats, models, people, units and signs, which Japanese writes in Latin letters too.
_NAMES = re.compile(
    r"AdamW|SGD|bfloat16|drop-path|n|VPT|ViT-B/16|ImageNet-21k|Brier|McNemar|PoC|CSV|JPEG|PNG|Parquet|YAML|UTF-8|UTC|"
    r"NaN|RGB|GPU|px|kB|MB|ms|vptlib"
)
# Commands, settings as they are written, and what stands in quotation marks.
_CODE = re.compile(
    r"「[^」]*」|`[^`]*`|vpt(?: [a-z]+)+|pip install|tasks: \[[^\]]*\]|every: group|列group|groups|\?[a-z]+=[A-Za-z-]*|"
    r"val200\.txt"
)
_SETTINGS = {*ReportSettings.model_fields, *KINDS, *GATE_KINDS}
_TITLES = {in_language("ja").title(method) for method in METHODS}


def texts_in(value: Any) -> Iterator[str]:
    """Every text within a value of a statement."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Statement):
        yield from texts_in(list(value.values.values()))
    elif isinstance(value, dict):
        yield from texts_in([*value, *value.values()])
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)


def foreign_words(text: str, values: dict[str, Any]) -> set[str]:
    """The words in Latin letters other than names, settings, code, and texts that were given."""
    given = sorted({*texts_in(list(values.values())), *_TITLES} - {""}, key=len, reverse=True)
    text = re.sub(rf"(?<![A-Za-z])({'|'.join(map(re.escape, given))})(?![A-Za-z])", " ", _CODE.sub(" ", text))
    words = set(re.findall(r"[A-Za-z][A-Za-z0-9_.+/-]*", text)) - _SETTINGS
    return {word for word in words if "_" not in word and not _NAMES.fullmatch(word)}


def test_a_word_that_was_left_in_english_is_found():
    assert foreign_words("cropで画像Aを切り出す（image_size、224 px）。", {"name": "A"}) == {"crop"}


def test_japanese_sentences_have_no_english_words():
    assert not {(*foreign_words(ja, values), ja) for _, values, _, ja in said() if foreign_words(ja, values)}


def test_japanese_sentences_end_as_the_english_ones_do():
    assert not [(en, ja) for _, _, en, ja in said() if en.endswith(".") != ja.endswith("。")]


def test_japanese_sentences_have_japanese_marks_and_none_twice():
    stray = re.compile(r"。。|、、|。、|、。|：。|，|．|\s。|\(|[ぁ-ん一-龥][,;:]|\s%|です。|ます。|ください")
    assert not [ja for *_, ja in said() if stray.search(_CODE.sub("X", ja))]
