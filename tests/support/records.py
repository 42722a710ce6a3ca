"""Records of runs made by hand: promoted, rejected, cut off, and full of text that no page should trust."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from slipway.gates.judge import judge
from slipway.measure import metrics
from slipway.preflight.plan import Finding, Plan, Severity, Step
from slipway.profile import Profile, Waiver, load_profile
from slipway.records.baseline import comparison_key
from slipway.records.record import Outcome, ReleaseRecord, StageRecord, StageStatus
from slipway.stages.names import Stage
from tests.support.measure_samples import healthy, seen

AT = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
FIRST = AT + timedelta(hours=1)
PROFILE = load_profile("miniature")
SAMPLES = healthy(PROFILE)
EVIDENCE = seen(SAMPLES)


def promoted(number: int = 1, *, profile: Profile = PROFILE, **changes: Any) -> ReleaseRecord:
    """The record of a release that passed, the `number`th of its app, an hour after the one before."""
    began = AT + timedelta(hours=number)
    values: dict[str, Any] = {
        "release_id": f"{profile.app}.{began:%Y%m%dT%H%M%S}-{number:04x}",
        "app": profile.app,
        "started_at": began,
        "ended_at": began + timedelta(seconds=40),
        "outcome": Outcome.PROMOTED,
        "reason": f"version {number} serves",
        "exit_code": 0,
        "profile": profile.model_dump(mode="json"),
        "plan": plan(),
        "commit": "c" * 40,
        "manifest_digest": "d" * 64,
        "kernel_key": "e" * 64,
        "argv": ["python", "-m", "supervisor", "--release-id", "x", "--", "engine", "--tp-size", "1", "--fast"],
        "stages": [stage(name, 5.0 * place, began) for place, name in enumerate(Stage)],
        "verdicts": judge(profile, EVIDENCE),
        "figures": {name: metrics.figures(taken) for name, taken in SAMPLES.items()},
        "comparison_keys": {name: comparison_key(profile, name) for name in profile.workloads},
        "server": {"version": "0.5.12.post1", "kernel_version": "7"},
        "cold_start_s": {"load": 1.5, "first_inference": 0.25, "total": 1.75, "coverage": 2.0},
        "version": number,
        "previous_version": number - 1 or None,
        "cost_usd": 0.5,
    }
    return ReleaseRecord(**(values | changes))


def began(**changes: Any) -> ReleaseRecord:
    """The record of a run that died before it had planned anything."""
    return ReleaseRecord(
        **{
            "release_id": f"{PROFILE.app}.20261122T120000-0000",
            "app": PROFILE.app,
            "started_at": AT - timedelta(hours=1),
            "profile": PROFILE.model_dump(mode="json"),
            **changes,
        }
    )


def stage(name: str, after_s: float, began: datetime = FIRST, **changes: Any) -> StageRecord:
    """A stage of four seconds that ended well."""
    at = began + timedelta(seconds=after_s)
    values: dict[str, Any] = {"status": StageStatus.DONE, "started_at": at, "seconds": 4.0, "cost_usd": 0.0625}
    return StageRecord(name=name, **(values | changes))


def plan(text: str = "because") -> Plan:
    """A plan with a finding that stands and one that is waived."""
    waiver = Waiver(rule="waived-rule", reason=f"Known: {text}", expires=date(2027, 3, 31))
    return Plan(
        app=PROFILE.app,
        commit="c" * 40,
        manifest_digest="d" * 64,
        kernel_key="e" * 64,
        live_version=None,
        steps=(Step(stage="sync weights", runs=True, why=text),),
        findings=(
            Finding(rule="a-rule", severity=Severity.WARNING, message=text, remedy=text),
            Finding(rule="waived-rule", severity=Severity.ERROR, message=text, remedy=text, waiver=waiver),
        ),
    )
