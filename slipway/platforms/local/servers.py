"""Servers: containers' processes that outlive the command that started them.

    servers/<id>/server.json     what was started, for which app; no secret values
    servers/<id>/process.json    pid and start time
    servers/<id>/status.json     written by the supervisor in it
    servers/<id>/stopping        it was asked to stop
    servers/<id>/log.txt         what it printed

A server holds the volume states it was started on for as long as it lives.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, cast

from slipway.errors import Crashed, Misconfigured
from slipway.files import locked, write_atomic
from slipway.platforms.local.environment import host_environment
from slipway.platforms.local.ports import HOST, free_port
from slipway.platforms.local.volumes import LocalVolume
from slipway.platforms.naming import new_id
from slipway.platforms.placeholders import expand
from slipway.platforms.port import Deployment, Lifetime, Phase, ServerSpec, ServerStatus
from slipway.platforms.records import spec_from_json
from slipway.platforms.status import read_status
from slipway.processes import ProcessIdentity, end, identify
from slipway.redact import redact_text
from slipway.units import show_seconds

KEPT_DEAD_SERVERS: Final = 10
STOP_MARGIN_S: Final = 5.0
"""Beyond a server's own grace: time for its supervisor to end the engine by force."""

_POLL_S: Final = 0.05
_TOLD_LINES: Final = 30
_TAIL_BYTES: Final = 1 << 20


