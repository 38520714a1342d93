"""Sentences on promotion and versions (`vptlib.operations.gates`, `registry`)."""

from vptlib.report.words.ja.base import ahead, says, sentence
from vptlib.report.words.ja.mistakes import limit_in_words, limit_share, quoted
from vptlib.report.words.ja.numbers import decimals, exact_points, in_points, listed, per_cent, whole
from vptlib.report.words.ja.protocol import CORRUPTIONS
from vptlib.statement import Statement
from vptlib.wording import apart

# ---- limits in groups and at promotion (vptlib.evidence.limits) ------------------------------------------------------


@says
def limit_in_groups(group: str, groups: int, not_shown: int, finding: Statement, needed: int | None) -> str:
    which = (
        f"グループは{apart(group)}だけ" if groups == 1 else f"グループ{whole(groups)}個のうち最も悪いのは{apart(group)}"
    )
    takes = "" if needed is None else f"このグループの画像が少なくとも{whole(needed)}枚必要である。"
    others = (
        f"グループ{whole(groups)}個のうち{whole(not_shown)}個で、限度を満たすことを示せていない。"
        if not_shown > 1
        else ""
    )
    return f"{which}である。{sentence(finding)}{takes}{others}"


@says
def limit_without_groups(kind: str, names: list[str]) -> str:
    return (
        "テスト画像にグループがないため、グループごとに確かめることができない。列groupでグループを指定するか、"
        "`every: group`を外す必要がある。"
    )


# What limits are about that are tested at promotion (vptlib.operations.gates).
GATES = {
    "no_worse_than_production": "本番より悪くないこと",
    "calibration_error": "較正誤差",
    "latency": "画像1枚の処理時間",
    "robustness": "劣化させた画像での正解率",
    "explanations": "注目マップの検査",
}


@says
def limits_at_promotion(kinds: list[str]) -> str:
    return (
        f"次の限度は、ここではなく、版を本番に昇格させるときに確かめる：{listed([GATES[kind] for kind in kinds])}。"
        "この報告書の推奨は、これらに左右されない。"
    )


# ---- promotion (vptlib.operations.gates) ----------------------------------------------------------------------------

_MAP_CHECKS = {
    "differences": "画像の一部を強調している",
    "faithful": "強調した部分に回答が左右される",
    "repeats_itself": "画像に対応している",
    "depends_on_the_model": "モデルによって変わる",
}


@says
def gate_canaries_reproduced() -> str:
    return "照合用の画像に対する出力は、この環境でも書き出し時と一致する。"


@says
def gate_canaries_not_reproduced(why: str) -> str:
    return f"照合用の画像に対する出力を、この環境では再現できなかった：{why}"


@says
def gate_first_classes(classes: int) -> str:
    return f"本番にはまだ何もないため、クラス{whole(classes)}種類が以前と同じである必要はない。"


@says
def gate_same_classes(classes: int) -> str:
    return f"クラス{whole(classes)}種類は本番と同じで、順序も同じである。"


@says
def gate_other_classes(added: list[str], removed: list[str]) -> str:
    if not added and not removed:
        return "クラスは本番と同じだが、順序が異なる。順序を前提に使っている人への連絡が必要である。"
    changes = [f"追加は{quoted(added)}" if added else "", f"削除は{quoted(removed)}" if removed else ""]
    return f"クラスが本番と異なる（{'、'.join(filter(None, changes))}）。"


@says
def gate_no_limits() -> str:
    return (
        "テストの前に限度が定められていないため、十分に良いことを示すものがない。YAMLファイルに`limits`を書き、"
        "報告書を作り直してから書き出す必要がある。"
    )


@says
def gate_test_images_used(times: int, images: int) -> str:
    if not times:
        return f"このテスト画像{whole(images)}枚でテストした版は、これだけである。"
    return (
        f"同じテスト画像{whole(images)}枚で、ほかに{whole(times)}個の版がテストされている。同じ画像で版を選ぶたびに、"
        "数値は実際より良く見えるようになる。新しいテスト画像を使えばこの問題はない。"
    )


@says
def gate_class_absent(kind: str, names: list[str]) -> str:
    return (
        f"この限度は{quoted(names)}についてのものだが、この版にはそのクラスがないため、確かめることができない。"
        "`limits`の名前を直すか、この限度を外してから、書き出し直す必要がある。"
    )


@says
def gate_rate(kind: str, names: list[str], limit: float, each_group: bool, finding: Statement) -> str:
    return f"{limit_in_words(kind, names, limit, each_group)}。{sentence(finding)}"


@says
def gate_no_production() -> str:
    return "本番にはまだ何もないため、それより悪くなることはない。"


@says
def gate_is_production() -> str:
    return "これは現在の本番の版である。"


@says
def gate_other_test_images(images: int, of_production: int) -> str:
    return (
        f"この版はテスト画像{whole(images)}枚で、本番の版は{whole(of_production)}枚でテストされたが、同じ画像ではない。"
        "このため、両者を比べることができない。タスクと`test_images`が同じ報告書から、両方を書き出す必要がある。"
    )


