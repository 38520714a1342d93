"""How much the service takes from one client, and how long it waits for it."""

from dataclasses import dataclass

from vptlib.errors import UserError


@dataclass(frozen=True)
class Settings:
    """Limits of the service.

    Attributes:
        check_share: share of the answers that are drawn to be checked by a person, from 0 to 1.
        most_bytes: of one image, as it is sent.
        most_bytes_held: of all requests that are being read or answered.
        read_seconds: in which a request's body must be there.
        header_seconds: in which a request's headers must be there.
        answer_seconds: in which an answer must be there once its image is.
        asks_per_second: of one token, or of one address where no tokens are used, in the long run.
        asks_at_once: how many of them may come at once.
        most_connections: further ones are closed at once.

    Raises:
        UserError: a share that is none.
    """

    check_share: float = 0.05
    most_bytes: int = 32 * 2**20
    most_bytes_held: int = 512 * 2**20
    read_seconds: float = 30.0
    header_seconds: float = 10.0
    answer_seconds: float = 30.0
    asks_per_second: float = 200.0
    asks_at_once: int = 400
    most_connections: int = 500

    def __post_init__(self):
        if not 0 <= self.check_share <= 1:
            raise UserError(f"--check-share is {self.check_share:g}, but must be a share from 0 to 1, such as 0.05.")
