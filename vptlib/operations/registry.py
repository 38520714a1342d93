"""Versions of a prompt by name: registered, promoted, rolled back; and what answered at any moment.

It stands on the model registry of MLflow, in the store of runs: a prompt is a registered model, and a version of it is
a model version. What was decided is in the ledger (`vptlib.operations.ledger`), and only that is believed. The tags and
aliases of MLflow mirror it for MLflow's own pages, and are put right where a killed process has left them behind.
"""

import hashlib
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from vptlib.errors import UserError
from vptlib.evidence.limits import check_classes, read_limits
from vptlib.operations.artefact import Artefact, Card, read_artefact
from vptlib.operations.deposit import deposit, withdraw
from vptlib.operations.difference import Diff, difference
from vptlib.operations.ledger import (
    FORCED,
    LIMITS_SET,
    PROMOTED,
    PROMPT,
    REFUSED,
    REGISTERED,
    RETIRED,
    ROLLED_BACK,
    SUFFIX,
    Chain,
    Draft,
    Entry,
    Fault,
    Ledger,
    claim,
    folded,
)
from vptlib.operations.moments import Moment, moment
from vptlib.operations.standing import (
    PRODUCTION,
    ROLES,
    Standing,
    Version,
    check_limits,
    check_production,
    standing,
)
from vptlib.study.connection import mlflow_client
from vptlib.wording import did_you_mean, listed, many, printable

MOST_CHARACTERS = 100  # of a name; MLflow takes 256, and a name may grow when its Unicode form is changed
_MOST_TEXT = 2000  # characters of a reason, a tag or the name of a person
_ATTEMPTS = 5  # to set aliases while others set them, too
_SHA256 = "sha256"  # tag of a version in MLflow
_LINEAGE = ("run_id", "run_key", "report", "notebook", "vptlib", "trained")
# What a name may not have: what leads to other folders, what references and MLflow's filters use, and what is not seen.
_NOT_IN_NAMES = frozenset("/\\:@'\"`;*?<>|%")
_UNSEEN = ("C", "Z")  # Unicode categories: control, format, private, and spaces but " "
_QUOTED = re.compile(r"[\w.\-]{1,64}")


class Gate(Protocol):
    """The result of one gate."""

    @property
    def passed(self) -> bool: ...

    def plain(self) -> dict[str, Any]: ...


Gates = Callable[[Artefact, Artefact | None, Mapping[str, Any]], Sequence[Gate]]


class Refused(UserError):
    """A version was not promoted.

    Attributes:
        entry: of the ledger, with the results of the gates.
    """

    def __init__(self, message: str, entry: Entry):
        super().__init__(message)
        self.entry = entry


@dataclass(frozen=True)
class Answering:
    """What answered at a moment.

    Attributes:
        version: with the roles that it had then; None if nothing was in production.
        entry: that put it there, or took the one before away; None if there was none yet.
        moment: how the given time was understood.
    """

    version: Version | None
    entry: Entry | None
    moment: Moment


