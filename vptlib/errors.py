"""The one exception for mistakes that the user can mend. Its text names the culprit and the mend."""


class UserError(ValueError):
    """Bad input, missing file or unreachable network: shown as one sentence, without a traceback, by `vpt`."""
