"""Promoting, taking back, and closing records: production is the new release or what it was, never between."""

from __future__ import annotations

from typing import cast

import pytest

from slipway.errors import Busy, Crashed, Rejected, Transient
from slipway.platforms.port import Deployment, Platform, ServerSpec
from slipway.profile import load_profile
from slipway.records.ledger import LEDGER_VOLUME, log_path
from slipway.records.record import Outcome
from slipway.stages import candidate, release
from slipway.stages.run import Run, clear_after_dead_runs
from tests.support.stage_platform import MemoryPlatform

PROFILE = load_profile("miniature")
APP = PROFILE.app


def a_run(platform: MemoryPlatform) -> Run:
    run = Run(PROFILE, cast("Platform", platform), "http://hub")
    live = platform.live(APP)
    run.record.previous_version = live.version if live else None
    run.ledger.save(run.record)
    return run


def deploy(platform: MemoryPlatform, release_id: str) -> Deployment:
    return platform.deploy(APP, ServerSpec(release_id=release_id, argv=(), env={}, mounts=()))


@pytest.fixture
def platform() -> MemoryPlatform:
    """Version 1, of release `first`, serves."""
    made = MemoryPlatform()
    made.promote(deploy(made, "first"))
    return made


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Which release answers at each address; an address that is not there answers as asked."""
    told: dict[str, str] = {}
    monkeypatch.setattr(candidate, "complete_once", lambda end: told.get(end.url, end.release_id))
    return told


def test_promotes_and_ends_the_release_before(platform: MemoryPlatform, answers: dict[str, str]) -> None:
    run = a_run(platform)
    new = deploy(platform, run.release_id)

    made = release.promote(run, new)
    record = release.conclude(run, made)

    assert platform.live(APP) == made
    assert list(platform.running) == [new.deployment_id]
    assert (record.outcome, record.version, record.previous_version) == (Outcome.PROMOTED, 2, 1)


def test_rolls_back_when_another_release_answers_users(platform: MemoryPlatform, answers: dict[str, str]) -> None:
    run = a_run(platform)
    new = deploy(platform, run.release_id)
    answers["http://live"] = "first"

    with pytest.raises(Crashed, match="answers as release 'first'") as caught:
        release.promote(run, new)
    record = release.conclude_failure(run, caught.value)

    live = platform.live(APP)
    assert live is not None
    assert (live.release_id, live.rolled_back_to) == ("first", 1)
    assert [d.release_id for d in platform.running.values()] == ["first"]
    assert (record.outcome, record.version, record.exit_code) == (Outcome.ROLLED_BACK, None, 3)


def test_first_release_that_fails_after_its_switch_leaves_nothing_live() -> None:
    platform = MemoryPlatform()
    run = a_run(platform)
    platform.promote(deploy(platform, run.release_id))

    record = release.conclude_failure(run, Crashed("gone.", remedy="look."))

    assert platform.live(APP) is None
    assert not platform.running
    assert record.outcome is Outcome.ROLLED_BACK


def test_rejected_before_the_switch_touches_only_the_candidate(platform: MemoryPlatform) -> None:
    run = a_run(platform)
    deploy(platform, run.release_id)

    for _ in range(2):  # undoing twice does no more than undoing once
        assert release.undo(run) is Outcome.REJECTED

    assert [d.release_id for d in platform.running.values()] == ["first"]
    assert platform.live_version == 1


@pytest.mark.parametrize(
    ("error", "exit_code", "reason"),
    [
        (Rejected("Too slow.", remedy="Look."), 1, "Too slow. Look."),
        (Transient("No answer.", remedy="Wait."), 3, "No answer. Wait."),
        (ZeroDivisionError("oops"), 3, "ZeroDivisionError: oops"),
        (KeyboardInterrupt(), 3, "The run was told to end (interrupted, or cancelled)."),
    ],
)
def test_the_record_says_why(platform: MemoryPlatform, error: BaseException, exit_code: int, reason: str) -> None:
    record = release.conclude_failure(a_run(platform), error)
    assert (record.exit_code, record.reason, record.error_kind) == (exit_code, reason, type(error).__name__)


def test_how_a_candidate_was_built_and_what_it_printed_is_kept_whatever_its_end(
    platform: MemoryPlatform, answers: dict[str, str]
) -> None:
    good, bad = a_run(platform), a_run(platform)
    promoted, rejected = deploy(platform, good.release_id), deploy(platform, bad.release_id)
    release.promote(good, promoted)
    release.undo(bad)
    ledger = platform.volume(LEDGER_VOLUME)
    kept = [ledger.read(log_path(run.release_id)).decode() for run in (good, bad)]
    ids = (promoted.deployment_id, rejected.deployment_id)
    assert kept == [f"how {name} was built\nwhat {name} printed" for name in ids]


def test_a_failed_undo_is_recorded_and_raised(platform: MemoryPlatform) -> None:
    run = a_run(platform)
    platform.promote(deploy(platform, run.release_id))
    platform.roll_back_fails = True

    with pytest.raises(Crashed, match="does not start"):
        release.conclude_failure(run, Rejected("Too slow.", remedy="Look."))

    record = run.ledger.load(run.release_id)
    assert record.reason == "Too slow. Look. Undoing it failed too: it does not start. look."


def test_the_next_run_clears_after_a_dead_one(platform: MemoryPlatform) -> None:
    dead = a_run(platform)
    deploy(platform, dead.release_id)

    clear_after_dead_runs(cast("Platform", platform), dead.ledger, APP)

    assert [d.release_id for d in platform.running.values()] == ["first"]
    record = dead.ledger.load(dead.release_id)
    assert record.outcome is Outcome.INTERRUPTED
    assert record.ended_at is not None


def test_a_run_that_died_after_its_switch_counts_as_promoted(platform: MemoryPlatform) -> None:
    dead = a_run(platform)
    platform.promote(deploy(platform, dead.release_id))

    clear_after_dead_runs(cast("Platform", platform), dead.ledger, APP)

    record = dead.ledger.load(dead.release_id)
    assert (record.outcome, record.version) == (Outcome.PROMOTED, 2)
    assert [d.release_id for d in platform.running.values()] == [dead.release_id]


def test_records_that_ended_are_left_alone(platform: MemoryPlatform) -> None:
    ended = release.conclude_failure(a_run(platform), Busy("held.", remedy="wait."))
    run = a_run(platform)
    clear_after_dead_runs(cast("Platform", platform), run.ledger, APP)
    assert run.ledger.load(ended.release_id) == ended


def test_rollback_command_ends_the_release_it_replaces(platform: MemoryPlatform) -> None:
    platform.promote(deploy(platform, "second"))

    made = release.roll_back(cast("Platform", platform), APP, 1, timeout_s=1)

    assert (made.version, made.release_id) == (3, "first")
    assert [d.release_id for d in platform.running.values()] == ["first"]


def test_stop_names_what_it_ended(platform: MemoryPlatform) -> None:
    assert release.stop_app(cast("Platform", platform), APP) == ["server-1"]
    assert platform.live(APP) is None


def in_place(platform: MemoryPlatform) -> Run:
    run = a_run(platform)
    run.profile = PROFILE.model_copy(update={"strategy": "in_place"})
    run.record.profile = run.profile.model_dump(mode="json")
    run.ledger.save(run.record)
    return run


def test_in_place_the_live_release_is_started_again_when_the_run_fails(platform: MemoryPlatform) -> None:
    run = in_place(platform)
    assert "version 1" in candidate._make_room(run)
    assert not platform.running
    deploy(platform, run.release_id)

    record = release.conclude_failure(run, Rejected("Too slow.", remedy="Look."))

    live = platform.live(APP)
    assert live is not None
    assert (live.release_id, record.outcome) == ("first", Outcome.REJECTED)
    assert [d.release_id for d in platform.running.values()] == ["first"]


@pytest.mark.parametrize(("fails", "said"), [(False, "serves"), (True, "does not start again")])
def test_in_place_a_run_that_died_is_made_good_by_the_next(platform: MemoryPlatform, *, fails: bool, said: str) -> None:
    run = in_place(platform)
    candidate._make_room(run)
    deploy(platform, run.release_id)
    platform.roll_back_fails = fails

    clear_after_dead_runs(cast("Platform", platform), run.ledger, APP)

    assert [d.release_id for d in platform.running.values()] == ([] if fails else ["first"])
    record = run.ledger.load(run.release_id)
    assert record.outcome is Outcome.INTERRUPTED
    assert said in record.reason


def test_beside_the_live_release_nothing_is_stopped(platform: MemoryPlatform) -> None:
    assert candidate._make_room(a_run(platform)) == ""
    assert [d.release_id for d in platform.running.values()] == ["first"]


def test_the_report_is_kept_beside_the_record_of_any_end(
    platform: MemoryPlatform, answers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad, undrawn = a_run(platform), a_run(platform), a_run(platform)
    release.conclude(good, release.promote(good, deploy(platform, good.release_id)))
    release.conclude_failure(bad, Rejected("too slow.", remedy="look."))
    with monkeypatch.context() as broken:
        broken.setattr("slipway.records.html.stored.render", lambda *_: 1 / 0)
        assert release.conclude_failure(undrawn, Rejected("too slow.", remedy="look.")).outcome is Outcome.REJECTED

    kept = [entry.path for entry in platform.volume(LEDGER_VOLUME).entries("reports")]
    assert sorted(kept) == sorted(f"reports/{run.release_id}.html" for run in (good, bad))
