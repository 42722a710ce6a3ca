"""How long weights take to come and to be verified, as a plan says it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.preflight.moving import fetching, verifying
from slipway.preflight.range import NONE
from slipway.profile import Profile, load_profile
from slipway.stages.forecast import plan_without_platform
from slipway.stages.names import Stage

GLM51 = load_profile("glm51")
WHOLE_BYTES = 756e9


def changed(part: str, **values: Any) -> Profile:
    return GLM51.model_copy(update={part: getattr(GLM51, part).model_copy(update=values)})


def test_what_is_there_needs_no_time() -> None:
    assert fetching(GLM51, 0) == verifying(GLM51, 0) == NONE


def test_big_weights_take_minutes_to_come_and_to_verify() -> None:
    fetched, verified = fetching(GLM51, WHOLE_BYTES), verifying(GLM51, WHOLE_BYTES, 142)
    assert fetched.least_s == pytest.approx(757)  # at 1 GB/s
    assert fetched.most_s == pytest.approx(2580)  # at 0.3 GB/s, a minute after asking
    assert verified.least_s == pytest.approx(303.4)  # one worker that reads 2.5 GB/s
    assert verified.most_s == pytest.approx(816)  # one that reads 1 GB/s


def test_workers_help_where_each_reads_for_itself_and_nowhere_else() -> None:
    eight = verifying(changed("weights", verify_workers=8), WHOLE_BYTES, 142)
    one = verifying(GLM51, WHOLE_BYTES, 142)
    assert eight.least_s < one.least_s / 7
    assert eight.most_s == pytest.approx(one.most_s)


def test_few_cores_bind_before_reading_does() -> None:
    one_core = verifying(changed("hardware", job_cpu_cores=1), WHOLE_BYTES, 142)
    assert one_core.least_s == pytest.approx(756e9 / 1.5e9 + 1)
    assert one_core.most_s == pytest.approx(756e9 / 0.4e9 + 60)


def test_another_platform_has_other_rates() -> None:
    here = GLM51.model_copy(update={"platform": "local"})
    assert fetching(here, WHOLE_BYTES).most_s > 10 * fetching(GLM51, WHOLE_BYTES).most_s


@given(size_bytes=st.integers(0, 10**13), files=st.none() | st.integers(1, 1000), workers=st.integers(1, 64))
def test_the_least_is_never_above_the_most(size_bytes: int, files: int | None, workers: int) -> None:
    for platform in ("local", "modal"):
        profile = changed("weights", verify_workers=workers).model_copy(update={"platform": platform})
        for found in (fetching(profile, size_bytes), verifying(profile, size_bytes, files)):
            assert 0 <= found.least_s <= found.most_s < float("inf")


def test_a_plan_says_how_long_its_stages_last() -> None:
    plan = plan_without_platform(GLM51)
    assert plan.step(Stage.SYNC).size_bytes == pytest.approx(WHOLE_BYTES, rel=0.01)
    assert all(step.lasts_most_s >= step.lasts_least_s > 0 for step in plan.steps)
    for step in plan.steps:
        assert step.most_s in {0, step.lasts_most_s}, "on GPUs it holds them as long as it lasts"
    assert plan.lasts_most_s == pytest.approx(sum(step.lasts_most_s for step in plan.steps))
    assert plan.lasts_most_s < GLM51.budget.max_run_s


def test_nothing_is_said_of_engines_without_gpus() -> None:
    plan = plan_without_platform(load_profile("miniature"))
    assert all(step.lasts_most_s == 0 for step in plan.steps)
