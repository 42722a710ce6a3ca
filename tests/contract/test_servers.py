"""Servers: ready after an answer and not before, true about their end, and silent about secrets."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from slipway.errors import Busy, Crashed, Misconfigured
from slipway.platforms.port import Deployment, Phase
from tests.contract.conftest import APP, KEY_NAME, LONG_S, PYTHON, Place, open_platform, wait_until
from tests.contract.test_jobs import wait_until_gone


def post(place: Place, deployment: Deployment, path: str, **document: str) -> httpx.Response:
    return httpx.post(deployment.url + path, json=document, headers=place.headers(), timeout=LONG_S)


def test_a_server_is_ready_when_it_has_answered_and_not_before(place: Place) -> None:
    healthy = place.scratch / "healthy"
    deployment = place.deploy("r1", "--healthy-when", str(healthy))
    wait_until(lambda: "first answer" in place.platform.status(deployment).detail)
    assert not accepts(deployment)  # the port is open
    assert place.platform.status(deployment).phase is Phase.STARTING
    healthy.touch()
    status = place.platform.wait_ready(deployment, timeout_s=LONG_S)
    assert status.phase is Phase.READY
    assert status == place.open().status(deployment)
    assert status.timings_s["total"] == pytest.approx(status.timings_s["load"] + status.timings_s["first_inference"])
    assert post(place, deployment, "/generate").json()["text"] == "r1"


def test_an_answer_without_a_token_is_no_answer(place: Place) -> None:
    deployment = place.deploy("r1", "--empty-answers", health_timeout_s=2)
    with pytest.raises(Crashed, match="without a token"):
        place.platform.wait_ready(deployment, timeout_s=LONG_S)


def test_no_engine_starts_on_other_weights(place: Place) -> None:
    deployment = place.deploy("r1", digest="another")
    with pytest.raises(Crashed, match="verified for weights"):
        place.platform.wait_ready(deployment, timeout_s=LONG_S)
    assert "server_args" not in place.platform.logs(deployment)


def test_an_engine_that_cannot_start_is_told_with_its_last_lines(place: Place) -> None:
    deployment = place.deploy("r1", "--exit-at-start", "3")
    with pytest.raises(Crashed, match=r"(?s)exit status 3.*fatal: told to exit"):
        place.platform.wait_ready(deployment, timeout_s=LONG_S)
    assert place.platform.status(deployment).phase is Phase.CRASHED


def test_a_missed_deadline_is_told(place: Place) -> None:
    deployment = place.deploy("r1", "--listen-when", str(place.scratch / "never"))
    wait_until(lambda: "server_args" in place.platform.logs(deployment))
    with pytest.raises(Crashed, match=r"(?s)not ready within 0.0 ms.*server_args"):
        place.platform.wait_ready(deployment, timeout_s=0)


def test_a_crash_is_seen_with_the_last_lines(place: Place) -> None:
    deployment = place.serve("r1")
    with pytest.raises(httpx.HTTPError):
        post(place, deployment, "/crash").raise_for_status()
    wait_until(lambda: place.platform.status(deployment).phase is Phase.CRASHED)
    detail = place.platform.status(deployment).detail
    assert "exit status 7" in detail
    assert "fatal: told to crash" in detail
    wait_until(lambda: not place.platform.deployments(APP))


def test_stop_lets_an_answer_finish(place: Place) -> None:
    if place.platform.kind == "modal":
        pytest.skip("Modal ends the containers of a stopped app at once; only a rolling deployment lets them finish")
    deployment = place.serve("r1")
    release = place.scratch / "release"
    stopping = threading.Thread(target=place.platform.stop, args=(deployment,))
    request = {"json": {"release": str(release)}, "headers": place.headers(), "timeout": LONG_S}
    with httpx.stream("POST", deployment.url + "/slow", **request) as answer:
        parts = answer.iter_text()
        assert next(parts) == "first "
        stopping.start()
        wait_until(lambda: not accepts(deployment))
        release.touch()
        assert "".join(parts) == "r1"
    stopping.join(LONG_S)
    assert "finished gracefully" in place.platform.logs(deployment)
    assert place.platform.status(deployment).phase is Phase.STOPPED
    place.platform.stop(deployment)


def accepts(deployment: Deployment) -> bool:
    try:
        return httpx.get(deployment.url + "/health", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


def test_stop_ends_by_force_what_does_not_listen_and_its_children(place: Place) -> None:
    pid = place.scratch / "pid"
    deployment = place.serve("r1", "--ignore-sigterm", "--child", str(pid), grace_s=0.2)
    place.platform.stop(deployment)
    assert place.platform.status(deployment).phase is Phase.STOPPED
    assert not accepts(deployment)
    wait_until_gone([int(pid.read_text())])
    wait_until(lambda: not any(child.status() == psutil.STATUS_ZOMBIE for child in psutil.Process().children()))
    assert not place.platform.deployments(APP)


def test_the_key_is_in_no_log_and_no_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_NAME, "hush-4711-hush")
    deployment = place.serve("r1")
    assert httpx.get(deployment.url + "/v1/models", headers=place.headers()).json()["authorised"] is True
    assert httpx.get(deployment.url + "/v1/models").json()["authorised"] is False
    assert "api_key='[redacted]'" in place.platform.logs(deployment)
    with pytest.raises(httpx.HTTPError):
        post(place, deployment, "/crash").raise_for_status()
    wait_until(lambda: place.platform.status(deployment).phase is Phase.CRASHED)
    assert "hush-4711" not in str(place.platform.status(deployment))
    assert not place.files_with(b"hush-4711")


def test_a_server_outlives_the_process_that_started_it(place: Place) -> None:
    candidate = place.deploy("r1", "--listen-when", str(place.scratch / "never"))
    place.scratch.joinpath("spec").write_text(repr(place.spec("r2")))
    source = f"""{open_platform(*place.opener)}
from slipway.platforms.port import *
spec = eval(Path({str(place.scratch / "spec")!r}).read_text())
platform.wait_ready(platform.deploy({APP!r}, spec), timeout_s=60)
"""
    subprocess.run([PYTHON, "-c", source], check=True, timeout=LONG_S, cwd=Path(__file__).parents[2])
    first, second = place.platform.deployments(APP)
    assert first == candidate
    assert (second.release_id, second.app) == ("r2", APP)
    assert post(place, second, "/generate").json()["text"] == "r2"
    assert place.platform.status(second).phase is Phase.READY


def test_an_app_is_held_by_one_run_and_not_by_a_dead_one(place: Place) -> None:
    source = f"""{open_platform(*place.opener)}
with platform.exclusive({APP!r}):
    print("held", flush=True)
    input()
"""
    holder = subprocess.Popen([PYTHON, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(Busy, match=str(holder.pid)), place.platform.exclusive(APP):
        pass
    with place.platform.exclusive("another-app"):
        holder.kill()
    holder.communicate()
    with place.platform.exclusive(APP), pytest.raises(Busy), place.open().exclusive(APP):
        pass
    with place.platform.exclusive(APP):
        pass


def test_a_secret_is_stable_and_follows_the_environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVEN_TOKEN", "given")
    assert place.platform.secret("GIVEN_TOKEN") == "given"
    assert len(place.platform.secret(KEY_NAME)) >= 32
    assert place.platform.secret(KEY_NAME) == place.open().secret(KEY_NAME)
    with pytest.raises(Misconfigured, match="NOBODYS_TOKEN"):
        place.platform.secret("NOBODYS_TOKEN")
