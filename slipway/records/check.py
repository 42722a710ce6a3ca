"""The record of a check: what serves was judged or watched, and what followed. No release is made by one."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from slipway.gates.verdict import Verdict


class Condition(StrEnum):
    """How a check ended; RUNNING until it did."""

    RUNNING = "running"
    HEALTHY = "healthy"
    UNDECIDED = "undecided"
    UNHEALTHY = "unhealthy"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"


class CheckRecord(BaseModel):
    """One look at what serves an app. Secrets never enter it.

    Attributes:
        check_id: Its id, which sorts by time.
        kind: `gate`: the gates of a profile; `watch`: requests for a while after a promotion.
        app: What was looked at.
        release_id: The release that served when it began.
        version: Its version.
        started_at: Begin, UTC.
        ended_at: End, UTC.
        condition: What was found, and done.
        reason: Why, in one sentence.
        verdicts: One a gate, for `gate`.
        requests: Requests sent, for `watch`.
        failed: How many of them failed, for `watch`.
        evidence: Folder of the evidence in the ledger; empty if there is none.
    """

    model_config = ConfigDict(extra="forbid")

    check_id: str
    kind: Literal["gate", "watch"]
    app: str
    release_id: str
    version: int
    started_at: datetime
    ended_at: datetime | None = None
    condition: Condition = Condition.RUNNING
    reason: str = ""
    verdicts: list[Verdict] = Field(default_factory=list)
    requests: int = 0
    failed: int = 0
    evidence: str = ""
