"""Sentences on how images and tables were read (`vptlib.data`)."""

from collections.abc import Iterable

from vptlib.report.words.ja.base import says
from vptlib.report.words.ja.numbers import listed, many, whole

# ---- names ----------------------------------------------------------------------------------------------------------


def bracketed(name: str) -> str:
    """A name that may hold any letters: "傷" → "「傷」"; what cannot be seen is shown by its code."""
    return f"「{repr(name)[1:-1]}」"


def all_bracketed(names: Iterable[str]) -> str:
    """ "傷", "汚れ" → "「傷」「汚れ」"."""
    return "".join(map(bracketed, names))


def further(number: int, counter: str) -> str:
    """3, "個" → "（ほか3個）", and nothing for 0 or less."""
    return f"（ほか{whole(number)}{counter}）" if number > 0 else ""


def _such_as(first: str, number: int) -> str:
    """ "a.png", 3 → "（a.pngなど）"; the only one needs no "など"."""
    return f"（{first}など）" if number > 1 else f"（{first}）"


def _folders(names: list[str]) -> str:
    return listed(f"{name}/" for name in names)


# ---- how images were read (vptlib.data.listing, vptlib.data.folders, vptlib.data.readers) ----------------------------


@says
def spellings_joined(where: str, name: str, spellings: list[str]) -> str:
    return (
        f"{where}：{listed(spellings)}は同じクラスの表記の違いとみなし、{bracketed(name)}として扱う。別のクラスなら、"
        "どれかの名前を変える。"
    )


@says
def folders_are_classes(folder: str, classes: int) -> str:
    return f"{folder}/ には画像の入ったフォルダが{whole(classes)}個あり、それぞれを一つのクラスとする。"


@says
def folders_are_splits(folder: str, train: list[str], test: list[str]) -> str:
    said = [f"{_folders(names)} は{role}" for names, role in ((train, "学習用"), (test, "テスト用")) if names]
    return f"{folder}/ の中は分割ごとのフォルダで、その中にクラスのフォルダがある。{listed(said)}とする。"


@says
def splits_in_classes(folder: str, classes: int, train: list[str], test: list[str]) -> str:
    return (
        f"{folder}/ にはクラスのフォルダが{whole(classes)}個あり、その中に分割ごとのフォルダがある。"
        f"{_folders(train)} は学習用、{_folders(test)} はテスト用とする。"
    )


@says
def held_out_tests(folder: str, name: str) -> str:
    return (
        f"{folder}/ にはテスト用のフォルダがないため、{name}/ の画像でテストする。設定を選ぶための画像は、"
        "学習用画像から取り分ける。"
    )


@says
def quarter_tests(groups: bool) -> str:
    part = "グループ単位で全画像の約4分の1" if groups else "全画像の4分の1"
    return f"テスト用と指定された画像がないため、{part}をテスト画像とする。選ばれる画像は常に同じである。"


@says
def folder_entered(folder: str, inner: str) -> str:
    return f"{folder}/ の中には {inner}/ しかなく、画像はその中にある。"


@says
def folder_passed_over(name: str, folders: int, images: int) -> str:
    which = f"{name}/" if folders == 1 else f"{name}/ という名前のフォルダ{whole(folders)}個"
    return f"{which}（{many(images, '画像')}）は使わない。名前から見て、クラスでも分割でもないためである。"


@says
def doubtful_class(name: str, images: int) -> str:
    return f"{name}/（{many(images, '画像')}）はクラスとして扱う。クラスでなければ、?ignore={name} で除く。"


@says
def split_without_classes(name: str, images: int) -> str:
    return (
        f"{name}/ は使わない。画像が{whole(images)}枚あるが、クラスのフォルダがなく、ラベルが分からないためである。"
        "使うには、画像をクラスごとのフォルダに分ける。"
    )


@says
def images_without_class(folder: str, images: int, first: str) -> str:
    return (
        f"{folder}/ の直下に、フォルダと並んで画像が{whole(images)}枚あり{_such_as(first, images)}、使わない。"
        "使うには、そのクラスのフォルダに移す。"
    )


@says
def deeper_folders(classes: int, first: str, inner: list[str]) -> str:
    such_as = f"（{first}/ の中の{_folders(inner)}{'など' if classes > 1 else ''}）"
    return (
        f"クラスのフォルダ{whole(classes)}個の中に、さらにフォルダがある{such_as}。その中の画像は、すべてそのクラスの"
        "ものとする。"
    )


