"""Sentences on the check of images (`vptlib.data.check`)."""

from vptlib.report.words.en.data_check import grey_value
from vptlib.report.words.ja.base import says
from vptlib.report.words.ja.numbers import listed, many, per_cent, plain, span, whole
from vptlib.report.words.ja.protocol import pixels
from vptlib.report.words.ja.reading import all_bracketed, bracketed, further

# ---- the check of images (vptlib.data.check) ------------------------------------------------------------------------

_THE_SAME = {
    "exact": "同じ画像",
    "near": "ほぼ同じ画像",
    "turned": "回転や反転をするとほぼ同じになる画像",
}
_PLACES = {
    "across train and test": "学習用画像とテスト画像の間",
    "within train": "学習用画像の中",
    "within test": "テスト画像の中",
}


@says
def grey_range(low: float, high: float, how: str, deep: int, images: int) -> str:
    which = "すべての画像は" if deep == images else f"{many(images, '画像')}のうち{whole(deep)}枚は"
    why = {
        "given": "指定した範囲",
        "usual": "通常の範囲",
        "nominal": "画素値の広がりに合う範囲",
        "own": "端の画素を除いた最小値から最大値まで",
    }[how]
    return (
        f"{which}画素値が8ビットを超え、共通の階調範囲（{why}）を使う。{grey_value(low)}が黒、"
        f"{grey_value(high)}が白になる。変えるには、タスクの名前に ?grey=LOW-HIGH を加える。"
    )


@says
def grey_kinds_mixed(whole: int, floats: int, one_range: bool) -> str:
    scale = "それでも共通の範囲を使う" if one_range else "それぞれ通常の範囲を使う"
    return (
        f"8ビットを超える整数の画像が{many(whole, '枚')}、浮動小数点数の画像が{many(floats, '枚')}ある。{scale}。"
        "黒と白が両者で同じものを表すことを確認するか、すべての画像を同じ形式で保存し直す。"
    )


@says
def grey_depths_mixed(deep: int, others: int, own: bool) -> str:
    mean = (
        "8ビットの画像は0〜255のままなので、黒と白の表すものが異なる可能性がある。すべての画像を同じ形式で保存し直す。"
        if own
        else "どちらも、範囲の両端が黒と白になる。"
    )
    return f"画素値が8ビットを超える画像が{whole(deep)}枚、8ビットの画像が{whole(others)}枚ある。{mean}"


@says
def grey_levels_few(levels: int, low: float, high: float) -> str:
    between = span(grey_value(low), grey_value(high))
    return (
        f"画素の中央98%は{between}にあるが、{whole(levels)}段階の階調にしかならない。ごく少数の非常に暗い画素や明るい"
        f"画素が、残りの階調を占めるためである。?grey={grey_value(low, '')}-{grey_value(high, '')} を試す。"
    )


@says
def grey_without_value(files: int, sampled: int, first: str) -> str:
    return (
        f"調べた{many(sampled, '画像')}のうち{whole(files)}枚に、値のない画素（NaN）がある（例：{first}）。"
        "その画素は黒になる。"
    )


@says
def unreadable_files(bad: int, files: int, messages: list[str]) -> str:
    each = "".join(f"「{message}」" for message in messages)
    return (
        f"{many(files, 'ファイル')}のうち{whole(bad)}個を読めない：{each}{further(bad - len(messages), '個')}。"
        "除いて進めるには、タスクの名前に ?skip=unreadable を加える。YAMLファイルでは引用符で囲む："
        'tasks: ["folder:photos?skip=unreadable"]。ここに示す枚数は読めないファイルを含まず、その重複も調べていない。'
    )


@says
def size_not_possible(n: int, message: str) -> str:
    return f"ラベル付き{many(n, '画像')}の試験はできない。理由：「{message}」。"


@says
def no_size_possible(message: str) -> str:
    return f"試験のために分けられるラベル付き画像の枚数がない。理由：「{message}」。"


