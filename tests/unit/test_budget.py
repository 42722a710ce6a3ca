"""The budget: a run is ended before it costs more, says what it spent, and leaves nothing running."""

from __future__ import annotations

from typing import Any, cast

import pytest

from slipway.errors import Corrupt, Crashed, Rejected, Transient
from slipway.platforms.port import Deployment, Job, Lifetime, Platform, ServerSpec
from slipway.preflight.plan import Plan, Step
from slipway.profile import Profile, load_profile
from slipway.records.record import Outcome, StageStatus
from slipway.stages import candidate as candidates
from slipway.stages.budget import LEAST_S
from slipway.stages.names import ON_GPU, Stage
from slipway.stages.release import conclude_failure
from slipway.stages.run import Run
from tests.support.clock import Clock, after
from tests.support.stage_platform import MemoryPlatform

HOUR = 3600.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def platform() -> MemoryPlatform:
    return MemoryPlatform()


def a_run(platform: MemoryPlatform, *, budget_usd: float = 100, forecast_usd: float = 40) -> Run:
    """A run at 50 dollars an hour, each of whose stages on GPUs may cost the same."""
    profile = load_profile("glm51")
    profile = profile.model_copy(update={"budget": profile.budget.model_copy(update={"max_cost_usd": budget_usd})})
    run = Run(cast("Profile", profile), cast("Platform", platform), "http://hub")
    run.record.plan = plan(forecast_usd)
    run.ledger.save(run.record)
    return run


def plan(forecast_usd: float) -> Plan:
    steps = tuple(Step(stage=s, runs=True, why="", cost_usd=forecast_usd if s in ON_GPU else 0) for s in Stage)
    return Plan(app="a", commit="", manifest_digest="", kernel_key="", live_version=None, steps=steps, findings=())


def deploy(run: Run) -> Deployment:
    return run.deploy(ServerSpec(release_id=run.release_id, argv=(), env={}, mounts=()))


def hold(run: Run, clock: Clock, seconds: float) -> Deployment:
    """Spend money on a candidate in its stage."""
    with run.stage(Stage.DEPLOY):
        candidate = deploy(run)
        clock.seconds += seconds
    return candidate


def test_a_stage_that_may_exceed_the_budget_does_not_begin(clock: Clock, platform: MemoryPlatform) -> None:
    run = a_run(platform)
    hold(run, clock, 1.3 * HOUR)
    with pytest.raises(Rejected) as caught, run.stage(Stage.GATES):
        pytest.fail("the stage must not run")
    for part in ("has spent $65.00", "'gates' may take $40.00 more", "the budget is $100.00"):
        assert part in caught.value.message
    assert "Raise the budget to $105.00" in caught.value.remedy

    record = conclude_failure(run, caught.value)

    assert platform.running == {}, "the candidate is torn down"
    assert (record.outcome, record.exit_code, record.cost_usd) == (Outcome.REJECTED, 1, 65)
    assert record.stages[-1].status is StageStatus.FAILED
    assert "the budget is $100.00" in record.reason


def test_a_stage_that_just_fits_begins(clock: Clock, platform: MemoryPlatform) -> None:
    run = a_run(platform)
    hold(run, clock, 1.2 * HOUR)
    with run.stage(Stage.GATES):
        assert run.remaining_s() == pytest.approx(0.8 * HOUR)
        clock.seconds += 0.5 * HOUR
        assert run.remaining_s() == pytest.approx(0.3 * HOUR)


def test_the_deadline_of_the_run_counts_where_it_comes_first(clock: Clock, platform: MemoryPlatform) -> None:
    run = a_run(platform)
    clock.seconds = run.profile.budget.max_run_s - 60
    with run.stage(Stage.DEPLOY):
        assert run.remaining_s() == 60


def test_more_containers_spend_faster(clock: Clock, platform: MemoryPlatform) -> None:
    run = a_run(platform)
    with run.stage(Stage.DEPLOY):
        platform.lives[deploy(run).deployment_id] = [Lifetime(after(0)), Lifetime(after(0))]
        assert run.remaining_s() == pytest.approx(1 * HOUR)


def test_a_stage_without_gpus_has_the_time_of_the_run(clock: Clock, platform: MemoryPlatform) -> None:
    run = a_run(platform)
    with run.stage(Stage.SYNC):
        assert run.remaining_s() == run.profile.budget.max_run_s


@pytest.mark.parametrize("budget_usd", [0, 1])
def test_without_a_budget_or_a_price_there_is_no_limit(
    clock: Clock, platform: MemoryPlatform, budget_usd: float
) -> None:
    run = a_run(platform, budget_usd=budget_usd, forecast_usd=50 if not budget_usd else 0)
    if budget_usd:
        run.purse._price_usd = 0
    hold(run, clock, 3 * HOUR)
    with run.stage(Stage.GATES):
        assert run.remaining_s() == run.profile.budget.max_run_s - 3 * HOUR


@pytest.mark.parametrize("error", [Transient("It was ended.", remedy=""), Crashed("Not ready in time.", remedy="")])
def test_work_that_the_budget_ended_says_so(clock: Clock, platform: MemoryPlatform, error: Exception) -> None:
    run = a_run(platform)

    def work() -> None:
        with run.stage(Stage.DEPLOY):
            deploy(run)
            clock.seconds += run.remaining_s() - LEAST_S / 2
            raise error

    with pytest.raises(Rejected, match=r"spent \$99\.99 of its budget of \$100\.00") as caught:
        work()
    assert caught.value.__cause__ is error
    assert "'deploy candidate' has not come to its end" in run.record.stages[-1].message


@pytest.mark.parametrize(
    ("error", "spent_s"), [(Transient("No capacity.", remedy=""), HOUR), (Corrupt("Wrong.", remedy=""), 2 * HOUR)]
)
def test_other_errors_stay_what_they_are(
    clock: Clock, platform: MemoryPlatform, error: Exception, spent_s: float
) -> None:
    run = a_run(platform)

    def work() -> None:
        with run.stage(Stage.DEPLOY):
            deploy(run)
            clock.seconds += spent_s
            raise error

    with pytest.raises(type(error)):
        work()


def test_a_job_is_given_the_time_that_is_paid_for_and_none_is_started_without(
    clock: Clock, platform: MemoryPlatform
) -> None:
    given: list[float] = []

    class Handle:
        def wait(self, *, timeout_s: float, **_: Any) -> None:
            given.append(timeout_s)
            clock.seconds += timeout_s
            raise Transient("It was ended.", remedy="")

        def lifetimes(self) -> list[Lifetime]:
            return []

    cast("Any", platform).start_job = lambda job: Handle()
    run = a_run(platform)

    def compile_it() -> None:
        with run.stage(Stage.PRECOMPILE):
            run.run_on_gpus(Job("precompile", "m:f", {}), lambda _: None)

    for _ in range(2):  # the second time the stage does not begin
        with pytest.raises(Rejected):
            compile_it()
    assert given == [2 * HOUR]


def test_warming_up_ends_between_rounds(
    clock: Clock, platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(platform)
    candidate = hold(run, clock, 1 * HOUR)
    rounds = []

    def warm_up(*_: Any, on_round: Any, **__: Any) -> None:
        for number in range(1, 10):
            clock.seconds += 0.4 * HOUR
            rounds.append(number)
            on_round(number)

    monkeypatch.setattr(candidates.warmup, "warm_up", warm_up)
    with pytest.raises(Rejected, match="'warm up' has not come to its end"):
        candidates.warm_up(run, candidate)
    assert rounds == [1, 2, 3]
