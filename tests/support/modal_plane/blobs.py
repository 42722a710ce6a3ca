"""Bytes that travel over HTTP beside the calls: large arguments, mounted sources, files of volumes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import web
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.support.modal_plane.names import new_id
from tests.support.modal_plane.rpc import Caller, not_found, rpc

BLOCK_BYTES: Final = 8 * 1024 * 1024
"""`modal._utils.blob_utils.BLOCK_SIZE`."""


@dataclass
class Blobs:
    """A content store (by SHA-256), blobs (by id), and ranges of files that may be downloaded.

    Attributes:
        root: Where the content store keeps its files.
        url: Base of the HTTP server, known once it listens.
    """

    root: Path
    url: str = ""
    _blobs: dict[str, Path] = field(default_factory=dict)
    _ranges: dict[str, tuple[Path, int, int]] = field(default_factory=dict)

    def content(self, sha256: str) -> Path:
        """Where the content of that hash is, or would be."""
        return self.root / "content" / sha256

    def store(self, data: bytes, sha256: str) -> None:
        if hashlib.sha256(data).hexdigest() != sha256:
            raise GRPCError(Status.INVALID_ARGUMENT, "content does not have the hash it was announced with")
        path = self.content(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def blob(self, blob_id: str) -> bytes:
        if blob_id not in self._blobs or not self._blobs[blob_id].exists():
            raise not_found(f"blob {blob_id} was never uploaded")
        return self._blobs[blob_id].read_bytes()

    def block_urls(self, path: Path, start: int, length: int) -> Iterator[str]:
        """One URL for every block of a range, cut at multiples of the block size."""
        position, end = start, start + length
        while position < end:
            cut = min(end, (position // BLOCK_BYTES + 1) * BLOCK_BYTES)
            key = new_id("bk")
            self._ranges[key] = (path, position, cut - position)
            yield f"{self.url}/range/{key}"
            position = cut

    def routes(self) -> list[web.RouteDef]:
        return [
            web.put("/blob/{key}", self._put_blob),
            web.get("/blob/{key}", self._get_blob),
            web.put("/block/{sha256}", self._put_block),
            web.get("/range/{key}", self._get_range),
        ]

    async def _put_blob(self, request: web.Request) -> web.Response:
        data = await request.read()
        self._blobs[request.match_info["key"]].write_bytes(data)
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return web.Response(headers={"ETag": f'"{etag}"'})

    async def _get_blob(self, request: web.Request) -> web.Response:
        return web.Response(body=self._blobs[request.match_info["key"]].read_bytes())

    async def _put_block(self, request: web.Request) -> web.Response:
        self.store(await request.read(), request.match_info["sha256"])
        return web.Response(body=b"stored")

    async def _get_range(self, request: web.Request) -> web.Response:
        path, start, length = self._ranges[request.match_info["key"]]
        with path.open("rb") as file:
            file.seek(start)
            return web.Response(body=file.read(length))

    @rpc("BlobCreate")
    async def create(self, request: api_pb2.BlobCreateRequest, caller: Caller) -> api_pb2.BlobCreateResponse:
        blob_id = new_id("bl")
        path = self.root / "blobs" / blob_id
        path.parent.mkdir(parents=True, exist_ok=True)
        self._blobs[blob_id] = path
        return api_pb2.BlobCreateResponse(
            blob_ids=[blob_id], upload_urls=api_pb2.UploadUrlList(items=[f"{self.url}/blob/{blob_id}"])
        )

    @rpc("BlobGet")
    async def get(self, request: api_pb2.BlobGetRequest, caller: Caller) -> api_pb2.BlobGetResponse:
        self.blob(request.blob_id)
        return api_pb2.BlobGetResponse(download_url=f"{self.url}/blob/{request.blob_id}")

    @rpc("MountBatchedCheckExistence")
    async def check(
        self, request: api_pb2.MountBatchedCheckExistenceRequest, caller: Caller
    ) -> api_pb2.MountBatchedCheckExistenceResponse:
        missing = [sha256 for sha256 in request.sha256_hex_hashes if not self.content(sha256).exists()]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    @rpc("MountPutFile")
    async def put_file(self, request: api_pb2.MountPutFileRequest, caller: Caller) -> api_pb2.MountPutFileResponse:
        match request.WhichOneof("data_oneof"):
            case "data":
                self.store(request.data, request.sha256_hex)
            case "data_blob_id":
                self.store(self.blob(request.data_blob_id), request.sha256_hex)
        return api_pb2.MountPutFileResponse(exists=self.content(request.sha256_hex).exists())
