"""Passwords and tokens are taken out of every text that may leave: terminal, notebook, page, summary, tag, error, log.

Found are those of this process's environment wherever they stand, and others by where they stand: in an address, after
a name such as `password=`, in a header of HTTP, or in a form that only secrets have. "3 tokens", "cls_token=0.1" and
other words of this library stay.
"""

import logging
import os
import re
from base64 import b64encode
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote

# Addresses that may hold a password in any spelling; other settings are read as addresses if they are spelt right.
_ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_OURS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
# Settings that are a secret, by their name: PGPASSWORD, MYSQL_PWD, HF_TOKEN, AWS_SECRET_ACCESS_KEY, ...
_SECRET = re.compile(
    r"(?:PASSWORD|PASSWD|PASSPHRASE|_PWD|TOKEN|SECRET|(?:SECRET|ACCESS|API|PRIVATE|ACCOUNT|STORAGE|ENCRYPTION)_?KEY"
    r"|ACCESS_KEY_ID)$",
    re.IGNORECASE,
)
_PASSWORD = re.compile(r"(?:PASSWORD|PASSWD|_PWD)$", re.IGNORECASE)
_SHORTEST = 3  # a shorter secret cannot be told from a part of a word
_SHORTEST_KEY = 8  # a shorter value of something that is no password is a switch, such as "false"
_WHOLE_WORD = 6  # a shorter one is taken out only where it stands alone

# Repeats have bounds, so that long texts take no longer than they must.
_USER_INFO = re.compile(
    r"((?<=[a-z0-9+.\-])://)"
    r"(?:[^\s/?#\"'<>]+@|[^\s/?#@:\"'<>]{0,100}:(?!\d{1,5}(?:[/?#]|$))[^\s\"'<>]{1,200}@)",
    re.IGNORECASE,
)
_IN_QUERY = re.compile(
    r"([?&;](?:[\w.\-]{0,40}(?:password|passwd|pwd|token|secret|signature|credential|api_?key|access_?key)[\w.\-]{0,40}"
    r"|auth|key|pass|sig)=)[^\s&;#\"'<>]+",
    re.IGNORECASE,
)
# `password=…`, `'api_key': '…'`, `PASSWORD: &quot;…`; what a token is for tells those of a login from those of a
# transformer. After "secret" and "pwd" a colon is one of a sentence, unless there is a quote before it.
_QUOTE = r"(?:[\"'\]]|&(?:quot|#39|#34|#x27);)"
_NAMED = re.compile(
    r"(?P<head>(?:"
    r"(?:password|passwd|passphrase|secret[_-]?(?:access[_-]?)?key|client[_-]?secret|(?<![a-z])api[_-]?key"
    r"|(?<![a-z])(?:access|private|account|storage|encryption)[_-]?key(?:[_-]?id)?"
    r"|(?<![a-z])(?:access|auth|api|refresh|bearer|session|security|login|oauth|csrf|tracking|hub|hf|github|gitlab|slack"
    r"|personal|deploy|private|secret|sas|jwt|mlflow|jupyter|databricks|wandb)[_-]?token)"
    rf"{_QUOTE}{{0,2}}\s{{0,2}}[=:]"
    rf"|(?<![a-z])(?:secret|pwd)(?:{_QUOTE}\s{{0,2}}:|\s{{0,2}}=(?!\s{{0,2}}[\"']?[/~])))"
    rf"\s{{0,2}}(?:&(?:quot|#39|#34|#x27);)?)"
    r"(?P<value>\"[^\"\n]{1,400}\"|'[^'\n]{1,400}'|[^\s\"'<>&;,)\]}]+)",
    re.IGNORECASE,
)
_BARE_TOKEN = re.compile(
    r"((?<![\w.\-])token(?:[\"']\s{0,2}:|\s{0,2}=)\s{0,2}[\"']?)(?=[a-z_\-]{0,200}\d)[\w\-+/~]{8,400}", re.IGNORECASE
)
_HEADER = re.compile(
    r"((?:(?:proxy-)?authorization|x-api-key|x-auth-token|(?:set-)?cookie)[\"']?\s{0,2}:\s{0,2}[\"']?)"
    r"(?:(?:bearer|basic|digest|token|negotiate)\s{1,2})?(?![${]|(?:bearer|basic|digest|token|negotiate)\s)"
    r"[^\s\"',<>]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bbearer )(?=[a-z._~+/\-]{0,400}\d)[\w.~+/\-]{12,2000}=*", re.IGNORECASE)
