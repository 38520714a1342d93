"""判断ページの文（`vptlib.report.sections.decision`）。手法を知らない読み手に向けて書く."""

from vptlib.report.words.en.decision import ADD_ON, HEAD, LAST_PART, LOOK_UP, WHOLE, kind_of_way
from vptlib.report.words.ja.base import says, share, title
from vptlib.report.words.ja.choices import LEVELS
from vptlib.report.words.ja.money import currency, money
from vptlib.report.words.ja.numbers import duration, listed, per_cent, plain, span
from vptlib.report.words.ja.risks import named

_WAYS = {
    WHOLE: "モデル全体の再学習",
    HEAD: "最終段だけを学習した共有モデル",
    LAST_PART: "末尾の部分を再学習したモデル",
    LOOK_UP: "似た画像を探す共有モデル",
    ADD_ON: "共有モデルへの軽い追加学習",
}
_MOST_TITLES = 4
_SETTINGS = {"limits": "limits（見逃し、過検出の限度）"}


def way(method: str) -> str:
    """A method for a reader who does not know it: "共有モデルへの軽い追加学習（VPT-deep）"."""
    if kind_of_way(method) == WHOLE and title(method) == "全体の再学習":
        return _WAYS[WHOLE]
    return f"{_WAYS[kind_of_way(method)]}（{title(method)}）"


def short_way(method: str) -> str:
    """The same in a table."""
    return way(method)


def in_ten(probability: float) -> str:
    """0.78 → "10回中およそ8回"; never certainty."""
    if probability >= 0.95:
        return "10回中9回超"
    return "10回中1回未満" if probability < 0.05 else f"10回中およそ{round(10 * probability)}回"


# ---- the next step ----------------------------------------------------------------------------------------------


@says
def next_use(task: str, method: str, n: int) -> str:
    return f"{named(task)}には、ラベル付き画像{n:,}枚による{way(method)}を採用する。"


@says
def next_operate(task: str, method: str, n: int) -> str:
    return f"{named(task)}で、ラベル付き画像{n:,}枚による{way(method)}の本運用を始める。"


@says
def next_pilot(task: str, method: str, n: int) -> str:
    return f"{named(task)}で、ラベル付き画像{n:,}枚による{way(method)}を試行運用する。回答はすべて人が確認する。"


@says
def next_seeds(task: str, now: int, wanted: int | None) -> str:
    times = "さらに多く" if wanted is None else f"{wanted:,}回ずつ"
    return f"{named(task)}の学習を{times}くり返してから判断する（現在は{now:,}回）。"


@says
def next_test_images(task: str, now: int, wanted: int | None) -> str:
    many_more = "増やして" if wanted is None else f"{now:,}枚から約{wanted:,}枚に増やして"
    return f"{named(task)}のテスト画像を{many_more}から判断する。"


@says
def next_larger_input(task: str) -> str:
    return f"{named(task)}の入力サイズを大きくしてから判断する。"


@says
def next_train_longer(task: str) -> str:
    return f"{named(task)}の学習を長くしてから判断する。"


@says
def next_labels(task: str, now: int, wanted: int | None, pilot: bool) -> str:
    up_to = "増やす" if wanted is None else f"{now:,}枚から{wanted:,}枚に増やす"
    checked = "それまで、回答はすべて人が確認する。" if pilot else ""
    return f"{named(task)}の学習用ラベルを{up_to}。{checked}"


@says
def next_use_none(task: str) -> str:
    return f"{named(task)}では、試したどの手法も採用せず、現在の方法を続ける。"


@says
def next_finish(task: str) -> str:
    return f"{named(task)}の試験を最後まで実行する。まだ結論は出ていない。"


# ---- how sure ---------------------------------------------------------------------------------------------------


@says
def sure_of_use(level: str, probability: float, ways: int, left: str | None) -> str:
    among = "" if ways < 2 else f"比較した{ways}種類の手法のうち、"
    also = "" if left is None else f"{title(left)}が正しい可能性も残るため、「高」とはしない。"
    return f"確信度：{LEVELS[level]}。{among}これが正しい選択である見込みは、{in_ten(probability)}である。{also}"


@says
def sure_of_reaching(level: str, probability: float, bar: float) -> str:
    return (
        f"確信度：{LEVELS[level]}。実際に使うモデルの正解率が{per_cent(bar, 0)}に届く見込みは、"
        f"{in_ten(probability)}である。"
    )


