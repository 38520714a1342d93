"""`make docs`: one page for each module, out of its docstrings, in build/docs; and docs/settings.md. No network needed.

Made by pdoc, which is kept up and reads docstrings as they are. (mkdocs-material gets no further features, and its
successor Zensical is at 0.1.) A link that leads nowhere stops it, and so does a name that is no longer there.
"""

import pkgutil
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vptlib.report.settings import settings_page

ROOT = Path(__file__).resolve().parent.parent


def make(package_name: str, folder: Path) -> None:
    """Write the pages of a package and of all modules in it."""
    import pdoc

    package = import_module(package_name)
    for name in package.__all__:  # loaded at their first use, but pdoc needs them now
        vars(package)[name] = getattr(package, name)
    children = [module.name for module in pkgutil.iter_modules(package.__path__, f"{package_name}.")]
    children = [name for name in children if not name.endswith("__main__")]  # importing it would run it
    warnings.filterwarnings("ignore", "Cannot determine where .* is taken from")  # fields that pydantic makes
    pdoc.render.configure(docformat="google", footer_text=f"{package_name} {package.__version__}")
    pdoc.pdoc(package_name, *children, output_directory=folder)


def faults(folder: Path, package_name: str) -> Iterator[str]:
    """What is wrong with the pages: links that lead nowhere, and names of the package that nothing has."""
    pages = {path: _Page(path) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target not in pages:
                yield f"{path.name}: the link to {link} leads to no page"
            elif parts.fragment and unquote(parts.fragment) not in pages[target].ids:
                yield f"{path.name}: the link to {link} leads to no place in {target.name}"
        for name in page.unlinked(package_name):
            yield f"{path.name}: the docstrings name {name}, but there is no such thing"


class _Page(HTMLParser):
    """The links of a page, the places that a link can lead to, and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.ids, self.text = [], set(), path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        self.links += [facts["href"]] if facts.get("href") and tag in ("a", "link") else []
        self.ids |= {facts["id"]} if "id" in facts else set()

    def unlinked(self, package_name: str) -> list[str]:
        """Names in backticks that pdoc made no link of, because they are not there."""
        return re.findall(rf"<code>({package_name}\.[\w.]+)</code>", self.text)


if __name__ == "__main__":
    (ROOT / "docs" / "settings.md").write_text(settings_page(), encoding="utf-8")
    pages = ROOT / "build" / "docs"
    shutil.rmtree(pages, ignore_errors=True)
    make("vptlib", pages)
    found = list(faults(pages, "vptlib"))
    sys.exit("\n".join(found)) if found else print(f"{pages / 'index.html'}")
