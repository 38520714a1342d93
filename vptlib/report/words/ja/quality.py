"""Japanese sentences for quality departments; `vptlib.report.words.en.quality` has the English ones."""

from vptlib.report.words.ja.base import in_prose, interval, says, sentence, share
from vptlib.report.words.ja.numbers import listed, per_cent, plain
from vptlib.statement import Statement

# ---- what was asked before the test -----------------------------------------------------------------------------


@says
def quality_asked_accuracy(needed: float) -> str:
    return f"正解率{per_cent(needed)}。"


@says
def quality_asked_today(today: float) -> str:
    return f"現在のやり方の正解率{per_cent(today)}以上。"


@says
def quality_asked_limits(limits: int) -> str:
    return f"率の限度{limits:,}件。"


@says
def quality_asked_limits_in_groups(limits: int) -> str:
    return f"ロット・拠点などのグループごとに満たすべき限度{limits:,}件。"


# ---- what was done ----------------------------------------------------------------------------------------------


@says
def quality_needed(method: str, needed: float, chance: float) -> str:
    return f"{in_prose(method)}の学習1回が正解率{per_cent(needed)}に届く確率は{share(chance)}。"


@says
def quality_today(method: str, today: float, accuracy: float) -> str:
    return f"現在の正解率は{per_cent(today)}、{in_prose(method)}は{per_cent(accuracy)}。"


@says
def quality_limits(limits: int, met: int, undecided: int, not_met: int) -> str:
    return f"事前に定めた限度{limits:,}件を試験した。達成{met:,}件、未確定{undecided:,}件、未達{not_met:,}件。"


@says
def quality_limits_in_groups(limits: int, groups: int) -> str:
    return f"限度{limits:,}件を、ロット・拠点などのグループ{groups:,}個のそれぞれで試験した。"


@says
def quality_sizes(sizes: list[int], pool: int, images: int) -> str:
    return (
        f"ラベル付き画像{listed(f'{n:,}' for n in sizes)}枚で比較した。画像は{pool:,}枚から選び、"
        f"同じテスト画像{images:,}枚で試験した。"
    )


@says
def quality_classes(classes: int, rarest: int, images: int) -> str:
    return f"テスト画像{images:,}枚、クラス{classes:,}種類。最も少ないクラスは{rarest:,}枚。"


@says
def quality_groups(groups: int, images: int) -> str:
    return f"テスト画像{images:,}枚はロット・拠点などのグループ{groups:,}個から成り、グループごとに結果を示した。"


@says
def quality_balance(common: float, rare: float) -> str:
    return (
        f"テスト画像に占める割合は、最も多いクラスが{per_cent(common)}、最も少ないクラスが{per_cent(rare)}。"
        "現場でも同じ割合かどうかは調べていない。"
    )


@says
def quality_data_read(warnings: int, notes: int) -> str:
    return f"ファイルを読み込み、分割を点検した。警告{warnings:,}件、注記{notes:,}件。ラベルの再確認はしていない。"


@says
def quality_accuracy(method: str, n: int, accuracy: float, low: float, high: float, images: int, seeds: int) -> str:
    ends = interval(plain(100 * low), f"{plain(100 * high)}%")
    return (
        f"ラベル付き画像{n:,}枚の{in_prose(method)}は、テスト画像{images:,}枚で正解率{per_cent(accuracy)}"
        f"（学習{seeds:,}回、{ends}）。"
    )


@says
def quality_audit(runs: int, warnings: int, notes: int) -> str:
    return f"学習{runs:,}回の実行記録を点検した。警告{warnings:,}件、注記{notes:,}件。"


@says
def quality_condition(condition: Statement, method: str, accuracy: float, before: float) -> str:
    return f"{sentence(condition)}{in_prose(method)}の正解率は{per_cent(accuracy)}（元の条件では{per_cent(before)}）。"


@says
def quality_origin(source: str, licence: str | None) -> str:
    return f"出所：{source}。ライセンス：{licence or '画像に記載なし'}。"


