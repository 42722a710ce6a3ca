"""What containers call: hello, heartbeats, inputs, outputs, the end; and their volumes' commit and reload."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from tests.support.modal_plane.containers import Container
from tests.support.modal_plane.pool import Pool
from tests.support.modal_plane.rpc import Caller, not_found, refuse, rpc

HEARTBEAT_S: Final = 14.9
"""A heartbeat is answered when there is something to cancel, or just before the client's time-out (15.1 s)."""


class ContainerCalls:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def container(self, caller: Caller) -> Container:
        if caller.task_id not in self.pool.containers:
            raise not_found(f"Task '{caller.task_id}' not found; only containers make this call")
        return self.pool.containers[caller.task_id]

    @rpc("ContainerHello")
    async def hello(self, request: Empty, caller: Caller) -> Empty:
        self.container(caller)
        return Empty()

    @rpc("ContainerHeartbeat")
    async def heartbeat(
        self, request: api_pb2.ContainerHeartbeatRequest, caller: Caller
    ) -> api_pb2.ContainerHeartbeatResponse:
        container = self.container(caller)
        try:
            input_ids = [await asyncio.wait_for(container.cancelled.get(), timeout=HEARTBEAT_S)]
        except TimeoutError:
            return api_pb2.ContainerHeartbeatResponse()
        while not container.cancelled.empty():
            input_ids.append(container.cancelled.get_nowait())
        return api_pb2.ContainerHeartbeatResponse(cancel_input_event=api_pb2.CancelInputEvent(input_ids=input_ids))

    @rpc("FunctionGetInputs")
    async def get_inputs(
        self, request: api_pb2.FunctionGetInputsRequest, caller: Caller
    ) -> api_pb2.FunctionGetInputsResponse:
        an_input = await self.pool.take(self.container(caller))
        if an_input is None:
            return api_pb2.FunctionGetInputsResponse(inputs=[api_pb2.FunctionGetInputsItem(kill_switch=True)])
        return api_pb2.FunctionGetInputsResponse(inputs=[an_input.item()])

    @rpc("FunctionPutOutputs")
    async def put_outputs(self, request: api_pb2.FunctionPutOutputsRequest, caller: Caller) -> Empty:
        for output in request.outputs:
            await self.pool.done(self.container(caller), output)
        return Empty()

    @rpc("FunctionGetDynamicConcurrency")
    async def concurrency(
        self, request: api_pb2.FunctionGetDynamicConcurrencyRequest, caller: Caller
    ) -> api_pb2.FunctionGetDynamicConcurrencyResponse:
        return api_pb2.FunctionGetDynamicConcurrencyResponse(concurrency=request.max_concurrency)

    @rpc("TaskResult")
    async def task_result(self, request: api_pb2.TaskResultRequest, caller: Caller) -> Empty:
        self.container(caller).init_result = request.result
        return Empty()

    @rpc("VolumeCommit")
    async def commit(self, request: api_pb2.VolumeCommitRequest, caller: Caller) -> api_pb2.VolumeCommitResponse:
        for copy in self._copies(request.volume_id, caller):
            copy.commit()
        return api_pb2.VolumeCommitResponse(skip_reload=True)

    @rpc("VolumeReload")
    async def reload(self, request: api_pb2.VolumeReloadRequest, caller: Caller) -> Empty:
        container = self.container(caller)
        for copy in self._copies(request.volume_id, caller):
            if container.open_files(copy):
                raise refuse("volume busy: there are open files preventing the operation")
            copy.commit()
            copy.refresh()
        return Empty()

    def _copies(self, volume_id: str, caller: Caller) -> list:
        copies = self.container(caller).copies_of(volume_id)
        if not copies:
            raise not_found(f"Volume '{volume_id}' is not mounted in this container")
        return copies

    @rpc("TaskList")
    async def task_list(self, request: api_pb2.TaskListRequest, caller: Caller) -> api_pb2.TaskListResponse:
        tasks = [
            api_pb2.TaskStats(
                task_id=c.task_id, app_id=c.function.app_id, started_at=c.ready_at, enqueued_at=c.created_at
            )
            for c in self.pool.containers.values()
            if not c.ended and (not request.app_id or c.function.app_id == request.app_id)
        ]
        return api_pb2.TaskListResponse(tasks=tasks)

    @rpc("TaskGetInfo")
    async def task_info(self, request: api_pb2.TaskGetInfoRequest, caller: Caller) -> api_pb2.TaskGetInfoResponse:
        container = self.pool.containers.get(request.task_id)
        if container is None:
            raise not_found(f"Task '{request.task_id}' not found")
        info = api_pb2.TaskInfo(
            id=container.task_id,
            enqueued_at=container.created_at,
            started_at=container.ready_at,
            finished_at=container.ended_at,
            gpu_config=container.definition.resources.gpu_config,
        )
        return api_pb2.TaskGetInfoResponse(app_id=container.function.app_id, info=info)

    @rpc("ContainerStop")
    async def stop(self, request: api_pb2.ContainerStopRequest, caller: Caller) -> api_pb2.ContainerStopResponse:
        container = self.pool.containers.get(request.task_id)
        if container is None:
            raise not_found(f"Task '{request.task_id}' not found")
        if request.graceful:
            container.draining = True
            self.pool.wake()
        else:
            self.pool.run(self.pool.end(container, "preempted"))
        return api_pb2.ContainerStopResponse()

    @rpc("FunctionGetCurrentStats")
    async def stats(self, request: api_pb2.FunctionGetCurrentStatsRequest, caller: Caller) -> api_pb2.FunctionStats:
        here = [
            c for c in self.pool.containers.values() if c.function.function_id == request.function_id and not c.ended
        ]
        waiting = sum(
            1 for i in self.pool.calls.inputs.values()
            if i.function.function_id == request.function_id and i.output is None and not i.task_id
        )  # fmt: skip
        return api_pb2.FunctionStats(
            backlog=waiting, num_total_tasks=len(here), num_running_inputs=sum(len(c.active) for c in here)
        )


def life_s(container: Container) -> float:
    """How long a container has been billed: from its start to its end."""
    return (container.ended_at or time.time()) - container.created_at
