"""What runs that died have left of an app: servers that nobody uses, and records that nobody closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slipway.platforms.port import Deployment, Platform
from slipway.records.ledger import Ledger
from slipway.records.record import Outcome
from slipway.stages.run import clear_after_dead_runs


@dataclass(frozen=True, slots=True)
class Remains:
    """What was left.

    Attributes:
        orphans: Servers that run and are not live; each costs what a replica costs.
        unfinished: Release ids of records that say `running`.
    """

    orphans: Sequence[Deployment] = ()
    unfinished: Sequence[str] = ()


def look_for_remains(platform: Platform, app: str) -> Remains:
    """What is left of an app that this process holds; a run under way would be taken for a dead one otherwise."""
    live = platform.live(app)
    live_id = live.deployment_id if live else None
    orphans = [deployment for deployment in platform.deployments(app) if deployment.deployment_id != live_id]
    records = Ledger(platform).records(app)
    return Remains(orphans, [record.release_id for record in records if record.outcome is Outcome.RUNNING])


def clear(platform: Platform, app: str) -> Remains:
    """Stop the servers and close the records; what was done.

    Raises:
        Busy: If a run of the app is under way.
    """
    with platform.exclusive(app):
        found = look_for_remains(platform, app)
        clear_after_dead_runs(platform, Ledger(platform), app)
    return found