@says
def sure_of_none(level: str, probability: float) -> str:
    return f"確信度：{LEVELS[level]}。どの手法も不十分である見込みは、{in_ten(probability)}である。"


@says
def sure_of_nothing(seeds: int, fewest: int, seconds: float | None) -> str:
    settings = ", ".join(str(seed) for seed in range(fewest))
    time = "" if seconds is None else f"（あと約{duration(seconds)}）"
    return (
        f"簡易確認のため、確率は示せない。各数値の裏付けは学習{seeds}回だけで、実力と偶然を区別できない。"
        f"YAMLファイルのseeds: [{settings}]と、その学習の時間{time}が必要である。そのうえで同じコマンドを実行する。"
    )


@says
def sure_so_far(method: str, probability: float) -> str:
    return f"まだ決まらない。今のところ{title(method)}が先行し、正しい選択である見込みは{in_ten(probability)}である。"


@says
def sure_of_missing(probability: float, bar: float) -> str:
    return (
        f"まだ決まらない。今のところ、実際に使うモデルの正解率が{per_cent(bar, 0)}に届く見込みは、"
        f"{in_ten(probability)}である。"
    )


@says
def none_keeps_limits_yet() -> str:
    return "まだ決まらない。設定した限度を満たすと確認できた手法はない。"


@says
def none_leads_yet() -> str:
    return "まだ決まらない。今のところ、画像を見ない場合より明らかに良い手法はない。"


@says
def not_finished_yet(lacking: list[str]) -> str:
    if not lacking:
        return "まだ分からない。同じシードで完了した学習がない。同じコマンドで続きから実行できる。"
    names = listed(map(title, lacking))
    return f"まだ分からない。{names}の学習が完了していない。時間を増やして同じコマンドを実行すると、続きから進む。"


# ---- against today ----------------------------------------------------------------------------------------------


@says
def right_in_test(method: str, accuracy: float, low: float, high: float, n: int) -> str:
    ends = span(f"{100 * low:.1f}", per_cent(high))
    return f"{title(method)}の正解率は{per_cent(accuracy)}（{ends}）。ラベル付き画像は{n:,}枚である。"


@says
def against_today(today: float, chance: float | None) -> str:
    if chance is None:
        return f"現在の正解率は{per_cent(today, 0)}である。"
    return f"現在の正解率は{per_cent(today, 0)}である。実際に使うモデルが同等以上となる確率は{share(chance)}である。"


@says
def against_needed(needed: float, chance: float | None) -> str:
    if chance is None:
        return f"必要な正解率は{per_cent(needed, 0)}である。"
    return f"必要な正解率は{per_cent(needed, 0)}である。実際に使うモデルがこれに届く確率は{share(chance)}である。"


@says
def limit_on_page(kind: str, names: list[str], limit: float, value: float | None, verdict: str, group: str) -> str:
    rates = {
        "miss_rate": "{classes}の見逃し率",
        "false_alarm_rate": "{classes}の過検出率",
        "recall": "{classes}の検出率",
        "precision": "{classes}と判定したときの正解率",
        "accuracy": "正解率",
    }
    classes = "".join(named(name) for name in names[:2]) + ("など" if len(names) > 2 else "")
    side = "以下" if kind in ("miss_rate", "false_alarm_rate") else "以上"
    measured = "該当するテスト画像なし" if value is None else per_cent(value)
    said = {"met": "満たす", "not_met": "満たさない", "undecided": "未確認"}[verdict]
    lot = f"ロット{named(group)}での" if group else ""
    return f"{lot}{rates[kind].format(classes=classes)}：{measured}（限度{100 * limit:.4g}%{side}）。{said}。"


@says
def further_limits(limits: int, not_kept: int) -> str:
    return f"ほかに限度が{limits}件あり、{not_kept}件は満たすことを確認できていない。詳細は後の章に示す。"


@says
def nothing_to_compare_with(lacking: list[str]) -> str:
    names = [_SETTINGS.get(name, name) for name in lacking]
    return f"ここで判定するには、YAMLファイルに{listed(names)}を書く。"


# ---- cost -------------------------------------------------------------------------------------------------------


@says
def step_takes_time(seconds: float) -> str:
    return f"次の一手に要する計算時間は約{duration(seconds)}である。ラベルは要らない。"


@says
def step_takes_images(images: int, price: float | None, training: bool) -> str:
    cost = "" if price is None else f"（費用は約{money(price)}）"
    kind = "学習用のラベル付き画像" if training else "ラベル付きテスト画像"
    return f"次の一手には、{kind}があと{images:,}枚要る{cost}。"


