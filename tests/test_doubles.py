"""vptlib.study.doubles: a test image that was also trained on is found, and one that only looks like it is no copy."""

from pathlib import Path

import numpy as np
import pytest
from pictures import class_folders, put, smooth
from PIL import Image

from vptlib.report.words.en import sentence
from vptlib.study.doubles import Doubles, doubles_across
from vptlib.study.study import Study


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two classes, 6 training and 3 test images each, all different."""
    for split, count, first in (("train", 6, 0), ("test", 3, 100)):
        class_folders(tmp_path / "cells" / split, {"crack": count, "sound": count}, first, lambda k: smooth(k, 96))
    return tmp_path / "cells"


def searched(place: Path | str, **settings) -> Doubles:
    about = {"sizes": (8,), "seeds": (0, 1, 2, 3), "image_size": 28, "depth": 1, "test_images": 6} | settings
    return doubles_across(Study(task=str(place), **about))


def test_images_that_are_all_different_have_no_doubles(folder):
    found = searched(f"folder:{folder}")
    assert (found.tested, found.copies, found.alike) == (6, 0, 0)
    assert found.finding().level == "note"
    assert sentence(found.finding().what).startswith(f"None of 6 test images is a copy of any of {found.labelled} ")


def test_copies_count_by_test_image_whatever_their_names_and_containers(folder):
    """Both test images are called 0, as many are in folders of classes."""
    for name in ("crack", "sound"):
        with Image.open(folder / "train" / name / "0.png") as image:
            put(folder / "test" / name / "0.bmp", image)
        (folder / "test" / name / "0.png").unlink()
    with Image.open(folder / "train" / "crack" / "0.png") as image:
        put(folder / "train" / "crack" / "5.png", image)  # so that a test image has two of them
    found = searched(f"folder:{folder}", sizes=(12,))
    assert (found.labelled, found.tested, found.copies) == (12, 6, 2)
    assert found.finding().level == "warning"
    assert "2 of 6 test images are copies of labelled ones (12 in all), such as crack/0.bmp of crack/0.png" in sentence(
        found.finding().what
    )


def test_only_images_that_the_study_used_count(folder):
    """A copy of an image that no seed was given is no leak of this study."""
    assert searched(f"folder:{folder}", sizes=(4,), seeds=(0,)).labelled == 4
    assert 4 < searched(f"folder:{folder}", sizes=(4,), seeds=(0, 1, 2)).labelled <= 12


def test_an_image_that_looks_much_like_another_is_a_note(folder):
    with Image.open(folder / "train" / "crack" / "0.png") as image:
        brighter = Image.fromarray(np.clip(np.asarray(image).astype(int) + 1, 0, 255).astype(np.uint8))
    put(folder / "test" / "crack" / "0.png", brighter)
    found = searched(f"folder:{folder}", sizes=(12,))
    assert (found.copies, found.alike) == (0, 1) and found.finding().level == "note"
    assert "1 more looks much like a labelled one" in sentence(found.finding().what)


def test_embedded_images_are_searched_as_they_are():
    found = searched("digits", test_images=50, sizes=(40,), seeds=(0,))
    assert (found.labelled, found.tested, found.copies) == (40, 50, 0)
