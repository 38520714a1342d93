"""Fixed texts of a report: each has its translation, and no text is shown that could not have one."""

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter

import pytest
from jinja2 import Environment, nodes

import vptlib.report
from vptlib.report import catalogue as catalogues
from vptlib.report.catalogue import FOLDERS, catalogue, catalogue_text, messages, update
from vptlib.report.words import CATALOGUES, ENGLISH, gettext, languages, speaking

FOLDER = Path(vptlib.report.__file__).parent
TRANSLATED = [code for code in languages() if code != ENGLISH]
JAPANESE_LETTER = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")

# Messages without a word that needs another one in Japanese.
SAME_EVERYWHERE = {"PoC", "vptlib {version}, {day}"}


def translations(code: str) -> dict[str, str]:
    return {str(one.id): str(one.string) for one in catalogue(code) if one.id}


def placeholders(text: str) -> list[tuple[str, str | None]]:
    """The names in braces with their formats, sorted: "{n} of {all:.2f}" → all, n."""
    return sorted((name, form) for _, name, form, _ in Formatter().parse(text) if name is not None)


def tags(text: str) -> list[str]:
    return sorted(re.findall(r"</?[a-z]+[^>]*>", text))


# ---- the catalogues ---------------------------------------------------------------------------------------------


def test_there_are_messages_and_languages_to_look_at():
    assert len(messages()) > 100 and "ja" in TRANSLATED


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_message_has_a_translation_that_somebody_has_checked(code):
    found = catalogue(code)
    lacking = [text for text in messages() if not (one := found.get(text)) or not one.string or one.fuzzy]
    assert not lacking, f"translate them in {CATALOGUES / f'{code}.po'}"


@pytest.mark.parametrize("code", TRANSLATED)
def test_no_translation_is_the_english_text(code):
    assert [text for text, said in translations(code).items() if said == text and text not in SAME_EVERYWHERE] == []


def test_japanese_has_japanese_letters_and_punctuation():
    for text, said in translations("ja").items():
        letters = re.search("[A-Za-z]{2}", re.sub(r"{.*?}", "", text))
        assert text in SAME_EVERYWHERE or not letters or JAPANESE_LETTER.search(said), said
        assert not re.search(r"[\u3040-\u30ff\u4e00-\u9fff][,.;:?!]", said), f"half-width punctuation: {said}"
        assert not re.search(r"[ \u00a0\u202f]%", said), f"a space before %: {said}"


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_translation_has_the_placeholders_and_tags_of_its_message(code):
    for text, said in translations(code).items():
        assert placeholders(said) == placeholders(text), text
        assert tags(said) == tags(text), text


@pytest.mark.parametrize("code", TRANSLATED)
def test_the_catalogue_is_as_update_writes_it_and_has_no_message_that_is_gone(code):
    assert set(translations(code)) == set(messages())
    assert (CATALOGUES / f"{code}.po").read_text(encoding="utf-8") == catalogue_text(code), (
        "run python -m vptlib.report.catalogue"
    )


def test_a_translation_is_what_the_report_says():
    text, said = next(iter(translations("ja").items()))
    with speaking("ja"):
        assert gettext(text) == said != text
    assert gettext(text) == text


# ---- how messages are found and kept ----------------------------------------------------------------------------


def test_messages_are_found_in_code_and_templates_with_their_files(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "code.py").write_text('x = _("All {n} " "of it").format(n=1), gettext("Other"), f("not this")')
    (tmp_path / "inner" / "page.html.j2").write_text('<p title="{{ _("Other") }}">{{ _("It is {a}").format(a=1) }}</p>')
    found = {
        "All {n} of it": ["code.py"],
        "Other": ["code.py", "inner/page.html.j2"],
        "It is {a}": ["inner/page.html.j2"],
    }
    assert messages(tmp_path) == found


def test_an_update_keeps_translations_and_drops_messages_that_are_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogues, "CATALOGUES", tmp_path)
    monkeypatch.setattr(catalogues, "messages", lambda: {"Stays": ["a.py"], "Goes": ["a.py"]})
    path = update("ja")
    path.write_text(path.read_text().replace('msgid "Stays"\nmsgstr ""', 'msgid "Stays"\nmsgstr "残る"'))
    monkeypatch.setattr(catalogues, "messages", lambda: {"New": ["a.py"], "Stays": ["b.py", "a.py"]})
    update("ja")
    assert translations_in(path) == {"Stays": "残る", "New": ""}
    assert "#: a.py b.py\n" in path.read_text() and not re.search(r"20\d\d-|:\d+\n", path.read_text())
    assert update("ja").read_text() == catalogues.catalogue_text("ja")


