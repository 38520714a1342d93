"""What is wrong with a set of images, found before any training: `vpt data check`.

Every file is opened once. The check finds counts per class and split, sizes and modes, files that are not whole
images, and duplicates within a split and across: exact ones (SHA-256 of the file) and near ones. It also says what
the images lose when a model sees them: a small square.

Two images are near duplicates if two distances are small. Their perceptual hashes (by imagehash) differ in at most
`NEAR` of 64 bits, and the greys of their 8 × 8 miniatures differ on average by at most `NEAR_GREY` of 255. The hash
alone is not enough: it is the same for many pairs of different trousers. An image on both sides of a split makes test
results look better than they are.
"""

import hashlib
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import ExifTags, Image
from tqdm import tqdm

from vptlib.data.files import ImageFiles, ListedImages, as_rgb, decode
from vptlib.data.listing import Finding, Listing
from vptlib.data.readers import read
from vptlib.data.splits import few_shot, split_validation
from vptlib.data.tasks import TASKS, load_task
from vptlib.errors import UserError
from vptlib.statement import statement

NEAR = 4  # bits of 64 by which the hashes of near duplicates may differ
# Images of Fashion-MNIST that were enlarged and saved again as JPEG (quality 60) differ by up to 1.9 from the original;
# the most similar different images differ by 3.3.
NEAR_GREY = 2.5
IMBALANCE = 10  # warn if the largest class has this many times the images of the smallest
SMALL = 32  # pixels: a shorter side is worth a note
# The embedded backbone (vptlib.tuning.backbones): side of a patch, and the input sizes that it might take, in pixels.
PATCH = 14
MODEL_SIZES = (56, 112, 168, 224)
MIXED = 10  # warn if the largest image has this many times the side of the smallest
APART = 3  # images with this many times the side of the typical image, or as many times less, are counted as apart
LONG = 0.5  # warn if a crop of the typical image loses this share of its area
MESSAGES_SHOWN = 3  # of files that cannot be read, or are too small
ACROSS = "across train and test"
_CHUNK = 500  # files that a process inspects before the bar moves


@dataclass
class DataCheck:
    """What was found.

    Attributes:
        listing: the images, with labels and splits.
        files: a row for each image: width and height (the right way up), mode, error, sha256, hash (64-bit), miniature
            (64 bytes), class, split, path.
        duplicates: a row for each pair: kind ("exact" or "near"), where ("within train", "across train and test", ...),
            first and second (paths), rows (their positions in `files`), classes ("same" or "different").
        findings: errors first.
    """

    listing: Listing
    files: pd.DataFrame
    duplicates: pd.DataFrame
    findings: list[Finding] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether a study can go on with these images."""
        return not any(finding.level == "error" for finding in self.findings)

    def counts(self) -> pd.DataFrame:
        """Images of each class (rows, in order) in each split."""
        order = list(self.listing.class_names)
        table = pd.crosstab(self.files["class"], self.files["split"]).reindex(order, fill_value=0)
        return table.reindex(columns=["train", "test"], fill_value=0)


def check_data(spec: str, sizes: tuple[int, ...] = (50, 150, 400), progress: bool = True) -> DataCheck:
    """Open every image that `spec` names once, and find what is wrong.

    Args:
        spec: where the images lie (`vptlib.data.readers`), or an embedded task.
        sizes: numbers of labelled images that a study would ask for.
        progress: show a bar with the time left.

    Raises:
        UserError: the images cannot even be listed.
    """
    listing = _embedded(spec) if spec in TASKS else read(spec)
    files = _inspected(listing, progress)
    files["class"] = [listing.class_names[label] for label in listing.labels]
    files["split"] = listing.splits
    found = DataCheck(listing, files, _duplicates(files))
    found.findings = sorted(_findings(found, sizes), key=lambda f: ("error", "warning", "note").index(f.level))
    return found


def _embedded(name: str) -> Listing:
    """An embedded task in the form of a reader's listing."""
    task = load_task(name)
    pictures = np.concatenate([task.train.images, task.test.images])  # N H W 3
    labels = np.concatenate([task.train.labels, task.test.labels])
    splits = np.repeat(np.array(["train", "test"], dtype=object), [len(task.train), len(task.test)])
    images = ListedImages(len(labels), lambda row: Image.fromarray(pictures[row]))
    about = (task.source, task.licence, task.group, task.objective)
    return Listing(images, labels, splits, task.class_names, None, *about)


