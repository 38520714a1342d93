"""Pairs of images that are the same, look the same, or look the same once one of them is turned or mirrored.

Images are the same if their files have the same bytes, or if their pixels are the same once each is the right way up:
another container, other metadata or an EXIF orientation make no other image. Two images look the same if two distances
are small. Their perceptual hashes (by imagehash) differ in at most `NEAR` of 64 bits, and the greys of their 8 × 8
miniatures differ on average by at most `NEAR_GREY` of 255. The hash alone is not enough: it is the same for many
pairs of different trousers.

Of eight ways to turn and mirror an image, `canonical` takes the one that is brightest at the left and at the top. Two
images that look the same that way are copies, turned. Where two ways are about as bright, a copy may be missed.

An image on both sides of a split makes test results look better than they are, so pairs across splits come first.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import imagehash
import numpy as np
import pandas as pd
from PIL import Image

EXACT, ALIKE, TURNED = "exact", "near", "turned"
NEAR = 4  # bits of 64 by which the hashes of near duplicates may differ
# Images of Fashion-MNIST that were enlarged and saved again as JPEG (quality 60) differ by up to 1.9 from the original;
# the most similar different images differ by 3.3.
NEAR_GREY = 2.5
SAME_GREY = 1.0  # images of one size whose miniatures differ by no more may have the same pixels
MOST_PAIRS = 10_000  # of a kind, across splits or within one; then the search stops, and says so
MOST_COMPARED = 3_000_000  # pairs of miniatures, likewise: a second or two
MOST_DECODED = 2_000  # images that are decoded whole, to find out whether their pixels are the same
MINIATURE = (8, 8)
ACROSS = "across train and test"
COLUMNS = ["kind", "where", "first", "second", "rows", "classes"]


@dataclass(frozen=True)
class Duplicates:
    """Pairs of images, and where the search was not carried to its end.

    Attributes:
        pairs: a row for each pair: kind ("exact", "near" or "turned"), where ("within train", "across train and test",
            ...), first and second (paths), rows (their positions in the files), classes ("same" or "different").
        stopped: kind and where of each search that stopped early; there may be more pairs than listed.
    """

    pairs: pd.DataFrame
    stopped: tuple[tuple[str, str], ...] = ()


# ---- how one image looks ----------------------------------------------------------------------------------------


def look(image: Image.Image) -> dict:
    """Perceptual hash (64 bits) and miniature (8 × 8 greys) of an image, as it is and turned the canonical way."""
    grey = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)  # as imagehash does
    small = image.convert("L").resize(MINIATURE, Image.Resampling.BILINEAR)
    turn = canonical(np.asarray(grey, dtype=np.int64))
    return {
        "hash": _bits(grey),
        "miniature": small.tobytes(),
        "turned_hash": _bits(Image.fromarray(np.ascontiguousarray(turn(np.asarray(grey))))),
        "turned_miniature": np.ascontiguousarray(turn(np.asarray(small))).tobytes(),
    }


def no_look() -> dict:
    """In place of `look`, of a file that is no image."""
    nothing, bits = bytes(MINIATURE[0] * MINIATURE[1]), np.uint64(0)
    return {"hash": bits, "miniature": nothing, "turned_hash": bits, "turned_miniature": nothing}


def _bits(grey: Image.Image) -> np.uint64:
    return np.packbits(imagehash.phash(grey).hash.flatten()).view(">u8")[0].astype(np.uint64)


def canonical(grey: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The one of eight ways to turn and mirror an image that makes it brightest at the left and then at the top.

    Args:
        grey: the image, `S S` whole numbers.
    """
    half = len(grey) // 2
    right = grey[:, half:].sum() - grey[:, :half].sum()  # by how much the right half is brighter
    bottom = grey[half:].sum() - grey[:half].sum()
    across, down = (-1 if right > 0 else 1), (-1 if bottom > 0 else 1)
    on_its_side = abs(bottom) > abs(right)

    def turn(pixels: np.ndarray) -> np.ndarray:
        upright = pixels[::down, ::across]
        return upright.swapaxes(0, 1) if on_its_side else upright

    return turn


# ---- pairs --------------------------------------------------------------------------------------------------------


