"""The process of one job: `python -m slipway.platforms.local.worker DIRECTORY PROGRESS_FD`.

It reads `job.json` from the directory, mounts the volumes, calls the function, and leaves `outcome.json`.
Its standard input is a lifeline: when the process that started the job is gone, the whole group is killed.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slipway.files import write_atomic
from slipway.platforms.local.mounts import mount
from slipway.platforms.local.volumes import LocalVolume
from slipway.platforms.outcomes import imported, outcome
from slipway.platforms.placeholders import expand
from slipway.platforms.port import JobContext, Progress
from slipway.processes import fork_guard


def main(directory: Path, progress_fd: int) -> int:
    """Run the job to its end.

    Returns:
        The exit status: 0 when the function returned.
    """
    _tie_to_parent()
    job = json.loads((directory / "job.json").read_bytes())
    sys.path[:] = job["import_path"]
    with os.fdopen(progress_fd, "w", buffering=1) as pipe:
        outcome = _outcome(job, pipe.write)
    secrets = [os.environ[name] for name in job["secrets"]]
    write_atomic(directory / "outcome.json", _without(secrets, json.dumps(outcome)).encode(), mode=0o600)
    gc.freeze()  # the process ends: nothing need be searched for garbage
    return 0 if "result" in outcome else 1


def _tie_to_parent() -> None:
    """Let a guard read standard input, and give the job an empty one."""
    lifeline = os.dup(0)
    fork_guard(lifeline=lifeline, group=os.getpgrp())
    os.close(lifeline)
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)


def _outcome(job: dict[str, Any], write: Callable[[str], object]) -> dict[str, Any]:
    """Call the job's function; how it ended."""

    def report(progress: Progress) -> None:
        with contextlib.suppress(BrokenPipeError):
            write(json.dumps(asdict(progress)) + "\n")

    return outcome(lambda: _call(job, report))


def _call(job: dict[str, Any], report: Callable[[Progress], None]) -> Any:
    root = Path(job["root"])
    with contextlib.ExitStack() as stack:
        mounts = {}
        for wanted in job["mounts"]:
            view = mount(LocalVolume(root, wanted["volume"]), read_only=wanted["read_only"])
            mounts[wanted["name"]] = view
            stack.callback(view.close)
        known = {name: str(view.path) for name, view in mounts.items()} | {"python": sys.executable}
        os.environ |= expand(job["env"], known)
        arguments = expand(job["arguments"], known)
        return imported(job["function"])(JobContext(mounts, report), **arguments)


def _without(secrets: list[str], text: str) -> str:
    """Plain replacement, so that the JSON stays JSON."""
    for secret in secrets:
        text = text.replace(json.dumps(secret)[1:-1], "[redacted]")
    return text


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
