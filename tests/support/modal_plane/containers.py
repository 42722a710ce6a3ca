"""One container: a process of the client's own entrypoint, behind walls, with its copies of the volumes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
from modal_proto import api_pb2

from tests.support.modal_plane.calls import Input, Result
from tests.support.modal_plane.functions import Function
from tests.support.modal_plane.logs import STDERR, STDOUT, Line, Logs
from tests.support.modal_plane.volume_tree import Copy

REPO: Final = Path(__file__).parents[3]
HIDDEN: Final = ("slipway", "flows", "tasks", "deployments")
"""Packages of the checkout that a container must not find by accident: what it needs must have been uploaded."""

PLANE_ENV: Final = "MODAL_PLANE_ID"
"""Marks every process of a plane, so that all can be found and ended, however they detach themselves."""


@dataclass
class Container:
    """One container.

    Attributes:
        definition_id: What it runs.
        copies: Its volumes, by mount path.
        volume_ids: The same, by id.
        ready: It has asked for inputs once.
        draining: It gets no more inputs and ends when it has finished those it has.
        fate: Why it was ended, when the plane ended it; empty for a container that ended on its own.
        active: Inputs it works on.
        cancelled: Inputs it must still be told about.
        init_result: What it said of a failed start.
    """

    task_id: str
    function: Function
    definition_id: str
    directory: Path
    copies: dict[str, Copy] = field(default_factory=dict)
    volume_ids: dict[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    created_at: float = field(default_factory=time.time)
    ready_at: float = 0.0
    ended_at: float = 0.0
    exit_code: int | None = None
    draining: bool = False
    fate: str = ""
    active: dict[str, Input] = field(default_factory=dict)
    cancelled: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    init_result: Result | None = None

    @property
    def ready(self) -> bool:
        return bool(self.ready_at)

    @property
    def ended(self) -> bool:
        return bool(self.ended_at)

    @property
    def definition(self) -> api_pb2.Function:
        return self.function.definitions[self.definition_id]

    @property
    def slots(self) -> int:
        return self.definition.max_concurrent_inputs or 1

    def serves_web(self) -> bool:
        """Whether it listens at a port, and so needs a network of its own."""
        definition = self.definition
        kinds = [
            definition.webhook_config.type,
            *(m.webhook_config.type for m in definition.method_definitions.values()),
        ]
        return api_pb2.WEBHOOK_TYPE_WEB_SERVER in kinds

    def copies_of(self, volume_id: str) -> list[Copy]:
        return [self.copies[path] for path, known in self.volume_ids.items() if known == volume_id]

    def open_files(self, copy: Copy) -> list[int]:
        """Processes of the container that have a file or their working directory in a volume."""
        inodes = copy.inodes()
        return [process.pid for process in processes_with("MODAL_TASK_ID", self.task_id) if _holds(process, inodes)]


async def start(
    container: Container, *, arguments: api_pb2.ContainerArguments, env: dict[str, str],
    binds: list[tuple[str, str, bool]], logs: Logs, on_end: Callable[[Container], object],
) -> None:  # fmt: skip
    """Start the process and watch it; `on_end` is told when it is over and everything it started is gone."""
    directory = container.directory
    (directory / "arguments").write_bytes(arguments.SerializeToString())
    (directory / "fs").mkdir()
    (directory / "tmp").mkdir()
    spec = {
        "root": str(directory / "fs"),
        "binds": binds,
        "needed": [sys.base_prefix, sys.prefix, str(REPO)],
        "hidden": [str(REPO / name) for name in HIDDEN],
        "own_network": container.serves_web(),
        "argv": [sys.executable, "-m", "modal._container_entrypoint"],
        "env": env,
    }
    (directory / "spec.json").write_text(json.dumps(spec))
    sandbox = Path(__file__).with_name("sandbox.py")
    out, err = os.pipe(), os.pipe()
    # With pipes of its own, asyncio takes a process for running as long as a child of it has one open.
    container.process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(sandbox), str(directory / "spec.json"),
        stdin=asyncio.subprocess.DEVNULL, stdout=out[1], stderr=err[1], start_new_session=True, env=env,
    )  # fmt: skip
    os.close(out[1])
    os.close(err[1])
    readers = [
        asyncio.create_task(_read(container, out[0], STDOUT, logs)),
        asyncio.create_task(_read(container, err[0], STDERR, logs)),
    ]
    task = asyncio.create_task(_watch(container, container.process, readers, on_end))
    _WATCHES.add(task)
    task.add_done_callback(_WATCHES.discard)


_WATCHES: Final[set[asyncio.Task[None]]] = set()


async def _watch(
    container: Container,
    process: asyncio.subprocess.Process,
    readers: list[asyncio.Task[None]],
    on_end: Callable[[Container], object],
) -> None:
    container.exit_code = await process.wait()
    kill_all("MODAL_TASK_ID", container.task_id)
    await asyncio.wait(readers, timeout=2)
    container.ended_at = time.time()
    on_end(container)
    await asyncio.to_thread(shutil.rmtree, container.directory, ignore_errors=True)


async def _read(container: Container, descriptor: int, fd: int, logs: Logs) -> None:
    stream = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(descriptor, "rb", 0)
    )
    while data := await stream.readline():
        working_on = next(iter(container.active.values()), None)
        logs.add(
            Line(
                data=data.decode(errors="replace"),
                fd=fd,
                app_id=container.function.app_id,
                function_id=container.function.function_id,
                task_id=container.task_id,
                function_call_id=working_on.call.call_id if working_on else "",
                input_id=working_on.input_id if working_on else "",
            )
        )


async def end(container: Container, fate: str, *, grace_s: float) -> None:
    """End a container: interrupted as on Modal, so that its exit hooks run, and killed after the grace."""
    container.fate = container.fate or fate
    container.draining = True
    process = container.process
    if process is None or process.returncode is not None:
        return
    if grace_s > 0 and container.ready:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), timeout=grace_s)
    kill_all("MODAL_TASK_ID", container.task_id)


def processes_with(variable: str, value: str) -> list[psutil.Process]:
    """Processes that were started with this in their environment, and their offspring that kept it."""
    wanted = f"{variable}={value}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            if wanted in path.read_bytes().split(b"\0") and path.parent.name != str(os.getpid()):
                found.append(psutil.Process(int(path.parent.name)))
    return found


def kill_all(variable: str, value: str) -> None:
    """Kill them, and those that they start meanwhile."""
    while running := [process for process in processes_with(variable, value) if _runs(process)]:
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(running, timeout=0.05)


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _holds(process: psutil.Process, inodes: set[tuple[int, int]]) -> bool:
    place = Path("/proc", str(process.pid))
    with contextlib.suppress(OSError):
        for link in [place / "cwd", *(place / "fd").iterdir()]:
            with contextlib.suppress(OSError):
                status = link.stat()
                if (status.st_dev, status.st_ino) in inodes:
                    return True
    return False
