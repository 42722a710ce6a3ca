"""The gates: what is asked of the candidate is observed, stored, and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from slipway.engine.client import server_info
from slipway.engine.drift import drift
from slipway.errors import Rejected
from slipway.gates import evidence as stored
from slipway.gates.evidence import Evidence, Facts
from slipway.gates.judge import figure_values, judge
from slipway.gates.session import workloads
from slipway.gates.verdict import Decision, Verdict, blocking
from slipway.measure import metrics
from slipway.measure.workload import available
from slipway.platforms.port import Deployment, Job, Mount, Phase, Platform, ServerStatus
from slipway.profile import Profile
from slipway.profile.workloads import Workload
from slipway.records.baseline import baseline, comparison_key
from slipway.records.ledger import LEDGER_VOLUME, evidence_folder
from slipway.redact import redact
from slipway.stages.datasets import datasets_mount
from slipway.stages.kernels import compiled_anew
from slipway.stages.machines import helper
from slipway.stages.names import Stage
from slipway.stages.run import Run, StageLog


def run_gates(run: Run, candidate: Deployment) -> None:
    """The stage: verdicts on the candidate, from evidence that was stored first.

    Raises:
        Rejected: If a critical or required gate has failed. One that is undecided is a person's to decide.
    """
    with run.stage(Stage.GATES) as stage:
        _store_facts(run, candidate)
        _observe_and_judge(run, candidate, stage, asked=run.profile, judged=run.profile)


def measure_again(run: Run, candidate: Deployment, *, times: int) -> None:
    """The stage once more: what is undecided is measured anew, with several times the requests.

    What was measured of those workloads before counts no more, so that the risks of each verdict are what they say.

    Raises:
        Rejected: If a critical or required gate has failed.
    """
    names = undecided_workloads(run)
    larger = {name: _times(spec, times) if name in names else spec for name, spec in run.profile.workloads.items()}
    judged = run.profile.model_copy(update={"workloads": larger})
    asked = judged.model_copy(update={"gates": tuple(gate for gate in judged.gates if gate.workload in names)})
    with run.stage(Stage.GATES) as stage:
        _observe_and_judge(run, candidate, stage, asked=asked, judged=judged)


def _times(workload: Workload, times: int) -> Workload:
    most = int(min(workload.requests * times, available(workload)))
    return workload.model_copy(update={"requests": most})


def undecided_workloads(run: Run) -> frozenset[str]:
    """Workloads with a gate that blocks by being undecided, which more requests may decide."""
    undecided = {verdict.gate for verdict in blocking(run.record.verdicts)}
    return frozenset(gate.workload for gate in run.profile.gates if gate.workload and gate.gate_id in undecided)


def _observe_and_judge(run: Run, candidate: Deployment, stage: StageLog, *, asked: Profile, judged: Profile) -> None:
    job = observe_job(
        run.platform,
        asked,
        url=candidate.url,
        release_id=run.release_id,
        folder=run.record.evidence,
        beside_live=run.profile.measure_live,
    )
    run.platform.start_job(job).wait(timeout_s=run.remaining_s(), progress=stage.progress)
    status = run.platform.status(candidate)
    evidence = _with_kernels(run, run.ledger.evidence(run.record), status)
    run.record.figures = {name: metrics.figures(taken) for name, taken in evidence.samples.items()}
    run.record.verdicts = judge(judged, evidence)
    _keep_for_comparison(run, evidence)
    if status.phase is not Phase.READY:
        raise Rejected(
            f"The candidate did not survive its gates: {status.phase}: {status.detail}.",
            remedy=f"`slipway show {run.release_id}` has what was measured until then; read the engine's log.",
        )
    require_none_failed(run.record.verdicts, run.release_id)
    undecided = len(blocking(run.record.verdicts))
    stage.done(f"{len(run.record.verdicts)} verdicts, {f'{undecided} undecided' if undecided else 'none blocks'}")


def require_none_failed(verdicts: Sequence[Verdict], release_id: str) -> None:
    """Refuse a candidate that has failed a critical or required gate.

    Raises:
        Rejected: With the reason of every gate that holds it back.
    """
    held_back = blocking(verdicts)
    if any(verdict.decision is Decision.FAIL for verdict in held_back):
        raise Rejected(
            "; ".join(f"{v.gate} {v.decision} ({v.reason})" for v in held_back) + ".",
            remedy=f"`slipway show {release_id}` has the evidence.",
        )


def _store_facts(run: Run, candidate: Deployment) -> None:
    """Everything that is judged beside samples, and known before they are taken."""
    endpoint = run.endpoint(candidate)
    info = server_info(endpoint)
    run.record.server = cast("dict[str, Any]", redact(info, [endpoint.api_key or ""]))
    run.record.evidence = evidence_folder(run.release_id)
    facts = Facts(
        drift=tuple(drift(run.profile, info, run.release_id)),
        cold_start_s=run.record.cold_start_s,
        baseline=baseline(run.ledger, run.profile),
    )
    _write_facts(run, facts)


def _with_kernels(run: Run, evidence: Evidence, status: ServerStatus) -> Evidence:
    """The evidence with what was compiled until now, stored: requests make an engine compile, too."""
    facts = evidence.facts.model_copy(update={"kernels": compiled_anew(run, status)})
    _write_facts(run, facts)
    return replace(evidence, facts=facts)


def _write_facts(run: Run, facts: Facts) -> None:
    run.ledger.write(f"{run.record.evidence}/{stored.FACTS_FILE}", facts.model_dump_json(indent=2).encode())


def _keep_for_comparison(run: Run, evidence: Evidence) -> None:
    """What later releases are compared with."""
    run.record.estimates = figure_values(run.profile, evidence)
    run.record.comparison_keys = {name: comparison_key(run.profile, name) for name in workloads(run.profile)}


def observe_job(
    platform: Platform, profile: Profile, *, url: str, release_id: str, folder: str, beside_live: bool = False
) -> Job:
    """The job that measures an endpoint from where the platform runs jobs, and stores what it saw in the ledger.

    Args:
        platform: Where it runs.
        profile: Whose workloads.
        url: Base URL.
        release_id: The release that must answer.
        folder: Of the evidence, in the ledger's volume; its facts are there already.
        beside_live: Measure the live release in turn.
    """
    mounts, env = datasets_mount(profile)
    return Job(
        name="observe",
        function="slipway.gates.session:observe",
        arguments={
            "url": url,
            "live_url": platform.live_url(profile.app) if beside_live and platform.live(profile.app) else None,
            "profile": profile.model_dump(mode="json"),
            "release_id": release_id,
            "folder": folder,
            "timeout_s": profile.scaling.request_timeout_s,
        },
        mounts=(Mount("ledger", LEDGER_VOLUME, read_only=False), *mounts),
        env=env,
        secrets=(profile.api_key_secret,),
        resources=helper(profile, "measure"),
    )
