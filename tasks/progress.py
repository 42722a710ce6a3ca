"""A long stage's progress as Prefect shows it: an artifact, brought up to date every few seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from slipway.platforms.port import Progress
from slipway.records.events import StageEvent, observed_by
from tasks import artifacts

EVERY_S = 5.0


@contextmanager
def progress_artifact(key: str) -> Iterator[None]:
    """Keep an artifact on what the block reports of its progress; none for what is over at once."""
    bar = ProgressBar(key)

    def show(event: StageEvent) -> None:
        if event.progress is not None:
            bar.show(event.progress)

    with observed_by(show):
        yield


class ProgressBar:
    """An artifact on how far something is."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._id: UUID | None = None
        self._not_before_s = time.monotonic() + EVERY_S

    def show(self, progress: Progress) -> None:
        """Bring it up to date, unless that was done a moment ago."""
        if not progress.total or time.monotonic() < self._not_before_s:
            return
        percent = min(100 * progress.done / progress.total, 100.0)
        self._id = artifacts.progress(self._key, percent, progress.note, self._id)
        self._not_before_s = time.monotonic() + EVERY_S
