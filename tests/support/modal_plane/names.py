"""Ids, and objects found by name within an environment, as every kind of named object does it."""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from grpclib import GRPCError, Status
from modal_proto import api_pb2

DEFAULT_ENVIRONMENT: Final = "main"
ENVIRONMENTS: Final = [DEFAULT_ENVIRONMENT, "staging"]
"""Those that are there; clients may create others."""
_ALPHABET: Final = string.ascii_letters + string.digits
T = TypeVar("T")


def new_id(prefix: str) -> str:
    """A fresh id; 22 characters, as the CLI expects of an app's."""
    return f"{prefix}-" + "".join(secrets.choice(_ALPHABET) for _ in range(22))


def content_id(prefix: str, *parts: bytes) -> str:
    """An id that the same content always has: what lets a second deploy of an unchanged app be a no-op."""
    number = int.from_bytes(hashlib.sha256(b"\0".join(parts)).digest(), "big")
    digits = []
    for _ in range(22):
        number, rest = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[rest])
    return f"{prefix}-" + "".join(digits)


def known(environment: str) -> str:
    """The environment's name; the default's for an empty one."""
    environment = environment or DEFAULT_ENVIRONMENT
    if environment not in ENVIRONMENTS:
        raise GRPCError(Status.NOT_FOUND, f"Environment '{environment}' not found")
    return environment


@dataclass
class Named(Generic[T]):
    """Objects of one kind, by id and by (environment, name)."""

    kind: str
    by_id: dict[str, T] = field(default_factory=dict)
    ids: dict[tuple[str, str], str] = field(default_factory=dict)

    def get(self, object_id: str) -> T:
        if object_id not in self.by_id:
            raise GRPCError(Status.NOT_FOUND, f"{self.kind} '{object_id}' not found")
        return self.by_id[object_id]

    def get_or_create(
        self, name: str, environment: str, how: int, make: Callable[[], tuple[str, T]], *, overwrite: bool = False
    ) -> str:
        """The object's id, by the rules of `ObjectCreationType`."""
        environment = known(environment)
        existing = self.ids.get((environment, name)) if name else None
        if name and existing and how == api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"{self.kind} '{name}' already exists")
        if name and how == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED and not existing:
            raise GRPCError(Status.NOT_FOUND, f"{self.kind} '{name}' not found in environment '{environment}'")
        if existing and not overwrite:
            return existing
        object_id, made = make()
        if existing:
            object_id = existing
        self.by_id[object_id] = made
        if name:
            self.ids[environment, name] = object_id
        return object_id

    def listed(self, environment: str) -> Iterator[tuple[str, str]]:
        """Name and id of everything in an environment."""
        environment = known(environment)
        return ((name, object_id) for (where, name), object_id in self.ids.items() if where == environment)

    def delete(self, object_id: str) -> None:
        self.get(object_id)
        del self.by_id[object_id]
        self.ids = {key: value for key, value in self.ids.items() if value != object_id}
