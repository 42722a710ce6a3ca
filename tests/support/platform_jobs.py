"""Functions that the contract suite runs as jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from slipway.errors import Corrupt
from slipway.platforms.port import JobContext, Progress


def echo(context: JobContext, **arguments: Any) -> dict[str, Any]:
    return {"arguments": arguments, "pid": os.getpid(), "env": dict(os.environ)}


def write_file(context: JobContext, path: str, text: str, *, commit: bool, sealed: bool = False) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    if sealed:
        file.chmod(0o444)
    if commit:
        context.mounts["data"].commit()


def append_and_remove(context: JobContext, append: str, remove: str) -> None:
    with Path(append).open("a") as file:
        file.write(" more")
    Path(remove).unlink()
    context.mounts["data"].commit()


def read_file(context: JobContext, path: str) -> str:
    return Path(path).read_text()


def wait_for_gate(context: JobContext, note: str) -> None:
    """Tell that this point is reached, and go on when the test has made a file of the note's name."""
    gate = Path(os.environ["GATES"]) / note
    context.progress(Progress(0, None, "gates", note))
    _await(gate)


def read_reload_read(context: JobContext, path: str) -> list[str]:
    before = Path(path).read_text()
    wait_for_gate(context, "committed")
    still = Path(path).read_text()
    context.mounts["data"].reload()
    return [before, still, Path(path).read_text()]


def write_then_commit(context: JobContext, path: str, text: str) -> None:
    Path(path).write_text(text)
    wait_for_gate(context, "go")
    context.mounts["data"].commit()


def write_then_reload(context: JobContext, path: str) -> None:
    Path(path).write_text("uncommitted")
    context.mounts["data"].reload()


def fail(context: JobContext, how: str) -> Any:
    if how == "corrupt":
        raise Corrupt("Shard 3 differs.", remedy="Fetch it again.")
    if how == "value":
        raise ValueError("what is this")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return {1, 2}  # no JSON


def print_secret(context: JobContext) -> str:
    sys.stdout.write(f"the key is {os.environ['TEST_API_KEY']}\n")
    subprocess.run(["/bin/sh", "-c", "echo from a child: $TEST_API_KEY >&2"], check=True)
    return "printed"


def count(context: JobContext, total: int) -> int:
    for done in range(1, total + 1):
        context.progress(Progress(done, total, "files", f"file {done}"))
    return total


def count_to_gate(context: JobContext, total: int, gate: str) -> int:
    """Count, and end when there is a file at `gate`."""
    count(context, total)
    _await(Path(gate))
    return total


def count_and_open(context: JobContext, total: int, gate: str) -> int:
    """Count, then make a file at `gate`."""
    count(context, total)
    Path(gate).touch()
    return total


def die_once(context: JobContext, mark: str) -> str:
    """Killed the first time."""
    if not Path(mark).exists():
        die_always(context, mark)
    return "lived"


def die_always(context: JobContext, mark: str) -> None:
    """Killed every time, each leaving an `x` at `mark`."""
    with Path(mark).open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def _await(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(str(path))
        time.sleep(0.01)


def start_stubborn_child(context: JobContext, pids: str) -> None:
    """Wait for ever, with a child that ignores SIGTERM in a session of its own, and one in this group."""
    waiting = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    children = [
        subprocess.Popen([sys.executable, "-c", waiting], stdout=subprocess.PIPE, start_new_session=apart)
        for apart in (False, True)
    ]
    for child in children:
        child.stdout.readline()
    Path(pids).write_text(" ".join(str(pid) for pid in [os.getpid(), *(child.pid for child in children)]))
    context.progress(Progress(0, None, "jobs", "started"))
    time.sleep(600)


def leave_child(context: JobContext) -> int:
    return subprocess.Popen(["/bin/sleep", "600"]).pid