class PromptRegistry:
    """The prompts in the store of this process (`MLFLOW_TRACKING_URI`, `VPTLIB_STORE`).

    A reference names a version: `cells/3`, or by its role `cells@production`, `cells@candidate`, `cells@previous`.
    `cells` alone is the one in production.

    Every method raises `UserError` if the store does not answer, or there is no such prompt.
    """

    def __init__(self):
        self._ledger = Ledger()

    # ---- registering and finding --------------------------------------------------------------------------------

    def register(self, path: Path | str, name: str, by: str, tags: Mapping[str, str] | None = None) -> Version:
        """Keep a file as a new version. A file that the prompt has already is the same version again.

        Args:
            path: a `.vpt` file; it is read whole, and copied.
            name: of the prompt; a new one is made.
            by: who registers it.
            tags: text by name, such as site, product, approver.

        Raises:
            UserError: the file is damaged; or the name cannot be, or differs from another only by case or Unicode
                form.
        """
        name, by, tags = _checked_name(name), _checked_text("by", by), _checked_tags(tags or {})
        chain = self._ledger.chain(name)
        _check_spelling(chain, name)
        artefact = read_artefact(path)
        read_limits(artefact.card.limits)
        upload = deposit(Path(path), artefact.digest)
        if (known := _number_of(chain, artefact.digest)) is None:
            about = _facts(artefact, tags, upload)
            number = _new_number(name, artefact.digest, about, chain)
            report = about["lineage"].get("report", "")
            draft = Draft(REGISTERED, number, by, report=report, digest=artefact.digest, about=about)
            self._ledger.append(name, lambda now: _unless_there(now, name, draft))
            chain = self._ledger.chain(name)
            known = _number_of(chain, artefact.digest)
            assert known is not None  # by this process or by another one
        else:
            _tell(f"This file is {name}/{known} already: nothing new was registered.")
        return standing(self._mirrored(name).entries).version(known)

    def versions(self, name: str | None = None) -> list[Version]:
        """All versions of a prompt, or of all prompts, by name and number."""
        if name is not None:
            return standing(self._known(name).entries).versions()
        found = [version for _, chain in self._ledger.chains() for version in standing(chain.entries).versions()]
        return sorted(found, key=lambda version: (version.name, version.number))

    def search(
        self,
        text: str = "",
        tags: Mapping[str, str] | None = None,
        method: str = "",
        backbone: str = "",
        task: str = "",
        by: str = "",
    ) -> list[Version]:
        """The versions that fit all that is given, by name and number.

        Args:
            text: a part of the name, the title, the method, the backbone, the task, a tag or the digest's beginning;
                in any case and Unicode form.
            tags: values by name, all of them.
            method, backbone, task, by: as a version has them.
        """
        exact = {"method": method, "backbone": backbone, "task": task, "by": by}
        wanted = {name: value for name, value in exact.items() if value}
        return [
            version
            for version in self.versions()
            if all(getattr(version, field) == value for field, value in wanted.items())
            and all(version.tags.get(key) == value for key, value in (tags or {}).items())
            and (not text or _has_text(version, folded(text)))
        ]

    def version(self, ref: str) -> Version:
        """The version of a reference.

        Raises:
            UserError: there is none, or what is in production is in doubt because the ledger was changed.
        """
        name, part = _split(ref)
        chain = self._known(name)
        return standing(chain.entries).version(_number_for(chain, part))

    def fetch(self, ref: str) -> Path:
        """The file of a version. Its SHA-256 is checked at every call; from a server it is fetched once.

        Raises:
            UserError: the file is gone, damaged or another one; the message has the way out.
        """
        return withdraw(self.version(ref))

    def production(self, name: str) -> Path:
        """The file that is in production, whole. MLflow's aliases are put right if they are behind.

        After a roll-back they are left to `roll_back`, which sees by them whether it was cut off.
        """
        chain = self._known(name)
        path = withdraw(standing(chain.entries).version(_number_for(chain, PRODUCTION)))
        if chain.entries[-1].kind != ROLLED_BACK:
            with suppress(UserError):  # whoever may only read gets the file all the same
                _set_aliases(chain)
        return path

    def diff(self, first: str, second: str) -> Diff:
        """What is another in the second of two versions, given by references: cards, rates, answers."""
        versions = self.version(first), self.version(second)
        a, b = [(version, read_artefact(withdraw(version))) for version in versions]
        return difference(a, b)

    def tested_on_the_same_images(self, name: str, version: int) -> int:
        """How many other files, of this prompt and of others, were tested on the test images of a version.

        Each look at the same images makes it more probable that one is good there by luck.
        """
        own = self.version(f"{name}/{version}")
        others = {one.digest for one in self.versions() if one.tested_on == own.tested_on != ""}
        return len(others - {own.digest})

    # ---- deciding -----------------------------------------------------------------------------------------------

    def set_limits(
        self, name: str, limits: Mapping[str, Any], by: str, two_people: bool | None = None, reason: str = ""
    ) -> Entry:
        """Set what a version must keep to be promoted. Until then it is what the first registered card says.

        Args:
            limits: as in the YAML file of a report.
            two_people: whether who registers a version may not promote it; None leaves it as it is (at first False).

        Raises:
            UserError: limits that cannot be, or of a class that the newest version does not have.
        """
        by, reason = _checked_text("by", by), _checked_text("reason", reason, may_be_empty=True)
        self._check_limits(name, limits)

        def decide(chain: Chain) -> Draft:
            both = standing(chain.entries).two_people if two_people is None else two_people
            return Draft(LIMITS_SET, None, by, reason, about={"limits": dict(limits), "two_people": both})

        return self._decided(name, decide)

    def limits(self, name: str) -> dict[str, Any]:
        """The limits that hold now, as they were written."""
        chain = self._known(name)
        found = standing(chain.entries)
        check_limits(chain, found)
        return found.limits

    def promote(
        self, name: str, version: int, by: str, *, gates: Gates, force: bool = False, reason: str = ""
    ) -> Entry:
        """Put a version into production if all gates pass. A refusal is recorded too.

        Args:
            gates: called with the file to promote, the file in production or None, and the limits. Each result has
                `passed` and `plain()`.
            force: put it into production although gates fail. Needs a reason; the entry is marked `forced`.

        Returns:
            The entry; if the version is in production already, the one that put it there.

        Raises:
            Refused: a gate fails, or two people are needed and `by` registered this version.
            UserError: there is no such version, it is retired, or a file is damaged.
        """
        by, reason = _checked_text("by", by), _checked_text("reason", reason, may_be_empty=not force)
        chain = self._known(name)
        present = standing(chain.entries)
        if present.production == version and present.put_by and not chain.faults:
            _tell(f"{name}/{version} is in production already.")
            self._mirrored(name)
            return present.put_by
        entry = self._decided(name, lambda now: _promotion(now, version, by, gates, force, reason))
        if entry.kind == REFUSED:
            raise Refused(_why_refused(entry), entry)
        return entry

    def roll_back(self, name: str, by: str, reason: str, to: int | None = None) -> Entry:
        """Put back what was in production before. A second call goes further back.

        A call that was cut off after it was recorded is completed by the same call, and does not go further back.

        Args:
            to: a version that was in production at any time.

        Raises:
            UserError: nothing was in production before; or the file of that version is damaged.
        """
        by, reason = _checked_text("by", by), _checked_text("reason", reason)
        chain = self._known(name)
        if to is None and (cut_off := _cut_off(chain, by, reason)):
            _tell(f"The same roll-back of {name} was recorded before, and was cut off: it is completed.")
            self._mirrored(name)
            return cut_off
        return self._decided(name, lambda now: _roll_back(now, by, reason, to))

    def retire(self, name: str, version: int, by: str, reason: str) -> Entry:
        """Let a version never be promoted again. If it is in production, nothing is in production then.

        Raises:
            UserError: there is no such version, or it is retired.
        """
        by, reason = _checked_text("by", by), _checked_text("reason", reason)
        return self._decided(name, lambda now: Draft(RETIRED, _usable(now, version).number, by, reason))

    # ---- looking back -------------------------------------------------------------------------------------------

    def history(self, name: str) -> list[Entry]:
        """All decisions about a prompt, the first one first."""
        return self._known(name).entries

    def verify(self, name: str) -> list[Fault]:
        """What is wrong with the record of decisions; nothing if no entry was changed or removed."""
        self._known(name)
        return self._ledger.verify(name)

    def as_of(self, name: str, when: datetime | str) -> Answering:
        """What answered at a moment.

        Args:
            when: as `vptlib.operations.moments.moment` takes it. Without a time zone it is that of this machine; the
                answer says which.

        Raises:
            UserError: the moment is still to come; or an entry that may matter was changed or removed.
        """
        chain, taken = self._known(name), moment(when)
        last = chain.entries[-1].at
        if taken.at > max(datetime.now(UTC), last):
            raise UserError(f"{when} ({taken.zone}) is still to come, and nobody knows what will answer then.")
        past = _until(chain, taken.at)
        found = standing(past.entries)
        if past.entries:
            check_production(past, found)
        version = None if found.production is None else found.version(found.production)
        return Answering(version, found.put_by, taken)

    # ---- helpers ------------------------------------------------------------------------------------------------

    def _known(self, name: str) -> Chain:
        """The chain of a prompt that there is."""
        chain = self._ledger.chain(_checked_name(name))
        if not chain.entries and not chain.faults:
            known = [found for found, _ in self._ledger.chains()]
            names = f"there are {listed(sorted(known)[:10])}." if known else "`vpt prompts register` makes one."
            raise UserError(f"there is no prompt {name!r}: {did_you_mean(name, known, names)}")
        if not chain.entries:
            raise UserError(
                f"every entry of the ledger of {name!r} was changed or removed: put back a copy of the store."
            )
        if _composed(chain.entries[0].name) != _composed(name):
            raise UserError(f"there is no prompt {name!r}: did you mean {chain.entries[0].name!r}?")
        return chain

    def _decided(self, name: str, decide: Callable[[Chain], Draft]) -> Entry:
        """Record a decision about a prompt that there is, then bring MLflow's aliases in line."""
        name = self._known(name).entries[0].name
        entry = self._ledger.append(name, decide)
        assert entry is not None  # these decisions always make an entry
        self._mirrored(name)
        return entry

    def _mirrored(self, name: str) -> Chain:
        """The chain of a prompt, after MLflow's aliases were brought in line with it.

        Others may do the same just now. Who sets an alias looks at the ledger again, so the last one sets the right
        one. What was decided holds, also if the aliases cannot be set.
        """
        failure = None
        for _ in range(_ATTEMPTS):
            chain = self._ledger.chain(name)
            try:
                _set_aliases(chain)
            except UserError as error:
                failure = error
                continue
            if self._ledger.head(name) == chain.head:
                return chain
        _tell(
            f"The decision is recorded, but MLflow's aliases of {name!r} do not follow yet ({failure or 'too busy'})."
        )
        return self._ledger.chain(name)

    def _check_limits(self, name: str, limits: Mapping[str, Any]) -> None:
        if not isinstance(limits, Mapping):
            raise UserError(f"limits is {limits!r}, but must be a mapping, such as {{accuracy: {{at_least: 0.9}}}}.")
        read = read_limits(limits)
        found = standing(self._known(name).entries)
        usable = found.registered.keys() - found.retired
        if read and usable:
            check_classes(read, read_artefact(withdraw(found.version(max(usable)))).card.class_names)


