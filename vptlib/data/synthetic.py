"""Images drawn by our own code: flat sprites in the manner of dSprites, shaded solids in the manner of CLEVR.

Sprites: signed distances to a square, an ellipse and a heart become coverage, so that edges are antialiased. Solids:
spheres, cubes and cylinders are ray cast once each under a parallel camera and one light. They are then pasted from
back to front, with their shadows. Everything is float64: the same numbers give the same images everywhere.

Kinds of picture after dSprites (Matthey et al. 2017) and CLEVR (Johnson et al., arXiv 1612.06890); no code, image or
file of theirs is used.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

SIZE = 64  # side of every drawn image, in pixels

# ---- sprites ----------------------------------------------------------------------------------------------------

SPRITES = ("square", "ellipse", "heart")
HEART_TIP = np.sqrt(2) * (1 + (np.pi / 2 + 2 / 3) / (4 + np.pi))  # from a unit heart's centre of mass to its tip


def draw_sprite(shape: str, radius: float, angle: float, x: float, y: float) -> np.ndarray:
    """One white sprite on black, as uint8 `S S`.

    Args:
        shape: one of `SPRITES`.
        radius: from the centre of mass to the farthest point, in pixels.
        angle: in radians, turning clockwise on the screen from upright.
        x, y: the centre of mass in pixels from the left and upper edge.
    """
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5  # S S
    dx, dy = columns - x, rows - y
    u = np.cos(angle) * dx + np.sin(angle) * dy  # to the sprite's right
    v = np.cos(angle) * dy - np.sin(angle) * dx  # to the sprite's bottom
    distance = {"square": _square, "ellipse": _ellipse, "heart": _heart}[shape](u, v, radius)
    return np.rint(255 * np.clip(0.5 - distance, 0, 1)).astype(np.uint8)


def _square(u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Signed distance in pixels to a square's edge, negative inside."""
    return np.maximum(np.abs(u), np.abs(v)) - radius / np.sqrt(2)


