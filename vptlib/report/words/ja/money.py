"""Sentences on money (`vptlib.evidence.money`)."""

from babel.numbers import get_currency_name

from vptlib.report.words.ja.base import in_prose, says, share
from vptlib.report.words.ja.numbers import in_points, listed, many, per_cent, plain, rounded, span
from vptlib.report.words.ja.recommendations import the_method

# ---- money (vptlib.evidence.money) --------------------------------------------------------------------------------

# Each price: its name, and its unit after the figure.
PRICES = {
    "label_price": ("ラベルの単価", "画像1枚当たり"),
    "point_value": ("正解率1ポイントの価値", "タスク1件・1年当たり"),
    "tasks_planned": ("予定するタスク", "件"),
    "horizon_years": ("評価期間", "年"),
    "discount_rate": ("割引率", "1年当たり"),
    "checks_per_month": ("人が確認する回答", "タスク1件・1か月当たり"),
    "retrainings_per_year": ("モデルの更新", "タスク1件・1年当たり"),
    "engineer_days_per_project": ("プロジェクト全体の技術者工数", "日"),
    "engineer_days_per_task": ("タスク1件の技術者工数", "日"),
    "engineer_days_per_retraining": ("モデルの更新1回の技術者工数", "日"),
    "engineer_day_price": ("技術者の単価", "1日当たり"),
    "compute_hour_price": ("計算の単価", "1時間当たり"),
    "storage_price": ("保存の単価", "1 GB・1年当たり"),
    "serving_price": ("メモリに置くモデルの単価", "モデル1個・1年当たり"),
    "accuracy": ("正解率の差", "ポイント"),
}
BILL_ITEMS = {
    "labels": "学習用とテスト用のラベル",
    "set_up": "立ち上げの技術者工数",
    "training": "最初の学習",
    "checks": "人が確認する回答",
    "retraining": "モデルの更新（確認済みの回答で学習）",
    "storage": "保存",
    "serving": "メモリに置くモデル",
}
ORIGINS = {True: "指定", False: "想定"}
# Whether accuracy has a value in the comparison, or costs are compared alone.
_WAY = {True: "有利である", False: "安い"}
# What more is asked for, and how it is counted.
_ASKED_FOR = {"seeds": ("シード", "個"), "test_images": ("テスト画像", "枚")}


def money(amount: float) -> str:
    """A sum to two significant digits, at most two of them decimals: 34_256 → "3.4万", -0.123 → "−0.12"."""
    size = round(abs(amount), 2)
    text = rounded(size) if size >= 10 else f"{size:.2g}"
    return f"\u2212{text}" if amount < 0 and float(f"{size:.2g}") else text


def money_span(low: float, likely: float, high: float) -> str:
    """ "3.4万（2.1万〜6万）", or one figure where there is no range."""
    ends = money(low), money(high)
    return money(likely) if ends[0] == ends[1] else f"{money(likely)}（{span(*ends)}）"


def currency(code: str) -> str:
    """ "USD" → "米ドル"; without a code, the currency that a price was given in."""
    return get_currency_name(code, count=2, locale="ja") if code else "label_priceと同じ通貨"


def tasks(number: float) -> str:
    """10.0 → "タスク10件"."""
    return many(f"{number:,.0f}", "タスク")


def bill_of(method: str) -> str:
    """Over the items of a bill."""
    return f"{the_method(method)}の費用の内訳"


def tornado_axis(a: str, b: str, valued: bool) -> str:
    """Below the tornado figure: what its bars measure."""
    what = "より多くもたらす額" if valued else "より安い額"
    return f"{the_method(a)}が{the_method(b)}{what}（評価期間の合計）"


def labels_each(needed: float, labels: dict[str, int]) -> str:
    """With how many labels each way reaches the accuracy that is needed, of the sizes that were run."""
    each = listed(f"{in_prose(method)}が{n:,}枚" for method, n in labels.items())
    return f"学習を行った枚数のうち、正解率{per_cent(needed, 0)}に届くラベル付き画像の枚数は、{each}である。"


@says
def not_priced() -> str:
    return "費用は計算していない。YAMLファイルのlabel_priceに、ラベル付き画像1枚の価格を指定する。"


