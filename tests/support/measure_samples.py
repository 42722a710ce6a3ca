"""Samples made by hand, for tests of what is made of samples."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from slipway.gates.evidence import Evidence, Facts
from slipway.gates.looks import planned
from slipway.measure.quality import Quality
from slipway.measure.samples import Sample
from slipway.measure.workload import ChatRequest, build
from slipway.profile import Profile


def sample(**changes: Any) -> Sample:
    """A sample of four tokens in three events, with some fields changed."""
    values: dict[str, Any] = {
        "workload": "chat",
        "request_id": "chat-00000",
        "block": 0,
        "intended_s": 100.0,
        "sent_s": 100.0,
        "connect_s": 0.0,
        "e2e_s": 0.5,
        "event_s": (0.2, 0.3, 0.5),
        "event_tokens": (1, 3, 4),
        "answer_s": 0.2,
        "reasoning": "",
        "content": "a",
        "tool_calls": "[]",
        "finish_reason": "stop",
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "cached_tokens": None,
        "release_id": "",
        "accepted_drafts": None,
        "verify_steps": None,
        "queue_s": None,
        "error": "",
    }
    return Sample(**(values | changes))


def answered(request: ChatRequest, *, right: bool = True, **changes: Any) -> Sample:
    """The sample of a request that was answered rightly or wrongly."""
    problem = request.problem
    if problem.kind == "tool":
        arguments = problem.tool_arguments if right else {}
        call = {"name": problem.tool_name, "arguments": orjson.dumps(arguments).decode()}
        changes = {"tool_calls": orjson.dumps([call]).decode(), "finish_reason": "tool_calls", "content": ""} | changes
    else:
        changes = {"content": problem.answer if right else "no idea"} | changes
    return sample(request_id=request.request_id, workload=request.request_id.rsplit("-", 1)[0], **changes)


def taken(profile: Profile, name: str, *, wrong: int = 0, failed: int = 0, **changes: Any) -> list[Sample]:
    """All samples of a workload: the first `wrong` answered wrongly, the last `failed` not at all."""
    requests = build(name, profile.workloads[name])
    looks = planned(profile.workloads[name])
    samples = [
        answered(request, right=index >= wrong, **({"block": bisect.bisect_right(looks, index)} | changes))
        for index, request in enumerate(requests)
    ]
    broken: Sequence[ChatRequest] = requests[len(requests) - failed :]
    dead = [
        sample(request_id=r.request_id, workload=name, event_s=(), event_tokens=(), content="", error="HTTP 500: boom")
        for r in broken
    ]
    return [*samples[: len(samples) - failed], *dead]


def healthy(profile: Profile) -> dict[str, list[Sample]]:
    """Samples that pass every gate of the miniature: 5 ms to the first token, 3 tokens in 6 ms for each step."""
    times = {"event_s": (0.005, 0.011, 0.017, 0.023, 0.029), "event_tokens": (1, 4, 7, 10, 12), "e2e_s": 0.029}
    return {name: taken(profile, name, completion_tokens=12, **times) for name in profile.workloads}


def seen(samples: Mapping[str, Sequence[Sample]], **facts: Any) -> Evidence:
    """Evidence with these samples, taken by a client that kept up; no check was broken, no kernel missed."""
    kept_up = Quality(
        stamps="kernel",
        processes=1,
        wall_s=10.0,
        cpu_s=1.0,
        run_queue_s=0.0,
        lag_p50_s=0.0,
        lag_p99_s=0.0,
        dispatch_lag_p99_s=0.0,
        reads=1000,
        merged_share=0.0,
        clock_drift_s=0.0,
    )
    return Evidence(
        facts=Facts(**({"probes": (), "kernels": ()} | facts)),
        samples={name: tuple(each) for name, each in samples.items()},
        quality=dict.fromkeys(samples, kept_up),
    )
