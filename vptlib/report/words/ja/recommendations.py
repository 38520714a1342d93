"""Sentences on what to do and why (`vptlib.evidence.questions`, `reasons`, `track_record`)."""

from vptlib.evidence.recommendation import (
    FULL,
    LARGER_INPUT,
    MORE_LABELS,
    MORE_SEEDS,
    MORE_TEST_IMAGES,
    PROMPT,
    STEPS,
    TRAIN_LONGER,
)
from vptlib.report.words.ja.base import ahead, ahead_interval, in_prose, interval, says, sentence, share, title
from vptlib.report.words.ja.choices import CHOICES, HEADLINES, LEVELS, USED
from vptlib.report.words.ja.numbers import (
    decimals,
    duration,
    in_points,
    listed,
    many,
    per_cent,
    points,
    rounded,
    storage,
)
from vptlib.statement import Statement

# ---- recommendations (vptlib.evidence.questions, vptlib.evidence.reasons) -----------------------------------------


def choice(code: str, method: str | None) -> str:
    """A choice in a few words: "VPT-deepを使う", "シードを増やす"."""
    return CHOICES[code] if code in STEPS else f"{in_prose(str(method))}を使う"


def headline(code: str, method: str | None) -> str:
    """A choice as a headline for someone who has to act on it."""
    return HEADLINES[code] if code in STEPS else USED.get(str(method), f"{the_method(str(method))}を採用する")


def the_method(method: str) -> str:
    """A method in a sentence that acts on it: in Japanese its title."""
    return in_prose(method)


def _between(low: float, high: float) -> str:
    """0.752, 0.848 → "（95%区間：75.2〜84.8%）"."""
    return f"（{interval(decimals(100 * low, 1), per_cent(high))}）"


@says
def seen(n: int, images: int, methods: list[str], accuracies: list[float], chance: float | None) -> str:
    each = [f"{in_prose(method)}が{per_cent(value)}" for method, value in zip(methods, accuracies, strict=True)]
    guess = "" if chance is None else f"画像を見ずに最も多いクラスを答え続けると、{per_cent(chance)}になる。"
    return f"ラベル付き画像{n:,}枚での、テスト画像{images:,}枚に対する正解率は、{listed(each)}である。{guess}"


@says
def not_compared_yet(n: int, lacking: list[str]) -> str:
    if not lacking:
        return f"{title(PROMPT)}と{in_prose(FULL)}には共通のシードがまだないため、比較できない。"
    return (
        f"{listed(map(in_prose, lacking))}は、時間が足りず、ラベル付き画像{n:,}枚での学習がまだ終わっていない。"
        "このため2つの方式を比較できない。時間を増やして同じコマンドを実行すれば、続きから再開する。"
    )


@says
def best_so_far(method: str, n: int, accuracy: float, low: float, high: float) -> str:
    return (
        f"終わった学習のうち最も良いのは{in_prose(method)}である。"
        f"ラベル付き画像{n:,}枚での正解率は{per_cent(accuracy)}である{_between(low, high)}。"
    )


@says
def quick_look(seeds: int, fewest: int, seconds: float) -> str:
    return (
        f"各数値の裏付けはシード{seeds}個だけである。これでは、学習画像の選ばれ方による偶然の影響が十分に見えない。"
        f"少なくともシード{fewest}個で学習する。新しいラベルは要らず、必要なのは時間だけである{_so_long(seconds)}。"
    )


@says
def cut_short(methods: list[str]) -> str:
    return (
        f"{listed(map(in_prose, methods))}の学習は、打ち切りが早すぎた。最後のステップが最も良い結果だった。"
        "学習を延ばすと手法の順位が変わりうる。ステップ数を増やす。"
    )


@says
def at_chance(method: str, accuracy: float, low: float, high: float, chance: float) -> str:
    return (
        f"最も多いクラスを答え続けた場合の正解率（{per_cent(chance)}）を、明らかに上回る手法がない。"
        f"最も良い{in_prose(method)}の正解率は{per_cent(accuracy)}である{_between(low, high)}。"
    )