# ---- names and texts --------------------------------------------------------------------------------------------


def _checked_name(name: str) -> str:
    """A name that can be used everywhere, as it is."""
    if not isinstance(name, str) or not name.strip():
        raise UserError("the name of a prompt is empty: give one, such as cells.")
    if len(name) > MOST_CHARACTERS or len(folded(name)) > 2 * MOST_CHARACTERS:
        raise UserError(f"the name {name[:40]!r}… has {len(name)} characters: take {MOST_CHARACTERS} at most.")
    bad = next((c for c in name if c in _NOT_IN_NAMES or (c != " " and unicodedata.category(c)[0] in _UNSEEN)), None)
    if bad is not None:
        raise UserError(f"the name {name!r} has {bad!r}, which a prompt's name cannot have: leave it out.")
    if name != name.strip() or name[0] in ".-" or name.endswith("."):
        raise UserError(f"the name {name!r} begins or ends with a space, a dot or a hyphen: leave that out.")
    if any(c in folded(name) for c in _NOT_IN_NAMES) or folded(name).endswith(SUFFIX):
        raise UserError(f"the name {name!r} cannot be told from one that is not allowed: take another.")
    return name


def _checked_text(what: str, text: str, may_be_empty: bool = False) -> str:
    if not isinstance(text, str) or not (text.strip() or may_be_empty):
        raise UserError(f"{what} is empty: say {'who decides' if what == 'by' else 'why, for those who ask later'}.")
    if len(text) > _MOST_TEXT:
        raise UserError(f"{what} has {len(text):,} characters: take {_MOST_TEXT:,} at most.")
    return printable(text.strip())


