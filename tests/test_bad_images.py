"""What may be wrong with a user's images, a row each: always a sentence that names the file or line, no traceback."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import class_folders, flat, numbered, put, rows, table
from PIL import Image

from vptlib.data.check import check_data
from vptlib.data.decoding import decode
from vptlib.data.files import ImageFiles
from vptlib.data.readers import read
from vptlib.data.splits import few_shot
from vptlib.errors import UserError


def two_classes(root):
    return class_folders(root, {"crack": 6, "sound": 6})


def in_turn(k):
    return "ab"[k % 2]


ROWS = rows(8, in_turn)


def written(root, name, content):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)
    return root / name


def vtab(root, train="images/0.png 0\nimages/1.png 1\n", test="images/0.png 1\n", task="kitti"):
    numbered(root / task / "images", 2)
    for name, text in (("train800val200.txt", train), ("test.txt", test)):
        if text is not None:
            (root / task / name).write_text(text, encoding="utf-8")
    return f"vtab:{root / task}"


def linked_in_a_circle(root):
    (two_classes(root) / "sound" / "round").symlink_to(root)
    return root


FOLDERS = {
    "missing": (lambda root: root / "nowhere", "there is no folder or table at .*nowhere"),
    "a file": (lambda root: f"folder:{put(root / 'a.png')}", "there is no folder at .*a.png"),
    "empty": (lambda root: root.mkdir() or root, "holds no images in sub-folders"),
    "empty classes": (lambda root: [(root / n).mkdir(parents=True) for n in "ab"] and root, "holds no images"),
    "images without a class": (lambda root: put(root / "1.png").parent, "holds no images in sub-folders"),
    "texts only": (lambda root: written(root / "a", "notes.txt", b"x").parents[1], "holds no images"),
    "one class": (lambda root: put(root / "only" / "1.png").parents[1], "only one class, 'only'"),
    "one class, unicode": (lambda root: put(root / "Riß mit, Komma" / "1.png").parents[1], "'Riß mit, Komma'"),
    "class only in test": (
        lambda root: put(two_classes(root / "train") / ".." / "test" / "new" / "1.png") and root,
        "class 'new' has test images but none to train on",
    ),
    "train without test": (lambda root: two_classes(root / "train").parent / "train" / "crack", "no images in sub"),
    "unknown option": (lambda root: f"folder:{two_classes(root)}?lable=x", "no option 'lable'"),
    "unknown skip": (lambda root: f"folder:{two_classes(root)}?skip=bad", "skip is 'bad'.*unreadable"),
}
TABLES = {
    "missing": (lambda root: root / "no.csv", "there is no folder or table at|there is no table at .*no.csv"),
    "empty file": (lambda root: written(root, "list.csv", b""), "list.csv cannot be read as a table"),
    "header alone": (lambda root: written(root, "list.csv", b"path,label\n"), "list.csv has no rows"),
    "no label column": (lambda root: table(root, ROWS, ("path", "kind")), "no column 'label'.*path, kind"),
    "no path column": (lambda root: table(root, ROWS, ("file", "label")), "no column 'path'.*path=COLUMN"),
    "asked column missing": (lambda root: f"{table(root, ROWS)}?group=site", "no column 'site' for group"),
    "empty label": (lambda root: table(root, rows(8, lambda k: "a" if k else None)), "row 2: 'label' is empty"),
    "empty path": (lambda root: table(root, [*ROWS, ["", "a"]]), "row 10: 'path' is empty"),
    "image missing": (lambda root: table(root, [*ROWS, ["img/x.png", "a"]]), "row 10: there is no image at .*x.png"),
    "a folder for an image": (lambda root: table(root, [*ROWS, ["img", "a"]]), "row 10: there is no image at"),
    "path outside": (
        lambda root: table(put(root / "out.png").parent / "in", [*ROWS, ["../out.png", "a"]]),
        "row 10: .*out.png is outside",
    ),
    "two labels": (lambda root: table(root, [*ROWS, ["img/0.png", "b"]]), "row 10: 0.png is 'b' here and 'a' in row 2"),
    "unknown split": (
        lambda root: table(root, rows(8, in_turn, lambda k: "tset"), ("path", "label", "split")),
        "row 2: the split is 'tset'",
    ),
    "no test images": (
        lambda root: table(root, rows(8, in_turn, lambda k: "train"), ("path", "label", "split")),
        "no test images",
    ),
    "unknown option": (lambda root: f"{table(root, ROWS)}?lable=x", "no option 'lable': did you mean 'label'"),
    "too few groups": (
        lambda root: table(root, rows(8, in_turn, lambda k: "lot 1"), ("path", "label", "group")),
        "1 groups: a test of whole groups needs at least 4",
    ),
    "one class": (lambda root: table(root, rows(8, lambda k: "a")), "only one class, 'a'"),
    "not UTF-8": (lambda root: written(root, "l.csv", b"path,label\n\xff\xfe.png,a\n"), "l.csv cannot be read"),
    "no parquet": (lambda root: written(root, "l.parquet", b"PAR1 no"), "l.parquet cannot be read as a table"),
    "ragged": (lambda root: written(root, "l.csv", b"path,label\na,b\na,b,c,d\n"), "l.csv cannot be read.*line 3"),
    "a spreadsheet": (lambda root: f"table:{written(root, 'l.xlsx', b'x')}", "l.xlsx is not a table that can be read"),
}
LISTS = {
    "no such task": (lambda root: vtab(root, task="kity"), "no task 'kity' in VTAB-1k: did you mean 'kitti'"),
    "no test list": (lambda root: vtab(root, test=None), "test.txt is missing"),
    "empty list": (lambda root: vtab(root, train="\n"), "train800val200.txt is empty"),
    "no label": (lambda root: vtab(root, train="images/0.png\n"), "train800val200.txt, line 1"),
    "label is a word": (lambda root: vtab(root, train="images/0.png 0\nimages/1.png b\n"), "line 2: .*is not a path"),
    "label out of range": (lambda root: vtab(root, train="images/0.png 4\n"), "classes 0 to 3"),
    "negative label": (lambda root: vtab(root, train="images/0.png -1\n"), "classes 0 to 3"),
    "image missing": (lambda root: vtab(root, test="images/0.png 1\nimages/9.png 1\n"), "test.txt, line 2.*9.png"),
    "path outside": (lambda root: vtab(put(root / "x.png").parent, test="../x.png 1\n"), "line 1: .*is outside"),
}
ALL = {
    f"{kind}: {name}": case
    for kind, of in (("folder", FOLDERS), ("table", TABLES), ("list", LISTS))
    for name, case in of.items()
}


@pytest.mark.parametrize("name", ALL)
def test_what_is_wrong_is_reported_in_one_sentence(tmp_path, name):
    make, words = ALL[name]
    with pytest.raises(UserError, match=words) as error:
        read(str(make(tmp_path / "data")))
    assert "\n" not in str(error.value) and str(error.value).rstrip().endswith((".", "?"))
    assert str(tmp_path) in str(error.value) or "groups" in words


def test_there_are_thirty_kinds_of_mistakes():
    assert len(ALL) >= 30


def test_a_class_with_one_image_is_named(tmp_path):
    root = two_classes(tmp_path / "data")
    put(root / "rare" / "1.png")
    found = check_data(str(root), (6,), progress=False)
    (error,) = [finding.what for finding in found.findings if finding.level == "error"]
    assert not found.passed and error.values["n"] == 6 and "single training image" in error.values["message"]
    with pytest.raises(UserError, match="single training image"):
        few_shot(np.array([0, 0, 0, 1]), 4, seed=0)


def test_a_folder_that_leads_back_to_itself_ends(tmp_path):
    assert len(read(str(linked_in_a_circle(tmp_path / "data"))).labels) >= 12


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(b""), "cannot be read as an image"),
        (lambda path: path.write_bytes(path.read_bytes()[:40]), "cannot be read as an image"),
        (lambda path: path.write_bytes(b"GIF89a" + bytes(20)), "cannot be read as an image"),
        (lambda path: path.write_text("<html>not found</html>"), "cannot be read as an image"),
        (lambda path: path.unlink(), "is missing: restore it"),
    ],
)
def test_a_file_that_is_no_image_is_named(tmp_path, damage, words):
    path = put(tmp_path / "1.png", flat(size=(60, 60)))
    damage(path)
    with pytest.raises(UserError, match=f"1.png {words}"):
        decode(path)


def test_a_decompression_bomb_is_refused_and_one_pixel_is_not(tmp_path):
    bomb = tmp_path / "bomb.png"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.new("1", (20_000, 20_000)).save(bomb)
    with pytest.raises(UserError, match=r"bomb.png cannot be read as an image \(.*decompression bomb"):
        decode(bomb)
    assert decode(put(tmp_path / "dot.png", flat(size=(1, 1)))).size == (1, 1)


@pytest.mark.parametrize("aspect", ["squash", "crop", "pad"])
def test_mixed_and_extreme_sizes_become_one_set(tmp_path, aspect):
    sizes = [(40, 40), (8000, 600), (8000, 40), (40, 8000), (13, 13), (1, 1), (3000, 1)]
    for kind in ("png", "jpg"):
        paths = [put(tmp_path / f"{k}.{kind}", flat(k, size)) for k, size in enumerate(sizes)]
        seen = ImageFiles(paths).decoded(np.arange(len(sizes)), 56, "bicubic", aspect)
        assert seen.shape == (7, 56, 56, 3)
        middle = seen[:, 27, 27].astype(int)  # flat() is red by its number
        assert np.abs(middle - np.array([[k, 100, 50] for k in range(7)])).max() <= (0 if kind == "png" else 3)


def test_labels_with_spaces_commas_and_other_scripts_are_kept(tmp_path):
    names = ["a, b", "Ärger „neu“", "焊缝", " lead", "=1+1"]
    file = table(tmp_path, rows(10, lambda k: names[k % 5]))
    assert set(read(f"table:{file}").class_names) == set(names)


# ---- anything at all -------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=120)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(body=TEXT, suffix=st.sampled_from([".csv", ".tsv"]))
def test_any_text_as_a_table_is_read_or_refused_in_a_sentence(tmp_path, body, suffix):
    put(tmp_path / "1.png")
    file = tmp_path / f"list{suffix}"
    file.write_text(f"path,label\n1.png,a\n{body}", encoding="utf-8")
    try:
        read(f"table:{file}")
    except UserError as error:
        assert file.name in str(error)


@FUZZ
@given(body=st.binary(max_size=200))
def test_any_bytes_as_a_table_are_read_or_refused_in_a_sentence(tmp_path, body):
    for name in ("list.csv", "list.parquet"):
        (tmp_path / name).write_bytes(body)
        with pytest.raises(UserError, match=name):
            read(f"table:{tmp_path / name}")


@FUZZ
@given(body=TEXT)
def test_any_text_as_a_list_is_read_or_refused_in_a_sentence(tmp_path, body):
    spec = vtab(tmp_path, train=f"images/0.png 0\n{body}")
    try:
        assert len(read(spec).labels) >= 2
    except UserError as error:
        assert "kitti" in str(error)