@says
def gate_no_worse(
    by: float, difference: float, bound: float, images: int, groups: int, shown: bool, needed: int | None
) -> str:
    drawn = f"テスト画像{whole(images)}枚（グループ{whole(groups)}個）" if groups else f"テスト画像{whole(images)}枚"
    level = ahead(difference) == ahead(0)
    against = "本番と差がない" if level else f"本番を{ahead(difference)}"
    worst = f"下回っても{_hundredths(-bound)}まで" if bound < 0 else f"少なくとも{_hundredths(bound)}上回る"
    allowed = f"許容されるのは{exact_points(by)}下回るところまで" if by else "本番を下回ることは許容されない"
    said = f"同じ{drawn}で、{against}。95%の信頼度で、{worst}といえる（{allowed}）。"
    if shown:
        return said
    if needed is None:
        return f"{said}この率のままでは、テスト画像を増やしても示せない。"
    return f"{said}このままの率であれば、テスト画像が約{whole(needed)}枚あれば示せる。"


def _hundredths(fraction: float) -> str:
    """0.00984 → 「0.98ポイント」."""
    return f"{decimals(100 * fraction, 2)}ポイント"


@says
def gate_without_probabilities(limit: float) -> str:
    return (
        f"較正誤差は{exact_points(limit)}以下と定められているが、確率が記録されていない。現在のバージョンで報告書を"
        "作り直してから、書き出し直す必要がある。"
    )


@says
def gate_calibration(limit: float, error: float, high: float, images: int) -> str:
    kept = "以下である" if high <= limit else "を超える"
    return (
        f"テスト画像{whole(images)}枚で、確率のずれは平均{in_points(error)}である。95%区間の上端は{_hundredths(high)}で、"
        f"許容値の{exact_points(limit)}{kept}。"
    )


@says
def gate_latency(limit: float, median: float, repeats: int, device: str, threads: int | None) -> str:
    kept = "以下である" if median <= limit else "を超える"
    where = device if threads is None else f"{device}、スレッド{whole(threads)}本"
    return (
        f"モデルの処理時間は画像1枚あたり{median:.3g}\u202fmsで、許容値の{limit:.4g}\u202fms{kept}。この環境（{where}）で"
        f"1枚ずつ{whole(repeats)}回測った中央値であり、画像を開いて前処理する時間は含まない。"
    )


@says
def gate_latency_unknown(limit: float) -> str:
    return (
        f"画像1枚あたり{limit:.4g}\u202fmsまで許容されるが、この環境でモデルを読み込めなかったため、"
        "時間を測っていない。"
    )


@says
def gate_not_measured(kind: str) -> str:
    return (
        f"必要な値（{GATES[kind]}）が書き出し時に測られていない。"
        "この限度をYAMLファイルに書いて、書き出し直す必要がある。"
    )


@says
def gate_robustness(corruption: str, severity: int, limit: float, clean: float, finding: Statement) -> str:
    return (
        f"{CORRUPTIONS[corruption]}（強さ{severity}）で劣化させた画像の正解率：{limit_share(limit)}以上（劣化なしでは{per_cent(clean)}）。"
        f"{sentence(finding)}"
    )


@says
def gate_explanations(
    maps: str, passed: list[str], failed: list[str], undecided: list[str], images: int, needed: int | None
) -> str:
    parts = {"確認": passed, "否定": failed, "未確定": undecided}
    said = [f"{word}：{listed([_MAP_CHECKS[name] for name in names])}。" for word, names in parts.items() if names]
    more = "" if needed is None else f"画像が約{whole(needed)}枚あれば決まる。"
    return f"テスト画像{whole(images)}枚の{maps}のマップを検査した。{''.join(said)}{more}"


@says
def gate_explanations_impossible(maps: str, why: str) -> str:
    return f"このモデルでは{maps}のマップを作れない：{why}"


# ---- versions and their history (vptlib.operations.registry) --------------------------------------------------------


@says
def ledger_fault(kind: str, number: int) -> str:
    what = {
        "changed": f"記録{number}は、書き込まれた後に変更されている。",
        "missing": f"記録{number}が削除されている。それ以降の記録も削除された可能性がある。",
        "forked": f"記録{number}の前に、無効な記録に続くものが追加されている。",
        "out_of_order": f"記録{number}の時刻が、前の記録より後になっていない。",
    }
    return what[kind]


@says
def moment_taken(at: str, zone: str, given: bool, hour: str) -> str:
    zone_of = "指定されたもの" if given else "指定がないため、このマシンのもの"
    about = {
        "once": "",
        "twice": "この時刻は時計の切り替えで2回あったため、早いほうを採った。",
        "skipped": "この時刻は時計を進めたために存在しないので、時計が進められなかったものとして扱った。",
    }
    return f"UTCでは{at}である。タイムゾーンは{zone}（{zone_of}）である。{about[hour]}"


@says
def versions_not_compared(first: str, second: str) -> str:
    return f"{first}と{second}は、テスト画像またはクラスが異なるため、回答を1件ずつ比べることができない。"


@says
def versions_compared(first: str, second: str, flipped: int, gained: int, lost: int, p_value: float) -> str:
    if not flipped:
        return f"{first}と{second}の回答は、すべてのテスト画像で同じである。"
    return (
        f"{second}の回答は、テスト画像{whole(flipped)}枚で{first}と異なる。誤りから正解に変わったのは{whole(gained)}枚、"
        f"正解から誤りに変わったのは{whole(lost)}枚である。これほどの差が偶然生じる確率は{p_value:.2g}である"
        "（McNemarの正確検定）。"
    )
