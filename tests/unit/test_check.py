"""Checks of what serves: what verdicts come to, what is left on record, and a request that keeps a replica warm."""

from __future__ import annotations

from typing import cast

import pytest

from slipway.errors import Misconfigured, Transient
from slipway.gates.evidence import Evidence
from slipway.gates.verdict import Decision, Verdict
from slipway.platforms.port import Job, Platform, Release, ServerSpec
from slipway.profile import Gate, Level, Profile, load_profile
from slipway.records.check import CheckRecord, Condition
from slipway.records.ledger import Ledger
from slipway.stages import check as checks
from slipway.stages import keep_warm as warming
from tests.support.stage_platform import MemoryPlatform

PROFILE = load_profile("glm51")
APP = PROFILE.app


def verdict(decision: Decision, level: Level = Level.REQUIRED, gate: str = "g") -> Verdict:
    return Verdict(gate=gate, level=level, decision=decision, limit="at most 1", n=3, reason="because")


@pytest.fixture
def platform() -> MemoryPlatform:
    """Version 1, of release `first`, serves."""
    made = MemoryPlatform()
    made.promote(made.deploy(APP, ServerSpec(release_id="first", argv=(), env={}, mounts=())))
    return made


def live(platform: MemoryPlatform) -> Release:
    return checks.require_live(cast("Platform", platform), APP)


@pytest.mark.parametrize(
    ("verdicts", "condition", "said"),
    [
        ([verdict(Decision.PASS), verdict(Decision.FAIL, Level.ADVISORY)], Condition.HEALTHY, "2 verdicts"),
        ([verdict(Decision.INCONCLUSIVE, gate="a")], Condition.UNDECIDED, "a INCONCLUSIVE"),
        ([verdict(Decision.INCONCLUSIVE, gate="a"), verdict(Decision.FAIL)], Condition.UNHEALTHY, "g FAIL (because)"),
    ],
)
def test_what_verdicts_come_to(verdicts: list[Verdict], condition: Condition, said: str) -> None:
    found, reason = checks.condition(verdicts)
    assert found is condition
    assert reason.startswith(said)


class MeasuringPlatform(MemoryPlatform):
    """One on which a job measures nothing, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []

    def start_job(self, job: Job) -> MeasuringPlatform:
        self.jobs.append(job)
        return self

    def wait(self, **_: object) -> None:
        return None


def test_the_live_release_is_judged_at_the_address_of_its_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """By every gate but those about a start, which is over; the record says what was found."""
    platform = MeasuringPlatform()
    platform.promote(platform.deploy(APP, ServerSpec(release_id="first", argv=(), env={}, mounts=())))
    judged: list[Gate] = []

    def judge(profile: Profile, evidence: Evidence, gates: list[Gate]) -> list[Verdict]:
        judged.extend(gates)
        assert evidence.facts.drift == ("it has drifted",)
        return [verdict(Decision.FAIL)]

    monkeypatch.setattr(checks, "judge", judge)
    monkeypatch.setattr(checks, "server_info", lambda endpoint: {"url": endpoint.url})
    monkeypatch.setattr(checks, "drift", lambda profile, info, release_id: [f"it has drifted{info['url'][:0]}"])
    monkeypatch.setattr(checks, "baseline", lambda ledger, profile: {})

    check, _ = checks.gate_live(cast("Platform", platform), PROFILE, progress=lambda _: None)

    asked = platform.jobs[0].arguments
    assert (asked["url"], asked["release_id"], asked["live_url"]) == ("http://live", "first", None)
    assert {gate.metric for gate in PROFILE.gates} - {gate.metric for gate in judged} <= checks.OF_A_START
    assert not {gate.metric for gate in judged} & checks.OF_A_START
    assert (check.condition, check.version) == (Condition.UNHEALTHY, 1)
    assert Ledger(cast("Platform", platform)).checks(APP) == [check]


def test_an_error_is_what_a_check_found(platform: MemoryPlatform) -> None:
    with (
        pytest.raises(Transient),
        checks.checking(cast("Platform", platform), PROFILE, live(platform), "gate"),
    ):
        raise Transient("No answer.", remedy="Wait.")
    stored: CheckRecord = Ledger(cast("Platform", platform)).checks(APP)[0]
    assert stored.condition is Condition.UNDECIDED
    assert "No answer. Wait." in stored.reason
    assert stored.ended_at is not None


def test_nothing_to_check() -> None:
    with pytest.raises(Misconfigured, match="Nothing serves glm51"):
        checks.require_live(cast("Platform", MemoryPlatform()), APP)


def test_keeping_warm_says_what_it_costs(platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    awaited: list[float] = []
    monkeypatch.setattr(warming, "await_awake", lambda endpoint, timeout_s: awaited.append(timeout_s))
    monkeypatch.setattr(warming, "complete_once", lambda endpoint: "first")

    warmth = warming.keep_warm(cast("Platform", platform), PROFILE)

    assert awaited == [PROFILE.scaling.startup_timeout_s], "a replica may have to start"
    assert "stays for 15m00s at $50.00 an hour: $12.50 at most" in str(warmth)
