"""Function calls: inputs on their way to containers, outputs on their way back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from tests.support.modal_plane.functions import Function, Functions
from tests.support.modal_plane.names import new_id
from tests.support.modal_plane.rpc import Caller, not_found, rpc

Result = api_pb2.GenericResult
MAX_OUTPUTS: Final = 49


@dataclass
class Input:
    """One input of a call.

    Attributes:
        retry_count: How often it has been tried before; a rerun after preemption does not count.
        task_id: The container that works on it now.
        started_at: When the container got it, monotonic seconds.
        cancelled: Somebody wants it no more.
        output: Its result, once there is one.
    """

    input_id: str
    call: FunctionCall
    index: int
    payload: api_pb2.FunctionInput
    retry_count: int = 0
    task_id: str = ""
    started_at: float = 0.0
    cancelled: bool = False
    output: api_pb2.FunctionGetOutputsItem | None = None

    @property
    def function(self) -> Function:
        return self.call.function

    def item(self) -> api_pb2.FunctionGetInputsItem:
        return api_pb2.FunctionGetInputsItem(
            input_id=self.input_id,
            input=self.payload,
            function_call_id=self.call.call_id,
            function_call_invocation_type=self.call.invocation_type,
            retry_count=self.retry_count,
        )


@dataclass
class FunctionCall:
    """A call: one input, or as many as a map has."""

    call_id: str
    function: Function
    invocation_type: int
    inputs: list[Input] = field(default_factory=list)
    finished: list[api_pb2.FunctionGetOutputsItem] = field(default_factory=list)
    created_at: float = field(default_factory=time.time)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    data_in: list[api_pb2.DataChunk] = field(default_factory=list)
    data_out: list[api_pb2.DataChunk] = field(default_factory=list)

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def wait_beyond(self, chunks: list[api_pb2.DataChunk], seen: int) -> None:
        """Until there are more chunks than that, or the call is over."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(chunks) > seen or not self.unfinished())

    def unfinished(self) -> list[Input]:
        return [an_input for an_input in self.inputs if an_input.output is None]


