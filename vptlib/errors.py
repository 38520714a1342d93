"""The one exception for mistakes that the user can fix. Its message names the cause and the fix."""

from vptlib.redaction import redacted
from vptlib.wording import printable


class UserError(ValueError):
    """Bad input, a missing file or no network: `vpt` shows the message as one sentence, without a traceback.

    No password and no token of an address stays in the message, and no half character that cannot be printed.
    """

    def __init__(self, *parts: object):
        super().__init__(*(redacted(printable(part)) if isinstance(part, str) else part for part in parts))

    def _render_traceback_(self) -> list[str]:
        """IPython calls this in a notebook, and shows these lines instead of a traceback."""
        return [f"Error: {self}"]
