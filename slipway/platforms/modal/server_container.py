"""A server from inside its container: the supervisor as the process behind Modal's web server.

Modal calls `serve` once and sends requests when it has returned: it returns when the supervisor says that the
engine has completed an inference. What the supervisor says is told on to the Dict that the platform reads. When the
supervisor ends, the container ends at once, so that no request is sent to a port where nobody listens.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from slipway.platforms.modal import handles
from slipway.platforms.placeholders import expand
from slipway.platforms.port import Phase
from slipway.platforms.status import read_status
from slipway.units import utc_now

ORDER: Final = "SLIPWAY_SERVER"
"""Environment variable with what is to be served, as JSON."""

STOP_MARGIN_S: Final = 5.0
_POLL_S: Final = 0.1
_TELLING_ATTEMPTS: Final = 5
_BEGAN_AT: Final = utc_now().isoformat()
"""Of this container, for what it costs."""


def serve() -> None:
    """Start the server of this container; returns when it has answered, and not at all when it ends before."""
    order = json.loads(os.environ[ORDER])
    for name in order["volumes"]:
        handles.volume(name).reload()  # a container may have been made before the last commit
    status_file = Path(tempfile.mkdtemp(prefix="slipway-")) / "status.json"
    process = _start(order, status_file)
    atexit.register(_stop, process, order["stop_grace_s"])
    ready = threading.Event()
    threading.Thread(target=_follow, args=(process, status_file, order["server_id"], ready), daemon=True).start()
    ready.wait()


def _start(order: dict[str, Any], status_file: Path) -> subprocess.Popen[bytes]:
    """The supervisor, whose output is the container's."""
    known = {**order["paths"], "port": str(handles.PORT), "status": str(status_file), "python": sys.executable}
    return subprocess.Popen(
        expand(order["argv"], known),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **expand(order["env"], known)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def _follow(process: subprocess.Popen[bytes], status_file: Path, server_id: str, ready: threading.Event) -> None:
    """Tell every phase until the supervisor has ended, then end the container."""
    told: bytes = b""
    while True:
        ended = process.poll() is not None
        text = status_file.read_bytes() if status_file.exists() else b""
        if text != told:
            told = text
            _tell(server_id, json.loads(text))
            status = read_status(status_file)
            if status is not None and status.phase is Phase.READY:
                ready.set()
        if ended:
            break
        time.sleep(_POLL_S)
    if process.returncode != 0:
        _tell_crash(server_id, status_file, process.returncode)
        os._exit(1)


def _tell_crash(server_id: str, status_file: Path, exit_status: int) -> None:
    """A supervisor that was killed has not told so itself."""
    status = read_status(status_file)
    if status is None or status.phase is not Phase.CRASHED:
        detail = f"its supervisor ended with exit status {exit_status}"
        _tell(server_id, {"phase": Phase.CRASHED, "detail": detail, "timings_s": {}})


def _tell(server_id: str, status: dict[str, Any]) -> None:
    """Write a phase to the Dict; a crash also where the next container of the same server does not write over it."""
    document = status | {"began_at": _BEGAN_AT}
    for attempt in range(_TELLING_ATTEMPTS):
        with suppress(Exception):  # whatever the client raises: telling must not end the server
            handles.state().put(phase_key(server_id), document)
            if document["phase"] == Phase.CRASHED:
                handles.state().put(crash_key(server_id), document)
            return
        time.sleep(0.5 * 2**attempt)


def _stop(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Let the supervisor end its engine in its own time."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s + STOP_MARGIN_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def phase_key(server_id: str) -> str:
    """Where the phase of a server is in the Dict."""
    return f"phase/{server_id}"


def crash_key(server_id: str) -> str:
    """Where the last crash of a server is in the Dict."""
    return f"crash/{server_id}"