@says
def little_above_chance(method: str, accuracy: float, low: float, high: float, chance: float) -> str:
    return (
        f"役に立つ手法がない。最も良い{in_prose(method)}の正解率は{per_cent(accuracy)}である{_between(low, high)}。"
        f"最も多いクラスを答え続けた場合の正解率は{per_cent(chance)}である。"
    )


@says
def reaches(method: str, bar: float, chance: float, of_today: bool) -> str:
    return (
        f"{_mark(bar, of_today)}{the_method(method)}はこれに届く。1回の学習で届く確率は{share(chance)}である。"
        "ほかに届く手法があっても、損失はこの手法が最も小さい。"
    )


def _mark(bar: float, of_today: bool) -> str:
    """What is to be reached, as a sentence."""
    return f"{'現在のやり方の' if of_today else '業務に必要な'}正解率は{per_cent(bar)}である。"


@says
def not_reached(method: str, bar: float, accuracy: float, chance: float, mean: float, of_today: bool) -> str:
    return (
        f"{_mark(bar, of_today)}最も近いのは{in_prose(method)}で、正解率は{per_cent(accuracy)}である。"
        f"この水準に届く確率は、1回の学習では{share(chance)}、多数の学習の平均では{share(mean)}である。"
    )


@says
def limits_not_kept(method: str, finding: Statement) -> str:
    return f"指定の限度を守ると示された手法がない。{the_method(method)}については次のとおりである。{sentence(finding)}"


@says
def lightest_of_the_best(method: str, margin: float, lighter: dict | None, heavier: dict | None) -> str:
    others = [("重い", heavier), ("軽い", lighter)]
    parts = [
        f"より{kind}手法のうち最も良い{the_method(pair['second'])}と比べると、{_compared(pair)}。"
        for kind, pair in others
        if pair
    ]
    weight = "最も軽い手法" if lighter is None else "最も重い手法" if heavier is None else "重さが中間の手法"
    compared = "".join(parts) or "ほかの手法は比較していない。"
    return f"{the_method(method)}は{weight}である。{compared}意味のある最小の差は{in_points(margin)}である。"


def _compared(pair: dict) -> str:
    return f"{ahead(pair['difference'])}（{ahead_interval(pair['low'], pair['high'])}）"


@says
def best_after_costs(method: str) -> str:
    return f"正解率1ポイントの価値で費用を換算して差し引くと、期待値が最も高いのは{the_method(method)}である。"


@says
def open_between(
    first: str, second: str, step: str, now: int, wanted: int, worth: float, seconds: float | None, groups: int | None
) -> str:
    of_groups = f"（グループは{groups:,}個から約{round(groups * wanted / now):,}個へ）" if groups else ""
    what = {
        MORE_SEEDS: f"シードを{now:,}個から約{wanted:,}個に増やすこと{_so_long(seconds)}",
        MORE_TEST_IMAGES: f"テスト画像を{now:,}枚から約{wanted:,}枚に増やすこと{of_groups}",
    }[step]
    return (
        f"{the_method(first)}と{the_method(second)}のどちらがよいかは、これまでの学習では決まらない。"
        f"最も絞り込めるのは、{what}である。その価値は、平均して正解率{in_points(worth)}に当たる。"
    )


def _so_long(seconds: float | None) -> str:
    """How long further runs take, in brackets."""
    return "" if seconds is None else f"（学習に約{duration(seconds)}）"


@says
def sure(
    method: str,
    level: str,
    probability: float,
    replicates: int,
    claim: str,
    bar: float | None,
    margin: float,
    quick: bool,
    left: str | None,
) -> str:
    said = {
        "right": f"最良との差が{in_points(margin)}以内の手法のうち、{the_method(method)}が最も軽かった",
        "reaches": f"{the_method(method)}の1回の学習が正解率{per_cent(bar or 0)}に届いた",
    }[claim]
    seeds = "シードが少ないため、簡易確認である。" if quick else ""
    capped = f"区間から見て{the_method(left)}が正しいこともありうるため、高とはしない。" if left else ""
    return (
        f"確信度は{LEVELS[level]}である。再標本化した試験{replicates:,}件の{share(probability)}で、"
        f"{said}。{seeds}{capped}"
    )