def _checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    for key, value in tags.items():
        if not isinstance(key, str) or not _QUOTED.fullmatch(key):
            raise UserError(f"a tag is named {key!r}: take letters, digits, dots, hyphens and _, 64 at most.")
        if not isinstance(value, str):
            raise UserError(f"the tag {key} is {value!r}, but must be text: put it in quotes.")
    return {key: _checked_text(f"the tag {key}", value, may_be_empty=True) for key, value in tags.items()}


def _check_spelling(chain: Chain, name: str) -> None:
    if chain.entries and chain.entries[0].name != name:
        raise UserError(
            f"the name {name!r} differs from {chain.entries[0].name!r} only by case or Unicode form: take that, or "
            "one that nobody confuses with it."
        )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _split(ref: str) -> tuple[str, int | str]:
    """The name in a reference, and the number or the role."""
    name, slash, number = ref.rpartition("/")
    if slash:
        if not (number.isascii() and number.isdecimal()):
            raise UserError(f"{ref!r} is no reference: write NAME/3, NAME@production or NAME.")
        return name, int(number[:9])
    name, at, role = ref.rpartition("@")
    if not at:
        return ref, PRODUCTION
    if role not in ROLES:
        hint = did_you_mean(role, ROLES, f"there are {listed(ROLES)}.", least=0.5)
        raise UserError(f"{ref!r} has no role {role!r}: {hint}")
    return name, role


