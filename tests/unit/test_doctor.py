"""The doctor: each thing that is wrong is found and told with what to do, and looking goes on after it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
import yaml
from typer.testing import CliRunner, Result

from flows import doctor as prefect_doctor
from slipway.cli import doctor as command
from slipway.cli.main import app
from slipway.errors import Busy, Misconfigured, Transient
from slipway.measure import compiled
from slipway.miniature import hub
from slipway.platforms.check import Check, Health
from slipway.platforms.local import diagnosis
from slipway.platforms.port import Deployment, Platform, ServerSpec
from slipway.profile.load import profile_directory
from slipway.records.ledger import Ledger
from slipway.records.record import Outcome
from slipway.stages import doctor as stage
from slipway.stages.run import Run
from slipway.stages.surroundings import CHECKPOINT_DIR
from tests.support.stage_platform import MemoryPlatform

APP = "ward"


@pytest.fixture(scope="module")
def weights() -> Iterator[hub.HubAddress]:
    with hub.serve(CHECKPOINT_DIR, repo="slipway/glm-5.1-miniature") as address:
        yield address


class Place(MemoryPlatform):
    """A platform in memory that can be held, full, or out of reach."""

    def __init__(self) -> None:
        super().__init__()
        self.held_by = ""
        self.failing: set[str] = set()

    @contextmanager
    def exclusive(self, app: str) -> Iterator[None]:
        if self.held_by:
            raise Busy(f"{app} is being released by {self.held_by}.", remedy="Wait.")
        yield

    def deployments(self, app: str) -> Sequence[Deployment]:
        self._answer("deployments")
        return super().deployments(app)

    def diagnose(self, needs: Any) -> Iterator[Check]:
        self._answer("diagnose")
        yield Check("memory", Health.OK, f"{len(needs.volumes)} volumes, {needs.gpus} GPUs, {', '.join(needs.secrets)}")

    def _answer(self, what: str) -> None:
        if what in self.failing:
            raise Transient(f"{what} does not answer.", remedy="Wait.")


class Ward:
    """A profile of the miniature on a platform in memory."""

    def __init__(self, directory: Path, weights: hub.HubAddress, platform: Place) -> None:
        self.platform, self.path = platform, directory / "ward.yaml"
        self.document = yaml.safe_load((profile_directory() / "miniature.yaml").read_text())
        self.document |= {"name": "ward", "app": APP}
        self.write(model={"hub": weights.url})

    def write(self, **parts: Any) -> None:
        for part, values in parts.items():
            self.document[part] = self.document[part] | values if isinstance(values, dict) else values
        self.path.write_text(yaml.safe_dump(self.document))

    def run(self, *options: str) -> Result:
        return CliRunner().invoke(app, ["doctor", str(self.path), *options])

    def look(self, *options: str, exit_code: int) -> dict[str, dict[str, str]]:
        """What each check says."""
        result = self.run("--json", *options)
        assert result.exit_code == exit_code, result.output
        self.fixed = json.loads(result.stdout)["fixed"]
        return {check["name"]: check for check in json.loads(result.stdout)["checks"]}

    def a_run(self) -> Run:
        profile = stage.load_profile(str(self.path))
        run = Run(profile, cast("Platform", self.platform), "http://hub")
        run.ledger.save(run.record)
        return run

    def deploy(self, release_id: str) -> Deployment:
        return self.platform.deploy(APP, ServerSpec(release_id=release_id, argv=(), env={}, mounts=()))


@pytest.fixture
def ward(tmp_path: Path, weights: hub.HubAddress, monkeypatch: pytest.MonkeyPatch) -> Ward:
    platform = Place()
    for module in (stage, command):
        monkeypatch.setattr(module, "open_platform", lambda kind: platform)
    monkeypatch.setattr(prefect_doctor, "is_configured", lambda: False)
    return Ward(tmp_path, weights, platform)


def test_a_healthy_place_ends_with_0(ward: Ward) -> None:
    checks = ward.look(exit_code=0)
    assert {check["health"] for check in checks.values()} == {"ok"}
    assert set(checks) >= {"profile", "lock", "preflight", "memory", "runs", "orphans", "records", "Hub", "room"}
    assert checks["memory"]["seen"] == "4 volumes, 0 GPUs, SLIPWAY_MINIATURE_API_KEY"
    assert "nothing keeps a release from going well" in ward.run().stdout


def test_a_profile_that_is_wrong_is_a_finding_and_prefect_is_looked_at_all_the_same(ward: Ward) -> None:
    ward.write(budget={"max_run_s": -1})
    checks = ward.look(exit_code=1)
    assert "max_run_s" in checks["profile"]["seen"]
    assert list(checks) == ["profile", "packages", "Prefect"]


def test_what_can_move_is_a_warning_here_and_a_fault_on_modal(ward: Ward) -> None:
    ward.write(model={"revision": "main", "allow_floating": True})
    lock = ward.look(exit_code=0)["lock"]
    assert (lock["health"], "slipway resolve" in lock["remedy"]) == ("warning", True)
    ward.write(platform="modal")
    assert ward.look(exit_code=1)["lock"]["health"] == "failed"


def test_a_lock_of_another_profile_is_found(ward: Ward) -> None:
    ward.write(model={"revision": "main"})
    lock = {"profile": "ward", "resolved_at": "2026-11-22T12:00:00Z"}
    ward.path.with_name("ward.lock.yaml").write_text(yaml.safe_dump(lock))
    profile = ward.look(exit_code=1)["profile"]
    assert "is not of this profile any more" in profile["seen"]
    assert "slipway resolve" in profile["remedy"]


def test_what_forbids_a_release_is_found(ward: Ward) -> None:
    ward.write(engine={"version": "0.5.24"})
    assert "release-not-recorded" in ward.look(exit_code=1)["preflight"]["seen"]


def test_a_client_that_was_installed_without_a_compiler_is_a_warning(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "load", lambda _path: None)
    check = ward.look(exit_code=0)["measuring client"]
    assert check["health"] == "warning"
    assert "Install a C compiler" in check["remedy"]


def test_servers_that_nobody_uses_are_found_and_stopped(ward: Ward) -> None:
    live = ward.deploy("live")
    ward.platform.promote(live)
    orphan = ward.deploy("dead")
    assert orphan.deployment_id in ward.look(exit_code=1)["orphans"]["seen"]

    ward.look("--fix", "--dry-run", exit_code=1)
    assert ward.fixed == {"dry_run": True, "stopped": [orphan.deployment_id], "closed": []}
    assert orphan.deployment_id in ward.platform.running

    assert ward.look("--fix", exit_code=0)["orphans"]["health"] == "ok"
    assert ward.fixed == {"dry_run": False, "stopped": [orphan.deployment_id], "closed": []}
    assert list(ward.platform.running) == [live.deployment_id]


def test_records_that_nobody_closed_are_found_and_closed(ward: Ward) -> None:
    dead = ward.a_run()
    assert ward.look(exit_code=0)["records"]["health"] == "warning"
    assert "1 records would be closed" in ward.run("--fix", "--dry-run").stdout
    assert Ledger(cast("Platform", ward.platform)).load(dead.release_id).outcome is Outcome.RUNNING
    assert "1 records were closed" in ward.run("--fix").stdout
    assert Ledger(cast("Platform", ward.platform)).load(dead.release_id).outcome is Outcome.INTERRUPTED
    assert ward.look(exit_code=0)["records"]["health"] == "ok"


def test_what_a_run_under_way_has_is_not_taken_for_remains(ward: Ward) -> None:
    ward.a_run()
    ward.deploy("candidate")
    ward.platform.held_by = "process 7"
    checks = ward.look(exit_code=0)
    assert "process 7" in checks["runs"]["seen"]
    assert not {"orphans", "records"} & set(checks)
    assert ward.run("--fix").exit_code == Busy.exit_code
    assert ward.platform.running


def test_a_dry_run_of_nothing_is_refused(ward: Ward) -> None:
    assert ward.run("--dry-run").exit_code == 2


def test_a_live_release_that_is_down_is_found(ward: Ward) -> None:
    live = ward.deploy("live")
    ward.platform.promote(live)
    assert ward.look(exit_code=0)["live release"]["seen"] == "version 1 serves at http://live"
    ward.platform.stop(live)
    found = ward.look(exit_code=1)["live release"]
    assert "crashed" in found["seen"]
    assert found["remedy"].startswith(f"Run `slipway rollback {APP} 1`")


@pytest.mark.parametrize(("what", "name"), [("diagnose", "platform local"), ("deployments", "runs")])
def test_a_platform_that_does_not_answer_is_found_and_looking_goes_on(ward: Ward, what: str, name: str) -> None:
    ward.platform.failing.add(what)
    checks = ward.look(exit_code=1)
    assert checks[name]["seen"] == f"{what} does not answer."
    assert checks["Hub"]["health"] == "ok"


def test_a_record_that_cannot_be_read_is_found(ward: Ward) -> None:
    run = ward.a_run()
    ward.platform.volume("slipway-ledger").write(f"records/{run.release_id}.json", b"{")
    assert run.release_id in ward.look(exit_code=1)["ledger"]["seen"]


def test_a_hub_that_is_not_there_is_found(ward: Ward) -> None:
    ward.write(model={"hub": "http://127.0.0.1:9"})
    checks = ward.look(exit_code=1)
    assert checks["Hub"]["health"] == "failed"
    assert "room" not in checks


def test_too_little_room_is_found(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(ward.platform.volume("any")), "free_bytes", lambda self: 1024)
    assert "1.0 KiB are free" in ward.look(exit_code=1)["room"]["seen"]


def test_a_platform_that_cannot_be_opened_is_found(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str) -> Platform:
        raise Misconfigured("There is no token.", remedy="modal token new")

    monkeypatch.setattr(stage, "open_platform", refuse)
    checks = ward.look(exit_code=1)
    assert checks["platform local"]["remedy"] == "modal token new"
    assert checks["Hub"]["health"] == "ok"


# --- this host -------------------------------------------------------------------------------------------------


def test_gpus_of_this_host_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "GPUS", tmp_path)
    for there, health in ((7, Health.FAILED), (8, Health.WARNING), (16, Health.OK)):
        for number in range(there):
            (tmp_path / str(number)).mkdir(exist_ok=True)
        assert diagnosis._gpus(16).health is health


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "LEAST_ROOM_BYTES", 1 << 60)
    assert diagnosis._disk(tmp_path).health is Health.WARNING


# --- Prefect ---------------------------------------------------------------------------------------------------


@contextmanager
def prefect_server(version: str, status: int = 200) -> Iterator[str]:
    """What a Prefect server answers about itself."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(version if self.path.endswith("version") else True).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def prefect_at(url: str) -> Check:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        return prefect_doctor._server()


