"""A run's record: written as it goes, with every attempt's time, and told to observers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import pytest

from slipway.errors import Misconfigured, Rejected, Transient
from slipway.platforms.port import Platform, Progress
from slipway.profile import load_profile
from slipway.records.events import StageEvent, observed_by
from slipway.records.record import Outcome, StageStatus
from slipway.stages import run as runs
from slipway.stages.names import Stage
from slipway.stages.run import Run
from slipway.stages.surroundings import open_platform
from tests.support.stage_platform import MemoryPlatform


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock; add to its only entry to let time pass."""
    now = [1000.0]
    monkeypatch.setattr(runs.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def run(clock: list[float]) -> Run:
    return Run(load_profile("glm51"), cast("Platform", MemoryPlatform()), "http://hub")


def test_a_stage_is_on_record_before_its_work_begins(run: Run) -> None:
    with run.stage(Stage.SYNC):
        stored = run.ledger.load(run.release_id)
        assert [(s.name, s.status) for s in stored.stages] == [("sync weights", StageStatus.RUNNING)]


def test_attempts_add_up(run: Run, clock: list[float]) -> None:
    def fail() -> None:
        with run.stage(Stage.DEPLOY):
            clock[0] += 10
            raise Transient("No capacity.", remedy="Wait.")

    with pytest.raises(Transient):
        fail()
    assert run.record.stages[0].message == "No capacity."
    with run.stage(Stage.DEPLOY) as stage:
        clock[0] += 26
        stage.done("up")

    entry = run.ledger.load(run.release_id).stages[0]
    assert (entry.status, entry.attempts, entry.seconds, entry.message) == (StageStatus.DONE, 2, 36, "up")


def test_overhead_is_what_no_stage_accounts_for(run: Run, clock: list[float]) -> None:
    clock[0] += 2
    with run.stage(Stage.SYNC):
        clock[0] += 40
    with run.stage(Stage.GATES):
        clock[0] += 72
    clock[0] += 1

    record = run.finish(Outcome.PROMOTED, "fine", error=None, exit_code=0)

    assert record.overhead_s == pytest.approx(3)
    assert run.ledger.load(run.release_id) == record


def test_no_stage_begins_after_the_deadline(run: Run, clock: list[float]) -> None:
    clock[0] += run.profile.budget.max_run_s + 1
    with pytest.raises(Rejected, match=r"budget\.max_run_s"), run.stage(Stage.GATES):
        pytest.fail("the stage must not run")


def test_observers_see_the_turns_and_some_of_the_progress(run: Run, clock: list[float]) -> None:
    seen: list[StageEvent] = []
    with observed_by(seen.append):
        with run.stage(Stage.SYNC) as stage:
            for done in range(100):
                clock[0] += 0.01
                stage.progress(Progress(done, 100, "bytes"))
        with run.stage(Stage.PRECOMPILE) as stage:
            stage.skip("all there")

    kinds = [event.kind for event in seen if event.kind != "progress"]
    assert kinds == ["started", "done", "started", "skipped"]
    assert seen[-1].message == "all there"
    assert 5 <= len(seen) - len(kinds) <= 15, "a second of progress, told ten times a second"


def test_a_stage_that_is_interrupted_as_it_begins_does_not_stay_running(run: Run) -> None:
    def interrupt(event: StageEvent) -> None:
        if event.kind == "started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), observed_by(interrupt), run.stage(Stage.GATES):
        pytest.fail("its work began")
    assert [(stage.name, stage.status) for stage in run.record.stages] == [(Stage.GATES, StageStatus.FAILED)]


def test_release_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [datetime(2026, 9, 30, 23, 59, 59, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)]
    ids = []
    for time in times:
        monkeypatch.setattr(runs, "utc_now", lambda time=time: time)
        ids.append(runs.new_release_id("app"))
    assert ids == sorted(ids)
    assert ids[0].startswith("app.20260930T235959-")


def test_a_platform_that_is_not_there() -> None:
    with pytest.raises(Misconfigured, match="'elsewhere'"):
        open_platform("elsewhere")
