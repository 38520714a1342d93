"""Paths of images as people and programs write them, and the files that they mean.

A path that leads to a file means that file. Otherwise it may have been written on Windows (backslashes, or `IMG/A.PNG`
for img/a.png), on macOS (letters and their accents apart), or with spaces around. If exactly one file fits, that one is
meant.
"""

import os
import re
import unicodedata
from collections import Counter
from functools import lru_cache
from pathlib import Path

from vptlib.data.encodings import in_encoding
from vptlib.data.findings import Finding
from vptlib.data.listing import check_image
from vptlib.errors import UserError
from vptlib.statement import statement

SLASHES, SPACES, ACCENTS, CASE, STORED = "backslashes", "spaces", "accents", "case", "stored"


class Places:
    """Finds the files that the paths in a table mean, and counts what differed.

    Args:
        folder: that of the table; paths count from it.
        encoding: of the table. The names of files may be in it too, as they are when a Japanese archive is unpacked.
    """

    def __init__(self, folder: Path, encoding: str = ""):
        self._folder, self._encoding = folder, encoding
        self._differed: Counter[str] = Counter()
        self._example = ("", "")
        self._names = lru_cache(maxsize=10_000)(_names_in)  # each folder is read once

    def find(self, where: str, written: str) -> Path:
        """The file that a path means.

        Args:
            where: table and row, for messages.
            written: the path as written, from the table's folder.

        Raises:
            UserError: there is no such file, several fit, or it lies outside the table's folder.
        """
        place = self._folder / written
        if not os.path.isfile(place):
            place = self._stored(written) or self._similar(where, written) or place
        check_image(where, place, self._folder)
        return place

    def remarks(self, table: str) -> list[Finding]:
        """What has to be said of the paths that did not lead to a file as written."""
        if not self._differed:
            return []
        written, meant = self._example
        differed = dict(sorted(self._differed.items()))
        what = statement("table_paths_understood", table=table, differed=differed, written=written, meant=meant)
        return [Finding("note", what)]

    def _stored(self, written: str) -> Path | None:
        """The file whose name has these letters in the encoding of the table, and so is not UTF-8."""
        place = in_encoding(self._folder, written, self._encoding)
        if place is None or not os.path.isfile(place):
            return None
        self._remember({STORED}, written, written)
        return place

    def _similar(self, where: str, written: str) -> Path | None:
        """The one file whose path differs from `written` only as the systems' spellings do; None if there is none."""
        _refuse_addresses(where, written)
        parts = [part for part in re.split(r"[\\/]", written) if part.strip() not in ("", ".")]
        if not parts or "\0" in written or ".." in map(str.strip, parts):
            return None
        found = Path("/") if written.startswith("/") else self._folder
        for part in parts:
            found = found / part if os.path.lexists(found / part) else self._one_of(where, found, part)
            if found is None:
                return None
        if not os.path.isfile(found):
            return None
        meant = str(found.relative_to(self._folder)) if found.is_relative_to(self._folder) else str(found)
        self._remember(_differences(written, meant), written, meant)
        return found

    def _remember(self, differences: set[str], written: str, meant: str) -> None:
        self._differed.update(differences)
        self._example = self._example if any(self._example) else (written, meant)

    def _one_of(self, where: str, folder: Path, part: str) -> Path | None:
        fitting = self._names(str(folder)).get(_key(part), ())
        same = [name for name in fitting if _composed(name) == _composed(part)]  # these differ in no letter's case
        if len(same or fitting) > 1:
            names = " and ".join(map(repr, sorted(same or fitting)[:2]))
            raise UserError(f"{where}: {part!r} may be {names} in {folder}: write the name as it is there.")
        return folder / (same or fitting)[0] if fitting else None


def _names_in(folder: str) -> dict[str, tuple[str, ...]]:
    """The names in a folder by what they have in common."""
    try:
        names = os.listdir(folder)
    except (OSError, ValueError):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        found[_key(name)] = (*found.get(_key(name), ()), name)
    return found


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", _composed(name).casefold())


def _differences(written: str, meant: str) -> set[str]:
    """In what a path differs from that of the file."""
    differed = {SLASHES} if "\\" in written and "\\" not in meant else set()
    given, there = (re.split(r"[\\/]", path) for path in (written, meant))
    given, there = ([part for part in parts if part.strip() not in ("", ".")] for parts in (given, there))
    for one, other in zip(given, there, strict=False):
        if one.strip() != one or other.strip() != other:
            differed.add(SPACES)
        if one.strip() != other.strip() and _composed(one) == _composed(other):
            differed.add(ACCENTS)
        if _composed(one) != _composed(other):
            differed.add(CASE)
    return differed


def _refuse_addresses(where: str, written: str) -> None:
    if re.match(r"\s*([A-Za-z]:[\\/]|\\\\)", written):
        raise UserError(
            f"{where}: {written!r} is a place on a Windows machine: write paths that count from the table's folder, "
            "such as img/a.png."
        )
    if re.match(r"\s*[a-z0-9]{2,10}://", written, re.IGNORECASE):
        raise UserError(f"{where}: {written!r} is an address, not a file: fetch the images, and write their paths.")
