"""The progress artifact: made when a stage takes long, then updated, never for what is over at once."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from slipway.platforms.port import Progress
from slipway.records.events import StageEvent, publish
from tasks import artifacts, progress
from tasks.progress import progress_artifact


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, str]]:
    made: list[tuple[str, float, str]] = []
    artifact = uuid4()

    def create(percent: float, *, key: str, description: str) -> UUID:
        made.append((key, percent, description))
        return artifact

    def update(which: UUID, percent: float, *, description: str) -> None:
        assert which == artifact
        made.append(("again", percent, description))

    monkeypatch.setattr(artifacts, "create_progress_artifact", create)
    monkeypatch.setattr(artifacts, "update_progress_artifact", update)
    return made


def tell(done: float, total: float | None = 8.0) -> None:
    publish(StageEvent("r", "sync weights", "progress", progress=Progress(done, total, "bytes", "3 MiB/s, 5.0 s left")))


def test_a_long_stage_has_one_artifact(calls: list[tuple[str, float, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    with progress_artifact("sync-weights"):
        publish(StageEvent("r", "sync weights", "started"))
        tell(2)
        tell(4, None)
        tell(9)
    tell(8)
    assert calls == [("sync-weights", 25.0, "3 MiB/s, 5.0 s left"), ("again", 100.0, "3 MiB/s, 5.0 s left")]


def test_what_is_over_at_once_has_none(calls: list[tuple[str, float, str]]) -> None:
    with progress_artifact("sync-weights"):
        tell(8)
    assert calls == []
