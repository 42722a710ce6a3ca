"""Readiness against SGLang's recorded answers: never before `/health` is 200, whatever `/v1/models` says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from slipway.engine.readiness import Target, wait_ready
from slipway.errors import Crashed

RECORDED = Path(__file__).parents[1] / "fixtures" / "sglang"
GENERATED = (RECORDED / "generate.body").read_bytes()
SPEED = 100.0  # a recorded second passes in 10 ms


class Replay:
    """Answers as a recorded start did, faster; counts what it was asked."""

    def __init__(self, name: str) -> None:
        document = json.loads((RECORDED / "logs" / f"ready-{name}.json").read_text())
        self.models_s, self.health_s = (
            next(at for at, seen in document["transitions"] if seen[path] == 200) / SPEED
            for path in ("/v1/models", "/health")
        )
        self.began_s = 0.0
        self.asked: list[str] = []
        self.prompts: list[dict[str, Any]] = []

    def status(self, path: str) -> int:
        self.asked.append(path)
        return 200 if time.monotonic() - self.began_s >= self.health_s or path == "/v1/models" else 503


@contextmanager
def serve(replay: Replay) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(replay.status(self.path), b"")

        def do_POST(self) -> None:
            replay.prompts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(replay.status(self.path), GENERATED)

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.server_bind()
    replay.began_s = time.monotonic()

    def open_later() -> None:
        time.sleep(replay.models_s)
        server.server_activate()
        server.serve_forever(0.01)

    thread = threading.Thread(target=open_later)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        time.sleep(max(0.0, replay.began_s + replay.models_s + 0.05 - time.monotonic()))
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cold", "warm", "ported"])
def test_never_ready_before_health_is(name: str) -> None:
    replay = Replay(name)
    with serve(replay) as port:
        timings_s = wait_ready(Target(port, None), timeout_s=60, tell=lambda _: None)
        ready_s = time.monotonic() - replay.began_s
    assert ready_s >= replay.health_s > replay.models_s
    assert timings_s["load"] >= replay.models_s - 0.05
    assert "/v1/models" not in replay.asked
    assert replay.asked[-1] == "/generate"  # and one inference, after `/health`


def test_never_ready_at_all_is_told() -> None:
    replay = Replay("ported")
    replay.health_s = 1e9
    with serve(replay) as port, pytest.raises(Crashed, match="/health answered HTTP 503"):
        wait_ready(Target(port, None), timeout_s=1.5, tell=lambda _: None)


def test_a_long_prompt_is_answered_before_it_is_ready() -> None:
    """Up to 2,048 tokens SGLang takes other kernels; a replica that nobody warms up must have run both."""
    replay, told = Replay("warm"), []
    with serve(replay) as port:
        wait_ready(Target(port, None), timeout_s=60, tell=told.append, prompt_tokens=2304)
    first, *_, long = replay.prompts
    assert "text" in first
    assert len(long["input_ids"]) == 2304
    assert set(long["input_ids"]) <= set(range(100, 200)), "ids that the miniature's vocabulary of 288 has"
    assert long["sampling_params"]["temperature"] == 1.0
    assert "2,304 tokens" in told[-1]
