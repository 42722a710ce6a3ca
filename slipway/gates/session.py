"""The job that observes a candidate: workload by workload, block by block, until its gates are decided.

What was seen is stored before anything is decided from it. A gate that is certain after a quarter of the
requests ends its workload there: eight B200s cost $0.83 a minute.
"""

from __future__ import annotations

import functools
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from slipway.endpoint import Endpoint
from slipway.engine.client import metrics_text
from slipway.gates.evidence import LIVE_FOLDER, Evidence, Facts, read_folder, save_facts, save_samples
from slipway.gates.judge import judge
from slipway.gates.looks import extended, planned
from slipway.gates.questions import Asked, save_questions
from slipway.gates.verdict import Decision
from slipway.measure.client import drive, merge
from slipway.measure.conformance import CHECKS, Expectations, Probe, run_probes
from slipway.measure.counters import from_metrics
from slipway.measure.prompts.catalogue import SETS
from slipway.measure.quality import Quality
from slipway.measure.run import counted
from slipway.measure.samples import Sample, parse_all
from slipway.measure.workload import ChatRequest, build, load_of
from slipway.platforms.port import JobContext, Progress, ProgressSink
from slipway.profile import Gate, Level, Profile, Workload

_SLOW_IMPORTS: Final = ("scipy.special", "pandas")
"""What judging and storing import where they first need it, a second in all (pyarrow asks whether a list is pandas').

While the endpoint answers the checks there is time for it.
"""


def observe(
    context: JobContext,
    *,
    url: str,
    live_url: str | None,
    profile: dict[str, Any],
    release_id: str,
    folder: str,
    timeout_s: float,
) -> dict[str, Any]:
    """Observe an endpoint from where the job runs; the evidence goes to mount `ledger`.

    Args:
        context: With mount `ledger`, and the profile's API key among its secrets.
        url: Base URL.
        live_url: Base URL of the live release, to be measured in turn; None: only the candidate is.
        profile: The profile, as JSON.
        release_id: The release that must answer.
        folder: Where the evidence is, relative to the mount; its facts are there already.
        timeout_s: Deadline of each request.

    Returns:
        Seconds it took.
    """
    began_s = time.perf_counter()
    chosen = Profile.model_validate(profile)
    mount = context.mounts["ledger"]
    key = os.environ.get(chosen.api_key_secret)
    candidate = Endpoint(url, chosen.model.served_name, key, release_id)
    live = Endpoint(live_url, chosen.model.served_name, key) if live_url else None
    session(
        candidate,
        chosen,
        mount.path / folder,
        live=live,
        timeout_s=timeout_s,
        progress=context.progress,
        on_stored=mount.commit,  # what was seen outlives a job that dies later
    )
    return {"seconds": time.perf_counter() - began_s}


def session(
    candidate: Endpoint,
    profile: Profile,
    folder: Path,
    *,
    live: Endpoint | None = None,
    timeout_s: float,
    progress: ProgressSink,
    on_stored: Callable[[], None] = lambda: None,
) -> Evidence:
    """Check an endpoint's conformance and measure every workload that a gate reads.

    Args:
        candidate: What is observed.
        profile: What is asked of it.
        folder: Where the evidence goes; its facts are there already.
        live: Measured in turn with the candidate.
        timeout_s: Deadline of each request.
        progress: Told how far it is.
        on_stored: Called when the checks, or a whole workload, are in `folder`.

    Returns:
        The evidence as it was stored.
    """
    facts = read_folder(folder).facts
    with ThreadPoolExecutor(1) as aside:  # nothing is timed before this block ends
        aside.map(import_module, _SLOW_IMPORTS)
        if any(gate.metric == "conformance" for gate in profile.gates):
            facts = facts.model_copy(update={"probes": _probes(candidate, profile, timeout_s, progress)})
            save_facts(folder, facts)
            on_stored()
    for name in workloads(profile):
        _measure(candidate, live, profile, name, facts, folder, timeout_s=timeout_s, progress=progress)
        on_stored()
    return read_folder(folder)


def workloads(profile: Profile) -> list[str]:
    """Workloads that some gate reads, in the profile's order."""
    used = {gate.workload for gate in profile.gates}
    return [name for name in profile.workloads if name in used]


