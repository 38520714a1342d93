"""Sentences on the audit of a study's runs (`vptlib.evidence.audit`)."""

from vptlib.evidence.audit import NOTE, WARNING
from vptlib.report.words.ja.base import in_prose, says, title
from vptlib.report.words.ja.numbers import listed, many, per_cent, span, whole

# ---- the audit of a study's runs (vptlib.evidence.audit) ----------------------------------------------------------

AUDIT = {WARNING: "警告", NOTE: "注記", "clean": "警告なし"}
_FINDINGS = {
    "collapsed": "{runs}（{methods}）は、常に最も多いクラスと答える場合を明らかに上回るとはいえない。",
    "seeds_diverge": "{runs}（{methods}）の正解率は、ほかのシードを大きく下回る。",
    "accuracy_falls": "ラベル付き画像を増やすと正解率が下がる：{methods}（{runs}）。",
    "best_at_last_step": (
        "{runs}（{methods}）は、途中で打ち切られた。最後のステップの成績が最も良い。ステップ数を増やす必要がある。"
    ),
    "choice_at_edge": "{runs}（{methods}）では、試した範囲の端の値が選ばれた。その先の値も試す必要がある。",
    "candidate_diverged": "{runs}（{methods}）では、一部の学習率が発散した。選ばれたのは別の学習率である。",
}


def audit_is_clean() -> str:
    """Where the audit has no warning."""
    return (
        "点検では、途中で打ち切られた学習、試した範囲の端で選ばれた値、ラベルを増やすと下がる正解率、"
        "ほかを大きく下回るシードを調べた。いずれも見つからなかった。"
    )


def findings_together(code: str, methods: list[str], runs: int) -> str:
    """Several findings of one code, about so many runs, in one sentence."""
    return _FINDINGS[code].format(methods=listed(map(in_prose, methods)), runs=many(runs, "学習"))


def _at(method: str, n: int) -> str:
    return f"{in_prose(method)}（ラベル付き画像{whole(n)}枚）"


def capitalised(text: str) -> str:
    """The text as it is: Japanese has no capital letters."""
    return text


def seeds_listed(seeds: list[int]) -> str:
    """0, 2 → 「シード0、2」."""
    return f"シード{listed(seeds)}"


@says
def best_at_last_step(method: str, n: int, seeds: list[int], steps: int) -> str:
    return (
        f"{_at(method, n)}は、最後のステップ（{whole(steps)}ステップ目）の成績が最も良い（{seeds_listed(seeds)}）。"
        "学習が途中で打ち切られている。ステップ数を増やす必要がある。"
    )


@says
def choice_at_edge(
    method: str, n: int, side: str, chosen: float, tried: list[float], further: float, solved: bool
) -> str:
    edge = {"smallest": "最小", "largest": "最大"}[side]
    if solved:
        return (
            f"{_at(method, n)}では、順に試した正則化の強さ（{span(f'{tried[0]:g}', f'{tried[-1]:g}')}）のうち、"
            f"{edge}の{chosen:g}が選ばれた。"
        )
    each = "、".join(f"{rate:g}" for rate in tried)
    return (
        f"{_at(method, n)}では、試した学習率（{each}）のうち、{edge}の{chosen:g}が選ばれた。"
        f"{further:g}も試す必要がある。"
    )


@says
def candidate_diverged(method: str, n: int, rates: list[float]) -> str:
    each = "、".join(f"{rate:g}" for rate in rates)
    return f"{_at(method, n)}の学習は、学習率{each}で発散した。選ばれたのは別の学習率である。"


@says
def accuracy_falls(method: str, smaller: int, larger: int, before: float, after: float, seeds: int, images: int) -> str:
    chance = "シードとテスト画像の選び方" if seeds > 1 else "テスト画像の選び方"
    return (
        f"{title(method)}の正解率は、ラベル付き画像{whole(smaller)}枚の{per_cent(before)}から、{whole(larger)}枚では"
        f"{per_cent(after)}に下がる（同じテスト画像{whole(images)}枚、{many(seeds, 'シード')}）。"
        f"{chance}だけでは説明できない差である。"
    )


@says
def seeds_diverge(method: str, n: int, seeds: list[int], accuracy: float, others: float) -> str:
    each = "平均" if len(seeds) > 1 else ""
    return (
        f"{_at(method, n)}の正解率は、{seeds_listed(seeds)}では{each}{per_cent(accuracy)}、ほかのシードでは"
        f"{per_cent(others)}である。テスト画像の選び方だけでは説明できない差である。"
    )


@says
def collapsed(method: str, n: int, seeds: list[int], accuracy: float, without_looking: float) -> str:
    return (
        f"{_at(method, n)}の正解率は{per_cent(accuracy)}である（{seeds_listed(seeds)}）。"
        f"常に最も多いクラスと答える場合の{per_cent(without_looking)}を明らかに上回るとはいえない。"
    )


@says
def trained_out(runs: int) -> str:
    ended = "1回だけの学習は" if runs == 1 else f"学習{whole(runs)}回はすべて"
    return f"{ended}、ステップ数の上限に達する前に、終了条件を満たして終了した。"


@says
def not_trained_out(cut: int, runs: int, methods: list[str]) -> str:
    return (
        f"学習{whole(runs)}回のうち{whole(cut)}回は、終了条件を満たさないまま、ステップ数の上限に達して終了した："
        f"{listed(map(in_prose, methods))}。"
    )


@says
def length_is_fixed(runs: int) -> str:
    ran = "1回だけの学習は" if runs == 1 else f"学習{whole(runs)}回はすべて"
    return f"{ran}、規則で決められた長さで行った。十分に学習したかどうかは分からない。"
