"""Secrets out of everything that is kept or shown: log lines, server answers, records.

SGLang prints its API key in the start-up log and returns it from `/server_info`; what comes from outside is
cleaned here, where it enters, so that nothing further on has to think about it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote

REDACTED: Final = "[redacted]"
SHORTEST_SECRET: Final = 4
"""Values shorter than this are not searched for: replacing every `a` would hide the log, not the secret."""

_KEY_OPTION: Final = re.compile(r"--(?:admin-)?api-key")
_SECRET_KEY: Final = re.compile(
    r"(?:^|[_-])(?:api_?-?key|authorization|password|secret|credential|token)s?$", re.IGNORECASE
)
_SPECIAL_TOKEN: Final = re.compile(r"^(?:eos|bos|pad|unk|sep|cls|mask|image|video|audio)_token$")
"""Words of a tokenizer's vocabulary; they only sound like credentials."""

_PATTERNS: Final = (
    # api_key='…', "admin_api_key": "…"; None and null stay, for "no key is set" is worth knowing
    re.compile(r"(?P<keep>(?:admin_)?api_key[\"']?\s*[=:]\s*(?P<quote>[\"']))(?:(?!(?P=quote)).)+", re.IGNORECASE),
    # --api-key X, --api-key=X, and the same as the repr or JSON of an argv: '--api-key', 'X'
    re.compile(r"(?P<keep>--(?:admin-)?api-key[\"']?(?:,?\s+|=)[\"']?)[^\s\"',\]]+"),
    re.compile(r"(?P<keep>\bBearer\s+)[A-Za-z0-9._~+/=-]{4,}", re.IGNORECASE),
    re.compile(r"(?P<keep>\bhf_)[A-Za-z0-9]{16,}"),
    re.compile(r"(?P<keep>\b[aw][ks]-)[A-Za-z0-9]{16,}"),  # Modal's API and proxy tokens
)


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without secrets.

    Args:
        text: One line or many.
        secrets: Known values; also found where they are JSON-escaped or percent-encoded.
    """
    for form in _forms(secrets):
        text = text.replace(form, REDACTED)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<keep>{REDACTED}", text)
    return text


def redact(value: object, secrets: Iterable[str] = ()) -> object:
    """A JSON tree without secrets, as a copy; for answers such as `/server_info`.

    A text under a key that names a secret (`api_key`, `hf_token`, `authorization`, …) is replaced whole,
    every other text is cleaned by `redact_text`. Numbers, booleans and null stay.
    """
    known = tuple(secrets)
    if isinstance(value, str):
        return redact_text(value, known)
    if isinstance(value, Mapping):
        return {key: _redact_member(str(key), member, known) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return _redact_items(value, known)
    return value


def _redact_member(key: str, member: object, secrets: tuple[str, ...]) -> object:
    names_secret = _SECRET_KEY.search(key) and not _SPECIAL_TOKEN.match(key)
    if names_secret and member and isinstance(member, str | list | tuple):
        return REDACTED
    return redact(member, secrets)


def _redact_items(items: list[object] | tuple[object, ...], secrets: tuple[str, ...]) -> list[object]:
    """In an argv the item after `--api-key` is the key itself."""
    before = [None, *items][: len(items)]
    return [
        REDACTED if isinstance(previous, str) and _KEY_OPTION.fullmatch(previous) else redact(item, secrets)
        for previous, item in zip(before, items, strict=True)
    ]


def _forms(secrets: Iterable[str]) -> list[str]:
    """Every spelling of the secrets, longest first, so that none leaves a rest of another."""
    known = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
    spellings = {form for secret in known for form in (secret, json.dumps(secret)[1:-1], quote(secret, safe=""))}
    return sorted(spellings, key=len, reverse=True)
