"""The job that fetches what is missing of a revision into the weights volume.

A process of its own fetches them, watched by the bytes it writes (`watchdog`).
Files arrive in a directory beside the model's, are sealed (read-only) when whole, and are then moved into
place: the model's directory never holds half a file. What is whole is committed as it goes along, so a sync
that is killed at any moment fetches only the rest when it is run again. Whether the bytes are *right* is not
decided here: `verify` reads them back.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from slipway.errors import Misconfigured, Transient
from slipway.platforms.port import JobContext, MountedVolume, Progress
from slipway.units import show_bytes, show_seconds
from slipway.weights import layout
from slipway.weights.disk import disk_trouble_told
from slipway.weights.fetcher import FetchOrder
from slipway.weights.hub import HubRevision, Transport, token_from
from slipway.weights.manifest import Manifest, ManifestFile
from slipway.weights.ready import withdraw_ready
from slipway.weights.room import require_admission, require_room
from slipway.weights.watchdog import Watch, bytes_there, fetch_watched

PROGRESS_EVERY_S = 0.5
COMMIT_SHARE = 0.1
COMMIT_EVERY_S = 2.0
STALL_S = 300.0


class SyncResult(BaseModel):
    """What a sync did."""

    model_config = ConfigDict(frozen=True)

    files_fetched: int = Field(description="Files downloaded.")
    files_kept: int = Field(description="Files that were there already, with the right size.")
    bytes_fetched: int = Field(description="Size of the files downloaded.")
    restarts: int = Field(0, description="How often the fetch stalled or died, and was started again.")
    seconds: float = Field(description="Wall time, commits included.")


@disk_trouble_told
def sync(
    context: JobContext,
    *,
    manifest: dict[str, Any],
    endpoint: str | None,
    token_env: str | None,
    max_workers: int = 8,
    stall_s: float = STALL_S,
) -> dict[str, Any]:
    """Fetch the manifest's files that are not there with their size; run again, it fetches nothing.

    Args:
        context: With the weights volume mounted for writing as `weights`.
        manifest: What the directory shall hold, as JSON-able data.
        endpoint: Base URL of the Hub; None for the client's default.
        token_env: Environment variable with the token for private and gated repositories.
        max_workers: Files fetched at the same time.
        stall_s: A fetch that writes nothing for as long is started again.

    Returns:
        A `SyncResult` as JSON-able data.

    Raises:
        Misconfigured: If the Hub refuses, or the volume is full or cannot be written.
        Transient: If the network or the Hub fails; what is whole is kept.
    """
    began_s = time.monotonic()
    wanted = Manifest.model_validate(manifest)
    fetched = fetch_missing(
        context,
        wanted,
        endpoint=endpoint,
        token_env=token_env,
        transport="xet",
        max_workers=max_workers,
        stall_s=stall_s,
    )
    return SyncResult(
        files_fetched=len(fetched.files),
        files_kept=len(wanted.files) - len(fetched.files),
        bytes_fetched=sum(file.size_bytes for file in fetched.files),
        restarts=fetched.restarts,
        seconds=time.monotonic() - began_s,
    ).model_dump()


@dataclass(frozen=True, slots=True)
class Fetched:
    """Files that were missing and now are there, and how often the fetch was started again."""

    files: tuple[ManifestFile, ...]
    restarts: int = 0


def fetch_missing(
    context: JobContext,
    wanted: Manifest,
    *,
    endpoint: str | None,
    token_env: str | None,
    transport: Transport,
    max_workers: int,
    stall_s: float,
) -> Fetched:
    """Fetch and commit what is not there with its size; what is whole is committed however it ends.

    Raises:
        Misconfigured: If the Hub refuses, or the volume is full or cannot be written.
        Transient: If the network or the Hub fails.
    """
    mount = context.mounts[layout.MOUNT]
    model_dir = mount.path / layout.model_path(wanted)
    absent = wanted.missing_from(layout.sizes_on_disk(model_dir))
    with _told_to_end():
        try:
            layout.write_sealed(layout.manifest_file(model_dir), wanted.to_json())
            if not absent:
                return Fetched(())
            _discard(model_dir, absent)
            order = FetchOrder(
                repo=wanted.repo,
                commit=wanted.commit,
                endpoint=endpoint,
                token_env=token_env,
                transport=transport,
                max_workers=max_workers,
                files=absent,
                incoming=layout.incoming_dir(model_dir),
                model_dir=model_dir,
            )
            return Fetched(absent, _fetch(context, order, stall_s=stall_s))
        finally:
            mount.commit()


def _fetch(context: JobContext, order: FetchOrder, *, stall_s: float) -> int:
    """Look before a byte moves, fetch, clear away; how often it was started again."""
    before = bytes_there(order, order.files)
    revision = HubRevision(order.repo, order.commit, order.endpoint, token_from(order.token_env))
    require_admission(revision, order.files)
    require_room(order.model_dir, order.files, arrived_bytes=before)
    try:
        restarts = fetch_watched(order, Watch(stall_s, _Reporter(context, order.files, before)))
    except Misconfigured:
        shutil.rmtree(order.incoming)
        raise
    shutil.rmtree(order.incoming)
    return restarts


def _discard(model_dir: Path, files: Sequence[ManifestFile]) -> None:
    """Take away the marker, and what is there in a wrong size: nothing may count it as whole."""
    withdraw_ready(model_dir)
    for file in files:
        (model_dir / file.path).unlink(missing_ok=True)


class _Reporter:
    """Tells of the bytes on disk with rate and time left, and commits now and then."""

    def __init__(self, context: JobContext, files: Sequence[ManifestFile], before: int) -> None:
        self._context = context
        self._files = len(files)
        self._total = sum(file.size_bytes for file in files)
        self._before = before
        self._began_s = time.monotonic()
        self._not_before_s = 0.0
        self._commit_now_and_then = _PacedCommits(context.mounts[layout.MOUNT])

    def __call__(self, done: int) -> None:
        now_s = time.monotonic()
        if now_s >= self._not_before_s or done >= self._total:
            self._not_before_s = now_s + PROGRESS_EVERY_S
            note = f"fetching {self._files} files{self._pace(done, now_s - self._began_s)}"
            self._context.progress(Progress(min(done, self._total), self._total, "bytes", note))
        self._commit_now_and_then()

    def _pace(self, done: int, elapsed_s: float) -> str:
        rate = (done - self._before) / max(elapsed_s, 1e-9)
        if elapsed_s < 1 or rate <= 0:
            return ""
        return f", {show_bytes(rate)}/s, {show_seconds(max(self._total - done, 0) / rate)} left"


class _PacedCommits:
    """Commits as often as a tenth of the time allows: a killed sync loses little, and none is slowed."""

    def __init__(self, mount: MountedVolume) -> None:
        self._mount = mount
        self._not_before_s = time.monotonic() + COMMIT_EVERY_S

    def __call__(self) -> None:
        began_s = time.monotonic()
        if began_s < self._not_before_s:
            return
        # A transfer may take its temporary file away while the platform looks at it, or another commit is first:
        # the next one will do.
        with suppress(FileNotFoundError, Transient):
            self._mount.commit()
        ended_s = time.monotonic()
        self._not_before_s = ended_s + max((ended_s - began_s) * (1 / COMMIT_SHARE - 1), COMMIT_EVERY_S)


@contextmanager
def _told_to_end() -> Iterator[None]:
    """Let SIGTERM end the block as an error does, so that what is whole is committed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except _ToldToEnd:
        raise Transient(
            "The sync was told to end; what is whole was kept.", remedy="Run again: it fetches the rest."
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


class _ToldToEnd(BaseException):
    """No `Exception`: it may come in the middle of a commit, whose own failures are passed over."""


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _ToldToEnd
