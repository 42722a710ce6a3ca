"""What functions are made of: mounts, images, secrets and environments."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.support.modal_plane.faults import Fault, Faults
from tests.support.modal_plane.names import DEFAULT_ENVIRONMENT, ENVIRONMENTS, Named, content_id, known, new_id
from tests.support.modal_plane.rpc import Caller, not_found, rpc

BUILDER_VERSION: Final = "2025.06"
_ENV_LINE: Final = re.compile(r"^ENV\s+([A-Za-z_][A-Za-z0-9_]*)[= ](.*)$")
_SUCCESS: Final = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)


@dataclass
class Secret:
    values: dict[str, str]
    name: str
    created_at: float = field(default_factory=time.time)

    def metadata(self) -> api_pb2.SecretMetadata:
        info = api_pb2.CreationInfo(created_at=self.created_at, created_by="plane")
        return api_pb2.SecretMetadata(name=self.name, creation_info=info, keys=sorted(self.values))


@dataclass
class Objects:
    """All of them, by id; ids of images, mounts and anonymous secrets follow from their content."""

    faults: Faults
    mounts: Named[list[api_pb2.MountFile]] = field(default_factory=lambda: Named("Mount"))
    images: dict[str, api_pb2.Image] = field(default_factory=dict)
    secrets: Named[Secret] = field(default_factory=lambda: Named("Secret"))
    failed_builds: dict[str, Fault] = field(default_factory=dict)

    @rpc("EnvironmentGetOrCreate")
    async def environment(
        self, request: api_pb2.EnvironmentGetOrCreateRequest, caller: Caller
    ) -> api_pb2.EnvironmentGetOrCreateResponse:
        name = known(request.deployment_name)
        settings = api_pb2.EnvironmentSettings(image_builder_version=BUILDER_VERSION, webhook_suffix="")
        return api_pb2.EnvironmentGetOrCreateResponse(
            environment_id=content_id("en", name.encode()),
            metadata=api_pb2.EnvironmentMetadata(name=name, settings=settings),
        )

    @rpc("EnvironmentCreate")
    async def create_environment(self, request: api_pb2.EnvironmentCreateRequest, caller: Caller) -> Empty:
        ENVIRONMENTS.append(request.name)
        return Empty()

    @rpc("EnvironmentList")
    async def environments(self, request: Empty, caller: Caller) -> api_pb2.EnvironmentListResponse:
        items = [api_pb2.EnvironmentListItem(name=name, default=name == DEFAULT_ENVIRONMENT) for name in ENVIRONMENTS]
        return api_pb2.EnvironmentListResponse(items=items)

    @rpc("MountGetOrCreate")
    async def mount(self, request: api_pb2.MountGetOrCreateRequest, caller: Caller) -> api_pb2.MountGetOrCreateResponse:
        files = list(request.files)
        # The client's own package is a mount of Modal's; containers of the plane have it installed.
        is_global = request.namespace == api_pb2.DEPLOYMENT_NAMESPACE_GLOBAL
        key = request.deployment_name.encode() if request.deployment_name else _listed(files)
        mount_id = content_id("mo", key)
        if is_global or not request.deployment_name:
            self.mounts.by_id.setdefault(mount_id, files)
        else:
            mount_id = self.mounts.get_or_create(
                request.deployment_name,
                request.environment_name,
                request.object_creation_type,
                lambda: (mount_id, files),
            )
        return api_pb2.MountGetOrCreateResponse(
            mount_id=mount_id, handle_metadata=api_pb2.MountHandleMetadata(content_checksum_sha256_hex=mount_id)
        )

    @rpc("SecretGetOrCreate")
    async def secret(
        self, request: api_pb2.SecretGetOrCreateRequest, caller: Caller
    ) -> api_pb2.SecretGetOrCreateResponse:
        values = dict(request.env_dict)
        anonymous = content_id("st", *(f"{key}={value}".encode() for key, value in sorted(values.items())))
        secret_id = self.secrets.get_or_create(
            request.deployment_name,
            request.environment_name,
            request.object_creation_type,
            lambda: (
                new_id("st") if request.deployment_name else anonymous,
                Secret(values, request.deployment_name),
            ),
            overwrite=request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS,
        )
        missing = sorted(set(request.required_keys) - self.secrets.get(secret_id).values.keys())
        if missing:
            raise not_found(f"Secret '{request.deployment_name}' is missing key(s): {', '.join(missing)}")
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret_id, metadata=self.secrets.get(secret_id).metadata())

    @rpc("SecretList")
    async def secret_list(self, request: api_pb2.SecretListRequest, caller: Caller) -> api_pb2.SecretListResponse:
        items = [
            api_pb2.SecretListItem(label=name, secret_id=secret_id, metadata=self.secrets.get(secret_id).metadata())
            for name, secret_id in self.secrets.listed(request.environment_name)
        ]
        return api_pb2.SecretListResponse(items=items, environment_name=known(request.environment_name))

    @rpc("SecretDelete")
    async def secret_delete(self, request: api_pb2.SecretDeleteRequest, caller: Caller) -> Empty:
        self.secrets.delete(request.secret_id)
        return Empty()

    @rpc("ImageGetOrCreate")
    async def image(self, request: api_pb2.ImageGetOrCreateRequest, caller: Caller) -> api_pb2.ImageGetOrCreateResponse:
        image_id = content_id("im", request.image.SerializeToString(deterministic=True))
        fault = self.faults.build_failure()
        if fault is None:
            self.images[image_id] = request.image
        else:
            self.images.pop(image_id, None)
            fault.struck += 1
            self.failed_builds[image_id] = fault
            return api_pb2.ImageGetOrCreateResponse(image_id=image_id)
        return api_pb2.ImageGetOrCreateResponse(image_id=image_id, result=_SUCCESS, metadata=_metadata())

    @rpc("ImageJoinStreaming")
    async def image_build(
        self, request: api_pb2.ImageJoinStreamingRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.ImageJoinStreamingResponse]:
        fault = self.failed_builds.get(request.image_id)
        if fault is None:
            yield api_pb2.ImageJoinStreamingResponse(result=_SUCCESS, entry_id="1", eof=True, metadata=_metadata())
            return
        lines = fault.message.splitlines(keepends=True) or ["error: the build failed\n"]
        logs = [
            api_pb2.TaskLogs(data=line, file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT, timestamp=time.time())
            for line in lines
        ]
        result = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE)
        yield api_pb2.ImageJoinStreamingResponse(task_logs=logs, entry_id="1")
        yield api_pb2.ImageJoinStreamingResponse(result=result, entry_id="2", eof=True)

    @rpc("ImageFromId")
    async def image_from_id(self, request: api_pb2.ImageFromIdRequest, caller: Caller) -> api_pb2.ImageFromIdResponse:
        if request.image_id not in self.images and request.image_id not in self.failed_builds:
            raise not_found(f"Image '{request.image_id}' not found")
        return api_pb2.ImageFromIdResponse(image_id=request.image_id, metadata=_metadata())

    def commands(self, image_id: str) -> list[str]:
        """All Dockerfile lines of an image, its bases' first."""
        image = self.images.get(image_id)
        if image is None:
            return []
        below = [line for base in image.base_images for line in self.commands(base.image_id)]
        return [*below, *(line for line in image.dockerfile_commands if line != "FROM base")]

    def image_env(self, image_id: str) -> dict[str, str]:
        """What the image's ENV lines set."""
        return dict(_env_lines(self.commands(image_id)))

    def secret_env(self, secret_ids: list[str]) -> dict[str, str]:
        """What the secrets set; of one key in two secrets the last wins."""
        return {key: value for secret_id in secret_ids for key, value in self.secrets.get(secret_id).values.items()}


def require_image(objects: Objects, image_id: str) -> None:
    """Refuse a function whose image was never built."""
    if image_id not in objects.images:
        raise GRPCError(Status.FAILED_PRECONDITION, f"Image '{image_id}' has not been built")


def _env_lines(commands: list[str]) -> Iterator[tuple[str, str]]:
    for line in commands:
        if match := _ENV_LINE.match(line):
            value = match[2].strip()
            yield match[1], value[1:-1] if value[:1] == value[-1:] and value[:1] in ("'", '"') else value


def _listed(files: list[api_pb2.MountFile]) -> bytes:
    return b"\n".join(sorted(f"{file.filename} {file.sha256_hex} {file.mode}".encode() for file in files))


def _metadata() -> api_pb2.ImageMetadata:
    return api_pb2.ImageMetadata(python_version_info="Python 3.11.7", image_builder_version=BUILDER_VERSION)
