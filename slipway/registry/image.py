"""What a tag names now: digests that were compared with the bytes they are of."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import BaseModel, Field, ValidationError

from slipway.errors import Corrupt, Misconfigured
from slipway.registry.client import Answer, Credentials, Registry
from slipway.registry.reference import DIGEST, ImageReference, parse_reference

INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT: Final = ", ".join((*INDEXES, *MANIFESTS))

DIGEST_HEADER: Final = "docker-content-digest"

WANTED: Final = ("linux", "amd64")
"""What containers with GPUs run on."""


class _System(BaseModel):
    os: str = ""
    architecture: str = ""


class _Entry(BaseModel):
    digest: str = Field(pattern=rf"^{DIGEST.pattern}$")
    platform: _System = _System()


class _Index(BaseModel):
    manifests: tuple[_Entry, ...]


class _Manifest(BaseModel):
    config: _Entry


_Document = TypeVar("_Document", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image that cannot become another one.

    Attributes:
        digest: Of what the tag names: an index, or a single manifest.
        amd64_digest: Of the manifest for linux/amd64 in it; the same where there is only one.
    """

    digest: str
    amd64_digest: str


def credentials_from_environment() -> Credentials | None:
    """The account in REGISTRY_USERNAME and REGISTRY_PASSWORD, names that Modal's secrets for images have too."""
    username, password = (os.environ.get(f"REGISTRY_{name}") for name in ("USERNAME", "PASSWORD"))
    return Credentials(username, password) if username and password else None


def resolve_image(registry: Registry, image: ImageReference) -> ResolvedImage:
    """Ask which bytes an image is made of now; of a name with a digest, whether these are there.

    Raises:
        Misconfigured: If there is no such image, or none for linux/amd64.
        Corrupt: If digest and bytes differ.
        Transient: If the registry is busy or cannot be reached.
    """
    wanted = image.digest or image.tag
    answer = registry.ask(f"manifests/{wanted}", accept=ACCEPT)
    if answer.media_type not in {*INDEXES, *MANIFESTS}:
        raise registry.not_a_registry(f"a manifest of type {answer.media_type or 'nothing'!r}")
    digest = _proved(answer, image.digest)
    if answer.media_type in INDEXES:
        return ResolvedImage(digest, _for_amd64(_read(registry, _Index, answer), image))
    config = _read(registry, _Manifest, answer).config.digest
    blob = registry.ask(f"blobs/{config}")
    _proved(blob, config)
    _require_amd64([_read(registry, _System, blob)], image)
    return ResolvedImage(digest, digest)


def digest_now(registry: Registry, image: ImageReference) -> str:
    """The digest that a tag has now, by a request that registries do not count as a pull.

    Raises:
        Misconfigured: If there is no such tag.
        Transient: If the registry is busy or cannot be reached.
    """
    answer = registry.ask(f"manifests/{image.tag or image.digest}", accept=ACCEPT, method="HEAD")
    told = str(answer.headers.get(DIGEST_HEADER, ""))
    if DIGEST.fullmatch(told):
        return told
    return _proved(registry.ask(f"manifests/{image.tag or image.digest}", accept=ACCEPT), None)


def open_registry(image: str) -> tuple[Registry, ImageReference]:
    """The registry of an image, with the account that the environment has for it."""
    reference = parse_reference(image)
    return Registry(reference, credentials_from_environment()), reference


def _proved(answer: Answer, asked: str | None) -> str:
    """The digest of a body, which header and request must agree with."""
    digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
    for said, claimed in (("its header", answer.headers.get(DIGEST_HEADER)), ("the request", asked)):
        if claimed not in {None, digest}:
            raise Corrupt(
                f"The registry's answer has digest {digest}; {said} says {claimed}.",
                remedy="Run again; if it stays so, something between here and the registry changes answers.",
            )
    return digest


def _for_amd64(index: _Index, image: ImageReference) -> str:
    _require_amd64([entry.platform for entry in index.manifests], image)
    return next(e.digest for e in index.manifests if (e.platform.os, e.platform.architecture) == WANTED)


def _require_amd64(found: list[_System], image: ImageReference) -> None:
    there = [(system.os, system.architecture) for system in found]
    if WANTED not in there:
        known = ", ".join(sorted({"/".join(each) for each in there})) or "nothing"
        raise Misconfigured(
            f"{image.repository} has no image for {'/'.join(WANTED)}; there is one for {known}.",
            remedy="Name a tag that has one in engine.image.",
        )


def _read(registry: Registry, kind: type[_Document], answer: Answer) -> _Document:
    try:
        return kind.model_validate_json(answer.body)
    except ValidationError as error:
        raise registry.not_a_registry(f"a manifest that cannot be read ({error.errors()[0]['msg']})") from None
