"""Sentences on prompts in production (`vptlib.evidence.drift`, `sequential`, `vptlib.operations.watch`)."""

from datetime import datetime

from vptlib.report.words.ja.base import says
from vptlib.report.words.ja.mistakes import LIMITS, limit_in_words, quoted, with_interval
from vptlib.report.words.ja.numbers import day, decimals, listed, per_cent, plain, whole
from vptlib.wording import apart

# ---- drift (vptlib.evidence.drift) ------------------------------------------------------------------------------

DRIFT_TESTS = {
    "features": "モデルが画像から得る特徴量",
    "energy": "画像の分布",
    "confidence": "モデルの確信の度合い",
    "classes": "各クラスと判定される割合",
    "asked": "人に回る割合",
}


@says
def drift_too_few(answers: int, needed: int) -> str:
    return (
        "新しい画像がテスト画像と同様かどうかは、まだ検定していない。"
        f"回答が{whole(needed)}件必要だが、現在は{whole(answers)}件である。"
    )


@says
def drift_not_found(answers: int, shift: float | None) -> str:
    size = (
        ""
        if shift is None
        else f"すべての画像が主な方向に標準偏差の約{decimals(shift, 1)}倍ずれていれば、おそらく（80%の確率で）"
        "見つかったはずである。"
    )
    return f"検定した直近の回答{whole(answers)}件では、テスト画像との違いは見つからなかった。{size}"


@says
def drift_found(tests: list[str], since: int, at_least: bool, answers: int) -> str:
    begin = f"{whole(since + 1)}件目の回答から{'、またはそれ以前から' if at_least else ''}"
    what = listed([DRIFT_TESTS[kind] for kind in tests])
    return (
        f"新しい画像は、{begin}テスト画像と異なっている：{what}。これは連続する回答{whole(answers)}件から得た結果である。"
        "違いがない場合に、誤って違いありとされるのは、このような区切りの1%以下である。"
    )


@says
def drift_features(ratio: float) -> str:
    return f"モデルが得る特徴量について、テスト画像とのフレシェ距離は{_times_chance(ratio)}。"


@says
def drift_energy(ratio: float) -> str:
    return f"モデルが得る特徴量について、テスト画像とのエネルギー距離は{_times_chance(ratio)}。"


@says
def drift_confidence(before: float, now: float) -> str:
    return f"回答の確率の平均は{per_cent(now)}である。テスト画像では{per_cent(before)}であった。"


@says
def drift_asked(before: float, now: float) -> str:
    return f"画像の{per_cent(now)}が人に回っている。テスト画像では{per_cent(before)}であった。"


@says
def drift_classes(changes: list[list]) -> str:
    parts = [f"{quoted([name])}{per_cent(now)}（テスト画像では{per_cent(before)}）" for name, before, now in changes]
    return f"回答の割合が最も変わったのは次のクラスである：{listed(parts)}。"


@says
def drift_without_features() -> str:
    return (
        "テスト画像または新しい画像の一部について、モデルが得た特徴量が保存されていないため、回答だけを比べた。"
        "モデルのファイルが以前のバージョンのものであれば、モデルを書き出し直す必要がある。"
    )


@says
def drift_groups_unknown() -> str:
    return (
        "テスト画像にはロットなどのグループがあるが、回答にはない。"
        "このため、新しいロットになっただけでも違いとして現れることがある。"
    )


@says
def drift_few_groups(arrangements: int, needed: int) -> str:
    return (
        f"グループが少なすぎて、違いを見つけられない。グループの並べ方は{whole(arrangements)}通りだが、"
        f"{whole(needed)}通り必要である。"
    )


def _times_chance(ratio: float) -> str:
    return "偶然の範囲をはるかに超える" if ratio == float("inf") else f"偶然による値の{plain(ratio)}倍である"


# ---- checked answers (vptlib.evidence.sequential) -----------------------------------------------------------------


@says
def watch_broken(
    kind: str,
    names: list[str],
    limit: float,
    group: str | int | None,
    value: float,
    low: float,
    high: float,
    cases: int,
    after: int,
) -> str:
    return (
        f"{_watched_limit(kind, names, limit, group)}。確認済みの回答から、限度を満たさないことが"
        f"{whole(after)}件目の時点で示された：画像{whole(cases)}枚で{with_interval(value, low, high)}。"
    )


@says
def watch_holds(
    kind: str,
    names: list[str],
    limit: float,
    group: str | int | None,
    value: float,
    low: float,
    high: float,
    cases: int,
) -> str:
    return (
        f"{_watched_limit(kind, names, limit, group)}。確認済みの回答では、限度を満たしている："
        f"画像{whole(cases)}枚で{with_interval(value, low, high)}。"
    )


@says
def watch_open(
    kind: str,
    names: list[str],
    limit: float,
    group: str | int | None,
    value: float,
    low: float,
    high: float,
    cases: int,
    needed: int | None,
) -> str:
    more = (
        ""
        if needed is None
        else f"このままの率であれば、確認済みの回答があと約{whole(needed)}件あれば、限度を満たさないことを示せる。"
    )
    return (
        f"{_watched_limit(kind, names, limit, group)}。確認済みの回答からは、限度を満たさないとはいえない："
        f"画像{whole(cases)}枚で{with_interval(value, low, high)}。{more}"
    )


@says
def watch_no_cases(kind: str, names: list[str], limit: float, group: str | int | None) -> str:
    return f"{_watched_limit(kind, names, limit, group)}。これに該当する確認済みの回答は、まだない。"


