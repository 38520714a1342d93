"""What people said of answers, from a table: ids of the service with the right class, or a table of `vpt predict`.

A table of `vpt predict` gets a column `truth`, in which people write the right class of the images they looked at. A
column `drawn` says "yes" where an image was drawn at random to be looked at. Only those can show whether a limit is
kept: images that somebody chose are no sample of all images.

`write_to_check` gives a table with the ids that wait for a class.

A table is taken whole or not at all, and each row counts once, however often its table is handed in.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from vptlib.data.table_files import Table, read_cells
from vptlib.errors import UserError
from vptlib.operations.answer_files import COLUMNS, DRAWN, TRUTH, as_text
from vptlib.operations.artefact import read_artefact
from vptlib.operations.judgement import threshold_of
from vptlib.operations.records import ASKED, SERVICE, TABLE, AnswerRecords, Checked, Given
from vptlib.operations.registry import PromptRegistry
from vptlib.operations.standing import Version
from vptlib.paths import write_whole
from vptlib.wording import did_you_mean, many

ID, PROBLEM = "id", "problem"
_MOST_NAMED = 5  # bad rows that an error names
_CLOSE = 1e-5  # a table gives six digits of a probability, and a spreadsheet may leave some out
_DIGITS = 4  # of a probability by which a row is known again


@dataclass(frozen=True)
class Taken:
    """What came of a table.

    Attributes:
        version: that answered.
        checked: rows with a right class.
        new: how many of them say something new.
        open: rows in which nobody has written anything.
        drawn: how many of `checked` were drawn at random; None where the service knows that.
    """

    version: Version
    checked: int
    new: int
    open: int
    drawn: int | None


def take_checked(file: Path, ref: str, registry: PromptRegistry, records: AnswerRecords, by: str) -> Taken:
    """Record what people said of the answers of a prompt.

    Args:
        file: a .csv, .tsv or .parquet file, with the columns `id` and `truth`, or those of `vpt predict` and `truth`.
        ref: the prompt; of a table of `vpt predict` the version that answered, if it is not the one in production.
        by: who checked.

    Raises:
        UserError: there is no such version, the table has other columns, or rows that cannot be; they are named.
    """
    version = registry.version(ref)
    table = read_cells(file, "", lambda header: TRUTH in header)
    columns = {name: number for number, name in reversed(list(enumerate(table.header)))}
    reader = _by_id if ID in columns else _by_row
    if missing := [name for name in (TRUTH, *(() if reader is _by_id else COLUMNS)) if name not in columns]:
        raise UserError(
            f"{file} has no column {missing[0]!r}: it needs id and truth, or the columns of a table of `vpt predict` "
            "and truth."
        )
    return reader(_Rows(table, columns), version, registry, records, by)


def write_to_check(file: Path, name: str, records: AnswerRecords) -> int:
    """Write a table of the answers that were drawn at random and that nobody has checked yet, for `take_checked`.

    What the model answered is not in it, so that it leads nobody.

    Args:
        file: a .csv file that is not there yet.
        name: of the prompt.

    Returns:
        How many there are.

    Raises:
        UserError: the file is there, has another ending, or cannot be written.
    """
    if file.suffix.lower() != ".csv":
        raise UserError(f"{file} is to hold a table: give it a name that ends in .csv.")
    if file.exists():
        raise UserError(f"{file} is there already, and a person may have written in it: name another file.")
    answers = records.frame(name)
    waiting = answers[answers["drawn"] & (answers["truth"] == "") & (answers["source"] == SERVICE)]
    known = zip(waiting[ID], waiting["at"], waiting["version"], strict=True)
    lines = [f"{id},{at:%Y-%m-%dT%H:%M:%SZ},{version}," for id, at, version in known]
    try:
        write_whole(file, "\n".join([f"{ID},answered,version,{TRUTH}", *lines, ""]))
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror}): name another file.") from error
    return len(lines)


class _Rows:
    """The rows of a table by the names of its columns, and what is wrong with them."""

    def __init__(self, table: Table, columns: dict[str, int]):
        self.file, self.columns = table.file, columns
        self._table = table
        self._bad: list[str] = []
        self._number = 0

    def __iter__(self) -> Iterator[dict[str, str]]:
        for number, cells in zip(self._table.rows, self._table.cells, strict=True):
            self._number = number
            yield {name: cells[column].strip() for name, column in self.columns.items()}

    def bad(self, why: str) -> None:
        """Something is wrong with the present row."""
        self._bad.append(f"row {self._number}: {why}")

    def refuse_bad(self) -> None:
        """Raise what is wrong with any row."""
        if not self._bad:
            return
        more = len(self._bad) - _MOST_NAMED
        named = "; ".join(islice(self._bad, _MOST_NAMED)) + (f"; and {many(more, 'more row')}" if more > 0 else "")
        raise UserError(f"nothing of {self.file} was taken: {named}. Correct that, and give the same command again.")


def _classes(class_names: tuple[str, ...]) -> dict[str, str]:
    """How a class may be written → its name."""
    return {as_text(name).strip(): name for name in class_names} | {name.strip(): name for name in class_names}


def _class(rows: _Rows, column: str, text: str, classes: dict[str, str]) -> str:
    """The class that a cell names; "" if there is none."""
    if text and text not in classes:
        few = ", ".join(list(classes)[:10])
        rows.bad(f"{column} is {text!r}: {did_you_mean(text, classes, f'the classes are {few}')}")
    return classes.get(text, "")


# ---- ids of the service -------------------------------------------------------------------------------------------


def _by_id(rows: _Rows, version: Version, registry: PromptRegistry, records: AnswerRecords, by: str) -> Taken:
    classes = _classes(read_artefact(registry.fetch(version.ref)).card.class_names)
    given = [row[ID].lower().replace("-", "") for row in rows]
    known = records.tasks_of(id for id in given if _is_id(id))
    said, now, count = {}, datetime.now(UTC), 0
    for row, id in zip(rows, given, strict=True):
        truth = _class(rows, TRUTH, row[TRUTH], classes)
        count += bool(row[TRUTH])
        if known.get(id) != version.name:
            rows.bad(f"{version.name} gave no answer with the id {row[ID][:40]!r}")
        elif truth and said.setdefault(id, truth) != truth:
            rows.bad(f"another row says {said[id]!r} of this answer")
    rows.refuse_bad()
    new = records.take((), [Checked(id, truth, by, now) for id, truth in said.items()])
    return Taken(version, len(said), new, len(given) - count, None)


def _is_id(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{32}", text) is not None


# ---- a table of `vpt predict` -------------------------------------------------------------------------------------


def _by_row(rows: _Rows, version: Version, registry: PromptRegistry, records: AnswerRecords, by: str) -> Taken:
    card = read_artefact(registry.fetch(version.ref)).card
    classes, enough = _classes(card.class_names), threshold_of(card)
    _check_heads(rows, version, card.class_names)
    given: dict[str, Given] = {}
    said: dict[str, str] = {}
    now, open_rows = datetime.now(UTC), 0
    for row in rows:
        truth, drawn = _class(rows, TRUTH, row[TRUTH], classes), _yes(rows, row.get(DRAWN, ""))
        open_rows += not row[TRUTH]
        if not row["answer"] or not (truth or drawn):
            continue
        answer, probability = _class(rows, "answer", row["answer"], classes), _probability(rows, row["probability"])
        if not answer or probability is None or not _asks(rows, row, probability, enough, version):
            continue
        id = _id_of(version.digest, row["file"], answer, probability)
        asked = row["ask_a_person"]
        drawn = drawn or (id in given and given[id].drawn)
        about = (version.name, version.number, version.digest, answer, probability, asked, drawn)
        given[id] = Given(id, now, *about, source=TABLE)
        if truth and said.setdefault(id, truth) != truth:
            rows.bad(f"another row says {said[id]!r} of this image")
    rows.refuse_bad()
    new = records.take(list(given.values()), [Checked(id, truth, by, now) for id, truth in said.items()])
    return Taken(version, len(said), new, open_rows, sum(given[id].drawn for id in said))


def _check_heads(rows: _Rows, version: Version, class_names: tuple[str, ...]) -> None:
    heads = {name for name in rows.columns if re.match("'?p: ", name)}
    if heads and heads != {as_text(f"p: {name}").strip() for name in class_names}:
        raise UserError(
            f"{rows.file} has answers of a model with other classes than {version.ref}: name the version that "
            f"answered, such as {version.name}/{version.number}."
        )


def _yes(rows: _Rows, text: str) -> bool:
    if text.lower() not in ("yes", "no", ""):
        rows.bad(f"drawn is {text!r}, but must be yes, no or empty")
    return text.lower() == "yes"


def _probability(rows: _Rows, text: str) -> float | None:
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        found = math.nan
    if 0 <= found <= 1:
        return found
    rows.bad(f"probability is {text!r}, but must be from 0 to 1")
    return None


def _asks(rows: _Rows, row: dict[str, str], probability: float, enough: float | None, version: Version) -> bool:
    """Whether a row asks for a person where this version would; if not, another version has answered."""
    asked = row["ask_a_person"]
    if asked not in ASKED:
        rows.bad(f"ask_a_person is {asked!r}, but must be {', '.join(ASKED)}")
        return False
    close = enough is not None and abs(probability - enough) < _CLOSE
    wanted = "unknown" if enough is None else "no" if probability >= enough else "yes"
    if asked == wanted or close or row.get(PROBLEM):
        return True
    rows.bad(f"{version.ref} would not say {asked!r} of a person here: name the version that answered")
    return False


def _id_of(digest: str, file: str, answer: str, probability: float) -> str:
    """The same for the same row of a table; no name of a file can be read from it."""
    text = json.dumps([digest, file, answer, round(probability, _DIGITS)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
