"""The file in which a server tells its phase: written by the supervisor, read by every platform."""

from __future__ import annotations

import json
from pathlib import Path

from slipway.files import write_atomic
from slipway.platforms.port import Phase, ServerStatus
from slipway.units import utc_now


def write_status(path: Path, release_id: str, status: ServerStatus) -> None:
    """Tell the phase of the server of a release."""
    document = {
        "release_id": release_id,
        "phase": status.phase,
        "detail": status.detail,
        "timings_s": dict(status.timings_s),
        "kernels": status.kernels,
        "updated_at": utc_now().isoformat(),
    }
    write_atomic(path, json.dumps(document, indent=1).encode())


def read_status(path: Path) -> ServerStatus | None:
    """What the server told last, or None when it has not said anything yet."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    kernels = document.get("kernels")
    return ServerStatus(
        Phase(document["phase"]),
        document["detail"],
        document["timings_s"],
        None if kernels is None else tuple(kernels),
    )
