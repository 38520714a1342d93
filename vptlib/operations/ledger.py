"""The record of decisions about prompts in service: entries are only ever added, one chain for each prompt.

An alias of MLflow has no history, so the chain is the truth, and aliases only mirror it. Each entry holds the hash of
the entry before it. So an entry that was changed or removed later is found.

MLflow has no compare-and-swap, but it gives the versions of a model rising numbers, each once. So each entry is one
version of a registered model of its own, and its text is a tag that is written in the same transaction. Two writers may
both add an entry after the same one. The lower number has won; the other entry is void, and readers pass over it. Its
writer reads back, sees that, and decides again on the new state.
"""

import hashlib
import json
import random
import re
import secrets
import sqlite3
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vptlib.errors import UserError
from vptlib.statement import Statement, statement
from vptlib.study import database
from vptlib.study.connection import Store, open_store
from vptlib.study.failures import explained
from vptlib.wording import duration

REGISTERED, LIMITS_SET, PROMOTED, FORCED = "registered", "limits_set", "promoted", "forced"
REFUSED, ROLLED_BACK, RETIRED = "refused", "rolled_back", "retired"
KINDS = (REGISTERED, LIMITS_SET, PROMOTED, FORCED, REFUSED, ROLLED_BACK, RETIRED)
CHANGED, MISSING, FORKED, OUT_OF_ORDER = "changed", "missing", "forked", "out_of_order"
# How registered models of MLflow are marked as ours, and what they are.
MARK, PROMPT, LEDGER = "vptlib.kind", "prompt", "ledger"
SUFFIX = ".ledger"
_ENTRY, _HEAD = "vptlib.entry", "vptlib.head"
_SOURCE = "vptlib:/ledger"  # MLflow wants an address of each version
_PART = 60_000  # characters of an entry in one tag: MySQL takes 65,535 bytes, MLflow 100,000 characters
_PAGE, _MODELS = 10_000, 1000  # rows of one answer of a server; MLflow allows 200,000 and 1,000
ATTEMPTS = 100  # of one writer, before it is told that others are always faster
_MOMENT = timedelta(microseconds=1)
_NOTICED = 1.0  # seconds between two clocks that are worth a sentence
_NO_ENTRY = ""


