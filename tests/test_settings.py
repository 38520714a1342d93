"""Every setting is documented from the program itself, and its values are checked by range and type."""

import pytest
from typer.testing import CliRunner

from vptlib import cli
from vptlib.errors import UserError
from vptlib.paths import repository
from vptlib.report.config import read_config
from vptlib.report.settings import ReportSettings, settings_page, settings_table
from vptlib.report.words import in_language
from vptlib.study.study import Study

OUT_OF_RANGE = [
    {"seeds": (-1,)},
    {"seeds": (2**32,)},
    {"seeds": (0, True)},
    {"seeds": (0.5,)},
    {"seeds": 0},
    {"sizes": (0,)},
    {"sizes": (-50,)},
    {"sizes": (10**12,)},
    {"methods": "full"},
    {"image_size": 0},
    {"image_size": -56},
    {"image_size": 10**6},
    {"image_size_limit": 0},
    {"depth": 0},
    {"num_prompts": 0},
    {"num_prompts": 10**9},
    {"num_prompts": True},
    {"steps": 0},
    {"steps": 10**12},
    {"batch_size": 0},
    {"batch_size": 2.5},
    {"candidates": 0},
    {"candidates": 10**9},
    {"test_images": 0},
    {"test_images": "some"},
    {"epochs": -1},
    {"severity": 0},
    {"severity": 6},
    {"label_noise": -0.1},
    {"label_noise": float("nan")},
    {"imbalance": float("inf")},
    {"imbalance": float("nan")},
]


@pytest.mark.parametrize("wrong", OUT_OF_RANGE, ids=str)
def test_a_value_out_of_range_is_refused_by_its_name(wrong):
    with pytest.raises(UserError) as caught:
        Study("digits", **wrong)
    assert str(caught.value).startswith(next(iter(wrong)))


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_the_ends_of_the_range_of_seeds_are_seeds(seed):
    assert Study("digits", seeds=[seed]).seeds == (seed,)


def test_a_range_is_named_with_file_and_line(tmp_path):
    path = tmp_path / "mine.yaml"
    for lines, words in {
        "seeds: [0, -1]": "seeds is -1, but must be 0 or more",
        "seeds: [4294967296]": "seeds is 4294967296, but must be 4,294,967,295 or less",
        "time: -5m": "time is '-5m', but must be a number and a unit",
        "conditions: [{corruption: blur, severity: 2.5}]": "`severity` must be a whole number",
        "conditions: [{corruption: 3}]": "`corruption` must be text",
        "conditions: [{imbalance: .inf}]": "imbalance is inf, but must be 1 or more",
    }.items():
        path.write_text(f"tasks: [digits]\n{lines}\n")
        with pytest.raises(UserError) as caught:
            read_config(path)
        assert f"{path}, line 2: " in str(caught.value) and words in str(caught.value), str(caught.value)


def test_fewer_test_images_than_asked_for_are_stated_with_both_numbers():
    study = Study("digits", test_images=5000, image_size=28, depth=1, rules="equal budget")
    sentence = in_language().sentence(study.protocol()["test"])
    assert f"{len(study.test_items())} test images" in sentence and "5,000 were asked for" in sentence
    for asked in (30, "all"):
        plain = Study("digits", test_images=asked, image_size=28, depth=1, rules="equal budget")
        assert "asked" not in in_language().sentence(plain.protocol()["test"])


# ---- the documentation --------------------------------------------------------------------------------------------


def test_every_setting_is_explained():
    rows = {row.name: row for row in settings_table()}
    assert set(rows) == set(ReportSettings.model_fields)
    assert all(row.kind and row.default and len(row.meaning) > 10 for row in rows.values())
    assert rows["seeds"].kind == "list: whole number from 0 to 4,294,967,295"
    assert rows["tasks"].default == "needed" and rows["margin"].default == "`0.01`"
    assert rows["test_images"].kind.endswith('or "all"') and rows["image_size"].kind.endswith("or null")


def test_the_page_is_what_the_program_gives():
    written = (repository() / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == settings_page(), "run `make docs`"


def test_the_command_lists_every_setting_and_an_unknown_one_is_sent_there(tmp_path):
    shown = CliRunner().invoke(cli.app, ["config"])
    assert shown.exit_code == 0
    assert all(f"{name}: " in shown.stdout for name in ReportSettings.model_fields)
    (tmp_path / "mine.yaml").write_text("tasks: [digits]\nzzz: 1\n")
    with pytest.raises(UserError, match=r"line 2: `zzz` is not a setting: .*`vpt config` explains them"):
        read_config(tmp_path / "mine.yaml")
