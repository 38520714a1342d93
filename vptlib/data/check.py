"""What is wrong with a set of images, found before any training: `vpt data check`.

Every file is opened once (`vptlib.data.inspection`). The check finds counts per class and split, sizes and modes, files
that are not whole images, and duplicates within a split and across (`vptlib.data.duplicates`); only images that look
the same are opened a second time. It also says what the images lose when a model sees them (`vptlib.data.sides`), how
they are divided (`vptlib.data.divided`), and what their reader has to say.

Each finding is computed from what it speaks of: there is none that the images could prove wrong.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
from PIL import Image

from vptlib.data.divided import findings_on_balance, findings_on_sides, findings_on_sizes, readable
from vptlib.data.duplicates import ACROSS, EXACT, TURNED, duplicates
from vptlib.data.files import ListedImages
from vptlib.data.findings import Finding, worst_first
from vptlib.data.inspection import inspected, pixels_digest
from vptlib.data.listing import Listing
from vptlib.data.readers import read
from vptlib.data.sides import as_the_model_sees
from vptlib.data.tasks import TASKS, load_task
from vptlib.statement import statement

MESSAGES_SHOWN = 3  # of files that cannot be read


@dataclass
class DataCheck:
    """What was found.

    Attributes:
        listing: the images, with labels and splits.
        files: a row for each image: width and height (the right way up), mode ("" if not known), more_pages, error,
            sha256, class, split, path, and how it looks (`vptlib.data.duplicates.look`).
        duplicates: a row for each pair (`vptlib.data.duplicates.Duplicates`).
        stopped: kind and place of each search for duplicates that stopped early, so that there may be more.
        findings: errors first.
    """

    listing: Listing
    files: pd.DataFrame
    duplicates: pd.DataFrame
    findings: list[Finding] = field(default_factory=list)
    stopped: tuple[tuple[str, str], ...] = ()

    @property
    def passed(self) -> bool:
        """Whether a study can go on with these images."""
        return not any(finding.level == "error" for finding in self.findings)

    def counts(self) -> pd.DataFrame:
        """Images of each class (rows, in order) in each split; files that cannot be read are not counted."""
        order = list(self.listing.class_names)
        whole = self.files[self.files["error"] == ""]
        table = pd.crosstab(whole["class"], whole["split"]).reindex(order, fill_value=0)
        return table.reindex(columns=["train", "test"], fill_value=0)


def check_data(spec: str, sizes: tuple[int, ...] | None = None, progress: bool = True) -> DataCheck:
    """Open every image that `spec` names once, and find what is wrong.

    Args:
        spec: where the images lie (`vptlib.data.readers`), or an embedded task.
        sizes: numbers of labelled images that a study would ask for; by default any that the images can give will do.
        progress: show a bar with the time left.

    Raises:
        UserError: the images cannot even be listed, or a process that opens them is ended from outside.
    """
    listing = _embedded(spec) if spec in TASKS else read(spec)
    files = inspected(listing.images, progress)
    files["class"] = [listing.class_names[label] for label in listing.labels]
    files["split"] = listing.splits
    same = duplicates(files, partial(pixels_digest, listing.images))
    found = DataCheck(listing, files, same.pairs, stopped=same.stopped)
    found.findings = worst_first(_findings(found, sizes))
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


# ---- what it means ----------------------------------------------------------------------------------------------


def _findings(found: DataCheck, sizes: tuple[int, ...] | None) -> list[Finding]:
    whole = (found.files["error"] == "").to_numpy()
    to_use = readable(found.listing, whole)
    return [
        *found.listing.remarks,
        *found.listing.images.remarks(),
        *_unreadable(found),
        *findings_on_sizes(to_use, sizes),
        *findings_on_sides(found.listing),
        *_doubles(found),
        *findings_on_balance(to_use),
        *as_the_model_sees(found.files[whole]),
        *_notes(found, whole),
    ]


def _unreadable(found: DataCheck) -> list[Finding]:
    bad = found.files[found.files["error"] != ""]
    if bad.empty:
        return []
    messages = bad["error"].head(MESSAGES_SHOWN).tolist()
    return [Finding("error", statement("unreadable_files", bad=len(bad), files=len(found.files), messages=messages))]


def _doubles(found: DataCheck) -> list[Finding]:
    findings = []
    for (kind, where), rows in found.duplicates.groupby(["kind", "where"]):
        pairs, first, second = _example(rows)
        more = (kind, where) in found.stopped
        what = statement("duplicates", kind=kind, where=where, pairs=pairs, first=first, second=second, more=more)
        findings.append(Finding(_level(kind, where, rows), what))
    for kind, rows in found.duplicates[found.duplicates["classes"] == "different"].groupby("kind"):
        if kind == TURNED:  # turning may well be what tells two classes apart
            continue
        pairs, first, second = _example(rows)
        more = any(of_kind == kind for of_kind, _ in found.stopped)
        what = statement(
            "duplicates_of_different_classes", kind=kind, pairs=pairs, first=first, second=second, more=more
        )
        findings.append(Finding("warning" if kind == EXACT else "note", what))
    found_pairs = set(found.duplicates[["kind", "where"]].itertuples(index=False, name=None))
    for kind, where in found.stopped:
        if (kind, where) not in found_pairs:
            findings.append(Finding("warning", statement("duplicates_not_all_compared", kind=kind, where=where)))
    return findings


def _level(kind: str, where: str, rows: pd.DataFrame) -> str:
    if kind == TURNED:
        same = (rows["classes"] == "same").mean()  # turning hardly ever keeps a class where it tells classes apart
        return "warning" if where == ACROSS and same > 0.5 else "note"
    return "warning" if where == ACROSS or kind == EXACT else "note"


def _example(rows: pd.DataFrame) -> tuple[int, str, str]:
    """How many pairs there are, and the two files of the first."""
    return len(rows), rows["first"].iloc[0], rows["second"].iloc[0]


def _notes(found: DataCheck, whole: np.ndarray) -> list[Finding]:
    modes = dict(Counter(mode for mode in found.files["mode"][whole] if mode).most_common())
    notes = [statement("image_modes", modes=modes)] if modes else []
    notes.append(statement("licence_given", licence=found.listing.licence))
    return [*_pages(found.files[whole]), *(Finding("note", what) for what in notes)]


def _pages(whole: pd.DataFrame) -> list[Finding]:
    several = whole[whole["more_pages"].astype(bool)]
    if several.empty:
        return []
    names = several["path"].head(MESSAGES_SHOWN).tolist()
    return [Finding("warning", statement("more_pages", files=len(several), images=len(whole), names=names))]