@dataclass(frozen=True)
class Draft:
    """A decision before it has its place in the chain.

    Attributes:
        kind: one of `KINDS`.
        version: number of the version that it is about; None if it is about the prompt.
        by: who decided.
        reason: in the words of that person.
        gates: results of gates, as plain dictionaries.
        report: SHA-256 of the report's page.
        digest: SHA-256 of the file.
        about: what else belongs to this kind: of a version that is registered its facts, of limits the limits.
    """

    kind: str
    version: int | None
    by: str
    reason: str = ""
    gates: Sequence[dict] = ()
    report: str = ""
    digest: str = ""
    about: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One decision in the chain of a prompt.

    Attributes:
        number: 1, 2, … in the chain.
        name: of the prompt.
        at: when, in UTC, to the microsecond; always later than the entry before.
        behind: seconds by which the writer's clock was behind the entry before; 0 if it was not.
        mark: drawn at random, so that no two entries are equal.
        before: hash of the entry before; "" for the first.
        hash: SHA-256 of the canonical JSON of all else.

    The others are those of `Draft`.
    """

    number: int
    name: str
    kind: str
    version: int | None
    by: str
    at: datetime
    reason: str
    gates: list[dict]
    report: str
    digest: str
    about: dict
    behind: float
    mark: str
    before: str
    hash: str

    def plain(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self) | {"at": _written(self.at)}


@dataclass(frozen=True)
class Fault:
    """What is wrong with a chain.

    Attributes:
        kind: `CHANGED`, `MISSING`, `FORKED` (a later entry follows one that is void) or `OUT_OF_ORDER` (by time).
        number: of the first entry that is in doubt.
    """

    kind: str
    number: int

    def finding(self) -> Statement:
        """The sentence about it."""
        return statement("ledger_fault", kind=self.kind, number=self.number)


@dataclass(frozen=True)
class Chain:
    """The entries of a prompt that count, in order, and what is wrong with them.

    Attributes:
        end: number and hash that the next entry follows. That entry is gone if the last ones were removed.
    """

    entries: list[Entry] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    end: tuple[int, str] = (0, _NO_ENTRY)

    @property
    def head(self) -> Entry | None:
        return self.entries[-1] if self.entries else None


class Ledger:
    """The chains of the store of this process.

    All methods raise `UserError` if the store does not answer.
    """

    def chain(self, name: str) -> Chain:
        """The chain of a prompt; an empty one if there is no such prompt.

        The name may be in another case or Unicode form: names that differ only there have the same chain.
        """
        return dict(_chains(open_store(), model_of(name))).get(model_of(name), Chain())

    def chains(self) -> Iterator[tuple[str, Chain]]:
        """Each prompt that has an entry, with its chain. One after the other, so that 10,000 entries stay quick."""
        for _, chain in _chains(open_store(), None):
            if chain.entries:
                yield chain.entries[0].name, chain

    def entries(self, name: str) -> list[Entry]:
        """The entries of a prompt that count, the first one first."""
        return self.chain(name).entries

    def head(self, name: str) -> Entry | None:
        """The last entry of a prompt, or None."""
        return self.chain(name).head

    def verify(self, name: str) -> list[Fault]:
        """What is wrong with the chain of a prompt; nothing if each entry is as it was written, and in its place."""
        return self.chain(name).faults

    def append(self, name: str, decide: Callable[[Chain], Draft | None]) -> Entry | None:
        """Add an entry that was decided on the present state.

        Args:
            name: of the prompt.
            decide: makes the next entry from the chain as it is; None if there is nothing to do. It is called again
                if another writer was faster. What it raises is passed on, and nothing is added.

        Raises:
            UserError: the store does not answer; or others were faster again and again.
        """
        for _ in range(ATTEMPTS):
            chain = self.chain(name)
            draft = decide(chain)
            if draft is None:
                return None
            entry = _entry_of(draft, name, chain)
            self._write(entry)
            if _has(self.chain(name), entry):
                _note_head(entry)
                _tell_if_behind(entry)
                return entry
            time.sleep(random.uniform(0, 0.05))  # so that two writers do not stay in step
        raise UserError(f"others decide about {name!r} all the time, so this decision was not recorded: try again.")

    def _write(self, entry: Entry) -> None:
        """Add an entry as it is. Where an answer of the store was lost, the entry may be there all the same."""
        client, model = open_store().client, model_of(entry.name)
        if entry.number == 1:
            claim(model, LEDGER)
        try:
            client.create_model_version(model, _SOURCE, tags=_tags_of(entry), await_creation_for=0)
        except UserError as error:
            if not _was_overtaken(error) and not _has(self.chain(entry.name), entry):
                raise


@lru_cache(maxsize=10_000)
def folded(name: str) -> str:
    """The same text for names that differ only by case or Unicode form (NFKC)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def model_of(name: str) -> str:
    """The registered model of MLflow that has the chain of a prompt."""
    return folded(name) + SUFFIX


def claim(model: str, kind: str) -> None:
    """Make a registered model of MLflow, marked as ours; nothing is done if it is there.

    Args:
        model: its name.
        kind: `PROMPT` or `LEDGER`.

    Raises:
        UserError: the name is taken by a model that is not ours.
    """
    client, marked = open_store().client, None
    for create in (True, False):
        found = [one for one in client.search_registered_models(f"name = '{model}'") if one.name == model]
        if found:
            marked = found[0].tags.get(MARK)
            break
        if create:
            _create(client, model, kind)
    if marked != kind:
        raise UserError(f"the registry has a model {model!r} that is no {kind} of vptlib: take another name.")


def _create(client: Any, model: str, kind: str) -> None:
    try:
        client.create_registered_model(model, tags={MARK: kind})
    except UserError as error:
        if _code(error) != "RESOURCE_ALREADY_EXISTS":  # another process makes it just now
            raise


# ---- writing ----------------------------------------------------------------------------------------------------


