"""Promote the candidate, or leave production as it was; close the record."""

from prefect import task

from slipway.platforms.port import Deployment, Release
from slipway.records.record import ReleaseRecord
from slipway.records.report import report, timeline
from slipway.stages import release as stages
from slipway.stages.run import Run
from tasks import artifacts
from tasks.policy import ONCE


@task(name="promote", **ONCE)
def promote(run: Run, candidate: Deployment) -> Release:
    """Switch users to the candidate and ask at their address who answers."""
    return stages.promote(run, candidate)


@task(name="record", **ONCE)
def conclude(run: Run, release: Release) -> ReleaseRecord:
    """Close the record of a run that ended well."""
    return _publish(stages.conclude(run, release))


@task(name="record", **ONCE)
def conclude_prepared(run: Run, what: str) -> ReleaseRecord:
    """Close the record of a run that was to bring something to the platform, and did."""
    return _publish(stages.conclude_prepared(run, what))


@task(name="undo and record", **ONCE)
def conclude_failure(run: Run, error: BaseException) -> ReleaseRecord:
    """Take back a switch, stop the candidate, and record why."""
    return _publish(stages.conclude_failure(run, error))


def _publish(record: ReleaseRecord) -> ReleaseRecord:
    artifacts.markdown("timeline", timeline(record), "Stages of this run")
    artifacts.markdown("release-report", report(record), record.reason[:200])
    return record
