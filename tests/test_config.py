"""Every mistake in a report's YAML is one sentence with file, line, key and fix; a right file gives its studies."""

import os
import pwd
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from pictures import put

from vptlib.errors import UserError
from vptlib.paths import repository
from vptlib.report.config import check_material, read_config
from vptlib.study.published_rules import DONE
from vptlib.study.study import Study

MISTAKES = {
    # the file's text: what the sentence must contain
    "tasks: [digits]\nstepps: 3": ("line 2", "`stepps`", "did you mean 'steps'"),
    "task: [digits]": ("line 1", "`task`", "did you mean 'tasks'"),
    "tasks: [digits]\n3: 4": ("line 2", "`3`", "the settings are", "num_prompts"),
    "steps: 3": ("`tasks` is missing", "add a line", "tasks: ["),
    f"tasks: [digits{'9' * 5000}]": ("line 1", "there is no task 'digits999"),
    "tasks: [digits]\nsteps: many": ("line 2", "`steps` must be a whole number", '"many"'),
    "tasks: [digits]\nsteps: yes": ("line 2", "`steps` must be a whole number", '"yes"'),
    "tasks: [digits]\nsteps: true": ("line 2", "`steps` must be a whole number", "true"),
    "tasks: [digits]\nsteps: 2.5": ("line 2", "`steps` must be a whole number", "2.5"),
    "tasks: [digits]\nnum_prompts: null": ("line 2", "`num_prompts` must be a whole number", "null"),
    "tasks: [digits]\nlanguage: de": ("line 2", "there is no language 'de'", "take en or ja"),
    "tasks: [digits]\nlanguage: [en, de]": ("line 2", "there is no language 'de'", "take en or ja"),
    "tasks: [digits]\nlanguage: [ja, en, ja]": ("line 2", "`language` names a language twice"),
    "tasks: [digits]\nlanguage: []": ("line 2", "`language` must be", "a list with at least one value"),
    "tasks: [digits]\nlanguage: 3": ("line 2", "`language` must be text", "or a list such as [en, ja], but is 3"),
    "tasks: [digits]\ntitle: 3": ("line 2", "`title` must be text", "but is 3"),
    "tasks: [digits]\ntitle: {ja: あ}": ("line 2", "`title` has none for 'en'", "add it"),
    "tasks: [digits]\nlanguage: [en, ja]\ntitle: {en: A}": ("line 3", "`title` has none for 'ja'", "add it"),
    "tasks: [digits]\ntitle: {en: A, de: B}": ("line 2", "there is no language 'de'", "take en or ja"),
    "tasks: [digits]\ntitle: {en: ''}": ("line 2", "`title` has none for 'en'"),
    "tasks: [digits]\ntitle: {en: [A]}": ("line 2", "`title`"),
    "tasks: [digits]\nprecision: fp16": ("line 2", "precision is 'fp16'", "auto, fp32", "bf16"),
    "tasks: [digits]\naugmentation: strong": ("line 2", "augmentation is 'strong'", "none, light", "light+mirror"),
    "tasks: [digits]\nprecision: 16": ("line 2", "`precision` must be text", "but is 16"),
    "tasks: [digits]\naspect: crops": ("line 2", "aspect is 'crops'", "squash, crop, pad"),
    "tasks: [digits]\ntime: 30": ("line 2", "`time` must be a number and a unit, such as 30m", "but is 30"),
    "tasks: [digits]\ntime: soon": ("time is 'soon'", "a number and a unit"),
    "tasks: [digits]\nconditions: 3": ("line 2", "`conditions` must be a list such as [{corruption: blur}]"),
    "tasks: [digits]\nsteps: 0": ("steps is 0", "1 or more"),
    "tasks: [digits]\nsizes: 50": ("line 2", "`sizes` must be a list such as [50"),
    "tasks: [digits]\nsizes: [50, x]": ("line 2", "value 2 of `sizes` must be a whole number", '"x"'),
    "tasks: [digits]\nsizes: [50, 50]": ("sizes is [50, 50]", "none twice"),
    "tasks: [digits]\nseeds: []": ("seeds is []", "at least one"),
    "tasks: [digits]\nmargin: 3": ("line 2", "`margin` must be below 1"),
    "tasks: [digits]\nmargin: 0": ("line 2", "`margin` must be above 0"),
    "tasks: [digits]\nmargin: .nan": ("line 2", "`margin` must be"),
    "tasks: [digits]\nimages_per_cell: 0": ("line 2", "`images_per_cell` must be 1 or more"),
    "tasks: [digits]\ncandidates: 99\nrules: equal budget": ("line 2", "candidates is 99", "learning rates"),
    "tasks: [digits]\ncandidates: all": ("line 2", "candidates is 'all'", "until done", "must be a number"),
    "tasks: [digits]\ncandidates: many": ("line 2", "`candidates` must be a whole number or 'all'", '"many"'),
    "tasks: [digits]\ntest_images: 0": ("line 2", "test_images is 0", "1 or more or all"),
    "tasks: [digits]\nrules: mine": ("line 2", "rules is 'mine'", "equal budget, until done, vtab-1k"),
    "tasks: [digits]\nmethods: [full, vpt-deep, lora]\nrules: vtab-1k": ("no published grid for 'lora'", "take one of"),
    "tasks: [digits]\nrules: vtab-1k\ncandidates: 17": ("candidates is 17, but 'full' has 16 published settings",),
    "tasks: vtab:nowhere": ("line 1", "there is no folder at", "nowhere"),
    "tasks: [vtab:.]": ("line 1", "must hold the 19 folders of VTAB-1k", "holds none of them"),
    "tasks: [digits]\nbackbone: false": ("line 2", "`backbone` must be text", "false"),
    "tasks: [digitts]": ("line 1", "there is no task 'digitts'", "did you mean 'digits'"),
    "tasks: [xyz]": ("line 1", "there is no task 'xyz'", "`vpt tasks`"),
    "tasks: digits": ("line 1", "`tasks` must be a list such as ["),
    "tasks: []": ("line 1", "`tasks` must be a list with at least one value"),
    "tasks: [digits, digits]": ("line 1", "twice"),
    "tasks: [digits]\nmethods: [vpt-deeep, full]": (
        "line 2",
        "there is no method 'vpt-deeep'",
        "did you mean 'vpt-deep'",
    ),
    "tasks: [digits]\nmethods: [VPT_Deep, full]": ("line 2", "no method 'VPT_Deep'", "did you mean 'vpt-deep'"),
    "tasks: [digits]\nmethods: [vptdeep, full]": ("line 2", "no method 'vptdeep'", "did you mean 'vpt-deep'"),
    "tasks: [digits]\nmethods: [vpt-deep, FULL]": ("line 2", "no method 'FULL'", "did you mean 'full'"),
    "tasks: [digits]\nmethods: [linear, full]": ("line 2", "lacks 'vpt-deep'", "add it"),
    "tasks: [digits]\nsteps: 3\nsteps: 4": ("line 3", "`steps`", "already on line 2"),
    "tasks: [digits\nsteps: 3": ("line 2", "not YAML"),
    "tasks:\n\t- digits": ("line 2", "not YAML"),
    "tasks: [digits]\n? [a, b]\n: 3": ("line 2", "not YAML"),
    "": ("must hold `key: value` lines",),
    "only text": ("must hold `key: value` lines",),
}


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_sentence_with_file_key_and_fix(tmp_path, text):
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_config(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    for words in MISTAKES[text]:
        assert words in sentence


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path):
    path = written(tmp_path, "tasks: [digits]")
    with pytest.raises(UserError, match=r"did you mean .*mine\.yaml"):
        read_config(tmp_path / "mime.yaml")
    with pytest.raises(UserError, match="is a folder"):
        read_config(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"mine\.yaml cannot be read \(it is not text"):
        read_config(path)


