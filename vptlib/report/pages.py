"""A report as one page and as a PDF: executed notebooks joined, their code hidden, nothing fetched from anywhere.

The page comes from `page.html.j2` around the notebooks' outputs, its style from `page.css`; it opens with the network
off. The PDF is that page printed by Chromium.
"""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

from vptlib.errors import UserError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserType

TEMPLATES = Path(__file__).parent / "templates"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


# ---- the page -------------------------------------------------------------------------------------------------


def join(notebooks: list[nbformat.NotebookNode], title: str) -> nbformat.NotebookNode:
    """Executed notebooks as one: the cells that show something; those tagged "last-page" come last."""
    cells = [cell for notebook in notebooks for cell in notebook.cells if cell.cell_type == "markdown" or cell.outputs]
    cells.sort(key=lambda cell: "last-page" in cell.metadata.get("tags", []))
    for number, cell in enumerate(cells):  # ids of different notebooks may be the same
        cell["id"] = f"part-{number}"
    return nbformat.v4.new_notebook(cells=cells, metadata={"title": title})


def page(notebook: nbformat.NotebookNode) -> str:
    """One self-contained HTML page of an executed notebook: code hidden, no scripts, nothing fetched."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_file=str(TEMPLATES / "page.html.j2"),
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    html, _ = exporter.from_notebook_node(
        notebook, resources={"report_css": (TEMPLATES / "page.css").read_text("utf-8")}
    )
    return html


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
_FOOTER = (
    '<div style="width:100%;margin:0 15mm;font:8px sans-serif;color:#667;display:flex;justify-content:space-between">'
    '<span class="title"></span><span><span class="pageNumber"></span> / <span class="totalPages"></span></span></div>'
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


def print_pdf(html: Path, pdf: Path, chromium: Path) -> None:
    """Print a page to A4 with page numbers.

    Raises:
        UserError: Chromium does not start or does not print.
    """
    _apart(_print_pdf, html, pdf, chromium)


def _print_pdf(html: Path, pdf: Path, chromium: Path) -> None:
    from playwright.sync_api import Error, sync_playwright

    try:
        with sync_playwright() as playwright:
            browser = launched(playwright.chromium, chromium)
            try:
                page = browser.new_context(offline=True).new_page()
                page.goto(html.resolve().as_uri())
                page.pdf(
                    path=str(pdf),
                    prefer_css_page_size=True,
                    print_background=True,
                    display_header_footer=True,
                    header_template="<span></span>",
                    footer_template=_FOOTER,
                    outline=True,
                    tagged=True,
                )
            finally:
                browser.close()
    except Error as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{chromium} could not print the report to {pdf.name} ({reason}): fix or remove it.") from error
