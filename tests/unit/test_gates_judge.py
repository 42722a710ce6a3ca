"""Verdicts: on which side of the limit, how surely, why, and the same again from what was stored."""

from __future__ import annotations

import bisect
import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.errors import Misconfigured
from slipway.gates import statistics
from slipway.gates.decide import FALSE_ALARM
from slipway.gates.evidence import Comparable, Evidence, Facts, read_folder, save_facts, save_samples
from slipway.gates.judge import judge
from slipway.gates.looks import confidence_at, extended, planned
from slipway.gates.verdict import Decision, Verdict, blocking
from slipway.measure.conformance import Probe
from slipway.measure.samples import Sample
from slipway.profile import Gate, Level, Profile, load_profile
from tests.support.measure_samples import healthy, sample, seen, taken

PASS, FAIL, INCONCLUSIVE = Decision.PASS, Decision.FAIL, Decision.INCONCLUSIVE


@functools.cache
def miniature() -> Profile:
    return load_profile("miniature")


def with_gate(**gate: Any) -> Profile:
    return miniature().model_copy(update={"gates": (Gate.model_validate(gate),)})


def verdict(samples: list[Sample], **gate: Any) -> Verdict:
    (found,) = judge(with_gate(**gate), seen({gate.get("workload", "chat"): samples}))
    return found


def surely(confidence: float, workload: str = "chat") -> float:
    """The confidence of the bounds at the first look, for all looks together to have the given one."""
    return confidence_at(planned(miniature().workloads[workload]), 0, confidence)


def ttft(values_s: list[float], **gate: Any) -> Verdict:
    samples = [sample(event_s=(value,), event_tokens=(1,)) for value in values_s]
    return verdict(samples, metric="ttft_s", workload="chat", **gate)


# --- the whole profile -----------------------------------------------------------------------------------------


def test_healthy_miniature_passes_every_gate() -> None:
    verdicts = judge(miniature(), seen(healthy(miniature())))
    assert [v.gate for v in verdicts] == [gate.gate_id for gate in miniature().gates]
    assert blocking(verdicts) == []
    unjudged = {v.gate: v.reason for v in verdicts if v.decision is not PASS}
    assert unjudged.keys() == {"accept_length.mean.baseline@chat", "accuracy.drop@arithmetic"}
    assert all("absolute limits alone" in reason for reason in unjudged.values())


def test_verdicts_are_the_same_byte_for_byte_from_what_was_stored(tmp_path: Path) -> None:
    samples = healthy(miniature()) | {"arithmetic": taken(miniature(), "arithmetic", wrong=9, failed=2)}
    evidence = seen(samples, drift=("tp_size is 2, asked for 1",), probes=(Probe("a.b", "broken", "it is"),))
    save_facts(tmp_path, evidence.facts)
    for name, each in evidence.samples.items():
        save_samples(tmp_path, name, each, evidence.quality[name])
    verdicts = judge(miniature(), evidence)
    again = judge(miniature(), read_folder(tmp_path))
    assert [v.model_dump_json() for v in again] == [v.model_dump_json() for v in verdicts]
    assert [Verdict.model_validate_json(v.model_dump_json()) for v in verdicts] == verdicts


def test_server_that_answers_nothing_fails_every_measured_gate() -> None:
    dead = {name: taken(miniature(), name, failed=spec.requests) for name, spec in miniature().workloads.items()}
    compared = ("baseline@", "drop@")  # with what? nothing was accepted before
    verdicts = [v for v in judge(miniature(), seen(dead)) if "@" in v.gate and not any(c in v.gate for c in compared)]
    assert {v.decision for v in verdicts} == {FAIL}
    assert all("HTTP 500: boom" in v.reason for v in verdicts)


def test_no_samples_at_all_pass_nothing_that_is_measured() -> None:
    verdicts = judge(miniature(), seen({name: [] for name in miniature().workloads}))
    assert {v.n for v in verdicts if "@" in v.gate} == {0}
    assert PASS not in {v.decision for v in verdicts if "@" in v.gate}