def _has_text(version: Version, text: str) -> bool:
    shown = (version.name, version.title, version.method, version.backbone, version.task, *version.tags.values())
    return version.digest.startswith(text) or any(text in folded(part) for part in shown)


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


# ---- versions ---------------------------------------------------------------------------------------------------


def _number_for(chain: Chain, part: int | str) -> int:
    """The version of a number or a role."""
    found, name = standing(chain.entries), chain.entries[0].name
    if isinstance(part, int):
        if part not in found.registered:
            few = ", ".join(map(str, sorted(found.registered)[-10:])) or "none"
            raise UserError(f"{name} has no version {part}; the newest are {few}: take one of them.")
        return part
    check_production(chain, found)
    number = found.roles()[part]
    if number is None:
        raise UserError(f"nothing is {_SAID[part]} of {name!r}: {_WAYS_OUT[part]}.")
    return number


_SAID = {"production": "in production", "candidate": "a candidate", "previous": "the previous version"}
_WAYS_OUT = {
    "production": "promote a version",
    "candidate": "register one; the newest was in production already, or is retired",
    "previous": "only one version was in production so far",
}


def _usable(chain: Chain, number: int) -> Version:
    """A version that may be promoted or retired."""
    found = standing(chain.entries)
    if not isinstance(number, int) or isinstance(number, bool):
        raise UserError(f"version is {number!r}, but must be a number, such as 3.")
    version = found.version(_number_for(chain, number))
    if version.retired:
        raise UserError(f"{version.ref} is retired: take another version.")
    return version


def _number_of(chain: Chain, digest: str) -> int | None:
    """The version that has this file."""
    found = standing(chain.entries).registered.items()
    return next((number for number, entry in found if entry.digest == digest), None)


def _facts(artefact: Artefact, tags: dict[str, str], upload: str) -> dict[str, Any]:
    """What the ledger keeps of a version; nothing in the card is longer than it must be."""
    card = artefact.card
    lineage = {name: printable(str(card.lineage[name]))[:200] for name in _LINEAGE if card.lineage.get(name)}
    return {
        "title": printable(card.title),
        "method": card.method,
        "backbone": printable(card.backbone.name),
        "task": printable(str(card.data.get("task", "")))[:200],
        "bytes": artefact.path.stat().st_size,
        "tags": tags,
        "lineage": lineage,
        "limits": dict(card.limits),
        "tested_on": _test_images(card),
        "upload": upload,
    }


def _test_images(card: Card) -> str:
    """What is the same for two files exactly if they were tested on the same images; "" if the card has no task."""
    if not card.data.get("fingerprint"):
        return ""
    names = json.dumps([card.data["fingerprint"], card.data.get("test_images")], sort_keys=True)
    return hashlib.sha256(names.encode()).hexdigest()


def _unless_there(chain: Chain, name: str, draft: Draft) -> Draft | None:
    _check_spelling(chain, name)
    return None if _number_of(chain, draft.digest) is not None else draft


def _new_number(name: str, digest: str, about: dict[str, Any], chain: Chain) -> int:
    """A model version of MLflow for a file: one that a killed process made for the same file, or a new one."""
    client = mlflow_client()
    claim(name, PROMPT)
    taken = standing(chain.entries).registered
    condition = f"name = '{name}' and tags.`{_SHA256}` = '{digest}'"
    left = [int(found.version) for found in client.search_model_versions(condition) if found.name == name]
    if free := sorted(set(left) - set(taken)):
        return free[0]
    shown = {key: str(about[key]) for key in ("title", "method", "backbone", "task")} | about["lineage"]
    source = f"runs:/{about['upload']}/{digest}.vpt" if about["upload"] else f"vptlib:/prompts/{digest}.vpt"
    made = client.create_model_version(
        name,
        source,
        run_id=about["upload"] or None,
        tags={f"vptlib.{key}": value for key, value in shown.items()} | about["tags"] | {_SHA256: digest},
        await_creation_for=0,
    )
    return int(made.version)


