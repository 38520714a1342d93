"""vptlib.terminal: columns stay straight and nothing that is printed fails, whatever letters a name has."""

import io
import sys

import pytest

from vptlib.terminal import prepare_output, print_row, print_table, shown, width, wrapped

WIDTHS = {"crack": 5, "亀裂": 4, "ｶﾒﾗ": 3, "e\u0301te\u0301": 3, "한국": 4, "ab\u200bc": 3, "Ａ": 2, "": 0}


@pytest.mark.parametrize("text", WIDTHS)
def test_a_letter_takes_as_many_columns_as_it_shows(text):
    assert width(text) == WIDTHS[text]


def test_columns_are_straight_with_letters_of_all_widths(capsys):
    print_table(("class", "train"), [("亀裂", "12"), ("e\u0301te\u0301", "7"), ("crack", "3")])
    lines = capsys.readouterr().out.splitlines()
    assert [width(line[: line.rindex(" ") + 1]) for line in lines] == [7] * 4


def test_a_long_name_goes_on_in_the_next_line_and_loses_nothing(capsys):
    name = "x" * 95
    print_table(("class", "train"), [(name, "12")])
    _, first, *rest = capsys.readouterr().out.splitlines()
    assert first == "x" * 40 + "  12" and "".join([first[:40], *rest]) == name


def test_no_word_of_a_sentence_is_broken_so_that_paths_can_be_copied(capsys):
    path = "/data/" + "long/" * 40
    print_row(("error", f"the file {path} is missing"), [7])
    assert path in capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("name", "as_printed"),
    [
        ("a\nb", "a\\nb"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("caf\udce9", "caf\\xe9"),
        ("a\u202eb", "a\\u202eb"),
        ("亀", "亀"),
    ],
)
def test_a_name_cannot_move_the_cursor(name, as_printed):
    assert shown(name) == as_printed


@pytest.mark.parametrize(
    ("text", "most", "lines"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("亀裂亀裂 亀", 5, ["亀裂", "亀裂", "亀"]),
        ("", 5, [""]),
        ("亀", 1, ["亀"]),
    ],
)
def test_lines_break_at_columns(text, most, lines):
    assert wrapped(text, most) == lines


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("utf-8", "8 × 8 px, 亀 caf\\xe9"), ("ascii", "8 x 8 px, \\u4e80 caf\\xe9"), ("cp932", "8 × 8 px, 亀 caf\\xe9")],
)
def test_printing_never_fails_for_want_of_a_letter(monkeypatch, encoding, written):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    prepare_output()
    print("8 × 8\u202fpx, 亀 caf\udce9", flush=True)
    out = sys.stdout.buffer.getvalue().decode(encoding).strip()  # pyright: ignore[reportAttributeAccessIssue]
    assert out.replace("\u202f", " ") == written
