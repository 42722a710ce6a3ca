"""What functions are made of beside images: mounts and secrets; and environments, where all have their names."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from tests.support.modal_plane.names import DEFAULT_ENVIRONMENT, ENVIRONMENTS, Named, content_id, known, new_id
from tests.support.modal_plane.rpc import Caller, not_found, rpc

BUILDER_VERSION: Final = "2025.06"


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
    """All of them, by id; ids of mounts and anonymous secrets follow from their content."""

    mounts: Named[list[api_pb2.MountFile]] = field(default_factory=lambda: Named("Mount"))
    secrets: Named[Secret] = field(default_factory=lambda: Named("Secret"))

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

    def secret_env(self, secret_ids: list[str]) -> dict[str, str]:
        """What the secrets set; of one key in two secrets the last wins."""
        return {key: value for secret_id in secret_ids for key, value in self.secrets.get(secret_id).values.items()}


def _listed(files: list[api_pb2.MountFile]) -> bytes:
    return b"\n".join(sorted(f"{file.filename} {file.sha256_hex} {file.mode}".encode() for file in files))
