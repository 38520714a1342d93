"""Every sentence on images is computed from what it speaks of: a table in which it would be false has another one."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from pictures import class_folders, numbered, put, smooth
from PIL import Image
from typer.testing import CliRunner

from vptlib.cli import app
from vptlib.data import inspection
from vptlib.data.check import check_data
from vptlib.data.divided import findings_on_sides, findings_on_sizes
from vptlib.data.files import ImageFiles, ListedImages
from vptlib.data.inspection import inspected
from vptlib.data.listing import Listing
from vptlib.data.tasks import findings_of, load_task
from vptlib.errors import UserError
from vptlib.report.data_page import write_page
from vptlib.report.sections.images import images_part
from vptlib.report.words.en import sentence


def listing(labels, splits, groups=None, names=("crack", "sound"), **more):
    """A listing whose images do not matter."""
    images = ListedImages(len(labels), lambda row: smooth(row))
    of = None if groups is None else np.array(groups)
    return Listing(images, np.array(labels), np.array(splits, dtype=object), names, of, "planted", **more)


def shown(task):
    """What a report says about a task's images."""
    return "".join(part.data for part in images_part(task, None))


def said(findings, *codes):
    """Level and sentence of each finding; only those of some codes, if any are given."""
    return [(f.level, sentence(f.what)) for f in findings if not codes or f.what.code in codes]


def table(root, groups, splits=None):
    """A table of 40 different pictures of two classes, with groups and splits."""
    paths = numbered(root / "img", 40, draw=smooth)
    frame = pd.DataFrame({"path": [f"img/{path.name}" for path in paths], "label": ["crack", "sound"] * 20})
    frame["group"] = [f"site {groups(k)}" for k in range(40)]
    if splits:
        frame["split"] = [splits(k) for k in range(40)]
    frame.to_csv(root / "list.csv", index=False)
    return f"table:{root / 'list.csv'}"


# ---- groups -----------------------------------------------------------------------------------------------------


def in_test(k):
    return "test" if k >= 30 else "train"