@says
def sizes_possible(least: int, largest: int, all: bool, examples: list[int]) -> str:
    if all:
        any_of = whole(least) if least == largest else span(whole(least), whole(largest))
        return f"試験に使うラベル付き画像は、{any_of}枚を指定できる。"
    return f"グループを分けない試験では、ラベル付き画像として{listed(map(whole, examples))}枚を指定できる。"


@says
def groups_on_both_sides(shared: int, groups: int, tested: int, test: int, pair: list[str]) -> str:
    return (
        f"{many(groups, 'グループ')}のうち{whole(shared)}個が、学習用とテスト用の両方にある。"
        f"{many(test, 'テスト画像')}のうち{whole(tested)}枚は、学習に使うグループのものである（例：{pair[1]}。"
        f"同じグループの {pair[0]} で学習する）。テスト結果は実力より良く見える。"
        "各グループをどちらか一方にまとめるか、分割の指定をやめる。やめれば、グループ単位で割り当てる。"
    )


@says
def classes_not_trained(number: int, names: list[str]) -> str:
    it = "このクラス" if number == 1 else "これらのクラス"
    return (
        f"クラス{all_bracketed(names)}{further(number - len(names), '種類')}には学習用画像がない。"
        f"どのモデルも{it}を学習できない。"
    )


@says
def more_pages(files: int, images: int, names: list[str]) -> str:
    return (
        f"{many(images, 'ファイル')}のうち{whole(files)}個には続きのページやフレームがあるが、使わない：{listed(names)}"
        f"{further(files - len(names), '個')}。使うには、ページごとに別のファイルとして保存する。"
    )


@says
def duplicates(kind: str, where: str, pairs: int, first: str, second: str, more: bool) -> str:
    found, across = _pairs(kind, _PLACES[where], pairs, first, second, more), where.startswith("across")
    if not across:
        return found
    if kind == "turned":
        return f"{found}回転や反転をしてもクラスが変わらないなら、テスト結果は実力より良く見える。"
    return f"{found}テスト結果は実力より良く見える。このような画像は、どちらか一方にまとめる。"


@says
def doubles_across(labelled: int, tested: int, copies: int, alike: int, first: str, second: str) -> str:
    found = f"テスト画像{whole(tested)}枚のうち、ラベル付き画像{whole(labelled)}枚のどれかと同じものは"
    if copies:
        found += f"{whole(copies)}枚ある（例：{second}と{first}）。テスト結果は実力より良く見える。"
    else:
        found += "ない。"
    if not alike:
        return found
    return f"{found}ほかに、ラベル付き画像とよく似たものが{whole(alike)}枚ある。組はvpt data checkで確認できる。"


@says
def duplicates_of_different_classes(kind: str, pairs: int, first: str, second: str, more: bool) -> str:
    found = _pairs(kind, "異なるクラスの間", pairs, first, second, more)
    return f"{found}どちらかのラベルが誤っているか、クラスが重なっている。"


@says
def duplicates_not_all_compared(kind: str, where: str) -> str:
    return (
        f"似た画像が多すぎるため、すべてを比較してはいない。{_PLACES[where]}で{_THE_SAME[kind]}の組を探すのを途中で打ち"
        "切ったので、見つかっていない組があるかもしれない。"
    )


def _pairs(kind: str, place: str, pairs: int, first: str, second: str, more: bool) -> str:
    least = "少なくとも" if more else ""  # the search stopped early
    return f"{place}に、{_THE_SAME[kind]}の組が{least}{whole(pairs)}組ある（例：{first} と {second}）。"


@says
def rare_class(common: str, most: int, rare: str, least: int) -> str:
    return (
        f"学習用画像は、クラス{bracketed(common)}に{whole(most)}枚、{bracketed(rare)}に{whole(least)}枚ある。正解率から"
        "は、少ないほうのクラスについてほとんど分からない。"
    )


