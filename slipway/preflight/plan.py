"""The plan: what a run would do and why. Making one costs nothing and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from slipway.preflight.capacity import Capacity
from slipway.preflight.difference import Change
from slipway.profile import Waiver


class Severity(StrEnum):
    """An error keeps a run from starting."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Finding(BaseModel):
    """One result of preflight.

    Attributes:
        rule: Id of the rule, in docs/rules.md.
        severity: What it means for a run.
        message: What was seen, and what it leads to.
        remedy: What to do.
        source: Where a reader can look it up.
        waiver: Why it is accepted, and until when; None where it is not.
    """

    model_config = ConfigDict(frozen=True)

    rule: str
    severity: Severity
    message: str
    remedy: str
    source: str = ""
    waiver: Waiver | None = None


class Step(BaseModel):
    """One stage as planned.

    Attributes:
        stage: Name of the stage.
        runs: Whether it has work to do.
        why: The reason, either way.
        size_bytes: Bytes it moves or reads, 0 if none.
        lasts_least_s: Seconds that it is reckoned to last at least; 0 if nobody can tell.
        lasts_most_s: Seconds at most.
        least_s: Seconds that it holds the GPUs at least; 0 if none.
        most_s: Seconds at most.
        cost_least_usd: What it is reckoned to cost at least.
        cost_usd: What it is reckoned to cost at most.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    runs: bool
    why: str
    size_bytes: int = 0
    lasts_least_s: float = 0.0
    lasts_most_s: float = 0.0
    least_s: float = 0.0
    most_s: float = 0.0
    cost_least_usd: float = 0.0
    cost_usd: float = 0.0


class Plan(BaseModel):
    """What a run would do.

    Attributes:
        app: What is released.
        commit: Commit of the weights.
        manifest_digest: Name of the weights.
        kernel_key: Key of the kernel cache.
        image: Image that the engine runs in, with the digest that the profile or its lock has; None on this host.
        live_version: Version that serves now; None before the first release.
        steps: The stages, in order.
        findings: What preflight has to say.
        capacity: What the profile can carry; None where model or GPU is not known.
        changes: In what it differs from the live release; empty before the first.
    """

    model_config = ConfigDict(frozen=True)

    app: str
    commit: str
    manifest_digest: str
    kernel_key: str
    image: str | None = None
    live_version: int | None
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]
    capacity: Capacity | None = None
    changes: tuple[Change, ...] = ()

    @property
    def cost_usd(self) -> float:
        """What the run is reckoned to cost at most."""
        return sum(step.cost_usd for step in self.steps)

    @property
    def cost_least_usd(self) -> float:
        """What the run is reckoned to cost at least."""
        return sum(step.cost_least_usd for step in self.steps)

    @property
    def lasts_least_s(self) -> float:
        """How long the run is reckoned to last at least, of the stages of which that can be told."""
        return sum(step.lasts_least_s for step in self.steps)

    @property
    def lasts_most_s(self) -> float:
        """How long at most."""
        return sum(step.lasts_most_s for step in self.steps)

    def step(self, stage: str) -> Step:
        """The planned step of a stage."""
        return next(step for step in self.steps if step.stage == stage)

    def until(self, last: str) -> Plan:
        """The plan of a run that ends after a stage."""
        return self.model_copy(update={"steps": self.steps[: self.steps.index(self.step(last)) + 1]})


def errors_among(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that keep a run from starting: errors that nobody has waived."""
    return [finding for finding in findings if finding.severity is Severity.ERROR and finding.waiver is None]
