"""A small app that uses everything the plane has, for the plane's own tests.

`TINY_RELEASE` at deploy time names the release; `TINY_START_S` is how long its server takes to start.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import modal

RELEASE = os.environ.get("TINY_RELEASE", "r1")
START_S = os.environ.get("TINY_START_S", "0")

app = modal.App("tiny")
image = modal.Image.from_registry("docker.io/lmsysorg/sglang@sha256:" + "a" * 64).entrypoint([])
image = image.env({"RELEASE": RELEASE, "START_S": START_S})
data = modal.Volume.from_name("data", create_if_missing=True)
weights = modal.Volume.from_name("weights", create_if_missing=True, version=2)
secret = modal.Secret.from_name("key")

HELD = []
SERVER = """
import http.server, os, sys, time
time.sleep(float(os.environ["START_S"]))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/die":
            os.kill(os.getppid(), 9)
        lines = 3 if self.path == "/stream" else 1
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(lines):
            body = (os.environ["RELEASE"] + "\\n").encode()
            self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(body), body)); self.wfile.flush()
        self.wfile.write(b"0\\r\\n\\r\\n")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(float(self.headers.get("Wait", 0)))
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer((sys.argv[1], 8000), Handler).serve_forever()
"""


@app.cls(
    image=image,
    gpu="B200:8",
    cpu=4.0,
    memory=8192,
    volumes={
        "/data": data,
        "/weights": weights.with_mount_options(read_only=True, sub_path="rev1"),
    },
    secrets=[secret],
    min_containers=0,
    max_containers=3,
    scaledown_window=900,
    timeout=86400,
    startup_timeout=1800,
)
@modal.concurrent(max_inputs=20, target_inputs=20)
class Serve:
    @modal.enter()
    def reload(self):
        data.reload()

    @modal.web_server(8000, startup_timeout=1200)
    def serve(self):
        subprocess.Popen([sys.executable, "-c", SERVER, "0.0.0.0"])

    @modal.exit()
    def leave(self):
        sys.stdout.write("left in good order\n")


@app.function(image=image)
@modal.concurrent(max_inputs=2)
@modal.web_server(8000, startup_timeout=1.5)
def bound_to_loopback():
    subprocess.Popen([sys.executable, "-c", SERVER, "127.0.0.1"])


@app.function(image=image, volumes={"/data": data, "/weights": weights}, secrets=[secret], timeout=120)
def act(steps):
    """Do what the test says, in order; returns what was seen."""
    seen = []
    for step, *arguments in steps:
        seen.append(ACTS[step](*arguments))
    return seen


def hold_open(path):
    HELD.append(os.open(path, os.O_RDONLY))


def child(path):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    Path(path).write_text(str(process.pid))


def wait_for(path):
    while not Path(path).exists():
        time.sleep(0.02)


ACTS = {
    "write": lambda path, text: Path(path).write_text(text) and None,
    "read": lambda path: Path(path).read_text() if Path(path).exists() else None,
    "list": lambda path: sorted(entry.name for entry in Path(path).iterdir()),
    "remove": lambda path: Path(path).unlink(),
    "touch": lambda path: Path(path).touch(),
    "wait_for": wait_for,
    "commit": data.commit,
    "reload": data.reload,
    "hold_open": hold_open,
    "env": os.environ.get,
    "print": lambda text: sys.stdout.write(f"{text}\n") and None,
    "child": child,
    "exit": os._exit,
    "import": lambda name: __import__(name) and None,
}


@app.function(image=image, retries=modal.Retries(max_retries=2, initial_delay=0.0, backoff_coefficient=1.0))
def fails_until(path, attempts):
    tries = int(Path(path).read_text()) + 1 if Path(path).exists() else 1
    Path(path).write_text(str(tries))
    if tries < attempts:
        raise ValueError(f"attempt {tries}")
    return tries


@app.function(image=image, timeout=1, startup_timeout=60)
def too_slow():
    time.sleep(60)


@app.function(image=image, max_containers=2)
def square(number):
    return number * number
