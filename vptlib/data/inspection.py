"""Each image of a set opened once: its size, its mode, what is wrong with it, and how it looks.

Many files are inspected by several processes.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from vptlib.data.decoding import Range, decode, depth_of, glance
from vptlib.data.duplicates import look, no_look, pixel_digest
from vptlib.data.files import ImageFiles, Images
from vptlib.errors import UserError
from vptlib.processes import worker_options
from vptlib.shortages import reason_of, shortage
from vptlib.wording import printable

CHUNK = 500  # files that a process inspects before the bar moves


def inspected(images: Images, progress: bool) -> pd.DataFrame:
    """A row for each image, as `inspect` gives it.

    Raises:
        UserError: a process that inspects files was ended from outside.
    """
    with tqdm(total=len(images), desc="opening images", unit="", disable=not progress) as bar:
        rows: list[dict] = []
        if not isinstance(images, ImageFiles):
            for number in range(len(images)):
                rows.append(_inspected_image(images, number))
                bar.update()
            return pd.DataFrame(rows)
        chunks = [images.paths[k : k + CHUNK] for k in range(0, len(images), CHUNK)]
        grey = images.grey_range
        parallel = Parallel(n_jobs=1 if len(chunks) < 3 else -1, return_as="generator", **worker_options())
        try:
            for part in parallel(delayed(_inspect_all)(chunk, grey) for chunk in chunks):
                rows += part
                bar.update(len(part))
        except Exception as error:
            if not shortage(error):
                raise
            what = (
                f"the images could not all be opened, because {reason_of(error)}: close other programs, then try again."
            )
            raise UserError(what) from error
    return pd.DataFrame(rows)


def _inspect_all(paths: tuple[Path, ...], grey: Range | None) -> list[dict]:
    return [inspect(path, grey) for path in paths]


def inspect(path: Path, grey: Range | None = None) -> dict:
    """Path, size (the right way up), mode and look of one file; "error" has a message if it is not a whole image.

    Args:
        path: the file.
        grey: the values that become black and white in a deep image.
    """
    about = _nothing_of(printable(str(path)))
    try:
        about["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        seen = glance(path, grey)
        about |= {"width": seen.width, "height": seen.height, "mode": seen.mode, "more_pages": seen.more_pages}
        about |= look(seen.image)
    except UserError as error:
        about["error"] = printable(str(error))
    except OSError as error:
        about["error"] = f"{about['path']} cannot be read ({error.strerror}): restore it, or take it out."
    return about


def _nothing_of(name: str) -> dict:
    sizes = {"width": 0, "height": 0, "mode": "", "more_pages": False}
    return {"path": name, **sizes, "error": "", "sha256": ""} | no_look()


def _inspected_image(images: Images, number: int) -> dict:
    """An image that a library gives; its mode is not known, because libraries may turn images into RGB themselves."""
    about = _nothing_of(f"image {number}")
    try:
        image = images.open(number)
    except Exception as error:  # libraries raise exceptions of many kinds
        why = str(error) if isinstance(error, UserError) else f"image {number} cannot be read ({error})"
        about["error"] = printable(why)
        return about
    digest = pixel_digest(np.asarray(image))
    return about | {"width": image.width, "height": image.height, "sha256": digest} | look(image)


def pixels_digest(images: Images, row: int) -> str:
    """A digest of the pixels of one image, the right way up; "" where 8 bits do not hold all of its values."""
    if not isinstance(images, ImageFiles):
        return ""  # its content is that of its pixels already
    try:
        return "" if depth_of(images.paths[row]) else pixel_digest(np.asarray(decode(images.paths[row])))
    except UserError:
        return ""
