"""The drawn parts of the final project: a folder as a user has one, and new images whose truth is known."""

import numpy as np
import pytest
from PIL import Image

from vptlib.course.parts import KINDS, draw_folder, draw_new, draw_part
from vptlib.data.check import check_data


def test_a_drawn_folder_passes_the_check_of_images(tmp_path):
    draw_folder(tmp_path / "parts", 8)
    found = check_data(str(tmp_path / "parts"), sizes=())
    assert found.passed
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == sorted(KINDS)


def test_the_same_seed_draws_the_same_and_another_seed_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw_folder(tmp_path / name, 2, seed)
    first, again, other = ((tmp_path / name / "hole" / "001.png").read_bytes() for name in "abc")
    assert first == again != other


@pytest.mark.parametrize("kind, darkest", [("hole", 110), ("scratch", 125)])
def test_a_defect_is_darker_than_any_good_part(kind, darkest):
    random = np.random.default_rng(0)
    good = [np.quantile(draw_part("good", random), 0.01) for _ in range(20)]
    bad = [np.quantile(draw_part(kind, random), 0.01) for _ in range(20)]
    assert max(bad) < darkest < min(good)


def test_new_images_come_with_their_truth_and_the_light_changes_in_their_order(tmp_path):
    truths = draw_new(tmp_path, 9, light=(1.0, 0.5, 0.25))
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == list(truths) and set(truths.values()) <= set(KINDS)
    means = [np.asarray(Image.open(path)).mean() for path in files]
    parts = [np.mean(means[start : start + 3]) for start in (0, 3, 6)]
    assert parts[0] > 1.8 * parts[1] > 1.8 * 1.8 * parts[2]
