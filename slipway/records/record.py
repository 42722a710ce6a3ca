"""The release record: one JSON document a run, written as the run goes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from slipway.gates.verdict import Verdict
from slipway.preflight.plan import Plan
from slipway.records.approval import Approval

SCHEMA_VERSION = 1


class Outcome(StrEnum):
    """How a run ended; RUNNING until it did, INTERRUPTED when its process died before it could say.

    PREPARED is the end of a run that was to bring weights or kernels only.
    """

    RUNNING = "running"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    INTERRUPTED = "interrupted"
    PREPARED = "prepared"


class StageStatus(StrEnum):
    """Where a stage stands."""

    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


class StageRecord(BaseModel):
    """One stage of a run.

    Attributes:
        name: Which.
        status: Where it stands.
        started_at: Begin of its first attempt, UTC.
        seconds: Its attempts together.
        attempts: How many.
        message: What it gave, or why it was skipped or failed.
        held_s: How long containers with the GPUs of a replica ran, until the next stage began.
        cost_usd: What that cost.
    """

    name: str
    status: StageStatus
    started_at: datetime
    seconds: float = 0.0
    attempts: int = 1
    message: str = ""
    held_s: float = 0.0
    cost_usd: float = 0.0


class ReleaseRecord(BaseModel):
    """All that is known of one run. Secrets never enter it.

    Attributes:
        schema_version: Version of this layout.
        release_id: The run's and the release's id.
        slipway_version: The Slipway that did it, with the commit of its checkout; empty in records of before.
        app: What was released.
        started_at: Begin, UTC.
        ended_at: End, UTC.
        outcome: How it ended.
        reason: Why, in one sentence.
        error_kind: Class of the error that ended it, empty if none did.
        exit_code: What the command line ends with.
        profile: The profile as it was used, as JSON: a record outlives the rules that profiles obey today.
        plan: What the run meant to do.
        commit: Commit of the weights.
        manifest_digest: Name of the weights.
        kernel_key: Key of the kernel cache.
        argv: The engine's command line.
        stages: Timeline.
        verdicts: One a gate.
        figures: What was measured, by workload.
        estimates: Figures that later releases are compared with, by figure id.
        comparison_keys: What must be equal for a workload's figures to compare, by workload.
        evidence: Folder of the evidence in the ledger; empty before there was any.
        server: What the engine reported of itself, secrets removed.
        cold_start_s: Start of the candidate by phase.
        approvals: Questions put to a person, and their answers.
        previous_version: Version that served before; None before the first.
        version: Version that serves by this run; None if it does not.
        overhead_s: Wall time outside the stages' own work.
        cost_usd: What the run cost, by the measured lives of its containers and the profile's price.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    release_id: str
    slipway_version: str = ""
    app: str
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome = Outcome.RUNNING
    reason: str = ""
    error_kind: str = ""
    exit_code: int | None = None
    profile: dict[str, Any]
    plan: Plan | None = None
    commit: str = ""
    manifest_digest: str = ""
    kernel_key: str = ""
    argv: list[str] = Field(default_factory=list)
    stages: list[StageRecord] = Field(default_factory=list)
    verdicts: list[Verdict] = Field(default_factory=list)
    figures: dict[str, dict[str, float]] = Field(default_factory=dict)
    estimates: dict[str, float] = Field(default_factory=dict)
    comparison_keys: dict[str, str] = Field(default_factory=dict)
    evidence: str = ""
    server: dict[str, Any] = Field(default_factory=dict)
    cold_start_s: dict[str, float] = Field(default_factory=dict)
    approvals: list[Approval] = Field(default_factory=list)
    previous_version: int | None = None
    version: int | None = None
    overhead_s: float = 0.0
    cost_usd: float = 0.0

    @property
    def took_s(self) -> float | None:
        """Wall time of the run; None while nobody has closed its record."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None