def _probes(endpoint: Endpoint, profile: Profile, timeout_s: float, progress: ProgressSink) -> tuple[Probe, ...]:
    expects = Expectations(
        model=profile.model.served_name,
        context_length=profile.engine.context_length,
        reasoning=profile.engine.reasoning_parser is not None,
        tools=profile.engine.tool_call_parser is not None,
        requires_key=endpoint.api_key is not None,
        release_id=endpoint.release_id,
        slots=profile.engine.max_running_requests,
    )
    done = itertools.count(1)
    return run_probes(
        endpoint,
        expects=expects,
        timeout_s=timeout_s,
        on_done=lambda probe: progress(Progress(next(done), len(CHECKS), "checks", probe.check)),
    )


def _measure(
    candidate: Endpoint,
    live: Endpoint | None,
    profile: Profile,
    name: str,
    facts: Facts,
    folder: Path,
    *,
    timeout_s: float,
    progress: ProgressSink,
) -> None:
    """Measure one workload until its gates are decided."""
    workload = profile.workloads[name]
    asked = _keep_questions(folder, name, workload)
    mine, theirs = Taken(), Taken()
    before = from_metrics(metrics_text(candidate))
    for block, requests in enumerate(_blocks(name, profile, salt=candidate.release_id or secrets.token_hex(4))):
        turns = [(candidate, mine)] + ([(live, theirs)] if live else [])
        for endpoint, taken in turns if block % 2 == 0 else reversed(turns):  # neither is always the first
            tell = functools.partial(_tell, progress, len(taken.samples), workload.requests, name)
            load = load_of(workload, len(requests))
            observed = drive(endpoint, requests, load, timeout_s=timeout_s, on_done=tell)
            taken.samples += parse_all(name, observed.exchanges, block=block)
            taken.qualities.append(observed.quality)
        counters = counted(candidate, before, served=sum(not sample.error for sample in mine.samples))
        save_samples(folder, name, tuple(mine.samples), merge(mine.qualities), counters)
        if live:
            save_samples(folder / LIVE_FOLDER, name, tuple(theirs.samples), merge(theirs.qualities))
        seen = Evidence(
            facts=facts,
            samples={name: tuple(mine.samples)},
            quality={name: merge(mine.qualities)},
            counters={name: counters},
            questions=asked,
        )
        if settled(profile, name, seen):
            break


def _keep_questions(folder: Path, name: str, workload: Workload) -> dict[str, dict[str, Asked]]:
    """Store what is asked, where it comes from a file that nobody may have when verdicts are made again."""
    if not SETS[workload.prompts].from_files:
        return {}
    requests = build(name, extended(workload))
    save_questions(folder, name, requests)
    return {name: {request.request_id: Asked.of(request) for request in requests}}


def _tell(progress: ProgressSink, before: int, total: int, name: str, done: int) -> None:
    progress(Progress(before + done, total, "requests", name))


@dataclass
class Taken:
    """What was measured of one endpoint so far."""

    samples: list[Sample] = field(default_factory=list)
    qualities: list[Quality] = field(default_factory=list)


def _blocks(name: str, profile: Profile, *, salt: str) -> Iterator[Sequence[ChatRequest]]:
    """The requests of each look; no other run's prompts begin like these, so that no cache has seen them."""
    workload = profile.workloads[name]
    requests = build(name, extended(workload), salt=salt)
    for begin, end in itertools.pairwise((0, *planned(workload))):
        yield requests[begin:end]


def settled(profile: Profile, workload: str, evidence: Evidence) -> bool:
    """Whether further requests could change no decision on this workload.

    What is compared with other releases is measured to the planned number, as they were: fewer requests would be
    noisier than the baseline's spread tells, and a comparison with a live release needs its blocks.
    """
    compared = any(gate.workload == workload and gate.worse_by is not None for gate in profile.gates)
    if compared and len(evidence.samples[workload]) < profile.workloads[workload].requests:
        return False
    gates = [gate for gate in profile.gates if gate.workload == workload and _waits_for_requests(gate)]
    return all(v.decision is not Decision.INCONCLUSIVE or v.n == 0 for v in judge(profile, evidence, gates))


def _waits_for_requests(gate: Gate) -> bool:
    """Advisory gates hold nothing up, and the spread between releases is not seen in requests of one."""
    return gate.level is not Level.ADVISORY and gate.worse_by is None
