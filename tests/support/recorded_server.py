"""A server that gives the answers a real SGLang gave: recorded exchanges, replayed over HTTP event by event.

A request that was recorded gets its own answer; one that was recorded several times, these in turn. Another one
gets the first that was recorded of its method and path, as from a server that does not read what it is asked; a path
of which nothing was recorded gets 404.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[1] / "fixtures" / "sglang"


@dataclass(frozen=True)
class Exchange:
    """One request and what came back."""

    name: str

    @cached_property
    def record(self) -> dict[str, Any]:
        return dict(json.loads((RECORDED / f"{self.name}.json").read_text(encoding="utf-8")))

    @cached_property
    def answer(self) -> bytes:
        return (RECORDED / f"{self.name}.body").read_bytes()

    @property
    def method(self) -> str:
        return str(self.record["request"]["method"])

    @property
    def path(self) -> str:
        return str(self.record["request"]["path"])

    @property
    def asked(self) -> Any:
        """The request's JSON body; text where it was none; None without a body."""
        return self.record["request"]["body"]

    def answers(self, method: str, path: str, asked: Any) -> bool:
        """Whether this is what was asked."""
        return (self.method, self.path, self.asked) == (method, path, asked)

    @property
    def status(self) -> int:
        return int(self.record["status"])

    def header(self, name: str) -> str:
        return next((value for key, value in self.record["headers"] if key.lower() == name), "")

    @property
    def streamed(self) -> bool:
        return self.header("content-type").startswith("text/event-stream")

    def pieces(self) -> Iterator[bytes]:
        """The answer in the pieces it arrived in."""
        begin = 0
        for _, size in self.record["chunks"]:
            yield self.answer[begin : begin + size]
            begin += size


def exchanges() -> dict[str, Exchange]:
    """Every recording by name."""
    return {path.stem: Exchange(path.stem) for path in sorted(RECORDED.glob("*.json"))}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._replay("GET")

    def do_POST(self) -> None:
        self._replay("POST")

    def _replay(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        found = self.server.find(method, self.path, body)
        if found is None:
            self.send_error(404)
            return
        self.send_response(found.status)
        if kind := found.header("content-type"):
            self.send_header("content-type", kind)
        self.send_header(
            *(("transfer-encoding", "chunked") if found.streamed else ("content-length", len(found.answer)))
        )
        self.end_headers()
        for piece in found.pieces():
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if found.streamed else piece)
        if found.streamed:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests read what the client saw."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._all = list(exchanges().values())
        self._given: Counter[str] = Counter()

    def find(self, method: str, path: str, body: bytes) -> Exchange | None:
        asked = _read(body)
        if recorded := [each for each in self._all if each.answers(method, path, asked)]:
            first = recorded[0].name
            self._given[first] += 1
            return recorded[(self._given[first] - 1) % len(recorded)]
        return next((each for each in self._all if (each.method, each.path) == (method, path)), None)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode()


@contextmanager
def serving() -> Iterator[str]:
    """The server's base URL, for as long as the block lasts."""
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
