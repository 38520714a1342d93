"""Write reports/gallery/explanation.png: the five kinds of map that notebooks/04_gradcam.ipynb shows, as stored there.

Run the notebook first, then `python reports/gallery/make_explanation.py`.
"""

import base64

import nbformat

from vptlib.paths import repository

CELL = "gradcam-45"  # two images drawn at random, five kinds of map, two models, a number under each map


def main() -> None:
    notebook = nbformat.read(repository() / "notebooks" / "04_gradcam.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if cell["id"] == CELL)
    picture = next(output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {}))
    (repository() / "reports" / "gallery" / "explanation.png").write_bytes(base64.b64decode(picture))


if __name__ == "__main__":
    main()
