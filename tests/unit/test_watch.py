"""Watching what serves: trouble takes the release back, chance does not, and what others do in between is theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from slipway.errors import Crashed, Transient
from slipway.platforms.port import Deployment, Platform, Progress, ServerSpec
from slipway.profile import load_profile
from slipway.profile.conduct import Watch
from slipway.records.check import CheckRecord, Condition
from slipway.records.ledger import Ledger
from slipway.records.record import Outcome, ReleaseRecord
from slipway.stages import watch as watches
from slipway.stages.watch import Seen, judged
from slipway.units import utc_now
from tests.support.stage_platform import MemoryPlatform

SPEC = Watch(duration_s=100, every_s=10, streams=2, failed_at_most=0.05, silent_at_most_s=30)
PROFILE = load_profile("miniature").model_copy(update={"watch": SPEC})
APP = PROFILE.app


def deploy(platform: MemoryPlatform, release_id: str) -> Deployment:
    return platform.deploy(APP, ServerSpec(release_id=release_id, argv=(), env={}, mounts=()))


@pytest.fixture
def platform() -> MemoryPlatform:
    """Version 2, of release `second`, serves; it has a record."""
    made = MemoryPlatform()
    made.promote(deploy(made, "first"))
    made.promote(deploy(made, "second"))
    ledger = Ledger(cast("Platform", made))
    ledger.save(
        ReleaseRecord(
            release_id="second", app=APP, started_at=utc_now(), profile=PROFILE.model_dump(), outcome=Outcome.PROMOTED
        )
    )
    return made


@pytest.fixture
def watch(platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CheckRecord]:
    """Watch with a clock of its own; `answer(n)` is the n-th round's, `between(n)` happens after it."""
    now = [1000.0]
    monkeypatch.setattr(watches.time, "monotonic", lambda: now[0])

    def run(
        answer: Callable[[int], str] = lambda n: "second",
        between: Callable[[int], None] = lambda n: None,
        **changes: object,
    ) -> CheckRecord:
        rounds = [0]
        monkeypatch.setattr(watches, "complete_once", lambda endpoint: answer(rounds[0]))

        def wait(seconds: float) -> None:
            between(rounds[0])
            rounds[0] += 1
            now[0] += seconds

        profile = PROFILE.model_copy(update={"watch": SPEC.model_copy(update=changes)})
        return watches.watch(cast("Platform", platform), profile, progress=said.append, wait=wait)

    said: list[Progress] = []
    return run


def fail(_: int) -> str:
    raise Transient("it does not answer.", remedy="look.")


def test_a_healthy_release_stays(platform: MemoryPlatform, watch: Callable[..., CheckRecord]) -> None:
    check = watch()
    assert (check.condition, check.requests, check.failed) == (Condition.HEALTHY, 20, 0)
    assert platform.live_version == 2
    assert Ledger(cast("Platform", platform)).checks(APP) == [check]


def test_a_release_that_hangs_is_taken_back(platform: MemoryPlatform, watch: Callable[..., CheckRecord]) -> None:
    """Of two requests a round all fail from the third on: silence is seen before the share is judged."""
    check = watch(lambda n: "second" if n < 3 else fail(n), failed_at_most=0.99)

    live = platform.live(APP)
    assert live is not None
    assert (live.release_id, live.rolled_back_to) == ("first", 1)
    assert check.condition is Condition.ROLLED_BACK
    assert "no request was answered for 30.0 s" in check.reason
    record = Ledger(cast("Platform", platform)).load("second")
    assert record.outcome is Outcome.ROLLED_BACK, "it must be no baseline"
    assert "taken back by its watch" in record.reason


def test_a_server_that_died_is_seen_at_once(platform: MemoryPlatform, watch: Callable[..., CheckRecord]) -> None:
    live = platform.live(APP)
    assert live is not None
    check = watch(between=lambda n: platform.running.pop(live.deployment_id, None))
    assert check.condition is Condition.ROLLED_BACK
    assert "its server is crashed: it is gone" in check.reason
    assert check.requests == 4


def test_answers_of_another_release_count_as_failed(watch: Callable[..., CheckRecord]) -> None:
    check = watch(lambda n: "first")
    assert check.condition is Condition.ROLLED_BACK
    assert "release 'first' answered" in check.reason


def test_where_the_profile_says_so_people_are_only_told(
    platform: MemoryPlatform, watch: Callable[..., CheckRecord]
) -> None:
    assert watch(fail, on_trouble="report").condition is Condition.UNHEALTHY
    assert platform.live_version == 2


def test_there_may_be_nothing_to_go_back_to(platform: MemoryPlatform, watch: Callable[..., CheckRecord]) -> None:
    del platform.releases[0]
    check = watch(fail)
    assert check.condition is Condition.UNHEALTHY
    assert "no release before it" in check.reason


def test_a_release_that_was_replaced_is_nobodys_trouble(
    platform: MemoryPlatform, watch: Callable[..., CheckRecord]
) -> None:
    check = watch(between=lambda n: n == 3 and platform.promote(deploy(platform, "third")))
    assert (check.condition, check.reason) == (Condition.SUPERSEDED, "version 3 serves now")


def test_a_roll_back_that_fails_is_an_error_and_on_record(
    platform: MemoryPlatform, watch: Callable[..., CheckRecord]
) -> None:
    platform.roll_back_fails = True
    with pytest.raises(Crashed):
        watch(fail)
    stored = Ledger(cast("Platform", platform)).checks(APP)[0]
    assert stored.condition is Condition.UNHEALTHY
    assert "does not start" in stored.reason


@pytest.mark.parametrize(
    ("requests", "failed", "trouble"),
    [(2, 0, False), (2, 1, False), (20, 1, False), (20, 3, False), (20, 8, True), (200, 10, False), (200, 30, True)],
)
def test_chance_is_no_trouble(requests: int, failed: int, *, trouble: bool) -> None:
    seen = Seen(answered_s=0.0, requests=requests, failed=failed, error="no")
    assert bool(judged(seen, SPEC, 1.0)) is trouble


def test_how_often_chance_takes_a_release_back() -> None:
    """A release that fails just as often as it may is taken back less often than the module says."""
    import numpy as np

    random, runs, back = np.random.default_rng(7), 400, 0
    for _ in range(runs):
        failures = random.random(20).reshape(10, 2) < SPEC.failed_at_most
        counts = failures.sum(axis=1).cumsum()
        back += any(judged(Seen(0.0, 2 * (n + 1), int(count), "no"), SPEC, 0.0) for n, count in enumerate(counts))
    assert back / runs <= watches.WRONGLY_AT_MOST
