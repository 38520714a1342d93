"""vptlib.evidence.published: the tables are whole, and the means and counts are those worked out by hand."""

import shutil

import pytest

from vptlib.data.vtab import VTAB_TASKS
from vptlib.errors import UserError
from vptlib.evidence import published
from vptlib.paths import repository


def test_the_table_of_methods_is_whole():
    table = published.vtab1k()
    assert table["method"].nunique() == 44 and len(table) == 44 * 19
    assert set(table["task"]) == set(VTAB_TASKS) and table.notna().all().all()
    assert table.groupby("group")["task"].nunique().to_dict() == {"natural": 7, "specialised": 4, "structured": 8}
    assert table["top1"].between(0, 100).all()


def test_the_settings_of_han_et_al_are_whole():
    table = published.comparisons()
    sizes = table.groupby("setting", sort=False).size().to_dict()
    assert sizes == {
        "vtab-1k": 19, "400 images": 19, "5,000 images": 14, "10,000 images": 14, "one shot": 19,
        "Swin-B": 19, "MAE": 19, "MoCo v3": 19,
    }  # fmt: skip
    row = table[(table["setting"] == "10,000 images") & (table["task"] == "clevr_dist")].iloc[0]
    assert (row["full"], row["vpt"]) == (80.7, 81.6)


def test_means_are_those_worked_out_by_hand():
    table = published.vtab1k()
    rows = table[table["method"] == "VPT-deep"].set_index("task")["top1"]
    structured = [task for task, about in VTAB_TASKS.items() if about[2] == "structured"]
    means = published.group_means(table).loc["VPT-deep"]
    assert means["structured"] == pytest.approx(sum(rows[t] for t in structured) / 8)
    assert means["mean_of_tasks"] == pytest.approx(sum(rows) / 19)
    assert means["mean_of_groups"] == pytest.approx((means["natural"] + means["specialised"] + means["structured"]) / 3)
    assert round(means["mean_of_tasks"], 1) == 69.4 and round(means["mean_of_groups"], 1) == 72.0


def test_wins_are_counted_from_the_tables():
    found = published.wins(published.comparisons())
    assert found["vpt"].to_dict() == {
        "vtab-1k": 15, "400 images": 16, "5,000 images": 4, "10,000 images": 3, "one shot": 13,
        "Swin-B": 6, "MAE": 4, "MoCo v3": 4,
    }  # fmt: skip
    assert found["level"].to_dict()["vtab-1k"] == 1 and found["level"].to_dict()["400 images"] == 1
    assert (found[["vpt", "level", "full"]].sum(axis=1) == found["tasks"]).all()
    assert found.loc["MAE", "mean_difference"] < -20


def test_the_check_finds_what_does_not_agree_and_nothing_else():
    table = published.check()
    wrong = table[~table["agrees"]].set_index("what")
    assert set(wrong.index) == {
        "Elephant FT, mean of the specialised tasks",
        "vtab-1k: tasks of 19 where VPT wins",
    }
    assert wrong.loc["Elephant FT, mean of the specialised tasks", "difference"] == pytest.approx(-0.13, abs=0.006)
    assert len(table) == 12 + 11 + 8


def test_a_mean_of_seven_divided_by_eight_reverses_the_comparison():
    table = published.divided_by_eight().set_index("method")
    assert table.loc["full", "by_seven"] == pytest.approx(76.14, abs=0.01)
    assert table.loc["full", "by_seven"] > table.loc["vpt", "by_seven"] > table.loc["full", "by_eight"]


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    shutil.copytree(repository() / "data" / "reference", tmp_path / "data" / "reference")
    (tmp_path / "data" / "reference" / "elephant_tables.csv").unlink()
    monkeypatch.setattr(published, "repository", lambda: tmp_path)
    with pytest.raises(UserError, match=r"elephant_tables\.csv.*git checkout"):
        published.comparisons()
