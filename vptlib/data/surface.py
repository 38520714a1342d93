"""Metal plates drawn by our own code, with a scratch, with pits, with a stain, or fine: a task that needs its pixels.

A plate is grey. It has a texture, uneven light, noise and harmless marks. Scratches are 1 to 2 px wide and pits 2 to
4 px, so both lose contrast when an image shrinks. Stains are 30 to 100 px wide and keep theirs. Some harmless marks are
about as strong in sum as a defect, but wider and softer: a wiping mark is like a scratch, and soft spots are like pits.
In a small image they look alike.

Each plate has random streams of its own (frozen by NumPy, NEP 19). So a plate is the same however many are drawn.
All arithmetic is float64. No code, image or file of others is used.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SIDE = 256  # of every plate, in pixels
DEFECTS = ("scratch", "pit", "stain", "fine")
_SEED = 4  # the first word of every plate's seeds; the second is the plate's number
_DARKEST, _BRIGHTEST = 0.3, 0.72  # of a plate without its defect
_FAINTEST = 2 / 255  # weaker traces of a defect are left out, so that its mask is exact
_MIDDLES = np.arange(SIDE) + 0.5  # of rows and of columns, in pixels from the edge


@dataclass(frozen=True)
class Plate:
    """A plate's brightness (0 to 1) without its defect, and what the defect adds to it; both float64 `S S`."""

    surface: np.ndarray
    defect: np.ndarray

    @property
    def image(self) -> np.ndarray:
        """uint8 `S S`."""
        return np.rint(255 * (self.surface + self.defect)).astype(np.uint8)


