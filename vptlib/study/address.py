"""Where the store of runs is: what `MLFLOW_TRACKING_URI` names, or an SQLite file in the store folder."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vptlib.errors import UserError
from vptlib.paths import store_folder
from vptlib.redaction import redacted

_SETTING = "MLFLOW_TRACKING_URI"
_WAY_OUT = f"correct it, or unset {_SETTING} to keep runs in a local file"


@dataclass(frozen=True)
class Address:
    """The address of a store.

    Attributes:
        uri: what MLflow gets. It holds no password, except where a database driver needs it there.
        file: the SQLite file, if it is one.
        login: user and password of a server, or None.
    """

    uri: str
    file: Path | None = None
    login: tuple[str, str] | None = None

    @property
    def shown(self) -> str:
        """The address as people may see it: without a password."""
        return str(self.file) if self.file else redacted(self.uri)

    @property
    def artefacts(self) -> Path | None:
        """The folder of artefacts next to an SQLite file."""
        return self.file.parent / "artifacts" if self.file else None


def store_address() -> Address:
    """The address of this process's store.

    Raises:
        UserError: `MLFLOW_TRACKING_URI` is no address, or the store folder is one that SQLite cannot name.
    """
    given = os.environ.get(_SETTING, "").strip()
    if not given:
        return _of_file(store_folder().absolute() / "mlflow.db")
    scheme, colon, rest = given.partition("://")
    if colon and scheme == "sqlite":
        return _of_sqlite(rest)
    return _of_server(given) if colon and scheme in ("http", "https") else Address(given)


def _of_sqlite(rest: str) -> Address:
    name = rest.removeprefix("/")
    if not name or name.startswith(":memory:"):
        raise UserError(f"{_SETTING} is sqlite://{rest}, which names no file, so no run would be kept: {_WAY_OUT}.")
    return _of_file(Path(name).absolute())


def _of_file(file: Path) -> Address:
    if "?" in str(file):
        raise UserError(
            f"the store of runs cannot be {file}, because SQLite's addresses take no question mark: rename the folder, "
            "or set VPTLIB_STORE to another one."
        )
    return Address(f"sqlite:///{file}", file)


def _of_server(given: str) -> Address:
    """The address without user and password, which MLflow takes apart from it."""
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or any(c.isspace() for c in given):
        raise UserError(
            f"{_SETTING} is {redacted(given)}, which is no address of a server: {_WAY_OUT} (a password's special "
            "characters are written with %, such as %2F for /)."
        )
    if parts.query or parts.fragment:
        raise UserError(
            f"{_SETTING} is {redacted(given)}, but an MLflow server takes nothing after ? or #: leave it out, and give "
            "a token in MLFLOW_TRACKING_TOKEN."
        )
    if not (parts.username and parts.password):  # a token alone goes with the address, as MLflow takes it
        return Address(given)
    at = f"[{host}]" if ":" in host else host
    bare = parts._replace(netloc=at if port is None else f"{at}:{port}").geturl()
    return Address(bare, None, (unquote(parts.username), unquote(parts.password)))
