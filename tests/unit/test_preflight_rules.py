"""Rules: each is found where it applies and nowhere else; a recipe with known mistakes shows all a machine can see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts import rule_reference
from slipway.preflight.findings import examine
from slipway.preflight.plan import Severity
from slipway.preflight.rules import MODULES, RULES
from slipway.profile import Profile, load_profile
from slipway.profile.load import parse_profile

GUIDE = load_profile(str(Path(__file__).parents[1] / "fixtures" / "profiles" / "guide.yaml"))
GLM51 = load_profile("glm51")

MISTAKES = {
    "KV cache is BF16 when nothing is said": "kv-type-guessed",
    "image `latest` with flags that died": "image-floating",
    "max_total_tokens is a cap for one request": "pool-thin",
    "48 x 3 requests at once": "capacity-below-expected",
    "max_inputs is the depth of a queue": "engine-never-full",
    "overlapped speculation is on": "overlap-off",
    "mem_fraction_static is of what weights leave": "pool-expected-larger",
    "figures of H200 are those of B200": "figure-of-other-hardware",
    "the checkpoint needs remote code": "remote-code-trusted",
    "precompiling leaves nothing to compile": "some-caches-only",
    "DeepGEMM's cache covers the experts": "experts-not-in-cache",
    "accept length is 3.5": "accept-length-of-random-tokens",
    "a short prompt warms up": "warm-up-skips-sparse-attention",
}
"""Of fifteen mistakes two are of words only: what NSA stands for, and what an issue says."""

DIGEST = "@sha256:" + "0" * 64

TRIGGERS: dict[str, dict[str, Any]] = {
    "image-floating": {"engine": {"image": "lmsysorg/sglang"}},
    "image-not-pinned": {},
    "image-of-another-release": {"engine": {"image": "lmsysorg/sglang:v0.5.11-cu130" + DIGEST}},
    "image-without-compiler": {"engine": {"image": "lmsysorg/sglang:v0.5.10-runtime" + DIGEST}},
    "deep-gemm-illegal-address": {"engine": {"version": "0.5.12"}},
    "post-release-untested": {"engine": {"version": "0.5.12.post1"}},
    "draft-experts-illegal-access": {"engine": {"version": "0.5.15"}},
    "release-not-recorded": {"engine": {"version": "0.5.24"}},
    "flag-refused": {"engine": {"moe_runner_backend": "flashinfer_trtlm"}},
    "variable-not-declared": {"engine": {"env": {"SGLANG_DG_CASH_DIR": "/cache"}}},
    "revision-not-pinned": {},
    "revision-floating": {"platform": "local"},
    "remote-code-trusted": {"engine": {"trust_remote_code": True}},
    "draft-graphs-crash": {
        "model": {"repo": "nvidia/GLM-5.1-NVFP4"},
        "engine": {"version": "0.5.12.post1", "max_running_requests": 65},
    },
    "backend-of-another-gpu": {"hardware": {"gpu": "H200"}},
    "gpu-may-be-another": {"hardware": {"gpu": "H100"}},
    "kv-type-guessed": {"engine": {"kv_cache_dtype": "auto"}},
    "fp8-kv-cache": {"engine": {"kv_cache_dtype": "fp8_e4m3"}},
    "fp8-kv-slow": {"hardware": {"gpu": "H200"}, "engine": {"kv_cache_dtype": "fp8_e4m3"}},
    "sparse-backend-overridden": {
        "engine": {"kv_cache_dtype": "fp8_e4m3", "sparse_prefill_backend": "flashmla_sparse"}
    },
    "weights-do-not-fit": {"hardware": {"gpu": "H100"}},
    "context-beyond-pool": {"engine": {"max_total_tokens": 202751}},
    "pool-thin": {"engine": {"max_running_requests": 200}},
    "workload-overflows-pool": {"engine": {"max_total_tokens": 202752, "max_running_requests": 49}, "tokens": 131072},
    "fraction-too-high": {"engine": {"mem_fraction_static": 0.95}},
    "pool-expected-larger": {"expected": {"kv_pool_gib": 77}},
    "context-beyond-model": {"engine": {"context_length": 202753}},
    "split-uneven": {"engine": {"tp_size": 6}, "hardware": {"gpu_count": 6}},
    "split-too-fine": {"engine": {"tp_size": 32}},
    "engine-never-full": {"scaling": {"max_concurrent_inputs": 47}},
    "queue-unseen": {"scaling": {"max_concurrent_inputs": 49}},
    "capacity-below-expected": {"expected": {"requests_at_once": 145}},
    "workload-beyond-slots": {"engine": {"max_running_requests": 47}, "scaling": {"max_concurrent_inputs": 47}},
    "no-room-to-roll": {"scaling": {"max_containers": 1}},
    "first-request-waits": {},
    "gpus-beyond-plan": {},
    "price-missing": {"hardware": {"cost_per_hour_usd": 0}},
    "startup-unbounded": {"scaling": {"startup_timeout_s": 86400}},
    "overlap-off": {"engine": {"env": {"SGLANG_ENABLE_SPEC_V2": "false"}}},
    "tree-refused": {"engine": {"speculation": {"num_steps": 3, "eagle_topk": 2, "num_draft_tokens": 8}}},
    "accept-length-of-random-tokens": {"expected": {"accept_length": 3.0}},
    "speculation-not-gated": {"without": "accept_length"},
    "repetition-not-gated": {"gate": {"metric": "accept_length", "statistic": "mean", "workload": "coding"}},
    "prefix-hit-not-tested": {"without": "@coding"},
    "loader-slow": {"engine": {"loader_threads": None}},
    "startup-timeout-short": {"scaling": {"startup_timeout_s": 900}},
    "watchdog-short": {"engine": {"watchdog_timeout_s": 299}},
    "some-caches-only": {"engine": {"env": {"TRITON_CACHE_DIR": "/cache"}}},
    "experts-not-in-cache": {"engine": {"env": {"SGLANG_DG_CACHE_DIR": "/cache"}}},
    "variable-without-effect": {"engine": {"env": {"DG_JIT_CACHE_DIR": "/cache"}}},
    "precompile-off": {"engine": {"env": {"SGLANG_JIT_DEEPGEMM_PRECOMPILE": "0"}}},
    "warm-up-skips-sparse-attention": {"warmup": {"prompt_tokens": [2048]}},
    "warm-up-in-one-chunk": {"warmup": {"prompt_tokens": [32768]}},
    "warm-up-below-concurrency": {"warmup": {"concurrency": 47}},
    "prefill-budget-idle": {"engine": {"chunked_prefill_size": None}},
    "request-timeout-short": {"scaling": {"request_timeout_s": 240}},
    "drift-not-gated": {"without": "config_drift"},
    "accuracy-not-gated": {"without": "accuracy"},
    "sparse-attention-not-gated": {"without": "@coding @long"},
    "reasoning-not-gated": {},
    "garbling-not-gated": {"without": "degenerate"},
    "tool-calls-not-gated": {"without": "tool_calls"},
    "tool-parser-of-another-model": {"engine": {"tool_call_parser": "glm45"}},
    "figure-of-other-hardware": {"expected": {"tpot_s": 0.0077}},
    "faster-than-physics": {"expected": {"tpot_s": 0.0005}},
    "budget-below-forecast": {"budget": {"max_cost_usd": 100}},
    "deadline-below-forecast": {"budget": {"max_run_s": 9000}},
    "volume-of-many-writers": {"weights": {"verify_workers": 6}},
}
"""What has to change in the profile for GLM-5.1 so that a rule applies."""


def changed(change: dict[str, Any]) -> Profile:
    """The profile for GLM-5.1 with parts replaced, and gates left out or added."""
    document = GLM51.model_dump(mode="json")
    change = dict(change)
    for word in str(change.pop("without", "")).split():
        gates = document["gates"]
        document["gates"] = [g for g in gates if word not in {g["metric"], f"@{g['workload']}"}]
    if gate := change.pop("gate", None):
        document["gates"] = [g for g in document["gates"] if g["metric"] != gate["metric"]] + [gate | {"at_least": 2.0}]
    if tokens := change.pop("tokens", None):
        document["workloads"]["gsm8k"]["max_tokens"] = tokens
    for part, values in change.items():
        document[part] = document[part] | values if isinstance(values, dict) else values
    if change.get("engine", {}).get("tp_size", 0) > 8:  # more GPUs than a replica has at Modal
        whole = parse_profile(document | {"engine": document["engine"] | {"tp_size": 8}}, source="here")
        return whole.model_copy(update={"engine": whole.engine.model_copy(update=change["engine"])})
    return parse_profile(document, source="here")


def found(profile: Profile) -> dict[str, Severity]:
    return {finding.rule: finding.severity for finding in examine(profile)}


@pytest.mark.parametrize(("mistake", "rule"), MISTAKES.items(), ids=MISTAKES.values())
def test_recipe_shows_its_mistake(mistake: str, rule: str) -> None:
    assert found(GUIDE)[rule] in {Severity.ERROR, Severity.WARNING}, mistake
    assert rule not in found(GLM51)


def test_recipe_cannot_be_released() -> None:
    errors = {rule for rule, severity in found(GUIDE).items() if severity is Severity.ERROR}
    assert errors >= {"image-floating", "kv-type-guessed", "context-beyond-pool"}


def test_full_context_that_the_pool_cannot_hold_is_an_error() -> None:
    (finding,) = [each for each in examine(GUIDE) if each.rule == "context-beyond-pool"]
    assert finding.severity is Severity.ERROR
    assert "202,752" in finding.message
    assert "65,536" in finding.message


@pytest.mark.parametrize(
    ("rule", "engine"),
    [
        ("draft-experts-illegal-access", {"version": "0.5.15", "speculation": {"moe_runner_backend": "triton"}}),
        ("deep-gemm-illegal-address", {"version": "0.5.12", "fp8_gemm_backend": "cutlass"}),
    ],
)
def test_workaround_silences_its_rule(rule: str, engine: dict[str, Any]) -> None:
    assert rule not in found(changed({"engine": engine}))


def test_variable_is_found_once() -> None:
    gone = {"version": "0.5.14", "env": {"SGLANG_ENABLE_SPEC_V2": "1"}}
    assert {name for name in found(changed({"engine": gone})) if name.startswith("variable")} == {
        "variable-without-effect"
    }


@pytest.mark.parametrize("rule", RULES)
def test_rule_is_found_where_it_applies(rule: str) -> None:
    assert rule in found(changed(TRIGGERS[rule]))


JUST_ALLOWED: dict[str, dict[str, Any]] = {
    "context-beyond-pool": {"engine": {"max_total_tokens": 202752}},
    "context-beyond-model": {"engine": {"context_length": 202752}},
    "pool-thin": {"engine": {"max_running_requests": 172}},
    "faster-than-physics": {"expected": {"tpot_s": 0.0006}},  # below what code accepts, above what drafts could give
    "figure-of-other-hardware": {"expected": {"tpot_s": 0.0023}},  # published for this GPU
    "capacity-below-expected": {"expected": {"requests_at_once": 144}},
    "accept-length-of-random-tokens": {"expected": {"accept_length": 2.99}},
    "warm-up-skips-sparse-attention": {"warmup": {"prompt_tokens": [2049]}},
    "some-caches-only": {"engine": {"env": {"TRITON_PRINT_AUTOTUNING": "1"}}},
    "startup-timeout-short": {"scaling": {"startup_timeout_s": 1200}},
    "draft-experts-illegal-access": {"engine": {"version": "0.5.14"}},
    "sparse-backend-overridden": {"engine": {"sparse_prefill_backend": "flashmla_sparse"}},
}
"""What a rule must let pass: the last value before it applies, or what resembles it."""


@pytest.mark.parametrize("rule", JUST_ALLOWED)
def test_rule_is_not_found_where_it_just_does_not_apply(rule: str) -> None:
    assert rule not in found(changed(JUST_ALLOWED[rule]))


def test_rules_that_apply_to_the_shipped_profile_are_known() -> None:
    assert set(found(GLM51)) == {rule for rule, change in TRIGGERS.items() if not change}


def test_miniature_has_none() -> None:
    assert examine(load_profile("miniature")) == ()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rule_says_all_it_must(rule: Any) -> None:
    assert all(text.endswith((".", "…")) for text in (rule.when, rule.happens, rule.remedy)), rule
    assert rule.source
    assert not rule.happens[0].isupper() or rule.happens.startswith(("DeepGEMM", "GLM", "GSM8K", "SGLang"))


def test_no_two_rules_share_an_id() -> None:
    names = [name for module in MODULES for name, each in vars(module).items() if type(each).__name__ == "Rule"]
    assert len(names) == len(RULES)


def test_the_table_of_rules_is_current() -> None:
    page = rule_reference.PAGE.read_text()
    assert rule_reference.with_reference(page) == page, "run `python -m scripts.rule_reference`"
