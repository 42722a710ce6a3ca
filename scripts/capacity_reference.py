"""Write the tables of docs/capacity.md and docs/costs.md: memory, published figures beside reckoned ones, costs.

python -m scripts.capacity_reference        rewrite what stands between the markers
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scripts.profile_reference import between_markers
from slipway.preflight.memory import Memory, memory
from slipway.preflight.model_shape import known_shape
from slipway.preflight.published import checks, tpot_factors
from slipway.profile import load_profile
from slipway.records.capacity import show_range, show_span, step_row
from slipway.stages.forecast import plan_without_platform
from slipway.units import GIB, show_seconds

DOCS = Path(__file__).parents[1] / "docs"
PAGE, COSTS_PAGE = DOCS / "capacity.md", DOCS / "costs.md"
MEMORY = ("<!-- memory: written by scripts/capacity_reference.py -->", "<!-- end of memory -->")
COSTS = ("<!-- costs: written by scripts/capacity_reference.py -->", "<!-- end of costs -->")
PUBLISHED = ("<!-- published: written by scripts/capacity_reference.py -->", "<!-- end of published -->")


def with_reference(page: str) -> str:
    """The page with both tables made anew."""
    page = between_markers(page, *MEMORY, "\n".join(_memory_lines()))
    return between_markers(page, *PUBLISHED, "\n".join(_published_lines()))


def with_costs(page: str) -> str:
    """The page of costs with its table made anew."""
    return between_markers(page, *COSTS, "\n".join(_cost_lines()))


def _cost_lines() -> Iterator[str]:
    plan = plan_without_platform(load_profile("glm51"))
    yield "| stage | lasts | cost |"
    yield "|---|---|---|"
    for step in plan.steps:
        *_, lasts, cost = step_row(step)
        yield f"| {step.stage} | {lasts} | {cost} |"
    whole = show_span(plan.lasts_least_s, plan.lasts_most_s)
    yield f"| all | {whole} | {show_range(plan.cost_least_usd, plan.cost_usd)} |"


def _memory_lines() -> Iterator[str]:
    yield "| on each GPU | BF16 | FP8 |"
    yield "|---|---|---|"
    bf16, fp8 = _glm51("bfloat16"), _glm51("fp8_e4m3")
    for name, of in (
        ("weights", lambda m: f"{m.weights_bytes / GIB:.1f} GiB"),
        ("draft layer", lambda m: f"{m.draft_bytes / GIB:.1f} GiB"),
        ("KV pool", lambda m: f"{m.pool_bytes / GIB:.1f} GiB"),
        ("activations, CUDA graphs, communication", lambda m: f"{m.rest_bytes / GIB:.1f} GiB"),
        ("one token", lambda m: f"{m.token_bytes:,} bytes"),
        ("tokens of the pool", lambda m: f"{m.pool_tokens:,}"),
        ("longest request", lambda m: f"{m.longest_request_tokens:,} tokens"),
        ("requests of 202,752 tokens at once", lambda m: f"{m.at_once(202_752)}"),
        ("requests of 8K + 1K at once", lambda m: f"{m.at_once(9216)}"),
    ):
        yield f"| {name} | {of(bf16)} | {of(fp8)} |"


def _published_lines() -> Iterator[str]:
    shape = known_shape("zai-org/GLM-5.1-FP8")
    if shape is None:
        raise LookupError("the shape of GLM-5.1 is not among those that come with Slipway")
    found = checks(shape)
    yield "| published | measured | physics allows | x of the limit |"
    yield "|---|---|---|---|"
    for check in found:
        if check.kind == "limit":
            times = f"{show_seconds(check.measured_s)} | {show_seconds(check.reckoned_s)}"
            yield f"| {check.name} | {times} | {check.ratio:.1f} |"
    yield ""
    yield "| published | measured | reckoned | off by |"
    yield "|---|---|---|---|"
    for check in found:
        if check.kind == "estimate":
            times = f"{show_seconds(check.measured_s)} | {show_seconds(check.reckoned_s)}"
            yield f"| {check.name} | {times} | {100 * (check.reckoned_s / check.measured_s - 1):+.1f} % |"
    least, most = tpot_factors(shape)
    yield ""
    yield f"So others' engines ended up at {least:.1f} to {most:.1f} times the limit of a token."


def _glm51(kv_cache_dtype: str) -> Memory:
    profile = load_profile("glm51")
    engine = profile.engine.model_copy(update={"kv_cache_dtype": kv_cache_dtype})
    shape = known_shape(profile.model.repo)
    found = memory(profile.model_copy(update={"engine": engine}), shape) if shape else None
    if found is None:
        raise LookupError("shape or GPU of the profile for GLM-5.1 is not known")
    return found


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text()))
    COSTS_PAGE.write_text(with_costs(COSTS_PAGE.read_text()))
