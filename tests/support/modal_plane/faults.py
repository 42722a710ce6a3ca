"""Faults on command: which calls fail, how, and how often."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, fields
from typing import Any, Final

from google.protobuf.message import Message
from grpclib import GRPCError, Status
from grpclib.server import Stream

STATUSES: Final = {
    "unavailable": Status.UNAVAILABLE,
    "internal": Status.INTERNAL,
    "unknown": Status.UNKNOWN,
    "deadline": Status.DEADLINE_EXCEEDED,
    "cancelled": Status.CANCELLED,
    "exhausted": Status.RESOURCE_EXHAUSTED,
    "auth": Status.UNAUTHENTICATED,
    "denied": Status.PERMISSION_DENIED,
    "not_found": Status.NOT_FOUND,
    "exists": Status.ALREADY_EXISTS,
    "invalid": Status.INVALID_ARGUMENT,
    "unimplemented": Status.UNIMPLEMENTED,
    "data_loss": Status.DATA_LOSS,
    "conflict": Status.ABORTED,
    "precondition": Status.FAILED_PRECONDITION,
}
"""Kinds that answer with an error, and its status. What the client makes of each: `modal._grpc_client`."""

OTHER_KINDS: Final = ("slow", "hang", "drop", "image_build")
"""`slow` answers after `delay_s`, `hang` when the faults are cleared, `drop` cuts the connection, `image_build`
fails an image's build."""

NO_ROLLBACK_PLAN: Final = "Rollbacks are not available on your plan. Upgrade to Team or Enterprise."


class Dropped(Exception):
    """The connection was cut; there is nobody to answer."""


@dataclass(slots=True)
class Fault:
    """One order to fail.

    Attributes:
        rpc: Name of the call, or "*" for every call of clients.
        kind: A key of `STATUSES`, or one of `OTHER_KINDS`.
        count: How many calls it strikes; a client repeats some calls three times (see `unavailable`).
        after: How many matching calls pass before.
        by: "client" or "container", when only calls of these count.
        matching: Text that the request must contain as bytes, such as an app's name or an id.
        delay_s: How long `slow` takes.
        reply_lost: The call is done, and only then fails: the client cannot know that it was.
        message: What the error says.
        struck: How often it has struck.
        cleared: It has been taken back.
    """

    rpc: str
    kind: str
    count: int = 1
    after: int = 0
    by: str = ""
    matching: str = ""
    delay_s: float = 0.0
    reply_lost: bool = False
    message: str = ""
    struck: int = 0
    cleared: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        if self.kind not in STATUSES and self.kind not in OTHER_KINDS:
            raise ValueError(f"no fault is called {self.kind}: {', '.join((*STATUSES, *OTHER_KINDS))}")

    async def strike(self, stream: Stream[Any, Any]) -> None:
        """Do it: raise, wait, or cut the connection."""
        match self.kind:
            case "slow":
                await asyncio.sleep(self.delay_s)
            case "hang":
                await self.cleared.wait()
            case "drop":
                await stream.cancel()
                raise Dropped
            case "image_build":
                return
            case kind:
                raise GRPCError(STATUSES[kind], self.message or f"injected: {kind} at {self.rpc}")


@dataclass
class Faults:
    """All orders, in the order given; the first that matches a call strikes."""

    orders: list[Fault] = field(default_factory=list)

    def take(self, rpc: str, request: Message, *, by_container: bool) -> Fault | None:
        """The fault that strikes this call, if any; counted as struck."""
        for fault in self.orders:
            if fault.struck >= fault.count or not _meant(fault, rpc, request, by_container=by_container):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.struck += 1
            return fault
        return None

    def build_failure(self) -> Fault | None:
        """The order to fail an image's build, if there is one left."""
        return next((f for f in self.orders if f.kind == "image_build" and f.struck < f.count), None)

    def add(self, order: dict[str, Any]) -> None:
        self.orders.append(Fault(**order))

    def clear(self) -> None:
        """Take all orders back; what hangs goes on."""
        for fault in self.orders:
            fault.cleared.set()
        self.orders.clear()

    def listed(self) -> list[dict[str, Any]]:
        names = [known.name for known in fields(Fault) if known.name != "cleared"]
        return [{name: getattr(fault, name) for name in names} for fault in self.orders]


def _meant(fault: Fault, rpc: str, request: Message, *, by_container: bool) -> bool:
    if fault.kind == "image_build":
        return False
    named = fault.rpc == rpc or (fault.rpc == "*" and not by_container)
    meant_by = not fault.by or (fault.by == "container") == by_container
    return named and meant_by and (not fault.matching or fault.matching.encode() in request.SerializeToString())
