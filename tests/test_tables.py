"""vptlib.data.tables: tables as Excel, Windows, pandas and people write them, and what is said of each."""

import os
import re
import unicodedata

import numpy as np
import pandas as pd
import pytest
from fuzz_lists import cases as list_cases
from fuzz_lists import check as check_list
from fuzz_tables import cases as table_cases
from fuzz_tables import check as check_table
from pictures import flat, numbered, put

from vptlib.data.encodings import text_of
from vptlib.data.readers import read
from vptlib.errors import UserError
from vptlib.report.words.en import sentence

pytestmark = pytest.mark.usefixtures("own_cache")


def lines(label=lambda k: "ab"[k % 2], separator=",", header="path,label", end="\n", count=8, path="img/{}.png"):
    """A table of eight images as text."""
    rows = [separator.join((path.format(k), str(label(k)))) for k in range(count)]
    return end.join([header.replace(",", separator), *rows]) + end


def saved(root, content, name="list.csv", count=8):
    """Save a table of text or bytes next to numbered pictures. Gives its name for `read`."""
    numbered(root / "img", count)
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"table:{root / name}"


def classes(found):
    """The number of the picture, and its class."""
    pictures = [int(path.stem) for path in found.images.paths]
    return dict(zip(pictures, [found.class_names[label] for label in found.labels], strict=True))


def own(found):
    """The remarks on the table and its spellings, not those on the classes."""
    return [remark for remark in found.remarks if remark.what.code.startswith(("table", "spelling"))]


def said(found):
    """All remarks as sentences, each with its level."""
    return "\n".join(f"{remark.level}: {sentence(remark.what)}" for remark in found.remarks)


PLAIN = {k: "ab"[k % 2] for k in range(8)}


def test_a_plain_table_leaves_nothing_to_say(tmp_path):
    found = read(saved(tmp_path, lines()))
    assert classes(found) == PLAIN and own(found) == []


# ---- separators, headers, quotes --------------------------------------------------------------------------------

