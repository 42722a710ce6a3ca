"""How every run is carried out: held, told of, undone when something fails, and cleared away when it was killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from prefect import Flow, get_run_logger
from prefect.client.schemas.objects import FlowRun, State

from flows import events
from flows.parameters import chosen_profile
from slipway.errors import Busy, SlipwayError
from slipway.profile import Profile
from slipway.profile.conduct import Exclusive
from slipway.records.events import observed_by
from slipway.records.ledger import Ledger
from slipway.records.record import ReleaseRecord
from slipway.stages.exclusive import holding
from slipway.stages.run import Run, clear_after_dead_runs, open_run
from slipway.stages.surroundings import open_platform
from tasks.release import conclude_failure

Conclusion = Callable[[], ReleaseRecord]
"""Closes the record of a run that ended well."""

HOLD_FOR_CLEAN_UP: Final = Exclusive(on_busy="wait", wait_at_most_s=20)
"""A run that was told to end has this long to let go of its app."""


def carry_out(profile: Profile, stages: Callable[[Run], Conclusion]) -> ReleaseRecord:
    """Hold the app and run the stages; whatever fails, production is as it was, and the record says why."""
    with observed_by(events.of_stage), open_run(profile) as run:
        events.of_release(run.record)
        try:
            conclusion = stages(run)
        except BaseException as error:
            record = conclude_failure(run, error)
            if not isinstance(error, SlipwayError):
                events.of_release(record)
                raise  # cancelled, interrupted, or a defect: Prefect shall see it as what it is
        else:
            record = conclusion()
        events.of_release(record)
    return record


def clean_up(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect calls it by these names
    """Hook for runs that were cancelled or killed: stop the candidate and close the record.

    Runs in another process than the run did. A run that could end by itself has left nothing to do.
    """
    given = flow_run.parameters
    profile = chosen_profile(given.get("profile", ""), given.get("profile_file", ""))
    platform = open_platform(profile.platform, profile)
    try:
        with holding(platform, profile.app, HOLD_FOR_CLEAN_UP):
            closed = clear_after_dead_runs(platform, Ledger(platform), profile.app)
    except Busy as busy:
        get_run_logger().info("Nothing is cleared away: %s", busy)
        return
    for record in closed:
        events.of_release(record)
