"""What jobs and servers need of the machines they run on, and how many servers there may be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from slipway.units import HOURS

LONGEST_S: Final = 24 * HOURS
"""The longest that Modal lets a function run."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a job or a server needs of a machine. A platform that is one machine passes over it.

    Attributes:
        kind: In one word, what machines of this kind are for; names functions and logs.
        image: Container image; None for a small one with Python and what Slipway's jobs import.
        gpu: GPU type, None for none.
        gpu_count: GPUs of one container.
        cpu_cores: Cores that are asked for; None: the platform's default.
        memory_mib: Memory that is asked for; None: the platform's default.
        timeout_s: After which a job or a server is ended, whatever it does.
    """

    kind: str = "work"
    image: str | None = None
    gpu: str | None = None
    gpu_count: int = 0
    cpu_cores: float | None = None
    memory_mib: int | None = None
    timeout_s: float = LONGEST_S

    @property
    def gpu_request(self) -> str | None:
        """As Modal wants it: `B200:8`."""
        return f"{self.gpu}:{self.gpu_count}" if self.gpu else None


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many containers serve a release.

    Attributes:
        least: Kept without requests.
        most: At once.
        idle_s: How long one without requests is kept beyond `least`.
        at_once: Requests that one takes at the same time.
        startup_timeout_s: From a container's start to its first completed inference.
    """

    least: int = 1
    most: int = 1
    idle_s: int = 900
    at_once: int = 1
    startup_timeout_s: float = HOURS

    def single(self) -> Replicas:
        """The same containers, but one, from start to stop: what is measured is one replica that nobody has to wake."""
        return replace(self, least=1, most=1)
