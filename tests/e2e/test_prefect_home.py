"""A Prefect of one's own, from `make prefect`: forms, approval, schedules, and what happens when parts of it die."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.prefect_house import House, prefect_house, until
from tests.support.world import APP, World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    world = World(tmp_path_factory.mktemp("house"))
    with prefect_house(world) as made:
        yield made
    world.run("stop", APP)


@pytest.fixture(scope="module")
def profile(house: House) -> str:
    return str(house.world.profile())


def live(house: House) -> str | None:
    """The release that answers users, if the app has an address."""
    return house.world.live_release() if (house.world.local / "apps" / f"{APP}.port").exists() else None


def in_gates(house: House) -> dict[str, Any] | None:
    """The record of a run that measures its candidate."""
    record = house.record(outcome="running")
    return record if record and record["stages"] and record["stages"][-1]["name"] == "gates" else None


def test_a_release_from_the_form_with_approval(house: House, profile: str) -> None:
    """Refused, waited for, decided about. While the run waits it holds the app, though not Prefect's slot."""
    with pytest.raises(AssertionError, match=r"overrides\.revision.*does not match"):
        house.start("redeploy/miniature", profile_file=profile, overrides={"revision": "main"})

    run = house.start("redeploy/miniature", profile_file=profile, approval="always")
    house.wait(run, "Paused")
    second = house.start("redeploy/miniature", profile_file=profile)
    assert house.wait(second, "Busy", "Rejected", "Promoted", "Paused") == "Busy"
    wrong = {"run_input": {"decision": "perhaps", "decided_by": "Ada"}}
    refused = httpx.post(f"{house.url}/api/flow_runs/{run}/resume", json=wrong, timeout=30)
    assert "is not one of" in refused.text
    assert house.state(run) == "Paused"
    release_id = house.world.ledger_records()[-1]["release_id"]

    decided = house.world.run("approve", release_id, "--by", "Ada", "--comment", "all well")

    assert decided.returncode == 0, decided.stderr
    assert house.wait(run, "Promoted", "Rejected", "Failed") == "Promoted"
    assert house.world.live_release() == release_id
    record = house.record(release_id=release_id)
    assert record
    assert [(a["choice"], a["decided_by"]) for a in record["approvals"]] == [("approve", "Ada")]
    keys = {a["key"] for a in artifacts(house, run)}
    assert {"plan", "manifest", "kernel-cache", "cold-start", "gates", "latency", "approval", "release-report"} <= keys
    told = {"approval.requested", "approval.decided", "release.promoted", "stage.done"}
    until(lambda: told <= events(house, release_id), "the events")


def artifacts(house: House, run: str) -> list[dict[str, Any]]:
    body = {"artifacts": {"flow_run_id": {"any_": [run]}}, "limit": 100}
    return list(house.call("POST", "/artifacts/filter", body))


def events(house: House, release_id: str) -> set[str]:
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    body = {
        "filter": {"resource": {"id": [f"slipway.release.{release_id}"]}, "occurred": {"since": since}},
        "limit": 50,
    }
    found = house.call("POST", "/events/filter", body)["events"]
    return {event["event"].removeprefix("slipway.") for event in found}


def test_a_schedule_fires(house: House) -> None:
    prune = house.deployment("prune/any")
    schedule = {"schedule": {"interval": 20.0}, "active": True, "parameters": {"dry_run": True}}
    made = house.call("POST", f"/deployments/{prune}/schedules", [schedule])[0]["id"]
    pruned = {"state": {"name": {"any_": ["Pruned"]}}}
    body = {"deployments": {"id": {"any_": [prune]}}, "flow_runs": pruned, "limit": 50}
    try:
        runs = until(lambda: house.call("POST", "/flow_runs/filter", body), "a run by the schedule")
    finally:
        house.call("DELETE", f"/deployments/{prune}/schedules/{made}")
    assert all(run["auto_scheduled"] for run in runs)


def test_a_killed_run_is_cleared_away_by_the_worker(house: House, profile: str) -> None:
    before = live(house)
    run = house.start("redeploy/miniature", profile_file=profile)
    record = until(lambda: in_gates(house), "the gates")

    house.process_of(run).kill()

    until(lambda: record["release_id"] not in house.world.servers(), "the candidate's end")
    closed = until(lambda: house.record(release_id=record["release_id"], outcome="interrupted"), "the record's end")
    assert "died in 'gates'" in closed["reason"]
    assert house.wait(run, "Crashed") == "Crashed"
    assert live(house) == before


def test_server_and_worker_die_and_the_database_is_locked(house: House, profile: str) -> None:
    """The run goes on without them, and is seen to its end by those that come after."""
    run = house.start("redeploy/miniature", profile_file=profile)
    record = until(lambda: in_gates(house), "the gates")

    house.child("worker").kill()
    house.child("server").kill()
    with sqlite3.connect(house.directory / "prefect.db", timeout=30, isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        until(lambda: house.record(release_id=record["release_id"]), "the record")
        time.sleep(3)  # the lock shall be met by whoever writes first
        database.execute("ROLLBACK")

    closed = until(lambda: house.record(release_id=record["release_id"], outcome="promoted"), "the promotion")
    assert house.world.live_release() == closed["release_id"]
    assert house.wait(run, "Promoted", "Crashed", "Failed") == "Promoted"
    assert list(house.world.servers()) == [closed["release_id"]]