_FORMS = re.compile(
    r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|hf_[A-Za-z0-9]{20,}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|glpat-[\w\-]{16,}|xox[abprs]-[\w\-]{10,}|sk-[A-Za-z0-9_\-]{20,}|dapi[0-9a-f]{32}|vpt_[\w\-]{43}"
    r"|eyJ[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]{8,})(?![\w\-])"
)
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----).{0,20000}?(?:(?=-----END)|\Z)", re.DOTALL)
_WORDS = ("passw", "passphrase", "secret", "pwd", "key", "token", "authorization", "cookie")  # one of them is in a name


def redacted(text: str) -> str:
    """The text with `***` for each password and token: those of this process's settings, and what looks like one."""
    for secret in _known(tuple(os.environ.get(name, "") for name in _ADDRESSES), *_of_settings()):
        if len(secret) >= _WHOLE_WORD:
            text = text.replace(secret, "***")
        else:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    text = _FORMS.sub("***", _PRIVATE_KEY.sub(r"\1***", text))
    text = _BEARER.sub(r"\1***", _IN_QUERY.sub(r"\1***", _USER_INFO.sub(r"\1***@", text)))
    return "".join(map(_without_named, text.splitlines(keepends=True)))


def _without_named(line: str) -> str:
    """A line without what stands after the name of a secret. Most lines of a page are drawings, and have none."""
    small = line.lower()
    if not any(word in small for word in _WORDS):
        return line
    return _BARE_TOKEN.sub(r"\1***", _NAMED.sub(_without_value, _HEADER.sub(r"\1***", line)))


def without_secrets(value: Any) -> Any:
    """A value of JSON, or a notebook, with all its texts `redacted`; dictionaries and lists are changed in place."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        for name in list(value):
            value[name] = without_secrets(value[name])
    elif isinstance(value, list):
        value[:] = [without_secrets(part) for part in value]
    return value


def log_no_secrets(*names: str) -> None:
    """Let the logs of these names hold no password; "" is the root, to which all others go too."""
    for handler in [handler for name in names for handler in logging.getLogger(name).handlers]:
        if _clean_record not in handler.filters:
            handler.addFilter(_clean_record)


def _clean_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = redacted(record.getMessage()), ()
    return True


def _without_value(found: re.Match[str]) -> str:
    quotes = found["value"][0] if found["value"][0] in "\"'" else ""
    return f"{found['head']}{quotes}***{quotes}"


# ---- the secrets of this process ------------------------------------------------------------------------------


def _of_settings() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The settings that are secrets, and those that are addresses with a password."""
    secrets, addresses = [], []
    for name, value in os.environ.items():
        if name in _OURS or (_SECRET.search(name) and _is_long_enough(name, value)):
            secrets.append(value)
        elif "://" in value and "@" in value:
            addresses.append(value)
    return tuple(secrets), tuple(addresses)


def _is_long_enough(name: str, value: str) -> bool:
    return len(value) >= (_SHORTEST if _PASSWORD.search(name) else _SHORTEST_KEY)


@lru_cache(maxsize=8)
def _known(addresses: tuple[str, ...], settings: tuple[str, ...], others: tuple[str, ...]) -> list[str]:
    """All secrets of this process in all their spellings, the longest first."""
    found = set(settings)
    for address in addresses:
        for user_info in _user_infos(address):
            user, _, password = user_info.partition(":")
            found |= {user_info, b64encode(unquote(user_info).encode()).decode(), password or user}
        found |= {match.split("=", 1)[1] for match in _pairs(address)}
    for address in others:  # without a password there is only a name, such as that in ssh://git@host
        user_infos = (match.group(0)[len("://") : -len("@")] for match in _USER_INFO.finditer(address))
        found |= {user_info.partition(":")[2] for user_info in user_infos} - {""}
    spellings = {spelt(secret) for secret in found for spelt in (str, unquote, quote, quote_plus)}
    return sorted((s for s in spellings if len(s) >= _SHORTEST), key=len, reverse=True)


def _user_infos(address: str) -> set[str]:
    """What stands before the @ of an address, also where special characters were not encoded."""
    _, _, rest = address.partition("://")
    return {part.rpartition("@")[0] for part in (rest, rest.split("?")[0], rest.split("/")[0]) if "@" in part} - {""}


def _pairs(address: str) -> list[str]:
    return [match.group(0) for match in _IN_QUERY.finditer(address)]
