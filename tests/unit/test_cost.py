"""What a run costs: the lives of its containers, by stage, with the time in which they wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.errors import Transient
from slipway.platforms.port import Deployment, Job, Lifetime, Platform, ServerSpec
from slipway.profile import Profile, load_profile
from slipway.records.costs import cost_rows
from slipway.records.record import Outcome, StageRecord, StageStatus
from slipway.records.report import report
from slipway.stages.cost import charge
from slipway.stages.forecast import plan_without_platform
from slipway.stages.names import Stage
from slipway.stages.run import Run, clear_after_dead_runs
from tests.support.clock import Clock, after
from tests.support.stage_platform import MemoryPlatform

GLM51 = load_profile("glm51")
SPEC = ServerSpec(release_id="r", argv=(), env={}, mounts=())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Place(MemoryPlatform):
    """Jobs take a while; containers live as tests say, and nothing is told where they do not say."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.job_lives, self.takes_s = clock, [], 0.0
        self.unreachable = False

    def start_job(self, job: Job) -> JobOfPlace:
        return JobOfPlace(self)

    def lifetimes(self, deployment: Deployment) -> Sequence[Lifetime]:
        if self.unreachable:
            raise Transient("No answer.", remedy="Wait.")
        return super().lifetimes(deployment)


class JobOfPlace:
    def __init__(self, place: Place) -> None:
        self.place = place

    def wait(self, **_: Any) -> str:
        self.place.clock.seconds += self.place.takes_s
        return "done"

    def lifetimes(self) -> list[Lifetime]:
        return self.place.job_lives


def a_run(place: Place, profile: Profile = GLM51) -> Run:
    return Run(profile, cast("Platform", place), "http://hub")


def costs(run: Run) -> dict[str, tuple[float, float]]:
    """Seconds on GPUs, and dollars at 50 an hour, by stage, as they are on record."""
    record = run.ledger.load(run.release_id)
    assert record.cost_usd == pytest.approx(sum(stage.cost_usd for stage in record.stages))
    return {stage.name: (stage.held_s, round(stage.cost_usd, 6)) for stage in record.stages}


def test_a_stage_without_gpus_costs_nothing(clock: Clock) -> None:
    run = a_run(Place(clock))
    with run.stage(Stage.SYNC):
        clock.seconds += 3600
    assert costs(run) == {"sync weights": (0, 0)}


def test_a_job_is_paid_for_while_its_container_lived(clock: Clock) -> None:
    place = Place(clock)
    run, place.takes_s = a_run(place), 100
    place.job_lives = [Lifetime(after(28), after(100))]
    with run.stage(Stage.PRECOMPILE):
        assert run.run_on_gpus(Job("precompile", "m:f", {}), lambda _: None) == "done"
    assert costs(run) == {"precompile kernels": (72, 1)}


def test_a_job_whose_platform_tells_nothing_is_paid_for_from_asking_to_its_end(clock: Clock) -> None:
    place = Place(clock)
    run, place.takes_s = a_run(place), 72
    with run.stage(Stage.PRECOMPILE):
        run.run_on_gpus(Job("precompile", "m:f", {}), lambda _: None)
        clock.seconds += 10
    clock.seconds += 1000
    run.finish(Outcome.REJECTED, "so", error=None, exit_code=1)
    assert costs(run) == {"precompile kernels": (72, 1)}


def test_a_candidate_that_waits_is_paid_for_by_the_stage_after_which_it_waits(clock: Clock) -> None:
    place = Place(clock)
    run = a_run(place)
    with run.stage(Stage.DEPLOY):
        clock.seconds = 30  # no machine is free so long
        candidate = run.deploy(SPEC)
        place.lives[candidate.deployment_id] = [Lifetime(after(100))]
        clock.seconds = 172
    with run.stage(Stage.GATES):
        clock.seconds = 316
    clock.seconds = 3916  # an hour of approval
    with run.stage(Stage.PROMOTE):
        clock.seconds = 3952
        place.lives[candidate.deployment_id] = [Lifetime(after(100), after(3934))]
    run.finish(Outcome.PROMOTED, "so", error=None, exit_code=0)
    assert costs(run) == {"deploy candidate": (72, 1), "gates": (3744, 52), "promote": (18, 0.25)}


def test_every_container_counts(clock: Clock) -> None:
    place = Place(clock)
    run = a_run(place)
    with run.stage(Stage.GATES):
        candidate = run.deploy(SPEC)
        place.lives[candidate.deployment_id] = [Lifetime(after(0), after(36)), Lifetime(after(36))]
        clock.seconds = 72
    assert costs(run) == {"gates": (72, 1)}


def test_the_live_release_is_paid_for_once_where_it_is_the_candidate_itself(clock: Clock) -> None:
    place = Place(clock)
    run = a_run(place)
    with run.stage(Stage.PROMOTE):
        candidate = run.deploy(SPEC)
        clock.seconds = 36
        run.promote(candidate)
        clock.seconds = 72
    assert costs(run) == {"promote": (72, 1)}


