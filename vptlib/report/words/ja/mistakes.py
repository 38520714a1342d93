"""Sentences on what a method gets wrong (`vptlib.evidence.mistakes`, `certainty`, `limits`)."""

from collections.abc import Iterable

from vptlib.report.words.ja.base import interval, says
from vptlib.report.words.ja.numbers import decimals, in_points, per_cent, plain, span, whole
from vptlib.wording import apart

# ---- what a method gets wrong (vptlib.evidence.mistakes, certainty, limits) ----------------------------------------

# The rate of a limit; {classes} are those that it is for.
LIMITS = {
    "miss_rate": "{classes}の見逃し率",
    "false_alarm_rate": "{classes}の過検出率",
    "recall": "{classes}の再現率",
    "precision": "{classes}の適合率",
    "accuracy": "正解率",
}
LIMIT_VERDICTS = {"met": "達成", "not_met": "未達", "undecided": "未確定"}


def quoted(names: Iterable[str], most: int = 5) -> str:
    """Names of classes within a sentence: 「傷」「打痕」; of many, the first ones."""
    names = list(names)
    shown = "".join(f"「{apart(name)}」" for name in names[:most])
    return f"{shown}ほか{whole(len(names) - most)}種類" if len(names) > most else shown


def limit_in_words(kind: str, names: Iterable[str], limit: float, each_group: bool = False) -> str:
    """「傷」の見逃し率：2%以下; for each group, where it must be kept there."""
    where = "（グループごと）" if each_group else ""
    rate = LIMITS[kind].format(classes=quoted(names) if names else "")
    return f"{rate}：{limit_share(limit)}{_side(kind)}{where}"


def rate_interval(low: float, high: float) -> str:
    """0.551, 0.83 → 「55.1〜83.0%」."""
    return span(decimals(100 * low, 1), per_cent(high))


def limit_share(fraction: float) -> str:
    """0.025 → 「2.5%」, with all digits that were given."""
    return f"{100 * fraction:.4g}%"


def with_interval(value: float, low: float, high: float) -> str:
    """0.7, 0.551, 0.83 → 「70.0%（95%区間：55.1〜83.0%）」."""
    return f"{per_cent(value)}（{interval(decimals(100 * low, 1), per_cent(high))}）"


@says
def worst_class(name: str, recall: float, low: float, high: float, images: int, classes: int) -> str:
    return (
        f"最も認識できていないクラスは{quoted([name])}である。認識できたのは、そのテスト画像{whole(images)}枚の"
        f"{per_cent(recall)}（{interval(decimals(100 * low, 1), per_cent(high))}、クラス{whole(classes)}種類から"
        "選んだことを補正済み）である。"
    )


@says
def classes_not_tested(names: list[str], classes: int) -> str:
    more = f"ほか{whole(classes - len(names))}種類" if classes > len(names) else ""
    return f"{quoted(names, len(names))}{more}が写ったテスト画像はないため、これについては何も分からない。"


@says
def interval_of_rates(trainings: int, grouped: bool) -> str:
    drawn = "テスト画像（グループ単位）" if grouped else "テスト画像"
    if trainings == 1:
        return f"区間は{drawn}の選び方によるばらつきを表す。学習は1回だけなので、学習の運不運は含まない。"
    return f"数値は学習{whole(trainings)}回の平均である。区間は{drawn}の選び方と学習のばらつきを表す。"


@says
def worst_group(
    group: str, accuracy: float, low: float, high: float, images: int, groups: int, overall: float, clear: bool
) -> str:
    so = "明らかに下回る" if clear else "明らかに下回るとはいえない"
    return (
        f"最も成績が悪いのはグループ{apart(group)}である。そのテスト画像{whole(images)}枚の正解率は{per_cent(accuracy)}"
        f"（{interval(decimals(100 * low, 1), per_cent(high))}、グループ{whole(groups)}個から選んだことを補正済み）"
        f"である。テスト画像全体（{per_cent(overall)}）を{so}。"
    )


@says
def groups_too_small(groups: int, least: int) -> str:
    return (
        f"テスト画像はグループ{whole(groups)}個からなるが、{whole(least)}枚以上のグループが2個に満たない。"
        "このため、最も悪いグループを挙げることはできない。"
    )


@says
def no_probabilities() -> str:
    return (
        "この学習の記録には確率がないか、確率が数値になっていない。このため、モデルの確信の度合いについては何も"
        "いえない。今後の学習では確率を記録する。"
    )


@says
def some_without_probabilities(trainings: int, of: int) -> str:
    return (
        f"確率の記録があるのは学習{whole(of)}回のうち{whole(trainings)}回である。確率が必要な数値は、この分から求めた。"
    )


