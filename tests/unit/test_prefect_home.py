"""A Prefect of one's own: what is started again, and what ends with it: all that it started, and nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from scripts.prefect_home import Home, down
from tests.support.world import wait_until

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


KEEPER = """
import sys
from scripts import prefect_home
prefect_home.PREFECT = (sys.executable, "-c", sys.argv[1])
prefect_home.RESTART_PAUSE_S = 0.05
prefect_home.keep(prefect_home.Home())
"""
PREFECT = """
import http.server, sys, time
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
if sys.argv[1] == "worker":
    time.sleep(600)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Health).serve_forever()
"""
"""Both of Prefect's programs, as far as a keeper sees them."""


@pytest.fixture
def keeper(place: Home) -> Iterator[psutil.Popen]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place.directory.mkdir()
    command = [sys.executable, "-c", KEEPER, PREFECT]
    environment = {**os.environ, "PREFECT_PORT": str(port)}
    with psutil.Popen(command, env=environment, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def child(keeper: psutil.Popen, name: str) -> psutil.Process | None:
    """The server, or the worker, if it runs."""
    for process in keeper.children():
        with suppress(psutil.Error):
            if name in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                return process
    return None


def both(keeper: psutil.Popen) -> list[psutil.Process]:
    """The server and the worker, once they run."""
    wait_until(lambda: all(child(keeper, name) for name in ("server", "worker")), "server and worker")
    return [process for name in ("server", "worker") if (process := child(keeper, name))]


def test_server_and_worker_are_started_again(keeper: psutil.Popen) -> None:
    """The server dies just as the keeper, having missed the worker, asks whether it is up."""
    server, worker = both(keeper)
    server.suspend()
    worker.kill()
    wait_until(lambda: not worker.is_running(), "the worker's end, seen by the keeper")
    server.kill()
    wait_until(lambda: not server.is_running(), "the server's end, seen by the keeper")
    assert not {process.pid for process in both(keeper)} & {server.pid, worker.pid}


def test_they_end_with_a_keeper_that_is_killed(keeper: psutil.Popen) -> None:
    started = both(keeper)
    keeper.kill()
    assert not psutil.wait_procs(started, timeout=30)[1]
