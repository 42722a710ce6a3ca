"""The gRPC surface: every call of the client goes through here, to a handler or to UNIMPLEMENTED.

A handler is a method marked `@rpc("AppCreate")`, of one of the plane's services: `async (request, caller)`
that returns the answer, or an async generator for a stream. What all calls share is here too: the token,
injected faults, and the idempotency key with which the client repeats a call whose answer it has not seen.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream
from modal_proto.api_grpc import ModalClientBase

from tests.support.modal_plane.faults import Dropped, Faults

TOKEN_ID: Final = "ak-plane"
TOKEN_SECRET: Final = "as-plane"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called: a container says its task, a client its token."""

    task_id: str
    token: tuple[str, str]
    key: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the journal keeps it."""

    at_s: float
    rpc: str
    by_container: bool
    status: str


def rpc(name: str) -> Callable[[Any], Any]:
    """Mark a method as the handler of a call."""

    def mark(method: Any) -> Any:
        method.rpc_name = name
        return method

    return mark


def not_found(message: str) -> GRPCError:
    return GRPCError(Status.NOT_FOUND, message)


def refuse(message: str) -> GRPCError:
    """A call that does not fit the state of things; the client makes a `ConflictError` of it."""
    return GRPCError(Status.FAILED_PRECONDITION, message)


class Servicer:
    """What grpclib serves."""

    def __init__(self, services: Iterable[object], faults: Faults) -> None:
        self.faults = faults
        self.journal: deque[Call] = deque(maxlen=200_000)
        self.errors: list[str] = []
        self._handlers = {
            method.rpc_name: method
            for service in services
            for _, method in inspect.getmembers(service, inspect.ismethod)
            if hasattr(method, "rpc_name")
        }
        self._answered: dict[tuple[str, str], asyncio.Future[Message]] = {}

    def __mapping__(self) -> dict[str, Handler]:
        every = type("Every", (ModalClientBase,), {})
        every.__abstractmethods__ = frozenset()
        return {
            path: handler._replace(func=self._serve(path.rpartition("/")[2], handler.cardinality))
            for path, handler in every().__mapping__().items()
        }

    def _serve(self, name: str, cardinality: Cardinality) -> Callable[[Stream[Any, Any]], Any]:
        async def serve(stream: Stream[Any, Any]) -> None:
            metadata = stream.metadata or {}
            caller = Caller(
                task_id=str(metadata.get("x-modal-task-id", "")),
                token=(str(metadata.get("x-modal-token-id", "")), str(metadata.get("x-modal-token-secret", ""))),
                key=str(metadata.get("x-idempotency-key", "")),
            )
            status = "OK"
            try:
                request = await stream.recv_message()
                await self._answer(name, cardinality, request, caller, stream)
            except Dropped:
                status = "DROPPED"
            except GRPCError as error:
                status = error.status.name
                raise
            except Exception as error:
                status = "BUG"
                log.exception("%s", name)
                self.errors.append(f"{name}: {error!r}")
                raise GRPCError(Status.INTERNAL, f"the plane itself failed in {name}: {error!r}") from error
            finally:
                self.journal.append(Call(time.time(), name, bool(caller.task_id), status))

        return serve

    async def _answer(
        self, name: str, cardinality: Cardinality, request: Message, caller: Caller, stream: Stream[Any, Any]
    ) -> None:
        if not caller.task_id and caller.token != (TOKEN_ID, TOKEN_SECRET):
            raise GRPCError(Status.UNAUTHENTICATED, "Token missing or unknown. Could not authenticate client.")
        fault = self.faults.take(name, request, by_container=bool(caller.task_id))
        if fault and not fault.reply_lost:
            await fault.strike(stream)
        if name not in self._handlers:
            raise GRPCError(Status.UNIMPLEMENTED, f"{name} is not part of the plane")
        if cardinality is Cardinality.UNARY_UNARY:
            answer = await self._once(name, request, caller)
            if fault and fault.reply_lost:
                await fault.strike(stream)
            await stream.send_message(answer)
        else:
            messages: AsyncIterator[Message] = self._handlers[name](request, caller)
            async for message in messages:
                await stream.send_message(message)

    async def _once(self, name: str, request: Message, caller: Caller) -> Message:
        """Do a call once, however often the client repeats it under one key."""
        if not caller.key:
            return await self._handlers[name](request, caller)
        key = (name, caller.key)
        running = self._answered.get(key)
        if running is None or (running.done() and (running.cancelled() or running.exception())):
            running = asyncio.ensure_future(self._handlers[name](request, caller))
            self._answered[key] = running
            asyncio.get_running_loop().call_later(60, self._answered.pop, key, None)
        return await asyncio.shield(running)
