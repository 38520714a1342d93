"""A report as one page and as a PDF: executed notebooks joined, their code hidden, nothing fetched from anywhere.

The page comes from `page.html.j2` around the notebooks' outputs, its style from `page.css`; it opens with the network
off. The PDF is that page printed by Chromium.
"""

import re
import shutil
from base64 import b64decode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from babel import Locale

from vptlib.errors import UserError
from vptlib.report.fonts import subset_face
from vptlib.report.macros import TEMPLATES
from vptlib.report.words import ENGLISH, speaking
from vptlib.report.words import gettext as _

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from playwright.sync_api import Browser, BrowserType

STYLES = ("page.css", "figures.css", "decision.css", "quality.css")
# Characters that an address in an attribute may hold as they are; blanks and quotes would end it.
_SAFE = "!$&'()*+,-./:;=?@_~<>|[]{}^`\\"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


# ---- the page -------------------------------------------------------------------------------------------------


def join(notebooks: "list[NotebookNode]", title: str, description: str = "") -> "NotebookNode":
    """Executed notebooks as one: the cells that show something; those tagged "last-page" come last."""
    from nbformat.v4 import new_notebook

    cells = [cell for notebook in notebooks for cell in notebook.cells if cell.cell_type == "markdown" or cell.outputs]
    cells.sort(key=lambda cell: "last-page" in cell.metadata.get("tags", []))
    for number, cell in enumerate(cells):  # ids of different notebooks may be the same
        cell["id"] = f"part-{number}"
    return new_notebook(cells=cells, metadata={"title": title, "description": description})


def page(notebook: "NotebookNode", language: str = ENGLISH, others: Mapping[str, str] | None = None) -> str:
    """One self-contained HTML page of an executed notebook: code hidden, no scripts, nothing fetched.

    The same notebook gives the same page. A page with Japanese in it brings the glyphs that it needs.

    Args:
        notebook: executed; its metadata has a title and perhaps a description.
        language: of the page.
        others: the same page in other languages, code → address.
    """
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_file=str(TEMPLATES / "page.html.j2"),
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        filters={"without_ids": without_ids},
    )
    title = notebook.metadata.title
    with speaking(language):
        resources = {
            "language": language_tag(language),
            "others": [
                {"code": code, "address": place, "name": own_name(code)} for code, place in (others or {}).items()
            ],
            "languages": _("Other languages"),
            "skip": _("To the content"),
            "style": "\n".join([*((TEMPLATES / name).read_text("utf-8") for name in STYLES), _foot(title)]),
        }
        html, _resources = exporter.from_notebook_node(notebook, resources=resources)
    html = html.replace("</style>", f"{subset_face(_text_of(html))}\n</style>", 1)
    return re.sub(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", _drawing_as_text, html)


def _foot(title: str) -> str:
    """The rule that prints title and page number under each sheet; Chromium knows it from 131 on.

    It takes the page's own glyphs. A footer template of Chromium is printed before its font has come.
    """
    escaped = "".join(letter if letter.isalnum() else f"\\{ord(letter):x} " for letter in title)
    return f'@page {{ @bottom-left {{ content: "{escaped}"; }} }}'


def language_tag(code: str) -> str:
    """The language as pages and PDFs name it: our English is British."""
    return "en-GB" if code == ENGLISH else code


def own_name(code: str) -> str:
    """A language's name in itself, such as 日本語."""
    return Locale.parse(code).get_display_name(code) or code


def without_ids(html: str) -> str:
    """Headings without the ids that Markdown gives them: two notebooks on one page may have the same."""
    return re.sub(r'(<h[1-6]) id="[^"]*"', r"\1", html)


def _drawing_as_text(address: re.Match) -> str:
    """The same drawing as percent-encoded text if that is shorter: base64 makes a third more of it.

    A blank takes three characters, so a comma stands for it where SVG takes either.
    """
    svg = b64decode(address[1]).decode()
    svg = re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"\s*([A-Za-z])\s*", r"\1", path[0]).replace(" ", ","), svg)
    svg = re.sub(r'(?<= transform=")[^"]*', lambda moves: moves[0].replace(") ", ")").replace(" ", ","), svg)
    svg = re.sub(r'(?<= style=")[^"]*', lambda rules: re.sub(r"([:;]) ", r"\1", rules[0]), svg)
    plain = svg if "'" in svg else svg.replace('"', "'")
    text = quote(re.sub(r"\s+", " ", plain), safe=_SAFE).replace("&", "&amp;")
    return min(address[0], f"data:image/svg+xml,{text}", key=len)


def _text_of(html: str) -> str:
    """The characters that a page may show, those of attributes included; no images."""
    return unescape(re.sub(r"data:[\w/.+-]+(?:;[\w=.-]+)*,[\w+/=%-]*", "", html))


# ---- the PDF --------------------------------------------------------------------------------------------------


def find_chromium() -> Path | None:
    """A Chromium to print with: the system's, else the one that playwright has installed, else none."""
    for name in CHROMIUM_NAMES:
        if found := shutil.which(name):
            return Path(found)
    own = _apart(_own_chromium)
    return own if own.is_file() else None


def _own_chromium() -> Path:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path)


def _apart(work: Callable, *arguments: Any) -> Any:
    """In a thread of its own: playwright's plain interface does not run where an event loop runs, as in a notebook."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work, *arguments).result()


CHROMIUM_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def launched(browser_type: "BrowserType", chromium: Path) -> "Browser":
    """A Chromium in its sandbox; without one only where the machine has none to give: for root, and in containers.

    Without it, what it shows must be our own.

    Raises:
        playwright.sync_api.Error: it does not start at all.
    """
    from playwright.sync_api import Error

    def start(sandbox: bool) -> "Browser":
        return browser_type.launch(executable_path=str(chromium), args=list(CHROMIUM_FLAGS), chromium_sandbox=sandbox)

    try:
        return start(sandbox=True)
    except Error:
        return start(sandbox=False)


def print_pdfs(targets: Mapping[Path, Path], chromium: Path) -> None:
    """Print pages to A4 with page numbers, in one browser.

    Args:
        targets: page → its PDF.
        chromium: the program.

    Raises:
        UserError: Chromium does not start or does not print.
    """
    _apart(_print_pdfs, targets, chromium)


def _print_pdfs(targets: Mapping[Path, Path], chromium: Path) -> None:
    from playwright.sync_api import Error, sync_playwright

    try:
        with sync_playwright() as playwright:
            browser = launched(playwright.chromium, chromium)
            try:
                for html, pdf in targets.items():
                    _print_one(browser, html, pdf)
            finally:
                browser.close()
    except Error as error:
        names, reason = " and ".join(pdf.name for pdf in targets.values()), str(error).strip().splitlines()[0]
        raise UserError(f"{chromium} could not print the report to {names} ({reason}): fix or remove it.") from error


def _print_one(browser: "Browser", html: Path, pdf: Path) -> None:
    """One page in a context of its own, so that what was printed before does not count."""
    context = browser.new_context(offline=True)
    try:
        page = context.new_page()
        page.goto(html.resolve().as_uri())
        page.evaluate("document.fonts.ready.then(() => null)")
        page.pdf(
            path=str(pdf),
            prefer_css_page_size=True,
            print_background=True,
            outline=True,
            tagged=True,
        )
    finally:
        context.close()
