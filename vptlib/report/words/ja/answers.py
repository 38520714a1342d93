"""Sentences from a report to answers (`vptlib.operations.predict`)."""

from vptlib.report.words.ja.base import in_prose, says
from vptlib.report.words.ja.choices import CHOICES
from vptlib.report.words.ja.data_check import grey_value
from vptlib.report.words.ja.mistakes import limit_share, with_interval
from vptlib.report.words.ja.numbers import whole

# ---- from a report to answers (vptlib.report.sections.next_steps, vptlib.operations) ------------------------------

NEXT_HEADING = "この報告書から実際の運用へ"


@says
def next_step_use(method: str) -> str:
    return (
        f"次のコマンドで、{in_prose(method)}をファイルにし、新しい画像を判定し、版として管理する。"
        "ファイルには、モデル、そのテスト結果、来歴が入っている。"
    )


@says
def next_step_try(method: str) -> str:
    return (
        "手法を推奨するには追加の作業が必要である。ただし、現時点で最も良い"
        f"{in_prose(method)}は、すでに新しい画像で試すことができる："
    )


@says
def exported_without_advice(choice: str) -> str:
    return (
        f"このモデルを書き出した時点で、報告書は手法を推奨していなかった。報告書の推奨は「{CHOICES[choice]}」であった。"
    )


# ---- answers to new images (vptlib.operations.predict) ------------------------------------------------------------


@says
def images_named_again(files: int) -> str:
    return f"ファイル{whole(files)}個が2回以上指定された。重複を除き、1回だけ回答した。"


@says
def unreadable_skipped(bad: int, files: int, first: str) -> str:
    return f"ファイル{whole(files)}個のうち{whole(bad)}個は読み込めず、回答していない。最初の1個は{first}である。"


@says
def new_images_of_8_bits(images: int, first: str, low: float, high: float) -> str:
    return (
        f"画像{whole(images)}枚（{first}など）は1画素値が8ビットだが、モデルはそれより細かい階調の画像で学習した"
        f"（{grey_value(low)}が黒、{grey_value(high)}が白）。これらの回答は疑わしいので、すべて人が確認する。"
        "学習に使った画像と同じ方法で保存し直す必要がある。"
    )


@says
def new_greys_do_not_fit(images: int, first: str, low: float, high: float) -> str:
    return (
        f"画像{whole(images)}枚（最初は{first}）の画素値が、学習に使った画像と合わない（学習時は{grey_value(low)}が黒、"
        f"{grey_value(high)}が白）。これらの回答は疑わしいので、すべて人が確認する。"
        "露出と、ファイルの保存方法を確認する必要がある。"
    )


@says
def person_asked(
    asked: int,
    images: int,
    wanted: float | None,
    threshold: float,
    accuracy: float | None,
    low: float | None,
    high: float | None,
) -> str:
    aim = "" if wanted is None else f"このしきい値は、正解率{limit_share(wanted)}となるようにテスト画像から定めた。"
    measured = ""
    if accuracy is not None and low is not None and high is not None:
        measured = (
            f"テスト画像では、これ以上の確率で回答した画像の正解率は{with_interval(accuracy, low, high)}であった。"
        )
    return (
        f"画像{whole(images)}枚のうち{whole(asked)}枚は人が確認する。確率が{threshold:.3g}を下回るか、画像に問題があるためで"
        f"ある。{aim}{measured}以上は、テスト画像と同様の画像についていえることである。"
    )


@says
def person_unknown(wanted: float | None, images: int, needed: int | None) -> str:
    if wanted is None:
        return (
            "どの画像を人が確認すべきかは分からない。どの確率から回答が十分に正しいかが、モデルのファイルに書かれて"
            "いないためである。報告書の設定でaccuracy_neededを指定し、報告書を作り直してからモデルを書き出す必要がある。"
        )
    least = (
        ""
        if needed is None
        else f"これを示すには、確率の高い回答が少なくとも{whole(needed)}件あり、そのすべてが正解である必要がある。"
    )
    return (
        f"どの画像を人が確認すべきかは分からない。テスト画像{whole(images)}枚では、回答の{limit_share(wanted)}が"
        f"正しいといえる確率の下限がないためである。{least}テスト画像を増やすか、accuracy_neededを下げたうえで、"
        "モデルを書き出し直す必要がある。"
    )


@says
def formulas_marked(names: list[str], classes: int) -> str:
    more = f"ほか{whole(classes - len(names))}種類" if classes > len(names) else ""
    return (
        "CSVでは、表計算ソフトが数式とみなすクラス名の前にアポストロフィを付ける："
        f"{'、'.join(map(repr, names))}{more}。Parquetファイルのクラス名は元のままである。"
    )
