"""Web functions from outside: an address of its own for each, whose requests become inputs.

The address depends on the app's and the function's names only, so it outlives versions and even a stopped app.
A request waits for a container; after `patience_s` it is answered with a redirect (303) to where it may go on
waiting, as Modal does after 150 s.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web
from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from tests.support.modal_plane.calls import Calls, FunctionCall, Input
from tests.support.modal_plane.functions import Function
from tests.support.modal_plane.rpc import Caller, rpc

Key = tuple[str, ...]
PATIENCE_S: Final = 150.0
PROXY_KEY: Final = ("wk-plane", "ws-plane")
"""The proxy token that a function with `requires_proxy_auth` accepts, in `Modal-Key` and `Modal-Secret`."""

_RESUME: Final = "__modal_function_call_id"
_HOP_BY_HOP: Final = {b"transfer-encoding", b"connection", b"keep-alive"}


@dataclass
class Address:
    """Where one web function is reached.

    Attributes:
        function: What serves it; None before the first deploy and after the app was stopped.
    """

    sock: socket.socket
    method: str
    function: Function | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.sock.getsockname()[1]}"


@dataclass
class Web:
    calls: Calls
    patience_s: float = PATIENCE_S
    addresses: dict[Key, Address] = field(default_factory=dict)
    _runners: list[web.AppRunner] = field(default_factory=list)
    _starting: set[asyncio.Task[None]] = field(default_factory=set)
    app_key: Callable[[str], Key] = field(init=False)

    def url_for(self, function: Function, method: str) -> str:
        return self._address(function, method).url

    def assign(self, function: Function) -> None:
        """From now on this function serves its addresses."""
        definition = function.definition()
        for method, described in [("", definition), *definition.method_definitions.items()]:
            if described.webhook_config.type:
                self._address(function, method).function = function

    def withdraw(self, app_id: str) -> None:
        for address in self.addresses.values():
            if address.function and address.function.app_id == app_id:
                address.function = None

    def _address(self, function: Function, method: str) -> Address:
        key = (*self.app_key(function.app_id), function.name, method)
        if key not in self.addresses:
            sock = socket.socket()
            sock.bind(("127.0.0.1", 0))
            self.addresses[key] = Address(sock, method)
            task = asyncio.ensure_future(self._listen(self.addresses[key]))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)
        return self.addresses[key]

    async def _listen(self, address: Address) -> None:
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", lambda request: self._serve(request, address))
        runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, address.sock).start()
        self._runners.append(runner)

    async def close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    async def _serve(self, request: web.Request, address: Address) -> web.StreamResponse:
        if address.function is None:
            return web.Response(status=404, text="modal-http: app for invoked web endpoint is stopped or unknown")
        if self._locked(address, request):
            return web.Response(status=401, text="modal-http: missing or invalid proxy token")
        call = self._resumed(request) or await self._start(request, address)
        try:
            return await self._relay(call, request)
        except asyncio.CancelledError:
            await _send(call, api_pb2.Asgi(http_disconnect=api_pb2.Asgi.HttpDisconnect()))
            for an_input in call.unfinished():
                self.calls.withdraw(an_input, False)
            raise

    def _locked(self, address: Address, request: web.Request) -> bool:
        assert address.function is not None
        definition: Any = address.function.definition()
        described = definition.method_definitions[address.method] if address.method else definition
        given = (request.headers.get("Modal-Key", ""), request.headers.get("Modal-Secret", ""))
        return described.webhook_config.requires_proxy_auth and given != PROXY_KEY

    def _resumed(self, request: web.Request) -> FunctionCall | None:
        return self.calls.by_id.get(request.query.get(_RESUME, ""))

    async def _start(self, request: web.Request, address: Address) -> FunctionCall:
        assert address.function is not None
        call = self.calls.start(address.function, api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC)
        host, port = (request.transport.get_extra_info("peername") if request.transport else None) or ("", 0)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": request.path,
            "query_string": request.query_string.encode(),
            "headers": [(bytes(name), bytes(value)) for name, value in request.raw_headers],
            "client": (host, port),
            "extensions": {"http.response.trailers": {}},
        }
        # The entrypoint wants a call's arguments; only what flows afterwards is in the ASGI format.
        payload = api_pb2.FunctionInput(
            args=pickle.dumps(((scope,), {})), data_format=api_pb2.DATA_FORMAT_PICKLE, method_name=address.method
        )
        body = await request.read()
        await _send(call, api_pb2.Asgi(http_request=api_pb2.Asgi.HttpRequest(body=body, more_body=False)))
        list(self.calls.put(call, [api_pb2.FunctionPutInputsItem(idx=0, input=payload)]))
        return call

    async def _relay(self, call: FunctionCall, request: web.Request) -> web.StreamResponse:
        messages = _messages(call)
        first = await anext(_within(messages, self.patience_s), None)
        if first is None:
            return web.Response(status=303, headers={"Location": f"{request.path}?{_RESUME}={call.call_id}"})
        if not first.HasField("http_response_start"):
            return web.Response(status=500, text=f"modal-http: {_why(call.inputs[0])}")
        start = first.http_response_start
        response = web.StreamResponse(status=start.status)
        for name, value in zip(start.headers[::2], start.headers[1::2], strict=True):
            if name.lower() not in _HOP_BY_HOP:
                response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
        await response.prepare(request)
        async for message in messages:
            if message.http_response_body.body:
                await response.write(message.http_response_body.body)
            if not message.http_response_body.more_body:
                break
        if call.inputs[0].output is not None and _why(call.inputs[0]):
            assert request.transport is not None
            request.transport.abort()  # a stream that breaks off must not look like one that ended
            return response
        await response.write_eof()
        call.data_out.clear()
        return response

    @rpc("FunctionCallGetDataIn")
    async def get_data_in(
        self, request: api_pb2.FunctionCallGetDataRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.DataChunk]:
        call = self.calls.get(request.function_call_id)
        sent = request.last_index
        while True:
            await call.wait_beyond(call.data_in, sent)
            for chunk in call.data_in[sent:]:
                yield chunk
            sent = len(call.data_in)
            if call.inputs and not call.unfinished():
                return

    @rpc("FunctionCallPutDataOut")
    async def put_data_out(self, request: api_pb2.FunctionCallPutDataRequest, caller: Caller) -> Empty:
        call = self.calls.get(request.function_call_id)
        call.data_out.extend(request.data_chunks)
        await call.notify()
        return Empty()

    @rpc("FunctionCallGetDataOut")
    async def get_data_out(
        self, request: api_pb2.FunctionCallGetDataRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.DataChunk]:
        async for chunk in _chunks(self.calls.get(request.function_call_id), request.last_index):
            yield chunk


async def _send(call: FunctionCall, message: api_pb2.Asgi) -> None:
    chunk = api_pb2.DataChunk(
        data_format=api_pb2.DATA_FORMAT_ASGI, data=message.SerializeToString(), index=len(call.data_in) + 1
    )
    call.data_in.append(chunk)
    await call.notify()


async def _chunks(call: FunctionCall, seen: int = 0) -> AsyncIterator[api_pb2.DataChunk]:
    while True:
        await call.wait_beyond(call.data_out, seen)
        fresh = call.data_out[seen:]
        for chunk in fresh:
            yield chunk
        seen += len(fresh)
        if not fresh and not call.unfinished():
            return


async def _messages(call: FunctionCall) -> AsyncIterator[api_pb2.Asgi]:
    """What the container answers; ends with an empty message when there is no more to come."""
    async for chunk in _chunks(call):
        yield api_pb2.Asgi.FromString(chunk.data)
    yield api_pb2.Asgi()


async def _within(messages: AsyncIterator[api_pb2.Asgi], seconds: float) -> AsyncIterator[api_pb2.Asgi]:
    """The first message, or nothing when it takes longer."""
    try:
        yield await asyncio.wait_for(anext(messages), timeout=seconds)
    except TimeoutError:
        return


def _why(an_input: Input) -> str:
    """Why an input failed; empty when it did not."""
    if an_input.output is None or an_input.output.result.status == api_pb2.GenericResult.GENERIC_STATUS_SUCCESS:
        return ""
    return an_input.output.result.exception or "internal error"