def test_a_release_that_is_deployed_anew_is_paid_for_beside_the_candidate(clock: Clock) -> None:
    place = Place(clock)
    promote = place.promote
    place.promote = lambda candidate: promote(replace(candidate, deployment_id="anew"))  # type: ignore[method-assign]
    run = a_run(place)
    with run.stage(Stage.PROMOTE):
        candidate = run.deploy(SPEC)
        clock.seconds = 36
        run.promote(candidate)
        clock.seconds = 54
        run.stop(candidate)
        clock.seconds = 72
    assert costs(run) == {"promote": (54 + 36, 1.25)}


def test_a_candidate_that_was_stopped_costs_nothing_more(clock: Clock) -> None:
    run = a_run(Place(clock))
    with run.stage(Stage.DEPLOY):
        candidate = run.deploy(SPEC)
        clock.seconds = 72
        run.stop(candidate)
        clock.seconds = 500
    run.finish(Outcome.REJECTED, "so", error=None, exit_code=1)
    assert costs(run) == {"deploy candidate": (72, 1)}


def test_a_platform_that_does_not_answer_does_not_end_the_run(clock: Clock) -> None:
    place = Place(clock)
    run, place.unreachable = a_run(place), True
    with run.stage(Stage.DEPLOY):
        run.deploy(SPEC)
        clock.seconds = 72
    assert costs(run) == {"deploy candidate": (72, 1)}


def test_what_outlived_its_run_is_put_on_the_stage_in_which_that_died(clock: Clock) -> None:
    place = Place(clock)
    run = a_run(place)
    with run.stage(Stage.DEPLOY):
        candidate = place.deploy(GLM51.app, ServerSpec(release_id=run.release_id, argv=(), env={}, mounts=()))
        run._pay_for(candidate)
        place.lives[candidate.deployment_id] = [Lifetime(after(0))]
        clock.seconds = 36
    with pytest.raises(KeyboardInterrupt), run.stage(Stage.GATES):
        raise KeyboardInterrupt  # and nothing after it
    clock.seconds = 108
    place.lives[candidate.deployment_id] = [Lifetime(after(0), after(108))]

    clear_after_dead_runs(cast("Platform", place), run.ledger, GLM51.app)

    assert costs(run) == {"deploy candidate": (36, 0.5), "gates": (72, 1)}
    assert run.ledger.load(run.release_id).outcome is Outcome.INTERRUPTED


def test_a_miniature_costs_nothing_and_its_seconds_are_told(clock: Clock) -> None:
    run = a_run(Place(clock), load_profile("miniature"))
    with run.stage(Stage.DEPLOY):
        run.deploy(SPEC)
        clock.seconds = 72
    assert costs(run) == {"deploy candidate": (72, 0)}


def test_forecast_and_cost_stand_side_by_side(clock: Clock) -> None:
    run = a_run(Place(clock))
    run.record.plan = plan_without_platform(GLM51)
    assert cost_rows(run.record) == []
    with run.stage(Stage.SYNC):
        clock.seconds += 1000
    with run.stage(Stage.DEPLOY):
        run.deploy(SPEC)
        clock.seconds += 100
    with run.stage(Stage.WARM_UP):
        clock.seconds += 180
    with run.stage(Stage.GATES):
        clock.seconds += 4000
    deploy, warm_up, gates, whole = cost_rows(run.record)
    assert deploy == ("deploy candidate", *deploy[1:2], "1m40s", *deploy[3:4], "$1.39", "less than reckoned")
    assert warm_up == ("warm up", "2m00s to 4m00s", "3m00s", "$1.67 to $3.33", "$2.50", "as reckoned")
    assert (gates[2], gates[4], gates[5]) == ("1h06m", "$55.56", "more than reckoned")
    assert (whole[0], whole[2], whole[4], whole[5]) == ("all", "1h11m", "$59.44", "as reckoned")
    assert "| gates | 5m54s to 51m17s | 1h06m |" in report(run.record)


def test_a_run_without_a_price_has_no_table_of_costs(clock: Clock) -> None:
    run = a_run(Place(clock), load_profile("miniature"))
    run.record.plan = plan_without_platform(run.profile)
    with run.stage(Stage.DEPLOY):
        run.deploy(SPEC)
        clock.seconds += 100
    assert cost_rows(run.record) == []
    assert "## Cost" not in report(run.record)


times = st.floats(0, 1000)
lives = st.lists(st.tuples(times, times | st.none()), max_size=5)


@given(lives, st.lists(times, min_size=1, max_size=5), times)
def test_nothing_is_charged_twice_and_nothing_is_lost(
    lived: list[tuple[float, float | None]], begins: list[float], more: float
) -> None:
    begins = sorted(begins)
    end = begins[-1] + more
    stages = [
        StageRecord(name=str(n), status=StageStatus.DONE, started_at=after(begin)) for n, begin in enumerate(begins)
    ]
    lifetimes = [Lifetime(after(a), None if b is None else after(b)) for a, b in lived if b is None or a <= b]
    charge(stages, lifetimes, now=after(end), price_usd=3600)
    whole = sum(
        max(0.0, min(end if b is None else b, end) - max(a, begins[0])) for a, b in lived if b is None or a <= b
    )
    assert sum(stage.held_s for stage in stages) == pytest.approx(whole, abs=1e-3)
    assert all(stage.cost_usd == pytest.approx(stage.held_s) for stage in stages)
