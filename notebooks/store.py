"""Run notebooks from top to bottom in a fresh kernel and store them as git wants them.

    python notebooks/store.py notebooks/01_prompt_internals.ipynb notebooks/solutions/01_*.ipynb

What a widget shows is stored as its picture; times of cells and the state of widgets are not stored. A stamp over the
code is, so that the tests find outputs that are older than their code.
"""

import hashlib
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from vptlib.report.build import without_widgets


def stamp(notebook: nbformat.NotebookNode) -> str:
    """SHA-256 over the source of all code cells."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def store(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata.pop("papermill", None)
    notebook.metadata["language_info"] = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}
    notebook.metadata["vptlib"] = {"code": stamp(notebook)}
    nbformat.write(without_widgets(notebook), path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, flush=True)
        store(Path(name))