def _entry_of(draft: Draft, name: str, chain: Chain) -> Entry:
    now, before = datetime.now(UTC), chain.head
    at = max(now, before.at + _MOMENT) if before else now
    parts = asdict(draft) | {
        "number": chain.end[0] + 1,
        "name": name,
        "at": _written(at),
        "behind": max(0.0, (before.at - now).total_seconds()) if before else 0.0,
        "mark": secrets.token_hex(8),
        "before": chain.end[1],
    }
    text = _canonical(parts)
    entry = _parsed(_hash(text), text)
    assert entry is not None  # it was written here
    return entry


def _tags_of(entry: Entry) -> dict[str, str]:
    """The text of an entry, its hash first, in tags of MLflow."""
    parts = {name: value for name, value in entry.plain().items() if name != "hash"}
    text = f"{entry.hash} {_canonical(parts)}"
    pieces = [text[start : start + _PART] for start in range(0, len(text), _PART)]
    return {f"{_ENTRY}.{k:03d}" if k else _ENTRY: piece for k, piece in enumerate(pieces)}


def _note_head(entry: Entry) -> None:
    """Keep the last entry's hash in another place too, so that a removal of the last ones is found."""
    open_store().client.set_registered_model_tag(model_of(entry.name), _HEAD, f"{entry.number} {entry.hash}")


def _canonical(parts: dict) -> str:
    """JSON in ASCII with sorted keys; a number that JSON does not have is null."""
    return json.dumps(_plain(parts), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):  # of numpy
        return _plain(value.tolist())
    if isinstance(value, float) and not isfinite(value):
        return None
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _was_overtaken(error: UserError) -> bool:
    """Whether MLflow gave up because others took the numbers that it tried."""
    return "Giving up after" in str(error.__cause__)


def _code(error: UserError) -> str:
    return getattr(error.__cause__, "error_code", "")


def _has(chain: Chain, entry: Entry) -> bool:
    return any(known.hash == entry.hash for known in chain.entries)


def _tell_if_behind(entry: Entry) -> None:
    if entry.behind >= _NOTICED:
        print(
            f"The clock of this machine is {duration(entry.behind)} behind the last entry of {entry.name!r}: the new "
            "one has the time right after that. Set the clocks of all machines.",
            file=sys.stderr,
        )


# ---- reading ----------------------------------------------------------------------------------------------------


def _chains(store: Store, model: str | None) -> Iterator[tuple[str, Chain]]:
    """Registered models with their chains: one of them, or all."""
    heads = _heads(store, model)  # before the rows: so it is never ahead of them
    for name, rows in groupby(_rows(store, model), key=lambda row: row[0]):
        yield name, _chain_of([text for *_, text in rows], name, heads.get(name, ""))


def _chain_of(texts: Iterable[str], model: str, noted: str) -> Chain:
    """The chain in the texts of a registered model, in the order in which they were added.

    Args:
        noted: number and hash of an entry that was the last one when that was noted.
    """
    entries, faults, void = [], [], set()
    known, ends = {_NO_ENTRY}, {_NO_ENTRY}  # hashes that count, and those that the next entry may follow
    for text in texts:
        stored, _, content = text.partition(" ")
        entry = _parsed(stored, content) if _hash(content) == stored else None
        last = entries[-1] if entries else None
        if entry is None or model_of(entry.name) != model:
            faults.append(Fault(CHANGED, last.number + 1 if last else 1))
            ends.add(stored)
        elif entry.before in void:
            faults.append(Fault(FORKED, last.number + 1 if last else 1))
            void.add(entry.hash)
        elif entry.before in known - ends:
            void.add(entry.hash)
        else:
            faults += _faults_at(entry, last, entry.before in ends)
            entries.append(entry)
            known.add(entry.hash)
            ends = {entry.hash}
    end = (entries[-1].number, entries[-1].hash) if entries else (0, _NO_ENTRY)
    if lost := _lost_end(noted, end, known):
        fault = Fault(MISSING, end[0] + 1) if lost[0] > end[0] else Fault(CHANGED, lost[0])
        faults.append(fault)
    return Chain(entries, _once(faults), lost or end)


def _once(faults: list[Fault]) -> list[Fault]:
    """Each fault once. An entry that was changed beyond recognition is not missing too."""
    changed = {fault.number for fault in faults if fault.kind == CHANGED}
    return list(dict.fromkeys(one for one in faults if one.kind != MISSING or one.number not in changed))


