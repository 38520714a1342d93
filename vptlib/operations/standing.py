"""What the entries of a prompt mean: its versions, what answers now, what answered before, and which limits hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vptlib.errors import UserError
from vptlib.operations.ledger import (
    FORCED,
    LIMITS_SET,
    PROMOTED,
    REGISTERED,
    RETIRED,
    ROLLED_BACK,
    Chain,
    Entry,
)

PRODUCTION, CANDIDATE, PREVIOUS = ROLES = ("production", "candidate", "previous")


@dataclass(frozen=True)
class Version:
    """A version of a prompt.

    Attributes:
        name: of the prompt.
        number: of the version; numbers rise, and some may be left out.
        digest: SHA-256 of the file.
        by: who registered it.
        at: when, in UTC.
        title: of the prompt's card.
        method: name in `vptlib.tuning.methods.METHODS`.
        backbone: its name in the card.
        task: its name in the card.
        bytes: size of the file.
        tags: what was given at registration: site, product, approver, …
        lineage: run id, run key, report, notebook, … from the card.
        limits: of the card, as they were written.
        tested_on: SHA-256 of what names the test images: the task's fingerprint and which of its images; "" if unknown.
        upload: the MLflow run that has the file, on a server; "" in a local store.
        retired: whether it may not be used any more.
        roles: those of `ROLES` that it has now.
    """

    name: str
    number: int
    digest: str
    by: str
    at: datetime
    title: str
    method: str
    backbone: str
    task: str
    bytes: int
    tags: dict[str, str] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    tested_on: str = ""
    upload: str = ""
    retired: bool = False
    roles: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        """The reference of this version: "cells/3"."""
        return f"{self.name}/{self.number}"


# What the entry of a registration holds about the version, besides its own fields.
_FACTS = ("title", "method", "backbone", "task", "bytes", "tags", "lineage", "limits", "tested_on", "upload")


@dataclass
class Standing:
    """What holds after some entries of a chain.

    Attributes:
        registered: the entry of each version, by its number.
        retired: numbers of versions.
        been: every version that was ever in production.
        line: versions that were put into production and not taken back, the present one last.
        serving: whether the last one of the line is in production.
        put_by: the entry that last changed what is in production.
        limits: that a version must keep, as they were written.
        two_people: whether who registers a version may not promote it.
        limits_by: the entry that set the limits.
    """

    registered: dict[int, Entry] = field(default_factory=dict)
    retired: set[int] = field(default_factory=set)
    been: set[int] = field(default_factory=set)
    line: list[int] = field(default_factory=list)
    serving: bool = False
    put_by: Entry | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    two_people: bool = False
    limits_by: Entry | None = None

    @property
    def production(self) -> int | None:
        return self.line[-1] if self.serving else None

    @property
    def previous(self) -> int | None:
        """What a roll-back would put into production."""
        before = self.line[:-1] if self.serving else self.line
        return before[-1] if before else None

    @property
    def candidate(self) -> int | None:
        """The newest version that may be used, if it was never in production."""
        usable = max(self.registered.keys() - self.retired, default=None)
        return None if usable in self.been else usable

    def roles(self) -> dict[str, int | None]:
        """Each of `ROLES` with its version."""
        return {PRODUCTION: self.production, CANDIDATE: self.candidate, PREVIOUS: self.previous}

    def version(self, number: int) -> Version:
        """The version of a number, with the roles that it has here.

        Raises:
            UserError: the entry that registered it is gone.
        """
        if number not in self.registered:
            raise UserError(
                f"the ledger's entry that registered version {number} was changed or removed: register its file again."
            )
        return _version_of(self.registered[number], self.retired, self.roles())

    def versions(self) -> list[Version]:
        roles = self.roles()
        return [_version_of(self.registered[number], self.retired, roles) for number in sorted(self.registered)]


def _version_of(entry: Entry, retired: set[int], holders: dict[str, int | None]) -> Version:
    assert entry.version is not None  # of a registration
    roles = tuple(role for role, holder in holders.items() if holder == entry.version)
    facts = {name: entry.about[name] for name in _FACTS if name in entry.about}
    about = {"by": entry.by, "at": entry.at, "retired": entry.version in retired, "roles": roles}
    return Version(name=entry.name, number=entry.version, digest=entry.digest, **facts, **about)


def standing(entries: Sequence[Entry]) -> Standing:
    """What holds after these entries."""
    found = Standing()
    for entry in entries:
        if entry.kind in _MEANING:
            _MEANING[entry.kind](found, entry)
    return found


def check_production(chain: Chain, found: Standing) -> None:
    """Refuse to say what is in production where an entry that may have changed it was changed or removed.

    Raises:
        UserError: the message has the way out.
    """
    name = chain.entries[0].name if chain.entries else ""
    first = found.put_by.number if found.put_by else 1
    if doubt := _doubts_from(chain, first):
        raise UserError(
            f"what is in production for {name!r} is in doubt, because entry {doubt} of its ledger was changed or "
            "removed: read its history, then promote a version, or roll back and name the version."
        )


def check_limits(chain: Chain, found: Standing) -> None:
    """Refuse to name the limits where an entry that may have set them was changed or removed.

    Raises:
        UserError: the message has the way out.
    """
    first = found.limits_by.number if found.limits_by else 1
    if doubt := _doubts_from(chain, first):
        raise UserError(
            f"the limits of {chain.entries[0].name!r} are in doubt, because entry {doubt} of its ledger was changed "
            "or removed: read its history, then set the limits again."
        )


def _doubts_from(chain: Chain, number: int) -> int | None:
    """The first entry in doubt that is not before this number."""
    return min((fault.number for fault in chain.faults if fault.number >= number), default=None)


# ---- what each kind of entry means ------------------------------------------------------------------------------


def _register(found: Standing, entry: Entry) -> None:
    assert entry.version is not None
    found.registered[entry.version] = entry
    if found.limits_by is None:  # those of the first card hold until others are set
        found.limits, found.limits_by = dict(entry.about.get("limits") or {}), entry


def _set_limits(found: Standing, entry: Entry) -> None:
    found.limits, found.two_people = entry.about["limits"], entry.about["two_people"]
    found.limits_by = entry


def _promote(found: Standing, entry: Entry) -> None:
    assert entry.version is not None
    if found.line[-1:] != [entry.version]:
        found.line.append(entry.version)
    found.been.add(entry.version)
    found.serving, found.put_by = True, entry


def _roll_back(found: Standing, entry: Entry) -> None:
    """Back along the line: a second roll-back goes further back, not to what was just taken away."""
    assert entry.version is not None
    if entry.version in found.line:
        while found.line[-1] != entry.version:
            found.line.pop()
    else:
        found.line.append(entry.version)
    found.serving, found.put_by = True, entry


def _retire(found: Standing, entry: Entry) -> None:
    assert entry.version is not None
    was_serving = found.production == entry.version
    found.retired.add(entry.version)
    left = [number for number in found.line if number != entry.version]
    found.line = [number for k, number in enumerate(left) if k == 0 or left[k - 1] != number]
    if was_serving:
        found.serving, found.put_by = False, entry


_MEANING = {
    REGISTERED: _register,
    LIMITS_SET: _set_limits,
    PROMOTED: _promote,
    FORCED: _promote,
    ROLLED_BACK: _roll_back,
    RETIRED: _retire,
}