@says
def watch_without_groups(kind: str, names: list[str], limit: float, group: str | int | None) -> str:
    return (
        f"{limit_in_words(kind, names, limit, each_group=True)}。新しい画像のグループが分からないため、監視していない。"
    )


@says
def watch_not_drawn(answers: int, of: int) -> str:
    return f"確認済みの回答{whole(of)}件のうち{whole(answers)}件は、無作為に選ばれたものではないため、数えない。"


def _watched_limit(kind: str, names: list[str], limit: float, group: str | int | None) -> str:
    return limit_in_words(kind, names, limit) + ("" if group is None else f"（グループ{apart(group)}）")


# ---- prompts in production (vptlib.operations.watch) ---------------------------------------------------------------


@says
def status_failed(why: str) -> str:
    return f"監視できない。原因：{why}"


@says
def status_records_failed(why: str) -> str:
    return f"回答の記録を読み込めない：{why}"


@says
def status_no_production(candidate: int | None) -> str:
    nothing = "本番に何もないため、回答するものがない。"
    return nothing if candidate is None else f"{nothing}版{candidate}が昇格の候補である。"


@says
def status_without_limits() -> str:
    return "誤りについての限度が定められていないため、確認済みの回答を限度と照らし合わせていない。"


@says
def status_class_absent(kind: str, names: list[str]) -> str:
    rate = LIMITS[kind].format(classes=quoted(names))
    return (
        f"{rate}に限度が定められているが、本番の版にはこのクラスがないため、監視していない。限度を定め直す必要がある。"
    )


@says
def status_drift_since(at: str) -> str:
    return f"これは{day(datetime.fromisoformat(at))}の回答から始まった。新しい画像の一部を人が確認する必要がある。"


_DECIDE_AGAIN_BECAUSE = {
    "labels": "ラベル付き画像が十分に集まった",
    "limit": "限度を満たしていない",
    "drift": "新しい画像がテスト時の画像と異なる",
}


@says
def status_decide_again(
    why: list[str], labelled: int | None, checked: int | None, again_at: int | None, by_rule: bool
) -> str:
    because = "、".join(_DECIDE_AGAIN_BECAUSE[cause] for cause in why)
    text = f"VPTと全体の再学習のどちらを使うかを再判断する時期である。理由：{because}。"
    if labelled is None or checked is None:
        return text
    text += _labelled_now(labelled, checked)
    return text if again_at is None else f"{text}{_again_at(again_at, by_rule)}"


@says
def status_labels_to_go(labelled: int, checked: int, again_at: int, by_rule: bool) -> str:
    return f"{_labelled_now(labelled, checked)}{_again_at(again_at, by_rule)}"


def _labelled_now(labelled: int, checked: int) -> str:
    return f"ラベル付き画像は現在{whole(labelled)}枚で、うち{whole(checked)}枚は確認済みの回答から得た。"


def _again_at(images: int, by_rule: bool) -> str:
    if by_rule:
        return (
            f"モデルのファイルに再判断の枚数が書かれていないため、目安として{whole(images)}枚（学習に使った枚数の2倍）"
            "とする。"
        )
    return f"報告書では{whole(images)}枚での再判断を求めている。"


@says
def status_checks_waiting(waiting: int, due: int, days: int) -> str:
    return (
        f"無作為に選ばれてから{whole(days)}日を過ぎた回答{whole(due)}件のうち、{whole(waiting)}件がまだ確認されていない。"
        "難しいものが後回しになっているかぎり、結果は実際より良く見える。"
    )


@says
def status_checks(drawn: int, checked: int) -> str:
    return f"確認のために回答{whole(drawn)}件を無作為に選び、そのうち{whole(checked)}件を人が確認した。"


@says
def status_disputed(disputed: int, checked: int) -> str:
    return (
        f"確認済みの回答{whole(checked)}件のうち{whole(disputed)}件で、人の判断が分かれた。最後の判断を採用している。"
        "このような画像のラベルの付け方を決めておく必要がある。"
    )


@says
def status_none_drawn(answers: int) -> str:
    return (
        f"回答{whole(answers)}件のうち、確認のために無作為に選ばれたものが1件もない。このため、限度を今も満たしているか"
        "どうかを示すものがない。サービスが一部を選ぶように設定する必要がある。"
    )


@says
def status_nothing_recorded() -> str:
    return "回答の記録はまだない。サービス（vpt serve）が、回答を記録する。"


@says
def status_no_answer_yet(others: int) -> str:
    if others:
        return (
            f"この版は本番になってからまだ回答していないが、ほかの版は回答している（{whole(others)}件）。"
            "サービスが動いているか、この版を読み込めるかを確認する必要がある。"
        )
    return "この版は本番になってからまだ回答していない。サービスが動いているかを確認する必要がある。"


@says
def status_silent(days: int) -> str:
    return f"直近{whole(days)}日間は回答がない。サービスが動いているかを確認する必要がある。"


@says
def status_other_versions(answers: int, versions: list[str], late: bool) -> str:
    given = f"それ以降の回答{whole(answers)}件は、別のモデル（{'、'.join(versions)}）によるものである"
    if late:
        return (
            f"{given}。最新の回答もこれに含まれ、本番の版に切り替わっていないサービスがある。"
            "そのログを確認する必要がある。"
        )
    return f"{given}。ここでは数えない。"


@says
def status_forced(by: str, reason: str) -> str:
    return f"満たされない昇格条件があったが、{by}が本番に昇格させた。理由：{reason}"
