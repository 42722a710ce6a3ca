"""Volumes of both versions, from outside: named, listed, filled, read and emptied. What containers do: `containers`."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.support.modal_plane.blobs import BLOCK_BYTES, Blobs
from tests.support.modal_plane.names import Named, known, new_id
from tests.support.modal_plane.rpc import Caller, not_found, rpc
from tests.support.modal_plane.volume_tree import replace


@dataclass
class Volume:
    """One volume.

    Attributes:
        volume_id: Its id.
        version: 1 or 2, as asked for when it was made.
        files: The committed directory.
        name: Its name; empty for an ephemeral one.
    """

    volume_id: str
    version: int
    files: Path
    name: str
    created_at: float = field(default_factory=time.time)

    def metadata(self) -> api_pb2.VolumeMetadata:
        info = api_pb2.CreationInfo(created_at=self.created_at, created_by="plane")
        return api_pb2.VolumeMetadata(version=self.version, name=self.name, creation_info=info)

    def inside(self, path: str) -> Path:
        """A path of the volume, on disk; refuses one that leaves it."""
        parts = PurePosixPath("/", path).parts[1:]
        if ".." in parts:
            raise GRPCError(Status.INVALID_ARGUMENT, f"path {path!r} leaves the volume")
        return self.files.joinpath(*parts)


class Volumes:
    def __init__(self, root: Path, blobs: Blobs) -> None:
        self.root = root
        self.blobs = blobs
        self.named: Named[Volume] = Named("Volume")

    def make(self, name: str, version: int) -> tuple[str, Volume]:
        volume_id = new_id("vo")
        files = self.root / volume_id
        files.mkdir(parents=True)
        return volume_id, Volume(volume_id, version or api_pb2.VOLUME_FS_VERSION_V1, files, name)

    @rpc("VolumeGetOrCreate")
    async def get_or_create(
        self, request: api_pb2.VolumeGetOrCreateRequest, caller: Caller
    ) -> api_pb2.VolumeGetOrCreateResponse:
        volume_id = self.named.get_or_create(
            request.deployment_name,
            request.environment_name,
            request.object_creation_type,
            lambda: self.make(request.deployment_name, request.version),
        )
        volume = self.named.get(volume_id)
        return api_pb2.VolumeGetOrCreateResponse(
            volume_id=volume_id, version=volume.version, metadata=volume.metadata()
        )

    @rpc("VolumeGetById")
    async def get_by_id(self, request: api_pb2.VolumeGetByIdRequest, caller: Caller) -> api_pb2.VolumeGetByIdResponse:
        volume = self.named.get(request.volume_id)
        return api_pb2.VolumeGetByIdResponse(volume_id=volume.volume_id, metadata=volume.metadata())

    @rpc("VolumeHeartbeat")
    async def heartbeat(self, request: api_pb2.VolumeHeartbeatRequest, caller: Caller) -> Empty:
        return Empty()

    @rpc("VolumeDelete")
    async def delete(self, request: api_pb2.VolumeDeleteRequest, caller: Caller) -> Empty:
        self.named.delete(request.volume_id)
        return Empty()

    @rpc("VolumeList")
    async def list(self, request: api_pb2.VolumeListRequest, caller: Caller) -> api_pb2.VolumeListResponse:
        items = [
            api_pb2.VolumeListItem(
                label=name,
                volume_id=volume_id,
                created_at=self.named.get(volume_id).created_at,
                metadata=self.named.get(volume_id).metadata(),
            )
            for name, volume_id in self.named.listed(request.environment_name)
        ]
        return api_pb2.VolumeListResponse(items=items, environment_name=known(request.environment_name))

    @rpc("VolumePutFiles")
    async def put_files(self, request: api_pb2.VolumePutFilesRequest, caller: Caller) -> Empty:
        volume = self.named.get(request.volume_id)
        targets = [volume.inside(file.filename) for file in request.files]
        _refuse_overwriting(targets, refused=request.disallow_overwrite_existing_files)
        for file, target in zip(request.files, targets, strict=True):
            replace(self.blobs.content(file.sha256_hex), target)
        return Empty()

    @rpc("VolumePutFiles2")
    async def put_files2(
        self, request: api_pb2.VolumePutFiles2Request, caller: Caller
    ) -> api_pb2.VolumePutFiles2Response:
        volume = self.named.get(request.volume_id)
        missing = [
            api_pb2.VolumePutFiles2Response.MissingBlock(
                file_index=i, block_index=j, put_url=f"{self.blobs.url}/block/{block.contents_sha256.hex()}"
            )
            for i, file in enumerate(request.files)
            for j, block in enumerate(file.blocks)
            if not self.blobs.content(block.contents_sha256.hex()).exists()
        ]
        if missing:
            return api_pb2.VolumePutFiles2Response(missing_blocks=missing)
        targets = [volume.inside(file.path) for file in request.files]
        _refuse_overwriting(targets, refused=request.disallow_overwrite_existing_files)
        for file, target in zip(request.files, targets, strict=True):
            self._assemble(file, target)
        return api_pb2.VolumePutFiles2Response()

    def _assemble(self, file: Any, target: Path) -> None:
        """Put the blocks together; what a block leaves out at its end is zeros."""
        fresh = self.root / new_id("up")
        with fresh.open("wb") as out:
            for index, block in enumerate(file.blocks):
                out.seek(index * BLOCK_BYTES)
                out.write(self.blobs.content(block.contents_sha256.hex()).read_bytes())
            out.truncate(file.size)
        replace(fresh, target)
        fresh.unlink()

    @rpc("VolumeListFiles")
    async def list_files(
        self, request: api_pb2.VolumeListFilesRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.VolumeListFilesResponse]:
        yield api_pb2.VolumeListFilesResponse(entries=self._entries(request))

    @rpc("VolumeListFiles2")
    async def list_files2(
        self, request: api_pb2.VolumeListFiles2Request, caller: Caller
    ) -> AsyncIterator[api_pb2.VolumeListFiles2Response]:
        yield api_pb2.VolumeListFiles2Response(entries=self._entries(request))

    def _entries(self, request: Any) -> list[api_pb2.FileEntry]:
        volume = self.named.get(request.volume_id)
        top = volume.inside(request.path)
        if not top.exists():
            raise not_found(f"path {request.path!r} not found in volume")
        found = [top] if top.is_file() else sorted(top.rglob("*") if request.recursive else top.iterdir())
        return list(_described(volume.files, found))

    @rpc("VolumeGetFile2")
    async def get_file(self, request: api_pb2.VolumeGetFile2Request, caller: Caller) -> api_pb2.VolumeGetFile2Response:
        path = self.named.get(request.volume_id).inside(request.path)
        if not path.is_file():
            raise not_found(f"file {request.path!r} not found in volume")
        size = path.stat().st_size
        length = min(request.len or size, size - request.start)
        urls = self.blobs.block_urls(path, request.start, length)
        return api_pb2.VolumeGetFile2Response(get_urls=urls, size=size, start=request.start, len=length)

    @rpc("VolumeRemoveFile")
    async def remove_file(self, request: api_pb2.VolumeRemoveFileRequest, caller: Caller) -> Empty:
        path = self.named.get(request.volume_id).inside(request.path)
        if not path.exists():
            raise not_found(f"path {request.path!r} not found in volume")
        if path.is_dir() and not request.recursive:
            raise GRPCError(Status.INVALID_ARGUMENT, f"{request.path!r} is a directory; use recursive")
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return Empty()

    @rpc("VolumeRemoveFile2")
    async def remove_file2(self, request: api_pb2.VolumeRemoveFile2Request, caller: Caller) -> Empty:
        return await self.remove_file(request, caller)

    @rpc("VolumeCopyFiles")
    async def copy_files(self, request: api_pb2.VolumeCopyFilesRequest, caller: Caller) -> Empty:
        volume = self.named.get(request.volume_id)
        target = volume.inside(request.dst_path)
        for path in request.src_paths:
            source = volume.inside(path)
            if not source.is_file():
                raise not_found(f"file {path!r} not found in volume")
            replace(source, target / source.name if target.is_dir() else target)
        return Empty()

    @rpc("VolumeCopyFiles2")
    async def copy_files2(self, request: api_pb2.VolumeCopyFiles2Request, caller: Caller) -> Empty:
        return await self.copy_files(request, caller)


def _refuse_overwriting(targets: list[Path], *, refused: bool) -> None:
    existing = [target.name for target in targets if target.exists()]
    if refused and existing:
        raise GRPCError(Status.ALREADY_EXISTS, f"{', '.join(existing)}: already exists, use force")


def _described(root: Path, paths: list[Path]) -> Iterator[api_pb2.FileEntry]:
    for path in paths:
        status = path.lstat()
        kind = api_pb2.FileEntry.DIRECTORY if path.is_dir() else api_pb2.FileEntry.FILE
        yield api_pb2.FileEntry(
            path=str(path.relative_to(root)),
            type=kind,
            mtime=int(status.st_mtime),
            size=0 if path.is_dir() else status.st_size,
        )
