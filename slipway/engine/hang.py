"""A hung engine: it makes no token, and does not answer a request of ours.

SGLang's own watchdog guards a forward pass, not the processes around it. Its counters are read from `/metrics`.
They alone prove nothing: the number of running requests may be left standing after the last one has gone, and stays at
nought when the scheduler that counts them is what hangs. So an engine that stands still, idle or not, is put to the
proof with a request that every engine at work answers.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from slipway.engine.readiness import Target, ask, inference_problem
from slipway.errors import Crashed

POLL_S: Final = 10.0
"""Time between looks; shorter where a hang is to be seen sooner."""

PROOF_TIMEOUT_S: Final = 60.0
"""How long the proof may take; shorter likewise."""

_METRICS_TIMEOUT_S: Final = 10.0

_PENDING: Final = ("num_running_reqs", "num_queue_reqs")
_MOVING: Final = (
    "realtime_tokens_total",
    "generation_tokens_total",
    "prompt_tokens_total",
    "inter_token_latency_seconds_count",
)
_SERIES: Final = re.compile(r"^sglang:(\w+)(?:\{[^}]*\})? (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the counters say at one time.

    Attributes:
        pending: Requests that run or wait.
        moved: Sum of counters that grow with every token.
    """

    pending: float
    moved: float


def read_pulse(metrics: str) -> Pulse:
    """The pulse in a page of `/metrics`."""
    values = [(name, float(value)) for name, value in _SERIES.findall(metrics)]
    pending, moved = (sum(value for name, value in values if name in names) for names in (_PENDING, _MOVING))
    return Pulse(pending, moved)


class HangWatch:
    """Says since when an engine has stood still.

    Args:
        now_s: Begin, by the caller's clock.
    """

    def __init__(self, now_s: float) -> None:
        self._moved: float | None = None
        self._since_s = now_s

    def still_s(self, pulse: Pulse | None, now_s: float) -> float:
        """Seconds that it has not moved, or has not even told its counters (None)."""
        if pulse is not None and pulse.moved != self._moved:
            self._since_s, self._moved = now_s, pulse.moved
        return now_s - self._since_s

    def reset(self, now_s: float) -> None:
        """It has just proved that it works."""
        self._since_s = now_s


def watch_for_hang(target: Target, *, after_s: float, wait: Callable[[float], bool]) -> Crashed | None:
    """Block until the engine hangs.

    Args:
        target: The engine, ready.
        after_s: How long it may stand still before it must prove that it works.
        wait: Waits for so many seconds; true when the watch is over.

    Returns:
        The reason, or None when the watch is over.
    """
    watch = HangWatch(time.monotonic())
    while not wait(min(POLL_S, after_s)):
        still_s = watch.still_s(_pulse(target), time.monotonic())
        if still_s < after_s:
            continue
        problem = inference_problem(target, time.monotonic() + min(PROOF_TIMEOUT_S, after_s))
        pulse = _pulse(target)
        if problem is None or watch.still_s(pulse, time.monotonic()) < still_s:
            watch.reset(time.monotonic())
            continue
        pending = f"{pulse.pending:g} requests pending" if pulse else "/metrics does not answer"
        return Crashed(
            f"The engine hangs: {pending}, no token for {still_s:.0f} s, and {problem}. [hang]",
            remedy="Read its last lines; see the known hangs (`slipway explain`).",
        )
    return None


def _pulse(target: Target) -> Pulse | None:
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        status, body = ask(target, "GET", "/metrics", b"", _METRICS_TIMEOUT_S)
        return read_pulse(body.decode("utf-8", "replace")) if status == 200 else None
    return None
