"""Drift, against the answer of a real SGLang: nothing where it agrees, each difference where it does not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.engine.drift import drift
from slipway.profile import Profile, load_profile
from slipway.profile.load import parse_profile, profile_directory

RECORDED = json.loads((Path(__file__).parents[1] / "fixtures" / "sglang" / "server_info_1.body").read_text())


BIG = yaml.safe_load((profile_directory() / "glm51.yaml").read_text())


def matching_profile(**engine: Any) -> Profile:
    """What would have had to be asked for to get the recorded server: an H100, without all-reduce."""
    document = copy.deepcopy(BIG)
    document["model"]["served_name"] = "glm-5.1-fp8"
    document["engine"] |= {
        "version": "0.5.12.post1",
        "tp_size": 1,
        "context_length": 16384,
        "chunked_prefill_size": 2048,
        "max_prefill_tokens": 16384,
        "mem_fraction_static": 0.5,
        "sparse_prefill_backend": "flashmla_sparse",
        "sparse_decode_backend": "fa3",
        "moe_runner_backend": "auto",
        **engine,
    }
    document["hardware"] = {"gpu": "H100", "gpu_count": 1}
    document["warmup"]["prompt_tokens"] = [64]
    return parse_profile(document, source="matching")


def report(*, only_top: bool = False, **changes: Any) -> dict[str, Any]:
    """The recorded answer with some values changed, in the scheduler's state too."""
    info = copy.deepcopy(RECORDED)
    info |= changes
    if not only_top:
        state = info["internal_states"][0]
        state |= {name: value for name, value in changes.items() if name in state}
    return info


def test_real_server_that_got_what_was_asked_for() -> None:
    assert drift(matching_profile(), RECORDED, "default") == []
    assert drift(matching_profile(), RECORDED, None) == []


CHANGES = {
    "version": "0.5.13",
    "weight_version": "other",
    "served_model_name": "other",
    "kv_cache_dtype": "fp8_e4m3",
    "tp_size": 2,
    "ep_size": 2,
    "context_length": 8192,
    "chunked_prefill_size": 8192,
    "max_prefill_tokens": 8192,
    "mem_fraction_static": 0.88,
    "moe_runner_backend": "triton",
    "reasoning_parser": None,
    "tool_call_parser": "glm45",
    "disable_overlap_schedule": True,
    "speculative_algorithm": None,
    "speculative_num_steps": 1,
    "speculative_eagle_topk": 2,
    "speculative_num_draft_tokens": 2,
}


@pytest.mark.parametrize(("name", "value"), CHANGES.items())
def test_single_difference_is_named_alone(name: str, value: object) -> None:
    (difference,) = drift(matching_profile(), report(**{name: value}), "default")
    assert difference.startswith(f"{name} is {value!r}, asked for ")


@pytest.mark.parametrize(
    ("name", "reported", "value"),
    [
        ("sparse_prefill_backend", "nsa_prefill_backend", "trtllm"),
        ("sparse_decode_backend", "nsa_decode_backend", "trtllm"),
        ("sparse_decode_backend", "dsa_decode_backend", "trtllm"),
        ("max_running_requests", "effective_max_running_requests_per_dp", 12),
    ],
)
def test_difference_under_another_name(name: str, reported: str, value: object) -> None:
    info = report()
    info["internal_states"][0][reported] = value
    (difference,) = drift(matching_profile(), info, "default")
    assert difference.startswith(f"{name} is {value!r}")


def test_kernels_asked_for_beside_the_usual_ones() -> None:
    drafts = {"num_steps": 3, "num_draft_tokens": 4, "moe_runner_backend": "triton"}
    asked = matching_profile(fp8_gemm_backend="cutlass", speculation=drafts)
    info = report(fp8_gemm_runner_backend="cutlass", speculative_moe_runner_backend="triton")
    assert drift(asked, info, "default") == []
    assert drift(asked, RECORDED, "default") == [
        "fp8_gemm_backend is 'auto', asked for 'cutlass'",
        "speculative_moe_runner_backend is 'auto', asked for 'triton'",
    ]


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_value_that_is_not_reported_is_a_difference(name: str) -> None:
    info = report()
    del info[name]
    info["internal_states"][0].pop(name, None)
    (difference,) = drift(matching_profile(), info, "default")
    assert difference.startswith(f"{name} is None")


def test_state_in_force_counts_not_the_argument() -> None:
    info = report()
    info["internal_states"][0]["kv_cache_dtype"] = "fp8_e4m3"
    assert drift(matching_profile(), info, "default") == ["kv_cache_dtype is 'fp8_e4m3', asked for 'bfloat16'"]
    assert drift(matching_profile(), report(only_top=True, kv_cache_dtype="fp8_e4m3"), "default") == []


def test_every_rank_is_looked_at_and_says_a_thing_once() -> None:
    info = report()
    state = info["internal_states"][0]
    info["internal_states"] = [state, state | {"tp_size": 4}, state | {"tp_size": 4}]
    assert drift(matching_profile(), info, "default") == ["tp_size is 4, asked for 1"]


def test_short_name_of_a_dtype_is_no_difference() -> None:
    assert drift(matching_profile(), report(kv_cache_dtype="bf16"), "default") == []


@pytest.mark.parametrize(
    ("pool", "same"), [(32768, True), (32705, True), (32704, False), (None, False), ("32768", False)]
)
def test_pool_may_be_short_by_less_than_a_page(pool: object, same: bool) -> None:
    profile = matching_profile(max_total_tokens=32768)
    found = drift(profile, report(max_total_num_tokens=pool), "default")
    assert found == ([] if same else [f"max_total_num_tokens is {pool!r}, asked for 32768"])


def test_no_speculation_asked_for_none_compared() -> None:
    assert drift(matching_profile(speculation=None), report(speculative_algorithm=None), "default") == []


def test_miniature_has_no_expert_parallelism_to_compare() -> None:
    found = drift(load_profile("miniature"), report(), None)
    assert not any(difference.startswith(("ep_size", "disable_overlap")) for difference in found)


@pytest.mark.parametrize("states", [None, [], {}, "x", 3, [None], ["x"], {"0": {}}, [[]]])
def test_report_without_a_state_is_a_difference(states: object) -> None:
    for info in (
        report(only_top=True, internal_states=states),
        {k: v for k, v in RECORDED.items() if k != "internal_states"},
    ):
        assert drift(matching_profile(), info, None) == ["internal_states is missing: what is in force cannot be told"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(RECORDED["internal_states"][0])), JSON, max_size=5), JSON)
def test_any_report_is_compared(changes: dict[str, Any], states: Any) -> None:
    profile = matching_profile()
    drift(profile, report(**changes), "r")
    drift(profile, report(only_top=True, internal_states=[changes]), "r")
    drift(profile, report(only_top=True, internal_states=states), "r")
    drift(profile, changes, "r")