def test_images_in_place_of_a_file_are_answered_with_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "my photos" / "cat" / "0.png")
    commands = r"first `vpt init 'my photos'`, then `vpt report 'my photos.yaml'`\.$"
    with pytest.raises(UserError, match=rf"^my photos is a folder, not a YAML file: {commands}"):
        read_config(Path("my photos/"))
    with pytest.raises(UserError, match=rf"^there is no file my photos\.yaml: {commands}"):
        read_config(Path("my photos.yaml"))
    with pytest.raises(
        UserError, match=r"^a/list\.csv is a table, .*`vpt init a/list\.csv`, then `vpt report a/list\.yaml`"
    ):
        read_config(Path("a/list.csv"))
    with pytest.raises(UserError, match=r"^there is no file digits: .* let `vpt init digits` write one\.$"):
        read_config(Path("digits"))
    (tmp_path / "my photos.yaml").write_text("tasks: ['my photos/']")
    with pytest.raises(UserError, match=r"not a YAML file: `vpt report 'my photos.yaml'`\.$"):
        read_config(Path("my photos"))


def test_paths_count_from_the_folder_of_the_file_and_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "saved").mkdir()
    tasks = {
        "here/": f"{tmp_path}/here",
        "folder:~/a": "folder:/home/me/a",
        "~/b?skip=unreadable": "/home/me/b?skip=unreadable",
        "table:l.csv?label=k": f"table:{tmp_path}/l.csv?label=k",
        "vtab:~/v/dtd": "vtab:/home/me/v/dtd",
        "hf:saved": f"hf:{tmp_path}/saved",
        "hf:./other": f"hf:{tmp_path}/other",
        "hf:~/set": "hf:/home/me/set",
        "hf:owner/name": "hf:owner/name",
        "torchvision:CIFAR10?root=~/tv": "torchvision:CIFAR10?root=/home/me/tv",
        "torchvision:CIFAR10?root=t%2Bv": f"torchvision:CIFAR10?root={tmp_path}/t%2Bv",
        "torchvision:CIFAR10": "torchvision:CIFAR10",
        "/whole/path/": "/whole/path",
    }
    text = f"tasks: {list(tasks)}\nreference: folder:../r\nbackbone: file:w.safetensors@vit_tiny\n"
    config = read_config(written(tmp_path, text))
    assert dict(zip(tasks, config.settings.tasks, strict=True)) == tasks
    assert config.settings.reference == f"folder:{tmp_path.parent}/r"
    assert config.studies()[0].backbone == f"file:{tmp_path}/w.safetensors@vit_tiny"
    config = read_config(written(tmp_path, "tasks: [digits]\nreference: ~/r\nbackbone: file:~/w.safetensors"))
    assert (config.settings.reference, config.studies()[0].backbone) == ("/home/me/r", "file:/home/me/w.safetensors")