@says
def leads_so_far(method: str, probability: float, margin: float, quick: bool) -> str:
    leads = f"まだ決まらない。今のところ優位に立つのは{the_method(method)}"
    if quick:
        return f"{leads}だが、簡易確認ではその確率を示せない。"
    return f"{leads}で、最良との差が{in_points(margin)}以内で最も軽い手法である確率は{share(probability)}である。"


@says
def none_leads(chance: float) -> str:
    return (
        f"まだ決まらない。今のところ、最も多いクラスを答え続けた場合（正解率{per_cent(chance)}）より"
        "明らかに役立つ手法はない。"
    )


@says
def sure_nothing_works(level: str, probability: float) -> str:
    return f"確信度は{LEVELS[level]}である。ここに十分な手法が1つもない確率は{share(probability)}である。"


@says
def loss(method: str, loss: float, other: str, other_loss: float) -> str:
    return (
        f"今、{the_method(method)}に決めた場合の損失は、正解率の低下または不要な重さとして、平均{_loss(loss)}である。"
        f"次点の{in_prose(other)}では{_loss(other_loss)}になる。"
    )


def _loss(fraction: float) -> str:
    """A loss, such as "0.2ポイント"; a small one is never called none."""
    return "0.1ポイント未満" if fraction < 0.0005 else in_points(fraction)


_DOUBTS = {
    "best_at_last_step": "打ち切られた学習",
    "choice_at_edge": "試した範囲の端での選択",
    "seeds_diverge": "シードによる大きすぎる差",
    "accuracy_falls": "ラベルの増加に伴う正解率の低下",
    "collapsed": "当て推量と変わらない学習",
}


@says
def audit_doubts(codes: list[str], methods: list[str]) -> str:
    return (
        f"実行記録の点検で、{listed(_DOUBTS[code] for code in codes)}が見つかった（{listed(map(in_prose, methods))}）。"
        "このため確信度を高とはしない。"
    )


@says
def methods_lacking(methods: list[str], n: int) -> str:
    return f"{listed(map(in_prose, methods))}は、ラベル付き画像{n:,}枚で比較できる学習がないため、除いた。"


@says
def seeds_not_common(common: int, unused: list[int]) -> str:
    return f"全手法に共通する{many(common, 'シード')}だけを比較した。番号{listed(unused)}のシードは除いた。"


@says
def two_ways(first: str, second: str, difference: float, low: float, high: float, n: int) -> str:
    return (
        f"ラベル付き画像{n:,}枚で{title(first)}を{in_prose(second)}と比べると、"
        f"{ahead(difference)}（{ahead_interval(low, high)}）。"
    )


@says
def settles(difference: float, seeds: int, images: int) -> str:
    return (
        f"{many(seeds, 'シード')}、テスト画像{images:,}枚という規模の試験なら、{in_points(difference)}の差を"
        "見分けられる（5回中4回の割合で）。それより小さい差は決着しない。"
    )


@says
def told_apart_before(seeds: int, images: int, difference: float, groups: int | None) -> str:
    grouped = (
        f"テスト画像は{groups:,}個のグループに分かれる。グループどうしが異なるほど、見分ける力は下がる。"
        if groups
        else ""
    )
    return (
        f"{many(seeds, 'シード')}、テスト画像{images:,}枚の試験なら、約{in_points(difference)}の差を"
        f"見分けられる（5回中4回の割合で）。{grouped}"
    )


