"""Translated lessons: nothing in them is older than the English lesson, and what would be is marked where it stands."""

import copy

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from vptlib.course.translation import (
    CHANGED,
    GONE,
    MARKS,
    MOVED,
    NEW,
    check,
    differences,
    mark,
    renew,
    source_stamp,
    stale,
    translations,
)
from vptlib.paths import repository

JAPANESE = repository() / "notebooks" / "ja"
PAIRS = translations(JAPANESE)
TEXT, CODE = "text", "code"


def text_cell(source, name=TEXT):
    return new_markdown_cell(source, id=name)


def code_cell(source, name=CODE):
    return new_code_cell(source, id=name)


def lesson(text="One.", code="x = 1  # one"):
    return new_notebook(cells=[text_cell(text), code_cell(code)])


def translated(text="一。", code="x = 1  # 一", of=None):
    """A translation with the stamps of an English lesson."""
    notebook = lesson(text, code)
    renew(of or lesson(), notebook, [TEXT, CODE])
    return notebook


def read(path):
    return nbformat.read(path, as_version=4)


# ---- the lessons that there are ---------------------------------------------------------------------------------


def test_there_are_translated_lessons():
    assert [path.stem for _, path in PAIRS] == ["00_start_here", "07_decide"]


@pytest.mark.parametrize("source, path", PAIRS, ids=[path.stem for _, path in PAIRS])
def test_no_cell_is_older_than_its_english_one(source, path):
    assert differences(read(source), read(path)) == {}


@pytest.mark.parametrize("source, path", PAIRS, ids=[path.stem for _, path in PAIRS])
def test_cells_have_the_kind_and_the_tags_of_the_english_ones(source, path):
    def shape(notebook):
        return [(cell.id, cell.cell_type, cell.metadata.get("tags", [])) for cell in notebook.cells]

    assert shape(read(path)) == shape(read(source))


@pytest.mark.parametrize("source, path", PAIRS, ids=[path.stem for _, path in PAIRS])
def test_every_markdown_cell_is_translated_and_stamped(source, path):
    english = {cell.id: cell.source for cell in read(source).cells}
    cells = [cell for cell in read(path).cells if cell.cell_type == "markdown"]
    assert cells
    for cell in cells:
        assert cell.source != english[cell.id]
        assert cell.metadata["vptlib"]["translated_from"] == source_stamp(english[cell.id])


# ---- what is stale ----------------------------------------------------------------------------------------------


def test_a_fresh_translation_is_not_stale():
    assert stale(lesson(), translated()) == []


def test_a_changed_english_paragraph_is_marked_and_the_mark_goes_when_the_stamp_is_renewed():
    english, ours = lesson(text="Two."), translated()
    mark(english, ours)
    assert stale(english, ours) == [TEXT]
    assert ours.cells[0].source == MARKS["markdown"] + "一。"
    mark(english, ours)
    assert ours.cells[0].source.count("⚠") == 1, "a mark is put once"
    renew(english, ours, [TEXT])
    mark(english, ours)
    assert stale(english, ours) == [] and ours.cells[0].source == "一。"


def test_a_changed_code_cell_is_noticed_and_marked_by_a_comment():
    english, ours = lesson(code="x = 2"), translated()
    mark(english, ours)
    assert differences(english, ours) == {CODE: CHANGED}
    assert ours.cells[1].source == MARKS["code"] + "x = 1  # 一"
    mark(lesson(), ours)
    assert ours.cells[1].source == "x = 1  # 一"


def test_comments_and_layout_of_code_may_differ_without_a_stamp():
    ours = lesson(text="一。", code="# 一\nx  =  1")
    renew(lesson(), ours, [TEXT])
    assert stale(lesson(), ours) == []
    assert stale(lesson(code="x = 1  # another comment"), ours) == []


def test_texts_in_code_may_differ_until_the_english_cell_changes():
    english = lesson(code='print(f"{x} of {y}")')
    ours = translated(code='print(f"{y}のうち{x}")', of=english)
    assert stale(english, ours) == []
    assert stale(lesson(code='print(f"{x} out of {y}")'), ours) == [CODE]


def test_a_stamp_does_not_excuse_other_code():
    assert stale(lesson(code='print("a", x)'), translated(code='print("あ")', of=lesson(code='print("a", x)'))) == [
        CODE
    ]
    assert stale(lesson(code='print(f"{x}")'), translated(code='print(f"{y}")', of=lesson(code='print(f"{x}")'))) == [
        CODE
    ]


def test_new_removed_and_moved_cells_are_named():
    ours = translated()
    longer = lesson()
    longer.cells.append(text_cell("More.", "more"))
    assert differences(longer, ours) == {"more": NEW}
    assert differences(new_notebook(cells=[text_cell("One.")]), ours) == {CODE: GONE}
    turned = lesson()
    turned.cells.reverse()
    assert set(differences(turned, ours).values()) == {MOVED}


def test_a_cell_of_another_kind_is_stale():
    other = new_notebook(cells=[code_cell("One", TEXT), code_cell("x = 1")])
    assert differences(other, translated()) == {TEXT: CHANGED}


# ---- the files --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """`ja` with one fresh translation."""
    (tmp_path / "ja").mkdir()
    nbformat.write(lesson(), tmp_path / "a.ipynb")
    nbformat.write(translated(), tmp_path / "ja" / "a.ipynb")
    return tmp_path / "ja"


def test_files_are_left_alone_where_nothing_is_stale(folder):
    before = (folder / "a.ipynb").read_bytes()
    assert check(folder) == []
    assert (folder / "a.ipynb").read_bytes() == before


def test_files_are_marked_and_the_names_of_cells_renew_their_stamps(folder):
    changed = copy.deepcopy(lesson())
    changed.cells[0].source = "Two."
    nbformat.write(changed, folder.parent / "a.ipynb")
    assert check(folder) == [f"a.ipynb, {TEXT}: {CHANGED}"]
    assert "⚠" in (folder / "a.ipynb").read_text()
    assert check(folder, [TEXT]) == []
    assert "⚠" not in (folder / "a.ipynb").read_text()


def test_a_lesson_without_an_english_one_is_named(folder):
    (folder.parent / "a.ipynb").unlink()
    assert check(folder) == ["a.ipynb: there is no English lesson of that name"]
