"""Watching a release that users reach: it is asked again and again, and taken back when it goes wrong.

Three things count as trouble: its server has died; not one request was answered for as long as the profile allows, a
hang; a greater share of them failed than it allows, beyond chance. An answer by another release than the one that is
live counts as failed. When somebody releases or rolls back meanwhile, the watch ends: that is their release now.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from slipway.endpoint import Endpoint
from slipway.engine.client import complete_once
from slipway.errors import Misconfigured, SlipwayError
from slipway.gates.statistics import share
from slipway.platforms.port import Phase, Platform, Progress, ProgressSink, Release
from slipway.profile import Profile
from slipway.profile.conduct import Exclusive, Watch
from slipway.records.check import CheckRecord, Condition
from slipway.records.ledger import Ledger
from slipway.records.record import Outcome
from slipway.stages.check import checking, live_endpoint, require_live
from slipway.stages.exclusive import holding
from slipway.stages.release import switch_back, version_before
from slipway.stages.run import deployment_of
from slipway.units import show_seconds

WRONGLY_AT_MOST: Final = 0.05
"""Chance that a release which fails just as often as it may is taken back. Shared out among the looks (Bonferroni)."""

HOLD_FOR_ROLL_BACK: Final = Exclusive(on_busy="wait", wait_at_most_s=600)
"""A run that holds the app may be about to replace the release anyway; it is given this long."""


@dataclass
class Seen:
    """What the watch has seen so far.

    Attributes:
        requests: Requests sent.
        failed: How many of them failed.
        answered_s: When the last one was answered, by the monotonic clock; the begin before the first.
        error: What the last failure was.
    """

    answered_s: float
    requests: int = 0
    failed: int = 0
    error: str = ""


def watch(
    platform: Platform, profile: Profile, *, progress: ProgressSink, wait: Callable[[float], None] = time.sleep
) -> CheckRecord:
    """Watch the live release of a profile's app for as long as the profile says, and act on trouble.

    Args:
        platform: Where it runs.
        profile: Whose app, by `watch` how.
        progress: Told how far it is.
        wait: Waits for so many seconds.

    Raises:
        Misconfigured: If nothing serves.
        Crashed: If the release before cannot be brought back; the record says what was seen.
    """
    live = require_live(platform, profile.app)
    with checking(platform, profile, live, "watch") as check:
        trouble = _observe(platform, profile, live, check, progress, wait)
        if check.condition is not Condition.RUNNING:
            return check
        if not trouble:
            check.condition = Condition.HEALTHY
            check.reason = (
                f"{check.failed} of {check.requests} requests failed in {show_seconds(profile.watch.duration_s)}"
            )
        else:
            _act(platform, profile, live, check, trouble)
    return check


def _observe(
    platform: Platform,
    profile: Profile,
    live: Release,
    check: CheckRecord,
    progress: ProgressSink,
    wait: Callable[[float], None],
) -> str:
    """Ask until the time is over; what went wrong, or nothing."""
    spec, endpoint, began_s = profile.watch, live_endpoint(platform, profile, live), time.monotonic()
    seen = Seen(answered_s=began_s)
    with ThreadPoolExecutor(spec.streams) as pool:
        while (elapsed_s := time.monotonic() - began_s) < spec.duration_s:
            progress(Progress(elapsed_s, spec.duration_s, "s", f"{seen.failed} of {seen.requests} failed"))
            now = platform.live(profile.app)
            if now is None or now.version != live.version:
                check.condition = Condition.SUPERSEDED
                check.reason = f"version {now.version} serves now" if now else "it was stopped"
                return ""
            _ask_round(pool, endpoint, spec.streams, seen)
            check.requests, check.failed = seen.requests, seen.failed
            status = platform.status(deployment_of(live))
            if status.phase is not Phase.READY:
                return f"its server is {status.phase}: {status.detail}"
            if trouble := judged(seen, spec, time.monotonic()):
                return trouble
            wait(spec.every_s)
    return ""


def _ask_round(pool: ThreadPoolExecutor, endpoint: Endpoint, streams: int, seen: Seen) -> None:
    for error in pool.map(_failure, [endpoint] * streams):
        seen.requests += 1
        if error:
            seen.failed, seen.error = seen.failed + 1, error
        else:
            seen.answered_s = time.monotonic()


def _failure(endpoint: Endpoint) -> str:
    """Send one request; why it failed, if it did."""
    try:
        answered = complete_once(endpoint)
    except SlipwayError as error:
        return error.message
    return "" if answered == endpoint.release_id else f"release {answered!r} answered"


def judged(seen: Seen, spec: Watch, now_s: float) -> str:
    """What is wrong by what was seen until now; empty if nothing is."""
    silent_s = now_s - seen.answered_s
    if seen.failed and silent_s >= spec.silent_at_most_s:
        return f"no request was answered for {show_seconds(silent_s)}; the last one: {seen.error}"
    looks = math.ceil(spec.duration_s / spec.every_s)
    if seen.failed and share(seen.failed, seen.requests, 1 - WRONGLY_AT_MOST / looks).low > spec.failed_at_most:
        return (
            f"{seen.failed} of {seen.requests} requests failed, more than {100 * spec.failed_at_most:g} % "
            f"beyond chance; the last one: {seen.error}"
        )
    return ""


def _act(platform: Platform, profile: Profile, live: Release, check: CheckRecord, trouble: str) -> None:
    """Bring the release before back, where the profile says so and there is one."""
    before = version_before(platform, live)
    if profile.watch.on_trouble == "report" or before is None:
        check.condition = Condition.UNHEALTHY
        check.reason = trouble if before else f"{trouble}; there is no release before it to roll back to"
        return
    check.condition, check.reason = Condition.UNHEALTHY, trouble
    with holding(platform, profile.app, HOLD_FOR_ROLL_BACK):
        now = platform.live(profile.app)
        if now is None or now.version != live.version:
            check.condition, check.reason = Condition.SUPERSEDED, f"{trouble}; it was replaced meanwhile"
            return
        release = switch_back(platform, profile.app, before.version, timeout_s=profile.scaling.startup_timeout_s)
        _tell_record(platform, live, trouble)
    check.condition = Condition.ROLLED_BACK
    check.reason = f"{trouble}; version {release.version} serves, as version {before.version} did"


def _tell_record(platform: Platform, live: Release, trouble: str) -> None:
    """Mark the release as taken back: what it measured is no baseline for later ones."""
    ledger = Ledger(platform)
    with suppress(Misconfigured):  # its record may be elsewhere
        record = ledger.load(live.release_id)
        record.outcome, record.reason = Outcome.ROLLED_BACK, f"promoted, then taken back by its watch: {trouble}"
        ledger.save(record)
