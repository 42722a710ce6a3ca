"""Dicts and queues: small shared state between clients and containers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from tests.support.modal_plane.names import Named, known, new_id
from tests.support.modal_plane.rpc import Caller, rpc


@dataclass
class Queue:
    partitions: dict[bytes, list[tuple[int, bytes]]] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def of(self, key: bytes) -> list[tuple[int, bytes]]:
        return self.partitions.setdefault(key, [])


def _info() -> api_pb2.CreationInfo:
    return api_pb2.CreationInfo(created_at=time.time(), created_by="plane")


@dataclass
class Stores:
    dicts: Named[dict[bytes, bytes]] = field(default_factory=lambda: Named("Dict"))
    queues: Named[Queue] = field(default_factory=lambda: Named("Queue"))

    @rpc("DictGetOrCreate")
    async def dict_create(
        self, request: api_pb2.DictGetOrCreateRequest, caller: Caller
    ) -> api_pb2.DictGetOrCreateResponse:
        dict_id = self.dicts.get_or_create(
            request.deployment_name,
            request.environment_name,
            request.object_creation_type,
            lambda: (new_id("di"), {entry.key: entry.value for entry in request.data}),
        )
        metadata = api_pb2.DictMetadata(name=request.deployment_name, creation_info=_info())
        return api_pb2.DictGetOrCreateResponse(dict_id=dict_id, metadata=metadata)

    @rpc("DictHeartbeat")
    async def dict_heartbeat(self, request: api_pb2.DictHeartbeatRequest, caller: Caller) -> Empty:
        return Empty()

    @rpc("DictDelete")
    async def dict_delete(self, request: api_pb2.DictDeleteRequest, caller: Caller) -> Empty:
        self.dicts.delete(request.dict_id)
        return Empty()

    @rpc("DictGet")
    async def dict_get(self, request: api_pb2.DictGetRequest, caller: Caller) -> api_pb2.DictGetResponse:
        content = self.dicts.get(request.dict_id)
        if request.key not in content:
            return api_pb2.DictGetResponse(found=False)
        return api_pb2.DictGetResponse(found=True, value=content[request.key])

    @rpc("DictContains")
    async def dict_contains(self, request: api_pb2.DictContainsRequest, caller: Caller) -> api_pb2.DictContainsResponse:
        return api_pb2.DictContainsResponse(found=request.key in self.dicts.get(request.dict_id))

    @rpc("DictUpdate")
    async def dict_update(self, request: api_pb2.DictUpdateRequest, caller: Caller) -> api_pb2.DictUpdateResponse:
        content = self.dicts.get(request.dict_id)
        if request.if_not_exists and any(entry.key in content for entry in request.updates):
            return api_pb2.DictUpdateResponse(created=False)
        content.update({entry.key: entry.value for entry in request.updates})
        return api_pb2.DictUpdateResponse(created=True)

    @rpc("DictPop")
    async def dict_pop(self, request: api_pb2.DictPopRequest, caller: Caller) -> api_pb2.DictPopResponse:
        content = self.dicts.get(request.dict_id)
        if request.key not in content:
            return api_pb2.DictPopResponse(found=False)
        return api_pb2.DictPopResponse(found=True, value=content.pop(request.key))

    @rpc("DictLen")
    async def dict_len(self, request: api_pb2.DictLenRequest, caller: Caller) -> api_pb2.DictLenResponse:
        return api_pb2.DictLenResponse(len=len(self.dicts.get(request.dict_id)))

    @rpc("DictClear")
    async def dict_clear(self, request: api_pb2.DictClearRequest, caller: Caller) -> Empty:
        self.dicts.get(request.dict_id).clear()
        return Empty()

    @rpc("DictContents")
    async def dict_contents(
        self, request: api_pb2.DictContentsRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.DictEntry]:
        for key, value in list(self.dicts.get(request.dict_id).items()):
            yield api_pb2.DictEntry(key=key, value=value)

    @rpc("DictList")
    async def dict_list(self, request: api_pb2.DictListRequest, caller: Caller) -> api_pb2.DictListResponse:
        dicts = [
            api_pb2.DictListResponse.DictInfo(
                name=name, dict_id=dict_id, metadata=api_pb2.DictMetadata(name=name, creation_info=_info())
            )
            for name, dict_id in self.dicts.listed(request.environment_name)
        ]
        return api_pb2.DictListResponse(dicts=dicts, environment_name=known(request.environment_name))

    @rpc("QueueGetOrCreate")
    async def queue_create(
        self, request: api_pb2.QueueGetOrCreateRequest, caller: Caller
    ) -> api_pb2.QueueGetOrCreateResponse:
        queue_id = self.queues.get_or_create(
            request.deployment_name,
            request.environment_name,
            request.object_creation_type,
            lambda: (new_id("qu"), Queue()),
        )
        metadata = api_pb2.QueueMetadata(name=request.deployment_name, creation_info=_info())
        return api_pb2.QueueGetOrCreateResponse(queue_id=queue_id, metadata=metadata)

    @rpc("QueueHeartbeat")
    async def queue_heartbeat(self, request: api_pb2.QueueHeartbeatRequest, caller: Caller) -> Empty:
        return Empty()

    @rpc("QueueDelete")
    async def queue_delete(self, request: api_pb2.QueueDeleteRequest, caller: Caller) -> Empty:
        self.queues.delete(request.queue_id)
        return Empty()

    @rpc("QueuePut")
    async def queue_put(self, request: api_pb2.QueuePutRequest, caller: Caller) -> Empty:
        queue = self.queues.get(request.queue_id)
        items = queue.of(request.partition_key)
        if len(items) + len(request.values) > 5000:  # Modal's limit for a partition
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "queue partition is full")
        async with queue.changed:
            items.extend((next(queue.numbers), value) for value in request.values)
            queue.changed.notify_all()
        return Empty()

    @rpc("QueueGet")
    async def queue_get(self, request: api_pb2.QueueGetRequest, caller: Caller) -> api_pb2.QueueGetResponse:
        queue = self.queues.get(request.queue_id)
        items = queue.of(request.partition_key)
        await _wait(queue, lambda: bool(items), request.timeout)
        taken, items[: request.n_values or 1] = items[: request.n_values or 1], []
        return api_pb2.QueueGetResponse(values=[value for _, value in taken])

    @rpc("QueueNextItems")
    async def queue_next(
        self, request: api_pb2.QueueNextItemsRequest, caller: Caller
    ) -> api_pb2.QueueNextItemsResponse:
        queue = self.queues.get(request.queue_id)
        seen = int(request.last_entry_id or 0)

        def fresh() -> list[tuple[int, bytes]]:
            return [item for item in queue.of(request.partition_key) if item[0] > seen]

        await _wait(queue, lambda: bool(fresh()), request.item_poll_timeout)
        return api_pb2.QueueNextItemsResponse(
            items=[api_pb2.QueueItem(value=value, entry_id=str(number)) for number, value in fresh()]
        )

    @rpc("QueueLen")
    async def queue_len(self, request: api_pb2.QueueLenRequest, caller: Caller) -> api_pb2.QueueLenResponse:
        queue = self.queues.get(request.queue_id)
        keys = list(queue.partitions) if request.total else [request.partition_key]
        return api_pb2.QueueLenResponse(len=sum(len(queue.of(key)) for key in keys))

    @rpc("QueueClear")
    async def queue_clear(self, request: api_pb2.QueueClearRequest, caller: Caller) -> Empty:
        queue = self.queues.get(request.queue_id)
        for key in list(queue.partitions) if request.all_partitions else [request.partition_key]:
            queue.of(key).clear()
        return Empty()


async def _wait(queue: Queue, true: object, timeout_s: float) -> None:
    async with queue.changed:
        try:
            await asyncio.wait_for(queue.changed.wait_for(true), timeout=max(timeout_s, 0))
        except TimeoutError:
            return
