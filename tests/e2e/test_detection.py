"""Faults, each caught by the gate that is meant for it and named in its reason; and a healthy server that passes.

The server double behaves as its knobs say; the job that observes and the judge are the real ones.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.endpoint import Endpoint
from slipway.engine.client import server_info
from slipway.engine.drift import drift
from slipway.gates.answers import right_by_id
from slipway.gates.case import Case
from slipway.gates.evidence import Comparable, Evidence, Facts, save_facts
from slipway.gates.judge import figure_values, judge
from slipway.gates.session import session
from slipway.gates.verdict import Decision, Verdict, blocking
from slipway.measure import warmup
from slipway.profile import Profile, Warmup, load_profile
from tests.support.knob_server import serving
from tests.support.knobs import Knobs
from tests.support.miniature_process import API_KEY, CHECKPOINT, start, stop

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ATTEMPTS = 3
TIMEOUT_S = 4.0
"""Of one request; a healthy one takes a tenth of a second."""

WARMUP = Warmup(concurrency=4, prompt_tokens=(64,))

SPREAD = (0.97, 1.03, 0.99, 1.0, 1.01)
"""Accepted releases differ by this much by themselves."""

WORKLOADS: dict[str, dict[str, Any]] = {
    "chat": {"kinds": ("addition", "subtraction", "copy"), "requests": 300, "blocks": 3, "concurrency": 8},
    "sums": {"kinds": ("addition", "subtraction"), "requests": 1320, "blocks": 3, "concurrency": 32},
    "tools": {"kinds": ("tool",), "requests": 80, "blocks": 2, "concurrency": 8},
}
GATES: dict[str, dict[str, Any]] = {
    "config_drift": {"metric": "config_drift", "statistic": "equal"},
    "conformance": {"metric": "conformance", "statistic": "equal"},
    "cold_start_s.total": {"metric": "cold_start_s", "statistic": "total", "at_most": 1.5, "level": "required"},
    "error_rate.share@chat": {"metric": "error_rate", "statistic": "share", "workload": "chat", "at_most": 0.02},
    "error_rate.share@sums": {"metric": "error_rate", "statistic": "share", "workload": "sums", "at_most": 0.004},
    "degenerate.share@chat": {"metric": "degenerate", "statistic": "share", "workload": "chat"},
    "ttft_s.p99@chat": {"metric": "ttft_s", "statistic": "p99", "workload": "chat", "at_most": 0.15},
    "tpot_s.p50@chat": {"metric": "tpot_s", "statistic": "p50", "workload": "chat", "at_most": 0.01},
    "tpot_s.p50.baseline@chat": {"metric": "tpot_s", "statistic": "p50", "workload": "chat"},
    "accept_length.mean@chat": {
        "metric": "accept_length",
        "statistic": "mean",
        "workload": "chat",
        "at_least": 2.8,
        "at_most": 3.8,
    },
    "accuracy.drop@sums": {"metric": "accuracy", "statistic": "drop", "workload": "sums", "at_most": 0.01},
    "tool_calls.share@tools": {"metric": "tool_calls", "statistic": "share", "workload": "tools", "at_least": 0.9},
}


def profile(*gates: str) -> Profile:
    """What the server double is, judged by some of the gates."""
    document = load_profile("glm51").model_dump(mode="json")
    knobs = Knobs()
    document["model"] |= {"served_name": knobs.model}
    document["engine"] |= {"context_length": knobs.context_length, "max_total_tokens": None}
    document["warmup"] |= {"prompt_tokens": (64,), "concurrency": 4}
    document["workloads"] = {name: {"max_tokens": 200, **each} for name, each in WORKLOADS.items()}
    document["gates"] = [GATES[name] for name in gates or GATES]
    return Profile.model_validate(document)


def observed(knobs: Knobs, chosen: Profile, folder: Path, baseline: Mapping[str, Comparable]) -> Evidence:
    """Warm the double up and observe it, as a release does."""
    with serving(knobs) as url:
        endpoint = Endpoint(url, knobs.model, knobs.api_key, None)
        cold = any(gate.metric == "cold_start_s" for gate in chosen.gates)
        report = drift(chosen, server_info(endpoint), None)
        facts = Facts(
            drift=tuple(each for each in report if each.startswith(("speculative", "kv_cache"))),
            cold_start_s={"coverage": warmup.warm_up(endpoint, WARMUP, timeout_s=20).coverage_s} if cold else {},
            baseline=dict(baseline),
        )
        save_facts(folder, facts)
        return session(endpoint, chosen, folder, timeout_s=TIMEOUT_S, progress=lambda _: None)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return observed(Knobs(), profile(), tmp_path_factory.mktemp("healthy"), {})


@pytest.fixture(scope="module")
def baseline(healthy: Evidence) -> dict[str, Comparable]:
    """Five accepted releases like the healthy one."""
    whole = profile()
    figures = {name: tuple(value * each for each in SPREAD) for name, value in figure_values(whole, healthy).items()}
    releases = tuple(f"release-{number}" for number in range(len(SPREAD)))
    drop = next(gate for gate in whole.gates if gate.gate_id == "accuracy.drop@sums")
    right = right_by_id(Case(whole, drop, healthy))
    return {
        "chat": Comparable(releases=releases, figures=figures),
        "sums": Comparable(releases=releases[-1:], right=right),
    }


def verdicts(knobs: Knobs, folder: Path, baseline: Mapping[str, Comparable], *gates: str) -> dict[str, Verdict]:
    chosen = profile(*gates)
    found = measured_well(lambda place: observed(knobs, chosen, place, baseline), chosen, folder)
    return {v.gate: v for v in judge(chosen, found)}


def measured_well(measure: Callable[[Path], Evidence], chosen: Profile, folder: Path) -> Evidence:
    """Measured again, as the client says itself, where it had no processor for too long."""
    for attempt in range(ATTEMPTS):
        place = folder / f"attempt-{attempt}"
        place.mkdir()
        found = measure(place)
        if not any("measurement is invalid" in verdict.reason for verdict in judge(chosen, found)):
            break
    return found


def test_healthy_server_passes_every_gate(tmp_path: Path, baseline: dict[str, Comparable]) -> None:
    found = verdicts(Knobs(seed=1), tmp_path, baseline)
    assert {name: verdict.reason for name, verdict in found.items() if verdict.decision is not Decision.PASS} == {}
    assert found.keys() == GATES.keys()


FAULTS: list[tuple[str, Knobs, str, str]] = [
    ("TPOT +15 %", Knobs(tpot_s=0.00115), "tpot_s.p50.baseline@chat", "against the mean of 5 releases"),
    ("a TTFT tail at 5 %", Knobs(tail_share=0.05), "ttft_s.p99@chat", "chance does not explain it"),
    ("drafts are worse", Knobs(accept_length=2.6), "accept_length.mean@chat", "measured 2."),
    ("drafts are all rejected", Knobs(accept_length=1.0), "accept_length.mean@chat", "measured 1"),
    ("drafts are all accepted", Knobs(accept_length=4.0), "accept_length.mean@chat", "measured 4"),
    ("speculation is off", Knobs(speculation=False), "config_drift", "speculative_algorithm is None"),
    ("2 points of accuracy", Knobs(accuracy=0.98), "accuracy.drop@sums", "measured 0.0"),
    ("arguments mistyped", Knobs(mistyped_when_streaming=True), "conformance", "arguments.streamed-same"),
    ("arguments mistyped", Knobs(mistyped_when_streaming=True), "tool_calls.share@tools", "chance does not explain"),
    ("thoughts in the answer", Knobs(leak_share=0.5), "conformance", "reasoning."),
    ("no [DONE]", Knobs(no_done_share=0.1), "error_rate.share@chat", "the stream ended without [DONE]"),
    ("no usage", Knobs(usage=False), "tpot_s.p50@chat", "token counts in every event"),
    ("a token twice", Knobs(duplicate_share=0.5), "conformance", "stream."),
    ("a token lost", Knobs(drop_share=0.5), "conformance", "stream."),
    ("1 stream in 200 hangs", Knobs(hang_share=0.005), "error_rate.share@sums", f"no end within {TIMEOUT_S:g} s"),
    ("a slow first request", Knobs(first_request_s=3.0), "cold_start_s.total", "chance does not explain it"),
    ("answers from a cache", Knobs(answers_from_cache=True), "tpot_s.p50@chat", "in the server's prefix cache already"),
    ("somebody else's load", Knobs(foreign_requests=1.0), "tpot_s.p50@chat", "it had other traffic"),
    ("loops", Knobs(loop_share=0.2), "degenerate.share@chat", "chance does not explain it"),
    ("characters of all scripts", Knobs(garble_share=0.2), "degenerate.share@chat", "chance does not explain it"),
    ("a key told", Knobs(api_key="k-123456", echo_key=True), "conformance", "keys.server-info"),
    ("errors", Knobs(error_share=0.1), "error_rate.share@chat", "HTTP 500"),
]


@pytest.mark.parametrize(("fault", "knobs", "gate", "reason"), FAULTS, ids=[f"{f}-{g}" for f, _, g, _ in FAULTS])
def test_fault_is_caught_by_its_gate_and_named(
    fault: str, knobs: Knobs, gate: str, reason: str, tmp_path: Path, baseline: dict[str, Comparable]
) -> None:
    found = verdicts(knobs, tmp_path, baseline, gate)[gate]
    assert blocking([found]), f"{fault} passed: {found.reason}"
    assert reason in found.reason


# --- a fault of the weights, on the miniature -------------------------------------------------------------------


def test_a_wrong_fp8_scale_is_caught_by_accuracy(tmp_path: Path) -> None:
    broken = tmp_path / "checkpoint"
    shutil.copytree(CHECKPOINT, broken)
    _spoil_one_scale(broken)
    miniature = load_profile("miniature")
    chosen = miniature.model_copy(update={"gates": tuple(g for g in miniature.gates if g.metric == "accuracy")})
    server = start(tmp_path, "--served-model-name", miniature.model.served_name, model_path=broken)
    try:
        save_facts(tmp_path, Facts())
        endpoint = Endpoint(server.url, miniature.model.served_name, API_KEY)
        evidence = session(endpoint, chosen, tmp_path, timeout_s=60, progress=lambda _: None)
    finally:
        stop(server)
    floor = judge(chosen, evidence)[0]
    assert (floor.gate, floor.decision) == ("accuracy.share@arithmetic", Decision.FAIL)


def _spoil_one_scale(checkpoint: Path) -> None:
    """Make the weights of one projection four times too large, as a scale read in the wrong order does."""
    for shard in sorted(checkpoint.glob("*.safetensors")):
        data = bytearray(shard.read_bytes())
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        name = next((each for each in header if each.endswith("o_proj.weight_scale_inv")), None)
        if name is None:
            continue
        begin, end = (8 + size + offset for offset in header[name]["data_offsets"])
        data[begin:end] = (np.frombuffer(data[begin:end], np.float32) * np.float32(4)).tobytes()
        shard.write_bytes(data)
        return
    raise AssertionError("no shard holds a scale")


# --- against the live release, measured in turn ------------------------------------------------------------------


@pytest.mark.parametrize(("tpot_s", "passes"), [(0.003, True), (0.0039, False)])
def test_slower_than_the_live_release_is_caught_without_any_ledger(tpot_s: float, passes: bool, tmp_path: Path) -> None:
    chosen = profile("tpot_s.p50.baseline@chat")
    # Slow enough that two servers and the client keep up beside each other on two cores.
    with serving(Knobs(seed=1, tpot_s=0.003)) as live_url, serving(Knobs(tpot_s=tpot_s)) as url:
        live, candidate = Endpoint(live_url, Knobs().model), Endpoint(url, Knobs().model)

        def measure(place: Path) -> Evidence:
            save_facts(place, Facts())
            return session(candidate, chosen, place, live=live, timeout_s=20, progress=lambda _: None)

        evidence = measured_well(measure, chosen, tmp_path)
    assert [sample.request_id for sample in evidence.live["chat"]] == [s.request_id for s in evidence.samples["chat"]]
    (found,) = judge(chosen, evidence)
    assert (found.n, found.decision is Decision.PASS) == (WORKLOADS["chat"]["blocks"], passes), found.reason
    assert found.baseline == "live"
    assert "against the live release in 3 blocks" in found.reason
