"""Sentences of the explainability checklist (`vptlib.explanations.checklist`)."""

from vptlib.report.words.ja.base import interval, says, title
from vptlib.report.words.ja.numbers import decimals, per_cent, rounded, whole

# ---- the explainability checklist (vptlib.explanations.checklist) -----------------------------------------------

QUESTIONS = {
    "maps mark a place": "どの注目マップも画像の一部を強調しているか",
    "answer depends on the map": "マップが強調した部分に回答が左右されるか",
    "map points at the object": "マップは対象物を指しているか",
    "map follows its image": "画像がわずかに変わってもマップは保たれるか",
    "map depends on the model": "モデルに学習内容を忘れさせるとマップは変わるか",
    "other kinds of map agree": "ほかの手法のマップも同じことを示すか",
    "shares add up": "Integrated Gradientsの寄与の合計は合うか",
    "one model is more faithful": "一方のモデルのマップのほうが忠実か",
    "another run gives the same maps": "学習をやり直しても同じマップになるか",
}
VERDICTS = {"holds": "成立", "does-not-hold": "不成立", "open": "未確定"}
_COMPARED_WITH = {
    "repeats itself": "わずかにノイズを加えた画像のマップ",
    "depends on the model": "重みを無作為にしたモデルのマップ",
    "other kinds of map": "ほかの手法のマップ",
    "another training run": "2回目の学習のマップ",
}
_SAME_OR_NOT = {
    ("repeats itself", True): "画像に対応している",
    ("repeats itself", False): "わずかなノイズで別のマップになる",
    ("depends on the model", True): "モデルに忘れさせてもほとんど変わらない",
    ("depends on the model", False): "モデルとともに変わる",
    ("other kinds of map", True): "同じことを示している",
    ("other kinds of map", False): "異なることを示している",
    ("another training run", True): "ほぼ同じである",
    ("another training run", False): "学習をやり直すと別の場所を強調する",
}
_BASELINES = {
    "random": "無作為なマップ",
    "centre": "中央を強調しただけのマップ",
    "even": "一様なマップ",
}
FAITHFULNESS_CAVEAT = (
    "モデルは、一部を消した画像を学習で見ていない。そのため回答が変わっても、重要な部分が消えたからではなく、"
    "画像が不自然だからかもしれない（Hooker et al. 2019, arXiv 1806.10758）。灰色で示したマップにも同じ問題があるので、"
    "それらとの差だけに意味がある。"
)


@says
def maps_mark(share: float, enough: bool) -> str:
    if enough:
        return f"マップの{per_cent(share, 0)}が画像の一部を強調している"
    return f"画像の一部を強調しているマップは{per_cent(share, 0)}にとどまる（濃淡のないマップからは何も分からない）"


def _undecided(images: int | None, needed: int | None) -> str:
    if needed is None:
        return "未確定であり、画像を増やしてもほとんど変わらない見込みである"
    seen = "画像が少なく判断できない" if images is None else f"画像{whole(images)}枚では少なく判断できない"
    return f"{seen}（約{rounded(needed)}枚あれば決まる）"


@says
def map_against_baseline(
    check: str, value: float, baseline: str, of_baseline: float, leads: bool | None, images: int, needed: int | None
) -> str:
    if check == "faithful":
        what, own, other = "挿入の面積から削除の面積を引いた値", decimals(value), decimals(of_baseline)
    else:
        what = {"pointing": "対象物を指した割合", "energy": "対象物の上にある割合"}[check]
        own, other = per_cent(value, 0), per_cent(of_baseline, 0)
    verdict = {True: "上回る", False: "下回る", None: _undecided(images, needed)}[leads]
    return f"{what}は{own}、{_BASELINES[baseline]}では{other}：{verdict}"


@says
def maps_compared(
    check: str,
    value: float,
    low: float,
    high: float,
    same: bool | None,
    needed: int | None,
    similarity: float,
    of_other_images: float,
) -> str:
    verdict = _undecided(None, needed) if same is None else _SAME_OR_NOT[check, same]
    if check == "depends on the model" and same is False and low > 0:
        verdict += "が、一部は残る"
    limits = interval(decimals(low), decimals(high))
    raw = f"順位相関{decimals(similarity)}、偶然では{decimals(of_other_images)}"
    return f"{_COMPARED_WITH[check]}との類似度は{decimals(value)}（{limits}、{raw}）：{verdict}"


@says
def maps_not_compared(check: str, compared: int, maps: int) -> str:
    known = f"濃淡があって比べられるマップは{whole(maps)}枚中{whole(compared)}枚しかない"
    return f"{_COMPARED_WITH[check]}との類似度は不明である：{known}"


@says
def map_not_repeated(check: str, repeats: bool | None) -> str:
    why = "再現するかどうか分からない" if repeats is None else "再現しない"
    return f"マップそのものが{why}ため、{_COMPARED_WITH[check]}との類似度からは何も言えない"


@says
def repeat_unknown() -> str:
    return "わずかに変えた画像のマップがない"


@says
def same_for_every_image(similarity: float) -> str:
    return f"異なる画像のマップどうしの順位相関は{decimals(similarity)}：どの画像でも同じマップである"


@says
def object_unknown() -> str:
    return "このタスクには対象物の位置の情報がない"


@says
def one_kind_examined() -> str:
    return "調べたマップは1種類だけである"


@says
def shares_off_by(error: float, allowed: float) -> str:
    return f"ずれは平均でロジットの変化の{per_cent(error)}（許容は{per_cent(allowed, 0)}）"


@says
def faithfulness_differs_by(difference: float, low: float, high: float) -> str:
    lead, least, most = (decimals(value, signed=True) for value in (difference, low, high))
    return f"差は{lead}（{interval(least, most)}）"


@says
def model_leads(method: str | None, images: int, needed: int | None) -> str:
    return f"{title(method)}のマップのほうが忠実である" if method else _undecided(images, needed)


@says
def one_model_examined() -> str:
    return "調べたモデルは1つだけである"
