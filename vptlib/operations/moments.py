"""Moments as people write them, in UTC; with the time zone that was taken, and whether the hour came twice."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vptlib.errors import UserError
from vptlib.statement import Statement, statement

ONCE, TWICE, SKIPPED = "once", "twice", "skipped"


@dataclass(frozen=True)
class Moment:
    """A moment.

    Attributes:
        at: in UTC.
        zone: that was taken, such as "Europe/Berlin", "UTC+02:00", or "CEST (UTC+02:00)" for the zone of this machine.
        given: whether the zone was given; else it is that of this machine.
        hour: `ONCE`; `TWICE` if clocks were set back over it, where the earlier one is taken; `SKIPPED` if clocks were
            set forward over it, where the time before the change is taken to go on.
    """

    at: datetime
    zone: str
    given: bool
    hour: str = ONCE

    def finding(self) -> Statement:
        """The sentence about how it was understood."""
        return statement("moment_taken", at=self.at.isoformat(), zone=self.zone, given=self.given, hour=self.hour)


def moment(when: datetime | str) -> Moment:
    """A moment from a datetime or from text.

    Args:
        when: text is ISO 8601, such as "2026-10-25T02:30", "2026-10-25 02:30+02:00" or "2026-10-25". It may end with
            the name of a zone: "2026-10-25 02:30 Europe/Berlin". Without a zone it is that of this machine.

    Raises:
        UserError: it is no moment, or there is no such zone.
    """
    local = _read(when) if isinstance(when, str) else when
    if not isinstance(local, datetime):
        raise UserError(f"when is {when!r}, but must be a date and a time, such as 2026-10-25T02:30+01:00.")
    try:
        hour = ONCE if local.fold else _hour(local)  # who sets `fold` has said which of the two is meant
        at = local.replace(tzinfo=UTC, fold=0) - _offset(local)
        return Moment(at, _zone_name(local), local.tzinfo is not None, hour)
    except (OverflowError, OSError, ValueError) as error:
        raise UserError(f"when is {when}, which is too far away: give a date of this century.") from error


def _read(text: str) -> datetime:
    body, _, zone = text.strip().rpartition(" ")
    named: tzinfo | None = None
    if body and not zone[:1].isdigit():
        named, text = _zone(zone), body
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UserError(f"{text!r} is no moment: write a date and a time, such as 2026-10-25T02:30+01:00.") from error
    if named and found.tzinfo:
        raise UserError(f"{text!r} has a time zone, and {zone} is another: leave one out.")
    return found.replace(tzinfo=named) if named else found


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UserError(f"there is no time zone {name!r}: give one such as Europe/Berlin, or +02:00.") from error


def _hour(local: datetime) -> str:
    """Whether the clocks of that zone show this time once, twice, or not at all."""
    first, second = _offset(local.replace(fold=0)), _offset(local.replace(fold=1))
    if first == second:
        return ONCE
    return TWICE if first > second else SKIPPED


def _offset(local: datetime) -> timedelta:
    offset = local.utcoffset() if local.tzinfo else local.astimezone().utcoffset()
    return offset or timedelta()


def _zone_name(local: datetime) -> str:
    if isinstance(local.tzinfo, ZoneInfo):
        return str(local.tzinfo)
    here = local if local.tzinfo else local.astimezone()
    offset = _written(_offset(local))
    name = here.tzname() or ""
    return offset if local.tzinfo or name.startswith("UTC") else f"{name} ({offset})"


def _written(offset: timedelta) -> str:
    """7200 s → "UTC+02:00"."""
    minutes = round(offset.total_seconds() / 60)
    return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