def test_samples_of_other_workloads_are_refused() -> None:
    samples = healthy(miniature())
    samples["arithmetic"] = [sample(request_id="arithmetic-99999")]
    with pytest.raises(Misconfigured, match="arithmetic-99999"):
        judge(miniature(), seen(samples))


# --- configuration ---------------------------------------------------------------------------------------------


def test_drift_fails_and_is_told() -> None:
    profile = with_gate(metric="config_drift", statistic="equal", level="critical")
    (same,) = judge(profile, seen({}))
    (other,) = judge(
        profile, seen({}, drift=("kv_cache_dtype is 'fp8_e4m3', asked for 'bfloat16'", "tp_size is 2, asked for 1"))
    )
    assert (same.decision, same.estimate) == (PASS, 0)
    assert (other.decision, other.estimate) == (FAIL, 2)
    assert "fp8_e4m3" in other.reason
    assert "tp_size" in other.reason


def test_kernels_compiled_anew_fail_and_are_told() -> None:
    profile = with_gate(metric="kernels", statistic="equal")
    (none,) = judge(profile, seen({}, kernels=()))
    (some,) = judge(profile, seen({}, kernels=("none were given: no cache", "in the volume: stale: image changed")))
    (unknown,) = judge(profile, seen({}, kernels=None))
    assert (none.decision, some.decision, unknown.decision) == (PASS, FAIL, INCONCLUSIVE)
    assert "image changed" in some.reason
    assert blocking([none, some, unknown]) == [some], "of a server that Slipway did not start, nobody knows"


# --- both directions of a limit --------------------------------------------------------------------------------

SPREAD = np.linspace(0.1, 0.2, 101)
USUAL = statistics.quantile(SPREAD, 0.5, surely(0.95))
ALARM = statistics.quantile(SPREAD, 0.5, surely(1 - FALSE_ALARM))  # one gate alone: the whole risk is its


def test_at_most() -> None:
    def decided(limit: float) -> tuple[Decision, float | None]:
        found = ttft(SPREAD.tolist(), statistic="p50", at_most=limit)
        return found.decision, found.margin

    assert decided(USUAL.high + 0.0005) == (PASS, pytest.approx(0.0005))
    assert decided(USUAL.high - 0.0005) == (INCONCLUSIVE, pytest.approx(-0.0005))
    assert decided(ALARM.low)[0] is INCONCLUSIVE
    assert decided(ALARM.low - 0.0005)[0] is FAIL


def test_at_least() -> None:
    def decided(limit: float) -> Decision:
        return ttft(SPREAD.tolist(), statistic="p50", at_least=limit).decision

    assert decided(USUAL.low - 0.0005) is PASS
    assert decided(USUAL.low + 0.0005) is INCONCLUSIVE
    assert decided(ALARM.high) is INCONCLUSIVE
    assert decided(ALARM.high + 0.0005) is FAIL


def test_both_limits_of_what_can_be_too_good() -> None:
    def decided(counts: tuple[int, ...]) -> Decision:
        steps = [0.01 * index for index in range(len(counts))]
        many = [sample(event_s=tuple(steps), event_tokens=counts) for _ in range(64)]
        gate = {"metric": "accept_length", "statistic": "mean", "at_least": 2.5, "at_most": 3.95}
        return verdict(many, workload="chat", **gate).decision

    assert decided((1, 4, 7, 10, 12)) is PASS
    assert decided((1, 2, 3, 4, 5)) is FAIL
    assert decided((1, 5, 9, 13, 17)) is FAIL


def test_bound_on_the_limit_keeps_it() -> None:
    assert ttft([0.1] * 100, statistic="p50", at_most=0.1).decision is PASS
    assert ttft([0.1] * 100, statistic="p50", at_least=0.1).decision is PASS
    # The favourable bound is on the limit: the truth may keep it.
    assert ttft([0.1] * 45 + [0.3] * 55, statistic="p50", at_most=0.1).decision is INCONCLUSIVE


