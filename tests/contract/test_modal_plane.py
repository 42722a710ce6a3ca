"""The control plane is what Modal's client takes it for: checked with the real client, CLI and entrypoint."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import modal
import modal.exception
import psutil
import pytest
from modal_proto import api_pb2

from tests.support.modal_plane import Plane, why_not_here
from tests.support.modal_plane.clients import Client, connect
from tests.support.modal_plane.containers import PLANE_ENV, REPO, processes_with
from tests.support.modal_plane.web import PROXY_KEY

pytestmark = pytest.mark.skipif(bool(why_not_here()), reason=why_not_here())
LONG_S = 60.0


@pytest.fixture(scope="module")
def tiny(plane: Plane) -> Iterator[Client]:
    """The app `tiny`, deployed once for all tests that do not change it."""
    client = connect(plane)
    modal.Secret.objects.create("key", {"KEY": "s3cret"}, client=client.client)
    client.deploy("tiny")
    yield client
    for app in plane.apps():
        if app["environment"] == "main":
            modal.App.lookup(app["app_id"], client=client.client).stop(client=client.client)
    assert plane.errors() == []


@pytest.fixture(autouse=True)
def no_fault_is_left(plane: Plane) -> Iterator[None]:
    yield
    plane.faults.clear()


def wait_until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LONG_S
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


# --- what was deployed ------------------------------------------------------------------------------------------------


def test_every_setting_is_read_back_from_where_the_client_puts_it(tiny: Client) -> None:
    deployed = tiny.plane.definitions("tiny")["Serve.*"]
    proto = deployed.proto
    web = proto.method_definitions["serve"].webhook_config
    assert (proto.resources.gpu_config.gpu_type, proto.resources.gpu_config.count) == ("B200", 8)
    assert (proto.resources.milli_cpu, proto.resources.memory_mb) == (4000, 8192)
    assert deployed.volumes == [
        {"name": "data", "version": 1, "path": "/data", "read_only": False, "sub_path": ""},
        {"name": "weights", "version": 2, "path": "/weights", "read_only": True, "sub_path": "rev1"},
    ]
    assert deployed.secrets == ["key"]
    scaling = proto.autoscaler_settings
    assert scaling.HasField("min_containers")
    assert (scaling.min_containers, scaling.max_containers, scaling.scaledown_window) == (0, 3, 900)
    assert (proto.max_concurrent_inputs, proto.target_concurrent_inputs) == (20, 20)
    assert (proto.timeout_secs, proto.startup_timeout_secs) == (86400, 1800)
    assert (web.type, web.web_server_port) == (api_pb2.WEBHOOK_TYPE_WEB_SERVER, 8000)
    assert web.web_server_startup_timeout == 1200
    assert f"FROM docker.io/lmsysorg/sglang@sha256:{'a' * 64}" in deployed.image
    assert deployed.image_env["RELEASE"] == "r1"
    assert deployed.files == ["/root/tiny_app.py"]


def test_an_unchanged_app_is_a_no_op(tiny: Client) -> None:
    tiny.deploy("unchanged")
    tiny.deploy("unchanged")
    tiny.deploy("unchanged", release="r2")
    history = json.loads(tiny.cli("app", "history", "unchanged", "--json").stdout)
    assert [entry["version"] for entry in history] == ["v2", "v1"]


def test_a_token_that_is_wrong_is_refused(plane: Plane) -> None:
    with pytest.raises(modal.exception.AuthError):
        connect(plane, secret="wrong").client.hello()


def test_an_environment_has_volumes_secrets_and_apps_of_its_own(tiny: Client) -> None:
    other = tiny.volume("data", environment_name="staging", create_if_missing=True)
    tiny.volume("data").hydrate()
    assert other.hydrate().object_id != tiny.volume("data").hydrate().object_id
    with pytest.raises(modal.exception.NotFoundError, match="key"):
        tiny.deploy("tiny", environment_name="staging")
    with pytest.raises(modal.exception.NotFoundError):
        tiny.volume("x", environment_name="nowhere", create_if_missing=True).hydrate()


# --- volumes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_files_of_a_volume_from_outside(tiny: Client, version: int) -> None:
    volume = tiny.volume(f"outside-{version}", create_if_missing=True, version=version)
    big = os.urandom(9 * 2**20) + bytes(100)  # two blocks, and zeros that the client leaves out
    with volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"small"), "/a/small")
        batch.put_file(io.BytesIO(big), "/a/big")
    assert {(e.path, e.size) for e in volume.listdir("/", recursive=True)} == {
        ("a", 0), ("a/small", 5), ("a/big", len(big)),
    }  # fmt: skip
    assert b"".join(volume.read_file("a/big")) == big
    with pytest.raises(FileExistsError), volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"new"), "/a/small")
    with volume.batch_upload(force=True) as batch:
        batch.put_file(io.BytesIO(b"new"), "/a/small")
    volume.copy_files(["a/small"], "b")
    volume.remove_file("a/small")
    assert b"".join(volume.read_file("b")) == b"new"
    with pytest.raises(FileNotFoundError):
        list(volume.read_file("a/small"))
    with pytest.raises(modal.exception.NotFoundError):
        volume.listdir("/nothing")
    volume.remove_file("a", recursive=True)
    assert [e.path for e in volume.listdir("/", recursive=True)] == ["b"]


def test_a_volume_of_the_other_version_is_refused(tiny: Client) -> None:
    with pytest.raises(modal.exception.InvalidError):
        tiny.volume("weights", version=1).hydrate()


def test_what_is_not_committed_is_seen_nowhere_else_and_a_commit_only_after_reload(
    tiny: Client, tmp_path: Path
) -> None:
    there, go = tmp_path / "there", tmp_path / "go"
    tiny.act("tiny", ("write", "/data/f", "old"), ("commit",))
    other = tiny.function("tiny", "act").spawn(
        [("read", "/data/f"), ("touch", str(there)), ("wait_for", str(go)), ("read", "/data/f"), ("reload",),
         ("read", "/data/f")]
    )  # fmt: skip
    wait_until(there.exists)
    tiny.act("tiny", ("write", "/data/f", "new"))
    assert b"".join(tiny.volume("data").read_file("f")) == b"old"
    tiny.act("tiny", ("commit",))
    assert b"".join(tiny.volume("data").read_file("f")) == b"new"
    go.touch()
    seen = other.get(timeout=LONG_S)
    assert [seen[0], seen[3], seen[5]] == ["old", "old", "new"]


def test_of_two_writers_the_last_wins_and_removals_are_carried_over(tiny: Client, tmp_path: Path) -> None:
    there, go = tmp_path / "there", tmp_path / "go"
    tiny.act("tiny", *(("write", f"/data/{n}", "base") for n in "abc"), ("commit",))
    slow = tiny.function("tiny", "act").spawn(
        [("reload",), ("touch", str(there)), ("wait_for", str(go)), ("write", "/data/a", "slow"), ("remove", "/data/c"),
         ("commit",)]
    )  # fmt: skip
    wait_until(there.exists)
    tiny.act("tiny", ("write", "/data/a", "fast"), ("write", "/data/b", "fast"), ("commit",))
    go.touch()
    slow.get(timeout=LONG_S)
    volume = tiny.volume("data")
    assert [b"".join(volume.read_file(name)) for name in "ab"] == [b"slow", b"fast"]
    assert "c" not in [entry.path for entry in volume.listdir("/")]


def test_reload_is_refused_while_a_file_is_open(tiny: Client) -> None:
    with pytest.raises(RuntimeError, match="open files"):
        tiny.act("tiny", ("write", "/data/f", "x"), ("commit",), ("hold_open", "/data/f"), ("reload",))


def test_a_container_sees_its_secrets_env_and_uploaded_sources_only(tiny: Client) -> None:
    steps = [("env", "KEY"), ("env", "RELEASE"), ("env", "MODAL_IS_REMOTE"), ("list", "/root")]
    key, release, remote, root = tiny.act("tiny", *steps)
    assert (key, release, remote) == ("s3cret", "r1", "1")
    assert "tiny_app.py" in root
    with pytest.raises(ModuleNotFoundError):
        tiny.act("tiny", ("import", "slipway.errors"))
    assert not Path("/weights").exists()


# --- calls ------------------------------------------------------------------------------------------------------------


def test_results_exceptions_and_maps_come_back(tiny: Client) -> None:
    square = tiny.function("tiny", "square")
    assert list(square.map(range(20))) == [n * n for n in range(20)]
    assert len(tiny.plane.containers("tiny")) > 0
    assert sum(c.function == "square" for c in tiny.plane.containers("tiny", ended=True)) <= 2
    with pytest.raises(TypeError):
        square.remote("text")
    assert square.remote(3) == 9


def test_a_failed_input_is_tried_again_by_the_policy_of_its_function(tiny: Client, tmp_path: Path) -> None:
    assert tiny.function("tiny", "fails_until").remote(str(tmp_path / "a"), 3) == 3
    with pytest.raises(ValueError, match="attempt 3"):
        tiny.function("tiny", "fails_until").remote(str(tmp_path / "b"), 4)


def test_an_input_has_its_functions_time(tiny: Client) -> None:
    with pytest.raises(modal.exception.FunctionTimeoutError):
        tiny.function("tiny", "too_slow").remote()


def test_a_container_that_exits_fails_its_input(tiny: Client) -> None:
    with pytest.raises(modal.exception.RemoteError, match="code 7"):
        tiny.act("tiny", ("exit", 7))
    assert tiny.act("tiny", ("env", "RELEASE")) == ["r1"]


def test_a_call_outlives_its_client_and_is_picked_up_by_another(tiny: Client, tmp_path: Path) -> None:
    call = tiny.function("tiny", "act").spawn([("wait_for", str(tmp_path / "go")), ("env", "KEY")])
    with pytest.raises(TimeoutError):
        call.get(timeout=0.2)
    again = modal.FunctionCall.from_id(call.object_id, client=connect(tiny.plane).client)
    (tmp_path / "go").touch()
    assert again.get(timeout=LONG_S)[1] == "s3cret"
    with pytest.raises(modal.exception.NotFoundError):
        modal.FunctionCall.from_id("fc-" + "0" * 22, client=tiny.client).get(timeout=1)


@pytest.mark.parametrize("terminate", [False, True])
def test_a_cancelled_call_ends_with_all_that_it_started(tiny: Client, tmp_path: Path, terminate: bool) -> None:
    pid_file = tmp_path / "pid"
    call = tiny.function("tiny", "act").spawn([("child", str(pid_file)), ("wait_for", str(tmp_path / "never"))])
    wait_until(pid_file.exists)
    call.cancel(terminate_containers=terminate)
    with pytest.raises(modal.exception.RemoteError):
        call.get(timeout=LONG_S)
    if terminate:
        wait_until(lambda: not psutil.pid_exists(int(pid_file.read_text())))
    assert tiny.act("tiny", ("env", "KEY")) == ["s3cret"]


def test_what_a_call_prints_is_streamed_and_kept(tiny: Client, tmp_path: Path) -> None:
    go = tmp_path / "go"
    call = tiny.function("tiny", "act").spawn([("print", "first"), ("wait_for", str(go)), ("print", "second")])
    heard = []
    for entry in call.logs.stream(timeout=LONG_S):
        heard.append(entry.message)
        go.touch()
    assert "".join(heard) == "first\nsecond\n"
    assert [entry.message for entry in call.logs.tail(1)] == ["second\n"]


# --- web functions ----------------------------------------------------------------------------------------------------


def test_a_web_function_starts_on_the_first_request_and_answers_at_its_own_address(tiny: Client) -> None:
    tiny.deploy("web-1", release="one")
    tiny.deploy("web-2", release="two")
    urls = [tiny.url("web-1"), tiny.url("web-2")]
    assert [httpx.get(url, timeout=LONG_S).text for url in urls] == ["one\n", "two\n"]  # both listen at port 8000
    assert httpx.get(urls[0] + "/stream", timeout=LONG_S).text == "one\n" * 3
    body = os.urandom(3 * 2**20)
    assert httpx.post(urls[0], content=body, timeout=LONG_S).content == body


def test_requests_are_served_at_once_up_to_the_functions_concurrency(tiny: Client) -> None:
    tiny.deploy("web-3")
    url = tiny.url("web-3")
    httpx.get(url, timeout=LONG_S)

    async def both() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=LONG_S) as client:
            return await asyncio.gather(*(client.post(url, content=b"x", headers={"Wait": "0.5"}) for _ in range(8)))

    started = time.monotonic()
    assert all(response.status_code == 200 for response in asyncio.run(both()))
    assert time.monotonic() - started < 3.5  # one after another they take 4 s
    assert len(tiny.plane.containers("web-3")) == 1


def test_a_server_bound_to_loopback_is_not_found(tiny: Client) -> None:
    url = tiny.function("tiny", "bound_to_loopback").get_web_url()
    assert url is not None
    response = httpx.get(url, timeout=LONG_S)
    assert response.status_code == 500
    assert "0.0.0.0" in response.text


def test_a_server_that_dies_is_told_and_replaced(tiny: Client) -> None:
    tiny.deploy("web-4")
    url = tiny.url("web-4")
    assert httpx.get(url, timeout=LONG_S).text == "r1\n"
    assert httpx.get(url + "/die", timeout=LONG_S).status_code == 500
    assert httpx.get(url, timeout=LONG_S).text == "r1\n"
    assert [c.exit_code for c in tiny.plane.containers("web-4", ended=True)] == [-9, None]


def test_a_request_that_waits_too_long_is_redirected_to_where_it_may_go_on(tiny: Client) -> None:
    tiny.deploy("web-5", start_s=1.5)
    tiny.plane.settings(patience_s=0.3)
    try:
        first = httpx.get(tiny.url("web-5"), timeout=LONG_S)
        assert first.status_code == 303
        tiny.plane.settings(patience_s=150)
        with httpx.Client(follow_redirects=True, timeout=LONG_S, max_redirects=20) as client:
            assert client.get(tiny.url("web-5") + first.headers["location"]).text == "r1\n"
    finally:
        tiny.plane.settings(patience_s=150)


# --- releases ---------------------------------------------------------------------------------------------------------


def test_a_rolling_deploy_answers_every_request_first_from_the_old_then_from_the_new(tiny: Client) -> None:
    tiny.deploy("roll", release="old")
    url = tiny.url("roll")
    assert httpx.get(url, timeout=LONG_S).text == "old\n"
    tiny.deploy("roll", release="new", start_s=0.5)
    answers = [httpx.get(url, timeout=LONG_S).text]
    while answers[-1] != "new\n":
        answers.append(httpx.get(url, timeout=LONG_S).text)
    assert answers[0] == "old\n"
    wait_until(lambda: [c.version for c in tiny.plane.containers("roll")] == [2])
    assert "left in good order" in tiny.plane.logs()
    assert tiny.url("roll") == url


def test_history_rollback_and_stop_by_the_command_line(tiny: Client) -> None:
    for release in ("good", "bad"):
        tiny.deploy("release", release=release, tag=release)
    url = tiny.url("release")
    tiny.cli("app", "rollback", "release", "v1")
    assert httpx.get(url, timeout=LONG_S).text == "good\n"
    history = json.loads(tiny.cli("app", "history", "release", "--json").stdout)
    assert [(entry["version"], entry["tag"]) for entry in history] == [("v3", "good"), ("v2", "bad"), ("v1", "good")]
    assert modal.App.lookup("release", client=tiny.client).info().lifecycle.version == 3
    tiny.cli("app", "rollback", "release")  # without a version: back to the bad one
    wait_until(lambda: httpx.get(url, timeout=LONG_S).text == "bad\n")
    tiny.cli("app", "stop", "release", "--yes")
    assert httpx.get(url, timeout=LONG_S).status_code == 404
    wait_until(lambda: not tiny.plane.containers("release"))
    with pytest.raises(modal.exception.NotFoundError):
        modal.App.lookup("release", client=tiny.client)
    listed = json.loads(tiny.cli("app", "list", "--json").stdout)
    assert {app["description"]: app["state"] for app in listed}["release"] == "stopped"
    tiny.deploy("release", release="again")
    assert tiny.url("release") == url
    assert httpx.get(url, timeout=LONG_S).text == "again\n"


def test_a_version_can_be_called_that_is_not_live(tiny: Client) -> None:
    for release in ("v1", "v2"):
        tiny.deploy("pinned", release=release)
    pinned = tiny.function("pinned", "act", version=1)
    assert pinned.remote([("env", "RELEASE")]) == ["v1"]
    assert tiny.act("pinned", ("env", "RELEASE")) == ["v2"]


# --- faults -----------------------------------------------------------------------------------------------------------

ERRORS = {
    "unavailable": modal.exception.ServiceError,
    "internal": modal.exception.InternalError,
    "exhausted": modal.exception.ResourceExhaustedError,
    "auth": modal.exception.AuthError,
    "denied": modal.exception.PermissionDeniedError,
    "not_found": modal.exception.NotFoundError,
    "exists": modal.exception.AlreadyExistsError,
    "invalid": modal.exception.InvalidError,
    "unimplemented": modal.exception.UnimplementedError,
    "data_loss": modal.exception.DataLossError,
    "conflict": modal.exception.ConflictError,
    "precondition": modal.exception.ConflictError,
}


@pytest.mark.parametrize("kind", ERRORS)
def test_a_fault_is_the_clients_own_error(tiny: Client, kind: str) -> None:
    tiny.plane.faults.add("AppGetOrCreate", kind, count=4)
    with pytest.raises(ERRORS[kind]):
        modal.App.lookup("tiny", client=tiny.client)


def test_a_fault_ends_after_its_count_and_strikes_only_what_it_names(tiny: Client) -> None:
    tiny.plane.faults.add("AppGetOrCreate", "unavailable", count=3, matching="tiny")
    tiny.plane.faults.add("AppGetOrCreate", "slow", after=1, delay_s=0.1)
    assert modal.App.lookup("tiny", client=tiny.client).app_id
    assert [fault["struck"] for fault in tiny.plane.faults.listed()] == [3, 0]
    tiny.plane.faults.add("VolumeGetOrCreate", "drop", count=1)
    assert tiny.volume("data").hydrate().object_id


def test_a_call_whose_answer_is_lost_is_not_done_twice(tiny: Client, tmp_path: Path) -> None:
    tiny.plane.faults.add("FunctionMap", "unavailable", reply_lost=True, count=2)
    before = len(tiny.plane.calls("FunctionMap"))
    assert tiny.function("tiny", "fails_until").remote(str(tmp_path / "tries"), 1) == 1
    assert len(tiny.plane.calls("FunctionMap")) == before + 3


def test_an_image_that_fails_to_build_leaves_the_live_version_and_its_log(tiny: Client) -> None:
    tiny.deploy("builds", release="good")
    tiny.plane.faults.fail_image_build("step 1\nerror: no space left on device\n")
    with pytest.raises(modal.exception.ImageBuildError) as caught:
        tiny.deploy("builds", release="unbuildable")
    assert caught.value.image_id.startswith("im-")
    assert modal.App.lookup("builds", client=tiny.client).info().lifecycle.version == 1
    assert tiny.act("builds", ("env", "RELEASE")) == ["good"]


def test_a_plan_without_rollback_refuses_it(tiny: Client) -> None:
    tiny.plane.faults.without_rollback()
    tiny.deploy("plan")
    done = tiny.cli("app", "rollback", "plan", "v1", ok=False)
    assert "plan" in done.stderr + done.stdout


def test_a_lost_container_and_a_preempted_one_differ(tiny: Client, tmp_path: Path) -> None:
    def running(call_id: str) -> str:
        here = [c.task_id for c in tiny.plane.containers("tiny") if call_id in c.calls]
        return here[0] if here else ""

    waits = [("wait_for", str(tmp_path / "go")), ("env", "KEY")]
    lost, preempted = (tiny.function("tiny", "act").spawn(waits) for _ in range(2))
    tiny.plane.lose_container(wait_until(lambda: running(lost.object_id)))
    with pytest.raises(modal.exception.InternalFailure):
        lost.get(timeout=LONG_S)
    first = wait_until(lambda: running(preempted.object_id))
    tiny.plane.preempt(first)
    wait_until(lambda: running(preempted.object_id) not in ("", first))
    (tmp_path / "go").touch()
    assert preempted.get(timeout=LONG_S)[1] == "s3cret"


# --- small stores -----------------------------------------------------------------------------------------------------


def test_a_dict_can_be_a_lock_and_a_queue_carries_what_a_container_says(tiny: Client) -> None:
    lock = modal.Dict.from_name("lock", create_if_missing=True, client=tiny.client)
    assert lock.put("holder", 1, skip_if_exists=True)
    assert not lock.put("holder", 2, skip_if_exists=True)
    assert (lock["holder"], lock.pop("holder"), lock.len()) == (1, 1, 0)
    queue = modal.Queue.from_name("news", create_if_missing=True, client=tiny.client)
    queue.put_many([1, 2, 3])
    assert (queue.get(), queue.get_many(5), queue.len()) == (1, [2, 3], 0)
    assert queue.get(block=False) is None


# --- the plane itself -------------------------------------------------------------------------------------------------


def test_a_plane_ends_with_all_its_containers_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from tests.support.modal_plane import modal_plane\n"
        "from tests.support.modal_plane.clients import connect\n"
        "import modal\n"
        "with modal_plane(pathlib.Path(sys.argv[1])) as plane:\n"
        "    client = connect(plane)\n"
        "    modal.Secret.objects.create('key', {'KEY': 'x'}, client=client.client)\n"
        "    client.deploy('tiny')\n"
        "    client.act('tiny', ('child', sys.argv[1] + '/child'))\n"
        "    print(plane.root, flush=True)\n"
        "    time.sleep(600)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=REPO
    )
    assert starter.stdout is not None
    root = Path(starter.stdout.readline().strip())
    child = int((tmp_path / "child").read_text())
    assert root.is_dir()
    assert psutil.pid_exists(child)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    wait_until(lambda: not psutil.pid_exists(child) and not processes_with(PLANE_ENV, root.name) and not root.exists())


def test_a_proxy_token_is_asked_for_where_the_function_says_so(tiny: Client, tmp_path: Path) -> None:
    source = tmp_path / "locked.py"
    source.write_text(
        "import modal, subprocess, sys\n"
        "app = modal.App('locked')\n"
        "@app.function()\n"
        "@modal.web_server(8000, startup_timeout=20, requires_proxy_auth=True)\n"
        "def web():\n"
        "    subprocess.Popen([sys.executable, '-m', 'http.server', '8000', '--bind', '0.0.0.0'])\n"
    )
    tiny.cli("deploy", str(source))
    url = tiny.function("locked", "web").get_web_url()
    assert url is not None
    assert httpx.get(url, timeout=LONG_S).status_code == 401
    headers = dict(zip(("Modal-Key", "Modal-Secret"), PROXY_KEY, strict=True))
    assert httpx.get(url, headers=headers, timeout=LONG_S).status_code == 200
