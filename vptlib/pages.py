"""The printed side of a report: the parts its notebooks show, the self-contained page made of them, and the PDF.

The parts (a card with the answer, tables, figures, facts) come from `parts.html.j2`, the page from `page.html.j2`,
its looks from `page.css`. Nothing on the page is fetched from anywhere, so it opens with the network off.
"""

import base64
import io
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from IPython.display import HTML
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from vptlib.errors import UserError

HERE = Path(__file__).parent
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# What each choice of `vptlib.decision.recommend` says to someone who has to act on it.
HEADLINES = {
    "prompt": "Use visual prompts",
    "fine-tune": "Fine-tune the whole model",
    "collect more data": "Collect more labelled images",
    "no difference that matters": "No difference that matters: let cost decide",
}


# ---- parts that notebooks show --------------------------------------------------------------------------------


def part(name: str, **values: Any) -> HTML:
    """One macro of `parts.html.j2`, filled in; a notebook cell shows it as it is."""
    return HTML(str(getattr(_parts(), name)(**values)))


def figure(fig: Figure, caption: str, alt: str, kind: str = "svg") -> HTML:
    """A matplotlib figure with its caption.

    Args:
        fig: the figure; it is closed.
        caption: what to see in it.
        alt: the same for who cannot see it.
        kind: "svg" for drawings, "png" for photographs.
    """
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    fig.savefig(buffer, format=kind, dpi=200, bbox_inches="tight", metadata=metadata)
    plt.close(fig)
    mime = "image/svg+xml" if kind == "svg" else "image/png"
    address = f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return part("figure", address=address, caption=caption, alt=alt)


def table(frame: pd.DataFrame, caption: str) -> HTML:
    """A table of texts, ready formatted; the first column names the row."""
    return part("table", columns=list(frame.columns), rows=frame.values.tolist(), caption=caption)


@cache
def _parts():
    folder = FileSystemLoader(HERE)
    environment = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"per_cent": per_cent, "storage": storage, "duration": duration, "count": count}
    environment.globals["headlines"] = HEADLINES
    return environment.get_template("parts.html.j2").module


# ---- numbers as people read them ------------------------------------------------------------------------------


def per_cent(fraction: float, digits: int = 1) -> str:
    """0.8234 → "82.3 %"."""
    return f"{100 * fraction:.{digits}f}\u202f%"


def points(difference: float) -> str:
    """-0.0234 → "−2.3": a difference in percentage points."""
    return f"{100 * difference:+.1f}".replace("-", "\u2212")


def storage(size: float) -> str:
    """Bytes as kB or MB: 83_000 → "83 kB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g}\u202f{unit}"
    return f"{size:.0f} bytes"


def count(number: float) -> str:
    """12_800_000 → "12.8 million"; 5_130 → "5,130"."""
    return f"{number / 1e6:.3g}\u202fmillion" if number >= 1e6 else f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Seconds as s, min or h."""
    if seconds < 10:
        return f"{seconds:.1f}\u202fs"
    if seconds < 120:
        return f"{seconds:.0f}\u202fs"
    return f"{seconds / 60:.0f}\u202fmin" if seconds < 7200 else f"{seconds / 3600:.1f}\u202fh"


# ---- the page -------------------------------------------------------------------------------------------------


def join(notebooks: list[nbformat.NotebookNode], title: str) -> nbformat.NotebookNode:
    """Executed notebooks, one after the other, as one: the cells that show something, without widget state."""
    cells = [cell for notebook in notebooks for cell in notebook.cells if cell.cell_type == "markdown" or cell.outputs]
    return nbformat.v4.new_notebook(cells=cells, metadata={"title": title})


def page(notebook: nbformat.NotebookNode) -> str:
    """One self-contained HTML page of an executed notebook: code hidden, no scripts, nothing fetched."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_file=str(HERE / "page.html.j2"),
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    html, _ = exporter.from_notebook_node(notebook, resources={"report_css": (HERE / "page.css").read_text()})
    return html


# ---- the PDF --------------------------------------------------------------------------------------------------


def find_chromium() -> Path | None:
    """A Chromium to print with: the system's, else the one that playwright has installed, else none."""
    for name in CHROMIUM_NAMES:
        if found := shutil.which(name):
            return Path(found)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    return own if own.is_file() else None


# As root and in containers Chromium starts only without its sandbox; the page is our own and has no scripts.
CHROMIUM_FLAGS = (
    "--no-sandbox",
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


def print_pdf(html: Path, pdf: Path, chromium: Path) -> None:
    """Print a page to A4 with page numbers.

    Raises:
        UserError: Chromium does not start or does not print.
    """
    from playwright.sync_api import Error, sync_playwright

    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(chromium), args=list(CHROMIUM_FLAGS))
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
        raise UserError(
            f"{chromium} could not print the report to {pdf.name} ({reason}): mend or remove it."
        ) from error
