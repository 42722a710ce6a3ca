"""What a run costs: how long containers with the GPUs of a replica ran, stage by stage, at the profile's price.

A stage is charged from its start to the start of the next, the last one to the end of the run. So a candidate that
waits, for the next stage or for somebody's approval, is paid for by the stage after which it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from slipway.errors import SlipwayError
from slipway.platforms.port import Lifetime
from slipway.records.record import StageRecord
from slipway.units import HOURS, utc_now

Tell = Callable[[], Sequence[Lifetime]]
"""Asks a platform for the containers of one job or server."""


class Meter:
    """Everything of a run that holds GPUs.

    Where a platform cannot tell a container's life, it is taken as it is seen from here: from asking for it, with the
    time in which it waited for a free machine, to its end.
    """

    def __init__(self) -> None:
        self._tells: dict[str, Tell] = {}
        self._seen: dict[str, Lifetime] = {}

    def begin(self, name: str, tell: Tell) -> None:
        """Count a job or server from now on; one that is counted already goes on."""
        self._tells.setdefault(name, tell)
        self._seen.setdefault(name, Lifetime(utc_now()))

    def end(self, name: str) -> None:
        """It has ended, as seen from here; harmless where it was not counted."""
        if name in self._seen:
            self._seen[name] = replace(self._seen[name], ended_at=utc_now())

    @property
    def running(self) -> int:
        """Containers that run now."""
        return sum(life.ended_at is None for life in self.lifetimes())

    def lifetimes(self) -> list[Lifetime]:
        """Of all containers so far."""
        return [life for name, tell in self._tells.items() for life in told(tell) or [self._seen[name]]]


def told(tell: Tell) -> Sequence[Lifetime]:
    """What a platform says; nothing while it cannot be asked, for keeping books is no reason to end a run."""
    try:
        return tell()
    except SlipwayError:
        return ()


def charge(stages: Sequence[StageRecord], lives: Sequence[Lifetime], *, now: datetime, price_usd: float) -> None:
    """Write into stages how long GPUs were held in each, and what that cost.

    Args:
        stages: In the order in which they began.
        lives: Of all containers that held the GPUs of a replica.
        now: End of the last stage.
        price_usd: Of one replica for an hour.
    """
    if not stages:
        return
    ends = [*(stage.started_at for stage in stages[1:]), now]
    for stage, end in zip(stages, ends, strict=True):
        stage.held_s = sum(_overlap_s(life, stage.started_at, end) for life in lives)
        stage.cost_usd = stage.held_s / HOURS * price_usd


def _overlap_s(life: Lifetime, begin: datetime, end: datetime) -> float:
    """Seconds of a life that lie between two times."""
    shared = min(life.ended_at or end, end) - max(life.began_at, begin)
    return max(shared.total_seconds(), 0.0)