@says
def folders_without_images(folder: str, names: list[str], folders: int) -> str:
    return (
        f"{folder}/ には画像のないフォルダがあり、クラスとはしない："
        f"{_folders(names)}{further(folders - len(names), '個')}。"
    )


@says
def files_passed_over(ending: str, files: int, classes: dict[str, int], way: str, package: str) -> str:
    kind = f"{ending}ファイル" if ending else "拡張子のないファイル"
    most = sorted(classes.items(), key=lambda item: -item[1])
    shown = [f"{bracketed(name)}に{whole(n)}個" for name, n in most[:5]]
    rest = [f"ほか{many(len(most) - 5, 'クラス')}"] if len(most) > 5 else []
    of_classes = f"（{listed(shown + rest)}）" if shown else ""
    ways = {
        "convert": "使うには、PNGかJPEGで保存し直す。",
        "install": f"使うには、pip install {package} で {package} を入れる。",
        "unpack": "画像が入っていれば、展開する。",
        "frames": "動画を使うには、フレームを画像として保存する。",
        "name it": "画像として使うには、形式に合った拡張子を付ける。",
    }
    return f"{many(files, kind)}{of_classes}は読み込まなかった。{ways[way]}"


@says
def no_images_passed_over(files: int, endings: dict[str, int]) -> str:
    shown = [f"{ending}が{whole(n)}個" for ending, n in endings.items()]
    rest = files - sum(endings.values())
    others = [f"ほか{whole(rest)}個"] if rest else []
    return f"画像以外の{many(files, 'ファイル')}は読み込まなかった：{listed(shown + others)}。"


@says
def hidden_passed_over(images: int, first: str) -> str:
    return (
        f"名前がドットで始まるため、{many(images, '画像')}を読み込まなかった{_such_as(first, images)}。使うには、"
        "ファイルかフォルダの名前を変える。"
    )


@says
def link_in_a_circle(links: int, first: str) -> str:
    return f"上のフォルダに戻る{many(links, 'リンク')}はたどらなかった{_such_as(first, links)}。"


@says
def ignored_as_asked(images: dict[str, int]) -> str:
    shown = [f"{name}/（{many(n, '画像')}）" for name, n in images.items()]
    return f"指定に従って除いた：{listed(shown)}。"


@says
def clutter_class(name: str) -> str:
    return f"{bracketed(name)}は、ほかのどのクラスでもない画像を集めたクラスである。不要なら、?ignore={name} で除く。"


@says
def files_look_like_masks(images: int, first: str) -> str:
    return (
        f"{many(images, '画像')}は、別の画像の名前に「mask」を加えた名前を持ち{_such_as(first, images)}、"
        "そのクラスの画像として数えている。マスクなら、別の場所に移す。"
    )


@says
def classes_without_test(classes: int, names: list[str]) -> str:
    these = "このクラス" if classes == 1 else "これらのクラス"
    return (
        f"テスト画像のないクラスが{whole(classes)}種類ある："
        f"{all_bracketed(names)}{further(classes - len(names), '種類')}。正解率は、{these}については何も示さない。"
    )


_SIDES = {"train": "学習用", "test": "テスト用"}


@says
def unreadable_left_out(files: int, parts: list[dict], names: list[str]) -> str:
    shown = [f"{_SIDES[part['split']]}の{bracketed(part['class'])}に{whole(part['files'])}個" for part in parts[:5]]
    rest = [f"ほか{whole(len(parts) - 5)}組"] if len(parts) > 5 else []
    more = "など" if files > len(names) else ""
    return (
        f"画像として完全でない{many(files, 'ファイル')}を除いた（{listed(shown + rest)}）。"
        f"除いたのは{listed(names)}{more}である。"
    )


@says
def name_not_utf8(where: str, name: str) -> str:
    return f"{where}：UTF-8でない名前があり、「{name}」と表示している。本来の名前で表示するには、名前を変える。"


# ---- how a table was read (vptlib.data.table_files, columns, places, tables) ----------------------------------------


@says
def table_encoding(table: str, encoding: str, words: list[str]) -> str:
    if not words:
        return f"{table}は{encoding}として読み込んだ。"
    return (
        f"{table}はUTF-8でないため、{encoding}として読み込んだ。その結果、{all_bracketed(words)}などの語が得られた。"
        "語が正しくなければ、?encoding=NAME で指定する。"
    )