# ---- each file --------------------------------------------------------------------------------------------------


def inspect(path: Path) -> dict:
    """Size, mode and hashes of one file; "error" has a message if the file is not a whole image."""
    about = {"path": str(path), "width": 0, "height": 0, "mode": "", "error": "", "sha256": ""} | _look(None)
    try:
        about["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            about |= {"width": image.width, "height": image.height, "mode": image.mode}
            if image.format == "JPEG":
                image.draft("L", (64, 64))  # Pillow still reads the whole file, but decodes it to a small image
                image.load()
                small = image
                if image.getexif().get(ExifTags.Base.Orientation, 1) >= 5:  # it lies on its side in the file
                    about |= {"width": about["height"], "height": about["width"]}
            else:
                small = decode(path)
                about |= {"width": small.width, "height": small.height}
            about |= _look(small)
    except UserError as error:
        about["error"] = str(error)
    except Exception as error:  # Pillow's plugins raise exceptions of many kinds
        about["error"] = f"{path} cannot be read as an image ({error}): replace it, or take it out."
    return about


def _look(image: Image.Image | None) -> dict:
    """The 64 bits of an image's perceptual hash, and its 8 × 8 greys."""
    if image is None:
        return {"hash": np.uint64(0), "miniature": bytes(64)}
    bits = np.packbits(imagehash.phash(image).hash.flatten()).view(">u8")[0].astype(np.uint64)
    return {"hash": bits, "miniature": image.convert("L").resize((8, 8), Image.Resampling.BILINEAR).tobytes()}


def _inspected(listing: Listing, progress: bool) -> pd.DataFrame:
    source = listing.images
    with tqdm(total=len(source), desc="opening images", unit="", disable=not progress) as bar:
        if not isinstance(source, ImageFiles):
            rows = []
            for number in range(len(source)):
                rows.append(_inspected_image(source, number))
                bar.update()
            return pd.DataFrame(rows)
        chunks = [source.paths[k : k + _CHUNK] for k in range(0, len(source), _CHUNK)]
        rows = []
        jobs = 1 if len(source) < 2 * _CHUNK else -1
        for part in Parallel(n_jobs=jobs, return_as="generator")(delayed(_inspect_all)(chunk) for chunk in chunks):
            rows += part
            bar.update(len(part))
    return pd.DataFrame(rows)


def _inspect_all(paths: tuple[Path, ...]) -> list[dict]:
    return [inspect(path) for path in paths]


def _inspected_image(source, number: int) -> dict:
    image = as_rgb(source.open(number))
    digest = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
    about = {"path": f"image {number}", "width": image.width, "height": image.height, "mode": image.mode}
    return about | {"error": "", "sha256": digest} | _look(image)


# ---- duplicates -------------------------------------------------------------------------------------------------


def _duplicates(files: pd.DataFrame) -> pd.DataFrame:
    """Pairs of files with the same bytes, and pairs of images that look the same."""
    whole = np.flatnonzero(files["error"].to_numpy() == "")
    digests = files["sha256"].to_numpy()[whole]
    greys = np.frombuffer(b"".join(files["miniature"].iloc[whole]), np.uint8).reshape(-1, 64).astype(float)
    near = [
        (a, b)
        for a, b in near_pairs(files["hash"].to_numpy()[whole])
        if digests[a] != digests[b] and np.abs(greys[a] - greys[b]).mean() <= NEAR_GREY
    ]
    splits, paths, classes = (files[name].to_numpy()[whole] for name in ("split", "path", "class"))
    rows = [("exact", *pair) for pair in _exact_pairs(digests, splits)] + [("near", *pair) for pair in near]
    return pd.DataFrame(
        [
            (
                kind,
                f"within {splits[a]}" if splits[a] == splits[b] else ACROSS,
                paths[a],
                paths[b],
                (int(whole[a]), int(whole[b])),
                "same" if classes[a] == classes[b] else "different",
            )
            for kind, a, b in rows
        ],
        columns=["kind", "where", "first", "second", "rows", "classes"],
    )


def _exact_pairs(digests: np.ndarray, splits: np.ndarray) -> list[tuple[int, int]]:
    """Each later copy in a split with the first one there, and each test file with the same file in training."""
    first: dict[tuple[str, str], int] = {}  # split and digest → the first file
    files = list(enumerate(zip(splits.tolist(), digests.tolist(), strict=True)))
    within = [(first[file], k) for k, file in files if first.setdefault(file, k) != k]
    across = [(first["train", d], k) for k, (split, d) in files if split == "test" and ("train", d) in first]
    return within + across


def near_pairs(hashes: np.ndarray, most: int = 10_000) -> list[tuple[int, int]]:
    """Pairs (first < second) of 64-bit hashes at most `NEAR` bits apart, `most` of them."""
    hashes = hashes.astype(np.uint64)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(hashes), 64):
        apart = np.bitwise_count(hashes[start : start + 64, None] ^ hashes[None, start:])  # c N
        for a, b in zip(*np.nonzero(apart <= NEAR), strict=True):
            if b > a:
                pairs.append((start + int(a), start + int(b)))
        if len(pairs) >= most:
            return pairs[:most]
    return pairs


