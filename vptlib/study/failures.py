"""What went wrong with the store of runs, in one sentence with the way out."""

import re
from importlib.metadata import version

from vptlib.errors import UserError
from vptlib.study.address import Address

_ELSEWHERE = "set VPTLIB_STORE to another folder"

# What SQLite, MLflow or the system say about a local file → what the user reads. {file} and {folder} are filled in.
_OF_FILES = {
    r"database (table )?is locked|could not be acquired": (
        "the store of runs {file} is locked by another program: wait until that has ended, or stop it."
    ),
    r"disk is full|No space left|disk quota": (
        "the disk of the store of runs {folder} is full: free some space, or " + _ELSEWHERE + "; finished runs stay."
    ),
    r"readonly database|read-only|Permission denied|unable to open database|Operation not permitted": (
        "the store of runs {folder} cannot be written: allow writing there, or " + _ELSEWHERE + "."
    ),
    r"not a database|malformed|disk I/O error|encrypted|no such (table|column)|out of range|Incorrect number": (
        "the store of runs {file} is damaged, or no store of runs: `vpt store check` shows its state; put back a "
        "copy, or move it away to begin a new one."
    ),
}
# What comes and goes by itself: nobody listens, or the connection broke off.
_DOES_NOT_ANSWER = (
    r"Failed to resolve|NameResolution|getaddrinfo|Name or service|Connection refused|NewConnection|Connection aborted"
    r"|Connection reset|RemoteDisconnected|unreachable|could not connect|Can't connect|timed? ?out|No route|ProxyError"
    r"|connection failed|IncompleteRead|BadStatusLine|Broken pipe|EOF occurred|UNEXPECTED_EOF|ZeroReturn"
)
# The same of the database behind a server, whatever code the server gives with it.
_DATABASE_IS_GONE = (
    r"terminating connection|server closed the connection|SSL SYSCALL|database system is|connection is (?:closed|lost)"
    r"|consuming input failed|could not receive data|too many clients|connection slots|QueuePool limit"
)
_PASSING_CODES = (429, 500, 502, 503, 504)
_START_IT = "start it, or unset MLFLOW_TRACKING_URI to keep runs in a local file; finished runs are kept"


class NoAnswer(UserError):
    """A server or its database does not answer just now. It may come back, so what was asked may be asked again."""

    @property
    def fact(self) -> str:
        """What is the matter, without what to do about it."""
        return str(self).partition(": ")[0]


def explained(error: BaseException, address: Address) -> UserError:
    """The failure of a store in one sentence; `NoAnswer`, if it may pass."""
    text = " ".join(_messages(error))
    return UserError(_of_file(text, error, address)) if address.file else _of_server(text, error, address)


def newer_schema(where: str) -> str:
    """The sentence for a store that a newer MLflow has written."""
    return (
        f"the store of runs {where} was written by a newer MLflow than the {version('mlflow')} installed here: run "
        f"`pip install --upgrade mlflow`, or {_ELSEWHERE}."
    )


def deleted_experiment(where: str) -> str:
    """The sentence for a store whose experiment was deleted in MLflow."""
    return (
        f"the experiment 'vptlib' in {where} was deleted: run `mlflow experiments restore` to get its runs back, or "
        f"{_ELSEWHERE}."
    )


def _of_file(text: str, error: BaseException, address: Address) -> str:
    for pattern, sentence in _OF_FILES.items():
        if address.file and re.search(pattern, text, re.IGNORECASE):
            return sentence.format(file=address.file, folder=address.file.parent)
    if "t locate revision" in text:
        return newer_schema(address.shown)
    return _unforeseen(error, f"the store of runs {address.shown}")


def _of_server(text: str, error: BaseException, address: Address) -> UserError:
    where = f"the MLflow server {address.shown}"
    if re.search(_DATABASE_IS_GONE, text):
        return NoAnswer(f"{where} has lost its database: look at the server's log, then try again.")
    code = _status(text, error, address)
    if sentence := _that_stays(text, error, address, code):
        return UserError(sentence)
    if code in _PASSING_CODES:
        return NoAnswer(f"{where} fails or is overloaded (code {code}): look at the server's log, then try again.")
    if code is None and re.search(_DOES_NOT_ANSWER, text, re.IGNORECASE):
        return NoAnswer(f"{where} does not answer: {_START_IT}.")
    if "RESOURCE_DOES_NOT_EXIST" in text:
        return UserError(_unforeseen(error, where))
    if code in (200, 404) or "valid JSON" in text or "DecodeError" in text or re.search(r"<html|<!doctype", text, re.I):
        return UserError(f"{address.shown} answers, but is no MLflow server: correct MLFLOW_TRACKING_URI.")
    return UserError(_unforeseen(error, where))


def _that_stays(text: str, error: BaseException, address: Address, code: int | None) -> str:
    """The sentence for what stays wrong until somebody corrects it, or ""."""
    where = f"the MLflow server {address.shown}"
    if isinstance(error, ModuleNotFoundError):
        return f"{where} needs the Python package {error.name!r}: install it."
    if re.search(r"unsupported URI|load plugin|Could not parse|maintenance mode|no dialect", text, re.IGNORECASE):
        return (
            f"MLFLOW_TRACKING_URI is {address.shown}, which is no store that MLflow offers: give http://… of a server "
            "or sqlite:///FILE, or unset it to keep runs in a local file."
        )
    if "out-of-date database schema" in text:
        return f"{where} has an older schema: make a copy of it, then run `mlflow db upgrade` with its address."
    if "t locate revision" in text:
        return newer_schema(address.shown)
    if code == 403:
        return (
            f"{where} does not let us in (code 403): this account needs EDIT on the experiment 'vptlib' and MANAGE on "
            "'vptlib claims', or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD must name another one."
        )
    if code == 401:
        return (
            f"{where} does not let us in (code {code}): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN."
        )
    if re.search(r"certificate|SSL", text) and not re.search(r"EOF|ZeroReturn", text):
        return f"{where} cannot be trusted, because its certificate or its https fails: correct that, or the address."
    return ""


def _unforeseen(error: BaseException, where: str) -> str:
    first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return f"{where} failed ({first[:300]}): `vpt store check` shows its state; finished runs are kept."


def _status(text: str, error: BaseException, address: Address) -> int | None:
    """The HTTP status that a server gave."""
    found = re.search(r"error code (\d{3})|too many (\d{3}) error|(\d{3}) (?:Client|Server) Error", text)
    if found:
        return int(next(group for group in found.groups() if group))
    if type(error).__name__ != "RestException":
        return None
    if "error_code" in getattr(error, "json", {}):
        return getattr(error, "get_http_status_code", lambda: None)()
    return _asked_status(address)


def _asked_status(address: Address) -> int | None:
    """Ask once more: of an answer that is not its own, MLflow does not give the status."""
    import requests

    try:
        return requests.get(f"{address.uri}/api/2.0/mlflow", auth=address.login, timeout=5).status_code
    except requests.RequestException:
        return None


def _messages(error: BaseException | None) -> list[str]:
    """The texts of an error and of those that led to it."""
    found: list[str] = []
    while error is not None and len(found) < 8:
        found.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return found
