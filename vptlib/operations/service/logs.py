"""The log of the service: a line of JSON for each request and each event, on stderr.

It has no image, no token, no query, and no text of a path: only the route that it matched, and names of tasks that are
there.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from vptlib.operations.service.access import TOKEN
from vptlib.redaction import redacted

LOGGER = logging.getLogger("vptlib.service")


class _AsJson(logging.Formatter):
    """A record as one line of JSON; passwords, and tokens of addresses and of this service, are taken out."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": redacted(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = redacted(self.formatException(record.exc_info))
        return TOKEN.sub("***", json.dumps(line, ensure_ascii=True, default=str))


def set_up(stream: TextIO | None = None) -> None:
    """Let the service write to a stream, by default stderr; with the warnings of the libraries that it stands on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_AsJson())
    everything = logging.getLogger()
    everything.handlers = [handler]
    everything.setLevel(logging.WARNING)
    LOGGER.setLevel(logging.INFO)


def note(event: str, level: int = logging.INFO, error: BaseException | None = None, **fields: object) -> None:
    """Write one line.

    Args:
        event: what happened, in a few words that are always the same.
        error: whose traceback belongs to it.
        fields: further values; None is left out.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    LOGGER.log(level, event, extra={"fields": given}, exc_info=error)
