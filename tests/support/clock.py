"""The clocks of a run, set by tests: monotonic and wall time go on together, and only when they are told to."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from slipway.stages import budget, cost, run

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


class Clock:
    """Seconds since noon."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + self.seconds)
        for module in (budget, cost, run):
            monkeypatch.setattr(module, "utc_now", self.now)

    def now(self) -> datetime:
        return after(self.seconds)
