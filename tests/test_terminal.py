"""vptlib.terminal: columns stay straight and nothing that is printed fails, whatever letters a name has."""

import io
import sys
import time

import pytest
from tqdm import tqdm

from vptlib import terminal
from vptlib.terminal import prepare_output, print_row, print_table, shown, ticking, width, wrapped

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


# ---- clocks -----------------------------------------------------------------------------------------------------


class Screen(io.StringIO):
    def isatty(self):
        return True


def bar_on(stream, **options) -> tqdm:
    return tqdm(total=3, file=stream, bar_format="{desc} {elapsed} gone", desc="work", **options)


def pictures(stream) -> list[str]:
    return [text.strip() for text in stream.getvalue().split("\r") if text.strip()]


def wait_for(holds) -> bool:
    end = time.monotonic() + 30
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def test_on_a_terminal_the_clock_of_a_bar_goes_on_while_nothing_is_finished():
    with ticking(bar_on(screen := Screen())):
        assert wait_for(lambda: pictures(screen)[-1] == "work 00:02 gone")


def test_a_file_gets_a_picture_now_and_then(monkeypatch):
    with ticking(bar_on(file := io.StringIO())):
        time.sleep(1.2)
    assert len(pictures(file)) <= 2  # at the beginning and at the end
    monkeypatch.setattr(terminal, "TICK_ELSEWHERE", 0.1)
    with ticking(bar_on(file := io.StringIO())):
        assert wait_for(lambda: len(pictures(file)) > 5)


def test_a_bar_that_is_not_shown_has_no_clock():
    with ticking(bar_on(screen := Screen(), disable=True)):
        time.sleep(1.2)
    assert not screen.getvalue()


def test_a_clock_ends_with_its_work_also_if_that_fails():
    screen = Screen()
    with pytest.raises(ValueError, match="no such image"), ticking(bar_on(screen)) as bar:
        raise ValueError("no such image")
    written = screen.getvalue()
    time.sleep(1.2)
    assert bar.disable and screen.getvalue() == written
