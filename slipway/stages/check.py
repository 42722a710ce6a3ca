"""Checks of what serves: the gates of a profile against the live release. Nothing is released, nobody is held up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal

from slipway.endpoint import Endpoint
from slipway.engine.client import server_info
from slipway.engine.drift import drift
from slipway.errors import Misconfigured
from slipway.gates.evidence import FACTS_FILE, Evidence, Facts
from slipway.gates.judge import judge
from slipway.gates.verdict import Decision, Verdict, blocking
from slipway.platforms.port import Platform, ProgressSink, Release
from slipway.profile import Profile
from slipway.records.baseline import baseline
from slipway.records.check import CheckRecord, Condition
from slipway.records.ledger import Ledger, evidence_folder
from slipway.stages.gating import observe_job
from slipway.stages.release import describe
from slipway.stages.run import new_release_id
from slipway.units import utc_now

OF_A_START: Final = frozenset({"cold_start_s", "kernels"})
"""Metrics that judge how a release started, which is over once it serves."""


def gate_live(platform: Platform, profile: Profile, *, progress: ProgressSink) -> tuple[CheckRecord, Evidence]:
    """Judge the live release of a profile's app by that profile's gates: drift, and regressions since it was accepted.

    Raises:
        Misconfigured: If nothing serves, or it refuses the API key.
        Transient: If it does not answer.
    """
    live = require_live(platform, profile.app)
    with checking(platform, profile, live, "gate") as check:
        evidence = _observed(platform, profile, live, check, progress)
        gates = [gate for gate in profile.gates if gate.metric not in OF_A_START]
        check.verdicts = judge(profile, evidence, gates)
        check.condition, check.reason = condition(check.verdicts)
    return check, evidence


def _observed(
    platform: Platform, profile: Profile, live: Release, check: CheckRecord, progress: ProgressSink
) -> Evidence:
    ledger, endpoint = Ledger(platform), live_endpoint(platform, profile, live)
    check.evidence = evidence_folder(check.check_id)
    facts = Facts(
        drift=tuple(drift(profile, server_info(endpoint), live.release_id)),
        baseline=baseline(ledger, profile),
    )
    ledger.write(f"{check.evidence}/{FACTS_FILE}", facts.model_dump_json(indent=2).encode())
    job = observe_job(platform, profile, url=endpoint.url, release_id=live.release_id, folder=check.evidence)
    platform.start_job(job).wait(timeout_s=profile.budget.max_run_s, progress=progress)
    return ledger.evidence_in(check.evidence)


def condition(verdicts: Sequence[Verdict]) -> tuple[Condition, str]:
    """What verdicts on a live release come to, and why."""
    held_back = blocking(verdicts)
    worst = [verdict for verdict in held_back if verdict.decision is Decision.FAIL] or held_back
    if not worst:
        return Condition.HEALTHY, f"{len(verdicts)} verdicts, none blocks"
    failed = worst[0].decision is Decision.FAIL
    reason = "; ".join(f"{verdict.gate} {verdict.decision} ({verdict.reason})" for verdict in worst)
    return (Condition.UNHEALTHY if failed else Condition.UNDECIDED), reason


def require_live(platform: Platform, app: str) -> Release:
    """The release that serves.

    Raises:
        Misconfigured: If none does.
    """
    if live := platform.live(app):
        return live
    raise Misconfigured(f"Nothing serves {app}.", remedy="Release it first: `slipway redeploy`.")


def live_endpoint(platform: Platform, profile: Profile, live: Release) -> Endpoint:
    """The address that users have, as a client that expects the live release there."""
    key = platform.secret(profile.api_key_secret)
    return Endpoint(platform.live_url(profile.app), profile.model.served_name, key, live.release_id)


@contextmanager
def checking(
    platform: Platform, profile: Profile, live: Release, kind: Literal["gate", "watch"]
) -> Iterator[CheckRecord]:
    """A record of a check, stored at its begin and its end; an error inside is what it found."""
    ledger = Ledger(platform)
    check = CheckRecord(
        check_id=new_release_id(profile.app),
        kind=kind,
        app=profile.app,
        release_id=live.release_id,
        version=live.version,
        started_at=utc_now(),
    )
    ledger.save_check(check)
    try:
        yield check
    except BaseException as error:
        if check.condition is Condition.RUNNING:
            check.condition = Condition.UNDECIDED
        check.reason = f"{check.reason} The check did not end: {describe(error)}".strip()
        raise
    finally:
        check.ended_at = utc_now()
        ledger.save_check(check)
