"""`vpt init` writes a YAML file that fits the images, reads back as meant, and never replaces one that is there."""

import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import class_folders, put, rows, smooth, table
from typer.testing import CliRunner

from vptlib import cli
from vptlib.data.check import DataCheck, check_data
from vptlib.data.files import ListedImages
from vptlib.data.listing import Listing
from vptlib.data.possible_sizes import Labelled
from vptlib.data.tasks import load_task
from vptlib.errors import UserError
from vptlib.report.config import check_material, read_config
from vptlib.report.init import config_text, new_config, usual_config, usual_sizes, write_config
from vptlib.study.study import Study


def run(*arguments: str):
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photos(here):
    return class_folders(here / "photos", {"cat": 20, "dog": 20, "owl": 20}, draw=smooth)


# ---- the command ------------------------------------------------------------------------------------------------


def test_a_folder_gets_a_file_next_to_it_and_the_next_command(photos):
    result = run("init", "photos/")
    assert result.exit_code == 0
    assert re.search(r"cat +15 +5", result.stdout)
    assert "Your images are 40 × 40 px" in result.stdout
    assert result.stdout.endswith("half an hour can answer:\n\n    vpt report photos.yaml\n")
    (study,) = read_config(photos.with_suffix(".yaml")).studies()
    assert study.task == str(photos)
    assert (study.sizes, study.seeds, study.test_images) == ((20, 45), (0, 1, 2), 15)
    load_task(study.task)


def test_a_table_gets_a_file_with_its_stem_and_keeps_its_options(here):
    table(here / "set", rows(40, lambda k: f"kind {k % 2}"), header=("path", "what"))
    assert run("init", "set/list.csv?label=what").exit_code == 0
    config = read_config(here / "set" / "list.yaml")
    assert config.settings.tasks == (f"{here / 'set' / 'list.csv'}?label=what",)
    assert config.study_settings["sizes"] == [20, 30]
    check_material_without_a_backbone(config)


def check_material_without_a_backbone(config):
    for study in config.studies():
        task = load_task(study.task)
        for n in study.sizes:
            Labelled(task.train.labels, task.train_groups, study.seeds).check(n)


def test_a_file_that_is_there_stays_as_it_is(photos):
    photos.with_suffix(".yaml").write_text("mine")
    result = run("init", "photos")
    assert result.exit_code == 1
    assert result.stderr == "Error: photos.yaml is there already and stays as it is: name another file with --out.\n"
    assert photos.with_suffix(".yaml").read_text() == "mine"
    assert run("init", "photos", "--out", "other.yaml").exit_code == 0
    assert read_config(Path("other.yaml")).settings.tasks == (str(photos),)


def test_a_file_elsewhere_names_the_images_by_their_whole_path(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("elsewhere") / "new" / "mine.yaml"
    assert run("init", "photos", "--out", str(out)).stdout.endswith(f"vpt report {out}\n")
    assert yaml.safe_load(out.read_text())["tasks"] == [str(photos)]
    assert run("init", "photos", "--out", str(out.parent)).stderr.startswith(f"Error: {out.parent} is a folder")


def test_errors_are_listed_and_no_file_is_written(photos):
    (photos / "cat" / "0.png").write_bytes(b"no image")
    result = run("init", "photos")
    assert result.exit_code == 1
    assert "1 of 60 files cannot be read" in " ".join(result.stdout.split())
    assert result.stderr.endswith("No YAML file was written: fix the errors, then give the same command again.\n")
    assert not photos.with_suffix(".yaml").exists()
    assert run("init", "photos?skip=unreadable").exit_code == 0
    assert read_config(Path("photos.yaml")).settings.tasks == (f"{photos}?skip=unreadable",)


def test_a_class_with_one_image_to_train_on_is_named(photos):
    put(photos / "rare: #1" / "0.png", smooth(5000))
    result = run("init", "photos")
    assert result.exit_code == 1
    assert "'rare: #1'" in result.stdout and "error" in result.stdout
    assert result.stderr.endswith("No YAML file was written: fix the errors, then give the same command again.\n")
    assert not photos.with_suffix(".yaml").exists()


def test_nothing_there_is_one_sentence(here):
    assert run("init", "nowhere").stderr.startswith("Error: there is no folder or table at nowhere")
    (here / "what?now").mkdir()
    assert "a ? in a path begins the options: rename" in run("init", "what?now").stderr
    assert run("init", "hf:./nowhere").stderr.startswith("Error: hf:./nowhere: there is no folder at nowhere")


def test_an_embedded_task_gets_a_file_in_the_working_directory(here):
    assert run("init", "digits").exit_code == 0
    (study,) = read_config(here / "digits.yaml").studies()
    assert (study.task, study.sizes, study.test_images) == ("digits", (100, 300, 800), 400)


def test_home_is_expanded_wherever_it_is_written(photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos.parent))
    monkeypatch.chdir("/")
    assert run("init", "folder:~/photos", "--out=~/mine.yaml").exit_code == 0
    assert read_config(photos.parent / "mine.yaml").settings.tasks == (f"folder:{photos}",)
    result = run("report", "~/mime.yaml")
    assert f"did you mean {photos.parent / 'mine.yaml'}?" in result.stderr