class Servers:
    """The servers below one platform directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._directory = root / "servers"

    def deploy(self, app: str, spec: ServerSpec, secrets: Mapping[str, str]) -> Deployment:
        """Start a server; returns at once.

        Args:
            app: Whose it is.
            spec: What to start.
            secrets: Name to value, for its environment only.
        """
        deployment_id = new_id(app)
        directory = self._directory / deployment_id
        with locked(self._root / "locks" / "servers"), contextlib.ExitStack() as held:
            self._remove_dead(app)
            port = free_port({known["port"] for known in self._known()})
            directory.mkdir(parents=True)
            states = {mount.name: held.enter_context(_held(self._root, mount.volume)) for mount in spec.mounts}
            names = {name: str(state) for name, (state, _) in states.items()} | {
                "port": str(port),
                "status": str(directory / "status.json"),
                "python": sys.executable,
            }
            document = {"app": app, "port": port, "spec": asdict(spec)}
            write_atomic(directory / "server.json", json.dumps(document, indent=1).encode())
            _start(
                expand(spec.argv, names),
                env={**host_environment(), **expand(spec.env, names), **secrets},
                directory=directory,
                keep_open=[descriptor for _, descriptor in states.values()],
            )
        return Deployment(app, deployment_id, spec.release_id, f"http://{HOST}:{port}")

    def status(self, deployment_id: str) -> ServerStatus:
        """The phase now: what the supervisor told, corrected by whether it lives."""
        directory = self._directory / deployment_id
        alive = self._identity(deployment_id) is not None
        told = read_status(directory / "status.json")
        if alive:
            return told or ServerStatus(Phase.STARTING, "starting")
        if told and told.phase in {Phase.STOPPED, Phase.CRASHED}:
            return told
        if not directory.is_dir() or (directory / "stopping").exists():
            return ServerStatus(Phase.STOPPED, "stopped")
        return ServerStatus(Phase.CRASHED, "its process is gone without a word (killed, or the host restarted)")

    def wait_ready(self, deployment_id: str, *, timeout_s: float, secrets: Sequence[str]) -> ServerStatus:
        """Block until ready; raises `Crashed` with the last log lines if it dies or misses the deadline."""
        deadline = time.monotonic() + timeout_s
        while (status := self.status(deployment_id)).phase is Phase.STARTING and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        if status.phase is Phase.READY:
            return status
        what = (
            f"was not ready within {show_seconds(timeout_s)}" if status.phase is Phase.STARTING else f"{status.phase}"
        )
        # a crash's detail ends with the engine's last lines already
        last = "" if "\n" in status.detail else self.logs(deployment_id, lines=_TOLD_LINES, secrets=secrets)
        raise Crashed(
            f"Server {deployment_id} {what}: {status.detail}\n{last}",
            remedy=f"Read {self._directory / deployment_id / 'log.txt'}.",
        )

    def stop(self, deployment_id: str) -> None:
        """End a server gracefully, then by force. Harmless when it has ended."""
        if identity := self._identity(deployment_id):
            directory = self._directory / deployment_id
            (directory / "stopping").touch()
            grace_s = _read(directory / "server.json")["spec"]["stop_grace_s"]
            end(identity, grace_s=grace_s + STOP_MARGIN_S)

    def logs(self, deployment_id: str, *, lines: int, secrets: Sequence[str]) -> str:
        """The last lines that the server printed, without secrets."""
        try:
            with (self._directory / deployment_id / "log.txt").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                last = deque(log.read().decode(errors="replace").splitlines(), maxlen=lines)
        except FileNotFoundError:
            return ""
        return redact_text("\n".join(last), secrets)

    def lifetimes(self, deployment_id: str) -> Sequence[Lifetime]:
        """The server's one process; its end is the last sign of life, for who is killed tells none."""
        directory = self._directory / deployment_id
        try:
            began_at = _changed_at(directory / "process.json")
        except FileNotFoundError:
            return []
        if self._identity(deployment_id):
            return [Lifetime(began_at)]
        return [Lifetime(began_at, max(_changed_at(file) for file in directory.iterdir()))]

    def spec(self, deployment_id: str) -> ServerSpec:
        """What was started.

        Raises:
            Misconfigured: When no such server is known.
        """
        try:
            return spec_from_json(_read(self._directory / deployment_id / "server.json")["spec"])
        except FileNotFoundError:
            raise Misconfigured(
                f"There is no server {deployment_id}.", remedy="Deploy it; directories of old servers are removed."
            ) from None

    def running(self, app: str) -> Sequence[Deployment]:
        """All servers of the app that live, oldest first."""
        return [
            Deployment(app, known["id"], known["spec"]["release_id"], f"http://{HOST}:{known['port']}")
            for known in self._known()
            if known["app"] == app and self._identity(known["id"])
        ]

    def _known(self) -> Iterator[dict[str, Any]]:
        """Every server whose directory is there, oldest first."""
        for file in sorted(self._directory.glob("*/server.json")):
            yield _read(file) | {"id": file.parent.name}

    def _identity(self, deployment_id: str) -> ProcessIdentity | None:
        """The server's process, if it lives."""
        try:
            identity = ProcessIdentity(**_read(self._directory / deployment_id / "process.json"))
        except FileNotFoundError:
            return None
        return identity if identity.alive() else None

    def _remove_dead(self, app: str) -> None:
        dead = [known["id"] for known in self._known() if known["app"] == app and not self._identity(known["id"])]
        for deployment_id in dead[:-KEPT_DEAD_SERVERS]:
            shutil.rmtree(self._directory / deployment_id)


@contextlib.contextmanager
def _held(root: Path, volume: str) -> Iterator[tuple[Path, int]]:
    """The newest state of a volume, and the descriptor that keeps it; a child that has it keeps it too."""
    state, descriptor = LocalVolume(root, volume).generations.hold()
    try:
        yield state, descriptor
    finally:
        os.close(descriptor)


def _start(argv: Sequence[str], *, env: Mapping[str, str], directory: Path, keep_open: Sequence[int]) -> None:
    """Start a process that outlives this one, after writing down who it is.

    It waits for a line before it becomes the server, and gives up when the line does not come: a process that
    nobody has written down, because its maker was killed, would never be stopped.
    """
    with (directory / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "sh", *argv],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=env,
            pass_fds=keep_open,
            start_new_session=True,
        )
    write_atomic(directory / "process.json", json.dumps(asdict(identify(process.pid))).encode())
    with cast("IO[bytes]", process.stdin) as pipe:
        pipe.write(b"go\n")
    threading.Thread(target=process.wait, daemon=True).start()  # no zombie while this process lives


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_bytes()))


def _changed_at(file: Path) -> datetime:
    return datetime.fromtimestamp(file.stat().st_mtime, UTC)