# ---- what it means ----------------------------------------------------------------------------------------------


def _findings(found: DataCheck, sizes: tuple[int, ...]) -> list[Finding]:
    on_the_model = _as_the_model_sees(found.files[found.files["error"] == ""])
    return [
        *_unreadable(found),
        *_sizes(found, sizes),
        *_doubles(found),
        *_balance(found),
        *on_the_model,
        *_notes(found),
    ]


def _unreadable(found: DataCheck) -> list[Finding]:
    bad = found.files[found.files["error"] != ""]
    if bad.empty:
        return []
    messages = bad["error"].head(MESSAGES_SHOWN).tolist()
    return [Finding("error", statement("unreadable_files", bad=len(bad), files=len(found.files), messages=messages))]


def _sizes(found: DataCheck, sizes: tuple[int, ...]) -> list[Finding]:
    train = found.listing.splits == "train"
    labels = found.listing.labels[train]
    groups = None if found.listing.groups is None else found.listing.groups[train]
    findings = []
    for n in sizes:
        try:
            split_validation(labels, few_shot(labels, n, seed=0), groups=groups)
        except UserError as error:
            findings.append(Finding("error", statement("size_not_possible", n=n, message=str(error))))
    return findings


def _doubles(found: DataCheck) -> list[Finding]:
    findings = []
    for (kind, where), rows in found.duplicates.groupby(["kind", "where"]):
        level = "warning" if where == ACROSS or kind == "exact" else "note"
        pairs, first, second = _example(rows)
        what = statement("duplicates", kind=kind, where=where, pairs=pairs, first=first, second=second)
        findings.append(Finding(level, what))
    for kind, rows in found.duplicates[found.duplicates["classes"] == "different"].groupby("kind"):
        pairs, first, second = _example(rows)
        what = statement("duplicates_of_different_classes", kind=kind, pairs=pairs, first=first, second=second)
        findings.append(Finding("warning" if kind == "exact" else "note", what))
    return findings


def _example(rows: pd.DataFrame) -> tuple[int, str, str]:
    """How many pairs there are, and the two files of the first."""
    return len(rows), rows["first"].iloc[0], rows["second"].iloc[0]