def translations_in(path: Path) -> dict[str, str]:
    return dict(re.findall(r'^msgid "(.+)"\nmsgstr "(.*)"$', path.read_text(), re.MULTILINE))


# ---- texts outside of the catalogues ----------------------------------------------------------------------------

# Files whose texts are no part of a report.
NOT_SHOWN = {
    "all_reports.py": "the command line",
    "build.py": "the command line, and texts of errors",
    "catalogue.py": "no texts",
    "config.py": "errors in YAML files, which are English",
    "fonts.py": "names of fonts",
    "init.py": "the command line, and comments in a YAML file",
    "quality_map.py": "names in both languages, as they were published",
    "settings.py": "errors and help of the command line",
    "yaml_file.py": "errors in YAML files",
}
# Literals that are shown, or look like it, and are right as they are: file → texts.
RIGHT_AS_THEY_ARE: dict[str, set[str]] = {
    "decision.html.j2": {"sha256sum summary.json"},  # a command
    "figure_html.py": {
        *("Creator", "Date", "Format", "Type"),  # metadata of an SVG that are left out
        *("screen and (max-width: ", "drawn half", "drawn tall"),  # CSS
        "}@media screen and (prefers-color-scheme:dark){:root{",
    },
    "kernels.py": {  # code that kernels run
        "from vptlib.report.sections import decision, explained, quality",
        "import os; os.environ[",
    },
    "sections/field.py": {"- {corruption: blur, severity: 2}"},  # YAML
    "sections/next_steps.py": {  # commands
        "vpt export ",
        "vpt predict ",
        ".vpt NEW_IMAGES/ --out answers.csv",
        "vpt prompts register ",
    },
    "sections/money.py": {"lead at low", "lead at high"},  # columns of the data to download
    "sections/published.py": {"Jia et al.", "Han et al.", "Full", "Ours"},  # papers, a name in them, a key
}
# Names that matplotlib gives to units and places, and commands.
NOT_ENGLISH = {
    *("offset points", "axes fraction", "figure points", "figure fraction", "lower left", "upper left", "lower right"),
    *("vpt data check", "vpt report"),
}
TWO_WORDS = re.compile(r"[A-Za-z][a-z]+[,;:]? [A-Za-z]*[a-z]+")
A_LABEL = re.compile(r"[A-Z][a-z]{2,}")


def python_files() -> list[Path]:
    return sorted(
        path
        for path in FOLDER.rglob("*.py")
        if path.name not in NOT_SHOWN and "words" not in path.relative_to(FOLDER).parts
    )


def name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def literals_shown(source: str) -> Iterator[str]:
    """String literals that look like English for a reader: not in `_`, no docstring, no type, not in an error."""
    tree = ast.parse(source)
    types = {inner for node in ast.walk(tree) for hint in _hints(node) for inner in ast.walk(hint)}
    above = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for node in sorted(texts, key=lambda node: (node.lineno, node.col_offset)):
        text = re.sub(r"<[^>]*(>|$)|^[^<]*>", " ", str(node.value))  # HTML, parts of tags too
        if isinstance(above[node], (ast.Expr, ast.Compare, ast.Subscript)) or node in types or text in NOT_ENGLISH:
            continue
        if (TWO_WORDS.search(text) or A_LABEL.fullmatch(text)) and not any(map(_is_not_shown, _chain(node, above))):
            yield str(node.value)


def _hints(node: ast.AST) -> list[ast.AST]:
    found = getattr(node, "returns", None), getattr(node, "annotation", None)
    return [hint for hint in found if hint is not None]


def _chain(node: ast.AST, above: dict[ast.AST, ast.AST]) -> Iterator[ast.AST]:
    while node in above:
        node = above[node]
        yield node


