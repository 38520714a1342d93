"""What is completed in a PDF after Chromium has printed it."""

from datetime import date
from pathlib import Path

import pikepdf
import pytest
from pikepdf import Array, Dictionary, Name

from vptlib.report.pdf import figures_of, finish


@pytest.fixture
def printed(tmp_path) -> Path:
    """A PDF as Chromium might leave it: links to files, figures of three kinds, traces of the machine."""
    document = pikepdf.new()
    page = document.add_blank_page()
    places = (tmp_path.as_uri() + "/index.ja.html", "https://example.org/")
    page.obj.Annots = Array([Dictionary(Subtype=Name.Link, A=Dictionary(S=Name.URI, URI=place)) for place in places])
    picture = Dictionary(S=Name.Figure, Alt="a curve")
    kids = [
        picture,
        Dictionary(S=Name.Figure, K=Array([Dictionary(S=Name.Span), Dictionary(S=Name.Figure, Alt="a map")])),
    ]
    kids.append(Dictionary(S=Name.Figure, K=Dictionary(S=Name.Caption, K=0)))
    document.Root.StructTreeRoot = Dictionary(K=Dictionary(S=Name.Document, K=Array(kids)))
    document.docinfo["/Author"] = "root"
    document.docinfo["/ModDate"] = "D:20260101"
    document.save(tmp_path / "a.pdf")
    finish(tmp_path / "a.pdf", tmp_path / "index.html", "題 & title", "ja", date(2026, 11, 29))
    return tmp_path / "a.pdf"


def test_title_language_and_date_are_those_of_the_report_and_nobody_is_named(printed):
    with pikepdf.open(printed) as document:
        assert dict(document.docinfo.items()) == {
            "/Title": "題 & title",
            "/Producer": "vptlib",
            "/CreationDate": "D:20261129",
        }
        assert document.Root.Lang == "ja"
        assert document.Root.ViewerPreferences.DisplayDocTitle


def test_each_figure_has_an_alt_text_and_what_has_none_is_no_figure(printed):
    with pikepdf.open(printed) as document:
        assert [str(figure.Alt) for figure in figures_of(document)] == ["a curve", "a map"]
        assert [str(kid.S) for kid in document.Root.StructTreeRoot.K.K] == ["/Figure", "/Div", "/Div"]


def test_links_to_files_lose_the_path_of_this_machine(printed):
    with pikepdf.open(printed) as document:
        assert [str(link.A.URI) for link in document.pages[0].obj.Annots] == ["index.ja.html", "https://example.org/"]


def test_the_same_page_and_day_give_the_same_file(printed):
    before = printed.read_bytes()
    finish(printed, printed.parent / "index.html", "題 & title", "ja", date(2026, 11, 29))
    assert printed.read_bytes() == before


def test_a_pdf_without_tags_is_completed_as_well(tmp_path):
    document = pikepdf.new()
    document.add_blank_page()
    document.save(tmp_path / "a.pdf")
    finish(tmp_path / "a.pdf", tmp_path / "index.html", "t", "en-GB", date(2026, 1, 1))
    with pikepdf.open(tmp_path / "a.pdf") as done:
        assert list(figures_of(done)) == []
