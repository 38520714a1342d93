"""Sentences on the plan in stages (`vptlib.evidence.stages`)."""

from vptlib.evidence.contest import HIGH
from vptlib.report.words.ja.base import says, share
from vptlib.report.words.ja.choices import CHOICES
from vptlib.report.words.ja.money import money
from vptlib.report.words.ja.numbers import per_cent, storage
from vptlib.report.words.ja.recommendations import the_method

# ---- the plan in stages (vptlib.evidence.stages) ------------------------------------------------------------------


@says
def operate(method: str, chance: float, needed: float) -> str:
    return f"{the_method(method)}で本運用に進む。{_one_training(chance, needed)}である。"


@says
def operate_unasked(method: str) -> str:
    return (
        f"{the_method(method)}で本運用に進む。必要な正解率（accuracy_needed）の指定がないため、"
        "十分な性能かどうかは判断していない。"
    )


@says
def pilot(method: str, chance: float, needed: float) -> str:
    return (
        f"{the_method(method)}で試行運用に進む。{_one_training(chance, needed)}で、本運用には足りない。"
        "使う回答はすべて人が確認する。"
    )


@says
def label_more(chance: float | None, needed: float | None) -> str:
    return f"使い始める前に、学習用のラベル付き画像を増やす。{_so_far(chance, needed)}"


@says
def study_more(choice: str, chance: float | None, needed: float | None) -> str:
    return f"使い始める前に、試験を完了する（{CHOICES[choice]}）。{_so_far(chance, needed)}"


def _so_far(chance: float | None, needed: float | None) -> str:
    return "" if chance is None or needed is None else f"今のところ、{_one_training(chance, needed)}である。"


def _one_training(chance: float, needed: float) -> str:
    near_the_mark = abs(chance - HIGH) < 0.01  # where a rounded figure would hide which side it is on
    return f"1回の学習で正解率{per_cent(needed, 0)}に届く確率は{share(chance, int(near_the_mark))}"


@says
def out_of_sight(needed: float | None) -> str:
    return "どの手法も使わない。" + ("" if needed is None else f"正解率{per_cent(needed, 0)}には届く見込みがない。")


@says
def tried(n: int, images: int, finished: bool, prompt_bytes: float | None) -> str:
    trial = "この試験をPoCとして実施した" if finished else "この試験がPoCであり、まだ終わっていない"
    light = (
        ""
        if prompt_bytes is None
        else f"プロンプトなら撤回しても負担は小さい。タスク1件の保存量は{storage(prompt_bytes)}である。"
    )
    return f"{trial}。ラベル付き画像は、学習用が最大{n:,}枚、テスト用が{images:,}枚である。{light}"


@says
def buy_labels(labels: int, price: float | None) -> str:
    cost = "" if price is None else f"費用は約{money(price)}である。"
    return f"学習用のラベル付き画像をあと{labels:,}枚用意する。{cost}"


@says
def collect(checks: float, labels: int, months: int, given: bool) -> str:
    known = "" if given else "、想定値"
    return (
        f"人が確認した回答（月{checks:,.0f}件{known}）を保存しておく。"
        f"{months:,}か月で、追加に必要な{labels:,}枚のラベルがそろう。"
    )


@says
def again_when_finished() -> str:
    return "試験が終わり次第、再判断する。"


@says
def again_with_another_backbone() -> str:
    return "バックボーン、画像、課題のいずれかを変えたら再判断する。"
