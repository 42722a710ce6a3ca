"""The plane as tests hold it: started, asked and ended from here."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import modal
from modal_proto import api_pb2

from slipway.platforms.modal import handles
from tests.support.modal_plane.containers import PLANE_ENV, REPO, kill_all
from tests.support.modal_plane.rpc import TOKEN_ID, TOKEN_SECRET

START_S: Final = 30.0
CONTROL_ENV: Final = "MODAL_PLANE_CONTROL"
"""Where a process that only has the environment reaches the control endpoint."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A function as it was deployed.

    Attributes:
        proto: The whole message.
        volumes: name, version (1, 2), path, read_only, sub_path of each mount.
        secrets: Names of named secrets, in order.
        env: What unnamed secrets (`env=`, `Secret.from_dict`) set.
        image: Dockerfile lines, of all layers.
        image_env: What its ENV lines set.
        files: Paths of mounted sources.
    """

    function_id: str
    proto: api_pb2.Function
    volumes: list[dict[str, Any]]
    secrets: list[str]
    env: dict[str, str]
    image: list[str]
    image_env: dict[str, str]
    files: list[str]


@dataclass(frozen=True, slots=True)
class ContainerState:
    """One container, as the plane sees it now; times are seconds since the epoch, 0 for not yet."""

    task_id: str
    app: str
    environment: str
    function: str
    version: int
    pid: int
    ready: bool
    ended: bool
    draining: bool
    fate: str
    exit_code: int | None
    inputs: list[str]
    calls: list[str]
    created_at: float
    ready_at: float
    ended_at: float
    gpu: str


@dataclass
class FaultOrders:
    """Faults, ordered over HTTP: see `faults.Fault` for the fields."""

    http: httpx.Client

    def add(self, rpc: str, kind: str, **order: Any) -> None:
        _checked(self.http.post("faults", json={"rpc": rpc, "kind": kind, **order}))

    def fail_image_build(self, log: str) -> None:
        """The next image fails to build, as if it had not been built before; these lines are its log."""
        self.add("ImageGetOrCreate", "image_build", message=log)

    def without_rollback(self) -> None:
        """A plan that has no rollback."""
        message = "Rollbacks are not available on your plan. Upgrade to Team or Enterprise."
        self.add("AppRollback", "denied", count=10**6, message=message)

    def listed(self) -> list[dict[str, Any]]:
        return self.http.get("faults").json()

    def clear(self) -> None:
        _checked(self.http.delete("faults"))


@dataclass
class Plane:
    """A running control plane.

    Attributes:
        url: Its gRPC address, for `MODAL_SERVER_URL`.
        control_url: Its HTTP address.
    """

    root: Path
    url: str
    control_url: str
    process: subprocess.Popen[bytes]
    http: httpx.Client = field(init=False)
    faults: FaultOrders = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=f"{self.control_url}/control", timeout=30, trust_env=False)
        self.faults = FaultOrders(self.http)

    @property
    def env(self) -> dict[str, str]:
        """What a client's process needs beside its own environment."""
        return {
            "MODAL_SERVER_URL": self.url,
            "MODAL_TOKEN_ID": TOKEN_ID,
            "MODAL_TOKEN_SECRET": TOKEN_SECRET,
            "MODAL_CONFIG_PATH": str(self.root / "no-config.toml"),
            "MODAL_ENVIRONMENT": "main",
            "MODAL_BUILD_VALIDATION": "ignore",  # somebody may edit the checkout while its tests run
            CONTROL_ENV: self.control_url,
        }

    def definitions(self, app: str, environment: str = "") -> dict[str, Definition]:
        """Every function of a deployed app, by its name in it (`Class.*` for a class)."""
        found = self._get("definitions", app=app, environment=environment)
        return {
            name: Definition(**{**one, "proto": api_pb2.Function.FromString(base64.b64decode(one["proto"]))})
            for name, one in found.items()
        }

    def containers(self, app: str = "", *, environment: str = "", ended: bool = False) -> list[ContainerState]:
        """Containers, oldest first; those that have ended only when asked for."""
        states = [ContainerState(**one) for one in self._get("containers")]
        return [
            one
            for one in states
            if (ended or not one.ended) and app in ("", one.app) and environment in ("", one.environment)
        ]

    def kill_container(self, task_id: str) -> None:
        """SIGKILL, as by a crash: its inputs fail with "exited unexpectedly", by the function's retry policy."""
        self.end(task_id, "crashed")

    def lose_container(self, task_id: str) -> None:
        """Its worker is lost: its inputs end as `modal.exception.InternalFailure`."""
        self.end(task_id, "lost")

    def preempt(self, task_id: str, *, grace_s: float = 1.0) -> None:
        """It is interrupted and ended; its inputs run again in another, whatever the retry policy."""
        self.end(task_id, "preempted", grace_s=grace_s)

    def calls(self, rpc: str = "") -> list[tuple[float, str, bool, str]]:
        """All calls so far: time, name, whether a container called, status."""
        return [tuple(call) for call in self._get("journal")["calls"] if rpc in ("", call[1])]

    def errors(self) -> list[str]:
        """Mistakes of the plane itself; a test that meets one has shown nothing."""
        return self._get("journal")["errors"]

    def apps(self) -> list[dict[str, Any]]:
        return self._get("apps")

    def logs(self, task_id: str = "") -> str:
        """All that containers printed."""
        return "".join(data for task, _, _, data in self._get("logs") if task_id in ("", task))

    def file(self, volume: str, path: str, environment: str = "") -> bytes | None:
        """The committed bytes of a file, None where there is none."""
        answer = self.http.get("file", params={"volume": volume, "path": path, "environment": environment})
        return None if answer.status_code == 404 else _checked(answer).content

    def settings(self, **values: float) -> None:
        """`patience_s`: when a waiting request is redirected; `exit_grace_s`: time for exit hooks."""
        _checked(self.http.post("settings", json=values))

    def alive(self) -> bool:
        return self.process.poll() is None

    def _get(self, what: str, **query: str) -> Any:
        return _checked(self.http.get(what, params=query)).json()

    def end(self, task_id: str, fate: str, grace_s: float | None = None) -> None:
        """End a container with one of the fates above: "crashed", "lost", "preempted"."""
        order = {"fate": fate, "grace_s": grace_s}
        _checked(self.http.post(f"containers/{task_id}/end", json=order))