def _faults_at(entry: Entry, before: Entry | None, follows: bool) -> Iterator[Fault]:
    """What is wrong between an entry and the one before it that counts."""
    last = before.number if before else 0
    if not follows and entry.number > last + 1:
        yield Fault(MISSING, last + 1)
    elif not follows:
        yield Fault(CHANGED, max(1, entry.number - 1))
    if before and entry.at <= before.at:
        yield Fault(OUT_OF_ORDER, entry.number)


def _lost_end(noted: str, end: tuple[int, str], known: set[str]) -> tuple[int, str] | None:
    """Number and hash of the entry that was noted as the last one, if it is not there. Later ones may be there."""
    number, _, found_hash = noted.partition(" ")
    if not number.isdecimal() or found_hash in known or int(number) < end[0]:
        return None
    return int(number), found_hash


_FIELDS = {one.name for one in fields(Entry)}


def _parsed(found_hash: str, text: str) -> Entry | None:
    """The entry of a text; None if it is none."""
    try:
        parts = json.loads(text)
        parts |= {"hash": found_hash, "at": datetime.fromisoformat(parts["at"])}
        return Entry(**parts) if set(parts) == _FIELDS and parts["kind"] in KINDS else None
    except (ValueError, TypeError, KeyError):
        return None


def _rows(store: Store, model: str | None) -> Iterator[tuple[str, int, str]]:
    """Name of the registered model, number and text of each entry, in order."""
    pieces = sorted(_pieces_in(store.address.file, model) if store.address.file else _pieces_on(store, model))
    for (name, number), parts in groupby(pieces, key=lambda piece: piece[:2]):
        yield name, number, "".join(text for *_, text in parts)


def _pieces_in(file: Path, model: str | None) -> list[tuple[str, int, str, str]]:
    """From an SQLite file, which is read directly: MLflow takes seconds for 10,000 entries with their tags."""
    return _asked(
        file,
        "SELECT t.name, t.version, t.key, t.value FROM model_version_tags AS t JOIN model_versions AS v "
        "ON v.name = t.name AND v.version = t.version WHERE t.key >= ? AND t.key < ? "
        "AND v.current_stage != 'Deleted_Internal'" + ("" if model is None else " AND t.name = ?"),
        (_ENTRY, f"{_ENTRY}/", *([] if model is None else [model])),
    )


def _pieces_on(store: Store, model: str | None) -> Iterator[tuple[str, int, str, str]]:
    """From a server."""
    condition = f"tags.`{_ENTRY}` LIKE '%'" if model is None else f"name = '{model}'"
    for version in _all_pages(store.client.search_model_versions, condition, _PAGE):
        for key, text in version.tags.items():
            if re.fullmatch(rf"{re.escape(_ENTRY)}(\.\d+)?", key) and version.name == (model or version.name):
                yield version.name, int(version.version), key, text


def _heads(store: Store, model: str | None) -> dict[str, str]:
    """What was noted of the last entries, by the name of the registered model."""
    if store.address.file:
        own, names = ("", ()) if model is None else (" AND name = ?", (model,))
        query = f"SELECT name, value FROM registered_model_tags WHERE key = ?{own}"
        return dict(_asked(store.address.file, query, (_HEAD, *names)))
    condition = f"tags.`{MARK}` = '{LEDGER}'" if model is None else f"name = '{model}'"
    found = _all_pages(store.client.search_registered_models, condition, _MODELS)
    return {one.name: one.tags.get(_HEAD, "") for one in found}


def _all_pages(search: Callable, condition: str, size: int) -> Iterator[Any]:
    token = None
    while True:
        page = search(condition, max_results=size, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _asked(file: Path, query: str, values: Sequence) -> list[tuple]:
    """The rows of a query. The file is opened for writing, because what a killed writer left must be taken back."""
    try:
        name = f"file:{quote(str(file))}?mode=rw"
        with closing(sqlite3.connect(name, uri=True, timeout=database.SECONDS_TO_WAIT)) as opened:
            return opened.execute(query, values).fetchall()
    except (sqlite3.Error, OSError) as error:
        raise explained(error, open_store().address) from error