def duplicates(files: pd.DataFrame, pixels_of: Callable[[int], str]) -> Duplicates:
    """Pairs among files that are whole images.

    Args:
        files: a row for each image, as `vptlib.data.check.DataCheck.files`; those with an error are left out.
        pixels_of: a digest of the pixels of the image in a row, the right way up; "" if it cannot be had.
    """
    whole = files[files["error"] == ""].reset_index(names="row")
    same = _SameImage(whole, pixels_of)
    exact = _exact_pairs(same.content, whole["split"].to_numpy())
    found = [(EXACT, *pair) for pair in exact]
    stopped = []
    for where, left, right in _searches(same.content, whole["split"].to_numpy()):
        seen: set[tuple[int, int]] = set()
        for kind, prefix in ((ALIKE, ""), (TURNED, "turned_")):
            hashes, miniatures = whole[f"{prefix}hash"].to_numpy(), _miniatures(whole[f"{prefix}miniature"])
            pairs, complete = near_pairs(hashes, miniatures, left, right)
            stopped += [] if complete else [(kind, where)]
            new = [pair for pair in pairs if pair not in seen and same.content[pair[0]] != same.content[pair[1]]]
            found += [(EXACT if kind == ALIKE and same(*pair) else kind, *pair) for pair in new]
            seen |= set(new)
    return Duplicates(_frame(whole, found), tuple(stopped))


class _SameImage:
    """Which images are the same: by the bytes of their files and, where they look the same, by their pixels.

    Attributes:
        content: a text for each image; that of two is the same if the images are.
    """

    def __init__(self, whole: pd.DataFrame, pixels_of: Callable[[int], str]):
        self._rows, self._pixels_of = whole["row"].to_numpy(), pixels_of
        self._pixels: dict[int, str] = {}
        self._sides = whole[["width", "height"]].to_numpy()
        self._miniatures = _miniatures(whole["miniature"])
        self.content = whole["sha256"].to_numpy(dtype=object).copy()
        self._merge(whole)

    def __call__(self, a: int, b: int) -> bool:
        """Whether two images that look the same have the same pixels."""
        apart = np.abs(self._miniatures[a].astype(int) - self._miniatures[b]).mean()
        if apart > SAME_GREY or (self._sides[a] != self._sides[b]).any():
            return False
        return self._digest(a) != "" and self._digest(a) == self._digest(b)

    def _merge(self, whole: pd.DataFrame) -> None:
        """Give images of one size and one look, but of several files, the digest of their pixels as content."""
        looks = whole.groupby(["width", "height", "hash", "miniature"], sort=False)
        for members in looks.indices.values():
            if len(set(self.content[members])) > 1:
                for k in members:
                    self.content[k] = self._digest(k) or self.content[k]

    def _digest(self, k: int) -> str:
        if k not in self._pixels:
            self._pixels[k] = self._pixels_of(int(self._rows[k])) if len(self._pixels) < MOST_DECODED else ""
        return self._pixels[k]