@says
def image_modes(modes: dict[str, int]) -> str:
    each = listed(f"{mode} {whole(number)}個" for mode, number in modes.items())
    return f"読めるファイルの画像モード：{each}。モデルはすべて8ビットのRGBとして見る。"


@says
def small_images(images: int, side: int) -> str:
    return f"辺が{pixels(side)}より短い画像が{whole(images)}枚ある。中央の正方形を拡大して使う。"


def width_by_height(width: int, height: int) -> str:
    """(480, 360) → "480 × 360 px"."""
    return f"{whole(width)} × {pixels(height)}"


@says
def image_sizes(typical: list[int], widths: list[int], heights: list[int], model: list[int]) -> str:
    one_size = widths[0] == widths[1] and heights[0] == heights[1]
    ends = [f"{name}{span(whole(low), whole(high))}" for name, (low, high) in (("幅", widths), ("高さ", heights))]
    spread = "" if one_size else f"（中央値。{listed(ends)}）"
    smallest, *_, largest = model
    sides = span(width_by_height(smallest, smallest), width_by_height(largest, largest))
    return f"画像の大きさは{width_by_height(*typical)}である{spread}。同梱のバックボーンは、{sides}の正方形を見る。"


@says
def nothing_lost(size: int) -> str:
    return (
        f"{width_by_height(size, size)}より大きい画像はない。モデルは細部を失わず、入力サイズを大きくしても見える細部は"
        "増えない。"
    )


@says
def detail_lost(covered: list[list[float]], whole_at: int | None) -> str:
    if not covered:
        return (
            f"{pixels(whole_at or 0)}以上では、代表的な画像の細部はすべて残る。それより大きい画像では、一部が失われる。"
        )
    each = listed(
        f"入力{pixels(round(size))}では{plain(across)} × {pixels(plain(down))}" for size, across, down in covered
    )
    gone = pixels(listed(plain(2 * max(across, down)) for _, across, down in covered))
    above = f"{pixels(whole_at)}では何も失われない。" if whole_at else ""
    return (
        f"モデルの1画素が、切り抜かない代表的な画像で占める範囲は、{each}である。太さが約{gone}に満たない細部は、"
        f"{'それぞれ' if len(covered) > 1 else ''}見えなくなる。{above}"
    )


@says
def shape_lost(oblong: int, images: int, typical: float, most: float, over: float, above: int) -> str:
    rest = f"、{per_cent(over, 0)}を超える画像は{whole(above)}枚" if above else ""
    return (
        f"{many(images, '画像')}のうち{whole(oblong)}枚は正方形でない。中央を切り出すと失われる割合は、"
        f"代表的な画像で{per_cent(typical, 0)}、最大で{per_cent(most, 0 if most < 0.99 else 1)}{rest}である。"
        "余白を足す場合は、モデルの正方形のうち同じ割合が空く。"
    )


@says
def sizes_mixed(smallest: list[int], largest: list[int], times: int, below: int, above: int, images: int) -> str:
    return (
        f"画像の大きさが{width_by_height(*smallest)}から{width_by_height(*largest)}まで混在する。"
        f"{many(images, '画像')}のうち、辺が中央値の1/{times}に満たないものは{whole(below)}枚、"
        f"{times}倍を超えるものは{whole(above)}枚である。細部が見える画像と見えない画像が混ざるため、"
        "大きさだけでクラスが分かってしまわないか確認する。"
    )


@says
def below_a_patch(tiny: int, images: int, patch: int, names: list[str]) -> str:
    return (
        f"{many(images, '画像')}のうち{whole(tiny)}枚は、モデルのパッチ（{pixels(patch)}）より小さい：{listed(names)}"
        f"{further(tiny - len(names), '枚')}。モデルにはほとんど何も見えない。大きい画像に替えるか、除く。"
    )


@says
def groups_apart(groups: int) -> str:
    return f"{many(groups, 'グループ')}のうち、学習用画像とテスト画像の両方を持つものはない。"


@says
def licence_given(licence: str) -> str:
    return f"ライセンス：{licence}。"
