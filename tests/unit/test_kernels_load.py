"""The load of a first start, against a server whose tokenizer makes a token of each character."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from slipway.engine.readiness import Target
from slipway.errors import Crashed
from slipway.kernels.load import run_load

CONTEXT_TOKENS = 4096


class Server(ThreadingHTTPServer):
    """Answers chats whose prompts fit; `prompts` are all it was sent."""

    request_queue_size = 64
    most_tokens = CONTEXT_TOKENS

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.prompts: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (message,) = body["messages"]
        tokens = len(message["content"])
        self.server.prompts.append(message["content"])
        document = {"usage": {"prompt_tokens": min(tokens, self.server.most_tokens)}}
        answer = b"data: [DONE]\n\n" if body.get("stream") else json.dumps(document).encode()
        self.send_response(200 if tokens <= CONTEXT_TOKENS else 400)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def load(server: Server, *lengths: int) -> dict[str, float]:
    target = Target(server.server_address[1], None)
    until_s = time.monotonic() + 60
    return run_load(target, model="m", lengths=lengths, concurrency=4, deadline_s=until_s, tell=lambda _: None)


def test_lengths_are_reached_whatever_a_word_has_of_tokens() -> None:
    with serving() as server:
        steps = load(server, 64, 2560)
        assert {"64 tokens", "2560 tokens", "burst of 2", "burst of 4"} <= steps.keys()
        for length in (64, 2560):
            reached = [prompt for prompt in server.prompts if f"length {length}" in prompt and len(prompt) >= length]
            assert [len(prompt) <= 1.2 * length + 16 for prompt in reached] == [True]


def test_no_try_is_a_prefix_of_a_later_one() -> None:
    with serving() as server:
        load(server, 2560)
        tries = [prompt for prompt in server.prompts if "length 2560" in prompt]
        assert len(tries) > 1
        assert len({prompt[:16] for prompt in tries}) == len(tries)


def test_a_length_that_is_never_counted_is_an_error() -> None:
    with serving() as server:
        server.most_tokens = 100
        with pytest.raises(Crashed, match=r"could be made|HTTP 400"):
            load(server, 2560)