def plates(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` plates as uint8 `N S S 3`, and their defects, 0..3 as in `DEFECTS`, int64 `N`."""
    labels = plate_labels(count)
    grey = np.empty((count, SIDE, SIDE), np.uint8)
    for number, label in enumerate(labels):
        grey[number] = draw_plate(number, DEFECTS[label]).image
    return np.broadcast_to(grey[..., None], (*grey.shape, 3)), labels


def plate_masks(count: int) -> np.ndarray:
    """Where the defects of the first `count` plates are, bool `N S S`; False everywhere on a fine plate."""
    masks = np.empty((count, SIDE, SIDE), bool)
    for number, label in enumerate(plate_labels(count)):
        masks[number] = draw_defect(number, DEFECTS[label]) != 0
    return masks


def plate_labels(count: int) -> np.ndarray:
    """Defects of the first `count` plates, int64 `N`: each four plates in a row have all four, in random order."""
    rng = np.random.RandomState(_SEED)
    fours = [rng.permutation(len(DEFECTS)) for _ in range(-(-count // len(DEFECTS)))]
    return np.concatenate([np.empty(0, np.int64), *fours])[:count].astype(np.int64)


def draw_plate(number: int, defect: str) -> Plate:
    """The plate of this number with a defect of `DEFECTS`; its surface is the same with every defect."""
    rng = np.random.RandomState([_SEED, number])
    surface = np.clip(_light(rng) + _texture(rng) + _marks(rng) + _noise(rng), _DARKEST, _BRIGHTEST)
    return Plate(surface, draw_defect(number, defect))


def draw_defect(number: int, defect: str) -> np.ndarray:
    """What the defect adds to the brightness of the plate of this number, float64 `S S`; 0 outside its mask."""
    change = _DRAW[defect](np.random.RandomState([_SEED, number, 1]))
    return np.where(np.abs(change) < _FAINTEST, 0, change)


# ---- the surface ------------------------------------------------------------------------------------------------


def _light(rng: np.random.RandomState) -> np.ndarray:
    """Light that falls from one side, and less of it far from the lamp's middle."""
    level, tilt, fall = rng.uniform(0.46, 0.58), rng.uniform(-0.12, 0.12, 2), rng.uniform(0, 0.1)
    x, y = _MIDDLES / SIDE - 0.5, _MIDDLES[:, None] / SIDE - 0.5  # S, S 1
    lamp_x, lamp_y = rng.uniform(-0.3, 0.3, 2)
    return level + tilt[0] * x + tilt[1] * y - fall * ((x - lamp_x) ** 2 + (y - lamp_y) ** 2)


def _texture(rng: np.random.RandomState) -> np.ndarray:
    """Brushed, cast or ground metal."""
    return (_brushed, _cast, _ground)[rng.randint(3)](rng)


def _brushed(rng: np.random.RandomState) -> np.ndarray:
    """Long streaks in one direction."""
    return _scaled(_streaks(rng, rng.randint(60, 160)), rng.uniform(0.015, 0.03))


def _cast(rng: np.random.RandomState) -> np.ndarray:
    """Grains and blotches without a direction."""
    grain, blotch = _grains(rng, rng.randint(2, 4)), _grains(rng, rng.randint(7, 13))
    return _scaled(grain, rng.uniform(0.012, 0.02)) + _scaled(blotch, rng.uniform(0.012, 0.025))


def _ground(rng: np.random.RandomState) -> np.ndarray:
    """Short streaks in two directions."""
    one, other = _streaks(rng, rng.randint(12, 40)), _streaks(rng, rng.randint(12, 40))
    return _scaled(one, rng.uniform(0.012, 0.022)) + _scaled(other, rng.uniform(0.008, 0.018))


def _streaks(rng: np.random.RandomState, length: int) -> np.ndarray:
    """Noise drawn out to streaks of this length and about 2 px wide, tilted by up to 1 in 2 from rows or columns."""
    slope, upright = rng.uniform(-0.5, 0.5), rng.random_sample() < 0.5
    reach = SIDE + SIDE // 2 + 2
    straight = _runs(rng.random_sample((SIDE + length - 1, reach)), length)  # S R: streaks run along the first axis
    shift = slope * np.arange(SIDE) + (SIDE // 2 if slope < 0 else 0)  # of each line, in pixels
    whole = shift.astype(np.int64)
    part = (shift - whole)[:, None]  # S 1
    positions = (whole + reach * np.arange(SIDE))[:, None] + np.arange(SIDE + 2)  # S S+2, in the flat field
    shifted = straight.take(positions)  # S S+2
    tilted = (1 - part) * shifted[:, :-2] + shifted[:, 1:-1] + part * shifted[:, 2:]  # S S
    return tilted if upright else tilted.T


def _grains(rng: np.random.RandomState, length: int) -> np.ndarray:
    """Noise smoothed twice over squares of this side."""
    field = rng.random_sample((SIDE + 2 * length - 2, SIDE + 2 * length - 2))
    for _ in range(2):
        field = _runs(_runs(field, length).T, length).T
    return field


def _runs(field: np.ndarray, length: int) -> np.ndarray:
    """Sums over runs of `length` rows: `R C` to `R-length+1 C`."""
    sums = np.zeros((len(field) + 1, field.shape[1]))
    np.cumsum(field, axis=0, out=sums[1:])
    return sums[length:] - sums[:-length]


def _scaled(field: np.ndarray, spread: float) -> np.ndarray:
    """The field with mean 0 and this standard deviation."""
    return (field - field.mean()) * (spread / field.std())


def _noise(rng: np.random.RandomState) -> np.ndarray:
    """Noise of the camera."""
    return _scaled(rng.random_sample((SIDE, SIDE)), rng.uniform(0.004, 0.01))


# ---- harmless marks ---------------------------------------------------------------------------------------------


def _marks(rng: np.random.RandomState) -> np.ndarray:
    """Each of four marks on three plates of five: a wiping mark, soft spots, a drilled hole, a shadow or glare."""
    marks = np.zeros((SIDE, SIDE))
    for draw in (_wiping_mark, _soft_spots, _hole, _shadow):
        if rng.random_sample() < 0.6:
            marks += draw(rng)
    return marks


def _wiping_mark(rng: np.random.RandomState) -> np.ndarray:
    """As strong as a scratch in sum over its width, but 12 to 18 px wide and soft."""
    width = rng.uniform(6, 9)
    strength = _SCRATCH_STRENGTH * 1.5 / width
    return _sign(rng) * strength * rng.uniform(0.8, 1.2) * _curve(rng, lambda away: _soft(away / width))


def _soft_spots(rng: np.random.RandomState) -> np.ndarray:
    """About as dark in sum as pits, but 9 to 13 px wide and soft."""
    spots = np.zeros((SIDE, SIDE))
    for x, y in _cluster(rng):
        radius, strength = rng.uniform(4.5, 6.5), rng.uniform(0.8, 1.2)
        part, away = _around(x, y, radius)
        spots[part] -= _PIT_STRENGTH * (5 / radius**2) * strength * _soft(away / radius)
    return spots


def _hole(rng: np.random.RandomState) -> np.ndarray:
    """A drilled hole with a bright edge."""
    (x, y), radius, edge = rng.uniform(24, SIDE - 24, 2), rng.uniform(6, 11), rng.uniform(1, 2.5)
    bright, dark = rng.uniform(0.05, 0.2), rng.uniform(0.1, 0.25)
    hole = np.zeros((SIDE, SIDE))
    part, away = _around(x, y, radius + edge)
    inner = _inside(away, radius)
    hole[part] = bright * (_inside(away, radius + edge) - inner) - dark * inner
    return hole


def _shadow(rng: np.random.RandomState) -> np.ndarray:
    """A shadow or a glare: wider than a stain and without an edge."""
    (x, y), radius, strength = rng.uniform(30, SIDE - 30, 2), rng.uniform(50, 90), rng.uniform(0.05, 0.12)
    shadow = np.zeros((SIDE, SIDE))
    part, away = _around(x, y, radius)
    shadow[part] = _sign(rng) * strength * _soft(away / radius)
    return shadow


# ---- defects ----------------------------------------------------------------------------------------------------

_SCRATCH_STRENGTH = 0.2
_PIT_STRENGTH = 0.22
_STAIN_STRENGTH = 0.1


def _scratch(rng: np.random.RandomState) -> np.ndarray:
    """One curved line of 1 to 2 px, brighter or darker than the plate."""
    width = rng.uniform(1, 2)
    strength = _sign(rng) * _SCRATCH_STRENGTH * rng.uniform(0.8, 1.2)
    return strength * _curve(rng, lambda away: _inside(away, width / 2))


def _pits(rng: np.random.RandomState) -> np.ndarray:
    """Several dark dots of 2 to 4 px."""
    cover = np.zeros((SIDE, SIDE))
    for x, y in _cluster(rng):
        radius, strength = rng.uniform(1, 2), rng.uniform(0.8, 1.2)
        part, away = _around(x, y, radius)
        cover[part] = np.maximum(cover[part], strength * _inside(away, radius))
    return -_PIT_STRENGTH * cover


def _stain(rng: np.random.RandomState) -> np.ndarray:
    """A dark patch of several overlapping discs with an edge of 5 px, 30 to 100 px wide."""
    middle, size, strength = rng.uniform(50, SIDE - 50, 2), rng.uniform(14, 26), rng.uniform(0.7, 1.3)
    cover = np.zeros((SIDE, SIDE))
    for x, y in middle + rng.uniform(-size, size, (rng.randint(4, 8), 2)):
        radius = size * rng.uniform(0.5, 1)
        part, away = _around(x, y, radius + 2)
        cover[part] = np.maximum(cover[part], np.clip((radius - away) / 5 + 0.5, 0, 1))
    return -_STAIN_STRENGTH * strength * cover


def _nothing(rng: np.random.RandomState) -> np.ndarray:
    return np.zeros((SIDE, SIDE))


_DRAW: dict[str, Callable[[np.random.RandomState], np.ndarray]] = {
    "scratch": _scratch,
    "pit": _pits,
    "stain": _stain,
    "fine": _nothing,
}


# ---- shapes -----------------------------------------------------------------------------------------------------


def _curve(rng: np.random.RandomState, profile: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A slightly bent line of 80 to 180 px with this profile across it (of the distance in pixels), `S S`."""
    (x, y), angle = rng.uniform(70, SIDE - 70, 2), rng.uniform(0, np.pi)
    half, bend = rng.uniform(40, 90), rng.uniform(-0.002, 0.002)
    dx, dy = _MIDDLES - x, _MIDDLES[:, None] - y  # S, S 1
    along = np.cos(angle) * dx + np.sin(angle) * dy
    across = np.cos(angle) * dy - np.sin(angle) * dx
    away = np.abs(across - bend * along**2) / np.sqrt(1 + (2 * bend * along) ** 2)  # correct to first order
    return profile(away) * np.clip((half - np.abs(along)) / 6, 0, 1)


def _cluster(rng: np.random.RandomState) -> np.ndarray:
    """Middles of 5 to 11 dots near each other, `K 2`."""
    middle, reach = rng.uniform(70, SIDE - 70, 2), rng.uniform(20, 60)
    return middle + rng.uniform(-reach, reach, (rng.randint(5, 12), 2))


def _around(x: float, y: float, radius: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """The part of a plate that holds a disc, as rows and columns, and the distance of its pixels from the middle."""
    rows, columns = (slice(max(int(middle - radius) - 1, 0), int(middle + radius) + 2) for middle in (y, x))
    return (rows, columns), np.sqrt((_MIDDLES[columns] - x) ** 2 + (_MIDDLES[rows, None] - y) ** 2)


def _inside(away: np.ndarray, radius: float) -> np.ndarray:
    """Share of each pixel within a distance: 1, 0, or between them at the edge."""
    return np.clip(radius + 0.5 - away, 0, 1)


def _soft(away: np.ndarray) -> np.ndarray:
    """A bump that falls from 1 to 0 at distance 1."""
    return np.maximum(1 - away**2, 0) ** 2


def _sign(rng: np.random.RandomState) -> int:
    return 1 if rng.random_sample() < 0.5 else -1
