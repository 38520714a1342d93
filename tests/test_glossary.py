"""The words that reports and the course share: one source, both files made from it, and both languages complete."""

import re

import pytest

from vptlib.paths import repository
from vptlib.report.glossary import FILES, glossary_text, guide, of_the_course, write_glossary
from vptlib.report.sections.basic import reading_guide
from vptlib.report.words import ENGLISH, speaking, words

NOTEBOOKS = repository() / "notebooks"


@pytest.mark.parametrize("code", FILES)
def test_the_files_of_the_course_are_as_they_would_be_written(code):
    assert (NOTEBOOKS / FILES[code]).read_text(encoding="utf-8") == glossary_text(code), (
        "run python -m vptlib.report.glossary"
    )


def test_both_files_are_written(tmp_path):
    assert [path.relative_to(tmp_path).as_posix() for path in write_glossary(tmp_path)] == list(FILES.values())
    assert (tmp_path / "ja" / "GLOSSARY.md").read_text(encoding="utf-8") == glossary_text("ja")


def test_no_term_is_explained_twice():
    entries = [*guide("1 point"), *of_the_course()]
    assert len({entry.anchor for entry in entries}) == len({entry.term for entry in entries}) == len(entries) > 35


def test_further_words_of_the_course_are_not_those_of_the_glossary():
    further = re.findall(r"^\*\*(.+?)\*\*", (NOTEBOOKS / "README.md").read_text().split("## Glossary")[1], re.MULTILINE)
    shared = {entry.term for entry in [*guide(""), *of_the_course()]}
    assert further and not shared & set(further)


@pytest.mark.parametrize("code", FILES)
def test_each_file_has_every_term_in_both_languages(code):
    for language in FILES:
        with speaking(language):
            terms = [entry.term for entry in [*guide(""), *of_the_course()]]
        assert [term for term in terms if term not in glossary_text(code)] == []


def test_every_term_and_meaning_is_translated():
    english = [*guide("1 point"), *of_the_course()]
    with speaking("ja"):
        japanese = [*guide("1ポイント"), *of_the_course()]
    assert [one.anchor for one in english] == [one.anchor for one in japanese]
    assert [one.anchor for one, other in zip(english, japanese, strict=True) if one.meaning == other.meaning] == []


@pytest.mark.parametrize("code", FILES)
def test_the_report_explains_its_words_by_the_glossary(code):
    with speaking(code):
        shown, entries = str(reading_guide(0.01).data), guide(words.exact_points(0.01))
    assert re.findall(r"<dt>(.*?)</dt>", shown) == [entry.term for entry in entries]
    assert [entry.anchor for entry in entries] == re.findall(r'id="word-([\w-]+)"', shown)


def test_the_margin_of_the_report_is_in_its_guide():
    assert "2.5 points" in "".join(entry.meaning for entry in guide("2.5 points"))


def test_the_language_that_was_spoken_is_spoken_again():
    glossary_text("ja")
    assert words.code == ENGLISH
