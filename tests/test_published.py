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


# ---- Mai et al., the fine-grained tasks, and both methods everywhere ------------------------------------------------


def test_the_results_of_mai_et_al_are_whole_and_cifar_is_not_counted_twice():
    table = published.osu()
    vtab = table[table["experiment"] == "vtab-1k"]
    assert vtab["method"].nunique() == 16 and len(vtab) == 16 * 19 and set(vtab["task"]) == set(VTAB_TASKS)
    assert (vtab["images"] == 1000).all()
    augmented = table[table["experiment"] == "vtab-1k, augmented"]
    assert len(augmented) == 16 and set(augmented["task"]) == {"cifar"}
    assert not table["experiment"].str.startswith("cifar100 augmented").any()
    assert len(table) == 503 - 16  # the file without the experiment that repeats another
    means = vtab.groupby("method")["top1"].mean().round(1)
    assert means[["linear", "full", "vpt_deep", "bitfit", "lora"]].tolist() == [55.9, 58.5, 71.3, 72.2, 72.9]


def test_settings_and_rates_of_mai_et_al_are_values_not_texts():
    table = published.osu().set_index(["experiment", "task", "method"])
    row = table.loc[("vtab-1k", "caltech101", "vpt_deep")]
    assert row["settings"] == {"lr": 0.01, "vpt_num": 50, "wd": 0.0001} and row["tried"] == (0.001, 0.01)
    few = table.loc[("imagenet few-shot, CLIP", "imagenet", "full")]
    assert few["tried"] == () and few["images"] == 100_000 and few["backbone"] == published.CLIP
    assert table.loc["cifar100"]["images"].isna().sum() == 31  # "full" is left open


def test_the_printed_means_of_the_fine_grained_tasks_are_those_of_the_rows():
    table = published.fgvc()
    assert len(table) == 15 * 5 and table.notna().all().all()
    means = table.groupby("method")["top1"].mean().round(2)
    assert means[["Full fine-tuning", "VPT-Deep", "Linear probing", "SSF"]].tolist() == [88.54, 89.10, 79.32, 90.72]
    assert table.set_index("task").loc["NABirds", ["classes", "training_images"]].iloc[0].tolist() == [555, 23_929]


def test_both_methods_are_found_with_their_sizes_wherever_they_are_published():
    table = published.full_and_prompts()
    assert table.notna().all().all() and not table.duplicated(["source", "backbone", "task", "n"]).any()
    counts = table.groupby(["source", "backbone"]).size().to_dict()
    assert counts == {
        ("Han et al.", published.IN21K): 85, ("Han et al.", "Swin-B"): 19, ("Han et al.", "MAE"): 19,
        ("Han et al.", "MoCo v3"): 19, ("Jia et al.", published.IN21K): 24, ("Mai et al.", published.IN21K): 19,
        ("Mai et al.", published.CLIP): 1,
    }  # fmt: skip
    one_shot = table.query("source == 'Han et al.' and task == 'sun397' and n == 397")
    assert len(one_shot) == 1 and one_shot["classes"].item() == 397
    row = table.query("source == 'Mai et al.' and task == 'dtd'").iloc[0]
    assert (row["n"], row["full"], row["vpt"]) == (1000, 48.24, 69.15)


def test_the_grid_of_the_baseline_moves_the_lead_far_and_the_winner_seldom():
    found = published.grids()
    assert (found.tried_mai, found.tried_jia) == ((0.001, 0.01), (0.0001, 0.0005, 0.001, 0.005))
    assert len(found.table) == 19 and found.at_lowest == 18
    means = (found.mean_mai, found.mean_jia, found.prompts_mai, found.prompts_jia)
    assert [round(mean, 1) for mean in means] == [58.5, 65.6, 71.3, 69.4]
    assert found.changes == (3, 1)
    changed = found.table[found.table["changes_mai"]]["task"]
    assert set(changed) == {"eurosat", "resisc45", "clevr_dist"}
    row = found.table.set_index("task").loc["clevr_dist"]  # 58.70 beats 58.6 of Jia et al., not 59.25 of Mai et al.
    assert (row["vpt_mai"], row["full_jia"], row["full_mai"]) == (58.7, 58.6, 59.25)