def test_a_prefect_server_of_the_same_release_is_well() -> None:
    with prefect_server(metadata.version("prefect")) as url:
        assert prefect_at(url).health is Health.OK


def test_a_prefect_server_of_another_release_is_told() -> None:
    with prefect_server("3.1.0") as url:
        check = prefect_at(url)
    assert (check.health, "3.1.0" in check.seen) == (Health.WARNING, True)


def test_a_prefect_server_that_fails_or_is_not_there_is_found() -> None:
    with prefect_server("3.8.8", status=500) as url:
        assert prefect_at(url).health is Health.FAILED
    check = prefect_at("http://127.0.0.1:9/api")
    assert check.health is Health.FAILED
    assert "make prefect" in check.remedy


@pytest.mark.parametrize(
    ("wanted", "health"),
    [
        ("prefect>=3.8,<4", Health.OK),
        ("prefect<3", Health.FAILED),
        ("no-such-package>=1", Health.FAILED),
        ("torch>=2; extra == 'train'", Health.OK),
    ],
)
def test_packages_are_compared_with_their_bounds(monkeypatch: pytest.MonkeyPatch, wanted: str, health: Health) -> None:
    monkeypatch.setattr(prefect_doctor.metadata, "requires", lambda name: [wanted])
    assert prefect_doctor._packages().health is health
