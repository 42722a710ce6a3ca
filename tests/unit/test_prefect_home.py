"""What ends with a Prefect of one's own: all of its runs, also those whose worker is gone, and nobody else's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.prefect_home import Home, down

SLEEPS = "print('up', flush=True); import time; time.sleep(600)"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    return Home()


@contextmanager
def process(home: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A process of a session of its own, with these words in its command line."""
    command, environment = [sys.executable, "-c", SLEEPS, *words], {"PREFECT_HOME": str(home)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as started:
        try:
            assert started.stdout
            assert started.stdout.readline() == "up\n"
            yield started
        finally:
            started.kill()


@pytest.mark.parametrize("words", [("-m", "prefect.engine"), ("-m", "prefect.runner._workspace_supervisor", "x.json")])
def test_a_run_whose_worker_was_killed_is_ended(place: Home, words: tuple[str, ...]) -> None:
    with process(place.directory, *words) as run:
        assert down(place)
        assert run.wait(timeout=30) != 0
    assert not down(place)


def test_runs_of_another_home_and_what_a_run_started_are_left_alone(place: Home, tmp_path: Path) -> None:
    """Production is such a process: a run that promoted it has started it."""
    with (
        process(tmp_path / "another", "-m", "prefect.engine") as foreign,
        process(place.directory, "-m", "slipway.platforms.local.worker") as production,
    ):
        assert not down(place)
        assert (foreign.poll(), production.poll()) == (None, None)
