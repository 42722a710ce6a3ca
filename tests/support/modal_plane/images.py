"""Images: kept as the client describes them. They are not built, but a build has a log, and can be made to fail."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Final

from modal_proto import api_pb2

from tests.support.modal_plane.faults import Faults
from tests.support.modal_plane.logs import STDOUT, Line, Logs
from tests.support.modal_plane.names import content_id, new_id
from tests.support.modal_plane.objects import BUILDER_VERSION
from tests.support.modal_plane.rpc import Caller, not_found, refuse, rpc

_ENV_LINE: Final = re.compile(r"^ENV\s+([A-Za-z_][A-Za-z0-9_]*)[= ](.*)$")
_BUILDER: Final = content_id("ap", b"builder")
_METADATA: Final = api_pb2.ImageMetadata(python_version_info="Python 3.11.7", image_builder_version=BUILDER_VERSION)
_SUCCESS: Final = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
_FAILURE: Final = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE)


@dataclass(frozen=True, slots=True)
class Build:
    """A build, and where its log is."""

    task_id: str
    lines: list[str]
    started_at: float
    finished_at: float

    def step(self, image_id: str) -> api_pb2.ImageBuildStep:
        step = api_pb2.ImageBuildStep(image_id=image_id, builder_app_id=_BUILDER, builder_task_id=self.task_id)
        step.started_at.FromNanoseconds(int(self.started_at * 1e9))
        step.finished_at.FromNanoseconds(int(self.finished_at * 1e9))
        return step


@dataclass
class Images:
    """All images by id, which follows from their content; and their builds, the failed ones too."""

    faults: Faults
    logs: Logs
    by_id: dict[str, api_pb2.Image] = field(default_factory=dict)
    builds: dict[str, Build] = field(default_factory=dict)

    def require(self, image_id: str) -> None:
        """Refuse a function whose image was never built."""
        if image_id not in self.by_id:
            raise refuse(f"Image '{image_id}' has not been built")

    def commands(self, image_id: str) -> list[str]:
        """All Dockerfile lines of an image, its bases' first."""
        image = self.by_id.get(image_id)
        if image is None:
            return []
        below = [line for base in image.base_images for line in self.commands(base.image_id)]
        return [*below, *(line for line in image.dockerfile_commands if line != "FROM base")]

    def env(self, image_id: str) -> dict[str, str]:
        """What the image's ENV lines set."""
        return dict(_env_lines(self.commands(image_id)))

    @rpc("ImageGetOrCreate")
    async def create(
        self, request: api_pb2.ImageGetOrCreateRequest, caller: Caller
    ) -> api_pb2.ImageGetOrCreateResponse:
        image_id = content_id("im", request.image.SerializeToString(deterministic=True))
        if fault := self.faults.build_failure():
            fault.struck += 1
            self.by_id.pop(image_id, None)
            self._build(image_id, fault.message.splitlines(keepends=True))
            return api_pb2.ImageGetOrCreateResponse(image_id=image_id)
        if image_id not in self.by_id:
            self._build(image_id, [f"=> {line}\n" for line in request.image.dockerfile_commands])
        self.by_id[image_id] = request.image
        return api_pb2.ImageGetOrCreateResponse(image_id=image_id, result=_SUCCESS, metadata=_METADATA)

    def _build(self, image_id: str, lines: list[str]) -> None:
        started_at, task_id = time.time(), new_id("ta")
        for line in lines:
            self.logs.add(Line(line, STDOUT, _BUILDER, "", task_id))
        self.builds[image_id] = Build(task_id, lines, started_at, time.time() + 0.001)

    @rpc("ImageJoinStreaming")
    async def join(
        self, request: api_pb2.ImageJoinStreamingRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.ImageJoinStreamingResponse]:
        if request.image_id in self.by_id:
            yield api_pb2.ImageJoinStreamingResponse(result=_SUCCESS, entry_id="1", eof=True, metadata=_METADATA)
            return
        printed = [api_pb2.TaskLogs(data=line, file_descriptor=STDOUT) for line in self.builds[request.image_id].lines]
        yield api_pb2.ImageJoinStreamingResponse(task_logs=printed, entry_id="1")
        yield api_pb2.ImageJoinStreamingResponse(result=_FAILURE, entry_id="2", eof=True)

    @rpc("ImageBuildChainGet")
    async def build_chain(
        self, request: api_pb2.ImageBuildChainGetRequest, caller: Caller
    ) -> api_pb2.ImageBuildChainGetResponse:
        build = self.builds.get(request.image_id)
        return api_pb2.ImageBuildChainGetResponse(build_steps=[build.step(request.image_id)] if build else [])

    @rpc("ImageFromId")
    async def from_id(self, request: api_pb2.ImageFromIdRequest, caller: Caller) -> api_pb2.ImageFromIdResponse:
        if request.image_id not in self.builds:
            raise not_found(f"Image '{request.image_id}' not found")
        return api_pb2.ImageFromIdResponse(image_id=request.image_id, metadata=_METADATA)


def _env_lines(commands: list[str]) -> Iterator[tuple[str, str]]:
    for line in commands:
        if match := _ENV_LINE.match(line):
            value = match[2].strip()
            yield match[1], value[1:-1] if value[:1] == value[-1:] and value[:1] in ("'", '"') else value
