"""YAML is read as it was written, or refused in one sentence with the line and the fix."""

import time

import fuzz_yaml
import pytest

from vptlib.course.run_notebook import parsed
from vptlib.errors import UserError
from vptlib.report.config import read_config
from vptlib.report.yaml_file import MOST_BYTES, read_settings, read_text

MEANT = {  # as written → as read
    "1:40": "1:40",
    "190:20:30": "190:20:30",
    "2026-11-28": "2026-11-28",
    "2026-11-28T10:00:00Z": "2026-11-28T10:00:00Z",
    "1e-3": 0.001,
    "1E3": 1000.0,
    ".5": 0.5,
    "-0.25": -0.25,
    "+5": 5,
    "0": 0,
    "yes": "yes",
    "no": "no",
    "on": "on",
    "OFF": "OFF",
    "true": True,
    "false": False,
    "~": None,
    "null": None,
    "": None,
    '"050"': "050",
    "'no'": "no",
    "30m": "30m",
    "0,5": "0,5",
    "1.2.3": "1.2.3",
    "=": "=",
    '"\\ud83d\\ude00"': "\N{GRINNING FACE}",
    "[1, 2]": [1, 2],
    "{b: [x, {c: 1}]}": {"b": ["x", {"c": 1}]},
    "|\n  two\n  lines": "two\nlines\n",
    '"folder:x?skip=unreadable"': "folder:x?skip=unreadable",
    "folder:x?skip=unreadable": "folder:x?skip=unreadable",
}
NUMBERS = ["050", "01", "00", "-07", "08", "0o17", "0x1F", "0b11", "1_000", "12_", "1_0.5"]
REFUSED = {  # text → words of the sentence
    **{f"a: 1\nb: {number}": ("line 2", f"`{number}`", "several numbers", "quotes") for number in NUMBERS},
    "a: 1\nb: [1, 000]": ("line 2", "`000`"),
    "a: 1\nb: {c: 1, d: 2, c: 3}": ("line 2", "`c`", "already on line 2"),
    "a:\n  - b: 1\n    b: 2": ("line 3", "`b`", "already on line 2"),
    '"a": 1\na: 2': ("line 2", "`a`", "already on line 1"),
    "a: 1\n<<: {b: 2}": ("line 2", "`<<`", "write the settings out"),
    "a: &x 1\nb: *x": ("line 1", "`&x`", "write the value out"),
    "a: *important*": ("line 1", "in quotes"),
    "a: !!python/object/apply:os.system [ls]": ("line 1", "python/object", "leave it out"),
    "a: !important": ("line 1", "`!important`", "in quotes"),
    "!!map\na: 1": ("line 1", "leave it out"),
    "a: 1\n---\na: 2": ("line 2", "a second document"),
    "a: [folder:x?skip=unreadable]": ("line 1", "not YAML", "put text that holds a ? in quotes"),
    "a:\n\t- b": ("line 2", "with spaces, not with tabs"),
    "title: Screws: or not": ("line 1", "a colon and a space in quotes"),
    "title: %x": ("line 1", "in quotes"),
    'a: "C:\\photos"': ("line 1", "in single quotes"),
    "a: [1, 2": ("not YAML", "close each bracket"),
    "a: 'x": ("not YAML", "close each bracket and quote"),
    "a: " + "9" * 5000: ("line 1", "more than 18 digits"),
    "a: 1e999": ("line 1", "too large for a number"),
    "a: " + "[" * 11 + "]" * 11: ("line 1", "more than 10 deep"),
    "a: " + "[" * 50_000: ("line 1", "more than 10 deep"),
    "{" * 50_000: ("line 1", "the name must be text"),
    "[a]: 1": ("line 1", "the name must be text"),
    "? {a: 1}\n: 1": ("line 1", "the name must be text"),
    "~: 1": ("line 1", "no name before the colon"),
    "x" * 101 + ": 1": ("line 1", "longer than 100 characters"),
    'a: "\\ud800"': ("line 1", "half a character"),
    'a: "\\0"': ("line 1", "U+0000"),
    'a: "\\UFFFFFFFF"': ("not YAML",),
    "a: 1\nb: \x07": ("line 2", "U+0007", "delete it"),
    "a: \ud800": ("line 1", "U+D800", "delete it"),
    "%YAML 2.0\n---\na: 1": ("line 1", "not YAML"),
    "# " + "x" * 200_000: ("more than 200,000 characters",),
}


@pytest.mark.parametrize("written", MEANT)
def test_a_value_is_read_as_it_was_written(written):
    assert repr(read_settings(f"a: {written}\n", "f.yaml").values) == repr({"a": MEANT[written]})


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:40]))
def test_what_is_unclear_or_dangerous_is_refused_with_its_line(text):
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        read_settings(text, "f.yaml")
    sentence = str(caught.value)
    assert sentence.startswith("f.yaml") and "\n" not in sentence and len(sentence) < 400
    assert all(words in sentence for words in REFUSED[text]), sentence
    assert time.monotonic() - began < 20  # a bomb takes hours


@pytest.mark.parametrize("text", ["", "# only a comment", "text", "[1, 2]", "- a", "3"])
def test_what_is_no_mapping_has_no_settings(text):
    assert read_settings(text, "f.yaml") is None


def test_names_are_text_and_their_lines_are_known():
    read = read_settings("yes: 1\n\n2026-11-28: 2\n01: 3\n3: 4\n", "f.yaml")
    assert read.values == {"yes": 1, "2026-11-28": 2, "01": 3, "3": 4}
    assert read.lines == {"yes": 1, "2026-11-28": 3, "01": 4, "3": 5}


# ---- files ------------------------------------------------------------------------------------------------------

TEXT = "title: ねじ café\ntasks: [digits]\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_text_with_a_mark_of_its_encoding_is_read(tmp_path, encoding, ends):
    (tmp_path / "a.yaml").write_bytes(TEXT.replace("\n", ends).encode(encoding))
    assert read_config(tmp_path / "a.yaml").settings.title == "ねじ café"


@pytest.mark.parametrize(
    ("encoding", "words"),
    [("cp932", "line 1 on"), ("cp1252", "line 1 on"), ("utf-16-le", "U+0000"), ("utf-16-be", "U+0000")],
)
def test_other_encodings_are_named_with_the_fix(tmp_path, encoding, words):
    (tmp_path / "a.yaml").write_bytes(TEXT.replace("é", "e").encode(encoding, "replace") + "é".encode("cp1252"))
    with pytest.raises(UserError, match=r"a\.yaml") as caught:
        read_config(tmp_path / "a.yaml")
    assert words in str(caught.value) or "save the file as UTF-8" in str(caught.value)


def test_a_large_file_is_not_read_to_its_end(tmp_path):
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate(MOST_BYTES * 1000)
    with pytest.raises(UserError, match="too large for settings"):
        read_text(tmp_path / "a.yaml")


# ---- parameters of a lesson -----------------------------------------------------------------------------------------


def test_parameters_are_read_by_the_same_rules(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parsed(["{rate: 1e-3, task: no, backbone: 'file:~/w.safetensors'}"]) == {
        "rate": 0.001,
        "task": "no",
        "backbone": "file:/home/me/w.safetensors",
    }
    for text in ("n: 050", "{n: 1, n: 2}", "n: \udce9", "{n: !!python/name:os.system x}", "no-name: 1", "? [a]\n: 1"):
        with pytest.raises(UserError, match=r"^-y "):
            parsed([text])


def test_fuzzed_texts_give_settings_or_a_sentence():
    for case in fuzz_yaml.cases(seed=13, count=150):
        fuzz_yaml.check(case)
