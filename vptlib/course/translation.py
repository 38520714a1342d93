"""Translated lessons: which of their cells are older than the English ones, and a mark that a reader sees there.

A lesson in `notebooks/ja` has the cells of the English lesson of the same name, with the same ids. Each translated cell
has a stamp, the hash of the English text that it was made from. After an English lesson has changed,

    python -m vptlib.course.translation

marks what is stale in the translations and ends with 1 if anything is. Once a cell has been translated again, its id
renews the stamp, and the mark goes:

    python -m vptlib.course.translation decide-05 decide-08
"""

import ast
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from vptlib.paths import repository

CHANGED = "the English cell has changed"
NEW = "the English lesson has this cell, the translation lacks it"
GONE = "the English lesson has no such cell any more"
MOVED = "the English lesson has this cell in another place"
# By the kind of a cell.
MARKS = {
    "markdown": "> ⚠ この段落の英語版は更新されています。訳が古い可能性があります。\n\n",
    "code": "# ⚠ このセルの英語版は更新されています。\n",
}


def source_stamp(source: str) -> str:
    """The first 12 hex digits of SHA-256 of a cell's text."""
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def stale(english: NotebookNode, translated: NotebookNode) -> list[str]:
    """The ids of the cells that have to be translated, moved or taken out."""
    return list(differences(english, translated))


def differences(english: NotebookNode, translated: NotebookNode) -> dict[str, str]:
    """Each stale cell's id → what is the matter with it.

    A code cell is fresh if its code is that of the English cell. Its comments may differ, and so may its texts where
    its stamp is that of the English cell.
    """
    originals = {cell.id: cell for cell in english.cells}
    ours = {cell.id: cell for cell in translated.cells}
    found = {name: GONE for name in ours if name not in originals}
    found |= {name: NEW for name in originals if name not in ours}
    placed = zip(
        [name for name in originals if name in ours], [name for name in ours if name in originals], strict=True
    )
    found |= {here: MOVED for there, here in placed if there != here}
    return found | {name: CHANGED for name in ours if name in originals and not _is_fresh(originals[name], ours[name])}


def mark(english: NotebookNode, translated: NotebookNode) -> None:
    """Put a visible line at the head of each cell whose English one has changed, and take it away from all others."""
    found = differences(english, translated)
    for cell in translated.cells:
        text = _unmarked(cell)
        cell.source = MARKS[cell.cell_type] + text if found.get(cell.id) in (CHANGED, GONE) else text


def renew(english: NotebookNode, translated: NotebookNode, names: Iterable[str]) -> None:
    """Stamp cells as translated from the English ones as they are now.

    Args:
        names: ids of cells; those that either lesson lacks are passed over.
    """
    originals = {cell.id: cell.source for cell in english.cells}
    for cell in translated.cells:
        if cell.id in names and cell.id in originals:
            cell.metadata["vptlib"] = {"translated_from": source_stamp(originals[cell.id])}


def _is_fresh(original: NotebookNode, cell: NotebookNode) -> bool:
    stamped = cell.metadata.get("vptlib", {}).get("translated_from") == source_stamp(original.source)
    if original.cell_type != cell.cell_type:
        return False
    if cell.cell_type == "markdown":
        return stamped
    same_but_texts = _code(original.source, texts=False) == _code(_unmarked(cell), texts=False)
    return same_but_texts and (stamped or _code(original.source) == _code(_unmarked(cell)))


def _unmarked(cell: NotebookNode) -> str:
    return cell.source.removeprefix(MARKS[cell.cell_type])


def _code(source: str, texts: bool = True) -> str:
    """Code without comments and layout; without `texts`, those in quotation marks are left out, too."""
    tree = ast.parse(source)
    if not texts:
        tree = _WithoutTexts().visit(tree)
    return ast.dump(tree)


class _WithoutTexts(ast.NodeTransformer):
    """Empties texts; of an f-string only its values are left, because their order differs between languages."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.JoinedStr:
        values = [self.visit(part.value) for part in node.values if isinstance(part, ast.FormattedValue)]
        return ast.JoinedStr(sorted(values, key=ast.dump))


# ---- the files --------------------------------------------------------------------------------------------------


def translations(folder: Path) -> list[tuple[Path, Path]]:
    """Each translated lesson in a folder, after the English one of the same name in the folder above."""
    return [(folder.parent / path.name, path) for path in sorted(folder.glob("*.ipynb"))]


def check(folder: Path, renewed: Iterable[str] = ()) -> list[str]:
    """Mark the stale cells of all translated lessons in a folder.

    Args:
        folder: such as `notebooks/ja`.
        renewed: ids of cells that have been translated again.

    Returns:
        A line for each stale cell, and one for a lesson whose English one is gone.
    """
    lines = []
    for source, path in translations(folder):
        if not source.exists():
            lines.append(f"{path.name}: there is no English lesson of that name")
            continue
        english, translated = nbformat.read(source, as_version=4), nbformat.read(path, as_version=4)
        before = nbformat.writes(translated)
        renew(english, translated, renewed)
        mark(english, translated)
        if nbformat.writes(translated) != before:
            nbformat.write(translated, path)
        lines += [f"{path.name}, {name}: {what}" for name, what in differences(english, translated).items()]
    return lines


if __name__ == "__main__":
    found = check(repository() / "notebooks" / "ja", sys.argv[1:])
    print("\n".join(found) or "No translated cell is older than its English one.")
    sys.exit(1 if found else 0)
