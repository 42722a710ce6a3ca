"""Holding an app: one run at a time, and what a second one does meanwhile.

The lock is the platform's, so it holds across schedules, workers, the command line and machines, with or without a
Prefect server, and a holder that dies holds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from slipway.errors import Busy
from slipway.platforms.port import Platform
from slipway.profile.conduct import Exclusive
from slipway.records.events import EventKind, StageEvent, publish
from slipway.units import show_seconds

WAITING: Final = "wait for the app"
"""What events call the time before a run that must wait for another one."""

POLL_S: Final = 0.5


@contextmanager
def holding(platform: Platform, app: str, spec: Exclusive) -> Iterator[None]:
    """Hold the app as long as the block, after waiting for it where the profile says so.

    Raises:
        Busy: If another run holds the app, still.
    """
    with ExitStack() as stack:
        if busy := _refused(stack, platform, app):
            if spec.on_busy == "refuse":
                raise busy
            _wait(stack, platform, app, spec, busy)
        yield


def _wait(stack: ExitStack, platform: Platform, app: str, spec: Exclusive, busy: Busy) -> None:
    began_s = time.monotonic()

    def tell(kind: EventKind, message: str) -> None:
        publish(StageEvent("", WAITING, kind, message, time.monotonic() - began_s))

    tell("started", busy.message)
    while refused := _refused(stack, platform, app):
        if time.monotonic() - began_s >= spec.wait_at_most_s:
            waited = f"After {show_seconds(spec.wait_at_most_s)} (exclusive.wait_at_most_s) still: {refused.message}"
            tell("failed", waited)
            raise Busy(waited, remedy=refused.remedy)
        time.sleep(POLL_S)
    tell("done", f"{app} is free")


def _refused(stack: ExitStack, platform: Platform, app: str) -> Busy | None:
    """Try to hold the app; why not, if not."""
    try:
        stack.enter_context(platform.exclusive(app))
    except Busy as busy:
        return busy
    return None