@dataclass
class Calls:
    """All calls; `offer` and `withdraw` are the pool's, that has the containers."""

    functions: Functions
    offer: Callable[[Input], None]
    withdraw: Callable[[Input, bool], None]
    by_id: dict[str, FunctionCall] = field(default_factory=dict)
    inputs: dict[str, Input] = field(default_factory=dict)

    def get(self, call_id: str) -> FunctionCall:
        if call_id not in self.by_id:
            raise not_found(f"Function call '{call_id}' not found")
        return self.by_id[call_id]

    def start(self, function: Function, invocation_type: int) -> FunctionCall:
        call = FunctionCall(new_id("fc"), function, invocation_type)
        self.by_id[call.call_id] = call
        return call

    def put(self, call: FunctionCall, items: list[api_pb2.FunctionPutInputsItem]) -> Iterator[Input]:
        """Add inputs to a call and offer them to containers."""
        for item in items:
            an_input = Input(new_id("in"), call, item.idx, item.input)
            call.inputs.append(an_input)
            self.inputs[an_input.input_id] = an_input
            self.offer(an_input)
            yield an_input

    async def finish(self, an_input: Input, result: Result, data_format: int = 0, created_at: float = 0) -> None:
        """Record an input's result, unless it has one: what comes later from another attempt is void."""
        if an_input.output is not None:
            return
        an_input.output = api_pb2.FunctionGetOutputsItem(
            result=result,
            idx=an_input.index,
            input_id=an_input.input_id,
            data_format=data_format,
            task_id=an_input.task_id,
            output_created_at=created_at or time.time(),
            retry_count=an_input.retry_count,
        )
        an_input.call.finished.append(an_input.output)
        await an_input.call.notify()

    @rpc("FunctionMap")
    async def map(self, request: api_pb2.FunctionMapRequest, caller: Caller) -> api_pb2.FunctionMapResponse:
        function = self.functions.get(request.function_id)
        call = self.start(function, request.function_call_invocation_type)
        return api_pb2.FunctionMapResponse(
            function_call_id=call.call_id,
            function_call_jwt=call.call_id,
            pipelined_inputs=self._put(call, request.pipelined_inputs),
            retry_policy=function.definition().retry_policy,
            max_inputs_outstanding=1000,
        )

    @rpc("FunctionPutInputs")
    async def put_inputs(
        self, request: api_pb2.FunctionPutInputsRequest, caller: Caller
    ) -> api_pb2.FunctionPutInputsResponse:
        call = self.get(request.function_call_id)
        return api_pb2.FunctionPutInputsResponse(inputs=self._put(call, request.inputs))

    def _put(
        self, call: FunctionCall, items: list[api_pb2.FunctionPutInputsItem]
    ) -> list[api_pb2.FunctionPutInputsResponseItem]:
        return [
            api_pb2.FunctionPutInputsResponseItem(idx=made.index, input_id=made.input_id, input_jwt=made.input_id)
            for made in self.put(call, items)
        ]

    @rpc("FunctionFinishInputs")
    async def finish_inputs(self, request: api_pb2.FunctionFinishInputsRequest, caller: Caller) -> Empty:
        self.get(request.function_call_id)
        return Empty()

    @rpc("FunctionGetOutputs")
    async def get_outputs(
        self, request: api_pb2.FunctionGetOutputsRequest, caller: Caller
    ) -> api_pb2.FunctionGetOutputsResponse:
        call = self.get(request.function_call_id)
        seen = 0 if request.last_entry_id in ("", "0-0") else int(request.last_entry_id)

        def found() -> list[api_pb2.FunctionGetOutputsItem]:
            fresh = call.finished[seen:]
            if request.HasField("start_idx"):
                fresh = [item for item in fresh if request.start_idx <= item.idx <= request.end_idx]
            return fresh[: request.max_values or MAX_OUTPUTS]

        async with call.changed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(call.changed.wait_for(found), timeout=max(request.timeout, 0))
        outputs = found()
        return api_pb2.FunctionGetOutputsResponse(
            outputs=outputs,
            idxs=[item.idx for item in outputs],
            last_entry_id=str(seen + len(outputs)),
            num_unfinished_inputs=len(call.unfinished()),
        )

    @rpc("FunctionCallFromId")
    async def from_id(
        self, request: api_pb2.FunctionCallFromIdRequest, caller: Caller
    ) -> api_pb2.FunctionCallFromIdResponse:
        call = self.get(request.function_call_id)
        return api_pb2.FunctionCallFromIdResponse(
            function_call_id=call.call_id,
            num_inputs=len(call.inputs),
            metadata=api_pb2.FunctionCallHandleMetadata(
                app_id=call.function.app_id, function_id=call.function.function_id
            ),
        )

    @rpc("FunctionCallCancel")
    async def cancel(self, request: api_pb2.FunctionCallCancelRequest, caller: Caller) -> Empty:
        for an_input in self.get(request.function_call_id).unfinished():
            self.withdraw(an_input, request.terminate_containers)
            if not an_input.task_id:
                await self.finish(an_input, terminated("Input was cancelled by user."))
        return Empty()

    @rpc("FunctionCallGetInfo")
    async def info(
        self, request: api_pb2.FunctionCallGetInfoRequest, caller: Caller
    ) -> api_pb2.FunctionCallGetInfoResponse:
        call = self.get(request.function_call_id)
        by_status: dict[str, int] = {"pending": len(call.unfinished())}
        for item in call.finished:
            name = _CATEGORY.get(item.result.status, "failed")
            by_status[name] = by_status.get(name, 0) + 1
        info = api_pb2.FunctionCallInfo(
            function_call_id=call.call_id, created_at=call.created_at, total_inputs=len(call.inputs)
        )
        for name, total in by_status.items():
            getattr(info, f"{name}_inputs").total = total
        return api_pb2.FunctionCallGetInfoResponse(info=info)


_CATEGORY: Final = {
    Result.GENERIC_STATUS_SUCCESS: "succeeded",
    Result.GENERIC_STATUS_TIMEOUT: "timeout",
    Result.GENERIC_STATUS_TERMINATED: "cancelled",
}


def terminated(why: str) -> Result:
    return Result(status=Result.GENERIC_STATUS_TERMINATED, exception=why)


def failed(why: str) -> Result:
    return Result(status=Result.GENERIC_STATUS_FAILURE, exception=why)


def lost(why: str) -> Result:
    return Result(status=Result.GENERIC_STATUS_INTERNAL_FAILURE, exception=why)


def timed_out(seconds: float) -> Result:
    return Result(
        status=Result.GENERIC_STATUS_TIMEOUT, exception=f"Task's current input hit its timeout of {seconds:g}s"
    )
