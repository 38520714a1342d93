"""What all sentences lean on: the table of sentences, names of methods, intervals, shares."""

from collections.abc import Callable, Iterable

from vptlib.report.words.ja.numbers import in_points, per_cent, plain, signed_points, span
from vptlib.statement import Statement
from vptlib.tuning.methods import find_method

SENTENCES: dict[str, Callable[..., str]] = {}

# Methods whose title is not that of their papers; the others keep it.
_TITLES = {
    "linear": "線形プローブ",
    "full": "全体の再学習",
    "bias": "バイアスの学習（BitFit）",
    "vpt-deep+bias": "VPT-deep＋バイアスの学習",
    "full+prompts": "全体とプロンプトの同時学習",
    "attentive-probe": "注意機構つきプローブ",
    "knn": "k近傍法",
    "lora-all": "LoRA（全層）",
    "layernorm": "LayerNormの学習",
}

# ---- helpers ----------------------------------------------------------------------------------------------------


def sentence(statement: Statement) -> str:
    """The sentence for a statement."""
    return SENTENCES[statement.code](**statement.values)


def title(method: str) -> str:
    """A method's title: "VPT-deep", "全体の再学習"."""
    return _TITLES.get(method, find_method(method).title)


def in_prose(method: str) -> str:
    """A method's title within a sentence, where it is the same in Japanese."""
    return title(method)


def sentences(*texts: str) -> str:
    """Sentences one after the other, without a space; empty ones are left out."""
    return "".join(text for text in texts if text)


def questions(texts: Iterable[str]) -> str:
    """Questions one after the other: 「aか」「bか」. They end with no mark, so each has brackets."""
    return "".join(f"「{text}」" for text in texts)


def series(texts: Iterable[str], mark: str = ",") -> str:
    """Names or phrases one after the other: 「a、b、c」, or with `mark=";"` 「a；b；c」."""
    return {",": "、", ";": "；"}[mark].join(texts)


def interval(low: str, high: str) -> str:
    """ "3", "5ポイント" → "95%区間：3〜5ポイント"."""
    return f"95%区間：{span(low, high)}"


def ahead(difference: float) -> str:
    """-0.021 → "2.1ポイント下回る"."""
    if plain(100 * abs(difference)) == "0":
        return "差がない"
    return f"{in_points(abs(difference))}{'上回る' if difference > 0 else '下回る'}"


def ahead_interval(low: float, high: float) -> str:
    """(-0.03, 0.01) → "95%区間：−3〜+1ポイント"; plus is ahead."""
    return interval(signed_points(low), f"{signed_points(high)}ポイント")


def share(fraction: float, digits: int = 0) -> str:
    """Per cent of the resampled studies; no number of them can show certainty, so 0.995 → "99%超"."""
    if fraction > 0.99:
        return f"{per_cent(0.99, 0)}超"
    return f"{per_cent(0.01, 0)}未満" if fraction < 0.01 else per_cent(fraction, digits)


def says(words: Callable[..., str]) -> Callable[..., str]:
    SENTENCES[words.__name__] = words
    return words