def _is_not_shown(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return name_of(node) in ("_", "gettext") or name_of(node).endswith("Error")
    return isinstance(node, (ast.Raise, ast.Assert))


@pytest.mark.parametrize("path", python_files(), ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_code_shows_no_literal_that_cannot_be_translated(path):
    name = path.relative_to(FOLDER).as_posix()
    left = [text for text in literals_shown(path.read_text()) if text not in RIGHT_AS_THEY_ARE.get(name, set())]
    assert not left, f"{name}: put them into _(…)"


def test_the_scan_of_code_finds_what_is_shown_and_only_that():
    source = '''
"""A docstring of words."""
a = f"<p>So many {n} images</p>"
b = _("Said in words"), _("A {n}").format(n="two words"), {"code": "Label"}
def d(e: "Type") -> "Some Type":
    raise UserError("not for readers")
'''
    assert list(literals_shown(source)) == ["<p>So many ", "two words", "Label"]


def with_messages() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted(folder.rglob("*.py"))]


def test_messages_are_literals_so_that_they_can_be_found():
    for path in with_messages():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "gettext"):
                (text,) = node.args
                assert isinstance(text, ast.Constant), f"{path.name}, line {node.lineno}: {ast.unparse(node)}"


def test_a_message_is_given_the_values_that_it_names():
    for path in with_messages():
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and name_of(node) == "format" and isinstance(node.func, ast.Attribute)):
                continue
            said = node.func.value
            if isinstance(said, ast.Call) and name_of(said) in ("_", "gettext"):
                named = {name for name, _ in placeholders(ast.literal_eval(said.args[0]))}
                given = {one.arg for one in node.keywords}
                assert not node.args and given in (named, {None}), f"{path.name}, line {node.lineno}"


def test_the_values_of_a_message_have_names():
    assert not [text for text in messages() if any(not name.isidentifier() for name, _ in placeholders(text))]


class _Texts(HTMLParser):
    """What a reader, or a screen reader, gets of a page: texts and attributes."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self._within = ""

    def handle_starttag(self, tag, attrs):
        self._within = tag
        self.found += [
            value for name, value in attrs if value and name in ("alt", "title", "aria-label", "placeholder")
        ]

    def handle_data(self, data):
        if self._within not in ("style", "script"):
            self.found.append(data)


def texts_shown(template: str) -> list[str]:
    """Texts of a template that have a word of letters, without what is in braces; and literals in those braces."""
    page = _Texts()
    page.feed(re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", template, flags=re.DOTALL))
    words = [text.strip() for text in page.found if re.search(r"[A-Za-z]{2,}", text)]
    tree = Environment().parse(template)
    said = [id(one) for call in tree.find_all(nodes.Call) if _is_gettext(call) for one in call.args]
    constants = (one for one in tree.find_all(nodes.Const) if isinstance(one.value, str) and id(one) not in said)
    return words + [one.value for one in constants if TWO_WORDS.search(one.value) or A_LABEL.fullmatch(one.value)]


def _is_gettext(call: nodes.Call) -> bool:
    return isinstance(call.node, nodes.Name) and call.node.name in ("_", "gettext")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("templates/*.j2")), ids=lambda path: path.name)
def test_a_template_shows_no_text_that_cannot_be_translated(path):
    left = [
        text
        for text in texts_shown(path.read_text())
        if text not in RIGHT_AS_THEY_ARE.get(path.name, set()) | NOT_ENGLISH
    ]
    assert not left, f"{path.name}: put them into _(…)"


def test_no_exception_is_left_that_nothing_needs():
    assert {name for name in NOT_SHOWN if (FOLDER / name).exists()} == set(NOT_SHOWN)
    for name, texts in RIGHT_AS_THEY_ARE.items():
        scan, folder = (texts_shown, FOLDER / "templates") if name.endswith(".j2") else (literals_shown, FOLDER)
        assert texts <= set(scan((folder / name).read_text())), name


def test_the_scan_of_templates_finds_what_is_shown_and_only_that():
    template = (
        '<style>p {color: red}</style><p aria-label="Some label" class="wide one">Text {{ _("Said") }}</p>'
        '{{ "Two words" if a else _("Other words") }}{# a note #}{% if a == "code" %}<b>&amp;</b>{% endif %}'
    )
    assert texts_shown(template) == ["Some label", "Text", "Two words"]
