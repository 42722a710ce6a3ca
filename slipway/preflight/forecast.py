"""How long a run's stages last: from least to most, from published durations and the capacity plan."""

from __future__ import annotations

from typing import Final

from slipway.preflight.capacity import Capacity
from slipway.preflight.model_shape import draft, trunk
from slipway.preflight.moving import fetching, verifying
from slipway.preflight.range import NONE, Range
from slipway.preflight.subject import Subject
from slipway.profile import Workload

READ_BYTES_PER_S: Final = (3e9, 1e9)
"""Of a Modal volume, best and worst, by Modal's documentation and examples."""

BESIDE_LOADING: Final = Range(75.0, 422.0)
"""A start next to reading weights: SGLang 0.5.12 on an H100 with every kernel cache carried, and with none."""

COMPILING: Final = Range(600.0, 1800.0)
"""DeepGEMM's precompile: 10 minutes by SGLang's documentation, 30 for all variants by sgl-project/sglang#18823."""

WARMING_UP: Final = Range(120.0, 240.0)
"""An estimate: a few prompts of each length and up to a dozen rounds."""

ANSWER_SHARE: Final = (1 / 8, 1 / 2)
"""Mean length of answers as a share of `max_tokens`, which is there for the longest."""

FIRST_TOKEN: Final = Range(0.3, 1.3)
"""TTFT of 8K prompts on 8 x B200, published: a single stream, and 32."""


def starting(subject: Subject) -> Range:
    """From an empty container to the first completed inference."""
    size_bytes = weights_bytes(subject)
    best, worst = READ_BYTES_PER_S
    return Range(size_bytes / best, size_bytes / worst) + BESIDE_LOADING


def precompiling(subject: Subject) -> Range:
    """The compiler, which loads the weights itself, and a real start after it, which compiles what graphs need."""
    return COMPILING + starting(subject)


def holding_gpus(subject: Subject, capacity: Capacity | None) -> Range:
    """All stages that hold a replica's GPUs, with nothing in place; promoting starts once more."""
    return precompiling(subject) + starting(subject) + WARMING_UP + gating(subject, capacity) + starting(subject)


def whole_run(subject: Subject, capacity: Capacity | None) -> Range:
    """A run with nothing in place, from fetching the first byte on."""
    size_bytes, profile = weights_bytes(subject), subject.profile
    return fetching(profile, size_bytes) + verifying(profile, size_bytes) + holding_gpus(subject, capacity)


def gating(subject: Subject, capacity: Capacity | None) -> Range:
    """Every workload that a gate judges, once; nothing is known without a capacity plan."""
    if capacity is None:
        return NONE
    used = {gate.workload for gate in subject.profile.gates}
    total = NONE
    for limit in capacity.limits:
        if limit.workload in used:
            total += _measuring(subject.profile.workloads[limit.workload], limit.streams, limit.likely_tpot_s)
    return total


def weights_bytes(subject: Subject) -> float:
    """Size of all weights; 0 where the model's shape is not known."""
    shape = subject.shape
    return sum(part.size_bytes for part in (*trunk(shape), *draft(shape))) if shape else 0.0


def _measuring(workload: Workload, streams: int, tpot_s: tuple[float, float]) -> Range:
    """Rounds of as many requests as run at once: each waits for its first token, then for its answer."""
    rounds = -(-workload.requests // streams)
    least, most = (
        rounds * (first_s + share * workload.max_tokens * token_s)
        for first_s, share, token_s in zip((FIRST_TOKEN.least_s, FIRST_TOKEN.most_s), ANSWER_SHARE, tpot_s, strict=True)
    )
    if workload.rate_per_s is not None:
        sending_s = workload.requests / workload.rate_per_s
        return Range(max(least, sending_s), max(most, sending_s))
    return Range(least, most)
