"""Settings in YAML, read strictly: a value is read as it was written, or refused with its line and the fix.

The values are those of YAML 1.2: only `true` and `false` are truth values, `1e-3` is a number, and dates, times and
`no` are text. What YAML 1.1 and YAML 1.2 read as different numbers (`050`, `1_000`, `0x1F`) is refused. Anchors,
aliases, merges and tags are refused too: settings need none, and text that begins with `*`, `&` or `!` needs quotes.
PyYAML finds the parts of a text; only what they mean is decided here.
"""

import codecs
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml import events
from yaml.reader import Reader

from vptlib.errors import UserError

# Settings are short. Longer, deeper or larger ones are a mistake or an attack.
MOST_CHARACTERS, DEEPEST, MOST_DIGITS, LONGEST_NAME = 200_000, 10, 18, 100
MOST_BYTES = 4 * MOST_CHARACTERS

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)")
# Numbers that readers of YAML disagree about.
_UNCLEAR = re.compile(r"[-+]?(0[0-9]+|0[xob][0-9a-fA-F_]+|[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?|[0-9]+_*\.[0-9]*_[0-9_]*)")
_MARKS = (  # how a byte order mark begins, and the encoding that it announces
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What PyYAML finds wrong → what to do about it; the first that fits.
_FIXES = (
    (r"found character '\\t'", "indent with spaces, not with tabs"),
    (r"but got '\?'", 'put text that holds a ? in quotes, such as tasks: ["folder:photos?skip=unreadable"]'),
    (r"but got|expected <document start>|expected the node", "close each bracket and quote, and put text in quotes"),
    (r"mapping values are not allowed", 'put text that holds a colon and a space in quotes, such as title: "A: b"'),
    (r"unknown escape character|escape sequence", "put text that holds a \\ in single quotes"),
    (r"that cannot start any token|expected alphabetic", "put text that begins with this character in quotes"),
    (r"end of stream|while scanning a quoted", "close each bracket and quote"),
)


@dataclass(frozen=True)
class Settings:
    """What a text sets.

    Attributes:
        values: plain values by name: None, truth values, numbers, text, lists and mappings with text for keys.
        lines: the line of each name, from 1.
    """

    values: dict[str, Any]
    lines: dict[str, int]


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 if a byte order mark says so.

    Raises:
        OSError: the file cannot be read.
        UserError: it is too large, or in another encoding.
    """
    with path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise UserError(f"{path} is larger than {MOST_BYTES:,} bytes, too large for settings: name another file.")
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} cannot be read (it is not text in UTF-8, from line {line} on; perhaps it is in the encoding of "
            "another system, such as cp932 or cp1252): save the file as UTF-8."
        ) from error


def read_settings(text: str, source: str) -> Settings | None:
    """The settings in a text of `name: value` lines, or None if it holds something else than a mapping.

    Args:
        text: YAML or JSON.
        source: the file or the option that holds it, for messages.

    Raises:
        UserError: it is no YAML, holds more than settings need, or a value that could be read in two ways. The message
            has `source`, the line and the fix.
    """
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"{source} has more than {MOST_CHARACTERS:,} characters, too many for settings: shorten it.")
    return _Reader(text, source).settings()


class _Reader:
    """The events of one text, and what they mean."""

    def __init__(self, text: str, source: str):
        self._source = source
        self._events = self._parsed(text)

    def settings(self) -> Settings | None:
        first = self._next(events.StreamStartEvent, events.DocumentStartEvent)
        if not isinstance(first, events.MappingStartEvent):
            return None
        values, lines = self._mapping(first, 1)
        self._end()
        return Settings(values, lines)

    def _parsed(self, text: str) -> Iterator[yaml.Event]:
        """The events, with PyYAML's exceptions as sentences."""
        if strange := Reader.NON_PRINTABLE.search(text):
            line = text.count("\n", 0, strange.start()) + 1
            raise self._error(line, f"U+{ord(strange[0]):04X} is no character of a text: delete it.")
        try:
            yield from yaml.parse(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark, what = error.problem_mark or error.context_mark, " ".join(str(error.problem).split())
            found = f"{error.context or ''} {what}"
            fix = next((fix for pattern, fix in _FIXES if re.search(pattern, found)), "fix that line")
            raise self._error(mark.line + 1 if mark else None, f"this is not YAML ({what}): {fix}.") from error
        except UserError:
            raise
        except Exception as error:  # PyYAML lets ValueError and OverflowError of escapes such as "\UFFFFFFFF" through
            raise self._error(None, "this is not YAML (an escape or a number that does not exist): fix it.") from error

    def _error(self, line: int | None, sentence: str) -> UserError:
        where = self._source if line is None else f"{self._source}, line {line}"
        return UserError(f"{where}: {sentence}")

    def _wrong(self, event: yaml.Event, sentence: str) -> UserError:
        return self._error(_line(event), sentence)

    def _next(self, *passed: type) -> yaml.Event:
        """The next event that is of none of the kinds `passed`."""
        event = next(self._events)
        while isinstance(event, passed):
            event = next(self._events)
        return event

    def _end(self) -> None:
        event = self._next(events.DocumentEndEvent)
        if not isinstance(event, events.StreamEndEvent):
            raise self._wrong(event, "a second document begins here: settings are one document, so delete this `---`.")

    # ---- values -----------------------------------------------------------------------------------------------

    def _value(self, event: Any, depth: int) -> Any:
        """The value that begins with `event`; its further events are used up."""
        self._check_plain(event)
        if depth > DEEPEST:
            raise self._wrong(event, f"lists and mappings are more than {DEEPEST} deep here: no setting is.")
        if isinstance(event, events.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, events.MappingStartEvent):
            return self._mapping(event, depth)[0]
        return self._list(depth)

    def _check_plain(self, event: Any) -> None:
        """Refuse anchors, aliases and tags."""
        if isinstance(event, events.AliasEvent) or event.anchor is not None:
            sign = "*" if isinstance(event, events.AliasEvent) else "&"
            raise self._wrong(
                event,
                f"`{sign}{short(event.anchor)}` refers to another part of the file, which settings do not use: write "
                f"the value out, or put text that begins with {sign} in quotes.",
            )
        if event.tag is not None:
            raise self._wrong(
                event,
                f"`{short(event.tag)}` is a type of YAML, which settings do not use: leave it out, or put text that "
                "begins with ! in quotes.",
            )

    def _list(self, depth: int) -> list:
        values = []
        while not isinstance(event := self._next(), events.SequenceEndEvent):
            values.append(self._value(event, depth + 1))
        return values

    def _mapping(self, event: Any, depth: int) -> tuple[dict[str, Any], dict[str, int]]:
        """The values and the lines of the names."""
        self._check_plain(event)
        values, lines = {}, {}
        while not isinstance(event := self._next(), events.MappingEndEvent):
            name, line = self._name(event), _line(event)
            if name in values:
                raise self._wrong(
                    event, f"`{short(name)}` is there already on line {lines[name]}: delete one of the two."
                )
            values[name] = self._value(self._next(), depth + 1)
            lines[name] = line
        return values, lines

    def _name(self, event: Any) -> str:
        if not isinstance(event, events.ScalarEvent):
            raise self._wrong(event, "this is not YAML of `name: value` lines: the name must be text, so fix it.")
        self._check_plain(event)
        if event.style is None and event.value == "<<":
            raise self._wrong(event, "`<<` takes over another part of the file: write the settings out here instead.")
        if event.style is None and event.value in _NULL:
            raise self._wrong(event, "there is no name before the colon: write `name: value`.")
        if len(event.value) > LONGEST_NAME:
            raise self._wrong(event, f"a name is longer than {LONGEST_NAME} characters: no setting has such a one.")
        return self._whole_text(event)

    def _scalar(self, event: events.ScalarEvent) -> bool | int | float | str | None:
        text = event.value
        if event.style is not None:
            return self._whole_text(event)
        if text in _NULL:
            return None
        if text in _TRUTH:
            return _TRUTH[text]
        if _UNCLEAR.fullmatch(text):
            raise self._wrong(
                event,
                f"`{short(text)}` can be read as several numbers: write a number in decimal digits alone, with no 0 "
                f'in front, or put a name in quotes: "{short(text)}".',
            )
        if _WHOLE.fullmatch(text):
            if len(text.lstrip("+-")) > MOST_DIGITS:
                raise self._wrong(event, f"`{short(text)}` is a number of more than {MOST_DIGITS} digits: shorten it.")
            return int(text)
        if _NOT_FINITE.fullmatch(text):
            return float(text.replace(".", ""))
        if _DECIMAL.fullmatch(text):
            if math.isinf(number := float(text)):
                raise self._wrong(event, f"`{short(text)}` is too large for a number: write a smaller one.")
            return number
        return self._whole_text(event)

    def _whole_text(self, event: events.ScalarEvent) -> str:
        """The text of a value or a name; JSON writes a character beyond U+FFFF as two halves, which are joined."""
        try:
            text = event.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise self._wrong(event, "this text holds half a character (a surrogate): write the whole one.") from error
        if "\0" in text:
            raise self._wrong(event, "this text holds the character U+0000, which no name can have: delete it.")
        return text


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1


def short(text: str) -> str:
    """The beginning of a text as one line, for a message."""
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:39]}…"
