"""The one exception for mistakes that the user can fix. Its message names the cause and the fix."""


class UserError(ValueError):
    """Bad input, a missing file or no network: `vpt` shows the message as one sentence, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """IPython calls this in a notebook, and shows these lines instead of a traceback."""
        return [f"Error: {self}"]