@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("photos/", "photos.yaml"),
        ("a/photos.v2", "a/photos.v2.yaml"),
        ("a/list.csv", "a/list.yaml"),
        ("a/..", "../{here}.yaml"),
        (".", "../{here}.yaml"),
    ],
)
def test_the_file_is_named_after_the_images(here, given, file):
    assert usual_config(Path(given)) == (here / file.format(here=here.name)).resolve()


def test_a_link_gets_its_file_next_to_the_link(photos, here):
    (here / "links").mkdir()
    (here / "links" / "mine").symlink_to(photos)
    assert new_config("links/mine") == here / "links" / "mine.yaml"


# ---- sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "classes", "sizes"),
    [
        (12, 2, [12]),
        (45, 3, [20, 45]),
        (203, 3, [20, 100, 203]),
        (400, 10, [50, 150, 400]),
        (5000, 10, [100, 300, 800]),
        (5000, 100, [200, 300, 800]),
        (1000, 450, [1000]),
    ],
)
def test_sizes_are_what_the_images_can_give(images, classes, sizes):
    assert usual_sizes(Labelled(np.arange(images) % classes, None, (0, 1, 2))) == sizes


def test_sizes_leave_whole_groups_to_validate_on():
    labels, groups = np.arange(400) % 2, np.arange(400) // 50  # 8 lots
    found = usual_sizes(Labelled(labels, groups, (0, 1, 2)))
    assert found[-1] == 400
    with pytest.raises(UserError, match="groups"):
        usual_sizes(Labelled(labels, np.arange(400) // 100, (0, 1, 2)))  # 4 lots


def test_the_nearest_sizes_that_fit_are_offered():
    labelled = Labelled(np.arange(203) % 3, None, (0, 1))
    assert (labelled.least, labelled.largest()) == (6, 203)
    assert labelled.nearest([2, 50, 400]) == [6, 50, 203]
    assert Labelled(np.array([0, 0, 1]), None, (0,)).nearest([2]) == []


def test_the_largest_size_with_rare_classes_is_the_last_that_can_be_drawn():
    labelled = Labelled(np.arange(100) % 2, None, (0, 1, 2), imbalance=4)
    largest = labelled.largest()
    assert largest is not None and labelled.fits(largest) and not labelled.fits(largest + 1)
    assert largest == 62  # 50 of the common class and 12 of the rare one


# ---- the text ---------------------------------------------------------------------------------------------------


def checked(names: tuple[str, ...], each: int = 20) -> DataCheck:
    """What a check finds of `each` images of each class, half of them to train on; there are no pictures."""
    labels = np.repeat(np.arange(len(names)), each)
    splits = np.where(np.arange(len(labels)) % 2, "train", "test").astype(object)
    listing = Listing(ListedImages(len(labels), lambda row: smooth(row)), labels, splits, names, None, "the folder")
    files = pd.DataFrame({"class": [names[label] for label in labels], "split": splits, "error": ""})
    return DataCheck(listing, files, pd.DataFrame())


NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(place=NAMES, classes=st.lists(NAMES, min_size=2, max_size=4, unique=True))
def test_any_name_of_folder_and_classes_reads_back_the_same(place, classes):
    if place in (".", "..") or "?" in place:  # a ? begins the options
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "mine.yaml"
        write_config(checked(tuple(classes)), f"{folder}/{place}", target)
        settings = read_config(target).settings
        assert settings.tasks == (str((Path(folder) / place).resolve()),)
        assert place in settings.title or place.lower().endswith((".csv", ".tsv", ".parquet"))


@pytest.mark.parametrize(
    "name", ["hf:x", "~x", "#1", "- a", "a: b", "'", '"', "Prüfung 汚れ", "yes", "a\nb", "*", "{}"]
)
def test_a_real_folder_of_an_odd_name_can_be_loaded(here, name):
    class_folders(here / name, {"a: #": 8, "- 'ü\"": 8}, draw=smooth)
    assert run("init", f"./{name}").exit_code == 0
    (study,) = read_config(here / f"{name}.yaml").studies()
    assert load_task(study.task).class_names == ("- 'ü\"", "a: #")


def test_a_name_that_no_text_can_hold_is_named(here):
    with pytest.raises(UserError, match="is not UTF-8: rename the folder"):
        write_config(checked(("a", "b")), "bad\udcff", here / "mine.yaml")


def test_every_line_behind_a_hash_can_be_switched_on_and_changes_no_run(photos):
    text = config_text(check_data("photos", (), progress=False), "photos", photos.with_suffix(".yaml"))
    switched = re.findall(r"^# ([a-z_]+): (.+)$", text, flags=re.MULTILINE)
    asked = ["accuracy_needed", "accuracy_today", "limits", "label_price", "currency", "point_value", "tasks_planned"]
    keys = [*asked, "time", "image_size", "aspect", "precision", "augmentation", "steps", "candidates", "methods"]
    assert [key for key, _ in switched] == keys
    for name, changed in (("off", text), ("on", re.sub(r"^# ([a-z_]+: )", r"\1", text, flags=re.MULTILINE))):
        (photos.parent / f"{name}.yaml").write_text(changed)
    off, on = (read_config(photos.parent / f"{name}.yaml") for name in ("off", "on"))
    assert (on.studies(), on.settings.time) == (off.studies(), off.settings.time)
    assert off.studies() == [Study(str(photos), **fitted(photos))]


def fitted(photos):
    return {"sizes": (20, 45), "seeds": (0, 1, 2), "test_images": 15}


@pytest.mark.parametrize(
    ("each", "offered"), [({"a": 40, "b": 40}, {"blur", "label_noise"}), ({"a": 1600, "b": 1600}, {"imbalance"})]
)
def test_conditions_that_are_switched_on_can_be_run(here, each, offered):
    found = checked(tuple(each), each["a"])
    text = config_text(found, "photos", here / "mine.yaml")
    assert all(word in text for word in offered)
    (here / "mine.yaml").write_text(re.sub(r"^# (conditions:|  - )", r"\1", text, flags=re.MULTILINE))
    config = read_config(here / "mine.yaml")
    for study in config.harder_studies():
        labels = found.listing.labels[found.listing.splits == "train"]
        Labelled(labels, None, study.seeds, study.imbalance).check(study.sizes[-1])
    assert len(config.harder_studies()) == text.count("#   - ")
    assert ("imbalance" in text) == (each["a"] == 1600)


def test_few_test_images_are_remarked_on(here):
    assert "known to within about 18 points" in config_text(checked(("a", "b")), "photos", here / "mine.yaml")
    assert "known to within" not in config_text(checked(("a", "b"), 400), "photos", here / "mine.yaml")


def test_the_sizes_that_the_settings_name_pass_the_check_before_training(photos):
    assert run("init", "photos").exit_code == 0
    text = Path("photos.yaml").read_text() + "depth: 1\nimage_size: 28\n"
    Path("photos.yaml").write_text(text)
    check_material(read_config(Path("photos.yaml")))
    Path("photos.yaml").write_text(text.replace("sizes: [20, 45]", "sizes: [2, 20, 150]"))
    with pytest.raises(UserError, match=r"; `sizes: \[6, 20, 45\]` would do\.$"):
        check_material(read_config(Path("photos.yaml")))
