"""Warming up: cover the shapes a cold engine compiles for, then repeat until latency stops changing.

A short greedy request never reaches sampling, sparse prefill or chunked prefill, so their first user would
pay for compiling them: the coverage pass asks for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from slipway.endpoint import Endpoint
from slipway.errors import Crashed
from slipway.measure import metrics
from slipway.measure.client import drive
from slipway.measure.density import density
from slipway.measure.load import ClosedLoop
from slipway.measure.samples import EMPTY_ANSWER, Sample, parse_all
from slipway.measure.workload import ChatRequest, build
from slipway.profile import Warmup, Workload

PROBES_CHARACTERS = (40, 400)
SEED = 977  # warm-up prompts are none of the measured workloads' (seed 0): a prefix cache must not help them


@dataclass(frozen=True, slots=True)
class WarmupResult:
    """How warming up went; one entry a round, medians in seconds.

    Attributes:
        ttft_s: Median time to first token.
        tpot_s: Median time per output token.
        steady: Whether the last two rounds agree.
        coverage_s: What the first requests took, one of each length: a cold engine compiles in them.
    """

    ttft_s: tuple[float, ...]
    tpot_s: tuple[float, ...]
    steady: bool
    coverage_s: float


def warm_up(
    endpoint: Endpoint, warmup: Warmup, *, timeout_s: float, on_round: Callable[[int], None] = lambda _: None
) -> WarmupResult:
    """Bring an endpoint to its steady state.

    Args:
        endpoint: What to warm up.
        warmup: Lengths to cover, rounds, and when they count as steady.
        timeout_s: Deadline of each request.
        on_round: Called with the number of rounds done.

    Raises:
        Crashed: If requests fail; an empty answer is none.
    """
    began_s = time.perf_counter()
    for request in _coverage(endpoint, warmup, timeout_s):
        _send(endpoint, [request], 1, timeout_s)
    coverage_s = time.perf_counter() - began_s
    workload = Workload(
        kinds=("addition", "copy", "tool"),
        requests=2 * warmup.concurrency,
        concurrency=warmup.concurrency,
        max_tokens=warmup.max_tokens,
        temperature=1.0,
        seed=SEED,
    )
    requests = build("warm-up", workload)
    ttft_s: list[float] = []
    tpot_s: list[float] = []
    for number in range(1, warmup.max_rounds + 1):
        samples = _send(endpoint, list(requests), warmup.concurrency, timeout_s)
        ttft_s.append(_median(metrics.ttft_s(samples)))
        tpot_s.append(_median(metrics.tpot_s(samples)))
        on_round(number)
        if _agree(ttft_s, warmup.steady_within) and _agree(tpot_s, warmup.steady_within):
            return WarmupResult(tuple(ttft_s), tuple(tpot_s), steady=True, coverage_s=coverage_s)
    return WarmupResult(tuple(ttft_s), tuple(tpot_s), steady=False, coverage_s=coverage_s)


def _median(values: metrics.Values) -> float:
    """0 where there is none: a server that counts no tokens is steady by its TTFT alone."""
    return float(np.median(values)) if len(values) else 0.0


def _agree(medians: list[float], within: float) -> bool:
    return len(medians) >= 2 and abs(medians[-1] - medians[-2]) <= within * medians[-2]


def _coverage(endpoint: Endpoint, warmup: Warmup, timeout_s: float) -> list[ChatRequest]:
    """One prompt of each length. Lengths are given in tokens, so the tokenizer's density is measured first."""
    probes = [_prompt(f"probe-{characters}", characters) for characters in PROBES_CHARACTERS]
    short, long = (sample.prompt_tokens for sample in _send(endpoint, probes, 1, timeout_s))
    few, many = PROBES_CHARACTERS
    found = density((few, short), (many, long))
    return [_prompt(f"length-{n}", found.characters(n)) for n in warmup.prompt_tokens]


def _prompt(name: str, characters: int) -> ChatRequest:
    text = " ".join(f"{index * 7919 % 997}" for index in range(characters // 3 + 1))[:characters]
    body = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 4,
        "temperature": 1.0,
        "seed": SEED,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    return ChatRequest(f"warm-up-{name}", body)


def _send(endpoint: Endpoint, requests: list[ChatRequest], concurrency: int, timeout_s: float) -> list[Sample]:
    observed = drive(endpoint, requests, ClosedLoop(concurrency), timeout_s=timeout_s)
    samples = parse_all("warm-up", observed.exchanges)
    # Whether the model has something to say is for the gates to judge; here it need only be served.
    if failed := [sample for sample in samples if sample.error not in {"", EMPTY_ANSWER}]:
        raise Crashed(
            f"{len(failed)} of {len(samples)} warm-up requests failed: {failed[0].error}.",
            remedy="Read the engine's log.",
        )
    return samples