_SEPARATORS = {"commas": "コンマ", "semicolons": "セミコロン", "tabs": "タブ", "upright bars": "縦線"}


@says
def table_separator(table: str, separator: str) -> str:
    return f"{table}のセルは、{_SEPARATORS.get(separator, separator)}で区切られている。"


_COLUMNS = {"path": "画像のパス", "label": "ラベル", "group": "グループ", "split": "分割"}


@says
def table_columns(table: str, taken: dict[str, str]) -> str:
    each = listed(f"列{bracketed(name)}を{_COLUMNS[what]}" for what, name in taken.items())
    return f"{table}：{each}として扱う。"


_PATHS_DIFFERED = {
    "backslashes": "バックスラッシュ",
    "spaces": "名前の前後の空白",
    "accents": "文字と記号を分けた符号化",
    "case": "大文字と小文字",
    "stored": "表の文字コードで保存された名前",
}


@says
def table_paths_understood(table: str, differed: dict[str, int], written: str, meant: str) -> str:
    kinds = listed(f"{_PATHS_DIFFERED[kind]}（{whole(rows)}行）" for kind, rows in differed.items())
    return (
        f"{table}：パスと実際のファイル名に違いがある：{kinds}。当てはまるファイルが一つだけなので、それを使う。"
        f"たとえば「{written}」は「{meant}」を指すものとする。"
    )


@says
def table_rows_repeated(table: str, rows: int, images: int) -> str:
    return f"{table}の{whole(rows)}行は、前の行と同じ画像を指す。各画像は一度だけ数え、全部で{whole(images)}枚とする。"


@says
def table_words_for_nothing(table: str, column: str, words: list[str]) -> str:
    return (
        f"{table}：列{bracketed(column)}の{all_bracketed(words)}は、名前として扱う。空とみなすのは、"
        "空のセルだけである。"
    )


@says
def table_no_groups(table: str, column: str) -> str:
    return f"{table}：列{bracketed(column)}が空なので、グループの区別はしない。"


@says
def table_groups_empty(table: str, column: str, images: int) -> str:
    return (
        f"{table}：列{bracketed(column)}にグループのない画像が{whole(images)}枚ある。"
        "それぞれを独立したグループとして扱う。"
    )


@says
def table_groups_joined(table: str, column: str, spellings: list[str]) -> str:
    return (
        f"{table}：列{bracketed(column)}のグループのうち、{all_bracketed(spellings)}のように表記だけが異なるものは、"
        "同じグループとする。"
    )


@says
def table_splits(table: str, column: str, train: list[str], test: list[str]) -> str:
    trains, tests = (all_bracketed(names) if names else "該当なし" for names in (train, test))
    return f"{table}：列{bracketed(column)}の値で画像を分ける。学習用：{trains}、テスト用：{tests}。"


# ---- how a data set of another library was read (vptlib.data.library_parts, hugging_face) ----------------------------


@says
def splits_of_library(where: str, train: list[str], test: list[str], left_out: list[str]) -> str:
    trains = f"{where}：分割{all_bracketed(train)}で学習し"
    tests = f"分割{all_bracketed(test)}でテストする" if test else "その画像の4分の1でテストする"
    rest = f"{all_bracketed(left_out)}は使わない。" if left_out else ""
    return f"{trains}、{tests}。{rest}"


@says
def columns_of_library(where: str, image: str, label: str, others: list[str]) -> str:
    return (
        f"{where}：画像は列{bracketed(image)}から、ラベルは列{bracketed(label)}から読む。"
        f"列{all_bracketed(others)}からは読まない。"
    )


@says
def images_without_label(where: str, counts: dict[str, int]) -> str:
    of_each = listed(f"{bracketed(name)}の{whole(number)}枚" for name, number in counts.items())
    return f"{where}：ラベルのない画像は使わない：{of_each}。"


@says
def classes_by_name(where: str, first: str, parts: list[str]) -> str:
    return (
        f"{where}：分割{all_bracketed(parts)}のクラスの並び順は、{bracketed(first)}と異なる。クラスは名前で対応させる。"
    )


@says
def classes_without_images(where: str, classes: int, first: list[str]) -> str:
    return f"{where}：画像のない{many(classes, 'クラス')}を除いた{_such_as(bracketed(first[0]), classes)}。"
