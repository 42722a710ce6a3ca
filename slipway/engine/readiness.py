"""When an engine is ready: not when its port is open, nor when it says so, but when it has answered.

SGLang opens its port after the weights and graphs are loaded, and then warms itself up; until that is done
`/health` is 503. After it one token is generated, with the key that users will have, and then the answer to a long
prompt: up to `index_topk` tokens (2,048 with GLM-5.1) SGLang takes other kernels, and no replica may leave those to its
first user, also one that the autoscaler starts when nobody is there to warm it up.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway.errors import Crashed

LONGEST_ANSWER_S: Final = 300.0
"""A first answer may wait for kernels to be compiled."""

_POLL_S: Final = 0.05
_SHORTEST_TIMEOUT_S: Final = 2.0
HOST: Final = "127.0.0.1"
_PROBE: Final = {"text": "1 + 1 =", "sampling_params": {"max_new_tokens": 1, "temperature": 0}}
_FIRST_ID, _IDS = 100, 100
"""Token ids of long prompts: every vocabulary has them, the miniature's of 288 too."""


@dataclass(frozen=True, slots=True)
class Target:
    """The engine to be asked.

    Attributes:
        port: Its port on this host.
        api_key: The key it wants, None for none.
    """

    port: int
    api_key: str | None


def wait_ready(
    target: Target, *, timeout_s: float, tell: Callable[[str], None], prompt_tokens: int = 0
) -> dict[str, float]:
    """Block until the engine has completed an inference, and one of a long prompt.

    Args:
        target: The engine, just started.
        timeout_s: How long it may take in all.
        tell: Told what is being waited for.
        prompt_tokens: Length of the long prompt; 0 for none.

    Returns:
        Seconds by phase: `load` until its port was open, `first_inference` from then on, and `total`.

    Raises:
        Crashed: When it takes longer.
    """
    began_s = time.monotonic()
    deadline_s = began_s + timeout_s
    tell("loading: its port is not open yet")
    _wait_until(lambda: _port_problem(target), deadline_s)
    opened_s = time.monotonic()
    tell("port open; waiting for the first answer")
    _wait_until(lambda: _health_problem(target, deadline_s), deadline_s)
    _wait_until(lambda: inference_problem(target, deadline_s), deadline_s)
    if prompt_tokens:
        tell(f"waiting for the answer to a prompt of {prompt_tokens:,} tokens")
        _wait_until(lambda: inference_problem(target, deadline_s, _of_length(prompt_tokens)), deadline_s)
    ended_s = time.monotonic()
    return {"load": opened_s - began_s, "first_inference": ended_s - opened_s, "total": ended_s - began_s}


def _wait_until(problem: Callable[[], str | None], deadline_s: float) -> None:
    """Ask again until there is no problem left."""
    while what := problem():
        if time.monotonic() > deadline_s:
            raise Crashed(
                f"The engine was not ready in time: {what}.",
                remedy="Read its log; if it was still loading, allow it longer in the profile.",
            )
        time.sleep(_POLL_S)


def _port_problem(target: Target) -> str | None:
    try:
        socket.create_connection((HOST, target.port), timeout=_SHORTEST_TIMEOUT_S).close()
    except OSError as error:
        return f"nothing listens on port {target.port} ({error})"
    return None


def _health_problem(target: Target, deadline_s: float) -> str | None:
    try:
        status, _ = ask(target, "GET", "/health", b"", _timeout_s(deadline_s))
    except (OSError, http.client.HTTPException) as error:
        return f"/health did not answer ({type(error).__name__})"
    return None if status == 200 else f"/health answered HTTP {status}"


def _of_length(tokens: int) -> dict[str, Any]:
    """A request with a prompt of so many tokens; sampled, for that has kernels of its own as well."""
    prompt = [_FIRST_ID + index % _IDS for index in range(tokens)]
    return {"input_ids": prompt, "sampling_params": {"max_new_tokens": 4, "temperature": 1.0}}


def inference_problem(target: Target, deadline_s: float, request: Mapping[str, Any] = _PROBE) -> str | None:
    """Why the engine completes a request without a token, or None when it does; `deadline_s` is monotonic time."""
    try:
        status, answer = ask(target, "POST", "/generate", json.dumps(request).encode(), _timeout_s(deadline_s))
        tokens = json.loads(answer)["meta_info"]["completion_tokens"] if status == 200 else 0
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return f"/generate gave no completion ({type(error).__name__}: {error})"
    return None if tokens else f"/generate answered HTTP {status} without a token"


def ask(target: Target, method: str, path: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
    """Status and body. With the standard library's client, for an import of a bigger one delays every start."""
    headers = {"Content-Type": "application/json"}
    if target.api_key:
        headers["Authorization"] = f"Bearer {target.api_key}"
    connection = http.client.HTTPConnection(HOST, target.port, timeout=timeout_s)
    with contextlib.closing(connection):
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def _timeout_s(deadline_s: float) -> float:
    return min(LONGEST_ANSWER_S, max(_SHORTEST_TIMEOUT_S, deadline_s - time.monotonic()))
