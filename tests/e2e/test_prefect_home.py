"""A Prefect of one's own, from `make prefect`: forms, approval, schedules, and what happens when parts of it die."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.prefect_house import LEASE_S, House, prefect_house, until
from tests.support.world import APP, World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CANCELLED_WITHIN_S = 30.0
"""Then Prefect kills the run. The worker looks every two seconds in this house, and every ten by default."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    world = World(tmp_path_factory.mktemp("house"))
    with prefect_house(world) as made:
        yield made


@pytest.fixture(scope="module")
def profile(house: House) -> str:
    return str(house.world.profile())


@pytest.fixture(autouse=True)
def _nothing_under_way(house: House) -> Iterator[None]:
    yield
    house.end_runs()


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
    assert f"{APP} is being released by another run (process" in house.message(second)
    assert "Wait until it has ended, or end it." in house.message(second)
    wrong = {"run_input": {"decision": "perhaps", "decided_by": "Ada"}}
    refused = house.call("POST", f"/flow_runs/{run}/resume", wrong)
    assert "is not one of" in str(refused)
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


def test_of_two_runs_of_a_deployment_the_second_waits_or_is_dropped(house: House, profile: str) -> None:
    """ENQUEUE and CANCEL_NEW, as `prefect.yaml` asks of Prefect for deployments that never pause."""
    prunes = [house.start("prune/any", dry_run=True) for _ in range(2)]
    assert {house.wait(run, "Pruned", "Cancelled", "Failed") for run in prunes} == {"Pruned", "Cancelled"}
    (dropped,) = (run for run in prunes if house.state(run) == "Cancelled")
    assert "concurrency limit reached" in house.message(dropped)

    syncs = [house.start("sync-weights/miniature", profile_file=profile) for _ in range(2)]
    until(lambda: "AwaitingConcurrencySlot" in map(house.state, syncs), "the wait of one for the other")
    assert [house.wait(run, "Prepared", "Busy", "Rejected", "Cancelled") for run in syncs] == ["Prepared", "Prepared"]


def test_a_schedule_fires(house: House) -> None:
    house.fired("prune/any", "Pruned", dry_run=True)


def test_a_run_by_schedule_waits_for_one_that_is_paused_and_both_are_cancelled(house: House, profile: str) -> None:
    """A pause outlasts the lease of Prefect's slots; whoever waits says for whom; what is cancelled takes back all."""
    before = live(house)
    first = house.start("redeploy/miniature", profile_file=profile, approval="always")
    house.wait(first, "Paused")
    paused_s = time.monotonic()
    patient = str(house.world.profile(exclusive={"on_busy": "wait"}))
    second = house.fired("redeploy/miniature", "Running", profile_file=patient)
    until(lambda: f"{APP} is being released by another run (process" in house.log(second), "word of the wait")
    time.sleep(max(0.0, paused_s + 1.2 * LEASE_S - time.monotonic()))  # this long the pause shall be
    assert (house.state(first), house.state(second)) == ("Paused", "Running")

    cancel_and_see_it_undone(house, first, house.record(outcome="running"))
    measuring = until(lambda: in_gates(house), "the gates of the second")
    cancel_and_see_it_undone(house, second, measuring)
    assert f"{APP} is free" in house.log(second)
    assert [house.wait(run, "Cancelled", "Crashed") for run in (first, second)] == ["Cancelled", "Cancelled"]
    assert live(house) == before


def cancel_and_see_it_undone(house: House, run: str, record: dict[str, Any] | None) -> None:
    assert record
    release_id = record["release_id"]
    assert release_id in house.world.servers()
    house.cancel(run)
    began_s = time.monotonic()
    until(lambda: release_id not in house.world.servers(), "the candidate's end")
    assert time.monotonic() - began_s < CANCELLED_WITHIN_S
    closed = until(lambda: closed_record(house, release_id), "the end of its record")
    assert (closed["outcome"], closed["error_kind"]) == ("rejected", "TerminationSignal")


def closed_record(house: House, release_id: str) -> dict[str, Any] | None:
    records = (each for each in house.world.ledger_records() if each["release_id"] == release_id)
    return next((record for record in records if record["ended_at"]), None)


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