@says
def calibrated(seen: float, by_chance: float) -> str:
    return (
        f"確率に問題は見られない。ずれは平均{in_points(seen)}である。完全に正しい確率でも、この規模のテストでは"
        f"最大{in_points(by_chance)}ずれることがある。"
    )


@says
def not_calibrated(error: float, low: float, high: float, gap: float) -> str:
    side = "高すぎる" if gap > 0 else "低すぎる"
    return (
        f"確率のずれは平均{in_points(error)}（{interval(plain(100 * low), in_points(high))}）である。"
        f"全体として{in_points(abs(gap))}{side}。"
    )


@says
def answers_by_itself(
    wanted: float,
    threshold: float,
    share: float,
    share_low: float,
    share_high: float,
    accuracy: float,
    accuracy_low: float,
    accuracy_high: float,
) -> str:
    answered = interval(decimals(100 * share_low, 0), per_cent(share_high, 0))
    right = with_interval(accuracy, accuracy_low, accuracy_high)
    return (
        f"正解率{limit_share(wanted)}を条件とすると、モデルが自ら回答できるのは画像の{per_cent(share, 0)}"
        f"（{answered}）で、残りは人に回す。モデルが自ら回答した画像の正解率は{right}であった。"
        "この値は、しきい値の選定に使っていない画像で測った。"
    )


@says
def answers_none(wanted: float, needed: int) -> str:
    return (
        f"正解率{limit_share(wanted)}を満たすしきい値は選べないため、すべての画像を人が確認する必要がある。"
        f"{limit_share(wanted)}を示すには、モデルが正解するテスト画像が少なくとも{whole(needed)}枚必要である。"
    )


@says
def operating_point(
    names: list[str],
    wanted: float,
    threshold: float,
    misses: float,
    misses_low: float,
    misses_high: float,
    alarms: float,
    alarms_low: float,
    alarms_high: float,
) -> str:
    return (
        f"{quoted(names)}の見逃し率を{limit_share(wanted)}以下にするには、確率が{100 * threshold:.3g}%以上の画像を"
        f"そのクラスと判定する。このとき見逃し率は{with_interval(misses, misses_low, misses_high)}、過検出率"
        f"（ほかの画像を止めた割合）は{with_interval(alarms, alarms_low, alarms_high)}であった。"
        "どちらも、しきい値の選定に使っていない画像で測った。"
    )


@says
def too_few_defects(names: list[str], wanted: float, needed: int) -> str:
    return (
        f"{quoted(names)}の見逃し率を{limit_share(wanted)}以下にするしきい値は選べない。"
        f"そのクラスのテスト画像が少なくとも{whole(needed)}枚必要である。"
    )


@says
def limit_met(
    kind: str, names: list[str], limit: float, value: float, bound: float, images: int, trainings: int
) -> str:
    return f"実測値は{_measured(value, images, trainings)}であり、{_bound(kind, bound)}。したがって限度を満たす。"


@says
def limit_not_met(
    kind: str, names: list[str], limit: float, value: float, bound: float, images: int, trainings: int
) -> str:
    return f"実測値は{_measured(value, images, trainings)}である。限度を満たしておらず、偶然では説明できない。"


@says
def limit_open(
    kind: str, names: list[str], limit: float, value: float, bound: float, images: int, trainings: int, needed: int
) -> str:
    return (
        f"実測値は{_measured(value, images, trainings)}であり、{_bound(kind, bound)}。このままの率であれば、"
        f"該当するテスト画像が約{whole(needed)}枚あれば、限度を満たすことを示せる。"
    )


@says
def limit_open_for_good(
    kind: str, names: list[str], limit: float, value: float, bound: float, images: int, trainings: int, keeps: bool
) -> str:
    why = (
        "学習ごとの差が大きく、テスト画像を増やすだけでは限度を満たすことを示せない。シードを増やす必要がある"
        if keeps
        else "この率のままでは限度を満たさない。ただし、悪い値が偶然に出た可能性は残る"
    )
    return f"実測値は{_measured(value, images, trainings)}であり、{_bound(kind, bound)}。{why}。"


@says
def limit_without_images(kind: str, names: list[str], limit: float) -> str:
    return "該当するテスト画像がないため、確かめることができない。"


def _measured(value: float, images: int, trainings: int) -> str:
    of_each = "" if trainings == 1 else f"、学習{whole(trainings)}回の平均"
    return f"{per_cent(value)}（テスト画像{whole(images)}枚{of_each}）"


def _bound(kind: str, bound: float) -> str:
    return f"95%の信頼度で{per_cent(bound)}{_side(kind)}といえる"


def _side(kind: str) -> str:
    return "以下" if kind in ("miss_rate", "false_alarm_rate") else "以上"
