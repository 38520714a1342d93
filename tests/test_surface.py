"""Drawn plates: the same for good, exact masks, no shortcut to the class, and what shrinking does to a scratch."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vptlib.data import surface
from vptlib.data.embedded import PLATES, object_masks
from vptlib.data.preparing import ImageSet, Preprocessing, prepare
from vptlib.data.surface import DEFECTS, SIDE, draw_defect, draw_plate, plate_labels, plate_masks, plates
from vptlib.data.tasks import load_task

CHANGING = [defect for defect in DEFECTS if defect != "fine"]


def test_fewer_plates_are_the_first_of_more():
    few, labels = plates(6)
    more, more_labels = plates(10)
    assert np.array_equal(few, more[:6]) and np.array_equal(labels, more_labels[:6])
    assert few.shape == (6, 256, 256, 3) and few.dtype == np.uint8 and labels.dtype == np.int64
    assert plates(0)[0].shape == (0, 256, 256, 3)


def test_a_plate_drawn_alone_is_the_one_of_the_task():
    test, number = load_task("surface-inspection").test, PLATES[0] + 7
    alone = draw_plate(number, DEFECTS[test.labels[7]]).image
    assert np.array_equal(test.images[7], np.stack([alone] * 3, axis=-1))


def test_each_four_plates_have_all_four_defects_in_random_order():
    fours = plate_labels(sum(PLATES)).reshape(-1, 4)
    assert (np.sort(fours, axis=1) == np.arange(4)).all()
    first = np.bincount(fours[:, 0], minlength=4)
    assert first.min() > 300 / 4 - 3.5 * 7.5  # standard deviation of the count: √(300 · 1/4 · 3/4) = 7.5


def test_the_grey_is_held_once_for_the_three_channels():
    assert load_task("surface-inspection").train.images.strides[-1] == 0


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_mask_is_exactly_where_the_defect_changes_the_plate(defect):
    for number in range(12):
        plate, fine = draw_plate(number, defect), draw_plate(number, "fine")
        assert np.array_equal(plate.surface, fine.surface)
        assert np.array_equal(plate.image != fine.image, draw_defect(number, defect) != 0)


def test_the_tasks_masks_belong_to_its_test_plates():
    test, masks = load_task("surface-inspection").test, object_masks("surface-inspection")
    assert masks.dtype == bool and masks.shape == (400, 256, 256)
    assert np.array_equal(masks.any(axis=(1, 2)), test.labels != DEFECTS.index("fine"))
    for k in (0, 1, 2, 3, 399):
        fine = draw_plate(PLATES[0] + k, "fine").image
        assert np.array_equal(test.images[k, ..., 0] != fine, masks[k])


def test_a_scratch_is_one_to_two_pixels_wide():
    """Width is sum ÷ strength ÷ length; the ends fade and the line bends, so this is a little rough."""
    for number in range(20):
        scratch = np.abs(draw_defect(number, "scratch"))
        rows, columns = np.nonzero(scratch)
        length = np.hypot(np.ptp(rows), np.ptp(columns))
        assert 0.8 < scratch.sum() / scratch.max() / length < 2.2


def test_pits_are_two_to_four_pixels_wide():
    """A disc of 2 to 4 px covers 3.1 to 12.6 px, 7.3 on average; two that touch count as one here."""
    areas = []
    for number in range(40):
        spots, count = ndimage.label(draw_defect(number, "pit") < -0.1)  # about half as dark as a pit's middle
        areas += ndimage.sum_labels(np.ones((SIDE, SIDE)), spots, range(1, count + 1)).tolist()
    assert 5 * 40 * 0.8 < len(areas) < 11 * 40
    assert min(areas) >= 1 and max(areas) < 3 * 4 * np.pi and 6.5 < np.mean(areas) < 8.5


def test_a_stain_covers_far_more_than_scratch_or_pits():
    area = {defect: np.mean([(draw_defect(k, defect) != 0).sum() for k in range(20)]) for defect in CHANGING}
    assert area["stain"] > 5 * max(area["scratch"], area["pit"])


def _shown(images: np.ndarray, size: int) -> np.ndarray:
    """Grey float images `N H W` (0 to 1, three equal channels at the end) as a model of this size sees them."""
    wanted = Preprocessing(size, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear")
    pixels = prepare(ImageSet(images, np.zeros(len(images), np.int64)), wanted).tensors[0]
    return pixels[:, 0].numpy()


@pytest.mark.parametrize("size", [64, 128])
def test_averaging_lowers_a_scratch_of_one_pixel_by_the_ratio_of_the_sides(size):
    plate = np.full((SIDE, SIDE), 0.5)
    plate[:, 101] -= 0.2
    ratio = SIDE // size
    small = plate.reshape(size, ratio, size, ratio).mean(axis=(1, 3))
    assert 0.5 - small.min() == pytest.approx(0.2 / ratio)


def test_at_56_pixels_scratches_and_pits_keep_a_third_of_their_contrast_and_stains_all():
    def kept(defect: str) -> float:
        """Largest change of a grey plate at 56 px ÷ at 256 px, mean of 20 plates."""
        changes = np.stack([draw_defect(k, defect) for k in range(20)])
        images = np.rint(255 * (0.5 + changes))[..., None].repeat(3, axis=-1).astype(np.uint8)
        largest = [np.abs(_shown(images, size) - 128 / 255).max(axis=(1, 2)) for size in (56, SIDE)]
        return float((largest[0] / largest[1]).mean())

    assert kept("scratch") == pytest.approx(56 / 256 * 1.5, rel=0.15)  # 1.5 px wide on average, in a pixel of 4.6
    assert kept("pit") < 0.35
    assert kept("stain") > 0.95


def test_brightness_and_contrast_alone_do_not_give_the_class_away():
    task = load_task("surface-inspection")

    def figures(part: ImageSet) -> np.ndarray:
        grey = part.images[..., 0].reshape(len(part), -1)
        shares = np.stack([np.bincount(row >> 4, minlength=16) for row in grey]) / grey.shape[1]  # N 16
        means = np.stack([grey.mean(axis=1), grey.std(axis=1)], axis=1)
        return np.concatenate([shares, means], axis=1)

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    found = model.fit(figures(task.train), task.train.labels).score(figures(task.test), task.test.labels)
    assert found < 0.45


@pytest.mark.parametrize("name", ["_brushed", "_cast", "_ground"])
def test_textures_have_mean_0_and_streaks_where_they_should(name):
    texture = getattr(surface, name)(np.random.RandomState(0))
    assert texture.shape == (SIDE, SIDE) and abs(texture.mean()) < 1e-12
    assert 0.01 < texture.std() < 0.05


def test_masks_of_the_first_plates_are_those_of_more():
    assert np.array_equal(plate_masks(5), plate_masks(9)[:5])
