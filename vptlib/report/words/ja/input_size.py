"""Sentences on the input size (`vptlib.study.input_size`)."""

from vptlib.report.words.ja.base import says
from vptlib.report.words.ja.data_check import width_by_height
from vptlib.report.words.ja.numbers import in_points, listed, many, per_cent, span, whole
from vptlib.report.words.ja.protocol import pixels

# ---- the input size (vptlib.study.input_size) -----------------------------------------------------------------------


@says
def input_size_chosen(
    size: int, accuracy: float, best: int, best_accuracy: float, error: float, sizes: list[int]
) -> str:
    looked = pixels(listed(sizes))
    if size == best:
        return (
            f"比較した{looked}の中では{pixels(size)}が最も良く、正解率は{per_cent(accuracy)}である。"
            "標準誤差以内でこれに並ぶ、より小さいサイズはない。"
        )
    return (
        f"比較した{looked}のうち、最良との差が標準誤差（{in_points(error)}）以内で最も小さい{pixels(size)}を選んだ。"
        f"正解率は{per_cent(accuracy)}、最良の{pixels(best)}では{per_cent(best_accuracy)}である。"
    )


@says
def input_size_limited(size: int, accuracy: float, wanted: int, wanted_accuracy: float) -> str:
    return (
        f"時間または image_size_limit の制限の中では、{pixels(size)}（正解率{per_cent(accuracy)}）が最も良い。"
        f"制限がなければ、{pixels(wanted)}（正解率{per_cent(wanted_accuracy)}）を選ぶ。"
    )


@says
def larger_input_needs_time(size: int, accuracy: float, smaller: int, smaller_accuracy: float) -> str:
    return (
        f"この結果は{pixels(smaller)}でのものである。その場合、凍結したバックボーンのプローブは、学習に使っていない"
        f"ラベル付き画像の{per_cent(smaller_accuracy)}を正解する。{pixels(size)}なら{per_cent(accuracy)}を正解する。"
        f"時間を増やすかGPUを使えば{pixels(size)}にでき、手法の順位が変わる可能性がある。"
    )


@says
def input_size_probe(n: int, folds: int, kind: str) -> str:
    how = {
        "stratified": "各分割に、できる限りすべてのクラスを入れた",
        "groups": "同じグループの画像は分けない",
        "plain": "複数の画像を持つクラスがないため、クラスの比率はそろえていない",
    }[kind]
    return (
        f"ラベル付き{many(n, '画像')}の凍結した特徴量にロジスティック回帰を当てはめ、{folds}分割の交差検証で評価した"
        f"（{how}）。テスト画像は使っていない。"
    )


@says
def input_size_only(size: int, images: list[int]) -> str:
    return (
        f"バックボーン本来の{pixels(size)}を使う。画像は{width_by_height(*images)}（中央値）なので、入力を大きくしても"
        "見える情報は増えない。"
    )


@says
def input_size_fixed(size: int) -> str:
    return f"{pixels(size)}を使う。このバックボーンはほかの入力サイズを受け付けないため、比較は行っていない。"


@says
def input_size_by_hand(size: int) -> str:
    return f"image_size で指定された{pixels(size)}を使う。ほかのサイズとは比較していない。"


@says
def larger_input(size: int, smaller: int, gain: float, error: float, rising: bool) -> str:
    if rising:
        found = (
            f"入力サイズを大きくすると、正解率はまだ上がる。{pixels(smaller)}から比較した最大のサイズまでに"
            f"{in_points(gain)}上がった（標準誤差{in_points(error)}）。"
        )
    else:
        found = (
            f"{pixels(size)}のプローブは{pixels(smaller)}を{in_points(gain)}上回るが、その差は標準誤差"
            f"（{in_points(error)}）以内である。"
        )
    return f"{found}image_size を{pixels(size)}にすると、費用は増えるが、結果が良くなる可能性がある。"


@says
def input_sizes_mixed(least: int, median: int, most: int) -> str:
    return (
        f"画像の大きさに大きな差があり、短辺は{pixels(span(whole(least), whole(most)))}である。比較するサイズは、"
        f"中央値の{pixels(median)}に合わせた。"
    )