GROUPS = {
    "all of them": (lambda k: k % 5, 5, 10),
    "one of them": (lambda k: 0 if k in (3, 33) else k // 10 + 1, 1, 1),
    "none": (lambda k: k // 3, 0, 0),
}


@pytest.mark.parametrize("name", GROUPS)
def test_groups_on_both_sides_are_counted_and_shown(tmp_path, name):
    groups, shared, tested = GROUPS[name]
    found = check_data(table(tmp_path, groups, in_test), (10,), progress=False)
    ((level, text),) = said(found.findings, "groups_apart", "groups_on_both_sides")
    if not shared:
        assert level == "note" and text == "14 groups: none of them has both training and test images."
        return
    assert level == "warning" and f"{tested} of 10 test images" in text and "move each group to one side" in text
    rows = found.listing.groups
    (what,) = [f.what for f in found.findings if f.what.code == "groups_on_both_sides"]
    places = [found.files["path"].tolist().index(path) for path in what.values["pair"]]
    assert what.values["shared"] == shared and rows[places[0]] == rows[places[1]]
    assert found.listing.splits[places].tolist() == ["train", "test"]


def test_a_report_says_it_too_before_any_training(tmp_path):
    task = load_task(table(tmp_path, lambda k: k % 5, in_test))
    assert any(level == "warning" and "on both sides of the split" in text for level, text in said(findings_of(task)))
    assert "on both sides of the split" in shown(task)


def test_groups_that_vptlib_keeps_apart_are_apart(tmp_path):
    found = check_data(table(tmp_path, lambda k: k % 8), (), progress=False)
    assert said(found.findings, "groups_apart") and not said(found.findings, "groups_on_both_sides")


# ---- classes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "splits", "text"),
    [
        ([0, 0, 1], ["train", "test", "test"], "Class 'sound' has no training images: no model can learn it."),
        ([0, 0, 1], ["train", "test", "train"], "1 class has no test image: 'sound'."),
    ],
)
def test_classes_that_one_split_lacks_are_named(labels, splits, text):
    ((level, found),) = said(findings_on_sides(listing(labels, splits)))
    assert level == "warning" and found.startswith(text)


# ---- sizes ------------------------------------------------------------------------------------------------------


def test_a_small_folder_passes_where_no_sizes_are_asked_and_the_check_says_what_it_can_give(tmp_path):
    root = class_folders(tmp_path / "few", {"crack": 4, "sound": 4}, draw=smooth)
    found = check_data(str(root), progress=False)
    assert found.passed
    assert said(found.findings, "sizes_possible") == [
        ("note", "A study can ask for any number from 4 to 6 of the labelled images.")
    ]
    run = CliRunner().invoke(app, ["data", "check", str(root), "--out", str(tmp_path / "page.html")])
    assert run.exit_code == 0 and "any number from 4 to 6" in " ".join(run.output.split())
    asked = check_data(str(root), (4, 50), progress=False)
    assert len(said(asked.findings, "size_not_possible")) == 1 and not asked.passed


@pytest.mark.parametrize(
    ("labels", "groups", "level", "text"),
    [
        ([0, 0, 0, 1], None, "error", "fewer than 2 training images are of class 'sound'"),
        ([0, 1] * 10, [0] * 20, "error", "1 groups"),
        ([k // 4 for k in range(20)], [k // 4 for k in range(20)], "error", "some class comes from one group only"),
    ],
)
def test_images_that_can_give_no_size_are_an_error_with_the_reason(labels, groups, level, text):
    names = ("crack", "sound", "stain", "hole", "dent")
    found = findings_on_sizes(listing(labels, ["train"] * len(labels), groups, names), None)
    ((given, sentences),) = said(found)
    assert given == level and text in sentences


def test_published_lists_with_single_images_are_a_warning_because_other_rules_take_them():
    labels = [0, 0, 0, 1]
    found = findings_on_sizes(listing(labels, ["train"] * 4, validation=np.zeros(4, bool)), None)
    assert [f.level for f in found] == ["warning"]


def test_with_groups_only_sizes_that_were_tried_are_promised():
    labels, groups = [0, 1] * 50, [k // 10 for k in range(100)]
    ((_, text),) = said(findings_on_sizes(listing(labels, ["train"] * 100, groups), None))
    assert text == "A study that keeps groups whole can ask for 50 and 100 labelled images."


def test_a_size_that_fails_for_one_class_names_the_class(tmp_path):
    root = class_folders(tmp_path, {"crack": 8, "sound": 2}, draw=smooth)
    found = check_data(str(root), (4,), progress=False)
    errors = [text for level, text in said(found.findings, "size_not_possible")]
    assert all("class 'sound'" in text for text in errors) and (not errors or "class 1" not in errors[0])


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ("ten", "must be whole numbers"),
        ("", "must be whole numbers"),
        ("10,,20", "must be whole numbers"),
        ("-5", "must be whole numbers"),
        ("1e3", "must be whole numbers"),
        ("²", "must be whole numbers"),
        ("٣", "must be whole numbers"),
        ("1" * 5000, "must be whole numbers"),
        ("0", "leave out the 0"),
        ("10,20,10", "names 10 twice"),
    ],
)
def test_sizes_that_are_none_are_refused_in_a_sentence(tmp_path, sizes, text):
    root = class_folders(tmp_path, {"crack": 4, "sound": 4}, draw=smooth)
    run = CliRunner().invoke(app, ["data", "check", str(root), f"--sizes={sizes}"])
    assert run.exit_code == 1 and text in run.output and run.output.startswith("Error: --sizes is ")


def test_a_size_beyond_all_images_is_an_error_of_the_check(tmp_path):
    root = class_folders(tmp_path / "few", {"crack": 4, "sound": 4}, draw=smooth)
    out = str(tmp_path / "page.html")
    run = CliRunner().invoke(app, ["data", "check", str(root), "--sizes", "999999999999", "--out", out])
    assert run.exit_code == 1 and "larger than the 6 training images" in " ".join(run.output.split())


# ---- what was left out, modes, pages ----------------------------------------------------------------------------


def test_what_skip_left_out_stays_listed_in_check_page_and_report(tmp_path):
    root = class_folders(tmp_path / "cells", {"crack": 8, "sound": 8}, draw=smooth)
    (root / "crack" / "broken.png").write_bytes(b"no image")
    spec = f"folder:{root}?skip=unreadable"
    found = check_data(spec, progress=False)
    assert found.passed and found.counts().to_numpy().sum() == 16
    warnings = [text for level, text in said(found.findings) if level == "warning"]
    assert any("broken.png" in text for text in warnings)
    write_page(found, "Cells", tmp_path / "page.html")
    assert "broken.png" in (tmp_path / "page.html").read_text()
    assert "broken.png" in shown(load_task(spec))


def test_files_with_several_pages_are_counted(tmp_path):
    root = class_folders(tmp_path, {"crack": 4, "sound": 4}, draw=smooth)
    put(root / "crack" / "stack.tif", smooth(90), save_all=True, append_images=[smooth(91)])
    ((level, text),) = said(check_data(str(root), progress=False).findings, "more_pages")
    assert level == "warning" and text.startswith("1 of 9 files holds further pages") and "stack.tif" in text


def test_the_range_of_deep_greys_is_stated_by_check_and_report(tmp_path):
    for k in range(8):
        grey = np.asarray(smooth(k).convert("L")).astype(np.uint16) * 16
        put(tmp_path / ("crack", "sound")[k % 2] / f"{k}.png", Image.fromarray(grey))
    found = check_data(str(tmp_path), progress=False)
    ((_, text),) = said(found.findings, "grey_range")
    assert text in shown(load_task(str(tmp_path))).replace("&#39;", "'")


def test_modes_of_images_that_a_library_gives_are_not_claimed():
    greys = ListedImages(3, lambda row: smooth(row).convert("L"))
    assert inspected(greys, progress=False)["mode"].tolist() == [""] * 3


def test_an_image_that_a_library_cannot_give_is_an_error_of_that_image():
    def image_at(row):
        if row == 1:
            raise RuntimeError("no such shard")
        return smooth(row)

    files = inspected(ListedImages(3, image_at), progress=False)
    assert files["error"].map(bool).tolist() == [False, True, False] and "no such shard" in files["error"][1]


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (9,)


def test_a_worker_that_is_ended_becomes_a_sentence(tmp_path, monkeypatch):
    class DeadlyFiles(ImageFiles):
        grey_range = Deadly()  # pyright: ignore[reportAssignmentType]

    paths = numbered(tmp_path, 30, draw=smooth)
    monkeypatch.setattr(inspection, "CHUNK", 10)
    with pytest.raises(UserError, match="the images could not all be opened, because a worker process was ended"):
        inspected(DeadlyFiles(paths), progress=False)


# ---- names ------------------------------------------------------------------------------------------------------

NAMES = {
    "bytes that are no UTF-8": b"caf\xe9",
    "letters of two columns": "亀裂".encode(),
    "quotes of both kinds": b'it\'s "broken"',
    "HTML": b"<script>alert(1)<",
    "a line break": b"two\nlines",
    "formulas": b"$x_1$ & {{7*7}}",
    "very long": b"long" * 60,
}


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A folder with a class of each of `NAMES`, and files whose names are no UTF-8."""
    root = tmp_path_factory.mktemp("strange")
    for k, name in enumerate(NAMES.values()):
        folder = os.path.join(os.fsencode(root), b"set", name)
        os.makedirs(folder)
        for number in range(4):
            with open(os.path.join(folder, b"%d\xff.png" % number), "wb") as file:
                smooth(100 * k + number).save(file, "PNG")
    with open(os.path.join(os.fsencode(root), b"set", NAMES["HTML"], b"broken\xff.png"), "wb") as file:
        file.write(b"no image")
    return root


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "utf-8"}])
def test_names_of_all_kinds_are_printed_to_any_terminal(strange, environment):
    command = [sys.executable, "-m", "vptlib", "data", "check", "set", "--out", "page.html"]
    run = subprocess.run(command, cwd=strange, env=os.environ | environment, capture_output=True)
    out, err = run.stdout.decode("utf-8"), run.stderr.decode("utf-8")
    assert run.returncode == 1 and "fix the errors" in err and "Traceback" not in err and "unexpected" not in err
    assert "caf\\xe9" in out and "broken\\xff.png" in out and "two\\nlines" in out
    html = (strange / "page.html").read_text(encoding="utf-8")
    assert "<script" not in html and "&lt;script&gt;alert(1)" in html and "caf\\xe9" in html


def test_names_of_all_kinds_reach_the_report(strange):
    task = load_task(f"folder:{strange / 'set'}?skip=unreadable")
    html = shown(task)
    assert "<script" not in html and "caf\\xe9" in html and json.dumps(task.class_names, ensure_ascii=False).encode()
    assert len(task.fingerprint) == 64


def test_images_of_ones_own_are_not_said_to_be_a_group_of_vtab(tmp_path):
    root = class_folders(tmp_path, {"crack": 4, "sound": 4}, draw=smooth)
    assert "VTAB" not in shown(load_task(str(root))) and "VTAB" in shown(load_task("digits"))
