"""What can happen to an engine while it is supervised, and is told to its supervisor by the threads that watch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slipway.errors import Crashed


@dataclass(frozen=True, slots=True)
class Step:
    """Event: the engine is on its way.

    Attributes:
        detail: What is being waited for.
    """

    detail: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Event: the engine has answered.

    Attributes:
        timings_s: Its start by phase, as seen from outside.
        at_s: When, in monotonic time.
    """

    timings_s: Mapping[str, float]
    at_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Event: the engine's process has ended; negative for a signal, as in `subprocess`."""

    exit_status: int


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Event: SIGTERM or SIGINT."""


Event = Step | Ready | Ended | StopAsked | Crashed
