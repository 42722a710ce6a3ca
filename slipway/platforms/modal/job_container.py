"""A job from inside its container: the function is called, its progress and its outcome are told.

Output is cleaned of secrets before it leaves the container, also that of programs the job starts.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from slipway.errors import Misconfigured
from slipway.platforms.local.generations import walk
from slipway.platforms.modal import handles
from slipway.platforms.outcomes import imported, outcome
from slipway.platforms.placeholders import expand
from slipway.platforms.port import JobContext, Progress
from slipway.redact import redact_text

TOLD_LINES: Final = 15
RECENT: Final = 100
"""So many of the last reports are there to be read; whoever looks at least this often misses none."""

_TELL_EVERY_S: Final = 0.05


def run_job(document: str) -> str:
    """Run a job to its end.

    Args:
        document: `{"job": …, "job_id": …}` as JSON; text, for it is read by another version of Python, perhaps.

    Returns:
        The outcome as JSON, with the last lines that were printed.
    """
    order = json.loads(document)
    job = order["job"]
    secrets = [os.environ[name] for name in job["secrets"]]
    with cleaned_output(secrets) as lines, Reporter(order["job_id"]) as reporter:
        result = outcome(lambda: _call(job, reporter.report))
    text = json.dumps({**result, "lines": list(lines)})
    for secret in secrets:
        text = text.replace(json.dumps(secret)[1:-1], "[redacted]")
    return text


def _call(job: dict[str, Any], report: Callable[[Progress], None]) -> Any:
    mounts = {mount["name"]: ContainerVolume(**mount) for mount in job["mounts"]}
    known = {name: str(mounted.path) for name, mounted in mounts.items()} | {"python": sys.executable}
    os.environ |= expand(job["env"], known)
    arguments = expand(job["arguments"], known)
    return imported(job["function"])(JobContext(mounts, report), **arguments)


class ContainerVolume:
    """The port's `MountedVolume`: Modal's mount, which is a snapshot until it is reloaded.

    What is written is also committed by Modal itself, every few seconds and at the container's end.
    """

    def __init__(self, name: str, volume: str, *, read_only: bool) -> None:
        self.path = Path(handles.mount_path(name))
        self._name = volume
        self._read_only = read_only
        self._committed = self._state()

    def commit(self) -> None:
        """Publish what was written below `path`."""
        if self._read_only:
            raise Misconfigured(f"{self.path} is mounted read-only.", remedy="Mount it for writing to commit.")
        _in_words(f"committing volume {self._name}", handles.volume(self._name).commit)
        self._committed = self._state()

    def reload(self) -> None:
        """See what others have committed since."""
        if not self._read_only and (changed := self._committed.items() ^ self._state().items()):
            raise Misconfigured(
                f"{self.path} has uncommitted changes, for example in {min(changed)[0]}.",
                remedy="Commit before reloading.",
            )
        _in_words(f"reloading volume {self._name}", handles.volume(self._name).reload)
        self._committed = self._state()

    def _state(self) -> dict[str, tuple[int, int]]:
        if self._read_only:
            return {}
        return {file: (status.st_size, status.st_mtime_ns) for file, status in walk(self.path).items()}


def _in_words(doing: str, act: Callable[[], None]) -> None:
    """The client raises `RuntimeError` where a volume is busy or its commit conflicts."""
    from slipway.platforms.modal.errors import translated  # noqa: PLC0415  # most jobs start the faster without

    try:
        with translated(doing):
            act()
    except RuntimeError as error:
        raise Misconfigured(
            f"Modal refuses: {error}.", remedy="Close every file of the volume first; run again if another job wrote."
        ) from error


class Reporter:
    """Tells progress through the Dict, from a thread of its own: a job does not wait for the network.

    One entry, always the newest reports with their running number, so that it can be read at any time, by
    anybody, and never grows.
    """

    def __init__(self, job_id: str) -> None:
        self._key = progress_key(job_id)
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self._count = self._told = 0
        self._changed = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._changed.set()
        self._thread.join()

    def report(self, progress: Progress) -> None:
        """The job's sink."""
        self._recent.append(asdict(progress))
        self._count += 1
        self._changed.set()

    def _run(self) -> None:
        while not self._over.is_set():
            self._changed.wait()
            self._changed.clear()
            self._tell()
            self._over.wait(_TELL_EVERY_S)
        self._tell()

    def _tell(self) -> None:
        count, recent = self._count, list(self._recent)
        if count > self._told:
            with suppress(Exception):  # whatever the client raises: progress must not end a job
                handles.state().put(self._key, {"count": count, "recent": recent})
                self._told = count


def progress_key(job_id: str) -> str:
    """Where the progress of a job is in the Dict."""
    return f"progress/{job_id}"


@contextmanager
def cleaned_output(secrets: Sequence[str]) -> Iterator[deque[str]]:
    """Pass everything that is printed through a pipe that takes secrets out; the last lines.

    Descriptors are replaced, not `sys.stdout`: programs that the job starts inherit them.
    """
    lines: deque[str] = deque(maxlen=TOLD_LINES)
    reading, writing = os.pipe()
    kept = {number: os.dup(number) for number in (1, 2)}
    for number in kept:
        os.dup2(writing, number)
    os.close(writing)
    over = threading.Event()
    thread = threading.Thread(target=_pass_on, args=(reading, kept[1], secrets, lines, over), daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        _restore(kept)
        over.wait(_OUTPUT_S)  # a child that was left behind keeps the pipe open


_OUTPUT_S: Final = 2.0


def _restore(kept: Mapping[int, int]) -> None:
    for number, before in kept.items():
        os.dup2(before, number)


def _pass_on(reading: int, out: int, secrets: Sequence[str], lines: deque[str], over: threading.Event) -> None:
    with os.fdopen(reading, "rb") as printed:
        for line in printed:
            clean = redact_text(line.decode(errors="replace"), secrets)
            lines.append(clean.rstrip("\n"))
            os.write(out, clean.encode())
    over.set()
