"""The one exception for mistakes that the user can mend. Its text names the culprit and the mend."""


class UserError(ValueError):
    """Bad input, missing file or unreachable network: shown as one sentence, without a traceback, by `vpt`."""

    def _render_traceback_(self) -> list[str]:
        """In a notebook too: IPython shows these lines in place of a traceback."""
        return [f"Error: {self}"]
