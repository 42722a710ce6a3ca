"""The main job: plan, sync, verify, precompile, deploy, warm up, judge, promote; and again; and back."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from slipway.profile import Profile
from slipway.records.origin import slipway_version
from slipway.stages.names import Stage
from tests.support.world import API_KEY, APP, World

pytestmark = pytest.mark.slow

STAGES = [stage.value for stage in Stage]
ARTIFACTS = {"plan", "manifest", "kernel-cache", "cold-start", "gates", "latency", "timeline", "release-report"}


def test_a_second_release_skips_what_is_there_and_replaces_the_first(released: World) -> None:
    before = released.live_release()
    plan = json.loads(released.run("plan", released.profile(), "--json").stdout)
    skipped = {step["stage"]: step["why"] for step in plan["steps"] if not step["runs"]}
    assert set(skipped) == {"sync weights", "precompile kernels"}
    assert "are there" in skipped["sync weights"]
    assert "this very key" in skipped["precompile kernels"]

    record = released.redeploy(released.profile())

    assert (record["outcome"], record["returncode"]) == ("promoted", 0)
    assert [stage["name"] for stage in record["stages"]] == STAGES
    assert {s["name"] for s in record["stages"] if s["status"] == "skipped"} == set(skipped)
    assert all(verdict["decision"] == "PASS" for verdict in record["verdicts"] if verdict["level"] != "advisory")
    assert record["overhead_s"] < 30  # under 5 s on a quiet machine: `make bench-release`
    assert released.live_release() == record["release_id"] != before
    assert list(released.servers()) == [record["release_id"]], "the release before must be ended"


def test_rolls_back_to_an_explicit_version(released: World) -> None:
    first = released.live_release()
    version = next(r["version"] for r in released.records() if r["release_id"] == first)
    second = released.redeploy(released.profile())
    assert released.live_release() == second["release_id"]

    done = released.run("rollback", APP, str(version), "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rolled_back_to"] == version
    assert released.live_release() == first


def test_the_run_is_seen_in_prefect(released: World, prefect_api: str) -> None:
    record = released.redeploy(released.profile())
    with httpx.Client(base_url=prefect_api, timeout=30) as client:
        newest = client.post("/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 1}).json()[0]
        assert (newest["state_name"], newest["state_type"]) == ("Promoted", "COMPLETED")
        found = client.post(
            "/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [newest["id"]]}}, "limit": 100}
        ).json()
    artifacts = {artifact["key"]: artifact["data"] for artifact in found}
    assert set(artifacts) == ARTIFACTS | {"accuracy-pairs"}  # there is a release to compare with
    assert record["release_id"] in artifacts["release-report"]
    assert artifacts["latency"].startswith("data:image/svg+xml;base64,")


def test_the_evidence_gives_the_same_verdicts_again(released: World) -> None:
    from slipway.gates.judge import judge
    from slipway.platforms.local import LocalPlatform
    from slipway.records.ledger import Ledger

    ledger = Ledger(LocalPlatform(released.local))
    record = next(r for r in reversed(ledger.records(APP)) if r.outcome == "promoted")

    assert judge(Profile.model_validate(record.profile), ledger.evidence(record)) == record.verdicts
    again = released.run("gate", "--from", record.release_id, "--json")
    assert json.loads(again.stdout) == [verdict.model_dump(mode="json") for verdict in record.verdicts]


def test_no_trace_of_the_api_key(released: World, prefect_home: Path) -> None:
    released.run("show", "latest")
    assert not [text for text in released.printed if API_KEY in text]
    kept = [path for path in (*released.home.rglob("*"), *prefect_home.rglob("*")) if path.is_file()]
    assert len(kept) > 50
    assert not [path for path in kept if API_KEY.encode() in path.read_bytes()]


def test_gate_alone_judges_the_live_endpoint(released: World) -> None:
    port = json.loads((released.local / "apps" / f"{APP}.port").read_text())
    done = released.run("gate", f"http://127.0.0.1:{port}/v1", "--profile", "miniature", "--json")
    verdicts = {verdict["gate"]: verdict["decision"] for verdict in json.loads(done.stdout)}
    assert verdicts["config_drift"] == "PASS"
    assert verdicts["conformance"] == "PASS"
    assert verdicts["accuracy.share@arithmetic"] == "PASS"


def test_one_release_at_a_time(released: World) -> None:
    with released.started(released.profile()) as first:
        first.wait_for_stage("sync weights")
        second = released.redeploy(released.profile())
        assert (second["error"], second["returncode"]) == ("Busy", 2)
        assert first.finish()["outcome"] == "promoted"


@pytest.mark.usefixtures("prefect_api")
def test_kernels_are_compiled_ahead_without_a_release(tmp_path: Path) -> None:
    world = World(tmp_path)
    profile = world.profile()

    done = world.run("precompile", profile, "--json")

    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["outcome"] == "prepared"
    assert record["slipway_version"] == slipway_version()
    stages = [(stage["name"], stage["status"]) for stage in record["stages"]]
    assert stages == [(name, "done") for name in STAGES[: STAGES.index(Stage.PRECOMPILE) + 1]]
    assert not world.servers()
    steps = json.loads(world.run("precompile", profile, "--dry-run", "--json").stdout)["steps"]
    assert [(step["stage"], step["runs"]) for step in steps] == [
        ("sync weights", False),
        ("verify volume", True),
        ("precompile kernels", False),
    ]
