"""Passwords and tokens are taken out of every text that may leave: terminal, notebook, page, error text, log."""

import os
import re
from base64 import b64encode
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote

# Addresses that may hold a password, and settings that are one.
_ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_SHORTEST = 3  # a shorter secret cannot be told from a part of a word
_WHOLE_WORD = 6  # a shorter one is taken out only where it stands alone

# Repeats have bounds, so that long texts take no longer than they must.
_USER_INFO = re.compile(r"((?<![a-z0-9+.\-])[a-z][a-z0-9+.\-]{0,30}://)[^\s/?#\"'<>]+@", re.IGNORECASE)
_IN_QUERY = re.compile(
    r"([?&;](?:[\w.\-]{0,40}(?:password|passwd|pwd|token|secret|signature|credential|api_?key|access_?key)[\w.\-]{0,40}"
    r"|auth|key|pass|sig)=)[^\s&;#\"'<>]+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text with `***` for each password and token: those in an address, and those of this process's settings."""
    for secret in _known(tuple(os.environ.get(name, "") for name in _ADDRESSES), tuple(map(_setting, _SECRETS))):
        if len(secret) >= _WHOLE_WORD:
            text = text.replace(secret, "***")
        else:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return _IN_QUERY.sub(r"\1***", _USER_INFO.sub(r"\1***@", text))


def _setting(name: str) -> str:
    return os.environ.get(name, "")


@lru_cache(maxsize=8)
def _known(addresses: tuple[str, ...], settings: tuple[str, ...]) -> list[str]:
    """All secrets of this process in all their spellings, the longest first."""
    found = set(settings)
    for address in addresses:
        for user_info in _user_infos(address):
            user, _, password = user_info.partition(":")
            found |= {user_info, b64encode(unquote(user_info).encode()).decode(), password or user}
        found |= {match.split("=", 1)[1] for match in _pairs(address)}
    spellings = {spelt(secret) for secret in found for spelt in (str, unquote, quote, quote_plus)}
    return sorted((s for s in spellings if len(s) >= _SHORTEST), key=len, reverse=True)


def _user_infos(address: str) -> set[str]:
    """What stands before the @ of an address, also where special characters were not encoded."""
    _, _, rest = address.partition("://")
    return {part.rpartition("@")[0] for part in (rest, rest.split("?")[0], rest.split("/")[0]) if "@" in part} - {""}


def _pairs(address: str) -> list[str]:
    return [match.group(0) for match in _IN_QUERY.finditer(address)]