def _ellipse(u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Signed distance to an upright ellipse twice as high as wide, correct to first order at its edge."""
    wide, high = radius / 2, radius
    level = np.hypot(u / wide, v / high)
    slope = np.hypot(u / wide**2, v / high**2) / np.maximum(level, 1e-9)
    return (level - 1) / np.maximum(slope, 1e-9)


def _heart(u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Signed distance to a heart: a square on its corner with a disc on each of its two upper sides."""
    side = radius / HEART_TIP  # half the square's side, and the discs' radius
    shift = side * (HEART_TIP / np.sqrt(2) - 1)  # of the centre of mass from the square's, along each diagonal side
    p = (u - v) / np.sqrt(2) + shift  # to the upper right
    q = (-u - v) / np.sqrt(2) + shift  # to the upper left
    square = np.maximum(np.abs(p), np.abs(q)) - side
    discs = np.minimum(np.hypot(p - side, q), np.hypot(p, q - side)) - side
    return np.minimum(square, discs)


# ---- solids -----------------------------------------------------------------------------------------------------

SOLIDS = ("sphere", "cube", "cylinder")
SOLID_RADII = (4.0, 5.0, 6.0)  # pixels
TURNS = tuple(np.radians([7.5, 22.5, 37.5, 52.5, 67.5, 82.5]))  # a cube's turns about the upright axis
COLOURS = np.array(
    [
        [214, 60, 52],
        [60, 120, 216],
        [66, 160, 72],
        [236, 196, 58],
        [150, 84, 180],
        [64, 188, 196],
        [222, 132, 48],
        [240, 240, 236],
    ]
)
_WINDOW = 32  # side of the window, in pixels, that holds one solid and its shadow
_FINE = 4  # rays per pixel and axis
_ELEVATION = np.radians(50.0)  # of the camera above the ground
_LIGHT = np.array([-0.5, -0.6, 1.1]) / np.linalg.norm([-0.5, -0.6, 1.1])  # towards the light
_UP = np.array([0.0, np.sin(_ELEVATION), np.cos(_ELEVATION)])  # the screen's upward axis; x is its rightward one
_VIEW = np.array([0.0, np.cos(_ELEVATION), -np.sin(_ELEVATION)])  # from the camera into the scene


@dataclass(frozen=True)
class Solid:
    """A solid standing on the ground: `x`, `y` is its middle on the screen, in half pixels from left and top."""

    kind: str
    radius: float
    turn: float
    colour: int
    x: int
    y: int


def scatter(count: int, rng: np.random.RandomState) -> list[Solid]:
    """`count` random solids that do not hide each other. If no room is left, all are drawn again."""
    while True:
        solids: list[Solid] = []
        for _ in range(60 * count):
            solid = _random_solid(rng)
            if all(_apart(solid, other) for other in solids):
                solids.append(solid)
            if len(solids) == count:
                return solids


def _random_solid(rng: np.random.RandomState) -> Solid:
    kind, radius, turn, colour, x, y = rng.random_sample(6)
    margin = 18  # half pixels
    return Solid(
        kind=SOLIDS[int(kind * len(SOLIDS))],
        radius=SOLID_RADII[int(radius * len(SOLID_RADII))],
        turn=TURNS[int(turn * len(TURNS))],
        colour=int(colour * len(COLOURS)),
        x=margin + int(x * (2 * SIZE - 2 * margin)),
        y=margin + int(y * (2 * SIZE - 2 * margin)),
    )


def _apart(a: Solid, b: Solid) -> bool:
    """Whether two solids are far enough apart on the screen that both are almost fully visible."""
    return (a.x - b.x) ** 2 + (a.y - b.y) ** 2 >= (2 * 1.15 * (a.radius + b.radius)) ** 2


def draw_solids(solids: list[Solid], brightness: float = 0.6) -> np.ndarray:
    """Solids on a grey ground of the given brightness (0..1), as uint8 `S S 3`."""
    margin = _WINDOW // 2
    canvas = np.empty((SIZE + 2 * margin, SIZE + 2 * margin, 3))  # with a margin for windows that cross the edge
    canvas[:] = brightness * np.linspace(0.9, 1.1, len(canvas))[:, None, None]
    views = [(_window(canvas, solid), _view(solid)) for solid in _back_to_front(solids)]
    for window, view in views:
        window *= view.dimmed
    for window, view in views:
        window *= view.uncovered
        window += view.light
    inner = canvas[margin:-margin, margin:-margin]
    return np.rint(255 * np.clip(inner, 0, 1)).astype(np.uint8)


def _back_to_front(solids: list[Solid]) -> list[Solid]:
    """Farthest first, by the point where each stands on the ground, not by its middle."""
    return sorted(solids, key=lambda solid: solid.y + 2 * solid.radius * _UP[2])


def _window(canvas: np.ndarray, solid: Solid) -> np.ndarray:
    """The part of the padded canvas that holds a solid."""
    return canvas[solid.y // 2 : solid.y // 2 + _WINDOW, solid.x // 2 : solid.x // 2 + _WINDOW]


@dataclass(frozen=True)
class _View:
    """One solid in its window: the uncovered part of each pixel, its dimming by shadow, and the solid's light."""

    uncovered: np.ndarray  # W W 1
    dimmed: np.ndarray  # W W 1
    light: np.ndarray  # W W 3


def _view(solid: Solid) -> _View:
    turn = solid.turn if solid.kind == "cube" else 0.0
    return _coloured(solid.kind, solid.radius, turn, solid.x % 2, solid.y % 2, solid.colour)


@cache
def _coloured(kind: str, radius: float, turn: float, half_x: int, half_y: int, colour: int) -> _View:
    """A view with the solid's middle at the window's middle, or half a pixel to the right, or below, or both."""
    start = _FINE // 2 * (1 - half_y), _FINE // 2 * (1 - half_x)
    cover, shade, gloss, shadow = (_coarse(part, *start)[..., None] for part in _ray_cast(kind, radius, turn))
    return _View(1 - cover, 1 - 0.55 * shadow, shade * COLOURS[colour] / 255 + gloss)


def _coarse(fine: np.ndarray, row: int, column: int) -> np.ndarray:
    """Means over the rays of each pixel, starting at the given ray: `F F` to `W W`."""
    side = _WINDOW * _FINE
    return fine[row : row + side, column : column + side].reshape(_WINDOW, _FINE, _WINDOW, _FINE).mean(axis=(1, 3))


@cache
def _ray_cast(kind: str, radius: float, turn: float) -> tuple[np.ndarray, ...]:
    """Cover, diffuse light, gloss and shadow along each of `F F` rays: a window, and half a pixel at its left and top.

    Diffuse light follows Lambert's law and has an ambient part. Gloss uses Blinn's half-way vector.
    """
    steps = (np.arange(_WINDOW * _FINE + _FINE // 2) + 0.5) / _FINE - _WINDOW / 2 - 0.5  # pixels from the middle
    screen = steps[None, :, None] * np.array([1.0, 0.0, 0.0]) - steps[:, None, None] * _UP  # F F 3
    normal, hit = _meet(kind, radius, turn, screen, _VIEW)
    half_way = (_LIGHT - _VIEW) / np.linalg.norm(_LIGHT - _VIEW)
    shade = 0.3 + 0.7 * np.maximum(normal @ _LIGHT, 0)
    gloss = 0.25 * np.maximum(normal @ half_way, 0) ** 24
    ground = screen + ((-radius - screen[..., 2:]) / _VIEW[2]) * _VIEW  # where the ray meets the ground
    _, dark = _meet(kind, radius, turn, ground, _LIGHT)
    return hit, hit * shade, hit * gloss, dark


def _meet(kind: str, radius: float, turn: float, origin: np.ndarray, ray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The normal `F F 3` where rays enter a solid at the origin, and whether they enter it, `F F`.

    Each solid is the intersection of convex bodies: a ray is inside it from the last entry to the first exit.
    """
    bodies = _bodies(kind, radius, turn, origin, ray)
    near, far, normal = bodies[0]
    for next_near, next_far, next_normal in bodies[1:]:
        normal = np.where((next_near > near)[..., None], next_normal, normal)
        near, far = np.maximum(near, next_near), np.minimum(far, next_far)
    return normal, near < far


def _bodies(kind: str, radius: float, turn: float, origin: np.ndarray, ray: np.ndarray) -> list[tuple]:
    """The convex bodies whose intersection is the solid, each as entries, exits and normals."""
    if kind == "sphere":
        return [_ball(origin, ray, np.array([1, 1, 1]), radius)]
    lid = _slab(origin, ray, np.array([0.0, 0.0, 1.0]), radius)
    if kind == "cylinder":
        return [_ball(origin, ray, np.array([1, 1, 0]), radius), lid]
    along, across = np.array([np.cos(turn), np.sin(turn), 0]), np.array([-np.sin(turn), np.cos(turn), 0])
    return [_slab(origin, ray, axis, 0.85 * radius) for axis in (along, across)] + [lid]


def _slab(origin: np.ndarray, ray: np.ndarray, axis: np.ndarray, half: float):
    """Entry and exit distances `F F` and the entry's normal, for the space between two planes around the origin."""
    speed, start = ray @ axis, origin @ axis
    near, far = (-half * np.sign(speed) - start) / speed, (half * np.sign(speed) - start) / speed
    return near, far, np.broadcast_to(-np.sign(speed) * axis, origin.shape)


def _ball(origin: np.ndarray, ray: np.ndarray, axes: np.ndarray, radius: float):
    """The same for a ball (`axes` 1 1 1) or an endless upright cylinder (1 1 0)."""
    o, d = origin * axes, ray * axes
    half_b, c = o @ d, (o * o).sum(-1) - radius**2
    square = half_b**2 - (d @ d) * c
    root = np.sqrt(np.maximum(square, 0))
    near = (-half_b - root) / (d @ d)
    far = np.where(square > 0, (-half_b + root) / (d @ d), -np.inf)
    return near, far, (o + near[..., None] * d) / radius


# ---- the drawn tasks --------------------------------------------------------------------------------------------

LOCATIONS = 16
ORIENTATIONS = 16
COUNTS = range(3, 11)
_CENTRES = np.linspace(14.0, 50.0, 32)  # of a sprite, in pixels, on both axes
_RADII = np.arange(7.0, 13.0)  # six sizes, in pixels
_SYMMETRY = np.array([np.pi / 2, np.pi, 2 * np.pi])  # the turn after which each of SPRITES looks the same


def location(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Sprites of any shape as uint8 `N S S 3`, and the column of their centre of mass, 0..15 from left to right."""
    labels = np.arange(n) % LOCATIONS
    shape, radius, turn, y, half = _without_repeats(np.random.RandomState(1), labels, (3, 6, 40, 32, 2))
    angle = turn / 40 * _SYMMETRY[shape]
    return _draw_sprites(shape, _RADII[radius], angle, _CENTRES[2 * labels + half], _CENTRES[y]), labels


def orientation(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Hearts as uint8 `N S S 3`, and their turn, 0..15 clockwise from upright: three turns in each of 16 ranges."""
    labels = np.arange(n) % ORIENTATIONS
    radius, x, y, third = _without_repeats(np.random.RandomState(2), labels, (6, 32, 32, 3))
    angle = (3 * labels + third + 0.5) / (3 * ORIENTATIONS) * 2 * np.pi
    hearts = np.full(n, SPRITES.index("heart"))
    return _draw_sprites(hearts, _RADII[radius], angle, _CENTRES[x], _CENTRES[y]), labels


def object_count(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Scenes as uint8 `N S S 3`, and how many solids they show, 0..7 for 3 to 10."""
    labels = np.arange(n) % len(COUNTS)
    return np.stack([draw_solids(solids, brightness) for solids, brightness in scenes(n)]), labels


def scenes(n: int) -> list[tuple[list[Solid], float]]:
    """Solids and ground brightness of the first `n` scenes of `object_count`."""
    rng = np.random.RandomState(3)
    return [(scatter(COUNTS[k % len(COUNTS)], rng), rng.uniform(0.4, 0.7)) for k in range(n)]


def sprite_masks(images: np.ndarray) -> np.ndarray:
    """Where the sprite is, bool `N S S`: the pixels of drawn sprites `N S S 3` that it covers by half or more."""
    return images[..., 0] > 127


def solid_masks(pictures: list[tuple[list[Solid], float]]) -> np.ndarray:
    """Where the solids of `scenes` are, without their shadows, bool `N S S`: pixels covered by half or more."""
    return np.stack([_covered(solids) for solids, _ in pictures])


def _covered(solids: list[Solid]) -> np.ndarray:
    margin = _WINDOW // 2
    free = np.ones((SIZE + 2 * margin, SIZE + 2 * margin, 1))
    for solid in solids:
        window = _window(free, solid)
        window *= _view(solid).uncovered
    return free[margin:-margin, margin:-margin, 0] < 0.5


def _without_repeats(rng: np.random.RandomState, labels: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Random values 0 ≤ value < axis for each axis and label, without a repeated combination within a label."""
    flat = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = labels == label
        flat[members] = rng.choice(np.prod(axes), size=members.sum(), replace=False)
    return np.unravel_index(flat, axes)


def _draw_sprites(shape: np.ndarray, *numbers: np.ndarray) -> np.ndarray:
    """`draw_sprite` for each row of shapes, radii, angles, x and y; uint8 `N S S 3`."""
    rows = zip(shape, *numbers, strict=True)
    grey = np.stack([draw_sprite(SPRITES[s], *rest) for s, *rest in rows])  # N S S
    return np.broadcast_to(grey[..., None], (*grey.shape, 3))