def _set_aliases(chain: Chain) -> None:
    """Bring MLflow's aliases in line with the ledger; that of production last, because it shows that all is done."""
    name = chain.entries[0].name
    wanted, there = standing(chain.entries).roles(), _aliases(name)
    client = mlflow_client()
    for role in sorted(ROLES, key=lambda role: role == PRODUCTION):
        number = wanted[role]
        if number is None and role in there:
            client.delete_registered_model_alias(name, role)
        elif number is not None and there.get(role) != number:
            client.set_registered_model_alias(name, role, str(number))


def _aliases(name: str) -> dict[str, int]:
    found = mlflow_client().search_registered_models(f"name = '{name}'")
    return {alias: int(number) for model in found if model.name == name for alias, number in model.aliases.items()}


# ---- decisions --------------------------------------------------------------------------------------------------


def _promotion(chain: Chain, number: int, by: str, gates: Gates, force: bool, reason: str) -> Draft:
    """The entry for a promotion, on the state of `chain`."""
    found, version = standing(chain.entries), _usable(chain, number)
    check_limits(chain, found)
    about = {"limits": found.limits}
    if found.two_people and _same_person(by, version.by):
        return Draft(REFUSED, number, by, reason, digest=version.digest, about=about | {"two_people": True})
    artefact = read_artefact(withdraw(version))
    results = list(gates(artefact, _artefact_in_production(found), found.limits))
    passed = all(result.passed for result in results)
    kind = PROMOTED if passed else FORCED if force else REFUSED
    report = version.lineage.get("report", "")
    return Draft(kind, number, by, reason, [one.plain() for one in results], report, version.digest, about)


def _artefact_in_production(found: Standing) -> Artefact | None:
    return None if found.production is None else read_artefact(withdraw(found.version(found.production)))


def _same_person(one: str, other: str) -> bool:
    return "".join(folded(one).split()) == "".join(folded(other).split())


def _why_refused(entry: Entry) -> str:
    what = f"{entry.name}/{entry.version} was not promoted"
    if entry.about.get("two_people"):
        return f"{what}, because {entry.by} registered it, and two people are needed: let another person promote it."
    failed = [str(gate.get("kind", "")) for gate in entry.gates if not gate.get("passed")]
    kinds = listed(dict.fromkeys(filter(None, failed)))
    return (
        f"{what}, because {many(len(failed), 'gate')} of {len(entry.gates)} failed ({kinds}): its history says why; "
        "register a better version, or force it with a reason."
    )


def _roll_back(chain: Chain, by: str, reason: str, to: int | None) -> Draft:
    """The entry for a roll-back, on the state of `chain`. The file is whole, or it is refused."""
    found, name = standing(chain.entries), chain.entries[0].name
    if to is None:
        if chain.faults:
            raise UserError(f"the ledger of {name!r} was changed, so what was before is in doubt: name the version.")
        if found.previous is None:
            raise UserError(f"nothing was in production for {name!r} before: promote another version, or retire it.")
        to = found.previous
    version = _usable(chain, to)
    if to not in found.been:
        raise UserError(f"{version.ref} was never in production: promote it, so that its gates are tried.")
    if to == found.production and not chain.faults:
        raise UserError(f"{version.ref} is in production already: name another version.")
    withdraw(version)
    return Draft(ROLLED_BACK, to, by, reason, digest=version.digest, about={"from": found.production})


def _cut_off(chain: Chain, by: str, reason: str) -> Entry | None:
    """The last entry, if it is this very roll-back and MLflow's aliases do not follow it yet."""
    last = chain.entries[-1]
    if last.kind != ROLLED_BACK or (last.by, last.reason) != (by, reason):
        return None
    return None if _aliases(last.name).get(PRODUCTION) == last.version else last


def _until(chain: Chain, at: datetime) -> Chain:
    """The chain as it was at a moment. A fault after an entry that is later than that does not matter."""
    past = [entry for entry in chain.entries if entry.at <= at]
    later = min((entry.number for entry in chain.entries if entry.at > at), default=None)
    faults = [fault for fault in chain.faults if later is None or fault.number <= later]
    return Chain(past, faults)