@says
def quality_versions(fingerprint: str, backbone: str, vptlib: str) -> str:
    return f"画像のフィンガープリント{fingerprint}、バックボーン{backbone}、vptlib {vptlib}。"


@says
def quality_backbone(backbone: str, source: str, licence: str) -> str:
    return f"バックボーン{backbone}。出所：{source}。ライセンス：{licence}。"


@says
def quality_explanations(images: int) -> str:
    return f"テスト画像{images:,}枚の注目マップを、種類ごとの点検とともに示した。"


@says
def quality_promotion(limits: int) -> str:
    return f"昇格時に確かめる限度を{limits:,}件定めた。運用中の監視はしていない。"


@says
def quality_decide_again(n: int) -> str:
    return f"ラベル付き画像{n:,}枚の時点。"


# ---- why a check is done or open --------------------------------------------------------------------------------


@says
def quality_runs_made(runs: int, missing: int) -> str:
    left = f"残り{missing:,}回。" if missing else ""
    return f"計画した学習{runs + missing:,}回のうち{runs:,}回を実施した。{left}"


@says
def quality_wrong(wrong: int, images: int) -> str:
    if not wrong:
        return f"過半数の学習が誤答したテスト画像は、{images:,}枚中0枚。"
    return (
        f"過半数の学習が誤答したテスト画像は、{images:,}枚中{wrong:,}枚。ラベルと回答のどちらが誤りかは、人が判断する。"
    )


@says
def quality_approval() -> str:
    return "1ページ目の承認欄は署名のためにある。署名の有無をこの報告書は知り得ない。"


@says
def quality_nothing_runs() -> str:
    return "まだ回答に使うモデルはなく、担当者を決める段階にない。"


@says
def quality_operator(pilot: bool) -> str:
    if pilot:
        return "使う回答は1件ずつ人が確認する。誰が確認するかは設定にない。"
    return "回答を受けて動く人と、疑わしい回答の連絡先は設定にない。"


@says
def quality_test_images(images: int, settles: float | None) -> str:
    told = (
        "" if settles is None else f"この規模の試験は、5回中4回の割合で{plain(100 * settles)}ポイントの差を見分ける。"
    )
    return f"テスト画像{images:,}枚。各学習で1度だけ使う。{told}"


@says
def quality_seeds(seeds: int, wanted: int) -> str:
    return f"シード{seeds:,}個。{wanted:,}個以上が望ましい。"


@says
def quality_intervals(groups: bool, seeds: int) -> str:
    drawn = "グループ単位のテスト画像" if groups else "テスト画像"
    if seeds > 1:
        return f"95%区間。{drawn}とシード{seeds:,}個を再標本化した。"
    return f"95%区間。{drawn}を再標本化した。学習ごとのばらつきは含まない。"


@says
def quality_nothing_asked() -> str:
    return "限度も必要な正解率も設定されていない（limits、accuracy_needed）。"


@says
def quality_no_limits() -> str:
    return "限度は設定されていない（limits）。"


@says
def quality_no_conditions() -> str:
    return "厳しい条件での試験はしていない（conditions）。"


@says
def quality_no_groups() -> str:
    return "画像にロット・拠点などのグループは与えられていない。"


@says
def quality_groups_apart(groups: int, shared: bool) -> str:
    if shared:
        return "学習側とテスト側の両方に入っているグループがある。結果は実際より良く見えるおそれがある。"
    return f"テスト画像のグループ{groups:,}個は、いずれも学習に使っていない。"


@says
def quality_decides_when_finished() -> str:
    return "再判断の枚数は示していない。先に行うべきことは計画に示した。"


@says
def quality_no_promotion() -> str:
    return "昇格時に確かめる限度は設定されていない（no_worse_than_production、latencyなど）。"


@says
def quality_monitoring() -> str:
    return "この報告書は監視を設定しない。昇格後は vpt prompts status で本番を監視する。"


@says
def quality_no_explanations() -> str:
    return "注目マップは調べていない。"
