"""What containers print, kept line by line: fetched by time, counted in buckets, streamed as it comes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from modal_proto import api_pb2

from tests.support.modal_plane.rpc import Caller, rpc

STDOUT: Final = api_pb2.FILE_DESCRIPTOR_STDOUT
STDERR: Final = api_pb2.FILE_DESCRIPTOR_STDERR
SYSTEM: Final = api_pb2.FILE_DESCRIPTOR_INFO
_STREAM_S: Final = 55.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line with where it came from."""

    data: str
    fd: int
    app_id: str
    function_id: str
    task_id: str
    function_call_id: str = ""
    input_id: str = ""
    at_ns: int = field(default_factory=time.time_ns)

    def batch(self, entry: int) -> api_pb2.TaskLogsBatch:
        item = api_pb2.TaskLogs(
            data=self.data,
            file_descriptor=self.fd,
            function_call_id=self.function_call_id,
            input_id=self.input_id,
            container_id=self.task_id,
            timestamp=self.at_ns / 1e9,
            timestamp_ns=self.at_ns,
        )
        return api_pb2.TaskLogsBatch(
            task_id=self.task_id, function_id=self.function_id, items=[item], entry_id=str(entry + 1)
        )


@dataclass
class Logs:
    lines: list[Line] = field(default_factory=list)
    stopped_apps: set[str] = field(default_factory=set)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, line: Line) -> None:
        self.lines.append(line)
        self.wake()

    def wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()

    def stop(self, app_id: str) -> None:
        self.stopped_apps.add(app_id)
        self.wake()

    @rpc("AppFetchLogs")
    async def fetch(self, request: api_pb2.AppFetchLogsRequest, caller: Caller) -> api_pb2.AppFetchLogsResponse:
        since, until = request.since.ToNanoseconds(), request.until.ToNanoseconds()
        found = [
            line.batch(index)
            for index, line in enumerate(self.lines)
            if since <= line.at_ns < until and _wanted(line, request, request.source)
        ]
        return api_pb2.AppFetchLogsResponse(batches=found[-request.limit :] if request.limit else found)

    @rpc("AppCountLogs")
    async def count(self, request: api_pb2.AppCountLogsRequest, caller: Caller) -> api_pb2.AppCountLogsResponse:
        bucket_ns = request.bucket_secs * 10**9
        since, until = request.since.ToNanoseconds(), request.until.ToNanoseconds()
        counts = Counter(
            (line.at_ns // bucket_ns * bucket_ns, line.fd)
            for line in self.lines
            if since <= line.at_ns < until and _wanted(line, request, request.source)
        )
        answer = api_pb2.AppCountLogsResponse(app_id=request.app_id)
        for start in range(since // bucket_ns * bucket_ns, until, bucket_ns):
            bucket = answer.buckets.add(
                stdout_logs=counts[start, STDOUT], stderr_logs=counts[start, STDERR], system_logs=counts[start, SYSTEM]
            )
            bucket.bucket_start_at.FromNanoseconds(start)
        return answer

    @rpc("AppGetLogs")
    async def stream(self, request: api_pb2.AppGetLogsRequest, caller: Caller) -> AsyncIterator[api_pb2.TaskLogsBatch]:
        position = int(request.last_entry_id or 0)
        deadline = time.monotonic() + (request.timeout or _STREAM_S)
        while True:
            more = self._more
            for index in range(position, len(self.lines)):
                if _wanted(self.lines[index], request, request.file_descriptor):
                    yield self.lines[index].batch(index)
            position = len(self.lines)
            if request.app_id in self.stopped_apps:
                yield api_pb2.TaskLogsBatch(app_done=True, eof=True, entry_id=str(position))
                return
            try:
                await asyncio.wait_for(more.wait(), timeout=deadline - time.monotonic())
            except TimeoutError:
                return


def _wanted(line: Line, request: Any, fd: int) -> bool:
    return (
        line.app_id == request.app_id
        and (not fd or line.fd == fd)
        and (not request.function_id or line.function_id == request.function_id)
        and (not request.function_call_id or line.function_call_id == request.function_call_id)
        and (not request.task_id or line.task_id == request.task_id)
        and request.search_text in line.data
    )
