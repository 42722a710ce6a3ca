"""A person's decision on a promotion: why they were asked, what they chose, and who they were."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from slipway.units import utc_now


class Choice(StrEnum):
    """What can be decided."""

    APPROVE = "approve"
    REJECT = "reject"
    EXTEND = "extend measurements"


class Approval(BaseModel):
    """One question and its answer.

    Attributes:
        asked_at: When it was put, UTC.
        deadline_s: How long there was to answer.
        reasons: Why a person had to decide.
        flow_run_id: Prefect's run that waits for the answer; empty where another way asks.
        prefect_api_url: The server of that run.
        decided_at: When the wait was over, UTC.
        choice: What was decided; None if nobody did.
        decided_by: Who did, by their own word: Prefect's open server knows no users.
        comment: What they said about it.
    """

    model_config = ConfigDict(extra="forbid")

    asked_at: datetime
    deadline_s: float
    reasons: list[str] = Field(default_factory=list)
    flow_run_id: str = ""
    prefect_api_url: str = ""
    decided_at: datetime | None = None
    choice: Choice | None = None
    decided_by: str = ""
    comment: str = ""

    @property
    def waited_s(self) -> float:
        """How long it has been waited."""
        return ((self.decided_at or utc_now()) - self.asked_at).total_seconds()
