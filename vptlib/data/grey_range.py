"""Which values become black and white in the images of a set that have more than 8 bits: one range for all.

The range is found from the values themselves. A thousandth of the pixels of each image may lie outside at either end,
so a hot pixel does not make all others dark. If the values fill more than half of a usual range (0 to 65,535 or that of
fewer bits, 0 to 1, -1 to 1), that is the range. Otherwise it goes from the lowest to the highest value.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from vptlib.data.findings import Finding
from vptlib.data.grey import USUAL, Range, scaled
from vptlib.errors import UserError
from vptlib.statement import statement

SAMPLED = 256  # deep images that are looked at, evenly spaced in their order
OUTSIDE = 1000  # one pixel of so many may lie outside the range, at either end
FEW = 16  # grey levels: fewer are worth a warning
_FLOAT_TOPS = (255, 1023, 4095, 16383, 65535)
_OVERSHOOT = 0.05  # of the range: floats between 0 and 1 that were scaled lie a little outside


@dataclass(frozen=True)
class Greys:
    """The deep images of a set.

    Attributes:
        range: values that become black and white; None if there are no deep images, or if whole numbers and floats are
            mixed and each kind has its usual range.
        how: "given", "usual" (0 to 65,535, or 0 to 1), "nominal" (another usual range) or "own".
        images: how many images there are.
        whole, floats: how many of them have deep whole numbers, and floats.
        sampled, without_value, first: images looked at, how many of them have pixels without a value, and the first.
        levels, seen: grey levels that the middle 98% of the pixels take, and how many values they have.
        middle: the values at the ends of the middle 98%.
    """

    range: Range | None = None
    how: str = "usual"
    images: int = 0
    whole: int = 0
    floats: int = 0
    sampled: int = 0
    without_value: int = 0
    first: str = ""
    levels: int = 256
    seen: int = 256
    middle: Range = (0.0, 1.0)

    @property
    def is_usual(self) -> bool:
        """Whether deep images look as they did before there were ranges."""
        return self.range is None or self.range == USUAL["float" if self.floats else "whole"]

    def remarks(self) -> list[Finding]:
        """What has to be said."""
        return [*self._range(), *self._mixed(), *self._few_levels(), *self._without_value()]

    def _range(self) -> list[Finding]:
        if self.range is None:
            return []
        low, high = self.range
        what = statement(
            "grey_range", low=low, high=high, how=self.how, deep=self.whole + self.floats, images=self.images
        )
        return [Finding("note", what)]

    def _mixed(self) -> list[Finding]:
        deep, remarks = self.whole + self.floats, []
        if self.whole and self.floats:
            what = statement("grey_kinds_mixed", whole=self.whole, floats=self.floats, one_range=self.range is not None)
            remarks.append(Finding("warning", what))
        if 0 < deep < self.images:
            own = self.how in ("own", "given")
            what = statement("grey_depths_mixed", deep=deep, others=self.images - deep, own=own)
            remarks.append(Finding("warning" if own else "note", what))
        return remarks

    def _few_levels(self) -> list[Finding]:
        if self.levels >= FEW or self.seen < 4 * self.levels:
            return []
        low, high = self.middle
        return [Finding("warning", statement("grey_levels_few", levels=self.levels, low=low, high=high))]

    def _without_value(self) -> list[Finding]:
        if not self.without_value:
            return []
        what = statement("grey_without_value", files=self.without_value, sampled=self.sampled, first=self.first)
        return [Finding("warning", what)]


def checked_range(grey: Range | None) -> Range | None:
    """A range that somebody asked for, as plain floats.

    Raises:
        UserError: it is not two finite numbers, the lower one first.
    """
    if grey is None:
        return None
    low, high = map(float, grey)
    if not (np.isfinite([low, high]).all() and low < high):
        raise UserError(f"grey is {low:g} to {high:g}: give the value of black, and a higher one of white.")
    return low, high


def greys_of(
    kinds: Sequence[str | None],
    values_of: Callable[[int], np.ndarray],
    name_of: Callable[[int], str],
    given: Range | None = None,
) -> Greys:
    """The range of a set, and what there is to say about it.

    Args:
        kinds: "whole", "float" or None (not deep) for each image.
        values_of: some values of a deep image, by its number.
        name_of: what to call an image.
        given: the range that was asked for.
    """
    deep = np.array([row for row, kind in enumerate(kinds) if kind], dtype=np.int64)
    if not len(deep):
        return Greys(images=len(kinds))
    rows = deep[np.unique(np.linspace(0, len(deep) - 1, min(len(deep), SAMPLED)).round().astype(np.int64))].tolist()
    samples = {row: values for row, values in zip(rows, _all(values_of, rows), strict=True) if values is not None}
    empty = [row for row, values in samples.items() if np.isnan(values).any()]
    kind_of = {row: str(kinds[row]) for row in samples}
    found, how = (given, "given") if given else _found(samples, kind_of)
    return Greys(
        found,
        how,
        images=len(kinds),
        whole=sum(kind == "whole" for kind in kinds),
        floats=sum(kind == "float" for kind in kinds),
        sampled=len(samples),
        without_value=len(empty),
        first=name_of(empty[0]) if empty else "",
        **_use(samples, found),
    )


def _all(values_of: Callable[[int], np.ndarray], rows: list[int]) -> list[np.ndarray | None]:
    """The values of each image; None for one that cannot be read, which is named when it is decoded."""

    def values(row: int) -> np.ndarray | None:
        try:
            return values_of(row)
        except UserError:
            return None

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(values, rows))


def _found(samples: dict[int, np.ndarray], kinds: dict[int, str]) -> tuple[Range | None, str]:
    ranges = {
        kind: _range_of([values for row, values in samples.items() if kinds[row] == kind], kind)
        for kind in dict.fromkeys(kinds.values())
    }
    if all(found == USUAL[kind] for kind, found in ranges.items()):
        return (next(iter(ranges.values())) if len(ranges) == 1 else None), "usual"
    kind = next(iter(ranges)) if len(ranges) == 1 else "float"
    found = _range_of(list(samples.values()), kind)
    own = found == _ends(list(samples.values()))
    return found, "own" if own else "nominal"


def _range_of(samples: list[np.ndarray], kind: str) -> Range:
    ends = _ends(samples)
    return USUAL[kind] if ends is None or ends[0] == ends[1] else _nominal(*ends, kind) or ends


def _ends(samples: list[np.ndarray]) -> Range | None:
    """The lowest and the highest value, without the outermost pixels of each image; None if there are no values."""
    ends = []
    for values in samples:
        finite = np.sort(values[np.isfinite(values)])
        if len(finite):
            outside = min(max(1, len(finite) // OUTSIDE), (len(finite) - 1) // 4)
            ends.append((finite[outside], finite[-1 - outside]))
    return (float(min(low for low, _ in ends)), float(max(high for _, high in ends))) if ends else None


def _nominal(low: float, high: float, kind: str) -> Range | None:
    """The usual range of which values from `low` to `high` fill more than half."""
    if kind == "float":
        for black, white in ((0.0, 1.0), (-1.0, 1.0)):
            margin = _OVERSHOOT * (white - black)
            if black - margin <= low and high <= white + margin and high - low > (white - black) / 2:
                return black, white
    tops = _FLOAT_TOPS if kind == "float" else [2**bits - 1 for bits in range(1, 33)]
    white = next((float(top) for top in tops if high <= top), None)
    return (0.0, white) if white and low >= 0 and high - low > white / 2 else None


def _use(samples: dict[int, np.ndarray], found: Range | None) -> dict:
    """How many grey levels the middle 98% of the pixels take in this range, and how many values they have."""
    finite = [values[np.isfinite(values)] for values in samples.values()]
    pixels = np.concatenate([values[:: max(1, len(values) // 4096)] for values in finite]) if finite else np.empty(0)
    if found is None or not len(pixels):
        return {}
    low, high = np.quantile(pixels, [0.01, 0.99], method="nearest")
    middle = pixels[(pixels >= low) & (pixels <= high)]
    levels, seen = len(np.unique(scaled(middle, *found))), len(np.unique(middle))
    return {"levels": levels, "seen": seen, "middle": (float(low), float(high))}
