"""Every turn of a run as a Prefect event, for automations, and as a line of Prefect's log.

    slipway.release.started|promoted|rejected|rolled-back|prepared      a run and its end
    slipway.stage.started|done|skipped|failed                           its stages
    slipway.approval.requested|decided                                  a person is asked
    slipway.gate.healthy|undecided|unhealthy                            a check of what serves
    slipway.watch.healthy|undecided|unhealthy|rolled-back|superseded    a watch over what serves

Resource of each is `slipway.release.<release id>`, with the label `slipway.app`. docs/prefect.md has the payloads.
"""

from __future__ import annotations

import logging
from typing import Any

from prefect import get_run_logger
from prefect.events import emit_event
from prefect.exceptions import MissingContextError

from slipway.records.check import CheckRecord
from slipway.records.events import StageEvent
from slipway.records.record import ReleaseRecord


def tell(name: str, *, app: str, release_id: str, **payload: Any) -> None:
    """Emit `slipway.<name>` about a release."""
    emit_event(
        event=f"slipway.{name}",
        resource={
            "prefect.resource.id": f"slipway.release.{release_id}",
            "prefect.resource.name": release_id,
            "slipway.app": app,
        },
        payload={"app": app, "release_id": release_id, **payload},
    )


def of_stage(event: StageEvent) -> None:
    """Observer: the turns of a run, in Prefect's log and as events."""
    if event.kind == "progress":
        return
    _logger().info("%s %s %s", event.stage, event.kind, event.message)
    if event.release_id:
        seconds = round(event.seconds, 3)
        app = event.release_id.rpartition(".")[0]
        about = {"stage": event.stage, "message": event.message, "seconds": seconds}
        tell(f"stage.{event.kind}", app=app, release_id=event.release_id, **about)


def of_release(record: ReleaseRecord) -> None:
    """The begin of a run, or its end."""
    turn = "started" if record.ended_at is None else record.outcome.value.replace("_", "-")
    tell(
        f"release.{turn}",
        app=record.app,
        release_id=record.release_id,
        profile=record.profile["name"],
        reason=record.reason,
        version=record.version,
        cost_usd=record.cost_usd,
    )


def of_check(check: CheckRecord) -> None:
    """The end of a check."""
    tell(
        f"{check.kind}.{check.condition.value.replace('_', '-')}",
        app=check.app,
        release_id=check.release_id,
        version=check.version,
        reason=check.reason,
    )


def _logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    try:
        return get_run_logger()
    except MissingContextError:  # an observer is called wherever a stage is
        return logging.getLogger(__name__)