@says
def costs_in_money(tasks: float, assumed: int, unit: str) -> str:
    guessed = f"前提のうち{assumed}件は想定値である。" if assumed else ""
    return f"タスク{tasks:,.0f}件分（単位：{currency(unit)}）。範囲は95%が入る幅である。{guessed}"


@says
def costs_without_prices() -> str:
    return "金額を示すには、YAMLファイルにlabel_priceを書く（分かればtasks_planned、engineer_day_priceも）。"


@says
def costs_of_none() -> str:
    return "採用する手法がないため、費用は示さない。"


# ---- decide again -----------------------------------------------------------------------------------------------


@says
def decide_again_when(n: int | None, why: str, wait: bool) -> str:
    if why == "change":
        return "画像、問い、共有モデルのいずれかが変わったときに再判断する。"
    if wait or n is None:
        return "次の一手が終わり次第、再判断する。"
    reason = {
        "decide_again_by_record": "過去の事例では、そこで答えが変わる見込みの方が高い",
        "decide_again_past_record": "過去の事例では、そこまで答えは変わらない見込みの方が高い",
    }.get(why, "慣例であり、予測に基づくものではない")
    return f"ラベル付き画像が{n:,}枚になったら再判断する（{reason}）。"


@says
def who_decides() -> str:
    return "判断するのは下の承認者である。vpt reportを実行する担当技術者が、新しい報告書を提出する。"


# ---- figure -----------------------------------------------------------------------------------------------------


@says
def curve_says(
    method: str, accuracy: float, n: int, best: str, best_accuracy: float, needed: float | None, today: float | None,
    pixels: int | None, sizes: int,
) -> str:  # fmt: skip
    if best == method:
        first = f"ラベル付き画像{n:,}枚で正解率が最も高いのは{title(method)}（{per_cent(accuracy)}）である。"
    else:
        first = (
            f"ラベル付き画像{n:,}枚での正解率は、{title(method)}が{per_cent(accuracy)}、"
            f"最も高い{title(best)}が{per_cent(best_accuracy)}である。"
        )
    marks = [
        f"平均では{name}{per_cent(mark, 0)}に{'届く' if accuracy >= mark else '届かない'}。"
        for name, mark in (("必要な", needed), ("現在の", today))
        if mark is not None
    ]
    seen = "" if pixels is None else f"入力サイズは{pixels} × {pixels} pxである。"
    rest = "縦線は95%区間。" if sizes == 1 else "帯は95%区間。"
    return f"{first}{''.join(marks)}{seen}{rest}"


# ---- several tasks ----------------------------------------------------------------------------------------------


@says
def tasks_agree(tasks: int, step: str, method: str | None, wrong: float | None) -> str:
    return f"次の一手は{tasks}件のタスクすべてで同じである。{step_in_short(step, method)}。{_expected_wrong(wrong)}"


@says
def tasks_differ(tasks: int, steps: list[dict], wrong: float | None) -> str:
    each = "。".join(f"{_titles(one['titles'])}：{step_in_short(one['step'], one['method'])}" for one in steps)
    return f"次の一手は{tasks}件のタスクで異なる。{each}。{_expected_wrong(wrong)}"


def step_in_short(step: str, method: str | None) -> str:
    """A next step in a table, by its code."""
    if step in ("next_use", "next_operate", "next_pilot"):
        verb = {"next_use": "採用する", "next_operate": "本運用する", "next_pilot": "試行運用する"}[step]
        return f"{way(str(method))}を{verb}"
    return {
        "next_seeds": "学習をくり返してから判断する",
        "next_test_images": "テスト画像を増やしてから判断する",
        "next_larger_input": "入力サイズを大きくしてから判断する",
        "next_train_longer": "学習を長くしてから判断する",
        "next_labels": "学習用のラベルを増やす",
        "next_use_none": "試した手法はどれも採用しない",
        "next_finish": "試験を最後まで実行する",
    }[step]


def _titles(titles: list[str]) -> str:
    few = "".join(named(one) for one in titles[:_MOST_TITLES])
    return few + (f"ほか{len(titles) - _MOST_TITLES}件" if len(titles) > _MOST_TITLES else "")


def _expected_wrong(wrong: float | None) -> str:
    if wrong is None:
        return ""
    return f"結論の出たタスクのうち、およそ{plain(round(100 * wrong, 1))}%は誤りと見込まれる。"