def test_another_users_home_is_expanded_too(tmp_path):
    user = pwd.getpwuid(os.getuid())
    config = read_config(written(tmp_path, f"tasks: [folder:~{user.pw_name}/a, ./~nobody-of-this-name/b]"))
    own = Path(user.pw_dir).resolve() / "a"
    assert config.settings.tasks == (f"folder:{own}", f"{tmp_path}/~nobody-of-this-name/b")


def test_settings_that_are_not_named_are_those_of_the_study(tmp_path):
    config = read_config(written(tmp_path, "tasks: [digits, object-count]"))
    assert config.studies() == [Study("digits"), Study("object-count")]


def test_the_values_of_a_configuration_mean_the_same_in_python():
    path = repository() / "reports" / "configs" / "quickstart.yaml"
    values = yaml.safe_load(path.read_text())
    settings = {name: value for name, value in values.items() if name in {field.name for field in fields(Study)}}
    assert "rules" not in settings, "the default is compared here"
    studies = [Study(task, **settings) for task in values["tasks"]]
    assert studies == read_config(path).studies() and {study.rules for study in studies} == {DONE}


@pytest.mark.parametrize("key", ["steps", "candidates", "image_size", "depth"])
def test_null_is_the_same_as_nothing(tmp_path, key):
    config = read_config(written(tmp_path, f"tasks: [digits]\n{key}: null"))
    assert config.studies() == [Study("digits")]


def test_every_field_of_a_study_can_be_set(tmp_path):
    values = {
        "methods": ("full", "vpt-deep"),
        "sizes": (30, 60),
        "seeds": (3, 1),
        "backbone": "file:/weights.safetensors",
        "image_size": 28,
        "depth": 2,
        "num_prompts": 4,
        "steps": 7,
        "batch_size": 8,
        "candidates": 1,
        "test_images": 50,
        "label_noise": 0.2,
        "noise": "pair",
        "imbalance": 4.0,
        "corruption": "blur",
        "severity": 2,
        "rules": "equal budget",
        "epochs": 3,
        "aspect": "pad",
        "precision": "bf16",
        "image_size_limit": 112,
        "augmentation": "none",
    }
    assert set(values) | {"task"} == {field.name for field in fields(Study)}
    lines = [f"{key}: {list(value) if isinstance(value, tuple) else value}" for key, value in values.items()]
    config = read_config(written(tmp_path, "\n".join(["tasks: [digits]", *lines])))
    assert config.studies() == [Study("digits", **values)]


