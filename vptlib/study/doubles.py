"""Test images that a study also trained on: searched among the images that it used, as its models see them.

A copy is a test image whose pixels, at the models' input size, are those of a labelled image. A test image that only
looks much like a labelled one (`vptlib.data.duplicates`) may be another one all the same: a small thing on a plain
ground looks alike wherever it is. `vptlib.data.check` searches all images, and shows the pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from vptlib.data.conditions import Conditions
from vptlib.data.duplicates import ACROSS, ALIKE, EXACT, duplicates, look, pixel_digest
from vptlib.data.files import ImageFiles, LazyImages
from vptlib.data.findings import Finding
from vptlib.data.preparing import ImageSet, Preprocessing, pixels_of
from vptlib.statement import statement
from vptlib.study.material import material_of
from vptlib.study.plan import Plan
from vptlib.tuning.backbones import preprocessing
from vptlib.wording import printable

_AT_ONCE = 256  # images in memory


@dataclass(frozen=True)
class Doubles:
    """What the search found.

    Attributes:
        labelled: images that were labelled for the largest size, of all seeds.
        tested: test images.
        copies: test images that are copies of labelled ones.
        alike: others that look much like a labelled one.
        example: a labelled image and its copy, by name; None without copies.
    """

    labelled: int
    tested: int
    copies: int
    alike: int
    example: tuple[str, str] | None = None

    def finding(self) -> Finding:
        """A warning if there are copies, else a note."""
        first, second = self.example or ("", "")
        what = statement(
            "doubles_across", labelled=self.labelled, tested=self.tested, copies=self.copies, alike=self.alike,
            first=first, second=second,
        )  # fmt: skip
        return Finding("warning" if self.copies else "note", what)


def doubles_across(plan: Plan) -> Doubles:
    """Search the test images of a study among those that were labelled for it.

    Raises:
        UserError: its images or its backbone cannot be loaded.
    """
    material, n = material_of(plan), plan.sizes[-1]
    parts = [material.parts(n, seed, Conditions(), plan.rules)[:2] for seed in plan.seeds]
    labelled = np.unique(np.concatenate([rows for pair in parts for rows in pair]))
    wanted = preprocessing(material.vit)
    sides = {
        "train": material.task.train.select(labelled),
        "test": material.task.test.select(material.test_items),
    }
    numbers = {"train": labelled, "test": material.test_items}
    seen = [row for side in sides for row in _looked_at(sides[side], numbers[side], side, wanted)]
    pairs = duplicates(pd.DataFrame(seen), lambda row: "").pairs
    pairs = pairs[pairs["where"] == ACROSS]
    copies, alike = (pairs[pairs["kind"] == kind] for kind in (EXACT, ALIKE))
    copied = {test for _, test in copies["rows"]}
    return Doubles(
        labelled=len(labelled),
        tested=len(material.test_items),
        copies=len(copied),
        alike=len({test for _, test in alike["rows"]} - copied),
        example=None if copies.empty else (copies["first"].iloc[0], copies["second"].iloc[0]),
    )


def _looked_at(images: ImageSet | LazyImages, numbers: np.ndarray, side: str, wanted: Preprocessing) -> Iterator[dict]:
    """A row for each image, as `duplicates` takes it."""
    for begin in range(0, len(images), _AT_ONCE):
        some = images.select(np.arange(begin, min(begin + _AT_ONCE, len(images))))
        pixels = pixels_of(some, wanted)
        for k in range(len(some)):
            name = _name(some, k, side, int(numbers[begin + k]))
            about = {"path": name, "split": side, "class": int(some.labels[k]), "error": ""}
            height, width = pixels[k].shape[:2]
            digest = {"sha256": pixel_digest(pixels[k]), "width": width, "height": height}
            yield about | digest | look(Image.fromarray(pixels[k]))


def _name(images: ImageSet | LazyImages, k: int, side: str, number: int) -> str:
    if isinstance(images, LazyImages) and isinstance(images.source, ImageFiles):
        return printable("/".join(images.source.paths[images.rows[k]].parts[-2:]))
    return f"{side} image {number}"
