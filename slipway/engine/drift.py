"""Configuration drift: a flag that was deployed is not a flag in force.

SGLang resolves what it is told by model, GPU and release, and says the result in `/server_info` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from slipway.profile import EngineSpec, Profile

_ALIASES: Final = {"bf16": "bfloat16"}
_REPORTED_AS: Final = {
    # SGLang runs fewer requests than it was told to where the KV pool is too small for them.
    "max_running_requests": ("effective_max_running_requests_per_dp", "max_running_requests"),
    "sparse_prefill_backend": ("dsa_prefill_backend", "nsa_prefill_backend"),
    "sparse_decode_backend": ("dsa_decode_backend", "nsa_decode_backend"),
    "fp8_gemm_backend": ("fp8_gemm_runner_backend",),
}
"""Where the report's name is another one, or a second one says more: the first that is there counts."""

_PAGE_TOKENS: Final = 64
"""The KV pool is cut to whole pages."""


def drift(profile: Profile, info: Mapping[str, Any], release_id: str | None) -> list[str]:
    """Differences between what a profile asks for and what a server reports, one sentence each.

    Args:
        profile: What was asked for.
        info: The answer of `/server_info`; of any shape, since it comes from outside.
        release_id: The release that should answer, None where any may.
    """
    states = info.get("internal_states")
    states = [state for state in states if isinstance(state, dict)] if isinstance(states, list) else []
    if not states:
        return ["internal_states is missing: what is in force cannot be told"]
    found = [difference for state in states for difference in _differences(profile, {**info, **state}, release_id)]
    return list(dict.fromkeys(found))  # ranks that agree say it once


def _differences(profile: Profile, report: Mapping[str, Any], release_id: str | None) -> Iterator[str]:
    """What differs in one rank's report: its own state, which is in force, over the arguments."""
    for name, asked in _expected(profile, release_id).items():
        names = _REPORTED_AS.get(name, (name,))
        reported = next((report[each] for each in names if each in report), None)
        if _ALIASES.get(str(reported), reported) != asked:
            yield f"{name} is {reported!r}, asked for {asked!r}"
    pool, asked_pool = report.get("max_total_num_tokens"), profile.engine.max_total_tokens or 0
    if asked_pool and not (isinstance(pool, int) and pool > asked_pool - _PAGE_TOKENS):
        yield f"max_total_num_tokens is {pool!r}, asked for {asked_pool!r}"


def _expected(profile: Profile, release_id: str | None) -> dict[str, object]:
    engine = profile.engine
    expected: dict[str, object | None] = {
        "version": engine.version,
        "weight_version": release_id,
        "served_model_name": profile.model.served_name,
        "kv_cache_dtype": engine.kv_cache_dtype,
        "tp_size": engine.tp_size,
        "context_length": engine.context_length,
        "max_running_requests": engine.max_running_requests,
        "chunked_prefill_size": engine.chunked_prefill_size,
        "max_prefill_tokens": engine.max_prefill_tokens,
        "mem_fraction_static": engine.mem_fraction_static,
        "sparse_prefill_backend": engine.sparse_prefill_backend,
        "sparse_decode_backend": engine.sparse_decode_backend,
        "moe_runner_backend": engine.moe_runner_backend,
        "fp8_gemm_backend": engine.fp8_gemm_backend,
        "reasoning_parser": engine.reasoning_parser,
        "tool_call_parser": engine.tool_call_parser,
        **_speculation(engine),
    }
    if engine.kind == "sglang":
        expected["ep_size"] = engine.ep_size
    return {name: value for name, value in expected.items() if value is not None}


def _speculation(engine: EngineSpec) -> dict[str, object]:
    asked = engine.speculation
    if asked is None:
        return {}
    # Speculation overlapped with the schedule ("V2") drafts chains only; without it tokens take longer.
    overlapped = {"disable_overlap_schedule": False} if engine.kind == "sglang" and asked.eagle_topk == 1 else {}
    drafts = {"speculative_moe_runner_backend": asked.moe_runner_backend} if asked.moe_runner_backend else {}
    return (
        overlapped
        | drafts
        | {
            "speculative_algorithm": asked.algorithm,
            "speculative_num_steps": asked.num_steps,
            "speculative_eagle_topk": asked.eagle_topk,
            "speculative_num_draft_tokens": asked.num_draft_tokens,
        }
    )
