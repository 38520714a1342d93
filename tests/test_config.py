"""Every mistake in a report's YAML is one sentence with file, line, key and fix; a right file gives its studies."""

from dataclasses import fields
from pathlib import Path

import pytest

from vptlib.errors import UserError
from vptlib.paths import repository
from vptlib.report.config import check_material, read_config
from vptlib.study.study import Study

MISTAKES = {
    # the file's text: what the sentence must contain
    "tasks: [digits]\nstepps: 3": ("line 2", "`stepps`", "did you mean 'steps'"),
    "task: [digits]": ("line 1", "`task`", "did you mean 'tasks'"),
    "tasks: [digits]\n3: 4": ("line 2", "`3`", "the settings are", "num_prompts"),
    "steps: 3": ("`tasks` is missing", "add a line", "tasks: ["),
    "tasks: [digits]\nsteps: many": ("line 2", "`steps` must be a whole number", '"many"'),
    "tasks: [digits]\nsteps: yes": ("line 2", "`steps` must be a whole number", "true"),
    "tasks: [digits]\nsteps: 2.5": ("line 2", "`steps` must be a whole number", "2.5"),
    "tasks: [digits]\nsteps: null": ("line 2", "`steps` must be a whole number", "null"),
    "tasks: [digits]\nsteps: 0": ("steps is 0", "1 or more"),
    "tasks: [digits]\nsizes: 50": ("line 2", "`sizes` must be a list such as [50"),
    "tasks: [digits]\nsizes: [50, x]": ("line 2", "value 2 of `sizes` must be a whole number", '"x"'),
    "tasks: [digits]\nsizes: [50, 50]": ("sizes is [50, 50]", "none twice"),
    "tasks: [digits]\nseeds: []": ("seeds is []", "at least one"),
    "tasks: [digits]\nmargin: 3": ("line 2", "`margin` must be below 1"),
    "tasks: [digits]\nmargin: 0": ("line 2", "`margin` must be above 0"),
    "tasks: [digits]\nmargin: .nan": ("line 2", "`margin` must be"),
    "tasks: [digits]\nimages_per_cell: 0": ("line 2", "`images_per_cell` must be 1 or more"),
    "tasks: [digits]\ncandidates: 99": ("candidates is 99", "learning rates"),
    "tasks: [digits]\ncandidates: many": ("line 2", "`candidates` must be a whole number", '"many"'),
    "tasks: [digits]\ntest_images: 0": ("test_images is 0", "1 or more or all"),
    "tasks: [digits]\nrules: mine": ("rules is 'mine'", "equal budget, vtab-1k"),
    "tasks: [digits]\nmethods: [full, vpt-deep, lora]\nrules: vtab-1k": ("no published grid for 'lora'", "take one of"),
    "tasks: [digits]\nrules: vtab-1k\ncandidates: 17": ("candidates is 17, but 'full' has 16 published settings",),
    "tasks: vtab:nowhere": ("line 1", "there is no folder at", "nowhere"),
    "tasks: [vtab:.]": ("line 1", "must hold the 19 folders of VTAB-1k", "holds none of them"),
    "tasks: [digits]\nbackbone: no": ("line 2", "`backbone` must be text", "false"),
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


def test_settings_that_are_not_named_are_those_of_the_study(tmp_path):
    config = read_config(written(tmp_path, "tasks: [digits, object-count]"))
    assert config.studies() == [Study("digits"), Study("object-count")]


def test_every_field_of_a_study_can_be_set(tmp_path):
    values = {
        "methods": ("full", "vpt-deep"),
        "sizes": (30, 60),
        "seeds": (3, 1),
        "backbone": "file:weights.safetensors",
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
    with pytest.raises(UserError, match=r"mine\.yaml: task 'digits': .*999999"):
        check_material(config)


@pytest.mark.parametrize("name", ["quickstart", "evidence"])
def test_the_committed_configurations_are_right(name):
    config = read_config(repository() / "reports" / "configs" / f"{name}.yaml")
    assert len(config.settings.tasks) >= 2
    assert len(config.settings.sizes) >= 3