@says
def none_to_price() -> str:
    return "勧める方式がないため、費用は計算していない。"


@says
def priced(
    method: str, tasks_planned: float, years: float, total: list[float], labelling: float, rival: str | None,
    rival_total: list[float] | None, assumed: int,
) -> str:  # fmt: skip
    other = ""
    if rival is not None and rival_total is not None:
        other = f"{the_method(rival)}の費用は{money_span(*rival_total)}である。"
    guessed = f"計算に使った値のうち{assumed:,}個は想定値である。" if assumed else ""
    return (
        f"{tasks(tasks_planned)}、{plain(years)}年間の{the_method(method)}の費用は{money_span(*total)}である。"
        f"その{per_cent(labelling, 0)}を、ラベルと人が確認する回答が占める。{other}{guessed}"
    )


@says
def further_labels(tasks_planned: float, train: int, test: int, checks: int) -> str:
    checked = f"運用では1年に{checks:,}件の回答を確認する。"
    if tasks_planned <= 1:
        return f"始めるための追加のラベルは要らない。この試験の画像を、そのタスクにそのまま使える。{checked}"
    return f"{tasks(tasks_planned)}には、学習用に{train:,}枚、テスト用に{test:,}枚のラベルが追加で必要である。{checked}"


@says
def brings_more(a: str, b: str, lead: list[float], probability: float, valued: bool) -> str:
    low, likely, high = lead
    if likely < 0:
        a, b, probability, (low, likely, high) = b, a, 1 - probability, (-high, -likely, -low)
    amount = money_span(low, likely, high)
    if not valued:
        return (
            f"{the_method(a)}は{the_method(b)}より{amount}安い。正解率1ポイントの価値（point_value）の指定が"
            "ないため、正解率はこの額に含まれない。"
        )
    return (
        f"正解率と費用を合わせると、{the_method(a)}は{the_method(b)}より{amount}多くをもたらす。"
        f"試算の{share(probability)}で、{the_method(a)}のほうが有利である。"
    )


def _turning(name: str, value: float) -> str:
    return f"{value:,.0f}" if name == "tasks_planned" and value >= 10 else money(value)


@says
def turns_at(
    name: str, value: float, low: float, high: float, share: float, below: str, above: str, valued: bool
) -> str:
    at, ends = _turning(name, value), span(_turning(name, low), _turning(name, high))
    some = f"試算の{per_cent(1 - share, 0)}には、このような境目がない。" if share < 0.95 else ""
    what, less, more = (
        (f"タスクが{at}件（{ends}件）", "少なければ", "多ければ")
        if name == "tasks_planned"
        else (f"ラベルの単価が{at}（{ends}）", "低ければ", "高ければ")
    )
    return f"{what}より{less}{the_method(below)}、{more}{the_method(above)}のほうが{_WAY[valued]}。{some}"


@says
def turns_nowhere(name: str, least: float, most: float, better: str, share: float, valued: bool) -> str:
    where = (
        f"タスクが{span(f'{least:,.0f}', f'{most:,.0f}')}件の範囲では"
        if name == "tasks_planned"
        else f"ラベルの単価が{money(most)}までは"
    )
    some = f"試算の{per_cent(share, 0)}では、どこかで入れ替わる。" if share > 0.05 else ""
    return f"{where}、{the_method(better)}のほうが{_WAY[valued]}。{some}"


@says
def worth_asking(kind: str, amount: int, worth: float, price: float, pays: bool) -> str:
    what, counter = _ASKED_FOR[kind]
    so = "それを上回る" if pays else "それを上回らない"
    return (
        f"{what}をあと{amount:,}{counter}増やす費用は{money(price)}である。"
        f"それで分かることの価値は平均{money(worth)}で、{so}。"
    )


@says
def labels_must_bring(labels: int, tasks_planned: float, price: float, gain: float) -> str:
    return (
        f"{tasks(tasks_planned)}のそれぞれに学習用のラベルをあと{labels:,}枚増やす費用は{money(price)}である。"
        f"正解率が{in_points(gain)}を超えて上がれば元が取れる。"
    )
