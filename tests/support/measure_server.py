"""A loopback HTTP server that sends what a script says, step by step, and notes when it sent each step.

A script is made for each request from its JSON body. Its steps are bytes (one `send`), seconds (a pause),
and the ways a stream can go wrong: `CUT` (the connection is reset), `HANG_UP` (it is closed) and `STALL` (nothing
more ever comes). With a TLS context it speaks TLS.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from slipway.measure.workload import ChatRequest


class Fault(Enum):
    CUT = "cut"
    HANG_UP = "hang up"
    STALL = "stall"


CUT, HANG_UP, STALL = Fault.CUT, Fault.HANG_UP, Fault.STALL

Step = bytes | float | Fault
Script = Callable[[dict[str, Any]], Sequence[Step]]


@dataclass
class Served:
    """One request as the server saw it: times of `perf_counter`, one in `sent_s` for each step of bytes.

    `connection` numbers the connections from 0.
    """

    headers: dict[str, str]
    body: dict[str, Any]
    arrived_s: float
    connection: int
    sent_s: list[float] = field(default_factory=list)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, script: Script, security: ssl.SSLContext | None, handshake_pause_s: float, one_at_a_time: bool
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.security = security
        self.handshake_pause_s = handshake_pause_s
        self.turn = threading.Lock() if one_at_a_time else contextlib.nullcontext()
        self.served: list[Served] = []
        self.open: list[socket.socket] = []  # in the order they came; closed ones are kept
        self.ending = threading.Event()
        self.left = threading.Semaphore(0)
        """Released each time a client has closed a connection on which a stream stalled."""

    @property
    def url(self) -> str:
        return f"http{'s' if self.security else ''}://127.0.0.1:{self.server_address[1]}"


class _Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        self.number = len(self.server.open)
        self.server.open.append(self.request)
        if self.server.security:
            time.sleep(self.server.handshake_pause_s)
            self.request = self.server.security.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client gave up, as some tests want it to
            while (served := self._read()) is not None:
                self.server.served.append(served)
                with self.server.turn:
                    good = self._send(served, self.server.script(served.body))
                if not good:
                    return

    def _read(self) -> Served | None:
        if not self.rfile.readline():
            return None
        pairs = (line.decode().split(":", 1) for line in iter(self.rfile.readline, b"\r\n"))
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        return Served(headers, json.loads(body or b"{}"), time.perf_counter(), self.number)

    def _send(self, served: Served, steps: Iterable[Step]) -> bool:
        """Whether the connection is still good."""
        for step in steps:
            if step is CUT:
                # Linger of zero: what was sent may be lost, and the peer gets a reset.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return False
            if step is HANG_UP:
                return False
            if step is STALL:
                self._stall()
                return False
            if isinstance(step, bytes):
                served.sent_s.append(time.perf_counter())
                self.connection.sendall(step)
            else:
                time.sleep(step)
        return True

    def _stall(self) -> None:
        self.connection.settimeout(0.05)
        while not self.server.ending.is_set():
            try:
                gone = not self.connection.recv(1)
            except TimeoutError:
                continue
            except ConnectionError:
                gone = True
            if gone:
                self.server.left.release()
                return

    def finish(self) -> None:
        if self.connection.fileno() >= 0:
            super().finish()


@contextmanager
def serving(
    script: Script,
    *,
    security: ssl.SSLContext | None = None,
    handshake_pause_s: float = 0.0,
    one_at_a_time: bool = False,
) -> Iterator[_Server]:
    """Serve on a free loopback port until the block is left."""
    with _Server(script, security, handshake_pause_s, one_at_a_time) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.ending.set()
            server.shutdown()
            thread.join()


# --- what SGLang writes ------------------------------------------------------------------------------------------

STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


def answer(status: int, body: bytes, content_type: str = "application/json") -> bytes:
    """A whole HTTP answer."""
    return f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def framed(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(delta: dict[str, Any] | None, *, tokens: int | None = None, finish: str | None = None) -> bytes:
    """One chunk of a chat completion; without a delta it is the last one, which carries the usage only."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    document: dict[str, Any] = {"id": "x", "object": "chat.completion.chunk", "choices": choices}
    if tokens is not None:
        document["usage"] = {"prompt_tokens": 11, "completion_tokens": tokens, "total_tokens": 11 + tokens}
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


ROLE = event({"role": "assistant", "content": "", "reasoning_content": None})
DONE = b"data: [DONE]\n\n"


def completion(counts: Sequence[int], *, reasoning: int = 0, usage: bool = True) -> list[bytes]:
    """Events of a whole answer: `counts` tokens so far at each event, the first `reasoning` events of it thoughts."""
    deltas = [
        {"reasoning_content": f"r{n} "} if index < reasoning else {"reasoning_content": None, "content": f"c{n} "}
        for index, n in enumerate(counts)
    ]
    body = [event(delta, tokens=n if usage else None) for delta, n in zip(deltas, counts, strict=True)]
    last = event(None, tokens=counts[-1] if usage else None)
    return [ROLE, *body, event({"reasoning_content": None}, finish="stop"), last, DONE]


def paced(events: Sequence[bytes], pauses_s: Sequence[float]) -> list[Step]:
    """A stream whose role chunk leaves with the first event, and each event after its pause."""
    role, *rest = events
    pauses = [*pauses_s, *[0.0] * (len(rest) - len(pauses_s))]
    steps: list[Step] = [pauses[0], STREAM_HEAD + framed(role) + framed(rest[0])]
    for pause_s, data in zip(pauses[1:], rest[1:], strict=True):
        steps += [pause_s, framed(data)] if pause_s else [framed(data)]
    return [*steps, STREAM_END]


def same(*steps: Step) -> Script:
    """A script that answers each request alike."""
    return lambda _body: steps


# --- what it is asked --------------------------------------------------------------------------------------------


def request(number: int) -> ChatRequest:
    """A request that says its number."""
    return ChatRequest(f"r-{number}", {"messages": [{"role": "user", "content": str(number)}], "stream": True})


def number_of(body: dict[str, Any]) -> int:
    """The number that a request says."""
    return int(body["messages"][0]["content"])
