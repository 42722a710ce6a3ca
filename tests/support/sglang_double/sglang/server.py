"""The server: its start as the log shows it, and the few endpoints that are asked."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sglang import kernels
from sglang.kernels import FAULT, log, say

TRACEBACK = (
    'Scheduler hit an exception: Traceback (most recent call last):\n  File "/opt/site/sglang/srt/managers/'
    'scheduler.py", line 4030, in run_scheduler_process\n    scheduler = Scheduler(\n'
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--api-key")
    parser.add_argument("--timeout", type=int, default=3600)
    options, _ = parser.parse_known_args()
    if FAULT == "refused":
        options.api_key = "a key of its own"
    return options


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    key: str | None = None
    healthy = False
    running = 0
    most = 0
    lock = threading.Lock()

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200 if Handler.healthy else 503, b"")
        elif self.path == "/metrics":
            self.answer(200, b"sglang:num_running_reqs 0.0\n")
        else:
            self.answer(200 if self.allowed() else 401, b'{"object":"list","data":[]}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            self.answer(401, b"{}")
            return
        with Handler.lock:
            Handler.running += 1
        text = " ".join(m["content"] for m in body.get("messages", ())) or body.get("text", "")
        until_s = time.monotonic() + 5
        burst = re.match(r"burst of (\d+)", text)
        while burst and Handler.most < int(burst[1]) and time.monotonic() < until_s:
            Handler.most = max(Handler.most, Handler.running)  # a burst runs together, however busy the machine
            time.sleep(0.01)
        tokens = len(text.split()) * 3 // 4 + 8  # fewer than words: whoever wants a length must look
        if FAULT == "no-long-prompts" and tokens > 1000:
            self.answer(400, b'{"object":"error","message":"Input length exceeds the limit."}')
            return
        sampled = (body.get("temperature") or 0) > 0
        with Handler.lock:  # one scheduler compiles, as in the original
            kernels.request(tokens=tokens, sampled=sampled, running=Handler.most)
            Handler.running -= 1
        usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
        if body.get("stream"):
            self.answer(200, b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n')
        else:
            self.answer(200, json.dumps({"usage": usage, "meta_info": {"completion_tokens": 1}}).encode())

    def allowed(self) -> bool:
        return self.key is None or self.headers.get("Authorization") == f"Bearer {self.key}"

    def answer(self, status: int, body: bytes) -> None:
        log(f'INFO:     127.0.0.1:1 - "{self.command} {self.path} HTTP/1.1" {status} {"OK" if status == 200 else "No"}')
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


def serve(*, precompiling: bool) -> None:
    """Start and serve until killed."""
    options = parse()
    log(f"server_args=ServerArgs(model_path='{options.model_path}', api_key='{options.api_key}', port={options.port})")
    try:
        start(precompiling=precompiling)
    except (RuntimeError, OSError) as error:
        log(f"{TRACEBACK}{type(error).__name__}: {error}\n")
        log("Received sigquit from a child process. It usually means the child failed.")
        sys.stderr.flush()
        os._exit(247)
    Handler.key = options.api_key
    log(f"INFO:     Started server process [{os.getpid()}]")
    if precompiling:
        log("Running warmup compile-deep-gemm")
        say("\nGenerate warm up request for compiling DeepGEMM...\n\n")
        shapes(serving=False)
    server = Server(("0.0.0.0", options.port), Handler)
    log(f"INFO:     Uvicorn running on http://127.0.0.1:{options.port} (Press CTRL+C to quit)")
    threading.Thread(target=become_healthy).start()
    server.serve_forever(0.02)


def start(*, precompiling: bool) -> None:
    log("Init torch distributed begin.")
    log("Load weight begin. avail mem=78.48 GB")
    say("\rMulti-thread loading shards:  50% Completed | 3/6 [00:01<00:01,  1.75it/s]\n")
    log("Load weight end. elapsed=3.47 s, type=GlmMoeDsaForCausalLM, quant=fp8, avail mem=77.19 GB")
    if FAULT == "start-fails" and not precompiling:
        raise RuntimeError("Not enough memory. Please try to increase --mem-fraction-static. ")
    log("Memory pool end. avail mem=39.28 GB")
    if FAULT == "dead-child":
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")
    if FAULT == "silent-death":
        os._exit(137)
    if FAULT == "disk-full":
        shapes(serving=False)
    if not precompiling:
        log("Capture cuda graph begin. This can take up to several minutes. avail mem=39.18 GB")
        say("\rCapturing batches (bs=48 avail_mem=39.17 GB):   0%|          | 0/23 [00:00<?, ?it/s]")
        shapes(serving=True)
        kernels.graphs()
        log("Capture cuda graph end. Time elapsed: 6.10 s. mem usage=0.18 GB. avail mem=39.00 GB.")


def shapes(*, serving: bool) -> None:
    for number, (n, k) in enumerate(kernels.SHAPES):
        if FAULT == "fewer-shapes" and number == 3:
            continue
        if FAULT == "hang" and number == 1:
            threading.Event().wait()
        kernels.shape(n, k, serving=serving)


def become_healthy() -> None:
    time.sleep(0.2)  # `/v1/models` answers before `/health` does
    Handler.healthy = True
    log("The server is fired up and ready to roll!")


if __name__ == "__main__":
    serve(precompiling=True)