def _balance(found: DataCheck) -> list[Finding]:
    counts = found.counts()["train"]
    most, least = int(counts.max()), int(counts.min())
    if most < IMBALANCE * least:
        return []
    what = statement("rare_class", common=counts.idxmax(), most=most, rare=counts.idxmin(), least=least)
    return [Finding("warning", what)]


def _as_the_model_sees(whole: pd.DataFrame) -> list[Finding]:
    """What images of these sizes lose as a small square."""
    if whole.empty:
        return []
    sides = whole[["width", "height"]].to_numpy()  # N 2
    return [_image_sizes(sides), _detail(sides), *_shape(sides), *_mixed(sides), *_below_a_patch(whole)]


def _image_sizes(sides: np.ndarray) -> Finding:
    spans = [[int(end) for end in (sides[:, k].min(), sides[:, k].max())] for k in range(2)]
    what = statement("image_sizes", typical=_typical(sides), widths=spans[0], heights=spans[1], model=list(MODEL_SIZES))
    return Finding("note", what)


def _typical(sides: np.ndarray) -> list[int]:
    """Width and height of the image whose area is the median: the size of a real image, whatever the mixture."""
    order = np.lexsort((sides[:, 0], sides.prod(axis=1)))
    return sides[order[(len(order) - 1) // 2]].tolist()


def _detail(sides: np.ndarray) -> Finding:
    """How many pixels of the typical image become one pixel of the model, at each size that shrinks it."""
    if sides.max() <= MODEL_SIZES[0]:
        return Finding("note", statement("nothing_lost", size=MODEL_SIZES[0]))
    width, height = _typical(sides)
    covered = [[size, max(1, width / size), max(1, height / size)] for size in MODEL_SIZES if size < max(width, height)]
    whole_at = next((size for size in MODEL_SIZES if size >= max(width, height)), None)
    return Finding("note", statement("detail_lost", covered=covered, whole_at=whole_at))


def _shape(sides: np.ndarray) -> list[Finding]:
    """What becomes of images that are not square: a crop loses, and padding wastes, the same share of an area."""
    lost = 1 - sides.min(axis=1) / sides.max(axis=1)
    if not lost.any():
        return []
    typical, most = float(np.median(lost)), float(lost.max())
    what = statement(
        "shape_lost",
        oblong=int((lost > 0).sum()),
        images=len(lost),
        typical=typical,
        most=most,
        over=LONG,
        above=int((lost > LONG).sum()),
    )
    return [Finding("warning" if typical > LONG else "note", what)]


def _mixed(sides: np.ndarray) -> list[Finding]:
    side = np.sqrt(sides.prod(axis=1))  # of a square of the same area
    if side.max() < MIXED * side.min():
        return []
    usual = np.median(side)
    what = statement(
        "sizes_mixed",
        smallest=sides[side.argmin()].tolist(),
        largest=sides[side.argmax()].tolist(),
        times=APART,
        below=int((side * APART < usual).sum()),
        above=int((side > APART * usual).sum()),
        images=len(side),
    )
    return [Finding("warning", what)]


def _below_a_patch(whole: pd.DataFrame) -> list[Finding]:
    tiny = whole[whole[["width", "height"]].min(axis=1) < PATCH]
    if tiny.empty:
        return []
    names = tiny["path"].head(MESSAGES_SHOWN).tolist()
    what = statement("below_a_patch", tiny=len(tiny), images=len(whole), patch=PATCH, names=names)
    return [Finding("warning", what)]


def _notes(found: DataCheck) -> list[Finding]:
    whole = found.files[found.files["error"] == ""]
    modes = dict(Counter(whole["mode"]).most_common())
    notes = [statement("image_modes", modes=modes)] if modes else []
    small = int((whole[["width", "height"]].min(axis=1) < SMALL).sum())
    if small:
        notes.append(statement("small_images", images=small, side=SMALL))
    if found.listing.groups is not None:
        notes.append(statement("groups_apart", groups=len(np.unique(found.listing.groups))))
    return [Finding("note", what) for what in [*notes, statement("licence_given", licence=found.listing.licence)]]
