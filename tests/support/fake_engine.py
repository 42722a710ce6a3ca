"""An engine on command: `python fake_engine.py --port P [--api-key K] [what goes wrong]`.

It speaks the few endpoints that the supervisor and the platforms use. Everything that a real engine does to
them by accident it does on purpose: start slowly, crash, ignore SIGTERM, print its key, be up but not ready.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--api-key", help="required from clients; printed at the start, as SGLang does")
    parser.add_argument("--name", default="engine", help="what it answers with")
    parser.add_argument("--exit-at-start", type=int, help="exit with this status before listening")
    parser.add_argument("--listen-when", type=Path, help="open the port only when this file is there")
    parser.add_argument("--healthy-when", type=Path, help="answer 503 until this file is there")
    parser.add_argument("--empty-answers", action="store_true", help="complete requests without a token")
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument("--say", action="append", default=[], help="print this line at the start")
    parser.add_argument("--hang-when", type=Path, help="complete nothing once this file is there")
    parser.add_argument("--worker", action="store_true", help="answer with the help of a process that obeys SIGTERM")
    parser.add_argument("--child", type=Path, help="start a process that ignores SIGTERM; its pid goes here")
    return parser.parse_args(argv)


class Handler(BaseHTTPRequestHandler):
    """`POST /crash` ends the process; `POST /slow` streams one chunk, and the rest once `release` is there."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    options: argparse.Namespace
    worker: subprocess.Popen[bytes] | None = None

    def do_GET(self) -> None:
        if self.path == "/health":
            until = self.options.healthy_when
            self.answer(200 if until is None or until.exists() else 503, {})
        elif self.path == "/metrics":
            self.answer(
                200, b'sglang:num_running_reqs{rank="0"} 1.0\nsglang:realtime_tokens_total{mode="decode"} 7.0\n'
            )
        elif self.path == "/cwd":
            self.answer(200, {"cwd": str(Path.cwd()), "env": dict(os.environ)})
        else:
            self.answer(200, {"name": self.options.name, "authorised": self.authorised()})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.authorised():
            self.answer(401, {"error": "unauthorised"})
        elif self.path == "/crash":
            say("engine: fatal: told to crash")
            os._exit(7)
        elif self.path == "/slow":
            self.stream_slowly(Path(json.loads(body)["release"]))
        elif (hang := self.options.hang_when) and hang.exists():
            threading.Event().wait()
        else:
            tokens = 0 if self.options.empty_answers else 1
            meta = {"completion_tokens": tokens, "weight_version": self.options.name}
            self.answer(200, {"text": self.options.name, "meta_info": meta})

    def authorised(self) -> bool:
        key = self.options.api_key
        return key is None or self.headers.get("Authorization") == f"Bearer {key}"

    def answer(self, status: int, document: object) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream_slowly(self, release: Path) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.chunk(b"first ")
        wait_for(release)
        broken = self.worker is not None and self.worker.poll() is not None
        self.chunk(b"broken" if broken else self.options.name.encode())
        self.chunk(b"")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # requests under way are finished after SIGTERM
    request_queue_size = 128


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def wait_for(file: Path, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not file.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(file)
        time.sleep(0.01)


def main(argv: list[str]) -> None:
    options = Handler.options = parse(argv)
    say(f"engine: server_args=ServerArgs(port={options.port}, api_key='{options.api_key}')")
    for line in options.say:
        say(line)
    if options.exit_at_start is not None:
        say("engine: fatal: told to exit")
        sys.exit(options.exit_at_start)
    if options.child:
        waiting = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", waiting])
        options.child.write_text(str(child.pid))
    if options.worker:
        Handler.worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if options.listen_when:
        wait_for(options.listen_when)
    server = Server(("0.0.0.0", options.port), Handler)

    def stop(*_: object) -> None:
        if not options.ignore_sigterm:
            threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever(poll_interval=0.02)
    server.server_close()  # waits for requests under way
    say("engine: finished gracefully")


if __name__ == "__main__":
    main(sys.argv[1:])
