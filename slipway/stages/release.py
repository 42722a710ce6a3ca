"""Letting users reach a release, taking one back, and closing the record of a run."""

from __future__ import annotations

import logging

from slipway.errors import SlipwayError
from slipway.platforms.port import Deployment, Platform, Release
from slipway.records.record import Outcome, ReleaseRecord
from slipway.stages.candidate import require_release
from slipway.stages.names import Stage
from slipway.stages.run import Run, deployment_of, restore

CONFIRMATIONS = 3

_log = logging.getLogger(__name__)


def promote(run: Run, candidate: Deployment) -> Release:
    """The stage: switch users to the candidate, ask at their address who answers, then end the release before."""
    with run.stage(Stage.PROMOTE) as stage:
        before = run.platform.live(run.profile.app)
        release = run.promote(candidate)
        for _ in range(CONFIRMATIONS):
            require_release(run, run.platform.live_url(run.profile.app))
        if before is not None:
            run.platform.stop(deployment_of(before))
        stage.done(f"version {release.version} at {run.platform.live_url(run.profile.app)}")
        return release


def undo(run: Run) -> Outcome:
    """Leave production as it was: take back a switch that was made, and stop the candidate.

    Safe to call at any point of a run, and again.
    """
    app, platform = run.profile.app, run.platform
    live = platform.live(app)
    outcome = Outcome.REJECTED
    if live is not None and live.release_id == run.release_id:
        if run.record.previous_version is None:
            platform.stop_app(app)  # nothing served before, so nothing shall serve now
        else:
            platform.roll_back(app, run.record.previous_version, timeout_s=run.profile.scaling.startup_timeout_s)
        outcome = Outcome.ROLLED_BACK
    for deployment in platform.deployments(app):
        if deployment.release_id == run.release_id:
            run.stop(deployment)
    if run.profile.strategy == "in_place":
        restore(platform, app, timeout_s=run.profile.scaling.startup_timeout_s)
    return outcome


def conclude(run: Run, release: Release) -> ReleaseRecord:
    """Close the record of a run that ended well."""
    run.record.version = release.version
    return _reported(run, run.finish(Outcome.PROMOTED, f"version {release.version} serves", error=None, exit_code=0))


def conclude_prepared(run: Run, what: str) -> ReleaseRecord:
    """Close the record of a run that was to bring something to the platform, and did."""
    return _reported(run, run.finish(Outcome.PREPARED, f"{what}; nothing was released", error=None, exit_code=0))


def conclude_failure(run: Run, error: BaseException) -> ReleaseRecord:
    """Undo what the run did, and close its record with the reason."""
    reason = describe(error)
    exit_code = error.exit_code if isinstance(error, SlipwayError) else SlipwayError.exit_code
    try:
        outcome = undo(run)
    except SlipwayError as failure:
        run.finish(Outcome.REJECTED, f"{reason} Undoing it failed too: {failure}", error=error, exit_code=exit_code)
        raise
    return _reported(run, run.finish(outcome, reason, error=error, exit_code=exit_code))


def _reported(run: Run, record: ReleaseRecord) -> ReleaseRecord:
    """The record, with its page for people kept beside it."""
    from slipway.records.html.stored import store  # noqa: PLC0415 - matplotlib takes a second, and only at the end

    try:
        store(run.ledger, record)
    except Exception:  # noqa: BLE001 - users have the release already: a picture is no reason to call it failed
        _log.warning("The report of %s was not made; `slipway report` tries again.", record.release_id, exc_info=True)
    return record


def describe(error: BaseException) -> str:
    """What ended a run, in words."""
    if isinstance(error, SlipwayError):
        return str(error)
    if isinstance(error, Exception):
        return f"{type(error).__name__}: {error}"
    return "The run was told to end (interrupted, or cancelled)."


def roll_back(platform: Platform, app: str, version: int, *, timeout_s: float) -> Release:
    """Serve an explicit earlier version again, and end the one that served until now."""
    with platform.exclusive(app):
        return switch_back(platform, app, version, timeout_s=timeout_s)


def switch_back(platform: Platform, app: str, version: int, *, timeout_s: float) -> Release:
    """The same by whoever holds the app."""
    before = platform.live(app)
    release = platform.roll_back(app, version, timeout_s=timeout_s)
    if before is not None and before.deployment_id != release.deployment_id:
        platform.stop(deployment_of(before))
    return release


def version_before(platform: Platform, live: Release) -> Release | None:
    """The newest version before the live one that is of another release: where a roll back leads."""
    others = [r for r in platform.history(live.app) if r.version < live.version and r.release_id != live.release_id]
    return others[-1] if others else None


def stop_app(platform: Platform, app: str) -> list[str]:
    """End everything that serves an app; returns the deployments that were ended."""
    with platform.exclusive(app):
        ended = [deployment.deployment_id for deployment in platform.deployments(app)]
        platform.stop_app(app)
        return ended