@says
def told_apart(seeds: int, images: int, difference: float, expected: float) -> str:
    seen = (
        f"{many(seeds, 'シード')}、テスト画像{images:,}枚のこの試験は、5回中4回の割合で{in_points(difference)}の差を"
        "見分ける。"
    )
    if in_points(difference) == in_points(expected):
        return f"{seen}実行前の見込みと同じである。"
    more = "大きい" if difference > expected else "小さい"
    return f"{seen}実行前の見込みは{in_points(expected)}で、結果のばらつきは通常より{more}。"


@says
def lead_changes(n: float, low: float, high: float, leader: str) -> str:
    return (
        f"{in_prose(PROMPT)}と{in_prose(FULL)}の優劣は、ラベル付き画像が約{rounded(n)}枚のところで逆転する"
        f"（{interval(rounded(low), rounded(high))}枚）。それより多いと{in_prose(leader)}が上回る。"
    )


@says
def weights(methods: list[str], stored: list[int], seconds: list[float]) -> str:
    each = [
        f"{in_prose(method)}が{storage(size)}と{duration(time)}"
        for method, size, time in zip(methods, stored, seconds, strict=True)
    ]
    return f"タスクを1件増やすごとの保存量と、1回の学習時間は、{listed(each)}である。"


@says
def last_labels(method: str, smaller: int, n: int, gain: float, low: float, high: float) -> str:
    return (
        f"ラベル付き画像を{smaller:,}枚から{n:,}枚に増やしたときの{in_prose(method)}の正解率の変化は"
        f"{points(gain)}ポイントである（{interval(points(low), points(high))}ポイント）。"
    )


@says
def change_by_backbone() -> str:
    return "結論を変えうるのは、別のバックボーン、別の画像、より易しい課題である。ラベルやシードの追加では変わらない。"


@says
def change_by_step(step: str) -> str:
    return {
        MORE_SEEDS: "設定のシード数を増やして同じコマンドを実行すれば、これまでの学習の続きから始めて答えを出す。",
        MORE_TEST_IMAGES: "テスト用のラベル付き画像を増やし、設定の枚数も増やして、同じコマンドを実行する。",
        LARGER_INPUT: "設定の入力サイズを大きくするか時間を増やして、同じコマンドを実行する。",
        TRAIN_LONGER: "設定のステップ数を増やして、同じコマンドを実行する。",
        MORE_LABELS: "学習用のラベル付き画像を増やし、設定の枚数も増やして、同じコマンドを実行する。",
    }[step]


@says
def change_by_bar(bar: float) -> str:
    return f"目標の正解率が{per_cent(bar)}でなければ、結論は変わりうる。ラベルが増えれば、手法の順位も変わりうる。"


@says
def change_by_rival(rival: str, probability: float) -> str:
    return (
        f"{the_method(rival)}のほうが正しい確率は{share(probability)}である。ラベルが増えれば、手法の順位は変わりうる。"
    )


@says
def labels_to_make(missing: int, pool: int) -> str:
    return (
        f"手元の画像のうち学習に使えるラベル付き画像は{pool:,}枚なので、あと{missing:,}枚にラベルを付ける必要がある。"
    )


@says
def change_by_other_methods(method: str) -> str:
    return f"比較したのは{the_method(method)}だけなので、ほかの手法の学習が加われば結論は変わりうる。"


# ---- the record of the rule (vptlib.evidence.track_record) --------------------------------------------------------


@says
def record_of_rule(level: str, tables: int, answers: int, right: int, low: float, high: float) -> str:
    return (
        f"正しい答えを仕込んだ模擬の表{tables:,}件で、この規則は確信度「{LEVELS[level]}」を{answers:,}回示した。"
        f"そのうち正しかったのは{right:,}回、{per_cent(right / answers)}である{_between(low, high)}。"
        "仕込んだものと異なる状況では、この割合も異なる。"
    )


@says
def record_too_small(level: str, tables: int, answers: int) -> str:
    often = f"{many(answers, '回')}しか示さなかった" if answers else "一度も示さなかった"
    return (
        f"正しい答えを仕込んだ模擬の表{tables:,}件で、この規則は確信度「{LEVELS[level]}」を{often}。"
        "実績とするには答えが少なすぎる。"
    )
