"""What is answered already, in a side file that only grows: an interrupted command goes on from there.

A record counts only for the same model file, and for an image whose size and times on the disk are the same. Each has a
checksum: what was cut or damaged is answered again.
"""

import base64
import fcntl
import io
import json
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vptlib import __version__
from vptlib.errors import UserError
from vptlib.operations.new_images import identity_of


@dataclass(frozen=True)
class Record:
    """What was answered to one image.

    Attributes:
        file: its path as the user wrote it.
        identity, doubt: as in `vptlib.operations.new_images.Seen`.
        probabilities: of all classes, float32 `C`.
    """

    file: str
    identity: tuple[int, ...]
    doubt: str
    probabilities: np.ndarray

    def line(self) -> bytes:
        """As a line of the side file, with a checksum in front."""
        numbers = base64.b64encode(self.probabilities.astype("<f4").tobytes()).decode("ascii")
        text = json.dumps([self.file, self.identity, self.doubt, numbers]).encode("ascii")
        return b"%08x %s\n" % (zlib.crc32(text), text)

    @classmethod
    def of(cls, line: bytes) -> "Record | None":
        """The record of a line; None if it was cut or damaged."""
        if not line.endswith(b"\n") or line[:9] != b"%08x " % zlib.crc32(line[9:-1]):
            return None
        file, identity, doubt, numbers = json.loads(line[9:])
        return cls(file, tuple(identity), doubt, np.frombuffer(base64.b64decode(numbers), "<f4"))


class Journal:
    """A record for each image that is answered, in a file that only grows.

    Args:
        file: opened to read and to append, without a buffer.
        name: its path, for messages.
        head: its first line; a file with another one starts again.

    Attributes:
        finished: set when the answers are written, and the file is of no use any more.
    """

    HEAD = b"vptlib predictions 1 "

    def __init__(self, file: io.FileIO, name: Path, head: bytes):
        self._file, self._name = file, name
        self._places: dict[str, tuple[tuple[int, ...], int, int]] = {}  # identity, and where the record is
        self._end = self._read(head)
        self.finished = False
        if not self._end:
            file.truncate(0)
            self._append(head)

    def __len__(self) -> int:
        return len(self._places)

    def has(self, path: Path) -> bool:
        """Whether an image was answered, and is still the same."""
        place = self._places.get(str(path))
        return place is not None and place[0] == identity_of(path)

    def get(self, path: Path) -> Record:
        """The record of an image that was answered."""
        _, start, length = self._places[str(path)]
        record = Record.of(os.pread(self._file.fileno(), length, start))
        if record is None:
            raise UserError(f"{self._name} was changed meanwhile: give the same command again.")
        return record

    def add(self, records: Sequence[Record]) -> None:
        """Keep records; when it returns, they outlast this process."""
        lines = [record.line() for record in records]
        start = self._end
        self._append(b"".join(lines))
        for record, line in zip(records, lines, strict=True):
            self._places[record.file] = record.identity, start, len(line)
            start += len(line)

    def _read(self, head: bytes) -> int:
        """Find the records; what was cut at the end is removed. Gives the end of the last one, 0 for another file."""
        self._file.seek(0)
        reader = io.BufferedReader(self._file)
        try:
            if reader.readline() != head:
                return 0
            end = len(head)
            for line in reader:
                if not line.endswith(b"\n"):
                    break
                if record := Record.of(line):
                    self._places[record.file] = record.identity, end, len(line)
                end += len(line)
        finally:
            reader.detach()
        self._file.truncate(end)
        return end

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        with refusals_named(self._name):
            while rest:
                rest = rest[self._file.write(rest) :]
        self._end += len(data)


@contextmanager
def journal_at(path: Path | None, digest: str) -> Iterator[Journal]:
    """The side file, or a temporary one; it goes when the answers are written, or if nothing was done.

    Args:
        path: of the side file; by default the journal ends with this process.
        digest: of the model file.

    Raises:
        UserError: it cannot be written, or another process is writing it.
    """
    head = Journal.HEAD + json.dumps({"model": digest, "vptlib": __version__}).encode("ascii") + b"\n"
    if path is None:
        with tempfile.TemporaryFile(buffering=0) as file:
            yield Journal(file, Path(tempfile.gettempdir()), head)
        return
    with refusals_named(path):
        file = path.open("a+b", buffering=0)
    with file:
        _take(file, path)
        journal = Journal(file, path, head)
        try:
            yield journal
        finally:
            if journal.finished or not len(journal):
                path.unlink(missing_ok=True)


def _take(file: io.FileIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"another `vpt predict` is writing {path}: wait for it, or name another file.") from error
    except OSError:  # a file system without locks
        pass


def is_journal(path: Path) -> bool:
    """Whether a file is one of these, or the start of one."""
    with path.open("rb") as file:
        start = file.read(len(Journal.HEAD))
    return start == Journal.HEAD[: len(start)]


@contextmanager
def refusals_named(where: Path) -> Iterator[None]:
    """What the disk refuses becomes a UserError that names the place."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{where} cannot be written ({error.strerror or error}): make room there, or name a file in a folder of "
            "yours. What is done is kept, and the same command goes on."
        ) from error
