"""Preflight: what is known to be wrong with a profile, the worst first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.preflight.findings import examine
from slipway.preflight.plan import Finding, Plan, Severity, Step, errors_among
from slipway.profile import Profile, Speculation, load_profile
from slipway.stages.forecast import plan_without_platform

IMAGE = "lmsysorg/sglang:v0.5.10@sha256:" + "0" * 64


def big(part: str = "engine", **changes: Any) -> Profile:
    profile = load_profile("glm51")
    return profile.model_copy(update={part: getattr(profile, part).model_copy(update=changes)})


def rules(profile: Profile) -> dict[str, Severity]:
    return {finding.rule: finding.severity for finding in examine(profile)}


def test_miniature_has_no_findings() -> None:
    assert examine(load_profile("miniature")) == ()


def test_big_model_as_shipped_lacks_its_lock_only() -> None:
    found = rules(big())
    assert {rule for rule, severity in found.items() if severity is not Severity.NOTE} == {
        "image-not-pinned",
        "revision-not-pinned",
    }


def test_what_was_put_right_is_not_found() -> None:
    assert "image-not-pinned" not in rules(big(image=IMAGE))
    assert "revision-not-pinned" not in rules(big("model", revision="c" * 40))
    assert "image-not-pinned" not in rules(big(image=None).model_copy(update={"platform": "local"}))


@pytest.mark.parametrize("image", [None, "lmsysorg/sglang:v0.5.10", "lmsysorg/sglang:v0.5.10@sha256:12"])
def test_an_image_without_a_digest_is_not_released_on_modal(image: str | None) -> None:
    assert rules(big(image=image))["image-not-pinned"] is Severity.ERROR


def test_fp8_kv_cache_is_a_warning_with_its_source() -> None:
    (finding,) = [each for each in examine(big(kv_cache_dtype="fp8_e4m3")) if each.rule == "fp8-kv-cache"]
    assert finding.severity is Severity.WARNING
    assert finding.source == "sgl-project/sglang#22671"


def test_errors_come_first_and_every_finding_has_a_remedy() -> None:
    found = examine(big(kv_cache_dtype="fp8_e4m3"))
    order = [list(Severity).index(finding.severity) for finding in found]
    assert order == sorted(order)
    assert all(finding.remedy.endswith((".", "…")) and finding.message for finding in found)


@settings(max_examples=50, deadline=None)
@given(
    engine=st.fixed_dictionaries(
        {},
        optional={
            "version": st.sampled_from(["0.5.10", "0.5.12.post1", "0.5.23", "0.4.0", "9.9.9"]),
            "image": st.none() | st.from_regex(r"\A[a-z]{1,5}(:[0-9]{1,4}/[a-z]{1,5})?(:[a-z0-9.-]{1,9})?\Z"),
            "kv_cache_dtype": st.sampled_from(["auto", "bfloat16", "fp8_e4m3"]),
            "tp_size": st.integers(1, 64),
            "context_length": st.integers(128, 2**20),
            "max_running_requests": st.integers(1, 4096),
            "max_total_tokens": st.none() | st.integers(256, 10**9),
            "chunked_prefill_size": st.none() | st.integers(64, 2**20),
            "mem_fraction_static": st.none() | st.floats(0.001, 0.999),
            "moe_runner_backend": st.none() | st.sampled_from(["triton", "flashinfer_trtllm"]),
            "speculation": st.none()
            | st.integers(1, 16).map(lambda k: Speculation(num_steps=k, num_draft_tokens=k + 1)),
            "loader_threads": st.none() | st.integers(1, 256),
        },
    ),
    gpu=st.sampled_from([None, "B200", "B300", "H100", "H200", "T4"]),
    repo=st.sampled_from(["zai-org/GLM-5.1-FP8", "some/other"]),
    containers=st.integers(1, 100),
)
def test_any_profile_is_judged_in_words(engine: dict[str, Any], gpu: str | None, repo: str, containers: int) -> None:
    profile = big(**engine)
    changed = {
        "hardware": profile.hardware.model_copy(update={"gpu": gpu}),
        "model": profile.model.model_copy(update={"repo": repo}),
        "scaling": profile.scaling.model_copy(update={"max_containers": containers}),
    }
    plan = plan_without_platform(profile.model_copy(update=changed))
    assert all(finding.message and finding.remedy for finding in plan.findings)
    assert 0 <= plan.cost_least_usd <= plan.cost_usd < float("inf")
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_only_errors_keep_a_run_from_starting() -> None:
    findings = [Finding(rule=s.value, severity=s, message="m", remedy="r") for s in Severity]
    assert [finding.rule for finding in errors_among(findings)] == ["error"]


def test_plan_adds_up_and_finds_its_steps() -> None:
    steps = (
        Step(stage="deploy", runs=True, why="", cost_usd=12.5),
        Step(stage="gates", runs=True, why="", cost_usd=20.75),
    )
    plan = Plan(app="a", commit="", manifest_digest="", kernel_key="", live_version=None, steps=steps, findings=())
    assert plan.cost_usd == 33.25
    assert plan.step("gates") is plan.steps[1]
