"""Who answers at an address: while Modal replaces containers, the old release and the new one both may."""

from __future__ import annotations

import time
from typing import Final

import httpx

from slipway.errors import Crashed, Misconfigured
from slipway.units import show_seconds

CONFIRMATIONS: Final = 5
"""Answers in a row, each over a connection of its own."""

ANSWER_TIMEOUT_S: Final = 170.0
"""Modal holds a request for a container that is not up for 150 s, then sends it on to another address."""

_POLL_S: Final = 0.2
_ASK: Final = {"text": "20 + 22 =", "sampling_params": {"max_new_tokens": 1, "temperature": 0}}


def wait_for_release(url: str, release_id: str, key: str | None, *, timeout_s: float) -> None:
    """Ask until only this release answers.

    Args:
        url: The address.
        release_id: What answers must name.
        key: The API key, None where none is needed.
        timeout_s: For as long as it takes to start the release.

    Raises:
        Crashed: If it does not come to that in time.
        Misconfigured: If the key is refused.
    """
    deadline = time.monotonic() + timeout_s
    in_a_row = 0
    answered = "nobody"
    while in_a_row < CONFIRMATIONS:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise Crashed(
                f"{url} is answered by {answered} instead of {release_id}, {show_seconds(timeout_s)} after the switch.",
                remedy="Read the log of the live app.",
            )
        answered = _ask(url, key, timeout_s=min(ANSWER_TIMEOUT_S, left_s + 1))
        in_a_row = in_a_row + 1 if answered == release_id else 0
        if not in_a_row:
            time.sleep(_POLL_S)


def _ask(url: str, key: str | None, *, timeout_s: float) -> str:
    """The release that answers, or why none does."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.post(f"{url}/generate", json=_ASK, headers=headers, timeout=timeout_s, follow_redirects=True)
    except httpx.HTTPError as error:
        return type(error).__name__
    if answer.status_code in {401, 403}:
        raise Misconfigured(
            f"{url} refuses the API key (HTTP {answer.status_code}).",
            remedy="Set the variable of the key to the value of Modal's secret of that name, "
            "or make the secret anew: `modal secret create --force`.",
        )
    try:
        return str(answer.json()["meta_info"]["weight_version"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