def test_harder_conditions_become_studies_of_their_own(tmp_path):
    text = "tasks: [digits, object-count]\nsizes: [20, 60]\nconditions:\n- {label_noise: 0.4}\n- {corruption: blur}"
    config = read_config(written(tmp_path, text))
    harder = config.harder_studies()
    assert [(s.task, s.sizes, s.label_noise, s.corruption) for s in harder] == [
        ("digits", (60,), 0.4, ""),
        ("digits", (60,), 0.0, "blur"),
        ("object-count", (60,), 0.4, ""),
        ("object-count", (60,), 0.0, "blur"),
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("conditions: [{label_nose: 0.4}]", r"line 2: there is no condition 'label_nose': did you mean 'label_noise'"),
        ("conditions: [{label_noise: 1.5}]", r"line 2: .*label_noise is 1.5"),
        ("conditions: [{corruption: fog}]", r"line 2: .*corruption is 'fog'"),
        ("conditions: [{label_noise: many}]", r"line 2: .*cannot be a condition"),
        ("conditions: [{severity: 4}]", r"line 2: .*changes nothing"),
        ("conditions: [0.4]", r"line 2"),
        ("reference: photograph", r"line 2: there is no reference 'photograph': did you mean 'photographs'"),
    ],
)
def test_wrong_conditions_and_references_are_named(tmp_path, lines, words):
    with pytest.raises(UserError, match=words):
        read_config(written(tmp_path, f"tasks: [digits]\n{lines}"))


def test_sizes_larger_than_the_data_are_found_before_training(tmp_path):
    config = read_config(written(tmp_path, "tasks: [digits]\nsizes: [50, 999999]\nimage_size: 28\ndepth: 1"))
    offer = r"size 999999 is larger than .*; `sizes: \[50, 1200\]` would do\.$"
    with pytest.raises(UserError, match=rf"mine\.yaml: task 'digits': {offer}"):
        check_material(config)


def test_the_sizes_offered_fit_every_task_and_condition(tmp_path):
    text = "tasks: [digits, object-count]\nsizes: [5, 1200]\nimage_size: 28\ndepth: 1\nconditions: [{imbalance: 5}]"
    with pytest.raises(UserError, match=r"size 5 is too small") as caught:
        check_material(read_config(written(tmp_path, text)))
    offered = re.search(r"`(sizes: \[20, \d+\])` would do", str(caught.value))
    assert offered is not None
    check_material(read_config(written(tmp_path, text.replace("sizes: [5, 1200]", offered[1]))))


@pytest.mark.parametrize("name", ["quickstart", "evidence"])
def test_the_committed_configurations_are_right(name):
    config = read_config(repository() / "reports" / "configs" / f"{name}.yaml")
    assert len(config.settings.tasks) >= 2
    assert len(config.settings.sizes) >= 2


def test_a_folder_that_is_named_like_a_task_is_told_how_to_be_written(tmp_path):
    put(tmp_path / "photos" / "a" / "1.png")
    (tmp_path / "r.yaml").write_text("tasks: [photos]")
    with pytest.raises(UserError, match=r"line 1: there is no task 'photos', but a folder of that name: write folder:"):
        read_config(tmp_path / "r.yaml")


def test_a_title_is_one_for_all_languages_or_one_for_each(tmp_path):
    def titles(text: str) -> list[str]:
        config = read_config(written(tmp_path, f"tasks: [digits]\nlanguage: [en, ja]\n{text}\n"))
        return [config.title(code) for code in config.languages]

    assert titles("title: Labels") == ["Labels", "Labels"]
    assert titles("title: {ja: ラベル, en: Labels}") == ["Labels", "ラベル"]
    assert titles("") == ["Visual prompt tuning or full fine-tuning?", "視覚プロンプトか、全体の再学習か"]


@pytest.mark.parametrize(
    "text, codes", [("", ("en",)), ("language: ja", ("ja",)), ("language: [ja, en]", ("ja", "en"))]
)
def test_a_report_speaks_one_language_or_several_in_their_order(tmp_path, text, codes):
    assert read_config(written(tmp_path, f"tasks: [digits]\n{text}\n")).languages == codes