@contextmanager
def modal_plane(tmp_path: Path) -> Iterator[Plane]:
    """A plane of its own, ended with all that it started; its log is `tmp_path/plane.log`.

    Files are kept in a directory with a short name, for the path of a socket may have 107 characters only.
    """
    root = Path(tempfile.mkdtemp(prefix="modal-plane-"))
    with (tmp_path / "plane.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.modal_plane.server", str(root), str(os.getpid())],
            cwd=REPO, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(REPO)},
        )  # fmt: skip
        try:
            addresses = _wait_for(root / "plane.json", process, tmp_path / "plane.log")
            _forget_client()
            yield Plane(root, addresses["grpc"], addresses["http"], process)
        finally:
            _forget_client()
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            process.kill()
            process.wait()
            kill_all(PLANE_ENV, root.name)
            shutil.rmtree(root, ignore_errors=True)


def _forget_client() -> None:
    """Modal keeps one client a process, and handles keep it too, whatever the environment says later."""
    modal.client._Client._set_env_client(None)
    handles._volume.cache_clear()
    handles._state.cache_clear()


def _wait_for(file: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    deadline = time.monotonic() + START_S
    while not file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the plane did not start:\n{log.read_text()}")
        time.sleep(0.02)
    return json.loads(file.read_text())


def _checked(response: httpx.Response) -> httpx.Response:
    response.raise_for_status()
    return response


@functools.cache
def why_not_here() -> str:
    """Why containers cannot be made on this machine; empty when they can. For `pytest.mark.skipif`."""
    if not sys.platform.startswith("linux"):
        return "containers need Linux"
    script = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x40020000) != 0)"  # mounts and network
    allowed = subprocess.run([sys.executable, "-I", "-c", script], check=False).returncode == 0
    has_ip = shutil.which("ip") is not None
    return "" if allowed and has_ip else "containers need root (unshare of mounts and network) and iproute2"