def test_too_few_requests_for_a_bound_are_inconclusive_and_say_so() -> None:
    enough = statistics.requests_for_bound(0.95, surely(0.95))
    few = ttft([0.1] * (enough - 1), statistic="p95", at_most=5.0)
    assert (few.decision, few.high, few.margin, few.n) == (INCONCLUSIVE, None, None, enough - 1)
    assert f"{enough - 1} requests are too few" in few.reason
    assert ttft([0.1] * enough, statistic="p95", at_most=5.0).decision is PASS


def test_too_few_slow_requests_still_fail() -> None:
    assert ttft([9.0] * 20, statistic="p95", at_most=5.0).decision is FAIL


def test_more_confidence_asks_for_more() -> None:
    values = np.random.default_rng(1).normal(0.15, 0.02, 100).tolist()
    decided = [ttft(values, statistic="mean", at_most=0.154, confidence=c).decision for c in (0.6, 0.9999)]
    assert decided == [PASS, INCONCLUSIVE]


@pytest.mark.parametrize("confidence", ["0.95", "0.995", "0.9999"])
def test_reason_names_the_confidence(confidence: str) -> None:
    reason = ttft([0.1] * 1000, statistic="p50", at_most=1, confidence=float(confidence)).reason
    assert f"at {100 * float(confidence):g} % confidence the true value is at most 100.0 ms" in reason


# --- failed requests -------------------------------------------------------------------------------------------


def test_failed_requests_count_as_errors_and_as_wrong_answers_and_in_no_latency() -> None:
    samples = taken(miniature(), "arithmetic", failed=30)
    rate = verdict(samples, metric="error_rate", statistic="share", workload="arithmetic", at_most=0.06)
    right = verdict(samples, metric="accuracy", statistic="share", workload="arithmetic", at_least=0.9)
    latency = verdict(samples, metric="ttft_s", statistic="p50", workload="arithmetic", at_most=0.5)
    assert (rate.estimate, rate.n, rate.decision) == (0.25, 120, FAIL)
    assert (right.estimate, right.n, right.decision) == (0.75, 120, FAIL)
    assert (latency.n, latency.decision) == (90, PASS)
    assert "HTTP 500: boom" in rate.reason


def test_answer_that_came_before_the_failure_is_wrong_too() -> None:
    samples = taken(miniature(), "arithmetic", error="the stream ended without [DONE]")
    right = verdict(samples, metric="accuracy", statistic="share", workload="arithmetic", at_least=0.9)
    assert right.estimate == 0


def test_no_token_counts_fail_with_the_reason() -> None:
    uncounted = [sample(event_tokens=()) for _ in range(64)]
    found = verdict(uncounted, metric="tpot_s", statistic="p50", workload="chat", at_most=1)
    assert (found.decision, found.estimate, found.n) == (FAIL, None, 0)
    assert "token counts" in found.reason


# --- error of the first and second kind ------------------------------------------------------------------------


def chance_to_pass(metric: str, workload: str, truth: float, runs: int = 4000) -> float:
    """Share of simulated runs whose gate of the miniature passes at some look, each answer right with `truth`."""
    gate = next(g for g in miniature().gates if (g.metric, g.workload, g.statistic) == (metric, workload, "share"))
    spec = extended(miniature().workloads[workload])
    profile = miniature().model_copy(update={"gates": (gate,)})
    longer = profile.model_copy(update={"workloads": {workload: spec}})
    whole, none = taken(longer, workload), taken(longer, workload, wrong=spec.requests)
    draws = np.random.default_rng(5).random((runs, spec.requests)) < truth
    passed = np.zeros(runs, bool)
    for look, n in enumerate(planned(miniature().workloads[workload])):

        def passes(right: int, n: int = n, look: int = look) -> bool:
            samples = [dataclasses.replace(s, block=look) for s in whole[:right] + none[right:n]]
            return judge(profile, seen({workload: samples}))[0].decision is PASS

        needed = bisect.bisect_left(range(n + 1), True, key=passes)
        passed |= draws[:, :n].sum(axis=1) >= needed
    return float(passed.mean())


