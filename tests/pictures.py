"""Pictures on disk: a file, numbered files, a sub-folder for each class, a table of paths and labels.

All are of one colour, smooth, or a flag of three stripes.
"""

import numpy as np
import pandas as pd
from PIL import Image


def flat(number=0, size=(8, 8)):
    """A picture of one colour; that of another `number` is another one."""
    return Image.new("RGB", size, (number % 256, 100, 50))


def smooth(number, side=40):
    """A random picture without edges; that of another `number` does not look like it."""
    coarse = np.random.default_rng(number).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def flag(width=300, height=100):
    """Three stripes across the longer side: red, green, blue."""
    at = np.arange(width) if width >= height else np.arange(height)[:, None]
    stripe = np.broadcast_to(at * 3 // max(width, height), (height, width))
    return Image.fromarray((255 * np.eye(3)[stripe]).astype(np.uint8))


def put(path, picture=None, **options):
    """Save a picture (by default a flat one) with Pillow's `options`; its folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture or flat()).save(path, **options)
    return path


def numbered(folder, count, first=0, draw=flat):
    """Save 0.png, 1.png and so on, which show draw(first), draw(first + 1) and so on. Gives their paths."""
    return [put(folder / f"{k}.png", draw(first + k)) for k in range(count)]


def class_folders(root, counts, first=0, draw=flat):
    """Save `counts[name]` numbered pictures in the sub-folder of each name; each class begins 1000 higher."""
    for label, (name, count) in enumerate(counts.items()):
        numbered(root / name, count, first + 1000 * label, draw)
    return root


def rows(count, *columns):
    """Rows of a table: the paths of numbered pictures, then what each column gives for their numbers."""
    return [[f"img/{k}.png", *(column(k) for column in columns)] for k in range(count)]


def table(root, rows, header=("path", "label"), suffix=".csv"):
    """Save a table, and a picture for each row. Gives the table's path."""
    numbered(root / "img", len(rows))
    path, frame = root / f"list{suffix}", pd.DataFrame(rows, columns=list(header))
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    return path