LAYOUTS = {
    "semicolons": (lines(separator=";"), "separated by semicolons"),
    "tabs in a .csv": (lines(separator="\t"), "separated by tabs"),
    "upright bars": (lines(separator="|"), "separated by upright bars"),
    "Excel's first line": ("sep=;\r\n" + lines(separator=";", end="\r\n"), "separated by semicolons"),
    "a separator of one's own": ("sep=^\n" + lines(separator="^"), "separated by '^'"),
    "commas within, semicolons between": (
        lines(separator=";", header="path,label,size").replace("\n", ";1,5\n").replace("size;1,5", "size"),
        "separated by semicolons",
    ),
    "Path, Label": (
        lines(header="Path,Label"),
        "column 'Path' is taken for path and column 'Label' is taken for label",
    ),
    "spaces in a header": (lines(header=" path , label "), ""),
    "a byte order mark": ("\ufeff" + lines(), ""),
    "image, class": (lines(header="image,class"), "'image' is taken for path and column 'class' is taken for label"),
    "File Path, TARGET": (lines(header="File Path,TARGET"), "'File Path' is taken for path"),
    "quoted header": (lines(header='"path","label"'), ""),
    "old line ends": (lines(end="\r"), ""),
    "empty lines": (lines(end="\n\n"), ""),
    "empty cells left behind": (lines().replace("\n", ",,\n") + ",,,\n", ""),
    "a column of line breaks": (lines(header="path,label,note").replace("b\n", 'b,"two\nlines"\n'), ""),
    "label before path": (
        "label,path\n" + "".join(f"{kind},img/{k}.png\n" for k, kind in PLAIN.items()),
        "",
    ),
    "other columns": (lines(header="path,label,width,path").replace("\n", ",3,x\n", 0).replace(",width,path", ""), ""),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_table_of_any_layout_is_read(tmp_path, name):
    content, words = LAYOUTS[name]
    found = read(saved(tmp_path, content))
    assert classes(found) == PLAIN
    assert words in said(found) if words else own(found) == []


REFUSED = {
    "two columns for path": (
        lines(header="image,label,filename"),
        "several columns for path, 'image' and 'filename'.*\\?path=",
    ),
    "two spellings of a column": (lines(header="Path,label,PATH"), "several columns for path, 'Path' and 'PATH'"),
    "a column twice": (lines(header="path,label,label"), "several columns for label.*another name"),
    "no known column": (
        lines(header="file,label"),
        "no column 'path' for path: it has file, label; write \\?path=COLUMN",
    ),
    "no header": (lines().split("\n", 1)[1], "no column 'path', or no header: write path,label"),
    "an open quote": (lines() + 'img/7.png,"a\n', "cannot be read as a table \\(line 10"),
    "too many cells": (lines() + "img/7.png,a,b,c\n", "row 10, line 10: it has 4 cells, but the header has 2"),
    "a spreadsheet called .csv": (b"PK\x03\x04" + bytes(50), "cannot be read as a table"),
    "bytes": (bytes(range(256)), "cannot be read as a table"),
    "a drive of Windows": (lines(path="C:\\data\\{}.png"), "row 2: 'C:.*Windows machine.*from the table's folder"),
    "a share of Windows": (lines(path="\\\\server\\x\\{}.png"), "row 2: .*Windows machine"),
    "addresses": (lines(path="https://host/{}.png"), "row 2: .*is an address, not a file"),
    "an empty label": (lines().replace("img/1.png,b", "img/1.png,"), "row 3: 'label' is empty"),
    "a label of spaces": (lines().replace("img/1.png,b", "img/1.png,  "), "row 3: 'label' is empty"),
    "a missing cell": (lines().replace("img/1.png,b", "img/1.png"), "row 3: 'label' is empty"),
    "a path too long": (lines() + "x" * 300 + ",a\n", "row 10: there is no image at"),
    "two labels": (lines() + "./img/0.png,b\n", "row 10: 0.png is 'b' here and 'a' in row 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_that_is_not_clear_is_refused(tmp_path, name):
    content, words = REFUSED[name]
    with pytest.raises(UserError, match=words) as error:
        read(saved(tmp_path, content))
    assert "list.csv" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("ending", [".xlsx", ".ods", ".json", ".jsonl", ".txt"])
def test_other_files_are_refused_with_a_way_to_a_table(tmp_path, ending):
    with pytest.raises(UserError, match=rf"list\{ending} is not a table that can be read: .*\.csv"):
        read(saved(tmp_path, "x", f"list{ending}"))


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path):
    content = 'path,label,note\nimg/0.png,a,"one\ntwo\nthree"\n\nimg/1.png,b,\nimg/99.png,a,\n'
    with pytest.raises(UserError, match=r"list\.csv, row 5: there is no image at .*99\.png"):
        read(saved(tmp_path, content))
    with pytest.raises(UserError, match=r"list\.csv, row 2: there is no image"):
        read(saved(tmp_path, "sep=;\npath;label\nimg/99.png;a\n"))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_column_may_be_named_in_other_letters(tmp_path, suffix):
    numbered(tmp_path / "img", 8)
    frame = pd.DataFrame({"Bild Datei": [f"img/{k}.png" for k in range(8)], "kind": list("abababab")})
    file = tmp_path / f"list{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(file)
    else:
        frame.to_csv(file, index=False, sep="\t" if suffix == ".tsv" else ",")
    assert classes(read(f"table:{file}?path=bild_datei&label=KIND")) == PLAIN


# ---- encodings --------------------------------------------------------------------------------------------------

READ = [
    *[
        (encoding, ["良品", "不良"])
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
    ],
    *[
        ("cp932", words)
        for words in (["良品", "クラック"], ["犬", "猫"], ["ｷｽﾞ", "ﾖｺﾞﾚ"], ["A級", "B級"], ["正常", "ひび割れ"])
    ],
    *[("shift_jis", ["表面", "ソート"]), ("euc_jp", ["良品", "クラック"]), ("euc_jp", ["ひび", "きず"])],
    *[
        ("cp1252", words)
        for words in (["Riß", "Öl"], ["crème", "brûlée"], ["tief – hart", "don’t"], ["año", "5 µm"], ["Š", "œuf"])
    ],
    *[("latin-1", ["Größe", "défaut"]), ("cp1251", ["трещина", "скол"]), ("cp1252", ["20 °C", "x"])],
]


@pytest.mark.parametrize(("encoding", "words"), READ)
def test_words_in_any_usual_encoding_are_read_right_and_said(tmp_path, encoding, words):
    found = read(saved(tmp_path, lines(lambda k: words[k % 2]).encode(encoding)))
    assert classes(found) == {k: words[k % 2] for k in range(8)}
    if encoding in ("utf-8", "utf-8-sig"):
        assert own(found) == []
    elif encoding.startswith("utf"):
        assert "note: list.csv was read as UTF" in said(found)
    else:
        assert "warning: list.csv is not UTF-8, and was read as " in said(found)
        assert any(word in said(found) for word in words if not word.isascii()) and "?encoding=NAME" in said(found)


UNCLEAR = [
    ("euc_jp", ["良品", "不良"], ["euc_jp to read '良品'", "cp932"]),
    ("gb2312", ["划痕", "焊缝"], ["gb2312 to read '划痕'", "euc_jp"]),
    ("euc_kr", ["균열", "정상"], ["euc_kr to read '균열'", "gb2312"]),
    ("cp1252", ["É", "x"], ["cp1252 to read 'É'", "cp932 to read 'ﾉ'"]),
    ("mac_roman", ["Größe", "défaut"], ["encoding=NAME"]),
    ("cp1250", ["żółty", "rysa głęboka"], ["encoding=NAME"]),
]


@pytest.mark.parametrize(("encoding", "words", "offers"), UNCLEAR)
def test_an_encoding_that_is_not_clear_is_asked_for(tmp_path, encoding, words, offers):
    spec = saved(tmp_path, lines(lambda k: words[k % 2]).encode(encoding))
    with pytest.raises(UserError, match="not UTF-8") as error:
        read(spec)
    assert all(offer in str(error.value) for offer in offers)
    found = read(f"{spec}?encoding={encoding}")
    assert set(found.class_names) == set(words) and own(found) == []


def test_files_that_are_there_decide_between_encodings(tmp_path):
    for k, name in enumerate(["良", "品", "悪", "傷"]):
        put(tmp_path / "img" / f"{name}.png", flat(k))
    content = "path,label\n" + "".join(
        f"img/{name}.png,{kind}\n" for name, kind in zip("良品悪傷", "abab", strict=True)
    )
    for encoding in ("euc_jp", "cp932"):  # kanji alone are not clear in EUC
        file = tmp_path / f"{encoding}.csv"
        file.write_bytes(content.encode(encoding))
        found = read(f"table:{file}")
        assert [path.stem for path in found.images.paths] == list("良品悪傷")
        assert f"read as {encoding}" in said(found)


def test_files_named_in_the_encoding_of_the_table_are_found(tmp_path):
    """As an archive from a Japanese machine unpacks them."""
    for k, name in enumerate(["良", "品", "悪", "傷"]):
        put(tmp_path / "img" / "x.png", flat(k)).rename(os.fsdecode(f"{tmp_path}/img/{name}.png".encode("cp932")))
    rows = [f"img\\{name}.png,{kind}\n" for name, kind in zip("良品悪傷", "abab", strict=True)]
    (tmp_path / "list.csv").write_bytes("".join(["path,label\n", *rows]).encode("cp932"))
    found = read(f"table:{tmp_path / 'list.csv'}")
    assert [found.images.open(k).getpixel((0, 0))[0] for k in range(4)] == [0, 1, 2, 3]
    assert "names stored in the encoding of the table (in 4 rows)" in said(found)


def test_names_of_files_that_are_nowhere_are_no_evidence(tmp_path):
    spec = saved(tmp_path, lines(path="img/ряд{}.png").encode("cp1251"))
    with pytest.raises(UserError, match="cannot be read as a table"):
        read(spec)


@pytest.mark.parametrize(
    ("option", "words"),
    [("utf-8", "is not in utf-8"), ("cp9999", "no text encoding 'cp9999'"), ("base64", "no text encoding 'base64'")],
)
def test_a_wrong_encoding_is_named(tmp_path, option, words):
    spec = saved(tmp_path, lines(lambda k: "äö"[k % 2]).encode("cp1252"))
    with pytest.raises(UserError, match=words):
        read(f"{spec}?encoding={option}")


def test_a_parquet_file_needs_no_encoding(tmp_path):
    pd.DataFrame({"path": ["a"], "label": ["b"]}).to_parquet(tmp_path / "list.parquet")
    with pytest.raises(UserError, match="leave out"):
        read(f"table:{tmp_path / 'list.parquet'}?encoding=utf-8")


def test_text_of_gives_text_and_encoding(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbfa")
    assert text_of(tmp_path / "x.txt") == ("a", "UTF-8")


# ---- paths ------------------------------------------------------------------------------------------------------

SPELLINGS = {
    "backslashes": ("img\\{}.png", "backslashes (in 8 rows)"),
    "a point and backslashes": (".\\img\\{}.png", "backslashes (in 8 rows)"),
    "capitals": ("IMG/{}.PNG", "capital or small letters (in 8 rows)"),
    "spaces around": (" img/{}.png ", "spaces around a name (in 8 rows)"),
    "all at once": (" Img\\{}.Png", "backslashes (in 8 rows), capital or small letters (in 8 rows) and spaces"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_paths_of_other_systems_lead_to_the_one_file_that_fits(tmp_path, name):
    path, words = SPELLINGS[name]
    found = read(saved(tmp_path, lines(path=path)))
    assert classes(found) == PLAIN and all(path.is_file() for path in found.images.paths)
    assert words in said(found) and "is 'img/0.png'" in said(found)


@pytest.mark.parametrize(("on_disk", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_stored_apart_lead_to_the_same_file(tmp_path, on_disk, written):
    names = [f"é{k}.png" for k in range(4)]
    for k, name in enumerate(names):
        put(tmp_path / unicodedata.normalize(on_disk, name), flat(k))
    rows = "".join(f"{unicodedata.normalize(written, name)},{'ab'[k % 2]}\n" for k, name in enumerate(names))
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}", encoding="utf-8")
    found = read(f"table:{tmp_path / 'list.csv'}")
    assert [path.name for path in found.images.paths] == [unicodedata.normalize(on_disk, name) for name in names]
    assert "letters and accents stored apart (in 4 rows)" in said(found)


def test_two_files_that_fit_are_not_guessed(tmp_path):
    for k, name in enumerate(["x.PNG", "X.png"]):
        put(tmp_path / "img" / name, flat(k))
    with pytest.raises(UserError, match=r"row 2: 'x\.png' may be 'X\.png' and 'x\.PNG'"):
        read(saved(tmp_path, "path,label\nimg/x.png,a\n"))
    found = read(saved(tmp_path, "path,label\nimg/x.PNG,a\nimg/X.png,b\nimg/0.png,a\nimg/1.png,b\n"))
    assert len(found.labels) == 4 and own(found) == []  # as written there is a file for each


def test_a_path_outside_is_refused_in_any_spelling(tmp_path):
    put(tmp_path / "x.png")
    for path in ("../x.png", "..\\x.png", "img/../../x.png"):
        with pytest.raises(UserError, match=r"row 10: .*(is outside|there is no image)"):
            read(saved(tmp_path / "in", lines() + f"{path},a\n"))


def test_an_image_in_two_rows_counts_once(tmp_path):
    found = read(saved(tmp_path, lines() + "img/0.png,a\n./img/1.png,b\nIMG/2.png,a\n"))
    assert classes(found) == PLAIN and len(found.labels) == 8
    assert "warning: 3 rows of list.csv repeat images of an earlier row. Each image counts once: 8" in said(found)


# ---- labels -----------------------------------------------------------------------------------------------------

NOTHING = ["None", "NA", "null", "nan", "N/A", "NaN", "NULL", "#N/A", "<NA>", "-", "n/a", "-nan", "1.#IND"]


@pytest.mark.parametrize("word", NOTHING)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_words_for_nothing_are_names_of_classes(tmp_path, word, suffix):
    labels = [("ok", word)[k % 2] for k in range(8)]
    numbered(tmp_path / "img", 8)
    frame = pd.DataFrame({"path": [f"img/{k}.png" for k in range(8)], "label": labels})
    file = tmp_path / f"list{suffix}"
    frame.to_parquet(file) if suffix == ".parquet" else frame.to_csv(file, index=False)
    found = read(f"table:{file}")
    assert classes(found) == dict(enumerate(labels))
    if word not in ("-nan", "1.#IND"):
        assert f"{word!r} is taken as a name. Only an empty cell counts as empty" in said(found)


NUMBERS = {
    "whole": (["10", "9", "1"], ("1", "9", "10")),
    "zeros in front": (["010", "009", "001"], ("001", "009", "010")),
    "with a point": (["10.0", "9.0", "1.5"], ("1.5", "9.0", "10.0")),
    "decimal commas": (["10,5", "9,5", "1,5"], ("1,5", "9,5", "10,5")),
    "below zero": (["1", "-10", "-9"], ("-10", "-9", "1")),
    "no numbers": (["inf", "nan", "2"], ("2", "inf", "nan")),
    "far too long": (["9" * 400, "b", "2"], ("2", "9" * 400, "b")),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_names_and_sort_as_numbers(tmp_path, name):
    labels, order = NUMBERS[name]
    found = read(saved(tmp_path, lines(lambda k: labels[k % 3], separator=";", count=9), count=9))
    assert found.class_names == order
    assert classes(found) == {k: labels[k % 3] for k in range(9)}


@pytest.mark.parametrize(("one", "other"), [("1", "01"), ("1", "1.0"), ("cat", "Cat"), ("a_b", "a b")])
def test_two_spellings_of_a_class_are_never_two_classes_in_silence(tmp_path, one, other):
    with pytest.raises(UserError, match="may be one class"):
        read(saved(tmp_path, lines(lambda k: (one, other, "x")[k % 3])))


def test_spaces_and_accents_apart_do_not_make_a_class(tmp_path):
    labels = ["café", "cafe\u0301", "café ", "x"]
    found = read(saved(tmp_path, lines(lambda k: labels[k % 4])))
    assert found.class_names == ("café", "x") and "are taken as one class, 'café'" in said(found)


COLUMNS = {
    "int64": (np.arange(8) % 3, {0: "0", 1: "1", 2: "2"}),
    "int8": ((np.arange(8) % 3).astype(np.int8), {0: "0", 1: "1", 2: "2"}),
    "float64": ((np.arange(8) % 3).astype(float), {0: "0.0", 1: "1.0", 2: "2.0"}),
    "float32": (np.array([0.1, 1.1, 2.1] * 3, np.float32)[:8], {0: "0.1", 1: "1.1", 2: "2.1"}),
    "bool": (np.arange(8) % 3 == 0, {0: "True", 1: "False"}),
    "categorical": (pd.Categorical(list("xyzxyzxy")), {0: "x", 1: "y", 2: "z"}),
    "bytes": ([b"x", b"y", "é".encode()] * 2 + [b"x", b"y"], {0: "x", 1: "y", 2: "é"}),
    "text": (list("xyzxyzxy"), {0: "x", 1: "y", 2: "z"}),
    "Int64": (pd.array([0, 1, 2, 0, 1, 2, 0, 1], dtype="Int64"), {0: "0", 1: "1", 2: "2"}),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_each_type_of_a_parquet_column_is_read_as_it_is_shown(tmp_path, kind):
    numbered(tmp_path / "img", 8)
    labels, wanted = COLUMNS[kind]
    pd.DataFrame({"path": [f"img/{k}.png" for k in range(8)], "label": labels}).to_parquet(tmp_path / "list.parquet")
    found = classes(read(f"table:{tmp_path / 'list.parquet'}"))
    assert {k: found[k] for k in wanted} == wanted


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([None, *"bababab"], "row 2: 'label' is empty"),
        ([*"aba", None, *"abab"], "row 5: 'label' is empty"),
        ([0.0, float("nan"), 1.0] * 2 + [0.0, 1.0], "row 3: 'label' is empty"),
        (pd.array([0, None, 1, 0, 1, 0, 1, 0], dtype="Int64"), "row 3: 'label' is empty"),
        (pd.Categorical([*"abababa", None]), "row 9: 'label' is empty"),
        ([[k] for k in range(8)], "column 'label' for label holds lists"),
        ([{"a": k} for k in range(8)], "column 'label' for label holds lists"),
        ([b"\xff"] * 8, "column 'label' for label holds lists, tables or bytes"),
    ],
)
def test_a_parquet_column_that_gives_no_label_is_refused(tmp_path, labels, words):
    numbered(tmp_path / "img", 8)
    pd.DataFrame({"path": [f"img/{k}.png" for k in range(8)], "label": labels}).to_parquet(tmp_path / "list.parquet")
    with pytest.raises(UserError, match=words):
        read(f"table:{tmp_path / 'list.parquet'}")


# ---- splits and groups ------------------------------------------------------------------------------------------


def with_column(name, cells, count=None):
    """A table with a third column."""
    rows = [f"img/{k}.png,{'ab'[k // 2 % 2]},{cell}\n" for k, cell in enumerate(cells)]
    return f"path,label,{name}\n" + "".join(rows)


SPLITS = {
    "train and test": (["train", "test"], "split", None),
    "capitals and spaces": ([" Train ", "TEST"], "Split", "'Split' is taken for split"),
    "long forms": (["training", "testing"], "split", "'training' trains and 'testing' tests"),
    "three": (["train", "valid", "test"], "split", "'train' and 'valid' trains and 'test' tests"),
    "development": (["dev", "train", "test"], "split", "'dev' and 'train' trains"),
    "evaluation": (["train", "eval"], "split", "warning: .*'train' trains and 'eval' tests"),
    "validation alone": (["train", "val"], "split", "warning: .*'train' trains and 'val' tests"),
    "another name": (["train", "test"], "subset", "column 'subset' is taken for split"),
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_are_understood_and_said(tmp_path, name):
    words, column, remark = SPLITS[name]
    cells = [words[k % len(words)] for k in range(8)]
    found = read(saved(tmp_path, with_column(column, cells)))
    tests = words[-1]
    assert found.splits.tolist() == ["test" if cell == tests else "train" for cell in cells]
    assert re.search(remark, said(found)) if remark else own(found) == []


@pytest.mark.parametrize("word", ["holdout", "unlabeled", "train[:10%]", "test_hard", "NA", "nan", "0", "tset"])
def test_an_unknown_split_is_named_with_its_row(tmp_path, word):
    with pytest.raises(UserError, match=r"row 4: the split is .*must be train, val or test"):
        read(saved(tmp_path, with_column("split", ["train", "test", word, *["train", "test"] * 2, "train"])))


def test_an_empty_split_is_named_with_its_row(tmp_path):
    with pytest.raises(UserError, match="row 5: the split is empty"):
        read(saved(tmp_path, with_column("split", ["train", "test", "train", "", *["train", "test"] * 2])))


def test_training_images_alone_do_not_make_a_study(tmp_path):
    with pytest.raises(UserError, match="no test images"):
        read(saved(tmp_path, with_column("split", ["train"] * 8)))


def test_one_image_in_two_splits_is_refused(tmp_path):
    content = with_column("split", ["train", "test"] * 4) + "IMG\\0.png,a,test\n"
    with pytest.raises(UserError, match=r"row 10: 0\.png is 'test' here and 'train' in row 2"):
        read(saved(tmp_path, content))


def test_groups_with_given_splits_are_kept_as_they_are(tmp_path):
    """Whether a group is on both sides is for the check to find."""
    cells = [f"s{k // 4},{'test' if k % 2 else 'train'}" for k in range(8)]
    found = read(saved(tmp_path, with_column("group,split", cells)))
    assert found.groups.tolist() == [0] * 4 + [1] * 4
    assert set(found.groups[found.splits == "train"]) == set(found.groups[found.splits == "test"]) == {0, 1}


GROUPS = {
    "numbers with and without a point": (
        ["1", "1.0", "2", "2.0", "3", "03", "4", "4"],
        [0, 0, 1, 1, 2, 2, 3, 3],
        "'1' and '1.0'",
    ),
    "capitals and spaces": (["A", "a ", "b", "b", "c", "c", "d", "d"], [0, 0, 1, 1, 2, 2, 3, 3], "'A' and 'a '"),
    "some empty": (["a", "", "b", " ", "c", "c", "d", ""], [0, 4, 1, 5, 2, 2, 3, 6], "3 images have no group"),
    "a word for nothing": (
        ["a", "NA", "b", "NA", "c", "c", "d", "d"],
        [1, 0, 2, 0, 3, 3, 4, 4],
        "'NA' is taken as a name",
    ),
    "plain": (["s10", "s9", "s1", "s1", "s2", "s2", "s3", "s3"], [1, 4, 0, 0, 2, 2, 3, 3], ""),
}


@pytest.mark.parametrize("name", GROUPS)
def test_groups_are_joined_and_kept_apart_as_meant(tmp_path, name):
    cells, wanted, words = GROUPS[name]
    found = read(saved(tmp_path, with_column("group", cells)))
    assert found.groups.tolist() == wanted
    assert words in said(found) if words else own(found) == []
    assert not set(found.groups[found.splits == "test"]) & set(found.groups[found.splits == "train"])


def test_groups_keep_the_names_that_were_written(tmp_path):
    lots = ["10", "10", "9", "", "2", "2", "Lot A ", "lot a"]
    found = read(saved(tmp_path, with_column("group", lots)))
    assert found.group_names == ("10", "2", "9", "Lot A")
    named = [found.group_names[group] if group < 4 else "" for group in found.groups]
    assert named == ["10", "10", "9", "", "2", "2", "Lot A", "Lot A"]


def test_an_empty_column_of_groups_keeps_nothing_apart(tmp_path):
    found = read(saved(tmp_path, with_column("group", [""] * 8)))
    assert found.groups is None and "column 'group' is empty, so that no groups are kept apart" in said(found)


def test_one_image_in_two_groups_is_refused(tmp_path):
    content = with_column("group", ["s1", "s2", "s3", "s4"] * 2) + "img/0.png,a,s2\n"
    with pytest.raises(UserError, match=r"row 10: 0\.png is 's2' here and 's1' in row 2"):
        read(saved(tmp_path, content))


# ---- anything at all --------------------------------------------------------------------------------------------


def test_long_cells_take_no_longer_than_many(tmp_path):
    """A search that starts again at each letter would take minutes."""
    for cell in ("9" * 100_000, "é" * 100_000, " " * 100_000, "a " * 50_000):
        spec = saved(tmp_path, (lines() + f"{cell},a\n").encode("cp1252"))
        with pytest.raises(UserError, match="list"):
            read(spec)


def test_any_table_is_read_or_refused_in_a_sentence(tmp_path):
    for case in table_cases(seed=1, count=100):
        check_table(case, tmp_path)


def test_any_list_of_vtab_is_read_or_refused_in_a_sentence(tmp_path):
    for case in list_cases(seed=1, count=100):
        check_list(case, tmp_path)


LISTS = {
    "tabs": b"images/0.png\t0\nimages/1.png\t1\n",
    "CRLF": b"images/0.png 0\r\nimages/1.png 1\r\n",
    "old line ends": b"images/0.png 0\rimages/1.png 1\r",
    "a byte order mark": b"\xef\xbb\xbfimages/0.png 0\nimages/1.png 1\n",
    "UTF-16": "images/0.png 0\r\nimages/1.png 1\r\n".encode("utf-16"),
    "spaces": b"  images/0.png   0  \n\n images/1.png 1",
    "signs and zeros": b"images/0.png +0\nimages/1.png 01\n",
}
BAD_LISTS = {
    "not UTF-8": (b"images/0.png 0\nimages/\xff.png 1\n", "line 2: this is not text in UTF-8"),
    "NUL": (b"images/0.png 0\nimages/1.png 1\nimages/\x00.png 1\n", "line 3: this is not text"),
    "below zero": (b"images/0.png 0\nimages/1.png -1\n", "line 2: the label is -1, but kitti has classes 0 to 3"),
    "huge": (b"images/0.png 99999999999999999999\n", "line 1: the label is 9999.*classes 0 to 3"),
    "longer than an int may be": (b"images/0.png " + b"9" * 5000 + b"\n", "line 1: the label is 9+, but"),
    "a small two": ("images/0.png ²\n".encode(), "line 1: .*is not a path and a label"),
    "a wide three": ("images/0.png ３\n".encode(), "line 1: .*is not a path and a label"),
    "a path too long": (b"a" * 300 + b" 0\n", "line 1: there is no image at"),
}


@pytest.mark.parametrize("name", [*LISTS, *BAD_LISTS])
def test_a_list_of_vtab_is_read_right_or_its_line_is_named(tmp_path, name):
    numbered(tmp_path / "kitti" / "images", 2)
    content, words = BAD_LISTS.get(name, (LISTS.get(name), None))
    (tmp_path / "kitti" / "train800val200.txt").write_bytes(content)
    (tmp_path / "kitti" / "test.txt").write_bytes(b"images/0.png 3\n")
    if words:
        with pytest.raises(UserError, match=rf"train800val200\.txt, {words}"):
            read(f"vtab:{tmp_path / 'kitti'}")
        return
    found = read(f"vtab:{tmp_path / 'kitti'}")
    assert found.labels.tolist() == [0, 1, 3] and [path.name for path in found.images.paths][:2] == ["0.png", "1.png"]