def test_accuracy_gate_lets_a_healthy_model_pass_and_no_broken_one() -> None:
    assert chance_to_pass("accuracy", "arithmetic", 0.985) >= 0.99
    assert chance_to_pass("accuracy", "arithmetic", 0.5) == 0
    gate = next(gate for gate in miniature().gates if gate.metric == "accuracy")
    assert gate.at_least
    # A model exactly at the limit passes no more often than the gate's confidence allows, looks and all.
    assert chance_to_pass("accuracy", "arithmetic", gate.at_least) <= 1 - gate.confidence + 0.01


def test_tool_gate_keeps_its_confidence_at_the_limit() -> None:
    gate = next(gate for gate in miniature().gates if gate.metric == "tool_calls")
    assert gate.at_least
    assert chance_to_pass("tool_calls", "tools", gate.at_least) <= 1 - gate.confidence + 0.01
    assert chance_to_pass("tool_calls", "tools", 1.0) == 1


def test_false_alarms_and_power_of_a_latency_gate() -> None:
    """A median limit 15 % above what is usual: met by nearly all healthy runs, missed by those 30 % slower."""
    rng = np.random.default_rng(7)

    def passes(median_s: float) -> float:
        runs = median_s * np.exp(rng.normal(0, 0.2, (150, 128)))
        return np.mean([ttft(run.tolist(), statistic="p50", at_most=0.115).decision is PASS for run in runs])

    assert passes(0.1) > 0.98
    assert passes(0.115) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 150)
    assert passes(0.13) < 0.02


# --- what blocks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("decision", list(Decision))
def test_only_advisory_verdicts_and_passes_do_not_block(level: Level, decision: Decision) -> None:
    one = Verdict(gate="g", level=level, decision=decision, limit="", n=1, reason="")
    assert (blocking([one]) == [one]) is (level is not Level.ADVISORY and decision is not PASS)


# --- a client that did not keep up -----------------------------------------------------------------------------


def late(samples: list[Sample], lag_s: float) -> Evidence:
    evidence = seen({"chat": samples})
    slow = dataclasses.replace(evidence.quality["chat"], stamps="user", lag_p99_s=lag_s)
    return dataclasses.replace(evidence, quality={"chat": slow})


def test_lag_is_allowed_for_and_decides_nothing_by_itself() -> None:
    samples = [sample(event_s=(0.1, 0.11), event_tokens=(1, 3)) for _ in range(64)]

    def decided(lag_s: float, **limit: float) -> Verdict:
        profile = with_gate(metric="ttft_s", statistic="p50", workload="chat", **limit)
        return judge(profile, late(samples, lag_s))[0]

    assert decided(0.3, at_most=0.5).decision is PASS
    assert "300.0 ms allowed for a client that read late" in decided(0.3, at_most=0.5).reason
    assert decided(0.5, at_most=0.5).decision is INCONCLUSIVE
    assert decided(0.06, at_most=0.05).decision is INCONCLUSIVE
    assert decided(0.0, at_most=0.05).decision is FAIL


def test_comparison_by_a_late_client_is_refused() -> None:
    samples = [sample(event_s=(0.1, 0.11), event_tokens=(1, 3)) for _ in range(64)]
    profile = with_gate(metric="ttft_s", statistic="p50", workload="chat", worse_by=0.1)
    evidence = late(samples, 0.3)
    baseline = {"chat": Comparable(releases=("a", "b", "c"), figures={"ttft_s.p50@chat": (0.1, 0.1, 0.1)})}
    evidence = dataclasses.replace(evidence, facts=Facts(baseline=baseline))
    (found,) = judge(profile, evidence)
    assert found.decision is INCONCLUSIVE
    assert "the measurement is invalid" in found.reason
