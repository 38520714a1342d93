"""起こりうる問題と、それを見つける手段の文（`vptlib.evidence.risks`）."""

from vptlib.report.words.ja.base import says, share, title
from vptlib.report.words.ja.numbers import in_points, per_cent, plain
from vptlib.wording import apart

_LONGEST_NAME = 40
_RATES = {
    "miss_rate": "{classes}の見逃し率",
    "false_alarm_rate": "{classes}の過検出率",
    "recall": "{classes}の検出率",
    "precision": "{classes}と判定したときの正解率",
    "accuracy": "正解率",
}
_LIMITS_TO_GIVE = {
    "accuracy": "必要な正解率（limitsのaccuracy）",
    "recall": "このクラスの限度（limitsのrecall）",
    "each_group": "ロットごとの限度（limitsにevery: group）",
}
_AUDIT_RISKS = {
    "collapsed": "{method}の学習が成立していない",
    "seeds_diverge": "{method}の学習の一つが、ほかより大きく劣る",
    "accuracy_falls": "{method}はラベルを増やすと正解率が下がった。学習に問題がある兆候である",
    "best_at_last_step": "{method}の学習は途中で打ち切られた。実力は表示より高い可能性がある",
    "choice_at_edge": "{method}の設定値は試した範囲の端にある。実力は表示より高い可能性がある",
}
_CURES = {
    "collapsed": "該当する学習を確認し、別のシードでやり直す",
    "seeds_diverge": "設定のseedsを増やし、同じコマンドを実行する",
    "accuracy_falls": "設定のseedsを増やし、同じコマンドを実行する",
    "best_at_last_step": "設定のstepsを増やし、同じコマンドを実行する",
    "choice_at_edge": "設定のcandidatesを増やし、同じコマンドを実行する",
}