def pixel_digest(pixels: np.ndarray) -> str:
    """SHA-256 of an image's pixels, its size and type."""
    about = f"{pixels.dtype} {pixels.shape}".encode()
    return hashlib.sha256(about + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _miniatures(column: pd.Series) -> np.ndarray:
    """uint8 `N 64`."""
    return np.frombuffer(b"".join(column), np.uint8).reshape(len(column), MINIATURE[0] * MINIATURE[1])


def _exact_pairs(content: np.ndarray, splits: np.ndarray) -> list[tuple[int, int]]:
    """Each later copy in a split with the first one there, and each test image with the same one in training."""
    first: dict[tuple[str, str], int] = {}  # split and content → the first image
    images = list(enumerate(zip(splits.tolist(), content.tolist(), strict=True)))
    within = [(first[image], k) for k, image in images if first.setdefault(image, k) != k]
    across = [(first["train", same], k) for k, (split, same) in images if split == "test" and ("train", same) in first]
    return within + across


def _searches(content: np.ndarray, splits: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Where to search, and which images to compare with which; of several copies in a split the first stands for all.

    Within a split the two are the same array.
    """
    rows = pd.DataFrame({"content": content, "split": splits})
    first = rows.index[~rows.duplicated()].to_numpy()
    train, test = (first[splits[first] == split] for split in ("train", "test"))
    yield ACROSS, train, test
    yield "within train", train, train
    yield "within test", test, test


def _frame(whole: pd.DataFrame, found: list[tuple[str, int, int]]) -> pd.DataFrame:
    splits, paths, classes, rows = (whole[name].to_numpy() for name in ("split", "path", "class", "row"))
    return pd.DataFrame(
        [
            (
                kind,
                f"within {splits[a]}" if splits[a] == splits[b] else ACROSS,
                paths[a],
                paths[b],
                (int(rows[a]), int(rows[b])),
                "same" if classes[a] == classes[b] else "different",
            )
            for kind, a, b in found
        ],
        columns=COLUMNS,
    )


# ---- the search ---------------------------------------------------------------------------------------------------


def near_pairs(
    hashes: np.ndarray, miniatures: np.ndarray, left: np.ndarray, right: np.ndarray
) -> tuple[list[tuple[int, int]], bool]:
    """Pairs of images that look the same, one of `left` with one of `right`, and whether those are all.

    Args:
        hashes: uint64 `N`.
        miniatures: uint8 `N M`.
        left, right: which images, int `L` and `R`. If they are one array, each pair comes once, the smaller number
            first.
    """
    pairs: list[tuple[int, int]] = []
    compared = 0
    for a, b in _candidates(hashes, left, right):
        apart = np.abs(miniatures[a].astype(np.int16) - miniatures[b]).mean(axis=1)  # C
        alike = apart <= NEAR_GREY
        pairs += zip(a[alike].tolist(), b[alike].tolist(), strict=True)
        compared += len(a)
        if len(pairs) >= MOST_PAIRS or compared >= MOST_COMPARED:
            return sorted(pairs[:MOST_PAIRS]), False
    return sorted(pairs), True


def _candidates(
    hashes: np.ndarray, left: np.ndarray, right: np.ndarray, most: int = 2**16
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs whose hashes are at most `NEAR` bits apart: two arrays at a time, of at most `most` images each."""
    values = np.unique(hashes[np.union1d(left, right)])
    ours, theirs = _Members(values, hashes, left), _Members(values, hashes, right)
    for u, v in _near_values(values):
        if left is not right:
            other = u != v
            u, v = np.concatenate([u, v[other]]), np.concatenate([v, u[other]])
        ends = np.cumsum(ours.count[u] * theirs.count[v])  # of the products of members, one after the other
        for start in range(0, int(ends[-1]) if len(ends) else 0, most):
            place = np.arange(start, min(start + most, int(ends[-1])))
            k = np.searchsorted(ends, place, side="right")
            within = place - (ends[k] - ours.count[u[k]] * theirs.count[v[k]])
            a = ours.at(u[k], within // theirs.count[v[k]])
            b = theirs.at(v[k], within % theirs.count[v[k]])
            if left is right:
                once = (u[k] != v[k]) | (a < b)
                a, b = np.minimum(a, b)[once], np.maximum(a, b)[once]
            yield a, b


class _Members:
    """Which of some images have each hash.

    Attributes:
        count: how many have each of the values, int `V`.
    """

    def __init__(self, values: np.ndarray, hashes: np.ndarray, images: np.ndarray):
        codes = np.searchsorted(values, hashes[images])
        self._sorted = images[np.argsort(codes, kind="stable")]
        self.count = np.bincount(codes, minlength=len(values))
        self._first = np.cumsum(self.count) - self.count

    def at(self, value: np.ndarray, number: np.ndarray) -> np.ndarray:
        """The image of each value with that number, counted from 0."""
        return self._sorted[self._first[value] + number]


def _near_values(values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of positions in `values` (uint64, each once) that are at most `NEAR` bits apart; also each with itself.

    Values that differ in at most `NEAR` bits agree in one of `NEAR + 1` bands of bits, so only such are compared.
    """
    yield np.arange(len(values)), np.arange(len(values))
    edges = np.linspace(0, 64, NEAR + 2).round().astype(int)
    bands = [(values >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1) for low, high in pairwise(edges)]
    for number, band in enumerate(bands):
        order = np.argsort(band, kind="stable")
        at, step = np.arange(len(values)), 1
        while len(at := at[at + step < len(values)]):
            at = at[band[order[at + step]] == band[order[at]]]
            u, v = order[at], order[at + step]
            close = np.bitwise_count(values[u] ^ values[v]) <= NEAR
            for earlier in bands[:number]:  # found there already
                close &= earlier[u] != earlier[v]
            yield u[close], v[close]
            step += 1
