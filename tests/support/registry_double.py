"""An image registry on loopback: tokens, indexes, manifests and blobs as registries have them, and faults on order."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TOKEN = "t0ken"


@dataclass(frozen=True)
class Reply:
    """One answer; `hang` sends the headers and then nothing, until the double is closed."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False


@dataclass(frozen=True)
class Request:
    method: str
    host: str
    path: str
    query: Mapping[str, list[str]]
    authorization: str | None
    accept: str


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


class RegistryDouble:
    """What it holds, what it was asked, and what it does wrong next.

    Attributes:
        address: `host:port`, to be written before an image's name.
        seen: Requests, in order.
        faults: Replies that are given instead of the right ones, first to last.
        scheme: None, `Bearer` or `Basic`: what it asks for before it answers.
        account: Who may have a token; None: everybody.
        tells_digest: Whether answers have the digest in their header.
    """

    def __init__(self, port: int, closed: threading.Event) -> None:
        self.address = f"127.0.0.1:{port}"
        self.elsewhere = f"localhost:{port}"
        self.seen: list[Request] = []
        self.faults: deque[Reply] = deque()
        self.scheme: str | None = None
        self.account: tuple[str, str] | None = None
        self.tells_digest = True
        self.closed = closed
        self._manifests: dict[str, Reply] = {}
        self._blobs: dict[str, bytes] = {}

    def publish(self, tag: str, *, systems: tuple[str, ...] = ("linux/arm64", "linux/amd64"), salt: str = "") -> str:
        """An index with a manifest a system; its digest, which the tag then names."""
        entries = []
        for system in systems:
            name, _, architecture = system.partition("/")
            digest = self._manifest(name, architecture, salt)
            entries.append(
                {"mediaType": MANIFEST, "digest": digest, "platform": {"os": name, "architecture": architecture}}
            )
        return self._store(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, tag)

    def publish_single(self, tag: str, *, system: str = "linux/amd64") -> str:
        """A manifest without an index; its digest."""
        name, _, architecture = system.partition("/")
        digest = self._manifest(name, architecture, "")
        self._manifests[tag] = self._manifests[digest]
        return digest

    def amd64_in(self, tag: str) -> str:
        entries = json.loads(self._manifests[tag].body)["manifests"]
        return next(str(e["digest"]) for e in entries if e["platform"]["architecture"] == "amd64")

    def manifest(self, tag: str) -> Reply:
        """What is answered for a tag."""
        return self._manifests[tag]

    def _manifest(self, name: str, architecture: str, salt: str) -> str:
        config = json.dumps({"os": name, "architecture": architecture, "salt": salt}).encode()
        self._blobs[digest_of(config)] = config
        return self._store(MANIFEST, {"schemaVersion": 2, "config": {"digest": digest_of(config)}})

    def _store(self, media_type: str, document: object, tag: str | None = None) -> str:
        body = json.dumps(document).encode()
        digest = digest_of(body)
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        for name in filter(None, (tag, digest)):
            self._manifests[name] = Reply(200, body, headers)
        return digest

    def answer(self, request: Request) -> Reply:
        self.seen.append(request)
        if self.faults:
            return self.faults.popleft()
        if request.path == "/token":
            return self._token(request)
        if self.scheme is not None and request.authorization not in self._accepted():
            return Reply(401, b"{}", {"WWW-Authenticate": self._challenge()})
        return self._held(request)

    def _held(self, request: Request) -> Reply:
        *_, kind, name = request.path.split("/")
        if kind == "blobs" and name in self._blobs:
            return Reply(200, self._blobs[name], {"Content-Type": "application/octet-stream"})
        found = self._manifests.get(name) if kind == "manifests" else None
        if found is None:
            return Reply(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', {"Content-Type": "application/json"})
        if self.tells_digest:
            return found
        return Reply(200, found.body, {"Content-Type": found.headers["Content-Type"]})

    def _token(self, request: Request) -> Reply:
        if self.account and request.authorization != self._basic():
            return Reply(401, b"{}")
        return Reply(200, json.dumps({"token": TOKEN}).encode(), {"Content-Type": "application/json"})

    def _challenge(self) -> str:
        if self.scheme == "Basic":
            return 'Basic realm="here"'
        return f'Bearer realm="http://{self.address}/token",service="registry",scope="repository:org/engine:pull"'

    def _accepted(self) -> set[str]:
        return {self._basic()} if self.scheme == "Basic" else {f"Bearer {TOKEN}"}

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(":".join(self.account or ("", "")).encode()).decode()


@contextmanager
def registry_double() -> Iterator[RegistryDouble]:
    """A registry that is there for the block."""
    closed = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.double = double = RegistryDouble(server.server_port, closed)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        closed.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        double: RegistryDouble = self.server.double  # type: ignore[attr-defined]
        reply = double.answer(
            Request(
                self.command,
                self.headers["Host"],
                parts.path,
                parse_qs(parts.query),
                self.headers["Authorization"],
                self.headers["Accept"],
            )
        )
        self.send_response(reply.status)
        length = len(reply.body) + (1 if reply.hang else 0)
        for name, value in {"Content-Length": str(length), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self.wfile.write(reply.body)
            self.wfile.flush()
        except OSError:
            return
        if reply.hang:
            double.closed.wait(60)
            self.close_connection = True

    do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

    def log_message(self, *_: object) -> None:
        pass