def named(name: str) -> str:
    """A name within a sentence, kept short, and apart from it where it is written from right to left."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return f"「{apart(short)}」"


def _limit_of(kind: str, names: list[str], limit: float, group: str) -> str:
    """「きず」の見逃し率（2%以下）."""
    first, more = "".join(named(name) for name in names[:2]), "など" if len(names) > 2 else ""
    side = "以下" if kind in ("miss_rate", "false_alarm_rate") else "以上"
    lot = f"ロット{named(group)}での" if group else ""
    return f"{lot}{_RATES[kind].format(classes=first + more)}（{100 * limit:.4g}%{side}）"


# ---- what can go wrong ------------------------------------------------------------------------------------------


@says
def risk_used_all_the_same(method: str, accuracy: float) -> str:
    return f"最も良い{title(method)}がそのまま使われる。正解率は{per_cent(accuracy, 0)}にすぎない。"


@says
def risk_quick_look(seeds: int) -> str:
    return f"各数値の裏付けは学習{seeds}回だけである。偶然の結果かもしれない。"


@says
def risk_another_way(rival: str, probability: float) -> str:
    return f"{title(rival)}の方が正しい選択かもしれない（確率{share(probability)}）。"


@says
def risk_something_works(probability: float) -> str:
    return f"実は使える手法がある（確率{share(probability)}）。"


@says
def risk_blind(difference: float, images: int, seeds: int) -> str:
    return f"テスト画像{images:,}枚、シード{seeds}個では、手法間の{in_points(difference)}未満の差を見分けられない。"


@says
def risk_drift() -> str:
    return "運用開始後に画像が変わる（カメラ、照明、仕入先、品種の変更など）。"


@says
def risk_limit_not_met(kind: str, names: list[str], limit: float, value: float | None, group: str, others: int) -> str:
    measured = "" if value is None else f"実測は{per_cent(value)}である。"
    more = f"ほかにも{others}件の限度を満たさない。" if others else ""
    return f"限度を満たさない：{_limit_of(kind, names, limit, group)}。{measured}{more}"


@says
def risk_limit_open(kind: str, names: list[str], limit: float, value: float | None, group: str, others: int) -> str:
    measured = "該当するテスト画像がない。" if value is None else f"実測は{per_cent(value)}である。"
    more = f"ほかに{others}件も未確認である。" if others else ""
    return f"限度を満たすことを確認できていない：{_limit_of(kind, names, limit, group)}。{measured}{more}"


@says
def risk_not_reached(bar: float, chance: float) -> str:
    return f"実際に使うモデルの正解率が{per_cent(bar, 0)}に届かない（確率{share(1 - chance)}）。"


@says
def risk_weak_lot(group: str, accuracy: float, overall: float) -> str:
    return f"ロット{named(group)}の正解率が低い：{per_cent(accuracy, 0)}（全体は{per_cent(overall, 0)}）。"


@says
def risk_weak_class(name: str, recall: float, overall: float) -> str:
    return f"{named(name)}の正解率が低い：{per_cent(recall, 0)}（全体は{per_cent(overall, 0)}）。"


@says
def risk_class_untested(name: str, classes: int) -> str:
    more = f"ほか{classes - 1}種類のクラス" if classes > 1 else ""
    return f"{named(name)}{more}の成績は分からない。テスト画像がないためである。"


@says
def risk_wrong_answers(wrong: float) -> str:
    images = plain(100 * wrong) if wrong < 0.02 else str(round(100 * wrong))
    return f"誤答が出る。テストでは100枚中およそ{images}枚であった。"


@says
def risk_not_calibrated(error: float, gap: float) -> str:
    side = "過大" if gap > 0 else "過小"
    return f"モデルの示す確率が{side}である。平均{in_points(error)}ずれている。"


@says
def risk_audit(finding: str, method: str, warnings: int) -> str:
    more = f"実行記録の警告はほかに{warnings - 1}件ある。" if warnings > 1 else ""
    return f"{_AUDIT_RISKS[finding].format(method=title(method))}。{more}"


@says
def risk_small_input(size: int, accuracy: float, smaller: int, smaller_accuracy: float) -> str:
    return (
        f"入力サイズ{smaller} pxは小さすぎる。学習前のモデルによる簡易確認では、{size} pxで"
        f"{per_cent(accuracy, 0)}、{smaller} pxで{per_cent(smaller_accuracy, 0)}を正解する。"
    )


@says
def risk_groups_on_both_sides(tested: int, test: int) -> str:
    return f"数値が実力より良く見える。テスト画像{test:,}枚のうち{tested:,}枚は、学習にも使ったロットのものである。"


@says
def risk_duplicates(copies: int, tested: int) -> str:
    return f"数値が実力より良く見える。テスト画像{tested:,}枚のうち{copies:,}枚は、学習にも使われた。"


@says
def risk_labels_contradict(pairs: int) -> str:
    return f"ラベルが矛盾している。同じ画像が二つのクラスに入っている（{pairs:,}組）。"


@says
def risk_images(warnings: int) -> str:
    return f"画像そのものに問題がある。点検の警告は{warnings}件である。"


@says
def risk_unseen_lots() -> str:
    return "新しいロット、拠点、カメラでは成績が下がるかもしれない。画像のロットが不明である。"


# ---- what catches it --------------------------------------------------------------------------------------------


@says
def caught_at_promotion() -> str:
    return "本番昇格前の試験。限度を満たさない版は昇格できない（vpt prompts promote）。"


@says
def caught_by_seeds(fewest: int) -> str:
    return f"学習を{fewest}回以上くり返す（設定のseeds）。"


@says
def caught_by_deciding_again(n: int | None) -> str:
    return "ラベルを増やして再判断する。" if n is None else f"ラベル付き画像{n:,}枚での再判断。"


@says
def caught_by_another_study() -> str:
    return "画像または共有モデルを変えた、別の試験。"


@says
def caught_by_test_images() -> str:
    return "テスト画像を増やす。"


@says
def caught_by_watching() -> str:
    return "人による回答の確認と、新しい画像の監視（vpt prompts status）。"


@says
def caught_by_more_cases(images: int | None) -> str:
    if images is None:
        return "学習のくり返しを増やす、またはより良いモデル。それまでは昇格できない（vpt prompts promote）。"
    return f"該当するテスト画像が約{images:,}枚あれば確認できる。それまでは昇格できない（vpt prompts promote）。"


@says
def caught_by_a_limit(kind: str) -> str:
    return f"本番昇格前の試験。{_LIMITS_TO_GIVE[kind]}を設定しておく。"


@says
def caught_by_checking_all() -> str:
    return "人がすべての回答を確認するしかない。どの回答が確かか、この試験では分からない。"


@says
def caught_by_a_person(checked: float, accuracy: float) -> str:
    return f"確信度の低い{per_cent(checked, 0)}を人が確認する。残りの正解率は{per_cent(accuracy, 0)}である。"


@says
def caught_by_a_threshold() -> str:
    return "人に回す画像は、モデルの示す確率ではなく、テスト画像で決めたしきい値で選ぶ。"


@says
def caught_by_another_run(finding: str) -> str:
    return f"{_CURES[finding]}。"


@says
def caught_by_a_larger_input() -> str:
    return "設定の入力サイズを大きくする、または時間を増やす。"


@says
def caught_by_dividing_anew() -> str:
    return "画像を分け直し、同じロットと同じ画像を片側にそろえる。残りはvpt data checkで見つかる。"


@says
def caught_by_the_check() -> str:
    return "画像の点検（vpt data check）が該当する画像を示す。次の試験の前に直す。"


@says
def caught_by_groups() -> str:
    return "画像ごとにロットまたは拠点を与え（groups）、学習に使わないロットで試験する。"
